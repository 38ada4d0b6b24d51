/* JIT: C text to machine code in this process. clang compiles in a child process, or the cache knows the object
 * already; link.c puts it into memory. */
#include "runtime/jit.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "runtime/compiler.h"
#include "runtime/file.h"
#include "runtime/link.h"
#include "runtime/pool.h"

#define DEFAULT_SECONDS 120.0
#define KEPT_BYTES ((uint64_t)1 << 30) /* the cache is pruned to this when an entry is added */
enum { KEY_FORMAT = 3 };

struct Jit {
    Code *code;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- the key ----------------------------------------------------------------------------------------------------- */

static void hash_text(XXH3_state_t *state, const char *text)
{
    XXH3_128bits_update(state, text, strlen(text) + 1);
}

/* The text without its comments, which name lines of the model file: those move when a line is added above. */
static void hash_code(XXH3_state_t *state, const CodeUnit *unit)
{
    const char *end = unit->text + unit->length, *from = unit->text;
    for (const char *p = from; p < end; p++) {
        if (*p == '"') /* no character constant of ours is a quote */
            for (p++; p < end && *p != '"'; p++)
                p += *p == '\\';
        if (p + 1 >= end || *p != '/' || p[1] != '*')
            continue;
        XXH3_128bits_update(state, from, (size_t)(p - from) + 1);
        const char *close = memmem(p + 2, (size_t)(end - p) - 2, "*/", 2);
        from = close ? close + 2 : end;
        p = from - 1;
    }
    if (from < end)
        XXH3_128bits_update(state, from, (size_t)(end - from));
}

static const char *hex(Context *cx, const XXH3_state_t *state)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    Text key = text_new(cx->arena);
    for (size_t i = 0; i < sizeof canonical.digest; i++)
        text_add(&key, "%02x", canonical.digest[i]);
    return key.data;
}

/* Everything that decides what an object is: text, flags, compiler, CPU (flags may say "native"), and the format of
 * this list. False: no memory for it. */
static bool find_keys(Context *cx, const CodeUnit *units, int n, const JitOptions *o, const Compiler *c,
                      const char **keys)
{
    XXH3_state_t *common = XXH3_createState(), *state = XXH3_createState();
    bool good = common && state;
    if (good) {
        XXH3_128bits_reset(common);
        hash_text(common, arena_print(cx->arena, "%d", KEY_FORMAT));
        for (int i = 0; o->flags && o->flags[i]; i++)
            hash_text(common, o->flags[i]);
        hash_text(common, c->identity);
        hash_text(common, jit_processor(cx));
    }
    for (int i = 0; good && i < n; i++) {
        XXH3_copyState(state, common);
        hash_code(state, &units[i]);
        keys[i] = hex(cx, state);
    }
    XXH3_freeState(common);
    XXH3_freeState(state);
    return good;
}

/* ---- linking ----------------------------------------------------------------------------------------------------- */

static Jit *link_objects(Context *cx, const CompilerJob *jobs, int n, bool quiet)
{
    char message[LINK_MESSAGE] = "there is not enough memory";
    LinkObject *objects = arena_array(cx->arena, (size_t)n + 1, sizeof *objects);
    for (int i = 0; i < n; i++)
        objects[i] = (LinkObject){jobs[i].object, jobs[i].bytes};
    Jit *jit = calloc(1, sizeof *jit);
    if (jit)
        jit->code = code_link(objects, n, message);
    if (jit && jit->code)
        return jit;
    if (!quiet)
        diag_file_error(cx->diags, "E0808", NULL, NULL, "cannot link the compiled model: %s", file_shown(cx, message));
    jit_free(jit);
    return NULL;
}

void *jit_symbol(Context *cx, Jit *jit, const char *name)
{
    void *address = code_symbol(jit->code, name);
    if (!address)
        diag_file_error(cx->diags, "E0809", NULL, NULL, "the compiled model has no symbol `%s`", name);
    return address;
}

