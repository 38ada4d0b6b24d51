/* The text form: what graph_print writes, graph_read reads and prints again identically. The syntax is described in
 * docs/ir.md.
 *
 * One line a value; names are the model's words. Sizes stand once, in the `dims` line; an axis is written NAME=SIZE
 * only where its name means another size elsewhere. `=` and `:` are aligned within a block. */
#include <ctype.h>
#include <string.h>
#include "ir/ir.h"

typedef struct Size {
    Extent size;
    int times;
} Size;
typedef struct Sizes {
    Size *items;
    size_t count, capacity, usual;
} Sizes; /* of one axis name; usual: the size it has most often */

typedef struct Printer {
    Text *out;
    Arena *arena;
    const Graph *model;
    Map sizes; /* axis name -> Sizes * */
} Printer;

/* ---- what the names of axes mean --------------------------------------------------------------------------------- */

static const Symbol *symbol_named(const Graph *model, const char *name)
{
    for (int i = 0; i < model->n_symbols; i++)
        if (!strcmp(model->symbols[i]->name, name))
            return model->symbols[i];
    return NULL;
}

static void note_size(Printer *p, const Axis *a)
{
    Sizes *list = map_get(&p->sizes, a->name);
    if (!list) {
        list = arena_alloc(p->arena, sizeof *list);
        map_set(&p->sizes, a->name, list);
    }
    size_t i = 0;
    while (i < list->count && !extent_equal(list->items[i].size, a->size))
        i++;
    if (i == list->count) {
        list->items = arena_room(p->arena, list->items, list->count, &list->capacity, sizeof *list->items);
        list->items[list->count++] = (Size){a->size, 0};
    }
    if (++list->items[i].times > list->items[list->usual].times)
        list->usual = i;
}

static void note_graph(Printer *p, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; n->type && i < n->type->rank; i++)
            if (!symbol_named(p->model, n->type->axis[i].name))
                note_size(p, &n->type->axis[i]);
        if (n->body)
            note_graph(p, n->body);
    }
}

/* What the name means where nothing else is written. */
static bool is_usual(const Printer *p, const Axis *a)
{
    const Symbol *s = symbol_named(p->model, a->name);
    if (s)
        return extent_equal(a->size, extent_symbol(s));
    const Sizes *list = map_get(&p->sizes, a->name);
    return list && extent_equal(a->size, list->items[list->usual].size);
}

static void put_type(Printer *p, const Type *t)
{
    text_add(p->out, "%s", dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) {
        const Axis *a = &t->axis[i];
        text_add(p->out, "%s%s", i ? ", " : "[", a->name);
        if (is_usual(p, a))
            continue;
        text_char(p->out, '=');
        extent_print(a->size, p->out);
    }
    if (t->rank)
        text_char(p->out, ']');
}

/* ---- words and "text" -------------------------------------------------------------------------------------------- */

static bool is_word(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_' && *s != '.')
            return false;
    return true;
}

static void put_name(Text *out, const char *name, bool quoted)
{
    if (!quoted && is_word(name)) {
        text_add(out, "%s", name);
        return;
    }
    text_char(out, '"');
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            text_char(out, '\\');
        text_char(out, iscntrl((unsigned char)*name) ? '?' : *name);
    }
    text_char(out, '"');
}

/* ---- header ------------------------------------------------------------------------------------------------------ */

static void put_dim(Printer *p, const char *name)
{
    enum { WIDEST = 100 };
    if (text_column(p->out) > WIDEST)
        text_add(p->out, "\n  dims  ");
    text_add(p->out, "  %s = ", name);
}

static void put_dims(Printer *p)
{
    text_add(p->out, "  dims  ");
    for (int i = 0; i < p->model->n_symbols; i++) {
        const Symbol *s = p->model->symbols[i];
        put_dim(p, s->name);
        text_add(p->out, "%lld..", (long long)s->low);
        if (s->high != SYMBOL_UNBOUNDED)
            text_add(p->out, "%lld", (long long)s->high);
    }
    for (size_t i = 0; i < p->sizes.count; i++) {
        const Sizes *list = p->sizes.entries[i].value;
        put_dim(p, p->sizes.entries[i].key);
        extent_print(list->items[list->usual].size, p->out);
    }
    text_char(p->out, '\n');
}

