/* Binding: from the syntax tree to a GRAPH-level model. Private to frontend/.
 *
 * An expression means a Term: a value known at compile time (a size, a number, a text, axes, a function, part of
 * config.json) or a tensor, which is a node of the graph. Calls of blocks are inlined: each call has a Frame and
 * a Scope of its own.
 *
 * An axis has two names. `Dim.name` is what the text at hand calls it; `Dim.axis` is its name in the IR. Inside a
 * block the two differ when the caller's axis has another name; the IR keeps the caller's. Errors are reported
 * once: what they leave behind is poison, and whatever is made from poison is poison, silently. */
#ifndef ATTAR_FRONTEND_BIND_H
#define ATTAR_FRONTEND_BIND_H

#include "frontend/frontend.h"

/* ---- where a value came from ------------------------------------------------------------------------------------ */

typedef enum OriginKind {
    ORIGIN_CONFIG,                      /* a key of config.json */
    ORIGIN_DEFAULT,                     /* the right side of `??`: the key was absent or null */
    ORIGIN_LET,                         /* computed from other names, in `config` or by `let` */
    ORIGIN_INPUT,                       /* an axis of a model input: known at run time */
    ORIGIN_PARAM                        /* an axis variable or a parameter of a block, bound by a call */
} OriginKind;

typedef struct ConfigFile {             /* config.json, or another file beside the weights */
    const char *name, *path;            /* as the model file calls it; as messages do */
    json_t *json;                       /* NULL: not given, or not asked for yet */
    bool asked;
} ConfigFile;

typedef struct Origin {
    OriginKind kind;
    const char *name;                   /* the bound name: G */
    const char *key;                    /* CONFIG, DEFAULT: path in config.json */
    const ConfigFile *file;             /* CONFIG, DEFAULT */
    json_t *value;                      /* CONFIG */
    bool null;                          /* DEFAULT: the key is there, but null */
    Span at;                            /* the binding; PARAM: the argument */
    Span otherwise;                     /* DEFAULT: the right side of `??` */
} Origin;

typedef struct Dim {
    const char *name, *axis;            /* interned; see above */
    Extent size;
    const Origin *origin;               /* may be NULL */
} Dim;

/* ---- terms (term.c) --------------------------------------------------------------------------------------------- */

typedef enum TermKind {
    TERM_POISON, TERM_NONE, TERM_BOOL,
    TERM_SIZE,                          /* an integer, or an affine size; `dim` if it is an axis with a name */
    TERM_FLOAT, TERM_TEXT,
    TERM_JSON,                          /* an object or array of config.json */
    TERM_ABSENT,                        /* a key that config.json has not, or that is null: only `??` takes it */
    TERM_AXES,                          /* (H, K) */
    TERM_LIST,                          /* [a, b], and the results of a call that has several */
    TERM_RANGE,                         /* 0..S: positions; becomes an `iota` node when a tensor is needed */
    TERM_FUNCTION, TERM_TENSOR,
    TERM_CACHE, TERM_LAYER              /* kv, kv[i] */
} TermKind;

typedef struct Function Function;
typedef struct CacheDecl CacheDecl;

typedef struct Term {
    TermKind kind;
    const Origin *origin;               /* of a value known at compile time; may be NULL */
    union {
        bool flag;
        double real;
        struct { Extent size; const Dim *dim; };
        const char *text;
        json_t *json;
        struct { const char *key; bool null; const ConfigFile *file; };
        struct { const Dim **dims; int n_dims; };
        struct { struct Term *items; int n_items; };
        struct { Extent start, length; const Dim *along; } range;       /* along NULL: no axis has been named yet */
        const Function *function;
        Node *node;
        struct { CacheDecl *cache; Node *layer; };
    };
} Term;

typedef struct Bind Bind;
typedef struct WeightUse WeightUse;
typedef struct Scope Scope;
typedef struct Call Call;

