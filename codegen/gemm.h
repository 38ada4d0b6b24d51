/* What gemm.c and gemm_tile.c share: a gemm under construction. */
#ifndef ATTAR_CODEGEN_GEMM_H
#define ATTAR_CODEGEN_GEMM_H

#include "codegen/emit.h"

typedef enum Reach { PER_NOTHING = 0, PER_ROW = 1, PER_COLUMN = 2, PER_BOTH = 3, PER_PANEL = 4 } Reach;

typedef struct RowTerm { const char *turn, *size, *stride; } RowTerm;    /* row / turn % size * stride; NULL: 1, no end, 1 */

typedef struct Pointer {                /* an argument of the tile */
    const Node *param;                  /* of the body; NULL: x or a result */
    const char *name, *local;           /* in the kernel, and in its tile functions */
    DType dtype;
    Reach reach;
    const char *row;                    /* elements from one row to the next, as C text; NULL: the same for all rows */
    int64_t depth;                      /* PER_PANEL: how many rows of a panel, the sum's length; then dtype is how it is stored */
    bool pairs;                         /* cosines or sines: one column for each pair */
    const char *step;                   /* the variable that holds `row` if it is not a constant, else NULL */
    RowTerm term[MAX_RANK];             /* an extra with only some of the row axes: its place follows from the number of the row */
    int n_terms;
    int part;                           /* of the group: which of its products it belongs to */
} Pointer;

enum { MAX_SIZES = 8 };
typedef struct Group {
    const char *tile_name, *rows_name, *last_name;      /* its functions */
    const char *text;                   /* of these functions, as they are under the first group's names */
    int *weight, n_weights;
    bool beside;                        /* products of few columns: those of weight i are columns from[i] .. from[i + 1] of the one panel, a part each */
    int64_t *from;
    int *result, n_results;             /* into body->results */
    const char **sum;                   /* C names of the accumulators, one a weight */
    const Node **start;                 /* the body's `acc + bias` whose bias the accumulator starts with, or NULL */
    Pointer *pointers;                  /* x, panels, extras, results */
    int n_pointers, first_result;
    int *side, n_sides, first_side;     /* accumulators, as numbers of this group's, that go on over another product: its x and panels are a pair of pointers */
    const char *sizes[MAX_SIZES];       /* run-time sizes that the terms mention: parameters of the tile */
    int n_sizes;
    bool counts;                        /* some pointer has terms: the tile takes `first`, the number of its first row */
    Tile tile;
    int64_t columns, panel, panels;
    const Node *rotation;               /* of the one result, or NULL; then a panel is a vector of first partners and one of second partners */
    int64_t pairs;                      /* of the last axis */
    bool interleave;
} Group;

typedef struct Gemm {
    Kernel *k;
    const Node *n;
    Context *cx;
    int n_weights, n_rows, n_over;
    Axis rows[MAX_RANK], over[MAX_RANK];
    int64_t depth;                      /* length of a sum */
    Group *groups;
    int n_groups;
    const char *tiles;                  /* the groups' tiles in words */
    BodyPrinter printer;
    const Group *printing;
    int part;                           /* whose results are printed */
    const char *count;                  /* columns left, in the last panel; NULL: all */
} Gemm;

bool gemm_in_rows(const Pointer *p);                                    /* floats that lie as the results do: a row beside each row */
bool gemm_looks_ahead(const Gemm *g);                                    /* do its functions take where to ask for what is read next? */
const char *gemm_nth(Gemm *g, const char *name, int i);                  /* "next", "next_2", ..: the one of weight i */
int gemm_group_sums(const Group *group);                                 /* accumulators a vector of columns has in a tile */
void gemm_print_main(Gemm *g);                                           /* the kernel itself: its tasks */
void gemm_functions(Gemm *g, int number);                                /* the functions of group `number`, and their names */
const char *gemm_product(Context *cx, const char *a, const char *b);     /* "a * b" */
const char *gemm_joined(Context *cx, const char *function, const char *const *items, int n);    /* a call on one line */

/* (gemm_sums.c) The call that computes the sums of a tile of `rows` rows. */
typedef struct SumsCall {
    Tile tile;
    int n_weights;
    const Pointer *x, *w;               /* w[n_weights], all of one depth */
    const int64_t *from;                /* NULL, or the weights stand side by side for one sum: columns from[i] .. from[i + 1] of it are w[i]'s, its panel */
    const char **to, *to_step;          /* where the sums go: pointers to floats, for each weight, and how far apart the rows lie there */
    bool adds;                          /* to what is there; else .. */
    const char **start;                 /* .. to these floats, one for each column; "0": to zeros */
    bool ahead;                         /* asks for what is read next, by the caller's `next`, `next_2` .., `asks` and `apart` */
} SumsCall;
const char *gemm_sums(Gemm *g, const SumsCall *call);
int gemm_fetch_steps(int64_t depth);    /* steps of a sum between two times that lines are asked for: a number that leaves no rest if there is one */
int gemm_fetch_places(int n_weights);   /* in how many places of a panel at once */

/* (gemm_rows.c) The terms of an extra that does not move by one stride along the rows, and the text of its place for a row. */
bool gemm_row_terms(Gemm *g, Group *group, const Access *a, Pointer *p);
const char *gemm_row_place(Gemm *g, const Pointer *p, const char *row);

#endif
