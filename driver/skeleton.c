/* The skeleton as a file: what is guessed about the whole, the declarations, and the comments that say so. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "driver/skeleton_inside.h"

/* ---- guesses about the whole ------------------------------------------------------------------------------------ */

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
            best = strtoll(v->widths.entries[i].key, NULL, 10);
        }
    for (int64_t i = 0; !best && i < count; i++)
        best = tensors[i].rank ? tensors[i].dims[tensors[i].rank - 1] : 0;
    return best ? best : 1;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

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
            write_wrapped(&body, arena_print(k->cx->arena, "%s = %s", k->sizes.names[i].name, k->sizes.names[i].key),
                          "; ", "  ");
            any = true;
        }
    if (k->sizes.eps && (k->layernorms || k->rmsnorms)) {
        write_wrapped(&body, arena_print(k->cx->arena, "eps = %s", k->sizes.eps), "; ", "  ");
        any = true;
    }
    if (any)
        text_add(out, "config \"config.json\" {\n%s\n}\n", body.data);
}

/* Fit for a comment: what a file says may not end the line. */
static bool is_plain(const char *text)
{
    bool plain = text && strlen(text) < 60;
    for (const char *c = text; plain && *c; c++)
        plain = isgraph((unsigned char)*c);
    return plain;
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
        bool plain = is_plain(key) && (json_is_number(value) || json_is_boolean(value) || json_is_string(value));
        char *dumped = plain && !used ? json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
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

static void write_head(Sketch *k, Text *out)
{
    const char *type = json_string_value(json_object_get(k->sizes.config, "model_type"));
    text_add(out,
             "# A skeleton for checkpoints of type %s, from the names and shapes of the tensors: each is placed.\n",
             is_plain(type) ? type : "unknown");
    text_add(out,
             "# Guessed: matrices are linear maps stored %s, pairs of one axis are norms, each reads the nearest value "
             "of its width,\n"
             "# and what comes back to the width of x is added to it. Attention and activations are in no checkpoint: "
             "write them in.\n",
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
    text_add(out, "\n# whole numbers, single numbers and empty tensors are no weights\n");
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

const char *skeleton_write(Context *cx, const char *name, const char *path, json_t *config, const HostTensor *tensors,
                           int64_t count)
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
    sketch_scope(k, root);
    if (!k->n_values)
        sketch_need_x(k);
    const char *d =
        k->logits ? sizes_name(&k->sizes, sizes_of(&k->sizes, "V")) : sizes_name(&k->sizes, k->values[0].size);
    text_add(&body, "  return %s\n", k->logits ? k->logits : "x");
    Text rest = text_new(cx->arena);
    write_declarations(k, &rest);
    write_head(k, &out);
    write_config(k, &out);
    text_put(&out, rest.data, rest.length);
    text_add(&out, "model %s(%s) -> (%s: f32[B, S, %s]) {\n%s}\n", name, k->inputs.data,
             k->logits ? "logits" : "hidden", d, body.data);
    write_ignored(&ignored, &out);
    return out.data;
}
