/* The quoted part of a diagnostic, private to support/: source lines with marks under them. */
#ifndef ATTAR_SUPPORT_SNIPPET_H
#define ATTAR_SUPPORT_SNIPPET_H

#include "support/diag.h"

typedef enum Style { STYLE_PLAIN, STYLE_ERROR, STYLE_WARNING, STYLE_LABEL, STYLE_FRAME, STYLE_STRONG } Style;

typedef struct Mark {
    Span at;
    const char *text;
    bool primary;
} Mark;

typedef struct Snippet {
    Text *out;
    bool colour;
    Style primary;     /* how the primary caret is shown */
    int gutter;        /* digits of the largest line number, at least 2 */
    const Mark *marks; /* the primary one first */
    int n_marks;
} Snippet;

void style_on(Text *out, bool colour, Style style); /* STYLE_PLAIN ends the others */
/* Text of any origin, made fit for a terminal: control and direction characters and invalid UTF-8 become `?`; lines after the first are indented. */
void put_safe(Text *out, const char *text, size_t length, size_t indent);
void snippet_put(const Snippet *s);
int snippet_gutter(const Mark *marks, int n_marks);

#endif
