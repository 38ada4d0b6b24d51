/* Statements: assignments, scopes, compile-time if, assert, repeat, return, and the annotations before them. */
#include "bind.h"

#include <string.h>

/* ---- annotations ------------------------------------------------------------------------------------------------ */

typedef enum Request { REQUEST_KEEP, REQUEST_FUSE, REQUEST_UNROLL, REQUEST_LINEARIZE, REQUEST_LOWRANK, REQUEST_OTHER } Request;

typedef struct Requests {
    bool holds;            /* the values of the assignment are kept as they are, the rounds of the loop written out */
    const char *linearize; /* NULL: the attention of the assignment is exact */
    const char *lowrank;   /* NULL: its weights stay whole */
    Span linearize_at, lowrank_at;
} Requests;

static const char *const requests[] = {"keep",   "fuse",     "unroll", "linearize", "lowrank",
                                       "absorb", "quantize", "dtype", "recompute", "must"};
enum { N_REQUESTS = sizeof requests / sizeof *requests };

static bool is_fuse_off(const Annotation *a)
{
    return a->n_args == 1 && !a->args[0].name.text && a->args[0].value->kind == EXPR_NAME &&
           !strcmp(a->args[0].value->text, "off");
}

/* True if it holds here. */
static bool read_annotation(Bind *b, Scope *s, const Annotation *a, const Stmt *st, Requests *out)
{
    int r = 0;
    while (r < N_REQUESTS && strcmp(a->name.text, requests[r]) != 0)
        r++;
    if (r == N_REQUESTS) {
        Diag *d = bind_error(b, "E0127", a->name.at, "no annotation is named `@%s`", a->name.text);
        const char *near = name_nearest(a->name.text, requests, N_REQUESTS);
        if (near)
            diag_caret(d, "a similar one exists: `@%s`", near);
        return false;
    }
    if (st->kind != (r == REQUEST_UNROLL ? STMT_REPEAT : STMT_ASSIGN)) {
        bind_error(b, "E0128", a->at, "`@%s` stands before %s, and this is none", a->name.text,
                   r == REQUEST_UNROLL ? "a `repeat`" : "an assignment");
        return false;
    }
    if (r >= REQUEST_OTHER) {
        Diag *d = bind_error(b, "E0902", a->at, "this build of attar does not do `@%s`", a->name.text);
        diag_help(d, "without the annotation the statement is computed exactly as written");
        return false;
    }
    if (r == REQUEST_LINEARIZE) {
        out->linearize = request_linearize(b, s, a);
        out->linearize_at = a->at;
        return false;
    }
    if (r == REQUEST_LOWRANK) {
        out->lowrank = request_lowrank(b, s, a);
        out->lowrank_at = a->at;
        return false;
    }
    if (r == REQUEST_FUSE ? is_fuse_off(a) : a->n_args == 0)
        return true;
    if (r == REQUEST_FUSE)
        bind_error(b, "E0124", a->at, "`@fuse` takes one argument: `@fuse(off)`");
    else
        bind_error(b, "E0124", a->at, "`@%s` takes no arguments", a->name.text);
    return false;
}

static Requests read_annotations(Bind *b, Scope *s, const Stmt *st)
{
    Requests out = {0};
    for (int i = 0; i < st->n_annotations; i++)
        out.holds = read_annotation(b, s, &st->annotations[i], st, &out) || out.holds;
    return out;
}

/* ---- assignments ------------------------------------------------------------------------------------------------ */

static const char *hint_for(Bind *b, const char *name)
{
    const char *outer = b->frame && b->frame->library ? b->frame->hint : NULL;
    return outer ? name_of(b->cx->names, bind_print(b, "%s.%s", outer, name)) : name;
}