void jit_free(Jit *jit)
{
    if (!jit)
        return;
    code_free(jit->code);
    free(jit);
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

typedef struct Build {
    Context *cx;
    const Compiler *compiler;
    const JitOptions *options;
    const char *dir, **keys; /* dir NULL: no cache */
    CompilerJob *jobs;
    JitUnit *seen;
    int n;
} Build;

static void unusable(Build *b, int i)
{
    diag_file_warning(b->cx->diags, "W0702", b->dir, b->keys[i], "the cache entry is not used: it cannot be linked");
}

static void look_up(Build *b)
{
    for (int i = 0; b->dir && i < b->n; i++) {
        CompilerJob *job = &b->jobs[i];
        const char *symbol;
        void *object;
        if (!cache_read(b->cx, b->dir, b->keys[i], &object, &job->bytes))
            continue;
        b->seen[i].cached = object_is_whole(object, job->bytes, &symbol);
        if (b->seen[i].cached) {
            job->object = object;
            continue;
        }
        free(object);
        unusable(b, i);
    }
}

static bool compile_missing(Build *b)
{
    CompilerJob *missing = arena_array(b->cx->arena, (size_t)b->n + 1, sizeof *missing);
    double limit = b->options->time_limit > 0 ? b->options->time_limit : DEFAULT_SECONDS;
    int n = 0;
    for (int i = 0; i < b->n; i++)
        if (!b->jobs[i].object)
            missing[n++] = b->jobs[i];
    if (n && !compiler_run(b->cx, b->compiler, b->options->flags, missing, n, pool_cpus(), limit))
        return false;
    for (int i = 0, m = 0; i < b->n; i++)
        if (!b->jobs[i].object)
            b->jobs[i] = missing[m++];
    return true;
}

/* Entries that are sound and do not link together were not made by us: all units are compiled again. */
static Jit *link_or_compile(Build *b, JitStats *stats)
{
    int cached = 0;
    for (int i = 0; i < b->n; i++)
        cached += b->seen[i].cached;
    double start = now();
    if (!compile_missing(b))
        return NULL;
    double compiled = now();
    Jit *jit = link_objects(b->cx, b->jobs, b->n, cached > 0);
    stats->link_seconds = now() - compiled;
    stats->compile_seconds = cached < b->n ? compiled - start : 0;
    if (jit || !cached)
        return jit;
    for (int i = 0; i < b->n; i++) {
        if (b->seen[i].cached)
            unusable(b, i);
        free(b->jobs[i].object);
        b->jobs[i].object = NULL;
        b->seen[i].cached = false;
    }
    start = now();
    bool good = compile_missing(b);
    stats->compile_seconds = now() - start;
    return good ? link_objects(b->cx, b->jobs, b->n, false) : NULL;
}

static void keep(const Build *b)
{
    int added = 0;
    for (int i = 0; b->dir && i < b->n; i++) {
        if (b->seen[i].cached)
            continue;
        cache_write(b->cx, b->dir, b->keys[i], b->jobs[i].object, b->jobs[i].bytes);
        added++;
    }
    if (added)
        cache_prune(b->cx, b->dir, KEPT_BYTES);
}

static void fill_stats(const Build *b, JitStats *stats)
{
    stats->cached = true;
    stats->units = b->seen;
    stats->n_units = b->n;
    for (int i = 0; i < b->n; i++) {
        b->seen[i].bytes = b->jobs[i].bytes;
        b->seen[i].seconds = b->jobs[i].seconds;
        stats->cached &= b->seen[i].cached;
        stats->object_bytes += b->jobs[i].bytes;
    }
}

Jit *jit_compile(Context *cx, const CodeUnit *units, int n, const JitOptions *options, JitStats *stats)
{
    JitStats unused;
    if (!stats)
        stats = &unused;
    *stats = (JitStats){0};
    Compiler compiler;
    if (!compiler_find(cx, options->clang, &compiler))
        return NULL;
    Build b = {.cx = cx, .compiler = &compiler, .options = options, .n = n};
    b.keys = arena_array(cx->arena, (size_t)n + 1, sizeof *b.keys);
    b.jobs = arena_array(cx->arena, (size_t)n + 1, sizeof *b.jobs);
    b.seen = arena_array(cx->arena, (size_t)n + 1, sizeof *b.seen);
    for (int i = 0; i < n; i++) {
        b.jobs[i].unit = &units[i];
        b.seen[i].name = units[i].name;
    }
    bool cache = !options->no_cache && find_keys(cx, units, n, options, &compiler, b.keys);
    if (!cache || !cache_directory(cx, options->cache_dir, &b.dir))
        b.dir = NULL;
    double start = now();
    look_up(&b);
    stats->look_up_seconds = now() - start;
    Jit *jit = link_or_compile(&b, stats);
    if (jit) {
        start = now();
        keep(&b);
        stats->keep_seconds = now() - start;
        fill_stats(&b, stats);
    }
    for (int i = 0; i < n; i++)
        free(b.jobs[i].object);
    return jit;
}
