/* Requests for the type that products compute in: `f32`, `bf16` or `bf16:max_err=0.01`. Read from --compute. */
#ifndef ATTAR_SUPPORT_COMPUTE_H
#define ATTAR_SUPPORT_COMPUTE_H

#include <stdbool.h>

typedef struct ComputeSpec {
    bool bf16;                          /* products with weights take operands rounded to bf16; else nothing is asked for */
    double max_err;                     /* over it the build fails; NAN: none */
} ComputeSpec;

bool compute_read(const char *text, ComputeSpec *out, const char **why);

#endif
