/* The memory of a process, counted from the plan.
 *
 * Everything large is in the plan: packed weights, arena, caches, inputs, outputs. The rest was measured: a process
 * that has done nothing yet is 6 MB with its libraries, and compiling leaves about as much behind as its C is long,
 * many times over (graphs, remarks, texts). */
#include "driver/memory.h"

#include <stdint.h>

#include "runtime/pack.h"
#include "support/checked.h"

enum { PROCESS = 7 << 20, EACH_CHARACTER = 90, STACK = 128 << 10, PAGE = 4096 };

/* Sizes that somebody asks for may be any: what does not fit is the most that there is. */
static int64_t times(int64_t a, int64_t b)
{
    int64_t out;
    return checked_imul(a, b, &out) ? out : INT64_MAX;
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t out;
    return checked_iadd(a, b, &out) ? out : INT64_MAX;
}

static int64_t dim_size(const PlanDim *d, const int64_t *sizes)
{
    int64_t size = d->base;
    for (int i = 0; i < d->n; i++)
        size = plus(size, times(d->factor[i], sizes[d->symbol[i]]));
    return size;
}

static int64_t elements_of(const PlanTensor *t, const int64_t *sizes)
{
    int64_t count = 1;
    for (int a = 0; a < t->rank; a++)
        count = times(count, dim_size(&t->dims[a], sizes));
    return count;
}

static int64_t tensor_bytes(const PlanTensor *t, const int64_t *sizes)
{
    return plus(times(elements_of(t, sizes), (int64_t)dtype_size(t->dtype)),
                PAGE); /* the last page may be used in part */
}

static int64_t product(const PackDim *dims, int rank)
{
    int64_t count = 1;
    for (int d = 0; d < rank; d++)
        count *= dims[d].size;
    return count;
}

/* The item's bytes, and the tables that packing makes of it. Rows that are read when they are asked for bring their pages, and an element names one. */
static int64_t item_bytes(const Compilation *c, const PackItem *item, const int64_t *sizes)
{
    const Plan *plan = &c->emitted.plan;
    int64_t rows = product(item->n, item->n_rank),
            row = product(item->k, item->k_rank) * (int64_t)dtype_size(item->dtype);
    int64_t all = item->layers > 1 ? (int64_t)item->layer_stride * (item->layers - 1) + (int64_t)item->bytes
                                   : (int64_t)item->bytes;
    bool by_rows = c->checkpoint ? pack_by_rows(c->checkpoint, item) : item->rows_by != 0;
    if (!by_rows)
        return all;
    int64_t named = elements_of(&plan->inputs[item->rows_by - 1], sizes), pages = (row + PAGE - 1) / PAGE + 1;
    int64_t bytes = named < rows ? times(named, pages * PAGE) : all;
    return (bytes < all ? bytes : all) + rows * ((int64_t)sizeof(int64_t) + 1);
}

static int64_t cache_bytes(const PlanTensor *t, const int64_t *sizes)
{
    bool by_batch = t->rank > 0 && t->growing != 0 && t->dims[0].n > 0;
    return times((int64_t)t->bytes_per_row * t->layers, by_batch ? dim_size(&t->dims[0], sizes) : 1);
}

Memory memory_of(const Compilation *c, const int64_t *sizes)
{
    const Plan *plan = &c->emitted.plan;
    Memory m = {.process = PROCESS + (int64_t)c->emitted.length * EACH_CHARACTER};
    for (int i = 0; i < plan->n_weights; i++)
        m.weights = plus(m.weights, item_bytes(c, &plan->weights[i], sizes));
    for (int i = 0; i < plan->n_inputs; i++)
        m.tensors =
            plus(m.tensors, times(2, tensor_bytes(&plan->inputs[i],
                                                  sizes))); /* the caller's, and a copy that kernels may read beyond */
    for (int i = 0; i < plan->n_outputs; i++)
        m.tensors = plus(m.tensors, tensor_bytes(&plan->outputs[i], sizes));
    for (int i = 0; i < plan->n_caches; i++)
        m.caches = plus(m.caches, cache_bytes(&plan->caches[i], sizes));
    int64_t bound;
    m.values = plan_arena_bytes(c->kernels, sizes, &bound);
    int64_t scratch = codegen_scratch(&c->emitted, c->kernels, sizes);
    m.thread = (scratch > PACK_ROOM ? scratch : PACK_ROOM) + STACK; /* one after the other */
    m.peak = plus(plus(plus(m.process, m.weights), plus(m.values, m.tensors)), plus(m.caches, m.thread));
    return m;
}
