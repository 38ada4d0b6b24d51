/* Packing against a naive reference: every layout of weights that models have, every float dtype, panels with edges,
 * several threads. */
#include "tests/runtime/fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include "runtime/pack.h"

enum { MAX_STORED = 1 << 20, MAX_GAINS = 3, ROUNDED = 2, ROUNDED_WIDE = 3 };

typedef struct Case {
    const char *what;
    DType dtype;
    int64_t layers;
    int stored_rank;
    int64_t stored[4];
    int64_t start;
    int n_rank, k_rank;
    PackDim n[3], k[3];
    int64_t panel; /* 0: plain */
    int gain_dim;  /* n first, then k */
    int64_t gain;  /* its size; 0: none; negative: one vector for all layers */
    double plus, factor;
    int kept; /* true: in the tensor's own type; or the nearest of bf16, in that type or in f32 */
} Case;

/* clang-format off */
static const Case cases[] = {
    {"linear [out, in]", DT_F32, 3, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 32, 0, 0, 0, 0, false},
    {"linear, exact panels", DT_F32, 1, 2, {96, 64}, 0, 1, 1, {{96, 64}}, {{64, 1}}, 48, 0, 0, 0, 0, false},
    {"linear, one column", DT_F32, 1, 2, {1, 5}, 0, 1, 1, {{1, 5}}, {{5, 1}}, 16, 0, 0, 0, 0, false},
    {"linear, larger than a chunk", DT_F32, 1, 2, {700, 900}, 0, 1, 1, {{700, 900}}, {{900, 1}}, 48, 0, 0, 0, 0, false},
    {"one row longer than a chunk", DT_F32, 1, 2, {3, 300000}, 0, 1, 1, {{3, 300000}}, {{300000, 1}}, 16, 0, 0, 0, 0, false},
    {"gpt2 [in, out]", DT_F32, 2, 2, {70, 100}, 0, 1, 1, {{100, 1}}, {{70, 100}}, 32, 0, 0, 0, 0, false},
    {"gpt2, large", DT_F32, 1, 2, {600, 1000}, 0, 1, 1, {{1000, 1}}, {{600, 1000}}, 48, 0, 0, 0, 0, false},
    {"gpt2, a row longer than a chunk", DT_F32, 1, 2, {3, 200000}, 0, 1, 1, {{200000, 1}}, {{3, 200000}}, 32, 0, 0, 0, 0, false},
    {"a third of q|k|v", DT_F32, 2, 2, {24, 96}, 32, 1, 1, {{32, 1}}, {{24, 96}}, 16, 0, 0, 0, 0, false},
    {"q of neox: heads of [q, k, v]", DT_F32, 1, 2, {4 * 3 * 8, 20}, 8 * 20, 2, 1, {{4, 3 * 8 * 20}, {8, 20}}, {{20, 1}}, 16, 0, 0, 0, 0, false},
    {"output projection over heads", DT_F32, 1, 2, {50, 4 * 8}, 0, 1, 2, {{50, 32}}, {{4, 8}, {8, 1}}, 32, 0, 0, 0, 0, false},
    {"contracted axes swapped", DT_F32, 1, 2, {50, 4 * 8}, 0, 1, 2, {{50, 32}}, {{8, 1}, {4, 8}}, 32, 0, 0, 0, 0, false},
    {"columns and elements interleaved", DT_F32, 1, 3, {6, 10, 7}, 0, 2, 1, {{6, 70}, {7, 1}}, {{10, 7}}, 16, 0, 0, 0, 0, false},
    {"every third element", DT_F32, 1, 3, {20, 30, 3}, 1, 1, 1, {{20, 90}}, {{30, 3}}, 16, 0, 0, 0, 0, false},
    {"bias", DT_F32, 2, 1, {77}, 0, 0, 1, {{0, 0}}, {{77, 1}}, 0, 0, 0, 0, 0, false},
    {"scalar", DT_F32, 1, 0, {0}, 0, 0, 0, {{0, 0}}, {{0, 0}}, 0, 0, 0, 0, 0, false},
    {"embedding", DT_F32, 1, 2, {5000, 40}, 0, 1, 1, {{5000, 40}}, {{40, 1}}, 0, 0, 0, 0, 0, false},
    {"embedding turned", DT_F32, 1, 2, {300, 40}, 0, 1, 1, {{40, 1}}, {{300, 40}}, 0, 0, 0, 0, 0, false},
    {"nothing", DT_F32, 1, 2, {0, 40}, 0, 1, 1, {{0, 40}}, {{40, 1}}, 16, 0, 0, 0, 0, false},
    {"f16", DT_F16, 2, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 32, 0, 0, 0, 0, false},
    {"bf16", DT_BF16, 2, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 32, 0, 0, 0, 0, false},
    {"bf16, large", DT_BF16, 1, 2, {700, 900}, 0, 1, 1, {{700, 900}}, {{900, 1}}, 48, 0, 0, 0, 0, false},
    {"bf16 [in, out]", DT_BF16, 1, 2, {70, 100}, 0, 1, 1, {{100, 1}}, {{70, 100}}, 32, 0, 0, 0, 0, false},
    {"f64", DT_F64, 1, 2, {600, 400}, 0, 1, 1, {{600, 400}}, {{400, 1}}, 32, 0, 0, 0, 0, false},
    {"f16 plain", DT_F16, 1, 2, {9, 70}, 0, 1, 1, {{9, 70}}, {{70, 1}}, 0, 0, 0, 0, 0, false},
    {"gain of a norm", DT_F32, 3, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 32, 1, 70, 0, 0, false},
    {"gain plus one, bf16", DT_BF16, 2, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 48, 1, 70, 1, 0, false},
    {"one gain for all layers", DT_F16, 2, 2, {40, 30}, 0, 1, 1, {{40, 30}}, {{30, 1}}, 16, 1, -30, 0, 0, false},
    {"gain, larger than a chunk", DT_F32, 1, 2, {700, 900}, 0, 1, 1, {{700, 900}}, {{900, 1}}, 48, 1, 900, 0, 0, false},
    {"gain, one row longer than a chunk", DT_F32, 1, 2, {3, 300000}, 0, 1, 1, {{3, 300000}}, {{300000, 1}}, 16, 1, 300000, 0, 0, false},
    {"gain, gpt2 [in, out]", DT_F32, 2, 2, {70, 100}, 0, 1, 1, {{100, 1}}, {{70, 100}}, 32, 1, 70, 0, 0, false},
    {"gain over heads", DT_F32, 1, 2, {50, 4 * 8}, 0, 1, 2, {{50, 32}}, {{4, 8}, {8, 1}}, 32, 1, 4, -0.5, 3, false},
    {"gain within heads", DT_F32, 1, 2, {50, 4 * 8}, 0, 1, 2, {{50, 32}}, {{4, 8}, {8, 1}}, 32, 2, 8, 0, 0, false},
    {"gain along columns", DT_F32, 2, 2, {100, 70}, 0, 2, 1, {{25, 280}, {4, 70}}, {{70, 1}}, 32, 0, 25, 0, 0, false},
    {"gain along inner columns", DT_F32, 1, 2, {100, 70}, 0, 2, 1, {{25, 280}, {4, 70}}, {{70, 1}}, 32, 1, 4, 0, 0, false},
    {"gain, plain", DT_F32, 2, 2, {90, 40}, 0, 1, 1, {{90, 40}}, {{40, 1}}, 0, 1, 40, 0, 0, false},
    {"gain of rows, plain", DT_F32, 2, 2, {90, 40}, 0, 1, 1, {{90, 40}}, {{40, 1}}, 0, 0, 90, 2, 0, false},
    {"factor, bf16", DT_BF16, 2, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 32, 0, 0, 0, 0.22, false},
    {"factor, plain", DT_F32, 1, 2, {9, 70}, 0, 1, 1, {{9, 70}}, {{70, 1}}, 0, 0, 0, 0, -3, false},
    {"i64 buffer", DT_I64, 1, 1, {33}, 0, 0, 1, {{0, 0}}, {{33, 1}}, 0, 0, 0, 0, 0, false},
    {"f16 kept", DT_F16, 2, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 32, 0, 0, 0, 0, true},
    {"bf16 kept", DT_BF16, 2, 2, {101, 71}, 0, 1, 1, {{101, 71}}, {{71, 1}}, 24, 0, 0, 0, 0, true},
    {"bf16 kept, large", DT_BF16, 1, 2, {700, 900}, 0, 1, 1, {{700, 900}}, {{900, 1}}, 48, 0, 0, 0, 0, true},
    {"bf16 kept, [in, out]", DT_BF16, 1, 2, {70, 100}, 0, 1, 1, {{100, 1}}, {{70, 100}}, 32, 0, 0, 0, 0, true},
    {"f16 kept, one row longer than a chunk", DT_F16, 1, 2, {3, 300000}, 0, 1, 1, {{3, 300000}}, {{300000, 1}}, 16, 0, 0, 0, 0, true},
    {"f16 kept, over heads", DT_F16, 1, 2, {50, 4 * 8}, 0, 1, 2, {{50, 32}}, {{8, 1}, {4, 8}}, 32, 0, 0, 0, 0, true},
    {"f16 kept, plain", DT_F16, 3, 2, {9, 71}, 0, 1, 1, {{9, 71}}, {{71, 1}}, 0, 0, 0, 0, 0, true},
    {"rounded", DT_F32, 3, 2, {100, 70}, 0, 1, 1, {{100, 70}}, {{70, 1}}, 32, 0, 0, 0, 0, ROUNDED},
    {"rounded, large", DT_F32, 1, 2, {700, 900}, 0, 1, 1, {{700, 900}}, {{900, 1}}, 48, 0, 0, 0, 0, ROUNDED},
    {"rounded, [in, out]", DT_F16, 1, 2, {70, 101}, 0, 1, 1, {{101, 1}}, {{70, 101}}, 32, 0, 0, 0, 0, ROUNDED},
    {"rounded, in f32", DT_F32, 2, 2, {9, 71}, 0, 1, 1, {{9, 71}}, {{71, 1}}, 0, 0, 0, 0, 0, ROUNDED_WIDE},
    {"rounded with a gain", DT_F32, 3, 2, {101, 70}, 0, 1, 1, {{101, 70}}, {{70, 1}}, 24, 1, 70, 0, 0, ROUNDED},
    {"rounded with a gain of columns, bf16", DT_BF16, 2, 2, {100, 70}, 0, 2, 1, {{25, 280}, {4, 70}}, {{70, 1}}, 32, 0, 25, 1, 3, ROUNDED},
    {"rounded once with a factor", DT_F32, 2, 2, {700, 900}, 0, 1, 1, {{700, 900}}, {{900, 1}}, 48, 0, 0, 0, 1 + 0x1p-30, ROUNDED},
    {"rounded with a gain, in f32", DT_F32, 2, 2, {90, 40}, 0, 1, 1, {{90, 40}}, {{40, 1}}, 0, 1, 40, 0, 1 + 0x1p-30, ROUNDED_WIDE},
    {"bf16 kept, turned", DT_BF16, 1, 2, {300, 41}, 0, 1, 1, {{41, 1}}, {{300, 41}}, 0, 0, 0, 0, 0, true},
};
/* clang-format on */
enum { CASES = sizeof cases / sizeof *cases };