Term term_poison(void), term_none(void), term_bool(bool flag), term_int(int64_t value), term_float(double value);
Term term_text(const char *text);
Term term_size(Extent size), term_dim(const Dim *dim), term_tensor(Node *n);
Term term_list(Bind *b, const Term *items, int n);
bool term_is_number(const Term *t, double *out);            /* a number known at compile time */
bool term_is_int(const Term *t, int64_t *out);              /* a whole number known at compile time */
const char *term_print(Bind *b, const Term *t);             /* for messages: "text", 12, f32[B, S], a function */
/* False: they cannot be compared at compile time. */
bool term_equal(Bind *b, const Term *x, const Term *y, bool *equal);
/* "`K` = 128: `head_dim` of config.json (llama.attar:4)"; NULL if there is nothing to say. */
const char *origin_note(Bind *b, const char *name, const char *value, const Origin *o);
void diag_origin(Bind *b, Diag *d, const Term *t);          /* a note on where the term came from, if known */
void diag_dim(Bind *b, Diag *d, const Dim *dim);
/* False if a value of config.json that this term came from was complained about before: then one error is enough. */
bool origin_blame(Bind *b, const Term *t);
const char *origin_code(const Term *t, const char *otherwise);      /* E0503 for a value of config.json */

/* ---- scopes (scope.c) ------------------------------------------------------------------------------------------- */

typedef struct Var {
    Term term;
    Span at;                            /* where it got this value */
    bool fixed;                         /* a config, let or axis name: no statement may assign it */
    const Binding *later;               /* a config or let name that nobody has asked for yet, and where to evaluate it */
    Scope *home;
    int order;                          /* of such names: those before this one in the file have smaller numbers */
    bool used;                          /* by an expression */
} Var;

struct Scope {
    Map vars;                           /* of Var */
    Map ended;                          /* names that lived in a `repeat` which has ended: Span of the repeat */
    Scope *parent;
    Bind *bind;
    int order;                          /* not 0 while the value of a config or let name is found: only names before it are seen */
    bool repeat;                        /* the body of a repeat */
    ConfigFile *config;                 /* unknown names are keys of this file; NULL: of none */
};

Scope *scope_open(Bind *b, Scope *parent);
Var *scope_find(Scope *s, const char *name);                /* here or around; NULL if unbound */
void scope_set(Bind *b, Scope *s, const char *name, Term t, Span at);
void scope_fix(Bind *b, Scope *s, Ident name, Term t);      /* a name bound once: E0121 if it is taken in this scope */
const char *scope_nearest(Bind *b, Scope *s, const char *name);        /* a bound name that looks similar, or NULL */

/* ---- axes (dim.c) ----------------------------------------------------------------------------------------------- */

const Dim *dim_new(Bind *b, const char *name, const char *axis, Extent size, const Origin *origin);
/* An IR axis name that nothing else uses: `base`, base2, base3... The same owner and size get the same name again. */
const char *dim_fresh_axis(Bind *b, const char *base, const void *owner, Extent size);
const Dim *dim_anonymous(Bind *b, Extent size, const Expr *written);    /* 3 -> n3, N+E -> N_E; written may be NULL */
/* The dims an argument stands for: one size, a tuple, a list. False and E0201 if it is something else. */
bool dims_of(Bind *b, const Term *t, const Expr *written, const Dim ***dims, int *n);
const char *dims_print(Bind *b, const Dim *const *dims, int n);         /* "(H, K)" or "D" */
const char *type_text(Bind *b, const Type *t);                          /* f32[B, S, D=64] */
const char *axis_written(Bind *b, const char *axis);                    /* "R + E" for the axis of a sum, R_E */
bool axis_is_number(const Axis *a);                                     /* of a size without a name */
const char *type_expr_text(Bind *b, const TypeExpr *t);                 /* as written */
const char *source_text(Bind *b, Span at);                              /* as written */
/* Of the config or let name behind an IR axis, or NULL. */
const Origin *axis_origin(Bind *b, const char *axis);
int axis_of(Bind *b, const Type *t, const Dim *d, Span at, const char *what);   /* position, or -1 and E0305 */
/* Adds an axis; E0307, E0302 if it cannot. */
bool type_take(Bind *b, Span at, Type *t, const char *axis, Extent size);
/* Remembers that `node` got `axis` from the text at `at`, and finds the text again for a node made from it. */
void axis_mark(Bind *b, const Node *node, const char *axis, Span at);
bool axis_marked(Bind *b, const Node *node, const char *axis, Span *at);

