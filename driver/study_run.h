/* Running a study: captures what every attention of a model reads, and measures every setting on it. */
#ifndef ATTAR_DRIVER_STUDY_RUN_H
#define ATTAR_DRIVER_STUDY_RUN_H

#include "driver/compile.h"
#include "driver/study.h"

typedef struct StudySteps {
    void (*say)(void *state, const char *what); /* what is done next; NULL: nobody listens */
    void *state;
    bool no_text;                               /* no bits a token are counted */
} StudySteps;

/* After compile_load; o->calibrate is the file. The settings, seed, max_err and length (0: the most positions that the model takes) of `s` are
 * there; the rest is filled. Constants come from every other sequence of the file, errors and bits from the others, if it has two or more. Leaves no
 * compiled model in `c`. False if errors were reported. */
bool study_run(Study *s, Compilation *c, const CompileOptions *o, const StudySteps *steps);

#endif
