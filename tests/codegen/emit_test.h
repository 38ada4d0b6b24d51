/* Emitted C against the float64 interpreter: a model as text, places given to its values, emitted, compiled, run with 1 to 3 threads,
 * every output and cache compared. */
#ifndef ATTAR_TESTS_EMIT_TEST_H
#define ATTAR_TESTS_EMIT_TEST_H

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <sys/mman.h>
#include "ir/interpret.h"
#include "tests/codegen/native.h"

enum { MAX_THREADS = 3, MAX_SLOTS = 64 };

typedef struct Trial {
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
    const Target *target;
    Graph *g;
    Emitted out;
    void *library;
    int (*run)(const void *slots, ptrdiff_t thread);
    size_t (*arena_bytes)(const int64_t *sizes, ptrdiff_t threads);
    unsigned char *weights;
    uint64_t random;
    int64_t past;                       /* filled length of the caches */
    Value *caches;                      /* the interpreter's */
    unsigned char *cache_memory[8];
    int64_t fault[4];                   /* of the last run */
    void (*tap)(void *state, int64_t kernel, int64_t layer, const void *data);
    void *tap_state;
    uint64_t *times, (*clock)(void);
    int below;                          /* whole numbers among the inputs are less than this */
    const char *const *flags;           /* more flags for clang */
    bool tiles;                         /* count attend's tiles */
    int alternative;                    /* gemms' tiles */
    bool dawdle;                        /* threads dawdle before they say that a part is done, each time for another while */
    struct Guarded { void *at; size_t bytes; } *guarded;
    size_t n_guarded;
    unsigned absent;                    /* thread number i never comes where bit i is set */
} Trial;

static inline void trial_open(Trial *t, const Target *target) {
    memset(t, 0, sizeof *t);
    t->names.map = map_new(&t->arena);
    t->diags.arena = &t->arena;
    t->cx = (Context){&t->arena, &t->diags, &t->names};
    t->target = target;
    t->random = 7;
    t->below = 7;
}

static inline void trial_close(Trial *t) {
    if (t->library)
        dlclose(t->library);
    free(t->weights);
    for (int i = 0; i < 8; i++)
        free(t->cache_memory[i]);
    for (size_t i = 0; i < t->n_guarded; i++)
        munmap(t->guarded[i].at, t->guarded[i].bytes);
    arena_free(&t->arena);
}

static inline const char *trial_said(Trial *t) {
    Text text = text_new(&t->arena);
    diag_render(&t->diags, &text, false);
    return text.data;
}

static inline double trial_number(Trial *t) {
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return ((double)(t->random >> 40) / (1 << 24) - 0.5) * 2;
}

/* ---- places: every value its own, the plainest plan there is ------------------------------------------------------------------------- */

static inline int trial_region(Trial *t, const Type *type, const char *keys) {
    Graph *g = t->g;
    Region r = {.peak = 0};
    for (int i = 0; i < type->rank; i++)
        if (!extent_is_const(type->axis[i].size)) {
            r.round[r.n] = keys && !strcmp(keys, type->axis[i].name) ? KEY_PANEL : 1;
            r.unit[r.n++] = type->axis[i].size;
        }
    for (int i = 0; i < g->n_regions; i++) {
        bool same = g->regions[i].n == r.n;
        for (int j = 0; same && j < r.n; j++)
            same = extent_equal(g->regions[i].unit[j], r.unit[j]) && g->regions[i].round[j] == r.round[j];
        if (same)
            return i;
    }
    g->regions = arena_grow(&t->arena, g->regions, (size_t)g->n_regions, (size_t)g->n_regions + 1, sizeof *g->regions);
    g->regions[g->n_regions] = r;
    return g->n_regions++;
}

static inline void trial_place(Trial *t, Node *n) {
    const char *keys = attr_name(n, ATTR_layout) ? attr_name(n, ATTR_keys) : NULL;
    int64_t bytes = (int64_t)dtype_size(n->type->dtype);
    int region = trial_region(t, n->type, keys);
    for (int i = 0; i < n->type->rank; i++)
        if (extent_is_const(n->type->axis[i].size)) {
            bool rounded = keys && !strcmp(keys, n->type->axis[i].name);
            bytes *= rounded ? (n->type->axis[i].size.base + KEY_PANEL - 1) / KEY_PANEL * KEY_PANEL : n->type->axis[i].size.base;
        }
    n->place = (Place){PLACE_ARENA, region, t->g->regions[region].peak, 0};
    t->g->regions[region].peak += (bytes + 63) / 64 * 64;
}

