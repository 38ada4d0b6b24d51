/* Scopes: the names a place in the text can see. The file's own names lie outermost, then std.attar's. */
#include "bind.h"

Scope *scope_open(Bind *b, Scope *parent)
{
    Scope *s = bind_new(b, sizeof *s);
    s->vars = map_new(b->cx->arena);
    s->ended = map_new(b->cx->arena);
    s->parent = parent;
    s->bind = b;
    return s;
}

Var *scope_find(Scope *s, const char *name)
{
    int order = 0;
    for (; s; s = s->parent) {
        Var *v = map_get(&s->vars, name);
        order = s->order ? s->order : order;
        if (!v || (order && v->order >= order))
            continue;
        if (v->later)
            config_find(s->bind, v);
        return v;
    }
    return NULL;
}

void scope_set(Bind *b, Scope *s, const char *name, Term t, Span at)
{
    Var *v = bind_new(b, sizeof *v);
    *v = (Var){.term = t, .at = at};
    map_set(&s->vars, name, v);
}

void scope_fix(Bind *b, Scope *s, Ident name, Term t)
{
    Var *old = map_get(&s->vars, name.text);
    if (old) {
        Diag *d = bind_error(b, "E0121", name.at, "`%s` is bound twice", name.text);
        diag_label(d, old->at, "`%s` is bound here first", name.text);
        return;
    }
    scope_set(b, s, name.text, t, name.at);
    ((Var *)map_get(&s->vars, name.text))->fixed = true;
}

const char *scope_nearest(Bind *b, Scope *s, const char *name)
{
    const char **names = NULL;
    size_t n = 0, room = 0;
    for (; s; s = s->parent) {
        for (size_t i = 0; i < s->vars.count; i++) {
            names = arena_room(b->cx->arena, names, n, &room, sizeof *names);
            names[n++] = s->vars.entries[i].key;
        }
    }
    return name_nearest(name, names, n);
}
