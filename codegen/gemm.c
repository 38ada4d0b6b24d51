/* gemm: x times weights stored as panels, the body applied to the sums while they are still in registers.
 *
 * Three functions for each group of accumulators that meet in one result:
 *     NAME_tile(rows, ..)   a few rows times one panel; `rows` is a constant wherever it is called, so one text serves all tiles
 *     NAME_rows(rows, ..)   any number of rows times one panel, tile by tile
 *     NAME(..)              this thread's share of (panel, tile) pairs, panel after panel, so that a panel stays in the cache
 * A sum runs over the contracted axis in ascending order in one accumulator, so neither tiles nor threads change a bit. */
#include "codegen/emit.h"

#include <ctype.h>
#include <string.h>

typedef enum Reach { PER_NOTHING = 0, PER_ROW = 1, PER_COLUMN = 2, PER_BOTH = 3, PER_PANEL = 4 } Reach;

typedef struct Pointer {                /* an argument of the tile */
    const Node *param;                  /* of the body; NULL: x or a result */
    const char *name, *local;           /* in the kernel, and in its tile functions */
    DType dtype;
    Reach reach;
    const char *row;                    /* elements from one row to the next, as C text; NULL: the same for all rows */
    const char *step;                   /* the variable that holds `row` if it is not a constant, else NULL */
} Pointer;

typedef struct Group {
    const char *name, *text;            /* of its functions: what they are called, and as they are if called after the kernel */
    int *weight, n_weights;
    int *result, n_results;             /* into body->results */
    const char **sum;                   /* C names of the accumulators, one a weight */
    const Node **start;                 /* the body's `acc + bias` whose bias the accumulator starts with, or NULL */
    Pointer *pointers;                  /* x, panels, extras, results */
    int n_pointers, first_result;
    Tile tile;
    int64_t columns, panel, panels;
} Group;

typedef struct Gemm {
    Kernel *k;
    const Node *n;
    Context *cx;
    int n_weights, n_rows, n_over;
    Axis rows[MAX_RANK], over[MAX_RANK];
    int64_t depth;                      /* length of a sum */
    const char *depth_var;
    Group *groups;
    int n_groups;
    BodyPrinter printer;
    const Group *printing;
    const char *count;                  /* columns left, in the last panel; NULL: all */
} Gemm;

/* ---- operands -------------------------------------------------------------------------------------------------------------------- */

static bool collect_axes(Gemm *g) {
    const Type *x = g->n->inputs[0]->type;
    g->depth = 1;
    for (int i = 0; i < x->rank; i++) {
        bool over = attr_has_name(g->n, ATTR_over, x->axis[i].name);
        if (over && !extent_is_const(x->axis[i].size))
            return false;
        if (over)
            g->depth *= x->axis[i].size.base;
        if (over)
            g->over[g->n_over++] = x->axis[i];
        else
            g->rows[g->n_rows++] = x->axis[i];
    }
    return g->n_over > 0;
}

/* Axes of a weight or a result that are not rows. */
static int column_axes(const Gemm *g, const Type *type, Axis *out) {
    int n = 0;
    for (int i = 0; i < type->rank; i++) {
        bool row = attr_has_name(g->n, ATTR_over, type->axis[i].name);
        for (int j = 0; j < g->n_rows; j++)
            row |= g->rows[j].name == type->axis[i].name;
        if (!row)
            out[n++] = type->axis[i];
    }
    return n;
}

static bool has_any(const Access *a, const Axis *axes, int n) {
    for (int i = 0; i < n; i++)
        if (access_axis(a, axes[i].name))
            return true;
    return false;
}

