/* The header of a safetensors file: one JSON object, from names to dtype, shape and data_offsets.
 *
 * A file may hold a hostile header of 100 MB, so a scan of our own walks the outer object, bounds depth, keys and
 * entries, and hands jansson one small entry at a time: memory stays near the size of the table. Every byte is
 * either checked here or by jansson. Then the table is sorted by name (a name twice is an error) and by offset: the
 * data must be covered without hole or overlap. */
#include "runtime/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/file.h"
#include "support/checked.h"

enum {
    MAX_DEPTH = 8,
    MAX_ENTRIES = 1000000,
    MAX_KEY = 4096,
    MAX_ENTRY = 64 << 10, /* bytes of one tensor's entry */
    MAX_METADATA_VALUE = 16 << 20
};
#define MAX_DIM ((int64_t)1 << 48)

typedef struct Scan {
    Context *cx;
    const char *path, *text;
    size_t at, end;
    int depth;        /* brackets open around `at` */
    bool after_value; /* a member came before: a comma or the end must follow */
} Scan;

typedef struct Member {
    size_t key, key_end, value, value_end;
} Member; /* the key with its quotes */

typedef struct Counts {
    size_t members, key_bytes;
} Counts;

/* What is known of a tensor until the table is sorted; HostTensor.data points to it meanwhile. */
typedef struct Range {
    uint64_t begin, end;
} Range;

typedef struct Unknown {
    size_t count;
    const char *tensor, *field;
} Unknown;

static bool fail(const Scan *s, const char *code, size_t at, const char *message)
{
    diag_file_error(s->cx->diags, code, s->path, arena_print(s->cx->arena, "header byte %zu", at), "%s", message);
    return false;
}

static bool fail_tensor(Context *cx, const char *path, const char *code, const char *name, const char *message)
{
    const char *where = arena_print(cx->arena, "tensor `%s`", file_shown(cx, name));
    diag_file_error(cx->diags, code, path, where, "%s", message);
    return false;
}

/* ---- the scan ---------------------------------------------------------------------------------------------------- */

