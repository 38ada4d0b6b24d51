/* Adapters: the folder opened, its tensors gathered to pairs, each pair held against the configuration and against the weight that it
 * changes. A file that is not right as a whole is refused; the first cause is reported. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/adapter_inside.h"
#include "runtime/file.h"

enum { PIECE = 4096, MOST_CANDIDATES = 4096 };

static bool note_near(Reader *r, Diag *d, const char *key)
{
    int64_t n = 0;
    const HostTensor *all = r->base ? checkpoint_tensors(r->base, &n) : NULL;
    if (n > MOST_CANDIDATES)
        n = MOST_CANDIDATES;
    const char **names = arena_array(r->cx->arena, (size_t)n + 1, sizeof *names);
    for (int64_t i = 0; i < n; i++)
        names[i] = all[i].name;
    const char *near = name_nearest(key, names, (size_t)n);
    if (near)
        diag_help(d, "the checkpoint has `%s`", file_shown(r->cx, near));
    return false;
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* DIR:weight, unless the whole is a path. */
static bool take_choice(Context *cx, const char *choice, Adapter *a)
{
    const char *colon = strrchr(choice, ':');
    a->path = choice;
    a->weight = 1;
    if (!colon || exists(choice))
        return true;
    char *end;
    double weight = text_to_double(colon + 1, &end);
    if (end == colon + 1 || *end)
        return true; /* a path with a colon, which is not there */
    a->path = arena_copy(cx->arena, choice, (size_t)(colon - choice));
    a->weight = weight;
    if (isfinite(weight))
        return true;
    diag_file_error(cx->diags, "E0675", a->path, NULL, "the adapter's weight is %g; it has to be a finite number", weight);
    return false;
}

