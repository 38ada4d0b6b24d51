/* attar diff: the compiled model against the float64 interpreter of its kernels, value by value, and the kernels
 * against the mathematics they came from. With `--dim past=N` a call of N positions fills the caches of both sides
 * first. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "driver/oracle.h"
#include "support/compute.h"

typedef struct DiffOptions {
    Options o;
    double tolerance;
} DiffOptions;

static const char doc[] =
    "Compares the compiled model with the float64 interpreter, kernel by kernel and layer by layer.\n\n"
    "  attar diff models/llama.attar --weights DIR\n"
    "  attar diff models/llama.attar --weights DIR --dim B=2 --dim S=1 --dim past=12\n"
    "  attar diff models/bert.attar --weights DIR --input golden.safetensors\n\n"
    "Without --input the inputs are drawn at random from --seed. Shows the first value that differs by more than --tol "
    "(1e-4; with --compute bf16 0.02, as a number between two of bf16 may go to either) relative to "
    "its largest magnitude, and the worst ones; exit status 1 if there is such a value.";

static const struct argp_option options[] = {
    {"tol", 1, "X", 0, "largest difference that passes, relative to the value's largest magnitude (1e-4, with --compute bf16 0.02)", 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    DiffOptions *d = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &d->o); return 0;
    case 1: d->tolerance = options_real(state, "--tol", arg, 0, 1e30); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},
                                           {&inputs_group, 0, NULL, 0},
                                           {&dims_group, 0, NULL, 0},
                                           {&threads_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

enum { MAX_RESULTS = 16, WORST = 5, USUAL_LENGTH = 13, USUAL_BATCH = 2 };

typedef struct Compared { /* one value of one layer */
    const Node *node;
    const char *function;
    int64_t layer;
    Difference d;
    double got, want; /* at the worst element */
} Compared;

typedef struct Diff {
    Tool *t;
    const DiffOptions *options;
    Oracle kernels; /* the interpreter on the KERNEL graph */
    Arena *arena;
    Compared *list;
    size_t count, capacity;
    int kernel_calls; /* results already reported by the kernel whose calls come in a row */
    int64_t last_kernel, last_layer;
    bool active; /* false while the caches are filled */
} Diff;

/* ---- values in memory -------------------------------------------------------------------------------------------- */

/* Where element `at` (row-major over the type's axes) lies in a result laid out as panels of keys: [other axes][T /
 * 32][head axis][32]. */
static int64_t panel_offset(const Node *n, const Value *v, int64_t at)
{
    int keys = -1, head = v->rank - 1;
    const char *name = attr_name(n, ATTR_keys);
    for (int i = 0; i < v->rank; i++)
        if (name && !strcmp(n->type->axis[i].name, name))
            keys = i;
    int64_t index[MAX_RANK] = {0}, other = 0;
    for (int i = v->rank - 1; i >= 0; i--) {
        index[i] = at % v->dims[i];
        at /= v->dims[i];
    }
    if (keys == head)
        head = v->rank - 2;
    for (int i = 0; i < v->rank; i++)
        if (i != keys && i != head)
            other = other * v->dims[i] + index[i];
    int64_t panels = (v->dims[keys] + KEY_PANEL - 1) / KEY_PANEL, width = v->dims[head] * KEY_PANEL;
    return other * panels * width + index[keys] / KEY_PANEL * width + index[head] * KEY_PANEL + index[keys] % KEY_PANEL;
}

/* The kernel whose body and layout say how `n` is stored: `n` itself, or the one it is a result of. */
static const Node *maker(const Node *n)
{
    return n->op == OP_get ? n->inputs[0] : n;
}

static void compare_memory(const Node *n, const Value *want, const void *data, Compared *out)
{
    const char *layout = attr_name(maker(n), ATTR_layout);
    bool panels = layout && !strcmp(layout, "panels");
    HostTensor got = {.dtype = n->type->dtype, .rank = 1, .dims = {want->count}};
    memcpy(&got.data, &data, sizeof data);
    Difference *d = &out->d;
    for (int64_t i = 0; i < want->count; i++) {
        double w = want->data[i], g = host_get(&got, panels ? panel_offset(maker(n), want, i) : i), off = fabs(g - w);
        if (isfinite(w))
            d->largest = fmax(d->largest, fabs(w));
        if (g == w || (isnan(g) && isnan(w)))
            continue;
        d->nan |= isnan(off);
        if (isnan(off) || off > d->absolute) {
            d->absolute = isnan(off) ? INFINITY : off;
            d->at = i;
            out->got = g;
            out->want = w;
        }
    }
    d->relative = d->absolute / (d->largest > 0 ? d->largest : 1);
}

/* ---- taps -------------------------------------------------------------------------------------------------------- */

