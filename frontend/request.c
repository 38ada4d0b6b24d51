/* Annotations that ask for an approximation: @linearize(performer, features=256, layers=2-5, max_err=0.02), @lowrank(rank=128).
 *
 * The request is read once, brought into the one spelling that support/linearize.h or support/lowrank.h reads, and stands
 * as an attribute on the products and softmaxes of the statement: it goes where they go, through the text form of the IR
 * as well. */
#include "bind.h"

#include <string.h>

#include "support/linearize.h"
#include "support/lowrank.h"

/* A number from a to b as it is written: 2-5, which is no difference here. */
static bool put_range(Bind *b, Scope *s, const Expr *e, Text *out)
{
    int64_t low, high;
    bool range = e->kind == EXPR_BINARY && e->op == '-';
    Term first = eval(b, s, range ? e->left : e), last = range ? eval(b, s, e->right) : first;
    if (!term_is_int(&first, &low) || !term_is_int(&last, &high))
        return false;
    text_add(out, low == high && !range ? "%lld" : "%lld-%lld", (long long)low, (long long)high);
    return true;
}

/* layers=3, layers=2-5, layers=[0, 2-5] */
static bool put_ranges(Bind *b, Scope *s, const Expr *e, Text *out)
{
    if (e->kind != EXPR_LIST)
        return put_range(b, s, e, out);
    for (int i = 0; i < e->n_items; i++) {
        if (i)
            text_char(out, '+');
        if (!put_range(b, s, e->items[i], out))
            return false;
    }
    return true;
}

static const char *refuse(Bind *b, Span at, const char *why)
{
    Diag *d = bind_error(b, "E0903", at, "%s", why);
    diag_help(d, "`@linearize(performer, features=256, seed=7, max_err=0.02)` or `@linearize(vq, codes=256, block=256)`");
    return NULL;
}

static const char *refuse_lowrank(Bind *b, Span at, const char *why)
{
    Diag *d = bind_error(b, "E0906", at, "%s", why);
    diag_help(d, "`@lowrank(rank=128)`, `@lowrank(rank=128, max_err=0.1)` or `@lowrank(err=0.02)`");
    return NULL;
}

typedef const char *Refuse(Bind *b, Span at, const char *why);

static bool put_number(Bind *b, Scope *s, const Arg *arg, Text *out, Refuse *refused)
{
    Term t = eval(b, s, arg->value);
    int64_t whole;
    double number;
    if (term_is_int(&t, &whole))
        text_add(out, "%lld", (long long)whole);
    else if (term_is_number(&t, &number))
        text_double(out, number);
    else if (t.kind != TERM_POISON)
        refused(b, arg->value->at,
                bind_print(b, "`%s` is a number known at compile time, and this is %s", arg->name.text, term_print(b, &t)));
    return term_is_number(&t, &number);
}

static bool put_value(Bind *b, Scope *s, const Arg *arg, Text *out)
{
    if (!strcmp(arg->name.text, "layers") || !strcmp(arg->name.text, "heads"))
        return put_ranges(b, s, arg->value, out);
    return put_number(b, s, arg, out, refuse);
}

const char *request_linearize(Bind *b, Scope *s, const Annotation *a)
{
    if (a->n_args == 0 || a->args[0].name.text || a->args[0].value->kind != EXPR_NAME)
        return refuse(b, a->at, "`@linearize` names first what to linearize with: `performer` or `vq`");
    Text text = text_new(b->cx->arena);
    text_add(&text, "%s", a->args[0].value->text);
    for (int i = 1; i < a->n_args; i++) {
        const Arg *arg = &a->args[i];
        text_char(&text, i == 1 ? ':' : ',');
        if (!arg->name.text) {
            if (arg->value->kind != EXPR_NAME || strcmp(arg->value->text, "trained"))
                return refuse(b, arg->value->at, "only `trained` stands without a key");
            text_add(&text, "trained");
            continue;
        }
        text_add(&text, "%s=", arg->name.text);
        int errors = b->cx->diags->errors;
        if (put_value(b, s, arg, &text))
            continue;
        return b->cx->diags->errors > errors
                   ? NULL
                   : refuse(b, arg->value->at, bind_print(b, "`%s` is made of whole numbers known at compile time: `2-5`, `[0, 2-5]`",
                                                          arg->name.text));
    }
    LinearizeSpec spec;
    const char *why;
    return linearize_read(b->cx->arena, text.data, &spec, &why) ? spec.text : refuse(b, a->at, why);
}

const char *request_lowrank(Bind *b, Scope *s, const Annotation *a)
{
    if (a->n_args == 0)
        return refuse_lowrank(b, a->at, "`@lowrank` says how much is kept: by `rank` or by `err`");
    Text text = text_new(b->cx->arena);
    for (int i = 0; i < a->n_args; i++) {
        const Arg *arg = &a->args[i];
        if (!arg->name.text)
            return refuse_lowrank(b, arg->value->at, "what `@lowrank` takes has a key");
        text_add(&text, i ? ",%s=" : "%s=", arg->name.text);
        if (!strcmp(arg->name.text, "method") && arg->value->kind == EXPR_NAME)
            text_add(&text, "%s", arg->value->text);
        else if (!put_number(b, s, arg, &text, refuse_lowrank))
            return NULL;
    }
    LowrankSpec spec;
    const char *why;
    return lowrank_read_settings(b->cx->arena, "", text.data, &spec, &why) ? name_of(b->cx->names, text.data)
                                                                           : refuse_lowrank(b, a->at, why);
}

static bool of_values(const Node *n)
{
    return n->op == OP_softmax ||
           (n->op == OP_dot && n->inputs[0]->op != OP_weight && n->inputs[1]->op != OP_weight);
}

static bool mark(Bind *b, Graph *g, int first, const char *text)
{
    bool found = false;
    for (Node *n = g->last; n; n = n->prev) {
        if (n->id >= first && of_values(n))
            attr_set_name(b->cx, n, ATTR_linearize, text);
        found |= n->id >= first && n->op == OP_softmax;
        found |= n->id >= first && n->body && mark(b, n->body, first, text);
    }
    return found;
}

void request_mark_attention(Bind *b, int first, const char *text, Span at)
{
    if (mark(b, b->graph, first, text))
        return;
    bind_error(b, "E0903", at, "the annotation is meant for attention, and this statement has no softmax");
}

static bool mark_products(Bind *b, Graph *g, int first, const char *text)
{
    bool found = false;
    for (Node *n = g->last; n; n = n->prev) {
        if (n->id < first)
            continue;
        if (n->op == OP_dot && (n->inputs[0]->op == OP_weight || n->inputs[1]->op == OP_weight)) {
            attr_set_name(b->cx, n, ATTR_lowrank, text);
            found = true;
        }
        found |= n->body && mark_products(b, n->body, first, text);
    }
    return found;
}

void request_mark_products(Bind *b, int first, const char *text, Span at)
{
    if (!mark_products(b, b->graph, first, text))
        bind_error(b, "E0906", at, "the annotation is meant for products with weights, and this statement has none");
}
