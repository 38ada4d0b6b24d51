/* attar build: a model as files that a program is built with: C, header, weights, a check, an example, and how to compile them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "driver/ship.h"

typedef struct BuildVerb {
    Options o;
    const char *folder, *golden;
    const char *targets;
    ShipThreads threads;
    bool embed, lib, force, tuned;
} BuildVerb;

static const char doc[] =
    "Writes a folder with which a model becomes part of a program: C that needs nothing but libc and libm, its header, its weights, a check, an example, a Makefile and a README.md that says what was "
    "approximated, how much memory it takes and how it is called.\n\n"
    "  attar build models/minilm.attar --weights DIR -o out\n"
    "  attar build models/llama.attar --weights models/austen --target x86-64-v3,x86-64-v4 --threads caller -o out\n"
    "  attar build models/bert.attar --weights DIR --target aarch64 --store f16 --embed-weights -o out\n"
    "  make -C out check\n\n"
    "Without --target it is for this machine. The same model, weights and options give the same bytes, in any folder.";

enum { KEY_EMBED = 1, KEY_LIB, KEY_FORCE, KEY_TUNED, KEY_THREADS, KEY_SEED };

static const struct argp_option options[] = {
    {"output", 'o', "FOLDER", 0, "where the files go; it is made if it is not there", 0},
    {"threads", KEY_THREADS, "HOW", 0, OPTIONS_SHIP_THREADS, 0},
    {"embed-weights", KEY_EMBED, 0, 0, "the weights are in the program, too: NAME_weights.c", 0},
    {"lib", KEY_LIB, 0, 0, "also libNAME.a, libNAME.so and NAME.pc for pkg-config, made with the environment's CC or the clang that attar uses", 0},
    {"golden", 'g', "FILE", 0, "the check's inputs and outputs: input.NAME and output.NAME in one .safetensors file, tolerances beside it; without, inputs are drawn and the float64 interpreter gives the outputs", 0},
    {"seed", KEY_SEED, "N", 0, "seed of inputs that are drawn (0)", 0},
    {"tuned", KEY_TUNED, 0, 0, "with the tiles that `attar tune` measured on this machine; without: the same C on every machine", 0},
    {"force", KEY_FORCE, 0, 0, "write over files that attar did not write, or that were changed", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    BuildVerb *v = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &v->o); return 0;
    case 'o': v->folder = arg; return 0;
    case 'g': v->golden = arg; return 0;
    case KEY_THREADS:
        v->threads = options_ship_threads(state, arg);
        return 0;
    case KEY_EMBED: v->embed = true; return 0;
    case KEY_LIB: v->lib = true; return 0;
    case KEY_FORCE: v->force = true; return 0;
    case KEY_TUNED: v->tuned = true; return 0;
    case KEY_SEED: v->o.seed = (uint64_t)options_integer(state, "--seed", arg, 0, INT64_MAX); return 0;
    case ARGP_KEY_END:
        if (!v->folder || !*v->folder)
            argp_error(state, "where to? -o FOLDER");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {
    {&model_group, 0, NULL, 0}, {&build_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

/* ---- the golden file --------------------------------------------------------------------------------------------- */

typedef struct Golden {
    Tool *t;
    const char *path;
    const Plan *plan;
    HostTensor *inputs, *wanted; /* as the file has them, then in the order of the plan */
    int n_inputs, n_wanted;
} Golden;

/* Those of the plan, in its order; NULL after a diagnostic. */
static HostTensor *in_order(Golden *g, const char *side, const PlanTensor *plan, int n, const HostTensor *given, int n_given)
{
    Compilation *c = &g->t->c;
    HostTensor *out = arena_array(&c->arena, (size_t)n + 1, sizeof *out);
    for (int i = 0; i < n; i++) {
        const HostTensor *t = tensors_find(given, n_given, plan[i].name);
        if (!t) {
            diag_file_error(&c->diags, "E0656", g->path, NULL, "it has no `%s.%s`", side, plan[i].name);
            return NULL;
        }
        out[i] = *t;
    }
    return out;
}