static inline void trial_place_all(Trial *t, Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        OpClass class = op_info[n->op].class;
        if (n->op == OP_repeat)
            trial_place_all(t, n->body);
        if (n->place.kind != PLACE_NONE)
            continue;
        if (class == CLASS_VIEW)
            n->place.kind = PLACE_VIEW;
        else if (n->op == OP_weight || n->op == OP_table)
            n->place.kind = PLACE_WEIGHT;
        else if (n->op == OP_append) {
            for (int i = 0; i < t->g->n_caches; i++)
                if (!strcmp(t->g->caches[i].name, attr_name(n, ATTR_cache)))
                    n->place = (Place){.kind = PLACE_CACHE, .index = i};
        } else if (class == CLASS_LEAF && n->op != OP_carry)
            n->place.kind = PLACE_INLINE;
        else if (n->type)
            trial_place(t, n);
    }
}

static inline void trial_places(Trial *t) {
    Graph *g = t->g;
    for (int i = 0; i < g->n_params; i++)
        g->params[i]->place = (Place){.kind = PLACE_INPUT, .index = i};
    for (int i = 0; i < g->n_results; i++)
        if (g->results[i].value->op != OP_append)
            g->results[i].value->place = (Place){.kind = PLACE_OUTPUT, .index = i};
    trial_place_all(t, g);
}

/* ---- weights: the value of an element follows from key and position ------------------------------------------------------------------- */

static inline double weight_value(const char *key, int64_t layer, int64_t at) {
    uint64_t h = 1469598103934665603u + (uint64_t)layer * 7919;
    for (const char *p = key; *p; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    h = (h ^ (uint64_t)at) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    return ((double)(h % 2048) - 1024) / 2048;
}

static inline bool trial_weight(void *state, const char *key, double *out, int64_t count) {
    (void)state;
    int64_t layer = 0;
    char base[256];
    size_t n = 0;
    for (const char *p = key; *p && n < sizeof base - 4; p++) {
        if (p > key && p[-1] == '.' && *p >= '0' && *p <= '9' && p[1] == '.') {         /* layers.3.w: the key with {i} and the layer */
            layer = *p - '0';
            memcpy(base + n, "{i}", 3);
            n += 3;
        } else
            base[n++] = *p;
    }
    base[n] = 0;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)weight_value(base, layer, i);
    return true;
}

static inline int64_t dims_offset(const PackDim *dims, int rank, int64_t index) {
    int64_t offset = 0;
    for (int i = rank - 1; i >= 0; i--) {
        offset += index % dims[i].size * dims[i].stride;
        index /= dims[i].size;
    }
    return offset;
}

/* What element (i, j) of an item is multiplied by. */
static inline double gain_value(const PackItem *item, int64_t layer, int64_t i, int64_t j) {
    bool column = item->gain_dim < item->n_rank;
    const PackDim *dims = column ? item->n : item->k;
    int rank = column ? item->n_rank : item->k_rank, at = column ? item->gain_dim : item->gain_dim - item->n_rank;
    int64_t index = column ? i : j;
    for (int d = rank - 1; d > at; d--)
        index /= dims[d].size;
    return (float)weight_value(item->gain, strstr(item->gain, "{i}") ? layer : 0, index % dims[at].size) + item->plus;
}

