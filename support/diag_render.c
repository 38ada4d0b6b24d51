/* Diagnostics as text and as JSON: sorted by file and position, at most 20 errors. The quoted lines are drawn by snippet.c. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "support/snippet.h"

enum { MOST_SHOWN = 20 };

/* ---- order ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct Ranked {
    const Diag *diag;
    int rank;
} Ranked;

/* By file, then by position; what is about a whole file comes after the positions of other files, in order of appearance. */
static int compare(const void *left, const void *right)
{
    const Ranked *a = left, *b = right;
    const Source *s = a->diag->at.source, *t = b->diag->at.source;
    if (!s != !t)
        return s ? -1 : 1;
    if (s) {
        int order = strcmp(s->path, t->path);
        if (order)
            return order;
        if (a->diag->at.begin != b->diag->at.begin)
            return a->diag->at.begin < b->diag->at.begin ? -1 : 1;
    }
    return a->rank - b->rank;
}

static Ranked *sorted(const Diags *d, Arena *a, int *count)
{
    *count = d->errors + d->warnings;
    Ranked *list = arena_array(a, (size_t)*count + 1, sizeof *list);
    int n = 0;
    for (const Diag *diag = d->first; diag; diag = diag->next) {
        list[n] = (Ranked){diag, n};
        n++;
    }
    qsort(list, (size_t)n, sizeof *list, compare);
    return list;
}

/* ---- one diagnostic as text ----------------------------------------------------------------------------------------------------------- */

static const char *level_name(const Diag *d)
{
    return d->level == DIAG_ERROR ? "error" : "warning";
}

static void put_text(Text *out, const char *text, size_t indent)
{
    put_safe(out, text, strlen(text), indent);
}

static void put_place(const Diag *d, Text *out, int gutter, bool colour)
{
    if (!d->at.source && !d->file)
        return;
    style_on(out, colour, STYLE_FRAME);
    text_add(out, "%*s--> ", gutter, "");
    style_on(out, colour, STYLE_PLAIN);
    if (d->at.source) {
        LineColumn at = span_start(d->at);
        put_text(out, d->at.source->path, 0);
        text_add(out, ":%d:%d", at.line, at.column);
    } else {
        put_text(out, d->file, 0);
        if (d->where) {
            text_add(out, ": ");
            put_text(out, d->where, 0);
        }
    }
    text_char(out, '\n');
}

static void put_parts(const Diag *d, DiagPartKind kind, Text *out, int gutter, bool colour)
{
    for (const DiagPart *part = d->parts; part; part = part->next) {
        if (part->kind != kind)
            continue;
        style_on(out, colour, STYLE_FRAME);
        text_add(out, "%*s = ", gutter, "");
        style_on(out, colour, STYLE_STRONG);
        text_add(out, "%s: ", kind == DIAG_HELP ? "help" : "note");
        style_on(out, colour, STYLE_PLAIN);
        put_text(out, part->text, (size_t)gutter + 9);
        text_char(out, '\n');
    }
}

/* What is so, then what to do about it. */
static void put_notes(const Diag *d, Text *out, int gutter, bool colour)
{
    put_parts(d, DIAG_NOTE, out, gutter, colour);
    put_parts(d, DIAG_HELP, out, gutter, colour);
}

/* The primary mark and the labels that point into a source. */
static Mark *marks_of(const Diag *d, Arena *a, int *count)
{
    size_t n = 1;
    for (const DiagPart *part = d->parts; part; part = part->next)
        n++;
    Mark *marks = arena_array(a, n, sizeof *marks);
    *count = 0;
    if (!d->at.source)
        return marks;
    marks[(*count)++] = (Mark){d->at, d->label, true};
    for (const DiagPart *part = d->parts; part; part = part->next)
        if (part->kind == DIAG_LABEL && part->at.source)
            marks[(*count)++] = (Mark){part->at, part->text, false};
    return marks;
}

