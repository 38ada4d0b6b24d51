/* The products of a tile whose rows stand in the lanes (attend_lanes.c): functions whose sums stay in registers.
 *
 *     scores   a few keys times all vectors of rows: a number of a key meets LANES rows
 *     values   a few rows of weights times vectors of values: a weight meets LANES columns
 *     copies   of one key's numbers, of one value's
 *
 * All sums run over ascending positions, so which keys or rows go together changes no bits. */
#include "codegen/attend_inside.h"

#include <string.h>

static void unrolled(Text *t, int depth, const char *var, int count)
{
    attend_put_unrolled(t, depth, var, count, 1, "");
}

/* For a loop up to `vectors`, a number where the function is inlined; `end`: " {" or nothing. */
static void unrolled_vectors(Text *t, int depth, const char *end)
{
    text_add(t, "#pragma GCC unroll %d\n%*sfor (ptrdiff_t c = 0; c < vectors; c++)%s\n", LANE_VECTORS, 4 * depth, "", end);
}

static void put_head(Attend *a, Text *t, const char *head, const char *const *items, size_t n)
{
    text_add(t, "%s\n{\n", wrapped(a->k->e->cx, head, items, n));
}

/* ---- scores ---------------------------------------------------------------------------------------------------------- */

/* Where not every row reads all of the keys t, t + 1, ... */
static void put_cut(Attend *a, Text *t)
{
    text_add(t, "        if (t < range[c].all_begin || t + %d > range[c].all_end) {\n", a->keys_at_once);
    text_add(t, "            const ints from = *(const ints_at *)(begin + c * LANES), to = *(const ints_at *)(end + c * LANES);\n");
    attend_put_unrolled(t, 3, "k", a->keys_at_once, 1, " {");
    text_add(t, "                const int key = (int)(t + k);\n");
    text_add(t, "                sum[k][c] = select((from <= key) & (to > key), sum[k][c], splat(-__builtin_inff()));\n            }\n        }\n");
}

static void emit_some_scores(Attend *a, Text *t)
{
    const char *items[] = {"ptrdiff_t step", "ptrdiff_t vectors", "const float *restrict query", "const float *restrict key", "ptrdiff_t keys",
                           "float *restrict score", "lanes *restrict tops", "int t", attend_print(a, "const struct %s *range", a->range_struct),
                           "const int *begin", "const int *end"};
    const int keys = a->keys_at_once, none = a->key_rows ? 0 : 1; /* of a panel's keys the numbers lie side by side */
    text_add(t, "/* score[%d keys][vectors] = key[%lld] times query[%lld][vectors], and the largest of them.%s */\n", keys, (long long)a->head,
             (long long)a->head, a->ranged ? "\n * The first is key number t; -inf for those that a row does not read." : "");
    put_head(a, t, attend_print(a, "static inline __attribute__((always_inline))\nvoid %s", a->scores_some), items + none, (a->ranged ? 11 : 7) - (size_t)none);
    text_add(t, "    const float *at[%d];\n", keys);
    unrolled(t, 1, "k", keys);
    text_add(t, "        at[k] = key + lesser(k, keys - 1)%s;\n", a->key_rows ? " * step" : "");
    text_add(t, "    lanes sum[%d][%d] = %s;\n", keys, LANE_VECTORS, zero_lanes(a->k->e->target, 2));
    attend_put_steps(a, t, 1, attend_print(a, "for (ptrdiff_t i = 0; i < %lld; i++) {", (long long)a->head));
    text_add(t, "        const lanes *numbers = (const lanes *)(query + i * %d);\n", a->rows);
    unrolled(t, 2, "k", keys);
    unrolled_vectors(t, 3, "");
    text_add(t, "                sum[k][c] += splat(at[k][i%s]) * numbers[c];\n    }\n", a->key_rows ? "" : attend_print(a, " * %d", KEY_PANEL));
    unrolled_vectors(t, 1, " {");
    text_add(t, "        lanes top = tops[c];\n");
    if (a->ranged)
        put_cut(a, t);
    attend_put_unrolled(t, 2, "k", keys, 1, " {");
    text_add(t, "            *(lanes *)(score + k * %d + c * LANES) = sum[k][c];\n", a->rows);
    text_add(t, "            top = select(sum[k][c] > top, sum[k][c], top);\n        }\n        tops[c] = top;\n    }\n}\n\n");
}

