/* attar inspect: what is in a checkpoint. Numbered layers that hold the same tensors are folded into one line:
 * layers.{0..5}. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/adapters.h"
#include "cli/cli.h"

typedef struct InspectOptions {
    Options o;
    const char *path, *weights; /* weights: of an adapter's base */
} InspectOptions;

static const char doc[] =
    "Shows the tensors of a safetensors file, an index of shards, or a directory with either, as a folded tree; of an adapter its "
    "modules, ranks, scales and the size of its updates.\n\n"
    "  attar inspect model.safetensors\n"
    "  attar inspect models/austen\n"
    "  attar inspect ADAPTER --weights BASE        is it for these weights, and how large are its updates?";

static const struct argp_option options[] = {
    {"weights", 'w', "PATH", 0, "of an adapter: the checkpoint that it is for", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    InspectOptions *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &p->o); return 0;
    case 'w': p->weights = arg; return 0;
    case ARGP_KEY_ARG:
        if (p->path)
            argp_error(state, "one file at a time");
        p->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!p->path)
            argp_error(state, "which file?");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "FILE", doc, groups, NULL, NULL};

/* ---- folding: tensors whose names differ in numbers alone, with equal types, are one row ------------------------- */

enum { MAX_NUMBERS = 4 };

typedef struct Row {
    const char *pattern; /* numbers as components are written `#` */
    const char *type;
    int64_t tensors;
    int numbers;
    int64_t low[MAX_NUMBERS], high[MAX_NUMBERS];
    const char *path; /* with ranges: model.layers.{0..5}.mlp */
} Row;

typedef struct Tree {
    Arena *arena;
    Row *rows;
    size_t count, capacity;
    Map index;
} Tree;

static bool is_number(const char *word, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isdigit((unsigned char)word[i]))
            return false;
    return length > 0 && length < 10;
}

/* Splits `name` at its points; numbers go to `found`, at most MAX_NUMBERS of them. */
static const char *pattern_of(Arena *a, const char *name, int64_t *found, int *count)
{
    Text out = text_new(a);
    *count = 0;
    for (const char *word = name;; word++) {
        size_t length = strcspn(word, ".");
        if (is_number(word, length) && *count < MAX_NUMBERS) {
            int64_t value = 0;
            for (size_t i = 0; i < length; i++)
                value = value * 10 + word[i] - '0';
            found[(*count)++] = value;
            text_char(&out, '#');
        } else {
            text_put(&out, word, length);
        }
        word += length;
        if (!*word)
            return out.data;
        text_char(&out, '.');
    }
}

static void fold(Tree *tree, const HostTensor *t)
{
    int64_t numbers[MAX_NUMBERS];
    int count;
    const char *pattern = pattern_of(tree->arena, t->name, numbers, &count);
    Text type = text_new(tree->arena);
    tensors_describe(t, &type);
    const char *key = arena_print(tree->arena, "%s %s", pattern, type.data);
    size_t at = (size_t)(uintptr_t)map_get(&tree->index, key);
    if (!at) {
        tree->rows = arena_room(tree->arena, tree->rows, tree->count, &tree->capacity, sizeof *tree->rows);
        Row *row = &tree->rows[tree->count++];
        *row = (Row){.pattern = pattern, .type = type.data, .numbers = count};
        for (int i = 0; i < count; i++)
            row->low[i] = row->high[i] = numbers[i];
        at = tree->count;
        map_set(&tree->index, key, (void *)(uintptr_t)at);
    }
    Row *row = &tree->rows[at - 1];
    row->tensors++;
    for (int i = 0; i < count; i++) {
        row->low[i] = numbers[i] < row->low[i] ? numbers[i] : row->low[i];
        row->high[i] = numbers[i] > row->high[i] ? numbers[i] : row->high[i];
    }
}

static void write_path(Tree *tree, Row *row)
{
    Text out = text_new(tree->arena);
    int number = 0;
    for (const char *c = row->pattern; *c; c++) {
        bool slot = *c == '#' && number < row->numbers && (c == row->pattern || c[-1] == '.') && (!c[1] || c[1] == '.');
        if (!slot)
            text_char(&out, *c);
        else if (row->low[number] == row->high[number])
            text_add(&out, "%lld", (long long)row->low[number]);
        else
            text_add(&out, "{%lld..%lld}", (long long)row->low[number], (long long)row->high[number]);
        number += slot;
    }
    row->path = out.data;
}

/* ---- the tree ---------------------------------------------------------------------------------------------------- */

static size_t component(const char *path)
{
    for (size_t i = 0; path[i]; i++)
        if (path[i] == '.' && path[i + 1] != '.' && (i == 0 || path[i - 1] != '.'))
            return i;
    return strlen(path);
}

static void print_leaf(const Row *row, size_t from, int indent)
{
    int64_t expected = 1;
    for (int i = 0; i < row->numbers; i++)
        expected *= row->high[i] - row->low[i] + 1;
    printf("%*s%-*s %s", indent, "", 46 - indent, row->path + from, row->type);
    if (row->tensors != expected)
        printf("   (%lld of %lld)", (long long)row->tensors, (long long)expected);
    printf("\n");
}

