/* Requests for the type that weights are kept in: `stored`, `f32`, or one that rounds them: `bf16`, `f16`, `f16:max_err=0.001`. Read from --store. */
#ifndef ATTAR_SUPPORT_STORE_H
#define ATTAR_SUPPORT_STORE_H

#include "support/dtype.h"

typedef struct StoreSpec {
    bool wide;                          /* f32: what is stored in fewer bits is widened when it is packed */
    DType narrow;                       /* bf16 or f16: matrices and tables are rounded to it; DT_F32: none are */
    double max_err;                     /* over it the build fails; NAN: none */
} StoreSpec;

bool store_read(const char *text, StoreSpec *out, const char **why);

#endif
