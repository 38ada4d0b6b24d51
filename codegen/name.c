/* C names: an identifier for each of the model's words, never one that C, its library or the prelude already uses. */
#include "codegen/emit.h"

#include <ctype.h>
#include <string.h>

static const char *const reserved[] = {
    /* keywords and common macros */
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float", "for", "goto",
    "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch",
    "typedef", "union", "unsigned", "void", "volatile", "while", "asm", "typeof", "bool", "true", "false", "NULL", "linux", "unix",
    "i386", "main",
    /* types and functions of the library that compilers know */
    "size_t", "ptrdiff_t", "int8_t", "int16_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t", "abs", "acos",
    "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "erf", "erfc", "exp", "exp2", "expm1",
    "fabs", "fdim", "floor", "fma", "fmax", "fmin", "fmod", "frexp", "gamma", "hypot", "ilogb", "j0", "j1", "jn", "labs", "ldexp",
    "lgamma", "llabs", "log", "log10", "log1p", "log2", "logb", "lrint", "lround", "modf", "nan", "nearbyint", "pow", "remainder",
    "rint", "round", "scalbn", "signbit", "sin", "sinh", "sqrt", "tan", "tanh", "tgamma", "trunc", "y0", "y1", "yn", "index", "rindex",
    "abort", "bcmp", "bcopy", "bzero", "calloc", "exit", "free", "malloc", "memchr", "memcmp", "memcpy", "memmove", "memset", "printf",
    "puts", "realloc", "strcat", "strcmp", "strcpy", "strlen", "isalpha", "isdigit", "toupper", "tolower", "div", "drem", "pow10",
    "significand", "exp10", "sincos", "alloca", "ffs",
    /* the prelude and the emitted functions' own words */
    "lanes", "lanes_at", "ints", "ints_at", "bytes_at", "LANES", "ROLLED", "splat", "splat_int", "splat_mask", "select", "select_int",
    "count_from", "to_float", "to_int", "load_if", "load_part", "store_part", "load_ints_part", "store_ints_part", "load_mask", "load_mask_part",
    "store_mask", "store_mask_part", "load_apart", "load_ints_apart", "load_mask_apart", "store_apart", "share", "lesser", "inside", "floor_div", "floor_mod", "greater_int",
    "lesser_int", "greater", "look_up_part", "look_up_ints", "look_up_mask", "comes_before", "sink",
    "top_positions", "within", "turns", "floor_div_wide", "floor_mod_wide", "MATRIX_PANEL", "matrix_tile", "matrix_rows", "matrix_product", "matrix_turn", "matrix_soon", "matrix_ask", "matrix_transpose",
    "rest", "meet", "show", "lap", "team", "queue", "take", "take_part", "take_rows", "take_own", "help", "follow", "settle", "mark", "from_row", "to_row", "ROWS", "live", "next_run", "kept", "count_kept", "first_row", "find_rows", "GAP", "finish", "soon", "wait_for", "futex", "PARTS", "LITTLE", "FEW", "call", "thread", "threads", "scratch", "fault", "layer", "arena", "weights",
};

Scope scope_new(Context *cx) {
    Scope s = {cx, map_new(cx->arena)};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        map_set(&s.taken, reserved[i], (void *)(uintptr_t)reserved);
    for (int f = 0; f < MATH_COUNT; f++)
        map_set(&s.taken, math_name((MathFunction)f), (void *)(uintptr_t)reserved);
    return s;
}

static const char *identifier(Context *cx, const char *hint) {
    Text t = text_new(cx->arena);
    for (const char *p = hint; *p; p++) {
        bool good = isalnum((unsigned char)*p) || *p == '_';
        if (!t.length && isdigit((unsigned char)*p))
            text_char(&t, 'v');
        if (good)
            text_char(&t, *p);
        else if (t.length && t.data[t.length - 1] != '_')
            text_char(&t, '_');
    }
    while (t.length && t.data[t.length - 1] == '_')
        t.data[--t.length] = 0;
    return t.length ? t.data : "v";
}

const char *scope_name(Scope *s, const char *hint) {
    const char *plain = identifier(s->cx, hint ? hint : "v"), *name = plain;
    for (int i = 2; map_has(&s->taken, name); i++)
        name = arena_print(s->cx->arena, "%s_%d", plain, i);
    map_set(&s->taken, name, s);
    return name;
}

bool scope_gave(const Scope *s, const char *name) {
    const void *value = map_get(&s->taken, name);
    return value && value != reserved;
}
