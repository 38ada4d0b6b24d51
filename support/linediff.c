/* Myers' O(ND) algorithm, divided at the middle of the shortest edit script (An O(ND) Difference Algorithm and Its
 * Variations, 1986). The same comparison serves lines and, within a changed line, words. */
#include "support/linediff.h"

#include <ctype.h>
#include <string.h>
#include "support/names.h"

enum { FARTHEST = 3000 }; /* edits on each side of the middle; sequences farther apart are replaced as a whole */

typedef struct Piece {
    const char *text;
    size_t length;
    int id; /* equal pieces have equal ids */
    bool changed;
} Piece;

typedef struct Pieces {
    Piece *items;
    size_t count, capacity;
} Pieces;

/* ---- the comparison ---------------------------------------------------------------------------------------------- */

typedef struct Search {
    Piece *a, *b;         /* the two sequences */
    long *ahead, *behind; /* farthest x on each diagonal, from the front and from the back; -1: not reached */
} Search;

/* One step from the neighbouring diagonals: the farthest x on diagonal k that is still inside, or -1. */
static long step(const long *reach, long k, long n, long m)
{
    long down = reach[k + 1], right = reach[k - 1] < 0 ? -1 : reach[k - 1] + 1;
    if (down >= 0 && down - k > m)
        down = -1;
    if (right > n)
        right = -1;
    return down > right ? down : right;
}

static long least(long a, long b)
{
    return a < b ? a : b;
}

/* Where a shortest edit script of a[0, n) and b[0, m) passes its middle; false if that is too far away. */
static bool middle(const Search *s, const Piece *a, long n, const Piece *b, long m, long *at_x, long *at_y)
{
    long delta = n - m, *ahead = s->ahead + m + 1, *behind = s->behind + m + 1;
    for (long k = -m - 1; k <= n + 1; k++)
        ahead[k] = behind[k] = -1;
    for (long d = 0; d <= least((n + m + 1) / 2, FARTHEST); d++) {
        for (int back = 0; back < 2; back++) {
            long *reach = back ? behind : ahead, *other = back ? ahead : behind;
            for (long k = -least(d, m - ((d - m) & 1)); k <= least(d, n); k += 2) {
                long x = d == 0 ? 0 : step(reach, k, n, m);
                for (; x >= 0 && x < n && x - k < m; x++)
                    if (back ? a[n - 1 - x].id != b[m - 1 - (x - k)].id : a[x].id != b[x - k].id)
                        break;
                reach[k] = x;
                long across = delta - k;
                if (x < 0 || across < -m || across > n || other[across] < 0 || x + other[across] < n)
                    continue;
                *at_x = back ? n - x : x;
                *at_y = back ? m - (x - k) : x - k;
                return true;
            }
        }
    }
    return false;
}

static void compare(const Search *s, Piece *a, long n, Piece *b, long m)
{
    while (n && m && a->id == b->id)
        a++, b++, n--, m--;
    while (n && m && a[n - 1].id == b[m - 1].id)
        n--, m--;
    long x, y;
    if (n && m && middle(s, a, n, b, m, &x, &y)) {
        compare(s, a, x, b, y);
        compare(s, a + x, n - x, b + y, m - y);
        return;
    }
    for (long i = 0; i < n; i++)
        a[i].changed = true;
    for (long j = 0; j < m; j++)
        b[j].changed = true;
}

static void compare_all(Arena *arena, Pieces *a, Pieces *b)
{
    size_t diagonals = a->count + b->count + 3;
    Search s = {a->items, b->items, arena_array(arena, diagonals, sizeof(long)),
                arena_array(arena, diagonals, sizeof(long))};
    compare(&s, a->items, (long)a->count, b->items, (long)b->count);
}

/* ---- lines and words --------------------------------------------------------------------------------------------- */

static const char *squeezed(Arena *arena, const char *text, size_t length)
{
    char *copy = arena_copy(arena, text, length), *to = copy;
    for (const char *p = copy; *p; p++)
        if (*p != ' ' || to == copy || to[-1] != ' ')
            *to++ = *p;
    while (to > copy && to[-1] == ' ')
        to--;
    *to = 0;
    return copy;
}

