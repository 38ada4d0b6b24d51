/* .npy: what is read, what is refused, what is written. */
#include "tests/runtime/fixture.h"

#include "runtime/checkpoint.h"

typedef struct Case {
    const char *id, *header;
    size_t data;
    const char *code, *phrase;
} Case;

#define D(descr, order, shape) "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }\n"

/* clang-format off */
static const Case cases[] = {
    {"V vector", D("<f4", "False", "(4,)"), 16, NULL, NULL},
    {"V matrix", D("<i4", "False", "(2, 2)"), 16, NULL, NULL},
    {"V scalar", D("<f8", "False", "()"), 8, NULL, NULL},
    {"V empty", D("<f4", "False", "(0, 3)"), 0, NULL, NULL},
    {"V bool", D("|b1", "False", "(3,)"), 3, NULL, NULL},
    {"V no commas at the end", "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2)}", 8, NULL, NULL},
    {"V another order", "{'shape':(4,),'descr':'|u1','fortran_order':True}        \n", 4, NULL, NULL},
    {"cut off", D("<f4", "False", "(4,)"), 15, "E0442", "need 16 bytes, but 15 follow"},
    {"longer", D("<f4", "False", "(4,)"), 17, "E0442", "need 16 bytes, but 17 follow"},
    {"overflow", D("<f4", "False", "(4294967296, 4294967296)"), 16, "E0442", "overflows"},
    {"overflow behind a zero", D("<f4", "False", "(0, 4294967296, 4294967296)"), 0, "E0442", "overflows"},
    {"size beyond 64 bits", D("<f4", "False", "(99999999999999999999,)"), 16, "E0440", "malformed"},
    {"negative", D("<f4", "False", "(-4,)"), 16, "E0440", "malformed"},
    {"rank 9", D("<u1", "False", "(1,1,1,1,1,1,1,1,1)"), 1, "E0440", "malformed"},
    {"not a tuple", D("<f4", "False", "(4)"), 16, "E0440", "malformed"},
    {"big-endian", D(">f4", "False", "(4,)"), 16, "E0441", "big-endian"},
    {"objects", D("|O", "False", "(4,)"), 16, "E0441", "pickled"},
    {"complex", D("<c8", "False", "(2,)"), 16, "E0441", "`<c8`"},
    {"int16", D("<i2", "False", "(8,)"), 16, "E0441", "`<i2`"},
    {"records", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }", 16, "E0441", "records"},
    {"expression", "{'descr': '<f4', 'fortran_order': False, 'shape': (2+2,), }", 16, "E0440", "malformed"},
    {"order a number", "{'descr': '<f4', 'fortran_order': 0, 'shape': (4,), }", 16, "E0440", "malformed"},
    {"key missing", "{'descr': '<f4', 'shape': (4,), }", 16, "E0440", "malformed"},
    {"key twice", "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", 16, "E0440", "malformed"},
    {"key unknown", "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}", 16, "E0440", "malformed"},
    {"text after", "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), } x", 16, "E0440", "malformed"},
    {"unfinished", "{'descr': '<f4', 'fortran_order': False, 'shape': (4,", 16, "E0440", "malformed"},
    {"string unfinished", "{'descr': '<f4", 16, "E0440", "malformed"},
    {"empty header", "", 16, "E0440", "malformed"},
};
/* clang-format on */

static const char *put_npy(Fixture *f, int version, const char *header, size_t data)
{
    unsigned char all[4096] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0};
    size_t n = strlen(header), start = version == 1 ? 10 : 12;
    all[8] = (unsigned char)n;
    all[9] = (unsigned char)(n >> 8);
    memcpy(all + start, header, n);
    for (size_t i = 0; i < data; i++)
        all[start + n + i] = (unsigned char)i;
    return put_bytes(f, "x.npy", all, start + n + data);
}

START_TEST(npy_case)
{
    const Case *c = &cases[_i];
    for (int version = 1; version <= 3; version++) {
        Fixture f;
        fixture_begin(&f);
        HostTensor t;
        bool good = npy_load(&f.cx, put_npy(&f, version, c->header, c->data), &t);
        ck_assert_msg(good == !c->code, "%s:\n%s", c->id, rendered(&f));
        if (c->code)
            expect_error(&f, c->id, c->code, c->phrase);
        else
            expect_silence(&f, c->id);
        if (good)
            ck_assert_uint_eq((uint64_t)host_count(&t) * dtype_size(t.dtype), c->data);
        fixture_end(&f);
    }
}
END_TEST

