/* linear_attend: phi(q) (sum of phi(k) v) / (phi(q) . sum of phi(k)), which never holds queries by keys.
 *
 * A task is one combination of the batch axes, a key head of a sequence: it keeps, for each feature, the sum of the
 * features of the keys so far times their values, and goes along the sequence in chunks of 64 positions:
 *
 *     absorb     features of the chunk's keys; state += features (turned) * values
 *     read       features of the chunk's rows; features * state / (features * sum of the keys' features)
 *
 * Without `causal` all keys are absorbed first. With it a chunk's rows also read the chunk's own keys up to theirs, by a
 * triangle of products, before it is absorbed; keys that every row sees (earlier positions, a prefix) come first. All of it
 * is products of matrices in scratch (matrix_tile.c). Tasks are independent and their order is that of the positions, so
 * any number of threads gives the same bits. */
#include "codegen/linear_inside.h"

#include <ctype.h>
#include <string.h>

/* ---- functions of its own ---------------------------------------------------------------------------------------- */

Text linear_open_alone(Linear *l, const char *comment, const char *type, const char *name, const char *const *items,
                       size_t n)
{
    Kernel *k = l->k;
    Context *cx = k->e->cx;
    Text before = k->body;
    text_add(&k->before, "/* %s */\n%s\n{\n", comment,
             wrapped(cx, arena_print(cx->arena, "static %s %s", type, name), items, n));
    k->body = text_new(cx->arena);
    k->indent = 1;
    return before;
}

Text linear_open(Linear *l, const char *comment, const char *type, const char *name, const char *const *items, size_t n)
{
    const char *all[16] = {arena_print(l->k->e->cx->arena, "struct %s *s", l->work)};
    for (size_t i = 0; i < n; i++)
        all[i + 1] = items[i];
    return linear_open_alone(l, comment, type, name, all, n + 1);
}

void linear_close(Linear *l, Text before)
{
    text_add(&l->k->before, "%s}\n\n", l->k->body.data);
    l->k->body = before;
}

void linear_put_twice(Linear *l)
{
    text_add(&l->k->body, "#pragma GCC unroll 2\n");
}

const char *linear_element(Linear *l, const char *pointer, const Access *a, const char *axis, const char *index)
{
    int64_t step;
    const AccessAxis *x = access_axis(a, axis);
    Arena *arena = l->k->e->cx->arena;
    if (stride_is_const(x->stride, &step) && step == 1)
        return arena_print(arena, "%s[%s]", pointer, index);
    return arena_print(arena, "%s[%s * %s]", pointer, index, kernel_stride(l->k, x->stride));
}

/* ---- what the kernel works on ------------------------------------------------------------------------------------ */

/* Words that the function uses for itself. */
static const char *const own_words[] = {
    "s", "task", "keys", "rows", "key", "value", "from", "to", "first", "count", "at", "next", "last", "shift",
    "open", "n", "t", "i", "w", "row", "state", "below", "part", "key_step", "value_step", "query_step", "out_step",
    "keep_step", "offset_step", "projection", "projection_step", "highest", "keep", "offset", "prefix", "begin",
    "seen",
};

static void find_axes(Linear *l)
{
    const Node *n = l->k->node;
    const Type *q = n->inputs[0]->type, *k = n->inputs[1]->type;
    l->few = 1;
    for (int i = 0; i < q->rank; i++) {
        const char *name = q->axis[i].name;
        if (name == l->head_axis || name == l->query_axis)
            continue;
        Text lower = text_new(l->k->e->cx->arena);
        for (const char *p = name; *p; p++)
            text_char(&lower, (char)tolower((unsigned char)*p));
        LinearAxis axis = {name, scope_name(&l->k->names, lower.data), q->axis[i].size};
        if (type_find(k, name) >= 0) {
            l->batch[l->n_batch++] = axis;
            continue;
        }
        l->row[l->n_row++] = axis;
        l->few = extent_is_const(axis.size) && l->few ? l->few * axis.size.base : 0;
    }
}

static int64_t size_of(const Type *t, const char *axis)
{
    return t->axis[type_find(t, axis)].size.base;
}

