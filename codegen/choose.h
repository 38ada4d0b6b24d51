/* Which tile a gemm takes: the alternatives, what each costs by the numbers of its target, and measured winners.
 *
 * Pure functions of target and shape. A tile never changes a bit of a result: it may be chosen by anything. */
#ifndef ATTAR_CODEGEN_CHOOSE_H
#define ATTAR_CODEGEN_CHOOSE_H

#include "codegen/codegen.h"

/* What a core does in a cycle, and its caches (speed.c): what the costs of tiles are made of. */
typedef struct Speed {
    const char *target;
    double products;      /* vectors multiplied and added */
    double instructions;  /* that one such product is */
    double latency;       /* cycles from a sum to the next addition to it */
    double loads;         /* vectors, or numbers repeated into vectors */
    double issued;        /* instructions of any kind */
    int64_t l1, l2;       /* bytes */
    double l2_bytes;      /* from L2 */
    double memory_bytes;  /* from memory, one core alone */
} Speed;
const Speed *target_speed(const Target *t);

typedef struct TileCost {
    double cycles; /* of one core */
    double bytes;  /* into L1 */
    double share;  /* of the multiply-adds' peak */
} TileCost;

enum { MAX_TILES = 8 };
/* The tiles that registers allow, those preferred first; at least one. The rest of the compiler numbers them so. */
int tile_alternatives(const Target *t, int accumulators, Tile out[MAX_TILES]);
TileCost tile_cost(const Target *t, const GemmShape *s, Tile tile);
/* The alternative that costs least; of those that cost the same within 1 in 200 the first. */
Tile tile_expected(const Target *t, const GemmShape *s, TileCost *cost);

/* What `options` make of the shape: the alternative asked for, the table's row, or what is expected. */
TileChoice tile_choose(const EmitOptions *options, const GemmShape *s);
TileChoice tile_rotated(const Target *t, const GemmShape *s); /* of a result that is rotated: pairs of vectors */
/* `expected`, or the tile as wide as that of rotated results if it is neither that nor the usual one and costs no more than 1 in 100: a kind
 * of tile less to compile and to read. */
TileChoice tile_alike(const Target *t, const TileChoice *expected);
/* Of products of the same rows whose columns stand side by side in one panel, `columns` of all; and whether that costs less than a
 * panel of its own for what is there so far and for the next. */
TileChoice tile_beside(const Target *t, const GemmShape *s);
bool tile_gains_beside(const Target *t, const GemmShape *so_far, const GemmShape *next);
void tile_describe(const TileChoice *c, int lanes, Text *out); /* "4x24, expected at 0.97 of the peak" */

#endif
