/* Which panels of keys a tile of rows reads: the test of ir/tile_class.h as C.
 *
 *     struct rows   what the test knows of the tile's rows: the smallest and largest position, document ..
 *     struct ends   the same of a panel of keys, for what lies in memory; found once for a batch entry, and again for
 *                   the panels of a block together
 *     class         both -> 0: no pair passes, the panel is not touched; 2: every pair does, nothing is compared; 1
 *
 * Of a block's panels those that are not empty are taken. */
#include "codegen/attend_inside.h"

#include <string.h>

/* ---- what the test reads ---------------------------------------------------------------------------------------- */

static bool is_read(const TileLeaf *leaf)
{
    return leaf->low || leaf->high;
}

/* The positions of the outermost row axis follow from the tile's first row and their number. */
static bool is_outer(const Attend *a, const TileLeaf *leaf)
{
    return leaf->node->op == OP_iota && leaf->side == SIDE_ROWS && leaf->node->type->axis[0].name == a->row[0].name;
}

/* "start + position" of an iota. */
static const char *started(Attend *a, const Node *iota, const char *position)
{
    const Attr *start = node_attr(iota, ATTR_start);
    if (!start || (extent_is_const(start->extent) && start->extent.base == 0))
        return position;
    return arena_print(a->k->e->cx->arena, "(%s + %s)", kernel_size(a->k, start->extent), position);
}

static const char *word_of(Attend *a, const Node *n)
{
    Access x;
    if (n->op == OP_param && kernel_read(a->k, a->k->node->inputs[attr_int(n, ATTR_index, 0) + 2], &x))
        return x.name;
    if (n->op != OP_iota)
        return n->name ? n->name : "value";
    for (int i = 0; i < a->n_rows + a->n_batch; i++) {
        const AttendAxis *axis = i < a->n_rows ? &a->row[i] : &a->batch[i - a->n_rows];
        if (axis->name == n->type->axis[0].name)
            return axis->var;
    }
    return "t";
}

static bool always(const End *e, int64_t value)
{
    return e->op == END_CONST && e->value == value;
}

void attend_prepare_class(Attend *a)
{
    Arena *arena = a->k->e->cx->arena;
    a->test = tile_test(a->k->e->cx, a->k->node, &a->mask.tests);
    a->skips = a->mask.tests.count && !always(a->test.some, 1);
    a->leaves = arena_array(arena, a->test.n_leaves, sizeof *a->leaves);
    Scope members = scope_new(a->k->e->cx);
    for (size_t i = 0; i < a->test.n_leaves; i++) {
        const TileLeaf *leaf = &a->test.leaves[i];
        AttendLeaf *l = &a->leaves[i];
        bool keys = leaf->side == SIDE_KEYS, task = leaf->side == SIDE_TASK;
        if (!is_read(leaf))
            continue;
        if (keys && !leaf->data) {
            *l = (AttendLeaf){.low = started(a, leaf->node, "t_low"), .high = started(a, leaf->node, "t_high")};
            continue;
        }
        const char *word = word_of(a, leaf->node); /* with a suffix: not also a parameter of the kernel */
        l->member = scope_name(&members, task ? arena_print(arena, "%s_value", word) : word);
        l->low = arena_print(arena, keys ? "key->%s_low" : task ? "row->%s" : "row->%s_low", l->member);
        l->high = arena_print(arena, keys ? "key->%s_high" : task ? "row->%s" : "row->%s_high", l->member);
        l->narrow = keys;
        *(keys ? &a->key_leaves : &a->row_leaves) = true;
    }
}

/* ---- structs and functions before the kernel -------------------------------------------------------------------- */

static void emit_struct(Attend *a, const char *name, const char *comment, bool keys)
{
    Text *t = &a->k->before;
    text_add(t, "/* %s */\nstruct %s {\n", comment, name);
    for (size_t i = 0; i < a->test.n_leaves; i++) {
        const TileLeaf *leaf = &a->test.leaves[i];
        const char *member = a->leaves[i].member, *type = keys ? "int" : "ptrdiff_t";
        if (!member || keys != (leaf->side == SIDE_KEYS))
            continue;
        if (leaf->side == SIDE_TASK)
            text_add(t, "    %s %s;\n", type, member);
        else if (leaf->low && leaf->high)
            text_add(t, "    %s %s_low, %s_high;\n", type, member, member);
        else
            text_add(t, "    %s %s_%s;\n", type, member, leaf->low ? "low" : "high");
    }
    text_add(t, "};\n\n");
}

