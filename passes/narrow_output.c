/* narrow-output: results along the positions that a call appends, for the last of them alone, where the caller asked
 * (`attar generate`: the next token needs no other row of logits).
 *
 *     y = dot(norm(x), W) : [B, S, V]   ->   y = dot(norm(slice(x, S-1 ..)), W) : [B, last=1, V]
 *
 * From a result backwards through what computes each position by itself, to the first value that does not (a repeat,
 * an attention, an input): there the last position is cut out, which is a view and costs nothing. Values with other
 * readers stay whole for these. */
#include <string.h>
#include "passes/inside.h"

enum { DEEPEST = 64 };
static const char last_axis[] = "last";

typedef struct Narrow {
    PassContext *px;
    const Graph *model;
    const Symbol *step; /* the positions of a call */
    Node **made;        /* by id: the last position of a value */
    bool *saves;        /* by id: a product with a weight is among what leads to it */
} Narrow;

static const Symbol *lone_symbol(Extent e)
{
    return e.n == 1 && e.factor[0] == 1 && e.base == 0 ? e.symbol[0] : NULL;
}

/* The first symbol of an input that is neither the batch of the caches nor what they hold already. */
static const Symbol *step_of(const Graph *model)
{
    const Type *kept = model->n_caches ? model->caches[0].type : NULL;
    const Symbol *batch = kept && kept->rank ? lone_symbol(kept->axis[0].size) : NULL;
    for (int i = 0; kept && i < model->n_params; i++)
        for (int a = 0; a < model->params[i]->type->rank; a++) {
            const Symbol *s = lone_symbol(model->params[i]->type->axis[a].size);
            if (s && s != batch && s->low > 0 && strcmp(s->name, "past") != 0)
                return s;
        }
    return NULL;
}

static int step_axis(const Narrow *w, const Node *n)
{
    for (int i = 0; n->type && i < n->type->rank; i++)
        if (lone_symbol(n->type->axis[i].size) == w->step)
            return i;
    return -1;
}

static bool is_product(const Node *n)
{
    return n->op == OP_dot && (n->inputs[0]->op == OP_weight || n->inputs[1]->op == OP_weight);
}

/* One position of n takes one position of each input. */
static bool by_position(const Narrow *w, const Node *n)
{
    const char *axis = n->type->axis[step_axis(w, n)].name;
    bool fits = is_map(n) || n->op == OP_transpose;
    bool sums = op_info[n->op].class == CLASS_REDUCE || n->op == OP_softmax ||
                is_product(n); /* products of two activations are attention's: left whole */
    if (sums)
        fits = !attr_has_name(n, ATTR_over, axis);
    for (int i = 0; fits && i < n->n_inputs;
         i++) { /* an axis of the same length under another name is no position of n */
        int at = step_axis(w, n->inputs[i]);
        fits = at < 0 || n->inputs[i]->type->axis[at].name == axis;
    }
    return fits && !is_kept(n) && n->graph == w->model && type_find(n->type, last_axis) < 0;
}

static const Type *narrow_type(const Narrow *w, const Node *n)
{
    Type t = *n->type;
    t.axis[step_axis(w, n)] = (Axis){name_of(w->px->cx->names, last_axis), extent_const(1)};
    return type_new(w->px->cx, t.dtype, t.rank, t.axis);
}

static Node *cut_out(Narrow *w, Node *n)
{
    Context *cx = w->px->cx;
    Extent start;
    extent_sub(extent_symbol(w->step), extent_const(1), &start);
    Node *s = node_before(cx, n->next, OP_slice, narrow_type(w, n), 1, &n);
    inherit(s, n);
    attr_set_name(cx, s, ATTR_axis, n->type->axis[step_axis(w, n)].name);
    attr_set_extent(cx, s, ATTR_start, start);
    return s;
}

static Node *narrowed(Narrow *w, Node *n, int depth)
{
    if (step_axis(w, n) < 0)
        return n;
    if (w->made[n->id])
        return w->made[n->id];
    if (depth == DEEPEST || !by_position(w, n))
        return w->made[n->id] = cut_out(w, n);
    Node **inputs = arena_array(w->px->cx->arena, (size_t)n->n_inputs + 1, sizeof *inputs);
    w->saves[n->id] = is_product(n);
    for (int i = 0; i < n->n_inputs; i++) {
        inputs[i] = narrowed(w, n->inputs[i], depth + 1);
        w->saves[n->id] |= w->saves[n->inputs[i]->id];
    }
    Node *same = node_before(w->px->cx, n, n->op, narrow_type(w, n), n->n_inputs, inputs);
    attrs_copy(w->px->cx, same, n);
    inherit(same, n);
    return w->made[n->id] = same;
}

static bool narrow_result(Narrow *w, Result *r)
{
    Node *whole = r->value;
    if (step_axis(w, whole) < 0 || !by_position(w, whole))
        return false;
    Node *last = narrowed(w, whole, 0);
    if (!w->saves[whole->id]) /* nothing but a copy would be spared */
        return false;
    Remark *note = remark(w->px, REMARK_PASSED, REMARK_LAST_POSITION, whole,
                          "of `%s` the last position alone is computed", r->name ? r->name : word_of(whole));
    note->bytes_before = type_bytes(w->px, w->model, whole->type);
    note->bytes_after = type_bytes(w->px, w->model, last->type);
    r->value = last;
    return true;
}

bool pass_narrow_output(PassContext *px, Graph *model)
{
    bool changed = false;
    Narrow w = {.px = px, .model = model, .step = px->last_position ? step_of(model) : NULL};
    if (!w.step)
        return false;
    w.made = arena_array(px->cx->arena, (size_t)model->next_id + 1, sizeof *w.made);
    w.saves = arena_array(px->cx->arena, (size_t)model->next_id + 1, sizeof *w.saves);
    for (int i = 0; i < model->n_results; i++)
        changed |= narrow_result(&w, &model->results[i]);
    remove_dead(model);
    return changed;
}
