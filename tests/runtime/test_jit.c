/* The JIT: C to functions, with and without the cache; and compilers that are absent, old, broken, killed or slow. */
#include "tests/runtime/fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include "runtime/jit.h"

static const char text[] = "#include <string.h>\n"
                           "int tiny_add(int a, int b) { return a + b; }\n"
                           "void tiny_copy(char *to, const char *from, unsigned long n) { memcpy(to, from, n); "
                           "memset(to + n, 0, n); memmove(to + 1, to, n); }\n";
static const char *const flags[] = {"-O2", "-fno-math-errno", NULL};

static JitOptions options(Fixture *f)
{
    return (JitOptions){.flags = flags, .cache_dir = at(f, "cache")};
}

static Jit *compile_text(Fixture *f, const char *code, size_t length, const JitOptions *o, JitStats *stats)
{
    return jit_compile(&f->cx, &(CodeUnit){"model", code, length}, 1, o, stats);
}

static Jit *compile(Fixture *f, const JitOptions *o, JitStats *stats)
{
    return compile_text(f, text, strlen(text), o, stats);
}

static void check_functions(Fixture *f, Jit *jit)
{
    ck_assert_msg(jit != NULL, "%s", rendered(f));
    int (*add)(int, int) = (int (*)(int, int))jit_symbol(&f->cx, jit, "tiny_add");
    void (*copy)(char *, const char *, unsigned long) =
        (void (*)(char *, const char *, unsigned long))jit_symbol(&f->cx, jit, "tiny_copy");
    ck_assert(add && copy);
    ck_assert_int_eq(add(40, 2), 42);
    char to[16] = "";
    copy(to, "word", 4);
    ck_assert_str_eq(to, "wword");
}

START_TEST(compile_and_call)
{
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    JitStats stats;
    Jit *jit = compile(&f, &o, &stats);
    check_functions(&f, jit);
    ck_assert(!stats.cached && stats.compile_seconds > 0 && stats.object_bytes > 0);
    Jit *again = compile(&f, &o, &stats);
    check_functions(&f, again);
    ck_assert(stats.cached && stats.compile_seconds == 0);
    expect_silence(&f, "compile");
    ck_assert_ptr_null(jit_symbol(&f.cx, jit, "absent"));
    expect_error(&f, "symbol", "E0809", "`absent`");
    jit_free(jit);
    check_functions(&f, again); /* one does not own the other */
    jit_free(again);
    jit_free(NULL);
    fixture_end(&f);
}
END_TEST

START_TEST(what_makes_a_key)
{
    Fixture f;
    fixture_begin(&f);
    static const char *const other[] = {"-O1", "-fno-math-errno", NULL};
    JitOptions o = options(&f);
    JitStats stats;
    jit_free(compile(&f, &o, &stats));
    jit_free(compile(&f, &o, &stats));
    ck_assert(stats.cached);
    o.flags = other;
    jit_free(compile(&f, &o, &stats));
    ck_assert(!stats.cached);
    o.flags = flags;
    jit_free(compile_text(&f, text, strlen(text) - 1, &o, &stats));
    ck_assert(!stats.cached);
    o.no_cache = true;
    jit_free(compile(&f, &o, &stats));
    ck_assert(!stats.cached);
    ck_assert_int_eq(files_in(at(&f, "cache")), 3);
    o = (JitOptions){.flags = flags, .no_cache = true, .cache_dir = at(&f, "never")};
    jit_free(compile(&f, &o, &stats));
    ck_assert_int_ne(access(at(&f, "never"), F_OK), 0);
    expect_silence(&f, "keys");
    fixture_end(&f);
}
END_TEST

START_TEST(damaged_entry)
{ /* compiled again, one warning, the same function */
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    JitStats stats;
    jit_free(compile(&f, &o, &stats));
    int count;
    CacheEntry *e = cache_list(&f.cx, o.cache_dir, &count);
    ck_assert_int_eq(count, 1);
    const char *path = arena_print(&f.arena, "%s/%s.o", o.cache_dir, e[0].key);
    ck_assert_int_eq(truncate(path, 300), 0);
    Jit *jit = compile(&f, &o, &stats);
    expect_warning(&f, "damaged", "W0702", "put aside");
    check_functions(&f, jit);
    ck_assert(!stats.cached);
    jit_free(jit);
    forget(&f);
    cache_write(&f.cx, o.cache_dir, e[0].key, "sound by its hash, but no object", 32);
    jit = compile(&f, &o, &stats);
    expect_warning(&f, "no object", "W0702", "cannot be linked");
    check_functions(&f, jit);
    jit_free(jit);
    forget(&f);
    jit = compile(&f, &o, &stats);
    expect_silence(&f, "mended");
    ck_assert(stats.cached);
    jit_free(jit);
    fixture_end(&f);
}
END_TEST

