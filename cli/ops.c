/* attar ops: the operators of the model language. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

typedef struct OpsOptions {
    Options o;
    const char *name;
} OpsOptions;

static const char doc[] = "Lists the operators of the model language, or shows one.\n\n"
                          "  attar ops\n"
                          "  attar ops attention";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    OpsOptions *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &p->o); return 0;
    case ARGP_KEY_ARG:
        if (p->name)
            argp_error(state, "one operator at a time");
        p->name = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {NULL, parse, "[NAME]", doc, groups, NULL, NULL};

static int show_one(Tool *t, const OperatorHelp *all, int count, const char *name)
{
    const char **names = arena_array(&t->c.arena, (size_t)count, sizeof *names);
    bool found = false;
    for (int i = 0; i < count; i++) {
        names[i] = all[i].name;
        if (strcmp(all[i].name, name))
            continue;
        printf("%s\n    %s\n    %s\n", all[i].signature, all[i].sentence,
               all[i].composite ? "written in the language itself, in std.attar" : "a primitive");
        found = true;
    }
    if (found)
        return EXIT_GOOD;
    const char *near = name_nearest(name, names, (size_t)count);
    tool_note("attar ops: no operator is called `%s`%s%s%s", name, near ? "; did you mean `" : "", near ? near : "",
              near ? "`?" : "");
    return EXIT_USAGE;
}

static void show_all(const OperatorHelp *all, int count, bool composite)
{
    printf("%s\n", composite ? "\ncomposite operators (frontend/std.attar)" : "primitive operators");
    for (int i = 0; i < count; i++)
        if (all[i].composite == composite)
            printf("  %-14s %-58s %s\n", all[i].name, all[i].signature, all[i].sentence);
}

int verb_ops(int argc, char **argv)
{
    OpsOptions p = {0};
    options_parse(&argp, argc, argv, &p);
    Tool t;
    tool_begin(&t, &p.o);
    int count, status = EXIT_GOOD;
    const OperatorHelp *all = frontend_operators(&t.c.cx, &count);
    if (p.name) {
        status = show_one(&t, all, count, p.name);
    } else {
        show_all(all, count, false);
        show_all(all, count, true);
    }
    int end = tool_end(&t, true);
    return end ? end : status;
}
