/* The kernel in the place of a softmax over some heads of an attend.
 *
 *     performer   x = q sqrt(scale), y = k sqrt(scale). Softmax over keys does not change under
 *                     k -> k - m                                  (a constant for each row)
 *                     q -> q - c, if exp(scale c.k) is a factor of the key     (the role `offset`)
 *                     q -> q r, k -> k / r                        (for each dimension)
 *                 which make |x + y| smaller, and with it the variance of the features.
 *     vq          the nearest code counts in the metric of the queries: q -> q M^-1/2, k -> k M^1/2, codes likewise
 *
 * With a cache that nobody else reads, keys are changed before they are kept there: what is kept then is what the kernel reads. */
#include <string.h>

#include "passes/linearize_inside.h"

typedef struct Making {
    PassContext *px;
    const LinearizePiece *piece;
    const LinearizeSite *site;
    const LinearizeSpec *spec;
    const LinearizeParts *parts;
    int number;  /* of the spec */
    Node *where; /* nodes are made before it */
    Node from;   /* its name and place are theirs */
} Making;

/* What is made next is called after the attend and its part in it. */
static void name_parts(Making *m, const char *part)
{
    m->from = *m->piece->attend;
    m->from.name = name_of(m->px->cx->names, arena_print(m->px->cx->arena, "%s.%s", word_of(m->piece->attend), part));
}

const char *linearize_key(Arena *a, int site, int spec, const char *part, bool repeated)
{
    return arena_print(a, "linearize.%d.%d.%s%s", site, spec, part, repeated ? ".{i}" : "");
}

/* ---- constants --------------------------------------------------------------------------------------------------- */

static const char *key_of(Making *m, const char *part)
{
    Arena *a = m->px->cx->arena;
    const char *key = linearize_key(a, m->piece->site, m->number, part, false);
    if (!m->site->repeated)
        return key;
    return arena_print(a, m->piece->first ? "%s.{i+%lld}" : "%s.{i}", key, (long long)m->piece->first);
}

/* The piece's heads of a made tensor [heads, axes..], which lie along the axis `heads`, if it is given. */
static Node *constant(Making *m, const char *part, const char *heads, int n_axes, const Axis *axes)
{
    Context *cx = m->px->cx;
    Type t = {.dtype = DT_F32};
    int64_t stored[MAX_RANK] = {m->site->heads}, each = 1;
    if (heads)
        t.axis[t.rank++] = (Axis){heads, extent_const(m->piece->heads)};
    for (int i = 0; i < n_axes; i++) {
        t.axis[t.rank++] = axes[i];
        stored[i + 1] = axes[i].size.base;
        each *= axes[i].size.base;
    }
    Node *w = node_before(cx, m->where, OP_weight, type_new(cx, t.dtype, t.rank, t.axis), 0, NULL);
    inherit(w, &m->from);
    w->name = name_of(cx->names, arena_print(cx->arena, "%s.%s", word_of(m->piece->attend), part));
    attr_set_name(cx, w, ATTR_key, key_of(m, part));
    attr_set_ints(cx, w, ATTR_stored, stored, n_axes + 1);
    if (m->piece->head)
        attr_set_extent(cx, w, ATTR_start, extent_const(m->piece->head * each));
    return w;
}

static const char *heads_of(const Making *m, const Node *n)
{
    const char *axis = m->piece->head_axis;
    return axis && type_find(n->type, axis) >= 0 ? axis : NULL;
}

static Axis axis_of(const Node *n, const char *name)
{
    return n->type->axis[type_find(n->type, name)];
}

static Node *with_constant(Making *m, Op op, Node *n, const char *part)
{
    Axis width = axis_of(n, m->site->over);
    Node *both[] = {n, constant(m, part, heads_of(m, n), 1, &width)};
    return make_before(m->px, m->where, op, NULL, 2, both, &m->from);
}

/* ---- queries and keys -------------------------------------------------------------------------------------------- */

static Node *in_metric(Making *m, Node *n, const char *part)
{
    const char *over = m->site->over;
    Axis both[] = {axis_of(n, over), axis_of(n, over)};
    both[1].name = name_of(m->px->cx->names, arena_print(m->px->cx->arena, "%s_metric", over));
    Node *inputs[] = {n, constant(m, part, heads_of(m, n), 2, both)};
    Type t = *n->type;
    t.axis[type_find(&t, over)] = both[1];
    Node *product = make_over(m->px, m->where, OP_dot, type_new(m->px->cx, t.dtype, t.rank, t.axis), 2, inputs, &over, 1, &m->from);
    return make_before(m->px, m->where, OP_view, n->type, 1, &product, &m->from);
}

static Node *changed_queries(Making *m, Node *q)
{
    const LinearizeParts *p = m->parts;
    name_parts(m, "queries");
    if (p->metric)
        return in_metric(m, q, "query_metric");
    if (p->query_mean)
        q = with_constant(m, OP_sub, q, "query_mean");
    return p->rescale ? with_constant(m, OP_mul, q, "query_scale") : q;
}

static Node *changed_keys(Making *m, Node *k)
{
    const LinearizeParts *p = m->parts;
    name_parts(m, "keys");
    if (p->metric)
        return in_metric(m, k, "key_metric");
    if (p->key_mean)
        k = with_constant(m, OP_sub, k, "key_mean");
    return p->rescale ? with_constant(m, OP_mul, k, "key_scale") : k;
}

/* scale c.k of the changed keys, up to what is the same for all keys: the sum over the head axis of k * offset. */
static Node *offset_of(Making *m, Node *changed)
{
    name_parts(m, "offset");
    Node *products = with_constant(m, OP_mul, changed, "offset");
    return make_over(m->px, m->where, OP_sum, NULL, 1, &products, &m->site->over, 1, &m->from);
}