/* ---- units ------------------------------------------------------------------------------------------------------- */

static const CodeUnit parts[] = {
#define PART(name, text) {name, text, sizeof text - 1}
    PART("twice", "/* line 7 */ int twice(int a) { return a + a; } "),
    PART("slash", "const char *slash(void); const char *slash(void) { return \"a /* b\\\" */\"; } /* line 8 */"),
    PART("entry", "int twice(int a); const char *slash(void); int entry(int a) { return twice(a) + slash()[0]; }"),
};
enum { PARTS = sizeof parts / sizeof *parts };

static int cached_parts(Fixture *f, const CodeUnit *units, const JitOptions *o, int entry_of_20)
{
    JitStats stats;
    int cached = 0;
    Jit *jit = jit_compile(&f->cx, units, PARTS, o, &stats);
    ck_assert_msg(jit != NULL, "%s", rendered(f));
    ck_assert_int_eq(stats.n_units, PARTS);
    for (int i = 0; i < PARTS; i++) {
        ck_assert_str_eq(stats.units[i].name, units[i].name);
        ck_assert(stats.units[i].bytes > 0 && (stats.units[i].seconds > 0) == !stats.units[i].cached);
        cached += stats.units[i].cached;
    }
    ck_assert_int_eq(stats.cached, cached == PARTS);
    int (*entry)(int) = (int (*)(int))jit_symbol(&f->cx, jit, "entry");
    ck_assert_int_eq(entry(20), entry_of_20);
    jit_free(jit);
    return cached;
}

START_TEST(units)
{ /* those that changed are compiled, and no others; comments are no change */
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    CodeUnit changed[PARTS];
    memcpy(changed, parts, sizeof parts);
    ck_assert_int_eq(cached_parts(&f, parts, &o, 40 + 'a'), 0);
    ck_assert_int_eq(cached_parts(&f, parts, &o, 40 + 'a'), PARTS);
    changed[0].text = "/* line 13 */ int twice(int a) { return a + a; } ";
    changed[0].length++;
    ck_assert_int_eq(cached_parts(&f, changed, &o, 40 + 'a'), PARTS);
    changed[1].text = "const char *slash(void); const char *slash(void) { return \"b /* b\\\" */\"; } /* line 8 */";
    ck_assert_int_eq(cached_parts(&f, changed, &o, 40 + 'b'), PARTS - 1);
    changed[1].text = "const char *slash(void); const char *slash(void) { return \"b /* c\\\" */\"; } /* line 8 */";
    ck_assert_int_eq(cached_parts(&f, changed, &o, 40 + 'b'), PARTS - 1); /* what stands in a string is no comment */
    ck_assert_int_eq(files_in(at(&f, "cache")), PARTS + 2);
    expect_silence(&f, "units");
    fixture_end(&f);
}
END_TEST

START_TEST(damaged_unit)
{
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    int count;
    cached_parts(&f, parts, &o, 40 + 'a');
    CacheEntry *e = cache_list(&f.cx, o.cache_dir, &count);
    ck_assert_int_eq(count, PARTS);
    ck_assert_int_eq(truncate(arena_print(&f.arena, "%s/%s.o", o.cache_dir, e[1].key), 200), 0);
    ck_assert_int_eq(cached_parts(&f, parts, &o, 40 + 'a'), PARTS - 1);
    expect_warning(&f, "damaged", "W0702", "put aside");
    forget(&f);
    /* Sound entries that do not fit together: all are compiled again. */
    void *object;
    size_t bytes;
    ck_assert(cache_read(&f.cx, o.cache_dir, e[0].key, &object, &bytes));
    for (int i = 0; i < PARTS; i++)
        cache_write(&f.cx, o.cache_dir, e[i].key, object, bytes);
    free(object);
    ck_assert_int_eq(cached_parts(&f, parts, &o, 40 + 'a'), 0);
    ck_assert(f.diags.warnings >= 1 && !f.diags.errors && strstr(rendered(&f), "cannot be linked"));
    forget(&f);
    ck_assert_int_eq(cached_parts(&f, parts, &o, 40 + 'a'), PARTS);
    expect_silence(&f, "mended");
    fixture_end(&f);
}
END_TEST

