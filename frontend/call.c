/* Calls: finding what is called, giving arguments to parameters, and inlining blocks. */
#include "bind.h"

#include <string.h>

/* ---- arguments -------------------------------------------------------------------------------------------------- */

Term given_term(Bind *b, Call *c, Given *g)
{
    if (g->evaluated)
        return g->term;
    g->evaluated = true;
    g->term = eval(b, c->scope, g->expr);
    if (g->term.kind == TERM_ABSENT) {
        config_refuse_absent(b, &g->term, g->at);
        g->term = term_poison();
    }
    return g->term;
}

static void collect_given(Bind *b, Call *c, const Expr *e, const Term *piped, Span piped_at)
{
    c->given = arena_array(b->cx->arena, (size_t)e->n_args + 1, sizeof *c->given);
    if (piped)
        c->given[c->n_given++] = (Given){.at = piped_at, .term = *piped, .evaluated = true};
    for (int i = 0; i < e->n_args; i++) {
        const Arg *a = &e->args[i];
        c->given[c->n_given++] =
            (Given){.name = a->name.text, .name_at = a->name.at, .at = a->value->at, .expr = a->value};
    }
}

const Param *decl_param(const Decl *d, const char *name)
{
    for (int i = 0; i < d->n_params; i++)
        if (!strcmp(d->params[i].name.text, name))
            return &d->params[i];
    return NULL;
}

const Expr *default_argument(Bind *b, const Call *c, const char *param)
{
    const Decl *d = bind_in_library(b, c->at) ? NULL : map_get(&b->defaults, c->name);
    for (int i = 0; d && i < d->n_args; i++)
        if (d->args[i].name.text == param)
            return d->args[i].value;
    return NULL;
}

static void refuse_argument(Bind *b, const Call *c, const Given *g, const Decl *decl)
{
    const char **names = arena_array(b->cx->arena, (size_t)decl->n_params + 1, sizeof *names);
    Text list = text_new(b->cx->arena);
    for (int i = 0; i < decl->n_params; i++) {
        names[i] = decl->params[i].name.text;
        text_add(&list, "%s`%s`", i ? ", " : "", names[i]);
    }
    Diag *d = bind_error(b, "E0124", g->name_at, "`%s` has no parameter `%s`", c->name, g->name);
    const char *near = name_nearest(g->name, names, (size_t)decl->n_params);
    if (near)
        diag_caret(d, "a similar one exists: `%s`", near);
    else
        diag_note(d, "its parameters are %s", decl->n_params ? list.data : "none");
}

static bool is_kind(const Param *p, const char *kind)
{
    return p->type && !p->type->has_axes && p->type->dtype.text && !strcmp(p->type->dtype.text, kind);
}

static bool is_axes(const Param *p)
{
    return is_kind(p, "axes");
}

/* `in: axes` stands in another parameter's type: the type binds it when the call does not. */
static bool bound_by_type(const Decl *decl, const Param *p)
{
    for (int i = 0; i < decl->n_params; i++) {
        const TypeExpr *t = decl->params[i].type;
        for (int k = 0; t && k < t->n_axes; k++)
            if (t->axes[k]->kind == EXPR_NAME && t->axes[k]->text == p->name.text)
                return true;
    }
    return false;
}

/* The call with the argument put in: behind those that are given by position. */
static void refuse_missing(Bind *b, const Call *c, const Param *param)
{
    Diag *d = bind_error(b, "E0124", c->name_at, "`%s` needs an argument for `%s`", c->name, param->name.text);
    Text call = text_new(b->cx->arena), named = text_new(b->cx->arena);
    for (int i = 0; i < c->n_given; i++) {
        const Given *g = &c->given[i];
        if (g->name)
            text_add(&named, ", %s=%s", g->name, source_text(b, g->at));
        else if (g->expr)
            text_add(&call, "%s, ", source_text(b, g->at));
    }
    text_add(&call, "%s%s", param->name.text, named.length ? named.data : "");
    const char *kind = !param->type                                     ? NULL
                       : is_axes(param)                                 ? "an axis, or several in parentheses"
                       : is_kind(param, "text")                         ? "a text in quotes"
                       : is_kind(param, "index")                        ? "the number of a round"
                                                                        : type_expr_text(b, param->type);
    if (kind && !scope_find(c->scope, param->name.text))
        diag_help(d, "write `%s(%s)`, where `%s` is %s", c->name, call.data, param->name.text, kind);
    else
        diag_help(d, "write `%s(%s)`", c->name, call.data);
}

