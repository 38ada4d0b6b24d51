/* Calibration. The pass linearize-performer, in its capturing mode, keeps copies of queries, keys, values and masks of each
 * attention that could be linearized; a session whose tap collects them runs the inputs of the file. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "driver/aside.h"
#include "driver/calibrate.h"
#include "ir/interpret.h"
#include "support/holes.h"

static const uint64_t MOST_BYTES = (uint64_t)1 << 30; /* of what is kept: then no further rows are run */

static void calibration_begin(Calibration *k, Compilation *c)
{
    *k = (Calibration){.c = c, .plan = {.capture = true}};
    k->arena.on_oom = c->arena.on_oom;
    k->arena.oom_state = c->arena.oom_state;
}

/* ---- what the taps bring ----------------------------------------------------------------------------------------- */

static void collect(Calibration *k, int site, int which, const Node *n, int64_t round, const int64_t *sizes, const void *data)
{
    const LinearizeSite *s = &k->plan.sites[site];
    if (round >= s->rounds)
        return;
    Kept *kept = &k->kept[which][site][(k->calls - 1) * s->rounds + round];
    int64_t count = 1;
    for (int i = 0; i < n->type->rank; i++) {
        kept->dims[i] = extent_value(n->type->axis[i].size, k->c->kernels, sizes);
        count *= kept->dims[i];
    }
    kept->data = arena_array(&k->arena, (size_t)count + 1, sizeof *kept->data);
    memcpy(kept->data, data, (size_t)count * sizeof *kept->data);
    k->bytes += (uint64_t)count * sizeof *kept->data;
}

static void value(void *state, const Node *kernel, int64_t round, const int64_t *sizes, const void *data)
{
    Calibration *k = state;
    for (int i = 0; i < k->plan.n_sites; i++)
        for (int j = 0; j < 4; j++)
            if (kernel == k->plan.sites[i].kept[j])
                collect(k, i, j, kernel, round, sizes, data);
}

static void next_call(void *state)
{
    Calibration *k = state;
    int old = k->capacity;
    if (k->calls == k->capacity)
        k->capacity = old ? 2 * old : 8;
    for (int j = 0; j < 4 && old != k->capacity; j++) {
        if (!k->kept[j])
            k->kept[j] = arena_array(&k->arena, (size_t)k->plan.n_sites + 1, sizeof *k->kept[j]);
        for (int i = 0; i < k->plan.n_sites; i++) {
            size_t rounds = (size_t)k->plan.sites[i].rounds;
            k->kept[j][i] = arena_grow(&k->arena, k->kept[j][i], (size_t)old * rounds, (size_t)k->capacity * rounds, sizeof **k->kept[j]);
        }
    }
    k->calls++;
}

static bool enough(void *state)
{
    const Calibration *k = state;
    return k->bytes >= MOST_BYTES;
}

static AsideRun capturing(Calibration *k)
{
    return (AsideRun){.passes = {.linearize = &k->plan}, .captures = PASS_ID_linearize_performer, .next_call = next_call, .value = value, .enough = enough, .state = k};
}

bool calibration_sites(Compilation *c, const CompileOptions *o, Calibration *out)
{
    calibration_begin(out, c);
    AsideRun run = capturing(out);
    return aside_look(c, o, &run);
}

bool calibration_run(Compilation *c, const CompileOptions *o, Calibration *out)
{
    calibration_begin(out, c);
    AsideRun run = capturing(out);
    bool good = aside_run(c, o, &run);
    out->rows = run.rows;
    out->of_rows = run.of_rows;
    out->measured_on = run.measured_on;
    if (!good)
        calibration_free(out);
    return good;
}

void calibration_free(Calibration *k)
{
    arena_free(&k->arena);
}

/* ---- heads ------------------------------------------------------------------------------------------------------- */

typedef struct Walk { /* along the axes of a kept tensor */
    int rank;
    int64_t dims[MAX_RANK], step[MAX_RANK];
    const char *name[MAX_RANK];
    const float *data;
} Walk;

static Walk walk_of(const Node *n, const Kept *kept)
{
    Walk w = {.rank = n->type->rank, .data = kept->data};
    int64_t step = 1;
    for (int i = w.rank - 1; i >= 0; i--) {
        w.dims[i] = kept->dims[i];
        w.step[i] = step;
        w.name[i] = n->type->axis[i].name;
        step *= w.dims[i];
    }
    return w;
}

static int axis_at(const Walk *w, const char *name)
{
    for (int i = 0; i < w->rank; i++)
        if (w->name[i] == name)
            return i;
    return -1;
}

static int64_t dim_of(const Walk *w, const char *name)
{
    int i = axis_at(w, name);
    return i < 0 ? 1 : w->dims[i];
}

static int64_t step_of(const Walk *w, const char *name)
{
    int i = name ? axis_at(w, name) : -1;
    return i < 0 ? 0 : w->step[i];
}

