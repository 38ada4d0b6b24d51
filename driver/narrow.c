/* Weights in fewer bits (narrow.h). The rounded tensors are a layer over the checkpoint, so that whoever reads weights (packing, the interpreter, what
 * measures other approximations) reads the same numbers, as from a checkpoint that had been converted. Nothing exists as a whole. */
#include "driver/narrow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/narrow_inside.h"
#include "runtime/file.h"
#include "support/holes.h"
#include "support/store.h"

enum { SHOWN = 12 };

typedef struct Weight { /* a weight of the model: all its tensors */
    const char *key;
    int64_t rounds, stack;
    double error, largest; /* of the worst of them, relative: Frobenius norms; the largest element's error to the largest element */
} Weight;

typedef struct All {
    Compilation *c;
    const Checkpoint *base;
    DType to;
    Map by_name; /* Narrow by the tensor's name */
    Narrow **items;
    size_t n, capacity;
    Weight *weights;
    size_t n_weights, weights_capacity;
} All;

/* ---- what one of them loses ---------------------------------------------------------------------------------------- */

static double frobenius(const Narrow *t)
{
    return t->error > 0 ? sqrt(t->error / t->size) : 0;
}

static double largest(const Narrow *t)
{
    return t->largest > 0 ? t->largest / t->among : 0;
}

/* ---- which tensors ----------------------------------------------------------------------------------------------- */

/* The tensor, if it is to be rounded and was not met before. */
static void take_tensor(All *all, const char *name)
{
    const HostTensor *t = checkpoint_find(all->base, name);
    if (!t || t->rank < 2 || !dtype_is_float(t->dtype) || t->dtype == all->to || map_has(&all->by_name, name))
        return;
    Narrow *one = arena_alloc(&all->c->arena, sizeof *one);
    *one = (Narrow){.base = all->base, .from = *t, .to = all->to};
    map_set(&all->by_name, name, one);
    all->items = arena_room(&all->c->arena, all->items, all->n, &all->capacity, sizeof(Narrow *));
    all->items[all->n++] = one;
}

static bool same_weight(const All *all, const char *key)
{
    for (size_t i = 0; i < all->n_weights; i++)
        if (!strcmp(all->weights[i].key, key))
            return true;
    return false;
}

static void take_weights(All *all, const Graph *g, int64_t rounds)
{
    Compilation *c = all->c;
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            take_weights(all, n->body, attr_int(n, ATTR_count, 1));
        if (n->op != OP_weight || n->type->dtype != DT_F32)
            continue;
        const char *key = model_key(&c->cx, &c->model, attr_name(n, ATTR_key), -1);
        Weight w = {.key = key, .rounds = hole_of_round(key) ? rounds : 1, .stack = attr_int(n, ATTR_stack, 0)};
        if (same_weight(all, key))
            continue;
        for (int64_t i = 0; i < w.rounds; i++)
            for (int64_t k = 0; k < (w.stack ? w.stack : 1); k++)
                take_tensor(all, hole_fill(&c->arena, key, i, k));
        all->weights = arena_room(&c->arena, all->weights, all->n_weights, &all->weights_capacity, sizeof *all->weights);
        all->weights[all->n_weights++] = w;
    }
}

/* ---- what it costs ----------------------------------------------------------------------------------------------- */

static bool check_sums(All *all)
{
    Compilation *c = all->c;
    double most = all->to == DT_F16 ? 65504 : (double)bfloat_to_float(0x7f7f);
    for (size_t i = 0; i < all->n; i++) {
        const Narrow *t = all->items[i];
        if (t->failed) {
            narrow_report(&c->cx, t, t->failed);
            return false;
        }
        if (isfinite(t->largest))
            continue;
        Diag *d = diag_file_error(&c->diags, "E0908", checkpoint_file(all->base, t->from.name),
                                  arena_print(&c->arena, "tensor `%s`", file_shown(&c->cx, t->from.name)),
                                  "an element of %g does not fit %s, whose largest number is %g", t->among, dtype_name(all->to), most);
        diag_help(d, all->to == DT_F16 ? "`--store bf16` has the range of f32" : "`--store f32` keeps it");
        return false;
    }
    return true;
}

