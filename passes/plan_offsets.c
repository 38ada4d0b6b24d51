/* Offsets: buffers whose sizes grow with the same product of run-time sizes share a region; within it, the largest
 * are placed first, each in the smallest gap between those placed buffers that live at the same time, or between which
 * and it the threads do not meet. */
#include "passes/plan.h"

#include <stdlib.h>
#include <string.h>
#include "support/checked.h"

enum { ALIGNMENT = 64, MAX_UNITS = 4, SEVERAL = 3, WHOLE_UNITS = 16 };

Buffer *buffer_root(Buffer *b)
{
    while (b->same)
        b = b->same;
    return b;
}

static int compare_units(Extent a, Extent b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    for (int i = 0; i < a.n; i++) {
        int order = strcmp(a.symbol[i]->name, b.symbol[i]->name);
        if (order)
            return order;
        if (a.factor[i] != b.factor[i])
            return a.factor[i] < b.factor[i] ? -1 : 1;
    }
    return a.base < b.base ? -1 : a.base > b.base;
}

static bool grow_together(Extent a, Extent b)
{
    for (int i = 0; i < a.n; i++)
        for (int k = 0; k < b.n; k++)
            if (a.symbol[i] == b.symbol[k])
                return true;
    return false;
}

/* A factor that another one grows with, as both axes of a matrix of positions do; -1 if there is none. */
static int squared(const Region *unit)
{
    for (int i = 0; i < unit->n; i++)
        for (int k = 0; k < i; k++)
            if (grow_together(unit->unit[i], unit->unit[k]))
                return i;
    return -1;
}

static int innermost(const Region *unit, const Type *t)
{
    int last = t->rank - 1, at = 0;
    while (extent_is_const(t->axis[last].size))
        last--;
    while (!extent_equal(unit->unit[at], t->axis[last].size))
        at++;
    return at;
}

/* The product of the units becomes a multiple of WHOLE_UNITS, which keys' panels are already. */
static void round_one(Region *unit, const Type *t)
{
    for (int i = 0; i < unit->n; i++)
        if (unit->round[i] % WHOLE_UNITS == 0)
            return;
    int at = squared(unit);
    unit->round[at < 0 ? innermost(unit, t) : at] = WHOLE_UNITS;
}

/* Constant bytes and symbolic factors of a value's buffer; keys in panels round their positions up.
 *
 * Every buffer starts at a multiple of 64 bytes. Bytes for each unit are rounded up to 64 where units are few, as in
 * B * S; where they are many (scores: B * S * T, a matrix of positions: S * S) one factor is rounded up instead. */
static bool size_of(const Node *n, Region *unit, int64_t *bytes)
{
    const char *keys = attr_name(n, ATTR_layout) ? attr_name(n, ATTR_keys) : NULL;
    *bytes = (int64_t)dtype_size(n->type->dtype);
    *unit = (Region){0};
    for (int i = 0; i < n->type->rank; i++) {
        Extent size = n->type->axis[i].size;
        int64_t round = keys && n->type->axis[i].name == keys ? KEY_PANEL : 1;
        if (extent_is_const(size)) {
            if (!checked_imul(*bytes, (size.base + round - 1) / round * round, bytes))
                return false;
            continue;
        }
        if (unit->n == MAX_UNITS)
            return false;
        int at = unit->n++;
        for (; at > 0 && compare_units(unit->unit[at - 1], size) > 0; at--) {
            unit->unit[at] = unit->unit[at - 1];
            unit->round[at] = unit->round[at - 1];
        }
        unit->unit[at] = size;
        unit->round[at] = round;
    }
    bool many = unit->n >= SEVERAL || squared(unit) >= 0;
    int64_t align = many ? ALIGNMENT / WHOLE_UNITS : ALIGNMENT;
    if (many)
        round_one(unit, n->type);
    if (!checked_iadd(*bytes, align - 1, bytes))
        return false;
    *bytes = *bytes / align * align;
    return true;
}

