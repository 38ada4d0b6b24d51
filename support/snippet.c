/* Source lines with marks under them:
 *
 *     20 |   a = attention(q, k, v, mask=causal)
 *        |                 ^  - f32[B, T, G=8, K=128]          the rightmost label stands beside its mark,
 *        |                 |
 *        |                 f32[B, S, H=32, D=4096]             the others hang below, from right to left
 *
 * Columns are those of a terminal: tabs reach the next multiple of 4, wide characters take two, combining ones none. Of lines
 * beyond 120 columns a window around the marks is shown. */
#include "support/snippet.h"

#include <string.h>

enum { TAB = 4, WIDEST = 120, MARGIN = 24, FAR_APART = 5 };

/* ---- characters ---------------------------------------------------------------------------------------------------------------------- */

typedef struct Range {
    uint32_t low, high;
} Range;

static const Range zero_width[] = {
    {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},     {0x5bf, 0x5c7},   {0x610, 0x61a},   {0x64b, 0x65f},
    {0x670, 0x670},   {0x6d6, 0x6ed},   {0x900, 0x902},     {0x93c, 0x93c},   {0x941, 0x948},   {0x94d, 0x94d},
    {0xe31, 0xe31},   {0xe34, 0xe3a},   {0xe47, 0xe4e},     {0x1160, 0x11ff}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},
    {0x200b, 0x200d}, {0x2060, 0x2064}, {0x20d0, 0x20ff},   {0x302a, 0x302d}, {0x3099, 0x309a}, {0xfe00, 0xfe0f},
    {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef},
};
static const Range double_width[] = {
    {0x1100, 0x115f}, {0x2329, 0x232a},   {0x2e80, 0x303e},   {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},
    {0xa000, 0xa4cf}, {0xa960, 0xa97f},   {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
    {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
};
/* Shown as `?`: they would move the cursor or turn the text around. */
static const Range unfit[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},
                              {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};

static bool in_ranges(uint32_t code, const Range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (code >= ranges[i].low && code <= ranges[i].high)
            return true;
    return false;
}
#define IN(code, ranges) in_ranges(code, ranges, sizeof(ranges) / sizeof *(ranges))

typedef struct Glyph {
    size_t bytes;
    int width;
    bool fit;
} Glyph;

/* The character at `text`; an invalid byte is a glyph of its own, one column wide. */
static Glyph glyph_at(const char *text, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char)text[0];
    size_t length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (length == 0 || length > left)
        return (Glyph){1, 1, false};
    uint32_t code = length == 1 ? c : c & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return (Glyph){1, 1, false};
        code = code << 6 | ((unsigned char)text[i] & 63u);
    }
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) || IN(code, unfit))
        return (Glyph){length, 1, false};
    return (Glyph){length, IN(code, zero_width) ? 0 : IN(code, double_width) ? 2 : 1, true};
}

void put_safe(Text *out, const char *text, size_t length, size_t indent)
{
    for (size_t i = 0; i < length;) {
        Glyph g = glyph_at(text + i, length - i);
        if (text[i] == '\n') {
            text_char(out, '\n');
            text_pad(out, indent);
        } else if (g.fit) {
            text_put(out, text + i, g.bytes);
        } else {
            text_char(out, '?');
        }
        i += g.bytes;
    }
}

void style_on(Text *out, bool colour, Style style)
{
    static const char *const codes[] = {"\033[0m", "\033[1;31m", "\033[1;33m", "\033[1;36m", "\033[1;34m", "\033[1m"};
    if (colour)
        text_add(out, "%s", codes[style]);
}

/* ---- lines --------------------------------------------------------------------------------------------------------------------------- */

typedef struct Line {
    const char *text;
    size_t length;
    uint32_t begin;
    int number;
} Line;

static Line line_of(Span at)
{
    const Source *s = at.source;
    size_t place = at.begin < s->size ? at.begin : s->size, begin = 0, end = place;
    int number = 1;
    for (size_t i = 0; i < place; i++)
        if (s->text[i] == '\n') {
            number++;
            begin = i + 1;
        }
    while (end < s->size && s->text[end] != '\n')
        end++;
    if (end > begin && s->text[end - 1] == '\r')
        end--;
    return (Line){s->text + begin, end - begin, (uint32_t)begin, number};
}

int snippet_gutter(const Mark *marks, int n_marks)
{
    int most = 0, digits = 1;
    for (int i = 0; i < n_marks; i++) {
        int number = line_of(marks[i].at).number;
        most = number > most ? number : most;
    }
    for (; most >= 10; most /= 10)
        digits++;
    return digits < 2 ? 2 : digits;
}

