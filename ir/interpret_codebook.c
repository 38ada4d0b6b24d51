/* The interpreter's codebook_attend: attention to keys replaced by the nearest row of a codebook.
 *
 * Without a cache the definition itself: a score for each row and key, whatever the mask says. With one, row by row over
 * its state: count and mean value of each code, and the keys of two blocks where those have a bias or are read exactly.
 * Tests hold the two against each other. */
#include "ir/interpret_inside.h"

#include <math.h>
#include <string.h>

typedef struct Spot { /* positions of some axes */
    const char *name[2 * MAX_RANK];
    int64_t at[2 * MAX_RANK];
    int n;
} Spot;

typedef struct Codebook {
    Run *run;
    const Node *node;
    const Value *q, *k, *v, *codebook, *bias, *mask, *keep;
    const char *over, *keys, *queries, *own, *code,
        *distance;                           /* axes: head, keys, positions of rows, the values' own */
    int64_t width, values, codes, distances; /* their sizes */
    int64_t n_keys, n_queries;
    int64_t block; /* 0: no key is recent */
    bool exact;    /* recent keys are themselves */
    double scale;
    Spot batch, row; /* axes with their sizes; `row` without the positions */
    double *scores;
} Codebook;

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static int64_t step_along(const Value *v, const char *axis)
{
    int64_t step = 1;
    for (int i = v->rank - 1; i >= 0; i--) {
        if (v->type->axis[i].name == axis)
            return step;
        step *= v->dims[i];
    }
    return 0;
}

static int64_t size_along(const Value *v, const char *axis)
{
    return v->dims[type_find(v->type, axis)];
}

static int64_t offset_of(const Value *v, const Spot *p)
{
    int64_t offset = 0;
    for (int i = 0; i < p->n; i++)
        offset += p->at[i] * step_along(v, p->name[i]);
    return offset;
}

/* Spot number `index` of those that the axes and sizes of `sizes` give. */
static Spot place_number(const Spot *sizes, int64_t index)
{
    Spot p = *sizes;
    for (int i = p.n - 1; i >= 0; i--) {
        p.at[i] = index % sizes->at[i];
        index /= sizes->at[i];
    }
    return p;
}

static int64_t place_count(const Spot *sizes)
{
    int64_t count = 1;
    for (int i = 0; i < sizes->n; i++)
        count *= sizes->at[i];
    return count;
}

static Spot joined(const Spot *a, const Spot *b)
{
    Spot p = *a;
    for (int i = 0; i < b->n; i++) {
        p.name[p.n] = b->name[i];
        p.at[p.n++] = b->at[i];
    }
    return p;
}

static const Value *role_value(const Run *run, const Node *n, const char *role)
{
    const Node *input = role_of(n, role);
    return input ? value_of(run, input) : NULL;
}

static void codebook_begin(Run *run, const Node *n, Codebook *c)
{
    *c = (Codebook){.run = run,
                    .node = n,
                    .q = value_of(run, n->inputs[0]),
                    .k = value_of(run, n->inputs[1]),
                    .v = value_of(run, n->inputs[2]),
                    .codebook = role_value(run, n, "codebook"),
                    .bias = role_value(run, n, "bias"),
                    .mask = role_value(run, n, "mask"),
                    .keep = role_value(run, n, "keep")};
    const char *recent = attr_name(n, ATTR_recent);
    c->over = node_attr(n, ATTR_over)->names.items[0];
    c->keys = attr_name(n, ATTR_keys);
    c->queries = attr_name(n, ATTR_queries);
    for (int i = 0; i < c->v->rank; i++) {
        const char *name = c->v->type->axis[i].name;
        if (type_find(c->k->type, name) < 0 || name == c->over)
            c->own = name;
    }
    c->code = c->codebook->type->axis[c->codebook->rank - 2].name;
    c->distance = c->bias ? c->bias->type->axis[c->bias->rank - 1].name : NULL;
    c->width = size_along(c->q, c->over);
    c->values = size_along(c->v, c->own);
    c->codes = size_along(c->codebook, c->code);
    c->distances = c->bias ? size_along(c->bias, c->distance) : 0;
    c->n_keys = size_along(c->k, c->keys);
    c->n_queries = size_along(c->q, c->queries);
    c->exact = recent && !strcmp(recent, "keys");
    c->block = attend_recent(n);
    c->scale = attr_float(n, ATTR_scale, 1);
    for (int i = 0; i < c->q->rank; i++) {
        const char *name = c->q->type->axis[i].name;
        Spot *list = type_find(c->k->type, name) >= 0 ? &c->batch : &c->row;
        if (name == c->over || name == c->queries)
            continue;
        list->name[list->n] = name;
        list->at[list->n++] = c->q->dims[i];
    }
}