static bool check_annotated_type(Bind *b, Scope *s, const AssignTarget *target, const Term *t)
{
    if (!target->type || t->kind == TERM_POISON)
        return true;
    Type wanted = {.rank = 0};
    Node *x = tensor_of(b, t, DT_F32, "the value");
    if (!x)
        return false;
    wanted.dtype = x->type->dtype;
    if (target->type->dtype.text && !dtype_from_name(target->type->dtype.text, &wanted.dtype)) {
        bind_error(b, "E0202", target->type->dtype.at, "no type is named `%s`", target->type->dtype.text);
        return false;
    }
    for (int i = 0; i < target->type->n_axes; i++) {
        const Dim **dims;
        int n;
        Term axis = eval(b, s, target->type->axes[i]);
        if (!dims_of(b, &axis, target->type->axes[i], &dims, &n))
            return false;
        for (int k = 0; k < n; k++)
            if (!type_take(b, target->type->at, &wanted, dims[k]->axis, dims[k]->size))
                return false;
    }
    if (type_equal(&wanted, x->type))
        return true;
    Diag *d =
        bind_error(b, "E0211", target->type->at, "`%s` is not %s", target->name.text, type_expr_text(b, target->type));
    diag_caret(d, "it is %s", type_text(b, x->type));
    return false;
}

static void assign(Bind *b, Scope *s, const AssignTarget *target, Term t, Span value_at)
{
    Var *old = scope_find(s, target->name.text);
    if (old && old->fixed) {
        Diag *d =
            bind_error(b, "E0121", target->name.at, "`%s` is bound already and cannot be assigned", target->name.text);
        diag_label(d, old->at, "bound here");
        return;
    }
    if (t.kind == TERM_ABSENT) {
        config_refuse_absent(b, &t, value_at);
        t = term_poison();
    }
    if (!check_annotated_type(b, s, target, &t))
        t = term_poison();
    scope_set(b, s, target->name.text, t, target->name.at);
}

/* The value itself gets the plain name; what was made on the way to it is called name.0, name.1 ... */
static void name_steps(Bind *b, const Node *value, int first, const char *name)
{
    const char *step = name_of(b->cx->names, bind_print(b, "%s.0", name));
    if (value->graph != b->graph || value->id < first || value->name != name)
        return;
    for (Node *n = b->graph->last; n && n->id >= first; n = n->prev)
        if (n != value && n->name == name)
            n->name = step;
}

static void refuse_count(Bind *b, const Stmt *st, const Term *t, int n)
{
    b->names_lost = b->names_lost || n > st->n_targets;
    Diag *d = bind_error(b, "E0203", st->values[0]->at, "%d name%s for %d value%s", st->n_targets,
                         st->n_targets == 1 ? "" : "s", n, n == 1 ? "" : "s");
    const Type *type = t->kind == TERM_TENSOR ? t->node->type : NULL;
    for (int i = 0; type && i < type->rank; i++) {
        const Axis *a = &type->axis[i];
        if (!extent_is_const(a->size) || a->size.base != st->n_targets)
            continue;
        bool number = axis_is_number(a);
        diag_help(d, "`%s |> unstack(%s)` takes the axis of %d apart", source_text(b, st->values[0]->at),
                  number ? bind_print(b, "%d", st->n_targets) : a->name, st->n_targets);
        return;
    }
    if (n > st->n_targets)
        diag_help(d, "write a name for each value: `%s, ... =`", st->targets[0].name.text);
}

static void assign_statement(Bind *b, Scope *s, const Stmt *st, const Requests *asked)
{
    bool keep = asked->holds;
    const char *outer = b->hint;
    int first = b->model->next_id;
    b->hint = hint_for(b, st->targets[0].name.text);
    Term t = eval(b, s, st->values[0]);
    if (asked->linearize && t.kind != TERM_POISON)
        request_mark_attention(b, first, asked->linearize, asked->linearize_at);
    if (asked->lowrank && t.kind != TERM_POISON)
        request_mark_products(b, first, asked->lowrank, asked->lowrank_at);
    bool list = t.kind == TERM_LIST;
    int n = list ? t.n_items : 1;
    if (t.kind != TERM_POISON && n != st->n_targets) {
        refuse_count(b, st, &t, n);
        t = term_poison();
    }
    for (int i = 0; i < st->n_targets; i++) {
        Term item = t.kind == TERM_POISON ? t : list ? t.items[i] : t;
        if (item.kind == TERM_TENSOR) {
            if (list && item.node->id >= first)
                item.node->name = hint_for(b, st->targets[i].name.text);
            name_steps(b, item.node, first, item.node->name);
            if (keep)
                attr_set_bool(b->cx, item.node, ATTR_keep, true);
        } else if (keep && item.kind != TERM_POISON) {
            bind_error(b, "E0128", st->annotations[0].at, "the annotation is meant for a tensor, and this is %s",
                       term_print(b, &item));
        }
        assign(b, s, &st->targets[i], item, st->values[0]->at);
    }
    b->hint = outer;
}

