/* linear_attend one position at a time, its state kept from call to call: the state is read and written once, and the
 * rows (the query heads of a key head) read it on the way. */
#include "codegen/linear_inside.h"

#include <math.h>

enum { MOST_ROWS = 16 };

bool linear_steps(const Linear *l)
{
    return l->has_state && l->few && l->few <= MOST_ROWS;
}

/* "*(const lanes_at *)(w + i)", or what there is of the vector. */
static const char *part(Linear *l, const char *pointer)
{
    Arena *a = l->k->e->cx->arena;
    if (l->head % l->lanes)
        return arena_print(a, "load_part(%s + i, %lld - i)", pointer, (long long)l->head);
    return arena_print(a, "*(const lanes_at *)(%s + i)", pointer);
}

static void emit_dots(Linear *l)
{
    Kernel *k = l->k;
    const char *items[] = {"const float *restrict projection", "ptrdiff_t step", "const float *restrict x",
                           "float *restrict to"};
    Text before = linear_open_alone(l, "to[f] = w_f x for one row or key.", "void", l->dots, items, 4);
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->own);
    put_line(k, "const float *w = projection + f * step;");
    put_line(k, "lanes sum = {0};");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i += LANES)", (long long)l->head);
    put_line(k, "    sum += %s * %s;", part(l, "w"), part(l, "x"));
    put_line(k, "to[f] = %s(sum);", math_use(k->e, MATH_SUM_ACROSS));
    put_close(k);
    linear_close(l, before);
}

/* ---- the key ----------------------------------------------------------------------------------------------------- */

static void open_features(Linear *l)
{
    put_open(l->k, "for (ptrdiff_t f = 0; f < %lld; f += LANES)", (long long)l->features);
    put_line(l->k, "lanes *key = (lanes *)(s->fresh + f), *sum = (lanes *)(s->total + f);");
}

/* The key's features relative to the tops it may raise; by how much the sums shrink. */
static void put_raised(Linear *l)
{
    Kernel *k = l->k;
    const char *exp2 = math_use(k->e, MATH_EXP2);
    if (l->hyperbolic) {
        put_line(k, "for (ptrdiff_t f = 0; f < %lld; f++) /* the features of -w */", (long long)l->own);
        put_line(k, "    s->fresh[%lld + f] = -s->fresh[f];", (long long)l->own);
    }
    open_features(l);
    put_line(k, "lanes *most = (lanes *)(s->top + f), *shrink = (lanes *)(s->high + f);");
    put_line(
        k, "const lanes none = splat(-__builtin_inff()), here = select(count_from((int)f) < %lld, *key - lost, none);",
        (long long)l->features);
    put_line(k, "const lanes now = select(here > *most, here, *most), base = select(now == none, (lanes){0}, now);");
    put_line(k, "*shrink = %s(*most - base);", exp2);
    put_line(k, "*key = %s(here - base);", exp2);
    put_line(k, "*most = now;");
    put_line(k, "*sum = *sum * *shrink + *key;");
    put_close(k);
}

static void put_codes(Linear *l)
{
    Kernel *k = l->k;
    const char *exp2 = math_use(k->e, MATH_EXP2);
    put_line(k, "lanes most = splat(-__builtin_inff()), parts = {0};");
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f += LANES)", (long long)l->features);
    put_line(k, "lanes *key = (lanes *)(s->fresh + f);");
    put_line(
        k, "*key = select(count_from((int)f) < %lld, *key - *(const lanes *)(s->half + f), splat(-__builtin_inff()));",
        (long long)l->features);
    put_line(k, "most = select(*key > most, *key, most);");
    put_close(k);
    put_line(k, "const float base = %s(most);", math_use(k->e, MATH_TOP_ACROSS));
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f += LANES)", (long long)l->features);
    put_line(k, "lanes *key = (lanes *)(s->fresh + f);");
    put_line(k, "*key = %s(*key - base);", exp2);
    put_line(k, "parts += *key;");
    put_close(k);
    put_line(k, "const float each = live / %s(parts);", math_use(k->e, MATH_SUM_ACROSS));
    open_features(l);
    put_line(k, "*key *= each;");
    put_line(k, "*sum += *key;");
    put_close(k);
}

