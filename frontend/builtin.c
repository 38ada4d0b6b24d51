/* Builtin operators: giving arguments to parameters as the signature says, and the simple ones. */
#include "bind.h"

#include <ctype.h>
#include <string.h>

const Builtin builtins[] = {
#define OPERATOR(name, signature, sentence) {#name, signature, sentence, builtin_##name},
#include "operators.def"
#undef OPERATOR
};
const int n_builtins = sizeof builtins / sizeof *builtins;

const Builtin *builtin_find(const char *name)
{
    for (int i = 0; i < n_builtins; i++)
        if (!strcmp(builtins[i].name, name))
            return &builtins[i];
    return NULL;
}

/* ---- signatures ------------------------------------------------------------------------------------------------- */

enum { MAX_PARAMS = 16 };

typedef struct Signature {
    const char *params[MAX_PARAMS]; /* interned */
    bool required[MAX_PARAMS];
    int n, rest; /* rest: position of `...`, -1 if there is none */
} Signature;

static Signature read_signature(Bind *b, const char *text)
{
    Signature s = {.rest = -1};
    const char *p = strchr(text, '(') + 1;
    while (*p != ')') {
        const char *end = p;
        while (isalnum((unsigned char)*end) || *end == '_' || *end == '.')
            end++;
        if (*p == '.')
            s.rest = s.n;
        else {
            s.required[s.n] = *end != '=';
            s.params[s.n++] = name_of_n(b->cx->names, p, (size_t)(end - p));
        }
        while (*end != ',' && *end != ')')
            end++;
        while (*end == ',' || *end == ' ')
            end++;
        p = end;
    }
    return s;
}

/* The axis that other libraries would count: dim=1. */
static const char *axis_numbered(Bind *b, const Call *c, const Given *g)
{
    const Term *x = &c->given[0].term;
    Term t = g->expr ? eval(b, c->scope, g->expr) : term_none();
    int64_t at;
    if (!c->given[0].evaluated || x->kind != TERM_TENSOR || !term_is_int(&t, &at))
        return "S";
    at += at < 0 ? x->node->type->rank : 0;
    return at >= 0 && at < x->node->type->rank ? x->node->type->axis[at].name : "S";
}

static void refuse_name(Bind *b, Call *c, const Given *g, const Signature *s, const Builtin *f)
{
    Diag *d = bind_error(b, "E0124", g->name_at, "`%s` has no parameter `%s`", c->name, g->name);
    const char *near = name_nearest(g->name, s->params, (size_t)s->n);
    if (near)
        diag_caret(d, "a similar one exists: `%s`", near);
    diag_note(d, "it is %s", f->signature);
    if (c->n_given && !c->given[0].name)
        given_term(b, c, &c->given[0]);
    bool axis = !strcmp(g->name, "dim") || !strcmp(g->name, "axis");
    for (int i = 0; i < s->n && axis; i++)
        if (!strcmp(s->params[i], "over"))
            diag_help(d, "axes have names: write `over=%s`", axis_numbered(b, c, g));
}

static bool give(Bind *b, Call *c, const Signature *s, const Builtin *f)
{
    int next = 0;
    for (int i = 0; i < c->n_given; i++) {
        const Given *g = &c->given[i];
        int p = 0;
        if (!g->name && s->rest >= 0 && next >= s->rest)
            continue;
        if (!g->name)
            p = next++;
        else
            while (p < s->n && s->params[p] != g->name)
                p++;
        if (p >= s->n && g->name) {
            refuse_name(b, c, g, s, f);
            return false;
        }
        if (p >= s->n || c->place[p] >= 0) {
            const char *why =
                p >= s->n ? "too many arguments for" : bind_print(b, "`%s` is given twice to", s->params[p]);
            diag_note(bind_error(b, "E0124", g->at, "%s `%s`", why, c->name), "it is %s", f->signature);
            return false;
        }
        c->place[p] = i;
    }
    for (int p = 0; p < s->n; p++) {
        if (!s->required[p] || c->place[p] >= 0)
            continue;
        diag_note(bind_error(b, "E0124", c->name_at, "`%s` needs an argument for `%s`", c->name, s->params[p]),
                  "it is %s", f->signature);
        return false;
    }
    return true;
}

