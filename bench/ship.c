/* A built model's C, by several compilers, against the same model compiled in the process: speed, in turns in one run, and whether the bits are the same.
 *
 *     bench_ship MODEL WEIGHTS encode=S|decode=STEPS rounds=N WEIGHTS_FILE NAME=LIBRARY.so ...
 *
 * For models with one output and inputs [B, S], on one thread. `encode`: ids of one row of S; inputs beyond the first are ones. `decode`: a prompt of 16, then
 * STEPS tokens one by one, each the likeliest after the one before. Prints for each library its median and least time, the time in the process over its own
 * (1: as fast; the median of rounds, and of the least ones), and whether the output has the same bits: if one has not, the status is 1. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "runtime/attar.h"

enum { MOST_LIBRARIES = 4, MOST_ROUNDS = 1001, MOST_INPUTS = 4, PROMPT = 16, LONGEST = 512 };

/* The interface that `attar build` gives every model, seen through pointers: see NAME.h. */
typedef struct Dims {
    int64_t B, S;
} Dims;
typedef struct Library {
    const char *name;
    void *model, *cache, *memory, *arena;
    size_t arena_bytes, memory_bytes;
    int (*run)(const void *, void *, size_t, const void *const *, const Dims *, void *const *);
    int (*step)(const void *, void *, void *, size_t, const void *const *, const Dims *, void *const *);
    int (*cache_open)(const void *, void *, void *, size_t, int64_t);
} Library;

typedef struct Bench {
    attar_model *m;
    attar_session *s;
    Library libraries[MOST_LIBRARIES];
    int n_libraries, rounds;
    bool decodes;
    int64_t length; /* S of encode, steps of decode */
    int64_t row;    /* floats of the output of one position, or of all */
    int32_t ids[LONGEST], ones[LONGEST];
    bool yes[LONGEST];
    float *expected, *output;
} Bench;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int32_t likeliest(const float *logits, int64_t count)
{
    int32_t best = 0;
    for (int32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* ---- in the process ---------------------------------------------------------------------------------------------- */

static const attar_tensor *run_session(Bench *b, int32_t *ids, int64_t count)
{
    attar_tensor inputs[MOST_INPUTS];
    for (int i = 0; i < attar_input_count(b->m); i++) {
        const char *name = attar_input_name(b->m, i);
        bool keeps = !strcmp(name, "keep");
        inputs[i] = (attar_tensor){.name = name, .dtype = keeps ? "bool" : "i32", .rank = 2, .dims = {1, count}, .data = i == 0 ? (void *)ids : keeps ? (void *)b->yes : b->ones};
    }
    const attar_tensor *outputs;
    attar_error error = {0};
    if (attar_run(b->s, inputs, attar_input_count(b->m), &outputs, &error) != ATTAR_OK)
        die("run", error.message);
    return outputs;
}

static int64_t count_of(const attar_tensor *t)
{
    int64_t count = 1;
    for (int a = 0; a < t->rank; a++)
        count *= t->dims[a];
    return count;
}

/* Seconds; what came out (of decode: the logits of every step) to `out`. */
static double time_session(Bench *b, float *out)
{
    attar_session_reset(b->s);
    if (!b->decodes) {
        double start = now();
        const attar_tensor *y = run_session(b, b->ids, b->length);
        double seconds = now() - start;
        memcpy(out, y->data, (size_t)b->row * sizeof *out);
        return seconds;
    }
    const attar_tensor *y = run_session(b, b->ids, PROMPT);
    int32_t token = likeliest((const float *)y->data + (PROMPT - 1) * b->row, b->row);
    double start = now();
    for (int64_t i = 0; i < b->length; i++) {
        y = run_session(b, &token, 1);
        memcpy(out + i * b->row, y->data, (size_t)b->row * sizeof *out);
        token = likeliest(y->data, b->row);
    }
    return now() - start;
}

/* ---- built --------------------------------------------------------------------------------------------------------- */

static void *symbol(void *library, const char *model, const char *name, bool needed)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s_%s", model, name);
    void *found = dlsym(library, whole);
    if (!found && needed)
        die(whole, "the library has no such function");
    return found;
}

static void load(Bench *b, Library *l, const char *path, const char *model, const void *weights, size_t bytes)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so)
        die(path, dlerror());
    size_t (*model_size)(void), (*cache_size)(void), (*arena_bytes)(const void *, const Dims *), (*cache_bytes)(const void *, int64_t);
    int (*open)(void *, const void *, size_t);
    *(void **)&model_size = symbol(so, model, "model_size", true);
    *(void **)&open = symbol(so, model, "open", true);
    *(void **)&arena_bytes = symbol(so, model, "arena_bytes", true);
    *(void **)&l->run = symbol(so, model, "run", true);
    *(void **)&l->step = symbol(so, model, "step", b->decodes);
    l->model = malloc(model_size());
    if (open(l->model, weights, bytes))
        die(path, "the weights are not its own");
    l->arena_bytes = arena_bytes(l->model, &(Dims){1, b->decodes ? PROMPT : b->length});
    l->arena = malloc(l->arena_bytes);
    if (b->decodes) {
        *(void **)&cache_size = symbol(so, model, "cache_size", true);
        *(void **)&cache_bytes = symbol(so, model, "cache_bytes", true);
        *(void **)&l->cache_open = symbol(so, model, "cache_open", true);
        l->cache = malloc(cache_size());
        l->memory_bytes = cache_bytes(l->model, 1);
        l->memory = malloc(l->memory_bytes);
    }
}

static void step(Library *l, const int32_t *ids, int64_t count, float *out)
{
    const void *inputs[MOST_INPUTS] = {ids};
    void *outputs[] = {out};
    int code = l->step(l->model, l->cache, l->arena, l->arena_bytes, inputs, &(Dims){1, count}, outputs);
    if (code)
        die(l->name, "a step failed");
}

