/* The functions of codebook_attend, before its kernel:
 *
 *     norms      half of each code's square          nearest    the code of each of some keys
 *     take_in    keys into count and mean            weigh      one row's scores to weights
 *     own_keys   the last keys of each row, of which no other row may read more than its own
 */
#include "codegen/codebook_inside.h"

#include <math.h>
#include <string.h>

/* A function's head, opened. */
static void head(Codebook *c, const char *comment, const char *result, const char *name, const char *const *items,
                 size_t n)
{
    Context *cx = c->k->e->cx;
    text_add(&c->k->before, "/* %s */\n%s\n{\n", comment,
             wrapped(cx, arena_print(cx->arena, "static %s %s", result, name), items, n));
}

static void line(Codebook *c, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void line(Codebook *c, int level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put_wrapped(&c->k->before, level, arena_vprint(c->k->e->cx->arena, format, args));
    va_end(args);
}

/* Codes that the last vector has too many of never are the nearest. */
static void emit_norms(Codebook *c)
{
    static const char *const items[] = {"const float *restrict codes", "ptrdiff_t step", "float *restrict half"};
    head(c, "half[code] = |code|^2 / 2, endless where the last vector holds no code.", "void", c->norms, items, 3);
    line(c, 1, "for (ptrdiff_t s = 0; s < %lld; s += LANES) {", (long long)c->n_codes);
    line(c, 2, "lanes sum = {0};");
    line(c, 2, "for (ptrdiff_t i = 0; i < %lld; i++) {", (long long)c->head);
    line(c, 3, "const lanes x = *(const lanes_at *)(codes + i * step + s);");
    line(c, 3, "sum += x * x;");
    line(c, 2, "}");
    line(c, 2, "*(lanes *)(half + s) = sum * 0.5f;");
    line(c, 1, "}");
    if (c->padded_codes > c->n_codes) {
        line(c, 1, "for (ptrdiff_t s = %lld; s < %lld; s++)", (long long)c->n_codes, (long long)c->padded_codes);
        line(c, 2, "half[s] = __builtin_inff();");
    }
    text_add(&c->k->before, "}\n\n");
}

static void emit_nearest(Codebook *c)
{
    static const char *const items[] = {"const float *restrict product", "const float *restrict half", "ptrdiff_t keys",
                                        "float *restrict code"};
    head(c,
         "The code that each key is nearest to, of equally near ones the first: key * code - |code|^2 / 2 is largest.\n"
         " * -1 for a key that is no number.",
         "void", c->nearest, items, 4);
    line(c, 1, "for (ptrdiff_t t = 0; t < keys; t++, product += %lld) {", (long long)c->step);
    line(c, 2, "lanes best = splat(-__builtin_inff());");
    line(c, 2, "ints at = {0};");
    line(c, 2, "for (ptrdiff_t s = 0; s < %lld; s += LANES) {", (long long)c->padded_codes);
    line(c, 3, "const lanes x = *(const lanes *)(product + s) - *(const lanes *)(half + s);");
    line(c, 3, "const ints more = x > best;");
    line(c, 3, "best = select(more, x, best);");
    line(c, 3, "at = select_int(more, count_from(s), at);");
    line(c, 2, "}");
    line(c, 2, "float most = -__builtin_inff();");
    line(c, 2, "int first = -1;");
    line(c, 2, "for (ptrdiff_t i = 0; i < LANES; i++)");
    const char *lane = lane_of(c->k->e->target, "[i]");
    line(c, 3, "if (best%s > most || (best%s == most && at%s < first)) {", lane, lane, lane);
    line(c, 4, "most = best%s;", lane);
    line(c, 4, "first = at%s;", lane);
    line(c, 3, "}");
    line(c, 2, "code[t] = (float)first;");
    line(c, 1, "}");
    text_add(&c->k->before, "}\n\n");
}

static void emit_take_in(Codebook *c)
{
    static const char *const items[] = {"const float *restrict code", "const float *restrict value", "ptrdiff_t keys",
                                        "float *restrict count", "float *restrict mean"};
    head(c, "Some keys into count and mean value of their codes; a code of -1 is a key that nobody sees.", "void",
         c->take_in, items, 5);
    line(c, 1, "for (ptrdiff_t t = 0; t < keys; t++, value += %lld) {", (long long)c->width);
    line(c, 2, "if (code[t] < 0.0f)");
    line(c, 3, "continue;");
    line(c, 2, "const ptrdiff_t s = (ptrdiff_t)code[t];");
    line(c, 2, "const float part = 1.0f / (count[s] += 1.0f);");
    line(c, 2, "float *to = mean + s * %lld;", (long long)c->width);
    line(c, 2, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)c->width);
    line(c, 3, "to[w] += (value[w] - to[w]) * part;");
    line(c, 1, "}");
    text_add(&c->k->before, "}\n\n");
}

/* ---- one row ------------------------------------------------------------------------------------------------------- */