typedef struct KeyEnd { /* one member of `ends` */
    const TileLeaf *leaf;
    const char *name;
    bool high;
} KeyEnd;

static size_t key_ends(Attend *a, KeyEnd *out)
{
    size_t n = 0;
    for (size_t i = 0; i < a->test.n_leaves; i++)
        for (int high = 0; high < 2; high++) {
            const TileLeaf *leaf = &a->test.leaves[i];
            if (!a->leaves[i].member || leaf->side != SIDE_KEYS || !(high ? leaf->high : leaf->low))
                continue;
            out[n++] = (KeyEnd){leaf, (high ? a->leaves[i].high : a->leaves[i].low) + strlen("key->"), high != 0};
        }
    return n;
}

static const char *value_name(Attend *a, const KeyEnd *e)
{
    return arena_print(a->k->e->cx->arena, "%s_here", a->leaves[e->leaf - a->test.leaves].member);
}

/* One panel: vectors of least and greatest values so far. */
static void emit_panel_ends(Attend *a, const KeyEnd *ends, size_t n)
{
    Kernel *k = a->k;
    for (size_t i = 0; i < n; i++)
        put_line(k, "ints %s = splat_int(%s);", ends[i].name, ends[i].high ? "-0x7fffffff - 1" : "0x7fffffff");
    put_open(k, "for (ptrdiff_t t = t0; t < t0 + %d && t < keys; t += LANES)", KEY_PANEL);
    put_line(k, "const ints exists = count_from((int)t) < (int)keys;");
    BodyPrinter b = attend_printer(a);
    for (size_t i = 0; i < n; i++) {
        Operand o = operand_vector(k, attend_value(a, &b, ends[i].leaf->node));
        if (i == 0 || ends[i].leaf != ends[i - 1].leaf)
            put_line(k, o.dtype == DT_BOOL ? "const ints %s = %s & 1;" : "const ints %s = %s;", value_name(a, &ends[i]),
                     o.dtype == DT_BOOL ? operand_text(k->e->cx, o, BINDS_UNARY) : o.text);
        put_line(k, "%s = select_int(exists, %s(%s, %s), %s);", ends[i].name,
                 math_use(k->e, ends[i].high ? MATH_INT_MAX : MATH_INT_MIN), ends[i].name, value_name(a, &ends[i]),
                 ends[i].name);
    }
    put_close(k);
}

static const char *emit_find_ends(Attend *a)
{
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    KeyEnd *ends = arena_array(arena, 2 * a->test.n_leaves, sizeof *ends);
    size_t n = key_ends(a, ends);
    Text main = k->body;
    k->body = text_new(arena);
    k->indent = 1;
    put_line(k, "struct %s *wide = ends + (keys + %d) / %d;", a->ends_struct, KEY_PANEL - 1, KEY_PANEL);
    put_open(k, "for (ptrdiff_t t0 = 0; t0 < keys; t0 += %d)", KEY_PANEL);
    emit_panel_ends(a, ends, n);
    put_line(k, "struct %s *one = ends + t0 / %d, *many = wide + t0 / %d;", a->ends_struct, KEY_PANEL, a->block);
    for (size_t i = 0; i < n; i++)
        put_line(k, "one->%s = %s%s;", ends[i].name, ends[i].name, lane_of(k->e->target, "[0]"));
    bool several = n > 1;
    put_line(k, "for (ptrdiff_t i = 1; i < LANES; i++)%s", several ? " {" : "");
    k->indent++;
    for (size_t i = 0; i < n; i++)
        put_line(k, "one->%s = %s(one->%s, %s%s);", ends[i].name, ends[i].high ? "greater_int" : "lesser_int",
                 ends[i].name, ends[i].name, lane_of(k->e->target, "[i]"));
    k->indent--;
    if (several)
        put_line(k, "}");
    put_line(k, "if (t0 %% %d == 0)", a->block);
    put_inner(k, "*many = *one;");
    for (size_t i = 0; i < n; i++)
        put_line(k, "many->%s = %s(many->%s, one->%s);", ends[i].name, ends[i].high ? "greater_int" : "lesser_int",
                 ends[i].name, ends[i].name);
    put_close(k);
    const char *body = k->body.data;
    k->body = main;
    const char *own[] = {arena_print(arena, "struct %s *restrict ends", a->ends_struct), "ptrdiff_t keys"};
    return attend_function(a, arena_print(arena, "The ends of each panel of keys, and behind them those of %d panels together.",
                                       a->block / KEY_PANEL),
                           arena_print(arena, "static void %s", a->find_ends), own, 2, body);
}

