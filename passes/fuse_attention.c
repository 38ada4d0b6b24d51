/* fuse-attention: scores, scale, score function, bias, mask, softmax and values become one `attend`.
 *
 *     s = dot(q, k, over=K);  p = softmax(f(scale * s), over=T);  o = dot(p, v, over=T)
 *         ->  attend q, k, v with body f
 *
 * and log(sum(exp(f(scale * s)))) of the same scores becomes its second result (attend_lse.c).
 *
 * f is any elementwise function of one score: bias, soft cap, where(mask, s, -inf). What depends on positions alone
 * is copied into the body and never built; other operands become extras. Axes go by name, so transposes between do
 * not matter; views are moved out of the way first (attention_form.c). It refuses if an intermediate value is read
 * elsewhere, if the softmax does not go over the keys' own axis, if scores of several heads are mixed, or if a view
 * still stands between. Only a softmax that looks like attention (a product of two computed values feeds it) gets a
 * remark when it is not fused. */
#include "passes/attention.h"

static bool miss(Match *m, RemarkCode code, const Node *evidence, const char *why, const char *help)
{
    Remark *r = remark(m->px, REMARK_MISSED, code, m->softmax, "%s", why);
    if (evidence)
        r->evidence = evidence->at;
    r->help = help;
    return false;
}

#define SAY(...) arena_print(m->px->cx->arena, __VA_ARGS__)

/* ---- finding the score ------------------------------------------------------------------------------------------- */

bool is_score(const Node *n)
{
    return n->op == OP_dot && n->inputs[0]->op != OP_weight && n->inputs[1]->op != OP_weight;
}

typedef struct Search { /* for the first product of two computed values, through elementwise operators and views */
    const char *keys;
    NodeSet seen;
    Node *blocked; /* what stands in the way of fusing */
} Search;

static Node *find_score(Search *s, Node *n)
{
    if (is_score(n) || !nodeset_add(&s->seen, n))
        return is_score(n) ? n : NULL;
    if (n->op == OP_transpose)
        return find_score(s, n->inputs[0]);
    bool view = n->op == OP_view || n->op == OP_slice, mixes = n->op == OP_dot;
    if (!is_map(n) && !view && !mixes)
        return NULL;
    for (int i = 0; i < n->n_inputs; i++) {
        if (type_find(n->inputs[i]->type, s->keys) < 0 && !view)
            continue;
        Node *found = find_score(s, n->inputs[i]);
        if (found && (view || mixes) && !s->blocked)
            s->blocked = n;
        if (found)
            return found;
    }
    return NULL;
}

static Search search_from(PassContext *px, const Node *softmax)
{
    return (Search){.keys = node_attr(softmax, ATTR_over)->names.items[0], .seen = nodeset_new(px)};
}

bool match_in_chain(const Match *m, const Node *n)
{
    for (int i = 0; i < m->n_chain; i++)
        if (m->chain[i] == n)
            return true;
    return false;
}

/* Collects all that depends on the score into the chain, in order; false if it is too long. */
static bool collect(Match *m, NodeSet *seen, Node *n, bool *depends)
{
    *depends = n == m->score || match_in_chain(m, n);
    if (*depends || (!is_map(n) && n->op != OP_transpose) || !nodeset_add(seen, n))
        return true;
    for (int i = 0; i < n->n_inputs; i++) {
        bool below = false;
        if (!collect(m, seen, n->inputs[i], &below))
            return false;
        *depends |= below;
    }
    if (!*depends)
        return true;
    if (m->n_chain == MAX_CHAIN)
        return false;
    m->chain[m->n_chain++] = n;
    return true;
}

/* Uses of n by the score's way to the softmax and by the logarithm beside it. */
static int uses_in_chain(const Match *m, const Node *n)
{
    int count = (m->softmax->inputs[0] == n) + match_lse_uses(m, n);
    for (int i = 0; i < m->n_chain; i++)
        for (int k = 0; k < m->chain[i]->n_inputs; k++)
            count += m->chain[i]->inputs[k] == n;
    return count;
}

static const Node *stranger(const Match *m, const Node *n)
{
    for (const Node *r = n->next; r; r = r->next)
        for (int i = 0; i < r->n_inputs; i++)
            if (r->inputs[i] == n && r != m->softmax && !match_in_chain(m, r) && !match_in_lse(m, r))
                return r;
    return NULL;
}

