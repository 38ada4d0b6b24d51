/* Checkpoints on disk: folders, indexes and shards (S73 to S80), files that are none or change under us (S67 to
 * S72), reading parts. */
#include "tests/runtime/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include "runtime/checkpoint.h"
#include "runtime/pack.h"

#define A "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}"
#define B "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"
#define AB                                                                                                             \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_"   \
    "offsets\":[16,20]}}"

typedef struct Case {
    const char *id, *index, *code, *phrase;
} Case; /* code NULL: valid; then phrase is a warning's code or NULL */

#define MAP(body) "{\"metadata\":{\"total_size\":20},\"weight_map\":{" body "}}"
#define NAMED(file) MAP("\"a\":\"one.safetensors\",\"b\":\"" file "\"")

/* clang-format off */
static const Case cases[] = {
    {"V two shards", NAMED("two.safetensors"), NULL, NULL},
    {"V a folder below", MAP("\"a\":\"one.safetensors\",\"b\":\"sub/two.safetensors\""), NULL, NULL},
    {"V no metadata", "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", NULL, NULL},
    {"V total as a float", "{\"metadata\":{\"total_size\":20.0},\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", NULL, NULL},
    {"S73 leaves the folder", NAMED("../two.safetensors"), "E0433", "it leaves the folder"},
    {"S73 leaves from below", NAMED("sub/../../two.safetensors"), "E0433", "it leaves the folder"},
    {"S73 two dots at the end", NAMED("sub/.."), "E0433", "it leaves the folder"},
    {"S74 absolute", NAMED("/etc/passwd"), "E0433", "an absolute path"},
    {"S74 absolute with the right end", NAMED("/tmp/two.safetensors"), "E0433", "an absolute path"},
    {"S75 backslash", NAMED("..\\\\two.safetensors"), "E0433", "a backslash"},
    {"S76 NUL", NAMED("two.safetensors\\u0000.txt"), "E0432", "not valid JSON"},
    {"S77 URL", NAMED("https://example.org/two.safetensors"), "E0433", "a URL"},
    {"S77 file URL", NAMED("file:///etc/two.safetensors"), "E0433", "a URL"},
    {"S77 empty", NAMED(""), "E0433", "it is empty"},
    {"S77 dot", NAMED("./two.safetensors"), "E0433", "not a plain relative path"},
    {"S77 slash twice", NAMED("sub//two.safetensors"), "E0433", "not a plain relative path"},
    {"S77 pickle", NAMED("two.bin"), "E0433", "does not end in .safetensors"},
    {"S77 the index itself", NAMED("model.safetensors.index.json"), "E0433", "does not end in .safetensors"},
    {"S78 missing shard", NAMED("three.safetensors"), "E0421", "three.safetensors"},
    {"S78 shard a folder", NAMED("folder.safetensors"), "E0421", "a directory"},
    {"S79 wrong shard", MAP("\"a\":\"two.safetensors\",\"b\":\"one.safetensors\""), "E0435", "is in two.safetensors, but it is in one.safetensors"},
    {"S79 in no shard", MAP("\"a\":\"one.safetensors\",\"c\":\"two.safetensors\""), "E0435", "no shard has it"},
    {"S79 in two shards", MAP("\"a\":\"one.safetensors\",\"b\":\"both.safetensors\""), "E0435", "in two shards: one.safetensors and both.safetensors"},
    {"S79 not listed", "{\"weight_map\":{\"a\":\"both.safetensors\"}}", NULL, "W0438"},
    {"S80 total_size false", "{\"metadata\":{\"total_size\":21},\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", NULL, "W0437"},
    {"S80 total_size a string", "{\"metadata\":{\"total_size\":\"20\"},\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", NULL, "W0437"},
    {"index a list", "[]", "E0432", "no object `weight_map`"},
    {"index empty", "", "E0432", "not valid JSON"},
    {"no weight_map", "{\"metadata\":{}}", "E0432", "no object `weight_map`"},
    {"weight_map a list", "{\"weight_map\":[]}", "E0432", "no object `weight_map`"},
    {"weight_map empty", "{\"weight_map\":{}}", "E0432", "lists no tensor"},
    {"shard a number", "{\"weight_map\":{\"a\":1}}", "E0432", "the shard is not a string"},
    {"a name twice", "{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"two.safetensors\"}}", "E0432", "duplicate"},
    {"damaged shard", NAMED("bad.safetensors"), "E0422", "a shard named by"},
};
/* clang-format on */

