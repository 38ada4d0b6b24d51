/* The products of attend: functions whose sums stay in registers.
 *
 *     scores       a tile of rows of q times one panel of 32 keys      values       rows of weights times packed values
 *     scores_row   one row times a few panels                          values_row   one row, times values as they lie
 *
 * Beside a tile few rows meet several vectors of keys or values: with 16 registers 3 rows and 4 vectors (2 where a
 * product takes a register before it is added), whose products need the fewest instructions beside them, with 32 a tile
 * of 8 rows and 2. One row takes up to eight vectors, which is
 * enough independent sums to keep the multipliers busy. All sums run over ascending positions: a range of them, or, if
 * the mask has tests, the panels at `place`. */
#include "codegen/attend_inside.h"

#include <string.h>

int attend_group(const Attend *a, bool one_row)
{
    int vectors = one_row ? ATTEND_ROW_VECTORS : a->vectors, all = (int)(a->padded / a->lanes);
    if (a->in_lanes && !one_row) /* 3 or 4, so that they come out even if they can */
        vectors = all % 4 == 0 || all % 3 == 1 ? 4 : 3;
    return vectors < all ? vectors : all;
}

int64_t attend_rest(const Attend *a, bool one_row)
{
    int64_t group = (int64_t)attend_group(a, one_row) * a->lanes;
    return a->width / group * group;
}

/* Rows beside so many vectors whose sums stay in registers: they divide a tile's. */
static int product_rows(const Attend *a, int vectors)
{
    int rows = a->k->e->target->sums / vectors;
    rows = rows < 1 ? 1 : rows > a->rows ? a->rows : rows;
    while (a->rows % rows)
        rows--;
    return rows;
}

int attend_values_rows(const Attend *a, int64_t columns)
{
    return product_rows(a, (int)((columns + a->lanes - 1) / a->lanes));
}

const char *attend_value_group(Attend *a, const char *plus)
{
    return *plus ? arena_print(a->k->e->cx->arena, "%s * %d", plus, a->block) : "";
}

/* A loop, "for (..", over the steps of a sum, two at a time: one where more would push sums out of the registers; four are no faster, longer to
 * compile, and more to read from memory where weights have driven the code out of the caches. */
void attend_put_steps(const Attend *a, Text *t, int depth, const char *loop)
{
    if (a->k->e->target->steps > 1)
        text_add(t, "#pragma GCC unroll 2\n%*s%s\n", 4 * depth, "", loop);
    else
        text_add(t, "%*sROLLED %s\n", 4 * depth, "", loop);
}

/* "_Pragma" lines before a loop that must disappear for its array to live in registers. */
static void unrolled(Text *t, int indent, const char *var, int count)
{
    text_add(t, "#pragma GCC unroll %d\n", count);
    for (int i = 0; i < indent; i++)
        text_add(t, "    ");
    text_add(t, "for (ptrdiff_t %s = 0; %s < %d; %s++)\n", var, var, count, var);
}

/* The same for a loop that goes to `to`, at most `count`, which is a number where the function is inlined. */
static void unrolled_to(Text *t, int indent, const char *var, int count, const char *to)
{
    text_add(t, "#pragma GCC unroll %d\n%*sfor (ptrdiff_t %s = 0; %s < %s; %s++)\n", count, 4 * indent, "", var, var, to,
             var);
}

/* "static TYPE NAME(..)" and the opening brace. */
static void head(Attend *a, Text *t, const char *type, const char *name, const char *const *items, size_t n)
{
    Context *cx = a->k->e->cx;
    text_add(t, "%s\n{\n", wrapped(cx, arena_print(cx->arena, "static %s %s", type, name), items, n));
}

/* "sum[..][..] += splat(number) * vector": with several vectors the rows' numbers come first, which leaves one register
 * for a vector at a time; with two both vectors stay while the rows go by. */
