/* The absorbed form of attention over a cached latent (absorb.c): new nodes right after the product that it replaces. */
#include "passes/absorb.h"

/* The type with the axis `from` replaced in its place. */
static const Type *replaced(Absorb *a, const Type *t, const char *from, const char *name, Extent size)
{
    Type to = *t;
    to.axis[type_find(t, from)] = (Axis){name, size};
    return type_new(a->px->cx, to.dtype, to.rank, to.axis);
}

static Extent size_of(const Type *t, const char *axis)
{
    return t->axis[type_find(t, axis)].size;
}

/* The queries' part that meets this part of the keys, its own axis named as there. */
static Node *query_part(Absorb *a, Node *where, const LatentPart *p)
{
    Node *q = a->q;
    const char *from = a->head;
    bool found = false;
    if (q->op == OP_concat && attr_name(q, ATTR_axis) == a->head && !is_kept(q)) {
        Extent at = extent_const(0);
        for (int i = 0; i < a->q->n_inputs && !found; i++) {
            Node *in = a->q->inputs[i];
            const Axis *own = &in->type->axis[type_find(a->q->type, a->head)];
            found = extent_equal(at, p->at) && extent_equal(own->size, p->size);
            if (found)
                q = in, from = own->name;
            else if (!extent_add(at, own->size, &at))
                break;
        }
    }
    if (!found && !extent_equal(p->size, size_of(a->q->type, a->head))) {
        q = node_before(a->px->cx, where, OP_slice, replaced(a, a->q->type, a->head, p->axis, p->size), 1, &a->q);
        attr_set_extent(a->px->cx, q, ATTR_start, p->at);
        attr_set_name(a->px->cx, q, ATTR_axis, a->head);
        inherit(q, a->q);
        return q;
    }
    if (from == p->axis)
        return q;
    return make_before(a->px, where, OP_view, replaced(a, q->type, from, p->axis, p->size), 1, &q, q);
}

/* The queries as they meet the latent. */
static Node *queries(Absorb *a, Node *where)
{
    Node *part[MAX_PARTS];
    for (int i = 0; i < a->n_parts; i++) {
        const LatentPart *p = &a->part[i];
        part[i] = query_part(a, where, p);
        if (!p->weight)
            continue;
        const char *own = contracted_axis(p->value);
        const Type *t = replaced(a, part[i]->type, p->axis, own, size_of(p->latent->type, own));
        part[i] = make_over(a->px, where, OP_dot, t, 2, (Node *[]){part[i], p->weight}, &p->axis, 1, part[i]);
    }
    if (a->n_parts == 1)
        return part[0];
    const Type *t = replaced(a, a->q->type, a->head, a->base_axis, size_of(a->base->type, a->base_axis));
    Node *n = node_before(a->px->cx, where, OP_concat, t, a->n_parts, part);
    attr_set_name(a->px->cx, n, ATTR_axis, a->base_axis);
    inherit(n, a->q);
    return n;
}

/* The chain from the scores to the softmax once more, from other scores. */
static Node *weights_of(Absorb *a, Node *where, Node *score)
{
    Node *copy[MAX_SCORE_CHAIN + 1], *inputs[3];
    for (int i = 0; i <= a->n_chain; i++) {
        const Node *old = i < a->n_chain ? a->chain[i] : a->softmax;
        for (int k = 0; k < old->n_inputs; k++) {
            inputs[k] = old->inputs[k] == a->score ? score : old->inputs[k];
            for (int j = 0; j < i; j++)
                if (old->inputs[k] == a->chain[j])
                    inputs[k] = copy[j];
        }
        copy[i] = node_before(a->px->cx, where, old->op, old->type, old->n_inputs, inputs);
        attrs_copy(a->px->cx, copy[i], old);
        inherit(copy[i], old);
    }
    return copy[a->n_chain];
}

static Node *absorbed(Absorb *a, Node *where)
{
    PassContext *px = a->px;
    const char *own = contracted_axis(a->v);
    Node *x = queries(a, where);
    Node *score = make_over(px, where, OP_dot, a->score->type, 2, (Node *[]){x, a->base}, &a->base_axis, 1, a->score);
    Node *p = weights_of(a, where, score);
    const Type *t = replaced(a, a->out->type, a->values.axis, own, size_of(a->values.latent->type, own));
    Node *o = make_over(px, where, OP_dot, t, 2, (Node *[]){p, a->values.latent}, &a->keys, 1, a->out);
    return make_over(px, where, OP_dot, a->out->type, 2, (Node *[]){o, a->values.weight}, &own, 1, a->out);
}

void absorb_build(Absorb *a)
{
    Context *cx = a->px->cx;
    Node *few = absorbed(a, a->out);
    if (a->absorbed <= a->expanded) {
        node_replace(a->out, few);
        return;
    }
    Node *choose = node_before(cx, a->out, OP_choose, a->out->type, 2, (Node *[]){few, few});
    inherit(choose, a->out);
    attr_set_extent(cx, choose, ATTR_size, a->rows);
    attr_set_extent(cx, choose, ATTR_start, a->before);
    attr_set_float(cx, choose, ATTR_value, a->fixed / (a->absorbed - a->expanded));
    node_replace(a->out, choose);
    choose->inputs[1] = a->out;
    node_move_before(a->out, choose);
}
