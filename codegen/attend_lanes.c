/* A tile whose rows stand in the lanes: scores[key][rows], so a softmax adds up nothing across lanes, however few the
 * keys are a vector is full, and keys and values are read where they lie.
 *
 *     read_tile   the rows of q, scaled and turned about, query[head axis][rows]; where their results go
 *     scores      keys times query, a few keys and all vectors of rows at a time; what a row does not read is -inf
 *     weigh       largest score, weights 2^(score - largest), their sums, one vector of rows after another
 *     values      a few rows of weights times values, along the columns (attend_lanes_tile.c)
 *
 * So it is done where the score is the product and nothing else, and each row reads a range of keys (attend_mask.c). A body,
 * a test or a second product are written for keys in the lanes (attend_block.c), as the rows are that fill no vector
 * (attend_lanes_few.c): the last ones of a batch entry, and all where they are few, as in decoding. */
#include "codegen/attend_inside.h"
#include "codegen/choose.h"

#include <math.h>
#include <string.h>

enum { NEAR_TILES = 2 }; /* so many tiles at most read keys and values where they lie, though rows are far apart */

bool attend_fits_lanes(const Attend *a)
{
    int64_t step;
    const AccessAxis *head = access_axis(&a->q, a->head_axis);
    if (!head || (a->head > 1 && (!stride_is_const(head->stride, &step) || step != 1)))
        return false;
    return a->plain && !a->mask.tests.count && !a->second.choice && a->k->e->target->registers >= 32;
}

/* ---- a tile's rows ------------------------------------------------------------------------------------------------ */

/* "query" from the rows `from`, LANES of them at a time. */
static void put_turned(Attend *a, const char *times)
{
    Kernel *k = a->k;
    const long long head = a->head, lanes = a->lanes;
    put_line(k, "for (ptrdiff_t c = 0; c < many; c += LANES)");
    k->indent++;
    if (head < lanes) {
        put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", head);
        k->indent++;
        put_line(k, "for (ptrdiff_t lane = 0; lane < LANES; lane++)");
        put_inner(k, "query[i * %d + c + lane] = from[c + lane][i]%s;", a->rows, times);
        k->indent--;
    } else {
        const char *i = head % lanes ? attend_print(a, "lesser(i, %lld)", head - lanes) : "i"; /* the last ones twice */
        put_line(k, "for (ptrdiff_t i = 0; i < %lld; i += LANES)", head);
        put_inner(k, "%s(from + c, %s, query + %s * %d + c);", a->turn, i, i, a->rows);
    }
    k->indent--;
}

static void emit_read_tile(Attend *a)
{
    static const char *const locals[] = {"query", "results", "first", "many", "last", "out", "spare"};
    Kernel *k = a->k;
    const double scale = attr_float(k->node, ATTR_scale, 1) * M_LOG2E;
    const char *times = scale == 1 ? "" : attend_print(a, " * %s", float_literal(k->e->cx, scale));
    if (a->head >= a->lanes)
        attend_emit_turn(a, a->rows, times);
    Text main = body_begin(k);
    k->indent = 1;
    put_line(k, "const float *from[%d];", a->rows);
    put_open(k, "for (ptrdiff_t i = 0; i < %d; i++)", a->rows);
    put_line(k, "const ptrdiff_t row = lesser(i, many - 1); /* those that it lacks are the last one again */");
    Text before = body_begin(k);
    put_line(k, "from[i] = %s;", attend_row_address(a, &a->q));
    if (a->gives_out)
        put_line(k, "results[i] = %s;", attend_row_address(a, &a->out));
    const char *after = body_end(k, before);
    attend_row_indices(a, after);
    text_put(&k->body, after, strlen(after));
    put_close(k);
    put_line(k, "for (ptrdiff_t i = %s; i < %d; i++)", a->gives_out ? "last ? many : 0" : "0", a->rows);
    put_inner(k, "results[i] = i < many ? out + i * %lld : spare;", (long long)a->padded);
    put_turned(a, times);
    a->read_tile_call = attend_piece(a, a->read_tile, "A tile's rows of q, scaled and turned about; where its results go.", locals,
                                     sizeof locals / sizeof *locals, body_end(k, main));
}

/* ---- softmax -------------------------------------------------------------------------------------------------------- */

