/* Shared by the reader's files: the scanner's state and what it gives. */
#ifndef ATTAR_IR_READ_INSIDE_H
#define ATTAR_IR_READ_INSIDE_H

#include "ir/ir.h"

typedef struct Reader {
    Context *cx;
    const Source *source;
    const char *at, *end;
    const char *word;                   /* the current token */
    size_t length;
    bool quoted, failed;
    bool placed;                        /* a place was read: memory is planned */
    Graph *model;
    Map values, spans, sizes;           /* name -> Node *, name -> Span *; axis name -> Extent * */
    int depth;
    Span last;                          /* where the node before in this block comes from */
    size_t blank_left;                  /* bytes that may still be spent on the sources of locations */
} Reader;

/* The first fault is reported (E1101) and ends the reading; false, so that rules can return it. */
bool scan_fail_at(Reader *r, Span at, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define scan_fail(r, ...) scan_fail_at(r, scan_here(r), __VA_ARGS__)

Span scan_here(const Reader *r);                                /* the current token */
void scan_next(Reader *r);
bool scan_is(const Reader *r, const char *text);
bool scan_take(Reader *r, const char *text);                    /* if it is this one, goes on behind it */
bool scan_expect(Reader *r, const char *text);
const char *scan_name(Reader *r);                               /* "" after a fault */
const char *scan_text(Reader *r);                               /* a name or "text" */
int64_t scan_integer(Reader *r);
double scan_real(Reader *r);
const Symbol *scan_symbol(const Reader *r, const char *word);   /* a symbol of the dims line, or NULL */
Extent scan_extent(Reader *r);
const Type *scan_type(Reader *r);

#endif
