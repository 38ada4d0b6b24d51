/* The products of attend: functions whose sums stay in registers.
 *
 *     scores       a tile of rows of q times one panel of 32 keys      values       a tile of rows of weights times v
 *     scores_row   one row times a few panels                          values_row   one row
 *
 * Each takes vectors of the keys' or values' axis, two at a time beside a tile and up to eight beside one row, which is
 * enough independent sums to keep the multipliers busy. All sums run over ascending positions: a range of them, or, if
 * the mask has tests, the panels at `place`. */
#include "codegen/attend_inside.h"

#include <string.h>

int attend_group(const Attend *a, bool one_row)
{
    int vectors = one_row ? ATTEND_ROW_VECTORS : 2, all = (int)(a->padded / a->lanes);
    return vectors < all ? vectors : all;
}

int64_t attend_rest(const Attend *a, bool one_row)
{
    int64_t group = (int64_t)attend_group(a, one_row) * a->lanes;
    return a->width / group * group;
}

/* "_Pragma" lines before a loop that must disappear for its array to live in registers. */
static void unrolled(Text *t, int indent, const char *var, int count)
{
    text_add(t, "#pragma GCC unroll %d\n", count);
    for (int i = 0; i < indent; i++)
        text_add(t, "    ");
    text_add(t, "for (int %s = 0; %s < %d; %s++)\n", var, var, count, var);
}

/* "static TYPE NAME(..)" and the opening brace. */
static void head(Attend *a, Text *t, const char *type, const char *name, const char *const *items, size_t n)
{
    Context *cx = a->k->e->cx;
    text_add(t, "%s\n{\n", wrapped(cx, arena_print(cx->arena, "static %s %s", type, name), items, n));
}

static void emit_scores(Attend *a, Text *t)
{
    int vectors = KEY_PANEL / a->lanes, columns = 2 * a->lanes;
    bool halves = vectors > 2;
    text_add(t, "/* score[%d][%d keys] = query[%d][%lld] * panel[%lld][%d]. */\n", a->rows, KEY_PANEL, a->rows,
             (long long)a->head, (long long)a->head, KEY_PANEL);
    static const char *const items[] = {"const float *restrict query", "const float *restrict panel",
                                        "float *restrict score"};
    head(a, t, "void", a->scores, items, 3);
    if (halves)
        text_add(t, "    for (int first = 0; first < %d; first += %d) {\n", KEY_PANEL, columns);
    const char *in = halves ? "    " : "", *first = halves ? " + first" : "";
    int depth = halves ? 2 : 1;
    text_add(t, "%s    lanes sum[%d][2] = {{{0}}};\n%s    ROLLED\n", in, a->rows, in);
    text_add(t, "%s    for (ptrdiff_t i = 0; i < %lld; i++) {\n", in, (long long)a->head);
    text_add(t, "%s        const lanes *key = (const lanes *)(panel%s + i * %d);\n", in, first, KEY_PANEL);
    unrolled(t, depth + 1, "row", a->rows);
    unrolled(t, depth + 2, "c", 2);
    text_add(t, "%s                sum[row][c] += splat(query[row * %lld + i]) * key[c];\n", in, (long long)a->head);
    text_add(t, "%s    }\n", in);
    unrolled(t, depth, "row", a->rows);
    unrolled(t, depth + 1, "c", 2);
    text_add(t, "%s            *(lanes *)(score%s + row * %d + c * LANES) = sum[row][c];\n", in, first, ATTEND_STEP);
    if (halves)
        text_add(t, "    }\n");
    text_add(t, "}\n\n");
}

static void emit_scores_row(Attend *a, Text *t)
{
    int vectors = KEY_PANEL / a->lanes, panels = ATTEND_ROW_VECTORS / vectors;
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
    text_add(t, "    lanes sum[%d][%d] = {{{0}}};\n", panels, vectors);
    text_add(t, "    const float *at[%d];\n", panels);
    unrolled(t, 1, "p", panels);
    if (chosen)
        text_add(t, "        at[p] = panel + place[p < panels ? p : 0] / %d * step;\n    ROLLED\n", KEY_PANEL);
    else
        text_add(t, "        at[p] = panel + (p < panels ? p : 0) * step;\n    ROLLED\n");
    text_add(t, "    for (ptrdiff_t i = 0; i < %lld; i++) {\n        const lanes q = splat(query[i]);\n",
             (long long)a->head);
    unrolled(t, 2, "p", panels);
    unrolled(t, 3, "c", vectors);
    text_add(t, "                sum[p][c] += q * ((const lanes *)(at[p] + i * %d))[c];\n    }\n", KEY_PANEL);
    unrolled(t, 1, "p", panels);
    text_add(t, "        if (p < panels)\n");
    unrolled(t, 3, "c", vectors);
    text_add(t, "                *(lanes *)(score + p * %d + c * LANES) = sum[p][c];\n}\n\n", KEY_PANEL);
}