static int glyph_width(const Line *l, size_t i, int column, Glyph g)
{
    return l->text[i] == '\t' ? TAB - column % TAB : g.width;
}

/* Columns before byte `offset` of the line. */
static int column_of(const Line *l, size_t offset)
{
    int column = 0;
    for (size_t i = 0; i < l->length && i < offset;) {
        Glyph g = glyph_at(l->text + i, l->length - i);
        column += glyph_width(l, i, column, g);
        i += g.bytes;
    }
    return column;
}

/* A mark on its line, in columns of the window. */
typedef struct Place {
    int begin, end;
    const char *text;
    bool primary;
} Place;
typedef struct Window {
    int begin, end;
    bool cut_left, cut_right;
} Window;

static Window window_of(const Line *l, const Place *places, int n)
{
    int width = column_of(l, l->length);
    if (width <= WIDEST)
        return (Window){0, width, false, false};
    int first = places[0].begin, last = places[0].end;
    for (int i = 1; i < n; i++) {
        if (places[i].begin < first && last - places[i].begin <= WIDEST - 2 * MARGIN)
            first = places[i].begin;
        if (places[i].end > last && places[i].end - first <= WIDEST - 2 * MARGIN)
            last = places[i].end;
    }
    int begin = first > MARGIN ? first - MARGIN : 0;
    if (begin + WIDEST > width)
        begin = width - WIDEST;
    return (Window){begin, begin + WIDEST, begin > 0, begin + WIDEST < width};
}

static void put_gutter(const Snippet *s, int number)
{
    style_on(s->out, s->colour, STYLE_FRAME);
    if (number > 0)
        text_add(s->out, "%*d |", s->gutter, number);
    else
        text_add(s->out, "%*s |", s->gutter, "");
    style_on(s->out, s->colour, STYLE_PLAIN);
}

static void put_source_line(const Snippet *s, const Line *l, Window w)
{
    put_gutter(s, l->number);
    if (l->length > 0)
        text_put(s->out, w.cut_left ? " ..." : " ", w.cut_left ? 4 : 1);
    int column = 0;
    for (size_t i = 0; i < l->length && column < w.end;) {
        Glyph g = glyph_at(l->text + i, l->length - i);
        int width = glyph_width(l, i, column, g);
        bool whole = column >= w.begin && column + width <= w.end;
        if (whole && g.fit)
            text_put(s->out, l->text + i, g.bytes);
        else if (whole && l->text[i] != '\t')
            text_char(s->out, '?');
        else
            for (int k = column > w.begin ? column : w.begin; k < column + width && k < w.end; k++)
                text_char(s->out, ' ');
        column += width;
        i += g.bytes;
    }
    if (w.cut_right)
        text_put(s->out, "...", 3);
    while (s->out->length > 0 && s->out->data[s->out->length - 1] == ' ')
        s->out->data[--s->out->length] = 0;
    text_char(s->out, '\n');
}

/* ---- marks --------------------------------------------------------------------------------------------------------------------------- */

static Style style_of(const Snippet *s, const Place *p)
{
    return p->primary ? s->primary : STYLE_LABEL;
}

/* A row below a source line is drawn column by column: at each the place whose sign stands there, or none. */
static void put_row(const Snippet *s, Window w, const char *signs, const Place *const *owners, int width,
                    const Place *label)
{
    put_gutter(s, 0);
    text_put(s->out, "    ", w.cut_left ? 4 : 1);
    for (int i = 0; i < width; i++) {
        bool starts = owners[i] && (i == 0 || owners[i - 1] != owners[i]);
        if (starts)
            style_on(s->out, s->colour, style_of(s, owners[i]));
        text_char(s->out, signs[i]);
        if (owners[i] && (i + 1 == width || owners[i + 1] != owners[i]))
            style_on(s->out, s->colour, STYLE_PLAIN);
    }
    if (label) {
        if (width > 0 && (signs[width - 1] == '^' || signs[width - 1] == '-'))
            text_char(s->out, ' ');
        style_on(s->out, s->colour, style_of(s, label));
        put_safe(s->out, label->text, strlen(label->text), (size_t)(s->gutter + 2 + (w.cut_left ? 4 : 1) + width));
        style_on(s->out, s->colour, STYLE_PLAIN);
    }
    text_char(s->out, '\n');
}

/* The label that may stand beside its mark: it begins last, and nothing reaches beyond it. */
static const Place *beside(const Place *places, int n)
{
    const Place *last = &places[0];
    for (int i = 1; i < n; i++)
        if (places[i].begin > last->begin || (places[i].begin == last->begin && places[i].end > last->end))
            last = &places[i];
    for (int i = 0; i < n; i++)
        if (places[i].end > last->end)
            return NULL;
    return last->text ? last : NULL;
}

