/* The inside of codegen/: what the emitters of the kernel kinds share. Outside code includes codegen.h.
 *
 * Emission of one kernel: `kernel_begin` opens it; the emitter asks for its operands (`kernel_read`, `kernel_result`, `kernel_panels`,
 * `kernel_size`: each becomes a parameter of the C function and an argument of its call), writes statements with `put_line` and its kin,
 * and `kernel_end` puts comment, head and body into the file. The entry (entry.c) then writes the call from the same parameters. */
#ifndef ATTAR_CODEGEN_EMIT_H
#define ATTAR_CODEGEN_EMIT_H

#include "codegen/codegen.h"
#include "ir/rows.h"

/* ---- names (name.c) ------------------------------------------------------------------------------------------------------------ */

/* One C scope. Keywords, libm's names and the names of the prelude and of math.c are taken from the start. */
typedef struct Scope { Context *cx; Map taken; } Scope;
Scope scope_new(Context *cx);
/* A C identifier from a name of the model (dots and other signs become _), with _2, _3 .. if it is taken already; takes it. */
const char *scope_name(Scope *s, const char *hint);
bool scope_gave(const Scope *s, const char *name);      /* the name is one of scope_name's */

/* ---- vector functions (math.c) -------------------------------------------------------------------------------------------------- */

/* Functions on `lanes` (float) unless said otherwise. Only those that were asked for, and those they need, are emitted.
 * Helpers may be rows too: they come out in the order of the enum, so a function stands after the ones it calls. */
typedef enum MathFunction {
    MATH_MAX, MATH_MIN,                 /* larger, smaller of two */
    MATH_ABS, MATH_SQRT, MATH_RSQRT,
    MATH_INT_DIV, MATH_INT_MOD,         /* on `ints`: floor division and its remainder */
    MATH_INT_MAX, MATH_INT_MIN,         /* on `ints` */
    MATH_SUM_ACROSS, MATH_MAX_ACROSS,   /* lanes -> float: over the lanes, as a fixed tree */
    MATH_TOP_ACROSS,                    /* as MAX_ACROSS but quicker: a NaN may get lost */
    MATH_SUMS_ACROSS,                   /* four lanes -> four floats: the sum of each */
    MATH_LARGER,                        /* of two ptrdiff_t */
    MATH_SCALE, MATH_SIGNED, MATH_SINE_AT,      /* math.c's own helpers */
    MATH_EXP2,                          /* for softmax: x <= 127, 0 below -126.5 */
    MATH_WEIGHT,                        /* the same, 0 below -102 */
    MATH_EXP, MATH_LOG, MATH_POW,
    MATH_TANH, MATH_ERF, MATH_SIN, MATH_COS,
    MATH_SIGMOID, MATH_SILU, MATH_GELU, MATH_GELU_TANH, MATH_ROUND_BF16,
    MATH_COUNT
} MathFunction;


typedef struct IndexBound { int input; Extent bound; } IndexBound;      /* 0 <= each element < bound */

/* ---- the emitter ------------------------------------------------------------------------------------------------------------------ */

typedef struct Emitter {
    Context *cx;
    const Graph *model;
    const EmitOptions *options;
    const Target *target;
    const char *prefix;                 /* minilm: before each function's name */
    Scope file;                         /* names of functions */
    Text kernels;                       /* text of the kernel functions */
    RowAxes rows;                       /* the model's, by which threads may share it out */
    bool math[MATH_COUNT];              /* which math functions are needed */
    bool matrix;                        /* matrix_tile.c's functions are needed */
    enum { ROTATES_UNKNOWN, ROTATES, ROTATES_NOT } rotates; /* tile.c: does a product of the model rotate its result? */
    struct KernelText *parts;           /* units.c: where in `kernels` each one stands */
    size_t n_parts, parts_capacity;
    uint64_t scratch;                   /* bytes of scratch that one thread needs, the most of any kernel */
    ScratchGrowth *grows;               /* and these on top, each the most of any kernel */
    size_t n_grows, grows_capacity;
    TileChoice *tiles;                  /* of the gemms so far */
    size_t n_tiles, tiles_capacity;
    struct GemmSums *sums;              /* gemm_sums.c: functions that gemms share */
    size_t n_sums, sums_capacity;
    bool failed;                        /* a diagnostic was reported */
    bool shipped;                       /* ship.c: the entry is a static function of a file that a user gets */
    bool alone;                         /* one thread runs it: the entry is calls and loops */
    struct IndexBound *bounds;          /* of elements of inputs that are indices */
    size_t n_bounds, bounds_capacity;
    Plan plan;
    struct PackState *pack;             /* plan.c: which weights have which items */
    struct EntryState *entry;           /* entry.c */
} Emitter;

