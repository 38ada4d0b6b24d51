/* Golden diagnostics: for every errors/NAME.attar the rendered text is NAME.expected, to the letter.
 *
 * parse_*.attar are only parsed. The others are loaded, with NAME.config.json (called config.json in messages) if it is there, and with
 * NAME.FILE for other files that `config` names, with NAME.tensors as the checkpoint: a line for each tensor, `name dtype size size ...`; NAME.model holds the name of the model to be loaded. ATTAR_BLESS=1 rewrites the expected texts,
 * ATTAR_BLESS=parse_ those of the cases whose names begin so. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"

enum { MOST_CASES = 1000 };

static char *cases[MOST_CASES];
static int n_cases;

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_cases(void)
{
    DIR *dir = opendir(SOURCE_DIR "/tests/frontend/errors");
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL && n_cases < MOST_CASES;) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && strcmp(dot, ".attar") == 0)
            cases[n_cases++] = strndup(e->d_name, (size_t)(dot - e->d_name));
    }
    closedir(dir);
    qsort(cases, (size_t)n_cases, sizeof *cases, by_name);
}

/* A file beside the case, ending with 0 (which does not count), or NULL. */
static char *read_beside(Arena *a, const char *name, const char *suffix, size_t *size)
{
    FILE *f = fopen(arena_print(a, SOURCE_DIR "/tests/frontend/errors/%s%s", name, suffix), "rb");
    if (!f)
        return NULL;
    size_t room = 2 << 20;
    char *text = arena_alloc(a, room);
    *size = fread(text, 1, room - 1, f);
    fclose(f);
    return text;
}

static void write_beside(Arena *a, const char *name, const char *suffix, const Text *text)
{
    FILE *f = fopen(arena_print(a, SOURCE_DIR "/tests/frontend/errors/%s%s", name, suffix), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text->data, 1, text->length, f), text->length);
    ck_assert_int_eq(fclose(f), 0);
}

/* `name dtype size size ...`; `#` starts a comment. */
static HostTensor read_tensor(char *line)
{
    HostTensor t = {.name = strtok(line, " ")};
    const char *dtype = strtok(NULL, " ");
    ck_assert_msg(dtype && dtype_from_name(dtype, &t.dtype), "%s: no element type", t.name);
    for (const char *size; (size = strtok(NULL, " ")) != NULL;) {
        ck_assert_int_lt(t.rank, MAX_RANK);
        t.dims[t.rank++] = strtoll(size, NULL, 10);
    }
    return t;
}

static void read_tensors(Arena *a, const char *name, ModelOptions *options)
{
    size_t size;
    char *text = read_beside(a, name, ".tensors", &size);
    options->n_checkpoint = -1;
    if (!text)
        return;
    HostTensor *tensors = arena_array(a, size + 1, sizeof *tensors);
    options->checkpoint = tensors;
    options->n_checkpoint = 0;
    options->checkpoint_path = "model.safetensors";
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        line[strcspn(line, "#")] = 0;
        if (line[strspn(line, " ")])
            tensors[options->n_checkpoint++] = read_tensor(line);
    }
}

/* What `use` names: files of the same folder or of its folder `use`. */
static bool read_used(Context *cx, void *state, const char *path, Source *out)
{
    size_t size;
    (void)state;
    char *text = read_beside(cx->arena, path, "", &size);
    if (text)
        *out = (Source){path, text, size};
    else
        diag_file_error(cx->diags, "E0100", path, NULL, "cannot read this file: No such file or directory");
    return text != NULL;
}

enum { MOST_CONFIGS = 8 };
typedef struct Case {
    const char *name;
    json_t *configs[MOST_CONFIGS]; /* those of `config` declarations that name another file */
    int n_configs;
} Case;

/* NAME.FILE is the file beside the weights that a `config` declaration calls FILE. */
static json_t *other_config(Context *cx, void *state, const char *name, const char **path)
{
    Case *c = state;
    size_t size;
    char *text = read_beside(cx->arena, c->name, arena_print(cx->arena, ".%s", name), &size);
    *path = text ? name : NULL;
    if (!text)
        return NULL;
    ck_assert_int_lt(c->n_configs, MOST_CONFIGS);
    return c->configs[c->n_configs++] = json_read_text(cx->diags, "E0590", name, text, size, 32);
}

