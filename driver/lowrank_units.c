/* method=id: hidden units that others can stand for are left out. With h ~ h[:, kept] z the product h w is
 * h[:, kept] (z w), and h[:, kept] is what the kept columns of the weights before give: elementwise functions are
 * between. */
#include <math.h>
#include <string.h>

#include "driver/lowrank_inside.h"
#include "runtime/file.h"
#include "support/holes.h"

typedef struct Fit { /* one layer */
    Matrix w, root;
    double *tail; /* [kept]: what w misses of the product, relative */
} Fit;

/* ---- which sites ------------------------------------------------------------------------------------------------- */

static bool is_claimed(const Map *taken, const LowrankSite *s, const char **key)
{
    for (int i = -1; i < s->units.n; i++) {
        *key = i < 0 ? s->key : attr_name(s->units.weights[i], ATTR_key);
        if (map_has(taken, *key))
            return true;
    }
    return false;
}

static const char *reason_against(Factoring *f, const Map *taken, const LowrankSpec *spec, const LowrankSite *s)
{
    const char *key;
    if (s->units.refused)
        return arena_print(&f->c->arena, "`method=id` prunes hidden units: %s", s->units.refused);
    if (spec->rank >= s->in)
        return arena_print(&f->c->arena, "rank %lld would keep all of its %lld hidden units", (long long)spec->rank,
                           (long long)s->in);
    if (is_claimed(taken, s, &key))
        return arena_print(&f->c->arena, "`%s` belongs to hidden units that another product prunes", key);
    return NULL;
}

bool lowrank_units_claim(Factoring *f, const CompileOptions *o)
{
    Map taken = map_new(&f->c->arena);
    for (int i = 0; i < f->plan->n; i++) {
        LowrankSite *s = &f->plan->sites[i];
        if (!s->asked || s->refused || f->chosen[i]->method != LOWRANK_ID)
            continue;
        if (!o->calibrate) {
            Diag *d = diag_file_error(&f->c->diags, "E0904", NULL, NULL,
                                      "`%s`: which hidden units `method=id` keeps, their values on real inputs decide",
                                      f->chosen[i]->text);
            diag_help(d, "`--calibrate FILE` names a file with inputs of the model");
            return false;
        }
        s->refused = reason_against(f, &taken, f->chosen[i], s);
        for (int k = 0; k < s->units.n && !s->refused; k++)
            map_set(&taken, attr_name(s->units.weights[k], ATTR_key), s);
        if (!s->refused)
            map_set(&taken, s->key, s);
    }
    for (int i = 0; i < f->plan->n; i++) {
        LowrankSite *s = &f->plan->sites[i];
        if (s->asked && !s->refused && f->chosen[i]->method != LOWRANK_ID && map_has(&taken, s->key))
            s->refused = "it belongs to hidden units that a request with `method=id` prunes";
    }
    return true;
}

/* ---- which units ------------------------------------------------------------------------------------------------- */

/* With root = q r in the order of the pivots, the best z for the first k columns leaves rows k.. of r behind: of the
 * product it misses those rows of r w. */
static bool fit(Factoring *f, const LowrankSite *s, int64_t round, Arena *a, Fit *out)
{
    Matrix q, r, product;
    int64_t *order;
    if (!lowrank_matrix(f, s, round, a, &out->w) || !lowrank_root(f, s, round, a, &out->root))
        return false;
    MatrixStatus status = matrix_qr_pivoted(a, out->root, &q, &r, &order);
    if (!status)
        status = matrix_multiply(a, r, false, factor_take_rows(a, out->w, order, s->in), false, &product);
    if (!lowrank_refuse(f, s, round, status))
        return false;
    out->tail = arena_array(a, (size_t)s->in + 1, sizeof *out->tail);
    double sum = 0;
    for (int64_t k = s->in - 1; k >= 0; k--) {
        for (int64_t o = 0; o < s->out; o++)
            sum += product.at[k * s->out + o] * product.at[k * s->out + o];
        out->tail[k] = sqrt(sum);
    }
    for (int64_t k = s->in - 1; k >= 0; k--)
        out->tail[k] /= out->tail[0] > 0 ? out->tail[0] : 1;
    return true;
}

static int64_t units_for(const LowrankSpec *spec, const LowrankSite *s, const Fit *fits)
{
    int64_t kept = 1;
    if (spec->rank)
        return spec->rank;
    for (int64_t i = 0; i < s->rounds; i++)
        while (kept < s->in && fits[i].tail[kept] > spec->err)
            kept++;
    return kept;
}

/* ---- what is left of the weights --------------------------------------------------------------------------------- */

static MatrixStatus miss(Arena *a, const Fit *d, const int64_t *kept, Matrix w, double *weight, double *product)
{
    Matrix off = matrix_copy(a, d->w), seen, all;
    for (int64_t k = 0; k < w.rows; k++)
        for (int64_t o = 0; o < w.cols; o++)
            off.at[kept[k] * w.cols + o] -= w.at[k * w.cols + o];
    MatrixStatus status = matrix_multiply(a, d->root, false, off, false, &seen);
    if (!status)
        status = matrix_multiply(a, d->root, false, d->w, false, &all);
    double norm = matrix_norm(d->w), size = status ? 0 : matrix_norm(all);
    *weight = norm > 0 ? matrix_norm(off) / norm : 0;
    *product = size > 0 ? matrix_norm(seen) / size : 0;
    return status;
}

