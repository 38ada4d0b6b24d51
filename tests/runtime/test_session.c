/* Sessions with programs written by hand: inputs and their checks, sizes, caches, faults, threads, nothing allocated
 * in the steady state. */
#include "tests/runtime/fixture.h"

#include <malloc.h>
#include <stdatomic.h>
#include "runtime/session.h"

/* sum: y[B, S] = x[B, S] + table[ids[B, S]] * w, with an arena of B * S floats. */
typedef struct SumCall {
    const int32_t *ids;
    const float *x;
    float *y;
    const float *weights;
    float *arena;
    ptrdiff_t B, S, threads;
    int64_t *fault;
    atomic_int *meet;
} SumCall;

enum { ROWS = 10 };

static const float *read_x; /* where the last run read x */

static int sum_share(const SumCall *c, ptrdiff_t thread)
{
    ptrdiff_t all = c->B * c->S, low = all * thread / c->threads, high = all * (thread + 1) / c->threads;
    for (ptrdiff_t i = low; i < high; i++) {
        if (c->ids[i] < 0 || c->ids[i] >= ROWS) {
            int64_t none = 0;
            if (__atomic_compare_exchange_n(c->fault, &none, 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
                c->fault[1] = 0;
                c->fault[2] = c->ids[i];
                c->fault[3] = ROWS;
            }
            return 1;
        }
        c->arena[i] = c->weights[c->ids[i]];
        c->y[i] = c->x[i] + c->arena[i];
    }
    return 0;
}

/* Each share that nobody has claimed: a thread may come late or not at all. */
static int sum_run(const void *call, ptrdiff_t thread)
{
    const SumCall *c = call;
    int failed = 0;
    if (thread == 0)
        read_x = c->x;
    for (ptrdiff_t i = 0; i < c->threads; i++) {
        ptrdiff_t share = (thread + i) % c->threads;
        if (!atomic_exchange(c->meet + share * 256 / (ptrdiff_t)sizeof *c->meet, 1))
            failed |= sum_share(c, share);
    }
    return failed;
}

static size_t sum_arena(const int64_t *sizes, ptrdiff_t threads)
{
    return (size_t)(sizes[0] * sizes[1]) * sizeof(float) + 0 * (size_t)threads;
}

static PlanSymbol sum_symbols[] = {{"B", 1, 64, false}, {"S", 1, 512, false}};
#define BS                                                                                                             \
    {                                                                                                                  \
        {"B", 0, 1, {0}, {1}},                                                                                         \
        {                                                                                                              \
            "S", 0, 1, {1}, {1}                                                                                        \
        }                                                                                                              \
    }
static PlanTensor sum_inputs[] = {{.name = "ids", .dtype = DT_I32, .rank = 2, .dims = BS},
                                  {.name = "x", .dtype = DT_F32, .rank = 2, .dims = BS, .in_place = true}};
static PlanTensor sum_outputs[] = {{.name = "y", .dtype = DT_F32, .rank = 2, .dims = BS}};
static Slot sum_slots[] = {{SLOT_INPUT, 0}, {SLOT_INPUT, 1}, {SLOT_OUTPUT, 0},  {SLOT_WEIGHTS, 0}, {SLOT_ARENA, 0},
                           {SLOT_SIZE, 0},  {SLOT_SIZE, 1},  {SLOT_THREADS, 0}, {SLOT_FAULT, 0}, {SLOT_MEET, 0}};
static const Plan sum_plan = {.name = "sum",
                              .symbols = sum_symbols,
                              .n_symbols = 2,
                              .inputs = sum_inputs,
                              .n_inputs = 2,
                              .outputs = sum_outputs,
                              .n_outputs = 1,
                              .slots = sum_slots,
                              .n_slots = 10};
static const float sum_weights[ROWS] = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90};
static const Program sum_program = {&sum_plan, sum_run, sum_arena, (const unsigned char *)sum_weights, NULL};

static HostTensor tensor(const char *name, DType dtype, int64_t a, int64_t b, void *data)
{
    return (HostTensor){name, dtype, 2, {a, b}, data};
}