enum { ROW = WIDEST + 2 };

static void clear_row(char *signs, const Place **owners)
{
    memset(signs, ' ', ROW);
    memset(owners, 0, ROW * sizeof *owners);
}

static void put_marks(const Snippet *s, Window w, const Place *places, int n)
{
    char signs[ROW];
    const Place *owners[ROW];
    int width = 0;
    clear_row(signs, owners);
    for (int pass = 0; pass < 2; pass++) /* the primary mark is drawn last and wins */
        for (int i = 0; i < n; i++) {
            if (places[i].primary != (pass == 1))
                continue;
            for (int k = places[i].begin; k < places[i].end; k++) {
                signs[k] = places[i].primary ? '^' : '-';
                owners[k] = &places[i];
            }
            width = places[i].end > width ? places[i].end : width;
        }
    const Place *inline_label = beside(places, n);
    put_row(s, w, signs, owners, width, inline_label);

    bool done[16] = {false};
    bool stem = true;
    for (int left = n; left-- > 0;) {
        int next = -1;
        for (int i = 0; i < n; i++)
            if (!done[i] && places[i].text && &places[i] != inline_label &&
                (next < 0 || places[i].begin >= places[next].begin))
                next = i;
        if (next < 0)
            return;
        for (int row = stem ? 0 : 1; row < 2;
             row++) { /* first a row of stems, then the text of the rightmost among them */
            clear_row(signs, owners);
            width = places[next].begin + (row == 0);
            for (int i = 0; i < n; i++)
                if (!done[i] && places[i].text && &places[i] != inline_label && places[i].begin < width) {
                    signs[places[i].begin] = '|';
                    owners[places[i].begin] = &places[i];
                }
            put_row(s, w, signs, owners, width, row ? &places[next] : NULL);
        }
        stem = false;
        done[next] = true;
    }
}

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

/* All marks of one source line. */
static void put_line(const Snippet *s, const Line *l)
{
    enum { MOST = 16 };
    Place places[MOST] = {{0, 0, NULL, false}};
    int n = 0;
    for (int i = 0; i < s->n_marks && n < MOST; i++) {
        const Mark *m = &s->marks[i];
        Line of = line_of(m->at);
        if (of.text != l->text)
            continue;
        size_t begin = m->at.begin - l->begin, end = m->at.end > m->at.begin ? m->at.end - l->begin : begin;
        Place p = {column_of(l, begin), column_of(l, end), m->text, m->primary};
        places[n++] = p;
    }
    Window w = window_of(l, places, n);
    for (int i = 0; i < n; i++) {
        places[i].begin = clamp(places[i].begin - w.begin, 0, WIDEST);
        places[i].end = clamp(places[i].end - w.begin, places[i].begin + 1, WIDEST + 1);
    }
    put_source_line(s, l, w);
    put_marks(s, w, places, n);
}

/* The next line of `source` after `number` that has a mark; false if there is none. */
static bool next_line(const Snippet *s, const Source *source, int number, Line *out)
{
    bool found = false;
    for (int i = 0; i < s->n_marks; i++) {
        if (s->marks[i].at.source != source)
            continue;
        Line l = line_of(s->marks[i].at);
        if (l.number > number && (!found || l.number < out->number)) {
            *out = l;
            found = true;
        }
    }
    return found;
}

static void put_source(const Snippet *s, const Source *source)
{
    put_gutter(s, 0);
    text_char(s->out, '\n');
    Line l;
    for (int number = 0; next_line(s, source, number, &l); number = l.number) {
        if (number > 0 && l.number - number > FAR_APART)
            text_add(s->out, "...\n");
        put_line(s, &l);
    }
}

void snippet_put(const Snippet *s)
{
    const Source *first = s->marks[0].at.source;
    put_source(s, first);
    for (int i = 1; i < s->n_marks; i++) {
        const Source *source = s->marks[i].at.source;
        bool shown = source == first;
        for (int k = 1; k < i; k++)
            shown |= s->marks[k].at.source == source;
        if (shown)
            continue;
        LineColumn at = span_start(s->marks[i].at);
        style_on(s->out, s->colour, STYLE_FRAME);
        text_add(s->out, "%*s::: ", s->gutter, "");
        style_on(s->out, s->colour, STYLE_PLAIN);
        put_safe(s->out, source->path, strlen(source->path), 0);
        text_add(s->out, ":%d:%d\n", at.line, at.column);
        put_source(s, source);
    }
}
