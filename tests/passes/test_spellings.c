/* One attention, however it is written: every pair of spellings of two different things, and random mixtures of all of
 * them. Each program becomes one `attend` with the scale and the mask that was meant, nothing of the scores is left
 * outside, and the interpreter gives the same before and after. ATTAR_RANDOM_SEED and ATTAR_RANDOM_COUNT choose other
 * mixtures; a failure prints the program. */
#include "tests/passes/passes_test.h"
#include "tests/passes/spellings.h"

enum { N_PAIRS = SPELLING_DIMS * (SPELLING_DIMS - 1) / 2, N_MIXED = 400, LEAST_PROGRAMS = 200 };

static Graph *read_program(Fixture *f, const char *text)
{
    Source *source = arena_alloc(&f->arena, sizeof *source);
    *source = (Source){"spelling.attar", text, strlen(text)};
    ModelOptions options = {.n_checkpoint = -1};
    Model model;
    ck_assert_msg(model_load(&f->cx, source, &options, &model), "%s\n%s", text, fixture_said(f));
    return model.graph;
}

static void count_ops(const Graph *g, int *count)
{
    for (const Node *n = g->first; n; n = n->next) {
        bool weight = n->op == OP_dot && (n->inputs[0]->op == OP_weight || n->inputs[1]->op == OP_weight);
        count[n->op] += !weight;
    }
}

static bool has_length(const Type *t, const char *queries)
{
    for (int i = 0; i < t->rank; i++)
        for (int k = 0; k < t->axis[i].size.n; k++) {
            const char *symbol = t->axis[i].size.symbol[k]->name;
            if (strcmp(symbol, "B") && !strcmp(symbol, "S") == !strcmp(queries, "S"))
                return true;
        }
    return false;
}

/* A value over queries and keys that is computed outside the kernel, or a view of an input that is none. */
static bool is_matrix(const Node *n)
{
    return n->type && has_length(n->type, "S") && has_length(n->type, "keys") && n->op != OP_input &&
           op_info[n->op].class != CLASS_VIEW;
}

static bool is_minus_infinity(const Node *n)
{
    return n->op == OP_const && attr_float(n, ATTR_value, 0) == -INFINITY;
}

static void check_attend(Spelling s, const char *text, const Graph *g)
{
    int count[OP_COUNT] = {0};
    const Node *attend = NULL;
    count_ops(g, count);
    for (const Node *n = g->first; n; n = n->next)
        if (n->op == OP_attend)
            attend = n;
    ck_assert_msg(count[OP_attend] == 1 && attend, "%s\nhas %d attends", text, count[OP_attend]);
    ck_assert_msg(!count[OP_softmax] && !count[OP_dot] && !count[OP_exp], "%s\nleaves softmax or products outside", text);
    ck_assert_msg(type_find(attend->inputs[1]->type, attr_name(attend, ATTR_keys)) >= 0, "%s\nhas no keys", text);
    for (const Node *n = g->first; n; n = n->next)
        ck_assert_msg(!is_matrix(n), "%s\nbuilds `%s`, a matrix of queries by keys", text, n->name);
    double scale = attr_float(attend, ATTR_scale, 1);
    ck_assert_msg(fabs(scale - spelling_scale(s)) < 1e-9, "%s\nhas the scale %g, not %g", text, scale, spelling_scale(s));
    const Node *score = attend->body->results[0].value;
    bool masked = score->op == OP_where && is_minus_infinity(score->inputs[2]);
    ck_assert_msg(masked == spelling_is_masked(s), "%s\n%s", text, masked ? "is masked" : "is not masked by -inf");
}

static void check_remarks(Fixture *f, Spelling s, const char *text)
{
    int fused = 0, missed = 0;
    for (size_t i = 0; i < f->remarks.count; i++) {
        const Remark *r = &f->remarks.items[i];
        if (strcmp(r->pass, "fuse-attention"))
            continue;
        fused += r->kind == REMARK_PASSED && r->code == REMARK_FUSED && r->bytes_before > r->bytes_after;
        missed += r->kind == REMARK_MISSED;
    }
    ck_assert_msg(fused == 1, "%s\nhas %d remarks about the attention", text, fused);
    ck_assert_msg(missed == spelling_is_finite(s), "%s\nhas %d missed remarks", text, missed);
}

