/* One kernel function under construction: its parameters, the address arithmetic and its text. */
#include "codegen/emit.h"
#include "codegen/entry.h"
#include "codegen/units.h"

#include <stdlib.h>
#include <string.h>

static const char *c_type(DType t) {
    switch (t) {
    case DT_F32: return "float";
    case DT_I32: return "int";
    case DT_I64: return "int64_t";
    case DT_BOOL: return "unsigned char";
    default: return NULL;
    }
}

void emit_fail(Emitter *e, const Node *n, const char *why, ...) {
    va_list args;
    va_start(args, why);
    diag_error(e->cx->diags, "E0820", n->at, "`%s` (%s) cannot be emitted: %s", n->name ? n->name : "?", op_info[n->op].name,
               arena_vprint(e->cx->arena, why, args));
    va_end(args);
    e->failed = true;
}

Kernel kernel_begin(Emitter *e, const Node *n) {
    Kernel k = {.e = e, .node = n, .names = scope_new(e->cx), .locals = map_new(e->cx->arena), .indent = 1};
    k.function = scope_name(&e->file, arena_print(e->cx->arena, "%s_%s", e->prefix, n->name));
    k.comment = text_new(e->cx->arena);
    k.before = text_new(e->cx->arena);
    k.body = text_new(e->cx->arena);
    for (int i = 0; i < e->model->n_symbols; i++)       /* sizes keep their names */
        scope_name(&k.names, e->model->symbols[i]->name);
    return k;
}

/* ---- parameters ---------------------------------------------------------------------------------------------------------------- */

static Param *add_param(Kernel *k) {
    k->params = arena_room(k->e->cx->arena, k->params, k->n_params, &k->params_capacity, sizeof *k->params);
    Param *p = &k->params[k->n_params++];
    *p = (Param){.access = -1};
    return p;
}

const char *kernel_param(Kernel *k, const char *type, const char *hint, const char *argument) {
    for (size_t i = 0; i < k->n_params; i++)
        if (!strcmp(k->params[i].type, type) && !strcmp(k->params[i].argument, argument))
            return k->params[i].name;
    Param *p = add_param(k);
    p->type = type;
    p->name = scope_name(&k->names, hint);
    p->argument = argument;
    return p->name;
}

/* The home's pointer in the entry, plus where the view starts. */
static const char *argument_of(Emitter *e, const Access *a) {
    Text t = text_new(e->cx->arena);
    text_add(&t, "%s", entry_pointer(e, a->home));
    for (int i = 0; i < a->n_start; i++)
        text_add(&t, " + %s", entry_product(e, a->start[i].at, a->start[i].stride));
    return t.data;
}

static bool kernel_pointer(Kernel *k, const Node *value, bool write, Access *out) {
    Emitter *e = k->e;
    for (size_t i = 0; i < k->n_accesses; i++)
        if (k->accesses[i].value == value) {
            *out = k->accesses[i];
            return true;
        }
    if (!access_of(e, value, out))
        return false;
    const char *type = c_type(out->dtype);
    if (!type) {
        emit_fail(e, value, "there are no kernels on %s", dtype_name(out->dtype));
        return false;
    }
    Param *p = add_param(k);
    p->type = arena_print(e->cx->arena, "%s%s *", write ? "" : "const ", type);
    p->argument = argument_of(e, out);
    p->access = (int)k->n_accesses;
    p->writes = write;
    p->name = out->name = scope_name(&k->names, entry_value_name(e, value));
    k->accesses = arena_room(e->cx->arena, k->accesses, k->n_accesses, &k->accesses_capacity, sizeof *k->accesses);
    k->accesses[k->n_accesses++] = *out;
    return true;
}

bool kernel_read(Kernel *k, const Node *value, Access *out) { return kernel_pointer(k, value, false, out); }
bool kernel_result(Kernel *k, const Node *value, Access *out) { return kernel_pointer(k, value, true, out); }

bool kernel_state(Kernel *k, Access *out) {
    const Graph *model = k->e->model;
    const char *name = attr_name(k->node, ATTR_cache), *dot = name ? strrchr(name, '.') : NULL;
    const Cache *cache = graph_cache(model, name);
    if (!cache || cache->growing >= 0) {
        emit_fail(k->e, k->node, "it names no state");
        return false;
    }
    if (!k->state) {                    /* a value that lies in the cache, at the layer that the kernel's node says */
        k->state = arena_alloc(k->e->cx->arena, sizeof *k->state);
        *k->state = *k->node;
        k->state->type = cache->type;
        k->state->place = (Place){.kind = PLACE_CACHE, .index = (int)(cache - model->caches)};
        k->state->name = dot ? dot + 1 : name;
    }
    return kernel_pointer(k, k->state, true, out);
}

