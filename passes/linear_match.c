/* Linear attention that a model writes out, as one linear_attend:
 *
 *     scores first    a = where(mask, dot(q, k, over=F), 0);  dot(a, v, over=T) / sum(a, over=T)
 *     keys first      dot(q, dot(k, v, over=T), over=F) / dot(q, sum(k, over=T), over=F)
 *
 * where q and k are features of any kind, computed before. The mask is one that the kernel takes, and every row sees its own key: a row
 * that sees none would be 0 / 0 as it is written, and the kernel has zeros there. */
#include "passes/linear.h"

typedef struct Found {
    Node *q, *k, *v, *mask;
    const char *over, *keys;
} Found;

static const char *single_axis(const Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    return over && over->names.count == 1 ? over->names.items[0] : NULL;
}

static bool has(const Node *n, const char *axis)
{
    return type_find(n->type, axis) >= 0;
}

static bool is_plain(const Node *n, Op op, const char *axis)
{
    return n->op == op && !is_kept(n) && single_axis(n) && (!axis || single_axis(n) == axis);
}

/* The other operand of a product; NULL if it is none of n's. */
static Node *factor_beside(const Node *dot, const Node *n)
{
    for (int i = 0; i < 2; i++)
        if (below_transposes(dot->inputs[i]) == n)
            return dot->inputs[1 - i];
    return NULL;
}

/* The product of queries and keys over one axis: keys have the axis `keys`. */
static bool is_product(Found *f, Node *n)
{
    if (!is_plain(n, OP_dot, NULL) || n->inputs[0]->op == OP_weight || n->inputs[1]->op == OP_weight)
        return false;
    int side = has(n->inputs[0], f->keys) ? 0 : 1;
    f->over = single_axis(n);
    f->k = below_transposes(n->inputs[side]);
    f->q = below_transposes(n->inputs[1 - side]);
    return has(f->k, f->keys) && !has(f->q, f->keys);
}

static bool scores_first(Found *f, Node *above, Node *below)
{
    double c;
    if (!is_plain(below, OP_sum, NULL) || !is_plain(above, OP_dot, single_axis(below)))
        return false;
    Node *a = below_transposes(below->inputs[0]);
    f->keys = single_axis(below);
    f->v = factor_beside(above, a);
    if (!f->v || is_kept(a) || a->uses != 2)
        return false;
    if (a->op == OP_where && is_const(a->inputs[2], &c) && c == 0) {
        f->mask = a->inputs[0];
        a = below_transposes(a->inputs[1]);
    }
    return is_product(f, a);
}

static bool keys_first(Found *f, Node *above, Node *below)
{
    if (!is_plain(above, OP_dot, NULL) || !is_plain(below, OP_dot, single_axis(above)))
        return false;
    f->over = single_axis(above);
    for (int i = 0; i < 4; i++) {
        Node *state = below_transposes(above->inputs[i % 2]), *sum = below_transposes(below->inputs[i / 2]);
        f->q = below_transposes(above->inputs[1 - i % 2]);
        if (below_transposes(below->inputs[1 - i / 2]) != f->q || !is_plain(sum, OP_sum, NULL) ||
            !is_plain(state, OP_dot, single_axis(sum)))
            continue;
        f->keys = single_axis(sum);
        f->k = below_transposes(sum->inputs[0]);
        f->v = factor_beside(state, f->k);
        if (f->v && has(f->k, f->over) && !has(f->q, f->keys))
            return true;
    }
    return false;
}

/* The axis of rows: one that only the queries have, that of the mask if there is one. */
static const char *rows_of(const Found *f)
{
    for (int i = 0; i < f->q->type->rank; i++) {
        const char *name = f->q->type->axis[i].name;
        if (!has(f->k, name) && (!f->mask || has(f->mask, name)))
            return name;
    }
    return NULL;
}

static bool every_row_sees(PassContext *px, const Found *f, const char *rows)
{
    LinearMask m;
    return !f->mask || (linear_mask(px, f->mask, rows, f->keys, f->k->type, &m) && m.causal && m.n_keep == 0);
}

static bool fuse(PassContext *px, Node *n)
{
    Found f = {0};
    Node *above = below_transposes(n->inputs[0]), *below = below_transposes(n->inputs[1]);
    if (!scores_first(&f, above, below)) {
        f = (Found){0};
        if (!keys_first(&f, above, below))
            return false;
    }
    const char *rows = rows_of(&f), *mask = name_of(px->cx->names, "mask"), *reason = NULL;
    if (!rows || !every_row_sees(px, &f, rows))
        return false;
    Node *inputs[] = {f.q, f.k, below_transposes(f.v), f.mask};
    Node *made = node_before(px->cx, n, OP_linear_attend, NULL, f.mask ? 4 : 3, inputs);
    inherit(made, n);
    attr_set_names(px->cx, made, ATTR_over, &f.over, 1);
    attr_set_name(px->cx, made, ATTR_keys, f.keys);
    attr_set_name(px->cx, made, ATTR_queries, rows);
    attr_set_name(px->cx, made, ATTR_features, name_of(px->cx->names, "none"));
    if (f.mask)
        attr_set_names(px->cx, made, ATTR_roles, &mask, 1);
    made->type = infer_type(px->cx, made, NULL, &reason);
    if (!made->type || !type_same_axes(made->type, n->type)) {
        node_remove(made);
        return false;
    }
    if (is_kept(n)) {
        attr_set_bool(px->cx, made, ATTR_keep, true);
        attr_set_bool(px->cx, n, ATTR_keep, false); /* it may go */
    }
    remark(px, REMARK_PASSED, REMARK_FUSED, made, "products of features, their sum and the division are one linear_attend");
    node_replace(n, make_transposed(px, n, made, n->type));
    return true;
}

bool linear_match(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= linear_match(px, n->body);
        if (n->op == OP_div && n->type->dtype == DT_F32 && n->uses > 0)
            changed |= fuse(px, n);
    }
    return changed;
}
