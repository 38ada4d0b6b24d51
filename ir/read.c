/* Reads the text form back (print.c). A hand-written scanner and one function a rule; every fault is an E1101 diagnostic with a caret,
 * and the first one ends the reading. Locations in comments (`# file:line:column`) are part of the text: they print back the same. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "ir/ir.h"

enum { MAX_DEPTH = 16, MAX_SYMBOLS_READ = 64, MAX_LINE = 1000000, MAX_COLUMN = 10000, MAX_BLANK = 64 << 20 };

typedef struct Reader {
    Context *cx;
    const Source *source;
    const char *at, *end;
    const char *word;                   /* the current token */
    size_t length;
    bool quoted, failed;
    bool placed;                        /* a place was read: memory is planned */
    Graph *model;
    Map values, spans, sizes;           /* name -> Node *, name -> Span *; axis name -> Extent * */
    int depth;
    size_t blank_left;                  /* bytes that may still be spent on the sources of locations */
} Reader;

/* ---- tokens: words, numbers, "text", two-character signs, one-character signs; newlines do not matter -------------------------------------- */

static Span here(const Reader *r) {
    return (Span){r->source, (uint32_t)(r->word - r->source->text), (uint32_t)(r->word - r->source->text + (ptrdiff_t)r->length)};
}

static bool fail_at(Reader *r, Span at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool fail_at(Reader *r, Span at, const char *format, ...) {
    va_list args;
    if (r->failed) return false;
    va_start(args, format);
    diag_error(r->cx->diags, "E1101", at, "%s", arena_vprint(r->cx->arena, format, args));
    va_end(args);
    r->failed = true;
    return false;
}

#define fail(r, ...) fail_at(r, here(r), __VA_ARGS__)

static bool is_word_byte(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static void next(Reader *r) {
    while (r->at < r->end && isspace((unsigned char)*r->at)) r->at++;
    r->word = r->at;
    r->quoted = false;
    if (r->at < r->end && *r->at == '"') {
        r->quoted = true;
        for (r->at++; r->at < r->end && *r->at != '"' && *r->at != '\n'; r->at++)
            if (*r->at == '\\' && r->at + 1 < r->end) r->at++;
        if (r->at < r->end) r->at++;
    } else if (r->at < r->end && isdigit((unsigned char)*r->at)) {
        while (r->at < r->end && (isalnum((unsigned char)*r->at) || (*r->at == '.' && r->at + 1 < r->end && r->at[1] != '.') ||
                                  ((*r->at == '+' || *r->at == '-') && (r->at[-1] == 'e' || r->at[-1] == 'E')))) r->at++;
    } else if (r->at < r->end && is_word_byte(*r->at) && *r->at != '.') {
        while (r->at < r->end && is_word_byte(*r->at)) r->at++;
    } else if (r->at + 1 < r->end && ((r->at[0] == '.' && r->at[1] == '.') || (r->at[0] == '-' && r->at[1] == '>'))) {
        r->at += 2;
    } else if (r->at < r->end) {
        r->at++;
    }
    r->length = (size_t)(r->at - r->word);
}

static bool is(const Reader *r, const char *text) {
    return !r->quoted && r->length == strlen(text) && !memcmp(r->word, text, r->length);
}

static bool take(Reader *r, const char *text) {
    if (!is(r, text)) return false;
    next(r);
    return true;
}

static bool expect(Reader *r, const char *text) {
    return take(r, text) || fail(r, "expected `%s`", text);
}

static const char *name(Reader *r) {
    if (r->quoted || r->length == 0 || !(isalpha((unsigned char)*r->word) || *r->word == '_')) {
        fail(r, "expected a name");
        return "";
    }
    const char *s = name_of_n(r->cx->names, r->word, r->length);
    next(r);
    return s;
}

static const char *text(Reader *r) {
    if (!r->quoted) return name(r);
    if (r->length < 2 || r->word[r->length - 1] != '"') {
        fail(r, "the text is not closed");
        return "";
    }
    Text t = text_new(r->cx->arena);
    for (size_t i = 1; i + 1 < r->length; i++) {
        if (r->word[i] == '\\') i++;
        text_char(&t, r->word[i]);
    }
    next(r);
    return name_of_n(r->cx->names, t.data, t.length);
}

static int64_t integer(Reader *r) {
    bool minus = take(r, "-");
    int64_t value = 0;
    if (r->length == 0 || !isdigit((unsigned char)*r->word)) return fail(r, "expected a whole number");
    for (size_t i = 0; i < r->length; i++) {
        if (!isdigit((unsigned char)r->word[i])) return fail(r, "expected a whole number");
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, r->word[i] - '0', &value)) return fail(r, "the number is too large");
    }
    next(r);
    return minus ? -value : value;
}

