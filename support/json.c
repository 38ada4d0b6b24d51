/* JSON: jansson behind a pre-scan. jansson recurses over nesting, so depth is measured before it sees the text; its messages are kept,
 * with the place. Duplicate keys, text after the value and NUL (also escaped) are refused; so are integers beyond 64 bits. */
#include "support/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *place(Diags *d, size_t line, size_t column)
{
    return arena_print(d->arena, "line %zu, column %zu", line, column);
}

/* Line and column (in bytes) of an offset. */
static const char *place_of(Diags *d, const char *text, size_t offset)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < offset; i++)
        if (text[i] == '\n') {
            line++;
            start = i + 1;
        }
    return place(d, line, offset - start + 1);
}

/* The offset of the bracket that opens a level too many, or `size`. */
static size_t too_deep(const char *text, size_t size, int max_depth)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > max_depth)
                return i;
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        }
    }
    return size;
}

/* jansson quotes the text near the fault; control characters in it must not reach a terminal. */
static const char *printable(Diags *d, const char *text)
{
    char *copy = arena_copy(d->arena, text, strlen(text));
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
    return copy;
}

json_t *json_read_text(Diags *d, const char *code, const char *file, const char *text, size_t size, int max_depth)
{
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        diag_file_error(d, code, file, "byte 0", "not valid JSON: starts with a byte order mark");
        return NULL;
    }
    size_t deep = too_deep(text, size, max_depth);
    if (deep < size) {
        diag_file_error(d, code, file, place_of(d, text, deep), "JSON nested deeper than %d levels", max_depth);
        return NULL;
    }
    const char *nul = memchr(text, 0, size); /* jansson overlooks one behind a number */
    if (nul) {
        diag_file_error(d, code, file, place_of(d, text, (size_t)(nul - text)), "not valid JSON: a NUL byte");
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root)
        return root;
    const char *where =
        error.line > 0 ? place(d, (size_t)error.line, error.column > 0 ? (size_t)error.column : 1) : NULL;
    diag_file_error(d, code, file, where, "not valid JSON: %s", printable(d, error.text));
    return NULL;
}

/* The whole of an open regular file of at most `max_size` bytes, or NULL and one diagnostic. The caller frees it. */
static char *read_open(Diags *d, const char *code, const char *file, int fd, size_t max_size, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        diag_file_error(d, code, file, NULL, "not a regular file");
        return NULL;
    }
    if (st.st_size < 0 || (uintmax_t)st.st_size > max_size) {
        diag_file_error(d, code, file, NULL, "too large: %lld bytes, at most %zu are allowed", (long long)st.st_size,
                        max_size);
        return NULL;
    }
    size_t room = (size_t)st.st_size;
    char *text = malloc(room + 1);
    if (!text) {
        diag_file_error(d, "E1001", file, NULL, "no memory for %zu bytes", room);
        return NULL;
    }
    *size = 0;
    while (*size < room) {
        ssize_t n = read(fd, text + *size, room - *size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            diag_file_error(d, code, file, NULL, "cannot be read: %s", strerror(errno));
            free(text);
            return NULL;
        }
        if (n == 0)
            break;
        *size += (size_t)n;
    }
    return text;
}

json_t *json_read_file(Diags *d, const char *code, const char *file, size_t max_size, int max_depth)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not make us wait */
    if (fd < 0) {
        diag_file_error(d, code, file, NULL, "cannot be opened: %s", strerror(errno));
        return NULL;
    }
    size_t size;
    char *text = read_open(d, code, file, fd, max_size, &size);
    close(fd);
    if (!text)
        return NULL;
    json_t *root = json_read_text(d, code, file, text, size, max_depth);
    free(text);
    return root;
}

json_t *json_at(json_t *root, const char *path)
{
    while (*path) {
        size_t length = strcspn(path, ".");
        root = json_object_getn(root, path, length);
        path += length + (path[length] == '.');
    }
    return json_is_null(root) ? NULL : root;
}
