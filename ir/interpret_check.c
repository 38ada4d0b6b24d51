/* What the run-time sizes decide, checked before the first value is computed: every size is sensible, the inputs fit
 * their types, slices stay inside their axes, caches have room, weights' views stay inside the stored tensors. After
 * this nothing in the interpreter can step outside an array but a looked-up index or a layer number, which are checked
 * where they are used. */
#include "ir/interpret_inside.h"

#include <string.h>
#include "support/checked.h"

static bool refuse(Run *run, const char *code, const Node *n, const char *text)
{
    diag_error(run->cx->diags, code, n->at, "%s", text);
    run->failed = true;
    return false;
}

static const char *word(const Node *n)
{
    return n->name ? n->name : op_info[n->op].name;
}

static int64_t size_of(const Run *run, Extent e)
{
    return extent_value(e, run->model, run->bind->sizes);
}

/* Elements of a type, or -1: a negative size, or more than memory could hold. */
static int64_t elements(const Run *run, const Type *t)
{
    uint64_t count = 1;
    for (int i = 0; i < t->rank; i++) {
        int64_t size = size_of(run, t->axis[i].size);
        if (size < 0 || !checked_mul(count, (uint64_t)size, &count))
            return -1;
    }
    return count > (uint64_t)1 << 48 ? -1 : (int64_t)count;
}

static bool check_size(Run *run, const Node *n)
{
    if (!n->type || elements(run, n->type) >= 0)
        return true;
    Text t = text_new(run->cx->arena);
    text_add(&t, "`%s` has no sensible size: ", word(n));
    type_print(n->type, &t);
    for (int i = 0; i < n->type->rank; i++)
        text_add(&t, "%s%lld", i ? ", " : " is [", (long long)size_of(run, n->type->axis[i].size));
    text_add(&t, n->type->rank ? "]" : "");
    return refuse(run, "E0653", n, t.data);
}

static bool check_input(Run *run, const Node *n)
{
    int at = 0;
    while (at < run->model->n_params && run->model->params[at] != n)
        at++;
    const HostTensor *h = &run->bind->inputs[at];
    if (h->rank != n->type->rank)
        return refuse(
            run, "E0604", n,
            arena_print(run->cx->arena, "`%s` has %d axes, the model's has %d", word(n), h->rank, n->type->rank));
    for (int i = 0; i < h->rank; i++) {
        int64_t size = size_of(run, n->type->axis[i].size);
        if (h->dims[i] != size)
            return refuse(run, "E0605", n,
                          arena_print(run->cx->arena, "`%s` has %s = %lld, here it is %lld", word(n),
                                      n->type->axis[i].name, (long long)h->dims[i], (long long)size));
    }
    return true;
}

static bool check_slice(Run *run, const Node *n)
{
    const Type *from = n->inputs[0]->type;
    const Attr *start = node_attr(n, ATTR_start);
    const char *name = attr_name(n, ATTR_axis);
    int axis = type_find(from, name);
    int64_t first = start ? size_of(run, start->extent) : 0, bound = size_of(run, from->axis[axis].size), end;
    int64_t size = n->type->rank == from->rank ? size_of(run, n->type->axis[axis].size) : 1;
    if (first >= 0 && checked_iadd(first, size, &end) && end <= bound)
        return true;
    return refuse(run, "E0606", n,
                  arena_print(run->cx->arena, "`%s` takes positions %lld to %lld of the axis `%s`, which has %lld",
                              word(n), (long long)first, (long long)(first + size), name, (long long)bound));
}

static bool check_append(Run *run, const Node *n)
{
    const Cache *cache = cache_of(run, n);
    int64_t capacity = size_of(run, cache->type->axis[cache->growing].size),
            end = size_of(run, n->type->axis[cache->growing].size);
    int64_t past = size_named(run, "past");
    const Type *value = n->body ? n->body->results[0].value->type : n->inputs[0]->type;
    if (past >= 0 && end <= capacity && past + size_of(run, value->axis[cache->growing].size) == end)
        return true;
    return refuse(run, "E0607", n,
                  arena_print(run->cx->arena, "the cache `%s` holds %lld positions along `%s`, `%s` ends at %lld",
                              cache->name, (long long)capacity, cache->type->axis[cache->growing].name, word(n),
                              (long long)end));
}

/* The stored tensor's elements, and whether every element of the view lies among them. */
static bool check_weight(Run *run, const Node *n)
{
    const Attr *stored = node_attr(n, ATTR_stored), *strides = node_attr(n, ATTR_strides),
               *start = node_attr(n, ATTR_start);
    int64_t count = stored ? 1 : elements(run, n->type), low = start ? size_of(run, start->extent) : 0, high = low,
            step = 1;
    bool sound = !strides || strides->ints.count == n->type->rank;
    for (int i = 0; stored && sound && i < stored->ints.count; i++)
        sound = stored->ints.items[i] >= 0 && checked_imul(count, stored->ints.items[i], &count) &&
                count <= (int64_t)1 << 48;
    for (int i = n->type->rank - 1; i >= 0 && sound; i--) {
        int64_t size = size_of(run, n->type->axis[i].size), reach;
        if (size == 0)
            return true;
        sound = checked_imul(size - 1, strides ? strides->ints.items[i] : step, &reach) &&
                checked_iadd(reach < 0 ? low : high, reach, reach < 0 ? &low : &high);
        step *= size;
    }
    if (sound && low >= 0 && high < count)
        return true;
    return refuse(run, "E0490", n,
                  arena_print(run->cx->arena, "the view that `%s` takes reaches outside the stored tensor `%s`",
                              word(n), attr_name(n, ATTR_key)));
}

static bool check_same_count(Run *run, const Node *n)
{
    return elements(run, n->type) == elements(run, n->inputs[0]->type) ||
           refuse(run, "E0653", n,
                  arena_print(run->cx->arena, "`%s` and `%s` differ in size", word(n), word(n->inputs[0])));
}

static bool check_node(Run *run, const Node *n)
{
    if (!check_size(run, n))
        return false;
    switch (n->op) {
    case OP_input: return check_input(run, n);
    case OP_slice: return check_slice(run, n);
    case OP_append: return check_append(run, n);
    case OP_weight: return check_weight(run, n);
    case OP_view: return check_same_count(run, n);
    case OP_table:
        return node_attr(n, ATTR_table)->floats.count == elements(run, n->type) ||
               refuse(run, "E0653", n, "a table and its type differ in size");
    default: return true;
    }
}

bool check_sizes(Run *run, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next)
        if (!check_node(run, n) || (n->body && !check_sizes(run, n->body)))
            return false;
    return true;
}
