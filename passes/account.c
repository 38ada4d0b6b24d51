/* What the passes made of a model: traffic before and after, memory, and the values that kernels still hand to each
 * other through the arena. */
#include <stdlib.h>
#include <string.h>
#include "passes/inside.h"

/* ---- readers ----------------------------------------------------------------------------------------------------- */

/* `storage` is the buffer of `value`: itself, what a repeat carries of it, or what a repeat leaves. */
static bool holds(const Node *storage, const Node *value)
{
    if (storage == value)
        return true;
    const Node *repeat = storage->op == OP_carry ? storage->graph->owner : storage;
    int index = storage->op == OP_carry ? (int)attr_int(storage, ATTR_index, 0) : 0;
    if (storage->op == OP_get) {
        repeat = storage->inputs[0];
        index = (int)attr_int(storage, ATTR_index, 0);
    }
    if (repeat->op != OP_repeat || index >= repeat->body->n_results)
        return false;
    bool enters = storage->op == OP_carry && storage_of(repeat->inputs[index]) == value;
    return enters || storage_of(repeat->body->results[index].value) == value;
}

static bool reads_value(const Node *n, const Node *value)
{
    if (n->op == OP_repeat || op_info[n->op].class == CLASS_VIEW || op_info[n->op].class == CLASS_LEAF)
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i]->type && holds(storage_of(n->inputs[i]), value))
            return true;
    return false;
}

/* The operators that read it, each once. */
static void put_readers(Text *out, const Graph *g, const Node *value, bool *seen)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            put_readers(out, n->body, value, seen);
        else if (!seen[n->op] && reads_value(n, value)) {
            text_add(out, "%s%s", out->length ? ", " : "", op_info[n->op].name);
            seen[n->op] = true;
        }
    }
}

/* ---- stored values ----------------------------------------------------------------------------------------------- */

typedef struct Finder {
    Arena *arena;
    const Graph *model;
    const int64_t *sizes;
    Stored *items;
    size_t count, capacity;
} Finder;

static void add_stored(Finder *f, const Node *n)
{
    bool seen[OP_COUNT] = {false};
    Text readers = text_new(f->arena);
    put_readers(&readers, f->model, n, seen);
    f->items = arena_room(f->arena, f->items, f->count, &f->capacity, sizeof *f->items);
    f->items[f->count++] = (Stored){.value = n,
                                    .writer = n->op == OP_get ? n->inputs[0] : n,
                                    .readers = readers.length ? readers.data : "nothing",
                                    .bytes = bytes_at(f->model, n->type, f->sizes),
                                    .times = layers_of(n)};
}

static void find_stored(Finder *f, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            find_stored(f, n->body);
        bool left_by_repeat = n->op == OP_repeat || (n->op == OP_get && n->inputs[0]->op == OP_repeat);
        if (n->type && n->place.kind == PLACE_ARENA && n->op != OP_carry && !left_by_repeat)
            add_stored(f, n);
    }
}

static int by_size(const void *a, const void *b)
{
    const Stored *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->value->id - y->value->id;
}

Account account_of(Arena *a, const Graph *loaded, const Graph *kernels, const int64_t *sizes)
{
    Account out = {.before = graph_cost(loaded, sizes), .after = graph_cost(kernels, sizes)};
    out.arena = plan_arena_bytes(kernels, sizes, &out.lower_bound);
    Finder f = {.arena = a, .model = kernels, .sizes = sizes};
    find_stored(&f, kernels);
    if (f.count)
        qsort(f.items, f.count, sizeof *f.items, by_size);
    for (size_t i = 0; i < f.count; i++)
        out.separate += f.items[i].bytes * (double)f.items[i].times;
    out.stored = f.items;
    out.n_stored = (int)f.count;
    return out;
}

Remark account_remark(Arena *a, const Stored *s)
{
    const char *why = arena_print(a, "written by %s, read by %s", op_info[s->writer->op].name, s->readers);
    return (Remark){.kind = REMARK_ANALYSIS,
                    .code = REMARK_MATERIALISED,
                    .pass = pass_info[PASS_ID_plan_memory].name,
                    .op = word_of(s->value),
                    .at = s->value->at,
                    .why = why,
                    .times = s->times,
                    .bytes_before = s->bytes,
                    .bytes_after = s->bytes};
}
