/* The table of measured tiles: what is printed is read, what is damaged is refused, rows of the same product replace each other. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/tuned.h"

typedef struct Fixture {
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
    char dir[64];
    JitOptions jit;
} Fixture;

static void open_fixture(Fixture *f)
{
    memset(f, 0, sizeof *f);
    f->names.map = map_new(&f->arena);
    f->diags.arena = &f->arena;
    f->cx = (Context){&f->arena, &f->diags, &f->names};
    strcpy(f->dir, "/tmp/attar-tuned-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    f->jit.cache_dir = f->dir;
}

static void close_fixture(Fixture *f)
{
    int count;
    cache_prune(&f->cx, f->dir, 0);
    cache_list(&f->cx, f->dir, &count);
    ck_assert_int_eq(count, 0);
    ck_assert_int_eq(rmdir(f->dir), 0);
    arena_free(&f->arena);
}

static const TunedTile rows[] = {
    {{1, 128, 384, 1536, 4}, {6, 2}, 0.9375},
    {{2, 1, 50257, 1, 2}, {1, 1}, 1},
};

START_TEST(test_text)
{
    Fixture f;
    TileTable read;
    open_fixture(&f);
    Text text = text_new(&f.arena);
    tuned_print(&(TileTable){rows, 2}, &text);
    ck_assert(tuned_parse(&f.cx, text.data, text.length, &read));
    ck_assert_int_eq(read.n, 2);
    for (int i = 0; i < 2; i++)
        ck_assert(!memcmp(&read.items[i].shape, &rows[i].shape, sizeof rows[i].shape) && read.items[i].tile.rows == rows[i].tile.rows &&
                  read.items[i].tile.vectors == rows[i].tile.vectors && read.items[i].ratio == rows[i].ratio);
    /* cut off anywhere but between two rows it is no table */
    for (size_t n = 0; n < text.length; n++)
        ck_assert_int_eq(tuned_parse(&f.cx, text.data, n, &read), n > 0 && text.data[n - 1] == '\n');
    close_fixture(&f);
}
END_TEST

#define ROW "accumulators=1 depth=384 columns=1536 bytes=4 rows=128 tile=6x2 ratio=0.9000"
static const char *const refused[] = {
    "attar tiles 2\n" ROW "\n",
    "attar tiles 1\n" ROW " \n",
    "attar tiles 1\n\n",
    "attar tiles 1\naccumulators=0 depth=384 columns=1536 bytes=4 rows=128 tile=6x2 ratio=0.9000\n",
    "attar tiles 1\naccumulators=1 depth=-4 columns=1536 bytes=4 rows=128 tile=6x2 ratio=0.9000\n",
    "attar tiles 1\naccumulators=1 depth=384 columns=99999999999999999999 bytes=4 rows=128 tile=6x2 ratio=0.9000\n",
    "attar tiles 1\naccumulators=1 depth=384 columns=1536 bytes=4 rows=128 tile=6x999 ratio=0.9000\n",
    "attar tiles 1\naccumulators=1 depth=384 columns=1536 bytes=4 rows=128 tile=6x2 ratio=nan\n",
    "attar tiles 1\naccumulators=1 depth=384 columns=1536 bytes=4 rows=128 tile=6x2 ratio=1.5000\n",
};

START_TEST(test_refused)
{
    Fixture f;
    TileTable read;
    open_fixture(&f);
    ck_assert(tuned_parse(&f.cx, "attar tiles 1\n" ROW "\n", strlen("attar tiles 1\n" ROW "\n"), &read));
    ck_assert(!tuned_parse(&f.cx, refused[_i], strlen(refused[_i]), &read));
    close_fixture(&f);
}
END_TEST

START_TEST(test_kept)
{
    Fixture f;
    TileTable read;
    const Target *t = target_native();
    open_fixture(&f);
    ck_assert(!tuned_read(&f.cx, &f.jit, t, &read));
    ck_assert(tuned_keep(&f.cx, &f.jit, t, rows, 2, false));
    TunedTile again = rows[0];
    again.shape.rows = 16; /* the same product, measured with other rows */
    again.tile = (Tile){4, 3};
    ck_assert(tuned_keep(&f.cx, &f.jit, t, &again, 1, false));
    ck_assert(tuned_read(&f.cx, &f.jit, t, &read));
    ck_assert_int_eq(read.n, 2);
    ck_assert(read.items[0].tile.rows == 4 && read.items[0].shape.rows == 16 && read.items[1].shape.depth == 50257);
    ck_assert(tuned_keep(&f.cx, &f.jit, t, &again, 1, true));
    ck_assert(tuned_read(&f.cx, &f.jit, t, &read) && read.n == 1);
    /* another target has a table of its own, and nobody reads one with --no-cache */
    ck_assert(!tuned_read(&f.cx, &f.jit, target_by_name("generic"), &read));
    f.jit.no_cache = true;
    ck_assert(!tuned_read(&f.cx, &f.jit, t, &read));
    ck_assert(!f.diags.errors && !f.diags.warnings);
    close_fixture(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tuned");
    TCase *c = tcase_create("tuned");
    tcase_add_test(c, test_text);
    tcase_add_loop_test(c, test_refused, 0, sizeof refused / sizeof *refused);
    tcase_add_test(c, test_kept);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
