/* codebook_attend: attention to keys that are replaced by their nearest code, in time that grows with the number of codes.
 *
 * A task is one combination of batch axes (a key head of a batch entry): it goes along the positions and holds count and
 * mean value of each code, in scratch or in the state that the node's cache keeps. Causal rows need their keys in order:
 *
 *     new keys    up to CODEBOOK_KEYS of them: key * codes, the nearest; codes and values into the window
 *     rows        tiles of rows at those positions: query * codes (and * recent keys that are read exactly), one softmax
 *                 over codes that occur and the window, weights * means + weights * values
 *     take in     keys that leave the window become part of count and mean
 *
 * Where no key has a bias or is read exactly, the window is the new keys alone, and the state count and mean. Else it is
 * the block of the row's position and the one before, as a ring of two blocks by position.
 * Without `causal` all keys are taken in first. */
#include "codegen/codebook_inside.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* Words that the functions below use for themselves. */
static const char *const own_words[] = {
    "task",     "position", "last",   "first",     "start", "n",         "query",       "score",     "sums",  "half",
    "count",    "mean",     "window", "ring_keys", "code",  "values",    "row",         "rows",      "index", "from",
    "to",       "i",        "t",      "w",         "part",  "own",       "old",         "slot",      "here",  "other",
    "done",     "end",      "total",  "local",     "key",   "value",     "place",       "group",     "near",  "all",
    "state_of", "codes",    "kept",   "none",      "place", "first_key", "block_start", "here_slot",
};

/* ---- what the kernel works on ------------------------------------------------------------------------------------ */

static int64_t whole(const Codebook *c, int64_t n)
{
    int lanes = c->k->e->target->lanes;
    return (n + lanes - 1) / lanes * lanes;
}

static void find_axes(Codebook *c)
{
    const Node *n = c->k->node;
    const Type *q = n->inputs[0]->type, *k = n->inputs[1]->type;
    for (int i = 0; i < q->rank; i++) {
        const char *name = q->axis[i].name;
        if (name == c->head_axis || name == c->row_axis)
            continue;
        Text lower = text_new(c->k->e->cx->arena);
        for (const char *p = name; *p; p++)
            text_char(&lower, (char)tolower((unsigned char)*p));
        CodebookAxis axis = {name, scope_name(&c->k->names, lower.data), q->axis[i].size};
        if (type_find(k, name) >= 0)
            c->batch[c->n_batch++] = axis;
        else
            c->row[c->n_rows++] = axis;
    }
}

static bool reads_role(Codebook *c, const char *role, Access *out)
{
    const Node *n = role_of(c->k->node, role);
    return n && kernel_read(c->k, n, out);
}

static bool lies_packed(const Access *a, const char *axis, int64_t size)
{
    int64_t step;
    const AccessAxis *x = access_axis(a, axis);
    return x && (size == 1 || (stride_is_const(x->stride, &step) && step == 1));
}

static bool read_operands(Codebook *c)
{
    Kernel *k = c->k;
    const Node *n = k->node;
    if (!kernel_read(k, n->inputs[0], &c->q) || !kernel_read(k, n->inputs[1], &c->keys) ||
        !kernel_read(k, n->inputs[2], &c->v) || !reads_role(c, "codebook", &c->codes))
        return false;
    c->biased = reads_role(c, "bias", &c->bias);
    c->kept = reads_role(c, "keep", &c->keep);
    c->cached = attr_name(n, ATTR_cache) != NULL;
    if (k->e->failed || !kernel_result(k, n, &c->out) || (c->cached && !kernel_state(k, &c->state)))
        return false;
    if (role_of(n, "mask"))
        emit_fail(k->e, n, "its mask has not been taken apart");
    else if (!lies_packed(&c->keys, c->head_axis, c->head))
        emit_fail(k->e, n, "its keys do not lie side by side along `%s`", c->head_axis);
    else if (!lies_packed(&c->codes, c->code_axis, c->n_codes))
        emit_fail(k->e, n, "its codebook does not lie side by side along `%s`", c->code_axis);
    return !k->e->failed;
}

static int64_t size_of(const Node *n, const char *axis)
{
    return n->type->axis[type_find(n->type, axis)].size.base;
}

