/* Making nodes and asking about them: what every pass needs. */
#include <math.h>
#include <string.h>
#include "passes/inside.h"
#include "support/holes.h"

/* ---- making ------------------------------------------------------------------------------------------------------ */

void inherit(Node *n, const Node *from)
{
    if (!from)
        return;
    if (!n->name)
        n->name = from->name;
    if (!n->at.source)
        n->at = from->at;
    if (!n->via.source)
        n->via = from->via;
    if (!n->scope)
        n->scope = from->scope;
}

static Node *settle(PassContext *px, Node *n, const Type *declared)
{
    const char *reason = NULL;
    n->type = infer_type(px->cx, n, declared, &reason);
    if (!reason)
        return n;
    node_remove(n);
    return NULL;
}

Node *make_before(PassContext *px, Node *where, Op op, const Type *declared, int n_inputs, Node *const *inputs,
                  const Node *from)
{
    Node *n = node_before(px->cx, where, op, NULL, n_inputs, inputs);
    inherit(n, from);
    return settle(px, n, declared);
}

Node *make_over(PassContext *px, Node *where, Op op, const Type *declared, int n_inputs, Node *const *inputs,
                const char *const *over, int n_over, const Node *from)
{
    Node *n = node_before(px->cx, where, op, NULL, n_inputs, inputs);
    inherit(n, from);
    attr_set_names(px->cx, n, ATTR_over, over, n_over);
    return settle(px, n, declared);
}

Node *make_two(PassContext *px, Node *where, Op op, Node *a, Node *b)
{
    Node *inputs[] = {a, b};
    return make_before(px, where, op, NULL, 2, inputs, where);
}

Node *make_const(PassContext *px, Node *where, double value, DType dtype)
{
    Node *n = node_before(px->cx, where, OP_const, type_new(px->cx, dtype, 0, NULL), 0, NULL);
    attr_set_float(px->cx, n, ATTR_value, value);
    return n;
}

Node *make_get(PassContext *px, Node *where, Node *of, int index, const Node *from)
{
    Node *n = node_before(px->cx, where, OP_get, NULL, 1, &of);
    inherit(n, from);
    attr_set_int(px->cx, n, ATTR_index, index);
    return settle(px, n, NULL);
}

Node *make_transposed(PassContext *px, Node *where, Node *n, const Type *order)
{
    const Type *to = type_with_dtype(px->cx, order, n->type->dtype);
    if (type_equal(n->type, to))
        return n;
    Node *base = n->op == OP_transpose && !is_kept(n) ? n->inputs[0] : n;
    if (type_equal(base->type, to))
        return base;
    return make_before(px, where, OP_transpose, to, 1, &base, n);
}

void add_input(PassContext *px, Node *n, Node *input)
{
    n->inputs = arena_grow(px->cx->arena, n->inputs, (size_t)n->n_inputs, (size_t)n->n_inputs + 1, sizeof *n->inputs);
    n->inputs[n->n_inputs++] = input;
}

const char *word_of(const Node *n)
{
    return n->name && n->name[0] ? n->name : op_info[n->op].name;
}

