/* extract-lora: what an adapter leaves out is what it says; an adapter of full rank is the fine-tuned checkpoint; what no pair can hold is saved whole. */
#include "tests/driver/adapter_folder.h"

#include "driver/extract.h"

#define MODEL "model.embed_tokens.weight 11 8;" LAYER0 "q_proj.weight 6 8;" LAYER0 "o_proj.weight 8 6;" LAYER1 "q_proj.weight 6 8;" "model.norm.weight 8;" "model.norm.bias 8;"

/* The base with `change` added to every tensor whose name holds `part`, in a pattern of full rank. */
static Checkpoint *put_tuned(Fixture *f, const char *name, const char *lines, const char *part, double change)
{
    HostTensor t[MOST_TENSORS];
    int n = parse_tensors(f, lines, t);
    uint64_t state = 7;
    for (int i = 0; i < n; i++)
        for (int64_t j = 0; strstr(t[i].name, part) && j < host_count(&t[i]); j++)
            host_set(&t[i], j, host_get(&t[i], j) + change * ((double)(draw(&state) % 2000) - 999.5) / 1000);
    ck_assert(safetensors_save(&f->cx, at(f, name), t, n));
    Checkpoint *c = checkpoint_open(&f->cx, at(f, name));
    ck_assert_ptr_nonnull(c);
    return c;
}

/* |merged - tuned| over all tensors, where `merged` is the base with the written adapter. */
static double apart(Fixture *f, Checkpoint *base, const Checkpoint *tuned, const char *folder)
{
    Adapters all;
    Merge merge;
    ck_assert(adapters_open(&f->cx, (const char *const[]){folder, NULL}, base, &all));
    Checkpoint *with = adapters_replace(&f->cx, base, &all);
    with = merge_adapters(&f->cx, with, &all, &(MergeOptions){.threads = 1}, &merge);
    ck_assert_ptr_nonnull(with);
    int64_t n;
    const HostTensor *tensors = checkpoint_tensors(tuned, &n);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t count = host_count(&tensors[i]);
        double *a = arena_array(&f->arena, (size_t)count, sizeof *a), *b = arena_array(&f->arena, (size_t)count, sizeof *b);
        ck_assert(checkpoint_read_f64(&f->cx, with, tensors[i].name, 0, count, a) && checkpoint_read_f64(&f->cx, tuned, tensors[i].name, 0, count, b));
        for (int64_t j = 0; j < count; j++)
            sum += (a[j] - b[j]) * (a[j] - b[j]);
    }
    adapters_close(&all);
    checkpoint_close(with);
    return sqrt(sum);
}

static void extract_into(Fixture *f, const Checkpoint *base, const Checkpoint *tuned, int64_t rank, bool turned, const char *folder, Extraction *x)
{
    ck_assert_msg(extract_lora(&f->cx, base, tuned, rank, turned, true, x), "refused: %s", f->diags.first ? f->diags.first->message : "");
    ck_assert(extract_write(&f->cx, x, turned, "base", folder));
}

START_TEST(what_is_left_out_is_what_it_says)
{
    Fixture f;
    fixture_begin(&f);
    for (int turned = 0; turned < 2; turned++)
        for (int64_t rank = 1; rank <= 7; rank += 2) {
            Checkpoint *base = put_base(&f, MODEL), *tuned = put_tuned(&f, "tuned.safetensors", MODEL, "_proj", 0.3);
            Extraction x;
            const char *folder = at(&f, arena_print(&f.arena, "adapter-%d-%lld", turned, (long long)rank));
            extract_into(&f, base, tuned, rank, turned, folder, &x);
            ck_assert_int_eq(x.n_sites, 3);
            ck_assert_int_eq(x.same, 3);
            double all = 0;
            for (int i = 0; i < x.n_sites; i++) {
                ck_assert_int_eq(x.sites[i].rank, rank < 6 ? rank : 6);
                ck_assert_double_eq_tol(x.sites[i].measured, x.sites[i].left, 1e-6 * x.sites[i].size);
                ck_assert(rank >= 6 || x.sites[i].left > 0.01 * x.sites[i].size);
                all = hypot(all, x.sites[i].left);
            }
            ck_assert_double_eq_tol(x.left, all, 1e-12);
            /* what --lora computes with it differs from the tuned checkpoint by exactly that, but for the f32 of both */
            ck_assert_double_eq_tol(apart(&f, base, tuned, folder), x.left, 2e-6 * x.size);
            checkpoint_close(tuned);
        }
    fixture_end(&f);
}
END_TEST

