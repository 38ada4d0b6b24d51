/* The prelude of an emitted file: vector types and the few helpers that its kernels use; what nobody calls is not printed.
 *
 * In the texts below @ stands for the bytes of a vector, $ for its lanes, & before a bracket for `0, 1, 2 ..` up to the last lane, && for
 * as many from the middle lane on, ^ for an instruction that gcc has to be told of, where the target has it. */
#include "codegen/emit.h"

#include <ctype.h>
#include <string.h>

typedef struct Helper { const char *name, *text; } Helper;

/* In the order of printing: a helper stands after those it calls. */
static const Helper helpers[] = {
    {"ptrdiff_t", "typedef __PTRDIFF_TYPE__ ptrdiff_t;\n"},
    {"size_t", "typedef __SIZE_TYPE__ size_t;\n"},
    {"uint16_t", "typedef __UINT16_TYPE__ uint16_t;\n"},
    {"int64_t", "typedef __INT64_TYPE__ int64_t;\n"},
    {"uint64_t", "typedef __UINT64_TYPE__ uint64_t;\n"},
    {"int32_t", "typedef __INT32_TYPE__ int32_t;\n"},
    {"uint32_t", "typedef __UINT32_TYPE__ uint32_t;\n"},
    {"uint16_t", "typedef __UINT16_TYPE__ uint16_t;\n"},
    {"uint8_t", "typedef __UINT8_TYPE__ uint8_t;\n"},
    {"lanes", "typedef float lanes __attribute__((vector_size(@)));                  /* one register */\n"},
    {"lanes_at", "typedef float lanes_at __attribute__((vector_size(@), aligned(4)));   /* the same, at any address */\n"},
    {"ints", "typedef int ints __attribute__((vector_size(@)));                     /* also masks: 0 or -1 */\n"},
    {"ints_at", "typedef int ints_at __attribute__((vector_size(@), aligned(4)));\n"},
    {"bytes_at", "typedef unsigned char bytes_at __attribute__((vector_size($), aligned(1)));\n"},
    {"shorts_at", "typedef uint16_t shorts_at __attribute__((vector_size(2 * $), aligned(2)));\n"},
    {"LANES", "enum { LANES = $ };\n"},
    {"ROLLED", "#ifdef __clang__\n"
               "#define ROLLED _Pragma(\"clang loop unroll(disable)\") /* unrolled by clang, sums spill out of the registers */\n"
               "#else\n"
               "#define ROLLED\n"
               "#endif\n"},
    {"splat", "static inline lanes splat(float value) { return value - (lanes){0}; }\n"},
    {"splat_int", "static inline ints splat_int(ptrdiff_t value) { return (int)value + (ints){0}; }\n"},
    {"splat_mask", "static inline ints splat_mask(int value) { return (value ? -1 : 0) + (ints){0}; }\n"},
    {"to_float", "static inline lanes to_float(ints v) { return __builtin_convertvector(v, lanes); }\n"},
    {"to_int", "static inline ints to_int(lanes v) { return __builtin_convertvector(v, ints); }\n"},
    {"select_int", "static inline ints select_int(ints when, ints yes, ints no) { return (when & yes) | (~when & no); }\n"},
    {"bits_of", "static inline ints bits_of(lanes x) { return (ints)x; }\n"},
    {"float_of", "static inline lanes float_of(ints bits) { return (lanes)bits; }\n"},
    {"select", "static inline lanes select(ints when, lanes yes, lanes no) { return (lanes)((when & (ints)yes) | (~when & (ints)no)); }\n"},
    {"floor_div", "static inline int floor_div(int a, int b) { return a / b - (a % b && (a < 0) != (b < 0)); }\n"},
    {"floor_mod", "static inline int floor_mod(int a, int b) { return a - floor_div(a, b) * b; }\n"},
    {"floor_div_wide", "static inline ptrdiff_t floor_div_wide(ptrdiff_t a, ptrdiff_t b) { return a / b - (a % b < 0); }\n"},
    {"floor_mod_wide", "static inline ptrdiff_t floor_mod_wide(ptrdiff_t a, ptrdiff_t b) { return a - floor_div_wide(a, b) * b; }\n"},
    {"greater", "static inline float greater(float a, float b) { return a > b || a != a ? a : b; }\n"},
    {"greater_int", "static inline int greater_int(int a, int b) { return a > b ? a : b; }\n"},
    {"lesser_int", "static inline int lesser_int(int a, int b) { return a < b ? a : b; }\n"},
    {"lesser", "static inline ptrdiff_t lesser(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }\n"},
    {"within", "/* at % size; of row numbers most need no division: one sequence, or one position of each. */\n"
               "static inline ptrdiff_t within(ptrdiff_t at, ptrdiff_t size) { return at < size ? at : size == 1 ? 0 : at % size; }\n"},
    {"turns", "/* at / size, likewise. */\n"
              "static inline ptrdiff_t turns(ptrdiff_t at, ptrdiff_t size) { return at < size ? 0 : size == 1 ? at : at / size; }\n"},
    {"count_from", "static inline ints count_from(ptrdiff_t first)\n{\n    return (int)first + (ints){&};\n}\n"},
    {"load_part", "/* The first `count` of a vector; the rest is 0. */\n"
                  "static inline lanes load_part(const float *from, ptrdiff_t count)\n{\n"
                  "    if (count >= LANES)\n        return *(const lanes_at *)from;\n"
                  "    lanes v = {0};\n"
                  "#pragma GCC unroll $\n"
                  "    for (ptrdiff_t i = 0; i < LANES; i++)\n        if (i < count)\n            v[i] = from[i];\n"
                  "    return v;\n}\n"},
    {"store_part", "static inline void store_part(float *to, lanes v, ptrdiff_t count)\n{\n"
                   "    if (count >= LANES)\n        *(lanes_at *)to = v;\n"
                   "    else\n"
                   "#pragma GCC unroll $\n"
                   "        for (ptrdiff_t i = 0; i < LANES; i++)\n            if (i < count)\n                to[i] = v[i];\n}\n"},
    {"two_halves", "static inline lanes two_halves(const float *low, const float *high)\n{\n"
                   "    typedef float half __attribute__((vector_size(2 * $), aligned(4)));\n"
                   "    return __builtin_shufflevector(*(const half *)low, *(const half *)high,\n        &);\n}\n"},
    {"middle_of", "/* The upper half of a and the lower half of b. */\n"
                  "static inline lanes middle_of(lanes a, lanes b)\n{\n    return __builtin_shufflevector(a, b, &&);\n}\n"},
    {"load_ints_part", "static inline ints load_ints_part(const int *from, ptrdiff_t count)\n{\n"
                       "    ints v = {0};\n"
                       "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        v[i] = from[i];\n"
                       "    return v;\n}\n"},
    {"store_ints_part", "static inline void store_ints_part(int *to, ints v, ptrdiff_t count)\n{\n"
                        "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        to[i] = v[i];\n}\n"},
    {"load_mask", "static inline ints load_mask(const unsigned char *from)\n{\n    return __builtin_convertvector(*(const bytes_at *)from, ints) != 0;\n}\n"},
    {"load_mask_part", "static inline ints load_mask_part(const unsigned char *from, ptrdiff_t count)\n{\n"
                       "    ints v = {0};\n"
                       "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        v[i] = from[i] ? -1 : 0;\n"
                       "    return v;\n}\n"},
    {"store_mask_part", "static inline void store_mask_part(unsigned char *to, ints v, ptrdiff_t count)\n{\n"
                        "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        to[i] = v[i] ? 1 : 0;\n}\n"},
    {"load_if", "static inline lanes load_if(const float *at, ptrdiff_t i) { return at ? *(const lanes_at *)(at + i) : (lanes){0}; }\n"},
    {"fetch_ahead", "/* Asks for a line in each of some parts. */\n"
                    "static inline void fetch_ahead(const char *from, ptrdiff_t part, ptrdiff_t parts)\n{\n"
                    "#pragma GCC unroll 4\n"
                    "    for (ptrdiff_t i = 0; i < parts; i++)\n        __builtin_prefetch(from + i * part);\n}\n"},
    {"widened", "static inline ints widened(const uint16_t *from)\n{\n^"
                "    return __builtin_convertvector(*(const shorts_at *)from, ints);\n}\n"},
    {"load_bf16", "/* bf16 is the upper half of a float. */\n"
                  "static inline lanes load_bf16(const uint16_t *from)\n{\n"
                  "    return float_of(widened(from) << 16);\n}\n"},
    {"load_f16", "/* By an instruction, or by the bits: a subnormal half is 2 ** -14 * (1 + m / 1024) - 2 ** -14. */\n"
                 "static inline lanes load_f16(const uint16_t *from)\n{\n"
                 "#if defined __F16C__ || defined __aarch64__\n"
                 "    __extension__ typedef _Float16 halves_at __attribute__((vector_size(2 * $), aligned(2)));\n"
                 "    return __builtin_convertvector(*(const halves_at *)from, lanes);\n"
                 "#else\n"
                 "    ints bits = __builtin_convertvector(*(const shorts_at *)from, ints), rest = (bits & 0x7fff) << 13;\n"
                 "    ints small = (ints)((lanes)(rest + 0x38800000) - 6.103515625e-05f);\n"
                 "    ints large = rest + 0x38000000 + ((rest >= 0x0f800000) & 0x38000000);\n"
                 "    ints subnormal = rest < 0x00800000;\n"
                 "    return (lanes)((subnormal & small) | (~subnormal & large) | (bits & 0x8000) << 16);\n"
                 "#endif\n}\n"},
    {"load_bf16_part", "static inline lanes load_bf16_part(const uint16_t *from, ptrdiff_t count)\n{\n"
                       "    uint16_t some[LANES] = {0};\n"
                       "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        some[i] = from[i];\n"
                       "    return load_bf16(some);\n}\n"},
    {"load_bf16_apart", "static inline lanes load_bf16_apart(const uint16_t *from, ptrdiff_t step, ptrdiff_t count)\n{\n"
                        "    uint16_t some[LANES] = {0};\n"
                        "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        some[i] = from[i * step];\n"
                        "    return load_bf16(some);\n}\n"},
    {"load_f16_part", "static inline lanes load_f16_part(const uint16_t *from, ptrdiff_t count)\n{\n"
                       "    uint16_t some[LANES] = {0};\n"
                       "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        some[i] = from[i];\n"
                       "    return load_f16(some);\n}\n"},
    {"load_f16_apart", "static inline lanes load_f16_apart(const uint16_t *from, ptrdiff_t step, ptrdiff_t count)\n{\n"
                        "    uint16_t some[LANES] = {0};\n"
                        "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n        some[i] = from[i * step];\n"
                        "    return load_f16(some);\n}\n"},
    {"load_apart", "/* Elements `step` apart. */\n"
                   "static inline lanes load_apart(const float *from, ptrdiff_t step, ptrdiff_t count)\n{\n"
                   "    lanes v = {0};\n"
                   "#pragma GCC unroll $\n    for (ptrdiff_t i = 0; i < LANES; i++)\n        if (i < count)\n            v[i] = from[i * step];\n"
                   "    return v;\n}\n"},
    {"load_ints_apart", "static inline ints load_ints_apart(const int *from, ptrdiff_t step, ptrdiff_t count)\n{\n"
                        "    ints v = {0};\n"
                        "#pragma GCC unroll $\n    for (ptrdiff_t i = 0; i < LANES; i++)\n        if (i < count)\n            v[i] = from[i * step];\n"
                        "    return v;\n}\n"},
    {"load_mask_apart", "static inline ints load_mask_apart(const unsigned char *from, ptrdiff_t step, ptrdiff_t count)\n{\n"
                        "    ints v = {0};\n"
                        "#pragma GCC unroll $\n    for (ptrdiff_t i = 0; i < LANES; i++)\n        if (i < count)\n            v[i] = from[i * step] ? -1 : 0;\n"
                        "    return v;\n}\n"},
    {"store_apart", "static inline void store_apart(float *to, ptrdiff_t step, lanes v, ptrdiff_t count)\n{\n"
                    "#pragma GCC unroll $\n    for (ptrdiff_t i = 0; i < LANES; i++)\n        if (i < count)\n            to[i * step] = v[i];\n}\n"},
    {"share", "/* Where part number `part` of `total` tasks begins. */\n"
              "static inline ptrdiff_t share(ptrdiff_t total, ptrdiff_t part, ptrdiff_t parts) { return total * part / parts; }\n"},
    {"inside", "/* The index, or 0 and a note in `fault` if it is not in 0 .. bound. */\n"
               "static inline ptrdiff_t inside(ptrdiff_t index, ptrdiff_t bound, int value, int64_t *fault)\n{\n"
               "    int64_t none = 0;\n"
               "    if (index >= 0 && index < bound)\n        return index;\n"
               "    if (__atomic_compare_exchange_n(fault, &none, 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {\n"
               "        fault[1] = value;\n        fault[2] = index;\n        fault[3] = bound;\n    }\n"
               "    return 0;\n}\n"},
    {"look_up_part", "/* table[ids[i] * step + i * apart] in lane i of the first `count`. */\n"
                     "static inline lanes look_up_part(const float *table, ptrdiff_t step, ptrdiff_t apart, ints ids, ptrdiff_t count,\n"
                     "                                 ptrdiff_t bound, int value, int64_t *fault)\n{\n"
                     "    lanes v = {0};\n"
                     "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n"
                     "        v[i] = table[inside(ids[i], bound, value, fault) * step + i * apart];\n"
                     "    return v;\n}\n"},
    {"look_up_ints", "static inline ints look_up_ints(const int *table, ptrdiff_t step, ptrdiff_t apart, ints ids, ptrdiff_t count,\n"
                     "                                ptrdiff_t bound, int value, int64_t *fault)\n{\n"
                     "    ints v = {0};\n"
                     "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n"
                     "        v[i] = table[inside(ids[i], bound, value, fault) * step + i * apart];\n"
                     "    return v;\n}\n"},
    {"look_up_mask", "static inline ints look_up_mask(const unsigned char *table, ptrdiff_t step, ptrdiff_t apart, ints ids, ptrdiff_t count,\n"
                     "                                ptrdiff_t bound, int value, int64_t *fault)\n{\n"
                     "    ints v = {0};\n"
                     "    for (ptrdiff_t i = 0; i < LANES && i < count; i++)\n"
                     "        v[i] = table[inside(ids[i], bound, value, fault) * step + i * apart] ? -1 : 0;\n"
                     "    return v;\n}\n"},
    {"comes_before", "/* The larger first, NaN before all numbers, of equal ones the one at the lower position. */\n"
                     "static inline int comes_before(const float *x, ptrdiff_t step, ptrdiff_t a, ptrdiff_t b)\n{\n"
                     "    float p = x[a * step], q = x[b * step];\n"
                     "    if (p != p || q != q)\n        return p != p && q != q ? a < b : p != p;\n"
                     "    return p != q ? p > q : a < b;\n}\n"},
    {"sink", "/* The heap's last comes to the root, where `at` is put. */\n"
             "static inline void sink(const float *x, ptrdiff_t step, int *to, ptrdiff_t apart, ptrdiff_t size, int at)\n{\n"
             "    ptrdiff_t i = 0;\n"
             "    for (ptrdiff_t child = 1; child < size; child = 2 * i + 1) {\n"
             "        if (child + 1 < size && comes_before(x, step, to[child * apart], to[(child + 1) * apart]))\n            child++;\n"
             "        if (comes_before(x, step, to[child * apart], at))\n            break;\n"
             "        to[i * apart] = to[child * apart];\n        i = child;\n    }\n"
             "    to[i * apart] = at;\n}\n"},
    {"top_positions", "/* The positions of the k that come first among n elements, in order; a heap whose root is the last of them. */\n"
                      "static inline void top_positions(const float *x, ptrdiff_t step, ptrdiff_t n, int *to, ptrdiff_t apart, ptrdiff_t k)\n{\n"
                      "    for (ptrdiff_t at = 0; at < k; at++) {\n"
                      "        ptrdiff_t i = at;\n"
                      "        for (; i && comes_before(x, step, to[(i - 1) / 2 * apart], at); i = (i - 1) / 2)\n"
                      "            to[i * apart] = to[(i - 1) / 2 * apart];\n"
                      "        to[i * apart] = (int)at;\n    }\n"
                      "    for (ptrdiff_t at = k; k && at < n; at++)\n"
                      "        if (comes_before(x, step, at, to[0]))\n            sink(x, step, to, apart, k, (int)at);\n"
                      "    for (ptrdiff_t last = k - 1; last > 0; last--) {\n"
                      "        int at = to[last * apart];\n        to[last * apart] = to[0];\n"
                      "        sink(x, step, to, apart, last, at);\n    }\n}\n"},
};
enum { HELPERS = sizeof helpers / sizeof *helpers };

