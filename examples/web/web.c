/* The built model as worker.js calls it: one sequence, all memory taken once from the end of the module's own. It needs
 * no C library and imports nothing. */
#include "llama.h"

enum { VOCABULARY = 256, PAGE = 65536 };

#define EXPORT(name) __attribute__((export_name(#name))) name

static struct llama model;
static struct llama_cache cache;
static int32_t ids[LLAMA_MAX_S];
static float results[LLAMA_MAX_S * VOCABULARY];
static void *arena, *cache_memory;
static size_t arena_bytes;
static int32_t last; /* positions of the last step */

size_t EXPORT(weights_bytes)(void) { return LLAMA_WEIGHTS_BYTES; }

/* Whole new pages at the end of the memory, for good; NULL if the browser gives no more. */
void *EXPORT(room)(size_t bytes)
{
    const size_t before = __builtin_wasm_memory_grow(0, (bytes + PAGE - 1) / PAGE);
    return before == (size_t)-1 ? NULL : (void *)(before * PAGE);
}

/* `weights`: the whole file, in room(). */
int EXPORT(start)(const void *weights, size_t bytes)
{
    const int error = llama_open(&model, weights, bytes);
    return error ? error : llama_check(&model);
}

/* The room that steps need, 0 if there is none; to be called once, after start. */
int EXPORT(prepare)(void)
{
    arena_bytes = llama_arena_bytes(&model, &(struct llama_dims){.B = 1, .S = LLAMA_MAX_S});
    arena = room(arena_bytes);
    cache_memory = room(llama_cache_bytes(&model, 1));
    return arena && cache_memory;
}

/* Forgets all positions. */
int EXPORT(restart)(void)
{
    return llama_cache_open(&model, &cache, cache_memory, llama_cache_bytes(&model, 1), 1);
}

/* Takes tokens()[0 .. count - 1] in. */
int EXPORT(step)(int32_t count)
{
    last = count;
    return llama_step(&model, &cache, arena, arena_bytes, &(struct llama_inputs){.ids = ids},
                      &(struct llama_dims){.B = 1, .S = count}, &(struct llama_outputs){.logits = results});
}

int32_t *EXPORT(tokens)(void) { return ids; }
float *EXPORT(logits)(void) { return results + (last - 1) * VOCABULARY; } /* of what follows the last step */
int32_t EXPORT(vocabulary)(void) { return VOCABULARY; }
int32_t EXPORT(length)(void) { return (int32_t)cache.length; }
int32_t EXPORT(longest)(void) { return LLAMA_MAX_S; }
const char *EXPORT(error_text)(int error) { return llama_error_text(error); }
