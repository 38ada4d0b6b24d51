/* Packing: stored tensors, in the layouts that the kernels read, widened to f32 unless the item keeps their own type.
 *
 * Element (i, j) of an item lies at start + noff[i] + koff[j] of the stored tensor, so two small tables hold every
 * layout: transposed, sliced, several tensors in one. An item is cut into blocks whose stored elements span at most
 * PACK_CHUNK; a worker reads that span, converts it and scatters it. Beyond the packed weights the memory is the tables
 * and one chunk a worker. */
#include "runtime/pack_inside.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/file.h"
#include "runtime/pool.h"
#include "runtime/scatter.h"
#include "runtime/safetensors.h"
#include "support/checked.h"
#include "support/holes.h"

enum { SMALL = 32 << 10, MAX_LAYERS = 1 << 20, MAX_TENSORS = 1 << 24 };

/* ---- checking an item -------------------------------------------------------------------------------------------- */

bool pack_fail(Context *cx, const PackItem *item, const char *code, const char *why)
{
    const char *where = item->key ? arena_print(cx->arena, "tensor `%s`", file_shown(cx, item->key)) : "a constant";
    diag_file_error(cx->diags, code, NULL, where, "%s", why);
    return false;
}

static bool count_of(const PackDim *dims, int rank, int64_t *out)
{
    *out = 1;
    for (int d = 0; d < rank; d++) {
        if (dims[d].size < 0 || !checked_imul(*out, dims[d].size, out))
            return false;
    }
    return true;
}

/* The type in which elements come from their tensors. */
static DType read_as(const PackItem *item)
{
    return item->rounded ? DT_F32 : item->dtype;
}

static int64_t stacked(const PackItem *item)
{
    return item->stack ? item->stack : 1;
}

/* The layers' tensors, all with the shape that the plan was made for, and its type if that is not f32. Else each may have a type of its own: an adapter
 * merged into some layers alone makes f32 of these. */
static bool find_tensors(Context *cx, const Checkpoint *c, Job *job)
{
    const PackItem *item = job->item;
    int64_t all, stack = stacked(item);
    int first = item->stack != 0, rank = item->stored_rank - first;
    const HostTensor *table = checkpoint_tensors(c, &all);
    job->tensors = arena_array(cx->arena, (size_t)(item->layers * stack), sizeof *job->tensors);
    for (int64_t i = 0; i < item->layers * stack; i++) {
        int64_t number = checkpoint_number(c, hole_fill(cx->arena, item->key, i / stack, i % stack));
        if (number < 0)
            return pack_fail(cx, item, "E0420", "the checkpoint has no such tensor");
        const HostTensor *t = &table[number];
        if (t->rank != rank || memcmp(t->dims, item->stored + first, (size_t)rank * sizeof *t->dims))
            return pack_fail(cx, item, "E0420", "its shape is not the one that the model was compiled for");
        if (read_as(item) != DT_F32 && t->dtype != item->dtype)
            return pack_fail(cx, item, "E0420", "its type is not the one that the model was compiled for");
        job->tensors[i] = number;
        job->each = host_count(t);
    }
    return true;
}

static bool fail_gain(Context *cx, const PackItem *item, const char *code, const char *why)
{
    PackItem gain = {.key = item->gain};
    return pack_fail(cx, &gain, code, why);
}

/* One layer's gain, `plus` added, times the item's factor. */
static bool read_gain(Context *cx, const Checkpoint *c, const Job *job, int64_t layer, double *out)
{
    const PackItem *item = job->item;
    const char *key = hole_fill(cx->arena, item->gain, layer, -1);
    const HostTensor *t = checkpoint_find(c, key);
    if (!t)
        return fail_gain(cx, item, "E0420", "the checkpoint has no such tensor");
    if (t->rank != 1 || t->dims[0] != job->gain_size)
        return fail_gain(cx, item, "E0420", "its shape is not the one that the model was compiled for");
    if (!checkpoint_read_f64(cx, c, key, 0, job->gain_size, out))
        return false;
    for (int64_t i = 0; i < job->gain_size; i++)
        out[i] = (out[i] + item->plus) * (item->factor != 0 ? item->factor : 1);
    return true;
}

