/* Requests for factors of low rank: reading them, and which weights they name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/lowrank.h"
#include "support/text.h"

enum { MOST_RANK = 1 << 16 };

static bool refuse(const char **why, const char *sentence)
{
    *why = sentence;
    return false;
}

static bool read_number(const char *text, double low, double high, double *out)
{
    char *end;
    *out = text_to_double(text, &end);
    return end != text && !*end && *out > low && *out <= high; /* false for a NaN */
}

static bool read_setting(const char *item, LowrankSpec *out, const char **why)
{
    double value;
    if (!strncmp(item, "rank=", 5)) {
        if (out->rank || !read_number(item + 5, 0, MOST_RANK, &value) || value != floor(value))
            return refuse(why, "`rank` is a whole number from 1 to 65536, said once");
        out->rank = (int64_t)value;
    } else if (!strncmp(item, "err=", 4)) {
        if (!isnan(out->err) || !read_number(item + 4, 0, 1, &value))
            return refuse(why, "`err` is an error above 0 and at most 1, said once");
        out->err = value;
    } else if (!strncmp(item, "max_err=", 8)) {
        if (!isnan(out->max_err) || !read_number(item + 8, 0, 1, &value))
            return refuse(why, "`max_err` is an error above 0 and at most 1, said once");
        out->max_err = value;
    } else if (!strcmp(item, "method=svd")) {
        out->method = LOWRANK_SVD;
    } else if (!strcmp(item, "method=cur")) {
        out->method = LOWRANK_CUR;
    } else if (!strcmp(item, "method=id")) {
        out->method = LOWRANK_ID;
    } else {
        return refuse(why, strncmp(item, "method=", 7) ? "known are `rank=`, `err=`, `max_err=` and `method=`" : "`method` is `svd`, `cur` or `id`");
    }
    return true;
}

bool lowrank_read(Arena *a, const char *text, LowrankSpec *out, const char **why)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text || !colon[1])
        return refuse(why, "it is WHERE:rank=R or WHERE:err=E, as in `ffn:rank=128`");
    bool good = lowrank_read_settings(a, arena_copy(a, text, (size_t)(colon - text)), colon + 1, out, why);
    out->text = text;
    return good;
}

bool lowrank_read_settings(Arena *a, const char *key, const char *text, LowrankSpec *out, const char **why)
{
    *out = (LowrankSpec){.where = key, .err = NAN, .max_err = NAN, .text = text};
    for (const char *p = text; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!read_setting(arena_copy(a, p, strcspn(p, ",")), out, why))
            return false;
    if (!out->rank == isnan(out->err))
        return refuse(why, "either `rank` or `err` says how much is kept");
    if (!out->rank && !isnan(out->max_err))
        return refuse(why, "`err` is a bound already; `max_err` goes with `rank`");
    if (!out->rank && out->method == LOWRANK_CUR)
        return refuse(why, "`err` finds a rank by singular values: `method=cur` takes `rank`");
    return true;
}

static bool matches(const char *pattern, const char *key)
{
    for (; *pattern && *pattern != '*'; pattern++, key++)
        if (*pattern != *key)
            return false;
    if (!*pattern)
        return !*key;
    for (pattern++;; key++) {
        if (matches(pattern, key))
            return true;
        if (!*key)
            return false;
    }
}

bool lowrank_names(const LowrankSpec *s, const char *part, const char *key)
{
    return !strcmp(s->where, "all") || !strcmp(s->where, part) || matches(s->where, key);
}