/* Does the word stand in the text as an identifier? */
bool mentions(const char *text, const char *word) {
    size_t length = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += length) {
        bool before = at > text && (isalnum((unsigned char)at[-1]) || at[-1] == '_');
        bool after = isalnum((unsigned char)at[length]) || at[length] == '_';
        if (!before && !after)
            return true;
    }
    return false;
}

Map words_of(Context *cx, const char *text) {
    Map words = map_new(cx->arena);
    for (const char *p = text; *p;) {
        if (!isalnum((unsigned char)*p) && *p != '_') {
            p++;
            continue;
        }
        const char *from = p;
        while (isalnum((unsigned char)*p) || *p == '_')
            p++;
        if (!isdigit((unsigned char)*from) && !map_get_n(&words, from, (size_t)(p - from)))
            map_set(&words, arena_copy(cx->arena, from, (size_t)(p - from)), &words);
    }
    return words;
}

/* As the target has it. */
static const char *text_of(const Emitter *e, const Helper *h) {
    return e->target->lanes > 1 ? h->text : one_lane_helper(e->cx->arena, h->name, h->text);
}

/* gcc 12 widens a register of 16-bit numbers in two halves: five instructions instead of one, half of a decoder's time with weights of bf16. */
static void print_widening(const Target *target, Text *out)
{
    bool x86 = target->architecture && !strcmp(target->architecture, "x86_64");
    if (!x86 || target->lanes < 8)
        return;
    bool all = target->lanes == 16;
    text_add(out,
             "#if defined %s && !defined __clang__ /* gcc would take two halves */\n"
             "    typedef short halves __attribute__((vector_size(2 * %d), aligned(2)));\n"
             "    return (ints)__builtin_ia32_pmovzxwd%s(*(const halves *)from%s);\n"
             "#endif\n",
             all ? "__AVX512F__" : "__AVX2__", target->lanes, all ? "512_mask" : "256", all ? ", (ints){0}, 0xffff" : "");
}

