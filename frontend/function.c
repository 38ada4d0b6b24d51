/* Functions: fn(i, j) => j <= i, and masks joined by & | !. A function sees the names around the place where it
 * is written.
 *
 * A call by position gives every parameter a value. A call by name (as attention makes it: b=, h=, i=, j=) gives
 * a function what it asks for: fn(i, j) leaves out b and h. A function with a default, fn(w, eps=0.0), is called as a
 * block is: by position, then by name, and no name that it does not have. */
#include "bind.h"

#include <string.h>

Term function_new(Bind *b, Scope *s, const Expr *lambda)
{
    Function *f = bind_new(b, sizeof *f);
    *f = (Function){.kind = FUNCTION_LAMBDA, .lambda = lambda, .scope = s};
    return (Term){.kind = TERM_FUNCTION, .function = f};
}

/* `all` of std.attar is fn(j) => true: & leaves it out. */
static bool constant(const Function *f, bool *value)
{
    if (f->kind != FUNCTION_LAMBDA)
        return false;
    *value = f->lambda->left->kind == EXPR_TRUE;
    return *value || f->lambda->left->kind == EXPR_FALSE;
}

Term function_combine(Bind *b, FunctionKind kind, const Function *left, const Function *right)
{
    bool value;
    Term t = {.kind = TERM_FUNCTION};
    if (kind != FUNCTION_NOT && constant(left, &value))
        t.function = value == (kind == FUNCTION_AND) ? right : left;
    else if (kind != FUNCTION_NOT && constant(right, &value))
        t.function = value == (kind == FUNCTION_AND) ? left : right;
    if (t.function)
        return t;
    Function *f = bind_new(b, sizeof *f);
    *f = (Function){.kind = kind, .left = left, .right = right};
    t.function = f;
    return t;
}

static Given *named(Call *c, const char *name)
{
    for (int i = 0; i < c->n_given; i++)
        if (c->given[i].name == name)
            return &c->given[i];
    return NULL;
}

static bool by_name(const Call *c)
{
    int n = 0;
    for (int i = 0; i < c->n_given; i++)
        n += c->given[i].name != NULL;
    return n > 0 && n == c->n_given;
}

static const char *names_given(Bind *b, const Call *c)
{
    Text out = text_new(b->cx->arena);
    for (int i = 0; i < c->n_given; i++)
        text_add(&out, "%s`%s`", !i ? "" : i + 1 < c->n_given ? ", " : " and ", c->given[i].name);
    return out.data;
}

/* Are the parameters those that `attention` gives? */
static bool is_mask(const Expr *lambda)
{
    for (int i = 0; i < lambda->n_params; i++)
        if (strlen(lambda->params[i].name.text) != 1 || !strchr("bhij", lambda->params[i].name.text[0]))
            return false;
    return true;
}

static bool has_default(const Expr *lambda)
{
    for (int i = 0; i < lambda->n_params; i++)
        if (lambda->params[i].value)
            return true;
    return false;
}

static bool refuse_call(Bind *b, const Call *c, const Expr *lambda, Diag *d)
{
    if (!bind_in_library(b, lambda->at)) {
        diag_label(d, lambda->at, "it is written here");
        return false;
    }
    Span head = {lambda->at.source, lambda->at.begin + 2, lambda->left->at.begin};
    const char *text = source_text(b, head), *end = strrchr(text, ')');
    diag_note(d, "it is %s%.*s", c->name, (int)(end + 1 - text), text);
    return false;
}

/* kernel=elu1: what a block of std.attar was given makes a function, and is none of those that the block calls. */
static bool refuse_maker(Bind *b, const Call *c, const Expr *lambda)
{
    const Frame *f = b->frame;
    const Given *g = NULL;
    for (int i = 0; f && i < f->decl->n_params; i++)
        if (f->decl->params[i].name.text == name_of(b->cx->names, c->name))
            g = f->given[i];
    const char *text = g && g->expr ? source_text(b, g->at) : c->name;
    Span head = {lambda->at.source, lambda->at.begin + 2, lambda->left->at.begin};
    const char *params = source_text(b, head), *end = strrchr(params, ')');
    Diag *d = bind_error(b, "E0212", g ? g->at : c->at, "`%s` is called with other arguments than `%s` takes", c->name, text);
    diag_help(d, "call it first, for what it gives: `%s=%s%.*s`", c->name, text, (int)(end + 1 - params), params);
    return false;
}