Term builtin_call(Bind *b, Call *c, const Builtin *f)
{
    Signature s = read_signature(b, f->signature);
    int place[MAX_PARAMS];
    for (int i = 0; i < MAX_PARAMS; i++)
        place[i] = -1;
    c->place = place;
    c->params = s.params;
    c->n_params = s.n;
    return give(b, c, &s, f) ? f->run(b, c) : term_poison();
}

/* ---- arguments -------------------------------------------------------------------------------------------------- */

Given *arg_given(Call *c, int param)
{
    return c->place[param] < 0 ? NULL : &c->given[c->place[param]];
}

Term arg_term(Bind *b, Call *c, int param)
{
    Given *g = arg_given(c, param);
    return g ? given_term(b, c, g) : term_none();
}

Node *arg_tensor(Bind *b, Call *c, int param)
{
    Term t = arg_term(b, c, param);
    return tensor_of(b, &t, DT_F32, bind_print(b, "`%s` of `%s`", c->params[param], c->name));
}

Node *arg_float(Bind *b, Call *c, int param)
{
    Node *x = arg_tensor(b, c, param);
    if (!x)
        return NULL;
    if (x->type->dtype == DT_BOOL) {
        Diag *d = bind_error(b, "E0202", b->at, "`%s` needs numbers, not %s", c->name, type_text(b, x->type));
        diag_help(d, "`as f32` makes 1 of true and 0 of false");
        return NULL;
    }
    return make_cast(b, x, DT_F32);
}

bool arg_dims(Bind *b, Call *c, int param, const Dim ***dims, int *n)
{
    Given *g = arg_given(c, param);
    Term t = arg_term(b, c, param);
    return dims_of(b, &t, g ? g->expr : NULL, dims, n);
}

/* A name that nothing binds, but an axis of the tensor has, means that axis: over=T, where a cache made T. */
static void bind_own_axis(Bind *b, Scope *s, const Expr *e, const Type *t)
{
    int axis = e->kind == EXPR_NAME ? type_find(t, e->text) : -1;
    if (axis >= 0 && !scope_find(s, e->text) && !scope_find(b->library_globals, e->text))
        scope_set(b, s, e->text, term_dim(dim_new(b, e->text, e->text, t->axis[axis].size, NULL)), e->at);
}

bool arg_dims_in(Bind *b, Call *c, int param, const Type *t, const Dim ***dims, int *n)
{
    const Given *g = arg_given(c, param);
    const Expr *e = g && !g->evaluated ? g->expr : NULL;
    if (e && (e->kind == EXPR_TUPLE || e->kind == EXPR_LIST))
        for (int i = 0; i < e->n_items; i++)
            bind_own_axis(b, c->scope, e->items[i], t);
    else if (e)
        bind_own_axis(b, c->scope, e, t);
    return arg_dims(b, c, param, dims, n);
}

bool arg_over(Bind *b, Call *c, int param, const Type *t, bool over[MAX_RANK])
{
    Given *g = arg_given(c, param);
    const Dim **dims;
    int n;
    for (int i = 0; i < MAX_RANK; i++)
        over[i] = !g && i == t->rank - 1;
    if (!g)
        return true;
    if (!arg_dims_in(b, c, param, t, &dims, &n))
        return false;
    for (int i = 0; i < n; i++) {
        int axis = axis_of(b, t, dims[i], g->at, bind_print(b, "the tensor given to `%s`", c->name));
        if (axis < 0)
            return false;
        over[axis] = true;
    }
    return true;
}

bool arg_axis(Bind *b, Call *c, int param, const Type *t, int *axis)
{
    bool over[MAX_RANK];
    int n = 0;
    if (!arg_over(b, c, param, t, over))
        return false;
    for (int i = 0; i < t->rank; i++) {
        if (!over[i])
            continue;
        *axis = i;
        n++;
    }
    if (n == 1)
        return true;
    Given *g = arg_given(c, param);
    bind_error(b, "E0305", g ? g->at : b->at, "`%s` needs one axis", c->name);
    return false;
}

bool arg_flag(Bind *b, Call *c, int param, bool otherwise, bool *out)
{
    Given *g = arg_given(c, param);
    Term t = arg_term(b, c, param);
    *out = g && t.kind == TERM_BOOL ? t.flag : otherwise;
    if (!g || t.kind == TERM_BOOL)
        return true;
    if (t.kind != TERM_POISON)
        diag_origin(
            b, bind_error(b, "E0201", g->at, "`%s` must be true or false, not %s", c->params[param], term_print(b, &t)),
            &t);
    return false;
}