static const char *weight_param(Kernel *k, const Node *weight, DType dtype, const char *argument) {
    for (size_t i = 0; i < k->n_params; i++)
        if (k->params[i].constant && !strcmp(k->params[i].argument, argument))
            return k->params[i].name;
    Param *p = add_param(k);
    p->type = dtype == DT_F32 ? "const float *" : "const uint16_t *";
    p->name = scope_name(&k->names, entry_value_name(k->e, weight));
    p->argument = argument;
    p->constant = true;
    return p->name;
}

const char *kernel_panels(Kernel *k, const Node *weight, const Node *gemm, const Node *x, int64_t panel, const Node *rotation) {
    Emitter *e = k->e;
    uint64_t layer_stride, offset = pack_panels(e, weight, gemm, x, panel, rotation, &layer_stride);
    DType dtype = weight_storage(weight);
    return weight_param(k, weight, dtype, entry_weight(e, weight, offset, layer_stride, dtype, panel, rotation != NULL));
}

bool kernel_table(Kernel *k, const Node *weight, Access *out) {
    Emitter *e = k->e;
    uint64_t layer_stride, offset;
    DType dtype = weight_storage(weight);
    if (dtype == DT_F32)
        return kernel_read(k, weight, out);
    if (!access_of(e, weight, out))
        return false;
    offset = pack_plain(e, weight, dtype, &layer_stride);
    out->dtype = dtype;
    out->name = weight_param(k, weight, dtype, entry_weight(e, weight, offset, layer_stride, dtype, 0, false));
    return true;
}

/* A parameter whose name is reserved for it. */
static const char *own_param(Kernel *k, const char *type, const char *name, const char *argument) {
    for (size_t i = 0; i < k->n_params; i++)
        if (!strcmp(k->params[i].name, name))
            return name;
    Param *p = add_param(k);
    p->type = type;
    p->name = name;
    p->argument = argument;
    return name;
}

const char *kernel_scratch(Kernel *k, uint64_t bytes) {
    if (bytes > k->e->scratch)
        k->e->scratch = (bytes + 63) / 64 * 64;
    return own_param(k, "float *", "scratch", "scratch");
}

void kernel_scratch_grows(Kernel *k, Extent size, int64_t each, uint64_t bytes) {
    Emitter *e = k->e;
    for (size_t i = 0; i < e->n_grows; i++)
        if (extent_equal(e->grows[i].size, size) && e->grows[i].each == each) {
            if (e->grows[i].bytes < bytes)
                e->grows[i].bytes = bytes;
            return;
        }
    e->grows = arena_room(e->cx->arena, e->grows, e->n_grows, &e->grows_capacity, sizeof *e->grows);
    e->grows[e->n_grows++] = (ScratchGrowth){size, each, bytes};
}

const char *kernel_fault(Kernel *k) { return own_param(k, "int64_t *", "fault", "call->fault"); }

void kernel_threads(Kernel *k) { k->shared = true; }

bool kernel_rows(Kernel *k, const Axis *axes, int n) {
    const RowAxes *rows = &k->e->rows;
    bool same = n == rows->n && n > 0;
    for (int i = 0; same && i < n; i++)
        same = axes[i].name == rows->axis[i].name && extent_equal(axes[i].size, rows->axis[i].size);
    k->rows |= same;
    return same;
}

/* ---- sizes and addresses ----------------------------------------------------------------------------------------------------------- */

static const char *symbol_param(Kernel *k, const Symbol *s) {
    for (size_t i = 0; i < k->n_params; i++)
        if (k->params[i].symbol == s)
            return s->name;
    Param *p = add_param(k);
    *p = (Param){.type = "ptrdiff_t ", .name = s->name, .argument = s->name, .access = -1, .symbol = s};
    return s->name;
}

const char *extent_text(Context *cx, Extent e) {
    Text t = text_new(cx->arena);
    for (int i = 0; i < e.n; i++) {
        int64_t factor = e.factor[i];
        if (i)
            text_add(&t, factor < 0 ? " - " : " + ");
        else if (factor < 0)
            text_char(&t, '-');
        if (factor != 1 && factor != -1)
            text_add(&t, "%lld * ", (long long)(factor < 0 ? -factor : factor));
        text_add(&t, "%s", e.symbol[i]->name);
    }
    if (e.base || !e.n)
        text_add(&t, e.n ? (e.base < 0 ? " - %lld" : " + %lld") : "%lld", (long long)(e.n && e.base < 0 ? -e.base : e.base));
    return t.data;
}

