/* Scattering one block of a packed weight. The size of an element is a constant in each of the two copies of these functions: a copy of so many
 * bytes is one move. */
#include "runtime/scatter.h"

#include <stdbool.h>
#include <string.h>

enum { TILE = 16, TURN = 4 };

#define EACH_SIZE static inline __attribute__((always_inline))

static bool contiguous(const int64_t *offsets, int64_t from, int64_t to)
{
    for (int64_t i = from + 1; i < to; i++) {
        if (offsets[i] != offsets[i - 1] + 1)
            return false;
    }
    return true;
}

EACH_SIZE void plain(const Scatter *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, const char *from, char *out, size_t size)
{
    bool runs = contiguous(s->koff, j0, j1);
    for (int64_t i = i0; i < i1; i++) {
        const char *row = from + (s->noff[i] - s->low) * (int64_t)size;
        char *to = out + i * s->k * (int64_t)size;
        if (runs)
            memcpy(to + j0 * (int64_t)size, row + s->koff[j0] * (int64_t)size, (size_t)(j1 - j0) * size);
        else
            for (int64_t j = j0; j < j1; j++)
                memcpy(to + j * (int64_t)size, row + s->koff[j] * (int64_t)size, size);
    }
}

/* Four elements of each of four columns, which lie one after the other, to four places of each panel row. */
typedef uint32_t Four __attribute__((vector_size(16)));
typedef uint16_t FourHalves __attribute__((vector_size(8)));

#define TURN_ROWS(type)                                                                                                \
    type a, b, c, d;                                                                                                   \
    memcpy(&a, row[0], sizeof a);                                                                                      \
    memcpy(&b, row[1], sizeof b);                                                                                      \
    memcpy(&c, row[2], sizeof c);                                                                                      \
    memcpy(&d, row[3], sizeof d);                                                                                      \
    type e = __builtin_shufflevector(a, b, 0, 4, 1, 5), f = __builtin_shufflevector(c, d, 0, 4, 1, 5);                 \
    type g = __builtin_shufflevector(a, b, 2, 6, 3, 7), h = __builtin_shufflevector(c, d, 2, 6, 3, 7);                 \
    a = __builtin_shufflevector(e, f, 0, 1, 4, 5);                                                                     \
    b = __builtin_shufflevector(e, f, 2, 3, 6, 7);                                                                     \
    c = __builtin_shufflevector(g, h, 0, 1, 4, 5);                                                                     \
    d = __builtin_shufflevector(g, h, 2, 3, 6, 7);                                                                     \
    memcpy(to, &a, sizeof a);                                                                                          \
    memcpy(to + step, &b, sizeof b);                                                                                   \
    memcpy(to + 2 * step, &c, sizeof c);                                                                               \
    memcpy(to + 3 * step, &d, sizeof d)

EACH_SIZE void turn(const char *const row[TURN], char *to, int64_t step, size_t size)
{
    if (size == 4) {
        TURN_ROWS(Four);
    } else {
        TURN_ROWS(FourHalves);
    }
}

/* Contracted elements [j0, j1), at most TILE, of columns that are apart, where each column's elements lie one after the other. */
EACH_SIZE void turn_tile(const Scatter *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, const char *from, char *base, int64_t step, size_t size)
{
    int64_t i = i0;
    for (; i + TURN <= i1; i += TURN) {
        const char *row[TURN];
        for (int r = 0; r < TURN; r++)
            row[r] = from + (s->noff[i + r] - s->low + s->koff[j0]) * (int64_t)size;
        char *to = base + (i - i0) * (int64_t)size + j0 * step;
        int64_t t = j0;
        for (; t + TURN <= j1; t += TURN, to += TURN * step) {
            turn(row, to, step, size);
            for (int r = 0; r < TURN; r++)
                row[r] += TURN * size;
        }
        for (; t < j1; t++, to += step)
            for (int r = 0; r < TURN; r++) {
                memcpy(to + (size_t)r * size, row[r], size);
                row[r] += size;
            }
    }
    for (; i < i1; i++) {
        const char *row = from + (s->noff[i] - s->low + s->koff[j0]) * (int64_t)size;
        for (int64_t t = j0; t < j1; t++)
            memcpy(base + (i - i0) * (int64_t)size + t * step, row + (t - j0) * (int64_t)size, size);
    }
}

/* Columns [i0, i1) of one panel. Tiles keep the lines that are read, and those that are written, in the first cache. */
EACH_SIZE void one_panel(const Scatter *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, const char *from, char *out, size_t size)
{
    int64_t panel = s->panel, step = panel * (int64_t)size;
    char *base = out + (i0 / panel * panel * s->k + i0 % panel) * (int64_t)size;
    if (contiguous(s->noff, i0, i1)) {
        for (int64_t j = j0; j < j1; j++)
            memcpy(base + j * step, from + (s->noff[i0] + s->koff[j] - s->low) * (int64_t)size, (size_t)(i1 - i0) * size);
        return;
    }
    bool runs = contiguous(s->koff, j0, j1);
    for (int64_t j = j0; j < j1; j += TILE) {
        int64_t end = j + TILE < j1 ? j + TILE : j1;
        if (runs) {
            turn_tile(s, i0, i1, j, end, from, base, step, size);
            continue;
        }
        for (int64_t i = i0; i < i1; i++) {
            const char *row = from + (s->noff[i] - s->low) * (int64_t)size;
            char *to = base + (i - i0) * (int64_t)size;
            for (int64_t t = j; t < end; t++)
                memcpy(to + t * step, row + s->koff[t] * (int64_t)size, size);
        }
    }
}

EACH_SIZE void scatter(const Scatter *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, const char *from, char *out, size_t size)
{
    if (!s->panel) {
        plain(s, i0, i1, j0, j1, from, out, size);
        return;
    }
    for (int64_t i = i0, end; i < i1; i = end) {
        end = (i / s->panel + 1) * s->panel;
        end = end < i1 ? end : i1;
        one_panel(s, i, end, j0, j1, from, out, size);
    }
}

void pack_scatter(const Scatter *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, const void *from, void *out)
{
    if (s->size == 2)
        scatter(s, i0, i1, j0, j1, from, out, 2);
    else
        scatter(s, i0, i1, j0, j1, from, out, 4);
}
