/* fold-gains: the gain of a norm goes into the weights of the products that follow it.
 *
 *     dot(n * g, W) over D   ->   dot(n, W'),   W' = W times g along D, made once when the weight is packed
 *     dot(n * (g + 1), W)    ->   the same with plus=1
 *
 * Every reader of n * g must be such a product, each sums the whole axis of g, and no weight may also be read without
 * the gain: it would have to be packed twice (a tied embedding). A norm's bias stays outside: n * g + b would need
 * dot(b, W) beside it. */
#include <string.h>
#include "passes/inside.h"
#include "support/holes.h"

typedef struct Gain {
    Node *scaled, *rest, *vector; /* scaled = rest * (vector + plus) */
    double plus;
    const char *axis;
    Product products[MAX_TOGETHER];
    int n;
} Gain;

/* ---- the pattern ------------------------------------------------------------------------------------------------- */

static bool is_vector(const Node *n)
{
    return n->op == OP_weight && n->type->rank == 1 && n->type->dtype == DT_F32 && !node_attr(n, ATTR_strides) &&
           !node_attr(n, ATTR_start) && !node_attr(n, ATTR_stored) && !attr_name(n, ATTR_gain) &&
           !node_attr(n, ATTR_factor);
}

/* g, or g + constant. */
static bool match_vector(Node *n, Gain *out)
{
    if (is_vector(n)) {
        out->vector = n;
        return true;
    }
    for (int i = 0; i < 2 && n->op == OP_add; i++)
        if (is_vector(n->inputs[i]) && is_const(n->inputs[1 - i], &out->plus)) {
            out->vector = n->inputs[i];
            return true;
        }
    return false;
}

static bool match_gain(Node *n, Gain *out)
{
    *out = (Gain){.scaled = n};
    if (n->op != OP_mul || n->type->dtype != DT_F32)
        return false;
    for (int i = 1; i >= 0; i--) {
        if (!type_equal(n->inputs[1 - i]->type, n->type) || !match_vector(n->inputs[i], out))
            continue;
        out->rest = n->inputs[1 - i];
        out->axis = out->vector->type->axis[0].name;
        return true;
    }
    return false;
}

/* ---- what stands in the way -------------------------------------------------------------------------------------- */

#define SAY(...) arena_print(px->cx->arena, __VA_ARGS__)

static bool refuse(PassContext *px, const Gain *g, RemarkCode code, const Node *evidence, const char *why, double bytes)
{
    Remark *r = remark(px, REMARK_MISSED, code, g->scaled, "%s", why);
    if (evidence)
        r->evidence = evidence->at;
    r->bytes_after = bytes;
    return false;
}

static bool weights_allow(PassContext *px, const Gain *g)
{
    for (int i = 0; i < g->n; i++) {
        const Product *p = &g->products[i];
        bool layers = hole_of_round(attr_name(g->vector, ATTR_key));
        double bytes = type_bytes(px, graph_model(p->w->graph), p->w->type);
        if (!attr_has_name(p->dot, ATTR_over, g->axis))
            return refuse(px, g, REMARK_AXIS_MISMATCH, p->dot,
                          SAY("`%s` does not sum over `%s`, the axis of the gain", word_of(p->dot), g->axis), 0);
        if (weight_storage(p->w) != DT_F32)
            return refuse(px, g, REMARK_COST_WORSE, p->dot,
                          SAY("`%s` is kept in %s, as the checkpoint has it; multiplied by a gain it would be f32", word_of(p->w),
                              attr_name(p->w, ATTR_storage)), bytes);
        if (attr_name(p->w, ATTR_gain))
            return refuse(px, g, REMARK_MULTI_USE, p->dot, SAY("`%s` has a gain already", word_of(p->w)), 0);
        if (layers && (!depends_on_layer(p->w) || p->w->graph != g->vector->graph))
            return refuse(px, g, REMARK_COST_WORSE, p->dot,
                          SAY("all layers share `%s`: it would be packed once for each of them", word_of(p->w)), bytes);
        const Node *other = reader_besides(p->w, g->products, g->n);
        if (other)
            return refuse(px, g, REMARK_COST_WORSE, other,
                          SAY("`%s` reads `%s` without the gain: it would be packed twice", word_of(other),
                              word_of(p->w)),
                          bytes);
    }
    return true;
}

