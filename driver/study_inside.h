/* Shared by the files that run a study. */
#ifndef ATTAR_DRIVER_STUDY_INSIDE_H
#define ATTAR_DRIVER_STUDY_INSIDE_H

#include "driver/calibration_file.h"
#include "driver/linearize_make.h"
#include "driver/study_run.h"

typedef struct StudyRun {
    Study *s;
    Compilation *c;
    const CompileOptions *o;
    const StudySteps *steps;
    Calibration k;
    LinearizeSpec specs[STUDY_SETTINGS];
    LinearizeConstants **constants;     /* [site]: [settings][rounds * heads] */
} StudyRun;

void study_say(const StudyRun *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bits a token of the text when layers are approximated (study_bits.c), where the model is one of text; fills s->texts. */
bool study_bits(StudyRun *r);

#endif