static void find_sizes(Codebook *c)
{
    const Node *n = c->k->node, *codes = role_of(n, "codebook"), *bias = role_of(n, "bias");
    const Type *k = n->inputs[1]->type, *v = n->inputs[2]->type;
    const char *recent = attr_name(n, ATTR_recent);
    c->head_axis = node_attr(n, ATTR_over)->names.items[0];
    c->key_axis = attr_name(n, ATTR_keys);
    c->row_axis = attr_name(n, ATTR_queries);
    c->code_axis = codes->type->axis[codes->type->rank - 2].name;
    c->distance_axis = bias ? bias->type->axis[bias->type->rank - 1].name : NULL;
    for (int i = 0; i < v->rank; i++)
        if (type_find(k, v->axis[i].name) < 0 || v->axis[i].name == c->head_axis)
            c->value_axis = v->axis[i].name;
    c->head = size_of(n->inputs[0], c->head_axis);
    c->width = size_of(n->inputs[2], c->value_axis);
    c->n_codes = attend_features(n);
    c->n_distances = bias ? size_of(bias, c->distance_axis) : 0;
    c->causal = attr_bool(n, ATTR_causal, false);
    c->exact = recent && !strcmp(recent, "keys");
    c->block = attend_recent(n);
    c->padded_codes = whole(c, c->n_codes);
    c->padded_width = whole(c, c->width);
    c->padded_window = !c->causal ? 0 : whole(c, c->block ? c->block : CODEBOOK_KEYS);
    c->step = c->padded_codes + (c->block ? 2 : 1) * c->padded_window + 16;
    c->rows = CODEBOOK_KEYS;
}

