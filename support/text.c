/* Text: a growing string in an arena, and numbers as the shortest decimal that reads back. */
#include "support/text.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Text text_new(Arena *a)
{
    Text t = {.arena = a, .capacity = 64};
    t.data = arena_alloc(a, t.capacity);
    return t;
}

/* Room for `more` bytes and the final 0. */
static void reserve(Text *t, size_t more)
{
    size_t needed = t->length + more + 1;
    if (needed <= t->capacity)
        return;
    size_t capacity = t->capacity * 2;
    if (capacity < needed)
        capacity = needed;
    t->data = arena_grow(t->arena, t->data, t->length, capacity, 1);
    t->capacity = capacity;
}

void text_put(Text *t, const char *bytes, size_t length)
{
    if (length == 0)
        return;
    reserve(t, length);
    memcpy(t->data + t->length, bytes, length);
    t->length += length;
    t->data[t->length] = 0;
}

void text_char(Text *t, char c)
{
    text_put(t, &c, 1);
}

void text_vadd(Text *t, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = t->capacity - t->length;
    int length = vsnprintf(t->data + t->length, room, format, args);
    if (length >= 0 && (size_t)length >= room) {
        reserve(t, (size_t)length);
        vsnprintf(t->data + t->length, (size_t)length + 1, format, again);
    }
    va_end(again);
    if (length > 0)
        t->length += (size_t)length;
    t->data[t->length] = 0;
}

void text_add(Text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_vadd(t, format, args);
    va_end(args);
}

size_t text_column(const Text *t)
{
    size_t start = t->length;
    while (start > 0 && t->data[start - 1] != '\n')
        start--;
    return t->length - start;
}

void text_pad(Text *t, size_t column)
{
    for (size_t at = text_column(t); at < column; at++)
        text_char(t, ' ');
}

/* ---- numbers -------------------------------------------------------------------------------------------------------------------- */

double text_to_double(const char *digits, char **end)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double value = plain ? strtod_l(digits, end, plain) : strtod(digits, end);
    if (plain)
        freelocale(plain);
    return value;
}

static bool reads_back(const char *digits, double value, bool single)
{
    return single ? strtof(digits, NULL) == (float)value : strtod(digits, NULL) == value;
}

/* Normal values keep any decimal of `DBL_DIG` digits, so if a shorter decimal exists, %g shows it there without its zeros;
 * below the normal range the search starts with one digit. */
static void shortest(char *digits, size_t size, double value, bool single)
{
    int most = single ? FLT_DECIMAL_DIG : DBL_DECIMAL_DIG;
    double normal = single ? (double)FLT_MIN : DBL_MIN;
    int precision = fabs(value) < normal ? 1 : single ? FLT_DIG : DBL_DIG;
    for (; precision <= most; precision++) {
        snprintf(digits, size, "%.*g", precision, value);
        if (reads_back(digits, value, single))
            return;
    }
}

static void add_number(Text *t, double value, bool single)
{
    if (isnan(value)) {
        text_add(t, "nan");
        return;
    }
    if (isinf(value)) {
        text_add(t, value < 0 ? "-inf" : "inf");
        return;
    }
    char digits[40];
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* the host may print decimal commas */
    locale_t before = plain ? uselocale(plain) : (locale_t)0;
    if (value == floor(value) && fabs(value) < (single ? 0x1p24 : 0x1p53))
        snprintf(digits, sizeof digits, "%.0f", value);
    else
        shortest(digits, sizeof digits, value, single);
    if (plain) {
        uselocale(before);
        freelocale(plain);
    }
    text_add(t, "%s", digits);
}

void text_double(Text *t, double value)
{
    add_number(t, value, false);
}
void text_float(Text *t, float value)
{
    add_number(t, (double)value, true);
}
