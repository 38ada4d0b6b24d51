/* What linear_attend and codebook_attend have in common: which axes of queries, keys and values are which, and the
 * inputs after those three, each with its role. */
#include "bind.h"

#include <string.h>

/* ---- axes -------------------------------------------------------------------------------------------------------- */

static Diag *complain(Bind *b, const AttendCall *a, const char *why)
{
    Diag *d = bind_error(b, "E0304", b->at, "`%s`: %s", a->call->name, why);
    const Node *const in[] = {a->q, a->k, a->v};
    for (int i = 0; i < 3; i++)
        diag_note(d, "`%s` is %s", a->call->params[i], type_text(b, in[i]->type));
    return d;
}

static Term refuse(Bind *b, const AttendCall *a, const char *why)
{
    complain(b, a, why);
    return term_poison();
}

/* Queries and keys that call their positions alike. */
static void refuse_keys(Bind *b, const AttendCall *a)
{
    Diag *d = complain(b, a, "keys and values share no axis that the queries lack");
    const Type *k = a->k->type;
    const char *same = NULL;
    Text to = text_new(b->cx->arena);
    for (int i = 0; i < k->rank; i++) {
        const char *name = k->axis[i].name;
        bool positions = name != a->head && type_find(a->v->type, name) >= 0 && type_find(a->q->type, name) >= 0 &&
                         name == a->q->type->axis[a->q->type->rank > 1].name;
        same = positions ? name : same;
        text_add(&to, "%s%s", i ? ", " : "", positions ? "T" : axis_written(b, name));
    }
    if (same)
        diag_help(d, "where keys stand at the positions of the queries, theirs need a name of their own: `k as [%s]`, and `v` likewise",
                  to.data);
}

/* The one axis that x and y have and z lacks: NULL if there is none or another. */
static const char *axis_shared(const Type *x, const Type *y, const Type *z, int *count)
{
    const char *axis = NULL;
    *count = 0;
    for (int i = 0; i < x->rank; i++) {
        const char *name = x->axis[i].name;
        if (type_find(y, name) < 0 || type_find(z, name) >= 0)
            continue;
        axis = name;
        ++*count;
    }
    return *count == 1 ? axis : NULL;
}

/* The axis along which the rows stand: it may be left out if only one can be it. */
static bool find_queries(Bind *b, AttendCall *a, int param)
{
    int count = 0, axis;
    for (int i = a->q->type->rank - 1; i >= 0; i--) {
        if (type_find(a->k->type, a->q->type->axis[i].name) >= 0)
            continue;
        a->queries = a->q->type->axis[i].name;
        count++;
    }
    if (arg_given(a->call, param)) {
        if (!arg_axis(b, a->call, param, a->q->type, &axis))
            return false;
        a->queries = a->q->type->axis[axis].name;
        if (type_find(a->k->type, a->queries) < 0)
            return true;
        refuse(b, a, bind_print(b, "the axis of the rows, `%s`, is one of the keys", axis_written(b, a->queries)));
        return false;
    }
    if (count == 1)
        return true;
    Diag *d = complain(b, a, count ? "several axes of the queries may be that of the rows" : "the queries have no axis of their own");
    if (count)
        diag_help(d, "say along which the rows stand: `queries=%s`", axis_written(b, a->queries));
    return false;
}

bool attend_operands(Bind *b, Call *c, int queries, AttendCall *a)
{
    int heads, keys;
    *a = (AttendCall){.call = c, .q = arg_float(b, c, 0), .k = arg_float(b, c, 1), .v = arg_float(b, c, 2)};
    if (!a->q || !a->k || !a->v)
        return false;
    const Type *q = a->q->type, *k = a->k->type, *v = a->v->type;
    a->head = axis_shared(q, k, v, &heads);
    if (!a->head && !heads && q->rank && type_find(k, q->axis[q->rank - 1].name) >= 0) /* the values' own has this name */
        a->head = q->axis[q->rank - 1].name;
    a->keys = axis_shared(k, v, q, &keys);
    if (!a->head)
        refuse(b, a, heads ? "more than one axis may be the heads' own" : "queries and keys share no axis to be summed");
    else if (!a->keys && !keys)
        refuse_keys(b, a);
    else if (!a->keys)
        refuse(b, a, "keys and values share more than one axis that the queries lack");
    else if (!extent_is_const(q->axis[type_find(q, a->head)].size))
        refuse(b, a, "the size of the heads is not known at compile time");
    return a->head && a->keys && extent_is_const(q->axis[type_find(q, a->head)].size) && find_queries(b, a, queries);
}