/* "sum[..][c] += w * v_t[c]", the last vector loaded in part if only `last` of its lanes exist. */
static void emit_accumulate(Attend *a, Text *t, int rows, int vectors, int last)
{
    const char *weight = rows > 1 ? arena_print(a->k->e->cx->arena, "splat(weight[row * %d + t])", ATTEND_STEP) : "w";
    const char *sum = rows > 1 ? "sum[row]" : "sum";
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
    int depth = 2;
    if (rows > 1)
        unrolled(t, depth++, "row", rows);
    unrolled(t, depth, "c", vectors);
    for (int i = 0; i <= depth; i++)
        text_add(t, "    ");
    text_add(t, "%s[c] += %s * value[c];\n", sum, weight);
}

/* The loop over keys t around `body`, which stands at level 2. With tests: over the panels, where `values` are those of
 * all keys and `v` those of a panel. */
static void put_keys(Attend *a, Text *t, const char *body)
{
    if (!a->mask.tests.count) {
        text_add(t, "    ROLLED\n    for (ptrdiff_t t = 0; t < keys; t++) {\n%s    }\n", body);
        return;
    }
    text_add(t, "    for (int p = 0; p < taken; p++, weight += %d) {\n", KEY_PANEL);
    text_add(t, "        const float *v = values + place[p] * step;\n");
    text_add(t, "        const ptrdiff_t keys = lesser(end - place[p], %d);\n", KEY_PANEL);
    text_add(t, "        ROLLED\n        for (ptrdiff_t t = 0; t < keys; t++) {\n");
    for (const char *line = body, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        text_add(t, "%s%.*s\n", *line == '#' ? "" : "    ", (int)(end - line), line);
    }
    text_add(t, "        }\n    }\n");
}

/* The parameters of the functions that add up values; `shrink` is one number or one a row. */
static void values_head(Attend *a, Text *t, const char *type, const char *name, const char *shrink, bool columns)
{
    bool panels = a->mask.tests.count > 0;
    const char *items[9] = {"const float *restrict weight",
                            panels ? "const float *restrict values" : "const float *restrict v", "ptrdiff_t step"};
    size_t n = 3;
    if (panels) {
        items[n++] = "const ptrdiff_t *place";
        items[n++] = "int taken";
    }
    items[n++] = panels ? "ptrdiff_t end" : "ptrdiff_t keys";
    items[n++] = shrink;
    items[n++] = "float *restrict out";
    if (columns)
        items[n++] = "int columns";
    head(a, t, type, name, items, n);
}

/* A NaN can come from a masked key's value (0 * NaN): it is only reported, and the caller adds up again, row by row. */
static void emit_values(Attend *a, Text *t, const char *name, int vectors, int last)
{
    long long width = a->padded;
    text_add(t,
             "/* out[%d][%d of %lld] = out * shrink + weight[%d][keys] * v[keys]; false, and nothing changed, if a sum "
             "is not finite. */\n",
             a->rows, (vectors - 1) * a->lanes + (last ? last : a->lanes), (long long)a->width, a->rows);
    values_head(a, t, "int", name, "const float *restrict shrink", false);
    Text body = text_new(a->k->e->cx->arena);
    emit_accumulate(a, &body, a->rows, vectors, last);
    text_add(t, "    lanes sum[%d][%d];\n", a->rows, vectors);
    unrolled(t, 1, "row", a->rows);
    unrolled(t, 2, "c", vectors);
    text_add(t, "            sum[row][c] = *(const lanes *)(out + row * %lld + c * LANES) * shrink[row];\n", width);
    put_keys(a, t, body.data);
    text_add(t, "    lanes zero[%d] = {{0}};\n", vectors);
    unrolled(t, 1, "row", a->rows);
    unrolled(t, 2, "c", vectors);
    text_add(t, "            zero[c] += sum[row][c] * 0.0f;\n");
    text_add(t, "    if (%s(zero[0]%s) != 0.0f)\n        return 0;\n", math_use(a->k->e, MATH_SUM_ACROSS),
             vectors > 1 ? " + zero[1]" : "");
    unrolled(t, 1, "row", a->rows);
    unrolled(t, 2, "c", vectors);
    text_add(t, "            *(lanes *)(out + row * %lld + c * LANES) = sum[row][c];\n    return 1;\n}\n\n", width);
}