static bool prepare(Codebook *c)
{
    Kernel *k = c->k;
    for (size_t i = 0; i < sizeof own_words / sizeof *own_words; i++)
        scope_name(&k->names, own_words[i]);
    find_sizes(c);
    if (!read_operands(c))
        return false;
    find_axes(c);
    Text group = text_new(k->e->cx->arena);
    for (int i = 0; i < c->n_rows; i++)
        text_add(&group, "%s%s", i ? " * " : "",
                 c->n_rows > 1 ? kernel_factor(k, c->row[i].size) : kernel_size(k, c->row[i].size));
    c->group = c->n_rows ? group.data : "1";
    c->heads = 1;
    for (int i = 0; i < c->n_rows && c->biased; i++) {
        if (!extent_is_const(c->row[i].size))
            emit_fail(k->e, k->node, "it has a bias, and the size of its axis `%s` is not a constant", c->row[i].name);
        c->heads *= c->row[i].size.base;
    }
    c->product = matrix_use(k->e);
    struct {
        const char *name, **to;
    } words[] = {{"norms", &c->norms},
                 {"nearest", &c->nearest},
                 {"take_in", &c->take_in},
                 {"weigh", &c->weigh},
                 {"own_keys", &c->own_keys}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        *words[i].to = scope_name(&k->e->file, arena_print(k->e->cx->arena, "%s_%s", k->function, words[i].name));
    return !k->e->failed;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

void codebook_inside(Kernel *k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    k->indent++;
    put_line(k, "%s", arena_vprint(k->e->cx->arena, format, args));
    k->indent--;
    va_end(args);
}

typedef struct Memory { /* of a thread: one part behind the other */
    Codebook *c;
    const char *last;
    uint64_t floats, before; /* so far; the last part's */
} Memory;

/* "float *name = last + size;" and what lies there. */
static void put_part(Memory *m, const char *name, uint64_t floats, const char *comment)
{
    Kernel *k = m->c->k;
    if (m->before)
        put_line(k, "float *%s = %s + %llu; /* %s */", name, m->last, (unsigned long long)m->before, comment);
    else
        put_line(k, "float *%s = %s; /* %s */", name, m->last, comment);
    m->last = name;
    m->before = (floats + 15) / 16 * 16;
    m->floats += m->before;
}

/* Names of the parts of a state, in its order; what stands behind the last is read, not used. */
static void put_state(Codebook *c, const char *at)
{
    Kernel *k = c->k;
    long long codes = c->n_codes, width = c->width, block = c->block;
    put_line(k, "float *count = %s; /* [%lld] */", at, codes);
    put_line(k, "float *mean = count + %lld; /* [%lld][%lld] */", codes, codes, width);
    if (c->block) {
        put_line(k, "float *code = mean + %lld; /* of the two blocks' keys, by position: [%lld] */", codes * width,
                 2 * block);
        if (c->exact)
            put_line(k, "float *ring_keys = code + %lld; /* [%lld][%lld] */", 2 * block, (long long)c->head, 2 * block);
        put_line(k, "float *values = %s + %lld; /* [%lld][%lld] */", c->exact ? "ring_keys" : "code",
                 c->exact ? c->head * 2 * block : 2 * block, 2 * block, width);
    }
}

static void emit_memory(Codebook *c)
{
    Kernel *k = c->k;
    Arena *a = k->e->cx->arena;
    Text before = k->body;
    k->body = text_new(a);
    uint64_t rows = (uint64_t)c->rows, pad = (uint64_t)k->e->target->lanes;
    Memory m = {.c = c, .last = "scratch"};
    put_part(&m, "query", rows * (uint64_t)c->head, arena_print(a, "[%d][%lld], scaled", c->rows, (long long)c->head));
    put_part(&m, "score", rows * (uint64_t)c->step + pad,
             arena_print(a, "[%d][%lld], later the weights", c->rows, (long long)c->step));
    put_part(&m, "sums", rows * (uint64_t)c->padded_width,
             arena_print(a, "[%d][%lld]", c->rows, (long long)c->padded_width));
    put_part(&m, "half", (uint64_t)c->padded_codes, arena_print(a, "[%lld], |code|^2 / 2", (long long)c->padded_codes));
    if (c->block && c->biased)
        put_part(&m, "near", (uint64_t)(2 * c->heads * c->block) + pad,
                 arena_print(a, "the bias backwards, for keys in their order: [%lld][%lld]", (long long)c->heads,
                             (long long)(2 * c->block)));
    if (c->padded_codes > c->n_codes)
        put_part(&m, "codes", (uint64_t)(c->head * c->padded_codes),
                 arena_print(a, "in whole vectors: [%lld][%lld]", (long long)c->head, (long long)c->padded_codes));
    if (!c->block) {
        put_part(&m, "code", CODEBOOK_KEYS, arena_print(a, "of new keys: [%d]", CODEBOOK_KEYS));
        put_part(&m, "values", CODEBOOK_KEYS * (uint64_t)c->width + pad,
                 arena_print(a, "[%d][%lld]", CODEBOOK_KEYS, (long long)c->width));
    }
    if (!c->cached)
        put_part(&m, "state_of", (uint64_t)attend_state(k->node) + pad,
                 "count and mean of each code, and what follows");
    Text text = k->body;
    k->body = before;
    kernel_scratch(k, 4 * m.floats);
    text_put(&k->body, text.data, text.length);
}

/* ---- addresses ------------------------------------------------------------------------------------------------------ */

/* With the batch's indices, those of the rows' axes, and one of the positions (`axis` NULL: none). */
const char *codebook_address_of(Codebook *c, const Access *x, const char *axis, const char *var)
{
    const char *names[2 * MAX_RANK + 1], *vars[2 * MAX_RANK + 1];
    int n = 0;
    for (int i = 0; i < c->n_batch; i++, n++) {
        names[n] = c->batch[i].name;
        vars[n] = c->batch[i].var;
    }
    for (int i = 0; i < c->n_rows; i++, n++) {
        names[n] = c->row[i].name;
        vars[n] = c->row[i].var;
    }
    names[n] = axis;
    vars[n] = var;
    return kernel_address(c->k, x, n + (axis != NULL), names, vars);
}

/* Variables of the rows' axes that `text` mentions, from the row's number at its position. */
void codebook_put_row_indices(Codebook *c, const char *number, const char *text)
{
    const char *above = number;
    for (int i = c->n_rows - 1; i >= 0; i--) {
        const char *size = kernel_factor(c->k, c->row[i].size);
        if (mentions(text, c->row[i].var))
            put_line(c->k, i ? "const ptrdiff_t %s = %s %% %s;" : "const ptrdiff_t %s = %s;", c->row[i].var, above,
                     size);
        above = arena_print(c->k->e->cx->arena, "%s / %s", above, size);
    }
}

const char *codebook_step_text(Codebook *c, const Access *x, const char *axis, const char *index)
{
    int64_t step;
    const AccessAxis *a = access_axis(x, axis);
    if (stride_is_const(a->stride, &step) && step == 1)
        return index;
    return arena_print(c->k->e->cx->arena, "%s * %s", index, kernel_stride(c->k, a->stride));
}

/* ---- new keys -------------------------------------------------------------------------------------------------------- */

static void emit_values_in(Codebook *c, const char *slot)
{
    Kernel *k = c->k;
    Arena *a = k->e->cx->arena;
    put_open(k, "for (ptrdiff_t t = 0; t < n; t++)");
    put_line(k, "const float *from = %s;", codebook_address_of(c, &c->v, c->key_axis, "first_key + t"));
    put_line(k, "float *to = values + (%s) * %lld;", slot, (long long)c->width);
    const char *taken = arena_print(a, "from[%s]", codebook_step_text(c, &c->v, c->value_axis, "w"));
    if (c->kept) {
        const char *at = c->block ? arena_print(a, "code[%s]", slot) : "code[t]";
        put_line(k, "const int kept = *(%s);", codebook_address_of(c, &c->keep, c->key_axis, "first_key + t"));
        put_line(k, "const float none = kept && %s < 0.0f ? __builtin_nanf(\"\") : 0.0f; /* a key that is no number */",
                 at);
        put_line(k, "%s = kept ? (%s < 0.0f ? 0.0f : %s) : -1.0f;", at, at, at);
        put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)c->width);
        codebook_inside(k, "to[w] = kept ? %s + none : 0.0f;", taken);
    } else {
        const char *at = c->block ? arena_print(a, "code[%s]", slot) : "code[t]";
        put_line(k, "const float none = %s < 0.0f ? __builtin_nanf(\"\") : 0.0f; /* a key that is no number */", at);
        put_line(k, "%s = %s < 0.0f ? 0.0f : %s;", at, at, at);
        put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)c->width);
        codebook_inside(k, "to[w] = %s + none;", taken);
    }
    put_close(k);
}