static void check_program(Spelling s)
{
    Fixture f;
    fixture_open(&f);
    Text text = text_new(&f.arena);
    spell(s, &text);
    Graph *before = read_program(&f, text.data), *g = graph_copy(&f.cx, before);
    PassOptions options = {.stop_after = "fuse-attention"};
    ck_assert_msg(passes_run(&f.cx, g, &options, &f.remarks, NULL), "%s\n%s", text.data, fixture_said(&f));
    check_attend(s, text.data, g);
    check_remarks(&f, s, text.data);
    Call call[] = {{"B", 2}, {"S", 5}, {"T", 7}, {"P", 4}, {"N", 3}};
    Run run = run_new(&f, before, call, 5), again = run_new(&f, g, call, 5);
    for (int i = 0; i < before->n_params; i++) {
        see_first_key(&run.inputs[i]);
        see_first_key(&again.inputs[i]);
    }
    check_near(before, run_graph(&run, before), run_graph(&again, g), text.data, 1e-11);
    fixture_close(&f);
}

/* Every choice of one thing with every choice of another, the rest plain. */
START_TEST(test_pair)
{
    int a = 0, b = 0, at = _i, tried = 0;
    for (a = 0; at >= SPELLING_DIMS - 1 - a; a++)
        at -= SPELLING_DIMS - 1 - a;
    b = a + 1 + at;
    for (int x = 0; x < spelling_size[a]; x++)
        for (int y = 0; y < spelling_size[b]; y++) {
            Spelling s = {.scale = SCALE_PRODUCT};
            *spelling_choice(&s, a) = x;
            *spelling_choice(&s, b) = y;
            if (!spelling_exists(s))
                continue;
            check_program(s);
            tried++;
        }
    ck_assert_int_gt(tried, 0);
}
END_TEST

START_TEST(test_mixed)
{
    const char *seed_text = getenv("ATTAR_RANDOM_SEED"), *count_text = getenv("ATTAR_RANDOM_COUNT");
    uint64_t state = seed_text ? strtoull(seed_text, NULL, 10) : 1;
    int count = count_text ? atoi(count_text) : N_MIXED;
    for (int i = 0; i < count; i++)
        check_program(spelling_random(&state));
}
END_TEST

