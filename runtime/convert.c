/* Stored elements to float and double: plain loops that the compiler can vectorise. */
#include "runtime/safetensors.h"

#include <string.h>

static inline float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Subnormal halves are 2^-14 (1 + m / 1024) - 2^-14: no subnormal float is met, so the host's mode cannot matter. */
static inline float widen_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7fffu) << 13;
    float small = from_bits(rest | 113u << 23) - from_bits(113u << 23);
    uint32_t bits;
    memcpy(&bits, &small, sizeof bits);
    uint32_t normal = rest + (112u << 23), special = rest + (224u << 23);
    uint32_t out = rest < 1u << 23 ? bits : rest < 31u << 23 ? normal : special;
    return from_bits(out | sign);
}

static inline float widen_bfloat(uint16_t b)
{
    return from_bits((uint32_t)b << 16);
}

/* The stored element is read by memcpy: data of a file has no alignment. */
#define LOOP(type, expression)                                                                                         \
    for (size_t i = 0; i < count; i++) {                                                                               \
        type v;                                                                                                        \
        memcpy(&v, (const unsigned char *)in + i * sizeof v, sizeof v);                                                \
        out[i] = expression;                                                                                           \
    }                                                                                                                  \
    break

void convert_f32(DType from, const void *in, size_t count, float *out)
{
    switch (from) {
    case DT_F32:
        if (count)
            memcpy(out, in, count * sizeof *out);
        break;
    case DT_F16: LOOP(uint16_t, widen_half(v));
    case DT_BF16: LOOP(uint16_t, widen_bfloat(v));
    case DT_F64: LOOP(double, (float)v);
    case DT_I64: LOOP(int64_t, (float)v);
    case DT_I32: LOOP(int32_t, (float)v);
    case DT_BOOL: LOOP(uint8_t, v ? 1.0f : 0.0f);
    case DT_U8: LOOP(uint8_t, (float)v);
    default: break;
    }
}

void convert_f64(DType from, const void *in, size_t count, double *out)
{
    switch (from) {
    case DT_F32: LOOP(float, (double)v);
    case DT_F16: LOOP(uint16_t, (double)widen_half(v));
    case DT_BF16: LOOP(uint16_t, (double)widen_bfloat(v));
    case DT_F64:
        if (count)
            memcpy(out, in, count * sizeof *out);
        break;
    case DT_I64: LOOP(int64_t, (double)v);
    case DT_I32: LOOP(int32_t, (double)v);
    case DT_BOOL: LOOP(uint8_t, v ? 1.0 : 0.0);
    case DT_U8: LOOP(uint8_t, (double)v);
    default: break;
    }
}
