/* gemm: x times weights stored as panels, the body applied to the sums tile by tile, while they are in the first-level cache.
 *
 * Three functions for each group of accumulators that meet in one result, beside those that all gemms share (gemm_sums.c):
 *     NAME_tile(rows, ..)   a few rows times one panel
 *     NAME_rows(rows, ..)   any number of rows times one panel, tile by tile
 *     NAME(..)              a part of the (panel, tile) pairs of some rows, panel after panel, so that a panel stays in the cache;
 *                           where all panels do, the same for 64 rows after 64, whose x and results then stay, too
 * A group is also what stands beside each other in one panel: products of few columns (tile.c chooses them), each a part with results of its own.
 * A sum runs over the contracted axis in ascending order in one accumulator, so neither tiles nor threads change a bit. */
#include "codegen/choose.h"
#include "codegen/gemm.h"

#include <string.h>

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

/* An extra may also have only some of the rows' axes. */
static bool extra_steps(Gemm *g, Group *group, const Access *a, const Axis *columns, int n_columns, Pointer *p) {
    Stride row, column;
    int64_t unit = 0;
    if (access_step(a, g->rows, g->n_rows, &row))
        return pointer_steps(g, a, columns, n_columns, p);
    if (!access_step(a, columns, n_columns, &column) || !stride_is_const(column, &unit) || (unit != 0 && unit != 1) ||
        !gemm_row_terms(g, group, a, p)) {
        emit_fail(g->k->e, g->n, "`%s` does not step by 1 along the columns", a->name);
        return false;
    }
    p->name = a->name;
    p->dtype = a->dtype;
    p->reach = (Reach)(PER_ROW | (unit ? PER_COLUMN : 0));
    return true;
}

static Pointer *add_pointer(Group *group) {
    Pointer *p = &group->pointers[group->n_pointers++];
    *p = (Pointer){0};
    return p;
}

/* Rows that products sum over their last axes. */
static bool add_rows(Gemm *g, Group *group, const Node *x, const Axis *over, int n_over, int64_t depth) {
    Access a;
    Stride inner;
    int64_t unit;
    if (!kernel_read(g->k, x, &a))
        return false;
    if (!access_step(&a, over, n_over, &inner) || !stride_is_const(inner, &unit) || (unit != 1 && depth != 1)) {
        emit_fail(g->k->e, g->n, "the contracted axes of `%s` are not packed", a.name);
        return false;
    }
    return pointer_steps(g, &a, NULL, 0, add_pointer(group));
}

static void add_panels(Gemm *g, Group *group, const Node *weight, const Node *x, int64_t panel, int64_t depth) {
    Pointer *p = add_pointer(group);
    p->reach = PER_PANEL;
    p->depth = depth;
    p->dtype = weight_storage(weight);
    p->name = kernel_panels(g->k, weight, g->n, x, panel, group->rotation);
}

/* Products of the side: the accumulators go on over their rows and panels. */
static bool add_sides(Gemm *g, Group *group) {
    group->first_side = group->n_pointers;
    for (int k = 0; k < gemm_sides(g->n); k++) {
        const Node *x = g->n->inputs[gemm_side(g->n, k)], *weight = g->n->inputs[gemm_side(g->n, k) + 1];
        Axis over[MAX_RANK];
        int n_over = 0, member = 0;
        int64_t depth = 1;
        while (member < group->n_weights && group->weight[member] != gemm_side_of(g->n, k))
            member++;
        if (member == group->n_weights)
            continue;
        for (int i = 0; i < x->type->rank; i++)
            if (type_find(weight->type, x->type->axis[i].name) >= 0) {
                over[n_over++] = x->type->axis[i];
                if (!extent_is_const(x->type->axis[i].size)) {
                    emit_fail(g->k->e, g->n, "the contracted axes must have constant sizes");
                    return false;
                }
                depth *= x->type->axis[i].size.base;
            }
        if (!add_rows(g, group, x, over, n_over, depth))
            return false;
        add_panels(g, group, weight, x, group->panel, depth);
        group->side[group->n_sides++] = member;
    }
    return true;
}

static bool result_uses(const Gemm *g, int result, const Node *param) {
    bool *reads = arena_array(g->cx->arena, (size_t)graph_model(g->n->graph)->next_id, sizeof *reads);
    for (const Node *n = g->n->body->first; n; n = n->next) {
        reads[n->id] = n == param;
        for (int i = 0; i < n->n_inputs; i++)
            reads[n->id] |= reads[n->inputs[i]->id];
    }
    return reads[g->n->body->results[result].value->id];
}

