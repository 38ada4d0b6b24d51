/* What is changed in the code of an object once its place in memory is known: the relocations that clang writes for
 * functions and their constants. A type that is not in the lists below, or a distance that does not fit, is refused. */
#include "runtime/relocate.h"

#include <elf.h>
#include <string.h>

static const char too_far[] = "a distance in its code does not fit";
static const char unknown[] = "it has a relocation of a type that is not known";
static const char beyond[] = "a relocation lies outside of its section";

static const char *put(const Relocation *r, const void *value, uint64_t size)
{
    if (r->room < size)
        return beyond;
    memcpy(r->at, value, size);
    return NULL;
}

static int fits(int64_t value, int bits)
{
    return value >= -((int64_t)1 << (bits - 1)) && value < (int64_t)1 << (bits - 1);
}

static int64_t distance(const Relocation *r, uint64_t to)
{
    return (int64_t)(to + (uint64_t)r->addend - (uint64_t)(uintptr_t)r->at);
}

#if !defined __riscv

int relocate_is_upper(uint32_t type)
{
    (void)type;
    return 0;
}

int relocate_needs_upper(uint32_t type)
{
    (void)type;
    return 0;
}

#endif

#if defined __x86_64__

/* jmp *2(%rip); two bytes; the target */
void relocate_stub(unsigned char *stub, uint64_t target)
{
    static const unsigned char code[] = {0xff, 0x25, 2, 0, 0, 0, 0x0f, 0x0b};
    memcpy(stub, code, sizeof code);
    memcpy(stub + sizeof code, &target, sizeof target);
}

static const char *put_distance(const Relocation *r, int64_t value)
{
    int32_t low = (int32_t)value;
    return fits(value, 32) ? put(r, &low, sizeof low) : too_far;
}

const char *relocate(const Relocation *r)
{
    uint64_t value = r->symbol + (uint64_t)r->addend;
    int64_t far = distance(r, r->symbol);
    uint32_t low = (uint32_t)value;
    switch (r->type) {
    case R_X86_64_NONE: return NULL;
    case R_X86_64_64: return put(r, &value, sizeof value);
    case R_X86_64_32: return value == low ? put(r, &low, sizeof low) : too_far;
    case R_X86_64_32S: return fits((int64_t)value, 32) ? put(r, &low, sizeof low) : too_far;
    case R_X86_64_PC64: return put(r, &far, sizeof far);
    case R_X86_64_PC32: return put_distance(r, far);
    case R_X86_64_PLT32: return put_distance(r, fits(far, 32) ? far : distance(r, r->stub));
    case R_X86_64_GOTPCREL:
    case R_X86_64_GOTPCRELX:
    case R_X86_64_REX_GOTPCRELX: return put_distance(r, distance(r, r->slot));
    default: return unknown;
    }
}

#elif defined __aarch64__

/* ldr x16, the target; br x16 */
void relocate_stub(unsigned char *stub, uint64_t target)
{
    static const uint32_t code[] = {0x58000050, 0xd61f0200};
    memcpy(stub, code, sizeof code);
    memcpy(stub + sizeof code, &target, sizeof target);
}

/* `count` bits of `value` from bit `from` of the instruction on. */
static const char *put_bits(const Relocation *r, uint64_t value, int from, int count)
{
    uint32_t word, mask = (uint32_t)((((uint64_t)1 << count) - 1) << from);
    if (r->room < sizeof word)
        return beyond;
    memcpy(&word, r->at, sizeof word);
    word = (word & ~mask) | ((uint32_t)(value << from) & mask);
    return put(r, &word, sizeof word);
}

static const char *put_branch(const Relocation *r, int64_t far, int from, int count)
{
    return far & 3 || !fits(far, count + 2) ? too_far : put_bits(r, (uint64_t)(far >> 2), from, count);
}

static const char *put_call(const Relocation *r)
{
    int64_t far = distance(r, r->symbol);
    return put_branch(r, fits(far, 28) ? far : distance(r, r->stub), 0, 26);
}

/* The two parts of an address that `adr` and `adrp` take. */
static const char *put_adr(const Relocation *r, int64_t value)
{
    if (!fits(value, 21))
        return too_far;
    const char *why = put_bits(r, (uint64_t)value & 3, 29, 2);
    return why ? why : put_bits(r, (uint64_t)(value >> 2), 5, 19);
}

