/* fuse-attention: scores, scale, score function, bias, mask, softmax and values become one `attend`.
 *
 *     s = dot(q, k, over=K);  p = softmax(f(scale * s), over=T);  o = dot(p, v, over=T)
 *         ->  attend q, k, v with body f
 *
 * f is any elementwise function of one score: bias, soft cap, where(mask, s, -inf). What depends on positions alone
 * is copied into the body and never built; other operands become extras. Axes go by name, so transposes between do
 * not matter. It refuses if an intermediate value is read elsewhere, if the softmax does not go over the keys' own
 * axis, if scores of several heads are mixed, or if a view stands between. Only a softmax that looks like attention
 * (a product of two computed values feeds it) gets a remark when it is not fused. */
#include "passes/inside.h"

enum { MAX_CHAIN = 64 };

typedef struct Match {
    PassContext *px;
    Graph *graph;
    Node *softmax, *score, *core; /* score: dot(q, k); core: the scaled score */
    Node *out;                    /* dot(p, v) */
    Node *q, *k, *v;
    const char *keys, *head;
    double scale;
    Node *chain[MAX_CHAIN]; /* from the score to the softmax: all that depend on the score */
    int n_chain;
} Match;

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

static bool is_score(const Node *n)
{
    return n->op == OP_dot && n->inputs[0]->op != OP_weight && n->inputs[1]->op != OP_weight;
}

/* The first product of two computed values below n, through elementwise operators and views; `blocked`: what stands
 * in the way of fusing. */
static Node *find_score(Node *n, const char *keys, Node **blocked)
{
    if (is_score(n))
        return n;
    if (n->op == OP_transpose)
        return find_score(n->inputs[0], keys, blocked);
    bool view = n->op == OP_view || n->op == OP_slice, mixes = n->op == OP_dot;
    if (!is_map(n) && !view && !mixes)
        return NULL;
    for (int i = 0; i < n->n_inputs; i++) {
        if (type_find(n->inputs[i]->type, keys) < 0 && !view)
            continue;
        Node *found = find_score(n->inputs[i], keys, blocked);
        if (found && (view || mixes) && !*blocked)
            *blocked = n;
        if (found)
            return found;
    }
    return NULL;
}

static bool in_chain(const Match *m, const Node *n)
{
    for (int i = 0; i < m->n_chain; i++)
        if (m->chain[i] == n)
            return true;
    return false;
}

