/* NAME.c: the model's story, a section of kernels for each target, and the interface. */
#include "codegen/ship_inside.h"
#include "codegen/live.h"
#include "ir/interpret.h"

#include <ctype.h>
#include <string.h>

void ship_put(const Ship *s, Text *out, const char *text) {
    for (const char *p = text; *p; p++)
        if (p[0] == '@' && p[1] == '@')
            text_add(out, "%s", s->upper), p++;
        else if (*p == '@')
            text_add(out, "%s", s->name);
        else
            text_char(out, *p);
}

/* ---- sizes --------------------------------------------------------------------------------------------------------------------------- */

const char *ship_size(const Ship *s, const PlanDim *d) {
    Text t = text_new(s->cx->arena);
    for (int i = 0; i < d->n; i++) {
        const char *name = s->plan->symbols[d->symbol[i]].name;
        text_add(&t, "%s", t.length ? d->factor[i] < 0 ? " - " : " + " : d->factor[i] < 0 ? "-" : "");
        long long factor = d->factor[i] < 0 ? -(long long)d->factor[i] : (long long)d->factor[i];
        text_add(&t, factor == 1 ? "%s" : "%s * %lld", name, factor);
    }
    if (!t.length)
        text_add(&t, "%lld", (long long)d->base);
    else if (d->base)
        text_add(&t, d->base < 0 ? " - %lld" : " + %lld", d->base < 0 ? -(long long)d->base : (long long)d->base);
    return t.data;
}

const char *ship_real(const Ship *s, Extent size) {
    const char *text = extent_text(s->cx, size);
    return arena_print(s->cx->arena, strchr(text, ' ') ? "(double)(%s)" : "(double)%s", text);
}

const char *ship_bytes(const Ship *s, const Type *t, bool real) {
    Text out = text_new(s->cx->arena);
    int64_t factor = (int64_t)dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++)
        if (extent_is_const(t->axis[i].size))
            factor *= t->axis[i].size.base;
        else
            text_add(&out, " * %s", real ? ship_real(s, t->axis[i].size) : extent_factor_text(s->cx, t->axis[i].size));
    const char *number = arena_print(s->cx->arena, real ? "%lld.0" : "%lld", (long long)factor);
    if (!out.length)
        return number;
    return factor == 1 ? out.data + 3 : arena_print(s->cx->arena, "%s%s", number, out.data);
}

/* ---- what lies where in the weights file -------------------------------------------------------------------------------------------------- */

/* FNV-1a: what it stands for is compared, nothing is kept out by it. */
static uint64_t hash_text(const Text *t) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < t->length; i++)
        hash = (hash ^ (unsigned char)t->data[i]) * 0x100000001b3u;
    return hash;
}

static void describe_dims(Text *t, char sign, const PackDim *dims, int rank) {
    for (int i = 0; i < rank; i++)
        text_add(t, " %c%lld/%lld", sign, (long long)dims[i].size, (long long)dims[i].stride);
}

/* All that packing makes of the checkpoint, and where. */
static const char *describe(Context *cx, const Plan *p) {
    Text t = text_new(cx->arena);
    for (int i = 0; i < p->n_weights; i++) {
        const PackItem *w = &p->weights[i];
        text_add(&t, "%llu+%llu*%llu %s x%lld/%lld from %lld:", (unsigned long long)w->offset, (unsigned long long)w->bytes, (unsigned long long)w->layer_stride,
                 w->key ? w->key : "table", (long long)w->layers, (long long)w->stack, (long long)w->start);
        for (int d = 0; d < w->stored_rank; d++)
            text_add(&t, " %lld", (long long)w->stored[d]);
        describe_dims(&t, 'n', w->n, w->n_rank);
        describe_dims(&t, 'k', w->k, w->k_rank);
        text_add(&t, " layout %d panel %lld %s%s gain %s %d %a factor %a", (int)w->layout, (long long)w->panel, dtype_name(w->dtype),
                 w->rounded ? " rounded" : "", w->gain ? w->gain : "", w->gain_dim, w->plus, w->factor);
        int64_t count = 1;
        for (int d = 0; w->data && d < w->n_rank + w->k_rank; d++)
            count *= d < w->n_rank ? w->n[d].size : w->k[d - w->n_rank].size;
        for (int64_t d = 0; w->data && d < count; d++)
            text_add(&t, " %a", (double)w->data[d]);
        text_char(&t, '\n');
    }
    text_add(&t, "%llu\n", (unsigned long long)p->weight_bytes);
    return t.data;
}