static void find_features(Linear *l)
{
    const Node *n = l->k->node;
    const Node *projection = role_of(n, "projection");
    l->hyperbolic = node_features(n, "hyperbolic");
    l->exponential = l->hyperbolic || node_features(n, "positive");
    l->codes = node_features(n, "codes");
    l->relu = node_features(n, "relu");
    l->elu1 = node_features(n, "elu1");
    l->causal = attr_bool(n, ATTR_causal, false);
    l->scale = attr_float(n, ATTR_scale, 1);
    l->eps = attr_float(n, ATTR_eps, 0);
    l->ratio = attr_float(n, ATTR_ratio, 1);
    l->tau = attr_float(n, ATTR_tau, 1);
    l->tops = l->exponential && l->eps == 0;
    l->projected = projection != NULL;
    l->features = attend_features(n);
    l->own = l->hyperbolic ? l->features / 2 : l->features;
    int64_t whole = (l->own + l->lanes - 1) / l->lanes * l->lanes, span = l->hyperbolic ? l->own + whole : whole;
    l->span = (span + 15) / 16 * 16;
}

static bool read_role(Linear *l, const char *role, bool *has, Access *out)
{
    const Node *value = role_of(l->k->node, role);
    *has = value != NULL;
    return !value || kernel_read(l->k, value, out);
}

static bool read_operands(Linear *l)
{
    Kernel *k = l->k;
    const Node *n = k->node, *result = kernel_get(n, 0);
    int64_t step;
    if (!kernel_read(k, n->inputs[0], &l->q) || !kernel_read(k, n->inputs[1], &l->keys) ||
        !kernel_read(k, n->inputs[2], &l->v) || !read_role(l, "projection", &l->projected, &l->projection) ||
        !read_role(l, "keep", &l->has_keep, &l->keep) || !read_role(l, "prefix", &l->has_prefix, &l->prefix) ||
        !read_role(l, "document", &l->has_document, &l->document) ||
        !read_role(l, "offset", &l->has_offset, &l->offset) || !kernel_result(k, result ? result : n, &l->out))
        return false;
    l->has_state = attr_name(n, ATTR_cache) != NULL;
    if (l->has_state && !kernel_state(k, &l->state))
        return false;
    if (role_of(n, "mask"))
        emit_fail(k->e, n, "its mask is still a condition");
    else if (l->keys.panels)
        emit_fail(k->e, n, "its keys are panels");
    else if (!stride_is_const(access_axis(&l->q, l->head_axis)->stride, &step) ||
             !stride_is_const(access_axis(&l->keys, l->head_axis)->stride, &step) ||
             !stride_is_const(access_axis(&l->v, l->value_axis)->stride, &step) ||
             !stride_is_const(access_axis(&l->out, l->value_axis)->stride, &step))
        emit_fail(k->e, n, "the elements of a head or of a value are not a constant step apart");
    else if (l->has_document && l->has_state)
        emit_fail(k->e, n, "a state does not know documents");
    else if (l->projected && l->head > 1 &&
             (!stride_is_const(access_axis(&l->projection, l->head_axis)->stride, &step) || step != 1))
        emit_fail(k->e, n, "its projection does not lie side by side along `%s`", l->head_axis);
    return !k->e->failed;
}

