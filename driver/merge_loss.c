/* What rounding leaves of an update: norms of update and error, entries that keep the base's value, on rows evenly over each weight. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/merge_inside.h"
#include "runtime/safetensors.h"

enum { SHOWN = 8 };
#define MOST_LOST 0.25 /* of the update's norm, before a merge is refused */
#define SILENT 1e-3    /* in f32: what rounding the weights costs any model */

/* `from`: the type of the base, whose own numbers it holds exactly. */
static void count_losses(DType from, DType to, int64_t count, const double *w, const double *sum, MergeLoss *out)
{
    bool exact = from == to || (to == DT_F32 && from != DT_F64);
    for (int64_t j = 0; j < count; j++) {
        double value = w[j] + sum[j], kept = dtype_rounded(to, value), was = exact ? w[j] : dtype_rounded(to, w[j]);
        out->update += sum[j] * sum[j];
        out->base += w[j] * w[j];
        out->error += (kept - value) * (kept - value);
        out->entries += sum[j] != 0;
        out->still += sum[j] != 0 && kept == was;
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
    double w[MERGE_PIECE], sum[MERGE_PIECE];
    DType from = t->type.dtype, kept = t->stored ? from : DT_F32;
    int64_t rows = t->rows < MERGE_ROWS ? t->rows : MERGE_ROWS;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t column = 0; column < t->row; column += MERGE_PIECE) {
            int64_t now = t->row - column < MERGE_PIECE ? t->row - column : MERGE_PIECE;
            int error = merge_row(t, i * t->rows / rows, column, now, w, sum);
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

bool merge_measure(Context *cx, int threads, const Target *targets, int n, Merge *out)
{
    Measured *all = arena_array(cx->arena, (size_t)n + 1, sizeof *all);
    int weights = 0;
    for (int i = 0; i < n; i++)
        if (targets[i].n && targets[i].changes[0].bias)
            out->biases++;
        else if (targets[i].n)
            all[weights++] = add_weight(&targets[i], out);
    merge_each(threads, weights, measure_one, all);
    for (int i = 0; i < weights; i++)
        if (all[i].error)
            return checkpoint_report(cx, all[i].target->base, all[i].target->tensor, all[i].error), false;
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
    }
    finish_losses(&all);
    return all;
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