static void skip_space(Scan *s)
{
    while (s->at < s->end) {
        char c = s->text[s->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return;
        s->at++;
    }
}

/* From an opening quote to behind the closing one. */
static bool skip_string(Scan *s, size_t limit, const char *what)
{
    size_t start = s->at++;
    while (s->at < s->end && s->text[s->at] != '"') {
        s->at += s->text[s->at] == '\\' ? 2 : 1;
        if (s->at - start > limit)
            return fail(s, "E0431", start, what);
    }
    if (s->at >= s->end)
        return fail(s, "E0423", start, "the header ends inside a string");
    s->at++;
    return true;
}

/* Behind the bracket that closes the value at `at`, or to the comma or bracket that ends a plain one; what lies
 * between is jansson's to judge. */
static bool skip_value(Scan *s)
{
    int open = 0;
    while (s->at < s->end) {
        char c = s->text[s->at];
        if (c == '"') {
            if (!skip_string(s, SIZE_MAX, ""))
                return false;
            continue;
        }
        bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
        if (open == 0 && (c == ',' || closes))
            return true;
        open += opens - closes;
        if (s->depth + open > MAX_DEPTH)
            return fail(s, "E0431", s->at, "brackets are nested deeper than 8");
        s->at++;
        if (closes && open == 0)
            return true;
    }
    return fail(s, "E0423", s->end, "the header ends inside an object");
}

static bool open_object(Scan *s, const char *what)
{
    if (s->at >= s->end || s->text[s->at] != '{')
        return fail(s, "E0423", s->at, what);
    s->at++;
    s->depth++;
    s->after_value = false;
    return true;
}

typedef enum Step { STEP_MEMBER, STEP_END, STEP_ERROR } Step;

static Step next_member(Scan *s, Member *m)
{
    skip_space(s);
    if (s->at >= s->end)
        return fail(s, "E0423", s->at, "the header ends inside an object"), STEP_ERROR;
    if (s->text[s->at] == '}') {
        s->at++;
        s->depth--;
        return STEP_END;
    }
    if (s->after_value) {
        if (s->text[s->at] != ',')
            return fail(s, "E0423", s->at, "expected `,` or `}`"), STEP_ERROR;
        s->at++;
        skip_space(s);
    }
    m->key = s->at;
    if (s->at >= s->end || s->text[s->at] != '"')
        return fail(s, "E0423", s->at, "expected a name in quotes"), STEP_ERROR;
    if (!skip_string(s, MAX_KEY + 1, "a name is longer than 4096 bytes"))
        return STEP_ERROR;
    m->key_end = s->at;
    skip_space(s);
    if (s->at >= s->end || s->text[s->at] != ':')
        return fail(s, "E0423", s->at, "expected `:`"), STEP_ERROR;
    s->at++;
    skip_space(s);
    m->value = s->at;
    if (!skip_value(s))
        return STEP_ERROR;
    m->value_end = s->at;
    if (m->value_end == m->value)
        return fail(s, "E0423", s->at, "a value is missing"), STEP_ERROR;
    s->after_value = true;
    return STEP_MEMBER;
}

/* Walks one object from `{` to behind its `}`. */
static bool count_members(Scan *s, Counts *out, const char *what)
{
    *out = (Counts){0};
    Member m;
    Step step = STEP_ERROR;
    if (!open_object(s, what))
        return false;
    while ((step = next_member(s, &m)) == STEP_MEMBER) {
        out->key_bytes += m.key_end - m.key;
        if (++out->members > MAX_ENTRIES + 1)
            return fail(s, "E0431", m.key, "the header has more than 1,000,000 entries");
    }
    return step == STEP_END;
}

/* ---- jansson on one piece ---------------------------------------------------------------------------------------- */

static json_t *parse_piece(const Scan *s, size_t begin, size_t end)
{
    json_error_t error;
    json_t *value = json_loadb(s->text + begin, end - begin, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (value)
        return value;
    const char *code = "E0423", *why = error.text;
    if (json_error_code(&error) == json_error_duplicate_key) {
        code = "E0424";
        why = arena_print(s->cx->arena, "an object has a key twice (%s)", error.text);
    }
    if (json_error_code(&error) == json_error_numeric_overflow)
        code = "E0428";
    size_t at = begin + (error.position > 0 ? (size_t)error.position : 0);
    fail(s, code, at, arena_print(s->cx->arena, "invalid JSON: %s", file_shown(s->cx, why)));
    return NULL;
}

/* The text between quotes, decoded into *room, which is advanced; NULL and a diagnostic if it is no JSON string. */
static const char *decode_key(const Scan *s, Member m, char **room)
{
    char *out = *room;
    size_t length = m.key_end - m.key - 2;
    bool plain = true;
    for (size_t i = 0; i < length && plain; i++) {
        unsigned char c = (unsigned char)s->text[m.key + 1 + i];
        plain = c >= 0x20 && c < 0x7f && c != '\\';
    }
    if (plain) {
        memcpy(out, s->text + m.key + 1, length);
    } else {
        json_t *name = parse_piece(s, m.key, m.key_end);
        if (!name)
            return NULL;
        length = json_string_length(name);
        memcpy(out, json_string_value(name), length);
        json_decref(name);
    }
    out[length] = 0;
    *room = out + length + 1;
    return out;
}

static const char *json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a point";
    case JSON_NULL: return "null";
    default: return "a boolean";
    }
}

/* ---- __metadata__ ------------------------------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool metadata_member(const Scan *s, Member m, const char **name, char **room)
{
    *name = decode_key(s, m, room);
    if (!*name)
        return false;
    if (s->text[m.value] != '"') {
        return fail(s, "E0425", m.value, "`__metadata__` may hold only strings");
    }
    if (m.value_end - m.value > MAX_METADATA_VALUE)
        return fail(s, "E0431", m.value, "a metadata value is longer than 16 MiB");
    json_t *value = parse_piece(s, m.value, m.value_end);
    json_decref(value);
    return value != NULL;
}

/* Strings to strings, no key twice. */
static bool check_metadata(const Scan *outer, Member at)
{
    Scan s = *outer;
    s.at = at.value;
    s.end = at.value_end;
    Counts counts;
    if (s.text[s.at] != '{')
        return fail(&s, "E0425", s.at, "`__metadata__` is not an object");
    if (!count_members(&s, &counts, ""))
        return false;
    const char **names = calloc(counts.members + 1, sizeof *names);
    char *rooms = malloc(counts.key_bytes + 1), *room = rooms;
    bool good = names && rooms;
    if (!good)
        fail(&s, "E1003", at.value, "not enough memory for the metadata");
    s.at = at.value;
    s.depth = outer->depth;
    good = good && open_object(&s, "");
    Member m;
    for (size_t i = 0; good && next_member(&s, &m) == STEP_MEMBER; i++)
        good = metadata_member(&s, m, &names[i], &room);
    if (good && counts.members > 1)
        qsort(names, counts.members, sizeof *names, compare_names);
    for (size_t i = 1; good && i < counts.members; i++) {
        if (strcmp(names[i - 1], names[i]) != 0)
            continue;
        good = fail(&s, "E0424", at.value,
                    arena_print(s.cx->arena, "`__metadata__` has the key `%s` twice", file_shown(s.cx, names[i])));
    }
    free(names);
    free(rooms);
    return good;
}

