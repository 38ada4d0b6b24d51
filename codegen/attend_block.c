/* A tile against one block of keys: scores, softmax, values.
 *
 * Without tests a block is neighbouring keys, of which each row reads a range, and all of them are packed for the task.
 * With tests a tile reads those of the block's panels that the mask leaves, at place[0], place[1] .., and a panel is
 * packed when the first tile reads it. */
#include "codegen/attend_inside.h"

#include <string.h>

/* ---- column groups of the values -------------------------------------------------------------------------------- */

/* Calls `emit` for all columns of the values, in a loop if there are several groups. */
void attend_emit_groups(Attend *a, bool one_row, EmitGroup *emit)
{
    Kernel *k = a->k;
    long long group = (long long)attend_group(a, one_row) * a->lanes, rest = attend_rest(a, one_row);
    const char *function = one_row ? a->values_row : a->values, *last = one_row ? a->values_row_rest : a->values_rest;
    if (rest > group) {
        put_open(k, "for (ptrdiff_t w = 0; w < %lld; w += %lld)", rest, group);
        emit(a, function, " + w", group);
        put_close(k);
    } else if (rest > 0) {
        emit(a, function, "", group);
    }
    if (rest < a->width)
        emit(a, last, rest ? arena_print(k->e->cx->arena, " + %lld", rest) : "", a->width - rest);
}

void attend_emit_count(Attend *a, const char *executed, const char *whole)
{
    const char *text = "__atomic_fetch_add(&%s_tiles[%d], %s, __ATOMIC_RELAXED);";
    put_line(a->k, text, a->k->e->prefix, 0, executed);
    put_line(a->k, text, a->k->e->prefix, 1, whole);
}

static void put_few(Attend *a, const char *call)
{
    put_open(a->k, "if (rows <= %d)", a->few);
    put_line(a->k, "%s", call);
    put_line(a->k, "return;");
    put_close(a->k);
}

/* One of few rows, after its last keys, to the result. */
static void put_row_result(Attend *a)
{
    put_line(a->k, "for (ptrdiff_t i = 0; last && i < %lld; i++)", (long long)a->width);
    put_inner(a->k, "results[row][i] = out[row * %lld + i] * scale[row];", (long long)a->padded);
}

/* ---- a range of keys -------------------------------------------------------------------------------------------- */

/* The keys of this block that some row reads. */
static void emit_block_range(Attend *a)
{
    Kernel *k = a->k;
    if (!a->ranged) {
        put_line(k, "const ptrdiff_t first_key = t0, last_key = t1;");
        return;
    }
    put_line(k, "const ptrdiff_t first_key = larger(low, t0), last_key = larger(lesser(high, t1), first_key);");
    if (attend_may_be_open(a))
        put_line(k,
                 "const int open = all_begin <= first_key && all_end >= last_key; /* every row reads all of them */");
}

static void emit_range_count(Attend *a)
{
    const char *executed =
        arena_print(a->k->e->cx->arena, "(last_key + %d) / %d - first_key / %d", KEY_PANEL - 1, KEY_PANEL, KEY_PANEL);
    const char *from = a->ranged ? "larger(all_begin, t0)" : "t0", *to = a->ranged ? "lesser(all_end, t1)" : "t1";
    attend_emit_count(a, executed,
               arena_print(a->k->e->cx->arena, "larger(%s / %d - (%s + %d) / %d, 0)", to, KEY_PANEL, from,
                           KEY_PANEL - 1, KEY_PANEL));
}

/* The call for a tile, or for one row of it. */
static void put_softmax(Attend *a, bool one_row, const char *own)
{
    Arena *arena = a->k->e->cx->arena;
    const char *row = one_row ? " + row" : "";
    put_line(a->k, "%s(score%s, most%s, total%s, shrink%s, scale%s, %s, begun, %s%s%s);", a->softmax,
             one_row ? arena_print(arena, " + row * %d", a->score_step) : "", row, row, row, row,
             one_row ? "1" : "count", own, a->softmax_reads_first ? arena_print(arena, ", first%s", row) : "",
             a->softmax_rest);
}

static void emit_range_values_row(Attend *a, const char *function, const char *plus, long long columns)
{
    (void)columns;
    put_line(a->k,
             "%s(score + row * %d + (from - t0), value_rows + from * value_step%s, value_step, to - from, begun, "
             "shrink[row], out + row * %lld%s);",
             function, a->score_step, plus, (long long)a->padded, plus);
}

