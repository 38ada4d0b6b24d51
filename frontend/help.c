/* The list behind `attar ops`: the rows of operators.def, and the blocks of std.attar with the comment above each. */
#include "bind.h"

#include <string.h>

/* "linear(x: [*, in], name: text, ...) -> [*, out]": the declaration up to its body, on one line. */
static const char *signature_of(Bind *b, const Decl *d)
{
    Span at = {d->at.source, d->name.at.begin, d->body->at.begin};
    char *text = arena_copy(b->cx->arena, at.source->text + at.begin, at.end - at.begin);
    size_t to = 0;
    for (const char *p = text; *p; p++) {
        char c = *p == '\n' ? ' ' : *p;
        if (c != ' ' || (to && text[to - 1] != ' '))
            text[to++] = c;
    }
    while (to && (text[to - 1] == ' ' || text[to - 1] == '{'))
        to--;
    text[to] = 0;
    return text;
}

/* The comment lines that end just above the declaration. */
static const char *comment_above(Bind *b, const Decl *d)
{
    const char *text = d->at.source->text, *end = text + d->at.begin, *begin = end;
    while (begin > text) {
        const char *line = begin - 1;
        while (line > text && line[-1] != '\n')
            line--;
        if (*line != '#')
            break;
        begin = line;
    }
    Text out = text_new(b->cx->arena);
    for (const char *p = begin; p < end; p++) {
        if (*p == '#' && (p == begin || p[-1] == '\n'))
            p += p + 1 < end && p[1] == ' ';
        else if (*p != '\n')
            text_char(&out, *p);
        else if (p + 1 < end)
            text_char(&out, ' ');
    }
    return out.data ? out.data : "";
}

const OperatorHelp *frontend_operators(Context *cx, int *count)
{
    Bind bind = {.cx = cx}, *b = &bind;
    Source *source = bind_new(b, sizeof *source);
    *source = (Source){"std.attar", std_attar_text, std_attar_size};
    const File *file = parse_file(cx, source);
    OperatorHelp *out = arena_array(cx->arena, (size_t)(n_builtins + file->n_decls) + 1, sizeof *out);
    int n = 0;
    for (int i = 0; i < file->n_decls; i++) {
        const Decl *d = &file->decls[i];
        if (d->kind == DECL_BLOCK)
            out[n++] = (OperatorHelp){d->name.text, signature_of(b, d), comment_above(b, d), true};
    }
    for (int i = 0; i < n_builtins; i++)
        out[n++] = (OperatorHelp){builtins[i].name, builtins[i].signature, builtins[i].sentence, false};
    *count = n;
    return out;
}
