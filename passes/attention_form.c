/* The usual form of attention, before it is matched: no view stands between the scores and the product with the values.
 *
 *     merges and new names move down, towards the values:   f(merge(s), b)     ->  merge(f(s, split(b)))
 *     splits move up, towards queries and keys:             split(f(s, b))     ->  f(split(s), split(b))
 *     repeated heads are shared heads:                      dot(q, repeat(k))  ->  merge(dot(split(q), k))
 *     scores of two lots of keys are the scores of both:    concat(dot(q, k1), dot(q, k2))  ->  dot(q, concat(k1, k2))
 *     weights cut into the same lots:                       dot(p1, v1) + dot(p2, v2)       ->  dot(p, concat(v1, v2))
 *
 * where merge(repeat) is what `repeat_kv` writes: view(expand(k)). What meets half-way is gone. Views cost nothing, so
 * nothing is lost if the match fails afterwards. A value that is also read elsewhere stays where it is. */
#include "passes/attention.h"
#include "passes/views.h"

enum { MAX_CONE = 128, MAX_STEPS = 64 };

typedef struct Form {
    PassContext *px;
    Node *softmax;
    const char *keys;
    Node *node[MAX_CONE]; /* what lies between the scores and the values, both products included */
    int n;
    Node *operand[MAX_CONE]; /* what is computed for each query and key and meets the scores: biases, masks */
    int n_operands;
} Form;

/* ---- what lies between ------------------------------------------------------------------------------------------- */

static bool add(Form *f, Node *n)
{
    for (int i = 0; i < f->n; i++)
        if (f->node[i] == n)
            return true;
    if (f->n == MAX_CONE)
        return false;
    f->node[f->n++] = n;
    return true;
}

static bool between(const Form *f, const Node *n)
{
    for (int i = 0; i < f->n; i++)
        if (f->node[i] == n)
            return true;
    return false;
}

/* Adds n if scores are below it. */
static bool collect_above(Form *f, NodeSet *seen, Node *n)
{
    bool passes = is_map(n) || op_info[n->op].class == CLASS_VIEW || n->op == OP_concat, found = is_score(n);
    if (n->graph != f->softmax->graph || !nodeset_add(seen, n))
        return between(f, n);
    for (int i = 0; passes && i < n->n_inputs; i++)
        found |= collect_above(f, seen, n->inputs[i]);
    return found && add(f, n);
}

/* Adds what reads n: through views to the products, and the sum of two products. */
static void collect_below(Form *f, Node *n)
{
    for (Node *r = n->next; r; r = r->next)
        for (int i = 0; i < r->n_inputs; i++) {
            if (r->inputs[i] != n || (n->op == OP_dot && r->op != OP_add) || !add(f, r))
                continue;
            if (op_info[r->op].class == CLASS_VIEW || (r->op == OP_dot && n->op == OP_slice))
                collect_below(f, r);
        }
}

static void collect_operand(Form *f, Node *n)
{
    bool passes = is_map(n) || op_info[n->op].class == CLASS_VIEW || n->op == OP_gather;
    if (!passes || between(f, n) || n->graph != f->softmax->graph || type_find(n->type, f->keys) < 0)
        return;
    for (int i = 0; i < f->n_operands; i++)
        if (f->operand[i] == n)
            return;
    if (f->n_operands == MAX_CONE)
        return;
    f->operand[f->n_operands++] = n;
    for (int i = 0; i < n->n_inputs; i++)
        collect_operand(f, n->inputs[i]);
}

static bool collect(Form *f)
{
    f->n = f->n_operands = 0;
    NodeSet seen = nodeset_new(f->px);
    if (!collect_above(f, &seen, f->softmax->inputs[0]))
        return false;
    add(f, f->softmax);
    collect_below(f, f->softmax);
    for (int i = 0; i < f->n; i++)
        for (int k = 0; is_map(f->node[i]) && k < f->node[i]->n_inputs; k++)
            collect_operand(f, f->node[i]->inputs[k]);
    return true;
}

/* ---- what a view does -------------------------------------------------------------------------------------------- */

static bool only_joins(const Change *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->part[i].n_out != 1)
            return false;
    return true;
}

static bool only_splits(const Change *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->part[i].n_in != 1)
            return false;
    return true;
}

/* What `reader` reads as n, below transposes; NULL if somebody else reads it or one of them too. */
static Node *read_alone(Node *n, const Node *reader)
{
    while (!is_kept(n) && n->graph == reader->graph && only_reader(n) == reader) {
        if (n->op != OP_transpose)
            return n;
        reader = n;
        n = n->inputs[0];
    }
    return NULL;
}

