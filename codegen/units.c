/* Units: the emitted file cut into pieces that compile by themselves, at the same time.
 *
 * A unit has some kernels, which the entry may call, and of the helpers those that they mention; the last unit is the
 * entry. A unit's text depends on its own kernels alone: a line of the model that changes leaves the other texts, and
 * with them the objects in the cache, as they were. */
#include "codegen/entry_inside.h"
#include "codegen/units.h"

#include <string.h>

/* Starting a compiler costs about as much as compiling this much text. A kernel that is longer is a unit of its own. */
enum { UNIT_TEXT = 4500 };

void units_note(Emitter *e, const char *function, const char *head, size_t from, size_t at, size_t body) {
    e->parts = arena_room(e->cx->arena, e->parts, e->n_parts, &e->parts_capacity, sizeof *e->parts);
    e->parts[e->n_parts++] = (KernelText){function, head, from, at, body, e->kernels.length};
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

void units_make(Emitter *e, const Text *entry, Emitted *out) {
    CodeUnit *units = arena_array(e->cx->arena, e->n_parts + 1, sizeof *units);
    int n = 0;
    for (size_t i = 0, next; i < e->n_parts; i = next) {
        Text code = text_new(e->cx->arena);
        for (next = i; next < e->n_parts && (next == i || code.length + (e->parts[next].to - e->parts[next].from) <= UNIT_TEXT); next++)
            put_kernel(e, &e->parts[next], &code);
        units[n++] = finish(e, e->parts[i].function, &code);
    }
    Text code = text_new(e->cx->arena);
    for (size_t i = 0; i < e->n_parts; i++)
        text_add(&code, "%s;\n\n", e->parts[i].head);
    text_put(&code, entry->data, entry->length);
    units[n++] = finish(e, e->prefix, &code);
    out->units = units;
    out->n_units = n;
}
