/* live-rows: rows that a mask drops need not be computed where nothing reads them.
 *
 *     keep: bool[B, S] masks the keys of every attention, and what is summed over S
 *         gemm x, w        : [B, S, F]   ->   gemm x, w live=keep
 *         attend q, k, v   : [B, S, H, W] ->  attend q, k, v live=keep
 *
 * Of a kernel with `live` the rows where keep is false may hold anything afterwards, NaN too. That is so for a value if
 * each of its readers leaves these rows alone:
 *
 *     a kernel that makes each row of its own row, if nothing reads the row that it makes
 *     attention, as the keys or values, if where(keep, score, -inf) masks them; as the queries, like the kernels above
 *     a kernel in whose body where(keep, .., ..) drops what is made of it
 *     a view that leaves rows what they are, a round's carried value, if the same holds for these
 *
 * All values are believed to be so at first; whatever breaks it for one takes it from those that lead to it, until
 * nothing changes. Kernels that look up rows by indices compute all: an index out of range is an error in any row. */
#include "ir/rows.h"
#include "passes/inside.h"

typedef struct Live {
    PassContext *px;
    RowAxes rows;
    const Node *keep;    /* the input that says which rows count */
    bool *spare;         /* by id: nobody reads the value's other rows */
    const Node *culprit; /* the first reader of such a row, and of which value; NULL: none so far */
    const Node *read;
    const Node *kept; /* a value with rows that @keep asks for */
} Live;

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

/* The type begins with axes of the rows' sizes, which may have other names: keys are the same rows under theirs. */
static bool has_rows(const Live *l, const Type *type)
{
    if (!type || type->rank <= l->rows.n)
        return false;
    for (int i = 0; i < l->rows.n; i++)
        if (!extent_equal(type->axis[i].size, l->rows.axis[i].size))
            return false;
    return true;
}

/* The value is the input `keep`, its last row axis under the name `last`. */
static bool is_keep(const Live *l, const Node *n, const char *last)
{
    const Type *t = n->type;
    for (; n->op == OP_view; n = n->inputs[0])
        if (n->type->rank != l->rows.n)
            return false;
    if (n != l->keep || t->rank != l->rows.n)
        return false;
    for (int i = 0; i < t->rank; i++)
        if (t->axis[i].name != (i < l->rows.n - 1 ? l->rows.axis[i].name : last) ||
            !extent_equal(t->axis[i].size, l->rows.axis[i].size))
            return false;
    return true;
}

/* ---- masks in bodies --------------------------------------------------------------------------------------------- */

/* A kernel's input behind a parameter of its body: attend's parameters are the score and the inputs after v. */
static const Node *behind(const Node *kernel, const Node *param)
{
    int at = (int)attr_int(param, ATTR_index, -1) + (kernel->op == OP_attend ? 2 : 0);
    return at >= (kernel->op == OP_attend ? 3 : 0) && at < kernel->n_inputs ? kernel->inputs[at] : NULL;
}

/* Wherever the condition holds, keep does. */
static bool implies_keep(const Live *l, const Node *kernel, const Node *condition, const char *last)
{
    if (condition->op == OP_and)
        return implies_keep(l, kernel, condition->inputs[0], last) ||
               implies_keep(l, kernel, condition->inputs[1], last);
    const Node *input = condition->op == OP_param ? behind(kernel, condition) : NULL;
    return input && is_keep(l, input, last);
}

/* The score is -inf at every key that is not kept. */
static bool masks_keys(const Live *l, const Node *attend, const Node *score, const char *keys)
{
    if (score->op != OP_where)
        return false;
    const Node *yes = score->inputs[1], *no = score->inputs[2];
    if (implies_keep(l, attend, score->inputs[0], keys) && is_masked(no))
        return true;
    return masks_keys(l, attend, yes, keys) && (is_masked(no) || masks_keys(l, attend, no, keys));
}

static bool mixes_rows(const Live *l, const Node *n)
{
    for (int i = 0; i < l->rows.n; i++)
        if (attr_has_name(n, ATTR_over, l->rows.axis[i].name))
            return true;
    return n->op == OP_gather || n->op == OP_rotate;
}