static void emit_outer(Attend *a, Text *t, int depth, int rows, int vectors, const char *number, const char *vector)
{
    const char *in = arena_print(a->k->e->cx->arena, "%*s", 4 * depth, "");
    if (vectors > 2) {
        text_add(t, "%slanes one[%d];\n", in, rows);
        unrolled(t, depth, "row", rows);
        text_add(t, "%s    one[row] = splat(%s);\n", in, number);
        unrolled(t, depth, "c", vectors);
        unrolled(t, depth + 1, "row", rows);
        text_add(t, "%s        sum[row][c] += one[row] * %s;\n", in, vector);
        return;
    }
    unrolled(t, depth, "row", rows);
    unrolled(t, depth + 1, "c", vectors);
    text_add(t, "%s        sum[row][c] += splat(%s) * %s;\n", in, number, vector);
}

/* The sums of `rows` rows and `vectors` vectors, at the depth of statements of `depth`; `above`: the row of the tile,
 * `first`: what is added to reach the first vector. */
static void put_scores(Attend *a, Text *t, int depth, int rows, int vectors, const char *above, const char *first)
{
    Arena *arena = a->k->e->cx->arena;
    const char *in = arena_print(arena, "%*s", 4 * depth, "");
    text_add(t, "%slanes sum[%d][%d] = %s;\n", in, rows, vectors, zero_lanes(a->k->e->target, 2));
    attend_put_steps(a, t, depth, arena_print(arena, "for (ptrdiff_t i = 0; i < %lld; i++) {", (long long)a->head));
    text_add(t, "%s    const lanes *key = (const lanes *)(panel%s + i * %d);\n", in, first, KEY_PANEL);
    emit_outer(a, t, depth + 1, rows, vectors, arena_print(arena, "query[%s * %lld + i]", above, (long long)a->head),
               "key[c]");
    text_add(t, "%s}\n", in);
    unrolled(t, depth, "row", rows);
    unrolled(t, depth + 1, "c", vectors);
    text_add(t, "%s        *(lanes *)(score%s + %s * %d + c * LANES) = sum[row][c];\n", in, first, above, a->score_step);
}

bool attend_scores_wide(const Attend *a)
{
    return a->vectors == 2 && KEY_PANEL == 2 * a->lanes && a->rows * 3 <= a->k->e->target->sums && a->key_rows && !a->second.choice;
}

/* All rows times a part of a panel, or one and a half, whose sums find registers beside each other: `most` vectors at most. */
static void emit_some_scores(Attend *a, Text *t, int most)
{
    Context *cx = a->k->e->cx;
    static const char *const items[] = {"int vectors", "const float *restrict query", "const float *restrict panel",
                                        "float *restrict score"};
    bool wide = most > a->vectors;
    text_add(t, wide ? "/* A tile of rows and so many vectors of keys; the third are the first of the next panel. */\n"
                     : "/* The same for all rows and few keys: `vectors` of them. */\n");
    text_add(t, "static inline __attribute__((always_inline))\n%s\n{\n",
             wrapped(cx, arena_print(cx->arena, "void %s", a->scores_some), items, 4));
    text_add(t, "    lanes sum[%d][%d] = %s;\n", a->rows, most, zero_lanes(a->k->e->target, 2));
    attend_put_steps(a, t, 1, arena_print(cx->arena, "for (ptrdiff_t i = 0; i < %lld; i++) {", (long long)a->head));
    text_add(t, "        const lanes *key = (const lanes *)(panel + i * %d)%s;\n", KEY_PANEL,
             wide ? arena_print(cx->arena, ", *next = key + %lld", (long long)a->head * a->vectors) : "");
    unrolled(t, 2, "row", a->rows);
    unrolled_to(t, 3, "c", most, "vectors");
    text_add(t, "                sum[row][c] += splat(query[row * %lld + i]) * %s;\n    }\n", (long long)a->head,
             wide ? arena_print(cx->arena, "(c < %d ? key[c] : next[c - %d])", a->vectors, a->vectors) : "key[c]");
    unrolled(t, 1, "row", a->rows);
    unrolled_to(t, 2, "c", most, "vectors");
    text_add(t, "            *(lanes *)(score + row * %d + c * LANES) = sum[row][c];\n}\n\n", a->score_step);
}

