/* The `attend` of a match: factors become its scale, the chain from the score to the softmax its body. */
#include "passes/attention.h"

/* ---- scale ------------------------------------------------------------------------------------------------------- */

/* n = value * c or value / c or -value: the factor, and what is left. */
bool match_factor(const Node *n, Node **value, double *factor)
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

/* concat(c * x, c * y): the factor of all parts. */
static void find_common_factor(Match *m, Node *concat)
{
    Node *value;
    double factor = 0, same = 0;
    for (int i = 0; concat->op == OP_concat && i < concat->n_inputs; i++) {
        Node *part = concat->inputs[i];
        if (!only_reader(part) || !match_factor(part, &value, &factor) || (i && factor != same) ||
            !type_equal(value->type, part->type))
            return;
        same = factor;
    }
    if (concat->op != OP_concat || m->n_factors + concat->n_inputs > MAX_FACTORS)
        return;
    for (int i = 0; i < concat->n_inputs; i++)
        m->factor[m->n_factors++] = concat->inputs[i];
    m->scale *= same;
}

/* Factors of the queries or keys: c * x, also below views and the rotation, which are linear. */
void match_find_factors(Match *m, Node *n)
{
    Node *value;
    double factor;
    while (only_reader(n) && !is_kept(n)) {
        if (match_factor(n, &value, &factor) && type_equal(value->type, n->type) && m->n_factors < MAX_FACTORS) {
            m->scale *= factor;
            m->factor[m->n_factors++] = n;
        } else if (n->op == OP_view || n->op == OP_transpose || n->op == OP_rotate || n->op == OP_expand) {
            value = n->inputs[0];
        } else {
            find_common_factor(m, n);
            break;
        }
        n = value;
    }
}

static void remove_factors(Match *m)
{
    for (int i = 0; i < m->n_factors; i++) {
        Node *n = m->factor[i], *value = n->inputs[0];
        m->q = m->q == n ? value : m->q;
        m->k = m->k == n ? value : m->k;
        node_replace(n, value);
        node_remove(n);
    }
}

