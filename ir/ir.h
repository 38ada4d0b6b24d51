/* The IR: read this header first.
 *
 * A Graph is a list of nodes in executable order; a node is one value. `repeat` and the fused kernels hold a body, itself a Graph.
 * A node may read values of its own graph, and inside a `repeat` body also values of the graphs around it (which stand before the repeat).
 * A kernel's body is closed: it reads only its own parameters.
 *
 * Axes have names. Elementwise operators align their inputs by axis NAME: the result has the first input's axes in order, then the axes
 * only the second has, and so on (`where`: those of the two values, then of the condition). Nothing is ever stretched because its size
 * happens to be 1. Inside one type all axis names differ.
 *
 * Two levels: GRAPH (mathematics) and KERNEL (fused kernels with places in memory). ops.def says at which level an op may stand. */
#ifndef ATTAR_IR_IR_H
#define ATTAR_IR_IR_H

#include <stdbool.h>
#include <stdint.h>
#include "support/context.h"
#include "support/dtype.h"

/* ---- sizes (extent.c) -------------------------------------------------------------------------------------------------------- */

typedef struct Symbol {                 /* a size known only at run time: B, S, past */
    const char *name;                   /* interned */
    int64_t low, high;                  /* inclusive bounds; high is SYMBOL_UNBOUNDED if nothing bounds it */
    Span at;                            /* where it was bound */
} Symbol;
#define SYMBOL_UNBOUNDED INT32_MAX

typedef struct Extent {                 /* base + sum of factor[i] * symbol[i]; symbols in the order of their names, no factor 0 */
    int64_t base;
    int n;
    const Symbol *symbol[3];
    int64_t factor[3];
} Extent;

Extent extent_const(int64_t value);
Extent extent_symbol(const Symbol *s);
bool extent_is_const(Extent e);
bool extent_equal(Extent a, Extent b);
bool extent_add(Extent a, Extent b, Extent *out);           /* false: overflow or more than 3 symbols */
bool extent_sub(Extent a, Extent b, Extent *out);
bool extent_scale(Extent a, int64_t factor, Extent *out);
bool extent_mul(Extent a, Extent b, Extent *out);           /* false: neither side is constant, or overflow */
bool extent_div(Extent a, int64_t divisor, Extent *out);    /* false: does not divide base and every factor */
int64_t extent_content(Extent e, Extent *rest);             /* the number that divides all of it, > 0; e = content * rest */
int64_t extent_low(Extent e), extent_high(Extent e);        /* bounds, saturating */
void extent_print(Extent e, Text *out);                     /* "384", "S", "past+S", "2*S+1" */

/* ---- types (type.c) ---------------------------------------------------------------------------------------------------------- */

typedef struct Axis { const char *name; Extent size; } Axis;            /* name is interned: compare pointers */
typedef struct Type { DType dtype; int rank; Axis axis[MAX_RANK]; } Type;

const Type *type_new(Context *cx, DType dtype, int rank, const Axis *axes);     /* a copy in the arena */
const Type *type_with_dtype(Context *cx, const Type *t, DType dtype);
int type_find(const Type *t, const char *axis);             /* position of the axis, or -1 */
bool type_equal(const Type *a, const Type *b);              /* dtype, names, order, sizes */
bool type_same_axes(const Type *a, const Type *b);          /* the same set of (name, size), any order */
int type_shared(const Type *a, const Type *b, const char *out[MAX_RANK]);   /* names of the axes of b that a has too, in the order of b; how many */
void type_print(const Type *t, Text *out);                  /* f32[B, S, H=12, K=32]: sizes of constant axes always written */

/* ---- attributes (attrs.def, attr.c) -------------------------------------------------------------------------------------------- */

typedef enum AttrKind { ATTR_KIND_INT, ATTR_KIND_FLOAT, ATTR_KIND_BOOL, ATTR_KIND_NAME, ATTR_KIND_NAMES, ATTR_KIND_INTS, ATTR_KIND_FLOATS, ATTR_KIND_EXTENT } AttrKind;
typedef enum AttrId {
#define ATTR(name, kind, sentence) ATTR_##name,
#include "ir/attrs.def"
#undef ATTR
    ATTR_COUNT
} AttrId;

