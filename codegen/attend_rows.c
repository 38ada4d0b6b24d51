/* A tile's rows: where those of q are read and those of the result written, and which keys each of them reads.
 *
 * Both lie far apart in memory, so the next tile's are asked for while this one is computed, a few before each panel of
 * keys: all at once they would be waited for. */
#include "codegen/attend_inside.h"

#include <math.h>
#include <string.h>

enum { LEAST_PARTS = 2 }; /* panels of keys: before one alone asking costs what it spares, or more where all is near */

/* ---- q and the result ------------------------------------------------------------------------------------------- */

/* "ahead[8 + row] = .. ? from + ..": the row of `x` a tile further on, if there is one (then `when` has to hold) and rows lie
 * apart; else what is near anyway. */
static void put_ahead(Attend *a, const Access *x, const char *from, int64_t count, const char *when)
{
    Kernel *k = a->k;
    int64_t inner = 1;
    const AccessAxis *rows = a->n_rows ? access_axis(x, a->row[0].name) : NULL;
    for (int i = 1; i < a->n_rows; i++)
        inner = extent_is_const(a->row[i].size) ? inner * a->row[i].size.base : a->rows;
    if (!rows)
        return;
    const char *place = a->n_ahead ? arena_print(k->e->cx->arena, "%d + row", a->n_ahead * a->rows) : "row";
    put_line(k, "ahead[%s] = %srow + %d < left ? %s + %lld * %s : query;", place, when, a->rows, from,
             (long long)((a->rows + inner - 1) / inner), kernel_stride(k, rows->stride));
    a->ahead_floats = count > a->ahead_floats ? count : a->ahead_floats;
    a->n_ahead++;
}

/* The function that asks for a share of them. */
static void emit_ask(Attend *a)
{
    if (!a->n_ahead)
        return;
    text_add(&a->k->before,
             "/* Of the next tile's rows each `parts`th from `part` on is asked for; many at once would be waited for. */\n"
             "static inline void %s(const float *const *ahead, ptrdiff_t part, ptrdiff_t parts)\n{\n"
             "    for (ptrdiff_t row = parts < %d ? %d : part; row < %d; row += parts)\n"
             "        for (ptrdiff_t i = 0; i < %lld; i += 16)\n"
             "            __builtin_prefetch(ahead[row] + i);\n}\n\n",
             a->ask, LEAST_PARTS, a->n_ahead * a->rows, a->n_ahead * a->rows, (long long)a->ahead_floats);
}

/* One row of queries, scaled. */
static void put_query(Attend *a, const Access *q, const char *from, const char *to)
{
    Kernel *k = a->k;
    int64_t step = 0;
    const AccessAxis *axis = access_axis(q, a->head_axis);
    stride_is_const(axis->stride, &step);
    const char *at = step == 1 ? "i" : arena_print(k->e->cx->arena, "i * %s", kernel_stride(k, axis->stride));
    double scale = attr_float(k->node, ATTR_scale, 1) * (a->plain ? M_LOG2E : 1);
    put_line(k, "const float *%s = %s;", from, attend_row_address(a, q));
    if (step == 1)
        put_ahead(a, q, from, a->head, "");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)a->head);
    put_inner(k, "%s[i] = %s[%s]%s;", to, from, at,
              scale == 1 ? "" : arena_print(k->e->cx->arena, " * %s", float_literal(k->e->cx, scale)));
}

void attend_emit_read_rows(Attend *a)
{
    Kernel *k = a->k;
    long long head = a->head;
    bool second = a->second.choice != NULL;
    static const char *const locals[] = {"query", "query2", "results", "ahead", "first", "count", "left", "last", "out"};
    Text main = body_begin(k);
    k->indent = 1;
    put_open(k, "for (ptrdiff_t row = 0; row < %d; row++)", a->rows);
    put_line(k, "float *query_row = query + row * %lld;", head);
    if (second)
        put_line(k, "float *second_row = query2 + row * %lld;", head);
    Text before = body_begin(k);
    put_query(a, &a->q, "from", "query_row");
    if (second)
        put_query(a, &a->second.q, "from2", "second_row");
    if (a->gives_out) {
        put_line(k, "results[row] = %s;", attend_row_address(a, &a->out));
        put_ahead(a, &a->out, "results[row]", a->width, "last && ");
    } else
        put_line(k, "results[row] = out + row * %lld; /* nobody reads it */", (long long)a->padded);
    const char *after = body_end(k, before);
    put_open(k, "if (row >= count)");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", head);
    put_inner(k, second ? "query_row[i] = second_row[i] = 0.0f;" : "query_row[i] = 0.0f;");
    if (a->n_ahead)
        put_line(k, a->n_ahead > 1 ? "ahead[row] = ahead[%d + row] = query;" : "ahead[row] = query;", a->rows);
    put_line(k, "continue;");
    put_close(k);
    attend_row_indices(a, after);
    text_put(&k->body, after, strlen(after));
    put_close(k);
    emit_ask(a);
    const char *body = body_end(k, main);
    a->read_rows_call =
        attend_piece(a, a->read_rows, "A tile's rows of q, scaled, zeros for those it lacks; where its results go.",
                     locals, sizeof locals / sizeof *locals, body);
}