/* s->fresh: the key's features; s->total and s->top as they are with it; s->value. */
static void put_key(Linear *l)
{
    Kernel *k = l->k;
    Context *cx = k->e->cx;
    double factor = linear_key_factor(l);
    const char *to = l->projected ? "key_row" : "s->fresh";
    put_line(k, "const float live = %s;", l->has_keep ? "keep[0] ? 1.0f : 0.0f" : "1.0f");
    if (l->projected)
        put_line(k, "float *key_row = s->y;");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
    put_line(k, "    %s[i] = live > 0.0f ? %s%s : 0.0f;", to, linear_element(l, "keys", &l->keys, l->head_axis, "i"),
             factor == 1 ? "" : arena_print(cx->arena, " * %s", float_literal(cx, factor)));
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)l->width);
    put_line(k, "    s->value[w] = live > 0.0f ? %s : 0.0f;", linear_element(l, "values", &l->v, l->value_axis, "w"));
    if (l->exponential) {
        put_line(k, "float lost = live > 0.0f ? 0.0f : __builtin_inff();");
        put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
        put_line(k, "    lost += key_row[i] * key_row[i] * %s;", float_literal(cx, linear_square_factor(l)));
        if (l->has_offset) {
            put_line(k, "if (live > 0.0f)");
            put_line(k, "    lost -= offset[0] * %s;", float_literal(cx, M_LOG2E));
        }
    }
    if (l->projected)
        put_line(k, "%s(projection, step, key_row, s->fresh);", l->dots);
    if (l->exponential) {
        put_raised(l);
    } else if (l->codes) {
        put_codes(l);
    } else {
        open_features(l);
        const char *feature = arena_print(cx->arena, "(%s) * live", linear_plain_feature(l, "*key"));
        if (l->features % l->lanes)
            feature = arena_print(cx->arena, "select(count_from((int)f) < %lld, %s, (lanes){0})",
                                  (long long)l->features, feature);
        put_line(k, "*key = %s;", feature);
        put_line(k, "*sum += *key;");
        put_close(k);
    }
}

/* ---- the state --------------------------------------------------------------------------------------------------- */

static void unrolled(Linear *l, const char *var, int count)
{
    text_add(&l->k->body, "#pragma GCC unroll %d\n", count);
    put_line(l->k, "for (ptrdiff_t %s = 0; %s < %d; %s++)", var, var, count, var);
}

static void open_unrolled(Linear *l, const char *var, int count)
{
    text_add(&l->k->body, "#pragma GCC unroll %d\n", count);
    put_open(l->k, "for (ptrdiff_t %s = 0; %s < %d; %s++)", var, var, count, var);
}

/* Rows first .. first + rows read all features of `vectors` vectors of columns; the first rows' pass writes them. */
static void put_pass(Linear *l, int first, int rows, int vectors)
{
    Kernel *k = l->k;
    Arena *a = k->e->cx->arena;
    bool whole = l->width % l->lanes == 0 || vectors > 1;
    const char *left = arena_print(a, "%lld - w", (long long)l->width);
    put_line(k, "lanes sum[%d][%d] = %s;", rows, vectors, zero_lanes(k->e->target, 2));
    text_add(&k->body, "        ROLLED\n");
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "float *row = state + f * %lld + w;", (long long)l->width);
    open_unrolled(l, "v", vectors);
    put_line(k, whole ? "lanes x = *(const lanes_at *)(row + v * LANES);" : "lanes x = load_part(row, %s);", left);
    if (!first) {
        put_line(k, "x = x%s + s->fresh[f] * *(const lanes *)(s->value + w + v * LANES);",
                 l->tops ? " * s->high[f]" : "");
        put_line(k, whole ? "*(lanes_at *)(row + v * LANES) = x;" : "store_part(row, x, %s);", left);
    }
    unrolled(l, "r", rows);
    put_line(k, "    sum[r][v] += splat(s->query[%s * %lld + f]) * x;", first ? arena_print(a, "(%d + r)", first) : "r",
             (long long)l->span);
    put_close(k);
    put_close(k);
    unrolled(l, "r", rows);
    k->indent++;
    unrolled(l, "v", vectors);
    put_line(k, "    *(lanes *)(s->sum + %s * %lld + w + v * LANES) = sum[r][v];",
             first ? arena_print(a, "(%d + r)", first) : "r", (long long)l->wide);
    k->indent--;
}