/* A tile of rows times one panel; of the last two of a range times both where a vector is left for the last: one vector alone
 * multiplies at half the speed. */
static void emit_wide_scores(Attend *a, Text *t)
{
    static const char *const items[] = {"const float *restrict query", "const float *restrict panel", "ptrdiff_t keys",
                                        "float *restrict score"};
    const int most = KEY_PANEL + a->lanes;
    emit_some_scores(a, t, 3);
    text_add(t, "/* score[%d][keys] = query[%d][%lld] * panel[%lld][%d]; of up to %d keys all, of more those of one panel. Returns how\n"
                " * many panels that is. */\n", a->rows, a->rows, (long long)a->head, (long long)a->head, KEY_PANEL, most);
    head(a, t, "int", a->scores, items, 4);
    text_add(t, "    if (keys <= %d)\n        %s(1, query, panel, score);\n", a->lanes, a->scores_some);
    text_add(t, "    else if (keys <= %d || keys > %d)\n        %s(2, query, panel, score);\n", KEY_PANEL, most, a->scores_some);
    text_add(t, "    else\n        %s(3, query, panel, score);\n", a->scores_some);
    text_add(t, "    return keys > %d && keys <= %d ? 2 : 1;\n}\n\n", KEY_PANEL, most);
}

/* A tile of rows, of which `rows` exist, times one panel, of which `keys` are read. */
static void emit_scores(Attend *a, Text *t)
{
    if (attend_scores_wide(a)) {
        emit_wide_scores(a, t);
        return;
    }
    int vectors = KEY_PANEL / a->lanes, columns = a->vectors * a->lanes, depth = 1;
    vectors = vectors < a->vectors ? vectors : a->vectors;
    int rows = product_rows(a, vectors);
    bool parts = columns < KEY_PANEL, turns = rows < a->rows;
    bool less = !parts && vectors > 1 && product_rows(a, vectors / 2) == a->rows;
    if (less)
        emit_some_scores(a, t, vectors / 2);
    text_add(t, "/* score[rows][keys] = query[rows][%lld] * panel[%lld][%d], up to %d rows and %d keys; a few more of both. */\n",
             (long long)a->head, (long long)a->head, KEY_PANEL, a->rows, KEY_PANEL);
    static const char *const items[] = {"const float *restrict query", "const float *restrict panel", "ptrdiff_t rows",
                                        "ptrdiff_t keys", "float *restrict score"};
    head(a, t, "void", a->scores, items, 5);
    if (!turns)
        text_add(t, "    (void)rows;\n");
    for (int part = 4; less && part > 1; part /= 2)
        if (vectors >= part && turns)
            text_add(t, "    %sif (keys <= %d)\n        %s(%d, query, panel, score);\n",
                     part < 4 && vectors >= 4 ? "else " : "", columns / part, a->scores_some, vectors / part);
        else if (vectors >= part)
            text_add(t, "    if (keys <= %d) {\n        %s(%d, query, panel, score);\n        return;\n    }\n",
                     columns / part, a->scores_some, vectors / part);
    const char *none = less ? arena_print(a->k->e->cx->arena, "keys <= %d ? (int)rows : ", columns / 2) : "";
    if (!parts && !less)
        text_add(t, "    (void)keys;\n");
    if (parts)
        text_add(t, "%*sfor (ptrdiff_t first = 0; first < keys && first < %d; first += %d)%s\n", 4 * depth++, "", KEY_PANEL,
                 columns, turns ? "" : " {");
    if (turns)
        text_add(t, "%*sfor (ptrdiff_t top = %s0; top < rows; top += %d) {\n", 4 * depth++, "", none, rows);
    put_scores(a, t, depth, rows, vectors, turns ? "(top + row)" : "row", parts ? " + first" : "");
    if (parts || turns)
        text_add(t, "%*s}\n", 4 * (depth - 1), "");
    text_add(t, "}\n\n");
}

