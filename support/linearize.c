/* Requests to linearize: reading, and writing in one spelling. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/linearize.h"
#include "support/names.h"
#include "support/text.h"

enum { USUAL_SIZE = 256, USUAL_BLOCK = 256, MOST_BLOCK = 1 << 20 };

bool linearize_in(const LinearizeRanges *r, int64_t number)
{
    bool in = r->n == 0;
    for (int i = 0; i < r->n; i++)
        in |= r->low[i] <= number && number <= r->high[i];
    return in;
}

const char *linearize_pass(LinearizeKind kind)
{
    return kind == LINEARIZE_VQ ? "linearize-vq" : "linearize-performer";
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void put_ranges(Text *out, const char *comma, const char *key, const LinearizeRanges *r)
{
    if (!r->n)
        return;
    text_add(out, "%s%s=", comma, key);
    for (int i = 0; i < r->n; i++) {
        text_add(out, "%s%lld", i ? "+" : "", (long long)r->low[i]);
        if (r->high[i] != r->low[i])
            text_add(out, "-%lld", (long long)r->high[i]);
    }
}

static void put_setting(Text *out, const char *comma, const LinearizeSpec *s)
{
    text_add(out, "%s=%lld", s->kind == LINEARIZE_VQ ? "codes" : "features", (long long)s->size);
    if (s->kind == LINEARIZE_VQ)
        text_add(out, "%sblock=%lld", comma, (long long)s->block);
    text_add(out, "%sseed=%lld", comma, (long long)s->seed);
    put_ranges(out, comma, "layers", &s->layers);
    put_ranges(out, comma, "heads", &s->heads);
    if (s->trained)
        text_add(out, "%strained", comma);
}

const char *linearize_setting(Arena *a, const LinearizeSpec *s)
{
    Text out = text_new(a);
    put_setting(&out, ", ", s);
    return out.data;
}

static const char *spell(Arena *a, const LinearizeSpec *s)
{
    Text out = text_new(a);
    text_add(&out, s->kind == LINEARIZE_VQ ? "vq:" : "performer:");
    put_setting(&out, ",", s);
    if (!isnan(s->max_err)) {
        text_add(&out, ",max_err=");
        text_double(&out, s->max_err);
    }
    return out.data;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct Reader {
    Arena *a;
    LinearizeSpec *s;
    const char *why;
} Reader;

#define REFUSE(...) ((r)->why = arena_print((r)->a, __VA_ARGS__), false)

static bool read_integer(Reader *r, const char *key, const char *text, int64_t low, int64_t high, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || *text == '+' || *text == ' ')
        return REFUSE("`%s` is a whole number known at compile time, not `%s`", key, text);
    if (errno || value < low || value > high)
        return REFUSE("`%s` is a number from %lld to %lld, not %s", key, (long long)low, (long long)high, text);
    *out = value;
    return true;
}

/* 0+2-5: numbers and ranges of them. */
static bool read_ranges(Reader *r, const char *key, const char *text, LinearizeRanges *out)
{
    out->n = 0;
    for (const char *p = text, *end; *p; p = *end ? end + 1 : end) {
        end = p + strcspn(p, "+");
        if (out->n == LINEARIZE_RANGES)
            return REFUSE("`%s` takes at most %d ranges", key, (int)LINEARIZE_RANGES);
        const char *piece = arena_copy(r->a, p, (size_t)(end - p)), *dash = strchr(piece, '-');
        const char *low = dash ? arena_copy(r->a, piece, (size_t)(dash - piece)) : piece, *high = dash ? dash + 1 : piece;
        int i = out->n++;
        if (!read_integer(r, key, low, 0, INT32_MAX, &out->low[i]) ||
            !read_integer(r, key, high, 0, INT32_MAX, &out->high[i]))
            return false;
        if (out->high[i] < out->low[i])
            return REFUSE("`%s`: the range `%s` is empty", key, piece);
        if (*end && !end[1])
            return REFUSE("`%s`: a number is missing behind `+`", key);
    }
    return out->n > 0 || REFUSE("`%s` names none", key);
}

