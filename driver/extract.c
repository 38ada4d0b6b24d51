/* The difference of two checkpoints as a PEFT adapter: a singular value decomposition of each matrix that differs. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "approx/matrix.h"
#include "driver/extract.h"
#include "runtime/file.h"
#include "support/checked.h"
#include "support/text.h"

typedef struct Extractor {
    Context *cx;
    const Checkpoint *base, *tuned;
    int64_t rank;
    bool turned, tied;
    Extraction *out;
    size_t site_room, tensor_room;
} Extractor;

/* ---- both checkpoints hold the same tensors ------------------------------------------------------------------------ */

static const char *shape_text(Context *cx, const HostTensor *t)
{
    Text out = text_new(cx->arena);
    for (int i = 0; i < t->rank; i++)
        text_add(&out, "%s%lld", i ? ", " : "", (long long)t->dims[i]);
    return arena_print(cx->arena, "[%s]", out.data ? out.data : "");
}

static bool same_shape(const HostTensor *a, const HostTensor *b)
{
    return a->rank == b->rank && !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
}

/* Every tensor of `of` is in `in`, with the same shape. */
static bool contained(const Extractor *x, const Checkpoint *of, const Checkpoint *in)
{
    int64_t count;
    const HostTensor *all = checkpoint_tensors(of, &count);
    for (int64_t i = 0; i < count; i++) {
        const HostTensor *other = checkpoint_find(in, all[i].name);
        const char *file = checkpoint_path(in), *entry = arena_print(x->cx->arena, "`%s`", file_shown(x->cx, all[i].name));
        if (!other)
            diag_file_error(x->cx->diags, "E0445", file, entry, "is only in `%s`", file_shown(x->cx, checkpoint_path(of)));
        else if (!same_shape(&all[i], other))
            diag_file_error(x->cx->diags, "E0445", file, entry, "has shape %s; in `%s` it has %s", shape_text(x->cx, other),
                            file_shown(x->cx, checkpoint_path(of)), shape_text(x->cx, &all[i]));
        else
            continue;
        return false;
    }
    return true;
}

/* ---- what becomes of one tensor -------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* The module of a key `module.weight`; NULL if it is no weight. */
static const char *module_of(Context *cx, const char *key)
{
    return ends_with(key, ".weight") ? arena_copy(cx->arena, key, strlen(key) - strlen(".weight")) : NULL;
}