static bool match(Bind *b, Call *c, const Decl *decl, Given **got)
{
    int next = 0;
    for (int i = 0; i < c->n_given; i++) {
        Given *g = &c->given[i];
        int p = 0;
        if (!g->name)
            p = next++;
        else
            while (p < decl->n_params && decl->params[p].name.text != g->name)
                p++;
        if (p >= decl->n_params && g->name) {
            refuse_argument(b, c, g, decl);
            return false;
        }
        if (p >= decl->n_params) {
            Diag *d = bind_error(b, "E0124", g->at, "`%s` takes at most %d argument%s", c->name, decl->n_params,
                                 decl->n_params == 1 ? "" : "s");
            diag_caret(d, "one too many");
            return false;
        }
        if (got[p]) {
            bind_error(b, "E0124", g->name ? g->name_at : g->at, "`%s` gets `%s` twice", c->name,
                       decl->params[p].name.text);
            return false;
        }
        got[p] = g;
    }
    for (int p = 0; p < decl->n_params; p++) {
        const Param *param = &decl->params[p];
        const Expr *otherwise = got[p] ? NULL : default_argument(b, c, param->name.text);
        if (otherwise) {
            got[p] = bind_new(b, sizeof *got[p]);
            *got[p] = (Given){.name = param->name.text, .at = otherwise->at, .expr = otherwise, .evaluated = true};
            got[p]->term = eval(b, b->globals, otherwise);
        }
        if (got[p] || param->value || (is_axes(param) && bound_by_type(decl, param)))
            continue;
        refuse_missing(b, c, param);
        return false;
    }
    return true;
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

static bool refuse_recursion(Bind *b, const Call *c, const Decl *decl)
{
    const Frame *f = b->frame;
    while (f && f->decl != decl)
        f = f->caller;
    if (!f)
        return false;
    Text cycle = text_new(b->cx->arena);
    text_add(&cycle, "`%s`", decl->name.text);
    for (const Frame *g = b->frame; g != f->caller; g = g->caller) {
        char *tail = cycle.data;
        cycle = text_new(b->cx->arena);
        text_add(&cycle, "`%s` -> %s", g->decl->name.text, tail);
    }
    Diag *d = bind_error(b, "E0125", c->name_at, "the block `%s` calls itself", decl->name.text);
    diag_caret(d, "%s", cycle.data);
    diag_note(d, "blocks are inlined where they are called; `repeat` runs a body several times");
    b->exhausted = true;
    return true;
}

static bool wrong_kind(Bind *b, const Call *c, const Given *g, const Param *p, const Term *t, const char *needed)
{
    if (!origin_blame(b, t))
        return false;
    Diag *d = bind_error(b, origin_code(t, "E0201"), g->at, "`%s` of `%s` must be %s, not %s", p->name.text, c->name,
                         needed, term_print(b, t));
    diag_origin(b, d, t);
    advise_number(d, t);
    return false;
}

/* A parameter that is not a tensor: text, index, or without a type (then its default says what is expected). */
static bool check_kind(Bind *b, const Call *c, const Given *g, const Param *p, const Term *t)
{
    const char *kind = p->type ? p->type->dtype.text : NULL;
    if (kind && !strcmp(kind, "text"))
        return t->kind == TERM_TEXT || wrong_kind(b, c, g, p, t, "a text in quotes");
    if (kind && !strcmp(kind, "index")) {
        bool index = t->kind == TERM_SIZE ||
                     (t->kind == TERM_TENSOR && t->node->type->rank == 0 && t->node->type->dtype == DT_I32);
        return index || wrong_kind(b, c, g, p, t, "the number of a round");
    }
    if (!p->value)
        return true;
    bool flag = p->value->kind == EXPR_TRUE || p->value->kind == EXPR_FALSE;
    if (flag && t->kind != TERM_BOOL)
        return wrong_kind(b, c, g, p, t, "true or false");
    if (p->value->kind == EXPR_TEXT && t->kind != TERM_TEXT)
        return wrong_kind(b, c, g, p, t, "a text in quotes");
    if (p->value->kind == EXPR_NUMBER && (t->kind == TERM_TEXT || t->kind == TERM_FUNCTION || t->kind == TERM_JSON))
        return wrong_kind(b, c, g, p, t, "a number");
    return true;
}

static bool is_tensor_param(const Param *p)
{
    DType dtype;
    return p->type && (p->type->has_axes || (p->type->dtype.text && dtype_from_name(p->type->dtype.text, &dtype)));
}

static bool bind_param(Bind *b, Call *c, Frame *f, Scope *local, const Param *p, const Given *g, Term t)
{
    if (t.kind == TERM_POISON)
        return false;
    if (is_axes(p))
        return unify_axes(b, f, local, p, g);
    if (is_tensor_param(p)) {
        if (!unify(b, f, local, p, g, &t))
            return false;
    } else if (!check_kind(b, c, g, p, &t)) {
        return false;
    }
    scope_set(b, local, p->name.text, t, g->at);
    return true;
}

/* Given arguments first, in the order of the parameters; then defaults, which may use what those have bound. */
static bool bind_params(Bind *b, Call *c, Frame *f, Scope *local, Given **got)
{
    const Decl *decl = f->decl;
    bool good = true;
    const char *hint = b->hint;
    for (int p = 0; p < decl->n_params && good; p++) {
        if (!got[p])
            continue;
        if (f->library)
            b->hint =
                name_of(b->cx->names, bind_print(b, "%s.%s", hint ? hint : decl->name.text, decl->params[p].name.text));
        good = bind_param(b, c, f, local, &decl->params[p], got[p], got[p]->term);
        b->hint = hint;
    }
    for (int p = 0; p < decl->n_params && good; p++) {
        const Param *param = &decl->params[p];
        if (got[p] || !param->value)
            continue;
        Frame *outer = b->frame;
        b->frame = f;
        Given g = {.name = param->name.text, .at = c->at, .expr = param->value, .evaluated = true};
        g.term = eval(b, local, param->value);
        good = bind_param(b, c, f, local, param, &g, g.term);
        b->frame = outer;
    }
    return good;
}

/* Says which argument gave the result its new axes: linear(x, "q_proj", (H, K)), embed(0..P, "positions", P, D). */
static void mark_axes(Bind *b, const Frame *f, const Scope *local, const Term *result)
{
    for (int p = 0; p < f->decl->n_params && result->kind == TERM_TENSOR; p++) {
        const Given *g = f->given[p];
        const Var *v = map_get(&local->vars, f->decl->params[p].name.text);
        if (!is_axes(&f->decl->params[p]) || !g || !g->expr || !v || v->term.kind != TERM_AXES)
            continue;
        bool listed = g->expr->kind == EXPR_TUPLE && g->expr->n_items == v->term.n_dims;
        for (int i = 0; i < v->term.n_dims; i++) {
            const char *axis = v->term.dims[i]->axis;
            for (int k = 0; k < f->n_axes; k++)
                if (f->axes[k].dim == v->term.dims[i])
                    axis = f->axes[k].outer;
            axis_mark(b, result->node, axis, listed ? g->expr->items[i]->at : g->expr->at);
        }
    }
    for (int p = 0; p < f->decl->n_params && result->kind == TERM_TENSOR; p++)
        for (int k = 0; k < f->n_axes && f->given[p] && f->given[p]->term.kind == TERM_RANGE; k++)
            if (f->axes[k].param == f->decl->params[p].name.text && f->given[p]->expr)
                axis_mark(b, result->node, f->axes[k].outer, f->given[p]->at);
}

static Term block_results(Bind *b, Frame *f, Scope *local)
{
    const Decl *decl = f->decl;
    Term *out = arena_array(b->cx->arena, (size_t)decl->n_results + 1, sizeof *out);
    for (int i = 0; i < f->n_results; i++)
        if (f->results[i].kind == TERM_POISON)
            return term_poison();
    if (!f->returned) {
        bind_error(b, "E0204", decl->name.at, "`%s` ends without `return`", decl->name.text);
        return term_poison();
    }
    if (f->n_results != decl->n_results) {
        Diag *d = bind_error(b, "E0203", f->return_at, "`%s` returns %d value%s, but %d %s declared", decl->name.text,
                             f->n_results, f->n_results == 1 ? "" : "s", decl->n_results,
                             decl->n_results == 1 ? "is" : "are");
        diag_label(d, decl->name.at, "declared here");
        advise_results(d, decl);
        return term_poison();
    }
    for (int i = 0; i < decl->n_results; i++) {
        out[i] = unify_result(b, f, local, decl->results[i].type, f->results[i], f->return_at);
        if (out[i].kind == TERM_POISON)
            return out[i];
    }
    return decl->n_results == 1 ? out[0] : (Term){.kind = TERM_LIST, .items = out, .n_items = decl->n_results};
}

Term call_block(Bind *b, Call *c, const Decl *decl, bool library, const char *path)
{
    if (refuse_recursion(b, c, decl))
        return term_poison();
    Given **got = arena_array(b->cx->arena, (size_t)decl->n_params + 1, sizeof *got);
    if (!match(b, c, decl, got))
        return term_poison();
    for (int i = 0; i < decl->n_params; i++)
        if (got[i])
            given_term(b, c, got[i]);
    Frame *f = bind_new(b, sizeof *f);
    *f = (Frame){.decl = decl,
                 .caller = b->frame,
                 .call = c->at,
                 .name_at = c->name_at,
                 .library = library,
                 .hint = b->hint,
                 .given = got};
    Scope *local = scope_open(b, library ? b->library_globals : b->globals);
    if (!bind_params(b, c, f, local, got))
        return term_poison();
    const char *outer_path = b->path, *outer_hint = b->hint;
    Span outer_at = b->at;
    b->frame = f;
    b->path = path;
    statement_body(b, local, decl->body);
    Term t = block_results(b, f, local);
    mark_axes(b, f, local, &t);
    b->frame = f->caller;
    b->path = outer_path;
    b->hint = outer_hint;
    b->at = outer_at;
    return t;
}

/* ---- what is called --------------------------------------------------------------------------------------------- */

static Term call_name(Bind *b, Call *c, const char *path)
{
    bool library = bind_in_library(b, c->at);
    Var *v = scope_find(c->scope, c->name);
    const Decl *decl;
    const Builtin *builtin;
    if (v && v->term.kind == TERM_FUNCTION)
        return call_function(b, c, v->term.function);
    if (!library && (decl = map_get(&b->blocks, c->name))) {
        if (decl->kind == DECL_BLOCK)
            return call_block(b, c, decl, false, path);
        bind_error(b, "E0212", c->name_at, "`%s` is a model, which cannot be called", c->name);
        return term_poison();
    }
    if ((builtin = builtin_find(c->name)))
        return builtin_call(b, c, builtin);
    if ((decl = map_get(&b->library_blocks, c->name)))
        return call_block(b, c, decl, true, path);
    if ((v = scope_find(b->library_globals, c->name)) && v->term.kind == TERM_FUNCTION)
        return call_function(b, c, v->term.function);
    return refuse_unknown_operator(b, c, c->scope);
}

static bool positions_first(Bind *b, const Call *c)
{
    bool named = false;
    for (int i = 0; i < c->n_given; i++) {
        named = named || c->given[i].name;
        if (!named || c->given[i].name)
            continue;
        bind_error(b, "E0124", c->given[i].at, "an argument without a name stands after one with a name");
        return false;
    }
    return true;
}

static Term call_target(Bind *b, Scope *s, const Expr *e, Call *c)
{
    const Expr *target = e->left;
    if (target->kind == EXPR_NAME) {
        c->name = target->text;
        return call_name(b, c, b->path);
    }
    if (target->kind == EXPR_SCOPED) {
        c->name = target->text;
        c->name_at = target->op_at.source ? target->op_at : target->at;
        const char *path = path_join(b, target->scope, target->at, NULL);
        return path ? call_name(b, c, path) : term_poison();
    }
    Term t = eval(b, s, target);
    if (t.kind == TERM_FUNCTION)
        return call_function(b, c, t.function);
    if (t.kind == TERM_POISON)
        return t;
    Diag *d = bind_error(b, "E0212", target->at, "%s cannot be called", term_print(b, &t));
    diag_origin(b, d, &t);
    return term_poison();
}

Term call_eval(Bind *b, Scope *s, const Expr *e, const Term *piped, Span piped_at)
{
    if (e->kind != EXPR_CALL) {
        if (e->kind != EXPR_ERROR)
            diag_help(bind_error(b, "E0101", e->at, "`|>` needs a call on its right"), "write `%s()`",
                      source_text(b, e->at));
        return term_poison();
    }
    if (piped && piped->kind == TERM_POISON)
        return term_poison();
    if (e->left->kind == EXPR_FIELD)
        return cache_method(b, s, e);
    Span outer = b->at, site = b->site;
    b->at = e->at;
    if (!bind_in_library(b, e->at))
        b->site = e->at;
    Call c = {.name = "function", .at = e->at, .name_at = e->left->at, .scope = s};
    collect_given(b, &c, e, piped, piped_at);
    Term t = positions_first(b, &c) ? call_target(b, s, e, &c) : term_poison();
    b->at = outer;
    b->site = site;
    return t;
}
