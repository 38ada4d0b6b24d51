/* The table of measured tiles as text, and its place in the cache. */
#include "driver/tuned.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TITLE "attar tiles 1"
enum { MOST_ROWS = 4096, LONGEST = 200, MOST_SIZE = 1 << 30 };

/* ---- text -------------------------------------------------------------------------------------------------------- */

void tuned_print(const TileTable *table, Text *out)
{
    text_add(out, TITLE "\n");
    for (int i = 0; i < table->n; i++) {
        const TunedTile *r = &table->items[i];
        text_add(out, "accumulators=%d depth=%lld columns=%lld bytes=%d rows=%lld tile=%dx%d ratio=%.4f\n", r->shape.accumulators,
                 (long long)r->shape.depth, (long long)r->shape.columns, r->shape.weight_bytes, (long long)r->shape.rows,
                 r->tile.rows, r->tile.vectors, r->ratio);
    }
}

static bool in_range(long long value, long long most)
{
    return value >= 1 && value <= most;
}

static bool parse_row(const char *line, TunedTile *r)
{
    long long depth, columns, rows;
    int end = 0, n = sscanf(line, "accumulators=%4d depth=%12lld columns=%12lld bytes=%4d rows=%12lld tile=%4dx%4d ratio=%10lf%n",
                            &r->shape.accumulators, &depth, &columns, &r->shape.weight_bytes, &rows, &r->tile.rows,
                            &r->tile.vectors, &r->ratio, &end);
    r->shape.depth = depth;
    r->shape.columns = columns;
    r->shape.rows = rows;
    return n == 8 && !line[end] && in_range(r->shape.accumulators, 64) && in_range(depth, MOST_SIZE) &&
           in_range(columns, MOST_SIZE) && in_range(rows, MOST_SIZE) && in_range(r->shape.weight_bytes, 8) &&
           in_range(r->tile.rows, 64) && in_range(r->tile.vectors, 64) && r->ratio > 0 && r->ratio <= 1;
}

bool tuned_parse(Context *cx, const char *text, size_t length, TileTable *out)
{
    TunedTile *rows = NULL;
    size_t n = 0, capacity = 0, title = strlen(TITLE "\n");
    if (length < title || memcmp(text, TITLE "\n", title) != 0 || memchr(text, 0, length))
        return false;
    for (const char *at = text + title, *end = text + length; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        char line[LONGEST];
        if (!stop || (size_t)(stop - at) >= sizeof line || n == MOST_ROWS)
            return false;
        memcpy(line, at, (size_t)(stop - at));
        line[stop - at] = 0;
        rows = arena_room(cx->arena, rows, n, &capacity, sizeof *rows);
        rows[n] = (TunedTile){.ratio = 0};
        if (!parse_row(line, &rows[n++]))
            return false;
        at = stop + 1;
    }
    *out = (TileTable){rows, (int)n};
    return true;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

/* The folder and the key of this machine's table; false, in silence, without a folder or a compiler. */
static bool find_place(Context *cx, const JitOptions *o, const Target *t, const char **dir, const char **key)
{
    Diags unheard = {.arena = cx->arena}; /* jit_compile speaks of the same folder */
    Context silent = {cx->arena, &unheard, cx->names};
    const char *name, *identity;
    if (o->no_cache || !target_runs_here(t) || !cache_directory(&silent, o->cache_dir, dir) ||
        !jit_machine(cx, o->clang, &name, &identity))
        return false;
    *key = cache_key(cx, arena_print(cx->arena, TITLE "\n%s\n%s", t->name, identity));
    return *key != NULL;
}

static bool read_table(Context *cx, const char *dir, const char *key, TileTable *out)
{
    void *text;
    size_t length;
    if (!cache_read(cx, dir, key, &text, &length))
        return false;
    bool good = tuned_parse(cx, text, length, out);
    free(text);
    if (!good)
        diag_file_warning(cx->diags, "W0702", dir, key, "the cache entry is not used: it is no table of tiles");
    return good;
}

bool tuned_read(Context *cx, const JitOptions *o, const Target *t, TileTable *out)
{
    const char *dir, *key;
    return find_place(cx, o, t, &dir, &key) && read_table(cx, dir, key, out);
}

static bool same_shape(const GemmShape *a, const GemmShape *b)
{
    return a->accumulators == b->accumulators && a->depth == b->depth && a->columns == b->columns &&
           a->weight_bytes == b->weight_bytes;
}

/* The new rows, then the old ones of other products. */
static TileTable merged(Context *cx, const TileTable *old, const TunedTile *rows, int n)
{
    TunedTile *all = arena_array(cx->arena, (size_t)(old->n + n) + 1, sizeof *all);
    int count = 0;
    for (int i = 0; i < n && count < MOST_ROWS; i++)
        all[count++] = rows[i];
    for (int i = 0; i < old->n && count < MOST_ROWS; i++) {
        bool again = false;
        for (int k = 0; k < n; k++)
            again |= same_shape(&old->items[i].shape, &rows[k].shape);
        if (!again)
            all[count++] = old->items[i];
    }
    return (TileTable){all, count};
}

bool tuned_keep(Context *cx, const JitOptions *o, const Target *t, const TunedTile *rows, int n, bool forget)
{
    const char *dir, *key;
    TileTable old = {0};
    if (!find_place(cx, o, t, &dir, &key)) {
        diag_file_warning(cx->diags, "W0703", NULL, NULL, "the table of tiles is not kept: there is no folder for it");
        return false;
    }
    /* two that tune at the same time: the second one adds to what the first one wrote */
    int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock >= 0)
        flock(lock, LOCK_EX);
    if (!forget)
        read_table(cx, dir, key, &old);
    TileTable all = merged(cx, &old, rows, n);
    Text text = text_new(cx->arena);
    tuned_print(&all, &text);
    cache_write(cx, dir, key, text.data, text.length);
    bool good = read_table(cx, dir, key, &old);
    if (lock >= 0)
        close(lock);
    return good;
}
