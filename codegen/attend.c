/* attend: softmax(body(scale * q . k)) . v without ever holding all scores.
 *
 * A task is up to ATTEND_TASK rows (query positions and grouped heads) of one combination of batch axes, in tiles. Keys
 * come in blocks, which begin at multiples of `block`: where a tile or a task begins changes no bits, nor does the number
 * of threads. A tile goes through a block from its rows of q to, after the last block, its rows of the result:
 *
 *     scores      q times keys, kept for the block
 *     softmax     body, masks, largest score so far, weights 2^(score - largest)
 *     values      out = out * 2^(old largest - new) + weights * v; of the tile's last block straight from the registers,
 *                 over the sum of the weights, to the rows of the result
 *
 * There are two kinds of tiles. Where the score is the product alone and there are registers enough, the rows stand in the
 * lanes (attend_lanes.c). Otherwise the keys do (attend_rows.c, attend_block.c, attend_row.c, attend_tile.c): then what all
 * tiles read of a block, its keys as panels and its values, is packed once (attend_pack.c), and what a tile lacks in rows is
 * zeros in scratch. A few rows (decoding) go one by one, and nothing is packed for them.
 *
 * Each row reads a range of keys that follows from its mask (attend_mask.c): keys outside the tile's ranges are not touched,
 * inside there is no comparison. What a range cannot say is asked of every panel (attend_class.c). A row with no key at all
 * is 0. */
#include "codegen/attend_inside.h"
#include "codegen/choose.h"

#include <ctype.h>
#include <string.h>

enum { SUMS_BYTES = 1 << 17 }; /* of a task's rows at least: beside a block's keys and values they stay in L2 */

/* ---- what the kernel works on ----------------------------------------------------------------------------------- */

/* Words that the functions below use for themselves. */
static const char *const own_words[] = {
    "task",  "rows",  "blocks", "first",     "count",    "panels", "panel_step", "value_rows", "value_step", "query",
    "score", "out",   "begin",  "end",       "low",      "high",   "most",       "total",      "row",        "index",
    "from",  "to",    "part",   "query_row", "out_row",  "t",      "t0",         "t1",         "first_key",  "last_key",
    "i",     "w",     "at",     "x",         "top",      "none",   "sum",        "weight",     "before",     "here",
    "now",   "base",  "keys",   "key",       "shrink",   "open",   "p",          "c",          "place",      "taken",
    "cut",   "next",  "class",  "step",      "values",   "tile",   "ends",       "wide",       "one",        "many",
    "some",  "all",   "exists", "all_begin", "all_end",  "t_low",  "t_high",     "key_rows",   "key_step",   "other",
    "near",  "query2", "second_row", "from2", "keys2", "step2", "row_low", "row_high", "task_first", "task_count", "parts", "queries",
    "queries2", "sums", "begins", "limits", "tops", "totals", "lows", "highs", "all_begins", "all_ends", "tile_rows", "lowest", "highest",
    "key_panels", "key_panels2", "value_panels", "packed", "bit", "scores", "entry", "batches", "row_from", "row_to", "most_rows",
    "begun", "last", "scale", "results", "left", "limit", "ahead", "r", "range", "ranges", "n", "task_many", "spare", "over",
    "next_task", "next_entry", "next_keys", "next_values", "next_query", "next_result", "next_first", "query_ahead", "result_ahead", "goes_on",
    "far", "value", "key_apart", "value_apart", "copies", "key_copies", "value_copies", "vectors", "less", "numbers", "apart", "end_key", "tops_so_far",
};

void put_inner(Kernel *k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    k->indent++;
    put_line(k, "%s", arena_vprint(k->e->cx->arena, format, args));
    k->indent--;
    va_end(args);
}

static bool need_const(Attend *a, const Type *type, const char *axis, int64_t *out)
{
    int at = type_find(type, axis);
    if (at >= 0 && extent_is_const(type->axis[at].size)) {
        *out = type->axis[at].size.base;
        return true;
    }
    emit_fail(a->k->e, a->k->node, "the size of its axis `%s` is not a constant", axis);
    return false;
}

