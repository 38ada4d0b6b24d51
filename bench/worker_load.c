/* Loading a case: its parameters, its inputs, its model. Attention has no model file: one is written for its sizes and mask. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/worker.h"
#include "runtime/file.h"

int64_t worker_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool worker_fail(char *message, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, MESSAGE, format, args);
    va_end(args);
    return false;
}

static bool fail_with(Job *j, char *message)
{
    Text text = text_new(&j->arena);
    diag_render(&j->diags, &text, false);
    return worker_fail(message, "%s", text.data ? text.data : "no memory");
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static bool set(Case *c, const char *key, const char *value, char *message)
{
    const struct {
        const char *name;
        int64_t *to;
    } numbers[] = {{"B", &c->B},           {"S", &c->S},        {"H", &c->H},           {"G", &c->G},
                   {"L", &c->L},           {"D", &c->D},        {"window", &c->window}, {"documents", &c->documents},
                   {"prompt", &c->prompt}, {"steps", &c->steps}};
    const struct {
        const char *name;
        char *to;
        size_t room;
    } texts[] = {{"inputs", c->inputs, sizeof c->inputs},
                 {"checkpoint", c->checkpoint, sizeof c->checkpoint},
                 {"mask", c->mask, sizeof c->mask},
                 {"score", c->score, sizeof c->score}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(key, numbers[i].name)) {
            char *end;
            *numbers[i].to = strtoll(value, &end, 10);
            return !*end && *value ? true : worker_fail(message, "%s=%s is no number", key, value);
        }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(key, texts[i].name)) {
            snprintf(texts[i].to, texts[i].room, "%s", value);
            return true;
        }
    if (!strcmp(key, "quant") && strcmp(value, "f32") != 0)
        return worker_fail(message, "no %s here", value);
    return true; /* what else a case has is not ours: the model's name, for instance */
}

static bool parse(Case *c, char *text, char *message)
{
    char *rest = NULL, *word = strtok_r(text, " \n", &rest);
    *c = (Case){.mask = "full", .score = "plain"};
    snprintf(c->workload, sizeof c->workload, "%s", word ? word : "");
    for (char *part = strtok_r(NULL, " \n", &rest); part; part = strtok_r(NULL, " \n", &rest)) {
        char *equals = strchr(part, '=');
        if (!equals)
            return worker_fail(message, "`%s` should be key=value", part);
        *equals = 0;
        if (!set(c, part, equals + 1, message))
            return false;
    }
    return true;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

static bool read_input(Job *j, const char *name, int i, HostTensor *out, char *message)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s.%d.npy", j->at.inputs, name, i);
    return npy_load(&j->cx, path, out) ? true : fail_with(j, message);
}

static attar_tensor tensor(const char *name, const char *dtype, int rank, int64_t a, int64_t b, void *data)
{
    return (attar_tensor){.name = name, .dtype = dtype, .rank = rank, .dims = {a, b}, .data = data};
}

static int32_t *narrow(Job *j, const HostTensor *t)
{
    int64_t n = host_count(t);
    int32_t *out = arena_array(&j->arena, (size_t)n, sizeof *out);
    for (int64_t i = 0; i < n; i++)
        out[i] = (int32_t)host_get(t, i);
    return out;
}

static bool encoder_inputs(Job *j, int i, char *message)
{
    HostTensor ids, mask;
    if (!read_input(j, "ids", i, &ids, message) || !read_input(j, "mask", i, &mask, message))
        return false;
    int64_t B = j->at.B, S = j->at.S;
    if (host_count(&ids) != B * S || host_count(&mask) != B * S)
        return worker_fail(message, "ids and mask should be [%lld, %lld]", (long long)B, (long long)S);
    bool *keep = arena_array(&j->arena, (size_t)(B * S), sizeof *keep);
    for (int64_t k = 0; k < B * S; k++)
        keep[k] = host_get(&mask, k) != 0;
    j->given[i][0] = tensor("ids", "i32", 2, B, S, narrow(j, &ids));
    j->given[i][1] = tensor("types", "i32", 2, B, S, arena_array(&j->arena, (size_t)(B * S), sizeof(int32_t)));
    j->given[i][2] = tensor("keep", "bool", 2, B, S, keep);
    j->n_given = 3;
    return true;
}

/* Heads come before positions in the file; inside a model, where a projection writes them, they come after. */
static bool attention_inputs(Job *j, int i, char *message)
{
    static const char *const names[] = {"q", "k", "v"};
    const Case *c = &j->at;
    for (int n = 0; n < 3; n++) {
        HostTensor t;
        if (!read_input(j, names[n], i, &t, message))
            return false;
        int64_t heads = n ? c->G : c->H;
        if (t.dtype != DT_F32 || host_count(&t) != heads * c->L * c->D)
            return worker_fail(message, "%s should be f32 [1, %lld, %lld, %lld]", names[n], (long long)heads,
                               (long long)c->L, (long long)c->D);
        float *out = memory_map((uint64_t)host_count(&t) * sizeof *out); /* on large pages, as the other engines' arrays of NumPy lie */
        const float *in = t.data;
        if (!out)
            return worker_fail(message, "no memory");
        j->mapped[i][n] = (Mapped){out, (uint64_t)host_count(&t) * sizeof *out};
        for (int64_t h = 0; h < heads; h++)
            for (int64_t s = 0; s < c->L; s++)
                memcpy(out + (s * heads + h) * c->D, in + (h * c->L + s) * c->D, (size_t)c->D * sizeof *out);
        j->given[i][n] =
            (attar_tensor){.name = names[n], .dtype = "f32", .rank = 4, .dims = {1, c->L, heads, c->D}, .data = out};
    }
    j->n_given = 3;
    if (!strcmp(c->mask, "document")) {
        int32_t *ids = arena_array(&j->arena, (size_t)c->L, sizeof *ids);
        for (int64_t s = 0; s < c->L; s++)
            ids[s] = (int32_t)(s * c->documents / c->L);
        j->given[i][j->n_given++] = tensor("ids", "i32", 2, 1, c->L, ids);
    }
    return true;
}

