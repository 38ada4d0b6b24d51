/* Groups: a root and the producers that are computed with it, element by element or row by row, in one kernel.
 *
 * A group starts as its root and takes in producers that nobody outside reads (or whose value can be one more
 * result), as long as the whole stays one of three kinds:
 *     map      elementwise and lookups on the axes of the root
 *     rowwise  the same, and reductions over the last axis
 *     reduce   reductions over axes that are not the last, elementwise around them
 * A producer with fewer axes would be computed again and again: only cheap ones come in. */
#include "passes/inside.h"

static bool is_reduction(const Node *n)
{
    return op_info[n->op].class == CLASS_REDUCE;
}

bool group_absorbs(const Node *n)
{
    return n->type && n->graph->level != LEVEL_BODY &&
           (is_map(n) || is_reduction(n) || n->op == OP_softmax || n->op == OP_gather);
}

static const char *last_axis(const Type *t)
{
    return t->rank ? t->axis[t->rank - 1].name : NULL;
}

static bool has_over(const Group *g, const char *name)
{
    for (int i = 0; i < g->n_over; i++)
        if (g->over[i] == name)
            return true;
    return false;
}

static bool same_over(const Group *g, const Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    if (over->names.count != g->n_over)
        return false;
    for (int i = 0; i < over->names.count; i++)
        if (!has_over(g, over->names.items[i]))
            return false;
    return true;
}

static bool is_member(const Group *g, const Node *n)
{
    for (int i = 0; i < g->n_members; i++)
        if (g->members[i] == n)
            return true;
    return false;
}

/* ---- kinds ------------------------------------------------------------------------------------------------------- */

static void set_over(Group *g, Op kind, const Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    g->kind = kind;
    g->n_over = over->names.count;
    for (int i = 0; i < over->names.count; i++)
        g->over[i] = over->names.items[i];
}

/* Adds the summed axes of n's input to the loops; false if there are too many. */
static bool widen(Group *g, const Node *n)
{
    for (int i = 0; i < g->n_over; i++) {
        if (type_find(&g->domain, g->over[i]) >= 0)
            continue;
        if (g->domain.rank == MAX_RANK)
            return false;
        g->domain.axis[g->domain.rank++] = n->inputs[0]->type->axis[type_find(n->inputs[0]->type, g->over[i])];
    }
    return true;
}

bool group_start(PassContext *px, Node *root, Group *g)
{
    if (!group_absorbs(root) && root->op != OP_rotate)
        return false;
    *g = (Group){.px = px,
                 .kind = OP_map,
                 .root = root,
                 .members = {root},
                 .n_members = 1,
                 .results = {root},
                 .n_results = 1,
                 .domain = *root->type};
    const char *last = root->n_inputs ? last_axis(root->inputs[0]->type) : NULL;
    if (root->op == OP_softmax) {
        set_over(g, OP_rowwise, root);
        return g->over[0] == last;
    }
    if (!is_reduction(root))
        return true;
    set_over(g, attr_has_name(root, ATTR_over, last) ? OP_rowwise : OP_reduce, root);
    return widen(g, root) && (g->kind == OP_reduce || g->n_over == 1);
}

/* ---- what may come in -------------------------------------------------------------------------------------------- */

static bool is_costly(const Node *n)
{
    switch (n->op) {
    case OP_pow:
    case OP_exp:
    case OP_log:
    case OP_tanh:
    case OP_erf:
    case OP_sin:
    case OP_cos:
    case OP_sigmoid:
    case OP_silu:
    case OP_gelu:
    case OP_gelu_tanh: return true;
    default: return false;
    }
}

/* A reduction that belongs to another group is best left with the operators that finish it. */
static bool finishes_other_reduction(const Group *g, const Node *n)
{
    for (int i = 0; i < n->n_inputs; i++) {
        const Node *p = n->inputs[i];
        if (is_reduction(p) && !is_member(g, p) && !same_over(g, p))
            return true;
    }
    return false;
}

/* Elementwise: its axes are loops of the kernel, and it is not repeated along others unless it is cheap. One number
 * a row is not repeated. */
static bool fits_map(const Group *g, const Node *n)
{
    if (!axes_within(n->type, &g->domain))
        return false;
    if (g->kind == OP_rowwise && finishes_other_reduction(g, n))
        return false;
    if (g->kind == OP_rowwise && type_find(n->type, g->over[0]) < 0)
        return n->type->rank == g->domain.rank - 1 || !is_costly(n);
    return n->type->rank == g->domain.rank || !is_costly(n);
}

