/* Who waits for whom: decided from the steps of the entry, what each of them reads and writes, and where that lies.
 *
 * Where a model has rows enough, each thread has a block of them, and its parts of a kernel are parts of its block
 * (codegen/team.c). A kernel that reads of what others wrote only its own rows then needs nobody: the rows go from
 * kernel to kernel until one comes that reads other rows, too, as attention reads all keys. Before that one all
 * threads meet. So an encoder's layer has one meeting, between the projections and the attention. The projections of
 * the next layer write keys that some thread may still read, unless it is very late: they wait until the attention
 * is done, which it was before the products behind it began (`settle`).
 *
 *     per row:      q_k_v | attend .. output .. norm .. up .. down .. norm | q_k_v ..
 *     all of them:        meet                                             (settle)
 *
 * Kernels between two meetings stand in a `do`: whoever has come to its end goes through them once more for the
 * parts of others that nobody has begun (`help`). Where rows are few, as in the decoding of one position, every
 * kernel is shared out by its columns or tasks, and all meet after each (`follow`).
 *
 * Two kernels touch the same if the spans of memory overlap, and one of the two writes. They keep to their own rows
 * if both are shared out by rows, and what they touch begins at the same place and steps by the same number of bytes
 * from row to row. */
#include "codegen/schedule.h"
#include "codegen/entry.h"
#include "codegen/entry_inside.h"

#include <string.h>

/* ---- recording --------------------------------------------------------------------------------------------------- */

Step *step_add(Emitter *e, StepKind kind, const char *text)
{
    Steps *s = &e->entry->steps;
    s->step = arena_room(e->cx->arena, s->step, s->n, &s->capacity, sizeof *s->step);
    Step *step = &s->step[s->n++];
    *step = (Step){.kind = kind, .indent = s->indent, .text = text};
    return step;
}

static bool is_row_axis(const Emitter *e, const char *name)
{
    for (int i = 0; i < e->rows.n; i++)
        if (e->rows.axis[i].name == name)
            return true;
    return false;
}

/* Elements from one row to the next, if all that is touched of a row lies before the next one; else 0. */
static int64_t row_step(const Emitter *e, const Access *a)
{
    Stride step;
    int64_t row, reach = 0, part;
    if (!e->rows.n || a->panels || a->shift || !access_step(a, e->rows.axis, e->rows.n, &step) ||
        !stride_is_const(step, &row))
        return 0;
    for (int i = 0; i < a->n_start; i++) {
        if (!extent_is_const(a->start[i].at) || !stride_is_const(a->start[i].stride, &part) || part < 0 ||
            a->start[i].at.base < 0)
            return 0;
        reach += a->start[i].at.base * part;
    }
    for (int i = 0; i < a->rank; i++) {
        if (is_row_axis(e, a->axis[i].name))
            continue;
        if (!extent_is_const(a->axis[i].size) || !stride_is_const(a->axis[i].stride, &part) || part < 0)
            return 0;
        reach += (a->axis[i].size.base - 1) * part;
    }
    return reach < row ? row : 0;
}

void step_touch(Emitter *e, Step *s, const Access *a, bool writes)
{
    if (a->home->place.kind == PLACE_WEIGHT)
        return;
    s->touches = arena_grow(e->cx->arena, s->touches, s->n_touches, s->n_touches + 1, sizeof *s->touches);
    s->touches[s->n_touches++] = (Touch){a->home, writes, row_step(e, a) * (int64_t)dtype_size(a->dtype)};
}

const char *schedule_rows(Emitter *e)
{
    Text t = text_new(e->cx->arena);
    for (int i = 0; i < e->rows.n; i++)
        text_add(&t, "%s%s", i ? " * " : "",
                 e->rows.n > 1 ? extent_factor_text(e->cx, e->rows.axis[i].size)
                               : extent_text(e->cx, e->rows.axis[i].size));
    return t.length ? t.data : NULL;
}

/* ---- what lies where --------------------------------------------------------------------------------------------- */

/* Bytes [from, to) of a value in its arena region, for one unit; the whole rest of the region if that is not known. */
static void span_of(Emitter *e, const Node *home, int64_t *from, int64_t *to)
{
    const Region *r = &e->model->regions[home->place.region];
    int64_t bytes = (int64_t)dtype_size(home->type->dtype);
    bool used[4] = {false}, known = true, panels = attr_name(home, ATTR_layout) != NULL;
    const char *keys = attr_name(home, ATTR_keys);
    for (int i = 0; i < home->type->rank; i++) {
        const Axis *axis = &home->type->axis[i];
        int64_t size = axis->size.base;
        bool rounded = panels && keys == axis->name;
        if (extent_is_const(axis->size)) {
            known &=
                !__builtin_mul_overflow(bytes, rounded ? (size + KEY_PANEL - 1) / KEY_PANEL * KEY_PANEL : size, &bytes);
            continue;
        }
        int u = 0;
        while (u < r->n && (used[u] || !extent_equal(r->unit[u], axis->size) || (rounded && r->round[u] % KEY_PANEL)))
            u++;
        if (u == r->n)
            known = false;
        else
            used[u] = true;
    }
    *from = home->place.offset;
    *to = known ? *from + bytes : INT64_MAX;
}

