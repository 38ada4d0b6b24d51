/* Kernels at shapes that nobody chose: random transformer layers, each kernel against what the machine can do.
 *
 *     sweep [shapes=200] [from=0] [layers=1] [threads=1] [seed=7] [rounds=9] [again=3] [prepare=1] [products=1]
 *
 * Prints the worst ten kernels of more than 1 MFLOP, and how many fall under 0.6 of their limit: the larger of arithmetic and
 * bytes / reading, as if all of them came from memory. Arithmetic is FLOPs / multiply-adds and, of a softmax, exponentials at their
 * own rate, since they are no multiply-adds; how many would be under 0.6 if they were FLOPs is said, too. Arithmetic's rates are the
 * best that were measured between the layers, reading's is the median. Of a kernel the least time counts; layers with a kernel under 0.6 are run again at the end,
 * three times or as often as again= says, since a neighbour may have been busy. Shape i is the same in every sweep of a seed, so a long one can be run in
 * parts; prepare=1 only compiles, which fills the cache of machine code. products=1 takes a list of single products instead, whose
 * share of the multiply-adds' peak it prints in the order of the list; their weights stay in the caches from round to round.
 * layers=4 puts so many layers into each model: a kernel then counts with the mean of its calls.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/sweep.h"
#include "cli/cli.h"
#include "ir/interpret.h"

enum { WORST = 10, MOST = 20000, PROBES = 5 };
#define LEAST_SHARE 0.6
#define SOFTMAX_FLOPS 5 /* of a score, as costs have it */

typedef struct Rates {
    double flops, bandwidth, exponentials;
} Rates;

typedef struct Found {
    char kernel[48], shape[160];
    const char *op;
    double seconds, flops, scores, bytes;
    double share, plain, peak; /* at the end: of the limit, of one with exponentials as FLOPs, of the multiply-adds' peak */
    bool memory;
    int64_t rows, number; /* of the shape */
} Found;

typedef struct Sweep {
    int64_t shapes, from, layers, threads, seed, rounds, again, prepare, products;
    Found *found;
    int count;
    Rates rates; /* arithmetic: the best of all probes, when nobody else is busy; reading: the median, since the last cache may hold it all at times */
    double reads[MOST];
    int n_reads;
} Sweep;

/* What limits.c times with. */
double tool_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fail(Compilation *c)
{
    Text t = text_new(&c->arena);
    diag_render(&c->diags, &t, false);
    fputs(t.data ? t.data : "out of memory\n", stderr);
    exit(1);
}

/* The sizes of a run in the order of the plan's symbols: B and S. */
static int64_t *run_sizes(Compilation *c, const Shape *s)
{
    const Plan *plan = &c->emitted.plan;
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *sizes);
    for (int i = 0; i < plan->n_symbols; i++)
        sizes[i] = !strcmp(plan->symbols[i].name, "B") ? s->B : s->S;
    return sizes;
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void probe(Sweep *w, Limits *l)
{
    for (int i = 0; i < PROBES; i++) {
        w->rates.flops = fmax(w->rates.flops, limits_flops(l));
        w->rates.exponentials = fmax(w->rates.exponentials, limits_exponentials(l));
        if (w->n_reads < MOST)
            w->reads[w->n_reads++] = limits_bandwidth(l);
    }
    qsort(w->reads, (size_t)w->n_reads, sizeof *w->reads, by_size);
    w->rates.bandwidth = w->reads[w->n_reads / 2];
}

static Found *found_at(Sweep *w, int64_t number, const char *kernel)
{
    for (int i = w->count; i-- > 0;)
        if (w->found[i].number == number && !strcmp(w->found[i].kernel, kernel))
            return &w->found[i];
    return NULL;
}

/* How many scores a softmax inside the kernel raises. */
static double scores_of(const Node *n, const int64_t *sizes)
{
    if (n->op != OP_attend)
        return 0;
    const Type *t = n->body->params[0]->type;
    double count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= (double)extent_value(t->axis[i].size, graph_model(n->graph), sizes);
    return count;
}