START_TEST(sizes_and_threads)
{
    Fixture f;
    fixture_begin(&f);
    static int32_t ids[64 * 512];
    static float x[64 * 512];
    for (int i = 0; i < 64 * 512; i++) {
        ids[i] = i % ROWS;
        x[i] = (float)i;
    }
    Session *s = session_new(&f.cx, &sum_program, 0, _i, NULL);
    ck_assert_ptr_nonnull(s);
    static const int64_t sizes[][2] = {{1, 1}, {2, 3}, {64, 512}, {1, 512}, {3, 7}};
    for (size_t i = 0; i < 5; i++) {
        int64_t b = sizes[i][0], n = sizes[i][1];
        HostTensor in[] = {tensor("x", DT_F32, b, n, x), tensor("ids", DT_I32, b, n, ids)}; /* any order */
        const HostTensor *out;
        ck_assert_msg(session_run(&f.cx, s, in, 2, &out), "%s", rendered(&f));
        ck_assert_int_eq(out->dims[0], b);
        ck_assert_int_eq(out->dims[1], n);
        ck_assert_str_eq(out->name, "y");
        const float *y = out->data;
        for (int64_t j = 0; j < b * n; j++)
            if (y[j] != x[j] + sum_weights[ids[j]])
                ck_abort_msg("y[%d] is %g", (int)j, y[j]);
    }
    session_free(s);
    expect_silence(&f, "runs");
    fixture_end(&f);
}
END_TEST

START_TEST(unaligned_and_wide)
{ /* data at odd addresses, i64 ids */
    Fixture f;
    fixture_begin(&f);
    unsigned char room[6 * 8 + 1], more[6 * 4 + 1];
    for (int i = 0; i < 6; i++) {
        int64_t id = i;
        float v = 100;
        memcpy(room + 1 + 8 * i, &id, 8);
        memcpy(more + 1 + 4 * i, &v, 4);
    }
    Session *s = session_new(&f.cx, &sum_program, 0, 1, NULL);
    HostTensor in[] = {tensor("ids", DT_I64, 2, 3, room + 1), tensor("x", DT_F32, 2, 3, more + 1)};
    const HostTensor *out;
    ck_assert(session_run(&f.cx, s, in, 2, &out));
    ck_assert_float_eq(((float *)out->data)[5], 150);
    int64_t large = 3000000000;
    memcpy(room + 1 + 8 * 4, &large, 8);
    ck_assert(!session_run(&f.cx, s, in, 2, &out));
    expect_error(&f, "too wide", "E0608", "`ids` holds 3000000000 at [1, 1]");
    session_free(s);
    fixture_end(&f);
}
END_TEST

START_TEST(read_where_they_are)
{ /* but a result of the run before, which this run writes, also where its memory is given back for more */
    Fixture f;
    fixture_begin(&f);
    static int32_t ids[8 * 512];
    static float x[8 * 512];
    for (int i = 0; i < 8 * 512; i++)
        x[i] = (float)i;
    Session *s = session_new(&f.cx, &sum_program, 0, 1, NULL);
    HostTensor in[] = {tensor("ids", DT_I32, 2, 3, ids), tensor("x", DT_F32, 2, 3, x)};
    const HostTensor *out;
    ck_assert(session_run(&f.cx, s, in, 2, &out));
    ck_assert_ptr_eq(read_x, x);
    for (int i = 0; i < 6; i++)
        ids[i] = 1;
    for (int n = 1; n <= 3; n++) {
        in[1].data = out->data;
        ck_assert(session_run(&f.cx, s, in, 2, &out));
        ck_assert_ptr_ne(read_x, out->data);
        for (int i = 0; i < 6; i++)
            ck_assert_float_eq(((const float *)out->data)[i], x[i] + (float)(10 * n));
    }
    HostTensor longer[] = {tensor("ids", DT_I32, 8, 512, ids), tensor("x", DT_F32, 8, 512, x)};
    ck_assert(session_run(&f.cx, s, longer, 2, &out));
    ck_assert_ptr_eq(read_x, x);
    longer[1].data = x + 1;
    longer[1].dims[0] = longer[0].dims[0] = 7;
    ck_assert(session_run(&f.cx, s, longer, 2, &out));
    ck_assert_ptr_eq(read_x, x + 1);
    session_free(s);
    expect_silence(&f, "runs");
    fixture_end(&f);
}
END_TEST

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static int32_t some_ids[2048];
static float some_x[2048];