static bool same_sizes(Golden *g, const char *side, const PlanTensor *plan, int n, const HostTensor *given, const int64_t *sizes)
{
    Compilation *c = &g->t->c;
    for (int i = 0; i < n; i++) {
        bool same = plan[i].rank == given[i].rank;
        for (int a = 0; same && a < plan[i].rank; a++)
            same = signature_size(&plan[i].dims[a], sizes) == given[i].dims[a];
        if (same)
            continue;
        diag_file_error(&c->diags, "E0656", g->path, arena_print(&c->arena, "tensor `%s.%s`", side, plan[i].name), "its sizes are not the model's");
        return false;
    }
    return true;
}

static bool take_golden(Golden *g, ShipCase *test)
{
    Compilation *c = &g->t->c;
    const Plan *p = g->plan;
    int count;
    HostTensor *all = safetensors_load(&c->cx, g->path, &count);
    if (!all)
        return false;
    tensors_split(&c->cx, all, count, &g->inputs, &g->n_inputs, &g->wanted, &g->n_wanted);
    HostTensor *inputs = in_order(g, "input", p->inputs, p->n_inputs, g->inputs, g->n_inputs);
    HostTensor *wanted = inputs ? in_order(g, "output", p->outputs, p->n_outputs, g->wanted, g->n_wanted) : NULL;
    if (!wanted)
        return false;
    int64_t *sizes = arena_array(&c->arena, (size_t)p->n_symbols + 1, sizeof *sizes), batch = signature_batch_size(p, inputs, p->n_inputs);
    if (!signature_sizes(&c->cx, p, NULL, 0, inputs, p->n_inputs, batch, 1, sizes) || !same_sizes(g, "input", p->inputs, p->n_inputs, inputs, sizes) ||
        !same_sizes(g, "output", p->outputs, p->n_outputs, wanted, sizes))
        return false;
    Tolerance *tolerance = tolerance_read(&c->cx, g->path, NULL);
    if (!tolerance)
        return false;
    double *allowed = arena_array(&c->arena, (size_t)p->n_outputs + 1, sizeof *allowed);
    for (int i = 0; i < p->n_outputs; i++) {
        double largest = 0;
        for (int64_t k = 0; k < host_count(&wanted[i]); k++)
            largest = isfinite(host_get(&wanted[i], k)) ? fmax(largest, fabs(host_get(&wanted[i], k))) : largest;
        allowed[i] = tolerance_of(tolerance, &wanted[i], largest);
    }
    tolerance_free(tolerance);
    const char *slash = strrchr(g->path, '/');
    test->inputs = inputs, test->wanted = wanted, test->tolerance = allowed, test->sizes = sizes;
    test->origin = slash ? slash + 1 : g->path;
    return true;
}

/* What an approximated model is off from the golden file: the check compares with its own arithmetic in float64, so this is said apart. */
static void say_distance(const Shipment *s, const HostTensor *golden)
{
    for (int i = 0; i < s->code->plan->n_outputs; i++) {
        Difference d = {0};
        tensors_compare(&s->test.wanted[i], &golden[i], &d);
        tool_note("%s: the approximations are off the golden file by %.3g at most, %.3g of its largest", golden[i].name, d.absolute, d.relative);
    }
}

static bool make_case(Tool *t, const BuildVerb *v, Shipment *s)
{
    const Plan *p = s->code->plan;
    s->test.step = p->n_caches ? signature_step(p) : -1;
    s->test.in_steps = p->n_caches && s->test.step >= 0 && !signature_measures(t->c.model.graph);
    s->test.origin = arena_print(&t->c.arena, "drawn from seed %llu", (unsigned long long)v->o.seed);
    if (!v->golden)
        return ship_compute(s, NULL, v->o.seed);
    Golden g = {.t = t, .path = v->golden, .plan = p};
    if (!take_golden(&g, &s->test) || !t->c.approximations.count)
        return t->c.diags.errors == 0;
    const HostTensor *golden = s->test.wanted;
    if (!ship_compute(s, s->test.inputs, 0))
        return false;
    say_distance(s, golden);
    return true;
}

