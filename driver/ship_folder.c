/* The folder of a built model: what may be written over, and how all of it appears at once. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/ship.h"
#include "runtime/child.h"
#include "runtime/compiler.h"
#include "runtime/weights_file.h"

enum { MOST_FILES = 16, README_LIMIT = 1 << 20, MAKE_SECONDS = 600 };

typedef struct Out {
    Shipment *s;
    Context *cx;
    Arena *a;
    const char *folder;         /* as the user has it */
    const char *at;             /* where files are written first */
    bool exists;
    const char *names[MOST_FILES];
    ShipFile files[MOST_FILES];
    int n;
} Out;

static const char *path_in(Out *o, const char *folder, const char *name)
{
    return arena_print(o->a, "%s/%s", folder, name);
}

static bool cannot(Out *o, const char *path, int error)
{
    Diag *d = diag_file_error(&o->s->c->diags, "E1010", path, NULL, "cannot write here: %s", file_reason(o->cx, error));
    if (error == ENOENT)
        diag_help(d, "the folder above has to be there already");
    return false;
}

/* ---- what is there already --------------------------------------------------------------------------------------- */

typedef struct Before { /* an earlier build in the folder */
    bool is;
    const char *model;
    ShipFile *files;
    int n;
} Before;

static const char *read_text(Out *o, const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = NULL;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size < README_LIMIT) {
        text = arena_alloc(o->a, (size_t)info.st_size + 1);
        if (file_read(fd, text, (size_t)info.st_size, 0) != 0)
            text = NULL;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

static Before look(Out *o)
{
    Before b = {0};
    const char *text = read_text(o, path_in(o, o->folder, "README.md"));
    b.is = text && ship_readme_read(o->a, text, &b.model, &b.files, &b.n);
    return b;
}

static bool ends(const char *name, const char *with)
{
    size_t n = strlen(name), m = strlen(with);
    return n >= m && !strcmp(name + n - m, with);
}

/* The file is as an earlier build left it. */
static bool is_ours(Out *o, const Before *b, const char *name)
{
    const char *path = path_in(o, o->folder, name);
    uint64_t hash, bytes;
    if (!b->is)
        return false;
    if (!strcmp(name, "README.md") || ends(name, ".a") || ends(name, ".so") || ends(name, ".pc"))
        return true; /* made by make, too */
    if (ends(name, ".weights"))
        return weights_file_is(path);
    for (int i = 0; i < b->n; i++)
        if (!strcmp(b->files[i].name, name))
            return file_hash(path, &hash, &bytes) && hash == b->files[i].hash && bytes == b->files[i].bytes;
    return false;
}

static bool refuse(Out *o, const char *path, const char *why)
{
    Diag *d = diag_file_error(&o->s->c->diags, "E1012", path, NULL, "%s", why);
    diag_help(d, "name another folder with -o, or write over it with --force");
    return false;
}

/* Nothing that is not ours may be written over. */
static bool check_folder(Out *o)
{
    struct stat info;
    if (stat(o->folder, &info) != 0) {
        if (errno == ENOENT)
            return true;
        return cannot(o, o->folder, errno);
    }
    o->exists = true;
    if (!S_ISDIR(info.st_mode)) {
        diag_file_error(&o->s->c->diags, "E1012", o->folder, NULL, "this is a file; a build is a folder of files");
        return false;
    }
    Before b = look(o);
    if (o->s->force)
        return true;
    if (b.is && strcmp(b.model, o->s->code->name) != 0)
        return refuse(o, o->folder, arena_print(o->a, "the folder holds another build, of `%s`", file_shown(o->cx, b.model)));
    for (int i = 0; i < o->n; i++) {
        const char *path = path_in(o, o->folder, o->names[i]);
        if (lstat(path, &info) == 0 && !is_ours(o, &b, o->names[i]))
            return refuse(o, path, b.is ? "this file is not as `attar build` wrote it" : "this file is not of `attar build`, which would write over it");
    }
    return true;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool make_room(Out *o)
{
    size_t length = strlen(o->folder);
    while (length > 1 && o->folder[length - 1] == '/')
        length--;
    char *path = o->exists ? arena_print(o->a, "%s/.attar-build-XXXXXX", o->folder) : arena_print(o->a, "%.*s.attar-build-XXXXXX", (int)length, o->folder);
    if (!mkdtemp(path))
        return cannot(o, o->folder, errno);
    o->at = path;
    mode_t mask = umask(0);
    umask(mask);
    chmod(path, 0777 & ~mask);
    return true;
}

/* Nothing of it stays. */
static void remove_room(Out *o)
{
    DIR *d = o->at ? opendir(o->at) : NULL;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlink(path_in(o, o->at, e->d_name));
    if (d)
        closedir(d);
    if (o->at)
        rmdir(o->at);
    o->at = NULL;
}

/* Messages name the file as it will be. */
static bool put_text(Out *o, const char *name, const char *text, size_t length)
{
    Writer w;
    writer_open(o->cx, &w, path_in(o, o->at, name));
    writer_put(&w, text, length);
    int error = writer_finish(&w, false);
    return !error || cannot(o, path_in(o, o->folder, name), error);
}

static bool put_weights(Out *o)
{
    Shipment *s = o->s;
    const Shipped *code = s->code;
    WeightsSection *sections = arena_array(o->a, (size_t)code->n_sections + 1, sizeof *sections);
    for (int i = 0; i < code->n_sections; i++)
        sections[i] = (WeightsSection){&code->sections[i].plan, code->sections[i].offset};
    const char *file = arena_print(o->a, "%s.weights", code->name);
    WeightsFile f = {.shown = path_in(o, o->folder, file), .layout = code->layout_hash, .bytes = code->file_bytes, .sections = sections, .n = code->n_sections,
                     .about = arena_print(o->a, "weights of %s, packed for %s.c of the same build; made by attar build", code->name, code->name)};
    int threads = s->o->threads > 0 ? s->o->threads : pool_cpus();
    return weights_file_write(o->cx, path_in(o, o->at, file), s->c->checkpoint, &f, threads, &s->content);
}

static bool put_readme(Out *o)
{
    for (int i = 0; i < o->n; i++) {
        ShipFile *f = &o->files[i];
        f->name = o->names[i];
        if (!file_hash(path_in(o, o->at, f->name), &f->hash, &f->bytes))
            return cannot(o, path_in(o, o->folder, f->name), EIO);
    }
    const char *text = ship_readme(o->s, o->files, o->n);
    return put_text(o, "README.md", text, strlen(text));
}

static bool put_all(Out *o)
{
    const Shipment *s = o->s;
    const Shipped *code = s->code;
    const char *name = code->name, *texts[] = {ship_selftest(s), ship_example(s), ship_makefile(s), ship_cmake(s), s->embed ? ship_embedded(s) : ""};
    bool good = put_text(o, arena_print(o->a, "%s.c", name), code->source, code->source_length) &&
                put_text(o, arena_print(o->a, "%s.h", name), code->header, code->header_length) && put_weights(o) &&
                put_text(o, "selftest.c", texts[0], strlen(texts[0])) && put_text(o, "example.c", texts[1], strlen(texts[1])) &&
                put_text(o, "Makefile", texts[2], strlen(texts[2])) && put_text(o, "CMakeLists.txt", texts[3], strlen(texts[3]));
    if (good && s->embed)
        good = put_text(o, arena_print(o->a, "%s_weights.c", name), texts[4], strlen(texts[4]));
    return good;
}

/* ---- the libraries ----------------------------------------------------------------------------------------------- */

static bool no_library(Out *o, const char *why, const char *more)
{
    Diag *d = diag_file_error(&o->s->c->diags, "E0810", o->folder, NULL, "cannot make the libraries: %s", why);
    if (more && *more)
        diag_note(d, "%.400s", more);
    diag_help(d, "without --lib the folder is written as it is; `make lib` in it makes them later, `make CC=.. lib` with another compiler");
    return false;
}

static bool make_libraries(Out *o)
{
    Compilation *c = o->s->c;
    const char *compiler = getenv("CC");
    Compiler found;
    bool foreign = !target_runs_here(o->s->code->targets[o->s->code->n_targets - 1]);
    if (!compiler || !*compiler) {
        if (foreign)
            return no_library(o, "they are for another machine, and the environment's CC names no compiler for it", NULL);
        if (!compiler_find(&c->cx, o->s->o->jit.clang, &found))
            return false;
        compiler = found.path;
    }
    static const char command[] = "exec make -s -C \"$1\" \"CC=$2\" lib";
    char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, arena_copy(o->a, command, sizeof command - 1), (char[]){"sh"}, arena_copy(o->a, o->at, strlen(o->at)),
                    arena_copy(o->a, compiler, strlen(compiler)), NULL};
    Child child;
    child_run(argv, "", 0, MAKE_SECONDS, &child);
    const char *said = child.err.data ? arena_copy(o->a, (const char *)child.err.data, child.err.size) : "";
    bool good = !child.error && !child.timed_out && child.status == 0;
    int error = child.error;
    child_free(&child);
    return good || no_library(o, error ? file_reason(o->cx, error) : "make failed", said);
}

/* ---- taking their names ------------------------------------------------------------------------------------------ */

static void forget_objects(Out *o)
{
    DIR *d = opendir(o->at);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (ends(e->d_name, ".o"))
            unlink(path_in(o, o->at, e->d_name));
    }
    if (d)
        closedir(d);
}