typedef struct Refusal {
    const char *what;
    HostTensor in[3];
    int n;
    const char *code, *phrase;
} Refusal;

static const Refusal refusals[] = {
    {"missing",
     {{"ids", DT_I32, 2, {2, 3}, some_ids}},
     1,
     "E0602",
     "input `x` is missing; the model takes ids: i32[B, S], x: f32[B, S]"},
    {"unknown",
     {{"ids", DT_I32, 2, {2, 3}, some_ids}, {"x", DT_F32, 2, {2, 3}, some_x}, {"mask", DT_F32, 2, {2, 3}, some_x}},
     3,
     "E0601",
     "no input `mask`"},
    {"twice",
     {{"ids", DT_I32, 2, {2, 3}, some_ids}, {"x", DT_F32, 2, {2, 3}, some_x}, {"x", DT_F32, 2, {2, 3}, some_x}},
     3,
     "E0601",
     "`x` is given twice"},
    {"dtype",
     {{"ids", DT_I32, 2, {2, 3}, some_ids}, {"x", DT_F64, 2, {2, 3}, some_x}},
     2,
     "E0603",
     "input `x` is f64, but the model takes f32"},
    {"f32 ids",
     {{"ids", DT_F32, 2, {2, 3}, some_x}, {"x", DT_F32, 2, {2, 3}, some_x}},
     2,
     "E0603",
     "input `ids` is f32, but the model takes i32"},
    {"rank",
     {{"ids", DT_I32, 1, {3}, some_ids}, {"x", DT_F32, 2, {2, 3}, some_x}},
     2,
     "E0604",
     "has 1 axis, [3], but the model takes ids: i32[B, S]"},
    {"sizes differ",
     {{"ids", DT_I32, 2, {2, 3}, some_ids}, {"x", DT_F32, 2, {2, 4}, some_x}},
     2,
     "E0605",
     "x: axis S is 4, but axis S of `ids` is 3"},
    {"bound",
     {{"ids", DT_I32, 2, {1, 600}, some_ids}, {"x", DT_F32, 2, {1, 600}, some_x}},
     2,
     "E0606",
     "ids: axis S is 600 but its bound is 512"},
    {"too small",
     {{"ids", DT_I32, 2, {1, 0}, some_ids}, {"x", DT_F32, 2, {1, 0}, some_x}},
     2,
     "E0606",
     "ids: axis S is 0 but must be at least 1"},
    {"negative",
     {{"ids", DT_I32, 2, {-1, -3}, some_ids}, {"x", DT_F32, 2, {1, 3}, some_x}},
     2,
     "E0605",
     "no data for the shape [-1, -3]"},
    {"overflow",
     {{"ids", DT_I32, 2, {INT64_MAX, 2}, some_ids}, {"x", DT_F32, 2, {1, 3}, some_x}},
     2,
     "E0605",
     "no data for the shape"},
    {"no data",
     {{"ids", DT_I32, 2, {1, 3}, NULL}, {"x", DT_F32, 2, {1, 3}, some_x}},
     2,
     "E0605",
     "no data for the shape [1, 3]"},
};