static void put_passes(Linear *l, int first, int rows)
{
    Kernel *k = l->k;
    int vectors = k->e->target->registers >= 32 || rows == 1 ? 4 : 2;
    long long group = (long long)vectors * l->lanes, rest = l->width / group * group;
    if (rest) {
        put_open(k, "for (ptrdiff_t w = 0; w < %lld; w += %lld)", rest, group);
        put_pass(l, first, rows, vectors);
        put_close(k);
    }
    if (rest < l->width) {
        put_open(k, "for (ptrdiff_t w = %lld; w < %lld; w += LANES)", rest, (long long)l->width);
        put_pass(l, first, rows, 1);
        put_close(k);
    }
}

/* Parameters and arguments that the two functions below share: projection, key and value, what says whether they count. */
static size_t step_items(Linear *l, const char **items)
{
    size_t n = 0;
    if (l->projected) {
        items[n++] = "const float *restrict projection";
        items[n++] = "ptrdiff_t step";
    }
    items[n++] = "const float *restrict keys";
    items[n++] = "const float *restrict values";
    if (l->has_keep)
        items[n++] = "const int *restrict keep";
    if (l->has_offset)
        items[n++] = "const float *restrict offset";
    items[n++] = "float *restrict state";
    return n;
}

/* The sums of features, and tops, from the kept state or back to it. */
static void put_sums(Linear *l, bool back)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, back ? "total[f] = s->total[f];" : "s->total[f] = total[f];");
    if (l->tops)
        put_line(k, back ? "top[f] = s->top[f];" : "s->top[f] = top[f];");
    put_close(k);
    if (back || l->features == l->span)
        return;
    put_open(k, "for (ptrdiff_t f = %lld; f < %lld; f++)", (long long)l->features, (long long)l->span);
    put_line(k, "s->total[f] = 0.0f;");
    if (l->tops)
        put_line(k, "s->top[f] = -__builtin_inff();");
    put_close(k);
}

static void emit_join(Linear *l)
{
    Kernel *k = l->k;
    const char *items[8];
    size_t n = step_items(l, items);
    Text before = linear_open(
        l,
        l->tops ? "The key of one position: its features, by how much it makes the state shrink, the sums with it."
                : "The key of one position: its features, and the sums with it.",
        "void", l->join, items, n);
    put_line(k, "float *total = state + %lld%s;", (long long)(l->features * l->width),
             l->tops ? arena_print(k->e->cx->arena, ", *top = total + %lld", (long long)l->features) : "");
    put_sums(l, false);
    put_key(l);
    put_sums(l, true);
    linear_close(l, before);
}

void linear_emit_step(Linear *l)
{
    Kernel *k = l->k;
    const char *items[8];
    size_t n = step_items(l, items);
    if (l->projected)
        emit_dots(l);
    emit_join(l);
    const char *says =
        "One position: its key joins the kept state, which is read and written once; its rows read it on the way.";
    Text before = linear_open(l, says, "void", l->step, items, n);
    put_line(k, "%s(s, %skeys, values%s%s, state);", l->join, l->projected ? "projection, step, " : "",
             l->has_keep ? ", keep" : "", l->has_offset ? ", offset" : "");
    if (l->projected) {
        put_open(k, "for (ptrdiff_t row = 0; row < %lld; row++)", (long long)l->few);
        put_line(k, "float *query = s->query + row * %lld;", (long long)l->span);
        put_line(k, "%s(projection, step, s->x + row * %lld, query);", l->dots, (long long)l->head);
        if (linear_from_tops(l)) {
            put_line(k, "for (ptrdiff_t f = 0; f < %lld; f += LANES)", (long long)l->own);
            put_line(k, "    *(lanes *)(query + f) += *(const lanes *)(s->top + f);");
        }
        put_close(k);
    }
    put_line(k, "%s(s, %lld);", l->weigh, (long long)l->few);
    for (int first = 0; first < l->few; first += LINEAR_STEP_ROWS)
        put_passes(l, first, (int)l->few - first < LINEAR_STEP_ROWS ? (int)l->few - first : LINEAR_STEP_ROWS);
    linear_close(l, before);
}
