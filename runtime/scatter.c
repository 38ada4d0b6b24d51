/* Scattering one block of a packed weight. The size of an element is a constant in each of the two copies of these functions: a copy of so many
 * bytes is one move. */
#include "runtime/scatter.h"

#include <stdbool.h>
#include <string.h>

enum { TILE = 16 };

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
    for (int64_t j = j0; j < j1; j += TILE) {
        int64_t end = j + TILE < j1 ? j + TILE : j1;
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
