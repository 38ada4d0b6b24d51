/* The syntax tree of a model file, as the grammar builds it: every node has its span; lists keep source order; nothing is resolved. */
#ifndef ATTAR_FRONTEND_AST_H
#define ATTAR_FRONTEND_AST_H

#include "support/context.h"

typedef struct Expr Expr;
typedef struct Stmt Stmt;

typedef struct Ident { const char *text; Span at; } Ident;              /* interned */

typedef struct TypeExpr {               /* f32[B, S, D], [B, T <= P, G, K], index, [*, D] */
    Ident dtype;                        /* text NULL if not written */
    bool has_axes;
    Expr **axes;                        /* EXPR_STAR for `*`; EXPR_BINARY `<=` for a bounded axis; otherwise a size or name expression */
    int n_axes;
    Span at;
} TypeExpr;

typedef enum ExprKind {
    EXPR_NAME, EXPR_NUMBER, EXPR_TEXT, EXPR_TRUE, EXPR_FALSE, EXPR_NONE, EXPR_STAR,
    EXPR_TUPLE,                         /* (a, b): items */
    EXPR_LIST,                          /* [a, b]: items */
    EXPR_UNARY,                         /* op: '-' '!' */
    EXPR_BINARY,                        /* op: + - * / % ^ & | < > , or OP2_* */
    EXPR_AS,                            /* left as type */
    EXPR_IF,                            /* if items[0] then items[1] else items[2] */
    EXPR_FN,                            /* fn(params) => left */
    EXPR_CALL,                          /* left(args) */
    EXPR_INDEX,                         /* left[items] */
    EXPR_FIELD,                         /* left.name */
    EXPR_PIPE,                          /* left |> right, right a call */
    EXPR_SCOPED,                        /* "text"::name, called through EXPR_CALL */
    EXPR_ERROR                          /* recovered from a syntax error: poisoned, silent */
} ExprKind;

enum { OP2_LE = 256, OP2_GE, OP2_EQ, OP2_NE, OP2_OTHERWISE /* ?? */, OP2_RANGE /* .. */ };

typedef struct Arg { Ident name; Expr *value; } Arg;                    /* name.text NULL: positional */

struct Expr {
    ExprKind kind;
    Span at;                            /* the whole expression */
    Span op_at;                         /* the operator or callee name */
    int op;
    bool is_float;                      /* NUMBER: written with a point or exponent */
    double number;
    int64_t integer;
    const char *text;                   /* NAME, FIELD, SCOPED: interned; TEXT: decoded bytes */
    size_t text_length;
    const char *scope;                  /* SCOPED: the decoded path */
    Expr *left, *right;
    Expr **items; int n_items;
    Arg *args; int n_args;
    struct Param *params; int n_params; /* FN: without types; value: what the parameter is if the call does not say */
    TypeExpr *type;
    int depth;                          /* height of the tree: the parser refuses more than 512 ("nested too deeply"), long chains of one operator excepted */
};

typedef struct Annotation { Ident name; Arg *args; int n_args; Span at; } Annotation;

typedef enum StmtKind { STMT_ASSIGN, STMT_REPEAT, STMT_AT, STMT_IF, STMT_ASSERT, STMT_RETURN, STMT_ERROR } StmtKind;
typedef struct AssignTarget { Ident name; TypeExpr *type; } AssignTarget;
typedef struct Body { Stmt **items; int n; Span at; } Body;

struct Stmt {
    StmtKind kind;
    Span at;
    Annotation *annotations; int n_annotations;
    AssignTarget *targets; int n_targets;     /* ASSIGN */
    Expr **values; int n_values;        /* ASSIGN: 1; RETURN: 1 or more; REPEAT: the count; IF, ASSERT: the condition */
    Ident index;                        /* REPEAT */
    bool range;                         /* REPEAT: values[0] is a..b, not the count */
    const char *path; Span path_at;     /* REPEAT and AT: decoded text; NULL if the repeat has no `at` */
    const char *message;                /* ASSERT; may be NULL */
    Body *body, *otherwise;
};

/* type or value may be NULL, not both; quoted: what callers of the model say for the name, text NULL if that is the name itself */
typedef struct Param { Ident name; TypeExpr *type; Expr *value; Ident quoted; } Param;
typedef struct ResultDecl { Ident name; TypeExpr *type; bool quoted; } ResultDecl;      /* name.text NULL if unnamed; quoted: it is no identifier */
typedef struct Binding { Ident name; Expr *value; } Binding;                    /* config, let */
typedef struct Field { Ident name; TypeExpr *type; } Field;                     /* cache */
typedef struct Rename { const char *from, *to; Span from_at, to_at; } Rename;   /* to NULL: `none`, the tensor is ignored */

typedef enum DeclKind { DECL_USE, DECL_CONFIG, DECL_LET, DECL_DEFAULT, DECL_CACHE, DECL_NAMES, DECL_IGNORE, DECL_BLOCK, DECL_MODEL, DECL_ERROR } DeclKind;
typedef struct Decl {
    DeclKind kind;
    Span at;
    Ident name;                         /* default's operator; cache, names, block, model */
    const char *path;                   /* use "file.attar", config "config.json" */
    Binding *bindings; int n_bindings;  /* config; let (one) */
    Arg *args; int n_args;              /* default */
    Expr *count;                        /* cache[count] */
    Field *fields; int n_fields;        /* cache */
    Rename *renames; int n_renames;     /* names; ignore "prefix", "other.prefix" (only `from`) */
    Param *params; int n_params;        /* block, model */
    ResultDecl *results; int n_results;
    Body *body;
} Decl;

typedef struct File { const Source *source; Decl *decls; int n_decls; } File;

#endif