static void add_piece(Arena *arena, Pieces *all, Map *ids, const char *text, size_t length, bool any_space)
{
    const char *key = any_space ? squeezed(arena, text, length) : arena_copy(arena, text, length);
    int *id = map_get(ids, key);
    if (!id) {
        id = arena_alloc(arena, sizeof *id);
        *id = (int)ids->count;
        map_set(ids, key, id);
    }
    all->items = arena_room(arena, all->items, all->count, &all->capacity, sizeof *all->items);
    all->items[all->count++] = (Piece){text, length, *id, false};
}

static Pieces lines_of(Arena *arena, Map *ids, const char *text, bool any_space)
{
    Pieces lines = {0};
    while (*text) {
        size_t length = strcspn(text, "\n");
        add_piece(arena, &lines, ids, text, length, any_space);
        text += length + (text[length] == '\n');
    }
    return lines;
}

static size_t word_length(const char *text, size_t room)
{
    size_t length = 1;
    bool space = *text == ' ', word = isalnum((unsigned char)*text) || *text == '_';
    for (; length < room && (space || word); length++) {
        char c = text[length];
        if (space ? c != ' ' : !isalnum((unsigned char)c) && c != '_' && c != '.')
            break;
    }
    return length;
}

static Pieces words_of(Arena *arena, Map *ids, const Piece *line)
{
    Pieces words = {0};
    for (size_t i = 0; i < line->length;) {
        size_t length = word_length(line->text + i, line->length - i);
        bool space = line->text[i] == ' ';
        add_piece(arena, &words, ids, space ? " " : line->text + i, space ? 1 : length, false);
        words.items[words.count - 1].text = line->text + i;
        words.items[words.count - 1].length = length;
        i += length;
    }
    return words;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

typedef struct Writer {
    const LineDiffLook *look;
    Text *out;
    Pieces a, b;
    Pieces *marks; /* with colour: the words of each changed line that has a partner; first those of a, then of b */
} Writer;

static void put_words(Text *out, const Pieces *words)
{
    bool reversed = false;
    for (size_t i = 0; i < words->count; i++) {
        const Piece *w = &words->items[i];
        if (w->changed != reversed)
            text_add(out, w->changed ? "\033[7m" : "\033[27m");
        reversed = w->changed;
        text_put(out, w->text, w->length);
    }
    text_add(out, reversed ? "\033[27m" : "");
}

static void put_line(Writer *w, char sign, const Piece *line, const Pieces *words)
{
    bool colour = w->look->colour && sign != ' ';
    if (colour)
        text_add(w->out, sign == '-' ? "\033[31m" : "\033[32m");
    text_char(w->out, sign);
    if (colour && words && words->count)
        put_words(w->out, words);
    else
        text_put(w->out, line->text, line->length);
    text_add(w->out, colour ? "\033[0m\n" : "\n");
}

/* Half of a line's visible bytes are the other's too: otherwise marks would say no more than the colour does. */
static bool worth_marking(const Pieces *words)
{
    size_t same = 0, all = 0;
    for (size_t i = 0; i < words->count; i++) {
        size_t length = *words->items[i].text == ' ' ? 0 : words->items[i].length;
        all += length;
        same += words->items[i].changed ? 0 : length;
    }
    return 2 * same >= all;
}

static void mark_pair(Writer *w, size_t i, size_t j)
{
    Arena *arena = w->out->arena;
    Map ids = map_new(arena);
    Pieces old = words_of(arena, &ids, &w->a.items[i]), new = words_of(arena, &ids, &w->b.items[j]);
    compare_all(arena, &old, &new);
    if (!worth_marking(&old) && !worth_marking(&new))
        return;
    w->marks[i] = old;
    w->marks[w->a.count + j] = new;
}

static size_t first_word(const Piece *line, const char **start)
{
    size_t i = 0;
    while (i < line->length && line->text[i] == ' ')
        i++;
    *start = line->text + i;
    return i < line->length ? word_length(*start, line->length - i) : 0;
}

/* Partners in a run of changes: lines that begin with the same word; all in order if there are as many of both. */
static void mark_run(Writer *w, size_t i, size_t i_end, size_t j, size_t j_end)
{
    bool in_order = i_end - i == j_end - j;
    for (size_t next = j; i < i_end; i++) {
        const char *word, *other;
        size_t length = first_word(&w->a.items[i], &word), at = next;
        while (at < j_end && (first_word(&w->b.items[at], &other) != length || memcmp(word, other, length)))
            at++;
        if (at == j_end && in_order)
            at = next;
        if (at < j_end) {
            mark_pair(w, i, at);
            next = at + 1;
        }
    }
}

typedef struct Hunk {
    size_t i, i_end, j, j_end;
} Hunk;

/* The changes from line i, j on that stand within reach of each other, and the lines around them. */
static Hunk next_hunk(const Writer *w, size_t i, size_t j)
{
    size_t context = (size_t)w->look->context, before = 0;
    while (i + before < w->a.count && !w->a.items[i + before].changed && j + before < w->b.count &&
           !w->b.items[j + before].changed)
        before++;
    size_t skip = before > context ? before - context : 0;
    Hunk h = {i + skip, i + before, j + skip, j + before};
    if (h.i_end == w->a.count && h.j_end == w->b.count)
        return (Hunk){h.i_end, h.i_end, h.j_end, h.j_end};
    for (size_t equal = 0; equal <= 2 * context && (h.i_end < w->a.count || h.j_end < w->b.count);) {
        bool removed = h.i_end < w->a.count && w->a.items[h.i_end].changed,
             added = h.j_end < w->b.count && w->b.items[h.j_end].changed;
        equal = removed || added ? 0 : equal + 1;
        h.i_end += removed || !added;
        h.j_end += added || !removed;
    }
    size_t after = 0;
    while (h.i_end - after > h.i && h.j_end - after > h.j && !w->a.items[h.i_end - after - 1].changed &&
           !w->b.items[h.j_end - after - 1].changed)
        after++;
    size_t cut = after > context ? after - context : 0;
    return (Hunk){h.i, h.i_end - cut, h.j, h.j_end - cut};
}

static void put_range(Text *out, char sign, size_t from, size_t to)
{
    text_add(out, " %c%zu", sign, to > from ? from + 1 : from);
    if (to - from != 1)
        text_add(out, ",%zu", to - from);
}

static void put_hunk(Writer *w, const Hunk *h)
{
    const char *const paint = w->look->colour ? "\033[36m" : "", *const plain = w->look->colour ? "\033[0m" : "";
    text_add(w->out, "%s@@", paint);
    put_range(w->out, '-', h->i, h->i_end);
    put_range(w->out, '+', h->j, h->j_end);
    text_add(w->out, " @@%s\n", plain);
    for (size_t i = h->i, j = h->j; i < h->i_end || j < h->j_end;) {
        size_t i_run = i, j_run = j;
        while (i_run < h->i_end && w->a.items[i_run].changed)
            i_run++;
        while (j_run < h->j_end && w->b.items[j_run].changed)
            j_run++;
        if (w->look->colour && i_run > i && j_run > j)
            mark_run(w, i, i_run, j, j_run);
        for (; i < i_run; i++)
            put_line(w, '-', &w->a.items[i], w->marks ? &w->marks[i] : NULL);
        for (; j < j_run; j++)
            put_line(w, '+', &w->b.items[j], w->marks ? &w->marks[w->a.count + j] : NULL);
        for (; i < h->i_end && j < h->j_end && !w->a.items[i].changed && !w->b.items[j].changed; i++, j++)
            put_line(w, ' ', &w->b.items[j], NULL);
    }
}

static bool any_changed(const Pieces *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].changed)
            return true;
    return false;
}

bool linediff(const char *before, const char *after, const LineDiffLook *look, Text *out)
{
    Arena *arena = out->arena;
    Map ids = map_new(arena);
    Writer w = {.look = look, .out = out};
    w.a = lines_of(arena, &ids, before, look->any_space);
    w.b = lines_of(arena, &ids, after, look->any_space);
    compare_all(arena, &w.a, &w.b);
    if (!any_changed(&w.a) && !any_changed(&w.b))
        return false;
    if (look->colour)
        w.marks = arena_array(arena, w.a.count + w.b.count + 1, sizeof *w.marks);
    const char *const bold = look->colour ? "\033[1m" : "", *const plain = look->colour ? "\033[0m" : "";
    if (look->before && look->after)
        text_add(out, "%s--- %s\n+++ %s%s\n", bold, look->before, look->after, plain);
    for (Hunk h = {0}; h.i_end < w.a.count || h.j_end < w.b.count;) {
        h = next_hunk(&w, h.i_end, h.j_end);
        if (h.i < h.i_end || h.j < h.j_end)
            put_hunk(&w, &h);
    }
    return true;
}