static int64_t product(const PackDim *d, int rank)
{
    int64_t p = 1;
    for (int i = 0; i < rank; i++)
        p *= d[i].size;
    return p;
}

static int64_t offset(const PackDim *d, int rank, int64_t i)
{
    int64_t at = 0;
    for (int r = rank - 1; r >= 0; i /= d[r].size, r--)
        at += i % d[r].size * d[r].stride;
    return at;
}

static int64_t stored_count(const Case *c)
{
    int64_t p = 1;
    for (int i = 0; i < c->stored_rank; i++)
        p *= c->stored[i];
    return p;
}

static PackItem item_of(const Case *c)
{
    PackItem item = {.key = c->layers > 1 ? "l.{i}.w" : "w",
                     .layers = c->layers,
                     .stored_rank = c->stored_rank,
                     .start = c->start,
                     .n_rank = c->n_rank,
                     .k_rank = c->k_rank,
                     .layout = c->panel ? PACK_PANELS : PACK_PLAIN,
                     .panel = c->panel,
                     .factor = c->factor,
                     .dtype = c->kept == ROUNDED ? DT_BF16 : c->kept == true ? c->dtype : DT_F32,
                     .rounded = c->kept >= ROUNDED,
                     .offset = 64};
    if (c->gain) {
        item.gain = c->gain > 0 && c->layers > 1 ? "l.{i}.gain" : "gain";
        item.gain_dim = c->gain_dim;
        item.plus = c->plus;
    }
    memcpy(item.stored, c->stored, (size_t)c->stored_rank * sizeof *c->stored);
    memcpy(item.n, c->n, sizeof c->n);
    memcpy(item.k, c->k, sizeof c->k);
    int64_t n = product(c->n, c->n_rank), k = product(c->k, c->k_rank);
    if (c->panel)
        n = (n + c->panel - 1) / c->panel * c->panel;
    item.bytes = ((uint64_t)(n * k) * dtype_size(item.dtype) + 63) / 64 * 64;
    item.layer_stride = item.bytes + 128;
    return item;
}

