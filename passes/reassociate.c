/* reassociate: products of three values in the order that takes the fewest flops.
 *
 *     dot(a, dot(b, c))  ->  dot(dot(a, c), b)       by names: any axes, weights or computed values
 *
 * exact in real arithmetic: the same products summed in another order. Low-rank factors that were multiplied out come
 * apart, a linear attention becomes linear in the length. It is done only if it is cheaper for usual sizes and not
 * dearer for the smallest ones; a product of two weights counts in every call. Around a softmax and with cached values
 * nothing is taken apart but latents (absorb.c): an attend is worth more than the flops say, and a usual first call
 * does not say how full a cache is. */
#include "passes/absorb.h"

#include "ir/interpret.h"

typedef struct Order { /* dot(dot(a, c), b) */
    PassContext *px;
    Node *outer, *inner; /* dot(a, inner), inner = dot(b, c) */
    Node *a, *b, *c;
    const char *first[MAX_RANK], *then[MAX_RANK]; /* summed by dot(a, c), and by what follows */
    int n_first, n_then;
    double before[2], after[2]; /* flops for the smallest sizes and for usual ones */
} Order;

/* ---- flops ------------------------------------------------------------------------------------------------------- */

/* All axes of two values, as one type; false if they are too many. */
static bool together(const Type *a, const Type *b, Type *out)
{
    *out = *a;
    for (int i = 0; i < b->rank; i++) {
        if (type_find(a, b->axis[i].name) >= 0)
            continue;
        if (out->rank == MAX_RANK)
            return false;
        out->axis[out->rank++] = b->axis[i];
    }
    return true;
}

static double pairs(const Graph *model, const Type *t, const int64_t *sizes)
{
    double count = 2;
    for (int i = 0; i < t->rank; i++)
        count *= (double)extent_value(t->axis[i].size, model, sizes);
    return count;
}

static void add_flops(Order *o, const Type *old_inner, const Type *old_outer, const Type *new_inner,
                      const Type *new_outer)
{
    const Graph *model = graph_model(o->outer->graph);
    int64_t *sizes = arena_array(o->px->cx->arena, (size_t)model->n_symbols + 1, sizeof *sizes);
    for (int usual = 0; usual < 2; usual++) {
        usual_sizes(&(Remarks){0}, model, sizes); /* not those asked for: a report changes no decision */
        for (int i = 0; i < model->n_symbols && !usual; i++)
            sizes[i] = model->symbols[i]->low;
        o->before[usual] = pairs(model, old_inner, sizes) + pairs(model, old_outer, sizes);
        o->after[usual] = pairs(model, new_inner, sizes) + pairs(model, new_outer, sizes);
    }
}

/* ---- one order --------------------------------------------------------------------------------------------------- */

/* dot(a, c) over what the outer product sums and only c has; then with b over the rest. */
static bool find_sums(Order *o)
{
    const Attr *outer = node_attr(o->outer, ATTR_over), *inner = node_attr(o->inner, ATTR_over);
    o->n_first = o->n_then = 0;
    for (int i = 0; i < outer->names.count; i++) {
        const char *name = outer->names.items[i];
        if (type_find(o->b->type, name) < 0)
            o->first[o->n_first++] = name;
        else
            o->then[o->n_then++] = name;
    }
    for (int i = 0; i < inner->names.count; i++) {
        if (type_find(o->a->type, inner->names.items[i]) >= 0 || o->n_then == MAX_RANK)
            return false;
        o->then[o->n_then++] = inner->names.items[i];
    }
    return o->n_first > 0;
}

/* How much a cache holds is not known from the sizes of a usual first call. */
static bool is_cached(const Node *n)
{
    return storage_of(n)->op == OP_append;
}

static bool consider(Order *o, Node *b, Node *c)
{
    Type old_inner, old_outer, product, new_outer, left = {.dtype = DT_F32};
    o->b = b;
    o->c = c;
    if (is_cached(o->a) || is_cached(b) || is_cached(c))
        return false;
    if (!find_sums(o) || !together(b->type, c->type, &old_inner) || !together(o->a->type, o->inner->type, &old_outer) ||
        !together(o->a->type, c->type, &product))
        return false;
    for (int i = 0; i < product.rank; i++) {
        bool gone = false;
        for (int k = 0; k < o->n_first; k++)
            gone |= product.axis[i].name == o->first[k];
        if (!gone)
            left.axis[left.rank++] = product.axis[i];
    }
    if (!together(&left, b->type, &new_outer))
        return false;
    add_flops(o, &old_inner, &old_outer, &product, &new_outer);
    return true;
}

