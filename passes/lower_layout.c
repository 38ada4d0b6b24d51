/* Layouts: copies where a kernel needs its operand laid out in another way than it is.
 *
 *     a view that needs two steps for one axis    copy of what it looks at
 *     gemm: x                                     the summed axes packed and last, the rows one step apart
 *     gemm: extras                                columns neighbours, rows one step apart if it has all their axes
 *     dot left as loops: a weight, or a side      the result's last axis last
 *     that many rows read
 *     attend: q, v                                the head axis, or the values' own, neighbours
 *     attend: k                                   panels of KEY_PANEL positions, or the head axis' neighbours
 *     codebook_attend: k, codebook                the head axis, or the codes, neighbours
 *     linear_attend: q, k, v, the projection      the head axis, or the values' own, neighbours; any steps otherwise
 *
 * Keys become panels in a cache that only attends read as keys. All others stay in rows, which attend packs itself; a map
 * copies those whose rows are not packed. */
#include <string.h>
#include "passes/views.h"

static void remark_copy(PassContext *px, const Node *copy, const Node *reader, const char *why)
{
    Remark *r = remark(px, REMARK_ANALYSIS, REMARK_AXIS_MISMATCH, copy, "copied for `%s`: %s", word_of(reader), why);
    r->evidence = reader->at;
    r->bytes_after = 2 * type_bytes(px, graph_model(reader->graph), copy->type);
}

static void copy_input(PassContext *px, Node *reader, int i, const char *why)
{
    Node *copy = copy_before(px, reader, reader->inputs[i]);
    remark_copy(px, copy, reader, why);
    reader->inputs[i] = copy;
}

/* ---- views ------------------------------------------------------------------------------------------------------- */

static void settle_view(PassContext *px, Node *view)
{
    Layout l;
    if (!layout_of(view, &l))
        copy_input(px, view, 0, "its axes do not lie so that they can be merged or split");
}

/* ---- gemm -------------------------------------------------------------------------------------------------------- */

static bool fits_as_rows(const Node *x, int n_over)
{
    Layout l;
    int rows = x->type->rank - n_over;
    return layout_of(x, &l) && layout_is_unit(&l, x->type, rows, n_over) && layout_collapses(&l, x->type, 0, rows);
}

/* Rows one step apart, or only some of their axes; columns neighbours, which are the last axes then. */
static bool fits_as_extra(const Node *extra, const Node *x, int n_over)
{
    Layout l;
    int rows = x->type->rank - n_over, own = 0, position = -1;
    if (!layout_of(extra, &l))
        return false;
    for (int i = 0; i < rows; i++) {
        int at = type_find(extra->type, x->type->axis[i].name);
        if (at < 0)
            continue;
        if (at < position)
            return false;
        position = at;
        own++;
    }
    return (own < rows || layout_collapses(&l, extra->type, 0, rows)) &&
           layout_is_unit(&l, extra->type, own, extra->type->rank - own);
}

static void settle_gemm(PassContext *px, Node *gemm)
{
    int n_over = node_attr(gemm, ATTR_over)->names.count;
    if (!fits_as_rows(gemm->inputs[0], n_over))
        copy_input(px, gemm, 0, "a gemm reads its rows packed");
    for (int k = 0; k < gemm_sides(gemm); k++) {
        const char *over[MAX_RANK];
        int at = gemm_side(gemm, k);
        if (!fits_as_rows(gemm->inputs[at], type_shared(gemm->inputs[at]->type, gemm->inputs[at + 1]->type, over)))
            copy_input(px, gemm, at, "a gemm reads its rows packed");
    }
    for (int i = (int)attr_int(gemm, ATTR_weights, 1) + 1; i < gemm_side(gemm, 0); i++)
        if (!fits_as_extra(gemm->inputs[i], gemm->inputs[0], n_over))
            copy_input(px, gemm, i, "its columns have to be neighbours");
}

/* ---- attend ------------------------------------------------------------------------------------------------------ */

/* n with the axis `last` as its last one, read through a transpose. */
static Node *with_last(PassContext *px, Node *where, Node *n, const char *last)
{
    Type order = {.dtype = n->type->dtype};
    int at = type_find(n->type, last);
    for (int i = 0; i < n->type->rank; i++)
        if (i != at)
            order.axis[order.rank++] = n->type->axis[i];
    order.axis[order.rank++] = n->type->axis[at];
    return make_transposed(px, where, n, type_new(px->cx, order.dtype, order.rank, order.axis));
}

