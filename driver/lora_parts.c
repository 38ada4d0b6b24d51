/* The numbers of adapters that stand beside their weights: factors of all adapters side by side, as made tensors. */
#include <math.h>
#include <string.h>

#include "driver/lora_inside.h"
#include "support/checked.h"
#include "support/holes.h"

/* ---- which sites ------------------------------------------------------------------------------------------------- */

static bool fits_use(const AdapterSite *s, const char *key, bool lookup, bool tied)
{
    if (s->tied)
        return tied && !lookup;
    return !strcmp(s->key, key) && s->table == lookup;
}

static AdapterSite *find_site(const Adapter *a, const char *key, bool lookup, bool tied, int *at)
{
    for (*at = 0; *at < a->n_sites && a->weight != 0; ++*at)
        if (fits_use(&a->sites[*at], key, lookup, tied))
            return &a->sites[*at];
    return NULL;
}

/* Columns of A for each adapter. */
static void set_columns(Beside *b, Parts *p)
{
    p->first = arena_array(b->cx->arena, (size_t)b->n + 1, sizeof *p->first);
    int64_t *most = arena_array(b->cx->arena, (size_t)b->n + 1, sizeof *most);
    for (int k = 0; k < b->n; k++) {
        for (int64_t i = 0; i < p->rounds; i++) {
            const AdapterSite *s = p->sites[k * p->rounds + i];
            most[k] = s && s->rank > most[k] ? s->rank : most[k];
        }
        p->rank = most[k] > p->rank ? most[k] : p->rank;
    }
    for (int k = 0; k < b->n; k++) {
        p->first[k] = b->slots ? k * p->rank : p->columns;
        p->columns += most[k];
    }
    if (b->slots)
        p->columns = b->n * p->rank;
    p->chosen = b->slots && !p->table && b->n >= CHOOSE_FROM;
}

/* "model.layers.{i}.self_attn.q_proj.beside_A": in the emitted C the last words are the name. */
static const char *part_key(Beside *b, const Parts *p, const char *part)
{
    size_t length = strlen(p->key), end = strlen(".weight");
    length -= length > end && !strcmp(p->key + length - end, ".weight") ? end : 0;
    return name_of(b->cx->names, arena_print(b->cx->arena, "%.*s.%s_%s", (int)length, p->key, p->table ? "rows" : "beside", part));
}

