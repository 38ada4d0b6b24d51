/* Text goldens: cases/NAME.ir holds `# passes: a,b` and a graph; cases/NAME.expected what the passes make of it and
 * what they say about it. The interpreter gives the same before and after, and the printed result reads back.
 * A mismatch is shown as a diff; ATTAR_BLESS=1 writes the expected files anew and shows what changed in them. */
#include <dirent.h>
#include <unistd.h>
#include "support/linediff.h"
#include "tests/passes/passes_test.h"

#define CASES SOURCE_DIR "/tests/passes/cases/"
enum { MAX_CASES = 512 };

static const char *names[MAX_CASES];
static int n_names;

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void find_cases(void)
{
    DIR *folder = opendir(CASES);
    for (struct dirent *e; folder && (e = readdir(folder)) != NULL;) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && !strcmp(dot, ".ir") && n_names < MAX_CASES)
            names[n_names++] = strndup(e->d_name, (size_t)(dot - e->d_name));
    }
    if (folder)
        closedir(folder);
    qsort(names, (size_t)n_names, sizeof *names, by_name);
}

static void run_passes(Fixture *f, Graph *g, const char *list)
{
    char word[64];
    int length;
    for (; sscanf(list, "%63[^,\n]%n", word, &length) == 1; list += list[length] == ',' ? length + 1 : length) {
        PassId id;
        ck_assert_msg(pass_from_name(word, &id), "no pass is called %s", word);
        ck_assert_msg(pass_run_one(&f->cx, g, id, &f->remarks), "%s: %s", word, fixture_said(f));
    }
}

static void check_reads_back(Fixture *f, const Text *text)
{
    Source s = {"case.ir", text->data, text->length};
    Graph *back = graph_read(&f->cx, &s);
    ck_assert_msg(back != NULL, "%s\n%s", fixture_said(f), text->data);
    Text again = text_new(&f->arena);
    graph_print(back, &again);
    ck_assert_str_eq(text->data, again.data);
}

/* With caches a call goes before, whose rows lie in them: a pass may keep something else of it. */
static void check_interpreter(Fixture *f, const Graph *before, const Graph *after)
{
    Call call[] = {{"B", 2}, {"S", 5}, {"past", 3}}, first[] = {{"B", 2}, {"S", 3}, {"past", 0}};
    Run a = run_new(f, before, call, 3), b = run_new(f, after, call, 3);
    if (before->n_caches) {
        Run c = run_new(f, before, first, 3), d = run_new(f, after, first, 3);
        check_near(before, run_graph(&c, before), run_graph(&d, after), "the call before", 1e-7);
        a.caches = c.caches;
        b.caches = d.caches;
    }
    check_near(before, run_graph(&a, before), run_graph(&b, after), "case", 1e-7); /* constants may be float's */
}

static void put_remarks(Fixture *f, Text *out)
{
    for (size_t i = 0; i < f->remarks.count; i++) {
        Remark r = f->remarks.items[i];
        r.at.source = r.evidence.source = NULL; /* places in the IR text would only say where the case has its lines */
        remark_print(&r, out);
        text_char(out, '\n');
    }
}

static const char *read_if_there(Fixture *f, const char *path)
{
    return access(path, F_OK) == 0 ? fixture_file(f, path)->text : "";
}

static void bless(Fixture *f, const char *path, const char *name, const Text *got)
{
    const char *old = read_if_there(f, path);
    Text changes = text_new(&f->arena);
    LineDiffLook look = {arena_print(&f->arena, "%s, as it was", name), arena_print(&f->arena, "%s, blessed", name), 2,
                         isatty(STDOUT_FILENO) && !getenv("NO_COLOR"), false};
    if (linediff(old, got->data, &look, &changes))
        printf("%s\n", changes.data);
    fflush(stdout);
    FILE *file = fopen(path, "wb");
    ck_assert(file && fwrite(got->data, 1, got->length, file) == got->length && fclose(file) == 0);
}

static void compare(const char *name, const Text *got)
{
    Fixture f;
    fixture_open(&f);
    const char *path = arena_print(&f.arena, CASES "%s.expected", name);
    if (getenv("ATTAR_BLESS"))
        bless(&f, path, name, got);
    const char *want = read_if_there(&f, path);
    Text changes = text_new(&f.arena);
    LineDiffLook look = {arena_print(&f.arena, "tests/passes/cases/%s.expected", name), "what the passes make", 3,
                         isatty(STDOUT_FILENO) && !getenv("NO_COLOR"), false};
    linediff(want, got->data, &look, &changes);
    ck_assert_msg(!strcmp(want, got->data), "%s: ATTAR_BLESS=1 accepts this\n%s", name,
                  changes.data ? changes.data : "only the end of the last line differs");
    fixture_close(&f);
}

