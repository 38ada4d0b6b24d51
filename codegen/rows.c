/* rowwise and reduce: a body with reductions. Passes over the data: each computes the reductions whose inputs are known by then, the
 * last one the results. Layer norm is three: sum, squares of the differences, the values.
 *
 * rowwise: the reduced axis is the vectors' axis. One vector accumulates, its lanes are then added as a tree.
 * reduce: other axes are reduced, each lane has a sum of its own. */
#include "codegen/nest.h"

#include <ctype.h>

enum {
    BYTES_AHEAD = 3072,                 /* so far at least lies what is asked for: the next row, or one some rows further on */
    LEAST_BYTES = 1024                  /* of a row: sums of a shorter one are soon done */
};

typedef enum Step { STEP_SUM, STEP_MAX, STEP_MEAN, STEP_TOP, STEP_WEIGHT } Step;      /* the last two: softmax's maximum and sum */

typedef struct Reduction {
    const Node *node;
    Step step;
    int pass;
    const char *acc, *name;             /* C names: while running, when done */
} Reduction;

typedef struct Rows {
    Kernel *k;
    Nest nest;
    Reduction *items;
    int n_items, n_passes, pass;
    Axis over[MAX_RANK];                /* the reduced axes, outermost first */
    int n_over;
    bool across;                        /* rowwise: lanes are added up */
    const Axis *last;                   /* the vectors' axis; NULL: none */
    Access *results;                    /* of body->results */
    const Node **gets;
    const Type *type;                   /* of the results now being stored */
} Rows;

/* ---- which reduction in which pass ----------------------------------------------------------------------------------------------- */

static bool is_reduction(const Node *n) { return op_info[n->op].class == CLASS_REDUCE || n->op == OP_softmax; }

static void add_item(Rows *rows, const Node *n, Step step, int pass) {
    rows->items[rows->n_items++] = (Reduction){n, step, pass, NULL, NULL};
    if (pass >= rows->n_passes)
        rows->n_passes = pass + 1;
}

static void order_passes(Rows *rows) {
    const Graph *body = rows->k->node->body;
    Context *cx = rows->k->e->cx;
    size_t ids = (size_t)graph_model(rows->k->node->graph)->next_id, n_nodes = 0;
    int *known = arena_array(cx->arena, ids, sizeof *known);        /* by node id: the first pass that can read it */
    for (const Node *n = body->first; n; n = n->next)
        n_nodes++;
    rows->items = arena_array(cx->arena, 2 * n_nodes, sizeof *rows->items);
    for (const Node *n = body->first; n; n = n->next) {
        int pass = 0;
        for (int i = 0; i < n->n_inputs; i++)
            pass = known[n->inputs[i]->id] > pass ? known[n->inputs[i]->id] : pass;
        known[n->id] = pass;
        if (!is_reduction(n))
            continue;
        if (n->op == OP_softmax) {
            add_item(rows, n, STEP_TOP, pass);
            add_item(rows, n, STEP_WEIGHT, pass + 1);
            known[n->id] = pass + 2;
        } else {
            add_item(rows, n, n->op == OP_sum ? STEP_SUM : n->op == OP_mean ? STEP_MEAN : STEP_MAX, pass);
            known[n->id] = pass + 1;
        }
    }
}

/* ---- what is read next ----------------------------------------------------------------------------------------------------------- */

/* Asks for the operand's numbers a row further on, or some rows. The processor looks ahead by itself, but a row's additions wait for one
 * another, and as long as they do it sees little of what follows. */
static void ask_ahead(Rows *rows, const Access *a) {
    Nest *nest = &rows->nest;
    const AccessAxis *last = nest->lane ? access_axis(a, nest->lane) : NULL;
    Stride stride;
    int64_t step, apart;
    if (!rows->across || rows->k->e->target->lanes < 8 || nest->n_loops < 2 || nest->count)
        return;
    const Loop *lane = &nest->loop[nest->n_loops - 1], *row = lane - 1;
    if (isdigit((unsigned char)*lane->var) || isdigit((unsigned char)*row->var)) /* no loop, one position */
        return;
    if (!last || !stride_is_const(last->stride, &apart) || apart != 1 || !access_step(a, row->axis, row->n, &stride) ||
        !stride_is_const(stride, &step) || step * (int64_t)dtype_size(a->dtype) < LEAST_BYTES)
        return;
    const int64_t least = BYTES_AHEAD / (int64_t)dtype_size(a->dtype);
    put_line(rows->k, "__builtin_prefetch(%s + %lld);", nest_address(nest, a), (long long)((least + step - 1) / step * step));
}

