/* One row's softmax with the body, a function before the kernel that takes just those of the kernel's parameters and
 * indices that its text mentions.
 *
 * Without tests the row's keys are a range of the block's; with them all keys of the block's panels, compared only in
 * panels that are cut. */
#include "codegen/attend_inside.h"

#include <math.h>

/* ---- helper functions with the parameters they happen to need --------------------------------------------------- */

/* What `body` mentions of the kernel's parameters and indices. */
static size_t borrowed(const Attend *a, const char *body, const char **names)
{
    size_t n = 0;
    for (size_t i = 0; i < a->k->n_params; i++)
        if (mentions(body, a->k->params[i].name))
            names[n++] = a->k->params[i].name;
    for (int i = 0; i < a->n_batch; i++)
        if (mentions(body, a->batch[i].var))
            names[n++] = a->batch[i].var;
    for (int i = 0; i < a->n_rows; i++)
        if (mentions(body, a->row[i].var))
            names[n++] = a->row[i].var;
    return n;
}

const char *attend_function(Attend *a, const char *comment, const char *head, const char *const *own, size_t n_own,
                            const char *body)
{
    Arena *arena = a->k->e->cx->arena;
    const char **names = arena_array(arena, a->k->n_params + 2 * MAX_RANK, sizeof *names);
    size_t n = borrowed(a, body, names);
    const char **items = arena_array(arena, n_own + n, sizeof *items);
    Text rest = text_new(arena);
    for (size_t i = 0; i < n_own; i++)
        items[i] = own[i];
    for (size_t i = 0; i < n; i++) {
        items[n_own + i] = param_text(a->k, names[i]);
        text_add(&rest, ", %s", names[i]);
    }
    text_add(&a->k->before, "/* %s */\n%s\n{\n%s}\n\n", comment, wrapped(a->k->e->cx, head, items, n_own + n), body);
    return n ? rest.data : "";
}

/* ---- a range of keys -------------------------------------------------------------------------------------------- */

static const char *final_score(Attend *a, BodyPrinter *b)
{
    Operand final = operand_vector(a->k, attend_value(a, b, a->mask.score));
    return arena_print(a->k->e->cx->arena, "%s * %s", operand_text(a->k->e->cx, final, BINDS_PRODUCT),
                       float_literal(a->k->e->cx, M_LOG2E));
}

static const char range_edge[] =
    "select((count_from((int)t) >= (int)begin) & (count_from((int)t) < (int)end), %s, none)";

/* The scores are final: only the vectors at the ends of the range have lanes to mask. */
static void emit_plain_scores(Kernel *k)
{
    put_open(k, "for (ptrdiff_t t = begin / LANES * LANES; t < end; t = larger(t + LANES, end / LANES * LANES))");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    put_line(k, "*at = %s;", arena_print(k->e->cx->arena, range_edge, "*at"));
    put_close(k);
    text_add(&k->body, "#pragma GCC unroll 4\n");
    put_open(k, "for (ptrdiff_t t = begin / LANES * LANES; t < end; t += LANES)");
    put_line(k, "const lanes x = *(const lanes *)(score + (t - t0));");
    put_line(k, "top = select(x > top, x, top);");
    put_close(k);
}

static void emit_range_scores(Attend *a)
{
    Kernel *k = a->k;
    if (a->plain) {
        emit_plain_scores(k);
        return;
    }
    put_open(k, "for (ptrdiff_t t = begin / LANES * LANES; t < end; t += LANES)");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    put_line(k, "lanes x = *at;");
    BodyPrinter b = attend_printer(a);
    put_line(k, "x = %s;", final_score(a, &b));
    put_line(k, "if (t < begin || t + LANES > end)");
    put_line(k, "    x = %s;", arena_print(k->e->cx->arena, range_edge, "x"));
    put_line(k, "*at = x;");
    put_line(k, "top = select(x > top, x, top);");
    put_close(k);
}

static void emit_range_weights(Attend *a)
{
    Kernel *k = a->k;
    const char *exp2 = math_use(k->e, MATH_EXP2);
    text_add(&k->body, "#pragma GCC unroll 2\n");
    put_open(k, "for (ptrdiff_t t = begin / LANES * LANES; t < end; t += LANES)");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    put_line(k, "const lanes weight = %s(*at - base);", exp2);
    put_line(k, "sum += weight;");
    put_line(k, a->plain ? "*at = weight;" : "*at = select(*at == none, splat(-0.0f), weight);");
    put_close(k);
    put_line(k, "for (ptrdiff_t t = low / LANES * LANES; t < begin / LANES * LANES; t += LANES)");
    put_line(k, "    *(lanes *)(score + (t - t0)) = (lanes){0};");
    put_line(k, "for (ptrdiff_t t = (end + LANES - 1) / LANES * LANES; t < high; t += LANES)");
    put_line(k, "    *(lanes *)(score + (t - t0)) = (lanes){0};");
}

