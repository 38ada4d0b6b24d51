/* Continues a text with a built model, always with the likeliest byte:
 *
 *     attar build models/llama.attar --weights models/austen --lib -o out
 *     cc -O2 -Iout examples/write.c out/libllama.a -lm -o write
 *     ./write out/llama.weights "It is a truth" 200 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "llama.h"

enum { BYTES = 256 }; /* the vocabulary */

static void check(int error)
{
    if (error) {
        fprintf(stderr, "%s\n", llama_error_text(error));
        exit(1);
    }
}

static void *must(void *memory, const char *what)
{
    if (!memory) {
        perror(what);
        exit(1);
    }
    return memory;
}

static void *map(const char *path, size_t *bytes)
{
    struct stat info;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &info))
        return NULL;
    void *data = mmap(NULL, *bytes = (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    return data == MAP_FAILED ? NULL : data;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fputs("usage: write FILE.weights TEXT COUNT\n", stderr), 2;
    size_t bytes, length = strlen(argv[2]);
    const void *weights = must(map(argv[1], &bytes), argv[1]);
    struct llama model;
    struct llama_cache cache;
    check(llama_open(&model, weights, bytes));
    size_t cache_bytes = llama_cache_bytes(&model, 1);
    check(llama_cache_open(&model, &cache, must(malloc(cache_bytes), "cache"), cache_bytes, 1));

    /* Everything a run needs is allocated here, once, for the text and for one byte after the other. */
    struct llama_dims dims = {.B = 1, .S = (int64_t)length}, one = {.B = 1, .S = 1};
    size_t first = llama_arena_bytes(&model, &dims), later = llama_arena_bytes(&model, &one);
    size_t arena_bytes = first > later ? first : later;
    void *arena = must(malloc(arena_bytes), "arena");
    int32_t *ids = must(malloc((length + 1) * sizeof *ids), "ids");
    float *logits = must(malloc((length + 1) * BYTES * sizeof *logits), "logits");
    for (size_t i = 0; i < length; i++)
        ids[i] = (unsigned char)argv[2][i];

    fputs(argv[2], stdout);
    for (long left = atol(argv[3]); left > 0; left--, dims = one) {
        check(llama_step(&model, &cache, arena, arena_bytes, &(struct llama_inputs){ids}, &dims, &(struct llama_outputs){logits}));
        const float *last = logits + (dims.S - 1) * BYTES;
        ids[0] = 0;
        for (int32_t i = 1; i < BYTES; i++)
            ids[0] = last[i] > last[ids[0]] ? i : ids[0];
        putchar(ids[0]);
        fflush(stdout);
    }
    putchar('\n');
    return 0;
}
