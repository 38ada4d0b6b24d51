/* Reads the text form back (print.c): one function a rule; every fault is an E1101 diagnostic with a caret, and the
 * first one ends the reading. Locations in comments (`# file:line:column`) are part of the text: they print back the
 * same. */
#include "ir/read_inside.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 16, MAX_SYMBOLS_READ = 64, MAX_LINE = 1000000, MAX_COLUMN = 10000, MAX_BLANK = 64 << 20 };

/* ---- header ------------------------------------------------------------------------------------------------------ */

static void add_symbol(Reader *r, const char *word, int64_t low)
{
    Symbol *s = arena_alloc(r->cx->arena, sizeof *s);
    *s = (Symbol){.name = word, .low = low, .high = SYMBOL_UNBOUNDED};
    if (!r->failed && !scan_is(r, "dims") && r->length && isdigit((unsigned char)*r->word))
        s->high = scan_integer(r);
    if (r->model->n_symbols == MAX_SYMBOLS_READ || scan_symbol(r, word)) {
        scan_fail(r, "too many symbols, or `%s` twice", word);
        return;
    }
    r->model->symbols[r->model->n_symbols++] = s;
}

static void read_dims(Reader *r)
{
    while (!r->failed && r->length && !r->quoted && r->at < r->end && !scan_is(r, "cache") && !scan_is(r, "region")) {
        const char *before = r->at, *word_before = r->word;
        size_t length_before = r->length;
        const char *word = scan_name(r);
        if (!scan_is(r, "=")) { /* the first node's line or `return`: give the word back */
            r->at = before;
            r->word = word_before;
            r->length = length_before;
            return;
        }
        scan_next(r);
        if (!(r->length && isdigit((unsigned char)*r->word)) &&
            !scan_symbol(r, name_of_n(r->cx->names, r->word, r->length)) && *r->word != '-') {
            r->at = before;
            r->word = word_before;
            r->length = length_before;
            return;
        }
        Extent e = scan_extent(r);
        if (scan_take(r, "..")) {
            add_symbol(r, word, e.base);
            continue;
        }
        Extent *kept = arena_alloc(r->cx->arena, sizeof *kept);
        *kept = e;
        map_set(&r->sizes, word, kept);
    }
}

static void read_cache(Reader *r)
{
    Graph *g = r->model;
    Cache c = {.name = scan_name(r), .growing = -1};
    c.type = scan_type(r);
    bool state = scan_take(r, "state");
    if (!state) {
        scan_expect(r, "grows");
        c.growing = type_find(c.type, scan_name(r));
    }
    scan_expect(r, "x");
    c.layers = scan_integer(r);
    c.panels = !state && scan_take(r, "panels");
    if (!r->failed && ((c.growing < 0 && !state) || c.layers < 1))
        scan_fail(r, "the growing axis is not one of the cache's, or it has no layers");
    g->caches = arena_grow(r->cx->arena, g->caches, (size_t)g->n_caches, (size_t)g->n_caches + 1, sizeof *g->caches);
    g->caches[g->n_caches++] = c;
}

static void read_region(Reader *r)
{
    Graph *g = r->model;
    Region region = {0};
    scan_integer(r);
    scan_expect(r, "=");
    region.peak = scan_integer(r);
    scan_expect(r, "bytes");
    while (!r->failed && scan_take(r, "*")) {
        if (region.n == 4) {
            scan_fail(r, "more than four factors");
            return;
        }
        region.unit[region.n] = scan_extent(r);
        region.round[region.n++] = scan_take(r, "to") ? scan_integer(r) : 1;
    }
    scan_expect(r, ",");
    scan_expect(r, "bound");
    region.lower_bound = scan_integer(r);
    g->regions =
        arena_grow(r->cx->arena, g->regions, (size_t)g->n_regions, (size_t)g->n_regions + 1, sizeof *g->regions);
    g->regions[g->n_regions++] = region;
}

/* ---- attributes, places, locations ------------------------------------------------------------------------------- */