/* How the operand moves with rows and columns; false if not by one stride each. */
static bool pointer_steps(Gemm *g, const Access *a, const Axis *columns, int n_columns, Pointer *p) {
    Stride row, column;
    int64_t unit = 0, constant;
    if (!access_step(a, g->rows, g->n_rows, &row) || !access_step(a, columns, n_columns, &column) || !stride_is_const(column, &unit) ||
        (unit != 0 && unit != 1)) {
        emit_fail(g->k->e, g->n, "`%s` does not step by one stride along the rows and 1 along the columns", a->name);
        return false;
    }
    p->name = a->name;
    p->dtype = a->dtype;
    p->reach = (Reach)((row.factor ? PER_ROW : 0) | (unit ? PER_COLUMN : 0));
    if (!row.factor)
        return true;
    p->row = kernel_stride(g->k, row);
    if (!stride_is_const(row, &constant)) {
        p->step = scope_name(&g->k->names, arena_print(g->cx->arena, "%s_step", a->name));
        put_line(g->k, "const ptrdiff_t %s = %s;", p->step, p->row);
        p->row = p->step;
    }
    return true;
}

static Pointer *add_pointer(Group *group) {
    Pointer *p = &group->pointers[group->n_pointers++];
    *p = (Pointer){0};
    return p;
}

/* Several groups may share their tile functions, which then speak of w, b and y; one group keeps the model's words. */
static void name_locals(Gemm *g, Group *group, bool several) {
    Scope s = g->k->names;
    if (several)
        s = scope_new(g->cx);
    for (int i = 0; i < group->n_pointers; i++) {
        Pointer *p = &group->pointers[i];
        const char *role = !i ? p->name : p->reach == PER_PANEL ? "w" : i >= group->first_result ? "y" : "b";
        p->local = several ? scope_name(&s, role) : p->name;
    }
}

static bool uses_param(const Gemm *g, const Group *group, const Node *param) {
    bool *reads = arena_array(g->cx->arena, (size_t)graph_model(g->n->graph)->next_id, sizeof *reads);
    for (const Node *n = g->n->body->first; n; n = n->next) {
        reads[n->id] = n == param;
        for (int i = 0; i < n->n_inputs; i++)
            reads[n->id] |= reads[n->inputs[i]->id];
    }
    for (int r = 0; r < group->n_results; r++)
        if (reads[g->n->body->results[group->result[r]].value->id])
            return true;
    return false;
}

static bool group_operands(Gemm *g, Group *group) {
    Access a;
    Axis columns[MAX_RANK];
    int n_columns = column_axes(g, g->n->inputs[1 + group->weight[0]]->type, columns);
    Stride inner;
    int64_t unit;
    if (!kernel_read(g->k, g->n->inputs[0], &a))
        return false;
    if (!access_step(&a, g->over, g->n_over, &inner) || !stride_is_const(inner, &unit) || (unit != 1 && g->depth != 1)) {
        emit_fail(g->k->e, g->n, "the contracted axes of `%s` are not packed", a.name);
        return false;
    }
    if (!pointer_steps(g, &a, NULL, 0, add_pointer(group)))
        return false;
    for (int i = 0; i < group->n_weights; i++) {
        const Node *weight = g->n->inputs[1 + group->weight[i]];
        Pointer *p = add_pointer(group);
        p->reach = PER_PANEL;
        p->name = kernel_panels(g->k, weight, g->n, group->panel);
    }
    for (int i = g->n_weights; i < g->n->body->n_params; i++) {
        const Node *param = g->n->body->params[i];
        if (!uses_param(g, group, param))
            continue;
        Pointer *p = add_pointer(group);
        p->param = param;
        if (!kernel_read(g->k, g->n->inputs[1 + i], &a) || !pointer_steps(g, &a, columns, n_columns, p))
            return false;
        if (!(p->reach & PER_COLUMN) && has_any(&a, columns, n_columns) && group->columns > 1)
            p->reach = (Reach)(p->reach & PER_ROW);
    }
    group->first_result = group->n_pointers;
    for (int r = 0; r < group->n_results; r++) {
        Pointer *p = add_pointer(group);
        if (!kernel_result(g->k, kernel_get(g->n, group->result[r]), &a) || !pointer_steps(g, &a, columns, n_columns, p))
            return false;
        p->reach = PER_BOTH;
        p->row = p->row ? p->row : "0";
    }
    return true;
}

/* ---- the tile ------------------------------------------------------------------------------------------------------------------------- */

static const char *product(Context *cx, const char *a, const char *b) {
    if (!strcmp(b, "1"))
        return a;
    return arena_print(cx->arena, "%s * %s", a, b);
}

