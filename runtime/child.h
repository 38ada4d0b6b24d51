/* A child process with its three streams. Internal to runtime/. */
#ifndef ATTAR_RUNTIME_CHILD_H
#define ATTAR_RUNTIME_CHILD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Bytes {
    unsigned char *data;
    size_t size, capacity;
} Bytes; /* malloc'd */

typedef struct Child {
    int error; /* the errno that kept it from starting, or from being talked to; 0: it ran */
    bool timed_out, out_of_memory;
    int status;     /* as from waitpid */
    Bytes out, err; /* err: at most 64 KiB, the rest is dropped */
} Child;

/* Runs argv[0] (a path) with `input` on its standard input until it ends, or `seconds` are over: then its process
 * group is killed. SIGPIPE never reaches the caller. The caller frees out.data and err.data. */
void child_run(char *const argv[], const char *input, size_t length, double seconds, Child *out);
void child_free(Child *c);

#endif
