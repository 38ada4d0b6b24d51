/* Shared by the files of attend's emitter: attend.c (the function), attend_mask.c (which keys a row reads),
 * attend_row.c (softmax of a row), attend_tile.c (products). */
#ifndef ATTAR_CODEGEN_ATTEND_INSIDE_H
#define ATTAR_CODEGEN_ATTEND_INSIDE_H

#include "codegen/emit.h"

/* ---- the mask, taken apart --------------------------------------------------------------------------------------- */

typedef struct Condition { /* keys for which it fails are masked */
    const Node *node;
    bool negated;
} Condition;

typedef struct Conditions {
    Condition *items;
    size_t count, capacity;
} Conditions;

typedef struct AttendMask {
    const Node *score; /* the score where nothing is masked */
    /* Conditions that bound the keys of a row from below or above, or that do not look at the key at all: each row has
     * a range of keys. */
    Conditions bounds;
    /* Conditions on the key alone (and batch axes): found out once for a block of keys. */
    Conditions keys;
    /* What is left: evaluated for every score. */
    Conditions rest;
} AttendMask;

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

typedef struct AttendAxis {
    const char *name; /* in the model */
    const char *var;  /* in C */
    Extent size;
} AttendAxis;

typedef struct Attend {
    Kernel *k;
    Access q, keys, v, out;
    const char *key_axis, *head_axis, *value_axis;
    int64_t head, width; /* sizes of the head axis and of v's own axis */
    int64_t padded;      /* width rounded up to whole vectors */
    int n_batch, n_rows;
    AttendAxis batch[MAX_RANK], row[MAX_RANK]; /* both in q's order */
    const char *positions;                     /* number of keys, as C text */
    AttendMask mask;
    bool plain; /* the score is q . k and nothing else: log2(e) can be folded into q */
    bool marks; /* some masked keys are known by their weight alone, which is -0 */
    bool key_rows; /* the keys lie in rows, not in panels */
    int lanes;
    int rows, few; /* rows in a tile; so many rows at most are done one by one */
    const char *scores, *scores_row, *values, *values_row, *values_rest, *values_row_rest; /* C functions */
    const char *values_careful, *open, *softmax;
} Attend;

enum {
    ATTEND_BLOCK = 512, /* keys between two rescalings: their scores stay in the first-level cache */
    ATTEND_STEP =
        ATTEND_BLOCK + 16, /* floats between rows of scores: not a power of two, so that rows do not share cache sets */
    ATTEND_ROW_VECTORS = 8 /* accumulators of the functions for one row */
};

/* ---- attend_mask.c ----------------------------------------------------------------------------------------------- */

void attend_split_mask(Attend *a);
/* "begin = larger(begin, ..);", "end = lesser(end, ..);" for each of the bounds; the row's indices are variables. */
void attend_emit_bounds(Attend *a);
/* Extra inputs, iotas and the score itself as operands, where `t` is the first key of a vector. */
BodyPrinter attend_printer(Attend *a);
/* Where an extra input's element lies; `t`: the key's position, NULL: it has no keys. */
const char *attend_address(Attend *a, const Access *x, const char *t);
/* "a & ~b" of the conditions as one mask of lanes. */
const char *attend_condition(Attend *a, BodyPrinter *b, const Conditions *c);

/* ---- attend_lookup.c --------------------------------------------------------------------------------------------- */

Operand attend_value(Attend *a, BodyPrinter *b, const Node *n); /* body_value, with tables looked up on the way */

/* ---- attend_row.c ------------------------------------------------------------------------------------------------ */

/* Emit the function before the kernel; the result is the end of the argument list of its calls (", keep, b"). */
const char *attend_emit_open(Attend *a);
const char *attend_emit_softmax(Attend *a);

/* ---- attend_keys.c ----------------------------------------------------------------------------------------------- */

void attend_emit_key_rows(Attend *a); /* scores and scores_row for keys in rows */

/* ---- attend_tile.c ----------------------------------------------------------------------------------------------- */

void attend_emit_tiles(Attend *a); /* the functions, into k->before */
/* Vectors in a column group of `values` or `values_row`, and where the narrower last group begins (width: none). */
int attend_group(const Attend *a, bool one_row);
int64_t attend_rest(const Attend *a, bool one_row);

#endif