static bool is_max(const Reduction *r) { return r->step == STEP_MAX || r->step == STEP_TOP; }

/* ---- one pass ------------------------------------------------------------------------------------------------------------------------ */

static Operand softmax_term(Rows *rows, const Reduction *top) {
    Kernel *k = rows->k;
    Operand x = nest_value(&rows->nest, top->node->inputs[0]), vector = x;
    vector.text = arena_print(k->e->cx->arena, "%s - %s", operand_text(k->e->cx, x, BINDS_SUM), top->name);
    vector.binds = BINDS_SUM;
    vector = operand_vector(k, vector);
    return operand_of(arena_print(k->e->cx->arena, "%s(%s)", math_use(k->e, MATH_EXP), vector.text), BINDS_ALL, true, DT_F32);
}

static const Reduction *top_of(const Rows *rows, const Node *softmax) {
    for (int i = 0; i < rows->n_items; i++)
        if (rows->items[i].node == softmax && rows->items[i].step == STEP_TOP)
            return &rows->items[i];
    return NULL;
}

/* softmax's value at a place: weight / total, and 0 where the total is. */
static void define_softmax(Rows *rows) {
    Kernel *k = rows->k;
    for (int i = 0; i < rows->n_items; i++) {
        const Reduction *r = &rows->items[i];
        if (r->step != STEP_WEIGHT || r->pass >= rows->pass)
            continue;
        Operand term = softmax_term(rows, top_of(rows, r->node));
        const char *text = rows->across ? arena_print(k->e->cx->arena, "%s * (%s > 0.0f ? 1.0f / %s : 0.0f)", term.text, r->name, r->name)
                                        : arena_print(k->e->cx->arena, "select(%s > 0.0f, %s / %s, (lanes){0})", r->name, term.text, r->name);
        body_define(&rows->nest.printer, r->node, operand_of(text, rows->across ? BINDS_PRODUCT : BINDS_ALL, true, DT_F32));
    }
}

static void accumulate(Nest *nest, void *state) {
    Rows *rows = state;
    Kernel *k = rows->k;
    Context *cx = k->e->cx;
    define_softmax(rows);
    for (int i = 0; i < rows->n_items; i++) {
        Reduction *r = &rows->items[i];
        if (r->pass != rows->pass)
            continue;
        Operand x = r->step == STEP_WEIGHT ? softmax_term(rows, top_of(rows, r->node)) : nest_value(nest, r->node->inputs[0]);
        if (x.dtype != DT_F32)
            emit_fail(k->e, k->node, "it reduces %s", dtype_name(x.dtype));
        if (nest->count && rows->across)
            x = operand_of(arena_print(cx->arena, "select(count_from(0) < splat_int(%s), %s, %s)", nest->count, operand_vector(k, x).text,
                                       is_max(r) ? "splat(-__builtin_inff())" : "(lanes){0}"), BINDS_ALL, true, DT_F32);
        if (is_max(r))
            put_line(k, "%s = %s(%s, %s);", r->acc, math_use(k->e, MATH_MAX), r->acc, operand_vector(k, x).text);
        else
            put_line(k, "%s += %s;", r->acc, x.text);
    }
    for (int i = 0; rows->pass == rows->n_passes - 1 && i < nest->n_params; i++)
        ask_ahead(rows, &nest->params[i]);
}

/* Loops over the reduced axes that are not the vectors' one. */
static void over_loops(Nest *nest, Rows *rows, int i) {
    if (i == rows->n_over) {
        accumulate(nest, rows);
        return;
    }
    Kernel *k = rows->k;
    const char *var = nest_var(nest, &rows->over[i]);
    put_open(k, "%s", loop_head(k, var, "0", kernel_size(k, rows->over[i].size), 1));
    nest_loop(nest, &rows->over[i], var);
    size_t done = nest->printer.n_done;
    nest->depth++;
    over_loops(nest, rows, i + 1);
    nest->depth--;
    nest->printer.n_done = done;
    nest->n_loops--;
    put_close(k);
}

