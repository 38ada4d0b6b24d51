/* NAME.weights: packed weights as a file that a built model maps. Its header says what it is and of which bytes the rest is made; NAME.c checks it.
 *
 *     0     8   "ATTARWTS"
 *     8     4   version of the format
 *     12    4   0x01020304, in the byte order of all numbers of the file
 *     16    8   hash of the layout: what NAME.c expects to lie where
 *     24    8   bytes of the file
 *     32    8   XXH64, seed 0, of the bytes from 4096 to the end
 *     40    24  zeros
 *     64        a line for people, then zeros
 *     4088  8   XXH64 of the bytes before
 *     4096      sections, each at a multiple of 64, zeros between them */
#ifndef ATTAR_RUNTIME_WEIGHTS_FILE_H
#define ATTAR_RUNTIME_WEIGHTS_FILE_H

#include "runtime/file.h"
#include "runtime/pack.h"

enum { WEIGHTS_HEADER = 4096, WEIGHTS_VERSION = 1 };

typedef struct WeightsSection { const Plan *plan; uint64_t offset; } WeightsSection;    /* plan->weight_bytes of them */
typedef struct WeightsFile {
    uint64_t layout, bytes;             /* bytes: of the whole file */
    const char *about;                  /* a line, without its end */
    const char *shown;                  /* the path for messages */
    const WeightsSection *sections; int n;      /* by offset */
} WeightsFile;

/* Packs one section after the other, so that memory holds one at a time, and writes them; all rows, whatever rows_by says. The file appears under its
 * name when it is whole. False if errors were reported: packing's, E1010. `content`: the hash of the header. */
bool weights_file_write(Context *cx, const char *path, const Checkpoint *c, const WeightsFile *f, int threads, uint64_t *content);

bool weights_file_is(const char *path);         /* a file that begins as one */

/* XXH64, seed 0, of a whole file, and its size: what `xxhsum -H64` prints. False if it cannot be read. */
bool file_hash(const char *path, uint64_t *hash, uint64_t *bytes);

#endif