/* ---- codes and scores ---------------------------------------------------------------------------------------------- */

static double product(const Codebook *c, const double *a, int64_t a_step, const double *b, int64_t b_step)
{
    double sum = 0;
    for (int64_t i = 0; i < c->width; i++)
        sum += a[i * a_step] * b[i * b_step];
    return sum;
}

static double product_with_code(const Codebook *c, const double *x, int64_t step, const double *codes, int64_t code)
{
    return product(c, x, step, codes + code * step_along(c->codebook, c->code), step_along(c->codebook, c->over));
}

/* The nearest code, of equally near ones the first; -1: the key is not a number, and so is what it is replaced by. */
static int64_t nearest(const Codebook *c, const double *key, int64_t step, const double *codes)
{
    int64_t best = -1;
    double least = INFINITY;
    int64_t outer = step_along(c->codebook, c->code), inner = step_along(c->codebook, c->over);
    for (int64_t s = 0; s < c->codes; s++) {
        const double *code = codes + s * outer;
        double far = product(c, code, inner, code, inner) - 2 * product(c, key, step, code, inner);
        if (far < least) {
            least = far;
            best = s;
        }
    }
    return best;
}

/* Scores to weights, and their sum with the values: `value` of number j at values + j * step. Weights that are 0 because
 * the key is masked (a score of -inf) read nothing. */
static void weigh(const Codebook *c, const double *scores, const double *times, int64_t n, const double *values,
                  int64_t step, int64_t inner, double most, double *total, double *out)
{
    for (int64_t j = 0; j < n; j++) {
        if (scores[j] == -INFINITY)
            continue;
        double weight = exp(scores[j] - most) * (times ? times[j] : 1);
        *total += weight;
        for (int64_t w = 0; w < c->values; w++)
            out[w] += weight * values[j * step + w * inner];
    }
}

static double most_of(const double *scores, int64_t n, double most)
{
    for (int64_t j = 0; j < n; j++)
        most = scores[j] > most || isnan(scores[j]) ? scores[j] : most;
    return most;
}

static void finish_row(const Codebook *c, double total, const double *sums, double *out, int64_t step)
{
    for (int64_t w = 0; w < c->values; w++)
        out[w * step] = total == 0 ? 0 : sums[w] / total;
}

/* ---- the definition -------------------------------------------------------------------------------------------------- */

static int64_t block_of(int64_t position, int64_t block)
{
    return position >= 0 ? position / block : -((-position + block - 1) / block);
}

static double near_bias(const Codebook *c, const Spot *row, int64_t distance)
{
    if (!c->bias)
        return 0;
    int64_t most = c->distances - 1, at = distance < 0 ? 0 : distance > most ? most : distance;
    return c->bias->data[offset_of(c->bias, row) + at * step_along(c->bias, c->distance)];
}

/* The scores of one row with all keys. `near`, `bias`: of the keys of its block and the one before. */
static void score_row(Codebook *c, const Spot *row, int64_t position, const double *by_code, const int64_t *code)
{
    const double *query = c->q->data + offset_of(c->q, row), *keys = c->k->data + offset_of(c->k, row);
    bool causal = attr_bool(c->node, ATTR_causal, false);
    for (int64_t j = 0; j < c->n_keys; j++) {
        bool seen = (!causal || j <= position) &&
                    (!c->mask || c->mask->data[offset_of(c->mask, row) + j * step_along(c->mask, c->keys)] != 0) &&
                    (!c->keep || c->keep->data[offset_of(c->keep, row) + j * step_along(c->keep, c->keys)] != 0);
        bool near = c->block && j / c->block >= block_of(position, c->block) - 1;
        double s = code[j] < 0 ? NAN : by_code[code[j]];
        if (near && c->exact)
            s = c->scale * product(c, query, step_along(c->q, c->over), keys + j * step_along(c->k, c->keys),
                                   step_along(c->k, c->over));
        if (near)
            s += near_bias(c, row, position - j);
        c->scores[j] = seen ? s : -INFINITY;
    }
}

static void query_by_code(const Codebook *c, const Spot *row, double *by_code)
{
    const double *codes = c->codebook->data + offset_of(c->codebook, row), *query = c->q->data + offset_of(c->q, row);
    for (int64_t s = 0; s < c->codes; s++)
        by_code[s] = c->scale * product_with_code(c, query, step_along(c->q, c->over), codes, s);
}

