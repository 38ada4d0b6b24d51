/* Approximations: what a build does that changes the function of its model. One record a decision; nothing that is not in this list
 * may differ from the model in real arithmetic. `attar report`, the emitted C's header, attar.h and the exit status read it.
 *
 *     Approximation *a = approximation_add(&c->approximations, "lowrank", "ffn.up", "rank=128");
 *     a->error = "relative error of the weight", a->predicted = 0.01, a->bound = 0.02, a->bound_name = "err";
 *
 * Errors are "the smaller the better"; a number that is not known is NAN. */
#ifndef ATTAR_SUPPORT_APPROXIMATION_H
#define ATTAR_SUPPORT_APPROXIMATION_H

#include "support/diag.h"

typedef struct Approximation {
    const char *kind;                   /* the pass: "linearize-performer", "lowrank", "lora-merge" */
    const char *where;                  /* layer or tensor: "encoder.layer.3.attention" */
    const char *setting;                /* what was asked for: "features=256, seed=7" */
    const char *error;                  /* what the numbers count: "relative error of the output" */
    double predicted, measured;
    const char *measured_on;            /* "64 rows of calib.safetensors"; NULL: nothing was measured */
    double bound;                       /* NAN: none was asked for */
    const char *bound_name;             /* how the user wrote it: "max_err"; NULL: "bound" */
    const char *note, *help;            /* for E0901: what the figures say beyond the number; what would pass; may be NULL */
    const char *table;                  /* lines with more figures, for `attar report --all`; may be NULL */
    Span at;                            /* of the annotation; source NULL: it was an option of the command */
} Approximation;

typedef struct Approximations {
    Arena *arena;
    Approximation *items;
    size_t count, capacity;
} Approximations;

/* A new record; the texts are kept as they are. No figures, no bound. */
Approximation *approximation_add(Approximations *all, const char *kind, const char *where, const char *setting);

bool approximations_have(const Approximations *all, const char *kind);

/* Over its bound, or with a bound and no figure to hold against it. The measured figure counts, the predicted one only without it. */
bool approximation_over(const Approximation *a);

/* One error E0901 for all records of one kind, setting and bound that are over it, with the worst of them; false if there is one. */
bool approximations_check(Diags *d, const Approximations *all);

/* ":max_err=E" at the end of a request, E in (0, 1]; false if it is not, and *why if it is the number that is wrong. */
bool max_err_read(const char *text, double *out, const char **why);

void approximation_print(const Approximation *a, Text *out);    /* one line, without its end */
void approximation_json(const Approximation *a, const char *model, Text *out);  /* an object in one line, without its end */

#endif