static double real(Reader *r) {
    bool minus = take(r, "-");
    double value;
    char *end;
    if (is(r, "inf")) value = INFINITY;
    else if (is(r, "nan")) value = NAN;
    else {
        char *digits = arena_copy(r->cx->arena, r->word, r->length);
        value = strtod(digits, &end);
        if (r->length == 0 || *end) return fail(r, "expected a number");
    }
    next(r);
    return minus ? -value : value;
}

/* ---- sizes and types --------------------------------------------------------------------------------------------------------------------------- */

static const Symbol *find_symbol(const Reader *r, const char *word) {
    for (int i = 0; i < r->model->n_symbols; i++)
        if (r->model->symbols[i]->name == word) return r->model->symbols[i];
    return NULL;
}

/* [factor *] symbol or a number. `2*S` is three tokens. */
static Extent term(Reader *r) {
    if (r->length && (isdigit((unsigned char)*r->word) || *r->word == '-')) {
        int64_t value = integer(r);
        if (!take(r, "*")) return extent_const(value);
        const Symbol *s = find_symbol(r, name(r));
        Extent e = extent_const(0);
        if (!s || !extent_scale(extent_symbol(s), value, &e)) fail(r, "expected a symbol of the dims line");
        return e;
    }
    const Symbol *s = find_symbol(r, name(r));
    if (!s) {
        fail(r, "expected a size: a number or a symbol of the dims line");
        return extent_const(0);
    }
    return extent_symbol(s);
}

static Extent extent(Reader *r) {
    Extent sum = term(r);
    while (!r->failed && (is(r, "+") || is(r, "-"))) {
        bool minus = is(r, "-");
        next(r);
        Extent t = term(r);
        if (!(minus ? extent_sub(sum, t, &sum) : extent_add(sum, t, &sum))) fail(r, "the size cannot be written with three symbols");
    }
    return sum;
}

static Axis axis(Reader *r) {
    Axis a = {name(r), extent_const(0)};
    if (take(r, "=")) {
        a.size = extent(r);
        return a;
    }
    const Symbol *s = find_symbol(r, a.name);
    const Extent *known = map_get(&r->sizes, a.name);
    if (s) a.size = extent_symbol(s);
    else if (known) a.size = *known;
    else fail(r, "the axis `%s` has no size here and none in the dims line", a.name);
    return a;
}

static const Type *type(Reader *r) {
    Axis axes[MAX_RANK];
    int rank = 0;
    DType dtype = DT_F32;
    const char *word = name(r);
    if (!r->failed && !dtype_from_name(word, &dtype)) fail(r, "`%s` is not an element type", word);
    if (take(r, "["))
        do {
            if (rank == MAX_RANK) {
                fail(r, "more than %d axes", MAX_RANK);
                break;
            }
            Span at = here(r);
            axes[rank] = axis(r);
            for (int i = 0; i < rank; i++)
                if (axes[i].name == axes[rank].name) fail_at(r, at, "the axis `%s` stands twice", axes[i].name);
            rank++;
        } while (!r->failed && take(r, ","));
    if (rank) expect(r, "]");
    return type_new(r->cx, dtype, rank, axes);
}

/* ---- header ---------------------------------------------------------------------------------------------------------------------------------------- */

static void add_symbol(Reader *r, const char *word, int64_t low) {
    Symbol *s = arena_alloc(r->cx->arena, sizeof *s);
    *s = (Symbol){.name = word, .low = low, .high = SYMBOL_UNBOUNDED};
    if (!r->failed && !is(r, "dims") && r->length && isdigit((unsigned char)*r->word)) s->high = integer(r);
    if (r->model->n_symbols == MAX_SYMBOLS_READ || find_symbol(r, word)) {
        fail(r, "too many symbols, or `%s` twice", word);
        return;
    }
    r->model->symbols[r->model->n_symbols++] = s;
}

