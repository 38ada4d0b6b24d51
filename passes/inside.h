/* The inside of passes/: helpers that the passes share. Outside code includes passes.h.
 *
 * A rewrite makes new nodes before the node that it replaces, redirects every use with node_replace and leaves the
 * old nodes to `remove_dead`. Every rule keeps type and shape. Names, spans and scope come from the node whose value
 * is computed. */
#ifndef ATTAR_PASSES_INSIDE_H
#define ATTAR_PASSES_INSIDE_H

#include "passes/passes.h"

/* ---- making nodes (util.c) --------------------------------------------------------------------------------------- */

void inherit(Node *n, const Node *from); /* name, spans and scope, where n has none of its own */
/* A node of type `declared` or of the type the op infers. NULL if the op does not take these inputs (nothing is left
 * behind). */
Node *make_before(PassContext *px, Node *where, Op op, const Type *declared, int n_inputs, Node *const *inputs,
                  const Node *from);
Node *make_over(PassContext *px, Node *where, Op op, const Type *declared, int n_inputs, Node *const *inputs,
                const char *const *over, int n_over, const Node *from);
Node *make_two(PassContext *px, Node *where, Op op, Node *a, Node *b); /* op a, b in the place of `where` */
Node *make_const(PassContext *px, Node *where, double value, DType dtype);
Node *make_get(PassContext *px, Node *where, Node *of, int index, const Node *from);
/* The same value in the order of `order` (same axes); n itself if it is in that order. */
Node *make_transposed(PassContext *px, Node *where, Node *n, const Type *order);
void add_input(PassContext *px, Node *n, Node *input);
const char *word_of(const Node *n); /* what to call it in a sentence */

/* "q.0", "k.0", "v" -> "q_k_v"; "q_and_2" if that would be long: "q" is the name of the first value. */
const char *joined_name(PassContext *px, Node *const *nodes, int n);

/* ---- asking (util.c) --------------------------------------------------------------------------------------------- */

bool is_const(const Node *n, double *value); /* a `const` node */
bool is_masked(const Node *n);               /* -inf: what stands where a mask does not hold */
bool is_inline_leaf(const Node *n);          /* const, iota, extent: cloned into kernels */
bool is_kept(const Node *n);                 /* @keep */
bool is_map(const Node *n);                  /* elementwise, rotate excluded */
int64_t layers_of(const Node *n);            /* how often it runs in one call: the product of the repeats around it */
Node *only_reader(const Node *n); /* the one node that reads it once; NULL if there are more, or a result reads it */
bool read_as_result(const Node *n);
bool stands_before(const Node *a, const Node *b); /* in the same graph; false if a == b */
/* The first node of g that reads n, itself or in its body; NULL: none. */
Node *first_reader_in(const Node *n, const Graph *g);
bool is_read_in(const Node *n, const Graph *g); /* by a node of g or of a repeat in it, or as what a round leaves */
bool axes_within(const Type *part, const Type *whole); /* every axis of `part` is one of `whole` */
Node *below_transposes(Node *n);
bool reads_as_keys(const Node *reader, int i); /* input i is an attend's keys, of either product */
bool depends_on_layer(const Node *n); /* index, carry, state, weights with {i}, kernels with state, or inputs that do */

/* Nodes already seen: a graph walked without one takes time that doubles with every value read twice. */
typedef struct NodeSet {
    Arena *arena;
    uint64_t *bits; /* by id */
    size_t words;
} NodeSet;
NodeSet nodeset_new(PassContext *px);
bool nodeset_add(NodeSet *s, const Node *n); /* false if it was there */
bool nodeset_has(const NodeSet *s, const Node *n);

/* Removes nodes that nobody reads, and their inputs in turn; state, inputs and @keep stay. True if something went. */
bool remove_dead(Graph *model);

/* ---- estimates (cost.c) ------------------------------------------------------------------------------------------ */

double bytes_at(const Graph *model, const Type *t, const int64_t *sizes);
double linear_flops(const Node *n, const int64_t *sizes);       /* of linear_attend and codebook_attend (cost_linear.c) */
double state_bytes(const Node *n, const int64_t *sizes);        /* of one layer of the state that the node reads and writes; 0: none */
typedef double TypeBytes(PassContext *px, const Graph *model, const Type *t);
TypeBytes type_bytes;  /* at the sizes asked for: for remarks */
TypeBytes usual_bytes; /* at the usual sizes, whatever is asked for: for decisions, which must not depend on a report's */
double product_flops(PassContext *px, const Node *a, const Node *b);   /* of a product of the two */

/* ---- bodies (body.c) --------------------------------------------------------------------------------------------- */

/* Builds the body of a kernel from values of the graph around it. What `inside` admits is copied into the body;
 * leaves are copied too; everything else becomes an input of the kernel and a parameter. */
typedef struct Builder {
    PassContext *px;
    Node *kernel;
    Node **from, **to; /* value of the outer graph -> value of the body */
    size_t n, capacity;
    bool (*inside)(void *state, const Node *n);
    void *state;
} Builder;
Builder builder_new(PassContext *px, Node *kernel, bool (*inside)(void *, const Node *), void *state);
void builder_map(Builder *b, Node *outer, Node *inner); /* outer now means inner */
/* A parameter without an input: an accumulator, the score. */
Node *builder_param(Builder *b, const Type *type, const Node *from);
Node *builder_input(Builder *b, Node *outer); /* outer as an input and its parameter */
Node *builder_value(Builder *b, Node *outer); /* outer, inside the body */
/* An empty kernel of this kind before `where`. */
Node *kernel_before(PassContext *px, Node *where, Op op, const Node *from);
/* Sets the type of a finished kernel (NULL if it has several results). */
void kernel_finish(PassContext *px, Node *kernel);

