/* linear_attend's keys: features of a chunk of keys, turned (a row for each feature), and the state they are added to.
 *
 * Positive features are exp(w y - |y|^2 / 2). What is added up are their quotients by 2^top, where top is an exponent of
 * this feature among the keys so far, the largest but for 2^8: when it grows, the sums shrink by as much. So nothing
 * overflows, whatever the norms, and what queries read does not depend on the tops (they take them back in). */
#include "codegen/linear_inside.h"

#include <math.h>

/* Exponents to base 2 that one float spans with room: a key whose feature is 2^-58 of the top (e^-40) still counts in
 * full precision for the rows that see no larger one. */
#define SPAN 58.0

/* Tops are raised by more than this: features may exceed 1 by as much, and the sums are seldom rewritten. */
#define ROOM 8.0

double linear_key_factor(const Linear *l)
{
    if (l->codes)
        return M_LOG2E / (l->tau * l->tau);
    return sqrt(l->scale) * (l->exponential ? M_LOG2E : l->relu ? l->ratio : 1);
}

double linear_query_factor(const Linear *l)
{
    return l->codes ? l->scale * M_LOG2E : linear_key_factor(l);
}

double linear_square_factor(const Linear *l)
{
    double factor = linear_key_factor(l);
    return 0.5 * l->scale * M_LOG2E / (factor * factor);
}

const char *linear_plain_feature(Linear *l, const char *u)
{
    Context *cx = l->k->e->cx;
    const char *eps = l->eps > 0 ? arena_print(cx->arena, " + %s", float_literal(cx, l->eps)) : "";
    if (l->elu1)
        return arena_print(cx->arena, "select(%s > 0.0f, %s + 1.0f, %s(%s))", u, u, math_use(l->k->e, MATH_EXP), u);
    if (l->relu)
        return arena_print(cx->arena, "select(%s < 0.0f, (lanes){0}, %s)%s", u, u, eps);
    return u;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static void emit_squares(Linear *l)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t j = 0; j < count; j += LANES)");
    put_line(k, "lanes square = {0};");
    put_open(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
    put_line(k, "const lanes y = *(const lanes *)(s->y + i * %d + j);", LINEAR_CHUNK);
    put_line(k, "square += y * y;");
    put_close(k);
    put_line(k, "*(lanes *)(s->live + j) -= square * %s;", float_literal(k->e->cx, linear_square_factor(l)));
    put_close(k);
}

static void emit_load(Linear *l)
{
    Kernel *k = l->k;
    Context *cx = k->e->cx;
    const char *items[12] = {"const float *restrict keys", "ptrdiff_t key_step", "const float *restrict values",
                             "ptrdiff_t value_step"};
    size_t n = 4;
    if (l->has_keep) {
        items[n++] = "const int *restrict keep";
        items[n++] = "ptrdiff_t keep_step";
    }
    if (l->has_offset) {
        items[n++] = "const float *restrict offset";
        items[n++] = "ptrdiff_t offset_step";
    }
    if (l->has_document)
        items[n++] = "const int *restrict at";
    items[n++] = "ptrdiff_t first";
    items[n++] = "ptrdiff_t count";
    const char *gone = l->exponential ? "-__builtin_inff()" : "0.0f", *turned = l->projected ? "y" : "key";
    const char *plain = l->projected ? "x" : "query"; /* is free as long as keys are loaded */
    Text before = linear_open(
        l,
        "Keys first .. first + count and their values. Of a key that is not seen nothing is read: zeros stand for it.",
        "void", l->load, items, n);
    put_line(k, "const ptrdiff_t whole = (count + LANES - 1) / LANES * LANES;");
    put_open(k, "for (ptrdiff_t j = 0; j < whole; j++)");
    put_line(k, "float *key_row = s->%s + j * %lld, *value_row = s->value + j * %lld;", plain, (long long)l->head,
             (long long)l->wide);
    if (l->has_document)
        put_line(k, "const ptrdiff_t t = j < count ? at[first + j] : 0;");
    else
        put_line(k, "const ptrdiff_t t = first + j;");
    put_open(k, l->has_keep ? "if (j >= count || !keep[t * keep_step])" : "if (j >= count)");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
    put_line(k, "    key_row[i] = 0.0f;");
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)l->wide);
    put_line(k, "    value_row[w] = 0.0f;");
    put_line(k, "s->live[j] = %s;", gone);
    put_line(k, "continue;");
    put_close(k);
    put_line(k, "const float *key = keys + t * key_step, *value = values + t * value_step;");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
    put_line(k, "    key_row[i] = %s;", linear_element(l, "key", &l->keys, l->head_axis, "i"));
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)l->width);
    put_line(k, "    value_row[w] = %s;", linear_element(l, "value", &l->v, l->value_axis, "w"));
    if (l->exponential)
        put_line(k, "s->live[j] = %s;",
                 l->has_offset ? arena_print(cx->arena, "offset[t * offset_step] * %s", float_literal(cx, M_LOG2E))
                               : "0.0f");
    else
        put_line(k, "s->live[j] = 1.0f;");
    put_close(k);
    put_line(k, "matrix_transpose(whole, %lld, s->%s, %lld, s->%s, %d, %s);", (long long)l->head, plain,
             (long long)l->head, turned, LINEAR_CHUNK, float_literal(cx, linear_key_factor(l)));
    if (l->exponential)
        emit_squares(l);
    linear_close(l, before);
}

