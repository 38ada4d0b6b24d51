/* Sums of x^T x over a calibration run: all that a least-squares problem in the weight needs to know of its inputs. */
#include "driver/lowrank_inputs.h"

#include <string.h>

#include "driver/aside.h"
#include "ir/interpret.h"

enum { ROWS_AT_ONCE = 256 };
static const double MOST_BYTES = 4.0 * (1 << 30); /* of all sums */

typedef struct Walk { /* over a kept x: rows outside, what is summed inside */
    int n_rows, n_in;
    int64_t row_dims[MAX_RANK], row_step[MAX_RANK], in_dims[MAX_RANK], in_step[MAX_RANK];
} Walk;

static Walk walk_of(const LowrankInputs *k, const LowrankSite *s, const Node *x, const int64_t *sizes)
{
    Walk w = {.n_in = s->n_in};
    int64_t step = 1;
    for (int i = x->type->rank - 1; i >= 0; i--) {
        int64_t dim = extent_value(x->type->axis[i].size, k->c->kernels, sizes);
        int in = 0;
        while (in < s->n_in && s->weight->type->axis[s->in_axis[in]].name != x->type->axis[i].name)
            in++;
        if (in < s->n_in) {
            w.in_dims[in] = dim;
            w.in_step[in] = step;
        } else {
            w.row_dims[w.n_rows] = dim;
            w.row_step[w.n_rows++] = step;
        }
        step *= dim;
    }
    return w;
}

/* Where element number `at` of these axes lies. The order of rows does not matter, that of columns is the weight's. */
static int64_t offset_of(const int64_t *dims, const int64_t *step, int n, int64_t at)
{
    int64_t offset = 0;
    for (int i = n - 1; i >= 0; i--) {
        offset += at % dims[i] * step[i];
        at /= dims[i];
    }
    return offset;
}

static int64_t add_rows(LowrankInputs *k, const LowrankSite *s, const Walk *w, const float *data, Matrix gram)
{
    Arena work = {.on_oom = k->c->arena.on_oom, .oom_state = k->c->arena.oom_state};
    int64_t rows = 1;
    for (int i = 0; i < w->n_rows; i++)
        rows *= w->row_dims[i];
    int64_t *columns = arena_array(&work, (size_t)s->in, sizeof *columns);
    for (int64_t j = 0; j < s->in; j++)
        columns[j] = offset_of(w->in_dims, w->in_step, w->n_in, j);
    Matrix some = matrix_new(&work, ROWS_AT_ONCE, s->in), sum = matrix_new(&work, s->in, s->in);
    for (int64_t first = 0; first < rows && !k->status; first += ROWS_AT_ONCE) {
        some.rows = rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE;
        for (int64_t i = 0; i < some.rows; i++) {
            const float *row = data + offset_of(w->row_dims, w->row_step, w->n_rows, first + i);
            for (int64_t j = 0; j < s->in; j++)
                some.at[i * s->in + j] = (double)row[columns[j]];
        }
        k->status = matrix_multiply_into(some, true, some, false, sum);
        for (int64_t i = 0; i < s->in * s->in && !k->status; i++)
            gram.at[i] += sum.at[i];
    }
    k->rows = rows > k->rows ? rows : k->rows;
    arena_free(&work);
    return rows;
}

static void value(void *state, const Node *kernel, int64_t round, const int64_t *sizes, const void *data)
{
    LowrankInputs *k = state;
    for (int i = 0; i < k->plan->n; i++) {
        const LowrankSite *s = &k->plan->sites[i];
        bool done = s->kept != kernel || round >= s->rounds;
        for (int j = 0; j < i && !done; j++)
            done = k->grams[j] == k->grams[i];
        if (done)
            continue;
        Walk w = walk_of(k, s, kernel, sizes);
        int64_t rows = add_rows(k, s, &w, data, k->grams[i][round]);
        k->seen[i] += round == 0 ? rows : 0;
    }
}

/* Sites with the same x, their summed axes in the same order, share the sums of the first of them. */
static bool same_sums(const LowrankSite *s, const LowrankSite *t)
{
    bool same = s->kept == t->kept && s->n_in == t->n_in && s->rounds == t->rounds;
    for (int i = 0; same && i < s->n_in; i++)
        same = s->weight->type->axis[s->in_axis[i]].name == t->weight->type->axis[t->in_axis[i]].name;
    return same;
}

static bool make_room(LowrankInputs *k)
{
    double bytes = 0;
    k->grams = arena_array(&k->c->arena, (size_t)k->plan->n + 1, sizeof *k->grams);
    k->seen = arena_array(&k->c->arena, (size_t)k->plan->n + 1, sizeof *k->seen);
    for (int i = 0; i < k->plan->n; i++) {
        const LowrankSite *s = &k->plan->sites[i];
        if (s->asked && !s->refused)
            bytes += (double)s->rounds * (double)s->in * (double)s->in * sizeof(double);
    }
    if (bytes <= MOST_BYTES)
        return true;
    diag_file_error(&k->c->diags, "E0906", NULL, NULL, "the inputs of these products take sums of %.1f GiB, and 4 are the most: ask for fewer weights at once", bytes / (1 << 30));
    return false;
}

static void share_room(LowrankInputs *k)
{
    for (int i = 0; i < k->plan->n; i++) {
        const LowrankSite *s = &k->plan->sites[i];
        for (int j = 0; s->kept && j < i && !k->grams[i]; j++)
            if (same_sums(s, &k->plan->sites[j]))
                k->grams[i] = k->grams[j];
        if (!s->kept || k->grams[i])
            continue;
        k->grams[i] = arena_array(&k->c->arena, (size_t)s->rounds, sizeof **k->grams);
        for (int64_t r = 0; r < s->rounds; r++)
            k->grams[i][r] = matrix_new(&k->c->arena, s->in, s->in);
    }
}

static void first_call(void *state)
{
    LowrankInputs *k = state;
    if (!k->rows)
        share_room(k); /* the passes have run now: it is known which x are the same */
}

bool lowrank_inputs(Compilation *c, const CompileOptions *o, LowrankPlan *plan, LowrankInputs *out)
{
    *out = (LowrankInputs){.c = c, .plan = plan};
    if (!make_room(out))
        return false;
    AsideRun run = {.passes = {.lowrank = plan}, .captures = PASS_ID_factor_lowrank, .next_call = first_call, .value = value, .state = out};
    plan->capture = true;
    bool good = aside_run(c, o, &run);
    plan->capture = false;
    out->measured_on = run.measured_on;
    return good;
}