typedef struct AttrInfo { const char *name; AttrKind kind; const char *sentence; } AttrInfo;
extern const AttrInfo attr_info[ATTR_COUNT];

typedef struct Attr {                   /* kept sorted by id, each id at most once */
    AttrId id;
    union {
        int64_t integer;
        double real;
        bool flag;
        const char *name;               /* NAME: any text, printed quoted unless it is an identifier */
        struct { const char *const *items; int count; } names;
        struct { const int64_t *items; int count; } ints;
        struct { const double *items; int count; } floats;
        Extent extent;
    };
} Attr;

/* ---- operators (ops.def, op.c) ------------------------------------------------------------------------------------------------- */

typedef enum Op {
#define OP(name, arity, class, flags, levels, template, sentence) OP_##name,
#include "ir/ops.def"
#undef OP
    OP_COUNT
} Op;

typedef enum OpClass { CLASS_LEAF, CLASS_MAP, CLASS_REDUCE, CLASS_ROW, CLASS_CONTRACT, CLASS_VIEW, CLASS_MOVE, CLASS_REGION, CLASS_KERNEL } OpClass;
enum { OPF_COMMUTES = 1, OPF_ASSOCIATES = 2, OPF_COMPARE = 4 /* result is bool */, OPF_BARE = 8 /* a kernel without a body */ };
enum { LEVEL_GRAPH = 1, LEVEL_KERNEL = 2, LEVEL_BODY = 4 /* inside a kernel's body */ };
enum { ARITY_ANY = -1 };

typedef struct OpInfo {
    const char *name;
    int arity;
    OpClass class;
    unsigned flags, levels;
    const char *template;               /* scalar C with %0 %1 %2 for the inputs, or NULL */
    const char *sentence;               /* one line of mathematics */
} OpInfo;
extern const OpInfo op_info[OP_COUNT];
bool op_from_name(const char *name, Op *out);
bool op_takes(Op op, AttrId attr);      /* may a node of this op carry the attribute? (op.c) */
bool op_has_body(Op op);                /* a kernel with a body: not repeat, and not append, which may have one */

/* ---- places: where a KERNEL value lives (plan-memory fills them) ------------------------------------------------------------------ */

typedef enum PlaceKind { PLACE_NONE, PLACE_ARENA, PLACE_INPUT, PLACE_OUTPUT, PLACE_WEIGHT, PLACE_CACHE, PLACE_VIEW /* of inputs[0] */, PLACE_INLINE /* computed where used */ } PlaceKind;

typedef struct Place {
    PlaceKind kind;
    int region;                         /* ARENA: index into the model's regions */
    int64_t offset;                     /* ARENA: bytes = offset * value(region.unit) + base of the region */
    int index;                          /* INPUT, OUTPUT: position in the signature; CACHE: index into graph->caches */
} Place;

typedef struct Region {                 /* part of the arena whose sizes all grow with the same product of run-time sizes */
    int n;                              /* bytes = peak * product of unit[0..n) */
    Extent unit[4];                     /* each rounded up to a multiple of `round[i]` first (1: not at all) */
    int64_t round[4];
    int64_t peak;                       /* bytes per unit product; times the product a multiple of 64 */
    int64_t lower_bound;                /* the most bytes alive at once, per unit product */
} Region;

enum { KEY_PANEL = 32 };                /* attend reads keys as panels of 32 positions: [other axes][T / 32][head axis][32] */

enum { ROTATE_UNIT = 16 };              /* a gemm rotates its result only if half of its last axis is a multiple of this: whole vectors on every target */

/* ---- graphs and nodes (graph.c) -------------------------------------------------------------------------------------------------- */

typedef struct Node Node;
typedef struct Graph Graph;

struct Node {
    Op op;
    int id;                             /* unique in the whole model; not printed */
    const char *name;                   /* the model's word for it; unique in the whole model after graph_name_all */
    const Type *type;                   /* NULL exactly if the node has several results (then `get` nodes read them) */
    Span at;                            /* in the model file */
    Span via;                           /* in std.attar, if the node came from there; source NULL otherwise */
    Node **inputs;
    int n_inputs;
    Attr *attrs;
    int n_attrs;
    Graph *body;                        /* repeat and kernels; NULL otherwise */
    Graph *graph;                       /* where the node stands */
    Node *prev, *next;
    int uses;                           /* how many inputs and results name it, bodies included: valid after graph_count_uses */
    Place place;
    const char *scope;                  /* checkpoint path in force ("encoder.layer.{i}.attention"), for dumps; may be NULL */
};