static double time_library(Bench *b, Library *l, float *out)
{
    if (!b->decodes) {
        const void *inputs[MOST_INPUTS] = {b->ids};
        void *outputs[] = {out};
        for (int i = 1; i < attar_input_count(b->m); i++)
            inputs[i] = !strcmp(attar_input_name(b->m, i), "keep") ? (const void *)b->yes : b->ones;
        double start = now();
        if (l->run(l->model, l->arena, l->arena_bytes, inputs, &(Dims){1, b->length}, outputs))
            die(l->name, "the run failed");
        return now() - start;
    }
    float *prompt = malloc((size_t)(PROMPT * b->row) * sizeof *prompt);
    if (l->cache_open(l->model, l->cache, l->memory, l->memory_bytes, 1))
        die(l->name, "the cache cannot be opened");
    step(l, b->ids, PROMPT, prompt);
    int32_t token = likeliest(prompt + (PROMPT - 1) * b->row, b->row);
    free(prompt);
    double start = now();
    for (int64_t i = 0; i < b->length; i++) {
        step(l, &token, 1, out + i * b->row);
        token = likeliest(out + i * b->row, b->row);
    }
    return now() - start;
}

/* ---- the comparison ----------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[count / 2];
}

static int compare(Bench *b)
{
    static double session[MOST_ROUNDS], times[MOST_LIBRARIES][MOST_ROUNDS], ratios[MOST_LIBRARIES][MOST_ROUNDS];
    bool same[MOST_LIBRARIES];
    size_t bytes = (size_t)(b->row * (b->decodes ? b->length : 1)) * sizeof(float);
    time_session(b, b->expected);
    for (int l = 0; l < b->n_libraries; l++) {
        time_library(b, &b->libraries[l], b->output);
        same[l] = !memcmp(b->expected, b->output, bytes);
    }
    for (int r = 0; r < b->rounds; r++) {
        session[r] = time_session(b, b->expected);
        for (int i = 0; i < b->n_libraries; i++) {
            int l = (i + r) % b->n_libraries;
            times[l][r] = time_library(b, &b->libraries[l], b->output);
            same[l] = same[l] && !memcmp(b->expected, b->output, bytes);
            ratios[l][r] = session[r] / times[l][r];
        }
    }
    bool all = true;
    double middle_session = median(session, b->rounds); /* sorts: the first is the least */
    printf("| | median | least | speed by median | by least | |\n|---|--:|--:|--:|--:|---|\n| in the process | %.3f ms | %.3f ms | | | |\n", 1e3 * middle_session, 1e3 * session[0]);
    for (int l = 0; l < b->n_libraries; l++) {
        double middle = median(times[l], b->rounds);
        printf("| %s | %.3f ms | %.3f ms | %.3f | %.3f | %s |\n", b->libraries[l].name, 1e3 * middle, 1e3 * times[l][0], median(ratios[l], b->rounds),
               session[0] / times[l][0], same[l] ? "same bits" : "OTHER BITS");
        all = all && same[l];
    }
    return all ? 0 : 1;
}

static void *map(const char *path, size_t *bytes)
{
    struct stat info;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &info))
        die(path, "cannot be read");
    void *data = mmap(NULL, *bytes = (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        die(path, "cannot be mapped");
    return data;
}

/* llama of out/llama.weights */
static char *model_name(const char *weights)
{
    const char *slash = strrchr(weights, '/');
    char *name = strdup(slash ? slash + 1 : weights), *dot = strrchr(name, '.');
    if (dot)
        *dot = 0;
    return name;
}

int main(int argc, char **argv)
{
    static Bench b;
    size_t bytes;
    attar_error error = {0};
    if (argc < 7 || argc - 6 > MOST_LIBRARIES)
        die("usage", "bench_ship MODEL WEIGHTS encode=S|decode=STEPS rounds=N WEIGHTS_FILE NAME=LIBRARY.so ...");
    b.decodes = !strncmp(argv[3], "decode=", 7);
    b.length = atoi(argv[3] + 7);
    b.rounds = atoi(argv[4] + 7);
    if (b.length < 1 || b.length > LONGEST || b.rounds < 1 || b.rounds > MOST_ROUNDS)
        die("usage", "too many or too few of them");
    for (int i = 0; i < LONGEST; i++)
        b.ids[i] = (i * 37 + 11) % 59, b.ones[i] = 1, b.yes[i] = true;
    if (attar_compile(&(attar_options){.model = argv[1], .weights = argv[2], .threads = 1}, &b.m, &error) != ATTAR_OK ||
        attar_session_new(b.m, 1, 1, &b.s, &error) != ATTAR_OK)
        die(argv[1], error.message);
    if (attar_output_count(b.m) != 1 || attar_input_count(b.m) > MOST_INPUTS)
        die(argv[1], "it has several outputs, or too many inputs");
    b.row = count_of(run_session(&b, b.ids, b.decodes ? 1 : b.length));
    b.expected = malloc((size_t)(b.row * (b.decodes ? b.length : 1)) * sizeof(float));
    b.output = malloc((size_t)(b.row * (b.decodes ? b.length : 1)) * sizeof(float));
    const void *weights = map(argv[5], &bytes);
    char *name = model_name(argv[5]);
    for (int i = 6; i < argc; i++) {
        Library *l = &b.libraries[b.n_libraries++];
        char *path = strchr(argv[i], '=');
        if (!path)
            die(argv[i], "NAME=LIBRARY.so");
        *path = 0;
        l->name = argv[i];
        load(&b, l, path + 1, name, weights, bytes);
    }
    free(name);
    int status = compare(&b);
    attar_session_free(b.s);
    attar_model_free(b.m);
    return status;
}