/* Reports E0820: this op cannot be emitted, and why (a sentence without a full stop). */
void emit_fail(Emitter *e, const Node *n, const char *why, ...) __attribute__((format(printf, 3, 4)));

const char *math_use(Emitter *e, MathFunction f);       /* marks it and what it needs; returns its C name (exp_lanes, gelu ..) */
bool math_of_op(Op op, MathFunction *out);              /* the function of an elementwise op on f32, if it has one */
const char *math_name(MathFunction f);                  /* reserved in every scope */
/* Text of the functions marked, for e->target->lanes: all of them, or those that `rest`, the text after them, needs. */
void emit_math(Emitter *e, const char *rest, Text *out);

/* ---- layout: where a value's elements lie (layout.c) ----------------------------------------------------------------------------------- */

typedef struct StrideFactor { Extent size; int64_t round; } StrideFactor;       /* size rounded up to a multiple of `round` */
typedef struct Stride {                 /* elements: factor * product of the symbolic sizes; factor 0: nothing moves along this axis */
    int64_t factor;
    int n;
    StrideFactor size[MAX_RANK];
} Stride;
bool stride_equal(Stride a, Stride b);
bool stride_is_const(Stride s, int64_t *value);
Stride stride_const(int64_t factor);
bool stride_times(Stride s, Extent size, Stride *out);          /* false: overflow */

typedef struct AccessAxis { const char *name; Extent size; Stride stride; } AccessAxis;
typedef struct AccessStart { Extent at; Stride stride; } AccessStart;
typedef struct Access {                 /* the axes are those of value->type, in its order */
    const Node *value;                  /* what the kernel asked for */
    const Node *home;                   /* whose storage it is, below all views */
    const char *name;                   /* the C pointer: it points to the element at position 0 of every axis */
    DType dtype;
    int rank;
    AccessAxis axis[MAX_RANK];
    int n_start;
    AccessStart start[MAX_RANK];        /* added to the home's pointer at the call */
    /* Keys as panels of KEY_PANEL: element (t, k) at t / 32 * stride[keys] + k * 32 + t % 32; the keys axis' stride is per panel. */
    bool panels;
    const char *shift;                  /* added to the position on the keys axis: where an append writes; NULL: nothing */
    int keys, head;                     /* positions of the keys axis and of the head axis (stride 32) */
} Access;
/* Follows views, slices, transposes and expands down to the storage. False and a diagnostic if that cannot be done by strides. */
bool access_of(Emitter *e, const Node *value, Access *out);
const AccessAxis *access_axis(const Access *a, const char *axis);       /* NULL: the value has no such axis, it repeats along it */
/* The axes first .. first + n (positions in the type) step by one stride, as if they were one axis. */
bool access_collapses(const Access *a, int first, int n);
/* The one stride by which the named axes step together, in this order; 0 if the value has none of them. False if there is none. */
bool access_step(const Access *a, const Axis *axes, int n, Stride *out);
/* The value that a kernel with several results stores as number `index`: the `get` node, or NULL if nobody reads it. */
const Node *kernel_get(const Node *n, int index);

/* ---- kernels (kernel.c) --------------------------------------------------------------------------------------------------------------- */

typedef struct Param {
    const char *type, *name;            /* "const float *", "x" */
    const char *argument;               /* in the entry */
    int access;                         /* index into accesses, -1: none */
    bool writes;
    bool constant;                      /* weights: nothing in the file writes there */
    const Symbol *symbol;               /* a size */
} Param;
/* What a kernel with panels of weights reads first: a pointer in the entry, how many panels it has, elements of each, and whether later ones lie elsewhere. */
typedef struct FirstPanel { const char *argument; int64_t panels, elements; bool several; } FirstPanel;

