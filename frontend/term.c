/* Terms: making them, printing them for messages, and saying where they came from. */
#include "bind.h"

#include <math.h>
#include <string.h>

Term term_poison(void)
{
    return (Term){.kind = TERM_POISON};
}
Term term_none(void)
{
    return (Term){.kind = TERM_NONE};
}
Term term_bool(bool flag)
{
    return (Term){.kind = TERM_BOOL, .flag = flag};
}
Term term_float(double value)
{
    return (Term){.kind = TERM_FLOAT, .real = value};
}
Term term_text(const char *text)
{
    return (Term){.kind = TERM_TEXT, .text = text};
}
Term term_size(Extent size)
{
    return (Term){.kind = TERM_SIZE, .size = size};
}
Term term_int(int64_t value)
{
    return term_size(extent_const(value));
}
Term term_dim(const Dim *dim)
{
    return (Term){.kind = TERM_SIZE, .origin = dim->origin, .size = dim->size, .dim = dim};
}
Term term_tensor(Node *n)
{
    return n ? (Term){.kind = TERM_TENSOR, .node = n} : term_poison();
}

Term term_list(Bind *b, const Term *items, int n)
{
    Term *copy = arena_array(b->cx->arena, (size_t)n + 1, sizeof *copy);
    for (int i = 0; i < n; i++)
        copy[i] = items[i];
    return (Term){.kind = TERM_LIST, .items = copy, .n_items = n};
}

bool term_is_int(const Term *t, int64_t *out)
{
    if (t->kind != TERM_SIZE || !extent_is_const(t->size))
        return false;
    *out = t->size.base;
    return true;
}

bool term_is_number(const Term *t, double *out)
{
    int64_t whole;
    if (t->kind == TERM_FLOAT) {
        *out = t->real;
        return true;
    }
    if (!term_is_int(t, &whole))
        return false;
    *out = (double)whole;
    return true;
}

static void print_list(Bind *b, Text *out, const Term *t)
{
    text_char(out, '[');
    for (int i = 0; i < t->n_items; i++)
        text_add(out, "%s%s", i ? ", " : "", term_print(b, &t->items[i]));
    text_char(out, ']');
}

const char *term_print(Bind *b, const Term *t)
{
    Text out = text_new(b->cx->arena);
    switch (t->kind) {
    case TERM_POISON: text_add(&out, "an earlier error"); break;
    case TERM_NONE: text_add(&out, "none"); break;
    case TERM_BOOL: text_add(&out, "%s", t->flag ? "true" : "false"); break;
    case TERM_SIZE: extent_print(t->size, &out); break;
    case TERM_FLOAT:
        text_double(&out, t->real);
        if (floor(t->real) == t->real && fabs(t->real) < 1e15)
            text_add(&out, ".0");
        break;
    case TERM_TEXT: text_add(&out, "\"%s\"", t->text); break;
    case TERM_JSON: text_add(&out, "%s of %s", json_is_array(t->json) ? "an array" : "an object", config_name(b, t->origin)); break;
    case TERM_ABSENT: text_add(&out, "%s", t->null ? "null" : "nothing"); break;
    case TERM_AXES: return dims_print(b, t->dims, t->n_dims);
    case TERM_LIST: print_list(b, &out, t); break;
    case TERM_RANGE: text_add(&out, "a range of positions"); break;
    case TERM_FUNCTION: text_add(&out, "a function"); break;
    case TERM_TENSOR: return type_text(b, t->node->type);
    case TERM_CACHE:
    case TERM_LAYER: text_add(&out, "the cache `%s`", t->cache->decl->name.text); break;
    }
    return out.data;
}

static bool numbers_equal(const Term *x, const Term *y, bool *equal)
{
    double a, c;
    if (x->kind == TERM_SIZE && y->kind == TERM_SIZE) {
        *equal = extent_equal(x->size, y->size);
        return *equal || (extent_is_const(x->size) && extent_is_const(y->size));
    }
    if (!term_is_number(x, &a) || !term_is_number(y, &c))
        return false;
    *equal = a == c;
    return true;
}

static bool compile_time(TermKind k)
{
    return k == TERM_NONE || k == TERM_BOOL || k == TERM_SIZE || k == TERM_FLOAT || k == TERM_TEXT || k == TERM_JSON;
}