static const char *row_address(Gemm *g, const Pointer *p) {
    return p->row && strcmp(p->row, "0") ? arena_print(g->cx->arena, "%s + %s", p->local, product(g->cx, "r", p->row)) : p->local;
}

static Operand load_pointer(Gemm *g, const Pointer *p) {
    const char *address = p->reach & PER_ROW ? row_address(g, p) : p->local;
    if (!(p->reach & PER_COLUMN))
        return load_scalar(g->k, p->dtype, address);
    return load_vector(g->k, p->dtype, arena_print(g->cx->arena, "%s + %d * c", address, g->k->e->target->lanes), g->count);
}

static Operand gemm_leaf(void *state, const Node *leaf) {
    Gemm *g = state;
    const Group *group = g->printing;
    if (leaf->op != OP_param)
        return (Operand){0};
    for (int i = 0; i < group->n_weights; i++)
        if (g->n->body->params[group->weight[i]] == leaf)
            return operand_of(arena_print(g->cx->arena, "%s[r][c]", group->sum[i]), BINDS_ALL, true, DT_F32);
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].param == leaf)
            return load_pointer(g, &group->pointers[i]);
    return (Operand){0};
}

static const Pointer *pointer_of(const Group *group, const Node *param) {
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].param && group->pointers[i].param == param)
            return &group->pointers[i];
    return NULL;
}

static int readers(const Graph *body, const Node *n) {
    int uses = 0;
    for (const Node *u = body->first; u; u = u->next)
        for (int i = 0; i < u->n_inputs; i++)
            uses += u->inputs[i] == n;
    for (int r = 0; r < body->n_results; r++)
        uses += body->results[r].value == n;
    return uses;
}

/* `acc + bias`, the only reader of acc, bias a vector over the columns: the accumulator starts with the bias. */
static void find_starts(Gemm *g, Group *group) {
    const Graph *body = g->n->body;
    for (int i = 0; i < group->n_weights; i++) {
        const Node *acc = body->params[group->weight[i]];
        for (const Node *n = body->first; n && readers(body, acc) == 1; n = n->next) {
            if (n->op != OP_add || (n->inputs[0] != acc && n->inputs[1] != acc))
                continue;
            const Pointer *bias = pointer_of(group, n->inputs[n->inputs[0] == acc]);
            if (bias && bias->reach == PER_COLUMN && bias->dtype == DT_F32)
                group->start[i] = n;
        }
    }
}

static const char *unroll_rows(Gemm *g, const Group *group) {
    return arena_print(g->cx->arena, "#pragma GCC unroll %d\n", group->tile.rows);
}

static void over_tile(Gemm *g, const Group *group, bool braces) {
    Text *body = &g->k->body;
    text_add(body, "%s", unroll_rows(g, group));
    put_line(g->k, "for (int r = 0; r < rows; r++)");
    text_add(body, "#pragma GCC unroll %d\n", group->tile.vectors);
    g->k->indent++;
    put_line(g->k, "for (int c = 0; c < %d; c++)%s", group->tile.vectors, braces ? " {" : "");
    g->k->indent++;
}

static void end_tile(Gemm *g, bool braces) {
    g->k->indent--;
    if (braces)
        put_line(g->k, "}");
    g->k->indent--;
}

static void print_start(Gemm *g, Group *group) {
    bool braces = group->n_weights > 1;
    over_tile(g, group, braces);
    for (int i = 0; i < group->n_weights; i++) {
        const char *value = "(lanes){0}";
        if (group->start[i]) {
            const Node *acc = g->n->body->params[group->weight[i]], *add = group->start[i];
            value = load_pointer(g, pointer_of(group, add->inputs[add->inputs[0] == acc])).text;
        }
        put_line(g->k, "%s[r][c] = %s;", group->sum[i], value);
    }
    end_tile(g, braces);
}

