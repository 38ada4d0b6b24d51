/* The verifier: what must hold of every graph, after every pass. The first rule broken is reported with the node that breaks it. */
#include <stdarg.h>
#include <string.h>
#include "ir/ir.h"

typedef struct Check {
    Context *cx;
    const Graph *model;
    const char *why;
    Map names;
    const Node **seen;                  /* by id: the node, once it was met in executable order */
    int n_seen;
} Check;

static bool broken(Check *c, const Node *n, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool broken(Check *c, const Node *n, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *rule = arena_vprint(c->cx->arena, format, args);
    va_end(args);
    c->why = n ? arena_print(c->cx->arena, "`%s` (%s): %s", n->name ? n->name : "?", op_info[n->op].name, rule) : rule;
    return false;
}

static int level_of(const Graph *g) {
    return g->level == LEVEL_BODY ? LEVEL_BODY : g->level;
}

static bool symbol_known(const Check *c, const Symbol *s) {
    for (int i = 0; i < c->model->n_symbols; i++)
        if (c->model->symbols[i] == s) return true;
    return false;
}

static bool check_type(Check *c, const Node *n, const Type *t) {
    if (t->rank < 0 || t->rank > MAX_RANK) return broken(c, n, "%d axes", t->rank);
    for (int i = 0; i < t->rank; i++) {
        if (type_find(t, t->axis[i].name) != i) return broken(c, n, "the axis `%s` stands twice", t->axis[i].name);
        for (int k = 0; k < t->axis[i].size.n; k++)
            if (!symbol_known(c, t->axis[i].size.symbol[k])) return broken(c, n, "the size of `%s` uses an undeclared symbol `%s`", t->axis[i].name, t->axis[i].size.symbol[k]->name);
    }
    return true;
}

static bool visible(const Node *input, const Graph *g) {
    return input->graph == g || (g->level != LEVEL_BODY && node_is_outside(input, g));
}

static bool check_inputs(Check *c, const Node *n) {
    if (op_info[n->op].arity != ARITY_ANY && op_info[n->op].arity != n->n_inputs) return broken(c, n, "%d inputs, it takes %d", n->n_inputs, op_info[n->op].arity);
    for (int i = 0; i < n->n_inputs; i++) {
        const Node *in = n->inputs[i];
        if (!in) return broken(c, n, "input %d is missing", i);
        if (in->id < 0 || in->id >= c->n_seen || c->seen[in->id] != in) return broken(c, n, "`%s` is used before it is defined", in->name ? in->name : "?");
        if (!visible(in, n->graph)) return broken(c, n, "`%s` stands in another graph", in->name ? in->name : "?");
        if (!in->type && n->op != OP_get) return broken(c, n, "`%s` has several results: only get reads it", in->name ? in->name : "?");
    }
    return true;
}

static bool check_attrs(Check *c, const Node *n) {
    for (int i = 0; i < n->n_attrs; i++) {
        if (n->attrs[i].id >= ATTR_COUNT) return broken(c, n, "an unknown attribute");
        if (i && n->attrs[i - 1].id >= n->attrs[i].id) return broken(c, n, "attributes out of order or twice: %s", attr_info[n->attrs[i].id].name);
    }
    if (n->op == OP_weight && !attr_name(n, ATTR_key)) return broken(c, n, "a weight needs a key");
    if (n->op == OP_extent && !node_attr(n, ATTR_size)) return broken(c, n, "an extent needs a size");
    if (n->op == OP_append) {
        const char *name = attr_name(n, ATTR_cache);
        for (int i = 0; i < c->model->n_caches; i++)
            if (name && !strcmp(name, c->model->caches[i].name)) return true;
        return broken(c, n, "there is no cache `%s`", name ? name : "");
    }
    return true;
}

static bool check_graph(Check *c, const Graph *g);

static bool check_body(Check *c, const Node *n) {
    bool wants = n->op == OP_repeat || op_info[n->op].class == CLASS_KERNEL;
    if (!n->body) return wants ? broken(c, n, "it has no body") : true;
    if (!wants && n->op != OP_append) return broken(c, n, "it cannot have a body");
    if (n->body->owner != n || n->body->parent != n->graph) return broken(c, n, "its body belongs to something else");
    if (n->op == OP_repeat) {
        if (n->body->n_params != n->n_inputs + 1 || n->body->n_results != n->n_inputs) return broken(c, n, "%d values enter, %d are carried, %d leave a round", n->n_inputs, n->body->n_params - 1, n->body->n_results);
        if (attr_int(n, ATTR_count, -1) < 0) return broken(c, n, "repeat needs a count");
    } else if (n->body->level != LEVEL_BODY) {
        return broken(c, n, "a kernel's body has the wrong level");
    }
    return check_graph(c, n->body);
}

static bool check_inferred(Check *c, const Node *n) {
    const char *reason = NULL;
    const Type *t = infer_type(c->cx, n, n->type, &reason);
    if (reason) return broken(c, n, "%s", reason);
    if (!t && n->type) return broken(c, n, "it has several results but one type");
    if (t && !n->type) return broken(c, n, "it has no type");
    if (t && !type_equal(t, n->type)) {
        Text text = text_new(c->cx->arena);
        type_print(t, &text);
        text_add(&text, ", not ");
        type_print(n->type, &text);
        return broken(c, n, "its type is %s", text.data);
    }
    return true;
}

static bool check_node(Check *c, const Node *n) {
    if (n->id < 0 || n->id >= c->n_seen) return broken(c, n, "its id %d is out of range", n->id);
    if (c->seen[n->id]) return broken(c, n, "its id %d is taken", n->id);
    if (!(op_info[n->op].levels & (unsigned)level_of(n->graph))) return broken(c, n, "it may not stand at this level");
    if (n->name && map_has(&c->names, n->name)) return broken(c, n, "the name stands twice");
    if (n->name) map_set(&c->names, n->name, (void *)n);
    if (n->type && !check_type(c, n, n->type)) return false;
    if (!check_inputs(c, n) || !check_attrs(c, n) || !check_body(c, n) || !check_inferred(c, n)) return false;
    c->seen[n->id] = n;
    return true;
}

static bool check_results(Check *c, const Graph *g) {
    for (int i = 0; i < g->n_results; i++) {
        const Node *v = g->results[i].value;
        if (!v || v->id < 0 || v->id >= c->n_seen || c->seen[v->id] != v || !visible(v, g)) return broken(c, v, "result %d is not defined here", i);
        if (!v->type) return broken(c, v, "it has several results: only get reads it");
    }
    return true;
}

static bool check_graph(Check *c, const Graph *g) {
    for (int i = 0; i < g->n_params; i++)
        if (!g->params[i] || g->params[i]->graph != g) return broken(c, g->owner, "parameter %d stands in another graph", i);
    const Node *last = NULL;
    for (const Node *n = g->first; n; last = n, n = n->next) {
        if (n->graph != g || n->prev != last) return broken(c, n, "it is linked into the wrong graph");
        if (!check_node(c, n)) return false;
    }
    if (g->last != last) return broken(c, g->owner, "the list of nodes is broken");
    return check_results(c, g);
}

bool graph_verify(Context *cx, const Graph *model, const char **why) {
    Check c = {.cx = cx, .model = model, .names = map_new(cx->arena), .n_seen = model->next_id};
    c.seen = arena_array(cx->arena, (size_t)model->next_id + 1, sizeof *c.seen);
    bool sound = check_graph(&c, model);
    *why = c.why;
    return sound;
}