/* The type with axes of one side of the change replaced by those of the other; NULL if names would meet. */
static const Type *turned_type(const Change *c, const Type *t, bool back)
{
    Type out = {.dtype = t->dtype};
    for (int i = 0; i < t->rank; i++) {
        const Part *part = NULL;
        for (int k = 0; k < c->n && !part; k++) {
            const Axis *a = back ? &c->to->axis[c->part[k].out] : &c->from->axis[c->part[k].in];
            if (!c->part[k].same && a->name == t->axis[i].name)
                part = &c->part[k];
        }
        int n = !part ? 1 : back ? part->n_in : part->n_out;
        for (int j = 0; j < n; j++) {
            if (out.rank == MAX_RANK)
                return NULL;
            out.axis[out.rank++] = !part ? t->axis[i] : back ? c->from->axis[part->in + j] : c->to->axis[part->out + j];
        }
    }
    for (int i = 0; i < out.rank; i++)
        if (type_find(&out, out.axis[i].name) != i)
            return NULL;
    return type_new(c->px->cx, out.dtype, out.rank, out.axis);
}

/* The value with its axes as before the change (back) or as after it. */
static Node *turned(const Change *c, Node *where, Node *n, bool back)
{
    const Type *to = turned_type(c, n->type, back);
    if (!to)
        return NULL;
    return type_equal(to, n->type) ? n : make_before(c->px, where, OP_view, to, 1, &n, n);
}

/* The axes named in `over` after the change; false if one of them is joined with others or cut. */
static bool turned_over(const Change *c, const Attr *over, bool back, const char **out)
{
    for (int i = 0; i < over->names.count; i++) {
        out[i] = over->names.items[i];
        for (int k = 0; k < c->n; k++) {
            const Part *p = &c->part[k];
            const Axis *a = back ? &c->to->axis[p->out] : &c->from->axis[p->in];
            if (p->same || a->name != out[i])
                continue;
            if (p->n_in != 1 || p->n_out != 1)
                return false;
            out[i] = back ? c->from->axis[p->in].name : c->to->axis[p->out].name;
            break;
        }
    }
    return true;
}

/* n again, with its inputs turned; NULL if that cannot be. */
static Node *turned_node(const Change *c, Node *n, bool back)
{
    Node *inputs[3];
    const char *over[MAX_RANK];
    const Attr *axes = node_attr(n, ATTR_over);
    const Type *to = turned_type(c, n->type, back);
    if (!to || n->n_inputs > 3 || (axes && !turned_over(c, axes, back, over)))
        return NULL;
    for (int i = 0; i < n->n_inputs; i++)
        if (!(inputs[i] = back && below_transposes(n->inputs[i]) == c->view ? c->view->inputs[0]
                                                                            : turned(c, n, n->inputs[i], back)))
            return NULL;
    Node *r = node_before(c->px->cx, n, n->op, NULL, n->n_inputs, inputs);
    const char *reason = NULL;
    inherit(r, n);
    attrs_copy(c->px->cx, r, n);
    if (axes)
        attr_set_names(c->px->cx, r, ATTR_over, over, axes->names.count);
    r->type = infer_type(c->px->cx, r, to, &reason);
    if (r->type)
        return make_transposed(c->px, n, r, to);
    node_remove(r);
    return NULL;
}

static bool replaced(Node *n, Node *by)
{
    if (!by || !type_equal(by->type, n->type))
        return false;
    node_replace(n, by);
    node_remove(n);
    return true;
}

/* A view of a view is one view, or none. */
static bool join_views(Form *f, Node *n)
{
    Node *inner = n->inputs ? n->inputs[0] : NULL;
    if (n->op != OP_view || inner->op != OP_view || is_kept(n) || is_kept(inner))
        return false;
    Node *source = inner->inputs[0];
    return replaced(n, type_equal(source->type, n->type) ? source
                                                         : make_before(f->px, n, OP_view, n->type, 1, &source, n));
}

static bool goes_by_name(const Node *n)
{
    return is_map(n) || n->op == OP_softmax || n->op == OP_dot;
}

/* f(join(s), b) -> join(f(s, b with the axes of s)) */
static bool sink_join(Form *f, Node *n)
{
    Change c;
    for (int i = 0; goes_by_name(n) && i < n->n_inputs; i++) {
        Node *view = between(f, n->inputs[i]) ? read_alone(n->inputs[i], n) : NULL;
        if (!view || view->op != OP_view || !change_of_view(f->px, view, &c) || !only_joins(&c))
            continue;
        Node *inner = turned_node(&c, n, true);
        if (inner && n == f->softmax)
            f->softmax = below_transposes(inner);
        if (inner && replaced(n, type_equal(inner->type, n->type)
                                     ? inner
                                     : make_before(f->px, n, OP_view, n->type, 1, &inner, n)))
            return true;
    }
    return false;
}