/* Of each weight the worst of its tensors; weights of which nothing was rounded go. */
static void fold(All *all)
{
    size_t kept = 0;
    for (size_t i = 0; i < all->n_weights; i++) {
        Weight w = all->weights[i];
        bool any = false;
        for (int64_t r = 0; r < w.rounds; r++)
            for (int64_t k = 0; k < (w.stack ? w.stack : 1); k++) {
                const Narrow *t = map_get(&all->by_name, hole_fill(&all->c->arena, w.key, r, k));
                if (!t)
                    continue;
                any = true;
                w.error = fmax(w.error, frobenius(t));
                w.largest = fmax(w.largest, largest(t));
            }
        if (any)
            all->weights[kept++] = w;
    }
    all->n_weights = kept;
}

static int worst_first(const void *a, const void *b)
{
    const Weight *x = a, *y = b;
    return x->error < y->error ? 1 : x->error > y->error ? -1 : strcmp(x->key, y->key);
}

static const char *table_of(const All *all)
{
    Arena *a = &all->c->arena;
    Text out = text_new(a);
    for (size_t i = 0; i < all->n_weights && i < SHOWN; i++) {
        const Weight *w = &all->weights[i];
        text_add(&out, "            %s: %.2e, largest %.2e of the largest element\n", hole_ranges(a, w->key, w->rounds, w->stack), w->error, w->largest);
    }
    if (all->n_weights > SHOWN)
        text_add(&out, "            and %zu more, none with a larger error\n", all->n_weights - SHOWN);
    return out.data;
}

static void record(All *all, const StoreSpec *spec)
{
    Compilation *c = all->c;
    double largest_of_all = 0;
    for (size_t i = 0; i < all->n_weights; i++)
        largest_of_all = fmax(largest_of_all, all->weights[i].largest);
    qsort(all->weights, all->n_weights, sizeof *all->weights, worst_first);
    Approximation *a = approximation_add(&c->approximations, "store", arena_print(&c->arena, "%zu tensors of weights", all->n),
                                         arena_print(&c->arena, "rounded to %s", dtype_name(all->to)));
    a->error = "relative error of the weights";
    a->measured = all->weights[0].error;
    a->measured_on = arena_print(&c->arena, "every element, the worst weight; no element is off by more than %.2e of its weight's largest", largest_of_all);
    a->bound = spec->max_err;
    a->bound_name = "max_err";
    a->table = table_of(all);
    a->note = "what the outputs lose takes inputs: `attar verify --golden FILE` measures it";
    a->help = "`--store f32` keeps the weights; or raise `max_err`";
}

/* ---- the layer --------------------------------------------------------------------------------------------------- */

static Checkpoint *layer(All *all)
{
    Compilation *c = all->c;
    MadeTensor *made = arena_array(&c->arena, all->n, sizeof *made);
    for (size_t i = 0; i < all->n; i++)
        made[i] = narrow_tensor(all->items[i]);
    return checkpoint_with(&c->cx, c->checkpoint, made, (int64_t)all->n);
}

bool narrow_weights(Compilation *c, const CompileOptions *o)
{
    StoreSpec spec;
    const char *why;
    if (!o->store || !c->checkpoint)
        return true;
    if (!store_read(o->store, &spec, &why)) {
        diag_file_error(&c->diags, "E0907", NULL, NULL, "`%s` is no type that weights are kept in: %s", o->store, why);
        return false;
    }
    All all = {.c = c, .base = c->checkpoint, .to = spec.narrow, .by_name = map_new(&c->arena)};
    if (spec.narrow != DT_F32)
        take_weights(&all, c->model.graph, 1);
    if (!all.n)
        return true;
    narrow_measure(all.items, all.n, o->threads);
    Checkpoint *top = check_sums(&all) ? layer(&all) : NULL;
    if (!top)
        return false;
    c->checkpoint = top;
    c->options.checkpoint = checkpoint_tensors(top, &c->options.n_checkpoint);
    fold(&all);
    record(&all, &spec);
    return true;
}
