/* Merging adapters: which tensors change, and the layers of those that stand in their place. */
#include <string.h>

#include "driver/merge_inside.h"
#include "runtime/file.h"
#include "runtime/safetensors.h"

/* ---- which tensors change ---------------------------------------------------------------------------------------- */

typedef struct Plans {
    Context *cx;
    const Checkpoint *base;
    const MergeOptions *o;
    Target *targets;
    int n, room;
    Map index;
    Gains *gains; /* of all pairs of DoRA */
    int n_gains;
} Plans;

static Target *target_for(Plans *p, const Adapter *a, const char *key)
{
    size_t at = (size_t)(uintptr_t)map_get(&p->index, key);
    if (!at) {
        Target t = merge_target(p->base, key);
        t.origin = a->path;
        t.stored = p->o->stored;
        t.changes = arena_array(p->cx->arena, (size_t)p->room + 1, sizeof *t.changes);
        p->targets[p->n++] = t;
        at = (size_t)p->n;
        map_set(&p->index, key, (void *)(uintptr_t)at);
    }
    return &p->targets[at - 1];
}

static bool add_site(Plans *p, const Adapter *a, const AdapterSite *s)
{
    Target *t = target_for(p, a, s->key);
    Change c = {.weight = a->weight, .site = s, .bt = merge_turned(p->cx->arena, s)};
    if (s->magnitude) {
        double *gain = arena_array(p->cx->arena, (size_t)s->out + 1, sizeof *gain);
        merge_gains_begin(&p->gains[p->n_gains++], p->cx->arena, p->base, s, gain);
        c.gain = gain;
    }
    t->changes[t->n++] = c;
    if (!s->bias)
        return true;
    if (!s->bias_key) {
        Diag *d = diag_file_error(p->cx->diags, "E0688", a->path, arena_print(p->cx->arena, "module `%s`", file_shown(p->cx, s->module)),
                                  "the adapter adds a bias, and the checkpoint has none there");
        diag_note(d, "a merged model has the tensors of its base and no others");
        return false;
    }
    t = target_for(p, a, s->bias_key);
    t->changes[t->n++] = (Change){.weight = a->weight, .site = s, .bias = true};
    return true;
}

static void sum_one(void *items, int i)
{
    merge_gains_sum((Gains *)items + i);
}

static bool plan(Plans *p, const Adapters *all)
{
    int n = 0;
    for (int i = 0; i < all->n; i++)
        n += all->items[i]->n_sites;
    p->room = all->n;
    p->targets = arena_array(p->cx->arena, 2 * (size_t)n + 1, sizeof *p->targets);
    p->index = map_new(p->cx->arena);
    p->gains = arena_array(p->cx->arena, (size_t)n + 1, sizeof *p->gains);
    for (int i = 0; i < all->n; i++)
        for (int k = 0; k < all->items[i]->n_sites && all->items[i]->weight != 0; k++)
            if (!all->items[i]->sites[k].tied && !add_site(p, all->items[i], &all->items[i]->sites[k]))
                return false;
    merge_each(p->o->threads, p->n_gains, sum_one, p->gains);
    for (int i = 0; i < p->n_gains; i++)
        if (!merge_gains_finish(p->cx, &p->gains[i]))
            return false;
    return true;
}

/* ---- layers ------------------------------------------------------------------------------------------------------ */

Checkpoint *merge_adapters(Context *cx, Checkpoint *base, const Adapters *all, const MergeOptions *o, Merge *out)
{
    Plans p = {.cx = cx, .base = base, .o = o};
    *out = (Merge){.rows = MERGE_ROWS, .stored = o->stored};
    if (!plan(&p, all))
        return NULL;
    out->weights = arena_array(cx->arena, (size_t)p.n + 2, sizeof *out->weights); /* and a head */
    if (!merge_measure(cx, o->threads, p.targets, p.n, out))
        return NULL;
    if (!p.n)
        return base;
    MadeTensor *made = arena_array(cx->arena, (size_t)p.n, sizeof *made);
    for (int i = 0; i < p.n; i++)
        made[i] = merge_tensor(&p.targets[i], p.targets[i].key);
    return checkpoint_with(cx, base, made, p.n);
}

/* A pair of a tied head, with the table that the head reads. */
static bool add_head(Plans *p, const Adapter *a, const AdapterSite *s, const char *table, Target *t)
{
    AdapterSite *of = arena_alloc(p->cx->arena, sizeof *of);
    *of = *s;
    of->key = table;
    if (t->type.rank != 2 || s->out != t->type.dims[0] || s->in != t->type.dims[1]) {
        diag_file_error(p->cx->diags, "E0677", a->path, arena_print(p->cx->arena, "module `%s`", file_shown(p->cx, s->module)),
                        "the pair takes %lld inputs to %lld outputs, and the table that the head reads, `%s`, has %lld rows of %lld",
                        (long long)s->in, (long long)s->out, file_shown(p->cx, table), (long long)t->type.dims[0], (long long)t->row);
        return false;
    }
    Change c = {.weight = a->weight, .site = of};
    if (s->magnitude) {
        double *gain = arena_array(p->cx->arena, (size_t)s->out + 1, sizeof *gain);
        if (!adapter_gains(p->cx, p->base, of, gain))
            return false;
        c.gain = gain;
    }
    t->changes[t->n++] = c;
    t->origin = a->path;
    return true;
}

Checkpoint *merge_head(Context *cx, Checkpoint *top, const Checkpoint *base, const Adapters *all, const MergeOptions *o, const char *table,
                       const char *name, Merge *out)
{
    Plans p = {.cx = cx, .base = base, .o = o};
    Target *t = arena_alloc(cx->arena, sizeof *t);
    int n = 0;
    for (int i = 0; i < all->n; i++)
        n += all->items[i]->n_sites;
    *t = merge_target(base, table);
    t->origin = checkpoint_file(base, table);
    t->stored = o->stored;
    t->changes = arena_array(cx->arena, (size_t)n + 1, sizeof *t->changes);
    for (int i = 0; i < all->n; i++)
        for (int k = 0; k < all->items[i]->n_sites && all->items[i]->weight != 0; k++)
            if (all->items[i]->sites[k].tied && !add_head(&p, all->items[i], &all->items[i]->sites[k], table, t))
                return NULL;
    t->key = name;
    MadeTensor made = merge_tensor(t, name);
    if (!merge_measure(cx, o->threads, t, 1, out))
        return NULL;
    return checkpoint_with(cx, top, &made, 1);
}
