/* The interpreter's arithmetic: elementwise operators, reductions, softmax, products; all in double. */
#include "ir/interpret_inside.h"

#include <math.h>
#include <string.h>

typedef double (*Scalar)(double a, double b, double c);

/* clang-format off */
static double f_add(double a, double b, double c) { (void)c; return a + b; }
static double f_sub(double a, double b, double c) { (void)c; return a - b; }
static double f_mul(double a, double b, double c) { (void)c; return a * b; }
static double f_div(double a, double b, double c) { (void)c; return a / b; }
static double f_div_int(double a, double b, double c) { (void)c; return floor(a / b); }
static double f_mod(double a, double b, double c) { (void)c; return a - floor(a / b) * b; }
static double f_pow(double a, double b, double c) { (void)c; return pow(a, b); }
static double f_maximum(double a, double b, double c) { (void)c; return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }
static double f_minimum(double a, double b, double c) { (void)c; return isnan(a) || isnan(b) ? NAN : a < b ? a : b; }
static double f_neg(double a, double b, double c) { (void)b; (void)c; return -a; }
static double f_abs(double a, double b, double c) { (void)b; (void)c; return fabs(a); }
static double f_exp(double a, double b, double c) { (void)b; (void)c; return exp(a); }
static double f_log(double a, double b, double c) { (void)b; (void)c; return log(a); }
static double f_sqrt(double a, double b, double c) { (void)b; (void)c; return sqrt(a); }
static double f_rsqrt(double a, double b, double c) { (void)b; (void)c; return 1 / sqrt(a); }
static double f_tanh(double a, double b, double c) { (void)b; (void)c; return tanh(a); }
static double f_erf(double a, double b, double c) { (void)b; (void)c; return erf(a); }
static double f_sin(double a, double b, double c) { (void)b; (void)c; return sin(a); }
static double f_cos(double a, double b, double c) { (void)b; (void)c; return cos(a); }
static double f_sigmoid(double a, double b, double c) { (void)b; (void)c; return 1 / (1 + exp(-a)); }
static double f_silu(double a, double b, double c) { (void)b; (void)c; return a / (1 + exp(-a)); }
static double f_gelu(double a, double b, double c) { (void)b; (void)c; return 0.5 * a * (1 + erf(a * M_SQRT1_2)); }
static double f_lt(double a, double b, double c) { (void)c; return a < b; }
static double f_le(double a, double b, double c) { (void)c; return a <= b; }
static double f_eq(double a, double b, double c) { (void)c; return a == b; }
static double f_ne(double a, double b, double c) { (void)c; return a != b; }
static double f_and(double a, double b, double c) { (void)c; return a != 0 && b != 0; }
static double f_or(double a, double b, double c) { (void)c; return a != 0 || b != 0; }
static double f_not(double a, double b, double c) { (void)b; (void)c; return a == 0; }
static double f_where(double a, double b, double c) { return a != 0 ? b : c; }
static double f_round_bf16(double a, double b, double c) { (void)b; (void)c; return dtype_rounded(DT_BF16, a); }
static double f_same(double a, double b, double c) { (void)b; (void)c; return a; }
static double f_truncate(double a, double b, double c) { (void)b; (void)c; return trunc(a); }
static double f_truth(double a, double b, double c) { (void)b; (void)c; return a != 0; }
/* clang-format on */

static double f_gelu_tanh(double a, double b, double c)
{
    (void)b;
    (void)c;
    return 0.5 * a * (1 + tanh(sqrt(2 / M_PI) * (a + 0.044715 * a * a * a)));
}

