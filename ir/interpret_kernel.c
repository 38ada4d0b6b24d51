/* The interpreter's kernels: accumulators or inputs are bound to the body's parameters, then the body is evaluated
 * like any graph. */
#include "ir/interpret_inside.h"

#include <math.h>
#include <string.h>

static void finish(Run *run, const Node *n, Value *const *params)
{
    Value **results = arena_array(run->work, (size_t)n->body->n_results, sizeof *results);
    if (!eval_body(run, n->body, params, results))
        return;
    Value *out = arena_array(run->work, (size_t)n->body->n_results, sizeof *out);
    for (int r = 0; r < n->body->n_results; r++)
        out[r] = *results[r];
    run->values[n->id] = out;
}

/* Adds the products of the side to their accumulators. */
static void eval_sides(Run *run, const Node *n, Value *const *params)
{
    for (int k = 0; k < gemm_sides(n); k++) {
        const Node *x = n->inputs[gemm_side(n, k)], *w = n->inputs[gemm_side(n, k) + 1];
        Value *acc = params[gemm_side_of(n, k)], *product = value_new(run, acc->type);
        const char *over[MAX_RANK];
        int n_over = type_shared(x->type, w->type, over);
        eval_dot(run, value_of(run, x), value_of(run, w), over, n_over, false, product);
        for (int64_t i = 0; i < acc->count; i++)
            acc->data[i] += product->data[i];
    }
}

static void eval_gemm(Run *run, const Node *n)
{
    int64_t weights = attr_int(n, ATTR_weights, 1);
    const Attr *over = node_attr(n, ATTR_over);
    Value **params = arena_array(run->work, (size_t)n->n_inputs, sizeof *params);
    for (int i = 1; i < gemm_side(n, 0); i++) {
        const Node *acc = n->body->params[i - 1];
        if (i > weights) {
            params[i - 1] = value_of(run, n->inputs[i]);
            continue;
        }
        params[i - 1] = value_new(run, acc->type);
        eval_dot(run, value_of(run, n->inputs[0]), value_of(run, n->inputs[i]), over->names.items, over->names.count,
                 false, params[i - 1]);
    }
    eval_sides(run, n, params);
    finish(run, n, params);
}

static Value *eval_scores(Run *run, const Node *n, int queries, int keys, const Type *type)
{
    const Attr *over = node_attr(n, ATTR_over);
    double scale = attr_float(n, ATTR_scale, 1);
    Value *scores = value_new(run, type);
    eval_dot(run, value_of(run, n->inputs[queries]), value_of(run, n->inputs[keys]), over->names.items,
             over->names.count, false, scores);
    for (int64_t i = 0; i < scores->count; i++)
        scores->data[i] *= scale;
    return scores;
}

static void eval_attend(Run *run, const Node *n)
{
    const char *keys = attr_name(n, ATTR_keys);
    Value **params = arena_array(run->work, (size_t)n->n_inputs, sizeof *params);
    int last = n->body->n_params - 1, end = n->n_inputs;
    params[0] = eval_scores(run, n, 0, 1, n->body->params[0]->type);
    if (attr_bool(n, ATTR_second, false)) {
        end -= 2;
        params[last] = eval_scores(run, n, end, end + 1, n->body->params[last]->type);
    }
    for (int i = 3; i < end; i++)
        params[i - 2] = value_of(run, n->inputs[i]);
    Value *final = NULL;
    if (!eval_body(run, n->body, params, &final))
        return;
    /* The body may leave axes out only if the score itself does not matter to them: it never does, the score has them
     * all. */
    Value *p = value_new(run, final->type), *out = arena_array(run->work, 2, sizeof *out);
    eval_softmax(run, final, keys, p);
    bool two = node_results(n) == 2;
    out[0] = *value_new(run, infer_result(run->cx, n, 0));
    eval_dot(run, p, value_of(run, n->inputs[2]), &keys, 1, true, &out[0]);
    if (two) {
        out[1] = *value_new(run, infer_result(run->cx, n, 1));
        eval_log_sum(run, final, keys, &out[1]);
    }
    run->values[n->id] = out;
}

/* Rows that may hold anything hold NaN. */
static void spoil_rows(const Run *run, const Node *n, Value *results)
{
    const Node *keep = NULL;
    for (int i = 0; i < run->model->n_params; i++)
        keep = !strcmp(run->model->params[i]->name, attr_name(n, ATTR_live)) ? run->model->params[i] : keep;
    const Value *live = value_of(run, keep);
    for (int r = 0; r < node_results(n); r++) {
        int64_t each = live->count ? results[r].count / live->count : 0;
        for (int64_t i = 0; i < results[r].count; i++)
            if (live->data[i / each] == 0)
                results[r].data[i] = NAN;
    }
}

static void eval_kind(Run *run, const Node *n)
{
    if (n->op == OP_linear_attend) {
        eval_linear(run, n);
        return;
    }
    if (n->op == OP_codebook_attend) {
        eval_codebook(run, n);
        return;
    }
    if (n->op == OP_gemm) {
        eval_gemm(run, n);
        return;
    }
    if (n->op == OP_attend) {
        eval_attend(run, n);
        return;
    }
    Value **params = arena_array(run->work, (size_t)n->n_inputs, sizeof *params);
    for (int i = 0; i < n->n_inputs; i++)
        params[i] = value_of(run, n->inputs[i]);
    finish(run, n, params);
}

void eval_kernel(Run *run, const Node *n)
{
    eval_kind(run, n);
    if (run->bind->spoil && !run->failed && attr_name(n, ATTR_live))
        spoil_rows(run, n, run->values[n->id]);
}
