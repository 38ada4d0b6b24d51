/* Rows of tables that are only looked up: packed when a run asks for them, each once, whichever session asks first. */
#include "runtime/pack_inside.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "runtime/safetensors.h"

typedef struct Table { /* an item whose rows are packed when they are asked for */
    Job job;
    atomic_uchar *here; /* of each row */
} Table;

struct PackedRows {
    const Checkpoint *checkpoint;
    unsigned char *out;
    pthread_mutex_t lock; /* whoever packs rows */
    Table *tables;
    int count;
    _Alignas(16) unsigned char room[];
};

/* Rows of a tensor of a file that fit a chunk. What is made of several is packed as a whole. */
bool pack_by_rows(const Checkpoint *c, const PackItem *item)
{
    if (!item->rows_by || item->layers != 1 || item->stack || item->layout != PACK_PLAIN || item->gain || item->data)
        return false;
    int64_t number = checkpoint_number(c, item->key), span = 0;
    for (int d = 0; d < item->k_rank; d++)
        span += (item->k[d].size - 1) * (item->k[d].stride < 0 ? -item->k[d].stride : item->k[d].stride);
    return number >= 0 && !checkpoint_is_made(c, number) && span < PACK_CHUNK;
}

static bool add_table(PackedRows *rows, Job *job)
{
    atomic_uchar *here = calloc((size_t)job->n, sizeof *here);
    if (!here)
        return false;
    rows->tables[rows->count++] = (Table){*job, here};
    *job = (Job){.item = job->item}; /* no blocks, nothing to free */
    const PackItem *item = job->item;
    madvise(rows->out + item->offset, item->bytes, MADV_NOHUGEPAGE); /* a row brings its own page, not two megabytes */
    return true;
}

bool pack_take_tables(Context *cx, const Checkpoint *c, Work *w, Packed *out)
{
    for (int i = 0; i < w->n_jobs; i++) {
        Job *job = &w->jobs[i];
        if (!job->n || !job->k || !pack_by_rows(c, job->item))
            continue;
        PackedRows *rows = out->rows;
        if (!rows) {
            rows = out->rows = calloc(1, sizeof *rows + PACK_ROOM);
            if (rows) {
                rows->checkpoint = c;
                rows->out = out->data;
                pthread_mutex_init(&rows->lock, NULL);
                rows->tables = calloc((size_t)w->n_jobs, sizeof *rows->tables);
            }
        }
        if (!rows || !rows->tables || !add_table(rows, job))
            return pack_fail(cx, job->item, "E1003", "not enough memory to pack this weight");
    }
    return true;
}

/* Rows [i, i + 1) one by one; nobody else packs meanwhile. */
static int pack_missing(PackedRows *rows, Table *t, const int32_t *elements, int64_t count)
{
    Work w = {.checkpoint = rows->checkpoint, .out = rows->out};
    int64_t low, high, tensor;
    int error = checkpoint_check(rows->checkpoint, t->job.tensors[0]);
    pack_range_of(t->job.koff, 0, t->job.k, &low, &high);
    for (int64_t e = 0; e < count && !error; e++) {
        int64_t i = elements[e];
        if (i < 0 || i >= t->job.n || atomic_load_explicit(&t->here[i], memory_order_relaxed))
            continue;
        Block row = {i, i + 1, 0, t->job.k, t->job.noff[i] + low, high - low + 1};
        error = pack_block(&w, &t->job, 0, &row, rows->room, &tensor);
        if (!error)
            error = checkpoint_check(rows->checkpoint, t->job.tensors[0]);
        if (!error)
            atomic_store_explicit(&t->here[i], 1, memory_order_release);
    }
    return error;
}

static bool all_here(const Table *t, const int32_t *elements, int64_t count)
{
    for (int64_t e = 0; e < count; e++) {
        int64_t i = elements[e];
        if (i >= 0 && i < t->job.n && !atomic_load_explicit(&t->here[i], memory_order_acquire))
            return false;
    }
    return true;
}

bool pack_rows(Context *cx, PackedRows *rows, int input, const int32_t *elements, int64_t count)
{
    for (int i = 0; i < rows->count; i++) {
        Table *t = &rows->tables[i];
        if (t->job.item->rows_by != input + 1 || all_here(t, elements, count))
            continue;
        pthread_mutex_lock(&rows->lock);
        int error = pack_missing(rows, t, elements, count);
        pthread_mutex_unlock(&rows->lock);
        if (error) {
            checkpoint_report(cx, rows->checkpoint, t->job.tensors[0], error);
            return false;
        }
    }
    return true;
}

void pack_free_rows(PackedRows *rows)
{
    for (int i = 0; rows && i < rows->count; i++) {
        free(rows->tables[i].job.noff);
        free(rows->tables[i].here);
    }
    if (rows)
        free(rows->tables);
    free(rows);
}
