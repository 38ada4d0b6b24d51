/* Files: opening what a user names, reading without surprises, writing all or nothing. */
#ifndef ATTAR_RUNTIME_FILE_H
#define ATTAR_RUNTIME_FILE_H

#include "support/context.h"

/* A regular file for reading, and its size now; -1 and a diagnostic with `code` that says why not. Never blocks on a
 * FIFO or a device. */
int file_open(Context *cx, const char *code, const char *path, uint64_t *size);

enum { FILE_SHRUNK = -1, FILE_CHANGED = -2 };
/* Reads exactly `bytes` at `offset`: 0, an errno, or FILE_SHRUNK if the file ends before. Safe from any thread. */
int file_read(int fd, void *out, size_t bytes, uint64_t offset);

const char *file_reason(Context *cx, int error); /* an errno in words; FILE_SHRUNK and FILE_CHANGED too */
const char *file_shown(
    Context *cx,
    const char *name); /* a name from a file, made safe to print: no control characters, at most 120 bytes */

/* Writing goes to a temporary file beside `path`; writer_close renames it, or removes it if anything failed. An
 * existing path that is no regular file (a pipe, a terminal) is written directly. */
typedef struct Writer {
    int fd;
    int error;                    /* the first errno; later calls do nothing */
    const char *path, *temporary; /* temporary NULL: written directly */
} Writer;

void writer_open(Context *cx, Writer *w, const char *path);
/* The same beside a path that is only ever replaced (cache entries): mode 0600, synced before the rename. */
void writer_open_private(Context *cx, Writer *w, const char *path);
void writer_put(Writer *w, const void *data, size_t bytes);
void writer_put_at(Writer *w, const void *data, size_t bytes, uint64_t offset); /* over what was put there before */
int writer_finish(Writer *w, bool sync);   /* 0 or the errno; nothing is left behind on failure */
void writer_abandon(Writer *w);            /* nothing is left behind */
bool writer_close(Context *cx, Writer *w); /* the same, and E1010 on failure */

/* Zeroed, page-aligned memory of its own mapping, with 64 readable bytes behind; NULL if there is none. `bytes` 0 is
 * fine. */
void *memory_map(uint64_t bytes);
void memory_unmap(void *memory, uint64_t bytes);

#endif