/* Is there anything to ask? */
bool attend_has_class(const Attend *a)
{
    return a->mask.tests.count && (!always(a->test.some, 1) || !always(a->test.all, 0));
}

static const char *emit_class(Attend *a)
{
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    Text main = k->body;
    k->body = text_new(arena);
    k->indent = 1;
    attend_put_test(a, &a->test, a->leaves);
    const char *body = k->body.data;
    k->body = main;
    const char *own[4];
    size_t n = 0;
    a->class_reads_t = mentions(body, "t_low") || mentions(body, "t_high");
    if (a->class_reads_t) {
        own[n++] = "ptrdiff_t t_low";
        own[n++] = "ptrdiff_t t_high";
    }
    if (a->row_leaves)
        own[n++] = arena_print(arena, "const struct %s *row", a->rows_struct);
    if (a->key_leaves)
        own[n++] = arena_print(arena, "const struct %s *key", a->ends_struct);
    const char *comment = "Rows against keys: 0 if no pair passes the mask, 2 if every pair does, 1 if not known.";
    return attend_function(a, comment, arena_print(arena, "static inline int %s", a->class), own, n, body);
}

void attend_emit_class(Attend *a)
{
    if (!attend_has_class(a))
        return;
    if (a->row_leaves)
        emit_struct(a, a->rows_struct, "What the mask reads of a tile's rows: the smallest and the largest.", false);
    if (a->key_leaves) {
        emit_struct(a, a->ends_struct, "What the mask reads of a panel of keys: the smallest and the largest.", true);
        a->find_ends_rest = emit_find_ends(a);
    }
    a->class_rest = emit_class(a);
}

/* ---- in the kernel ---------------------------------------------------------------------------------------------- */

void attend_emit_ends_memory(Attend *a, const char *from)
{
    Kernel *k = a->k;
    if (!a->key_leaves)
        return;
    put_line(k, "struct %s *ends = (struct %s *)(%s); /* of each panel of keys */", a->ends_struct, a->ends_struct,
             from);
    KeyEnd *ends = arena_array(k->e->cx->arena, 2 * a->test.n_leaves, sizeof *ends);
    uint64_t bytes = 4 * key_ends(a, ends) * (uint64_t)(a->block / KEY_PANEL + 1);
    const Type *keys = k->node->inputs[1]->type;
    kernel_scratch_grows(k, keys->axis[type_find(keys, a->key_axis)].size, a->block, (bytes + 63) / 64 * 64);
}

/* Does the batch entry matter to the ends of keys? */
static bool reads_batch(const Attend *a, int i)
{
    return mentions(a->find_ends_rest, a->batch[i].var);
}

void attend_emit_ends_before(Attend *a)
{
    if (!a->key_leaves)
        return;
    bool any = false;
    if (a->skips)
        put_line(a->k, "const struct %s *wide = ends + (keys + %d) / %d; /* of %d panels together */", a->ends_struct,
                 KEY_PANEL - 1, KEY_PANEL, a->block / KEY_PANEL);
    for (int i = 0; i < a->n_batch; i++)
        if (reads_batch(a, i)) {
            put_line(a->k, "ptrdiff_t ends_%s = -1; /* whose `ends` those are */", a->batch[i].var);
            any = true;
        }
    if (!any)
        put_line(a->k, "%s(ends, keys%s);", a->find_ends, a->find_ends_rest);
}

void attend_emit_ends(Attend *a)
{
    Text changed = text_new(a->k->e->cx->arena);
    for (int i = 0; a->key_leaves && i < a->n_batch; i++)
        if (reads_batch(a, i))
            text_add(&changed, "%sends_%s != %s", changed.length ? " || " : "", a->batch[i].var, a->batch[i].var);
    if (!changed.length)
        return;
    put_open(a->k, "if (%s)", changed.data);
    put_line(a->k, "%s(ends, keys%s);", a->find_ends, a->find_ends_rest);
    for (int i = 0; i < a->n_batch; i++)
        if (reads_batch(a, i))
            put_line(a->k, "ends_%s = %s;", a->batch[i].var, a->batch[i].var);
    put_close(a->k);
}