START_TEST(one_of_many_fails)
{
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    CodeUnit changed[PARTS];
    memcpy(changed, parts, sizeof parts);
    changed[1] = (CodeUnit){"slash", "int slash(void) { return none; }", 32};
    ck_assert_ptr_null(jit_compile(&f.cx, changed, PARTS, &o, NULL));
    expect_error(&f, "one fails", "E0803", "slash.c:1:26: error: use of undeclared identifier 'none'");
    forget(&f);
    changed[1] = changed[0];
    ck_assert_ptr_null(jit_compile(&f.cx, changed, PARTS, &o, NULL));
    expect_error(&f, "twice the same function", "E0808", "cannot link");
    fixture_end(&f);
}
END_TEST

START_TEST(no_folder)
{
    Fixture f;
    fixture_begin(&f);
    put_text(&f, "cache", "a file");
    JitOptions o = options(&f);
    Jit *jit = compile(&f, &o, NULL);
    expect_warning(&f, "no folder", "W0701", "not kept");
    check_functions(&f, jit);
    jit_free(jit);
    fixture_end(&f);
}
END_TEST

START_TEST(bad_text)
{
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    ck_assert_ptr_null(compile_text(&f, "int f(void) { return x; }", 25, &o, NULL));
    expect_error(&f, "bad text", "E0803", "model.c:1:22: error: use of undeclared identifier 'x'");
    ck_assert_int_eq(diag_exit_status(&f.diags), 4);
    forget(&f);
    static const char unresolved[] = "int g(void);\nint f(void) { return g(); }";
    ck_assert_ptr_null(compile_text(&f, unresolved, strlen(unresolved), &o, NULL));
    expect_error(&f, "unresolved", "E0808", "the symbol `g` is not defined");
    ck_assert_int_eq(files_in(at(&f, "cache")), 0); /* what cannot be linked is not kept */
    fixture_end(&f);
}
END_TEST

/* ---- compilers that are none ------------------------------------------------------------------------------------- */

static const char *script(Fixture *f, const char *body)
{
    const char *path = put_text(f, "clang", arena_print(&f->arena, "#!/bin/sh\n%s\n", body));
    chmod(path, 0755);
    return path;
}

typedef struct Case {
    const char *what, *body, *code, *phrase;
} Case;

/* clang-format off */
static const Case cases[] = {
    {"exits 1", "cat > /dev/null; echo 'first line' >&2; echo 'second line' >&2; exit 1", "E0803", "first line"},
    {"exits 1 without reading", "exit 1", "E0803", "status 1"},
    {"exits 1 without a word", "cat > /dev/null; exit 7", "E0803", "status 7"},
    {"prints control characters", "cat > /dev/null; printf 'red \\033[31m' >&2; exit 1", "E0803", "red \\x1b[31m"},
    {"prints much", "cat > /dev/null; i=0; while [ $i -lt 3000 ]; do echo 'a line of noise that fills the pipe of messages' >&2; i=$((i+1)); done; exit 1", "E0803",
     "a line of noise"},
    {"killed", "kill -KILL $$", "E0804", "signal 9 (SIGKILL)"},
    {"crashes", "kill -SEGV $$", "E0804", "signal 11 (SIGSEGV)"},
    {"hangs", "sleep 60", "E0805", "more than 0.5 s"},
    {"hangs with a child", "sleep 60 & wait", "E0805", "more than 0.5 s"},
    {"closes everything and hangs", "exec <&- >&- 2>&-; sleep 60", "E0805", "more than 0.5 s"},
    {"ignores polite signals", "trap '' TERM INT HUP; while :; do sleep 60; done", "E0805", "more than 0.5 s"},
    {"writes nothing", "cat > /dev/null", "E0806", "no complete object (0 bytes)"},
    {"writes nothing and complains", "cat > /dev/null; echo 'disk full' >&2", "E0806", "disk full"},
    {"writes half", "clang-19 \"$@\" | head -c 500", "E0806", "no complete object (500 bytes)"},
    {"writes all but one byte", "clang-19 \"$@\" > \"$0.o\"; head -c $(($(wc -c < \"$0.o\") - 1)) \"$0.o\"", "E0806", "no complete object"},
    {"writes text", "cat", "E0806", "no complete object"},
    {"is no clang", "echo 'attar needs clang 19 or later' >&2; [ \"$1\" = --version ] && echo 'gcc (Debian) 12'; exit 1", "E0802", "it says `gcc (Debian) 12`"},
    {"is an old clang", "echo 'model.c:2: error: attar needs clang 19 or later' >&2; [ \"$1\" = --version ] && echo 'Debian clang version 14.0.6'; exit 1", "E0802",
     "it says `Debian clang version 14.0.6`"},
    {"is no program", NULL, "E0801", "cannot be run"},
};
/* clang-format on */

