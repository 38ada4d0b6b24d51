/* Loop nests (nest.h): which axes merge, how operands are addressed, where vectors end. */
#include "codegen/nest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static Arena *arena_of(const Nest *nest) { return nest->k->e->cx->arena; }

/* ---- operands --------------------------------------------------------------------------------------------------------------------- */

/* A parameter that is only ever the table of a gather may be stored as a gemm's panels. */
static const char *only_looked_up(const Graph *body, const Node *param) {
    const char *axis = NULL;
    for (const Node *n = body->first; n; n = n->next)
        for (int i = 0; i < n->n_inputs; i++) {
            if (n->inputs[i] != param)
                continue;
            if (n->op != OP_gather || i != 0)
                return NULL;
            axis = node_attr(n, ATTR_over)->names.items[0];
            for (int a = 0; a < param->type->rank; a++)         /* single elements, not rows */
                if (param->type->axis[a].name != axis && type_find(n->inputs[1]->type, param->type->axis[a].name) >= 0)
                    return NULL;
        }
    for (int r = 0; r < body->n_results; r++)
        if (body->results[r].value == param)
            return NULL;
    return axis;
}

static bool read_param(Nest *nest, int i, const Node *input) {
    Kernel *k = nest->k;
    const char *looked_up = only_looked_up(nest->body, nest->body->params[i]);
    const Node *gemm = NULL, *twin = NULL;
    int64_t panel = looked_up && input->op == OP_weight ? gather_panel(k->e, input, looked_up, &gemm, &twin) : 0;
    if (!panel)
        return looked_up && input->op == OP_weight ? kernel_table(k, input, &nest->params[i]) : kernel_read(k, input, &nest->params[i]);
    const Type *type = input->type;
    Access *a = &nest->params[i];
    *a = (Access){.value = input, .home = input, .dtype = weight_storage(twin), .rank = 2, .name = kernel_panels(k, twin, gemm, gemm->inputs[0], panel, NULL)};
    for (int x = 0; x < 2; x++)
        a->axis[x] = (AccessAxis){type->axis[x].name, type->axis[x].size, stride_const(type->axis[x].name == looked_up ? 0 : panel)};
    nest->panel[i] = panel;
    return true;
}

static Operand nest_leaf(void *state, const Node *leaf);

bool nest_begin(Nest *nest, Kernel *k, int skip) {
    const Node *n = k->node;
    *nest = (Nest){.k = k, .body = n->body, .ids = map_new(k->e->cx->arena), .vars = map_new(k->e->cx->arena)};
    nest->printer = (BodyPrinter){.k = k, .out = &k->body, .indent = k->indent, .leaf = nest_leaf, .state = nest};
    if (!n->body)
        return true;
    nest->n_params = n->body->n_params;
    nest->params = arena_array(arena_of(nest), (size_t)nest->n_params + 1, sizeof *nest->params);
    nest->panel = arena_array(arena_of(nest), (size_t)nest->n_params + 1, sizeof *nest->panel);
    for (int i = 0, p = 0; i < n->n_inputs; i++)
        if (i != skip && !read_param(nest, p++, n->inputs[i]))
            return false;
    return true;
}

/* ---- addresses ----------------------------------------------------------------------------------------------------------------------- */

const char *nest_address(Nest *nest, const Access *a) {
    Text t = text_new(arena_of(nest));
    text_add(&t, "%s", a->name);
    for (int i = 0; i < nest->n_loops; i++) {
        const Loop *l = &nest->loop[i];
        const AccessAxis *axis = access_axis(a, l->axis[0].name);
        Stride s;
        if (!l->var)
            continue;
        if (l->n == 1 && axis && a->panels && axis - a->axis == a->keys)
            address_panel_term(nest->k, &t, a->shift ? arena_print(arena_of(nest), "%s + %s", a->shift, l->var) : l->var, axis->stride);
        else if (l->n == 1 && axis)
            address_term(nest->k, &t, l->var, axis->stride);
        else if (access_step(a, l->axis, l->n, &s))
            address_term(nest->k, &t, l->var, s);
    }
    return t.data;
}