START_TEST(index_case)
{
    const Case *c = &cases[_i];
    Fixture f;
    fixture_begin(&f);
    put_header(&f, "one.safetensors", A, 16);
    put_header(&f, "two.safetensors", B, 4);
    put_header(&f, "both.safetensors", AB, 20);
    put_text(&f, "bad.safetensors", "version https://git-lfs.github.com/spec/v1");
    mkdir(at(&f, "sub"), 0700);
    mkdir(at(&f, "folder.safetensors"), 0700);
    put_header(&f, "sub/two.safetensors", B, 4);
    put_text(&f, "model.safetensors.index.json", c->index);
    Checkpoint *got = checkpoint_open(&f.cx, f.dir);
    if (c->code) {
        ck_assert_msg(!got, "%s was accepted", c->id);
        expect_error(&f, c->id, c->code, c->phrase);
    } else {
        ck_assert_msg(got != NULL, "%s:\n%s", c->id, rendered(&f));
        if (c->phrase)
            expect_warning(&f, c->id, c->phrase, "");
        else
            expect_silence(&f, c->id);
        float a;
        ck_assert(checkpoint_read_f32(&f.cx, got, "a", 1, 1, &a));
        ck_assert_str_eq(strrchr(checkpoint_file(got, "a"), '/') + 1,
                         c->phrase && !strcmp(c->phrase, "W0438") ? "both.safetensors" : "one.safetensors");
    }
    checkpoint_close(got);
    fixture_end(&f);
}
END_TEST

START_TEST(many_shards)
{ /* refused before anything is opened */
    Fixture f;
    fixture_begin(&f);
    Text t = text_new(&f.arena);
    text_add(&t, "{\"weight_map\":{");
    for (int i = 0; i < 5000; i++)
        text_add(&t, "%s\"t%d\":\"s%d.safetensors\"", i ? "," : "", i, i);
    text_add(&t, "}}");
    ck_assert_ptr_null(checkpoint_open(&f.cx, put_text(&f, "x.index.json", t.data)));
    expect_error(&f, "5000 shards", "E0431", "more than 4096 shards");
    fixture_end(&f);
}
END_TEST

/* ---- what is no file --------------------------------------------------------------------------------------------- */

static void refuse(Fixture *f, const char *path, const char *code, const char *phrase)
{
    forget(f);
    ck_assert_ptr_null(checkpoint_open(&f->cx, path));
    expect_error(f, path, code, phrase);
}

START_TEST(no_files)
{
    Fixture f;
    fixture_begin(&f);
    refuse(&f, at(&f, "absent.safetensors"), "E0421", "no such file");
    refuse(&f, f.dir, "E0421", "neither model.safetensors nor model.safetensors.index.json");
    put_text(&f, "pytorch_model.bin", "x");
    refuse(&f, f.dir, "E0421", "`pytorch_model.bin`: pickled weights");
    put_header(&f, "other.safetensors", A, 16);
    refuse(&f, f.dir, "E0421", "`other.safetensors`: name this file itself");
    ck_assert_int_eq(mkfifo(at(&f, "fifo.safetensors"), 0600), 0);
    refuse(&f, at(&f, "fifo.safetensors"), "E0421", "a FIFO");
    refuse(&f, "/dev/zero", "E0421", "a device");
    refuse(&f, "/dev/null", "E0421", "a device");
    ck_assert_int_eq(symlink("loop.safetensors", at(&f, "loop.safetensors")), 0);
    refuse(&f, at(&f, "loop.safetensors"), "E0421", "a loop of symbolic links");
    ck_assert_int_eq(symlink("nowhere", at(&f, "model.safetensors")), 0);
    refuse(&f, f.dir, "E0421", "model.safetensors");
    remove(at(&f, "model.safetensors"));
    mkdir(at(&f, "model.safetensors"), 0700);
    refuse(&f, f.dir, "E0421", "a directory");
    refuse(&f, "", "E0421", "no such file");
    fixture_end(&f);
}
END_TEST

START_TEST(no_permission)
{
    Fixture f;
    fixture_begin(&f);
    const char *path = put_header(&f, "model.safetensors", A, 16);
    chmod(path, 0);
    chmod(f.dir, 0755);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    refuse(&f, path, "E0421", "no permission");
    refuse(&f, f.dir, "E0421", "no permission");
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
    fixture_end(&f);
}
END_TEST