static bool check_chain(Match *m)
{
    for (int i = -1; i < m->n_chain; i++) {
        const Node *n = i < 0 ? m->score : m->chain[i];
        if (is_kept(n))
            return miss(m, REMARK_BLOCKED_BY_USER, n, SAY("`%s` is kept by @keep", word_of(n)), "remove @keep");
        if (n->uses == uses_in_chain(m, n))
            continue;
        const Node *other = stranger(m, n);
        const char *who = other ? SAY("`%s`", word_of(other)) : "the result";
        return miss(m, REMARK_SCORES_ESCAPE, other ? other : n,
                    SAY("the scores `%s` are also read by %s", word_of(n), who), "remove the second use");
    }
    return true;
}

/* ---- predicates, in the order in which they are reported --------------------------------------------------------- */

/* A reader of n that is not on the way: the last one, as the way to the softmax is written first or not at all. */
static const Node *first_other(const Node *n, const Node *way)
{
    for (const Node *r = n->next; r; r = r->next)
        for (int i = 0; i < r->n_inputs; i++)
            if (r->inputs[i] == n && r != way)
                return r;
    return NULL;
}

static bool find_scores(Match *m)
{
    Search search = search_from(m->px, m->softmax);
    NodeSet seen = nodeset_new(m->px);
    m->keys = search.keys;
    m->score = find_score(&search, m->softmax->inputs[0]);
    if (!m->score)
        return false;
    Node *blocked = search.blocked;
    if (m->score->graph != m->graph)
        return miss(m, REMARK_COST_WORSE, m->score,
                    "the scores are the same in every round and computed once, before the repeat", NULL);
    if (blocked && blocked->op == OP_dot)
        return miss(m, REMARK_AXIS_MISMATCH, blocked, SAY("`%s` mixes the scores of different heads", word_of(blocked)),
                    NULL);
    if (blocked && (!only_reader(blocked) || !only_reader(blocked->inputs[0]))) {
        const Node *read = only_reader(blocked) ? blocked->inputs[0] : blocked, *other = first_other(read, blocked);
        return miss(m, REMARK_SCORES_ESCAPE, other ? other : read,
                    SAY("the scores `%s` are also read by %s", word_of(read),
                        other ? SAY("`%s`", word_of(other)) : "the result"),
                    "remove the second use");
    }
    if (blocked)
        return miss(m, REMARK_AXIS_MISMATCH, blocked,
                    SAY("`%s` changes the axes of the scores before the softmax", word_of(blocked)),
                    "name the axes of the queries as the scores need them");
    bool depends = false;
    if (!collect(m, &seen, m->softmax->inputs[0], &depends))
        return miss(m, REMARK_COST_WORSE, NULL, "the score function is too long", NULL);
    match_find_lse(m);
    return true;
}

static bool find_values(Match *m)
{
    const Node *p = m->softmax;
    Node *reader = only_reader(p);
    while (reader && reader->op == OP_transpose && !is_kept(reader)) {
        p = reader;
        reader = only_reader(p);
    }
    if (is_kept(m->softmax))
        return miss(m, REMARK_BLOCKED_BY_USER, m->softmax, "the weights are kept by @keep", "remove @keep");
    if (!reader)
        return miss(m, REMARK_SCORES_ESCAPE, first_reader_in(p, p->graph),
                    "the weights are a result or have several readers",
                    "read them once, in the product with the values");
    if (reader->op != OP_dot || reader->graph != m->graph)
        return miss(m, REMARK_NOT_LINEAR, reader, SAY("`%s` changes the weights after the softmax", word_of(reader)),
                    is_map(reader) ? "mask the scores, not the weights" : NULL);
    const Attr *over = node_attr(reader, ATTR_over);
    if (over->names.count != 1 || over->names.items[0] != m->keys)
        return miss(
            m, REMARK_AXIS_MISMATCH, reader,
            SAY("the softmax goes over `%s`, the product `%s` that reads it over `%s`", m->keys, word_of(reader),
                over->names.items[0]),
            NULL);
    m->out = reader;
    const Node *early = m->n_lse ? first_reader_in(m->lse[0], m->graph) : NULL;
    if (early && stands_before(early, m->out))
        return miss(m, REMARK_SCORES_ESCAPE, early,
                    SAY("`%s` reads `%s` before the product with the values", word_of(early), word_of(m->lse[0])),
                    "write the product with the values first");
    m->v = below_transposes(reader->inputs[reader->inputs[0] == p]);
    return true;
}