typedef struct Result { const char *name; Node *value; Span at; } Result;

typedef struct Cache {                  /* one field of a declared cache, kv.k; or the state of a kernel that keeps no keys */
    const char *name;                   /* "kv.k" */
    const Type *type;                   /* of one layer, capacity in place of the growing axis: [B, T=P, G, K] */
    int growing;                        /* position of the growing axis; -1: a state, of constant size whatever came before */
    int64_t layers;
    bool panels;                        /* KERNEL: stored for attend's keys (see below); set by `lower` */
    Span at;
} Cache;

struct Graph {
    const char *name;
    int level;                          /* LEVEL_GRAPH or LEVEL_KERNEL; LEVEL_BODY for a kernel's body */
    Graph *parent;                      /* the graph that holds `owner`; NULL for the model */
    Node *owner;                        /* the repeat or kernel node whose body this is */
    Node *first, *last;
    Node **params;                      /* model: `input` nodes; repeat body: `index` then one `carry` each; kernel body: `param` nodes */
    int n_params;
    Result *results;
    int n_results;
    /* the model graph only: */
    const Symbol **symbols;
    int n_symbols;
    Cache *caches;
    int n_caches;
    Region *regions;
    int n_regions;
    const char *file;                   /* the model file's path as given, for headers */
    int next_id;
};

Graph *graph_new(Context *cx, const char *name, int level);
Graph *graph_body(Context *cx, Node *owner, int level);         /* a new empty body for `owner` */
Graph *graph_model(Graph *g);                                   /* the outermost graph */
Node *node_new(Context *cx, Graph *g, Op op, const Type *type, int n_inputs, Node *const *inputs);   /* appended at the end */
Node *node_before(Context *cx, Node *where, Op op, const Type *type, int n_inputs, Node *const *inputs);
void node_remove(Node *n);                                      /* unlinks; nobody may use it any more */
void node_move_before(Node *n, Node *where);                    /* same or another graph */
void node_replace(Node *old, Node *with);                       /* every use in the whole model, results included */
void graph_add_param(Context *cx, Graph *g, Node *n);
void graph_add_result(Context *cx, Graph *g, const char *name, Node *value, Span at);
void graph_count_uses(Graph *model);
void graph_name_all(Context *cx, Graph *model);                 /* gives every node a unique name: hint, hint.1, hint.2 ... */
Graph *graph_copy(Context *cx, const Graph *model);             /* deep copy of a whole model */
bool node_is_outside(const Node *n, const Graph *g);            /* n stands in a graph around g */
bool node_has_state(const Node *n);                             /* reads or writes a cache: never merged, moved or dropped */
int node_results(const Node *n);                                /* how many results a repeat or kernel has; 1 of any other node */

const Attr *node_attr(const Node *n, AttrId id);                /* NULL if absent */
int64_t attr_int(const Node *n, AttrId id, int64_t otherwise);
double attr_float(const Node *n, AttrId id, double otherwise);
bool attr_bool(const Node *n, AttrId id, bool otherwise);
const char *attr_name(const Node *n, AttrId id);                /* NULL if absent */
void attr_set_int(Context *cx, Node *n, AttrId id, int64_t v);
void attr_set_float(Context *cx, Node *n, AttrId id, double v);
void attr_set_bool(Context *cx, Node *n, AttrId id, bool v);
void attr_set_name(Context *cx, Node *n, AttrId id, const char *v);
void attr_set_names(Context *cx, Node *n, AttrId id, const char *const *items, int count);
void attr_set_ints(Context *cx, Node *n, AttrId id, const int64_t *items, int count);
void attr_set_floats(Context *cx, Node *n, AttrId id, const double *items, int count);
void attr_set_extent(Context *cx, Node *n, AttrId id, Extent v);
void attr_unset(Context *cx, Node *n, AttrId id);               /* absent from now on */
bool attr_has_name(const Node *n, AttrId id, const char *name); /* a NAMES attribute holds it */
void attrs_copy(Context *cx, Node *to, const Node *from);