static const char *name_of_layer(Fixture *f, const Case *c, int64_t layer)
{
    return c->layers > 1 ? arena_print(&f->arena, "l.%d.w", (int)layer) : "w";
}

/* The gains' tensors: one a layer, or one. */
static int gain_tensors(Fixture *f, const Case *c, HostTensor *out)
{
    int count = c->gain > 0 ? (int)c->layers : c->gain < 0;
    int64_t size = c->gain < 0 ? -c->gain : c->gain;
    for (int layer = 0; layer < count; layer++) {
        out[layer] = (HostTensor){.name = count > 1 ? arena_print(&f->arena, "l.%d.gain", layer) : "gain",
                                  .dtype = c->dtype,
                                  .rank = 1,
                                  .dims = {size}};
        out[layer].data = arena_alloc(&f->arena, (size_t)size * dtype_size(c->dtype) + 1);
        for (int64_t i = 0; i < size; i++)
            host_set(&out[layer], i, (double)((i * 5 + layer * 3) % 31 - 11) / 8);
    }
    return count;
}

/* What element (i, j) of a layer is multiplied by. */
static double gain_of(const Case *c, const HostTensor *gains, int64_t layer, int64_t i, int64_t j)
{
    bool column = c->gain_dim < c->n_rank;
    const PackDim *d = column ? c->n : c->k;
    int rank = column ? c->n_rank : c->k_rank, place = column ? c->gain_dim : c->gain_dim - c->n_rank;
    int64_t at = column ? i : j;
    if (!c->gain)
        return c->factor != 0 ? c->factor : 1;
    for (int r = rank - 1; r > place; r--)
        at /= d[r].size;
    double gain = host_get(&gains[c->gain < 0 ? 0 : layer], at % d[place].size) + c->plus;
    return c->factor != 0 ? gain * c->factor : gain;
}