static void emit_weigh(Attend *a)
{
    Kernel *k = a->k;
    const int rows = a->rows;
    const char *raise = math_use(k->e, MATH_EXP2);
    const char *at = attend_print(a, "score + %s * %d + c * LANES", a->ranged ? "(t - t0)" : "t", rows);
    Text main = body_begin(k);
    k->indent = 1;
    put_line(k, "const lanes none = splat(-__builtin_inff());");
    put_open(k, "for (ptrdiff_t c = 0; c < vectors; c++)");
    put_line(k, "lanes_at *tops_so_far = (lanes_at *)most + c, *totals = (lanes_at *)total + c;");
    put_line(k, "const lanes before = begun ? *tops_so_far : none, now = select(tops[c] > before, tops[c], before);");
    put_line(k, "const lanes base = select(now > none, now, splat(0.0f)); /* every key so far masked: all weights are 0 */");
    put_line(k, "lanes sum = splat(0.0f);");
    if (a->ranged) {
        put_line(k, "const ptrdiff_t low = lesser(larger(range[c].low, from), to), high = larger(lesser(range[c].high, to), low);");
        put_line(k, "for (ptrdiff_t t = from; t < low; t++)");
        put_inner(k, "*(lanes *)(%s) = splat(0.0f);", at);
        put_line(k, "for (ptrdiff_t t = high; t < to; t++)");
        put_inner(k, "*(lanes *)(%s) = splat(0.0f);", at);
    }
    text_add(&k->body, "#pragma GCC unroll 2\n");
    put_open(k, a->ranged ? "for (ptrdiff_t t = low; t < high; t++)" : "for (ptrdiff_t t = 0; t < keys; t++)");
    put_line(k, "lanes *at = (lanes *)(%s);", at);
    put_line(k, "sum += *at = %s(*at - base);", raise);
    put_close(k);
    put_line(k, "const lanes less = %s(before - base), all = begun ? *totals * less + sum : sum;", raise);
    put_line(k, "*tops_so_far = now, *totals = all, ((lanes_at *)shrink)[c] = less;");
    put_line(k, "const lanes over = select(all > splat(0.0f), 1.0f / all, all); /* 0: no key; NaN stays */");
    put_line(k, "((lanes_at *)scale)[c] = last ? over : splat(1.0f);");
    put_close(k);
    const char *items[] = {"float *restrict score",  "const lanes *restrict tops", "float *restrict most", "float *restrict total",
                           "float *restrict shrink", "float *restrict scale",      "ptrdiff_t vectors",    "int begun",                "int last",
                           a->ranged ? "ptrdiff_t t0" : "ptrdiff_t keys", "ptrdiff_t from", "ptrdiff_t to",
                           attend_print(a, "const struct %s *range", a->range_struct)};
    const char *comment = attend_print(a, "Scores of keys%s to weights%s.\n * A row's sums so far, if it has `begun`, must shrink by `shrink`; after the `last` keys `scale` is\n * 1 over the sum of its weights.",
                                  a->ranged ? " from .. to" : "", a->ranged ? ", 0 for those that a row does not read" : "");
    attend_rows_function(a, comment, attend_print(a, "static __attribute__((noinline))\nvoid %s", a->weigh), items, a->ranged ? 13 : 10, body_end(k, main));
}

/* ---- a tile against one block --------------------------------------------------------------------------------------- */

static void put_values(Attend *a, const char *function, const char *plus, long long columns)
{
    Kernel *k = a->k;
    const int rows = attend_values_rows(a, columns);
    const char *apart = a->in_place < a->block ? "value_apart" : "value_step";
    put_open(k, "for (ptrdiff_t row = 0; row < many; row += %d)", rows);
    if (!*plus || !strcmp(plus, " + w")) /* once for all columns */
        attend_put_ask_share(a, rows, *plus ? "far && w == 0" : "far");
    if (a->ranged) {
        put_line(k, "ptrdiff_t first = to, end_key = from; /* that some of the rows reads */");
        put_line(k, "for (ptrdiff_t r = row; r < lesser(row + %d, many); r++)", rows);
        put_inner(k, "first = lesser(first, begin[r]), end_key = larger(end_key, end[r]);");
        put_line(k, "first = larger(first, from), end_key = larger(lesser(end_key, to), first);");
    }
    put_line(k, "%s(score + %srow, value%s%s, %s, %s, begun, shrink + row, out + row * %lld%s, scale + row, results + row, %s);",
             function, a->ranged ? attend_print(a, "(first - t0) * %d + ", a->rows) : "", a->ranged ? attend_print(a, " + (first - t0) * %s", apart) : "",
             plus, apart, a->ranged ? "end_key - first" : "t1 - t0", (long long)a->padded, plus, *plus ? plus + 3 : "0");
    put_close(k);
}