/* What the body makes of a row's parameter stands, before rows are mixed, in where(keep, that, ..) alone. */
static bool masks_param(const Live *l, const Node *kernel, const Node *param)
{
    const Graph *body = kernel->body;
    const char *last = l->rows.axis[l->rows.n - 1].name;
    NodeSet from = nodeset_new(l->px); /* what depends on the parameter in rows that are not kept */
    nodeset_add(&from, param);
    for (const Node *n = body->first; n; n = n->next) {
        bool depends = false;
        for (int i = 0; i < n->n_inputs; i++) {
            bool dropped = n->op == OP_where && i == 1 && implies_keep(l, kernel, n->inputs[0], last);
            depends |= !dropped && nodeset_has(&from, n->inputs[i]);
        }
        if (depends && mixes_rows(l, n))
            return false;
        if (depends)
            nodeset_add(&from, n);
    }
    for (int i = 0; i < body->n_results; i++)
        if (nodeset_has(&from, body->results[i].value))
            return false;
    return true;
}

/* ---- readers ----------------------------------------------------------------------------------------------------- */

static bool looks_up(const Node *kernel)
{
    for (const Node *n = kernel->body->first; n; n = n->next)
        if (n->op == OP_gather)
            return true;
    return false;
}

/* Nobody reads the other rows of what the kernel makes. */
static bool results_spare(const Live *l, const Node *kernel)
{
    if (kernel->type)
        return rows_lead(&l->rows, kernel->type) && l->spare[kernel->id];
    for (const Node *n = kernel->next; n; n = n->next)
        if (n->op == OP_get && n->inputs[0] == kernel && !(rows_lead(&l->rows, n->type) && l->spare[n->id]))
            return false;
    return true;
}

static bool attend_spares(const Live *l, const Node *n, int i)
{
    int second = attr_bool(n, ATTR_second, false) ? n->n_inputs - 2 : n->n_inputs;
    const Type *type = n->inputs[i]->type;
    const char *keys = attr_name(n, ATTR_keys), *last = l->rows.axis[l->rows.n - 1].name;
    if (i == 0 || i == second) /* rows of the queries: each makes its own row */
        return rows_lead(&l->rows, type) && type_find(n->inputs[1]->type, last) < 0 && results_spare(l, n);
    if (i > 2 && i != second + 1)
        return false;
    for (int a = 0; a < l->rows.n; a++)
        if (type->axis[a].name != (a < l->rows.n - 1 ? l->rows.axis[a].name : keys))
            return false;
    return masks_keys(l, n, n->body->results[0].value, keys);
}

static bool kernel_spares(const Live *l, const Node *n, int i)
{
    const Node *value = n->inputs[i];
    if (rows_lead(&l->rows, value->type) && n->op != OP_gemm && n->body && masks_param(l, n, n->body->params[i]))
        return true;
    return rows_alone(&l->rows, n) && !looks_up(n) && results_spare(l, n);
}

/* Reader n, by its input i, leaves the other rows of that value alone. */
static bool spares(const Live *l, const Node *n, int i)
{
    switch (n->op) {
    case OP_view: return has_rows(l, n->type) && l->spare[n->id];
    case OP_attend: return attend_spares(l, n, i);
    case OP_gemm:
    case OP_map:
    case OP_rowwise:
    case OP_reduce: return kernel_spares(l, n, i);
    case OP_repeat: return l->spare[n->body->params[i + 1]->id];
    default: return false;
    }
}

/* ---- all values -------------------------------------------------------------------------------------------------- */

/* Not for want of rows in what it makes, which others read: it reads them itself. */
static bool reads_itself(const Live *l, const Node *n)
{
    if (n->op == OP_view)
        return !has_rows(l, n->type);
    if (n->op == OP_repeat || rows_alone(&l->rows, n))
        return false;
    return n->op != OP_attend || results_spare(l, n);
}

static bool deny(Live *l, const Node *value, const Node *reader)
{
    if (!l->spare[value->id])
        return false;
    l->spare[value->id] = false;
    if (!l->culprit && (!reader || reads_itself(l, reader))) {
        l->culprit = reader ? reader : value;
        l->read = value;
    }
    return true;
}

static void believe(Live *l, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        l->spare[n->id] = has_rows(l, n->type) && !is_kept(n);
        l->kept = has_rows(l, n->type) && is_kept(n) ? n : l->kept;
        if (n->op == OP_repeat)
            believe(l, n->body);
    }
}