static void find_axes(Attend *a)
{
    const Node *n = a->k->node;
    const Type *q = n->inputs[0]->type, *k = n->inputs[1]->type;
    for (int i = 0; i < q->rank; i++) {
        const char *name = q->axis[i].name;
        if (name == a->head_axis)
            continue;
        Text lower = text_new(a->k->e->cx->arena);
        for (const char *p = name; *p; p++)
            text_char(&lower, (char)tolower((unsigned char)*p));
        AttendAxis axis = {name, scope_name(&a->k->names, lower.data), q->axis[i].size};
        if (type_find(k, name) >= 0)
            a->batch[a->n_batch++] = axis;
        else
            a->row[a->n_rows++] = axis;
    }
}

static bool read_operands(Attend *a)
{
    Kernel *k = a->k;
    const Node *n = k->node;
    if (!kernel_read(k, n->inputs[0], &a->q) || !kernel_read(k, n->inputs[1], &a->keys) ||
        !kernel_read(k, n->inputs[2], &a->v))
        return false;
    for (int i = 3; i < n->n_inputs; i++) {
        Access extra;
        if (!kernel_read(k, n->inputs[i], &extra))
            return false;
    }
    const Node *out = kernel_get(n, 0), *lse = kernel_get(n, 1);
    a->gives_out = out != NULL;
    a->gives_lse = lse != NULL;
    if ((out && !kernel_result(k, out, &a->out)) || (lse && !kernel_result(k, lse, &a->lse)))
        return false;
    a->key_rows = !a->keys.panels;
    int64_t step;
    const AccessAxis *values = access_axis(&a->v, a->value_axis), *heads = access_axis(&a->keys, a->head_axis);
    bool floats = a->q.dtype == DT_F32 && a->keys.dtype == DT_F32 && a->v.dtype == DT_F32;
    if (!floats)
        emit_fail(k->e, n, "q, k and v must be f32");
    else if (a->keys.panels && (a->keys.axis[a->keys.keys].name != a->key_axis ||
                                a->keys.axis[a->keys.head].name != a->head_axis))
        emit_fail(k->e, n, "its keys are panels, but not of `%s`", a->key_axis);
    else if (a->key_rows && (!heads || (a->head > 1 && (!stride_is_const(heads->stride, &step) || step != 1))))
        emit_fail(k->e, n, "its keys are neither panels nor rows along `%s`", a->head_axis);
    else if (!values || (a->width > 1 && (!stride_is_const(values->stride, &step) || step != 1)))
        emit_fail(k->e, n, "its values do not lie side by side along `%s`", a->value_axis);
    return !k->e->failed;
}

/* The tile, and how many of its rows a task has. */
static void find_tile(Attend *a)
{
    const Target *target = a->k->e->target;
    a->in_lanes = attend_fits_lanes(a);
    a->in_place = attend_keys_in_place(a);
    const bool many = target->registers >= 32;
    a->few = !many ? 3 : a->in_lanes && a->lanes > 8 ? 3 * a->lanes / 8 : 4;
    a->rows = a->in_lanes ? LANE_VECTORS * a->lanes : many ? 8 : 6;
    a->vectors = many ? 2 : 4;
    a->keys_at_once = target->sums / LANE_VECTORS;
    while (!a->key_rows && KEY_PANEL % a->keys_at_once)
        a->keys_at_once--;
    a->group = (int64_t)attend_group(a, false) * a->lanes;
    int64_t near = target_speed(target)->l2 / 4, rows = (near < SUMS_BYTES ? SUMS_BYTES : near) / 4 / a->padded;
    rows = rows < 4 * a->rows ? 4 * a->rows : rows > ATTEND_TASK ? ATTEND_TASK : rows;
    a->most_rows = (int)((rows + a->rows - 1) / a->rows * a->rows);
}

