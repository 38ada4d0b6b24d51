/* Checkpoints: one safetensors file, or an index and its shards, behind one table sorted by name. Tensors made at compile
 * time are a layer over another checkpoint: the table of both, each row with its number below or among the made ones. */
#include "runtime/checkpoint.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/file.h"
#include "runtime/safetensors.h"
#include "support/checked.h"

enum { CHUNK = 64 << 10, FILES_SHOWN = 6 };

struct Checkpoint {
    const char *path;
    Shards shards;          /* of a layer: the table alone; file MADE or BELOW, and the number there */
    const MadeTensor *made; /* NULL: no layer */
    Checkpoint *base;       /* below the layer; NULL: nothing */
};

enum { MADE = -1, BELOW = -2 };

/* ---- finding the files ------------------------------------------------------------------------------------------- */

static const char *join(Context *cx, const char *folder, const char *name)
{
    size_t n = strlen(folder);
    return arena_print(cx->arena, n > 0 && folder[n - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
}

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* Notes what a folder without a checkpoint holds instead: other safetensors files, pickled weights. */
static void note_others(Context *cx, const char *path, Diag *d)
{
    DIR *folder = opendir(path);
    if (!folder)
        return;
    int shown = 0;
    for (struct dirent *e = readdir(folder); e && shown < FILES_SHOWN; e = readdir(folder)) {
        bool tensors = ends_with(e->d_name, ".safetensors") || ends_with(e->d_name, ".safetensors.index.json");
        bool pickled = ends_with(e->d_name, ".bin") || ends_with(e->d_name, ".pt") || ends_with(e->d_name, ".pth");
        if (!tensors && !pickled)
            continue;
        shown++;
        if (tensors)
            diag_help(d, "the folder has `%s`: name this file itself", file_shown(cx, e->d_name));
        else
            diag_help(d,
                      "the folder has `%s`: pickled weights can run code and are not read; convert them to safetensors",
                      file_shown(cx, e->d_name));
    }
    closedir(folder);
}

/* The file in a folder that is the checkpoint, or NULL and a diagnostic that says what was looked for. */
static const char *in_folder(Context *cx, const char *path)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *file = join(cx, path, names[i]);
        struct stat st;
        if (lstat(file, &st) == 0)
            return file;
        if (errno == ENOENT)
            continue;
        diag_file_error(cx->diags, "E0421", file, NULL, "cannot open the file: %s", file_reason(cx, errno));
        return NULL;
    }
    Diag *d = diag_file_error(cx->diags, "E0421", path, NULL, "the folder has neither %s nor %s", names[0], names[1]);
    note_others(cx, path, d);
    return NULL;
}

static bool open_single(Context *cx, const char *path, Shards *out)
{
    TensorFile *f = arena_alloc(cx->arena, sizeof *f);
    *out = (Shards){0};
    if (!tensor_file_open(cx, path, f))
        return false;
    *out = (Shards){.files = f, .n_files = 1, .count = f->count, .tensors = f->tensors};
    return true;
}

Checkpoint *checkpoint_open(Context *cx, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        diag_file_error(cx->diags, "E0421", path, NULL, "cannot open the checkpoint: %s", file_reason(cx, errno));
        return NULL;
    }
    const char *file = S_ISDIR(st.st_mode) ? in_folder(cx, path) : path;
    if (!file)
        return NULL;
    Checkpoint *c = arena_alloc(cx->arena, sizeof *c);
    c->path = arena_copy(cx->arena, file, strlen(file));
    bool good = ends_with(file, ".json") ? index_open(cx, c->path, &c->shards) : open_single(cx, c->path, &c->shards);
    return good ? c : NULL;
}

/* ---- several ----------------------------------------------------------------------------------------------------- */

typedef struct Entry {
    HostTensor tensor;
    Place place;
} Entry;

typedef struct Parts {
    Checkpoint **items;
    const char *const *prefixes;
    int n;
} Parts;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Entry *)a)->tensor.name, ((const Entry *)b)->tensor.name);
}