static inline void trial_pack(Trial *t) {
    const Plan *p = &t->out.plan;
    t->weights = aligned_alloc(64, (p->weight_bytes + 127) / 64 * 64);
    memset(t->weights, 0xff, (p->weight_bytes + 127) / 64 * 64);        /* NaN where nothing is packed */
    for (int w = 0; w < p->n_weights; w++) {
        const PackItem *item = &p->weights[w];
        int64_t n = 1, k = 1;
        for (int i = 0; i < item->n_rank; i++)
            n *= item->n[i].size;
        for (int i = 0; i < item->k_rank; i++)
            k *= item->k[i].size;
        for (int64_t layer = 0; layer < item->layers; layer++) {
            float *to = (float *)(void *)(t->weights + item->offset + (uint64_t)layer * item->layer_stride);
            if (item->layout == PACK_PANELS)
                memset(to, 0, item->bytes);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < k; j++) {
                    int64_t at = item->start + dims_offset(item->n, item->n_rank, i) + dims_offset(item->k, item->k_rank, j);
                    double v = item->data ? item->data[at] : weight_value(item->key, layer, at);
                    if (item->gain)
                        v *= gain_value(item, layer, i, j);
                    if (item->factor != 0)
                        v *= item->factor;
                    int64_t place = item->layout == PACK_PLAIN ? i * k + j : (i / item->panel * k + j) * item->panel + i % item->panel;
                    to[place] = (float)v;
                }
        }
    }
}

/* ---- compile and run ---------------------------------------------------------------------------------------------------------------------- */

static inline const char *trial_dawdling(Trial *t) {
    static const char head[] = "static void finish(struct queue *q)\n{\n";
    const char *at = strstr(t->out.text, head);
    ck_assert_ptr_nonnull(at);
    return arena_print(&t->arena, "%.*s%s    for (volatile ptrdiff_t i = (__atomic_load_n(&q->begun, __ATOMIC_RELAXED) * 7919 + (ptrdiff_t)q / 128 * 31) %% 17 * 200; i > 0; i--)\n        ;\n%s",
                       (int)(at - t->out.text), t->out.text, head, at + sizeof head - 1);
}

/* The C alone: for targets that do not run here, too. */
static inline void trial_emit(Trial *t, const char *text) {
    const char *why = NULL;
    Source *s = arena_alloc(&t->arena, sizeof *s);
    *s = (Source){"trial.attar", text, strlen(text)};
    t->g = graph_read(&t->cx, s);
    ck_assert_msg(t->g != NULL, "%s", trial_said(t));
    graph_name_all(&t->cx, t->g);
    graph_count_uses(t->g);
    ck_assert_msg(graph_verify(&t->cx, t->g, &why), "%s", why);
    trial_places(t);
    EmitOptions options = {.target = t->target, .tiles = t->tiles, .alternative = t->alternative, .split = true};
    ck_assert_msg(codegen_emit(&t->cx, t->g, &options, &t->out), "%s", trial_said(t));
}

static inline void trial_load(Trial *t, const char *text) {
    trial_emit(t, text);
    if (t->dawdle)
        t->out.text = trial_dawdling(t);
    if (getenv("SHOW_C"))
        puts(t->out.text);
    t->library = native_load(t->out.text, "emitted", t->target, t->flags);
    ck_assert_msg(t->library != NULL, "clang refuses:\n%s", t->out.text);
    char name[128];
    snprintf(name, sizeof name, "%s_run", t->out.plan.name);
    *(void **)&t->run = dlsym(t->library, name);
    snprintf(name, sizeof name, "%s_arena_bytes", t->out.plan.name);
    *(void **)&t->arena_bytes = dlsym(t->library, name);
    ck_assert(t->run && t->arena_bytes);
    trial_pack(t);
}

typedef struct TrialThread { Trial *t; uint64_t *slots; ptrdiff_t number; } TrialThread;

static inline void *trial_thread(void *state) {
    TrialThread *w = state;
    w->t->run(w->slots, w->number);
    return NULL;
}

static inline int64_t dim_size(const PlanDim *d, const int64_t *sizes) {
    int64_t v = d->base;
    for (int i = 0; i < d->n; i++)
        v += d->factor[i] * sizes[d->symbol[i]];
    return v;
}

static inline int64_t tensor_count(const PlanTensor *p, const int64_t *sizes) {
    int64_t n = 1;
    for (int i = 0; i < p->rank; i++)
        n *= dim_size(&p->dims[i], sizes);
    return n;
}

/* So many bytes with a page behind them that cannot be read. */
static inline void *trial_guarded(Trial *t, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    unsigned char *at = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(at != MAP_FAILED && !mprotect(at + room, page, PROT_NONE));
    t->guarded = arena_grow(&t->arena, t->guarded, t->n_guarded, t->n_guarded + 1, sizeof *t->guarded);
    t->guarded[t->n_guarded++] = (struct Guarded){at, room + page};
    return at + room - bytes;
}

