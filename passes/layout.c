/* Where the elements of a value lie: for each axis the step to the next position, as a product of sizes, below all
 * views.
 *
 * Kernels write their results packed, row-major. A cache keeps [other axes][growing axis][last axis] at its
 * capacity. Views only change the steps; a view that would need two steps for one axis has no layout, and `lower`
 * copies what it looks at. */
#include <string.h>
#include "passes/inside.h"

static Step step_const(int64_t factor)
{
    return (Step){.factor = factor};
}

static bool step_times(Step s, Extent size, Step *out)
{
    *out = s;
    if (extent_is_const(size))
        return !__builtin_mul_overflow(s.factor, size.base, &out->factor);
    if (s.n == MAX_RANK)
        return false;
    return !__builtin_mul_overflow(s.factor, extent_content(size, &out->size[out->n++]), &out->factor);
}

/* The same product: factors in any order. */
bool step_equal(Step a, Step b)
{
    bool taken[MAX_RANK] = {false};
    if (a.factor != b.factor)
        return false;
    if (a.factor == 0)
        return true;
    if (a.n != b.n)
        return false;
    for (int i = 0; i < a.n; i++) {
        int k = 0;
        while (k < b.n && (taken[k] || !extent_equal(a.size[i], b.size[k])))
            k++;
        if (k == b.n)
            return false;
        taken[k] = true;
    }
    return true;
}

static bool packed_layout(const Type *t, Layout *out)
{
    Step step = step_const(1);
    *out = (Layout){.rank = t->rank};
    for (int i = t->rank - 1; i >= 0; i--) {
        out->step[i] = step;
        if (!step_times(step, t->axis[i].size, &step))
            return false;
    }
    return true;
}

Cache *cache_written(const Node *append)
{
    Graph *model = graph_model(append->graph);
    for (int i = 0; i < model->n_caches; i++)
        if (!strcmp(model->caches[i].name, attr_name(append, ATTR_cache)))
            return &model->caches[i];
    return NULL;
}

static bool cache_layout(const Node *append, Layout *out)
{
    const Cache *cache = cache_written(append);
    const Type *t = cache->type;
    int order[MAX_RANK], n = 0, last = t->rank - 1;
    for (int i = 0; i < last; i++)
        if (i != cache->growing)
            order[n++] = i;
    if (cache->growing != last)
        order[n++] = cache->growing;
    order[n++] = last;
    Step step = step_const(1);
    *out = (Layout){.rank = t->rank};
    for (int i = n - 1; i >= 0; i--) {
        out->step[order[i]] = step;
        if (!step_times(step, t->axis[order[i]].size, &step))
            return false;
    }
    return true;
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

static bool is_one(Extent e)
{
    return extent_is_const(e) && e.base == 1;
}

/* Axes first .. first + n lie as one axis would: each step is the next one times its size. Axes of size 1 lie
 * anywhere. */
bool layout_collapses(const Layout *l, const Type *t, int first, int n)
{
    int inner = -1;
    for (int i = first + n - 1; i >= first; i--) {
        Step want;
        if (is_one(t->axis[i].size))
            continue;
        if (inner >= 0 && (!step_times(l->step[inner], t->axis[inner].size, &want) || !step_equal(l->step[i], want)))
            return false;
        inner = i;
    }
    return true;
}

static Step inner_step(const Layout *l, const Type *t, int first, int n)
{
    for (int i = first + n - 1; i >= first; i--)
        if (!is_one(t->axis[i].size))
            return l->step[i];
    return step_const(1);
}

bool layout_is_unit(const Layout *l, const Type *t, int first, int n)
{
    for (int i = first; i < first + n; i++)
        if (!is_one(t->axis[i].size))
            return layout_collapses(l, t, first, n) && step_equal(inner_step(l, t, first, n), step_const(1));
    return true;
}

static bool split_group(const Layout *in, const Type *from, int i, int n_in, const Type *to, int o, int n_out,
                        Layout *out)
{
    if (!layout_collapses(in, from, i, n_in))
        return false;
    Step step = inner_step(in, from, i, n_in);
    for (int k = o + n_out - 1; k >= o; k--) {
        out->step[k] = step;
        if (!step_times(step, to->axis[k].size, &step))
            return false;
    }
    return true;
}

/* Grows the shorter side until both products agree; sizes must be constant for that. */
static bool next_group(const Type *a, int i, int *n_a, const Type *b, int o, int *n_b)
{
    *n_a = *n_b = 1;
    if (extent_equal(a->axis[i].size, b->axis[o].size))
        return true;
    Extent left = a->axis[i].size, right = b->axis[o].size;
    while (!extent_equal(left, right)) {
        bool grow_left =
            extent_is_const(left) && extent_is_const(right) ? left.base < right.base : extent_is_const(left);
        if (grow_left ? i + *n_a >= a->rank : o + *n_b >= b->rank)
            return false;
        Extent *side = grow_left ? &left : &right;
        Extent with = grow_left ? a->axis[i + (*n_a)++].size : b->axis[o + (*n_b)++].size;
        if (!extent_mul(*side, with, side))
            return false;
    }
    return true;
}

static bool reshaped_layout(const Layout *in, const Type *from, const Type *to, Layout *out)
{
    int i = 0, o = 0;
    *out = (Layout){.rank = to->rank};
    while (i < from->rank || o < to->rank) {
        int n_in, n_out;
        if (o < to->rank && is_one(to->axis[o].size) && (i == from->rank || !is_one(from->axis[i].size))) {
            out->step[o++] = step_const(0);
            continue;
        }
        if (i < from->rank && is_one(from->axis[i].size) && (o == to->rank || !is_one(to->axis[o].size))) {
            i++;
            continue;
        }
        if (i == from->rank || o == to->rank || !next_group(from, i, &n_in, to, o, &n_out))
            return layout_collapses(in, from, 0, from->rank) &&
                   split_group(in, from, 0, from->rank, to, 0, to->rank, out);
        if (!split_group(in, from, i, n_in, to, o, n_out, out))
            return false;
        i += n_in;
        o += n_out;
    }
    return true;
}

static bool view_layout(const Node *n, const Layout *in, Layout *out)
{
    const Type *from = n->inputs[0]->type, *to = n->type;
    if (n->op == OP_view)
        return reshaped_layout(in, from, to, out);
    *out = (Layout){.rank = to->rank};
    int axis = n->op == OP_slice ? type_find(from, attr_name(n, ATTR_axis)) : -1, drop = from->rank - to->rank;
    for (int i = 0; i < to->rank; i++) {
        if (n->op == OP_slice) {
            out->step[i] = in->step[drop && i >= axis ? i + 1 : i];
            continue;
        }
        int at = type_find(from, to->axis[i].name);
        out->step[i] = at < 0 ? step_const(0) : in->step[at];
    }
    return true;
}

bool layout_of(const Node *n, Layout *out)
{
    if (n->op == OP_append)
        return cache_layout(n, out);
    if (op_info[n->op].class != CLASS_VIEW)
        return packed_layout(n->type, out);
    Layout in;
    return layout_of(n->inputs[0], &in) && view_layout(n, &in, out);
}

Node *storage_of(const Node *n)
{
    while (op_info[n->op].class == CLASS_VIEW)
        n = n->inputs[0];
    return (Node *)n;
}

bool is_whole_view(const Node *n)
{
    for (; op_info[n->op].class == CLASS_VIEW; n = n->inputs[0])
        if (n->op != OP_view)
            return false;
    return n->op != OP_append;
}
