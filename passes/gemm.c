/* Products with weights as gemm nodes: dot(x, w)  ->  gemm x, w with the accumulator as its result.
 *
 * x gets its summed axes last, in the order of the weight's; the result has x's other axes, then the weight's. A dot
 * that was declared in another order is read through a transpose. */
#include "passes/inside.h"

static bool shares_free_axis(const Node *dot, const Type *x, const Type *w)
{
    for (int i = 0; i < x->rank; i++)
        if (type_find(w, x->axis[i].name) >= 0 && !attr_has_name(dot, ATTR_over, x->axis[i].name))
            return true;
    return false;
}

bool product_fits(Node *dot, Product *out)
{
    if (dot->op != OP_dot)
        return false;
    for (int side = 1; side >= 0; side--) {
        Node *w = dot->inputs[side], *x = below_transposes(dot->inputs[1 - side]);
        if (w->op != OP_weight || x->op == OP_weight || x->type->dtype != DT_F32 || w->type->dtype != DT_F32 ||
            is_kept(w))
            continue;
        if (shares_free_axis(dot, x->type, w->type))
            continue;
        *out = (Product){.dot = dot, .x = x, .w = w};
        for (int i = 0; i < w->type->rank; i++)
            if (attr_has_name(dot, ATTR_over, w->type->axis[i].name))
                out->over[out->n_over++] = w->type->axis[i].name;
        return true;
    }
    return false;
}

static bool reads_value(const Node *reader, const Node *value)
{
    for (int i = 0; i < reader->n_inputs; i++)
        if (reader->inputs[i] == value)
            return true;
    return reader->body && reader->body->level != LEVEL_BODY && is_read_in(value, reader->body);
}

const Node *product_readers(Node *value, Product out[MAX_TOGETHER], int *n)
{
    const Node *other = NULL;
    *n = 0;
    for (Node *m = value->next; m; m = m->next) {
        if (!reads_value(m, value))
            continue;
        if (*n < MAX_TOGETHER && product_fits(m, &out[*n]) && out[*n].x == value)
            ++*n;
        else if (!other)
            other = m;
    }
    return other ? other : read_as_result(value) ? value : NULL;
}

bool product_same_input(const Product *a, const Product *b)
{
    if (a->x != b->x || a->n_over != b->n_over)
        return false;
    for (int i = 0; i < a->n_over; i++)
        if (a->over[i] != b->over[i])
            return false;
    return true;
}

static bool is_summed(const Product *p, const char *axis)
{
    for (int i = 0; i < p->n_over; i++)
        if (p->over[i] == axis)
            return true;
    return false;
}

/* x with the summed axes last. */
static Node *ordered_input(PassContext *px, Node *where, const Product *p)
{
    const Type *t = p->x->type;
    Type order = {.dtype = t->dtype};
    for (int i = 0; i < t->rank; i++)
        if (!is_summed(p, t->axis[i].name))
            order.axis[order.rank++] = t->axis[i];
    for (int i = 0; i < p->n_over; i++)
        order.axis[order.rank++] = t->axis[type_find(t, p->over[i])];
    return make_transposed(px, where, p->x, type_new(px->cx, order.dtype, order.rank, order.axis));
}

static const Type *accumulator_type(PassContext *px, const Node *x, const Product *p)
{
    Type t = {.dtype = DT_F32};
    for (int i = 0; i < x->type->rank; i++)
        if (!is_summed(p, x->type->axis[i].name))
            t.axis[t.rank++] = x->type->axis[i];
    for (int i = 0; i < p->w->type->rank; i++)
        if (!is_summed(p, p->w->type->axis[i].name))
            t.axis[t.rank++] = p->w->type->axis[i];
    return type_new(px->cx, t.dtype, t.rank, t.axis);
}

Node *gemm_build(PassContext *px, Node *where, const Product *products, int n)
{
    Context *cx = px->cx;
    for (int j = 0; j < n; j++)
        if (products[j].w->graph == where->graph && !stands_before(products[j].w, where))
            node_move_before(products[j].w, where);
    Node *x = ordered_input(px, where, &products[0]);
    Node *gemm = kernel_before(px, where, OP_gemm, products[0].dot);
    add_input(px, gemm, x);
    attr_set_names(cx, gemm, ATTR_over, products[0].over, products[0].n_over);
    attr_set_int(cx, gemm, ATTR_weights, n);
    Node *dots[MAX_TOGETHER];
    for (int j = 0; j < n; j++)
        dots[j] = products[j].dot;
    if (n > 1)
        gemm->name = joined_name(px, dots, n);
    Builder b = builder_new(px, gemm, NULL, NULL);
    for (int j = 0; j < n; j++) {
        add_input(px, gemm, products[j].w);
        Node *acc = builder_param(&b, accumulator_type(px, x, &products[j]), products[j].dot);
        graph_add_result(cx, gemm->body, NULL, acc, products[j].dot->at);
    }
    kernel_finish(px, gemm);
    for (int j = 0; j < n; j++) {
        Node *dot = products[j].dot, *value = n == 1 ? gemm : make_get(px, where, gemm, j, dot);
        if (is_kept(dot))
            attr_set_bool(cx, value, ATTR_keep, true);
        node_replace(dot, make_transposed(px, where, value, dot->type));
    }
    for (int j = 0; j < n; j++)
        node_remove(products[j].dot); /* `where` is one of them */
    return gemm;
}
