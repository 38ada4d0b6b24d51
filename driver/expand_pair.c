/* Both models side by side, node by node. Widened axes are those whose sizes differ by the factor. */
#include <string.h>

#include "driver/expand_inside.h"

bool expand_refuse(Pairing *p, const Node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    p->why = arena_vprint(p->c->cx.arena, format, args);
    va_end(args);
    p->at = n;
    return false;
}

static bool same_text(Pairing *p, Extent a, Extent b)
{
    Text x = text_new(p->c->cx.arena), y = text_new(p->c->cx.arena);
    extent_print(a, &x);
    extent_print(b, &y);
    return !strcmp(x.data, y.data);
}

/* 1: widened; 0: the same; -1: something else. */
int expand_widened(Pairing *p, Extent small, Extent large)
{
    Extent times;
    if (same_text(p, small, large))
        return 0;
    return extent_scale(small, p->factor, &times) && same_text(p, times, large) ? 1 : -1;
}

/* Equal powers: for operators that only work if both sides are scaled alike. */
bool expand_equal(Pairing *p, const Node *n, const Node *x, const Node *y)
{
    if (solver_equal(&p->solver, spread_power(p, x), spread_power(p, y)))
        return true;
    return expand_refuse(p, n, "`%s` needs both sides scaled alike, and here they cannot be", op_info[n->op].name);
}

/* An argument that has to keep its values. */
bool expand_unscaled(Pairing *p, const Node *n, const Node *x)
{
    if (solver_equal(&p->solver, spread_power(p, x), form_number(0)))
        return true;
    return expand_refuse(p, n, "`%s` is right only for values that keep their scale, and here they cannot",
                         op_info[n->op].name);
}

bool expand_is_wide(const Pairing *p, const Node *n)
{
    for (int i = 0; i < n->type->rank; i++)
        if (spread_of(p, n)->inner[i])
            return true;
    return false;
}

/* ---- loops ------------------------------------------------------------------------------------------------------ */

static bool pair_nodes(Pairing *p, const Graph *small, const Graph *large);

static bool pair_repeat(Pairing *p, const Node *n, const Node *large)
{
    const Graph *body = n->body;
    for (int i = 0; i < n->n_inputs; i++) {
        Spread *s = arena_alloc(p->c->cx.arena, sizeof *s);
        *s = *spread_of(p, n->inputs[i]);
        p->values[body->params[i + 1]->id] = s;
    }
    if (!pair_nodes(p, body, large->body))
        return false;
    for (int i = 0; i < body->n_results; i++) {
        const Node *last = body->results[i].value, *first = body->params[i + 1];
        if (!expand_equal(p, last, last, first))
            return false;
        if (memcmp(spread_of(p, last)->inner, spread_of(p, first)->inner, sizeof spread_of(p, last)->inner) != 0)
            return expand_refuse(p, last, "the loop leaves its axes repeated in another way than it found them");
    }
    return true;
}

