/* JIT: C text to machine code in this process. clang compiles in a child process (or the cache knows the object
 * already); LLVM's ORC links it in memory. This is the only file that names LLVM. */
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

#define DEFAULT_SECONDS 120.0
#define KEPT_BYTES ((uint64_t)1 << 30) /* the cache is pruned to this when an entry is added */
enum { KEY_FORMAT = 1, MESSAGE = 512 };

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

/* Everything that decides what the object is: text, flags, compiler, CPU (flags may say "native"), and the format of
 * this list. */
static const char *key_of(Context *cx, const char *text, size_t length, const JitOptions *o, const Compiler *c)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return NULL;
    char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
    XXH3_128bits_reset(state);
    hash_text(state, arena_print(cx->arena, "%d %zu", KEY_FORMAT, length));
    XXH3_128bits_update(state, text, length);
    for (int i = 0; o->flags && o->flags[i]; i++)
        hash_text(state, o->flags[i]);
    hash_text(state, c->identity);
    hash_text(state, cpu);
    hash_text(state, features);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    LLVMDisposeMessage(cpu);
    LLVMDisposeMessage(features);
    XXH3_freeState(state);
    Text key = text_new(cx->arena);
    for (size_t i = 0; i < sizeof canonical.digest; i++)
        text_add(&key, "%02x", canonical.digest[i]);
    return key.data;
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

static bool add_object(Jit *jit, const void *object, size_t bytes)
{
    LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(object, bytes, "model.o");
    return good(jit, LLVMOrcLLJITAddObjectFile(jit->engine, LLVMOrcLLJITGetMainJITDylib(jit->engine), buffer));
}

/* ORC links on the first look-up; asking for any function of the object makes that happen here, where its errors
 * belong. */
static Jit *link_object(Context *cx, const void *object, size_t bytes, bool quiet)
{
    Jit *jit = calloc(1, sizeof *jit);
    if (!jit) {
        diag_file_error(cx->diags, "E1003", NULL, NULL, "not enough memory to link the compiled model");
        return NULL;
    }
    const char *symbol;
    LLVMOrcExecutorAddress address;
    bool linked = object_is_whole(object, bytes, &symbol) && set_up(jit) && add_object(jit, object, bytes) &&
                  (!symbol || good(jit, LLVMOrcLLJITLookup(jit->engine, &address, symbol)));
    if (linked)
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

static Jit *from_cache(Context *cx, const char *dir, const char *key, JitStats *stats)
{
    void *object;
    double start = now();
    if (!cache_read(cx, dir, key, &object, &stats->object_bytes))
        return NULL;
    Jit *jit = link_object(cx, object, stats->object_bytes, true);
    free(object);
    stats->cached = jit != NULL;
    stats->link_seconds = now() - start;
    if (!jit)
        diag_file_warning(cx->diags, "W0702", dir, key, "the cache entry is not used: it cannot be linked");
    return jit;
}

static Jit *from_compiler(Context *cx, const Compiler *c, const char *text, size_t length, const JitOptions *o,
                          const char *dir, const char *key, JitStats *stats)
{
    unsigned char *object;
    double start = now();
    double seconds = o->time_limit > 0 ? o->time_limit : DEFAULT_SECONDS;
    if (!compiler_run(cx, c, o->flags, text, length, seconds, &object, &stats->object_bytes))
        return NULL;
    double compiled = now();
    Jit *jit = link_object(cx, object, stats->object_bytes, false);
    stats->compile_seconds = compiled - start;
    stats->link_seconds = now() - compiled;
    if (jit && dir) {
        cache_write(cx, dir, key, object, stats->object_bytes);
        cache_prune(cx, dir, KEPT_BYTES);
    }
    free(object);
    return jit;
}

Jit *jit_compile(Context *cx, const char *c_text, size_t length, const JitOptions *options, JitStats *stats)
{
    JitStats unused;
    if (!stats)
        stats = &unused;
    *stats = (JitStats){0};
    Compiler compiler;
    if (!compiler_find(cx, options->clang, &compiler))
        return NULL;
    const char *dir = NULL, *key = options->no_cache ? NULL : key_of(cx, c_text, length, options, &compiler);
    if (!key || !cache_directory(cx, options->cache_dir, &dir))
        dir = NULL;
    Jit *jit = dir ? from_cache(cx, dir, key, stats) : NULL;
    return jit ? jit : from_compiler(cx, &compiler, c_text, length, options, dir, key, stats);
}
