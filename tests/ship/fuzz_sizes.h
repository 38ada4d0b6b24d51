/* Good calls of many sizes with memory of exactly what is asked for, and good calls among bad ones: included by fuzz.c. */
#ifndef SHIP_FUZZ_SIZES_H
#define SHIP_FUZZ_SIZES_H

#include "tests/ship/fuzz.h"

/* Around the edges of tiles and panels. A decoder takes as many of such steps as there is room for. */
static void fuzz_sizes(const Model *model)
{
    static const int64_t lengths[] = {1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int64_t B = 1; B <= 3 && lengths[i] <= CODE(MAX_S); B++) {
            Frame f;
            frame_new(&f, model, B, lengths[i], (uint32_t)i);
            expect(frame_call(&f, model) == CODE(OK), "a call of another size", (long long)i);
            expect(!untouched(&f.out), "outputs of another size", (long long)i);
#ifdef DECODES
            while (f.cache.length + lengths[i] <= CODE(MAX_S))
                expect(frame_call(&f, model) == CODE(OK), "a step of another size", f.cache.length);
#endif
            frame_free(&f);
        }
}

#ifdef DECODES
/* Something wrong with one of the arguments; gives what has to come back. */
static int bad_call(Frame *f, const Model *model, int which)
{
    const Frame good = *f;
    int32_t *id = (int32_t *)(void *)f->in[0].data, before = *id;
    int expected = CODE(BAD_ARGUMENT), code;
    size_t bytes = f->arena.bytes;
    switch (which) {
    case 0: f->inputs = (Inputs){0}; break;
    case 1: f->outputs = (Outputs){0}; break;
    case 2: f->dims.S = 0, expected = CODE(BAD_DIMS); break;
    case 3: f->dims.B = -1, expected = CODE(BAD_DIMS); break;
    case 4: bytes = CALL(arena_bytes)(model, &f->dims) - 1, expected = CODE(SMALL_ARENA); break;
    case 5: f->cache.B++, expected = CODE(BAD_CACHE); break;
    case 6: f->cache.length = -1, expected = CODE(BAD_CACHE); break;
    case 7: f->cache.length = CODE(MAX_S), expected = CODE(FULL_CACHE); break;
    default: *id = -1, expected = CODE(BAD_INDEX); break;
    }
    code = call(model, &f->cache, f->arena.data, bytes, &f->inputs, &f->dims, &f->outputs);
    *id = before;
    f->dims = good.dims, f->inputs = good.inputs, f->outputs = good.outputs;
    if (which >= 5 && which <= 7)
        f->cache = good.cache;
    /* Where a cache is only read on from where it ends, it cannot have been changed to end elsewhere. */
    return code == expected || (which == 7 && code == CODE(BAD_CACHE));
}

/* A cache among whose steps are bad ones, and one with the good ones alone. */
static void fuzz_sequences(const Model *model)
{
    uint32_t seed = 11;
    for (int round = 0; round < 8; round++) {
        Frame f, twin;
        frame_new(&f, model, 2, 9, 5);
        frame_new(&twin, model, 2, 9, 5);
        for (int i = 0; i < 40; i++) {
            seed = seed * 1664525u + 1013904223u;
            int which = (int)(seed >> 8) % 12;
            if (which < 9) {
                int64_t length = f.cache.length;
                expect(bad_call(&f, model, which), "a bad call", which);
                expect(f.cache.length == length, "the length after a bad call", which);
                continue;
            }
            f.dims.S = twin.dims.S = 1 + (int64_t)(seed >> 20) % 9;
            if (f.cache.length + f.dims.S > CODE(MAX_S))
                break;
            Block arena = block_new(CALL(arena_bytes)(model, &f.dims));
            expect(call(model, &f.cache, arena.data, arena.bytes, &f.inputs, &f.dims, &f.outputs) == CODE(OK) &&
                       frame_call(&twin, model) == CODE(OK),
                   "a good call among bad ones", i);
            expect(!memcmp(f.out.data, twin.out.data, f.out.bytes), "bits of a good call among bad ones", i);
            block_free(&arena);
        }
        frame_free(&f), frame_free(&twin);
    }
}
#endif

#endif