static const char *last_part(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Tables are looked up by row. Nothing in a checkpoint says so but the names that transformers give them. */
static bool is_table(const char *module)
{
    const char *name = last_part(module);
    return strstr(name, "embed") || !strcmp(name, "wte") || !strcmp(name, "wpe");
}

static void add_tensor(Extractor *x, const char *name, DType dtype, int rank, const int64_t *dims, void *data)
{
    Extraction *out = x->out;
    out->tensors = arena_room(x->cx->arena, out->tensors, (size_t)out->n_tensors, &x->tensor_room, sizeof *out->tensors);
    HostTensor *t = &out->tensors[out->n_tensors++];
    *t = (HostTensor){.name = name, .dtype = dtype, .rank = rank, .data = data};
    memcpy(t->dims, dims, (size_t)rank * sizeof *dims);
}

static float *rounded(Context *cx, Matrix m)
{
    float *out = arena_array(cx->arena, (size_t)(m.rows * m.cols), sizeof *out);
    for (int64_t i = 0; i < m.rows * m.cols; i++)
        out[i] = (float)m.at[i];
    return out;
}

/* |delta - left right| with both factors rounded to f32. */
static double measured_error(Matrix delta, const float *left, const float *right, int64_t rank)
{
    double sum = 0;
    for (int64_t i = 0; i < delta.rows; i++)
        for (int64_t j = 0; j < delta.cols; j++) {
            double d = delta.at[i * delta.cols + j];
            for (int64_t r = 0; r < rank; r++)
                d -= (double)left[i * rank + r] * (double)right[r * delta.cols + j];
            sum += d * d;
        }
    return sqrt(sum);
}

static float *transposed(Context *cx, const float *m, int64_t rows, int64_t cols)
{
    float *out = arena_array(cx->arena, (size_t)(rows * cols), sizeof *out);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            out[j * rows + i] = m[i * cols + j];
    return out;
}

/* The pair of a matrix [rows, cols] as stored: delta = B A, or delta^T = B A where it is stored [in, out]. The strong side of the decomposition, with the
 * singular values in it, is B's. */
static bool add_pair(Extractor *x, ExtractedSite *s, Matrix delta, Arena *work)
{
    Svd svd;
    MatrixStatus status = matrix_svd(work, delta, &svd);
    if (status != MATRIX_OK) {
        diag_file_error(x->cx->diags, status == MATRIX_NOT_FINITE ? "E0681" : "E0447", checkpoint_path(x->tuned),
                        arena_print(x->cx->arena, "`%s`", file_shown(x->cx, s->key)), "its difference from the base has no decomposition: %s",
                        matrix_status_text(status));
        return false;
    }
    bool turned = s->table || x->turned;
    s->rank = x->rank < svd.rank ? x->rank : svd.rank;
    Matrix left = matrix_new(work, delta.rows, s->rank), right = matrix_new(work, s->rank, delta.cols);
    for (int64_t r = 0; r < s->rank; r++) {
        for (int64_t i = 0; i < delta.rows; i++)
            left.at[i * s->rank + r] = svd.u.at[i * svd.rank + r] * (turned ? 1 : svd.values[r]);
        for (int64_t j = 0; j < delta.cols; j++)
            right.at[r * delta.cols + j] = svd.vt.at[r * delta.cols + j] * (turned ? svd.values[r] : 1);
    }
    double left_out = 0;
    for (int64_t r = s->rank; r < svd.rank; r++)
        left_out += svd.values[r] * svd.values[r];
    s->left = sqrt(left_out);
    float *l = rounded(x->cx, left), *r = rounded(x->cx, right);
    s->measured = measured_error(delta, l, r, s->rank);
    const char *path = arena_print(x->cx->arena, "base_model.model.%s", module_of(x->cx, s->key));
    float *a = turned ? transposed(x->cx, l, delta.rows, s->rank) : r, *b = turned ? transposed(x->cx, r, s->rank, delta.cols) : l;
    int64_t in = turned ? delta.rows : delta.cols, to = turned ? delta.cols : delta.rows;
    add_tensor(x, arena_print(x->cx->arena, s->table ? "%s.lora_embedding_A" : "%s.lora_A.weight", path), DT_F32, 2, (int64_t[]){s->rank, in}, a);
    add_tensor(x, arena_print(x->cx->arena, s->table ? "%s.lora_embedding_B" : "%s.lora_B.weight", path), DT_F32, 2, (int64_t[]){to, s->rank}, b);
    return true;
}

static bool add_whole(Extractor *x, const HostTensor *tuned)
{
    int64_t count = host_count(tuned);
    void *data = arena_array(x->cx->arena, (size_t)count + 1, dtype_size(tuned->dtype));
    if (!checkpoint_read(x->cx, x->tuned, tuned->name, 0, count, data))
        return false;
    add_tensor(x, arena_print(x->cx->arena, "base_model.model.%s", tuned->name), tuned->dtype, tuned->rank, tuned->dims, data);
    return true;
}

/* A module that is saved whole has all its tensors in the file, those that are equal too. */
static bool add_rest_of_module(Extractor *x, const char *key)
{
    const char *module = module_of(x->cx, key);
    int64_t count;
    const HostTensor *all = checkpoint_tensors(x->tuned, &count);
    for (int64_t i = 0; module && i < count; i++) {
        size_t n = strlen(module);
        if (strncmp(all[i].name, module, n) || all[i].name[n] != '.' || strchr(all[i].name + n + 1, '.') || !strcmp(all[i].name, key))
            continue;
        bool there = false;
        for (int s = 0; s < x->out->n_sites; s++)
            there |= !strcmp(x->out->sites[s].key, all[i].name);
        if (!there && !add_whole(x, &all[i]))
            return false;
    }
    return true;
}

static bool add_site(Extractor *x, const HostTensor *tuned, Arena *work)
{
    int64_t count = host_count(tuned);
    double *w = arena_array(work, (size_t)count + 1, sizeof *w), *d = arena_array(work, (size_t)count + 1, sizeof *d);
    if (!checkpoint_read_f64(x->cx, x->base, tuned->name, 0, count, w) || !checkpoint_read_f64(x->cx, x->tuned, tuned->name, 0, count, d))
        return false;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        d[i] -= w[i];
        sum += d[i] * d[i];
    }
    if (sum == 0) {
        x->out->same++;
        return true;
    }
    Extraction *out = x->out;
    out->sites = arena_room(x->cx->arena, out->sites, (size_t)out->n_sites, &x->site_room, sizeof *out->sites);
    ExtractedSite *s = &out->sites[out->n_sites++];
    const char *module = module_of(x->cx, tuned->name);
    *s = (ExtractedSite){.key = tuned->name, .size = sqrt(sum), .table = module && tuned->rank == 2 && is_table(module)};
    s->whole = !module || tuned->rank != 2 || (s->table && x->tied);
    if (s->whole)
        return add_whole(x, tuned);
    s->rows = tuned->dims[0];
    s->cols = tuned->dims[1];
    return add_pair(x, s, (Matrix){s->rows, s->cols, d}, work);
}