static bool same_start(const Row *a, const Row *b, size_t from, size_t length)
{
    return !strncmp(a->path + from, b->path + from, length) && b->path[from + length] == '.';
}

/* Rows [first, last) share their path up to `from`. */
static void print_rows(const Tree *tree, size_t first, size_t last, size_t from, int indent)
{
    while (first < last) {
        const Row *row = &tree->rows[first];
        size_t length = component(row->path + from), end = first + 1;
        while (row->path[from + length] && end < last && same_start(row, &tree->rows[end], from, length))
            end++;
        if (end == first + 1) {
            print_leaf(row, from, indent);
        } else {
            for (size_t more; more = component(row->path + from + length + 1), row->path[from + length + 1 + more];) {
                bool all = true;
                for (size_t i = first; all && i < end; i++)
                    all = same_start(row, &tree->rows[i], from, length + 1 + more);
                if (!all)
                    break;
                length += 1 + more;
            }
            printf("%*s%.*s\n", indent, "", (int)length, row->path + from);
            print_rows(tree, first, end, from + length + 1, indent + 2);
        }
        first = end;
    }
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const Row *)a)->path, ((const Row *)b)->path);
}

static void print_totals(Tool *t, const HostTensor *all, int64_t count)
{
    double numbers = 0, of_type[DT_COUNT] = {0};
    for (int64_t i = 0; i < count; i++) {
        numbers += (double)host_count(&all[i]);
        of_type[all[i].dtype] += (double)host_count(&all[i]);
    }
    Arena *a = &t->c.arena;
    printf("%s: %lld tensors, %s numbers, %s", checkpoint_path(t->c.checkpoint), (long long)count,
           tool_count(a, numbers), tool_bytes(a, (double)checkpoint_bytes(t->c.checkpoint)));
    for (int i = 0; i < DT_COUNT; i++)
        if (of_type[i] > 0)
            printf(", %s%s%s", dtype_name((DType)i), of_type[i] < numbers ? " " : "",
                   of_type[i] < numbers ? tool_count(a, of_type[i]) : "");
    printf("\n\n");
}

/* ---- config.json ------------------------------------------------------------------------------------------------- */

enum { CONFIG_LIMIT = 16 << 20, CONFIG_DEPTH = 32, WIDTH = 100 };

static void print_value(Text *out, const char *prefix, const char *key, json_t *value)
{
    text_add(out, "%s%s=", prefix, key);
    if (json_is_string(value))
        text_add(out, "%s", json_string_value(value));
    else if (json_is_integer(value))
        text_add(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        text_double(out, json_real_value(value));
    else
        text_add(out, "%s", json_is_true(value) ? "true" : "false");
}

static void summarise(Arena *a, json_t *object, const char *prefix, size_t *column)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (json_is_object(value))
            summarise(a, value, arena_print(a, "%s%s.", prefix, key), column);
        if (json_is_object(value) || json_is_array(value) || json_is_null(value))
            continue;
        Text item = text_new(a);
        print_value(&item, prefix, key, value);
        bool fits = *column && *column + 2 + item.length <= WIDTH;
        printf("%s%s", fits ? "  " : "\n  ", item.data);
        *column = fits ? *column + 2 + item.length : 2 + item.length;
    }
}

static bool show_config(Tool *t, const char *path)
{
    struct stat info;
    const char *slash = strrchr(path, '/');
    bool directory = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    const char *folder = directory ? path : slash ? arena_copy(&t->c.arena, path, (size_t)(slash - path)) : ".";
    const char *config = arena_print(&t->c.arena, "%s/config.json", folder);
    if (access(config, F_OK) != 0)
        return true;
    t->c.config = json_read_file(&t->c.diags, "E0590", config, CONFIG_LIMIT, CONFIG_DEPTH);
    if (!t->c.config)
        return false;
    printf("\n%s:", config);
    size_t column = 0;
    summarise(&t->c.arena, t->c.config, "", &column);
    printf("\n");
    return true;
}

static bool inspect(Tool *t, const InspectOptions *p)
{
    Compilation *c = &t->c;
    if (adapters_is_folder(&c->arena, p->path))
        return adapters_inspect(t, p->path, p->weights);
    if (p->weights) {
        tool_note("attar inspect: --weights is for adapters, and %s has no adapter_config.json", p->path);
        exit(EXIT_USAGE);
    }
    c->checkpoint = checkpoint_open(&c->cx, p->path);
    if (!c->checkpoint)
        return false;
    int64_t count;
    const HostTensor *all = checkpoint_tensors(c->checkpoint, &count);
    print_totals(t, all, count);
    Tree tree = {.arena = &c->arena, .index = map_new(&c->arena)};
    for (int64_t i = 0; i < count; i++)
        fold(&tree, &all[i]);
    for (size_t i = 0; i < tree.count; i++)
        write_path(&tree, &tree.rows[i]);
    if (tree.count)
        qsort(tree.rows, tree.count, sizeof *tree.rows, compare_paths);
    print_rows(&tree, 0, tree.count, 0, 0);
    return show_config(t, p->path);
}

int verb_inspect(int argc, char **argv)
{
    InspectOptions p = {0};
    options_parse(&argp, argc, argv, &p);
    Tool t;
    tool_begin(&t, &p.o);
    return tool_end(&t, inspect(&t, &p));
}