static bool find_gains(Context *cx, const Checkpoint *c, Job *job)
{
    const PackItem *item = job->item;
    int dims = item->n_rank + item->k_rank, at = item->gain_dim;
    int64_t layers = hole_of_round(item->gain) ? item->layers : 1;
    uint64_t count, bytes;
    if (item->data || at < 0 || at >= dims)
        return pack_fail(cx, item, "E9901", "the plan for this weight's gain is malformed");
    bool column = at < item->n_rank;
    const PackDim *dim = column ? item->n : item->k;
    int place = column ? at : at - item->n_rank, rank = column ? item->n_rank : item->k_rank;
    job->gain_size = dim[place].size;
    job->gain_step = 1;
    for (int d = place + 1; d < rank; d++)
        job->gain_step *= dim[d].size;
    if (!checked_mul((uint64_t)layers, (uint64_t)job->gain_size, &count) || !checked_mul(count, sizeof(double), &bytes))
        return pack_fail(cx, item, "E9901", "the plan for this weight's gain is malformed");
    job->gains = malloc(bytes);
    if (!job->gains)
        return pack_fail(cx, item, "E1003", "not enough memory to pack this weight");
    for (int64_t layer = 0; layer < layers; layer++)
        if (!read_gain(cx, c, job, layer, job->gains + layer * job->gain_size))
            return false;
    return true;
}

static void fill_offsets(const PackDim *dims, int rank, int64_t count, int64_t *out)
{
    int64_t index[MAX_RANK] = {0}, at = 0;
    for (int64_t i = 0; i < count; i++) {
        out[i] = at;
        for (int d = rank - 1; d >= 0; d--) {
            at += dims[d].stride;
            if (++index[d] < dims[d].size)
                break;
            at -= dims[d].stride * dims[d].size;
            index[d] = 0;
        }
    }
}

void pack_range_of(const int64_t *offsets, int64_t from, int64_t to, int64_t *low, int64_t *high)
{
    *low = *high = offsets[from];
    for (int64_t i = from + 1; i < to; i++) {
        if (offsets[i] < *low)
            *low = offsets[i];
        if (offsets[i] > *high)
            *high = offsets[i];
    }
}

/* Every element of the item lies inside the stored tensor, and every packed one inside the item's bytes. */
static bool check_places(Context *cx, Job *job, uint64_t weight_bytes)
{
    const PackItem *item = job->item;
    int64_t stored = 1, low_n, high_n, low_k, high_k;
    for (int d = 0; d < item->stored_rank; d++) {
        if (!checked_imul(stored, item->stored[d], &stored))
            return pack_fail(cx, item, "E0428", "the size of the shape overflows");
    }
    pack_range_of(job->noff, 0, job->n, &low_n, &high_n);
    pack_range_of(job->koff, 0, job->k, &low_k, &high_k);
    bool inside = item->start + low_n + low_k >= 0 && (item->data || item->start + high_n + high_k < stored);
    uint64_t columns = (uint64_t)job->n, elements, bytes, last, end;
    if (item->layout == PACK_PANELS)
        columns = (columns + (uint64_t)item->panel - 1) / (uint64_t)item->panel * (uint64_t)item->panel;
    inside = inside && checked_mul(columns, (uint64_t)job->k, &elements) &&
             checked_mul(elements, dtype_size(item->dtype), &bytes) && bytes <= item->bytes;
    inside = inside && checked_mul((uint64_t)item->layers - 1, item->layer_stride, &last) &&
             checked_add(last, item->offset, &last) && checked_add(last, item->bytes, &end) && end <= weight_bytes;
    return inside || pack_fail(cx, item, "E9901", "the plan's places for this weight do not fit");
}

/* Kept in the type of its tensors: then nothing is multiplied into it. */
static bool sound_type(const PackItem *item)
{
    bool as_stored = item->dtype == DT_BF16 || item->dtype == DT_F16;
    if (item->rounded)
        return (item->dtype == DT_BF16 || item->dtype == DT_F32) && !item->data;
    return item->dtype == DT_F32 || (as_stored && !item->data && !item->gain && item->factor == 0);
}

static bool sound_stack(const PackItem *item)
{
    if (!item->stack)
        return true;
    return item->stack > 0 && item->stack <= MAX_LAYERS && item->layers * item->stack <= MAX_TENSORS && !item->data &&
           item->stored_rank > 0 && item->stored[0] == item->stack;
}