/* "if (COUNT == 3) some(3, query, ..)" and so on for each number of vectors; there is at least one unless some may be left out. */
static void put_chosen(Attend *a, Text *t, const char *count, const char *rest)
{
    for (int vectors = LANE_VECTORS; vectors > 0; vectors--) {
        text_add(t, "        %s", vectors < LANE_VECTORS ? "else" : "");
        if (vectors > 1 || a->ranged)
            text_add(t, "%sif (%s == %d)", vectors < LANE_VECTORS ? " " : "", count, vectors);
        text_add(t, "\n");
        put_wrapped(t, 3, attend_print(a, "%s(%s%d, %s);", a->scores_some, a->key_rows ? "step, " : "", vectors, rest));
    }
}

static void emit_scores(Attend *a, Text *t)
{
    const char *items[] = {"const float *restrict query", "const float *restrict key", "ptrdiff_t step", "float *restrict score", "ptrdiff_t vectors",
                           "lanes *restrict tops", a->ranged ? "ptrdiff_t t0" : "ptrdiff_t keys", "ptrdiff_t from", "ptrdiff_t to",
                           attend_print(a, "const struct %s *range", a->range_struct), "const int *begin", "const int *end"};
    const int keys = a->keys_at_once;
    const char *number = a->ranged ? "(t - t0)" : "t";
    const char *at = a->key_rows ? attend_print(a, "key + %s * step", number) : attend_print(a, "key + %s / %d * step + t %% %d", number, KEY_PANEL, KEY_PANEL);
    const char *to = attend_print(a, "score + %s * %d", number, a->rows);
    text_add(t, a->ranged ? "/* The same for keys from .. to of a block and a tile's vectors, but for first and last ones that read none of them. */\n"
                          : "/* The same for all keys of a block and all vectors of a tile. */\n");
    put_head(a, t, attend_print(a, "static void %s", a->scores), items, a->ranged ? 12 : 7);
    if (!a->ranged) {
        text_add(t, "    for (ptrdiff_t t = 0; t < keys; t += %d) {\n", keys);
        put_chosen(a, t, "vectors", attend_print(a, "query, %s, keys - t, %s, tops", at, to));
        text_add(t, "    }\n}\n\n");
        return;
    }
    text_add(t, "    for (ptrdiff_t t = %s; t < to; t += %d) {\n", a->key_rows ? "from" : attend_print(a, "from / %d * %d", keys, keys), keys);
    text_add(t, "        ptrdiff_t c = 0, n = vectors;\n");
    text_add(t, "        while (c < n && range[c].high <= t)\n            c++;\n");
    text_add(t, "        while (c < n && range[n - 1].low >= t + %d)\n            n--;\n", keys);
    text_add(t, "        const float *keys = %s, *numbers = query + c * LANES;\n", at);
    text_add(t, "        float *scores = %s + c * LANES;\n", to);
    put_chosen(a, t, "n - c", "numbers, keys, to - t, scores, tops + c, (int)t, range + c, begin + c * LANES, end + c * LANES");
    text_add(t, "    }\n}\n\n");
}

/* ---- values ---------------------------------------------------------------------------------------------------------- */

void attend_put_value(Text *t, int depth, int whole, int part)
{
    const char *in = "                " + 4 * (4 - depth);
    if (!part) {
        text_add(t, "%sconst lanes_at *value = (const lanes_at *)(v + t * step);\n", in);
        return;
    }
    text_add(t, "%slanes value[%d];\n", in, whole + 1);
    if (whole) {
        unrolled(t, depth, "c", whole);
        text_add(t, "%s    value[c] = *(const lanes_at *)(v + t * step + c * LANES);\n", in);
    }
    text_add(t, "%svalue[%d] = load_part(v + t * step + %d * LANES, %d);\n", in, whole, whole, part);
}

void attend_put_lane_results(Text *t, int rows, const char *end, int vectors, int part)
{
    text_add(t, "#pragma GCC unroll %d\n    for (ptrdiff_t row = 0; row < %d%s; row++) {\n", rows, rows, end);
    if (vectors > (part > 0)) {
        unrolled(t, 2, "c", vectors - (part > 0));
        text_add(t, "            *(lanes_at *)(results[row] + w + c * LANES) = sum[row][c] * scale[row];\n");
    }
    if (part)
        text_add(t, "        store_part(results[row] + w + %d * LANES, sum[row][%d] * scale[row], %d);\n", vectors - 1, vectors - 1, part);
    text_add(t, "    }\n");
}

