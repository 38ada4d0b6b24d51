/* cse: two nodes with the same op, attributes, type and inputs are one value.
 *
 * The later reader uses the earlier node; a node inside a repeat may use an equal one outside. Refuses what has
 * state, what is bound from outside (inputs, carried values), what @keep asks for, and everything with a body. */
#include "passes/inside.h"

static void put_extent(Text *out, Extent e)
{
    extent_print(e, out);
}

static void put_attr(Text *out, const Attr *a)
{
    text_add(out, "|%d=", (int)a->id);
    switch (attr_info[a->id].kind) {
    case ATTR_KIND_INT: text_add(out, "%lld", (long long)a->integer); break;
    case ATTR_KIND_FLOAT: text_add(out, "%a", a->real); break;
    case ATTR_KIND_BOOL: text_add(out, "%d", a->flag); break;
    case ATTR_KIND_NAME: text_add(out, "%s", a->name); break;
    case ATTR_KIND_EXTENT: put_extent(out, a->extent); break;
    case ATTR_KIND_NAMES:
        for (int i = 0; i < a->names.count; i++)
            text_add(out, "%s,", a->names.items[i]);
        break;
    case ATTR_KIND_INTS:
        for (int i = 0; i < a->ints.count; i++)
            text_add(out, "%lld,", (long long)a->ints.items[i]);
        break;
    case ATTR_KIND_FLOATS:
        for (int i = 0; i < a->floats.count; i++)
            text_add(out, "%a,", a->floats.items[i]);
        break;
    }
}

static bool has_layer_key(const Node *n)
{
    return n->op == OP_weight && depends_on_layer(n);
}

static bool may_merge(const Node *n)
{
    if (!n->type || n->body || is_kept(n) || node_has_state(n))
        return false;
    return n->op != OP_input && n->op != OP_carry && n->op != OP_param && n->op != OP_repeat;
}

/* Everything that makes the value what it is. Layer numbers mean something only in their own repeat. */
static const char *key_of(PassContext *px, const Node *n)
{
    Text key = text_new(px->cx->arena);
    text_add(&key, "%d:", (int)n->op);
    int first = 0, second = 1;
    if (op_info[n->op].flags & OPF_COMMUTES && n->inputs[0]->id > n->inputs[1]->id) {
        first = 1;
        second = 0;
    }
    for (int i = 0; i < n->n_inputs; i++)
        text_add(&key, "%d,", n->inputs[i == 0 ? first : i == 1 ? second : i]->id);
    for (int i = 0; i < n->n_attrs; i++)
        put_attr(&key, &n->attrs[i]);
    text_char(&key, ':');
    type_print(n->type, &key);
    if (n->op == OP_index || has_layer_key(n))
        text_add(&key, "@%d", n->graph->owner ? n->graph->owner->id : -1);
    return key.data;
}

typedef struct Scope {
    Map seen;
    const struct Scope *outer;
} Scope;

static Node *find(const Scope *s, const char *key)
{
    for (; s; s = s->outer) {
        Node *n = map_get(&s->seen, key);
        if (n)
            return n;
    }
    return NULL;
}

static bool merge_graph(PassContext *px, Graph *g, const Scope *outer)
{
    Scope scope = {map_new(px->cx->arena), outer};
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= merge_graph(px, n->body, &scope);
        if (!may_merge(n))
            continue;
        const char *key = key_of(px, n);
        Node *same = find(&scope, key);
        if (!same) {
            map_set(&scope.seen, key, n);
            continue;
        }
        node_replace(n, same);
        node_remove(n);
        changed = true;
    }
    return changed;
}

bool pass_cse(PassContext *px, Graph *model)
{
    return merge_graph(px, model, NULL);
}