typedef struct Kernel {
    Emitter *e;
    const Node *node;
    const char *function;               /* C name */
    Scope names;
    Param *params;
    size_t n_params, params_capacity;
    Access *accesses;                   /* asked for so far */
    size_t n_accesses, accesses_capacity;
    Node *state;                        /* stands for the cache of constant size that the node reads and writes; NULL: not asked for */
    Map locals;                         /* names of values in the body, one for each node */
    Text comment;                       /* lines after the source line: equation, shapes; each ends with a newline, no stars */
    Text before;                        /* functions of this kernel that stand before the main one (tiles) */
    Text body;
    int indent;                         /* levels of 4 spaces */
    bool thread, threads;               /* set by kernel_end: which of the two the function takes */
    bool shared;                        /* takes `thread` and `threads`, as far as the text mentions them */
    bool rows;                          /* takes `from_row` and `to_row`: computes a part of what these rows of the model need */
    FirstPanel first;                   /* argument NULL: it has none */
} Kernel;

Kernel kernel_begin(Emitter *e, const Node *n);
void kernel_end(Kernel *k);
/* Pointers: a parameter the first time, the same one after that. The result is a copy with `name` set. */
bool kernel_read(Kernel *k, const Node *value, Access *out);            /* `const T *restrict name` (no restrict if it shares storage with a result) */
bool kernel_result(Kernel *k, const Node *value, Access *out);          /* `T *restrict name`: the kernel node itself or a get of it */
bool same_storage(const Node *a, const Node *b);                        /* values written by kernels: the plan has put them in one place */
bool kernel_state(Kernel *k, Access *out);                              /* read and written: the state of the node's layer, axes as in the cache's type */
/* A table of which rows are looked up, in the type in which it is stored: `out` has that type. */
bool kernel_table(Kernel *k, const Node *weight, Access *out);
/* A weight of `gemm`, in the type in which it is stored, multiplied with the rows x, as [columns / panel][k][panel], its columns in the order that `rotation` needs (NULL: in their own). Returns the parameter's name. */
const char *kernel_panels(Kernel *k, const Node *weight, const Node *gemm, const Node *x, int64_t panel, const Node *rotation);
const char *kernel_scratch(Kernel *k, uint64_t bytes);                  /* `float *scratch` of this thread, 64-byte aligned */
void kernel_scratch_grows(Kernel *k, Extent size, int64_t each, uint64_t bytes);       /* so much more of it, right behind those bytes */
const char *kernel_fault(Kernel *k);                                    /* `int64_t *fault` */
const char *kernel_local(Kernel *k, const Node *n);                     /* name of a local variable for a value of the body */
void kernel_threads(Kernel *k);                                         /* makes `thread` and `threads` parameters */
bool kernel_rows(Kernel *k, const Axis *axes, int n);                   /* and `from_row` and `to_row`, if these axes are the model's rows */
const char *kernel_param(Kernel *k, const char *type, const char *hint, const char *argument);
#define READ_NEXT "?"                   /* as an argument: where the next product of the model begins to read, known when that is emitted */

/* "head(item, item, ..)", wrapped at 120 columns. */
const char *wrapped(Context *cx, const char *head, const char *const *items, size_t n);
const char *param_text(const Kernel *k, const char *name);              /* "const float *restrict x": how a function declares it */
const char *param_text_as(const Kernel *k, const char *name, const char *as);   /* the same under another name */
const char *kernel_head(const Kernel *k, const char *function);         /* `function` with all parameters */
void kernel_comment(const Kernel *k, Text *out);                        /* source line, then k->comment, as a C comment */

/* Sizes as C text; symbols become parameters (ptrdiff_t B). */
const char *kernel_size(Kernel *k, Extent e);                           /* "384", "S", "past + S": as the loosest + */
const char *kernel_factor(Kernel *k, Extent e);                         /* the same, in parentheses if it is a sum: fit for a product */
const char *kernel_stride(Kernel *k, Stride s);                         /* "S * 384", fit for a product; "0" for factor 0 */
/* "base + b * (S * 384) + s * 384 + 16": the address, with variables vars[i] for the axes names[i]; axes with stride 0 are left out,
 * variables that are NULL or "0" too. */
const char *kernel_address(Kernel *k, const Access *a, int n, const char *const *names, const char *const *vars);

void address_term(Kernel *k, Text *t, const char *var, Stride s);        /* adds " + var * stride" */
void address_panel_term(Kernel *k, Text *t, const char *var, Stride s);  /* the same for a keys axis: " + var / 32 * stride + var % 32" */

