/* The index of a sharded checkpoint: which tensor lies in which file.
 *
 * Shard names come from a file, so each is checked before anything is opened: a plain relative path below the
 * index's folder that ends in .safetensors. Then the shards are opened and the index is compared with what they
 * hold. */
#include "runtime/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include "runtime/file.h"
#include "support/json.h"

enum { MAX_SHARDS = 4096, INDEX_DEPTH = 8 };
#define MAX_INDEX ((size_t)100000000)

typedef struct Index {
    Context *cx;
    const char *path, *folder; /* folder with its slash, or "" */
    Map shards;                /* name -> number + 1 */
    Shards *out;
} Index;

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* Why this name may not be opened, or NULL. */
static const char *unsafe(const char *name)
{
    if (name[0] == 0)
        return "it is empty";
    if (name[0] == '/')
        return "it is an absolute path";
    if (strchr(name, '\\'))
        return "it contains a backslash";
    if (strstr(name, "://"))
        return "it is a URL";
    for (const char *part = name; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t n = strcspn(part, "/");
        if (n == 2 && !strncmp(part, "..", 2))
            return "it leaves the folder";
        if (n == 0 || (n == 1 && part[0] == '.'))
            return "it is not a plain relative path";
    }
    if (!ends_with(name, ".safetensors"))
        return "it does not end in .safetensors";
    return NULL;
}

static bool fail_tensor(const Index *x, const char *name, const char *code, const char *message)
{
    const char *where = arena_print(x->cx->arena, "tensor `%s`", file_shown(x->cx, name));
    diag_file_error(x->cx->diags, code, x->path, where, "%s", message);
    return false;
}

/* Numbers the shards in the order in which the index first names them. */
static bool collect_shards(Index *x, json_t *weight_map)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value)
    {
        if (!json_is_string(value))
            return fail_tensor(x, tensor, "E0432", "the shard is not a string");
        const char *shard = json_string_value(value), *why = unsafe(shard);
        if (why) {
            return fail_tensor(
                x, tensor, "E0433",
                arena_print(x->cx->arena, "the shard `%s` is not opened: %s", file_shown(x->cx, shard), why));
        }
        if (map_has(&x->shards, shard))
            continue;
        if (x->shards.count == MAX_SHARDS)
            return fail_tensor(x, tensor, "E0431", "the index names more than 4096 shards");
        map_set(&x->shards, shard, (void *)(x->shards.count + 1));
    }
    return true;
}

static bool open_shards(Index *x)
{
    x->out->files = arena_array(x->cx->arena, x->shards.count + 1, sizeof *x->out->files);
    for (size_t i = 0; i < x->shards.count; i++) {
        const char *path = arena_print(x->cx->arena, "%s%s", x->folder, x->shards.entries[i].key);
        if (!tensor_file_open(x->cx, path, &x->out->files[i])) {
            diag_note(x->cx->diags->last, "the file is a shard named by %s", x->path);
            return false;
        }
        x->out->n_files++;
    }
    return true;
}

static bool place_tensor(const Index *x, const char *name, const char *shard, Place *out)
{
    out->file = (int)(size_t)map_get(&x->shards, shard) - 1;
    out->tensor = tensor_file_find(&x->out->files[out->file], name);
    if (out->tensor >= 0)
        return true;
    for (int i = 0; i < x->out->n_files; i++) {
        if (tensor_file_find(&x->out->files[i], name) < 0)
            continue;
        return fail_tensor(x, name, "E0435",
                           arena_print(x->cx->arena, "the index says that it is in %s, but it is in %s", shard,
                                       x->shards.entries[i].key));
    }
    return fail_tensor(x, name, "E0435",
                       arena_print(x->cx->arena, "the index says that it is in %s, but no shard has it", shard));
}

