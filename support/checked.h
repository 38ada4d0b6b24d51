/* Checked size arithmetic. Sizes that come from files or dimensions go through these before anything is allocated or indexed. */
#ifndef ATTAR_SUPPORT_CHECKED_H
#define ATTAR_SUPPORT_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool checked_imul(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool checked_iadd(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool checked_size(uint64_t a, size_t *out) { *out = (size_t)a; return (uint64_t)*out == a; }

#endif
