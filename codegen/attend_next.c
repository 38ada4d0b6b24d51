/* Keys and values of the next task, asked for a share at a time: each tile asks for some of their rows. Where those of all
 * tasks together are more than a part of the second-level cache keeps, the kernel before this one has left only the last of
 * them there; and where a task has several blocks of keys, there is no room for more. */
#include "codegen/attend_inside.h"
#include "codegen/choose.h"

#include <string.h>

enum { FAR = 8 }; /* beyond this part of L2 keys and values are no longer there when their task begins */

void attend_emit_ask_next(Attend *a)
{
    Text *t = &a->k->before;
    Context *cx = a->k->e->cx;
    static const char *const items[] = {"const float *key",     "ptrdiff_t key_step", "const float *value",
                                        "ptrdiff_t value_step", "ptrdiff_t from",     "ptrdiff_t to"};
    if (!a->asks_next)
        return;
    text_add(t, "/* Asks for keys and values from .. to of the next task, to be in the second-level cache by then. */\n");
    text_add(t, "%s\n{\n", wrapped(cx, arena_print(cx->arena, "static inline void %s", a->ask_next), items, 6));
    text_add(t, "    for (ptrdiff_t t = from; t < to; t++) {\n");
    attend_put_unrolled(t, 2, "i", (int)a->head, 16, "");
    text_add(t, "            __builtin_prefetch(key + t * key_step + i, 0, 2);\n");
    attend_put_unrolled(t, 2, "w", (int)a->width, 16, "");
    text_add(t, "            __builtin_prefetch(value + t * value_step + w, 0, 2);\n    }\n}\n\n");
}

void attend_put_far(Attend *a, const char *rows)
{
    Kernel *k = a->k;
    int64_t near = target_speed(k->e->target)->l2 / FAR / (int64_t)sizeof(float);
    if (a->asks_next)
        put_line(k, "const int far = rows > %d && keys <= %d && %s * %lld > %lld; /* keys have left L2 */", a->few, a->block,
                 rows, (long long)(a->head + a->width), (long long)near);
}

void attend_put_next(Attend *a, int outer)
{
    Kernel *k = a->k;
    if (!a->asks_next)
        return;
    const char *keys = attend_row_address(a, &a->keys), *values = attend_row_address(a, &a->v);
    const char *both = arena_print(k->e->cx->arena, "%s, %s", keys, values);
    put_line(k, "const float *next_keys, *next_values;");
    put_line(k, "{");
    k->indent++;
    Text main = body_begin(k);
    if (a->entry_loop)
        attend_put_indices(a, a->batch, 0, outer, "next_entry", both);
    attend_put_indices(a, a->batch, outer, a->n_batch, "next_task % batches", both);
    const char *indices = body_end(k, main);
    bool entries = mentions(indices, "next_entry");
    if (entries || mentions(indices, "next_task"))
        put_line(k, "const ptrdiff_t next_task = task + threads;");
    if (entries) {
        put_line(k, "const int goes_on = next_task >= batches * blocks && (entry + 1) * %s < to_row;",
                 kernel_factor(k, a->row[0].size));
        put_line(k, "const ptrdiff_t next_entry = entry + goes_on;");
    }
    text_put(&k->body, indices, strlen(indices));
    put_line(k, "next_keys = %s;", keys);
    put_line(k, "next_values = %s;", values);
    put_close(k);
}

void attend_put_ask_next(Attend *a)
{
    if (!a->asks_next)
        return;
    put_line(a->k, "if (far)");
    put_inner(a->k,
              "%s(next_keys, key_step, next_values, value_step, keys * at / task_count, "
              "keys * lesser(at + %d, task_count) / task_count);",
              a->ask_next, a->rows);
}