static HostTensor *make_tensors(Fixture *f, const Case *c)
{
    HostTensor *t = arena_array(&f->arena, (size_t)c->layers, sizeof *t);
    int64_t count = stored_count(c);
    for (int64_t layer = 0; layer < c->layers; layer++) {
        t[layer] = (HostTensor){.name = name_of_layer(f, c, layer), .dtype = c->dtype, .rank = c->stored_rank};
        memcpy(t[layer].dims, c->stored, (size_t)c->stored_rank * sizeof *c->stored);
        t[layer].data = arena_alloc(&f->arena, (size_t)count * dtype_size(c->dtype) + 1);
        for (int64_t i = 0; i < count; i++)
            host_set(&t[layer], i, (double)((i * 37 + layer * 11) % 2039 - 1000) / (c->dtype == DT_BF16 ? 4 : 8));
    }
    return t;
}

static void check_item(const Case *c, const PackItem *item, const HostTensor *t, const HostTensor *gains,
                       const Packed *p)
{
    int64_t n = product(c->n, c->n_rank), k = product(c->k, c->k_rank), width = c->panel ? c->panel : 1;
    int64_t columns = c->panel ? (n + width - 1) / width * width : n;
    for (int64_t layer = 0; layer < c->layers; layer++) {
        HostTensor out = {.dtype = item->dtype, .data = p->data + item->offset + (uint64_t)layer * item->layer_stride};
        for (int64_t i = 0; i < columns; i++) {
            for (int64_t j = 0; j < k; j++) {
                int64_t from = c->start + offset(c->n, c->n_rank, i) + offset(c->k, c->k_rank, j);
                float want = i < n ? (float)dtype_rounded(item->rounded ? DT_BF16 : DT_F32, host_get(&t[layer], from) * gain_of(c, gains, layer, i, j)) : 0;
                float got = (float)host_get(&out, c->panel ? i / width * width * k + j * width + i % width : i * k + j);
                if (got != want)
                    ck_abort_msg("%s: layer %d (%d, %d) is %g, not %g", c->what, (int)layer, (int)i, (int)j, got, want);
            }
        }
        for (uint64_t at = (uint64_t)(columns * k) * dtype_size(item->dtype); at < item->layer_stride; at++) {
            const unsigned char *byte = p->data + item->offset + (uint64_t)layer * item->layer_stride + at;
            if (*byte != 0)
                ck_abort_msg("%s: something is written behind the weight", c->what);
        }
    }
}

