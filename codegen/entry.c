/* The entry function: pointers into the arena first, then one call a kernel in the model's order, a loop for each repeat. The calls
 * are recorded as steps; schedule.c says which of them have to wait, and prints them. */
#include "codegen/entry.h"
#include "codegen/entry_inside.h"
#include "codegen/live.h"

#include <string.h>

static Arena *arena_of(Emitter *e) { return e->cx->arena; }

void entry_begin(Emitter *e) {
    EntryState *s = arena_alloc(arena_of(e), sizeof *s);
    s->names = scope_new(e->cx);
    s->pointers = map_new(arena_of(e));
    s->declarations = text_new(arena_of(e));
    s->weights = text_new(arena_of(e));
    s->calls = text_new(arena_of(e));
    s->steps.indent = 1;
    for (int i = 0; i < e->model->n_symbols; i++)
        scope_name(&s->names, e->model->symbols[i]->name);
    s->unit = arena_array(arena_of(e), (size_t)e->model->n_regions + 1, sizeof *s->unit);
    s->base = arena_array(arena_of(e), (size_t)e->model->n_regions + 1, sizeof *s->base);
    for (int i = 0; i < e->model->n_regions; i++) {
        s->unit[i] = scope_name(&s->names, e->model->n_regions > 1 ? arena_print(arena_of(e), "unit_%d", i + 1) : "unit");
        s->base[i] = i ? scope_name(&s->names, arena_print(arena_of(e), "region_%d", i + 1)) : "arena";
    }
    s->scratch = scope_name(&s->names, "thread_scratch");
    s->since = scope_name(&s->names, "since");
    e->entry = s;
    call_members(e);
}

/* ---- expressions ------------------------------------------------------------------------------------------------------------------- */

/* "S * 384", rounded sizes spelled out. */
const char *region_unit(Emitter *e, const Region *r) {
    Text t = text_new(arena_of(e));
    for (int i = 0; i < r->n; i++) {
        long long round = r->round[i];
        if (round > 1)
            text_add(&t, i ? " * ((%s + %lld) / %lld * %lld)" : "(%s + %lld) / %lld * %lld", extent_text(e->cx, r->unit[i]), round - 1, round, round);
        else
            text_add(&t, "%s%s", i ? " * " : "", extent_factor_text(e->cx, r->unit[i]));
    }
    return t.length ? t.data : "1";
}

const char *entry_product(Emitter *e, Extent at, Stride stride) {
    if (extent_is_const(at) && !stride.n)
        return arena_print(arena_of(e), "%lld", (long long)(at.base * stride.factor));
    const char *step = stride_text(e->cx, stride);
    return arena_print(arena_of(e), strcmp(step, "1") != 0 ? "%s * %s" : "%s", extent_factor_text(e->cx, at), step);
}

static const char *weight_name(Emitter *e, const Node *weight) {
    const char *key = attr_name(weight, ATTR_key), *from = key;
    if (!key)
        return weight->name;
    int dots = 0;
    for (const char *p = key + strlen(key); p > key && dots < 2; p--)
        if (p[-1] == '.' && ++dots == 2)
            from = p;
    return arena_print(arena_of(e), "%s", from);
}

const char *entry_value_name(Emitter *e, const Node *value) {
    return value->op == OP_weight ? weight_name(e, value) : value->name ? value->name : "value";
}

static const char *c_type(DType t) {
    switch (t) {
    case DT_F32: return "float";
    case DT_I32: return "int";
    case DT_I64: return "int64_t";
    default: return "unsigned char";
    }
}

/* A pointer; its comment stands from `column` on and is left out if the line gets too long. */
static void put_pointer(Text *out, const char *declaration, size_t column, const char *comment) {
    size_t from = out->length;
    text_add(out, "    %s;", declaration);
    text_pad(out, column);
    if (out->length - from + strlen(comment) + 7 <= 120)
        text_add(out, " /* %s */", comment);
    text_char(out, '\n');
}