static const char *put_page(const Relocation *r, uint64_t to)
{
    return put_adr(r, (int64_t)(to >> 12) - (int64_t)((uint64_t)(uintptr_t)r->at >> 12));
}

/* The lower 12 bits of an address as the offset of a load of 1 << scale bytes. */
static const char *put_low(const Relocation *r, uint64_t to, int scale)
{
    uint64_t low = to & 0xfff;
    return low & (((uint64_t)1 << scale) - 1) ? "a constant of it is not aligned" : put_bits(r, low >> scale, 10, 12);
}

const char *relocate(const Relocation *r)
{
    uint64_t value = r->symbol + (uint64_t)r->addend;
    int64_t far = distance(r, r->symbol);
    int32_t near = (int32_t)far;
    switch (r->type) {
    case R_AARCH64_NONE: return NULL;
    case R_AARCH64_ABS64: return put(r, &value, sizeof value);
    case R_AARCH64_PREL64: return put(r, &far, sizeof far);
    case R_AARCH64_PREL32: return fits(far, 32) ? put(r, &near, sizeof near) : too_far;
    case R_AARCH64_CALL26:
    case R_AARCH64_JUMP26: return put_call(r);
    case R_AARCH64_CONDBR19: return put_branch(r, far, 5, 19);
    case R_AARCH64_TSTBR14: return put_branch(r, far, 5, 14);
    case R_AARCH64_ADR_PREL_LO21: return put_adr(r, far);
    case R_AARCH64_ADR_PREL_PG_HI21: return put_page(r, value);
    case R_AARCH64_ADD_ABS_LO12_NC:
    case R_AARCH64_LDST8_ABS_LO12_NC: return put_low(r, value, 0);
    case R_AARCH64_LDST16_ABS_LO12_NC: return put_low(r, value, 1);
    case R_AARCH64_LDST32_ABS_LO12_NC: return put_low(r, value, 2);
    case R_AARCH64_LDST64_ABS_LO12_NC: return put_low(r, value, 3);
    case R_AARCH64_LDST128_ABS_LO12_NC: return put_low(r, value, 4);
    case R_AARCH64_ADR_GOT_PAGE: return r->addend ? unknown : put_page(r, r->slot);
    case R_AARCH64_LD64_GOT_LO12_NC: return r->addend ? unknown : put_low(r, r->slot, 3);
    default: return unknown;
    }
}

#else

int relocate_is_upper(uint32_t type)
{
    return type == R_RISCV_PCREL_HI20 || type == R_RISCV_GOT_HI20;
}

int relocate_needs_upper(uint32_t type)
{
    return type == R_RISCV_PCREL_LO12_I || type == R_RISCV_PCREL_LO12_S;
}

/* auipc t3, 0; ld t3, 16(t3); jr t3; nothing; the target */
void relocate_stub(unsigned char *stub, uint64_t target)
{
    static const uint32_t code[] = {0x00000e17, 0x010e3e03, 0x000e0067, 0x00000013};
    memcpy(stub, code, sizeof code);
    memcpy(stub + sizeof code, &target, sizeof target);
}

static const char *put_word(const Relocation *r, uint64_t at, uint32_t keep, uint32_t bits)
{
    uint32_t word;
    if (r->room < at + sizeof word)
        return beyond;
    memcpy(&word, r->at + at, sizeof word);
    word = (word & keep) | (bits & ~keep);
    memcpy(r->at + at, &word, sizeof word);
    return NULL;
}

/* auipc and lui take the upper 20 bits, rounded so that the lower 12 are a signed number. */
static const char *put_upper(const Relocation *r, int64_t far)
{
    return fits(far + 0x800, 32) ? put_word(r, 0, 0xfff, (uint32_t)(far + 0x800)) : too_far;
}

static const char *put_call(const Relocation *r)
{
    int64_t far = distance(r, r->symbol);
    if (!fits(far + 0x800, 32))
        far = distance(r, r->stub);
    const char *why = put_upper(r, far);
    return why ? why : put_word(r, 4, 0xfffff, (uint32_t)far << 20);
}

static int64_t upper_distance(const Relocation *upper)
{
    return distance(upper, upper->type == R_RISCV_GOT_HI20 ? upper->slot : upper->symbol);
}

