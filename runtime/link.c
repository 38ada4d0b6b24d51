/* The linker of compiled units.
 *
 * All objects lie in one mapping, so that they reach each other: first what is run, behind it what is read, at last
 * what is written. A table has three things for each symbol of each object: its address, a slot that holds the
 * address (what position-independent code loads), and a stub that jumps there (what calls of the process's functions
 * go through, which may be too far away). Frames for unwinding are left out: nothing in a kernel throws, and nothing
 * unwinds it. */
#include "runtime/link.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/relocate.h"

enum { KINDS = 3 }; /* of memory: run, read, written */
enum { RUN, READ, WRITTEN };
#define MAX_BYTES ((uint64_t)1 << 30)

typedef struct Section {
    Elf64_Shdr h;
    int kind;    /* -1: it is not loaded */
    uint64_t at; /* in its kind */
} Section;

typedef struct Symbol {
    Elf64_Sym s;
    const char *name;
    uint64_t address;
} Symbol;

typedef struct Object {
    const unsigned char *data;
    Section *sections;
    size_t n_sections, n_symbols, first; /* `first` symbol of it in the table of all */
    Symbol *symbols;
} Object;

typedef struct Named {
    char *name;
    void *address;
} Named;

struct Code {
    unsigned char *memory;
    size_t bytes;
    Named *names; /* what is defined for all */
    size_t n_names;
};

typedef struct Linker {
    Code *code;
    Object *objects;
    int n;
    size_t n_symbols;
    uint64_t size[KINDS], begin[KINDS]; /* in the mapping */
    uint64_t stubs, slots;              /* in their kinds: RUN and READ */
    size_t page;
    char *message;
} Linker;

static bool fail(Linker *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(l->message, LINK_MESSAGE, format, args);
    va_end(args);
    return false;
}

/* ---- reading an object ------------------------------------------------------------------------------------------- */

static const char *text_at(const Object *o, size_t strings, uint64_t offset)
{
    const Elf64_Shdr *h = strings < o->n_sections ? &o->sections[strings].h : NULL;
    if (!h || h->sh_type != SHT_STRTAB || !h->sh_size || o->data[h->sh_offset + h->sh_size - 1] || offset >= h->sh_size)
        return NULL;
    return (const char *)o->data + h->sh_offset + offset;
}

/* Room in the memory of its kind; frames, notes and debugging have none. */
static bool place_section(Linker *l, const Object *o, size_t names, Section *s)
{
    const char *name = text_at(o, names, s->h.sh_name);
    s->kind = -1;
    if (!(s->h.sh_flags & SHF_ALLOC) || !s->h.sh_size || s->h.sh_type == SHT_NOTE || !name ||
        !strcmp(name, ".eh_frame"))
        return true;
    bool known = s->h.sh_type == SHT_PROGBITS || s->h.sh_type == SHT_NOBITS;
    if (!known || s->h.sh_flags & SHF_TLS || (s->h.sh_flags & SHF_EXECINSTR && s->h.sh_flags & SHF_WRITE))
        return fail(l, "it has a section `%.40s` of an unknown kind", name);
    s->kind = s->h.sh_flags & SHF_EXECINSTR ? RUN : s->h.sh_flags & SHF_WRITE ? WRITTEN : READ;
    uint64_t align = s->h.sh_addralign ? s->h.sh_addralign : 1, *size = &l->size[s->kind];
    if (align & (align - 1) || align > l->page || s->h.sh_size > MAX_BYTES)
        return fail(l, "its section `%.40s` has a size or an alignment that cannot be", name);
    s->at = (*size + align - 1) & ~(align - 1);
    *size = s->at + s->h.sh_size;
    return *size <= MAX_BYTES || fail(l, "it is too large");
}

