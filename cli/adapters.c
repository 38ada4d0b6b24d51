/* Adapters for people: pairs whose modules differ in numbers alone, with equal sizes, are one row. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/adapters.h"

bool adapters_is_folder(Arena *a, const char *path)
{
    return access(arena_print(a, "%s/adapter_config.json", path), F_OK) == 0;
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

/* The Frobenius norm of scale * B A, from the small products of A with itself and of B with itself. */
static double update_norm(const AdapterSite *s)
{
    double sum = 0;
    for (int64_t k = 0; k < s->rank; k++)
        for (int64_t l = 0; l <= k; l++) {
            double aa = 0, bb = 0;
            for (int64_t i = 0; i < s->in; i++)
                aa += s->a[k * s->in + i] * s->a[l * s->in + i];
            for (int64_t o = 0; o < s->out; o++)
                bb += s->b[o * s->rank + k] * s->b[o * s->rank + l];
            sum += (k == l ? 1 : 2) * aa * bb;
        }
    return s->scale * sqrt(fmax(sum, 0));
}

static const MergedWeight *merged_weight(const Merge *m, const char *key)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->weights[i].key, key))
            return &m->weights[i];
    return NULL;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

typedef struct Row {
    const char *pattern; /* the module with # for its first number */
    const AdapterSite *site;
    int pairs;
    int64_t low, high; /* of that number; -1: none */
    double norm[2], share[2];
    bool known; /* shares */
} Row;

/* Where the first component that is a number begins, and its value; NULL if there is none. */
static const char *first_number(const char *module, int64_t *value)
{
    for (const char *c = module; *c; c += *c == '.') {
        size_t length = strcspn(c, ".");
        if (length && length < 10 && strspn(c, "0123456789") == length) {
            *value = atoll(c);
            return c;
        }
        c += length;
    }
    *value = -1;
    return NULL;
}

static const char *pattern_of(Arena *a, const AdapterSite *s, int64_t *number)
{
    const char *at = first_number(s->module, number);
    const char *module = at ? arena_print(a, "%.*s#%s", (int)(at - s->module), s->module, at + strspn(at, "0123456789")) : s->module;
    return arena_print(a, "%s %lld %lld %lld %.17g", module, (long long)s->in, (long long)s->out, (long long)s->rank, s->scale);
}

static void widen(double range[2], double value)
{
    range[0] = fmin(range[0], value);
    range[1] = fmax(range[1], value);
}

static Row *collect(Arena *a, const Adapter *adapter, const Merge *m, int *n)
{
    Row *rows = arena_array(a, (size_t)adapter->n_sites + 1, sizeof *rows);
    Map index = map_new(a);
    *n = 0;
    for (int i = 0; i < adapter->n_sites; i++) {
        const AdapterSite *s = &adapter->sites[i];
        int64_t number;
        const char *pattern = pattern_of(a, s, &number);
        size_t at = (size_t)(uintptr_t)map_get(&index, pattern);
        if (!at) {
            rows[*n] = (Row){pattern, s, 0, number, number, {INFINITY, 0}, {INFINITY, 0}, false};
            at = (size_t)++*n;
            map_set(&index, pattern, (void *)(uintptr_t)at);
        }
        Row *row = &rows[at - 1];
        const MergedWeight *w = merged_weight(m, s->key);
        row->pairs++;
        row->low = number < row->low ? number : row->low;
        row->high = number > row->high ? number : row->high;
        widen(row->norm, update_norm(s));
        if (w && w->kept.base > 0)
            widen(row->share, w->kept.update / w->kept.base);
        row->known |= w && w->kept.base > 0;
    }
    return rows;
}

static const char *print_module(Arena *a, const Row *r)
{
    int64_t number;
    const char *module = r->site->module, *at = first_number(module, &number);
    if (!at || r->low == r->high)
        return module;
    return arena_print(a, "%.*s{%lld..%lld}%s", (int)(at - module), module, (long long)r->low, (long long)r->high, at + strspn(at, "0123456789"));
}

static const char *print_range(Arena *a, const double range[2])
{
    return range[1] - range[0] < 0.005 * range[1] ? arena_print(a, "%.3g", range[1]) : arena_print(a, "%.3g..%.3g", range[0], range[1]);
}

static void print_rows(Tool *t, const Row *rows, int n, bool weights)
{
    Arena *a = &t->c.arena;
    printf("\n%-46s %5s %17s %5s %7s %7s  %-*s%s\n", "module", "pairs", "in -> out", "rank", "alpha", "scale", weights ? 16 : 0, "norm of update", weights ? "of the weight" : "");
    for (int i = 0; i < n; i++) {
        const AdapterSite *s = rows[i].site;
        printf("%-46s %5d %17s %5lld %7.4g %7.4g  %-*s%s\n", print_module(a, &rows[i]), rows[i].pairs,
               arena_print(a, "%lld -> %lld", (long long)s->in, (long long)s->out), (long long)s->rank, s->alpha, s->scale,
               rows[i].known ? 16 : 0, print_range(a, rows[i].norm), rows[i].known ? print_range(a, rows[i].share) : "");
    }
}