/* Statements, indented. */
void put_line(Kernel *k, const char *format, ...) __attribute__((format(printf, 2, 3)));     /* one line of the body */
void put_open(Kernel *k, const char *format, ...) __attribute__((format(printf, 2, 3)));     /* adds " {", indents what follows */
void put_close(Kernel *k);
void put_wrapped(Text *out, int level, const char *statement);         /* indented, broken at 120 columns, with a newline */
void put_comment_line(Text *out, const char *line, size_t length, const char *margin);  /* the same for a comment, without one */
/* "for (ptrdiff_t v = from; v < to; v += step)" in the usual spellings of step 1. */
const char *loop_head(Kernel *k, const char *var, const char *from, const char *to, int64_t step);

/* ---- expressions (expr.c) ---------------------------------------------------------------------------------------------------------------- */

typedef enum Binds {                    /* how tightly the outermost operator of a C expression binds */
    BINDS_NOTHING, BINDS_CONDITION, BINDS_OR, BINDS_AND, BINDS_EQUAL, BINDS_LESS, BINDS_SUM, BINDS_PRODUCT, BINDS_UNARY, BINDS_ALL
} Binds;

/* A C expression. f32 is `float` or `lanes`; i32 `int` or `ints`; bool 0/1 in an int, or `ints` of 0 and -1. */
typedef struct Operand { const char *text; Binds binds; bool vector; DType dtype; } Operand;

typedef struct BodyPrinter {
    Kernel *k;
    Text *out;                          /* where statements for values used twice go, and loops */
    int indent;
    /* A leaf of the body: param (attribute index), iota, extent and const have defaults when this returns text NULL. gather and
     * rotate, which read memory, come here too. */
    Operand (*leaf)(void *state, const Node *leaf);
    void *state;
    bool positions;                     /* scalar whole numbers are arithmetic on positions: ptrdiff_t, not int */
    const Node **done; Operand *values; /* memo, filled as nodes are printed */
    size_t n_done, capacity;
} BodyPrinter;

/* The expression of a body's value. Values with several readers become `lanes t = ..;` lines first. */
Operand body_value(BodyPrinter *b, const Node *n);
void body_define(BodyPrinter *b, const Node *n, Operand value);         /* so that body_value finds it; scoped by setting n_done back */
Operand operand_of(const char *text, Binds binds, bool vector, DType dtype);
const char *operand_text(Context *cx, Operand o, Binds at_least);       /* in parentheses if it binds more loosely */
Operand operand_vector(Kernel *k, Operand o);                           /* splat(x), splat_int(i), splat_mask(c) if it is one number */
const char *float_literal(Context *cx, double value);                   /* 0.5f, 1e-12f, -INFINITY spelled -__builtin_inff() */

/* (memory.c) Memory access of elements of any dtype as Operands. `address` is a C expression; `count` NULL for a whole vector, else how many
 * elements from the address on exist (a C expression): the rest read as 0. */
Operand load_vector(Kernel *k, DType dtype, const char *address, const char *count);
Operand load_scalar(Kernel *k, DType dtype, const char *address);
Operand load_apart(Kernel *k, DType dtype, const char *address, const char *step, const char *count);  /* elements `step` apart */
const char *store_vector(Kernel *k, DType dtype, const char *address, Operand value, const char *count);    /* a statement */
const char *store_scalar(Kernel *k, DType dtype, const char *address, Operand value);

/* ---- gemm's tiles (tile.c) --------------------------------------------------------------------------------------------------------------------- */

TileChoice gemm_tile(Emitter *e, const Node *gemm, int weight);         /* of the group of weight number `weight` */
int64_t gemm_panel(Emitter *e, const Node *gemm, int weight);           /* columns in a panel of its weight: lanes * vectors, or all if it stands beside others */
/* Accumulators that meet in one result stand in one group: group[i] is the first of accumulator i's group. */
void gemm_groups(Context *cx, const Node *gemm, int *group);
/* The same, but accumulators of few columns stand beside others before them: set[i] is the first whose panel accumulator i shares. */
void gemm_sets(Emitter *e, const Node *gemm, int *set);
int64_t gemm_columns(const Node *gemm, int weight);
/* The `rotate` that accumulator `weight` becomes, or NULL. Its weight's columns are packed in pairs of vectors: first partners, second partners. */
const Node *gemm_rotation(Context *cx, const Node *gemm, int weight);

/* ---- products of matrices in scratch (matrix_tile.c: what they do stands there) ------------------------------------------------------------------ */