/* clang-format off */
static const Scalar scalars[OP_COUNT] = {
    [OP_add] = f_add, [OP_sub] = f_sub, [OP_mul] = f_mul, [OP_div] = f_div, [OP_mod] = f_mod, [OP_pow] = f_pow,
    [OP_maximum] = f_maximum, [OP_minimum] = f_minimum, [OP_neg] = f_neg, [OP_abs] = f_abs, [OP_exp] = f_exp, [OP_log] = f_log,
    [OP_sqrt] = f_sqrt, [OP_rsqrt] = f_rsqrt, [OP_tanh] = f_tanh, [OP_erf] = f_erf, [OP_sin] = f_sin, [OP_cos] = f_cos,
    [OP_sigmoid] = f_sigmoid, [OP_silu] = f_silu, [OP_gelu] = f_gelu, [OP_gelu_tanh] = f_gelu_tanh, [OP_lt] = f_lt, [OP_le] = f_le,
    [OP_eq] = f_eq, [OP_ne] = f_ne, [OP_and] = f_and, [OP_or] = f_or, [OP_not] = f_not, [OP_where] = f_where, [OP_round_bf16] = f_round_bf16,
};
/* clang-format on */

static Scalar scalar_of(const Node *n)
{
    DType to = n->type->dtype;
    if (n->op == OP_cast)
        return dtype_is_float(to) ? f_same : to == DT_BOOL ? f_truth : f_truncate;
    if (n->op == OP_div && !dtype_is_float(to))
        return f_div_int;
    return scalars[n->op];
}

/* Steps an odometer over dims[0 .. rank - 1) and moves each offset with it; false at the end. */
static bool advance(int rank, const int64_t *dims, int64_t *at, int count, int64_t steps[][MAX_RANK], int64_t *offsets)
{
    for (int i = rank - 2; i >= 0; i--) {
        at[i]++;
        for (int k = 0; k < count; k++)
            offsets[k] += steps[k][i];
        if (at[i] < dims[i])
            return true;
        for (int k = 0; k < count; k++)
            offsets[k] -= steps[k][i] * dims[i];
        at[i] = 0;
    }
    return false;
}

void eval_map(Run *run, const Node *n, Value *out)
{
    static const double nothing[1] = {0};
    Scalar f = scalar_of(n);
    const double *in[3] = {nothing, nothing, nothing};
    int64_t steps[3][MAX_RANK] = {{0}}, at[MAX_RANK] = {0}, offsets[3] = {0};
    for (int k = 0; k < n->n_inputs; k++) {
        const Value *v = value_of(run, n->inputs[k]);
        in[k] = v->data;
        value_steps(v, out->type, steps[k]);
    }
    if (out->count == 0)
        return;
    int rank = out->rank;
    int64_t inner = rank ? out->dims[rank - 1] : 1;
    int64_t s0 = rank ? steps[0][rank - 1] : 0, s1 = rank ? steps[1][rank - 1] : 0, s2 = rank ? steps[2][rank - 1] : 0;
    double *to = out->data;
    do {
        const double *a = in[0] + offsets[0], *b = in[1] + offsets[1], *c = in[2] + offsets[2];
        for (int64_t i = 0; i < inner; i++)
            *to++ = f(a[i * s0], b[i * s1], c[i * s2]);
    } while (advance(rank, out->dims, at, 3, steps, offsets));
}

void copy_strided(Value *out, const double *from, const int64_t given[MAX_RANK])
{
    int64_t steps[1][MAX_RANK], at[MAX_RANK] = {0}, offset = 0;
    memcpy(steps[0], given, sizeof steps[0]);
    if (out->count == 0)
        return;
    int64_t inner = out->rank ? out->dims[out->rank - 1] : 1, step = out->rank ? given[out->rank - 1] : 0;
    double *to = out->data;
    do {
        for (int64_t i = 0; i < inner; i++)
            *to++ = from[offset + i * step];
    } while (advance(out->rank, out->dims, at, 1, steps, &offset));
}