Parts *parts_of(Beside *b, const char *key, int64_t rounds, bool lookup, bool tied)
{
    for (size_t i = 0; i < b->n_parts; i++)
        if (!strcmp(b->parts[i]->key, key) && b->parts[i]->table == lookup)
            return b->parts[i];
    Parts *p = arena_alloc(b->cx->arena, sizeof *p);
    *p = (Parts){.key = key, .rounds = rounds, .table = lookup};
    p->sites = arena_array(b->cx->arena, (size_t)(b->n * rounds) + 1, sizeof *p->sites);
    const AdapterSite *any = NULL;
    for (int k = 0; k < b->n; k++)
        for (int64_t i = 0; i < rounds; i++) {
            int at;
            const char *own = hole_fill(b->cx->arena, key, i, -1);
            AdapterSite *s = find_site(b->adapters[k], own, lookup, tied, &at);
            for (int j = 0; j < b->adapters[k]->n_sites; j++)
                b->read[k][j] |= !strcmp(b->adapters[k]->sites[j].key, own);
            if (!s)
                continue;
            b->applied[k][at] = true;
            p->sites[k * rounds + i] = any = s;
            p->gains |= s->magnitude != NULL;
            p->biases |= s->bias != NULL;
        }
    if (!any)
        return NULL;
    p->in = any->in;
    p->out = any->out;
    p->turned = any->turned;
    set_columns(b, p);
    p->a = part_key(b, p, "A");
    p->b = part_key(b, p, "B");
    p->f = part_key(b, p, "gain");
    p->bias = part_key(b, p, "bias");
    b->parts = arena_room(b->cx->arena, b->parts, b->n_parts, &b->capacity, sizeof *b->parts);
    b->parts[b->n_parts++] = p;
    return p;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* A made tensor of one round, all zeros; the dimensions that are 0 are left out. */
static float *add_tensor(Beside *b, const Adapter *origin, const char *key, int64_t round, int64_t d0, int64_t d1, int64_t d2)
{
    const int64_t dims[] = {d0, d1, d2};
    MadeTensor t = {.origin = origin->path};
    int64_t count = 1;
    t.name = model_key(b->cx, &b->c->model, key, round);
    for (int i = 0; i < 3; i++)
        if (dims[i]) {
            t.dims[t.rank++] = dims[i];
            if (!checked_imul(count, dims[i], &count))
                return NULL;
        }
    float *data = arena_array(b->cx->arena, (size_t)count, sizeof *data);
    t.data = data;
    b->made = arena_room(b->cx->arena, b->made, b->n_made, &b->made_capacity, sizeof *b->made);
    b->made[b->n_made++] = t;
    return data;
}

/* w * (gain - 1) of each output, and the gains; NULL: 1. */
static bool read_gains(Beside *b, const Parts *p, const AdapterSite *s, int64_t round, double **gain)
{
    *gain = NULL;
    if (!s || !s->magnitude)
        return true;
    AdapterSite here = *s;
    here.key = hole_fill(b->cx->arena, p->key, round, -1); /* a tied head has none of its own */
    *gain = arena_array(b->cx->arena, (size_t)s->out, sizeof **gain);
    return adapter_gains(b->cx, b->c->checkpoint, &here, *gain);
}

/* f[slot][o] (one row without slots): what a product with W alone is multiplied with. */
static void add_factor(Beside *b, const Parts *p, int k, const double *gain, double *f)
{
    double *row = f + (b->slots ? (k + 1) * p->out : 0);
    for (int64_t o = 0; gain && o < p->out; o++)
        row[o] += b->adapters[k]->weight * (gain[o] - 1);
}

static const double *factor_of(const Beside *b, const Parts *p, int k, const double *f)
{
    return f + (b->slots ? (k + 1) * p->out : 0);
}

static void fill_a(const Parts *p, int k, const AdapterSite *s, float *a)
{
    for (int64_t r = 0; r < s->rank; r++)
        for (int64_t i = 0; i < p->in; i++) {
            int64_t column = p->first[k] + r + (p->chosen ? p->rank : 0);
            a[p->table ? i * p->columns + column : column * p->in + i] = (float)s->a[r * p->in + i];
        }
}

static void fill_b(const Beside *b, const Parts *p, int k, const AdapterSite *s, const double *gain, const double *f, float *out)
{
    for (int64_t o = 0; o < p->out; o++) {
        double factor = b->adapters[k]->weight * s->scale * (gain ? gain[o] : 1) / (p->before ? f[o] : 1);
        for (int64_t r = 0; r < s->rank; r++)
            out[p->chosen ? (p->first[k] + p->rank + r) * p->out + o : o * p->columns + p->first[k] + r] = (float)(factor * s->b[o * s->rank + r]);
    }
}

typedef struct Round { /* what a round needs before it is known whether any f is near zero */
    double **gain;     /* [adapter] */
    double *f;         /* [n + 1 or 1][out] */
} Round;

static bool read_round(Beside *b, Parts *p, int64_t i, Round *r)
{
    int64_t rows = b->slots ? b->n + 1 : 1;
    r->gain = arena_array(b->cx->arena, (size_t)b->n + 1, sizeof *r->gain);
    r->f = arena_array(b->cx->arena, (size_t)(rows * p->out), sizeof *r->f);
    for (int64_t o = 0; o < rows * p->out; o++)
        r->f[o] = 1;
    for (int k = 0; k < b->n; k++) {
        if (!read_gains(b, p, p->sites[k * p->rounds + i], i, &r->gain[k]))
            return false;
        add_factor(b, p, k, r->gain[k], r->f);
    }
    for (int64_t o = 0; o < rows * p->out; o++)
        p->before &= fabs(r->f[o]) > 1e-6;
    return true;
}

static bool too_large(Beside *b, const Parts *p)
{
    diag_file_error(b->cx->diags, "E0690", b->adapters[0]->path, p->key, "the factors beside it have more elements than can be counted");
    return false;
}

static bool make_round(Beside *b, Parts *p, int64_t i, const Round *round)
{
    const Adapter *origin = b->adapters[0];
    int64_t slots = b->slots ? b->n : 0, rank = b->slots ? p->rank : p->columns, rows = b->slots ? b->n + 1 : 0;
    float *a = p->table    ? add_tensor(b, origin, p->a, i, p->in, slots, rank)
               : p->chosen ? add_tensor(b, origin, p->a, i, rows, rank, p->in)
               : b->slots  ? add_tensor(b, origin, p->a, i, slots, rank, p->in)
                           : add_tensor(b, origin, p->a, i, rank, p->in, 0);
    float *out = p->chosen ? add_tensor(b, origin, p->b, i, rows, rank, p->out) : add_tensor(b, origin, p->b, i, p->out, slots, rank);
    float *f = p->gains ? add_tensor(b, origin, p->f, i, rows, p->out, 0) : NULL;
    float *bias = p->biases ? add_tensor(b, origin, p->bias, i, rows, p->out, 0) : NULL;
    if (!a || !out || (p->gains && !f) || (p->biases && !bias))
        return too_large(b, p);
    for (int k = 0; k < b->n; k++) {
        const AdapterSite *s = p->sites[k * p->rounds + i];
        if (!s)
            continue;
        fill_a(p, k, s, a);
        fill_b(b, p, k, s, round->gain[k], factor_of(b, p, k, round->f), out);
        for (int64_t o = 0; s->bias && o < p->out; o++)
            bias[(b->slots ? (k + 1) * p->out : 0) + o] += (float)(b->adapters[k]->weight * s->scale * s->bias[o]);
    }
    for (int64_t o = 0; f && o < (rows ? rows : 1) * p->out; o++)
        f[o] = (float)round->f[o];
    return true;
}

bool parts_make(Beside *b, Parts *p)
{
    int64_t elements;
    if (!checked_imul(p->columns, p->in > p->out ? p->in : p->out, &elements) || !checked_imul(elements, b->n + 1, &elements))
        return too_large(b, p);
    Round *rounds = arena_array(b->cx->arena, (size_t)p->rounds, sizeof *rounds);
    p->before = true;
    for (int64_t i = 0; i < p->rounds; i++)
        if (!read_round(b, p, i, &rounds[i]))
            return false;
    for (int64_t i = 0; i < p->rounds; i++)
        if (!make_round(b, p, hole_of_round(p->key) ? i : 0, &rounds[i]))
            return false;
    return true;
}

const char *parts_mask(Beside *b, int64_t rank)
{
    const char *key = name_of(b->cx->names, arena_print(b->cx->arena, "adapters.rank_%lld", (long long)rank));
    float *mask = add_tensor(b, b->adapters[0], key, -1, b->n + 1, b->n, rank);
    for (int64_t k = 0; mask && k < b->n; k++)
        for (int64_t r = 0; r < rank; r++)
            mask[((k + 1) * b->n + k) * rank + r] = 1;
    return key;
}
