/* The model as it is, compiled apart from the compilation that is under way and run on the rows of a calibration file: for whatever is to be known of its
 * values before approximations are chosen. */
#ifndef ATTAR_DRIVER_ASIDE_H
#define ATTAR_DRIVER_ASIDE_H

#include "driver/compile.h"

typedef struct AsideRun {
    PassOptions passes;                 /* what captures; passes that the user switched off stay so but for `captures` */
    PassId captures;
    void (*next_call)(void *state);     /* before each call; may be NULL */
    void (*outputs)(void *state, const HostTensor *outputs, int n);     /* of each call, in the order of the model's; may be NULL */
    /* A value that a kernel has computed, in the round of a repeat (0 outside); `sizes` are those of c->kernels' symbols. May be NULL. */
    void (*value)(void *state, const Node *kernel, int64_t round, const int64_t *sizes, const void *data);
    bool (*enough)(void *state);        /* true: no further rows; may be NULL */
    void *state;
    int64_t rows, of_rows;              /* out: of the file: run, and there */
    const char *measured_on;            /* out: "64 x 128 positions of calib.safetensors" */
} AsideRun;

/* Only the passes up to `captures`, on a copy of the model: nothing runs. c->kernels, remarks and code stay as they are. False if errors were reported. */
bool aside_look(Compilation *c, const CompileOptions *o, const AsideRun *run);
/* The whole pipeline, and the rows of o->calibrate (calibration_file.h), in several calls if the file has more than one should take. */
bool aside_run(Compilation *c, const CompileOptions *o, AsideRun *run);

#endif
