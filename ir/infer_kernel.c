/* Shape rules of repeats and kernels: the parameters of a body must fit the inputs, and the accumulators the products;
 * then the type is that of the body's result. */
#include "ir/infer_inside.h"

static const Type *infer_attend(Rule *r);

static const Type *infer_get(Rule *r)
{
    const Node *of = r->n->inputs[0];
    int64_t index = attr_int(r->n, ATTR_index, 0);
    if (!of->body || index < 0 || index >= node_results(of))
        return rule_refuse(r, "`%s` has no result %lld", rule_word(r, 0), (long long)index);
    return of->op == OP_repeat ? of->inputs[index]->type : infer_result(r->cx, of, (int)index);
}

const Type *infer_result(Context *cx, const Node *kernel, int index)
{
    if (!kernel->body)
        return kernel->type;
    if (kernel->op != OP_attend || kernel->type)
        return kernel->op == OP_attend ? kernel->type : kernel->body->results[index].value->type;
    Rule r = {.cx = cx, .n = kernel};
    const Type *t = infer_attend(&r);
    return t && index == 1 ? type_new(cx, t->dtype, kernel->inputs[0]->type->rank - 1, t->axis) : t;
}

const Type *infer_region(Rule *r)
{
    const Node *n = r->n;
    if (n->op == OP_get)
        return infer_get(r);
    if (!n->body)
        return n->n_inputs == 1 ? rule_in(r, 0) : rule_refuse(r, "repeat needs a body");
    for (int i = 0; i < n->n_inputs; i++) {
        if (i + 1 >= n->body->n_params || i >= n->body->n_results)
            break;
        if (!type_equal(n->body->params[i + 1]->type, rule_in(r, i)) ||
            !type_equal(n->body->results[i].value->type, rule_in(r, i)))
            return rule_refuse(r, "carried value %d enters as %s and leaves a round as %s", i,
                               rule_type(r, rule_in(r, i)), rule_type(r, n->body->results[i].value->type));
    }
    return n->n_inputs == 1 ? rule_in(r, 0) : NULL;
}

/* The inputs first_input .. end are the parameters from first_param on; `others` are not inputs. */
static bool some_params_fit(Rule *r, int first_param, int first_input, int end, int others)
{
    const Graph *body = r->n->body;
    if (body->n_params - first_param - others != end - first_input)
        return rule_refused(r, "%d inputs but %d parameters in the body", end - first_input,
                            body->n_params - first_param - others);
    for (int i = first_input, p = first_param; i < end; i++, p++)
        if (!type_equal(body->params[p]->type, rule_in(r, i)))
            return rule_refused(r, "`%s` is %s, the body's parameter %s", rule_word(r, i), rule_type(r, rule_in(r, i)),
                                rule_type(r, body->params[p]->type));
    return true;
}

static bool params_fit(Rule *r, int first_param, int first_input)
{
    return some_params_fit(r, first_param, first_input, r->n->n_inputs, 0);
}

/* A product of the side has its accumulator's axes. */
static bool side_fits(Rule *r, int k, int weights)
{
    int x = gemm_side(r->n, k), acc = gemm_side_of(r->n, k);
    const char *names[MAX_RANK];
    Attr over = {.id = ATTR_over, .names = {names, type_shared(rule_in(r, x), rule_in(r, x + 1), names)}};
    if (acc < 0 || acc >= weights)
        return rule_refused(r, "there is no accumulator %d for a product of the side", acc);
    if (!over.names.count)
        return rule_refused(r, "`%s` and `%s` have no axis in common", rule_word(r, x), rule_word(r, x + 1));
    const Type *product = rule_product(r, x, x + 1, &over), *want = r->n->body->params[acc]->type;
    return product && (type_equal(product, want) || rule_refused(r, "accumulator %d is %s, the product beside it %s", acc,
                                                                 rule_type(r, want), rule_type(r, product)));
}

static const Type *infer_gemm(Rule *r)
{
    int weights = (int)attr_int(r->n, ATTR_weights, 1);
    const Attr *over = rule_over(r);
    if (!over)
        return NULL;
    int sides = gemm_sides(r->n), end = gemm_side(r->n, 0);
    if (weights < 1 || weights >= end || !some_params_fit(r, weights, weights + 1, end, 0))
        return r->reason ? NULL : rule_refuse(r, "gemm needs a weight");
    for (int w = 1; w <= weights; w++) {
        const Type *product = rule_product(r, 0, w, over);
        if (!product)
            return NULL;
        if (!type_equal(product, r->n->body->params[w - 1]->type))
            return rule_refuse(r, "accumulator %d is %s, the body's parameter %s", w - 1, rule_type(r, product),
                               rule_type(r, r->n->body->params[w - 1]->type));
    }
    for (int k = 0; k < sides; k++)
        if (!side_fits(r, k, weights))
            return NULL;
    return NULL;
}