/* Few rows, as in decoding: a tile would be mostly empty, so they go one by one. */
static void emit_range_few(Attend *a)
{
    Kernel *k = a->k;
    int panels = attend_row_panels(a);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    if (a->ranged) {
        put_line(k, "const ptrdiff_t from = larger(begin[row], t0), to = larger(lesser(end[row], t1), from);");
    } else
        put_line(k, "const ptrdiff_t from = t0, to = t1;");
    if (a->second.choice) {
        put_open(k, "for (ptrdiff_t t = from / %d * %d; t < to; t += %d)", KEY_PANEL, KEY_PANEL, panels * KEY_PANEL);
        put_line(k, "const ptrdiff_t here = lesser((to - t + %d) / %d * %d, %d);", KEY_PANEL - 1, KEY_PANEL, KEY_PANEL,
                 panels * KEY_PANEL);
        attend_emit_second_row(a, "t", "here", NULL,
                               arena_print(k->e->cx->arena, "score + row * %d + (t - t0)", a->score_step));
        put_close(k);
    } else if (a->key_rows) {
        put_line(
            k,
            "%s(query + row * %lld, key_rows + from * key_step, key_step, to - from, score + row * %d + (from - t0));",
            a->scores_row, (long long)a->head, a->score_step);
    } else {
        put_line(k, "for (ptrdiff_t t = from / %d * %d; t < to; t += %d)", KEY_PANEL, KEY_PANEL, panels * KEY_PANEL);
        put_inner(k,
                  "%s(query + row * %lld, panels + t / %d * panel_step, panel_step, (to - t + %d) / %d, "
                  "score + row * %d + (t - t0));",
                  a->scores_row, (long long)a->head, KEY_PANEL, KEY_PANEL - 1, KEY_PANEL, a->score_step);
    }
    put_softmax(a, true, a->ranged ? "t0, from, to, begin + row, end + row, from, to" : "t0, from, to");
    attend_emit_groups(a, true, emit_range_values_row);
    put_row_result(a);
    put_close(k);
}

/* The rows of a tile that one product of weights and values takes, and what is added to reach the first of them. */
typedef struct ValueRows {
    int rows;
    const char *row, *score, *out; /* in what has one number a row, in the scores, in the sums */
} ValueRows;

/* Opens a loop over them if they are not all rows of the tile. */
static ValueRows open_value_rows(Attend *a, const char *plus, long long columns)
{
    Arena *arena = a->k->e->cx->arena;
    int rows = attend_values_rows(a, columns);
    if (rows >= a->rows)
        return (ValueRows){rows, "", "", plus};
    put_open(a->k, "for (ptrdiff_t row = 0; row < count; row += %d)", rows);
    return (ValueRows){rows, " + row", arena_print(arena, " + row * %d", a->score_step),
                       arena_print(arena, " + row * %lld%s", (long long)a->padded, plus)};
}

/* The end of the calls: what is begun, what comes of it, and of which rows and columns. */
static const char *rest_of_call(Attend *a, ValueRows at, const char *plus)
{
    return arena_print(a->k->e->cx->arena, "begun, shrink%s, out%s, last, scale%s, results%s, %s, count%s", at.row,
                       at.out, at.row, at.row, *plus ? plus + 3 : "0", *at.row ? " - row" : "");
}

/* "lesser(count - row, 3)": the rows that exist of those a call takes. */
static const char *careful_rest(Attend *a, ValueRows at, const char *plus)
{
    Arena *arena = a->k->e->cx->arena;
    return arena_print(arena, "begun, shrink%s, out%s, last, scale%s, results%s, %s, lesser(count%s, %d)", at.row,
                       at.out, at.row, at.row, *plus ? plus + 3 : "0", *at.row ? " - row" : "", at.rows);
}

/* One column group of the tile; row by row if a value that must not be read is not finite. */
static void emit_range_values(Attend *a, const char *function, const char *plus, long long columns)
{
    Kernel *k = a->k;
    ValueRows at = open_value_rows(a, plus, columns);
    const char *call = arena_print(
        k->e->cx->arena,
        "%s(score%s + (first_key - t0), value_panels%s + (first_key - t0) * %lld, last_key - first_key, %s%s)",
        function, at.score, attend_value_group(a, plus), (long long)a->group, rest_of_call(a, at, plus),
        attend_may_be_open(a) ? ", open" : "");
    if (a->checks) {
        put_line(k, "if (!%s)", call);
        put_inner(k, "%s(score%s, value_rows, value_step, t0, last_key, %s%s, %lld);", a->values_careful, at.score,
                  a->ranged ? arena_print(k->e->cx->arena, "begin%s, end%s, ", at.row, at.row) : "",
                  careful_rest(a, at, plus), columns);
    } else
        put_line(k, "%s;", call);
    if (at.rows < a->rows)
        put_close(k);
}