/* How the operand moves from one lane to the next: 0 not at all, 1 a vector, else `step` is the distance as C text. */
static int lane_step(Nest *nest, const Access *a, const char **step) {
    const AccessAxis *axis = nest->lane ? access_axis(a, nest->lane) : NULL;
    int64_t constant;
    if (!axis || !axis->stride.factor)
        return 0;
    if (a->panels && axis - a->axis == a->keys)
        return 1;
    if (stride_is_const(axis->stride, &constant) && constant == 1)
        return 1;
    *step = kernel_stride(nest->k, axis->stride);
    return 2;
}

static Operand load_at(Nest *nest, const Access *a, const char *address) {
    const char *step = NULL;
    switch (lane_step(nest, a, &step)) {
    case 0: return load_scalar(nest->k, a->dtype, address);
    case 1: return load_vector(nest->k, a->dtype, address, nest->count);
    default: return load_apart(nest->k, a->dtype, address, step, nest->count);
    }
}

Operand nest_load(Nest *nest, const Access *a) { return load_at(nest, a, nest_address(nest, a)); }

void nest_store(Nest *nest, const Access *a, Operand value) {
    const char *address = nest_address(nest, a), *step = NULL;
    int lanes = lane_step(nest, a, &step);
    if (lanes == 2 && a->dtype != DT_F32)
        emit_fail(nest->k->e, nest->k->node, "its %s result does not step by 1 along its last axis", dtype_name(a->dtype));
    if (lanes == 0)
        put_line(nest->k, "%s", store_scalar(nest->k, a->dtype, address, value));
    else if (lanes == 1)
        put_line(nest->k, "%s", store_vector(nest->k, a->dtype, address, value, nest->count));
    else
        put_line(nest->k, "store_apart(%s, %s, %s, %s);", address, step, operand_vector(nest->k, value).text, nest->count ? nest->count : "LANES");
}

/* ---- leaves of the body ---------------------------------------------------------------------------------------------------------------- */

static int param_index(const Nest *nest, const Node *n) {
    for (int i = 0; i < nest->n_params; i++)
        if (nest->body->params[i] == n)
            return i;
    return -1;
}

static Operand iota_value(Nest *nest, const Node *n) {
    const Attr *start = node_attr(n, ATTR_start);
    for (int i = 0; i < nest->n_loops; i++) {
        const Loop *l = &nest->loop[i];
        if (!l->var || l->n != 1 || l->axis[0].name != n->type->axis[0].name)
            continue;
        bool from_zero = !start || (extent_is_const(start->extent) && !start->extent.base);
        const char *text = from_zero ? l->var : arena_print(arena_of(nest), "%s + %s", kernel_size(nest->k, start->extent), l->var);
        if (nest->lane == n->type->axis[0].name)
            return operand_of(arena_print(arena_of(nest), "count_from(%s)", text), BINDS_ALL, true, DT_I32);
        return operand_of(arena_print(arena_of(nest), strchr(text, ' ') ? "(int)(%s)" : "(int)%s", text), BINDS_UNARY, false, DT_I32);
    }
    return (Operand){0};
}

/* Which input of the model the indices are, for the message about a bad one; -1 if they were computed. */
static int fault_number(const Nest *nest, const Node *gather) {
    int i = param_index(nest, gather->inputs[1]);
    const Node *home = i < 0 ? NULL : nest->params[i].home;
    if (!home || home->place.kind != PLACE_INPUT)
        return -1;
    const Type *table = gather->inputs[0]->type;
    if (nest->params[i].value == home)
        emit_bound(nest->k->e, home->place.index, table->axis[type_find(table, node_attr(gather, ATTR_over)->names.items[0])].size);
    return home->place.index;
}

static const char *bound_of(Nest *nest, const Node *gather) {
    const Type *table = gather->inputs[0]->type;
    return kernel_size(nest->k, table->axis[type_find(table, node_attr(gather, ATTR_over)->names.items[0])].size);
}

/* The row that a gather reads, checked; a C variable of its own where it is the same for all lanes. */
static const char *row_of(Nest *nest, const Node *n) {
    const char *row = map_get(&nest->ids, n->name);
    if (row)
        return row;
    Operand id = nest_value(nest, n->inputs[1]);
    int param = param_index(nest, n->inputs[1]);
    const char *ids = param < 0 ? n->inputs[1]->name : nest->params[param].name;
    row = scope_name(&nest->k->names, arena_print(arena_of(nest), "%s_at", ids));
    const char *index = id.vector ? arena_print(arena_of(nest), "%s%s", operand_text(nest->k->e->cx, id, BINDS_ALL), lane_of(nest->k->e->target, "[0]")) : id.text;
    put_line(nest->k, "const ptrdiff_t %s = inside(%s, %s, %d, %s);", row, index, bound_of(nest, n), fault_number(nest, n),
             kernel_fault(nest->k));
    if (!nest->depth)
        map_set(&nest->ids, n->name, (void *)(uintptr_t)row);
    return row;
}