static void settle_last(PassContext *px, Node *attend, int i, const char *axis)
{
    Node *n = attend->inputs[i];
    Layout l;
    int at = type_find(n->type, axis);
    if (layout_of(n, &l) && layout_is_unit(&l, n->type, at, 1))
        return;
    Node *copy = copy_before(px, attend, with_last(px, attend, n, axis));
    remark_copy(px, copy, attend, "the last axis has to lie packed");
    attend->inputs[i] = make_transposed(px, attend, copy, n->type);
}

/* ---- products left as loops -------------------------------------------------------------------------------------- */

enum { WORTH_A_COPY = 8 }; /* times that an element is read */

/* Of n's elements, how often each is read by the product. */
static double readings(PassContext *px, const Node *dot, const Node *n)
{
    const Graph *model = graph_model(dot->graph);
    Type own = {.dtype = dot->type->dtype};
    for (int i = 0; i < dot->type->rank; i++)
        if (type_find(n->type, dot->type->axis[i].name) >= 0)
            own.axis[own.rank++] = dot->type->axis[i];
    return usual_bytes(px, model, dot->type) / usual_bytes(px, model, &own);
}

/* Vectors run along the result's last axis: a computed side in which its elements are not neighbours is copied if many
 * rows read it. */
static void settle_vectors(PassContext *px, Node *dot, int i)
{
    Node *n = dot->inputs[i];
    const char *last = dot->type->axis[dot->type->rank - 1].name;
    int at = type_find(n->type, last);
    Layout l;
    if (n->op == OP_weight || at < 0 || !layout_of(n, &l) || layout_is_unit(&l, n->type, at, 1) ||
        readings(px, dot, n) < WORTH_A_COPY)
        return;
    Node *copy = copy_before(px, dot, with_last(px, dot, n, last));
    remark_copy(px, copy, dot, "vectors run along the last axis of the result");
    dot->inputs[i] = copy;
}

/* The weight packed with the result's last axis last: vectors run along it. */
static void settle_dot(PassContext *px, Node *dot)
{
    for (int i = 0; i < 2 && dot->type->rank; i++) {
        Node *w = dot->inputs[i];
        const char *last = dot->type->axis[dot->type->rank - 1].name;
        int at = type_find(w->type, last);
        if (w->op != OP_weight || at < 0 || at == w->type->rank - 1)
            continue;
        Node *turned = with_last(px, dot, w, last), *packed = weight_transposed(px, turned);
        if (packed)
            dot->inputs[i] = packed;
        node_remove(turned);
    }
    for (int i = 0; i < 2 && dot->type->rank; i++)
        settle_vectors(px, dot, i);
}

/* The own axis of the values. */
static const char *own_axis(const Node *attend)
{
    const Type *v = attend->inputs[2]->type, *score = attend->body->params[0]->type;
    for (int i = 0; i < v->rank; i++)
        if (type_find(score, v->axis[i].name) < 0)
            return v->axis[i].name;
    return v->axis[v->rank - 1].name;
}

/* A view that only gives other names to axes, or stands in another order. */
static bool renames(const Node *n)
{
    if (n->op == OP_transpose)
        return true;
    if (n->op != OP_view || n->type->rank != n->inputs[0]->type->rank)
        return false;
    for (int i = 0; i < n->type->rank; i++)
        if (!extent_equal(n->type->axis[i].size, n->inputs[0]->type->axis[i].size))
            return false;
    return true;
}

static Node *below_renames(Node *n)
{
    while (renames(n))
        n = n->inputs[0];
    return n;
}

/* Everything that reads n through renaming views is an attend that takes it as keys, with these names for keys and
 * head. */
static bool read_as_keys_only(const Node *n, const char *keys, const char *head, int *readers)
{
    if (read_as_result(n))
        return false;
    for (Node *r = n->next; r; r = r->next) {
        if (r->body && r->body->level != LEVEL_BODY && is_read_in(n, r->body))
            return false;
        for (int i = 0; i < r->n_inputs; i++) {
            if (r->inputs[i] != n)
                continue;
            if (renames(r)) {
                int at[2] = {type_find(n->type, keys), type_find(n->type, head)};
                const char *k = r->op == OP_view ? r->type->axis[at[0]].name : keys,
                           *h = r->op == OP_view ? r->type->axis[at[1]].name : head;
                if (!read_as_keys_only(r, k, h, readers))
                    return false;
                continue;
            }
            if (!reads_as_keys(r, i) || attr_name(r, ATTR_keys) != keys || !attr_has_name(r, ATTR_over, head))
                return false;
            ++*readers;
        }
    }
    return true;
}