/* ---- assert ----------------------------------------------------------------------------------------------------- */

static void note_names(Bind *b, Diag *d, Scope *s, const Expr *e, Map *seen)
{
    if (!e)
        return;
    if (e->kind == EXPR_NAME && !map_has(seen, e->text)) {
        Var *v = scope_find(s, e->text);
        map_set(seen, e->text, d);
        if (v && v->term.origin)
            diag_origin(b, d, &v->term);
        else if (v && (v->term.kind == TERM_SIZE || v->term.kind == TERM_TEXT || v->term.kind == TERM_FLOAT))
            diag_note(d, "`%s` = %s", e->text, term_print(b, &v->term));
    }
    for (const Expr *p = e; p && p->kind == EXPR_BINARY; p = p->left) {
        note_names(b, d, s, p->right, seen);
        if (p->left->kind != EXPR_BINARY)
            note_names(b, d, s, p->left, seen);
    }
    if (e->kind == EXPR_UNARY)
        note_names(b, d, s, e->left, seen);
}

/* The symbol that the size is, or NULL. */
static Symbol *bare_symbol(const Term *t)
{
    bool bare = t->kind == TERM_SIZE && t->size.n == 1 && t->size.factor[0] == 1 && t->size.base == 0;
    return bare ? (Symbol *)(uintptr_t)t->size.symbol[0] : NULL; /* ours: bind_symbol made it */
}

/* assert S <= P, assert S >= 2: a size known at run time gets a bound, which sessions check. */
static bool assert_bound(const Term *x, const Term *y, int op)
{
    int64_t limit;
    bool strict = op == '<' || op == '>', below = op == '<' || op == OP2_LE;
    Symbol *symbol = bare_symbol(x);
    if (!symbol && bare_symbol(y))
        return assert_bound(y, x, below ? (strict ? '>' : OP2_GE) : strict ? '<' : OP2_LE);
    if (!symbol || !term_is_int(y, &limit))
        return false;
    limit += strict ? (below ? -1 : 1) : 0;
    if (below ? limit < symbol->low : limit > symbol->high)
        return false;
    if (below && limit < symbol->high)
        symbol->high = limit;
    if (!below && limit > symbol->low)
        symbol->low = limit;
    return true;
}

/* One part of the condition. False if it cannot be decided, which was reported. */
static bool decide(Bind *b, Scope *s, const Expr *e, bool *good)
{
    if (e->kind != EXPR_BINARY || (e->op != '<' && e->op != '>' && e->op != OP2_LE && e->op != OP2_GE))
        return eval_flag(b, s, e, "the condition of `assert`", good);
    Term x = eval(b, s, e->left), y = eval(b, s, e->right);
    *good = x.kind != TERM_POISON && y.kind != TERM_POISON && assert_bound(&x, &y, e->op);
    if (*good || x.kind == TERM_POISON || y.kind == TERM_POISON)
        return *good;
    Term t = operator_binary(b, x, y, e->op, e);
    *good = t.kind == TERM_BOOL && t.flag;
    return t.kind != TERM_POISON;
}