/* The second product has the first one's axes, and the body's last parameter is it. */
static bool second_fits(Rule *r, const Type *scores, const Attr *over)
{
    const Node *n = r->n;
    const Type *other = rule_product(r, n->n_inputs - 2, n->n_inputs - 1, over);
    const Type *param = n->body->params[n->body->n_params - 1]->type;
    if (!other)
        return false;
    if (!type_same_axes(scores, other) || !type_same_axes(scores, param))
        return rule_refused(r, "the score is %s, the second one %s, the body's last parameter %s", rule_type(r, scores),
                            rule_type(r, other), rule_type(r, param));
    return type_find(rule_in(r, n->n_inputs - 2), attr_name(n, ATTR_keys)) < 0 ||
           rule_refused(r, "`%s` has the keys' axis", rule_word(r, n->n_inputs - 2));
}

static const Type *infer_attend(Rule *r)
{
    const char *keys = attr_name(r->n, ATTR_keys);
    const Attr *over = rule_over(r);
    if (!over)
        return NULL;
    if (r->n->n_inputs < 3 || !keys || r->n->body->n_params < 1 || r->n->body->n_results != 1)
        return rule_refuse(r, "attend needs queries, keys, values, `keys` and a body that returns a score");
    if (type_find(rule_in(r, 1), keys) < 0 || type_find(rule_in(r, 2), keys) < 0 || type_find(rule_in(r, 0), keys) >= 0)
        return rule_refuse(r, "`%s` must be an axis of the keys and the values, not of the queries", keys);
    const Type *scores = rule_product(r, 0, 1, over);
    int second = attr_bool(r->n, ATTR_second, false), end = r->n->n_inputs - 2 * second;
    if (end < 3)
        return rule_refuse(r, "attend needs other queries and keys for its second product");
    if (!scores || !some_params_fit(r, 1, 3, end, second) || (second && !second_fits(r, scores, over)))
        return NULL;
    if (!type_same_axes(scores, r->n->body->params[0]->type))
        return rule_refuse(r, "the score is %s, the body's parameter %s", rule_type(r, scores),
                           rule_type(r, r->n->body->params[0]->type));
    if (!type_same_axes(scores, r->n->body->results[0].value->type))
        return rule_refuse(r, "the body must return a score on the axes of %s", rule_type(r, scores));
    Type all = {.dtype = DT_F32};
    for (int i = 0; i < rule_in(r, 0)->rank; i++)
        if (!attr_has_name(r->n, ATTR_over, rule_in(r, 0)->axis[i].name))
            all.axis[all.rank++] = rule_in(r, 0)->axis[i];
    for (int i = 0; i < rule_in(r, 2)->rank; i++) {
        if (rule_in(r, 2)->axis[i].name == keys || type_find(&all, rule_in(r, 2)->axis[i].name) >= 0)
            continue;
        if (all.rank == MAX_RANK)
            return rule_refuse(r, "more than %d axes come together", MAX_RANK);
        all.axis[all.rank++] = rule_in(r, 2)->axis[i];
    }
    return type_new(r->cx, all.dtype, all.rank, all.axis);
}

const Type *infer_kernel(Rule *r)
{
    const Graph *body = r->n->body;
    if (op_info[r->n->op].flags & OPF_BARE)
        return infer_linear(r);
    if (!body || body->n_results < 1)
        return rule_refuse(r, "%s needs a body with a result", rule_op(r));
    if (r->n->op == OP_attend) {
        const Type *t = infer_attend(r);
        return node_results(r->n) == 1 ? rule_in_declared_order(r, t) : NULL;
    }
    if (r->n->op == OP_gemm)
        infer_gemm(r);
    else
        params_fit(r, 0, 0);
    if (r->reason)
        return NULL;
    return body->n_results == 1 ? body->results[0].value->type : NULL;
}

const Type *infer_param(Context *cx, const Node *kernel, int i)
{
    Rule r = {.cx = cx, .n = kernel};
    int weights = (int)attr_int(kernel, ATTR_weights, 1);
    int products = kernel->op == OP_gemm ? weights : kernel->op == OP_attend ? 1 : 0;
    int first = kernel->op == OP_gemm ? weights + 1 : kernel->op == OP_attend ? 3 : 0;
    int input = i < products ? i + 1 : first + i - products, queries = 0;
    if (kernel->op == OP_attend && attr_bool(kernel, ATTR_second, false) && i > 0 && i == kernel->n_inputs - 4) {
        queries = kernel->n_inputs - 2;
        input = kernel->n_inputs - 1;
        products = i + 1;
    }
    if (kernel->op == OP_append)        /* its input 1 is the layer, not a parameter */
        input = i + (i > 0);
    if (input >= kernel->n_inputs || queries < 0 || weights < 1)
        return NULL;
    if (i >= products || !kernel->inputs[queries]->type || !kernel->inputs[input]->type)
        return i >= products ? kernel->inputs[input]->type : NULL;
    const Attr *over = rule_over(&r);
    return over ? rule_product(&r, queries, input, over) : NULL;
}