/* One variable for each value, even where two take turns in the same memory: each is called by its name. */
static const char *arena_pointer(Emitter *e, const Node *home) {
    EntryState *s = e->entry;
    const char *key = arena_print(arena_of(e), "%d", home->id), *name = map_get(&s->pointers, key);
    if (name)
        return name;
    name = scope_name(&s->names, home->name);
    map_set(&s->pointers, key, (void *)(uintptr_t)name);
    Text t = text_new(arena_of(e)), type = text_new(arena_of(e)), at = text_new(arena_of(e));
    bool floats = home->type->dtype == DT_F32;
    text_add(&at, "%s", s->base[home->place.region]);
    if (home->place.offset) {
        text_add(&at, " + %lld", (long long)home->place.offset / 4);
        if (e->model->regions[home->place.region].n)
            text_add(&at, " * %s", s->unit[home->place.region]);
    }
    const char *c = c_type(home->type->dtype);
    if (floats)
        text_add(&t, "%s *%s = %s", c, name, at.data);
    else
        text_add(&t, home->place.offset ? "%s *%s = (%s *)(%s)" : "%s *%s = (%s *)%s", c, name, c, at.data);
    type_print(home->type, &type);
    put_pointer(&s->declarations, t.data, 56, type.data);
    return name;
}

const char *entry_weight(Emitter *e, const Node *weight, uint64_t offset, uint64_t layer_stride, DType dtype, int64_t panel, bool paired) {
    EntryState *s = e->entry;
    const char *key = arena_print(arena_of(e), "weight %llu", (unsigned long long)offset), *name = map_get(&s->pointers, key);
    if (!name) {
        name = scope_name(&s->names, entry_value_name(e, weight));
        map_set(&s->pointers, key, (void *)(uintptr_t)name);
        const char *tensor = attr_name(weight, ATTR_key);
        Text t = text_new(arena_of(e)), comment = text_new(arena_of(e));
        const char *at = offset ? arena_print(arena_of(e), "call->weights + %llu", (unsigned long long)offset / 4) : "call->weights";
        text_add(&t, dtype == DT_F32 ? "const float *%s = %s" : offset ? "const uint16_t *%s = (const uint16_t *)(%s)" : "const uint16_t *%s = (const uint16_t *)%s", name, at);
        text_add(&comment, "%s", tensor ? tensor : "a table");
        double plus = attr_float(weight, ATTR_plus, 0);
        if (plus != 0)
            text_add(&comment, " * (%s + %g)", attr_name(weight, ATTR_gain), plus);
        else if (attr_name(weight, ATTR_gain))
            text_add(&comment, " * %s", attr_name(weight, ATTR_gain));
        if (node_attr(weight, ATTR_factor))
            text_add(&comment, " * %g", attr_float(weight, ATTR_factor, 1));
        if (dtype != DT_F32)
            text_add(&comment, ", %s", dtype_name(dtype));
        if (panel)
            text_add(&comment, paired ? ", panels of %lld in pairs" : ", panels of %lld", (long long)panel);
        put_pointer(&s->weights, t.data, 0, comment.data);
    }
    if (!layer_stride || !s->layer)
        return name;
    return arena_print(arena_of(e), "%s + %s * %llu", name, s->layer, (unsigned long long)layer_stride / dtype_size(dtype));
}

/* The layer of the cache that a node writes: the repeat's number or a constant, and what is added to it. */
static const char *layer_written(Emitter *e, const Node *writer) {
    const Node *n = writer->op == OP_append ? writer->inputs[1] : role_of(writer, "layer");
    while (n->op == OP_get || op_info[n->op].class == CLASS_VIEW || n->op == OP_cast)
        n = n->inputs[0];
    const Attr *start = node_attr(writer, ATTR_start);
    long long first = start ? (long long)start->extent.base : 0;
    if (n->op == OP_index && e->entry->layer)
        return first ? arena_print(arena_of(e), "(%s + %lld)", e->entry->layer, first) : e->entry->layer;
    if (n->op == OP_const)
        return arena_print(arena_of(e), "%lld", (long long)attr_float(n, ATTR_value, 0) + first);
    emit_fail(e, writer, "the layer it writes is neither the repeat's number nor a constant");
    return "0";
}

static const char *cache_pointer(Emitter *e, const Node *home) {
    const Cache *c = &e->model->caches[home->place.index];
    Stride s = stride_const(1);
    const char *name = e->entry->cache[home->place.index], *layer = node_has_state(home) ? layer_written(e, home) : "0";
    for (int i = c->type->rank - 1; i >= 0; i--) {
        Extent size = c->type->axis[i].size;
        if (c->panels && i == c->growing)
            size.base = (size.base + KEY_PANEL - 1) / KEY_PANEL * KEY_PANEL;
        if (!stride_times(s, size, &s))
            emit_fail(e, home, "its cache is too large");
    }
    if (!strcmp(layer, "0"))
        return arena_print(arena_of(e), "call->%s", name);
    return arena_print(arena_of(e), "call->%s + %s * %s", name, layer, stride_text(e->cx, s));
}