/* All tensors of the parts, whose files lie one part after the other in `out`. */
static Entry *collect(Context *cx, const Parts *parts, Shards *out)
{
    int64_t n = 0;
    int files = 0;
    for (int i = 0; i < parts->n; i++) {
        n += parts->items[i]->shards.count;
        files += parts->items[i]->shards.n_files;
    }
    *out = (Shards){.files = arena_array(cx->arena, (size_t)files, sizeof *out->files), .count = n};
    Entry *all = arena_array(cx->arena, (size_t)n + 1, sizeof *all);
    n = 0;
    for (int i = 0; i < parts->n; i++) {
        const Shards *s = &parts->items[i]->shards;
        for (int64_t t = 0; t < s->count; t++) {
            Place place = s->places ? s->places[t] : (Place){0, t};
            place.file += out->n_files;
            all[n] = (Entry){s->tensors[t], place};
            if (parts->prefixes[i])
                all[n].tensor.name = arena_print(cx->arena, "%s.%s", parts->prefixes[i], s->tensors[t].name);
            n++;
        }
        memcpy(out->files + out->n_files, s->files, (size_t)s->n_files * sizeof *s->files);
        out->n_files += s->n_files;
    }
    return all;
}

static bool join_parts(Context *cx, const Parts *parts, Shards *out)
{
    Entry *all = collect(cx, parts, out);
    if (out->count > 1)
        qsort(all, (size_t)out->count, sizeof *all, by_name);
    out->tensors = arena_array(cx->arena, (size_t)out->count + 1, sizeof *out->tensors);
    out->places = arena_array(cx->arena, (size_t)out->count + 1, sizeof *out->places);
    for (int64_t i = 0; i < out->count; i++) {
        const TensorFile *f = &out->files[all[i].place.file];
        if (i > 0 && !strcmp(all[i - 1].tensor.name, all[i].tensor.name)) {
            const char *where = arena_print(cx->arena, "tensor `%s`", file_shown(cx, all[i].tensor.name));
            Diag *d = diag_file_error(cx->diags, "E0436", f->path, where, "another of the weights has this tensor too");
            diag_note(d, "it is in %s", out->files[all[i - 1].place.file].path);
            return false;
        }
        out->tensors[i] = all[i].tensor;
        out->places[i] = all[i].place;
    }
    return true;
}

Checkpoint *checkpoint_open_all(Context *cx, const char *const *paths, const char *const *prefixes, int count)
{
    if (count == 1 && !prefixes[0])
        return checkpoint_open(cx, paths[0]);
    Parts parts = {.items = arena_array(cx->arena, (size_t)count + 1, sizeof *parts.items), .prefixes = prefixes};
    Checkpoint *c = arena_alloc(cx->arena, sizeof *c), *part;
    Text path = text_new(cx->arena);
    while (parts.n < count && (part = checkpoint_open(cx, paths[parts.n])) != NULL) {
        text_add(&path, "%s%s", parts.n ? " and " : "", part->path);
        parts.items[parts.n++] = part;
    }
    c->path = path.data;
    if (parts.n == count && join_parts(cx, &parts, &c->shards))
        return c;
    for (int i = 0; i < parts.n; i++)
        checkpoint_close(parts.items[i]);
    return NULL;
}

void checkpoint_close(Checkpoint *c)
{
    if (c && c->base)
        checkpoint_close(c->base);
    for (int i = 0; c && i < c->shards.n_files; i++)
        tensor_file_close(&c->shards.files[i]);
}

/* ---- made at compile time ---------------------------------------------------------------------------------------- */

static HostTensor made_row(const MadeTensor *m)
{
    HostTensor t = {.name = m->name, .dtype = m->dtype, .rank = m->rank};
    memcpy(t.dims, m->dims, sizeof t.dims);
    return t;
}

/* By name; of one name the made one first. */
static int by_layer(const void *a, const void *b)
{
    int order = by_name(a, b);
    const Place *x = &((const Entry *)a)->place, *y = &((const Entry *)b)->place;
    return order ? order : y->file - x->file;
}

