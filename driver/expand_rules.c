/* How powers of the factor and repetitions pass through leaves, through what is computed element by element, and
 * through sums. */
#include <math.h>
#include <string.h>

#include "driver/expand_inside.h"

static double log_factor(const Pairing *p, double ratio)
{
    return log(ratio) / log((double)p->factor);
}

/* ---- leaves ----------------------------------------------------------------------------------------------------- */

static Form weight_power(Pairing *p, const Node *n, const Node *large)
{
    const char *key = attr_name(n, ATTR_key);
    Enlarged *e = map_get(&p->weights, key);
    if (!e) {
        size_t count = p->weights.count;
        e = arena_alloc(p->c->cx.arena, sizeof *e);
        *e = (Enlarged){.name = key, .small = n, .large = large};
        memcpy(e->inner, spread_of(p, n)->inner, sizeof e->inner);
        map_set(&p->weights, key, e);
        p->powers = arena_grow(p->c->cx.arena, p->powers, count, count + 1, sizeof *p->powers);
        p->powers[count] = form_unknown(&p->solver);
    }
    for (size_t i = 0; i < p->weights.count; i++)
        if (p->weights.entries[i].value == e)
            return p->powers[i];
    return form_number(0);
}

/* The key of config.json that says a small number added to squares: an epsilon of this value. */
static const char *epsilon_key(const Pairing *p, double value)
{
    const char *key;
    json_t *said;
    json_object_foreach(p->config, key, said)
    {
        if (strstr(key, "eps") && json_is_real(said) && json_real_value(said) == value)
            return key;
    }
    return NULL;
}

static bool pair_const(Pairing *p, const Node *n, const Node *large, Spread *s)
{
    double a = attr_float(n, ATTR_value, 0), b = attr_float(large, ATTR_value, 0);
    if ((a == 0 && b == 0) || (isinf(a) && a == b)) {
        s->power = form_unknown(&p->solver); /* 0 and infinity are any multiple of themselves */
        return true;
    }
    if (!(b / a > 0) || isinf(b / a))
        return expand_refuse(p, n, "the number %g becomes %g in the larger model", a, b);
    s->power = form_number(log_factor(p, b / a));
    const char *key = !p->fixed && a == b && dtype_is_float(n->type->dtype) ? epsilon_key(p, a) : NULL;
    if (!key)
        return true;
    Form *unknown = map_get(&p->constants, key);
    if (!unknown) {
        unknown = arena_alloc(p->c->cx.arena, sizeof *unknown);
        *unknown = form_unknown(&p->solver);
        map_set(&p->constants, key, unknown);
    }
    s->power = *unknown;
    return true;
}

/* Element of the large table at the small one's repetition. */
static bool pair_table(Pairing *p, const Node *n, const Node *large, Spread *s)
{
    const Attr *a = node_attr(n, ATTR_table), *b = node_attr(large, ATTR_table);
    int64_t position[MAX_RANK] = {0};
    double ratio = 0;
    for (int64_t i = 0; a && b && i < b->floats.count; i++) {
        int64_t at = 0;
        for (int d = 0; d < n->type->rank; d++)
            at = at * n->type->axis[d].size.base + (s->inner[d] ? position[d] / p->factor : position[d]);
        double x = a->floats.items[at], y = b->floats.items[i];
        if (x != y && ratio == 0 && x != 0)
            ratio = y / x;
        double want = ratio != 0 && isfinite(x) ? x * ratio : x;
        if (fabs(y - want) > 1e-12 * fabs(want) || ratio < 0)
            return expand_refuse(
                p, n, "a table of numbers is another one in the larger model: frequencies belong to a width");
        for (int d = n->type->rank - 1; d >= 0 && ++position[d] == large->type->axis[d].size.base; d--)
            position[d] = 0;
    }
    s->power = form_number(ratio > 0 ? log_factor(p, ratio) : 0);
    return true;
}

bool expand_leaf(Pairing *p, const Node *n, const Node *large, Spread *s)
{
    switch (n->op) {
    case OP_weight:
        s->power = weight_power(p, n, large);
        return !attr_int(n, ATTR_stack, 0) || !s->inner[0] ||
               expand_refuse(p, n, "the number of tensors that are stacked would grow");
    case OP_const: return pair_const(p, n, large, s);
    case OP_table: return pair_table(p, n, large, s);
    case OP_input:
        if (expand_is_wide(p, n) && !node_is_float(n))
            return expand_refuse(p, n, "the input `%s` has a widened axis and is no number", n->name);
        s->power = expand_is_wide(p, n) ? form_unknown(&p->solver) : form_number(0);
        return true;
    case OP_iota:
        return expand_is_wide(p, n) ? expand_refuse(p, n, "positions along a widened axis are other positions") : true;
    case OP_extent: {
        Extent a = node_attr(n, ATTR_size)->extent, b = node_attr(large, ATTR_size)->extent;
        int wide = expand_widened(p, a, b);
        if (wide < 0)
            return expand_refuse(p, n, "a size becomes another one than the factor says");
        s->power = form_number(wide);
        return true;
    }
    default: return true; /* index, carry: the repeat has set what carries have */
    }
}

