/* States instead of growing caches. A causal row reads sums over the keys up to its own, and a call can go on from the sums that the call
 * before has left: the kernel keeps them, and of keys and values only those of the new rows are computed.
 *
 *     k = append x, i : kv.k;  linear_attend f(q), g(k), h(v) causal   ->   linear_attend f(q), g(x), h(y), i : kv.state
 *
 * g and h may be anything that makes row j of its result of row j of the cache and of position j. Not so if a later call may change what
 * an earlier one has summed up (a mask that is read anew by each call), if somebody else reads the cache, or if a layer of the
 * cache is written twice in a call. */
#include <string.h>
#include "passes/linear.h"
#include "passes/views.h"

enum { MAX_APPENDS = 4 };

/* ---- rows of this call alone ------------------------------------------------------------------------------------- */

typedef struct Replay {
    PassContext *px;
    bool make;            /* new nodes stand before those that they stand for; false: only ask */
    Extent rows, past;
    Node **from, **to;
    const char **axis;    /* along which `from` grows */
    size_t n, capacity;
    Node *append[MAX_APPENDS];
    int n_appends;
    const Node *blocked;  /* what is no function of single rows */
    int depth;
} Replay;

enum { MAX_DEPTH = 64 };

static Node *replayed(Replay *r, Node *n, const char *axis);

static const Type *shorter(Replay *r, const Type *t, const char *axis)
{
    Type own = *t;
    own.axis[type_find(t, axis)].size = r->rows;
    return type_new(r->px->cx, own.dtype, own.rank, own.axis);
}

static bool has(const Node *n, const char *axis)
{
    return type_find(n->type, axis) >= 0;
}

static bool sums_over(const Node *n, const char *axis)
{
    const Attr *over = node_attr(n, ATTR_over);
    for (int i = 0; over && i < over->names.count; i++)
        if (over->names.items[i] == axis)
            return true;
    return false;
}

/* The axis of the view's input that `axis` is. */
static const char *below_view(Replay *r, const Node *n, const char *axis)
{
    Change c;
    if (!change_of_view(r->px, n, &c))
        return NULL;
    for (int i = 0; i < c.n; i++)
        if (c.part[i].n_in == 1 && c.part[i].n_out == 1 && c.to->axis[c.part[i].out].name == axis)
            return c.from->axis[c.part[i].in].name;
    return NULL;
}

/* Does row j of n come from rows j of its inputs that have the axis, called *inner there? */
static bool by_rows(Replay *r, const Node *n, const char *axis, const char **inner)
{
    const Attr *over = node_attr(n, ATTR_over);
    *inner = axis;
    switch (op_info[n->op].class) {
    case CLASS_MAP: return n->op != OP_rotate || n->type->axis[n->type->rank - 1].name != axis;
    case CLASS_REDUCE: return true; /* what is summed is no axis of the result */
    case CLASS_CONTRACT: return !sums_over(n, axis);
    case CLASS_VIEW:
        if (n->op == OP_view)
            return (*inner = below_view(r, n, axis)) != NULL;
        if (n->op == OP_slice)
            return has(n->inputs[0], axis) && attr_name(n, ATTR_axis) != axis;
        return n->op == OP_transpose || attr_name(n, ATTR_axis) != axis;
    default: break;
    }
    if (n->op == OP_softmax)
        return !sums_over(n, axis);
    if (n->op == OP_concat)
        return attr_name(n, ATTR_axis) != axis;
    return n->op == OP_gather && over->names.items[0] != axis;
}

static Node *remember(Replay *r, Node *n, const char *axis, Node *to)
{
    if (r->n == r->capacity) {
        size_t room = r->capacity ? 2 * r->capacity : 16;
        r->from = arena_grow(r->px->cx->arena, r->from, r->n, room, sizeof *r->from);
        r->to = arena_grow(r->px->cx->arena, r->to, r->n, room, sizeof *r->to);
        r->axis = arena_grow(r->px->cx->arena, r->axis, r->n, room, sizeof *r->axis);
        r->capacity = room;
    }
    r->from[r->n] = n;
    r->axis[r->n] = axis;
    r->to[r->n++] = to;
    return to;
}

static Node *fail(Replay *r, const Node *n)
{
    r->blocked = r->blocked ? r->blocked : n;
    return NULL;
}

