/* Scores from one of two products (rotary positions that stop growing beyond a window): where(condition, s, s2).
 *
 *     pick     rows against some keys -> 2: the condition holds for every pair, 0: for none, 1: not known
 *     blend    one row's scores of both products -> those that the condition takes
 *
 * A tile computes the product that all its pairs take, and both only where the condition changes inside it. `pick` asks
 * the test of ir/tile_class.h; a condition on more than the positions of queries and keys is not known anywhere. */
#include "codegen/attend_inside.h"

/* ---- the body --------------------------------------------------------------------------------------------------- */

static int reads_of(const Graph *body, const Node *n)
{
    int reads = 0;
    for (const Node *r = body->first; r; r = r->next)
        for (int i = 0; i < r->n_inputs; i++)
            reads += r->inputs[i] == n;
    for (int i = 0; i < body->n_results; i++)
        reads += body->results[i].value == n;
    return reads;
}

/* where(condition, score, other) or where(condition, other, score), and no other reader of the two. */
static bool find_choice(Attend *a)
{
    const Graph *body = a->k->node->body;
    const Node *score = body->params[0], *other = body->params[body->n_params - 1];
    for (const Node *n = body->first; n; n = n->next) {
        bool turned = n->op == OP_where && n->inputs[1] == other && n->inputs[2] == score;
        if (!turned && (n->op != OP_where || n->inputs[1] != score || n->inputs[2] != other))
            continue;
        a->second.choice = n;
        a->second.first = (Condition){n->inputs[0], turned};
    }
    return a->second.choice && reads_of(body, score) == 1 && reads_of(body, other) == 1;
}

bool attend_read_second(Attend *a)
{
    Kernel *k = a->k;
    AttendSecond *s = &a->second;
    const Node *n = k->node;
    int64_t step;
    if (!attr_bool(n, ATTR_second, false))
        return true;
    if (!find_choice(a)) {
        emit_fail(k->e, n, "its body does not take one of two products");
        return false;
    }
    if (!kernel_read(k, n->inputs[n->n_inputs - 2], &s->q) || !kernel_read(k, n->inputs[n->n_inputs - 1], &s->keys))
        return false;
    s->key_rows = !s->keys.panels;
    const AccessAxis *heads = access_axis(&s->keys, a->head_axis);
    bool rows = heads && (a->head == 1 || (stride_is_const(heads->stride, &step) && step == 1));
    bool panels = s->keys.panels && s->keys.axis[s->keys.keys].name == a->key_axis &&
                  s->keys.axis[s->keys.head].name == a->head_axis;
    if (s->q.dtype != DT_F32 || s->keys.dtype != DT_F32 || (s->key_rows ? !rows : !panels))
        emit_fail(k->e, n, "the keys of its second product are neither panels nor rows of f32");
    return !k->e->failed;
}

/* ---- functions before the kernel -------------------------------------------------------------------------------- */

/* "start + position" of an iota. */
static const char *started(Attend *a, const Node *iota, const char *position)
{
    const Attr *start = node_attr(iota, ATTR_start);
    if (!start || (extent_is_const(start->extent) && start->extent.base == 0))
        return position;
    return arena_print(a->k->e->cx->arena, "(%s + %s)", kernel_size(a->k, start->extent), position);
}

/* The ends of what the test reads, if that is positions of keys and of the outermost axis of the rows. */
static bool name_leaves(Attend *a, const TileTest *test, AttendLeaf *leaves)
{
    for (size_t i = 0; i < test->n_leaves; i++) {
        const TileLeaf *leaf = &test->leaves[i];
        const Node *n = leaf->node;
        bool keys = leaf->side == SIDE_KEYS, position = n->op == OP_iota && !leaf->data;
        bool outer = leaf->side == SIDE_ROWS && position && n->type->axis[0].name == a->row[0].name;
        if (!leaf->low && !leaf->high)
            continue;
        if (!position || (!keys && !outer))
            return false;
        leaves[i].low = started(a, n, keys ? "t_low" : "row_low");
        leaves[i].high = started(a, n, keys ? "t_high" : "row_high");
    }
    return true;
}

static bool is_always(const End *e, int64_t value)
{
    return e->op == END_CONST && e->value == value;
}

static void emit_pick(Attend *a)
{
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    AttendSecond *s = &a->second;
    Conditions one = {0};
    condition_add(k->e->cx, &one, s->first);
    TileTest test = tile_test(k->e->cx, k->node, &one);
    AttendLeaf *leaves = arena_array(arena, test.n_leaves + 1, sizeof *leaves);
    s->knows = (!is_always(test.some, 1) || !is_always(test.all, 0)) && name_leaves(a, &test, leaves);
    if (!s->knows)
        return;
    Text main = body_begin(k);
    k->indent = 1;
    attend_put_test(a, &test, leaves);
    const char *body = body_end(k, main), *own[4];
    size_t n = 0;
    s->pick_reads_t = mentions(body, "t_low") || mentions(body, "t_high");
    s->pick_reads_rows = mentions(body, "row_low") || mentions(body, "row_high");
    if (s->pick_reads_t) {
        own[n++] = "ptrdiff_t t_low";
        own[n++] = "ptrdiff_t t_high";
    }
    if (s->pick_reads_rows) {
        own[n++] = "ptrdiff_t row_low";
        own[n++] = "ptrdiff_t row_high";
    }
    const char *comment = "Rows against keys: 2 if every pair takes the first product, 0 if none does, 1 if not known.";
    s->pick_rest = attend_function(a, comment, arena_print(arena, "static inline int %s", s->pick), own, n, body);
}

