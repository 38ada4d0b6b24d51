/* The softmax of a tile of rows with the body, a function before the kernel. Every row goes through its scores twice: the
 * largest, then the weights. First come the largest of all rows, then the weights of all, then the sums, so that no row
 * waits for what the last one adds up across its lanes.
 *
 * Without tests a tile's keys are a range of the block's, compared only where not every row reads all keys of a vector;
 * with them all keys of the block's panels, compared only in panels that are cut. */
#include "codegen/attend_inside.h"

#include <math.h>
#include <string.h>

/* ---- a range of keys -------------------------------------------------------------------------------------------- */

static const char *final_score(Attend *a, BodyPrinter *b)
{
    Operand final = operand_vector(a->k, attend_value(a, b, a->mask.score));
    return arena_print(a->k->e->cx->arena, "%s * %s", operand_text(a->k->e->cx, final, BINDS_PRODUCT),
                       float_literal(a->k->e->cx, M_LOG2E));
}

/* Does every row read all keys of the vector from t on? */
static const char *inside(const Attend *a)
{
    return a->ranged ? "t >= all_begin && t + LANES <= all_end" : "t + LANES <= high";
}

/* Those of the keys from t on that a row does not read have no score. */
static void put_edge(Attend *a, const char *score)
{
    const char *open = a->ranged ? "(key >= (int)begin[row]) & (key < (int)end[row])" : "key < (int)high";
    put_line(a->k, "const ints key = count_from((int)t);");
    if (!*score)
        put_line(a->k, "for (ptrdiff_t row = %s ? count : 0; row < count; row++) {", inside(a));
    a->k->indent += !*score;
    if (!*score)
        put_line(a->k, "lanes *at = (lanes *)(score + row * %d + (t - t0));", a->score_step);
    put_line(a->k, "%s = select(%s, %s, none);", *score ? score : "*at", open, *score ? score : "*at");
    a->k->indent -= !*score;
    if (!*score)
        put_line(a->k, "}");
}

static const char vectors[] = "for (ptrdiff_t t = low / LANES * LANES; t < high; t += LANES)";

/* The scores are final: first those are masked that need it, all rows of a vector together. */
static void emit_plain_edges(Attend *a)
{
    Kernel *k = a->k;
    put_open(k, vectors);
    put_edge(a, "");
    put_close(k);
}

static void emit_range_scores(Attend *a)
{
    Kernel *k = a->k;
    put_open(k, vectors);
    put_line(k, "lanes *at = (lanes *)(scores + (t - t0));");
    put_line(k, "lanes x = *at;");
    BodyPrinter b = attend_printer(a);
    put_line(k, "x = %s;", final_score(a, &b));
    put_open(k, "if (!(%s))", inside(a));
    put_edge(a, "x");
    put_close(k);
    put_line(k, "*at = x;");
    put_line(k, "top = select(x > top, x, top);");
    put_close(k);
}

/* A body may be a bias that falls with the distance: then tiny weights come first, and meet sums that are still 0. */
static MathFunction raising(const Attend *a)
{
    return a->plain ? MATH_EXP2 : MATH_WEIGHT;
}

/* The weight of the scores `at`, which replaces them. */
static void put_weight(Attend *a)
{
    put_line(a->k, "const lanes x = *at, weight = %s(x - base[row]);", math_use(a->k->e, raising(a)));
    put_line(a->k, "sum += weight;");
}

static void emit_range_weights(Attend *a)
{
    Kernel *k = a->k;
    if (a->plain)
        text_add(&k->body, "#pragma GCC unroll 2\n");
    put_open(k, vectors);
    put_line(k, "lanes *at = (lanes *)(scores + (t - t0));");
    put_weight(a);
    put_line(k, a->plain ? "*at = weight;" : "*at = select(x == none, splat(-0.0f), weight);");
    put_close(k);
}

/* ---- chosen panels ---------------------------------------------------------------------------------------------- */

/* "open": which of the keys from t on the row reads. */
static void put_open_keys(Attend *a, BodyPrinter *b)
{
    b->indent = a->k->indent;
    const char *tests = attend_condition(a, b);
    put_line(a->k, "const ints key = count_from((int)t);");
    put_line(a->k, "const ints open = (key >= (int)begins[row]) & (key < (int)ends[row]) & %s;", tests);
}

