/* Rows of a model: which axes they are, and which kernels stay within a row. */
#include "ir/rows.h"

#include <string.h>

static const Node *first_gemm(const Graph *g)
{
    const Node *found = NULL;
    for (const Node *n = g->first; n; n = n->next) {
        const Node *inside = n->op == OP_repeat ? first_gemm(n->body) : NULL;
        if (inside)
            return inside;
        if (!found && n->op == OP_gemm)
            found = n;
    }
    return found;
}

RowAxes rows_of_model(const Graph *model)
{
    RowAxes rows = {.n = 0};
    const Node *gemm = first_gemm(model);
    const Type *x = gemm ? gemm->inputs[0]->type : NULL;
    for (int i = 0; x && i < x->rank; i++)
        if (!attr_has_name(gemm, ATTR_over, x->axis[i].name))
            rows.axis[rows.n++] = x->axis[i];
    return rows;
}

bool rows_lead(const RowAxes *rows, const Type *type)
{
    if (!rows->n || !type || type->rank <= rows->n)
        return false;
    for (int i = 0; i < rows->n; i++)
        if (type->axis[i].name != rows->axis[i].name || !extent_equal(type->axis[i].size, rows->axis[i].size))
            return false;
    return true;
}

static bool comes_from_outside(const Node *value)
{
    while (op_info[value->op].class == CLASS_VIEW)
        value = value->inputs[0];
    return op_info[value->op].class == CLASS_LEAF && value->op != OP_carry;
}

bool rows_alone(const RowAxes *rows, const Node *kernel)
{
    if (kernel->op != OP_gemm && kernel->op != OP_map && kernel->op != OP_rowwise)
        return false;
    if (kernel->type && !rows_lead(rows, kernel->type))
        return false;
    for (int i = 0; i < kernel->n_inputs; i++)
        if (!comes_from_outside(kernel->inputs[i]) && !rows_lead(rows, kernel->inputs[i]->type))
            return false;
    return true;
}