static void read_list(Reader *r, Node *n, AttrId id)
{
    AttrKind kind = attr_info[id].kind;
    size_t count = 0, n_names = 0, n_ints = 0, n_floats = 0;
    const char **names = NULL;
    int64_t *ints = NULL;
    double *floats = NULL;
    bool open = scan_take(r, "[");
    while (!r->failed && !(open && scan_is(r, "]"))) {
        if (kind == ATTR_KIND_NAMES) {
            names = arena_room(r->cx->arena, names, count, &n_names, sizeof *names);
            names[count++] = scan_text(r);
        } else if (kind == ATTR_KIND_INTS) {
            ints = arena_room(r->cx->arena, ints, count, &n_ints, sizeof *ints);
            ints[count++] = scan_integer(r);
        } else {
            floats = arena_room(r->cx->arena, floats, count, &n_floats, sizeof *floats);
            floats[count++] = scan_real(r);
        }
        if (!open || !scan_take(r, ","))
            break;
    }
    if (open)
        scan_expect(r, "]");
    if (kind == ATTR_KIND_NAMES)
        attr_set_names(r->cx, n, id, names, (int)count);
    else if (kind == ATTR_KIND_INTS)
        attr_set_ints(r->cx, n, id, ints, (int)count);
    else
        attr_set_floats(r->cx, n, id, floats, (int)count);
}

static void read_attr(Reader *r, Node *n, AttrId id)
{
    switch (attr_info[id].kind) {
    case ATTR_KIND_INT: attr_set_int(r->cx, n, id, scan_integer(r)); return;
    case ATTR_KIND_FLOAT: attr_set_float(r->cx, n, id, scan_real(r)); return;
    case ATTR_KIND_NAME: attr_set_name(r->cx, n, id, scan_text(r)); return;
    case ATTR_KIND_EXTENT: attr_set_extent(r->cx, n, id, scan_extent(r)); return;
    case ATTR_KIND_BOOL:
        attr_set_bool(r->cx, n, id, scan_is(r, "true"));
        if (!scan_take(r, "true"))
            scan_expect(r, "false");
        return;
    default: read_list(r, n, id);
    }
}

/* Attributes until something that is not NAME=. */
static void read_attrs(Reader *r, Node *n)
{
    while (!r->failed && !r->quoted && r->length && r->at < r->end && *r->at == '=') {
        int id = 0;
        while (id < ATTR_COUNT && !scan_is(r, attr_info[id].name))
            id++;
        if (id == ATTR_COUNT) {
            scan_fail(r, "no attribute of this name");
            return;
        }
        if (!op_takes(n->op, (AttrId)id)) {
            scan_fail(r, "%s takes no attribute `%s`", op_info[n->op].name, attr_info[id].name);
            return;
        }
        scan_next(r);
        scan_next(r);
        read_attr(r, n, (AttrId)id);
    }
}

static void read_place(Reader *r, Place *p)
{
    static const struct {
        const char *word;
        PlaceKind kind;
    } words[] = {{"input.", PLACE_INPUT},  {"output.", PLACE_OUTPUT}, {"cache.", PLACE_CACHE},
                 {"weight", PLACE_WEIGHT}, {"view", PLACE_VIEW},      {"inline", PLACE_INLINE}};
    if (!scan_take(r, "@"))
        return;
    r->placed = true;
    if (r->length && isdigit((unsigned char)*r->word)) {
        p->kind = PLACE_ARENA;
        int64_t region = scan_integer(r);
        p->region = region >= 0 && region < r->model->n_regions ? (int)region : -1;
        scan_expect(r, "+");
        p->offset = scan_integer(r);
        return;
    }
    const char *word = scan_name(r);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].word);
        if (strncmp(word, words[i].word, length))
            continue;
        p->kind = words[i].kind;
        p->index = (int)strtol(word + length, NULL, 10);
        return;
    }
    scan_fail(r, "`%s` is no place", word);
}

/* The model file's last name stands for its path. */
static const char *full_path(const Reader *r, const char *path)
{
    const char *slash = r->model->file ? strrchr(r->model->file, '/') : NULL;
    return slash && !strcmp(slash + 1, path) ? r->model->file : path;
}

/* The text from..stop as a location that prints back as `path:line:column`: its source is as many newlines and spaces
 * as that takes. */
