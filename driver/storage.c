/* Marking weights with the type that the checkpoint stores them in (storage.h). A tensor made at compile time (an adapter merged, a factor) is f32, and
 * so is a weight of which one layer alone is one: a packed weight has one type. */
#include "driver/storage.h"
#include "support/holes.h"

static int64_t rounds_around(const Node *n)
{
    for (const Graph *g = n->graph; g && g->owner; g = g->parent)
        if (g->owner->op == OP_repeat)
            return attr_int(g->owner, ATTR_count, 1);
    return 1;
}

/* The type of all its tensors; f32 if they differ or one is missing. */
static DType common_type(Compilation *c, const Node *weight)
{
    const char *key = model_key(&c->cx, &c->model, attr_name(weight, ATTR_key), -1);
    int64_t rounds = hole_of_round(key) ? rounds_around(weight) : 1, stack = attr_int(weight, ATTR_stack, 0), many = stack ? stack : 1;
    DType common = DT_F32;
    for (int64_t i = 0; i < rounds * many; i++) {
        const HostTensor *t = checkpoint_find(c->checkpoint, hole_fill(&c->arena, key, i / many, i % many));
        if (!t || t->rank < 2 || (i && t->dtype != common))
            return DT_F32;
        common = t->dtype;
    }
    return common == DT_BF16 || common == DT_F16 ? common : DT_F32;
}

void storage_mark(Compilation *c, Graph *g, bool wide)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            storage_mark(c, n->body, wide);
        if (n->op != OP_weight || n->type->dtype != DT_F32)
            continue;
        DType t = c->checkpoint && !wide ? common_type(c, n) : DT_F32;
        if (t != DT_F32)
            attr_set_name(&c->cx, n, ATTR_storage, dtype_name(t));
        else
            attr_unset(&c->cx, n, ATTR_storage);
    }
}
