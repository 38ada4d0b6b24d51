/* Rows that fill no vector, beside tiles whose rows stand in the lanes: the last ones, and all where there are few, as in decoding. Keys
 * stand in the lanes here, and up to ATTEND_FEW rows go together: what is read of a key or a value meets each of them.
 *
 *     scores_row   a few rows of q times keys, along the head axis (attend_keys.c); where the keys are panels, each row by itself
 *     values_row   a few rows of weights times values, along the columns
 *
 * In a block with a value that is infinite or NaN each row goes alone, so that those that do not read its key do not meet it. A row's sums
 * run over the same numbers in the same order, alone or not. */
#include "codegen/attend_inside.h"

#include <math.h>
#include <string.h>

void attend_put_few(Text *t, int depth)
{
    text_add(t, "#pragma GCC unroll %d\n%*sfor (ptrdiff_t row = 0; row < rows; row++)\n", ATTEND_FEW, 4 * depth, "");
}

/* ---- values ---------------------------------------------------------------------------------------------------------- */

static void emit_values(Attend *a, const char *name, int vectors, int part)
{
    static const char *const items[] = {"ptrdiff_t rows", "const float *restrict weight", "const float *restrict v", "ptrdiff_t step",
                                        "ptrdiff_t keys", "int begun", "const float *restrict shrink", "const float *out",
                                        "const float *restrict scale", "float *const *results", "ptrdiff_t w"};
    Text *t = &a->k->before;
    const char *head = attend_print(a, "static inline __attribute__((always_inline))\nvoid %s", name);
    text_add(t, "/* results[rows][%d of %lld] = (out * shrink + weight[rows][keys] * v[keys][%lld]) * scale. */\n",
             (vectors - (part > 0)) * a->lanes + part, (long long)a->width, (long long)a->width);
    text_add(t, "%s\n{\n", wrapped(a->k->e->cx, head, items, 11));
    text_add(t, "    lanes sum[%d][%d] = %s;\n    if (begun)\n", ATTEND_FEW, vectors, zero_lanes(a->k->e->target, 2));
    attend_put_few(t, 2);
    attend_put_unrolled(t, 3, "c", vectors, 1, "");
    text_add(t, "                sum[row][c] = *(const lanes *)(out + row * %lld + c * LANES) * shrink[row];\n", (long long)a->padded);
    text_add(t, "    ROLLED for (ptrdiff_t t = 0; t < keys; t++) {\n");
    attend_put_value(t, 2, vectors - (part > 0), part);
    attend_put_few(t, 2);
    attend_put_unrolled(t, 3, "c", vectors, 1, "");
    text_add(t, "                sum[row][c] += splat(weight[row * %d + t]) * value[c];\n    }\n", a->score_step);
    attend_put_lane_results(t, ATTEND_FEW, " && row < rows", vectors, part);
    text_add(t, "}\n\n");
}

/* ---- a few rows ------------------------------------------------------------------------------------------------------ */

/* "if (n == 3) call(3, ..)" and so on: functions inlined for each number of rows. */
static void put_each(Attend *a, const char *function, const char *rest)
{
    for (int rows = ATTEND_FEW; rows > 0; rows--) {
        put_line(a->k, rows == ATTEND_FEW ? "if (n == %d)" : "else if (n == %d)", rows);
        put_inner(a->k, "%s(%d, %s);", function, rows, rest);
    }
}

/* The group's rows of q, scaled; where their results go; the keys that one of them reads. */
static void put_rows(Attend *a)
{
    Kernel *k = a->k;
    const double scale = attr_float(k->node, ATTR_scale, 1) * M_LOG2E;
    put_line(k, a->ranged ? "ptrdiff_t from = t1, to = t0; /* the keys that one of them reads */" : "const ptrdiff_t from = t0, to = t1;");
    put_open(k, "for (ptrdiff_t r = 0; r < n; r++)");
    put_line(k, "const ptrdiff_t row = at + r;");
    Text before = body_begin(k);
    put_line(k, "const float *numbers = %s;", attend_row_address(a, &a->q));
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)a->head);
    put_inner(k, "query[r * %lld + i] = numbers[i]%s;", (long long)a->head,
              scale == 1 ? "" : attend_print(a, " * %s", float_literal(k->e->cx, scale)));
    const char *out = attend_print(a, "out + row * %lld", (long long)a->padded);
    put_line(k, "results[r] = %s;", a->gives_out ? attend_print(a, "last ? %s : %s", attend_row_address(a, &a->out), out) : out);
    if (a->ranged)
        put_line(k, "from = lesser(from, begin[row]), to = larger(to, end[row]);");
    const char *after = body_end(k, before);
    attend_row_indices(a, after);
    text_put(&k->body, after, strlen(after));
    put_close(k);
    if (a->ranged)
        put_line(k, "from = lesser(larger(from, t0), t1), to = larger(lesser(to, t1), from);");
}

