/* Text: a growing string, and numbers written as short as they read back. */
#include "support/text.h"

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

static void reserve(Text *t, size_t more)
{
    size_t needed = t->length + more + 1;
    if (needed <= t->capacity)
        return;
    size_t capacity = t->capacity * 2 > needed ? t->capacity * 2 : needed;
    t->data = arena_grow(t->arena, t->data, t->length, capacity, 1);
    t->capacity = capacity;
}

void text_put(Text *t, const char *bytes, size_t length)
{
    reserve(t, length);
    if (length)
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
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length <= 0)
        return;
    reserve(t, (size_t)length);
    vsnprintf(t->data + t->length, (size_t)length + 1, format, args);
    t->length += (size_t)length;
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
    size_t at = t->length;
    while (at > 0 && t->data[at - 1] != '\n')
        at--;
    return t->length - at;
}

void text_pad(Text *t, size_t column)
{
    for (size_t at = text_column(t); at < column; at++)
        text_char(t, ' ');
}

/* Names the values that have no digits; false for the others. */
static bool put_special(Text *t, double value)
{
    if (isnan(value))
        text_add(t, "nan");
    else if (isinf(value))
        text_add(t, value < 0 ? "-inf" : "inf");
    else
        return false;
    return true;
}

void text_double(Text *t, double value)
{
    char digits[40];
    if (put_special(t, value))
        return;
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    text_put(t, digits, strlen(digits));
}

void text_float(Text *t, float value)
{
    char digits[40];
    if (put_special(t, (double)value))
        return;
    for (int precision = 1; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
        if (strtof(digits, NULL) == value)
            break;
    }
    text_put(t, digits, strlen(digits));
}