static void take(Sweep *w, Compilation *c, const Shape *s, int64_t number, const int64_t *sizes, const uint64_t *least)
{
    int64_t *graph_sizes = arena_array(&c->arena, (size_t)c->emitted.plan.n_symbols + 8, sizeof *graph_sizes);
    signature_for_graph(&c->emitted.plan, c->kernels, sizes, graph_sizes);
    for (int i = 0; i < c->emitted.n_kernels; i++) {
        const KernelInfo *k = &c->emitted.kernels[i];
        Cost cost = node_cost(k->node, graph_sizes);
        double ran = 1e-9 * (double)least[i] / (double)(k->times > 0 ? k->times : 1);
        if ((cost.flops <= 1e6 && !s->product) || ran <= 0 || w->count == MOST)
            continue;
        Found *f = found_at(w, number, k->name);
        if (!f)
            f = &w->found[w->count++];
        else if (ran >= f->seconds)
            continue;
        *f = (Found){.op = op_info[k->node->op].name, .seconds = ran, .flops = cost.flops, .scores = scores_of(k->node, graph_sizes),
                     .bytes = cost.bytes_read + cost.bytes_written, .rows = s->B * s->S, .number = number};
        snprintf(f->kernel, sizeof f->kernel, "%s", k->name);
        shape_show(s, f->shape, sizeof f->shape);
    }
}

static void measure(Sweep *w, Compilation *c, const Shape *s, int64_t number, Limits *l)
{
    int n = c->emitted.n_kernels;
    uint64_t *times = arena_array(&c->arena, (size_t)n + 1, sizeof *times), *least = arena_array(&c->arena, (size_t)n + 1, sizeof *least);
    SessionHooks hooks = {.times = times};
    int64_t *sizes = run_sizes(c, s);
    HostTensor *inputs = signature_random(&c->cx, &c->emitted.plan, c->model.graph, sizes, 1);
    Session *session = inputs ? session_new(&c->cx, &c->program, 0, (int)w->threads, &hooks) : NULL;
    if (!session)
        fail(c);
    probe(w, l);
    for (int64_t r = 0; r < w->rounds + 2; r++) { /* two to warm up */
        const HostTensor *outputs;
        memset(times, 0, (size_t)n * sizeof *times);
        if (!session_run(&c->cx, session, inputs, c->emitted.plan.n_inputs, &outputs))
            fail(c);
        for (int i = 0; i < n; i++)
            least[i] = r < 3 || times[i] < least[i] ? times[i] : least[i];
    }
    session_free(session);
    take(w, c, s, number, sizes, least);
}

static void one_shape(Sweep *w, int64_t number, Limits *l)
{
    Shape s = w->products ? product_at((int)number) : shape_draw((uint64_t)w->seed, (uint64_t)number);
    ShapeFiles files;
    Compilation c;
    s.layers = w->layers;
    compile_begin(&c);
    if (!shape_write(&c.cx, &s, &files))
        fail(&c);
    CompileOptions o = {.model = files.model, .weights = files.weights, .timing = true, .threads = (int)w->threads};
    bool good = compile_all(&c, &o);
    shape_remove(&files);
    if (!good)
        fail(&c);
    if (!w->prepare)
        measure(w, &c, &s, number, l);
    compile_free(&c);
}

static void find_shares(Sweep *w)
{
    for (int i = 0; i < w->count; i++) {
        Found *f = &w->found[i];
        double read = f->bytes / w->rates.bandwidth, plain = f->flops / w->rates.flops;
        double compute = (f->flops - SOFTMAX_FLOPS * f->scores) / w->rates.flops + f->scores / w->rates.exponentials;
        f->memory = read > compute;
        f->share = fmax(compute, read) / f->seconds;
        f->plain = fmax(plain, read) / f->seconds;
        f->peak = plain / f->seconds;
    }
}

static bool is_slow(Sweep *w, int64_t number)
{
    find_shares(w);
    for (int i = 0; i < w->count; i++)
        if (w->found[i].number == number && w->found[i].share < LEAST_SHARE)
            return true;
    return false;
}

static int by_share(const void *a, const void *b)
{
    const Found *x = a, *y = b;
    return (x->share > y->share) - (x->share < y->share);
}

