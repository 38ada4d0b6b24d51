/* 10,000 structured mutants of valid safetensors files and 2,000 of an index: each is either read, and then whole,
 * or refused with one diagnostic. Seeded: the same mutants everywhere. Under the sanitizers this is the memory test
 * of the loader. */
#include "tests/runtime/fixture.h"

#include "runtime/checkpoint.h"

enum { ROUNDS = 20, MUTANTS = 500, INDEX_ROUNDS = 4 };

typedef struct Mutant {
    unsigned char *bytes;
    size_t size, room;
} Mutant;

static const struct {
    const char *header;
    size_t data;
} bases[] = {
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_"
     "offsets\":[24,32]}}",
     32},
    {"{\"__metadata__\":{\"format\":\"pt\",\"made\":\"by\\u0061 "
     "test\"},\"w.0\":{\"dtype\":\"BF16\",\"shape\":[1,2,3],\"data_offsets\":[0,12]}}   ",
     12},
    {"{\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},\"e\":{\"dtype\":\"U8\",\"shape\":[0,5],\"data_"
     "offsets\":[8,8]},"
     "\"f\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[8,11]}}",
     11},
    {"{\"z\":{\"data_offsets\":[8,16],\"shape\":[2],\"dtype\":\"I32\"},\"y\":{\"dtype\":\"F64\",\"data_offsets\":[0,8],"
     "\"shape\":[1,1,1,1,1,1,1,1]}}",
     16},
    {"{}", 0},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[64,64],\"data_offsets\":[0,16384],\"note\":{\"k\":[1,2,{\"d\":null}]}}}",
     16384},
};
enum { BASES = sizeof bases / sizeof *bases };

static const char *const words[] = {
    "0",
    "1",
    "-1",
    "7",
    "8",
    "9",
    "16",
    "2147483648",
    "4294967296",
    "281474976710656",
    "281474976710657",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e3",
    "2.0",
    "1e999",
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    "\"F32\"",
    "\"F16\"",
    "\"BF16\"",
    "\"f32\"",
    "\"F4\"",
    "\"dtype\"",
    "\"shape\"",
    "\"data_offsets\"",
    "\"__metadata__\"",
    "\"a\"",
    "\\u0000",
    "\\ud800",
    "\xff",
    "\xc0\xaf",
    " ",
    "\n",
    "[0,0]",
    "[0,8]",
    "[8,0]",
    "[]",
    "{}",
    "[[]]",
    "..",
    "/",
    "\"model-1.safetensors\"",
    "http://x",
};
enum { WORDS = sizeof words / sizeof *words };

