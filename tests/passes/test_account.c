/* What a report is made of: remarks as JSON, pages of their codes, sizes for estimates, values in memory and traffic. */
#include <jansson.h>
#include "tests/passes/passes_test.h"

static json_t *parsed(Fixture *f, const Remark *r, const char *model)
{
    Text line = text_new(&f->arena);
    remark_json(r, model, &line);
    json_error_t error;
    json_t *j = json_loadb(line.data, line.length, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(j != NULL, "%s: %s", error.text, line.data);
    return j;
}

/* Whatever stands in names and paths, a record is JSON and says what the remark does. */
START_TEST(test_json)
{
    Fixture f;
    fixture_open(&f);
    Source s = {"a \"b\"\\\xff\x80.attar", "one\n two\n", 9};
    Remark r = {.kind = REMARK_MISSED,
                .code = REMARK_MULTI_USE,
                .pass = "fuse-epilogue",
                .op = "x.1",
                .at = {&s, 5, 8},
                .evidence = {&s, 0, 3},
                .why = "`y` reads \"it\"\n\ttoo",
                .help = "h\x01lp",
                .times = 3,
                .bytes_before = 100,
                .bytes_after = 40,
                .flops = 7};
    json_t *j = parsed(&f, &r, "M\"\xc3");
    const char *kind, *code, *why;
    int v, line, col, len, times, before, possible, flops;
    json_t *after;
    ck_assert_int_eq(json_unpack(j, "{s:i,s:s,s:s,s:s,s:i,s:{s:i,s:i,s:i},s:{s:i,s:o,s:i},s:i}", "v", &v, "kind", &kind,
                                 "code", &code, "why", &why, "times", &times, "at", "line", &line, "col", &col, "len",
                                 &len, "bytes", "before", &before, "after", &after, "possible", &possible, "flops",
                                 &flops),
                     0);
    ck_assert(v == 1 && line == 2 && col == 2 && len == 3 && times == 3 && before == 300 && possible == 120 &&
              flops == 21 && json_is_null(after));
    ck_assert(!strcmp(kind, "missed") && !strcmp(code, "MULTI_USE") && strstr(why, "`y` reads \"it\""));
    json_decref(j);
    r = (Remark){.kind = REMARK_PASSED, .code = REMARK_FUSED, .pass = "p", .op = "o", .why = "w", .times = 1};
    j = parsed(&f, &r, NULL);
    ck_assert(!json_object_get(j, "at") && !json_object_get(j, "bytes") && !json_object_get(j, "help"));
    json_decref(j);
    fixture_close(&f);
}
END_TEST

/* Each code has a page of 3 to 8 lines with its parts; codes and sentences differ. */
START_TEST(test_pages)
{
    for (int i = 0; i < REMARK_CODE_COUNT; i++) {
        const char *page = remark_code_page((RemarkCode)i), *name = remark_code_name((RemarkCode)i);
        ck_assert_msg(strstr(page, "\nExample: ") && strstr(page, "\nWhat to do: "), "%s", name);
        int lines = 1, column = 0;
        for (const char *p = page; *p; p++) {
            lines += *p == '\n';
            column = *p == '\n' ? 0 : column + 1;
            ck_assert_msg(column <= 130, "%s: a long line", name);
        }
        ck_assert_msg(lines >= 3 && lines <= 8 && page[strlen(page) - 1] != '\n', "%s", name);
        for (int k = 0; k < i; k++)
            ck_assert(strcmp(name, remark_code_name((RemarkCode)k)) &&
                      strcmp(remark_code_sentence((RemarkCode)i), remark_code_sentence((RemarkCode)k)));
    }
}
END_TEST

static Graph *read_graph(Fixture *f, const char *text)
{
    Source *s = arena_alloc(&f->arena, sizeof *s);
    *s = (Source){"t.ir", text, strlen(text)};
    Graph *g = graph_read(&f->cx, s);
    ck_assert_msg(g != NULL, "%s", fixture_said(f));
    return g;
}

START_TEST(test_sizes)
{
    Fixture f;
    fixture_open(&f);
    const Graph *g = read_graph(&f, "graph T(x: f32[N, S, D], z: f32[Q, P])\n"
                                    "  dims  N = 1..  S = 1..64  past = 0..9  Q = 200..  P = 2..  D = 3\n  return x\n");
    int64_t sizes[5];
    usual_sizes(&f.remarks, g, sizes);
    ck_assert(sizes[0] == 1 && sizes[1] == 64 && sizes[2] == 0 && sizes[3] == 200 && sizes[4] == 128);
    NamedSize asked[] = {{"S", 5}, {"past", 2}, {"nothing", 7}};
    f.remarks.asked = asked;
    f.remarks.n_asked = 3;
    usual_sizes(&f.remarks, g, sizes);
    ck_assert(sizes[0] == 1 && sizes[1] == 5 && sizes[2] == 2);
    fixture_close(&f);
}
END_TEST

static const Stored *stored(const Account *a, const char *name)
{
    for (int i = 0; i < a->n_stored; i++)
        if (!strcmp(a->stored[i].value->name, name))
            return &a->stored[i];
    ck_abort_msg("%s is not among the stored values", name);
    return NULL;
}

/* Views, carried values and results of repeats are no values of their own; readers are found through them. */
START_TEST(test_stored)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = read_graph(&f, "graph T(x: f32[B, D])\n"
                              "  dims  B = 1..  D = 8  F = 32  H = 2  K = 4\n"
                              "  g = weight key=\"g\" : f32[D]\n"
                              "  a = mul x, g\n"
                              "  r = repeat i < 5 carries c = a {\n"
                              "    w = weight key=\"w.{i}\" : f32[F, D]\n    u = weight key=\"u.{i}\" : f32[D, F]\n"
                              "    h = dot c, w over=D\n    e = exp h\n    y = dot e, u over=F\n    yield y\n  }\n"
                              "  v = view r : f32[B, H, K]\n  m = max v over=K\n  s = sum m over=H\n"
                              "  return out = s\n");
    Graph *kernels = graph_copy(&f.cx, g);
    ck_assert_msg(passes_run(&f.cx, kernels, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    int64_t sizes[] = {3};
    Account a = account_of(&f.arena, g, kernels, sizes);
    const Stored *wide = stored(&a, "e"), *left = stored(&a, "y"), *first = stored(&a, "a");
    ck_assert(wide == &a.stored[0] && wide->bytes == 3 * 32 * 4 && wide->times == 5);
    ck_assert_str_eq(op_info[wide->writer->op].name, "gemm");
    ck_assert_str_eq(wide->readers, "gemm");
    ck_assert(left->bytes == 3 * 8 * 4 && left->times == 5);
    ck_assert_msg(strstr(left->readers, "gemm") && strchr(left->readers, ','), "%s", left->readers);
    ck_assert(first->times == 1 && !strcmp(op_info[first->writer->op].name, "map") && !strcmp(first->readers, "gemm"));
    for (int i = 0; i < a.n_stored; i++)
        ck_assert(strcmp(a.stored[i].value->name, "v") && strcmp(a.stored[i].value->name, "r") &&
                  strcmp(a.stored[i].value->name, "c"));
    double sum = 0;
    for (int i = 0; i < a.n_stored; i++)
        sum += a.stored[i].bytes * (double)a.stored[i].times;
    ck_assert(a.separate == sum && a.arena >= a.lower_bound && a.lower_bound >= (int64_t)wide->bytes);
    Remark r = account_remark(&f.arena, wide);
    ck_assert(r.code == REMARK_MATERIALISED && r.kind == REMARK_ANALYSIS && r.times == 5);
    ck_assert_str_eq(r.why, "written by gemm, read by gemm");
    fixture_close(&f);
}
END_TEST

/* Traffic as loaded: counted by hand. The weight is read once a round; fused, exp neither reads nor writes. */
START_TEST(test_traffic)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = read_graph(&f, "graph T(x: f32[B, D])\n  dims  B = 1..  D = 8  F = 32\n"
                              "  w = weight key=\"w\" : f32[F, D]\n  h = dot x, w over=D\n  e = exp h\n  return e\n");
    Graph *kernels = graph_copy(&f.cx, g);
    ck_assert_msg(passes_run(&f.cx, kernels, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    int64_t sizes[] = {2};
    Account a = account_of(&f.arena, g, kernels, sizes);
    double x = 2 * 8 * 4, w = 32 * 8 * 4, h = 2 * 32 * 4;
    ck_assert(a.before.bytes_read == x + w + h && a.before.bytes_written == 2 * h && a.before.bytes_of_weights == w);
    ck_assert(a.after.bytes_read == x + w && a.after.bytes_written == h && a.after.bytes_of_weights == w);
    ck_assert(a.before.flops == 2.0 * 2 * 32 * 8 + 2 * 32 && a.after.flops == a.before.flops);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_json, test_pages, test_sizes, test_stored, test_traffic};
    int loops[5] = {0};
    return run_suite("reports", tests, loops, 5);
}
