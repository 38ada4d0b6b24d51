/* The scores of attend where the keys lie in rows: a cache that is also read otherwise, as the latent of all heads is.
 *
 *     scores       a tile of rows of q times two keys at a time        scores_row   one row times eight keys
 *
 * The vectors run along the head axis, so nothing is transposed and no key is read twice for a tile. A sum is one
 * vector over the lanes in ascending order and then a fixed tree: the same bits in a tile and alone. */
#include "codegen/attend_inside.h"

enum { TILE_KEYS = 2 };

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

/* "sum += q * k" for all rows and keys; `load` reads a vector at an address. */
static void emit_products(Attend *a, Text *t, int depth, int rows, int keys, const char *query, const char *key)
{
    Arena *arena = a->k->e->cx->arena;
    if (rows > 1)
        unrolled(t, depth, "row", rows);
    unrolled(t, depth + (rows > 1), "c", keys);
    indented(t, depth + 1 + (rows > 1),
             arena_print(arena, "sum%s[c] += %s * %s;", rows > 1 ? "[row]" : "", query, key));
}

static void emit_function(Attend *a, Text *t, const char *name, int rows, int keys)
{
    Context *cx = a->k->e->cx;
    long long whole = a->head / a->lanes * a->lanes, rest = a->head - whole;
    static const char *const items[] = {"const float *restrict query", "const float *restrict key", "ptrdiff_t step",
                                        "ptrdiff_t keys", "float *restrict score"};
    const char *line = rows > 1 ? arena_print(cx->arena, "query + row * %lld", (long long)a->head) : "query";
    text_add(t, "/* score[%d][keys] = query[%d][%lld] * key[keys][%lld], %d keys at a time. */\n", rows, rows,
             (long long)a->head, (long long)a->head, keys);
    text_add(t, "%s\n{\n", wrapped(cx, arena_print(cx->arena, "static void %s", name), items, 5));
    text_add(t, "    for (ptrdiff_t t = 0; t < keys; t += %d) {\n        const float *at[%d];\n", keys, keys);
    unrolled(t, 2, "c", keys);
    indented(t, 3, "at[c] = key + (t + c < keys ? t + c : t) * step;");
    if (rows > 1)
        indented(t, 2, arena_print(cx->arena, "lanes sum[%d][%d] = {{{0}}};", rows, keys));
    else
        indented(t, 2, arena_print(cx->arena, "lanes sum[%d] = {{0}};", keys));
    if (whole) {
        text_add(t, "        ROLLED\n        for (ptrdiff_t i = 0; i < %lld; i += LANES)\n", whole);
        emit_products(a, t, 3, rows, keys, arena_print(cx->arena, "*(const lanes_at *)(%s + i)", line),
                      "*(const lanes_at *)(at[c] + i)");
    }
    if (rest)
        emit_products(a, t, 2, rows, keys, arena_print(cx->arena, "load_part(%s + %lld, %lld)", line, whole, rest),
                      arena_print(cx->arena, "load_part(at[c] + %lld, %lld)", whole, rest));
    const char *across = math_use(a->k->e, MATH_SUM_ACROSS);
    if (rows > 1)
        unrolled(t, 2, "row", rows);
    unrolled(t, 2 + (rows > 1), "c", keys);
    indented(t, 3 + (rows > 1),
             rows > 1 ? arena_print(cx->arena, "score[row * %d + t + c] = %s(sum[row][c]);", ATTEND_STEP, across)
                      : arena_print(cx->arena, "score[t + c] = %s(sum[c]);", across));
    text_add(t, "    }\n}\n\n");
}

void attend_emit_key_rows(Attend *a)
{
    emit_function(a, &a->k->before, a->scores, a->rows, TILE_KEYS);
    emit_function(a, &a->k->before, a->scores_row, 1, ATTEND_ROW_VECTORS);
}
