/* Sessions: the memory of one caller, and the call itself.
 *
 * Everything a run needs is kept from run to run and only grows: copies of the inputs that cannot be read where they
 * are, outputs, the arena. Caches are as large as they can become from the start. So a run with sizes seen before
 * allocates nothing. */
#include "runtime/session.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/file.h"
#include "runtime/inputs.h"
#include "support/checked.h"

enum { MEET_BYTES = 256 }; /* for each thread */

typedef struct Room {
    unsigned char *data;
    uint64_t bytes;
} Room; /* grows, never shrinks */

struct Session {
    const Program *program;
    const Plan *plan;
    SessionHooks hooks;
    Pool *pool;
    int64_t batch, length, capacity; /* positions filled, and how many the caches hold */
    int64_t held;                    /* positions that states have seen: they cannot forget some of them */
    int batch_symbol;                /* -1: none */
    PlanDim grows;
    Size *sizes;     /* of each symbol */
    int64_t *values; /* the same, as arena_bytes takes them */
    const HostTensor **matched;
    Room *inputs, *outputs, *caches;
    const void **given; /* what kernels read of each input: the caller's elements, or the copy in `inputs` */
    HostTensor *results;
    Room arena, meet;
    uint64_t *slots; /* the call */
    int64_t fault[4];
};

typedef struct Call {
    const Program *program;
    const void *slots;
    atomic_int failed;
} Call;

/* ---- making one -------------------------------------------------------------------------------------------------- */

static bool room_for(Room *r, uint64_t bytes)
{
    if (r->data && bytes <= r->bytes)
        return true;
    uint64_t roomy = r->data ? bytes + bytes / 4 : bytes; /* lengths that grow step by step do not map anew each time */
    memory_unmap(r->data, r->bytes);                      /* first: never both at once */
    *r = (Room){roomy >= bytes ? memory_map(roomy) : NULL, roomy};
    return r->data != NULL;
}

static bool no_memory(Context *cx, const char *what, uint64_t bytes, const char *sizes)
{
    diag_file_error(cx->diags, "E1003", NULL, NULL, "not enough memory for %" PRIu64 " bytes of %s%s%s", bytes, what,
                    *sizes ? " with " : "", sizes);
    return false;
}

static bool is_symbol(const PlanDim *d)
{
    return d->n == 1 && d->factor[0] == 1 && d->base == 0;
}

static int find_batch(const Plan *plan)
{
    for (int i = 0; i < plan->n_caches; i++) {
        if (plan->caches[i].rank > 0 && plan->caches[i].growing != 0 && is_symbol(&plan->caches[i].dims[0]))
            return plan->caches[i].dims[0].symbol[0];
    }
    return -1;
}

static PlanDim find_growth(const Plan *plan, int batch_symbol)
{
    if (plan->grows.n > 0 || plan->grows.base > 0)
        return plan->grows;
    for (int i = 0; i < plan->n_inputs; i++) {
        for (int a = 0; a < plan->inputs[i].rank; a++) {
            const PlanDim *d = &plan->inputs[i].dims[a];
            if (is_symbol(d) && !plan->symbols[d->symbol[0]].past && d->symbol[0] != batch_symbol)
                return *d;
        }
    }
    return (PlanDim){.base = 1};
}

int64_t plan_capacity(const Plan *plan)
{
    int64_t capacity = INT64_MAX;
    for (int i = 0; i < plan->n_caches; i++) {
        const PlanTensor *c = &plan->caches[i];
        if (c->growing >= 0 && c->dims[c->growing].base < capacity)
            capacity = c->dims[c->growing].base;
    }
    for (int i = 0; i < plan->n_symbols; i++)
        if (plan->symbols[i].past && plan->symbols[i].high < capacity)
            capacity = plan->symbols[i].high;
    return plan->n_caches ? capacity : 0;
}

bool plan_grows(const Plan *plan)
{
    for (int i = 0; i < plan->n_caches; i++)
        if (plan->caches[i].growing >= 0)
            return true;
    return false;
}

const PlanTensor *plan_state(const Plan *plan)
{
    for (int i = 0; i < plan->n_caches; i++)
        if (plan->caches[i].growing < 0)
            return &plan->caches[i];
    return NULL;
}