static void print(Sweep *w)
{
    int under = 0, plain = 0;
    double logs = 0;
    find_shares(w);
    qsort(w->found, (size_t)w->count, sizeof *w->found, by_share);
    for (int i = 0; i < w->count; i++) {
        under += w->found[i].share < LEAST_SHARE;
        plain += w->found[i].plain < LEAST_SHARE;
        logs += log(w->found[i].share);
    }
    printf("%lld shapes from %lld, seed %lld, %lld threads: %d kernels of more than 1 MFLOP, %d under 0.6 of their limit (%d with exponentials as FLOPs), geometric mean %.2f\n",
           (long long)w->shapes, (long long)w->from, (long long)w->seed, (long long)w->threads, w->count, under, plain, w->count ? exp(logs / w->count) : 0.0);
    printf("multiply-adds at %.1f GFLOP/s, exponentials at %.2f G/s, reading at %.1f GB/s\n", 1e-9 * w->rates.flops, 1e-9 * w->rates.exponentials, 1e-9 * w->rates.bandwidth);
    printf("\n| of limit | limit | us | GFLOP/s | kernel | no. | shape |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < w->count && (i < WORST || w->found[i].share < LEAST_SHARE); i++) {
        const Found *f = &w->found[i];
        printf("| %.2f | %s | %.1f | %.1f | %s %s | %lld | %s |\n", f->share, f->memory ? "memory" : "multiply-adds", 1e6 * f->seconds,
               1e-9 * f->flops / f->seconds, f->op, f->kernel,
               (long long)f->number, f->shape);
    }
}

/* The geometric mean is that of the products with at least 8 rows, which the weights' way from memory does not bound. */
static void print_products(Sweep *w)
{
    double logs = 0;
    int count = 0;
    find_shares(w);
    printf("| product | us | GFLOP/s | of the multiply-adds' peak | of limit |\n|---|---|---|---|---|\n");
    for (int i = 0; i < w->count; i++) {
        const Found *f = &w->found[i];
        printf("| %s | %.1f | %.1f | %.2f | %.2f |\n", f->shape, 1e6 * f->seconds, 1e-9 * f->flops / f->seconds, f->peak, f->share);
        if (f->rows < 8)
            continue;
        logs += log(f->peak);
        count++;
    }
    printf("\ngeometric mean of the peak's share, 8 rows and more: %.2f (%lld threads)\n", count ? exp(logs / count) : 0.0, (long long)w->threads);
}

static bool setting(Sweep *w, const char *argument)
{
    const struct {
        const char *name;
        int64_t *to, least, most;
    } known[] = {{"shapes=", &w->shapes, 1, 100000}, {"from=", &w->from, 0, 1 << 30},   {"threads=", &w->threads, 1, 64},
                 {"seed=", &w->seed, 0, INT64_MAX},  {"rounds=", &w->rounds, 1, 10000}, {"prepare=", &w->prepare, 0, 1},
                 {"products=", &w->products, 0, 1},  {"layers=", &w->layers, 1, SHAPE_LAYERS}, {"again=", &w->again, 0, 1000}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strncmp(argument, known[i].name, strlen(known[i].name))) {
            char *end;
            *known[i].to = strtoll(argument + strlen(known[i].name), &end, 10);
            return !*end && *known[i].to >= known[i].least && *known[i].to <= known[i].most;
        }
    return false;
}

int main(int argc, char **argv)
{
    static Sweep w = {.shapes = 200, .layers = 1, .threads = 1, .seed = 7, .rounds = 9, .again = 3};
    for (int i = 1; i < argc; i++)
        if (!setting(&w, argv[i])) {
            fprintf(stderr, "usage: sweep [shapes=200] [from=0] [layers=1] [threads=1] [seed=7] [rounds=9] [again=3] [prepare=1] [products=1]; what is `%s`?\n", argv[i]);
            return 2;
        }
    Compilation c;
    CompileOptions o = {.threads = (int)w.threads};
    Limits limits = {0};
    compile_begin(&c);
    w.found = calloc(MOST, sizeof *w.found);
    if (!w.found || !limits_open(&c.cx, &o, (int)w.threads, &limits))
        fail(&c);
    if (w.products) {
        w.from = 0;
        w.shapes = product_count;
    }
    for (int64_t i = 0; i < w.shapes; i++)
        one_shape(&w, w.from + i, &limits);
    for (int64_t i = 0; i < w.shapes * w.again && !w.products; i++)
        if (is_slow(&w, w.from + i % w.shapes))
            one_shape(&w, w.from + i % w.shapes, &limits);
    if (!w.prepare && w.products)
        print_products(&w);
    else if (!w.prepare)
        print(&w);
    limits_close(&limits);
    compile_free(&c);
    free(w.found);
    return 0;
}