/* The graph of a case, and its list of passes. */
static Graph *read_case(Fixture *f, const char *name, const char **passes)
{
    const Source *file = fixture_file(f, arena_print(&f->arena, CASES "%s.ir", name));
    const char *list = "# passes: ", *body = strchr(file->text, '\n');
    ck_assert_msg(!strncmp(file->text, list, strlen(list)) && body, "%s does not start with `# passes: `", name);
    Source *ir = arena_alloc(&f->arena, sizeof *ir);
    *ir = (Source){"case.ir", body + 1, file->size - (size_t)(body + 1 - file->text)};
    Graph *g = graph_read(&f->cx, ir);
    ck_assert_msg(g != NULL, "%s: %s", name, fixture_said(f));
    *passes = file->text + strlen(list);
    return g;
}

START_TEST(test_case)
{
    Fixture f;
    fixture_open(&f);
    const char *list;
    Graph *before = read_case(&f, names[_i], &list);
    Graph *g = graph_copy(&f.cx, before);
    run_passes(&f, g, list);
    Text out = text_new(&f.arena);
    graph_print(g, &out);
    check_reads_back(&f, &out);
    check_interpreter(&f, before, g);
    text_add(&out, "---\n");
    put_remarks(&f, &out);
    compare(names[_i], &out);
    fixture_close(&f);
}
END_TEST

static char *text_of(Fixture *f, const Graph *g)
{
    Text t = text_new(&f->arena);
    graph_print(g, &t);
    return t.data;
}

/* Every pass, run twice on every case, finds nothing more the second time. `lower` changes the level, so it runs once. */
START_TEST(test_twice)
{
    for (int p = 0; p < PASS_COUNT; p++) {
        Fixture f;
        fixture_open(&f);
        const char *list;
        Graph *g = read_case(&f, names[_i], &list);
        if (g->level != LEVEL_GRAPH || p == PASS_ID_lower) {
            fixture_close(&f);
            continue;
        }
        if (p == PASS_ID_plan_memory)
            ck_assert_msg(pass_run_one(&f.cx, g, PASS_ID_lower, &f.remarks), "%s", fixture_said(&f));
        ck_assert_msg(pass_run_one(&f.cx, g, (PassId)p, &f.remarks), "%s", fixture_said(&f));
        const char *once = text_of(&f, g);
        size_t remarks = f.remarks.count;
        ck_assert_msg(pass_run_one(&f.cx, g, (PassId)p, &f.remarks), "%s", fixture_said(&f));
        const char *twice = text_of(&f, g);
        ck_assert_msg(!strcmp(once, twice), "%s: %s twice: first\n%s\nthen\n%s", names[_i], pass_info[p].name, once,
                      twice);
        for (size_t r = remarks; r < f.remarks.count; r++)
            ck_assert_msg(f.remarks.items[r].kind != REMARK_PASSED, "%s: %s twice: %s", names[_i], pass_info[p].name,
                          f.remarks.items[r].why);
        fixture_close(&f);
    }
}
END_TEST

/* Nothing but the two files of a case, and none without the other. */
START_TEST(test_pairs)
{
    ck_assert_int_gt(n_names, 40);
    for (int i = 0; i < n_names; i++) {
        char path[512];
        snprintf(path, sizeof path, CASES "%s.expected", names[i]);
        FILE *file = fopen(path, "rb");
        ck_assert_msg(file != NULL, "%s has no expected text: ATTAR_BLESS=1 writes it", names[i]);
        fclose(file);
    }
}
END_TEST

/* NAME_hint is NAME with its hint followed: what was missed there, with help, is done here. */
START_TEST(test_hints)
{
    int pairs = 0;
    for (int i = 0; i < n_names; i++) {
        size_t length = strlen(names[i]);
        if (length < 5 || strcmp(names[i] + length - 5, "_hint") != 0)
            continue;
        Fixture f;
        fixture_open(&f);
        const char *base = arena_print(&f.arena, CASES "%.*s.expected", (int)(length - 5), names[i]);
        const char *before = fixture_file(&f, base)->text;
        const char *after = fixture_file(&f, arena_print(&f.arena, CASES "%s.expected", names[i]))->text;
        ck_assert_msg(strstr(before, "\nmissed ") && strstr(before, "  help: "), "%s has no hint to follow", base);
        ck_assert_msg(strstr(after, "\npassed "), "%s: the hint does not work", names[i]);
        fixture_close(&f);
        pairs++;
    }
    ck_assert_int_ge(pairs, 3);
}
END_TEST

int main(void)
{
    find_cases();
    const TTest *tests[] = {test_case, test_pairs, test_hints}, *again[] = {test_twice};
    int loops[] = {n_names, 0, 0};
    int failed = run_suite("passes on text", tests, loops, 3);
    return run_suite("passes run twice", again, loops, 1) || failed;
}
