/* Names: a map keyed by text (open addressing, FNV-1a, insertion order kept), the interner built on it, and spelling suggestions. */
#include "support/names.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

Map map_new(Arena *a)
{
    return (Map){.arena = a};
}

static uint64_t hash_bytes(const char *text, size_t length)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h ^ h >> 29;
}

/* The slot of the key, or the empty slot where it would go. The table is never full. */
static size_t find_slot(const Map *m, const char *key, size_t length)
{
    size_t mask = m->n_slots - 1;
    size_t slot = hash_bytes(key, length) & mask;
    for (; m->slots[slot]; slot = (slot + 1) & mask) {
        const char *other = m->entries[m->slots[slot] - 1].key;
        if (strlen(other) == length && memcmp(other, key, length) == 0)
            break;
    }
    return slot;
}

static MapEntry *find(const Map *m, const char *key, size_t length)
{
    if (m->count == 0)
        return NULL;
    unsigned index = m->slots[find_slot(m, key, length)];
    return index ? &m->entries[index - 1] : NULL;
}

static void grow_slots(Map *m)
{
    m->n_slots = m->n_slots ? m->n_slots * 2 : 16;
    m->slots = arena_array(m->arena, m->n_slots, sizeof *m->slots);
    for (size_t i = 0; i < m->count; i++) {
        const char *key = m->entries[i].key;
        m->slots[find_slot(m, key, strlen(key))] = (unsigned)(i + 1);
    }
}

static MapEntry *insert(Map *m, const char *key, size_t length, void *value)
{
    if ((m->count + 1) * 4 > m->n_slots * 3)
        grow_slots(m);
    m->entries = arena_room(m->arena, m->entries, m->count, &m->capacity, sizeof *m->entries);
    size_t slot = find_slot(m, key, length);
    MapEntry *entry = &m->entries[m->count++];
    *entry = (MapEntry){arena_copy(m->arena, key, length), value};
    m->slots[slot] = (unsigned)m->count;
    return entry;
}

void *map_get_n(const Map *m, const char *key, size_t length)
{
    const MapEntry *entry = find(m, key, length);
    return entry ? entry->value : NULL;
}

void *map_get(const Map *m, const char *key)
{
    return map_get_n(m, key, strlen(key));
}

bool map_has(const Map *m, const char *key)
{
    return find(m, key, strlen(key)) != NULL;
}

void map_set(Map *m, const char *key, void *value)
{
    MapEntry *entry = find(m, key, strlen(key));
    if (entry)
        entry->value = value;
    else
        insert(m, key, strlen(key), value);
}

const char *name_of_n(Names *n, const char *text, size_t length)
{
    length = strnlen(text, length);
    const MapEntry *entry = find(&n->map, text, length);
    return entry ? entry->key : insert(&n->map, text, length, NULL)->key;
}

const char *name_of(Names *n, const char *text)
{
    return name_of_n(n, text, strlen(text));
}

/* ---- suggestions ---------------------------------------------------------------------------------------------------------------- */

enum { LONGEST_WORD = 255 };

static int least(int a, int b)
{
    return a < b ? a : b;
}
static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edit distance with transpositions of neighbours (optimal string alignment); letter case costs nothing. */
static int distance(const char *a, size_t na, const char *b, size_t nb)
{
    int rows[3][LONGEST_WORD + 1];
    int *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int changed = last[j - 1] + !same_letter(a[i - 1], b[j - 1]);
            row[j] = least(changed, least(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) && same_letter(a[i - 2], b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        int *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[nb];
}

const char *name_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strlen(word);
    if (length > LONGEST_WORD)
        return NULL;
    const char *nearest = NULL;
    int best = LONGEST_WORD;
    for (size_t i = 0; i < count; i++) {
        size_t other = strlen(candidates[i]);
        if (other > LONGEST_WORD || strcmp(word, candidates[i]) == 0)
            continue;
        int d = distance(word, length, candidates[i], other);
        if (d < best && d <= (int)(length > other ? length : other) / 3) {
            nearest = candidates[i];
            best = d;
        }
    }
    return nearest;
}
