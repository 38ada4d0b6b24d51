/* A kernel's body as C expressions: on one number or on a vector, with no parentheses but the needed ones.
 *
 * Numbers that are the same for all lanes stay plain C numbers as long as an operator can take them so; `splat` turns them into
 * vectors where a function wants one. */
#include "codegen/emit.h"

#include <math.h>
#include <string.h>

Operand operand_of(const char *text, Binds binds, bool vector, DType dtype) { return (Operand){text, binds, vector, dtype}; }

const char *operand_text(Context *cx, Operand o, Binds at_least) {
    return o.binds < at_least ? arena_print(cx->arena, "(%s)", o.text) : o.text;
}

const char *float_literal(Context *cx, double value) {
    if (isnan(value))
        return "__builtin_nanf(\"\")";
    if (isinf((float)value))
        return value < 0 ? "-__builtin_inff()" : "__builtin_inff()";
    Text t = text_new(cx->arena);
    text_float(&t, (float)value);
    text_add(&t, "%sf", strpbrk(t.data, ".e") ? "" : ".0");
    return t.data;
}

Operand operand_vector(Kernel *k, Operand o) {
    Context *cx = k->e->cx;
    if (o.vector)
        return o;
    const char *splat = o.dtype == DT_F32 ? "splat" : o.dtype == DT_BOOL ? "splat_mask" : "splat_int";
    return operand_of(arena_print(cx->arena, "%s(%s)", splat, o.text), BINDS_ALL, true, o.dtype);
}

/* ---- operators ---------------------------------------------------------------------------------------------------------------------- */

typedef struct Printing { BodyPrinter *b; const Node *n; Operand in[3]; bool vector; } Printing;

static Context *context(const Printing *p) { return p->b->k->e->cx; }
static bool is_int(DType t) { return t == DT_I32 || t == DT_I64; }

static Operand refuse(Printing *p, const char *why) {
    emit_fail(p->b->k->e, p->b->k->node, "its body's `%s` (%s) %s", p->n->name ? p->n->name : "?", op_info[p->n->op].name, why);
    return operand_of("0", BINDS_ALL, false, p->n->type->dtype);
}

/* The scalar numbers of an operation on vectors: C takes floats beside vectors, ints and masks become vectors first. */
static void promote(Printing *p, bool floats_too) {
    for (int i = 0; i < p->n->n_inputs; i++)
        if (floats_too || (p->vector && p->in[i].dtype != DT_F32))
            p->in[i] = operand_vector(p->b->k, p->in[i]);
}

static Operand binary(Printing *p, const char *sign, Binds own, Binds left, Binds right) {
    promote(p, false);
    const char *text = arena_print(context(p)->arena, "%s %s %s", operand_text(context(p), p->in[0], left), sign,
                                   operand_text(context(p), p->in[1], right));
    return operand_of(text, own, p->vector, p->n->type->dtype);
}

static Operand prefix(Printing *p, const char *sign) {
    const char *text = operand_text(context(p), p->in[0], BINDS_UNARY);
    if (text[0] == '-')
        text = arena_print(context(p)->arena, "(%s)", text);
    return operand_of(arena_print(context(p)->arena, "%s%s", sign, text), BINDS_UNARY, p->vector, p->n->type->dtype);
}

static Operand calling(Printing *p, const char *function, bool vector) {
    Text t = text_new(context(p)->arena);
    text_add(&t, "%s(", function);
    for (int i = 0; i < p->n->n_inputs; i++)
        text_add(&t, "%s%s", i ? ", " : "", p->in[i].text);
    text_char(&t, ')');
    return operand_of(t.data, BINDS_ALL, vector, p->n->type->dtype);
}

static Operand math(Printing *p, MathFunction f) {
    promote(p, true);
    return calling(p, math_use(p->b->k->e, f), true);
}

/* Functions on whole numbers: of math.c on vectors, of the prelude on one number. */
static Operand int_function(Printing *p, MathFunction f, const char *plain) {
    if (p->vector) {
        promote(p, true);
        return calling(p, math_use(p->b->k->e, f), true);
    }
    return calling(p, plain, false);
}