/* A head that is tied reads the table as well, which a pair for look-ups would not reach; a norm is a vector. Its other tensor comes along. */
START_TEST(tables_of_tied_heads_and_vectors_are_saved_whole)
{
    Fixture f;
    fixture_begin(&f);
    Checkpoint *base = put_base(&f, MODEL), *tuned = put_tuned(&f, "tuned.safetensors", MODEL, "e", 0.5);
    Extraction x;
    extract_into(&f, base, tuned, 6, false, at(&f, "adapter"), &x);
    ck_assert_int_eq(x.n_sites, 6);
    int whole = 0;
    for (int i = 0; i < x.n_sites; i++)
        whole += x.sites[i].whole;
    ck_assert_int_eq(whole, 3);
    ck_assert_double_le(apart(&f, base, tuned, at(&f, "adapter")), 1e-5);
    checkpoint_close(tuned);
    base = put_base(&f, MODEL);
    tuned = put_tuned(&f, "norm.safetensors", MODEL, "norm.weight", 0.5);
    extract_into(&f, base, tuned, 2, false, at(&f, "vector"), &x);
    ck_assert_int_eq(x.n_sites, 1);
    ck_assert_int_eq(x.n_tensors, 2); /* the norm's bias is equal, and belongs to the module */
    ck_assert_double_le(apart(&f, base, tuned, at(&f, "vector")), 0);
    checkpoint_close(tuned);
    fixture_end(&f);
}
END_TEST

START_TEST(a_table_that_no_head_reads_gets_a_pair)
{
    Fixture f;
    fixture_begin(&f);
    Checkpoint *base = put_base(&f, MODEL), *tuned = put_tuned(&f, "tuned.safetensors", MODEL, "embed", 0.5);
    Extraction x;
    ck_assert(extract_lora(&f.cx, base, tuned, 8, false, false, &x));
    ck_assert(x.sites[0].table && !x.sites[0].whole);
    ck_assert(extract_write(&f.cx, &x, false, "base", at(&f, "adapter")));
    ck_assert_double_le(apart(&f, base, tuned, at(&f, "adapter")), 1e-5 * x.size);
    checkpoint_close(tuned);
    fixture_end(&f);
}
END_TEST

START_TEST(checkpoints_that_cannot_be_compared)
{
    Fixture f;
    fixture_begin(&f);
    static const struct {
        const char *lines, *code;
    } cases[] = {{MODEL, "E0446"},
                 {MODEL "lm_head.weight 11 8;", "E0445"},
                 {"model.embed_tokens.weight 11 8;" LAYER0 "q_proj.weight 6 8;", "E0445"},
                 {"model.embed_tokens.weight 12 8;" LAYER0 "q_proj.weight 6 8;" LAYER0 "o_proj.weight 8 6;" LAYER1 "q_proj.weight 6 8;model.norm.weight 8;model.norm.bias 8;", "E0445"},
                 {"model.embed_tokens.weight 11 8;" LAYER0 "q_proj.weight!nan 6 8;" LAYER0 "o_proj.weight 8 6;" LAYER1 "q_proj.weight 6 8;model.norm.weight 8;model.norm.bias 8;", "E0681"}};
    Checkpoint *base = put_base(&f, MODEL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Checkpoint *tuned = put_tuned(&f, "other.safetensors", cases[i].lines, "nothing", 0);
        Extraction x;
        forget(&f);
        ck_assert(!extract_lora(&f.cx, base, tuned, 2, false, false, &x));
        ck_assert_int_eq(f.diags.errors, 1);
        ck_assert_str_eq(f.diags.first->code, cases[i].code);
        checkpoint_close(tuned);
    }
    checkpoint_close(base);
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("extract");
    TCase *tc = tcase_create("extract");
    tcase_add_test(tc, what_is_left_out_is_what_it_says);
    tcase_add_test(tc, tables_of_tied_heads_and_vectors_are_saved_whole);
    tcase_add_test(tc, a_table_that_no_head_reads_gets_a_pair);
    tcase_add_test(tc, checkpoints_that_cannot_be_compared);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
