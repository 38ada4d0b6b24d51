/* Rows one by one, beside tiles whose rows stand in the lanes: few rows, as in decoding, for which a tile would be mostly empty, and all
 * of a block with a value that is infinite or NaN, which rows that do not read its key must not meet. Keys stand in the lanes here. */
#include "codegen/attend_inside.h"

#include <math.h>
#include <string.h>

static void put_scores(Attend *a)
{
    Kernel *k = a->k;
    const int panels = attend_row_panels(a);
    if (a->key_rows) {
        put_line(k, "%s(query, key_rows + from * key_step, key_step, to - from, score + (from - t0));", a->scores_row);
        return;
    }
    put_line(k, "for (ptrdiff_t t = from / %d * %d; t < to; t += %d)", KEY_PANEL, KEY_PANEL, panels * KEY_PANEL);
    put_inner(k, "%s(query, panels + t / %d * panel_step, panel_step, (to - t + %d) / %d, score + (t - t0));", a->scores_row, KEY_PANEL,
              KEY_PANEL - 1, KEY_PANEL);
}

static void put_softmax(Attend *a)
{
    Kernel *k = a->k;
    const char *raise = math_use(k->e, MATH_EXP2), *lane = lane_of(k->e->target, "[0]");
    put_line(k, "lanes top = none, sum = splat(0.0f);");
    put_open(k, "for (ptrdiff_t t = from / LANES * LANES; t < to; t += LANES)");
    put_line(k, "const ints key = count_from((int)t);");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    put_line(k, "*at = select((key >= (int)from) & (key < (int)to), *at, none);");
    put_line(k, "top = select(*at > top, *at, top);");
    put_close(k);
    put_line(k, "const float before = begun ? most[row] : -__builtin_inff(), here = %s(top);", math_use(k->e, MATH_TOP_ACROSS));
    put_line(k, "most[row] = here > before ? here : before;");
    put_line(k, "const float base = most[row] == -__builtin_inff() ? 0.0f : most[row]; /* no key so far: weights are 0 */");
    text_add(&k->body, "#pragma GCC unroll 2\n");
    put_open(k, "for (ptrdiff_t t = from / LANES * LANES; t < to; t += LANES)");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    put_line(k, "sum += *at = %s(*at - base);", raise);
    put_close(k);
    put_line(k, "const float shrink = begun ? %s(splat(before - base))%s : 0.0f;", raise, lane);
    put_line(k, "total[row] = (begun ? total[row] * shrink : 0.0f) + %s(sum);", math_use(k->e, MATH_SUM_ACROSS));
}

static void put_values(Attend *a, const char *function, const char *plus, long long columns)
{
    (void)columns;
    put_line(a->k, "%s(score + (from - t0), value_rows + from * value_step%s, value_step, to - from, begun, shrink, out + row * %lld%s);", function,
             plus, (long long)a->padded, plus);
}

void attend_emit_few_rows(Attend *a)
{
    static const char *const locals[] = {"query", "key_rows", "panels", "value_rows", "key_step", "panel_step", "value_step", "first", "count", "t0",
                                         "t1",    "begin",    "end",    "begun",      "score",    "most",       "total",      "out",   "last"};
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    const double scale = attr_float(k->node, ATTR_scale, 1) * M_LOG2E;
    Text main = body_begin(k);
    k->indent = 1;
    put_line(k, "const lanes none = splat(-__builtin_inff());");
    put_open(k, "for (int row = 0; row < count; row++)");
    Text before = body_begin(k);
    put_line(k, "const float *numbers = %s;", attend_row_address(a, &a->q));
    put_line(k, "for (int i = 0; i < %lld; i++)", (long long)a->head);
    put_inner(k, "query[i] = numbers[i]%s;", scale == 1 ? "" : arena_print(arena, " * %s", float_literal(k->e->cx, scale)));
    put_line(k, a->ranged ? "const ptrdiff_t from = larger(begin[row], t0), to = larger(lesser(end[row], t1), from);" : "const ptrdiff_t from = t0, to = t1;");
    put_scores(a);
    put_softmax(a);
    attend_emit_groups(a, true, put_values);
    if (a->gives_out) {
        put_line(k, "const float scale = total[row] > 0.0f ? 1.0f / total[row] : total[row]; /* 0: no key; NaN stays */");
        put_line(k, "for (int i = 0; last && i < %lld; i++)", (long long)a->width);
        put_inner(k, "(%s)[i] = out[row * %lld + i] * scale;", attend_row_address(a, &a->out), (long long)a->padded);
    }
    const char *after = body_end(k, before);
    attend_row_indices(a, after);
    text_put(&k->body, after, strlen(after));
    put_close(k);
    a->few_call = attend_piece(a, a->few_rows, "Rows against a block of keys one by one: few, or where a value is not finite.", locals,
                               sizeof locals / sizeof *locals, body_end(k, main));
}