static bool read_symbols(Linker *l, Object *o, const Elf64_Shdr *table)
{
    o->n_symbols = table->sh_size / sizeof(Elf64_Sym);
    o->symbols = calloc(o->n_symbols + 1, sizeof *o->symbols);
    if (!o->symbols)
        return fail(l, "there is not enough memory");
    for (size_t i = 0; i < o->n_symbols; i++) {
        Symbol *y = &o->symbols[i];
        memcpy(&y->s, o->data + table->sh_offset + i * sizeof y->s, sizeof y->s);
        y->name = text_at(o, table->sh_link, y->s.st_name);
        if (!y->name)
            return fail(l, "a symbol has no name");
    }
    return true;
}

static bool read_object(Linker *l, const LinkObject *from, Object *o)
{
    Elf64_Ehdr h;
    memcpy(&h, from->data, sizeof h);
    if (h.e_machine != RELOCATE_MACHINE || h.e_ident[EI_DATA] != ELFDATA2LSB)
        return fail(l, "it is for another machine (%u)", h.e_machine);
    o->data = from->data;
    o->n_sections = h.e_shnum;
    o->sections = calloc(o->n_sections, sizeof *o->sections);
    if (!o->sections)
        return fail(l, "there is not enough memory");
    for (size_t i = 0; i < o->n_sections; i++)
        memcpy(&o->sections[i].h, o->data + h.e_shoff + i * sizeof o->sections[i].h, sizeof o->sections[i].h);
    for (size_t i = 0; i < o->n_sections; i++) {
        Section *s = &o->sections[i];
        if (!place_section(l, o, h.e_shstrndx, s))
            return false;
        if (s->h.sh_type == SHT_SYMTAB && (o->symbols || !read_symbols(l, o, &s->h)))
            return o->symbols ? fail(l, "it has two tables of symbols") : false;
    }
    o->first = l->n_symbols;
    l->n_symbols += o->n_symbols;
    return true;
}

/* ---- the memory -------------------------------------------------------------------------------------------------- */

static bool map_all(Linker *l)
{
    l->stubs = (l->size[RUN] + 15) & ~(uint64_t)15;
    l->size[RUN] = l->stubs + l->n_symbols * STUB_BYTES;
    l->slots = (l->size[READ] + 7) & ~(uint64_t)7;
    l->size[READ] = l->slots + l->n_symbols * sizeof(uint64_t);
    uint64_t bytes = 0;
    for (int k = 0; k < KINDS; k++) {
        l->begin[k] = bytes;
        bytes += (l->size[k] + l->page - 1) & ~(uint64_t)(l->page - 1);
    }
    void *got = mmap(NULL, bytes ? bytes : l->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED)
        return fail(l, "there is not enough memory");
    l->code->memory = got;
    l->code->bytes = bytes ? bytes : l->page;
    return true;
}

static unsigned char *place_of(const Linker *l, const Section *s)
{
    return l->code->memory + l->begin[s->kind] + s->at;
}

static void copy_sections(const Linker *l, const Object *o)
{
    for (size_t i = 0; i < o->n_sections; i++) {
        const Section *s = &o->sections[i];
        if (s->kind >= 0 && s->h.sh_type != SHT_NOBITS)
            memcpy(place_of(l, s), o->data + s->h.sh_offset, s->h.sh_size);
    }
}

static bool protect(Linker *l)
{
    static const int how[KINDS] = {PROT_READ | PROT_EXEC, PROT_READ, PROT_READ | PROT_WRITE};
    char *from = (char *)l->code->memory;
    __builtin___clear_cache(from, from + l->size[RUN]);
    for (int k = 0; k < KINDS; k++) {
        uint64_t end = k + 1 < KINDS ? l->begin[k + 1] : l->code->bytes;
        if (end > l->begin[k] && mprotect(from + l->begin[k], end - l->begin[k], how[k]) != 0)
            return fail(l, "this system does not let a process make code");
    }
    return true;
}

/* ---- symbols ----------------------------------------------------------------------------------------------------- */

static bool is_global(const Symbol *y)
{
    int bind = ELF64_ST_BIND(y->s.st_info);
    return (bind == STB_GLOBAL || bind == STB_WEAK) && y->s.st_shndx != SHN_UNDEF && y->name[0];
}

