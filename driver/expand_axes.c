/* How repetitions pass through operators that move, split, merge and join axes. */
#include <string.h>

#include "driver/expand_inside.h"

/* ---- axes ------------------------------------------------------------------------------------------------------- */

static int64_t small_size(const Node *n, int axis)
{
    Extent e = n->type->axis[axis].size;
    return extent_is_const(e) ? e.base : 0;
}

/* One group of neighbouring axes with the same elements on both sides: the repetition of one of them moves to the axis
 * on the other side that its blocks are part of. */
static bool regroup(Pairing *p, const Node *n, int f0, int f1, int t0, int t1, Spread *s)
{
    const Node *x = n->inputs[0];
    int64_t inner = 0, right = 1;
    for (int i = f1 - 1; i >= f0; i--) {
        int64_t here = spread_of(p, x)->inner[i];
        if (here && inner)
            return expand_refuse(p, n, "two widened axes become one");
        if (here)
            inner = here * right;
        right *= small_size(x, i);
    }
    right = 1;
    for (int i = t1 - 1; i >= t0; i--) {
        bool wide = s->inner[i] != 0;
        int64_t size = small_size(n, i);
        s->inner[i] = wide && inner ? inner / right : 0;
        if (wide && (!inner || inner % right || size % (inner / right ? inner / right : 1)))
            return expand_refuse(p, n, "the repetition does not stay within the axis `%s`", n->type->axis[i].name);
        right *= size;
    }
    return true;
}

static bool pair_view(Pairing *p, const Node *n, Spread *s)
{
    const Node *x = n->inputs[0];
    int f = 0, t = 0;
    s->power = spread_power(p, x);
    while (f < x->type->rank || t < n->type->rank) {
        int f0 = f, t0 = t;
        Extent a = f < x->type->rank ? x->type->axis[f++].size : extent_const(1);
        Extent b = t < n->type->rank ? n->type->axis[t++].size : extent_const(1);
        while (!extent_equal(a, b)) {
            bool from = extent_high(a) < extent_high(b) && f < x->type->rank;
            bool known = from ? extent_mul(a, x->type->axis[f++].size, &a)
                              : t < n->type->rank && extent_mul(b, n->type->axis[t++].size, &b);
            if (!known)
                return expand_refuse(p, n, "its axes cannot be followed");
        }
        if (f - f0 == 1 && t - t0 == 1)
            s->inner[t0] = spread_of(p, x)->inner[f0];
        else if (!regroup(p, n, f0, f, t0, t, s))
            return false;
    }
    return true;
}

static bool pair_slice(Pairing *p, const Node *n, const Node *large, Spread *s)
{
    const Node *x = n->inputs[0];
    int at = type_find(x->type, attr_name(n, ATTR_axis));
    int gone = x->type->rank - n->type->rank; /* 1: a single position, whose axis is dropped */
    int64_t inner = spread_of(p, x)->inner[at];
    s->power = spread_power(p, x);
    for (int i = 0; i < n->type->rank; i++)
        s->inner[i] = i == at && !gone ? (s->inner[i] ? inner : 0) : spread_of(p, x)->inner[i + (i >= at && gone)];
    int moved = expand_widened(p, node_attr(n, ATTR_start)->extent, node_attr(large, ATTR_start)->extent);
    Extent start = node_attr(n, ATTR_start)->extent;
    bool zero = extent_is_const(start) && start.base == 0;
    if (inner == 0 ? moved != 0 : gone || inner != 1 || !s->inner[at] || (moved != 1 && !zero))
        return expand_refuse(p, n,
                             "a part of the widened axis `%s` is taken that is not the same part of the larger one",
                             x->type->axis[at].name);
    return true;
}

static bool pair_concat(Pairing *p, const Node *n, Spread *s)
{
    int at = type_find(n->type, attr_name(n, ATTR_axis));
    s->power = spread_power(p, n->inputs[0]);
    for (int k = 0; k < n->n_inputs; k++) {
        const Spread *x = spread_of(p, n->inputs[k]);
        if (!expand_equal(p, n, n->inputs[0], n->inputs[k]))
            return false;
        for (int i = 0; i < n->type->rank; i++) {
            bool same = x->inner[i] == spread_of(p, n->inputs[0])->inner[i] && !(i == at && x->inner[i] > 1);
            if (!same)
                return expand_refuse(p, n, "only some of the parts of the axis `%s` are widened",
                                     n->type->axis[at].name);
            s->inner[i] = x->inner[i];
        }
    }
    return true;
}

static bool pair_gather(Pairing *p, const Node *n, Spread *s)
{
    const Node *table = n->inputs[0], *ids = n->inputs[1];
    for (int i = 0; i < table->type->rank; i++)
        if (attr_has_name(n, ATTR_over, table->type->axis[i].name) && spread_of(p, table)->inner[i])
            return expand_refuse(p, n, "rows of a widened axis are looked up");
    for (int i = 0; i < n->type->rank; i++) {
        const char *axis = n->type->axis[i].name;
        s->inner[i] = type_find(ids->type, axis) >= 0 ? spread_inner(p, ids, axis) : spread_inner(p, table, axis);
    }
    s->power = spread_power(p, table);
    return expand_unscaled(p, n, ids);
}

bool expand_move(Pairing *p, const Node *n, const Node *large, Spread *s)
{
    const Node *x = n->inputs[0];
    switch (n->op) {
    case OP_view: return pair_view(p, n, s);
    case OP_slice: return pair_slice(p, n, large, s);
    case OP_concat: return pair_concat(p, n, s);
    case OP_gather: return pair_gather(p, n, s);
    case OP_transpose:
    case OP_expand:
        for (int i = 0; i < n->type->rank; i++)
            if (type_find(x->type, n->type->axis[i].name) >= 0)
                s->inner[i] = spread_inner(p, x, n->type->axis[i].name);
        s->power = spread_power(p, x);
        return true;
    case OP_append: {
        const char *field = attr_name(n, ATTR_cache);
        Form *all = map_get(&p->caches, field);
        memcpy(s->inner, spread_of(p, x)->inner, sizeof s->inner);
        s->power = spread_power(p, x);
        if (all && !solver_equal(&p->solver, *all, s->power))
            return expand_refuse(p, n, "the layers of the cache `%s` are scaled in different ways", field);
        all = arena_alloc(p->c->cx.arena, sizeof *all);
        *all = s->power;
        map_set(&p->caches, field, all);
        return true;
    }
    default: break;
    }
    return expand_plain(p, n, s);
}

bool expand_plain(Pairing *p, const Node *n, Spread *s)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (expand_is_wide(p, n->inputs[i]) || !expand_unscaled(p, n, n->inputs[i]))
            return expand_refuse(p, n, "`%s` is not known to keep repeated channels", op_info[n->op].name);
    memset(s->inner, 0, sizeof s->inner);
    return true;
}
