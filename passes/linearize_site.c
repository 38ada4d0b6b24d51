/* What an attend is to the passes that linearize: its axes, its mask, and whether sums over keys can stand for it. */
#include <stdio.h>
#include <string.h>

#include "ir/tile_class.h"
#include "passes/linear.h"
#include "passes/linearize_inside.h"

#define SAY(...) arena_print(px->cx->arena, __VA_ARGS__)

/* ---- the mask ---------------------------------------------------------------------------------------------------- */

/* A value of the attend's body as one of the graph around it; parameter i > 0 is input i + 2. */
static Node *outside_value(PassContext *px, Node *attend, Map *made, const Node *inner)
{
    char key[24];
    snprintf(key, sizeof key, "%d", inner->id);
    Node *n = map_get(made, key);
    if (n)
        return n;
    if (inner->op == OP_param) {
        n = attend->inputs[attr_int(inner, ATTR_index, 0) + 2];
    } else {
        Node **inputs = arena_array(px->cx->arena, (size_t)inner->n_inputs + 1, sizeof *inputs);
        for (int i = 0; i < inner->n_inputs; i++)
            inputs[i] = outside_value(px, attend, made, inner->inputs[i]);
        n = node_before(px->cx, attend, inner->op, NULL, inner->n_inputs, inputs);
        attrs_copy(px->cx, n, inner);
        inherit(n, inner);
        const char *reason = NULL;
        n->type = infer_type(px->cx, n, inner->type, &reason);
    }
    map_set(made, key, n);
    return n;
}

Node *linearize_mask(PassContext *px, Node *attend)
{
    Mask mask = mask_of(px->cx, attend);
    Map made = map_new(px->cx->arena);
    Node *all = NULL;
    for (size_t i = 0; i < mask.conditions.count; i++) {
        Node *c = outside_value(px, attend, &made, mask.conditions.items[i].node);
        if (mask.conditions.items[i].negated)
            c = make_before(px, attend, OP_not, NULL, 1, &c, attend);
        all = all ? make_two(px, attend, OP_and, all, c) : c;
    }
    return all;
}

/* ---- axes -------------------------------------------------------------------------------------------------------- */

static bool describe_axes(PassContext *px, const Node *attend, const Node *mask, LinearizeSite *out)
{
    const Type *q = attend->inputs[0]->type, *k = attend->inputs[1]->type, *v = attend->inputs[2]->type;
    const char *first_row = NULL, *moving = NULL, *masked = NULL;
    out->over = node_attr(attend, ATTR_over)->names.items[0];
    out->keys = attr_name(attend, ATTR_keys);
    out->scale = attr_float(attend, ATTR_scale, 1);
    out->width = q->axis[type_find(q, out->over)].size.base;
    out->heads = out->group = 1;
    for (int i = 0; i < q->rank; i++) {
        const Axis *a = &q->axis[i];
        bool constant = extent_is_const(a->size);
        if (a->name == out->over)
            continue;
        if (type_find(k, a->name) >= 0) {
            if (constant && out->head_axis) {
                out->refused = SAY("its heads lie along two axes, `%s` and `%s`", out->head_axis, a->name);
                return false;
            }
            if (constant) {
                out->head_axis = a->name;
                out->heads = a->size.base;
            }
            continue;
        }
        out->group *= constant ? a->size.base : 1;
        first_row = first_row ? first_row : a->name;
        moving = moving || constant ? moving : a->name;
        masked = mask && !masked && type_find(mask->type, a->name) >= 0 ? a->name : masked;
    }
    out->queries = masked ? masked : moving ? moving : first_row;
    if (!out->queries)
        out->refused = "its queries have no axis of their own";
    else if (extent_is_const(q->axis[type_find(q, out->queries)].size))
        out->group /= q->axis[type_find(q, out->queries)].size.base > 0 ? q->axis[type_find(q, out->queries)].size.base : 1;
    for (int i = 0; i < v->rank; i++)
        if (v->axis[i].name != out->keys && type_find(k, v->axis[i].name) < 0)
            out->values = v->axis[i].size.base;
    if (!out->values)
        out->values = out->width;
    return !out->refused;
}

/* ---- the site ---------------------------------------------------------------------------------------------------- */

static const char *score_refused(PassContext *px, Node *attend)
{
    if (attr_bool(attend, ATTR_second, false))
        return "its scores come from two products of queries and keys";
    if (attr_bool(attend, ATTR_lse, false))
        return "the logarithm of its row sums is read as well";
    const Node *score = mask_of(px->cx, attend).score;
    if (score->op == OP_param && attr_int(score, ATTR_index, 0) == 0)
        return NULL;
    Text formula = text_new(px->cx->arena);
    expression_print(attend->body, 0, &formula);
    return SAY("between scores and softmax stands %s (%.80s): features stand for exp(scale * q.k) alone", op_info[score->op].name,
               formula.data);
}

static void describe_place(const Node *attend, LinearizeSite *out)
{
    const Node *loop = attend->graph->owner;
    out->rounds = 1;
    if (!loop)
        return;
    out->repeated = true;
    out->rounds = attr_int(loop, ATTR_count, 1);
    if (loop->graph->owner)
        out->refused = "it stands in a repeat inside a repeat";
}

void linearize_describe(PassContext *px, Node *attend, LinearizeSite *out)
{
    *out = (LinearizeSite){.name = word_of(attend), .at = attend->at, .request = attr_name(attend, ATTR_linearize)};
    out->path = attend->scope ? attend->scope : "";
    out->where = *out->path ? out->path : out->name;
    describe_place(attend, out);
    const char *before = out->refused ? out->refused : score_refused(px, attend);
    Node *mask = before ? NULL : linearize_mask(px, attend);
    out->refused = NULL;
    bool fits = describe_axes(px, attend, mask, out); /* what stays exact has layers and heads too */
    if (before)
        out->refused = before;
    if (before || !fits)
        return;
    LinearMask found;
    out->masked = true;
    if (!linear_mask(px, mask, out->queries, out->keys, attend->inputs[1]->type, &found))
        out->refused = found.why ? found.why : "its mask cannot be kept by sums over keys";
    out->causal = !out->refused && found.causal;
}