/* The table without its looked-up axis, whose stride goes to `rows`: the indices may have another axis of that name. */
static Access as_table(const Nest *nest, int param, const Node *gather, AccessAxis *rows) {
    Access a = nest->params[param];
    for (int i = 0; i < a.rank; i++)
        if (a.axis[i].name == node_attr(gather, ATTR_over)->names.items[0]) {
            *rows = a.axis[i];
            a.axis[i].name = NULL;
        }
    return a;
}

/* Another row in each lane; lanes that do not exist look nothing up. */
static Operand look_up_lanes(Nest *nest, const Node *n, int table, const Access *a, const AccessAxis *rows) {
    const char *apart = "0";
    const char *kind = a->dtype == DT_F32 ? "look_up_part" : a->dtype == DT_I32 ? "look_up_ints" : "look_up_mask";
    if (nest->panel[table] || (a->dtype != DT_F32 && a->dtype != DT_I32 && a->dtype != DT_BOOL))
        emit_fail(nest->k->e, nest->k->node, "it looks up single elements of a table that is not plain f32, i32 or bool");
    if (lane_step(nest, a, &apart) == 1)
        apart = "1";
    Operand ids = operand_vector(nest->k, nest_value(nest, n->inputs[1]));
    const char *text = arena_print(arena_of(nest), "%s(%s, %s, %s, %s, %s, %s, %d, %s)", kind, nest_address(nest, a),
                                   kernel_stride(nest->k, rows->stride), apart, ids.text, nest->count ? nest->count : "LANES",
                                   bound_of(nest, n), fault_number(nest, n), kernel_fault(nest->k));
    return operand_of(text, BINDS_ALL, true, a->dtype);
}

static Operand gather_value(Nest *nest, const Node *n) {
    int table = param_index(nest, n->inputs[0]);
    if (table < 0)
        return (Operand){0};
    AccessAxis rows = {0};
    Access a = as_table(nest, table, n, &rows);
    if (nest->lane && type_find(n->inputs[1]->type, nest->lane) >= 0)
        return look_up_lanes(nest, n, table, &a, &rows);
    const char *row = row_of(nest, n);
    Text base = text_new(arena_of(nest));
    text_add(&base, "%s", a.name);
    if (nest->panel[table])
        text_add(&base, " + %s / %lld * %lld + %s %% %lld", row, (long long)nest->panel[table],
                 (long long)(nest->panel[table] * (a.axis[0].size.base * a.axis[1].size.base / rows.size.base)), row, (long long)nest->panel[table]);
    else
        address_term(nest->k, &base, row, rows.stride);
    a.name = base.data;
    return load_at(nest, &a, nest_address(nest, &a));
}

static Operand nest_leaf(void *state, const Node *leaf) {
    Nest *nest = state;
    int i = param_index(nest, leaf);
    if (leaf->op == OP_iota)
        return iota_value(nest, leaf);
    if (leaf->op == OP_gather)
        return gather_value(nest, leaf);
    return i < 0 ? (Operand){0} : nest_load(nest, &nest->params[i]);
}

Operand nest_value(Nest *nest, const Node *n) {
    nest->printer.indent = nest->k->indent;
    return body_value(&nest->printer, n);
}

/* ---- loops --------------------------------------------------------------------------------------------------------------------------------- */

Capture capture_begin(Kernel *k, int deeper) {
    Capture c = {k->body, k->indent};
    k->body = text_new(k->e->cx->arena);
    k->indent += deeper;
    return c;
}

Text capture_end(Kernel *k, Capture c, int *lines) {
    Text inside = k->body;
    k->body = c.outer;
    k->indent = c.indent;
    *lines = 0;
    for (size_t i = 0; i + 1 < inside.length; i++)
        *lines += inside.data[i + 1] == '\n' && strchr(";{}", inside.data[i]);
    return inside;
}

const char *nest_var(Nest *nest, const Axis *axis) {
    const char *known = map_get(&nest->vars, axis->name);
    if (known)                          /* loops over one axis follow one another, they never nest */
        return known;
    char *name = arena_copy(arena_of(nest), axis->name, strlen(axis->name));
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    known = scope_name(&nest->k->names, name);
    map_set(&nest->vars, axis->name, (void *)(uintptr_t)known);
    return known;
}

