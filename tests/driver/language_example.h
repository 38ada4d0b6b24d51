/* Examples of docs/language.md: a fenced block as the page's first section describes, made into a model file, inputs,
 * a checkpoint, a config and the results it states. */
#ifndef ATTAR_TESTS_LANGUAGE_EXAMPLE_H
#define ATTAR_TESTS_LANGUAGE_EXAMPLE_H

#include <check.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/dtype.h"
#include "support/text.h"

enum { MOST = 32 };

typedef struct Stated {                 /* y = ...   # f32[A] = [1, 2] */
    const char *name, *type;
    HostTensor value;                   /* data NULL: only the type is stated */
} Stated;

typedef struct Example {
    Arena *arena;
    int line;                           /* in the page, for messages */
    bool whole;                         /* has a model of its own */
    const char *text;                   /* the model file */
    const char *file;                   /* the block is this file, for later examples */
    const char *error, *json_names[4], *json[4];
    int n_json;
    HostTensor given[MOST], tensors[MOST];
    const char *types[MOST];            /* of given */
    Stated stated[MOST];
    int n_given, n_tensors, n_stated;
} Example;

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static const char *skip(const char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

static bool read_number(const char **p, double *out)
{
    static const struct { const char *word; double value; } words[] = {
        {"true", 1}, {"false", 0}, {"-inf", -INFINITY}, {"inf", INFINITY}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strncmp(*p, words[i].word, strlen(words[i].word))) {
            *p += strlen(words[i].word);
            *out = words[i].value;
            return true;
        }
    char *end;
    *out = text_to_double(*p, &end);
    bool good = end != *p;
    *p = end;
    return good;
}

/* [[1, 2], [3, 4]]: sizes from the nesting, the same everywhere. */
static bool read_values(const char **p, int depth, HostTensor *t, double *data, int64_t *count)
{
    *p = skip(*p);
    if (**p != '[') {
        if (t->rank < depth)
            t->rank = depth;
        return t->rank == depth && *count < 4096 && read_number(p, &data[(*count)++]);
    }
    int64_t n = 0;
    do {
        *p = skip(*p + 1);
        if (!read_values(p, depth + 1, t, data, count))
            return false;
        *p = skip(*p);
        n++;
    } while (**p == ',');
    if (**p != ']' || depth >= MAX_RANK || (t->dims[depth] && t->dims[depth] != n))
        return false;
    t->dims[depth] = n;
    (*p)++;
    return true;
}

static const char *read_tensor(Arena *a, const char *name, DType dtype, const char *text, HostTensor *out)
{
    double data[4096];
    int64_t count = 0;
    *out = (HostTensor){.name = name, .dtype = dtype};
    if (!read_values(&text, 0, out, data, &count) || host_count(out) != count)
        return NULL;
    out->data = arena_array(a, (size_t)count, dtype_size(dtype));
    for (int64_t i = 0; i < count; i++)
        host_set(out, i, data[i]);
    return text;
}

static DType dtype_of(const char *type)
{
    DType dtype = DT_F32;
    char word[8] = {0};
    memcpy(word, type, strcspn(type, "[ =") < 7 ? strcspn(type, "[ =") : 7);
    ck_assert_msg(dtype_from_name(word, &dtype), "`%s` is no type", type);
    return dtype;
}

/* ---- one line ---------------------------------------------------------------------------------------------------- */

static bool is_type(const char *text)
{
    return !strncmp(text, "f32", 3) || !strncmp(text, "i32", 3) || !strncmp(text, "bool", 4);
}

static const char *trimmed(Arena *a, const char *text, size_t length)
{
    while (length && text[length - 1] == ' ')
        length--;
    return arena_copy(a, text, length);
}

/* "# f32[A] = [1, 2]; f32[B]" after `a, b = ...`. */
static void read_stated(Example *e, const char *names, const char *comment, int line)
{
    while (*comment) {
        ck_assert_msg(*names && e->n_stated < MOST, "docs/language.md:%d: more results than names", line);
        size_t name = strcspn(names, ", "), type = strcspn(comment, "=;");
        Stated *s = &e->stated[e->n_stated++];
        s->name = arena_copy(e->arena, names, name);
        s->type = trimmed(e->arena, comment, type);
        for (int i = 0; i + 1 < e->n_stated; i++)
            ck_assert_msg(strcmp(e->stated[i].name, s->name), "docs/language.md:%d: `%s` is stated twice", line, s->name);
        names = skip(names + name + (names[name] == ','));
        comment += type;
        if (*comment == '=') {
            comment = read_tensor(e->arena, s->name, dtype_of(s->type), skip(comment + 1), &s->value);
            ck_assert_msg(comment, "docs/language.md:%d: the stated value cannot be read", line);
        }
        comment = skip(comment);
        ck_assert_msg(!*comment || *comment == ';', "docs/language.md:%d: stray text `%s`", line, comment);
        comment = *comment ? skip(comment + 1) : comment;
    }
}

/* "# adapter_config.json {...}" */
static bool names_json(const char *text)
{
    size_t end = strncmp(text, "# ", 2) ? 0 : 2 + strcspn(text + 2, " ");
    return end > 7 && !strncmp(text + end - 5, ".json {", 7);
}

/* "# given x: f32[A] = [1]", "# tensor w = [1]", "# config.json {...}", "# error E0301", "# file shared.attar"; false for other lines. */
static bool read_directive(Example *e, const char *text, int line)
{
    if (!strncmp(text, "# given ", 8) || !strncmp(text, "# tensor ", 9)) {
        bool given = text[2] == 'g';
        const char *name = text + (given ? 8 : 9), *end = name + strcspn(name, given ? ":" : " "), *equals = strstr(end, "= ");
        ck_assert_msg(equals && e->n_given < MOST && e->n_tensors < MOST, "docs/language.md:%d: no value is given", line);
        name = arena_copy(e->arena, name, (size_t)(end - name));
        const char *type = given ? trimmed(e->arena, end + 2, (size_t)(equals - end - 2)) : "f32";
        HostTensor *t = given ? &e->given[e->n_given] : &e->tensors[e->n_tensors++];
        ck_assert_msg(read_tensor(e->arena, name, dtype_of(type), equals + 2, t), "docs/language.md:%d: the value cannot be read", line);
        if (given)
            e->types[e->n_given++] = type;
    } else if (names_json(text)) {
        size_t name = strcspn(text + 2, " ");
        ck_assert_msg(e->n_json < 4, "docs/language.md:%d: too many JSON files", line);
        e->json_names[e->n_json] = arena_copy(e->arena, text + 2, name);
        e->json[e->n_json++] = text + 2 + name;
    } else if (!strncmp(text, "# file ", 7)) {
        e->file = trimmed(e->arena, text + 7, strlen(text + 7));
    } else if (!strncmp(text, "# error ", 8)) {
        e->error = arena_copy(e->arena, text + 8, 5);
    } else {
        return false;
    }
    return true;
}

static bool declares(const char *text)
{
    static const char *const words[] = {"config ", "let ", "default ", "cache ", "names ", "ignore ", "block ", "model ", "use "};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strncmp(text, words[i], strlen(words[i])))
            return true;
    return false;
}

