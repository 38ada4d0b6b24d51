/* The verifier: what must hold of every graph, after every pass. The first rule broken is reported with the node that
 * breaks it. */
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include "ir/rows.h"
#include "support/holes.h"

typedef struct Check {
    Context *cx;
    const Graph *model;
    const char *why;
    Map names;
    const Node **seen; /* by id: the node, once it was met in executable order */
    int n_seen;
} Check;

static bool broken(Check *c, const Node *n, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool broken(Check *c, const Node *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *rule = arena_vprint(c->cx->arena, format, args);
    va_end(args);
    c->why = n ? arena_print(c->cx->arena, "`%s` (%s): %s", n->name ? n->name : "?", op_info[n->op].name, rule) : rule;
    return false;
}

static bool symbol_known(const Check *c, const Symbol *s)
{
    for (int i = 0; i < c->model->n_symbols; i++)
        if (c->model->symbols[i] == s)
            return true;
    return false;
}

static bool check_extent(Check *c, const Node *n, const char *what, Extent e)
{
    for (int k = 0; k < e.n; k++)
        if (!symbol_known(c, e.symbol[k]))
            return broken(c, n, "%s uses an undeclared symbol `%s`", what, e.symbol[k]->name);
    return true;
}

static bool check_type(Check *c, const Node *n, const Type *t)
{
    if (t->rank < 0 || t->rank > MAX_RANK)
        return broken(c, n, "%d axes", t->rank);
    for (int i = 0; i < t->rank; i++) {
        const Axis *a = &t->axis[i];
        if (!a->name || !a->name[0])
            return broken(c, n, "axis %d has no name", i);
        if (type_find(t, a->name) != i)
            return broken(c, n, "the axis `%s` stands twice", a->name);
        if (!check_extent(c, n, arena_print(c->cx->arena, "the size of `%s`", a->name), a->size))
            return false;
        if (extent_high(a->size) < 0)
            return broken(c, n, "the axis `%s` has a negative size", a->name);
    }
    return true;
}

static bool visible(const Node *input, const Graph *g)
{
    return input->graph == g || (g->level != LEVEL_BODY && node_is_outside(input, g));
}

static bool check_inputs(Check *c, const Node *n)
{
    if (op_info[n->op].arity != ARITY_ANY && op_info[n->op].arity != n->n_inputs)
        return broken(c, n, "%d inputs, it takes %d", n->n_inputs, op_info[n->op].arity);
    for (int i = 0; i < n->n_inputs; i++) {
        const Node *in = n->inputs[i];
        if (!in)
            return broken(c, n, "input %d is missing", i);
        if (in->id < 0 || in->id >= c->n_seen || c->seen[in->id] != in)
            return broken(c, n, "`%s` is used before it is defined", in->name ? in->name : "?");
        if (!visible(in, n->graph))
            return broken(c, n, "`%s` stands in another graph", in->name ? in->name : "?");
        if (!in->type && n->op != OP_get)
            return broken(c, n, "`%s` has several results: only get reads it", in->name ? in->name : "?");
    }
    return true;
}

/* `gain` and `axis` come together; the layers of the gain are those of the weight. */
static bool check_gain(Check *c, const Node *n)
{
    const char *gain = attr_name(n, ATTR_gain), *axis = attr_name(n, ATTR_axis);
    if (!gain)
        return axis || node_attr(n, ATTR_plus) ? broken(c, n, "`axis` and `plus` speak of a gain that it has not")
                                               : true;
    if (!axis || type_find(n->type, axis) < 0)
        return broken(c, n, "its gain names no axis of its type");
    if (hole_of_stack(gain))
        return broken(c, n, "its gain is one vector, and has the hole of a stacked axis");
    if (hole_of_round(gain) && !hole_of_round(attr_name(n, ATTR_key)))
        return broken(c, n, "its gain differs from layer to layer, its key does not");
    return true;
}

static bool check_storage(Check *c, const Node *n)
{
    const char *word = attr_name(n, ATTR_storage);
    DType t = DT_F32;
    bool known = !word || (dtype_from_name(word, &t) && (t == DT_BF16 || t == DT_F16));
    const char *rounded = attr_name(n, ATTR_rounded);
    if (rounded && strcmp(rounded, "bf16") != 0)
        return broken(c, n, "weights are rounded to bf16, not to `%s`", rounded);
    return known || broken(c, n, "weights are kept in bf16 or f16, not in `%s`", word);
}

/* As many tensors as the first stored size says, counted by one hole of the key. */
static bool check_stack(Check *c, const Node *n, const Attr *stored)
{
    const char *key = attr_name(n, ATTR_key);
    int64_t stack = attr_int(n, ATTR_stack, 0);
    int holes = 0;
    Hole h;
    for (const char *p = key; hole_next(p, &h); p = h.end)
        holes += !h.round;
    if (!node_attr(n, ATTR_stack))
        return !holes || broken(c, n, "its key has the hole of a stacked axis, but nothing is stacked");
    if (holes != 1)
        return broken(c, n, "its key has %d holes for the tensors that are stacked", holes);
    bool fits = stored ? stored->ints.count > 0 && stored->ints.items[0] == stack
                       : n->type->rank > 0 && extent_equal(n->type->axis[0].size, extent_const(stack));
    return (stack > 0 && fits) || broken(c, n, "it does not begin with the %lld tensors that are stacked", (long long)stack);
}

static bool check_weight(Check *c, const Node *n)
{
    const Attr *stored = node_attr(n, ATTR_stored), *strides = node_attr(n, ATTR_strides),
               *start = node_attr(n, ATTR_start);
    if (!attr_name(n, ATTR_key))
        return broken(c, n, "a weight needs a key");
    if (stored && stored->ints.count > MAX_RANK)
        return broken(c, n, "its stored shape has %d axes", stored->ints.count);
    for (int i = 0; stored && i < stored->ints.count; i++)
        if (stored->ints.items[i] < 0)
            return broken(c, n, "its stored shape has a negative size");
    if (!check_stack(c, n, stored))
        return false;
    if (strides && strides->ints.count != n->type->rank)
        return broken(c, n, "%d strides for %d axes", strides->ints.count, n->type->rank);
    if (start && (!extent_is_const(start->extent) || start->extent.base < 0))
        return broken(c, n, "its start is not a position");
    for (int i = 0; i < n->type->rank; i++)
        if (!extent_is_const(n->type->axis[i].size))
            return broken(c, n, "its axis `%s` has no constant size", n->type->axis[i].name);
    if (!isfinite(attr_float(n, ATTR_factor, 1)) || attr_float(n, ATTR_factor, 1) == 0)
        return broken(c, n, "its factor is no number, or 0");
    return check_storage(c, n) && check_gain(c, n);
}

/* An input that says of every row whether it counts. */
static bool check_live(Check *c, const Node *n)
{
    const char *name = attr_name(n, ATTR_live);
    const Node *keep = NULL;
    for (int i = 0; name && i < c->model->n_params; i++)
        keep = c->model->params[i]->name && !strcmp(c->model->params[i]->name, name) ? c->model->params[i] : keep;
    if (!name)
        return true;
    if (!keep || keep->type->dtype != DT_BOOL)
        return broken(c, n, "`%s` is no bool input of the model", name);
    RowAxes rows = rows_of_model(c->model);
    bool same = rows.n == keep->type->rank;
    for (int i = 0; same && i < rows.n; i++)
        same = rows.axis[i].name == keep->type->axis[i].name && extent_equal(rows.axis[i].size, keep->type->axis[i].size);
    if (!same)
        return broken(c, n, "`%s` has not the axes of the model's rows", name);
    for (int r = 0; r < (n->type ? 1 : node_results(n)); r++)
        if (!rows_lead(&rows, n->type ? n->type : infer_result(c->cx, n, r)))
            return broken(c, n, "its result does not begin with the axes of `%s`", name);
    return true;
}

static bool check_attrs(Check *c, const Node *n)
{
    for (int i = 0; i < n->n_attrs; i++) {
        const Attr *a = &n->attrs[i];
        if (a->id >= ATTR_COUNT)
            return broken(c, n, "an unknown attribute");
        const char *word = attr_info[a->id].name;
        if (i && n->attrs[i - 1].id >= a->id)
            return broken(c, n, "attributes out of order or twice: %s", word);
        if (!op_takes(n->op, a->id))
            return broken(c, n, "it takes no attribute `%s`", word);
        if (attr_info[a->id].kind == ATTR_KIND_NAME && !a->name)
            return broken(c, n, "the attribute `%s` is empty", word);
        if (attr_info[a->id].kind == ATTR_KIND_EXTENT &&
            !check_extent(c, n, arena_print(c->cx->arena, "`%s`", word), a->extent))
            return false;
    }
    bool keeps = n->op == OP_append || attr_name(n, ATTR_cache);
    const Attr *start = keeps ? node_attr(n, ATTR_start) : NULL;
    if (start && (!extent_is_const(start->extent) || start->extent.base < 0))
        return broken(c, n, "what is added to its layer number is no number of layers");
    if (n->op == OP_weight && n->type)
        return check_weight(c, n);
    if (n->op == OP_extent && !node_attr(n, ATTR_size))
        return broken(c, n, "an extent needs a size");
    return true;
}

static bool check_place(Check *c, const Node *n)
{
    const Place *p = &n->place;
    int limit = p->kind == PLACE_ARENA    ? c->model->n_regions
                : p->kind == PLACE_INPUT  ? c->model->n_params
                : p->kind == PLACE_OUTPUT ? c->model->n_results
                : p->kind == PLACE_CACHE  ? c->model->n_caches
                                          : 1;
    int index = p->kind == PLACE_ARENA                                                        ? p->region
                : p->kind == PLACE_INPUT || p->kind == PLACE_OUTPUT || p->kind == PLACE_CACHE ? p->index
                                                                                              : 0;
    if (index < 0 || index >= limit)
        return broken(c, n, "its place has number %d of %d", index, limit);
    if (p->kind == PLACE_ARENA && p->offset < 0)
        return broken(c, n, "its place has a negative offset");
    return true;
}

/* Parameters stand in the list of their graph: inputs in the model's, the layer number and carried values in a
 * repeat's, the others in a kernel's. */
static bool check_param(Check *c, const Node *n)
{
    const Graph *g = n->graph;
    if (n->op != OP_input && n->op != OP_index && n->op != OP_carry && n->op != OP_param)
        return true;
    int at = 0;
    while (at < g->n_params && g->params[at] != n)
        at++;
    if (at == g->n_params)
        return broken(c, n, "it is not among the parameters of its graph");
    bool repeat = g->owner && g->owner->op == OP_repeat;
    Op wanted = !g->owner ? OP_input : !repeat ? OP_param : at ? OP_carry : OP_index;
    if (n->op != wanted)
        return broken(c, n, "parameter %d of this graph is of the kind %s", at, op_info[wanted].name);
    if (n->op == OP_param && attr_int(n, ATTR_index, at) != at)
        return broken(c, n, "its index is not its position %d", at);
    return true;
}

static bool check_graph(Check *c, const Graph *g);

static bool check_body(Check *c, const Node *n)
{
    bool wants = n->op == OP_repeat || op_has_body(n->op);
    if (!n->body)
        return wants ? broken(c, n, "it has no body") : true;
    if (!wants && n->op != OP_append)
        return broken(c, n, "it cannot have a body");
    if (n->op == OP_repeat && n->body->level != n->graph->level)
        return broken(c, n, "its body has the wrong level");
    if (n->body->owner != n || n->body->parent != n->graph)
        return broken(c, n, "its body belongs to something else");
    if (n->op == OP_repeat) {
        if (n->body->n_params != n->n_inputs + 1 || n->body->n_results != n->n_inputs)
            return broken(c, n, "%d values enter, %d are carried, %d leave a round", n->n_inputs, n->body->n_params - 1,
                          n->body->n_results);
        if (attr_int(n, ATTR_count, -1) < 0)
            return broken(c, n, "repeat needs a count");
    } else if (n->body->level != LEVEL_BODY) {
        return broken(c, n, "a kernel's body has the wrong level");
    }
    return check_graph(c, n->body);
}

static bool check_inferred(Check *c, const Node *n)
{
    const char *reason = NULL;
    const Type *t = infer_type(c->cx, n, n->type, &reason);
    if (reason)
        return broken(c, n, "%s", reason);
    if (!t && n->type)
        return broken(c, n, "it has several results but one type");
    if (t && !n->type)
        return broken(c, n, "it has no type");
    if (t && !type_equal(t, n->type)) {
        Text text = text_new(c->cx->arena);
        type_print(t, &text);
        text_add(&text, ", not ");
        type_print(n->type, &text);
        return broken(c, n, "its type is %s", text.data);
    }
    return true;
}

static bool check_node(Check *c, const Node *n)
{
    if (n->id < 0 || n->id >= c->n_seen)
        return broken(c, n, "its id %d is out of range", n->id);
    if (c->seen[n->id])
        return broken(c, n, "its id %d is taken", n->id);
    if (!(op_info[n->op].levels & (unsigned)n->graph->level))
        return broken(c, n, "it may not stand at this level");
    if (n->name && map_has(&c->names, n->name))
        return broken(c, n, "the name stands twice");
    if (n->name)
        map_set(&c->names, n->name, (void *)n);
    if (n->type && !check_type(c, n, n->type))
        return false;
    if (n->graph->level == LEVEL_KERNEL && role_input(n, "mask") >= 0)
        return broken(c, n, "its mask must be found out before kernels are made");
    if (!check_param(c, n) || !check_place(c, n) || !check_inputs(c, n) || !check_attrs(c, n) || !check_body(c, n) ||
        !check_inferred(c, n) || !check_live(c, n))
        return false;
    c->seen[n->id] = n;
    return true;
}

static bool check_results(Check *c, const Graph *g)
{
    for (int i = 0; i < g->n_results; i++) {
        const Node *v = g->results[i].value;
        if (!v || v->id < 0 || v->id >= c->n_seen || c->seen[v->id] != v || !visible(v, g))
            return broken(c, v, "result %d is not defined here", i);
        if (!v->type)
            return broken(c, v, "it has several results: only get reads it");
    }
    return true;
}

static bool check_graph(Check *c, const Graph *g)
{
    for (int i = 0; i < g->n_params; i++) {
        if (!g->params[i] || g->params[i]->graph != g)
            return broken(c, g->owner, "parameter %d stands in another graph", i);
        Op op = g->params[i]->op;
        if (op != OP_input && op != OP_index && op != OP_carry && op != OP_param)
            return broken(c, g->params[i], "it cannot be a parameter");
    }
    const Node *last = NULL;
    for (const Node *n = g->first; n; last = n, n = n->next) {
        if (n->graph != g || n->prev != last)
            return broken(c, n, "it is linked into the wrong graph");
        if (!check_node(c, n))
            return false;
    }
    if (g->last != last)
        return broken(c, g->owner, "the list of nodes is broken");
    return check_results(c, g);
}

static bool check_declarations(Check *c)
{
    const Graph *g = c->model;
    if (g->parent || g->owner || (g->level != LEVEL_GRAPH && g->level != LEVEL_KERNEL))
        return broken(c, NULL, "the model is not an outermost graph");
    for (int i = 0; i < g->n_symbols; i++) {
        if (g->symbols[i]->low > g->symbols[i]->high)
            return broken(c, NULL, "the bounds of `%s` leave no size", g->symbols[i]->name);
        for (int k = 0; k < i; k++)
            if (g->symbols[k]->name == g->symbols[i]->name)
                return broken(c, NULL, "the symbol `%s` is declared twice", g->symbols[i]->name);
    }
    for (int i = 0; i < g->n_caches; i++) {
        const Cache *k = &g->caches[i];
        if (k->growing < -1 || k->growing >= k->type->rank || k->type->rank >= MAX_RANK || k->layers < 1)
            return broken(c, NULL, "the cache `%s` has no growing axis, no layer or too many axes", k->name);
        if (!check_type(c, NULL, k->type))
            return false;
        if (k->growing < 0 && k->panels)
            return broken(c, NULL, "the state `%s` has no keys that could stand in panels", k->name);
        if (k->growing >= 0 && !extent_is_const(k->type->axis[k->growing].size))
            return broken(c, NULL, "the cache `%s` has no constant capacity", k->name);
        for (int j = 0; j < i; j++)
            if (!strcmp(g->caches[j].name, k->name))
                return broken(c, NULL, "the cache `%s` is declared twice", k->name);
    }
    for (int i = 0; i < g->n_regions; i++)
        for (int k = 0; k < g->regions[i].n; k++)
            if (g->regions[i].round[k] < 1 || !check_extent(c, NULL, "a region", g->regions[i].unit[k]))
                return c->why ? false : broken(c, NULL, "region %d rounds to nothing", i);
    for (int i = 0; i < g->n_results; i++)
        for (int k = 0; k < i; k++)
            if (g->results[i].name && g->results[k].name && !strcmp(g->results[i].name, g->results[k].name))
                return broken(c, NULL, "the result `%s` stands twice", g->results[i].name);
    return true;
}

bool graph_verify(Context *cx, const Graph *model, const char **why)
{
    Check c = {.cx = cx, .model = model, .names = map_new(cx->arena), .n_seen = model->next_id};
    c.seen = arena_array(cx->arena, (size_t)model->next_id + 1, sizeof *c.seen);
    bool sound = check_declarations(&c) && check_graph(&c, model);
    *why = c.why;
    return sound;
}
