/* What the parts of the skeleton writer share. Internal to driver/. */
#ifndef ATTAR_DRIVER_SKELETON_INSIDE_H
#define ATTAR_DRIVER_SKELETON_INSIDE_H

#include "driver/skeleton.h"
#include "support/text.h"

/* ---- names as a tree (skeleton_tree.c) -------------------------------------------------------------------------- */

typedef struct Branch Branch;
struct Branch {
    const char *name;         /* one component of a tensor's name */
    int64_t number;           /* its value if it is a number, else -1 */
    const HostTensor *tensor; /* the tensor whose name ends here, or NULL */
    Branch **children;        /* in the order in which a model reads them */
    size_t n_children, room;
};

/* Tensors that are no weights (whole numbers, single numbers, empty) are left out and named in `ignored`, layers folded
 * into {i}. */
Branch *branch_tree(Context *cx, const HostTensor *tensors, int64_t count, Map *ignored);
const Branch *branch_child(const Branch *b, const char *name); /* NULL if there is none */
int branch_rank(const Branch *b);                              /* of the tensor with most dimensions in it and below */
bool branch_is_module(const Branch *b);                 /* `weight` or `bias` and nothing else but tensors of its own */
const char *branch_shape(Context *cx, const Branch *b); /* equal texts: the same tensors below, with the same types */

/* ---- sizes and the names that config.json has for them (skeleton_sizes.c) --------------------------------------- */

typedef struct SizeName {
    const char *name, *key; /* D = hidden_size */
    int64_t size;
    bool used;
} SizeName;

typedef struct Sizes {
    Context *cx;
    json_t *config;
    SizeName *names; /* the best name for a size first */
    size_t count, room;
    const char *eps; /* the key of the norms' epsilon, or NULL */
    Map lets;        /* second names for a size that a tensor has twice: name -> its definition */
} Sizes;

void sizes_begin(Sizes *s, Context *cx, json_t *config);
int64_t sizes_of(const Sizes *s, const char *name); /* of D, V, P; 0 if config.json does not say */
const char *sizes_name(Sizes *s, int64_t size);     /* "D", "3 * D", "180"; marks it as used */
const char *sizes_layers(Sizes *s, int64_t count);  /* "L" or "12" */
const char *sizes_stack(Sizes *s, int64_t count);   /* "Experts": an axis of so many tensors */
/* "[D, F]": no axis twice; `stack`: the axis before them, or NULL. */
const char *sizes_axes(Sizes *s, const HostTensor *t, const char *stack);
bool sizes_taken(const Sizes *s, const char *name); /* bound by `config` or `let` */

/* ---- what is written (skeleton_lines.c) ------------------------------------------------------------------------- */

enum { MAX_VALUES = 64 };

typedef struct Value { /* [B, S, size] */
    const char *name;
    int64_t size;
} Value;

typedef struct Sketch {
    Context *cx;
    Sizes sizes;
    int64_t hidden;       /* the width of x */
    bool swapped, biased; /* most linear maps are stored in,out; have a bias */
    bool layernorms, rmsnorms, placed;
    Text blocks, inputs;
    Map written, taken; /* shape of a layer -> its block; names of blocks */
    Text *out;
    int indent;
    bool inside;              /* in a block: no ids, and no repeat */
    Value values[MAX_VALUES]; /* those of the block at hand, x first */
    int n_values;
    bool has_ids;
    const char *logits;
} Sketch;

void sketch_scope(Sketch *k, const Branch *root); /* the lines of the model's body, and blocks for its layers */
void sketch_need_x(Sketch *k);                    /* x is there, as wide as the model */

#endif