static bool add_row(Context *cx, Checkpoint *c, const Entry *e)
{
    Shards *s = &c->shards;
    if (s->count > 0 && !strcmp(s->tensors[s->count - 1].name, e->tensor.name)) {
        if (e->place.file == BELOW)
            return true;
        diag_file_error(cx->diags, "E0436", c->made[e->place.tensor].origin,
                        arena_print(cx->arena, "tensor `%s`", file_shown(cx, e->tensor.name)),
                        "it is made twice; the other one is of %s", checkpoint_file(c, e->tensor.name));
        return false;
    }
    s->tensors[s->count] = e->tensor;
    s->places[s->count++] = e->place;
    return true;
}

Checkpoint *checkpoint_with(Context *cx, Checkpoint *base, const MadeTensor *made, int64_t count)
{
    int64_t below = base ? base->shards.count : 0;
    MadeTensor *kept = arena_array(cx->arena, (size_t)count + 1, sizeof *kept);
    if (count > 0)
        memcpy(kept, made, (size_t)count * sizeof *kept);
    Checkpoint *c = arena_alloc(cx->arena, sizeof *c);
    *c = (Checkpoint){.path = base ? base->path : "(made)", .made = kept, .base = base};
    Entry *all = arena_array(cx->arena, (size_t)(below + count) + 1, sizeof *all);
    for (int64_t i = 0; i < below; i++)
        all[i] = (Entry){base->shards.tensors[i], {BELOW, i}};
    for (int64_t i = 0; i < count; i++)
        all[below + i] = (Entry){made_row(&made[i]), {MADE, i}};
    if (below + count > 1)
        qsort(all, (size_t)(below + count), sizeof *all, by_layer);
    c->shards.tensors = arena_array(cx->arena, (size_t)(below + count) + 1, sizeof *c->shards.tensors);
    c->shards.places = arena_array(cx->arena, (size_t)(below + count) + 1, sizeof *c->shards.places);
    for (int64_t i = 0; i < below + count; i++)
        if (!add_row(cx, c, &all[i]))
            return NULL;
    return c;
}

/* The made tensor in row `i` of the table, or NULL and *c, *i where a file has it. */
static const MadeTensor *made_of(const Checkpoint **c, int64_t *i)
{
    while ((*c)->made) {
        Place place = (*c)->shards.places[*i];
        if (place.file == MADE)
            return &(*c)->made[place.tensor];
        *c = (*c)->base;
        *i = place.tensor;
    }
    return NULL;
}

