/* attend: softmax(body(scale * q . k)) . v without ever holding all scores.
 *
 * A task is a tile of rows (query positions and grouped heads) of one combination of batch axes; tasks are independent,
 * so any number of threads gives the same bits. Keys come in blocks of ATTEND_BLOCK:
 *
 *     scores     tile of q times panels of keys, kept for the block
 *     softmax    body, masks, largest score so far, weights 2^(score - largest), by rows
 *     values     out = out * 2^(old largest - new) + weights * v
 *
 * Each row reads a range of keys that follows from its mask (attend_mask.c): panels outside the tile's ranges are not
 * touched, inside there is no comparison. A row with no key at all is 0. What the last tile lacks in rows is zeros in
 * scratch; a few rows (decoding) go one by one. */
#include "codegen/attend_inside.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- what the kernel works on ------------------------------------------------------------------------------------ */

/* Words that the functions below use for themselves. */
static const char *const own_words[] = {
    "task",  "rows",  "blocks",     "first",     "count",   "panels",    "panel_step", "value_rows", "value_step",
    "query", "score", "out",        "open",      "begin",   "end",       "low",        "high",       "most",
    "total", "row",   "index",      "query_row", "out_row", "from",      "to",         "part",       "t",
    "t0",    "t1",    "open_begin", "open_end",  "holes",   "first_key", "last_key",   "shrink",     "i",
    "w",     "at",    "x",          "top",       "none",    "sum",       "weight",     "before",     "here",
    "now",   "base",  "keys",       "key",       "is",      "least",     "past_last",  "kept",
    "key_rows", "key_step",
};

