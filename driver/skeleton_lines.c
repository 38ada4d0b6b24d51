/* The skeleton: walks the tree of names and writes one line for every tensor or pair of weight and bias.
 *
 * A line reads the nearest value above it that has the axis it takes; what goes back to the width of the model is
 * added to x. Where no value fits, the tensor is still placed by `weight`, so that names and shapes are checked from
 * the start. */
#include <ctype.h>
#include <string.h>

#include "driver/skeleton_inside.h"

static void line(Sketch *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(Sketch *k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_add(k->out, "%*s", 2 * k->indent, "");
    text_vadd(k->out, format, args);
    text_char(k->out, '\n');
    va_end(args);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static int64_t width(const Sketch *k)
{
    return k->n_values ? k->values[0].size : 0;
}

static const char *find_value(const Sketch *k, int64_t size)
{
    for (int i = k->n_values; i > 0; i--)
        if (k->values[i - 1].size == size)
            return k->values[i - 1].name;
    return NULL;
}

/* The name gets another value. */
static void forget(Sketch *k, const char *name)
{
    int to = k->n_values > 0;
    for (int i = to; i < k->n_values; i++)
        if (strcmp(k->values[i].name, name))
            k->values[to++] = k->values[i];
    k->n_values = to;
    if (k->logits && !strcmp(k->logits, name))
        k->logits = NULL;
}

static void set_value(Sketch *k, const char *name, int64_t size)
{
    forget(k, name);
    if (k->n_values < MAX_VALUES)
        k->values[k->n_values++] = (Value){name, size};
}

static void set_x(Sketch *k, int64_t size)
{
    k->values[0] = (Value){"x", size};
    k->n_values += !k->n_values;
}

/* A name for the value of a line: the last component of the path that is a word. */
static const char *variable(Sketch *k, const char *path)
{
    const char *word = "w";
    for (const char *p = path; *p; p += strcspn(p, "."), p += *p == '.')
        if (!isdigit((unsigned char)*p) && strncmp(p, "weight", 6) && strncmp(p, "bias", 4))
            word = p;
    Text name = text_new(k->cx->arena);
    for (const char *c = word; *c && *c != '.' && name.length < 60; c++)
        text_char(&name, isalnum((unsigned char)*c) || *c == '_' ? *c : '_');
    while (sizes_taken(&k->sizes, name.data))
        text_char(&name, '_');
    return name.data;
}

static const char *joined(Sketch *k, const char *path, const char *name)
{
    return *path ? arena_print(k->cx->arena, "%s.%s", path, name) : name;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

/* Names and shapes are checked, and nothing reads it: `axis` before those of the tensor if several are stacked. */
static void place(Sketch *k, const char *path, const HostTensor *t, const char *axis)
{
    if (!t)
        return;
    const char *to = variable(k, path);
    line(k, "%s = weight(\"%s\", %s)", to, path, sizes_axes(&k->sizes, t, axis));
    forget(k, to);
    k->placed = true;
}

static void place_both(Sketch *k, const char *path, const HostTensor *w, const HostTensor *bias)
{
    place(k, joined(k, path, "weight"), w, NULL);
    place(k, joined(k, path, "bias"), bias, NULL);
}

static bool contains(const char *path, const char *const *parts, size_t n)
{
    char lower[128];
    size_t length = strlen(path), from = length < sizeof lower ? 0 : length + 1 - sizeof lower;
    for (size_t i = 0; i + from <= length; i++)
        lower[i] = (char)tolower((unsigned char)path[i + from]);
    for (size_t i = 0; i < n; i++)
        if (strstr(lower, parts[i]))
            return true;
    return false;
}

static const char *last_word(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

static void write_norm(Sketch *k, const char *path, const HostTensor *w, const HostTensor *bias)
{
    const char *x = find_value(k, w->dims[0]);
    bool paired = !bias || (bias->rank == 1 && bias->dims[0] == w->dims[0]);
    if (!x || !paired) {
        place_both(k, path, w, bias);
        return;
    }
    bool of_x = w->dims[0] == width(k);
    const char *to = of_x ? "x" : variable(k, path);
    line(k, "%s = %s(%s, \"%s\")", to, bias ? "layernorm" : "rmsnorm", of_x ? "x" : x, path);
    if (bias)
        k->layernorms = true;
    else
        k->rmsnorms = true;
    if (!of_x)
        set_value(k, to, w->dims[0]);
}

/* Which way round a matrix is stored: as its bias says, or as the others. */
static bool stored_swapped(const Sketch *k, const HostTensor *w, const HostTensor *bias)
{
    if (bias && w->dims[0] != w->dims[1])
        return w->dims[1] == bias->dims[0];
    return k->swapped;
}

static const char *linear_call(Sketch *k, const char *x, const char *path, int64_t out, bool bias, bool swapped)
{
    Text call = text_new(k->cx->arena);
    text_add(&call, "linear(%s, \"%s\", %s", x, path, sizes_name(&k->sizes, out));
    if (bias != k->biased)
        text_add(&call, ", bias=%s", bias ? "true" : "false");
    if (swapped != k->swapped)
        text_add(&call, ", order=\"%s\"", swapped ? "in,out" : "out,in");
    text_char(&call, ')');
    return call.data;
}

static void write_linear(Sketch *k, const char *path, const HostTensor *w, const HostTensor *bias)
{
    static const char *const outs[] = {"out", "dense", "proj_o", "o_proj", "c_proj", "down", "wo", "fc2", "w2"};
    const char *word = last_word(path);
    bool back = (contains(word, outs, sizeof outs / sizeof *outs) && !strstr(word, "h_to_4h")) || !strcmp(word, "o");
    bool swapped = stored_swapped(k, w, bias), paired = !bias || bias->dims[0] == w->dims[swapped ? 1 : 0];
    if (!bias && !back && !find_value(k, w->dims[swapped ? 0 : 1]) && find_value(k, w->dims[swapped ? 1 : 0]))
        swapped = !swapped;
    int64_t in = w->dims[swapped ? 0 : 1], out = w->dims[swapped ? 1 : 0];
    back = back && out == k->hidden && !strstr(path, "pooler");
    const char *x = in == width(k) && !back ? "x" : find_value(k, in);
    if (!x || !paired) {
        place_both(k, path, w, bias);
        return;
    }
    const char *call = linear_call(k, x, path, out, bias != NULL, swapped);
    if (out == k->hidden && width(k) == out && (back || (in != out && strcmp(x, "x")))) {
        line(k, "x = x + %s", call);
    } else if (out == k->hidden && width(k) != out && !strcmp(x, "x")) {
        line(k, "x = %s", call);
        set_x(k, out);
    } else {
        const char *to = variable(k, path);
        line(k, "%s = %s", to, call);
        set_value(k, to, out);
        if (!k->inside && out == sizes_of(&k->sizes, "V") && out != k->hidden)
            k->logits = to;
    }
}

/* A table whose rows ids name: the words' first, which begins x. */
static bool write_embedding(Sketch *k, const char *path, const HostTensor *w)
{
    static const char *const parts[] = {"emb", "wte", "wpe", "shared", "tok"}, *const heads[] = {"head", "embed_out",
                                                                                                 "decoder"};
    static const char *const positions[] = {"position", "wpe", "pos_emb", "embed_pos"};
    bool position = contains(path, positions, 4);
    if (k->inside || !(contains(path, parts, 5) || (!k->has_ids && w->dims[0] == sizes_of(&k->sizes, "V"))) ||
        contains(path, heads, 3) || (position && !k->has_ids) || (k->has_ids && w->dims[1] != width(k)))
        return false;
    const char *ids = "ids";
    if (position) {
        ids = "0..S";
        line(k, "assert S <= %s", sizes_name(&k->sizes, w->dims[0]));
    } else if (k->has_ids) {
        ids = arena_print(k->cx->arena, "%s_ids", variable(k, path));
    }
    if (!position)
        text_add(&k->inputs, "%s%s: i32[B, S]", k->inputs.length ? ", " : "", ids);
    line(k, "x = %sembed(%s, \"%s\", %s, %s)", k->has_ids ? "x + " : "", ids, path, sizes_name(&k->sizes, w->dims[0]),
         sizes_name(&k->sizes, w->dims[1]));
    k->has_ids = true;
    set_x(k, w->dims[1]);
    return true;
}

/* Without words to look up the model begins from x itself. */
void sketch_need_x(Sketch *k)
{
    if (k->n_values && width(k) == k->hidden)
        return;
    const char *name = k->n_values ? find_value(k, k->hidden) : NULL;
    if (k->n_values && name) {
        line(k, "x = %s", name);
    } else if (k->n_values) {
        text_add(&k->inputs, ", hidden: f32[B, S, %s]", sizes_name(&k->sizes, k->hidden));
        line(k, "x = hidden");
    } else {
        text_add(&k->inputs, "%sx: f32[B, S, %s]", k->inputs.length ? ", " : "", sizes_name(&k->sizes, k->hidden));
    }
    set_x(k, k->hidden);
}

static void write_module(Sketch *k, const Branch *b, const char *path)
{
    const Branch *weight = branch_child(b, "weight"), *bias = branch_child(b, "bias");
    const HostTensor *w = weight ? weight->tensor : NULL, *v = bias ? bias->tensor : NULL;
    bool vector = !v || v->rank == 1;
    if (!w || !vector || w->rank > 2) {
        place_both(k, path, w, v);
    } else if (w->rank == 1) {
        if (!k->inside && !find_value(k, w->dims[0]))
            sketch_need_x(k);
        write_norm(k, path, w, v);
    } else if (v || !write_embedding(k, path, w)) {
        if (!k->inside && !k->n_values)
            sketch_need_x(k);
        write_linear(k, path, w, v);
    }
    for (size_t i = 0; i < b->n_children; i++)
        if (b->children[i] != weight && b->children[i] != bias)
            place(k, joined(k, path, b->children[i]->name), b->children[i]->tensor, NULL);
}

/* ---- scopes and layers ------------------------------------------------------------------------------------------ */

static void write_scope(Sketch *k, const Branch *b, const char *path);

static void write_branch(Sketch *k, const Branch *b, const char *path)
{
    if (branch_is_module(b)) {
        write_module(k, b, path);
        return;
    }
    place(k, path, b->tensor, NULL);
    if (b->n_children)
        write_scope(k, b, path);
}

/* "Layer" for encoder.layer.{i}; with the scope before it, or a number, if the name is taken. */
static const char *block_name(Sketch *k, const char *path)
{
    Text name = text_new(k->cx->arena);
    bool start = true;
    for (const char *c = last_word(path); *c; c++) {
        bool letter = isalpha((unsigned char)*c) || (name.length && isdigit((unsigned char)*c));
        if (letter)
            text_char(&name, start ? (char)toupper((unsigned char)*c) : *c);
        start = !letter;
    }
    size_t length = name.length;
    if (length > 3 && name.data[length - 1] == 's')
        name.data[--length] = 0;
    const char *base = length > 1 ? name.data : "Layer", *free = base;
    for (int i = 2; map_has(&k->taken, free) || sizes_taken(&k->sizes, free); i++)
        free = arena_print(k->cx->arena, "%s%d", base, i);
    map_set(&k->taken, free, k);
    return free;
}

/* The block for layers like this one, written when the first of them is met. */
static const char *layer_block(Sketch *k, const Branch *layer, const char *path)
{
    const char *shape = branch_shape(k->cx, layer), *name = map_get(&k->written, shape);
    if (name)
        return name;
    name = block_name(k, path);
    map_set(&k->written, shape, (void *)(uintptr_t)name);
    Text body = text_new(k->cx->arena), *out = k->out;
    Value values[MAX_VALUES];
    int n_values = k->n_values, indent = k->indent;
    memcpy(values, k->values, sizeof values);
    const char *d = sizes_name(&k->sizes, k->hidden);
    k->out = &body;
    k->inside = true;
    k->n_values = 0;
    set_x(k, k->hidden);
    k->indent = 0;
    line(k, "block %s(x: [B, S, %s]) -> [B, S, %s] {", name, d, d);
    k->indent = 1;
    write_scope(k, layer, "");
    line(k, "return x");
    text_add(&k->blocks, "%s}\n\n", body.data);
    k->out = out;
    k->inside = false;
    k->indent = indent;
    k->n_values = n_values;
    memcpy(k->values, values, sizeof values);
    return name;
}

/* Layers first .. end of `b`, all alike. */
static void write_layers(Sketch *k, const Branch *b, size_t first, size_t end, const char *path)
{
    sketch_need_x(k);
    const char *block = layer_block(k, b->children[first], path);
    int64_t from = b->children[first]->number;
    if (end - first == 1) {
        line(k, "x = \"%s\"::%s(x)", joined(k, path, b->children[first]->name), block);
    } else if (from == 0) {
        const char *count = sizes_layers(&k->sizes, (int64_t)(end - first));
        line(k, "repeat i < %s at \"%s\" { x = %s(x) }", count, joined(k, path, "{i}"), block);
    } else {
        const char *count = sizes_layers(&k->sizes, from + (int64_t)(end - first));
        line(k, "repeat i in %lld..%s at \"%s\" { x = %s(x) }", (long long)from, count, joined(k, path, "{i}"), block);
    }
    k->n_values = 1;
}

/* Tensors of all experts as one: down_proj = weight("experts.{Experts}.down_proj.weight", [Experts, D, F]). */
static void write_stack(Sketch *k, const Branch *b, const char *path, const char *axis)
{
    place(k, path, b->tensor, axis);
    for (size_t i = 0; i < b->n_children; i++)
        write_stack(k, b->children[i], joined(k, path, b->children[i]->name), axis);
}

/* Inside a layer, numbered scopes that are all alike are stacked. */
static bool is_stack(Sketch *k, const Branch *b)
{
    bool numbered =
        k->inside && b->n_children > 1 && b->children[0]->number == 0 && branch_rank(b->children[0]) < MAX_RANK;
    const char *shape = numbered ? branch_shape(k->cx, b->children[0]) : NULL;
    for (size_t i = 1; numbered && i < b->n_children; i++)
        numbered = b->children[i]->number == (int64_t)i && !strcmp(shape, branch_shape(k->cx, b->children[i]));
    return numbered;
}

static bool is_layers(const Sketch *k, const Branch *b, size_t i)
{
    const Branch *c = b->children[i];
    return !k->inside && c->number >= 0 && b->n_children > 1 && !branch_is_module(c) && !c->tensor;
}

static size_t alike(Sketch *k, const Branch *b, size_t first)
{
    const char *shape = branch_shape(k->cx, b->children[first]);
    size_t end = first + 1;
    while (end < b->n_children && is_layers(k, b, end) &&
           b->children[end]->number == b->children[end - 1]->number + 1 &&
           !strcmp(shape, branch_shape(k->cx, b->children[end])))
        end++;
    return end;
}

/* Everything below `b`, whose path within the scope at hand is `path`. A scope of its own is worth it from two lines
 * on. */
static void write_scope(Sketch *k, const Branch *b, const char *path)
{
    if (is_stack(k, b)) {
        const char *axis = sizes_stack(&k->sizes, (int64_t)b->n_children);
        write_stack(k, b->children[0], joined(k, path, arena_print(k->cx->arena, "{%s}", axis)), axis);
        return;
    }
    bool numbered = b->n_children > 1 && b->children[0]->number >= 0;
    bool opens = *path && b->n_children > 1 && !(numbered && !k->inside);
    if (opens) {
        line(k, "at \"%s\" {", path);
        k->indent++;
        path = "";
    }
    for (size_t i = 0; i < b->n_children;) {
        if (is_layers(k, b, i)) {
            size_t end = alike(k, b, i);
            write_layers(k, b, i, end, path);
            i = end;
        } else {
            write_branch(k, b->children[i], joined(k, path, b->children[i]->name));
            i++;
        }
    }
    if (opens) {
        k->indent--;
        line(k, "}");
    }
}

void sketch_scope(Sketch *k, const Branch *root)
{
    write_scope(k, root, "");
}
