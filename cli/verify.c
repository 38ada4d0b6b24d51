/* attar verify: a model's outputs against a golden file, in one call and, for models with caches, token by token as
 * well. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

typedef struct VerifyOptions {
    Options o;
    const char *golden;
    double atol;
    bool has_atol;
    int64_t first; /* 0: token by token */
} VerifyOptions;

static const char doc[] =
    "Compares a model's outputs with a golden file: input.NAME and output.NAME in one .safetensors file.\n\n"
    "  attar verify models/bert.attar --weights DIR --golden DIR/golden.safetensors\n"
    "  attar verify models/bert.attar --weights DIR --golden golden.safetensors --atol 1e-5\n\n"
    "An output passes if no element is off by more than the tolerance: --atol, or `outputs.NAME.atol`, or `tolerance` in "
    "the .json file beside the golden file (`\"relative\": true`: times the largest magnitude, if that is above 1). Whole "
    "numbers have to be equal. "
    "Models with caches are run on all positions at once and then token by token. Where the model computes with the "
    "length of the text, as dynamic rotary scaling does, token by token is another function: it may differ.";

static const struct argp_option options[] = {
    {"golden", 'g', "FILE", 0, "the golden file", 0},
    {"atol", 1, "X", 0, "largest absolute error that passes", 0},
    {"first", 2, "N", 0, "instead of token by token: the first N positions in a call, then the rest in another", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    VerifyOptions *v = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &v->o); return 0;
    case 'g': v->golden = arg; return 0;
    case 1:
        v->atol = options_real(state, "--atol", arg, 0, 1e30);
        v->has_atol = true;
        return 0;
    case 2: v->first = options_integer(state, "--first", arg, 1, INT32_MAX); return 0;
    case ARGP_KEY_END:
        if (!v->golden)
            argp_error(state, "what to compare with? --golden FILE.safetensors");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},
                                           {&threads_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

typedef struct Verify {
    Tool *t;
    const VerifyOptions *v;
    const Plan *plan;
    Session *session;
    HostTensor *inputs, *wanted;
    int n_inputs, n_wanted;
    Tolerance *tolerance;
    int failed;
} Verify;

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static bool same_shape(Verify *y, const HostTensor *got, const HostTensor *want)
{
    bool same = got->rank == want->rank;
    for (int i = 0; same && i < got->rank; i++)
        same = got->dims[i] == want->dims[i];
    if (same)
        return true;
    Arena *a = &y->t->c.arena;
    Text g = text_new(a), w = text_new(a);
    tensors_describe(got, &g);
    tensors_describe(want, &w);
    diag_file_error(&y->t->c.diags, "E0656", y->v->golden, arena_print(a, "tensor `output.%s`", want->name),
                    "it is %s, but the model gives %s", w.data, g.data);
    return false;
}

/* `measures`: the node by which the outputs may depend on the length of the text, or NULL. */
static void report(Verify *y, const char *how, const HostTensor *want, const Difference *d, const Node *measures)
{
    double most = tolerance_of(y->tolerance, want, d->largest);
    bool pass = !d->nan && d->absolute <= most, excused = !pass && !d->nan && measures;
    y->failed += !pass && !excused;
    Text shape = text_new(&y->t->c.arena);
    tensors_describe(want, &shape);
    printf("%-12s %-20s %-15s max abs error %-9.3g relative to largest %-9.3g tolerance %-8.3g %s%s%s\n", want->name,
           shape.data, how, d->absolute, d->relative, most,
           tool_paint(y->t, pass ? "\033[32m" : excused ? "\033[33m" : "\033[31;1m"),
           pass ? "PASS" : excused ? "DIFFERS" : "FAIL", tool_paint(y->t, "\033[0m"));
    if (d->nan)
        printf("%-12s not a number, first at element %lld\n", "", (long long)d->at);
    if (excused)
        printf("%-12s no error: the model computes with the length of the text (line %d), and token by token the first "
               "positions see a shorter one\n",
               "", span_start(measures->at).line);
}

static bool at_once(Verify *y)
{
    const HostTensor *outputs;
    if (!session_run(&y->t->c.cx, y->session, y->inputs, y->n_inputs, &outputs))
        return false;
    for (int i = 0; i < y->plan->n_outputs; i++) {
        const HostTensor *want = tensors_find(y->wanted, y->n_wanted, outputs[i].name);
        Difference d = {0};
        if (!want)
            continue;
        if (!same_shape(y, &outputs[i], want))
            return false;
        tensors_compare(&outputs[i], want, &d);
        report(y, y->plan->n_caches ? "prefill" : "", want, &d, NULL);
    }
    return true;
}

static int64_t steps_of(const Verify *y)
{
    int step = signature_step(y->plan);
    for (int i = 0; i < y->n_inputs; i++) {
        const PlanTensor *p = plan_tensor(y->plan->inputs, y->plan->n_inputs, y->inputs[i].name);
        int axis = p ? signature_axis(p, step) : -1;
        if (axis >= 0)
            return y->inputs[i].dims[axis];
    }
    return 0;
}

/* Positions at .. at + count of every input that has the step axis, the others whole; compared with those of the outputs. */
static bool one_step(Verify *y, int64_t at, int64_t count, bool last, Difference *differences)
{
    Arena work = {.on_oom = y->t->c.arena.on_oom};
    HostTensor *inputs = arena_array(&work, (size_t)y->n_inputs, sizeof *inputs);
    int step = signature_step(y->plan);
    for (int i = 0; i < y->n_inputs; i++) {
        const PlanTensor *p = plan_tensor(y->plan->inputs, y->plan->n_inputs, y->inputs[i].name);
        int axis = p ? signature_axis(p, step) : -1;
        inputs[i] = axis < 0 ? y->inputs[i] : tensors_slice(&work, &y->inputs[i], axis, at, count);
    }
    const HostTensor *outputs;
    bool good = session_run(&y->t->c.cx, y->session, inputs, y->n_inputs, &outputs);
    for (int i = 0; good && i < y->plan->n_outputs; i++) {
        const HostTensor *want = tensors_find(y->wanted, y->n_wanted, outputs[i].name);
        int axis = signature_axis(&y->plan->outputs[i], step);
        if (!want || (axis < 0 && !last))
            continue;
        HostTensor part = axis < 0 ? *want : tensors_slice(&work, want, axis, at, count);
        tensors_compare(&outputs[i], &part, &differences[i]);
    }
    arena_free(&work);
    return good;
}

/* Token by token, or --first positions and then the rest. */
static bool in_steps(Verify *y)
{
    int64_t steps = steps_of(y), first = y->v->first, count = 1;
    if (first >= steps) {
        diag_file_error(&y->t->c.diags, "E0656", y->v->golden, NULL, "it has %lld positions: --first %lld leaves none", (long long)steps, (long long)first);
        return false;
    }
    const char *how = first ? arena_print(&y->t->c.arena, "%lld, then %lld", (long long)first, (long long)(steps - first)) : "token by token";
    Difference *differences = arena_array(&y->t->c.arena, (size_t)y->plan->n_outputs, sizeof *differences);
    session_reset(y->session);
    for (int64_t at = 0; at < steps; at += count) {
        count = first ? at ? steps - at : first : 1;
        if (!one_step(y, at, count, at + count == steps, differences))
            return false;
    }
    for (int i = 0; i < y->plan->n_outputs; i++) {
        const HostTensor *want = tensors_find(y->wanted, y->n_wanted, y->plan->outputs[i].name);
        if (want)
            report(y, how, want, &differences[i], signature_measures(y->t->c.model.graph));
    }
    return true;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* Says which names only one side has, and drops inputs that the model does not take. */
static bool match_names(Verify *y)
{
    int kept = 0, found = 0;
    for (int i = 0; i < y->n_inputs; i++) {
        if (plan_tensor(y->plan->inputs, y->plan->n_inputs, y->inputs[i].name))
            y->inputs[kept++] = y->inputs[i];
        else
            tensors_left_out(y->inputs[i].name);
    }
    y->n_inputs = kept;
    for (int i = 0; i < y->n_wanted; i++)
        if (!plan_tensor(y->plan->outputs, y->plan->n_outputs, y->wanted[i].name))
            tool_note("the golden file's output `%s` is not the model's: not compared", y->wanted[i].name);
    for (int i = 0; i < y->plan->n_outputs; i++) {
        bool here = tensors_find(y->wanted, y->n_wanted, y->plan->outputs[i].name) != NULL;
        found += here;
        if (!here)
            tool_note("the model's output `%s` is not in the golden file: not compared", y->plan->outputs[i].name);
    }
    if (!found)
        diag_file_error(&y->t->c.diags, "E0656", y->v->golden, NULL,
                        "it has no output of this model: nothing to compare");
    return found > 0;
}

static bool load_golden(Verify *y)
{
    Context *cx = &y->t->c.cx;
    int count;
    HostTensor *all = safetensors_load(cx, y->v->golden, &count);
    if (!all)
        return false;
    tensors_split(cx, all, count, &y->inputs, &y->n_inputs, &y->wanted, &y->n_wanted);
    y->tolerance = match_names(y) ? tolerance_read(cx, y->v->golden, y->v->has_atol ? &y->v->atol : NULL) : NULL;
    return y->tolerance != NULL;
}

static bool verify(Tool *t, const VerifyOptions *v)
{
    if (!compile_all(&t->c, &v->o.compile))
        return false;
    Verify y = {.t = t, .v = v, .plan = &t->c.emitted.plan};
    if (!load_golden(&y))
        return false;
    y.session = tool_session(t, y.inputs, y.n_inputs, NULL);
    if (!y.session)
        return false;
    bool good = at_once(&y) && (!y.plan->n_caches || in_steps(&y));
    session_free(y.session);
    tolerance_free(y.tolerance);
    return good && !y.failed;
}

int verb_verify(int argc, char **argv)
{
    VerifyOptions v = {0};
    options_parse(&argp, argc, argv, &v);
    Tool t;
    tool_begin(&t, &v.o);
    return tool_end(&t, verify(&t, &v));
}