static void emit_values_row(Attend *a, Text *t, const char *name, int vectors, int last)
{
    text_add(t, "/* One row: the same for its own keys%s. */\n",
             a->marks ? "; a weight of -0 marks a masked key, whose value is not read" : "");
    values_head(a, t, "void", name, "float shrink", false);
    text_add(t, "    lanes sum[%d];\n", vectors);
    unrolled(t, 1, "c", vectors);
    text_add(t, "        sum[c] = *(const lanes *)(out + c * LANES) * shrink;\n");
    Text body = text_new(a->k->e->cx->arena);
    if (a->marks)
        text_add(&body, "        if (weight[t] == 0.0f && __builtin_signbit(weight[t]))\n            continue;\n");
    text_add(&body, "        const lanes w = splat(weight[t]);\n");
    emit_accumulate(a, &body, 1, vectors, last);
    put_keys(a, t, body.data);
    unrolled(t, 1, "c", vectors);
    text_add(t, "        *(lanes *)(out + c * LANES) = sum[c];\n}\n\n");
}

/* If a masked key's value is infinite or NaN, which is rare: every row adds up its own keys, no value meets a 0. */
static void emit_values_careful(Attend *a, Text *t)
{
    static const char *const range[] = {"const float *restrict weight",
                                        "const float *restrict v",
                                        "ptrdiff_t step",
                                        "ptrdiff_t t0",
                                        "const ptrdiff_t *from",
                                        "const ptrdiff_t *to",
                                        "const float *shrink",
                                        "float *restrict out",
                                        "int columns"};
    bool panels = a->mask.tests.count > 0;
    text_add(t, "/* The same without reading values of masked keys: for the rare case that one is not finite. */\n");
    if (panels)
        values_head(a, t, "void", a->values_careful, "const float *shrink", true);
    else
        head(a, t, "void", a->values_careful, range, 9);
    text_add(t, "    for (int row = 0; row < %d; row++) {\n        float *out_row = out + row * %lld;\n", a->rows,
             (long long)a->padded);
    text_add(t, "        for (int w = 0; w < columns; w++)\n            out_row[w] *= shrink[row];\n");
    if (panels) {
        text_add(t, "        for (ptrdiff_t i = 0; i < taken * %d; i++) {\n", KEY_PANEL);
        text_add(t, "            const ptrdiff_t t = place[i / %d] + i %% %d;\n", KEY_PANEL, KEY_PANEL);
        text_add(t, "            const float weight_t = weight[row * %d + i], *v = values + t * step;\n", ATTEND_STEP);
    } else {
        text_add(t, "        for (ptrdiff_t t = from[row]; t < to[row]; t++) {\n");
        text_add(t, "            const float weight_t = weight[row * %d + (t - t0)];\n", ATTEND_STEP);
    }
    if (a->marks)
        text_add(t, "            if (%sweight_t == 0.0f && __builtin_signbit(weight_t)%s)\n                continue;\n",
                 panels ? "t >= end || (" : "", panels ? ")" : "");
    text_add(t, "            for (int w = 0; w < columns; w++)\n                out_row[w] += weight_t * v[%sw];\n",
             panels ? "" : "t * step + ");
    text_add(t, "        }\n    }\n}\n\n");
}

static void emit_products(Attend *a, bool key_rows)
{
    Text *t = &a->k->before;
    if (key_rows) {
        attend_emit_key_rows(a);
    } else {
        emit_scores(a, t);
        emit_scores_row(a, t);
    }
}

/* The second product's functions: its own if its keys lie otherwise. */
static void emit_second_products(Attend *a)
{
    AttendSecond *s = &a->second;
    const char *scores = a->scores, *scores_row = a->scores_row;
    s->scores = scores;
    s->scores_row = scores_row;
    if (!s->choice || s->key_rows == a->key_rows)
        return;
    a->scores = s->scores = scope_name(&a->k->e->file, arena_print(a->k->e->cx->arena, "%s2", scores));
    a->scores_row = s->scores_row = scope_name(&a->k->e->file, arena_print(a->k->e->cx->arena, "%s2", scores_row));
    emit_products(a, s->key_rows);
    a->scores = scores;
    a->scores_row = scores_row;
}

void attend_emit_tiles(Attend *a)
{
    Text *t = &a->k->before;
    int last = (int)(a->width % a->lanes);
    emit_products(a, a->key_rows);
    emit_second_products(a);
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
