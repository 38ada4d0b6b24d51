/* Operators: + - * / % ^, comparisons, & | ! and .. on terms. What is known at compile time is computed; the rest
 * becomes nodes. */
#include "bind.h"

#include <math.h>

static const char *spelling(int op)
{
    switch (op) {
    case OP2_LE: return "<=";
    case OP2_GE: return ">=";
    case OP2_EQ: return "==";
    case OP2_NE: return "!=";
    case OP2_OTHERWISE: return "??";
    case OP2_RANGE: return "..";
    case '+': return "+";
    case '-': return "-";
    case '*': return "*";
    case '/': return "/";
    case '%': return "%";
    case '^': return "^";
    case '&': return "&";
    case '|': return "|";
    case '<': return "<";
    case '>': return ">";
    default: return "!";
    }
}

static bool is_comparison(int op)
{
    return op == OP2_LE || op == OP2_GE || op == OP2_EQ || op == OP2_NE || op == '<' || op == '>';
}

static Term refuse(Bind *b, int op, const Term *x, const Term *y, const Expr *e)
{
    if (x->kind == TERM_POISON || y->kind == TERM_POISON)
        return term_poison();
    Diag *d =
        bind_error(b, "E0201", b->at, "`%s` cannot take %s and %s", spelling(op), term_print(b, x), term_print(b, y));
    diag_origin(b, d, x);
    diag_origin(b, d, y);
    if (e && (op == '&' || op == '|') && (x->kind == TERM_FUNCTION || y->kind == TERM_FUNCTION))
        advise_mask(b, d, x->kind == TERM_FUNCTION ? y : x, x->kind == TERM_FUNCTION ? e->right->at : e->left->at);
    return term_poison();
}

static Term overflow(Bind *b, const Term *x, const Term *y)
{
    Diag *d = bind_error(b, "E0310", b->at, "this size is too large");
    diag_origin(b, d, x);
    diag_origin(b, d, y);
    return term_poison();
}

/* ---- known at compile time -------------------------------------------------------------------------------------- */

static bool divide_sizes(Extent x, Extent y, Extent *out)
{
    if (extent_equal(x, y) && extent_low(x) > 0) {
        *out = extent_const(1);
        return true;
    }
    return extent_is_const(y) && y.base != 0 && extent_div(x, y.base, out);
}

static bool power_sizes(Extent x, Extent y, Extent *out)
{
    if (!extent_is_const(x) || !extent_is_const(y) || y.base < 0 || y.base > 62)
        return false;
    *out = extent_const(1);
    for (int64_t i = 0; i < y.base; i++)
        if (!extent_mul(*out, x, out))
            return false;
    return true;
}

static Term fold_floats(Bind *b, double x, double y, int op)
{
    switch (op) {
    case '+': return term_float(x + y);
    case '-': return term_float(x - y);
    case '*': return term_float(x * y);
    case '%': return term_float(x - floor(x / y) * y);
    case '^': return term_float(pow(x, y));
    default: break;
    }
    if (y != 0)
        return term_float(x / y);
    bind_error(b, "E0310", b->at, "division by zero");
    return term_poison();
}

static Term fold_sizes(Bind *b, const Term *x, const Term *y, int op)
{
    Extent out;
    double a, c;
    bool numbers = term_is_number(x, &a) && term_is_number(y, &c);
    switch (op) {
    case '+': return extent_add(x->size, y->size, &out) ? term_size(out) : overflow(b, x, y);
    case '-': return extent_sub(x->size, y->size, &out) ? term_size(out) : overflow(b, x, y);
    case '*': return extent_mul(x->size, y->size, &out) ? term_size(out) : overflow(b, x, y);
    case '/':
        if (divide_sizes(x->size, y->size, &out))
            return term_size(out);
        break;
    case '^':
        if (power_sizes(x->size, y->size, &out))
            return term_size(out);
        break;
    case '%':
        if (!numbers || c == 0)
            break;
        return term_int(x->size.base % y->size.base +
                        ((x->size.base % y->size.base < 0) != (y->size.base < 0) && x->size.base % y->size.base
                             ? y->size.base
                             : 0));
    default: break;
    }
    if (numbers)
        return fold_floats(b, a, c, op);
    Diag *d = bind_error(b, "E0310", b->at, "`%s` of %s and %s is not known at compile time", spelling(op),
                         term_print(b, x), term_print(b, y));
    diag_origin(b, d, x);
    diag_origin(b, d, y);
    return term_poison();
}

