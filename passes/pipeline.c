/* The pipeline: which passes run, in which order, and why there. The runner supplies the facts a pass needs,
 * verifies after each pass, times it and lets it record its remarks. */
#include <string.h>
#include <time.h>
#include "passes/inside.h"

const PassInfo pass_info[PASS_COUNT] = {
#define USES FACT_USES
#define NAMES FACT_NAMES
#define PLACES FACT_PLACES
#define EXACT PASS_EXACT
#define EXACT_IF PASS_EXACT_IF
#define APPROX PASS_APPROX
#define PASS(id, name, kind, needs, breaks, sentence) {name, sentence, kind, needs, breaks, pass_##id},
#include "passes/passes.def"
#undef PASS
#undef APPROX
#undef EXACT_IF
#undef EXACT
#undef PLACES
#undef NAMES
#undef USES
};

const PassStep pipeline[] = {
    {PASS_ID_factor_lowrank, "first: weights still are whole tensors of the checkpoint, each in the product that the model file wrote"},
    {PASS_ID_canonicalize, "every later pass looks for one spelling only"},
    {PASS_ID_cse, "equal values become one before any of them moves out of a repeat"},
    {PASS_ID_fold, "after one spelling is chosen, constants meet constants"},
    {PASS_ID_canonicalize, "folded constants complete formulas: 1 / sqrt(2), sqrt(2 / pi)"},
    {PASS_ID_cse, "what folding made equal becomes one value, so that projections share it"},
    {PASS_ID_dce, "readers that are gone must not look like a second use"},
    {PASS_ID_narrow_output, "before anything is fused: what computes each position by itself still is plain operators"},
    {PASS_ID_reassociate, "before attention is fused: keys and values still are products of their latent"},
    {PASS_ID_fuse_attention, "before other fusions take scores and masks apart"},
    {PASS_ID_linearize_performer, "attention is one node now, and its mask a condition in it"},
    {PASS_ID_linearize_vq, "the layers and heads that differ stand apart since the other one"},
    {PASS_ID_linear_attention, "masks still are conditions on positions; what becomes ordinary operators is fused below"},
    {PASS_ID_fold_factors, "a factor between a norm and its products would hide the norm's gain"},
    {PASS_ID_fold_gains, "products still are products: several of one norm take its gain together"},
    {PASS_ID_defer_scales, "without its gain a norm is one factor a row; the epilogues come later"},
    {PASS_ID_compute_bf16, "weights have their gains and factors, so both are rounded once; what is rounded goes into the kernels that make it"},
    {PASS_ID_fuse_projections, "before epilogues: q, k and v still are plain products of one value"},
    {PASS_ID_fuse_epilogue, "a product is the best place for what follows it"},
    {PASS_ID_fuse_side, "what the epilogues add is known now, and whether it is a product that nothing else reads"},
    {PASS_ID_fuse_map, "what no product took: norms, lookups, elementwise chains"},
    {PASS_ID_dce, "nothing dead is worth a kernel"},
    {PASS_ID_lower, "all decisions are made: one kernel for each value left, copies where a layout is needed"},
    {PASS_ID_live_rows, "kernels are what they will be, and so is who reads which row of whom"},
    {PASS_ID_plan_memory, "last: the order of kernels is final"},
};
const int pipeline_length = sizeof pipeline / sizeof pipeline[0];

typedef struct Runner {
    Context *cx;
    Graph *model;
    Remarks *remarks;
    unsigned facts;
    struct LinearizePlan *linearize;
    struct LowrankPlan *lowrank;
    bool bf16, last_position;
} Runner;

static void supply(Runner *r, unsigned needs)
{
    unsigned missing = needs & ~r->facts;
    if (missing & FACT_USES)
        graph_count_uses(r->model);
    if (missing & FACT_NAMES)
        graph_name_all(r->cx, r->model);
    r->facts |= needs;
}

static bool run_pass(Runner *r, PassId id, bool *changed)
{
    const PassInfo *info = &pass_info[id];
    PassContext px = {r->cx, r->remarks, info->name, r->linearize, r->lowrank, r->bf16, r->last_position};
    int errors = r->cx->diags->errors;
    supply(r, info->needs);
    *changed = info->run(&px, r->model);
    if (*changed)
        r->facts &= ~info->breaks;
    supply(r, FACT_NAMES);
    if (r->cx->diags->errors != errors)
        return false;
    const char *why = NULL;
    if (graph_verify(r->cx, r->model, &why))
        return true;
    Diag *d = diag_error(r->cx->diags, "E9901", (Span){0}, "the pass `%s` left a broken graph: %s", info->name, why);
    diag_help(d, "`--pass %s=off` goes around it; please report this", info->name);
    return false;
}

static int count_nodes(const Graph *g)
{
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        count += 1 + (n->body && n->body->level != LEVEL_BODY ? count_nodes(n->body) : 0);
    return count;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void remark_off(Runner *r, int step)
{
    PassContext px = {.cx = r->cx, .remarks = r->remarks, .pass = pass_info[pipeline[step].id].name};
    for (int i = 0; i < step; i++)
        if (pipeline[i].id == pipeline[step].id)
            return;
    remark(&px, REMARK_MISSED, REMARK_BLOCKED_BY_USER, NULL, "the pass is switched off");
}

static bool is_off(const PassOptions *options, PassId id)
{
    return options && options->off[id] && id != PASS_ID_lower && id != PASS_ID_plan_memory;
}

/* The last step to run, -1 for none: the last one of that name, so that `stop_after` means "when it has done all it
 * does". */
static int last_step(const PassOptions *options)
{
    int last = pipeline_length - 1;
    for (int i = 0; options && options->stop_before && i < pipeline_length; i++)
        if (!strcmp(pass_info[pipeline[i].id].name, options->stop_before))
            return i - 1;
    for (int i = 0; options && options->stop_after && i < pipeline_length; i++)
        if (!strcmp(pass_info[pipeline[i].id].name, options->stop_after))
            last = i;
    return last;
}

bool passes_run(Context *cx, Graph *model, const PassOptions *options, Remarks *remarks, PassTime *times)
{
    Runner r = {.cx = cx, .model = model, .remarks = remarks};
    if (options) {
        r.linearize = options->linearize;
        r.lowrank = options->lowrank;
        r.bf16 = options->bf16;
        r.last_position = options->last_position;
    }
    int last = last_step(options);
    for (int i = 0; i < pipeline_length; i++) {
        const PassInfo *info = &pass_info[pipeline[i].id];
        if (times)
            times[i] = (PassTime){.pass = info->name};
        if (is_off(options, pipeline[i].id))
            remark_off(&r, i);
        if (i > last || is_off(options, pipeline[i].id))
            continue;
        PassTime time = {.pass = info->name, .nodes_before = count_nodes(model)};
        double start = now();
        bool sound = run_pass(&r, pipeline[i].id, &time.changed);
        time.seconds = now() - start;
        time.nodes_after = count_nodes(model);
        if (times)
            times[i] = time;
        if (!sound)
            return false;
        if (options && options->after)
            options->after(options->after_state, info, model, &time);
    }
    graph_count_uses(model);
    return true;
}

bool pass_run_one(Context *cx, Graph *model, PassId id, Remarks *remarks)
{
    Runner r = {.cx = cx, .model = model, .remarks = remarks};
    bool changed = false;
    return run_pass(&r, id, &changed);
}

bool pass_from_name(const char *name, PassId *out)
{
    for (int i = 0; i < PASS_COUNT; i++)
        if (!strcmp(pass_info[i].name, name)) {
            *out = (PassId)i;
            return true;
        }
    return false;
}
