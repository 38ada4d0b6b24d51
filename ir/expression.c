/* A kernel's body as one infix line, with no parentheses that precedence does not ask for: gelu(acc + query.bias) * 2.
 *
 * Accumulators are called acc (acc0, acc1 if there are several) and the score s; other parameters have the names of
 * the kernel's inputs. A value used twice is written once, behind the line: t * sigmoid(t) where t = acc0 / 2. */
#include "ir/ir.h"

enum Binding { BIND_LOOSEST, BIND_OR, BIND_AND, BIND_COMPARE, BIND_SUM, BIND_PRODUCT, BIND_UNARY, BIND_CALL };
enum { MAX_NESTING = 64 }; /* deeper values are written by name: no line is readable beyond that anyway */

typedef struct Known {
    const Node *n;
    int uses;
} Known;

typedef struct Writer {
    const Graph *body;
    Text *out;
    Known *known; /* the nodes that the result reads */
    size_t count, capacity;
} Writer;

static Known *find(Writer *w, const Node *n)
{
    for (size_t i = w->count; i-- > 0;)
        if (w->known[i].n == n)
            return &w->known[i];
    return NULL;
}

static bool stands_here(const Writer *w, const Node *n)
{
    return n->graph == w->body && op_info[n->op].class != CLASS_LEAF;
}

/* Counts the uses of every value the result needs: users stand behind what they use, so one walk from the back is
 * enough. */
static void count_uses(Writer *w, const Node *result)
{
    w->known = arena_room(w->out->arena, w->known, w->count, &w->capacity, sizeof *w->known);
    w->known[w->count++] = (Known){result, 1};
    for (const Node *n = w->body->last; n; n = n->prev) {
        if (!find(w, n))
            continue;
        for (int i = 0; i < n->n_inputs; i++) {
            Known *k = find(w, n->inputs[i]);
            if (k) {
                k->uses++;
                continue;
            }
            w->known = arena_room(w->out->arena, w->known, w->count, &w->capacity, sizeof *w->known);
            w->known[w->count++] = (Known){n->inputs[i], 1};
        }
    }
}

static const char *infix_of(Op op, enum Binding *binding)
{
    switch (op) {
    case OP_or: *binding = BIND_OR; return "|";
    case OP_and: *binding = BIND_AND; return "&";
    case OP_lt: *binding = BIND_COMPARE; return "<";
    case OP_le: *binding = BIND_COMPARE; return "<=";
    case OP_eq: *binding = BIND_COMPARE; return "==";
    case OP_ne: *binding = BIND_COMPARE; return "!=";
    case OP_add: *binding = BIND_SUM; return "+";
    case OP_sub: *binding = BIND_SUM; return "-";
    case OP_mul: *binding = BIND_PRODUCT; return "*";
    case OP_div: *binding = BIND_PRODUCT; return "/";
    default: *binding = BIND_CALL; return NULL;
    }
}

static void put_name(const Node *n, Text *out)
{
    text_add(out, "%s", n->name ? n->name : op_info[n->op].name);
}

static void put_param(const Writer *w, const Node *n)
{
    const Node *owner = w->body->owner;
    int at = 0;
    while (at < w->body->n_params && w->body->params[at] != n)
        at++;
    if (!owner || at == w->body->n_params) {
        put_name(n, w->out);
        return;
    }
    int accumulators = owner->op == OP_gemm ? (int)attr_int(owner, ATTR_weights, 1) : owner->op == OP_attend ? 1 : 0;
    int input = owner->op == OP_gemm               ? at + 1
                : owner->op == OP_attend           ? at + 2
                : owner->op == OP_append && at > 0 ? at + 1
                                                   : at;
    if (at >= accumulators && input < owner->n_inputs)
        put_name(owner->inputs[input], w->out);
    else if (at < accumulators && owner->op == OP_attend)
        text_char(w->out, 's');
    else if (at < accumulators && accumulators == 1)
        text_add(w->out, "acc");
    else if (at < accumulators)
        text_add(w->out, "acc%d", at);
    else
        put_name(n, w->out);
}

