/* The skeleton: walks the tree of names and writes one line for every tensor or pair of weight and bias.
 *
 * A line reads the nearest value above it that has the axis it takes; what goes back to the width of the model is added
 * to x. Where no value fits, the tensor is still placed by `weight`, so that names and shapes are checked from the start. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "driver/skeleton_inside.h"

enum { MAX_VALUES = 64 };

typedef struct Value {          /* [B, S, size] */
    const char *name;
    int64_t size;
} Value;

typedef struct Sketch {
    Context *cx;
    Sizes sizes;
    int64_t hidden;             /* the width of x */
    bool swapped, biased;       /* most linear maps are stored in,out; have a bias */
    bool layernorms, rmsnorms, placed;
    Text blocks, inputs;
    Map written, taken;         /* shape of a layer -> its block; names of blocks */
    Text *out;
    int indent;
    bool inside;                /* in a block: no ids, and no repeat */
    Value values[MAX_VALUES];   /* those of the block at hand, x first */
    int n_values;
    bool has_ids;
    const char *logits;
} Sketch;

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

/* ---- values ------------------------------------------------------------------------------------------------------ */

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

static void set_value(Sketch *k, const char *name, int64_t size)
{
    int to = 0;
    for (int i = 0; i < k->n_values; i++)
        if (i == 0 || strcmp(k->values[i].name, name))
            k->values[to++] = k->values[i];
    k->n_values = to < MAX_VALUES ? to : MAX_VALUES - 1;
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

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void place(Sketch *k, const char *path, const HostTensor *t)
{
    if (!t)
        return;
    line(k, "%s = weight(\"%s\", %s)", variable(k, path), path, sizes_axes(&k->sizes, t));
    k->placed = true;
}

static void place_both(Sketch *k, const char *path, const HostTensor *w, const HostTensor *bias)
{
    place(k, joined(k, path, "weight"), w);
    place(k, joined(k, path, "bias"), bias);
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
    static const char *const parts[] = {"emb", "wte", "wpe", "shared", "tok"}, *const heads[] = {"head", "embed_out", "decoder"};
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
static void need_x(Sketch *k)
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
            need_x(k);
        write_norm(k, path, w, v);
    } else if (v || !write_embedding(k, path, w)) {
        if (!k->inside && !k->n_values)
            need_x(k);
        write_linear(k, path, w, v);
    }
    for (size_t i = 0; i < b->n_children; i++)
        if (b->children[i] != weight && b->children[i] != bias)
            place(k, joined(k, path, b->children[i]->name), b->children[i]->tensor);
}

/* ---- scopes and layers ------------------------------------------------------------------------------------------- */

static void write_scope(Sketch *k, const Branch *b, const char *path);

