/* Merged elements: a row of the stored weight is read, the changes of all adapters are summed in double, the sum is added and rounded once.
 * Packing reads in any order and from several threads, so a tensor's state is constant.
 *
 * Where the update is exactly 0 the base's own number is given back, so that an adapter whose B is zero leaves every bit as it was. */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "driver/merge_inside.h"
#include "runtime/file.h"
#include "runtime/pool.h"
#include "runtime/safetensors.h"

/* ---- elements ---------------------------------------------------------------------------------------------------- */

static int read_piece(const Target *t, int64_t first, int64_t count, double *out)
{
    unsigned char raw[MERGE_PIECE * sizeof(double)];
    uint64_t size = dtype_size(t->type.dtype);
    int error = checkpoint_read_raw(t->base, t->tensor, (uint64_t)first * size, (uint64_t)count * size, raw);
    if (!error)
        convert_f64(t->type.dtype, raw, (size_t)count, out);
    return error;
}

static void add_row(double factor, const double *from, int64_t count, double *to)
{
    for (int64_t j = 0; j < count; j++)
        to[j] += factor * from[j];
}

/* Four at a time, so that `to` is read and written once for them. */
static void add_rows(const double *factor, const double *from, int64_t step, int64_t count, double *to)
{
    const double *b = from + step, *c = b + step, *d = c + step;
    for (int64_t j = 0; j < count; j++)
        to[j] += factor[0] * from[j] + factor[1] * b[j] + factor[2] * c[j] + factor[3] * d[j];
}

/* scale * (B A) of a stored row's elements [column, column + count). */
static void product(const Change *c, int64_t row, int64_t column, int64_t count, double *out)
{
    const AdapterSite *s = c->site;
    const double *from = (s->turned ? c->bt : s->a) + column;
    int64_t step = s->turned ? s->out : s->in;
    memset(out, 0, (size_t)count * sizeof *out);
    for (int64_t k = 0; k < s->rank; k += 4) {
        double factor[4];
        int64_t now = s->rank - k < 4 ? s->rank - k : 4;
        for (int64_t i = 0; i < now; i++)
            factor[i] = s->scale * (s->turned ? s->a[(k + i) * s->in + row] : s->b[row * s->rank + k + i]);
        if (now == 4)
            add_rows(factor, from + k * step, step, count, out);
        for (int64_t i = 0; i < now && now < 4; i++)
            add_row(factor[i], from + (k + i) * step, count, out);
    }
}

/* weight * (W' - W) added to `sum`. */
static void add_change(const Change *c, int64_t row, int64_t column, int64_t count, const double *w, double *sum)
{
    const AdapterSite *s = c->site;
    if (c->bias) {
        add_row(c->weight * s->scale, s->bias + column, count, sum);
        return;
    }
    double update[MERGE_PIECE];
    product(c, row, column, count, update);
    if (!c->gain) {
        add_row(c->weight, update, count, sum);
        return;
    }
    for (int64_t j = 0; j < count; j++) {
        double gain = c->gain[s->turned ? column + j : row];
        sum[j] += c->weight * (gain * (w[j] + update[j]) - w[j]);
    }
}

/* The base's elements and their update, within one row. */
int merge_row(const Target *t, int64_t row, int64_t column, int64_t count, double *w, double *sum)
{
    int error = read_piece(t, row * t->row + column, count, w);
    memset(sum, 0, (size_t)count * sizeof *sum);
    for (int i = 0; i < t->n && !error; i++)
        add_change(&t->changes[i], row, column, count, w, sum);
    return error;
}

static int finish(const Target *t, int64_t count, const double *w, const double *sum, float *out)
{
    for (int64_t j = 0; j < count; j++) {
        double value = sum[j] == 0 ? w[j] : w[j] + sum[j];
        out[j] = (float)(t->stored ? dtype_rounded(t->type.dtype, value) : value);
        if (!isfinite(out[j]) && isfinite(w[j]))
            return ERANGE;
    }
    return 0;
}

static int make_merged(const void *state, int64_t first, int64_t count, void *out)
{
    const Target *t = state;
    double w[MERGE_PIECE], sum[MERGE_PIECE];
    int error = 0;
    for (int64_t done = 0, now; done < count && !error; done += now) {
        int64_t row = (first + done) / t->row, column = (first + done) % t->row;
        now = t->row - column < count - done ? t->row - column : count - done;
        now = now < MERGE_PIECE ? now : MERGE_PIECE;
        error = merge_row(t, row, column, now, w, sum);
        if (!error)
            error = finish(t, now, w, sum, (float *)out + done);
    }
    return error;
}

