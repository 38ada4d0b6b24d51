/* attar: the command. Finds the verb and runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef struct Verb {
    const char *name, *summary; /* as written here: `_` stands for the `-` of the command line */
    int (*run)(int argc, char **argv);
} Verb;

static const Verb verbs[] = {
#define VERB_ROW(name, summary) {#name, summary, verb_##name},
    VERBS(VERB_ROW)
#undef VERB_ROW
};
enum { VERB_COUNT = sizeof verbs / sizeof *verbs };

enum { LONGEST_VERB = 16 };

/* The name as a user types it. */
static const char *verb_name(const Verb *v, char out[LONGEST_VERB])
{
    snprintf(out, LONGEST_VERB, "%s", v->name);
    for (char *c = out; *c; c++)
        *c = *c == '_' ? '-' : *c;
    return out;
}

static const Verb *find_verb(const char *name)
{
    char known[LONGEST_VERB];
    for (int i = 0; i < VERB_COUNT; i++)
        if (!strcmp(verb_name(&verbs[i], known), name))
            return &verbs[i];
    return NULL;
}

static void print_help(FILE *to)
{
    fputs("Attar compiles transformers: a model file of about forty lines becomes vectorised C, machine code, and "
          "output.\n\n"
          "    attar generate models/llama.attar --weights models/austen --prompt \"It is a truth\" --steps 300\n"
          "    attar verify models/bert.attar --weights DIR --golden golden.safetensors\n"
          "    attar emit models/bert.attar --weights DIR\n\n"
          "usage: attar VERB [OPTION...]          attar VERB --help for its options and examples\n\n",
          to);
    char name[LONGEST_VERB];
    for (int i = 0; i < VERB_COUNT; i++)
        fprintf(to, "    %-12s %s\n", verb_name(&verbs[i], name), verbs[i].summary);
    fputs("\nexit status: 0 good, 1 the model is wrong or a comparison failed, 2 usage, 3 weights or input file,\n"
          "4 environment (no compiler, no memory, no space), 70 a fault of attar itself\n",
          to);
}

static int unknown_verb(const char *name)
{
    const char *names[VERB_COUNT];
    char known[VERB_COUNT][LONGEST_VERB];
    for (int i = 0; i < VERB_COUNT; i++)
        names[i] = verb_name(&verbs[i], known[i]);
    const char *near = name_nearest(name, names, VERB_COUNT);
    fprintf(stderr, "attar: no verb is called `%s`", name);
    if (near)
        fprintf(stderr, "; did you mean `%s`?", near);
    fputs("\n`attar help` lists them all\n", stderr);
    return EXIT_USAGE;
}

int verb_help(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stdout);
        return EXIT_GOOD;
    }
    const Verb *verb = find_verb(argv[1]);
    if (!verb || verb->run == verb_help)
        return verb ? (print_help(stdout), EXIT_GOOD) : unknown_verb(argv[1]);
    char *words[] = {argv[1], "--help", NULL};
    return verb->run(2, words);
}

/* What was written to stdout has to have arrived: a full disk is not a success. */
static int flush_results(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    if (status)
        return status;
    perror("attar: cannot write the results to standard output");
    return EXIT_ENVIRONMENT;
}

/* The command as a shell would take it: kept before parsing, which moves and cuts the words. NULL without memory. */
static char *command_line(int argc, char **argv)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    for (int i = 0; f && i < argc; i++)
        fprintf(f, strpbrk(argv[i], " \t\n'\"$\\*?&|;()<>") ? " '%s'" : " %s", argv[i]);
    if (f)
        fclose(f);
    return text;
}

static void ask_for_report(const char *command)
{
    fputs("\nThis is a fault in attar, not in your model or your files. Please report it with the message above and this "
          "command:\n   ",
          stderr);
    fprintf(stderr, "%s\n", command ? command : "");
}

int main(int argc, char **argv)
{
    argp_err_exit_status = EXIT_USAGE;
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        puts("attar " ATTAR_VERSION);
        return flush_results(EXIT_GOOD);
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help(stdout);
        return flush_results(EXIT_GOOD);
    }
    const Verb *verb = find_verb(argv[1]);
    if (!verb)
        return unknown_verb(argv[1]);
    char *command = command_line(argc, argv);
    int status = flush_results(verb->run(argc - 1, argv + 1));
    if (status == EXIT_INTERNAL)
        ask_for_report(command);
    free(command);
    return status;
}