static bool find_files(Context *cx, Adapter *a, const char **config)
{
    struct stat st;
    if (stat(a->path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        Diag *d = diag_file_error(cx->diags, "E0670", a->path, NULL, "%s",
                                  exists(a->path) ? "not a folder" : "there is no such folder");
        diag_help(d, "an adapter is a folder with adapter_config.json and adapter_model.safetensors");
        return false;
    }
    *config = arena_print(cx->arena, "%s/adapter_config.json", a->path);
    a->file = arena_print(cx->arena, "%s/adapter_model.safetensors", a->path);
    if (exists(*config) && exists(a->file))
        return true;
    if (!exists(a->file) && exists(arena_print(cx->arena, "%s/adapter_model.bin", a->path))) {
        Diag *d = diag_file_error(cx->diags, "E0671", a->path, NULL, "the folder has adapter_model.bin, which is pickled");
        diag_help(d, "convert it: from safetensors.torch import save_file; save_file(torch.load(\"adapter_model.bin\", weights_only=True), "
                     "\"adapter_model.safetensors\")");
        return false;
    }
    diag_file_error(cx->diags, "E0670", a->path, NULL, "the folder has no %s",
                    exists(*config) ? "adapter_model.safetensors" : "adapter_config.json");
    return false;
}

/* ---- gathering --------------------------------------------------------------------------------------------------- */

static bool gather_one(Reader *r, const HostTensor *t, const PeftName *name)
{
    if (name->part == PEFT_UNKNOWN)
        return FAIL("E0687", tensor_place(r, t), "no part of a LoRA adapter is called so");
    if (name->part == PEFT_WHOLE)
        return true;
    const char *module = peft_module(r->cx->arena, r->spelling, name->module);
    size_t at = (size_t)(uintptr_t)map_get(&r->modules, module);
    if (!at) {
        PeftSpelling usual = {name->prefixed ? "model." : "", ""};
        r->drafts[r->n_drafts++] = (Draft){.path = peft_module(r->cx->arena, usual, name->module), .module = module};
        at = (size_t)r->n_drafts;
        map_set(&r->modules, module, (void *)(uintptr_t)at);
    }
    Draft *d = &r->drafts[at - 1];
    if (d->parts[name->part])
        return FAIL("E0687", tensor_place(r, t), "the file has this part twice: `%s`",
                    file_shown(r->cx, d->parts[name->part]->name));
    d->parts[name->part] = t;
    return true;
}

static bool gather(Reader *r)
{
    Arena *a = r->cx->arena;
    r->all = checkpoint_tensors(r->a->tensors, &r->count);
    if (r->count == 0)
        return FAIL("E0679", NULL, "the file has no tensor");
    r->names = arena_array(a, (size_t)r->count, sizeof *r->names);
    for (int64_t i = 0; i < r->count; i++)
        r->names[i] = peft_name(a, r->all[i].name);
    r->spelling = peft_spelling(a, r->names, r->count, r->base);
    r->drafts = arena_array(a, (size_t)r->count, sizeof *r->drafts);
    r->modules = map_new(a);
    for (int64_t i = 0; i < r->count; i++)
        if (!gather_one(r, &r->all[i], &r->names[i]))
            return false;
    return true;
}

/* ---- which modules there are ------------------------------------------------------------------------------------- */

static bool is_saved(const Reader *r, const char *module)
{
    for (size_t length = strlen(module); length > 0; length--)
        if (module[length] == '.' || !module[length])
            if (peft_names(r->config.saved, r->config.n_saved, arena_copy(r->cx->arena, module, length)))
                return true;
    return false;
}

/* The key that a tensor of the file changes; NULL for a half that only goes with another. */
static const char *changed_key(Reader *r, int64_t i)
{
    const PeftName *n = &r->names[i];
    const char *module = peft_module(r->cx->arena, r->spelling, n->module);
    if (n->part == PEFT_WHOLE)
        return peft_key(r->cx->arena, module, n->leaf);
    return n->part == PEFT_A || n->part == PEFT_TABLE_A ? peft_key(r->cx->arena, module, "weight") : NULL;
}

static bool check_known(Reader *r)
{
    const char *first = NULL, *key;
    int64_t missing = 0, all = 0;
    for (int64_t i = 0; r->base && i < r->count; i++) {
        if (!(key = changed_key(r, i)))
            continue;
        const char *module = peft_module(r->cx->arena, r->spelling, r->names[i].module);
        bool whole = r->names[i].part == PEFT_WHOLE;
        all++;
        if (checkpoint_find(r->base, key) || (whole ? is_saved(r, module) : adapter_is_head(module)))
            continue;
        missing++;
        first = first ? first : key;
    }
    if (!missing)
        return true;
    const char *shown = file_shown(r->cx, first);
    if (missing == all) {
        Diag *d = diag_file_error(r->cx->diags, "E0679", r->a->file, NULL, "none of its %lld weights is in %s", (long long)all,
                                  checkpoint_path(r->base));
        diag_note(d, "the first is `%s`", shown);
        return note_near(r, d, first);
    }
    Diag *d = diag_file_error(r->cx->diags, "E0678", r->a->file, arena_print(r->cx->arena, "tensor `%s`", shown),
                              "%s has no such weight", checkpoint_path(r->base));
    if (missing > 1)
        diag_note(d, "nor has it %lld more of the %lld that the adapter changes", (long long)missing - 1, (long long)all);
    return note_near(r, d, first);
}

/* Modules that the configuration names and that have no pair: PEFT would leave them as they are. */
static void warn_left_out(Reader *r)
{
    int64_t n = 0, named = 0, left = 0;
    const HostTensor *all = r->base ? checkpoint_tensors(r->base, &n) : NULL;
    const char *first = NULL;
    for (int64_t i = 0; i < n && r->config.n_targets > 0 && !r->config.some_layers; i++) {
        size_t length = strlen(all[i].name);
        if (all[i].rank < 2 || length < 8 || strcmp(all[i].name + length - 7, ".weight") != 0)
            continue;
        const char *module = arena_copy(r->cx->arena, all[i].name, length - 7);
        if (!peft_names(r->config.targets, r->config.n_targets, module))
            continue;
        named++;
        left += !map_has(&r->modules, module);
        if (!map_has(&r->modules, module) && !first)
            first = all[i].name;
    }
    if (left)
        diag_file_warning(r->cx->diags, "W0678", r->a->file, NULL,
                          "%lld of %lld weights that `target_modules` names have no pair and stay as they are, as `%s`", (long long)left,
                          (long long)named, file_shown(r->cx, first));
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool all_finite(Reader *r, const HostTensor *t, const double *v, int64_t n, int64_t first)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return FAIL("E0681", tensor_place(r, t), "element %lld is %s", (long long)(first + i), isnan(v[i]) ? "NaN" : "infinite");
    return true;
}

static bool read_part(Reader *r, const HostTensor *t, const double **out)
{
    int64_t n = host_count(t);
    double *v = arena_array(r->cx->arena, (size_t)n + 1, sizeof *v);
    *out = v;
    return checkpoint_read_f64(r->cx, r->a->tensors, t->name, 0, n, v) && all_finite(r, t, v, n, 0);
}

static bool read_site(Reader *r, const Draft *d, AdapterSite *s)
{
    Arena *arena = r->cx->arena;
    const HostTensor *a = draft_a(d), *b = draft_b(d);
    *s = (AdapterSite){.module = d->module, .key = peft_key(arena, d->module, "weight"), .in = tensor_inner(a, 1), .out = b->dims[0],
                       .table = draft_is_table(d), .turned = draft_turned(r, d), .dtype = a->dtype};
    if (!check_ranks(r, d, &s->rank, &s->alpha) || !check_square(r, d) || !read_part(r, a, &s->a) || !read_part(r, b, &s->b))
        return false;
    s->scale = s->alpha / (r->config.rslora ? sqrt((double)s->rank) : (double)s->rank);
    s->tied = r->base && !draft_weight(r, d);
    if (d->parts[PEFT_MAGNITUDE] && !read_part(r, d->parts[PEFT_MAGNITUDE], &s->magnitude))
        return false;
    if (!d->parts[PEFT_BIAS])
        return true;
    const char *key = peft_key(arena, d->module, "bias");
    const HostTensor *stored = r->base ? checkpoint_find(r->base, key) : NULL;
    s->bias_key = !r->base || (stored && stored->rank == 1 && stored->dims[0] == s->out) ? key : NULL;
    return read_part(r, d->parts[PEFT_BIAS], &s->bias);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const AdapterSite *)a)->key, ((const AdapterSite *)b)->key);
}