/* The scores are final: first those of panels that are cut are masked. */
static void emit_panel_edges(Attend *a)
{
    Kernel *k = a->k;
    put_line(k, "for (ptrdiff_t p = 0; p < taken; p++)");
    k->indent++;
    put_open(k, "for (ptrdiff_t row = cut >> p & 1 ? 0 : count; row < count; row++)");
    Text before = body_begin(k);
    put_open(k, "for (ptrdiff_t c = 0; c < %d; c += LANES)", KEY_PANEL);
    put_line(k, "const ptrdiff_t t = place[p] + c;");
    put_line(k, "lanes *at = (lanes *)(score + row * %d + p * %d + c);", a->score_step, KEY_PANEL);
    BodyPrinter b = attend_printer(a);
    put_open_keys(a, &b);
    put_line(k, "*at = select(open, *at, none);");
    put_close(k);
    const char *after = body_end(k, before);
    attend_row_indices(a, after);
    text_put(&k->body, after, strlen(after));
    put_close(k);
    k->indent--;
}

static void emit_panel_scores(Attend *a)
{
    Kernel *k = a->k;
    BodyPrinter b = attend_printer(a);
    put_line(k, "for (ptrdiff_t p = 0; p < taken; p++)");
    k->indent++;
    put_open(k, "for (ptrdiff_t c = 0; c < %d; c += LANES)", KEY_PANEL);
    put_line(k, "lanes *at = (lanes *)(scores + p * %d + c);", KEY_PANEL);
    put_line(k, "lanes x = *at;");
    put_line(k, "const ptrdiff_t t = place[p] + c;");
    put_line(k, "x = %s;", final_score(a, &b));
    put_open(k, "if (cut >> p & 1)");
    put_open_keys(a, &b);
    put_line(k, "x = select(open, x, none);");
    put_close(k);
    put_line(k, "*at = x;");
    put_line(k, "top = select(x > top, x, top);");
    put_close(k);
    k->indent--;
}

static void emit_panel_weights(Attend *a)
{
    Kernel *k = a->k;
    text_add(&k->body, "#pragma GCC unroll 2\n");
    put_open(k, "for (ptrdiff_t t = 0; t < taken * %d; t += LANES)", KEY_PANEL);
    put_line(k, "lanes *at = (lanes *)(scores + t);");
    put_weight(a);
    put_line(k, "*at = weight;");
    if (a->plain)
        put_line(k, "if (cut >> t / %d & 1)", KEY_PANEL);
    k->indent += a->plain;
    put_line(k, "*at = select(x == none, splat(-0.0f), weight);");
    k->indent -= a->plain;
    put_close(k);
}

/* ---- the softmax of a tile ------------------------------------------------------------------------------------- */

static void open_rows(Attend *a)
{
    put_open(a->k, "for (ptrdiff_t row = 0; row < count; row++)");
    put_line(a->k, "float *scores = score + row * %d;", a->score_step);
}

/* The largest of final scores, lane by lane: several rows at once, since each waits for its last comparison. */
static void emit_plain_tops(Attend *a, bool panels)
{
    Kernel *k = a->k;
    const int together = a->rows / 2;
    const char *each = arena_print(k->e->cx->arena, "for (ptrdiff_t r = 0; r < %d; r++)", together);
    panels ? emit_panel_edges(a) : emit_plain_edges(a);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row += %d)", together);
    put_line(k, "const float *from[%d];", together);
    text_add(&k->body, "#pragma GCC unroll %d\n", together);
    put_line(k, "%s", each);
    put_inner(k, "from[r] = score + lesser(row + r, count - 1) * %d, tops[row + r] = none;", a->score_step);
    panels ? put_line(k, "for (ptrdiff_t t = 0; t < taken * %d; t += LANES)", KEY_PANEL) : put_line(k, "%s", vectors);
    k->indent++;
    text_add(&k->body, "#pragma GCC unroll %d\n", together);
    put_open(k, "%s", each);
    put_line(k, "const lanes x = *(const lanes *)(from[r] + %s);", panels ? "t" : "(t - t0)");
    put_line(k, "tops[row + r] = select(x > tops[row + r], x, tops[row + r]);");
    put_close(k);
    k->indent--;
    put_close(k);
}