static void put_caches_and_regions(Printer *p)
{
    for (int i = 0; i < p->model->n_caches; i++) {
        const Cache *c = &p->model->caches[i];
        text_add(p->out, "  cache   %s ", c->name);
        put_type(p, c->type);
        text_add(p->out, " grows %s x %lld%s\n", c->type->axis[c->growing].name, (long long)c->layers,
                 c->panels ? " panels" : "");
    }
    for (int i = 0; i < p->model->n_regions; i++) {
        const Region *r = &p->model->regions[i];
        text_add(p->out, "  region  %d = %lld bytes", i, (long long)r->peak);
        for (int k = 0; k < r->n; k++) {
            text_add(p->out, " * ");
            extent_print(r->unit[k], p->out);
            if (r->round[k] > 1)
                text_add(p->out, " to %lld", (long long)r->round[k]);
        }
        text_add(p->out, ", bound %lld\n", (long long)r->lower_bound);
    }
}

static void put_header(Printer *p)
{
    const Graph *g = p->model;
    text_add(p->out, "%s %s(", g->level == LEVEL_KERNEL ? "kernels" : "graph", g->name);
    for (int i = 0; i < g->n_params; i++) {
        text_add(p->out, "%s%s: ", i ? ", " : "", g->params[i]->name);
        put_type(p, g->params[i]->type);
    }
    text_add(p->out, ")\n");
    if (g->file) {
        text_add(p->out, "  file    ");
        put_name(p->out, g->file, true);
        text_char(p->out, '\n');
    }
    put_dims(p);
    put_caches_and_regions(p);
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static void put_attr(Text *out, const Attr *a)
{
    text_add(out, " %s=", attr_info[a->id].name);
    switch (attr_info[a->id].kind) {
    case ATTR_KIND_INT: text_add(out, "%lld", (long long)a->integer); return;
    case ATTR_KIND_FLOAT: text_double(out, a->real); return;
    case ATTR_KIND_BOOL: text_add(out, a->flag ? "true" : "false"); return;
    case ATTR_KIND_NAME: put_name(out, a->name, a->id == ATTR_key); return;
    case ATTR_KIND_EXTENT: extent_print(a->extent, out); return;
    case ATTR_KIND_NAMES:
        if (a->names.count == 1) {
            put_name(out, a->names.items[0], false);
            return;
        }
        for (int i = 0; i < a->names.count; i++) {
            text_add(out, i ? ", " : "[");
            put_name(out, a->names.items[i], false);
        }
        text_add(out, a->names.count ? "]" : "[]");
        return;
    case ATTR_KIND_INTS:
        for (int i = 0; i < a->ints.count; i++)
            text_add(out, "%s%lld", i ? ", " : "[", (long long)a->ints.items[i]);
        text_add(out, a->ints.count ? "]" : "[]");
        return;
    case ATTR_KIND_FLOATS:
        for (int i = 0; i < a->floats.count; i++) {
            text_add(out, i ? ", " : "[");
            text_double(out, a->floats.items[i]);
        }
        text_add(out, a->floats.count ? "]" : "[]");
    }
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static void put_place(Text *out, const Place *at)
{
    static const char *const words[] = {[PLACE_INPUT] = "input", [PLACE_OUTPUT] = "output", [PLACE_WEIGHT] = "weight",
                                        [PLACE_CACHE] = "cache", [PLACE_VIEW] = "view",     [PLACE_INLINE] = "inline"};
    if (at->kind == PLACE_NONE)
        return;
    if (at->kind == PLACE_ARENA)
        text_add(out, " @%d+%lld", at->region, (long long)at->offset);
    else if (at->kind == PLACE_INPUT || at->kind == PLACE_OUTPUT || at->kind == PLACE_CACHE)
        text_add(out, " @%s.%d", words[at->kind], at->index);
    else
        text_add(out, " @%s", words[at->kind]);
}

static void put_span(Text *out, const char *before, Span at)
{
    if (!at.source)
        return;
    LineColumn where = span_start(at);
    text_add(out, "%s%s:%d:%d", before, at.source->path, where.line, where.column);
}

static bool is_param(const Node *n)
{
    return n->op == OP_input || n->op == OP_index || n->op == OP_carry || n->op == OP_param;
}

static void put_inputs(Text *out, const Node *n)
{
    for (int i = 0; i < n->n_inputs; i++)
        text_add(out, "%s%s", i ? ", " : " ", n->inputs[i]->name);
}

/* The part before the body or the type: "gemm x, w1, b1 over=D weights=1". */
static void put_call(Printer *p, const Node *n)
{
    text_add(p->out, "%s", op_info[n->op].name);
    if (n->op == OP_repeat) {
        text_add(p->out, " %s < %lld", n->body->params[0]->name, (long long)attr_int(n, ATTR_count, 0));
        for (int i = 0; i < n->n_inputs; i++) {
            text_add(p->out, "%s%s", i ? ", " : " carries ", n->body->params[i + 1]->name);
            put_place(p->out, &n->body->params[i + 1]->place);
            text_add(p->out, " = %s", n->inputs[i]->name);
        }
    } else {
        put_inputs(p->out, n);
    }
    for (int i = 0; i < n->n_attrs; i++)
        if (n->op != OP_repeat || n->attrs[i].id != ATTR_count)
            put_attr(p->out, &n->attrs[i]);
    if (!n->body || n->op == OP_repeat)
        return;
    for (int i = 0; i < n->body->n_params; i++) {
        text_add(p->out, "%s%s: ", i ? ", " : " (", n->body->params[i]->name);
        put_type(p, n->body->params[i]->type);
    }
    text_add(p->out, n->body->n_params ? ")" : " ()");
}

static void put_nodes(Printer *p, const Graph *g, int indent);

/* What a kernel does, for people: the reader skips it like any comment. */
static void put_formula(Printer *p, const Graph *body)
{
    enum { LONGEST = 96 };
    Text line = text_new(p->arena);
    for (int i = 0; i < body->n_results; i++) {
        text_add(&line, i ? ", " : "");
        expression_print(body, i, &line);
    }
    if (line.length <= LONGEST)
        text_add(p->out, "   # %s", line.data);
}

/* The part behind the body or the columns: type and place. */
static void put_type_and_place(Printer *p, const Node *n)
{
    if (n->type) {
        text_add(p->out, " : ");
        put_type(p, n->type);
    }
    put_place(p->out, &n->place);
}

typedef struct Columns {
    size_t names, types, places;
} Columns; /* where `=`, `:` and `#` stand, without the margin */

static void put_node(Printer *p, const Node *n, int indent, const Columns *columns)
{
    size_t margin = (size_t)indent * 2;
    text_pad(p->out, margin);
    text_add(p->out, "%s", n->name);
    text_pad(p->out, margin + columns->names);
    text_add(p->out, " = ");
    put_call(p, n);
    if (n->body) {
        text_add(p->out, " {");
        if (n->op != OP_repeat)
            put_formula(p, n->body);
        text_char(p->out, '\n');
        put_nodes(p, n->body, indent + 1);
        text_pad(p->out, margin);
        text_char(p->out, '}');
    }
    if (n->type && !n->body)
        text_pad(p->out, margin + columns->types);
    put_type_and_place(p, n);
    if (n->at.source) {
        text_pad(p->out, n->body ? 0 : margin + columns->places);
        put_span(p->out, "   # ", n->at);
        put_span(p->out, " via ", n->via);
    }
    text_char(p->out, '\n');
}

static void widen(size_t *column, size_t width, size_t limit)
{
    if (width <= limit && width > *column)
        *column = width;
}

/* Long lines stick out of a column instead of pushing all others to the right. */
static Columns measure(Printer *p, const Graph *g)
{
    enum { WIDEST_NAME = 24, WIDEST_CALL = 72, WIDEST_LINE = 110 };
    Columns columns = {0, 0, 0};
    Text draft = text_new(p->arena), *out = p->out;
    for (const Node *n = g->first; n; n = n->next)
        if (!is_param(n))
            widen(&columns.names, strlen(n->name), WIDEST_NAME);
    p->out = &draft;
    for (int pass = 0; pass < 2; pass++) /* calls decide where types begin, then types where locations do */
        for (const Node *n = g->first; n; n = n->next) {
            if (is_param(n) || n->body)
                continue;
            draft.length = 0;
            put_call(p, n);
            size_t name = strlen(n->name) > columns.names ? strlen(n->name) : columns.names,
                   width = name + 3 + draft.length;
            draft.length = 0;
            put_type_and_place(p, n);
            if (pass == 0)
                widen(&columns.types, width, WIDEST_CALL);
            else
                widen(&columns.places, (width > columns.types ? width : columns.types) + draft.length, WIDEST_LINE);
        }
    p->out = out;
    return columns;
}

static void put_nodes(Printer *p, const Graph *g, int indent)
{
    Columns columns = measure(p, g);
    for (const Node *n = g->first; n; n = n->next)
        if (!is_param(n))
            put_node(p, n, indent, &columns);
    text_pad(p->out, (size_t)indent * 2);
    text_add(p->out, g->owner && g->owner->op == OP_repeat ? "yield" : "return");
    for (int i = 0; i < g->n_results; i++) {
        text_add(p->out, i ? ", " : " ");
        if (g->results[i].name)
            text_add(p->out, "%s = ", g->results[i].name);
        text_add(p->out, "%s", g->results[i].value->name);
    }
    text_char(p->out, '\n');
}

void graph_print(const Graph *model, Text *out)
{
    Printer p = {.out = out, .arena = out->arena, .model = model, .sizes = map_new(out->arena)};
    note_graph(&p, model);
    put_header(&p);
    put_nodes(&p, model, 1);
}
