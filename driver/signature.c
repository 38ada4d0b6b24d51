/* Signatures: which symbol plays which part, sizes for a call, and inputs made up from the types. */
#include <math.h>
#include <string.h>

#include "driver/signature.h"
#include "support/checked.h"

/* ---- symbols ----------------------------------------------------------------------------------------------------- */

const Node *signature_measures(const Graph *model)
{
    for (const Node *n = model->first; n; n = n->next) {
        const Node *inside = n->body ? signature_measures(n->body) : NULL;
        if (inside)
            return inside;
        Extent size = n->op == OP_extent ? node_attr(n, ATTR_size)->extent : extent_const(0);
        for (int i = 0; i < size.n; i++)
            if (!strcmp(size.symbol[i]->name, "past"))
                return n;
    }
    return NULL;
}

int signature_past(const Plan *plan)
{
    for (int i = 0; i < plan->n_symbols; i++)
        if (plan->symbols[i].past)
            return i;
    return -1;
}

static int lone_symbol(const PlanDim *d)
{
    return d->base == 0 && d->n == 1 && d->factor[0] == 1 ? d->symbol[0] : -1;
}

int signature_batch(const Plan *plan)
{
    const PlanTensor *t = plan->n_caches ? plan->caches : plan->n_inputs ? plan->inputs : NULL;
    return t && t->rank ? lone_symbol(&t->dims[0]) : -1;
}

int signature_step(const Plan *plan)
{
    if (!plan->n_caches)
        return -1;
    int batch = signature_batch(plan), past = signature_past(plan);
    for (int i = 0; i < plan->n_inputs; i++)
        for (int a = 0; a < plan->inputs[i].rank; a++) {
            int symbol = lone_symbol(&plan->inputs[i].dims[a]);
            if (symbol >= 0 && symbol != batch && symbol != past)
                return symbol;
        }
    return -1;
}

int signature_axis(const PlanTensor *t, int symbol)
{
    for (int a = 0; symbol >= 0 && a < t->rank; a++)
        if (lone_symbol(&t->dims[a]) == symbol)
            return a;
    return -1;
}

int64_t signature_size(const PlanDim *d, const int64_t *sizes)
{
    int64_t size = d->base;
    for (int i = 0; i < d->n; i++)
        size += d->factor[i] * sizes[d->symbol[i]];
    return size;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

int64_t signature_batch_size(const Plan *plan, const HostTensor *inputs, int n_inputs)
{
    int batch = signature_batch(plan);
    for (int i = 0; i < n_inputs; i++)
        for (int k = 0; k < plan->n_inputs; k++) {
            int axis = signature_axis(&plan->inputs[k], batch);
            if (axis >= 0 && axis < inputs[i].rank && !strcmp(plan->inputs[k].name, inputs[i].name))
                return inputs[i].dims[axis];
        }
    return 1;
}

void signature_for_graph(const Plan *plan, const Graph *graph, const int64_t *sizes, int64_t *out)
{
    for (int i = 0; i < graph->n_symbols; i++) {
        out[i] = graph->symbols[i]->low;
        for (int k = 0; k < plan->n_symbols; k++)
            if (!strcmp(plan->symbols[k].name, graph->symbols[i]->name))
                out[i] = sizes[k];
    }
}

static int symbol_named(const Plan *plan, const char *name)
{
    for (int i = 0; i < plan->n_symbols; i++)
        if (!strcmp(plan->symbols[i].name, name))
            return i;
    return -1;
}

static bool unknown_symbol(Context *cx, const Plan *plan, const char *name)
{
    Diag *d = diag_file_error(cx->diags, "E0653", NULL, NULL, "the model has no free size called `%s`", name);
    Text list = text_new(cx->arena);
    for (int i = 0; i < plan->n_symbols; i++)
        text_add(&list, "%s`%s`", i ? ", " : "", plan->symbols[i].name);
    diag_note(d, "its free sizes: %s", plan->n_symbols ? list.data : "none");
    return false;
}

static bool within_bounds(Context *cx, const PlanSymbol *s, int64_t size)
{
    if (size >= s->low && size <= s->high)
        return true;
    diag_file_error(cx->diags, "E0653", NULL, NULL, "%s = %lld is out of bounds: %lld <= %s <= %lld", s->name,
                    (long long)size, (long long)s->low, s->name, (long long)s->high);
    return false;
}

static void sizes_from_inputs(const Plan *plan, const HostTensor *inputs, int n_inputs, int64_t *sizes)
{
    for (int i = 0; i < n_inputs; i++)
        for (int k = 0; k < plan->n_inputs; k++) {
            const PlanTensor *t = &plan->inputs[k];
            if (strcmp(t->name, inputs[i].name) || t->rank != inputs[i].rank)
                continue;
            for (int a = 0; a < t->rank; a++)
                if (lone_symbol(&t->dims[a]) >= 0)
                    sizes[lone_symbol(&t->dims[a])] = inputs[i].dims[a];
        }
}

bool signature_sizes(Context *cx, const Plan *plan, const NamedSize *asked, int n_asked, const HostTensor *inputs,
                     int n_inputs, int64_t batch, int64_t length, int64_t *sizes)
{
    for (int i = 0; i < plan->n_symbols; i++) {
        const PlanSymbol *s = &plan->symbols[i];
        int64_t size = s->past ? 0 : i == signature_batch(plan) ? batch : length;
        sizes[i] = size < s->low ? s->low : size > s->high ? s->high : size;
    }
    if (inputs)
        sizes_from_inputs(plan, inputs, n_inputs, sizes);
    for (int i = 0; i < n_asked; i++) {
        int symbol = symbol_named(plan, asked[i].name);
        if (symbol < 0)
            return unknown_symbol(cx, plan, asked[i].name);
        sizes[symbol] = asked[i].value;
    }
    for (int i = 0; i < plan->n_symbols; i++)
        if (!within_bounds(cx, &plan->symbols[i], sizes[i]))
            return false;
    return true;
}

/* ---- made-up inputs ---------------------------------------------------------------------------------------------- */

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double random_unit(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

/* The input that a value is, through operators that keep its numbers. */
static const Node *origin(const Node *n)
{
    while (n->n_inputs && (op_info[n->op].class == CLASS_VIEW || n->op == OP_cast))
        n = n->inputs[0];
    return n;
}

static int64_t bound_in(const Graph *g, const Node *input, int64_t bound)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->body)
            bound = bound_in(n->body, input, bound);
        if (n->op != OP_gather || origin(n->inputs[1]) != input)
            continue;
        const Attr *over = node_attr(n, ATTR_over);
        int axis = over && over->names.count ? type_find(n->inputs[0]->type, over->names.items[0]) : -1;
        int64_t rows = axis < 0 ? bound : extent_low(n->inputs[0]->type->axis[axis].size);
        bound = rows < bound ? rows : bound;
    }
    return bound;
}

