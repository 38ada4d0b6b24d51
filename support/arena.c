/* Arena: blocks of at least 64 KiB, bump-allocated; an oversized request gets a block of its own. */
#include "support/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024, ALIGNMENT = 16 };

struct ArenaBlock {
    ArenaBlock *next;
    size_t used, capacity;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

static _Noreturn void out_of_memory(Arena *a)
{
    if (a->on_oom)
        a->on_oom(a->oom_state);
    abort();
}

void arena_free(Arena *a)
{
    while (a->blocks) {
        ArenaBlock *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->used = 0;
}

static ArenaBlock *add_block(Arena *a, size_t bytes)
{
    size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    if (capacity > SIZE_MAX - sizeof(ArenaBlock))
        out_of_memory(a);
    ArenaBlock *b = calloc(1, sizeof *b + capacity);
    if (!b)
        out_of_memory(a);
    b->capacity = capacity;
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

void *arena_alloc(Arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGNMENT)
        out_of_memory(a);
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    ArenaBlock *b = a->blocks;
    if (!b || b->capacity - b->used < rounded)
        b = add_block(a, rounded);
    void *p = b->bytes + b->used;
    b->used += rounded;
    a->used += rounded;
    return p;
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
    void *p = arena_array(a, new_count, each);
    if (old_count)
        memcpy(p, old, old_count * each);
    return p;
}

void *arena_room(Arena *a, void *items, size_t count, size_t *capacity, size_t each)
{
    if (count < *capacity)
        return items;
    size_t wanted = *capacity ? *capacity * 2 : 8;
    items = arena_grow(a, items, count, wanted, each);
    *capacity = wanted;
    return items;
}

char *arena_copy(Arena *a, const char *text, size_t length)
{
    char *p = arena_alloc(a, length + 1);
    if (length)
        memcpy(p, text, length);
    return p;
}

char *arena_vprint(Arena *a, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return arena_copy(a, "", 0);
    char *p = arena_alloc(a, (size_t)length + 1);
    vsnprintf(p, (size_t)length + 1, format, args);
    return p;
}

char *arena_print(Arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *p = arena_vprint(a, format, args);
    va_end(args);
    return p;
}