static Operand function(Printing *p) {
    MathFunction f;
    if (is_int(p->n->type->dtype)) {
        switch (p->n->op) {
        case OP_div: return int_function(p, MATH_INT_DIV, "floor_div");
        case OP_mod: return int_function(p, MATH_INT_MOD, "floor_mod");
        case OP_maximum: return int_function(p, MATH_INT_MAX, "greater_int");
        case OP_minimum: return int_function(p, MATH_INT_MIN, "lesser_int");
        default: return refuse(p, "is not defined on whole numbers");
        }
    }
    if (p->n->type->dtype != DT_F32 || !math_of_op(p->n->op, &f))
        return refuse(p, "has no vector function for these element types");
    return math(p, f);
}

static Operand int_abs(Printing *p) {
    const char *x = p->in[0].text, *negated = operand_text(context(p), p->in[0], BINDS_ALL);
    const char *f = p->vector ? math_use(p->b->k->e, MATH_INT_MAX) : "greater_int";
    return operand_of(arena_print(context(p)->arena, "%s(%s, -%s)", f, x, negated), BINDS_ALL, p->vector, p->n->type->dtype);
}

/* c ? a : b on whole vectors is a choice of bits; for one number it is C's own. */
static Operand choose(Printing *p) {
    Arena *a = context(p)->arena;
    DType dtype = p->n->type->dtype;
    if (p->vector)
        for (int i = p->in[0].vector ? 0 : 1; i < 3; i++)
            p->in[i] = operand_vector(p->b->k, p->in[i]);
    if (p->in[0].vector)
        return calling(p, dtype == DT_F32 ? "select" : "select_int", true);
    const char *condition = operand_text(context(p), p->in[0], BINDS_EQUAL), *yes = operand_text(context(p), p->in[1], BINDS_OR);
    const char *no = operand_text(context(p), p->in[2], BINDS_OR);
    return operand_of(arena_print(a, "%s ? %s : %s", condition, yes, no), BINDS_CONDITION, p->vector, dtype);
}

static Operand convert(Printing *p) {
    Arena *a = context(p)->arena;
    Operand x = p->in[0];
    DType from = x.dtype, to = p->n->type->dtype;
    const char *tight = operand_text(context(p), x, BINDS_UNARY);
    x.dtype = to;
    if (from == to || (is_int(from) && is_int(to)))
        return x;
    if (to == DT_BOOL) {
        const char *text = arena_print(a, "%s != 0", operand_text(context(p), x, BINDS_SUM));
        return operand_of(text, BINDS_EQUAL, x.vector, to);
    }
    if (!x.vector) {
        if (from == DT_BOOL && is_int(to))
            return x;
        return operand_of(arena_print(a, to == DT_F32 ? "(float)%s" : "(int)%s", tight), BINDS_UNARY, false, to);
    }
    bool negative = from == DT_BOOL && p->b->k->e->target->lanes > 1; /* -1 for true */
    if (from == DT_BOOL && is_int(to))
        return negative ? prefix(p, "-") : x;
    if (to == DT_F32)
        return operand_of(arena_print(a, negative ? "to_float(-%s)" : "to_float(%s)", negative ? tight : x.text), BINDS_ALL, true, to);
    return to == DT_I32 || to == DT_I64 ? calling(p, "to_int", true) : refuse(p, "goes to an element type without kernels");
}

static Operand operation(Printing *p) {
    bool whole = is_int(p->n->type->dtype);
    switch (p->n->op) {
    case OP_add: return binary(p, "+", BINDS_SUM, BINDS_SUM, BINDS_PRODUCT);
    case OP_sub: return binary(p, "-", BINDS_SUM, BINDS_SUM, BINDS_PRODUCT);
    case OP_mul: return binary(p, "*", BINDS_PRODUCT, BINDS_PRODUCT, BINDS_UNARY);
    case OP_div: return whole ? function(p) : binary(p, "/", BINDS_PRODUCT, BINDS_PRODUCT, BINDS_UNARY);
    case OP_neg: return prefix(p, "-");
    case OP_abs: return whole ? int_abs(p) : function(p);
    case OP_lt: return binary(p, "<", BINDS_LESS, BINDS_SUM, BINDS_SUM);
    case OP_le: return binary(p, "<=", BINDS_LESS, BINDS_SUM, BINDS_SUM);
    case OP_eq: return binary(p, "==", BINDS_EQUAL, BINDS_SUM, BINDS_SUM);
    case OP_ne: return binary(p, "!=", BINDS_EQUAL, BINDS_SUM, BINDS_SUM);
    case OP_and: return binary(p, "&", BINDS_AND, p->in[0].binds == BINDS_AND ? BINDS_AND : BINDS_UNARY, BINDS_UNARY);
    case OP_or: return binary(p, "|", BINDS_OR, p->in[0].binds == BINDS_OR ? BINDS_OR : BINDS_UNARY, BINDS_UNARY);
    case OP_not: return prefix(p, p->vector ? mask_not(p->b->k->e->target) : "!");
    case OP_where: return choose(p);
    case OP_cast: return convert(p);
    default: return function(p);
    }
}

