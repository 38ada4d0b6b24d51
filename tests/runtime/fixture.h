/* What the runtime's tests share: a context, a folder of its own, files made of bytes, and a look at the
 * diagnostics. */
#ifndef ATTAR_TESTS_RUNTIME_FIXTURE_H
#define ATTAR_TESTS_RUNTIME_FIXTURE_H

#include <check.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "support/context.h"
#include "support/dtype.h"

#define UNUSED __attribute__((unused))

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

typedef struct Fixture {
    Arena arena;
    Diags diags;
    Names names;
    Context cx;
    char dir[64];
} Fixture;

static UNUSED void fixture_begin(Fixture *f)
{
    *f = (Fixture){0};
    f->diags.arena = &f->arena;
    f->names.map = map_new(&f->arena);
    f->cx = (Context){&f->arena, &f->diags, &f->names};
    strcpy(f->dir, "/tmp/attar-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
}

static UNUSED void remove_tree(const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        DIR *d = opendir(path);
        for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                continue;
            char inner[1024];
            snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
            remove_tree(inner);
        }
        if (d)
            closedir(d);
    }
    remove(path);
}

static UNUSED void fixture_end(Fixture *f)
{
    remove_tree(f->dir);
    arena_free(&f->arena);
}

static UNUSED void forget(Fixture *f)
{
    f->diags = (Diags){.arena = &f->arena};
}

static UNUSED const char *at(Fixture *f, const char *name)
{
    return arena_print(&f->arena, "%s/%s", f->dir, name);
}

static UNUSED const char *put_bytes(Fixture *f, const char *name, const void *bytes, size_t size)
{
    const char *path = at(f, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

static UNUSED const char *put_text(Fixture *f, const char *name, const char *text)
{
    return put_bytes(f, name, text, strlen(text));
}

static UNUSED unsigned char *get_bytes(Fixture *f, const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = arena_alloc(&f->arena, *size + 1);
    ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

/* A safetensors file: length field, header, `data` bytes that count up. */
static UNUSED const char *put_tensors(Fixture *f, const char *name, uint64_t declared, const char *header,
                                      size_t header_bytes, size_t data)
{
    unsigned char *all = malloc(8 + header_bytes + data);
    for (int i = 0; i < 8; i++)
        all[i] = (unsigned char)(declared >> (8 * i));
    memcpy(all + 8, header, header_bytes);
    for (size_t i = 0; i < data; i++)
        all[8 + header_bytes + i] = (unsigned char)i;
    const char *path = put_bytes(f, name, all, 8 + header_bytes + data);
    free(all);
    return path;
}

static UNUSED const char *put_header(Fixture *f, const char *name, const char *header, size_t data)
{
    return put_tensors(f, name, strlen(header), header, strlen(header), data);
}

static UNUSED const char *rendered(Fixture *f)
{
    Text t = text_new(&f->arena);
    diag_render(&f->diags, &t, false);
    return t.data ? t.data : "";
}

static UNUSED int files_in(const char *dir)
{
    int count = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        count += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    if (d)
        closedir(d);
    return count;
}

/* One error (and nothing else) with this code whose text holds the phrase. */
static UNUSED void expect_error(Fixture *f, const char *what, const char *code, const char *phrase)
{
    const char *text = rendered(f);
    ck_assert_msg(f->diags.errors == 1, "%s: %d errors:\n%s", what, f->diags.errors, text);
    const Diag *d = f->diags.first;
    while (d->level != DIAG_ERROR)
        d = d->next;
    ck_assert_msg(!strcmp(d->code, code), "%s: %s instead of %s:\n%s", what, d->code, code, text);
    ck_assert_msg(strstr(text, phrase) != NULL, "%s: no `%s` in:\n%s", what, phrase, text);
    ck_assert_msg(diag_code(code) != NULL, "%s has no page", code);
}

static UNUSED void expect_warning(Fixture *f, const char *what, const char *code, const char *phrase)
{
    const char *text = rendered(f);
    ck_assert_msg(f->diags.errors == 0 && f->diags.warnings == 1, "%s: %d errors, %d warnings:\n%s", what,
                  f->diags.errors, f->diags.warnings, text);
    ck_assert_msg(!strcmp(f->diags.first->code, code), "%s: %s instead of %s:\n%s", what, f->diags.first->code, code,
                  text);
    ck_assert_msg(strstr(text, phrase) != NULL, "%s: no `%s` in:\n%s", what, phrase, text);
}

static UNUSED void expect_silence(Fixture *f, const char *what)
{
    ck_assert_msg(f->diags.errors == 0 && f->diags.warnings == 0, "%s:\n%s", what, rendered(f));
}

/* A small generator of our own: the same numbers everywhere. */
static UNUSED uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static UNUSED int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

#endif