static bool prepare(Attend *a)
{
    Kernel *k = a->k;
    const Node *n = k->node;
    const Type *v = n->inputs[2]->type;
    const Attr *over = node_attr(n, ATTR_over);
    a->key_axis = attr_name(n, ATTR_keys);
    a->head_axis = over->names.items[0];
    const Type *result = infer_result(k->e->cx, n, 0);
    a->value_axis = result->axis[result->rank - 1].name;
    a->lanes = k->e->target->lanes;
    if (over->names.count != 1)
        emit_fail(k->e, n, "it has more than one head axis");
    if (!need_const(a, n->inputs[0]->type, a->head_axis, &a->head) || !need_const(a, v, a->value_axis, &a->width) ||
        k->e->failed)
        return false;
    a->padded = (a->width + a->lanes - 1) / a->lanes * a->lanes;
    a->block = a->head + a->width <= 128 ? 512 : a->head + a->width <= 256 ? 256 : 128;
    a->score_step = a->block + 16;
    for (size_t i = 0; i < sizeof own_words / sizeof *own_words; i++)
        scope_name(&k->names, own_words[i]);
    if (!read_operands(a))
        return false;
    find_axes(a);
    a->positions = kernel_size(k, n->inputs[1]->type->axis[type_find(n->inputs[1]->type, a->key_axis)].size);
    if (!attend_read_second(a))
        return false;
    attend_split_mask(a);
    find_tile(a);
    a->asks_next = a->key_rows && !a->second.choice && a->n_batch > 0;
    a->ranged = a->mask.bounds.count || a->mask.tests.count;
    a->checks = a->ranged || a->marks;
    const struct {
        const char *name, **to;
    } words[] = {
        {"scores", &a->scores},           {"scores_row", &a->scores_row},
        {"scores_some", &a->scores_some},
        {"values", &a->values},           {"values_row", &a->values_row},
        {"values_rest", &a->values_rest}, {"values_row_rest", &a->values_row_rest},
        {"softmax", &a->softmax},         {"values_careful", &a->values_careful},
        {"rows", &a->rows_struct},        {"ends", &a->ends_struct},
        {"find_ends", &a->find_ends},     {"class", &a->class},
        {"pick", &a->second.pick},        {"blend", &a->second.blend},
        {"turn", &a->turn},               {"pack_keys", &a->pack_keys},
        {"pack_values", &a->pack_values}, {"read_rows", &a->read_rows},
        {"few_rows", &a->few_rows},       {"tile", &a->tile},
        {"log_sums", &a->log_sums},       {"ask", &a->ask},
        {"ask_next", &a->ask_next},       {"weigh", &a->weigh},
        {"read_tile", &a->read_tile},     {"finite", &a->finite},
        {"range", &a->range_struct},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        *words[i].to = scope_name(&k->e->file, arena_print(k->e->cx->arena, "%s_%s", k->function, words[i].name));
    attend_prepare_class(a);
    return true;
}

/* ---- the kernel ------------------------------------------------------------------------------------------------- */

bool attend_mentions_row(const Attend *a, const char *text)
{
    bool any = false;
    for (int i = 0; i < a->n_rows; i++)
        any |= mentions(text, a->row[i].var);
    return any;
}

void attend_row_indices(Attend *a, const char *text)
{
    Kernel *k = a->k;
    const char *above = "first + row";
    Text line = text_new(k->e->cx->arena);
    if (a->n_rows > 1 && attend_mentions_row(a, text)) {
        text_add(&line, ", index = first + row");
        above = "index";
    }
    for (int i = a->n_rows - 1; i >= 0; i--) {
        const char *size = kernel_factor(k, a->row[i].size), *var = a->row[i].var;
        if (mentions(text, var))
            text_add(&line, i ? ", %s = %s %% %s" : ", %s = %s", var, above, size);
        above = arena_print(k->e->cx->arena, "%s / %s", above, size);
    }
    if (line.length)
        put_line(k, "const ptrdiff_t%s;", line.data + 1);
}

Text body_begin(Kernel *k)
{
    Text main = k->body;
    k->body = text_new(k->e->cx->arena);
    return main;
}

const char *body_end(Kernel *k, Text main)
{
    const char *body = k->body.data;
    k->body = main;
    return body ? body : "";
}

void attend_open_tiles(Attend *a, const char *text, int rows)
{
    Kernel *k = a->k;
    const char *ends = a->in_lanes ? "int " : "ptrdiff_t ";
    const struct {
        const char *name, *type, *from, *step;
    } own[] = {
        {"begin", ends, "begins", ""},
        {"end", ends, "limits", ""},
        {"most", "float ", "tops", ""},
        {"total", "float ", "totals", ""},
        {"tile", arena_print(k->e->cx->arena, "struct %s ", a->rows_struct), "tile_rows",
         arena_print(k->e->cx->arena, " / %d", a->rows)},
    };
    put_open(k, "for (ptrdiff_t at = 0; at < task_count; at += %d)", rows);
    Text sizes = text_new(k->e->cx->arena), line = text_new(k->e->cx->arena);
    if (mentions(text, "first"))
        text_add(&sizes, ", first = task_first + at");
    if (mentions(text, "left"))
        text_add(&sizes, ", left = task_count - at");
    if (mentions(text, "count"))
        text_add(&sizes, ", count = lesser(task_count - at, %d)", rows);
    if (sizes.length)
        put_line(k, "const ptrdiff_t%s;", sizes.data + 1);
    const char *type = "";
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (!mentions(text, own[i].name) || (!a->row_leaves && !strcmp(own[i].name, "tile")))
            continue;
        if (strcmp(type, own[i].type)) /* those of one type in one line */
            text_add(&line, "%s%s*", *type ? ";\n" : "", own[i].type);
        else
            text_add(&line, ", *");
        type = own[i].type;
        text_add(&line, "%s = %s + at%s", own[i].name, own[i].from, own[i].step);
    }
    for (const char *at = line.data, *end; at; at = end ? end + 1 : NULL) {
        end = strchr(at, '\n');
        put_line(k, "%.*s%s", end ? (int)(end - at) : (int)strlen(at), at, end ? "" : ";");
    }
}