static Span location(Reader *r, const char *from, const char *stop)
{
    const char *colon[2] = {NULL, NULL};
    for (const char *p = stop; p > from && !colon[0]; p--)
        if (p[-1] == ':') {
            if (colon[1])
                colon[0] = p - 1;
            else
                colon[1] = p - 1;
        }
    if (!colon[0] || colon[0] == from)
        return (Span){0};
    char *end[2];
    long line = strtol(colon[0] + 1, &end[0], 10), column = strtol(colon[1] + 1, &end[1], 10);
    if (end[0] != colon[1] || end[1] != stop || line < 1 || line > MAX_LINE || column < 1 || column > MAX_COLUMN)
        return (Span){0};
    size_t size = (size_t)(line - 1 + column - 1);
    if (size > r->blank_left)
        return (Span){0};
    r->blank_left -= size;
    char *blank = arena_alloc(r->cx->arena, size + 1);
    memset(blank, '\n', (size_t)line - 1);
    memset(blank + line - 1, ' ', (size_t)column - 1);
    Source *source = arena_alloc(r->cx->arena, sizeof *source);
    *source = (Source){full_path(r, arena_copy(r->cx->arena, from, (size_t)(colon[0] - from))), blank, size};
    return (Span){source, (uint32_t)size, (uint32_t)size};
}

/* `# path:line:column via path:line:column` behind a node: where it comes from. `# -`: from nowhere. Without, it comes
 * from where the node before in its block does. Any other comment is skipped. */
static void read_location(Reader *r, Node *n)
{
    if (n)
        n->at = r->last;
    if (!scan_is(r, "#"))
        return;
    const char *stop = memchr(r->at, '\n', (size_t)(r->end - r->at)), *from = r->at;
    if (!stop)
        stop = r->end;
    while (from < stop && *from == ' ')
        from++;
    if (n) {
        const char *via = memmem(from, (size_t)(stop - from), " via ", 5);
        Span at = location(r, from, via ? via : stop);
        if (at.source || (stop - from == 1 && *from == '-'))
            n->at = r->last = at;
        if (via && at.source)
            n->via = location(r, via + 5, stop);
    }
    r->at = stop;
    scan_next(r);
}