/* The value that is appended, with the axes of the whole. */
static Node *appended(Replay *r, Node *n, const char *axis)
{
    Cache *cache = cache_written(n);
    Node *x = n->inputs[0];
    int at = type_find(n->type, axis);
    if (!cache || cache->growing != at || n->body || !extent_equal(x->type->axis[at].size, r->rows))
        return fail(r, n);
    int i = 0;
    while (i < r->n_appends && r->append[i] != n)
        i++;
    if (i == MAX_APPENDS)
        return fail(r, n);
    if (i == r->n_appends)
        r->append[r->n_appends++] = n;
    const Type *t = shorter(r, n->type, axis);
    if (!r->make || type_equal(t, x->type))
        return x;
    return make_before(r->px, n, OP_view, t, 1, &x, n);
}

static Node *later_positions(Replay *r, Node *n, const char *axis)
{
    const Attr *start = node_attr(n, ATTR_start);
    Extent first = start ? start->extent : extent_const(0);
    if (!extent_add(first, r->past, &first))
        return fail(r, n);
    if (!r->make)
        return n;
    Node *made = node_before(r->px->cx, n, OP_iota, shorter(r, n->type, axis), 0, NULL);
    inherit(made, n);
    attr_set_extent(r->px->cx, made, ATTR_start, first);
    return made;
}

/* The same number in every call: made of weights, constants and the layer's number. */
static bool is_fixed(Replay *r, const Node *n, int depth)
{
    const Attr *start = node_attr(n, ATTR_start), *size = node_attr(n, ATTR_size);
    bool leaf = n->op == OP_const || n->op == OP_weight || n->op == OP_table || n->op == OP_index;
    if (leaf || (n->op == OP_extent && extent_is_const(size->extent)))
        return true;
    if (n->op == OP_iota)
        return !start || extent_is_const(start->extent);
    OpClass class = op_info[n->op].class;
    bool pure = class == CLASS_MAP || class == CLASS_REDUCE || class == CLASS_CONTRACT || class == CLASS_VIEW || n->op == OP_gather ||
                n->op == OP_concat || n->op == OP_softmax;
    for (int i = 0; i < n->n_inputs && pure; i++)
        pure = depth < MAX_DEPTH && is_fixed(r, n->inputs[i], depth + 1);
    return pure || fail(r, n);
}

static Node *again(Replay *r, Node *n, const char *axis, const char *inner)
{
    Node **inputs = arena_array(r->px->cx->arena, (size_t)n->n_inputs + 1, sizeof *inputs);
    for (int i = 0; i < n->n_inputs; i++) {
        inputs[i] = n->inputs[i];
        if (has(n->inputs[i], inner) ? !(inputs[i] = replayed(r, n->inputs[i], inner)) : !is_fixed(r, n->inputs[i], 0))
            return NULL;
    }
    if (!r->make)
        return n;
    Node *made = node_before(r->px->cx, n, n->op, NULL, n->n_inputs, inputs);
    const char *reason = NULL;
    inherit(made, n);
    attrs_copy(r->px->cx, made, n);
    made->type = infer_type(r->px->cx, made, shorter(r, n->type, axis), &reason);
    if (made->type)
        return made;
    node_remove(made);
    return fail(r, n);
}

static Node *replayed(Replay *r, Node *n, const char *axis)
{
    const char *inner = NULL;
    Node *made = NULL;
    for (size_t i = 0; i < r->n; i++)
        if (r->from[i] == n && r->axis[i] == axis)
            return r->to[i];
    if (is_kept(n) || r->depth == MAX_DEPTH)
        return fail(r, n);
    r->depth++;
    if (n->op == OP_append)
        made = appended(r, n, axis);
    else if (n->op == OP_iota)
        made = later_positions(r, n, axis);
    else if (by_rows(r, n, axis, &inner))
        made = again(r, n, axis, inner);
    else
        fail(r, n);
    r->depth--;
    return made ? remember(r, n, axis, made) : NULL;
}

/* ---- which kernels ----------------------------------------------------------------------------------------------- */

typedef struct Site { /* a causal kernel that reads growing caches */
    Node *n;
    Node *append[MAX_APPENDS]; /* of keys, values and offset; that of the keys first */
    int n_appends;
    const char *why; /* not NULL: it stays as it is */
    const Node *evidence;
} Site;

typedef struct Sites {
    PassContext *px;
    Graph *model;
    const Symbol *past;
    Site *items;
    size_t n, capacity;
} Sites;

static bool is_linear(const Node *n)
{
    return n->op == OP_linear_attend || n->op == OP_codebook_attend;
}

