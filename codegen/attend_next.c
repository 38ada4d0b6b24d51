/* Keys and values of the next task, asked for a share at a time: each tile asks for some of their rows, with rows in the
 * lanes also for the next tile's rows of q and, if they lie elsewhere, of the result. Where all is near that costs some per cent, the more the fewer
 * keys there are; so it is done where the kernel that made the keys has left only the last of them in the second-level
 * cache: its weights and what the tasks read and write are more than that keeps. Where a task has several blocks of keys,
 * there is no room for more. */
#include "codegen/attend_inside.h"
#include "codegen/choose.h"

#include <string.h>

/* Beyond 5 / 2 of a target's L2 (processors often have more) keys are no longer there when their task begins. */
enum { FAR_TIMES = 5, FAR_OVER = 2 };

/* Rows of the innermost axes beside one position of the outermost, if that is a number; else 0. */
static int64_t inner_rows(const Attend *a)
{
    int64_t inner = 1;
    for (int i = 1; i < a->n_rows; i++)
        inner = extent_is_const(a->row[i].size) ? inner * a->row[i].size.base : 0;
    return a->n_rows ? inner : 0;
}

/* Asks for the rows from_row .. to_row of a tile, `floats` beside each position. */
static void put_ask_rows(Attend *a, const Access *x, const char *rows, int64_t floats)
{
    const int64_t inner = inner_rows(a);
    const AccessAxis *outer = a->n_rows ? access_axis(x, a->row[0].name) : NULL;
    if (!inner || !outer)
        return;
    if (inner > 1)
        put_line(a->k, "for (ptrdiff_t s = (from_row + %lld) / %lld; s * %lld < to_row; s++)", (long long)inner - 1, (long long)inner, (long long)inner);
    else
        put_line(a->k, "for (ptrdiff_t s = from_row; s < to_row; s++)");
    a->k->indent++;
    put_line(a->k, "for (ptrdiff_t i = 0; i < %lld; i += 16)", (long long)(inner * floats));
    put_inner(a->k, "__builtin_prefetch(%s + s * %s + i, 0, 2);", rows, kernel_stride(a->k, outer->stride));
    a->k->indent--;
}

void attend_emit_ask_next(Attend *a)
{
    Kernel *k = a->k;
    static const char *const items[] = {"const float *key", "ptrdiff_t key_step", "const float *value", "ptrdiff_t value_step",
                                        "ptrdiff_t from", "ptrdiff_t to", "ptrdiff_t from_row", "ptrdiff_t to_row",
                                        "const float *query", "const float *result"};
    if (!a->asks_next)
        return;
    Text main = body_begin(k);
    k->indent = 1;
    put_open(k, "for (ptrdiff_t t = from; t < to; t++)");
    attend_put_unrolled(&k->body, 2, "i", (int)a->head, 16, "");
    put_inner(k, "__builtin_prefetch(key + t * key_step + i, 0, 2);");
    attend_put_unrolled(&k->body, 2, "w", (int)a->width, 16, "");
    put_inner(k, "__builtin_prefetch(value + t * value_step + w, 0, 2);");
    put_close(k);
    if (a->in_lanes && inner_rows(a)) {
        put_ask_rows(a, &a->q, "query", a->head);
        if (a->gives_out && !same_storage(a->q.home, a->out.home))
            put_ask_rows(a, &a->out, "result", a->width);
    }
    const char *body = body_end(k, main);
    a->asks_rows = mentions(body, "query");
    a->asks_result = mentions(body, "result");
    a->ask_next_rest = attend_rows_function(
        a, a->asks_rows ? "Keys and values from .. to of the next task and rows of the next tile, to be in the second-level cache by then."
                        : "Asks for keys and values from .. to of the next task, to be in the second-level cache by then.",
        arena_print(k->e->cx->arena, "static inline void %s", a->ask_next), items, a->asks_result ? 10 : a->asks_rows ? 9 : 6, body);
}

/* Where the rows of `x` from position `at` of the outermost row axis on begin. */
static const char *row_address(Attend *a, const Access *x, const char *at)
{
    const char *names[2 * MAX_RANK], *vars[2 * MAX_RANK];
    int n = 0;
    for (int i = 0; i < a->n_batch; i++, n++)
        names[n] = a->batch[i].name, vars[n] = a->batch[i].var;
    for (int i = 0; i < a->n_rows; i++, n++)
        names[n] = a->row[i].name, vars[n] = i ? "0" : at;
    return kernel_address(a->k, x, n, names, vars);
}

/* "(first + 48) / 12": the position of the outermost row axis that a row belongs to. */
static const char *outer_position(Attend *a, const char *row)
{
    const long long inner = inner_rows(a);
    return inner > 1 ? arena_print(a->k->e->cx->arena, "(%s) / %lld", row, inner) : row;
}

