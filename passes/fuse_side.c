/* fuse-side: a product that is only added to another product's accumulator becomes part of that sum.
 *
 *     l = gemm x, a;  u = gemm l, b;  y = gemm x, w, u  body acc + u     ->   y = gemm x, w, l, b side=[0]  body acc
 *
 * The tile of accumulators goes on over l and b before its epilogue, so u is neither written nor read: a low-rank path
 * beside a weight, or any sum of two products with weights. u has to be a plain product with the same rows, read by
 * nothing else, and added to one accumulator before anything else is done to it. */
#include "passes/inside.h"

typedef struct Side {
    Node *gemm, *product; /* product: the gemm whose result is added */
    int input;            /* of gemm */
    int accumulator;
    Node *sum, *rest;     /* of the body: sum = rest + the product */
} Side;

#define SAY(...) arena_print(px->cx->arena, __VA_ARGS__)

static bool refuse(PassContext *px, const Side *s, RemarkCode code, const char *why)
{
    Remark *r = remark(px, REMARK_MISSED, code, s->gemm, "%s", why);
    r->evidence = s->product->at;
    return false;
}

/* ---- in the body ------------------------------------------------------------------------------------------------- */

static Node *reader_in_body(const Graph *body, const Node *value)
{
    Node *found = NULL;
    int count = 0;
    for (Node *n = body->first; n; n = n->next)
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i] == value) {
                found = n;
                count++;
            }
    for (int r = 0; r < body->n_results; r++)
        count += body->results[r].value == value;
    return count == 1 ? found : NULL;
}

/* An accumulator of this type in a tree of sums, each read once; -1: none. */
static int find_accumulator(const Graph *body, Node *n, int weights, const Type *type)
{
    if (!reader_in_body(body, n))
        return -1;
    for (int j = 0; j < weights; j++)
        if (body->params[j] == n)
            return type_equal(n->type, type) ? j : -1;
    if (n->op != OP_add)
        return -1;
    int left = find_accumulator(body, n->inputs[0], weights, type);
    return left >= 0 ? left : find_accumulator(body, n->inputs[1], weights, type);
}

/* The parameter is added, in a sum of any length, to an accumulator. */
static bool match_sum(Side *s)
{
    const Graph *body = s->gemm->body;
    Node *param = body->params[s->input - 1];
    int weights = (int)attr_int(s->gemm, ATTR_weights, 1);
    s->sum = reader_in_body(body, param);
    if (!s->sum || s->sum->op != OP_add)
        return false;
    s->rest = s->sum->inputs[s->sum->inputs[0] == param];
    s->accumulator = -1;
    for (Node *below = param, *sum = s->sum; sum && sum->op == OP_add; below = sum, sum = reader_in_body(body, sum)) {
        s->accumulator = find_accumulator(body, sum->inputs[sum->inputs[0] == below], weights, param->type);
        if (s->accumulator >= 0)
            return true;
    }
    return false;
}

/* ---- the product ------------------------------------------------------------------------------------------------- */

static bool is_plain_product(const Node *n)
{
    return n->op == OP_gemm && n->type && n->n_inputs == 2 && n->body->n_results == 1 &&
           n->body->results[0].value == n->body->params[0];
}

static int row_axes(const Node *gemm)
{
    return gemm->inputs[0]->type->rank - node_attr(gemm, ATTR_over)->names.count;
}

static bool match(PassContext *px, Node *gemm, int input, Side *s)
{
    Node *stored = gemm->inputs[input], *product = below_transposes(stored);
    *s = (Side){.gemm = gemm, .product = product, .input = input};
    if (!is_plain_product(product) || product->graph != gemm->graph || !match_sum(s))
        return false;
    const Attr *over = node_attr(product, ATTR_over);
    for (int i = 0; i < over->names.count; i++)
        if (!extent_is_const(product->inputs[0]->type->axis[row_axes(product) + i].size))
            return false;
    if (is_kept(product))
        return refuse(px, s, REMARK_BLOCKED_BY_USER, SAY("`%s` is kept by @keep", word_of(product)));
    if (only_reader(stored) != gemm || (stored != product && only_reader(product) != stored))
        return refuse(px, s, REMARK_MULTI_USE, SAY("`%s` is read elsewhere too, so it is stored", word_of(product)));
    if (stored != product || row_axes(product) != row_axes(gemm))
        return refuse(px, s, REMARK_AXIS_MISMATCH, SAY("`%s` has its axes in another order", word_of(product)));
    return true;
}

/* ---- the rewrite ------------------------------------------------------------------------------------------------- */

static void drop_param(PassContext *px, Node *gemm, int input)
{
    Graph *body = gemm->body;
    node_remove(body->params[input - 1]);
    for (int i = input - 1; i + 1 < body->n_params; i++) {
        body->params[i] = body->params[i + 1];
        attr_set_int(px->cx, body->params[i], ATTR_index, i);
    }
    body->n_params--;
    for (int i = input; i + 1 < gemm->n_inputs; i++)
        gemm->inputs[i] = gemm->inputs[i + 1];
    gemm->n_inputs--;
}

static void fuse(PassContext *px, Side *s)
{
    Node *gemm = s->gemm, *l = s->product->inputs[0], *w = s->product->inputs[1];
    int n = gemm_sides(gemm);
    int64_t *side = arena_array(px->cx->arena, (size_t)n + 1, sizeof *side);
    for (int k = 0; k < n; k++)
        side[k] = gemm_side_of(gemm, k);
    side[n] = s->accumulator;
    Remark *r = remark(px, REMARK_PASSED, REMARK_FUSED, gemm, "the sums of `%s` go on over `%s` and `%s`",
                       word_of(gemm->inputs[1 + s->accumulator]), word_of(l), word_of(w));
    r->bytes_before = 2 * type_bytes(px, graph_model(gemm->graph), s->product->type);
    r->flops = product_flops(px, l, w);
    node_replace(s->sum, s->rest);
    node_remove(s->sum);
    drop_param(px, gemm, s->input);
    add_input(px, gemm, l);
    add_input(px, gemm, w);
    attr_set_ints(px->cx, gemm, ATTR_side, side, n + 1);
}

static bool fuse_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fuse_graph(px, n->body);
        for (int i = (int)attr_int(n, ATTR_weights, 0) + 1; n->op == OP_gemm && i < gemm_side(n, 0);) {
            Side s;
            if (!match(px, n, i, &s)) {
                i++;
                continue;
            }
            fuse(px, &s); /* the next input stands at i now */
            changed = true;
        }
    }
    return changed;
}

bool pass_fuse_side(PassContext *px, Graph *model)
{
    bool changed = fuse_graph(px, model);
    if (changed)
        remove_dead(model);
    return changed;
}