/* ---- features ---------------------------------------------------------------------------------------------------- */

static const char *const project_items[] = {"const float *restrict projection", "ptrdiff_t step", "ptrdiff_t count"};

static void put_projection(Linear *l, const char *start)
{
    put_line(l->k, "matrix_product(%lld, count, %lld, projection, step, s->y, %d, MATRIX_PANEL, s->key, %d, %s, 0, &s->soon);",
             (long long)l->own, (long long)l->head, LINEAR_CHUNK, LINEAR_CHUNK, start);
}

/* The loop over all keys of a feature's row, by vectors: opens it, `at` is the vector. */
static void open_keys(Kernel *k, const char *row)
{
    put_open(k, "for (ptrdiff_t j = 0; j < count; j += LANES)");
    put_line(k, "lanes *at = (lanes *)(%s + j);", row);
}

/* Hyperbolic features: exponents of w and of -w. */
static void put_turned(Linear *l)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->own);
    put_line(k, "float *row = s->key + f * %d, *other = row + %lld; /* the feature of -w */", LINEAR_CHUNK,
             (long long)l->own * LINEAR_CHUNK);
    open_keys(k, "row");
    put_line(k, "const lanes live = *(const lanes *)(s->live + j);");
    put_line(k, "*(lanes *)(other + j) = live - *at;");
    put_line(k, "*at += live;");
    put_close(k);
    put_close(k);
}

/* The largest exponent of each feature. */
static void put_high(Linear *l)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "const float *row = s->key + f * %d;", LINEAR_CHUNK);
    put_line(k, "lanes most = splat(-__builtin_inff());");
    linear_put_twice(l);
    put_open(k, "for (ptrdiff_t j = 0; j < count; j += LANES)");
    put_line(k, "const lanes x = *(const lanes *)(row + j);");
    put_line(k, "most = select(x > most, x, most);");
    put_close(k);
    put_line(k, "s->high[f] = %s(most);", math_use(k->e, MATH_TOP_ACROSS));
    put_close(k);
}

/* Exponents of positive features, and with tops the largest of each. */
static void emit_exponents(Linear *l)
{
    Text before = linear_open(l,
                              l->tops ? "Exponents of the keys' features to base 2, and the largest of each feature."
                                      : "Exponents of the keys' features to base 2.",
                              "void", l->exponents, project_items, 3);
    put_projection(l, l->hyperbolic ? "0" : "s->live");
    if (l->hyperbolic)
        put_turned(l);
    if (l->tops)
        put_high(l);
    linear_close(l, before);
}

