/* What `attar tune` measured on this machine: a table of tiles in the folder of compiled objects, one for each processor,
 * compiler and target. An entry like any other there: whole or not at all, checked when it is read, and gone when it is
 * pruned; without it the costs of codegen/choose.c decide. */
#ifndef ATTAR_DRIVER_TUNED_H
#define ATTAR_DRIVER_TUNED_H

#include "codegen/codegen.h"
#include "runtime/jit.h"

/* False if there is none; a table that is damaged or of another version is a warning (W0702) and none. */
bool tuned_read(Context *cx, const JitOptions *o, const Target *t, TileTable *out);
/* Adds the rows to the table, in the place of those for the same products; `forget`: in the place of all. False and a warning if it cannot be kept. */
bool tuned_keep(Context *cx, const JitOptions *o, const Target *t, const TunedTile *rows, int n, bool forget);

void tuned_print(const TileTable *table, Text *out);                        /* the table as text */
bool tuned_parse(Context *cx, const char *text, size_t length, TileTable *out);     /* false: not all of it is such a table */

#endif
