/* Adapters drawn from a seed, written as PEFT writes them: for tests of tied tables and for measuring. */
#ifndef ATTAR_TESTS_MADE_ADAPTER_H
#define ATTAR_TESTS_MADE_ADAPTER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/checkpoint.h"

typedef struct MadeSite {
    const char *module;                 /* with %d for the layer */
    int layers;                         /* 0: no layers */
    int64_t in, out;
    bool table;                         /* an embedding: in rows of out */
} MadeSite;

/* A number in [-1, 1). */
static inline double made_number(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(*seed >> 11) / (double)(1LL << 52) - 1;
}

static inline HostTensor made_tensor(Context *cx, uint64_t *seed, const char *name, int64_t rows, int64_t columns, double most)
{
    HostTensor t = {.name = name, .dtype = DT_F32, .rank = 2, .dims = {rows, columns}};
    float *data = arena_array(cx->arena, (size_t)(rows * columns), sizeof *data);
    for (int64_t i = 0; i < rows * columns; i++)
        data[i] = (float)(most * made_number(seed));
    t.data = data;
    return t;
}

/* `folder` is made. `options`: more of adapter_config.json, each with a comma behind. False: it could not be written. */
static inline bool made_adapter(Context *cx, const char *folder, uint64_t seed, int rank, const char *options, const MadeSite *sites, int n)
{
    Text config = text_new(cx->arena);
    int count = 0, most = 0;
    for (int i = 0; i < n; i++)
        most += 2 * (sites[i].layers + 1);
    HostTensor *all = arena_array(cx->arena, (size_t)most, sizeof *all);
    text_add(&config, "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": %d, %s\"target_modules\": [", rank, 2 * rank, options);
    for (int i = 0; i < n; i++) {
        const char *last = strrchr(sites[i].module, '.');
        text_add(&config, "%s\"%s\"", i ? ", " : "", last ? last + 1 : sites[i].module);
        for (int layer = 0; layer < (sites[i].layers ? sites[i].layers : 1); layer++) {
            const char *dot = strstr(sites[i].module, "%d");
            const char *module = dot ? arena_print(cx->arena, "%.*s%d%s", (int)(dot - sites[i].module), sites[i].module, layer, dot + 2) : sites[i].module;
            const char *a = sites[i].table ? "lora_embedding_A" : "lora_A.weight", *b = sites[i].table ? "lora_embedding_B" : "lora_B.weight";
            all[count++] = made_tensor(cx, &seed, arena_print(cx->arena, "base_model.model.%s.%s", module, a), rank, sites[i].in, 0.1);
            all[count++] = made_tensor(cx, &seed, arena_print(cx->arena, "base_model.model.%s.%s", module, b), sites[i].out, rank, 0.1);
        }
    }
    text_add(&config, "]}\n");
    mkdir(folder, 0700);
    FILE *file = fopen(arena_print(cx->arena, "%s/adapter_config.json", folder), "wb");
    bool good = file && fwrite(config.data, 1, config.length, file) == config.length;
    good &= file && fclose(file) == 0;
    return good && safetensors_save(cx, arena_print(cx->arena, "%s/adapter_model.safetensors", folder), all, count);
}

#endif
