/* Calibration: the model as it is, run on a file of inputs, with what every attention reads kept. */
#ifndef ATTAR_DRIVER_CALIBRATE_H
#define ATTAR_DRIVER_CALIBRATE_H

#include "approx/approx.h"
#include "driver/compile.h"
#include "passes/linearize.h"

typedef struct Kept {                   /* one tensor of one round in one call; axes as its node has them */
    int64_t dims[MAX_RANK];
    float *data;                        /* NULL: the tap has not come by */
} Kept;

typedef struct Calibration {
    Compilation *c;
    LinearizePlan plan;                 /* the sites; no choice yet */
    Arena arena;                        /* of what was kept */
    Kept **kept[4];                     /* [site]: [call * rounds + round] of q, k, v, mask */
    int calls, capacity;
    int64_t rows, of_rows;              /* of the file: run, and there */
    const char *measured_on;            /* "64 x 128 positions of calib.safetensors"; NULL: nothing was run */
    uint64_t bytes;
} Calibration;

/* The sites of a model, from a copy of it; c->kernels, remarks and code stay as they are. False if errors were reported. */
bool calibration_sites(Compilation *c, const CompileOptions *o, Calibration *out);
/* The same, and the model is compiled and run on o->calibrate (calibration_file.h), in several calls if the file has more rows than one should take. */
bool calibration_run(Compilation *c, const CompileOptions *o, Calibration *out);
void calibration_free(Calibration *k);

/* What one head of the keys saw in one round: a Head for each sequence and each head of the queries that shares it, with `sees` filled from
 * the mask. Made in `a`. The number of them. */
int calibration_heads(const Calibration *k, Arena *a, int site, int64_t round, int64_t head, Head **out);

/* "encoder.layer.3.attention.a": of a layer of a site. */
const char *calibration_where(Arena *a, const LinearizeSite *site, int64_t round);

#endif
