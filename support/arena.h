/* Arena: memory with one lifetime. Everything is freed at once; nothing in it is freed alone.
 *
 * An allocation never returns NULL: when memory runs out the arena calls `on_oom`, which must not return
 * (attar.c longjmps to its entry point and reports E1001; a tool without a handler ends with exit status 4). */
#ifndef ATTAR_SUPPORT_ARENA_H
#define ATTAR_SUPPORT_ARENA_H

#include <stddef.h>
#include <stdarg.h>

typedef struct ArenaBlock ArenaBlock;
typedef struct Arena {
    ArenaBlock *blocks;                 /* newest first */
    size_t used;                        /* bytes handed out since the last reset */
    void (*on_oom)(void *state);        /* must not return; NULL: abort */
    void *oom_state;
} Arena;

void arena_free(Arena *a);              /* gives all blocks back; the arena may be used again */
void *arena_alloc(Arena *a, size_t bytes);                      /* zeroed, 16-byte aligned */
void *arena_array(Arena *a, size_t count, size_t each);         /* zeroed; count * each is checked */
void *arena_grow(Arena *a, void *old, size_t old_count, size_t new_count, size_t each); /* copies; old stays valid */
char *arena_copy(Arena *a, const char *text, size_t length);    /* adds a final 0 */
char *arena_print(Arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprint(Arena *a, const char *format, va_list args) __attribute__((format(printf, 2, 0), nonnull(2)));

/* A growable array in an arena: `ARENA_PUSH(a, list.items, list.count, list.capacity) = value` is spelled out as
 * `list.items = arena_room(a, list.items, list.count, &list.capacity, sizeof *list.items); list.items[list.count++] = value;` */
void *arena_room(Arena *a, void *items, size_t count, size_t *capacity, size_t each);

#endif
