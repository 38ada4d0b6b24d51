/* What bf16 operands cost (compute.h). */
#include "driver/compute.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/aside.h"
#include "support/compute.h"
#include "support/holes.h"

enum { ROWS = 64, SHOWN = 12 };
static const uint64_t MOST_BYTES = (uint64_t)1 << 30; /* of outputs that are kept: then no further rows are run */

static bool read_request(Compilation *c, const CompileOptions *o, ComputeSpec *out)
{
    const char *why = NULL;
    *out = (ComputeSpec){.max_err = NAN};
    if (!o->compute || compute_read(o->compute, out, &why))
        return true;
    diag_file_error(&c->diags, "E0907", NULL, NULL, "`%s` is no type that products compute in: %s", o->compute, why);
    return false;
}

bool compute_plan(Compilation *c, const CompileOptions *o, PassOptions *passes)
{
    ComputeSpec spec;
    bool good = read_request(c, o, &spec);
    passes->bf16 = good && spec.bf16;
    return good;
}

/* ---- the weights ------------------------------------------------------------------------------------------------- */

typedef struct Loss {
    double error, size; /* sums of squares */
} Loss;

typedef struct Rounded { /* one weight, all its layers */
    const char *key;
    int64_t layers;
    double worst; /* relative error of one layer */
} Rounded;

typedef struct Weights {
    Compilation *c;
    Rounded *items;
    size_t n, capacity;
} Weights;

static double ratio(Loss l)
{
    return l.error > 0 ? sqrt(l.error / l.size) : 0;
}

/* Elements to step in the stored tensor for each axis. */
static void steps_of(const Node *w, int64_t *out)
{
    const Attr *strides = node_attr(w, ATTR_strides);
    int64_t step = 1;
    for (int i = w->type->rank - 1; i >= 0; i--) {
        out[i] = strides ? strides->ints.items[i] : step;
        step *= w->type->axis[i].size.base;
    }
}

typedef struct Row { /* elements along one axis, at one place of all others */
    int axis;
    int64_t at[MAX_RANK];
} Row;

/* One row of a layer: as stored, times gain and factor, and how far the nearest numbers of bf16 are. */
static bool add_row(Compilation *c, const Node *w, int64_t layer, const Row *row, const int64_t *steps,
                    const double *gain, double *room, Loss *out)
{
    const Attr *start = node_attr(w, ATTR_start);
    const char *along = attr_name(w, ATTR_axis);
    int gain_axis = along ? type_find(w->type, along) : -1;
    int64_t first = start ? start->extent.base : 0, size = w->type->axis[row->axis].size.base, each = 0;
    for (int i = 0; i < w->type->rank; i++)
        first += row->at[i] * steps[i];
    const char *key = model_key(&c->cx, &c->model, attr_name(w, ATTR_key), -1);
    int64_t stack = attr_int(w, ATTR_stack, 0), tensor = 0;
    if (stack) { /* a row of one of the tensors that are stacked */
        const Attr *stored = node_attr(w, ATTR_stored);
        each = 1;
        for (int i = 1; i < (stored ? stored->ints.count : w->type->rank); i++)
            each *= stored ? stored->ints.items[i] : w->type->axis[i].size.base;
        tensor = first / each;
        first %= each;
        size = size < each - first ? size : each - first;
    }
    if (!checkpoint_read_f64(&c->cx, c->checkpoint, hole_fill(&c->arena, key, layer, tensor), first, size, room))
        return false;
    for (int64_t j = 0; j < size; j++) {
        double value = room[j] * attr_float(w, ATTR_factor, 1);
        if (gain)
            value *= gain[gain_axis == row->axis ? j : row->at[gain_axis]];
        double off = dtype_rounded(DT_BF16, value) - value;
        out->size += value * value;
        out->error += off * off;
    }
    return true;
}

static bool read_gain(Compilation *c, const Node *w, int64_t layer, double **out)
{
    const char *gain = attr_name(w, ATTR_gain);
    *out = NULL;
    if (!gain)
        return true;
    int64_t size = w->type->axis[type_find(w->type, attr_name(w, ATTR_axis))].size.base;
    *out = arena_array(&c->arena, (size_t)size + 1, sizeof **out);
    const char *key = hole_fill(&c->arena, model_key(&c->cx, &c->model, gain, -1), layer, -1);
    if (!checkpoint_read_f64(&c->cx, c->checkpoint, key, 0, size, *out))
        return false;
    for (int64_t i = 0; i < size; i++)
        (*out)[i] += attr_float(w, ATTR_plus, 0);
    return true;
}

