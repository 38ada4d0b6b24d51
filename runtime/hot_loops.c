/* Innermost loops in the text of assembly. A loop is what stands between a label and a branch back to it, if no other
 * such stretch lies inside. */
#include "runtime/hot_loops.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "support/names.h"

typedef struct Instruction {
    const char *text; /* mnemonic, a tab or space, operands; not terminated */
    size_t length;
} Instruction;

typedef struct Function {
    const char *name;
    Map labels; /* to 1 + number of the instruction that follows */
    Instruction *code;
    size_t count, capacity;
    bool frame; /* rbp points into the stack */
} Function;

typedef struct Reader {
    Context *cx;
    Function function;
    HotLoop *loops;
    size_t count, capacity;
} Reader;

/* ---- one instruction --------------------------------------------------------------------------------------------- */

static bool starts(const Instruction *i, const char *with)
{
    size_t n = strlen(with);
    return i->length >= n && !memcmp(i->text, with, n);
}

static bool holds(const Instruction *i, const char *what)
{
    return memmem(i->text, i->length, what, strlen(what)) != NULL;
}

static size_t mnemonic(const Instruction *i)
{
    size_t n = 0;
    while (n < i->length && !isspace((unsigned char)i->text[n]))
        n++;
    return n;
}

static bool ends(const Instruction *i, const char *with) /* the mnemonic does */
{
    size_t n = strlen(with), m = mnemonic(i);
    return m >= n && !memcmp(i->text + m - n, with, n);
}

static bool on_vectors(const Instruction *i)
{
    return holds(i, "%xmm") || holds(i, "%ymm") || holds(i, "%zmm");
}

static bool is_fused(const Instruction *i)
{
    if (starts(i, "vfmadd") || starts(i, "vfnmadd") || starts(i, "vfmsub") || starts(i, "vfnmsub"))
        return !ends(i, "ss") && !ends(i, "sd");        /* .vv and .vf of RISC-V too */
    return starts(i, "vdpbf16ps") || starts(i, "vfmacc.") || starts(i, "vfnmsac.") || starts(i, "vfmsac.") ||
           ((starts(i, "fmla\t") || starts(i, "fmls\t")) && holds(i, "v"));
}

static bool is_product(const Instruction *i)
{
    return starts(i, "mulps") || starts(i, "vmulps") || starts(i, "vfmul.") || (starts(i, "fmul\t") && holds(i, "\tv"));
}

/* "16(%rsp)" but not "16(%rsp,%rax)" */
static const char *fixed_place(const Instruction *i, const char *base)
{
    return memmem(i->text, i->length, base, strlen(base));
}

/* RISC-V saves whole registers, at places that the instructions before make of sp. */
static bool is_riscv_spill(const Function *f, const Instruction *i)
{
    if (!(starts(i, "vl") || starts(i, "vs")) || !isdigit((unsigned char)i->text[2]) || !ends(i, "r.v"))
        return false;
    for (const Instruction *before = i; before-- > f->code && i - before <= 3;)
        if (starts(before, "add") && holds(before, "sp"))
            return true;
    return false;
}

static void count_stack(const Function *f, const Instruction *i, HotLoop *loop)
{
    const char *at = fixed_place(i, "(%rsp)");
    if (!at && f->frame)
        at = fixed_place(i, "(%rbp)");
    bool write, touched;
    if (at) {
        touched = on_vectors(i);
        write = at + strlen("(%rsp)") >= i->text + i->length;           /* the last operand is where it goes */
    } else {
        bool arm = (starts(i, "ld") || starts(i, "st")) && holds(i, "\tq") && (holds(i, "[sp") || holds(i, "[x29"));
        touched = arm || is_riscv_spill(f, i);
        write = i->text[0] == 's' || i->text[1] == 's';
    }
    loop->stack_writes += touched && write;
    loop->stack_reads += touched && !write;
}

/* ---- one function ------------------------------------------------------------------------------------------------ */