static Replay replay_of(Sites *s, Node *n, bool make)
{
    const Type *q = n->inputs[0]->type;
    return (Replay){.px = s->px,
                    .make = make,
                    .rows = q->axis[type_find(q, attr_name(n, ATTR_queries))].size,
                    .past = extent_symbol(s->past)};
}

static bool refuse(Site *site, const Node *evidence, const char *why)
{
    site->evidence = evidence;
    site->why = why;
    return false;
}

static bool reads_cache(NodeSet *seen, const Node *n)
{
    if (n->op == OP_append || !nodeset_add(seen, n))
        return n->op == OP_append;
    for (int i = 0; i < n->n_inputs; i++)
        if (reads_cache(seen, n->inputs[i]))
            return true;
    return false;
}

#define SAY(...) arena_print(s->px->cx->arena, __VA_ARGS__)

/* Keys, values and what goes with each key, as rows of this call. */
static bool find_appends(Sites *s, Site *site)
{
    Node *n = site->n, *document = role_of(n, "document");
    const char *keys = attr_name(n, ATTR_keys);
    NodeSet seen = nodeset_new(s->px);
    Replay r = replay_of(s, n, false);
    if (!reads_cache(&seen, n->inputs[1]) && !reads_cache(&seen, n->inputs[2]))
        return false;
    if (document)
        return refuse(site, document, "sums over keys of several documents cannot be told apart in a later call");
    for (int i = 1; i < n->n_inputs; i++) {
        const char *role = i < FIRST_ROLE ? "" : node_attr(n, ATTR_roles)->names.items[i - FIRST_ROLE];
        if (!strcmp(role, "prefix"))
            continue; /* rows of this call see all earlier keys, whatever it is */
        if (has(n->inputs[i], keys) ? replayed(&r, n->inputs[i], keys) != NULL : is_fixed(&r, n->inputs[i], 0))
            continue;
        const char *what = word_of(n->inputs[i]);
        if (i < FIRST_ROLE)
            what = SAY("rows of earlier calls may change, as `%s` is made of more than their own row", what);
        else if (!strcmp(role, "keep"))
            what = "a later call may keep other keys of earlier calls";
        else
            what = SAY("the %s `%s` may be another one in each call", role, what);
        return refuse(site, r.blocked, what);
    }
    for (int i = 0; i < r.n_appends; i++)
        site->append[site->n_appends++] = r.append[i];
    return r.n_appends > 0;
}

static bool same_layer(const Node *a, const Node *b)
{
    const Attr *x = node_attr(a, ATTR_start), *y = node_attr(b, ATTR_start);
    Extent zero = extent_const(0);
    double c, d;
    bool same = a->inputs[1] == b->inputs[1] ||
                (is_const(a->inputs[1], &c) && is_const(b->inputs[1], &d) && c == d);
    return same && extent_equal(x ? x->extent : zero, y ? y->extent : zero) &&
           cache_written(a)->layers == cache_written(b)->layers;
}

/* The layers that the append writes, each once in a call; false: not known. */
static bool layers_written(const Node *append, int64_t *low, int64_t *high)
{
    const Attr *start = node_attr(append, ATTR_start);
    const Node *layer = append->inputs[1];
    double c;
    if (start && !extent_is_const(start->extent))
        return false;
    int64_t first = start ? start->extent.base : 0, rounds = 1;
    if (is_const(layer, &c))
        first += (int64_t)c;
    else if (layer->op == OP_index && layer->graph->owner)
        rounds = attr_int(layer->graph->owner, ATTR_count, 1);
    else
        return false;
    *low = first;
    *high = first + rounds - 1;
    return layers_of(append) == rounds;
}

static bool written_again(const Graph *g, const Node *append, int64_t low, int64_t high)
{
    for (const Node *n = g->first; n; n = n->next) {
        int64_t from, to;
        if (n->body && n->body->level != LEVEL_BODY && written_again(n->body, append, low, high))
            return true;
        if (n->op != OP_append || n == append || cache_written(n) != cache_written(append))
            continue;
        if (!layers_written(n, &from, &to) || (from <= high && low <= to))
            return true;
    }
    return false;
}

static bool check_layers(Sites *s, Site *site)
{
    int64_t low, high;
    for (int i = 0; i < site->n_appends; i++) {
        const Node *a = site->append[i];
        if (a->graph != site->n->graph || !same_layer(site->append[0], a))
            return refuse(site, a, "keys and values come from different layers of a cache");
        if (!layers_written(a, &low, &high) || written_again(s->model, a, low, high))
            return refuse(site, a, "a layer of the cache may be written several times in a call");
    }
    return true;
}

