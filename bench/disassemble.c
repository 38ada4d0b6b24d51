/* An object's functions as the text of assembly, by LLVM, so that hot_loops.c reads one kind of input alone. Every
 * instruction has a label, which branches name. */
#include "bench/disassemble.h"

#include <elf.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Core.h>
#include <llvm-c/Disassembler.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#include "runtime/compiler.h"

static void start_llvm(void)
{
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeDisassembler();
}

/* x86-64 counts from the next instruction, the others from the branch itself. */
#ifdef __x86_64__
enum { FROM_NEXT = 1 };
#else
enum { FROM_NEXT = 0 };
#endif

/* "\tjne\t-42" as "\tjne\t.L1f0": a branch is what begins so and has a number for its last operand. */
static void put_instruction(const char *text, uint64_t at, uint64_t next, Text *out)
{
    while (*text == ' ' || *text == '\t')
        text++;
    const char *last = text + strlen(text);
    while (last > text && last[-1] != '\t' && last[-1] != ' ' && last[-1] != ',')
        last--;
    char *end;
    bool branch = *text == 'j' || *text == 'b' || !strncmp(text, "cb", 2) || !strncmp(text, "tb", 2);
    long long offset = strtoll(last + (*last == '#'), &end, 0);
    if (branch && last > text && *last && !*end)
        text_add(out, "\t%.*s.L%" PRIx64 "\n", (int)(last - text), text, (FROM_NEXT ? next : at) + (uint64_t)offset);
    else
        text_add(out, "\t%s\n", text);
}

static void put_function(LLVMDisasmContextRef llvm, const char *name, const unsigned char *code, uint64_t first, uint64_t bytes, Text *out)
{
    char text[256];
    text_add(out, "%s:\n", name);
    for (uint64_t at = first; at < first + bytes;) {
        size_t n = LLVMDisasmInstruction(llvm, (uint8_t *)(uintptr_t)(code + at), first + bytes - at, at, text, sizeof text);
        text_add(out, ".L%" PRIx64 ":\n", at);
        if (n)
            put_instruction(text, at, at + n, out);
        at += n ? n : FROM_NEXT ? 1 : 4;
    }
}

/* The section if it lies within the object. */
static bool section_of(const unsigned char *object, size_t bytes, const Elf64_Ehdr *h, size_t i, Elf64_Shdr *out)
{
    if (i >= h->e_shnum)
        return false;
    memcpy(out, object + h->e_shoff + i * sizeof *out, sizeof *out);
    return out->sh_type != SHT_NOBITS && out->sh_offset <= bytes && out->sh_size <= bytes - out->sh_offset;
}

static void put_symbols(LLVMDisasmContextRef llvm, const unsigned char *object, size_t bytes, const Elf64_Ehdr *h,
                        const Elf64_Shdr *symbols, const Elf64_Shdr *strings, Text *out)
{
    const char *names = (const char *)object + strings->sh_offset;
    if (strings->sh_size == 0 || names[strings->sh_size - 1] != 0)
        return;
    for (size_t i = 0; i < symbols->sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym s;
        Elf64_Shdr code;
        memcpy(&s, object + symbols->sh_offset + i * sizeof s, sizeof s);
        if (ELF64_ST_TYPE(s.st_info) != STT_FUNC || !section_of(object, bytes, h, s.st_shndx, &code) || s.st_name >= strings->sh_size)
            continue;
        if (s.st_value <= code.sh_size && s.st_size <= code.sh_size - s.st_value)
            put_function(llvm, names + s.st_name, object + code.sh_offset, s.st_value, s.st_size, out);
    }
}

bool hot_loops_of_object(Context *cx, const unsigned char *object, size_t bytes, HotLoop **loops, int *count)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *symbol;
    if (!object_is_whole(object, bytes, &symbol))
        return false;
    pthread_once(&once, start_llvm);
    char *triple = LLVMGetDefaultTargetTriple(), *cpu = LLVMGetHostCPUName();
    /* Every feature that there is, so that code for wider vectors than this machine's can be read too. */
    const char *all = FROM_NEXT ? "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512bf16,+fma" : "";
    LLVMDisasmContextRef llvm = LLVMCreateDisasmCPUFeatures(triple, cpu, all, NULL, 0, NULL, NULL);
    LLVMDisposeMessage(triple);
    LLVMDisposeMessage(cpu);
    if (!llvm)
        return false;
    Text text = text_new(cx->arena);
    Elf64_Ehdr h;
    memcpy(&h, object, sizeof h);
    for (size_t i = 0; i < h.e_shnum; i++) {
        Elf64_Shdr s, strings;
        if (section_of(object, bytes, &h, i, &s) && s.sh_type == SHT_SYMTAB && section_of(object, bytes, &h, s.sh_link, &strings))
            put_symbols(llvm, object, bytes, &h, &s, &strings, &text);
    }
    LLVMDisasmDispose(llvm);
    *loops = hot_loops_of_text(cx, text.data, text.length, count);
    return true;
}