/* One level deeper: what stands under an `if` or `for` without braces. */
static void put_inner(Kernel *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put_inner(Kernel *k, const char *format, ...)
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
    if (!kernel_result(k, n, &a->out))
        return false;
    a->key_rows = !a->keys.panels;
    int64_t step;
    const AccessAxis *values = access_axis(&a->v, a->value_axis), *heads = access_axis(&a->keys, a->head_axis);
    bool floats = a->q.dtype == DT_F32 && a->keys.dtype == DT_F32 && a->v.dtype == DT_F32 && a->out.dtype == DT_F32;
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

static bool prepare(Attend *a)
{
    Kernel *k = a->k;
    const Node *n = k->node;
    const Type *v = n->inputs[2]->type;
    const Attr *over = node_attr(n, ATTR_over);
    a->key_axis = attr_name(n, ATTR_keys);
    a->head_axis = over->names.items[0];
    a->value_axis = n->type->axis[n->type->rank - 1].name;
    a->lanes = k->e->target->lanes;
    a->rows = k->e->target->registers >= 32 ? 8 : 6;
    a->few = a->rows / 2;
    if (over->names.count != 1)
        emit_fail(k->e, n, "it has more than one head axis");
    if (!need_const(a, n->inputs[0]->type, a->head_axis, &a->head) || !need_const(a, v, a->value_axis, &a->width) ||
        k->e->failed)
        return false;
    a->padded = (a->width + a->lanes - 1) / a->lanes * a->lanes;
    for (size_t i = 0; i < sizeof own_words / sizeof *own_words; i++)
        scope_name(&k->names, own_words[i]);
    if (!read_operands(a))
        return false;
    find_axes(a);
    a->positions = kernel_size(k, n->inputs[1]->type->axis[type_find(n->inputs[1]->type, a->key_axis)].size);
    attend_split_mask(a);
    const char *const names[] = {"scores",          "scores_row",     "values", "values_row", "values_rest",
                                 "values_row_rest", "values_careful", "open",   "softmax"};
    const char **functions[] = {&a->scores,          &a->scores_row,     &a->values, &a->values_row, &a->values_rest,
                                &a->values_row_rest, &a->values_careful, &a->open,   &a->softmax};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        *functions[i] = scope_name(&k->e->file, arena_print(k->e->cx->arena, "%s_%s", k->function, names[i]));
    return true;
}

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

static bool mentions_row(const Attend *a, const char *text)
{
    bool any = false;
    for (int i = 0; i < a->n_rows; i++)
        any |= mentions(text, a->row[i].var);
    return any;
}

/* Those indices of the row's axes that `text` mentions; `row` counts in the tile. */
static void emit_row_indices(Attend *a, const char *text)
{
    Kernel *k = a->k;
    const char *above = "first + row";
    if (a->n_rows > 1 && mentions_row(a, text)) {
        put_line(k, "const ptrdiff_t index = first + row;");
        above = "index";
    }
    for (int i = a->n_rows - 1; i >= 0; i--) {
        const char *size = kernel_factor(k, a->row[i].size), *var = a->row[i].var;
        if (mentions(text, var))
            put_line(k, i ? "const ptrdiff_t %s = %s %% %s;" : "const ptrdiff_t %s = %s;", var, above, size);
        above = arena_print(k->e->cx->arena, "%s / %s", above, size);
    }
}

static const char *address_of(Attend *a, const Access *x)
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

/* The tile's rows of q, scaled, in scratch; each row's range of keys. */
static void emit_rows(Attend *a)
{
    Kernel *k = a->k;
    long long head = a->head;
    int64_t step = 0;
    const AccessAxis *axis = access_axis(&a->q, a->head_axis);
    stride_is_const(axis->stride, &step);
    const char *at = step == 1 ? "i" : arena_print(k->e->cx->arena, "i * %s", kernel_stride(k, axis->stride));
    double scale = attr_float(k->node, ATTR_scale, 1) * (a->plain ? M_LOG2E : 1);
    put_open(k, "for (int row = 0; row < %d; row++)", a->rows);
    put_line(k, "float *query_row = query + row * %lld, *out_row = out + row * %lld;", head, (long long)a->padded);
    put_line(k, "begin[row] = end[row] = 0;");
    put_line(k, "most[row] = -__builtin_inff();");
    put_line(k, "total[row] = 0.0f;");
    put_line(k, "for (int i = 0; i < %lld; i++)", (long long)a->padded);
    put_inner(k, "out_row[i] = 0.0f;");
    put_open(k, "if (row >= count)");
    put_line(k, "for (int i = 0; i < %lld; i++)", head);
    put_inner(k, "query_row[i] = 0.0f;");
    put_line(k, "continue;");
    put_close(k);
    Text before = k->body;
    k->body = text_new(k->e->cx->arena);
    put_line(k, "const float *from = %s;", address_of(a, &a->q));
    put_line(k, "for (int i = 0; i < %lld; i++)", head);
    put_inner(k, "query_row[i] = from[%s]%s;", at,
              scale == 1 ? "" : arena_print(k->e->cx->arena, " * %s", float_literal(k->e->cx, scale)));
    put_line(k, "end[row] = keys;");
    attend_emit_bounds(a);
    Text after = k->body;
    k->body = before;
    emit_row_indices(a, after.data);
    text_put(&k->body, after.data, after.length);
    put_open(k, "if (begin[row] < end[row])");
    put_line(k, "low = lesser(low, begin[row]);");
    put_line(k, "high = larger(high, end[row]);");
    put_close(k);
    put_close(k);
}

/* The ranges of the rows inside this block. */
static void emit_block_ranges(Attend *a)
{
    Kernel *k = a->k;
    bool keys = a->mask.keys.count > 0;
    put_line(k, "ptrdiff_t from[%d], to[%d], first_key = t1, last_key = t0;", a->rows, a->rows);
    put_open(k, "for (int row = 0; row < %d; row++)", a->rows);
    put_line(k, "from[row] = larger(begin[row], %s);", keys ? "larger(t0, open_begin)" : "t0");
    put_line(k, "to[row] = lesser(end[row], %s);", keys ? "lesser(t1, open_end)" : "t1");
    put_open(k, "if (from[row] >= to[row])");
    put_line(k, "from[row] = to[row] = t0;");
    put_line(k, "continue;");
    put_close(k);
    put_line(k, "first_key = lesser(first_key, from[row]);");
    put_line(k, "last_key = larger(last_key, to[row]);");
    put_close(k);
    put_line(k, "if (first_key >= last_key)");
    put_inner(k, "continue;");
}

static void emit_softmax_call(Attend *a, const char *arguments, const char *low, const char *high)
{
    Kernel *k = a->k;
    emit_row_indices(a, arguments);
    put_line(k, "shrink[row] = %s(score + row * %d, most + row, total + row, t0, from[row], to[row], %s, %s%s%s);",
             a->softmax, ATTEND_STEP, low, high, a->mask.keys.count ? ", open, holes" : "", arguments);
}

static void emit_values_row_call(Attend *a, const char *function, const char *plus)
{
    put_line(a->k,
             "%s(score + row * %d + (from[row] - t0), value_rows + from[row] * value_step%s, value_step, "
             "to[row] - from[row], shrink[row], out + row * %lld%s);",
             function, ATTEND_STEP, plus, (long long)a->padded, plus);
}

static void emit_values_row_calls(Attend *a)
{
    Kernel *k = a->k;
    long long group = (long long)attend_group(a, true) * a->lanes, rest = attend_rest(a, true);
    if (rest > group) {
        put_open(k, "for (int w = 0; w < %lld; w += %lld)", rest, group);
        emit_values_row_call(a, a->values_row, " + w");
        put_close(k);
    } else if (rest > 0) {
        emit_values_row_call(a, a->values_row, "");
    }
    if (rest < a->width)
        emit_values_row_call(a, a->values_row_rest, rest ? arena_print(k->e->cx->arena, " + %lld", rest) : "");
}

/* Few rows, as in decoding: a tile would be mostly empty, so they go one by one. */
static void emit_few(Attend *a, const char *softmax)
{
    Kernel *k = a->k;
    int panels = ATTEND_ROW_VECTORS * a->lanes / KEY_PANEL;
    put_open(k, "for (int row = 0; row < count; row++)");
    if (a->key_rows) {
        put_line(k,
                 "%s(query + row * %lld, key_rows + from[row] * key_step, key_step, to[row] - from[row], "
                 "score + row * %d + (from[row] - t0));",
                 a->scores_row, (long long)a->head, ATTEND_STEP);
    } else {
        put_line(k, "for (ptrdiff_t t = from[row] / %d * %d; t < to[row]; t += %d)", KEY_PANEL, KEY_PANEL,
                 panels * KEY_PANEL);
        put_inner(k,
                  "%s(query + row * %lld, panels + t / %d * panel_step, panel_step, (to[row] - t + %d) / %d, "
                  "score + row * %d + (t - t0));",
                  a->scores_row, (long long)a->head, KEY_PANEL, KEY_PANEL - 1, KEY_PANEL, ATTEND_STEP);
    }
    emit_softmax_call(a, softmax, "from[row]", "to[row]");
    emit_values_row_calls(a);
    put_close(k);
    put_line(k, "continue;");
}

/* One column group of the tile; row by row if a value that must not be read is not finite. */
static void emit_values_call(Attend *a, const char *function, const char *plus, long long columns)
{
    Kernel *k = a->k;
    put_line(k,
             "if (!%s(score + (first_key - t0), value_rows + first_key * value_step%s, value_step, "
             "last_key - first_key, shrink, out%s))",
             function, plus, plus);
    put_inner(k, "%s(score, value_rows%s, value_step, t0, from, to, shrink, out%s, %lld);", a->values_careful, plus,
              plus, columns);
}

static void emit_values_calls(Attend *a)
{
    Kernel *k = a->k;
    long long group = (long long)attend_group(a, false) * a->lanes, rest = attend_rest(a, false);
    if (rest > group) {
        put_open(k, "for (int w = 0; w < %lld; w += %lld)", rest, group);
        emit_values_call(a, a->values, " + w", group);
        put_close(k);
    } else if (rest > 0) {
        emit_values_call(a, a->values, "", group);
    }
    if (rest < a->width)
        emit_values_call(a, a->values_rest, rest ? arena_print(k->e->cx->arena, " + %lld", rest) : "", a->width - rest);
}

static void emit_block(Attend *a, const char *open, const char *softmax)
{
    Kernel *k = a->k;
    put_line(k, "const ptrdiff_t t1 = lesser(t0 + %d, high);", ATTEND_BLOCK);
    if (a->mask.keys.count) {
        put_line(k, "ptrdiff_t open_begin, open_end;");
        put_line(k, "const int holes = %s(open, t0, t1, &open_begin, &open_end%s);", a->open, open);
    }
    emit_block_ranges(a);
    put_line(k, "float shrink[%d];", a->rows);
    put_open(k, "if (count <= %d)", a->few);
    emit_few(a, softmax);
    put_close(k);
    if (a->key_rows) {
        put_line(k, "%s(query, key_rows + first_key * key_step, key_step, last_key - first_key,", a->scores);
        put_line(k, "    score + (first_key - t0));");
    } else {
        put_line(k, "for (ptrdiff_t t = first_key / %d * %d; t < last_key; t += %d)", KEY_PANEL, KEY_PANEL, KEY_PANEL);
        put_inner(k, "%s(query, panels + t / %d * panel_step, score + (t - t0));", a->scores, KEY_PANEL);
    }
    bool indices = mentions_row(a, softmax);
    if (indices)
        put_open(k, "for (int row = 0; row < %d; row++)", a->rows);
    else
        put_line(k, "for (int row = 0; row < %d; row++)", a->rows);
    k->indent += !indices;
    emit_softmax_call(a, softmax, "first_key", "last_key");
    k->indent -= !indices;
    if (indices)
        put_close(k);
    emit_values_calls(a);
}

static void emit_store(Attend *a)
{
    Kernel *k = a->k;
    put_open(k, "for (int row = 0; row < count; row++)");
    emit_row_indices(a, address_of(a, &a->out));
    put_line(k, "const float part = total[row] > 0.0f ? 1.0f / total[row] : total[row]; /* 0: no key; NaN stays */");
    put_line(k, "float *to = %s;", address_of(a, &a->out));
    put_line(k, "for (int i = 0; i < %lld; i++)", (long long)a->width);
    put_inner(k, "to[i] = out[row * %lld + i] * part;", (long long)a->padded);
    put_close(k);
}

/* Number of rows of a task's batch, and the loop over this thread's tasks with the batch's indices. */
static void emit_tasks(Attend *a)
{
    Kernel *k = a->k;
    Context *cx = k->e->cx;
    Text rows = text_new(cx->arena), tasks = text_new(cx->arena);
    for (int i = 0; i < a->n_rows; i++)
        text_add(&rows, "%s%s", i ? " * " : "",
                 a->n_rows > 1 ? kernel_factor(k, a->row[i].size) : kernel_size(k, a->row[i].size));
    for (int i = 0; i < a->n_batch; i++)
        text_add(&tasks, "%s * ", kernel_factor(k, a->batch[i].size));
    put_line(k, "const ptrdiff_t keys = %s, rows = %s, blocks = (rows + %d) / %d;", a->positions,
             a->n_rows ? rows.data : "1", a->rows - 1, a->rows);
    put_line(k, "const ptrdiff_t %s = %s, value_step = %s;", a->key_rows ? "key_step" : "panel_step",
             kernel_stride(k, access_axis(&a->keys, a->key_axis)->stride),
             kernel_stride(k, access_axis(&a->v, a->key_axis)->stride));
    put_line(k, "for (ptrdiff_t task = thread; task < %sblocks; task += threads) {", a->n_batch ? tasks.data : "");
    k->indent++;
    const char *above = "task / blocks";
    for (int i = a->n_batch - 1; i >= 0; i--) {
        const char *size = kernel_factor(k, a->batch[i].size);
        put_line(k, i ? "const ptrdiff_t %s = %s %% %s;" : "const ptrdiff_t %s = %s;", a->batch[i].var, above, size);
        above = arena_print(cx->arena, "%s / %s", above, size);
    }
    put_line(k, "const ptrdiff_t first = task %% blocks * %d, count = lesser(rows - first, %d);", a->rows, a->rows);
    put_line(k, "const float *%s = %s;", a->key_rows ? "key_rows" : "panels", address_of(a, &a->keys));
    put_line(k, "const float *value_rows = %s;", address_of(a, &a->v));
}

static void emit_scratch(Attend *a)
{
    Kernel *k = a->k;
    uint64_t head = ((uint64_t)a->head + 15) / 16 * 16, query = head * (uint64_t)a->rows,
             out = (uint64_t)a->padded * (uint64_t)a->rows;
    uint64_t score = (uint64_t)a->rows * ATTEND_STEP;
    out = (out + 15) / 16 * 16;
    uint64_t open = a->mask.keys.count ? ATTEND_STEP : 0;
    const char *scratch = kernel_scratch(k, 4 * (query + score + out + open));
    put_line(k, "float *query = %s; /* [%d][%lld], scaled */", scratch, a->rows, (long long)a->head);
    put_line(k, "float *score = query + %llu; /* [%d][%d], later the weights */", (unsigned long long)query, a->rows,
             ATTEND_STEP);
    put_line(k, "float *out = score + %llu; /* [%d][%lld], the weighted sums */", (unsigned long long)score, a->rows,
             (long long)a->padded);
    if (open)
        put_line(k, "int *open = (int *)(out + %llu); /* [%d], masks of the keys */", (unsigned long long)out,
                 ATTEND_BLOCK);
}

static void emit_comment(Attend *a)
{
    const Node *n = a->k->node;
    Text *t = &a->k->comment;
    Text q = text_new(t->arena), k = text_new(t->arena), v = text_new(t->arena), out = text_new(t->arena),
         body = text_new(t->arena);
    type_print(n->inputs[0]->type, &q);
    type_print(n->inputs[1]->type, &k);
    type_print(n->inputs[2]->type, &v);
    type_print(n->type, &out);
    expression_print(n->body, 0, &body);
    double scale = attr_float(n, ATTR_scale, 1);
    text_add(t, "%s = softmax over %s of (%s) * %s\n", a->out.name, a->key_axis, body.data, a->v.name);
    text_add(t, "s = ");
    if (scale != 1) {
        text_float(t, (float)scale);
        text_add(t, " * ");
    }
    text_add(t, "dot of %s and %s over %s\n", a->q.name, a->keys.name, a->head_axis);
    const char *panels = a->key_rows ? "" : arena_print(t->arena, " in panels of %d", KEY_PANEL);
    text_add(t, "%s: %s   %s: %s%s\n", a->q.name, q.data, a->keys.name, k.data, panels);
    text_add(t, "%s: %s   %s: %s\n", a->v.name, v.data, a->out.name, out.data);
    text_add(t, "A task: %d rows. Keys in blocks of %d, the softmax rescaled in between; exponents to base 2.\n",
             a->rows, ATTEND_BLOCK);
}

void emit_attend(Kernel *k)
{
    Attend a = {.k = k};
    if (!prepare(&a))
        return;
    math_use(k->e, MATH_LARGER);
    emit_comment(&a);
    attend_emit_tiles(&a);
    const char *open = a.mask.keys.count ? attend_emit_open(&a) : "";
    const char *softmax = attend_emit_softmax(&a);
    k->indent = 1;
    kernel_threads(k);
    emit_scratch(&a);
    emit_tasks(&a);
    put_line(k,
             "ptrdiff_t begin[%d], end[%d], low = keys, high = 0; /* keys that each row reads; all of them together */",
             a.rows, a.rows);
    put_line(k, "float most[%d], total[%d];", a.rows, a.rows);
    emit_rows(&a);
    put_open(k, "for (ptrdiff_t t0 = low / %d * %d; t0 < high; t0 += %d)", KEY_PANEL, KEY_PANEL, ATTEND_BLOCK);
    emit_block(&a, open, softmax);
    put_close(k);
    emit_store(&a);
    put_close(k);
}
