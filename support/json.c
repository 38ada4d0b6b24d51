/* JSON: a scan over the bytes bounds the nesting before jansson, which recurses, sees them; jansson refuses the rest. */
#include "support/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The byte at which nesting first exceeds max_depth, or -1. Text in quotes does not count. */
static int64_t too_deep_at(const char *text, size_t size, int max_depth)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > max_depth)
                return (int64_t)i;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return -1;
}

json_t *json_read_text(Diags *d, const char *code, const char *file, const char *text, size_t size, int max_depth)
{
    int64_t deep = too_deep_at(text, size, max_depth);
    if (deep >= 0) {
        diag_file_error(d, code, file, arena_print(d->arena, "byte %lld", (long long)deep), "nested deeper than %d levels", max_depth);
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root)
        diag_file_error(d, code, file, arena_print(d->arena, "line %d, column %d", error.line, error.column), "not valid JSON: %s", error.text);
    return root;
}

json_t *json_read_file(Diags *d, const char *code, const char *file, size_t max_size, int max_depth)
{
    FILE *f = fopen(file, "rb");
    if (!f) {
        diag_file_error(d, code, file, NULL, "cannot be opened: %s", strerror(errno));
        return NULL;
    }
    size_t capacity = 65536, size = 0;
    char *text = malloc(capacity);
    while (text && size <= max_size) {
        size += fread(text + size, 1, capacity - size, f);
        if (size < capacity)
            break;
        char *more = realloc(text, capacity *= 2);
        if (!more)
            free(text);
        text = more;
    }
    bool failed = ferror(f) != 0;
    int reason = errno;
    fclose(f);
    json_t *root = NULL;
    if (!text)
        diag_file_error(d, code, file, NULL, "no memory to read it");
    else if (failed)
        diag_file_error(d, code, file, NULL, "cannot be read: %s", strerror(reason));
    else if (size > max_size)
        diag_file_error(d, code, file, NULL, "larger than the limit of %zu bytes", max_size);
    else
        root = json_read_text(d, code, file, text, size, max_depth);
    free(text);
    return root;
}

json_t *json_at(json_t *root, const char *path)
{
    json_t *at = root;
    while (at && *path) {
        size_t length = strcspn(path, ".");
        at = json_is_object(at) ? json_object_getn(at, path, length) : NULL;
        path += length + (path[length] == '.');
    }
    return at && !json_is_null(at) ? at : NULL;
}
