/* Keys with holes: see holes.h. */
#include "support/holes.h"

#include <ctype.h>
#include <string.h>

#include "support/text.h"

enum { LARGEST = 1000000000 };

static const char *read_digits(const char *p, int64_t *out)
{
    *out = 0;
    for (; isdigit((unsigned char)*p); p++)
        if (*out <= LARGEST)
            *out = *out * 10 + (*p - '0');
    return p;
}

/* {[factor*]i[+offset|-offset]} */
static bool read_round(Hole *h)
{
    const char *p = h->begin + 1;
    h->factor = 1;
    h->offset = 0;
    if (isdigit((unsigned char)*p)) {
        p = read_digits(p, &h->factor);
        if (*p++ != '*')
            return false;
    }
    if (*p++ != 'i')
        return false;
    if (*p == '+' || *p == '-') {
        bool minus = *p == '-';
        if (!isdigit((unsigned char)p[1]))
            return false;
        p = read_digits(p + 1, &h->offset);
        h->offset = minus ? -h->offset : h->offset;
    }
    return p + 1 == h->end && h->factor <= LARGEST && h->offset <= LARGEST && h->offset >= -LARGEST;
}

bool hole_next(const char *text, Hole *out)
{
    const char *begin = strchr(text, '{'), *end = begin ? strchr(begin, '}') : NULL;
    if (!end)
        return false;
    *out = (Hole){.begin = begin, .end = end + 1};
    out->round = read_round(out);
    return true;
}

static bool has(const char *key, bool round)
{
    Hole h;
    for (const char *p = key; p && hole_next(p, &h); p = h.end)
        if (h.round == round)
            return true;
    return false;
}

bool hole_of_round(const char *key)
{
    return has(key, true);
}

bool hole_of_stack(const char *key)
{
    return has(key, false);
}

const char *hole_print(Arena *a, int64_t factor, int64_t offset)
{
    Text out = text_new(a);
    text_char(&out, '{');
    if (factor != 1)
        text_add(&out, "%lld*", (long long)factor);
    text_char(&out, 'i');
    if (offset)
        text_add(&out, "%+lld", (long long)offset);
    text_char(&out, '}');
    return out.data;
}

const char *hole_fill(Arena *a, const char *key, int64_t round, int64_t position)
{
    Hole h;
    if (!hole_next(key, &h))
        return key;
    Text out = text_new(a);
    const char *rest = key;
    for (; hole_next(rest, &h); rest = h.end) {
        int64_t number = h.round ? round : position;
        text_put(&out, rest, (size_t)(h.begin - rest));
        if (number < 0)
            text_put(&out, h.begin, (size_t)(h.end - h.begin));
        else
            text_add(&out, "%lld", (long long)(h.round ? h.factor * number + h.offset : number));
    }
    text_add(&out, "%s", rest);
    return out.data;
}

const char *hole_ranges(Arena *a, const char *key, int64_t rounds, int64_t positions)
{
    Hole h;
    Text out = text_new(a);
    const char *rest = key;
    for (; hole_next(rest, &h); rest = h.end) {
        int64_t last = (h.round ? rounds : positions) - 1;
        text_put(&out, rest, (size_t)(h.begin - rest));
        if (h.round)
            text_add(&out, "{%lld..%lld}", (long long)h.offset, (long long)(h.factor * last + h.offset));
        else
            text_add(&out, "{0..%lld}", (long long)last);
    }
    text_add(&out, "%s", rest);
    return out.data;
}