static bool of_softmax(const Node *n)
{
    return below_transposes((Node *)(uintptr_t)n)->op == OP_softmax;
}

/* The inner product, read by nothing but the outer one, perhaps through a transpose; NULL: none. */
static Node *inner_of(const Node *outer, int side)
{
    Node *n = outer->inputs[side];
    for (; n->op == OP_transpose; n = n->inputs[0])
        if (is_kept(n) || !only_reader(n))
            return NULL;
    bool alone = n->op == OP_dot && n->graph == outer->graph && !is_kept(n) && only_reader(n) &&
                 n->type->dtype == DT_F32 && outer->inputs[0] != outer->inputs[1];
    return alone && !of_softmax(n->inputs[0]) && !of_softmax(n->inputs[1]) && !of_softmax(outer->inputs[1 - side]) ? n
                                                                                                               : NULL;
}

static bool cheaper(const Order *o)
{
    return o->after[1] < o->before[1] && o->after[0] <= o->before[0];
}

/* ---- the rewrite ------------------------------------------------------------------------------------------------- */

static void rewrite(Order *o)
{
    PassContext *px = o->px;
    Node *first = make_over(px, o->outer, OP_dot, NULL, 2, (Node *[]){o->a, o->c}, o->first, o->n_first, o->inner);
    Node *then = first ? make_over(px, o->outer, OP_dot, o->outer->type, 2, (Node *[]){first, o->b}, o->then, o->n_then,
                                   o->outer)
                       : NULL;
    if (!then)
        return;
    Remark *r = remark(px, REMARK_PASSED, REMARK_FUSED, o->outer,
                       "`%s` is multiplied with `%s` first, then with `%s`: %.4g MFLOP, not %.4g", word_of(o->a),
                       word_of(o->c), word_of(o->b), o->after[1] * 1e-6, o->before[1] * 1e-6);
    r->flops = o->after[1];
    node_replace(o->outer, then);
}

/* The cheapest order of the outer product, in `best`; `report`: says what would be cheaper only sometimes. */
static void find_best(PassContext *px, Node *outer, Order *best, bool report)
{
    for (int side = 0; side < 2; side++) {
        Order o = {.px = px, .outer = outer, .inner = inner_of(outer, side)};
        o.a = below_transposes(outer->inputs[1 - side]);
        for (int k = 0; o.inner && k < 2; k++) {
            if (!consider(&o, o.inner->inputs[k], o.inner->inputs[1 - k]))
                continue;
            if (cheaper(&o) && (!best->px || o.after[1] < best->after[1]))
                *best = o;
            if (report && !cheaper(&o) && o.after[1] < o.before[1])
                remark(px, REMARK_MISSED, REMARK_COST_WORSE, outer,
                       "`%s` times `%s` first takes %.4g MFLOP, not %.4g, for usual sizes, but more for the smallest",
                       word_of(o.a), word_of(o.c), o.after[1] * 1e-6, o.before[1] * 1e-6);
        }
    }
}

static bool may_reorder(const Node *outer)
{
    return !is_kept(outer) && outer->type->dtype == DT_F32;
}

static bool reorder(PassContext *px, Node *outer)
{
    Order best = {.px = NULL};
    if (may_reorder(outer))
        find_best(px, outer, &best, false);
    if (best.px)
        rewrite(&best);
    return best.px != NULL;
}

static bool report(PassContext *px, Node *outer)
{
    Order best = {.px = NULL};
    if (may_reorder(outer))
        find_best(px, outer, &best, true);
    return false;
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

static bool visit(PassContext *px, Graph *g, Op op, bool (*rule)(PassContext *, Node *))
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= visit(px, n->body, op, rule);
        if (n->op == op && n->uses && rule(px, n)) {
            graph_count_uses(graph_model(g));
            changed = true;
        }
    }
    return changed;
}

bool pass_reassociate(PassContext *px, Graph *model)
{
    bool changed = visit(px, model, OP_softmax, absorb_latent);
    if (changed)
        remove_dead(model);
    while (visit(px, model, OP_dot, reorder)) {
        remove_dead(model);
        changed = true;
    }
    visit(px, model, OP_dot, report);
    return changed;
}