static void print_products(Gemm *g, Group *group) {
    const char *v = g->depth_var;
    const Pointer *x = &group->pointers[0];
    bool braces = group->n_weights > 1;
    put_line(g->k, "ROLLED for (ptrdiff_t %s = 0; %s < %lld; %s++) {", v, v, (long long)g->depth, v);
    g->k->indent++;
    for (int i = 0; i < group->n_weights; i++) {
        const char *w = group->pointers[1 + i].local;
        put_line(g->k, "const lanes *%s_%s = (const lanes *)(%s + %s * %lld);", w, v, w, v, (long long)group->panel);
    }
    over_tile(g, group, braces);
    for (int i = 0; i < group->n_weights; i++) {
        const char *row = x->row ? arena_print(g->cx->arena, "%s + ", product(g->cx, "r", x->row)) : "";
        put_line(g->k, "%s[r][c] += splat(%s[%s%s]) * %s_%s[c];", group->sum[i], x->local, row, v, group->pointers[1 + i].local, v);
    }
    end_tile(g, braces);
    put_close(g->k);
}

static void print_results(Gemm *g, Group *group) {
    Kernel *k = g->k;
    Text outer = k->body, inside = text_new(g->cx->arena);
    k->body = inside;
    k->indent += 2;
    g->printer = (BodyPrinter){.k = k, .out = &k->body, .indent = k->indent, .leaf = gemm_leaf, .state = g};
    g->printing = group;
    for (int i = 0; i < group->n_weights; i++)
        if (group->start[i])
            body_define(&g->printer, group->start[i], operand_of(arena_print(g->cx->arena, "%s[r][c]", group->sum[i]), BINDS_ALL, true, DT_F32));
    int lines = 0;
    for (int r = 0; r < group->n_results; r++) {
        const Pointer *p = &group->pointers[group->first_result + r];
        Operand value = body_value(&g->printer, g->n->body->results[group->result[r]].value);
        const char *address = arena_print(g->cx->arena, "%s + %d * c", row_address(g, p), k->e->target->lanes);
        put_line(k, "%s", store_vector(k, p->dtype, address, value, g->count));
    }
    inside = k->body;
    k->body = outer;
    k->indent -= 2;
    for (const char *c = inside.data; *c; c++)
        lines += *c == ';' && c[1] == '\n';
    over_tile(g, group, lines > 1);
    text_put(&k->body, inside.data, inside.length);
    end_tile(g, lines > 1);
}

/* ---- functions ------------------------------------------------------------------------------------------------------------------------------- */

static int pointer_items(const Gemm *g, const Group *group, const char **items, bool declare) {
    int n = 0;
    for (int i = 0; i < group->n_pointers; i++)
        items[n++] = declare ? param_text_as(g->k, group->pointers[i].name, group->pointers[i].local) : group->pointers[i].local;
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].step)
            items[n++] = declare ? arena_print(g->cx->arena, "ptrdiff_t %s", group->pointers[i].step) : group->pointers[i].step;
    return n;
}

static const char *head_of(Gemm *g, const Group *group, const char *start, const char *first, const char *second) {
    const char **items = arena_array(g->cx->arena, (size_t)group->n_pointers * 2 + 2, sizeof *items);
    int n = 0;
    if (first)
        items[n++] = first;
    if (second)
        items[n++] = second;
    n += pointer_items(g, group, items + n, true);
    return wrapped(g->cx, start, items, (size_t)n);
}

static const char *joined(Context *cx, const char *function, const char *const *items, int n) {
    Text t = text_new(cx->arena);
    text_add(&t, "%s(", function);
    for (int i = 0; i < n; i++)
        text_add(&t, "%s%s", i ? ", " : "", items[i]);
    text_char(&t, ')');
    return t.data;
}

static bool has_tail(const Group *group) { return group->columns % group->panel != 0; }

