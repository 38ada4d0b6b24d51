/* Inputs on which approximations are measured: calls of the model, as many sequences as a file holds. */
#ifndef ATTAR_DRIVER_CALIBRATION_FILE_H
#define ATTAR_DRIVER_CALIBRATION_FILE_H

#include "driver/compile.h"

typedef struct CalibrationFile {
    const char *path;
    HostTensor *inputs; int n_inputs;           /* in the order of the model's inputs */
    int64_t sequences, length;                  /* of the first input's first two axes; 1 where there is none */
    const char *what;                           /* "40 x 512 positions of held.txt" */
    const char *unit;                           /* of text: "byte" where one token is one byte, else "token"; NULL: not a model of text */
    int64_t vocabulary;                         /* of text */
} CalibrationFile;

/* After compile_load. A .safetensors file with the model's inputs by name (or as a golden file has them: `input.ids`); for a model of text whose
 * tokens are bytes also any other file, which is cut into windows. False and E0658, or what `attar run` says of inputs. */
bool calibration_file_load(Compilation *c, const char *path, CalibrationFile *out);

/* Sequences [first, first + count) alone, along the first axis of every input that has as many of them as the first. */
HostTensor *calibration_file_slice(Arena *a, const CalibrationFile *from, int64_t first, int64_t count);

#endif