static Term compare_numbers(double x, double y, int op)
{
    switch (op) {
    case '<': return term_bool(x < y);
    case '>': return term_bool(x > y);
    case OP2_LE: return term_bool(x <= y);
    default: return term_bool(x >= y);
    }
}

/* Sizes known at run time compare by their bounds where those decide. */
static bool compare_bounds(Extent x, Extent y, int op, Term *out)
{
    if (op == '>' || op == OP2_GE)
        return compare_bounds(y, x, op == '>' ? '<' : OP2_LE, out);
    int64_t strict = op == '<' ? 1 : 0;
    if (extent_high(x) + strict <= extent_low(y))
        *out = term_bool(true);
    else if (extent_low(x) + strict > extent_high(y))
        *out = term_bool(false);
    else
        return false;
    return true;
}

static Term compare(Bind *b, const Term *x, const Term *y, int op, const Expr *e)
{
    bool equal;
    double a, c;
    Term out;
    if (op == OP2_EQ || op == OP2_NE)
        return term_equal(b, x, y, &equal) ? term_bool(equal == (op == OP2_EQ)) : refuse(b, op, x, y, e);
    if (term_is_number(x, &a) && term_is_number(y, &c))
        return compare_numbers(a, c, op);
    if (x->kind == TERM_SIZE && y->kind == TERM_SIZE && compare_bounds(x->size, y->size, op, &out))
        return out;
    return refuse(b, op, x, y, e);
}