static void emit_tile(Attend *a)
{
    _Static_assert(LANE_VECTORS == 3, "`tops` begins with as many vectors");
    static const char *const locals[] = {
        "query",     "key",     "key_apart", "key_step", "panel_step", "value",   "value_apart", "value_step",  "many",        "t0",           "t1",
        "begin",     "end",     "low",       "high",     "range",      "keys",    "at",          "task_many",   "far",
        "next_keys", "next_values", "query_ahead", "result_ahead", "score", "most", "total",     "out",         "begun",       "last",         "results",
    };
    Kernel *k = a->k;
    Text main = body_begin(k);
    k->indent = 1;
    if (a->ranged)
        put_line(k, "const ptrdiff_t from = lesser(larger(low, t0), t1), to = larger(lesser(high, t1), from);");
    put_line(k, "const ptrdiff_t vectors = (many + LANES - 1) / LANES;");
    put_line(k, "float shrink[%d] = {0}, scale[%d] = {0}; /* 0 for rows that it lacks: others may be denormal and slow */", a->rows, a->rows);
    put_line(k, "lanes none = splat(-__builtin_inff()), tops[%d] = {none, none, none};", LANE_VECTORS);
    const char *step = !a->key_rows ? "panel_step" : a->in_place < a->block ? "key_apart" : "key_step", *which = a->ranged ? "t0, from, to, range" : "t1 - t0";
    put_line(k, "%s(query, key, %s, score, vectors, tops, %s%s);", a->scores, step, which, a->ranged ? ", begin, end" : "");
    put_line(k, "%s(score, tops, most, total, shrink, scale, vectors, begun, last, %s);", a->weigh, which);
    attend_emit_groups(a, false, put_values);
    a->tile_call = attend_piece(a, a->tile, "A tile of rows against one block of keys: scores, softmax, values.", locals,
                                sizeof locals / sizeof *locals, body_end(k, main));
}

void attend_emit_lanes(Attend *a)
{
    attend_emit_few_rows(a);
    attend_emit_lane_tiles(a);
    emit_weigh(a);
    emit_read_tile(a);
    emit_tile(a);
}

/* ---- in the kernel --------------------------------------------------------------------------------------------------- */

/* How many keys tiles may read where they lie, again and again: those that stay in the second-level cache together with their values. Rows
 * a power of two apart meet in few of its sets, those a multiple of 4 KiB apart in few of the first level's, too. */
int64_t attend_keys_in_place(const Attend *a)
{
    enum { WAYS = 16, LINE = 64, PAGE = 4096 };
    const AccessAxis *rows = access_axis(&a->v, a->key_axis);
    const int64_t way = target_speed(a->k->e->target)->l2 / WAYS, lines = (a->width * 4 + LINE - 1) / LINE;
    int64_t step;
    if (!rows || !stride_is_const(rows->stride, &step))
        return 0;
    if (step <= a->width)
        return INT64_MAX;
    int64_t shared = 4 * step, rest = way;
    while (rest) {
        const int64_t next = shared % rest;
        shared = rest, rest = next;
    }
    const int64_t sets = way / shared * lines < way / LINE ? way / shared * lines : way / LINE;
    return sets * WAYS / (lines + (a->key_rows ? (a->head * 4 + LINE - 1) / LINE : 0)) / (4 * step % PAGE ? 1 : 2);
}

/* Of a task's rows, how many go through tiles. */
void attend_put_lane_rows(Attend *a)
{
    if (a->in_lanes)
        put_line(a->k, "const ptrdiff_t task_many = larger(lesser(task_count, (rows %% LANES <= %d ? rows / LANES * LANES : rows) - task_first), 0);", a->few);
}

/* Are keys and values worth a copy in which their rows lie side by side? With few tiles it costs more than it spares. */
void attend_put_copies(Attend *a)
{
    if (a->in_lanes && a->in_place < a->block)
        put_line(a->k, "const int copies = rows > %d && task_count > %d && keys > %lld; /* of keys and values, side by side */", a->few,
                 NEAR_TILES * a->rows, (long long)a->in_place);
}