const char *extent_factor_text(Context *cx, Extent e) {
    const char *text = extent_text(cx, e);
    bool sum = e.n > 1 || (e.n && e.base) || (e.n && e.factor[0] < 0);
    return sum ? arena_print(cx->arena, "(%s)", text) : text;
}

const char *stride_text(Context *cx, Stride s) {
    Text t = text_new(cx->arena);
    if (!s.factor)
        return "0";
    for (int i = 0; i < s.n; i++) {
        const char *factor = extent_factor_text(cx, s.size[i].size);
        int64_t round = s.size[i].round;
        if (round == 1)
            text_add(&t, "%s%s", i ? " * " : "", factor);
        else
            text_add(&t, i ? " * ((%s + %lld) / %lld * %lld)" : "((%s + %lld) / %lld * %lld)", extent_text(cx, s.size[i].size),
                     (long long)round - 1, (long long)round, (long long)round);
    }
    if (s.factor != 1 || !s.n)
        text_add(&t, "%s%lld", s.n ? " * " : "", (long long)s.factor);
    return t.data;
}

static void need_extent(Kernel *k, Extent e) {
    for (int i = 0; i < e.n; i++)
        symbol_param(k, e.symbol[i]);
}

const char *kernel_size(Kernel *k, Extent e) {
    need_extent(k, e);
    return extent_text(k->e->cx, e);
}

const char *kernel_factor(Kernel *k, Extent e) {
    need_extent(k, e);
    return extent_factor_text(k->e->cx, e);
}

const char *kernel_stride(Kernel *k, Stride s) {
    for (int i = 0; s.factor && i < s.n; i++)
        need_extent(k, s.size[i].size);
    const char *text = stride_text(k->e->cx, s);
    return s.factor && s.n + (s.factor != 1) > 1 ? arena_print(k->e->cx->arena, "(%s)", text) : text;
}

static bool is_number(const char *text) { return text[strspn(text, "0123456789")] == 0; }
static bool is_word(const char *text) { return !strpbrk(text, " +-*/?<>&|"); }

void address_term(Kernel *k, Text *t, const char *var, Stride s) {
    int64_t constant;
    bool fixed = stride_is_const(s, &constant);
    if (!strcmp(var, "0") || !s.factor)
        return;
    if (fixed && constant == 1)
        text_add(t, " + %s", var);
    else if (fixed && is_number(var))
        text_add(t, " + %lld", (long long)constant * strtoll(var, NULL, 10));
    else
        text_add(t, is_word(var) ? " + %s * %s" : " + (%s) * %s", var, kernel_stride(k, s));
}

void address_panel_term(Kernel *k, Text *t, const char *var, Stride s) {
    if (strcmp(var, "0"))
        text_add(t, is_word(var) ? " + %s / %d * %s + %s %% %d" : " + (%s) / %d * %s + (%s) %% %d", var, KEY_PANEL, kernel_stride(k, s), var,
                 KEY_PANEL);
}

const char *kernel_address(Kernel *k, const Access *a, int n, const char *const *names, const char *const *vars) {
    Text t = text_new(k->e->cx->arena);
    text_add(&t, "%s", a->name);
    for (int i = 0; i < a->rank; i++) {
        const char *var = NULL;
        for (int j = 0; j < n && !var; j++)
            if (names[j] == a->axis[i].name)
                var = vars[j];
        if (var && a->panels && i == a->keys)
            address_panel_term(k, &t, var, a->axis[i].stride);
        else if (var)
            address_term(k, &t, var, a->axis[i].stride);
    }
    return t.data;
}

/* ---- text ------------------------------------------------------------------------------------------------------------------------------ */

enum { WIDTH = 120 };

/* Where a long statement breaks best: after a comma or an operator, as far outside of parentheses as there is one in
 * [from, limit), commas before sums before products, the last of those. 0: nowhere. */