static void print_tile(Gemm *g, Group *group) {
    Kernel *k = g->k;
    Text body = k->body;
    k->body = text_new(g->cx->arena);
    k->indent = 1;
    g->count = has_tail(group) ? arena_print(g->cx->arena, "columns - %d * c", k->e->target->lanes) : NULL;
    const char *tail = has_tail(group) ? "int columns" : NULL;
    text_add(&k->body, "/* `rows` rows, at most %d, times one panel of %lld columns. */\n", group->tile.rows, (long long)group->panel);
    text_add(&k->body, "static inline __attribute__((always_inline))\n%s\n{\n",
             head_of(g, group, arena_print(g->cx->arena, "void %s_tile", group->name), "int rows", tail));
    Text sums = text_new(g->cx->arena);
    for (int i = 0; i < group->n_weights; i++)
        text_add(&sums, "%s%s[%d][%d]", i ? ", " : "", group->sum[i], group->tile.rows, group->tile.vectors);
    put_line(k, "lanes %s;", sums.data);
    print_start(g, group);
    print_products(g, group);
    print_results(g, group);
    text_add(&k->body, "}\n\n");
    text_put(&k->before, k->body.data, k->body.length);
    k->body = body;
}

/* "for (; rows >= 8; rows -= 8, x += 8 * 384, h += 8 * 1536)" and a tile of that many rows. */
static void print_tiles_of(Gemm *g, Group *group, int rows, int64_t columns) {
    Kernel *k = g->k;
    Text head = text_new(g->cx->arena);
    text_add(&head, rows == 1 ? "for (; rows; rows--" : "for (; rows >= %d; rows -= %d", rows, rows);
    for (int i = 0; i < group->n_pointers; i++) {
        const Pointer *p = &group->pointers[i];
        const char *row = p->row;
        if (row && strcmp(row, "0"))
            text_add(&head, ", %s += %s", p->local, rows == 1 ? row : product(g->cx, arena_print(g->cx->arena, "%d", rows), row));
    }
    put_line(k, "%s)", head.data);
    const char **items = arena_array(g->cx->arena, (size_t)group->n_pointers * 2 + 2, sizeof *items);
    int n = 0;
    items[n++] = arena_print(g->cx->arena, "%d", rows);
    if (has_tail(group))
        items[n++] = arena_print(g->cx->arena, "%lld", (long long)columns);
    n += pointer_items(g, group, items + n, false);
    k->indent++;
    put_line(k, "%s;", joined(g->cx, arena_print(g->cx->arena, "%s_tile", group->name), items, n));
    k->indent--;
}

static void print_rows(Gemm *g, Group *group, const char *suffix, int most, int64_t columns) {
    Kernel *k = g->k;
    Text body = k->body;
    k->body = text_new(g->cx->arena);
    k->indent = 1;
    text_add(&k->body, "%s\n{\n", head_of(g, group, arena_print(g->cx->arena, "static void %s_%s", group->name, suffix), "ptrdiff_t rows", NULL));
    for (int rows = most; rows >= 1; rows /= 2)
        print_tiles_of(g, group, rows, columns);
    text_add(&k->body, "}\n\n");
    text_put(&k->before, k->body.data, k->body.length);
    k->body = body;
}

/* ---- the kernel ------------------------------------------------------------------------------------------------------------------------------ */

static void print_call(Gemm *g, Group *group, const char *suffix, const char *panel) {
    Arena *a = g->cx->arena;
    const char **items = arena_array(a, (size_t)group->n_pointers * 2 + 1, sizeof *items);
    int n = 0;
    items[n++] = "end - row";
    for (int i = 0; i < group->n_pointers; i++) {
        const Pointer *p = &group->pointers[i];
        Text t = text_new(a);
        text_add(&t, "%s", p->name);
        if (p->row && strcmp(p->row, "0"))
            text_add(&t, " + %s", product(g->cx, "row", p->row));
        if (p->reach == PER_PANEL && strcmp(panel, "0"))
            text_add(&t, " + %s * %lld", panel, (long long)(group->panel * g->depth));
        else if (p->reach & PER_COLUMN && strcmp(panel, "0"))
            text_add(&t, " + %s * %lld", panel, (long long)group->panel);
        items[n++] = t.data;
    }
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].step)
            items[n++] = group->pointers[i].step;
    put_line(g->k, "%s;", joined(g->cx, arena_print(a, "%s_%s", group->name, suffix), items, n));
}