static void read_dims(Reader *r) {
    while (!r->failed && r->length && !r->quoted && r->at < r->end && !is(r, "cache") && !is(r, "region")) {
        const char *before = r->at, *word_before = r->word;
        size_t length_before = r->length;
        const char *word = name(r);
        if (!is(r, "=")) {              /* the first node's line or `return`: give the word back */
            r->at = before;
            r->word = word_before;
            r->length = length_before;
            return;
        }
        next(r);
        if (!(r->length && isdigit((unsigned char)*r->word)) && !find_symbol(r, name_of_n(r->cx->names, r->word, r->length)) && *r->word != '-') {
            r->at = before;
            r->word = word_before;
            r->length = length_before;
            return;
        }
        Extent e = extent(r);
        if (take(r, "..")) {
            add_symbol(r, word, e.base);
            continue;
        }
        Extent *kept = arena_alloc(r->cx->arena, sizeof *kept);
        *kept = e;
        map_set(&r->sizes, word, kept);
    }
}

static void read_cache(Reader *r) {
    Graph *g = r->model;
    Cache c = {.name = name(r), .growing = -1};
    c.type = type(r);
    expect(r, "grows");
    c.growing = type_find(c.type, name(r));
    expect(r, "x");
    c.layers = integer(r);
    c.panels = take(r, "panels");
    if (!r->failed && (c.growing < 0 || c.layers < 1)) fail(r, "the growing axis is not one of the cache's, or it has no layers");
    g->caches = arena_grow(r->cx->arena, g->caches, (size_t)g->n_caches, (size_t)g->n_caches + 1, sizeof *g->caches);
    g->caches[g->n_caches++] = c;
}

static void read_region(Reader *r) {
    Graph *g = r->model;
    Region region = {0};
    integer(r);
    expect(r, "=");
    region.peak = integer(r);
    expect(r, "bytes");
    while (!r->failed && take(r, "*")) {
        if (region.n == 4) {
            fail(r, "more than four factors");
            return;
        }
        region.unit[region.n] = extent(r);
        region.round[region.n++] = take(r, "to") ? integer(r) : 1;
    }
    expect(r, ",");
    expect(r, "bound");
    region.lower_bound = integer(r);
    g->regions = arena_grow(r->cx->arena, g->regions, (size_t)g->n_regions, (size_t)g->n_regions + 1, sizeof *g->regions);
    g->regions[g->n_regions++] = region;
}

/* ---- attributes, places, locations --------------------------------------------------------------------------------------------------------------------- */

static void read_list(Reader *r, Node *n, AttrId id) {
    AttrKind kind = attr_info[id].kind;
    size_t count = 0, n_names = 0, n_ints = 0, n_floats = 0;
    const char **names = NULL;
    int64_t *ints = NULL;
    double *floats = NULL;
    bool open = take(r, "[");
    while (!r->failed && !(open && is(r, "]"))) {
        if (kind == ATTR_KIND_NAMES) {
            names = arena_room(r->cx->arena, names, count, &n_names, sizeof *names);
            names[count++] = text(r);
        } else if (kind == ATTR_KIND_INTS) {
            ints = arena_room(r->cx->arena, ints, count, &n_ints, sizeof *ints);
            ints[count++] = integer(r);
        } else {
            floats = arena_room(r->cx->arena, floats, count, &n_floats, sizeof *floats);
            floats[count++] = real(r);
        }
        if (!open || !take(r, ",")) break;
    }
    if (open) expect(r, "]");
    if (kind == ATTR_KIND_NAMES) attr_set_names(r->cx, n, id, names, (int)count);
    else if (kind == ATTR_KIND_INTS) attr_set_ints(r->cx, n, id, ints, (int)count);
    else attr_set_floats(r->cx, n, id, floats, (int)count);
}

static void read_attr(Reader *r, Node *n, AttrId id) {
    switch (attr_info[id].kind) {
    case ATTR_KIND_INT: attr_set_int(r->cx, n, id, integer(r)); return;
    case ATTR_KIND_FLOAT: attr_set_float(r->cx, n, id, real(r)); return;
    case ATTR_KIND_NAME: attr_set_name(r->cx, n, id, text(r)); return;
    case ATTR_KIND_EXTENT: attr_set_extent(r->cx, n, id, extent(r)); return;
    case ATTR_KIND_BOOL:
        attr_set_bool(r->cx, n, id, is(r, "true"));
        if (!take(r, "true")) expect(r, "false");
        return;
    default: read_list(r, n, id);
    }
}

