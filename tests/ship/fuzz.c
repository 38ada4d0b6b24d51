/* Every function of a built model's header with what nobody should hand over: error codes only, nothing out of bounds,
 * and afterwards the same bits as before. Compiled with the model under AddressSanitizer and UndefinedBehaviorSanitizer: tests/ship/fuzz.sh.
 *
 *     fuzz NAME.weights */
#include "tests/ship/fuzz_sizes.h"
#include "tests/ship/fuzz_threads.h"

static Model model;
static Block file;
static Block right; /* what a valid call gives */

static const int64_t hostile[] = {0,
                                  1,
                                  LENGTH,
                                  -1,
                                  -2,
                                  INT32_MIN,
                                  INT32_MAX,
                                  1ll << 31,
                                  1ll << 32,
                                  (1ll << 32) + 1,
                                  1ll << 62,
                                  -(1ll << 62),
                                  INT64_MAX,
                                  INT64_MIN,
                                  INT64_MAX / 4 + 2,
                                  CODE(MAX_S) - 1,
                                  CODE(MAX_S),
                                  CODE(MAX_S) + 1,
                                  CODE(MAX_B),
                                  (int64_t)CODE(MAX_B) + 1};
enum { HOSTILE = sizeof hostile / sizeof *hostile };

static uint64_t seed = 7;

static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 24) % below;
}

/* A valid call, which gives what it gave before. */
static void still_right(const char *after)
{
    Frame f;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    expect(frame_call(&f, &model) == CODE(OK), after, 0);
    if (!right.whole) {
        right = block_new(f.out.bytes);
        memcpy(right.data, f.out.data, right.bytes);
    }
    expect(!memcmp(right.data, f.out.data, right.bytes), after, 1);
    frame_free(&f);
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static int open_part(size_t length)
{
    Block part = block_new(length);
    memcpy(part.data, file.data, length);
    Model m;
    int code = CALL(open)(&m, part.data, length);
    block_free(&part);
    return code;
}

static void fuzz_lengths(void)
{
    enum { LENGTHS = 200, HEADER_BYTES = 4096 };
    for (size_t length = 0; length <= HEADER_BYTES; length++)
        expect(open_part(length) == CODE(TRUNCATED) || (length < 8 && open_part(length) == CODE(NOT_WEIGHTS)),
               "the header cut short", (long long)length);
    for (size_t i = 0; i < LENGTHS; i++) {
        size_t length = HEADER_BYTES + (file.bytes - 1 - HEADER_BYTES) * i / (LENGTHS - 1);
        expect(open_part(length) == CODE(TRUNCATED), "weights cut short", (long long)length);
    }
    expect(open_part(file.bytes) == CODE(OK), "all of the weights", 0);
    Model m;
    expect(CALL(open)(&m, file.data, SIZE_MAX) == CODE(OK), "weights in a longer file", 0);
}

static void fuzz_header(void)
{
    for (size_t bit = 0; bit < 4096 * 8; bit++) {
        Model m;
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        int code = CALL(open)(&m, file.data, file.bytes);
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        expect(code == CODE(NOT_WEIGHTS) || code == CODE(OTHER_WEIGHTS) || code == CODE(TRUNCATED) ||
                   code == CODE(DAMAGED),
               "a bit of the header", (long long)bit);
    }
}

/* Whoever does not ask for the check gets wrong numbers, but no wrong address. */
static void fuzz_body(void)
{
    for (int i = 0; i < 1000; i++) {
        size_t at = 4096 + draw(file.bytes - 4096);
        unsigned char bit = (unsigned char)(1u << draw(8));
        Model m;
        Frame f;
        file.data[at] ^= bit;
        expect(CALL(open)(&m, file.data, file.bytes) == CODE(OK), "weights with a wrong bit, opened", (long long)at);
        expect(CALL(check)(&m) == CODE(DAMAGED), "weights with a wrong bit, checked", (long long)at);
        frame_new(&f, &m, 1, LENGTH, 1);
        frame_call(&f, &m);
        frame_free(&f);
        file.data[at] ^= bit;
    }
    expect(CALL(check)(&model) == CODE(OK), "check", 0);
}

/* Bodies that are not numbers at all: every bit set, NaN after NaN, infinities. */
static void fuzz_nonsense(void)
{
    static const uint32_t patterns[] = {0xffffffff, 0x7fc00000, 0x7f800000, 0xff800000,
                                        0x7f7fffff, 0x7f807f80, 0x80000000};
    Block wrong = block_new(file.bytes);
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        Model m;
        Frame f;
        memcpy(wrong.data, file.data, 4096);
        for (size_t i = 4096; i + 4 <= file.bytes; i += 4)
            memcpy(wrong.data + i, &patterns[p], 4);
        expect(CALL(open)(&m, wrong.data, wrong.bytes) == CODE(OK), "nonsense, opened", (long long)p);
        expect(CALL(check)(&m) == CODE(DAMAGED), "nonsense, checked", (long long)p);
        frame_new(&f, &m, ROWS, LENGTH, 1);
        frame_call(&f, &m);
        frame_free(&f);
    }
    block_free(&wrong);
}

