/* Random transformer layers for the sweep: drawn, written as a model file with weights, named. */
#ifndef ATTAR_BENCH_SWEEP_H
#define ATTAR_BENCH_SWEEP_H

#include "cli/limits.h"
#include "driver/signature.h"

typedef struct Shape {
    int64_t B, S, D, H, G, K, F, V; /* V = 0: no vocabulary at the end */
    bool gated, biased, rotary, layernorm;
    int mask; /* of shape_masks */
} Shape;

typedef struct ShapeFiles {
    char folder[40], model[64], weights[64];
} ShapeFiles;

Shape shape_draw(uint64_t seed, uint64_t number); /* always the same */
bool shape_write(Context *cx, const Shape *s, ShapeFiles *out);
void shape_remove(const ShapeFiles *files);
void shape_show(const Shape *s, char *out, size_t room);

#endif