START_TEST(refusal)
{
    const Refusal *r = &refusals[_i];
    Fixture f;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &sum_program, 0, 2, NULL);
    const HostTensor *out;
    ck_assert_msg(!session_run(&f.cx, s, r->in, r->n, &out), "%s was accepted", r->what);
    expect_error(&f, r->what, r->code, r->phrase);
    ck_assert_int_eq(diag_exit_status(&f.diags), 3);
    forget(&f);
    HostTensor in[] = {tensor("ids", DT_I32, 2, 3, some_ids), tensor("x", DT_F32, 2, 3, some_x)};
    ck_assert(session_run(&f.cx, s, in, 2, &out)); /* and the session goes on */
    session_free(s);
    fixture_end(&f);
}
END_TEST

START_TEST(suggestion)
{
    Fixture f;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &sum_program, 0, 1, NULL);
    HostTensor in[] = {tensor("id", DT_I32, 2, 3, some_ids), tensor("x", DT_F32, 2, 3, some_x)};
    ck_assert(!session_run(&f.cx, s, in, 2, NULL));
    ck_assert_ptr_nonnull(strstr(rendered(&f), "did you mean `ids`?"));
    session_free(s);
    fixture_end(&f);
}
END_TEST

START_TEST(index_out_of_range)
{
    static const int32_t wrong[] = {-1, ROWS, INT32_MAX, INT32_MIN};
    for (int threads = 1; threads <= 2; threads++) {
        for (int i = 0; i < 4; i++) {
            Fixture f;
            fixture_begin(&f);
            Session *s = session_new(&f.cx, &sum_program, 0, threads, NULL);
            int32_t ids[6] = {1, 2, 3, 4, wrong[i], 5};
            HostTensor in[] = {tensor("ids", DT_I32, 2, 3, ids), tensor("x", DT_F32, 2, 3, some_x)};
            ck_assert(!session_run(&f.cx, s, in, 2, NULL));
            expect_error(&f, "index", "E0610",
                         arena_print(&f.arena, "`ids` holds %d at [1, 1], but the table has 10 rows", wrong[i]));
            ids[4] = 0;
            ck_assert(session_run(&f.cx, s, in, 2, NULL));
            session_free(s);
            fixture_end(&f);
        }
    }
}
END_TEST

/* ---- caches: out[B, T] = all ids so far, kept in the cache [B, P]; keep[B, T] with T = past + S ------------------ */

typedef struct LogCall {
    const int32_t *ids;
    const unsigned char *keep;
    float *out, *cache;
    ptrdiff_t B, S, past;
} LogCall;

enum { CAPACITY = 8 };

static int log_run(const void *call, ptrdiff_t thread)
{
    const LogCall *c = call;
    if (thread != 0)
        return 0;
    for (ptrdiff_t b = 0; b < c->B; b++) {
        for (ptrdiff_t i = 0; i < c->S; i++)
            c->cache[b * CAPACITY + c->past + i] = (float)c->ids[b * c->S + i];
        for (ptrdiff_t t = 0; t < c->past + c->S; t++)
            c->out[b * (c->past + c->S) + t] = c->keep[b * (c->past + c->S) + t] ? c->cache[b * CAPACITY + t] : -1;
    }
    return 0;
}

static PlanSymbol log_symbols[] = {{"B", 1, 4, false}, {"S", 1, INT32_MAX, false}, {"past", 0, CAPACITY, true}};
#define BT                                                                                                             \
    {                                                                                                                  \
        {"B", 0, 1, {0}, {1}},                                                                                         \
        {                                                                                                              \
            "T", 0, 2, {1, 2}, {1, 1}                                                                                  \
        }                                                                                                              \
    }
static PlanTensor log_inputs[] = {{.name = "keep", .dtype = DT_BOOL, .rank = 2, .dims = BT},
                                  {.name = "ids", .dtype = DT_I32, .rank = 2, .dims = BS}};
static PlanTensor log_outputs[] = {{.name = "out", .dtype = DT_F32, .rank = 2, .dims = BT}};
static PlanTensor log_caches[] = {{.name = "seen",
                                   .dtype = DT_F32,
                                   .rank = 2,
                                   .dims = {{"B", 0, 1, {0}, {1}}, {"T", CAPACITY, 0, {0}, {0}}},
                                   .layers = 1,
                                   .growing = 1,
                                   .bytes_per_row = CAPACITY * sizeof(float)}};