/* Several axes of n as one, the last: a view, and a copy only if they do not lie side by side. NULL: too many axes. */
static Node *joined_axes(Match *m, Node *where, Node *n, const char *const *names, int count, const char *name)
{
    Type order = {.dtype = n->type->dtype}, t = {.dtype = n->type->dtype};
    Extent size = extent_const(1);
    for (int i = 0; i < n->type->rank; i++) {
        bool joins = false;
        for (int k = 0; k < count; k++)
            joins |= n->type->axis[i].name == names[k];
        if (!joins)
            order.axis[order.rank++] = t.axis[t.rank++] = n->type->axis[i];
    }
    for (int k = 0; k < count; k++) {
        order.axis[order.rank++] = n->type->axis[type_find(n->type, names[k])];
        if (!extent_mul(size, order.axis[order.rank - 1].size, &size))
            return NULL;
    }
    t.axis[t.rank++] = (Axis){name, size};
    Node *ordered = make_transposed(m->px, where, n, &order);
    return make_before(m->px, where, OP_view, type_new(m->px->cx, t.dtype, t.rank, t.axis), 1, &ordered, n);
}

static const char *joined_word(Match *m, const char *const *names, int count)
{
    Text word = text_new(m->px->cx->arena);
    for (int i = 0; i < count; i++)
        text_add(&word, "%s%s", i ? "_" : "", names[i]);
    return name_of(m->px->cx->names, word.data);
}

/* attend is made for one width of heads and of values. */
static bool has_known_width(Match *m, const Node *n, const char *axis, const char *whose)
{
    return extent_is_const(n->type->axis[type_find(n->type, axis)].size) ||
           miss(m, REMARK_NEEDS_CONST, n, SAY("the axis `%s` of the %s has a size known only at run time", axis, whose),
                "take its size from config.json, or write it as a number");
}

static bool find_heads(Match *m)
{
    const Attr *over = node_attr(m->score, ATTR_over);
    int keys_first = type_find(m->score->inputs[0]->type, m->keys) >= 0,
        keys_second = type_find(m->score->inputs[1]->type, m->keys) >= 0;
    if (keys_first + keys_second != 1)
        return miss(m, REMARK_AXIS_MISMATCH, m->score,
                    SAY("the softmax goes over `%s`, which is not an axis of the keys alone", m->keys), NULL);
    m->head = over->names.items[0];
    m->q = below_transposes(m->score->inputs[keys_first]);
    m->k = below_transposes(m->score->inputs[!keys_first]);
    match_find_factors(m, m->score->inputs[0]);
    match_find_factors(m, m->score->inputs[1]);
    if (over->names.count == 1)
        return has_known_width(m, m->k, m->head, "queries and keys");
    m->head = joined_word(m, over->names.items, over->names.count);
    m->q = joined_axes(m, m->score, m->q, over->names.items, over->names.count, m->head);
    m->k = joined_axes(m, m->score, m->k, over->names.items, over->names.count, m->head);
    if (!m->q || !m->k)
        return miss(m, REMARK_AXIS_MISMATCH, m->score, "queries and keys meet in several symbolic axes",
                    "give the axes in which they meet constant sizes");
    return has_known_width(m, m->k, m->head, "queries and keys");
}

/* n repeated along an axis that it lacks; the last axis stays the last. */
static Node *repeated(Match *m, Node *where, Node *n, Axis axis)
{
    Type t = {.dtype = n->type->dtype};
    for (int i = 0; i < n->type->rank; i++) {
        if (i == n->type->rank - 1)
            t.axis[t.rank++] = axis;
        t.axis[t.rank++] = n->type->axis[i];
    }
    Node *r = node_before(m->px->cx, where, OP_expand, type_new(m->px->cx, t.dtype, t.rank, t.axis), 1, &n);
    inherit(r, n);
    attr_set_name(m->px->cx, r, ATTR_axis, axis.name);
    return r;
}