/* Scores of `n` keys beside the codes, at `key`: those of their codes looked up, the bias, nothing behind the last. */
static void emit_recent(Codebook *c, const char *n, const char *code, const char *key, const char *near)
{
    line(c, 1, "for (ptrdiff_t t = 0; t < %s; t += LANES) {", n);
    line(c, 2, "lanes *at = (lanes *)(%s + t);", key);
    if (c->exact) {
        line(c, 2, "lanes x = *at;");
    } else {
        line(c, 2, "const ptrdiff_t left = lesser(%s - t, LANES);", n);
        line(c, 2, "lanes x = none;");
        line(c, 2, "for (ptrdiff_t i = 0; i < left; i++)");
        const char *lane = lane_of(c->k->e->target, "[i]");
        if (c->kept)
            line(c, 3, "x%s = %s[t + i] < 0.0f ? none%s : score[(int)%s[t + i]];", lane, code, lane, code);
        else
            line(c, 3, "x%s = score[(int)%s[t + i]];", lane, code);
    }
    if (c->biased)
        line(c, 2, "x += *(const lanes_at *)(%s + t);", near);
    if (c->exact && c->kept)
        line(c, 2, "x = select(load_part(%s + t, %s - t) < splat(0.0f), none, x);", code, n);
    if (c->exact || c->biased) {
        line(c, 2, "if (t + LANES > %s)", n);
        line(c, 3, "x = select(count_from((int)t) < (int)%s, x, none);", n);
    }
    line(c, 2, "*at = x;");
    line(c, 2, "top = select(x > top, x, top);");
    line(c, 1, "}");
}

static void emit_recent_weights(Codebook *c, const char *n, const char *key)
{
    line(c, 1, "for (ptrdiff_t t = 0; t < %s; t += LANES) {", n);
    line(c, 2, "lanes *at = (lanes *)(%s + t);", key);
    line(c, 2, "*at = %s(*at - base);", math_use(c->k->e, MATH_EXP2));
    line(c, 2, "sum += *at;");
    line(c, 1, "}");
}

/* The counts of the codes from s on; those of a last vector in part. */
static const char *counts(Codebook *c)
{
    bool whole = c->padded_codes == c->n_codes;
    return whole ? "*(const lanes_at *)(count + s)"
                 : arena_print(c->k->e->cx->arena, "load_part(count + s, %lld - s)", (long long)c->n_codes);
}

static void emit_weigh(Codebook *c)
{
    const char *items[8] = {"float *restrict score", "const float *restrict count"};
    size_t n = 2;
    bool looks = !c->exact || c->kept;
    long long codes = c->padded_codes, window = c->padded_window;
    if (c->block) {
        if (looks)
            items[n++] = "const float *restrict old_code";
        items[n++] = "ptrdiff_t old";
    }
    if (c->causal) {
        if (looks)
            items[n++] = "const float *restrict code";
        items[n++] = "ptrdiff_t own";
    }
    if (c->biased)
        items[n++] = "const float *restrict near";
    const char *what = c->block    ? "codes, keys of the block before, keys of the own block"
                       : c->causal ? "codes, keys that are not among them yet"
                                   : "codes";
    head(c,
         arena_print(
             c->k->e->cx->arena,
             "One row: scores of %s, to weights; the result is their sum.\n * A code weighs as often as it occurs.",
             what),
         "float", c->weigh, items, n);
    const char *old = arena_print(c->k->e->cx->arena, "score + %lld", codes),
               *own = arena_print(c->k->e->cx->arena, "score + %lld", codes + (c->block ? window : 0));
    line(c, 1, "const lanes none = splat(-__builtin_inff());");
    line(c, 1, "lanes top = none, sum = {0};");
    if (c->block)
        emit_recent(c, "old", "old_code", old, "near");
    if (c->causal)
        emit_recent(c, "own", "code", own,
                    c->biased ? arena_print(c->k->e->cx->arena, "near + %lld", (long long)c->block) : "");
    line(c, 1, "for (ptrdiff_t s = 0; s < %lld; s += LANES) {", codes);
    line(c, 2, "lanes *at = (lanes *)(score + s);");
    line(c, 2, "*at = select(%s > splat(0.0f), *at, none);", counts(c));
    line(c, 2, "top = select(*at > top, *at, top);");
    line(c, 1, "}");
    line(c, 1, "const float most = %s(top);", math_use(c->k->e, MATH_TOP_ACROSS));
    line(c, 1,
         "const lanes base = splat(most == -__builtin_inff() ? 0.0f : most); /* no key at all: all weights are 0 */");
    if (c->block)
        emit_recent_weights(c, "old", old);
    if (c->causal)
        emit_recent_weights(c, "own", own);
    line(c, 1, "for (ptrdiff_t s = 0; s < %lld; s += LANES) {", codes);
    line(c, 2, "lanes *at = (lanes *)(score + s);");
    line(c, 2, "*at = %s(*at - base) * %s;", math_use(c->k->e, MATH_EXP2), counts(c));
    line(c, 2, "sum += *at;");
    line(c, 1, "}");
    line(c, 1, "return %s(sum);", math_use(c->k->e, MATH_SUM_ACROSS));
    text_add(&c->k->before, "}\n\n");
}

static void emit_own_keys(Codebook *c)
{
    static const char *const items[] = {"const float *restrict weight", "const float *restrict value", "ptrdiff_t from",
                                        "ptrdiff_t to", "float *restrict out"};
    head(c, "One row: out += weight * value for the keys from .. to, which rows before it do not see.", "void",
         c->own_keys, items, 5);
    line(c, 1, "for (ptrdiff_t t = from; t < to; t++)");
    line(c, 2, "for (ptrdiff_t w = 0; w < %lld; w++)", (long long)c->width);
    line(c, 3, "out[w] += weight[t] * value[t * %lld + w];", (long long)c->width);
    text_add(&c->k->before, "}\n\n");
}

void codebook_emit_functions(Codebook *c)
{
    emit_norms(c);
    emit_nearest(c);
    emit_take_in(c);
    emit_weigh(c);
    if (c->causal)
        emit_own_keys(c);
}