/* ---- one entry --------------------------------------------------------------------------------------------------- */

static bool parse_dtype(const Scan *s, const char *name, const json_t *v, HostTensor *out)
{
    static const char *const known[DT_COUNT] = {"F32", "F16", "BF16", "F64", "I64", "I32", "BOOL", "U8"};
    if (!json_is_string(v)) {
        const char *why = arena_print(s->cx->arena, "`dtype` is %s, not a string", json_kind(v));
        return fail_tensor(s->cx, s->path, "E0425", name, why);
    }
    for (int i = 0; i < DT_COUNT; i++) {
        if (strcmp(known[i], json_string_value(v)) != 0)
            continue;
        out->dtype = (DType)i;
        return true;
    }
    const char *why =
        arena_print(s->cx->arena, "unsupported dtype `%s`; supported are F32, F16, BF16, F64, I64, I32, BOOL and U8",
                    file_shown(s->cx, json_string_value(v)));
    return fail_tensor(s->cx, s->path, "E0426", name, why);
}

static bool parse_shape(const Scan *s, const char *name, const json_t *v, HostTensor *out)
{
    Arena *a = s->cx->arena;
    if (!json_is_array(v)) {
        return fail_tensor(s->cx, s->path, "E0425", name, arena_print(a, "`shape` is %s, not a list", json_kind(v)));
    }
    if (json_array_size(v) > MAX_RANK) {
        return fail_tensor(s->cx, s->path, "E0427", name,
                           arena_print(a, "the shape has %zu axes; at most 8 are supported", json_array_size(v)));
    }
    out->rank = (int)json_array_size(v);
    for (int i = 0; i < out->rank; i++) {
        const json_t *d = json_array_get(v, (size_t)i);
        if (!json_is_integer(d)) {
            return fail_tensor(s->cx, s->path, "E0427", name,
                               arena_print(a, "size %d of the shape is %s, not an integer", i, json_kind(d)));
        }
        out->dims[i] = json_integer_value(d);
        if (out->dims[i] < 0) {
            return fail_tensor(s->cx, s->path, "E0427", name,
                               arena_print(a, "size %d of the shape is negative: %lld", i, (long long)out->dims[i]));
        }
        if (out->dims[i] > MAX_DIM) {
            return fail_tensor(s->cx, s->path, "E0428", name,
                               arena_print(a, "size %d of the shape is too large: %lld", i, (long long)out->dims[i]));
        }
    }
    return true;
}

static bool parse_offsets(const Scan *s, const char *name, const json_t *v, Range *out)
{
    Arena *a = s->cx->arena;
    if (!json_is_array(v) || json_array_size(v) != 2) {
        return fail_tensor(s->cx, s->path, "E0425", name, "`data_offsets` is not a list of two integers");
    }
    const json_t *begin = json_array_get(v, 0), *end = json_array_get(v, 1);
    if (!json_is_integer(begin) || !json_is_integer(end)) {
        return fail_tensor(s->cx, s->path, "E0425", name, "`data_offsets` is not a list of two integers");
    }
    long long from = json_integer_value(begin), to = json_integer_value(end);
    if (from < 0 || to < from) {
        return fail_tensor(s->cx, s->path, "E0429", name,
                           arena_print(a, "data_offsets [%lld, %lld] end before they begin", from, to));
    }
    *out = (Range){(uint64_t)from, (uint64_t)to};
    return true;
}

