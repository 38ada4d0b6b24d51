/* The emitted file as a whole: same bytes each time, no warning from either compiler, clean under the sanitizers, the members of the call
 * in the order of the plan's slots, taps and times, bad indices. */
#include "tests/codegen/cases.h"
#include "tests/codegen/emit_test.h"

static const char *emit_units(Trial *t, const char *text, bool taps, bool timing, int units) {
    Source *s = arena_alloc(&t->arena, sizeof *s);
    *s = (Source){"trial.attar", text, strlen(text)};
    t->g = graph_read(&t->cx, s);
    ck_assert_msg(t->g != NULL, "%s", trial_said(t));
    graph_name_all(&t->cx, t->g);
    graph_count_uses(t->g);
    trial_places(t);
    EmitOptions options = {.target = t->target, .taps = taps, .timing = timing, .units = units};
    ck_assert_msg(codegen_emit(&t->cx, t->g, &options, &t->out), "%s", trial_said(t));
    return t->out.text;
}

static const char *emit(Trial *t, const char *text, bool taps, bool timing) { return emit_units(t, text, taps, timing, 0); }

static const char *case_text(int i) { return i < (int)(sizeof cases / sizeof *cases) ? cases[i].text : caches; }
enum { CASES = sizeof cases / sizeof *cases + 1 };

static const char *write_source(Trial *t, const char *name, const char *text) {
    const char *path = arena_print(&t->arena, "%s/%s.%d.c", BUILD_DIR, name, (int)getpid());
    FILE *f = fopen(path, "w");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
    return path;
}

START_TEST(test_same_bytes) {
    Trial a, b;
    trial_open(&a, &targets[0]);
    trial_open(&b, &targets[0]);
    ck_assert_str_eq(emit(&a, case_text(_i), false, false), emit(&b, case_text(_i), false, false));
    for (const char *line = a.out.text; *line; line = strchr(line, '\n') + 1)
        ck_assert_msg(strcspn(line, "\n") <= 120, "%.*s", (int)strcspn(line, "\n"), line);
    trial_close(&a);
    trial_close(&b);
}
END_TEST

static const char *const compilers[] = {"clang-19", "gcc"};

/* clang has every target and its own headers for it; gcc has this machine's. */
static bool can_compile(const Target *t, int compiler) {
    return !compiler || !t->architecture || !strcmp(t->architecture, targets[0].architecture);
}

static bool compiles(const Target *t, int compiler, const char *path) {
    const char *arguments[64] = {compilers[compiler], "-Wall", "-Wextra", "-Wmissing-prototypes", "-Werror", "-c", path, "-o", "/dev/null"};
    const char *const *flags = compiler ? t->gcc_flags : t->flags;
    char triple[64];
    int n = 9;
    if (t->architecture && !compiler) {
        snprintf(triple, sizeof triple, "--target=%s-unknown-unknown", t->architecture);
        arguments[n++] = triple;
        arguments[n++] = "-ffreestanding";
    }
    for (int i = 0; flags[i]; i++)
        arguments[n++] = flags[i];
    return native_run(arguments) == 0;
}

START_TEST(test_no_warnings) {
    for (int target = 0; target < target_count; target++) {
        Trial t;
        trial_open(&t, &targets[target]);
        const char *path = write_source(&t, "warnings", emit(&t, case_text(_i), _i % 2, _i % 2));
        for (int c = 0; c < 2; c++)
            ck_assert_msg(!can_compile(t.target, c) || compiles(t.target, c, path), "%s: %s", compilers[c], path);
        unlink(path);
        trial_close(&t);
    }
}
END_TEST

/* The function stands in the text: 1 declared, 2 defined. */
static int stands(const char *text, const char *head) {
    const char *at = strstr(text, head), *end = at ? strpbrk(at, ";{") : NULL;
    return end ? 1 + (*end == '{') : 0;
}