typedef struct Spot { /* of one head: where along every axis that is neither rows, keys nor width */
    int n;
    const char *axis[MAX_RANK];
    int64_t size[MAX_RANK], at[MAX_RANK];
} Spot;

static const float *start_of(const Walk *w, const Spot *p)
{
    const float *data = w->data;
    for (int i = 0; i < p->n; i++)
        data += p->at[i] * step_of(w, p->axis[i]);
    return data;
}

static double *matrix_of(Arena *a, const Walk *w, const Spot *p, const char *rows, const char *columns)
{
    int64_t n = dim_of(w, rows), m = dim_of(w, columns), row = step_of(w, rows), column = step_of(w, columns);
    const float *from = start_of(w, p);
    double *out = arena_array(a, (size_t)(n * m) + 1, sizeof *out);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            out[i * m + j] = (double)from[i * row + j * column];
    return out;
}

static uint8_t *sees_of(Arena *a, const Walk *w, const Spot *p, const LinearizeSite *s, int64_t queries, int64_t keys)
{
    int64_t row = step_of(w, s->queries), column = step_of(w, s->keys);
    const float *from = start_of(w, p);
    uint8_t *out = arena_array(a, (size_t)(queries * keys) + 1, sizeof *out);
    for (int64_t i = 0; i < queries; i++)
        for (int64_t j = 0; j < keys; j++)
            out[i * keys + j] = from[i * row + j * column] != 0;
    return out;
}

static const char *values_axis(const LinearizeSite *s)
{
    const Type *v = s->kept[2]->type, *k = s->kept[1]->type;
    for (int i = 0; i < v->rank; i++)
        if (v->axis[i].name != s->keys && (type_find(k, v->axis[i].name) < 0 || v->axis[i].name == s->over))
            return v->axis[i].name;
    return NULL;
}

static Spot spot_of(const Walk *q, const LinearizeSite *s, int64_t head)
{
    Spot p = {0};
    for (int i = 0; i < q->rank; i++) {
        if (q->name[i] == s->queries || q->name[i] == s->over)
            continue;
        bool heads = q->name[i] == s->head_axis;
        p.axis[p.n] = q->name[i];
        p.size[p.n] = heads ? head + 1 : q->dims[i];
        p.at[p.n++] = heads ? head : 0;
    }
    return p;
}

static bool next_spot(Spot *p, const char *head_axis)
{
    for (int i = p->n - 1; i >= 0; i--) {
        if (p->axis[i] == head_axis)
            continue;
        if (++p->at[i] < p->size[i])
            return true;
        p->at[i] = 0;
    }
    return false;
}

static int64_t heads_in_call(const Walk *q, const LinearizeSite *s)
{
    int64_t n = 1;
    for (int i = 0; i < q->rank; i++)
        if (q->name[i] != s->queries && q->name[i] != s->over && q->name[i] != s->head_axis)
            n *= q->dims[i];
    return n;
}

int calibration_heads(const Calibration *k, Arena *a, int site, int64_t round, int64_t head, Head **out)
{
    const LinearizeSite *s = &k->plan.sites[site];
    int64_t total = 0;
    int n = 0;
    for (int call = 0; call < k->calls; call++) {
        const Kept *kept = &k->kept[0][site][call * s->rounds + round];
        if (kept->data) {
            Walk q = walk_of(s->kept[0], kept);
            total += heads_in_call(&q, s);
        }
    }
    Head *list = arena_array(a, (size_t)total + 1, sizeof *list);
    for (int call = 0; call < k->calls; call++) {
        Walk w[4];
        bool there = true, masked = s->kept[3] != NULL;
        for (int j = 0; j < 3 + masked; j++) {
            const Kept *kept = &k->kept[j][site][call * s->rounds + round];
            there = there && kept->data;
            w[j] = walk_of(s->kept[j], kept);
        }
        Spot p = spot_of(&w[0], s, head);
        bool more = there && heads_in_call(&w[0], s) > 0;
        for (; more; more = next_spot(&p, s->head_axis)) {
            Head *h = &list[n++];
            *h = (Head){.queries = dim_of(&w[0], s->queries), .keys = dim_of(&w[1], s->keys), .width = s->width, .values = s->values, .scale = s->scale};
            h->q = matrix_of(a, &w[0], &p, s->queries, s->over);
            h->k = matrix_of(a, &w[1], &p, s->keys, s->over);
            h->v = matrix_of(a, &w[2], &p, s->keys, values_axis(s));
            if (masked)
                h->sees = sees_of(a, &w[3], &p, s, h->queries, h->keys);
        }
    }
    *out = list;
    return n;
}

const char *calibration_where(Arena *a, const LinearizeSite *site, int64_t round)
{
    const char *path = hole_fill(a, site->where, round, -1);
    return site->repeated && path == site->where ? arena_print(a, "%s, round %lld", path, (long long)round) : path;
}
