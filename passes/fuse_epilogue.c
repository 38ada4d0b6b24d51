/* fuse-epilogue: what follows a product element by element is done on the accumulators, before they are stored.
 *
 *     y = gelu(dot(x, w) + b) + r               ->   gemm x, w, b, r    body gelu(acc + b) + r
 *     u = silu(dot(x, w1)) * dot(x, w2)         ->   gemm x, w1, w2     body silu(acc1) * acc2
 *
 *     q = rotate(dot(x, w), cos, sin)           ->   gemm x, w, cos, sin  body rotate(acc, cos, sin)
 *
 * Every product with a weight becomes a gemm first. A consumer comes in if it is elementwise, the only reader, as
 * large as the accumulator, and its other operands have the accumulator's axes, or all its columns, or all its rows,
 * or none, and exist when the gemm runs; the gemm may move down to its consumer for that. Several accumulators may
 * meet in one result. */
#include <string.h>
#include "passes/inside.h"

typedef struct Epilogue {
    PassContext *px;
    Node *gemm;
    int weights;
    bool quiet; /* trying: refusals are reported once, at the end */
    Text done;  /* names of the operators taken in, for the remark */
    int count;
    double saved;
} Epilogue;

/* ---- results of a gemm ------------------------------------------------------------------------------------------- */

/* Which result of the gemm n is, or -1. */
static int result_of(const Epilogue *e, const Node *n)
{
    if (n == e->gemm)
        return 0;
    if (n->op == OP_get && n->inputs[0] == e->gemm)
        return (int)attr_int(n, ATTR_index, 0);
    return -1;
}