static bool prepare(Context *cx, const Checkpoint *c, const Plan *plan, Job *job)
{
    const PackItem *item = job->item;
    uint64_t entries, bytes;
    bool sound = count_of(item->n, item->n_rank, &job->n) && count_of(item->k, item->k_rank, &job->k) &&
                 item->layers > 0 && item->layers <= MAX_LAYERS && sound_stack(item) && sound_type(item) && (item->layout == PACK_PLAIN || item->panel > 0) &&
                 (item->data || c) && checked_add((uint64_t)job->n, (uint64_t)job->k, &entries) &&
                 checked_mul(entries, sizeof(int64_t), &bytes) && bytes <= PTRDIFF_MAX;
    if (!sound)
        return pack_fail(cx, item, "E9901", "the plan for this weight is malformed");
    if (job->n == 0 || job->k == 0)
        return true;
    if (!item->data && !find_tensors(cx, c, job))
        return false;
    if (item->gain && !find_gains(cx, c, job))
        return false;
    job->noff = malloc(bytes);
    if (!job->noff)
        return pack_fail(cx, item, "E1003", "not enough memory to pack this weight");
    job->koff = job->noff + job->n;
    fill_offsets(item->n, item->n_rank, job->n, job->noff);
    fill_offsets(item->k, item->k_rank, job->k, job->koff);
    return check_places(cx, job, plan->weight_bytes);
}

/* ---- cutting into blocks ----------------------------------------------------------------------------------------- */

static bool add_block(Job *job, Block b)
{
    if (job->n_blocks == job->capacity) {
        size_t capacity = job->capacity ? job->capacity * 2 : 64;
        Block *grown = realloc(job->blocks, capacity * sizeof *grown);
        if (!grown)
            return false;
        job->blocks = grown;
        job->capacity = capacity;
    }
    job->blocks[job->n_blocks++] = b;
    return true;
}

/* Halves the axis that spans more until a block's elements lie within one chunk, and few enough for the second cache if
 * they are more than a panel; columns are cut between panels if that goes. */
static bool cut(Job *job, int64_t i0, int64_t i1, int64_t j0, int64_t j1)
{
    int64_t low_n, high_n, low_k, high_k;
    pack_range_of(job->noff, i0, i1, &low_n, &high_n);
    pack_range_of(job->koff, j0, j1, &low_k, &high_k);
    int64_t span = high_n - low_n + high_k - low_k + 1;
    bool one = job->item->layout == PACK_PANELS && i1 - i0 <= job->item->panel;
    if (span <= (one ? PACK_CHUNK : SMALL))
        return add_block(job, (Block){i0, i1, j0, j1, low_n + low_k, span});
    if (high_n - low_n < high_k - low_k) {
        int64_t middle = j0 + (j1 - j0) / 2;
        return cut(job, i0, i1, j0, middle) && cut(job, i0, i1, middle, j1);
    }
    int64_t middle = i0 + (i1 - i0) / 2;
    if (job->item->layout == PACK_PANELS) {
        int64_t panel = job->item->panel, border = middle / panel * panel;
        if (border > i0)
            middle = border;
        else if (border + panel < i1)
            middle = border + panel;
    }
    return cut(job, i0, middle, j0, j1) && cut(job, middle, i1, j0, j1);
}

/* ---- one block --------------------------------------------------------------------------------------------------- */

/* The block's elements, already in their places, times their gains, or times the one factor of all. */
static void multiply(const Job *job, const Block *b, int64_t layer, float *out)
{
    const PackItem *item = job->item;
    const double *gains = job->gains ? job->gains + (hole_of_round(item->gain) ? layer * job->gain_size : 0) : NULL;
    bool column = item->gain_dim < item->n_rank;
    int64_t width = item->layout == PACK_PANELS ? item->panel : 1, end;
    for (int64_t i = b->i0; i < b->i1; i = end) {
        end = i - i % width + width < b->i1 ? i - i % width + width : b->i1;
        float *to = out + i / width * width * job->k + i % width;
        for (int64_t j = b->j0; j < b->j1; j++) {
            double gain = gains ? gains[j / job->gain_step % job->gain_size] : item->factor;
            for (int64_t c = 0; c < end - i; c++) {
                if (gains && column)
                    gain = gains[(i + c) / job->gain_step % job->gain_size];
                to[j * width + c] = (float)(to[j * width + c] * gain);
            }
        }
    }
}