/* Bytes of weights that the kernel which makes the keys reads. Of keys that are an input or wait in a cache nothing is known: a guess. */
static int64_t weights_before(const Attend *a, int64_t l2)
{
    const Node *n = a->k->node->inputs[1];
    int64_t bytes = 0;
    while (n->n_inputs && (n->op == OP_get || op_info[n->op].class == CLASS_VIEW))
        n = n->inputs[0];
    if (n->op != OP_gemm)
        return 2 * l2;
    for (int i = 0; i < n->n_inputs; i++) {
        const Node *weight = n->inputs[i];
        if (weight->op != OP_weight)
            continue;
        int64_t size = (int64_t)dtype_size(weight_storage(weight));
        for (int axis = 0; axis < weight->type->rank; axis++)
            size *= extent_is_const(weight->type->axis[axis].size) ? weight->type->axis[axis].size.base : 0;
        bytes += size;
    }
    return bytes;
}

void attend_put_far(Attend *a, const char *positions)
{
    Kernel *k = a->k;
    const int64_t l2 = target_speed(k->e->target)->l2, kept = l2 * FAR_TIMES / FAR_OVER - weights_before(a, l2), inner = inner_rows(a);
    if (!a->asks_next)
        return;
    const char *many = kept > 0 ? attend_print(a, " && %s * %lld > %lld", positions, (long long)((1 + (inner ? inner : 1)) * (a->head + a->width)),
                                               (long long)(kept / (int64_t)sizeof(float))) : "";
    put_line(k, "const int far = rows > %d && keys <= %d%s; /* they have left L2 since they were made */", a->few, a->block, many);
}

void attend_put_next(Attend *a, int outer)
{
    Kernel *k = a->k;
    if (!a->asks_next)
        return;
    const char *keys = attend_row_address(a, &a->keys), *values = attend_row_address(a, &a->v);
    const char *query = row_address(a, &a->q, outer_position(a, "next_first"));
    const char *result = a->asks_result ? row_address(a, &a->out, outer_position(a, "next_first")) : "";
    const char *all = arena_print(k->e->cx->arena, "%s, %s%s%s", keys, values, a->asks_rows ? query : "", result);
    put_line(k, "const float *next_keys, *next_values%s%s;", a->asks_rows ? ", *next_query" : "", a->asks_result ? ", *next_result" : "");
    put_line(k, "{");
    k->indent++;
    Text main = body_begin(k);
    if (a->entry_loop)
        attend_put_indices(a, a->batch, 0, outer, "next_entry", all);
    attend_put_indices(a, a->batch, outer, a->n_batch, "next_task % batches", all);
    const char *indices = body_end(k, main);
    bool entries = mentions(indices, "next_entry");
    if (entries || a->asks_rows || mentions(indices, "next_task"))
        put_line(k, "const ptrdiff_t next_task = task + threads;");
    if (entries) {
        put_line(k, "const int goes_on = next_task >= batches * blocks && (entry + 1) * %s < to_row;",
                 kernel_factor(k, a->row[0].size));
        put_line(k, "const ptrdiff_t next_entry = entry + goes_on;");
    }
    if (a->asks_rows)
        put_line(k, "const ptrdiff_t next_first = row_from + next_task / batches %% blocks * part;");
    text_put(&k->body, indices, strlen(indices));
    put_line(k, "next_keys = %s;", keys);
    put_line(k, "next_values = %s;", values);
    if (a->asks_rows)
        put_line(k, "next_query = %s;", query);
    if (a->asks_result)
        put_line(k, "next_result = %s;", result);
    put_close(k);
}

void attend_put_ask_next(Attend *a)
{
    if (!a->asks_next || a->in_lanes)
        return;
    put_line(a->k, "if (far)");
    put_inner(a->k,
              "%s(next_keys, key_step, next_values, value_step, keys * at / task_count, "
              "keys * lesser(at + %d, task_count) / task_count%s);",
              a->ask_next, a->rows, a->ask_next_rest);
}

void attend_put_ahead(Attend *a)
{
    if (!a->asks_next || !a->in_lanes || !a->asks_rows)
        return;
    Arena *arena = a->k->e->cx->arena;
    const char *row = outer_position(a, arena_print(arena, "first + %d", a->rows));
    put_line(a->k, "const float *query_ahead = at + %d < task_count ? %s : next_query;", a->rows, row_address(a, &a->q, row));
    if (a->asks_result)
        put_line(a->k, "const float *result_ahead = at + %d < task_count ? %s : next_result;", a->rows, row_address(a, &a->out, row));
}

void attend_put_ask_share(Attend *a, int rows, const char *when)
{
    if (!a->asks_next)
        return;
    put_line(a->k, "if (%s)", when);
    put_inner(a->k,
              "%s(next_keys, key_step, next_values, value_step, keys * (at + row) / task_many, keys * lesser(at + row + %d, task_many) / task_many%s%s);",
              a->ask_next, rows, a->asks_rows ? attend_print(a, ", row, row + %d, query_ahead%s", rows, a->asks_result ? ", result_ahead" : "") : "", a->ask_next_rest);
}