static const char *element_count(Rows *rows) {
    Text t = text_new(rows->k->e->cx->arena);
    int64_t constant = 1;
    for (int i = 0; i < rows->n_over; i++)
        if (extent_is_const(rows->over[i].size))
            constant *= rows->over[i].size.base;
        else
            text_add(&t, "%s%s", t.length ? " * " : "", kernel_factor(rows->k, rows->over[i].size));
    if (!t.length)
        return float_literal(rows->k->e->cx, (double)constant);
    if (constant != 1)
        text_add(&t, " * %lld", (long long)constant);
    return arena_print(rows->k->e->cx->arena, "(float)(%s)", t.data);
}

/* The accumulator becomes the value: lanes added up, divided, or made safe for rows of nothing but -inf. */
static void finish_item(Rows *rows, Reduction *r) {
    Kernel *k = rows->k;
    Arena *a = k->e->cx->arena;
    bool vector = !rows->across;
    const char *value = r->acc;
    if (rows->across)
        value = arena_print(a, "%s(%s)", math_use(k->e, is_max(r) ? MATH_MAX_ACROSS : MATH_SUM_ACROSS), r->acc);
    if (r->step == STEP_MEAN)
        value = arena_print(a, "%s / %s", value, element_count(rows));
    const char *type = vector ? "lanes" : "float";
    r->name = scope_name(&k->names, r->step == STEP_TOP ? "top" : r->step == STEP_WEIGHT ? "total" : r->node->name);
    if (r->step == STEP_TOP) {
        put_line(k, "%s %s = %s;", type, r->name, value);
        if (vector)
            put_line(k, "%s = select(%s == -__builtin_inff(), (lanes){0}, %s);", r->name, r->name, r->name);
        else
            put_line(k, "%s = %s == -__builtin_inff() ? 0.0f : %s;", r->name, r->name, r->name);
        return;
    }
    if (value == r->acc)
        r->name = r->acc;
    else
        put_line(k, "const %s %s = %s;", type, r->name, value);
    if (r->step != STEP_WEIGHT)
        body_define(&rows->nest.printer, r->node, operand_of(r->name, BINDS_ALL, vector, DT_F32));
}

/* acc and value have names of their own in every printing, because tails print the passes again. */
static void put_pass(Rows *rows) {
    Kernel *k = rows->k;
    Nest *nest = &rows->nest;
    for (int i = 0; i < rows->n_items; i++) {
        Reduction *r = &rows->items[i];
        if (r->pass != rows->pass)
            continue;
        r->acc = scope_name(&k->names, is_max(r) ? "most" : "sum");
        put_line(k, "lanes %s = %s;", r->acc, is_max(r) ? "splat(-__builtin_inff())" : "{0}");
    }
    if (rows->across)
        nest_lanes(nest, rows->last, accumulate, rows);
    else
        over_loops(nest, rows, 0);
    for (int i = 0; i < rows->n_items; i++)
        if (rows->items[i].pass == rows->pass)
            finish_item(rows, &rows->items[i]);
}

/* ---- results ----------------------------------------------------------------------------------------------------------------------------- */

static bool has_axis(const Type *t, const Axis *axis) { return axis && type_find(t, axis->name) >= 0; }

static void store_results(Nest *nest, void *state) {
    Rows *rows = state;
    const Graph *body = rows->k->node->body;
    define_softmax(rows);
    for (int i = 0; i < body->n_results; i++)
        if (rows->gets[i] && (!rows->across || has_axis(rows->gets[i]->type, rows->last) == (nest->lane != NULL)))
            nest_store(nest, &rows->results[i], nest_value(nest, body->results[i].value));
    for (int i = 0; i < body->n_results; i++)
        if (rows->gets[i])
            ask_ahead(rows, &rows->results[i]);
}

static bool any_result(const Rows *rows, bool with_last) {
    for (int i = 0; i < rows->k->node->body->n_results; i++)
        if (rows->gets[i] && has_axis(rows->gets[i]->type, rows->last) == with_last)
            return true;
    return false;
}

/* reduce: everything for one vector of the last axis. */
static void one_vector(Nest *nest, void *state) {
    Rows *rows = state;
    for (rows->pass = 0; rows->pass < rows->n_passes; rows->pass++)
        put_pass(rows);
    store_results(nest, rows);
}

