/* A part of fold: angles of whole positions are taken modulo a turn.
 *
 *     cos(p * f)   ->   cos(2 pi (r + p * low)),   r = what p * high has behind the point
 *
 * for whole numbers p and a table f (or one of two, by a condition); high and low are f / 2 pi, cut behind 12 binary places. p * high is exact for
 * all angles below 4096 turns, so the angle is as exact as one below a turn: p * f itself would be rounded to what a
 * float can hold of it, 8e-6 at 200, 4e-3 at 100,000. */
#include <math.h>
#include "passes/inside.h"

static const double places = 4096, largest = M_PI; /* half a turn a position: p * high stays an i32 */

/* Only cosines and sines read the angle. */
static bool is_angle(const Node *n)
{
    bool any = false;
    for (const Node *u = n->graph->first; u; u = u->next)
        for (int i = 0; i < u->n_inputs; i++) {
            if (u->inputs[i] != n)
                continue;
            if (u->op != OP_cos && u->op != OP_sin)
                return false;
            any = true;
        }
    return any;
}

static bool is_whole(const Node *n)
{
    return n->op == OP_cast && n->type->dtype == DT_F32 && n->inputs[0]->type->dtype == DT_I32 && !is_kept(n);
}

/* A table, or one of two as a condition says: no angle turns by more than half a turn a position. */
static bool is_slow(const Node *f)
{
    if (f->op == OP_where && !is_kept(f))
        return is_slow(f->inputs[1]) && is_slow(f->inputs[2]);
    const Attr *table = f->op == OP_table && !is_kept(f) ? node_attr(f, ATTR_table) : NULL;
    for (int i = 0; table && i < table->floats.count; i++)
        if (!(fabs(table->floats.items[i]) <= largest))
            return false;
    return table != NULL;
}

static Node *turns(PassContext *px, Node *where, Node *f, bool low)
{
    if (f->op == OP_where) {
        Node *inputs[] = {f->inputs[0], turns(px, where, f->inputs[1], low), turns(px, where, f->inputs[2], low)};
        return make_before(px, where, OP_where, f->type, 3, inputs, f);
    }
    const Attr *table = node_attr(f, ATTR_table);
    double *values = arena_array(px->cx->arena, (size_t)table->floats.count + 1, sizeof *values);
    for (int i = 0; i < table->floats.count; i++) {
        double turn = table->floats.items[i] / (2 * M_PI), high = nearbyint(turn * places) / places;
        values[i] = low ? turn - high : high;
    }
    Node *n = node_before(px->cx, where, OP_table, f->type, 0, NULL);
    attr_set_floats(px->cx, n, ATTR_table, values, table->floats.count);
    inherit(n, f);
    return n;
}

Node *fold_angle(PassContext *px, Node *n)
{
    if (n->op != OP_mul || n->type->dtype != DT_F32 || is_kept(n))
        return NULL;
    for (int i = 0; i < 2; i++) {
        Node *p = n->inputs[i], *f = n->inputs[1 - i];
        if (!is_whole(p) || !is_slow(f) || !is_angle(n))
            continue;
        Node *high = turns(px, n, f, false), *low = turns(px, n, f, true);
        Node *coarse = make_two(px, n, OP_mul, i ? high : p, i ? p : high);
        Node *whole = make_before(px, n, OP_cast, type_with_dtype(px->cx, n->type, DT_I32), 1, &coarse, n);
        Node *back = make_before(px, n, OP_cast, n->type, 1, &whole, n);
        Node *fine = make_two(px, n, OP_mul, i ? low : p, i ? p : low);
        Node *turn = make_two(px, n, OP_add, make_two(px, n, OP_sub, coarse, back), fine);
        return make_two(px, n, OP_mul, turn, make_const(px, n, 2 * M_PI, DT_F32));
    }
    return NULL;
}
