/* Units: the emitted file cut into pieces that compile by themselves, at the same time.
 *
 * A unit has some kernels, which the entry may call, and of the helpers those that they mention; the entry is in the
 * last one. A unit's text depends on its own kernels alone: a line of the model that changes leaves the other texts,
 * and with them the objects in the cache, as they were. Starting a compiler costs as much as compiling a kernel, so
 * there are not more units than processors, if the caller says how many that are. */
#include "codegen/entry_inside.h"
#include "codegen/units.h"

#include <string.h>

/* Starting a compiler costs about as much as compiling this much text; a call of a tile is a copy of it, about so much text. */
enum { UNIT_TEXT = 4500, TILE_TEXT = 700 };

void units_note(Emitter *e, const KernelText *kernel) {
    e->parts = arena_room(e->cx->arena, e->parts, e->n_parts, &e->parts_capacity, sizeof *e->parts);
    e->parts[e->n_parts++] = *kernel;
}

static CodeUnit finish(Emitter *e, const char *name, const Text *code) {
    Text rest = text_new(e->cx->arena), text = text_new(e->cx->arena);
    emit_matrix(e, code->data, &rest);
    text_put(&rest, code->data, code->length);
    Text math = text_new(e->cx->arena);
    emit_math(e, rest.data, &math);
    text_put(&math, rest.data, rest.length);
    emit_prelude(e, math.data, &text);
    text_char(&text, '\n');
    if (e->options->tiles)
        text_add(&text, "%sint64_t %s_tiles[2];\n\n", strcmp(name, e->prefix) != 0 ? "extern " : "", e->prefix);
    text_put(&text, math.data, math.length);
    return (CodeUnit){name, text.data, text.length};
}

static void put_kernel(Emitter *e, const KernelText *k, Text *out) {
    const char *all = e->kernels.data;
    text_put(out, all + k->from, k->at - k->from);
    text_add(out, "%s", k->head);
    text_put(out, all + k->body, k->to - k->body);
}

/* What a kernel costs to compile, as a length of text. */
static size_t cost_of(const Emitter *e, const KernelText *k) {
    size_t cost = k->to - k->from;
    const char *at = e->kernels.data + k->from, *to = e->kernels.data + k->to;
    static const char call[] = "_tile(";
    while ((at = memmem(at, (size_t)(to - at), call, sizeof call - 1)) != NULL) {
        cost += TILE_TEXT;
        at += sizeof call - 1;
    }
    return cost;
}

/* Cuts the kernels, in their order, into units: ends[u] is the kernel behind the last one of unit u. With a number of units each costs about the
 * same, and the last one has the entry, too; without, each has UNIT_TEXT or one kernel, and the entry comes by itself. */
static int cut(const Emitter *e, size_t entry, size_t *ends) {
    size_t rest = entry, *costs = arena_array(e->cx->arena, e->n_parts + 1, sizeof *costs), most = (size_t)e->options->units;
    for (size_t k = 0; k < e->n_parts; k++)
        rest += costs[k] = cost_of(e, &e->parts[k]);
    size_t left = rest / UNIT_TEXT < most ? rest / UNIT_TEXT + 1 : most;
    int n = 0;
    for (size_t k = 0; k < e->n_parts; left -= left > 1) {
        size_t sum = costs[k++];
        while (k < e->n_parts && (most ? left == 1 || (sum + costs[k] / 2) * left <= rest : sum + costs[k] <= UNIT_TEXT))
            sum += costs[k++];
        rest -= sum;
        ends[n++] = k;
    }
    return n;
}

/* The heads of helpers in other units than that of these kernels, as far as the kernels call them. */
static void put_helpers(const Emitter *e, size_t first, size_t end, const Text *code, Text *out) {
    for (size_t k = 0; k < e->n_parts; k++)
        if (e->parts[k].helps && (k < first || k >= end) && mentions(code->data, e->parts[k].function))
            text_add(out, "%s;\n\n", e->parts[k].head);
}

void units_make(Emitter *e, const Text *entry, Emitted *out) {
    size_t *ends = arena_array(e->cx->arena, e->n_parts + 1, sizeof *ends), first = 0;
    int cuts = cut(e, entry->length, ends), alone = e->options->units && cuts ? cuts - 1 : cuts; /* units without the entry */
    CodeUnit *units = arena_array(e->cx->arena, (size_t)alone + 1, sizeof *units);
    for (int u = 0; u < alone; first = ends[u++]) {
        Text kernels = text_new(e->cx->arena), code = text_new(e->cx->arena);
        for (size_t k = first; k < ends[u]; k++)
            put_kernel(e, &e->parts[k], &kernels);
        put_helpers(e, first, ends[u], &kernels, &code);
        text_put(&code, kernels.data, kernels.length);
        units[u] = finish(e, e->parts[first].function, &code);
    }
    Text code = text_new(e->cx->arena);
    for (size_t k = 0; k < first; k++)
        text_add(&code, "%s;\n\n", e->parts[k].head);
    for (size_t k = first; k < e->n_parts; k++)
        put_kernel(e, &e->parts[k], &code);
    text_put(&code, entry->data, entry->length);
    units[alone] = finish(e, e->prefix, &code);
    out->units = units;
    out->n_units = alone + 1;
}