/* Without atomics. */
static const char inside_alone[] = "/* The index, or 0 and a note in `fault` if it is not in 0 .. bound. */\n"
                                   "static inline ptrdiff_t inside(ptrdiff_t index, ptrdiff_t bound, int value, int64_t *fault)\n{\n"
                                   "    if (index >= 0 && index < bound)\n        return index;\n"
                                   "    fault[0] = 1, fault[1] = value, fault[2] = index, fault[3] = bound;\n    return 0;\n}\n";

static void print_lanes(const Target *target, int from, Text *out)
{
    for (int i = 0; i < target->lanes; i++)
        text_add(out, "%s%d", i ? ", " : "", from + i);
}

static void print_helper(const Target *target, const char *text, Text *out) {
    for (const char *p = text; *p; p++)
        if (*p == '@')
            text_add(out, "%d", 4 * target->lanes);
        else if (*p == '$')
            text_add(out, "%d", target->lanes);
        else if (*p == '^')
            print_widening(target, out);
        else if (*p == '&' && p[1] == '&' && p[2] == ')') {
            print_lanes(target, target->lanes / 2, out);
            p++;
        } else if (*p == '&' && (p[1] == '}' || p[1] == ')'))
            print_lanes(target, 0, out);
        else
            text_char(out, *p);
}

