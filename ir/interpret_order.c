/* The interpreter's operators that go along one axis in order: running sums and maxima, and the largest elements. */
#include "ir/interpret_inside.h"

#include <math.h>
#include <string.h>

/* One axis of a value; of each line along it the first element and the step. */
typedef struct Lines {
    int64_t length, step, outer;
} Lines;

static Lines lines_of(const Value *v, int axis)
{
    Lines l = {.length = v->dims[axis], .step = 1, .outer = 1};
    for (int i = axis + 1; i < v->rank; i++)
        l.step *= v->dims[i];
    for (int i = 0; i < axis; i++)
        l.outer *= v->dims[i];
    return l;
}

/* ---- cumsum, cummax ---------------------------------------------------------------------------------------------- */

static double add_up(const Node *n, double so_far, double x)
{
    if (n->op == OP_cumsum)
        return so_far + x;
    return isnan(so_far) || isnan(x) ? NAN : so_far > x ? so_far : x;
}

static void scan_line(const Node *n, const double *x, double *y, int64_t length, int64_t step)
{
    bool reverse = attr_bool(n, ATTR_reverse, false), exclusive = attr_bool(n, ATTR_exclusive, false);
    double least = dtype_is_float(n->type->dtype) ? -INFINITY : INT32_MIN, so_far = n->op == OP_cumsum ? 0 : least;
    for (int64_t i = 0; i < length; i++) {
        int64_t at = (reverse ? length - 1 - i : i) * step;
        double next = add_up(n, so_far, x[at]);
        y[at] = exclusive ? so_far : next;
        so_far = next;
    }
}

void eval_scan(Run *run, const Node *n, Value *out)
{
    const Value *in = value_of(run, n->inputs[0]);
    Lines l = lines_of(in, type_find(in->type, node_attr(n, ATTR_over)->names.items[0]));
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t s = 0; s < l.step; s++) {
            int64_t first = o * l.length * l.step + s;
            scan_line(n, in->data + first, out->data + first, l.length, l.step);
        }
}

/* ---- topk -------------------------------------------------------------------------------------------------------- */

/* Does element a of the line come before element b? A NaN before all numbers; of equal ones the first. */
static bool comes_before(const double *x, int64_t step, int64_t a, int64_t b)
{
    double p = x[a * step], q = x[b * step];
    if (isnan(p) || isnan(q))
        return isnan(p) && isnan(q) ? a < b : isnan(p);
    return p != q ? p > q : a < b;
}

/* All positions in order, by merging. */
static void sort_line(const double *x, int64_t step, int64_t length, int64_t *order, int64_t *spare)
{
    for (int64_t i = 0; i < length; i++)
        order[i] = i;
    for (int64_t width = 1; width < length; width *= 2) {
        for (int64_t first = 0; first < length; first += 2 * width) {
            int64_t middle = first + width < length ? first + width : length;
            int64_t end = middle + width < length ? middle + width : length, left = first, right = middle;
            for (int64_t i = first; i < end; i++) {
                bool take_left = left < middle && (right == end || comes_before(x, step, order[left], order[right]));
                spare[i] = order[take_left ? left++ : right++];
            }
        }
        memcpy(order, spare, (size_t)length * sizeof *order);
    }
}

void eval_topk(Run *run, const Node *n, Value *out)
{
    const Value *in = value_of(run, n->inputs[0]);
    int axis = type_find(in->type, node_attr(n, ATTR_over)->names.items[0]);
    Lines from = lines_of(in, axis), to = lines_of(out, axis);
    int64_t *order = arena_array(run->work, (size_t)from.length + 1, sizeof *order),
            *spare = arena_array(run->work, (size_t)from.length + 1, sizeof *spare);
    for (int64_t o = 0; o < from.outer; o++)
        for (int64_t s = 0; s < from.step; s++) {
            sort_line(in->data + o * from.length * from.step + s, from.step, from.length, order, spare);
            for (int64_t i = 0; i < to.length; i++)
                out->data[(o * to.length + i) * to.step + s] = (double)order[i];
        }
}
