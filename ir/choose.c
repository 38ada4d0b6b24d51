/* choose: one of two equal values, whichever is cheaper to compute for the sizes at hand. What only the other one
 * needs is not computed. */
#include "ir/interpret.h"

bool choose_takes_few(const Node *choose, const int64_t *sizes)
{
    const Graph *model = graph_model(choose->graph);
    const Attr *start = node_attr(choose, ATTR_start);
    double rows = (double)extent_value(node_attr(choose, ATTR_size)->extent, model, sizes);
    double before = start ? (double)extent_value(start->extent, model, sizes) : 0;
    return rows * (before + rows) <= attr_float(choose, ATTR_value, 0) * before;
}

/* May it be left out if nobody needs the value? */
static bool can_wait(const Node *n)
{
    return n->op != OP_repeat && n->op != OP_input && n->op != OP_carry && n->op != OP_index &&
           !node_has_state(n) && !attr_bool(n, ATTR_keep, false);
}

/* Goes backwards from `choose`: a node whose every use is by one side belongs to that side. */
static void mark_sides(const Node *choose, int *reads[2], Chooser *of)
{
    for (int side = 0; side < 2; side++)
        reads[side][choose->inputs[side]->id]++;
    for (const Node *n = choose->prev; n; n = n->prev) {
        for (int side = 0; side < 2; side++) {
            if (n->uses == 0 || reads[side][n->id] != n->uses || !can_wait(n))
                continue;
            if (!of[n->id].choose)
                of[n->id] = (Chooser){choose, side == 0};
            for (int i = 0; i < n->n_inputs; i++)
                reads[side][n->inputs[i]->id]++;
        }
    }
}

Chooser *choosers_of(Arena *arena, const Graph *g)
{
    const Graph *model = g;
    while (model->parent)
        model = model->parent;
    size_t ids = (size_t)model->next_id + 1;
    Chooser *of = arena_array(arena, ids, sizeof *of);
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op != OP_choose)
            continue;
        int *reads[2] = {arena_array(arena, ids, sizeof **reads), arena_array(arena, ids, sizeof **reads)};
        mark_sides(n, reads, of);
    }
    return of;
}
