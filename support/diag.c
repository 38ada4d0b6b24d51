/* Diagnostics: collecting them, positions in sources, exit status. Rendering is in diag_render.c, the codes' pages in codes.def. */
#include "support/diag.h"

#include <stdlib.h>
#include <string.h>

static const char *keep_format(Diags *d, const char *format, va_list args)
{
    return arena_vprint(d->arena, format, args);
}

static Diag *add(Diags *d, DiagLevel level, const char *code)
{
    Diag *diag = arena_alloc(d->arena, sizeof *diag);
    *diag = (Diag){.owner = d, .level = level, .code = code};
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

static Diag *add_span(Diags *d, DiagLevel level, const char *code, Span at, const char *format, va_list args)
{
    Diag *diag = add(d, level, code);
    diag->at = at;
    diag->message = keep_format(d, format, args);
    return diag;
}

static Diag *add_file(Diags *d, DiagLevel level, const char *code, const char *file, const char *where, const char *format, va_list args)
{
    Diag *diag = add(d, level, code);
    diag->file = file ? arena_copy(d->arena, file, strlen(file)) : NULL;
    diag->where = where ? arena_copy(d->arena, where, strlen(where)) : NULL;
    diag->message = keep_format(d, format, args);
    return diag;
}

Diag *diag_error(Diags *d, const char *code, Span at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = add_span(d, DIAG_ERROR, code, at, format, args);
    va_end(args);
    return diag;
}

Diag *diag_warning(Diags *d, const char *code, Span at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = add_span(d, DIAG_WARNING, code, at, format, args);
    va_end(args);
    return diag;
}

Diag *diag_file_error(Diags *d, const char *code, const char *file, const char *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = add_file(d, DIAG_ERROR, code, file, where, format, args);
    va_end(args);
    return diag;
}

Diag *diag_file_warning(Diags *d, const char *code, const char *file, const char *where, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Diag *diag = add_file(d, DIAG_WARNING, code, file, where, format, args);
    va_end(args);
    return diag;
}

static void add_part(Diag *d, DiagPartKind kind, Span at, const char *format, va_list args)
{
    DiagPart *part = arena_alloc(d->owner->arena, sizeof *part);
    *part = (DiagPart){.kind = kind, .at = at, .text = keep_format(d->owner, format, args)};
    if (d->last_part)
        d->last_part->next = part;
    else
        d->parts = part;
    d->last_part = part;
}

void diag_caret(Diag *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    d->label = keep_format(d->owner, format, args);
    va_end(args);
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

LineColumn span_start(Span s)
{
    LineColumn at = {1, 1};
    if (!s.source)
        return at;
    for (uint32_t i = 0; i < s.begin && i < s.source->size; i++) {
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
    if (!a.source || a.source != b.source)
        return a.source ? a : b;
    a.begin = a.begin < b.begin ? a.begin : b.begin;
    a.end = a.end > b.end ? a.end : b.end;
    return a;
}

int diag_exit_status(const Diags *d)
{
    const Diag *e = d->first;
    while (e && e->level != DIAG_ERROR)
        e = e->next;
    if (!e)
        return 0;
    switch (atoi(e->code + 1) / 100) {
    case 4: case 5: case 6: return 3;
    case 7: case 8: case 10: return 4;
    case 99: return 70;
    default: return 1;
    }
}

const CodePage *diag_code(const char *code)
{
    for (size_t i = 0; i < diag_code_count; i++)
        if (!strcmp(diag_codes[i].code, code))
            return &diag_codes[i];
    return NULL;
}