/* The block's elements times their gains, or times the one factor of all, as the nearest of bf16: rounded once, so not by way of `multiply`. */
static void round_products(const Job *job, const Block *b, int64_t layer, const float *elements, unsigned char *out)
{
    const PackItem *item = job->item;
    const double *gains = job->gains ? job->gains + (hole_of_round(item->gain) ? layer * job->gain_size : 0) : NULL;
    bool column = item->gain_dim < item->n_rank;
    int64_t width = item->layout == PACK_PANELS ? item->panel : 1, end;
    uint16_t *narrow = (uint16_t *)(void *)out;
    float *wide = (float *)(void *)out;
    for (int64_t i = b->i0; i < b->i1; i = end) {
        end = i - i % width + width < b->i1 ? i - i % width + width : b->i1;
        int64_t to = i / width * width * job->k + i % width;
        for (int64_t j = b->j0; j < b->j1; j++) {
            double gain = gains ? gains[j / job->gain_step % job->gain_size] : item->factor;
            for (int64_t c = 0; c < end - i; c++) {
                if (gains && column)
                    gain = gains[(i + c) / job->gain_step % job->gain_size];
                uint16_t bits = bfloat_nearest((double)elements[job->noff[i + c] + job->koff[j] - b->low] * gain);
                if (item->dtype == DT_BF16)
                    narrow[to + j * width + c] = bits;
                else
                    wide[to + j * width + c] = bfloat_to_float(bits);
            }
        }
    }
}

/* Without gain and factor: elements as they lie, in the item's type. */
static void round_elements(DType to, int64_t count, float *elements)
{
    uint16_t *narrow = (uint16_t *)(void *)elements; /* element i lies before float i is read, or at it */
    for (int64_t i = 0; i < count; i++) {
        float value = elements[i];
        uint16_t bits = bfloat_nearest((double)value);
        if (to == DT_BF16)
            memcpy(&narrow[i], &bits, sizeof bits);
        else
            elements[i] = bfloat_to_float(bits);
    }
}

/* Elements of one tensor in the type `as`: its own, or f32; `room` holds them as they are stored. */
static int read_tensor(const Work *w, int64_t tensor, int64_t first, int64_t count, DType as, void *room, void *out)
{
    int64_t n;
    DType dtype = checkpoint_tensors(w->checkpoint, &n)[tensor].dtype;
    uint64_t size = dtype_size(dtype);
    void *stored = dtype == as ? out : room;
    int error = checkpoint_read_raw(w->checkpoint, tensor, (uint64_t)first * size, (uint64_t)count * size, stored);
    if (!error && dtype != as)
        convert_f32(dtype, stored, (size_t)count, out);
    return error;
}

/* Elements [first, first + count) of a layer, which may lie in several tensors that are stacked: 0, or an error and the
 * tensor that it is about. */
static int read_elements(const Work *w, const Job *job, int64_t layer, int64_t first, int64_t count, void *room,
                         unsigned char *out, int64_t *tensor)
{
    DType as = read_as(job->item);
    int64_t size = (int64_t)dtype_size(as);
    int error = 0;
    for (int64_t done = 0, now; done < count && !error; done += now) {
        int64_t at = first + done, inside = at % job->each;
        now = count - done < job->each - inside ? count - done : job->each - inside;
        *tensor = job->tensors[layer * stacked(job->item) + at / job->each];
        error = read_tensor(w, *tensor, inside, now, as, room, out + done * size);
    }
    return error;
}

int pack_block(const Work *w, const Job *job, int64_t layer, const Block *b, unsigned char *room, int64_t *tensor)
{
    const PackItem *item = job->item;
    unsigned char *out = w->out + item->offset + (uint64_t)layer * item->layer_stride;
    Scatter to = {.size = dtype_size(item->dtype), .panel = item->layout == PACK_PANELS ? item->panel : 0, .k = job->k,
                  .noff = job->noff, .koff = job->koff, .low = b->low};
    if (item->data) {
        pack_scatter(&to, b->i0, b->i1, b->j0, b->j1, item->data + item->start + b->low, out);
        return 0;
    }
    unsigned char *elements = room + PACK_CHUNK * sizeof(double);
    int error = read_elements(w, job, layer, item->start + b->low, b->span, room, elements, tensor);
    if (error)
        return error;
    bool scaled = job->gains || item->factor != 0;
    if (item->rounded && scaled) {
        round_products(job, b, layer, (const float *)(const void *)elements, out);
        return 0;
    }
    if (item->rounded)
        round_elements(item->dtype, b->span, (float *)(void *)elements);
    pack_scatter(&to, b->i0, b->i1, b->j0, b->j1, elements, out);
    if (scaled)
        multiply(job, b, layer, (float *)(void *)out);
    return 0;
}