/* Rows evenly over a layer: along the axis whose elements are neighbours in the file, element by element if there is none. */
static bool measure_layer(Compilation *c, const Node *w, int64_t layer, double *out)
{
    int64_t steps[MAX_RANK], rows = 1, size = 1;
    Row row = {.axis = w->type->rank - 1};
    Loss loss = {0};
    double *gain;
    steps_of(w, steps);
    for (int i = 0; i < w->type->rank; i++)
        if (steps[i] == 1 && w->type->axis[i].size.base > 1)
            row.axis = i;
    for (int i = 0; i < w->type->rank; i++)
        *(i == row.axis ? &size : &rows) *= w->type->axis[i].size.base;
    if (size == 0 || rows == 0 || !read_gain(c, w, layer, &gain))
        return size == 0 || rows == 0;
    double *room = arena_array(&c->arena, (size_t)size, sizeof *room);
    int64_t taken = rows < ROWS ? rows : ROWS;
    for (int64_t r = 0; r < taken; r++) {
        int64_t number = r * rows / taken;
        for (int i = w->type->rank - 1; i >= 0; i--) {
            int64_t count = i == row.axis ? 1 : w->type->axis[i].size.base;
            row.at[i] = number % count;
            number /= count;
        }
        if (!add_row(c, w, layer, &row, steps, gain, room, &loss))
            return false;
    }
    *out = ratio(loss);
    return true;
}

static bool measure_weight(Weights *all, const Node *w, int64_t rounds)
{
    Compilation *c = all->c;
    const char *key = attr_name(w, ATTR_key);
    Rounded one = {.key = key, .layers = hole_of_round(key) ? rounds : 1};
    for (int64_t layer = 0; layer < one.layers; layer++) {
        double error = 0;
        if (!measure_layer(c, w, hole_of_round(key) ? layer : -1, &error))
            return false;
        one.worst = fmax(one.worst, error);
    }
    all->items = arena_room(&c->arena, all->items, all->n, &all->capacity, sizeof *all->items);
    all->items[all->n++] = one;
    return true;
}

static bool measure_graph(Weights *all, const Graph *g, int64_t rounds)
{
    for (const Node *n = g->first; n; n = n->next) {
        bool region = n->body && n->body->level != LEVEL_BODY;
        if (region && !measure_graph(all, n->body, rounds * attr_int(n, ATTR_count, 1)))
            return false;
        if (n->op == OP_weight && attr_name(n, ATTR_rounded) && !measure_weight(all, n, rounds))
            return false;
    }
    return true;
}

static int worst_first(const void *a, const void *b)
{
    double p = ((const Rounded *)a)->worst, q = ((const Rounded *)b)->worst;
    return p < q ? 1 : p > q ? -1 : strcmp(((const Rounded *)a)->key, ((const Rounded *)b)->key);
}

/* ---- the outputs ------------------------------------------------------------------------------------------------- */

typedef struct Outputs { /* of all calls of one run, then compared with those of another */
    Arena arena;
    float **kept; /* of each f32 output of each call, in their order */
    size_t n, capacity, at;
    uint64_t bytes;
    bool comparing;
    Loss *loss; /* of each output of the model */
    int n_loss;
} Outputs;

/* Masked logits are -inf before and after. */
static void add_number(Loss *l, float now, float was)
{
    bool same = now == was || (isnan(now) && isnan(was));
    double off = same ? 0 : isfinite(now) && isfinite(was) ? (double)now - (double)was : INFINITY;
    l->error += off * off;
    l->size += isfinite(was) ? (double)was * (double)was : 0;
}

