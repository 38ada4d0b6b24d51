/* Builders of the syntax tree: one node each, in the arena, with its span and its height. */
#include <stdlib.h>
#include <string.h>

#include "frontend/syntax.h"

List *list_new(Parser *p)
{
    return arena_alloc(p->cx->arena, sizeof(List));
}

List *list_add(Parser *p, List *l, const void *item, size_t each)
{
    l->items = arena_room(p->cx->arena, l->items, (size_t)l->count, &l->capacity, each);
    memcpy((char *)l->items + (size_t)l->count * each, item, each);
    l->count++;
    return l;
}

Ident build_ident(Parser *p, Span at)
{
    return (Ident){name_of_n(p->cx->names, at.source->text + at.begin, at.end - at.begin), at};
}

/* The scanner has reported unknown escapes and missing quotes; here they stand for themselves. */
const char *build_text(Parser *p, Span at, size_t *length)
{
    const char *in = at.source->text + at.begin + 1, *end = at.source->text + at.end;
    if (end > in && (end[-1] == '"' || end[-1] == '\''))
        end--;
    char *text = arena_alloc(p->cx->arena, (size_t)(end > in ? end - in : 0) + 1), *out = text;
    while (in < end) {
        char c = *in++;
        if (c == '\\' && in < end) {
            c = *in++;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        *out++ = c;
    }
    if (length)
        *length = (size_t)(out - text);
    return text;
}

Ident build_quoted(Parser *p, Span at)
{
    size_t length;
    const char *text = build_text(p, at, &length);
    return (Ident){name_of_n(p->cx->names, text, length), at};
}

/* ---- expressions -------------------------------------------------------------------------------------------------------------------- */

Expr *build_leaf(Parser *p, ExprKind kind, Span at)
{
    Expr *e = arena_alloc(p->cx->arena, sizeof *e);
    e->kind = kind;
    e->at = e->op_at = at;
    e->depth = 1;
    if (kind == EXPR_NAME)
        e->text = build_ident(p, at).text;
    return e;
}

/* A name, or one of the words that other languages write for true, false and none. */
Expr *build_name(Parser *p, Span at)
{
    static const struct {
        const char *word, *ours;
        ExprKind kind;
    } foreign[] = {{"True", "true", EXPR_TRUE},
                   {"False", "false", EXPR_FALSE},
                   {"None", "none", EXPR_NONE},
                   {"null", "none", EXPR_NONE}};
    Expr *e = build_leaf(p, EXPR_NAME, at);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (strcmp(e->text, foreign[i].word) != 0)
            continue;
        Diag *d = diag_error(p->cx->diags, "E0113", at, "`%s` is not a word of this language", foreign[i].word);
        diag_help(d, "write `%s`", foreign[i].ours);
        e->kind = foreign[i].kind;
    }
    return e;
}

/* Makes `e` higher than its part; beyond MAX_DEPTH it is an error and has no parts. */
static void hold(Parser *p, Expr *e, const Expr *part)
{
    if (!part || part->depth < e->depth)
        return;
    e->depth = part->depth + 1;
    if (e->depth <= MAX_DEPTH)
        return;
    mistake_depth(p, e->at);
    e->kind = EXPR_ERROR;
    e->depth = 1;
}

static void hold_all(Parser *p, Expr *e)
{
    for (int i = 0; i < e->n_items; i++)
        hold(p, e, e->items[i]);
    for (int i = 0; i < e->n_args; i++)
        hold(p, e, e->args[i].value);
}

static void set_items(Expr *e, const List *items)
{
    e->items = items->items;
    e->n_items = items->count;
}

Expr *build_number(Parser *p, Span at)
{
    Expr *e = build_leaf(p, EXPR_NUMBER, at);
    const char *digits = arena_copy(p->cx->arena, at.source->text + at.begin, at.end - at.begin);
    e->number = text_to_double(digits, NULL);
    e->is_float = strpbrk(digits, ".eE") != NULL;
    if (!e->is_float)
        e->integer = strtoll(digits, NULL, 10);
    return e;
}

Expr *build_string(Parser *p, Span at)
{
    Expr *e = build_leaf(p, EXPR_TEXT, at);
    e->text = build_text(p, at, &e->text_length);
    return e;
}

Expr *build_scoped(Parser *p, Span path, Ident name, Span at)
{
    Expr *e = build_leaf(p, EXPR_SCOPED, at);
    e->scope = build_text(p, path, NULL);
    e->text = name.text;
    e->op_at = name.at;
    return e;
}

Expr *build_unary(Parser *p, int op, Expr *operand, Span op_at, Span at)
{
    Expr *e = build_leaf(p, EXPR_UNARY, at);
    e->op = op;
    e->op_at = op_at;
    e->left = operand;
    hold(p, e, operand);
    return e;
}

/* Chains of operators to the left, however long, are walked without recursion, and so add no height. */
static Expr *build_operator(Parser *p, ExprKind kind, Expr *left, Expr *right, Span op_at, Span at)
{
    Expr *e = build_leaf(p, kind, at);
    e->op_at = op_at;
    e->left = left;
    e->right = right;
    bool chain = left->kind == EXPR_BINARY || left->kind == EXPR_PIPE;
    if (chain)
        e->depth = left->depth;
    else
        hold(p, e, left);
    hold(p, e, right);
    return e;
}

Expr *build_binary(Parser *p, int op, Expr *left, Expr *right, Span op_at, Span at)
{
    Expr *e = build_operator(p, EXPR_BINARY, left, right, op_at, at);
    e->op = op;
    return e;
}

