/* Multi-head latent attention: keys and values are products of a cached latent with a weight,
 *
 *     k = concat(dot(c, U), expand(r)),  v = dot(c, V),  o = softmax(f(dot(q, k))) v
 *
 * and may be taken apart: the queries take U, the result takes V, and all heads share the latent as key and value.
 *
 *     x = concat(dot(q1, U), q2),        o = dot(dot(softmax(f(dot(x, concat(c, r)))), c), V)
 *
 * The same sum in another order, so exact for any mask and score function f; whatever depends on a key's position
 * between U and the scores (a rotation, a bias, a norm) forbids it. With R = |c|, K = |k|, W = |v|, h heads, Sq rows
 * and Skv keys the core takes
 *
 *     expanded   2 Skv R h (N + W) + 2 Sq Skv h (K + W)
 *     absorbed   2 Sq  R h (N + W) + 2 Sq Skv h (|c r| + R)
 *
 * The sizes decide in each call: a `choose` stands in place of o. */
#include "passes/absorb.h"

#define SAY(...) arena_print(a->px->cx->arena, __VA_ARGS__)

static bool miss(Absorb *a, RemarkCode code, const Node *evidence, const char *why, const char *help)
{
    Remark *r = remark(a->px, REMARK_MISSED, code, a->out, "%s", why);
    if (evidence)
        r->evidence = evidence->at;
    r->help = help;
    return false;
}

/* ---- what it looks like ------------------------------------------------------------------------------------------ */

const char *contracted_axis(const Node *dot)
{
    const Attr *over = node_attr(dot, ATTR_over);
    return over->names.count == 1 ? over->names.items[0] : NULL;
}

static bool in_chain(const Absorb *a, const Node *n)
{
    for (int i = 0; i < a->n_chain; i++)
        if (a->chain[i] == n)
            return true;
    return false;
}

/* Collects what depends on the one product of two computed values below n; false if there are two, or too much.
 * What was seen and is not in the chain does not depend on it. */
static bool collect(Absorb *a, Node *n, NodeSet *seen, bool *depends)
{
    *depends = n == a->score || in_chain(a, n);
    if (*depends || !nodeset_add(seen, n) || type_find(n->type, a->keys) < 0)
        return true;
    if (n->op == OP_dot) {
        *depends = true;
        if (a->score)
            return false;
        a->score = n;
        return true;
    }
    for (int i = 0; (is_map(n) || n->op == OP_transpose) && i < n->n_inputs; i++) {
        bool below = false;
        if (!collect(a, n->inputs[i], seen, &below))
            return false;
        *depends |= below;
    }
    if (*depends && a->n_chain == MAX_SCORE_CHAIN)
        return false;
    if (*depends)
        a->chain[a->n_chain++] = n;
    return true;
}

static bool find_products(Absorb *a)
{
    bool depends = false;
    NodeSet seen = nodeset_new(a->px);
    const Node *p = a->softmax;
    Node *reader = only_reader(p);
    a->keys = node_attr(p, ATTR_over)->names.items[0];
    for (; reader && reader->op == OP_transpose; reader = only_reader(p))
        p = reader;
    if (!reader || reader->op != OP_dot || contracted_axis(reader) != a->keys || reader->graph != a->graph)
        return false;
    a->out = reader;
    a->v = below_transposes(reader->inputs[reader->inputs[0] == p]);
    if (!collect(a, a->softmax->inputs[0], &seen, &depends) || !a->score || !(a->head = contracted_axis(a->score)))
        return false;
    int side = type_find(a->score->inputs[0]->type, a->keys) >= 0 ? 0 : 1;
    a->k = below_transposes(a->score->inputs[side]);
    a->q = below_transposes(a->score->inputs[1 - side]);
    return type_find(a->k->type, a->keys) >= 0 && type_find(a->q->type, a->keys) < 0;
}

/* dot(latent, weight) over one axis. */
static bool is_product(const Node *n, Node **latent, Node **weight)
{
    if (n->op != OP_dot || !contracted_axis(n))
        return false;
    int side = n->inputs[1]->op == OP_weight ? 1 : n->inputs[0]->op == OP_weight ? 0 : -1;
    if (side < 0 || n->inputs[1 - side]->op == OP_weight)
        return false;
    *weight = n->inputs[side];
    *latent = below_transposes(n->inputs[1 - side]);
    return true;
}

/* A product of a cached value with a weight, whatever elementwise operators and rotations follow it. */
static bool from_cached_latent(NodeSet *seen, const Node *n)
{
    Node *latent, *weight;
    if (!nodeset_add(seen, n))
        return false;
    if (is_product(n, &latent, &weight))
        return storage_of(latent)->op == OP_append;
    bool passes = op_info[n->op].class == CLASS_MAP || op_info[n->op].class == CLASS_VIEW || n->op == OP_concat;
    for (int i = 0; passes && i < n->n_inputs; i++)
        if (from_cached_latent(seen, n->inputs[i]))
            return true;
    return false;
}