static Slot log_slots[] = {{SLOT_INPUT, 1}, {SLOT_INPUT, 0}, {SLOT_OUTPUT, 0}, {SLOT_CACHE, 0},
                           {SLOT_SIZE, 0},  {SLOT_SIZE, 1},  {SLOT_SIZE, 2}};
static const Plan log_plan = {.name = "log",
                              .symbols = log_symbols,
                              .n_symbols = 3,
                              .inputs = log_inputs,
                              .n_inputs = 2,
                              .outputs = log_outputs,
                              .n_outputs = 1,
                              .caches = log_caches,
                              .n_caches = 1,
                              .slots = log_slots,
                              .n_slots = 7};
static const Program log_program = {&log_plan, log_run, NULL, NULL, NULL};

static bool log_step(Fixture *f, Session *s, int64_t b, int64_t n, int64_t t, const HostTensor **out)
{
    static int32_t ids[64];
    static unsigned char keep[64];
    for (int i = 0; i < 64; i++) {
        ids[i] = 100 + i;
        keep[i] = (unsigned char)(1 + i); /* any non-zero byte is true */
    }
    HostTensor in[] = {tensor("ids", DT_I32, b, n, ids), tensor("keep", DT_BOOL, b, t, keep)};
    return session_run(&f->cx, s, in, 2, out);
}

START_TEST(caches_grow)
{
    Fixture f;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &log_program, 2, 2, NULL);
    ck_assert_ptr_nonnull(s);
    const HostTensor *out;
    ck_assert_msg(log_step(&f, s, 2, 3, 3, &out), "%s", rendered(&f));
    ck_assert_int_eq(session_length(s), 3);
    ck_assert_float_eq(((float *)out->data)[5], 105);
    ck_assert(log_step(&f, s, 2, 1, 4, &out) && log_step(&f, s, 2, 4, 8, &out));
    ck_assert_int_eq(session_length(s), 8);
    ck_assert_int_eq(out->dims[1], 8);
    ck_assert_float_eq(((float *)out->data)[3], 100);
    ck_assert_float_eq(((float *)out->data)[8 + 2], 105);
    ck_assert(!log_step(&f, s, 2, 1, 9, &out));
    expect_error(&f, "full", "E0607", "needs 9 positions, the cache holds 8 (8 filled)");
    ck_assert_int_eq(session_length(s), 8);
    forget(&f);
    session_truncate(s, 9);
    ck_assert_int_eq(session_length(s), 8);
    session_truncate(s, 7);
    ck_assert(log_step(&f, s, 2, 1, 8, &out));
    ck_assert_float_eq(((float *)out->data)[7], 100);
    session_reset(s);
    ck_assert_int_eq(session_length(s), 0);
    ck_assert(log_step(&f, s, 2, 8, 8, &out));
    session_reset(s);
    ck_assert(!log_step(&f, s, 2, 9, 9, &out));
    expect_error(&f, "longer than the cache", "E0607", "needs 9 positions, the cache holds 8 (0 filled)");
    forget(&f);
    ck_assert(!log_step(&f, s, 1, 2, 2, &out));
    expect_error(&f, "batch", "E0605", "axis B is 1, but this session was made for 2");
    forget(&f);
    ck_assert(log_step(&f, s, 2, 2, 2, &out));
    ck_assert(!log_step(&f, s, 2, 2, 5, &out));
    expect_error(&f, "T", "E0605", "keep: axis T is 5 but must be S + past = 4 (B = 2, S = 2, past = 2)");
    ck_assert_int_eq(session_length(s), 2);
    session_free(s);
    fixture_end(&f);
}
END_TEST

/* ---- states: sum[B] of all ids so far, of constant size; a run at position 0 begins anew ---------------------------- */

typedef struct StateCall {
    const int32_t *ids;
    float *out, *state;
    ptrdiff_t B, S, past;
} StateCall;