static bool read_error(Reader *r, const char *text)
{
    char *end;
    double value = text_to_double(text, &end);
    if (end == text || *end || !isfinite(value) || value <= 0)
        return REFUSE("`max_err` is a number above 0, not `%s`", text);
    r->s->max_err = value;
    return true;
}

static bool read_key(Reader *r, const char *key, const char *value)
{
    static const char *const keys[] = {"features", "codes", "block", "seed", "layers", "heads", "max_err", "trained"};
    bool vq = r->s->kind == LINEARIZE_VQ;
    if (!strcmp(key, vq ? "codes" : "features"))
        return read_integer(r, key, value, 1, LINEARIZE_MOST, &r->s->size);
    if (vq && !strcmp(key, "block"))
        return read_integer(r, key, value, 0, MOST_BLOCK, &r->s->block);
    if (!strcmp(key, "seed"))
        return read_integer(r, key, value, 0, INT64_MAX, &r->s->seed);
    if (!strcmp(key, "layers"))
        return read_ranges(r, key, value, &r->s->layers);
    if (!strcmp(key, "heads"))
        return read_ranges(r, key, value, &r->s->heads);
    if (!strcmp(key, "max_err"))
        return read_error(r, value);
    if (!strcmp(key, "trained") && vq)
        return REFUSE("`trained` is for performer: the codes of vq are made from the calibration's keys");
    const char *near = name_nearest(key, keys, sizeof keys / sizeof *keys);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i]))
            return REFUSE("%s has no `%s`", vq ? "vq" : "performer", key);
    return REFUSE("no key is called `%s`%s%s%s", key, near ? "; did you mean `" : "", near ? near : "", near ? "`?" : "");
}

static bool read_item(Reader *r, Map *seen, const char *item)
{
    const char *equals = strchr(item, '=');
    const char *key = equals ? arena_copy(r->a, item, (size_t)(equals - item)) : item;
    if (!*key)
        return REFUSE("a key is missing before `%s`", item);
    if (map_has(seen, key))
        return REFUSE("`%s` is given twice", key);
    map_set(seen, key, r);
    if (!strcmp(key, "trained") && r->s->kind == LINEARIZE_PERFORMER) {
        r->s->trained = true;
        return !equals || REFUSE("`trained` takes no value");
    }
    if (!equals && strcmp(key, "trained"))
        return REFUSE("`%s` needs a value: `%s=...`", key, key);
    return read_key(r, key, equals ? equals + 1 : "");
}

bool linearize_read(Arena *a, const char *text, LinearizeSpec *out, const char **why)
{
    *out = (LinearizeSpec){.size = USUAL_SIZE, .block = USUAL_BLOCK, .max_err = NAN};
    Reader reader = {a, out, NULL}, *r = &reader;
    Map seen = map_new(a);
    size_t length = strcspn(text, ":");
    const char *kind = arena_copy(a, text, length);
    bool good = !strcmp(kind, "performer") || !strcmp(kind, "vq") ||
                REFUSE("what to linearize with is `performer` or `vq`, not `%s`", kind);
    out->kind = !strcmp(kind, "vq") ? LINEARIZE_VQ : LINEARIZE_PERFORMER;
    if (good && text[length] && !text[length + 1])
        good = REFUSE("nothing follows `%s`", text);
    for (const char *p = text + length + (text[length] != 0); *p && good;) {
        size_t n = strcspn(p, ",");
        good = read_item(r, &seen, arena_copy(a, p, n));
        if (good && p[n] && !p[n + 1])
            good = REFUSE("nothing follows the last `,`");
        p += n + (p[n] != 0);
    }
    if (good && out->trained && !isnan(out->max_err))
        good = REFUSE("`trained` measures nothing, so `max_err` cannot be held");
    out->text = good ? spell(a, out) : NULL;
    *why = r->why;
    return good;
}