/* ---- products with weights (gemm.c) ------------------------------------------------------------------------------ */

typedef struct Product { /* dot(x, w) as a gemm sees it */
    Node *dot, *x, *w;
    int n_over;
    const char *over[MAX_RANK]; /* in the order of the weight */
} Product;
enum { MAX_TOGETHER = 16 };                 /* weights of one gemm */
bool product_fits(Node *dot, Product *out); /* one side is a weight, no axis is shared but the summed ones */
/* The products that read the value as their x, in its own graph; returns the first reader that is none (`value` itself
 * if only a result of a graph is), or NULL: all readers are among them. */
const Node *product_readers(Node *value, Product out[MAX_TOGETHER], int *n);
/* A reader of the weight, or of one with the same elements, that is not among the products: to change the elements for
 * these would make a second packed copy. NULL: none. (weights.c) */
const Node *reader_besides(const Node *weight, const Product *products, int n);
bool product_same_input(const Product *a, const Product *b);
/* One gemm before `where` for n products of the same input; every dot is replaced by its result. */
Node *gemm_build(PassContext *px, Node *where, const Product *products, int n);

/* ---- groups of nodes that become one map, rowwise or reduce (region.c) ------------------------------------------- */

enum { MAX_REGION = 64, MAX_REGION_RESULTS = 4 };
typedef struct Group {
    PassContext *px;
    Op kind; /* OP_map, OP_rowwise, OP_reduce */
    Node *root;
    Node *members[MAX_REGION];
    int n_members;
    Node *results[MAX_REGION_RESULTS]; /* root first */
    int n_results;
    Type domain; /* axes of the loops; rowwise: the row's axis last; reduce: the summed axes too */
    const char *over[MAX_RANK];
    int n_over;
} Group;
bool group_start(PassContext *px, Node *root, Group *out); /* false: root is not for these kernels */
void group_grow(Group *g);   /* takes in producers as long as the kernel stays one of its kind */
Node *group_build(Group *g); /* the kernel; all results are replaced */
/* The append with the group done on the way; NULL if nothing in it has all axes. */
Node *group_build_append(Group *g, Node *append);
bool group_absorbs(const Node *n); /* elementwise, reduction, lookup, softmax: what these kernels are made of */

/* ---- where elements lie (layout.c) ------------------------------------------------------------------------------- */

typedef struct Step { /* elements: factor times the sizes; 0: nothing moves */
    int64_t factor;
    int n;
    Extent size[MAX_RANK];
} Step;
typedef struct Layout {
    int rank;
    Step step[MAX_RANK];
} Layout;
bool step_equal(Step a, Step b);
bool layout_of(const Node *n, Layout *out); /* false: a view needs two steps for one axis */
/* The axes first .. first + n lie as one axis would; and their elements are neighbours. */
bool layout_collapses(const Layout *l, const Type *t, int first, int n);
bool layout_is_unit(const Layout *l, const Type *t, int first, int n);
Cache *cache_written(const Node *append);
Node *storage_of(const Node *n);   /* below all views */
bool is_whole_view(const Node *n); /* n is all of its storage in the same order, only cut into other axes */

/* ---- parts of lower ---------------------------------------------------------------------------------------------- */

Node *copy_before(PassContext *px, Node *where, Node *value); /* a packed copy: map with the identity */
/* lower_layout.c: copies where a kernel needs another layout; keys as panels. */
void lower_layouts(PassContext *px, Graph *model);

/* ---- parts of fold ----------------------------------------------------------------------------------------------- */

Node *fold_angle(PassContext *px, Node *n); /* angles.c: angles of whole positions modulo a turn; NULL: n is none */

/* ---- parts of factor-lowrank (lowrank_units.c) -------------------------------------------------------------------- */

struct LowrankUnits;
struct LowrankSite;
struct LowrankUnits units_of(Context *cx, const Product *p); /* whether other operators read the weights is not asked */
void units_prune(PassContext *px, const Product *p, const struct LowrankSite *s);

/* ---- parts of canonicalize --------------------------------------------------------------------------------------- */

Node *simplify_formula(PassContext *px, Node *n); /* formula.c: gelu, silu, sigmoid, rsqrt */
Node *simplify_softmax(PassContext *px, Node *n); /* softmax_form.c */
Node *simplify_algebra(PassContext *px, Node *n); /* algebra.c: one spelling of arithmetic, comparisons, masks */
Node *simplify_view(PassContext *px, Node *n);    /* views.c: views of views, of weights, of products */
Node *simplify_lookup(PassContext *px, Node *n);  /* lookup.c: rows by their own position */
Node *simplify_mask(PassContext *px, Node *n);    /* masks.c: numbers that stand for a mask become the mask */

/* ---- the passes -------------------------------------------------------------------------------------------------- */

#define PASS(id, name, kind, needs, breaks, sentence) bool pass_##id(PassContext *px, Graph *model);
#include "passes/passes.def"
#undef PASS

#endif