START_TEST(pack_case)
{
    const Case *c = &cases[_i / 2];
    Fixture f;
    fixture_begin(&f);
    HostTensor *t = make_tensors(&f, c), gains[MAX_GAINS], all[2 * MAX_GAINS];
    int n_gains = gain_tensors(&f, c, gains);
    memcpy(all, t, (size_t)c->layers * sizeof *t);
    memcpy(all + c->layers, gains, (size_t)n_gains * sizeof *gains);
    ck_assert(safetensors_save(&f.cx, at(&f, "w.safetensors"), all, (int)c->layers + n_gains));
    Checkpoint *checkpoint = checkpoint_open(&f.cx, at(&f, "w.safetensors"));
    ck_assert_ptr_nonnull(checkpoint);
    PackItem item = item_of(c);
    Plan plan = {
        .weights = &item, .n_weights = 1, .weight_bytes = item.offset + (uint64_t)c->layers * item.layer_stride};
    Packed p;
    bool good = pack_weights(&f.cx, checkpoint, &plan, _i % 2 ? 3 : 1, &p);
    ck_assert_msg(good, "%s:\n%s", c->what, rendered(&f));
    ck_assert_uint_eq((uintptr_t)p.data % 64, 0);
    check_item(c, &item, t, gains, &p);
    pack_free(&p);
    checkpoint_close(checkpoint);
    fixture_end(&f);
}
END_TEST

START_TEST(all_together)
{ /* many items, offsets after each other, any number of threads: the same bytes */
    Fixture f;
    fixture_begin(&f);
    PackItem items[CASES];
    HostTensor all[4 * CASES], *each[CASES], gains[CASES][MAX_GAINS];
    Plan plan = {.weights = items, .n_weights = CASES, .weight_bytes = 64};
    int n = 0;
    for (int i = 0; i < CASES; i++) {
        each[i] = make_tensors(&f, &cases[i]);
        items[i] = item_of(&cases[i]);
        items[i].key = arena_print(&f.arena, cases[i].layers > 1 ? "t%d.{i}.x" : "t%d", i);
        items[i].offset = plan.weight_bytes;
        plan.weight_bytes += (uint64_t)items[i].layers * items[i].layer_stride;
        int n_gains = gain_tensors(&f, &cases[i], gains[i]);
        if (n_gains)
            items[i].gain = arena_print(&f.arena, n_gains > 1 ? "g%d.{i}.x" : "g%d", i);
        for (int l = 0; l < n_gains; l++) {
            all[n] = gains[i][l];
            all[n++].name = arena_print(&f.arena, n_gains > 1 ? "g%d.%d.x" : "g%d", i, l);
        }
        for (int64_t l = 0; l < cases[i].layers; l++) {
            all[n] = each[i][l];
            all[n++].name = arena_print(&f.arena, cases[i].layers > 1 ? "t%d.%d.x" : "t%d", i, (int)l);
        }
    }
    ck_assert(safetensors_save(&f.cx, at(&f, "w.safetensors"), all, n));
    Checkpoint *c = checkpoint_open(&f.cx, at(&f, "w.safetensors"));
    Packed first = {0};
    for (int threads = 1; threads <= 4; threads++) {
        Packed p;
        ck_assert(pack_weights(&f.cx, c, &plan, threads, &p));
        for (int i = 0; i < CASES && threads == 1; i++)
            check_item(&cases[i], &items[i], each[i], gains[i], &p);
        if (threads == 1)
            first = p;
        else
            ck_assert_int_eq(memcmp(first.data, p.data, p.bytes), 0);
        if (threads > 1)
            pack_free(&p);
    }
    pack_free(&first);
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

/* Tensors that are stacked lie in the file each under its own name, and are packed as the one that they make. */
START_TEST(stacked)
{
    static const Case stacks[] = {
        {"columns of experts", DT_F32, 2, 3, {5, 30, 20}, 0, 2, 1, {{5, 600}, {30, 20}}, {{20, 1}}, 32, 0, 0, 0, 0, false},
        {"contracted over experts", DT_BF16, 2, 3, {5, 30, 20}, 0, 1, 2, {{30, 20}}, {{5, 600}, {20, 1}}, 16, 0, 0, 0, 0, false},
        {"plain, larger than a chunk", DT_F16, 1, 3, {7, 300, 100}, 0, 2, 1, {{7, 30000}, {300, 100}}, {{100, 1}}, 0, 0, 0, 0, 0, false},
        {"turned, from the second on", DT_F32, 3, 3, {4, 10, 12}, 120, 1, 2, {{12, 1}}, {{3, 120}, {10, 12}}, 16, 0, 0, 0, 0.5, false},
    };
    const Case *c = &stacks[_i / 2];
    Fixture f;
    fixture_begin(&f);
    HostTensor *whole = make_tensors(&f, c), parts[16];
    PackItem item = item_of(c);
    int n = 0;
    for (int64_t layer = 0; layer < c->layers; layer++)
        for (int64_t e = 0; e < c->stored[0]; e++) {
            int64_t each = c->stored[1] * c->stored[2];
            parts[n] = (HostTensor){.name = arena_print(&f.arena, "l.%d.e.%d.w", (int)(2 * layer + 1), (int)e),
                                    .dtype = c->dtype,
                                    .rank = 2,
                                    .dims = {c->stored[1], c->stored[2]}};
            parts[n++].data = (char *)whole[layer].data + (size_t)(e * each) * dtype_size(c->dtype);
        }
    item.key = "l.{2*i+1}.e.{E}.w";
    item.stack = c->stored[0];
    ck_assert(safetensors_save(&f.cx, at(&f, "w.safetensors"), parts, n));
    Checkpoint *checkpoint = checkpoint_open(&f.cx, at(&f, "w.safetensors"));
    Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = item.offset + (uint64_t)c->layers * item.layer_stride};
    Packed p;
    ck_assert_msg(pack_weights(&f.cx, checkpoint, &plan, _i % 2 ? 3 : 1, &p), "%s:\n%s", c->what, rendered(&f));
    check_item(c, &item, whole, NULL, &p);
    pack_free(&p);
    item.stack++; /* one that is not there, then a shape that says something else */
    ck_assert(!pack_weights(&f.cx, checkpoint, &plan, 1, &p));
    ck_assert_str_eq(f.cx.diags->last->code, "E9901");
    item.stored[0]++;
    ck_assert(!pack_weights(&f.cx, checkpoint, &plan, 1, &p));
    ck_assert_str_eq(f.cx.diags->last->code, "E0420");
    checkpoint_close(checkpoint);
    fixture_end(&f);
}
END_TEST