Expr *build_pipe(Parser *p, Expr *left, Expr *right, Span op_at, Span at)
{
    return build_operator(p, EXPR_PIPE, left, right, op_at, at);
}

Expr *build_as(Parser *p, Expr *left, TypeExpr *type, Span op_at, Span at)
{
    Expr *e = build_leaf(p, EXPR_AS, at);
    e->op_at = op_at;
    e->left = left;
    e->type = type;
    hold(p, e, left);
    return e;
}

Expr *build_if(Parser *p, Expr *condition, Expr *then, Expr *otherwise, Span at)
{
    Expr *e = build_leaf(p, EXPR_IF, at);
    e->n_items = 3;
    e->items = arena_array(p->cx->arena, 3, sizeof *e->items);
    e->items[0] = condition;
    e->items[1] = then;
    e->items[2] = otherwise;
    hold_all(p, e);
    return e;
}

Expr *build_fn(Parser *p, List *params, Expr *body, Span at)
{
    Expr *e = build_leaf(p, EXPR_FN, at);
    e->params = params->items;
    e->n_params = params->count;
    e->left = body;
    hold(p, e, body);
    for (int i = 0; i < e->n_params; i++)
        hold(p, e, e->params[i].value);
    return e;
}

Expr *build_call(Parser *p, Expr *callee, List *args, Span at)
{
    Expr *e = build_leaf(p, EXPR_CALL, at);
    e->op_at = callee->kind == EXPR_NAME || callee->kind == EXPR_FIELD || callee->kind == EXPR_SCOPED ? callee->op_at
                                                                                                      : callee->at;
    e->left = callee;
    e->args = args->items;
    e->n_args = args->count;
    hold(p, e, callee);
    hold_all(p, e);
    return e;
}

Expr *build_index(Parser *p, Expr *base, List *items, Span at)
{
    Expr *e = build_leaf(p, EXPR_INDEX, at);
    e->left = base;
    set_items(e, items);
    hold(p, e, base);
    hold_all(p, e);
    return e;
}

Expr *build_field(Parser *p, Expr *base, Ident name, Span at)
{
    Expr *e = build_leaf(p, EXPR_FIELD, at);
    e->left = base;
    e->text = name.text;
    e->op_at = name.at;
    hold(p, e, base);
    return e;
}

static Expr *build_items(Parser *p, ExprKind kind, List *items, Span at)
{
    Expr *e = build_leaf(p, kind, at);
    set_items(e, items);
    hold_all(p, e);
    return e;
}

Expr *build_list(Parser *p, List *items, Span at)
{
    return build_items(p, EXPR_LIST, items, at);
}

Expr *build_tuple(Parser *p, List *items, Span at)
{
    if (items->count == 1)
        return *(Expr **)items->items;
    return build_items(p, EXPR_TUPLE, items, at);
}

TypeExpr *build_type(Parser *p, Ident dtype, List *axes, Span at)
{
    TypeExpr *t = arena_alloc(p->cx->arena, sizeof *t);
    t->dtype = dtype;
    t->at = at;
    if (axes) {
        t->has_axes = true;
        t->axes = axes->items;
        t->n_axes = axes->count;
    }
    return t;
}

/* ---- statements and declarations ---------------------------------------------------------------------------------------------------- */

Stmt *build_stmt(Parser *p, StmtKind kind, Span at)
{
    Stmt *s = arena_alloc(p->cx->arena, sizeof *s);
    s->kind = kind;
    s->at = at;
    return s;
}

void build_targets(Stmt *s, List *targets)
{
    s->targets = targets->items;
    s->n_targets = targets->count;
}

void build_values(Stmt *s, List *values)
{
    s->values = values->items;
    s->n_values = values->count;
}

void build_value(Parser *p, Stmt *s, Expr *value)
{
    build_values(s, list_add(p, list_new(p), &value, sizeof value));
}

void build_range(Parser *p, Stmt *s, Span word, Expr *range)
{
    bool in = word.end - word.begin == 2 && !memcmp(word.source->text + word.begin, "in", 2);
    bool good = in && (range->kind == EXPR_ERROR || (range->kind == EXPR_BINARY && range->op == OP2_RANGE));
    build_value(p, s, good ? range : build_leaf(p, EXPR_ERROR, range->at));
    s->range = true;
    if (good)
        return;
    Diag *d = diag_error(p->cx->diags, "E0101", in ? range->at : word, in ? "a loop runs over a range: a..b"
                                                                          : "expected `<` or `in`");
    diag_help(d, "a loop is written `repeat i < N { ... }` or `repeat i in a..b { ... }`");
}

void build_path(Parser *p, Stmt *s, Span path)
{
    s->path = build_text(p, path, NULL);
    s->path_at = path;
}

Stmt *build_annotated(Stmt *s, List *annotations, Span at)
{
    s->annotations = annotations->items;
    s->n_annotations = annotations->count;
    s->at = at;
    return s;
}

Body *build_body(Parser *p, List *stmts, Span at)
{
    Body *b = arena_alloc(p->cx->arena, sizeof *b);
    b->items = stmts->items;
    b->n = stmts->count;
    b->at = at;
    return b;
}

Decl build_decl(DeclKind kind, Ident name, Span at)
{
    return (Decl){.kind = kind, .name = name, .at = at};
}

Rename build_rename(Parser *p, Span from, const Span *to)
{
    Rename r = {.from = build_text(p, from, NULL), .from_at = from};
    if (to) {
        r.to = build_text(p, *to, NULL);
        r.to_at = *to;
    }
    return r;
}
