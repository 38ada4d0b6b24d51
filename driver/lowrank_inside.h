/* What the parts of driver/lowrank*.c share. */
#ifndef ATTAR_DRIVER_LOWRANK_INSIDE_H
#define ATTAR_DRIVER_LOWRANK_INSIDE_H

#include "approx/factor.h"
#include "driver/lowrank.h"
#include "driver/lowrank_inputs.h"
#include "support/lowrank.h"

enum { MOST_SPECS = 64 };

/* Relative, in the Frobenius norm; of the product on the calibration inputs if there are any, else of the weight. */
typedef struct Losses {
    double predicted, measured, weight;
} Losses;

typedef struct Factoring {
    Compilation *c;
    LowrankPlan *plan;
    LowrankSpec specs[MOST_SPECS];
    int n_specs;
    const LowrankSpec **chosen; /* [site] */
    LowrankInputs inputs;       /* grams NULL: no calibration */
    MadeTensor *made;
    size_t n_made, room;
} Factoring;

/* ---- lowrank.c ---- */

/* The weight as [in, out]. */
bool lowrank_matrix(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Matrix *out);
/* |root m| = |x m| for the inputs x of the calibration, whatever m. */
bool lowrank_root(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Matrix *out);
/* An error and false unless the status is MATRIX_OK. */
bool lowrank_refuse(Factoring *f, const LowrankSite *s, int64_t round, MatrixStatus status);
int64_t lowrank_step(const Node *w, int axis);  /* of the stored tensor, in elements */
float *lowrank_rounded(Arena *a, Matrix m);     /* m in f32; m itself is rounded too */
MadeTensor *lowrank_made(Factoring *f, const char *name, const float *data); /* without dims */
/* A tensor [in.., cols] or [rows, out..]. */
void lowrank_add(Factoring *f, const char *name, int64_t rows, int64_t cols, const LowrankSite *s, bool left,
                 const float *data);
void lowrank_record(Factoring *f, const LowrankSpec *spec, const LowrankSite *s, const Losses *worst);

/* ---- lowrank_units.c: method=id ---- */

/* Refuses sites whose hidden units cannot be pruned, and others that ask for the same weights. False, with an error, if
 * no calibration says which units to keep. */
bool lowrank_units_claim(Factoring *f, const CompileOptions *o);
/* h ~ h[:, kept] z on the calibration inputs: the weight becomes z w, the weights before it keep those columns. */
bool lowrank_units_site(Factoring *f, const LowrankSpec *spec, LowrankSite *s);

#endif
