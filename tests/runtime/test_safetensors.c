/* safetensors headers: the invalid classes S01 to S66 of the reliability list with code and message, and their valid
 * neighbours. */
#include "tests/runtime/fixture.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include "runtime/checkpoint.h"

#define ONE(body) "{\"a\":" body "}"
#define SHAPED(shape, end) "{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[0," #end "]}}"
#define TYPED(dtype, shape, end) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":[0," #end "]}}"
#define PLACED(offsets) "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":" offsets "}}"
#define TWO(first, second)                                                                                             \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" first                                                   \
    "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" second "}}"
#define GOOD "\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}"

typedef struct Case {
    const char *id, *header;
    int64_t declared; /* the length field; -1: the header's length */
    size_t data;
    const char *code, *phrase; /* code NULL: valid; phrase then a warning's code or NULL */
} Case;

/* clang-format off */
static const Case cases[] = {
    /* length */
    {"S03 length and nothing else", "", 100, 0, "E0422", "only 0 follow"},
    {"S04 empty header", "", 0, 0, "E0422", "the header has 0 bytes"},
    {"S05 one byte", "{", 1, 0, "E0422", "the header has 1 bytes"},
    {"S05 brace only", "{ ", 2, 0, "E0423", "ends inside an object"},
    {"S06 longer than the file", "{" GOOD "}", 1000, 16, "E0422", "the header should have 1000 bytes"},
    {"S07 2^63", "{" GOOD "}", INT64_MIN, 16, "E0422", "9223372036854775808"},
    {"S08 2^64 - 2", "{" GOOD "}", -2, 16, "E0422", "18446744073709551614"},
    {"S09 above the limit", "{" GOOD "}", 100000001, 16, "E0422", "100000001"},
    {"S10 one more than there is", "{}", 3, 0, "E0422", "only 2 follow"},
    {"S10 shorter than the header", "{" GOOD "}", 20, 16, "E0423", "ends inside"},
    /* encoding */
    {"S11 invalid UTF-8 in a name", "{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, "E0423", "unable to decode byte"},
    {"S11 invalid UTF-8 outside", "{\xff" GOOD "}", -1, 16, "E0423", "expected a name"},
    {"S11 invalid UTF-8 in a dtype", ONE("{\"dtype\":\"F\xc3\",\"shape\":[4],\"data_offsets\":[0,16]}"), -1, 16, "E0423", "invalid JSON"},
    {"S12 overlong", "{\"\xc0\xaf\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, "E0423", "unable to decode byte"},
    {"S13 lone surrogate", "{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, "E0423", "invalid JSON"},
    {"S14 NUL in a name", "{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, "E0423", "invalid JSON"},
    {"S14 raw control character", "{\"a\nb\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, "E0423", "unexpected newline"},
    {"S15 byte order mark", "\xef\xbb\xbf{" GOOD "}", -1, 16, "E0423", "not a JSON object"},
    /* JSON */
    {"S16 list", "[]", -1, 0, "E0423", "not a JSON object"},
    {"S16 null", "null", -1, 0, "E0423", "not a JSON object"},
    {"S16 string", "\"{}\"", -1, 0, "E0423", "not a JSON object"},
    {"S16 number", "12", -1, 0, "E0423", "not a JSON object"},
    {"S17 two objects", "{}{}", -1, 0, "E0423", "text after"},
    {"S18 garbage after", "{" GOOD "}x", -1, 16, "E0423", "text after"},
    {"S18 NUL after", "{" GOOD "}\1", -1, 16, "E0423", "text after"},
    {"S19 comment", "{/* */" GOOD "}", -1, 16, "E0423", "expected a name"},
    {"S20 single quotes", "{'a':{}}", -1, 0, "E0423", "expected a name"},
    {"S20 comma at the end", "{" GOOD ",}", -1, 16, "E0423", "expected a name"},
    {"S20 comma missing", "{" GOOD GOOD "}", -1, 16, "E0423", "expected `,` or `}`"},
    {"S20 comma first", "{," GOOD "}", -1, 16, "E0423", "expected a name"},
    {"S20 colon missing", "{\"a\" {}}", -1, 0, "E0423", "expected `:`"},
    {"S20 value missing", "{\"a\":}", -1, 0, "E0423", "a value is missing"},
    {"S20 name unfinished", "{\"a", -1, 0, "E0423", "ends inside a string"},
    {"S20 escape at the end", "{\"a\\", -1, 0, "E0423", "ends inside a string"},
    {"S20 brackets crossed", "{\"a\":{\"dtype\":[}]}}", -1, 0, "E0423", "text after"},
    {"S20 bracket closes the object", "{" GOOD "]", -1, 16, "E0423", "expected `,` or `}`"},
    {"S20 NaN", ONE("{\"dtype\":\"F32\",\"shape\":[NaN],\"data_offsets\":[0,16]}"), -1, 16, "E0423", "invalid JSON"},
    {"S20 comma in an entry", ONE("{\"dtype\":\"F32\",\"shape\":[4,],\"data_offsets\":[0,16]}"), -1, 16, "E0423", "invalid JSON"},
    {"S20 hexadecimal", SHAPED("[0x4]", 16), -1, 16, "E0423", "invalid JSON"},
    {"S20 leading zero", SHAPED("[04]", 16), -1, 16, "E0423", "invalid JSON"},
    {"S20 plus sign", SHAPED("[+4]", 16), -1, 16, "E0423", "invalid JSON"},
    /* names twice */
    {"S21 a tensor twice", "{" GOOD "," GOOD "}", -1, 16, "E0424", "tensor `a`"},
    {"S22 dtype twice", ONE("{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}"), -1, 16, "E0424", "twice"},
    {"S22 offsets twice", ONE("{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"data_offsets\":[0,16]}"), -1, 16, "E0424", "twice"},
    {"S23 metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}," GOOD "}", -1, 16, "E0424", "`__metadata__` stands there twice"},
    {"S23 a key of metadata twice", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}," GOOD "}", -1, 16, "E0424", "the key `k` twice"},
    {"S24 equal after unescaping", "{" GOOD ",\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, "E0424", "tensor `a`"},
    /* entries */
    {"S25 dtype missing", ONE("{\"shape\":[4],\"data_offsets\":[0,16]}"), -1, 16, "E0425", "`dtype` is missing"},
    {"S26 shape missing", ONE("{\"dtype\":\"F32\",\"data_offsets\":[0,16]}"), -1, 16, "E0425", "`shape` is missing"},
    {"S27 offsets missing", ONE("{\"dtype\":\"F32\",\"shape\":[4]}"), -1, 16, "E0425", "`data_offsets` is missing"},
    {"S28 unknown field", ONE("{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"extra\":[1,{}]}"), -1, 16, NULL, "W0436"},
    {"S29 entry a list", ONE("[]"), -1, 0, "E0425", "not an object"},
    {"S29 entry null", ONE("null"), -1, 0, "E0425", "not an object"},
    {"S29 entry a string", ONE("\"F32\""), -1, 0, "E0425", "not an object"},
    {"S29 shape an object", ONE("{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,16]}"), -1, 16, "E0425", "`shape` is an object"},
    {"S29 shape a number", ONE("{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,16]}"), -1, 16, "E0425", "`shape` is an integer"},
    {"S29 offsets an object", PLACED("{}"), -1, 16, "E0425", "not a list of two integers"},
    {"S29 one offset", PLACED("[16]"), -1, 16, "E0425", "not a list of two integers"},
    {"S29 three offsets", PLACED("[0,16,32]"), -1, 16, "E0425", "not a list of two integers"},
    {"S29 offset a string", PLACED("[0,\"16\"]"), -1, 16, "E0425", "not a list of two integers"},
    {"S29 offset with a point", PLACED("[0,16.0]"), -1, 16, "E0425", "not a list of two integers"},
    /* dtypes */
    {"S30 unknown dtype", TYPED("\"Q8_0\"", "[4]", 4), -1, 4, "E0426", "unsupported dtype `Q8_0`"},
    {"S30 eight-bit float", TYPED("\"F8_E4M3\"", "[4]", 4), -1, 4, "E0426", "unsupported dtype `F8_E4M3`"},
    {"S30 unsigned 16", TYPED("\"U16\"", "[4]", 8), -1, 8, "E0426", "unsupported dtype `U16`"},
    {"S31 lower case", TYPED("\"f32\"", "[4]", 16), -1, 16, "E0426", "unsupported dtype `f32`"},
    {"S32 empty dtype", TYPED("\"\"", "[4]", 16), -1, 16, "E0426", "unsupported dtype ``"},
    {"S33 dtype a number", TYPED("32", "[4]", 16), -1, 16, "E0425", "`dtype` is an integer"},
    {"S33 dtype null", TYPED("null", "[4]", 16), -1, 16, "E0425", "`dtype` is null"},
    {"S34 sub-byte dtype", TYPED("\"F4\"", "[3]", 2), -1, 2, "E0426", "unsupported dtype `F4`"},
    {"S34 escape in a dtype", TYPED("\"F32\\u001b[31m\"", "[4]", 16), -1, 16, "E0426", "F32\\x1b[31m"},
    /* shapes */
    {"S35 negative", SHAPED("[-4]", 16), -1, 16, "E0427", "negative: -4"},
    {"S35 two negatives", SHAPED("[-2,-2]", 16), -1, 16, "E0427", "negative: -2"},
    {"S36 with a point", SHAPED("[2.0,2]", 16), -1, 16, "E0427", "size 0 of the shape is a number with a point"},
    {"S37 with an exponent", SHAPED("[1e3]", 4000), -1, 4000, "E0427", "a number with a point"},
    {"S38 a string", SHAPED("[\"4\"]", 16), -1, 16, "E0427", "size 0 of the shape is a string"},
    {"S39 nested", SHAPED("[[4]]", 16), -1, 16, "E0427", "size 0 of the shape is a list"},
    {"S40 null", SHAPED("[4,null]", 16), -1, 16, "E0427", "size 1 of the shape is null"},
    {"S40 boolean", SHAPED("[true,4]", 16), -1, 16, "E0427", "a boolean"},
    {"S41 2^64", SHAPED("[18446744073709551616]", 16), -1, 16, "E0428", "too big integer"},
    {"S41 2^48 + 1", SHAPED("[281474976710657]", 16), -1, 16, "E0428", "too large"},
    {"S41 real overflow", SHAPED("[1e999]", 16), -1, 16, "E0428", "invalid JSON"},
    {"S42 rank 9", SHAPED("[1,1,1,1,1,1,1,1,4]", 16), -1, 16, "E0427", "9 axes"},
    {"S43 product overflow", SHAPED("[2,18446744073709551614]", 16), -1, 16, "E0428", "too big integer"},
    {"S43 product of legal sizes overflows", SHAPED("[281474976710656,65536]", 0), -1, 0, "E0428", "overflows"},
    {"S44 bytes overflow", SHAPED("[2,9223372036854775807]", 16), -1, 16, "E0428", "too large"},
    {"S44 elements fit, bytes do not", TYPED("\"F64\"", "[281474976710656,4096]", 0), -1, 0, "E0428", "overflows"},
    {"S45 overflow behind a zero", SHAPED("[1099511627776,1099511627776,0]", 0), -1, 0, "E0428", "overflows"},
    {"S45 overflow after a zero", SHAPED("[0,1099511627776,1099511627776]", 0), -1, 0, "E0428", "overflows"},
    {"S46 wraps to the right number", TYPED("\"U8\"", "[281474976710656,65536,1,4]", 4), -1, 4, "E0428", "overflows"},
    /* offsets */
    {"S47 begin after end", PLACED("[16,0]"), -1, 16, "E0429", "end before they begin"},
    {"S47 negative begin", PLACED("[-16,0]"), -1, 16, "E0429", "end before they begin"},
    {"S48 end beyond the data", PLACED("[0,16]"), -1, 15, "E0429", "beyond the file's 15 bytes"},
    {"S48 end at 2^63 - 1", PLACED("[0,9223372036854775807]"), -1, 16, "E0429", "beyond the file's 16 bytes"},
    {"S48 end at 2^63", PLACED("[0,9223372036854775808]"), -1, 16, "E0428", "too big integer"},
    {"S49 begin beyond the data", PLACED("[32,48]"), -1, 16, "E0429", "beyond the file's 16 bytes"},
    {"S49 begin + size wraps", PLACED("[9223372036854775800,9223372036854775807]"), -1, 16, "E0429", "beyond"},
    {"S50 overlap by one", TWO("[0,4]", "[3,7]"), -1, 8, "E0429", "overlaps that of tensor `a`"},
    {"S51 hole of one", TWO("[0,4]", "[5,9]"), -1, 9, "E0429", "1 bytes before its data belong to no tensor"},
    {"S51 hole at the start", PLACED("[1,17]"), -1, 17, "E0429", "1 bytes before"},
    {"S54 one range for two", TWO("[0,4]", "[0,4]"), -1, 4, "E0429", "overlaps"},
    {"S54 one inside the other", "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}}",
     -1, 8, "E0429", "overlaps"},
    {"S54 empty inside another", "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}",
     -1, 8, "E0429", "overlaps"},
    /* sizes */
    {"S55 size and shape differ", SHAPED("[5]", 16), -1, 16, "E0430", "need 20 bytes, but data_offsets [0, 16] hold 16"},
    {"S56 one element less", SHAPED("[3]", 16), -1, 16, "E0430", "need 12 bytes"},
    {"S56 scalar of two", SHAPED("[]", 8), -1, 8, "E0430", "need 4 bytes"},
    {"S57 another width", TYPED("\"F16\"", "[4]", 16), -1, 16, "E0430", "need 8 bytes"},
    {"S57 empty with data", SHAPED("[0]", 16), -1, 16, "E0430", "need 0 bytes"},
    {"S58 tail", PLACED("[0,16]"), -1, 17, "E0429", "1 bytes after the last tensor"},
    {"S58 tail without tensors", "{}", -1, 5, "E0429", "5 bytes after the last tensor"},
    {"S58 one byte short", PLACED("[0,16]"), -1, 15, "E0429", "beyond"},
    {"S58 no data at all", PLACED("[0,16]"), -1, 0, "E0429", "beyond the file's 0 bytes"},
    /* metadata */
    {"S63 value a number", "{\"__metadata__\":{\"k\":1}," GOOD "}", -1, 16, "E0425", "only strings"},
    {"S63 value null", "{\"__metadata__\":{\"k\":null}," GOOD "}", -1, 16, "E0425", "only strings"},
    {"S64 nested", "{\"__metadata__\":{\"k\":{}}," GOOD "}", -1, 16, "E0425", "only strings"},
    {"S64 list", "{\"__metadata__\":[]," GOOD "}", -1, 16, "E0425", "`__metadata__` is not an object"},
    {"S64 bad string", "{\"__metadata__\":{\"k\":\"\\x\"}," GOOD "}", -1, 16, "E0423", "invalid JSON"},
    {"S65 a tensor with that name", "{\"__metadata__\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, "E0425", "only strings"},
    {"depth 9", ONE("{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":[[[[[[[]]]]]]]}"), -1, 16, "E0431", "deeper than 8"},
    /* valid neighbours */
    {"V depth 8", ONE("{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],\"x\":[[[[[[]]]]]]}"), -1, 16, NULL, "W0436"},
    {"V no tensors", "{}", -1, 0, NULL, NULL},
    {"V metadata alone", "{\"__metadata__\":{\"format\":\"pt\",\"e\":\"\"}}", -1, 0, NULL, NULL},
    {"V scalar", SHAPED("[]", 4), -1, 4, NULL, NULL},
    {"V empty", SHAPED("[2,0]", 0), -1, 0, NULL, NULL},
    {"V empty and large", SHAPED("[281474976710656,0]", 0), -1, 0, NULL, NULL},
    {"V rank 8", SHAPED("[1,1,1,1,1,1,1,4]", 16), -1, 16, NULL, NULL},
    {"V spaces after", "{" GOOD "}   \n\t ", -1, 16, NULL, NULL},
    {"V spaces before and inside", " \n{ \"a\" : {\"dtype\" : \"F32\", \"shape\" : [ 4 ] , \"data_offsets\" : [ 0 , 16 ] } } ", -1, 16, NULL, NULL},
    {"V reversed order", TWO("[4,8]", "[0,4]"), -1, 8, NULL, NULL},
    {"V empty ones between", "{\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"y\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[16,16]}," GOOD
     ",\"x\":{\"dtype\":\"U8\",\"shape\":[0,3],\"data_offsets\":[16,16]}}", -1, 16, NULL, NULL},
    {"V every dtype", "{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]},"
     "\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]},\"d\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[20,24]},"
     "\"e\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[24,26]},\"f\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[26,28]},"
     "\"g\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[28,29]},\"h\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[29,30]}}", -1, 30, NULL, NULL},
    {"V unaligned", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[1,9]}}", -1, 9, NULL, NULL},
    {"V empty name", "{\"\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, NULL, NULL},
    {"V name in Greek and escapes", "{\"\\u03b1\xce\xb2\\\"\\\\\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, NULL, NULL},
    {"V bracket and comma in a name", "{\"}],{\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", -1, 16, NULL, NULL},
    {"V escaped metadata key", "{\"\\u005f_metadata__\":{\"k\":\"v\"}," GOOD "}", -1, 16, NULL, NULL},
};
/* clang-format on */

START_TEST(header_case)
{
    const Case *c = &cases[_i];
    Fixture f;
    fixture_begin(&f);
    uint64_t declared = c->declared == -1 ? strlen(c->header) : (uint64_t)c->declared;
    const char *path = put_tensors(&f, "x.safetensors", declared, c->header, strlen(c->header), c->data);
    int count;
    HostTensor *t = safetensors_load(&f.cx, path, &count);
    if (c->code) {
        ck_assert_msg(!t, "%s was accepted", c->id);
        expect_error(&f, c->id, c->code, c->phrase);
        ck_assert_msg(strstr(rendered(&f), "x.safetensors") != NULL, "%s: the file is not named:\n%s", c->id,
                      rendered(&f));
        ck_assert_int_eq(diag_exit_status(&f.diags), 3);
    } else {
        ck_assert_msg(t != NULL, "%s:\n%s", c->id, rendered(&f));
        if (c->phrase)
            expect_warning(&f, c->id, c->phrase, "");
        else
            expect_silence(&f, c->id);
    }
    fixture_end(&f);
}
END_TEST

START_TEST(short_files)
{
    Fixture f;
    fixture_begin(&f);
    int count;
    for (size_t n = 0; n < 8; n++) {
        const char *path = put_bytes(&f, "x", "\2\0\0\0\0\0\0", n);
        ck_assert_ptr_null(safetensors_load(&f.cx, path, &count));
        expect_error(&f, "S01 S02", "E0422", "at least 8");
        forget(&f);
    }
    fixture_end(&f);
}
END_TEST

START_TEST(values_arrive)
{
    Fixture f;
    fixture_begin(&f);
    const char *header = "{\"b\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[4,8]},\"\\u0061\":{\"dtype\":"
                         "\"I32\",\"shape\":[],\"data_offsets\":[0,4]}}";
    int count;
    HostTensor *t = safetensors_load(&f.cx, put_header(&f, "x", header, 8), &count);
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(count, 2);
    ck_assert_str_eq(t[0].name, "a");
    ck_assert_int_eq(t[0].rank, 0);
    ck_assert_int_eq(*(int32_t *)t[0].data, 0x03020100);
    ck_assert_str_eq(t[1].name, "b");
    ck_assert_int_eq(t[1].dims[1], 2);
    ck_assert_int_eq(((unsigned char *)t[1].data)[3], 7);
    fixture_end(&f);
}
END_TEST

/* ---- S59 to S62, S66: hostile in size: refused or read in bounded memory ----------------------------------------- */

typedef struct Big {
    char *text;
    size_t size, capacity;
} Big;

static void add(Big *b, const char *text, size_t n)
{
    if (b->size + n > b->capacity)
        b->text = realloc(b->text, b->capacity = (b->size + n) * 2);
    memcpy(b->text + b->size, text, n);
    b->size += n;
}

static void add_text(Big *b, const char *text)
{
    add(b, text, strlen(text));
}

static void add_many(Big *b, char c, size_t n)
{
    char piece[4096];
    memset(piece, c, sizeof piece);
    for (; n > 0; n -= n < sizeof piece ? n : sizeof piece)
        add(b, piece, n < sizeof piece ? n : sizeof piece);
}

static void finish_big(Fixture *f, Big *b, size_t data)
{
    put_tensors(f, "big", b->size, b->text, b->size, data);
    free(b->text);
}

/* In a child, so that its peak memory is its own. Returns megabytes at the peak. */
static long load_apart(Fixture *f, const char *code, const char *phrase)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int count;
        bool loaded = safetensors_load(&f->cx, at(f, "big"), &count) != NULL;
        if (!code && (!loaded || f->diags.errors))
            fprintf(stderr, "%s\n", rendered(f));
        if (!code)
            _exit(loaded && f->diags.errors == 0 ? 0 : 1);
        bool right =
            !loaded && f->diags.errors == 1 && !strcmp(f->diags.first->code, code) && strstr(rendered(f), phrase);
        if (!right)
            fprintf(stderr, "%s\n", rendered(f));
        _exit(right ? 0 : 1);
    }
    int status;
    struct rusage use;
    ck_assert_int_eq(wait4(pid, &status, 0, &use), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    return use.ru_maxrss / 1024;
}

static void expect_memory(long megabytes, size_t header)
{
    long allowed = (long)(3 * (header >> 20)) + 48;
    if (!SANITIZED)
        ck_assert_msg(megabytes <= allowed, "%ld MB for a header of %zu MB", megabytes, header >> 20);
}

static void add_entries(Big *b, int n, const char *offsets)
{
    for (int i = 0; i < n; i++) {
        char entry[128];
        int length = snprintf(entry, sizeof entry, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":%s}",
                              i ? "," : "", i, offsets);
        if (!offsets[0])
            length = snprintf(entry, sizeof entry, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[%d,%d]}",
                              i ? "," : "", i, i, i + 1);
        add(b, entry, (size_t)length);
    }
}

START_TEST(too_many_entries)
{ /* S59 */
    Fixture f;
    fixture_begin(&f);
    Big b = {0};
    add_text(&b, "{");
    add_entries(&b, 1400000, "[0,16]");
    add_text(&b, "}");
    size_t size = b.size;
    finish_big(&f, &b, 16);
    expect_memory(load_apart(&f, "E0431", "more than 1,000,000 entries"), size);
    fixture_end(&f);
}
END_TEST

START_TEST(many_small_members)
{ /* S59, in the fewest bytes */
    Fixture f;
    fixture_begin(&f);
    Big b = {0};
    add_text(&b, "{\"a\":0");
    for (int i = 0; i < 10000000; i++)
        add_text(&b, ",\"a\":0");
    add_text(&b, "}");
    size_t size = b.size;
    finish_big(&f, &b, 16);
    expect_memory(load_apart(&f, "E0431", "more than 1,000,000 entries"), size);
    fixture_end(&f);
}
END_TEST

START_TEST(most_entries)
{ /* the largest that is allowed */
    Fixture f;
    fixture_begin(&f);
    Big b = {0};
    int n = SANITIZED ? 100000 : 1000000;
    add_text(&b, "{\"__metadata__\":{\"format\":\"pt\"},");
    add_entries(&b, n, "");
    add_text(&b, "}");
    size_t size = b.size;
    finish_big(&f, &b, (size_t)n);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        Checkpoint *c = checkpoint_open(&f.cx, at(&f, "big"));
        _exit(c ? 0 : 1);
    }
    int status;
    struct rusage use;
    ck_assert_int_eq(wait4(pid, &status, 0, &use), pid);
    ck_assert_int_eq(status, 0);
    expect_memory(use.ru_maxrss / 1024, size + (32 << 20)); /* the table itself is 100 bytes an entry */
    fixture_end(&f);
}
END_TEST

START_TEST(metadata_entries)
{ /* many small strings, and one name twice among them */
    Fixture f;
    fixture_begin(&f);
    Big b = {0};
    add_text(&b, "{\"__metadata__\":{\"k5\":\"\"");
    for (int i = 0; i < 900000; i++) {
        char entry[64];
        add(&b, entry, (size_t)snprintf(entry, sizeof entry, ",\"k%d\":\"\"", i));
    }
    add_text(&b, "}}");
    size_t size = b.size;
    finish_big(&f, &b, 0);
    expect_memory(load_apart(&f, "E0424", "the key `k5` twice"), size);
    fixture_end(&f);
}
END_TEST

START_TEST(white_space)
{ /* S60 */
    Fixture f;
    fixture_begin(&f);
    Big b = {0};
    add_many(&b, ' ', 49900000);
    add_text(&b, "{" GOOD "}");
    add_many(&b, '\n', 49900000);
    size_t size = b.size;
    finish_big(&f, &b, 16);
    expect_memory(load_apart(&f, NULL, ""), size);
    fixture_end(&f);
}
END_TEST

START_TEST(deep)
{ /* S61 */
    Fixture f;
    fixture_begin(&f);
    Big b = {0};
    add_text(&b, "{\"a\":");
    add_many(&b, '[', 10000);
    add_many(&b, ']', 10000);
    add_text(&b, "}");
    finish_big(&f, &b, 0);
    load_apart(&f, "E0431", "deeper than 8");
    b = (Big){0};
    add_many(&b, '[', 50000000);
    finish_big(&f, &b, 0);
    load_apart(&f, "E0423", "not a JSON object");
    fixture_end(&f);
}
END_TEST

START_TEST(long_things)
{ /* S62, S66, and their neighbours */
    static const struct {
        const char *before;
        size_t length;
        const char *after, *code, *phrase;
    } rows[] = {
        {"{\"", 90000000, "\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", "E0431", "longer than 4096"},
        {"{\"", 4097, "\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", "E0431", "longer than 4096"},
        {"{\"", 4096, "\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", NULL, ""},
        {"{\"__metadata__\":{\"k\":\"", 1 << 20, "\"}," GOOD "}", NULL, ""},
        {"{\"__metadata__\":{\"k\":\"", 17 << 20, "\"}," GOOD "}", "E0431", "longer than 16 MiB"},
        {"{\"__metadata__\":{\"", 5000, "\":\"\"}," GOOD "}", "E0431", "longer than 4096"},
        {"{\"a\":{\"dtype\":\"", 90000000, "\",\"shape\":[4],\"data_offsets\":[0,16]}}", "E0431", "longer than 64 KiB"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,1", 400, "6]}}", "E0428", "too big integer"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Fixture f;
        fixture_begin(&f);
        Big b = {0};
        add_text(&b, rows[i].before);
        add_many(&b, i == 7 ? '1' : 'x', rows[i].length);
        add_text(&b, rows[i].after);
        size_t size = b.size;
        finish_big(&f, &b, 16);
        expect_memory(load_apart(&f, rows[i].code, rows[i].phrase), size);
        fixture_end(&f);
    }
}
END_TEST

/* ---- writing ----------------------------------------------------------------------------------------------------- */

START_TEST(round_trip)
{
    Fixture f;
    fixture_begin(&f);
    float x[6] = {1, 2, 3, 4, 5, 6};
    unsigned char flag = 1;
    int64_t big[2] = {INT64_MIN, INT64_MAX};
    HostTensor all[] = {
        {"flag \"\xce\xb1\"\n", DT_BOOL, 0, {0}, &flag},
        {"x", DT_F32, 2, {2, 3}, x},
        {"big", DT_I64, 1, {2}, big},
        {"none", DT_F16, 2, {0, 7}, NULL},
    };
    const char *path = at(&f, "out.safetensors");
    ck_assert(safetensors_save(&f.cx, path, all, 4));
    int count;
    HostTensor *t = safetensors_load(&f.cx, path, &count);
    expect_silence(&f, "round trip");
    ck_assert_int_eq(count, 4);
    ck_assert_str_eq(t[0].name, "big");
    ck_assert_mem_eq(t[0].data, big, sizeof big);
    ck_assert_str_eq(t[1].name, all[0].name);
    ck_assert_int_eq(*(unsigned char *)t[1].data, 1);
    ck_assert_int_eq(t[2].dims[1], 7);
    ck_assert_mem_eq(t[3].data, x, sizeof x);
    ck_assert_int_eq(files_in(f.dir), 1);
    fixture_end(&f);
}
END_TEST

START_TEST(nothing_half_written)
{
    Fixture f;
    fixture_begin(&f);
    float x[1024] = {0};
    HostTensor t = {"x", DT_F32, 1, {1024}, x};
    ck_assert(!safetensors_save(&f.cx, at(&f, "absent/out.safetensors"), &t, 1));
    expect_error(&f, "absent folder", "E1010", "no such file or directory");
    forget(&f);
    ck_assert(!safetensors_save(&f.cx, "/dev/full", &t, 1));
    expect_error(&f, "full device", "E1010", "no space left");
    ck_assert_int_eq(diag_exit_status(&f.diags), 4);
    forget(&f);
    put_text(&f, "old", "what was there before");
    struct rlimit before, small; /* Check itself writes to a file */
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){1000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    bool saved = safetensors_save(&f.cx, at(&f, "old"), &t, 1);
    setrlimit(RLIMIT_FSIZE, &before);
    ck_assert(!saved);
    expect_error(&f, "size limit", "E1010", "file size limit");
    size_t size;
    ck_assert_str_eq((char *)get_bytes(&f, at(&f, "old"), &size), "what was there before");
    ck_assert_int_eq(files_in(f.dir), 1);
    fixture_end(&f);
}
END_TEST

START_TEST(links_and_pipes)
{ /* a link's target is replaced, not the link; /dev/null stays a device */
    Fixture f;
    fixture_begin(&f);
    float x = 1;
    HostTensor t = {"x", DT_F32, 0, {0}, &x};
    put_text(&f, "real", "old");
    ck_assert_int_eq(symlink("real", at(&f, "link")), 0);
    ck_assert(safetensors_save(&f.cx, at(&f, "link"), &t, 1));
    struct stat st;
    ck_assert(lstat(at(&f, "link"), &st) == 0 && S_ISLNK(st.st_mode));
    int count;
    ck_assert_ptr_nonnull(safetensors_load(&f.cx, at(&f, "real"), &count));
    ck_assert(safetensors_save(&f.cx, "/dev/null", &t, 1));
    ck_assert(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
    expect_silence(&f, "links");
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("safetensors");
    TCase *headers = tcase_create("headers"), *large = tcase_create("large"), *writing = tcase_create("writing");
    tcase_add_loop_test(headers, header_case, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(headers, short_files);
    tcase_add_test(headers, values_arrive);
    tcase_set_timeout(large, 240);
    tcase_add_test(large, too_many_entries);
    tcase_add_test(large, many_small_members);
    tcase_add_test(large, most_entries);
    tcase_add_test(large, metadata_entries);
    tcase_add_test(large, white_space);
    tcase_add_test(large, deep);
    tcase_add_test(large, long_things);
    tcase_add_test(writing, round_trip);
    tcase_add_test(writing, nothing_half_written);
    tcase_add_test(writing, links_and_pipes);
    suite_add_tcase(s, headers);
    suite_add_tcase(s, large);
    suite_add_tcase(s, writing);
    return run_suite(s);
}
