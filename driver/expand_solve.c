/* Linear equations: each equation makes one unknown known in terms of others. */
#include <math.h>
#include <string.h>

#include "driver/expand_inside.h"

static const double tiny = 1e-9;

Form form_number(double value)
{
    return (Form){.constant = value};
}

Form form_unknown(Solver *s)
{
    if (s->n == s->room) {
        int room = s->room ? 2 * s->room : 64;
        s->known = arena_grow(s->arena, s->known, (size_t)s->n, (size_t)room, sizeof *s->known);
        s->is_known = arena_grow(s->arena, s->is_known, (size_t)s->n, (size_t)room, sizeof *s->is_known);
        s->room = room;
    }
    Part *part = arena_alloc(s->arena, sizeof *part);
    *part = (Part){s->n++, 1};
    return (Form){part, 1, 0};
}

Form form_add(Solver *s, Form a, Form b, double times)
{
    Part *parts = arena_array(s->arena, (size_t)(a.n + b.n) + 1, sizeof *parts);
    int n = 0, i = 0, k = 0;
    while (i < a.n || k < b.n) {
        bool left = k >= b.n || (i < a.n && a.parts[i].unknown <= b.parts[k].unknown);
        bool right = i >= a.n || (k < b.n && b.parts[k].unknown <= a.parts[i].unknown);
        Part p = left ? a.parts[i] : (Part){b.parts[k].unknown, 0};
        if (right)
            p.times += times * b.parts[k].times;
        i += left;
        k += right;
        if (fabs(p.times) > tiny)
            parts[n++] = p;
    }
    return (Form){parts, n, a.constant + times * b.constant};
}

Form form_scale(Solver *s, Form a, double times)
{
    return form_add(s, form_number(0), a, times);
}

/* The form with nothing but free unknowns. */
static Form reduced(Solver *s, Form a)
{
    for (int i = 0; i < a.n;) {
        int u = a.parts[i].unknown;
        if (!s->is_known[u]) {
            i++;
            continue;
        }
        double times = a.parts[i].times;
        Part *own = arena_alloc(s->arena, sizeof *own);
        *own = (Part){u, 1};
        a = form_add(s, a, (Form){own, 1, 0}, -times);
        a = form_add(s, a, s->known[u], times);
        i = 0;
    }
    return a;
}

bool solver_open(Solver *s, Form a)
{
    return reduced(s, a).n > 0;
}

bool solver_equal(Solver *s, Form a, Form b)
{
    Form f = reduced(s, form_add(s, a, b, -1));
    if (f.n == 0)
        return fabs(f.constant) < 1e-6;
    Part pivot = f.parts[f.n - 1];
    f.n--;
    s->known[pivot.unknown] = form_scale(s, f, -1 / pivot.times);
    s->is_known[pivot.unknown] = true;
    return true;
}

double form_value(Form a, const double *unknowns)
{
    double value = a.constant;
    for (int i = 0; i < a.n; i++)
        value += a.parts[i].times * unknowns[a.parts[i].unknown];
    return value;
}

double *solver_solve(Solver *s)
{
    double *out = arena_array(s->arena, (size_t)s->n + 1, sizeof *out);
    for (int i = 0; i < s->n; i++)
        if (s->is_known[i])
            out[i] = reduced(s, s->known[i]).constant;
    return out;
}