const char *attend_row_address(Attend *a, const Access *x)
{
    const char *names[2 * MAX_RANK], *vars[2 * MAX_RANK];
    int n = 0;
    for (int i = 0; i < a->n_batch; i++, n++) {
        names[n] = a->batch[i].name;
        vars[n] = a->batch[i].var;
    }
    for (int i = 0; i < a->n_rows; i++, n++) {
        names[n] = a->row[i].name;
        vars[n] = a->row[i].var;
    }
    return kernel_address(a->k, x, n, names, vars);
}

/* How many of the batch axes and the first row axis are the model's rows, which may be shared out; 0: they are not. */
static int shared_axes(Attend *a)
{
    Axis axes[MAX_RANK];
    int n = a->k->e->rows.n;
    if (!a->n_rows || n < 1 || n - 1 > a->n_batch)
        return 0;
    for (int i = 0; i < n; i++) {
        const AttendAxis *axis = i < n - 1 ? &a->batch[i] : &a->row[0];
        axes[i] = (Axis){.name = axis->name, .size = axis->size};
    }
    return kernel_rows(a->k, axes, n) ? n : 0;
}

static const char *product_of(Attend *a, const AttendAxis *axes, int from, int to)
{
    Text t = text_new(a->k->e->cx->arena);
    for (int i = from; i < to; i++)
        text_add(&t, "%s%s", i > from ? " * " : "", to - from > 1 ? kernel_factor(a->k, axes[i].size) : kernel_size(a->k, axes[i].size));
    return t.length ? t.data : "1";
}

void attend_put_indices(Attend *a, const AttendAxis *axes, int from, int to, const char *at, const char *text)
{
    for (int i = to - 1; i >= from; i--) {
        const char *size = kernel_factor(a->k, axes[i].size);
        if (!text || mentions(text, axes[i].var))
            put_line(a->k, i > from ? "const ptrdiff_t %s = %s %% %s;" : "const ptrdiff_t %s = %s;", axes[i].var, at, size);
        at = arena_print(a->k->e->cx->arena, "%s / %s", at, size);
    }
}

/* Number of rows of a task's batch, and the loop over this thread's tasks with the batch's indices. Rows of a task, `part`: as many as
 * there may be if that leaves a task for each part of the kernel, and about equally many in each. */
