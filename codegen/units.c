/* Units: the emitted file cut into pieces that compile by themselves, at the same time.
 *
 * A unit has some kernels, which the entry may call, and of the helpers those that they mention; the entry is in the
 * last one. A unit's text depends on its own kernels alone: a line of the model that changes leaves the other texts,
 * and with them the objects in the cache, as they were. Starting a compiler costs as much as compiling a kernel, so
 * there are not more units than processors, if the caller says how many that are. */
#include "codegen/entry_inside.h"
#include "codegen/units.h"

#include <string.h>

/* Starting a compiler costs about as much as compiling this much text; a tile of sums for one more height is about so much, too; the
 * entry, of which much is declarations, costs half as much as it is long. */
enum { UNIT_TEXT = 4500, TILE_TEXT = 1200, ENTRY_PART = 2 };

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
    while (k->helps && (at = memmem(at, (size_t)(to - at), call, sizeof call - 1)) != NULL) {
        cost += TILE_TEXT;
        at += sizeof call - 1;
    }
    return cost;
}

/* Kernels in their order, UNIT_TEXT of them or one in a unit; the entry comes by itself. */
static int cut(const Emitter *e, const size_t *costs, int *unit) {
    int n = 0;
    for (size_t k = 0, sum = 0; k < e->n_parts; k++) {
        bool fits = k && sum + costs[k] <= UNIT_TEXT;
        n += !fits;
        sum = fits ? sum + costs[k] : costs[k];
        unit[k] = n - 1;
    }
    unit[e->n_parts] = n;
    return n + 1;
}

/* The costliest first, each into the unit that costs least so far. The unit with the entry becomes the last one. */
static int share_out(const Emitter *e, const size_t *costs, int n, int *unit) {
    size_t *sums = arena_array(e->cx->arena, (size_t)n, sizeof *sums), last = e->n_parts;
    memset(unit, -1, (last + 1) * sizeof *unit);
    for (size_t turn = 0; turn <= last; turn++) {
        size_t most = last + 1;
        int least = 0;
        for (size_t k = 0; k <= last; k++)
            if (unit[k] < 0 && (most > last || costs[k] > costs[most]))
                most = k;
        for (int u = 1; u < n; u++)
            least = sums[u] < sums[least] ? u : least;
        sums[least] += costs[most];
        unit[most] = least;
    }
    for (size_t k = 0, entry = (size_t)unit[last]; k <= last; k++)
        unit[k] = unit[k] == (int)entry ? n - 1 : unit[k] == n - 1 ? (int)entry : unit[k];
    return n;
}

/* The unit of each kernel, and of the entry behind them. Returns how many there are: as many as the caller says, unless that is more than
 * the text is worth. */
static int divide(const Emitter *e, size_t entry, int *unit) {
    size_t all = entry / ENTRY_PART, *costs = arena_array(e->cx->arena, e->n_parts + 1, sizeof *costs), most = (size_t)e->options->units;
    costs[e->n_parts] = all;
    for (size_t k = 0; k < e->n_parts; k++)
        all += costs[k] = cost_of(e, &e->parts[k]);
    size_t worth = all / UNIT_TEXT + 1, parts = e->n_parts + 1;
    if (!most)
        return cut(e, costs, unit);
    most = worth < most ? worth : most;
    return share_out(e, costs, (int)(parts < most ? parts : most), unit);
}

/* What stands in this unit: heads of functions elsewhere, as far as they are called, then the kernels, then the entry if it is here. */
static const char *put_unit(Emitter *e, int number, const int *unit, const Text *entry, Text *out) {
    Text kernels = text_new(e->cx->arena);
    const char *name = NULL;
    bool has_entry = unit[e->n_parts] == number;
    for (size_t k = 0; k < e->n_parts; k++) {
        if (unit[k] != number)
            continue;
        name = name ? name : e->parts[k].function;
        put_kernel(e, &e->parts[k], &kernels);
    }
    for (size_t k = 0; k < e->n_parts; k++)
        if (unit[k] != number && (e->parts[k].helps ? mentions(kernels.data, e->parts[k].function) : has_entry))
            text_add(out, "%s;\n\n", e->parts[k].head);
    text_put(out, kernels.data, kernels.length);
    if (!has_entry)
        return name;
    text_put(out, entry->data, entry->length);
    return e->prefix;
}

void units_make(Emitter *e, const Text *entry, Emitted *out) {
    int *unit = arena_array(e->cx->arena, e->n_parts + 1, sizeof *unit), n = divide(e, entry->length, unit);
    CodeUnit *units = arena_array(e->cx->arena, (size_t)n, sizeof *units);
    for (int u = 0; u < n; u++) {
        Text code = text_new(e->cx->arena);
        const char *name = put_unit(e, u, unit, entry, &code);
        units[u] = finish(e, name, &code);
    }
    out->units = units;
    out->n_units = n;
}