Loop *nest_loop(Nest *nest, const Axis *axis, const char *var) {
    Loop *l = &nest->loop[nest->n_loops++];
    *l = (Loop){.axis = {*axis}, .n = 1, .var = var};
    return l;
}

static bool has_iota(const Graph *body, const char *axis) {
    for (const Node *n = body ? body->first : NULL; n; n = n->next)
        if (n->op == OP_iota && n->type->axis[0].name == axis)
            return true;
    return false;
}

/* A table of the body steps along the axis by its indices, not with the loop. */
static bool is_looked_up(const Graph *body, const char *axis) {
    for (const Node *n = body ? body->first : NULL; n; n = n->next)
        if (n->op == OP_gather && attr_has_name(n, ATTR_over, axis))
            return true;
    return false;
}

static bool can_merge(const Nest *nest, const Loop *l, const Axis *next, const Access *const *extra, int n_extra) {
    Axis axes[MAX_RANK];
    Stride s;
    if (has_iota(nest->body, next->name) || has_iota(nest->body, l->axis[0].name))
        return false;
    memcpy(axes, l->axis, sizeof axes);
    axes[l->n] = *next;
    for (int i = 0; i <= l->n; i++)
        if (is_looked_up(nest->body, axes[i].name))
            return false;
    for (int i = 0; i < nest->n_params; i++)
        if (!access_step(&nest->params[i], axes, l->n + 1, &s))
            return false;
    for (int i = 0; i < n_extra; i++)
        if (!access_step(extra[i], axes, l->n + 1, &s))
            return false;
    return true;
}

const char *nest_size(Nest *nest, const Loop *l) {
    Text t = text_new(arena_of(nest));
    int64_t constant = 1;
    for (int i = 0; i < l->n; i++)
        if (extent_is_const(l->axis[i].size))
            constant *= l->axis[i].size.base;
        else
            text_add(&t, "%s%s", t.length ? " * " : "", kernel_factor(nest->k, l->axis[i].size));
    if (!t.length)
        text_add(&t, "%lld", (long long)constant);
    else if (constant != 1)
        text_add(&t, " * %lld", (long long)constant);
    return t.data;
}

/* How many times it goes round. */
static const char *loop_size(Nest *nest, const Loop *l) {
    const char *size = nest_size(nest, l);
    if (!l->rows)
        return size;
    if (strspn(size, "0123456789") == strlen(size))
        return arena_print(arena_of(nest), "%lld", (strtoll(size, NULL, 10) + l->rows - 1) / l->rows);
    return arena_print(arena_of(nest), "(%s + %d) / %d", size, l->rows - 1, l->rows);
}

/* All of a short loop at a time, else a divisor of its size, else the most. */
static int rows_of(const char *size) {
    if (strspn(size, "0123456789") != strlen(size))
        return MAX_BLOCK;
    long long n = strtoll(size, NULL, 10);
    for (int rows = MAX_BLOCK; rows > 3; rows--)
        if (n % rows == 0)
            return rows;
    return n < MAX_BLOCK ? (int)n : MAX_BLOCK;
}

static void choose_block(Nest *nest, int first) {
    nest->blocked = NULL;
    for (int i = nest->n_loops - 1; i >= first && nest->shared && !nest->blocked; i--) {
        Loop *l = &nest->loop[i];
        bool lacks = true;
        for (int x = 0; x < l->n; x++)
            lacks &= !access_axis(nest->shared, l->axis[x].name);
        if (!lacks)
            continue;
        nest->blocked = l;
        l->rows = rows_of(nest_size(nest, l));
    }
}

/* Gathers whose index is the same along a whole row are looked up once, before the row's loops. */
static void look_up_rows(Nest *nest, const char *last_axis) {
    for (const Node *n = nest->body ? nest->body->first : NULL; n; n = n->next) {
        bool ready = n->op == OP_gather && param_index(nest, n->inputs[0]) >= 0;
        const Type *ids = ready ? n->inputs[1]->type : NULL;
        for (int i = 0; ids && i < ids->rank; i++) {
            bool open_loop = false;
            for (int l = 0; l < nest->n_loops; l++)
                for (int x = 0; x < nest->loop[l].n; x++)
                    open_loop |= nest->loop[l].axis[x].name == ids->axis[i].name && nest->loop[l].var;
            ready &= open_loop && ids->axis[i].name != last_axis;
        }
        if (ready)
            row_of(nest, n);
    }
}