/* ---- chosen panels ---------------------------------------------------------------------------------------------- */

static void emit_panel_loops(Kernel *k)
{
    put_line(k, "for (int p = 0; p < taken; p++)");
    k->indent++;
    put_open(k, "for (int c = 0; c < %d; c += LANES)", KEY_PANEL);
    put_line(k, "lanes *at = (lanes *)(score + p * %d + c);", KEY_PANEL);
}

static void close_panel_loops(Kernel *k)
{
    put_close(k);
    k->indent--;
}

static void emit_panel_scores(Attend *a)
{
    Kernel *k = a->k;
    BodyPrinter b = attend_printer(a);
    emit_panel_loops(k);
    put_line(k, "lanes x = *at;");
    if (!a->plain) {
        put_line(k, "const ptrdiff_t t = place[p] + c;");
        put_line(k, "x = %s;", final_score(a, &b));
    }
    put_open(k, "if (cut >> p & 1)");
    if (a->plain)
        put_line(k, "const ptrdiff_t t = place[p] + c;");
    b.indent = k->indent;
    const char *tests = attend_condition(a, &b);
    put_line(k, "const ints key = count_from((int)t);");
    put_line(k, "const ints open = (key >= (int)begin) & (key < (int)end) & %s;", tests);
    put_line(k, "x = select(open, x, none);");
    if (a->plain)
        put_line(k, "*at = x;");
    put_close(k);
    if (!a->plain)
        put_line(k, "*at = x;");
    put_line(k, "top = select(x > top, x, top);");
    close_panel_loops(k);
}

static void emit_panel_weights(Attend *a)
{
    Kernel *k = a->k;
    emit_panel_loops(k);
    put_line(k, "const lanes weight = %s(*at - base);", math_use(k->e, MATH_EXP2));
    put_line(k, "sum += weight;");
    put_line(k, "*at = select(*at == none, splat(-0.0f), weight);");
    close_panel_loops(k);
}

/* ---- one row's softmax ------------------------------------------------------------------------------------------ */

const char *attend_emit_softmax(Attend *a)
{
    Kernel *k = a->k;
    Context *cx = k->e->cx;
    bool panels = a->mask.tests.count > 0;
    Text main = k->body;
    k->body = text_new(cx->arena);
    k->indent = 1;
    put_line(k, "const lanes none = splat(-__builtin_inff());");
    put_line(k, "lanes top = none, sum = {0};");
    panels ? emit_panel_scores(a) : emit_range_scores(a);
    put_line(k, "const float before = *most, here = %s(top), now = here > before ? here : before;",
             math_use(k->e, MATH_TOP_ACROSS));
    put_line(
        k,
        "const float base = now == -__builtin_inff() ? 0.0f : now; /* every key so far masked: all weights are 0 */");
    panels ? emit_panel_weights(a) : emit_range_weights(a);
    put_line(k, "const float shrink = %s(splat(before - base))[0];", math_use(k->e, MATH_EXP2));
    put_line(k, "*most = now;");
    put_line(k, "*total = *total * shrink + %s(sum);", math_use(k->e, MATH_SUM_ACROSS));
    put_line(k, "return shrink;");
    const char *body = k->body.data;
    k->body = main;
    static const char *const range[] = {"float *restrict score", "float *most",   "float *total",  "ptrdiff_t t0",
                                        "ptrdiff_t begin",       "ptrdiff_t end", "ptrdiff_t low", "ptrdiff_t high"};
    static const char *const chosen[] = {"float *restrict score",  "float *most", "float *total",
                                         "const ptrdiff_t *place", "int taken",   "unsigned cut",
                                         "ptrdiff_t begin",        "ptrdiff_t end"};
    const char *comment = arena_print(
        cx->arena,
        "One row: scores of %s\n * The row's sums so far, relative to its largest score, must shrink by the result.",
        panels ? "the panels at `place` to weights, -0 for a masked key. Keys are compared only in panels of `cut`."
               : "keys begin .. end to weights, 0 in the rest of low .. high.");
    const char *head = arena_print(cx->arena, "static float %s", a->softmax);
    return attend_function(a, comment, head, panels ? chosen : range, 8, body);
}