/* ---- predicates, in the order in which they are reported --------------------------------------------------------- */

static bool check_keep(Absorb *a)
{
    const Node *all[] = {a->k, a->v, a->score, a->softmax, a->out};
    for (int i = 0; i < 5; i++)
        if (is_kept(all[i]))
            return miss(a, REMARK_BLOCKED_BY_USER, all[i], SAY("`%s` is kept by @keep", word_of(all[i])),
                        "remove @keep");
    for (int i = 0; i < a->n_chain; i++)
        if (is_kept(a->chain[i]))
            return miss(a, REMARK_BLOCKED_BY_USER, a->chain[i], SAY("`%s` is kept by @keep", word_of(a->chain[i])),
                        "remove @keep");
    return true;
}

static bool blocked_by(Absorb *a, const Node *n, const char *what)
{
    bool rotated = n->op == OP_rotate;
    return miss(a, rotated ? REMARK_ORDER_DEPENDS : REMARK_NOT_LINEAR, n,
                rotated ? SAY("%s are rotated by their positions after the weight", what)
                        : SAY("`%s` stands between the weight and the %s", op_info[n->op].name, what),
                rotated ? "rotate a part of its own that does not go through the weight" : NULL);
}

static bool read_part(Absorb *a, Node *value, const char *axis, Extent at, LatentPart *p)
{
    int own = type_find(value->type, axis);
    *p = (LatentPart){.value = value, .axis = axis, .at = at, .size = value->type->axis[own].size};
    if (is_product(value, &p->latent, &p->weight)) {
        if (type_find(p->weight->type, axis) >= 0)
            return true;
        return miss(a, REMARK_AXIS_MISMATCH, value,
                    SAY("`%s` is not an axis of the weight of `%s`", axis, word_of(value)), NULL);
    }
    if (value->op == OP_rotate || is_map(value))
        return blocked_by(a, value, "keys");
    p->weight = NULL;
    p->latent = value->op == OP_expand && attr_name(value, ATTR_axis) != axis ? value->inputs[0] : value;
    return true;
}

static bool find_parts(Absorb *a)
{
    Extent at = extent_const(0);
    bool split = a->k->op == OP_concat && attr_name(a->k, ATTR_axis) == a->head;
    int axis = type_find(a->k->type, a->head);
    a->n_parts = split ? a->k->n_inputs : 1;
    if (a->n_parts > MAX_PARTS)
        return miss(a, REMARK_COST_WORSE, a->k, "the keys have too many parts", NULL);
    for (int i = 0; i < a->n_parts; i++) {
        Node *value = split ? a->k->inputs[i] : a->k;
        if (!read_part(a, value, value->type->axis[axis].name, at, &a->part[i]) ||
            !extent_add(at, a->part[i].size, &at))
            return false;
    }
    if (a->v->op == OP_rotate || is_map(a->v))
        return blocked_by(a, a->v, "values");
    if (!is_product(a->v, &a->values.latent, &a->values.weight))
        return miss(a, REMARK_NO_PATTERN, a->v, "the values are not a product of a latent and a weight", NULL);
    a->values.value = a->v;
    return true;
}

static bool check_uses(Absorb *a)
{
    const Node *once[MAX_PARTS + 2] = {a->k, a->v};
    int n = 2;
    for (int i = 0; i < a->n_parts; i++)
        if (a->part[i].weight && a->part[i].value != a->k)
            once[n++] = a->part[i].value;
    for (int i = 0; i < n; i++)
        if (!only_reader(once[i]))
            return miss(a, REMARK_MULTI_USE, once[i],
                        SAY("`%s` is also read elsewhere, so it has to be computed anyway", word_of(once[i])), NULL);
    for (int i = -1; i < a->n_chain; i++) {
        const Node *m = i < 0 ? a->score : a->chain[i];
        int uses = m == a->softmax->inputs[0];
        for (int k = 0; k < a->n_chain; k++)
            for (int j = 0; j < a->chain[k]->n_inputs; j++)
                uses += a->chain[k]->inputs[j] == m;
        if (uses != m->uses)
            return miss(a, REMARK_SCORES_ESCAPE, m, SAY("the scores `%s` are also read elsewhere", word_of(m)),
                        "remove the second use");
    }
    return true;
}

