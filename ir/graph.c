/* Graphs: making, moving, replacing, naming and copying nodes.
 *
 * The nodes of a graph are a doubly linked list in executable order. Inputs are plain pointers without back links:
 * `uses` is counted when asked for, and a replacement walks the model once. */
#include <assert.h>
#include <ctype.h>
#include <string.h>
#include "ir/ir.h"

Graph *graph_new(Context *cx, const char *name, int level)
{
    Graph *g = arena_alloc(cx->arena, sizeof *g);
    g->name = name ? name_of(cx->names, name) : NULL;
    g->level = level;
    return g;
}

Graph *graph_body(Context *cx, Node *owner, int level)
{
    Graph *g = graph_new(cx, NULL, level);
    g->parent = owner->graph;
    g->owner = owner;
    owner->body = g;
    return g;
}

Graph *graph_model(Graph *g)
{
    while (g->parent)
        g = g->parent;
    return g;
}

static Node *make(Context *cx, Graph *g, Op op, const Type *type, int n_inputs, Node *const *inputs)
{
    Node *n = arena_alloc(cx->arena, sizeof *n);
    n->op = op;
    n->id = graph_model(g)->next_id++;
    n->type = type;
    n->graph = g;
    n->inputs = arena_array(cx->arena, (size_t)n_inputs + 1, sizeof *n->inputs);
    for (int i = 0; i < n_inputs; i++)
        n->inputs[i] = inputs[i];
    n->n_inputs = n_inputs;
    return n;
}

/* Links n before `where`, at the end of g if `where` is NULL. */
static void link_before(Graph *g, Node *n, Node *where)
{
    n->graph = g;
    if (n->body)
        n->body->parent = g;
    n->next = where;
    n->prev = where ? where->prev : g->last;
    if (n->prev)
        n->prev->next = n;
    else
        g->first = n;
    if (where)
        where->prev = n;
    else
        g->last = n;
}

Node *node_new(Context *cx, Graph *g, Op op, const Type *type, int n_inputs, Node *const *inputs)
{
    Node *n = make(cx, g, op, type, n_inputs, inputs);
    link_before(g, n, NULL);
    return n;
}

Node *node_before(Context *cx, Node *where, Op op, const Type *type, int n_inputs, Node *const *inputs)
{
    Node *n = make(cx, where->graph, op, type, n_inputs, inputs);
    link_before(where->graph, n, where);
    return n;
}

void node_remove(Node *n)
{
    Graph *g = n->graph;
    if (n->prev)
        n->prev->next = n->next;
    else
        g->first = n->next;
    if (n->next)
        n->next->prev = n->prev;
    else
        g->last = n->prev;
    n->prev = n->next = NULL;
}

void node_move_before(Node *n, Node *where)
{
    if (n == where)
        return;
    node_remove(n);
    link_before(where->graph, n, where);
}

static void replace_in(Graph *g, const Node *old, Node *with)
{
    for (Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i] == old)
                n->inputs[i] = with;
        if (n->body)
            replace_in(n->body, old, with);
    }
    for (int i = 0; i < g->n_results; i++)
        if (g->results[i].value == old)
            g->results[i].value = with;
}

void node_replace(Node *old, Node *with)
{
    replace_in(graph_model(old->graph), old, with);
}

void graph_add_param(Context *cx, Graph *g, Node *n)
{
    g->params = arena_grow(cx->arena, g->params, (size_t)g->n_params, (size_t)g->n_params + 1, sizeof *g->params);
    g->params[g->n_params++] = n;
}

void graph_add_result(Context *cx, Graph *g, const char *name, Node *value, Span at)
{
    g->results = arena_grow(cx->arena, g->results, (size_t)g->n_results, (size_t)g->n_results + 1, sizeof *g->results);
    g->results[g->n_results++] = (Result){name ? name_of(cx->names, name) : NULL, value, at};
}

static void clear_uses(Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        n->uses = 0;
        if (n->body)
            clear_uses(n->body);
    }
}

static void add_uses(Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            n->inputs[i]->uses++;
        if (n->body)
            add_uses(n->body);
    }
    for (int i = 0; i < g->n_results; i++)
        g->results[i].value->uses++;
}

void graph_count_uses(Graph *model)
{
    clear_uses(model);
    add_uses(model);
}

bool node_is_outside(const Node *n, const Graph *g)
{
    for (g = g->parent; g; g = g->parent)
        if (n->graph == g)
            return true;
    return false;
}

bool node_has_state(const Node *n)
{
    return attr_name(n, ATTR_cache) != NULL;
}

