/* The functions that attend's kernel is made of, each with the parameters that its text happens to need: those of the
 * kernel, indices of its loops, and locals of the caller under the same names. */
#include "codegen/attend_inside.h"

#include <string.h>

const char *attend_print(const Attend *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprint(a->k->e->cx->arena, format, args);
    va_end(args);
    return text;
}

/* The text as the compiler sees it: words in comments are no names. */
static const char *without_comments(Arena *arena, const char *body)
{
    Text t = text_new(arena);
    for (const char *open; (open = strstr(body, "/*")); body = strstr(open, "*/") + 2)
        text_put(&t, body, (size_t)(open - body));
    text_put(&t, body, strlen(body));
    return t.data;
}

/* What `body` mentions of the kernel's parameters and indices. */
static size_t borrowed(const Attend *a, const char *body, bool row_indices, const char **names)
{
    size_t n = 0;
    for (size_t i = 0; i < a->k->n_params; i++)
        if (mentions(body, a->k->params[i].name))
            names[n++] = a->k->params[i].name;
    for (int i = 0; i < a->n_batch; i++)
        if (mentions(body, a->batch[i].var))
            names[n++] = a->batch[i].var;
    for (int i = 0; row_indices && i < a->n_rows; i++)
        if (mentions(body, a->row[i].var))
            names[n++] = a->row[i].var;
    return n;
}

static const char *put_function(Attend *a, const char *comment, const char *head, const char *const *own, size_t n_own,
                                const char *body, bool row_indices)
{
    Arena *arena = a->k->e->cx->arena;
    const char **names = arena_array(arena, a->k->n_params + 2 * MAX_RANK, sizeof *names);
    size_t n = borrowed(a, without_comments(arena, body), row_indices, names);
    const char **items = arena_array(arena, n_own + n, sizeof *items);
    Text rest = text_new(arena);
    for (size_t i = 0; i < n_own; i++)
        items[i] = own[i];
    for (size_t i = 0; i < n; i++) {
        items[n_own + i] = param_text(a->k, names[i]);
        text_add(&rest, ", %s", names[i]);
    }
    text_add(&a->k->before, "/* %s */\n%s\n{\n%s}\n\n", comment, wrapped(a->k->e->cx, head, items, n_own + n), body);
    return n ? rest.data : "";
}

const char *attend_function(Attend *a, const char *comment, const char *head, const char *const *own, size_t n_own,
                            const char *body)
{
    return put_function(a, comment, head, own, n_own, body, true);
}

const char *attend_rows_function(Attend *a, const char *comment, const char *head, const char *const *own, size_t n_own,
                                 const char *body)
{
    return put_function(a, comment, head, own, n_own, body, false);
}

/* How a function declares a local of its caller, and what the caller gives where that is not the name alone. */
static const struct {
    const char *name, *type, *given;
} local_types[] = {
    {"query", "float *restrict ", NULL},
    {"query2", "float *restrict ", NULL},
    {"score", "float *restrict ", NULL},
    {"other", "float *restrict ", NULL},
    {"out", "float *restrict ", NULL},
    {"most", "float *restrict ", NULL},
    {"total", "float *restrict ", NULL},
    {"shrink", "float *restrict ", NULL},
    {"scale", "float *restrict ", NULL},
    {"results", "float **", NULL},
    {"spare", "float *", NULL},
    {"ahead", "const float **", NULL},
    {"begun", "int ", NULL},
    {"last", "int ", NULL},
    {"apart", "int ", NULL},
    {"key_panels", "float *restrict ", NULL},
    {"key_panels2", "float *restrict ", NULL},
    {"value_panels", "float *restrict ", NULL},
    {"key_rows", "const float *restrict ", NULL},
    {"panels", "const float *restrict ", NULL},
    {"keys2", "const float *restrict ", NULL},
    {"value_rows", "const float *restrict ", NULL},
    {"next_keys", "const float *", NULL},
    {"next_values", "const float *", NULL},
    {"query_ahead", "const float *", NULL},
    {"result_ahead", "const float *", NULL},
    {"key", "const float *restrict ", NULL},
    {"value", "const float *restrict ", NULL},
    {"begin", "const ptrdiff_t *", NULL},
    {"end", "const ptrdiff_t *", NULL},
    {"place", "const ptrdiff_t *", NULL},
    {"taken", "int ", NULL},
    {"cut", "unsigned ", NULL},
    {"packed", "unsigned *", "&packed"},
};

/* "TYPE name" of a local: a number unless the table says otherwise. */
static const char *local_type(const Attend *a, const char *name, const char **given)
{
    Arena *arena = a->k->e->cx->arena;
    *given = name;
    if (a->rows_struct && !strcmp(name, "tile"))
        return arena_print(arena, "const struct %s *tile", a->rows_struct);
    if (a->ends_struct && (!strcmp(name, "ends") || !strcmp(name, "wide")))
        return arena_print(arena, "const struct %s *%s", a->ends_struct, name);
    if (!strcmp(name, "range"))
        return arena_print(arena, "const struct %s *range", a->range_struct);
    if (a->in_lanes && (!strcmp(name, "begin") || !strcmp(name, "end")))
        return arena_print(arena, "const int *%s", name);
    for (size_t i = 0; i < sizeof local_types / sizeof *local_types; i++)
        if (!strcmp(local_types[i].name, name)) {
            *given = local_types[i].given ? local_types[i].given : name;
            return arena_print(arena, "%s%s", local_types[i].type, name);
        }
    return arena_print(arena, "ptrdiff_t %s", name);
}

const char *attend_piece(Attend *a, const char *function, const char *comment, const char *const *locals, size_t count,
                         const char *body)
{
    bool rare = function == a->few_rows || function == a->log_sums; /* the others' arguments cost a tile of few keys 3 % */
    Arena *arena = a->k->e->cx->arena;
    const char **own = arena_array(arena, count, sizeof *own), *code = without_comments(arena, body);
    Text call = text_new(arena);
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (mentions(code, locals[i])) {
            const char *given;
            own[n++] = local_type(a, locals[i], &given);
            text_add(&call, ", %s", given);
        }
    text_add(&call, "%s",
             attend_rows_function(a, comment, arena_print(arena, "static %svoid %s", !rare ? "inline " : a->in_lanes ? "__attribute__((noinline))\n" : "", function), own, n, body));
    return arena_print(arena, "%s(%s);", function, call.data + 2);
}