/* Which of the products side by side becomes the result. */
static int part_of(const Gemm *g, const Group *group, int result) {
    for (int i = 0; group->beside && i < group->n_weights; i++)
        if (result_uses(g, result, g->n->body->params[group->weight[i]]))
            return i;
    return 0;
}

static bool uses_param(const Gemm *g, const Group *group, int part, const Node *param) {
    for (int r = 0; r < group->n_results; r++)
        if (part_of(g, group, group->result[r]) == part && result_uses(g, group->result[r], param))
            return true;
    return false;
}

/* A part before this one has it, and it does not move with the columns. */
static bool stands_for_all(const Group *group, const Node *param) {
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].param == param && !(group->pointers[i].reach & PER_COLUMN))
            return true;
    return false;
}

static bool part_extras(Gemm *g, Group *group, int part) {
    Access a;
    Axis columns[MAX_RANK];
    int n_columns = column_axes(g, g->n->inputs[1 + group->weight[part]]->type, columns);
    for (int i = g->n_weights; i < g->n->body->n_params; i++) {
        const Node *param = g->n->body->params[i];
        if (!uses_param(g, group, part, param) || stands_for_all(group, param))
            continue;
        Pointer *p = add_pointer(group);
        p->param = param;
        p->part = part;
        p->pairs = group->rotation && (param == group->rotation->inputs[1] || param == group->rotation->inputs[2]);
        const Axis *own = p->pairs ? &param->type->axis[param->type->rank - 1] : columns;
        if (!kernel_read(g->k, g->n->inputs[1 + i], &a) || !extra_steps(g, group, &a, own, p->pairs ? 1 : n_columns, p))
            return false;
        if (!(p->reach & PER_COLUMN) && has_any(&a, columns, n_columns) && group->columns > 1)
            p->reach = (Reach)(p->reach & PER_ROW);
    }
    return true;
}

static bool group_results(Gemm *g, Group *group) {
    Access a;
    Axis columns[MAX_RANK];
    group->first_result = group->n_pointers;
    for (int r = 0; r < group->n_results; r++) {
        Pointer *p = add_pointer(group);
        p->part = part_of(g, group, group->result[r]);
        int n_columns = column_axes(g, g->n->inputs[1 + group->weight[p->part]]->type, columns);
        if (!kernel_result(g->k, kernel_get(g->n, group->result[r]), &a) || !pointer_steps(g, &a, columns, n_columns, p))
            return false;
        p->reach = PER_BOTH;
        p->row = p->row ? p->row : "0";
    }
    return true;
}

static bool group_operands(Gemm *g, Group *group) {
    if (!add_rows(g, group, g->n->inputs[0], g->over, g->n_over, g->depth))
        return false;
    for (int i = 0; i < group->n_weights; i++)
        add_panels(g, group, g->n->inputs[1 + group->weight[i]], g->n->inputs[0], group->beside ? group->from[i + 1] - group->from[i] : group->panel, g->depth);
    for (int part = 0; part < (group->beside ? group->n_weights : 1); part++)
        if (!part_extras(g, group, part))
            return false;
    return add_sides(g, group) && group_results(g, group);
}

/* ---- the comment ----------------------------------------------------------------------------------------------------------------- */

/* The products of the side that accumulator i takes in. */
static void describe_sides(Gemm *g, int i, Text *t) {
    for (int k = 0; k < gemm_sides(g->n); k++) {
        const Node *x = g->n->inputs[gemm_side(g->n, k)], *w = g->n->inputs[gemm_side(g->n, k) + 1];
        const char *over[MAX_RANK];
        int n = type_shared(x->type, w->type, over);
        if (gemm_side_of(g->n, k) != i)
            continue;
        text_add(t, " + %s * %s over ", x->name, w->name);
        for (int o = 0; o < n; o++)
            text_add(t, "%s%s", o ? ", " : "", over[o]);
    }
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
        describe_sides(g, i, t);
        text_add(t, "   ");
        type_print(g->n->inputs[0]->type, t);
        text_add(t, " * ");
        type_print(g->n->inputs[1 + i]->type, t);
        text_char(t, '\n');
    }
}

/* ---- rotation ---------------------------------------------------------------------------------------------------------------------------- */

/* A result may be rotated if it comes from one accumulator that no other result reads, all of it turns, its halves are whole vectors, and
 * the tables are parameters. */