static bool check_batch(Context *cx, const Session *s)
{
    if (s->batch_symbol < 0)
        return true;
    const PlanSymbol *p = &s->plan->symbols[s->batch_symbol];
    if (s->batch > 0 && s->batch >= p->low && s->batch <= p->high)
        return true;
    diag_file_error(cx->diags, "E0609", NULL, NULL,
                    "a session of this model needs a size for axis %s from %" PRId64 " to %" PRId64 ", not %" PRId64,
                    p->name, p->low > 1 ? p->low : 1, p->high, s->batch);
    return false;
}

static bool make_caches(Context *cx, Session *s)
{
    uint64_t total = 0;
    for (int i = 0; i < s->plan->n_caches; i++) {
        const PlanTensor *c = &s->plan->caches[i];
        bool by_batch = c->rank > 0 && c->growing != 0 && c->dims[0].n > 0;
        uint64_t bytes;
        bool sized = checked_mul(c->bytes_per_row, by_batch ? (uint64_t)s->batch : 1, &bytes) &&
                     checked_mul(bytes, (uint64_t)c->layers, &bytes);
        if (!sized || !checked_add(total, bytes, &total) || !room_for(&s->caches[i], bytes)) {
            return no_memory(cx, "caches", sized ? bytes : UINT64_MAX, "");
        }
    }
    return true;
}

static bool make_tables(Session *s)
{
    const Plan *p = s->plan;
    s->sizes = calloc((size_t)p->n_symbols + 1, sizeof *s->sizes);
    s->values = calloc((size_t)p->n_symbols + 1, sizeof *s->values);
    s->matched = calloc((size_t)p->n_inputs + 1, sizeof *s->matched);
    s->given = calloc((size_t)p->n_inputs + 1, sizeof *s->given);
    s->inputs = calloc((size_t)p->n_inputs + 1, sizeof *s->inputs);
    s->outputs = calloc((size_t)p->n_outputs + 1, sizeof *s->outputs);
    s->caches = calloc((size_t)p->n_caches + 1, sizeof *s->caches);
    s->results = calloc((size_t)p->n_outputs + 1, sizeof *s->results);
    s->slots = calloc((size_t)p->n_slots + 1, sizeof *s->slots);
    return s->sizes && s->values && s->matched && s->given && s->inputs && s->outputs && s->caches && s->results && s->slots;
}

static bool set_up(Context *cx, Session *s, int threads)
{
    if (!make_tables(s))
        return no_memory(cx, "tables of a session", 0, "");
    s->batch_symbol = find_batch(s->plan);
    s->grows = find_growth(s->plan, s->batch_symbol);
    s->capacity = plan_capacity(s->plan);
    if (!check_batch(cx, s) || !make_caches(cx, s))
        return false;
    s->pool = pool_new(threads > 0 ? threads : pool_cpus());
    if (s->pool)
        return room_for(&s->meet, MEET_BYTES * (uint64_t)pool_threads(s->pool)) ||
               no_memory(cx, "counters of threads", MEET_BYTES * (uint64_t)pool_threads(s->pool), "");
    diag_file_error(cx->diags, "E1002", NULL, NULL, "cannot start %d threads", threads > 0 ? threads : pool_cpus());
    return false;
}

Session *session_new(Context *cx, const Program *program, int64_t batch, int threads, const SessionHooks *hooks)
{
    Session *s = calloc(1, sizeof *s);
    if (!s) {
        no_memory(cx, "a session", sizeof *s, "");
        return NULL;
    }
    s->program = program;
    s->plan = program->plan;
    s->batch = batch;
    if (hooks)
        s->hooks = *hooks;
    if (set_up(cx, s, threads))
        return s;
    session_free(s);
    return NULL;
}

static void free_rooms(Room *rooms, int n)
{
    for (int i = 0; rooms && i < n; i++)
        memory_unmap(rooms[i].data, rooms[i].bytes);
    free(rooms);
}

void session_free(Session *s)
{
    if (!s)
        return;
    pool_free(s->pool);
    free_rooms(s->inputs, s->plan->n_inputs);
    free_rooms(s->outputs, s->plan->n_outputs);
    free_rooms(s->caches, s->plan->n_caches);
    memory_unmap(s->arena.data, s->arena.bytes);
    memory_unmap(s->meet.data, s->meet.bytes);
    free(s->sizes);
    free(s->values);
    free((void *)s->matched);
    free((void *)s->given);
    free(s->results);
    free(s->slots);
    free(s);
}

