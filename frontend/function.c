/* Functions: fn(i, j) => j <= i, and masks joined by & | !. A function sees the names around the place where it
 * is written.
 *
 * A call by position gives every parameter a value. A call by name (as attention makes it: b=, h=, i=, j=) gives
 * a function what it asks for: fn(i, j) leaves out b and h. */
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
        if (strlen(lambda->params[i].text) != 1 || !strchr("bhij", lambda->params[i].text[0]))
            return false;
    return true;
}

static bool bind_params(Bind *b, Call *c, const Expr *lambda, Scope *s)
{
    bool names = by_name(c), good = true;
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
        Given *g = names ? named(c, lambda->params[i].text) : &c->given[i];
        if (!g) {
            Diag *d = bind_error(b, "E0124", lambda->params[i].at, "`%s` calls the function without an argument `%s`",
                                 c->name, lambda->params[i].text);
            diag_help(d, "the parameters of such a function are %s; it may leave out those it does not need",
                      names_given(b, c));
            return false;
        }
        Term t = given_term(b, c, g);
        good = good && t.kind != TERM_POISON;
        scope_set(b, s, lambda->params[i].text, t, g->at.source ? g->at : lambda->params[i].at);
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