static bool prepare(Linear *l)
{
    Kernel *k = l->k;
    const Node *n = k->node;
    Context *cx = k->e->cx;
    const Type *result = kernel_get(n, 0) ? kernel_get(n, 0)->type : n->type;
    l->lanes = k->e->target->lanes;
    l->key_axis = attr_name(n, ATTR_keys);
    l->query_axis = attr_name(n, ATTR_queries);
    l->head_axis = node_attr(n, ATTR_over)->names.items[0];
    l->value_axis = result->axis[result->rank - 1].name;
    l->head = size_of(n->inputs[0]->type, l->head_axis);
    l->width = size_of(n->inputs[2]->type, l->value_axis);
    l->wide = (l->width + 15) / 16 * 16;
    find_features(l);
    for (size_t i = 0; i < sizeof own_words / sizeof *own_words; i++)
        scope_name(&k->names, own_words[i]);
    if (!read_operands(l))
        return false;
    find_axes(l);
    const Type *keys = n->inputs[1]->type, *queries = n->inputs[0]->type;
    l->keys_text = kernel_size(k, keys->axis[type_find(keys, l->key_axis)].size);
    l->rows_text = kernel_size(k, queries->axis[type_find(queries, l->query_axis)].size);
    const struct {
        const char *name, **to;
    } words[] = {
        {"work", &l->work},           {"pack", &l->pack},       {"begin", &l->begin},   {"load", &l->load},
        {"exponents", &l->exponents}, {"highest", &l->highest}, {"cut", &l->cut},       {"features", &l->key_features},
        {"absorb", &l->absorb},       {"weigh", &l->weigh},     {"read", &l->read},     {"step", &l->step},
        {"join", &l->join},           {"dots", &l->dots},       {"halves", &l->halves}, {"chain", &l->chain},
        {"collect", &l->collect},     {"clear", &l->clear},     {"fetch", &l->fetch},   {"store", &l->store},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        *words[i].to = scope_name(&k->e->file, arena_print(cx->arena, "%s_%s", k->function, words[i].name));
    return true;
}

static void emit_comment(Linear *l)
{
    const Node *n = l->k->node;
    Text *t = &l->k->comment;
    Text q = text_new(t->arena), k = text_new(t->arena), v = text_new(t->arena), out = text_new(t->arena),
         scale = text_new(t->arena);
    type_print(n->inputs[0]->type, &q);
    type_print(n->inputs[1]->type, &k);
    type_print(n->inputs[2]->type, &v);
    type_print(kernel_get(n, 0) ? kernel_get(n, 0)->type : n->type, &out);
    text_float(&scale, (float)l->scale);
    text_add(t, "%s = phi(%s) (sum of phi(%s) %s) / (phi(%s) . sum of phi(%s)), sums over %s%s\n", l->out.name,
             l->q.name, l->keys.name, l->v.name, l->q.name, l->keys.name, l->key_axis,
             l->causal ? " up to the row's position" : "");
    const char *w = l->projected ? l->projection.name : "";
    if (l->exponential)
        text_add(t, "phi(x) = exp(%sw y - |y|^2 / 2), y = x * sqrt(%s), w of %s%s\n", l->hyperbolic ? "+-" : "",
                 scale.data, w,
                 l->eps > 0 ? ", relative to the largest w y, plus eps"
                            : "; relative to about the largest of each feature so far");
    else if (l->codes)
        text_add(t, "phi(q) = exp(%s * q c), phi(k) = softmax over the codes c of %s of -|k - c|^2 / (2 tau^2)\n",
                 scale.data, w);
    else
        text_add(t, "phi(x) = %s, y = %s%s%s\n",
                 l->elu1   ? "elu(y) + 1"
                 : l->relu ? "relu(y) + eps"
                           : "y",
                 w, w[0] ? " " : "", l->scale == 1 ? "x" : arena_print(t->arena, "x * sqrt(%s)", scale.data));
    text_add(t, "%s: %s   %s: %s\n%s: %s   %s: %s\n", l->q.name, q.data, l->keys.name, k.data, l->v.name, v.data,
             l->out.name, out.data);
    text_add(t, "%lld features. A task: a key head of a sequence, %d positions at a time.\n", (long long)l->features,
             LINEAR_CHUNK);
}

/* ---- one sequence ------------------------------------------------------------------------------------------------ */

/* The address of `a` for the task's batch indices and the row's. */
static const char *address_of(Linear *l, const Access *a)
{
    const char *names[2 * MAX_RANK], *vars[2 * MAX_RANK];
    int n = 0;
    for (int i = 0; i < l->n_batch; i++, n++) {
        names[n] = l->batch[i].name;
        vars[n] = l->batch[i].var;
    }
    for (int i = 0; i < l->n_row; i++, n++) {
        names[n] = l->row[i].name;
        vars[n] = l->row[i].var;
    }
    return kernel_address(l->k, a, n, names, vars);
}

static const char *step_of(Linear *l, const Access *a, const char *axis)
{
    return kernel_stride(l->k, access_axis(a, axis)->stride);
}

/* The next chunk's rows, which the product that follows asks for: rows first + count .. of `total` at `from`. */
static void put_soon(Linear *l, const char *from, const char *step, int64_t width, const char *first, const char *count,
                     const char *total)
{
    if (!l->has_document) /* its positions are anywhere */
        put_line(l->k, "s->soon = (struct matrix_soon){%s + (%s + %s) * %s, %s, %lld, lesser(%s - %s - %s, %d)};", from,
                 first, count, step, step, (long long)width, total, first, count, LINEAR_CHUNK);
}

/* "load(s, keys, key_step, ..)": the keys of the sequence from `first` on. */
static void put_chunk(Linear *l, const char *first, const char *count)
{
    Kernel *k = l->k;
    put_line(k, "%s(s, key, key_step, value, value_step%s%s%s, %s, %s);", l->load,
             l->has_keep ? ", keep, keep_step" : "", l->has_offset ? ", offset, offset_step" : "",
             l->has_document ? ", at" : "", first, count);
    put_soon(l, "key", "key_step", l->head, first, count, "keys");
    if (l->exponential)
        put_line(k, "%s(s, projection, projection_step, %s);", l->exponents, count);
    const char *more = l->exponential || !l->projected ? "" : "projection, projection_step, ";
    if (strcmp(first, "t") == 0 && l->tops && l->causal)
        put_line(k, "n = %s(s, n);", l->cut);
    put_line(k, "%s(s, %s%s%s);", l->key_features, more, count, l->exponential && !l->tops ? ", highest" : "");
}

/* Loops over the query heads of a key head; returns how many levels. */
static int open_heads(Linear *l)
{
    for (int i = 0; i < l->n_row; i++)
        put_open(l->k, "%s", loop_head(l->k, l->row[i].var, "0", kernel_size(l->k, l->row[i].size), 1));
    return l->n_row;
}

static void put_read(Linear *l, const char *first, const char *count, const char *inside)
{
    int levels = open_heads(l);
    Kernel *k = l->k;
    put_soon(l, address_of(l, &l->q), "query_step", l->head, first, count, "rows");
    put_line(k, "%s(s, %s, query_step, %s, out_step, %s%s, %s%s);", l->read, address_of(l, &l->q),
             address_of(l, &l->out), l->has_document ? "at, shift, " : "", first, count, l->causal ? inside : "");
    while (levels--)
        put_close(k);
}

/* Keys 0 .. open are absorbed, then rows `from` .. `to` read them. */
static void put_absorb(Linear *l, const char *open)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t first = 0; first < %s; first += %d)", open, LINEAR_CHUNK);
    put_line(k, "const ptrdiff_t n = lesser(%s - first, %d);", open, LINEAR_CHUNK);
    put_chunk(l, "first", "n");
    put_soon(l, "value", "value_step", l->width, "first", "n", "keys");
    put_line(k, "%s(s, n);", l->absorb);
    put_close(k);
}

