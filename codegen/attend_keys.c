/* The scores of attend where the keys lie in rows: a cache that is also read otherwise, as the latent of all heads is.
 *
 * For a few rows (decoding) the vectors run along the head axis, so nothing is transposed: one row times eight keys at a
 * time, or a few rows (attend_lanes_few.c). A sum is one vector over the lanes in ascending order and then a fixed tree. More rows are worth packing the keys
 * (attend_pack.c); which it is depends on the number of all rows alone. */
#include "codegen/attend_inside.h"

static void indented(Text *t, int depth, const char *line)
{
    for (int i = 0; i < depth; i++)
        text_add(t, "    ");
    text_add(t, "%s\n", line);
}

/* "for (ptrdiff_t VAR = 0; VAR < COUNT; VAR++)", unrolled so that the sums live in registers. */
static void unrolled(Text *t, int depth, const char *var, int count)
{
    text_add(t, "#pragma GCC unroll %d\n", count);
    for (int i = 0; i < depth; i++)
        text_add(t, "    ");
    text_add(t, "for (ptrdiff_t %s = 0; %s < %d; %s++)\n", var, var, count, var);
}

/* "sum[c] += q * k" for all keys, or "sum[row][c] += .." for all rows; `query` and `key` read a vector. */
static void emit_products(Attend *a, Text *t, int depth, const char *query, const char *key)
{
    unrolled(t, depth, "c", ATTEND_ROW_VECTORS);
    if (a->in_lanes)
        attend_put_few(t, depth + 1);
    indented(t, depth + 1 + a->in_lanes, attend_print(a, "sum%s[c] += %s * %s;", a->in_lanes ? "[row]" : "", query, key));
}

void attend_emit_key_rows(Attend *a)
{
    Context *cx = a->k->e->cx;
    Text *t = &a->k->before;
    const long long head = a->head, whole = head / a->lanes * a->lanes, rest = head - whole;
    const int keys = ATTEND_ROW_VECTORS;
    static const char *const items[] = {"ptrdiff_t rows", "const float *restrict query", "const float *restrict key", "ptrdiff_t step",
                                        "ptrdiff_t keys", "float *restrict score"};
    const char *row = a->in_lanes ? attend_print(a, "row * %lld + ", head) : "", *each = a->in_lanes ? "[row]" : "";
    text_add(t, a->in_lanes ? "/* A few rows: score[rows][keys] = query[rows][%lld] * key[keys][%lld], %d keys at a time. */\n"
                            : "/* One row: score[keys] = query[%lld] * key[keys][%lld], %d keys at a time. */\n", head, head, keys);
    const char *head_line = attend_print(a, "static %svoid %s", a->in_lanes ? "inline __attribute__((always_inline))\n" : "", a->scores_row);
    text_add(t, "%s\n{\n", wrapped(cx, head_line, items + !a->in_lanes, 6 - !a->in_lanes));
    text_add(t, "    for (ptrdiff_t t = 0; t < keys; t += %d) {\n        const float *at[%d];\n", keys, keys);
    unrolled(t, 2, "c", keys);
    indented(t, 3, "at[c] = key + (t + c < keys ? t + c : t) * step;");
    indented(t, 2, attend_print(a, "lanes sum%s[%d] = %s;", a->in_lanes ? attend_print(a, "[%d]", ATTEND_FEW) : "", keys,
                                zero_lanes(a->k->e->target, a->in_lanes ? 2 : 1)));
    if (whole) {
        text_add(t, "        ROLLED for (ptrdiff_t i = 0; i < %lld; i += LANES)\n", whole);
        emit_products(a, t, 3, attend_print(a, "*(const lanes_at *)(query + %si)", row), "*(const lanes_at *)(at[c] + i)");
    }
    if (rest)
        emit_products(a, t, 2, attend_print(a, "load_part(query + %s%lld, %lld)", row, whole, rest),
                      attend_print(a, "load_part(at[c] + %lld, %lld)", whole, rest));
    if (a->in_lanes)
        attend_put_few(t, 2);
    attend_put_unrolled(t, 2 + a->in_lanes, "c", keys, 4, "");
    indented(t, 3 + a->in_lanes, attend_print(a, "%s(sum%s + c, score + %st + c);", math_use(a->k->e, MATH_SUMS_ACROSS), each,
                                              a->in_lanes ? attend_print(a, "row * %d + ", a->score_step) : ""));
    text_add(t, "    }\n}\n\n");
}
