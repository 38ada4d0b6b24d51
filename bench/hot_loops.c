/* Prints the inner loops of kernels in assembly (.s, of any compiler and target) or objects (.o, of this machine's) that touch the
 * stack: hot_loops [--all] FILE...; the exit status is 1 if a sum of any loop did not find a register. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/disassemble.h"

static unsigned char *read_whole(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    size_t room = 1 << 20, n;
    unsigned char *data = malloc(room);
    for (*bytes = 0; f && data && (n = fread(data + *bytes, 1, room - *bytes, f)) > 0;)
        if ((*bytes += n) == room)
            data = realloc(data, room *= 2);
    if (f)
        fclose(f);
    return f ? data : NULL;
}

static int print_loops(const char *path, bool all)
{
    Arena arena = {0};
    Diags diags = {.arena = &arena};
    Context cx = {.arena = &arena, .diags = &diags};
    size_t bytes;
    unsigned char *data = read_whole(path, &bytes);
    HotLoop *loops = NULL;
    int count = 0, spilled = 0;
    bool object = data && bytes > 4 && !memcmp(data, "\177ELF", 4);
    if (data && !object)
        loops = hot_loops_of_text(&cx, (const char *)data, bytes, &count);
    if (!data || (object && !hot_loops_of_object(&cx, data, bytes, &loops, &count))) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(2);
    }
    for (int i = 0; i < count; i++) {
        const HotLoop *l = &loops[i];
        if (all || l->stack_reads || l->stack_writes)
            printf("%-28s %4d instructions %3d multiply-adds %3d reads and %3d writes of the stack\n", l->function, l->instructions,
                   l->multiply_adds, l->stack_reads, l->stack_writes);
        spilled += l->stack_writes > 0;
    }
    printf("%s: %d loops that multiply and add, %d of them with sums on the stack\n", path, count, spilled);
    free(data);
    arena_free(&arena);
    return spilled;
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && !strcmp(argv[1], "--all");
    int spilled = 0;
    if (argc < 2 + all) {
        fprintf(stderr, "usage: hot_loops [--all] FILE...\n");
        return 2;
    }
    for (int i = 1 + all; i < argc; i++)
        spilled += print_loops(argv[i], all);
    return spilled > 0;
}