/* Each unit is C by itself, and every kernel is in one of them and declared for the entry, which is in the last; there are not more than asked for. */
START_TEST(test_units) {
    for (int most = 0; most <= 2; most += 2) {
        Trial t;
        trial_open(&t, target_native());
        emit_units(&t, case_text(_i), _i % 2, _i % 2, most);
        ck_assert(t.out.n_units >= 1 && (!most || t.out.n_units <= most));
        const char *arguments[64] = {"clang-19", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"};
        int n = 5;
        for (int i = 0; t.target->flags[i]; i++)
            arguments[n++] = t.target->flags[i];
        for (int u = 0; u < t.out.n_units; u++) {
            const CodeUnit *unit = &t.out.units[u];
            ck_assert_int_eq(strlen(unit->text), unit->length);
            arguments[n] = write_source(&t, "unit", unit->text);
            ck_assert_msg(native_run(arguments) == 0, "%s", arguments[n]);
            unlink(arguments[n]);
        }
        for (int k = 0; k < t.out.n_kernels; k++) {
            const char *head = arena_print(&t.arena, "\nvoid %s(", t.out.kernels[k].function);
            int defined = 0;
            for (int u = 0; u < t.out.n_units; u++)
                defined += stands(t.out.units[u].text, head) == 2;
            ck_assert_msg(defined == 1, "%s is defined in %d units", t.out.kernels[k].function, defined);
            ck_assert(stands(t.out.units[t.out.n_units - 1].text, head));
        }
        ck_assert_str_eq(t.out.units[t.out.n_units - 1].name, t.out.plan.name);
        trial_close(&t);
    }
}
END_TEST

/* ---- the sanitizers ---------------------------------------------------------------------------------------------------------------- */

static void put_slot(Text *m, const Plan *p, Slot s, const int64_t *sizes) {
    const PlanTensor *t = s.kind == SLOT_INPUT ? &p->inputs[s.index] : s.kind == SLOT_OUTPUT ? &p->outputs[s.index] : &p->caches[s.index];
    int64_t bytes;
    switch (s.kind) {
    case SLOT_SIZE: text_add(m, "        %lld,\n", (long long)sizes[s.index]); return;
    case SLOT_THREADS: text_add(m, "        1,\n"); return;
    case SLOT_WEIGHTS: bytes = (int64_t)p->weight_bytes; break;
    case SLOT_ARENA: text_add(m, "        block(%s_arena_bytes(sizes, 1)),\n", p->name); return;
    case SLOT_MEET: bytes = 256; break;
    case SLOT_FAULT: text_add(m, "        (uint64_t)fault,\n"); return;
    case SLOT_CACHE: bytes = t->layers * (int64_t)t->bytes_per_row * (t->dims[0].n ? sizes[0] : 1); break;
    default: bytes = tensor_count(t, sizes) * (int64_t)dtype_size(t->dtype); break;
    }
    text_add(m, "        block(%lld),\n", (long long)bytes);
}

/* A main that calls the entry once, every buffer a zeroed block of its exact size. */
static const char *with_main(Trial *t, const int64_t *sizes) {
    const Plan *p = &t->out.plan;
    Text m = text_new(&t->arena);
    text_add(&m, "#include <stddef.h>\n#include <stdint.h>\n%s\nint posix_memalign(void **, size_t, size_t);\nvoid *memset(void *, int, size_t);\n", t->out.text);
    text_add(&m, "static uint64_t block(size_t n)\n{\n    void *p = 0;\n    return posix_memalign(&p, 128, n) ? 0 : (uint64_t)memset(p, 0, n);\n}\n");
    text_add(&m, "int main(void)\n{\n    int64_t fault[4] = {0}, sizes[] = {%lld, %lld, %lld};\n", (long long)sizes[0], (long long)sizes[1], (long long)sizes[2]);
    text_add(&m, "    (void)sizes;\n    uint64_t slots[] = {\n");
    for (int i = 0; i < p->n_slots; i++)
        put_slot(&m, p, p->slots[i], sizes);
    text_add(&m, "    };\n    return %s_run((const struct %s_call *)(void *)slots, 0) || fault[0];\n}\n", p->name, p->name);
    return m.data;
}

START_TEST(test_sanitizers) {
    Trial t;
    trial_open(&t, target_native());
    emit(&t, case_text(_i), false, false);
    const char *march = "-g";
    for (int i = 0; t.target->flags[i]; i++)
        if (!strncmp(t.target->flags[i], "-march=", 7))
            march = t.target->flags[i];
    const char *path = write_source(&t, "sanitized", with_main(&t, (int64_t[]){2, 5, 3}));
    const char *program = arena_print(&t.arena, "%s.out", path);
    const char *const build[] = {"clang-19", "-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", march, path, "-o", program, NULL};
    const char *const run[] = {"env", "ASAN_OPTIONS=detect_leaks=0", program, NULL};
    ck_assert_msg(native_run(build) == 0, "%s", path);
    ck_assert_msg(native_run(run) == 0, "%s", path);
    unlink(program);
    unlink(path);
    trial_close(&t);
}
END_TEST

/* ---- taps, times, faults ---------------------------------------------------------------------------------------------------------------- */

typedef struct Seen { int n; int64_t kernel[64], layer[64]; } Seen;

static void see(void *state, int64_t kernel, int64_t layer, const void *data) {
    Seen *s = state;
    ck_assert_ptr_nonnull(data);
    ck_assert_int_lt(s->n, 64);
    s->kernel[s->n] = kernel;
    s->layer[s->n++] = layer;
}

static uint64_t ticks(void) {
    static uint64_t now;
    return now += 10;
}

static const Case *case_named(const char *name) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!strcmp(cases[i].name, name))
            return &cases[i];
    return NULL;
}