static void attend_row(Codebook *c, const Spot *row, int64_t position, const int64_t *code, double *by_code,
                       double *sums, Value *out)
{
    double total = 0;
    query_by_code(c, row, by_code);
    score_row(c, row, position, by_code, code);
    memset(sums, 0, (size_t)c->values * sizeof *sums);
    weigh(c, c->scores, NULL, c->n_keys, c->v->data + offset_of(c->v, row), step_along(c->v, c->keys),
          step_along(c->v, c->own), most_of(c->scores, c->n_keys, -INFINITY), &total, sums);
    finish_row(c, total, sums, out->data + offset_of(out, row), step_along(out, c->own));
}

static void eval_definition(Codebook *c, Value *out)
{
    Arena *work = c->run->work;
    int64_t *code = arena_array(work, (size_t)c->n_keys, sizeof *code);
    double *by_code = arena_array(work, (size_t)c->codes, sizeof *by_code),
           *sums = arena_array(work, (size_t)c->values, sizeof *sums);
    c->scores = arena_array(work, (size_t)c->n_keys, sizeof *c->scores);
    for (int64_t b = 0; b < place_count(&c->batch); b++) {
        Spot batch = place_number(&c->batch, b);
        const double *keys = c->k->data + offset_of(c->k, &batch),
                     *codes = c->codebook->data + offset_of(c->codebook, &batch);
        for (int64_t j = 0; j < c->n_keys; j++)
            code[j] = nearest(c, keys + j * step_along(c->k, c->keys), step_along(c->k, c->over), codes);
        for (int64_t r = 0; r < place_count(&c->row); r++) {
            Spot other = place_number(&c->row, r), row = joined(&batch, &other);
            int at = row.n++;
            row.name[at] = c->queries;
            for (row.at[at] = 0; row.at[at] < c->n_queries; row.at[at]++)
                attend_row(c, &row, c->n_keys - c->n_queries + row.at[at], code, by_code, sums, out);
        }
    }
}

/* ---- the state ------------------------------------------------------------------------------------------------------- */

typedef struct State {            /* of one batch entry and key head, in this order */
    double *count, *mean;         /* [codes], [codes][values] */
    double *code, *keys, *values; /* [slots], [width][slots], [slots][values]; slots = 2 * block */
    int64_t slots;
} State;

static State state_at(const Codebook *c, double *at)
{
    State s = {.count = at, .mean = at + c->codes, .slots = 2 * c->block};
    s.code = s.mean + c->codes * c->values;
    s.keys = s.code + s.slots;
    s.values = s.keys + (c->exact ? c->width * s.slots : 0);
    return s;
}

static void take_in(const Codebook *c, const State *s, int64_t code, const double *value, int64_t step)
{
    double count = s->count[code] += 1;
    for (int64_t w = 0; w < c->values; w++)
        s->mean[code * c->values + w] += (value[w * step] - s->mean[code * c->values + w]) / count;
}

/* The block before the one before the position's own is complete and no longer recent. */
static void retire_block(const Codebook *c, const State *s, int64_t position)
{
    int64_t old = position / c->block - 2;
    for (int64_t j = old * c->block; old >= 0 && j < (old + 1) * c->block; j++)
        if (s->code[j % s->slots] >= 0)
            take_in(c, s, (int64_t)s->code[j % s->slots], s->values + j % s->slots * c->values, 1);
}

/* A key that is not a number counts as the first code, with a value that is none. */
static void take_key(const Codebook *c, const State *s, const Spot *row, int64_t position)
{
    const double *key = c->k->data + offset_of(c->k, row), *value = c->v->data + offset_of(c->v, row);
    int64_t step = step_along(c->k, c->over), inner = step_along(c->v, c->own), slot;
    bool kept = !c->keep || c->keep->data[offset_of(c->keep, row)] != 0;
    int64_t code = kept ? nearest(c, key, step, c->codebook->data + offset_of(c->codebook, row)) : 0;
    double *nothing = arena_array(c->run->work, (size_t)c->values, sizeof *nothing);
    if (code < 0) {
        for (int64_t w = 0; w < c->values; w++)
            nothing[w] = NAN;
        value = nothing;
        inner = 1;
        code = 0;
    }
    if (!c->block) {
        if (kept)
            take_in(c, s, code, value, inner);
        return;
    }
    if (position % c->block == 0)
        retire_block(c, s, position);
    slot = position % s->slots;
    s->code[slot] = kept ? (double)code : -1;
    for (int64_t w = 0; w < c->values; w++)
        s->values[slot * c->values + w] = kept ? value[w * inner] : 0;
    for (int64_t i = 0; c->exact && i < c->width; i++)
        s->keys[i * s->slots + slot] = kept ? key[i * step] : 0;
}