/* ---- frames and calls (call.c, unify.c) ------------------------------------------------------------------------- */

typedef struct BoundAxis {
    const Dim *dim;                     /* the block's axis variable */
    const char *outer;                  /* the caller's IR axis */
    const char *param;                  /* the parameter that bound it */
    Span arg;                           /* the argument it got */
    Node *node;                         /* its tensor; NULL for axes arguments */
} BoundAxis;

typedef struct Given Given;

typedef struct Frame {
    const Decl *decl;
    struct Frame *caller;
    Span call, name_at;                 /* in the caller's text; the name of the block there */
    bool library;                       /* the block is of std.attar */
    const char *hint;                   /* what the caller calls the result */
    BoundAxis *axes; int n_axes; size_t axes_room;
    const Dim **star; int n_star; bool has_star;        /* what `*` stands for */
    Given **given;                      /* for each parameter of decl: the argument, NULL if it is not given */
    Term *results; int n_results;       /* after `return` */
    Span return_at;
    bool returned;
} Frame;

struct Given {                          /* one argument of a call; evaluated when first asked for */
    const char *name;                   /* NULL: positional */
    Span name_at, at;
    const Expr *expr;                   /* NULL: the left side of |> */
    Term term;
    bool evaluated;
};

struct Call {
    const char *name;                   /* of what is called */
    Span at, name_at;                   /* the whole call; the name */
    Scope *scope;                       /* where arguments are evaluated */
    Given *given; int n_given;
    int *place;                         /* builtins: which argument each parameter got, -1 none */
    const char *const *params; int n_params;
};

Term call_eval(Bind *b, Scope *s, const Expr *e, const Term *piped, Span piped_at);
Term call_block(Bind *b, Call *c, const Decl *decl, bool library, const char *path);
Term call_function(Bind *b, Call *c, const Function *f);
Term given_term(Bind *b, Call *c, Given *g);
const Param *decl_param(const Decl *d, const char *name);   /* NULL if it has none of this name */
/* From a `default` declaration, or NULL. */
const Expr *default_argument(Bind *b, const Call *c, const char *param);
/* Binds the axis variables of parameter p to the argument's axes; `value` becomes the tensor as the block sees it. */
bool unify(Bind *b, Frame *f, Scope *local, const Param *p, const Given *g, Term *value);
bool unify_axes(Bind *b, Frame *f, Scope *local, const Param *p, const Given *g);       /* out: axes */
Term unify_result(Bind *b, Frame *f, Scope *local, const TypeExpr *declared, Term value, Span at);

/* ---- what would mend an error about axes (advice.c) ------------------------------------------------------------- */

