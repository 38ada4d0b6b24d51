/* attar emit: the C file that a model becomes. */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] = "Prints the C that a model becomes: one function a kernel, in the model's words.\n\n"
                          "  attar emit models/bert.attar --weights DIR > bert.c\n"
                          "  attar emit models/bert.attar --weights DIR --target aarch64 > bert.c\n"
                          "  attar emit saved.ir        of IR text";

static const struct argp_child groups[] = {
    {&model_group, 0, NULL, 0}, {&build_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {NULL, options_only, "MODEL", doc, groups, NULL, NULL};

int verb_emit(int argc, char **argv)
{
    Options o = {0};
    options_parse(&argp, argc, argv, &o);
    Tool t;
    tool_begin(&t, &o);
    bool good = tool_load(&t) && compile_passes(&t.c, &o.compile) && compile_emit(&t.c, &o.compile);
    if (good)
        fwrite(t.c.emitted.text, 1, t.c.emitted.length, stdout);
    return tool_end(&t, good);
}
