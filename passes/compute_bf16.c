/* compute-bf16: products with weights take operands of bf16, where asked (--compute bf16).
 *
 *     dot(x, W)   ->   dot(round_bf16(x), W'),   W' = W with `rounded=bf16`, made once when the weight is packed
 *
 * The product of two such numbers is exact in f32, and sums are f32 as before. round_bf16 is an operator like any
 * other, so the passes behind this one take it into whatever makes x, and it costs what an addition costs; several
 * products of one x share it. A weight that the checkpoint stores in bf16, and that nothing is multiplied into, is
 * what it would be rounded to. Products of two activations, attention's among them, stay as they are. */
#include "passes/inside.h"

static bool is_bf16(const Node *w)
{
    const char *storage = attr_name(w, ATTR_storage);
    DType t;
    return storage && dtype_from_name(storage, &t) && t == DT_BF16 && !attr_name(w, ATTR_gain) &&
           !node_attr(w, ATTR_factor);
}

static Node *rounded_weight(PassContext *px, const Product *p)
{
    if (is_bf16(p->w))
        return p->w;
    Node *w = node_before(px->cx, p->w, OP_weight, p->w->type, 0, NULL);
    attrs_copy(px->cx, w, p->w);
    inherit(w, p->w);
    attr_set_name(px->cx, w, ATTR_rounded, "bf16");
    return w;
}

/* The rounded value that an earlier product of this graph reads, or a new one before this product. */
static Node *rounded_value(PassContext *px, const Product *p, Node *x)
{
    if (x->op == OP_round_bf16)
        return x;
    for (Node *n = p->dot->graph->first; n && n != p->dot; n = n->next)
        if (n->op == OP_round_bf16 && n->inputs[0] == x)
            return n;
    return make_before(px, p->dot, OP_round_bf16, NULL, 1, &x, x);
}

/* A product with a weight that no gemm can be. */
static void report_left(PassContext *px, const Node *n)
{
    for (int i = 0; i < n->n_inputs && n->op == OP_dot; i++)
        if (n->inputs[i]->op == OP_weight && n->inputs[1 - i]->op != OP_weight)
            remark(px, REMARK_MISSED, REMARK_AXIS_MISMATCH, n,
                   "`%s` shares an axis with the value that is not summed: the product stays f32",
                   word_of(n->inputs[i]));
}

static bool round_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first; n; n = n->next) {
        Product p;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= round_graph(px, n->body);
        if (!product_fits(n, &p)) {
            report_left(px, n);
            continue;
        }
        if (attr_name(p.w, ATTR_rounded))
            continue;
        int side = n->inputs[0] == p.w;
        double bytes = type_bytes(px, graph_model(g), p.w->type);
        Remark *r = remark(px, REMARK_PASSED, REMARK_ROUNDED, n, "%s",
                           is_bf16(p.w) ? "the value is rounded to bf16, the weight is stored so"
                                        : "value and weight are rounded to bf16");
        r->bytes_before = bytes * (double)dtype_size(weight_storage(p.w)) / sizeof(float);
        n->inputs[!side] = rounded_weight(px, &p);
        n->inputs[side] = rounded_value(px, &p, n->inputs[side]);
        r->bytes_after = bytes * (double)dtype_size(weight_storage(n->inputs[!side])) / sizeof(float);
        changed = true;
    }
    return changed;
}

bool pass_compute_bf16(PassContext *px, Graph *model)
{
    bool changed = px->bf16 && round_graph(px, model);
    if (changed)
        remove_dead(model);
    return changed;
}
