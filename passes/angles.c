/* A part of fold: angles of whole positions are taken modulo a turn.
 *
 *     cos(p * f)   ->   cos(2 pi (r + s + p * low)),   r, s = what p * high, p * middle have behind the point
 *
 * for whole numbers p and a table f (or one of two, by a condition). high, middle and low add up to f / 2 pi: high is
 * cut behind 7 binary places, so that p * high is exact up to 131,072 turns; middle is at most 2^-8 and cut behind 15
 * places, exact up to p = 131,072, where p * low is two turns. So the angle is as exact there as one of two turns is;
 * p * f itself would be rounded to what a float holds of it: 8e-6 at 200, 4e-3 at 100,000. */
#include <math.h>
#include "passes/inside.h"

static const double largest = M_PI; /* half a turn a position: p * high stays an i32 */
typedef enum Part { HIGH, MIDDLE, LOW } Part;

/* Only cosines and sines of its own graph read the angle. */
static bool is_angle(const Node *n)
{
    bool any = false;
    if (read_as_result(n))
        return false;
    for (const Node *u = n->graph->first; u; u = u->next) {
        if (u->body && u->body->level != LEVEL_BODY && is_read_in(n, u->body))
            return false;
        for (int i = 0; i < u->n_inputs; i++) {
            if (u->inputs[i] != n)
                continue;
            if (u->op != OP_cos && u->op != OP_sin)
                return false;
            any = true;
        }
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

static double cut(double x, double places)
{
    return nearbyint(x * places) / places;
}

static Node *turns(PassContext *px, Node *where, Node *f, Part part)
{
    if (f->op == OP_where) {
        Node *inputs[] = {f->inputs[0], turns(px, where, f->inputs[1], part), turns(px, where, f->inputs[2], part)};
        return make_before(px, where, OP_where, f->type, 3, inputs, f);
    }
    const Attr *table = node_attr(f, ATTR_table);
    double *values = arena_array(px->cx->arena, (size_t)table->floats.count + 1, sizeof *values);
    for (int i = 0; i < table->floats.count; i++) {
        double turn = table->floats.items[i] / (2 * M_PI), high = cut(turn, 128), middle = cut(turn - high, 32768);
        values[i] = part == HIGH ? high : part == MIDDLE ? middle : turn - high - middle;
    }
    Node *n = node_before(px->cx, where, OP_table, f->type, 0, NULL);
    attr_set_floats(px->cx, n, ATTR_table, values, table->floats.count);
    inherit(n, f);
    return n;
}

/* What x has behind the point. */
static Node *fraction(PassContext *px, Node *where, Node *x)
{
    Node *whole = make_before(px, where, OP_cast, type_with_dtype(px->cx, x->type, DT_I32), 1, &x, where);
    return make_two(px, where, OP_sub, x, make_before(px, where, OP_cast, x->type, 1, &whole, where));
}

Node *fold_angle(PassContext *px, Node *n)
{
    if (n->op != OP_mul || n->type->dtype != DT_F32)
        return NULL;
    for (int i = 0; i < 2; i++) {
        Node *p = n->inputs[i], *f = n->inputs[1 - i];
        if (!is_whole(p) || !is_slow(f) || !is_angle(n))
            continue;
        Node *parts[3];
        for (Part part = HIGH; part <= LOW; part++) {
            Node *turn = turns(px, n, f, part);
            parts[part] = make_two(px, n, OP_mul, i ? turn : p, i ? p : turn);
        }
        Node *turn = make_two(px, n, OP_add, fraction(px, n, parts[HIGH]), fraction(px, n, parts[MIDDLE]));
        turn = make_two(px, n, OP_add, turn, parts[LOW]);
        return make_two(px, n, OP_mul, turn, make_const(px, n, 2 * M_PI, DT_F32));
    }
    return NULL;
}
