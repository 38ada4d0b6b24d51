/* One C file from a planned model: header, prelude, vector functions, kernels, then the entry that calls them. */
#include "codegen/emit.h"
#include "codegen/entry_inside.h"
#include "codegen/units.h"
#include "ir/interpret.h"

#include <ctype.h>
#include <string.h>

static Arena *arena_of(Emitter *e) { return e->cx->arena; }

static const char *lower_case(Emitter *e, const char *name) {
    char *copy = arena_copy(arena_of(e), name ? name : "model", strlen(name ? name : "model"));
    for (char *p = copy; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    Scope s = scope_new(e->cx);
    return scope_name(&s, copy);
}

void emit_bound(Emitter *e, int input, Extent bound) {
    for (size_t i = 0; i < e->n_bounds; i++)
        if (e->bounds[i].input == input && extent_equal(e->bounds[i].bound, bound))
            return;
    e->bounds = arena_room(arena_of(e), e->bounds, e->n_bounds, &e->bounds_capacity, sizeof *e->bounds);
    e->bounds[e->n_bounds++] = (IndexBound){input, bound};
}

/* Names of the file that are not a kernel's. */
static void reserve_interface(Emitter *e) {
    static const char *const own[] = {"run", "call", "open", "check", "step", "arena_bytes", "error_text", "error", "dims", "inputs", "outputs", "cache", "cache_open",
                                      "cache_bytes", "cache_size", "model_size", "parallel", "use_threads", "pool", "pool_start", "pool_stop", "pool_parallel", "tiles",
                                      "code", "kernels", "scratch", "weights"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        scope_name(&e->file, arena_print(arena_of(e), "%s_%s", e->prefix, own[i]));
}

/* ---- the call ------------------------------------------------------------------------------------------------------------------------ */

void call_members(Emitter *e) {
    EntryState *s = e->entry;
    const Plan *p = &e->plan;
    Scope members = scope_new(e->cx);
    s->input = arena_array(arena_of(e), (size_t)p->n_inputs + 1, sizeof *s->input);
    s->output = arena_array(arena_of(e), (size_t)p->n_outputs + 1, sizeof *s->output);
    s->cache = arena_array(arena_of(e), (size_t)p->n_caches + 1, sizeof *s->cache);
    for (int i = 0; i < p->n_symbols; i++)
        scope_name(&members, p->symbols[i].name);
    const char *const own[] = {"times", "clock", "tap", "tap_state"};
    for (int i = 0; i < 4; i++)
        scope_name(&members, own[i]);
    for (int i = 0; i < p->n_inputs; i++)
        s->input[i] = scope_name(&members, p->inputs[i].name);
    for (int i = 0; i < p->n_outputs; i++)
        s->output[i] = scope_name(&members, p->outputs[i].name);
    for (int i = 0; i < p->n_caches; i++)
        s->cache[i] = scope_name(&members, p->caches[i].name);
}

const char *c_type_of(DType t) {
    switch (t) {
    case DT_F32: return "float";
    case DT_I32: return "int";
    case DT_I64: return "int64_t";
    default: return "unsigned char";
    }
}

static void put_tensor(Text *out, const char *constness, const char *name, const PlanTensor *t, const Type *type) {
    size_t from = out->length;
    text_add(out, "    %s%s *%s;", constness, c_type_of(t->dtype), name);
    while (out->length - from < 40)
        text_char(out, ' ');
    text_add(out, " /* ");
    type_print(type, out);
    if (t->layers)
        text_add(out, ", %lld layers%s", (long long)t->layers, t->growing < 0 ? " of a state that does not grow" : "");
    text_add(out, " */\n");
}

/* All members are 8 bytes wide, in the order of plan->slots. */
void emit_call(Emitter *e, Text *out) {
    EntryState *s = e->entry;
    const Plan *p = &e->plan;
    text_add(out, "struct %s_call {\n", e->prefix);
    for (int i = 0; i < p->n_inputs; i++)
        put_tensor(out, "const ", s->input[i], &p->inputs[i], e->model->params[i]->type);
    for (int i = 0; i < p->n_outputs; i++)
        put_tensor(out, "", s->output[i], &p->outputs[i], e->model->results[i].value->type);
    for (int i = 0; i < p->n_caches; i++)
        put_tensor(out, "", s->cache[i], &p->caches[i], e->model->caches[i].type);
    if (p->n_symbols) {
        text_add(out, "    ptrdiff_t ");
        for (int i = 0; i < p->n_symbols; i++)
            text_add(out, "%s%s", i ? ", " : "", p->symbols[i].name);
        text_add(out, ";\n");
    }
    text_add(out, "    const float *weights;                /* packed, 64-byte aligned */\n");
    if (e->shipped)
        text_add(out, "    float *arena;                        /* 64-byte aligned, too */\n");
    else
        text_add(out, "    float *arena;                        /* %s_arena_bytes, 64-byte aligned */\n", e->prefix);
    if (!e->alone) {
        text_add(out, "    ptrdiff_t threads;\n");
        text_add(out, "    void *meet;                          /* 256 bytes a thread, 128-byte aligned, zeros before each run */\n");
    }
    text_add(out, "    int64_t *fault;                      /* 4 zeros; a bad index: 1, the input's number, the index, its bound */\n");
    if (e->options->taps)
        text_add(out, "    void (*tap)(void *state, int64_t kernel, int64_t layer, const void *data);\n    void *tap_state;\n");
    if (e->options->timing)
        text_add(out, "    uint64_t *times;                     /* nanoseconds of each kernel */\n    uint64_t (*clock)(void);\n");
    text_add(out, "};\n\n");
}

/* ---- the entry ------------------------------------------------------------------------------------------------------------------------ */

/* "const ptrdiff_t B = FROM.., S = FROM..": the sizes that the text mentions. */
static void put_sizes(Emitter *e, const char *from, bool array, const char *mentioned, Text *out) {
    const Plan *p = &e->plan;
    int n = 0;
    for (int i = 0; i < p->n_symbols; i++) {
        if (!mentions(mentioned, p->symbols[i].name))
            continue;
        text_add(out, n++ ? ", " : "    const ptrdiff_t ");
        if (array)
            text_add(out, "%s = %s[%d]", p->symbols[i].name, from, i);
        else
            text_add(out, "%s = %s->%s", p->symbols[i].name, from, p->symbols[i].name);
    }
    if (n)
        text_add(out, ";\n");
}

/* The sizes of the regions, one after the other; `last`: the variable that is where they end. */
static void put_regions(Emitter *e, bool pointers, const char *rest, Text *out) {
    const Graph *m = e->model;
    EntryState *s = e->entry;
    for (int i = 0; i < m->n_regions; i++) {
        bool next = i + 1 < m->n_regions && (!pointers || mentions(rest, s->base[i + 1]) || s->scratch_used);
        if (m->regions[i].n && (!pointers || next || s->scratch_used || mentions(rest, s->unit[i])))
            text_add(out, "    const ptrdiff_t %s = %s;\n", s->unit[i], region_unit(e, &m->regions[i]));
    }
}

/* Values and regions begin at multiples of 64 bytes. */
static const char *region_floats(Emitter *e, int i) {
    const Region *r = &e->model->regions[i];
    return arena_print(arena_of(e), r->n ? "%lld * %s" : "%lld", (long long)r->peak / 4, e->entry->unit[i]);
}

static const char *region_bytes(Emitter *e, int i) {
    const Region *r = &e->model->regions[i];
    return arena_print(arena_of(e), r->n ? "%lld * %s" : "%lld", (long long)r->peak, e->entry->unit[i]);
}

/* One thread's scratch in elements of so many bytes, fit for a product. */
static const char *scratch_in(Emitter *e, uint64_t element) {
    if (!e->n_grows)
        return arena_print(arena_of(e), "%llu", (unsigned long long)(e->scratch / element));
    Text t = text_new(arena_of(e));
    text_add(&t, "(%llu", (unsigned long long)(e->scratch / element));
    for (size_t i = 0; i < e->n_grows; i++) {
        const ScratchGrowth *g = &e->grows[i];
        text_add(&t, " + (%s + %lld) / %lld * %llu", extent_text(e->cx, g->size), (long long)g->each - 1, (long long)g->each,
                 (unsigned long long)(g->bytes / element));
    }
    text_add(&t, ")");
    return t.data;
}

const char *scratch_text(Emitter *e) { return scratch_in(e, 1); }

int64_t codegen_scratch(const Emitted *e, const Graph *model, const int64_t *sizes) {
    int64_t bytes = (int64_t)e->scratch;
    for (size_t i = 0; i < e->n_grows; i++) {
        const ScratchGrowth *g = &e->grows[i];
        bytes += (extent_value(g->size, model, sizes) + g->each - 1) / g->each * (int64_t)g->bytes;
    }
    return bytes;
}

static void put_arena_bytes(Emitter *e, Text *out) {
    Text body = text_new(arena_of(e)), sum = text_new(arena_of(e));
    put_regions(e, false, "", &body);
    for (int i = 0; i < e->model->n_regions; i++)
        text_add(&sum, "%s + ", region_bytes(e, i));
    if (e->scratch)
        text_add(&sum, "%s * threads + ", scratch_text(e));
    text_add(out, "size_t %s_arena_bytes(const int64_t *sizes, ptrdiff_t threads);\n", e->prefix);
    text_add(out, "size_t %s_arena_bytes(const int64_t *sizes, ptrdiff_t threads)\n{\n", e->prefix);
    if (!e->scratch)
        text_add(out, "    (void)threads;\n");
    Text sizes = text_new(arena_of(e));
    put_sizes(e, "sizes", true, arena_print(arena_of(e), "%s%s", body.data, sum.data), &sizes);
    text_add(out, "%s%s", sizes.length ? sizes.data : "    (void)sizes;\n", body.data);
    text_add(out, "    return (size_t)(%s64);\n}\n\n", sum.data);
}

static void put_live(Emitter *e, Text *out) {
    if (!e->entry->live)
        return;
    text_add(out, "    struct live live = {.keep = %s};\n", entry_pointer(e, e->entry->live));
    if (!e->alone)
        text_add(out, "    const ptrdiff_t kept = count_kept(live.keep, %s);\n", schedule_rows(e));
}

static void put_team(Emitter *e, Text *out) {
    const char *rows = mentions(e->entry->calls.data, "to_row") ? schedule_rows(e) : NULL, *count = e->entry->live ? "kept" : rows;
    text_add(out, "    struct team team = {.queue = call->meet, .thread = thread, .threads = call->threads, .parts = 1");
    if (rows)
        text_add(out, ",\n                        .rows = %s, .to_row = %s, .by_rows = %s >= ROWS * call->threads", rows, rows, count);
    if (e->entry->live)
        text_add(out, ",\n                        .keep = live.keep, .kept = kept, .owner = -1");
    text_add(out, "};\n");
}

void emit_body(Emitter *e, Text *out) {
    EntryState *s = e->entry;
    const Graph *m = e->model;
    Text places = text_new(arena_of(e)), body = text_new(arena_of(e)), scratch = text_new(arena_of(e));
    int last = m->n_regions - 1;
    if (s->scratch_used) {
        text_add(&scratch, "    float *%s = %s", s->scratch, last < 0 ? "arena" : s->base[last]);
        if (last >= 0)
            text_add(&scratch, " + %s", region_floats(e, last));
        if (!e->alone)
            text_add(&scratch, " + thread * %s", scratch_in(e, 4));
        text_add(&scratch, ";\n");
    }
    const char *rest = arena_print(arena_of(e), "%s%s%s", s->declarations.data, scratch.data, s->calls.data);
    for (int i = 1; i <= last; i++) {
        Text later = text_new(arena_of(e));
        for (int j = i; j <= last; j++)
            text_add(&later, "%d ", mentions(rest, s->base[j]));
        if (strchr(later.data, '1'))
            text_add(&places, "    float *%s = %s + %s;\n", s->base[i], s->base[i - 1], region_floats(e, i - 1));
    }
    rest = arena_print(arena_of(e), "%s%s", places.data, rest);
    for (int i = 0; i <= last; i++)
        if (mentions(rest, s->unit[i]))
            text_add(&body, "    const ptrdiff_t %s = %s;\n", s->unit[i], region_unit(e, &m->regions[i]));
    if (mentions(rest, "arena"))
        text_add(&body, "    float *arena = call->arena;\n");
    text_add(&body, "%s%s%s%s", places.data, s->declarations.data, scratch.data, s->weights.data);
    if (e->options->timing)
        text_add(&body, "    uint64_t %s = thread == 0 && call->clock ? call->clock() : 0;\n", s->since);
    put_live(e, &body);
    if (s->n_kernels && !e->alone)
        put_team(e, &body);
    else if (!s->scratch_used && !e->alone)
        text_add(&body, "    (void)thread;\n");
    put_sizes(e, "call", false, arena_print(arena_of(e), "%s%s", body.data, s->calls.data), out);
    text_put(out, body.data, body.length);
    text_add(out, "\n%s", s->calls.data);
}

static void put_run(Emitter *e, Text *out) {
    text_add(out, "int %s_run(const struct %s_call *call, ptrdiff_t thread);\n", e->prefix, e->prefix);
    text_add(out, "int %s_run(const struct %s_call *call, ptrdiff_t thread)\n{\n", e->prefix, e->prefix);
    emit_body(e, out);
    text_add(out, "    return 0;\n}\n");
}

/* ---- the header ----------------------------------------------------------------------------------------------------------------------- */

static void put_rows(const Graph *g, int depth, Text *out) {
    for (const Node *n = g->first; n; n = n->next) {
        OpClass class = op_info[n->op].class;
        if (n->op == OP_repeat) {
            text_add(out, " * %*s%lld times\n", 2 * depth, "", (long long)attr_int(n, ATTR_count, 1));
            put_rows(n->body, depth + 1, out);
            continue;
        }
        if (class == CLASS_LEAF || class == CLASS_VIEW || n->op == OP_get)
            continue;
        Text row = text_new(out->arena);
        text_add(&row, "%*s%s ", 2 * depth, "", n->name);
        text_pad(&row, 17);
        text_add(&row, "%-8s ", op_info[n->op].name);
        for (int r = 0; n->body && r < n->body->n_results; r++) {
            if (r)
                text_add(&row, ", ");
            expression_print(n->body, r, &row);
        }
        for (int i = 0; !n->body && i < n->n_inputs; i++)
            text_add(&row, "%s%s", i ? ", " : "", n->inputs[i]->name);
        text_add(out, " * ");
        put_comment_line(out, row.data, row.length, " *                           ");
        text_char(out, '\n');
    }
}

void emit_steps(Emitter *e, Text *out) { put_rows(e->model, 0, out); }

static const char *base_name(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "a graph";
}

/* A reader of the file has to know that it does not compute what the model says. */
void emit_approximations(Emitter *e, Text *out) {
    const Approximations *all = e->options->approximations;
    if (!all || !all->count)
        return;
    text_add(out, " *\n * APPROXIMATED, as was asked for:\n");
    for (size_t i = 0; i < all->count; i++) {
        Text line = text_new(arena_of(e));
        approximation_print(&all->items[i], &line);
        text_add(out, " *   ");
        put_comment_line(out, line.data, line.length, " *     ");
        text_char(out, '\n');
    }
}

static void put_flags(const char *compiler, const char *const *flags, Text *out) {
    Text line = text_new(out->arena);
    text_add(&line, "%s", compiler);
    for (int i = 0; flags[i]; i++)
        text_add(&line, " %s", flags[i]);
    text_add(out, "\n *     ");
    put_comment_line(out, line.data, line.length, " *     ");
}

static void put_header(Emitter *e, Text *out) {
    const Graph *m = e->model;
    Text line = text_new(arena_of(e));
    text_add(&line, "/* %s, from %s. Emitted for %s (%s), %d floats in a vector, to be compiled with", m->name, base_name(m->file),
             e->target->name, e->target->machines, e->target->lanes);
    put_comment_line(out, line.data, line.length, " * ");
    put_flags("clang", e->target->flags, out);
    if (e->target->gcc_flags)
        put_flags("or gcc", e->target->gcc_flags, out);
    text_add(out, "\n *\n");
    line = text_new(arena_of(e));
    for (int i = 0; i < m->n_results; i++) {
        text_add(&line, i ? ", %s " : "%s ", m->results[i].name);
        type_print(m->results[i].value->type, &line);
    }
    for (int i = 0; i < m->n_params; i++) {
        text_add(&line, i ? ", %s " : "   from %s ", m->params[i]->name);
        type_print(m->params[i]->type, &line);
    }
    for (int i = 0, n = 0; i < m->n_symbols; i++)
        if (m->symbols[i]->high != SYMBOL_UNBOUNDED)
            text_add(&line, "%s%s <= %lld", n++ ? ", " : "   ", m->symbols[i]->name, (long long)m->symbols[i]->high);
    text_add(out, " * ");
    put_comment_line(out, line.data, line.length, " * ");
    text_add(out, "\n *\n");
    emit_steps(e, out);
    emit_approximations(e, out);
    text_add(out, " */\n");
}

/* ---- the file -------------------------------------------------------------------------------------------------------------------------- */

bool emit_model(Emitter *e, Context *cx, const Graph *model, const EmitOptions *options) {
    e->cx = cx;
    e->model = model;
    e->options = options;
    e->target = options->target;
    e->file = scope_new(cx);
    e->kernels = text_new(cx->arena);
    e->prefix = lower_case(e, model->name);
    e->rows = rows_of_model(model);
    reserve_interface(e);
    plan_describe(e);
    entry_begin(e);
    emit_nodes(e, model);
    if (e->failed)
        return false;
    schedule_print(e, &e->entry->steps, &e->entry->calls);
    plan_finish(e);
    return true;
}

enum { LINE = 120 };

/* "{", one statement and "}" after the function's head at the end of `out`: how much of the text they are; 0: they do not fit behind it. */
static size_t short_body(const Text *out, const char *text) {
    const char *head = out->data + out->length - 1;
    while (head > out->data && head[-1] != '\n')
        head--;
    if (strncmp(text, "{\n    ", 6) != 0 || strncmp(head, "static ", 7) != 0)
        return 0;
    size_t length = strcspn(text + 6, "\n");
    bool fits = text_column(out) == 0 && strlen(head) - 1 + length + sizeof " {  }" <= LINE;
    return fits && text[6 + length - 1] == ';' && !strncmp(text + 6 + length, "\n}\n", 3) ? length : 0;
}

/* A function that stands in one line, without a comment before it. */
static bool is_short(const char *line) {
    size_t length = strcspn(line, "\n");
    return !strncmp(line, "static inline ", 14) && line[length - 1] == '}';
}

static bool ends_short(const Text *out) {
    const char *line = out->data + out->length - (out->length > 0);
    while (line > out->data && line[-1] != '\n')
        line--;
    return out->length && is_short(line);
}

/* As a person would break lines: UNROLL(4) stands before its loop, and functions of one statement in one line, where they fit. */
static const char *tidied(Emitter *e, const char *text) {
    static const char pragma[] = "#pragma GCC unroll ";
    Text out = text_new(arena_of(e));
    for (const char *line = text, *end; *line; line = end) {
        end = strchr(line, '\n') + 1;
        bool unrolls = !strncmp(line, pragma, sizeof pragma - 1);
        size_t number = unrolls ? strspn(line + sizeof pragma - 1, "0123456789") : 0, indent = strspn(end, " "), next = strcspn(end, "\n");
        size_t body = out.length ? short_body(&out, line) : 0;
        if (body) {
            out.length--;
            text_add(&out, " { %.*s }\n", (int)body, line + 6);
            end = line + 6 + body + 3;
        } else if (*line == '\n' && ends_short(&out) && is_short(line + 1)) {
            continue;
        } else if (unrolls && next + number + sizeof "UNROLL() " <= LINE) {
            text_add(&out, "%*sUNROLL(%.*s) %.*s\n", (int)indent, "", (int)number, line + sizeof pragma - 1, (int)(next - indent), end + indent);
            end += next + 1;
        } else {
            text_put(&out, line, (size_t)(end - line));
        }
    }
    return out.data;
}

void emit_section(Emitter *e, Text *out) {
    Text rest = text_new(e->cx->arena), section = text_new(e->cx->arena);
    emit_math(e, NULL, &rest);
    emit_matrix(e, e->kernels.data, &rest);
    text_put(&rest, e->kernels.data, e->kernels.length);
    emit_prelude(e, rest.data, &section);
    text_char(&section, '\n');
    text_put(&section, rest.data, rest.length);
    text_add(out, "%s", tidied(e, section.data));
}

const char *codegen_helped(Context *cx, const Target *target, const char *text)
{
    Emitter e = {.cx = cx, .target = target};
    Text rest = text_new(cx->arena), out = text_new(cx->arena);
    for (int f = 0; f < MATH_COUNT; f++)
        e.math[f] = true;
    emit_math(&e, text, &rest);
    text_add(&rest, "%s", text);
    emit_prelude(&e, rest.data, &out);
    text_add(&out, "%s", rest.data);
    return out.data;
}

bool codegen_emit(Context *cx, const Graph *model, const EmitOptions *options, Emitted *out) {
    Emitter e = {0};
    if (!emit_model(&e, cx, model, options))
        return false;
    Text file = text_new(cx->arena), rest = text_new(cx->arena), entry = text_new(cx->arena);
    emit_call(&e, &entry);
    if (e.entry->n_kernels)
        emit_team(&e, e.entry->calls.data, &entry);
    put_arena_bytes(&e, &entry);
    put_run(&e, &entry);
    emit_math(&e, NULL, &rest);
    emit_matrix(&e, e.kernels.data, &rest);
    text_put(&rest, e.kernels.data, e.kernels.length);
    text_put(&rest, entry.data, entry.length);
    put_header(&e, &file);
    emit_prelude(&e, rest.data, &file);
    text_char(&file, '\n');
    if (options->tiles)
        text_add(&file, "int64_t %s_tiles[2]; /* attend's tiles: executed, of them without a comparison */\n\n", e.prefix);
    text_put(&file, rest.data, rest.length);
    *out = (Emitted){.text = file.data, .length = file.length, .plan = e.plan, .kernels = e.entry->kernels, .n_kernels = (int)e.entry->n_kernels,
                     .tiles = e.tiles, .n_tiles = (int)e.n_tiles};
    units_make(&e, &entry, out);
    out->scratch = e.scratch;
    out->grows = e.grows;
    out->n_grows = e.n_grows;
    return true;
}
