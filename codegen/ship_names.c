/* Sections of several targets stand in one file: the names of file scope get a suffix in each. */
#include "codegen/ship_inside.h"

#include <ctype.h>
#include <string.h>

const char *ship_suffix(const Target *t) {
    if (!strcmp(t->name, "x86-64-v4"))
        return "_v4";
    if (!strcmp(t->name, "x86-64-v3"))
        return "_v3";
    return !strcmp(t->name, "x86-64") ? "_v1" : NULL;
}

typedef struct Token { const char *at; size_t length; } Token;

/* The next identifier, number or sign; comments, strings and lines of the preprocessor are none. */
static Token next_token(const char *p, bool line_start) {
    for (;;) {
        if (*p == '\n')
            line_start = true, p++;
        else if (isspace((unsigned char)*p))
            p++;
        else if (p[0] == '/' && p[1] == '*')
            p = strstr(p, "*/") + 2;
        else if (line_start && *p == '#')
            while (*p && *p != '\n')
                p++;
        else if (*p == '"')
            for (p++; *p && *p++ != '"';)
                p += p[-1] == '\\' && *p;
        else
            break;
    }
    size_t n = *p != 0;
    if (isalnum((unsigned char)*p) || *p == '_')
        while (isalnum((unsigned char)p[n]) || p[n] == '_')
            n++;
    return (Token){p, n};
}

static bool is(Token t, const char *text) { return t.length == strlen(text) && !memcmp(t.at, text, t.length); }
static bool is_name(Token t) { return t.length && (isalpha((unsigned char)*t.at) || *t.at == '_') && strncmp(t.at, "__", 2) != 0; }

static void take(Map *names, Token t) {
    if (is_name(t))
        map_set(names, arena_copy(names->arena, t.at, t.length), names);
}

/* Functions, types, constants of an enum and tags that the section defines at file scope. */
static Map defined_in(Context *cx, const char *section) {
    Map names = map_new(cx->arena);
    Token before = {section, 0}, last = before;         /* last: the identifier before an attribute or the end of a typedef */
    int braces = 0, parens = 0;
    bool type = false, constants = false, tag = false;
    for (Token t = next_token(section, true); t.length; before = t, t = next_token(t.at + t.length, false)) {
        bool outside = !braces && !parens;
        if (outside && is(t, "typedef"))
            type = true;
        if (outside && type && (is(t, "__attribute__") || is(t, ";")) && before.length && !is(before, ")"))
            take(&names, before);
        if (outside && !type && is(t, "(") && is_name(before))
            take(&names, before);
        if (outside && is(before, "struct") && is_name(t))
            tag = true, last = t;
        if (outside && is(t, "{") && tag && before.at == last.at)
            take(&names, last);
        if (outside && is(t, "enum"))
            constants = true;
        if (constants && braces && (is(before, "{") || is(before, ",")))
            take(&names, t);
        braces += is(t, "{") - is(t, "}");
        parens += is(t, "(") - is(t, ")");
        if (!braces && !parens && (is(t, ";") || is(t, "}")))
            type = constants = tag = false;
    }
    return names;
}

const char *ship_rename(Context *cx, const char *section, const char *suffix) {
    Map names = defined_in(cx, section);
    Text out = text_new(cx->arena);
    for (const char *p = section; *p;) {
        if (!isalnum((unsigned char)*p) && *p != '_') {
            text_char(&out, *p++);
            continue;
        }
        const char *from = p;
        while (isalnum((unsigned char)*p) || *p == '_')
            p++;
        text_put(&out, from, (size_t)(p - from));
        if (map_get_n(&names, from, (size_t)(p - from)))
            text_add(&out, "%s", suffix);
    }
    return out.data;
}