static void lay_out(Ship *s) {
    Shipped *out = s->out;
    Arena *a = s->cx->arena;
    int *section = arena_array(a, (size_t)s->out->n_targets, sizeof *section);
    const char **seen = arena_array(a, (size_t)s->out->n_targets, sizeof *seen);
    Text all = text_new(a);
    text_add(&all, "%s format %d\n", s->name, SHIP_FORMAT);
    out->sections = arena_array(a, (size_t)s->out->n_targets, sizeof *out->sections);
    out->file_bytes = SHIP_HEADER_BYTES;
    for (int t = 0; t < s->out->n_targets; t++) {
        const Plan *p = &s->emitter[t].plan;
        const char *is = describe(s->cx, p);
        int found = 0;
        while (found < out->n_sections && strcmp(seen[found], is) != 0)
            found++;
        section[t] = found;
        if (found < out->n_sections)
            continue;
        seen[out->n_sections] = is;
        uint64_t offset = (out->file_bytes + SHIP_LINE - 1) / SHIP_LINE * SHIP_LINE;
        out->sections[out->n_sections++] = (ShipSection){*p, offset, p->weight_bytes};
        out->file_bytes = offset + p->weight_bytes;
        text_add(&all, "%s", is);
    }
    out->section = section;
    out->layout_hash = hash_text(&all);
}

/* ---- the story ---------------------------------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "a graph";
}

static bool by_attribute(const Target *t) { return t->architecture && !strcmp(t->architecture, "x86_64") && t->lanes > 4; }

/* Are all targets kinds of one architecture's processors? */
static bool one_machine(const Ship *s) {
    const Target *const *t = s->out->targets;
    for (int i = 0; i < s->out->n_targets; i++)
        if (s->out->n_targets > 1 && (!t[i]->architecture || !t[0]->architecture || strcmp(t[i]->architecture, t[0]->architecture) != 0))
            return false;
    return true;
}

static bool has_flag(const char *const *flags, const char *flag) {
    while (*flags && strcmp(*flags, flag) != 0)
        flags++;
    return *flags != NULL;
}

/* Is it for all the file? Not the kind of processors where the file names it itself, and with several machines only what suits them all. */
static bool of_file(const Ship *s, const Target *t, const char *flag, bool gcc) {
    if (!strncmp(flag, "-march=", 7) && (by_attribute(t) || s->out->n_targets > 1))
        return false;
    if (one_machine(s))
        return true;
    for (int i = 0; i < s->out->n_targets; i++) {
        const char *const *flags = gcc ? s->out->targets[i]->gcc_flags : s->out->targets[i]->flags;
        if (flags && !has_flag(flags, flag))
            return false;
    }
    return true;
}

static const char *flags_of(const Ship *s, bool gcc) {
    Text t = text_new(s->cx->arena);
    for (int i = 0; i < s->out->n_targets; i++) {
        const Target *target = s->out->targets[i];
        for (const char *const *flags = gcc ? target->gcc_flags : target->flags; flags && *flags; flags++) {
            const char *flag = !strcmp(*flags, "-std=gnu11") ? "-std=c11" : *flags, *at = strstr(t.data ? t.data : "", flag);
            if (of_file(s, target, *flags, gcc) && !(at && (at[strlen(flag)] == ' ' || !at[strlen(flag)])))
                text_add(&t, t.length ? " %s" : "%s", flag);
        }
    }
    return t.length ? t.data : NULL;
}

static void find_machines(const Ship *s) {
    Shipped *out = s->out;
    out->machines = arena_array(s->cx->arena, (size_t)out->n_targets, sizeof *out->machines);
    for (int i = 0; i < out->n_targets && !one_machine(s); i++) {
        const Target *t = out->targets[i];
        Text flags = text_new(s->cx->arena);
        for (const char *const *flag = t->flags; *flag && t->architecture && strcmp(t->architecture, "x86_64") != 0; flag++)
            if (!strncmp(*flag, "-m", 2))
                text_add(&flags, flags.length ? " %s" : "%s", *flag);
        if (flags.length)
            out->machines[out->n_machines++] = (struct ShipMachine){t->architecture, flags.data};
    }
}