static void put_leaf(const Writer *w, const Node *n, enum Binding within)
{
    const Attr *start = node_attr(n, ATTR_start), *size = node_attr(n, ATTR_size);
    if (n->op == OP_const && n->type && n->type->dtype == DT_BOOL)
        text_add(w->out, attr_float(n, ATTR_value, 0) != 0 ? "true" : "false");
    else if (n->op == OP_const)
        text_double(w->out, attr_float(n, ATTR_value, 0));
    else if (n->op == OP_extent && size) {
        bool sum = size->extent.n > 1 || (size->extent.n == 1 && size->extent.base != 0);
        if (sum && within > BIND_SUM)
            text_char(w->out, '(');
        extent_print(size->extent, w->out);
        if (sum && within > BIND_SUM)
            text_char(w->out, ')');
    } else if (n->op == OP_iota && n->type && n->type->rank) {
        text_add(w->out, "iota(%s", n->type->axis[0].name);
        if (start && !extent_equal(start->extent, extent_const(0))) {
            text_add(w->out, " from ");
            extent_print(start->extent, w->out);
        }
        text_char(w->out, ')');
    } else
        put_param(w, n);
}

static void put_value(Writer *w, const Node *n, enum Binding within, int depth);

static void put_call(Writer *w, const Node *n, int depth)
{
    text_add(w->out, "%s(", n->op == OP_cast ? dtype_name(n->type->dtype) : op_info[n->op].name);
    for (int i = 0; i < n->n_inputs; i++) {
        if (i)
            text_add(w->out, ", ");
        put_value(w, n->inputs[i], BIND_LOOSEST, depth);
    }
    const Attr *over = node_attr(n, ATTR_over);
    for (int i = 0; over && i < over->names.count; i++)
        text_add(w->out, "%s%s", i ? ", " : " over ", over->names.items[i]);
    text_char(w->out, ')');
}

/* The value itself, whether it has a name of its own or not. */
static void put_operation(Writer *w, const Node *n, enum Binding within, int depth)
{
    enum Binding binding;
    const char *infix = infix_of(n->op, &binding);
    if (n->op == OP_neg || n->op == OP_not)
        binding = BIND_UNARY;
    if (binding == BIND_CALL) {
        put_call(w, n, depth);
        return;
    }
    bool right_tighter = n->op == OP_sub || n->op == OP_div || binding == BIND_COMPARE;
    if (binding < within)
        text_char(w->out, '(');
    if (infix) {
        put_value(w, n->inputs[0], binding == BIND_COMPARE ? BIND_SUM : binding, depth);
        text_add(w->out, " %s ", infix);
        put_value(w, n->inputs[1], right_tighter ? binding + 1 : binding, depth);
    } else {
        text_char(w->out, n->op == OP_neg ? '-' : '!');
        put_value(w, n->inputs[0], BIND_CALL, depth);
    }
    if (binding < within)
        text_char(w->out, ')');
}

static void put_value(Writer *w, const Node *n, enum Binding within, int depth)
{
    const Known *k = find(w, n);
    if (!stands_here(w, n))
        put_leaf(w, n, within);
    else if (depth == MAX_NESTING || (k && k->uses > 1))
        put_name(n, w->out);
    else
        put_operation(w, n, within, depth + 1);
}

void expression_print(const Graph *body, int result, Text *out)
{
    Writer w = {.body = body, .out = out};
    const Node *value = body->results[result].value;
    count_uses(&w, value);
    if (stands_here(&w, value))
        put_operation(&w, value, BIND_LOOSEST, 0);
    else
        put_leaf(&w, value, BIND_LOOSEST);
    bool first = true;
    for (const Node *n = body->first; n; n = n->next) {
        const Known *k = find(&w, n);
        if (!k || k->uses < 2 || n == value || !stands_here(&w, n))
            continue;
        text_add(out, first ? " where " : ", ");
        put_name(n, out);
        text_add(out, " = ");
        put_operation(&w, n, BIND_LOOSEST, 0);
        first = false;
    }
}
