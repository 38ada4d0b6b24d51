/* What fuzz.c and threads.c know of the built model they are compiled with. From the command line: MODEL and UPPER, its
 * name as functions and constants begin; MODEL_HEADER; INPUTS, for each input {bytes of an element, how many ids there are
 * or 0}, all of them [B, S]; OUTPUT, how many floats there are, of B and S; for a decoder DECODES; SHARED, if it has
 * use_threads, and POOL. Blocks of memory here have guards on both sides, which AddressSanitizer watches and which are
 * compared at the end as well. */
#ifndef SHIP_FUZZ_H
#define SHIP_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include MODEL_HEADER

#define JOIN_AGAIN(a, b) a##b
#define JOIN(a, b) JOIN_AGAIN(a, b)
#define CALL(name) JOIN(MODEL, _##name)
#define CODE(name) ((int)JOIN(UPPER, _##name))

typedef struct MODEL Model;
typedef struct CALL(dims) Dims;
typedef struct CALL(inputs) Inputs;
typedef struct CALL(outputs) Outputs;
#ifdef DECODES
typedef struct CALL(cache) Cache;
#else
typedef struct Cache {
    int none;
} Cache;
#endif

static const struct {
    size_t bytes;
    int32_t ids;
} input_kinds[] = {INPUTS};
enum { N_INPUTS = sizeof input_kinds / sizeof *input_kinds };
_Static_assert(sizeof(Inputs) == N_INPUTS * sizeof(void *) && sizeof(Outputs) == sizeof(void *),
               "INPUTS is not this model's");

static inline size_t output_count(int64_t B, int64_t S)
{
    (void)B, (void)S;
    return (size_t)(OUTPUT);
}

/* ---- what is expected -------------------------------------------------------------------------------------------- */

static int passed, failed; /* counted by any thread */

static inline void expect(int good, const char *what, long long detail)
{
    int before = __atomic_fetch_add(good ? &passed : &failed, 1, __ATOMIC_RELAXED);
    if (!good && before < 40)
        printf("FAILED: %s (%lld)\n", what, detail);
}

static inline int finish(void)
{
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}

/* ---- memory with guards ------------------------------------------------------------------------------------------ */

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define FORBID(from, bytes) __asan_poison_memory_region(from, bytes)
#define ALLOW(from, bytes) __asan_unpoison_memory_region(from, bytes)
#else
#define FORBID(from, bytes) ((void)0)
#define ALLOW(from, bytes) ((void)0)
#endif

enum { GUARD = 256, WATCH = 0xa5 };

typedef struct Block {
    unsigned char *whole, *data; /* data at a multiple of 64 */
    size_t bytes;
} Block;

static inline Block block_new(size_t bytes)
{
    Block b = {.whole = aligned_alloc(64, (bytes + 2 * GUARD + 63) / 64 * 64), .bytes = bytes};
    if (!b.whole) {
        puts("not enough memory");
        exit(1);
    }
    b.data = b.whole + GUARD;
    memset(b.whole, WATCH, bytes + 2 * GUARD);
    FORBID(b.whole, GUARD);
    FORBID(b.data + bytes, GUARD);
    return b;
}

static inline void block_free(Block *b)
{
    int touched = 0;
    ALLOW(b->whole, b->bytes + 2 * GUARD);
    for (size_t i = 0; i < GUARD; i++)
        touched |= b->whole[i] != WATCH || b->data[b->bytes + i] != WATCH;
    if (touched)
        expect(0, "guards are as they were", (long long)b->bytes);
    free(b->whole);
}

/* Whether nobody has written into it since block_new. */
static inline int untouched(const Block *b)
{
    for (size_t i = 0; i < b->bytes; i++)
        if (b->data[i] != WATCH)
            return 0;
    return 1;
}

static inline Block block_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) {
        printf("cannot read %s\n", path);
        exit(1);
    }
    Block b = block_new((size_t)ftell(f));
    rewind(f);
    if (fread(b.data, 1, b.bytes, f) != b.bytes)
        exit(1);
    fclose(f);
    return b;
}

/* ---- one call with everything it needs --------------------------------------------------------------------------- */

typedef struct Frame {
    Dims dims;
    Block in[N_INPUTS], out, arena, memory;
    Inputs inputs;
    Outputs outputs;
    Cache cache;
} Frame;

/* B rows of S valid numbers; an arena of exactly what is asked for; for a decoder an empty cache. */
static inline void frame_new(Frame *f, const Model *model, int64_t B, int64_t S, uint32_t seed)
{
    memset(f, 0, sizeof *f);
    f->dims.B = B, f->dims.S = S;
    const void *in[N_INPUTS];
    for (int i = 0; i < N_INPUTS; i++) {
        f->in[i] = block_new((size_t)(B * S) * input_kinds[i].bytes);
        for (int64_t j = 0; j < B * S; j++) {
            seed = seed * 1664525u + 1013904223u;
            if (input_kinds[i].ids)
                ((int32_t *)(void *)f->in[i].data)[j] = (int32_t)((seed >> 8) % (uint32_t)input_kinds[i].ids);
            else
                f->in[i].data[j] = 1;
        }
        in[i] = f->in[i].data;
    }
    memcpy(&f->inputs, in, sizeof in);
    f->out = block_new(output_count(B, S) * sizeof(float));
    memcpy(&f->outputs, &f->out.data, sizeof(void *));
    f->arena = block_new(CALL(arena_bytes)(model, &f->dims));
    f->memory = block_new(0);
#ifdef DECODES
    block_free(&f->memory);
    f->memory = block_new(CALL(cache_bytes)(model, B));
    expect(CALL(cache_open)(model, &f->cache, f->memory.data, f->memory.bytes, B) == CODE(OK), "cache_open", B);
#endif
}

static inline void frame_free(Frame *f)
{
    for (int i = 0; i < N_INPUTS; i++)
        block_free(&f->in[i]);
    block_free(&f->out), block_free(&f->arena), block_free(&f->memory);
}

/* `run` of an encoder, `step` of a decoder. */
static inline int call(const Model *m, Cache *cache, void *arena, size_t bytes, const Inputs *in, const Dims *dims,
                       const Outputs *out)
{
#ifdef DECODES
    return CALL(step)(m, cache, arena, bytes, in, dims, out);
#else
    (void)cache;
    return CALL(run)(m, arena, bytes, in, dims, out);
#endif
}

static inline int frame_call(Frame *f, const Model *m)
{
    return call(m, &f->cache, f->arena.data, f->arena.bytes, &f->inputs, &f->dims, &f->outputs);
}

#endif
