/* The reader's scanner: words, numbers, "text", `..` and single signs, then sizes and types. Newlines do not matter. */
#include "ir/read_inside.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

Span scan_here(const Reader *r)
{
    return (Span){r->source, (uint32_t)(r->word - r->source->text),
                  (uint32_t)(r->word - r->source->text + (ptrdiff_t)r->length)};
}

bool scan_fail_at(Reader *r, Span at, const char *format, ...)
{
    va_list args;
    if (r->failed)
        return false;
    va_start(args, format);
    diag_error(r->cx->diags, "E1101", at, "%s", arena_vprint(r->cx->arena, format, args));
    va_end(args);
    r->failed = true;
    return false;
}

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '.';
}

void scan_next(Reader *r)
{
    while (r->at < r->end && isspace((unsigned char)*r->at))
        r->at++;
    r->word = r->at;
    r->quoted = false;
    if (r->at < r->end && *r->at == '"') {
        r->quoted = true;
        for (r->at++; r->at < r->end && *r->at != '"' && *r->at != '\n'; r->at++)
            if (*r->at == '\\' && r->at + 1 < r->end)
                r->at++;
        if (r->at < r->end)
            r->at++;
    } else if (r->at < r->end && isdigit((unsigned char)*r->at)) {
        while (r->at < r->end &&
               (isalnum((unsigned char)*r->at) || (*r->at == '.' && r->at + 1 < r->end && r->at[1] != '.') ||
                ((*r->at == '+' || *r->at == '-') && (r->at[-1] == 'e' || r->at[-1] == 'E'))))
            r->at++;
    } else if (r->at < r->end && is_word_byte(*r->at) && *r->at != '.') {
        while (r->at < r->end && is_word_byte(*r->at))
            r->at++;
    } else if (r->at + 1 < r->end && ((r->at[0] == '.' && r->at[1] == '.') || (r->at[0] == '-' && r->at[1] == '>'))) {
        r->at += 2;
    } else if (r->at < r->end) {
        r->at++;
    }
    r->length = (size_t)(r->at - r->word);
}

bool scan_is(const Reader *r, const char *text)
{
    return !r->quoted && r->length == strlen(text) && !memcmp(r->word, text, r->length);
}

bool scan_take(Reader *r, const char *text)
{
    if (!scan_is(r, text))
        return false;
    scan_next(r);
    return true;
}

bool scan_expect(Reader *r, const char *text)
{
    return scan_take(r, text) || scan_fail(r, "expected `%s`", text);
}

const char *scan_name(Reader *r)
{
    if (r->quoted || r->length == 0 || !(isalpha((unsigned char)*r->word) || *r->word == '_')) {
        scan_fail(r, "expected a name");
        return "";
    }
    const char *s = name_of_n(r->cx->names, r->word, r->length);
    scan_next(r);
    return s;
}

const char *scan_text(Reader *r)
{
    if (!r->quoted)
        return scan_name(r);
    if (r->length < 2 || r->word[r->length - 1] != '"') {
        scan_fail(r, "the text is not closed");
        return "";
    }
    Text t = text_new(r->cx->arena);
    for (size_t i = 1; i + 1 < r->length; i++) {
        if (r->word[i] == '\\')
            i++;
        text_char(&t, r->word[i]);
    }
    scan_next(r);
    return name_of_n(r->cx->names, t.data, t.length);
}

int64_t scan_integer(Reader *r)
{
    bool minus = scan_take(r, "-");
    int64_t value = 0;
    if (r->length == 0 || !isdigit((unsigned char)*r->word))
        return scan_fail(r, "expected a whole number");
    for (size_t i = 0; i < r->length; i++) {
        if (!isdigit((unsigned char)r->word[i]))
            return scan_fail(r, "expected a whole number");
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, r->word[i] - '0', &value))
            return scan_fail(r, "the number is too large");
    }
    scan_next(r);
    return minus ? -value : value;
}

double scan_real(Reader *r)
{
    bool minus = scan_take(r, "-");
    double value;
    char *end;
    if (scan_is(r, "inf"))
        value = INFINITY;
    else if (scan_is(r, "nan"))
        value = NAN;
    else {
        char *digits = arena_copy(r->cx->arena, r->word, r->length);
        value = strtod(digits, &end);
        if (r->length == 0 || *end)
            return scan_fail(r, "expected a number");
    }
    scan_next(r);
    return minus ? -value : value;
}

/* ---- sizes and types --------------------------------------------------------------------------------------------- */

const Symbol *scan_symbol(const Reader *r, const char *word)
{
    for (int i = 0; i < r->model->n_symbols; i++)
        if (r->model->symbols[i]->name == word)
            return r->model->symbols[i];
    return NULL;
}

/* [factor *] symbol or a number. `2*S` is three tokens. */
static Extent term(Reader *r)
{
    if (r->length && (isdigit((unsigned char)*r->word) || *r->word == '-')) {
        int64_t value = scan_integer(r);
        if (!scan_take(r, "*"))
            return extent_const(value);
        const Symbol *s = scan_symbol(r, scan_name(r));
        Extent e = extent_const(0);
        if (!s || !extent_scale(extent_symbol(s), value, &e))
            scan_fail(r, "expected a symbol of the dims line");
        return e;
    }
    const Symbol *s = scan_symbol(r, scan_name(r));
    if (!s) {
        scan_fail(r, "expected a size: a number or a symbol of the dims line");
        return extent_const(0);
    }
    return extent_symbol(s);
}

Extent scan_extent(Reader *r)
{
    bool negative = scan_is(r, "-") && r->at < r->end && (isalpha((unsigned char)*r->at) || *r->at == '_'); /* -S+T */
    if (negative)
        scan_next(r);
    Extent sum = term(r);
    if (negative && !extent_scale(sum, -1, &sum))
        scan_fail(r, "the size cannot be negative");
    while (!r->failed && (scan_is(r, "+") || scan_is(r, "-"))) {
        bool minus = scan_is(r, "-");
        scan_next(r);
        Extent t = term(r);
        if (!(minus ? extent_sub(sum, t, &sum) : extent_add(sum, t, &sum)))
            scan_fail(r, "the size cannot be written with three symbols");
    }
    return sum;
}

static Axis axis(Reader *r)
{
    Axis a = {scan_name(r), extent_const(0)};
    if (scan_take(r, "=")) {
        a.size = scan_extent(r);
        return a;
    }
    const Symbol *s = scan_symbol(r, a.name);
    const Extent *known = map_get(&r->sizes, a.name);
    if (s)
        a.size = extent_symbol(s);
    else if (known)
        a.size = *known;
    else
        scan_fail(r, "the axis `%s` has no size here and none in the dims line", a.name);
    return a;
}

const Type *scan_type(Reader *r)
{
    Axis axes[MAX_RANK];
    int rank = 0;
    DType dtype = DT_F32;
    const char *word = scan_name(r);
    if (!r->failed && !dtype_from_name(word, &dtype))
        scan_fail(r, "`%s` is not an element type", word);
    if (scan_take(r, "["))
        do {
            if (rank == MAX_RANK) {
                scan_fail(r, "more than %d axes", MAX_RANK);
                break;
            }
            Span at = scan_here(r);
            axes[rank] = axis(r);
            for (int i = 0; i < rank; i++)
                if (axes[i].name == axes[rank].name)
                    scan_fail_at(r, at, "the axis `%s` stands twice", axes[i].name);
            rank++;
        } while (!r->failed && scan_take(r, ","));
    if (rank)
        scan_expect(r, "]");
    return type_new(r->cx, dtype, rank, axes);
}
