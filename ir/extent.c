/* Sizes: affine expressions over run-time symbols.
 *
 * An Extent is base + sum of factor[i] * symbol[i] with at most three symbols, kept sorted by the symbols' names
 * (letters first, case second, so that it reads past+S) and free of zero factors. Equal sizes therefore have one form
 * and compare member by member. Everything that can overflow says so instead of wrapping. */
#include <string.h>
#include <strings.h>
#include "ir/ir.h"
#include "support/checked.h"

enum { MAX_SYMBOLS = 3 };

Extent extent_const(int64_t value)
{
    return (Extent){.base = value};
}

Extent extent_symbol(const Symbol *s)
{
    return (Extent){.n = 1, .symbol = {s}, .factor = {1}};
}

bool extent_is_const(Extent e)
{
    return e.n == 0;
}

bool extent_equal(Extent a, Extent b)
{
    if (a.base != b.base || a.n != b.n)
        return false;
    for (int i = 0; i < a.n; i++)
        if (a.symbol[i] != b.symbol[i] || a.factor[i] != b.factor[i])
            return false;
    return true;
}

static int symbol_order(const Symbol *a, const Symbol *b)
{
    if (a == b)
        return 0;
    int order = strcasecmp(a->name, b->name);
    if (!order)
        order = strcmp(a->name, b->name);
    if (!order)
        order = a < b ? -1 : 1;
    return order;
}

static bool append_term(Extent *e, const Symbol *s, int64_t factor)
{
    if (factor == 0)
        return true;
    if (e->n == MAX_SYMBOLS)
        return false;
    e->symbol[e->n] = s;
    e->factor[e->n++] = factor;
    return true;
}

bool extent_add(Extent a, Extent b, Extent *out)
{
    Extent r = {0};
    if (!checked_iadd(a.base, b.base, &r.base))
        return false;
    int i = 0, j = 0;
    while (i < a.n || j < b.n) {
        int order = i == a.n ? 1 : j == b.n ? -1 : symbol_order(a.symbol[i], b.symbol[j]);
        const Symbol *s = order <= 0 ? a.symbol[i] : b.symbol[j];
        int64_t factor = order <= 0 ? a.factor[i++] : 0;
        if (order >= 0 && !checked_iadd(factor, b.factor[j++], &factor))
            return false;
        if (!append_term(&r, s, factor))
            return false;
    }
    *out = r;
    return true;
}

bool extent_sub(Extent a, Extent b, Extent *out)
{
    Extent minus;
    return extent_scale(b, -1, &minus) && extent_add(a, minus, out);
}

bool extent_scale(Extent a, int64_t factor, Extent *out)
{
    if (factor == 0) {
        *out = extent_const(0);
        return true;
    }
    Extent r = a;
    if (!checked_imul(a.base, factor, &r.base))
        return false;
    for (int i = 0; i < a.n; i++)
        if (!checked_imul(a.factor[i], factor, &r.factor[i]))
            return false;
    *out = r;
    return true;
}

bool extent_mul(Extent a, Extent b, Extent *out)
{
    if (extent_is_const(a))
        return extent_scale(b, a.base, out);
    if (extent_is_const(b))
        return extent_scale(a, b.base, out);
    return false;
}

static bool divides(int64_t value, int64_t divisor, int64_t *out)
{
    if (divisor == 0 || (divisor == -1 && value == INT64_MIN) || value % divisor != 0)
        return false;
    *out = value / divisor;
    return true;
}

bool extent_div(Extent a, int64_t divisor, Extent *out)
{
    Extent r = a;
    if (!divides(a.base, divisor, &r.base))
        return false;
    for (int i = 0; i < a.n; i++)
        if (!divides(a.factor[i], divisor, &r.factor[i]))
            return false;
    *out = r;
    return true;
}

static int64_t greatest_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

int64_t extent_content(Extent e, Extent *rest)
{
    int64_t content = e.base;
    for (int i = 0; i < e.n; i++)
        content = greatest_divisor(content, e.factor[i]);
    if (content == INT64_MIN || content == 0 || !extent_div(e, content < 0 ? -content : content, rest)) {
        *rest = e;
        return 1;
    }
    return content < 0 ? -content : content;
}

static int64_t saturate_add(int64_t a, int64_t b)
{
    int64_t sum;
    if (checked_iadd(a, b, &sum))
        return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

static int64_t saturate_mul(int64_t a, int64_t b)
{
    int64_t product;
    if (checked_imul(a, b, &product))
        return product;
    return (a > 0) == (b > 0) ? INT64_MAX : INT64_MIN;
}

/* The bound in one direction: a negative factor takes the symbol's opposite bound. */
static int64_t bound(Extent e, bool upper)
{
    int64_t r = e.base;
    for (int i = 0; i < e.n; i++) {
        bool high = upper == (e.factor[i] > 0);
        r = saturate_add(r, saturate_mul(e.factor[i], high ? e.symbol[i]->high : e.symbol[i]->low));
    }
    return r;
}

int64_t extent_low(Extent e)
{
    return bound(e, false);
}

int64_t extent_high(Extent e)
{
    return bound(e, true);
}

void extent_print(Extent e, Text *out)
{
    for (int i = 0; i < e.n; i++) {
        int64_t factor = e.factor[i];
        if (i > 0 && factor > 0)
            text_char(out, '+');
        if (factor == -1)
            text_char(out, '-');
        else if (factor != 1)
            text_add(out, "%lld*", (long long)factor);
        text_add(out, "%s", e.symbol[i]->name);
    }
    if (e.n == 0)
        text_add(out, "%lld", (long long)e.base);
    else if (e.base != 0)
        text_add(out, "%+lld", (long long)e.base);
}