static Term join_texts(Bind *b, const Term *x, const Term *y)
{
    return term_text(name_of(b->cx->names, bind_print(b, "%s%s", x->text, y->text)));
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

static bool is_tensor(const Term *t)
{
    return t->kind == TERM_TENSOR || t->kind == TERM_RANGE;
}
static DType like(const Term *t)
{
    return t->kind == TERM_TENSOR ? t->node->type->dtype : DT_I32;
}

static bool both_dtypes(Bind *b, Node **x, Node **y, int op)
{
    DType a = (*x)->type->dtype, c = (*y)->type->dtype;
    if (a == c)
        return true;
    if (a == DT_BOOL || c == DT_BOOL) {
        Diag *d = bind_error(b, "E0202", b->at, "`%s` cannot take %s and %s", spelling(op), type_text(b, (*x)->type),
                             type_text(b, (*y)->type));
        diag_help(d, "`as f32` makes 1 of true and 0 of false");
        return false;
    }
    DType common = dtype_is_float(a) || dtype_is_float(c) ? DT_F32 : DT_I64;
    *x = make_cast(b, *x, common);
    *y = make_cast(b, *y, common);
    return true;
}

static int count_extra(const Type *x, const Type *y, const char **name)
{
    int n = 0;
    for (int i = 0; i < x->rank; i++) {
        if (type_find(y, x->axis[i].name) >= 0)
            continue;
        *name = x->axis[i].name;
        n++;
    }
    return n;
}

/* Sums of tensors that share some axes but each have one of their own are mistakes, not outer sums. */
static bool refuse_outer_sum(Bind *b, const Node *a, const Node *z, int op, const Expr *e)
{
    const Type *x = a->type, *y = z->type;
    const char *left = NULL, *right = NULL;
    if ((op != '+' && op != '-') || x->dtype != DT_F32)
        return false;
    int nx = count_extra(x, y, &left), ny = count_extra(y, x, &right);
    if (!nx || !ny || nx == x->rank)
        return false;
    Diag *d = bind_error(b, "E0304", b->at, "`%s` of tensors with different axes: `%s` on the left, `%s` on the right",
                         spelling(op), left, right);
    diag_caret(d, "%s and %s", type_text(b, x), type_text(b, y));
    int i = type_find(x, left), k = type_find(y, right);
    if (extent_equal(x->axis[i].size, y->axis[k].size))
        diag_note(d, "axes with different names never match, even if their sizes are the same");
    Span at;
    if (axis_marked(b, z, right, &at))
        advise_mark(b, d, z, &y->axis[k], "the right side");
    else
        advise_mark(b, d, a, &x->axis[i], "the left side");
    if ((ny != 1 || !advise_axis(b, d, z, right, left)) && (nx != 1 || !advise_axis(b, d, a, left, right)))
        advise_names(b, d, z, x, e ? e->right->at : (Span){0});
    return true;
}

static Op op_of(int op, bool *swap)
{
    *swap = op == '>' || op == OP2_GE;
    switch (op) {
    case '+': return OP_add;
    case '-': return OP_sub;
    case '*': return OP_mul;
    case '/': return OP_div;
    case '%': return OP_mod;
    case '^': return OP_pow;
    case '<':
    case '>': return OP_lt;
    case OP2_LE:
    case OP2_GE: return OP_le;
    case OP2_EQ: return OP_eq;
    case OP2_NE: return OP_ne;
    case '&': return OP_and;
    default: return OP_or;
    }
}

static Term tensor_binary(Bind *b, const Term *tx, const Term *ty, int op, const Expr *e)
{
    Node *x = tensor_of(b, tx, is_tensor(ty) ? like(ty) : DT_F32, "an operand");
    Node *y = tensor_of(b, ty, is_tensor(tx) ? like(tx) : DT_F32, "an operand");
    if (!x || !y)
        return term_poison();
    bool logic = op == '&' || op == '|', flags = x->type->dtype == DT_BOOL && y->type->dtype == DT_BOOL;
    if (logic != flags && !(flags && (op == OP2_EQ || op == OP2_NE))) {
        Diag *d = bind_error(b, "E0202", b->at, "`%s` cannot take %s and %s", spelling(op), type_text(b, x->type),
                             type_text(b, y->type));
        if (logic)
            diag_help(d, "`&` and `|` join truth values: compare first, as in `j <= i & j > 0`");
        return term_poison();
    }
    if (!both_dtypes(b, &x, &y, op) || refuse_outer_sum(b, x, y, op, e))
        return term_poison();
    if (op == '%' && dtype_is_float(x->type->dtype)) {
        bind_error(b, "E0202", b->at, "`%%` needs whole numbers, not %s and %s", type_text(b, x->type),
                   type_text(b, y->type));
        return term_poison();
    }
    if (op == '^') {
        x = make_cast(b, x, DT_F32);
        y = make_cast(b, y, DT_F32);
    }
    bool swap;
    Op node = op_of(op, &swap);
    return term_tensor(make_map(b, node, 2, swap ? (Node *[]){y, x} : (Node *[]){x, y}));
}

/* true & mask is the mask; false & mask is false. */
static bool fold_logic(const Term *x, const Term *y, int op, Term *out)
{
    if (x->kind != TERM_BOOL)
        return false;
    *out = x->flag == (op == '&') ? *y : *x;
    return true;
}

static Term logic(Bind *b, const Term *x, const Term *y, int op, const Expr *e)
{
    Term out;
    if (x->kind == TERM_FUNCTION && y->kind == TERM_FUNCTION)
        return function_combine(b, op == '&' ? FUNCTION_AND : FUNCTION_OR, x->function, y->function);
    bool fit = (x->kind == TERM_BOOL || is_tensor(x)) && (y->kind == TERM_BOOL || is_tensor(y));
    if (!fit)
        return refuse(b, op, x, y, e);
    if (fold_logic(x, y, op, &out) || fold_logic(y, x, op, &out))
        return out;
    return tensor_binary(b, x, y, op, e);
}

/* 0..S runs along S; T-S..T has no axis yet, even where it starts at 0: a parameter's type gives it one. */
static Term range(Bind *b, const Term *x, const Term *y, const Expr *e)
{
    Extent length;
    if (x->kind != TERM_SIZE || y->kind != TERM_SIZE)
        return refuse(b, OP2_RANGE, x, y, e);
    if (!extent_sub(y->size, x->size, &length))
        return overflow(b, x, y);
    if (extent_low(length) < 0 && extent_is_const(length)) {
        bind_error(b, "E0310", b->at, "the range %s..%s is empty", term_print(b, x), term_print(b, y));
        return term_poison();
    }
    bool whole = e && e->left->kind == EXPR_NUMBER && extent_equal(x->size, extent_const(0)) && y->dim;
    Term t = {.kind = TERM_RANGE};
    t.range.start = x->size;
    t.range.length = length;
    t.range.along = whole ? y->dim : NULL;
    return t;
}

Term operator_binary(Bind *b, Term x, Term y, int op, const Expr *e)
{
    if (x.kind == TERM_POISON || y.kind == TERM_POISON)
        return term_poison();
    if (x.kind == TERM_ABSENT || y.kind == TERM_ABSENT) {
        bool left = x.kind == TERM_ABSENT;
        config_refuse_absent(b, left ? &x : &y, !e ? b->at : left ? e->left->at : e->right->at);
        return term_poison();
    }
    if (op == OP2_RANGE)
        return range(b, &x, &y, e);
    if (op == '&' || op == '|')
        return logic(b, &x, &y, op, e);
    if (is_tensor(&x) || is_tensor(&y)) {
        if ((op == OP2_EQ || op == OP2_NE) && (x.kind == TERM_NONE || y.kind == TERM_NONE))
            return term_bool(op == OP2_NE);
        return tensor_binary(b, &x, &y, op, e);
    }
    if (is_comparison(op))
        return compare(b, &x, &y, op, e);
    if (x.kind == TERM_SIZE && y.kind == TERM_SIZE)
        return fold_sizes(b, &x, &y, op);
    double a, c;
    if (term_is_number(&x, &a) && term_is_number(&y, &c))
        return fold_floats(b, a, c, op);
    if (op == '+' && x.kind == TERM_TEXT && y.kind == TERM_TEXT)
        return join_texts(b, &x, &y);
    if ((x.kind == TERM_SIZE || x.kind == TERM_FLOAT) && (y.kind == TERM_SIZE || y.kind == TERM_FLOAT))
        return tensor_binary(b, &x, &y, op, e);
    return refuse(b, op, &x, &y, e);
}

static Term negate(Bind *b, const Term *x)
{
    Extent out;
    if (x->kind == TERM_FLOAT)
        return term_float(-x->real);
    if (x->kind == TERM_SIZE)
        return extent_scale(x->size, -1, &out) ? term_size(out) : overflow(b, x, x);
    Node *n = tensor_of(b, x, DT_F32, "the operand of `-`");
    if (!n)
        return term_poison();
    if (n->type->dtype == DT_BOOL) {
        bind_error(b, "E0202", b->at, "`-` cannot take %s", type_text(b, n->type));
        return term_poison();
    }
    return term_tensor(make_map(b, OP_neg, 1, &n));
}

Term operator_unary(Bind *b, Term x, int op)
{
    if (x.kind == TERM_POISON)
        return x;
    if (op == '-')
        return negate(b, &x);
    if (x.kind == TERM_BOOL)
        return term_bool(!x.flag);
    if (x.kind == TERM_FUNCTION)
        return function_combine(b, FUNCTION_NOT, x.function, NULL);
    if (x.kind == TERM_TENSOR && x.node->type->dtype == DT_BOOL)
        return term_tensor(make_map(b, OP_not, 1, &x.node));
    Diag *d = bind_error(b, "E0201", b->at, "`!` needs a truth value, not %s", term_print(b, &x));
    diag_origin(b, d, &x);
    return term_poison();
}