static int state_run(const void *call, ptrdiff_t thread)
{
    const StateCall *c = call;
    int failed = 0;
    for (ptrdiff_t b = 0; b < c->B && thread == 0; b++) {
        if (c->past == 0)
            c->state[b] = 0;
        for (ptrdiff_t i = 0; i < c->S; i++) {
            c->state[b] += (float)c->ids[b * c->S + i];
            failed |= c->ids[b * c->S + i] < 0;
        }
        c->out[b] = c->state[b];
    }
    return failed;
}

static PlanTensor state_inputs[] = {{.name = "ids", .dtype = DT_I32, .rank = 2, .dims = BS}};
static PlanTensor state_outputs[] = {{.name = "out", .dtype = DT_F32, .rank = 1, .dims = {{"B", 0, 1, {0}, {1}}}}};
static PlanTensor state_caches[] = {{.name = "at.state",
                                     .dtype = DT_F32,
                                     .rank = 2,
                                     .dims = {{"B", 0, 1, {0}, {1}}, {"state", 1, 0, {0}, {0}}},
                                     .layers = 1,
                                     .growing = -1,
                                     .bytes_per_row = sizeof(float)}};
static Slot state_slots[] = {{SLOT_INPUT, 0}, {SLOT_OUTPUT, 0}, {SLOT_CACHE, 0},
                             {SLOT_SIZE, 0},  {SLOT_SIZE, 1},   {SLOT_SIZE, 2}};
static const Plan state_plan = {.name = "state",
                                .symbols = log_symbols,
                                .n_symbols = 3,
                                .inputs = state_inputs,
                                .n_inputs = 1,
                                .outputs = state_outputs,
                                .n_outputs = 1,
                                .caches = state_caches,
                                .n_caches = 1,
                                .slots = state_slots,
                                .n_slots = 6};
static const Program state_program = {&state_plan, state_run, NULL, NULL, NULL};

static bool state_step(Fixture *f, Session *s, int64_t n, int32_t first, float *sum)
{
    int32_t ids[16] = {0};
    for (int64_t i = 0; i < n; i++)
        ids[i] = first + (int32_t)i;
    HostTensor in[] = {tensor("ids", DT_I32, 1, n, ids)};
    const HostTensor *out;
    bool good = session_run(&f->cx, s, in, 1, &out);
    *sum = good ? *(float *)out->data : -1;
    return good;
}

START_TEST(states_go_on_or_begin_again)
{
    Fixture f;
    float sum;
    fixture_begin(&f);
    ck_assert_int_eq(plan_capacity(&state_plan), CAPACITY);
    ck_assert_int_eq(plan_capacity(&log_plan), CAPACITY);
    ck_assert(plan_state(&state_plan) == &state_caches[0] && !plan_state(&log_plan));
    ck_assert(!plan_grows(&state_plan) && plan_grows(&log_plan));
    Session *s = session_new(&f.cx, &state_program, 1, 2, NULL);
    ck_assert(state_step(&f, s, 3, 1, &sum) && sum == 6);
    ck_assert(state_step(&f, s, 2, 10, &sum) && sum == 27);
    session_truncate(s, 5); /* as it is */
    ck_assert(state_step(&f, s, 1, 100, &sum) && sum == 127);
    ck_assert(!state_step(&f, s, 3, 1, &sum));
    expect_error(&f, "full", "E0607", "needs 9 positions, the model takes 8 (6 filled)");
    forget(&f);
    ck_assert(state_step(&f, s, 2, 0, &sum) && sum == 128);
    session_truncate(s, 7);
    ck_assert(!state_step(&f, s, 1, 1, &sum));
    expect_error(&f, "cut", "E0611", "was cut to 7 positions, but the state `at.state` is one of all 8");
    forget(&f);
    ck_assert(!state_step(&f, s, 1, 1, &sum)); /* and stays refused */
    forget(&f);
    session_truncate(s, 0);
    ck_assert(state_step(&f, s, 1, 5, &sum) && sum == 5);
    session_reset(s);
    ck_assert(state_step(&f, s, 1, 7, &sum) && sum == 7);
    session_free(s);
    fixture_end(&f);
}
END_TEST