static void put_scores(Attend *a)
{
    Kernel *k = a->k;
    const int panels = attend_row_panels(a);
    if (a->key_rows) {
        put_each(a, a->scores_row, "query, key_rows + from * key_step, key_step, to - from, score + (from - t0)");
        return;
    }
    put_line(k, "for (ptrdiff_t row = 0; row < n; row++)");
    k->indent++;
    put_line(k, "for (ptrdiff_t t = from / %d * %d; t < to; t += %d)", KEY_PANEL, KEY_PANEL, panels * KEY_PANEL);
    put_inner(k, "%s(query + row * %lld, panels + t / %d * panel_step, panel_step, (to - t + %d) / %d, score + row * %d + (t - t0));",
              a->scores_row, (long long)a->head, KEY_PANEL, KEY_PANEL - 1, KEY_PANEL, a->score_step);
    k->indent--;
}

static void put_softmax(Attend *a)
{
    Kernel *k = a->k;
    const char *raise = math_use(k->e, MATH_EXP2), *lane = lane_of(k->e->target, "[0]");
    put_open(k, "for (ptrdiff_t r = 0; r < n; r++)");
    put_line(k, "const ptrdiff_t row = at + r;");
    put_line(k, "lanes top = none, sum = splat(0.0f);");
    put_line(k, "float *scores = score + r * %d;", a->score_step);
    put_open(k, "for (ptrdiff_t t = from / LANES * LANES; t < to; t += LANES)");
    put_line(k, "const ints key = count_from((int)t);");
    put_line(k, "lanes *x = (lanes *)(scores + (t - t0));");
    put_line(k, a->ranged ? "*x = select((key >= begin[row]) & (key < end[row]), *x, none);" : "*x = select(key < (int)to, *x, none);");
    put_line(k, "top = select(*x > top, *x, top);");
    put_close(k);
    put_line(k, "const float before = begun ? most[row] : -__builtin_inff(), here = %s(top);", math_use(k->e, MATH_TOP_ACROSS));
    put_line(k, "most[row] = here > before ? here : before;");
    put_line(k, "const float base = most[row] == -__builtin_inff() ? 0.0f : most[row]; /* no key so far: weights are 0 */");
    text_add(&k->body, "#pragma GCC unroll 2\n");
    put_open(k, "for (ptrdiff_t t = from / LANES * LANES; t < to; t += LANES)");
    put_line(k, "lanes *x = (lanes *)(scores + (t - t0));");
    put_line(k, "sum += *x = %s(*x - base);", raise);
    put_close(k);
    put_line(k, "shrink[r] = begun ? %s(splat(before - base))%s : 0.0f;", raise, lane);
    put_line(k, "total[row] = (begun ? total[row] * shrink[r] : 0.0f) + %s(sum);", math_use(k->e, MATH_SUM_ACROSS));
    put_line(k, "scale[r] = !last ? 1.0f : total[row] > 0.0f ? 1.0f / total[row] : total[row]; /* 0: no key; NaN stays */");
    put_close(k);
}

static void put_values(Attend *a, const char *function, const char *plus, long long columns)
{
    (void)columns;
    put_each(a, function, attend_print(a, "score + (from - t0), value_rows + from * value_step%s, value_step, to - from, begun, shrink, out + at * %lld%s, scale, results, %s",
                                       plus, (long long)a->padded, plus, *plus ? plus + 3 : "0"));
}

void attend_emit_few_rows(Attend *a)
{
    static const char *const locals[] = {"query", "key_rows", "panels", "value_rows", "key_step", "panel_step", "value_step", "first",
                                         "count", "t0",       "t1",     "begin",      "end",      "begun",      "apart",      "score",
                                         "most",  "total",    "out",    "last",       "many"};
    Kernel *k = a->k;
    const int64_t rest = attend_rest(a, true);
    if (rest > 0)
        emit_values(a, a->values_row, attend_group(a, true), 0);
    if (rest < a->width)
        emit_values(a, a->values_row_rest, (int)((a->width - rest + a->lanes - 1) / a->lanes), (int)(a->width % a->lanes));
    Text main = body_begin(k);
    k->indent = 1;
    put_line(k, "const lanes none = splat(-__builtin_inff());");
    put_open(k, "for (ptrdiff_t at = many, n; at < count; at += n)");
    put_line(k, a->ranged ? "n = apart ? 1 : lesser(count - at, %d);" : "n = lesser(count - at, %d);", ATTEND_FEW);
    put_line(k, "float shrink[%d], scale[%d], *results[%d];", ATTEND_FEW, ATTEND_FEW, ATTEND_FEW);
    put_rows(a);
    put_scores(a);
    put_softmax(a);
    attend_emit_groups(a, true, put_values);
    put_close(k);
    a->few_call = attend_piece(a, a->few_rows,
                               attend_print(a, "Rows that fill no vector against a block of keys, %d at a time%s.", ATTEND_FEW,
                                            a->ranged ? "; where a value is not finite, `apart`" : ""),
                               locals, sizeof locals / sizeof *locals, body_end(k, main));
}