/* The latents of the keys lie side by side in one value. */
static bool find_base(Absorb *a)
{
    a->base = a->part[0].latent;
    a->base_axis = a->part[0].weight ? contracted_axis(a->part[0].value) : a->part[0].axis;
    if (a->n_parts == 1)
        return true;
    Extent at = extent_const(0);
    for (int i = 0; i < a->n_parts; i++) {
        const Node *slice = a->part[i].latent;
        const Attr *start = node_attr(slice, ATTR_start);
        bool fits = slice->op == OP_slice && slice->type->rank == slice->inputs[0]->type->rank && !is_kept(slice);
        if (fits && i == 0)
            a->base = slice->inputs[0], a->base_axis = attr_name(slice, ATTR_axis);
        if (!fits || slice->inputs[0] != a->base || attr_name(slice, ATTR_axis) != a->base_axis)
            return miss(a, REMARK_AXIS_MISMATCH, slice,
                        SAY("`%s` and `%s` are not parts of one value", word_of(a->part[0].latent),
                            word_of(a->part[i ? i : 1].latent)),
                        "keep them in one cache, appended as concat(c, r) and split after");
        a->part[i].start = start ? start->extent : extent_const(0);
    }
    for (int i = 0; i < a->n_parts; i++) {
        int next = i;
        while (next < a->n_parts && !extent_equal(a->part[next].start, at))
            next++;
        if (next == a->n_parts)
            break;
        LatentPart p = a->part[next];
        a->part[next] = a->part[i];
        a->part[i] = p;
        const Type *t = p.latent->type;
        extent_add(at, t->axis[type_find(a->base->type, a->base_axis)].size, &at);
    }
    return extent_equal(at, a->base->type->axis[type_find(a->base->type, a->base_axis)].size) ||
           miss(a, REMARK_AXIS_MISMATCH, a->base, SAY("the keys are not all of `%s`", word_of(a->base)), NULL);
}

/* A latent has the keys' axis, its own, and axes of the queries; a weight its two and heads; no name comes twice. */
static bool check_part(Absorb *a, const LatentPart *p, const char *own, const char *to)
{
    for (int i = 0; i < p->latent->type->rank; i++) {
        const char *name = p->latent->type->axis[i].name;
        if (name != a->keys && name != own && (name == a->head || type_find(a->q->type, name) < 0))
            return miss(a, REMARK_AXIS_MISMATCH, p->latent,
                        SAY("`%s` has an axis `%s` that the queries lack", word_of(p->latent), name), NULL);
        if (p->weight && name != own && type_find(p->weight->type, name) >= 0)
            return miss(a, REMARK_AXIS_MISMATCH, p->latent,
                        SAY("`%s` has the axis `%s` of the heads", word_of(p->latent), name), NULL);
    }
    for (int i = 0; p->weight && i < p->weight->type->rank; i++) {
        const char *name = p->weight->type->axis[i].name;
        if (name != own && name != to && (name == a->head || type_find(a->q->type, name) < 0))
            return miss(a, REMARK_AXIS_MISMATCH, p->weight,
                        SAY("the weight of `%s` has an axis `%s` that the queries lack", word_of(p->value), name),
                        NULL);
    }
    if (type_find(p->latent->type, a->keys) < 0 || type_find(a->q->type, own) >= 0)
        return miss(a, REMARK_AXIS_MISMATCH, p->latent, SAY("`%s` is not a latent of the keys", word_of(p->latent)),
                    NULL);
    return true;
}

static bool check_axes(Absorb *a)
{
    int weights = 0;
    for (int i = 0; i < a->n_parts; i++)
        weights += a->part[i].weight != NULL;
    for (int i = 0; i < a->v->type->rank; i++)
        if (type_find(a->score->type, a->v->type->axis[i].name) < 0)
            a->values.axis = a->v->type->axis[i].name;
    if (weights == 0 || !a->values.axis || type_find(a->values.weight->type, a->values.axis) < 0)
        return miss(a, REMARK_NO_PATTERN, a->v, "no weight stands between the latent and both keys and values", NULL);
    for (int i = 0; i < a->n_parts; i++) {
        const LatentPart *p = &a->part[i];
        if (!check_part(a, p, p->weight ? contracted_axis(p->value) : p->axis, p->axis))
            return false;
    }
    if (type_find(a->q->type, a->base_axis) >= 0)
        return miss(a, REMARK_AXIS_MISMATCH, a->base, SAY("the queries have an axis `%s` too", a->base_axis), NULL);
    return check_part(a, &a->values, contracted_axis(a->v), a->values.axis);
}

/* ---- what it costs ----------------------------------------------------------------------------------------------- */

static double width(const Type *t, const char *axis)
{
    Extent size = t->axis[type_find(t, axis)].size;
    return extent_is_const(size) ? (double)size.base : 0;
}

