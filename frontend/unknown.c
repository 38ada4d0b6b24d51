/* Names that mean nothing here, as values and as operators: what was probably meant. */
#include "bind.h"

#include <string.h>

/* ---- values ----------------------------------------------------------------------------------------------------- */

Term refuse_unknown_name(Bind *b, Scope *s, const Expr *e, const Expr *whole)
{
    for (Scope *around = s; around; around = around->parent) {
        const Span *loop = map_get(&around->ended, e->text);
        if (!loop)
            continue;
        Diag *d = bind_error(b, "E0206", e->at, "`%s` lives only inside the `repeat`", e->text);
        diag_label(d, *loop, "it is first assigned in this loop");
        diag_help(d, "assign `%s` before the loop as well: then each round hands it to the next", e->text);
        return term_poison();
    }
    if (b->names_lost || map_has(&b->unknown, e->text))
        return term_poison();
    map_set(&b->unknown, e->text, b);
    Diag *d = bind_error(b, "E0120", e->at, "no value is named `%s` here", e->text);
    static const char *const modules[] = {"math", "np", "numpy", "torch", "nn", "jnp", "jax", "tf"};
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        if (strcmp(e->text, modules[i]) != 0)
            continue;
        const char *text = source_text(b, whole->at), *end = strrchr(text, '.');
        if (end && !strcmp(end, ".pi"))
            diag_help(d, "write the number: `3.141592653589793`");
        else
            diag_help(d, "there are no modules: `attar ops` lists the operators");
        return term_poison();
    }
    if (!strcmp(e->text, "self") && whole == e) {
        diag_help(d, "a layer is an operator and a name of the checkpoint: `linear(x, \"q_proj\", (H, K))`");
        return term_poison();
    }
    const char *near = scope_nearest(b, s, e->text);
    if (!near)
        near = scope_nearest(b, b->library_globals, e->text);
    if (map_has(&b->blocks, e->text) || map_has(&b->library_blocks, e->text) || builtin_find(e->text))
        diag_caret(d, "an operator is used by calling it: `%s(...)`", e->text);
    else if (near && whole == e)
        diag_caret(d, "a similar name exists: `%s`", near);
    else if (whole != e || strchr(e->text, '_'))
        diag_help(d, "names of the checkpoint stand in quotes: `\"%s\"`", source_text(b, whole->at));
    return term_poison();
}

/* ---- operators -------------------------------------------------------------------------------------------------- */

/* Where the value of a parameter is written, through all blocks that hand it on by the same name. */
static Span written_first(const Frame *f, const char *param, Span at, const Decl **decl)
{
    for (; f; f = f->caller) {
        int p = 0;
        while (p < f->decl->n_params && f->decl->params[p].name.text != param)
            p++;
        const Given *g = p < f->decl->n_params ? f->given[p] : NULL;
        if (!g)
            return at;
        *decl = f->library ? f->decl : *decl;
        at = g->at;
        if (!g->expr || g->expr->kind != EXPR_NAME || g->expr->text != param)
            return at;
    }
    return at;
}

static const char *names_of_call(Bind *b, const Call *c)
{
    Text out = text_new(b->cx->arena);
    for (int i = 0; i < c->n_given; i++)
        if (c->given[i].name)
            text_add(&out, "%s%s", out.length ? ", " : "", c->given[i].name);
    return out.data;
}

/* A parameter of an operator of std.attar that has to be a function, such as `mask`, and is not. */
static Term refuse_function(Bind *b, const Call *c, const Var *v)
{
    const Decl *op = b->frame->decl;
    Span at = written_first(b->frame, name_of(b->cx->names, c->name), v->at, &op);
    const Term *t = &v->term;
    bool kernel = !strcmp(c->name, "kernel");
    Diag *d = bind_error(b, "E0212", at, "`%s` of `%s` must be %s, not %s", c->name, op->name.text,
                         kernel ? "a kernel such as `performer(w)`" : "a function of positions", term_print(b, t));
    if (at.source == b->site.source && span_start(at).line != span_start(b->site).line)
        diag_label(d, b->site, "`%s` is called here", op->name.text);
    if (!strcmp(c->name, "mask"))
        advise_mask(b, d, t, at);
    else if (kernel)
        diag_help(d, "kernels are performer(w), hyperbolic(w), relu_features(w), elu1(), soft_codes(c), codebook(c)");
    else
        diag_help(d, "it is called with the positions: `fn(%s) => ...`", names_of_call(b, c));
    return term_poison();
}