/* The type in which kernels read a weight's elements: bf16 or f16 if the checkpoint's tensors have it and nothing is multiplied into them, else f32. */
DType weight_storage(const Node *weight);

/* A gemm's products of the side: number k is of inputs[gemm_side(n, k)], its rows, and the weight behind them, over the axes that both have.
 * gemm_side(n, 0) is where they begin, gemm_side(n, gemm_sides(n)) the number of inputs. */
int gemm_sides(const Node *n);                                  /* 0 of any other node */
int gemm_side(const Node *n, int k);
int gemm_side_of(const Node *n, int k);                         /* the accumulator it goes to */

/* ---- choose (choose.c) -------------------------------------------------------------------------------------------------------------- */

typedef struct Chooser { const Node *choose; bool few; } Chooser;   /* few: the first input */

/* By node id: the innermost choose of g that alone needs the node, for which side; {NULL} if it is always needed. Needs FACT_USES. */
Chooser *choosers_of(Arena *arena, const Graph *g);
bool choose_takes_few(const Node *choose, const int64_t *sizes);    /* the first input, for these run-time sizes */

/* ---- shape rules (infer.c) ---------------------------------------------------------------------------------------------------------- */

/* The type that the op gives for these inputs and attributes, or NULL and a reason (a sentence without a full stop that names axes).
 * `declared` is needed by leaves, views, cast and concat, and says the order of dot's axes; elsewhere the rule alone decides (and NULL will do).
 * A node with several results has no type of its own: NULL and no reason. */
const Type *infer_type(Context *cx, const Node *n, const Type *declared, const char **reason);

/* The type that parameter i of a kernel's body has if the text says none: that of its input, or of its product. */
const Type *infer_param(Context *cx, const Node *kernel, int i);

/* The type of result `index` of a sound kernel; attend's second is that of its rows. */
const Type *infer_result(Context *cx, const Node *kernel, int index);

/* ---- linear_attend and codebook_attend (infer_linear.c) -------------------------------------------------------------------------------- */

enum { FIRST_ROLE = 3 };                                        /* inputs from here on are those that `roles` names */
int role_input(const Node *n, const char *role);                /* the input's number, or -1 */
Node *role_of(const Node *n, const char *role);                 /* the input, or NULL */
bool node_features(const Node *n, const char *name);            /* the attribute `features` is this */
int64_t attend_features(const Node *n);                         /* numbers a key becomes; codebook_attend: codes */
int64_t attend_recent(const Node *n);                           /* codebook_attend: positions of a block whose keys a bias or recent=keys tells apart; 0: none are */
int64_t attend_state(const Node *n);                            /* numbers of a state for one element of the batch axes */
const Cache *graph_cache(const Graph *model, const char *name); /* NULL if there is none */

/* ---- text (print.c, read.c) ---------------------------------------------------------------------------------------------------------- */

typedef enum Locations {                /* LOCATIONS_SHORT: once, and the model file by its last name; _FULL: in every line, the standard library's lines too */
    LOCATIONS_NONE, LOCATIONS_SHORT, LOCATIONS_FULL
} Locations;

void graph_print(const Graph *model, Text *out);                /* names must be unique: call graph_name_all first */
void graph_print_with(const Graph *model, Locations locations, Text *out);
void graph_dot(const Graph *model, Text *out);                  /* for Graphviz (dot.c) */
Graph *graph_read(Context *cx, const Source *source);           /* NULL and diagnostics E1101.. on error; prints back identically */
void expression_print(const Graph *body, int result, Text *out); /* a kernel's body as one infix line: gelu(acc + b1) */
void formula_print(const Node *kernel, Text *out);              /* all its results; for attend what it does to the scores: "mask j <= i"; "features elu1, causal" */

/* ---- verifier (verify.c) -------------------------------------------------------------------------------------------------------------- */

/* Order, ownership, arity, levels, types against infer_type, attributes' kinds, closed kernel bodies, unique axis names.
 * True if sound; otherwise *why says which node and which rule. */
bool graph_verify(Context *cx, const Graph *model, const char **why);

#endif
