/* Which machine this is: what was measured on one says nothing about another. */
#include "runtime/jit.h"

#include <stdio.h>
#include <string.h>
#if defined __x86_64__
#include <cpuid.h>
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