/* The number of the instruction that a branch goes to, or -1. */
static long branch_target(Context *cx, const Function *f, const Instruction *i)
{
    bool may = i->text[0] == 'j' || i->text[0] == 'b' || starts(i, "cb") || starts(i, "tb") || starts(i, "loop");
    size_t from = i->length;
    while (from && !isspace((unsigned char)i->text[from - 1]) && i->text[from - 1] != ',')
        from--;
    if (!may || !from || starts(i, "bl\t") || from == i->length)
        return -1;
    uintptr_t at = (uintptr_t)map_get(&f->labels, arena_copy(cx->arena, i->text + from, i->length - from));
    return (long)at - 1;
}

static void take_loop(Reader *r, long from, long to)
{
    const Function *f = &r->function;
    HotLoop loop = {.function = f->name};
    int products = 0;
    for (long i = from; i <= to; i++) {
        loop.instructions++;
        loop.multiply_adds += is_fused(&f->code[i]);
        products += is_product(&f->code[i]);
        count_stack(f, &f->code[i], &loop);
    }
    if (!loop.multiply_adds)
        loop.multiply_adds = products;
    if (!loop.multiply_adds)
        return;
    r->loops = arena_room(r->cx->arena, r->loops, r->count, &r->capacity, sizeof *r->loops);
    r->loops[r->count++] = loop;
}

/* A branch back is an innermost loop if none ends between its target and itself that began there too. */
static void end_function(Reader *r)
{
    Function *f = &r->function;
    long latest = -1;                   /* where the latest loop so far begins */
    for (size_t i = 0; i < f->count; i++) {
        long to = branch_target(r->cx, f, &f->code[i]);
        if (to < 0 || to > (long)i)
            continue;
        if (to > latest)
            take_loop(r, to, (long)i);
        if (to > latest)
            latest = to;
    }
    f->name = NULL;
}

static void begin_function(Reader *r, const char *name, size_t length)
{
    if (r->function.name)
        end_function(r);
    r->function.name = arena_copy(r->cx->arena, name, length);
    r->function.labels = map_new(r->cx->arena);
    r->function.count = 0;
    r->function.frame = false;
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

static size_t without_comment(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((line[i] == '#' && (i + 1 == length || isspace((unsigned char)line[i + 1]) || isupper((unsigned char)line[i + 1]))) ||
            (line[i] == '/' && i + 1 < length && line[i + 1] == '/')) {
            length = i;
            break;
        }
    while (length && isspace((unsigned char)line[length - 1]))
        length--;
    return length;
}

static void take_line(Reader *r, const char *line, size_t length)
{
    length = without_comment(line, length);
    if (!length)
        return;
    Function *f = &r->function;
    if (!isspace((unsigned char)line[0])) {
        bool local = line[0] == '.' || isdigit((unsigned char)line[0]);
        if (line[length - 1] != ':')
            return;
        if (!local)
            begin_function(r, line, length - 1);
        else if (f->name)
            map_set(&f->labels, arena_copy(r->cx->arena, line, length - 1), (void *)(uintptr_t)(f->count + 1));
        return;
    }
    while (length && isspace((unsigned char)*line)) {
        line++;
        length--;
    }
    if (!f->name || *line == '.' || *line == '#')
        return;
    Instruction i = {line, length};
    f->frame |= starts(&i, "mov") && holds(&i, "%rsp, %rbp");
    f->code = arena_room(r->cx->arena, f->code, f->count, &f->capacity, sizeof *f->code);
    f->code[f->count++] = i;
}

HotLoop *hot_loops_of_text(Context *cx, const char *text, size_t length, int *count)
{
    Reader r = {.cx = cx};
    for (size_t at = 0; at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t n = end ? (size_t)(end - text) - at : length - at;
        take_line(&r, text + at, n);
        at += n + 1;
    }
    if (r.function.name)
        end_function(&r);
    *count = (int)r.count;
    return r.loops;
}