/* Inputs: floats in -1 .. 1, whole numbers below t->below, bools two out of three. */
static inline HostTensor trial_input(Trial *t, const PlanTensor *p, const int64_t *sizes) {
    HostTensor h = {.name = p->name, .dtype = p->dtype, .rank = p->rank};
    int64_t n = tensor_count(p, sizes);
    for (int i = 0; i < p->rank; i++)
        h.dims[i] = dim_size(&p->dims[i], sizes);
    h.data = p->in_place ? trial_guarded(t, (size_t)n * dtype_size(p->dtype))
                         : arena_array(&t->arena, (size_t)n + 64, dtype_size(p->dtype));
    for (int64_t i = 0; i < n; i++) {
        double v = trial_number(t);
        host_set(&h, i, p->dtype == DT_F32 ? (float)v : p->dtype == DT_BOOL ? v > -0.3 : floor((v + 1) / 2 * t->below));
    }
    return h;
}

/* One run with the given threads: outputs are filled with NaN bytes first. Returns the fault. */
static inline int64_t trial_run(Trial *t, const int64_t *sizes, const HostTensor *inputs, HostTensor *outputs, int threads) {
    const Plan *p = &t->out.plan;
    uint64_t slots[MAX_SLOTS];
    ptrdiff_t *meet = aligned_alloc(128, 256 * (size_t)threads);
    memset(meet, 0, 256 * (size_t)threads);
    memset(t->fault, 0, sizeof t->fault);
    size_t bytes = t->arena_bytes(sizes, threads);
    unsigned char *arena = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    memset(arena, 0xff, bytes);
    ck_assert_int_le(p->n_slots, MAX_SLOTS);
    for (int i = 0; i < p->n_slots; i++) {
        Slot s = p->slots[i];
        switch (s.kind) {
        case SLOT_INPUT: slots[i] = (uintptr_t)inputs[s.index].data; break;
        case SLOT_OUTPUT: slots[i] = (uintptr_t)outputs[s.index].data; break;
        case SLOT_WEIGHTS: slots[i] = (uintptr_t)t->weights; break;
        case SLOT_ARENA: slots[i] = (uintptr_t)arena; break;
        case SLOT_CACHE: slots[i] = (uintptr_t)t->cache_memory[s.index]; break;
        case SLOT_SIZE: slots[i] = (uint64_t)sizes[s.index]; break;
        case SLOT_THREADS: slots[i] = (uint64_t)threads; break;
        case SLOT_MEET: slots[i] = (uintptr_t)meet; break;
        case SLOT_FAULT: slots[i] = (uintptr_t)t->fault; break;
        case SLOT_TAP: slots[i] = (uintptr_t)t->tap; break;
        case SLOT_TAP_STATE: slots[i] = (uintptr_t)t->tap_state; break;
        case SLOT_TIMES: slots[i] = (uintptr_t)t->times; break;
        case SLOT_CLOCK: slots[i] = (uintptr_t)t->clock; break;
        }
    }
    pthread_t handle[MAX_THREADS];
    TrialThread work[MAX_THREADS];
    for (int i = 0; i < threads; i++) {
        work[i] = (TrialThread){t, slots, i};
        if (i && !(t->absent >> i & 1))
            pthread_create(&handle[i], NULL, trial_thread, &work[i]);
    }
    trial_thread(&work[0]);
    for (int i = 1; i < threads; i++)
        if (!(t->absent >> i & 1))
            pthread_join(handle[i], NULL);
    free(arena);
    free(meet);
    return t->fault[0];
}

static inline HostTensor trial_output(Trial *t, const PlanTensor *p, const int64_t *sizes) {
    HostTensor h = {.name = p->name, .dtype = p->dtype, .rank = p->rank};
    size_t n = (size_t)tensor_count(p, sizes);
    h.data = arena_array(&t->arena, n + 16, dtype_size(p->dtype));
    memset(h.data, 0xff, n * dtype_size(p->dtype));
    memset((char *)h.data + n * dtype_size(p->dtype), 0x5a, 16 * dtype_size(p->dtype));
    for (int i = 0; i < p->rank; i++)
        h.dims[i] = dim_size(&p->dims[i], sizes);
    return h;
}

