/* cumsum, cummax and topk: what goes along one axis in order. Rows are shared by the threads; where the axis is not the
 * last one, a vector of neighbouring rows goes along it together. */
#include "codegen/nest.h"

typedef struct Line {
    const Node *node;
    Access x, result;
    Axis over;
} Line;

static bool line_begin(Nest *nest, Kernel *k, Line *l) {
    const Node *n = k->node;
    const Type *x = n->inputs[0]->type;
    *l = (Line){.node = n, .over = x->axis[type_find(x, node_attr(n, ATTR_over)->names.items[0])]};
    if (!nest_begin(nest, k, -1) || !kernel_read(k, n->inputs[0], &l->x) || !kernel_result(k, n, &l->result))
        return false;
    text_add(&k->comment, "%s = %s of %s along %s   ", n->name, op_info[n->op].name, n->inputs[0]->name, l->over.name);
    type_print(n->type, &k->comment);
    text_char(&k->comment, '\n');
    return true;
}

/* Loops over the axes of x but the line's own and, if the vectors go along it, the last. */
static void open_rows(Nest *nest, const Line *l, bool but_last) {
    Axis axes[MAX_RANK];
    const Access *extra[2] = {&l->x, &l->result};
    const Type *x = l->node->inputs[0]->type;
    int n = 0;
    for (int i = 0; i < x->rank - but_last; i++)
        if (x->axis[i].name != l->over.name)
            axes[n++] = x->axis[i];
    nest_rows(nest, axes, n, extra, 2);
}

/* ---- running sums and maxima ------------------------------------------------------------------------------------------------------- */

/* The statement that takes in one more element. */
static const char *take_in(Kernel *k, bool max, const char *so_far, Operand x) {
    Context *cx = k->e->cx;
    if (!max)
        return arena_print(cx->arena, "%s += %s;", so_far, x.text);
    const char *f = x.dtype == DT_F32 ? "greater" : "greater_int";
    if (x.vector)
        f = math_use(k->e, x.dtype == DT_F32 ? MATH_MAX : MATH_INT_MAX);
    return arena_print(cx->arena, "%s = %s(%s, %s);", so_far, f, so_far, x.text);
}

/* One line, or one vector of lines. */
static void scan_line(Nest *nest, void *state) {
    Line *l = state;
    Kernel *k = nest->k;
    bool max = l->node->op == OP_cummax, whole = l->x.dtype != DT_F32, vector = nest->lane != NULL;
    bool reverse = attr_bool(l->node, ATTR_reverse, false), exclusive = attr_bool(l->node, ATTR_exclusive, false);
    const char *so_far = scope_name(&k->names, max ? "most" : "sum"), *type = whole ? (vector ? "ints" : "int") : vector ? "lanes" : "float";
    const char *start = !max ? "0" : whole ? "(-2147483647 - 1)" : "-__builtin_inff()", *size = kernel_size(k, l->over.size);
    if (vector)
        start = arena_print(k->e->cx->arena, whole ? "splat_int(%s)" : "splat(%s)", start);
    put_line(k, "%s %s = %s;", type, so_far, start);
    const char *var = nest_var(nest, &l->over);
    if (reverse)
        put_open(k, "for (ptrdiff_t %s = %s - 1; %s >= 0; %s--)", var, size, var, var);
    else
        put_open(k, "%s", loop_head(k, var, "0", size, 1));
    nest_loop(nest, &l->over, var);
    const char *next = take_in(k, max, so_far, nest_load(nest, &l->x));
    if (!exclusive)
        put_line(k, "%s", next);
    nest_store(nest, &l->result, operand_of(so_far, BINDS_ALL, vector, l->x.dtype));
    if (exclusive)
        put_line(k, "%s", next);
    put_close(k);
    nest->n_loops--;
}

void emit_scan(Kernel *k) {
    Nest nest;
    Line l;
    if (!line_begin(&nest, k, &l))
        return;
    const Type *type = k->node->type;
    const Axis *last = &type->axis[type->rank - 1];
    bool vectors = last->name != l.over.name && (l.x.dtype == DT_F32 || l.x.dtype == DT_I32);
    open_rows(&nest, &l, vectors);
    if (vectors)
        nest_lanes(&nest, last, scan_line, &l);
    else
        scan_line(&nest, &l);
    nest_end_rows(&nest);
}

/* ---- the largest elements ------------------------------------------------------------------------------------------------------------- */

void emit_topk(Kernel *k) {
    Nest nest;
    Line l;
    if (!line_begin(&nest, k, &l))
        return;
    const AccessAxis *from = access_axis(&l.x, l.over.name), *to = access_axis(&l.result, attr_name(k->node, ATTR_axis));
    open_rows(&nest, &l, false);
    put_line(k, "top_positions(%s, %s, %s, %s, %s, %s);", nest_address(&nest, &l.x), kernel_stride(k, from->stride), kernel_size(k, from->size),
             nest_address(&nest, &l.result), kernel_stride(k, to->stride), kernel_size(k, to->size));
    nest_end_rows(&nest);
}