/* Result number `call` of a kernel, as the taps count: its `get`s that exist, in the order of their indices. */
static const Node *result_node(const Node *kernel, int call)
{
    if (kernel->type)
        return call == 0 ? kernel : NULL;
    const Node *gets[MAX_RESULTS] = {0};
    for (const Node *n = kernel->next; n; n = n->next) {
        int64_t index = n->op == OP_get && n->inputs[0] == kernel ? attr_int(n, ATTR_index, 0) : -1;
        if (index >= 0 && index < MAX_RESULTS)
            gets[index] = n;
    }
    for (int i = 0; i < MAX_RESULTS; i++)
        if (gets[i] && call-- == 0)
            return gets[i];
    return NULL;
}

static void tap(void *state, int64_t kernel, int64_t layer, const void *data)
{
    Diff *d = state;
    const Emitted *e = &d->t->c.emitted;
    if (!d->active || kernel < 0 || kernel >= e->n_kernels)
        return;
    d->kernel_calls = kernel == d->last_kernel && layer == d->last_layer ? d->kernel_calls + 1 : 0;
    d->last_kernel = kernel;
    d->last_layer = layer;
    const Node *n = result_node(e->kernels[kernel].node, d->kernel_calls);
    const Value *want = n && n->op != OP_append ? oracle_value(&d->kernels, n, layer) : NULL;
    if (!want)
        return;
    d->list = arena_room(d->arena, d->list, d->count, &d->capacity, sizeof *d->list);
    Compared *c = &d->list[d->count++];
    *c = (Compared){.node = n, .function = e->kernels[kernel].function, .layer = layer};
    compare_memory(n, want, data, c);
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static int worse(const void *a, const void *b)
{
    double x = ((const Compared *)a)->d.relative, y = ((const Compared *)b)->d.relative;
    return (x < y) - (x > y);
}

static const char *where(Diff *d, const Compared *c)
{
    Arena *a = d->arena;
    return c->layer < 0 ? c->node->name : arena_print(a, "%s, layer %lld", c->node->name, (long long)c->layer);
}

static void print_element(Diff *d, const Compared *c)
{
    const Value *v = oracle_value(&d->kernels, c->node, c->layer);
    int64_t index[MAX_RANK] = {0}, at = c->d.at;
    for (int i = v->rank - 1; i >= 0; i--) {
        index[i] = at % v->dims[i];
        at /= v->dims[i];
    }
    printf("first value that differs: %s, made by %s, in [", where(d, c), c->function);
    for (int i = 0; i < v->rank; i++)
        printf("%s%s=%lld", i ? ", " : "", c->node->type->axis[i].name, (long long)index[i]);
    printf("]: %.9g compiled, %.9g expected\n", c->got, c->want);
}

static bool print_values(Diff *d)
{
    const Compared *first = NULL;
    for (size_t i = 0; i < d->count && !first; i++)
        if (d->list[i].d.relative > d->options->tolerance)
            first = &d->list[i];
    if (first)
        print_element(d, first);
    bool good = !first && d->count;
    if (d->count)
        qsort(d->list, d->count, sizeof *d->list, worse);
    printf("%zu values of %d kernels compared with float64; the worst:\n", d->count, d->t->c.emitted.n_kernels);
    for (size_t i = 0; i < d->count && i < WORST; i++) {
        Text type = text_new(d->arena);
        type_print(d->list[i].node->type, &type);
        printf("  %-26s %-8s max abs %-9.3g relative %-9.3g %s\n", where(d, &d->list[i]),
               op_info[maker(d->list[i].node)->op].name, d->list[i].d.absolute, d->list[i].d.relative, type.data);
    }
    return good;
}

static double relative_difference(const Value *a, const Value *b)
{
    double largest = 0, off = 0;
    for (int64_t i = 0; i < a->count; i++) {
        double x = a->data[i], y = b->data[i];
        largest = isfinite(x) ? fmax(largest, fabs(x)) : largest;
        if (x != y && !(isnan(x) && isnan(y)))
            off = fmax(off, isnan(x - y) ? INFINITY : fabs(x - y));
    }
    return off / (largest > 0 ? largest : 1);
}

/* The results three ways: the mathematics, the kernels, the machine code. What was asked to be approximated is not the mathematics any more:
 * then the kernels say what the machine code should give. */
static bool print_results(Diff *d, const Value *mathematics, const Value *kernels, const HostTensor *outputs)
{
    const Graph *g = d->t->c.kernels;
    bool good = true, approximate = d->t->c.approximations.count > 0;
    printf(approximate ? "results, approximated as was asked for:\n" : "results:\n");
    for (int i = 0; i < g->n_results; i++) {
        double exact = relative_difference(&mathematics[i], &kernels[i]);
        const Value *true_to = approximate ? &kernels[i] : &mathematics[i];
        HostTensor want = {.dtype = DT_F64, .rank = 1, .dims = {true_to->count}, .data = true_to->data};
        HostTensor got = outputs[i];
        got.rank = 1;
        got.dims[0] = host_count(&outputs[i]);
        Difference off = {0};
        tensors_compare(&got, &want, &off);
        printf("  %-26s kernels against the mathematics (both float64): %.3g; compiled: max abs %.3g, relative %.3g\n",
               outputs[i].name, exact, off.absolute, off.relative);
        good &= (approximate || exact <= 1e-9) && off.relative <= d->options->tolerance;
    }
    return good;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

typedef struct Call {
    int64_t *sizes;
    const HostTensor *inputs;
    int n_inputs;
} Call;

static bool run_three(Diff *d, Oracle *mathematics, Session *s, const Call *call, bool last)
{
    Context *cx = &d->t->c.cx;
    Value *m = oracle_run(mathematics, call->sizes, call->inputs, call->n_inputs, false);
    Value *k = m ? oracle_run(&d->kernels, call->sizes, call->inputs, call->n_inputs, last) : NULL;
    d->active = last;
    d->last_kernel = -1;
    const HostTensor *outputs;
    if (!k || !session_run(cx, s, call->inputs, call->n_inputs, &outputs))
        return false;
    if (!last)
        return true;
    bool values = print_values(d), results = print_results(d, m, k, outputs);
    return values && results;
}

/* Random inputs for `length` new positions after `past`. */
static bool random_call(Diff *d, const int64_t *sizes, int64_t past, int64_t length, uint64_t seed, Call *call)
{
    Compilation *c = &d->t->c;
    const Plan *plan = &c->emitted.plan;
    call->sizes = arena_array(d->arena, (size_t)plan->n_symbols + 1, sizeof *call->sizes);
    memcpy(call->sizes, sizes, (size_t)plan->n_symbols * sizeof *sizes);
    if (signature_past(plan) >= 0)
        call->sizes[signature_past(plan)] = past;
    if (signature_step(plan) >= 0)
        call->sizes[signature_step(plan)] = length;
    call->inputs = signature_random(&c->cx, plan, c->model.graph, call->sizes, seed);
    call->n_inputs = plan->n_inputs;
    return call->inputs != NULL;
}

static bool compare(Diff *d, Oracle *mathematics, Session *s, const int64_t *sizes, const HostTensor *given,
                    int n_given)
{
    const Plan *plan = &d->t->c.emitted.plan;
    int past_symbol = signature_past(plan), step = signature_step(plan);
    int64_t past = past_symbol >= 0 ? sizes[past_symbol] : 0;
    Call call;
    if (past > 0 &&
        (!random_call(d, sizes, 0, past, d->options->o.seed + 1, &call) || !run_three(d, mathematics, s, &call, false)))
        return false;
    if (!random_call(d, sizes, past, step >= 0 ? sizes[step] : 0, d->options->o.seed, &call))
        return false;
    if (n_given) {
        call.inputs = given;
        call.n_inputs = n_given;
    }
    for (int i = 0; i < plan->n_symbols; i++)
        printf("%s%s=%lld", i ? " " : "", plan->symbols[i].name, (long long)call.sizes[i]);
    printf("%s", plan->n_symbols ? "\n" : "");
    return run_three(d, mathematics, s, &call, true);
}

static bool diff(Tool *t, DiffOptions *o)
{
    o->o.compile.taps = true;
    Compilation *c = &t->c;
    HostTensor *given;
    int n_given;
    if (!compile_all(c, &o->o.compile) || !tensors_load(&c->cx, &o->o, &c->emitted.plan, &given, &n_given))
        return false;
    const Plan *plan = &c->emitted.plan;
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *sizes);
    if (!signature_sizes(&c->cx, plan, o->o.dims, o->o.n_dims, given, n_given, USUAL_BATCH, USUAL_LENGTH, sizes))
        return false;
    Arena values = {.on_oom = c->arena.on_oom};
    Diff d = {.t = t, .options = o, .arena = &values};
    Oracle mathematics;
    oracle_begin(&mathematics, c, c->model.graph);
    oracle_begin(&d.kernels, c, c->kernels);
    SessionHooks hooks = {.tap = tap, .tap_state = &d};
    int64_t batch = signature_batch(plan) >= 0 ? sizes[signature_batch(plan)] : 1;
    Session *s = session_new(&c->cx, &c->program, plan->n_caches ? batch : 0, tool_threads(&o->o), &hooks);
    bool good = s && compare(&d, &mathematics, s, sizes, given, n_given);
    if (s)
        session_free(s);
    oracle_free(&mathematics);
    oracle_free(&d.kernels);
    arena_free(&values);
    return good;
}

int verb_diff(int argc, char **argv)
{
    DiffOptions d = {.tolerance = NAN};
    options_parse(&argp, argc, argv, &d);
    ComputeSpec spec;
    const char *why;
    if (isnan(d.tolerance))
        d.tolerance = d.o.compile.compute && compute_read(d.o.compile.compute, &spec, &why) && spec.bf16 ? 0.02 : 1e-4;
    Tool t;
    tool_begin(&t, &d.o);
    return tool_end(&t, diff(&t, &d));
}