static int repeats_around(const Node *n) {
    int count = 0;
    for (const Graph *g = n->graph; g; g = g->parent)
        count += g->owner && g->owner->op == OP_repeat;
    return count;
}

const char *entry_pointer(Emitter *e, const Node *home) {
    uint64_t layer_stride, offset;
    switch (home->place.kind) {
    case PLACE_ARENA:
        if (home->place.region < e->model->n_regions)
            return arena_pointer(e, home);
        break;
    case PLACE_INPUT: return arena_print(arena_of(e), "call->%s", e->entry->input[home->place.index]);
    case PLACE_OUTPUT: return arena_print(arena_of(e), "call->%s", e->entry->output[home->place.index]);
    case PLACE_CACHE: return cache_pointer(e, home);
    default: break;
    }
    if (home->op == OP_index && repeats_around(home) <= e->entry->depth)
        return arena_print(arena_of(e), "&(const int){(int)%s}", e->entry->layers[repeats_around(home) - 1]);
    if (home->op == OP_weight || home->op == OP_table) {
        offset = pack_plain(e, home, DT_F32, &layer_stride);
        return entry_weight(e, home, offset, layer_stride, DT_F32, 0, false);
    }
    emit_fail(e, home, "it has no place in memory");
    return "0";
}

/* ---- steps ------------------------------------------------------------------------------------------------------------------------------ */

static void put_calls(Emitter *e, const char *line) { step_add(e, STEP_LINE, line); }

void entry_meet(Emitter *e) { step_add(e, STEP_MEET, NULL); }

/* ---- calls -------------------------------------------------------------------------------------------------------------------------------- */

static void put_taps(Emitter *e, const Kernel *k, int number) {
    EntryState *s = e->entry;
    if (e->options->timing)
        step_add(e, STEP_LINE, arena_print(arena_of(e), "lap(call, &team, %d, &%s);", number, s->since))->clears = true;
    if (!e->options->taps)
        return;
    Text shows = text_new(arena_of(e));
    for (int r = 0; r < node_results(k->node); r++) {
        const Node *result = kernel_get(k->node, r);
        for (size_t i = 0; result && i < k->n_params; i++)
            if (k->params[i].access >= 0 && k->params[i].writes && k->accesses[k->params[i].access].value == result)
                text_add(&shows, "\n%*sshow(call, %d, %s, %s);", 4 * s->steps.indent + 4, "", number, s->round ? s->round : "-1", k->params[i].argument);
    }
    if (!shows.length)
        return;
    step_add(e, STEP_MEET, NULL)->meets = true;
    put_calls(e, arena_print(arena_of(e), "while (take(&team, 0)) {%s\n%*s}", shows.data, 4 * s->steps.indent, ""));
    step_add(e, STEP_MEET, NULL)->meets = true;
}

/* Some of its reads go to other rows than their own. */
static bool looks_up_rows(const Emitter *e, const Node *kernel) {
    for (const Node *n = kernel->body ? kernel->body->first : NULL; n; n = n->next)
        for (int i = 0; n->op == OP_gather && i < e->rows.n; i++)
            if (attr_has_name(n, ATTR_over, e->rows.axis[i].name))
                return true;
    return false;
}

/* ---- what a product asks for before the next one reads it ------------------------------------------------------------------------------- */

/* Where a part of a kernel begins to read its weights. Threads have shares of the panels; where these lie in several places only the first one's
 * is named, the others ask for `own`, which is near. */
static const char *first_panel(Emitter *e, const FirstPanel *f, const char *argument, const char *own) {
    if (e->alone || f->panels == 1)
        return argument;
    if (f->several)
        return arena_print(arena_of(e), "team.part ? (const void *)(%s) : %s", own, argument); /* their types may differ */
    return arena_print(arena_of(e), "%s + share(%lld, team.part, team.parts) * %lld", argument, (long long)f->panels, (long long)f->elements);
}

/* "w + layer * 384" as "w + (layer + 1) % 6 * 384". */
static const char *in_next_round(Emitter *e, const char *argument, int64_t count) {
    const char *layer = e->entry->layer, *plus = strstr(argument, arena_print(arena_of(e), " + %s * ", layer));
    if (!plus)
        return argument;
    return arena_print(arena_of(e), "%.*s + (%s + 1) %% %lld%s", (int)(plus - argument), argument, layer, (long long)count, plus + 3 + strlen(layer));
}

