/* Calibration inputs: from tensors by name, or a text cut into windows for models whose tokens are bytes. */
#include <string.h>
#include <unistd.h>

#include "driver/calibration_file.h"
#include "runtime/file.h"
#include "support/json.h"

enum { WINDOW = 512, MOST_WINDOWS = 256 };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* ---- text ------------------------------------------------------------------------------------------------------------------------ */

/* Ids in, logits for each of them out: then what comes next is known, and how well the model knows it can be counted. */
static bool is_text(const Graph *model, int64_t *vocabulary, int64_t *bound)
{
    if (model->n_params != 1 || model->n_results != 1)
        return false;
    const Type *ids = model->params[0]->type, *logits = model->results[0].value->type;
    if (!ids || !logits || ids->rank != 2 || logits->rank != 3 || (ids->dtype != DT_I32 && ids->dtype != DT_I64) || logits->dtype != DT_F32)
        return false;
    Extent positions = ids->axis[1].size, vocabulary_size = logits->axis[2].size;
    if (vocabulary_size.n || !extent_equal(positions, logits->axis[1].size) || !extent_equal(ids->axis[0].size, logits->axis[0].size))
        return false;
    *vocabulary = vocabulary_size.base;
    *bound = extent_high(positions);
    return *vocabulary > 1 && *bound > 1;
}

static bool tokens_are_bytes(const Compilation *c)
{
    const char *name = c->config ? json_string_value(json_at(c->config, "tokenizer")) : NULL;
    return name && !strcmp(name, "bytes");
}

/* Windows of the text, one after the other; what is left at the end and would be shorter is not used. */
static bool load_text(Compilation *c, const char *path, int64_t bound, CalibrationFile *out)
{
    uint64_t size;
    int fd = file_open(&c->cx, "E0658", path, &size);
    if (fd < 0)
        return false;
    uint64_t most = (uint64_t)WINDOW * MOST_WINDOWS, bytes = size < most ? size : most;
    unsigned char *text = arena_alloc(&c->arena, bytes + 1);
    int error = file_read(fd, text, bytes, 0);
    close(fd);
    if (error || bytes < 2) {
        diag_file_error(&c->diags, "E0658", path, NULL, error ? "the calibration text cannot be read: %s" : "the calibration text is too short%s",
                        error ? file_reason(&c->cx, error) : "");
        return false;
    }
    int64_t window = bound < WINDOW ? bound : WINDOW;
    window = (int64_t)bytes < window ? (int64_t)bytes : window;
    const Node *input = c->model.graph->params[0];
    HostTensor *ids = arena_alloc(&c->arena, sizeof *ids);
    *ids = (HostTensor){.name = input->name, .dtype = DT_I32, .rank = 2, .dims = {(int64_t)bytes / window, window}};
    int32_t *data = ids->data = arena_array(&c->arena, (size_t)(ids->dims[0] * window), sizeof *data);
    for (int64_t i = 0; i < ids->dims[0] * window; i++)
        data[i] = text[i];
    out->inputs = ids;
    out->n_inputs = 1;
    return true;
}

/* ---- tensors --------------------------------------------------------------------------------------------------------------------- */

static const HostTensor *find(const HostTensor *all, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(all[i].name, name) || (!strncmp(all[i].name, "input.", 6) && !strcmp(all[i].name + 6, name)))
            return &all[i];
    return NULL;
}

static bool missing(Compilation *c, const char *path, const char *name, const HostTensor *all, int count)
{
    Diag *d = diag_file_error(&c->diags, "E0658", path, NULL, "the calibration file has no input `%s` of the model", name);
    Text has = text_new(&c->arena), takes = text_new(&c->arena);
    for (int i = 0; i < count && i < 8; i++)
        text_add(&has, "%s`%s`", i ? ", " : "", file_shown(&c->cx, all[i].name));
    for (int i = 0; i < c->model.graph->n_params; i++) {
        text_add(&takes, "%s%s: ", i ? ", " : "", c->model.graph->params[i]->name);
        type_print(c->model.graph->params[i]->type, &takes);
    }
    diag_note(d, "the file has %s%s", count ? has.data : "no tensors", count > 8 ? " and others" : "");
    diag_note(d, "the model takes %s", c->model.graph->n_params ? takes.data : "nothing");
    return false;
}

static bool load_tensors(Compilation *c, const char *path, CalibrationFile *out)
{
    int count;
    const HostTensor *all = safetensors_load(&c->cx, path, &count);
    if (!all)
        return false;
    const Graph *model = c->model.graph;
    out->inputs = arena_array(&c->arena, (size_t)model->n_params + 1, sizeof *out->inputs);
    for (int i = 0; i < model->n_params; i++) {
        const HostTensor *t = find(all, count, model->params[i]->name);
        if (!t)
            return missing(c, path, model->params[i]->name, all, count);
        if (t->rank != model->params[i]->type->rank) {
            diag_file_error(&c->diags, "E0658", path, NULL, "`%s` has %d axes, but the model's input has %d", file_shown(&c->cx, t->name), t->rank,
                            model->params[i]->type->rank);
            return false;
        }
        out->inputs[i] = *t;
        out->inputs[i].name = model->params[i]->name;
    }
    out->n_inputs = model->n_params;
    return true;
}

static bool is_safetensors(const char *path)
{
    size_t n = strlen(path);
    return n >= 12 && !strcmp(path + n - 12, ".safetensors");
}

bool calibration_file_load(Compilation *c, const char *path, CalibrationFile *out)
{
    *out = (CalibrationFile){.path = path, .sequences = 1, .length = 1};
    int64_t vocabulary = 0, bound = 0;
    bool text = is_text(c->model.graph, &vocabulary, &bound), bytes = text && vocabulary <= 256 && tokens_are_bytes(c);
    if (!is_safetensors(path) && !bytes) {
        Diag *d = diag_file_error(&c->diags, "E0658", path, NULL, "calibration inputs come in a .safetensors file");
        diag_note(d, "a text is taken for models of text alone whose config.json says \"tokenizer\": \"bytes\"");
        return false;
    }
    if (is_safetensors(path) ? !load_tensors(c, path, out) : !load_text(c, path, bound, out))
        return false;
    if (text) {
        out->vocabulary = vocabulary;
        out->unit = bytes ? "byte" : "token";
    }
    if (out->n_inputs && out->inputs[0].rank > 0)
        out->sequences = out->inputs[0].dims[0];
    if (out->n_inputs && out->inputs[0].rank > 1)
        out->length = out->inputs[0].dims[1];
    out->what = arena_print(&c->arena, "%lld x %lld positions of %s", (long long)out->sequences, (long long)out->length, base_name(path));
    return true;
}

HostTensor *calibration_file_slice(Arena *a, const CalibrationFile *from, int64_t first, int64_t count)
{
    HostTensor *out = arena_array(a, (size_t)from->n_inputs + 1, sizeof *out);
    for (int i = 0; i < from->n_inputs; i++) {
        out[i] = from->inputs[i];
        if (!out[i].rank || out[i].dims[0] != from->sequences)
            continue;
        size_t each = (size_t)(host_count(&out[i]) / from->sequences) * dtype_size(out[i].dtype);
        out[i].dims[0] = count;
        out[i].data = (char *)out[i].data + (size_t)first * each;
    }
    return out;
}