static bool overlap(Emitter *e, const Node *a, const Node *b)
{
    if (a->place.kind != b->place.kind)
        return false;
    if (a->place.kind != PLACE_ARENA)
        return a->place.index == b->place.index;
    int64_t from[2], to[2];
    if (a->place.region != b->place.region)
        return false;
    span_of(e, a, &from[0], &to[0]);
    span_of(e, b, &from[1], &to[1]);
    return from[0] < to[1] && from[1] < to[0];
}

static bool same_rows(const Touch *a, const Touch *b)
{
    return a->row && a->row == b->row && a->home->place.region == b->home->place.region &&
           a->home->place.offset == b->home->place.offset;
}

/* One of two steps writes what the other touches. `by_rows`: other rows than its own of it. */
static bool clash(Emitter *e, const Step *a, const Step *b, bool by_rows)
{
    for (size_t i = 0; i < a->n_touches; i++)
        for (size_t k = 0; k < b->n_touches; k++) {
            const Touch *x = &a->touches[i], *y = &b->touches[k];
            bool own = by_rows && a->rows && b->rows && same_rows(x, y);
            if ((x->writes || y->writes) && !own && overlap(e, x->home, y->home))
                return true;
        }
    return false;
}

/* ---- deciding ---------------------------------------------------------------------------------------------------- */

typedef struct Live {
    size_t *step, n;
} Live; /* steps that others may still be at, in the order in which they ran */

typedef struct Schedule {
    Emitter *e;
    const Steps *steps;
    Live rows, parts; /* where rows are shared out; where each kernel is */
    bool changed;
} Schedule;

static void live_add(Live *l, size_t step)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (l->step[i] != step)
            l->step[n++] = l->step[i];
    l->step[n++] = step;
    l->n = n;
}

static void live_drop(Live *l, size_t count)
{
    memmove(l->step, l->step + count, (l->n - count) * sizeof *l->step);
    l->n -= count;
}

static void set(Schedule *s, bool *decision)
{
    s->changed |= !*decision;
    *decision = true;
}

/* So long after the step at `at` that nobody waits who is not very late: whole products lie in between. */
static bool long_ago(const Schedule *s, size_t at)
{
    for (size_t i = at + 1; i < s->rows.n; i++) {
        const Step *step = &s->steps->step[s->rows.step[i]];
        if (step->product)
            return true;
    }
    return false;
}

static bool may_mark(const Schedule *s, size_t step)
{
    for (size_t i = 0; i < s->steps->n; i++)
        if (s->steps->step[i].marked && i != step)
            return false;
    return true;
}

static void decide(Schedule *s, size_t number)
{
    Step *step = &s->steps->step[number];
    size_t at = s->rows.n;
    while (at > 0 && !clash(s->e, &s->steps->step[s->rows.step[at - 1]], step, true))
        at--;
    if (at > 0 && !step->meets) {
        size_t other = s->rows.step[at - 1];
        if (step->rows && long_ago(s, at - 1) && may_mark(s, other)) {
            set(s, &s->steps->step[other].marked);
            set(s, &step->settles);
            live_drop(&s->rows, at);
        } else {
            set(s, &step->meets);
        }
    }
    for (size_t i = 0; i < s->parts.n && !step->meets && !step->follows; i++)
        if (clash(s->e, &s->steps->step[s->parts.step[i]], step, false))
            set(s, &step->follows);
    if (step->meets)
        s->rows.n = 0;
    if (step->meets || step->follows)
        s->parts.n = 0;
    live_add(&s->rows, number);
    live_add(&s->parts, number);
}