static void emit_tasks(Attend *a)
{
    Kernel *k = a->k;
    Context *cx = k->e->cx;
    int shared = shared_axes(a), outer = shared ? shared - 1 : 0;       /* batch axes of the loop around the tasks */
    const char *heads = a->n_batch > outer ? arena_print(cx->arena, "%s * ", product_of(a, a->batch, outer, a->n_batch)) : "";
    const char *inner = a->n_rows > 1 ? arena_print(cx->arena, " * %s", a->n_rows > 2 ? product_of(a, a->row, 1, a->n_rows) : kernel_factor(k, a->row[1].size)) : "";
    const char *all = shared ? arena_print(cx->arena, "(to_row - from_row)%s", inner) : "rows";
    put_line(k, "const ptrdiff_t keys = %s, rows = %s;", a->positions, product_of(a, a->row, 0, a->n_rows));
    put_line(k, "const ptrdiff_t most_rows = threads > 1 ? lesser(larger(%s%s / threads, %d), %d) : %d;", heads, all, ATTEND_LEAST,
             a->most_rows, a->most_rows);
    put_line(k, "const ptrdiff_t %s = %s, value_step = %s;", a->key_rows ? "key_step" : "panel_step",
             kernel_stride(k, access_axis(&a->keys, a->key_axis)->stride),
             kernel_stride(k, access_axis(&a->v, a->key_axis)->stride));
    attend_put_far(a, arena_print(cx->arena, "%s%s", heads, shared ? "(to_row - from_row)" : "keys"));
    if (a->second.choice)
        put_line(k, "const ptrdiff_t step2 = %s;",
                 kernel_stride(k, access_axis(&a->second.keys, a->key_axis)->stride));
    attend_emit_ends_before(a);
    if (shared) {
        const char *size = kernel_factor(k, a->row[0].size);
        put_line(k, "ptrdiff_t task = thread; /* goes on counting through the batch */");
        put_line(k, "for (ptrdiff_t entry = from_row / larger(%s, 1); entry * %s < to_row; entry++) {", size, size);
        k->indent++;
        put_line(k, "const ptrdiff_t row_from = larger(from_row - entry * %s, 0)%s;", size, inner);
        put_line(k, "const ptrdiff_t row_to = lesser(to_row - entry * %s, %s)%s;", size, kernel_size(k, a->row[0].size), inner);
        attend_put_indices(a, a->batch, 0, outer, "entry", NULL);
    } else {
        put_line(k, "const ptrdiff_t row_from = 0, row_to = rows;");
        put_line(k, "ptrdiff_t task = thread;");
    }
    put_line(k, "const ptrdiff_t blocks = (row_to - row_from + most_rows - 1) / most_rows;");
    put_line(k, "const ptrdiff_t part = ((row_to - row_from + blocks - 1) / larger(blocks, 1) + %d) / %d * %d;", a->rows - 1, a->rows, a->rows);
    put_line(k, "const ptrdiff_t batches = %s;", product_of(a, a->batch, outer, a->n_batch));
    put_line(k, "for (; task < batches * blocks; task += threads) {");
    k->indent++;
    a->entry_loop = shared > 0;
    attend_put_indices(a, a->batch, outer, a->n_batch, "task % batches", NULL);
    put_line(k, "const ptrdiff_t task_first = row_from + task / batches * part, task_count = lesser(row_to - task_first, part);");
    put_line(k, "const float *%s = %s;", a->key_rows ? "key_rows" : "panels", attend_row_address(a, &a->keys));
    if (a->second.choice)
        put_line(k, "const float *keys2 = %s;", attend_row_address(a, &a->second.keys));
    put_line(k, "const float *value_rows = %s;", attend_row_address(a, &a->v));
    attend_put_next(a, outer);
    attend_put_lane_rows(a);
    attend_put_copies(a);
    attend_emit_ends(a);
}

static uint64_t whole_lines(uint64_t floats)
{
    return (floats + 15) / 16 * 16;
}

/* "float *NAME = scratch + .."; `at` moves behind it. */
static void put_scratch(Attend *a, const char *name, uint64_t floats, uint64_t *at, const char *what)
{
    const char *plus = *at ? arena_print(a->k->e->cx->arena, " + %llu", (unsigned long long)*at) : "";
    put_line(a->k, "float *%s = scratch%s; /* %s */", name, plus, what);
    *at += whole_lines(floats);
}

/* What a tile and a block keep; few rows find room in it too. */
static void put_lane_scratch(Attend *a, uint64_t *at)
{
    Arena *arena = a->k->e->cx->arena;
    const long long head = a->head, padded = a->padded, block = a->block;
    put_scratch(a, "query", (uint64_t)(head * a->rows), at, arena_print(arena, "[%lld][%d], a tile's rows of q, scaled", head, a->rows));
    put_scratch(a, "score", (uint64_t)((block + a->keys_at_once) * a->rows), at,
                arena_print(arena, "[%lld][%d], of a tile, later the weights", block, a->rows));
    put_scratch(a, "spare", (uint64_t)padded, at, "for rows that a tile lacks");
    if (a->in_place >= a->block)
        return;
    if (a->key_rows)
        put_scratch(a, "key_copies", (uint64_t)(block * head), at, arena_print(arena, "[%lld][%lld], the keys of a block", block, head));
    put_scratch(a, "value_copies", (uint64_t)(block * padded), at, arena_print(arena, "[%lld][%lld], its values", block, padded));
}