/* The elements of a weight before, or of a bias, that belong to units kept: in the order of its axes. */
static bool keep_columns(Factoring *f, const LowrankSite *s, const Node *w, int64_t round, const int64_t *kept,
                         Arena *work)
{
    Arena *a = &f->c->arena;
    const char *pattern = attr_name(w, ATTR_key), *key = model_key(&f->c->cx, &f->c->model, pattern, round);
    const HostTensor *t = checkpoint_find(f->c->checkpoint, key);
    int64_t count = t ? host_count(t) : 0, made = 1;
    int64_t start = node_attr(w, ATTR_start) ? node_attr(w, ATTR_start)->extent.base : 0;
    float *all = arena_array(work, (size_t)count + 1, sizeof *all);
    if (!t || !checkpoint_read_f32(&f->c->cx, f->c->checkpoint, key, 0, count, all)) {
        if (!t)
            diag_file_error(&f->c->diags, "E0490", checkpoint_path(f->c->checkpoint), NULL, "`%s` is not there",
                            file_shown(&f->c->cx, key));
        return false;
    }
    int axis = type_find(w->type, s->units.axis);
    int64_t dims[MAX_RANK];
    for (int i = 0; i < w->type->rank; i++)
        made *= dims[i] = i == axis ? s->rank : w->type->axis[i].size.base;
    float *data = arena_array(a, (size_t)made, sizeof *data);
    for (int64_t e = 0; e < made; e++) {
        int64_t rest = e, from = start;
        for (int i = w->type->rank - 1; i >= 0; i--) {
            int64_t at = rest % dims[i];
            from += (i == axis ? kept[at] : at) * lowrank_step(w, i);
            rest /= dims[i];
        }
        data[e] = all[from];
    }
    int64_t layer = hole_of_round(pattern) ? round : -1;
    MadeTensor *m = lowrank_made(f, hole_fill(a, lowrank_kept_key(a, pattern), layer, -1), data);
    m->rank = w->type->rank;
    memcpy(m->dims, dims, (size_t)m->rank * sizeof *dims);
    return true;
}

static bool prune(Factoring *f, const LowrankSite *s, int64_t round, const Fit *d, Arena *work, Losses *out)
{
    Arena *a = &f->c->arena;
    int64_t *kept;
    Matrix z, w;
    MatrixStatus status = factor_interpolative(work, d->root, s->rank, &kept, &z, NULL);
    if (!status)
        status = matrix_multiply(work, z, false, d->w, false, &w);
    if (!lowrank_refuse(f, s, round, status))
        return false;
    int64_t layer = hole_of_round(s->key) ? round : -1;
    lowrank_add(f, hole_fill(a, s->right, layer, -1), s->rank, s->out, s, false, lowrank_rounded(a, w));
    for (int i = 0; i < s->units.n; i++)
        if (!keep_columns(f, s, s->units.weights[i], round, kept, work))
            return false;
    out->predicted = d->tail[s->rank];
    return lowrank_refuse(f, s, round, miss(work, d, kept, w, &out->weight, &out->measured));
}

/* Fewer rows than units are always fitted too well: the error on them says nothing of others. */
static bool enough_rows(Factoring *f, const LowrankSite *s)
{
    int64_t rows = f->inputs.seen[s - f->plan->sites];
    if (rows >= s->in)
        return true;
    Diag *d = diag_file_error(&f->c->diags, "E0905", NULL, NULL,
                              "`%s` has %lld hidden units, and %s are too few to say which stand for others",
                              file_shown(&f->c->cx, s->key), (long long)s->in, f->inputs.measured_on);
    diag_help(d, "more inputs for `--calibrate`: as many positions as units at the least, better ten times as many");
    return false;
}

bool lowrank_units_site(Factoring *f, const LowrankSpec *spec, LowrankSite *s)
{
    if (!enough_rows(f, s))
        return false;
    Arena work = {.on_oom = f->c->arena.on_oom, .oom_state = f->c->arena.oom_state};
    Fit *fits = arena_array(&work, (size_t)s->rounds, sizeof *fits);
    Losses worst = {0};
    bool good = true;
    for (int64_t i = 0; i < s->rounds && good; i++)
        good = fit(f, s, i, &work, &fits[i]);
    int64_t kept = good ? units_for(spec, s, fits) : 0;
    if (good && kept >= s->in)
        s->refused = arena_print(&f->c->arena, "all of its %lld hidden units are needed for an error of %g",
                                 (long long)s->in, spec->err);
    else if (good)
        s->rank = kept;
    s->right = arena_print(&f->c->arena, "lowrank.%s.right", s->key);
    for (int64_t i = 0; i < s->rounds && good && s->rank; i++) {
        Losses here = {0};
        good = prune(f, s, i, &fits[i], &work, &here);
        worst = (Losses){fmax(worst.predicted, here.predicted), fmax(worst.measured, here.measured),
                         fmax(worst.weight, here.weight)};
    }
    if (good && s->rank)
        lowrank_record(f, spec, s, &worst);
    arena_free(&work);
    return good;
}
