/* The text form: what graph_print writes, graph_read reads and prints again identically. The syntax is described in
 * docs/ir.md.
 *
 * One line a value; names are the model's words. What can be concluded is not written: sizes stand once, in the `dims`
 * line, and an axis is written NAME=SIZE only where its name means another size elsewhere; a kernel's parameter has a
 * type only if it is not its input's; a location that is that of the line before is left out. `=` and `:` are aligned
 * within a block. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "ir/infer_inside.h"

enum { WIDEST = 100 }; /* where long lists go on in the next line */

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
    Locations locations;
    size_t margin; /* of the line that is being written */
    Span last; /* the location of the line before in the same block */
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
    if (text_column(p->out) > WIDEST)
        text_add(p->out, "\n  dims  ");
    text_add(p->out, "  %s = ", name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const MapEntry *const *)a)->key, (*(const MapEntry *const *)b)->key);
}

/* Run-time sizes in their order, then axes by name: the line stays as it is when passes move values. */
static void put_dims(Printer *p)
{
    const MapEntry **axes = arena_array(p->arena, p->sizes.count + 1, sizeof *axes);
    for (size_t i = 0; i < p->sizes.count; i++)
        axes[i] = &p->sizes.entries[i];
    qsort(axes, p->sizes.count, sizeof *axes, by_key);
    text_add(p->out, "  dims  ");
    for (int i = 0; i < p->model->n_symbols; i++) {
        const Symbol *s = p->model->symbols[i];
        put_dim(p, s->name);
        text_add(p->out, "%lld..", (long long)s->low);
        if (s->high != SYMBOL_UNBOUNDED)
            text_add(p->out, "%lld", (long long)s->high);
    }
    for (size_t i = 0; i < p->sizes.count; i++) {
        const Sizes *list = axes[i]->value;
        put_dim(p, axes[i]->key);
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
        if (c->growing < 0)
            text_add(p->out, " state x %lld\n", (long long)c->layers);
        else
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
        if (i)
            text_add(p->out, text_column(p->out) > WIDEST ? ",\n    " : ", ");
        put_name(p->out, g->params[i]->name, false);
        text_add(p->out, ": ");
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

/* Before item i of a list, which needs `width` columns; a long list goes on in the next line. */
static void put_comma(Printer *p, int i, const char *open, size_t width)
{
    text_add(p->out, "%s", i ? "," : open);
    if (i && text_column(p->out) + width > WIDEST + 16) {
        text_char(p->out, '\n');
        text_pad(p->out, p->margin + 8);
    } else if (i)
        text_char(p->out, ' ');
}

/* A space, or the next line if a long name would stick out. */
static void put_gap(Printer *p, const Attr *a)
{
    bool name = attr_info[a->id].kind == ATTR_KIND_NAME;
    if (name && text_column(p->out) + strlen(attr_info[a->id].name) + strlen(a->name) > WIDEST + 16) {
        text_char(p->out, '\n');
        text_pad(p->out, p->margin + 8);
    } else
        text_char(p->out, ' ');
}

static void put_attr(Printer *p, const Attr *a)
{
    Text *out = p->out;
    put_gap(p, a);
    text_add(out, "%s=", attr_info[a->id].name);
    switch (attr_info[a->id].kind) {
    case ATTR_KIND_INT: text_add(out, "%lld", (long long)a->integer); return;
    case ATTR_KIND_FLOAT: text_double(out, a->real); return;
    case ATTR_KIND_BOOL: text_add(out, a->flag ? "true" : "false"); return;
    case ATTR_KIND_NAME: put_name(out, a->name, a->id == ATTR_key || a->id == ATTR_gain); return;
    case ATTR_KIND_EXTENT: extent_print(a->extent, out); return;
    case ATTR_KIND_NAMES:
        if (a->names.count == 1) {
            put_name(out, a->names.items[0], false);
            return;
        }
        for (int i = 0; i < a->names.count; i++) {
            put_comma(p, i, "[", 20);
            put_name(out, a->names.items[i], false);
        }
        text_add(out, a->names.count ? "]" : "[]");
        return;
    case ATTR_KIND_INTS:
        for (int i = 0; i < a->ints.count; i++) {
            put_comma(p, i, "[", 20);
            text_add(out, "%lld", (long long)a->ints.items[i]);
        }
        text_add(out, a->ints.count ? "]" : "[]");
        return;
    case ATTR_KIND_FLOATS:
        for (int i = 0; i < a->floats.count; i++) {
            put_comma(p, i, "[", 20);
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

/* The model file is called by its last name: its path stands in the header. */
static const char *short_path(const Printer *p, const char *path)
{
    const char *slash = strrchr(path, '/');
    bool is_model = slash && p->model->file && !strcmp(path, p->model->file);
    return is_model && p->locations != LOCATIONS_FULL ? slash + 1 : path;
}

static void put_span(Printer *p, const char *before, Span at)
{
    if (!at.source)
        return;
    LineColumn where = span_start(at);
    text_add(p->out, "%s%s:%d:%d", before, short_path(p, at.source->path), where.line, where.column);
}

static bool same_line_and_column(Span a, Span b)
{
    if (!a.source || !b.source)
        return a.source == b.source;
    LineColumn x = span_start(a), y = span_start(b);
    return x.line == y.line && x.column == y.column && !strcmp(a.source->path, b.source->path);
}

/* `-`: the value comes from nowhere in the model, unlike that of the line before. */
static void put_location(Printer *p, const Node *n, size_t column)
{
    bool known = p->locations == LOCATIONS_NONE || same_line_and_column(n->at, p->last);
    p->last = n->at;
    if (known && !(p->locations == LOCATIONS_FULL && n->at.source))
        return;
    text_pad(p->out, column);
    text_add(p->out, n->at.source ? "   # " : "   # -");
    put_span(p, "", n->at);
    if (p->locations == LOCATIONS_FULL && n->at.source)
        put_span(p, " via ", n->via);
}

static bool is_param(const Node *n)
{
    return n->op == OP_input || n->op == OP_index || n->op == OP_carry || n->op == OP_param;
}

static void put_inputs(Printer *p, const Node *n)
{
    for (int i = 0; i < n->n_inputs; i++) {
        put_comma(p, i, " ", strlen(n->inputs[i]->name));
        put_name(p->out, n->inputs[i]->name, false);
    }
}

static void put_params(Printer *p, const Node *n)
{
    Context cx = {.arena = p->arena};
    text_add(p->out, n->body->n_params ? "" : " (");
    for (int i = 0; i < n->body->n_params; i++) {
        const Node *param = n->body->params[i];
        const Type *usual = infer_param(&cx, n, i);
        put_comma(p, i, " (", strlen(param->name));
        text_add(p->out, "%s", param->name);
        if (usual && type_equal(usual, param->type))
            continue;
        text_add(p->out, ": ");
        put_type(p, param->type);
    }
    text_char(p->out, ')');
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
            text_add(p->out, " = ");
            put_name(p->out, n->inputs[i]->name, false);
        }
    } else {
        put_inputs(p, n);
    }
    for (int i = 0; i < n->n_attrs; i++)
        if (n->op != OP_repeat || n->attrs[i].id != ATTR_count)
            put_attr(p, &n->attrs[i]);
    if (n->body && n->op != OP_repeat)
        put_params(p, n);
}

static void put_nodes(Printer *p, const Graph *g, int indent);

/* What a kernel does, for people: the reader skips it like any comment. In lines of its own if it is long. */
static void put_formula(Printer *p, const Node *n)
{
    enum { LONGEST = 118 };
    size_t margin = p->margin + 2;
    Text line = text_new(p->arena);
    formula_print(n, &line);
    if (text_column(p->out) + 5 + line.length <= LONGEST) {
        text_add(p->out, "   # %s\n", line.data);
        return;
    }
    for (const char *rest = line.data; *rest;) {
        size_t room = LONGEST - 2 - (margin < LONGEST / 2 ? margin : LONGEST / 2), length = strlen(rest), cut = length;
        if (length > room) {
            for (cut = room; cut && rest[cut] != ' ';)
                cut--;
            cut = cut ? cut : strcspn(rest, " ");
        }
        text_char(p->out, '\n');
        text_pad(p->out, margin);
        text_add(p->out, "# %.*s", (int)cut, rest);
        rest += cut + (rest[cut] == ' ');
    }
    text_char(p->out, '\n');
}

static void put_results(Printer *p, const Graph *g)
{
    text_add(p->out, g->owner && g->owner->op == OP_repeat ? "yield" : "return");
    for (int i = 0; i < g->n_results; i++) {
        text_add(p->out, i ? ", " : " ");
        if (g->results[i].name) {
            put_name(p->out, g->results[i].name, false);
            text_add(p->out, " = ");
        }
        put_name(p->out, g->results[i].value->name, false);
    }
}

/* A body that computes nothing stands in the kernel's line. */
static bool is_idle(const Graph *body)
{
    for (const Node *n = body->first; n; n = n->next)
        if (!is_param(n))
            return false;
    return body->level == LEVEL_BODY;
}

static void put_body(Printer *p, const Node *n, int indent)
{
    text_add(p->out, " {");
    bool idle = is_idle(n->body);
    if (idle && text_column(p->out) < WIDEST - 10) {
        text_char(p->out, ' ');
        put_results(p, n->body);
        text_add(p->out, " }");
        return;
    }
    if (n->op == OP_repeat || idle)
        text_char(p->out, '\n');
    else
        put_formula(p, n);
    put_nodes(p, n->body, indent + 1);
    text_pad(p->out, (size_t)indent * 2);
    text_char(p->out, '}');
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
    size_t margin = p->margin = (size_t)indent * 2;
    text_pad(p->out, margin);
    text_add(p->out, "%s", n->name);
    text_pad(p->out, margin + columns->names);
    text_add(p->out, " = ");
    put_call(p, n);
    if (n->body)
        put_body(p, n, indent);
    if (n->type && !n->body)
        text_pad(p->out, margin + columns->types);
    put_type_and_place(p, n);
    put_location(p, n, n->body ? 0 : margin + columns->places);
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
    Span last = p->last;
    p->last = (Span){0};
    for (const Node *n = g->first; n; n = n->next)
        if (!is_param(n))
            put_node(p, n, indent, &columns);
    p->last = last;
    text_pad(p->out, (size_t)indent * 2);
    put_results(p, g);
    text_char(p->out, '\n');
}

void graph_print_with(const Graph *model, Locations locations, Text *out)
{
    Printer p = {
        .out = out, .arena = out->arena, .model = model, .sizes = map_new(out->arena), .locations = locations};
    note_graph(&p, model);
    put_header(&p);
    put_nodes(&p, model, 1);
}

void graph_print(const Graph *model, Text *out)
{
    graph_print_with(model, LOCATIONS_SHORT, out);
}