int attend_row_panels(const Attend *a)
{
    int panels = ATTEND_ROW_VECTORS * a->lanes / KEY_PANEL;
    return panels > 1 ? panels : 1;
}

static void emit_scores_row(Attend *a, Text *t)
{
    int vectors = KEY_PANEL / a->lanes, panels = attend_row_panels(a);
    bool chosen = a->mask.tests.count > 0;
    text_add(t, "/* One row: score[%d keys] = query[%lld] * panel[%lld][%d], %s. */\n", KEY_PANEL, (long long)a->head,
             (long long)a->head, KEY_PANEL,
             panels > 1 ? arena_print(a->k->e->cx->arena, "for up to %d panels, %s", panels,
                                      chosen ? "those at `place`" : "`step` apart")
                        : "one panel");
    static const char *const range[] = {"const float *restrict query", "const float *restrict panel", "ptrdiff_t step",
                                        "ptrdiff_t panels", "float *restrict score"};
    static const char *const some[] = {"const float *restrict query", "const float *restrict panel",
                                       "ptrdiff_t step",              "const ptrdiff_t *place",
                                       "ptrdiff_t panels",            "float *restrict score"};
    head(a, t, "void", a->scores_row, chosen ? some : range, chosen ? 6 : 5);
    text_add(t, "    lanes sum[%d][%d] = %s;\n", panels, vectors, zero_lanes(a->k->e->target, 2));
    text_add(t, "    const float *at[%d];\n", panels);
    unrolled(t, 1, "p", panels);
    if (chosen)
        text_add(t, "        at[p] = panel + place[p < panels ? p : 0] / %d * step;\n", KEY_PANEL);
    else
        text_add(t, "        at[p] = panel + (p < panels ? p : 0) * step;\n");
    text_add(t, "    ROLLED for (ptrdiff_t i = 0; i < %lld; i++) {\n        const lanes q = splat(query[i]);\n",
             (long long)a->head);
    unrolled(t, 2, "p", panels);
    unrolled(t, 3, "c", vectors);
    text_add(t, "                sum[p][c] += q * ((const lanes *)(at[p] + i * %d))[c];\n    }\n", KEY_PANEL);
    unrolled(t, 1, "p", panels);
    text_add(t, "        if (p < panels)\n");
    unrolled(t, 3, "c", vectors);
    text_add(t, "                *(lanes *)(score + p * %d + c * LANES) = sum[p][c];\n}\n\n", KEY_PANEL);
}

/* "sum[c] += w * v_t[c]", the last vector loaded in part if only `last` of its lanes exist. */
static void emit_accumulate(Text *t, int vectors, int last)
{
    if (last) {
        text_add(t, "        lanes value[%d];\n", vectors);
        if (vectors > 1) {
            unrolled(t, 2, "c", vectors - 1);
            text_add(t, "            value[c] = *(const lanes_at *)(v + t * step + c * LANES);\n");
        }
        text_add(t, "        value[%d] = load_part(v + t * step + %d * LANES, %d);\n", vectors - 1, vectors - 1, last);
    } else {
        text_add(t, "        const lanes_at *value = (const lanes_at *)(v + t * step);\n");
    }
    unrolled(t, 2, "c", vectors);
    text_add(t, "            sum[c] += w * value[c];\n");
}

static void put_key_loop(const Attend *a, Text *t, int depth, bool rolled)
{
    const char *loop = "for (ptrdiff_t t = 0; t < keys; t++) {";
    if (rolled)
        text_add(t, "%*sROLLED %s\n", 4 * depth, "", loop);
    else
        attend_put_steps(a, t, depth, loop);
}