/* ---- inputs with a role ------------------------------------------------------------------------------------------ */

/* attention calls the heads of queries and keys alike where they are as many; what the model gives for each head has the name that it
 * has in the model. */
Node *attend_heads(Bind *b, const AttendCall *a, Node *w)
{
    const Type *k = a->k->type;
    int odd = -1, own = -1, odds = 0, owns = 0;
    for (int i = 0; i < w->type->rank - 2; i++)
        if (type_find(k, w->type->axis[i].name) < 0) {
            odd = i;
            odds++;
        }
    for (int i = 0; i < k->rank && odds == 1; i++) {
        const Axis *x = &k->axis[i];
        if (x->name == a->head || x->name == a->keys || type_find(w->type, x->name) >= 0 ||
            !extent_equal(x->size, w->type->axis[odd].size))
            continue;
        own = i;
        owns++;
    }
    return bind_in_library(b, b->at) && owns == 1 ? make_rename(b, w, odd, k->axis[own].name) : w;
}

void attend_role(AttendCall *a, const char *role, Node *x)
{
    a->roles[a->n_roles] = role;
    a->inputs[a->n_roles++] = x;
}

Node *attend_emit(Bind *b, AttendCall *a, Op op)
{
    Node *inputs[3 + ATTEND_ROLES] = {a->q, a->k, a->v};
    for (int i = 0; i < a->n_roles; i++)
        inputs[3 + i] = a->inputs[i];
    Node *n = emit(b, op, NULL, 3 + a->n_roles, inputs);
    attr_set_names(b->cx, n, ATTR_over, &a->head, 1);
    attr_set_name(b->cx, n, ATTR_keys, a->keys);
    attr_set_name(b->cx, n, ATTR_queries, a->queries);
    if (a->n_roles)
        attr_set_names(b->cx, n, ATTR_roles, a->roles, a->n_roles);
    return n;
}

bool attend_finish(Bind *b, AttendCall *a, Node *n)
{
    const char *reason = NULL;
    n->type = infer_type(b->cx, n, NULL, &reason);
    if (n->type)
        return true;
    node_remove(n);
    refuse(b, a, reason);
    return false;
}

bool attend_mask(Bind *b, AttendCall *a, int param)
{
    const Given *g = arg_given(a->call, param);
    Term t = arg_term(b, a->call, param);
    if (!g || t.kind == TERM_NONE)
        return true;
    if (t.kind == TERM_TENSOR && t.node->type->dtype == DT_BOOL) {
        attend_role(a, "mask", t.node);
        return true;
    }
    if (t.kind == TERM_BOOL && t.flag)
        return true;
    if (t.kind != TERM_POISON) {
        Diag *d = bind_error(b, "E0201", g->at, "the mask of `%s` is a condition on positions, not %s", a->call->name,
                             term_print(b, &t));
        if (t.kind == TERM_FUNCTION)
            diag_help(d, "call the function: `mask=causal((0..S) + (T - S), 0..T)`; `attention` calls it itself");
    }
    return false;
}

bool attend_number(Bind *b, Call *c, int param, double *out)
{
    const Given *g = arg_given(c, param);
    Term t = arg_term(b, c, param);
    if (!g || t.kind == TERM_NONE || term_is_number(&t, out))
        return true;
    if (t.kind != TERM_POISON)
        diag_origin(b,
                    bind_error(b, origin_code(&t, "E0201"), g->at, "`%s` of `%s` is a number known at compile time, not %s",
                               c->params[param], c->name, term_print(b, &t)),
                    &t);
    return false;
}
