/* Factors of low rank: singular value decompositions of the weights that a request names, and what their ranks leave out. */
#include <math.h>
#include <string.h>

#include "driver/lowrank_inside.h"
#include "runtime/file.h"
#include "support/holes.h"

typedef struct Decomposed { /* one layer's weight */
    Matrix w;
    Matrix root; /* |root m| = |x m| for the inputs x of the calibration; `at` NULL: there is none */
    Svd svd;     /* of w, or of root w */
    double norm; /* of the same */
} Decomposed;

/* ---- the weight as a matrix [in, out] ------------------------------------------------------------------------------------ */

int64_t lowrank_step(const Node *w, int axis)
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
        offset += at % size * lowrank_step(w, axes[i]);
        at /= size;
    }
    return offset;
}

bool lowrank_matrix(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Matrix *out)
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

bool lowrank_refuse(Factoring *f, const LowrankSite *s, int64_t round, MatrixStatus status)
{
    const char *key = model_key(&f->c->cx, &f->c->model, s->key, round);
    if (status)
        diag_file_error(&f->c->diags, "E0447", checkpoint_path(f->c->checkpoint), arena_print(&f->c->arena, "`%s`", file_shown(&f->c->cx, key)),
                        "it has no decomposition: %s", matrix_status_text(status));
    return !status;
}

bool lowrank_root(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Matrix *out)
{
    MatrixStatus status = factor_root(a, f->inputs.grams[s - f->plan->sites][round], out);
    if (status)
        diag_file_error(&f->c->diags, "E0905", NULL, NULL, "the inputs of `%s` on %s cannot be used: %s", file_shown(&f->c->cx, s->key), f->inputs.measured_on,
                        matrix_status_text(status));
    return !status;
}