/* ---- who else reads a cache -------------------------------------------------------------------------------------- */

static const Site *site_of(const Sites *s, const Node *n)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].n == n)
            return &s->items[i];
    return NULL;
}

/* A reader of n, or of what is made of it, that needs the rows of earlier calls. */
static const Node *needs_all(const Sites *s, NodeSet *seen, const Node *n)
{
    if (!nodeset_add(seen, n))
        return NULL;
    if (read_as_result(n))
        return n;
    for (const Node *r = n->next; r; r = r->next) {
        if (r->body && r->body->level != LEVEL_BODY && is_read_in(n, r->body))
            return r;
        for (int i = 0; i < r->n_inputs; i++) {
            if (r->inputs[i] != n)
                continue;
            const Site *site = is_linear(r) ? site_of(s, r) : NULL;
            OpClass class = op_info[r->op].class;
            bool goes_on = class == CLASS_MAP || class == CLASS_VIEW || class == CLASS_REDUCE || class == CLASS_CONTRACT ||
                           class == CLASS_ROW || r->op == OP_concat || r->op == OP_gather;
            const Node *found = site && !site->why && i > 0 ? NULL : !goes_on ? r : needs_all(s, seen, r);
            if (found)
                return found;
        }
    }
    return NULL;
}

/* A site that stays makes others stay which share a cache with it, so it goes on until nothing changes. */
static void settle(Sites *s)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < s->n; i++) {
            Site *site = &s->items[i];
            for (int k = 0; k < site->n_appends && !site->why; k++) {
                NodeSet seen = nodeset_new(s->px);
                const Node *other = needs_all(s, &seen, site->append[k]);
                if (!other)
                    continue;
                refuse(site, other, SAY("`%s` reads all of the cache `%s`", word_of(other), attr_name(site->append[k], ATTR_cache)));
                changed = true;
            }
        }
    }
}

/* ---- the change -------------------------------------------------------------------------------------------------- */

static const Type *state_type(Sites *s, const Node *n)
{
    const Type *k = n->inputs[1]->type;
    const char *keys = attr_name(n, ATTR_keys), *over = node_attr(n, ATTR_over)->names.items[0];
    Type t = {.dtype = DT_F32};
    for (int i = 0; i < k->rank; i++)
        if (k->axis[i].name != keys && k->axis[i].name != over)
            t.axis[t.rank++] = k->axis[i];
    t.axis[t.rank++] = (Axis){name_of(s->px->cx->names, "state"), extent_const(attend_state(n))};
    return type_new(s->px->cx, t.dtype, t.rank, t.axis);
}

/* Is the state taken by a kernel that reads what this append writes? */
static bool taken_for(const Sites *s, const char *state, const Site *site)
{
    for (size_t i = 0; i < s->n; i++) {
        const char *own = attr_name(s->items[i].n, ATTR_cache);
        if (own && !strcmp(own, state) && s->items[i].append[0] == site->append[0])
            return true;
    }
    return false;
}

/* One state cache for all layers of a cache, where their kernels are alike. */
static const char *state_for(Sites *s, const Site *site, const Type *t)
{
    Context *cx = s->px->cx;
    Graph *m = s->model;
    const Cache *keys = cache_written(site->append[0]);
    const char *dot = strrchr(keys->name, '.');
    int length = dot ? (int)(dot - keys->name) : (int)strlen(keys->name);
    for (int i = 1;; i++) {
        const char *name = i == 1 ? arena_print(cx->arena, "%.*s.state", length, keys->name)
                                  : arena_print(cx->arena, "%.*s.state%d", length, keys->name, i);
        name = name_of(cx->names, name);
        const Cache *there = graph_cache(m, name);
        if (there && there->growing < 0 && there->layers == keys->layers && type_equal(there->type, t) &&
            !taken_for(s, name, site))
            return name;
        if (there)
            continue;
        Cache made = {.name = name, .type = t, .growing = -1, .layers = keys->layers, .at = keys->at};
        m->caches = arena_grow(cx->arena, m->caches, (size_t)m->n_caches, (size_t)m->n_caches + 1, sizeof *m->caches);
        m->caches[m->n_caches++] = made;
        return name;
    }
}