/* The loop over keys t around `body`, which stands at level 2. With tests: over the panels, where `values` are those of
 * all keys and `v` those of a panel. */
static void put_keys(Attend *a, Text *t, const char *body, const char *panel, bool rolled)
{
    if (!a->mask.tests.count) {
        put_key_loop(a, t, 1, rolled);
        text_add(t, "%s    }\n", body);
        return;
    }
    text_add(t, "    for (ptrdiff_t p = 0; p < taken; p++, weight += %d) {\n", KEY_PANEL);
    text_add(t, "        const float *v = values + %s;\n", panel);
    text_add(t, "        const ptrdiff_t keys = lesser(high - place[p], %d);\n", KEY_PANEL);
    put_key_loop(a, t, 2, rolled);
    for (const char *line = body, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        text_add(t, "%s%.*s\n", *line == '#' ? "" : "    ", (int)(end - line), line);
    }
    text_add(t, "        }\n    }\n");
}

typedef enum ValuesFunction { VALUES_PACKED, VALUES_ROW, VALUES_CAREFUL } ValuesFunction;

/* The parameters of the functions that add up values; `shrink` is one number or one a row. */
static void values_head(Attend *a, Text *t, const char *name, ValuesFunction f)
{
    bool panels = a->mask.tests.count > 0;
    const char *items[18] = {"const float *restrict weight",
                             panels ? "const float *restrict values" : "const float *restrict v"};
    size_t n = 2;
    if (f != VALUES_PACKED)
        items[n++] = "ptrdiff_t step";
    if (panels) {
        if (f == VALUES_PACKED)
            items[n++] = "ptrdiff_t t0";
        items[n++] = "const ptrdiff_t *place";
        items[n++] = "int taken";
        items[n++] = "ptrdiff_t high";
    } else if (f == VALUES_CAREFUL) {
        items[n++] = "ptrdiff_t t0";
        items[n++] = "ptrdiff_t high";
        if (a->ranged) {
            items[n++] = "const ptrdiff_t *begin";
            items[n++] = "const ptrdiff_t *end";
        }
    } else {
        items[n++] = "ptrdiff_t keys";
    }
    items[n++] = "int begun";
    items[n++] = f == VALUES_ROW ? "float shrink" : "const float *restrict shrink";
    items[n++] = "float *restrict out";
    if (f != VALUES_ROW) {
        items[n++] = "int last";
        items[n++] = "const float *restrict scale";
        items[n++] = "float *const *results";
        items[n++] = "ptrdiff_t w";
        items[n++] = "ptrdiff_t count";
    }
    if (f == VALUES_CAREFUL)
        items[n++] = "int columns";
    if (f == VALUES_PACKED && attend_may_be_open(a))
        items[n++] = "int open";
    head(a, t, f == VALUES_PACKED && a->checks ? "int" : "void", name, items, n);
}

bool attend_may_be_open(const Attend *a)
{
    return a->checks && !a->marks;
}

/* A NaN can come from a masked key's value (0 * NaN): it is only reported, and the caller adds up again, row by row. */
static void put_check(Attend *a, Text *t, int rows, int vectors)
{
    static const char *const all[] = {"zero[0]", "zero[0] + zero[1]", "zero[0] + zero[1] + zero[2]",
                                      "(zero[0] + zero[1]) + (zero[2] + zero[3])"};
    int depth = attend_may_be_open(a) ? 2 : 1;
    const char *in = arena_print(a->k->e->cx->arena, "%*s", 4 * depth, "");
    if (depth > 1)
        text_add(t, "    if (!open) {\n");
    text_add(t, "%slanes zero[%d] = %s;\n", in, vectors, zero_lanes(a->k->e->target, 1));
    unrolled(t, depth, "row", rows);
    unrolled(t, depth + 1, "c", vectors);
    text_add(t, "%s        zero[c] += sum[row][c] * 0.0f;\n", in);
    text_add(t, "%sif (%s(%s) != 0.0f)\n%s    return 0;\n", in, math_use(a->k->e, MATH_SUM_ACROSS), all[vectors - 1],
             in);
    if (depth > 1)
        text_add(t, "    }\n");
}

