/* What this machine can do right now, measured between the runs of a benchmark: fp32 multiply-adds from registers, exponentials, and
 * reading memory. */
#ifndef ATTAR_CLI_LIMITS_H
#define ATTAR_CLI_LIMITS_H

#include "driver/compile.h"

typedef struct Limits {
    Jit *jit;
    Pool *pool;
    int lanes;
    float (*multiply_add)(int64_t rounds);
    uint64_t (*read)(const void *from, size_t bytes);
    float (*raise)(int64_t rounds);
    unsigned char *memory;              /* NULL until the first limits_bandwidth */
} Limits;

/* Compiles small kernels for the native target through the JIT. False and diagnostics on error; limits_close in any case. */
bool limits_open(Context *cx, const CompileOptions *options, int threads, Limits *out);
void limits_close(Limits *l);
double limits_flops(Limits *l);         /* per second, all threads together; some milliseconds */
double limits_bandwidth(Limits *l);     /* bytes per second; some tens of milliseconds; 0 if there is no memory for it */
double limits_exponentials(Limits *l);  /* exponentials per second as softmax takes them, all threads together; some milliseconds */

#endif