/* The product of the loops after the model's rows, if these are the outermost of all: "1", "12", "(H * K)"; else NULL. */
static const char *inside_rows(Nest *nest, int first) {
    Axis axes[MAX_RANK];
    Text inner = text_new(arena_of(nest));
    int n = 0, loop = first, axis = 0;
    if (nest->blocked)
        return NULL;
    for (; loop < nest->n_loops && n < nest->k->e->rows.n; loop++)
        for (axis = 0; axis < nest->loop[loop].n && n < nest->k->e->rows.n; axis++)
            axes[n++] = nest->loop[loop].axis[axis];
    for (loop--; loop >= 0 && loop < nest->n_loops; loop++, axis = 0)
        for (; axis < nest->loop[loop].n; axis++)
            text_add(&inner, "%s%s", inner.length ? " * " : "", kernel_factor(nest->k, nest->loop[loop].axis[axis].size));
    if (!kernel_rows(nest->k, axes, n))
        return NULL;
    return !inner.length ? "1" : strchr(inner.data, '*') ? arena_print(arena_of(nest), "(%s)", inner.data) : inner.data;
}

static void open_shared(Nest *nest, int first) {
    Kernel *k = nest->k;
    const char *each = inside_rows(nest, first);
    int n = nest->n_loops - first;
    Text total = text_new(arena_of(nest));
    for (int i = first; i < nest->n_loops; i++)
        text_add(&total, i > first && nest->loop[i].rows ? "%s(%s)" : "%s%s", i > first ? " * " : "", loop_size(nest, &nest->loop[i]));
    bool plain = n == 1 && !nest->loop[first].rows;
    const char *var = plain && nest->loop[first].n == 1 ? nest_var(nest, nest->loop[first].axis) : scope_name(&k->names, plain ? "row" : "task");
    const char *end = scope_name(&k->names, "end");
    const char *shared = total.data, *from = "";
    if (each) {
        bool one = !strcmp(each, "1");
        from = one ? "from_row + " : arena_print(arena_of(nest), "from_row * %s + ", each);
        shared = one ? "to_row - from_row" : arena_print(arena_of(nest), "(to_row - from_row) * %s", each);
    }
    put_line(k, "const ptrdiff_t %s = %sshare(%s, thread + 1, threads);", end, from, shared);
    put_open(k, "for (ptrdiff_t %s = %sshare(%s, thread, threads); %s < %s; %s++)", var, from, shared, var, end, var);
    kernel_threads(k);
    if (plain) {
        nest->loop[first].var = var;
        return;
    }
    Text list = text_new(arena_of(nest));
    for (int i = first; i < nest->n_loops; i++) {
        Loop *l = &nest->loop[i];
        Text inner = text_new(arena_of(nest));
        for (int j = i + 1; j < nest->n_loops; j++)
            text_add(&inner, j > i + 1 && nest->loop[j].rows ? "%s(%s)" : "%s%s", inner.length ? " * " : "", loop_size(nest, &nest->loop[j]));
        const char *name = l->n == 1 ? nest_var(nest, l->axis) : scope_name(&k->names, "row");
        text_add(&list, "%s%s = %s", i > first ? ", " : "", name, var);
        if (inner.length)
            text_add(&list, strpbrk(inner.data, " *") ? " / (%s)" : " / %s", inner.data);
        if (i > first)
            text_add(&list, strpbrk(loop_size(nest, l), " *") ? " %% (%s)" : " %% %s", loop_size(nest, l));
        if (l->rows)
            text_add(&list, " * %d", l->rows);
        l->var = name;
    }
    put_line(k, "const ptrdiff_t %s;", list.data);
}