/* ---- the story: a line for each kernel ------------------------------------------------------------------------------------------------------------ */

enum { STORY_WIDTH = 118, STORY_FORMULA = 26, STORY_ARROW = 84 };

static const Node *behind_views(const Node *n) {
    while ((op_info[n->op].class == CLASS_VIEW || n->op == OP_get) && n->n_inputs && n->inputs[0]->op != OP_repeat)
        n = n->inputs[0];
    return n;
}

static bool is_kernel(const Node *n) {
    OpClass class = op_info[n->op].class;
    return class != CLASS_LEAF && class != CLASS_VIEW && n->op != OP_get && n->op != OP_choose && n->op != OP_repeat;
}

/* The kernel that reads the value last, in this graph or in one inside it; NULL: another value takes its place, as in the next round of a repeat. */
static const Node *last_reader(const Graph *g, const Node *value, int index) {
    const Node *last = NULL;
    for (const Node *n = g->first; n; n = n->next) {
        const Node *inside = n->op == OP_repeat ? last_reader(n->body, value, index) : NULL;
        last = inside ? inside : last;
        for (int i = 0; i < n->n_inputs; i++) {
            const Node *in = n->inputs[i];
            bool same = behind_views(in) == value;
            for (; same && op_info[in->op].class == CLASS_VIEW; in = in->inputs[0])
                ;
            if (same && is_kernel(n) && (in == value || in == kernel_get(value, index)))
                last = n;
        }
    }
    return last;
}

static void put_place(const Ship *s, const Node *kernel, int index, bool first, Text *row) {
    const Node *value = kernel_get(kernel, index);
    if (!value)
        return;
    const char *name = value->op == OP_get ? value->name : kernel->name;
    text_add(row, first ? "-> %s" : ", %s", name);
    if (value->place.kind == PLACE_ARENA && value->place.region < s->model->n_regions) {
        const Node *reader = last_reader(s->model, kernel, index);
        text_add(row, value->place.region ? " at %d:%lld" : " at %.0d%lld", value->place.region ? value->place.region + 1 : 0, (long long)value->place.offset / 4);
        if (reader)
            text_add(row, " to %s", reader->name);
    }
}

static void put_kernel_line(const Ship *s, const Node *n, int depth, Text *out) {
    Text row = text_new(s->cx->arena), formula = text_new(s->cx->arena), places = text_new(s->cx->arena);
    text_add(&row, "%*s%s ", 2 * depth, "", n->name);
    text_pad(&row, 15);
    text_add(&row, "%-8s ", op_info[n->op].name);
    text_pad(&row, STORY_FORMULA - 2);
    for (int r = 0; n->body && r < n->body->n_results; r++) {
        text_add(&formula, r ? ", " : "");
        expression_print(n->body, r, &formula);
    }
    for (int i = 0; !n->body && i < n->n_inputs; i++)
        text_add(&formula, "%s%s", i ? ", " : "", n->inputs[i]->name);
    for (int r = 0; r < node_results(n); r++)
        put_place(s, n, r, !places.length, &places);
    bool narrow = places.length < STORY_WIDTH - STORY_ARROW - 4;        /* the results stand below each other */
    size_t left = STORY_WIDTH - 6 - row.length;
    size_t room = narrow ? STORY_ARROW - row.length - 4 : left > places.length + 24 ? left - places.length : 20;
    if (formula.length > room)
        text_add(&row, "%.*s ..", (int)room - 3, formula.data);
    else
        text_add(&row, "%s", formula.length ? formula.data : "");
    text_pad(&row, narrow ? STORY_ARROW - 3 : 0);
    text_add(&row, " %s", places.length ? places.data : "");
    while (row.length && row.data[row.length - 1] == ' ')
        row.data[--row.length] = 0;
    text_add(out, " * ");
    put_comment_line(out, row.data, row.length, " *                           ");
    text_char(out, '\n');
}

static void put_kernel_lines(const Ship *s, const Graph *g, int depth, Text *out) {
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat) {
            text_add(out, " * %*s%lld times\n", 2 * depth, "", (long long)attr_int(n, ATTR_count, 1));
            put_kernel_lines(s, n->body, depth + 1, out);
        } else if (is_kernel(n)) {
            put_kernel_line(s, n, depth, out);
        }
    }
}

