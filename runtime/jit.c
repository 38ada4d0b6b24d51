/* JIT: C text to machine code in this process. clang compiles in a child process (or the cache knows the object
 * already); LLVM's ORC links it in memory. This file and disassemble.c alone name LLVM. */
#include "runtime/jit.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include <llvm-c/Core.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#include "runtime/compiler.h"
#include "runtime/file.h"
#include "runtime/pool.h"

#define DEFAULT_SECONDS 120.0
#define KEPT_BYTES ((uint64_t)1 << 30) /* the cache is pruned to this when an entry is added */
enum { KEY_FORMAT = 2, MESSAGE = 512 };

struct Jit {
    LLVMOrcLLJITRef engine;
    char message[MESSAGE]; /* the last thing ORC reported, for the next diagnostic */
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
        char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
        XXH3_128bits_reset(common);
        hash_text(common, arena_print(cx->arena, "%d", KEY_FORMAT));
        for (int i = 0; o->flags && o->flags[i]; i++)
            hash_text(common, o->flags[i]);
        hash_text(common, c->identity);
        hash_text(common, cpu);
        hash_text(common, features);
        LLVMDisposeMessage(cpu);
        LLVMDisposeMessage(features);
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

static void register_target(void)
{
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
}

static void keep_message(Jit *jit, LLVMErrorRef error)
{
    char *text = LLVMGetErrorMessage(error);
    size_t n = strlen(text) < MESSAGE - 1 ? strlen(text) : MESSAGE - 1;
    memcpy(jit->message, text, n);
    jit->message[n] = 0;
    LLVMDisposeErrorMessage(text);
}

/* ORC would print its errors otherwise. */
static void reporter(void *jit, LLVMErrorRef error)
{
    keep_message(jit, error);
}

static bool good(Jit *jit, LLVMErrorRef error)
{
    if (!error)
        return true;
    char before[MESSAGE];
    memcpy(before, jit->message, MESSAGE);
    keep_message(jit, error);
    if (before[0])
        memcpy(jit->message, before, MESSAGE); /* the reported cause says more than "failed to materialise" */
    return false;
}

static bool set_up(Jit *jit)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* LLVM's table of targets is one for the process */
    pthread_once(&once, register_target);
    if (!good(jit, LLVMOrcCreateLLJIT(&jit->engine, NULL)))
        return false;
    LLVMOrcExecutionSessionSetErrorReporter(LLVMOrcLLJITGetExecutionSession(jit->engine), reporter, jit);
    LLVMOrcDefinitionGeneratorRef process; /* memcpy, memset, memmove */
    if (!good(jit, LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                       &process, LLVMOrcLLJITGetGlobalPrefix(jit->engine), NULL, NULL)))
        return false;
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(jit->engine), process);
    return true;
}

/* ORC links on the first look-up; asking for any function of the object makes that happen here, where its errors
 * belong. */
static bool add_object(Jit *jit, const CompilerJob *job)
{
    LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy((const char *)job->object, job->bytes, "model.o");
    return good(jit, LLVMOrcLLJITAddObjectFile(jit->engine, LLVMOrcLLJITGetMainJITDylib(jit->engine), buffer));
}

static bool link_all(Jit *jit, const CompilerJob *jobs, int n)
{
    LLVMOrcExecutorAddress address;
    const char *symbol;
    for (int i = 0; i < n; i++)
        if (!add_object(jit, &jobs[i]))
            return false;
    for (int i = 0; i < n; i++)
        if (object_is_whole(jobs[i].object, jobs[i].bytes, &symbol) && symbol &&
            !good(jit, LLVMOrcLLJITLookup(jit->engine, &address, symbol)))
            return false;
    return true;
}

static Jit *link_objects(Context *cx, const CompilerJob *jobs, int n, bool quiet)
{
    Jit *jit = calloc(1, sizeof *jit);
    if (!jit) {
        diag_file_error(cx->diags, "E1003", NULL, NULL, "not enough memory to link the compiled model");
        return NULL;
    }
    if (set_up(jit) && link_all(jit, jobs, n))
        return jit;
    if (!quiet) {
        diag_file_error(cx->diags, "E0808", NULL, NULL, "cannot link the compiled model: %s",
                        jit->message[0] ? file_shown(cx, jit->message) : "the object is malformed");
    }
    jit_free(jit);
    return NULL;
}

void *jit_symbol(Context *cx, Jit *jit, const char *name)
{
    LLVMOrcExecutorAddress address = 0;
    jit->message[0] = 0;
    if (good(jit, LLVMOrcLLJITLookup(jit->engine, &address, name)) && address)
        return (void *)(uintptr_t)address;
    diag_file_error(cx->diags, "E0809", NULL, NULL, "the compiled model has no symbol `%s`: %s", name,
                    file_shown(cx, jit->message));
    return NULL;
}

void jit_free(Jit *jit)
{
    if (!jit)
        return;
    if (jit->engine) {
        LLVMErrorRef error = LLVMOrcDisposeLLJIT(jit->engine);
        if (error)
            LLVMConsumeError(error);
    }
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
