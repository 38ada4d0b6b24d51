/* Elements of a stored tensor to their places in a packed weight. */
#ifndef ATTAR_RUNTIME_SCATTER_H
#define ATTAR_RUNTIME_SCATTER_H

#include <stddef.h>
#include <stdint.h>

typedef struct Scatter {
    size_t size;                        /* bytes of an element: 2 or 4 */
    int64_t panel;                      /* 0: row-major over columns, then contracted elements */
    int64_t k;                          /* contracted elements of a column */
    const int64_t *noff, *koff;         /* element (i, j) is number noff[i] + koff[j] - low of those that were read */
    int64_t low;
} Scatter;

/* Columns [i0, i1) and contracted elements [j0, j1), from the elements that were read to the weight that begins at `out`. */
void pack_scatter(const Scatter *s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, const void *from, void *out);

#endif