/* The product before this one asks for this one's. */
static void note_first(Emitter *e, const FirstPanel *f) {
    EntryState *s = e->entry;
    if (s->waits)
        *s->waits = first_panel(e, f, f->argument, *s->waits);
    s->waits = NULL;
    if (s->depth && !s->begins[s->depth - 1].argument)
        s->begins[s->depth - 1] = *f;
}

/* Nothing of a repeat is known outside. */
static void enter_rounds(Emitter *e) {
    EntryState *s = e->entry;
    s->begins[s->depth] = (FirstPanel){0};
    s->waits = NULL;
}

/* The last product of a round asks for the first one's of the next round. */
static void end_rounds(Emitter *e, int64_t count) {
    EntryState *s = e->entry;
    const FirstPanel *f = &s->begins[s->depth];
    if (s->waits && f->argument)
        *s->waits = first_panel(e, f, in_next_round(e, f->argument, count), *s->waits);
    s->waits = NULL;
}

void entry_call(Emitter *e, const Kernel *k) {
    EntryState *s = e->entry;
    const char **items = arena_array(arena_of(e), k->n_params + 4, sizeof *items), **waits = NULL;
    size_t n = 0;
    Step *step = step_add(e, STEP_KERNEL, work_text(e, k->node));
    for (size_t i = 0; i < k->n_params; i++) {
        const char *argument = k->params[i].argument;
        s->scratch_used |= !strcmp(argument, "scratch");
        bool next = !strcmp(argument, READ_NEXT);
        waits = next ? &items[n] : waits;
        items[n++] = next ? k->first.argument : strcmp(argument, "scratch") != 0 ? argument : s->scratch;
    }
    if (k->first.argument)
        note_first(e, &k->first);
    s->waits = waits ? waits : s->waits;
    const Node *live = live_input(e, k);
    s->live = live ? live : s->live;
    if (k->rows) {
        items[n++] = live ? "live.from" : e->alone ? "0" : "team.from_row";
        items[n++] = live ? "live.to" : e->alone ? schedule_rows(e) : "team.to_row";
    }
    if (k->thread)
        items[n++] = e->alone ? "0" : "team.part";
    if (k->threads)
        items[n++] = e->alone ? "1" : "team.parts";
    for (size_t i = 0; i < k->n_params; i++)
        if (k->params[i].access >= 0)
            step_touch(e, step, &k->accesses[k->params[i].access], k->params[i].writes);
    for (size_t i = 0; i < step->n_touches && looks_up_rows(e, k->node); i++)
        step->touches[i].row = 0;
    step->function = k->function;
    step->items = items;
    step->n_items = n;
    step->rows = k->rows;
    step->live = live != NULL;
    step->alone = !k->thread && !k->threads;
    step->product = k->node->op == OP_gemm;
    s->kernels = arena_room(arena_of(e), s->kernels, s->n_kernels, &s->kernels_capacity, sizeof *s->kernels);
    s->kernels[s->n_kernels++] = (KernelInfo){k->function, k->node->name, k->node, s->times ? s->times : 1};
    put_taps(e, k, (int)s->n_kernels - 1);
}

/* ---- the graph ------------------------------------------------------------------------------------------------------------------------------ */

/* Where the storage of two values is one and the same. */
static bool same_place(const Node *a, const Node *b) {
    while (a->place.kind == PLACE_VIEW && a->n_inputs)
        a = a->inputs[0];
    while (b->place.kind == PLACE_VIEW && b->n_inputs)
        b = b->inputs[0];
    if (a == b)
        return true;
    if (a->place.kind != b->place.kind)
        return false;
    if (a->place.kind == PLACE_ARENA)
        return a->place.region == b->place.region && a->place.offset == b->place.offset;
    return a->place.kind == PLACE_OUTPUT && a->place.index == b->place.index;
}

static void copy_value(Emitter *e, const Node *from, const Node *to) {
    if (same_place(from, to))
        return;
    Kernel k = kernel_begin(e, to);
    text_add(&k.comment, "%s = %s\n", to->name, from->name);
    emit_copy(&k, from, to);
    kernel_end(&k);
}