static void render_one(const Diag *d, Text *out, bool colour)
{
    int n_marks;
    Mark *marks = marks_of(d, out->arena, &n_marks);
    int gutter = snippet_gutter(marks, n_marks);
    Style style = d->level == DIAG_ERROR ? STYLE_ERROR : STYLE_WARNING;
    style_on(out, colour, style);
    text_add(out, "%s[%s]", level_name(d), d->code);
    style_on(out, colour, STYLE_PLAIN);
    style_on(out, colour, STYLE_STRONG);
    text_add(out, ": ");
    put_text(out, d->message, 4);
    style_on(out, colour, STYLE_PLAIN);
    text_char(out, '\n');
    put_place(d, out, gutter, colour);
    if (n_marks > 0)
        snippet_put(&(Snippet){out, colour, style, gutter, marks, n_marks});
    put_notes(d, out, gutter, colour);
}

static void put_rest(Text *out, int count, const char *what)
{
    if (count > 0)
        text_add(out, "\n... %d more %s%s\n", count, what, count == 1 ? "" : "s");
}

void diag_render(const Diags *d, Text *out, bool colour)
{
    int n, errors = 0, warnings = 0;
    const Ranked *list = sorted(d, out->arena, &n);
    bool first = true;
    for (int i = 0; i < n; i++) {
        int *shown = list[i].diag->level == DIAG_ERROR ? &errors : &warnings;
        if (*shown == MOST_SHOWN)
            continue;
        ++*shown;
        if (!first)
            text_char(out, '\n');
        first = false;
        render_one(list[i].diag, out, colour);
    }
    put_rest(out, d->errors - errors, "error");
    put_rest(out, d->warnings - warnings, "warning");
}

/* ---- JSON ----------------------------------------------------------------------------------------------------------------------------- */

/* jansson takes valid UTF-8 only. */
static json_t *json_text(Arena *a, const char *text)
{
    if (!text)
        return json_null();
    Text safe = text_new(a);
    for (const char *line = text; *line;) { /* newlines are kept: put_safe would indent what follows */
        size_t length = strcspn(line, "\n");
        put_safe(&safe, line, length, 0);
        line += length;
        if (*line) {
            text_char(&safe, '\n');
            line++;
        }
    }
    return json_stringn(safe.data, safe.length);
}

static json_t *json_span(Arena *a, const Mark *m)
{
    LineColumn at = span_start(m->at);
    json_t *span = json_object();
    json_object_set_new(span, "file", json_text(a, m->at.source->path));
    json_object_set_new(span, "byte_start", json_integer(m->at.begin));
    json_object_set_new(span, "byte_end", json_integer(m->at.end));
    json_object_set_new(span, "line", json_integer(at.line));
    json_object_set_new(span, "column", json_integer(at.column));
    json_object_set_new(span, "primary", json_boolean(m->primary));
    json_object_set_new(span, "label", json_text(a, m->text));
    return span;
}

static json_t *json_diag(const Diag *d, Arena *a)
{
    json_t *root = json_object(), *spans = json_array(), *notes = json_array();
    json_object_set_new(root, "level", json_string(level_name(d)));
    json_object_set_new(root, "code", json_string(d->code));
    json_object_set_new(root, "message", json_text(a, d->message));
    if (d->file) {
        json_object_set_new(root, "file", json_text(a, d->file));
        json_object_set_new(root, "where", json_text(a, d->where));
    }
    int n;
    const Mark *marks = marks_of(d, a, &n);
    for (int i = 0; i < n; i++)
        json_array_append_new(spans, json_span(a, &marks[i]));
    for (const DiagPart *part = d->parts; part; part = part->next) {
        if (part->kind == DIAG_LABEL)
            continue;
        json_t *note = json_object();
        json_object_set_new(note, "kind", json_string(part->kind == DIAG_HELP ? "help" : "note"));
        json_object_set_new(note, "text", json_text(a, part->text));
        json_array_append_new(notes, note);
    }
    json_object_set_new(root, "spans", spans);
    json_object_set_new(root, "notes", notes);
    Text rendered = text_new(a);
    render_one(d, &rendered, false);
    json_object_set_new(root, "rendered", json_text(a, rendered.data));
    return root;
}

void diag_render_json(const Diags *d, Text *out)
{
    int n;
    const Ranked *list = sorted(d, out->arena, &n);
    for (int i = 0; i < n; i++) {
        json_t *root = json_diag(list[i].diag, out->arena);
        char *line = json_dumps(root, JSON_COMPACT);
        if (line)
            text_add(out, "%s\n", line);
        free(line);
        json_decref(root);
    }
}
