/* The scores of attend where the keys lie in rows: a cache that is also read otherwise, as the latent of all heads is.
 *
 * For a few rows (decoding) the vectors run along the head axis, so nothing is transposed: one row times eight keys at a
 * time. A sum is one vector over the lanes in ascending order and then a fixed tree. More rows are worth packing the keys
 * (attend_pack.c); which it is depends on the number of all rows alone. */
#include "codegen/attend_inside.h"

static void indented(Text *t, int depth, const char *line)
{
    for (int i = 0; i < depth; i++)
        text_add(t, "    ");
    text_add(t, "%s\n", line);
}

/* "for (int VAR = 0; VAR < COUNT; VAR++)", unrolled so that the sums live in registers. */
static void unrolled(Text *t, int depth, const char *var, int count)
{
    text_add(t, "#pragma GCC unroll %d\n", count);
    for (int i = 0; i < depth; i++)
        text_add(t, "    ");
    text_add(t, "for (int %s = 0; %s < %d; %s++)\n", var, var, count, var);
}

/* "sum[c] += q * k" for all keys; `query` and `key` read a vector. */
static void emit_products(Attend *a, Text *t, int depth, const char *query, const char *key)
{
    unrolled(t, depth, "c", ATTEND_ROW_VECTORS);
    indented(t, depth + 1, arena_print(a->k->e->cx->arena, "sum[c] += %s * %s;", query, key));
}

void attend_emit_key_rows(Attend *a)
{
    Context *cx = a->k->e->cx;
    Text *t = &a->k->before;
    long long whole = a->head / a->lanes * a->lanes, rest = a->head - whole;
    int keys = ATTEND_ROW_VECTORS;
    static const char *const items[] = {"const float *restrict query", "const float *restrict key", "ptrdiff_t step",
                                        "ptrdiff_t keys", "float *restrict score"};
    text_add(t, "/* One row: score[keys] = query[%lld] * key[keys][%lld], %d keys at a time. */\n", (long long)a->head,
             (long long)a->head, keys);
    text_add(t, "%s\n{\n", wrapped(cx, arena_print(cx->arena, "static void %s", a->scores_row), items, 5));
    text_add(t, "    for (ptrdiff_t t = 0; t < keys; t += %d) {\n        const float *at[%d];\n", keys, keys);
    unrolled(t, 2, "c", keys);
    indented(t, 3, "at[c] = key + (t + c < keys ? t + c : t) * step;");
    indented(t, 2, arena_print(cx->arena, "lanes sum[%d] = %s;", keys, zero_lanes(a->k->e->target, 1)));
    if (whole) {
        text_add(t, "        ROLLED\n        for (ptrdiff_t i = 0; i < %lld; i += LANES)\n", whole);
        emit_products(a, t, 3, "*(const lanes_at *)(query + i)", "*(const lanes_at *)(at[c] + i)");
    }
    if (rest)
        emit_products(a, t, 2, arena_print(cx->arena, "load_part(query + %lld, %lld)", whole, rest),
                      arena_print(cx->arena, "load_part(at[c] + %lld, %lld)", whole, rest));
    unrolled(t, 2, "c", keys);
    indented(t, 3, arena_print(cx->arena, "score[t + c] = %s(sum[c]);", math_use(a->k->e, MATH_SUM_ACROSS)));
    text_add(t, "    }\n}\n\n");
}