/* How many keys of a chunk may share one top. */
static void emit_cut(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"ptrdiff_t count"};
    const char *span = float_literal(k->e->cx, SPAN), *top = math_use(k->e, MATH_TOP_ACROSS);
    Text before =
        linear_open(l,
                    "Of the keys so many as may share their tops: no row may find all that it sees 2^-58 below them.\n"
                    " * The others stay for the next chunk.",
                    "ptrdiff_t", l->cut, items, 1);
    put_line(k, "ptrdiff_t least = count;");
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "const float *row = s->key + f * %d;", LINEAR_CHUNK);
    put_line(k, "ptrdiff_t j = 0;");
    put_line(k, "float base = s->top[f] > row[0] ? s->top[f] : row[0];");
    put_line(k, "if (s->high[f] - base <= %s)", span);
    put_line(k, "    continue;");
    put_line(k, "while (base == -__builtin_inff() && ++j < least) /* rows before the first key see nothing */");
    put_line(k, "    base = row[j];");
    put_line(k, "while (++j < least)");
    put_line(k, "    if (row[j] - base > %s)", span);
    put_line(k, "        least = j;");
    put_close(k);
    put_line(k, "if (least == count)");
    put_line(k, "    return count;");
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "float *row = s->key + f * %d;", LINEAR_CHUNK);
    put_line(k, "lanes most = splat(-__builtin_inff());");
    open_keys(k, "row");
    put_line(k, "*at = select(count_from((int)j) < (int)least, *at, splat(-__builtin_inff()));");
    put_line(k, "most = select(*at > most, *at, most);");
    put_close(k);
    put_line(k, "s->high[f] = %s(most);", top);
    put_close(k);
    put_line(k, "return least;");
    linear_close(l, before);
}

/* Features from exponents; the sums so far are brought to the new tops. */
static void emit_raised(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"ptrdiff_t count"};
    const char *exp2 = math_use(k->e, MATH_EXP2), *sum = math_use(k->e, MATH_SUM_ACROSS);
    Text before =
        linear_open(l, "Features of the keys relative to the tops, which they raise if they exceed them by far: then the sums shrink.",
                    "void", l->key_features, items, 1);
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "float *row = s->key + f * %d;", LINEAR_CHUNK);
    put_open(k, "if (s->high[f] > s->top[f] + %s)", float_literal(k->e->cx, ROOM));
    put_line(k, "const float shrink = %s(splat(s->top[f] - s->high[f]))%s;", exp2, lane_of(k->e->target, "[0]"));
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w += LANES)", (long long)l->wide);
    put_line(k, "    *(lanes *)(s->state + f * %lld + w) *= shrink;", (long long)l->wide);
    put_line(k, "s->total[f] *= shrink;");
    put_line(k, "s->top[f] = s->high[f];");
    put_close(k);
    put_line(k, "const float base = s->top[f] == -__builtin_inff() ? 0.0f : s->top[f]; /* no key yet: all are 0 */");
    put_line(k, "lanes sum = {0};");
    linear_put_twice(l);
    open_keys(k, "row");
    put_line(k, "*at = %s(*at - base);", exp2);
    put_line(k, "sum += *at;");
    put_close(k);
    put_line(k, "s->fresh[f] = %s(sum);", sum);
    put_close(k);
    linear_close(l, before);
}

/* eps > 0: all features of all keys relative to one number, as published. */
static void emit_bounded(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"ptrdiff_t count", "float highest"};
    const char *exp2 = math_use(k->e, MATH_EXP2), *sum = math_use(k->e, MATH_SUM_ACROSS);
    Text before =
        linear_open(l, "Features of the keys, all relative to one number; eps is added to those of keys that are seen.",
                    "void", l->key_features, items, 2);
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "lanes sum = {0};");
    open_keys(k, arena_print(k->e->cx->arena, "s->key + f * %d", LINEAR_CHUNK));
    put_line(k, "const lanes live = *(const lanes *)(s->live + j);");
    put_line(k, "*at = select(live > -__builtin_inff(), %s(*at - highest) + %s, (lanes){0});", exp2,
             float_literal(k->e->cx, l->eps));
    put_line(k, "sum += *at;");
    put_close(k);
    put_line(k, "s->fresh[f] = %s(sum);", sum);
    put_close(k);
    linear_close(l, before);
}

