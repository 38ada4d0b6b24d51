/* Hidden units that a product sums over: y = dot(h, w), h = act(dot(x, w1) + b) * dot(x, w2) and the like.
 *
 * Each unit is an elementwise function of its own column of every weight before, so leaving units out of those weights
 * leaves them out of h: the axis becomes smaller, and nothing else changes. What w has to be for the units that are
 * left, the driver knows. */
#include <string.h>

#include "passes/inside.h"
#include "passes/lowrank.h"

enum { MOST_MEMBERS = 64 };

typedef struct Units { /* all nodes from the products before to h, with the axis; each after its inputs */
    Context *cx;
    const Node *dot;
    const char *axis;
    Node *members[MOST_MEMBERS], *fresh[MOST_MEMBERS];
    int n, n_products;
    const char *refused;
} Units;

#define SAY(...) arena_print(u->cx->arena, __VA_ARGS__)

static bool has_units(const Units *u, const Node *n)
{
    return n->type && type_find(n->type, u->axis) >= 0;
}

static int member_of(const Units *u, const Node *n)
{
    for (int i = 0; i < u->n; i++)
        if (u->members[i] == n)
            return i;
    return -1;
}

static bool refuse(Units *u, const char *why)
{
    u->refused = why;
    return false;
}

static bool take(Units *u, Node *n);

static bool take_inputs(Units *u, Node *n)
{
    Product p;
    if (n->op == OP_weight)
        return !node_attr(n, ATTR_stack) || refuse(u, SAY("`%s` is a stack of tensors", word_of(n)));
    if (n->op == OP_dot) {
        if (!product_fits(n, &p) || has_units(u, p.x) || !has_units(u, p.w))
            return refuse(u, SAY("hidden units of `%s` are no columns of a weight", word_of(n)));
        u->n_products++;
    } else if (!is_map(n) && n->op != OP_transpose) {
        return refuse(u, SAY("hidden units come through `%s` (%s), which is no elementwise operator", word_of(n),
                             op_info[n->op].name));
    }
    for (int i = 0; i < n->n_inputs; i++)
        if (!take(u, n->inputs[i]))
            return false;
    return true;
}

static bool take(Units *u, Node *n)
{
    if (!has_units(u, n) || member_of(u, n) >= 0)
        return true;
    if (n->graph != u->dot->graph)
        return refuse(u, SAY("`%s`, with all hidden units, is made outside of the repeat", word_of(n)));
    if (is_kept(n))
        return refuse(u, SAY("`%s`, with all hidden units, is kept by @keep", word_of(n)));
    if (!take_inputs(u, n))
        return false;
    if (u->n == MOST_MEMBERS)
        return refuse(u, "too many operators make the hidden units");
    u->members[u->n++] = n;
    return true;
}

/* A reader that is not on the way to the product would miss the units that are left out. */
static bool read_elsewhere(const Units *u, const Node *n)
{
    if (read_as_result(n))
        return true;
    for (const Node *m = n->next; m; m = m->next) {
        bool reads = m->body && is_read_in(n, m->body);
        for (int i = 0; i < m->n_inputs; i++)
            reads |= m->inputs[i] == n;
        if (reads && m != u->dot && member_of(u, m) < 0)
            return true;
    }
    return false;
}

static Units find_units(Context *cx, const Product *p)
{
    Units found = {.cx = cx, .dot = p->dot, .axis = p->over[0]}, *u = &found;
    if (p->n_over != 1) {
        u->refused = "it sums over more than one axis, and hidden units have one";
        return found;
    }
    if (!take(u, p->x))
        return found;
    if (!u->n_products)
        u->refused = "no product with a weight makes its hidden units";
    for (int i = 0; i < u->n && !u->refused; i++)
        if (read_elsewhere(u, u->members[i]))
            u->refused = SAY("another operator reads `%s`, with all hidden units, too", word_of(u->members[i]));
    return found;
}

struct LowrankUnits units_of(Context *cx, const Product *p)
{
    Units u = find_units(cx, p);
    const Node **weights = arena_array(cx->arena, (size_t)u.n + 1, sizeof *weights);
    LowrankUnits out = {.axis = u.axis, .weights = weights, .refused = u.refused};
    for (int i = 0; i < u.n; i++)
        if (u.members[i]->op == OP_weight)
            weights[out.n++] = u.members[i];
    return out;
}

const char *lowrank_kept_key(Arena *a, const char *key)
{
    return arena_print(a, "lowrank.%s.kept", key);
}

/* ---- rewriting --------------------------------------------------------------------------------------------------- */

static const Type *with_units(PassContext *px, const Type *of, const char *axis, int64_t count)
{
    Type t = *of;
    t.axis[type_find(of, axis)].size = extent_const(count);
    return type_new(px->cx, t.dtype, t.rank, t.axis);
}

static Node *smaller(PassContext *px, const Units *u, Node *old, int64_t count)
{
    Node *inputs[MAX_RANK + 3];
    for (int i = 0; i < old->n_inputs; i++) {
        int member = member_of(u, old->inputs[i]);
        inputs[i] = member >= 0 ? u->fresh[member] : old->inputs[i];
    }
    Node *n = node_before(px->cx, old, old->op, with_units(px, old->type, u->axis, count), old->n_inputs, inputs);
    inherit(n, old);
    if (old->op == OP_weight)
        attr_set_name(px->cx, n, ATTR_key, lowrank_kept_key(px->cx->arena, attr_name(old, ATTR_key)));
    else
        attrs_copy(px->cx, n, old);
    return n;
}

static double bytes_of(const Node *w)
{
    double bytes = sizeof(float);
    for (int i = 0; i < w->type->rank; i++)
        bytes *= (double)w->type->axis[i].size.base;
    return bytes;
}

void units_prune(PassContext *px, const Product *p, const struct LowrankSite *s)
{
    Units u = find_units(px->cx, p);
    double before = (double)s->in * (double)s->out * sizeof(float), after = before / (double)s->in * (double)s->rank;
    for (int i = 0; i < u.n; i++) {
        Node *old = u.members[i];
        u.fresh[i] = smaller(px, &u, old, s->rank);
        before += old->op == OP_weight ? bytes_of(old) : 0;
        after += old->op == OP_weight ? bytes_of(u.fresh[i]) : 0;
    }
    Type t = {.dtype = DT_F32, .rank = 1, .axis = {{u.axis, extent_const(s->rank)}}};
    for (int i = 0; i < s->n_out; i++)
        t.axis[t.rank++] = p->w->type->axis[s->out_axis[i]];
    Node *w = node_before(px->cx, p->dot, OP_weight, type_new(px->cx, t.dtype, t.rank, t.axis), 0, NULL);
    attr_set_name(px->cx, w, ATTR_key, s->right);
    inherit(w, p->w);
    Node *x = u.fresh[member_of(&u, p->x)];
    Node *dot = make_over(px, p->dot, OP_dot, p->dot->type, 2, (Node *[]){x, w}, p->over, p->n_over, p->dot);
    Remark *r = remark(px, REMARK_PASSED, REMARK_PRUNED, p->dot, "%lld of %lld hidden units `%s` are left",
                       (long long)s->rank, (long long)s->in, u.axis);
    r->bytes_before = before;
    r->bytes_after = after;
    node_replace(p->dot, dot);
}