static bool read_sites(Reader *r)
{
    Adapter *a = r->a;
    int64_t wide = 0;
    for (int i = 0; i < r->n_drafts; i++)
        if (!check_pair(r, &r->drafts[i]))
            return false;
    if (!check_turns(r))
        return false;
    a->sites = arena_array(r->cx->arena, (size_t)r->n_drafts + 1, sizeof *a->sites);
    for (int i = 0; i < r->n_drafts; i++) {
        AdapterSite *s = &a->sites[a->n_sites++];
        if (!read_site(r, &r->drafts[i], s))
            return false;
        wide += s->rank > (s->in < s->out ? s->in : s->out);
    }
    if (a->n_sites > 1)
        qsort(a->sites, (size_t)a->n_sites, sizeof *a->sites, by_key);
    if (wide)
        diag_file_warning(r->cx->diags, "W0674", a->file, NULL, "in %lld of %d pairs the rank is larger than the weight's smaller side",
                          (long long)wide, a->n_sites);
    return true;
}

/* ---- whole tensors ----------------------------------------------------------------------------------------------- */

static bool check_finite(Reader *r, const HostTensor *t)
{
    double piece[PIECE];
    int64_t all = host_count(t);
    for (int64_t i = 0; i < all; i += PIECE) {
        int64_t now = all - i < PIECE ? all - i : PIECE;
        if (!checkpoint_read_f64(r->cx, r->a->tensors, t->name, i, now, piece) || !all_finite(r, t, piece, now, i))
            return false;
    }
    return true;
}