static void take_outputs(void *state, const HostTensor *outputs, int n)
{
    Outputs *k = state;
    if (!k->loss)
        k->loss = arena_array(&k->arena, (size_t)n + 1, sizeof *k->loss);
    k->n_loss = n;
    for (int i = 0; i < n; i++) {
        if (outputs[i].dtype != DT_F32)
            continue;
        const float *now = outputs[i].data;
        int64_t count = host_count(&outputs[i]);
        if (!k->comparing) {
            k->kept = arena_room(&k->arena, k->kept, k->n, &k->capacity, sizeof *k->kept);
            k->kept[k->n] = arena_array(&k->arena, (size_t)count + 1, sizeof **k->kept);
            memcpy(k->kept[k->n++], now, (size_t)count * sizeof *now);
            k->bytes += (uint64_t)count * sizeof *now;
            continue;
        }
        const float *was = k->kept[k->at++];
        for (int64_t j = 0; j < count; j++)
            add_number(&k->loss[i], now[j], was[j]);
    }
}

static bool enough(void *state)
{
    const Outputs *k = state;
    return k->comparing ? k->at == k->n : k->bytes >= MOST_BYTES;
}

/* The worst of the outputs. The other approximations stand aside: what they cost is in their own records. */
static bool measure_outputs(Compilation *c, const CompileOptions *o, double *out, const char **measured_on)
{
    Outputs k = {.arena = {.on_oom = c->arena.on_oom, .oom_state = c->arena.oom_state}};
    AsideRun run = {.captures = PASS_ID_compute_bf16, .outputs = take_outputs, .enough = enough, .state = &k};
    bool good = aside_run(c, o, &run);
    *measured_on = run.measured_on;
    k.comparing = true;
    run.passes.bf16 = true;
    good = good && aside_run(c, o, &run);
    *out = 0;
    for (int i = 0; good && i < k.n_loss; i++)
        *out = fmax(*out, ratio(k.loss[i]));
    arena_free(&k.arena);
    return good;
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

/* Products that the pass rounded, layers counted. */
static int64_t rounded_products(const Compilation *c)
{
    int64_t count = 0;
    for (size_t i = 0; i < c->remarks.count; i++)
        if (c->remarks.items[i].code == REMARK_ROUNDED)
            count += c->remarks.items[i].times;
    return count;
}

static const char *table_of(Compilation *c, const Weights *w)
{
    Text out = text_new(&c->arena);
    for (size_t i = 0; i < w->n && i < SHOWN; i++)
        text_add(&out, "            %s: %.2e\n", hole_ranges(&c->arena, w->items[i].key, w->items[i].layers, 0),
                 w->items[i].worst);
    if (w->n > SHOWN)
        text_add(&out, "            and %zu more\n", w->n - SHOWN);
    return w->n ? out.data : NULL;
}

bool compute_record(Compilation *c, const CompileOptions *o)
{
    ComputeSpec spec;
    Weights w = {.c = c};
    int64_t products = rounded_products(c);
    if (!read_request(c, o, &spec))
        return false;
    if (!spec.bf16 || !products)
        return true;
    if (c->checkpoint && !measure_graph(&w, c->kernels, 1))
        return false;
    if (w.n > 1)
        qsort(w.items, w.n, sizeof *w.items, worst_first);
    double off = 0;
    const char *measured_on = NULL,
               *weights = !c->checkpoint ? "there are no weights to measure"
                          : !w.n         ? "the weights are stored in bf16"
                                         : arena_print(&c->arena, "the weights are off by %.2e", w.items[0].worst);
    if (o->calibrate &&
        !measure_outputs(c, o, &off, &measured_on)) /* before there is a record, which has to have its figure */
        return false;
    Approximation *a = approximation_add(&c->approximations, "compute-bf16",
                                         arena_print(&c->arena, "%lld products with weights", (long long)products),
                                         "operands in bf16, sums in f32");
    a->error = o->calibrate ? "relative error of the outputs" : "relative error of the weights";
    a->measured = o->calibrate ? off : w.n ? w.items[0].worst : NAN;
    a->measured_on = o->calibrate ? measured_on
                     : w.n        ? arena_print(&c->arena, "up to %d rows of each, the worst of them", (int)ROWS)
                                  : NULL;
    a->bound = spec.max_err;
    a->bound_name = "max_err";
    a->table = table_of(c, &w);
    a->note =
        o->calibrate
            ? weights
            : arena_print(&c->arena, "%s; what the outputs lose takes inputs: --calibrate FILE measures it", weights);
    a->help = "`--compute f32` computes as the model says; or raise `max_err`";
    return true;
}