static size_t best_break(const char *text, size_t from, size_t limit) {
    size_t best = 0;
    int depth = 0, least = 1000;
    for (size_t i = 0; text[i] && i < limit; i++) {
        depth += (text[i] == '(' || text[i] == '[' || text[i] == '{') - (text[i] == ')' || text[i] == ']' || text[i] == '}');
        bool comma = i && text[i] == ' ' && text[i - 1] == ',';
        bool sign = i > 2 && text[i] == ' ' && strchr("+-*/<>=&|?:", text[i - 1]) && (text[i - 2] == ' ' || text[i - 3] == ' ');
        bool assigns = sign && text[i - 1] == '=' && !strchr("<>!=", text[i - 2]);
        int rank = 3 * depth + (comma ? 0 : strchr("*/", text[i - 1]) ? 2 : 1);
        if (i >= from && (comma || (sign && !assigns)) && rank <= least) {
            least = rank;
            best = i;
        }
    }
    return best;
}

void put_wrapped(Text *out, int level, const char *text) {
    size_t indent = (size_t)level * 4;
    bool whole = !strchr(text, '\n');
    for (int part = 0;; part++) {
        size_t margin = part ? indent + 4 : indent, room = WIDTH - margin, length = strlen(text);
        size_t at = whole && length > room ? best_break(text, room / 3, room) : 0;
        for (size_t i = 0; i < margin; i++)
            text_char(out, ' ');
        if (!at) {
            text_add(out, "%s\n", text);
            return;
        }
        text_put(out, text, at);
        text_char(out, '\n');
        text += at + 1;
    }
}

static void put(Kernel *k, const char *end, const char *format, va_list args) {
    put_wrapped(&k->body, k->indent, arena_print(k->e->cx->arena, "%s%s", arena_vprint(k->e->cx->arena, format, args), end));
}

void put_line(Kernel *k, const char *format, ...) {
    va_list args;
    va_start(args, format);
    put(k, "", format, args);
    va_end(args);
}

void put_open(Kernel *k, const char *format, ...) {
    va_list args;
    va_start(args, format);
    put(k, " {", format, args);
    va_end(args);
    k->indent++;
}

void put_close(Kernel *k) {
    k->indent--;
    put_line(k, "}");
}

const char *loop_head(Kernel *k, const char *var, const char *from, const char *to, int64_t step) {
    Arena *a = k->e->cx->arena;
    if (step == 1)
        return arena_print(a, "for (ptrdiff_t %s = %s; %s < %s; %s++)", var, from, var, to, var);
    return arena_print(a, "for (ptrdiff_t %s = %s; %s < %s; %s += %lld)", var, from, var, to, var, (long long)step);
}

const char *kernel_local(Kernel *k, const Node *n) {
    const char *name = map_get(&k->locals, n->name);
    if (name)
        return name;
    name = scope_name(&k->names, n->name);
    map_set(&k->locals, n->name, (void *)(uintptr_t)name);
    return name;
}

/* ---- the finished function --------------------------------------------------------------------------------------------------------------- */

bool same_storage(const Node *a, const Node *b) {
    Place p = a->place, q = b->place;
    if (p.kind != q.kind)
        return false;
    switch (p.kind) {
    case PLACE_ARENA: return p.region == q.region && p.offset == q.offset;
    case PLACE_CACHE:
    case PLACE_INPUT:
    case PLACE_OUTPUT: return p.index == q.index;
    default: return a == b;
    }
}

static bool is_restrict(const Kernel *k, const Param *p) {
    if (p->constant)
        return true;
    if (p->access < 0)
        return false;
    for (size_t i = 0; i < k->n_params; i++) {
        const Param *q = &k->params[i];
        if (q != p && q->access >= 0 && (q->writes || p->writes) && same_storage(k->accesses[p->access].home, k->accesses[q->access].home))
            return false;
    }
    return true;
}

const char *wrapped(Context *cx, const char *head, const char *const *items, size_t n) {
    Text t = text_new(cx->arena);
    text_add(&t, "%s(", head);
    size_t indent = text_column(&t);
    for (size_t i = 0; i < n; i++) {
        if (i && text_column(&t) + strlen(items[i]) + 3 > 120) {
            text_add(&t, ",\n");
            text_pad(&t, indent);
        } else if (i) {
            text_add(&t, ", ");
        }
        text_add(&t, "%s", items[i]);
    }
    text_char(&t, ')');
    return t.data;
}

const char *param_text(const Kernel *k, const char *name) { return param_text_as(k, name, name); }

const char *param_text_as(const Kernel *k, const char *name, const char *as) {
    for (size_t i = 0; i < k->n_params; i++)
        if (!strcmp(k->params[i].name, name))
            return arena_print(k->e->cx->arena, "%s%s%s", k->params[i].type, is_restrict(k, &k->params[i]) ? "restrict " : "", as);
    return arena_print(k->e->cx->arena, "ptrdiff_t %s", as);
}

