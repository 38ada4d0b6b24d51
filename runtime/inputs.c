/* What a caller gives against what the plan takes. Sizes are affine in the symbols: an axis that names one unknown
 * symbol decides it, every other axis is checked against the decision, and messages say both by name. */
#include "runtime/inputs.h"

#include <string.h>
#include "runtime/file.h"
#include "support/checked.h"

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* past + S, 384, 2*S + 1 */
static void add_dim(Text *t, const Plan *plan, const PlanDim *d)
{
    for (int i = 0; i < d->n; i++) {
        if (i)
            text_add(t, " + ");
        if (d->factor[i] != 1)
            text_add(t, "%lld*", (long long)d->factor[i]);
        text_add(t, "%s", plan->symbols[d->symbol[i]].name);
    }
    if (d->n == 0)
        text_add(t, "%lld", (long long)d->base);
    else if (d->base)
        text_add(t, " %c %lld", d->base < 0 ? '-' : '+', (long long)(d->base < 0 ? -d->base : d->base));
}

/* ids: i32[B, S] */
static void add_type(Text *t, const Plan *plan, const PlanTensor *p)
{
    text_add(t, "%s: %s[", p->name, dtype_name(p->dtype));
    for (int i = 0; i < p->rank; i++) {
        Text size = text_new(t->arena);
        add_dim(&size, plan, &p->dims[i]);
        text_add(t, i ? ", %s" : "%s", p->dims[i].name);
        if (p->dims[i].name && strcmp(size.data, p->dims[i].name) != 0)
            text_add(t, "=%s", size.data);
    }
    text_char(t, ']');
}

static const char *signature(Context *cx, const Plan *plan)
{
    Text t = text_new(cx->arena);
    for (int i = 0; i < plan->n_inputs; i++) {
        if (i)
            text_add(&t, ", ");
        add_type(&t, plan, &plan->inputs[i]);
    }
    return plan->n_inputs ? t.data : "no inputs";
}

static const char *shape_shown(Context *cx, const HostTensor *t)
{
    Text out = text_new(cx->arena);
    text_char(&out, '[');
    for (int i = 0; i < t->rank; i++)
        text_add(&out, i ? ", %lld" : "%lld", (long long)t->dims[i]);
    text_char(&out, ']');
    return out.data;
}

/* Where element number `at` of a tensor lies: [0, 3] */
static const char *place_shown(Context *cx, const HostTensor *t, int64_t at)
{
    HostTensor place = {.rank = t->rank};
    for (int i = t->rank - 1; i >= 0; i--) {
        place.dims[i] = at % t->dims[i];
        at /= t->dims[i];
    }
    return shape_shown(cx, &place);
}

const char *sizes_shown(Context *cx, const Plan *plan, const Size *sizes)
{
    Text t = text_new(cx->arena);
    for (int i = 0; i < plan->n_symbols; i++) {
        if (i)
            text_add(&t, ", ");
        text_add(&t, "%s = %lld", plan->symbols[i].name, (long long)sizes[i].value);
    }
    return t.data ? t.data : "";
}

static Diag *fail(Context *cx, const char *code, const char *message)
{
    return diag_file_error(cx->diags, code, NULL, NULL, "%s", message);
}

/* ---- names, element types, axes ---------------------------------------------------------------------------------- */

static int find_input(const Plan *plan, const char *name)
{
    for (int i = 0; i < plan->n_inputs; i++) {
        if (!strcmp(plan->inputs[i].name, name))
            return i;
    }
    return -1;
}

static void report_unknown(Context *cx, const Plan *plan, const char *name)
{
    const char **names = arena_array(cx->arena, (size_t)plan->n_inputs + 1, sizeof *names);
    for (int i = 0; i < plan->n_inputs; i++)
        names[i] = plan->inputs[i].name;
    const char *near = name_nearest(name, names, (size_t)plan->n_inputs);
    Diag *d = fail(
        cx, "E0601",
        arena_print(cx->arena, "the model has no input `%s`; it takes %s", file_shown(cx, name), signature(cx, plan)));
    if (near)
        diag_help(d, "did you mean `%s`?", near);
}

static bool check_type(Context *cx, const Plan *plan, const PlanTensor *want, const HostTensor *got)
{
    bool narrowed = want->dtype == DT_I32 && got->dtype == DT_I64;
    if (got->dtype != want->dtype && !narrowed) {
        Diag *d = fail(cx, "E0603",
                       arena_print(cx->arena, "input `%s` is %s, but the model takes %s", want->name,
                                   dtype_name(got->dtype), dtype_name(want->dtype)));
        diag_help(d, "convert the array before it is given");
        return false;
    }
    if (got->rank != want->rank) {
        Text t = text_new(cx->arena);
        add_type(&t, plan, want);
        fail(cx, "E0604",
             arena_print(cx->arena, "input `%s` has %d %s, %s, but the model takes %s", want->name, got->rank,
                         got->rank == 1 ? "axis" : "axes", shape_shown(cx, got), t.data));
        return false;
    }
    int64_t count = host_count(got);
    for (int i = 0; i < got->rank; i++)
        count = got->dims[i] < 0 ? -1 : count;
    if (count < 0 || (count > 0 && !got->data)) {
        fail(cx, "E0605",
             arena_print(cx->arena, "input `%s` has no data for the shape %s", want->name, shape_shown(cx, got)));
        return false;
    }
    return true;
}

