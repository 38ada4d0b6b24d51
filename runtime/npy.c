/* .npy files: a magic, a version, the length of a header, the header (a Python literal), the data.
 *
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 *
 * Only such a dictionary of three keys is read, by the small scanner below; nothing is evaluated. */
#include "runtime/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/file.h"
#include "runtime/safetensors.h"
#include "support/checked.h"

enum { MAX_HEADER = 1 << 20, DESCR = 64 };

typedef struct Literal { /* the header while it is read */
    Context *cx;
    const char *path, *at, *end;
} Literal;

typedef struct Header {
    char descr[DESCR];
    bool fortran;
    int rank;
    int64_t dims[MAX_RANK];
    bool has_descr, has_order, has_shape;
} Header;

static bool fail(Context *cx, const char *path, const char *code, const char *message)
{
    diag_file_error(cx->diags, code, path, NULL, "%s", message);
    return false;
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

static bool take(Literal *l, const char *word)
{
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\n'))
        l->at++;
    size_t n = strlen(word);
    if ((size_t)(l->end - l->at) < n || memcmp(l->at, word, n) != 0)
        return false;
    l->at += n;
    return true;
}

static bool read_string(Literal *l, char *out, size_t room)
{
    if (!take(l, "'"))
        return false;
    size_t n = 0;
    for (; l->at < l->end && *l->at != '\''; l->at++) {
        if (*l->at == '\\' || n + 1 == room)
            return false;
        out[n++] = *l->at;
    }
    out[n] = 0;
    return take(l, "'");
}

static bool read_size(Literal *l, int64_t *out)
{
    take(l, ""); /* spaces */
    int64_t value = 0;
    const char *start = l->at;
    for (; l->at < l->end && *l->at >= '0' && *l->at <= '9'; l->at++) {
        if (!checked_imul(value, 10, &value) || !checked_iadd(value, *l->at - '0', &value))
            return false;
    }
    *out = value;
    return l->at > start;
}

static bool read_shape(Literal *l, Header *h)
{
    if (!take(l, "("))
        return false;
    while (!take(l, ")")) {
        if (h->rank == MAX_RANK || !read_size(l, &h->dims[h->rank]))
            return false;
        h->rank++;
        if (take(l, ","))
            continue;
        return h->rank > 1 && take(l, ")"); /* (3) is a number, not a shape */
    }
    return true;
}

static bool read_field(Literal *l, Header *h)
{
    char key[DESCR];
    if (!read_string(l, key, sizeof key) || !take(l, ":"))
        return false;
    if (!strcmp(key, "descr") && !h->has_descr) {
        h->has_descr = true;
        if (take(l, "["))
            return fail(l->cx, l->path, "E0441", "the elements are records; only plain numbers are read");
        return read_string(l, h->descr, sizeof h->descr);
    }
    if (!strcmp(key, "fortran_order") && !h->has_order) {
        h->has_order = true;
        h->fortran = take(l, "True");
        return h->fortran || take(l, "False");
    }
    if (strcmp(key, "shape") != 0 || h->has_shape)
        return false;
    h->has_shape = true;
    return read_shape(l, h);
}

static bool read_literal(Literal *l, Header *h)
{
    *h = (Header){0};
    if (!take(l, "{"))
        return false;
    while (!take(l, "}")) {
        if (!read_field(l, h))
            return false;
        if (take(l, ","))
            continue;
        if (!take(l, "}"))
            return false;
        break;
    }
    take(l, "");
    return l->at == l->end && h->has_descr && h->has_order && h->has_shape;
}

static const struct {
    const char *descr;
    DType dtype;
} dtypes[] = {
    {"<f4", DT_F32}, {"<f2", DT_F16},  {"<f8", DT_F64}, {"<i8", DT_I64},
    {"<i4", DT_I32}, {"|b1", DT_BOOL}, {"|u1", DT_U8},
};

static bool find_dtype(Context *cx, const char *path, const char *descr, DType *out)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtypes[i].descr, descr) != 0)
            continue;
        *out = dtypes[i].dtype;
        return true;
    }
    const char *why = descr[0] == '>' ? "big-endian numbers" : !strcmp(descr, "|O") ? "pickled Python objects" : NULL;
    const char *shown = file_shown(cx, descr);
    return fail(cx, path, "E0441",
                why ? arena_print(cx->arena, "the elements are `%s`: %s are not read", shown, why)
                    : arena_print(cx->arena, "the elements are `%s`; read are <f4 <f2 <f8 <i8 <i4 |b1 |u1", shown));
}

/* Magic, version and length; `size` is the file's. The literal lies at *start and has *length bytes. */
static bool read_preamble(Context *cx, const char *path, int fd, uint64_t size, uint64_t *start, uint64_t *length)
{
    unsigned char b[12] = {0};
    int error = file_read(fd, b, size < sizeof b ? (size_t)size : sizeof b, 0);
    if (error)
        return fail(cx, path, "E0420", file_reason(cx, error));
    if (size < 10 || memcmp(b, "\x93NUMPY", 6) != 0)
        return fail(cx, path, "E0440", "this is not an .npy file");
    if (b[6] < 1 || b[6] > 3)
        return fail(cx, path, "E0440", arena_print(cx->arena, "version %d of the format is not known", b[6]));
    *start = b[6] == 1 ? 10 : 12;
    *length = (uint64_t)b[8] | (uint64_t)b[9] << 8;
    if (b[6] > 1)
        *length |= (uint64_t)b[10] << 16 | (uint64_t)b[11] << 24;
    if (size < *start || *length > size - *start)
        return fail(cx, path, "E0440", "the file is cut off inside its header");
    if (*length > MAX_HEADER)
        return fail(cx, path, "E0440", "the header is longer than 1 MiB");
    return true;
}

