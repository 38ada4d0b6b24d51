/* The body of a gemm's kernel: which rows go through which panels, and when. A task is a tile of rows and a panel; a part of the kernel has
 * neighbouring tasks. */
#include "codegen/choose.h"
#include "codegen/gemm.h"

#include <string.h>

/* Rows that go through all panels before others, where all panels stay near; fewer where each is added to as well (24 and 32 are alike,
 * 64 bring nothing: docs/performance.md). */
enum { ROWS_TOGETHER = 64, ADDED_TOGETHER = 32 };

/* Where the panel's columns begin, if not at 0: " + panel * 48". */
static void put_column(Gemm *g, const Group *group, const Pointer *p, const char *panel, Text *t) {
    int64_t lanes = g->k->e->target->lanes, blocks = group->pairs / lanes;      /* panels of one head */
    if (!strcmp(panel, "0") || !(p->reach & (PER_PANEL | PER_COLUMN)))
        return;
    if (p->reach == PER_PANEL)
        text_add(t, " + %s * %lld", panel, (long long)(group->panel * p->depth));
    else if (p->pairs && blocks > 1)
        text_add(t, " + %s %% %lld * %lld", panel, (long long)blocks, (long long)lanes);
    else if (!p->pairs && group->rotation && !group->interleave && blocks > 1)
        text_add(t, " + %s / %lld * %lld + %s %% %lld * %lld", panel, (long long)blocks, (long long)group->pairs * 2, panel,
                 (long long)blocks, (long long)lanes);
    else if (!p->pairs)
        text_add(t, " + %s * %lld", panel, (long long)group->panel);
}

static void print_call(Gemm *g, Group *group, const char *function, const char *panel) {
    Arena *a = g->cx->arena;
    const char **items = arena_array(a, (size_t)group->n_pointers * 3 + MAX_SIZES + 2, sizeof *items);
    int n = 0;
    items[n++] = "end - row";
    if (group->counts)
        items[n++] = "row";
    for (int i = 0; i < group->n_pointers; i++) {
        const Pointer *p = &group->pointers[i];
        Text t = text_new(a);
        text_add(&t, "%s", p->name);
        if (p->row && strcmp(p->row, "0"))
            text_add(&t, " + %s", gemm_product(g->cx, "row", p->row));
        put_column(g, group, p, panel, &t);
        items[n++] = t.data;
    }
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].step)
            items[n++] = group->pointers[i].step;
    for (int i = 0; i < group->n_sizes; i++)
        items[n++] = group->sizes[i];
    for (int i = 0; gemm_looks_ahead(g) && i < group->n_weights; i++)
        items[n++] = gemm_nth(g, "next", i);
    put_line(g->k, "%s;", gemm_joined(g->cx, function, items, n));
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
        print_call(g, group, group->rows_name, panel);
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
    print_call(g, group, group->last_name, panel);
    k->indent -= indented;
}

/* What one panel of the group costs, in vectors. */
static int work_of(const Group *group) { return group->tile.vectors * gemm_group_sums(group); }

/* Groups whose panels differ in width: threads get the same share of the work, not of the tasks. The function says how many tasks come
 * before a part of the work, in vectors; NULL if all panels cost the same. */
static const char *print_work(Gemm *g, int64_t *work) {
    bool differ = false;
    int64_t tasks = 0;
    *work = 0;
    for (int i = 0; i < g->n_groups; i++)
        differ |= work_of(&g->groups[i]) != work_of(&g->groups[0]);
    if (!differ)
        return NULL;
    const char *name = scope_name(&g->k->e->file, arena_print(g->cx->arena, "%s_tasks", g->k->function));
    Text *t = &g->k->before;
    text_add(t, "/* How many tasks come before this part of the work. */\nstatic ptrdiff_t %s(ptrdiff_t work, ptrdiff_t tiles)\n{\n", name);
    for (int i = 0; i < g->n_groups; i++) {
        int one = work_of(&g->groups[i]);
        int64_t end = *work + g->groups[i].panels * one;
        if (i + 1 < g->n_groups)
            text_add(t, "    if (work < %lld * tiles)\n    ", (long long)end);
        if (i)
            text_add(t, "    return %lld * tiles + (work - %lld * tiles + %d) / %d;\n", (long long)tasks, (long long)*work, one / 2, one);
        else
            text_add(t, "    return (work + %d) / %d;\n", one / 2, one);
        tasks += g->groups[i].panels;
        *work = end;
    }
    text_add(t, "}\n\n");
    return name;
}