static void fuzz_alignment(void)
{
    Block moved = block_new(file.bytes + 64);
    for (size_t by = 1; by < 64; by++) {
        Model m;
        memcpy(moved.data + by, file.data, file.bytes);
        expect(CALL(open)(&m, moved.data + by, file.bytes) == CODE(UNALIGNED), "unaligned weights", (long long)by);
    }
    block_free(&moved);
}

/* ---- sizes and arenas -------------------------------------------------------------------------------------------- */

static int outside(int64_t B, int64_t S)
{
    return B < 0 || S < 0 || B > CODE(MAX_B) || S > CODE(MAX_S);
}

static void fuzz_dims(void)
{
    Frame f;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    for (int i = 0; i < HOSTILE * HOSTILE; i++) {
        f.dims.B = hostile[i / HOSTILE], f.dims.S = hostile[i % HOSTILE];
        size_t need = CALL(arena_bytes)(&model, &f.dims);
        expect(!need || !outside(f.dims.B, f.dims.S), "arena_bytes of sizes out of bounds", i);
        if (need && need <= f.arena.bytes)
            continue; /* a valid call, for which the arrays may be too small */
        int code = frame_call(&f, &model);
        expect(code == CODE(BAD_DIMS) || code == CODE(SMALL_ARENA) || code == CODE(BAD_CACHE) ||
                   code == CODE(FULL_CACHE),
               "sizes", i);
        expect(code != CODE(SMALL_ARENA) || need, "a small arena for impossible sizes", i);
    }
    frame_free(&f);
}

static void fuzz_arena(void)
{
    Frame f;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    size_t need = f.arena.bytes;
    for (int i = 0; i < 400; i++) {
        size_t bytes = i < 300 ? (size_t)i : need - 1 - (need - 1) * (size_t)(i - 300) / 100;
        if (bytes >= need)
            continue;
        Block small = block_new(bytes);
        expect(call(&model, &f.cache, small.data, bytes, &f.inputs, &f.dims, &f.outputs) == CODE(SMALL_ARENA),
               "a small arena", (long long)bytes);
        expect(untouched(&small) && untouched(&f.out), "a small arena, written", (long long)bytes);
        block_free(&small);
    }
    frame_free(&f);
    /* Any address does. */
    for (size_t by = 0; by < 64; by++) {
        frame_new(&f, &model, ROWS, LENGTH, 1);
        Block moved = block_new(need + by);
        expect(call(&model, &f.cache, moved.data + by, need, &f.inputs, &f.dims, &f.outputs) == CODE(OK),
               "an arena anywhere", (long long)by);
        expect(!memcmp(right.data, f.out.data, right.bytes), "the same bits in an arena anywhere", (long long)by);
        block_free(&moved);
        frame_free(&f);
    }
}

/* ---- pointers and ids -------------------------------------------------------------------------------------------- */