static bool read_whole(Reader *r, const HostTensor *t, const char *key, AdapterTensor *out)
{
    const char *where = tensor_place(r, t);
    const HostTensor *w = r->base ? checkpoint_find(r->base, key) : NULL;
    *out = (AdapterTensor){.key = key, .stored = t->name, .type = *t, .added = r->base && !w};
    if (map_has(&r->replaced, key))
        return FAIL("E0687", where, "the file has this tensor twice");
    map_set(&r->replaced, key, out);
    if (!dtype_is_float(t->dtype))
        return FAIL("E0680", where, "%s is no type of numbers with a point", dtype_name(t->dtype));
    if (w && w->rank == 2 && t->rank == 2 && w->dims[1] == t->dims[1] && w->dims[0] != t->dims[0])
        return FAIL("E0684", where, "it has %lld rows, the checkpoint's table has %lld", (long long)t->dims[0], (long long)w->dims[0]);
    if (w && (w->rank != t->rank || memcmp(w->dims, t->dims, (size_t)t->rank * sizeof *t->dims)))
        return FAIL("E0677", where, "it is [%s], and is to stand in the place of a tensor [%s]", tensor_shape(r, t), tensor_shape(r, w));
    return check_finite(r, t);
}

/* A module of modules_to_save that the checkpoint has must be in the file. */
static bool check_saved(Reader *r)
{
    int64_t n = 0;
    const HostTensor *all = r->base ? checkpoint_tensors(r->base, &n) : NULL;
    for (int64_t i = 0; i < n && r->config.n_saved; i++) {
        const char *point = strrchr(all[i].name, '.');
        const char *module = point ? arena_copy(r->cx->arena, all[i].name, (size_t)(point - all[i].name)) : NULL;
        if (module && is_saved(r, module) && !map_has(&r->replaced, all[i].name))
            return FAIL("E0676", arena_print(r->cx->arena, "tensor `%s`", file_shown(r->cx, all[i].name)),
                        "`modules_to_save` names its module, but the file does not have it");
    }
    return true;
}

static bool read_wholes(Reader *r)
{
    Adapter *a = r->a;
    r->replaced = map_new(r->cx->arena);
    a->replaced = arena_array(r->cx->arena, (size_t)r->count + 1, sizeof *a->replaced);
    for (int64_t i = 0; i < r->count; i++)
        if (r->names[i].part == PEFT_WHOLE && !read_whole(r, &r->all[i], changed_key(r, i), &a->replaced[a->n_replaced++]))
            return false;
    return check_saved(r);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static bool read_adapter(Reader *r, const char *config)
{
    Adapter *a = r->a;
    if (!peft_config_read(r->cx, config, &r->config))
        return false;
    a->r = r->config.r;
    a->alpha = r->config.alpha;
    a->rslora = r->config.rslora;
    a->dora = r->config.dora;
    a->tensors = checkpoint_open(r->cx, a->file);
    if (!a->tensors || !gather(r) || !check_known(r) || !read_sites(r) || !read_wholes(r))
        return false;
    warn_left_out(r);
    return true;
}

Adapter *adapter_open(Context *cx, const char *choice, const Checkpoint *base)
{
    Adapter *a = arena_alloc(cx->arena, sizeof *a);
    Reader r = {.cx = cx, .base = base, .a = a};
    const char *config;
    if (!take_choice(cx, arena_copy(cx->arena, choice, strlen(choice)), a) || !find_files(cx, a, &config))
        return NULL;
    if (read_adapter(&r, config))
        return a;
    adapter_close(a);
    return NULL;
}

void adapter_close(Adapter *a)
{
    if (a && a->tensors)
        checkpoint_close(a->tensors);
}