static void add_role(PassContext *px, Node *n, const char *role, Node *input)
{
    const Attr *roles = node_attr(n, ATTR_roles);
    const char *names[MAX_RANK + 1];
    int count = 0;
    for (int i = 0; roles && i < roles->names.count; i++)
        names[count++] = roles->names.items[i];
    names[count++] = name_of(px->cx->names, role);
    attr_set_names(px->cx, n, ATTR_roles, names, count);
    add_input(px, n, input);
}

static double stored_bytes(Sites *s, const Cache *c)
{
    return type_bytes(s->px, s->model, c->type);
}

static void convert(Sites *s, Site *site)
{
    PassContext *px = s->px;
    Node *n = site->n, *first = site->append[0];
    const char *keys = attr_name(n, ATTR_keys);
    Replay r = replay_of(s, n, true);
    double before = 0;
    for (int i = 1; i < n->n_inputs; i++)
        if (has(n->inputs[i], keys))
            n->inputs[i] = replayed(&r, n->inputs[i], keys);
    const char *state = state_for(s, site, state_type(s, n));
    attr_set_name(px->cx, n, ATTR_cache, state);
    add_role(px, n, "layer", first->inputs[1]);
    const Attr *start = node_attr(first, ATTR_start);
    if (start)
        attr_set_extent(px->cx, n, ATTR_start, start->extent);
    for (int i = 0; i < site->n_appends; i++)
        before += stored_bytes(s, cache_written(site->append[i]));
    double after = stored_bytes(s, graph_cache(s->model, state));
    Remark *p = remark(px, REMARK_PASSED, REMARK_CONSTANT_STATE, n,
                       "a layer keeps %.0f bytes of sums, whatever the length, in place of keys and values of all positions",
                       after);
    p->bytes_before = before;
    p->bytes_after = after;
}

static bool is_written(const Graph *g, const char *cache)
{
    for (const Node *n = g->first; n; n = n->next)
        if ((n->op == OP_append && !strcmp(attr_name(n, ATTR_cache), cache)) ||
            (n->body && n->body->level != LEVEL_BODY && is_written(n->body, cache)))
            return true;
    return false;
}

/* The append, which nobody reads any more, and its cache, if no other layer writes it. */
static void remove_append(Sites *s, Node *append)
{
    Graph *m = s->model;
    const char *cache = attr_name(append, ATTR_cache);
    int n = 0;
    node_remove(append);
    if (is_written(m, cache))
        return;
    for (int i = 0; i < m->n_caches; i++)
        if (strcmp(m->caches[i].name, cache) != 0)
            m->caches[n++] = m->caches[i];
    m->n_caches = n;
}

static void remove_unread(Sites *s)
{
    NodeSet gone = nodeset_new(s->px);
    for (size_t i = 0; i < s->n; i++)
        for (int k = 0; k < s->items[i].n_appends; k++) {
            Node *a = s->items[i].append[k];
            if (!s->items[i].why && a->uses == 0 && nodeset_add(&gone, a))
                remove_append(s, a);
        }
}

static void collect(Sites *s, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            collect(s, n->body);
        if (!is_linear(n) || !attr_bool(n, ATTR_causal, false) || attr_name(n, ATTR_cache) || n->uses == 0)
            continue;
        s->items = arena_room(s->px->cx->arena, s->items, s->n, &s->capacity, sizeof *s->items);
        s->items[s->n] = (Site){.n = n};
        Site *site = &s->items[s->n];
        if ((find_appends(s, site) && check_layers(s, site)) || site->why)
            s->n++;
    }
}

bool linear_states(PassContext *px, Graph *model)
{
    Sites s = {.px = px, .model = model};
    bool changed = false;
    for (int i = 0; i < model->n_symbols; i++)
        if (!strcmp(model->symbols[i]->name, "past"))
            s.past = model->symbols[i];
    if (!s.past)
        return false;
    collect(&s, model);
    settle(&s);
    for (size_t i = 0; i < s.n; i++) {
        Site *site = &s.items[i];
        if (!site->why) {
            convert(&s, site);
            changed = true;
            continue;
        }
        Remark *r = remark(px, REMARK_MISSED, REMARK_CACHE_GROWS, site->n, "keys and values of all positions stay: %s", site->why);
        if (site->evidence)
            r->evidence = site->evidence->at;
    }
    if (!changed)
        return false;
    remove_dead(model);
    remove_unread(&s);
    remove_dead(model);
    return true;
}