static bool read_header(Context *cx, const char *path, int fd, uint64_t size, Header *h, uint64_t *data)
{
    uint64_t start, length;
    if (!read_preamble(cx, path, fd, size, &start, &length))
        return false;
    char *text = arena_alloc(cx->arena, length + 1);
    int error = file_read(fd, text, length, start);
    if (error)
        return fail(cx, path, "E0420", file_reason(cx, error));
    Literal l = {cx, path, text, text + length};
    int errors = cx->diags->errors;
    if (!read_literal(&l, h)) {
        if (cx->diags->errors > errors)
            return false;
        return fail(cx, path, "E0440",
                    arena_print(cx->arena, "the header is malformed at byte %lld",
                                (long long)(l.at - text) + (long long)start));
    }
    *data = start + length;
    return true;
}

/* ---- the data ---------------------------------------------------------------------------------------------------- */

static bool data_bytes(const HostTensor *t, uint64_t *out)
{
    uint64_t bytes = dtype_size(t->dtype);
    bool empty = false;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 0)
            empty = true;
        else if (!checked_mul(bytes, (uint64_t)t->dims[i], &bytes) || bytes > INT64_MAX)
            return false;
    }
    *out = empty ? 0 : bytes;
    return true;
}

/* Column-major to row-major: `from` is walked in order, the index counts with the first axis fastest. */
static void transpose(const HostTensor *t, const unsigned char *from)
{
    size_t size = dtype_size(t->dtype);
    int64_t stride[MAX_RANK], index[MAX_RANK] = {0}, at = 0, count = host_count(t);
    int64_t step = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->dims[i];
    }
    for (int64_t n = 0; n < count; n++) {
        memcpy((unsigned char *)t->data + (size_t)at * size, from + (size_t)n * size, size);
        for (int i = 0; i < t->rank; i++) {
            at += stride[i];
            if (++index[i] < t->dims[i])
                break;
            at -= stride[i] * t->dims[i];
            index[i] = 0;
        }
    }
}

static bool read_data(Context *cx, const char *path, int fd, uint64_t at, uint64_t size, bool fortran, HostTensor *out)
{
    uint64_t bytes;
    if (!data_bytes(out, &bytes))
        return fail(cx, path, "E0442", "the size of the shape overflows");
    if (bytes != size - at) {
        return fail(cx, path, "E0442",
                    arena_print(cx->arena, "shape and element type need %llu bytes, but %llu follow the header",
                                (unsigned long long)bytes, (unsigned long long)(size - at)));
    }
    out->data = arena_alloc(cx->arena, bytes + 1);
    bool turned = fortran && out->rank > 1;
    unsigned char *to = turned ? malloc(bytes + 1) : out->data;
    if (!to)
        return fail(cx, path, "E1003",
                    arena_print(cx->arena, "not enough memory for %llu bytes", (unsigned long long)bytes));
    int error = file_read(fd, to, bytes, at);
    if (!error && turned)
        transpose(out, to);
    if (turned)
        free(to);
    return !error ||
           fail(cx, path, "E0420", arena_print(cx->arena, "cannot read the data: %s", file_reason(cx, error)));
}

bool npy_load(Context *cx, const char *path, HostTensor *out)
{
    uint64_t size, data;
    int fd = file_open(cx, "E0420", path, &size);
    if (fd < 0)
        return false;
    Header h;
    *out = (HostTensor){0};
    bool good = read_header(cx, path, fd, size, &h, &data) && find_dtype(cx, path, h.descr, &out->dtype);
    if (good) {
        out->rank = h.rank;
        memcpy(out->dims, h.dims, sizeof h.dims);
        good = read_data(cx, path, fd, data, size, h.fortran, out);
    }
    close(fd);
    return good;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static const char *descr_of(DType t)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (dtypes[i].dtype == t)
            return dtypes[i].descr;
    }
    return "<f4"; /* bf16 is written as f32 */
}

/* bf16 has no type in numpy: its values are written as f32, piece by piece. */
static void put_widened(Writer *w, const HostTensor *t)
{
    float piece[1024];
    int64_t count = host_count(t), step = sizeof piece / sizeof *piece;
    for (int64_t at = 0; at < count; at += step) {
        int64_t now = count - at < step ? count - at : step;
        convert_f32(t->dtype, (const unsigned char *)t->data + (size_t)at * dtype_size(t->dtype), (size_t)now, piece);
        writer_put(w, piece, (size_t)now * sizeof *piece);
    }
}

bool npy_save(Context *cx, const char *path, const HostTensor *tensor)
{
    if (host_count(tensor) < 0)
        return fail(cx, path, "E1010", "the size of the tensor overflows");
    Text h = text_new(cx->arena);
    text_add(&h, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(tensor->dtype));
    for (int i = 0; i < tensor->rank; i++)
        text_add(&h, tensor->rank == 1 ? "%lld," : i ? ", %lld" : "%lld", (long long)tensor->dims[i]);
    text_add(&h, "), }");
    while ((10 + h.length + 1) % 64)
        text_char(&h, ' ');
    text_char(&h, '\n');
    unsigned char start[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)h.length, (unsigned char)(h.length >> 8)};
    Writer w;
    writer_open(cx, &w, path);
    writer_put(&w, start, sizeof start);
    writer_put(&w, h.data, h.length);
    if (tensor->dtype == DT_BF16)
        put_widened(&w, tensor);
    else
        writer_put(&w, tensor->data, tensor_bytes(tensor));
    return writer_close(cx, &w);
}