/* ---- rows when a run asks for them ------------------------------------------------------------------------------- */

static const Case table_cases[] = {
    {"rows", DT_F32, 1, 2, {3000, 300}, 0, 1, 1, {{3000, 300}}, {{300, 1}}, 0, 0, 0, 0, 0, false},
    {"rows of bf16, times a factor", DT_BF16, 1, 2, {3000, 300}, 0, 1, 1, {{3000, 300}}, {{300, 1}}, 0, 0, 0, 0, 3, false},
    {"rows that are columns", DT_F32, 1, 2, {40, 3000}, 0, 1, 1, {{3000, 1}}, {{40, 3000}}, 0, 0, 0, 0, 0, false},
};
enum { TABLES = sizeof table_cases / sizeof *table_cases };

static bool row_is(const Case *c, const PackItem *item, const HostTensor *t, const Packed *p, int64_t i, bool here)
{
    int64_t k = product(c->k, c->k_rank);
    const float *row = (const float *)(void *)(p->data + item->offset) + i * k;
    bool same = true;
    for (int64_t j = 0; j < k; j++) {
        int64_t from = offset(c->n, c->n_rank, i) + offset(c->k, c->k_rank, j);
        same &= row[j] == (here ? (float)(host_get(t, from) * gain_of(c, NULL, 0, i, j)) : 0);
    }
    return same;
}

typedef struct Asking {
    Arena arena;
    Diags diags;
    Context cx;
    PackedRows *rows;
    int seed;
    bool good;
} Asking;

static void *ask(void *argument)
{
    Asking *a = argument;
    a->good = true;
    for (int32_t i = 0; i < 3000; i++)
        a->good &= pack_rows(&a->cx, a->rows, 2, &(int32_t){(i * 7 + a->seed * 311) % 3000}, 1);
    return NULL;
}