static bool group_rotation(Gemm *g, Group *group, const Axis *columns, int n_columns) {
    group->rotation = gemm_rotation(g->cx, g->n, group->weight[0]);
    if (!group->rotation)
        return true;
    int64_t size = n_columns ? columns[n_columns - 1].size.base : 0, lanes = g->k->e->target->lanes;
    group->pairs = size / 2;
    group->interleave = attr_bool(group->rotation, ATTR_interleave, false);
    const Type *table = group->rotation->inputs[1]->type;
    bool tables = group->rotation->inputs[1]->op == OP_param && group->rotation->inputs[2]->op == OP_param;
    bool whole = size % 2 == 0 && table->axis[table->rank - 1].size.base == group->pairs && group->pairs % lanes == 0;
    if (group->n_weights == 1 && group->n_results == 1 && whole && tables)
        return true;
    emit_fail(g->k->e, g->n, "it rotates a result in a way that a gemm cannot: a copy by a map can");
    return false;
}

/* ---- groups --------------------------------------------------------------------------------------------------------------------------------- */

/* For the kernel's comment and for reports. */
static void note_tile(Gemm *g, const TileChoice *c) {
    Emitter *e = g->k->e;
    e->tiles = arena_room(e->cx->arena, e->tiles, e->n_tiles, &e->tiles_capacity, sizeof *e->tiles);
    e->tiles[e->n_tiles++] = *c;
    Text line = text_new(e->cx->arena);
    tile_describe(c, e->target->lanes, &line);
    if (!g->tiles || !strstr(g->tiles, line.data))
        g->tiles = g->tiles ? arena_print(e->cx->arena, "%s; %s", g->tiles, line.data) : line.data;
}

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
    TileChoice choice = gemm_tile(g->k->e, g->n, leader);
    group->tile = choice.tile;
    group->panel = (int64_t)choice.tile.vectors * g->k->e->target->lanes;
    group->beside = choice.how == TILE_BESIDE;
    group->columns = group->beside ? group->panel : gemm_columns(g->n, leader);
    if (group->beside) {
        group->from = arena_array(a, (size_t)group->n_weights + 1, sizeof *group->from);
        for (int i = 0; i < group->n_weights; i++)
            group->from[i + 1] = group->from[i] + gemm_columns(g->n, group->weight[i]);
    }
    group->panels = (group->columns + group->panel - 1) / group->panel;
    if (!group_rotation(g, group, columns, n_columns))
        return false;
    group->pointers = arena_array(a, (size_t)(1 + g->n->n_inputs * group->n_weights + body->n_results), sizeof *group->pointers);
    group->sum = arena_array(a, (size_t)group->n_weights, sizeof *group->sum);
    group->start = arena_array(a, (size_t)group->n_weights, sizeof *group->start);
    group->side = arena_array(a, (size_t)gemm_sides(g->n) + 1, sizeof *group->side);
    g->n_groups++;
    note_tile(g, &choice);
    return group_operands(g, group);
}

void emit_gemm(Kernel *k) {
    Gemm g = {.k = k, .n = k->node, .cx = k->e->cx, .n_weights = (int)attr_int(k->node, ATTR_weights, 1)};
    Arena *a = g.cx->arena;
    const char *const own[] = {"r", "c", "rows", "columns", "tiles", "last", "task", "panel", "row", "end", "first", "cosine", "sine", "even", "odd", "k", "n", "at", "i", "ahead", "asks", "apart", "block", "here", "next"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        scope_name(&k->names, own[i]);
    for (int i = 1; i <= g.n_weights; i++) {
        scope_name(&k->names, i > 1 ? arena_print(a, "sum_%d", i) : "sum");
        scope_name(&k->names, i > 1 ? arena_print(a, "start_%d", i) : "start");
        scope_name(&k->names, arena_print(a, "next_%d", i));
    }
    if (!collect_axes(&g)) {
        emit_fail(k->e, k->node, "the contracted axes must have constant sizes");
        return;
    }
    int *member = arena_array(a, (size_t)g.n_weights, sizeof *member);
    gemm_sets(k->e, g.n, member);
    g.groups = arena_array(a, (size_t)g.n_weights, sizeof *g.groups);
    for (int i = 0; i < g.n_weights; i++)
        if (member[i] == i && !make_group(&g, member, i))
            return;
    if (!g.n_groups)
        return;
    describe(&g);
    text_add(&k->comment, "tile %s\n", g.tiles);
    for (int i = 0; i < g.n_groups; i++)
        gemm_functions(&g, i);
    k->indent = 1;
    gemm_print_main(&g);
}
