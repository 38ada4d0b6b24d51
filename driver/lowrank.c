/* Factors of low rank: singular value decompositions of the weights that a request names, and what their ranks leave out. */
#include <math.h>
#include <string.h>

#include "approx/matrix.h"
#include "driver/lowrank.h"
#include "runtime/file.h"
#include "support/holes.h"
#include "support/lowrank.h"

enum { MOST_SPECS = 64 };

typedef struct Decomposed { /* one layer's weight */
    Matrix w;
    Svd svd;
    double norm;
} Decomposed;

typedef struct Factoring {
    Compilation *c;
    LowrankSpec specs[MOST_SPECS];
    int n_specs;
    MadeTensor *made;
    size_t n_made, room;
} Factoring;

/* ---- the weight as a matrix [in, out] ------------------------------------------------------------------------------------ */

static int64_t step_of(const Node *w, int axis)
{
    const Attr *strides = node_attr(w, ATTR_strides);
    if (strides)
        return strides->ints.items[axis];
    int64_t step = 1;
    for (int i = axis + 1; i < w->type->rank; i++)
        step *= w->type->axis[i].size.base;
    return step;
}

/* Where element number `at` (row-major over these axes) lies in the stored tensor. */
static int64_t offset_of(const Node *w, const int *axes, int n, int64_t at)
{
    int64_t offset = 0;
    for (int i = n - 1; i >= 0; i--) {
        int64_t size = w->type->axis[axes[i]].size.base;
        offset += at % size * step_of(w, axes[i]);
        at /= size;
    }
    return offset;
}

static bool read_matrix(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Matrix *out)
{
    Context *cx = &f->c->cx;
    const Node *w = s->weight;
    const char *key = model_key(cx, &f->c->model, s->key, round);
    const HostTensor *t = checkpoint_find(f->c->checkpoint, key);
    int64_t count = t ? host_count(t) : 0, start = node_attr(w, ATTR_start) ? node_attr(w, ATTR_start)->extent.base : 0;
    double *all = arena_array(a, (size_t)count + 1, sizeof *all);
    if (!t || !checkpoint_read_f64(cx, f->c->checkpoint, key, 0, count, all)) {
        if (!t)
            diag_file_error(cx->diags, "E0490", checkpoint_path(f->c->checkpoint), NULL, "`%s` is not there", file_shown(cx, key));
        return false;
    }
    *out = matrix_new(a, s->in, s->out);
    for (int64_t i = 0; i < s->in; i++)
        for (int64_t o = 0; o < s->out; o++)
            out->at[i * s->out + o] = all[start + offset_of(w, s->in_axis, s->n_in, i) + offset_of(w, s->out_axis, s->n_out, o)];
    return true;
}

static bool decompose(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Decomposed *out)
{
    if (!read_matrix(f, s, round, a, &out->w))
        return false;
    out->norm = matrix_norm(out->w);
    MatrixStatus status = matrix_svd(a, out->w, &out->svd);
    if (status == MATRIX_OK)
        return true;
    const char *key = model_key(&f->c->cx, &f->c->model, s->key, round);
    diag_file_error(&f->c->diags, "E0447", checkpoint_path(f->c->checkpoint), arena_print(&f->c->arena, "`%s`", file_shown(&f->c->cx, key)), "it has no decomposition: %s",
                    matrix_status_text(status));
    return false;
}

/* Relative, in the Frobenius norm; 0 of a weight that is zero. */
static double tail(const Decomposed *d, int64_t rank)
{
    double sum = 0;
    for (int64_t i = rank; i < d->svd.rank; i++)
        sum += d->svd.values[i] * d->svd.values[i];
    return d->norm > 0 ? sqrt(sum) / d->norm : 0;
}

/* ---- the factors ----------------------------------------------------------------------------------------------------------- */