static int compare_by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The table of the index, sorted by name. */
static bool merge(Index *x, json_t *weight_map)
{
    Arena *a = x->cx->arena;
    size_t count = json_object_size(weight_map), n = 0;
    const char **names = arena_array(a, count + 1, sizeof *names), *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value) names[n++] = tensor;
    if (n > 1)
        qsort(names, n, sizeof *names, compare_by_name);
    x->out->tensors = arena_array(a, count + 1, sizeof *x->out->tensors);
    x->out->places = arena_array(a, count + 1, sizeof *x->out->places);
    for (size_t i = 0; i < n; i++) {
        Place *p = &x->out->places[i];
        if (!place_tensor(x, names[i], json_string_value(json_object_get(weight_map, names[i])), p))
            return false;
        x->out->tensors[i] = x->out->files[p->file].tensors[p->tensor];
    }
    x->out->count = (int64_t)n;
    return true;
}

/* What the shards hold beyond the index: the same name in another shard is an error, a name of its own a warning. */
static bool check_leftovers(const Index *x, json_t *weight_map)
{
    size_t unlisted = 0;
    const char *example = NULL;
    for (int i = 0; i < x->out->n_files; i++) {
        const TensorFile *f = &x->out->files[i];
        for (int64_t j = 0; j < f->count; j++) {
            json_t *listed = json_object_get(weight_map, f->tensors[j].name);
            if (!listed) {
                if (unlisted++ == 0)
                    example = f->tensors[j].name;
                continue;
            }
            if (!strcmp(json_string_value(listed), x->shards.entries[i].key))
                continue;
            return fail_tensor(x, f->tensors[j].name, "E0435",
                               arena_print(x->cx->arena, "it is in two shards: %s and %s", json_string_value(listed),
                                           x->shards.entries[i].key));
        }
    }
    if (unlisted == 0)
        return true;
    diag_file_warning(
        x->cx->diags, "W0438", x->path, arena_print(x->cx->arena, "tensor `%s`", file_shown(x->cx, example)),
        "the shards hold %zu tensor%s that the index does not list; not used", unlisted, unlisted == 1 ? "" : "s");
    return true;
}

static void check_total(const Index *x, json_t *root)
{
    json_t *total = json_at(root, "metadata.total_size");
    uint64_t bytes = 0;
    if (!total)
        return;
    for (int64_t i = 0; i < x->out->count; i++)
        bytes += tensor_bytes(&x->out->tensors[i]);
    if (json_is_integer(total) && (uint64_t)json_integer_value(total) == bytes)
        return;
    if (json_is_real(total) && json_real_value(total) == (double)bytes)
        return;
    diag_file_warning(x->cx->diags, "W0437", x->path, "metadata.total_size",
                      "it does not say the %llu bytes that the tensors have", (unsigned long long)bytes);
}

static bool read_index(Index *x, json_t *root)
{
    json_t *weight_map = json_object_get(root, "weight_map");
    if (!json_is_object(weight_map)) {
        diag_file_error(x->cx->diags, "E0432", x->path, NULL, "the index has no object `weight_map`");
        return false;
    }
    if (json_object_size(weight_map) == 0) {
        diag_file_error(x->cx->diags, "E0432", x->path, "weight_map", "the index lists no tensor");
        return false;
    }
    if (!collect_shards(x, weight_map) || !open_shards(x) || !merge(x, weight_map))
        return false;
    if (!check_leftovers(x, weight_map))
        return false;
    check_total(x, root);
    return true;
}

bool index_open(Context *cx, const char *path, Shards *out)
{
    *out = (Shards){0};
    json_t *root = json_read_file(cx->diags, "E0432", path, MAX_INDEX, INDEX_DEPTH);
    if (!root)
        return false;
    const char *slash = strrchr(path, '/');
    Index x = {.cx = cx, .path = path, .shards = map_new(cx->arena), .out = out};
    x.folder = slash ? arena_copy(cx->arena, path, (size_t)(slash - path) + 1) : "";
    bool good = read_index(&x, root);
    json_decref(root);
    for (int i = 0; !good && i < out->n_files; i++)
        tensor_file_close(&out->files[i]);
    return good;
}