/* Opens the loop over the panels of a tile, before each of which a share of the next tile's rows is asked for. */
static void open_panels(Attend *a, const char *loop, const char *part, const char *parts)
{
    put_open(a->k, "%s", loop);
    if (a->n_ahead)
        put_line(a->k, "%s(ahead, %s, %s);", a->ask, part, parts);
}

static void emit_range_tile(Attend *a, const char *few)
{
    Kernel *k = a->k;
    emit_block_range(a);
    if (k->e->options->tiles)
        emit_range_count(a);
    put_line(k, "float shrink[%d], scale[%d];", a->rows, a->rows);
    put_few(a, few);
    Arena *arena = k->e->cx->arena;
    const char *first = arena_print(arena, "first_key / %d", KEY_PANEL);
    const char *panel = attend_panel(a, false, "t"), *score = "score + (t - t0)";
    if (attend_scores_wide(a)) {
        open_panels(a, arena_print(arena, "for (ptrdiff_t t = %s * %d; t < last_key;)", first, KEY_PANEL),
                    arena_print(arena, "t / %d - %s", KEY_PANEL, first),
                    arena_print(arena, "larger((last_key + %d) / %d - %s, 1)", a->lanes - 1, KEY_PANEL, first));
        put_line(k, "t += %d * %s(query, %s, last_key - t, %s);", KEY_PANEL, a->scores, panel, score);
    } else {
        open_panels(a, arena_print(arena, "for (ptrdiff_t t = %s * %d; t < last_key; t += %d)", first, KEY_PANEL, KEY_PANEL),
                    arena_print(arena, "t / %d - %s", KEY_PANEL, first),
                    arena_print(arena, "(last_key + %d) / %d - %s", KEY_PANEL - 1, KEY_PANEL, first));
        if (a->second.choice)
            attend_emit_second_tile(a, "t", "last_key - t", score);
        else
            put_line(k, "%s(query, %s, count, last_key - t, %s);", a->scores, panel, score);
    }
    put_close(k);
    put_softmax(a, false,
                a->ranged ? "t0, first_key, last_key, begin, end, all_begin, all_end" : "t0, first_key, last_key");
    attend_emit_groups(a, false, emit_range_values);
}

/* The block's keys that some row of the task reads. */
static void emit_range_pack(Attend *a)
{
    Kernel *k = a->k;
    put_line(k, "const ptrdiff_t t1 = lesser(t0 + %d, %s);", a->block, a->ranged ? "highest" : "keys");
    const char *from =
        a->ranged ? arena_print(k->e->cx->arena, "larger(lowest / %d * %d, t0)", KEY_PANEL, KEY_PANEL) : "t0";
    bool several = a->key_rows || a->second.choice;
    put_line(k, "for (ptrdiff_t t = %s; rows > %d && t < t1; t += %d)%s", from, a->few, KEY_PANEL, several ? " {" : "");
    k->indent++;
    attend_emit_pack_panel(a, "t");
    k->indent--;
    if (several)
        put_line(k, "}");
}

/* ---- chosen panels ---------------------------------------------------------------------------------------------- */

static void emit_panel_values_row(Attend *a, const char *function, const char *plus, long long columns)
{
    (void)columns;
    put_line(
        a->k,
        "%s(score + row * %d, value_rows%s, value_step, place, taken, high, begun, shrink[row], out + row * %lld%s);",
        function, a->score_step, plus, (long long)a->padded, plus);
}

/* Scores of one row and panel p where the keys lie in rows. */
static void put_key_rows(Attend *a, const char *query, const char *score)
{
    put_inner(a->k, "%s(%s, key_rows + place[p] * key_step, key_step, lesser(high - place[p], %d), %s);", a->scores_row,
              query, KEY_PANEL, score);
}