/* The axes that only the values have, as one axis. */
static bool join_value_axes(Match *m)
{
    const Type *v = m->v->type;
    const char *own[MAX_RANK];
    int n = 0;
    for (int i = 0; i < v->rank; i++)
        if (v->axis[i].name != m->keys && (type_find(m->k->type, v->axis[i].name) < 0 || v->axis[i].name == m->head)) {
            m->own[n] = v->axis[i];
            own[n++] = v->axis[i].name;
        }
    m->n_own = n;
    if (n == 1)
        return has_known_width(m, m->v, own[0], "values");
    if (n == 0)
        return miss(m, REMARK_AXIS_MISMATCH, m->v, "the values have no axis of their own",
                    "give the values an axis that the keys lack");
    m->v = joined_axes(m, m->out, m->v, own, n, joined_word(m, own, n));
    if (!m->v)
        return miss(m, REMARK_AXIS_MISMATCH, m->out, "the values have several symbolic axes of their own", NULL);
    return has_known_width(m, m->v, m->v->type->axis[m->v->type->rank - 1].name, "values");
}

/* Heads that only one of the three has are heads of the others too, all alike. */
static bool check_axes(Match *m)
{
    const Type *k = m->k->type, *v = m->v->type, *scores = m->softmax->inputs[0]->type;
    if (type_find(v, m->keys) < 0)
        return miss(m, REMARK_AXIS_MISMATCH, m->v, SAY("the values have no axis `%s`", m->keys), NULL);
    for (int i = 0; i < scores->rank; i++)
        if (type_find(m->score->type, scores->axis[i].name) < 0)
            m->q = repeated(m, m->score, m->q, scores->axis[i]);
    for (int i = 0; i < k->rank; i++)
        if (k->axis[i].name != m->keys && type_find(m->q->type, k->axis[i].name) < 0)
            m->q = repeated(m, m->score, m->q, k->axis[i]);
    for (int i = 0; i < v->rank; i++) {
        const char *name = v->axis[i].name;
        if (type_find(m->q->type, name) >= 0 && name != m->head && type_find(m->k->type, name) < 0)
            m->k = repeated(m, m->score, m->k, v->axis[i]);
    }
    return m->q->type->rank < MAX_RANK && m->k->type->rank < MAX_RANK && join_value_axes(m);
}

static bool check_types(Match *m)
{
    const Node *all[] = {m->q, m->k, m->v};
    for (int i = 0; i < 3; i++)
        if (all[i]->type->dtype != DT_F32)
            return miss(m, REMARK_DTYPE_MIX, all[i],
                        SAY("`%s` is %s", word_of(all[i]), dtype_name(all[i]->type->dtype)), NULL);
    return true;
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

static bool fuse(PassContext *px, Node *softmax, bool *changed)
{
    softmax = attention_form(px, softmax, changed);
    Search search = search_from(px, softmax);
    if (find_score(&search, softmax->inputs[0]) && prove_mask(px, softmax)) {
        *changed = true;
        remove_dead(graph_model(softmax->graph));
    }
    Match match = {.px = px, .graph = softmax->graph, .softmax = softmax, .scale = 1}, *m = &match;
    if (!find_scores(m) || !check_chain(m) || !find_values(m) || !find_heads(m) || !check_axes(m) || !check_types(m))
        return false;
    match_build(m);
    *changed = true;
    return true;
}

static void collect_softmax(PassContext *px, Graph *g, Node ***list, size_t *count, size_t *capacity)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            collect_softmax(px, n->body, list, count, capacity);
        if (n->op != OP_softmax || n->uses == 0)
            continue;
        *list = arena_room(px->cx->arena, *list, *count, capacity, sizeof **list);
        (*list)[(*count)++] = n;
    }
}

bool pass_fuse_attention(PassContext *px, Graph *model)
{
    Node **list = NULL;
    size_t count = 0, capacity = 0;
    bool changed = false;
    collect_softmax(px, model, &list, &count, &capacity);
    for (size_t i = 0; i < count; i++) {
        if (list[i]->uses == 0 || !fuse(px, list[i], &changed))
            continue;
        remove_dead(model);
    }
    return changed;
}
