/* attar cache: the compiled objects on disk. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

typedef struct CacheOptions {
    Options o;
    const char *action;
    int64_t keep;
} CacheOptions;

static const char doc[] = "Lists, verifies or prunes the compiled objects kept on disk.\n\n"
                          "  attar cache list\n"
                          "  attar cache verify               exit status 4 if an entry is damaged (a damaged entry is "
                          "recompiled when it is needed)\n"
                          "  attar cache prune                removes all of them\n"
                          "  attar cache prune --keep 100     keeps the 100 MB used last";

static const struct argp_option options[] = {
    {"keep", 'k', "MEGABYTES", 0, "how much prune leaves (0)", 0},
    {"cache-dir", 'd', "DIR", 0, "where compiled objects are kept", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    CacheOptions *k = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &k->o); return 0;
    case 'k': k->keep = options_integer(state, "--keep", arg, 0, INT32_MAX); return 0;
    case 'd': k->o.compile.jit.cache_dir = arg; return 0;
    case ARGP_KEY_ARG:
        if (k->action || (strcmp(arg, "list") && strcmp(arg, "verify") && strcmp(arg, "prune")))
            argp_error(state, "list, verify or prune, not `%s`", arg);
        k->action = arg;
        return 0;
    case ARGP_KEY_END:
        if (!k->action)
            argp_error(state, "what to do with it: list, verify or prune?");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "list|verify|prune", doc, groups, NULL, NULL};

static void print_entry(Tool *t, const CacheEntry *e)
{
    char when[32] = "";
    time_t seconds = (time_t)e->mtime;
    struct tm parts;
    if (localtime_r(&seconds, &parts))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", &parts);
    printf("%s  %8s  %s%s\n", e->key, tool_bytes(&t->c.arena, (double)e->bytes), when, e->sound ? "" : "  damaged");
}

static int act(Tool *t, const CacheOptions *k)
{
    const char *dir;
    if (!cache_directory(&t->c.cx, k->o.compile.jit.cache_dir, &dir))
        return EXIT_ENVIRONMENT;
    if (*k->action == 'p') {
        printf("%d entries removed from %s\n", cache_prune(&t->c.cx, dir, (uint64_t)k->keep * 1000000), dir);
        return EXIT_GOOD;
    }
    int count, damaged = 0;
    double bytes = 0;
    CacheEntry *entries = cache_list(&t->c.cx, dir, &count);
    for (int i = 0; i < count; i++) {
        bytes += (double)entries[i].bytes;
        damaged += !entries[i].sound;
        if (*k->action == 'l' || !entries[i].sound)
            print_entry(t, &entries[i]);
    }
    printf("%s: %d entries, %s, %d damaged\n", dir, count, tool_bytes(&t->c.arena, bytes), damaged);
    return *k->action == 'v' && damaged ? EXIT_ENVIRONMENT : EXIT_GOOD;
}

int verb_cache(int argc, char **argv)
{
    CacheOptions k = {0};
    options_parse(&argp, argc, argv, &k);
    Tool t;
    tool_begin(&t, &k.o);
    int status = act(&t, &k);
    int end = tool_end(&t, true);
    return end ? end : status;
}