/* Shows the text that gave x this axis, if it is in the model file; who: "`q`" or "it". */
void advise_mark(Bind *b, Diag *d, const Node *x, const Axis *a, const char *who);
/* "did you mean `K` on line 19?"; false if nobody knows where x got the axis. */
bool advise_axis(Bind *b, Diag *d, const Node *x, const char *has, const char *needs);
void advise_result(Bind *b, Diag *d, const Node *x, const Type *wanted);
void advise_results(Diag *d, const Decl *decl);             /* another number of results than decl declares */
/* e was given for p, but may have been meant for another parameter. */
void advise_arguments(Bind *b, Diag *d, const Decl *decl, const Param *p, const Expr *e);
/* The axis should be the one that is `from_end` axes from the end of x. */
void advise_rank(Bind *b, Diag *d, const Node *x, Span at, const char *axis, int from_end);
/* x, written at `at`, has axes of the sizes of those of `other`, but with other names. */
void advise_names(Bind *b, Diag *d, const Node *x, const Type *other, Span at);
/* x has to have the axes of `first`, but for the one at `free`. */
void advise_beside(Bind *b, Diag *d, const Type *x, const Type *first, int free, Span at);
void advise_dtype(Bind *b, Diag *d, const Node *x, DType wanted);
void advise_number(Diag *d, const Term *t);                 /* t stands where a number has to */
void advise_mask(Bind *b, Diag *d, const Term *t, Span at);             /* t stands where a mask has to */
/* The parts in the order of the axis's name, "[N, E]" for N_E; NULL if it is this one or the name has others. */
const char *advise_order(Bind *b, const char *axis, const Dim *const *dims, int n);
void advise_parts(Bind *b, Diag *d, const Node *x, const Dim *const *dims, int n);
const Cache *advise_cache(const Node *x);                   /* the cache that has checked its axes already, or NULL */

/* ---- functions (function.c) ------------------------------------------------------------------------------------- */

typedef enum FunctionKind { FUNCTION_LAMBDA, FUNCTION_AND, FUNCTION_OR, FUNCTION_NOT } FunctionKind;
struct Function {
    FunctionKind kind;
    const Expr *lambda;
    Scope *scope;
    const Function *left, *right;
};
Term function_new(Bind *b, Scope *s, const Expr *lambda);
Term function_combine(Bind *b, FunctionKind kind, const Function *left, const Function *right);

/* ---- expressions and statements (eval.c, operator.c, statement.c, path.c) ----------------------------------------------- */

Term eval(Bind *b, Scope *s, const Expr *e);
Term operator_unary(Bind *b, Term x, int op);
Term operator_binary(Bind *b, Term x, Term y, int op, const Expr *e);       /* e: where it is written, may be NULL */
/* A bool known at compile time. */
bool eval_flag(Bind *b, Scope *s, const Expr *e, const char *what, bool *out);
/* @linearize, @lowrank (request.c): the request in one spelling, or NULL and an error; put on the attention, or on the products with weights, that
 * was made from id `first` on. */
const char *request_linearize(Bind *b, Scope *s, const Annotation *a);
const char *request_lowrank(Bind *b, Scope *s, const Annotation *a);
void request_mark_attention(Bind *b, int first, const char *text, Span at);
void request_mark_products(Bind *b, int first, const char *text, Span at);
void statement_body(Bind *b, Scope *s, const Body *body);
bool statement_assert(Bind *b, Scope *s, const Stmt *st);
void statement_repeat(Bind *b, Scope *s, const Stmt *st, bool unroll);
bool round_bounds(const Node *n, int64_t *low, int64_t *high);  /* the rounds i of a loop, i + 1, 2 * i: its least and largest */
/* The scope path with `path` added. Its holes are checked and spelled as support/holes.h says; w (may be NULL) is the weight
 * whose axes a hole may name: that axis is stacked, and the text of its hole is kept. */
const char *path_join(Bind *b, const char *path, Span at, WeightUse *w);
/* Puts the text given for `under` before the key; false after an error. */
bool path_under(Bind *b, Call *c, int param, const char **key);

/* Names that nothing binds (unknown.c); `whole` is the path that begins with this one: self.key */
Term refuse_unknown_name(Bind *b, Scope *s, const Expr *e, const Expr *whole);
Term refuse_unknown_operator(Bind *b, const Call *c, Scope *s);

/* ---- nodes (tensor.c) ------------------------------------------------------------------------------------------- */