/* Every append to the cache is read as keys only, along its growing axis and its last. */
static bool is_key_cache(const Graph *g, const Cache *cache)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY && !is_key_cache(n->body, cache))
            return false;
        if (n->op != OP_append || strcmp(attr_name(n, ATTR_cache), cache->name))
            continue;
        int readers = 0, last = n->type->rank - 1;
        if (cache->growing == last ||
            !read_as_keys_only(n, n->type->axis[cache->growing].name, n->type->axis[last].name, &readers))
            return false;
    }
    return true;
}

static void set_panels(PassContext *px, Node *writer, const char *keys)
{
    attr_set_name(px->cx, writer, ATTR_layout, "panels");
    attr_set_name(px->cx, writer, ATTR_keys, keys);
}

static void mark_caches(PassContext *px, Graph *model, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            mark_caches(px, model, n->body);
        Cache *cache = n->op == OP_append ? cache_written(n) : NULL;
        int readers = 0;
        if (!cache ||
            !read_as_keys_only(n, n->type->axis[cache->growing].name, n->type->axis[n->type->rank - 1].name,
                               &readers) ||
            !readers)
            continue;
        if (!cache->panels && !is_key_cache(model, cache))
            continue;
        cache->panels = true;
        set_panels(px, n, n->type->axis[cache->growing].name);
    }
}

/* Keys that a cache holds in panels. */
static bool lies_in_panels(Node *k)
{
    const Node *maker = below_renames(k);
    return maker->op == OP_append && cache_written(maker)->panels;
}

/* attend packs a block of keys itself, if their numbers are neighbours, for all rows of a task: quicker than whatever makes them could write panels. */
static bool lies_in_rows(const Node *k, const char *head)
{
    const Node *stored = storage_of(k);
    Layout l;
    return !(stored->op == OP_append && cache_written(stored)->panels) && layout_of(k, &l) &&
           layout_is_unit(&l, k->type, type_find(k->type, head), 1);
}

static void settle_keys(PassContext *px, Node *attend, int input)
{
    const char *keys = attr_name(attend, ATTR_keys), *head = node_attr(attend, ATTR_over)->names.items[0];
    Node *k = attend->inputs[input];
    if (lies_in_panels(k) || lies_in_rows(k, head))
        return;
    Node *copy = copy_before(px, attend, with_last(px, attend, k, head));
    set_panels(px, copy, keys);
    remark_copy(px, copy, attend, "attend reads keys in panels");
    attend->inputs[input] = copy;
}

/* Products of keys and queries with all codes: vectors run along the codes. A weight is packed so. */
static void settle_codebook(PassContext *px, Node *attend)
{
    int i = role_input(attend, "codebook");
    Node *c = attend->inputs[i];
    const char *codes = c->type->axis[c->type->rank - 2].name;
    Layout l;
    if (c->op != OP_weight || (layout_of(c, &l) && layout_is_unit(&l, c->type, type_find(c->type, codes), 1))) {
        settle_last(px, attend, i, codes);
        return;
    }
    Node *turned = with_last(px, attend, c, codes), *packed = weight_transposed(px, turned);
    if (packed)
        attend->inputs[i] = make_transposed(px, attend, packed, c->type);
    else
        settle_last(px, attend, i, codes);
    node_remove(turned);
}

static void settle_linear(PassContext *px, Node *n)
{
    const char *head = node_attr(n, ATTR_over)->names.items[0];
    int projection = role_input(n, "projection");
    settle_last(px, n, 0, head);
    settle_last(px, n, 1, head);
    settle_last(px, n, 2, n->type->axis[n->type->rank - 1].name);
    if (projection >= 0)
        settle_last(px, n, projection, head);
}

static void settle_graph(PassContext *px, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            settle_graph(px, n->body);
        if (op_info[n->op].class == CLASS_VIEW)
            settle_view(px, n);
        if (n->op == OP_gemm)
            settle_gemm(px, n);
        if (n->op == OP_dot)
            settle_dot(px, n);
        if (n->op == OP_codebook_attend) {
            settle_last(px, n, 1, node_attr(n, ATTR_over)->names.items[0]);
            settle_codebook(px, n);
        }
        if (n->op == OP_linear_attend)
            settle_linear(px, n);
        if (n->op != OP_attend)
            continue;
        settle_last(px, n, 0, node_attr(n, ATTR_over)->names.items[0]);
        settle_last(px, n, 2, own_axis(n));
        settle_keys(px, n, 1);
        if (!attr_bool(n, ATTR_second, false))
            continue;
        settle_last(px, n, n->n_inputs - 2, node_attr(n, ATTR_over)->names.items[0]);
        settle_keys(px, n, n->n_inputs - 1);
    }
}

void lower_layouts(PassContext *px, Graph *model)
{
    mark_caches(px, model, model);
    settle_graph(px, model);
}