START_TEST(test_taps_and_times) {
    Trial t;
    trial_open(&t, &targets[target_count - 1]);
    emit(&t, case_named("repeat")->text, true, true);
    t.library = native_load(t.out.text, "taps", t.target, NULL);
    ck_assert_msg(t.library != NULL, "%s", t.out.text);
    *(void **)&t.run = dlsym(t.library, "r_run");
    *(void **)&t.arena_bytes = dlsym(t.library, "r_arena_bytes");
    trial_pack(&t);
    Seen seen = {0};
    uint64_t times[16] = {0};
    t.tap = see;
    t.tap_state = &seen;
    t.times = times;
    t.clock = ticks;
    int64_t sizes[] = {2, 3};
    HostTensor in = trial_input(&t, &t.out.plan.inputs[0], sizes), out = trial_output(&t, &t.out.plan.outputs[0], sizes);
    ck_assert_int_eq(trial_run(&t, sizes, &in, &out, 2), 0);
    int64_t expected = 0;
    for (int i = 0; i < t.out.n_kernels; i++)
        expected += t.out.kernels[i].times;
    ck_assert_int_eq(seen.n, expected);
    ck_assert_int_eq(seen.layer[0], -1);
    ck_assert_int_eq(seen.layer[seen.n - 1], -1);
    int inner = 0;
    for (int i = 0; i < seen.n; i++)
        inner += seen.layer[i] == 2;
    ck_assert_int_eq(inner, 2);         /* the gemm and the copy into the carried value */
    for (int i = 0; i < t.out.n_kernels; i++)
        ck_assert_int_eq(times[i], 10 * (uint64_t)t.out.kernels[i].times);
    trial_close(&t);
}
END_TEST

START_TEST(test_bad_index) {
    Trial t;
    trial_open(&t, target_native());
    trial_load(&t, case_named("layernorm of embeddings")->text);
    int64_t sizes[] = {1, 4};
    HostTensor in[2] = {trial_input(&t, &t.out.plan.inputs[0], sizes), trial_input(&t, &t.out.plan.inputs[1], sizes)};
    HostTensor out = trial_output(&t, &t.out.plan.outputs[0], sizes);
    ck_assert_int_eq(trial_run(&t, sizes, in, &out, 1), 0);
    for (int64_t bad = -1; bad <= 7; bad += 8) {
        host_set(&in[1], 2, (double)bad);
        ck_assert_int_eq(trial_run(&t, sizes, in, &out, 1), 1);
        ck_assert_int_eq(t.fault[1], 1);
        ck_assert_int_eq(t.fault[2], bad);
        ck_assert_int_eq(t.fault[3], 7);
    }
    trial_close(&t);
}
END_TEST

int main(void) {
    Suite *s = suite_create("file");
    TCase *c = tcase_create("file");
    tcase_set_timeout(c, 240);
    tcase_add_loop_test(c, test_same_bytes, 0, CASES);
    tcase_add_loop_test(c, test_no_warnings, 0, CASES);
    tcase_add_loop_test(c, test_units, 0, CASES);
    tcase_add_loop_test(c, test_sanitizers, 0, CASES);
    tcase_add_test(c, test_taps_and_times);
    tcase_add_test(c, test_bad_index);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