/* Keys position .. position + n: their codes and values into the window. */
static void emit_new_keys(Codebook *c)
{
    Kernel *k = c->k;
    long long codes = c->n_codes, width = c->width, block = c->block;
    if (c->block) {
        put_line(k, "const ptrdiff_t slot = position %% %lld; /* of the first new key in the ring */", 2 * block);
        put_line(k, "if (position %% %lld == 0 && position >= %lld)", block, 2 * block);
        codebook_inside(k, "%s(code + slot, values + slot * %lld, %lld, count, mean);", c->take_in, width, block);
    }
    put_line(k, "const ptrdiff_t first_key = %s;", c->cached ? "position - start" : "position");
    put_line(k, "const float *key = %s;", codebook_address_of(c, &c->keys, c->key_axis, "first_key"));
    const char *step = kernel_stride(k, access_axis(&c->keys, c->key_axis)->stride);
    put_line(k, "%s(n, %lld, %lld, key, %s, codes, %s, MATRIX_PANEL, score, %lld, 0, 0, 0);", c->product, codes,
             (long long)c->head, step, c->code_step, (long long)c->step);
    put_line(k, "%s(score, half, n, code%s);", c->nearest, c->block ? " + slot" : "");
    if (c->exact)
        put_line(k, "matrix_transpose(n, %lld, key, %s, ring_keys + slot, %lld, 1.0f);", (long long)c->head, step,
                 2 * block);
    emit_values_in(c, c->block ? "slot + t" : "t");
}

/* ---- the kernel -------------------------------------------------------------------------------------------------------- */

/* Keys of a block in their order have falling distances: near[block - own + t] for key t of the block before, and block
 * further for those of the own block. */
static void emit_bias(Codebook *c)
{
    Kernel *k = c->k;
    int64_t step;
    const char *row = c->n_rows ? "row" : "0";
    put_open(k, "for (ptrdiff_t row = 0; row < %s; row++)", c->n_rows ? "group" : "1");
    const char *from = codebook_address_of(c, &c->bias, NULL, NULL);
    codebook_put_row_indices(c, row, from);
    put_line(k, "const float *from = %s;", from);
    put_line(k, "for (ptrdiff_t t = 0; t < %lld; t++)", (long long)(2 * c->block));
    const AccessAxis *axis = access_axis(&c->bias, c->distance_axis);
    bool unit = stride_is_const(axis->stride, &step) && step == 1;
    codebook_inside(k, "near[row * %lld + t] = from[lesser(%lld - t, %lld)%s] * %s;", (long long)(2 * c->block),
                    (long long)(2 * c->block - 1), (long long)(c->n_distances - 1),
                    unit ? "" : arena_print(k->e->cx->arena, " * %s", kernel_stride(k, axis->stride)),
                    float_literal(k->e->cx, M_LOG2E));
    put_close(k);
}

