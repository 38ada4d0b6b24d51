/* Shape rules: the type that each op gives, or a reason that names the axes.
 *
 * One function a class of ops; infer_type dispatches. A reason is a sentence in the arena without a full stop. Kernels: the parameters of
 * the body must fit the inputs (and the accumulators the products), then the type is that of the body's result. */
#include <stdarg.h>
#include <math.h>
#include <string.h>
#include "ir/ir.h"
#include "support/checked.h"

typedef struct Rule {
    Context *cx;
    const Node *n;
    const Type *declared;
    const char *reason;
} Rule;

static const Type *refuse(Rule *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const Type *refuse(Rule *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    r->reason = arena_vprint(r->cx->arena, format, args);
    va_end(args);
    return NULL;
}

/* The same for rules that answer yes or no. */
static bool refused(Rule *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refused(Rule *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    r->reason = arena_vprint(r->cx->arena, format, args);
    va_end(args);
    return false;
}

static const char *size_text(Rule *r, Extent e) {
    Text t = text_new(r->cx->arena);
    extent_print(e, &t);
    return t.data;
}

static const char *type_text(Rule *r, const Type *type) {
    Text t = text_new(r->cx->arena);
    type_print(type, &t);
    return t.data;
}

static const Type *in(const Rule *r, int i) {
    return r->n->inputs[i]->type;
}

static const char *word(const Rule *r, int i) {
    const char *name = r->n->inputs[i]->name;
    return name ? name : op_info[r->n->inputs[i]->op].name;
}

static const char *op_name(const Rule *r) {
    return op_info[r->n->op].name;
}

/* ---- elementwise: axes align by name ------------------------------------------------------------------------------------------------ */

/* Adds the axes of input i to `all`; false if an axis of the same name has another size, or there are too many. */
static bool align(Rule *r, Type *all, int i, int first) {
    const Type *t = in(r, i);
    for (int a = 0; a < t->rank; a++) {
        int at = type_find(all, t->axis[a].name);
        if (at < 0) {
            if (all->rank == MAX_RANK) return refused(r, "more than %d axes come together", MAX_RANK);
            all->axis[all->rank++] = t->axis[a];
        } else if (!extent_equal(all->axis[at].size, t->axis[a].size)) {
            refuse(r, "the axis `%s` is %s in `%s` but %s in `%s`", t->axis[a].name, size_text(r, all->axis[at].size), word(r, first),
                   size_text(r, t->axis[a].size), word(r, i));
            return false;
        }
    }
    return true;
}

static bool needs_float(Op op) {
    switch (op) {
    case OP_pow: case OP_exp: case OP_log: case OP_sqrt: case OP_rsqrt: case OP_tanh: case OP_erf: case OP_sin: case OP_cos:
    case OP_sigmoid: case OP_silu: case OP_gelu: case OP_gelu_tanh: return true;
    default: return false;
    }
}

static bool is_logical(Op op) {
    return op == OP_and || op == OP_or || op == OP_not;
}

static bool dtypes_agree(Rule *r, int first) {
    DType want = in(r, first)->dtype;
    for (int i = first + 1; i < r->n->n_inputs; i++)
        if (in(r, i)->dtype != want)
            return refused(r, "`%s` is %s but `%s` is %s", word(r, first), dtype_name(want), word(r, i), dtype_name(in(r, i)->dtype));
    if (needs_float(r->n->op) && !dtype_is_float(want))
        return refused(r, "%s needs floats, `%s` is %s", op_name(r), word(r, first), dtype_name(want));
    if (r->n->op == OP_mod && dtype_is_float(want)) return refused(r, "mod needs integers, `%s` is %s", word(r, first), dtype_name(want));
    if (is_logical(r->n->op) != (want == DT_BOOL) && r->n->op != OP_eq && r->n->op != OP_ne && r->n->op != OP_where)
        return refused(r, "%s cannot take %s", op_name(r), dtype_name(want));
    return true;
}

static const Type *infer_rotate(Rule *r) {
    const Type *x = in(r, 0);
    if (x->rank == 0 || !extent_is_const(x->axis[x->rank - 1].size)) return refuse(r, "rotate needs a last axis of constant size");
    for (int i = 0; i < 3; i++)
        if (!dtype_is_float(in(r, i)->dtype)) return refuse(r, "rotate needs floats, `%s` is %s", word(r, i), dtype_name(in(r, i)->dtype));
    Extent width = x->axis[x->rank - 1].size;
    if (width.base % 2) return refuse(r, "rotate needs an even last axis, `%s` is %lld", x->axis[x->rank - 1].name, (long long)width.base);
    for (int i = 1; i < 3; i++) {
        const Type *t = in(r, i);
        if (t->rank == 0 || !extent_equal(t->axis[t->rank - 1].size, extent_const(width.base / 2)))
            return refuse(r, "`%s` needs a last axis of %lld, half of `%s`", word(r, i), (long long)width.base / 2, x->axis[x->rank - 1].name);
        for (int a = 0; a + 1 < t->rank; a++) {
            int at = type_find(x, t->axis[a].name);
            if (at < 0 || at == x->rank - 1 || !extent_equal(x->axis[at].size, t->axis[a].size))
                return refuse(r, "the axis `%s` of `%s` is not one of `%s`", t->axis[a].name, word(r, i), word(r, 0));
        }
    }
    return x;
}

static const Type *infer_map(Rule *r) {
    const Node *n = r->n;
    int first = n->op == OP_where ? 1 : 0;
    Type all = {.dtype = in(r, 0)->dtype};
    if (n->op == OP_rotate) return infer_rotate(r);
    if (n->op == OP_where && in(r, 0)->dtype != DT_BOOL) return refuse(r, "the condition `%s` is %s, not bool", word(r, 0), dtype_name(in(r, 0)->dtype));
    if (n->op != OP_cast && !dtypes_agree(r, first)) return NULL;
    /* the condition of `where` comes last in the result's axes: the value keeps its order */
    for (int i = first; i < n->n_inputs; i++)
        if (!align(r, &all, i, first)) return NULL;
    if (first && !align(r, &all, 0, 1)) return NULL;
    all.dtype = op_info[n->op].flags & OPF_COMPARE ? DT_BOOL : in(r, first)->dtype;
    if (n->op == OP_cast) {
        if (!r->declared) return refuse(r, "cast needs a declared type");
        all.dtype = r->declared->dtype;
    }
    return type_new(r->cx, all.dtype, all.rank, all.axis);
}

/* ---- reductions and products ---------------------------------------------------------------------------------------------------------- */

static const Attr *over_axes(Rule *r) {
    const Attr *over = node_attr(r->n, ATTR_over);
    if (!over || over->names.count == 0) refuse(r, "%s needs `over`", op_name(r));
    for (int i = 0; over && i < over->names.count; i++)
        for (int k = 0; k < i; k++)
            if (over->names.items[i] == over->names.items[k]) refuse(r, "the axis `%s` stands twice in `over`", over->names.items[i]);
    return r->reason ? NULL : over;
}

static bool has_axes(Rule *r, const Attr *over, int i) {
    for (int k = 0; k < over->names.count; k++)
        if (type_find(in(r, i), over->names.items[k]) < 0)
            return refused(r, "`%s` is %s: it has no axis `%s`", word(r, i), type_text(r, in(r, i)), over->names.items[k]);
    return true;
}

static const Type *infer_reduce(Rule *r) {
    const Type *x = in(r, 0);
    const Attr *over = over_axes(r);
    if (!over || !has_axes(r, over, 0)) return NULL;
    if (!dtype_is_float(x->dtype)) return refuse(r, "%s needs floats, `%s` is %s", op_name(r), word(r, 0), dtype_name(x->dtype));
    if (r->n->op == OP_softmax) return over->names.count == 1 ? x : refuse(r, "softmax goes over one axis");
    Axis axes[MAX_RANK];
    int rank = 0;
    for (int a = 0; a < x->rank; a++)
        if (!attr_has_name(r->n, ATTR_over, x->axis[a].name)) axes[rank++] = x->axis[a];
    return type_new(r->cx, x->dtype, rank, axes);
}

/* The axes of dot(a, b): a's that are not summed, then b's own. NULL and a reason if sizes differ. */
static const Type *product_type(Rule *r, int a, int b, const Attr *over) {
    Type all = {.dtype = in(r, a)->dtype};
    if (!has_axes(r, over, a) || !has_axes(r, over, b)) return NULL;
    if (!dtype_is_float(in(r, a)->dtype) || in(r, a)->dtype != in(r, b)->dtype)
        return refuse(r, "`%s` is %s and `%s` is %s", word(r, a), dtype_name(in(r, a)->dtype), word(r, b), dtype_name(in(r, b)->dtype));
    if (!align(r, &all, a, a) || !align(r, &all, b, a)) return NULL;
    int rank = 0;
    for (int i = 0; i < all.rank; i++)
        if (!attr_has_name(r->n, ATTR_over, all.axis[i].name)) all.axis[rank++] = all.axis[i];
    return type_new(r->cx, all.dtype, rank, all.axis);
}

static const Type *in_declared_order(Rule *r, const Type *own) {
    if (!own || !r->declared) return own;
    if (own->dtype == r->declared->dtype && type_same_axes(own, r->declared)) return r->declared;
    return refuse(r, "declared as %s but it is %s", type_text(r, r->declared), type_text(r, own));
}

static const Type *infer_dot(Rule *r) {
    const Attr *over = over_axes(r);
    return over ? in_declared_order(r, product_type(r, 0, 1, over)) : NULL;
}

/* ---- views and moves ------------------------------------------------------------------------------------------------------------------- */

static int64_t greatest_divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

/* A product of sizes as a number times at most one symbolic size whose factors have no common divisor: 2*H*S+4*H is 2 * H and S+2. */
typedef struct Product { int64_t number; Extent symbolic; int n_symbolic; } Product;

static bool product_add(Product *p, Extent e) {
    if (extent_is_const(e)) return checked_imul(p->number, e.base, &p->number);
    int64_t common = e.base;
    for (int i = 0; i < e.n; i++) common = greatest_divisor(common, e.factor[i]);
    if (!extent_div(e, common, &p->symbolic)) return false;
    p->n_symbolic++;
    return checked_imul(p->number, common, &p->number);
}

static bool product_equal(const Product *a, const Product *b) {
    return a->number == b->number && a->n_symbolic == b->n_symbolic && (!a->n_symbolic || extent_equal(a->symbolic, b->symbolic));
}

/* Walks both types from the front and closes a group of neighbouring axes whenever the products agree: what is left over must be nothing,
 * and a group may hold one symbolic size on each side, so [B, S] never becomes [S, B]. */
static bool same_elements(const Type *a, const Type *b) {
    int i = 0, j = 0;
    while (i < a->rank || j < b->rank) {
        Product p = {.number = 1}, q = {.number = 1};
        do {
            bool take_a = i < a->rank && (j == b->rank || p.n_symbolic < q.n_symbolic || (p.n_symbolic == q.n_symbolic && p.number <= q.number));
            if (take_a ? !product_add(&p, a->axis[i++].size) : j == b->rank || !product_add(&q, b->axis[j++].size)) return false;
            if (p.n_symbolic > 1 || q.n_symbolic > 1) return false;
        } while (!product_equal(&p, &q) && (i < a->rank || j < b->rank));
        if (!product_equal(&p, &q)) return false;
    }
    return true;
}

static const Type *infer_slice(Rule *r, const Type *x, const Type *to) {
    const char *name = attr_name(r->n, ATTR_axis);
    int axis = name ? type_find(x, name) : -1;
    if (axis < 0) return refuse(r, "`%s` is %s: it has no axis `%s`", word(r, 0), type_text(r, x), name ? name : "");
    int drop = x->rank - to->rank;      /* 1: one position is taken and the axis goes */
    if (drop != 0 && drop != 1) return refuse(r, "slice keeps the number of axes or drops one");
    for (int i = 0; i < to->rank; i++) {
        int from = drop && i >= axis ? i + 1 : i;
        bool cut = !drop && i == axis;
        if (!cut && (to->axis[i].name != x->axis[from].name || !extent_equal(to->axis[i].size, x->axis[from].size)))
            return refuse(r, "slice changes only `%s`, but %s becomes %s", name, type_text(r, x), type_text(r, to));
    }
    const Attr *start = node_attr(r->n, ATTR_start);
    Extent first = start ? start->extent : extent_const(0), size = drop ? extent_const(1) : to->axis[axis].size, end;
    if (!extent_add(first, size, &end) || extent_low(first) < 0) return refuse(r, "slice starts before the axis");
    if (extent_is_const(end) && extent_is_const(x->axis[axis].size) && end.base > x->axis[axis].size.base)
        return refuse(r, "slice ends at %lld, `%s` has %lld", (long long)end.base, name, (long long)x->axis[axis].size.base);
    return to;
}

static const Type *infer_expand(Rule *r, const Type *x, const Type *to) {
    const char *name = attr_name(r->n, ATTR_axis);
    if (to->rank != x->rank + 1 || !name || type_find(to, name) < 0 || type_find(x, name) >= 0) return refuse(r, "expand adds the one axis `%s`", name ? name : "");
    for (int i = 0; i < x->rank; i++) {
        int at = type_find(to, x->axis[i].name);
        if (at < 0 || !extent_equal(to->axis[at].size, x->axis[i].size)) return refuse(r, "expand keeps the axis `%s`", x->axis[i].name);
    }
    return to;
}

static const Type *infer_view(Rule *r) {
    const Type *x = in(r, 0), *to = r->declared;
    if (!to) return refuse(r, "%s needs a declared type", op_name(r));
    if (to->dtype != x->dtype) return refuse(r, "%s keeps the element type %s", op_name(r), dtype_name(x->dtype));
    for (int i = 0; i < to->rank; i++)
        if (type_find(to, to->axis[i].name) != i) return refuse(r, "the axis `%s` stands twice", to->axis[i].name);
    if (r->n->op == OP_slice) return infer_slice(r, x, to);
    if (r->n->op == OP_expand) return infer_expand(r, x, to);
    if (r->n->op == OP_transpose) return type_same_axes(x, to) ? to : refuse(r, "transpose keeps the axes of %s, %s has others", type_text(r, x), type_text(r, to));
    return same_elements(x, to) ? to : refuse(r, "the axes of %s do not merge and split into those of %s", type_text(r, x), type_text(r, to));
}

static const Type *infer_concat(Rule *r) {
    const char *name = attr_name(r->n, ATTR_axis);
    const Type *to = r->declared;
    int axis = to && name ? type_find(to, name) : -1;
    Extent total = extent_const(0);
    if (axis < 0) return refuse(r, "concat needs a declared type with the axis `%s`", name ? name : "");
    for (int k = 0; k < r->n->n_inputs; k++) {
        const Type *t = in(r, k);
        if (t->rank != to->rank || t->dtype != to->dtype) return refuse(r, "`%s` is %s, the result %s", word(r, k), type_text(r, t), type_text(r, to));
        for (int i = 0; i < t->rank; i++)
            if (i != axis && (t->axis[i].name != to->axis[i].name || !extent_equal(t->axis[i].size, to->axis[i].size)))
                return refuse(r, "`%s` has the axis `%s` where the result has `%s`", word(r, k), t->axis[i].name, to->axis[i].name);
        if (!extent_add(total, t->axis[axis].size, &total)) return refuse(r, "the sizes along `%s` cannot be added", name);
    }
    if (!extent_equal(total, to->axis[axis].size)) return refuse(r, "the parts are %s along `%s`, the result %s", size_text(r, total), name, size_text(r, to->axis[axis].size));
    return to;
}

static const Type *infer_gather(Rule *r) {
    const Type *table = in(r, 0), *ids = in(r, 1);
    const Attr *over = over_axes(r);
    if (!over || !has_axes(r, over, 0)) return NULL;
    if (over->names.count != 1) return refuse(r, "gather looks up one axis");
    if (ids->dtype != DT_I32) return refuse(r, "the indices `%s` are %s, not i32", word(r, 1), dtype_name(ids->dtype));
    Type all = {.rank = ids->rank};
    memcpy(all.axis, ids->axis, sizeof all.axis);
    for (int i = 0; i < table->rank; i++) {
        if (table->axis[i].name == over->names.items[0]) continue;
        if (type_find(&all, table->axis[i].name) >= 0) return refuse(r, "both the table and the indices have an axis `%s`", table->axis[i].name);
        if (all.rank == MAX_RANK) return refuse(r, "more than %d axes come together", MAX_RANK);
        all.axis[all.rank++] = table->axis[i];
    }
    return type_new(r->cx, table->dtype, all.rank, all.axis);
}

/* The parameters of an append's body are the value and the inputs after the layer number. */
static bool params_fit_append(Rule *r) {
    const Graph *body = r->n->body;
    bool fit = body->n_params == r->n->n_inputs - 1;
    for (int p = 0; p < body->n_params && fit; p++) fit = type_equal(body->params[p]->type, in(r, p ? p + 1 : 0));
    return fit || refused(r, "the body's parameters are not the types of the inputs");
}

static const Type *infer_append(Rule *r) {
    const char *name = attr_name(r->n, ATTR_cache);
    const Graph *model = graph_model(r->n->graph);
    const Cache *cache = NULL;
    for (int i = 0; i < model->n_caches; i++)
        if (name && !strcmp(model->caches[i].name, name)) cache = &model->caches[i];
    if (!cache) return refuse(r, "there is no cache `%s`", name ? name : "");
    if (r->n->n_inputs < 2 || (!r->n->body && r->n->n_inputs != 2)) return refuse(r, "append takes a value and a layer number, not %d inputs", r->n->n_inputs);
    if (r->n->body && (r->n->body->n_results != 1 || !params_fit_append(r))) return r->reason ? NULL : refuse(r, "append stores one value");
    const Type *value = r->n->body ? r->n->body->results[0].value->type : in(r, 0), *kept = cache->type;
    if (in(r, 1)->rank != 0 || in(r, 1)->dtype != DT_I32) return refuse(r, "the layer number `%s` is %s, not i32", word(r, 1), type_text(r, in(r, 1)));
    if (value->rank != kept->rank || value->dtype != kept->dtype)
        return refuse(r, "`%s` is %s, the cache holds %s", word(r, 0), type_text(r, value), type_text(r, kept));
    Type all = *kept;
    for (int i = 0; i < value->rank; i++) {
        if (i == cache->growing) continue;
        if (value->axis[i].name != kept->axis[i].name || !extent_equal(value->axis[i].size, kept->axis[i].size))
            return refuse(r, "`%s` is %s, the cache holds %s", word(r, 0), type_text(r, value), type_text(r, kept));
    }
    const Symbol *past = NULL;
    for (int i = 0; i < model->n_symbols; i++)
        if (!strcmp(model->symbols[i]->name, "past")) past = model->symbols[i];
    Extent *end = &all.axis[cache->growing].size;
    if (!past || !extent_add(extent_symbol(past), value->axis[cache->growing].size, end)) return refuse(r, "append needs the symbol `past`");
    return type_new(r->cx, all.dtype, all.rank, all.axis);
}

/* ---- regions and kernels ------------------------------------------------------------------------------------------------------------------ */

static bool holds(const Type *t, int count) {
    int64_t product = 1;
    for (int i = 0; i < t->rank; i++)
        if (!extent_is_const(t->axis[i].size) || !checked_imul(product, t->axis[i].size.base, &product)) return false;
    return product == count;
}

static const Type *infer_leaf(Rule *r) {
    const Type *t = r->declared;
    int rank = r->n->op == OP_iota ? 1 : 0;
    bool sized = r->n->op == OP_iota || r->n->op == OP_const || r->n->op == OP_extent || r->n->op == OP_index;
    if (!t) return refuse(r, "%s needs a declared type", op_name(r));
    if (sized && t->rank != rank) return refuse(r, "%s has %d axes", op_name(r), rank);
    if ((r->n->op == OP_iota || r->n->op == OP_index) && t->dtype != DT_I32) return refuse(r, "%s is i32", op_name(r));
    if (r->n->op == OP_extent && t->dtype != DT_F32) return refuse(r, "%s is f32", op_name(r));
    const Attr *table = node_attr(r->n, ATTR_table);
    if (r->n->op == OP_table && (!table || !holds(t, table->floats.count)))
        return refuse(r, "%s does not hold %d numbers", type_text(r, t), table ? table->floats.count : 0);
    if (r->n->op == OP_const && !node_attr(r->n, ATTR_value)) return refuse(r, "const needs `value`");
    if (r->n->op == OP_const && t->dtype != DT_F32 && rint(attr_float(r->n, ATTR_value, 0)) != attr_float(r->n, ATTR_value, 0))
        return refuse(r, "a const of %s is a whole number", dtype_name(t->dtype));
    return t;
}

static const Type *infer_region(Rule *r) {
    const Node *n = r->n;
    if (n->op == OP_get) {
        const Graph *body = n->inputs[0]->body;
        int64_t index = attr_int(n, ATTR_index, 0);
        if (!body || index < 0 || index >= body->n_results || (n->inputs[0]->op == OP_repeat && index >= n->inputs[0]->n_inputs)) return refuse(r, "`%s` has no result %lld", word(r, 0), (long long)index);
        return n->inputs[0]->op == OP_repeat ? n->inputs[0]->inputs[index]->type : body->results[index].value->type;
    }
    if (!n->body) return n->n_inputs == 1 ? in(r, 0) : refuse(r, "repeat needs a body");
    for (int i = 0; i < n->n_inputs; i++) {
        if (i + 1 >= n->body->n_params || i >= n->body->n_results) break;
        if (!type_equal(n->body->params[i + 1]->type, in(r, i)) || !type_equal(n->body->results[i].value->type, in(r, i)))
            return refuse(r, "carried value %d enters as %s and leaves a round as %s", i, type_text(r, in(r, i)), type_text(r, n->body->results[i].value->type));
    }
    return n->n_inputs == 1 ? in(r, 0) : NULL;
}

static bool params_fit(Rule *r, int first_param, int first_input) {
    const Graph *body = r->n->body;
    if (body->n_params - first_param != r->n->n_inputs - first_input)
        return refused(r, "%d inputs but %d parameters in the body", r->n->n_inputs - first_input, body->n_params - first_param);
    for (int i = first_input, p = first_param; i < r->n->n_inputs; i++, p++)
        if (!type_equal(body->params[p]->type, in(r, i)))
            return refused(r, "`%s` is %s, the body's parameter %s", word(r, i), type_text(r, in(r, i)), type_text(r, body->params[p]->type));
    return true;
}

static const Type *infer_gemm(Rule *r) {
    int weights = (int)attr_int(r->n, ATTR_weights, 1);
    const Attr *over = over_axes(r);
    if (!over) return NULL;
    if (weights < 1 || weights >= r->n->n_inputs || !params_fit(r, weights, weights + 1)) return r->reason ? NULL : refuse(r, "gemm needs a weight");
    for (int w = 1; w <= weights; w++) {
        const Type *product = product_type(r, 0, w, over);
        if (!product) return NULL;
        if (!type_equal(product, r->n->body->params[w - 1]->type))
            return refuse(r, "accumulator %d is %s, the body's parameter %s", w - 1, type_text(r, product), type_text(r, r->n->body->params[w - 1]->type));
    }
    return NULL;
}

static const Type *infer_attend(Rule *r) {
    const char *keys = attr_name(r->n, ATTR_keys);
    const Attr *over = over_axes(r);
    if (!over) return NULL;
    if (r->n->n_inputs < 3 || !keys || r->n->body->n_params < 1 || r->n->body->n_results != 1) return refuse(r, "attend needs queries, keys, values, `keys` and a body that returns a score");
    if (type_find(in(r, 1), keys) < 0 || type_find(in(r, 2), keys) < 0 || type_find(in(r, 0), keys) >= 0)
        return refuse(r, "`%s` must be an axis of the keys and the values, not of the queries", keys);
    const Type *scores = product_type(r, 0, 1, over);
    if (!scores || !params_fit(r, 1, 3)) return NULL;
    if (!type_same_axes(scores, r->n->body->params[0]->type)) return refuse(r, "the score is %s, the body's parameter %s", type_text(r, scores), type_text(r, r->n->body->params[0]->type));
    if (!type_same_axes(scores, r->n->body->results[0].value->type)) return refuse(r, "the body must return a score on the axes of %s", type_text(r, scores));
    Type all = {.dtype = DT_F32};
    for (int i = 0; i < in(r, 0)->rank; i++)
        if (!attr_has_name(r->n, ATTR_over, in(r, 0)->axis[i].name)) all.axis[all.rank++] = in(r, 0)->axis[i];
    for (int i = 0; i < in(r, 2)->rank; i++) {
        if (in(r, 2)->axis[i].name == keys || type_find(&all, in(r, 2)->axis[i].name) >= 0) continue;
        if (all.rank == MAX_RANK) return refuse(r, "more than %d axes come together", MAX_RANK);
        all.axis[all.rank++] = in(r, 2)->axis[i];
    }
    return type_new(r->cx, all.dtype, all.rank, all.axis);
}

static const Type *infer_kernel(Rule *r) {
    const Graph *body = r->n->body;
    if (!body || body->n_results < 1) return refuse(r, "%s needs a body with a result", op_name(r));
    if (r->n->op == OP_attend) return in_declared_order(r, infer_attend(r));
    if (r->n->op == OP_gemm) infer_gemm(r);
    else params_fit(r, 0, 0);
    if (r->reason) return NULL;
    return body->n_results == 1 ? body->results[0].value->type : NULL;
}

const Type *infer_type(Context *cx, const Node *n, const Type *declared, const char **reason) {
    Rule r = {cx, n, declared, NULL};
    const Type *type = NULL;
    *reason = NULL;
    for (int i = 0; i < n->n_inputs; i++)
        if (!n->inputs[i]->type && n->op != OP_get) {
            *reason = arena_print(cx->arena, "input %d has several results: read it through get", i);
            return NULL;
        }
    switch (op_info[n->op].class) {
    case CLASS_LEAF: type = infer_leaf(&r); break;
    case CLASS_MAP: type = infer_map(&r); break;
    case CLASS_REDUCE: case CLASS_ROW: type = infer_reduce(&r); break;
    case CLASS_CONTRACT: type = infer_dot(&r); break;
    case CLASS_VIEW: type = infer_view(&r); break;
    case CLASS_MOVE: type = n->op == OP_concat ? infer_concat(&r) : n->op == OP_gather ? infer_gather(&r) : infer_append(&r); break;
    case CLASS_REGION: type = infer_region(&r); break;
    case CLASS_KERNEL: type = infer_kernel(&r); break;
    }
    *reason = r.reason;
    return r.reason ? NULL : type;
}
