/* linear_attend by its definition: a row's weights are products of features, over the keys it sees. Features that are
 * exponentials stay logarithms until the largest weight of a row is known, so norms do not matter. With a cache the
 * keys of earlier calls are a sum for each feature, and so are those of this call, one after the other. */
#include "ir/interpret_inside.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct Linear {
    Run *run;
    const Node *n;
    int64_t batches, rows, inner; /* rows of one element of the batch axes; inner: of one query position */
    int64_t queries, keys, features, width, head;
    double scale, eps, ratio, tau;
    bool causal;
    bool exponential;                       /* features are held as logarithms */
    bool reference;                         /* positive features with eps > 0 */
    const double *q, *k, *v;                /* [batch][row][head], [batch][key][head], [batch][key][width] */
    const double *projection;               /* [batch][feature][head] */
    const double *mask;                     /* [batch][row][key] */
    const double *keep, *document, *offset; /* [batch][key] */
    const double *prefix;                   /* [batch] */
} Linear;

/* ---- operands in one order: batch, then rows or keys, then what a vector holds ----------------------------------- */

static void add_axis(Type *t, Axis axis)
{
    t->axis[t->rank++] = axis;
}

static bool is_batch(const Linear *l, const char *axis)
{
    const Type *k = l->n->inputs[1]->type;
    return type_find(k, axis) >= 0 && axis != attr_name(l->n, ATTR_keys) && !attr_has_name(l->n, ATTR_over, axis);
}

static Type batch_type(const Linear *l)
{
    const Type *k = l->n->inputs[1]->type;
    Type t = {.dtype = DT_F32};
    for (int i = 0; i < k->rank; i++)
        if (is_batch(l, k->axis[i].name))
            add_axis(&t, k->axis[i]);
    return t;
}

/* The batch axes, then the rows', the query positions first: those that come later may depend on a state. */
static Type rows_type(const Linear *l)
{
    const Type *q = l->n->inputs[0]->type;
    Type t = batch_type(l);
    add_axis(&t, q->axis[type_find(q, attr_name(l->n, ATTR_queries))]);
    for (int i = 0; i < q->rank; i++)
        if (!is_batch(l, q->axis[i].name) && !attr_has_name(l->n, ATTR_over, q->axis[i].name) &&
            q->axis[i].name != attr_name(l->n, ATTR_queries))
            add_axis(&t, q->axis[i]);
    return t;
}

static Type keys_type(const Linear *l)
{
    const Type *k = l->n->inputs[1]->type;
    Type t = batch_type(l);
    add_axis(&t, k->axis[type_find(k, attr_name(l->n, ATTR_keys))]);
    return t;
}

/* The value with these axes in this order; it repeats along those that it lacks. */
static Value *spread(Run *run, const Value *v, const Type *type)
{
    Value *out = value_new(run, type_new(run->cx, type->dtype, type->rank, type->axis));
    int64_t steps[MAX_RANK];
    value_steps(v, type, steps);
    copy_strided(out, v->data, steps);
    return out;
}

static const Axis *last_axis(const Type *t)
{
    return &t->axis[t->rank - 1];
}

static const Axis *values_axis(const Linear *l)
{
    const Type *v = l->n->inputs[2]->type;
    for (int i = 0; i < v->rank; i++)
        if (!is_batch(l, v->axis[i].name) && v->axis[i].name != attr_name(l->n, ATTR_keys))
            return &v->axis[i];
    return last_axis(v);
}

static const double *role_spread(const Linear *l, const char *role, const Type *type)
{
    const Node *n = role_of(l->n, role);
    return n ? spread(l->run, value_of(l->run, n), type)->data : NULL;
}

static void gather_roles(Linear *l)
{
    Type batch = batch_type(l), keys = keys_type(l), rows = rows_type(l), projection = batch;
    const Node *w = role_of(l->n, "projection");
    l->keep = role_spread(l, "keep", &keys);
    l->document = role_spread(l, "document", &keys);
    l->offset = role_spread(l, "offset", &keys);
    l->prefix = role_spread(l, "prefix", &batch);
    if (w) {
        add_axis(&projection, w->type->axis[w->type->rank - 2]);
        add_axis(&projection, *last_axis(w->type));
        l->projection = role_spread(l, "projection", &projection);
    }
    add_axis(&rows, *last_axis(&keys));
    l->mask = role_spread(l, "mask", &rows);
}