static const char *key_count(Codebook *c)
{
    const Type *k = c->k->node->inputs[1]->type;
    return kernel_factor(c->k, k->axis[type_find(k, c->key_axis)].size);
}

static const char *row_count(Codebook *c)
{
    const Type *q = c->k->node->inputs[0]->type;
    return kernel_factor(c->k, q->axis[type_find(q, c->row_axis)].size);
}

/* Positions before the call's own. */
static const char *past_size(Codebook *c)
{
    const Graph *model = graph_model(c->k->node->graph);
    for (int i = 0; i < model->n_symbols; i++)
        if (!strcmp(model->symbols[i]->name, "past"))
            return kernel_size(c->k, extent_symbol(model->symbols[i]));
    return "0";
}

/* Rows before the first key: they see none. */
static void emit_rows_before(Codebook *c)
{
    Kernel *k = c->k;
    put_open(k, "for (ptrdiff_t first = 0; first < lesser(-start, %s)%s; first++)", row_count(c),
             c->n_rows ? " * group" : "");
    const char *to = codebook_address_of(c, &c->out, c->row_axis, c->n_rows ? "place" : "first");
    if (c->n_rows) {
        put_line(k, "const ptrdiff_t place = first / group;");
        codebook_put_row_indices(c, "first % group", to);
    }
    put_line(k, "float *to = %s;", to);
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)c->width);
    codebook_inside(k, "to[%s] = 0.0f;", codebook_step_text(c, &c->out, c->value_axis, "w"));
    put_close(k);
}

static void emit_positions(Codebook *c)
{
    Kernel *k = c->k;
    put_open(k, "for (ptrdiff_t position = %s, n; position < last; position += n)", c->cached ? "start" : "0");
    if (c->block)
        put_line(k, "n = lesser(lesser(last - position, %lld - position %% %lld), %d);", (long long)c->block,
                 (long long)c->block, CODEBOOK_KEYS);
    else
        put_line(k, "n = lesser(last - position, %d);", CODEBOOK_KEYS);
    emit_new_keys(c);
    if (c->causal) {
        if (c->block) {
            put_line(k, "const ptrdiff_t block_start = position / %lld * %lld, old = block_start ? %lld : 0;",
                     (long long)c->block, (long long)c->block, (long long)c->block);
            put_line(k, "const ptrdiff_t here_slot = block_start %% %lld, other = %lld - here_slot;",
                     (long long)(2 * c->block), (long long)c->block);
            if (c->exact)
                put_line(k, "const ptrdiff_t here = position + n - block_start; /* keys of the own block so far */");
        }
        const char *group = c->n_rows ? " * group" : "";
        Arena *a = k->e->cx->arena;
        codebook_emit_tile(c,
                           c->cached ? arena_print(a, "(position - start)%s", group)
                                     : arena_print(a, "%s(position - start, 0)%s", math_use(k->e, MATH_LARGER), group),
                           arena_print(a, "(position - start + n)%s", group));
    }
    if (!c->block)
        put_line(k, "%s(code, values, n, count, mean);", c->take_in);
    put_close(k);
    if (!c->causal)
        codebook_emit_tile(c, "0", arena_print(k->e->cx->arena, "%s%s", row_count(c), c->n_rows ? " * group" : ""));
}

/* May there be more rows than keys? */
static bool may_be_early(Codebook *c)
{
    const Type *q = c->k->node->inputs[0]->type, *k = c->k->node->inputs[1]->type;
    Extent before;
    return !extent_sub(k->axis[type_find(k, c->key_axis)].size, q->axis[type_find(q, c->row_axis)].size, &before) ||
           extent_low(before) < 0;
}

