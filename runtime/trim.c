/* Trimming: linking one object touches some 40 MB of a compiler library that nobody needs while the model runs. The pages of its read-only,
 * executable segments are the file's own bytes, so dropping them loses nothing. */
#include "runtime/trim.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_code(const ElfW(Phdr) * p)
{
    return p->p_type == PT_LOAD && (p->p_flags & PF_X) && !(p->p_flags & PF_W);
}

/* Text relocations would make private copies of code pages. */
static int has_text_relocations(const struct dl_phdr_info *info)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        for (const ElfW(Dyn) *d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr); d->d_tag != DT_NULL; d++)
            if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
                return 1;
    }
    return 0;
}

static int trim_object(struct dl_phdr_info *info, size_t size, void *state)
{
    (void)size;
    uintptr_t address = (uintptr_t)state, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + p->p_vaddr, end = begin + p->p_filesz;
        if (!is_code(p) || address < begin || address >= end)
            continue;
        begin = (begin + page - 1) / page * page;
        end = end / page * page;
        if (end > begin && !has_text_relocations(info))
            madvise((void *)begin, end - begin, MADV_DONTNEED);
        return 1;
    }
    return 0;
}

void trim_library_code(const void *address)
{
    dl_iterate_phdr(trim_object, (void *)(uintptr_t)address);
}
