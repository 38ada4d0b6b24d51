/* The functions of attend that need the model's own inputs: which keys are open, and one row's softmax with the body.
 *
 * They stand before the kernel and take just those of its parameters and indices that their text mentions. */
#include "codegen/attend_inside.h"

#include <math.h>

/* ---- helper functions with the parameters they happen to need ---------------------------------------------------- */

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

/* Puts `body` as a function before the kernel, its own parameters first; returns the end of a call's argument list. */
static const char *add_function(Attend *a, const char *comment, const char *head, const char *const *own, size_t n_own,
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

/* ---- keys that some row may read --------------------------------------------------------------------------------- */

const char *attend_emit_open(Attend *a)
{
    Kernel *k = a->k;
    Text main = k->body;
    k->body = text_new(k->e->cx->arena);
    k->indent = 1;
    put_line(k, "ints least = splat_int(0x7fffffff), past_last = {0}, kept = {0};");
    put_open(k, "for (ptrdiff_t t = t0; t < t1; t += LANES)");
    BodyPrinter b = attend_printer(a);
    put_line(k, "const ints key = count_from((int)t);");
    const char *condition = attend_condition(a, &b, &a->mask.keys);
    put_line(k, "const ints is = (%s) & (key < (int)t1);", condition);
    put_line(k, "*(ints *)(open + (t - t0)) = is;");
    put_line(k, "least = %s(least, select_int(is, key, splat_int(0x7fffffff)));", math_use(k->e, MATH_INT_MIN));
    put_line(k, "past_last = %s(past_last, is & (key + 1));", math_use(k->e, MATH_INT_MAX));
    put_line(k, "kept -= is;");
    put_close(k);
    put_line(k, "int from = least[0], to = past_last[0], count = kept[0];");
    put_open(k, "for (int i = 1; i < LANES; i++)");
    put_line(k, "from = least[i] < from ? least[i] : from;");
    put_line(k, "to = past_last[i] > to ? past_last[i] : to;");
    put_line(k, "count += kept[i];");
    put_close(k);
    put_line(k, "*begin = from;");
    put_line(k, "*end = to;");
    put_line(k, "return count < to - from;");
    const char *body = k->body.data;
    k->body = main;
    static const char *const own[] = {"int *restrict open", "ptrdiff_t t0", "ptrdiff_t t1", "ptrdiff_t *begin",
                                      "ptrdiff_t *end"};
    const char *head = arena_print(k->e->cx->arena, "static int %s", a->open);
    return add_function(a, "Which of the keys t0 .. t1 are open, and the range they lie in; true if it has holes.",
                        head, own, 5, body);
}

/* ---- one row's softmax ------------------------------------------------------------------------------------------- */

static void emit_final_scores(Attend *a)
{
    Kernel *k = a->k;
    put_open(k, "for (ptrdiff_t t = begin / LANES * LANES; t < end; t += LANES)");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    put_line(k, "lanes x = *at;");
    BodyPrinter b = attend_printer(a);
    const char *rest = attend_condition(a, &b, &a->mask.rest);
    if (!a->plain) {
        Operand final = operand_vector(k, attend_value(a, &b, a->mask.score));
        put_line(k, "x = %s * %s;", operand_text(k->e->cx, final, BINDS_PRODUCT), float_literal(k->e->cx, M_LOG2E));
    }
    if (a->mask.rest.count)
        put_line(k, "x = select(%s, x, none);", rest);
    if (a->mask.keys.count) {
        put_line(k, "if (holes)");
        put_line(k, "    x = select(*(const ints *)(open + (t - t0)), x, none);");
    }
    put_line(k, "if (t < begin || t + LANES > end)");
    put_line(k, "    x = select((count_from((int)t) >= (int)begin) & (count_from((int)t) < (int)end), x, none);");
    put_line(k, "*at = x;");
    put_line(k, "top = select(x > top, x, top);");
    put_close(k);
}

static void emit_weights(Attend *a)
{
    Kernel *k = a->k;
    bool always = a->mask.rest.count || !a->plain;
    const char *exp2 = math_use(k->e, MATH_EXP2);
    put_open(k, "for (ptrdiff_t t = begin / LANES * LANES; t < end; t += LANES)");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    put_line(k, "const lanes weight = %s(*at - base);", exp2);
    put_line(k, "sum += weight;");
    put_line(k, always ? "*at = select(*at == none, splat(-0.0f), weight);" : "*at = weight;");
    put_close(k);
    if (a->mask.keys.count && !always) {
        put_open(k, "for (ptrdiff_t t = begin / LANES * LANES; holes && t < end; t += LANES)");
        put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
        put_line(k, "*at = select(*(const ints *)(open + (t - t0)), *at, splat(-0.0f));");
        put_close(k);
    }
    put_line(k, "for (ptrdiff_t t = low / LANES * LANES; t < begin / LANES * LANES; t += LANES)");
    put_line(k, "    *(lanes *)(score + (t - t0)) = (lanes){0};");
    put_line(k, "for (ptrdiff_t t = (end + LANES - 1) / LANES * LANES; t < high; t += LANES)");
    put_line(k, "    *(lanes *)(score + (t - t0)) = (lanes){0};");
}

const char *attend_emit_softmax(Attend *a)
{
    Kernel *k = a->k;
    Context *cx = k->e->cx;
    Text main = k->body;
    k->body = text_new(cx->arena);
    k->indent = 1;
    put_line(k, "const lanes none = splat(-__builtin_inff());");
    put_line(k, "lanes top = none, sum = {0};");
    emit_final_scores(a);
    put_line(k, "const float before = *most, here = %s(top), now = here > before ? here : before;",
             math_use(k->e, MATH_TOP_ACROSS));
    put_line(
        k,
        "const float base = now == -__builtin_inff() ? 0.0f : now; /* every key so far masked: all weights are 0 */");
    emit_weights(a);
    put_line(k, "const float shrink = %s(splat(before - base))[0];", math_use(k->e, MATH_EXP2));
    put_line(k, "*most = now;");
    put_line(k, "*total = *total * shrink + %s(sum);", math_use(k->e, MATH_SUM_ACROSS));
    put_line(k, "return shrink;");
    const char *body = k->body.data;
    k->body = main;
    static const char *const own[] = {"float *restrict score",    "float *most",   "float *total",  "ptrdiff_t t0",
                                      "ptrdiff_t begin",          "ptrdiff_t end", "ptrdiff_t low", "ptrdiff_t high",
                                      "const int *restrict open", "int holes"};
    return add_function(a,
                        "One row: scores of keys begin .. end to weights, 0 in the rest of low .. high. The row's sums "
                        "so far, relative to its\n"
                        " * largest score, must shrink by the result.",
                        arena_print(cx->arena, "static float %s", a->softmax), own, a->mask.keys.count ? 10 : 8, body);
}