static void fuzz_pointers(void)
{
    Frame f;
    Model m;
    memset(&m, 0, sizeof m);
    frame_new(&f, &model, ROWS, LENGTH, 1);
    const int bad = CODE(BAD_ARGUMENT);
    void *arena = f.arena.data;
    size_t n = f.arena.bytes;
    expect(CALL(open)(NULL, file.data, file.bytes) == bad, "open(NULL, ..)", 0);
    expect(CALL(open)(&m, NULL, file.bytes) == bad, "open(m, NULL, ..)", 0);
    expect(CALL(check)(NULL) == bad, "check(NULL)", 0);
    expect(CALL(arena_bytes)(NULL, &f.dims) == 0, "arena_bytes(NULL, ..)", 0);
    expect(CALL(arena_bytes)(&model, NULL) == 0, "arena_bytes(m, NULL)", 0);
    expect(call(NULL, &f.cache, arena, n, &f.inputs, &f.dims, &f.outputs) == bad, "a null model", 0);
    expect(call(&model, &f.cache, NULL, n, &f.inputs, &f.dims, &f.outputs) == bad, "a null arena", 0);
    expect(call(&model, &f.cache, arena, n, NULL, &f.dims, &f.outputs) == bad, "null inputs", 0);
    expect(call(&model, &f.cache, arena, n, &f.inputs, NULL, &f.outputs) == bad, "null dims", 0);
    expect(call(&model, &f.cache, arena, n, &f.inputs, &f.dims, NULL) == bad, "null outputs", 0);
    for (int i = 0; i < N_INPUTS; i++) {
        Inputs without = f.inputs;
        memset((char *)&without + (size_t)i * sizeof(void *), 0, sizeof(void *));
        expect(call(&model, &f.cache, arena, n, &without, &f.dims, &f.outputs) == bad, "an input that is missing", i);
    }
    Outputs without;
    memset(&without, 0, sizeof without);
    expect(call(&model, &f.cache, arena, n, &f.inputs, &f.dims, &without) == bad, "an output that is missing", 0);
    /* A model that was never opened, or could not be. */
    expect(CALL(check)(&m) != CODE(OK), "check of an unopened model", 0);
    expect(call(&m, &f.cache, arena, n, &f.inputs, &f.dims, &f.outputs) != CODE(OK), "an unopened model", 0);
    expect(CALL(open)(&m, file.data, 100) != CODE(OK) &&
               call(&m, &f.cache, arena, n, &f.inputs, &f.dims, &f.outputs) != CODE(OK),
           "a model that could not be opened", 0);
    for (int code = -3; code < 40; code++)
        expect(CALL(error_text)(code) && *CALL(error_text)(code), "error_text", code);
    expect(CALL(error_text)(INT32_MIN) && CALL(error_text)(INT32_MAX), "error_text", 40);
    expect(untouched(&f.arena) && untouched(&f.out), "nothing written", 0);
    frame_free(&f);
}

static void fuzz_ids(void)
{
    for (int i = 0; i < N_INPUTS; i++) {
        const int32_t ids[] = {-1,        input_kinds[i].ids, input_kinds[i].ids + 1,
                               INT32_MAX, INT32_MIN,          -input_kinds[i].ids};
        for (size_t j = 0; input_kinds[i].ids && j < sizeof ids / sizeof *ids * ROWS * LENGTH; j++) {
            Frame f;
            frame_new(&f, &model, ROWS, LENGTH, 1);
            int32_t *at = (int32_t *)(void *)f.in[i].data + j % (ROWS * LENGTH), before = *at;
            *at = ids[j / (ROWS * LENGTH)];
            expect(frame_call(&f, &model) == CODE(BAD_INDEX), "an id outside its table", (long long)j);
            /* The same caches with the id that was meant: nothing of the wrong call is left. */
            *at = before;
            expect(frame_call(&f, &model) == CODE(OK) && !memcmp(right.data, f.out.data, right.bytes),
                   "after an id outside its table", (long long)j);
            frame_free(&f);
        }
    }
    for (int value = 0; value < 256; value++) { /* what is not 0 is true */
        Frame f;
        frame_new(&f, &model, ROWS, LENGTH, 1);
        for (int i = 0; i < N_INPUTS; i++)
            if (!input_kinds[i].ids)
                memset(f.in[i].data, value, f.in[i].bytes);
        expect(frame_call(&f, &model) == CODE(OK), "booleans", value);
        frame_free(&f);
    }
}

/* ---- caches ------------------------------------------------------------------------------------------------------ */

