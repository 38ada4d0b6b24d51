/* Element types: names, sizes, conversions to and from double. */
#include "support/dtype.h"

#include <math.h>
#include <string.h>
#include "support/checked.h"

static const struct { const char *name; size_t size; bool is_float; } dtypes[DT_COUNT] = {
    [DT_F32] = {"f32", 4, true}, [DT_F16] = {"f16", 2, true}, [DT_BF16] = {"bf16", 2, true}, [DT_F64] = {"f64", 8, true},
    [DT_I64] = {"i64", 8, false}, [DT_I32] = {"i32", 4, false}, [DT_BOOL] = {"bool", 1, false}, [DT_U8] = {"u8", 1, false},
};

const char *dtype_name(DType t) { return dtypes[t].name; }
size_t dtype_size(DType t) { return dtypes[t].size; }
bool dtype_is_float(DType t) { return dtypes[t].is_float; }

bool dtype_from_name(const char *name, DType *out)
{
    for (int t = 0; t < DT_COUNT; t++)
        if (!strcmp(name, dtypes[t].name)) {
            *out = (DType)t;
            return true;
        }
    return false;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float bfloat_to_float(uint16_t bits)
{
    return float_of_bits((uint32_t)bits << 16);
}

float half_to_float(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent != 0)
        return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float subnormal = (float)mantissa * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}

static uint16_t float_to_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    float size = fabsf(value);
    if (isnan(value))
        return (uint16_t)(sign | 0x7e00);
    if (size >= 65520)
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x1p-14f)
        return (uint16_t)(sign | (uint16_t)lrintf(size * 0x1p24f));
    uint32_t rounded = (bits & 0x7fffffff) + 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (rounded - (112u << 23)) >> 13);
}

static uint16_t float_to_bfloat(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

int64_t host_count(const HostTensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        if (!checked_imul(count, t->dims[i], &count))
            return -1;
    return count;
}

double host_get(const HostTensor *t, int64_t index)
{
    const unsigned char *at = (const unsigned char *)t->data + (size_t)index * dtype_size(t->dtype);
    union { float f; double d; int64_t i64; int32_t i32; uint16_t u16; } v;
    memcpy(&v, at, dtype_size(t->dtype));
    switch (t->dtype) {
    case DT_F32: return (double)v.f;
    case DT_F16: return (double)half_to_float(v.u16);
    case DT_BF16: return (double)bfloat_to_float(v.u16);
    case DT_F64: return v.d;
    case DT_I64: return (double)v.i64;
    case DT_I32: return v.i32;
    case DT_BOOL: return *at != 0;
    case DT_U8: return *at;
    case DT_COUNT: break;
    }
    return NAN;
}

void host_set(HostTensor *t, int64_t index, double value)
{
    unsigned char *at = (unsigned char *)t->data + (size_t)index * dtype_size(t->dtype);
    union { float f; double d; int64_t i64; int32_t i32; uint16_t u16; unsigned char u8; } v = {0};
    switch (t->dtype) {
    case DT_F32: v.f = (float)value; break;
    case DT_F16: v.u16 = float_to_half((float)value); break;
    case DT_BF16: v.u16 = float_to_bfloat((float)value); break;
    case DT_F64: v.d = value; break;
    case DT_I64: v.i64 = (int64_t)value; break;
    case DT_I32: v.i32 = (int32_t)value; break;
    case DT_BOOL: v.u8 = value != 0; break;
    case DT_U8: v.u8 = (unsigned char)value; break;
    case DT_COUNT: return;
    }
    memcpy(at, &v, dtype_size(t->dtype));
}