/* n * g + b, read by products only: named, as the gain could go if the bias did not stand behind it. */
static void report_bias(PassContext *px, const Gain *g, Node *add)
{
    if (add->op != OP_add || is_kept(add))
        return;
    Product products[MAX_TOGETHER];
    int n;
    if (!is_vector(add->inputs[add->inputs[0] == g->scaled]) || product_readers(add, products, &n) || !n)
        return;
    double bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += type_bytes(px, graph_model(add->graph), products[i].w->type);
    refuse(px, g, REMARK_COST_WORSE, add,
           SAY("the bias after the gain would need its own product with each weight, every call"), bytes);
}

static bool may_fold(PassContext *px, Gain *g)
{
    const Node *other = product_readers(g->scaled, g->products, &g->n);
    if (!g->n) {
        Node *reader = only_reader(g->scaled);
        if (reader)
            report_bias(px, g, reader);
        return false;
    }
    if (is_kept(g->scaled) || is_kept(g->vector))
        return refuse(px, g, REMARK_BLOCKED_BY_USER, g->scaled, SAY("the gain or its result is kept by @keep"), 0);
    if (other == g->scaled)
        return refuse(px, g, REMARK_MULTI_USE, NULL,
                      SAY("`%s` is a result, so the gain stays where it is", word_of(other)), 0);
    if (other)
        return refuse(px, g, REMARK_MULTI_USE, other,
                      SAY("`%s` reads `%s` too, so the gain stays where it is", word_of(other), word_of(g->scaled)), 0);
    return weights_allow(px, g);
}

/* ---- rewriting --------------------------------------------------------------------------------------------------- */

static void fold_into(PassContext *px, const Gain *g, const Product *p)
{
    Context *cx = px->cx;
    Node *w = node_before(cx, p->w, OP_weight, p->w->type, 0, NULL);
    attrs_copy(cx, w, p->w);
    inherit(w, p->w);
    attr_set_name(cx, w, ATTR_gain, attr_name(g->vector, ATTR_key));
    attr_set_name(cx, w, ATTR_axis, g->axis);
    if (g->plus != 0)
        attr_set_float(cx, w, ATTR_plus, g->plus);
    for (int i = 0; i < 2; i++)
        p->dot->inputs[i] = p->dot->inputs[i] == p->w ? w : g->rest;
}

static void report_folded(PassContext *px, const Gain *g)
{
    Text names = text_new(px->cx->arena);
    for (int i = 0; i < g->n; i++)
        text_add(&names, "%s`%s`", i == 0 ? "" : i == g->n - 1 ? " and " : ", ", word_of(g->products[i].w));
    Remark *r = remark(px, REMARK_PASSED, REMARK_FOLDED, g->scaled, "`%s` is part of %s when packed",
                       word_of(g->vector), names.data);
    r->bytes_before = type_bytes(px, graph_model(g->scaled->graph), g->vector->type);
}

static bool fold_graph(PassContext *px, Graph *graph)
{
    bool changed = false;
    for (Node *n = graph->first; n; n = n->next) {
        Gain g;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fold_graph(px, n->body);
        if (!match_gain(n, &g) || !may_fold(px, &g))
            continue;
        report_folded(px, &g);
        for (int i = 0; i < g.n; i++)
            fold_into(px, &g, &g.products[i]);
        changed = true;
    }
    return changed;
}

bool pass_fold_gains(PassContext *px, Graph *model)
{
    bool changed = fold_graph(px, model);
    if (changed)
        remove_dead(model);
    return changed;
}