static int region_for(Memory *m, const Region *unit)
{
    Graph *g = m->model;
    for (int r = 0; r < g->n_regions; r++) {
        bool same = g->regions[r].n == unit->n;
        for (int i = 0; same && i < unit->n; i++)
            same = extent_equal(g->regions[r].unit[i], unit->unit[i]) && g->regions[r].round[i] == unit->round[i];
        if (same)
            return r;
    }
    g->regions =
        arena_grow(m->px->cx->arena, g->regions, (size_t)g->n_regions, (size_t)g->n_regions + 1, sizeof *g->regions);
    g->regions[g->n_regions] = *unit;
    return g->n_regions++;
}

/* No thread that writes the second may be while another still reads the first: all meet in between, in the round of
 * a repeat or in the next one. */
static bool meet_between(const Memory *m, const Need *first, const Need *second)
{
    if (m->exchanges[second->first] == m->exchanges[first->last])
        return false;
    for (const Node *n = m->model->first; n; n = n->next) {
        int begin = m->position[n->id], end = m->end[n->id];
        bool inside = n->op == OP_repeat && begin < first->first && second->last < end;
        if (inside && m->exchanges[end] - m->exchanges[second->last] + m->exchanges[first->first] == m->exchanges[begin])
            return false;
    }
    return true;
}

static bool together(const Memory *m, const Buffer *a, const Buffer *b)
{
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++) {
            if (a->need[i].first <= b->need[k].last && b->need[k].first <= a->need[i].last)
                return true;
            bool before = a->need[i].first < b->need[k].first;
            if (!meet_between(m, before ? &a->need[i] : &b->need[k], before ? &b->need[k] : &a->need[i]))
                return true;
        }
    return false;
}

static int larger_first(const void *a, const void *b)
{
    const Buffer *x = *(Buffer *const *)a, *y = *(Buffer *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->node->id - y->node->id;
}

/* The smallest gap that fits between the neighbours in time, or the end. `placed` is sorted by nothing: gaps are
 * found from offset 0 upwards. */
static int64_t best_gap(const Memory *m, Buffer *const *placed, int n, const Buffer *b)
{
    int64_t best = -1, best_room = INT64_MAX, at = 0;
    for (;;) {
        int64_t next = INT64_MAX, after = at;
        for (int i = 0; i < n; i++) {
            if (!together(m, placed[i], b) || placed[i]->region != b->region)
                continue;
            int64_t end = placed[i]->offset + placed[i]->bytes;
            if (placed[i]->offset <= at && end > after)
                after = end;
            if (placed[i]->offset > at && placed[i]->offset < next)
                next = placed[i]->offset;
        }
        if (after > at) { /* something lies here */
            at = after;
            continue;
        }
        int64_t room = next == INT64_MAX ? INT64_MAX : next - at;
        if (room >= b->bytes && (room < best_room || best < 0)) {
            best = at;
            best_room = room;
        }
        if (next == INT64_MAX)
            return best;
        at = next;
    }
}

static bool needed_at(const Buffer *b, int position)
{
    for (int i = 0; i < b->n; i++)
        if (b->need[i].first <= position && position <= b->need[i].last)
            return true;
    return false;
}

static void bound_regions(Memory *m, Buffer *const *list, int n)
{
    Graph *g = m->model;
    for (int r = 0; r < g->n_regions; r++)
        for (int p = 0; p < m->n_positions; p++) {
            int64_t alive = 0;
            for (int i = 0; i < n; i++)
                if (list[i]->region == r && needed_at(list[i], p))
                    alive += list[i]->bytes;
            if (alive > g->regions[r].lower_bound)
                g->regions[r].lower_bound = alive;
        }
}

bool place_buffers(Memory *m)
{
    Buffer **list = arena_array(m->px->cx->arena, (size_t)m->n + 1, sizeof *list);
    int n = 0;
    for (int i = 0; i < m->n; i++) {
        Buffer *b = &m->buffers[i];
        Region unit;
        if (b->same || b->output >= 0)
            continue;
        if (!size_of(b->node, &unit, &b->bytes))
            return false;
        b->region = region_for(m, &unit);
        list[n++] = b;
    }
    qsort(list, (size_t)n, sizeof *list, larger_first);
    for (int i = 0; i < n; i++) {
        Region *r = &m->model->regions[list[i]->region];
        list[i]->offset = best_gap(m, list, i, list[i]);
        if (list[i]->offset + list[i]->bytes > r->peak)
            r->peak = list[i]->offset + list[i]->bytes;
    }
    bound_regions(m, list, n);
    return true;
}
