/* Diagnostics: collected, sorted, grouped and rendered with carets. Nothing here prints to a stream.
 *
 *     Diag *d = diag_error(cx->diags, "E0301", span, "`attention` needs `q` and `k` to share their last axis");
 *     diag_label(d, other_span, "`q` gets the axis `D` = 4096 here");
 *     diag_note(d, "..."); diag_help(d, "did you mean `(H, K)` on line 16?");
 *
 * Codes are rows of support/codes.def (title and `attar explain` page); the family gives the exit status. */
#ifndef ATTAR_SUPPORT_DIAG_H
#define ATTAR_SUPPORT_DIAG_H

#include <stdbool.h>
#include <stdint.h>
#include "support/text.h"

typedef struct Source {                 /* a text the user wrote, or std.attar, or an .ir file */
    const char *path;                   /* as the user gave it */
    const char *text;                   /* ends with 0; may hold NUL bytes before `size` */
    size_t size;
} Source;

typedef struct Span {                   /* bytes [begin, end) of a source; source NULL: nowhere */
    const Source *source;
    uint32_t begin, end;
} Span;

typedef struct LineColumn { int line, column; } LineColumn;    /* both from 1; columns count characters, not bytes */
LineColumn span_start(Span s);
Span span_join(Span a, Span b);

typedef enum { DIAG_ERROR, DIAG_WARNING } DiagLevel;
typedef enum { DIAG_LABEL, DIAG_NOTE, DIAG_HELP } DiagPartKind;

typedef struct DiagPart {
    DiagPartKind kind;
    Span at;                            /* labels only */
    const char *text;
    struct DiagPart *next;
} DiagPart;

typedef struct Diag {
    struct Diags *owner;
    DiagLevel level;
    const char *code;                   /* "E0301" */
    Span at;                            /* primary span; source NULL if the fault is in a file (see `file`) */
    const char *file, *where;           /* a data file and the place in it ("tensor `x`", "byte 17"); may be NULL */
    const char *message;
    const char *label;                  /* text beside the primary caret; may be NULL */
    DiagPart *parts, *last_part;
    struct Diag *next;
} Diag;

typedef struct Diags {
    Arena *arena;
    Diag *first, *last;
    int errors, warnings;
} Diags;

Diag *diag_error(Diags *d, const char *code, Span at, const char *format, ...) __attribute__((format(printf, 4, 5)));
Diag *diag_warning(Diags *d, const char *code, Span at, const char *format, ...) __attribute__((format(printf, 4, 5)));
Diag *diag_file_error(Diags *d, const char *code, const char *file, const char *where, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
Diag *diag_file_warning(Diags *d, const char *code, const char *file, const char *where, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void diag_caret(Diag *d, const char *format, ...) __attribute__((format(printf, 2, 3)));            /* primary label */
void diag_label(Diag *d, Span at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_note(Diag *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
void diag_help(Diag *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All diagnostics, sorted by file and position, at most 20 errors, the rest counted. Ends with a newline if anything was written. */
void diag_render(const Diags *d, Text *out, bool colour);
void diag_render_json(const Diags *d, Text *out);           /* one JSON object a line: level, code, message, spans, rendered */

/* Exit status for the first error: E01 E02 E03 E09 -> 1, E04 E05 E06 -> 3, E08 E10 -> 4, E99 -> 70; 0 if there is none. */
int diag_exit_status(const Diags *d);

typedef struct CodePage { const char *code, *title, *page; } CodePage;
extern const CodePage diag_codes[];
extern const size_t diag_code_count;
const CodePage *diag_code(const char *code);                /* NULL if unknown */

#endif