/* Puts `n` bytes in the place of [from, to). */
static void splice(Mutant *m, size_t from, size_t to, const void *bytes, size_t n)
{
    ck_assert_uint_le(m->size - (to - from) + n, m->room);
    memmove(m->bytes + from + n, m->bytes + to, m->size - to);
    memcpy(m->bytes + from, bytes, n);
    m->size = m->size - (to - from) + n;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* A number of the text in [low, high) that begins at or after a random place; false if there is none. */
static bool find_number(const Mutant *m, size_t low, size_t high, uint64_t *seed, size_t *from, size_t *to)
{
    if (high <= low)
        return false;
    size_t start = low + draw(seed) % (high - low);
    for (size_t i = 0; i < high - low; i++) {
        size_t at = low + (start - low + i) % (high - low);
        if (!is_digit(m->bytes[at]))
            continue;
        for (*to = at; *to < high && is_digit(m->bytes[*to]); (*to)++) {}
        *from = at;
        return true;
    }
    return false;
}

/* One edit of the text in [low, high). */
static void edit(Mutant *m, size_t low, size_t high, uint64_t *seed)
{
    size_t span = high - low, from = low + (span ? draw(seed) % span : 0), to = from;
    const char *word = words[draw(seed) % WORDS];
    unsigned char copy[64];
    size_t n;
    switch (draw(seed) % 7) {
    case 0:
        if (find_number(m, low, high, seed, &from, &to))
            splice(m, from, to, word, strlen(word));
        break;
    case 1: splice(m, from, from, word, strlen(word)); break;
    case 2:
        n = 1 + draw(seed) % 8;
        splice(m, from, from + n < high ? from + n : high, "", 0);
        break;
    case 3: /* a piece twice */
        n = 1 + draw(seed) % sizeof copy;
        if (from + n > high)
            break;
        memcpy(copy, m->bytes + from, n);
        splice(m, from, from, copy, n);
        break;
    case 4: /* a number one up or down */
        if (!find_number(m, low, high, seed, &from, &to))
            break;
        if (draw(seed) % 2)
            m->bytes[to - 1] = (unsigned char)(m->bytes[to - 1] == '9' ? '8' : m->bytes[to - 1] + 1);
        else
            m->bytes[from] = (unsigned char)('0' + draw(seed) % 10);
        break;
    case 5:
        if (span)
            m->bytes[from] = (unsigned char)draw(seed);
        break;
    default:
        if (span)
            splice(m, from, from + 1, word, strlen(word));
    }
}

static void put_length(Mutant *m, uint64_t length)
{
    for (int i = 0; i < 8; i++)
        m->bytes[i] = (unsigned char)(length >> (8 * i));
}

static void mutate(Mutant *m, size_t header, uint64_t *seed)
{
    int edits = 1 + (int)(draw(seed) % 3);
    size_t before = m->size;
    switch (draw(seed) % 8) {
    case 0: m->bytes[draw(seed) % m->size] ^= (unsigned char)(1 << draw(seed) % 8); return;
    case 1: m->size = draw(seed) % (m->size + 1); return;
    case 2: put_length(m, draw(seed) >> draw(seed) % 64); return;
    case 3: put_length(m, header + draw(seed) % 17 - 8); return;
    case 4: m->size += 1 + draw(seed) % 32; return;
    default: break;
    }
    for (int i = 0; i < edits; i++) {
        size_t now = m->size;
        edit(m, 8, 8 + header, seed);
        header += m->size - now;
    }
    if (m->size != before && draw(seed) % 8)
        put_length(m, header); /* mostly the length is made to fit */
}

/* A file that was read is whole: its tensors fill the data exactly. */
static void check_whole(const HostTensor *t, int count, const Mutant *m)
{
    uint64_t length = 0, bytes = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | m->bytes[i];
    for (int i = 0; i < count; i++) {
        ck_assert_int_ge(host_count(&t[i]), 0);
        bytes += (uint64_t)host_count(&t[i]) * dtype_size(t[i].dtype);
        ck_assert(i == 0 || strcmp(t[i - 1].name, t[i].name) < 0);
    }
    ck_assert_uint_eq(bytes, m->size - 8 - length);
}

static void check_refusal(Fixture *f, const char *file)
{
    const char *text = rendered(f);
    ck_assert_msg(f->diags.errors == 1, "%d errors:\n%s", f->diags.errors, text);
    ck_assert_msg(strstr(text, file) != NULL, "the file is not named:\n%s", text);
    ck_assert_int_eq(diag_exit_status(&f->diags), 3);
    for (const char *c = text; *c; c++)
        ck_assert_msg((unsigned char)*c >= 0x20 || *c == '\n', "a control character is printed: %d", *c);
}

START_TEST(tensor_file)
{
    uint64_t seed = (uint64_t)_i + 1;
    int read = 0, refused = 0;
    Fixture f;
    fixture_begin(&f);
    for (int i = 0; i < MUTANTS; i++) {
        size_t base = (size_t)i % BASES, header = strlen(bases[base].header);
        Mutant m = {.size = 8 + header + bases[base].data, .room = 8 + header + bases[base].data + 1024};
        m.bytes = calloc(1, m.room);
        put_length(&m, header);
        memcpy(m.bytes + 8, bases[base].header, header);
        mutate(&m, header, &seed);
        const char *path = put_bytes(&f, "m.safetensors", m.bytes, m.size);
        int count = 0;
        HostTensor *t = safetensors_load(&f.cx, path, &count);
        if (t)
            check_whole(t, count, &m);
        else
            check_refusal(&f, "m.safetensors");
        ck_assert_int_eq(f.diags.errors, t ? 0 : 1);
        read += t != NULL;
        refused += t == NULL;
        free(m.bytes);
        arena_free(&f.arena);
        forget(&f);
    }
    fixture_end(&f);
    ck_assert_msg(refused > MUTANTS / 2 && read > 0, "%d read, %d refused: the mutants are not worth much", read,
                  refused);
}
END_TEST

START_TEST(index_file)
{
    static const char index[] =
        "{\"metadata\":{\"total_size\":44},\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"model-1.safetensors\","
        "\"w.0\":\"sub/model-2.safetensors\"}}";
    uint64_t seed = (uint64_t)_i + 1000;
    int read = 0, refused = 0;
    Fixture f;
    fixture_begin(&f);
    put_header(&f, "model-1.safetensors", bases[0].header, bases[0].data);
    ck_assert_int_eq(mkdir(at(&f, "sub"), 0700), 0);
    put_header(&f, "sub/model-2.safetensors", bases[1].header, bases[1].data);
    for (int i = 0; i < MUTANTS; i++) {
        Mutant m = {.size = sizeof index - 1, .room = sizeof index + 1024};
        m.bytes = calloc(1, m.room);
        memcpy(m.bytes, index, sizeof index);
        for (uint64_t edits = i ? 1 + draw(&seed) % 3 : 0; edits > 0; edits--)
            edit(&m, 0, m.size, &seed);
        const char *path = put_bytes(&f, "model.safetensors.index.json", m.bytes, m.size);
        Checkpoint *c = checkpoint_open(&f.cx, path);
        int64_t count = 0;
        if (c)
            ck_assert_ptr_nonnull(checkpoint_tensors(c, &count));
        else
            check_refusal(&f, f.dir);
        ck_assert_int_eq(f.diags.errors, c ? 0 : 1);
        if (i == 0)
            ck_assert_int_eq(count, 3);
        checkpoint_close(c);
        read += c != NULL;
        refused += c == NULL;
        free(m.bytes);
        arena_free(&f.arena);
        forget(&f);
    }
    fixture_end(&f);
    ck_assert_msg(refused > MUTANTS / 4 && read > 0, "%d read, %d refused: the mutants are not worth much", read,
                  refused);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mutants");
    TCase *t = tcase_create("mutants");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, tensor_file, 0, ROUNDS);
    tcase_add_loop_test(t, index_file, 0, INDEX_ROUNDS);
    suite_add_tcase(s, t);
    return run_suite(s);
}