/* Scores with a body, one row after another: the final scores and the largest of them, lane by lane. */
static void emit_body_tops(Attend *a, bool panels)
{
    Kernel *k = a->k;
    Text main = body_begin(k);
    k->indent++;
    panels ? emit_panel_scores(a) : emit_range_scores(a);
    k->indent--;
    const char *body = body_end(k, main);
    open_rows(a);
    attend_row_indices(a, body);
    put_line(k, "lanes top = none;");
    text_put(&k->body, body, strlen(body));
    put_line(k, "tops[row] = top;");
    put_close(k);
}

/* The largest score of each row and how far below it the sums so far count. */
static void emit_tops(Attend *a, bool panels)
{
    Kernel *k = a->k;
    a->plain ? emit_plain_tops(a, panels) : emit_body_tops(a, panels);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    put_line(k, "const float before = begun ? most[row] : -__builtin_inff();");
    put_line(k, "const float here = %s(tops[row]), now = here > before ? here : before;",
             math_use(k->e, MATH_TOP_ACROSS));
    put_line(k, "most[row] = now;");
    put_line(k, "base[row] = now == -__builtin_inff() ? 0.0f : now; /* every key so far masked: all weights are 0 */");
    put_line(k, "shrink[row] = before - base[row];");
    put_close(k);
}

void attend_emit_softmax(Attend *a)
{
    Kernel *k = a->k;
    Context *cx = k->e->cx;
    bool panels = a->mask.tests.count > 0;
    Text main = body_begin(k);
    k->indent = 1;
    put_line(k, "const lanes none = splat(-__builtin_inff());");
    put_line(k, "lanes tops[%d], sums[%d];", a->rows, a->rows);
    put_line(k, "float base[%d];", a->rows);
    emit_tops(a, panels);
    open_rows(a);
    put_line(k, "lanes sum = {0};");
    panels ? emit_panel_weights(a) : emit_range_weights(a);
    put_line(k, "sums[row] = sum;");
    put_close(k);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    put_line(k, "if (begun)");
    put_inner(k, "shrink[row] = %s(splat(shrink[row]))%s;", math_use(k->e, raising(a)),
              lane_of(k->e->target, "[0]"));
    put_line(k, "total[row] = (begun ? total[row] * shrink[row] : 0.0f) + %s(sums[row]);",
             math_use(k->e, MATH_SUM_ACROSS));
    put_line(k, "scale[row] = total[row] > 0.0f ? 1.0f / total[row] : total[row]; /* 0: no key; NaN stays */");
    put_close(k);
    const char *body = body_end(k, main);
    const char *items[18] = {"float *restrict score",
                             "float *restrict most",
                             "float *restrict total",
                             "float *restrict shrink",
                             "float *restrict scale",
                             "ptrdiff_t count",
                             "int begun"};
    static const char *const range[] = {"ptrdiff_t t0",           "ptrdiff_t low",        "ptrdiff_t high",
                                        "const ptrdiff_t *begin", "const ptrdiff_t *end", "ptrdiff_t all_begin",
                                        "ptrdiff_t all_end"};
    static const char *const chosen[] = {"const ptrdiff_t *place", "int taken", "unsigned cut",
                                         "const ptrdiff_t *begins", "const ptrdiff_t *ends"};
    size_t n = 7, own = panels ? 5 : a->ranged ? 7 : 3;
    for (size_t i = 0; i < own; i++)
        items[n++] = panels ? chosen[i] : range[i];
    a->softmax_reads_first = mentions(body, "first");
    if (a->softmax_reads_first)
        items[n++] = "ptrdiff_t first";
    const char *comment = arena_print(
        cx->arena,
        "Rows of a tile: scores of %s\n * Each row's sums so far, if it has `begun`, must shrink by `shrink`; `scale` "
        "is 1 "
        "over the sum of its weights.",
        panels ? "the panels at `place` to weights, -0 for a masked key. Keys are compared only in panels of `cut`."
        : a->ranged ? "keys low .. high to weights, 0 for a masked key: every row reads all_begin .. all_end."
                    : "keys low .. high to weights.");
    const char *head = arena_print(cx->arena, "static void %s", a->softmax);
    a->softmax_rest = attend_rows_function(a, comment, head, items, n, body);
}
