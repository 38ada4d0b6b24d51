/* What the files of `attar bench` share. */
#ifndef ATTAR_CLI_BENCH_H
#define ATTAR_CLI_BENCH_H

#include "cli/cli.h"
#include "cli/limits.h"

enum { MAX_ROUNDS = 1000, MAX_DECODES = 8 };

typedef struct BenchOptions { Options o; bool decode; int rounds; } BenchOptions;
typedef struct KernelTime { const char *name, *op; int64_t times; double seconds, flops, bytes; } KernelTime;    /* of one call, all runs together */
typedef struct DecodeTime { int64_t past; double seconds; } DecodeTime;         /* one token of each row of the batch */

typedef struct Bench {
    BenchOptions *options;
    Tool *plain;
    Limits limits;
    int64_t *sizes, *graph_sizes;       /* in the order of the plan's symbols and of the graph's */
    const HostTensor *inputs;
    int n_inputs;
    int64_t batch;
    double median, best, flops, bandwidth, resident;
    KernelTime *kernels; int n_kernels;
    DecodeTime decodes[MAX_DECODES]; int n_decodes;
    int status;                         /* of the timed build, if it failed */
} Bench;

/* Compiles b->plain and gives it sizes and inputs. */
bool bench_prepare(Bench *b);
/* Inputs of these sizes where the user gives none; NULL with a diagnostic. */
HostTensor *bench_inputs(Bench *b, const int64_t *sizes);
double bench_median(double *values, int count);         /* sorts them */

/* bench_decode.c: fills b->decodes; nothing for models that do not go token by token. */
bool bench_decode(Bench *b);

#endif