static void skip_comments(Reader *r)
{
    while (scan_is(r, "#"))
        read_location(r, NULL);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static Node *define(Reader *r, Node *n, const char *word, Span at)
{
    if (map_has(&r->values, word))
        scan_fail_at(r, at, "`%s` is defined twice", word);
    Span *kept = arena_alloc(r->cx->arena, sizeof *kept);
    *kept = at;
    n->name = word;
    map_set(&r->values, word, n);
    map_set(&r->spans, word, kept);
    return n;
}

static Node *value(Reader *r)
{
    Span at = scan_here(r);
    const char *word = scan_text(r);
    Node *n = map_get(&r->values, word);
    if (!n)
        scan_fail_at(r, at, "`%s` is not defined before this line", word);
    return n;
}

static Node *param(Reader *r, Graph *g, Op op, Span at, const char *word, const Type *t, int index)
{
    Node *n = node_new(r->cx, g, op, t, 0, NULL);
    if (op == OP_carry || op == OP_param)
        attr_set_int(r->cx, n, ATTR_index, index);
    graph_add_param(r->cx, g, n);
    return define(r, n, word, at);
}

static void read_nodes(Reader *r, Graph *g);

static void read_body(Reader *r, Graph *body)
{
    scan_expect(r, "{");
    if (++r->depth > MAX_DEPTH)
        scan_fail(r, "bodies are nested too deeply");
    if (!r->failed)
        read_nodes(r, body);
    r->depth--;
    scan_expect(r, "}");
}

typedef struct Carried {
    Span at;
    const char *name;
    Place place;
} Carried;

static void read_repeat(Reader *r, Node *n, Span at, const char *index, const Carried *carried)
{
    Graph *body = graph_body(r->cx, n, n->graph->level);
    param(r, body, OP_index, at, index, type_new(r->cx, DT_I32, 0, NULL), 0);
    for (int i = 0; i < n->n_inputs && !r->failed; i++)
        param(r, body, OP_carry, carried[i].at, carried[i].name, n->inputs[i]->type, i)->place = carried[i].place;
    if (!r->failed)
        read_body(r, body);
}

static void read_kernel(Reader *r, Node *n)
{
    Graph *body = graph_body(r->cx, n, LEVEL_BODY);
    scan_expect(r, "(");
    for (int i = 0; !r->failed && !scan_is(r, ")"); i++) {
        Span at = scan_here(r);
        const char *word = scan_name(r);
        const Type *t = scan_take(r, ":") ? scan_type(r) : r->failed ? NULL : infer_param(r->cx, n, i);
        if (!t)
            scan_fail_at(r, at, "the parameter `%s` has neither a type nor an input to take it from", word);
        else
            param(r, body, OP_param, at, word, t, i);
        if (!scan_take(r, ","))
            break;
    }
    scan_expect(r, ")");
    if (!r->failed)
        read_body(r, body);
}

static void read_inputs(Reader *r, Op op, Node ***inputs, int *n, Carried **carried)
{
    size_t capacity = 0, capacity_carried = 0;
    bool repeat = op == OP_repeat;
    if (repeat && !scan_take(r, "carries"))
        return;
    while (!r->failed && (repeat || r->quoted || (r->length && (isalpha((unsigned char)*r->word) || *r->word == '_') &&
                                     !(r->at < r->end && *r->at == '=')))) {
        if (repeat) {
            *carried = arena_room(r->cx->arena, *carried, (size_t)*n, &capacity_carried, sizeof **carried);
            (*carried)[*n] = (Carried){.at = scan_here(r), .name = scan_name(r)};
            read_place(r, &(*carried)[*n].place);
            scan_expect(r, "=");
        }
        *inputs = arena_room(r->cx->arena, *inputs, (size_t)*n, &capacity, sizeof **inputs);
        (*inputs)[(*n)++] = value(r);
        if (!scan_take(r, ","))
            return;
    }
}

/* The type that the shape rule gives, which a type in the text has to be. */
static void infer(Reader *r, Node *n, Span at)
{
    const char *reason = NULL;
    const Type *t = infer_type(r->cx, n, n->type, &reason);
    if (reason)
        scan_fail_at(r, at, "%s: %s", op_info[n->op].name, reason);
    else if (!n->type)
        n->type = t;
    else if (!t)
        scan_fail_at(r, at, "it has several results and no type of its own");
    else if (!type_equal(t, n->type)) {
        Text text = text_new(r->cx->arena);
        type_print(t, &text);
        text_add(&text, ", not ");
        type_print(n->type, &text);
        scan_fail_at(r, at, "its type is %s", text.data);
    }
}

static void read_node(Reader *r, Graph *g)
{
    Span at = scan_here(r);
    const char *word = scan_name(r), *index = NULL;
    Carried *carried = NULL;
    Node **inputs = NULL;
    int n_inputs = 0;
    int64_t count = 0;
    Op op = OP_const;
    scan_expect(r, "=");
    if (!r->failed && !op_from_name(arena_copy(r->cx->arena, r->word, r->length), &op))
        scan_fail(r, "no operator of this name");
    if (r->failed)
        return;
    scan_next(r);
    if (op == OP_repeat) {
        index = scan_name(r);
        scan_expect(r, "<");
        count = scan_integer(r);
    }
    read_inputs(r, op, &inputs, &n_inputs, &carried);
    if (r->failed)
        return;
    if (op_info[op].arity != ARITY_ANY && op_info[op].arity != n_inputs) {
        scan_fail_at(r, at, "%s takes %d inputs, not %d", op_info[op].name, op_info[op].arity, n_inputs);
        return;
    }
    Node *n = node_new(r->cx, g, op, NULL, n_inputs, inputs);
    if (op == OP_repeat)
        attr_set_int(r->cx, n, ATTR_count, count);
    read_attrs(r, n);
    for (int i = 0; i < n_inputs; i++)
        if (!inputs[i]->type && op != OP_get)
            scan_fail_at(r, at, "`%s` has several results: only get reads it", inputs[i]->name);
    if (r->failed)
        return;
    if (op == OP_repeat)
        read_repeat(r, n, at, index, carried);
    else if (op_has_body(op) || (op == OP_append && scan_is(r, "(")))
        read_kernel(r, n);
    if (!r->failed && scan_take(r, ":"))
        n->type = scan_type(r);
    if (r->failed)
        return;
    infer(r, n, at);
    define(r, n, word, at);
    read_place(r, &n->place);
    read_location(r, n);
}

static void read_results(Reader *r, Graph *g)
{
    if (!r->length || scan_is(r, "}") || scan_is(r, "#"))
        return;
    do {
        const char *before = r->at, *word = r->word, *label = NULL;
        size_t length = r->length;
        bool quoted = r->quoted;
        const char *first = scan_text(r);
        if (scan_take(r, "="))
            label = first;
        else {
            r->at = before;
            r->word = word;
            r->length = length;
            r->quoted = quoted;
        }
        Node *v = value(r);
        if (v && !v->type)
            scan_fail(r, "`%s` has several results: only get reads it", v->name);
        if (!r->failed)
            graph_add_result(r->cx, g, label, v, scan_here(r));
    } while (!r->failed && scan_take(r, ","));
}

static void read_nodes(Reader *r, Graph *g)
{
    Span last = r->last;
    r->last = (Span){0};
    bool ended = false;
    for (skip_comments(r); !r->failed && !ended; skip_comments(r)) {
        ended = scan_take(r, "return") || scan_take(r, "yield");
        if (ended)
            read_results(r, g);
        else
            read_node(r, g);
    }
    r->last = last;
}

/* The signature is read twice: dims come after it in the text, sizes are needed for its types. */
static void read_model(Reader *r)
{
    bool kernels = scan_is(r, "kernels");
    if (!scan_take(r, "kernels"))
        scan_expect(r, "graph");
    r->model->level = kernels ? LEVEL_KERNEL : LEVEL_GRAPH;
    r->model->name = scan_name(r);
    scan_expect(r, "(");
    const char *signature = r->word;
    while (!r->failed && r->length && !scan_is(r, ")"))
        scan_next(r);
    scan_expect(r, ")");
    if (scan_take(r, "file"))
        r->model->file = scan_text(r);
    while (scan_take(r, "dims"))
        read_dims(r);
    const char *body = r->word;
    r->at = signature;
    for (scan_next(r); !r->failed && !scan_is(r, ")");) {
        Span at = scan_here(r);
        const char *word = scan_text(r);
        scan_expect(r, ":");
        if (!r->failed)
            param(r, r->model, OP_input, at, word, scan_type(r), 0);
        if (!scan_take(r, ","))
            break;
    }
    scan_expect(r, ")");
    r->at = body;
    scan_next(r);
    while (!r->failed && (scan_is(r, "cache") || scan_is(r, "region"))) {
        if (scan_take(r, "cache"))
            read_cache(r);
        else if (scan_take(r, "region"))
            read_region(r);
    }
    if (!r->failed)
        read_nodes(r, r->model);
    if (!r->failed && r->length)
        scan_fail(r, "something stands after the graph");
    for (int i = 0; i < r->model->n_params && r->placed; i++)
        r->model->params[i]->place = (Place){.kind = PLACE_INPUT, .index = i};
}

/* The verifier's reasons begin with the node's name. */
static Span span_of(const Reader *r, const char *why)
{
    const char *end = why[0] == '`' ? strchr(why + 1, '`') : NULL;
    const Span *at = end ? map_get_n(&r->spans, why + 1, (size_t)(end - why - 1)) : NULL;
    return at ? *at : (Span){r->source, 0, 0};
}

Graph *graph_read(Context *cx, const Source *source)
{
    Reader r = {.cx = cx,
                .source = source,
                .at = source->text,
                .end = source->text + source->size,
                .values = map_new(cx->arena),
                .spans = map_new(cx->arena),
                .sizes = map_new(cx->arena),
                .blank_left = MAX_BLANK};
    r.model = graph_new(cx, NULL, LEVEL_GRAPH);
    r.model->symbols = arena_array(cx->arena, MAX_SYMBOLS_READ, sizeof *r.model->symbols);
    scan_next(&r);
    skip_comments(&r);
    read_model(&r);
    const char *why = NULL;
    if (!r.failed && !graph_verify(cx, r.model, &why))
        scan_fail_at(&r, span_of(&r, why), "%s", why);
    return r.failed ? NULL : r.model;
}