/* The bytes that dtype and shape ask for. Axes of size 0 do not hide an overflow of the others. */
static bool shape_bytes(const HostTensor *t, uint64_t *out)
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

static bool check_range(const Scan *s, const HostTensor *t, Range r, uint64_t data_bytes)
{
    Arena *a = s->cx->arena;
    uint64_t bytes;
    if (!shape_bytes(t, &bytes))
        return fail_tensor(s->cx, s->path, "E0428", t->name, "the size of the shape overflows");
    if (r.begin > data_bytes || r.end > data_bytes) {
        return fail_tensor(s->cx, s->path, "E0429", t->name,
                           arena_print(a, "data_offsets [%llu, %llu] go beyond the file's %llu bytes of data",
                                       (unsigned long long)r.begin, (unsigned long long)r.end,
                                       (unsigned long long)data_bytes));
    }
    if (r.end - r.begin == bytes)
        return true;
    return fail_tensor(s->cx, s->path, "E0430", t->name,
                       arena_print(a, "its shape and dtype need %llu bytes, but data_offsets [%llu, %llu] hold %llu",
                                   (unsigned long long)bytes, (unsigned long long)r.begin, (unsigned long long)r.end,
                                   (unsigned long long)(r.end - r.begin)));
}

static const json_t *need(const Scan *s, const char *name, const json_t *entry, const char *field)
{
    const json_t *v = json_object_get(entry, field);
    if (!v)
        fail_tensor(s->cx, s->path, "E0425", name, arena_print(s->cx->arena, "`%s` is missing", field));
    return v;
}

static void note_unknown(const Scan *s, const char *name, json_t *entry, Unknown *unknown)
{
    const char *field;
    json_t *value;
    json_object_foreach(entry, field, value)
    {
        if (!strcmp(field, "dtype") || !strcmp(field, "shape") || !strcmp(field, "data_offsets"))
            continue;
        if (unknown->count++ > 0)
            continue;
        unknown->tensor = file_shown(s->cx, name);
        unknown->field = file_shown(s->cx, field);
    }
}

static bool parse_entry(const Scan *s, Member m, HostTensor *t, Range *r, uint64_t data_bytes, Unknown *unknown)
{
    if (s->text[m.value] != '{')
        return fail_tensor(s->cx, s->path, "E0425", t->name, "the entry is not an object");
    if (m.value_end - m.value > MAX_ENTRY)
        return fail_tensor(s->cx, s->path, "E0431", t->name, "the entry is longer than 64 KiB");
    json_t *entry = parse_piece(s, m.value, m.value_end);
    if (!entry)
        return false;
    const json_t *dtype = need(s, t->name, entry, "dtype");
    const json_t *shape = dtype ? need(s, t->name, entry, "shape") : NULL;
    const json_t *offsets = shape ? need(s, t->name, entry, "data_offsets") : NULL;
    bool good = offsets && parse_dtype(s, t->name, dtype, t) && parse_shape(s, t->name, shape, t) &&
                parse_offsets(s, t->name, offsets, r) && check_range(s, t, *r, data_bytes);
    if (good && json_object_size(entry) > 3)
        note_unknown(s, t->name, entry, unknown);
    json_decref(entry);
    return good;
}