void eval_reduce(Run *run, const Node *n, Value *out)
{
    const Value *in = value_of(run, n->inputs[0]);
    int64_t steps[1][MAX_RANK] = {{0}}, at[MAX_RANK] = {0}, offset = 0;
    int64_t step = 1, reduced = 1;
    for (int i = out->rank - 1; i >= 0; i--) {
        int where = type_find(in->type, out->type->axis[i].name);
        if (where >= 0)
            steps[0][where] = step;
        step *= out->dims[i];
    }
    for (int64_t i = 0; i < out->count; i++)
        out->data[i] = n->op == OP_max ? -INFINITY : 0;
    for (int i = 0; i < in->rank; i++)
        if (attr_has_name(n, ATTR_over, in->type->axis[i].name))
            reduced *= in->dims[i];
    int64_t inner = in->rank ? in->dims[in->rank - 1] : 1, to_step = in->rank ? steps[0][in->rank - 1] : 0;
    const double *from = in->data;
    if (in->count > 0)
        do {
            for (int64_t i = 0; i < inner; i++, from++) {
                double *to = out->data + offset + i * to_step;
                *to = n->op == OP_max ? f_maximum(*to, *from, 0) : *to + *from;
            }
        } while (advance(in->rank, in->dims, at, 1, steps, &offset));
    if (n->op == OP_mean)
        for (int64_t i = 0; i < out->count; i++)
            out->data[i] /= (double)reduced;
}

void eval_softmax(Run *run, const Value *in, const char *axis, Value *out)
{
    (void)run;
    int over = type_find(in->type, axis);
    int64_t length = in->dims[over], step = 1, outer = 1;
    for (int i = over + 1; i < in->rank; i++)
        step *= in->dims[i];
    for (int i = 0; i < over; i++)
        outer *= in->dims[i];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t s = 0; s < step; s++) {
            const double *x = in->data + o * length * step + s;
            double *y = out->data + o * length * step + s;
            double most = -INFINITY, total = 0;
            for (int64_t i = 0; i < length; i++)
                most = f_maximum(most, x[i * step], 0);
            for (int64_t i = 0; i < length; i++)
                total += y[i * step] = most == -INFINITY ? 0 : exp(x[i * step] - most);
            for (int64_t i = 0; i < length; i++)
                y[i * step] = most == -INFINITY ? 0 : y[i * step] / total;
        }
}

void eval_log_sum(Run *run, const Value *in, const char *axis, Value *out)
{
    int64_t steps[MAX_RANK], length = in->dims[type_find(in->type, axis)];
    double *total = arena_array(run->work, (size_t)out->count, sizeof *total);
    value_steps(out, in->type, steps);
    for (int64_t i = 0; i < out->count; i++)
        out->data[i] = -INFINITY;
    for (int pass = 0; pass < 2 && length > 0; pass++) { /* the largest, then the sum */
        int64_t at[MAX_RANK] = {0}, to = 0;
        for (int64_t from = 0; from < in->count; from++) {
            double x = in->data[from];
            if (!pass)
                out->data[to] = f_maximum(out->data[to], x, 0);
            else if (out->data[to] != -INFINITY)
                total[to] += exp(x - out->data[to]);
            for (int i = in->rank - 1; i >= 0; i--) {
                to += steps[i];
                if (++at[i] < in->dims[i])
                    break;
                to -= at[i] * steps[i];
                at[i] = 0;
            }
        }
    }
    for (int64_t i = 0; i < out->count; i++)
        out->data[i] = out->data[i] == -INFINITY ? -INFINITY : out->data[i] + log(total[i]);
}

/* ---- products: operands permuted to [batch, m, k] and [batch, k, n] ---------------------------------------------- */

typedef struct AxisList {
    const char *name[2 * MAX_RANK];
    int64_t size[2 * MAX_RANK];
    int n;
} AxisList;

static void list_add(AxisList *l, const char *name, int64_t size)
{
    l->name[l->n] = name;
    l->size[l->n++] = size;
}

static int64_t list_count(const AxisList *l)
{
    int64_t count = 1;
    for (int i = 0; i < l->n; i++)
        count *= l->size[i];
    return count;
}

static int64_t step_of(const Value *v, const char *axis)
{
    int64_t step = 1;
    for (int i = v->rank - 1; i >= 0; i--) {
        if (v->type->axis[i].name == axis)
            return step;
        step *= v->dims[i];
    }
    return 0;
}