static void emit_repeat(Emitter *e, const Node *n) {
    EntryState *s = e->entry;
    const Graph *body = n->body;
    const char *outer = s->layer, *outer_round = s->round;
    int64_t times = s->times, count = attr_int(n, ATTR_count, 1);
    for (int i = 0; i < n->n_inputs; i++)
        copy_value(e, n->inputs[i], body->params[i + 1]);
    entry_meet(e);
    if (s->depth == MAX_REPEATS) {
        emit_fail(e, n, "more than %d repeats stand one inside the other", MAX_REPEATS);
        return;
    }
    s->layer = s->layers[s->depth] = s->depth ? scope_name(&s->names, "inner_layer") : "layer";
    s->round = outer_round ? arena_print(arena_of(e), "(%s) * %lld + %s", outer_round, (long long)count, s->layer) : s->layer;
    enter_rounds(e);
    s->depth++;
    step_add(e, STEP_ROUNDS, arena_print(arena_of(e), "for (ptrdiff_t %s = 0; %s < %lld; %s++) {", s->layer, s->layer, (long long)count, s->layer));
    s->steps.indent++;
    s->times = (times ? times : 1) * count;
    emit_nodes(e, body);
    for (int i = 0; i < n->n_inputs; i++)
        copy_value(e, body->results[i].value, body->params[i + 1]);
    s->steps.indent--;
    step_add(e, STEP_END, "}");
    s->times = times;
    s->depth--;
    end_rounds(e, count);
    s->layer = outer;
    s->round = outer_round;
    for (int i = 0; i < n->n_inputs; i++) {
        const Node *get = n->type ? n : kernel_get(n, i);
        if (get)
            copy_value(e, body->params[i + 1], get);
    }
}

static void emit_kernel(Emitter *e, const Node *n) {
    Kernel k = kernel_begin(e, n);
    switch (n->op) {
    case OP_gemm: emit_gemm(&k); break;
    case OP_attend: emit_attend(&k); break;
    case OP_linear_attend: emit_linear_attend(&k); break;
    case OP_codebook_attend: emit_codebook_attend(&k); break;
    case OP_map: emit_map(&k); break;
    case OP_append: emit_append(&k); break;
    case OP_rowwise: emit_rowwise(&k); break;
    case OP_reduce: emit_reduce(&k); break;
    case OP_concat: emit_concat(&k); break;
    case OP_dot: emit_dot(&k); break;
    case OP_cumsum:
    case OP_cummax: emit_scan(&k); break;
    case OP_topk: emit_topk(&k); break;
    default: emit_fail(e, n, "there is no kernel for it; it should have been lowered"); break;
    }
    kernel_end(&k);
}

/* The run-time sizes for which a choice takes its first side, as a C condition. */
static const char *chosen_text(Emitter *e, const Node *choose) {
    const Attr *start = node_attr(choose, ATTR_start);
    const char *rows = extent_factor_text(e->cx, node_attr(choose, ATTR_size)->extent),
               *before = extent_factor_text(e->cx, start ? start->extent : extent_const(0));
    return arena_print(arena_of(e), "(double)%s * ((double)%s + (double)%s) <= %.17g * (double)%s", rows, before, rows, attr_float(choose, ATTR_value, 0), before);
}

/* What only one side of a choice needs stands in an `if`. Every thread takes the same way; none waits inside for what stands outside. */
static void enter_side(Emitter *e, Chooser side) {
    EntryState *s = e->entry;
    if (s->open.choose == side.choose && s->open.few == side.few)
        return;
    entry_meet(e);
    bool other = s->open.choose && s->open.choose == side.choose && s->open.few;
    if (s->open.choose) {
        s->steps.indent--;
        put_calls(e, other ? "} else {" : "}");
    }
    if (side.choose && !other) {
        const char *condition = chosen_text(e, side.choose);
        put_calls(e, arena_print(arena_of(e), side.few ? "if (%s) {" : "if (!(%s)) {", condition));
    }
    s->steps.indent += side.choose != NULL;
    s->open = side;
}

void emit_nodes(Emitter *e, const Graph *g) {
    const Chooser *of = choosers_of(arena_of(e), g);
    for (const Node *n = g->first; n && !e->failed; n = n->next) {
        OpClass class = op_info[n->op].class;
        for (int i = 0; n->op == OP_choose && i < 2; i++) {
            if (same_place(n->inputs[i], n))
                continue;
            enter_side(e, (Chooser){n, i == 0});
            copy_value(e, n->inputs[i], n);
        }
        if (class == CLASS_LEAF || class == CLASS_VIEW || n->op == OP_get || n->op == OP_choose)
            continue;
        enter_side(e, of[n->id]);
        if (n->op == OP_repeat)
            emit_repeat(e, n);
        else
            emit_kernel(e, n);
    }
    enter_side(e, (Chooser){0});
}
