/* Several adapters: opened, in an order of their own, no folder twice; the tensors that they replace whole, as a layer over the checkpoint. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/adapter.h"
#include "runtime/file.h"
#include "runtime/safetensors.h"

enum { PIECE = 4096 };

static int by_path(const void *a, const void *b)
{
    return strcmp((*(Adapter *const *)a)->path, (*(Adapter *const *)b)->path);
}

static bool same_folder(const Adapter *a, const Adapter *b)
{
    struct stat x, y;
    if (!strcmp(a->path, b->path))
        return true;
    return stat(a->file, &x) == 0 && stat(b->file, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool check_twice(Context *cx, const Adapters *all)
{
    for (int i = 0; i < all->n; i++)
        for (int k = 0; k < i; k++)
            if (same_folder(all->items[i], all->items[k])) {
                Diag *d = diag_file_error(cx->diags, "E0685", all->items[i]->path, NULL, "this adapter is given twice");
                diag_help(d, "to double it, give it a weight: --lora %s:2", all->items[i]->path);
                return false;
            }
    return true;
}

bool adapters_open(Context *cx, const char *const *choices, const Checkpoint *base, Adapters *out)
{
    int n = 0;
    while (choices && choices[n])
        n++;
    *out = (Adapters){.items = arena_array(cx->arena, (size_t)n + 1, sizeof *out->items)};
    for (int i = 0; i < n; i++) {
        Adapter *a = adapter_open(cx, choices[i], base);
        if (!a)
            return false;
        out->items[out->n++] = a;
    }
    if (n > 1)
        qsort(out->items, (size_t)n, sizeof *out->items, by_path);
    return check_twice(cx, out);
}

void adapters_close(Adapters *all)
{
    for (int i = 0; i < all->n; i++)
        adapter_close(all->items[i]);
    *all = (Adapters){0};
}

/* ---- replaced whole ---------------------------------------------------------------------------------------------- */

typedef struct Whole {
    const Checkpoint *file;
    int64_t tensor;
    DType dtype;
} Whole;

static int make_whole(const void *state, int64_t first, int64_t count, void *out)
{
    const Whole *w = state;
    unsigned char raw[PIECE * sizeof(double)];
    uint64_t size = dtype_size(w->dtype);
    for (int64_t done = 0; done < count; done += PIECE) {
        int64_t now = count - done < PIECE ? count - done : PIECE;
        int error = checkpoint_read_raw(w->file, w->tensor, (uint64_t)(first + done) * size, (uint64_t)now * size, raw);
        if (error)
            return error;
        convert_f32(w->dtype, raw, (size_t)now, (float *)out + done);
    }
    return 0;
}

static bool conflict(Context *cx, const Adapter *a, const Adapter *b, const char *key, const char *verb)
{
    diag_file_error(cx->diags, "E0685", a->path, arena_print(cx->arena, "tensor `%s`", file_shown(cx, key)),
                    "it replaces this tensor whole, and %s %s it as well", b->path, verb);
    return false;
}

/* Nobody else replaces or changes what one of them replaces. */
static bool check_alone(Context *cx, const Adapters *all, const Adapter *a, const char *key)
{
    for (int i = 0; i < all->n; i++) {
        const Adapter *b = all->items[i];
        if (b == a || b->weight == 0)
            continue;
        for (int k = 0; k < b->n_replaced; k++)
            if (!strcmp(b->replaced[k].key, key))
                return conflict(cx, a, b, key, "replaces");
        for (int k = 0; k < b->n_sites; k++)
            if (!strcmp(b->sites[k].key, key) || (b->sites[k].bias && b->sites[k].bias_key && !strcmp(b->sites[k].bias_key, key)))
                return conflict(cx, a, b, key, "changes");
    }
    return true;
}

static void add_whole(Context *cx, const Adapter *a, const AdapterTensor *t, MadeTensor *out)
{
    Whole *w = arena_alloc(cx->arena, sizeof *w);
    *w = (Whole){a->tensors, checkpoint_number(a->tensors, t->stored), t->type.dtype};
    *out = (MadeTensor){.name = t->key, .rank = t->type.rank, .make = make_whole, .state = w, .origin = a->path};
    memcpy(out->dims, t->type.dims, sizeof out->dims);
}

Checkpoint *adapters_replace(Context *cx, Checkpoint *base, const Adapters *all)
{
    int64_t n = 0;
    for (int i = 0; i < all->n; i++)
        n += all->items[i]->n_replaced;
    if (!n)
        return base;
    MadeTensor *made = arena_array(cx->arena, (size_t)n, sizeof *made);
    n = 0;
    for (int i = 0; i < all->n; i++) {
        const Adapter *a = all->items[i];
        if (a->weight == 0 || !a->n_replaced)
            continue;
        if (a->weight != 1)
            diag_file_warning(cx->diags, "W0685", a->path, NULL, "it replaces %d tensors whole, which its weight of %g does not scale",
                              a->n_replaced, a->weight);
        for (int k = 0; k < a->n_replaced; k++) {
            if (!check_alone(cx, all, a, a->replaced[k].key))
                return NULL;
            add_whole(cx, a, &a->replaced[k], &made[n++]);
        }
    }
    return checkpoint_with(cx, base, made, n);
}
