/* What adapters cost: models/austen with random adapters of rank 8 on every product, merged, beside the weights, and in slots.
 *
 *     lora [threads=1] [rounds=25]
 *
 * The models run in turns, so that whatever else the machine does meets all of them; the median counts, with one thread of processor time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/attar.h"
#include "tests/driver/made_adapter.h"

enum { ADAPTERS = 16, RANK = 8, MOST_ROUNDS = 201, MOST_TOKENS = 512 };

static const MadeSite sites[] = {
    {"model.layers.%d.self_attn.q_proj", 6, 192, 192, false}, {"model.layers.%d.self_attn.k_proj", 6, 192, 64, false},
    {"model.layers.%d.self_attn.v_proj", 6, 192, 64, false},  {"model.layers.%d.self_attn.o_proj", 6, 192, 192, false},
    {"model.layers.%d.mlp.gate_proj", 6, 192, 512, false},    {"model.layers.%d.mlp.up_proj", 6, 192, 512, false},
    {"model.layers.%d.mlp.down_proj", 6, 512, 192, false},
};

static const struct { const char *name, *mode; int adapters; } ways[] = {
    {"base", NULL, 0}, {"merged", "merge", 1}, {"side", "side", 1}, {"2 summed, side", "side", 2},
    {"slots 1", "slots", 1}, {"slots 4", "slots", 4}, {"slots 8", "slots", 8}, {"slots 16", "slots", 16},
};
static const struct { const char *name; int64_t batch, before, tokens; } loads[] = {
    {"prefill B=1 S=256", 1, 0, 256}, {"prefill B=8 S=64", 8, 0, 64}, {"decode B=1 at 128", 1, 128, 1}, {"decode B=8 at 128", 8, 128, 1},
};
enum { WAYS = sizeof ways / sizeof *ways, LOADS = sizeof loads / sizeof *loads };

static const char *paths[ADAPTERS + 1];

static attar_model *compile(int way, int threads)
{
    const char *lora[ADAPTERS + 1] = {NULL};
    memcpy(lora, paths, (size_t)ways[way].adapters * sizeof *lora);
    attar_options o = {.model = SOURCE_DIR "/models/llama.attar", .weights = SOURCE_DIR "/models/austen", .threads = threads, .lora = lora, .lora_mode = ways[way].mode};
    attar_model *m;
    attar_error error = {0};
    if (attar_compile(&o, &m, &error) == ATTAR_OK)
        return m;
    fputs(error.message, stderr);
    exit(1);
}

static void run(attar_session *s, const attar_model *m, int64_t batch, int64_t tokens, int adapters)
{
    static int32_t ids[MOST_TOKENS], adapter[8];
    for (int i = 0; i < MOST_TOKENS; i++)
        ids[i] = (i * 37 + 11) % 256;
    for (int i = 0; i < 8; i++)
        adapter[i] = adapters ? 1 + i % adapters : 0;
    attar_tensor inputs[] = {{.name = "ids", .dtype = "i32", .rank = 2, .dims = {batch, tokens}, .data = ids},
                             {.name = "adapter", .dtype = "i32", .rank = 1, .dims = {batch}, .data = adapter}};
    const attar_tensor *outputs;
    attar_error error = {0};
    if (attar_run(s, inputs, attar_input_count(m), &outputs, &error) == ATTAR_OK)
        return;
    fputs(error.message, stderr);
    exit(1);
}

static double seconds(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double timed(attar_session *s, int way, const attar_model *m, int load, int threads)
{
    attar_session_truncate(s, loads[load].before);
    double start = seconds(threads);
    run(s, m, loads[load].batch, loads[load].tokens, ways[way].adapters);
    return seconds(threads) - start;
}

static void measure(attar_model *const *models, int load, int threads, int rounds)
{
    static double times[WAYS][MOST_ROUNDS];
    attar_session *s[WAYS];
    for (int w = 0; w < WAYS; w++) {
        if (attar_session_new(models[w], loads[load].batch, threads, &s[w], NULL) != ATTAR_OK)
            exit(1);
        if (loads[load].before)
            run(s[w], models[w], loads[load].batch, loads[load].before / 8 * (loads[load].batch == 1 ? 8 : 1), ways[w].adapters);
        while (attar_session_length(s[w]) < loads[load].before)
            run(s[w], models[w], loads[load].batch, 1, ways[w].adapters);
        timed(s[w], w, models[w], load, threads);
    }
    for (int r = 0; r < rounds; r++)
        for (int w = 0; w < WAYS; w++)
            times[w][r] = timed(s[w], w, models[w], load, threads);
    printf("%-20s", loads[load].name);
    for (int w = 0; w < WAYS; w++) {
        qsort(times[w], (size_t)rounds, sizeof(double), ascending);
        if (!w)
            printf(" %10.1f us", times[0][rounds / 2] * 1e6);
        else
            printf("  %14.3f", times[w][rounds / 2] / times[0][rounds / 2]);
        attar_session_free(s[w]);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1, rounds = argc > 2 ? atoi(argv[2]) : 25;
    rounds = rounds < 1 ? 1 : rounds > MOST_ROUNDS ? MOST_ROUNDS : rounds;
    char folder[] = "/tmp/attar-lora-XXXXXX";
    Arena arena = {0};
    Names names = {.map = map_new(&arena)};
    Diags diags = {.arena = &arena};
    Context cx = {&arena, &diags, &names};
    if (!mkdtemp(folder))
        return 1;
    for (int i = 0; i < ADAPTERS; i++) {
        paths[i] = arena_print(&arena, "%s/%d", folder, i);
        if (!made_adapter(&cx, paths[i], (uint64_t)i + 1, RANK, "", sites, sizeof sites / sizeof *sites))
            return 1;
    }
    attar_model *models[WAYS];
    printf("%d adapters of rank %d on all products, %d thread%s; times the base's\n%-20s", ADAPTERS, RANK, threads, threads > 1 ? "s" : "", "");
    for (int w = 0; w < WAYS; w++) {
        models[w] = compile(w, threads);
        printf(w ? "  %14s" : " %13s", ways[w].name);
    }
    printf("\n");
    for (int load = 0; load < LOADS; load++)
        measure(models, load, threads, rounds);
    for (int w = 0; w < WAYS; w++)
        attar_model_free(models[w]);
    for (int i = 0; i < ADAPTERS; i++) {
        remove(arena_print(&arena, "%s/adapter_config.json", paths[i]));
        remove(arena_print(&arena, "%s/adapter_model.safetensors", paths[i]));
        remove(paths[i]);
    }
    remove(folder);
    arena_free(&arena);
    return 0;
}
