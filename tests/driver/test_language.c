/* docs/language.md: every example in it holds, and every operator, block and mask has an entry. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/compile.h"
#include "driver/oracle.h"
#include "driver/signature.h"
#include "driver/source.h"
#include "language_example.h"

static Arena arena;
static const char *page, *folder;

static void begin(void)
{
    static char name[] = "/tmp/attar-language-XXXXXX";
    Names names = {.map = map_new(&arena)};
    Diags diags = {.arena = &arena};
    Context cx = {&arena, &diags, &names};
    Source source;
    ck_assert(source_read(&cx, "E0100", SOURCE_DIR "/docs/language.md", 1 << 22, &source));
    page = source.text;
    ck_assert(folder = mkdtemp(name));
}

static const char *path_of(const char *name) { return arena_print(&arena, "%s/%s", folder, name); }

static void end(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *f; d && (f = readdir(d));)
        if (f->d_name[0] != '.')
            unlink(path_of(f->d_name));
    if (d)
        closedir(d);
    rmdir(folder);
    arena_free(&arena);
}

static void save(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char *messages(Compilation *c)
{
    Text out = text_new(&c->arena);
    diag_render(&c->diags, &out, false);
    return out.data ? out.data : "";
}

/* Everything that does not hold is said, with what was found; the test fails at the end. */
static int faults;

static void fault(const Example *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fault(const Example *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "docs/language.md:%d: ", e->line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    faults++;
}

static void show(Text *out, const HostTensor *t, int axis, int64_t *at)
{
    if (axis == t->rank) {
        text_double(out, round(host_get(t, (*at)++) * 1e4) / 1e4);
        return;
    }
    for (int64_t i = 0; i < t->dims[axis]; i++) {
        text_add(out, i ? ", " : "[");
        show(out, t, axis + 1, at);
    }
    text_add(out, "]");
}

/* The page states four digits after the point. */
static bool close_to(double x, double y)
{
    return x == y || fabs(x - y) <= 5.1e-5 + 1e-6 * fabs(y);
}

static void compare(const Example *e, const char *how, const HostTensor *got, int index)
{
    const Stated *s = &e->stated[index];
    const HostTensor *want = &s->value;
    if (!want->data)
        return;
    bool same = got->rank == want->rank && !memcmp(got->dims, want->dims, sizeof(int64_t) * (size_t)got->rank);
    for (int64_t i = 0; same && i < host_count(got); i++)
        same = close_to(host_get(got, i), host_get(want, i));
    if (same)
        return;
    Text found = text_new(&arena);
    int64_t at = 0;
    show(&found, got, 0, &at);
    fault(e, "`%s` is %s (%s)", s->name, found.data, how);
}

static void interpret_example(Compilation *c, const Example *e)
{
    Oracle o;
    const Plan *plan = &c->emitted.plan;
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *sizes);
    bool good = signature_sizes(&c->cx, plan, NULL, 0, e->given, e->n_given, 1, 1, sizes);
    oracle_begin(&o, c, c->model.graph);
    Value *results = good ? oracle_run(&o, sizes, e->given, e->n_given, false) : NULL;
    if (!results)
        fault(e, "%s", messages(c));
    for (int i = 0; results && i < e->n_stated; i++) {
        HostTensor got = {.dtype = DT_F64, .rank = results[i].rank, .data = results[i].data};
        memcpy(got.dims, results[i].dims, sizeof got.dims);
        compare(e, "interpreted", &got, i);
    }
    oracle_free(&o);
}

static void run(Compilation *c, const CompileOptions *o, const Example *e)
{
    if (!compile_passes(c, o) || !compile_emit(c, o) || !compile_build(c, o)) {
        fault(e, "%s", messages(c));
        return;
    }
    const Plan *plan = &c->emitted.plan;
    int64_t batch = plan->n_caches ? signature_batch_size(plan, e->given, e->n_given) : 0;
    Session *s = session_new(&c->cx, &c->program, batch, 1, NULL);
    const HostTensor *outputs;
    bool good = s && session_run(&c->cx, s, e->given, e->n_given, &outputs);
    if (!good)
        fault(e, "%s", messages(c));
    for (int i = 0; good && i < e->n_stated; i++)
        compare(e, "compiled", &outputs[i], i);
    interpret_example(c, e);
    if (s)
        session_free(s);
}