static int read_made(const MadeTensor *m, uint64_t first, uint64_t bytes, void *out)
{
    uint64_t size = dtype_size(m->dtype);
    assert(first % size == 0 && bytes % size == 0);
    if (!m->data)
        return m->make(m->state, (int64_t)(first / size), (int64_t)(bytes / size), out);
    memcpy(out, m->data + first / size, bytes);
    return 0;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

const HostTensor *checkpoint_tensors(const Checkpoint *c, int64_t *count)
{
    *count = c->shards.count;
    return c->shards.tensors;
}

static int64_t find(const Checkpoint *c, const char *name)
{
    TensorFile all = {.count = c->shards.count, .tensors = c->shards.tensors};
    return tensor_file_find(&all, name);
}

const HostTensor *checkpoint_find(const Checkpoint *c, const char *name)
{
    int64_t i = find(c, name);
    return i < 0 ? NULL : &c->shards.tensors[i];
}

/* A single file has no places: its table is the file's. */
static const TensorFile *file_of(const Checkpoint *c, int64_t i, int64_t *tensor)
{
    *tensor = c->shards.places ? c->shards.places[i].tensor : i;
    return &c->shards.files[c->shards.places ? c->shards.places[i].file : 0];
}

const char *checkpoint_file(const Checkpoint *c, const char *name)
{
    int64_t i = find(c, name), tensor;
    const MadeTensor *m = i < 0 ? NULL : made_of(&c, &i);
    return i < 0 ? NULL : m ? m->origin : file_of(c, i, &tensor)->path;
}

const char *checkpoint_path(const Checkpoint *c)
{
    return c->path;
}

uint64_t checkpoint_bytes(const Checkpoint *c)
{
    uint64_t bytes = 0;
    for (int64_t i = 0; i < c->shards.count; i++)
        bytes += tensor_bytes(&c->shards.tensors[i]);
    return bytes;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

int checkpoint_read_raw(const Checkpoint *c, int64_t i, uint64_t first, uint64_t bytes, void *out)
{
    int64_t tensor;
    const MadeTensor *m = made_of(&c, &i);
    if (m)
        return read_made(m, first, bytes, out);
    const TensorFile *f = file_of(c, i, &tensor);
    return tensor_file_read(f, tensor, first, bytes, out);
}

bool checkpoint_is_made(const Checkpoint *c, int64_t i)
{
    return made_of(&c, &i) != NULL;
}

int checkpoint_check(const Checkpoint *c, int64_t i)
{
    int64_t tensor;
    return made_of(&c, &i) ? 0 : tensor_file_check(file_of(c, i, &tensor));
}

int64_t checkpoint_number(const Checkpoint *c, const char *name)
{
    return find(c, name);
}

void checkpoint_report(Context *cx, const Checkpoint *c, int64_t i, int error)
{
    const char *where = arena_print(cx->arena, "tensor `%s`", file_shown(cx, c->shards.tensors[i].name));
    const MadeTensor *m = made_of(&c, &i);
    if (m && m->report && m->report(cx, m->state, error))
        return;
    int64_t tensor;
    const char *path = m ? m->origin : file_of(c, i, &tensor)->path;
    diag_file_error(cx->diags, "E0420", path, where, "cannot read the data: %s", file_reason(cx, error));
}

/* The tensor's number if it has elements [first, first + count), else -1 and a diagnostic. */
static int64_t check_part(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count)
{
    int64_t i = find(c, name);
    const char *where = arena_print(cx->arena, "tensor `%s`", file_shown(cx, name));
    if (i < 0) {
        diag_file_error(cx->diags, "E0420", c->path, where, "the checkpoint has no such tensor");
        return -1;
    }
    int64_t all = host_count(&c->shards.tensors[i]);
    if (first >= 0 && count >= 0 && first <= all && count <= all - first)
        return i;
    diag_file_error(cx->diags, "E0420", c->path, where, "%lld elements from %lld on were asked for, of %lld",
                    (long long)count, (long long)first, (long long)all);
    return -1;
}

bool checkpoint_read(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count, void *out)
{
    int64_t i = check_part(cx, c, name, first, count);
    if (i < 0)
        return false;
    uint64_t size = dtype_size(c->shards.tensors[i].dtype);
    int error = checkpoint_read_raw(c, i, (uint64_t)first * size, (uint64_t)count * size, out);
    if (error)
        checkpoint_report(cx, c, i, error);
    return !error;
}

/* Piece by piece through a small buffer; `single` says whether `out` holds floats or doubles. */
static bool read_converted(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count, void *out,
                           bool single)
{
    int64_t i = check_part(cx, c, name, first, count);
    if (i < 0)
        return false;
    unsigned char buffer[CHUNK];
    DType dtype = c->shards.tensors[i].dtype;
    int64_t size = (int64_t)dtype_size(dtype), step = CHUNK / size;
    for (int64_t done = 0; done < count; done += step) {
        int64_t now = count - done < step ? count - done : step;
        int error = checkpoint_read_raw(c, i, (uint64_t)((first + done) * size), (uint64_t)(now * size), buffer);
        if (error) {
            checkpoint_report(cx, c, i, error);
            return false;
        }
        if (single)
            convert_f32(dtype, buffer, (size_t)now, (float *)out + done);
        else
            convert_f64(dtype, buffer, (size_t)now, (double *)out + done);
    }
    return true;
}

bool checkpoint_read_f32(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count, float *out)
{
    const HostTensor *t = checkpoint_find(c, name);
    if (t && t->dtype == DT_F32)
        return checkpoint_read(cx, c, name, first, count, out);
    return read_converted(cx, c, name, first, count, out, true);
}

bool checkpoint_read_f64(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count, double *out)
{
    return read_converted(cx, c, name, first, count, out, false);
}
