/* From text to tree, private to frontend/: scanner (lexer.l), layout (layout.c), grammar (parser.y), builders (build.c), messages (mistake.c).
 *
 * The scanner turns the whole text into raw tokens. Layout then decides which newlines end a statement, pairs the brackets and repairs
 * the commonest slips, so that the grammar sees a balanced text: a missing bracket costs one message, not one a line. */
#ifndef ATTAR_FRONTEND_SYNTAX_H
#define ATTAR_FRONTEND_SYNTAX_H

#include "frontend/ast.h"

enum { MAX_SOURCE = 1 << 20, MAX_NAME = 255, MAX_BRACKETS = 256, MAX_DEPTH = 512 };

typedef struct Token {
    int kind; /* a token of parser.y; '\n' only before layout; 0 at the end */
    uint32_t begin, end;
    bool reported;      /* a diagnostic about this place exists: a syntax error near it is silent */
    bool after_newline; /* first on its line */
} Token;

typedef struct List {
    void *items;
    int count;
    size_t capacity;
} List;

typedef struct Parser {
    Context *cx;
    const Source *source;
    Token *tokens;
    size_t n_tokens, room;
    size_t next, current; /* what the grammar reads next, and what it has read last */
    uint32_t scanned;     /* scanner: bytes so far */
    bool reported;        /* scanner: the next token follows something that was reported */
    size_t lost;          /* the grammar: 1 + the token where a declaration was expected in vain; 0: none */
    bool hopeless;        /* nested too deeply: no tree */
    List decls;
} Parser;

Span span_of(const Parser *p, uint32_t begin, uint32_t end);
Span token_span(const Parser *p, const Token *t);
const char *token_text(const Parser *p,
                       const Token *t); /* as written, shortened, fit for a message: "`x`", "the end of the line" */

/* lexer.l: appends raw tokens to p->tokens, without the final 0. */
void scan_source(Parser *p);
void scan_add(Parser *p, int kind, uint32_t begin, uint32_t end);

/* layout.c: replaces the raw tokens by those that the grammar reads. */
void layout_tokens(Parser *p);

/* parser.y calls these. */
int grammar_parse(Parser *p);
void mistake_report(Parser *p, const int *expected,
                    int n_expected); /* mistake.c; also moves p->next past the statement */
/* A habit of another language, if it is one; operand: an expression could end before `found`. */
bool mistake_habit(Parser *p, const Token *found, const Token *start, bool operand);
bool is_infix_token(int kind);
bool is_keyword(int kind);
bool ends_statement_kind(int kind);
void mistake_depth(Parser *p, Span at); /* nested too deeply; once a file */

/* build.c: nodes. Lists are copied out, so a List may be reused. */
List *list_new(Parser *p);
List *list_add(Parser *p, List *l, const void *item, size_t each);
Ident build_ident(Parser *p, Span at);
const char *build_text(Parser *p, Span at, size_t *length); /* the decoded bytes of a string in quotes */
Ident build_quoted(Parser *p, Span at);  /* a name in quotes */
Expr *build_leaf(Parser *p, ExprKind kind, Span at);
Expr *build_name(Parser *p, Span at);
Expr *build_number(Parser *p, Span at);
Expr *build_string(Parser *p, Span at);
Expr *build_scoped(Parser *p, Span path, Ident name, Span at);
Expr *build_unary(Parser *p, int op, Expr *operand, Span op_at, Span at);
Expr *build_binary(Parser *p, int op, Expr *left, Expr *right, Span op_at, Span at);
Expr *build_pipe(Parser *p, Expr *left, Expr *right, Span op_at, Span at);
Expr *build_as(Parser *p, Expr *left, TypeExpr *type, Span op_at, Span at);
Expr *build_if(Parser *p, Expr *condition, Expr *then, Expr *otherwise, Span at);
Expr *build_fn(Parser *p, List *params, Expr *body, Span at);
Expr *build_call(Parser *p, Expr *callee, List *args, Span at);
Expr *build_index(Parser *p, Expr *base, List *items, Span at);
Expr *build_field(Parser *p, Expr *base, Ident name, Span at);
Expr *build_tuple(Parser *p, List *items, Span at); /* one item: the item itself */
Expr *build_list(Parser *p, List *items, Span at);
TypeExpr *build_type(Parser *p, Ident dtype, List *axes, Span at); /* axes NULL: none written */

Stmt *build_stmt(Parser *p, StmtKind kind, Span at);
void build_targets(Stmt *s, List *targets);
void build_values(Stmt *s, List *values);
void build_value(Parser *p, Stmt *s, Expr *value);
void build_range(Parser *p, Stmt *s, Span word, Expr *range);    /* repeat i in a..b; `word` should be `in` */
void build_path(Parser *p, Stmt *s, Span path);
Stmt *build_annotated(Stmt *s, List *annotations, Span at);
Body *build_body(Parser *p, List *stmts, Span at);

Decl build_decl(DeclKind kind, Ident name, Span at);
Rename build_rename(Parser *p, Span from, const Span *to); /* to NULL: none */

#endif