/* log(sum(exp(s))): `most` and `total` are to base 2; of no key both give -inf. */
void attend_emit_log_sums(Attend *a)
{
    Kernel *k = a->k;
    if (!a->gives_lse)
        return;
    static const char *const locals[] = {"most", "total", "first", "count"};
    const char *address = attend_row_address(a, &a->lse);
    Text main = body_begin(k);
    k->indent = 1;
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    attend_row_indices(a, address);
    put_line(k, "*(%s) = most[row] * %s + %s(splat(total[row]))%s;", address, float_literal(k->e->cx, M_LN2),
             math_use(k->e, MATH_LOG), lane_of(k->e->target, "[0]"));
    put_close(k);
    const char *body = body_end(k, main);
    a->log_sums_call = attend_piece(a, a->log_sums, "The logarithm of a tile's sums of weights.", locals,
                                    sizeof locals / sizeof *locals, body);
}

/* ---- the keys that rows read ------------------------------------------------------------------------------------ */

/* What a task knows of its rows and tiles. */
static void put_arrays(Attend *a)
{
    Kernel *k = a->k;
    put_line(k, "float tops[%d], totals[%d]; /* of each row: its largest score so far, the sum of its weights */",
             a->most_rows, a->most_rows);
    if (!a->ranged)
        return;
    if (a->in_lanes) {
        put_line(k, "int begins[%d], limits[%d]; /* each row's keys */", a->most_rows, a->most_rows);
        put_line(k, "struct %s ranges[%d]; /* of vectors of rows */", a->range_struct, a->most_rows / a->lanes);
        put_line(k, "ptrdiff_t lowest = keys, highest = 0; /* of all keys that are read */");
        return;
    }
    put_line(
        k, "ptrdiff_t begins[%d], limits[%d], lowest = keys, highest = 0; /* each row's keys; all of them */",
        a->most_rows, a->most_rows);
    int tiles = a->most_rows / a->rows;
    if (!a->mask.tests.count || attend_has_class(a))
        put_line(k,
                 "ptrdiff_t lows[%d], highs[%d], all_begins[%d], all_ends[%d]; /* of tiles: some row's, every row's */",
                 tiles, tiles, tiles, tiles);
    else
        put_line(k, "ptrdiff_t lows[%d], highs[%d]; /* that some row of a tile reads */", tiles, tiles);
    if (a->row_leaves)
        put_line(k, "struct %s tile_rows[%d];", a->rows_struct, tiles);
}

/* Each row's range of keys, and those of the tile, or of a vector of rows where these stand in the lanes. */
static void put_tile_ranges(Attend *a)
{
    Kernel *k = a->k;
    bool class = !a->mask.tests.count || attend_has_class(a);
    put_line(k, class ? "ptrdiff_t low = keys, high = 0, all_begin = 0, all_end = keys;"
                      : "ptrdiff_t low = keys, high = 0;");
    attend_emit_rows_begin(a);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    Text before = body_begin(k);
    put_line(k, "ptrdiff_t from = 0, to = keys;");
    BodyPrinter b = attend_row_printer(a);
    attend_emit_bounds(a, &b);
    attend_emit_row_ends(a, &b);
    const char *after = body_end(k, before);
    attend_row_indices(a, after);
    text_put(&k->body, after, strlen(after));
    put_line(k, a->in_lanes ? "begin[row] = (int)lesser(from, keys), end[row] = (int)larger(to, 0);" : "begin[row] = from, end[row] = to;");
    put_line(k, "if (from < to)");
    put_inner(k, "low = lesser(low, from), high = larger(high, to);");
    if (class)
        put_line(k, "all_begin = larger(all_begin, from), all_end = lesser(all_end, to);");
    put_close(k);
    put_line(k, "lowest = lesser(lowest, low), highest = larger(highest, high);");
    if (a->in_lanes) {
        put_line(k, "ranges[at / LANES] = (struct %s){low, high, all_begin, all_end};", a->range_struct);
        put_line(k, "for (ptrdiff_t row = count; row < LANES; row++)");
        put_inner(k, "begin[row] = end[row] = 0; /* the last vector lacks these */");
        return;
    }
    put_line(k, "lows[at / %d] = lesser(low, high), highs[at / %d] = high; /* 0 and 0: nothing is read */", a->rows,
             a->rows);
    if (class)
        put_line(k, "all_begins[at / %d] = all_begin, all_ends[at / %d] = all_end;", a->rows, a->rows);
}

void attend_emit_ranges(Attend *a)
{
    Kernel *k = a->k;
    put_arrays(a);
    if (!a->ranged)
        return;
    Text main = body_begin(k);
    k->indent++;
    put_tile_ranges(a);
    k->indent--;
    const char *body = body_end(k, main);
    attend_open_tiles(a, body, a->in_lanes ? a->lanes : a->rows);
    text_put(&k->body, body, strlen(body));
    put_close(k);
    put_line(k, "if (lowest >= highest)");
    put_inner(k, "lowest = 0, highest = 1; /* nothing is read: one block, which leaves zeros */");
}
