/* use "blocks.attar": the declarations of another file, all but its models, as if they stood here.
 *
 * Paths are relative to the file that uses them. The same file twice is once, so two files may use a third. */
#include "bind.h"

#include <string.h>

enum { MOST_FILES = 64 };

typedef struct Used {
    const char *path;
    const struct Used *by; /* NULL: the model file */
    bool done;
} Used;

typedef struct Merge {
    Bind *b;
    Map files; /* by path: Used */
    Decl *decls;
    int n;
    size_t room;
} Merge;

/* "models/../blocks/./x.attar" -> "blocks/x.attar", so that one file has one name. */
static const char *tidy_path(Bind *b, const char *path)
{
    const char *parts[256];
    int lengths[256], n = 0;
    Text out = text_new(b->cx->arena);
    for (const char *p = path; *p && n < 256; p += *p == '/') {
        int length = (int)strcspn(p, "/");
        bool up = length == 2 && !strncmp(p, "..", 2), here = length == 0 || (length == 1 && *p == '.');
        bool back = up && n > 0 && !(lengths[n - 1] == 2 && !strncmp(parts[n - 1], "..", 2));
        if (back) {
            n--;
        } else if (!here) {
            parts[n] = p;
            lengths[n++] = length;
        }
        p += length;
    }
    for (int i = 0; i < n; i++)
        text_add(&out, "%s%.*s", i || path[0] == '/' ? "/" : "", lengths[i], parts[i]);
    return out.data;
}

static const char *path_beside(Bind *b, const char *from, const char *path)
{
    const char *slash = strrchr(from, '/');
    if (path[0] == '/' || !slash)
        return tidy_path(b, path);
    return tidy_path(b, bind_print(b, "%.*s/%s", (int)(slash - from), from, path));
}

static void refuse_cycle(Merge *m, const Decl *d, const Used *by, const Used *again)
{
    Text way = text_new(m->b->cx->arena);
    const Used *chain[MOST_FILES];
    int n = 0;
    for (const Used *u = by; u && n < MOST_FILES; u = u == again ? NULL : u->by)
        chain[n++] = u;
    while (n > 0)
        text_add(&way, "%s -> ", chain[--n]->path);
    text_add(&way, "%s", again->path);
    Diag *e = bind_error(m->b, "E0132", d->at, "a file cannot use itself");
    diag_note(e, "%s", way.data);
    diag_help(e, "move what both need into a third file");
}

/* The file's tree, or NULL and an error. */
static File *read_used(Merge *m, const Decl *d, const char *path)
{
    Bind *b = m->b;
    Source *source = bind_new(b, sizeof *source);
    if (m->files.count > MOST_FILES) {
        bind_error(b, "E0132", d->at, "a model is made of at most %d files", MOST_FILES);
        return NULL;
    }
    if (!b->options->read) {
        bind_error(b, "E0132", d->at, "other files cannot be read here");
        return NULL;
    }
    if (!b->options->read(b->cx, b->options->state, path, source)) {
        if (b->cx->diags->last)
            diag_note(b->cx->diags->last, "`use` names it in %s:%d", d->at.source->path, span_start(d->at).line);
        return NULL;
    }
    return parse_file(b->cx, source);
}

static void merge(Merge *m, const File *file, const Used *self)
{
    for (int i = 0; i < file->n_decls; i++) {
        const Decl *d = &file->decls[i];
        if (d->kind == DECL_USE) {
            const char *path = path_beside(m->b, file->source->path, d->path);
            Used *used = map_get(&m->files, path);
            if (used && !used->done)
                refuse_cycle(m, d, self, used);
            if (used)
                continue;
            used = bind_new(m->b, sizeof *used);
            *used = (Used){path, self, false};
            map_set(&m->files, path, used);
            const File *other = read_used(m, d, path);
            if (other)
                merge(m, other, used);
            used->done = true;
        } else if (!self->by || d->kind != DECL_MODEL) {
            m->decls = arena_room(m->b->cx->arena, m->decls, (size_t)m->n, &m->room, sizeof *m->decls);
            m->decls[m->n++] = *d;
        }
    }
}

void use_files(Bind *b)
{
    Merge m = {.b = b, .files = map_new(b->cx->arena)};
    Used *first = bind_new(b, sizeof *first);
    *first = (Used){.path = tidy_path(b, b->file->source->path)};
    map_set(&m.files, first->path, first);
    merge(&m, b->file, first);
    File *whole = bind_new(b, sizeof *whole);
    *whole = (File){.source = b->file->source, .decls = m.decls, .n_decls = m.n};
    b->file = whole;
}