START_TEST(no_npy)
{
    Fixture f;
    fixture_begin(&f);
    HostTensor t;
    for (size_t n = 0; n < 12; n++) {
        forget(&f);
        ck_assert(!npy_load(&f.cx, put_bytes(&f, "x", "\x93NUMPY\1\0\xff\0{}", n), &t));
        expect_error(&f, "short", "E0440", n < 10 ? "not an .npy file" : "cut off inside its header");
    }
    forget(&f);
    ck_assert(!npy_load(&f.cx, put_bytes(&f, "x", "\x93NUMPY\4\0\2\0{}", 12), &t));
    expect_error(&f, "version", "E0440", "version 4");
    forget(&f);
    ck_assert(!npy_load(&f.cx, put_bytes(&f, "x", "\x93NUMPY\2\0\xff\xff\xff\xff{}", 14), &t));
    expect_error(&f, "long header", "E0440", "cut off");
    forget(&f);
    ck_assert(!npy_load(&f.cx, f.dir, &t));
    expect_error(&f, "folder", "E0420", "a directory");
    fixture_end(&f);
}
END_TEST

START_TEST(fortran)
{ /* [2, 3, 4] column by column */
    Fixture f;
    fixture_begin(&f);
    HostTensor t;
    ck_assert(npy_load(&f.cx, put_npy(&f, 1, D("|u1", "True", "(2, 3, 4)"), 24), &t));
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++)
                ck_assert_int_eq(((unsigned char *)t.data)[(i * 3 + j) * 4 + k], i + 2 * j + 6 * k);
    fixture_end(&f);
}
END_TEST

START_TEST(round_trip)
{
    static const DType all[] = {DT_F32, DT_F16, DT_F64, DT_I64, DT_I32, DT_BOOL, DT_U8};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        Fixture f;
        fixture_begin(&f);
        unsigned char data[48];
        for (int b = 0; b < 48; b++)
            data[b] = (unsigned char)(b * 7);
        HostTensor out = {"x", all[i], 2, {2, 3}, data}, in;
        ck_assert(npy_save(&f.cx, at(&f, "x.npy"), &out) && npy_load(&f.cx, at(&f, "x.npy"), &in));
        expect_silence(&f, "round trip");
        ck_assert_int_eq(in.dtype, all[i]);
        ck_assert_int_eq(in.rank, 2);
        ck_assert_int_eq(in.dims[1], 3);
        ck_assert_mem_eq(in.data, data, 6 * dtype_size(all[i]));
        size_t size;
        get_bytes(&f, at(&f, "x.npy"), &size);
        ck_assert_uint_eq((size - 6 * dtype_size(all[i])) % 64, 0);
        ck_assert_int_eq(files_in(f.dir), 1);
        fixture_end(&f);
    }
}
END_TEST

START_TEST(widened)
{ /* numpy has no bf16 */
    Fixture f;
    fixture_begin(&f);
    uint16_t *bits = arena_array(&f.arena, 3000, 2);
    for (int i = 0; i < 3000; i++)
        bits[i] = (uint16_t)(0x3f80 + i % 64);
    HostTensor out = {"x", DT_BF16, 1, {3000}, bits}, in;
    ck_assert(npy_save(&f.cx, at(&f, "x.npy"), &out) && npy_load(&f.cx, at(&f, "x.npy"), &in));
    ck_assert_int_eq(in.dtype, DT_F32);
    for (int i = 0; i < 3000; i++)
        ck_assert_double_eq(host_get(&in, i), host_get(&out, i));
    fixture_end(&f);
}
END_TEST

START_TEST(not_written)
{
    Fixture f;
    fixture_begin(&f);
    float x = 1;
    HostTensor t = {"x", DT_F32, 0, {0}, &x};
    ck_assert(!npy_save(&f.cx, at(&f, "absent/x.npy"), &t));
    expect_error(&f, "absent", "E1010", "no such file");
    ck_assert_int_eq(files_in(f.dir), 0);
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("npy");
    TCase *t = tcase_create("npy");
    tcase_add_loop_test(t, npy_case, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(t, no_npy);
    tcase_add_test(t, fortran);
    tcase_add_test(t, round_trip);
    tcase_add_test(t, widened);
    tcase_add_test(t, not_written);
    suite_add_tcase(s, t);
    return run_suite(s);
}