/* ---- leaves and the walk -------------------------------------------------------------------------------------------------------------------- */

static Operand default_leaf(Printing *p) {
    Context *cx = context(p);
    const Attr *size = node_attr(p->n, ATTR_size);
    if (p->n->op == OP_const && p->n->type->dtype == DT_F32) {
        double value = attr_float(p->n, ATTR_value, 0);
        return operand_of(float_literal(cx, value), value < 0 ? BINDS_UNARY : BINDS_ALL, false, DT_F32);
    }
    if (p->n->op == OP_const) {
        long long value = (long long)attr_float(p->n, ATTR_value, 0);
        return operand_of(arena_print(cx->arena, "%lld", value), value < 0 ? BINDS_UNARY : BINDS_ALL, false, p->n->type->dtype);
    }
    if (p->n->op == OP_extent && size && extent_is_const(size->extent))
        return operand_of(float_literal(cx, (double)size->extent.base), BINDS_ALL, false, DT_F32);
    if (p->n->op == OP_extent && size)
        return operand_of(arena_print(cx->arena, "(float)%s", kernel_factor(p->b->k, size->extent)), BINDS_UNARY, false, DT_F32);
    return refuse(p, "does not fit this kind of kernel");
}

static int uses_in_body(const Graph *body, const Node *n) {
    int uses = 0;
    for (const Node *u = body->first; u; u = u->next)
        for (int i = 0; i < u->n_inputs; i++)
            uses += u->inputs[i] == n;
    for (int i = 0; i < body->n_results; i++)
        uses += body->results[i].value == n;
    return uses;
}

void body_define(BodyPrinter *b, const Node *n, Operand value) {
    if (b->n_done == b->capacity) {
        size_t more = b->capacity ? b->capacity * 2 : 16;
        b->done = arena_grow(b->k->e->cx->arena, b->done, b->n_done, more, sizeof *b->done);
        b->values = arena_grow(b->k->e->cx->arena, b->values, b->n_done, more, sizeof *b->values);
        b->capacity = more;
    }
    b->done[b->n_done] = n;
    b->values[b->n_done++] = value;
}

static bool is_plain(const char *text) { return !strpbrk(text, " +-*/(<>&|!~?"); }

/* A value with several readers is computed once, into a local variable. */
static Operand named(BodyPrinter *b, const Node *n, Operand o) {
    const char *type = o.dtype == DT_F32 ? (o.vector ? "lanes" : "float") : o.vector ? "ints" : b->positions ? "ptrdiff_t" : "int";
    const char *name = kernel_local(b->k, n);
    put_wrapped(b->out, b->indent, arena_print(b->k->e->cx->arena, "%s %s = %s;", type, name, o.text));
    return operand_of(name, BINDS_ALL, o.vector, o.dtype);
}

Operand body_value(BodyPrinter *b, const Node *n) {
    for (size_t i = b->n_done; i-- > 0;)
        if (b->done[i] == n)
            return b->values[i];
    Printing p = {.b = b, .n = n};
    Operand o = {0};
    bool reads = op_info[n->op].class == CLASS_LEAF || n->op == OP_gather || n->op == OP_rotate;
    if (reads) {
        if (n->op != OP_const)
            o = b->leaf(b->state, n);
        if (!o.text)
            o = default_leaf(&p);
    } else if (op_info[n->op].class != CLASS_MAP || n->n_inputs > 3) {
        o = refuse(&p, "is not an elementwise operator");
    } else {
        for (int i = 0; i < n->n_inputs; i++) {
            p.in[i] = body_value(b, n->inputs[i]);
            p.vector |= p.in[i].vector;
        }
        o = operation(&p);
    }
    if (!is_plain(o.text) && n->op != OP_const && n->op != OP_extent && uses_in_body(n->graph, n) > 1)
        o = named(b, n, o);
    body_define(b, n, o);
    return o;
}