static void emit_blend(Attend *a)
{
    Kernel *k = a->k;
    Context *cx = k->e->cx;
    AttendSecond *s = &a->second;
    Text main = body_begin(k);
    k->indent = 1;
    put_open(k, "for (ptrdiff_t t = t0; t < t1; t += LANES)");
    put_line(k, "lanes *at = (lanes *)(score + (t - t0));");
    BodyPrinter b = attend_printer(a);
    Operand o = operand_vector(k, attend_value(a, &b, s->first.node));
    put_line(k, "*at = select(%s%s, *at, *(const lanes *)(other + (t - t0)));", s->first.negated ? mask_not(k->e->target) : "",
             s->first.negated ? operand_text(cx, o, BINDS_UNARY) : o.text);
    put_close(k);
    static const char *const own[] = {"float *restrict score", "const float *restrict other", "ptrdiff_t t0",
                                      "ptrdiff_t t1"};
    const char *body = body_end(k, main);
    s->blend_rest = attend_function(a, "One row: the second product's scores where the first's are not taken.",
                                    arena_print(cx->arena, "static void %s", s->blend), own, 4, body);
}

void attend_emit_second(Attend *a)
{
    if (!a->second.choice)
        return;
    emit_pick(a);
    emit_blend(a);
}

/* ---- in the kernel ---------------------------------------------------------------------------------------------- */

void attend_emit_second_rows(Attend *a)
{
    Kernel *k = a->k;
    if (!a->second.knows || !a->second.pick_reads_rows)
        return;
    Text inner = text_new(k->e->cx->arena);
    for (int i = 1; i < a->n_rows; i++)
        text_add(&inner, " / %s", kernel_factor(k, a->row[i].size));
    put_line(k, a->n_rows > 1 ? "const ptrdiff_t row_low = first%s, row_high = (first + count - 1)%s;"
                              : "const ptrdiff_t row_low = first%s, row_high = first + count - 1%s;",
             inner.length ? inner.data : "", inner.length ? inner.data : "");
}

static void put_near(Attend *a, const char *t, const char *n)
{
    AttendSecond *s = &a->second;
    Arena *arena = a->k->e->cx->arena;
    Text arguments = text_new(arena);
    if (s->knows && s->pick_reads_t)
        text_add(&arguments, ", %s, lesser(%s + %s, keys) - 1", t, t, n);
    if (s->knows && s->pick_reads_rows)
        text_add(&arguments, ", row_low, row_high");
    if (!s->knows)
        put_line(a->k, "const int near = 1; /* which product is taken is not known for a whole tile */");
    else
        put_line(a->k, "const int near = %s(%s%s);", s->pick, arguments.length ? arguments.data + 2 : "", s->pick_rest);
}

/* A call of one product: `second` or the first, for a tile or for one row. */
static void put_product(Attend *a, bool second, bool one_row, const char *t, const char *n, const char *place,
                        const char *to)
{
    Kernel *k = a->k;
    Arena *arena = k->e->cx->arena;
    const char *function = !one_row ? a->scores : second ? a->second.scores_row : a->scores_row;
    const char *query = second ? "query2" : "query", *row = "";
    if (one_row)
        row = arena_print(arena, " + row * %lld", (long long)a->head);
    const char *keys = second ? "keys2" : "panels", *step = second ? "step2" : "panel_step";
    if (!one_row)
        put_inner(k, "%s(%s, %s, count, %s, %s);", function, query, attend_panel(a, second, t), n, to);
    else if (second ? a->second.key_rows : a->key_rows)
        put_inner(k, "%s(%s%s, %s + %s * %s, %s, lesser(keys - %s, %s), %s);", function, query, row,
                  second ? "keys2" : "key_rows", t, second ? "step2" : "key_step", second ? "step2" : "key_step", t, n,
                  to);
    else if (place)
        put_inner(k, "%s(%s%s, %s, %s, %s, 1, %s);", function, query, row, keys, step, place, to);
    else
        put_inner(k, "%s(%s%s, %s + %s / %d * %s, %s, (%s + %d) / %d, %s);", function, query, row, keys, t, KEY_PANEL, step,
                  step, n, KEY_PANEL - 1, KEY_PANEL, to);
}

void attend_emit_second_tile(Attend *a, const char *t, const char *keys, const char *to)
{
    Kernel *k = a->k;
    AttendSecond *s = &a->second;
    const char *n = arena_print(k->e->cx->arena, "%d", KEY_PANEL);
    put_near(a, t, n);
    put_line(k, "if (near)");
    put_product(a, false, false, t, keys, NULL, to);
    put_line(k, "if (near < 2)");
    put_product(a, true, false, t, keys, NULL, arena_print(k->e->cx->arena, "near ? other : %s", to));
    put_open(k, "for (ptrdiff_t row = 0; near == 1 && row < count; row++)");
    attend_row_indices(a, s->blend_rest);
    put_line(k, "%s(%s + row * %d, other + row * %d, %s, %s + %d%s);", s->blend, to, a->score_step, a->score_step, t, t,
             KEY_PANEL, s->blend_rest);
    put_close(k);
}

void attend_emit_second_row(Attend *a, const char *t, const char *n, const char *place, const char *to)
{
    Kernel *k = a->k;
    AttendSecond *s = &a->second;
    put_near(a, t, n);
    put_line(k, "if (near)");
    put_product(a, false, true, t, n, place, to);
    put_line(k, "if (near < 2)");
    put_product(a, true, true, t, n, place, arena_print(k->e->cx->arena, "near ? other : %s", to));
    put_open(k, "if (near == 1)");
    attend_row_indices(a, s->blend_rest);
    put_line(k, "%s(%s, other, %s, %s + %s%s);", s->blend, to, t, t, n, s->blend_rest);
    put_close(k);
}
