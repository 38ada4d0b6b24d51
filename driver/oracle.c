/* Oracle: runs the interpreter with the checkpoint's weights and the same call sequence as a session. */
#include <string.h>

#include "driver/oracle.h"
#include "driver/signature.h"

void oracle_begin(Oracle *o, Compilation *c, const Graph *graph)
{
    *o = (Oracle){.c = c, .graph = graph};
    o->work.on_oom = o->kept.on_oom = c->arena.on_oom;
    o->work.oom_state = o->kept.oom_state = c->arena.oom_state;
}

void oracle_free(Oracle *o)
{
    arena_free(&o->work);
    arena_free(&o->kept);
}

static bool read_weight(void *state, const char *key, double *out, int64_t count)
{
    Oracle *o = state;
    Compilation *c = o->c;
    const char *stored = model_key(&c->cx, &c->model, key, -1);
    return c->checkpoint && checkpoint_find(c->checkpoint, stored) &&
           checkpoint_read_f64(&c->cx, c->checkpoint, stored, 0, count, out);
}

static void keep_value(void *state, const Node *n, int64_t round, const Value *v)
{
    Oracle *o = state;
    if (round + 1 >= o->rounds)
        return;
    Value *copy = arena_alloc(&o->kept, sizeof *copy);
    *copy = *v;
    copy->data = arena_array(&o->kept, (size_t)v->count + 1, sizeof *copy->data);
    memcpy(copy->data, v->data, (size_t)v->count * sizeof *copy->data);
    if (!o->values[n->id])
        o->values[n->id] = arena_array(&o->kept, (size_t)o->rounds, sizeof **o->values);
    o->values[n->id][round + 1] = copy;
}

/* How often what stands deepest in repeats runs; a budget of operations bounds it when the model is read. */
static int64_t most_rounds(const Graph *g)
{
    int64_t most = 0;
    for (const Node *n = g->first; n; n = n->next)
        if (n->op == OP_repeat) {
            int64_t inside = most_rounds(n->body), here = attr_int(n, ATTR_count, 0) * (inside > 1 ? inside : 1);
            most = here > most ? here : most;
        }
    return most;
}

static const int64_t *graph_sizes(Oracle *o, const int64_t *sizes)
{
    int64_t *mine = arena_array(&o->work, (size_t)o->graph->n_symbols + 1, sizeof *mine);
    signature_for_graph(&o->c->emitted.plan, o->graph, sizes, mine);
    return mine;
}

static const HostTensor *graph_inputs(Oracle *o, const HostTensor *inputs, int n_inputs)
{
    HostTensor *mine = arena_array(&o->work, (size_t)o->graph->n_params + 1, sizeof *mine);
    for (int i = 0; i < o->graph->n_params; i++)
        for (int k = 0; k < n_inputs; k++)
            if (!strcmp(inputs[k].name, o->graph->params[i]->name))
                mine[i] = inputs[k];
    return mine;
}

Value *oracle_run(Oracle *o, const int64_t *sizes, const HostTensor *inputs, int n_inputs, bool keep)
{
    arena_free(&o->work);
    const int64_t *mine = graph_sizes(o, sizes);
    if (o->graph->n_caches && !o->caches)
        o->caches = interpret_caches(o->graph, mine, &o->kept);
    if (keep) {
        o->rounds = most_rounds(o->graph) + 1;
        o->values = arena_array(&o->kept, (size_t)o->graph->next_id + 1, sizeof *o->values);
    }
    Bindings b = {.sizes = mine,
                  .inputs = graph_inputs(o, inputs, n_inputs),
                  .weight = read_weight,
                  .weight_state = o,
                  .caches = o->caches,
                  .tap = keep ? keep_value : NULL,
                  .tap_state = o};
    return interpret(&o->c->cx, o->graph, &b, &o->work);
}

const Value *oracle_value(const Oracle *o, const Node *n, int64_t round)
{
    bool known = o->values && round + 1 < o->rounds && o->values[n->id];
    return known ? o->values[n->id][round + 1] : NULL;
}