static void print_replaced(Tool *t, const Adapter *adapter)
{
    for (int i = 0; i < adapter->n_replaced; i++) {
        const AdapterTensor *r = &adapter->replaced[i];
        Text type = text_new(&t->c.arena);
        tensors_describe(&r->type, &type);
        printf("%s%-46s %s   %s\n", i ? "" : "\n", r->key, type.data, r->added ? "new" : "in the place of the base's");
    }
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static const char *kind_of(Arena *a, const Adapter *adapter)
{
    bool bias = false;
    for (int i = 0; i < adapter->n_sites; i++)
        bias |= adapter->sites[i].bias != NULL;
    return arena_print(a, "%s%s%s", adapter->dora ? "DoRA" : "LoRA", adapter->rslora ? ", alpha / sqrt(rank)" : ", alpha / rank", bias ? ", with biases" : "");
}

static void print_head(Tool *t, const Adapter *adapter)
{
    double numbers = 0, by_type[DT_COUNT] = {0};
    for (int i = 0; i < adapter->n_sites; i++) {
        const AdapterSite *s = &adapter->sites[i];
        numbers += (double)(s->rank * (s->in + s->out));
        by_type[s->dtype]++;
    }
    printf("%s: %s; %d pair%s of %s numbers", adapter->path, kind_of(&t->c.arena, adapter), adapter->n_sites, adapter->n_sites == 1 ? "" : "s",
           tool_count(&t->c.arena, numbers));
    for (int i = 0; i < DT_COUNT; i++)
        if (by_type[i] > 0)
            printf(", %s", dtype_name((DType)i));
    if (adapter->n_replaced)
        printf("; %d whole tensor%s", adapter->n_replaced, adapter->n_replaced == 1 ? "" : "s");
    printf("\n");
}

static double part(double of, double whole)
{
    return whole > 0 ? of / whole : 0;
}

static void print_loss(const char *type, const MergeLoss *l)
{
    printf("merged in %s: %.2g of the update's norm is lost, %.1f %% of its entries change nothing\n", type, part(l->error, l->update),
           100 * part(l->still, l->entries));
}

/* The base's types: one, or "bf16 and f32". */
static const char *stored_types(Arena *a, const Merge *m)
{
    const char *out = "";
    for (int k = 0; k < DT_COUNT; k++) {
        bool found = false;
        for (int i = 0; i < m->n; i++)
            found |= m->weights[i].stored == (DType)k;
        if (found)
            out = arena_print(a, "%s%s%s", out, *out ? " and " : "", dtype_name((DType)k));
    }
    return out;
}

static void print_losses(Tool *t, const Merge *m)
{
    MergeLoss kept = merge_total(m, false), stored = merge_total(m, true);
    const char *types = stored_types(&t->c.arena, m);
    printf("\nthe update is %.3g of the weights that it changes (up to %lld rows of each)\n", part(kept.update, kept.base), (long long)m->rows);
    print_loss("f32", &kept);
    if (strcmp(types, "f32") != 0)
        print_loss(arena_print(&t->c.arena, "%s, as the checkpoint stores them", types), &stored);
}

/* Merges into layers over c->checkpoint, for the figures. */
static bool measure(Tool *t, Merge *out)
{
    Compilation *c = &t->c;
    MergeOptions o = {.threads = 1};
    Checkpoint *next = adapters_replace(&c->cx, c->checkpoint, &c->adapters);
    if (!next)
        return false;
    c->checkpoint = next;
    next = merge_adapters(&c->cx, c->checkpoint, &c->adapters, &o, out);
    c->checkpoint = next ? next : c->checkpoint;
    return next != NULL;
}

bool adapters_inspect(Tool *t, const char *path, const char *weights)
{
    Compilation *c = &t->c;
    Merge merge = {0};
    const char *choices[] = {path, NULL};
    int n;
    if (weights && !(c->checkpoint = checkpoint_open(&c->cx, weights)))
        return false;
    if (!adapters_open(&c->cx, choices, c->checkpoint, &c->adapters) || (weights && !measure(t, &merge)))
        return false;
    const Adapter *adapter = c->adapters.items[0];
    Row *rows = collect(&c->arena, adapter, &merge, &n);
    print_head(t, adapter);
    if (n)
        print_rows(t, rows, n, weights != NULL);
    print_replaced(t, adapter);
    if (merge.n)
        print_losses(t, &merge);
    return true;
}

void adapters_report(Tool *t)
{
    const Merge *m = &t->c.merge;
    if (!m->n)
        return;
    MergeLoss kept = merge_total(m, false), stored = merge_total(m, true);
    const char *types = stored_types(&t->c.arena, m);
    printf("adapters    %d merged into %d weights, kept in %s; the update is %.2e of them, and rounding loses %.1e of it", t->c.adapters.n, m->n,
           m->stored ? types : "f32", part(kept.update, kept.base), part(kept.error, kept.update));
    if (!m->stored && strcmp(types, "f32") != 0)
        printf(" (in %s, as stored, %.2f)", types, part(stored.error, stored.update));
    printf("\n");
}
