/* Approximations: the records and what reads them. */
#include <math.h>
#include <string.h>

#include "support/approximation.h"

enum { MOST_WORST = 5 }; /* rows of a message */

bool max_err_read(const char *text, double *out, const char **why)
{
    static const char word[] = ":max_err=";
    if (strncmp(text, word, sizeof word - 1) != 0)
        return false;
    const char *number = text + sizeof word - 1;
    char *end;
    *out = text_to_double(number, &end);
    *why = "`max_err` is an error above 0 and at most 1";
    return end != number && !*end && *out > 0 && *out <= 1; /* false for a NaN */
}

Approximation *approximation_add(Approximations *all, const char *kind, const char *where, const char *setting)
{
    all->items = arena_room(all->arena, all->items, all->count, &all->capacity, sizeof *all->items);
    Approximation *a = &all->items[all->count++];
    *a = (Approximation){
        .kind = kind, .where = where, .setting = setting, .predicted = NAN, .measured = NAN, .bound = NAN};
    return a;
}

bool approximations_have(const Approximations *all, const char *kind)
{
    for (size_t i = 0; i < all->count; i++)
        if (!strcmp(all->items[i].kind, kind))
            return true;
    return false;
}

static double figure_of(const Approximation *a)
{
    return isnan(a->measured) ? a->predicted : a->measured;
}

bool approximation_over(const Approximation *a)
{
    return !isnan(a->bound) && !(figure_of(a) <= a->bound);
}

static void put_figure(Text *out, double value)
{
    text_add(out, value != 0 && (fabs(value) < 1e-3 || fabs(value) >= 1e4) ? "%.2e" : "%.4f", value);
}

static const char *bound_name(const Approximation *a)
{
    return a->bound_name ? a->bound_name : "bound";
}

static void put_figures(const Approximation *a, Text *out)
{
    const char *comma = "";
    text_add(out, "%s ", a->error ? a->error : "error");
    if (!isnan(a->measured)) {
        put_figure(out, a->measured);
        text_add(out, " measured%s%s", a->measured_on ? " on " : "", a->measured_on ? a->measured_on : "");
        comma = ", ";
    }
    if (!isnan(a->predicted)) {
        text_add(out, "%s", comma);
        put_figure(out, a->predicted);
        text_add(out, " predicted");
        comma = ", ";
    }
    if (!*comma)
        text_add(out, "neither measured nor predicted");
}

void approximation_print(const Approximation *a, Text *out)
{
    text_add(out, "%s of %s (%s): ", a->kind, a->where, a->setting);
    put_figures(a, out);
    if (isnan(a->bound)) {
        text_add(out, "; no bound");
        return;
    }
    text_add(out, "; %s ", bound_name(a));
    put_figure(out, a->bound);
    if (approximation_over(a))
        text_add(out, " EXCEEDED");
}

/* ---- the exit status --------------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool same_request(const Approximation *a, const Approximation *b)
{
    return same_text(a->kind, b->kind) && same_text(a->setting, b->setting) && a->bound == b->bound &&
           a->at.source == b->at.source && a->at.begin == b->at.begin;
}

/* Larger is worse; nothing known is worst. */
static double badness(const Approximation *a)
{
    double figure = figure_of(a);
    return isnan(figure) ? INFINITY : figure;
}

static void refuse(Diags *d, const Approximations *all, size_t first)
{
    const Approximation *a = &all->items[first], *worst[MOST_WORST] = {NULL};
    int over = 0;
    for (size_t i = first; i < all->count; i++) {
        const Approximation *next = &all->items[i];
        if (!same_request(a, next) || !approximation_over(next))
            continue;
        over++;
        for (int w = 0; w < MOST_WORST && next; w++)
            if (!worst[w] || badness(next) > badness(worst[w])) {
                const Approximation *old = worst[w];
                worst[w] = next;
                next = old;
            }
    }
    Text bound = text_new(d->arena);
    put_figure(&bound, a->bound);
    Diag *e = diag_error(d, "E0901", a->at, "`%s` (%s) exceeds its bound: %s = %s", a->kind, a->setting, bound_name(a),
                         bound.data);
    for (int w = 0; w < MOST_WORST && worst[w]; w++) {
        Text line = text_new(d->arena);
        text_add(&line, "%s: ", worst[w]->where);
        put_figures(worst[w], &line);
        diag_note(e, "%s", line.data);
        if (worst[w]->note)
            diag_note(e, "%s", worst[w]->note);
    }
    if (over > MOST_WORST)
        diag_note(e, "and %d more", over - MOST_WORST);
    if (worst[0]->help)
        diag_help(e, "%s", worst[0]->help);
}

bool approximations_check(Diags *d, const Approximations *all)
{
    bool good = true;
    for (size_t i = 0; i < all->count; i++) {
        bool told = !approximation_over(&all->items[i]);
        for (size_t j = 0; j < i && !told; j++)
            told = approximation_over(&all->items[j]) && same_request(&all->items[i], &all->items[j]);
        if (!told)
            refuse(d, all, i);
        good &= !approximation_over(&all->items[i]);
    }
    return good;
}

/* ---- for programs ------------------------------------------------------------------------------------------------ */

static void put_string(Text *out, const char *name, const char *text)
{
    text_add(out, ",\"%s\":\"", name);
    for (const char *c = text; *c; c++)
        if (*c == '"' || *c == '\\')
            text_add(out, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            text_add(out, "\\u%04x", (unsigned)*c);
        else
            text_char(out, *c);
    text_char(out, '"');
}

static void put_number(Text *out, const char *name, double value)
{
    text_add(out, ",\"%s\":", name);
    if (isfinite(value))
        text_double(out, value);
    else
        text_add(out, "null");
}

void approximation_json(const Approximation *a, const char *model, Text *out)
{
    text_add(out, "{\"v\":1,\"kind\":\"approximation\"");
    put_string(out, "model", model);
    put_string(out, "pass", a->kind);
    put_string(out, "where", a->where);
    put_string(out, "setting", a->setting);
    put_string(out, "error", a->error ? a->error : "error");
    put_number(out, "predicted", a->predicted);
    put_number(out, "measured", a->measured);
    if (a->measured_on)
        put_string(out, "measured_on", a->measured_on);
    put_number(out, "bound", a->bound);
    text_add(out, ",\"over\":%s}", approximation_over(a) ? "true" : "false");
}