/* An array of config.json and a list written in the model file: item by item. */
static bool lists_equal(Bind *b, const Term *array, const Term *list, bool *equal)
{
    *equal = json_is_array(array->json) && json_array_size(array->json) == (size_t)list->n_items;
    for (int i = 0; *equal && i < list->n_items; i++) {
        Term item = list_item(b, array, i);
        if (!term_equal(b, &item, &list->items[i], equal))
            return false;
    }
    return true;
}

bool term_equal(Bind *b, const Term *x, const Term *y, bool *equal)
{
    if (x->kind == TERM_JSON && y->kind == TERM_LIST)
        return lists_equal(b, x, y, equal);
    if (y->kind == TERM_JSON && x->kind == TERM_LIST)
        return lists_equal(b, y, x, equal);
    if (x->kind == TERM_LIST || y->kind == TERM_LIST) { /* a text is no list */
        *equal = false;
        return compile_time(x->kind) || compile_time(y->kind);
    }
    if (x->kind == TERM_NONE || y->kind == TERM_NONE) { /* anything can be compared with none */
        *equal = x->kind == y->kind;
        return true;
    }
    if (numbers_equal(x, y, equal))
        return true;
    if (x->kind == TERM_FUNCTION && y->kind == TERM_FUNCTION)
        *equal = x->function == y->function;
    else if (x->kind != y->kind && compile_time(x->kind) && compile_time(y->kind))
        *equal = false;
    else if (x->kind == TERM_BOOL && y->kind == TERM_BOOL)
        *equal = x->flag == y->flag;
    else if (x->kind == TERM_TEXT && y->kind == TERM_TEXT)
        *equal = strcmp(x->text, y->text) == 0;
    else if (x->kind == TERM_JSON && y->kind == TERM_JSON)
        *equal = json_equal(x->json, y->json) == 1;
    else
        return false;
    return true;
}

static const char *place(Bind *b, Span at)
{
    LineColumn where = span_start(at);
    return bind_print(b, "%s:%d", at.source ? at.source->path : "?", where.line);
}

const char *origin_note(Bind *b, const char *name, const char *value, const Origin *o)
{
    if (!o)
        return NULL;
    const char *text = source_text(b, o->at);
    switch (o->kind) {
    case ORIGIN_CONFIG:
        return bind_print(b, "`%s` = %s: `%s` of %s (%s)", name, value, o->key, config_name(b, o), place(b, o->at));
    case ORIGIN_DEFAULT:
        return bind_print(b, "`%s` = %s: %s %s `%s`, so `?? %s` applied (%s)", name, value, config_name(b, o),
                          o->null ? "has null for" : "has no", o->key, source_text(b, o->otherwise),
                          place(b, o->otherwise));
    case ORIGIN_LET:
        if (!strcmp(text, value))
            return bind_print(b, "`%s` = %s (%s)", name, value, place(b, o->at));
        return bind_print(b, "`%s` = %s: `%s` (%s)", name, value, text, place(b, o->at));
    case ORIGIN_INPUT: return bind_print(b, "`%s` is known only at run time (%s)", name, place(b, o->at));
    case ORIGIN_PARAM: return NULL;
    }
    return NULL;
}

void diag_origin(Bind *b, Diag *d, const Term *t)
{
    const char *note = t->origin ? origin_note(b, t->origin->name, term_print(b, t), t->origin) : NULL;
    if (note)
        diag_note(d, "%s", note);
}

bool origin_blame(Bind *b, const Term *t)
{
    if (!t->origin || t->origin->kind > ORIGIN_DEFAULT)
        return true;
    if (map_has(&b->blamed, t->origin->key))
        return false;
    map_set(&b->blamed, t->origin->key, b);
    return true;
}

const char *origin_code(const Term *t, const char *otherwise)
{
    return t->origin && t->origin->kind == ORIGIN_CONFIG ? "E0503" : otherwise;
}

void diag_dim(Bind *b, Diag *d, const Dim *dim)
{
    if (!dim->origin)
        return;
    Term t = term_size(dim->size);
    t.origin = dim->origin;
    diag_origin(b, d, &t);
}