static inline void trial_compare(Trial *t, const char *what, const HostTensor *got, const Value *want, double tolerance) {
    (void)t;
    for (int64_t i = 0; i < want->count; i++) {
        double g = host_get(got, i), w = want->data[i];
        if ((isnan(g) && isnan(w)) || g == w)
            continue;
        ck_assert_msg(fabs(g - w) <= tolerance * (1 + fabs(w)), "%s: `%s` [%lld] is %.9g, expected %.9g", what, got->name, (long long)i, g, w);
    }
    const unsigned char *end = (const unsigned char *)got->data + (size_t)want->count * dtype_size(got->dtype);
    for (int i = 0; i < 16; i++)
        ck_assert_msg(end[i] == 0x5a, "%s: `%s` is written past its end", what, got->name);
}

static inline size_t trial_cache_bytes(Trial *t, int i, const int64_t *sizes) {
    const PlanTensor *c = &t->out.plan.caches[i];
    return (size_t)c->layers * c->bytes_per_row * (size_t)(c->dims[0].n ? dim_size(&c->dims[0], sizes) : 1);
}

/* What the caches hold, and that again before another run of the same call: a state goes on from where it was. */
static inline void trial_save_caches(Trial *t, const int64_t *sizes, unsigned char *saved[8], bool back) {
    for (int i = 0; i < t->out.plan.n_caches; i++) {
        size_t bytes = trial_cache_bytes(t, i, sizes);
        if (!back)
            saved[i] = arena_alloc(&t->arena, bytes);
        memcpy(back ? t->cache_memory[i] : saved[i], back ? saved[i] : t->cache_memory[i], bytes);
    }
}

static inline void trial_open_caches(Trial *t, const int64_t *sizes) {
    const Plan *p = &t->out.plan;
    t->past = 0;
    t->caches = p->n_caches ? interpret_caches(t->g, sizes, &t->arena) : NULL;
    for (int i = 0; i < p->n_caches; i++) {
        size_t bytes = trial_cache_bytes(t, i, sizes);
        free(t->cache_memory[i]);
        t->cache_memory[i] = aligned_alloc(64, (bytes + 127) / 64 * 64);
        memset(t->cache_memory[i], 0xff, bytes);
    }
}

/* One call with 1, 2 and 3 threads: the same bits, near the interpreter's. */
static inline void trial_check(Trial *t, const int64_t *sizes, double tolerance) {
    const Plan *p = &t->out.plan;
    HostTensor inputs[16], outputs[MAX_THREADS][16];
    Arena work = {0};
    char what[200] = "";
    for (int i = 0; i < p->n_symbols; i++)
        snprintf(what + strlen(what), sizeof what - strlen(what), "%s=%lld ", p->symbols[i].name, (long long)sizes[i]);
    for (int i = 0; i < p->n_inputs; i++)
        inputs[i] = trial_input(t, &p->inputs[i], sizes);
    if (p->n_caches && !t->caches)
        trial_open_caches(t, sizes);
    Bindings b = {.sizes = sizes, .inputs = inputs, .weight = trial_weight, .caches = t->caches};
    Value *want = interpret(&t->cx, t->g, &b, &work);
    ck_assert_msg(want != NULL, "%s: %s", what, trial_said(t));
    unsigned char *saved[8];
    trial_save_caches(t, sizes, saved, false);
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        for (int i = 0; i < p->n_outputs; i++)
            outputs[threads - 1][i] = trial_output(t, &p->outputs[i], sizes);
        trial_save_caches(t, sizes, saved, true);
        ck_assert_int_eq(trial_run(t, sizes, inputs, outputs[threads - 1], threads), 0);
        for (int i = 0; i < p->n_outputs; i++) {
            trial_compare(t, what, &outputs[threads - 1][i], &want[i], tolerance);
            size_t bytes = (size_t)want[i].count * dtype_size(p->outputs[i].dtype);
            ck_assert_msg(!memcmp(outputs[0][i].data, outputs[threads - 1][i].data, bytes), "%s: %d threads change bits of `%s`", what, threads,
                          p->outputs[i].name);
        }
    }
    arena_free(&work);
}

#endif
