/* canonicalize: one spelling for each thing, so that later passes look for one.
 *
 * Every rule looks at one node and offers another node with the same value and type. Rules run until none applies;
 * each one lowers the number of nodes, the distance of a view from what it looks at, or the rank of an operator in
 * "formula > arithmetic > named operator", so this ends. What @keep asks for is left alone. */
#include "passes/inside.h"

enum { MAX_ROUNDS = 64 };

static Node *(*const rules[])(PassContext *px, Node *n) = {
    simplify_view, simplify_formula, simplify_softmax, simplify_lookup, simplify_mask, simplify_algebra,
};

static bool rewrite_node(PassContext *px, Node *n)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        Node *r = rules[i](px, n);
        if (!r)
            continue;
        if (r == n)
            return true;
        if (!type_equal(r->type, n->type))
            continue;
        inherit(r, n);
        node_replace(n, r);
        node_remove(n);
        return true;
    }
    return false;
}

static bool rewrite_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= rewrite_graph(px, n->body);
        if (n->type && !is_kept(n))
            changed |= rewrite_node(px, n);
    }
    return changed;
}

bool pass_canonicalize(PassContext *px, Graph *model)
{
    int before = model->next_id;
    bool changed = false;
    for (int round = 0; round < MAX_ROUNDS && rewrite_graph(px, model); round++) {
        changed = true;
        remove_dead(model);
    }
    if (model->next_id != before)
        changed |= remove_dead(model); /* rules that gave up half-way */
    return changed;
}