/* Attributes until something that is not NAME=. */
static void read_attrs(Reader *r, Node *n) {
    while (!r->failed && !r->quoted && r->length && r->at < r->end && *r->at == '=') {
        int id = 0;
        while (id < ATTR_COUNT && !is(r, attr_info[id].name)) id++;
        if (id == ATTR_COUNT) {
            fail(r, "no attribute of this name");
            return;
        }
        if (!op_takes(n->op, (AttrId)id)) {
            fail(r, "%s takes no attribute `%s`", op_info[n->op].name, attr_info[id].name);
            return;
        }
        next(r);
        next(r);
        read_attr(r, n, (AttrId)id);
    }
}

static void read_place(Reader *r, Place *p) {
    static const struct { const char *word; PlaceKind kind; } words[] = {{"input.", PLACE_INPUT}, {"output.", PLACE_OUTPUT}, {"cache.", PLACE_CACHE},
                                                                        {"weight", PLACE_WEIGHT}, {"view", PLACE_VIEW}, {"inline", PLACE_INLINE}};
    if (!take(r, "@")) return;
    r->placed = true;
    if (r->length && isdigit((unsigned char)*r->word)) {
        p->kind = PLACE_ARENA;
        int64_t region = integer(r);
        p->region = region >= 0 && region < r->model->n_regions ? (int)region : -1;
        expect(r, "+");
        p->offset = integer(r);
        return;
    }
    const char *word = name(r);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].word);
        if (strncmp(word, words[i].word, length)) continue;
        p->kind = words[i].kind;
        p->index = (int)strtol(word + length, NULL, 10);
        return;
    }
    fail(r, "`%s` is no place", word);
}

/* The text from..stop as a location that prints back as `path:line:column`: its source is as many newlines and spaces as that takes. */
static Span location(Reader *r, const char *from, const char *stop) {
    const char *colon[2] = {NULL, NULL};
    for (const char *p = stop; p > from && !colon[0]; p--)
        if (p[-1] == ':') {
            if (colon[1]) colon[0] = p - 1;
            else colon[1] = p - 1;
        }
    if (!colon[0] || colon[0] == from) return (Span){0};
    char *end[2];
    long line = strtol(colon[0] + 1, &end[0], 10), column = strtol(colon[1] + 1, &end[1], 10);
    if (end[0] != colon[1] || end[1] != stop || line < 1 || line > MAX_LINE || column < 1 || column > MAX_COLUMN) return (Span){0};
    size_t size = (size_t)(line - 1 + column - 1);
    if (size > r->blank_left) return (Span){0};
    r->blank_left -= size;
    char *blank = arena_alloc(r->cx->arena, size + 1);
    memset(blank, '\n', (size_t)line - 1);
    memset(blank + line - 1, ' ', (size_t)column - 1);
    Source *source = arena_alloc(r->cx->arena, sizeof *source);
    *source = (Source){arena_copy(r->cx->arena, from, (size_t)(colon[0] - from)), blank, size};
    return (Span){source, (uint32_t)size, (uint32_t)size};
}

/* `# path:line:column via path:line:column` after a node; any other comment is skipped. The current token is the `#`. */
static void read_location(Reader *r, Node *n) {
    if (!is(r, "#")) return;
    const char *stop = memchr(r->at, '\n', (size_t)(r->end - r->at)), *from = r->at;
    if (!stop) stop = r->end;
    while (from < stop && *from == ' ') from++;
    if (n) {
        const char *via = memmem(from, (size_t)(stop - from), " via ", 5);
        n->at = location(r, from, via ? via : stop);
        if (via && n->at.source) n->via = location(r, via + 5, stop);
    }
    r->at = stop;
    next(r);
}

