/* Text: a growing string in an arena, for printers and emitters. `t->data` always ends with 0. */
#ifndef ATTAR_SUPPORT_TEXT_H
#define ATTAR_SUPPORT_TEXT_H

#include "support/arena.h"

typedef struct Text {
    Arena *arena;
    char *data;
    size_t length, capacity;
} Text;

Text text_new(Arena *a);
void text_add(Text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_vadd(Text *t, const char *format, va_list args);
void text_put(Text *t, const char *bytes, size_t length);
void text_char(Text *t, char c);
void text_pad(Text *t, size_t column);          /* spaces until the current line has `column` bytes; at least none */
size_t text_column(const Text *t);              /* bytes since the last newline */

/* The shortest decimal that reads back as the same value; integers without a point; inf, -inf, nan by name. */
void text_double(Text *t, double value);
void text_float(Text *t, float value);          /* shortest for float; no suffix */
double text_to_double(const char *digits, char **end);          /* strtod with a decimal point, whatever the host's locale */

#endif