/* Result `from` has gone into result `to`. The later ones move up; a single one is the gemm itself. */
static void drop_result(Epilogue *e, int from)
{
    Graph *body = e->gemm->body;
    for (Node *n = e->gemm->next, *next; n; n = next) {
        next = n->next;
        int index = n->op == OP_get && n->inputs[0] == e->gemm ? (int)attr_int(n, ATTR_index, 0) : -1;
        if (index == from)
            node_remove(n);
        else if (index > from)
            attr_set_int(e->px->cx, n, ATTR_index, index - 1);
    }
    for (int i = from; i + 1 < body->n_results; i++)
        body->results[i] = body->results[i + 1];
    body->n_results--;
    if (body->n_results > 1)
        return;
    Node *get = NULL;
    for (Node *n = e->gemm->next; n && !get; n = n->next)
        if (n->op == OP_get && n->inputs[0] == e->gemm)
            get = n;
    e->gemm->type = body->results[0].value->type;
    if (!get)
        return;
    e->gemm->name = get->name;
    e->gemm->at = get->at;
    e->gemm->via = get->via;
    if (is_kept(get))
        attr_set_bool(e->px->cx, e->gemm, ATTR_keep, true);
    node_replace(get, e->gemm);
    node_remove(get);
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

static int row_axes(const Epilogue *e)
{
    return e->gemm->inputs[0]->type->rank - node_attr(e->gemm, ATTR_over)->names.count;
}

/* Any of the rows' axes, and all of the columns' or none, in any order. */
static bool fits_operand(const Epilogue *e, const Node *o, const Type *acc)
{
    int rows = row_axes(e), columns = 0;
    if (is_inline_leaf(o))
        return o->type->rank == 0;
    if (!axes_within(o->type, acc))
        return false;
    for (int i = rows; i < acc->rank; i++)
        columns += type_find(o->type, acc->axis[i].name) >= 0;
    return columns == 0 || columns == acc->rank - rows;
}

static bool is_movable_leaf(const Node *o)
{
    return o->op == OP_weight || o->op == OP_table || is_inline_leaf(o);
}

static bool available(const Epilogue *e, const Node *o)
{
    return o->graph != e->gemm->graph || is_movable_leaf(o) || stands_before(o, e->gemm);
}

/* The gemm may run as late as just before `consumer`, as nothing before that reads any of its results. */
static bool can_sink(const Epilogue *e, const Node *consumer)
{
    for (const Node *n = e->gemm->next; n && n != consumer; n = n->next) {
        if (n->op == OP_get && n->inputs[0] == e->gemm)
            continue;
        for (int i = 0; i < n->n_inputs; i++)
            if (result_of(e, n->inputs[i]) >= 0)
                return false;
        if (!n->body || n->body->level == LEVEL_BODY)
            continue;
        for (Node *get = e->gemm; get; get = get->next)
            if (result_of(e, get) >= 0 && is_read_in(get, n->body))
                return false;
    }
    return true;
}

static void sink(Epilogue *e, Node *consumer)
{
    Node *moved = NULL; /* the first result that has been moved: they keep their order */
    for (Node *n = e->gemm->next, *next; n && n != consumer && n != moved; n = next) {
        next = n->next;
        if (n->op != OP_get || n->inputs[0] != e->gemm)
            continue;
        node_move_before(n, consumer);
        if (!moved)
            moved = n;
    }
    node_move_before(e->gemm, moved ? moved : consumer);
}

/* ---- predicates -------------------------------------------------------------------------------------------------- */

/* The body's operators give the axes in the order of the accumulator only if a whole operand leads. */
static bool leads_whole(const Node *n, const Type *acc)
{
    if (op_info[n->op].flags & OPF_COMMUTES)
        return true;
    for (int i = n->op == OP_where ? 1 : 0; i < n->n_inputs; i++)
        if (n->inputs[i]->type->rank > 0)
            return n->inputs[i]->type->rank == acc->rank;
    return false;
}

static bool refuse(Epilogue *e, RemarkCode code, const Node *value, const Node *evidence, const char *why)
{
    if (e->quiet)
        return false;
    Remark *r = remark(e->px, REMARK_MISSED, code, value, "%s", why);
    if (evidence)
        r->evidence = evidence->at;
    return false;
}

#define SAY(...) arena_print(e->px->cx->arena, __VA_ARGS__)

/* ---- rotary ------------------------------------------------------------------------------------------------------ */

/* A rotated value goes into a cache: that kernel rotates on the way. */
static bool rotated_later(const Node *n)
{
    for (const Node *r = n->next; r; r = r->next)
        for (int i = 0; i < r->n_inputs; i++) {
            if (r->inputs[i] != n)
                continue;
            bool view = op_info[r->op].class == CLASS_VIEW;
            if (r->op == OP_append || (view && rotated_later(r)))
                return true;
        }
    return false;
}

/* Cosines and sines: any of the rows' axes, then one number for each pair. */
static bool fits_table(const Epilogue *e, const Node *table, const Type *acc)
{
    const Type *t = table->type;
    if (t->rank == 0 || is_inline_leaf(table) || type_find(acc, t->axis[t->rank - 1].name) >= 0)
        return false;
    for (int i = 0; i + 1 < t->rank; i++) {
        int at = type_find(acc, t->axis[i].name);
        if (at < 0 || at >= row_axes(e) || !extent_equal(t->axis[i].size, acc->axis[at].size))
            return false;
    }
    return true;
}

/* The result comes from one accumulator. */
static bool is_single(const Epilogue *e, const Node *result)
{
    const Graph *body = e->gemm->body;
    bool *read = arena_array(e->px->cx->arena, (size_t)graph_model(e->gemm->graph)->next_id, sizeof *read);
    int count = 0;
    read[result->id] = true;
    for (const Node *n = body->last; n; n = n->prev)
        for (int i = 0; read[n->id] && i < n->n_inputs; i++)
            read[n->inputs[i]->id] = true;
    for (int j = 0; j < e->weights; j++)
        count += read[body->params[j]->id];
    return count == 1;
}

/* `value` is result `index` of the gemm, `n` its only reader, a rotate. */
static bool may_rotate(Epilogue *e, Node *value, Node *n, int index)
{
    const Type *acc = value->type;
    const Extent *size = &acc->axis[acc->rank - 1].size;
    if (n->graph != e->gemm->graph || n->inputs[0] != value || acc->rank == row_axes(e) || acc->rank + 2 > MAX_RANK ||
        rotated_later(n) || !is_single(e, e->gemm->body->results[index].value))
        return false;
    if (is_kept(value))
        return refuse(e, REMARK_BLOCKED_BY_USER, value, value, SAY("`%s` is kept by @keep", word_of(value)));
    if (!extent_is_const(*size) || size->base % (2 * ROTATE_UNIT))
        return refuse(e, REMARK_TARGET_LACKS, value, n,
                      SAY("half of the axis `%s` is no multiple of %d, so it is no whole number of vectors everywhere",
                          acc->axis[acc->rank - 1].name, ROTATE_UNIT));
    const Type *table = n->inputs[1]->type;
    if (2 * table->axis[table->rank - 1].size.base != size->base)
        return refuse(e, REMARK_TARGET_LACKS, value, n,
                      SAY("only %lld of the %lld numbers of `%s` turn",
                          2 * (long long)table->axis[table->rank - 1].size.base, (long long)size->base,
                          acc->axis[acc->rank - 1].name));
    bool here = true;
    for (int i = 1; i < 3; i++) {
        if (!fits_table(e, n->inputs[i], acc))
            return refuse(e, REMARK_AXIS_MISMATCH, value, n->inputs[i],
                          SAY("`%s` has other axes than the product's rows and the pairs", word_of(n->inputs[i])));
        here &= available(e, n->inputs[i]);
    }
    return here || can_sink(e, n) ||
           refuse(e, REMARK_ORDER_DEPENDS, value, n,
                  SAY("`%s` needs a value that is computed later than the product is read", word_of(n)));
}

/* ---- elementwise ------------------------------------------------------------------------------------------------- */

/* Nothing comes after a rotation. */
static bool is_rotated(const Epilogue *e, int index)
{
    return e->gemm->body->results[index].value->op == OP_rotate;
}

/* `value` is result `index` of the gemm, `n` its only reader. */
static bool may_absorb(Epilogue *e, Node *value, Node *n, int index)
{
    const Type *acc = value->type;
    if (is_rotated(e, index))
        return false;
    if (n->op == OP_rotate)
        return may_rotate(e, value, n, index);
    if (!is_map(n) || n->graph != e->gemm->graph)
        return false;
    if (is_kept(value))
        return refuse(e, REMARK_BLOCKED_BY_USER, value, value, SAY("`%s` is kept by @keep", word_of(value)));
    if (n->type->dtype != DT_F32)
        return refuse(e, REMARK_DTYPE_MIX, value, n, SAY("`%s` is %s", word_of(n), dtype_name(n->type->dtype)));
    if (!type_same_axes(n->type, acc))
        return refuse(e, REMARK_AXIS_MISMATCH, value, n, SAY("`%s` has more axes than the product", word_of(n)));
    if (!leads_whole(n, acc))
        return refuse(e, REMARK_AXIS_MISMATCH, value, n,
                      SAY("`%s` starts with an operand that is not as large as the product", word_of(n)));
    bool here = true;
    for (int i = 0; i < n->n_inputs; i++) {
        Node *o = n->inputs[i];
        int other = result_of(e, o);
        if (o == value)
            continue;
        if (other >= 0 && other != index && !is_rotated(e, other) && type_equal(o->type, acc) &&
            only_reader(o) == n && !is_kept(o))
            continue;
        if (other >= 0)
            return refuse(e, REMARK_MULTI_USE, value, o,
                          SAY("`%s` is read elsewhere too, or has other columns", word_of(o)));
        if (!fits_operand(e, o, acc))
            return refuse(e, REMARK_AXIS_MISMATCH, value, o,
                          SAY("`%s` has some of the product's column axes only", word_of(o)));
        here &= available(e, o);
    }
    if (here)
        return true;
    return can_sink(e, n) ||
           refuse(e, REMARK_ORDER_DEPENDS, value, n,
                  SAY("`%s` needs a value that is computed later than the product is read", word_of(n)));
}

/* ---- rewriting --------------------------------------------------------------------------------------------------- */

static Node *existing_param(const Epilogue *e, const Node *o)
{
    for (int i = e->weights + 1; i < e->gemm->n_inputs; i++)
        if (e->gemm->inputs[i] == o)
            return e->gemm->body->params[i - 1];
    return NULL;
}

/* The operand in the order of the accumulator's axes; the pairs' axis of a table last. */
static Node *ordered(Epilogue *e, Node *o, const Type *acc)
{
    Type want = {.dtype = o->type->dtype};
    for (int i = 0; i < acc->rank; i++)
        if (type_find(o->type, acc->axis[i].name) >= 0)
            want.axis[want.rank++] = acc->axis[i];
    for (int i = 0; i < o->type->rank; i++)
        if (type_find(acc, o->type->axis[i].name) < 0)
            want.axis[want.rank++] = o->type->axis[i];
    return make_transposed(e->px, e->gemm, o, type_new(e->px->cx, want.dtype, want.rank, want.axis));
}

static void bind_operands(Epilogue *e, Builder *b, Node *n, const Type *acc)
{
    for (int i = 0; i < n->n_inputs; i++) {
        Node *o = n->inputs[i];
        int result = result_of(e, o);
        if (result >= 0) {
            builder_map(b, o, e->gemm->body->results[result].value);
            continue;
        }
        if (is_inline_leaf(o))
            continue;
        if (o->graph == e->gemm->graph && is_movable_leaf(o) && !stands_before(o, e->gemm))
            node_move_before(o, e->gemm);
        Node *want = ordered(e, o, acc), *param = existing_param(e, want);
        if (!param)
            param = builder_input(b, want);
        builder_map(b, o, param);
    }
}

static bool is_absorbed(void *state, const Node *n)
{
    return n == state;
}

static void absorb(Epilogue *e, Node *value, Node *n, int index)
{
    bool here = true;
    for (int i = 0; i < n->n_inputs; i++)
        here &= result_of(e, n->inputs[i]) >= 0 || available(e, n->inputs[i]);
    if (!here)
        sink(e, n);
    const Type *acc = value->type;
    Builder b = builder_new(e->px, e->gemm, is_absorbed, n);
    bind_operands(e, &b, n, acc);
    Node *inner = builder_value(&b, n);
    int other = -1;
    for (int i = 0; i < n->n_inputs; i++) {
        int r = result_of(e, n->inputs[i]);
        if (r >= 0 && r != index)
            other = r;
    }
    e->gemm->body->results[index] = (Result){NULL, inner, n->at};
    value->type = inner->type;
    value->name = n->name;
    value->at = n->at;
    value->via = n->via;
    if (is_kept(n))
        attr_set_bool(e->px->cx, value, ATTR_keep, true);
    text_add(&e->done, "%s%s", e->count++ ? ", " : "", op_info[n->op].name);
    e->saved += 2 * type_bytes(e->px, graph_model(e->gemm->graph), acc);
    node_replace(n, make_transposed(e->px, n, value, n->type));
    node_remove(n);
    if (other >= 0)
        drop_result(e, other);
}

/* Takes in one consumer of one result; true if it did. */
static bool absorb_one(Epilogue *e)
{
    for (Node *value = e->gemm; value; value = value->next) {
        int index = result_of(e, value);
        if (index < 0 || !value->type)
            continue;
        Node *reader = only_reader(value);
        if (!reader || !may_absorb(e, value, reader, index))
            continue;
        absorb(e, value, reader, index);
        return true;
    }
    return false;
}

static void report(Epilogue *e)
{
    if (!e->count)
        return;
    Remark *r = remark(e->px, REMARK_PASSED, REMARK_FUSED, e->gemm, "%s on the accumulators", e->done.data);
    r->bytes_before = e->saved;
    for (int j = 1; j <= e->weights; j++)
        r->flops += product_flops(e->px, e->gemm->inputs[0], e->gemm->inputs[j]);
}

/* Several readers, one of which could have come in. Norms, which read their input again and again, are no such case. */
static const Node *shared_with(const Node *value)
{
    const Node *found = NULL;
    for (const Node *r = value->next; r; r = r->next) {
        int times = 0;
        for (int i = 0; i < r->n_inputs; i++)
            times += r->inputs[i] == value;
        if (times > 1 || (times && op_info[r->op].class == CLASS_REDUCE))
            return NULL;
        if (times && !found && is_map(r) && type_same_axes(r->type, value->type))
            found = r;
    }
    return found;
}

/* Why the next operator did not come in, one remark for each result. */
static void report_missed(Epilogue *e)
{
    e->quiet = false;
    for (Node *value = e->gemm; value; value = value->next) {
        int index = result_of(e, value);
        if (index < 0 || !value->type || read_as_result(value))
            continue;
        Node *reader = only_reader(value);
        const Node *first = reader ? NULL : shared_with(value);
        if (reader)
            may_absorb(e, value, reader, index);
        else if (first)
            refuse(e, REMARK_MULTI_USE, value, first, SAY("`%s` has several readers, so it is stored", word_of(value)));
    }
}

static bool make_gemms(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= make_gemms(px, n->body);
        Product p;
        if (!product_fits(n, &p))
            continue;
        gemm_build(px, n, &p, 1);
        changed = true;
    }
    return changed;
}

static bool fuse_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->last, *before; n; n = before) {
        before = n->prev;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fuse_graph(px, n->body);
        if (n->op != OP_gemm || n->uses == 0)
            continue;
        Epilogue e = {.px = px,
                      .gemm = n,
                      .weights = (int)attr_int(n, ATTR_weights, 1),
                      .quiet = true,
                      .done = text_new(px->cx->arena)};
        while (absorb_one(&e))
            changed = true;
        report(&e);
        report_missed(&e);
    }
    return changed;
}

bool pass_fuse_epilogue(PassContext *px, Graph *model)
{
    bool made = make_gemms(px, model);
    remove_dead(model);
    int before = model->next_id;
    bool fused = fuse_graph(px, model);
    return (remove_dead(model) | fused) || made || model->next_id != before;
}