#ifdef DECODES
static void fuzz_cache_open(void)
{
    Frame f;
    Cache c;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    const int bad = CODE(BAD_ARGUMENT);
    size_t need = f.memory.bytes;
    expect(CALL(cache_bytes)(NULL, 1) == 0, "cache_bytes(NULL, ..)", 0);
    expect(CALL(cache_open)(NULL, &c, f.memory.data, need, ROWS) == bad, "cache_open(NULL, ..)", 0);
    expect(CALL(cache_open)(&model, NULL, f.memory.data, need, ROWS) == bad, "cache_open(m, NULL, ..)", 0);
    expect(CALL(cache_open)(&model, &c, NULL, need, ROWS) == bad, "cache_open(m, c, NULL, ..)", 0);
    expect(call(&model, NULL, f.arena.data, f.arena.bytes, &f.inputs, &f.dims, &f.outputs) == bad, "a null cache", 0);
    for (int i = 0; i < HOSTILE; i++) {
        size_t bytes = CALL(cache_bytes)(&model, hostile[i]);
        expect(!bytes || !outside(hostile[i], 1), "cache_bytes of a batch out of bounds", hostile[i]);
        if (bytes <= need && bytes)
            continue;
        int code = CALL(cache_open)(&model, &c, f.memory.data, need, hostile[i]);
        expect(code == CODE(BAD_DIMS) || (bytes && code == CODE(SMALL_ARENA)), "cache_open with a batch", hostile[i]);
    }
    for (int i = 0; i < 400; i++) {
        size_t bytes = i < 300 ? (size_t)i : need - 1 - (need - 1) * (size_t)(i - 300) / 100;
        Block small = block_new(bytes < need ? bytes : 0);
        expect(CALL(cache_open)(&model, &c, small.data, small.bytes, ROWS) == CODE(SMALL_ARENA), "a small cache",
               (long long)bytes);
        block_free(&small);
    }
    frame_free(&f);
    for (size_t by = 0; by < 64; by++) { /* any address does */
        frame_new(&f, &model, ROWS, LENGTH, 1);
        Block moved = block_new(need + by);
        expect(CALL(cache_open)(&model, &f.cache, moved.data + by, need, ROWS) == CODE(OK), "a cache anywhere",
               (long long)by);
        expect(frame_call(&f, &model) == CODE(OK) && !memcmp(right.data, f.out.data, right.bytes),
               "the same bits with a cache anywhere", (long long)by);
        block_free(&moved);
        frame_free(&f);
    }
}

/* A cache of another batch, one that was never opened, one of another model; fields that are not what they were. */
static void fuzz_cache_fields(void)
{
    Frame f;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    const Cache good = f.cache;
    for (int i = 0; i < HOSTILE; i++) {
        f.cache = good;
        f.cache.B = hostile[i];
        expect(hostile[i] == ROWS || frame_call(&f, &model) == CODE(BAD_CACHE), "a cache of another batch", hostile[i]);
        f.cache = good;
        f.cache.length = hostile[i];
        int code = frame_call(&f, &model), possible = hostile[i] >= 0 && hostile[i] <= CODE(MAX_S);
        expect(code == CODE(BAD_CACHE) || (possible && (code == CODE(OK) || code == CODE(FULL_CACHE))),
               "a cache of another length", hostile[i]);
    }
    for (int64_t B = 1; B < 9; B++) { /* as if it had been opened for as many rows as now come */
        Frame g;
        frame_new(&g, &model, B, LENGTH, 1);
        g.cache = good;
        g.cache.B = B;
        expect(B == ROWS || frame_call(&g, &model) == CODE(BAD_CACHE), "a cache whose batch was changed", B);
        frame_free(&g);
    }
    memset(&f.cache, 0, sizeof f.cache);
    expect(frame_call(&f, &model) == CODE(BAD_CACHE), "a cache that was never opened", 0);
    memset(&f.cache, 0xff, sizeof f.cache);
    expect(frame_call(&f, &model) == CODE(BAD_CACHE), "a cache of set bits", 0);
    f.cache = good;
    f.cache.memory = NULL;
    expect(frame_call(&f, &model) == CODE(BAD_CACHE), "a cache without memory", 0);
    f.cache = good;
    expect(frame_call(&f, &model) == CODE(OK) && !memcmp(right.data, f.out.data, right.bytes), "the cache as it was",
           0);
    frame_free(&f);
}

/* Token by token until it is full; then nothing fits, and what is there stays. */
static void fuzz_full(void)
{
    Frame all, one;
    int64_t steps = 0;
    frame_new(&all, &model, 1, CODE(MAX_S), 3);
    frame_new(&one, &model, 1, 1, 3);
    expect(frame_call(&all, &model) == CODE(OK), "as many positions as there may be", 0);
    expect(all.cache.length == CODE(MAX_S), "the length", all.cache.length);
    while (steps < CODE(MAX_S)) {
        memcpy(one.in[0].data, all.in[0].data + 4 * steps, 4);
        if (frame_call(&one, &model) != CODE(OK))
            break;
        steps++;
        expect(one.cache.length == steps, "the length after steps", steps);
    }
    expect(steps == CODE(MAX_S), "positions in the cache", steps);
    expect(frame_call(&one, &model) == CODE(FULL_CACHE) && one.cache.length == steps, "a full cache", 0);
    expect(frame_call(&all, &model) == CODE(FULL_CACHE) && all.cache.length == CODE(MAX_S),
           "a full cache and many positions", 0);
    frame_free(&one), frame_free(&all);
    /* Room for some, but not for so many: as before, so those that fit come to the same. */
    Frame f, twin;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    frame_new(&twin, &model, ROWS, LENGTH, 1);
    while (f.cache.length + LENGTH <= CODE(MAX_S))
        expect(frame_call(&f, &model) == CODE(OK) && frame_call(&twin, &model) == CODE(OK), "steps", f.cache.length);
    expect(frame_call(&f, &model) == CODE(FULL_CACHE) || CODE(MAX_S) % LENGTH == 0, "steps beyond the end",
           f.cache.length);
    f.dims.S = twin.dims.S = CODE(MAX_S) % LENGTH;
    if (f.dims.S) {
        expect(frame_call(&f, &model) == CODE(OK) && frame_call(&twin, &model) == CODE(OK), "the last positions", 0);
        expect(!memcmp(f.out.data, twin.out.data, f.out.bytes), "the last positions' bits", 0);
    }
    frame_free(&f), frame_free(&twin);
}