static void skip_comments(Reader *r) {
    while (is(r, "#")) read_location(r, NULL);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------------------------------------------------ */

static Node *define(Reader *r, Node *n, const char *word, Span at) {
    if (map_has(&r->values, word)) fail_at(r, at, "`%s` is defined twice", word);
    Span *kept = arena_alloc(r->cx->arena, sizeof *kept);
    *kept = at;
    n->name = word;
    map_set(&r->values, word, n);
    map_set(&r->spans, word, kept);
    return n;
}

static Node *value(Reader *r) {
    Span at = here(r);
    const char *word = name(r);
    Node *n = map_get(&r->values, word);
    if (!n) fail_at(r, at, "`%s` is not defined before this line", word);
    return n;
}

static Node *param(Reader *r, Graph *g, Op op, Span at, const char *word, const Type *t, int index) {
    Node *n = node_new(r->cx, g, op, t, 0, NULL);
    if (op == OP_carry || op == OP_param) attr_set_int(r->cx, n, ATTR_index, index);
    graph_add_param(r->cx, g, n);
    return define(r, n, word, at);
}

static void read_nodes(Reader *r, Graph *g);

static void read_body(Reader *r, Graph *body) {
    expect(r, "{");
    if (++r->depth > MAX_DEPTH) fail(r, "bodies are nested too deeply");
    if (!r->failed) read_nodes(r, body);
    r->depth--;
    expect(r, "}");
}

typedef struct Carried { Span at; const char *name; Place place; } Carried;

static void read_repeat(Reader *r, Node *n, Span at, const char *index, const Carried *carried) {
    Graph *body = graph_body(r->cx, n, n->graph->level);
    param(r, body, OP_index, at, index, type_new(r->cx, DT_I32, 0, NULL), 0);
    for (int i = 0; i < n->n_inputs && !r->failed; i++)
        param(r, body, OP_carry, carried[i].at, carried[i].name, n->inputs[i]->type, i)->place = carried[i].place;
    if (!r->failed) read_body(r, body);
}

static void read_kernel(Reader *r, Node *n) {
    Graph *body = graph_body(r->cx, n, LEVEL_BODY);
    expect(r, "(");
    for (int i = 0; !r->failed && !is(r, ")"); i++) {
        Span at = here(r);
        const char *word = name(r);
        expect(r, ":");
        param(r, body, OP_param, at, word, type(r), i);
        if (!take(r, ",")) break;
    }
    expect(r, ")");
    if (!r->failed) read_body(r, body);
}

static void read_inputs(Reader *r, Op op, Node ***inputs, int *n, Carried **carried) {
    size_t capacity = 0, capacity_carried = 0;
    bool repeat = op == OP_repeat;
    if (repeat && !take(r, "carries")) return;
    while (!r->failed && (repeat || (r->length && !r->quoted && (isalpha((unsigned char)*r->word) || *r->word == '_') && !(r->at < r->end && *r->at == '=')))) {
        if (repeat) {
            *carried = arena_room(r->cx->arena, *carried, (size_t)*n, &capacity_carried, sizeof **carried);
            (*carried)[*n] = (Carried){.at = here(r), .name = name(r)};
            read_place(r, &(*carried)[*n].place);
            expect(r, "=");
        }
        *inputs = arena_room(r->cx->arena, *inputs, (size_t)*n, &capacity, sizeof **inputs);
        (*inputs)[(*n)++] = value(r);
        if (!take(r, ",")) return;
    }
}

/* The type that the shape rule gives, which a type in the text has to be. */
static void infer(Reader *r, Node *n, Span at) {
    const char *reason = NULL;
    const Type *t = infer_type(r->cx, n, n->type, &reason);
    if (reason) fail_at(r, at, "%s: %s", op_info[n->op].name, reason);
    else if (!n->type) n->type = t;
    else if (!t) fail_at(r, at, "it has several results and no type of its own");
    else if (!type_equal(t, n->type)) {
        Text text = text_new(r->cx->arena);
        type_print(t, &text);
        text_add(&text, ", not ");
        type_print(n->type, &text);
        fail_at(r, at, "its type is %s", text.data);
    }
}

static void read_node(Reader *r, Graph *g) {
    Span at = here(r);
    const char *word = name(r), *index = NULL;
    Carried *carried = NULL;
    Node **inputs = NULL;
    int n_inputs = 0;
    int64_t count = 0;
    Op op = OP_const;
    expect(r, "=");
    if (!r->failed && !op_from_name(arena_copy(r->cx->arena, r->word, r->length), &op)) fail(r, "no operator of this name");
    if (r->failed) return;
    next(r);
    if (op == OP_repeat) {
        index = name(r);
        expect(r, "<");
        count = integer(r);
    }
    read_inputs(r, op, &inputs, &n_inputs, &carried);
    if (r->failed) return;
    if (op_info[op].arity != ARITY_ANY && op_info[op].arity != n_inputs) {
        fail_at(r, at, "%s takes %d inputs, not %d", op_info[op].name, op_info[op].arity, n_inputs);
        return;
    }
    Node *n = node_new(r->cx, g, op, NULL, n_inputs, inputs);
    if (op == OP_repeat) attr_set_int(r->cx, n, ATTR_count, count);
    read_attrs(r, n);
    for (int i = 0; i < n_inputs; i++)
        if (!inputs[i]->type && op != OP_get) fail_at(r, at, "`%s` has several results: only get reads it", inputs[i]->name);
    if (r->failed) return;
    if (op == OP_repeat) read_repeat(r, n, at, index, carried);
    else if (op_info[op].class == CLASS_KERNEL || (op == OP_append && is(r, "("))) read_kernel(r, n);
    if (!r->failed && take(r, ":")) n->type = type(r);
    if (r->failed) return;
    infer(r, n, at);
    define(r, n, word, at);
    read_place(r, &n->place);
    read_location(r, n);
}

static void read_results(Reader *r, Graph *g) {
    if (!r->length || is(r, "}") || is(r, "#")) return;
    do {
        const char *before = r->at, *word = r->word, *label = NULL;
        size_t length = r->length;
        const char *first = name(r);
        if (take(r, "=")) label = first;
        else {
            r->at = before;
            r->word = word;
            r->length = length;
        }
        Node *v = value(r);
        if (v && !v->type) fail(r, "`%s` has several results: only get reads it", v->name);
        if (!r->failed) graph_add_result(r->cx, g, label, v, here(r));
    } while (!r->failed && take(r, ","));
}

static void read_nodes(Reader *r, Graph *g) {
    for (skip_comments(r); !r->failed; skip_comments(r)) {
        if (take(r, "return") || take(r, "yield")) {
            read_results(r, g);
            skip_comments(r);
            return;
        }
        read_node(r, g);
    }
}

/* The signature is read twice: dims come after it in the text, sizes are needed for its types. */
static void read_model(Reader *r) {
    bool kernels = is(r, "kernels");
    if (!take(r, "kernels")) expect(r, "graph");
    r->model->level = kernels ? LEVEL_KERNEL : LEVEL_GRAPH;
    r->model->name = name(r);
    expect(r, "(");
    const char *signature = r->word;
    while (!r->failed && r->length && !is(r, ")")) next(r);
    expect(r, ")");
    if (take(r, "file")) r->model->file = text(r);
    while (take(r, "dims")) read_dims(r);
    const char *body = r->word;
    r->at = signature;
    for (next(r); !r->failed && !is(r, ")");) {
        Span at = here(r);
        const char *word = name(r);
        expect(r, ":");
        if (!r->failed) param(r, r->model, OP_input, at, word, type(r), 0);
        if (!take(r, ",")) break;
    }
    expect(r, ")");
    r->at = body;
    next(r);
    while (!r->failed && (is(r, "cache") || is(r, "region"))) {
        if (take(r, "cache")) read_cache(r);
        else if (take(r, "region")) read_region(r);
    }
    if (!r->failed) read_nodes(r, r->model);
    if (!r->failed && r->length) fail(r, "something stands after the graph");
    for (int i = 0; i < r->model->n_params && r->placed; i++) r->model->params[i]->place = (Place){.kind = PLACE_INPUT, .index = i};
}

/* The verifier's reasons begin with the node's name. */
static Span span_of(const Reader *r, const char *why) {
    const char *end = why[0] == '`' ? strchr(why + 1, '`') : NULL;
    const Span *at = end ? map_get_n(&r->spans, why + 1, (size_t)(end - why - 1)) : NULL;
    return at ? *at : (Span){r->source, 0, 0};
}

Graph *graph_read(Context *cx, const Source *source) {
    Reader r = {.cx = cx, .source = source, .at = source->text, .end = source->text + source->size, .values = map_new(cx->arena), .spans = map_new(cx->arena), .sizes = map_new(cx->arena), .blank_left = MAX_BLANK};
    r.model = graph_new(cx, NULL, LEVEL_GRAPH);
    r.model->symbols = arena_array(cx->arena, MAX_SYMBOLS_READ, sizeof *r.model->symbols);
    next(&r);
    skip_comments(&r);
    read_model(&r);
    const char *why = NULL;
    if (!r.failed && !graph_verify(cx, r.model, &why)) fail_at(&r, span_of(&r, why), "%s", why);
    return r.failed ? NULL : r.model;
}
