/* Sources: read whole into the arena, with the size known and bounded before anything is allocated. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/source.h"

static bool refuse(Context *cx, const char *code, const char *path, const char *why)
{
    diag_file_error(cx->diags, code, path, NULL, "cannot read this file: %s", why);
    return false;
}

static bool read_all(int fd, char *out, size_t size, size_t *got)
{
    for (*got = 0; *got < size;) {
        ssize_t n = read(fd, out + *got, size - *got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0)
            return true;
        *got += (size_t)n;
    }
    return true;
}

static bool read_open(Context *cx, const char *code, const char *path, int fd, size_t limit, Source *out)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return refuse(cx, code, path, strerror(errno));
    if (S_ISDIR(info.st_mode))
        return refuse(cx, code, path, "it is a directory");
    if (!S_ISREG(info.st_mode))
        return refuse(cx, code, path, "it is not a regular file");
    if ((uint64_t)info.st_size > limit)
        return refuse(cx, code, path,
                      arena_print(cx->arena, "it has %lld bytes, more than the %zu allowed here",
                                  (long long)info.st_size, limit));
    char *text = arena_alloc(cx->arena, (size_t)info.st_size + 1);
    size_t got;
    if (!read_all(fd, text, (size_t)info.st_size, &got))
        return refuse(cx, code, path, strerror(errno));
    *out = (Source){.path = arena_copy(cx->arena, path, strlen(path)), .text = text, .size = got};
    return true;
}

bool source_read(Context *cx, const char *code, const char *path, size_t limit, Source *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse(cx, code, path, strerror(errno));
    bool good = read_open(cx, code, path, fd, limit, out);
    close(fd);
    return good;
}