/* Copies between `v` in its own order and a packed array in the order first, second, third. */
static void permute(const Value *v, double *packed, const AxisList *first, const AxisList *second,
                    const AxisList *third, bool unpack)
{
    int64_t dims[4 * MAX_RANK], steps[4 * MAX_RANK], at[4 * MAX_RANK] = {0}, offset = 0;
    const AxisList *lists[3] = {first, second, third};
    int rank = 0;
    int64_t count = 1;
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < lists[l]->n; i++) {
            dims[rank] = lists[l]->size[i];
            steps[rank] = step_of(v, lists[l]->name[i]);
            count *= dims[rank++];
        }
    for (int64_t done = 0; done < count; done++) {
        if (unpack)
            v->data[offset] = packed[done];
        else
            packed[done] = v->data[offset];
        for (int i = rank - 1; i >= 0; i--) {
            offset += steps[i];
            if (++at[i] < dims[i])
                break;
            offset -= steps[i] * dims[i];
            at[i] = 0;
        }
    }
}

/* c[m][n] = sum over k of a[m][k] * b[k][n], four rows at a time. */
static void multiply(const double *restrict a, const double *restrict b, double *restrict c, int64_t m, int64_t k,
                     int64_t n, bool skip_zero)
{
    memset(c, 0, (size_t)(m * n) * sizeof *c);
    int64_t row = 0;
    for (; !skip_zero && row + 4 <= m; row += 4) {
        double *restrict c0 = c + row * n, *restrict c1 = c0 + n, *restrict c2 = c1 + n, *restrict c3 = c2 + n;
        for (int64_t i = 0; i < k; i++) {
            double a0 = a[row * k + i], a1 = a[(row + 1) * k + i], a2 = a[(row + 2) * k + i], a3 = a[(row + 3) * k + i];
            const double *restrict b_i = b + i * n;
            for (int64_t j = 0; j < n; j++) {
                c0[j] += a0 * b_i[j];
                c1[j] += a1 * b_i[j];
                c2[j] += a2 * b_i[j];
                c3[j] += a3 * b_i[j];
            }
        }
    }
    for (; row < m; row++)
        for (int64_t i = 0; i < k; i++) {
            double a_i = a[row * k + i];
            if (skip_zero && a_i == 0)
                continue;
            for (int64_t j = 0; j < n; j++)
                c[row * n + j] += a_i * b[i * n + j];
        }
}

static bool listed(const char *name, const char *const *over, int n_over)
{
    for (int i = 0; i < n_over; i++)
        if (over[i] == name)
            return true;
    return false;
}

void eval_dot(Run *run, const Value *a, const Value *b, const char *const *over, int n_over, bool skip_zero, Value *out)
{
    AxisList batch = {.n = 0}, rows = {.n = 0}, columns = {.n = 0}, inner = {.n = 0};
    for (int i = 0; i < a->rank; i++) {
        const char *name = a->type->axis[i].name;
        bool in_b = type_find(b->type, name) >= 0;
        list_add(listed(name, over, n_over) ? &inner : in_b ? &batch : &rows, name, a->dims[i]);
    }
    for (int i = 0; i < b->rank; i++) {
        const char *name = b->type->axis[i].name;
        if (type_find(a->type, name) < 0)
            list_add(listed(name, over, n_over) ? &inner : &columns, name, b->dims[i]);
    }
    int64_t n_batch = list_count(&batch), m = list_count(&rows), n = list_count(&columns), k = list_count(&inner);
    double *pa = arena_array(run->work, (size_t)(n_batch * m * k), sizeof *pa);
    double *pb = arena_array(run->work, (size_t)(n_batch * k * n), sizeof *pb);
    double *pc = arena_array(run->work, (size_t)(n_batch * m * n), sizeof *pc);
    permute(a, pa, &batch, &rows, &inner, false);
    permute(b, pb, &batch, &inner, &columns, false);
    for (int64_t i = 0; i < n_batch; i++)
        multiply(pa + i * m * k, pb + i * k * n, pc + i * m * n, m, k, n, skip_zero);
    permute(out, pc, &batch, &rows, &columns, true);
}