/* The sums to `out` or, after the last keys, to the rows of the result, where of the last vector there are only `part`
 * lanes if that is not 0. */
static void put_results(Attend *a, Text *t, int rows, int vectors, int part)
{
    text_add(t, "#pragma GCC unroll %d\n    for (ptrdiff_t row = 0; row < %d; row++) {\n", rows, rows);
    text_add(t, "        const int ends = last && row < count;\n");
    text_add(t, "        float *to = ends ? results[row] + w : out + row * %lld;\n", (long long)a->padded);
    text_add(t, "        const float times = ends ? scale[row] : 1.0f;\n");
    if (vectors > (part > 0)) {
        unrolled(t, 2, "c", vectors - (part > 0));
        text_add(t, "            *(lanes_at *)(to + c * LANES) = sum[row][c] * times;\n");
    }
    if (part)
        text_add(t, "        store_part(to + %d * LANES, sum[row][%d] * times, ends ? %d : LANES);\n", vectors - 1,
                 vectors - 1, part);
    text_add(t, "    }\n");
}

static void emit_values(Attend *a, Text *t, const char *name, int vectors, int last)
{
    Arena *arena = a->k->e->cx->arena;
    int rows = attend_values_rows(a, vectors * a->lanes);
    text_add(t,
             "/* out[%d][%d of %lld] = out * shrink + weight[%d][keys] * v[keys][%lld], after the last keys times "
             "scale to the result%s. */\n",
             rows, (vectors - 1) * a->lanes + (last ? last : a->lanes), (long long)a->width, rows, (long long)a->group,
             a->checks ? ";\n * false, and nothing changed, if a sum is not finite" : "");
    values_head(a, t, name, VALUES_PACKED);
    Text body = text_new(arena);
    text_add(&body, "        const lanes *value = (const lanes *)(v + t * %lld);\n", (long long)a->group);
    emit_outer(a, &body, 2, rows, vectors, arena_print(arena, "weight[row * %d + t]", a->score_step), "value[c]");
    text_add(t, "    lanes sum[%d][%d] = %s;\n    if (begun)\n", rows, vectors,
             zero_lanes(a->k->e->target, 2));
    unrolled(t, 2, "row", rows);
    unrolled(t, 3, "c", vectors);
    text_add(t, "                sum[row][c] = *(const lanes *)(out + row * %lld + c * LANES) * shrink[row];\n",
             (long long)a->padded);
    put_keys(a, t, body.data, arena_print(arena, "(place[p] - t0) * %lld", (long long)a->group), false);
    if (a->checks)
        put_check(a, t, rows, vectors);
    put_results(a, t, rows, vectors, last);
    text_add(t, "%s}\n\n", a->checks ? "    return 1;\n" : "");
}

static void emit_values_row(Attend *a, Text *t, const char *name, int vectors, int last)
{
    text_add(t, "/* One row: the same for its own keys%s. */\n",
             a->marks ? "; a weight of -0 marks a masked key, whose value is not read" : "");
    values_head(a, t, name, VALUES_ROW);
    text_add(t, "    lanes sum[%d] = %s;\n    if (begun)\n", vectors, zero_lanes(a->k->e->target, 1));
    unrolled(t, 2, "c", vectors);
    text_add(t, "            sum[c] = *(const lanes *)(out + c * LANES) * shrink;\n");
    Text body = text_new(a->k->e->cx->arena);
    if (a->marks)
        text_add(&body, "        if (weight[t] == 0.0f && __builtin_signbit(weight[t]))\n            continue;\n");
    text_add(&body, "        const lanes w = splat(weight[t]);\n");
    emit_accumulate(&body, vectors, last);
    put_keys(a, t, body.data, "place[p] * step", true);
    unrolled(t, 1, "c", vectors);
    text_add(t, "        *(lanes *)(out + c * LANES) = sum[c];\n}\n\n");
}