Node *emit(Bind *b, Op op, const Type *t, int n, Node *const *inputs);
bool spend(Bind *b, int64_t count, Span at);                /* counts operations; false and E0210 if they are too many */
Node *make_view(Bind *b, Node *x, const Type *t);           /* x itself if the type is the same */
Node *make_rename(Bind *b, Node *x, int axis, const char *name);
Node *make_transpose(Bind *b, Node *x, const int *order);
Node *make_cast(Bind *b, Node *x, DType to);
Node *make_number(Bind *b, double value, DType dtype);
Node *index_axis(Bind *b, Node *x, int axis, const Term *t, Span at);   /* x[.., t, ..] (eval.c); NULL and a diagnostic */
Node *make_slice(Bind *b, Node *x, int axis, const char *name, Extent start, Extent size);
Node *make_pick(Bind *b, Node *x, int axis, Extent at);      /* one position; the axis goes */
Node *make_gather(Bind *b, Node *table, Node *ids, int axis);        /* NULL after an error */
Node *make_reduce(Bind *b, Op op, Node *x, const bool *over);
Node *make_map(Bind *b, Op op, int n, Node *const *inputs);  /* aligned by name; NULL after an error */
Node *make_dot(Bind *b, Node *x, Node *y, const char *const *over, int n_over);
/* The term as a tensor, numbers as `like` if it is given; NULL if the term is poison or after E0201. */
Node *tensor_of(Bind *b, const Term *t, DType like, const char *what);

/* ---- builtins (builtin.c, builtin_*.c; operators.def) ----------------------------------------------------------- */

typedef struct Builtin {
    const char *name, *signature, *sentence;
    Term (*run)(Bind *b, Call *c);
} Builtin;
extern const Builtin builtins[];
extern const int n_builtins;
const Builtin *builtin_find(const char *name);
Term builtin_call(Bind *b, Call *c, const Builtin *f);

/* Arguments by the position of the parameter in the signature. */
Given *arg_given(Call *c, int param);                       /* NULL if the call does not give it */
Term arg_term(Bind *b, Call *c, int param);                 /* none if the call does not give it */
Node *arg_tensor(Bind *b, Call *c, int param);              /* NULL after an error */
Node *arg_float(Bind *b, Call *c, int param);               /* integers are cast to f32 */
bool arg_dims(Bind *b, Call *c, int param, const Dim ***dims, int *n);
/* The same for axes of t, which may have names that only t knows. */
bool arg_dims_in(Bind *b, Call *c, int param, const Type *t, const Dim ***dims, int *n);
bool arg_axis(Bind *b, Call *c, int param, const Type *t, int *axis);      /* an axis of t; the last one if absent */
/* Axes of t; the last one if absent. */
bool arg_over(Bind *b, Call *c, int param, const Type *t, bool over[MAX_RANK]);
bool arg_flag(Bind *b, Call *c, int param, bool otherwise, bool *out);

/* linear_attend and codebook_attend (builtin_attend.c): what the call's first three arguments are, and the inputs after them. */
enum { ATTEND_ROLES = 6 };
typedef struct AttendCall {
    Call *call;
    Node *q, *k, *v;
    const char *head, *keys, *queries;  /* axes: of the products, of the keys, of the rows */
    const char *roles[ATTEND_ROLES];
    Node *inputs[ATTEND_ROLES];
    int n_roles;
} AttendCall;
/* `queries`: the parameter that may name the axis of the rows. False after an error, as all of these. */
bool attend_operands(Bind *b, Call *c, int queries, AttendCall *a);
bool attend_mask(Bind *b, AttendCall *a, int param);       /* the role `mask`, if the call gives one */
bool attend_number(Bind *b, Call *c, int param, double *out);           /* unchanged if the call does not give it */
Node *attend_heads(Bind *b, const AttendCall *a, Node *w);  /* [.., rows, head], with the keys' names of head axes */
void attend_role(AttendCall *a, const char *role, Node *x);
Node *attend_emit(Bind *b, AttendCall *a, Op op);           /* with axes and roles; the caller adds attributes, then */
bool attend_finish(Bind *b, AttendCall *a, Node *n);        /* gives it its type */

