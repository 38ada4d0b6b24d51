/* Names: an insertion-ordered hash map keyed by text (XXH3 is not needed at these sizes: FNV-1a), interning, and spelling suggestions. */
#include "support/names.h"

#include <stdint.h>
#include <string.h>

static uint32_t hash_text(const char *text, size_t length)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 16777619u;
    return h;
}

Map map_new(Arena *a)
{
    return (Map){.arena = a};
}

/* The slot that holds the key, or the empty slot where it would go. */
static size_t find_slot(const Map *m, const char *key, size_t length)
{
    size_t at = hash_text(key, length) & (m->n_slots - 1);
    while (m->slots[at]) {
        const char *have = m->entries[m->slots[at] - 1].key;
        if (!strncmp(have, key, length) && have[length] == 0)
            break;
        at = (at + 1) & (m->n_slots - 1);
    }
    return at;
}

void *map_get_n(const Map *m, const char *key, size_t length)
{
    if (m->n_slots == 0)
        return NULL;
    unsigned slot = m->slots[find_slot(m, key, length)];
    return slot ? m->entries[slot - 1].value : NULL;
}

void *map_get(const Map *m, const char *key)
{
    return map_get_n(m, key, strlen(key));
}

bool map_has(const Map *m, const char *key)
{
    return m->n_slots != 0 && m->slots[find_slot(m, key, strlen(key))] != 0;
}

static void rehash(Map *m)
{
    m->n_slots = m->n_slots ? m->n_slots * 2 : 16;
    m->slots = arena_array(m->arena, m->n_slots, sizeof *m->slots);
    for (size_t i = 0; i < m->count; i++)
        m->slots[find_slot(m, m->entries[i].key, strlen(m->entries[i].key))] = (unsigned)i + 1;
}

static MapEntry *add_entry(Map *m, const char *key, size_t length, void *value)
{
    if ((m->count + 1) * 2 > m->n_slots)
        rehash(m);
    size_t slot = find_slot(m, key, length);
    m->entries = arena_room(m->arena, m->entries, m->count, &m->capacity, sizeof *m->entries);
    m->entries[m->count] = (MapEntry){arena_copy(m->arena, key, length), value};
    m->slots[slot] = (unsigned)++m->count;
    return &m->entries[m->count - 1];
}

void map_set(Map *m, const char *key, void *value)
{
    size_t length = strlen(key);
    unsigned slot = m->n_slots ? m->slots[find_slot(m, key, length)] : 0;
    if (slot)
        m->entries[slot - 1].value = value;
    else
        add_entry(m, key, length, value);
}

const char *name_of_n(Names *n, const char *text, size_t length)
{
    Map *m = &n->map;
    unsigned slot = m->n_slots ? m->slots[find_slot(m, text, length)] : 0;
    return slot ? m->entries[slot - 1].key : add_entry(m, text, length, NULL)->key;
}

const char *name_of(Names *n, const char *text)
{
    return name_of_n(n, text, strlen(text));
}

enum { LONGEST_WORD = 63 };

/* Damerau-Levenshtein distance (optimal string alignment) of two words of at most LONGEST_WORD bytes. */
static int distance(const char *a, size_t na, const char *b, size_t nb)
{
    int row[3][LONGEST_WORD + 1];
    for (size_t j = 0; j <= nb; j++)
        row[0][j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

const char *name_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strlen(word);
    const char *nearest = NULL;
    int best = (int)(length < 3 ? 1 : length / 3) + 1;
    if (length > LONGEST_WORD)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(candidates[i]);
        if (n > LONGEST_WORD)
            continue;
        int d = distance(word, length, candidates[i], n);
        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