/* ---- the verb ---------------------------------------------------------------------------------------------------- */

/* What example.c can do with the model. */
static ShipProgram program_of(const Tool *t, const Plan *p)
{
    int step = p->n_caches ? signature_step(p) : -1, batch = signature_batch(p);
    bool tokens = step >= 0 && batch >= 0 && p->n_inputs == 1 && p->inputs[0].rank == 2 && p->inputs[0].dtype == DT_I32 && p->n_outputs == 1 &&
                  p->outputs[0].rank == 3 && p->outputs[0].dtype == DT_F32 && !p->outputs[0].dims[2].n && signature_axis(&p->inputs[0], batch) == 0 &&
                  signature_axis(&p->inputs[0], step) == 1 && signature_axis(&p->outputs[0], batch) == 0 && signature_axis(&p->outputs[0], step) == 1;
    const char *tokenizer = t->c.config ? json_string_value(json_at(t->c.config, "tokenizer")) : NULL;
    return !tokens ? SHIP_ANY : tokenizer && !strcmp(tokenizer, "bytes") && p->outputs[0].dims[2].base <= 256 ? SHIP_BYTES : SHIP_TOKENS;
}

static int lines_of(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

static void say_what(const Tool *t, const BuildVerb *v, const Shipment *s)
{
    Arena *a = (Arena *)&t->c.arena;
    for (size_t i = 0; i < t->c.approximations.count; i++) {
        Text line = text_new(a);
        approximation_print(&t->c.approximations.items[i], &line);
        printf("approximated  %s\n", line.data);
    }
    printf("%s: %s.c of %s lines, %s.weights of %s; the check's inputs: %s\n", v->folder, s->code->name, tool_count(a, lines_of(s->code->source)), s->code->name,
           tool_bytes(a, (double)s->code->file_bytes), s->test.origin);
    printf("make -C %s check\n", v->folder);
}

static bool build(Tool *t, BuildVerb *v)
{
    Compilation *c = &t->c;
    Shipped code;
    ShipOptions ship = {.threads = v->threads, .embed = v->embed};
    int n;
    const Target **chosen = ship_targets(c, v->targets, &n);
    if (!chosen || !tool_load(t) || !compile_passes(c, &v->o.compile))
        return false;
    ship.targets = chosen;
    ship.n_targets = n;
    if (!compile_ship(c, &v->o.compile, &ship, &code))
        return false;
    if (!c->checkpoint && c->model.graph && code.plan->n_weights) {
        for (int i = 0; i < code.plan->n_weights; i++)
            if (!code.plan->weights[i].data) {
                diag_file_error(&c->diags, "E0651", v->o.compile.model, NULL, "the model has weights, but no checkpoint was given");
                return false;
            }
    }
    Shipment s = {.c = c, .o = &v->o.compile, .code = &code, .threads = v->threads, .embed = v->embed, .lib = v->lib, .force = v->force, .program = program_of(t, code.plan)};
    if (!make_case(t, v, &s) || !ship_write(&s, v->folder))
        return false;
    say_what(t, v, &s);
    return true;
}

int verb_build(int argc, char **argv)
{
    BuildVerb v = {0};
    options_parse(&argp, argc, argv, &v);
    v.o.compile.untuned = !v.tuned;
    v.targets = v.o.compile.target; /* a list; what is compiled on the way is for this machine */
    v.o.compile.target = NULL;
    Tool t;
    tool_begin(&t, &v.o);
    return tool_end(&t, build(&t, &v));
}
