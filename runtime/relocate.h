/* Relocations of ELF objects, for the machine that this is compiled for. */
#ifndef ATTAR_RUNTIME_RELOCATE_H
#define ATTAR_RUNTIME_RELOCATE_H

#include <stdint.h>

#if defined __x86_64__
#define RELOCATE_MACHINE EM_X86_64
#elif defined __aarch64__
#define RELOCATE_MACHINE EM_AARCH64
#elif defined __riscv && __riscv_xlen == 64
#define RELOCATE_MACHINE EM_RISCV
#else
#error relocate.c knows x86-64, aarch64 and riscv64
#endif

typedef struct Relocation {
    unsigned char *at;                  /* what is to be changed, where it will be run or read */
    uint64_t room;                      /* bytes of its section from there on */
    uint32_t type;
    uint64_t symbol;                    /* address of what is named */
    int64_t addend;
    uint64_t slot;                      /* address of eight bytes that hold the symbol's address */
    uint64_t stub;                      /* address of code that jumps to the symbol, nearer than the symbol may be */
    /* riscv64: the relocation of the upper half that lies at the address `symbol`; NULL if there is none */
    const struct Relocation *upper;
} Relocation;

enum { STUB_BYTES = 24 };               /* aligned to eight */

/* Whether the type names its target by the place of the upper half (riscv64). */
int relocate_needs_upper(uint32_t type);
int relocate_is_upper(uint32_t type);
/* NULL, or what is wrong. */
const char *relocate(const Relocation *r);
/* Code of STUB_BYTES that jumps to `target`. */
void relocate_stub(unsigned char *stub, uint64_t target);

#endif