static bool decompose(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Decomposed *out)
{
    if (!lowrank_matrix(f, s, round, a, &out->w))
        return false;
    if (!f->inputs.grams) {
        out->norm = matrix_norm(out->w);
        return lowrank_refuse(f, s, round, matrix_svd(a, out->w, &out->svd));
    }
    Matrix seen;
    if (!lowrank_root(f, s, round, a, &out->root))
        return false;
    MatrixStatus status = matrix_multiply(a, out->root, false, out->w, false, &seen);
    out->norm = status ? 0 : matrix_norm(seen);
    return lowrank_refuse(f, s, round, status ? status : matrix_svd(a, seen, &out->svd));
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

MadeTensor *lowrank_made(Factoring *f, const char *name, const float *data)
{
    f->made = arena_room(&f->c->arena, f->made, f->n_made, &f->room, sizeof *f->made);
    MadeTensor *m = &f->made[f->n_made++];
    *m = (MadeTensor){.name = name, .data = data, .origin = "factor-lowrank"};
    return m;
}

void lowrank_add(Factoring *f, const char *name, int64_t rows, int64_t cols, const LowrankSite *s, bool left, const float *data)
{
    MadeTensor *m = lowrank_made(f, name, data);
    const Type *t = s->weight->type;
    if (!left)
        m->dims[m->rank++] = rows;
    for (int i = 0; i < (left ? s->n_in : s->n_out); i++)
        m->dims[m->rank++] = t->axis[left ? s->in_axis[i] : s->out_axis[i]].size.base;
    if (left)
        m->dims[m->rank++] = cols;
}

/* Half of the singular values on each side: neither factor is much larger than the weight. */
static void cut(Arena *a, const Svd *svd, int64_t rank, Matrix *left, Matrix *right)
{
    *left = matrix_new(a, svd->u.rows, rank);
    *right = matrix_copy(a, (Matrix){rank, svd->vt.cols, svd->vt.at});
    for (int64_t r = 0; r < rank; r++) {
        double root = sqrt(svd->values[r]);
        for (int64_t i = 0; i < left->rows; i++)
            left->at[i * rank + r] = svd->u.at[i * svd->rank + r] * root;
        for (int64_t o = 0; o < right->cols; o++)
            right->at[r * right->cols + o] *= root;
    }
}

static MatrixStatus cur(Arena *a, Matrix w, int64_t rank, Matrix *left, Matrix *right)
{
    int64_t *columns, *rows;
    Matrix u;
    MatrixStatus status = factor_columns(a, w, rank, &columns);
    if (!status)
        status = factor_rows(a, w, rank, &rows);
    if (!status)
        status = factor_cur(a, w, columns, rows, rank, &u);
    if (status)
        return status;
    *right = factor_take_rows(a, w, rows, rank);
    return matrix_multiply(a, factor_take_columns(a, w, columns, rank), false, u, false, left);
}

/* What w - left right is, relative: of the weight, and on what x the root stands for. */
static MatrixStatus loss(Arena *a, const Decomposed *d, Matrix left, Matrix right, double *weight, double *on_inputs)
{
    Matrix miss, seen;
    MatrixStatus status = matrix_multiply(a, left, false, right, false, &miss);
    for (int64_t i = 0; !status && i < miss.rows * miss.cols; i++)
        miss.at[i] = d->w.at[i] - miss.at[i];
    double norm = matrix_norm(d->w);
    *weight = !status && norm > 0 ? matrix_norm(miss) / norm : 0;
    *on_inputs = *weight;
    if (status || !d->root.at)
        return status;
    status = matrix_multiply(a, d->root, false, miss, false, &seen);
    *on_inputs = !status && d->norm > 0 ? matrix_norm(seen) / d->norm : 0;
    return status;
}

float *lowrank_rounded(Arena *a, Matrix m)
{
    float *out = arena_array(a, (size_t)(m.rows * m.cols), sizeof *out);
    for (int64_t i = 0; i < m.rows * m.cols; i++) {
        out[i] = (float)m.at[i];
        m.at[i] = (double)out[i];
    }
    return out;
}

/* Both factors in f32, and what they miss. */
static MatrixStatus make_factors(Factoring *f, const LowrankSpec *spec, const LowrankSite *s, int64_t round, const Decomposed *d, Arena *work, Losses *out)
{
    Arena *a = &f->c->arena;
    Matrix left, right;
    MatrixStatus status = MATRIX_OK;
    double unused;
    if (spec->method == LOWRANK_CUR)
        status = cur(work, d->w, s->rank, &left, &right);
    else if (d->root.at)
        status = factor_given(work, d->w, &d->svd, s->rank, &left, &right);
    else
        cut(work, &d->svd, s->rank, &left, &right);
    if (!status && spec->method == LOWRANK_CUR) /* singular values say nothing of it: what the factors miss before they are rounded */
        status = loss(work, d, left, right, &unused, &out->predicted);
    else
        out->predicted = tail(d, s->rank);
    if (status)
        return status;
    int64_t layer = hole_of_round(s->key) ? round : -1;
    lowrank_add(f, hole_fill(a, s->left, layer, -1), s->in, s->rank, s, true, lowrank_rounded(a, left));
    lowrank_add(f, hole_fill(a, s->right, layer, -1), s->rank, s->out, s, false, lowrank_rounded(a, right));
    return loss(work, d, left, right, &out->weight, &out->measured);
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

void lowrank_record(Factoring *f, const LowrankSpec *spec, const LowrankSite *s, const Losses *worst)
{
    static const char *const method[] = {[LOWRANK_SVD] = "", [LOWRANK_CUR] = ", method=cur", [LOWRANK_ID] = ", method=id"};
    bool seen = f->inputs.grams != NULL, several = s->rounds > 1;
    Arena *arena = &f->c->arena;
    Approximation *a = approximation_add(&f->c->approximations, "factor-lowrank", hole_ranges(arena, s->key, s->rounds, 0),
                                         arena_print(arena, "rank=%lld%s", (long long)s->rank, method[spec->method]));
    a->error = seen ? "relative error of the product" : "relative error of the weight";
    a->predicted = worst->predicted;
    a->measured = worst->measured;
    a->measured_on = seen ? arena_print(arena, "%s (which made the factors too)%s", f->inputs.measured_on, several ? ", the worst of its layers" : "")
                     : several ? "the worst of its layers" : "the weight";
    a->bound = spec->rank ? spec->max_err : spec->err;
    a->bound_name = spec->rank ? "max_err" : "err";
    double kept = (double)s->rank * ((double)s->in + (double)s->out) / ((double)s->in * (double)s->out);
    a->note = !s->left ? arena_print(arena, "%lld of %lld hidden units are kept", (long long)s->rank, (long long)s->in)
              : seen   ? arena_print(arena, "the weight itself is off by %.4f; %.3g of the numbers are kept", worst->weight, kept)
                       : arena_print(arena, "%.3g of the numbers are kept", kept);
    a->table = seen ? arena_print(arena, "            %s\n", a->note) : NULL;
    a->help = "a larger rank leaves less out; `err=` finds the least that holds a bound";
}

static bool put_in(Factoring *f, const LowrankSpec *spec, LowrankSite *s, const Decomposed *d, Arena *work)
{
    Losses worst = {0};
    s->left = arena_print(&f->c->arena, "lowrank.%s.left", s->key);
    s->right = arena_print(&f->c->arena, "lowrank.%s.right", s->key);
    for (int64_t i = 0; i < s->rounds; i++) {
        Losses here = {0};
        if (!lowrank_refuse(f, s, i, make_factors(f, spec, s, i, &d[i], work, &here)))
            return false;
        worst = (Losses){fmax(worst.predicted, here.predicted), fmax(worst.measured, here.measured), fmax(worst.weight, here.weight)};
    }
    lowrank_record(f, spec, s, &worst);
    return true;
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
        good = put_in(f, spec, s, d, &work);
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
static bool answer(Factoring *f, const LowrankSpec *spec)
{
    LowrankPlan *plan = f->plan;
    int named = 0;
    for (int i = 0; i < plan->n; i++) {
        LowrankSite *s = &plan->sites[i];
        if (!lowrank_names(spec, s->part, s->key))
            continue;
        named++;
        if (!s->asked)
            f->chosen[i] = spec;
        s->asked = true;
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
    LowrankSpec *spec = arena_alloc(&f->c->arena, sizeof *spec);
    const char *why;
    if (!s->request || s->asked)
        return true;
    if (!lowrank_read_settings(&f->c->arena, s->key, s->request, spec, &why)) { /* written by hand into the text of a graph */
        diag_file_error(&f->c->diags, "E0906", NULL, NULL, "`%s` is no request for factors: %s", s->request, why);
        return false;
    }
    s->asked = true;
    f->chosen[s - f->plan->sites] = spec;
    return true;
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
    Factoring f = {.c = c, .plan = plan, .chosen = arena_array(&c->arena, (size_t)plan->n + 1, sizeof *f.chosen)};
    if (!read_specs(&f, o))
        return false;
    if (!c->checkpoint) {
        diag_file_error(&c->diags, "E0651", o->model, NULL, "factors are made of weights, but no checkpoint was given");
        return false;
    }
    for (int i = 0; i < f.n_specs; i++)
        if (!answer(&f, &f.specs[i]))
            return false;
    for (int i = 0; i < plan->n; i++)
        if (!answer_mark(&f, &plan->sites[i]))
            return false;
    if (!lowrank_units_claim(&f, o))
        return false;
    if (o->calibrate && !lowrank_inputs(c, o, plan, &f.inputs))
        return false;
    for (int i = 0; i < plan->n; i++)
        if (plan->sites[i].asked && !plan->sites[i].refused &&
            !(f.chosen[i]->method == LOWRANK_ID ? lowrank_units_site : factor_site)(&f, f.chosen[i], &plan->sites[i]))
            return false;
    Checkpoint *with = checkpoint_with(&c->cx, c->checkpoint, f.made, (int64_t)f.n_made);
    if (!with)
        return false;
    c->checkpoint = with;
    *out = plan;
    return true;
}