static void put_rows(Linear *l, const char *from, const char *to)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t first = %s; first < %s; first += %d)", from, to, LINEAR_CHUNK);
    put_line(k, "const ptrdiff_t n = lesser(%s - first, %d);", to, LINEAR_CHUNK);
    put_read(l, "first", "n", ", 0");
    put_close(k);
}

static void put_chunks(Linear *l, const char *count, const char *row)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t t = open, n; t < %s; t += n)", count);
    put_line(k, "n = lesser(%s - t, %d);", count, LINEAR_CHUNK);
    put_chunk(l, "t", "n");
    put_read(l, row, "n", ", 1");
    put_soon(l, "value", "value_step", l->width, "t", "n", "keys");
    put_line(k, "%s(s, n);", l->absorb);
    put_close(k);
}

/* The largest w y of the task's keys: with eps > 0 all features are relative to it. */
static void put_highest(Linear *l)
{
    Kernel *k = l->k;
    put_line(k, "float highest = -__builtin_inff();");
    put_open(k, "for (ptrdiff_t first = 0; first < keys; first += %d)", LINEAR_CHUNK);
    put_line(k, "const ptrdiff_t n = lesser(keys - first, %d);", LINEAR_CHUNK);
    put_line(k, "%s(s, key, key_step, value, value_step%s%s, first, n);", l->load,
             l->has_keep ? ", keep, keep_step" : "", l->has_offset ? ", offset, offset_step" : "");
    put_line(k, "highest = %s(s, projection, projection_step, n, highest);", l->highest);
    put_close(k);
}

/* Positions in the order of the sequence: rows are neighbours of each other, keys too. */
static void put_sequence(Linear *l)
{
    Kernel *k = l->k;
    if (!l->causal) {
        if (l->exponential && !l->tops)
            put_highest(l);
        put_absorb(l, "keys");
        put_rows(l, "0", "rows");
        return;
    }
    math_use(k->e, MATH_LARGER);
    const char *seen = "larger(keys - rows, 0)";
    if (l->has_prefix) {
        const char *past = l->has_state ? "past" : "0";
        put_line(k, "const ptrdiff_t prefix = *(%s) - %s;", address_of(l, &l->prefix), past);
        seen = "larger(larger(keys - rows, 0), lesser(prefix, keys))";
    }
    put_line(k, "const ptrdiff_t shift = keys - rows, open = %s; /* keys that all rows see */", seen);
    put_absorb(l, "open");
    put_rows(l, "0", "open - shift");
    put_chunks(l, "keys", "t - shift");
}

