/* Shared by the files of codebook_attend's emitter: codebook_attend.c (the function), codebook_tile.c (a tile of its rows),
 * codebook_row.c (what it calls for one row or a few keys). */
#ifndef ATTAR_CODEGEN_CODEBOOK_INSIDE_H
#define ATTAR_CODEGEN_CODEBOOK_INSIDE_H

#include "codegen/emit.h"

typedef struct CodebookAxis {
    const char *name, *var; /* in the model, in C */
    Extent size;
} CodebookAxis;

typedef struct Codebook {
    Kernel *k;
    Access q, keys, v, codes, bias, keep, state, out;
    bool biased, kept, cached, causal;
    bool exact;                     /* recent keys are themselves */
    const char *key_axis, *row_axis, *head_axis, *value_axis, *code_axis, *distance_axis;
    int64_t head, width, n_codes, n_distances; /* sizes of the head axis, the values' own, codes, distances */
    int64_t block;                  /* positions in a block of recent keys; 0: there are none such */
    int64_t padded_width, padded_codes, padded_window; /* in whole vectors; window: keys beside the codes, half of it if blocks count */
    int64_t step;                   /* floats from one row of scores to the next */
    int rows, keys_at_once;
    int n_batch, n_rows;
    CodebookAxis batch[MAX_RANK], row[MAX_RANK]; /* in q's order; rows without their positions */
    int64_t heads;                  /* the same, if there is a bias */
    bool early;                     /* there may be rows before the first key */
    const char *code_step;          /* floats from one row of the codebook to the next, as C text */
    const char *group;              /* rows at one position, as C text */
    const char *product;            /* matrix_product */
    const char *norms, *nearest, *take_in, *weigh, *own_keys; /* C functions */
} Codebook;

enum { CODEBOOK_KEYS = 48 };        /* new keys at a time; rows in a tile at most */

/* ---- codebook_attend.c ------------------------------------------------------------------------------------------- */

/* With the batch's indices, those of the rows' axes, and one of the positions (`axis` NULL: none). */
const char *codebook_address_of(Codebook *c, const Access *x, const char *axis, const char *var);
/* Variables of the rows' axes that `text` mentions, from the row's number at its position. */
void codebook_put_row_indices(Codebook *c, const char *number, const char *text);
const char *codebook_step_text(Codebook *c, const Access *x, const char *axis, const char *index);
/* What stands under an `if` or `for` without braces. */
void codebook_inside(Kernel *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- codebook_tile.c --------------------------------------------------------------------------------------------- */

/* Rows from .. end; they stand at the new keys' positions, or anywhere if the mask is not causal. */
void codebook_emit_tile(Codebook *c, const char *from, const char *end);

/* ---- codebook_row.c ---------------------------------------------------------------------------------------------- */

void codebook_emit_functions(Codebook *c); /* into k->before */

#endif