static void add_made(Factoring *f, const char *name, int64_t rows, int64_t cols, const LowrankSite *s, bool left, const float *data)
{
    f->made = arena_room(&f->c->arena, f->made, f->n_made, &f->room, sizeof *f->made);
    MadeTensor *m = &f->made[f->n_made++];
    *m = (MadeTensor){.name = name, .data = data, .origin = "factor-lowrank"};
    const Type *t = s->weight->type;
    if (!left)
        m->dims[m->rank++] = rows;
    for (int i = 0; i < (left ? s->n_in : s->n_out); i++)
        m->dims[m->rank++] = t->axis[left ? s->in_axis[i] : s->out_axis[i]].size.base;
    if (left)
        m->dims[m->rank++] = cols;
}

/* Both factors in f32; returns what they are off by, relative to the weight. */
static double make_factors(Factoring *f, const LowrankSite *s, int64_t round, const Decomposed *d)
{
    Arena *a = &f->c->arena;
    int64_t rank = s->rank;
    float *left = arena_array(a, (size_t)(s->in * rank), sizeof *left), *right = arena_array(a, (size_t)(rank * s->out), sizeof *right);
    for (int64_t r = 0; r < rank; r++) {
        double root = sqrt(d->svd.values[r]); /* half of it on each side: neither factor is much larger than the weight */
        for (int64_t i = 0; i < s->in; i++)
            left[i * rank + r] = (float)(d->svd.u.at[i * d->svd.rank + r] * root);
        for (int64_t o = 0; o < s->out; o++)
            right[r * s->out + o] = (float)(d->svd.vt.at[r * s->out + o] * root);
    }
    int64_t layer = hole_of_round(s->key) ? round : -1;
    add_made(f, hole_fill(a, s->left, layer, -1), s->in, rank, s, true, left);
    add_made(f, hole_fill(a, s->right, layer, -1), rank, s->out, s, false, right);
    double sum = 0;
    double *row = arena_array(a, (size_t)s->out, sizeof *row);
    for (int64_t i = 0; i < s->in; i++) {
        memcpy(row, d->w.at + i * s->out, (size_t)s->out * sizeof *row);
        for (int64_t r = 0; r < rank; r++)
            for (int64_t o = 0; o < s->out; o++)
                row[o] -= (double)left[i * rank + r] * (double)right[r * s->out + o];
        for (int64_t o = 0; o < s->out; o++)
            sum += row[o] * row[o];
    }
    return d->norm > 0 ? sqrt(sum) / d->norm : 0;
}

static int64_t rank_for(const LowrankSpec *spec, const LowrankSite *s, const Decomposed *d)
{
    int64_t most = s->in < s->out ? s->in : s->out, rank = 1;
    if (spec->rank)
        return spec->rank < most ? spec->rank : most;
    for (int64_t i = 0; i < s->rounds; i++)
        while (rank < most && tail(&d[i], rank) > spec->err)
            rank++;
    return rank;
}

static void record(Factoring *f, const LowrankSpec *spec, const LowrankSite *s, double predicted, double measured)
{
    Approximation *a = approximation_add(&f->c->approximations, "factor-lowrank", hole_ranges(&f->c->arena, s->key, s->rounds, 0),
                                         arena_print(&f->c->arena, "rank=%lld", (long long)s->rank));
    a->error = "relative error of the weight";
    a->predicted = predicted;
    a->measured = measured;
    a->measured_on = s->rounds > 1 ? "the worst of its layers" : "the weight";
    a->bound = spec->rank ? spec->max_err : spec->err;
    a->bound_name = spec->rank ? "max_err" : "err";
    a->note = arena_print(&f->c->arena, "%.3g of the numbers are kept", (double)s->rank * ((double)s->in + (double)s->out) / ((double)s->in * (double)s->out));
    a->help = "a larger rank leaves less out; `err=` finds the least that holds a bound";
}

