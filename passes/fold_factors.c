/* fold-factors: a constant beside a product goes into the product's weight.
 *
 *     dot(x, W) * c    ->   dot(x, W'),   W' = c W, made once when the weight is packed       residual scales
 *     dot(x * c, W)    ->   the same, if products are all that reads x * c
 *
 * No weight may also be read without the factor: it would have to be packed twice (logits from a tied embedding). */
#include <math.h>
#include "passes/inside.h"

typedef struct Factor {
    Node *scaled, *rest; /* scaled = rest * factor */
    double factor;
    Product products[MAX_TOGETHER];
    int n;
} Factor;

#define SAY(...) arena_print(px->cx->arena, __VA_ARGS__)

static bool match_factor(Node *n, Factor *out)
{
    *out = (Factor){.scaled = n};
    if ((n->op != OP_mul && n->op != OP_div) || n->type->dtype != DT_F32)
        return false;
    for (int i = n->op == OP_mul ? 1 : 0; i >= 0; i--) {
        double c;
        if (!is_const(n->inputs[1 - i], &c) || !type_equal(n->inputs[i]->type, n->type))
            continue;
        out->rest = n->inputs[i];
        out->factor = n->op == OP_div ? 1 / c : c;
        return isfinite(out->factor) && out->factor != 0;
    }
    return false;
}

static bool refuse(PassContext *px, const Factor *f, RemarkCode code, const Node *evidence, const char *why, double bytes)
{
    Remark *r = remark(px, REMARK_MISSED, code, f->scaled, "%s", why);
    r->evidence = evidence->at;
    r->bytes_after = bytes;
    return false;
}

static bool weights_allow(PassContext *px, const Factor *f)
{
    for (int i = 0; i < f->n; i++) {
        const Node *w = f->products[i].w, *other = reader_besides(w, f->products, f->n);
        double all = f->factor * attr_float(w, ATTR_factor, 1);
        if (!isfinite(all) || all == 0)
            return false;
        if (weight_storage(w) != DT_F32)
            return refuse(px, f, REMARK_COST_WORSE, f->products[i].dot,
                          SAY("`%s` is kept in %s, as the checkpoint has it; multiplied by a factor it would be f32", word_of(w),
                              attr_name(w, ATTR_storage)),
                          type_bytes(px, graph_model(w->graph), w->type));
        if (other)
            return refuse(px, f, REMARK_COST_WORSE, other,
                          SAY("`%s` reads `%s` without the factor: it would be packed twice", word_of(other), word_of(w)),
                          type_bytes(px, graph_model(w->graph), w->type));
    }
    return true;
}

static void multiply_weight(PassContext *px, const Factor *f, const Product *p)
{
    Context *cx = px->cx;
    Node *w = node_before(cx, p->w, OP_weight, p->w->type, 0, NULL);
    attrs_copy(cx, w, p->w);
    inherit(w, p->w);
    attr_set_float(cx, w, ATTR_factor, f->factor * attr_float(p->w, ATTR_factor, 1));
    for (int i = 0; i < 2; i++)
        if (p->dot->inputs[i] == p->w)
            p->dot->inputs[i] = w;
}

static void report(PassContext *px, const Factor *f)
{
    Text names = text_new(px->cx->arena);
    for (int i = 0; i < f->n; i++)
        text_add(&names, "%s`%s`", i == 0 ? "" : i == f->n - 1 ? " and " : ", ", word_of(f->products[i].w));
    remark(px, REMARK_PASSED, REMARK_FOLDED, f->scaled, "the factor %g is part of %s when packed", f->factor, names.data);
}

/* dot(x, W) * c */
static bool fold_behind(PassContext *px, Factor *f)
{
    Node *dot = f->rest;
    if (!product_fits(dot, &f->products[0]) || dot->graph != f->scaled->graph || only_reader(dot) != f->scaled)
        return false;
    f->n = 1;
    if (is_kept(dot))
        return refuse(px, f, REMARK_BLOCKED_BY_USER, dot, SAY("`%s` is kept by @keep", word_of(dot)), 0);
    if (!weights_allow(px, f))
        return false;
    report(px, f);
    multiply_weight(px, f, &f->products[0]);
    dot->name = f->scaled->name;
    dot->at = f->scaled->at;
    dot->via = f->scaled->via;
    if (is_kept(f->scaled))
        attr_set_bool(px->cx, dot, ATTR_keep, true);
    node_replace(f->scaled, dot);
    node_remove(f->scaled);
    return true;
}

/* dot(x * c, W) */
static bool fold_before(PassContext *px, Factor *f)
{
    const Node *other = product_readers(f->scaled, f->products, &f->n);
    if (!f->n || other)
        return false; /* the value exists anyhow, and the factor costs nothing where it is made */
    if (is_kept(f->scaled))
        return refuse(px, f, REMARK_BLOCKED_BY_USER, f->scaled, SAY("`%s` is kept by @keep", word_of(f->scaled)), 0);
    if (!weights_allow(px, f))
        return false;
    report(px, f);
    for (int i = 0; i < f->n; i++)
        multiply_weight(px, f, &f->products[i]);
    node_replace(f->scaled, f->rest);
    node_remove(f->scaled);
    return true;
}

static bool fold_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        Factor f;
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fold_graph(px, n->body);
        if (match_factor(n, &f))
            changed |= fold_behind(px, &f) || fold_before(px, &f);
    }
    return changed;
}

bool pass_fold_factors(PassContext *px, Graph *model)
{
    bool changed = fold_graph(px, model);
    if (changed)
        remove_dead(model);
    return changed;
}
