/* The differences of two texts, line by line, as a unified diff for people: Myers' algorithm in linear space. */
#ifndef ATTAR_SUPPORT_LINEDIFF_H
#define ATTAR_SUPPORT_LINEDIFF_H

#include <stdbool.h>
#include "support/text.h"

typedef struct LineDiffLook {
    const char *before, *after;         /* what the `---` and `+++` lines say; NULL: no such lines */
    int context;                        /* equal lines around each change */
    bool colour;                        /* removed red, added green, the words that differ reversed */
    bool any_space;                     /* a run of spaces is equal to any other: moved columns are no change */
} LineDiffLook;

/* Adds the diff to `out`; nothing if no line differs. True if one does. A missing newline at the end is no difference. */
bool linediff(const char *before, const char *after, const LineDiffLook *look, Text *out);

#endif
