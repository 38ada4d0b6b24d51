/* Merging adapters: tensors computed from the base's when they are read. A row of the stored weight is read, the changes of all adapters are
 * summed in double, the sum is added and rounded once. Packing reads in any order and from several threads, so a tensor's state is constant.
 *
 * Where the update is exactly 0 the base's own number is given back, so that an adapter whose B is zero leaves every bit as it was. */
#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "driver/merge.h"
#include "runtime/file.h"
#include "runtime/pool.h"
#include "runtime/safetensors.h"

enum { PIECE = 2048, ROWS = 64, SHOWN = 8 };
#define MOST_LOST 0.25 /* of the update's norm, before a merge is refused */
#define SILENT 1e-3    /* in f32: what rounding the weights costs any model */

typedef struct Change { /* by one adapter */
    double weight;
    const AdapterSite *site;
    const double *bt;   /* B turned, [rank][out], where W is stored [in, out] */
    const double *gain; /* DoRA: of each output */
    bool bias;
} Change;

typedef struct Target { /* one tensor */
    const char *key, *origin;
    const Checkpoint *base;
    int64_t tensor, row, rows; /* number in base; elements of a stored row; rows */
    HostTensor type;
    bool stored; /* round to the base's type */
    Change *changes;
    int n;
} Target;

/* ---- elements ---------------------------------------------------------------------------------------------------- */