static const Spread *result_of(const Pairing *p, const Node *n, int64_t index)
{
    return spread_of(p, n->body->results[index].value);
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

/* Sizes that differ by the factor make an axis wide; whether in blocks of several positions, the rules say. */
static bool compare_types(Pairing *p, const Node *n, const Node *large, Spread *s)
{
    if (!n->type != !large->type ||
        (n->type && (n->type->rank != large->type->rank || n->type->dtype != large->type->dtype)))
        return expand_refuse(p, n, "the larger config makes another model of this file");
    for (int i = 0; n->type && i < n->type->rank; i++) {
        int wide = expand_widened(p, n->type->axis[i].size, large->type->axis[i].size);
        if (wide < 0)
            return expand_refuse(p, n, "the axis `%s` does not grow by the factor", n->type->axis[i].name);
        s->inner[i] = wide;
    }
    return true;
}

/* The rules must have found the widened axes that the sizes show. */
static bool agrees(Pairing *p, const Node *n, const Spread *s, const Spread *shown)
{
    for (int i = 0; n->type && i < n->type->rank; i++)
        if ((s->inner[i] != 0) != (shown->inner[i] != 0))
            return expand_refuse(p, n, "the axis `%s` is widened, and its values are not repeated",
                                 n->type->axis[i].name);
    return true;
}

static bool pair_node(Pairing *p, const Node *n, const Node *large)
{
    if (n->op != large->op || n->n_inputs != large->n_inputs)
        return expand_refuse(p, n, "the larger config makes another model of this file");
    if (n->op == OP_carry)
        return true;
    Spread *s = arena_alloc(p->c->cx.arena, sizeof *s), shown;
    if (!compare_types(p, n, large, s))
        return false;
    p->values[n->id] = s;
    shown = *s;
    s->power = form_number(0);
    bool good = true;
    switch (op_info[n->op].class) {
    case CLASS_LEAF: good = expand_leaf(p, n, large, s); break;
    case CLASS_MAP: good = expand_map(p, n, s); break;
    case CLASS_REDUCE:
    case CLASS_ROW: good = expand_reduce(p, n, s); break;
    case CLASS_CONTRACT: good = expand_dot(p, n, s); break;
    case CLASS_REGION:
        good = n->op != OP_repeat || pair_repeat(p, n, large);
        const Node *from = n->op == OP_repeat ? n : n->inputs[0];
        if (good && n->type && from->op == OP_repeat)
            *s = *result_of(p, from, attr_int(n, ATTR_index, 0));
        else if (good) /* of an operator without a rule */
            memset(s->inner, 0, sizeof s->inner);
        break;
    default: good = expand_move(p, n, large, s); break;
    }
    if (!good || !agrees(p, n, s, &shown))
        return false;
    return true;
}

static bool pair_nodes(Pairing *p, const Graph *small, const Graph *large)
{
    const Node *n = small->first, *m = large->first;
    for (; n && m; n = n->next, m = m->next)
        if (!pair_node(p, n, m))
            return false;
    if (n || m)
        return expand_refuse(p, small->owner ? small->owner : small->first,
                             "the larger config makes another model of this file");
    return true;
}

static bool is_weight(const Node *n)
{
    while (op_info[n->op].class == CLASS_VIEW)
        n = n->inputs[0];
    return n->op == OP_weight;
}

/* Products of two computed values that have to come out unscaled share the burden: queries and keys. */
static void balance(Pairing *p, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->body)
            balance(p, n->body);
        if (n->op != OP_dot || is_weight(n->inputs[0]) || is_weight(n->inputs[1]))
            continue;
        Form a = spread_power(p, n->inputs[0]), b = spread_power(p, n->inputs[1]);
        bool decided = !solver_open(&p->solver, spread_power(p, n));
        if (decided && solver_open(&p->solver, a) && solver_open(&p->solver, b))
            solver_equal(&p->solver, a, b);
    }
}

/* In the order of the model: a repeated channel keeps its length, other values stay as they are, where nothing says
 * otherwise. */
static void choose(Pairing *p, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->body)
            choose(p, n->body);
        bool chosen = n->op == OP_input || n->op == OP_gather || n->op == OP_dot || n->op == OP_add || n->op == OP_mul;
        if (chosen && node_is_float(n) && solver_open(&p->solver, spread_power(p, n)))
            solver_equal(&p->solver, spread_power(p, n),
                         form_number(n->type->rank && spread_of(p, n)->inner[n->type->rank - 1] ? -0.5 : 0));
    }
}

bool expand_pair(Pairing *p, const Graph *small, const Graph *large)
{
    p->values = arena_array(p->c->cx.arena, (size_t)small->next_id + 1, sizeof *p->values);
    if (!pair_nodes(p, small, large))
        return false;
    for (int i = 0; i < small->n_results; i++) {
        const Node *n = small->results[i].value;
        if (!expand_is_wide(p, n) && !solver_equal(&p->solver, spread_power(p, n), form_number(0)))
            return expand_refuse(p, n, "the output `%s` cannot keep its values", small->results[i].name);
    }
    balance(p, small);
    choose(p, small);
    return true;
}