/* ---- a block ----------------------------------------------------------------------------------------------------- */

static void wrap(Example *e, const Text *declarations, const Text *body, Text *out)
{
    text_put(out, declarations->data, declarations->length);
    text_add(out, "model Example(");
    for (int i = 0; i < e->n_given; i++)
        text_add(out, "%s%s: %s", i ? ", " : "", e->given[i].name, e->types[i]);
    text_add(out, ") -> (");
    for (int i = 0; i < e->n_stated; i++)
        text_add(out, "%s%s: %s", i ? ", " : "", e->stated[i].name, e->stated[i].type);
    text_add(out, e->n_stated ? ") {\n" : "nothing: f32[1]) {\n");
    text_put(out, body->data, body->length);
    text_add(out, "  return ");
    for (int i = 0; i < e->n_stated; i++)
        text_add(out, "%s%s", i ? ", " : "", e->stated[i].name);
    text_add(out, e->n_stated ? "\n}\n" : "(0..1) + 0.0\n}\n");
}

/* Reads the block that begins at *p, after its fence; *p becomes what follows the closing fence. */
static void read_example(Arena *a, const char **p, int *line, Example *e)
{
    *e = (Example){.arena = a, .line = *line};
    Text declarations = text_new(a), body = text_new(a), out = text_new(a);
    int depth = 0;
    bool declaring = false;
    while (**p && strncmp(*p, "```", 3)) {
        size_t length = strcspn(*p, "\n");
        const char *text = arena_copy(a, *p, length), *hash = strrchr(text, '#'), *start = skip(text);
        *p += length + 1;
        ++*line;
        if (read_directive(e, text, *line))
            continue;
        if (hash && is_type(skip(hash + 1))) {
            const char *names = skip(strncmp(start, "return ", 7) ? start : start + 7);
            read_stated(e, names, skip(hash + 1), *line);
        }
        e->whole = e->whole || !strncmp(text, "model ", 6);
        declaring = depth > 0 ? declaring : declares(text);
        text_add(declaring ? &declarations : &body, declaring ? "%s\n" : "  %s\n", text);
        for (const char *c = text; *c && *c != '#'; c++)
            depth += (*c == '{' || *c == '(' || *c == '[') - (*c == '}' || *c == ')' || *c == ']');
    }
    *p += strcspn(*p, "\n");
    if (e->whole || e->file)
        out = declarations;
    else
        wrap(e, &declarations, &body, &out);
    e->text = out.data;
}

#endif