/* ---- element by element ----------------------------------------------------------------------------------------- */

bool expand_align(Pairing *p, const Node *n, Spread *s)
{
    for (int i = 0; i < n->type->rank; i++) {
        int64_t inner = -1;
        for (int k = 0; k < n->n_inputs; k++) {
            const Node *x = n->inputs[k];
            if (type_find(x->type, n->type->axis[i].name) < 0)
                continue;
            int64_t here = spread_inner(p, x, n->type->axis[i].name);
            if (inner >= 0 && inner != here)
                return expand_refuse(p, n, "the axis `%s` is repeated in two ways", n->type->axis[i].name);
            inner = here;
        }
        s->inner[i] = inner < 0 ? s->inner[i] : inner;
    }
    return true;
}

bool expand_map(Pairing *p, const Node *n, Spread *s)
{
    Node *const *in = n->inputs;
    double exponent;
    if (!expand_align(p, n, s))
        return false;
    switch (n->op) {
    case OP_add:
    case OP_sub:
    case OP_maximum:
    case OP_minimum: s->power = spread_power(p, in[0]); return expand_equal(p, n, in[0], in[1]);
    case OP_lt:
    case OP_le:
    case OP_eq:
    case OP_ne: return expand_equal(p, n, in[0], in[1]);
    case OP_where: s->power = spread_power(p, in[1]); return expand_equal(p, n, in[1], in[2]);
    case OP_mul: s->power = form_add(&p->solver, spread_power(p, in[0]), spread_power(p, in[1]), 1); return true;
    case OP_div:
        s->power = form_add(&p->solver, spread_power(p, in[0]), spread_power(p, in[1]), -1);
        return node_is_float(n) || (expand_unscaled(p, n, in[0]) && expand_unscaled(p, n, in[1]));
    case OP_neg:
    case OP_abs: s->power = spread_power(p, in[0]); return true;
    case OP_sqrt: s->power = form_scale(&p->solver, spread_power(p, in[0]), 0.5); return true;
    case OP_rsqrt: s->power = form_scale(&p->solver, spread_power(p, in[0]), -0.5); return true;
    case OP_pow:
        exponent = in[1]->op == OP_const ? attr_float(in[1], ATTR_value, 0) : NAN;
        s->power = form_scale(&p->solver, spread_power(p, in[0]), isnan(exponent) ? 0 : exponent);
        return isnan(exponent) ? expand_unscaled(p, n, in[0]) && expand_unscaled(p, n, in[1]) : true;
    case OP_cast:
        s->power = spread_power(p, in[0]);
        return (node_is_float(n) && node_is_float(in[0])) || expand_unscaled(p, n, in[0]);
    case OP_rotate: {
        int last = n->type->rank - 1, table = in[1]->type->rank - 1;
        s->power = spread_power(p, in[0]);
        s->inner[last] = spread_of(p, in[0])->inner[last];
        if (s->inner[last] &&
            (s->inner[last] != 1 || spread_of(p, in[1])->inner[table] != 1 || attr_bool(n, ATTR_interleave, false)))
            return expand_refuse(p, n, "pairs of a widened axis do not stay pairs");
        return expand_unscaled(p, n, in[1]) && expand_unscaled(p, n, in[2]);
    }
    default: break;
    }
    for (int i = 0; i < n->n_inputs; i++)
        if (!expand_unscaled(p, n, in[i]))
            return false;
    return true;
}

/* ---- sums and products ------------------------------------------------------------------------------------------ */

bool expand_reduce(Pairing *p, const Node *n, Spread *s)
{
    if (n->op != OP_sum && n->op != OP_mean && n->op != OP_max && n->op != OP_softmax)
        return expand_plain(p, n, s);
    const Node *x = n->inputs[0];
    double more = 0;
    for (int i = 0; i < x->type->rank; i++)
        if (attr_has_name(n, ATTR_over, x->type->axis[i].name) && spread_of(p, x)->inner[i])
            more++;
    for (int i = 0; i < n->type->rank; i++)
        s->inner[i] = spread_inner(p, x, n->type->axis[i].name);
    if (n->op == OP_softmax) {
        s->power = form_number(-more);
        return expand_unscaled(p, n, x);
    }
    s->power = form_add(&p->solver, spread_power(p, x), form_number(n->op == OP_sum ? more : 0), 1);
    return true;
}

bool expand_dot(Pairing *p, const Node *n, Spread *s)
{
    const Node *x = n->inputs[0], *y = n->inputs[1];
    double more = 0;
    for (int i = 0; i < x->type->rank; i++) {
        const char *axis = x->type->axis[i].name;
        if (!attr_has_name(n, ATTR_over, axis))
            continue;
        if (spread_of(p, x)->inner[i] != spread_inner(p, y, axis))
            return expand_refuse(p, n, "the axis `%s` is repeated in two ways", axis);
        more += spread_of(p, x)->inner[i] != 0;
    }
    s->power =
        form_add(&p->solver, form_add(&p->solver, spread_power(p, x), spread_power(p, y), 1), form_number(more), 1);
    return expand_align(p, n, s);
}