/* Collects all that depends on the score into the chain, in order; false if it is too long. */
static bool collect(Match *m, Node *n, bool *depends)
{
    *depends = n == m->score || in_chain(m, n);
    if (*depends || (!is_map(n) && n->op != OP_transpose))
        return true;
    for (int i = 0; i < n->n_inputs; i++) {
        bool below = false;
        if (!collect(m, n->inputs[i], &below))
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

/* Uses of n by the score's way to the softmax. */
static int uses_in_chain(const Match *m, const Node *n)
{
    int count = m->softmax->inputs[0] == n;
    for (int i = 0; i < m->n_chain; i++)
        for (int k = 0; k < m->chain[i]->n_inputs; k++)
            count += m->chain[i]->inputs[k] == n;
    return count;
}

static const Node *stranger(const Match *m, const Node *n)
{
    for (const Node *r = n->next; r; r = r->next)
        for (int i = 0; i < r->n_inputs; i++)
            if (r->inputs[i] == n && r != m->softmax && !in_chain(m, r))
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

static bool find_scores(Match *m)
{
    Node *blocked = NULL;
    m->keys = node_attr(m->softmax, ATTR_over)->names.items[0];
    m->score = find_score(m->softmax->inputs[0], m->keys, &blocked);
    if (!m->score)
        return false;
    if (blocked && blocked->op == OP_dot)
        return miss(m, REMARK_AXIS_MISMATCH, blocked, SAY("`%s` mixes the scores of different heads", word_of(blocked)),
                    NULL);
    if (blocked)
        return miss(m, REMARK_AXIS_MISMATCH, blocked,
                    SAY("`%s` changes the axes of the scores before the softmax", word_of(blocked)),
                    "name the axes of the queries as the scores need them");
    bool depends = false;
    if (!collect(m, m->softmax->inputs[0], &depends))
        return miss(m, REMARK_COST_WORSE, NULL, "the score function is too long", NULL);
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
                    "mask the scores, not the weights");
    const Attr *over = node_attr(reader, ATTR_over);
    if (over->names.count != 1 || over->names.items[0] != m->keys)
        return miss(
            m, REMARK_AXIS_MISMATCH, reader,
            SAY("the softmax goes over `%s`, the product with the values over `%s`", m->keys, over->names.items[0]),
            NULL);
    m->out = reader;
    m->v = below_transposes(reader->inputs[reader->inputs[0] == p]);
    return true;
}

static bool find_heads(Match *m)
{
    const Attr *over = node_attr(m->score, ATTR_over);
    int keys_first = type_find(m->score->inputs[0]->type, m->keys) >= 0,
        keys_second = type_find(m->score->inputs[1]->type, m->keys) >= 0;
    if (keys_first + keys_second != 1)
        return miss(m, REMARK_AXIS_MISMATCH, m->score,
                    SAY("the softmax goes over `%s`, which is not an axis of the keys alone", m->keys), NULL);
    if (over->names.count != 1)
        return miss(m, REMARK_AXIS_MISMATCH, m->score, "queries and keys meet in more than one axis",
                    "merge the axes into one");
    m->head = over->names.items[0];
    m->q = below_transposes(m->score->inputs[keys_first]);
    m->k = below_transposes(m->score->inputs[!keys_first]);
    return true;
}

static bool check_axes(Match *m)
{
    const Type *q = m->q->type, *k = m->k->type, *v = m->v->type;
    int own = 0;
    for (int i = 0; i < k->rank; i++) {
        const char *name = k->axis[i].name;
        if (name != m->keys && type_find(q, name) < 0)
            return miss(m, REMARK_AXIS_MISMATCH, m->k, SAY("the keys have an axis `%s` that the queries lack", name),
                        NULL);
    }
    for (int i = 0; i < v->rank; i++) {
        const char *name = v->axis[i].name;
        bool row = type_find(q, name) >= 0 && name != m->head && type_find(k, name) < 0;
        if (row)
            return miss(m, REMARK_AXIS_MISMATCH, m->v, SAY("the values have an axis `%s` that the keys lack", name),
                        NULL);
        own += name != m->keys && (type_find(k, name) < 0 || name == m->head);
    }
    if (type_find(v, m->keys) < 0)
        return miss(m, REMARK_AXIS_MISMATCH, m->v, SAY("the values have no axis `%s`", m->keys), NULL);
    return own == 1 || miss(m, REMARK_AXIS_MISMATCH, m->v, SAY("the values have %d axes of their own, not one", own),
                            "merge the axes into one");
}

static bool check_types(Match *m)
{
    const Node *all[] = {m->q, m->k, m->v};
    for (int i = 0; i < 3; i++)
        if (all[i]->type->dtype != DT_F32)
            return miss(m, REMARK_DTYPE_MIX, all[i],
                        SAY("`%s` is %s", word_of(all[i]), dtype_name(all[i]->type->dtype)), NULL);
    if (!type_same_axes(m->softmax->inputs[0]->type, m->score->type))
        return miss(m, REMARK_MASK_NOT_SEPARABLE, m->softmax->inputs[0],
                    "the bias or mask has an axis that the scores lack", NULL);
    return true;
}

/* ---- scale ------------------------------------------------------------------------------------------------------- */

/* n = value * c or value / c or -value: the factor, and what is left. */
static bool scaled(const Node *n, Node **value, double *factor)
{
    double c;
    if (is_kept(n) || !(n->op == OP_mul || n->op == OP_div || n->op == OP_neg))
        return false;
    *value = n->inputs[0];
    *factor = -1;
    if (n->op == OP_neg)
        return true;
    if (!is_const(n->inputs[1], &c) || (n->op == OP_div && c == 0))
        return false;
    *factor = n->op == OP_mul ? c : 1 / c;
    return true;
}

static void collect_scale(Match *m)
{
    Node *value = NULL, *reader;
    double factor;
    m->scale = 1;
    m->core = m->score;
    while ((reader = only_reader(m->core)) && in_chain(m, reader) &&
           (reader->op == OP_transpose || (scaled(reader, &value, &factor) && value == m->core))) {
        if (reader->op != OP_transpose)
            m->scale *= factor;
        m->core = reader;
    }
    Node **sides[] = {&m->q, &m->k};
    for (int i = 0; i < 2; i++)
        while (only_reader(*sides[i]) && scaled(*sides[i], &value, &factor) &&
               axes_within((*sides[i])->type, value->type)) {
            m->scale *= factor;
            *sides[i] = below_transposes(value);
        }
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool is_positional(const Node *n)
{
    if (is_inline_leaf(n))
        return true;
    if (!is_map(n) || is_kept(n))
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (!is_positional(n->inputs[i]))
            return false;
    return true;
}

/* What goes into the body: the chain, and of what it reads everything that would be a whole matrix of scores, or is
 * made of positions alone. */
static bool belongs(void *state, const Node *n)
{
    const Match *m = state;
    if (in_chain(m, n))
        return true;
    if (is_kept(n) || !is_map(n))
        return false;
    bool over_keys = type_find(n->type, m->keys) >= 0, over_rows = false;
    for (int i = 0; i < n->type->rank; i++)
        over_rows |= type_find(m->k->type, n->type->axis[i].name) < 0;
    return (over_keys && over_rows) || is_positional(n);
}

/* The queries in the order in which the result is wanted: that of `final` without the values' own axis. */
static Node *ordered_queries(Match *m, const Node *final)
{
    const Type *t = final->type, *q = m->q->type;
    Type want = {.dtype = q->dtype};
    for (int i = 0; i < t->rank; i++) {
        bool of_query = type_find(m->score->type, t->axis[i].name) >= 0;
        if (!of_query && i != t->rank - 1)
            return m->q;
        if (of_query)
            want.axis[want.rank++] = t->axis[i];
    }
    if (want.rank != q->rank - 1)
        return m->q;
    want.axis[want.rank++] = q->axis[type_find(q, m->head)];
    return make_transposed(m->px, m->out, m->q, type_new(m->px->cx, want.dtype, want.rank, want.axis));
}

static void remark_fused(Match *m, const Node *attend)
{
    Graph *model = graph_model(m->graph);
    double score = type_bytes(m->px, model, m->score->type), ends = 0;
    for (int i = 0; i < 3; i++)
        ends += type_bytes(m->px, model, attend->inputs[i]->type);
    Remark *r = remark(m->px, REMARK_PASSED, REMARK_FUSED, attend, "scores%s, softmax and values are one attend%s",
                       m->scale != 1 ? ", scale" : "",
                       m->n_chain > 1 || attend->n_inputs > 3 ? "; mask and score function inside" : "");
    r->bytes_before = ends + type_bytes(m->px, model, attend->type) + 2 * score * (double)(m->n_chain + 2);
    r->bytes_after = ends + type_bytes(m->px, model, attend->type);
    r->flops = product_flops(m->px, m->q, m->k) + product_flops(m->px, m->score, m->v);
}

static void build(Match *m)
{
    Node *final = m->out, *reader;
    while ((reader = only_reader(final)) && reader->op == OP_transpose && reader->graph == m->graph &&
           !is_kept(reader) && !is_kept(final))
        final = reader;
    Node *q = ordered_queries(m, final);
    Node *attend = kernel_before(m->px, m->out, OP_attend, m->out);
    Context *cx = m->px->cx;
    add_input(m->px, attend, q);
    add_input(m->px, attend, m->k);
    add_input(m->px, attend, m->v);
    attr_set_names(cx, attend, ATTR_over, &m->head, 1);
    attr_set_name(cx, attend, ATTR_keys, m->keys);
    if (m->scale != 1)
        attr_set_float(cx, attend, ATTR_scale, m->scale);
    if (is_kept(m->out))
        attr_set_bool(cx, attend, ATTR_keep, true);
    Type s = {.dtype = DT_F32};
    for (int i = 0; i < q->type->rank; i++)
        if (q->type->axis[i].name != m->head)
            s.axis[s.rank++] = q->type->axis[i];
    s.axis[s.rank++] = m->k->type->axis[type_find(m->k->type, m->keys)];
    Builder b = builder_new(m->px, attend, belongs, m);
    builder_map(&b, m->core, builder_param(&b, type_new(cx, s.dtype, s.rank, s.axis), m->score));
    Node *value = builder_value(&b, m->softmax->inputs[0]);
    graph_add_result(cx, attend->body, NULL, value, m->softmax->at);
    kernel_finish(m->px, attend);
    node_replace(final, make_transposed(m->px, m->out, attend, final->type));
    remark_fused(m, attend);
}

static bool fuse(PassContext *px, Node *softmax)
{
    Match match = {.px = px, .graph = softmax->graph, .softmax = softmax}, *m = &match;
    if (!find_scores(m) || !check_chain(m) || !find_values(m) || !find_heads(m) || !check_axes(m) || !check_types(m))
        return false;
    collect_scale(m);
    build(m);
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
        if (list[i]->uses == 0 || !fuse(px, list[i]))
            continue;
        changed = true;
        remove_dead(model);
    }
    return changed;
}
