/* The object cache: an entry comes back whole or not at all; damage of any kind is a miss and one warning. */
#include "tests/runtime/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "runtime/jit.h"

#define KEY "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210"
enum { BYTES = 20000, HEADER = 104 };

static unsigned char object[BYTES];

static void fill(void)
{
    for (int i = 0; i < BYTES; i++)
        object[i] = (unsigned char)(i * 31 + i / 256);
}

static const char *entry(Fixture *f, const char *key)
{
    return arena_print(&f->arena, "%s/%s.o", f->dir, key);
}

static void expect_hit(Fixture *f, const char *key)
{
    void *got = NULL;
    size_t bytes = 0;
    ck_assert_msg(cache_read(&f->cx, f->dir, key, &got, &bytes), "%s", rendered(f));
    ck_assert_uint_eq(bytes, BYTES);
    ck_assert_int_eq(memcmp(got, object, BYTES), 0);
    free(got);
    expect_silence(f, "hit");
}

/* A damaged entry: no object, one warning, the entry out of the way, and a new one can be written. */
static void expect_miss(Fixture *f, const char *what, const char *phrase)
{
    void *got = NULL;
    size_t bytes = 0;
    ck_assert_msg(!cache_read(&f->cx, f->dir, KEY, &got, &bytes), "%s was believed", what);
    expect_warning(f, what, "W0702", phrase);
    ck_assert_int_eq(diag_exit_status(&f->diags), 0);
    struct stat st;
    ck_assert_msg(lstat(entry(f, KEY), &st) != 0, "%s is still in the way", what);
    forget(f);
    ck_assert(!cache_read(&f->cx, f->dir, KEY, &got, &bytes));
    expect_silence(f, "the second time it is just absent");
}

START_TEST(hits)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    void *got;
    size_t bytes;
    ck_assert(!cache_read(&f.cx, f.dir, KEY, &got, &bytes));
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    expect_hit(&f, KEY);
    cache_write(&f.cx, f.dir, KEY, object, BYTES); /* again */
    expect_hit(&f, KEY);
    ck_assert_int_eq(files_in(f.dir), 1);
    struct stat st;
    ck_assert(stat(entry(&f, KEY), &st) == 0 && (st.st_mode & 0777) == 0600);
    cache_write(&f.cx, f.dir, OTHER, "", 0);
    ck_assert(cache_read(&f.cx, f.dir, OTHER, &got, &bytes));
    ck_assert_uint_eq(bytes, 0);
    free(got);
    ck_assert(!cache_read(&f.cx, f.dir, "../../etc/passwd", &got, &bytes)); /* no key, no path */
    cache_write(&f.cx, f.dir, "../x", object, BYTES);
    ck_assert_int_eq(files_in(f.dir), 2);
    expect_silence(&f, "hits");
    fixture_end(&f);
}
END_TEST

static void damage_bit(Fixture *f, const unsigned char *whole, size_t size, size_t bit)
{
    unsigned char *copy = malloc(size);
    memcpy(copy, whole, size);
    copy[bit / 8] ^= (unsigned char)(1 << bit % 8);
    put_bytes(f, KEY ".o", copy, size);
    free(copy);
    chmod(entry(f, KEY), 0600);
    void *got;
    size_t bytes;
    if (cache_read(&f->cx, f->dir, KEY, &got, &bytes))
        ck_abort_msg("bit %zu was not noticed", bit);
    if (f->diags.warnings != 1 || f->diags.errors != 0 || strcmp(f->diags.first->code, "W0702") != 0)
        ck_abort_msg("bit %zu:\n%s", bit, rendered(f));
    forget(f);
}

START_TEST(every_bit_of_the_header)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    size_t size;
    unsigned char *whole = get_bytes(&f, entry(&f, KEY), &size);
    ck_assert_uint_eq(size, BYTES + HEADER);
    for (size_t bit = 0; bit < HEADER * 8; bit++)
        damage_bit(&f, whole, size, bit);
    fixture_end(&f);
}
END_TEST

START_TEST(bits_of_the_body)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    size_t size;
    unsigned char *whole = get_bytes(&f, entry(&f, KEY), &size);
    uint64_t seed = 7;
    for (int i = 0; i < 1000; i++)
        damage_bit(&f, whole, size, HEADER * 8 + draw(&seed) % (BYTES * 8));
    fixture_end(&f);
}
END_TEST

