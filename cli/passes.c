/* attar passes: the pipeline with the reason for each place. */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] = "Lists the passes in the order in which they run.\n\n"
                          "  attar passes\n\n"
                          "--pass NAME=off leaves one out on every verb that compiles. exact: the same in real arithmetic;\n"
                          "exact-if: the same under a condition that the pass checks; approx: always reported.";

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {NULL, options_only, NULL, doc, groups, NULL, NULL};

static const char *kind_name(PassKind kind)
{
    static const char *const names[] = {[PASS_EXACT] = "exact", [PASS_EXACT_IF] = "exact-if", [PASS_APPROX] = "approx"};
    return names[kind];
}

int verb_passes(int argc, char **argv)
{
    Options o = {0};
    options_parse(&argp, argc, argv, &o);
    for (int i = 0; i < pipeline_length; i++) {
        const PassInfo *p = &pass_info[pipeline[i].id];
        printf("%2d  %-17s %-8s %s\n%31s here: %s\n", i + 1, p->name, kind_name(p->kind), p->sentence, "",
               pipeline[i].reason);
    }
    return EXIT_GOOD;
}