/* The group's panels are numbers first .. first + panels of all the kernel's panels. */
static void print_group_calls(Gemm *g, Group *group, int64_t first, int64_t all) {
    Kernel *k = g->k;
    Arena *a = g->cx->arena;
    const char *panel = group->panels == 1 ? "0" : first ? arena_print(a, "(panel - %lld)", (long long)first) : "panel";
    const char *branch = first ? "else " : "";
    int64_t full = group->columns / group->panel, next = first + group->panels;
    if (full) {
        if (full < group->panels || next < all)
            put_line(k, "%sif (panel < %lld)", branch, (long long)(first + full));
        else if (first)
            put_line(k, "else");
        bool indented = full < group->panels || next < all || first;
        k->indent += indented;
        print_call(g, group, "rows", panel);
        k->indent -= indented;
    }
    if (full == group->panels)
        return;
    if (next < all)
        put_line(k, "%sif (panel < %lld)", full || first ? "else " : "", (long long)next);
    else if (full || first)
        put_line(k, "else");
    bool indented = next < all || full || first;
    k->indent += indented;
    print_call(g, group, "last", panel);
    k->indent -= indented;
}

static void print_main(Gemm *g) {
    Kernel *k = g->k;
    int64_t all = 0, first = 0;
    int tile = g->groups[0].tile.rows;
    Text rows = text_new(g->cx->arena);
    for (int i = 0; i < g->n_groups; i++) {
        all += g->groups[i].panels;
        tile = g->groups[i].tile.rows > tile ? g->groups[i].tile.rows : tile;
    }
    for (int i = 0; i < g->n_rows; i++)
        text_add(&rows, "%s%s", i ? " * " : "", kernel_factor(k, g->rows[i].size));
    put_line(k, "const ptrdiff_t rows = %s, tiles = (rows + %d) / %d;", rows.length ? rows.data : "1", tile - 1, tile);
    const char *total = all == 1 ? "tiles" : arena_print(g->cx->arena, "%lld * tiles", (long long)all);
    put_line(k, "const ptrdiff_t last = share(%s, thread + 1, threads);", total);
    put_open(k, "for (ptrdiff_t task = share(%s, thread, threads); task < last;)", total);
    if (all > 1)
        put_line(k, "const ptrdiff_t panel = task / tiles, row = task %% tiles * %d, end = lesser(rows, row + (last - task) * %d);", tile, tile);
    else
        put_line(k, "const ptrdiff_t row = task * %d, end = lesser(rows, last * %d);", tile, tile);
    for (int i = 0; i < g->n_groups; first += g->groups[i++].panels)
        print_group_calls(g, &g->groups[i], first, all);
    put_line(k, "task += (end - row + %d) / %d;", tile - 1, tile);
    put_close(k);
    kernel_threads(k);
}

static void describe(Gemm *g) {
    Text *t = &g->k->comment;
    for (int r = 0; r < g->n->body->n_results; r++) {
        const Node *result = kernel_get(g->n, r);
        if (!result)
            continue;
        text_add(t, "%s = ", result->name);
        expression_print(g->n->body, r, t);
        text_add(t, "   ");
        type_print(result->type, t);
        text_char(t, '\n');
    }
    for (int i = 0; i < g->n_weights; i++) {
        text_add(t, g->n_weights > 1 ? "acc%d = " : "acc = ", i);
        text_add(t, "%s * %s over ", g->n->inputs[0]->name, g->n->inputs[1 + i]->name);
        for (int o = 0; o < g->n_over; o++)
            text_add(t, "%s%s", o ? ", " : "", g->over[o].name);
        text_add(t, "   ");
        type_print(g->n->inputs[0]->type, t);
        text_add(t, " * ");
        type_print(g->n->inputs[1 + i]->type, t);
        text_char(t, '\n');
    }
}

/* ---- groups --------------------------------------------------------------------------------------------------------------------------------- */