static bool parse_entries(Scan *s, TensorFile *out, Range *ranges, char *room)
{
    bool metadata = false;
    Unknown unknown = {0};
    Member m;
    Step step = STEP_ERROR;
    if (!open_object(s, ""))
        return false;
    while ((step = next_member(s, &m)) == STEP_MEMBER) {
        const char *name = decode_key(s, m, &room);
        if (!name)
            return false;
        if (!strcmp(name, "__metadata__")) {
            if (metadata)
                return fail(s, "E0424", m.key, "`__metadata__` stands there twice");
            metadata = true;
            if (!check_metadata(s, m))
                return false;
            continue;
        }
        if (out->count == MAX_ENTRIES)
            return fail(s, "E0431", m.key, "the header has more than 1,000,000 entries");
        HostTensor *t = &out->tensors[out->count];
        t->name = name;
        t->data = &ranges[out->count];
        if (!parse_entry(s, m, t, &ranges[out->count], out->data_bytes, &unknown))
            return false;
        out->count++;
    }
    if (unknown.count > 0) {
        diag_file_warning(s->cx->diags, "W0436", s->path, arena_print(s->cx->arena, "tensor `%s`", unknown.tensor),
                          "unknown field `%s` is ignored%s", unknown.field,
                          unknown.count > 1 ? " (and more like it)" : "");
    }
    return step == STEP_END;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static int compare_tensors(const void *a, const void *b)
{
    return strcmp(((const HostTensor *)a)->name, ((const HostTensor *)b)->name);
}

static bool sort_by_name(Context *cx, const char *path, TensorFile *out)
{
    if (out->count > 1)
        qsort(out->tensors, (size_t)out->count, sizeof *out->tensors, compare_tensors);
    for (int64_t i = 1; i < out->count; i++) {
        if (strcmp(out->tensors[i - 1].name, out->tensors[i].name) == 0) {
            return fail_tensor(cx, path, "E0424", out->tensors[i].name, "the header has this name twice");
        }
    }
    return true;
}

static int compare_ranges(const void *a, const void *b)
{
    const Range *x = ((const HostTensor *const *)a)[0]->data, *y = ((const HostTensor *const *)b)[0]->data;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end == y->end ? 0 : x->end < y->end ? -1 : 1;
}

static bool check_coverage(Context *cx, const char *path, const TensorFile *f, HostTensor *const *order)
{
    uint64_t expected = 0;
    for (int64_t i = 0; i < f->count; i++) {
        const Range *r = order[i]->data;
        if (r->begin < expected) {
            return fail_tensor(
                cx, path, "E0429", order[i]->name,
                arena_print(cx->arena, "its data overlaps that of tensor `%s`", file_shown(cx, order[i - 1]->name)));
        }
        if (r->begin > expected) {
            return fail_tensor(cx, path, "E0429", order[i]->name,
                               arena_print(cx->arena, "%llu bytes before its data belong to no tensor",
                                           (unsigned long long)(r->begin - expected)));
        }
        expected = r->end;
    }
    if (expected == f->data_bytes)
        return true;
    diag_file_error(cx->diags, "E0429", path, NULL, "%llu bytes after the last tensor belong to no tensor",
                    (unsigned long long)(f->data_bytes - expected));
    return false;
}

/* Checks the order by offset and leaves the begins in `out->begin`. */
static bool finish_table(Context *cx, const char *path, TensorFile *out)
{
    if (!sort_by_name(cx, path, out))
        return false;
    HostTensor **order = malloc(((size_t)out->count + 1) * sizeof *order);
    if (!order)
        return diag_file_error(cx->diags, "E1003", path, NULL, "not enough memory for the header"), false;
    for (int64_t i = 0; i < out->count; i++)
        order[i] = &out->tensors[i];
    if (out->count > 1)
        qsort(order, (size_t)out->count, sizeof *order, compare_ranges);
    bool good = check_coverage(cx, path, out, order);
    free(order);
    out->begin = arena_array(cx->arena, (size_t)out->count + 1, sizeof *out->begin);
    for (int64_t i = 0; i < out->count; i++) {
        out->begin[i] = ((const Range *)out->tensors[i].data)->begin;
        out->tensors[i].data = NULL;
    }
    return good;
}

bool header_parse(Context *cx, const char *path, const char *text, size_t size, TensorFile *out)
{
    Scan s = {.cx = cx, .path = path, .text = text, .end = size};
    skip_space(&s);
    size_t start = s.at;
    Counts counts;
    if (!count_members(&s, &counts, "the header is not a JSON object"))
        return false;
    skip_space(&s);
    if (s.at != s.end)
        return fail(&s, "E0423", s.at, "text after the end of the header's object");
    char *names = arena_alloc(cx->arena, counts.key_bytes + 1);
    out->count = 0;
    out->tensors = arena_array(cx->arena, counts.members + 1, sizeof *out->tensors);
    Range *ranges = calloc(counts.members + 1, sizeof *ranges);
    if (!ranges)
        return fail(&s, "E1003", 0, "not enough memory for the header");
    s = (Scan){.cx = cx, .path = path, .text = text, .at = start, .end = size};
    bool good = parse_entries(&s, out, ranges, names) && finish_table(cx, path, out);
    free(ranges);
    return good;
}