static void put_rowwise(Rows *rows) {
    Nest *nest = &rows->nest;
    for (rows->pass = 0; rows->pass < rows->n_passes; rows->pass++)
        put_pass(rows);
    if (any_result(rows, true))
        nest_lanes(nest, rows->last, store_results, rows);
    if (any_result(rows, false))
        store_results(nest, rows);
}

/* ---- the kernel ------------------------------------------------------------------------------------------------------------------------------ */

/* The reduced axes, with their sizes, from the reductions' inputs. */
static bool collect_over(Rows *rows) {
    const Attr *over = NULL;
    const Node *first = NULL;
    for (int i = 0; i < rows->n_items; i++) {
        const Attr *own = node_attr(rows->items[i].node, ATTR_over);
        first = over ? first : rows->items[i].node;
        over = over ? over : own;
        bool same = own->names.count == over->names.count;
        for (int j = 0; same && j < over->names.count; j++)
            same = attr_has_name(rows->items[i].node, ATTR_over, over->names.items[j]);
        if (!same) {
            emit_fail(rows->k->e, rows->k->node, "its reductions go over different axes");
            return false;
        }
    }
    for (int i = 0; first && i < first->inputs[0]->type->rank; i++)
        if (attr_has_name(first, ATTR_over, first->inputs[0]->type->axis[i].name))
            rows->over[rows->n_over++] = first->inputs[0]->type->axis[i];
    return true;
}

static bool collect_results(Rows *rows) {
    Kernel *k = rows->k;
    const Graph *body = k->node->body;
    rows->results = arena_array(k->e->cx->arena, (size_t)body->n_results, sizeof *rows->results);
    rows->gets = arena_array(k->e->cx->arena, (size_t)body->n_results, sizeof *rows->gets);
    for (int i = 0; i < body->n_results; i++) {
        rows->gets[i] = kernel_get(k->node, i);
        if (!rows->gets[i])
            continue;
        if (!kernel_result(k, rows->gets[i], &rows->results[i]))
            return false;
        text_add(&k->comment, "%s = ", rows->gets[i]->name);
        expression_print(body, i, &k->comment);
        text_add(&k->comment, "   ");
        type_print(rows->gets[i]->type, &k->comment);
        text_char(&k->comment, '\n');
        if (!rows->type || rows->gets[i]->type->rank > rows->type->rank)
            rows->type = rows->gets[i]->type;
    }
    return rows->type != NULL;
}

/* The rows: axes of the fullest result that are neither reduced nor along the vectors. */
static int row_axes(const Rows *rows, Axis *out) {
    int n = 0;
    for (int i = 0; i < rows->type->rank; i++) {
        const Axis *axis = &rows->type->axis[i];
        bool row = !rows->last || axis->name != rows->last->name;
        for (int j = 0; j < rows->n_over; j++)
            row &= rows->over[j].name != axis->name;
        if (row)
            out[n++] = *axis;
    }
    return n;
}

static void put_nest(Rows *rows) {
    Axis axes[MAX_RANK];
    const Access *extra[64];
    int n_extra = 0, n_results = rows->k->node->body->n_results;
    for (int i = 0; i < n_results && n_extra < 64; i++)
        if (rows->gets[i])
            extra[n_extra++] = &rows->results[i];
    nest_rows(&rows->nest, axes, row_axes(rows, axes), extra, n_extra);
    if (rows->across)
        put_rowwise(rows);
    else if (rows->last)
        nest_lanes(&rows->nest, rows->last, one_vector, rows);
    else
        one_vector(&rows->nest, rows);
    nest_end_rows(&rows->nest);
}

void emit_rowwise(Kernel *k) {
    Rows rows = {.k = k, .across = k->node->op == OP_rowwise};
    if (!nest_begin(&rows.nest, k, -1))
        return;
    order_passes(&rows);
    if (!collect_over(&rows) || !collect_results(&rows))
        return;
    if (rows.n_items == 0)
        rows.across = false;
    if (rows.across && rows.n_over != 1) {
        emit_fail(k->e, k->node, "it reduces %d axes at once", rows.n_over);
        return;
    }
    if (rows.across)
        rows.last = &rows.over[0];
    else if (rows.type->rank)
        rows.last = &rows.type->axis[rows.type->rank - 1];
    put_nest(&rows);
}

void emit_reduce(Kernel *k) { emit_rowwise(k); }
