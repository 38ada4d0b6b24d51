/* What the passes linearize-performer and linearize-vq read beside the model's own weights: tensors made from the constants of each head. */
#include <string.h>

#include "driver/linearize_make.h"

typedef struct Maker {
    Compilation *c;
    int number; /* of the site */
    const LinearizeSite *site;
    const LinearizeSpec *specs;
    const LinearizeConstants *constants; /* [specs][rounds * heads] */
    LinearizeTensors *out;
} Maker;

/* [heads, rows, cols] of one round of a site, filled with `fill`; one row of zeros or ones where a head has none. */
static float *made_tensor(Maker *m, int spec, int64_t round, const char *part, int64_t rows, int64_t cols)
{
    Compilation *c = m->c;
    const LinearizeSite *s = m->site;
    const char *key = linearize_key(&c->arena, m->number, spec, part, s->repeated);
    MadeTensor t = {.name = model_key(&c->cx, &c->model, key, s->repeated ? round : -1), .origin = linearize_pass(m->specs[spec].kind)};
    t.dims[t.rank++] = s->heads;
    if (rows)
        t.dims[t.rank++] = rows;
    t.dims[t.rank++] = cols;
    float *data = arena_array(&c->arena, (size_t)(s->heads * (rows ? rows : 1) * cols) + 1, sizeof *data);
    t.data = data;
    m->out->items = arena_room(&c->arena, m->out->items, m->out->count, &m->out->capacity, sizeof t);
    m->out->items[m->out->count++] = t;
    return data;
}

static void put_vector(float *out, int64_t head, int64_t width, const double *from, double otherwise, double factor, const double *times)
{
    for (int64_t i = 0; i < width; i++)
        out[head * width + i] = (float)((from ? from[i] * factor : otherwise) * (times ? times[i] : 1));
}

static void put_inverse(float *out, int64_t head, int64_t width, const double *from)
{
    for (int64_t i = 0; i < width; i++)
        out[head * width + i] = (float)(from ? 1 / from[i] : 1);
}

static void put_matrix(float *out, int64_t head, Matrix m)
{
    for (int64_t i = 0; i < m.rows * m.cols; i++)
        out[head * m.rows * m.cols + i] = (float)m.at[i];
}

static const LinearizeConstants *constants_at(const Maker *m, int spec, int64_t round, int64_t head)
{
    return &m->constants[((int64_t)spec * m->site->rounds + round) * m->site->heads + head];
}

static void make_round(Maker *m, int spec, int64_t round, const LinearizeParts *p)
{
    const LinearizeSite *s = m->site;
    int64_t w = s->width, size = m->specs[spec].size;
    bool vq = m->specs[spec].kind == LINEARIZE_VQ;
    float *rows = made_tensor(m, spec, round, vq ? "codebook" : "projection", size, w);
    float *query_mean = p->query_mean ? made_tensor(m, spec, round, "query_mean", 0, w) : NULL;
    float *offset = p->query_mean ? made_tensor(m, spec, round, "offset", 0, w) : NULL;
    float *key_mean = p->key_mean ? made_tensor(m, spec, round, "key_mean", 0, w) : NULL;
    float *query_scale = p->rescale ? made_tensor(m, spec, round, "query_scale", 0, w) : NULL;
    float *key_scale = p->rescale ? made_tensor(m, spec, round, "key_scale", 0, w) : NULL;
    float *query_metric = p->metric ? made_tensor(m, spec, round, "query_metric", w, w) : NULL;
    float *key_metric = p->metric ? made_tensor(m, spec, round, "key_metric", w, w) : NULL;
    for (int64_t h = 0; h < s->heads; h++) {
        const LinearizeConstants *k = constants_at(m, spec, round, h);
        const Reduction *r = &k->reduction;
        if (!k->rows.at)
            continue;
        put_matrix(rows, h, k->rows);
        if (query_mean) {
            put_vector(query_mean, h, w, r->query_mean, 0, 1, NULL);
            put_vector(offset, h, w, r->query_mean, 0, s->scale, r->rescale);
        }
        if (key_mean)
            put_vector(key_mean, h, w, r->key_mean, 0, 1, NULL);
        if (query_scale) {
            put_vector(query_scale, h, w, r->rescale, 1, 1, NULL);
            put_inverse(key_scale, h, w, r->rescale);
        }
        if (query_metric) {
            put_matrix(query_metric, h, k->from_metric);
            put_matrix(key_metric, h, k->to_metric);
        }
    }
}

/* What any of the heads needs, all of them get: one kernel computes them. */
const LinearizeParts *linearize_make(Compilation *c, int number, const LinearizeSite *site, const LinearizeSpec *specs, int n_specs,
                                     const LinearizeConstants *constants, LinearizeTensors *out)
{
    Maker m = {c, number, site, specs, constants, out};
    LinearizeParts *parts = arena_array(&c->arena, (size_t)n_specs + 1, sizeof *parts);
    for (int spec = 0; spec < n_specs; spec++) {
        LinearizeParts *p = &parts[spec];
        bool any = false;
        for (int64_t i = 0; i < site->rounds * site->heads; i++) {
            const LinearizeConstants *k = constants_at(&m, spec, i / site->heads, i % site->heads);
            if (!k->rows.at)
                continue;
            any = true;
            p->query_mean |= k->reduction.query_mean != NULL;
            p->key_mean |= k->reduction.key_mean != NULL;
            p->rescale |= k->reduction.rescale != NULL;
            p->metric |= k->to_metric.at != NULL;
        }
        p->block = specs[spec].kind == LINEARIZE_VQ && site->causal && specs[spec].block > 0;
        for (int64_t r = 0; any && r < site->rounds; r++)
            make_round(&m, spec, r, p);
    }
    return parts;
}

bool linearize_hand_over(Compilation *c, const LinearizeTensors *made)
{
    if (!made->count)
        return true;
    Checkpoint *with = checkpoint_with(&c->cx, c->checkpoint, made->items, (int64_t)made->count);
    if (with)
        c->checkpoint = with;
    return with != NULL;
}