void session_reset(Session *s)
{
    s->length = s->held = 0;
}
int64_t session_length(const Session *s)
{
    return s->length;
}

void session_truncate(Session *s, int64_t length)
{
    if (length >= 0 && length < s->length)
        s->length = length;
    if (s->length == 0)
        s->held = 0;
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

static void known_sizes(Session *s)
{
    for (int i = 0; i < s->plan->n_symbols; i++) {
        s->sizes[i] = (Size){0, FROM_NOWHERE, 0};
        if (s->plan->symbols[i].past)
            s->sizes[i] = (Size){s->length, FROM_SESSION, 0};
    }
    if (s->batch_symbol >= 0)
        s->sizes[s->batch_symbol] = (Size){s->batch, FROM_SESSION, 0};
}

static bool no_such_state(Context *cx, const Session *s, const char *name)
{
    if (s->held < 0)
        diag_file_error(cx->diags, "E0611", NULL, NULL,
                        "the run before failed halfway: what the state `%s` holds of it is not known", name);
    else
        diag_file_error(cx->diags, "E0611", NULL, NULL,
                        "the session was cut to %" PRId64 " positions, but the state `%s` is one of all %" PRId64,
                        s->length, name, s->held);
    return false;
}

static bool check_caches(Context *cx, Session *s)
{
    const PlanTensor *state = plan_state(s->plan);
    if (s->plan->n_caches == 0)
        return true;
    if (state && s->length != s->held)
        return no_such_state(cx, s, state->name);
    int64_t more = dim_value(&s->grows, s->sizes);
    if (more >= 0 && more <= s->capacity - s->length)
        return true;
    diag_file_error(cx->diags, "E0607", NULL, NULL,
                    "the run needs %" PRId64 " positions, the %s %" PRId64 " (%" PRId64 " filled)", s->length + more,
                    plan_grows(s->plan) ? "cache holds" : "model takes", s->capacity, s->length);
    return false;
}

/* Results of the run before are overwritten by this one, and their memory may be given back. */
static bool in_results(const Session *s, const void *data)
{
    for (int i = 0; i < s->plan->n_outputs; i++) {
        const Room *r = &s->outputs[i];
        if (r->data && (uintptr_t)data - (uintptr_t)r->data < r->bytes)
            return true;
    }
    return false;
}

static bool stays_in_place(const Session *s, const PlanTensor *want, const HostTensor *given)
{
    return want->in_place && given->dtype == want->dtype && host_count(given) > 0 &&
           (uintptr_t)given->data % dtype_size(want->dtype) == 0 && !in_results(s, given->data);
}

static bool take_inputs(Context *cx, Session *s)
{
    for (int i = 0; i < s->plan->n_inputs; i++) {
        const PlanTensor *want = &s->plan->inputs[i];
        if (stays_in_place(s, want, s->matched[i])) {
            s->given[i] = s->matched[i]->data;
            continue;
        }
        uint64_t bytes = (uint64_t)host_count(s->matched[i]) * dtype_size(want->dtype);
        if (!room_for(&s->inputs[i], bytes))
            return no_memory(cx, "inputs", bytes, sizes_shown(cx, s->plan, s->sizes));
        s->given[i] = s->inputs[i].data;
        if (!input_take(cx, want, s->matched[i], s->inputs[i].data))
            return false;
        if (want->dtype == DT_I32 && s->program->rows &&
            !pack_rows(cx, s->program->rows, i, (const int32_t *)(const void *)s->inputs[i].data, host_count(s->matched[i])))
            return false;
    }
    return true;
}

static bool shape_outputs(Context *cx, Session *s)
{
    for (int i = 0; i < s->plan->n_outputs; i++) {
        const PlanTensor *p = &s->plan->outputs[i];
        HostTensor *t = &s->results[i];
        *t = (HostTensor){.name = p->name, .dtype = p->dtype, .rank = p->rank};
        bool sized = true;
        for (int a = 0; a < p->rank; a++) {
            t->dims[a] = dim_value(&p->dims[a], s->sizes);
            sized = sized && t->dims[a] >= 0;
        }
        int64_t count = sized ? host_count(t) : -1;
        uint64_t bytes = UINT64_MAX;
        if (count < 0 || !checked_mul((uint64_t)count, dtype_size(t->dtype), &bytes) ||
            !room_for(&s->outputs[i], bytes)) {
            return no_memory(cx, "outputs", bytes, sizes_shown(cx, s->plan, s->sizes));
        }
        t->data = s->outputs[i].data;
    }
    return true;
}

static bool make_arena(Context *cx, Session *s)
{
    for (int i = 0; i < s->plan->n_symbols; i++)
        s->values[i] = s->sizes[i].value;
    uint64_t bytes = s->program->arena_bytes ? s->program->arena_bytes(s->values, pool_threads(s->pool)) : 0;
    return room_for(&s->arena, bytes) ||
           no_memory(cx, "intermediate results", bytes, sizes_shown(cx, s->plan, s->sizes));
}

static uint64_t monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t slot_value(Session *s, Slot slot)
{
    switch (slot.kind) {
    case SLOT_INPUT: return (uintptr_t)s->given[slot.index];
    case SLOT_OUTPUT: return (uintptr_t)s->outputs[slot.index].data;
    case SLOT_WEIGHTS: return (uintptr_t)s->program->weights;
    case SLOT_ARENA: return (uintptr_t)s->arena.data;
    case SLOT_CACHE: return (uintptr_t)s->caches[slot.index].data;
    case SLOT_SIZE: return (uint64_t)s->sizes[slot.index].value;
    case SLOT_THREADS: return (uint64_t)pool_threads(s->pool);
    case SLOT_MEET: return (uintptr_t)s->meet.data;
    case SLOT_FAULT: return (uintptr_t)s->fault;
    case SLOT_TAP: return (uintptr_t)s->hooks.tap;
    case SLOT_TAP_STATE: return (uintptr_t)s->hooks.tap_state;
    case SLOT_TIMES: return (uintptr_t)s->hooks.times;
    case SLOT_CLOCK: return (uintptr_t)monotonic;
    }
    return 0;
}

static void call(void *state, ptrdiff_t thread)
{
    Call *c = state;
    if (c->program->run(c->slots, thread) != 0)
        atomic_store(&c->failed, 1);
}

/* What a run that failed has done to a state is not known; one that began at position 0 begins there again. */
static void lose_state(Session *s)
{
    if (plan_state(s->plan) && s->length > 0)
        s->held = -1;
}

static bool finish(Context *cx, Session *s, bool failed)
{
    if (s->fault[0] != 0 || failed)
        lose_state(s);
    if (s->fault[0] == 1) {
        inputs_report_index(cx, s->plan, s->matched, s->fault[1], s->fault[2], s->fault[3]);
        return false;
    }
    if (failed || s->fault[0] != 0) {
        diag_file_error(cx->diags, "E9901", NULL, NULL,
                        "the compiled model reports fault %" PRId64 " at value %" PRId64, s->fault[0], s->fault[1]);
        return false;
    }
    if (s->plan->n_caches)
        s->held = s->length += dim_value(&s->grows, s->sizes);
    return true;
}

bool session_run(Context *cx, Session *s, const HostTensor *inputs, int n_inputs, const HostTensor **outputs)
{
    known_sizes(s);
    if (!inputs_match(cx, s->plan, inputs, n_inputs, s->matched) || !inputs_sizes(cx, s->plan, s->matched, s->sizes))
        return false;
    if (!check_caches(cx, s) || !take_inputs(cx, s) || !shape_outputs(cx, s) || !make_arena(cx, s))
        return false;
    memset(s->fault, 0, sizeof s->fault);
    for (int i = 0; i < s->plan->n_slots; i++)
        s->slots[i] = slot_value(s, s->plan->slots[i]);
    Call c = {.program = s->program, .slots = s->slots};
    memset(s->meet.data, 0, MEET_BYTES * (size_t)pool_threads(s->pool));
    pool_help(s->pool, call, &c);
    if (!finish(cx, s, atomic_load(&c.failed) != 0))
        return false;
    if (outputs)
        *outputs = s->results;
    return true;
}