static bool says(const Compilation *c, const char *code)
{
    for (const Diag *d = c->diags.first; d; d = d->next)
        if (!strcmp(d->code, code))
            return true;
    return false;
}

static void hold(const Example *e)
{
    static Compilation c;
    CompileOptions o = {.model = path_of("example.attar"), .threads = 1};
    compile_begin(&c);
    save("example.attar", e->text);
    for (int i = 0; i < e->n_json; i++) {
        save(e->json_names[i], e->json[i]);
        if (!strcmp(e->json_names[i], "config.json"))
            o.config = path_of("config.json");
    }
    if (e->n_tensors) {
        ck_assert(safetensors_save(&c.cx, path_of("model.safetensors"), e->tensors, e->n_tensors));
        o.weights = path_of("model.safetensors");
    }
    bool good = compile_load(&c, &o);
    if (good != !e->error || (e->error && !says(&c, e->error)))
        fault(e, "%s was expected:\n%s%s", e->error ? e->error : "no error", messages(&c), e->text);
    bool values = false;
    for (int i = 0; i < e->n_stated; i++)
        values = values || e->stated[i].value.data;
    if (good && values && !e->error)
        run(&c, &o, e);
    compile_free(&c);
}

START_TEST(examples)
{
    int line = 1, count = 0;
    for (const char *p = page; *p; p += *p == '\n', line++) {
        if (strncmp(p, "```attar", 8)) {
            p += strcspn(p, "\n");
            continue;
        }
        Example e;
        p += strcspn(p, "\n") + 1;
        read_example(&arena, &p, &line, &e);
        if (e.file)
            save(e.file, e.text);
        else
            hold(&e);
        line++;
        count++;
    }
    ck_assert_int_gt(count, 60);
    ck_assert_int_eq(faults, 0);
}
END_TEST

/* An entry: a heading with the name, then the signature as `attar ops` prints it. */
static const char *entry(const char *name)
{
    const char *heading = arena_print(&arena, "\n#### %s\n", name), *found = strstr(page, heading);
    return found ? found + strlen(heading) : NULL;
}

START_TEST(entries)
{
    Names names = {.map = map_new(&arena)};
    Diags diags = {.arena = &arena};
    Context cx = {&arena, &diags, &names};
    int count, missing = 0;
    const OperatorHelp *all = frontend_operators(&cx, &count);
    for (int i = 0; i < count; i++) {
        const char *text = entry(all[i].name), *next = text ? strstr(text, "\n#### ") : NULL;
        const char *section = text ? arena_copy(&arena, text, next ? (size_t)(next - text) : strlen(text)) : "";
        bool signature = strstr(section, arena_print(&arena, "    %s\n", all[i].signature)) != NULL;
        bool example = strstr(section, "```attar") != NULL;
        missing += !text || !signature || !example;
        if (!text || !signature || !example)
            fprintf(stderr, "docs/language.md has no %s for `%s`: %s\n", !text ? "entry `#### NAME`" : signature ? "example" : "line with its signature",
                    all[i].name, all[i].signature);
    }
    Source library = {"std.attar", std_attar_text, std_attar_size};
    const File *file = parse_file(&cx, &library);
    for (int i = 0; i < file->n_decls; i++) {
        const Decl *d = &file->decls[i];
        if (d->kind != DECL_LET || entry(d->bindings[0].name.text))
            continue;
        fprintf(stderr, "docs/language.md has no entry `#### %s`\n", d->bindings[0].name.text);
        missing++;
    }
    ck_assert_msg(missing == 0, "%d entries of docs/language.md are missing or out of date", missing);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("language");
    TCase *t = tcase_create("page");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, examples);
    tcase_add_test(t, entries);
    tcase_set_timeout(t, 300);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
