/* linear_attend's rows: features of a chunk of queries, and what they read of the state and of their own chunk of keys.
 *
 * The exponents of queries take in the keys' tops and are relative to the largest of the row, which the division by the
 * sum of the weights takes out again: so at least one weight is about 1, and no row divides by what has underflown. */
#include "codegen/linear_inside.h"

#include <string.h>

/* ---- one row ----------------------------------------------------------------------------------------------------- */

void linear_put_query(Linear *l, const char *address)
{
    Kernel *k = l->k;
    Context *cx = k->e->cx;
    double factor = linear_query_factor(l);
    put_line(k, "const float *from = %s;", address);
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
    put_line(k, "    s->%s[row * %lld + i] = %s%s;", l->projected ? "x" : "query",
             (long long)(l->projected ? l->head : l->span), linear_element(l, "from", &l->q, l->head_axis, "i"),
             factor == 1 ? "" : arena_print(cx->arena, " * %s", float_literal(cx, factor)));
}

void linear_put_store(Linear *l, const char *address)
{
    Kernel *k = l->k;
    put_line(
        k, "const float below = s->below[row], part = below != 0.0f ? 1.0f / below : 0.0f; /* 0: no key; NaN stays */");
    put_line(k, "float *to = %s;", address);
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)l->width);
    put_line(k, "    %s = s->sum[row * %lld + w] * part;", linear_element(l, "to", &l->out, l->value_axis, "w"),
             (long long)l->wide);
}

bool linear_from_tops(const Linear *l)
{
    return l->tops && !l->hyperbolic;
}

/* ---- features ---------------------------------------------------------------------------------------------------- */

static void put_load(Linear *l)
{
    Kernel *k = l->k;
    Context *cx = k->e->cx;
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    linear_put_query(l, arena_print(cx->arena, "queries + %s * query_step",
                                    l->has_document ? "(at[first + row] - shift)" : "(first + row)"));
    if (l->exponential && !l->tops) {
        put_line(k, "float square = 0.0f;");
        put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
        put_line(k, "    square += s->x[row * %lld + i] * s->x[row * %lld + i];", (long long)l->head,
                 (long long)l->head);
        put_line(k, "s->square[row] = square * %s;", float_literal(cx, linear_square_factor(l)));
    }
    put_close(k);
}

/* The loop over the vectors of a row of features; a row's last vector goes on over what the sums of features hold 0 for. */
static void open_row(Linear *l)
{
    linear_put_twice(l);
    put_open(l->k, "for (ptrdiff_t f = 0; f < %lld; f += LANES)", (long long)l->features);
    put_line(l->k, "lanes *at = (lanes *)(query + f);");
}

/* The features, times the sums of the keys'. */
static void put_weights(Linear *l, const char *value)
{
    Kernel *k = l->k;
    open_row(l);
    if (strcmp(value, "*at") != 0)
        put_line(k, "*at = %s;", value);
    put_line(k, "sum += *at * *(const lanes *)(s->total + f);");
    put_close(k);
}

/* What the last vector of a row has too much. */
static void put_rest(Linear *l, const char *value)
{
    if (l->features == l->span)
        return;
    put_line(l->k, "for (ptrdiff_t f = %lld; f < %lld; f++)", (long long)l->features, (long long)l->span);
    put_line(l->k, "    query[f] = %s;", value);
}

static void put_exponents(Linear *l)
{
    Kernel *k = l->k;
    const char *top = math_use(k->e, MATH_TOP_ACROSS), *exp2 = math_use(k->e, MATH_EXP2);
    if (l->hyperbolic) {
        put_line(k, "for (ptrdiff_t f = 0; f < %lld; f += LANES) /* the features of -w */", (long long)l->own);
        put_line(k, "    *(lanes_at *)(query + %lld + f) = -*(const lanes *)(query + f);", (long long)l->own);
    }
    put_rest(l, l->tops && !linear_from_tops(l) ? "0.0f" : "-__builtin_inff()");
    put_line(k, "lanes most = splat(-__builtin_inff()), sum = {0};");
    open_row(l);
    if (l->tops && !linear_from_tops(l))
        put_line(k, "*at += *(const lanes *)(s->top + f);");
    put_line(k, "most = select(*at > most, *at, most);");
    put_close(k);
    if (l->tops) {
        put_line(k, "const float here = %s(most);", top);
        put_line(k, "const float base = here == -__builtin_inff() ? 0.0f : here; /* no key yet: all are 0 */");
        put_weights(l, arena_print(k->e->cx->arena, "%s(*at - base)", exp2));
    } else if (l->codes) {
        put_line(k, "const float base = %s(most);", top);
        put_weights(l, arena_print(k->e->cx->arena, "%s(*at - base)", exp2));
    } else {
        put_line(k, "const float base = %s(most) + s->square[row];", top);
        put_weights(l, arena_print(k->e->cx->arena, "%s(*at - base) + %s", exp2, float_literal(k->e->cx, l->eps)));
    }
}