/* What people look for under the name that another library gives it. */
static const char *foreign_operator(const char *name)
{
    static const struct {
        const char *name, *help;
    } known[] = {
        {"len", "the size of an axis is its name: `S`"},
        {"size", "the size of an axis is its name: `S`"},
        {"shape", "the size of an axis is its name: `S`"},
        {"reshape", "`x as [B, S, H, K]` splits and renames axes, `merge(x, [H, K], D)` makes one of several"},
        {"view", "`x as [B, S, H, K]` splits and renames axes, `merge(x, [H, K], D)` makes one of several"},
        {"flatten", "`merge(x, [H, K], D)` makes one axis of several"},
        {"transpose", "`rearrange(x, [B, S, D], [B, D, S])`; axes that align by name need none"},
        {"permute", "`rearrange(x, [B, S, D], [B, D, S])`; axes that align by name need none"},
        {"unsqueeze", "`x as [B, S, 1, D]` adds an axis of size 1, `expand(x, H)` repeats along a new one"},
        {"squeeze", "`x as [B, S, D]` leaves out an axis of size 1"},
        {"repeat_kv", "`attention` shares key heads by itself"},
        {"matmul", "`dot(x, y, over=D)` multiplies two tensors, `linear(x, \"name\", F)` reads a weight"},
        {"bmm", "`dot(x, y, over=D)` multiplies two tensors, `linear(x, \"name\", F)` reads a weight"},
        {"cat", "`concat(x, y)` joins tensors"},
        {"chunk", "`split(x, [N, E])` cuts the last axis, `unstack(3)` takes an axis apart"},
        {"arange", "`0..S` are the positions of the axis `S`"},
        {"range", "`0..S` are the positions of the axis `S`"},
        {"dropout", "a trained model computes without it"},
        {"scaled_dot_product_attention", "`attention(q, k, v, mask=causal)`"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name))
            return known[i].help;
    return NULL;
}

Term refuse_unknown_operator(Bind *b, const Call *c, Scope *s)
{
    size_t n = 0, room = 0;
    const char **names = NULL;
    const Map *maps[] = {&b->blocks, &b->library_blocks, &b->library_globals->vars};
    for (size_t m = 0; m < 3; m++) {
        for (size_t i = 0; i < maps[m]->count; i++) {
            names = arena_room(b->cx->arena, names, n, &room, sizeof *names);
            names[n++] = maps[m]->entries[i].key;
        }
    }
    for (int i = 0; i < n_builtins; i++) {
        names = arena_room(b->cx->arena, names, n, &room, sizeof *names);
        names[n++] = builtins[i].name;
    }
    Var *v = scope_find(s, c->name);
    if (v && v->term.kind == TERM_POISON)
        return term_poison();
    if (v && bind_in_library(b, c->at) && b->frame && b->frame->library)
        return refuse_function(b, c, v);
    if (v) {
        Diag *d =
            bind_error(b, "E0212", c->name_at, "`%s` is %s, which cannot be called", c->name, term_print(b, &v->term));
        diag_label(d, v->at, "it gets its value here");
        return term_poison();
    }
    Diag *d = bind_error(b, "E0107", c->name_at, "no operator named `%s`", c->name);
    const char *near = name_nearest(c->name, names, n), *foreign = foreign_operator(c->name);
    if (foreign)
        diag_help(d, "%s", foreign);
    else if (near)
        diag_caret(d, "help: a similar name exists: `%s`", near);
    else
        diag_help(d, "`attar ops` lists the operators");
    return term_poison();
}