/* The value that a round leaves is the next one's, and after the last what the repeat gives. */
static bool left_spare(const Live *l, const Node *repeat, int result)
{
    if (!l->spare[repeat->body->params[result + 1]->id])
        return false;
    if (repeat->type)
        return l->spare[repeat->id];
    for (const Node *n = repeat->next; n; n = n->next)
        if (n->op == OP_get && n->inputs[0] == repeat && attr_int(n, ATTR_index, 0) == result && !l->spare[n->id])
            return false;
    return true;
}

static bool doubt(Live *l, const Graph *g)
{
    bool changed = false;
    for (const Node *n = g->last; n; n = n->prev) {
        for (int i = 0; i < n->n_inputs; i++)
            if (n->op != OP_get && l->spare[n->inputs[i]->id] && !spares(l, n, i))
                changed |= deny(l, n->inputs[i], n);
        if (n->op != OP_repeat)
            continue;
        changed |= doubt(l, n->body);
        for (int r = 0; r < n->body->n_results; r++)
            if (!left_spare(l, n, r))
                changed |= deny(l, n->body->results[r].value, n);
    }
    return changed;
}

static bool may_leave_out(const Live *l, const Node *n)
{
    bool by_rows = n->op == OP_attend ? rows_lead(&l->rows, n->inputs[0]->type) : rows_alone(&l->rows, n);
    return by_rows && n->body && !looks_up(n) && results_spare(l, n);
}

/* How many kernels a run leaves rows out of; `write` them. */
static int64_t mark(Live *l, Graph *g, bool write, const Node **first)
{
    int64_t count = 0;
    for (Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            count += mark(l, n->body, write, first);
        if ((n->op != OP_gemm && n->op != OP_attend && n->op != OP_map && n->op != OP_rowwise) || !may_leave_out(l, n))
            continue;
        count += !attr_name(n, ATTR_live);
        *first = *first ? *first : n;
        if (write)
            attr_set_name(l->px->cx, n, ATTR_live, l->keep->name);
    }
    return count;
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

/* A row of an input says whether the row counts, and some attention drops keys by it. */
static bool is_mask(const Live *l, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat && is_mask(l, n->body))
            return true;
        if (n->op == OP_attend && masks_keys(l, n, n->body->results[0].value, attr_name(n, ATTR_keys)))
            return true;
    }
    return false;
}

static void remark_missed(const Live *l)
{
    const Node *who = l->culprit ? l->culprit : l->kept;
    if (!who)
        return;
    const char *role = who == l->kept        ? "is kept"
                       : who == l->read      ? "is a result of the model"
                       : who->op == OP_slice ? "is cut out of them"
                                             : "reads them";
    Remark *r =
        remark(l->px, REMARK_MISSED, who == l->kept ? REMARK_BLOCKED_BY_USER : REMARK_ROWS_READ, l->keep,
               "rows that `%s` drops are computed all the same, since `%s` %s", l->keep->name, word_of(who), role);
    r->evidence = who->at;
    if (who != l->kept)
        r->help =
            "return what is summed over kept rows alone, as mean(x, over=S, where=keep), where that is all you need";
}

static bool leave_out(Live *l, Graph *model)
{
    const Node *first = NULL;
    believe(l, model);
    for (int i = 0; i < model->n_results; i++)
        deny(l, model->results[i].value, NULL);
    while (doubt(l, model))
        continue;
    int64_t left = mark(l, model, false, &first);
    if (!first) {
        remark_missed(l);
        return false;
    }
    if (!left)
        return false;
    mark(l, model, true, &first);
    remark(l->px, REMARK_PASSED, REMARK_ROWS_LEFT_OUT, l->keep,
           "%lld kernels leave out rows that `%s` drops: nothing reads them", (long long)left, l->keep->name);
    return true;
}

bool pass_live_rows(PassContext *px, Graph *model)
{
    Live l = {.px = px, .rows = rows_of_model(model)};
    l.spare = arena_array(px->cx->arena, (size_t)model->next_id + 1, sizeof *l.spare);
    if (model->level != LEVEL_KERNEL || !l.rows.n)
        return false;
    for (int i = 0; i < model->n_params; i++) {
        l.keep = model->params[i];
        if (l.keep->type->dtype == DT_BOOL && is_keep(&l, l.keep, l.rows.axis[l.rows.n - 1].name) && is_mask(&l, model))
            return leave_out(&l, model);
    }
    return false;
}
