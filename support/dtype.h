/* Element types, and a tensor in host memory as files, the interpreter and sessions exchange it. */
#ifndef ATTAR_SUPPORT_DTYPE_H
#define ATTAR_SUPPORT_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum DType { DT_F32, DT_F16, DT_BF16, DT_F64, DT_I64, DT_I32, DT_BOOL, DT_U8, DT_COUNT } DType;

enum { MAX_RANK = 8 };

typedef struct HostTensor {             /* row-major, packed, little-endian */
    const char *name;
    DType dtype;
    int rank;
    int64_t dims[MAX_RANK];
    void *data;                         /* NULL in tables that only describe (checkpoint headers) */
} HostTensor;

const char *dtype_name(DType t);                        /* f32, f16, bf16, f64, i64, i32, bool, u8 */
bool dtype_from_name(const char *name, DType *out);     /* the same spellings */
size_t dtype_size(DType t);                             /* bytes an element */
bool dtype_is_float(DType t);
double dtype_rounded(DType t, double value);            /* the nearest number that a floating type has, of two the even one; beyond the largest: infinity */
uint16_t bfloat_nearest(double value);                  /* the bits of dtype_rounded(DT_BF16, value), quickly */
uint16_t half_nearest(double value);                    /* the same of DT_F16 */
float half_to_float(uint16_t bits);
float bfloat_to_float(uint16_t bits);

int64_t host_count(const HostTensor *t);                /* elements; -1 if the product overflows */
double host_get(const HostTensor *t, int64_t index);    /* any dtype as double */
void host_set(HostTensor *t, int64_t index, double value);

#endif
