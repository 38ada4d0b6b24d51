/* Shared by the files of linear_attend's emitter: linear.c (the function and its tasks), linear_work.c (what a task holds
 * in scratch), linear_keys.c (features of keys, and the state they are added to), linear_rows.c (features of queries, and
 * what they read), linear_step.c (one position of a sequence whose state is kept), linear_group.c (documents). */
#ifndef ATTAR_CODEGEN_LINEAR_INSIDE_H
#define ATTAR_CODEGEN_LINEAR_INSIDE_H

#include "codegen/emit.h"

enum {
    LINEAR_CHUNK = 64,   /* keys, and rows, that are taken together */
    LINEAR_STRIP = 24,   /* rows of a causal chunk that read the same keys of it */
    LINEAR_STEP_ROWS = 4 /* query heads of a key head that read the state while it is written */
};

typedef struct LinearAxis {
    const char *name; /* in the model */
    const char *var;  /* in C */
    Extent size;
} LinearAxis;

typedef struct Linear {
    Kernel *k;
    Access q, keys, v, out;
    Access projection, keep, prefix, document, offset, state;
    bool projected, has_keep, has_prefix, has_document, has_offset, has_state;
    bool exponential; /* positive or hyperbolic */
    bool tops;        /* exponents relative to a running maximum of each feature */
    bool hyperbolic, codes, relu, elu1;
    bool causal;
    double scale, eps, ratio, tau;
    const char *key_axis, *head_axis, *query_axis, *value_axis;
    LinearAxis batch[MAX_RANK], row[MAX_RANK]; /* in q's order; rows: without the query axis */
    int n_batch, n_row;
    int lanes;
    int64_t head, width, wide;         /* sizes of the head axis and of v's own; that rounded up to whole vectors */
    int64_t own, features;             /* rows of the projection; all features: twice that if hyperbolic */
    int64_t span;                      /* floats from one row of features to the next */
    int64_t few;                       /* query heads of a key head; 0: known only at run time */
    const char *keys_text, *rows_text; /* sizes */
    /* C names of the struct and the functions */
    const char *work, *pack, *begin, *load, *exponents, *highest, *cut, *key_features, *absorb, *weigh, *read, *step,
        *join, *dots, *halves, *chain, *collect, *clear, *fetch, *store;
} Linear;

/* ---- linear.c --------------------------------------------------------------------------------------------------- */

/* Opens a function of the kernel's own before it: a comment, then "static TYPE NAME(struct WORK *s, items..)". What is
 * put until linear_close is its body. */
Text linear_open(Linear *l, const char *comment, const char *type, const char *name, const char *const *items,
                 size_t n);
Text linear_open_alone(Linear *l, const char *comment, const char *type, const char *name, const char *const *items,
                       size_t n); /* without the struct */
void linear_close(Linear *l, Text before);
void linear_put_twice(Linear *l);    /* before a loop over vectors whose work waits for itself: two at a time */
/* An element of a row whose elements may lie apart: "from[i]", "from[i * 3]". */
const char *linear_element(Linear *l, const char *pointer, const Access *a, const char *axis, const char *index);

/* ---- linear_work.c ---------------------------------------------------------------------------------------------- */

uint64_t linear_emit_work(Linear *l); /* the struct; its bytes */
void linear_emit_begin(Linear *l);    /* an empty state */
void linear_emit_pack(Linear *l);     /* the projection, turned */
void linear_emit_halves(Linear *l);   /* |c|^2 / 2 of each code */
void linear_emit_kept(Linear *l);     /* a state that is kept from call to call: fetched, stored */

/* ---- linear_keys.c, linear_rows.c, linear_step.c, linear_group.c ------------------------------------------------ */

void linear_emit_keys(Linear *l);
void linear_emit_rows(Linear *l);
void linear_put_query(Linear *l, const char *address); /* row `row` of queries, scaled, into scratch */
void linear_put_store(Linear *l, const char *address); /* row `row` of the sums, divided, to the result */
bool linear_from_tops(const Linear *l);                /* a row's exponents come with the tops in them */
bool linear_steps(const Linear *l);                    /* one position at a time has a function of its own */
void linear_emit_step(Linear *l);
void linear_emit_chain(Linear *l);
void linear_emit_collect(Linear *l);

/* x as the features see it: q and k take the root of the scale; exponents are to base 2. */
double linear_key_factor(const Linear *l), linear_query_factor(const Linear *l);
/* What is subtracted from an exponent of feature `u`: |y|^2 / 2 in terms of the y that is loaded. */
double linear_square_factor(const Linear *l);
/* The feature of u, a vector expression, where no exponent is shared: elu + 1, relu, u itself. */
const char *linear_plain_feature(Linear *l, const char *u);

#endif