START_TEST(compiler_case)
{
    const Case *c = &cases[_i];
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    o.time_limit = strcmp(c->code, "E0805") == 0 ? 0.5 : 60;
    o.clang = c->body ? script(&f, c->body) : put_text(&f, "clang", "no program");
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    ck_assert_msg(!compile(&f, &o, NULL), "%s was accepted", c->what);
    clock_gettime(CLOCK_MONOTONIC, &end);
    expect_error(&f, c->what, c->code, c->phrase);
    ck_assert_int_eq(diag_exit_status(&f.diags), 4);
    ck_assert_int_lt(end.tv_sec - start.tv_sec, 30); /* not the 60 s that a script sleeps */
    ck_assert_int_le(files_in(at(&f, "cache")), 0);
    fixture_end(&f);
}
END_TEST

START_TEST(not_executable_format)
{ /* runnable by its mode, but not by the kernel */
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    o.clang = put_text(&f, "clang", "\177ELF nonsense");
    chmod(o.clang, 0755);
    ck_assert_ptr_null(compile(&f, &o, NULL));
    expect_error(&f, "nonsense", "E0807", "cannot start the compiler");
    fixture_end(&f);
}
END_TEST

START_TEST(absent)
{
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    o.clang = "/nowhere/clang";
    ck_assert_ptr_null(compile(&f, &o, NULL));
    expect_error(&f, "absent path", "E0801", "/nowhere/clang");
    forget(&f);
    o.clang = "no-such-clang";
    ck_assert_ptr_null(compile(&f, &o, NULL));
    expect_error(&f, "absent name", "E0801", "no-such-clang");
    forget(&f);
    o.clang = NULL;
    setenv("ATTAR_CLANG", "/nowhere/else", 1);
    ck_assert_ptr_null(compile(&f, &o, NULL));
    expect_error(&f, "absent variable", "E0801", "/nowhere/else");
    forget(&f);
    unsetenv("ATTAR_CLANG");
    setenv("PATH", f.dir, 1);
    ck_assert_ptr_null(compile(&f, &o, NULL));
    expect_error(&f, "nothing on the PATH", "E0801", "apt-get install clang-19");
    const char *path, *version;
    forget(&f);
    ck_assert(!jit_compiler(&f.cx, NULL, &path, &version));
    expect_error(&f, "doctor", "E0801", "neither clang-19 nor clang");
    fixture_end(&f);
}
END_TEST

START_TEST(found)
{
    Fixture f;
    fixture_begin(&f);
    const char *path, *version;
    ck_assert(jit_compiler(&f.cx, NULL, &path, &version));
    ck_assert_ptr_nonnull(strstr(version, "clang version"));
    ck_assert_int_eq(path[0], '/');
    ck_assert(!jit_compiler(&f.cx, script(&f, "echo 'clang version 18.1'"), &path, &version));
    expect_error(&f, "old", "E0801", "clang version 18.1");
    forget(&f);
    ck_assert(!jit_compiler(&f.cx, script(&f, "exit 0"), &path, &version));
    expect_error(&f, "silent", "E0801", "it says `nothing`");
    fixture_end(&f);
}
END_TEST

