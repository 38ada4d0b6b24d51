/* A compilation beside the one that is under way: what belongs to that one is put aside and taken back. */
#include "driver/aside.h"

#include <string.h>

#include "driver/calibration_file.h"
#include "driver/signature.h"

enum { POSITIONS_A_CALL = 4096 };

/* ---- what stands aside ----------------------------------------------------------------------------- */

typedef struct Aside { /* what belongs to the compilation that is under way */
    Graph *kernels;
    Remarks remarks;
    PassTime *times;
    Emitted emitted;
    JitStats jit_stats;
    Jit *jit;
    Packed packed;
    Program program;
} Aside;

static Aside put_aside(Compilation *c)
{
    Aside a = {c->kernels, c->remarks, c->times, c->emitted, c->jit_stats, c->jit, c->packed, c->program};
    c->remarks = (Remarks){.arena = &c->arena, .asked = a.remarks.asked, .n_asked = a.remarks.n_asked};
    c->jit = NULL;
    c->packed = (Packed){0};
    return a;
}

static void take_back(Compilation *c, const Aside *a)
{
    if (c->packed.data)
        pack_free(&c->packed);
    if (c->jit)
        jit_free(c->jit);
    c->kernels = a->kernels;
    c->remarks = a->remarks;
    c->times = a->times;
    c->emitted = a->emitted;
    c->jit_stats = a->jit_stats;
    c->jit = a->jit;
    c->packed = a->packed;
    c->program = a->program;
}

static CompileOptions captured(const CompileOptions *o, const AsideRun *run)
{
    CompileOptions exact = *o;
    exact.linearize = exact.lowrank = NULL;
    exact.calibrate = NULL;
    exact.compute = NULL;
    exact.taps = run->value != NULL;
    exact.timing = exact.tiles = false;
    exact.passes = run->passes;
    memcpy(exact.passes.off, o->passes.off, sizeof exact.passes.off);
    exact.passes.off[run->captures] = false; /* it looks, and changes nothing */
    return exact;
}

bool aside_look(Compilation *c, const CompileOptions *o, const AsideRun *run)
{
    CompileOptions exact = captured(o, run);
    exact.passes.stop_after = pass_info[run->captures].name;
    Aside aside = put_aside(c);
    c->kernels = graph_copy(&c->cx, c->model.graph);
    bool good = passes_run(&c->cx, c->kernels, &exact.passes, &c->remarks, NULL);
    take_back(c, &aside);
    return good;
}

/* ---- the calls -------------------------------------------------------------------------------------------------- */

/* Rows that one call takes: not more than the model may, and not many positions at once. */
static int64_t rows_a_call(const Compilation *c, const CalibrationFile *in)
{
    int batch = signature_batch(&c->emitted.plan);
    int64_t rows = POSITIONS_A_CALL / (in->length > 0 ? in->length : 1);
    if (batch < 0)
        return in->sequences; /* they cannot be run apart */
    if (rows > c->emitted.plan.symbols[batch].high)
        rows = c->emitted.plan.symbols[batch].high;
    return rows < 1 ? 1 : rows;
}

typedef struct Tapped {
    const AsideRun *run;
    const Emitted *emitted;
    const int64_t *sizes; /* in the order of the graph's symbols */
} Tapped;

static void tap(void *state, int64_t kernel, int64_t round, const void *data)
{
    const Tapped *w = state;
    if (kernel >= 0 && kernel < w->emitted->n_kernels)
        w->run->value(w->run->state, w->emitted->kernels[kernel].node, round < 0 ? 0 : round, w->sizes, data);
}

static bool run_rows(Compilation *c, const AsideRun *run, const CompileOptions *o, const CalibrationFile *in, int64_t first, int64_t count)
{
    const Plan *plan = &c->emitted.plan;
    const HostTensor *some = calibration_file_slice(&c->arena, in, first, count), *outputs;
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *sizes);
    int64_t *mine = arena_array(&c->arena, (size_t)c->kernels->n_symbols + 1, sizeof *mine);
    if (!signature_sizes(&c->cx, plan, NULL, 0, some, in->n_inputs, count, 1, sizes))
        return false;
    signature_for_graph(plan, c->kernels, sizes, mine);
    Tapped w = {run, &c->emitted, mine};
    SessionHooks hooks = {.tap = run->value ? tap : NULL, .tap_state = &w};
    Session *s = session_new(&c->cx, &c->program, plan->n_caches ? count : 0, o->threads > 0 ? o->threads : pool_cpus(), &hooks);
    if (!s)
        return false;
    if (run->next_call)
        run->next_call(run->state);
    bool good = session_run(&c->cx, s, some, in->n_inputs, &outputs);
    if (good && run->outputs)
        run->outputs(run->state, outputs, plan->n_outputs);
    session_free(s);
    return good;
}

static bool run_file(Compilation *c, AsideRun *run, const CompileOptions *o)
{
    CalibrationFile in;
    if (!calibration_file_load(c, o->calibrate, &in))
        return false;
    int64_t each = rows_a_call(c, &in);
    run->of_rows = in.sequences;
    for (int64_t first = 0; first < in.sequences && !(run->enough && run->enough(run->state)); first += each) {
        int64_t count = in.sequences - first < each ? in.sequences - first : each;
        if (!run_rows(c, run, o, &in, first, count))
            return false;
        run->rows += count;
    }
    run->measured_on =
        run->rows < run->of_rows ? arena_print(&c->arena, "the first %lld of %s", (long long)run->rows, in.what) : in.what;
    return true;
}

bool aside_run(Compilation *c, const CompileOptions *o, AsideRun *run)
{
    CompileOptions exact = captured(o, run);
    Aside aside = put_aside(c);
    c->kernels = graph_copy(&c->cx, c->model.graph);
    run->rows = 0;
    bool good = passes_run(&c->cx, c->kernels, &exact.passes, &c->remarks, NULL) && compile_emit(c, &exact) && compile_build(c, &exact) &&
                run_file(c, run, o);
    take_back(c, &aside);
    return good;
}