static int read_piece(const Target *t, int64_t first, int64_t count, double *out)
{
    unsigned char raw[PIECE * sizeof(double)];
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
    double update[PIECE];
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
static int compute(const Target *t, int64_t row, int64_t column, int64_t count, double *w, double *sum)
{
    int error = read_piece(t, row * t->row + column, count, w);
    memset(sum, 0, (size_t)count * sizeof *sum);
    for (int i = 0; i < t->n && !error; i++)
        add_change(&t->changes[i], row, column, count, w, sum);
    return error;
}

static double rounded(DType to, double value)
{
    uint64_t room = 0;
    HostTensor one = {.dtype = to, .rank = 1, .dims = {1}, .data = &room};
    if (to == DT_F32)
        return (double)(float)value;
    host_set(&one, 0, value);
    return host_get(&one, 0);
}

static int finish(const Target *t, int64_t count, const double *w, const double *sum, float *out)
{
    for (int64_t j = 0; j < count; j++) {
        double value = sum[j] == 0 ? w[j] : w[j] + sum[j];
        out[j] = (float)(t->stored ? rounded(t->type.dtype, value) : value);
        if (!isfinite(out[j]) && isfinite(w[j]))
            return ERANGE;
    }
    return 0;
}

static int make_merged(const void *state, int64_t first, int64_t count, float *out)
{
    const Target *t = state;
    double w[PIECE], sum[PIECE];
    int error = 0;
    for (int64_t done = 0, now; done < count && !error; done += now) {
        int64_t row = (first + done) / t->row, column = (first + done) % t->row;
        now = t->row - column < count - done ? t->row - column : count - done;
        now = now < PIECE ? now : PIECE;
        error = compute(t, row, column, now, w, sum);
        if (!error)
            error = finish(t, now, w, sum, out + done);
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

/* ---- DoRA -------------------------------------------------------------------------------------------------------- */

static void square(const double *w, const double *sum, int64_t count, int64_t step, double *norm)
{
    for (int64_t j = 0; j < count; j++)
        norm[j * step] += (w[j] + sum[j]) * (w[j] + sum[j]);
}

/* Squares of the norms of V's rows. */
static int add_squares(const Target *t, double *norm)
{
    double w[PIECE], sum[PIECE];
    bool turned = t->changes[0].site->turned;
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t column = 0; column < t->row; column += PIECE) {
            int64_t now = t->row - column < PIECE ? t->row - column : PIECE;
            int error = compute(t, row, column, now, w, sum);
            if (error)
                return error;
            square(w, sum, now, turned, turned ? norm + column : norm + row);
        }
    return 0;
}

static const double *turn(Arena *a, const AdapterSite *s)
{
    if (!s->turned)
        return NULL;
    double *bt = arena_array(a, (size_t)(s->rank * s->out) + 1, sizeof *bt);
    for (int64_t o = 0; o < s->out; o++)
        for (int64_t k = 0; k < s->rank; k++)
            bt[k * s->out + o] = s->b[o * s->rank + k];
    return bt;
}

static Target target_of(const Checkpoint *base, const char *key)
{
    Target t = {.key = key, .base = base, .tensor = checkpoint_number(base, key), .row = 1};
    t.type = *checkpoint_find(base, key);
    for (int i = t.type.rank > 1; i < t.type.rank; i++)
        t.row *= t.type.dims[i];
    t.rows = t.type.rank > 1 ? t.type.dims[0] : 1;
    return t;
}

/* The gains of one pair: squares of norms may be summed by any thread, what is wrong with them is said afterwards. */
typedef struct Gains {
    Target v; /* W with this pair alone */
    Change change;
    double *gain;
    int error;
} Gains;

static void gains_begin(Gains *g, Arena *a, const Checkpoint *base, const AdapterSite *s, double *gain)
{
    *g = (Gains){.v = target_of(base, s->key), .change = {.weight = 1, .site = s, .bt = turn(a, s)}, .gain = gain};
    memset(gain, 0, (size_t)s->out * sizeof *gain);
}

static void gains_sum(Gains *g)
{
    g->v.changes = &g->change;
    g->v.n = 1;
    g->error = add_squares(&g->v, g->gain);
}

static bool gains_finish(Context *cx, Gains *g)
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
    gains_begin(&g, cx->arena, base, s, gain);
    gains_sum(&g);
    return gains_finish(cx, &g);
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

static void each(int threads, int n, void (*one)(void *items, int i), void *items)
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

/* ---- which tensors change ---------------------------------------------------------------------------------------- */

typedef struct Plans {
    Context *cx;
    const Checkpoint *base;
    const MergeOptions *o;
    Target *targets;
    int n, room;
    Map index;
    Gains *gains; /* of all pairs of DoRA */
    int n_gains;
} Plans;

static Target *target_for(Plans *p, const Adapter *a, const char *key)
{
    size_t at = (size_t)(uintptr_t)map_get(&p->index, key);
    if (!at) {
        Target t = target_of(p->base, key);
        t.origin = a->path;
        t.stored = p->o->stored;
        t.changes = arena_array(p->cx->arena, (size_t)p->room + 1, sizeof *t.changes);
        p->targets[p->n++] = t;
        at = (size_t)p->n;
        map_set(&p->index, key, (void *)(uintptr_t)at);
    }
    return &p->targets[at - 1];
}

static bool add_site(Plans *p, const Adapter *a, const AdapterSite *s)
{
    Target *t = target_for(p, a, s->key);
    Change c = {.weight = a->weight, .site = s, .bt = turn(p->cx->arena, s)};
    if (s->magnitude) {
        double *gain = arena_array(p->cx->arena, (size_t)s->out + 1, sizeof *gain);
        gains_begin(&p->gains[p->n_gains++], p->cx->arena, p->base, s, gain);
        c.gain = gain;
    }
    t->changes[t->n++] = c;
    if (!s->bias)
        return true;
    if (!s->bias_key) {
        Diag *d = diag_file_error(p->cx->diags, "E0688", a->path, arena_print(p->cx->arena, "module `%s`", file_shown(p->cx, s->module)),
                                  "the adapter adds a bias, and the checkpoint has none there");
        diag_note(d, "a merged model has the tensors of its base and no others");
        return false;
    }
    t = target_for(p, a, s->bias_key);
    t->changes[t->n++] = (Change){.weight = a->weight, .site = s, .bias = true};
    return true;
}

static void sum_one(void *items, int i)
{
    gains_sum((Gains *)items + i);
}

static bool plan(Plans *p, const Adapters *all)
{
    int n = 0;
    for (int i = 0; i < all->n; i++)
        n += all->items[i]->n_sites;
    p->room = all->n;
    p->targets = arena_array(p->cx->arena, 2 * (size_t)n + 1, sizeof *p->targets);
    p->index = map_new(p->cx->arena);
    p->gains = arena_array(p->cx->arena, (size_t)n + 1, sizeof *p->gains);
    for (int i = 0; i < all->n; i++)
        for (int k = 0; k < all->items[i]->n_sites && all->items[i]->weight != 0; k++)
            if (!all->items[i]->sites[k].tied && !add_site(p, all->items[i], &all->items[i]->sites[k]))
                return false;
    each(p->o->threads, p->n_gains, sum_one, p->gains);
    for (int i = 0; i < p->n_gains; i++)
        if (!gains_finish(p->cx, &p->gains[i]))
            return false;
    return true;
}

/* ---- what rounding leaves of the update -------------------------------------------------------------------------- */

/* `from`: the type of the base, whose own numbers it holds exactly. */
static void count_losses(DType from, DType to, int64_t count, const double *w, const double *sum, MergeLoss *out)
{
    bool exact = from == to || (to == DT_F32 && from != DT_F64);
    for (int64_t j = 0; j < count; j++) {
        double value = w[j] + sum[j], kept = rounded(to, value), was = exact ? w[j] : rounded(to, w[j]);
        out->update += sum[j] * sum[j];
        out->base += w[j] * w[j];
        out->error += (kept - value) * (kept - value);
        out->entries += sum[j] != 0;
        out->still += sum[j] != 0 && kept == was;
        out->largest = fmax(out->largest, fabs(value));
    }
}

static void finish_losses(MergeLoss *l)
{
    l->update = sqrt(l->update);
    l->base = sqrt(l->base);
    l->error = sqrt(l->error);
}

/* Rows evenly over the weight. */
static int measure(const Target *t, MergedWeight *out)
{
    double w[PIECE], sum[PIECE];
    DType from = t->type.dtype, kept = t->stored ? from : DT_F32;
    int64_t rows = t->rows < ROWS ? t->rows : ROWS;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t column = 0; column < t->row; column += PIECE) {
            int64_t now = t->row - column < PIECE ? t->row - column : PIECE;
            int error = compute(t, i * t->rows / rows, column, now, w, sum);
            if (error)
                return error;
            count_losses(from, kept, now, w, sum, &out->kept);
            if (kept != from)
                count_losses(from, from, now, w, sum, &out->as_stored);
        }
    if (kept == from)
        out->as_stored = out->kept;
    finish_losses(&out->kept);
    finish_losses(&out->as_stored);
    return 0;
}

static int by_weight(const void *a, const void *b)
{
    return strcmp(((const MergedWeight *)a)->key, ((const MergedWeight *)b)->key);
}

typedef struct Measured {
    const Target *target;
    MergedWeight *out;
    int error;
} Measured;

static void measure_one(void *items, int i)
{
    Measured *m = (Measured *)items + i;
    m->error = measure(m->target, m->out);
}

/* Adds a row to out->weights, which has room for it. */
static Measured add_weight(const Target *t, Merge *out)
{
    MergedWeight *m = &out->weights[out->n++];
    *m = (MergedWeight){.key = t->key, .stored = t->type.dtype, .adapters = t->n};
    for (int k = 0; k < t->n; k++)
        m->rank += (int)t->changes[k].site->rank;
    return (Measured){t, m, 0};
}

static bool measure_all(Plans *p, const Target *targets, int n, Merge *out)
{
    Measured *all = arena_array(p->cx->arena, (size_t)n + 1, sizeof *all);
    int weights = 0;
    for (int i = 0; i < n; i++)
        if (targets[i].n && targets[i].changes[0].bias)
            out->biases++;
        else if (targets[i].n)
            all[weights++] = add_weight(&targets[i], out);
    each(p->o->threads, weights, measure_one, all);
    for (int i = 0; i < weights; i++)
        if (all[i].error)
            return checkpoint_report(p->cx, p->base, all[i].target->tensor, all[i].error), false;
    if (out->n > 1)
        qsort(out->weights, (size_t)out->n, sizeof *out->weights, by_weight);
    return true;
}

MergeLoss merge_total(const Merge *m, bool as_stored)
{
    MergeLoss all = {0};
    for (int i = 0; i < m->n; i++) {
        const MergeLoss *l = as_stored ? &m->weights[i].as_stored : &m->weights[i].kept;
        all.update += l->update * l->update;
        all.base += l->base * l->base;
        all.error += l->error * l->error;
        all.still += l->still;
        all.entries += l->entries;
        all.largest = fmax(all.largest, l->largest);
    }
    finish_losses(&all);
    return all;
}

/* ---- layers ------------------------------------------------------------------------------------------------------ */

static MadeTensor made_tensor(const Target *t, const char *name)
{
    MadeTensor m = {.name = name, .rank = t->type.rank, .make = make_merged, .state = t, .origin = t->origin, .report = report_merged};
    memcpy(m.dims, t->type.dims, sizeof m.dims);
    return m;
}

Checkpoint *merge_adapters(Context *cx, Checkpoint *base, const Adapters *all, const MergeOptions *o, Merge *out)
{
    Plans p = {.cx = cx, .base = base, .o = o};
    *out = (Merge){.rows = ROWS, .stored = o->stored};
    if (!plan(&p, all))
        return NULL;
    out->weights = arena_array(cx->arena, (size_t)p.n + 2, sizeof *out->weights); /* and a head */
    if (!measure_all(&p, p.targets, p.n, out))
        return NULL;
    if (!p.n)
        return base;
    MadeTensor *made = arena_array(cx->arena, (size_t)p.n, sizeof *made);
    for (int i = 0; i < p.n; i++)
        made[i] = made_tensor(&p.targets[i], p.targets[i].key);
    return checkpoint_with(cx, base, made, p.n);
}

/* A pair of a tied head, with the table that the head reads. */
static bool add_head(Plans *p, const Adapter *a, const AdapterSite *s, const char *table, Target *t)
{
    AdapterSite *of = arena_alloc(p->cx->arena, sizeof *of);
    *of = *s;
    of->key = table;
    if (t->type.rank != 2 || s->out != t->type.dims[0] || s->in != t->type.dims[1]) {
        diag_file_error(p->cx->diags, "E0677", a->path, arena_print(p->cx->arena, "module `%s`", file_shown(p->cx, s->module)),
                        "the pair takes %lld inputs to %lld outputs, and the table that the head reads, `%s`, has %lld rows of %lld",
                        (long long)s->in, (long long)s->out, file_shown(p->cx, table), (long long)t->type.dims[0], (long long)t->row);
        return false;
    }
    Change c = {.weight = a->weight, .site = of};
    if (s->magnitude) {
        double *gain = arena_array(p->cx->arena, (size_t)s->out + 1, sizeof *gain);
        if (!adapter_gains(p->cx, p->base, of, gain))
            return false;
        c.gain = gain;
    }
    t->changes[t->n++] = c;
    t->origin = a->path;
    return true;
}

Checkpoint *merge_head(Context *cx, Checkpoint *top, const Checkpoint *base, const Adapters *all, const MergeOptions *o, const char *table,
                       const char *name, Merge *out)
{
    Plans p = {.cx = cx, .base = base, .o = o};
    Target *t = arena_alloc(cx->arena, sizeof *t);
    int n = 0;
    for (int i = 0; i < all->n; i++)
        n += all->items[i]->n_sites;
    *t = target_of(base, table);
    t->origin = checkpoint_file(base, table);
    t->stored = o->stored;
    t->changes = arena_array(cx->arena, (size_t)n + 1, sizeof *t->changes);
    for (int i = 0; i < all->n; i++)
        for (int k = 0; k < all->items[i]->n_sites && all->items[i]->weight != 0; k++)
            if (all->items[i]->sites[k].tied && !add_head(&p, all->items[i], &all->items[i]->sites[k], table, t))
                return NULL;
    t->key = name;
    MadeTensor made = made_tensor(t, name);
    if (!measure_all(&p, t, 1, out))
        return NULL;
    return checkpoint_with(cx, top, &made, 1);
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

static int worst_first(const void *a, const void *b)
{
    const MergeLoss *x = &(*(const MergedWeight *const *)a)->kept, *y = &(*(const MergedWeight *const *)b)->kept;
    double p = x->update > 0 ? x->error / x->update : 0, q = y->update > 0 ? y->error / y->update : 0;
    return p < q ? 1 : p > q ? -1 : 0;
}

static void print_loss(Text *out, const char *what, const MergeLoss *l)
{
    text_add(out, "%s: error %.2e of the update, %.1f %% of the entries that it changes keep the base's value", what,
             l->update > 0 ? l->error / l->update : 0, l->entries > 0 ? 100 * l->still / l->entries : 0);
}

static const char *table_of(Context *cx, const Merge *m)
{
    Text out = text_new(cx->arena);
    const MergedWeight **order = arena_array(cx->arena, (size_t)m->n, sizeof *order);
    for (int i = 0; i < m->n; i++)
        order[i] = &m->weights[i];
    qsort(order, (size_t)m->n, sizeof *order, worst_first);
    for (int i = 0; i < m->n && i < SHOWN; i++) {
        const MergedWeight *w = order[i];
        text_add(&out, "%s, rank %d, update %.2e of the weight; ", w->key, w->rank, w->kept.base > 0 ? w->kept.update / w->kept.base : 0);
        print_loss(&out, m->stored ? dtype_name(w->stored) : "f32", &w->kept);
        text_add(&out, "\n");
    }
    return out.data;
}

void merge_record(Context *cx, const Merge *m, const Adapters *all, Approximations *out)
{
    MergeLoss kept = merge_total(m, false), stored = merge_total(m, true);
    if (!m->stored && !(kept.error > SILENT * kept.update))
        return;
    Text where = text_new(cx->arena), note = text_new(cx->arena);
    for (int i = 0; i < all->n; i++) {
        text_add(&where, "%s%s", i ? " + " : "", all->items[i]->path);
        if (all->items[i]->weight != 1)
            text_add(&where, ":%g", all->items[i]->weight);
    }
    const char *type = m->stored ? "the base's type" : "f32";
    Approximation *a = approximation_add(out, "lora-merge", where.data, arena_print(cx->arena, "%d weights kept in %s", m->n, type));
    print_loss(&note, m->stored ? "kept as the base stores them" : "kept as the base stores them it would be", &stored);
    a->error = "relative error of the update";
    a->measured = kept.update > 0 ? kept.error / kept.update : 0;
    a->measured_on = arena_print(cx->arena, "up to %lld rows of each; %.1f %% of its entries lost", (long long)m->rows,
                                 kept.entries > 0 ? 100 * kept.still / kept.entries : 0);
    a->bound = MOST_LOST;
    a->bound_name = "most that may be lost";
    a->note = note.data;
    a->table = arena_print(cx->arena, "%s%s\n", table_of(cx, m), note.data);
    a->help = m->stored ? "keep merged weights in f32: leave out --lora-dtype; or `--lora-mode side` leaves the base alone"
                        : "the update is too small against the weights for f32: `--lora-mode side` leaves the base alone";
}