void *code_symbol(const Code *c, const char *name)
{
    for (size_t i = 0; i < c->n_names; i++)
        if (!strcmp(c->names[i].name, name))
            return c->names[i].address;
    return NULL;
}

/* Where what the object defines has come to lie; global names are noted. */
static bool define(Linker *l, Object *o)
{
    for (size_t i = 0; i < o->n_symbols; i++) {
        Symbol *y = &o->symbols[i];
        size_t number = y->s.st_shndx;
        if (number == SHN_UNDEF || number == SHN_ABS || ELF64_ST_TYPE(y->s.st_info) == STT_FILE) {
            y->address = number == SHN_ABS ? y->s.st_value : 0;
            continue;
        }
        if (number >= o->n_sections || ELF64_ST_TYPE(y->s.st_info) == STT_TLS ||
            ELF64_ST_TYPE(y->s.st_info) == STT_GNU_IFUNC)
            return fail(l, "its symbol `%.80s` is of an unknown kind", y->name);
        const Section *s = &o->sections[number];
        if (s->kind < 0)
            continue; /* of frames and notes, which are not there */
        if (y->s.st_value > s->h.sh_size)
            return fail(l, "its symbol `%.80s` lies outside of its section", y->name);
        y->address = (uint64_t)(uintptr_t)place_of(l, s) + y->s.st_value;
        if (!is_global(y))
            continue;
        if (code_symbol(l->code, y->name))
            return fail(l, "the symbol `%.80s` is defined twice", y->name);
        Named *n = &l->code->names[l->code->n_names];
        n->name = strdup(y->name);
        if (!n->name)
            return fail(l, "there is not enough memory");
        n->address = (void *)(uintptr_t)y->address;
        l->code->n_names++;
    }
    return true;
}

/* Of another object, or of the process. */
static bool find_undefined(Linker *l, Object *o)
{
    for (size_t i = 1; i < o->n_symbols; i++) {
        Symbol *y = &o->symbols[i];
        if (y->s.st_shndx != SHN_UNDEF || !y->name[0])
            continue;
        void *address = code_symbol(l->code, y->name);
        if (!address)
            address = dlsym(RTLD_DEFAULT, y->name);
        if (!address && ELF64_ST_BIND(y->s.st_info) != STB_WEAK)
            return fail(l, "the symbol `%.80s` is not defined", y->name);
        y->address = (uint64_t)(uintptr_t)address;
    }
    return true;
}

static void fill_tables(const Linker *l, const Object *o)
{
    for (size_t i = 0; i < o->n_symbols; i++) {
        relocate_stub(l->code->memory + l->begin[RUN] + l->stubs + (o->first + i) * STUB_BYTES, o->symbols[i].address);
        memcpy(l->code->memory + l->begin[READ] + l->slots + (o->first + i) * sizeof(uint64_t), &o->symbols[i].address,
               sizeof(uint64_t));
    }
}

/* ---- relocations ------------------------------------------------------------------------------------------------- */

static bool take_relocation(Linker *l, const Object *o, const Section *to, const Elf64_Rela *from, Relocation *r)
{
    size_t number = ELF64_R_SYM(from->r_info);
    if (number >= o->n_symbols || from->r_offset >= to->h.sh_size || to->h.sh_type == SHT_NOBITS)
        return fail(l, "a relocation lies outside of its section or names no symbol");
    const Symbol *y = &o->symbols[number];
    bool loaded = y->s.st_shndx >= o->n_sections || y->s.st_shndx == SHN_UNDEF || o->sections[y->s.st_shndx].kind >= 0;
    if (!loaded)
        return fail(l, "a relocation names a section that is not loaded");
    unsigned char *memory = l->code->memory;
    *r = (Relocation){
        .at = place_of(l, to) + from->r_offset,
        .room = to->h.sh_size - from->r_offset,
        .type = (uint32_t)ELF64_R_TYPE(from->r_info),
        .symbol = y->address,
        .addend = from->r_addend,
        .slot = (uint64_t)(uintptr_t)(memory + l->begin[READ] + l->slots + (o->first + number) * sizeof(uint64_t)),
        .stub = (uint64_t)(uintptr_t)(memory + l->begin[RUN] + l->stubs + (o->first + number) * STUB_BYTES)};
    return true;
}