static void emit_panel_few(Attend *a)
{
    Kernel *k = a->k;
    int panels = attend_row_panels(a);
    put_open(k, "for (ptrdiff_t row = 0; row < count; row++)");
    if (a->second.choice)
        put_open(k, "for (ptrdiff_t p = 0; p < taken; p++)");
    else
        put_line(k, "for (ptrdiff_t p = 0; p < taken; p += %d)", a->key_rows ? 1 : panels);
    if (a->second.choice) {
        attend_emit_second_row(a, "place[p]", arena_print(k->e->cx->arena, "%d", KEY_PANEL), "place + p",
                               arena_print(k->e->cx->arena, "score + row * %d + p * %d", a->score_step, KEY_PANEL));
        put_close(k);
    } else if (a->key_rows)
        put_key_rows(a, arena_print(k->e->cx->arena, "query + row * %lld", (long long)a->head),
                     arena_print(k->e->cx->arena, "score + row * %d + p * %d", a->score_step, KEY_PANEL));
    else
        put_inner(k, "%s(query + row * %lld, panels, panel_step, place + p, taken - p, score + row * %d + p * %d);",
                  a->scores_row, (long long)a->head, a->score_step, KEY_PANEL);
    put_softmax(a, true, "place, taken, cut, begin + row, end + row");
    attend_emit_groups(a, true, emit_panel_values_row);
    put_row_result(a);
    put_close(k);
}

static void emit_panel_values(Attend *a, const char *function, const char *plus, long long columns)
{
    Kernel *k = a->k;
    ValueRows at = open_value_rows(a, plus, columns);
    put_line(k, "if (!%s(score%s, value_panels%s, t0, place, taken, high, %s))", function, at.score,
             attend_value_group(a, plus), rest_of_call(a, at, plus));
    put_inner(k, "%s(score%s, value_rows, value_step, place, taken, high, %s, %lld);", a->values_careful, at.score,
              careful_rest(a, at, plus), columns);
    if (at.rows < a->rows)
        put_close(k);
}

/* What this tile is the first to read of the block. */
static void emit_panel_pack(Attend *a)
{
    Kernel *k = a->k;
    put_open(k, "for (ptrdiff_t p = 0; p < taken; p++)");
    put_line(k, "const unsigned bit = 1u << (place[p] - t0) / %d;", KEY_PANEL);
    put_line(k, "if (*packed & bit)");
    put_inner(k, "continue;");
    attend_emit_pack_panel(a, "place[p]");
    put_line(k, "*packed |= bit;");
    put_close(k);
}

static void emit_panel_tile(Attend *a, const char *few)
{
    Kernel *k = a->k;
    attend_emit_choice(a);
    if (k->e->options->tiles)
        attend_emit_count(a, "taken", "taken - __builtin_popcount(cut)");
    put_line(k, "float shrink[%d] = {0}, scale[%d];", a->rows, a->rows);
    put_few(a, few);
    emit_panel_pack(a);
    const char *panel = attend_panel(a, false, "place[p]"), *score = arena_print(k->e->cx->arena, "score + p * %d", KEY_PANEL);
    bool wide = attend_scores_wide(a);
    open_panels(a, wide ? "for (ptrdiff_t p = 0; p < taken;)" : "for (ptrdiff_t p = 0; p < taken; p++)", "p",
                wide ? "larger(taken - 1, 1)" : "taken");
    if (wide)
        put_line(k, "p += %s(query, %s, lesser(high - place[p], (taken - p) * %d), %s);", a->scores, panel, KEY_PANEL, score);
    else if (a->second.choice)
        attend_emit_second_tile(a, "place[p]", "high - place[p]", score);
    else
        put_line(k, "%s(query, %s, count, high - place[p], %s);", a->scores, panel, score);
    put_close(k);
    put_softmax(a, false, "place, taken, cut, begin, end");
    attend_emit_groups(a, false, emit_panel_values);
}

/* ---- a tile ------------------------------------------------------------------------------------------------------ */

/* The function for a few rows: the statement that calls it. */
static const char *emit_few(Attend *a)
{
    static const char *const locals[] = {
        "query",      "query2", "key_rows", "panels",  "keys2",    "value_rows", "key_step", "panel_step", "step2",
        "value_step", "keys",   "first",    "count",   "t0",       "t1",         "place",    "taken",      "cut",
        "high",       "begin",  "end",      "row_low", "row_high", "begun",      "score",    "other",      "most",
        "total",      "shrink", "scale",    "out",     "last",     "results",
    };
    Kernel *k = a->k;
    Text main = body_begin(k);
    k->indent = 1;
    a->mask.tests.count ? emit_panel_few(a) : emit_range_few(a);
    return attend_piece(a, a->few_rows, "Few rows against a block of keys, one by one: nothing is packed for them.",
                        locals, sizeof locals / sizeof *locals, body_end(k, main));
}