static void emit_comment(Codebook *c)
{
    const Node *n = c->k->node;
    Text *t = &c->k->comment;
    const Node *in[] = {n->inputs[0], n->inputs[1], n->inputs[2], role_of(n, "codebook"), n};
    const Access *at[] = {&c->q, &c->keys, &c->v, &c->codes, &c->out};
    double scale = attr_float(n, ATTR_scale, 1);
    text_add(t, "%s = softmax over %s of (", c->out.name, c->key_axis);
    if (scale != 1) {
        text_float(t, (float)scale);
        text_add(t, " * ");
    }
    text_add(t, "dot of %s and the row of %s nearest to %s over %s%s) * %s\n", c->q.name, c->codes.name, c->keys.name,
             c->head_axis, c->causal ? ", mask j <= i" : "", c->v.name);
    if (c->block)
        text_add(t, "Keys of a row's block of %lld and the one before: %s%s.\n", (long long)c->block,
                 c->exact ? "as they are" : "as their codes", c->biased ? ", with a bias by distance" : "");
    for (int i = 0; i < 5; i++) {
        text_add(t, "%s%s: ", i ? "   " : "", at[i]->name);
        type_print(in[i]->type, t);
    }
    text_add(t, "\nA task: all positions of a key head. %lld codes as count and mean value; exponents to base 2.\n",
             (long long)c->n_codes);
}

/* Whole vectors are read from the codebook's rows: one that has others is copied. */
static void emit_codes(Codebook *c)
{
    Kernel *k = c->k;
    const char *from = codebook_address_of(c, &c->codes, NULL, NULL),
               *step = kernel_stride(k, access_axis(&c->codes, c->head_axis)->stride);
    c->code_step = step;
    if (c->padded_codes == c->n_codes) {
        put_line(k, "const float *codes = %s;", from);
    } else {
        c->code_step = arena_print(k->e->cx->arena, "%lld", (long long)c->padded_codes);
        put_open(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)c->head);
        put_line(k, "const float *from = %s + i * %s;", from, step);
        put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)c->padded_codes);
        codebook_inside(k, "codes[i * %s + w] = w < %lld ? from[w] : 0.0f;", c->code_step, (long long)c->n_codes);
        put_close(k);
    }
    put_line(k, "%s(codes, %s, half);", c->norms, c->code_step);
}

static void emit_tasks(Codebook *c)
{
    Kernel *k = c->k;
    Text tasks = text_new(k->e->cx->arena);
    for (int i = 0; i < c->n_batch; i++)
        text_add(&tasks, "%s%s", i ? " * " : "",
                 c->n_batch > 1 ? kernel_factor(k, c->batch[i].size) : kernel_size(k, c->batch[i].size));
    put_open(k, "for (ptrdiff_t task = thread; task < %s; task += threads)", c->n_batch ? tasks.data : "1");
    const char *above = "task";
    for (int i = c->n_batch - 1; i >= 0; i--) {
        const char *size = kernel_factor(k, c->batch[i].size);
        put_line(k, i ? "const ptrdiff_t %s = %s %% %s;" : "const ptrdiff_t %s = %s;", c->batch[i].var, above, size);
        above = arena_print(k->e->cx->arena, "%s / %s", above, size);
    }
    emit_codes(c);
    if (c->block && c->biased)
        emit_bias(c);
    put_state(c, c->cached ? codebook_address_of(c, &c->state, NULL, NULL) : "state_of");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld%s; i++)", (long long)(c->n_codes * (c->width + 1)),
             c->cached ? " && start == 0" : "");
    codebook_inside(k, "count[i] = 0.0f;");
    if (c->early)
        emit_rows_before(c);
    emit_positions(c);
    put_close(k);
}

void emit_codebook_attend(Kernel *k)
{
    Codebook c = {.k = k};
    if (!prepare(&c))
        return;
    c.early = c.causal && !c.cached && may_be_early(&c);
    emit_comment(&c);
    codebook_emit_functions(&c);
    k->indent = 1;
    kernel_threads(k);
    emit_memory(&c);
    if (c.n_rows)
        put_line(k, "const ptrdiff_t group = %s; /* rows at one position */", c.group);
    if (c.cached)
        put_line(k, "const ptrdiff_t start = %s, last = start + %s;", past_size(&c), row_count(&c));
    else if (c.causal)
        put_line(k, "const ptrdiff_t last = %s, start = last - %s; /* start: the first row's position */",
                 key_count(&c), row_count(&c));
    else
        put_line(k, "const ptrdiff_t last = %s;", key_count(&c));
    emit_tasks(&c);
}