static void put_legend(const Ship *s, Text *out) {
    Text line = text_new(s->cx->arena);
    text_add(&line, "The kernels in their order, each with its result; `at`: where that lies in the arena, in floats times");
    for (int i = 0; i < s->model->n_regions; i++)
        text_add(&line, i ? "%s %d: behind that, times %s" : "%.0s%.0d %s", i ? ";" : "", i ? i + 1 : 0, region_unit(&s->emitter[0], &s->model->regions[i]));
    text_add(&line, "; `to`: the kernel that reads it last.");
    text_add(out, "\n *\n * ");
    put_comment_line(out, line.data, line.length, " *");
    text_add(out, "\n");
}

static void put_story(Ship *s, Text *out) {
    Text line = text_new(s->cx->arena);
    text_add(&line, "/* %s.c: %s, from %s. Emitted for", s->name, s->model->name, base_name(s->model->file));
    for (int i = 0; i < s->out->n_targets; i++)
        text_add(&line, "%s %s (%s)", i ? i + 1 == s->out->n_targets ? " and" : "," : "", s->out->targets[i]->name, s->out->targets[i]->machines);
    text_add(&line, ", to be compiled with");
    put_comment_line(out, line.data, line.length, " * ");
    const char *flags[2] = {arena_print(s->cx->arena, "clang %s", s->out->clang_flags), NULL};
    if (s->out->gcc_flags)
        flags[1] = arena_print(s->cx->arena, "or gcc %s", s->out->gcc_flags);
    for (int i = 0; i < 2 && flags[i]; i++) {
        text_add(out, "\n *     ");
        put_comment_line(out, flags[i], strlen(flags[i]), " *     ");
    }
    for (int i = 0; i < s->out->n_machines; i++)
        text_add(out, "\n *     and clang for %s with %s", s->out->machines[i].name, s->out->machines[i].clang_flags);
    put_legend(s, out);
    put_kernel_lines(s, s->model, 0, out);
    emit_approximations(&s->emitter[0], out);
    text_add(out, " */\n");
}