static void emit_values(Attend *a, Text *t, const char *name, int vectors, int part)
{
    static const char *const items[] = {"const float *restrict weight", "const float *restrict v", "ptrdiff_t step", "ptrdiff_t keys", "int begun",
                                        "const float *restrict shrink", "const float *out", "const float *restrict scale",
                                        "float *const *results", "ptrdiff_t w"};
    const int rows = attend_values_rows(a, vectors * a->lanes);
    text_add(t, "/* results[%d][%d of %lld] = (out * shrink + weight[keys][%d] * v[keys][%lld]) * scale. */\n", rows,
             (vectors - (part > 0)) * a->lanes + part, (long long)a->width, rows, (long long)a->width);
    put_head(a, t, attend_print(a, "static void %s", name), items, 10);
    text_add(t, "    lanes sum[%d][%d] = %s;\n    if (begun)\n", rows, vectors, zero_lanes(a->k->e->target, 2));
    unrolled(t, 2, "row", rows);
    unrolled(t, 3, "c", vectors);
    text_add(t, "                sum[row][c] = *(const lanes *)(out + row * %lld + c * LANES) * shrink[row];\n", (long long)a->padded);
    attend_put_steps(a, t, 1, "for (ptrdiff_t t = 0; t < keys; t++) {");
    attend_put_value(t, 2, vectors - (part > 0), part);
    unrolled(t, 2, "row", rows);
    unrolled(t, 3, "c", vectors);
    text_add(t, "                sum[row][c] += splat(weight[t * %d + row]) * value[c];\n    }\n", a->rows);
    attend_put_lane_results(t, rows, "", vectors, part);
    text_add(t, "}\n\n");
}

/* The weight of a masked key is 0, but must not meet its value if that is infinite or NaN: then 0 times it has other bits than a zero's. */
static void emit_finite(Attend *a, Text *t)
{
    static const char *const items[] = {"const float *v", "ptrdiff_t step", "ptrdiff_t keys"};
    const int whole = (int)(a->width / a->lanes * a->lanes), part = (int)(a->width % a->lanes);
    text_add(t, "/* Is none of the values infinite or NaN? Then zeros are all that is left of them. */\n");
    put_head(a, t, attend_print(a, "static int %s", a->finite), items, 3);
    text_add(t, "    ints left = splat_int(0);\n    for (ptrdiff_t t = 0; t < keys; t++)%s\n", whole && part ? " {" : "");
    if (whole) {
        attend_put_unrolled(t, 2, "i", whole, a->lanes, "");
        text_add(t, "            left |= bits_of(*(const lanes_at *)(v + t * step + i) * 0.0f);\n");
    }
    if (part)
        text_add(t, "        left |= bits_of(load_part(v + t * step + %d, %d) * 0.0f);\n", whole, part);
    text_add(t, "%s    return %s(float_of(left)) == 0.0f;\n}\n\n", whole && part ? "    }\n" : "", math_use(a->k->e, MATH_SUM_ACROSS));
}

/* ---- copies ---------------------------------------------------------------------------------------------------------- */

static void emit_row_copy(Attend *a, Text *t, const char *name, long long width, const char *what)
{
    const long long whole = width / a->lanes * a->lanes;
    text_add(t, "/* The %lld numbers of a %s. */\nstatic inline void %s(const float *from, float *restrict to)\n{\n", width, what, name);
    if (whole) {
        attend_put_unrolled(t, 1, "i", (int)whole, a->lanes, "");
        text_add(t, "        *(lanes_at *)(to + i) = *(const lanes_at *)(from + i);\n");
    }
    if (whole < width && whole)
        text_add(t, "    *(lanes_at *)(to + %lld) = *(const lanes_at *)(from + %lld); /* some of them again */\n", width - a->lanes, width - a->lanes);
    else if (whole < width)
        text_add(t, "    for (ptrdiff_t i = 0; i < %lld; i++)\n        to[i] = from[i];\n", width);
    text_add(t, "}\n\n");
}

void attend_emit_lane_tiles(Attend *a)
{
    Text *t = &a->k->before;
    const int part = (int)(a->width % a->lanes), group = attend_group(a, false);
    const int64_t rest = attend_rest(a, false);
    if (a->in_place < a->block) {
        const bool alike = a->key_rows && a->head == a->width;
        if (a->key_rows && !alike)
            emit_row_copy(a, t, a->pack_keys, a->head, "key");
        emit_row_copy(a, t, a->pack_values, a->width, alike ? "key or a value" : "value");
        a->pack_keys = alike ? a->pack_values : a->pack_keys;
    }
    if (a->ranged)
        text_add(t, "/* Of a vector of rows: the keys low .. high that some row reads, all_begin .. all_end that every row does. */\n"
                    "struct %s { ptrdiff_t low, high, all_begin, all_end; };\n\n", a->range_struct);
    emit_some_scores(a, t);
    emit_scores(a, t);
    if (a->ranged)
        emit_finite(a, t);
    if (rest > 0)
        emit_values(a, t, a->values, group, 0);
    if (rest < a->width)
        emit_values(a, t, a->values_rest, (int)((a->width - rest + a->lanes - 1) / a->lanes), part);
}