START_TEST(warnings_do_not_matter)
{ /* a wrapper that talks, at a path with spaces and quotes */
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    const char *plain = script(&f, "echo 'warning: something' >&2; exec clang-19 \"$@\"");
    o.clang = at(&f, "my 'own' \"clang\"\n-x");
    ck_assert_int_eq(rename(plain, o.clang), 0);
    setenv("TMPDIR", "/nowhere", 1);
    Jit *jit = compile(&f, &o, NULL);
    check_functions(&f, jit);
    expect_silence(&f, "wrapper");
    jit_free(jit);
    fixture_end(&f);
}
END_TEST

START_TEST(compiler_replaced)
{ /* another binary at the same path is another compiler */
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    JitStats stats;
    o.clang = script(&f, "exec clang-19 \"$@\"");
    jit_free(compile(&f, &o, &stats));
    jit_free(compile(&f, &o, &stats));
    ck_assert(stats.cached);
    script(&f, "exec clang-19 -g \"$@\"");
    jit_free(compile(&f, &o, &stats));
    ck_assert(!stats.cached);
    fixture_end(&f);
}
END_TEST

START_TEST(host_state)
{ /* closed standard streams, an ignored SIGCHLD and SIGPIPE as they were */
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    o.no_cache = true;
    signal(SIGPIPE, SIG_DFL);
    Text large = text_new(&f.arena);
    for (int i = 0; i < 100000; i++)
        text_add(&large, "int f%d;\n", i);
    o.clang = script(&f, "exit 3"); /* does not read 1 MB of input */
    ck_assert_ptr_null(compile_text(&f, large.data, large.length, &o, NULL));
    expect_error(&f, "pipe", "E0803", "status 3");
    forget(&f);
    o.clang = NULL;
    signal(SIGCHLD, SIG_IGN);
    Jit *jit = compile(&f, &o, NULL);
    check_functions(&f, jit);
    jit_free(jit);
    signal(SIGCHLD, SIG_DFL);
    int kept[3] = {dup(0), dup(1), dup(2)};
    for (int i = 0; i < 3; i++)
        close(i);
    jit = compile(&f, &o, NULL);
    for (int i = 0; i < 3; i++)
        dup2(kept[i], i);
    check_functions(&f, jit);
    jit_free(jit);
    expect_silence(&f, "host");
    fixture_end(&f);
}
END_TEST

static int open_descriptors(void)
{
    return files_in("/proc/self/fd");
}

START_TEST(nothing_leaks)
{
    Fixture f;
    fixture_begin(&f);
    JitOptions o = options(&f);
    jit_free(compile(&f, &o, NULL));
    int before = open_descriptors();
    for (int i = 0; i < 20; i++)
        jit_free(compile(&f, &o, NULL));
    o.clang = script(&f, "exit 1");
    for (int i = 0; i < 20; i++)
        ck_assert_ptr_null(compile(&f, &o, NULL));
    ck_assert_int_eq(open_descriptors(), before);
    struct rlimit all, few;
    getrlimit(RLIMIT_NOFILE, &all);
    for (int i = 0; i < 6; i++) {
        few = (struct rlimit){(rlim_t)(before - 1 + i), all.rlim_max};
        setrlimit(RLIMIT_NOFILE, &few);
        forget(&f);
        o.no_cache = true;
        Jit *jit = compile(&f, &o, NULL);
        setrlimit(RLIMIT_NOFILE, &all);
        ck_assert_ptr_null(jit);
        ck_assert_int_eq(f.diags.errors, 1);
        ck_assert_int_eq(open_descriptors(), before);
    }
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jit");
    TCase *t = tcase_create("jit");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, compile_and_call);
    tcase_add_test(t, what_makes_a_key);
    tcase_add_test(t, damaged_entry);
    tcase_add_test(t, units);
    tcase_add_test(t, damaged_unit);
    tcase_add_test(t, one_of_many_fails);
    tcase_add_test(t, no_folder);
    tcase_add_test(t, bad_text);
    tcase_add_loop_test(t, compiler_case, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(t, not_executable_format);
    tcase_add_test(t, absent);
    tcase_add_test(t, found);
    tcase_add_test(t, warnings_do_not_matter);
    tcase_add_test(t, compiler_replaced);
    tcase_add_test(t, host_state);
    tcase_add_test(t, nothing_leaks);
    suite_add_tcase(s, t);
    return run_suite(s);
}