/* The argument of each parameter, NULL if it is left to its default. */
static bool match(Bind *b, Call *c, const Expr *lambda, Given **got)
{
    int next = 0;
    const char **names = arena_array(b->cx->arena, (size_t)lambda->n_params, sizeof *names);
    for (int i = 0; i < lambda->n_params; i++)
        names[i] = lambda->params[i].name.text;
    for (int i = 0; i < c->n_given; i++) {
        Given *g = &c->given[i];
        int p = 0;
        if (!g->name)
            p = next++;
        else
            while (p < lambda->n_params && names[p] != g->name)
                p++;
        if (p < lambda->n_params && !got[p]) {
            got[p] = g;
            continue;
        }
        const char *near = g->name ? name_nearest(g->name, names, (size_t)lambda->n_params) : NULL;
        Diag *d = p < lambda->n_params
                      ? bind_error(b, "E0124", g->at, "`%s` is given twice to `%s`", names[p], c->name)
                  : g->name ? bind_error(b, "E0124", g->name_at, "`%s` has no parameter `%s`", c->name, g->name)
                            : bind_error(b, "E0124", g->at, "too many arguments for `%s`", c->name);
        if (p >= lambda->n_params && near)
            diag_caret(d, "a similar one exists: `%s`", near);
        return refuse_call(b, c, lambda, d);
    }
    for (int i = 0; i < lambda->n_params; i++)
        if (!got[i] && !lambda->params[i].value)
            return refuse_call(
                b, c, lambda,
                bind_error(b, "E0124", c->name_at, "`%s` needs an argument for `%s`", c->name, names[i]));
    return true;
}

static bool match_all(Bind *b, Call *c, const Expr *lambda, Given **got)
{
    bool names = by_name(c);
    if (!names && c->n_given != lambda->n_params) {
        bool named = strcmp(c->name, "function") != 0;
        Diag *d = bind_error(b, "E0124", c->at, "%s takes %d argument%s, not %d",
                             named ? bind_print(b, "`%s`", c->name) : "the function", lambda->n_params,
                             lambda->n_params == 1 ? "" : "s", c->n_given);
        if (!bind_in_library(b, lambda->at))
            diag_label(d, lambda->at, "it is written here");
        else if (is_mask(lambda))
            diag_help(d, "`%s` itself is the mask: it is called for each pair of positions", c->name);
        return false;
    }
    for (int i = 0; i < lambda->n_params; i++) {
        const Ident *name = &lambda->params[i].name;
        got[i] = names ? named(c, name->text) : &c->given[i];
        if (got[i])
            continue;
        Diag *d =
            bind_error(b, "E0124", name->at, "`%s` calls the function without an argument `%s`", c->name, name->text);
        diag_help(d, "the parameters of such a function are %s; it may leave out those it does not need",
                  names_given(b, c));
        return false;
    }
    return true;
}

static bool bind_params(Bind *b, Call *c, const Expr *lambda, Scope *s)
{
    Given **got = arena_array(b->cx->arena, (size_t)lambda->n_params, sizeof *got);
    bool makes = bind_in_library(b, lambda->at) && lambda->left->kind == EXPR_FN && bind_in_library(b, c->at) && by_name(c);
    if (makes)
        return refuse_maker(b, c, lambda);
    bool good = has_default(lambda) ? match(b, c, lambda, got) : match_all(b, c, lambda, got);
    for (int i = 0; i < lambda->n_params && good; i++) {
        const Param *p = &lambda->params[i];
        Term t = got[i] ? given_term(b, c, got[i]) : eval(b, s, p->value);
        good = t.kind != TERM_POISON;
        scope_set(b, s, p->name.text, t, got[i] && got[i]->at.source ? got[i]->at : p->name.at);
    }
    return good;
}

Term call_function(Bind *b, Call *c, const Function *f)
{
    if (f->kind != FUNCTION_LAMBDA) {
        if (b->depth >= BUDGET_DEPTH) {
            if (!b->exhausted)
                bind_error(b, "E0108", b->at, "a mask is joined from too many parts");
            b->exhausted = true;
            return term_poison();
        }
        b->depth++;
        Term left = call_function(b, c, f->left), right = f->right ? call_function(b, c, f->right) : term_none();
        b->depth--;
        if (f->kind == FUNCTION_NOT)
            return operator_unary(b, left, '!');
        return operator_binary(b, left, right, f->kind == FUNCTION_AND ? '&' : '|', NULL);
    }
    Scope *s = scope_open(b, f->scope);
    if (!bind_params(b, c, f->lambda, s))
        return term_poison();
    return eval(b, s, f->lambda->left);
}
