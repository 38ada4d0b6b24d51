/* Costs of attention without a matrix of scores: features once for each row and key, sums of keys built and read, and
 * where rows see only earlier keys the products inside a chunk. */
#include <math.h>
#include <string.h>

#include "ir/interpret.h"
#include "passes/inside.h"

enum {
    CHUNK = 64,
    UNCOUNTED = 24,    /* keys not among the codes yet, for a row on average, where no key is told apart from its code */
    SOFTMAX_FLOPS = 5, /* of a score, as in attend */
};

typedef struct Shape {
    double queries, keys; /* rows and keys of all elements of the batch axes */
    double length, positions, batches; /* keys and query positions of one of these elements */
    double head, values, features;
} Shape;

static double along(const Node *n, const Type *t, const char *axis, const int64_t *sizes)
{
    return (double)extent_value(t->axis[type_find(t, axis)].size, graph_model(n->graph), sizes);
}

static Shape shape_of(const Node *n, const int64_t *sizes)
{
    const Graph *model = graph_model(n->graph);
    const Type *q = n->inputs[0]->type, *k = n->inputs[1]->type, *v = n->inputs[2]->type;
    const char *over = node_attr(n, ATTR_over)->names.items[0];
    Shape s = {.head = along(n, k, over, sizes),
               .length = along(n, k, attr_name(n, ATTR_keys), sizes),
               .positions = along(n, q, attr_name(n, ATTR_queries), sizes),
               .features = (double)attend_features(n)};
    s.queries = bytes_at(model, q, sizes) / (double)dtype_size(q->dtype) / s.head;
    s.keys = bytes_at(model, k, sizes) / (double)dtype_size(k->dtype) / s.head;
    s.batches = s.length > 0 ? s.keys / s.length : 0;
    s.values = s.keys > 0 ? bytes_at(model, v, sizes) / (double)dtype_size(v->dtype) / s.keys : 0;
    return s;
}

/* Keys to codes and their means; rows with codes and, where they see only earlier keys, with those of their block. */
static double codebook_flops(const Node *n, const Shape *s)
{
    const char *recent = attr_name(n, ATTR_recent);
    double exact = recent && !strcmp(recent, "keys") ? 2 * s->head : 0;
    double near = attend_recent(n) ? 1.5 * (double)attend_recent(n) : UNCOUNTED;
    double each = 2 * s->values + SOFTMAX_FLOPS;
    double row = s->features * (2 * s->head + each) + (attr_bool(n, ATTR_causal, false) ? near * (exact + each) : 0);
    return s->keys * (2 * s->head * s->features + 2 * s->values) + s->queries * row;
}

double linear_flops(const Node *n, const int64_t *sizes)
{
    Shape s = shape_of(n, sizes);
    if (n->op == OP_codebook_attend)
        return codebook_flops(n, &s);
    bool projects = role_of(n, "projection") != NULL, causal = attr_bool(n, ATTR_causal, false);
    double products = node_features(n, "hyperbolic") ? s.features / 2 : s.features;
    double each = (projects ? 2 * s.head * products : 0) + (node_features(n, "none") ? 0 : s.features);
    double chunk = causal && s.positions > 1 ? fmin(CHUNK, s.positions) : 0;
    return (s.queries + s.keys) * (each + 2 * s.features * (s.values + 1)) +
           s.queries * chunk * (s.features + s.values);
}

double state_bytes(const Node *n, const int64_t *sizes)
{
    const Cache *cache = graph_cache(graph_model(n->graph), attr_name(n, ATTR_cache));
    return cache && cache->growing < 0 ? bytes_at(graph_model(n->graph), cache->type, sizes) : 0;
}
