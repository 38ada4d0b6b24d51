/* Element types: names, sizes, and conversions of single elements. Halves round to nearest, ties to even, straight from double. */
#include "support/dtype.h"

#include <math.h>
#include <string.h>

#include "support/checked.h"

typedef struct DTypeInfo {
    const char *name;
    size_t size;
    bool is_float;
} DTypeInfo;

static const DTypeInfo info[DT_COUNT] = {
    [DT_F32] = {"f32", 4, true},    [DT_F16] = {"f16", 2, true},  [DT_BF16] = {"bf16", 2, true},
    [DT_F64] = {"f64", 8, true},    [DT_I64] = {"i64", 8, false}, [DT_I32] = {"i32", 4, false},
    [DT_BOOL] = {"bool", 1, false}, [DT_U8] = {"u8", 1, false},
};

const char *dtype_name(DType t)
{
    return info[t].name;
}
size_t dtype_size(DType t)
{
    return info[t].size;
}
bool dtype_is_float(DType t)
{
    return info[t].is_float;
}

bool dtype_from_name(const char *name, DType *out)
{
    for (int t = 0; t < DT_COUNT; t++) {
        if (strcmp(info[t].name, name) == 0) {
            *out = (DType)t;
            return true;
        }
    }
    return false;
}

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float bfloat_to_float(uint16_t bits)
{
    return float_of_bits((uint32_t)bits << 16);
}

float half_to_float(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) /* zero and subnormals: fraction * 2^-24 is exact */
        return sign ? -(float)fraction * 0x1p-24f : (float)fraction * 0x1p-24f;
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Bits of the nearest value of a 16-bit format with `digits` stored fraction bits and the least normal exponent `low`. */
static uint16_t narrow(double value, int digits, int low)
{
    uint32_t exponents = (1u << (15 - digits)) - 1; /* all ones: infinity and NaN */
    uint32_t infinity = exponents << digits;
    uint32_t sign = signbit(value) ? 0x8000 : 0;
    if (isnan(value))
        return (uint16_t)(sign | infinity | 1u << (digits - 1));
    if (isinf(value))
        return (uint16_t)(sign | infinity);
    int exponent = value == 0 ? low : ilogb(value);
    if (exponent < low)
        exponent = low;
    if (exponent > 1 - low)
        return (uint16_t)(sign | infinity);
    /* Counts of the last place; a normal number's leading bit lands on the exponent field, and so does a carry. */
    uint32_t count = (uint32_t)nearbyint(ldexp(fabs(value), digits - exponent));
    uint32_t bits = count + ((uint32_t)(exponent - low) << digits);
    return (uint16_t)(sign | (bits < infinity ? bits : infinity));
}

uint16_t bfloat_nearest(double value)
{
    double size = value < 0 ? -value : value;
    if (!(size >= 0x1p-126 && size < 0x1p127)) /* subnormal, about infinity or none */
        return narrow(value, 7, -126);
    uint64_t bits;
    uint32_t upper;
    memcpy(&bits, &value, sizeof bits); /* 7 of its 52 fraction bits stay */
    bits = (bits + 0xfffffffffff + (bits >> 45 & 1)) & ~0x1fffffffffffu;
    memcpy(&value, &bits, sizeof value);
    float exact = (float)value;
    memcpy(&upper, &exact, sizeof upper);
    return (uint16_t)(upper >> 16);
}

uint16_t half_nearest(double value)
{
    double size = value < 0 ? -value : value;
    if (!(size >= 0x1p-14 && size < 0x1p15)) /* subnormal, about infinity or none */
        return narrow(value, 10, -14);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits); /* 10 of its 52 fraction bits stay */
    bits += 0x1ffffffffff + (bits >> 42 & 1);
    return (uint16_t)((bits >> 63 << 15) | (((bits >> 52 & 2047) - 1008) << 10) | (bits >> 42 & 1023));
}

double dtype_rounded(DType t, double value)
{
    switch (t) {
    case DT_F32: return (double)(float)value;
    case DT_F16: return (double)half_to_float(narrow(value, 10, -14));
    case DT_BF16: return (double)bfloat_to_float(narrow(value, 7, -126));
    default: return value;
    }
}

static int64_t clamp_integer(double value, int64_t low, int64_t high)
{
    if (isnan(value))
        return 0;
    if (value <= (double)low)
        return low;
    if (value >= (double)high)
        return high;
    return (int64_t)value;
}

int64_t host_count(const HostTensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] < 0 || !checked_imul(count, t->dims[i], &count))
            return -1;
    return count;
}

double host_get(const HostTensor *t, int64_t index)
{
    size_t size = info[t->dtype].size;
    const char *at = (const char *)t->data + (size_t)index * size;
    union {
        float f32;
        double f64;
        uint16_t half;
        int64_t i64;
        int32_t i32;
        uint8_t byte;
    } e;
    memcpy(&e, at, size);
    switch (t->dtype) {
    case DT_F32: return (double)e.f32;
    case DT_F16: return (double)half_to_float(e.half);
    case DT_BF16: return (double)bfloat_to_float(e.half);
    case DT_F64: return e.f64;
    case DT_I64: return (double)e.i64;
    case DT_I32: return e.i32;
    case DT_BOOL: return e.byte != 0;
    case DT_U8: return e.byte;
    case DT_COUNT: break;
    }
    return 0;
}

void host_set(HostTensor *t, int64_t index, double value)
{
    size_t size = info[t->dtype].size;
    union {
        float f32;
        double f64;
        uint16_t half;
        int64_t i64;
        int32_t i32;
        uint8_t byte;
    } e = {.i64 = 0};
    switch (t->dtype) {
    case DT_F32: e.f32 = (float)value; break;
    case DT_F16: e.half = narrow(value, 10, -14); break;
    case DT_BF16: e.half = narrow(value, 7, -126); break;
    case DT_F64: e.f64 = value; break;
    case DT_I64: e.i64 = clamp_integer(value, INT64_MIN, INT64_MAX); break;
    case DT_I32: e.i32 = (int32_t)clamp_integer(value, INT32_MIN, INT32_MAX); break;
    case DT_BOOL: e.byte = value != 0; break;
    case DT_U8: e.byte = (uint8_t)clamp_integer(value, 0, UINT8_MAX); break;
    case DT_COUNT: break;
    }
    memcpy((char *)t->data + (size_t)index * size, &e, size);
}