static const char *put_lower(const Relocation *r)
{
    if (!r->upper)
        return "the upper half of an address is missing";
    uint32_t low = (uint32_t)upper_distance(r->upper);
    if (r->type == R_RISCV_PCREL_LO12_I)
        return put_word(r, 0, 0xfffff, low << 20);
    return put_word(r, 0, 0x1fff07f, (low & 0xfe0) << 20 | (low & 0x1f) << 7);
}

static const char *put_branch(const Relocation *r, int64_t far)
{
    uint32_t to = (uint32_t)far;
    return far & 1 || !fits(far, 13)
               ? too_far
               : put_word(r, 0, 0x1fff07f,
                          (to >> 12 & 1) << 31 | (to >> 5 & 0x3f) << 25 | (to >> 1 & 0xf) << 8 | (to >> 11 & 1) << 7);
}

static const char *put_jump(const Relocation *r, int64_t far)
{
    uint32_t to = (uint32_t)far;
    return far & 1 || !fits(far, 21) ? too_far
                                     : put_word(r, 0, 0xfff,
                                                (to >> 20 & 1) << 31 | (to >> 1 & 0x3ff) << 21 | (to >> 11 & 1) << 20 |
                                                    (to >> 12 & 0xff) << 12);
}

static const char *put_half(const Relocation *r, uint16_t keep, uint32_t bits)
{
    uint16_t half;
    if (r->room < sizeof half)
        return beyond;
    memcpy(&half, r->at, sizeof half);
    half = (uint16_t)((half & keep) | (bits & (uint16_t)~keep));
    return put(r, &half, sizeof half);
}

static const char *put_short_branch(const Relocation *r, int64_t far)
{
    uint32_t to = (uint32_t)far;
    return far & 1 || !fits(far, 9) ? too_far
                                    : put_half(r, 0xe383,
                                               (to >> 8 & 1) << 12 | (to >> 3 & 3) << 10 | (to >> 6 & 3) << 5 |
                                                   (to >> 1 & 3) << 3 | (to >> 5 & 1) << 2);
}

static const char *put_short_jump(const Relocation *r, int64_t far)
{
    uint32_t to = (uint32_t)far;
    return far & 1 || !fits(far, 12)
               ? too_far
               : put_half(r, 0xe003,
                          (to >> 11 & 1) << 12 | (to >> 4 & 1) << 11 | (to >> 8 & 3) << 9 | (to >> 10 & 1) << 8 |
                              (to >> 6 & 1) << 7 | (to >> 7 & 1) << 6 | (to >> 1 & 7) << 3 | (to >> 5 & 1) << 2);
}

/* Tables of jumps hold differences, one relocation for each side. */
static const char *put_sum(const Relocation *r, uint32_t value)
{
    uint32_t word;
    if (r->room < sizeof word)
        return beyond;
    memcpy(&word, r->at, sizeof word);
    word += value;
    return put(r, &word, sizeof word);
}

const char *relocate(const Relocation *r)
{
    uint64_t value = r->symbol + (uint64_t)r->addend;
    int64_t far = distance(r, r->symbol);
    int32_t near = (int32_t)far;
    switch (r->type) {
    case R_RISCV_NONE:
    case R_RISCV_RELAX: /* shorter code would do; none is made */
    case R_RISCV_ALIGN: return NULL;
    case R_RISCV_64: return put(r, &value, sizeof value);
    case 57 /* R_RISCV_32_PCREL */: return fits(far, 32) ? put(r, &near, sizeof near) : too_far;
    case R_RISCV_ADD32: return put_sum(r, (uint32_t)value);
    case R_RISCV_SUB32: return put_sum(r, -(uint32_t)value);
    case R_RISCV_CALL:
    case R_RISCV_CALL_PLT: return put_call(r);
    case R_RISCV_PCREL_HI20: return put_upper(r, far);
    case R_RISCV_GOT_HI20: return put_upper(r, distance(r, r->slot));
    case R_RISCV_PCREL_LO12_I:
    case R_RISCV_PCREL_LO12_S: return put_lower(r);
    case R_RISCV_BRANCH: return put_branch(r, far);
    case R_RISCV_JAL: return put_jump(r, far);
    case R_RISCV_RVC_BRANCH: return put_short_branch(r, far);
    case R_RISCV_RVC_JUMP: return put_short_jump(r, far);
    default: return unknown;
    }
}

#endif