static int64_t id_bound(const Graph *model, const char *name)
{
    for (int i = 0; i < model->n_params; i++)
        if (!strcmp(model->params[i]->name, name))
            return bound_in(model, model->params[i], INT32_MAX) == INT32_MAX
                       ? 2
                       : bound_in(model, model->params[i], INT32_MAX);
    return 2;
}

static double random_value(DType t, int64_t place, int64_t row, int64_t bound, uint64_t *state)
{
    if (dtype_is_float(t))
        return sqrt(-2 * log(1 - random_unit(state))) * cos(2 * M_PI * random_unit(state));
    if (t == DT_BOOL)
        return (row && place % row == 0) || random_next(state) % 8 != 0;
    return (double)(random_next(state) % (uint64_t)(bound > 0 ? bound : 1));
}

static bool random_tensor(Context *cx, const PlanTensor *t, const Graph *model, const int64_t *sizes, uint64_t *state,
                          HostTensor *out)
{
    *out = (HostTensor){.name = t->name, .dtype = t->dtype, .rank = t->rank};
    for (int a = 0; a < t->rank; a++)
        out->dims[a] = signature_size(&t->dims[a], sizes);
    int64_t count = host_count(out), row = t->rank ? out->dims[t->rank - 1] : 0;
    uint64_t bytes;
    if (count < 0 || !checked_mul((uint64_t)count, dtype_size(t->dtype), &bytes) || bytes > PTRDIFF_MAX / 2) {
        diag_file_error(cx->diags, "E0653", NULL, NULL, "input `%s` would be larger than memory at these sizes",
                        t->name);
        return false;
    }
    out->data = arena_array(cx->arena, (size_t)count + 1, dtype_size(t->dtype));
    int64_t bound = id_bound(model, t->name);
    for (int64_t i = 0; i < count; i++)
        host_set(out, i, random_value(t->dtype, i, row, bound, state));
    return true;
}

HostTensor *signature_random(Context *cx, const Plan *plan, const Graph *model, const int64_t *sizes, uint64_t seed)
{
    HostTensor *inputs = arena_array(cx->arena, (size_t)plan->n_inputs, sizeof *inputs);
    uint64_t state = seed;
    for (int i = 0; i < plan->n_inputs; i++)
        if (!random_tensor(cx, &plan->inputs[i], model, sizes, &state, &inputs[i]))
            return NULL;
    return inputs;
}