static void write_branch(Sketch *k, const Branch *b, const char *path)
{
    if (branch_is_module(b)) {
        write_module(k, b, path);
        return;
    }
    place(k, path, b->tensor);
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
    need_x(k);
    const char *block = layer_block(k, b->children[first], path);
    const char *count = sizes_layers(&k->sizes, (int64_t)(end - first));
    if (b->children[first]->number == 0 && end - first > 1) {
        line(k, "repeat i < %s at \"%s\" { x = %s(x) }", count, joined(k, path, "{i}"), block);
    } else {
        for (size_t i = first; i < end; i++)
            line(k, "x = \"%s\"::%s(x)", joined(k, path, b->children[i]->name), block);
    }
    k->n_values = 1;
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

/* Everything below `b`, whose path within the scope at hand is `path`. A scope of its own is worth it from two lines on. */
static void write_scope(Sketch *k, const Branch *b, const char *path)
{
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

/* ---- guesses about the whole ------------------------------------------------------------------------------------- */

typedef struct Votes {
    int64_t straight, swapped, biased, plain;
    Map widths;
} Votes;

static void vote(Context *cx, const Branch *b, Votes *v)
{
    const Branch *weight = branch_child(b, "weight"), *bias = branch_child(b, "bias");
    const HostTensor *w = weight ? weight->tensor : NULL, *c = bias ? bias->tensor : NULL;
    if (w && w->rank == 2 && c && c->rank == 1 && w->dims[0] != w->dims[1]) {
        v->straight += w->dims[0] == c->dims[0];
        v->swapped += w->dims[1] == c->dims[0];
    }
    if (w && w->rank == 2) {
        v->biased += c != NULL;
        v->plain += c == NULL;
    }
    const HostTensor *t = w && w->rank == 1 ? w : b->tensor && b->tensor->rank == 1 ? b->tensor : NULL;
    if (t) {
        const char *key = arena_print(cx->arena, "%lld", (long long)t->dims[0]);
        map_set(&v->widths, key, (void *)((uintptr_t)map_get(&v->widths, key) + (w ? 16 : 1)));
    }
    for (size_t i = 0; i < b->n_children; i++)
        vote(cx, b->children[i], v);
}

/* The width of x: as config.json says, or of most norms. */
static int64_t guess_hidden(const Sketch *k, const Votes *v, const HostTensor *tensors, int64_t count)
{
    int64_t said = sizes_of(&k->sizes, "D"), best = 0;
    for (int64_t i = 0; i < count; i++)
        for (int d = 0; said && d < tensors[i].rank; d++)
            if (tensors[i].dims[d] == said)
                return said;
    uintptr_t most = 0;
    for (size_t i = 0; i < v->widths.count; i++)
        if ((uintptr_t)v->widths.entries[i].value > most) {
            most = (uintptr_t)v->widths.entries[i].value;
            best = text_to_double(v->widths.entries[i].key, NULL) > 0 ? (int64_t)text_to_double(v->widths.entries[i].key, NULL) : 0;
        }
    for (int64_t i = 0; !best && i < count; i++)
        best = tensors[i].rank ? tensors[i].dims[tensors[i].rank - 1] : 0;
    return best ? best : 1;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static void write_wrapped(Text *out, const char *item, const char *between, const char *start)
{
    size_t column = text_column(out);
    if (column + strlen(item) + 2 > 116) {
        text_add(out, "\n%s", start);
    } else if (column > strlen(start)) {
        text_add(out, "%s", between);
    }
    text_add(out, "%s", item);
}

static void write_config(Sketch *k, Text *out)
{
    Text body = text_new(k->cx->arena);
    text_add(&body, "  ");
    bool any = false;
    for (size_t i = 0; i < k->sizes.count; i++)
        if (k->sizes.names[i].used) {
            write_wrapped(&body, arena_print(k->cx->arena, "%s = %s", k->sizes.names[i].name, k->sizes.names[i].key), "; ", "  ");
            any = true;
        }
    if (k->sizes.eps && (k->layernorms || k->rmsnorms)) {
        write_wrapped(&body, arena_print(k->cx->arena, "eps = %s", k->sizes.eps), "; ", "  ");
        any = true;
    }
    if (any)
        text_add(out, "config \"config.json\" {\n%s\n}\n", body.data);
}

static void write_others(Sketch *k, Text *out)
{
    const char *key;
    json_t *value;
    Text rest = text_new(k->cx->arena);
    text_add(&rest, "# ");
    json_object_foreach(k->sizes.config, key, value)
    {
        bool used = k->sizes.eps && !strcmp(k->sizes.eps, key);
        for (size_t i = 0; i < k->sizes.count; i++)
            used = used || (k->sizes.names[i].used && !strcmp(k->sizes.names[i].key, key));
        bool plain = json_is_number(value) || json_is_boolean(value) || json_is_string(value);
        char *dumped = plain && !used && strlen(key) < 60 ? json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
        Text shown = text_new(k->cx->arena);
        if (dumped && json_is_real(value))
            text_double(&shown, json_real_value(value));
        else if (dumped)
            text_add(&shown, "%s", dumped);
        if (shown.length && shown.length < 60)
            write_wrapped(&rest, arena_print(k->cx->arena, "%s = %s", key, shown.data), ", ", "# ");
        free(dumped);
    }
    if (rest.length > 2)
        text_add(out, "# Not used here, but in config.json:\n%s\n", rest.data);
}

static void write_head(Sketch *k, Text *out, const char *path)
{
    const char *type = json_string_value(json_object_get(k->sizes.config, "model_type"));
    bool plain = type && strlen(type) < 60;
    for (const char *c = type; plain && *c; c++)
        plain = isgraph((unsigned char)*c);
    text_add(out, "# A skeleton for %s%s%s, from the names and shapes of its tensors: each is placed and checked.\n", plain ? "checkpoints of type " : "the checkpoint in ",
             plain ? type : "", plain ? "" : path);
    text_add(out, "# Guessed: matrices are linear maps stored %s, pairs of one axis are norms, each reads the nearest value of its width,\n"
                  "# and what comes back to the width of x is added to it. Attention and activations are in no checkpoint: write them in.\n",
             k->swapped ? "in,out" : "out,in");
    if (k->placed)
        text_add(out, "# Tensors that stand alone as `weight` found no value of their axes.\n");
    write_others(k, out);
}

static void write_declarations(Sketch *k, Text *out)
{
    if (k->biased || k->swapped)
        text_add(out, "default linear(%s%s%s)\n", k->biased ? "bias=true" : "", k->biased && k->swapped ? ", " : "",
                 k->swapped ? "order=\"in,out\"" : "");
    if (k->sizes.eps && k->layernorms)
        text_add(out, "default layernorm(eps=eps)\n");
    if (k->sizes.eps && k->rmsnorms)
        text_add(out, "default rmsnorm(eps=eps)\n");
    for (size_t i = 0; i < k->sizes.lets.count; i++)
        text_add(out, "let %s = %s\n", k->sizes.lets.entries[i].key, (const char *)k->sizes.lets.entries[i].value);
    text_char(out, '\n');
    text_put(out, k->blocks.data ? k->blocks.data : "", k->blocks.length);
}

static void write_ignored(const Map *ignored, Text *out)
{
    if (!ignored->count)
        return;
    text_add(out, "\n# whole numbers and single numbers are no weights\n");
    for (size_t i = 0; i < ignored->count; i++)
        text_add(out, "ignore \"%s\"\n", ignored->entries[i].key);
}

static bool check_names(Context *cx, const char *path, const HostTensor *tensors, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const char *n = tensors[i].name;
        size_t length = strlen(n);
        bool good = length && length < 256 && n[0] != '.' && n[length - 1] != '.' && !strstr(n, "..");
        for (const char *c = n; *c; c++)
            good = good && isgraph((unsigned char)*c) && !strchr("{}\"\\", *c);
        if (!good) {
            diag_file_error(cx->diags, "E0443", path, NULL,
                            "tensor number %lld has a name that no path of a model file can be", (long long)i);
            return false;
        }
    }
    if (!count)
        diag_file_error(cx->diags, "E0443", path, NULL, "it has no tensors");
    return count > 0;
}

const char *skeleton_write(Context *cx, const char *name, const char *path, json_t *config, const HostTensor *tensors, int64_t count)
{
    if (!check_names(cx, path, tensors, count))
        return NULL;
    Sketch sketch = {.cx = cx, .written = map_new(cx->arena), .taken = map_new(cx->arena)}, *k = &sketch;
    Map ignored = map_new(cx->arena);
    Votes votes = {.widths = map_new(cx->arena)};
    Text body = text_new(cx->arena), out = text_new(cx->arena);
    k->blocks = text_new(cx->arena);
    k->inputs = text_new(cx->arena);
    sizes_begin(&k->sizes, cx, config);
    Branch *root = branch_tree(cx, tensors, count, &ignored);
    vote(cx, root, &votes);
    k->hidden = guess_hidden(k, &votes, tensors, count);
    k->swapped = votes.swapped > votes.straight;
    k->biased = votes.biased > votes.plain;
    map_set(&k->taken, name, k);
    k->out = &body;
    k->indent = 1;
    write_scope(k, root, "");
    if (!k->n_values)
        need_x(k);
    const char *result = k->logits ? "V" : "x";
    const char *d = k->logits ? sizes_name(&k->sizes, sizes_of(&k->sizes, "V")) : sizes_name(&k->sizes, width(k));
    line(k, "return %s", k->logits ? k->logits : result);
    Text rest = text_new(cx->arena);
    write_declarations(k, &rest);
    write_head(k, &out, path);
    write_config(k, &out);
    text_put(&out, rest.data, rest.length);
    text_add(&out, "model %s(%s) -> (%s: f32[B, S, %s]) {\n%s}\n", name, k->inputs.data, k->logits ? "logits" : "hidden", d, body.data);
    write_ignored(&ignored, &out);
    return out.data;
}