START_TEST(a_state_after_a_run_that_failed)
{
    Fixture f;
    float sum;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &state_program, 1, 1, NULL);
    ck_assert(!state_step(&f, s, 2, -1, &sum)); /* at position 0: nothing was lost */
    forget(&f);
    ck_assert(state_step(&f, s, 2, 1, &sum) && sum == 3);
    ck_assert(!state_step(&f, s, 2, -1, &sum));
    forget(&f);
    ck_assert(!state_step(&f, s, 1, 4, &sum));
    expect_error(&f, "failed", "E0611", "the run before failed halfway");
    forget(&f);
    session_truncate(s, 1);
    ck_assert(!state_step(&f, s, 1, 4, &sum));
    forget(&f);
    session_reset(s);
    ck_assert(state_step(&f, s, 1, 4, &sum) && sum == 4);
    session_free(s);
    fixture_end(&f);
}
END_TEST

START_TEST(batches)
{
    Fixture f;
    fixture_begin(&f);
    static const int64_t wrong[] = {0, -1, 5};
    for (int i = 0; i < 3; i++) {
        forget(&f);
        ck_assert_ptr_null(session_new(&f.cx, &log_program, wrong[i], 1, NULL));
        expect_error(&f, "batch", "E0609", "a size for axis B from 1 to 4");
    }
    fixture_end(&f);
}
END_TEST

/* A growth that the plan states, and inputs whose sizes are constants. */
START_TEST(stated_growth)
{
    static PlanTensor inputs[] = {{.name = "keep", .dtype = DT_BOOL, .rank = 2, .dims = BT},
                                  {.name = "ids", .dtype = DT_I32, .rank = 2, .dims = BS}};
    Plan plan = log_plan;
    plan.inputs = inputs;
    plan.grows = (PlanDim){"S", 0, 1, {1}, {1}};
    Program program = log_program;
    program.plan = &plan;
    Fixture f;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &program, 1, 1, NULL);
    ck_assert(log_step(&f, s, 1, 5, 5, NULL));
    ck_assert_int_eq(session_length(s), 5);
    session_free(s);
    fixture_end(&f);
}
END_TEST

/* ---- hooks, steady state ----------------------------------------------------------------------------------------- */

typedef struct HookCall {
    void (*tap)(void *state, int64_t value, int64_t layer, const void *data);
    void *tap_state;
    uint64_t *times;
    uint64_t (*clock)(void);
    atomic_int *meet;
} HookCall;

static int hook_run(const void *call, ptrdiff_t thread)
{
    const HookCall *c = call;
    if ((uintptr_t)c->meet % 64 != 0)
        return 1;
    atomic_fetch_add(c->meet, 1);
    if (thread == 0 && c->tap)
        c->tap(c->tap_state, 7, 2, "x");
    if (thread == 0 && c->times)
        c->times[0] += c->clock() > 0;
    return 0;
}

static void tap(void *state, int64_t value, int64_t layer, const void *data)
{
    ck_assert(value == 7 && layer == 2 && !strcmp(data, "x"));
    ++*(int *)state;
}

START_TEST(hooks)
{
    static Slot slots[] = {{SLOT_TAP, 0}, {SLOT_TAP_STATE, 0}, {SLOT_TIMES, 0}, {SLOT_CLOCK, 0}, {SLOT_MEET, 0}};
    Plan plan = {.name = "hooks", .slots = slots, .n_slots = 5};
    Program program = {&plan, hook_run, NULL, NULL, NULL};
    Fixture f;
    fixture_begin(&f);
    int taps = 0;
    uint64_t times[1] = {0};
    SessionHooks h = {tap, &taps, times};
    Session *s = session_new(&f.cx, &program, 0, 2, &h);
    for (int i = 0; i < 3; i++)
        ck_assert(session_run(&f.cx, s, NULL, 0, NULL));
    ck_assert_int_eq(taps, 3);
    ck_assert_uint_eq(times[0], 3);
    session_free(s);
    s = session_new(&f.cx, &program, 0, 2, NULL);
    ck_assert(session_run(&f.cx, s, NULL, 0, NULL));
    session_free(s);
    fixture_end(&f);
}
END_TEST