/* If a masked key's value is infinite or NaN, which is rare: every row adds up its own keys, no value meets a 0. */
static void emit_values_careful(Attend *a, Text *t)
{
    bool panels = a->mask.tests.count > 0;
    text_add(t, "/* The same without reading values of masked keys: for the rare case that one is not finite. */\n");
    values_head(a, t, a->values_careful, VALUES_CAREFUL);
    text_add(t, "    for (ptrdiff_t row = 0; row < count; row++) {\n        float *out_row = out + row * %lld;\n",
             (long long)a->padded);
    text_add(t, "        for (ptrdiff_t i = 0; i < columns; i++)\n            out_row[i] = begun ? out_row[i] * shrink[row] "
                ": 0.0f;\n");
    if (panels) {
        text_add(t, "        for (ptrdiff_t i = 0; i < taken * %d; i++) {\n", KEY_PANEL);
        text_add(t, "            const ptrdiff_t t = place[i / %d] + i %% %d;\n", KEY_PANEL, KEY_PANEL);
        text_add(t, "            const float weight_t = weight[row * %d + i], *v = values + t * step;\n", a->score_step);
    } else {
        text_add(t, a->ranged
                        ? "        for (ptrdiff_t t = larger(begin[row], t0); t < lesser(end[row], high); t++) {\n"
                        : "        for (ptrdiff_t t = t0; t < high; t++) {\n");
        text_add(t, "            const float weight_t = weight[row * %d + (t - t0)];\n", a->score_step);
    }
    if (a->marks)
        text_add(t, "            if (%sweight_t == 0.0f && __builtin_signbit(weight_t)%s)\n                continue;\n",
                 panels ? "t >= high || (" : "", panels ? ")" : "");
    text_add(t, "            for (ptrdiff_t i = 0; i < columns; i++)\n                out_row[i] += weight_t * v[%s%si];\n",
             panels ? "" : "t * step + ", "w + ");
    text_add(t, "        }\n        for (ptrdiff_t i = 0; last && i < columns; i++)\n"
                "            results[row][w + i] = out_row[i] * scale[row];\n    }\n}\n\n");
}

static void emit_row_products(Attend *a, bool key_rows)
{
    key_rows ? attend_emit_key_rows(a) : emit_scores_row(a, &a->k->before);
}

/* The second product's function for one row: its own if its keys lie otherwise. */
static void emit_second_products(Attend *a)
{
    AttendSecond *s = &a->second;
    const char *scores_row = a->scores_row;
    s->scores_row = scores_row;
    if (!s->choice || s->key_rows == a->key_rows)
        return;
    a->scores_row = s->scores_row = scope_name(&a->k->e->file, arena_print(a->k->e->cx->arena, "%s2", scores_row));
    emit_row_products(a, s->key_rows);
    a->scores_row = scores_row;
}

void attend_emit_tiles(Attend *a)
{
    Text *t = &a->k->before;
    int last = (int)(a->width % a->lanes);
    if (!a->in_lanes)
        emit_scores(a, t);
    emit_row_products(a, a->key_rows);
    emit_second_products(a);
    if (a->in_lanes)
        return; /* its values: attend_lanes_tile.c, attend_lanes_few.c */
    if (a->checks)
        emit_values_careful(a, t);
    for (int one_row = 0; one_row < 2; one_row++) {
        int group = attend_group(a, one_row);
        int64_t rest = attend_rest(a, one_row);
        void (*emit)(Attend *, Text *, const char *, int, int) = one_row ? emit_values_row : emit_values;
        if (rest > 0)
            emit(a, t, one_row ? a->values_row : a->values, group, 0);
        if (rest < a->width)
            emit(a, t, one_row ? a->values_row_rest : a->values_rest,
                 (int)((a->width - rest + a->lanes - 1) / a->lanes), last);
    }
}
