/* Keys of a checkpoint with holes: "model.layers.{i}.mlp.experts.{E}.up_proj.weight" stands for one tensor a round and a
 * position of the stacked axis.
 *
 * A hole of the round is {i}, {i+3}, {2*i} or {2*i+1}: factor * i + offset, i counting from 0. Any other hole is that of a
 * stacked axis; a key has at most one. */
#ifndef ATTAR_SUPPORT_HOLES_H
#define ATTAR_SUPPORT_HOLES_H

#include <stdbool.h>
#include <stdint.h>

#include "support/arena.h"

typedef struct Hole {
    const char *begin, *end;            /* with its braces */
    bool round;                         /* of the round; else of a stacked axis */
    int64_t factor, offset;
} Hole;

/* The first hole at or behind `text`; false if there is none. Every `{` of a key has its `}`. */
bool hole_next(const char *text, Hole *out);
bool hole_of_round(const char *key);                        /* a different tensor each round? */
bool hole_of_stack(const char *key);
const char *hole_print(Arena *a, int64_t factor, int64_t offset);       /* "{2*i+1}" */

/* The holes filled; those whose number is negative stay. */
const char *hole_fill(Arena *a, const char *key, int64_t round, int64_t position);

/* The holes as ranges, for messages: "model.layers.{1..5}.mlp.experts.{0..63}.up_proj.weight". */
const char *hole_ranges(Arena *a, const char *key, int64_t rounds, int64_t positions);

#endif