bool statement_assert(Bind *b, Scope *s, const Stmt *st)
{
    const Expr *e = st->values[0];
    int n = 1;
    for (const Expr *p = e; p->kind == EXPR_BINARY && p->op == '&'; p = p->left)
        n++;
    const Expr **parts = arena_array(b->cx->arena, (size_t)n, sizeof *parts);
    for (int i = n; i > 1; e = e->left)
        parts[--i] = e->right;
    parts[0] = e;
    e = st->values[0];
    for (int i = 0; i < n; i++) {
        const Expr *part = parts[i];
        bool good;
        if (!decide(b, s, part, &good))
            return false;
        if (good)
            continue;
        Map seen = map_new(b->cx->arena);
        Span at = st->message ? (b->at = e->at, bind_site(b)) : part->at;
        Diag *d = bind_error(b, "E0209", at, "%s",
                             st->message ? st->message : bind_print(b, "`%s` does not hold", source_text(b, part->at)));
        note_names(b, d, s, part, &seen);
        return false;
    }
    return true;
}

/* ---- scopes ----------------------------------------------------------------------------------------------------- */

static void scoped_body(Bind *b, Scope *s, const Stmt *st)
{
    const char *outer = b->path, *path = path_join(b, st->path, st->path_at, NULL);
    if (path)
        b->path = path;
    statement_body(b, s, st->body);
    b->path = outer;
}

/* What follows in this block depends on what failed: its results are poison. */
static void give_up(Bind *b)
{
    if (!b->frame)
        return;
    b->frame->returned = true;
    b->frame->results = bind_new(b, sizeof(Term));
    b->frame->results[0] = term_poison();
    b->frame->n_results = 1;
}

static void choose_body(Bind *b, Scope *s, const Stmt *st)
{
    bool condition;
    if (!eval_flag(b, s, st->values[0], "the condition of `if`", &condition)) {
        give_up(b);
        return;
    }
    if (condition)
        statement_body(b, s, st->body);
    else if (st->otherwise)
        statement_body(b, s, st->otherwise);
}

static void return_statement(Bind *b, Scope *s, const Stmt *st)
{
    for (Scope *around = s; around; around = around->parent) {
        if (!around->repeat)
            continue;
        bind_error(b, "E0205", st->at, "`return` cannot stand inside `repeat`");
        return;
    }
    Frame *f = b->frame;
    const char *outer = b->hint;
    bool list = false;
    f->results = arena_array(b->cx->arena, (size_t)st->n_values + 1, sizeof *f->results);
    for (int i = 0; i < st->n_values; i++) {
        const Ident *name = i < f->decl->n_results && f->decl->kind == DECL_MODEL ? &f->decl->results[i].name : NULL;
        b->hint = name && name->text ? name->text : f->hint;
        int first = b->model->next_id;
        f->results[i] = eval(b, s, st->values[i]);
        if (name && f->results[i].kind == TERM_TENSOR)
            name_steps(b, f->results[i].node, first, b->hint);
        list = f->results[i].kind == TERM_LIST;
    }
    f->n_results = st->n_values;
    if (st->n_values == 1 && list) { /* return split(...): the values of one call */
        f->n_results = f->results[0].n_items;
        f->results = f->results[0].items;
    }
    b->hint = outer;
    f->return_at = st->n_values ? span_join(st->values[0]->at, st->values[st->n_values - 1]->at) : st->at;
    f->returned = true;
}

static void statement(Bind *b, Scope *s, const Stmt *st)
{
    Requests asked = read_annotations(b, s, st);
    switch (st->kind) {
    case STMT_ASSIGN: assign_statement(b, s, st, &asked); break;
    case STMT_REPEAT: statement_repeat(b, s, st, asked.holds); break;
    case STMT_AT: scoped_body(b, s, st); break;
    case STMT_IF: choose_body(b, s, st); break;
    case STMT_ASSERT:
        if (!statement_assert(b, s, st))
            give_up(b);
        break;
    case STMT_RETURN: return_statement(b, s, st); break;
    case STMT_ERROR: b->exhausted = true; break; /* reported by the parser */
    }
}

void statement_body(Bind *b, Scope *s, const Body *body)
{
    for (int i = 0; i < body->n && !b->exhausted; i++) {
        if (b->frame && b->frame->returned)
            return;
        Span outer = b->at, site = b->site;
        b->at = body->items[i]->at;
        if (!bind_in_library(b, b->at))
            b->site = b->at;
        statement(b, s, body->items[i]);
        b->at = outer;
        b->site = site;
    }
}