const char *matrix_use(Emitter *e);                                     /* the file gets matrix_product (whose name it returns) and matrix_transpose */
int matrix_panel(const Target *t);                                      /* MATRIX_PANEL: columns of b that lie together */
int matrix_rows(const Target *t);                                       /* rows of a tile */
void emit_matrix(Emitter *e, const char *rest, Text *out);             /* nothing if `rest`, the text after it, calls nothing of it */

/* ---- one emitter for each kind of kernel ---------------------------------------------------------------------------------------------------- */

void emit_gemm(Kernel *k);              /* gemm.c */
void emit_attend(Kernel *k);            /* attend.c */
void emit_codebook_attend(Kernel *k);   /* codebook_attend.c */
void emit_linear_attend(Kernel *k);     /* linear.c */
void emit_map(Kernel *k);               /* map.c */
void emit_append(Kernel *k);
void emit_rowwise(Kernel *k);           /* rows.c */
void emit_reduce(Kernel *k);
void emit_concat(Kernel *k);            /* loops.c */
void emit_dot(Kernel *k);
void emit_scan(Kernel *k);              /* order.c */
void emit_topk(Kernel *k);
void emit_copy(Kernel *k, const Node *from, const Node *to);            /* the same axes in the same order, other storage */

/* ---- file and plan --------------------------------------------------------------------------------------------------------------------------- */

void emit_bound(Emitter *e, int input, Extent bound);                    /* each element of the input is an index below it */
/* (emit.c) All kernels, the calls of the entry, and the plan, of e->options->target; false and a diagnostic if some op cannot be emitted. */
bool emit_model(Emitter *e, Context *cx, const Graph *model, const EmitOptions *options);
void emit_call(Emitter *e, Text *out);                                  /* struct NAME_call */
void emit_section(Emitter *e, Text *out);                               /* prelude, mathematics and kernels */
void emit_body(Emitter *e, Text *out);                                  /* what stands between the braces of the entry function */
void emit_steps(Emitter *e, Text *out);                                 /* lines of the header comment: a line for each kernel */
void emit_approximations(Emitter *e, Text *out);                        /* and those about what is approximated */
const char *scratch_text(Emitter *e);                                   /* bytes of one thread's scratch, fit for a product */
const char *c_type_of(DType t);                                         /* of an element of an input, an output or a cache */

/* prelude.c: lanes, splat, select, load_part ..: those helpers that `rest`, the text of the file after it, mentions. */
void emit_prelude(Emitter *e, const char *rest, Text *out);
const char *one_lane(Arena *arena, const char *text);                   /* a helper's text for a target without vectors (one_lane.c) */
extern const char one_lane_compilers[];                                 /* what compilers without extensions need, and others must not say */
const char *one_lane_helper(Arena *arena, const char *name, const char *text);
const char *lane_of(const Target *t, const char *index);                /* "[0]" and the like behind a vector; "" without vectors */
const char *mask_not(const Target *t);                                  /* before a mask */
const char *zero_lanes(const Target *t, int arrays);                    /* zeros for an array of vectors, or an array of such */
bool mentions(const char *text, const char *word);                      /* the word stands in the text as an identifier */
Map words_of(Context *cx, const char *text);                            /* its identifiers, with some value that is not NULL */
/* The panel width if a gemm reads this [rows, width] table as panels (as its weight `twin`), so that a gather can read those; 0: none. */
int64_t gather_panel(Emitter *e, const Node *weight, const char *looked_up, const Node **gemm, const Node **twin);
/* (team.c) How threads share kernels, wait for each other, and tell taps and times: as far as `calls`, the entry's text, needs it. */
void emit_team(Emitter *e, const char *calls, Text *out);
const char *work_text(Emitter *e, const Node *kernel);                  /* about how many multiply-adds take as long: "B * S * 442368" */
void plan_describe(Emitter *e);         /* everything of e->plan but the weights and the slots, from the model */
void plan_finish(Emitter *e);           /* the weights packed so far, and the slots */
uint64_t pack_plain(Emitter *e, const Node *weight, DType as, uint64_t *layer_stride);  /* plan.c: offset of the item in bytes */
uint64_t pack_panels(Emitter *e, const Node *weight, const Node *gemm, const Node *x, int64_t panel, const Node *rotation, uint64_t *layer_stride);

#endif