/* What must be defined for a target's code, after #if; NULL: nothing. ATTAR_SCALAR leaves the code without vectors alone, if there is any. */
const char *ship_guard(const Ship *s, const Target *t) {
    const char *machine = !t->architecture ? NULL : !strcmp(t->architecture, "x86_64") ? "__x86_64__" : !strcmp(t->architecture, "aarch64") ? "__aarch64__"
                          : !strcmp(t->architecture, "riscv64") ? "__riscv" : "__wasm__";
    bool plain = t->lanes > 1 && s->out->targets[s->out->n_targets - 1]->lanes == 1;
    return machine ? arena_print(s->cx->arena, "defined %s%s", machine, plain ? " && !defined ATTAR_SCALAR" : "") : plain ? "!defined ATTAR_SCALAR" : NULL;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------------------------ */

static void put_guard(const Ship *s, const Target *t, bool open, Text *out) {
    bool alone = s->out->n_targets == 1;
    if (!alone && open) {
        text_add(out, "/* ---- %s: %s ---- */\n\n", t->name, t->machines);
        if (ship_guard(s, t))
            text_add(out, "#if %s\n", ship_guard(s, t));
    }
    if (by_attribute(t)) {
        text_add(out, "%s", alone ? "#if defined __x86_64__ && defined __clang__\n" : "#if defined __clang__\n");
        if (open)
            text_add(out, "#pragma clang attribute push(__attribute__((target(\"arch=%s\"), min_vector_width(%d))), apply_to = function)\n", t->name, 32 * t->lanes);
        else
            text_add(out, "#pragma clang attribute pop\n");
        text_add(out, "%s", alone ? "#elif defined __x86_64__\n" : "#else\n");
        if (open)
            text_add(out, "#pragma GCC push_options\n#pragma GCC target(\"arch=%s%s\")\n", t->name, t->lanes == 16 ? ",prefer-vector-width=512" : "");
        else
            text_add(out, "#pragma GCC pop_options\n");
        text_add(out, "#endif\n");
    }
    if (!open && !alone)
        text_add(out, ship_guard(s, t) ? "#endif\n\n" : "\n");
}

/* Kernels, what they need of scratch, and the function that calls them. */
static void put_section(Ship *s, int target, Text *out) {
    Emitter *e = &s->emitter[target];
    Text section = text_new(s->cx->arena), sizes = text_new(s->cx->arena);
    emit_section(e, &section);
    const char *scratch = scratch_text(e);
    for (int i = 0; i < s->plan->n_symbols; i++)
        if (mentions(scratch, s->plan->symbols[i].name))
            text_add(&sizes, "%s%s = call->%s", sizes.length ? ", " : "    const int64_t ", s->plan->symbols[i].name, s->plan->symbols[i].name);
    text_add(&section, "/* Bytes of scratch%s. */\nstatic double %s_scratch(const struct %s_call *call)\n{\n%s%s    return (double)%s;\n}\n\n",
             s->threads ? " for each thread" : "", s->name, s->name, sizes.length ? sizes.data : "    (void)call", ";\n", scratch);
    text_add(&section, "static void %s_kernels(const struct %s_call *call%s)\n{\n", s->name, s->name, s->threads ? ", ptrdiff_t thread" : "");
    emit_body(e, &section);
    text_add(&section, "}\n");
    put_guard(s, e->target, true, out);
    text_add(out, "%s", *s->suffix[target] ? ship_rename(s->cx, section.data, s->suffix[target]) : section.data);
    put_guard(s, e->target, false, out);
    text_char(out, '\n');
}

static const char *put_file(Ship *s, size_t *length) {
    Text out = text_new(s->cx->arena);
    put_story(s, &out);
    text_add(&out, "#include \"%s.h\"\n\n", s->name);
    bool scalar = s->out->targets[s->out->n_targets - 1]->lanes == 1;      /* which is for compilers that know no pragma of GCC's, too */
    text_add(&out, "%s#define PRAGMA(text) _Pragma(#text)\n#define UNROLL(n) PRAGMA(GCC unroll n)\n%s\n", scalar ? "#if __GNUC__ >= 4\n" : "",
             scalar ? "#else\n#define UNROLL(n)\n#endif\n" : "");
    emit_call(&s->emitter[0], &out);
    Text calls = text_new(s->cx->arena);
    for (int t = 0; s->threads && t < s->out->n_targets; t++)
        text_add(&calls, "%s", s->emitter[t].entry->calls.data);
    if (s->threads)
        emit_team(&s->emitter[0], calls.data, &out);
    else if (s->emitter[0].entry->live)
        emit_live(false, &out);
    for (int t = 0; t < s->out->n_targets; t++)
        put_section(s, t, &out);
    ship_interface(s, &out);
    *length = out.length;
    return out.data;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------------------- */

static bool is_symbol(const PlanDim *d) { return d->n == 1 && d->factor[0] == 1 && d->base == 0; }

static void find_caches(Ship *s) {
    const Plan *p = s->plan;
    s->batch = -1;
    s->capacity = SYMBOL_UNBOUNDED;
    for (int i = 0; i < p->n_caches; i++) {
        const PlanTensor *c = &p->caches[i];
        if (s->batch < 0 && c->rank > 0 && c->growing != 0 && is_symbol(&c->dims[0]))
            s->batch = c->dims[0].symbol[0];
        if (c->growing >= 0 && c->dims[c->growing].base < s->capacity)
            s->capacity = c->dims[c->growing].base;
        s->states |= c->growing < 0;
    }
    for (int i = 0; i < p->n_symbols; i++)
        if (p->symbols[i].past && p->symbols[i].high < s->capacity)
            s->capacity = p->symbols[i].high;
    s->grows = p->grows;
    for (int i = 0; i < p->n_inputs; i++)
        for (int a = 0; a < p->inputs[i].rank && !s->grows.n && !s->grows.base; a++) {
            const PlanDim *d = &p->inputs[i].dims[a];
            if (is_symbol(d) && !p->symbols[d->symbol[0]].past && d->symbol[0] != s->batch)
                s->grows = *d;
        }
    if (!s->grows.n && !s->grows.base)
        s->grows = (PlanDim){.base = 1};
    s->out->caches = p->n_caches > 0;
    s->out->capacity = p->n_caches ? s->capacity : 0;
}

/* Each target once, in the order of the table. */
static void sort_targets(Ship *s) {
    const Target **sorted = arena_array(s->cx->arena, (size_t)target_count, sizeof *sorted);
    int n = 0;
    for (int t = 0; t < target_count; t++)
        for (int i = 0; i < s->options->n_targets; i++)
            if (s->options->targets[i] == &targets[t]) {
                sorted[n++] = &targets[t];
                break;
            }
    s->out->targets = sorted;
    s->out->n_targets = n;
}

static const char *upper_case(Context *cx, const char *name) {
    char *copy = arena_copy(cx->arena, name, strlen(name));
    for (char *p = copy; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return copy;
}

static void name_members(Ship *s) {
    Arena *a = s->cx->arena;
    const EntryState *entry = s->emitter[0].entry;
    s->out->inputs = entry->input;
    s->out->outputs = entry->output;
    s->out->dims = arena_array(a, (size_t)s->plan->n_symbols + 1, sizeof *s->out->dims);
    for (int i = 0; i < s->plan->n_symbols; i++)
        s->out->dims[i] = s->plan->symbols[i].past ? NULL : s->plan->symbols[i].name;
}

bool codegen_ship(Context *cx, const Graph *kernels, const ShipOptions *options, Shipped *out) {
    *out = (Shipped){0};
    Ship s = {.cx = cx, .model = kernels, .options = options, .out = out, .threads = options->threads != SHIP_THREADS_NONE};
    sort_targets(&s);
    size_t n = (size_t)out->n_targets;
    EmitOptions *each = arena_array(cx->arena, n, sizeof *each);
    Emitted *emitted = arena_array(cx->arena, n, sizeof *emitted);
    s.emitter = arena_array(cx->arena, n, sizeof *s.emitter);
    s.suffix = arena_array(cx->arena, n, sizeof *s.suffix);
    for (size_t t = 0; t < n; t++) {
        each[t] = options->emit;
        each[t].target = out->targets[t];
        const char *suffix = ship_suffix(out->targets[t]);
        s.suffix[t] = n == 1 ? "" : suffix ? suffix : arena_print(cx->arena, "_%s", out->targets[t]->name);
        s.emitter[t] = (Emitter){.shipped = true, .alone = !s.threads};
        if (!emit_model(&s.emitter[t], cx, kernels, &each[t]))
            return false;
        const Emitter *e = &s.emitter[t];
        emitted[t] = (Emitted){.plan = e->plan, .kernels = e->entry->kernels, .n_kernels = (int)e->entry->n_kernels, .tiles = e->tiles, .n_tiles = (int)e->n_tiles,
                               .scratch = e->scratch, .grows = e->grows, .n_grows = e->n_grows};
    }
    s.plan = out->plan = &s.emitter[0].plan;
    s.name = out->name = s.emitter[0].prefix;
    s.upper = out->upper = upper_case(cx, s.name);
    out->emitted = emitted;
    out->clang_flags = flags_of(&s, false);
    out->gcc_flags = flags_of(&s, true);
    find_machines(&s);
    find_caches(&s);
    name_members(&s);
    lay_out(&s);
    out->source = put_file(&s, &out->source_length);
    Text header = text_new(cx->arena);
    ship_header(&s, &header);
    out->header = header.data;
    out->header_length = header.length;
    return true;
}

int64_t codegen_ship_arena(const Shipped *s, const Graph *kernels, const int64_t *sizes, int64_t threads) {
    double values = 256, most = 0;
    for (int i = 0; i < kernels->n_params; i++) {
        const Type *t = kernels->params[i]->type;
        double bytes = (double)dtype_size(t->dtype);
        for (int a = 0; a < t->rank; a++)
            bytes *= (double)extent_value(t->axis[a].size, kernels, sizes);
        values += bytes + 128;
    }
    for (int i = 0; i < kernels->n_regions; i++) {
        const Region *r = &kernels->regions[i];
        double bytes = (double)r->peak;
        for (int u = 0; u < r->n; u++) {
            int64_t round = r->round[u] > 1 ? r->round[u] : 1;
            bytes *= (double)((extent_value(r->unit[u], kernels, sizes) + round - 1) / round * round);
        }
        values += bytes;
    }
    for (int t = 0; t < s->n_targets; t++) {
        double scratch = (double)codegen_scratch(&s->emitted[t], kernels, sizes) + (threads > 1 ? SHIP_MEET : 0);
        most = scratch > most ? scratch : most;
    }
    double bytes = values + most * (double)threads;
    return bytes <= 1e15 ? (int64_t)bytes : 0;
}