/* Is what lies in rows, as the results do, added to the sums? */
static bool adds_rows(const Gemm *g) {
    const Group *group = &g->groups[0];
    for (int i = 1 + group->n_weights; i < group->first_result; i++)
        if (gemm_in_rows(&group->pointers[i]))
            return true;
    return false;
}

/* Do all weights stay in a part of L2? Then x, what is added and the results are what comes from memory. */
static bool weights_stay(Gemm *g) {
    double bytes = 0;
    for (int i = 0; i < g->n_groups; i++)
        for (int j = 0; j < gemm_group_sums(&g->groups[i]); j++)
            bytes += (double)(g->depth * g->groups[i].columns) * (double)dtype_size(g->n->inputs[1 + g->groups[i].weight[j]]->type->dtype);
    return bytes <= (double)target_speed(g->k->e->target)->l2 / (adds_rows(g) ? 2 : 4);
}

/* So some rows go through all panels before others: each panel would go through all of them, a few columns at a time. */
static void put_rows_together(Gemm *g, int64_t all, int tile, const char *from, const char *end) {
    const int together = ((adds_rows(g) ? ADDED_TOGETHER : ROWS_TOGETHER) + tile - 1) / tile;
    put_line(g->k, "const ptrdiff_t block = task / %lld * %d, here = lesser(tiles - block, %d), at = task - block * %lld; /* tiles whose rows stay together */",
             (long long)(all * together), together, together, (long long)all);
    put_line(g->k, "const ptrdiff_t panel = at / here, row = %s(block + at %% here) * %d;", from, tile);
    put_line(g->k, "const ptrdiff_t end = lesser(lesser(%s, %s(block + here) * %d), row + (last - task) * %d);", end, from, tile, tile);
}

/* ---- what is read next ------------------------------------------------------------------------------------------------------------------------- */

static int64_t panel_bytes(const Group *group, int i) {
    const Pointer *w = &group->pointers[1 + i];
    int64_t columns = group->beside ? group->from[i + 1] - group->from[i] : group->panel;
    return columns * w->depth * (int64_t)dtype_size(w->dtype);
}

static const Pointer *weight_of(const Group *group, int i) { return &group->pointers[1 + (i < group->n_weights ? i : 0)]; }

/* Where the panel behind number `panel` of all panels has weight i; what has fewer weights, its first. */
static const char *panel_behind(Gemm *g, int i) {
    Text t = text_new(g->cx->arena);
    int64_t first = 0;
    bool differ = false;
    for (int j = 0; j < g->n_groups; j++)
        differ |= weight_of(&g->groups[j], i)->dtype != weight_of(g->groups, i)->dtype;
    for (int j = 0; j < g->n_groups; first += g->groups[j++].panels) {
        const Group *group = &g->groups[j];
        const Pointer *w = weight_of(group, i);
        if (j + 1 < g->n_groups && first + group->panels == 1)
            continue; /* nothing comes before it */
        if (j + 1 < g->n_groups)
            text_add(&t, "panel < %lld ? ", (long long)(first + group->panels - 1));
        text_add(&t, differ ? "(const void *)(%s" : "%s", w->name);
        const char *number = first > 1 ? arena_print(g->cx->arena, "(panel - %lld)", (long long)(first - 1)) : first ? "panel" : "(panel + 1)";
        if (group->panels > 1)
            text_add(&t, " + %s * %lld", number, (long long)(group->panel * w->depth));
        text_add(&t, "%s%s", differ ? ")" : "", j + 1 < g->n_groups ? " : " : "");
    }
    return t.data;
}