static bool make_group(Gemm *g, const int *member, int leader) {
    Arena *a = g->cx->arena;
    const Graph *body = g->n->body;
    Group *group = &g->groups[g->n_groups];
    bool *reads = arena_array(a, (size_t)graph_model(g->n->graph)->next_id, sizeof *reads);
    *group = (Group){.weight = arena_array(a, (size_t)g->n_weights, sizeof(int)), .result = arena_array(a, (size_t)body->n_results, sizeof(int))};
    for (const Node *n = body->first; n; n = n->next) {
        for (int i = 0; i < g->n_weights; i++)
            reads[n->id] |= member[i] == leader && n == body->params[i];
        for (int i = 0; i < n->n_inputs; i++)
            reads[n->id] |= reads[n->inputs[i]->id];
    }
    for (int r = 0; r < body->n_results; r++)
        if (reads[body->results[r].value->id] && kernel_get(g->n, r))
            group->result[group->n_results++] = r;
    if (!group->n_results)
        return true;
    for (int i = 0; i < g->n_weights; i++)
        if (member[i] == leader)
            group->weight[group->n_weights++] = i;
    Axis columns[MAX_RANK];
    int n_columns = column_axes(g, g->n->inputs[1 + leader]->type, columns);
    group->columns = 1;
    for (int i = 0; i < n_columns; i++)
        group->columns *= columns[i].size.base;
    group->panel = gemm_panel(g->k->e, g->n, leader);
    group->panels = (group->columns + group->panel - 1) / group->panel;
    group->tile = gemm_tile(g->k->e->target, group->n_weights, group->columns);
    group->pointers = arena_array(a, (size_t)(1 + g->n->n_inputs + body->n_results), sizeof *group->pointers);
    group->sum = arena_array(a, (size_t)group->n_weights, sizeof *group->sum);
    group->start = arena_array(a, (size_t)group->n_weights, sizeof *group->start);
    g->n_groups++;
    return group_operands(g, group);
}

/* Tile and rows, unless an earlier group's are the same to the letter. */
static void print_functions(Gemm *g, int number) {
    Group *group = &g->groups[number];
    Arena *a = g->cx->arena;
    Text before = g->k->before;
    for (int j = 0; j < group->n_weights; j++)
        group->sum[j] = j ? arena_print(a, "sum_%d", j + 1) : "sum";
    name_locals(g, group, g->n_groups > 1);
    find_starts(g, group);
    for (int round = 0; round < 2; round++) {
        g->k->before = text_new(a);
        group->name = g->k->function;
        if (round)
            group->name = scope_name(&g->k->e->file, arena_print(a, "%s_%s", g->k->e->prefix, kernel_get(g->n, group->result[0])->name));
        print_tile(g, group);
        if (group->columns >= group->panel)
            print_rows(g, group, "rows", group->tile.rows, group->panel);
        if (has_tail(group))
            print_rows(g, group, "last", group->tile.rows < 4 ? group->tile.rows : 4, group->columns % group->panel);
        if (!round)
            group->text = g->k->before.data;
        if (!number)
            break;
        int twin = 0;
        while (twin < number && strcmp(g->groups[twin].text, group->text) != 0)
            twin++;
        if (twin < number) {
            group->name = g->groups[twin].name;
            g->k->before = before;
            return;
        }
    }
    text_put(&before, g->k->before.data, g->k->before.length);
    g->k->before = before;
}

void emit_gemm(Kernel *k) {
    Gemm g = {.k = k, .n = k->node, .cx = k->e->cx, .n_weights = (int)attr_int(k->node, ATTR_weights, 1)};
    Arena *a = g.cx->arena;
    const char *const own[] = {"r", "c", "rows", "columns", "tiles", "last", "task", "panel", "row", "end", "k"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        scope_name(&k->names, own[i]);
    if (!collect_axes(&g)) {
        emit_fail(k->e, k->node, "the contracted axes must have constant sizes");
        return;
    }
    g.depth_var = "k";
    int *member = arena_array(a, (size_t)g.n_weights, sizeof *member);
    gemm_groups(g.cx, g.n, member);
    g.groups = arena_array(a, (size_t)g.n_weights, sizeof *g.groups);
    for (int i = 0; i < g.n_weights; i++)
        if (member[i] == i && !make_group(&g, member, i))
            return;
    if (!g.n_groups)
        return;
    describe(&g);
    for (int i = 0; i < g.n_groups; i++)
        print_functions(&g, i);
    k->indent = 1;
    print_main(&g);
}