static void load(Context *cx, const char *name, const Source *source)
{
    Case c = {.name = name};
    ModelOptions options = {.read = read_used, .other_config = other_config, .state = &c};
    size_t size;
    char *config = read_beside(cx->arena, name, ".config.json", &size);
    if (config) {
        options.config_path = "config.json";
        options.config = json_read_text(cx->diags, "E0590", "config.json", config, size, 32);
        ck_assert_ptr_nonnull(options.config);
    }
    read_tensors(cx->arena, name, &options);
    char *chosen = read_beside(cx->arena, name, ".model", &size);
    if (chosen)
        options.model = strtok(chosen, "\n");
    Model model = {0};
    bool good = model_load(cx, source, &options, &model);
    ck_assert_msg(good == (cx->diags->errors == 0), "model_load says %d, but %d errors were reported", good,
                  cx->diags->errors);
    json_decref(options.config);
    for (int i = 0; i < c.n_configs; i++)
        json_decref(c.configs[i]);
}

/* A note names the line of std.attar: it has to be the right one, and is left out of what is compared, as it changes
 * whenever the library grows. */
static void check_library_lines(const char *name, Text *rendered)
{
    static const char quote[] = "which std.attar writes as `", tail[] = "` on line ";
    for (char *note = rendered->data; (note = strstr(note, quote)) != NULL;) {
        const char *text = note + strlen(quote);
        char *end = strstr(note, tail);
        ck_assert_msg(end != NULL, "%s: a note about std.attar has no line", name);
        char *number = end + strlen(tail), *after;
        long line = strtol(number, &after, 10);
        const char *at = std_attar_text, *stop = std_attar_text + std_attar_size;
        while (--line > 0 && at < stop)
            at = (const char *)memchr(at, '\n', (size_t)(stop - at)) + 1;
        size_t length = (size_t)(end - text);
        if (length > 3 && !strncmp(end - 3, "...", 3))
            length -= 3;
        char *stands = strndup(at, strcspn(at, "\n")), *said = strndup(text, length);
        ck_assert_msg(strstr(stands, said) != NULL, "%s: `%s` does not stand on that line of std.attar", name,
                      said);
        free(stands);
        free(said);
        memmove(number, after, strlen(after) + 1);
        rendered->length -= (size_t)(after - number);
        note = number;
    }
}

START_TEST(diagnostics_are_as_expected)
{
    const char *name = cases[_i];
    Arena a = {0};
    Diags diags = {.arena = &a};
    Names names = {map_new(&a)};
    Context cx = {&a, &diags, &names};
    size_t size;
    char *text = read_beside(&a, name, ".attar", &size);
    ck_assert_ptr_nonnull(text);
    Source source = {arena_print(&a, "%s.attar", name), text, size};
    if (strncmp(name, "parse_", 6) == 0)
        parse_file(&cx, &source);
    else
        load(&cx, name, &source);
    Text rendered = text_new(&a);
    diag_render(&diags, &rendered, false);
    check_library_lines(name, &rendered);
    const char *bless = getenv("ATTAR_BLESS");
    if (bless && (strcmp(bless, "1") == 0 || strncmp(name, bless, strlen(bless)) == 0))
        write_beside(&a, name, ".expected", &rendered);
    size_t wanted;
    char *want = read_beside(&a, name, ".expected", &wanted);
    ck_assert_msg(want != NULL, "%s.expected is missing; ATTAR_BLESS=1 writes it", name);
    ck_assert_msg(strcmp(want, rendered.data) == 0, "%s: expected\n%s\nbut got\n%s", name, want, rendered.data);
    arena_free(&a);
}
END_TEST

START_TEST(there_are_cases)
{
    ck_assert_int_ge(n_cases, 30);
}
END_TEST

int main(void)
{
    list_cases();
    Suite *s = suite_create("golden diagnostics");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, there_are_cases);
    tcase_add_loop_test(c, diagnostics_are_as_expected, 0, n_cases);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    for (int i = 0; i < n_cases; i++)
        free(cases[i]);
    return failed != 0;
}
