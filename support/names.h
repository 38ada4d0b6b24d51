/* Names: interned strings (equal text, equal pointer) and a map keyed by text. */
#ifndef ATTAR_SUPPORT_NAMES_H
#define ATTAR_SUPPORT_NAMES_H

#include <stdbool.h>
#include "support/arena.h"

typedef struct MapEntry { const char *key; void *value; } MapEntry;
typedef struct Map {                    /* open addressing; keys are copied into the arena; iteration by insertion order */
    Arena *arena;
    MapEntry *entries;                  /* in order of insertion */
    size_t count, capacity;
    unsigned *slots;                    /* index + 1 into entries, 0 = empty */
    size_t n_slots;
} Map;

Map map_new(Arena *a);
void *map_get(const Map *m, const char *key);               /* NULL if absent */
void *map_get_n(const Map *m, const char *key, size_t length);
bool map_has(const Map *m, const char *key);
void map_set(Map *m, const char *key, void *value);         /* adds or replaces */

typedef struct Names { Map map; } Names;
const char *name_of(Names *n, const char *text);            /* the one pointer for this text */
const char *name_of_n(Names *n, const char *text, size_t length);

/* The candidate nearest to `word` by edit distance (transpositions count one), or NULL if none is near enough to suggest. */
const char *name_nearest(const char *word, const char *const *candidates, size_t count);

#endif