static Linear linear_new(Run *run, const Node *n)
{
    Linear l = {.run = run,
                .n = n,
                .features = attend_features(n),
                .causal = attr_bool(n, ATTR_causal, false),
                .scale = attr_float(n, ATTR_scale, 1),
                .eps = attr_float(n, ATTR_eps, 0),
                .ratio = attr_float(n, ATTR_ratio, 1),
                .tau = attr_float(n, ATTR_tau, 1)};
    const Type *k = n->inputs[1]->type;
    Axis head = k->axis[type_find(k, node_attr(n, ATTR_over)->names.items[0])];
    Type rows = rows_type(&l), keys = keys_type(&l), values = keys, q = rows, batch = batch_type(&l);
    add_axis(&q, head);
    add_axis(&values, *values_axis(&l));
    l.reference = node_features(n, "positive") && l.eps > 0;
    l.exponential = (node_features(n, "positive") && !l.reference) || node_features(n, "hyperbolic") ||
                    node_features(n, "codes");
    const Value *queries = spread(run, value_of(run, n->inputs[0]), &q);
    l.q = queries->data;
    l.queries = queries->dims[batch.rank];
    l.head = queries->dims[queries->rank - 1];
    const Value *v = spread(run, value_of(run, n->inputs[2]), &values);
    l.v = v->data;
    l.keys = v->dims[batch.rank];
    l.width = v->dims[v->rank - 1];
    l.batches = l.rows = l.inner = 1;
    for (int i = 0; i < batch.rank; i++)
        l.batches *= v->dims[i];
    for (int i = batch.rank + 1; i < queries->rank - 1; i++)
        l.inner *= queries->dims[i];
    l.rows = l.queries * l.inner;
    add_axis(&keys, head);
    l.k = spread(run, value_of(run, n->inputs[1]), &keys)->data;
    gather_roles(&l);
    return l;
}

/* ---- features ---------------------------------------------------------------------------------------------------- */