void emit_prelude(Emitter *e, const char *rest, Text *out) {
    if (e->target->lanes == 1)
        text_add(out, "%s", one_lane_compilers);
    bool used[HELPERS];
    const char *texts[HELPERS];
    for (int i = 0; i < HELPERS; i++)
        texts[i] = text_of(e, &helpers[i]);
    Map words = words_of(e->cx, rest);
    for (int i = HELPERS - 1; i >= 0; i--) {
        used[i] = map_get(&words, helpers[i].name);
        for (int j = i + 1; j < HELPERS && !used[i]; j++)
            used[i] = used[j] && mentions(texts[j], helpers[i].name);
    }
    char before = 't';                  /* a typedef, a line, or a block of lines */
    for (int i = 0; i < HELPERS; i++) {
        bool included = e->shipped && strstr(helpers[i].text, "_TYPE__ ") != NULL;       /* by NAME.h */
        if (!used[i] || included)
            continue;
        const char *text = e->alone && !strcmp(helpers[i].name, "inside") ? inside_alone : texts[i];
        if (!text[0])
            continue;
        char kind = !strncmp(text, "typedef", 7) ? 't' : strchr(text, '\n')[1] ? 'b' : 'l';
        if (kind != before || kind == 'b')
            text_char(out, '\n');
        before = kind;
        print_helper(e->target, text, out);
    }
}
