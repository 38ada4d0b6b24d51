/* attar tune: the tiles of a model's products, timed on this machine where they stand.
 *
 * The model is built once as the costs would have it and once with each other tile in all of its gemms. Two builds at a
 * time run in turns, each with a clock around every kernel, and a product is judged by the median of the ratios of
 * neighbouring runs: what another process takes it takes from both. */
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "codegen/choose.h"
#include "driver/tuned.h"
#include "ir/interpret.h"

static const char doc[] =
    "Times the tiles that the model's matrix products could have on this machine, and keeps the best of them.\n\n"
    "  attar tune models/bert.attar --weights DIR --dim B=1 --dim S=128\n"
    "  attar tune models/bert.attar --weights DIR --threads 2 --rounds 60\n\n"
    "The table stands in the folder of compiled objects (`attar cache`), for this processor, compiler and target. It "
    "counts for every model with products of the same shapes, on every later run; no tile changes a bit of a result. "
    "`attar emit` reads it only with --tuned, `attar report` says what it changed; --forget starts it anew.";

enum { KEY_ROUNDS = 1, KEY_FORGET };
#define WORTH 0.98 /* a tile that saves less than this is not told from noise */

typedef struct TuneOptions {
    BenchOptions bench;
    bool forget;
} TuneOptions;