bool inputs_match(Context *cx, const Plan *plan, const HostTensor *given, int n, const HostTensor **matched)
{
    bool good = true;
    for (int i = 0; i < plan->n_inputs; i++)
        matched[i] = NULL;
    for (int i = 0; i < n; i++) {
        int input = find_input(plan, given[i].name);
        if (input < 0)
            report_unknown(cx, plan, given[i].name);
        else if (matched[input])
            fail(cx, "E0601", arena_print(cx->arena, "input `%s` is given twice", given[i].name));
        if (input < 0 || matched[input])
            good = false;
        else
            matched[input] = &given[i];
    }
    for (int i = 0; i < plan->n_inputs; i++) {
        if (matched[i])
            continue;
        fail(cx, "E0602",
             arena_print(cx->arena, "input `%s` is missing; the model takes %s", plan->inputs[i].name,
                         signature(cx, plan)));
        good = false;
    }
    for (int i = 0; good && i < plan->n_inputs; i++)
        good = check_type(cx, plan, &plan->inputs[i], matched[i]);
    return good;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

int64_t dim_value(const PlanDim *d, const Size *sizes)
{
    int64_t value = d->base, term;
    for (int i = 0; i < d->n; i++) {
        if (!checked_imul(d->factor[i], sizes[d->symbol[i]].value, &term) || !checked_iadd(value, term, &value))
            return -1;
    }
    return value < 0 ? -1 : value;
}

/* The position of the one unknown symbol, -1 if there is none, -2 if there are several. */
static int one_unknown(const PlanDim *d, const Size *sizes)
{
    int unknown = -1;
    for (int i = 0; i < d->n; i++) {
        if (sizes[d->symbol[i]].input != FROM_NOWHERE)
            continue;
        if (unknown >= 0)
            return -2;
        unknown = i;
    }
    return unknown;
}

static bool solve(const PlanDim *d, int at, int64_t size, int input, int axis, Size *sizes)
{
    int64_t rest = size, term;
    if (!checked_iadd(rest, -d->base, &rest))
        return false;
    for (int i = 0; i < d->n; i++) {
        if (i == at)
            continue;
        if (!checked_imul(d->factor[i], sizes[d->symbol[i]].value, &term) || !checked_iadd(rest, -term, &rest))
            return false;
    }
    if (rest % d->factor[at] != 0 || rest / d->factor[at] < 0)
        return false;
    sizes[d->symbol[at]] = (Size){rest / d->factor[at], input, axis};
    return true;
}

/* Axes that name a single symbol decide first: their messages are the plainest. */
static void solve_all(const Plan *plan, const HostTensor *const *matched, Size *sizes)
{
    for (int round = 0; round <= plan->n_symbols; round++) {
        for (int i = 0; i < plan->n_inputs; i++) {
            for (int a = 0; a < plan->inputs[i].rank; a++) {
                const PlanDim *d = &plan->inputs[i].dims[a];
                int unknown = one_unknown(d, sizes);
                if (unknown < 0 || (round == 0 && d->n > 1))
                    continue;
                solve(d, unknown, matched[i]->dims[a], i, a, sizes);
            }
        }
    }
}

static const char *axis_name(Context *cx, const PlanTensor *t, int axis)
{
    return t->dims[axis].name ? t->dims[axis].name : arena_print(cx->arena, "%d", axis);
}

static bool report_size(Context *cx, const Plan *plan, int input, int axis, int64_t got, const Size *sizes)
{
    const PlanTensor *t = &plan->inputs[input];
    const PlanDim *d = &t->dims[axis];
    const char *name = axis_name(cx, t, axis);
    const char *start = arena_print(cx->arena, "%s: axis %s is %lld", t->name, name, (long long)got);
    if (d->n == 0) {
        fail(cx, "E0605", arena_print(cx->arena, "%s but must be %lld", start, (long long)d->base));
        return false;
    }
    const Size *s = &sizes[d->symbol[0]];
    bool plain = d->n == 1 && d->factor[0] == 1 && d->base == 0;
    if (plain && s->input == FROM_SESSION) {
        fail(cx, "E0605", arena_print(cx->arena, "%s, but this session was made for %lld", start, (long long)s->value));
        return false;
    }
    if (plain && s->input >= 0) {
        const PlanTensor *other = &plan->inputs[s->input];
        fail(cx, "E0605",
             arena_print(cx->arena, "%s, but axis %s of `%s` is %lld", start, axis_name(cx, other, s->axis),
                         other->name, (long long)s->value));
        return false;
    }
    Text want = text_new(cx->arena);
    add_dim(&want, plan, d);
    int64_t value = one_unknown(d, sizes) == -1 ? dim_value(d, sizes) : -1;
    if (value >= 0)
        text_add(&want, " = %lld (%s)", (long long)value, sizes_shown(cx, plan, sizes));
    fail(cx, "E0605", arena_print(cx->arena, "%s but must be %s", start, want.data));
    return false;
}

static bool check_bound(Context *cx, const Plan *plan, int symbol, const Size *s)
{
    const PlanSymbol *p = &plan->symbols[symbol];
    if (p->past || (s->value >= p->low && s->value <= p->high))
        return true;
    const char *where = s->input >= 0 ? arena_print(cx->arena, "%s: axis", plan->inputs[s->input].name) : "axis";
    bool above = s->value > p->high;
    fail(cx, "E0606",
         arena_print(cx->arena,
                     above ? "%s %s is %lld but its bound is %lld" : "%s %s is %lld but must be at least %lld", where,
                     p->name, (long long)s->value, (long long)(above ? p->high : p->low)));
    return false;
}

bool inputs_sizes(Context *cx, const Plan *plan, const HostTensor *const *matched, Size *sizes)
{
    solve_all(plan, matched, sizes);
    for (int i = 0; i < plan->n_inputs; i++) {
        for (int a = 0; a < plan->inputs[i].rank; a++) {
            const PlanDim *d = &plan->inputs[i].dims[a];
            int64_t got = matched[i]->dims[a];
            if (one_unknown(d, sizes) != -1 || dim_value(d, sizes) != got)
                return report_size(cx, plan, i, a, got, sizes);
        }
    }
    for (int i = 0; i < plan->n_symbols; i++) {
        if (sizes[i].input == FROM_NOWHERE) {
            fail(cx, "E9901", arena_print(cx->arena, "no input says what size `%s` has", plan->symbols[i].name));
            return false;
        }
        if (!check_bound(cx, plan, i, &sizes[i]))
            return false;
    }
    return true;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static bool take_narrowed(Context *cx, const PlanTensor *want, const HostTensor *given, int64_t count, int32_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t v;
        memcpy(&v, (const unsigned char *)given->data + i * 8, sizeof v);
        if (v < INT32_MIN || v > INT32_MAX) {
            fail(cx, "E0608",
                 arena_print(cx->arena, "`%s` holds %lld at %s, which does not fit the model's i32", want->name,
                             (long long)v, place_shown(cx, given, i)));
            return false;
        }
        out[i] = (int32_t)v;
    }
    return true;
}

bool input_take(Context *cx, const PlanTensor *want, const HostTensor *given, void *out)
{
    int64_t count = host_count(given);
    if (count == 0)
        return true;
    if (given->dtype != want->dtype)
        return take_narrowed(cx, want, given, count, out);
    memcpy(out, given->data, (size_t)count * dtype_size(want->dtype));
    if (want->dtype != DT_BOOL)
        return true;
    unsigned char *flags = out;
    for (int64_t i = 0; i < count; i++)
        flags[i] = flags[i] != 0;
    return true;
}

/* The first element of an integer input with this value; -1 if there is none. */
static int64_t find_value(const HostTensor *t, int64_t value)
{
    if (t->dtype != DT_I32 && t->dtype != DT_I64 && t->dtype != DT_U8)
        return -1;
    int64_t count = host_count(t);
    for (int64_t i = 0; i < count; i++) {
        int64_t v = 0;
        const unsigned char *at = (const unsigned char *)t->data + (size_t)i * dtype_size(t->dtype);
        if (t->dtype == DT_I64)
            memcpy(&v, at, 8);
        else if (t->dtype == DT_U8)
            v = *at;
        else {
            int32_t narrow;
            memcpy(&narrow, at, 4);
            v = narrow;
        }
        if (v == value)
            return i;
    }
    return -1;
}

void inputs_report_index(Context *cx, const Plan *plan, const HostTensor *const *matched, int64_t input, int64_t index,
                         int64_t bound)
{
    for (int step = -1; step < plan->n_inputs;
         step++) { /* the input that the code names, then any that holds the value */
        int64_t i = step < 0 ? input : step;
        if (i < 0 || i >= plan->n_inputs)
            continue;
        int64_t at = find_value(matched[i], index);
        if (at < 0)
            continue;
        fail(cx, "E0610",
             arena_print(cx->arena, "`%s` holds %lld at %s, but the table has %lld rows", plan->inputs[i].name,
                         (long long)index, place_shown(cx, matched[i], at), (long long)bound));
        return;
    }
    fail(cx, "E0610",
         arena_print(cx->arena, "the model computes the index %lld, but the table has %lld rows", (long long)index,
                     (long long)bound));
}
