/* Diagnostics: collecting them. diag_render.c turns them into text. */
#include "support/diag.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

LineColumn span_start(Span s)
{
    LineColumn at = {1, 1};
    if (!s.source)
        return at;
    size_t end = s.begin < s.source->size ? s.begin : s.source->size;
    for (size_t i = 0; i < end; i++) {
        unsigned char c = (unsigned char)s.source->text[i];
        if (c == '\n') {
            at.line++;
            at.column = 1;
        } else if ((c & 0xc0) != 0x80) {
            at.column++;
        }
    }
    return at;
}

Span span_join(Span a, Span b)
{
    if (!a.source)
        return b;
    if (b.source != a.source)
        return a;
    if (b.begin < a.begin)
        a.begin = b.begin;
    if (b.end > a.end)
        a.end = b.end;
    return a;
}

static Diag *diag_new(Diags *d, DiagLevel level, const char *code, const char *format, va_list args)
{
    assert(diag_code(code) && "every code has a row in codes.def");
    Diag *diag = arena_alloc(d->arena, sizeof *diag);
    diag->owner = d;
    diag->level = level;
    diag->code = code;
    diag->message = arena_vprint(d->arena, format, args);
    if (d->last)
        d->last->next = diag;
    else
        d->first = diag;
    d->last = diag;
    if (level == DIAG_ERROR)
        d->errors++;
    else
        d->warnings++;
    return diag;
}

static Diag *set_file(Diag *diag, const char *file, const char *where)
{
    Arena *a = diag->owner->arena;
    diag->file = file ? arena_copy(a, file, strlen(file)) : NULL;
    diag->where = where ? arena_copy(a, where, strlen(where)) : NULL;
    return diag;
}

Diag *diag_error(Diags *d, const char *code, Span at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = diag_new(d, DIAG_ERROR, code, format, args);
    va_end(args);
    diag->at = at;
    return diag;
}

Diag *diag_warning(Diags *d, const char *code, Span at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = diag_new(d, DIAG_WARNING, code, format, args);
    va_end(args);
    diag->at = at;
    return diag;
}

Diag *diag_file_error(Diags *d, const char *code, const char *file, const char *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = diag_new(d, DIAG_ERROR, code, format, args);
    va_end(args);
    return set_file(diag, file, where);
}

Diag *diag_file_warning(Diags *d, const char *code, const char *file, const char *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = diag_new(d, DIAG_WARNING, code, format, args);
    va_end(args);
    return set_file(diag, file, where);
}

void diag_caret(Diag *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    d->label = arena_vprint(d->owner->arena, format, args);
    va_end(args);
}

static void add_part(Diag *d, DiagPartKind kind, Span at, const char *format, va_list args)
{
    DiagPart *part = arena_alloc(d->owner->arena, sizeof *part);
    part->kind = kind;
    part->at = at;
    part->text = format ? arena_vprint(d->owner->arena, format, args) : NULL; /* a label may be a mark alone */
    if (d->last_part)
        d->last_part->next = part;
    else
        d->parts = part;
    d->last_part = part;
}

void diag_label(Diag *d, Span at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_part(d, DIAG_LABEL, at, format, args);
    va_end(args);
}

void diag_note(Diag *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_part(d, DIAG_NOTE, (Span){0}, format, args);
    va_end(args);
}

void diag_help(Diag *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_part(d, DIAG_HELP, (Span){0}, format, args);
    va_end(args);
}

int diag_exit_status(const Diags *d)
{
    static const struct {
        const char *family;
        int status;
    } families[] = {
        {"E01", 1}, {"E02", 1}, {"E03", 1}, {"E04", 3}, {"E05", 3}, {"E06", 3},
        {"E07", 4}, {"E08", 4}, {"E09", 1}, {"E10", 4}, {"E11", 1}, {"E99", 70},
    };
    for (const Diag *diag = d->first; diag; diag = diag->next) {
        if (diag->level != DIAG_ERROR)
            continue;
        for (size_t i = 0; i < sizeof families / sizeof *families; i++)
            if (strncmp(diag->code, families[i].family, 3) == 0)
                return families[i].status;
        return 1;
    }
    return 0;
}
