/* safetensors files: 8 bytes of header length, the header, the data. Nothing is allocated before the length was
 * compared with the file's size; no tensor is read before the whole header was checked. Writing mirrors reading. */
#include "runtime/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/file.h"
#include "support/checked.h"

#define MAX_HEADER ((uint64_t)100000000)

static uint64_t little_endian(const unsigned char *b)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | b[i];
    return value;
}

uint64_t tensor_bytes(const HostTensor *t)
{
    return (uint64_t)host_count(t) * dtype_size(t->dtype);
}

/* The header's length, compared with the file's size; 0 and a diagnostic if it cannot be right. */
static uint64_t header_length(Context *cx, const TensorFile *f, uint64_t size)
{
    unsigned char first[8];
    if (size < sizeof first) {
        diag_file_error(cx->diags, "E0422", f->path, NULL, "the file has %llu bytes; a safetensors file has at least 8",
                        (unsigned long long)size);
        return 0;
    }
    int error = file_read(f->fd, first, sizeof first, 0);
    if (error) {
        diag_file_error(cx->diags, "E0420", f->path, NULL, "cannot read the file: %s", file_reason(cx, error));
        return 0;
    }
    uint64_t length = little_endian(first);
    if (length > size - sizeof first) {
        diag_file_error(
            cx->diags, "E0422", f->path, NULL,
            "the header should have %llu bytes, but only %llu follow: the file is cut off or is no safetensors file",
            (unsigned long long)length, (unsigned long long)(size - sizeof first));
        return 0;
    }
    if (length > MAX_HEADER) {
        diag_file_error(cx->diags, "E0422", f->path, NULL, "the header has %llu bytes; at most 100,000,000 are allowed",
                        (unsigned long long)length);
        return 0;
    }
    if (length < 2) {
        diag_file_error(cx->diags, "E0422", f->path, NULL, "the header has %llu bytes; even an empty one has 2",
                        (unsigned long long)length);
        return 0;
    }
    return length;
}

static bool read_header(Context *cx, TensorFile *f, uint64_t size)
{
    uint64_t length = header_length(cx, f, size);
    if (length == 0)
        return false;
    char *text = malloc(length);
    if (!text) {
        diag_file_error(cx->diags, "E1003", f->path, NULL, "not enough memory for a header of %llu bytes",
                        (unsigned long long)length);
        return false;
    }
    f->data = 8 + length;
    f->data_bytes = size - f->data;
    int error = file_read(f->fd, text, length, 8);
    if (error)
        diag_file_error(cx->diags, "E0420", f->path, NULL, "cannot read the header: %s", file_reason(cx, error));
    bool good = !error && header_parse(cx, f->path, text, length, f);
    free(text);
    return good;
}

bool tensor_file_open(Context *cx, const char *path, TensorFile *out)
{
    *out = (TensorFile){.path = arena_copy(cx->arena, path, strlen(path)), .fd = -1};
    uint64_t size;
    out->fd = file_open(cx, "E0421", path, &size);
    if (out->fd < 0)
        return false;
    struct stat st = {0};
    fstat(out->fd, &st);
    out->bytes = (uint64_t)st.st_size;
    out->written = st.st_mtim;
    if (read_header(cx, out, size))
        return true;
    tensor_file_close(out);
    return false;
}

int tensor_file_check(const TensorFile *f)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return errno;
    bool same = (uint64_t)st.st_size == f->bytes && st.st_mtim.tv_sec == f->written.tv_sec &&
                st.st_mtim.tv_nsec == f->written.tv_nsec;
    return same ? 0 : FILE_CHANGED;
}

void tensor_file_close(TensorFile *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

int64_t tensor_file_find(const TensorFile *f, const char *name)
{
    int64_t low = 0, high = f->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(f->tensors[middle].name, name);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int tensor_file_read(const TensorFile *f, int64_t tensor, uint64_t first, uint64_t bytes, void *out)
{
    size_t size;
    if (!checked_size(bytes, &size))
        return FILE_SHRUNK;
    return file_read(f->fd, out, size, f->data + f->begin[tensor] + first);
}

HostTensor *safetensors_load(Context *cx, const char *path, int *count)
{
    TensorFile f;
    if (!tensor_file_open(cx, path, &f))
        return NULL;
    *count = (int)f.count;
    int error = 0;
    for (int64_t i = 0; i < f.count && !error; i++) {
        HostTensor *t = &f.tensors[i];
        t->data = arena_alloc(cx->arena, tensor_bytes(t) + 1);
        error = tensor_file_read(&f, i, 0, tensor_bytes(t), t->data);
        if (!error)
            continue;
        const char *where = arena_print(cx->arena, "tensor `%s`", file_shown(cx, t->name));
        diag_file_error(cx->diags, "E0420", path, where, "cannot read the data: %s", file_reason(cx, error));
    }
    tensor_file_close(&f);
    return error ? NULL : f.tensors;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void add_name(Text *t, const char *name)
{
    json_t *value = json_string(name);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    text_add(t, "%s", quoted ? quoted : "\"\"");
    free(quoted);
    json_decref(value);
}

static void add_entry(Text *t, const HostTensor *tensor, uint64_t begin)
{
    static const char *const names[DT_COUNT] = {"F32", "F16", "BF16", "F64", "I64", "I32", "BOOL", "U8"};
    add_name(t, tensor->name);
    text_add(t, ":{\"dtype\":\"%s\",\"shape\":[", names[tensor->dtype]);
    for (int i = 0; i < tensor->rank; i++)
        text_add(t, i ? ",%lld" : "%lld", (long long)tensor->dims[i]);
    text_add(t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
             (unsigned long long)(begin + tensor_bytes(tensor)));
}

/* Wide elements first, so that each tensor is aligned to its elements. */
static int order_of(const HostTensor *tensors, int count, int *order)
{
    int n = 0;
    for (size_t size = 8; size > 0; size /= 2) {
        for (int i = 0; i < count; i++) {
            if (dtype_size(tensors[i].dtype) == size)
                order[n++] = i;
        }
    }
    return n;
}

static bool can_write(Context *cx, const char *path, const HostTensor *t)
{
    json_t *valid = json_string(t->name);
    json_decref(valid);
    if (valid && host_count(t) >= 0 && strcmp(t->name, "__metadata__") != 0)
        return true;
    diag_file_error(cx->diags, "E1010", path, arena_print(cx->arena, "tensor `%s`", file_shown(cx, t->name)),
                    "safetensors cannot hold this name or size");
    return false;
}

bool safetensors_save(Context *cx, const char *path, const HostTensor *tensors, int count)
{
    int *order = arena_array(cx->arena, (size_t)count + 1, sizeof *order);
    int n = order_of(tensors, count, order);
    Text header = text_new(cx->arena);
    uint64_t at = 0;
    text_char(&header, '{');
    for (int i = 0; i < n; i++) {
        if (!can_write(cx, path, &tensors[order[i]]))
            return false;
        if (i)
            text_char(&header, ',');
        add_entry(&header, &tensors[order[i]], at);
        at += tensor_bytes(&tensors[order[i]]);
    }
    text_char(&header, '}');
    while (header.length % 8)
        text_char(&header, ' ');
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)header.length >> (8 * i));
    Writer w;
    writer_open(cx, &w, path);
    writer_put(&w, length, sizeof length);
    writer_put(&w, header.data, header.length);
    for (int i = 0; i < n; i++)
        writer_put(&w, tensors[order[i]].data, tensor_bytes(&tensors[order[i]]));
    return writer_close(cx, &w);
}