/* A leaf of rows or of the task as one number. */
static const char *scalar_text(Attend *a, BodyPrinter *b, const Node *n)
{
    Operand o = body_value(b, n);
    return o.vector ? arena_print(a->k->e->cx->arena, "%s%s", operand_text(a->k->e->cx, o, BINDS_ALL), lane_of(a->k->e->target, "[0]")) : o.text;
}

/* What the tile's rows have in common, and where their ends begin. */
void attend_emit_rows_begin(Attend *a)
{
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    if (!a->row_leaves)
        return;
    Text inner = text_new(arena);
    for (int i = 1; i < a->n_rows; i++)
        text_add(&inner, " / %s", kernel_factor(k, a->row[i].size));
    BodyPrinter b = attend_printer(a);
    for (size_t i = 0; i < a->test.n_leaves; i++) {
        const TileLeaf *leaf = &a->test.leaves[i];
        const char *member = a->leaves[i].member, *last = inner.length ? "(first + count - 1)" : "first + count - 1";
        if (!member || leaf->side == SIDE_KEYS)
            continue;
        if (leaf->side == SIDE_TASK) {
            put_line(k, "tile->%s = %s;", member, scalar_text(a, &b, leaf->node));
            continue;
        }
        bool outer = is_outer(a, leaf);
        const char *low = outer ? started(a, leaf->node, arena_print(arena, "first%s", inner.data)) : "__PTRDIFF_MAX__";
        const char *high =
            outer ? started(a, leaf->node, arena_print(arena, "%s%s", last, inner.data)) : "-__PTRDIFF_MAX__";
        if (leaf->low)
            put_line(k, "tile->%s_low = %s;", member, low);
        if (leaf->high)
            put_line(k, "tile->%s_high = %s;", member, high);
    }
}

void attend_emit_row_ends(Attend *a, BodyPrinter *b)
{
    for (size_t i = 0; i < a->test.n_leaves; i++) {
        const TileLeaf *leaf = &a->test.leaves[i];
        const char *member = a->leaves[i].member;
        if (!member || leaf->side != SIDE_ROWS || is_outer(a, leaf))
            continue;
        const char *value = scalar_text(a, b, leaf->node);
        if (leaf->low)
            put_line(a->k, "tile->%s_low = lesser(tile->%s_low, %s);", member, member, value);
        if (leaf->high)
            put_line(a->k, "tile->%s_high = larger(tile->%s_high, %s);", member, member, value);
    }
}

static const char *class_call(Attend *a, const char *last, const char *ends)
{
    Text t = text_new(a->k->e->cx->arena);
    if (a->class_reads_t)
        text_add(&t, ", next, %s", last);
    if (a->row_leaves)
        text_add(&t, ", tile");
    if (a->key_leaves)
        text_add(&t, ", %s", ends);
    text_add(&t, "%s", a->class_rest);
    return arena_print(a->k->e->cx->arena, "%s(%s)", a->class, t.data + 2);
}

/* The tile's panels in the block from t0 on. */
void attend_emit_choice(Attend *a)
{
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    put_line(k, "ptrdiff_t place[%d]; /* where the panels begin that are read of this block */", a->block / KEY_PANEL);
    put_line(k, "unsigned cut = 0; /* those of them whose keys must be compared */");
    put_line(k, "int taken = 0;");
    put_line(k, "ptrdiff_t next = larger(low / %d * %d, t0);", KEY_PANEL, KEY_PANEL);
    if (!always(a->test.some, 1)) {
        const char *wide = arena_print(arena, "wide + next / %d", a->block);
        put_line(k, "if (next < high && !%s)", class_call(a, "high - 1", wide));
        put_inner(k, "next = high; /* none of them */");
    }
    put_open(k, "for (; next < high; next += %d)", KEY_PANEL);
    const char *beyond = arena_print(arena, "next < all_begin || next + %d > all_end", KEY_PANEL);
    if (attend_has_class(a)) {
        const char *last = arena_print(arena, "lesser(next + %d, high) - 1", KEY_PANEL);
        put_line(k, "const int class = %s;", class_call(a, last, arena_print(arena, "ends + next / %d", KEY_PANEL)));
        put_line(k, "if (!class)");
        put_inner(k, "continue;");
        put_line(k, "cut |= (unsigned)(class < 2 || %s) << taken;", beyond);
    } else {
        put_line(k, "cut |= 1u << taken;");
    }
    put_line(k, "place[taken++] = next;");
    put_close(k);
    put_line(k, "if (taken == 0 && begun && !last)");
    put_inner(k, "return;");
}