static bool appear(Out *o)
{
    if (!o->exists) {
        if (rename(o->at, o->folder) != 0)
            return cannot(o, o->folder, errno);
        o->at = NULL;
        return true;
    }
    for (int i = 0; i < o->n; i++)
        if (rename(path_in(o, o->at, o->names[i]), path_in(o, o->folder, o->names[i])) != 0)
            return cannot(o, path_in(o, o->folder, o->names[i]), errno);
    return true;
}

static void list(Out *o)
{
    const Shipment *s = o->s;
    const char *name = s->code->name;
    const char *all[] = {arena_print(o->a, "%s.c", name), arena_print(o->a, "%s.h", name), arena_print(o->a, "%s.weights", name), "selftest.c", "example.c", "Makefile",
                         "CMakeLists.txt"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        o->names[o->n++] = all[i];
    if (s->embed)
        o->names[o->n++] = arena_print(o->a, "%s_weights.c", name);
    if (s->lib) {
        o->names[o->n++] = arena_print(o->a, "lib%s.a", name);
        o->names[o->n++] = arena_print(o->a, "lib%s.so", name);
        o->names[o->n++] = arena_print(o->a, "%s.pc", name);
    }
}

bool ship_write(Shipment *s, const char *folder)
{
    Out o = {.s = s, .cx = &s->c->cx, .a = &s->c->arena, .folder = folder};
    list(&o);
    o.names[o.n++] = "README.md";
    if (!check_folder(&o) || !make_room(&o))
        return false;
    o.n--;
    bool good = put_all(&o) && (!s->lib || make_libraries(&o)) && put_readme(&o);
    o.n++;
    forget_objects(&o);
    good = good && appear(&o);
    remove_room(&o);
    return good;
}