START_TEST(rows_on_demand)
{
    const Case *c = &table_cases[_i];
    Fixture f;
    fixture_begin(&f);
    HostTensor *t = make_tensors(&f, c);
    ck_assert(safetensors_save(&f.cx, at(&f, "w.safetensors"), t, 1));
    Checkpoint *checkpoint = checkpoint_open(&f.cx, at(&f, "w.safetensors"));
    PackItem item = item_of(c);
    item.rows_by = 3;
    item.offset = 4096;
    item.bytes = item.layer_stride = (item.bytes + 4095) / 4096 * 4096;
    Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = item.offset + item.bytes};
    Packed p;
    ck_assert_msg(pack_weights(&f.cx, checkpoint, &plan, 2, &p), "%s", rendered(&f));
    ck_assert_ptr_nonnull(p.rows);
    const int32_t some[] = {5, -3, 7, 99999, 5, 2999};
    ck_assert(pack_rows(&f.cx, p.rows, 1, some, 6)); /* of another input */
    ck_assert(row_is(c, &item, t, &p, 5, false));
    ck_assert(pack_rows(&f.cx, p.rows, 2, some, 6));
    for (int32_t i = 0; i < 3000; i++)
        ck_assert_msg(row_is(c, &item, t, &p, i, i == 5 || i == 7 || i == 2999), "%s: row %d", c->what, i);
    /* the file is written to: what is here stays, nothing of the new contents comes in */
    int fd = open(at(&f, "w.safetensors"), O_WRONLY);
    struct timespec times[] = {{0, UTIME_OMIT}, {1000000000, 0}};
    ck_assert(fd >= 0 && futimens(fd, times) == 0);
    ck_assert(pack_rows(&f.cx, p.rows, 2, some, 6));
    expect_silence(&f, c->what);
    ck_assert(!pack_rows(&f.cx, p.rows, 2, &(int32_t){8}, 1));
    expect_error(&f, c->what, "E0420", "has been written to");
    ck_assert(row_is(c, &item, t, &p, 8, false));
    close(fd);
    pack_free(&p);
    checkpoint_close(checkpoint);
    fixture_end(&f);
}
END_TEST

START_TEST(rows_from_many_threads)
{
    enum { ASKING = 4 };
    const Case *c = &table_cases[_i];
    Fixture f;
    fixture_begin(&f);
    HostTensor *t = make_tensors(&f, c);
    ck_assert(safetensors_save(&f.cx, at(&f, "w.safetensors"), t, 1));
    Checkpoint *checkpoint = checkpoint_open(&f.cx, at(&f, "w.safetensors"));
    PackItem item = item_of(c);
    item.rows_by = 3;
    item.offset = 4096;
    Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = item.offset + item.layer_stride};
    Packed p;
    ck_assert(pack_weights(&f.cx, checkpoint, &plan, 1, &p));
    pthread_t threads[ASKING];
    Asking asking[ASKING] = {0};
    for (int i = 0; i < ASKING; i++) {
        Asking *a = &asking[i];
        a->diags.arena = &a->arena;
        a->cx = (Context){.arena = &a->arena, .diags = &a->diags};
        a->rows = p.rows;
        a->seed = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask, a), 0);
    }
    for (int i = 0; i < ASKING; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(asking[i].good);
        arena_free(&asking[i].arena);
    }
    check_item(c, &item, t, NULL, &p);
    pack_free(&p);
    checkpoint_close(checkpoint);
    fixture_end(&f);
}
END_TEST

START_TEST(constants)
{ /* a table that the compiler made needs no checkpoint */
    Fixture f;
    fixture_begin(&f);
    float table[6] = {1, 2, 3, 4, 5, 6};
    PackItem item = {.layers = 1,
                     .stored_rank = 2,
                     .stored = {2, 3},
                     .n_rank = 1,
                     .k_rank = 1,
                     .n = {{2, 3}},
                     .k = {{3, 1}},
                     .layout = PACK_PLAIN,
                     .bytes = 64,
                     .layer_stride = 64,
                     .data = table};
    Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = 64};
    Packed p;
    ck_assert(pack_weights(&f.cx, NULL, &plan, 2, &p));
    ck_assert_mem_eq(p.data, table, sizeof table);
    pack_free(&p);
    plan = (Plan){0};
    ck_assert(pack_weights(&f.cx, NULL, &plan, 2, &p)); /* no weights at all */
    pack_free(&p);
    fixture_end(&f);
}
END_TEST