static bool report_merged(Context *cx, const void *state, int error)
{
    const Target *t = state;
    if (error != ERANGE)
        return false;
    DType kept = t->stored ? t->type.dtype : DT_F32;
    Diag *d = diag_file_error(cx->diags, "E0682", t->origin, arena_print(cx->arena, "tensor `%s`", file_shown(cx, t->key)),
                              "a merged weight is too large for %s", dtype_name(kept));
    if (kept != DT_F32)
        diag_help(d, "keep merged weights in f32: leave out --lora-dtype");
    return true;
}

MadeTensor merge_tensor(const Target *t, const char *name)
{
    MadeTensor m = {.name = name, .rank = t->type.rank, .make = make_merged, .state = t, .origin = t->origin, .report = report_merged};
    memcpy(m.dims, t->type.dims, sizeof m.dims);
    return m;
}

/* ---- DoRA -------------------------------------------------------------------------------------------------------- */

static void square(const double *w, const double *sum, int64_t count, int64_t step, double *norm)
{
    for (int64_t j = 0; j < count; j++)
        norm[j * step] += (w[j] + sum[j]) * (w[j] + sum[j]);
}

/* Squares of the norms of V's rows. */
static int add_squares(const Target *t, double *norm)
{
    double w[MERGE_PIECE], sum[MERGE_PIECE];
    bool turned = t->changes[0].site->turned;
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t column = 0; column < t->row; column += MERGE_PIECE) {
            int64_t now = t->row - column < MERGE_PIECE ? t->row - column : MERGE_PIECE;
            int error = merge_row(t, row, column, now, w, sum);
            if (error)
                return error;
            square(w, sum, now, turned, turned ? norm + column : norm + row);
        }
    return 0;
}

const double *merge_turned(Arena *a, const AdapterSite *s)
{
    if (!s->turned)
        return NULL;
    double *bt = arena_array(a, (size_t)(s->rank * s->out) + 1, sizeof *bt);
    for (int64_t o = 0; o < s->out; o++)
        for (int64_t k = 0; k < s->rank; k++)
            bt[k * s->out + o] = s->b[o * s->rank + k];
    return bt;
}

Target merge_target(const Checkpoint *base, const char *key)
{
    Target t = {.key = key, .base = base, .tensor = checkpoint_number(base, key), .row = 1};
    t.type = *checkpoint_find(base, key);
    for (int i = t.type.rank > 1; i < t.type.rank; i++)
        t.row *= t.type.dims[i];
    t.rows = t.type.rank > 1 ? t.type.dims[0] : 1;
    return t;
}

void merge_gains_begin(Gains *g, Arena *a, const Checkpoint *base, const AdapterSite *s, double *gain)
{
    *g = (Gains){.v = merge_target(base, s->key), .change = {.weight = 1, .site = s, .bt = merge_turned(a, s)}, .gain = gain};
    memset(gain, 0, (size_t)s->out * sizeof *gain);
}

void merge_gains_sum(Gains *g)
{
    g->v.changes = &g->change;
    g->v.n = 1;
    g->error = add_squares(&g->v, g->gain);
}

bool merge_gains_finish(Context *cx, Gains *g)
{
    const AdapterSite *s = g->change.site;
    if (g->error)
        checkpoint_report(cx, g->v.base, g->v.tensor, g->error);
    for (int64_t o = 0; o < s->out && !g->error; o++) {
        if (!(g->gain[o] > 0) || !isfinite(g->gain[o])) {
            diag_file_error(cx->diags, "E0682", checkpoint_file(g->v.base, s->key), arena_print(cx->arena, "tensor `%s`", file_shown(cx, s->key)),
                            "row %lld of weight and update has norm %g, which DoRA divides by", (long long)o, sqrt(g->gain[o]));
            return false;
        }
        g->gain[o] = s->magnitude[o] / sqrt(g->gain[o]);
    }
    return !g->error;
}

bool adapter_gains(Context *cx, const Checkpoint *base, const AdapterSite *s, double *gain)
{
    Gains g;
    merge_gains_begin(&g, cx->arena, base, s, gain);
    merge_gains_sum(&g);
    return merge_gains_finish(cx, &g);
}

/* ---- by threads -------------------------------------------------------------------------------------------------- */

typedef struct Work {
    void (*one)(void *items, int i);
    void *items;
    int n;
    atomic_int next;
} Work;

static void take(void *state, ptrdiff_t thread)
{
    Work *w = state;
    (void)thread;
    for (int i; (i = atomic_fetch_add(&w->next, 1)) < w->n;)
        w->one(w->items, i);
}

void merge_each(int threads, int n, void (*one)(void *items, int i), void *items)
{
    Work w = {.one = one, .items = items, .n = n};
    threads = threads > 0 ? threads : pool_cpus();
    Pool *pool = n > 1 && threads > 1 ? pool_new(threads < n ? threads : n) : NULL;
    if (pool)
        pool_run(pool, take, &w);
    else
        take(&w, 0);
    pool_free(pool);
}