const char *kernel_head(const Kernel *k, const char *function) {
    const char **items = arena_array(k->e->cx->arena, k->n_params + 4, sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < k->n_params; i++)
        items[n++] = param_text(k, k->params[i].name);
    if (k->rows) {
        items[n++] = "ptrdiff_t from_row";
        items[n++] = "ptrdiff_t to_row";
    }
    if (k->thread)
        items[n++] = "ptrdiff_t thread";
    if (k->threads)
        items[n++] = "ptrdiff_t threads";
    return wrapped(k->e->cx, function, items, n);
}

/* The model's own line, trimmed: "minilm.attar:20   h = linear(x, ..)". */
static void source_line(const Node *n, Text *out) {
    const Source *s = n->at.source;
    if (!s || n->at.begin >= s->size)
        return;
    size_t from = n->at.begin, to = n->at.begin;
    while (from && s->text[from - 1] != '\n')
        from--;
    while (to < s->size && s->text[to] != '\n')
        to++;
    while (from < to && (s->text[from] == ' ' || s->text[from] == '\t'))
        from++;
    const char *name = strrchr(s->path, '/');
    text_add(out, "%s:%d   ", name ? name + 1 : s->path, span_start(n->at).line);
    for (size_t i = from; i < to; i++) {        /* nothing in it may end or open a comment */
        text_char(out, (unsigned char)s->text[i] < ' ' ? ' ' : s->text[i]);
        if ((s->text[i] == '*' && s->text[i + 1] == '/') || (s->text[i] == '/' && s->text[i + 1] == '*'))
            text_char(out, ' ');
    }
    text_char(out, '\n');
}

/* A line of a comment, broken between words; what follows a break starts with `margin` and four spaces. */
void put_comment_line(Text *out, const char *line, size_t length, const char *margin) {
    for (size_t i = 0; i < length;) {
        size_t word = i;
        while (word < length && line[word] == ' ')
            word++;
        while (word < length && line[word] != ' ')
            word++;
        if (text_column(out) + (word - i) > WIDTH - 3 && i) {
            text_add(out, "\n%s    ", margin);
            while (line[i] == ' ')
                i++;
        }
        text_put(out, line + i, word - i);
        i = word;
    }
}

void kernel_comment(const Kernel *k, Text *out) {
    Text lines = text_new(k->e->cx->arena);
    source_line(k->node, &lines);
    text_put(&lines, k->comment.data, k->comment.length);
    const char *start = "/* ";
    for (const char *p = lines.data, *end; *p; p = end + 1) {
        end = strchr(p, '\n');
        text_add(out, "%s", start);
        put_comment_line(out, p, (size_t)(end - p), " * ");
        start = " * ";
        text_add(out, end[1] ? "\n" : " */\n");
    }
}

/* Instead of the kernel's text, which is taken back: whose function does its work. */
static void put_same(Kernel *k, size_t from, const char *function) {
    Text *out = &k->e->kernels;
    out->length = from;
    out->data[from] = 0;
    text_add(&k->comment, "its code is that of %s\n", function);
    kernel_comment(k, out);
    text_char(out, '\n');
    k->function = function;
}

void kernel_end(Kernel *k) {
    Emitter *e = k->e;
    size_t n = 0;
    if (e->failed)
        return;
    for (size_t i = 0; i < k->n_params; i++)            /* what the text does not use is no parameter */
        if (mentions(k->body.data, k->params[i].name))
            k->params[n++] = k->params[i];
    k->n_params = n;
    k->thread = k->shared && mentions(k->body.data, "thread");
    k->threads = k->shared && mentions(k->body.data, "threads");
    size_t from = e->kernels.length;
    text_put(&e->kernels, k->before.data, k->before.length);
    kernel_comment(k, &e->kernels);
    size_t at = e->kernels.length;
    text_add(&e->kernels, "%s", kernel_head(k, arena_print(e->cx->arena, "static void %s", k->function)));
    size_t body = e->kernels.length;
    text_add(&e->kernels, "\n{\n");
    text_put(&e->kernels, k->body.data, k->body.length);
    text_add(&e->kernels, "}\n\n");
    const char *head = kernel_head(k, arena_print(e->cx->arena, "void %s", k->function));
    KernelText kernel = {.function = k->function, .head = head, .names = k->names, .from = from, .at = at, .body = body, .to = e->kernels.length};
    const char *same = units_same(e, &kernel);
    if (same)
        put_same(k, from, same);
    else
        units_note(e, &kernel);
    entry_call(e, k);
}