void nest_rows(Nest *nest, const Axis *axes, int n, const Access *const *extra, int n_extra) {
    int first = nest->n_loops;
    for (int i = 0; i < n; i++) {
        if (extent_is_const(axes[i].size) && axes[i].size.base == 1) {
            nest_loop(nest, &axes[i], "0");
            if (nest->n_loops - 1 > first) {            /* open ones stay together at the end */
                Loop one = nest->loop[nest->n_loops - 1];
                memmove(&nest->loop[first + 1], &nest->loop[first], (size_t)(nest->n_loops - 1 - first) * sizeof one);
                nest->loop[first] = one;
            }
            first++;
            continue;
        }
        Loop *last = nest->n_loops > first ? &nest->loop[nest->n_loops - 1] : NULL;
        if (last && can_merge(nest, last, &axes[i], extra, n_extra))
            last->axis[last->n++] = axes[i];
        else
            nest_loop(nest, &axes[i], NULL);
    }
    if (nest->n_loops == first) {
        put_open(nest->k, "if (thread == 0)");
        kernel_threads(nest->k);
    } else {
        choose_block(nest, first);
        open_shared(nest, first);
    }
}

void nest_end_rows(Nest *nest) {
    put_close(nest->k);
    nest->n_loops = 0;
    nest->printer.n_done = 0;
    nest->ids = map_new(arena_of(nest));
}

/* One printing of the step: values computed in it are forgotten after it. */
static Text one_step(Nest *nest, LaneStep *step, void *state, int *lines) {
    size_t done = nest->printer.n_done;
    Capture c = capture_begin(nest->k, 1);
    nest->depth++;
    step(nest, state);
    nest->depth--;
    nest->printer.n_done = done;
    return capture_end(nest->k, c, lines);
}

/* The step after `head`, in braces if it is more than one line; without a head in a block of its own. */
static void put_block(Nest *nest, const char *head, LaneStep *step, void *state) {
    int lines;
    Text *body = &nest->k->body;
    Text inside = one_step(nest, step, state, &lines);
    if (head && lines > 1)
        put_open(nest->k, "%s", head);
    else if (head)
        put_line(nest->k, "%s", head);
    else if (lines > 1)
        put_line(nest->k, "{");
    if (!head && lines <= 1)            /* back by one level */
        for (const char *p = inside.data; *p; p = strchr(p, '\n') + 1)
            text_put(body, p + 4, (size_t)(strchr(p, '\n') + 1 - (p + 4)));
    else
        text_put(body, inside.data, inside.length);
    if (lines > 1) {
        nest->k->indent -= head != NULL;
        put_line(nest->k, "}");
    }
}

static void symbolic_lanes(Nest *nest, Loop *l, const char *size, LaneStep *step, void *state) {
    Kernel *k = nest->k;
    int lanes = k->e->target->lanes;
    const char *v = l->var;
    put_line(k, "ptrdiff_t %s = 0;", v);
    put_block(nest, arena_print(arena_of(nest), "for (; %s + %d <= %s; %s += %d)", v, lanes, size, v, lanes), step, state);
    nest->count = arena_print(arena_of(nest), "%s - %s", size, v);
    put_block(nest, arena_print(arena_of(nest), "if (%s < %s)", v, size), step, state);
    nest->count = NULL;
}

void nest_lanes(Nest *nest, const Axis *axis, LaneStep *step, void *state) {
    Kernel *k = nest->k;
    int lanes = k->e->target->lanes;
    const char *outer = nest->lane;
    look_up_rows(nest, axis->name);
    nest->lane = axis->name;
    Loop *l = nest_loop(nest, axis, nest_var(nest, axis));
    if (!extent_is_const(axis->size)) {
        put_line(k, "{");
        k->indent++;
        symbolic_lanes(nest, l, kernel_factor(k, axis->size), step, state);
        put_close(k);
    } else {
        int64_t size = axis->size.base, full = size / lanes * lanes;
        const char *var = l->var;
        if (full > lanes) {
            put_block(nest, loop_head(k, var, "0", arena_print(arena_of(nest), "%lld", (long long)full), lanes), step, state);
        } else if (full == lanes) {
            l->var = "0";
            put_block(nest, NULL, step, state);
        }
        if (full < size) {
            l->var = arena_print(arena_of(nest), "%lld", (long long)full);
            nest->count = arena_print(arena_of(nest), "%lld", (long long)(size - full));
            put_block(nest, NULL, step, state);
            nest->count = NULL;
        }
    }
    nest->n_loops--;
    nest->lane = outer;
}

void nest_plain_loop(Nest *nest, const Axis *axis, LaneStep *step, void *state) {
    const char *var = nest_var(nest, axis);
    nest_loop(nest, axis, var);
    put_block(nest, loop_head(nest->k, var, "0", kernel_size(nest->k, axis->size), 1), step, state);
    nest->n_loops--;
}
