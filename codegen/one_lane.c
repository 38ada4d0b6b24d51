/* The helpers of prelude.c and math.c for a target without vectors: `lanes` is a float, `ints` an int, and a comparison
 * gives 1 where that of vectors gives -1. Most texts only lose what stands for vectors; the others have a row here. */
#include "codegen/emit.h"

#include <string.h>

const char one_lane_compilers[] =
    "#include <stddef.h>\n#include <stdint.h>\n"
    "#ifdef __clang__\n"
    "#pragma clang diagnostic ignored \"-Wbitwise-instead-of-logical\" /* masks are numbers, here 0 or 1 */\n"
    "#endif\n"
    "#if !defined __clang__ && (!defined __GNUC__ || __GNUC__ < 4) /* without GNU C's functions */\n"
    "#include <math.h>\n"
    "#define __builtin_inff() INFINITY\n"
    "#define __builtin_nanf(text) NAN\n"
    "#define __builtin_sqrtf sqrtf\n"
    "#define __builtin_signbit signbit\n"
    "#define __builtin_prefetch(...) ((void)0)\n"
    "#define __ATOMIC_RELAXED 0\n"
    "#define __atomic_compare_exchange_n(at, old, new, ...) (*(at) == *(old) ? (*(at) = (new), 1) : 0) /* one thread */\n"
    "#endif\n\n";

static const char *const rows[][2] = {
    {"bits_of", "static inline ints bits_of(lanes x)\n{\n"
                "    union { lanes number; ints bits; } both = {x};\n    return both.bits;\n}\n"},
    {"float_of", "static inline lanes float_of(ints bits)\n{\n"
                 "    union { ints bits; lanes number; } both = {bits};\n    return both.number;\n}\n"},
    {"splat_mask", "static inline ints splat_mask(int value) { return value != 0; }\n"},
    {"select_int", "static inline ints select_int(ints when, ints yes, ints no) { return when ? yes : no; }\n"},
    {"select", "static inline lanes select(ints when, lanes yes, lanes no) { return when ? yes : no; }\n"},
    {"load_f16", "/* By its bits: a subnormal half is 2 ** -14 * (1 + m / 1024) - 2 ** -14. */\n"
                 "static inline lanes load_f16(const uint16_t *from)\n{\n"
                 "    const ints bits = *from, rest = (bits & 0x7fff) << 13;\n"
                 "    const ints small = bits_of(float_of(rest + 0x38800000) - 6.103515625e-05f);\n"
                 "    const ints large = rest + (rest >= 0x0f800000 ? 0x70000000 : 0x38000000);\n"
                 "    const lanes size = float_of(rest < 0x00800000 ? small : large);\n"
                 "    return bits & 0x8000 ? -size : size;\n}\n"},
};

const char *lane_of(const Target *t, const char *index)
{
    return t->lanes > 1 ? index : "";
}

const char *mask_not(const Target *t)
{
    return t->lanes > 1 ? "~" : "!";
}

const char *zero_lanes(const Target *t, int arrays)
{
    int depth = arrays + (t->lanes > 1);
    return depth == 3 ? "{{{0}}}" : depth == 2 ? "{{0}}" : "{0}";
}

/* The end of what stands in brackets from `open` on. */
static const char *closed(const char *open)
{
    int depth = 0;
    for (const char *p = open; *p; p++) {
        depth += *p == '(';
        depth -= *p == ')';
        if (depth == 0)
            return p;
    }
    return open;
}

/* "(X, TYPE)" of a conversion: "(TYPE)(X)". */
static const char *put_conversion(const char *open, Text *out, Arena *arena)
{
    const char *end = closed(open), *comma = end;
    while (*comma != ',')
        comma--;
    const char *value = arena_copy(arena, open + 1, (size_t)(comma - open - 1));
    text_add(out, "(%.*s)(%s)", (int)(end - comma - 2), comma + 2, one_lane(arena, value));
    return end + 1;
}

const char *one_lane(Arena *arena, const char *text)
{
    static const struct {
        const char *from, *to;
    } words[] = {{"v[i]", "v"}, {"ids[i]", "ids"}, {"x[i]", "x"}, {"x[0]", "x"}, {"? -1 : 0", "? 1 : 0"}};
    static const char vector[] = " __attribute__((vector_size", convert[] = "__builtin_convertvector";
    Text out = text_new(arena);
    for (const char *p = text; *p;) {
        size_t i = 0, n = sizeof words / sizeof *words;
        while (i < n && strncmp(p, words[i].from, strlen(words[i].from)) != 0)
            i++;
        if (i < n) {
            text_add(&out, "%s", words[i].to);
            p += strlen(words[i].from);
        } else if (!strncmp(p, vector, strlen(vector))) {
            p = closed(strchr(p, '(')) + 1;
        } else if (!strncmp(p, convert, strlen(convert))) {
            p = put_conversion(p + strlen(convert), &out, arena);
        } else {
            text_char(&out, *p++);
        }
    }
    return out.data;
}

const char *one_lane_helper(Arena *arena, const char *name, const char *text)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i][0], name))
            return rows[i][1];
    return strstr(text, "_TYPE__ ") ? "" : one_lane(arena, text); /* those types come from headers here */
}