#define OPERATOR(name, signature, sentence) Term builtin_##name(Bind *b, Call *c);
#include "operators.def"
#undef OPERATOR

/* Lists of the text and arrays of config.json (builtin_table.c). */
int64_t list_size(const Term *t);                           /* -1 if it is neither */
Term list_item(Bind *b, const Term *t, int64_t i);
Node *list_tensor(Bind *b, const Term *t, Span at);         /* its numbers; NULL and a diagnostic if there are others */

void use_files(Bind *b);                                    /* b->file with the declarations of the files it uses (use.c) */

/* ---- config.json (config.c), rotary tables (rope.c), caches (cache.c) ------------------------------------------- */

void config_bind(Bind *b, const Decl *d);
void config_find(Bind *b, Var *v);                          /* a config or let name is asked for the first time */
Term config_key(Bind *b, const ConfigFile *file, const char *key);      /* a top-level key: a value, JSON or absent */
Term config_value(Bind *b, const ConfigFile *file, const char *path, json_t *value);
const char *config_name(const Bind *b, const Origin *o);    /* how messages call the file that a value came from */
bool config_agree(json_t *a, json_t *b);                    /* two spellings of one thing say the same */
const char *config_print(Bind *b, json_t *value);        /* for messages */
void config_refuse_absent(Bind *b, const Term *t, Span at); /* E0501, E0502 */

struct CacheDecl {
    const Decl *decl;
    int first;                          /* index of the first field in model->caches */
    int64_t layers;
    bool bound;                         /* false until the model's inputs are known, and after an error */
    bool failed;                        /* an error was reported */
    Span counted;                       /* the first kv.next(S) */
    bool written;                       /* by append */
};
void cache_bind(Bind *b, Scope *s);                         /* after the model's inputs, whose axes s holds */
void cache_check(Bind *b);                                  /* E0222: used and never written */
Term cache_method(Bind *b, Scope *s, const Expr *call);     /* kv.next(S), kv[i].append(k, v) */
Term cache_index(Bind *b, Scope *s, const Expr *e, const Term *cache);

/* ---- weights, keys, the checkpoint (weight.c, keys.c, check.c) -------------------------------------------------- */

struct WeightUse {
    Node *node;
    const char *key;                    /* with holes */
    Span at;                            /* in the model file */
    const Decl *op;                     /* the block of std.attar that reads it, or NULL */
    const Frame *frame;                 /* its call */
    const Frame *block;                 /* the block of the model file around that, NULL in the model itself */
    Span loop;                          /* the repeat around it */
    int64_t layers;                     /* 1 if the key has no hole for the round */
    int64_t stack;                      /* so many tensors along the first axis; 0: the weight is one tensor */
    int rank;                           /* in the checkpoint; one more if tensors are stacked */
    int n_dims[MAX_RANK];               /* a stored dimension may be several axes */
    const Dim **dims[MAX_RANK];
    int64_t stored[MAX_RANK];
    const char *first;                  /* the name that stands first in the list of axes, or NULL */
    const char *axes;                   /* for messages, in the caller's words, of one tensor: "[G*K, D]" */
};

/* The tensors that a weight stands for, rounds and stacked ones: how many, and their keys in the file. */
int64_t weight_tensors(const WeightUse *w);
const char *weight_key(Bind *b, const KeyMap *map, const WeightUse *w, int64_t number);
WeightUse weight_single(const WeightUse *w);                /* as if it were the first of them: the same without the stacked axis */

const char *shape_print(Bind *b, int rank, const int64_t *sizes);              /* "[1024, 4096]" */