static bool factor_site(Factoring *f, const LowrankSpec *spec, LowrankSite *s)
{
    Arena work = {.on_oom = f->c->arena.on_oom, .oom_state = f->c->arena.oom_state};
    Decomposed *d = arena_array(&work, (size_t)s->rounds, sizeof *d);
    bool good = true;
    for (int64_t i = 0; i < s->rounds && good; i++)
        good = decompose(f, s, i, &work, &d[i]);
    int64_t rank = good ? rank_for(spec, s, d) : 0;
    if (good && !lowrank_saves(s, rank)) {
        s->refused = arena_print(&f->c->arena, "factors of rank %lld hold no fewer numbers than the weight of %lld x %lld", (long long)rank, (long long)s->in, (long long)s->out);
    } else if (good) {
        s->rank = rank;
        s->left = arena_print(&f->c->arena, "lowrank.%s.left", s->key);
        s->right = arena_print(&f->c->arena, "lowrank.%s.right", s->key);
        double predicted = 0, measured = 0;
        for (int64_t i = 0; i < s->rounds; i++) {
            predicted = fmax(predicted, tail(&d[i], rank));
            measured = fmax(measured, make_factors(f, s, i, &d[i]));
        }
        record(f, spec, s, predicted, measured);
    }
    arena_free(&work);
    return good;
}

/* ---- all requests ------------------------------------------------------------------------------------------------------------ */

static bool read_specs(Factoring *f, const CompileOptions *o)
{
    for (int i = 0; o->lowrank && o->lowrank[i]; i++) {
        const char *why = "there are too many requests";
        if (f->n_specs < MOST_SPECS && lowrank_read(&f->c->arena, o->lowrank[i], &f->specs[f->n_specs++], &why))
            continue;
        diag_file_error(&f->c->diags, "E0906", NULL, NULL, "`%s` is no request for factors: %s", o->lowrank[i], why);
        return false;
    }
    return true;
}

/* The first request that names a site has it. */
static bool answer(Factoring *f, LowrankPlan *plan, const LowrankSpec *spec)
{
    int named = 0;
    for (int i = 0; i < plan->n; i++) {
        LowrankSite *s = &plan->sites[i];
        if (!lowrank_names(spec, s->part, s->key))
            continue;
        named++;
        if (s->asked)
            continue;
        s->asked = true;
        if (!s->refused && !factor_site(f, spec, s))
            return false;
    }
    if (named)
        return true;
    Diag *d = diag_file_error(&f->c->diags, "E0906", NULL, NULL, "`%s` names no product with a weight", spec->text);
    for (int i = 0; i < plan->n && i < 12; i++)
        diag_note(d, "%s: %s", plan->sites[i].part, plan->sites[i].key);
    return false;
}

/* What the model file asks for, where no option has said otherwise. */
static bool answer_mark(Factoring *f, LowrankSite *s)
{
    LowrankSpec spec;
    const char *why;
    if (!s->request || s->asked)
        return true;
    if (!lowrank_read_settings(&f->c->arena, s->key, s->request, &spec, &why)) { /* written by hand into the text of a graph */
        diag_file_error(&f->c->diags, "E0906", NULL, NULL, "`%s` is no request for factors: %s", s->request, why);
        return false;
    }
    s->asked = true;
    return s->refused || factor_site(f, &spec, s);
}

static bool nothing_asked(const CompileOptions *o, const LowrankPlan *plan)
{
    bool asked = o->lowrank && o->lowrank[0];
    for (int i = 0; i < plan->n; i++)
        asked |= plan->sites[i].request != NULL;
    return !asked;
}

bool lowrank_plan(Compilation *c, const CompileOptions *o, LowrankPlan **out)
{
    *out = NULL;
    LowrankPlan *plan = lowrank_find(&c->cx, c->model.graph);
    if (nothing_asked(o, plan))
        return true;
    Factoring f = {.c = c};
    if (!read_specs(&f, o))
        return false;
    if (!c->checkpoint) {
        diag_file_error(&c->diags, "E0651", o->model, NULL, "factors are made of weights, but no checkpoint was given");
        return false;
    }
    for (int i = 0; i < f.n_specs; i++)
        if (!answer(&f, plan, &f.specs[i]))
            return false;
    for (int i = 0; i < plan->n; i++)
        if (!answer_mark(&f, &plan->sites[i]))
            return false;
    Checkpoint *with = checkpoint_with(&c->cx, c->checkpoint, f.made, (int64_t)f.n_made);
    if (!with)
        return false;
    c->checkpoint = with;
    *out = plan;
    return true;
}