static const struct argp_option options[] = {
    {"rounds", KEY_ROUNDS, "N", 0, "pairs of runs for each tile (30)", 0},
    {"forget", KEY_FORGET, 0, 0, "drop what was measured before", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    TuneOptions *t = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &t->bench.o); return 0;
    case KEY_ROUNDS: t->bench.rounds = (int)options_integer(state, "--rounds", arg, 3, MAX_ROUNDS); return 0;
    case KEY_FORGET: t->forget = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},   {&dims_group, 0, NULL, 0},
                                           {&inputs_group, 0, NULL, 0},  {&threads_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},   {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

/* ---- products ---------------------------------------------------------------------------------------------------- */

typedef struct Product { /* of one shape, wherever the model has it */
    TunedTile best;
    Tile expected;
    Text tried; /* "6x16 1.03  .." */
} Product;

typedef struct Tune {
    Bench *bench;
    Product *products;
    int n, lanes;
    int *product_of; /* by number of the tile in the plain build; -1: nothing to choose */
    const Target *target;
} Tune;

static bool is_same(const GemmShape *a, const GemmShape *b)
{
    return a->accumulators == b->accumulators && a->depth == b->depth && a->columns == b->columns &&
           a->weight_bytes == b->weight_bytes;
}

static int64_t rows_of(const Tune *tune, const Node *gemm)
{
    const Type *x = gemm->inputs[0]->type;
    int64_t rows = 1;
    for (int i = 0; i < x->rank; i++)
        if (!attr_has_name(gemm, ATTR_over, x->axis[i].name))
            rows *= extent_value(x->axis[i].size, tune->bench->plain->c.kernels, tune->bench->graph_sizes);
    return rows;
}

static void collect(Tune *tune)
{
    Compilation *c = &tune->bench->plain->c;
    const Emitted *e = &c->emitted;
    tune->products = arena_array(&c->arena, (size_t)e->n_tiles + 1, sizeof *tune->products);
    tune->product_of = arena_array(&c->arena, (size_t)e->n_tiles + 1, sizeof *tune->product_of);
    for (int i = 0; i < e->n_tiles; i++) {
        const TileChoice *t = &e->tiles[i];
        int at = 0;
        tune->product_of[i] = -1;
        if (t->how == TILE_ROTATED || t->how == TILE_BESIDE)
            continue;
        while (at < tune->n && !is_same(&tune->products[at].best.shape, &t->shape))
            at++;
        tune->product_of[i] = at;
        if (at < tune->n)
            continue;
        Product *p = &tune->products[tune->n++];
        *p = (Product){.best = {t->shape, t->tile, 1}, .expected = t->tile, .tried = text_new(&c->arena)};
        p->best.shape.rows = rows_of(tune, t->gemm);
    }
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

typedef struct Side { /* a build that runs */
    Tool *t;
    Session *s;
    uint64_t *times;
} Side;

static bool open_side(const Tune *tune, Tool *t, Side *out)
{
    out->t = t;
    out->times = arena_array(&t->c.arena, (size_t)t->c.emitted.n_kernels + 1, sizeof *out->times);
    SessionHooks hooks = {.times = out->times};
    out->s = tool_session(t, tune->bench->inputs, tune->bench->n_inputs, &hooks);
    return out->s != NULL;
}

static bool run_side(const Tune *tune, Side *side)
{
    const HostTensor *outputs;
    memset(side->times, 0, (size_t)side->t->c.emitted.n_kernels * sizeof *side->times);
    if (side->t->c.emitted.plan.n_caches)
        session_reset(side->s);
    return session_run(&side->t->c.cx, side->s, tune->bench->inputs, tune->bench->n_inputs, &outputs);
}

/* What the last run spent in the kernels that compute the product; all groups of a kernel count for each of its products. */
static double seconds_of(const Tune *tune, const Side *side, int product)
{
    const Emitted *e = &side->t->c.emitted;
    double seconds = 0;
    for (int k = 0; k < e->n_kernels; k++) {
        bool has = false;
        for (int i = 0; i < e->n_tiles; i++)
            has |= tune->product_of[i] == product && e->tiles[i].gemm == e->kernels[k].node;
        if (has)
            seconds += 1e-9 * (double)side->times[k];
    }
    return seconds;
}

/* The tile that the other build gave the product. */
static Tile tile_of(const Tune *tune, const Emitted *e, int product)
{
    for (int i = 0; i < e->n_tiles; i++)
        if (tune->product_of[i] == product)
            return e->tiles[i].tile;
    return (Tile){0};
}

static void judge(Tune *tune, const Emitted *e, int product, double *ratios, int n)
{
    Product *p = &tune->products[product];
    Tile tile = tile_of(tune, e, product);
    if (tile.rows == p->expected.rows && tile.vectors == p->expected.vectors)
        return;
    double ratio = bench_median(ratios, n);
    text_add(&p->tried, "  %dx%d %.2f", tile.rows, tile.vectors * tune->lanes, ratio);
    if (ratio > WORTH || ratio <= 0 || ratio >= p->best.ratio)
        return;
    p->best.tile = tile;
    p->best.ratio = ratio;
}

static bool compare(Tune *tune, Side *plain, Side *other)
{
    int rounds = tune->bench->options->rounds;
    Arena *a = &other->t->c.arena;
    double *ratios = arena_array(a, (size_t)(tune->n * rounds) + 1, sizeof *ratios);
    for (int round = -2; round < rounds; round++) { /* two to warm up */
        Side *first = round & 1 ? other : plain, *second = round & 1 ? plain : other;
        if (!run_side(tune, first) || !run_side(tune, second))
            return false;
        for (int p = 0; p < tune->n && round >= 0; p++) {
            double before = seconds_of(tune, plain, p), after = seconds_of(tune, other, p);
            ratios[p * rounds + round] = before > 0 ? after / before : 1; /* 0: the side that a choice does not take */
        }
    }
    for (int p = 0; p < tune->n; p++)
        judge(tune, &other->t->c.emitted, p, ratios + p * rounds, rounds);
    return true;
}

/* One build with the alternative in all gemms, beside the plain one. */
static bool try_alternative(Tune *tune, Side *plain, int alternative)
{
    Options o = tune->bench->options->o;
    o.compile.alternative = alternative;
    Tool t;
    tool_begin(&t, &o);
    Side other = {0};
    bool good = compile_all(&t.c, &o.compile) && open_side(tune, &t, &other) && compare(tune, plain, &other);
    if (other.s)
        session_free(other.s);
    return tool_end(&t, good) == EXIT_GOOD;
}

static void print_results(const Tune *tune)
{
    printf("%-28s %8s %9s  %s\n", "product", "expected", "taken", "time of the others over that of the expected one");
    for (int i = 0; i < tune->n; i++) {
        const Product *p = &tune->products[i];
        Arena *a = &tune->bench->plain->c.arena;
        const GemmShape *s = &p->best.shape;
        const char *several = s->accumulators > 1 ? arena_print(a, "%d x ", s->accumulators) : "";
        printf("%-28s %8s %9s %s\n",
               arena_print(a, "%s%lld x %lld -> %lld", several, (long long)s->rows, (long long)s->depth, (long long)s->columns),
               arena_print(a, "%dx%d", p->expected.rows, p->expected.vectors * tune->lanes),
               arena_print(a, "%dx%d", p->best.tile.rows, p->best.tile.vectors * tune->lanes), p->tried.data);
    }
}

static bool tune_model(Tune *tune, bool forget)
{
    Tool *t = tune->bench->plain;
    Side plain = {0};
    if (!bench_prepare(tune->bench))
        return false;
    tune->target = compile_target(&t->c, &t->o->compile);
    tune->lanes = tune->target->lanes;
    collect(tune);
    int most = 0;
    for (int i = 0; i < tune->n; i++) {
        Tile all[MAX_TILES];
        int n = tile_alternatives(tune->target, tune->products[i].best.shape.accumulators, all);
        most = n > most ? n : most;
    }
    bool good = open_side(tune, t, &plain);
    for (int i = 1; good && i <= most; i++)
        good = try_alternative(tune, &plain, i);
    if (plain.s)
        session_free(plain.s);
    if (!good)
        return false;
    TunedTile *rows = arena_array(&t->c.arena, (size_t)tune->n + 1, sizeof *rows);
    for (int i = 0; i < tune->n; i++)
        rows[i] = tune->products[i].best;
    print_results(tune);
    return tuned_keep(&t->c.cx, &t->o->compile.jit, tune->target, rows, tune->n, forget);
}

int verb_tune(int argc, char **argv)
{
    TuneOptions given = {.bench = {.rounds = 30}};
    options_parse(&argp, argc, argv, &given);
    given.bench.o.compile.untuned = given.bench.o.compile.timing = true;
    Tool t;
    tool_begin(&t, &given.bench.o);
    Bench b = {.options = &given.bench, .plain = &t};
    Tune tune = {.bench = &b};
    bool good = tune_model(&tune, given.forget);
    if (!good && !t.c.diags.errors && !b.status)
        b.status = EXIT_ENVIRONMENT;
    int status = tool_end(&t, good);
    return b.status ? b.status : status;
}
