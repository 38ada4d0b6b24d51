/* linear_attend: attention whose weights are products of features of queries and keys. */
#include "bind.h"

#include <math.h>
#include <string.h>

/* Parameters, in the order of the signature. */
enum { P_Q, P_K, P_V, P_FEATURES, P_PROJECTION, P_MASK, P_SCALE, P_EPS, P_RATIO, P_TAU, P_QUERIES };

typedef struct Features {
    const char *name, *projection; /* what its projection is; NULL: it takes none */
    bool needed, scaled;           /* the projection; its scale is width^-0.5 if nothing is said */
    bool eps, ratio, tau;          /* which numbers it takes */
} Features;

static const Features all_features[] = {
    {"none", NULL, false, false, false, false, false},
    {"elu1", NULL, false, false, false, false, false},
    {"relu", "random directions", false, false, true, true, false},
    {"positive", "random directions", true, true, true, false, false},
    {"hyperbolic", "random directions", true, true, false, false, false},
    {"codes", "a codebook", true, true, false, false, true},
};

static const Features *find_features(Bind *b, Call *c)
{
    Term t = arg_term(b, c, P_FEATURES);
    size_t n = sizeof all_features / sizeof *all_features;
    const char *names[sizeof all_features / sizeof *all_features];
    if (t.kind == TERM_NONE)
        return &all_features[0];
    if (t.kind == TERM_POISON)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        names[i] = all_features[i].name;
        if (t.kind == TERM_TEXT && !strcmp(t.text, names[i]))
            return &all_features[i];
    }
    const char *near = t.kind == TERM_TEXT ? name_nearest(t.text, names, n) : NULL;
    Diag *d = bind_error(b, "E0201", arg_given(c, P_FEATURES)->at, "`%s` has no features %s", c->name, term_print(b, &t));
    if (near)
        diag_caret(d, "similar ones exist: \"%s\"", near);
    diag_help(d, "features are \"none\", \"elu1\", \"relu\", \"positive\", \"hyperbolic\" or \"codes\"");
    return NULL;
}

/* [F, K], or with axes of the keys' heads before. */
static bool check_projection(Bind *b, Call *c, const AttendCall *a, const Features *f, const Node *w)
{
    const Type *t = w->type;
    const char *last = t->rank ? t->axis[t->rank - 1].name : NULL;
    if (t->rank >= 2 && last == a->head)
        return true;
    Span at = arg_given(c, P_PROJECTION)->at;
    Diag *d = bind_error(b, t->rank < 2 ? "E0302" : "E0301", at, "%s are rows along the axis `%s` of queries and keys", f->projection,
                         a->head);
    diag_caret(d, "this is %s", type_text(b, t));
    if (t->rank >= 2 && type_find(t, a->head) >= 0)
        diag_help(d, "that axis comes last: [F, %s]", a->head);
    else
        diag_help(d, "a tensor [F, %s] is needed: `weight(\"projection_matrix\", [F, %s])`, or an input of the model", a->head,
                  a->head);
    return false;
}

static bool add_projection(Bind *b, Call *c, AttendCall *a, const Features *f)
{
    Term t = arg_term(b, c, P_PROJECTION);
    if (t.kind == TERM_POISON)
        return false;
    if (t.kind == TERM_NONE && !f->needed)
        return true;
    if (t.kind == TERM_NONE) {
        Diag *d = bind_error(b, "E0124", c->name_at, "`%s` features need a projection, [F, %s]", f->name, a->head);
        diag_help(d, "give %s as `projection=`: a tensor of the checkpoint, or an input of the model", f->projection);
        return false;
    }
    if (!f->projection) {
        bind_error(b, "E0201", arg_given(c, P_PROJECTION)->at, "`%s` features take no projection", f->name);
        return false;
    }
    Node *w = arg_float(b, c, P_PROJECTION);
    if (!w || !check_projection(b, c, a, f, w))
        return false;
    attend_role(a, "projection", attend_heads(b, a, w));
    return true;
}

typedef struct Number {
    int param;
    AttrId attr;
    bool taken;       /* by these features */
    double otherwise; /* what it is if it is not given */
    double absent;    /* this value is not written into the node */
    bool zero;        /* may it be 0? */
} Number;

static bool set_number(Bind *b, Call *c, const Features *f, Node *node, const Number *n)
{
    double value = n->otherwise;
    if (!attend_number(b, c, n->param, &value))
        return false;
    const char *name = c->params[n->param];
    Given *g = arg_given(c, n->param);
    if (!n->taken && g && arg_term(b, c, n->param).kind != TERM_NONE) {
        bind_error(b, "E0201", g->at, "`%s` features take no `%s`", f->name, name);
        return false;
    }
    if (!n->taken)
        return true;
    if (!isfinite(value) || value < 0 || (value == 0 && !n->zero)) {
        Diag *d = bind_error(b, "E0310", g ? g->at : c->at, "`%s` of `%s` must be %s 0, not %g", name, c->name,
                             n->zero ? "at least" : "above", value);
        if (n->param == P_SCALE)
            diag_note(d, "queries and keys are both multiplied by its root before their features are taken");
        return false;
    }
    if (value != n->absent)
        attr_set_float(b->cx, node, n->attr, value);
    return true;
}

/* One number for all keys, the largest exponent, would tell a row about keys that it may not see. */
static bool check_eps(Bind *b, Call *c, const Features *f, const Node *n, const AttendCall *a)
{
    const Node *mask = role_of(n, "mask");
    double eps = attr_float(n, ATTR_eps, 0);
    if (strcmp(f->name, "positive") != 0 || eps == 0 || !mask || type_find(mask->type, a->queries) < 0)
        return true;
    Diag *d = bind_error(b, "E0310", arg_given(c, P_EPS)->at,
                         "positive features with `eps` above 0 need a mask that is the same for all queries");
    diag_caret(d, "%g", eps);
    diag_note(d, "it is added to features that are divided by the largest of all keys: a later key would change the results "
                 "of earlier queries");
    diag_help(d, "with this mask leave `eps` out: nothing is divided by a sum near 0 without it");
    return false;
}

static double width_of(const AttendCall *a)
{
    return (double)a->q->type->axis[type_find(a->q->type, a->head)].size.base;
}

Term builtin_linear_attend(Bind *b, Call *c)
{
    AttendCall a;
    const Features *f = find_features(b, c);
    if (!f || !attend_operands(b, c, P_QUERIES, &a) || !add_projection(b, c, &a, f) || !attend_mask(b, &a, P_MASK))
        return term_poison();
    Node *n = attend_emit(b, &a, OP_linear_attend);
    attr_set_name(b->cx, n, ATTR_features, name_of(b->cx->names, f->name));
    const Number numbers[] = {
        {P_SCALE, ATTR_scale, true, f->scaled ? 1 / sqrt(width_of(&a)) : 1, 1, false},
        {P_EPS, ATTR_eps, f->eps, f->ratio ? 1e-3 : 0, 0, true},
        {P_RATIO, ATTR_ratio, f->ratio, 1, 1, false},
        {P_TAU, ATTR_tau, f->tau, 1, -1, false},
    };
    bool good = true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && good; i++)
        good = set_number(b, c, f, n, &numbers[i]);
    if (good && check_eps(b, c, f, n, &a))
        return attend_finish(b, &a, n) ? term_tensor(n) : term_poison();
    node_remove(n);
    return term_poison();
}
