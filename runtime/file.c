/* Files: opening what a user names, reading without surprises, writing all or nothing.
 *
 * Reading is by pread into our own memory: a file that shrinks under us is an error code, where a mapping would be a
 * SIGBUS. Writing holds back SIGXFSZ, so that a file size limit is an error code too. */
#include "runtime/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "support/checked.h"

enum { NAME_SHOWN = 120, SPARE = 64, HUGE_PAGE = 2 << 20, READ_AT_ONCE = 1 << 30 };

const char *file_reason(Context *cx, int error)
{
    switch (error) {
    case FILE_CHANGED: return "the file has been written to since it was opened";
    case FILE_SHRUNK: return "the file has become shorter since it was opened";
    case ENOENT: return "no such file or directory";
    case EACCES: return "no permission";
    case ELOOP: return "a loop of symbolic links";
    case ENOSPC: return "no space left on the device";
    case EFBIG: return "the file size limit is reached";
    case EMFILE:
    case ENFILE: return "too many open files";
    default: break;
    }
    const char *words = strerrordesc_np(error);
    return words ? words : arena_print(cx->arena, "error %d", error);
}

const char *file_shown(Context *cx, const char *name)
{
    Text t = text_new(cx->arena);
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
        if (t.length >= NAME_SHOWN && (*c & 0xc0) != 0x80) {
            text_add(&t, "...");
            break;
        }
        if (*c < 0x20 || *c == 0x7f)
            text_add(&t, "\\x%02x", *c);
        else
            text_char(&t, (char)*c);
    }
    return t.data ? t.data : "";
}

static const char *file_kind(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a FIFO";
    if (S_ISSOCK(mode))
        return "a socket";
    return "a device";
}

int file_open(Context *cx, const char *code, const char *path, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        diag_file_error(cx->diags, code, path, NULL, "cannot open the file: %s", file_reason(cx, error));
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        diag_file_error(cx->diags, code, path, NULL, "cannot read it: it is %s, not a file", file_kind(st.st_mode));
        return -1;
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

int file_read(int fd, void *out, size_t bytes, uint64_t offset)
{
    unsigned char *to = out;
    if (offset > INT64_MAX)
        return EOVERFLOW;
    while (bytes > 0) {
        size_t step = bytes < READ_AT_ONCE ? bytes : READ_AT_ONCE;
        ssize_t got = pread(fd, to, step, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return FILE_SHRUNK;
        to += got;
        bytes -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Creates a file with a name of its own beside `path`. The name begins with a dot: listings of a cache leave it out. */
static void create_beside(Context *cx, Writer *w, mode_t mode)
{
    const char *slash = strrchr(w->path, '/');
    int folder = slash ? (int)(slash - w->path + 1) : 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        unsigned salt = (unsigned)now.tv_nsec + attempt;
        w->temporary = arena_print(cx->arena, "%.*s.tmp-%ld-%08x", folder, w->path, (long)getpid(), salt);
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (w->fd >= 0 || errno != EEXIST)
            break;
    }
    if (w->fd < 0)
        w->error = errno;
}

void writer_open(Context *cx, Writer *w, const char *path)
{
    *w = (Writer){.fd = -1, .path = path};
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        w->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (w->fd < 0)
            w->error = errno;
        return;
    }
    char *real = realpath(path, NULL); /* what a link points to is replaced, not the link */
    if (real)
        w->path = arena_copy(cx->arena, real, strlen(real));
    free(real);
    create_beside(cx, w, 0666);
}

void writer_open_private(Context *cx, Writer *w, const char *path)
{
    *w = (Writer){.fd = -1, .path = path};
    create_beside(cx, w, 0600);
}

/* Behind what was written last, or at `at`. */
static void put_all(Writer *w, const unsigned char *from, size_t bytes, off_t at)
{
    while (bytes > 0) {
        size_t some = bytes < READ_AT_ONCE ? bytes : READ_AT_ONCE;
        ssize_t done = at < 0 ? write(w->fd, from, some) : pwrite(w->fd, from, some, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            w->error = done < 0 ? errno : EIO;
            return;
        }
        from += done;
        bytes -= (size_t)done;
        at += at < 0 ? 0 : done;
    }
}

/* SIGXFSZ is blocked while writing and, if it came, taken away before the mask is restored. */
static void put_guarded(Writer *w, const void *data, size_t bytes, off_t at)
{
    if (w->error || bytes == 0)
        return;
    sigset_t limit, before;
    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &limit, &before);
    put_all(w, data, bytes, at);
    if (w->error == EFBIG && !sigismember(&before, SIGXFSZ)) {
        struct timespec none = {0, 0};
        while (sigtimedwait(&limit, NULL, &none) < 0 && errno == EINTR) {}
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void writer_put(Writer *w, const void *data, size_t bytes)
{
    put_guarded(w, data, bytes, -1);
}

void writer_put_at(Writer *w, const void *data, size_t bytes, uint64_t offset)
{
    put_guarded(w, data, bytes, (off_t)offset);
}

int writer_finish(Writer *w, bool sync)
{
    if (w->fd >= 0) {
        if (!w->error && sync && fsync(w->fd) != 0)
            w->error = errno;
        if (close(w->fd) != 0 && !w->error)
            w->error = errno;
        if (!w->error && w->temporary && rename(w->temporary, w->path) != 0)
            w->error = errno;
        if (w->error && w->temporary)
            unlink(w->temporary);
    }
    w->fd = -1;
    return w->error;
}

void writer_abandon(Writer *w)
{
    w->error = w->error ? w->error : ECANCELED;
    writer_finish(w, false);
}

bool writer_close(Context *cx, Writer *w)
{
    int error = writer_finish(w, false);
    if (error)
        diag_file_error(cx->diags, "E1010", w->path, NULL, "cannot write the file: %s", file_reason(cx, error));
    return !error;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static bool mapped_size(uint64_t bytes, size_t *out)
{
    uint64_t spared;
    return checked_add(bytes, SPARE, &spared) && spared <= PTRDIFF_MAX && checked_size(spared, out);
}

void *memory_map(uint64_t bytes)
{
    size_t size;
    if (!mapped_size(bytes, &size))
        return NULL;
    bool huge = size >= 2 * (size_t)HUGE_PAGE;
    size_t room = huge ? size + HUGE_PAGE : size;
    unsigned char *got = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED)
        return NULL;
    if (!huge)
        return got;
    /* begin at a huge page, and give back what lies before and behind */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t before = (HUGE_PAGE - (uintptr_t)got % HUGE_PAGE) % HUGE_PAGE;
    size_t kept = (size + page - 1) / page * page;
    if (before)
        munmap(got, before);
    if (room - before > kept) {
        size_t last = (room + page - 1) / page * page;
        munmap(got + before + kept, last - before - kept);
    }
    madvise(got + before, kept, MADV_HUGEPAGE);
    return got + before;
}

void memory_unmap(void *memory, uint64_t bytes)
{
    size_t size;
    if (memory && mapped_size(bytes, &size))
        munmap(memory, size);
}