/* n is read as a table by a member: then it stays a value in memory. */
static bool is_table(const Group *g, const Node *n)
{
    for (int i = 0; i < g->n_members; i++)
        if (g->members[i]->op == OP_gather && g->members[i]->inputs[0] == n)
            return true;
    return false;
}

/* Whole rows are looked up along the vectors: in a reduce the axis that is left, not the ones summed. */
static bool fits_gather(const Group *g, const Node *n)
{
    const char *last = last_axis(n->type), *vectors = last_axis(g->kind == OP_reduce ? g->root->type : &g->domain);
    return last && last == last_axis(n->inputs[0]->type) && last == vectors && axes_within(n->type, &g->domain);
}

/* The first reduction decides what the group is: over the row, or over other axes. */
static bool turns_into(Group *g, const Node *n)
{
    const Type *in = n->inputs[0]->type;
    const Attr *over = node_attr(n, ATTR_over);
    const char *last = last_axis(in);
    bool row = over->names.count == 1 && over->names.items[0] == last;
    if (row && last == last_axis(&g->domain)) {
        if (!axes_within(in, &g->domain))
            return false;
        set_over(g, OP_rowwise, n);
        return true;
    }
    if (!type_same_axes(n->type, &g->domain))
        return false;
    if (!row && attr_has_name(n, ATTR_over, last))
        return false;
    for (int i = 0; i < over->names.count; i++)
        if (type_find(&g->domain, over->names.items[i]) >= 0)
            return false;
    Group before = *g;
    set_over(g, row ? OP_rowwise : OP_reduce, n);
    if (widen(g, n) && axes_within(in, &g->domain))
        return true;
    *g = before;
    return false;
}

static bool fits_reduction(Group *g, const Node *n)
{
    if (g->kind == OP_map)
        return turns_into(g, n);
    return same_over(g, n) && axes_within(n->inputs[0]->type, &g->domain);
}

static bool fits_softmax(Group *g, const Node *n)
{
    const char *row = node_attr(n, ATTR_over)->names.items[0];
    if (row != last_axis(&g->domain) || row != last_axis(n->type) || !axes_within(n->type, &g->domain))
        return false;
    if (g->kind == OP_rowwise)
        return same_over(g, n);
    if (g->kind != OP_map)
        return false;
    set_over(g, OP_rowwise, n);
    return true;
}

static bool fits(Group *g, const Node *n)
{
    if (n->op == OP_softmax)
        return fits_softmax(g, n);
    if (is_reduction(n))
        return fits_reduction(g, n);
    return n->op == OP_gather ? fits_gather(g, n) : fits_map(g, n);
}

/* ---- growing ----------------------------------------------------------------------------------------------------- */

/* 0: read by members only; 1: also by nodes after the root, so that it can be a result; 2: by something before. */
static int outside_readers(const Group *g, const Node *n)
{
    int found = read_as_result(n) ? 1 : 0;
    bool after = false;
    for (const Node *r = n->next; r; r = r->next) {
        for (int i = 0; i < r->n_inputs; i++)
            if (r->inputs[i] == n && !is_member(g, r)) {
                if (!after)
                    return 2;
                found = 1;
            }
        if (r->body && r->body->level != LEVEL_BODY && is_read_in(n, r->body)) {
            if (!after)
                return 2;
            found = 1;
        }
        after |= r == g->root;
    }
    return found;
}

static bool can_be_result(const Group *g, const Node *n)
{
    if (g->n_results == MAX_REGION_RESULTS || g->kind == OP_reduce || !is_map(n) || n->type->dtype != DT_F32)
        return false;
    return type_equal(type_with_dtype(g->px->cx, g->root->type, DT_F32), n->type);
}

/* A reader of n outside the group that can be computed beside the root: cos and sin of one angle. */
static bool is_sibling(const Group *g, const Node *r, const Node *n)
{
    if (g->kind != OP_map || !is_map(r) || is_kept(r) || !type_equal(r->type, g->root->type) ||
        !stands_before(g->root, r))
        return false;
    for (int i = 0; i < r->n_inputs; i++) {
        const Node *in = r->inputs[i];
        bool ready = in == n || is_member(g, in) || is_inline_leaf(in) || in->graph != g->root->graph ||
                     stands_before(in, g->root);
        if (!ready)
            return false;
    }
    return true;
}