static Elf64_Rela rela_at(const Object *o, const Elf64_Shdr *table, size_t i)
{
    Elf64_Rela r;
    memcpy(&r, o->data + table->sh_offset + i * sizeof r, sizeof r);
    return r;
}

/* The relocation of the section that lies at the address which `low` names. */
static bool find_upper(Linker *l, const Object *o, const Section *to, const Elf64_Shdr *table, const Relocation *low,
                       Relocation *upper)
{
    for (size_t i = 0; i < table->sh_size / sizeof(Elf64_Rela); i++) {
        Elf64_Rela r = rela_at(o, table, i);
        if ((uint64_t)(uintptr_t)place_of(l, to) + r.r_offset != low->symbol || !take_relocation(l, o, to, &r, upper))
            continue;
        if (relocate_is_upper(upper->type))
            return true;
    }
    return false;
}

static bool relocate_section(Linker *l, const Object *o, const Elf64_Shdr *table)
{
    if (table->sh_info >= o->n_sections || o->sections[table->sh_info].kind < 0)
        return true;
    const Section *to = &o->sections[table->sh_info];
    if (table->sh_type == SHT_REL)
        return fail(l, "it has relocations without addends");
    for (size_t i = 0; i < table->sh_size / sizeof(Elf64_Rela); i++) {
        Elf64_Rela from = rela_at(o, table, i);
        Relocation r, upper;
        if (!take_relocation(l, o, to, &from, &r))
            return false;
        if (relocate_needs_upper(r.type) && find_upper(l, o, to, table, &r, &upper))
            r.upper = &upper;
        const char *why = relocate(&r);
        if (why)
            return fail(l, "%s (relocation %u of machine %d)", why, r.type, RELOCATE_MACHINE);
    }
    return true;
}

static bool relocate_object(Linker *l, const Object *o)
{
    for (size_t i = 0; i < o->n_sections; i++) {
        const Elf64_Shdr *h = &o->sections[i].h;
        if ((h->sh_type == SHT_RELA || h->sh_type == SHT_REL) && !relocate_section(l, o, h))
            return false;
    }
    return true;
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

static bool read_all(Linker *l, const LinkObject *objects)
{
    for (int i = 0; i < l->n; i++)
        if (!read_object(l, &objects[i], &l->objects[i]))
            return false;
    l->code->names = calloc(l->n_symbols + 1, sizeof *l->code->names);
    return l->code->names ? map_all(l) : fail(l, "there is not enough memory");
}

static bool link_all(Linker *l)
{
    for (int i = 0; i < l->n; i++) {
        copy_sections(l, &l->objects[i]);
        if (!define(l, &l->objects[i]))
            return false;
    }
    for (int i = 0; i < l->n; i++) {
        if (!find_undefined(l, &l->objects[i]))
            return false;
        fill_tables(l, &l->objects[i]);
        if (!relocate_object(l, &l->objects[i]))
            return false;
    }
    return protect(l);
}

Code *code_link(const LinkObject *objects, int n, char message[LINK_MESSAGE])
{
    Linker l = {.code = calloc(1, sizeof *l.code), .n = n, .page = (size_t)sysconf(_SC_PAGESIZE), .message = message};
    l.objects = calloc((size_t)n + 1, sizeof *l.objects);
    bool good = l.code && l.objects ? read_all(&l, objects) && link_all(&l) : fail(&l, "there is not enough memory");
    for (int i = 0; l.objects && i < n; i++) {
        free(l.objects[i].sections);
        free(l.objects[i].symbols);
    }
    free(l.objects);
    if (good)
        return l.code;
    code_free(l.code);
    return NULL;
}

void code_free(Code *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_names; i++)
        free(c->names[i].name);
    free(c->names);
    if (c->memory)
        munmap(c->memory, c->bytes);
    free(c);
}