/* `run` begins with an empty cache, whatever was in it; and it is emptied only if the call is good. */
static void fuzz_run(void)
{
    Frame f;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    for (int i = 0; i < 3; i++) {
        expect(CALL(run)(&model, &f.cache, f.arena.data, f.arena.bytes, &f.inputs, &f.dims, &f.outputs) == CODE(OK),
               "run", i);
        expect(f.cache.length == LENGTH && !memcmp(right.data, f.out.data, right.bytes), "run again", i);
        expect(CALL(run)(&model, &f.cache, f.arena.data, 1, &f.inputs, &f.dims, &f.outputs) == CODE(SMALL_ARENA) &&
                   f.cache.length == LENGTH,
               "run in a small arena", i);
    }
    expect(CALL(run)(&model, NULL, f.arena.data, f.arena.bytes, &f.inputs, &f.dims, &f.outputs) == CODE(BAD_ARGUMENT),
           "run(m, NULL, ..)", 0);
    frame_free(&f);
}
#endif

/* ---- another model ----------------------------------------------------------------------------------------------- */

#ifdef OTHER_HEADER
#include OTHER_HEADER
#define OTHER_CALL(name) JOIN(OTHER, _##name)

/* What another model wrote, in the place of this one's: its cache, and its weights. */
static void fuzz_other(const char *weights)
{
    Block w = block_read(weights);
    struct OTHER other;
    Model m;
    expect(CALL(open)(&m, w.data, w.bytes) == CODE(OTHER_WEIGHTS), "weights of another model", 0);
    expect(OTHER_CALL(open)(&other, w.data, w.bytes) == 0, "the other model", 0);
#ifdef DECODES
    struct OTHER_CALL(cache) theirs;
    Block memory = block_new(OTHER_CALL(cache_bytes)(&other, ROWS));
    expect(OTHER_CALL(cache_open)(&other, &theirs, memory.data, memory.bytes, ROWS) == 0, "the other model's cache", 0);
    Frame f;
    frame_new(&f, &model, ROWS, LENGTH, 1);
    _Static_assert(sizeof theirs == sizeof f.cache, "caches look alike");
    memcpy(&f.cache, &theirs, sizeof f.cache);
    expect(frame_call(&f, &model) == CODE(BAD_CACHE), "a cache of another model", 0);
    frame_free(&f);
    block_free(&memory);
#endif
    block_free(&w);
}
#endif

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    file = block_read(argv[1]);
    expect(CALL(open)(&model, file.data, file.bytes) == CODE(OK), "open", 0);
    still_right("one thread");
#ifdef SHARED
    fuzz_threads(&file, &right);
    expect(CALL(use_threads)(&model, 2, in_turn, &turns) == CODE(OK), "use_threads", 2);
#endif
#ifdef POOL
    fuzz_pool(&model, &right);
#endif
    expect(CALL(model_size)() == sizeof model, "model_size", 0);
    still_right("a valid call");
    fuzz_lengths();
    fuzz_header();
    fuzz_alignment();
    fuzz_dims();
    fuzz_sizes(&model);
    fuzz_arena();
    fuzz_pointers();
    fuzz_ids();
#ifdef DECODES
    expect(CALL(cache_size)() == sizeof(Cache), "cache_size", 0);
    fuzz_cache_open();
    fuzz_cache_fields();
    fuzz_full();
    fuzz_run();
    fuzz_sequences(&model);
#endif
#ifdef OTHER_HEADER
    if (argc > 2)
        fuzz_other(argv[2]);
#endif
    still_right("a valid call after all that");
    fuzz_nonsense();
    fuzz_body();
    still_right("a valid call in the end");
    block_free(&right);
    block_free(&file);
    return finish();
}