bool extract_lora(Context *cx, const Checkpoint *base, const Checkpoint *tuned, int64_t rank, bool turned, bool tied, Extraction *out)
{
    *out = (Extraction){0};
    Extractor x = {.cx = cx, .base = base, .tuned = tuned, .rank = rank, .turned = turned, .tied = tied, .out = out};
    if (!contained(&x, base, tuned) || !contained(&x, tuned, base))
        return false;
    int64_t count;
    const HostTensor *all = checkpoint_tensors(tuned, &count);
    bool good = true;
    for (int64_t i = 0; i < count && good; i++) {
        Arena work = {.on_oom = cx->arena->on_oom, .oom_state = cx->arena->oom_state};
        good = add_site(&x, &all[i], &work);
        arena_free(&work);
    }
    if (good && !out->n_sites) {
        diag_file_error(cx->diags, "E0446", checkpoint_path(tuned), NULL, "every tensor is equal to that of `%s`", file_shown(cx, checkpoint_path(base)));
        return false;
    }
    for (int i = 0; i < out->n_sites && good; i++) {
        good = !out->sites[i].whole || add_rest_of_module(&x, out->sites[i].key);
        out->size = hypot(out->size, out->sites[i].whole ? 0 : out->sites[i].size);
        out->left = hypot(out->left, out->sites[i].left);
    }
    return good;
}

/* ---- the folder ------------------------------------------------------------------------------------------------------- */

/* Modules by their whole paths: a last part alone would name layers that have no pair. */
static json_t *config_of(Context *cx, const Extraction *x, bool turned, const char *base_path)
{
    json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object(), *saved = json_array();
    int64_t most = 1;
    bool biases = false;
    for (int i = 0; i < x->n_sites; i++)
        most = x->sites[i].rank > most ? x->sites[i].rank : most;
    for (int i = 0; i < x->n_sites; i++) {
        const ExtractedSite *s = &x->sites[i];
        const char *module = module_of(cx, s->key);
        biases |= !module;
        if (module)
            json_array_append_new(s->whole ? saved : targets, json_string(module));
        if (module && !s->whole && s->rank < most) {
            json_object_set_new(ranks, module, json_integer(s->rank));
            json_object_set_new(alphas, module, json_integer(s->rank));
        }
    }
    json_t *root = json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:b, s:s, s:f, s:o, s:b, s:b, s:b}", "peft_type", "LORA", "base_model_name_or_path", base_path, "r",
                     (json_int_t)most, "lora_alpha", (json_int_t)most, "target_modules", targets, "rank_pattern", ranks, "alpha_pattern", alphas, "fan_in_fan_out", turned,
                     "bias", biases ? "all" : "none", "lora_dropout", 0.0, "modules_to_save", saved, "use_rslora", 0, "use_dora", 0, "inference_mode", 1);
    return root;
}

bool extract_write(Context *cx, const Extraction *x, bool turned, const char *base_path, const char *folder)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        diag_file_error(cx->diags, "E1010", folder, NULL, "cannot make this folder: %s", strerror(errno));
        return false;
    }
    json_t *config = config_of(cx, x, turned, base_path);
    char *text = config ? json_dumps(config, JSON_INDENT(2)) : NULL;
    Writer w;
    writer_open(cx, &w, arena_print(cx->arena, "%s/adapter_config.json", folder));
    if (text) {
        writer_put(&w, text, strlen(text));
        writer_put(&w, "\n", 1);
    }
    free(text);
    json_decref(config);
    return writer_close(cx, &w) && safetensors_save(cx, arena_print(cx->arena, "%s/adapter_model.safetensors", folder), x->tensors, x->n_tensors);
}