START_TEST(truncations)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    size_t size;
    unsigned char *whole = get_bytes(&f, entry(&f, KEY), &size);
    for (size_t n = 0; n < size; n += n < HEADER + 2 ? 1 : 4096) {
        put_bytes(&f, KEY ".o", whole, n);
        expect_miss(&f, "truncated", "put aside");
    }
    unsigned char *longer = malloc(size + 1);
    memcpy(longer, whole, size);
    longer[size] = 0;
    put_bytes(&f, KEY ".o", longer, size + 1);
    free(longer);
    expect_miss(&f, "longer", "its length is wrong");
    fixture_end(&f);
}
END_TEST

START_TEST(foreign)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    put_text(&f, KEY ".o",
             "\177ELF and then something else, long enough to hold a header of one hundred and four bytes, which it is "
             "now, surely");
    expect_miss(&f, "foreign file", "no cache entry");
    cache_write(&f.cx, f.dir, OTHER, object, BYTES);
    ck_assert_int_eq(rename(entry(&f, OTHER), entry(&f, KEY)), 0);
    expect_miss(&f, "another key", "belongs to another key");
    fixture_end(&f);
}
END_TEST

START_TEST(permissions)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    static const struct {
        mode_t mode;
        const char *phrase;
    } rows[] = {{0620, "others may write"}, {0602, "others may write"}, {0666, "others may write"}};
    for (size_t i = 0; i < 3; i++) {
        cache_write(&f.cx, f.dir, KEY, object, BYTES);
        chmod(entry(&f, KEY), rows[i].mode);
        expect_miss(&f, "mode", rows[i].phrase);
    }
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    chmod(entry(&f, KEY), 0644);
    expect_hit(&f, KEY);
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(entry(&f, KEY), 65534, 65534), 0);
        expect_miss(&f, "owner", "belongs to another user");
        cache_write(&f.cx, f.dir, KEY, object, BYTES);
        ck_assert_int_eq(chown(entry(&f, KEY), 65534, 65534), 0);
        ck_assert_int_eq(chown(f.dir, 65534, 65534), 0);
        ck_assert_int_eq(seteuid(65534), 0);
        chmod(entry(&f, KEY), 0);
        expect_miss(&f, "unreadable", "no permission");
        ck_assert_int_eq(seteuid(0), 0);
    }
    fixture_end(&f);
}
END_TEST

START_TEST(no_files)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    cache_write(&f.cx, f.dir, OTHER, object, BYTES);
    ck_assert_int_eq(symlink(OTHER ".o", entry(&f, KEY)), 0);
    expect_miss(&f, "link", "a symbolic link");
    ck_assert_int_eq(mkdir(entry(&f, KEY), 0700), 0);
    put_text(&f, KEY ".o/inner", "x");
    expect_miss(&f, "folder", "not a regular file");
    ck_assert_int_eq(mkfifo(entry(&f, KEY), 0600), 0);
    expect_miss(&f, "FIFO", "not a regular file");
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    expect_hit(&f, KEY);
    fixture_end(&f);
}
END_TEST

START_TEST(clock_backwards)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    struct timespec future[2] = {{4000000000, 0}, {4000000000, 0}};
    utimensat(AT_FDCWD, entry(&f, KEY), future, 0);
    expect_hit(&f, KEY);
    fixture_end(&f);
}
END_TEST

/* ---- writing ----------------------------------------------------------------------------------------------------- */

START_TEST(write_failures)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    cache_write(&f.cx, at(&f, "absent"), KEY, object, BYTES);
    expect_warning(&f, "absent folder", "W0703", "no such file");
    forget(&f);
    put_text(&f, "file", "");
    cache_write(&f.cx, at(&f, "file"), KEY, object, BYTES);
    expect_warning(&f, "a file", "W0703", "not kept");
    forget(&f);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){5000, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    setrlimit(RLIMIT_FSIZE, &before);
    expect_warning(&f, "size limit", "W0703", "file size limit");
    ck_assert_int_eq(files_in(f.dir), 1);
    forget(&f);
    mkdir(entry(&f, KEY), 0700);
    put_text(&f, KEY ".o/inner", "x");
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    expect_warning(&f, "folder in the way", "W0703", "not kept");
    ck_assert_int_eq(files_in(f.dir), 2);
    fixture_end(&f);
}
END_TEST