static double dot_of(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static double largest(const double *x, int64_t count)
{
    double most = -INFINITY;
    for (int64_t i = 0; i < count; i++)
        most = x[i] > most || isnan(x[i]) ? x[i] : most;
    return most;
}

/* Features that are no exponentials: of queries and keys alike. */
static void plain_features(const Linear *l, const double *w, const double *x, double *to)
{
    double root = sqrt(l->scale);
    bool relu = node_features(l->n, "relu"), elu = node_features(l->n, "elu1");
    for (int64_t f = 0; f < l->features; f++) {
        double y = root * (w ? dot_of(w + f * l->head, x, l->head) : x[f]);
        if (relu)
            y = (l->ratio * y < 0 ? 0 : l->ratio * y) + l->eps;
        else if (elu)
            y = y > 0 ? y + 1 : exp(y);
        to[f] = y;
    }
}

/* w x for x = sqrt(scale) x, and -w x for the second half of hyperbolic features. */
static void projected(const Linear *l, const double *w, const double *x, double *to)
{
    int64_t own = node_features(l->n, "hyperbolic") ? l->features / 2 : l->features;
    for (int64_t f = 0; f < l->features; f++)
        to[f] = (f < own ? 1 : -1) * sqrt(l->scale) * dot_of(w + f % own * l->head, x, l->head);
}

static double half_norm(const Linear *l, const double *x)
{
    return l->scale * dot_of(x, x, l->head) / 2;
}

/* Logarithms of softmax_s(-|k - c_s|^2 / (2 tau^2)). */
static void assigned(const Linear *l, const double *codes, const double *k, double *to)
{
    for (int64_t s = 0; s < l->features; s++) {
        double distance = 0;
        for (int64_t i = 0; i < l->head; i++)
            distance += (k[i] - codes[s * l->head + i]) * (k[i] - codes[s * l->head + i]);
        to[s] = -distance / (2 * l->tau * l->tau);
    }
    double most = largest(to, l->features), sum = 0;
    for (int64_t s = 0; s < l->features; s++)
        sum += exp(to[s] - most);
    for (int64_t s = 0; s < l->features; s++)
        to[s] -= most + log(sum);
}

static const double *projection_of(const Linear *l, int64_t batch)
{
    int64_t own = l->features / (node_features(l->n, "hyperbolic") ? 2 : 1);
    return l->projection ? l->projection + batch * own * l->head : NULL;
}

/* The features of a query, or their logarithms. Without eps nothing that all features of a row share matters. */
static void query_features(const Linear *l, int64_t batch, int64_t row, double *to)
{
    const double *x = l->q + (batch * l->rows + row) * l->head, *w = projection_of(l, batch);
    if (node_features(l->n, "codes"))
        for (int64_t s = 0; s < l->features; s++)
            to[s] = l->scale * dot_of(w + s * l->head, x, l->head);
    else if (l->exponential || l->reference)
        projected(l, w, x, to);
    else
        plain_features(l, w, x, to);
    if (!l->reference)
        return;
    double most = largest(to, l->features), half = half_norm(l, x);
    for (int64_t f = 0; f < l->features; f++)
        to[f] = exp(to[f] - half - most) + l->eps;
}

/* The same of a key; with eps > 0 `most` is the largest of w k over keys and features. */
static void key_features(const Linear *l, int64_t batch, int64_t key, double most, double *to)
{
    const double *k = l->k + (batch * l->keys + key) * l->head, *w = projection_of(l, batch);
    if (node_features(l->n, "codes"))
        assigned(l, w, k, to);
    else if (l->exponential || l->reference)
        projected(l, w, k, to);
    else
        plain_features(l, w, k, to);
    double shift = half_norm(l, k) - (l->offset ? l->offset[batch * l->keys + key] : 0);
    for (int64_t f = 0; f < l->features && !node_features(l->n, "codes"); f++)
        if (l->exponential)
            to[f] -= shift;
        else if (l->reference)
            to[f] = exp(to[f] - shift - most) + l->eps;
}

/* ---- what a row sees --------------------------------------------------------------------------------------------- */

static bool is_kept(const Linear *l, int64_t batch, int64_t key)
{
    return !l->keep || l->keep[batch * l->keys + key] != 0;
}

static bool sees(const Linear *l, int64_t batch, int64_t row, int64_t key)
{
    int64_t position = l->keys - l->queries + row / l->inner;
    bool later = l->causal && key > position;
    if (!is_kept(l, batch, key) || (l->mask && l->mask[(batch * l->rows + row) * l->keys + key] == 0))
        return false;
    if (later && !(l->prefix && (double)key < l->prefix[batch]))
        return false;
    const double *document = l->document ? l->document + batch * l->keys : NULL;
    return !document || (position >= 0 && document[key] == document[position]);
}

static bool is_seen(const Linear *l, int64_t batch, int64_t key)
{
    for (int64_t row = 0; row < l->rows; row++)
        if (sees(l, batch, row, key))
            return true;
    return false;
}

/* ---- the definition ---------------------------------------------------------------------------------------------- */

typedef struct Vector { /* features as logarithms, and e to their power counted from the largest */
    double *log, *raised, largest;
} Vector;

static void raise(Vector *x, int64_t count)
{
    x->largest = largest(x->log, count);
    for (int64_t f = 0; f < count; f++)
        x->raised[f] = x->log[f] == -INFINITY ? 0 : exp(x->log[f] - x->largest);
}

/* log(sum_f exp(a_f + b_f)). The product of what was raised is too small only where a and b are large elsewhere. */
static double log_product(Vector a, Vector b, int64_t count)
{
    double sum = dot_of(a.raised, b.raised, count), most = -INFINITY;
    if (sum > 1e-200 || isnan(sum))
        return log(sum) + a.largest + b.largest;
    for (int64_t f = 0; f < count; f++)
        most = a.log[f] + b.log[f] > most ? a.log[f] + b.log[f] : most;
    sum = 0;
    for (int64_t f = 0; f < count && most > -INFINITY; f++)
        sum += exp(a.log[f] + b.log[f] - most);
    return sum > 0 ? log(sum) + most : -INFINITY;
}

static Vector vector_new(const Linear *l)
{
    size_t count = (size_t)l->features;
    return (Vector){arena_array(l->run->work, count, sizeof(double)), arena_array(l->run->work, count, sizeof(double)), 0};
}

static double reference_top(const Linear *l, int64_t batch)
{
    double most = -INFINITY, *of = arena_array(l->run->work, (size_t)l->features, sizeof *of);
    for (int64_t key = 0; key < l->keys; key++) {
        if (!is_seen(l, batch, key))
            continue;
        projected(l, projection_of(l, batch), l->k + (batch * l->keys + key) * l->head, of);
        double here = largest(of, l->features);
        most = here > most || isnan(here) ? here : most;
    }
    return most;
}

/* The weights of a row before they are divided by their sum; the largest exponential is 1. */
static void weigh(const Linear *l, Vector query, const Vector *keys, const bool *seen, double *weights)
{
    double most = -INFINITY;
    for (int64_t key = 0; key < l->keys; key++) {
        if (!seen[key])
            continue;
        weights[key] = l->exponential ? log_product(query, keys[key], l->features)
                                      : dot_of(query.log, keys[key].log, l->features);
        most = weights[key] > most ? weights[key] : most;
    }
    for (int64_t key = 0; key < l->keys && l->exponential; key++)
        if (seen[key])
            weights[key] = weights[key] == -INFINITY ? 0 : exp(weights[key] - most);
}

/* What no row sees is not read: neither numerator nor denominator know of it. */
static void average(const Linear *l, int64_t batch, const bool *seen, const double *weights, double *out)
{
    double sum = 0;
    for (int64_t key = 0; key < l->keys; key++)
        sum += seen[key] ? weights[key] : 0;
    for (int64_t x = 0; x < l->width; x++)
        out[x] = 0;
    for (int64_t key = 0; key < l->keys && sum != 0; key++)
        for (int64_t x = 0; x < l->width && seen[key]; x++)
            out[x] += weights[key] / sum * l->v[(batch * l->keys + key) * l->width + x];
}

static void eval_dense(const Linear *l, double *out)
{
    Arena *work = l->run->work;
    Vector *keys = arena_array(work, (size_t)l->keys, sizeof *keys), query = vector_new(l);
    double *weights = arena_array(work, (size_t)l->keys, sizeof *weights);
    bool *seen = arena_array(work, (size_t)l->keys, sizeof *seen);
    for (int64_t key = 0; key < l->keys; key++)
        keys[key] = vector_new(l);
    for (int64_t batch = 0; batch < l->batches; batch++) {
        double most = l->reference ? reference_top(l, batch) : 0;
        for (int64_t key = 0; key < l->keys; key++) {
            key_features(l, batch, key, most, keys[key].log);
            raise(&keys[key], l->exponential ? l->features : 0);
        }
        for (int64_t row = 0; row < l->rows; row++, out += l->width) {
            for (int64_t key = 0; key < l->keys; key++)
                seen[key] = sees(l, batch, row, key);
            query_features(l, batch, row, query.log);
            raise(&query, l->exponential ? l->features : 0);
            weigh(l, query, keys, seen, weights);
            average(l, batch, seen, weights, out);
        }
    }
}

/* ---- the state form ---------------------------------------------------------------------------------------------- */

typedef struct State { /* numerators [feature][width], denominators [feature], and what exponents are counted from */
    double *above, *below, *top;
} State;

/* Adds a key: an exponential counts from the largest of its feature so far, and a larger one scales the sums down. */
static void absorb(const Linear *l, int64_t batch, int64_t key, State s, double *features)
{
    const double *v = l->v + (batch * l->keys + key) * l->width;
    key_features(l, batch, key, 0, features);
    for (int64_t f = 0; f < l->features; f++) {
        double weight = features[f], *above = s.above + f * l->width;
        if (s.top && weight > s.top[f]) {
            double down = exp(s.top[f] - weight);
            s.below[f] *= down;
            for (int64_t x = 0; x < l->width; x++)
                above[x] *= down;
            s.top[f] = weight;
        }
        if (l->exponential)
            weight = weight == -INFINITY ? 0 : exp(weight - (s.top ? s.top[f] : 0));
        s.below[f] += weight;
        for (int64_t x = 0; x < l->width; x++)
            above[x] += weight * v[x];
    }
}

/* One row from the sums; features that no key has stay out of its largest weight. */
static void answer(const Linear *l, State s, double *features, double *out)
{
    double most = -INFINITY, sum = 0;
    for (int64_t f = 0; f < l->features && l->exponential; f++) {
        features[f] = s.below[f] == 0 ? -INFINITY : features[f] + (s.top ? s.top[f] : 0);
        double here = features[f] + (s.below[f] == 0 ? 0 : log(s.below[f]));
        most = here > most || isnan(here) ? here : most;
    }
    for (int64_t f = 0; f < l->features && l->exponential; f++)
        features[f] = most == -INFINITY ? 0 : exp(features[f] - most);
    for (int64_t x = 0; x < l->width; x++)
        out[x] = 0;
    for (int64_t f = 0; f < l->features; f++) {
        sum += features[f] * s.below[f];
        for (int64_t x = 0; x < l->width; x++)
            out[x] += features[f] * s.above[f * l->width + x];
    }
    for (int64_t x = 0; x < l->width; x++)
        out[x] = sum == 0 ? 0 : out[x] / sum;
}

static void forget(const Linear *l, State s)
{
    memset(s.above, 0, (size_t)(l->features * l->width) * sizeof *s.above);
    memset(s.below, 0, (size_t)l->features * sizeof *s.below);
    for (int64_t f = 0; s.top && f < l->features; f++)
        s.top[f] = -INFINITY;
}

static void eval_state(const Linear *l, double *state, double *out)
{
    int64_t past = size_named(l->run, "past"), size = attend_state(l->n);
    double *features = arena_array(l->run->work, (size_t)l->features, sizeof *features);
    for (int64_t batch = 0; batch < l->batches; batch++) {
        double *here = state + batch * size, *below = here + l->features * l->width;
        State s = {here, below, node_features(l->n, "codes") || !l->exponential ? NULL : below + l->features};
        int64_t taken = 0;
        if (past == 0)
            forget(l, s);
        for (int64_t row = 0; row < l->rows; row++, out += l->width) {
            int64_t end = row / l->inner + 1;
            double prefix = l->prefix ? l->prefix[batch] - (double)past : 0;
            for (; taken < l->keys && (taken < end || (double)taken < prefix); taken++)
                if (is_kept(l, batch, taken))
                    absorb(l, batch, taken, s, features);
            query_features(l, batch, row, features);
            answer(l, s, features, out);
        }
    }
}

/* ---- the node ---------------------------------------------------------------------------------------------------- */

/* The sums of the node's layer, as the call before left them. */
static double *state_of(Run *run, const Node *n)
{
    const Cache *cache = cache_of(run, n);
    const Value *all = &run->bind->caches[cache - run->model->caches];
    int64_t layer = cache_layer(run, n, cache, value_of(run, role_of(n, "layer")));
    return layer < 0 ? NULL : all->data + layer * (all->count / cache->layers);
}

void eval_linear(Run *run, const Node *n)
{
    double *state = attr_name(n, ATTR_cache) ? state_of(run, n) : NULL;
    if (run->failed)
        return;
    Linear l = linear_new(run, n);
    Type rows = rows_type(&l);
    add_axis(&rows, *values_axis(&l));
    Value *own = value_new(run, type_new(run->cx, rows.dtype, rows.rank, rows.axis));
    if (state)
        eval_state(&l, state, own->data);
    else
        eval_dense(&l, own->data);
    run->values[n->id] = spread(run, own, n->type);
}
