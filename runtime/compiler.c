/* clang as a child process: where it is, which it is, and what to say when it does not do its work. */
#include "runtime/compiler.h"

#include <elf.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "runtime/child.h"
#include "runtime/file.h"
#include "runtime/jit.h"
#include "runtime/pool.h"

enum { OLDEST = 19, LINES_SHOWN = 8, LINE_SHOWN = 200 };
#define VERSION_SECONDS 10.0

/* ---- finding it -------------------------------------------------------------------------------------------------- */

static bool runnable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* A name with a slash is a path; another one is looked for on the PATH. */
static const char *look_for(Context *cx, const char *name)
{
    if (strchr(name, '/'))
        return runnable(name) ? name : NULL;
    const char *folders = getenv("PATH");
    if (!folders || !*folders)
        folders = "/usr/local/bin:/usr/bin:/bin";
    for (const char *f = folders;; f++) {
        size_t n = strcspn(f, ":");
        const char *path =
            n ? arena_print(cx->arena, "%.*s/%s", (int)n, f, name) : arena_print(cx->arena, "./%s", name);
        if (runnable(path))
            return path;
        f += n;
        if (!*f)
            return NULL;
    }
}

static const char *identify(Context *cx, const char *path)
{
    struct stat st = {0};
    stat(path, &st);
    char *real = realpath(path, NULL);
    const char *text = arena_print(cx->arena, "%s\n%s\n%lld %lld.%09ld", path, real ? real : "", (long long)st.st_size,
                                   (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    free(real);
    return text;
}

bool compiler_find(Context *cx, const char *asked, Compiler *out)
{
    const char *variable = getenv("ATTAR_CLANG");
    if (!asked && variable && *variable)
        asked = variable;
    const char *const names[] = {asked ? asked : "clang-19", asked ? NULL : "clang"};
    for (int i = 0; i < 2 && names[i]; i++) {
        const char *path = *names[i] ? look_for(cx, names[i]) : NULL;
        if (!path)
            continue;
        *out = (Compiler){path, identify(cx, path)};
        return true;
    }
    Diag *d = asked ? diag_file_error(cx->diags, "E0801", asked, NULL, "there is no such compiler, or it cannot be run")
                    : diag_file_error(cx->diags, "E0801", NULL, NULL,
                                      "no C compiler: neither clang-19 nor clang is on the PATH");
    diag_help(
        d, "install clang 19 or later (Debian: `apt-get install clang-19`), or name one with --clang or $ATTAR_CLANG");
    return false;
}

const char *compiler_version(Context *cx, const Compiler *c)
{
    char *argv[] = {arena_copy(cx->arena, c->path, strlen(c->path)), arena_copy(cx->arena, "--version", 9), NULL};
    Child child;
    child_run(argv, "", 0, VERSION_SECONDS, &child);
    const char *line = NULL;
    if (!child.error && !child.timed_out && child.out.size > 0) {
        const char *end = memchr(child.out.data, '\n', child.out.size);
        size_t n = end ? (size_t)(end - (const char *)child.out.data) : child.out.size;
        line = file_shown(cx, arena_copy(cx->arena, (const char *)child.out.data, n));
    }
    child_free(&child);
    return line;
}

bool jit_compiler(Context *cx, const char *clang, const char **path, const char **version)
{
    Compiler c;
    if (!compiler_find(cx, clang, &c))
        return false;
    *path = c.path;
    *version = compiler_version(cx, &c);
    const char *mark = *version ? strstr(*version, "clang version ") : NULL;
    if (mark && atoi(mark + strlen("clang version ")) >= OLDEST)
        return true;
    Diag *d = diag_file_error(cx->diags, "E0801", c.path, NULL, "this is not clang 19 or later: it says `%s`",
                              *version ? *version : "nothing");
    diag_help(
        d, "install clang 19 or later (Debian: `apt-get install clang-19`), or name one with --clang or $ATTAR_CLANG");
    return false;
}

/* ---- running it -------------------------------------------------------------------------------------------------- */

/* The compiler's own messages, as notes. */
static void quote(Context *cx, Diag *d, const Bytes *err)
{
    const char *text = arena_copy(cx->arena, err->size ? (const char *)err->data : "", err->size);
    for (int i = 0; i < LINES_SHOWN && *text; i++) {
        size_t n = strcspn(text, "\n");
        if (n > 0)
            diag_note(d, "%s", file_shown(cx, arena_copy(cx->arena, text, n < LINE_SHOWN ? n : LINE_SHOWN)));
        text += n + (text[n] == '\n');
    }
}

static bool mentions(const Bytes *err, const char *word)
{
    return err->size > 0 && memmem(err->data, err->size, word, strlen(word)) != NULL;
}

static bool report(Context *cx, const Compiler *c, const Child *child, double seconds)
{
    const char *path = c->path;
    if (child->error) {
        diag_file_error(cx->diags, "E0807", path, NULL, "cannot start the compiler: %s", file_reason(cx, child->error));
        return false;
    }
    if (child->out_of_memory) {
        diag_file_error(cx->diags, "E1003", path, NULL, "not enough memory for what the compiler writes");
        return false;
    }
    Diag *d;
    if (child->timed_out) {
        d = diag_file_error(cx->diags, "E0805", path, NULL, "the compiler took more than %g s and was stopped",
                            seconds);
    } else if (WIFSIGNALED(child->status)) {
        int number = WTERMSIG(child->status);
        const char *name = sigabbrev_np(number);
        d = diag_file_error(cx->diags, "E0804", path, NULL, "the compiler was killed by signal %d (SIG%s)", number,
                            name ? name : "?");
    } else if (mentions(&child->err, "attar needs clang")) {
        const char *version = compiler_version(cx, c);
        d = diag_file_error(cx->diags, "E0802", path, NULL, "this is not clang 19 or later: it says `%s`",
                            version ? version : "nothing");
        diag_help(
            d,
            "install clang 19 or later (Debian: `apt-get install clang-19`), or name one with --clang or $ATTAR_CLANG");
        return false;
    } else {
        d = diag_file_error(cx->diags, "E0803", path, NULL, "the compiler ended with status %d",
                            WEXITSTATUS(child->status));
    }
    quote(cx, d, &child->err);
    return false;
}

/* The compiler checks its own version while it compiles: asking first would cost another process. */
static const char *with_check(Context *cx, const CodeUnit *unit, size_t *total)
{
    Text t = text_new(cx->arena);
    text_add(&t,
             "#if !defined(__clang__) || __clang_major__ < %d\n#error attar needs clang %d or later\n#endif\n#line 1 "
             "\"%s.c\"\n",
             OLDEST, OLDEST, unit->name);
    text_put(&t, unit->text, unit->length);
    *total = t.length;
    return t.data;
}

typedef struct Run { /* of one compiler; only what no other thread touches */
    CompilerJob *job;
    const char *text;
    size_t length;
    bool started;
    Child child;
} Run;

typedef struct Runs {
    char **argv;
    Run *runs; /* in the order in which they are started */
    int n;
    double seconds;
    atomic_int next;
    atomic_bool failed; /* no more are started */
} Runs;

static bool ended_well(const Child *child)
{
    return !child->error && !child->timed_out && !child->out_of_memory && WIFEXITED(child->status) &&
           WEXITSTATUS(child->status) == 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void compile_next(void *state, ptrdiff_t thread)
{
    Runs *all = state;
    (void)thread;
    for (int i; (i = atomic_fetch_add(&all->next, 1)) < all->n && !atomic_load(&all->failed);) {
        Run *r = &all->runs[i];
        double start = now();
        r->started = true;
        child_run(all->argv, r->text, r->length, all->seconds, &r->child);
        r->job->seconds = now() - start;
        if (!ended_well(&r->child))
            atomic_store(&all->failed, true);
    }
}

static int longest_first(const void *a, const void *b)
{
    const Run *x = a, *y = b;
    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return x->job < y->job ? -1 : 1;
}

static bool take_object(Context *cx, const Compiler *c, Run *r)
{
    const char *symbol;
    Child *child = &r->child;
    if (!object_is_whole(child->out.data, child->out.size, &symbol)) {
        Diag *d = diag_file_error(cx->diags, "E0806", c->path, NULL,
                                  "the compiler wrote no complete object (%zu bytes)", child->out.size);
        quote(cx, d, &child->err);
        return false;
    }
    r->job->object = child->out.data;
    r->job->bytes = child->out.size;
    child->out.data = NULL;
    return true;
}

/* The objects, or one error: the same cause fails many units. */
static bool take_all(Context *cx, const Compiler *c, Runs *all)
{
    bool good = true;
    for (int i = 0; i < all->n; i++) {
        Run *r = &all->runs[i];
        if (good && r->started)
            good = ended_well(&r->child) ? take_object(cx, c, r) : report(cx, c, &r->child, all->seconds);
        child_free(&r->child);
    }
    for (int i = 0; i < all->n && !good; i++) {
        free(all->runs[i].job->object);
        all->runs[i].job->object = NULL;
    }
    return good;
}

static char **arguments_of(Context *cx, const Compiler *c, const char *const *flags)
{
    const char *const first[] = {c->path, "-x", "c", "-", "-c", "-o", "-"};
    enum { FIRST = sizeof first / sizeof *first };
    int n = 0;
    while (flags && flags[n])
        n++;
    const char **argv = arena_array(cx->arena, (size_t)n + FIRST + 1, sizeof *argv);
    memcpy(argv, first, sizeof first);
    for (int i = 0; i < n; i++)
        argv[FIRST + i] = flags[i];
    char **arguments = arena_array(cx->arena, (size_t)n + FIRST + 1, sizeof *arguments);
    memcpy(arguments, argv, ((size_t)n + FIRST) * sizeof *arguments); /* execve's prototype lacks a const */
    return arguments;
}

bool compiler_run(Context *cx, const Compiler *c, const char *const *flags, CompilerJob *jobs, int n, int at_once,
                  double seconds)
{
    Runs all = {.argv = arguments_of(cx, c, flags), .n = n, .seconds = seconds};
    all.runs = arena_array(cx->arena, (size_t)n + 1, sizeof *all.runs);
    for (int i = 0; i < n; i++) {
        Run *r = &all.runs[i];
        r->job = &jobs[i];
        r->text = with_check(cx, jobs[i].unit, &r->length);
    }
    qsort(all.runs, (size_t)n, sizeof *all.runs, longest_first);
    Pool *pool = n > 1 && at_once > 1 ? pool_new(n < at_once ? n : at_once) : NULL;
    if (pool)
        pool_run(pool, compile_next, &all);
    else
        compile_next(&all, 0);
    pool_free(pool);
    return take_all(cx, c, &all);
}

/* ---- looking at the object --------------------------------------------------------------------------------------- */

static bool section_at(const unsigned char *object, size_t bytes, const Elf64_Ehdr *h, size_t i, Elf64_Shdr *out)
{
    memcpy(out, object + h->e_shoff + i * sizeof *out, sizeof *out);
    if (out->sh_type == SHT_NOBITS || out->sh_type == SHT_NULL)
        return true;
    return out->sh_offset <= bytes && out->sh_size <= bytes - out->sh_offset;
}

/* The first global function of a symbol table, or NULL. */
static const char *function_of(const unsigned char *object, const Elf64_Shdr *symbols, const Elf64_Shdr *strings)
{
    const char *names = (const char *)object + strings->sh_offset;
    if (strings->sh_type != SHT_STRTAB || strings->sh_size == 0 || names[strings->sh_size - 1] != 0)
        return NULL;
    for (size_t i = 0; i < symbols->sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym s;
        memcpy(&s, object + symbols->sh_offset + i * sizeof s, sizeof s);
        bool function =
            ELF64_ST_TYPE(s.st_info) == STT_FUNC && ELF64_ST_BIND(s.st_info) == STB_GLOBAL && s.st_shndx != SHN_UNDEF;
        if (function && s.st_name > 0 && s.st_name < strings->sh_size)
            return names + s.st_name;
    }
    return NULL;
}

bool object_is_whole(const unsigned char *object, size_t bytes, const char **symbol)
{
    Elf64_Ehdr h;
    *symbol = NULL;
    if (!object || bytes < sizeof h)
        return false;
    memcpy(&h, object, sizeof h);
    bool elf = !memcmp(h.e_ident, ELFMAG, SELFMAG) && h.e_ident[EI_CLASS] == ELFCLASS64 && h.e_type == ET_REL;
    if (!elf || h.e_shentsize != sizeof(Elf64_Shdr) || h.e_shnum == 0)
        return false;
    if (h.e_shoff > bytes || (bytes - h.e_shoff) / sizeof(Elf64_Shdr) < h.e_shnum)
        return false;
    for (size_t i = 0; i < h.e_shnum; i++) {
        Elf64_Shdr s, strings;
        if (!section_at(object, bytes, &h, i, &s))
            return false;
        if (s.sh_type != SHT_SYMTAB || s.sh_link >= h.e_shnum || !section_at(object, bytes, &h, s.sh_link, &strings))
            continue;
        *symbol = function_of(object, &s, &strings);
    }
    return true;
}