/* With more rows than keys the first rows stand before every position: they belong to no document. */
static void put_early(Linear *l)
{
    Kernel *k = l->k;
    put_open(k, "for (ptrdiff_t row = 0; row < -shift; row++)");
    int levels = open_heads(l);
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)l->width);
    put_line(k, "    (%s + row * out_step)%s = 0.0f;", address_of(l, &l->out),
             linear_element(l, "", &l->out, l->value_axis, "w"));
    while (levels--)
        put_close(k);
    put_close(k);
}

/* One document after another: `at` lists its positions. */
static void put_documents(Linear *l)
{
    Kernel *k = l->k;
    put_line(k, "const ptrdiff_t shift = keys - rows;");
    put_early(l);
    put_line(k, "%s(%s, %s, keys, next, last);", l->chain, address_of(l, &l->document),
             step_of(l, &l->document, l->key_axis));
    if (l->has_prefix)
        put_line(k, "const ptrdiff_t prefix = *(%s);", address_of(l, &l->prefix));
    put_open(k, "for (ptrdiff_t begin = 0; begin < keys; begin++)");
    put_line(k, "if (next[begin] == -2)");
    put_line(k, "    continue;");
    put_line(k, "const ptrdiff_t count = %s(begin, next, at);", l->collect);
    put_line(k, "ptrdiff_t seen = 0, open = count; /* positions that have no row; keys that all rows see */");
    put_line(k, "while (seen < count && at[seen] < shift)");
    put_line(k, "    seen++;");
    if (l->causal) {
        put_line(k, "open = seen;");
        if (l->has_prefix) {
            put_line(k, "while (open < count && at[open] < prefix)");
            put_line(k, "    open++;");
        }
    }
    put_line(k, "%s(s);", l->begin);
    put_absorb(l, "open");
    put_rows(l, "seen", "open");
    if (l->causal)
        put_chunks(l, "count", "t");
    put_close(k);
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

static void put_steps(Linear *l)
{
    Kernel *k = l->k;
    put_line(k, "const ptrdiff_t keys = %s, rows = %s;", l->keys_text, l->rows_text);
    put_line(k, "const ptrdiff_t key_step = %s, value_step = %s;", step_of(l, &l->keys, l->key_axis),
             step_of(l, &l->v, l->key_axis));
    put_line(k, "const ptrdiff_t query_step = %s, out_step = %s;", step_of(l, &l->q, l->query_axis),
             step_of(l, &l->out, l->query_axis));
    if (l->has_keep)
        put_line(k, "const ptrdiff_t keep_step = %s;", step_of(l, &l->keep, l->key_axis));
    if (l->has_offset)
        put_line(k, "const ptrdiff_t offset_step = %s;", step_of(l, &l->offset, l->key_axis));
    if (l->projected) {
        const Type *p = l->projection.value->type;
        put_line(k, "const ptrdiff_t projection_step = %s;", kernel_stride(k, l->projection.axis[p->rank - 2].stride));
    }
}

static bool by_head(const Linear *l)
{
    return l->projected && l->projection.value->type->rank > 2;
}

/* The projection turned: once for all tasks, or in each. */
static void put_pack(Linear *l)
{
    Kernel *k = l->k;
    if (!l->projected)
        return;
    put_line(k, "const float *projection = %s;", address_of(l, &l->projection));
    if (l->codes)
        put_line(k, "%s(s, projection, projection_step);", l->halves);
    if (linear_steps(l))
        put_line(k, "if (rows > 1)");
    put_line(k, "%s%s(s, projection, projection_step);", linear_steps(l) ? "    " : "", l->pack);
}

static void put_task_head(Linear *l)
{
    Kernel *k = l->k;
    Context *cx = k->e->cx;
    Text tasks = text_new(cx->arena);
    for (int i = 0; i < l->n_batch; i++)
        text_add(&tasks, "%s%s", i ? " * " : "",
                 l->n_batch > 1 ? kernel_factor(k, l->batch[i].size) : kernel_size(k, l->batch[i].size));
    put_open(k, "for (ptrdiff_t task = thread; task < %s; task += threads)", l->n_batch ? tasks.data : "1");
    const char *above = "task";
    for (int i = l->n_batch - 1; i >= 0; i--) {
        const char *size = kernel_factor(k, l->batch[i].size);
        put_line(k, i ? "const ptrdiff_t %s = %s %% %s;" : "const ptrdiff_t %s = %s;", l->batch[i].var, above, size);
        above = arena_print(cx->arena, "%s / %s", above, size);
    }
    put_line(k, "const float *key = %s, *value = %s;", address_of(l, &l->keys), address_of(l, &l->v));
    if (l->has_keep)
        put_line(k, "const int *keep = %s;", address_of(l, &l->keep));
    if (l->has_offset)
        put_line(k, "const float *offset = %s;", address_of(l, &l->offset));
    if (by_head(l))
        put_pack(l);
}

/* A call of one position: the kept state is not copied. */
static void put_step(Linear *l)
{
    Kernel *k = l->k;
    put_open(k, "if (rows == 1)");
    put_line(k, "ptrdiff_t row = 0;");
    int levels = open_heads(l);
    linear_put_query(l, address_of(l, &l->q));
    put_line(k, "row++;");
    while (levels--)
        put_close(k);
    put_line(k, "%s(s, %skey, value%s%s, state);", l->step, l->projected ? "projection, projection_step, " : "",
             l->has_keep ? ", keep" : "", l->has_offset ? ", offset" : "");
    put_line(k, "row = 0;");
    levels = open_heads(l);
    linear_put_store(l, address_of(l, &l->out));
    put_line(k, "row++;");
    while (levels--)
        put_close(k);
    put_line(k, "continue;");
    put_close(k);
}

static void put_task(Linear *l)
{
    Kernel *k = l->k;
    put_task_head(l);
    if (l->has_state) {
        put_line(k, "float *state = %s;", address_of(l, &l->state));
        put_line(k, "if (past == 0)");
        put_line(k, "    %s(state);", l->clear);
        if (linear_steps(l))
            put_step(l);
        put_line(k, "%s(s, state);", l->fetch);
    } else if (!l->has_document) {
        put_line(k, "%s(s);", l->begin);
    }
    l->has_document ? put_documents(l) : put_sequence(l);
    if (l->has_state)
        put_line(k, "%s(s, state);", l->store);
    put_close(k);
}

static void put_scratch(Linear *l, uint64_t bytes)
{
    Kernel *k = l->k;
    const char *scratch = kernel_scratch(k, bytes + (l->has_document ? 64 : 0));
    put_line(k, "struct %s *s = (struct %s *)%s;", l->work, l->work, scratch);
    if (!l->has_document)
        return;
    const Type *keys = k->node->inputs[1]->type;
    kernel_scratch_grows(k, keys->axis[type_find(keys, l->key_axis)].size, 16, 4 * 16 * sizeof(int32_t));
    put_line(k, "int *next = (int *)(s + 1), *at = next + %s, *last = at + %s;", l->keys_text, l->keys_text);
}

static const char *symbol_past(Linear *l)
{
    for (int i = 0; i < l->k->e->model->n_symbols; i++)
        if (!strcmp(l->k->e->model->symbols[i]->name, "past"))
            return kernel_size(l->k, extent_symbol(l->k->e->model->symbols[i]));
    return NULL;
}

void emit_linear_attend(Kernel *k)
{
    Linear linear = {.k = k}, *l = &linear;
    if (!prepare(l))
        return;
    if (l->has_state && !symbol_past(l)) {
        emit_fail(k->e, k->node, "nothing says how many positions came before");
        return;
    }
    matrix_use(k->e);
    emit_comment(l);
    uint64_t bytes = linear_emit_work(l);
    linear_emit_begin(l);
    if (l->projected)
        linear_emit_pack(l);
    if (l->codes)
        linear_emit_halves(l);
    if (l->has_state)
        linear_emit_kept(l);
    linear_emit_keys(l);
    linear_emit_rows(l);
    if (linear_steps(l))
        linear_emit_step(l);
    if (l->has_document) {
        linear_emit_chain(l);
        linear_emit_collect(l);
    }
    k->indent = 1;
    kernel_threads(k);
    put_scratch(l, bytes);
    put_steps(l);
    if (!by_head(l))
        put_pack(l);
    put_task(l);
}