static void collect_scale(Match *m)
{
    Node *value = NULL, *reader;
    double factor;
    m->core = m->score;
    while ((reader = only_reader(m->core)) && match_in_chain(m, reader) &&
           (reader->op == OP_transpose || (match_factor(reader, &value, &factor) && value == m->core))) {
        if (reader->op != OP_transpose)
            m->scale *= factor;
        m->core = reader;
    }
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

/* What is looked up by positions in a table of whole numbers counts as well: a bucket of distances. */
static bool only_positions(NodeSet *seen, const Node *n)
{
    if (is_inline_leaf(n) || !nodeset_add(seen, n))
        return true;
    bool bucket = n->op == OP_gather && n->type->dtype == DT_I32;
    if ((!is_map(n) && !bucket) || is_kept(n))
        return false;
    for (int i = bucket; i < n->n_inputs; i++)
        if (!only_positions(seen, n->inputs[i]))
            return false;
    return true;
}

static bool is_positional(const Match *m, const Node *n)
{
    NodeSet seen = nodeset_new(m->px);
    return only_positions(&seen, n);
}

/* A mask made of the keys' positions and of values that are the same for all keys, such as j < length[b]: it bounds the
 * keys of a row, where as a tensor it would have to be read. */
static bool only_bounds(const Match *m, NodeSet *seen, const Node *n)
{
    if (is_inline_leaf(n) || type_find(n->type, m->keys) < 0 || !nodeset_add(seen, n))
        return true;
    if (!is_map(n) || is_kept(n))
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (!only_bounds(m, seen, n->inputs[i]))
            return false;
    return true;
}

static bool is_bound(const Match *m, const Node *n)
{
    NodeSet seen = nodeset_new(m->px);
    return n->type->dtype == DT_BOOL && only_bounds(m, &seen, n);
}

/* A table looked up by positions: bias[bucket(j - i), h], or one for each query or key as the product of queries with
 * relative positions is, is read per score and never built. */
static bool is_lookup(const Match *m, const Node *n)
{
    return n->op == OP_gather && (n->type->dtype == DT_F32 || n->type->dtype == DT_I32) &&
           type_find(n->inputs[1]->type, m->keys) >= 0 && is_positional(m, n->inputs[1]);
}

/* What goes into the body: the chain, and of what it reads everything that would be a whole matrix of scores, or is
 * made of positions alone. */
static bool belongs(void *state, const Node *n)
{
    const Match *m = state;
    if (match_in_chain(m, n))
        return true;
    if (n->op == OP_transpose && !is_kept(n) && n->inputs[0]->op == OP_gather)
        return belongs(state, n->inputs[0]);
    if (is_kept(n) || (!is_map(n) && !is_lookup(m, n)))
        return false;
    bool over_keys = type_find(n->type, m->keys) >= 0, over_rows = false;
    for (int i = 0; i < n->type->rank; i++)
        over_rows |= type_find(m->k->type, n->type->axis[i].name) < 0;
    return (over_keys && (over_rows || is_bound(m, n))) || is_positional(m, n);
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

static void remark_fused(Match *m, const Node *attend, const Type *out)
{
    Graph *model = graph_model(m->graph);
    double score = type_bytes(m->px, model, m->score->type), ends = 0;
    for (int i = 0; i < 3; i++)
        ends += type_bytes(m->px, model, attend->inputs[i]->type);
    Remark *r = remark(m->px, REMARK_PASSED, REMARK_FUSED, attend, "scores%s%s, softmax%s and values are one attend%s",
                       m->other ? " of two products" : "", m->scale != 1 ? ", scale" : "", m->n_lse ? ", its logarithm" : "",
                       attend->body->results[0].value->op != OP_param ? "; mask and score function inside" : "");
    r->bytes_before = ends + type_bytes(m->px, model, out) + 2 * score * (double)(m->n_chain + 2);
    r->bytes_after = ends + type_bytes(m->px, model, out);
    r->flops = product_flops(m->px, m->q, m->k) + product_flops(m->px, m->score, m->v);
}

/* A bias or mask that is a matrix of queries by keys has to be read, and no tile is skipped for it. */
static void remark_matrices(Match *m, const Node *attend)
{
    for (int i = 3; i < attend->n_inputs; i++) {
        const Node *n = attend->inputs[i];
        bool over_rows = false;
        for (int k = 0; k < n->type->rank; k++)
            over_rows |= type_find(m->k->type, n->type->axis[k].name) < 0 &&
                         type_find(m->q->type, n->type->axis[k].name) >= 0;
        if (!over_rows || type_find(n->type, m->keys) < 0)
            continue;
        Remark *r = remark(m->px, REMARK_ANALYSIS, REMARK_MASK_NOT_SEPARABLE, n,
                           "`%s` is a matrix of queries by keys: every tile reads its part of it", word_of(n));
        r->evidence = attend->at;
        r->bytes_after = type_bytes(m->px, graph_model(m->graph), n->type);
        r->help = "write it as a formula of positions, or as a table looked up by i - j";
    }
}

/* The values' axes that were joined, apart again. */
static Node *split_values(Match *m, Node *out, const Type *wanted)
{
    Type t = *out->type;
    if (type_same_axes(out->type, wanted))
        return out;
    t.rank--;
    for (int i = 0; i < m->n_own; i++)
        t.axis[t.rank++] = m->own[i];
    return make_before(m->px, m->out, OP_view, type_new(m->px->cx, t.dtype, t.rank, t.axis), 1, &out, out);
}

/* The second product's queries and keys are the last inputs, and its score is the body's last parameter. */
static void add_second(Match *m, Node *attend, const Node *q)
{
    Graph *body = attend->body;
    Node *score = body->params[1];
    for (int i = 1; i + 1 < body->n_params; i++) {
        body->params[i] = body->params[i + 1];
        attr_set_int(m->px->cx, body->params[i], ATTR_index, i);
    }
    body->params[body->n_params - 1] = score;
    attr_set_int(m->px->cx, score, ATTR_index, body->n_params - 1);
    add_input(m->px, attend, make_transposed(m->px, attend, m->q2, q->type));
    add_input(m->px, attend, make_transposed(m->px, attend, m->k2, m->k->type));
    attr_set_bool(m->px->cx, attend, ATTR_second, true);
}

/* What @linearize asks for this attention; NULL: nothing. One of the three may have been written anew on the way. */
static const char *request_of(const Match *m)
{
    const Node *all[] = {m->softmax, m->score, m->out};
    for (int i = 0; i < 3; i++)
        if (attr_name(all[i], ATTR_linearize))
            return attr_name(all[i], ATTR_linearize);
    return NULL;
}

void match_build(Match *m)
{
    collect_scale(m);
    remove_factors(m);
    match_find_second(m);
    Node *final = m->out, *reader;
    while ((reader = only_reader(final)) && reader->op == OP_transpose && reader->graph == m->graph &&
           !is_kept(reader) && !is_kept(final))
        final = reader;
    Node *q = ordered_queries(m, final);
    const Type *wanted = final->type;
    Node *attend = kernel_before(m->px, m->out, OP_attend, m->out);
    Context *cx = m->px->cx;
    add_input(m->px, attend, q);
    add_input(m->px, attend, m->k);
    add_input(m->px, attend, m->v);
    attr_set_names(cx, attend, ATTR_over, &m->head, 1);
    attr_set_name(cx, attend, ATTR_keys, m->keys);
    if (m->scale != 1)
        attr_set_float(cx, attend, ATTR_scale, m->scale);
    const char *request = request_of(m);
    if (request)
        attr_set_name(cx, attend, ATTR_linearize, request);
    Type s = {.dtype = DT_F32};
    for (int i = 0; i < q->type->rank; i++)
        if (q->type->axis[i].name != m->head)
            s.axis[s.rank++] = q->type->axis[i];
    s.axis[s.rank++] = m->k->type->axis[type_find(m->k->type, m->keys)];
    Builder b = builder_new(m->px, attend, belongs, m);
    builder_map(&b, m->core, builder_param(&b, type_new(cx, s.dtype, s.rank, s.axis), m->score));
    if (m->other)
        builder_map(&b, m->other, builder_param(&b, b.kernel->body->params[0]->type, m->other));
    Node *value = builder_value(&b, m->softmax->inputs[0]);
    graph_add_result(cx, attend->body, NULL, value, m->softmax->at);
    if (m->other)
        add_second(m, attend, q);
    if (m->n_lse)
        attr_set_bool(cx, attend, ATTR_lse, true);
    kernel_finish(m->px, attend);
    Node *out = m->n_lse ? make_get(m->px, m->out, attend, 0, m->out) : attend;
    if (is_kept(m->out)) {
        attr_set_bool(cx, out, ATTR_keep, true);
        attr_set_bool(cx, m->out, ATTR_keep, false); /* it may go */
    }
    if (m->n_lse) {
        Node *lse = make_get(m->px, m->out, attend, 1, m->lse[0]);
        node_replace(m->lse[0], make_transposed(m->px, m->out, lse, m->lse[0]->type));
    }
    node_replace(final, make_transposed(m->px, m->out, split_values(m, out, wanted), wanted));
    remark_fused(m, attend, out->type);
    remark_matrices(m, attend);
}