/* Steps [from, to). What is decided in a repeat holds for the first round and for those that begin where one ended. */
static void decide_all(Schedule *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        Step *step = &s->steps->step[i];
        if (step->kind == STEP_KERNEL) {
            decide(s, i);
        } else if (step->kind == STEP_MEET || step->clears) {
            if (step->kind == STEP_MEET && (s->rows.n || s->parts.n))
                set(s, &step->meets);
            s->rows.n = s->parts.n = 0;
        } else if (step->kind == STEP_ROUNDS) {
            size_t end = i + 1;
            for (int depth = 1; depth; end++)
                depth += (s->steps->step[end].kind == STEP_ROUNDS) - (s->steps->step[end].kind == STEP_END);
            bool any = s->changed;
            do {
                s->changed = false;
                decide_all(s, i + 1, end - 1);
                any |= s->changed;
            } while (s->changed);
            s->changed = any;
            i = end - 1;
        }
    }
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static void put(Text *out, int indent, const char *line)
{
    text_add(out, "%*s%s\n", 4 * indent, "", line);
}

static void put_waits(const Step *s, int indent, Text *out)
{
    if (s->meets)
        put(out, indent, "meet(&team);");
    else if (s->follows)
        put(out, indent, "follow(&team);");
    if (s->settles && !s->meets)
        put(out, indent, "settle(&team);");
}

static void put_kernel(Emitter *e, const Step *s, int indent, const char *take, Text *out)
{
    const char *only = s->live    ? "while (next_run(&live, team.from_row, team.to_row))"
                       : s->alone ? "if (team.part == 0)"
                                  : NULL;
    put(out, indent, arena_print(e->cx->arena, "while (%s(&team, %s))", take, s->text));
    if (only)
        put(out, indent + 1, only);
    const char *head = arena_print(e->cx->arena, "%*s%s", 4 * (indent + (only ? 2 : 1)), "", s->function);
    text_add(out, "%s;\n", wrapped(e->cx, head, s->items, s->n_items));
    if (s->marked)
        put(out, indent, "mark(&team);");
}

/* For one thread: the calls, one after the other. */
static void print_alone(Emitter *e, const Steps *steps, Text *out)
{
    for (size_t i = 0; i < steps->n; i++) {
        const Step *step = &steps->step[i];
        if (step->live)
            put(out, step->indent, arena_print(e->cx->arena, "while (next_run(&live, 0, %s))", schedule_rows(e)));
        if (step->kind == STEP_KERNEL)
            text_add(out, "%s;\n",
                     wrapped(e->cx, arena_print(e->cx->arena, "%*s%s", 4 * (step->indent + step->live), "", step->function), step->items, step->n_items));
        else if (step->text)
            put(out, step->indent, step->text);
    }
}

/* What stands behind step `at`: in a repeat's last one, the repeat's first. NULL: the end. */
static const Step *step_after(const Steps *s, size_t at)
{
    size_t next = at + 1;
    for (int depth = 0; next < s->n && s->step[next].kind == STEP_END && depth < 1; depth++) {
        size_t begin = next;
        for (int open = 1; open;) {
            begin--;
            open += (s->step[begin].kind == STEP_END) - (s->step[begin].kind == STEP_ROUNDS);
        }
        next = begin + 1;
    }
    return next < s->n ? &s->step[next] : NULL;
}

/* Kernels by rows from `from` on between which nobody meets. */
static size_t count_together(const Steps *s, size_t from)
{
    size_t n = 1;
    while (s->step[from].rows && from + n < s->n && s->step[from + n].kind == STEP_KERNEL && s->step[from + n].rows &&
           !s->step[from + n].meets)
        n++;
    return n;
}

void schedule_print(Emitter *e, const Steps *steps, Text *out)
{
    if (e->alone) {
        print_alone(e, steps, out);
        return;
    }
    Schedule s = {.e = e, .steps = steps};
    s.rows.step = arena_array(e->cx->arena, steps->n + 1, sizeof *s.rows.step);
    s.parts.step = arena_array(e->cx->arena, steps->n + 1, sizeof *s.parts.step);
    decide_all(&s, 0, steps->n);
    for (size_t i = 0; i < steps->n; i++) {
        const Step *step = &steps->step[i];
        if (step->kind != STEP_KERNEL) {
            if (step->meets)
                put(out, step->indent, "meet(&team);");
            if (step->text)
                text_add(out, "%*s%s\n", 4 * step->indent, "", step->text);
            continue;
        }
        size_t n = count_together(steps, i);
        put_waits(step, step->indent, out);
        if (n == 1) {
            put_kernel(e, step, step->indent, step->rows ? "take_rows" : "take", out);
            continue;
        }
        put(out, step->indent, "do {");
        for (size_t k = i; k < i + n; k++) {
            if (k > i)
                put_waits(&steps->step[k], step->indent + 1, out);
            put_kernel(e, &steps->step[k], step->indent + 1, "take_own", out);
        }
        const Step *next = step_after(steps, i + n - 1);
        bool waits = !next || next->meets;
        put(out, step->indent, waits ? "} while (help(&team, 0));" : "} while (help(&team, PARTS));");
        i += n - 1;
    }
}
