/* What a mask lets through of a whole tile of scores: no pair, every pair, or it must be asked pair by pair.
 *
 * A mask is attend's body: where(condition, score, -inf). In a tile, some query rows times some keys, every whole
 * number of the condition lies in an interval. A comparison of intervals holds for every pair, for none, or that is
 * not known; and, or, not combine these three. The answer is safe: a tile called empty is empty, one called full is
 * full. It is exact as long as no number stands twice in the condition; masks as people write them (causal, window,
 * document with ascending ids, prefix, tree) lose nothing.
 *
 * The rules give expressions over the ends of the intervals of the leaves: codegen prints them as C, `tile_class`
 * calculates them. */
#ifndef ATTAR_IR_TILE_CLASS_H
#define ATTAR_IR_TILE_CLASS_H

#include "ir/ir.h"

/* ---- the body of an attend, taken apart ------------------------------------------------------------------------- */

typedef struct Condition { /* keys for which it fails are masked */
    const Node *node;
    bool negated;
} Condition;

typedef struct Conditions {
    Condition *items;
    size_t count, capacity;
} Conditions;

/* where(c1 and not c2, score, -inf) is {c1, not c2} and score; a body without a mask has no conditions. */
typedef struct Mask {
    const Node *score;
    Conditions conditions;
} Mask;
Mask mask_of(Context *cx, const Node *attend);
void condition_add(Context *cx, Conditions *list, Condition c);

typedef enum MaskSide { SIDE_TASK, SIDE_ROWS, SIDE_KEYS, SIDE_BOTH } MaskSide;
/* Which of a tile's two sides a value of the body changes along; SIDE_TASK: neither, at most the batch. */
MaskSide mask_side(const Node *attend, const Node *n);

/* ---- the test of a tile ----------------------------------------------------------------------------------------- */

typedef enum EndOp {
    END_CONST, /* value */
    END_LEAF,  /* the smallest or, if `high`, the largest that leaf number `value` is in the tile */
    END_ADD, END_SUB, END_MUL, END_DIV, END_MOD, /* DIV and MOD by a constant > 0, rounding down */
    END_MIN, END_MAX,
    END_LT, END_LE, END_EQ, END_AND, END_OR, END_NOT, /* 0 or 1 */
    END_IF /* in[0] ? in[1] : in[2] */
} EndOp;

/* An end of an interval: a whole number, known once the tile is. */
typedef struct End {
    EndOp op;
    bool high;
    int64_t value;
    const struct End *in[3];
    int64_t least, most; /* what it can be in any tile */
} End;

typedef struct TileLeaf {
    const Node *node; /* an iota, or a value of one side that is read from memory */
    MaskSide side;    /* never SIDE_BOTH; SIDE_TASK: both ends are the same */
    bool data;        /* not an iota: only the inputs say what it is */
    bool low, high;   /* which of its ends the test reads */
} TileLeaf;

typedef struct TileTest {
    const End *some; /* 0: no pair of the tile passes */
    const End *all;  /* 1: every pair passes */
    TileLeaf *leaves;
    size_t n_leaves, capacity;
} TileTest;

/* All conditions together. What is not understood is `some` and not `all`, everywhere. */
TileTest tile_test(Context *cx, const Node *attend, const Conditions *conditions);

typedef enum TileClass { TILE_EMPTY, TILE_PARTIAL, TILE_FULL } TileClass;
/* The class of the tile in which leaf number i lies in low[i] .. high[i]. */
TileClass tile_class(const TileTest *test, const int64_t *low, const int64_t *high);

/* ---- how many tiles a mask leaves ------------------------------------------------------------------------------- */

typedef struct TileCount {
    int64_t total, executed, full; /* full: executed without a comparison */
} TileCount;

/* Counts the tiles of `rows` query rows (as many as the target's kernels take at once) times KEY_PANEL keys, over the
 * whole batch. `sizes` are the values of the model's symbols. False if it depends on data: inputs or the batch. */
bool tile_count(Context *cx, const Node *attend, const int64_t *sizes, int rows, TileCount *out);

#endif
