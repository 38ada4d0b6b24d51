/* Random transformer layers for the sweep: drawn, written as a model file with weights, named. */
#ifndef ATTAR_BENCH_SWEEP_H
#define ATTAR_BENCH_SWEEP_H

#include "cli/limits.h"
#include "driver/signature.h"

enum { SHAPE_LAYERS = 8 };

typedef struct Shape {
    int64_t B, S, D, H, G, K, F, V; /* V = 0: no vocabulary at the end */
    int64_t layers;                 /* one after another, SHAPE_LAYERS at most */
    bool gated, biased, rotary, layernorm;
    int mask;     /* of shape_masks */
    bool product; /* not a layer but one product: S rows times a weight of F columns, each a sum over D */
} Shape;

typedef struct ShapeFiles {
    char folder[40], model[64], weights[64];
} ShapeFiles;

Shape shape_draw(uint64_t seed, uint64_t number); /* always the same */
extern const int product_count;
Shape product_at(int number); /* the products whose share of the multiply-adds' peak is watched */
bool shape_write(Context *cx, const Shape *s, ShapeFiles *out);
void shape_remove(const ShapeFiles *files);
void shape_show(const Shape *s, char *out, size_t room);

#endif