void keys_bind(Bind *b);                                    /* names and ignore declarations */
/* Key with its prefix replaced: each {i} of the new one is what the {i} of the old one matched. */
const char *keys_apply(Context *cx, const KeyMap *map, const char *key);
/* Whole components; {i} matches a number or a hole; a prefix matches. */
bool keys_match(const char *pattern, const char *key);
const char *keys_pattern(Context *cx, const char *name);    /* a tensor's name with {i} for its first number */
int64_t keys_missing(Bind *b, const KeyMap *map, const WeightUse *w, const Map *tensors);      /* tensors that are not there */
bool check_weights(Bind *b, Model *out);                    /* E04xx; chooses the spelling */
void check_missing(Bind *b, const KeyMap *map, const Map *tensors, Map *used);         /* E0401 */
void check_shapes(Bind *b, const KeyMap *map, const Map *tensors);     /* E0403, E0404, E0405, E0412 */
/* Puts the first weight that does not fit the checkpoint in the place of an error about axes further down, which
 * follows from it. */
void check_cause(Bind *b, Diag *last);      /* last: the one before this model's */
const char *frame_outer(const Frame *f, const Dim *d);      /* what the caller of the block calls this axis */
const char *frame_other_order(const Frame *f);              /* of stored axes: the one not asked for; NULL if none is */

/* ---- the whole -------------------------------------------------------------------------------------------------- */

typedef struct AxisOwner { const void *owner; Extent size; const Origin *origin; } AxisOwner;
typedef struct AxisMark { const Node *node; const char *axis; Span at; } AxisMark;

struct Bind {
    Context *cx;
    const ModelOptions *options;
    File *file, *library;
    int n_bindings;                     /* of config and let so far */
    int n_models;                       /* in the file */
    Scope *inputs;                      /* the model's; NULL before they are bound */
    Scope *globals, *library_globals;
    Map blocks, library_blocks;         /* of Decl */
    Map defaults;                       /* of Decl: default linear(...) */
    Map axis_owners;                    /* of AxisOwner: IR axis names in use */
    Map caches;                         /* of CacheDecl */
    Graph *model, *graph;               /* the whole; where nodes go now */
    const char *path;                   /* scope path, "" at the top */
    const char *hint;                   /* name of the value being made */
    Frame *frame;
    Span at;                            /* the text being evaluated */
    Span site;                          /* the innermost place in the model file: where errors of std.attar are shown */
    const char *index;                  /* the innermost repeat's index, NULL outside */
    Node *layer;                        /* its node */
    int64_t rounds, count;              /* how often the text at hand runs in all; in the innermost loop */
    int64_t first;                      /* what the innermost index begins with */
    bool unrolled;                      /* the innermost loop is written out, and this is the round of `first` */
    int nesting;                        /* loops around it that are not written out */
    Span loop;                          /* the innermost repeat */
    int64_t operations;
    bool names_lost;                    /* values of a call got too few names: the others are unknown, silently */
    bool exhausted;                     /* something was reported after which nothing can be evaluated */
    Diags muted;                        /* where further errors of one call of a std.attar block go */
    int depth;                          /* of evaluation */
    Symbol *past;
    WeightUse *weights; int n_weights; size_t weights_room;
    int errors_before, weights_before;  /* errors before this model; how many weights were read before its first error */
    Map marks, blamed;
    Map unknown;                        /* names that were reported as unknown */
    Map path_marks;                     /* of Span: the string that gave a path its last component */
    KeyMaps keys;
    const char *config;                 /* how messages call config.json */
    ConfigFile main;                    /* it */
    Map other_files;                    /* of ConfigFile, by name */
};

enum { BUDGET_OPERATIONS = 1 << 20, BUDGET_DEPTH = 1000 };

/* An error at `at`; if that is in std.attar, at the call in the model file, with a note. */
Diag *bind_error(Bind *b, const char *code, Span at, const char *format, ...) __attribute__((format(printf, 4, 5)));
bool bind_in_library(const Bind *b, Span at);
Span bind_site(const Bind *b);                              /* where b->at shows in the model file */
Symbol *bind_symbol(Bind *b, const char *name, Span at);
char *bind_print(Bind *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *bind_new(Bind *b, size_t size);

#endif
