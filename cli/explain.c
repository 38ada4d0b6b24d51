/* attar explain: the page behind an error code or a reason in a report. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

typedef struct ExplainOptions {
    Options o;
    const char *code;
} ExplainOptions;

static const char doc[] = "Explains an error code or a reason of `attar report`; lists all of them without one.\n\n"
                          "  attar explain E0301\n"
                          "  attar explain COST_WORSE\n"
                          "  attar explain";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    ExplainOptions *e = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &e->o); return 0;
    case ARGP_KEY_ARG:
        if (e->code)
            argp_error(state, "one code at a time");
        e->code = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {NULL, parse, "[CODE]", doc, groups, NULL, NULL};

static void list(void)
{
    for (size_t i = 0; i < diag_code_count; i++)
        printf("%-20s %s\n", diag_codes[i].code, diag_codes[i].title);
    for (int i = 0; i < REMARK_CODE_COUNT; i++)
        printf("%-20s %s\n", remark_code_name((RemarkCode)i), remark_code_sentence((RemarkCode)i));
}

static bool explain_remark(const char *code)
{
    for (int i = 0; i < REMARK_CODE_COUNT; i++)
        if (!strcasecmp(remark_code_name((RemarkCode)i), code)) {
            printf("%s: %s\n\n%s\n", remark_code_name((RemarkCode)i), remark_code_sentence((RemarkCode)i),
                   remark_code_page((RemarkCode)i));
            return true;
        }
    return false;
}

static int unknown(const char *code)
{
    const char *names[512];
    size_t count = 0;
    for (size_t i = 0; i < diag_code_count && count < 512; i++)
        names[count++] = diag_codes[i].code;
    for (int i = 0; i < REMARK_CODE_COUNT && count < 512; i++)
        names[count++] = remark_code_name((RemarkCode)i);
    const char *near = name_nearest(code, names, count);
    tool_note("attar explain: there is no code `%s`%s%s%s", code, near ? "; did you mean `" : "", near ? near : "",
              near ? "`?" : "");
    return EXIT_USAGE;
}

int verb_explain(int argc, char **argv)
{
    ExplainOptions e = {0};
    options_parse(&argp, argc, argv, &e);
    if (!e.code) {
        list();
        return EXIT_GOOD;
    }
    char upper[64];
    snprintf(upper, sizeof upper, "%s", e.code);
    for (char *c = upper; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    const CodePage *page = diag_code(upper);
    if (!page)
        return explain_remark(upper) ? EXIT_GOOD : unknown(e.code);
    printf("%s: %s\n\n%s\n", page->code, page->title, page->page);
    return EXIT_GOOD;
}