/* Makes all readers of n outside the group results of it; false if one of them cannot be. */
static bool take_siblings(Group *g, const Node *n)
{
    Node *found[MAX_REGION_RESULTS];
    int count = 0;
    if (read_as_result(n))
        return false;
    for (Node *r = n->next; r; r = r->next) {
        bool reads = r->body && r->body->level != LEVEL_BODY && is_read_in(n, r->body);
        if (reads)
            return false;
        for (int i = 0; i < r->n_inputs && !reads; i++)
            reads = r->inputs[i] == n && !is_member(g, r);
        if (!reads)
            continue;
        if (g->n_results + count == MAX_REGION_RESULTS || g->n_members + count == MAX_REGION || !is_sibling(g, r, n))
            return false;
        found[count++] = r;
    }
    for (int i = 0; i < count; i++)
        g->members[g->n_members++] = g->results[g->n_results++] = found[i];
    return true;
}

static bool take_in(Group *g, Node *n)
{
    if (n->graph != g->root->graph || is_member(g, n) || is_kept(n) || !group_absorbs(n) || is_table(g, n) ||
        g->n_members == MAX_REGION)
        return false;
    int outside = outside_readers(g, n);
    if (outside == 1 && is_map(n) && fits(g, n) && take_siblings(g, n))
        outside = 0;
    if (outside == 2 || (outside == 1 && !can_be_result(g, n)))
        return false;
    if (!fits(g, n))
        return false;
    g->members[g->n_members++] = n;
    if (outside == 1)
        g->results[g->n_results++] = n;
    return true;
}

void group_grow(Group *g)
{
    if (g->root->op == OP_rotate)
        return;
    for (bool more = true; more;) {
        more = false;
        for (int m = 0; m < g->n_members; m++)
            for (int i = 0; i < g->members[m]->n_inputs && g->members[m]->op != OP_gather; i++)
                more |= take_in(g, g->members[m]->inputs[i]);
    }
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

static bool inside(void *state, const Node *n)
{
    return is_member(state, n);
}

Node *group_build(Group *g)
{
    PassContext *px = g->px;
    Node *kernel = kernel_before(px, g->root, g->kind, g->root);
    if (g->n_over)
        attr_set_names(px->cx, kernel, ATTR_over, g->over, g->n_over);
    if (g->n_results > 1)
        kernel->name = joined_name(px, g->results, g->n_results);
    Builder b = builder_new(px, kernel, inside, g);
    for (int r = 0; r < g->n_results; r++)
        graph_add_result(px->cx, kernel->body, NULL, builder_value(&b, g->results[r]), g->results[r]->at);
    kernel_finish(px, kernel);
    for (int r = 0; r < g->n_results; r++) {
        Node *old = g->results[r], *value = g->n_results == 1 ? kernel : make_get(px, g->root, kernel, r, old);
        if (is_kept(old)) {
            attr_set_bool(px->cx, value, ATTR_keep, true);
            attr_set_bool(px->cx, old, ATTR_keep, false); /* it may go */
        }
        node_replace(old, make_transposed(px, g->root, value, old->type));
    }
    return kernel;
}

/* The operand of the group that has all axes of the value: what the append reads in place of it. */
static Node *main_operand(const Group *g)
{
    if (g->root->op == OP_rotate)
        return g->root->inputs[0];
    for (int m = g->n_members - 1; m >= 0; m--)
        for (int i = 0; i < g->members[m]->n_inputs; i++) {
            Node *in = g->members[m]->inputs[i];
            if (!is_member(g, in) && !is_inline_leaf(in) && type_same_axes(in->type, g->root->type))
                return in;
        }
    return NULL;
}

Node *group_build_append(Group *g, Node *append)
{
    PassContext *px = g->px;
    Node *first = main_operand(g);
    if (!first)
        return NULL;
    Node *fused = kernel_before(px, append, OP_append, append);
    attrs_copy(px->cx, fused, append);
    Builder b = builder_new(px, fused, inside, g);
    builder_input(&b, first);
    add_input(px, fused, append->inputs[1]);
    graph_add_result(px->cx, fused->body, NULL, builder_value(&b, g->root), g->root->at);
    fused->type = append->type;
    return fused;
}