START_TEST(mixed_types)
{ /* layers of one weight in files of several types: each is read in its own */
    Fixture f;
    fixture_begin(&f);
    Case c = cases[0];
    HostTensor *want = make_tensors(&f, &c), mixed[3];
    static const DType types[] = {DT_BF16, DT_F32, DT_F64};
    for (int layer = 0; layer < 3; layer++) {
        mixed[layer] = want[layer];
        mixed[layer].dtype = types[layer];
        mixed[layer].data = arena_alloc(&f.arena, (size_t)stored_count(&c) * sizeof(double));
        for (int64_t i = 0; i < stored_count(&c); i++) {
            host_set(&want[layer], i, layer == 0 ? (double)(i % 251) : host_get(&want[layer], i));
            host_set(&mixed[layer], i, host_get(&want[layer], i));
        }
    }
    ck_assert(safetensors_save(&f.cx, at(&f, "w.safetensors"), mixed, 3));
    Checkpoint *checkpoint = checkpoint_open(&f.cx, at(&f, "w.safetensors"));
    PackItem item = item_of(&c);
    Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = item.offset + 3 * item.layer_stride};
    Packed p;
    ck_assert_msg(pack_weights(&f.cx, checkpoint, &plan, 2, &p), "%s", rendered(&f));
    check_item(&c, &item, want, NULL, &p);
    pack_free(&p);
    checkpoint_close(checkpoint);
    fixture_end(&f);
}
END_TEST

START_TEST(refusals)
{
    Fixture f;
    fixture_begin(&f);
    const Case *c = &cases[0];
    HostTensor *t = make_tensors(&f, c);
    const char *path = at(&f, "w.safetensors");
    ck_assert(safetensors_save(&f.cx, path, t, (int)c->layers));
    Checkpoint *checkpoint = checkpoint_open(&f.cx, path);
    for (int i = 0; i < 12; i++) {
        PackItem item = item_of(c);
        uint64_t bytes = item.offset + (uint64_t)c->layers * item.layer_stride;
        const char *code = "E9901", *phrase = "do not fit";
        if (i == 0)
            item.key = "absent", code = "E0420", phrase = "no such tensor";
        if (i == 1)
            item.layers = 4, bytes += item.layer_stride, code = "E0420", phrase = "no such tensor";
        if (i == 2)
            item.stored[0] = 99, code = "E0420", phrase = "its shape";
        if (i == 3)
            item.start = 1;
        if (i == 4)
            item.bytes -= 64;
        if (i == 5)
            bytes -= 129;
        if (i == 6)
            item.k[0].size = 71;
        if (i == 7)
            item.panel = 0, phrase = "malformed";
        if (i >= 8)
            item.gain = "l.{i}.w", item.gain_dim = 1, code = "E0420", phrase = "its shape"; /* not a vector */
        if (i == 9)
            item.gain = "absent", phrase = "no such tensor";
        if (i == 10)
            item.gain_dim = 2, code = "E9901", phrase = "gain is malformed";
        if (i == 11)
            item.gain_dim = -1, code = "E9901", phrase = "gain is malformed";
        Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = bytes};
        Packed p;
        forget(&f);
        ck_assert_msg(!pack_weights(&f.cx, checkpoint, &plan, 1, &p), "refusal %d", i);
        expect_error(&f, "refusal", code, phrase);
        ck_assert_ptr_null(p.data);
    }
    forget(&f);
    PackItem item = item_of(c);
    Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = (uint64_t)1 << 62};
    Packed p;
    ck_assert(!pack_weights(&f.cx, checkpoint, &plan, 1, &p));
    expect_error(&f, "too much", "E1003", "4611686018427387904 bytes of weights");
    forget(&f);
    plan.weight_bytes = item.offset + (uint64_t)c->layers * item.layer_stride;
    size_t size;
    get_bytes(&f, path, &size);
    ck_assert_int_eq(truncate(path, (off_t)size - 5), 0);
    for (int threads = 1; threads <= 3; threads++) {
        forget(&f);
        ck_assert(!pack_weights(&f.cx, checkpoint, &plan, threads, &p));
        expect_error(&f, "shrunk", "E0420", "tensor `l.2.w`");
    }
    checkpoint_close(checkpoint);
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pack");
    TCase *t = tcase_create("pack");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, pack_case, 0, 2 * CASES);
    tcase_add_test(t, all_together);
    tcase_add_loop_test(t, stacked, 0, 8);
    tcase_add_loop_test(t, rows_on_demand, 0, TABLES);
    tcase_add_loop_test(t, rows_from_many_threads, 0, TABLES);
    tcase_add_test(t, constants);
    tcase_add_test(t, mixed_types);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    return run_suite(s);
}