static void put_copied(Attend *a)
{
    Kernel *k = a->k;
    put_line(k, "const float *%s = copies ? value_copies : value_rows + t0 * value_step;", a->key_rows ? "key = copies ? key_copies : key_rows + t0 * key_step, *value" : "value");
    put_line(k, "const ptrdiff_t %svalue_apart = copies ? %lld : value_step;",
             a->key_rows ? attend_print(a, "key_apart = copies ? %lld : key_step, ", (long long)a->head) : "", (long long)a->padded);
    put_open(k, "for (ptrdiff_t t = %s; copies && t < t1; t++)", a->ranged ? "larger(lowest, t0)" : "t0");
    if (a->key_rows)
        put_line(k, "%s(key_rows + t * key_step, key_copies + (t - t0) * %lld);", a->pack_keys, (long long)a->head);
    put_line(k, "%s(value_rows + t * value_step, value_copies + (t - t0) * %lld);", a->pack_values, (long long)a->padded);
    put_close(k);
}

void attend_put_lane_block(Attend *a)
{
    Kernel *k = a->k;
    put_line(k, "const ptrdiff_t t1 = lesser(t0 + %d, %s);", a->block, a->ranged ? "highest" : "keys");
    if (!a->key_rows && a->in_place < a->block)
        put_line(k, "const float *key = panels + t0 / %d * panel_step;", KEY_PANEL);
    if (a->in_place < a->block)
        put_copied(a);
    else
        put_line(k, "const float *key = %s, *value = value_rows + t0 * value_step;",
                 a->key_rows ? "key_rows + t0 * key_step" : attend_print(a, "panels + t0 / %d * panel_step", KEY_PANEL));
    if (a->ranged)
        put_line(k, "const int apart = rows > 1 && !%s(%s, value_step, lesser(keys - t0, %d));", a->finite,
                 a->in_place < a->block ? "value_rows + t0 * value_step" : "value", a->block);
}

void attend_put_lane_range(Attend *a)
{
    Kernel *k = a->k;
    const bool counts = k->e->options->tiles; /* for tests: tiles, and those that all rows read */
    put_line(k, "const struct %s *range = ranges + at / LANES;", a->range_struct);
    put_line(k, "ptrdiff_t low = keys, limit = 0%s;", counts ? ", all_begin = 0, all_end = keys" : "");
    put_line(k, "for (ptrdiff_t c = 0; c * LANES < count; c++)");
    put_inner(k, "low = lesser(low, range[c].low), limit = larger(limit, range[c].high)%s;",
              counts ? ", all_begin = larger(all_begin, range[c].all_begin), all_end = lesser(all_end, range[c].all_end)" : "");
    put_line(k, "low = lesser(low, limit); /* 0 and 0: nothing is read */");
}

/* For tests: tiles of rows and KEY_PANEL keys, and those in which nothing is compared. */
static void put_count(Attend *a)
{
    const char *from = a->ranged ? "larger(low, t0)" : "t0", *to = a->ranged ? attend_print(a, "larger(lesser(high, t1), %s)", from) : "t1";
    const char *all_from = a->ranged ? "larger(all_begin, t0)" : "t0", *all_to = a->ranged ? "lesser(all_end, t1)" : "t1";
    if (a->k->e->options->tiles)
        attend_emit_count(a, attend_print(a, "(%s + %d) / %d - %s / %d", to, KEY_PANEL - 1, KEY_PANEL, from, KEY_PANEL),
                          attend_print(a, "larger(%s / %d - (%s + %d) / %d, 0)", all_to, KEY_PANEL, all_from, KEY_PANEL - 1, KEY_PANEL));
}

void attend_put_lane_tile(Attend *a)
{
    Kernel *k = a->k;
    put_count(a);
    put_line(k, a->ranged ? "const ptrdiff_t many = apart ? 0 : larger(lesser(task_many - at, %d), 0);"
                          : "const ptrdiff_t many = larger(lesser(task_many - at, %d), 0);", a->rows);
    put_open(k, "if (many > 0)");
    put_line(k, "float *results[%d];", a->rows);
    attend_put_ahead(a);
    put_line(k, "%s", a->read_tile_call);
    put_line(k, "%s", a->tile_call);
    put_close(k);
    put_line(k, "if (many < count)");
    put_inner(k, "%s", a->few_call);
}
