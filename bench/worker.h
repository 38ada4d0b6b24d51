/* What the files of the worker share: one case of the benchmark, loaded and run. */
#ifndef ATTAR_BENCH_WORKER_H
#define ATTAR_BENCH_WORKER_H

#include "runtime/attar.h"
#include "runtime/checkpoint.h"

enum { INPUTS = 4, MOST_TENSORS = 4, MESSAGE = 1024 };

typedef struct Case { /* the parameters of a `load` line */
    char workload[32], inputs[1024], checkpoint[1024], mask[32], score[32];
    int64_t B, S, H, G, L, D, window, documents, prompt, steps;
} Case;

typedef struct Mapped {
    void *data;
    uint64_t bytes;
} Mapped;

typedef struct Job {
    int threads;
    Case at;
    Arena arena; /* inputs and results */
    Names names;
    Diags diags;
    Context cx;
    attar_model *model;
    attar_session *session;
    attar_tensor given[INPUTS][MOST_TENSORS];
    int n_given;
    Mapped mapped[INPUTS][3]; /* q, k and v of attention */
    const attar_tensor *outputs; /* of the last run */
    float *rows;                 /* decode: logits, one row a step */
    int64_t vocabulary;
    int32_t next; /* decode: the token after the prompt */
} Job;

int64_t worker_now(void); /* nanoseconds */
bool worker_fail(char *message, const char *format, ...) __attribute__((format(printf, 2, 3))); /* false */

/* worker_load.c. `text`: WORKLOAD key=value ...; all return false with a message of at most MESSAGE bytes. */
bool job_load(Job *j, char *text, char *message);
void job_close(Job *j); /* in any state; threads are kept */

/* worker_run.c */
bool job_before(Job *j, int input, char *message); /* what is not timed */
bool job_run(Job *j, int input, char *message);
bool job_save(Job *j, const char *path, char *message);

#endif