static void work(void *state, ptrdiff_t thread)
{
    Work *w = state;
    unsigned char *room = w->rooms + (size_t)thread * PACK_ROOM;
    size_t before = 0; /* blocks of all layers of the jobs before this one */
    int at = 0;
    while (atomic_load(&w->error) == 0) {
        size_t taken = atomic_fetch_add(&w->next, 1);
        while (at < w->n_jobs && taken - before >= w->jobs[at].n_blocks * (size_t)w->jobs[at].item->layers) {
            before += w->jobs[at].n_blocks * (size_t)w->jobs[at].item->layers;
            at++;
        }
        if (at == w->n_jobs)
            return;
        const Job *job = &w->jobs[at];
        int64_t layer = (int64_t)((taken - before) / job->n_blocks);
        int64_t tensor = 0;
        int error = pack_block(w, job, layer, &job->blocks[(taken - before) % job->n_blocks], room, &tensor);
        int none = 0;
        if (error && atomic_compare_exchange_strong(&w->error, &none, error))
            w->failed = tensor;
    }
}

/* ---- all items --------------------------------------------------------------------------------------------------- */

static bool run(Context *cx, Work *w, int threads)
{
    Pool *pool = threads > 1 ? pool_new(threads) : NULL; /* without threads the caller does it all */
    int n = pool ? threads : 1;
    w->rooms = malloc((size_t)n * PACK_ROOM);
    if (!w->rooms) {
        pool_free(pool);
        diag_file_error(cx->diags, "E1003", NULL, NULL, "not enough memory to pack the weights");
        return false;
    }
    if (pool)
        pool_run(pool, work, w);
    else
        work(w, 0);
    pool_free(pool);
    free(w->rooms);
    int error = atomic_load(&w->error);
    if (error)
        checkpoint_report(cx, w->checkpoint, w->failed, error);
    return error == 0;
}

static bool prepare_items(Context *cx, const Checkpoint *c, const Plan *plan, Work *w)
{
    for (int i = 0; i < w->n_jobs; i++) {
        w->jobs[i].item = &plan->weights[i];
        if (!prepare(cx, c, plan, &w->jobs[i]))
            return false;
    }
    return true;
}

static bool pack_items(Context *cx, Work *w, int threads)
{
    for (int i = 0; i < w->n_jobs; i++) {
        Job *job = &w->jobs[i];
        if (job->n > 0 && job->k > 0 && !cut(job, 0, job->n, 0, job->k))
            return pack_fail(cx, job->item, "E1003", "not enough memory to pack this weight");
    }
    return run(cx, w, threads);
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

bool pack_weights(Context *cx, const Checkpoint *c, const Plan *plan, int threads, Packed *out)
{
    *out = (Packed){.data = memory_map(plan->weight_bytes), .bytes = plan->weight_bytes};
    if (!out->data) {
        diag_file_error(cx->diags, "E1003", NULL, NULL, "not enough memory for %llu bytes of weights",
                        (unsigned long long)plan->weight_bytes);
        return false;
    }
    Work w = {.checkpoint = c, .n_jobs = plan->n_weights, .out = out->data};
    w.jobs = arena_array(cx->arena, (size_t)plan->n_weights + 1, sizeof *w.jobs);
    bool good = prepare_items(cx, c, plan, &w) && pack_take_tables(cx, c, &w, out) && pack_items(cx, &w, threads);
    for (int i = 0; i < w.n_jobs; i++) {
        free(w.jobs[i].noff);
        free(w.jobs[i].gains);
        free(w.jobs[i].blocks);
    }
    if (!good)
        pack_free(out);
    return good;
}

void pack_free(Packed *p)
{
    pack_free_rows(p->rows);
    memory_unmap(p->data, p->bytes);
    *p = (Packed){0};
}