const char *joined_name(PassContext *px, Node *const *nodes, int n)
{
    Text name = text_new(px->cx->arena);
    for (int j = 0; j < n && n <= 3; j++) {
        const char *word = word_of(nodes[j]), *end = strrchr(word, '.');
        bool numbered = end && end[1] && strspn(end + 1, "0123456789") == strlen(end + 1);
        text_add(&name, "%s%.*s", j ? "_" : "", numbered ? (int)(end - word) : (int)strlen(word), word);
    }
    if (!name.length || name.length > 24) {
        name = text_new(px->cx->arena);
        text_add(&name, "%s_and_%d", word_of(nodes[0]), n - 1);
    }
    return name_of(px->cx->names, name.data);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

bool is_const(const Node *n, double *value)
{
    if (n->op != OP_const)
        return false;
    *value = attr_float(n, ATTR_value, 0);
    return true;
}

bool is_masked(const Node *n)
{
    double c;
    return is_const(n, &c) && c == -INFINITY;
}

bool is_inline_leaf(const Node *n)
{
    return n->op == OP_const || n->op == OP_iota || n->op == OP_extent;
}

bool is_kept(const Node *n)
{
    return attr_bool(n, ATTR_keep, false);
}

bool is_map(const Node *n)
{
    return op_info[n->op].class == CLASS_MAP && n->op != OP_rotate;
}

int64_t layers_of(const Node *n)
{
    int64_t times = 1;
    for (const Graph *g = n->graph; g; g = g->parent)
        if (g->owner && g->owner->op == OP_repeat)
            times *= attr_int(g->owner, ATTR_count, 1);
    return times;
}

static int reads(const Node *reader, const Node *n);

static int reads_inside(const Graph *g, const Node *n)
{
    int count = 0;
    for (const Node *m = g->first; m; m = m->next)
        count += reads(m, n);
    for (int i = 0; i < g->n_results; i++)
        count += g->results[i].value == n;
    return count;
}

static int reads(const Node *reader, const Node *n)
{
    int count = 0;
    for (int i = 0; i < reader->n_inputs; i++)
        count += reader->inputs[i] == n;
    if (reader->body && reader->body->level != LEVEL_BODY)
        count += reads_inside(reader->body, n);
    return count;
}

bool read_as_result(const Node *n)
{
    for (int i = 0; i < n->graph->n_results; i++)
        if (n->graph->results[i].value == n)
            return true;
    return false;
}

bool is_read_in(const Node *n, const Graph *g)
{
    return reads_inside(g, n) > 0;
}

Node *first_reader_in(const Node *n, const Graph *g)
{
    for (Node *m = n->graph == g ? n->next : g->first; m; m = m->next)
        if (reads(m, n))
            return m;
    return NULL;
}

static Node *reader_at(Node *m, const Node *n)
{
    for (int i = 0; i < m->n_inputs; i++)
        if (m->inputs[i] == n)
            return m;
    for (Node *k = m->body && m->body->level != LEVEL_BODY ? m->body->first : NULL; k; k = k->next)
        if (reads(k, n))
            return reader_at(k, n);
    return NULL;
}

/* Stops at the second reader, so that it costs the distance to it. */
Node *only_reader(const Node *n)
{
    Node *found = NULL;
    if (read_as_result(n))
        return NULL;
    for (Node *m = n->next; m; m = m->next) {
        int count = reads(m, n);
        if (count > 1 || (count && found))
            return NULL;
        if (count)
            found = m;
    }
    return found ? reader_at(found, n) : NULL;
}

bool stands_before(const Node *a, const Node *b)
{
    const Node *after_a = a->next, *after_b = b->next;
    while (after_a || after_b) {
        if (after_a == b)
            return true;
        if (after_b == a)
            return false;
        if (after_a)
            after_a = after_a->next;
        if (after_b)
            after_b = after_b->next;
    }
    return false;
}

bool axes_within(const Type *part, const Type *whole)
{
    for (int i = 0; i < part->rank; i++) {
        int at = type_find(whole, part->axis[i].name);
        if (at < 0 || !extent_equal(whole->axis[at].size, part->axis[i].size))
            return false;
    }
    return true;
}

Node *below_transposes(Node *n)
{
    while (n->op == OP_transpose && !is_kept(n))
        n = n->inputs[0];
    return n;
}

bool reads_as_keys(const Node *reader, int i)
{
    return reader->op == OP_attend &&
           (i == 1 || (attr_bool(reader, ATTR_second, false) && i == reader->n_inputs - 1));
}

bool depends_on_layer(const Node *n)
{
    const char *key = n->op == OP_weight ? attr_name(n, ATTR_key) : NULL;
    if (key && hole_of_round(key))
        return true;
    return n->op == OP_index || n->op == OP_carry || node_has_state(n);
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

NodeSet nodeset_new(PassContext *px)
{
    return (NodeSet){.arena = px->cx->arena};
}

bool nodeset_has(const NodeSet *s, const Node *n)
{
    size_t word = (size_t)n->id / 64;
    return word < s->words && (s->bits[word] >> (n->id % 64) & 1);
}

bool nodeset_add(NodeSet *s, const Node *n)
{
    size_t word = (size_t)n->id / 64, words = 2 * word + 8;
    uint64_t bit = (uint64_t)1 << (n->id % 64);
    if (word >= s->words) {
        uint64_t *bits = arena_array(s->arena, words, sizeof *bits);
        if (s->words)
            memcpy(bits, s->bits, s->words * sizeof *bits);
        s->bits = bits;
        s->words = words;
    }
    bool fresh = !(s->bits[word] & bit);
    s->bits[word] |= bit;
    return fresh;
}

/* ---- dead values ------------------------------------------------------------------------------------------------- */

static bool has_state(const Node *n)
{
    if (node_has_state(n))
        return true;
    for (const Node *m = n->body ? n->body->first : NULL; m; m = m->next)
        if (has_state(m) || is_kept(m))
            return true;
    return false;
}

static bool may_go(const Node *n)
{
    return n->uses == 0 && n->op != OP_input && n->op != OP_index && n->op != OP_carry && n->op != OP_param &&
           !is_kept(n) && !has_state(n);
}

static void release(Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            n->inputs[i]->uses--;
        if (n->body)
            release(n->body);
    }
    for (int i = 0; i < g->n_results; i++)
        g->results[i].value->uses--;
}

static bool sweep(Graph *g)
{
    bool changed = false;
    for (Node *n = g->last, *before; n; n = before) {
        before = n->prev;
        if (may_go(n)) {
            for (int i = 0; i < n->n_inputs; i++)
                n->inputs[i]->uses--;
            if (n->body)
                release(n->body);
            node_remove(n);
            changed = true;
        } else if (n->body && n->body->level != LEVEL_BODY) {
            changed |= sweep(n->body);
        }
    }
    return changed;
}

bool remove_dead(Graph *model)
{
    graph_count_uses(model);
    return sweep(model);
}