static void emit_weigh(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"ptrdiff_t count"};
    Text before = linear_open(l,
                              l->exponential ? "Features of the rows from w x, and by what each row's sums are divided."
                                             : "Features of the rows, and by what each row's sums are divided.",
                              "void", l->weigh, items, 1);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    put_line(k, "float *query = s->query + row * %lld;", (long long)l->span);
    if (l->exponential || l->codes) {
        put_exponents(l);
    } else {
        put_rest(l, "0.0f");
        put_line(k, "lanes sum = {0};");
        put_weights(l, linear_plain_feature(l, "*at"));
    }
    put_line(k, "s->below[row] = %s(sum);", math_use(k->e, MATH_SUM_ACROSS));
    put_close(k);
    linear_close(l, before);
}

/* ---- what a row reads -------------------------------------------------------------------------------------------- */

/* Keys of the rows' own chunk: a lower triangle of weights, in strips of rows. */
static void put_inside(Linear *l)
{
    Kernel *k = l->k;
    long long wide = l->wide, span = l->span;
    const int tile = matrix_rows(k->e->target);
    put_open(k, "for (ptrdiff_t strip = 0; in_chunk && strip < count; strip += %d)", LINEAR_STRIP);
    put_line(k, "const ptrdiff_t rows = lesser(count - strip, %d), deep = strip + rows;", LINEAR_STRIP);
    put_line(
        k,
        "matrix_product(rows, deep, %lld, s->query + strip * %lld, %lld, s->key, %d, MATRIX_PANEL, s->weight, %d, 0, 0, 0);",
        (long long)l->features, span, span, LINEAR_CHUNK, LINEAR_CHUNK);
    put_open(k, "for (ptrdiff_t row = 0; row < rows; row++)");
    put_line(k, "lanes sum = {0};");
    put_open(k, "for (ptrdiff_t j = 0; j < deep; j += LANES)");
    put_line(k, "lanes *at = (lanes *)(s->weight + row * %d + j);", LINEAR_CHUNK);
    put_line(k, "*at = select(count_from((int)j) <= (int)(strip + row), *at, (lanes){0});");
    put_line(k, "sum += *at;");
    put_close(k);
    put_line(k, "s->below[strip + row] += %s(sum);", math_use(k->e, MATH_SUM_ACROSS));
    put_close(k);
    put_open(k, "for (ptrdiff_t row = 0; row < rows; row += %d)", tile); /* each tile's rows only as deep as they see */
    put_line(k, "const ptrdiff_t some = lesser(rows - row, %d);", tile);
    put_line(k, "float *sum = s->sum + (strip + row) * %lld;", wide);
    put_line(k,
             "matrix_product(some, %lld, strip + row + some, s->weight + row * %d, %d, s->value, %lld, MATRIX_PANEL, "
             "sum, %lld, sum, %lld, 0);",
             (long long)l->width, LINEAR_CHUNK, LINEAR_CHUNK, wide, wide, wide);
    put_close(k);
    put_close(k);
}

void linear_emit_rows(Linear *l)
{
    Kernel *k = l->k;
    emit_weigh(l);
    const char *items[10] = {"const float *restrict queries", "ptrdiff_t query_step", "float *restrict out",
                             "ptrdiff_t out_step"};
    size_t n = 4;
    if (l->has_document) {
        items[n++] = "const int *restrict at";
        items[n++] = "ptrdiff_t shift";
    }
    items[n++] = "ptrdiff_t first";
    items[n++] = "ptrdiff_t count";
    if (l->causal)
        items[n++] = "int in_chunk";
    long long wide = l->wide, width = l->width;
    Text before = linear_open(
        l,
        l->causal
            ? "Rows first .. first + count: what they read of the state and, `in_chunk` a chunk of keys that is not\n"
              " * in the state yet, of the keys up to their own."
            : "Rows first .. first + count: what they read of the state.",
        "void", l->read, items, n);
    put_load(l);
    if (l->projected)
        put_line(k,
                 "matrix_product(count, %lld, %lld, s->x, %lld, s->panels, MATRIX_PANEL, %lld * MATRIX_PANEL, "
                 "s->query, %lld, %s, 0, &s->soon);",
                 (long long)l->own, (long long)l->head, (long long)l->head, (long long)l->head, (long long)l->span,
                 linear_from_tops(l) ? "s->top" : "0");
    put_line(k, "%s(s, count);", l->weigh);
    if (!l->has_document) /* its positions are anywhere */
        put_line(k, "s->soon = (struct matrix_soon){out + first * out_step, out_step, %lld, count};", width);
    put_line(k,
             "matrix_product(count, %lld, %lld, s->query, %lld, s->state, %lld, MATRIX_PANEL, s->sum, %lld, 0, 0, "
             "&s->soon);",
             width, (long long)l->features, (long long)l->span, wide, wide);
    if (l->causal)
        put_inside(l);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    linear_put_store(l, arena_print(k->e->cx->arena, "out + %s * out_step",
                                    l->has_document ? "(at[first + row] - shift)" : "(first + row)"));
    put_close(k);
    linear_close(l, before);
}