START_TEST(links)
{ /* the caches of model hubs are folders of links */
    Fixture f;
    fixture_begin(&f);
    put_header(&f, "blob", A, 16);
    ck_assert_int_eq(symlink("blob", at(&f, "model.safetensors")), 0);
    Checkpoint *c = checkpoint_open(&f.cx, f.dir);
    ck_assert_ptr_nonnull(c);
    expect_silence(&f, "link");
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

START_TEST(descriptors)
{
    Fixture f;
    fixture_begin(&f);
    put_header(&f, "model.safetensors", A, 16);
    int last = -1, taken[4096], n = 0;
    while (n < 4096 && (last = open("/dev/null", O_RDONLY)) >= 0)
        taken[n++] = last;
    Checkpoint *c = n < 4096 ? checkpoint_open(&f.cx, f.dir) : NULL;
    for (int i = 0; i < n; i++)
        close(taken[i]);
    ck_assert_ptr_null(c);
    if (n < 4096)
        expect_error(&f, "no descriptors", "E0421", "too many open files");
    fixture_end(&f);
}
END_TEST

/* ---- what changes ------------------------------------------------------------------------------------------------ */

START_TEST(shrinks)
{
    Fixture f;
    fixture_begin(&f);
    const char *path = put_header(&f, "model.safetensors", A, 16);
    Checkpoint *c = checkpoint_open(&f.cx, f.dir);
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(truncate(path, (off_t)strlen(A) + 8 + 10), 0);
    float out[4];
    ck_assert(checkpoint_read_f32(&f.cx, c, "a", 0, 2, out));
    expect_silence(&f, "the part that is there");
    ck_assert(!checkpoint_read_f32(&f.cx, c, "a", 0, 4, out));
    expect_error(&f, "shrunk", "E0420", "has become shorter");
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

START_TEST(replaced)
{ /* the file that was checked is the file that is read */
    Fixture f;
    fixture_begin(&f);
    const char *path = put_header(&f, "model.safetensors", A, 16);
    Checkpoint *c = checkpoint_open(&f.cx, f.dir);
    ck_assert_int_eq(rename(put_text(&f, "new", "nothing"), path), 0);
    unsigned char out[16];
    ck_assert(checkpoint_read(&f.cx, c, "a", 0, 4, out));
    ck_assert_int_eq(out[15], 15);
    expect_silence(&f, "replaced");
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

/* ---- reading ----------------------------------------------------------------------------------------------------- */

START_TEST(parts)
{
    Fixture f;
    fixture_begin(&f);
    Checkpoint *c = checkpoint_open(&f.cx, put_header(&f, "x.safetensors", AB, 20));
    unsigned char out[16] = {0};
    int64_t count;
    ck_assert_ptr_nonnull(checkpoint_tensors(c, &count));
    ck_assert_int_eq(count, 2);
    ck_assert_ptr_null(checkpoint_find(c, "c"));
    ck_assert_uint_eq(checkpoint_bytes(c), 20);
    ck_assert(checkpoint_read(&f.cx, c, "b", 1, 3, out));
    ck_assert_int_eq(out[0], 17);
    ck_assert(checkpoint_read(&f.cx, c, "b", 4, 0, out));
    expect_silence(&f, "parts");
    static const struct {
        const char *name;
        int64_t first, count;
    } wrong[] = {{"b", 0, 5}, {"b", 4, 1}, {"b", -1, 1}, {"b", 1, INT64_MAX}, {"c", 0, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        forget(&f);
        ck_assert(!checkpoint_read(&f.cx, c, wrong[i].name, wrong[i].first, wrong[i].count, out));
        expect_error(&f, wrong[i].name, "E0420", "");
    }
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

/* Every half and every bfloat through the loader, against the scalar conversion. */
START_TEST(every_half)
{
    Fixture f;
    fixture_begin(&f);
    uint16_t *all = arena_array(&f.arena, 65536, 2);
    for (int i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    HostTensor t[] = {{"h", DT_F16, 1, {65536}, all}, {"b", DT_BF16, 1, {65536}, all}};
    ck_assert(safetensors_save(&f.cx, at(&f, "x.safetensors"), t, 2));
    Checkpoint *c = checkpoint_open(&f.cx, at(&f, "x.safetensors"));
    float *h = arena_array(&f.arena, 65536, 4), *b = arena_array(&f.arena, 65536, 4);
    double *d = arena_array(&f.arena, 65536, 8);
    ck_assert(checkpoint_read_f32(&f.cx, c, "h", 0, 65536, h) && checkpoint_read_f32(&f.cx, c, "b", 0, 65536, b));
    ck_assert(checkpoint_read_f64(&f.cx, c, "h", 0, 65536, d));
    for (int i = 0; i < 65536; i++) {
        float want = half_to_float((uint16_t)i), wide = bfloat_to_float((uint16_t)i);
        if (isnan(want) ? !isnan(h[i]) : memcmp(&want, &h[i], 4) != 0)
            ck_abort_msg("half %04x is %a, not %a", i, h[i], want);
        if (isnan(want) ? !isnan(d[i]) : d[i] != (double)want)
            ck_abort_msg("half %04x is %a, not %a", i, d[i], want);
        if (isnan(wide) ? !isnan(b[i]) : memcmp(&wide, &b[i], 4) != 0)
            ck_abort_msg("bfloat %04x is %a, not %a", i, b[i], wide);
    }
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

START_TEST(real_shards)
{
    Fixture f;
    fixture_begin(&f);
    Checkpoint *c = checkpoint_open(&f.cx, SOURCE_DIR "/tests/golden/llama-sharded-bf16");
    ck_assert_msg(c != NULL, "%s", rendered(&f));
    expect_silence(&f, "sharded");
    const HostTensor *t = checkpoint_find(c, "lm_head.weight");
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->dtype, DT_BF16);
    ck_assert_uint_eq(checkpoint_bytes(c), 208688);
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

/* ---- made at compile time ---- */

typedef struct Twice { /* twice another tensor, and one error on request */
    const Checkpoint *base;
    const char *name;
    Context *cx;
    int error;
} Twice;

static int make_twice(const void *state, int64_t first, int64_t count, void *to)
{
    const Twice *t = state;
    float *out = to;
    if (t->error)
        return t->error;
    if (!checkpoint_read_f32(t->cx, t->base, t->name, first, count, out))
        return EIO;
    for (int64_t i = 0; i < count; i++)
        out[i] *= 2;
    return 0;
}

static Checkpoint *open_ab(Fixture *f)
{
    static float a[] = {1, 2, 3, 4};
    static unsigned char b[] = {5, 6, 7, 8};
    HostTensor t[] = {{"a", DT_F32, 1, {4}, a}, {"b", DT_U8, 1, {4}, b}};
    ck_assert(safetensors_save(&f->cx, at(f, "x.safetensors"), t, 2));
    Checkpoint *c = checkpoint_open(&f->cx, at(f, "x.safetensors"));
    ck_assert_ptr_nonnull(c);
    return c;
}

START_TEST(made)
{ /* data, a function, in the place of a stored one, a layer on a layer; what is below stays readable */
    Fixture f;
    fixture_begin(&f);
    Checkpoint *base = open_ab(&f);
    Twice twice = {base, "b", &f.cx, 0};
    static const float six[] = {1, 2, 3, 4, 5, 6};
    MadeTensor one[] = {{.name = "b", .rank = 1, .dims = {4}, .make = make_twice, .state = &twice, .origin = "twice"},
                        {.name = "ab", .rank = 2, .dims = {2, 3}, .data = six, .origin = "six"}};
    Checkpoint *c = checkpoint_with(&f.cx, base, one, 2);
    ck_assert_ptr_nonnull(c);
    Twice again = {c, "b", &f.cx, 0};
    MadeTensor two[] = {{.name = "b", .rank = 2, .dims = {2, 2}, .make = make_twice, .state = &again, .origin = "again"}};
    Checkpoint *top = checkpoint_with(&f.cx, c, two, 1);
    int64_t n;
    const HostTensor *all = checkpoint_tensors(top, &n);
    ck_assert_int_eq(n, 3);
    ck_assert(!strcmp(all[0].name, "a") && !strcmp(all[1].name, "ab") && !strcmp(all[2].name, "b"));
    ck_assert(all[2].dtype == DT_F32 && all[2].rank == 2 && all[1].dims[1] == 3);
    ck_assert_str_eq(checkpoint_file(top, "b"), "again");
    ck_assert_str_eq(checkpoint_file(top, "ab"), "six");
    ck_assert_str_eq(checkpoint_file(top, "a"), at(&f, "x.safetensors"));
    ck_assert_uint_eq(checkpoint_bytes(top), 16 + 24 + 16);
    float part[3];
    double wide[2];
    ck_assert(checkpoint_read_f32(&f.cx, top, "b", 1, 3, part) && part[0] == 24 && part[2] == 32);
    ck_assert(checkpoint_read_f32(&f.cx, c, "b", 0, 1, part) && part[0] == 10);
    ck_assert(checkpoint_read_f32(&f.cx, base, "b", 0, 1, part) && part[0] == 5);
    ck_assert(checkpoint_read_f64(&f.cx, top, "ab", 4, 2, wide) && wide[1] == 6);
    ck_assert(checkpoint_read_f64(&f.cx, top, "a", 2, 2, wide) && wide[1] == 4);
    expect_silence(&f, "made");
    ck_assert(!checkpoint_read_f32(&f.cx, top, "ab", 4, 3, part));
    expect_error(&f, "beyond", "E0420", "of 6");
    forget(&f);
    twice.error = EACCES;
    ck_assert(!checkpoint_read_f64(&f.cx, c, "b", 0, 1, wide));
    expect_error(&f, "failing", "E0420", "twice");
    checkpoint_close(top);
    fixture_end(&f);
}
END_TEST

START_TEST(made_alone)
{ /* without a file; one name twice */
    Fixture f;
    fixture_begin(&f);
    static const float six[] = {1, 2, 3, 4, 5, 6};
    MadeTensor both[] = {{.name = "w", .rank = 1, .dims = {6}, .data = six, .origin = "one"},
                         {.name = "w", .rank = 1, .dims = {5}, .data = six, .origin = "other"}};
    Checkpoint *c = checkpoint_with(&f.cx, NULL, both, 1);
    float out[6];
    ck_assert(checkpoint_read_f32(&f.cx, c, "w", 0, 6, out) && out[5] == 6);
    ck_assert_ptr_null(checkpoint_find(c, "v"));
    ck_assert_ptr_null(checkpoint_with(&f.cx, c, both, 2));
    expect_error(&f, "twice", "E0436", "made twice");
    checkpoint_close(c);
    fixture_end(&f);
}
END_TEST

START_TEST(made_packed)
{ /* the same bytes as the tensors written to a file, by any number of threads */
    Fixture f;
    fixture_begin(&f);
    float *w = arena_array(&f.arena, 300 * 700, sizeof *w);
    for (int i = 0; i < 300 * 700; i++)
        w[i] = (float)(i * 37 % 2039) / 8;
    HostTensor t = {"w", DT_F32, 2, {300, 700}, w};
    ck_assert(safetensors_save(&f.cx, at(&f, "w.safetensors"), &t, 1));
    Checkpoint *stored = checkpoint_open(&f.cx, at(&f, "w.safetensors"));
    MadeTensor m = {.name = "w", .rank = 2, .dims = {300, 700}, .data = w, .origin = "memory"};
    Checkpoint *made = checkpoint_with(&f.cx, NULL, &m, 1);
    PackItem item = {.key = "w", .layers = 1, .stored_rank = 2, .stored = {300, 700}, .n_rank = 1, .k_rank = 1,
                     .n = {{300, 700}}, .k = {{700, 1}}, .layout = PACK_PANELS, .panel = 32, .bytes = 320 * 700 * 4};
    Plan plan = {.weights = &item, .n_weights = 1, .weight_bytes = item.bytes};
    Packed want, got;
    ck_assert(pack_weights(&f.cx, stored, &plan, 1, &want) && pack_weights(&f.cx, made, &plan, 3, &got));
    ck_assert_int_eq(memcmp(want.data, got.data, item.bytes), 0);
    pack_free(&want);
    pack_free(&got);
    checkpoint_close(stored);
    checkpoint_close(made);
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("checkpoint");
    TCase *t = tcase_create("checkpoint");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, index_case, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_test(t, many_shards);
    tcase_add_test(t, no_files);
    tcase_add_test(t, no_permission);
    tcase_add_test(t, links);
    tcase_add_test(t, descriptors);
    tcase_add_test(t, shrinks);
    tcase_add_test(t, replaced);
    tcase_add_test(t, parts);
    tcase_add_test(t, every_half);
    tcase_add_test(t, real_shards);
    tcase_add_test(t, made);
    tcase_add_test(t, made_alone);
    tcase_add_test(t, made_packed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
