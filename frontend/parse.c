/* From text to tree: checks that the source is text at all, then scanner, layout and grammar in turn. */
#include <string.h>

#include "frontend/frontend.h"
#include "frontend/syntax.h"

Span span_of(const Parser *p, uint32_t begin, uint32_t end)
{
    return (Span){p->source, begin, end};
}
Span token_span(const Parser *p, const Token *t)
{
    return span_of(p, t->begin, t->end);
}

void scan_add(Parser *p, int kind, uint32_t begin, uint32_t end)
{
    p->tokens = arena_room(p->cx->arena, p->tokens, p->n_tokens, &p->room, sizeof *p->tokens);
    p->tokens[p->n_tokens++] = (Token){kind, begin, end, p->reported, false};
    if (kind != '\n')
        p->reported = false;
}

/* The bytes of the UTF-8 character at `text`, 0 if it is not one (cut off, too long a form, surrogate, above U+10FFFF). */
static size_t character_length(const unsigned char *text, size_t left)
{
    unsigned char c = text[0];
    size_t length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] >= 0xa0) || (c == 0xf0 && text[1] < 0x90) ||
        (c == 0xf4 && text[1] >= 0x90))
        return 0;
    return length;
}

/* Characters that change how the text around them is shown: U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069. */
static bool turns_text(const unsigned char *c, size_t length)
{
    if (length == 2)
        return c[0] == 0xd8 && c[1] == 0x9c;
    if (length != 3 || c[0] != 0xe2)
        return false;
    return (c[1] == 0x80 && (c[2] == 0x8e || c[2] == 0x8f || (c[2] >= 0xaa && c[2] <= 0xae))) ||
           (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9);
}

/* What makes the character unfit for a model file, or NULL. */
static const char *unfit(const unsigned char *c, size_t length, size_t left)
{
    if (length == 0)
        return "the text is not valid UTF-8 here";
    if (c[0] == 0)
        return "a NUL byte: this is not a text file";
    if (c[0] == '\r')
        return left > 1 && c[1] == '\n' ? NULL : "a carriage return without a line feed";
    if ((c[0] < ' ' && c[0] != '\t' && c[0] != '\n') || c[0] == 127)
        return "a control character";
    if (turns_text(c, length))
        return "an invisible character that changes the direction of text";
    return NULL;
}

/* False, with one message about the first fault, if the source is not fit to be scanned. */
static bool check_text(Parser *p)
{
    const Source *s = p->source;
    if (s->size > MAX_SOURCE) {
        diag_file_error(p->cx->diags, "E0100", s->path, NULL, "the file has %zu bytes; a model file has at most %d",
                        s->size, MAX_SOURCE);
        return false;
    }
    for (size_t i = 0; i < s->size;) {
        const unsigned char *c = (const unsigned char *)s->text + i;
        size_t length = character_length(c, s->size - i);
        const char *fault = unfit(c, length, s->size - i);
        if (fault) {
            diag_error(p->cx->diags, "E0104", span_of(p, (uint32_t)i, (uint32_t)(i + (length ? length : 1))), "%s",
                       fault);
            return false;
        }
        i += length;
    }
    return true;
}

File *parse_file(Context *cx, const Source *source)
{
    File *file = arena_alloc(cx->arena, sizeof *file);
    file->source = source;
    Parser p = {.cx = cx, .source = source};
    if (!check_text(&p))
        return file;
    scan_source(&p);
    layout_tokens(&p);
    if (!p.hopeless)
        grammar_parse(&p);
    if (p.hopeless)
        return file;
    file->decls = p.decls.items;
    file->n_decls = p.decls.count;
    return file;
}