/* Values read twice at every step: a walk that does not remember where it was would never end. */
START_TEST(test_doubled)
{
    Fixture f;
    fixture_open(&f);
    Text text = text_new(&f.arena);
    text_add(&text, "let H = 2; let K = 4\nmodel M(q: f32[B, S, H, K], k: f32[B, T, H, K], b: f32[S, T], x: f32[B, S, H, K])"
                    " -> (o: f32[B, S, H, K]) {\n  i = 0..S\n  j = 0..T\n  d = (j - i) * 0.001\n  m = j <= i\n");
    for (int i = 0; i < 40; i++)
        text_add(&text, "  b = (b + b * b) * 0.25\n  d = (d + d * d) * 0.25\n  x = (x + x * x) * 0.25\n  m = (m | j < %d) & (m | j < %d)\n",
                 i, i + 1);
    text_add(&text, "  s = dot(q, k, over=K)\n");
    for (int i = 0; i < 12; i++)
        text_add(&text, "  s = s + s * s * 0.001\n");
    text_add(&text, "  s = where(m, s + b + d, -10000.0)\n  return x + dot(softmax(s, over=T), k, over=T)\n}\n");
    Graph *before = read_program(&f, text.data), *g = graph_copy(&f.cx, before);
    ck_assert_msg(passes_run(&f.cx, g, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    Call call[] = {{"B", 1}, {"S", 3}, {"T", 5}};
    Run run = run_new(&f, before, call, 3), again = run_new(&f, g, call, 3);
    check_near(before, run_graph(&run, before), run_graph(&again, g), "doubled", 1e-9);
    fixture_close(&f);
}
END_TEST

/* Two axes as long as the sequence. */
static bool is_square(const Node *n)
{
    int lengths = 0;
    for (int i = 0; i < n->type->rank; i++)
        lengths += n->type->axis[i].size.n && !strcmp(n->type->axis[i].size.symbol[0]->name, "S");
    return lengths > 1;
}

/* What the library's attention takes, with grouped heads and without: each line also says the same by hand. */
static const struct {
    const char *argument, *by_hand;
} library[] = {
    {"", ""},
    {", mask=causal", "s = where(j <= i, s, -inf)"},
    {", bias=fn(h, i, j) => near[minimum(abs(i - j), 7), h]", "s = s + gather(near, minimum(abs(i - j), 7), over=N8)"},
    {", bias=fn(h, i, j) => slope[h] * (j - i), mask=causal & window(3)",
     "s = where(j <= i & i - j < 3, s + slope * (j - i), -inf)"},
    {", score=fn(s) => 5 * tanh(s / 5), mask=padding(keep) & !causal", "s = where(keep & j > i, 5 * tanh(s / 5), -inf)"},
    {", mask=prefix(2) | causal", "s = where(j < 2 | j <= i, s, -inf)"},
};
enum { N_LIBRARY = sizeof library / sizeof library[0] };

static Graph *library_program(Fixture *f, bool grouped, const char *body)
{
    Text t = text_new(&f->arena);
    text_add(&t, "let H = 4; let G = %d; let K = 4; let N8 = 8; let R2 = 2\n", grouped ? 2 : 4);
    text_add(&t, "model M(q: f32[B, S, H, K], k: f32[B, S, G, K], v: f32[B, S, G, K], keep: bool[B, S]) -> (o: f32[B, S, H, K]) {\n"
                 "  near = weight(\"near\", [N8, H])\n  slope = weight(\"slope\", [H])\n%s}\n", body);
    return read_program(f, t.data);
}

START_TEST(test_library)
{
    for (int grouped = 0; grouped < 2; grouped++) {
        Fixture f;
        fixture_open(&f);
        const char *call = arena_print(&f.arena, "  return attention(q, k, v%s)\n", library[_i].argument);
        const char *hand = arena_print(&f.arena,
                                       "  return By(q, %s, %s, keep, near, slope)\n}\n"
                                       "block By(q: [B, S, H, K], k: [B, T, H, K], v: [B, T, H, K], keep: [B, T], near: [N8, H], "
                                       "slope: [H]) -> [B, S, H, K] {\n  i = 0..S\n  j = 0..T\n"
                                       "  s = dot(q, k, over=K) * K^-0.5\n  %s\n  return dot(softmax(s, over=T), v, over=T)\n",
                                       grouped ? "merge(rearrange(expand(k, R2), [R2, B, S, G, K], [B, S, G, R2, K]), [G, R2], H)" : "k as [B, S, H, K]",
                                       grouped ? "merge(rearrange(expand(v, R2), [R2, B, S, G, K], [B, S, G, R2, K]), [G, R2], H)" : "v as [B, S, H, K]",
                                       library[_i].by_hand);
        Graph *before = library_program(&f, grouped, call), *by_hand = library_program(&f, grouped, hand);
        Graph *g = graph_copy(&f.cx, before), *h = graph_copy(&f.cx, by_hand);
        PassOptions options = {.stop_after = "fuse-attention"};
        ck_assert(passes_run(&f.cx, g, &options, &f.remarks, NULL) && passes_run(&f.cx, h, &options, &f.remarks, NULL));
        Call sizes[] = {{"B", 2}, {"S", 9}};
        Run run = run_new(&f, before, sizes, 2), other = run_new(&f, by_hand, sizes, 2);
        Value *want = run_graph(&run, before);
        check_near(before, want, run_graph(&run, g), library[_i].argument, 1e-11);
        check_near(before, want, run_graph(&other, by_hand), library[_i].by_hand, 1e-11);
        check_near(before, want, run_graph(&other, h), library[_i].by_hand, 1e-11);
        int count[OP_COUNT] = {0};
        count_ops(g, count);
        count_ops(h, count);
        ck_assert_msg(count[OP_attend] == 2 && !count[OP_softmax], "%s: %d attends", library[_i].argument, count[OP_attend]);
        for (const Node *n = g->first; n; n = n->next)
            ck_assert_msg(!n->type || n->type->rank < 2 || n->op == OP_input || !is_square(n), "%s builds `%s`",
                          library[_i].argument, n->name);
        fixture_close(&f);
    }
}
END_TEST

/* At least so many distinct programs are tried. */
START_TEST(test_count)
{
    int count = 1;
    for (int a = 0; a < SPELLING_DIMS; a++)
        for (int b = a + 1; b < SPELLING_DIMS; b++)
            for (int x = 1; x < spelling_size[a]; x++)
                for (int y = 1; y < spelling_size[b]; y++) {
                    Spelling s = {.scale = SCALE_PRODUCT};
                    *spelling_choice(&s, a) = x;
                    *spelling_choice(&s, b) = y;
                    count += spelling_exists(s);
                }
    printf("%d distinct spellings in pairs\n", count);
    ck_assert_int_ge(count, LEAST_PROGRAMS);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_pair, test_mixed, test_count, test_doubled, test_library};
    int loops[] = {N_PAIRS, 0, 0, 0, N_LIBRARY};
    return run_suite("spellings of attention", tests, loops, 5);
}