/* split(f(s, b)) -> f(split(s), split(b)) */
static bool push_split(Form *f, Node *view)
{
    Change c;
    Node *n = view->op == OP_view && !is_kept(view) ? read_alone(view->inputs[0], view) : NULL;
    if (!n || (!goes_by_name(n) && n->op != OP_gather) || !change_of_view(f->px, view, &c) || !only_splits(&c))
        return false;
    Node *by = turned_node(&c, n, false);
    if (by && n == f->softmax)
        f->softmax = below_transposes(by);
    return by && replaced(view, make_transposed(f->px, view, by, view->type));
}

/* The scores' own splits; new names alone move down (sink_join). */
static bool hoist_split(Form *f, Node *view)
{
    Change c;
    bool names_only = view->op == OP_view && change_of_view(f->px, view, &c) && only_joins(&c);
    return !names_only && between(f, below_transposes(view->inputs[0])) && push_split(f, view);
}

/* ---- repeated heads ---------------------------------------------------------------------------------------------- */

/* n = join(expand(x)) up to transposes: keys or values whose heads are repeated. */
static Node *repeated(PassContext *px, Node *n, Change *c)
{
    n = below_transposes(n);
    if (n->op != OP_view || is_kept(n) || below_transposes(n->inputs[0])->op != OP_expand ||
        !change_of_view(px, n, c) || !only_joins(c))
        return NULL;
    return n;
}

/* dot(q, join(expand(k))) -> join(dot(split(q), expand(k))); the expand goes by itself. */
static bool share_heads(Form *f, Node *n)
{
    Change c;
    for (int i = 0; n->op == OP_dot && i < 2; i++) {
        Node *view = repeated(f->px, n->inputs[i], &c);
        if (!view)
            continue;
        const Attr *over = node_attr(n, ATTR_over);
        const char *axes[MAX_RANK];
        const Type *to = turned_type(&c, n->type, true);
        Node *other = turned(&c, n, n->inputs[1 - i], true), *own = view->inputs[0];
        if (!to || !other || !turned_over(&c, over, true, axes))
            continue;
        Node *base = below_transposes(own);
        if (type_find(other->type, attr_name(base, ATTR_axis)) >= 0)
            own = base->inputs[0];
        Node *inputs[] = {i ? other : own, i ? own : other};
        Node *inner = make_over(f->px, n, OP_dot, to, 2, inputs, axes, over->names.count, n);
        if (inner && replaced(n, make_before(f->px, n, OP_view, n->type, 1, &inner, n)))
            return true;
    }
    return false;
}

/* ---- keys in two lots -------------------------------------------------------------------------------------------- */

static int side_of(const Node *dot, const char *axis)
{
    return type_find(dot->inputs[0]->type, axis) >= 0 ? 0 : 1;
}

/* One value for both lots: the parts one after the other along the axis `whole`, called cut[i] in part i. */
static Node *joined_lots(Form *f, Node *where, Node *const *part, const char *const *cut, Axis whole)
{
    Node *inputs[2];
    Type t = *part[0]->type;
    int at = type_find(&t, cut[0]);
    if (type_find(&t, whole.name) >= 0 && whole.name != cut[0])
        return NULL;
    t.axis[at] = whole;
    for (int i = 0; i < 2; i++) {
        Type own = *part[0]->type;
        int from = type_find(part[i]->type, cut[i]);
        if (from < 0 || part[i]->type->rank != own.rank)
            return NULL;
        own.axis[at] = part[i]->type->axis[from];
        if (!type_same_axes(&own, part[i]->type))
            return NULL;
        inputs[i] = make_transposed(f->px, where, part[i], &own);
    }
    Node *r = node_before(f->px->cx, where, OP_concat, NULL, 2, inputs);
    const char *reason = NULL;
    inherit(r, part[1]);
    attr_set_name(f->px->cx, r, ATTR_axis, whole.name);
    r->type = infer_type(f->px->cx, r, type_new(f->px->cx, t.dtype, t.rank, t.axis), &reason);
    if (r->type)
        return r;
    node_remove(r);
    return NULL;
}