static int failing_run(const void *call, ptrdiff_t thread)
{
    return call && thread == 0; /* the one that always comes */
}

START_TEST(failure_without_reason)
{
    Plan plan = {.name = "failing"};
    Program program = {&plan, failing_run, NULL, NULL, NULL};
    Fixture f;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &program, 0, 2, NULL);
    ck_assert(!session_run(&f.cx, s, NULL, 0, NULL));
    expect_error(&f, "failure", "E9901", "reports fault");
    ck_assert_int_eq(diag_exit_status(&f.diags), 70);
    session_free(s);
    fixture_end(&f);
}
END_TEST

static size_t huge_arena(const int64_t *sizes, ptrdiff_t threads)
{
    return sizes[1] > 3 ? (size_t)1 << 62 : (size_t)threads;
}

START_TEST(no_memory)
{
    Program program = sum_program;
    program.arena_bytes = huge_arena;
    Fixture f;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &program, 0, 1, NULL);
    HostTensor in[] = {tensor("ids", DT_I32, 2, 4, some_ids), tensor("x", DT_F32, 2, 4, some_x)};
    ck_assert(!session_run(&f.cx, s, in, 2, NULL));
    expect_error(&f, "arena", "E1003", "4611686018427387904 bytes of intermediate results with B = 2, S = 4");
    ck_assert_int_eq(diag_exit_status(&f.diags), 4);
    session_free(s);
    PlanTensor cache = log_caches[0];
    cache.bytes_per_row = (uint64_t)1 << 62;
    Plan plan = log_plan;
    plan.caches = &cache;
    program = (Program){&plan, log_run, NULL, NULL, NULL};
    forget(&f);
    ck_assert_ptr_null(session_new(&f.cx, &program, 4, 1, NULL));
    expect_error(&f, "cache", "E1003", "of caches");
    fixture_end(&f);
}
END_TEST

START_TEST(steady_state)
{ /* neither the heap nor the context's arena grows */
    Fixture f;
    fixture_begin(&f);
    Session *s = session_new(&f.cx, &log_program, 1, 1, NULL);
    for (int warm = 0; warm < 2; warm++) {
        for (int i = 1; i <= CAPACITY; i++)
            ck_assert(log_step(&f, s, 1, 1, i, NULL));
        session_reset(s);
    }
    size_t used = f.arena.used;
    struct mallinfo2 before = mallinfo2();
    for (int run = 0; run < 100; run++) {
        for (int i = 1; i <= CAPACITY; i++)
            ck_assert(log_step(&f, s, 1, 1, i, NULL));
        session_reset(s);
    }
    struct mallinfo2 after = mallinfo2();
    ck_assert_uint_eq(f.arena.used, used);
    if (!SANITIZED)
        ck_assert_uint_eq(after.uordblks + after.hblkhd, before.uordblks + before.hblkhd);
    session_free(s);
    session_free(NULL);
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("session");
    TCase *t = tcase_create("session");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, sizes_and_threads, 0, 5);
    tcase_add_test(t, unaligned_and_wide);
    tcase_add_test(t, read_where_they_are);
    tcase_add_loop_test(t, refusal, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(t, suggestion);
    tcase_add_test(t, index_out_of_range);
    tcase_add_test(t, caches_grow);
    tcase_add_test(t, states_go_on_or_begin_again);
    tcase_add_test(t, a_state_after_a_run_that_failed);
    tcase_add_test(t, batches);
    tcase_add_test(t, stated_growth);
    tcase_add_test(t, hooks);
    tcase_add_test(t, failure_without_reason);
    tcase_add_test(t, no_memory);
    tcase_add_test(t, steady_state);
    suite_add_tcase(s, t);
    return run_suite(s);
}