/* "const char *next = .., *next_2 = ..": of each weight the panel of this part's next task, behind the last one what another kernel reads. */
static void put_next(Gemm *g, int64_t all) {
    int64_t bytes = 0;
    int most = 0;
    const Group *widest = &g->groups[0];
    if (!gemm_looks_ahead(g))
        return;
    for (int i = 0; i < g->n_groups; i++)
        if (g->groups[i].n_weights > most) {
            widest = &g->groups[i];
            most = widest->n_weights;
        }
    const char *after = kernel_param(g->k, "const void *", "after", READ_NEXT);
    for (int i = 0; i < most; bytes += panel_bytes(widest, i++)) {
        const char *behind = i ? arena_print(g->cx->arena, "(const void *)((const char *)%s + %lld)", after, (long long)bytes) : after;
        if (all > 1)
            put_line(g->k, "const char *%s = task == last ? %s : %s;", gemm_nth(g, "next", i), behind, panel_behind(g, i));
        else
            put_line(g->k, "const char *%s = %s;", gemm_nth(g, "next", i), behind);
    }
}

/* The kernel before this one may ask for its first panel. */
static void note_first(Gemm *g, int64_t all) {
    const Group *group = &g->groups[0];
    const Pointer *w = &group->pointers[1];
    for (size_t i = 0; i < g->k->n_params; i++)
        if (!strcmp(g->k->params[i].name, w->name))
            g->k->first = (FirstPanel){g->k->params[i].argument, all, group->panel * w->depth, g->n_groups > 1};
}

void gemm_print_main(Gemm *g) {
    Kernel *k = g->k;
    Arena *a = g->cx->arena;
    int64_t all = 0, first = 0;
    int tile = g->groups[0].tile.rows;
    Text rows = text_new(g->cx->arena);
    for (int i = 0; i < g->n_groups; i++) {
        all += g->groups[i].panels;
        tile = g->groups[i].tile.rows > tile ? g->groups[i].tile.rows : tile;
    }
    for (int i = 0; i < g->n_rows; i++)
        text_add(&rows, "%s%s", i ? " * " : "", kernel_factor(k, g->rows[i].size));
    bool cut = kernel_rows(k, g->rows, g->n_rows);
    const char *end = cut ? "to_row" : "rows", *from = cut ? "from_row + " : "";
    const char *counted = cut ? arena_print(a, "tiles = (to_row - from_row + %d) / %d", tile - 1, tile)
                              : arena_print(a, "rows = %s, tiles = (rows + %d) / %d", rows.length ? rows.data : "1", tile - 1, tile);
    int64_t work;
    const char *tasks = print_work(g, &work), *total = all == 1 ? "tiles" : arena_print(a, "%lld * tiles", (long long)(tasks ? work : all));
    const char *open = tasks ? arena_print(a, "%s(share", tasks) : "share", *close = tasks ? ", tiles)" : "";
    put_line(k, "const ptrdiff_t %s, last = %s(%s, thread + 1, threads)%s;", counted, open, total, close);
    put_open(k, "for (ptrdiff_t task = %s(%s, thread, threads)%s; task < last;)", open, total, close);
    if (all > 1 && !tasks && weights_stay(g))
        put_rows_together(g, all, tile, from, end);
    else if (all > 1)
        put_line(k, "const ptrdiff_t panel = task / tiles, row = %stask %% tiles * %d, end = lesser(%s, row + (last - task) * %d);", from, tile, end, tile);
    else
        put_line(k, "const ptrdiff_t row = %stask * %d, end = lesser(%s, %slast * %d);", from, tile, end, from, tile);
    put_line(k, "task += (end - row + %d) / %d;", tile - 1, tile);
    put_next(g, all);
    for (int i = 0; i < g->n_groups; first += g->groups[i++].panels)
        print_group_calls(g, &g->groups[i], first, all);
    put_close(k);
    note_first(g, all);
    kernel_threads(k);
}