/* The query axes that are neither heads nor shared with the latent, multiplied; the number of heads; the keys before
 * the rows. */
static bool find_rows(Absorb *a)
{
    a->heads = 1;
    a->rows = extent_const(1);
    for (int i = 0; i < a->q->type->rank; i++) {
        const Axis *x = &a->q->type->axis[i];
        if (x->name == a->head || type_find(a->base->type, x->name) >= 0)
            continue;
        if (type_find(a->values.weight->type, x->name) >= 0)
            a->heads *= extent_is_const(x->size) ? (double)x->size.base : 0;
        else if (!extent_mul(a->rows, x->size, &a->rows))
            return false;
    }
    Extent keys = a->base->type->axis[type_find(a->base->type, a->keys)].size;
    return a->heads > 0 && extent_sub(keys, a->rows, &a->before);
}

/* Flops for one row of the weight's product; 0 if a size is not known or the heads are not the values'. */
static double weight_flops(const Absorb *a, const LatentPart *p)
{
    double count = 2;
    for (int i = 0; i < p->weight->type->rank; i++)
        count *= width(p->weight->type, p->weight->type->axis[i].name);
    double own = width(p->weight->type, contracted_axis(p->value)) * width(p->weight->type, p->axis);
    return count == 2 * own * a->heads ? count : 0;
}

static bool find_cost(Absorb *a)
{
    bool known = find_rows(a) && weight_flops(a, &a->values) > 0;
    a->fixed = known ? weight_flops(a, &a->values) : 0;
    for (int i = 0; known && i < a->n_parts; i++)
        if (a->part[i].weight) {
            known = weight_flops(a, &a->part[i]) > 0;
            a->fixed += weight_flops(a, &a->part[i]);
        }
    if (!known)
        return miss(a, REMARK_NEEDS_CONST, a->q, "the sizes of the heads or the number of rows are not known", NULL);
    a->absorbed =
        2 * a->heads * (width(a->base->type, a->base_axis) + width(a->values.latent->type, contracted_axis(a->v)));
    a->expanded = 2 * a->heads * (width(a->k->type, a->head) + width(a->v->type, a->values.axis));
    double least = extent_low(a->rows) < 1 ? 1 : (double)extent_low(a->rows), each = a->absorbed - a->expanded;
    if (extent_high(a->before) <= 0 || (each <= 0 && extent_low(a->before) < 0))
        return miss(a, REMARK_COST_WORSE, NULL, "no keys stand before the rows, so each is expanded only once", NULL);
    if (each > 0 && least >= a->fixed / each)
        return miss(a, REMARK_COST_WORSE, NULL,
                    SAY("%g rows or more are above the break-even of %.1f rows, so expanding the latent costs less",
                        least, a->fixed / each),
                    NULL);
    return true;
}

enum { USUAL_KEYS = 4096 };

/* Flops of the core for one new row over as many keys as usual. */
static void remark_absorbed(Absorb *a)
{
    double most = (double)extent_high(a->base->type->axis[type_find(a->base->type, a->keys)].size);
    double keys = most < USUAL_KEYS ? most : USUAL_KEYS, each = a->absorbed - a->expanded;
    const char *limit = each > 0 ? SAY("; break-even %.1f rows", a->fixed / each) : "";
    const Graph *model = graph_model(a->graph);
    Remark *r = remark(a->px, REMARK_PASSED, REMARK_FUSED, a->out,
                       "few rows take the weights of keys and values themselves and share the latent `%s`: one row "
                       "over %g keys takes %.4g MFLOP, not %.4g%s",
                       word_of(a->base), keys, (a->fixed + keys * a->absorbed) * 1e-6,
                       (keys * (a->fixed + a->expanded)) * 1e-6, limit);
    r->bytes_after = type_bytes(a->px, model, a->base->type);
    r->bytes_before = r->bytes_after + type_bytes(a->px, model, a->k->type) + type_bytes(a->px, model, a->v->type);
}

/* ---- the pass's part --------------------------------------------------------------------------------------------- */

bool absorb_latent(PassContext *px, Node *softmax)
{
    Absorb absorb = {.px = px, .graph = softmax->graph, .softmax = softmax}, *a = &absorb;
    if (!find_products(a))
        return false;
    NodeSet seen = nodeset_new(px);
    if (!from_cached_latent(&seen, a->k) && !from_cached_latent(&seen, a->v))
        return false;
    const Node *reader = only_reader(a->out);
    if (reader && reader->op == OP_choose)
        return false;
    if (!check_keep(a) || !find_parts(a) || !check_uses(a) || !find_base(a) || !check_axes(a) || !find_cost(a))
        return false;
    remark_absorbed(a);
    absorb_build(a);
    return true;
}
