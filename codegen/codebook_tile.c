/* A tile of codebook_attend's rows: queries, scores of the codes and of the keys beside them, weights, weighted sums. */
#include "codegen/codebook_inside.h"

#include <math.h>

/* The rows' queries, scaled: exponents are to base 2. */
static void emit_queries(Codebook *c)
{
    Kernel *k = c->k;
    put_open(k, "for (ptrdiff_t row = 0; row < rows; row++)");
    const char *from = codebook_address_of(c, &c->q, c->row_axis, c->n_rows ? "place" : "first + row");
    if (c->n_rows) {
        put_line(k, "const ptrdiff_t index = first + row, place = index / group;");
        codebook_put_row_indices(c, "index % group", from);
    }
    double scale = attr_float(k->node, ATTR_scale, 1) * M_LOG2E;
    put_line(k, "const float *from = %s;", from);
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)c->head);
    codebook_inside(k, "query[row * %lld + i] = from[%s] * %s;", (long long)c->head,
                    codebook_step_text(c, &c->q, c->head_axis, "i"), float_literal(k->e->cx, scale));
    put_close(k);
}

static void put_product(Codebook *c, const char *columns, const char *depth, const char *a, long long a_step,
                        const char *b, const char *b_step, const char *to, long long to_step, int add)
{
    const char *start = add ? arena_print(c->k->e->cx->arena, "%s, %lld", to, to_step) : "0, 0";
    put_line(c->k, "%s(rows, %s, %s, %s, %lld, %s, %s, MATRIX_PANEL, %s, %lld, %s, 0);", c->product, columns, depth, a,
             a_step, b, b_step, to, to_step, start);
}

static void emit_scores(Codebook *c)
{
    Arena *a = c->k->e->cx->arena;
    const char *head = arena_print(a, "%lld", (long long)c->head),
               *codes = arena_print(a, "%lld", (long long)c->n_codes),
               *ring = arena_print(a, "%lld", (long long)(2 * c->block));
    put_product(c, codes, head, "query", (long long)c->head, "codes", c->code_step, "score", (long long)c->step, 0);
    if (!c->exact)
        return;
    put_line(c->k, "if (old)");
    c->k->indent++;
    put_product(c, "old", head, "query", (long long)c->head, "ring_keys + other", ring,
                arena_print(a, "score + %lld", (long long)c->padded_codes), (long long)c->step, 0);
    c->k->indent--;
    put_product(c, "here", head, "query", (long long)c->head, "ring_keys + here_slot", ring,
                arena_print(a, "score + %lld", (long long)(c->padded_codes + c->padded_window)), (long long)c->step, 0);
}

static const char *own_weights(Codebook *c)
{
    return arena_print(c->k->e->cx->arena, "score + %lld",
                       (long long)(c->padded_codes + (c->block ? c->padded_window : 0)));
}

/* Keys of the own block that row number `index` sees: its position is start of the block + this - 1. */
static void put_own(Codebook *c, const char *index)
{
    const char *at = c->n_rows ? arena_print(c->k->e->cx->arena, "(%s) / group", index) : index;
    put_line(c->k, "const ptrdiff_t own = start + %s - %s + 1;", at, c->block ? "block_start" : "position");
}

static void emit_weights(Codebook *c)
{
    Kernel *k = c->k;
    bool looks = !c->exact || c->kept;
    const char *own_code = c->block ? ", code + here_slot" : ", code", *old_code = ", code + other";
    put_open(k, "for (ptrdiff_t row = 0; row < rows; row++)");
    if (c->causal)
        put_own(c, "first + row");
    Text call = text_new(k->e->cx->arena);
    text_add(&call, "total[row] = %s(score + row * %lld, count", c->weigh, (long long)c->step);
    if (c->block)
        text_add(&call, "%s, old", looks ? old_code : "");
    if (c->causal)
        text_add(&call, "%s, own", looks ? own_code : "");
    if (c->biased && c->block)
        text_add(&call, ", near + %s + %lld - own",
                 c->n_rows ? arena_print(k->e->cx->arena, "(first + row) %% group * %lld", (long long)(2 * c->block))
                           : "0",
                 (long long)c->block);
    put_line(k, "%s);", call.data);
    put_close(k);
}

static void emit_sums(Codebook *c)
{
    Kernel *k = c->k;
    Arena *a = k->e->cx->arena;
    const char *width = arena_print(a, "%lld", (long long)c->width),
               *codes = arena_print(a, "%lld", (long long)c->n_codes);
    put_product(c, width, codes, "score", (long long)c->step, "mean", width, "sums", (long long)c->padded_width, 0);
    if (c->block) {
        put_line(k, "if (old)");
        k->indent++;
        put_product(c, width, "old", arena_print(a, "score + %lld", (long long)c->padded_codes), (long long)c->step,
                    arena_print(a, "values + other * %s", width), width, "sums", (long long)c->padded_width, 1);
        k->indent--;
    }
    if (!c->causal)
        return;
    const char *values = c->block ? arena_print(a, "values + here_slot * %s", width) : "values";
    put_line(k, "const ptrdiff_t all = start + first%s - %s + 1; /* keys that every row sees */",
             c->n_rows ? " / group" : "", c->block ? "block_start" : "position");
    put_product(c, width, "all", own_weights(c), (long long)c->step, values, width, "sums", (long long)c->padded_width,
                1);
    put_open(k, "for (ptrdiff_t row = 1; row < rows; row++)");
    put_own(c, "first + row");
    put_line(k, "%s(%s + row * %lld, %s, all, own, sums + row * %lld);", c->own_keys, own_weights(c),
             (long long)c->step, values, (long long)c->padded_width);
    put_close(k);
}

static void emit_store(Codebook *c)
{
    Kernel *k = c->k;
    put_open(k, "for (ptrdiff_t row = 0; row < rows; row++)");
    const char *to = codebook_address_of(c, &c->out, c->row_axis, c->n_rows ? "place" : "first + row");
    if (c->n_rows) {
        put_line(k, "const ptrdiff_t index = first + row, place = index / group;");
        codebook_put_row_indices(c, "index % group", to);
    }
    put_line(k, "const float part = total[row] > 0.0f ? 1.0f / total[row] : total[row]; /* 0: no key; NaN stays */");
    put_line(k, "float *to = %s;", to);
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)c->width);
    codebook_inside(k, "to[%s] = sums[row * %lld + w] * part;", codebook_step_text(c, &c->out, c->value_axis, "w"),
                    (long long)c->padded_width);
    put_close(k);
}

/* Rows first .. of a tile; they stand at the new keys' positions, or anywhere if the mask is not causal. */
void codebook_emit_tile(Codebook *c, const char *from, const char *end)
{
    Kernel *k = c->k;
    put_open(k, "for (ptrdiff_t first = %s, end = %s; first < end; first += %d)", from, end, c->rows);
    put_line(k, "const ptrdiff_t rows = lesser(end - first, %d);", c->rows);
    put_line(k, "float total[%d];", c->rows);
    emit_queries(c);
    emit_scores(c);
    emit_weights(c);
    emit_sums(c);
    emit_store(c);
    put_close(k);
}