/* Scores of the codes that occur, and behind them of the keys in the two blocks: slots first .. first + n. */
static void score_state(Codebook *c, const State *s, const Spot *row, int64_t position, int64_t first, int64_t n)
{
    const double *query = c->q->data + offset_of(c->q, row);
    double *near = c->scores + c->codes, *by_code = near + s->slots;
    query_by_code(c, row, by_code);
    for (int64_t i = 0; i < c->codes; i++)
        c->scores[i] = s->count[i] > 0 ? by_code[i] : -INFINITY;
    for (int64_t j = 0; j < n; j++) {
        int64_t slot = (first + j) % s->slots;
        if (s->code[slot] < 0) {
            near[j] = -INFINITY;
            continue;
        }
        near[j] = c->exact ? c->scale * product(c, query, step_along(c->q, c->over), s->keys + slot, s->slots)
                           : by_code[(int64_t)s->code[slot]];
        near[j] += near_bias(c, row, position - (first + j));
    }
}

static void row_of_state(Codebook *c, const State *s, const Spot *row, int64_t position, double *sums, Value *out)
{
    int64_t first = c->block ? (position / c->block - 1) * c->block : 0, n;
    first = first < 0 ? 0 : first;
    n = c->block ? position + 1 - first : 0;
    score_state(c, s, row, position, first, n);
    double most = most_of(c->scores + c->codes, n, most_of(c->scores, c->codes, -INFINITY)), total = 0;
    memset(sums, 0, (size_t)c->values * sizeof *sums);
    weigh(c, c->scores, s->count, c->codes, s->mean, c->values, 1, most, &total, sums);
    for (int64_t j = 0; j < n; j++)
        weigh(c, c->scores + c->codes + j, NULL, 1, s->values + (first + j) % s->slots * c->values, c->values, 1, most,
              &total, sums);
    finish_row(c, total, sums, out->data + offset_of(out, row), step_along(out, c->own));
}

/* The new keys of one batch entry and the rows at their positions. */
static void eval_positions(Codebook *c, const Spot *batch, const State *s, int64_t past, double *sums, Value *out)
{
    for (int64_t t = 0; t < c->n_queries; t++) {
        Spot key = *batch;
        key.name[key.n] = c->keys;
        key.at[key.n++] = t;
        take_key(c, s, &key, past + t);
        for (int64_t r = 0; r < place_count(&c->row); r++) {
            Spot other = place_number(&c->row, r), row = joined(batch, &other);
            row.name[row.n] = c->queries;
            row.at[row.n++] = t;
            row_of_state(c, s, &row, past + t, sums, out);
        }
    }
}

static void eval_cached(Codebook *c, Value *out)
{
    Run *run = c->run;
    const Cache *cache = cache_of(run, c->node);
    const Value *all = &run->bind->caches[cache - run->model->caches];
    int64_t layer = cache_layer(run, c->node, cache, role_value(run, c->node, "layer")), past = size_named(run, "past"),
            size = all->dims[all->rank - 1], each = all->count / cache->layers;
    double *sums = arena_array(run->work, (size_t)c->values, sizeof *sums);
    c->scores = arena_array(run->work, (size_t)(2 * (c->codes + c->block)), sizeof *c->scores);
    if (layer < 0)
        return;
    for (int64_t b = 0; b < place_count(&c->batch); b++) {
        Spot batch = place_number(&c->batch, b);
        int64_t at = 0, step = size;
        for (int i = cache->type->rank - 2; i >= 0; i--) { /* the state's axes are batch axes, in an order of its own */
            for (int j = 0; j < batch.n; j++)
                if (batch.name[j] == cache->type->axis[i].name)
                    at += batch.at[j] * step;
            step *= all->dims[i + 1];
        }
        State s = state_at(c, all->data + layer * each + at);
        if (past == 0)
            memset(s.count, 0, (size_t)(c->codes * (c->values + 1)) * sizeof *s.count);
        eval_positions(c, &batch, &s, past, sums, out);
    }
}

void eval_codebook(Run *run, const Node *n)
{
    Codebook c;
    Value *out = value_new(run, n->type);
    codebook_begin(run, n, &c);
    run->values[n->id] = out;
    if (attr_name(n, ATTR_cache))
        eval_cached(&c, out);
    else
        eval_definition(&c, out);
}
