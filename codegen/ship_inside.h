/* What the writers of NAME.c and NAME.h share. */
#ifndef ATTAR_CODEGEN_SHIP_INSIDE_H
#define ATTAR_CODEGEN_SHIP_INSIDE_H

#include "codegen/entry_inside.h"
#include "codegen/ship.h"

enum { SHIP_LINE = 64, SHIP_MEET = 256, SHIP_MOST_THREADS = 256 };      /* bytes; bytes for each thread */

typedef struct Ship {
    Context *cx;
    const Graph *model;
    const ShipOptions *options;
    Shipped *out;
    Emitter *emitter;                   /* one for each target, in the order of the file */
    const char **suffix;                /* of a target's names: "_v3"; "" if it is the only one */
    const char *name, *upper;
    const Plan *plan;
    bool threads;                       /* more than one can run it */
    int batch;                          /* the symbol that caches have for each row, -1: none */
    PlanDim grows;                      /* positions that a step adds */
    int64_t capacity;
    bool states;                        /* a cache holds the sum of all positions so far */
} Ship;

/* `text` with @@ for the name in capitals, @ for the name. */
void ship_put(const Ship *s, Text *out, const char *text);
const char *ship_size(const Ship *s, const PlanDim *d);         /* "past + S" */
const char *ship_guard(const Ship *s, const Target *t);         /* what #if asks before a target's code, or NULL */
const char *ship_real(const Ship *s, Extent size);              /* "(double)S", a factor */
const char *ship_bytes(const Ship *s, const Type *t, bool real);        /* a product: in double, if it is `real` */
const char *ship_suffix(const Target *t);
const char *ship_rename(Context *cx, const char *section, const char *suffix);          /* with the suffix at each name of file scope */
void ship_interface(Ship *s, Text *out);        /* ship_interface.c: the functions that NAME.h declares */
void ship_header(Ship *s, Text *out);           /* ship_header.c: NAME.h */

#endif