void attend_emit_tile(Attend *a)
{
    static const char *const locals[] = {
        "query",      "query2",   "key_panels", "key_panels2", "value_panels", "key_rows", "panels", "keys2",
        "value_rows", "key_step", "panel_step", "step2",       "value_step",   "keys",     "rows",   "first",
        "count",      "t0",       "t1",         "begin",       "end",          "low",      "high",   "all_begin",
        "all_end",    "tile",     "ends",       "wide",        "packed",       "score",    "other",  "most",
        "total",      "out",      "begun",      "last",        "results",      "ahead",
    };
    Kernel *k = a->k;
    if (a->in_lanes) {
        attend_emit_lanes(a);
        return;
    }
    attend_emit_softmax(a);
    attend_emit_read_rows(a);
    const char *few = emit_few(a);
    Text main = body_begin(k);
    k->indent = 1;
    attend_emit_second_rows(a);
    a->mask.tests.count ? emit_panel_tile(a, few) : emit_range_tile(a, few);
    a->tile_call = attend_piece(a, a->tile, "A tile of rows against one block of keys: scores, softmax, values.",
                                locals, sizeof locals / sizeof *locals, body_end(k, main));
}

/* ---- in the kernel ---------------------------------------------------------------------------------------------- */

/* Does this block concern the tile, is there something of it from an earlier one, and is it its last? */
static void put_turn(Attend *a)
{
    Kernel *k = a->k;
    if (!a->ranged) {
        put_line(k, "const int begun = t0 > 0, last = t0 + %d >= keys;", a->block);
        return;
    }
    if (a->in_lanes)
        attend_put_lane_range(a);
    else
        put_line(k, "const ptrdiff_t low = lows[at / %d], limit = highs[at / %d];", a->rows, a->rows);
    put_line(k, "const ptrdiff_t high = lesser(limit, t0 + %d);", a->block);
    put_line(k, "if (low < limit && (t0 + %d <= low || t0 >= limit))", a->block);
    put_inner(k, "continue;");
    put_line(k, "const int begun = low < limit && low < t0, last = t0 + %d >= limit;", a->block);
    if (!a->in_lanes && (!a->mask.tests.count || attend_has_class(a)))
        put_line(k, "const ptrdiff_t all_begin = all_begins[at / %d], all_end = all_ends[at / %d];", a->rows, a->rows);
}

void attend_emit_blocks(Attend *a)
{
    Kernel *k = a->k;
    bool panels = a->mask.tests.count > 0;
    if (a->ranged)
        put_open(k, "for (ptrdiff_t t0 = lowest / %d * %d; t0 < highest; t0 += %d)", a->block, a->block, a->block);
    else
        put_open(k, "for (ptrdiff_t t0 = 0; t0 == 0 || t0 < keys; t0 += %d)", a->block);
    if (a->in_lanes)
        attend_put_lane_block(a);
    else if (panels)
        put_line(k, "unsigned packed = 0; /* the block's panels that are */");
    else
        emit_range_pack(a);
    Text main = body_begin(k);
    k->indent++;
    put_line(k, a->in_lanes ? "float *out = sums%s;" : "float *out = sums%s, *results[%d];",
             arena_print(k->e->cx->arena, " + (keys > %d ? at * %lld : 0)", a->block, (long long)a->padded), a->rows);
    if (a->n_ahead)
        put_line(k, "const float *ahead[%d]; /* rows of the next tile */", a->n_ahead * a->rows);
    put_turn(a);
    attend_put_ask_next(a);
    if (a->in_lanes)
        attend_put_lane_tile(a);
    else {
        put_line(k, "%s", a->read_rows_call);
        put_line(k, "%s", a->tile_call);
    }
    if (a->gives_lse) {
        put_line(k, "if (last)");
        put_inner(k, "%s", a->log_sums_call);
    }
    k->indent--;
    const char *body = body_end(k, main);
    attend_open_tiles(a, body, a->rows);
    text_put(&k->body, body, strlen(body));
    put_close(k);
    put_close(k);
}