/* concat(dot(q, k1), dot(q, k2)) -> dot(q, concat(k1, k2)) */
static bool join_scores(Form *f, Node *n)
{
    if (n->op != OP_concat || n->n_inputs != 2 || is_kept(n))
        return false;
    const char *name = attr_name(n, ATTR_axis), *cut[2];
    int at = type_find(n->type, name);
    Node *score[2], *key[2], *query = NULL;
    const Attr *over = NULL;
    for (int i = 0; i < 2; i++) {
        cut[i] = n->inputs[i]->type->axis[at].name;
        score[i] = below_transposes(n->inputs[i]);
        if (!is_score(score[i]) || is_kept(score[i]) || !only_reader(score[i]))
            return false;
        int side = side_of(score[i], cut[i]);
        Node *q = below_transposes(score[i]->inputs[1 - side]);
        const Attr *o = node_attr(score[i], ATTR_over);
        key[i] = score[i]->inputs[side];
        if (i && (q != query || o->names.count != 1 || o->names.items[0] != over->names.items[0]))
            return false;
        query = q;
        over = o;
    }
    Node *keys = over->names.count == 1 ? joined_lots(f, n, key, cut, n->type->axis[at]) : NULL;
    Node *inputs[] = {query, keys};
    return keys && replaced(n, make_over(f->px, n, OP_dot, n->type, 2, inputs, over->names.items, 1, n));
}

typedef struct Lot { /* dot(slice of the weights, values) */
    Node *values;
    const char *axis; /* of the slice: the keys of this lot */
    Extent start, size;
} Lot;

static bool lot_of(const Form *f, Node *dot, Lot *lot)
{
    const Attr *over = dot->op == OP_dot ? node_attr(dot, ATTR_over) : NULL;
    for (int i = 0; over && over->names.count == 1 && only_reader(dot) && i < 2; i++) {
        Node *n = below_transposes(dot->inputs[i]);
        int at = type_find(n->type, over->names.items[0]);
        if (n->op != OP_slice || is_kept(n) || is_kept(dot) || below_transposes(n->inputs[0]) != f->softmax || at < 0 ||
            attr_name(n, ATTR_axis) != f->keys || n->type->rank != f->softmax->type->rank)
            continue;
        const Attr *start = node_attr(n, ATTR_start);
        *lot = (Lot){dot->inputs[1 - i], over->names.items[0], start ? start->extent : extent_const(0),
                     n->type->axis[at].size};
        return true;
    }
    return false;
}

/* dot(p1, v1) + dot(p2, v2) -> dot(p, concat(v1, v2)) where p1 and p2 are all of p */
static bool join_values(Form *f, Node *n)
{
    Lot lot[2], first, second;
    Extent end;
    Axis whole = f->softmax->type->axis[type_find(f->softmax->type, f->keys)];
    if (n->op != OP_add || is_kept(n) || !lot_of(f, below_transposes(n->inputs[0]), &lot[0]) ||
        !lot_of(f, below_transposes(n->inputs[1]), &lot[1]))
        return false;
    bool in_order = extent_equal(lot[0].start, extent_const(0));
    first = lot[!in_order];
    second = lot[in_order];
    if (!extent_equal(first.start, extent_const(0)) || !extent_equal(second.start, first.size) ||
        !extent_add(first.size, second.size, &end) || !extent_equal(end, whole.size))
        return false;
    Node *part[] = {first.values, second.values};
    const char *cut[] = {first.axis, second.axis};
    Node *values = joined_lots(f, n, part, cut, whole), *inputs[] = {f->softmax, values};
    Node *by = values ? make_over(f->px, n, OP_dot, n->type, 2, inputs, &f->keys, 1, n) : NULL;
    return replaced(n, by);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static bool (*const rules[])(Form *f, Node *n) = {
    join_views, share_heads, sink_join, hoist_split, join_scores, join_values,
};

static bool step(Form *f)
{
    Graph *model = graph_model(f->softmax->graph);
    for (int i = 0; i < f->n; i++)
        for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++) {
            int before = model->next_id;
            if (rules[k](f, f->node[i]))
                return true;
            if (model->next_id != before)
                remove_dead(model); /* of a rule that gave up: it would look like a reader */
        }
    for (int i = 0; i < f->n_operands; i++)
        if (push_split(f, f->operand[i]))
            return true; /* a bias seen through a view would not fit into the kernel */
    return false;
}

Node *attention_form(PassContext *px, Node *softmax, bool *changed)
{
    Form f = {.px = px, .softmax = softmax};
    for (int i = 0; i < MAX_STEPS; i++) {
        f.keys = node_attr(f.softmax, ATTR_over)->names.items[0];
        if (!collect(&f) || !step(&f))
            break;
        *changed = true;
        remove_dead(graph_model(f.softmax->graph));
    }
    return f.softmax;
}