int node_results(const Node *n)
{
    if (!n->body || n->op == OP_append)
        return 1;
    if (n->op == OP_attend)
        return attr_bool(n, ATTR_lse, false) ? 2 : 1;
    return n->op == OP_repeat && n->n_inputs < n->body->n_results ? n->n_inputs : n->body->n_results;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

typedef struct Naming {
    Context *cx;
    Map taken; /* name -> the node that holds it */
    Map next;  /* hint -> 1 + the last number tried for it */
} Naming;

/* A name the text form can hold: letters, digits, _ and dots, no digit or dot in front. */
static const char *as_word(Context *cx, const char *name)
{
    bool good = isalpha((unsigned char)name[0]) || name[0] == '_';
    for (const char *p = name; *p && good; p++)
        good = isalnum((unsigned char)*p) || *p == '_' || *p == '.';
    if (good)
        return name;
    bool lead = isalpha((unsigned char)name[0]);
    char *word = arena_print(cx->arena, "%s%s", lead ? "" : "_", name);
    for (char *p = word; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '.')
            *p = '_';
    return name_of(cx->names, word);
}

/* Inputs come first and keep their names: those are the model's interface. The other words begin lines of the text
 * form. */
static void reserve_words(Naming *w, Graph *model)
{
    static const char *const words[] = {"return", "yield", "cache", "region"};
    for (int i = 0; i < model->n_params; i++)
        if (model->params[i]->name && !map_has(&w->taken, model->params[i]->name))
            map_set(&w->taken, model->params[i]->name, model->params[i]);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!map_has(&w->taken, words[i]))
            map_set(&w->taken, words[i], w);
}

/* `bodies`: in kernels' bodies, or outside of them. */
static void claim_names(Naming *w, Graph *g, bool bodies)
{
    for (Node *n = g->first; n; n = n->next) {
        bool claims = bodies == (g->level == LEVEL_BODY) && n->name && n->name[0];
        if (claims && n->op != OP_input)
            n->name = as_word(w->cx, n->name);
        if (claims && !map_has(&w->taken, n->name))
            map_set(&w->taken, n->name, n);
        if (n->body)
            claim_names(w, n->body, bodies);
    }
}

/* "x.0.12" -> "x.0": the part before a final number. */
static const char *hint_of(Context *cx, const Node *n)
{
    if (!n->name || !n->name[0])
        return op_info[n->op].name;
    size_t length = strlen(n->name), end = length;
    while (end > 0 && isdigit((unsigned char)n->name[end - 1]))
        end--;
    if (end == length || end < 2 || n->name[end - 1] != '.')
        return n->name;
    return name_of_n(cx->names, n->name, end - 1);
}

static void give_names(Naming *w, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (!n->name || map_get(&w->taken, n->name) != n) {
            const char *hint = hint_of(w->cx, n), *name = hint;
            uintptr_t number = (uintptr_t)map_get(&w->next, hint);
            while (map_has(&w->taken, name))
                name = arena_print(w->cx->arena, "%s.%zu", hint, (size_t)++number);
            map_set(&w->next, hint, (void *)number);
            n->name = name_of(w->cx->names, name);
            map_set(&w->taken, n->name, n);
        }
        if (n->body)
            give_names(w, n->body);
    }
}

void graph_name_all(Context *cx, Graph *model)
{
    Naming w = {cx, map_new(cx->arena), map_new(cx->arena)};
    reserve_words(&w, model);
    claim_names(&w, model, false);      /* a kernel's value has the model's word rather than what is inside of it */
    claim_names(&w, model, true);
    give_names(&w, model);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

typedef struct Copying {
    Context *cx;
    Node **by_id; /* old id -> new node */
    int count;
} Copying;

static void *copy_array(Context *cx, const void *items, int count, size_t each)
{
    void *copy = arena_array(cx->arena, (size_t)count + 1, each);
    if (count > 0)
        memcpy(copy, items, (size_t)count * each);
    return copy;
}

static Graph *copy_graph(Copying *w, const Graph *from, Graph *parent, Node *owner);

static void copy_node(Copying *w, const Node *from, Graph *g)
{
    assert(from->id >= 0 && from->id < w->count);
    Node *n = arena_alloc(w->cx->arena, sizeof *n);
    *n = *from;
    n->inputs = arena_array(w->cx->arena, (size_t)from->n_inputs + 1, sizeof *n->inputs);
    for (int i = 0; i < from->n_inputs; i++)
        n->inputs[i] = w->by_id[from->inputs[i]->id];
    attrs_copy(w->cx, n, from);
    n->body = NULL;
    link_before(g, n, NULL);
    w->by_id[from->id] = n;
    if (from->body)
        n->body = copy_graph(w, from->body, g, n);
}

static Graph *copy_graph(Copying *w, const Graph *from, Graph *parent, Node *owner)
{
    Graph *g = arena_alloc(w->cx->arena, sizeof *g);
    *g = *from;
    g->parent = parent;
    g->owner = owner;
    g->first = g->last = NULL;
    for (const Node *n = from->first; n; n = n->next)
        copy_node(w, n, g);
    g->params = copy_array(w->cx, from->params, from->n_params, sizeof *from->params);
    for (int i = 0; i < g->n_params; i++)
        g->params[i] = w->by_id[from->params[i]->id];
    g->results = copy_array(w->cx, from->results, from->n_results, sizeof *from->results);
    for (int i = 0; i < g->n_results; i++)
        g->results[i].value = w->by_id[from->results[i].value->id];
    g->symbols = copy_array(w->cx, from->symbols, from->n_symbols, sizeof *from->symbols);
    g->caches = copy_array(w->cx, from->caches, from->n_caches, sizeof *from->caches);
    g->regions = copy_array(w->cx, from->regions, from->n_regions, sizeof *from->regions);
    return g;
}

Graph *graph_copy(Context *cx, const Graph *model)
{
    Copying w = {cx, arena_array(cx->arena, (size_t)model->next_id + 1, sizeof(Node *)), model->next_id};
    return copy_graph(&w, model, NULL, NULL);
}