static bool decoder_inputs(Job *j, int i, char *message)
{
    HostTensor ids;
    if (!read_input(j, "ids", i, &ids, message))
        return false;
    j->given[i][0] = tensor("ids", "i32", 2, 1, host_count(&ids), narrow(j, &ids));
    j->n_given = 1;
    return true;
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

static bool attention_text(const Case *c, FILE *f, char *message)
{
    char mask[64];
    bool document = !strcmp(c->mask, "document");
    if (!strcmp(c->mask, "full"))
        snprintf(mask, sizeof mask, "all");
    else if (!strcmp(c->mask, "causal"))
        snprintf(mask, sizeof mask, "causal");
    else if (!strcmp(c->mask, "window"))
        snprintf(mask, sizeof mask, "causal & window(%lld)", (long long)c->window);
    else if (document)
        snprintf(mask, sizeof mask, "causal & document(ids)");
    else
        return worker_fail(message, "no mask `%s` here", c->mask);
    const char *score = !strcmp(c->score, "plain")     ? ""
                        : !strcmp(c->score, "softcap") ? ", score=fn(s) => 50.0 * tanh(s / 50.0)"
                        : !strcmp(c->score, "alibi")   ? ", bias=alibi(H)"
                                                       : NULL;
    if (!score)
        return worker_fail(message, "no score `%s` here", c->score);
    fprintf(f, "let H = %lld\n", (long long)c->H);
    if (c->G != c->H)
        fprintf(f, "let G = %lld\n", (long long)c->G);
    const char *groups = c->G != c->H ? "G" : "H";
    fprintf(f,
            "let K = %lld\nmodel Attention(q: f32[B, S, H, K], k: f32[B, S, %s, K], v: f32[B, S, %s, K]%s) "
            "-> (out: f32[B, S, H, K]) {\n  return attention(q, k, v, mask=%s%s)\n}\n",
            (long long)c->D, groups, groups, document ? ", ids: i32[B, S]" : "", mask, score);
    return true;
}

static bool compile(Job *j, const char *path, char *message)
{
    attar_error error = {0};
    attar_options o = {.model = path,
                       .weights = *j->at.checkpoint ? j->at.checkpoint : NULL,
                       .threads = j->threads,
                       .allow_extra = true,
                       .last_position = true, /* of decoders: nobody reads the other rows of logits */
                       .cache_dir = getenv("BENCH_ENGINE_CACHE")};
    if (attar_compile(&o, &j->model, &error) == ATTAR_OK &&
        attar_session_new(j->model, attar_has_cache(j->model) ? 1 : 0, j->threads, &j->session, &error) == ATTAR_OK)
        return true;
    worker_fail(message, "%s", error.message ? error.message : "out of memory");
    attar_error_clear(&error);
    return false;
}

static bool compile_attention(Job *j, char *message)
{
    char path[] = "/tmp/attentionXXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        return worker_fail(message, "%s cannot be written", path);
    bool good = attention_text(&j->at, f, message);
    fclose(f);
    good = good && compile(j, path, message);
    unlink(path);
    return good;
}

bool job_load(Job *j, char *text, char *message)
{
    j->diags = (Diags){.arena = &j->arena};
    j->names.map = map_new(&j->arena);
    j->cx = (Context){.arena = &j->arena, .diags = &j->diags, .names = &j->names};
    if (!parse(&j->at, text, message))
        return false;
    const char *work = j->at.workload;
    bool encode = !strcmp(work, "encode"), attention = !strcmp(work, "attention");
    if (!encode && !attention && strcmp(work, "decode") != 0 && strcmp(work, "prompt") != 0)
        return worker_fail(message, "no workload `%s` here", work);
    for (int i = 0; i < INPUTS; i++)
        if (!(encode ? encoder_inputs : attention ? attention_inputs : decoder_inputs)(j, i, message))
            return false;
    if (attention)
        return compile_attention(j, message);
    return compile(j,
                   !encode       ? SOURCE_DIR "/models/llama.attar"
                   : j->at.B > 1 ? SOURCE_DIR "/bench/encoder_padded.attar"
                                 : SOURCE_DIR "/models/bert_encoder.attar",
                   message);
}

void job_close(Job *j)
{
    if (j->session)
        attar_session_free(j->session);
    attar_model_free(j->model);
    for (int i = 0; i < INPUTS; i++)
        for (int n = 0; n < 3; n++)
            memory_unmap(j->mapped[i][n].data, j->mapped[i][n].bytes);
    arena_free(&j->arena);
    *j = (Job){.threads = j->threads};
}
