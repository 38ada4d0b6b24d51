/* Arena: a list of blocks, newest first, each carved from its front.
 *
 * A request that would waste the current block gets a block of its own behind it, so that the current one stays in use. Under
 * AddressSanitizer every request gets its own block: an overrun is then seen at once. */
#include "support/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ONE_BLOCK_EACH 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_BLOCK_EACH 1
#endif
#endif
#ifndef ONE_BLOCK_EACH
#define ONE_BLOCK_EACH 0
#endif

enum { ALIGNMENT = 16, FIRST_BLOCK = 16 << 10, LARGEST_BLOCK = 1 << 20 };

struct ArenaBlock {
    ArenaBlock *next;
    size_t size, used; /* bytes after the header */
    size_t padding;    /* the header is a multiple of ALIGNMENT */
};

_Static_assert(sizeof(ArenaBlock) % ALIGNMENT == 0, "blocks start aligned");

static void *out_of_memory(Arena *a)
{
    if (a->on_oom)
        a->on_oom(a->oom_state);
    abort();
}

static ArenaBlock *block_new(Arena *a, size_t size)
{
    if (size > SIZE_MAX - sizeof(ArenaBlock))
        out_of_memory(a);
    ArenaBlock *b = calloc(1, sizeof(ArenaBlock) + size);
    if (!b)
        out_of_memory(a);
    b->size = size;
    return b;
}

static void *block_carve(ArenaBlock *b, size_t bytes)
{
    char *memory = (char *)(b + 1) + b->used;
    b->used += bytes;
    return memory;
}

void arena_free(Arena *a)
{
    for (ArenaBlock *b = a->blocks; b;) {
        ArenaBlock *next = b->next;
        free(b);
        b = next;
    }
    a->blocks = NULL;
    a->used = 0;
}

/* A block just for this request, behind the current one. */
static void *alloc_alone(Arena *a, size_t bytes)
{
    ArenaBlock *b = block_new(a, bytes);
    ArenaBlock **link = a->blocks ? &a->blocks->next : &a->blocks;
    b->next = *link;
    *link = b;
    return block_carve(b, bytes);
}

void *arena_alloc(Arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGNMENT)
        out_of_memory(a);
    a->used += bytes;
    if (ONE_BLOCK_EACH)
        return alloc_alone(a, bytes);
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    ArenaBlock *b = a->blocks;
    if (b && b->size - b->used >= bytes)
        return block_carve(b, bytes);
    size_t size = b ? b->size * 2 : FIRST_BLOCK;
    if (size < FIRST_BLOCK)
        size = FIRST_BLOCK;
    if (size > LARGEST_BLOCK)
        size = LARGEST_BLOCK;
    if (bytes > size / 4)
        return alloc_alone(a, bytes);
    b = block_new(a, size);
    b->next = a->blocks;
    a->blocks = b;
    return block_carve(b, bytes);
}

void *arena_array(Arena *a, size_t count, size_t each)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes))
        out_of_memory(a);
    return arena_alloc(a, bytes);
}

void *arena_grow(Arena *a, void *old, size_t old_count, size_t new_count, size_t each)
{
    void *memory = arena_array(a, new_count, each);
    size_t kept = old_count < new_count ? old_count : new_count;
    if (kept > 0)
        memcpy(memory, old, kept * each);
    return memory;
}

void *arena_room(Arena *a, void *items, size_t count, size_t *capacity, size_t each)
{
    if (count < *capacity)
        return items;
    size_t larger = *capacity ? *capacity * 2 : 8;
    if (larger <= count)
        out_of_memory(a);
    *capacity = larger;
    return arena_grow(a, items, count, larger, each);
}

char *arena_copy(Arena *a, const char *text, size_t length)
{
    if (length == SIZE_MAX)
        out_of_memory(a);
    char *copy = arena_alloc(a, length + 1);
    if (length > 0)
        memcpy(copy, text, length);
    return copy;
}

char *arena_vprint(Arena *a, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return arena_copy(a, "", 0);
    char *text = arena_alloc(a, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, args);
    return text;
}

char *arena_print(Arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = arena_vprint(a, format, args);
    va_end(args);
    return text;
}