/* The number of emit_bounded: the largest w y of all keys that are seen. */
static void emit_highest(Linear *l)
{
    Kernel *k = l->k;
    const char *items[] = {"const float *restrict projection", "ptrdiff_t step", "ptrdiff_t count", "float highest"};
    Text before = linear_open(l, "The largest w y among these keys and `highest`.", "float", l->highest, items, 4);
    put_line(k, "lanes most = splat(highest);");
    put_projection(l, "0");
    put_line(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->own);
    k->indent++;
    open_keys(k, arena_print(k->e->cx->arena, "s->key + f * %d", LINEAR_CHUNK));
    put_line(k, "most = select((*(const lanes *)(s->live + j) > -__builtin_inff()) & (*at > most), *at, most);");
    put_close(k);
    k->indent--;
    put_line(k, "return %s(most);", math_use(k->e, MATH_TOP_ACROSS));
    linear_close(l, before);
}

/* elu + 1, relu and none. */
static void emit_plain(Linear *l)
{
    Kernel *k = l->k;
    static const char *const own[] = {"ptrdiff_t count"};
    const char *sum = math_use(k->e, MATH_SUM_ACROSS);
    Text before = linear_open(l, "Features of the keys; 0 for those that are not seen.", "void", l->key_features,
                              l->projected ? project_items : own, l->projected ? 3 : 1);
    if (l->projected)
        put_projection(l, "0");
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "lanes sum = {0};");
    open_keys(k, arena_print(k->e->cx->arena, "s->key + f * %d", LINEAR_CHUNK));
    put_line(k, "*at = (%s) * *(const lanes *)(s->live + j);", linear_plain_feature(l, "*at"));
    put_line(k, "sum += *at;");
    put_close(k);
    put_line(k, "s->fresh[f] = %s(sum);", sum);
    put_close(k);
    linear_close(l, before);
}

/* Soft codes: a softmax over the features of each key. */
static void emit_codes(Linear *l)
{
    Kernel *k = l->k;
    const char *exp2 = math_use(k->e, MATH_EXP2), *sum = math_use(k->e, MATH_SUM_ACROSS);
    const char *row = arena_print(k->e->cx->arena, "s->key + f * %d", LINEAR_CHUNK);
    Text before = linear_open(
        l, "How much of each key falls to each code: softmax over the codes of -|k - c|^2 / (2 tau^2), without |k|^2.",
        "void", l->key_features, project_items, 3);
    put_projection(l, "0");
    put_open(k, "for (ptrdiff_t j = 0; j < count; j += LANES)");
    put_line(k, "lanes most = splat(-__builtin_inff()), parts = {0};");
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "lanes *at = (lanes *)(%s + j);", row);
    put_line(k, "*at -= s->half[f];");
    put_line(k, "most = select(*at > most, *at, most);");
    put_close(k);
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "lanes *at = (lanes *)(%s + j);", row);
    put_line(k, "*at = %s(*at - most);", exp2);
    put_line(k, "parts += *at;");
    put_close(k);
    put_line(k, "*(lanes *)(s->parts + j) = *(const lanes *)(s->live + j) / parts;");
    put_close(k);
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "lanes sum = {0};");
    open_keys(k, row);
    put_line(k, "*at *= *(const lanes *)(s->parts + j);");
    put_line(k, "sum += *at;");
    put_close(k);
    put_line(k, "s->fresh[f] = %s(sum);", sum);
    put_close(k);
    linear_close(l, before);
}

/* ---- the state --------------------------------------------------------------------------------------------------- */

static void emit_absorb(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"ptrdiff_t count"};
    Text before = linear_open(l, "The keys belong to the state from now on.", "void", l->absorb, items, 1);
    put_line(k,
             "matrix_product(%lld, %lld, count, s->key, %d, s->value, %lld, MATRIX_PANEL, s->state, %lld, s->state, "
             "%lld, &s->soon);",
             (long long)l->features, (long long)l->width, LINEAR_CHUNK, (long long)l->wide, (long long)l->wide,
             (long long)l->wide);
    put_line(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->features);
    put_line(k, "    s->total[f] += s->fresh[f];");
    linear_close(l, before);
}

void linear_emit_keys(Linear *l)
{
    emit_load(l);
    if (l->exponential)
        emit_exponents(l);
    if (l->tops && l->causal)
        emit_cut(l);
    if (l->exponential && !l->tops)
        emit_highest(l);
    if (l->tops)
        emit_raised(l);
    else if (l->exponential)
        emit_bounded(l);
    else
        l->codes ? emit_codes(l) : emit_plain(l);
    emit_absorb(l);
}