START_TEST(read_only_folder)
{
    if (geteuid() != 0)
        return;
    Fixture f;
    fixture_begin(&f);
    fill();
    chmod(f.dir, 0755);
    ck_assert_int_eq(seteuid(65534), 0);
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    expect_warning(&f, "read-only", "W0703", "no permission");
    ck_assert_int_eq(seteuid(0), 0);
    fixture_end(&f);
}
END_TEST

START_TEST(killed_while_writing)
{ /* whatever is there afterwards is whole */
    Fixture f;
    fixture_begin(&f);
    static unsigned char large[256 << 10];
    uint64_t seed = 3;
    int found = 0;
    for (int i = 0; i < 100; i++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            for (;;)
                cache_write(&f.cx, f.dir, KEY, large, sizeof large);
        }
        usleep((useconds_t)(draw(&seed) % 20000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        void *got;
        size_t bytes;
        if (cache_read(&f.cx, f.dir, KEY, &got, &bytes)) {
            ck_assert_uint_eq(bytes, sizeof large);
            free(got);
            found++;
        }
        expect_silence(&f, "killed");
    }
    ck_assert_int_gt(found, 0);
    fixture_end(&f);
}
END_TEST

START_TEST(together)
{ /* several processes write and read one entry */
    Fixture f;
    fixture_begin(&f);
    fill();
    pid_t pids[8];
    fflush(NULL);
    for (int p = 0; p < 8; p++) {
        pids[p] = fork();
        if (pids[p] != 0)
            continue;
        for (int i = 0; i < 50; i++) {
            void *got;
            size_t bytes;
            cache_write(&f.cx, f.dir, KEY, object, BYTES);
            if (!cache_read(&f.cx, f.dir, KEY, &got, &bytes) || bytes != BYTES || memcmp(got, object, BYTES) != 0)
                _exit(1);
            free(got);
        }
        _exit(f.diags.warnings == 0 ? 0 : 2);
    }
    for (int p = 0; p < 8; p++) {
        int status;
        waitpid(pids[p], &status, 0);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(files_in(f.dir), 1);
    fixture_end(&f);
}
END_TEST

/* ---- the folder -------------------------------------------------------------------------------------------------- */

START_TEST(folder)
{
    Fixture f;
    fixture_begin(&f);
    const char *out;
    struct stat st;
    unsetenv("ATTAR_CACHE_DIR");
    setenv("XDG_CACHE_HOME", at(&f, "xdg"), 1);
    setenv("HOME", at(&f, "home"), 1);
    ck_assert(cache_directory(&f.cx, at(&f, "a/b/c"), &out));
    ck_assert_str_eq(out, at(&f, "a/b/c"));
    ck_assert(stat(out, &st) == 0 && (st.st_mode & 0777) == 0700);
    ck_assert(stat(at(&f, "a"), &st) == 0 && (st.st_mode & 0777) == 0700);
    ck_assert(cache_directory(&f.cx, NULL, &out));
    ck_assert_str_eq(out, at(&f, "xdg/attar"));
    setenv("ATTAR_CACHE_DIR", at(&f, "own"), 1);
    ck_assert(cache_directory(&f.cx, NULL, &out));
    ck_assert_str_eq(out, at(&f, "own"));
    setenv("ATTAR_CACHE_DIR", "", 1);
    setenv("XDG_CACHE_HOME", "relative", 1);
    ck_assert(cache_directory(&f.cx, NULL, &out));
    ck_assert_str_eq(out, at(&f, "home/.cache/attar"));
    expect_silence(&f, "folders");
    unsetenv("HOME");
    ck_assert(!cache_directory(&f.cx, NULL, &out));
    expect_warning(&f, "no HOME", "W0701", "$HOME is not set");
    forget(&f);
    put_text(&f, "file", "");
    ck_assert(!cache_directory(&f.cx, at(&f, "file"), &out));
    expect_warning(&f, "a file", "W0701", "Not a directory");
    forget(&f);
    ck_assert(!cache_directory(&f.cx, at(&f, "file/below"), &out));
    expect_warning(&f, "below a file", "W0701", "Not a directory");
    forget(&f);
    char name[5000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    ck_assert(!cache_directory(&f.cx, arena_print(&f.arena, "%s/%s", f.dir, name), &out));
    expect_warning(&f, "a long name", "W0701", "File name too long");
    forget(&f);
    ck_assert(!cache_directory(&f.cx, "/proc/attar", &out));
    expect_warning(&f, "read-only", "W0701", "not kept");
    fixture_end(&f);
}
END_TEST

/* ---- listing, pruning -------------------------------------------------------------------------------------------- */

START_TEST(list_and_prune)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    char key[33] = "0000000000000000000000000000000x";
    for (int i = 0; i < 5; i++) {
        key[31] = (char)('0' + i);
        cache_write(&f.cx, f.dir, key, object, BYTES);
        struct timespec old[2] = {{1000 + (i * 3) % 5, 0}, {2000, 0}}; /* last used in the order 0 2 4 1 3 */
        utimensat(AT_FDCWD, entry(&f, key), old, 0);
    }
    put_text(&f, "00000000000000000000000000000004.o", "damaged");
    struct timespec old[2] = {{1002, 0}, {2000, 0}};
    utimensat(AT_FDCWD, entry(&f, "00000000000000000000000000000004"), old, 0);
    put_text(&f, ".bad-" KEY "-1", "x");
    put_text(&f, ".tmp-1-00000001", "left behind");
    utimensat(AT_FDCWD, at(&f, ".tmp-1-00000001"), old, 0);
    put_text(&f, ".tmp-2-00000002", "being written");
    put_text(&f, "README", "not ours");
    int count;
    CacheEntry *e = cache_list(&f.cx, f.dir, &count);
    ck_assert_int_eq(count, 5);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(e[i].key[31], '0' + i);
        ck_assert_int_eq(e[i].sound, i != 4);
        ck_assert_uint_eq(e[i].bytes, i == 4 ? 7 : BYTES + HEADER);
    }
    ck_assert_int_eq(cache_prune(&f.cx, f.dir, (uint64_t)1 << 40), 0);
    ck_assert_int_eq(files_in(f.dir), 5 + 2); /* what was put aside and what was left behind are gone */
    ck_assert_int_eq(cache_prune(&f.cx, f.dir, 2 * (BYTES + HEADER) + 7), 2);
    e = cache_list(&f.cx, f.dir, &count);
    ck_assert_int_eq(count, 3);
    ck_assert(e[0].key[31] == '1' && e[1].key[31] == '3' && e[2].key[31] == '4');
    ck_assert_int_eq(cache_prune(&f.cx, f.dir, 0), count);
    ck_assert_int_eq(files_in(f.dir), 2);
    ck_assert_int_eq(cache_prune(&f.cx, at(&f, "absent"), 0), 0);
    ck_assert_ptr_nonnull(cache_list(&f.cx, at(&f, "absent"), &count));
    ck_assert_int_eq(count, 0);
    expect_silence(&f, "prune");
    fixture_end(&f);
}
END_TEST

START_TEST(use_keeps_an_entry)
{
    Fixture f;
    fixture_begin(&f);
    fill();
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    cache_write(&f.cx, f.dir, KEY, object, BYTES);
    cache_write(&f.cx, f.dir, OTHER, object, BYTES);
    utimensat(AT_FDCWD, entry(&f, KEY), old, 0);
    old[0].tv_sec = 2000;
    utimensat(AT_FDCWD, entry(&f, OTHER), old, 0);
    expect_hit(&f, KEY);
    ck_assert_int_eq(cache_prune(&f.cx, f.dir, BYTES + HEADER), 1);
    expect_hit(&f, KEY);
    fixture_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cache");
    TCase *t = tcase_create("cache");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, hits);
    tcase_add_test(t, every_bit_of_the_header);
    tcase_add_test(t, bits_of_the_body);
    tcase_add_test(t, truncations);
    tcase_add_test(t, foreign);
    tcase_add_test(t, permissions);
    tcase_add_test(t, no_files);
    tcase_add_test(t, clock_backwards);
    tcase_add_test(t, write_failures);
    tcase_add_test(t, read_only_folder);
    tcase_add_test(t, killed_while_writing);
    tcase_add_test(t, together);
    tcase_add_test(t, folder);
    tcase_add_test(t, list_and_prune);
    tcase_add_test(t, use_keeps_an_entry);
    suite_add_tcase(s, t);
    return run_suite(s);
}
