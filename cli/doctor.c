/* attar doctor: what this machine offers, for people and for bug reports. Exit status 4 if models cannot be compiled
 * here. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const char doc[] =
    "Says what Attar finds on this machine: compiler, processor, memory, cache directory, versions.\n\n"
    "  attar doctor";

static const struct argp_child groups[] = {{&build_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {NULL, options_only, NULL, doc, groups, NULL, NULL};

/* The value of the first line "KEY : VALUE" of a /proc file; empty if there is none. */
static void proc_value(const char *path, const char *key, char *out, size_t size)
{
    out[0] = 0;
    FILE *f = fopen(path, "r");
    char line[512];
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)))
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, size, "%s", colon);
    }
    if (f)
        fclose(f);
}

static bool examine(Tool *t)
{
    Compilation *c = &t->c;
    const char *path, *version, *cache;
    char value[512];
    printf("attar      " ATTAR_VERSION "\n");
    bool compiler = jit_compiler(&c->cx, t->o->compile.jit.clang, &path, &version);
    if (compiler)
        printf("compiler   %s: %s\n", path, version);
    else
        printf("compiler   none that can be used\n");
    proc_value("/proc/cpuinfo", "model name", value, sizeof value);
    const Target *target = target_native();
    printf("processor  %s, %d thread%s, target %s (%d floats in a vector)\n", *value ? value : "unknown", pool_cpus(),
           pool_cpus() == 1 ? "" : "s", target->name, target->lanes);
    proc_value("/proc/meminfo", "MemAvailable", value, sizeof value);
    double total = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    printf("memory     %s, %s available\n", tool_bytes(&c->arena, total), *value ? value : "unknown");
    bool cached = cache_directory(&c->cx, t->o->compile.jit.cache_dir, &cache);
    if (cached) {
        int count;
        CacheEntry *entries = cache_list(&c->cx, cache, &count);
        double bytes = 0;
        for (int i = 0; i < count; i++)
            bytes += (double)entries[i].bytes;
        printf("cache      %s: %d entr%s, %s\n", cache, count, count == 1 ? "y" : "ies", tool_bytes(&c->arena, bytes));
    } else {
        printf("cache      no usable directory: every start compiles anew\n");
    }
    printf("libraries  jansson %s, glibc, LLVM as above\n", JANSSON_VERSION);
    printf("%s\n", compiler ? "models can be compiled and run here"
                            : "models cannot be compiled here; check, ir and inspect work");
    return compiler;
}

int verb_doctor(int argc, char **argv)
{
    Options o = {0};
    options_parse(&argp, argc, argv, &o);
    Tool t;
    tool_begin(&t, &o);
    bool good = examine(&t);
    int status = tool_end(&t, good);
    return status == EXIT_MODEL ? EXIT_ENVIRONMENT : status;
}
