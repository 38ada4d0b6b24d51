/* Which machine this is: what was measured on one says nothing about another. */
#include "runtime/jit.h"

#include <stdio.h>
#include <string.h>
#if defined __x86_64__
#include <cpuid.h>
#else
#include <sys/auxv.h>
#endif

#include "runtime/compiler.h"

enum { MODEL = 64 };

/* The processor's name. Not from /proc/cpuinfo on x86: to print that asks every processor for its clock. */
static void processor(char model[MODEL])
{
#if defined __x86_64__
    unsigned words[12] = {0};
    bool known = true;
    for (unsigned i = 0; i < 3; i++)
        known &= __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]) != 0;
    memcpy(model, words, sizeof words);
    model[sizeof words] = 0;
    if (!known || !model[0])
        snprintf(model, MODEL, "unknown processor");
#else
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[MODEL];
    snprintf(model, MODEL, "unknown processor");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "CPU part", 8) || !strncmp(line, "uarch", 5)) {
            snprintf(model, MODEL, "%s", line);
            break;
        }
    if (f)
        fclose(f);
#endif
    for (char *c = model; *c; c++) /* one line of printable signs, whatever the processor says */
        if (*c < ' ' || *c > '~')
            *c = ' ';
}

/* Words that say which instructions there are. */
static const char *features(Context *cx)
{
#if defined __x86_64__
    static const unsigned leaves[][2] = {{1, 0}, {7, 0}, {7, 1}, {0x80000001u, 0}};
    Text t = text_new(cx->arena);
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        unsigned a = 0, b = 0, c = 0, d = 0;
        __get_cpuid_count(leaves[i][0], leaves[i][1], &a, &b, &c, &d);
        bool seventh = leaves[i][0] == 7; /* in the others these two say which processor this is */
        text_add(&t, "%x %x %x %x ", seventh ? a : 0, seventh ? b : 0, c, d);
    }
    return t.data;
#else
    return arena_print(cx->arena, "%lx %lx", getauxval(AT_HWCAP), getauxval(AT_HWCAP2));
#endif
}

const char *jit_processor(Context *cx)
{
    char model[MODEL];
    processor(model);
    return arena_print(cx->arena, "%s\n%s", model, features(cx));
}

bool jit_machine(Context *cx, const char *clang, const char **name, const char **identity)
{
    Diags unheard = {.arena = cx->arena}; /* without a compiler jit_compile says so */
    Context silent = {cx->arena, &unheard, cx->names};
    Compiler compiler;
    char model[MODEL];
    if (!compiler_find(&silent, clang, &compiler))
        return false;
    processor(model);
    size_t length = strlen(model);
    while (length && model[length - 1] == ' ')
        length--;
    *name = arena_copy(cx->arena, model, length);
    *identity = arena_print(cx->arena, "%s\n%s", *name, compiler.identity);
    return true;
}