/* ---- keys that a cache holds ------------------------------------------------------------------------------------- */

static bool kept_alone(const Making *m, Node *k)
{
    return k->op == OP_append && !k->body && only_reader(k) == m->piece->attend;
}

/* A cache for the offsets beside that of the keys. */
static Node *keep_offset(Making *m, Node *append, Node *offset)
{
    Context *cx = m->px->cx;
    Graph *model = graph_model(append->graph);
    Cache c = *cache_written(append);
    Type t = {.dtype = DT_F32}, grown = t;
    for (int i = 0; i < c.type->rank; i++) {
        if (c.type->axis[i].name == m->site->over)
            continue;
        if (i == c.growing)
            c.growing = t.rank;
        grown.axis[t.rank] = append->type->axis[type_find(append->type, c.type->axis[i].name)];
        t.axis[t.rank++] = c.type->axis[i];
        grown.rank = t.rank;
    }
    c.type = type_new(cx, t.dtype, t.rank, t.axis);
    c.name = name_of(cx->names, arena_print(cx->arena, "%s.offset%d", c.name, m->number));
    c.panels = false;
    bool there = false; /* layers that stand apart may share a cache, each its own layers of it */
    for (int i = 0; i < model->n_caches; i++)
        there |= !strcmp(model->caches[i].name, c.name);
    if (!there) {
        model->caches = arena_grow(cx->arena, model->caches, (size_t)model->n_caches, (size_t)model->n_caches + 1, sizeof c);
        model->caches[model->n_caches++] = c;
    }
    Node *inputs[] = {offset, append->inputs[1]};
    Node *kept = node_before(cx, append, OP_append, type_new(cx, grown.dtype, grown.rank, grown.axis), 2, inputs);
    inherit(kept, append);
    attrs_copy(cx, kept, append);
    attr_set_name(cx, kept, ATTR_cache, c.name);
    return kept;
}

/* The keys of the kernel, and their offset (NULL: none). */
static Node *keys_of(Making *m, Node *k, Node **offset)
{
    *offset = NULL;
    Node *append = kept_alone(m, k) ? k : NULL, *old = m->where;
    if (append)
        m->where = append;
    Node *changed = changed_keys(m, append ? append->inputs[0] : k);
    if (m->parts->query_mean)
        *offset = offset_of(m, changed);
    if (append && *offset)
        *offset = keep_offset(m, append, *offset);
    m->where = old;
    if (!append)
        return changed;
    append->inputs[0] = changed;
    return append;
}

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

/* projection or codebook: [heads, rows, width] */
static Node *rows_of(Making *m, const Node *q, const Node *k)
{
    Axis axes[] = {{name_of(m->px->cx->names, "F"), extent_const(m->spec->size)}, axis_of(k, m->site->over)};
    for (int i = 1; type_find(q->type, axes[0].name) >= 0 || type_find(k->type, axes[0].name) >= 0; i++)
        axes[0].name = name_of(m->px->cx->names, arena_print(m->px->cx->arena, "F%d", i));
    return constant(m, m->spec->kind == LINEARIZE_VQ ? "codebook" : "projection", heads_of(m, k), 2, axes);
}

static void set_attributes(Making *m, Node *n, const char *const *roles, int n_roles)
{
    Context *cx = m->px->cx;
    const LinearizeSite *site = m->site;
    attr_set_names(cx, n, ATTR_over, &site->over, 1);
    attr_set_name(cx, n, ATTR_keys, site->keys);
    attr_set_name(cx, n, ATTR_queries, site->queries);
    attr_set_names(cx, n, ATTR_roles, roles, n_roles);
    if (site->scale != 1)
        attr_set_float(cx, n, ATTR_scale, site->scale);
    if (m->spec->kind == LINEARIZE_PERFORMER)
        attr_set_name(cx, n, ATTR_features, "positive");
    if (m->parts->block) {
        attr_set_int(cx, n, ATTR_block, m->spec->block);
        attr_set_name(cx, n, ATTR_recent, "keys");
    }
}

Node *linearize_build(PassContext *px, const LinearizePlan *plan, const LinearizePiece *piece, const char **reason)
{
    const LinearizeSite *site = &plan->sites[piece->site];
    int number = site->choice[piece->first * site->heads + piece->head];
    Making making = {px, piece, site, &plan->specs[number], &site->parts[number], number, piece->attend, *piece->attend}, *m = &making;
    Node *attend = piece->attend, *offset, *k = keys_of(m, attend->inputs[1], &offset);
    Node *q = changed_queries(m, attend->inputs[0]), *mask = linearize_mask(px, attend);
    Node *inputs[6] = {q, k, attend->inputs[2], rows_of(m, q, k)};
    bool vq = m->spec->kind == LINEARIZE_VQ;
    const char *roles[3] = {vq ? "codebook" : "projection"};
    int n_roles = 1;
    if (mask) {
        inputs[3 + n_roles] = mask;
        roles[n_roles++] = "mask";
    }
    if (offset) {
        inputs[3 + n_roles] = offset;
        roles[n_roles++] = "offset";
    }
    Node *n = node_before(px->cx, attend, vq ? OP_codebook_attend : OP_linear_attend, NULL, 3 + n_roles, inputs);
    inherit(n, attend);
    set_attributes(m, n, roles, n_roles);
    *reason = NULL;
    n->type = infer_type(px->cx, n, attend->type, reason);
    if (*reason)
        node_remove(n);
    return *reason ? NULL : n;
}