static void put_panel_scratch(Attend *a, uint64_t *at)
{
    Arena *arena = a->k->e->cx->arena;
    long long head = a->head, group = a->group, panels = a->block / KEY_PANEL, groups = (a->padded + group - 1) / group;
    uint64_t score = (uint64_t)a->rows * (uint64_t)a->score_step, query = (uint64_t)a->rows * (uint64_t)head;
    uint64_t keys = (uint64_t)a->block * (uint64_t)head;
    bool second = a->second.choice != NULL;
    put_scratch(a, "query", query, at, arena_print(arena, "[%d][%lld], a tile's rows of q, scaled", a->rows, head));
    put_scratch(a, "score", score, at, arena_print(arena, "[%d][%d], of a tile, later the weights", a->rows, a->score_step));
    if (second) {
        put_scratch(a, "query2", query, at, "of the second product");
        put_scratch(a, "other", score, at, "its scores of a panel, where both are computed");
    }
    if (a->key_rows)
        put_scratch(a, "key_panels", keys, at, arena_print(arena, "[%lld][%lld][%d], the keys of a block", panels, head, KEY_PANEL));
    if (second && a->second.key_rows)
        put_scratch(a, "key_panels2", keys, at, "of the second product");
    put_scratch(a, "value_panels", (uint64_t)groups * (uint64_t)a->block * (uint64_t)group, at,
                arena_print(arena, "[%lld][%d][%lld], the values of a block", groups, a->block, group));
}

static void emit_scratch(Attend *a)
{
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    uint64_t at = 0;
    Text main = body_begin(k);
    a->in_lanes ? put_lane_scratch(a, &at) : put_panel_scratch(a, &at);
    put_scratch(a, "sums", (uint64_t)a->most_rows * (uint64_t)a->padded, &at,
                arena_print(arena, "[%d][%lld], a task's weighted sums", a->most_rows, (long long)a->padded));
    attend_emit_ends_memory(a, arena_print(arena, "scratch + %llu", (unsigned long long)at));
    const char *lines = body_end(k, main);
    kernel_scratch(k, 4 * at);
    text_put(&k->body, lines, strlen(lines));
}

static void emit_comment(Attend *a)
{
    const Node *n = a->k->node;
    Text *t = &a->k->comment;
    Text q = text_new(t->arena), k = text_new(t->arena), v = text_new(t->arena), out = text_new(t->arena),
         body = text_new(t->arena);
    const char *result = a->gives_out ? a->out.name : "nothing";
    type_print(n->inputs[0]->type, &q);
    type_print(n->inputs[1]->type, &k);
    type_print(n->inputs[2]->type, &v);
    type_print(infer_result(a->k->e->cx, n, 0), &out);
    expression_print(n->body, 0, &body);
    double scale = attr_float(n, ATTR_scale, 1);
    text_add(t, "%s = softmax over %s of (%s) * %s\n", result, a->key_axis, body.data, a->v.name);
    if (a->gives_lse)
        text_add(t, "%s = log(sum(exp(%s)))\n", a->lse.name, body.data);
    text_add(t, "s = ");
    if (scale != 1) {
        text_float(t, (float)scale);
        text_add(t, " * ");
    }
    text_add(t, "dot of %s and %s over %s\n", a->q.name, a->keys.name, a->head_axis);
    if (a->second.choice)
        text_add(t, "s2 the same of %s and %s; a tile computes the one it takes, both only in between\n",
                 a->second.q.name, a->second.keys.name);
    text_add(t, "%s: %s   %s: %s%s\n", a->q.name, q.data, a->keys.name, k.data,
             a->key_rows ? "" : arena_print(t->arena, " in panels of %d", KEY_PANEL));
    text_add(t, "%s: %s   %s: %s\n", a->v.name, v.data, result, out.data);
    text_add(t, "A task: up to %d rows in tiles of %d. Keys in blocks of %d, the softmax, to base 2, rescaled in between.\n",
             a->most_rows, a->rows, a->block);
}

void emit_attend(Kernel *k)
{
    Attend a = {.k = k};
    if (!prepare(&a))
        return;
    math_use(k->e, MATH_LARGER);
    emit_comment(&a);
    attend_emit_pack(&a);
    attend_emit_ask_next(&a);
    attend_emit_tiles(&a);
    attend_emit_class(&a);
    attend_emit_second(&a);
    attend_emit_tile(&a);
    attend_emit_log_sums(&a);
    k->indent = 1;
    kernel_threads(k);
    emit_scratch(&a);
    emit_tasks(&a);
    attend_emit_ranges(&a);
    attend_emit_blocks(&a);
    put_close(k);
    if (a.entry_loop) {
        put_line(k, "task -= batches * blocks;");
        put_close(k);
    }
}
