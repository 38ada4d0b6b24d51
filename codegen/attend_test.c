/* The test of a tile (ir/tile_class.h) as C: the ends of intervals as expressions, without needless parentheses. An end
 * that is read more than once has a name. */
#include "codegen/attend_inside.h"

typedef enum Level { /* how tightly the outermost operator binds */
    LEVEL_CHOICE, LEVEL_EITHER, LEVEL_BOTH, LEVEL_SAME, LEVEL_ORDER, LEVEL_COMPARED, LEVEL_SUMS, LEVEL_PRODUCTS,
    LEVEL_TIGHT
} Level;

typedef struct Shared { /* an end that is read more than once */
    const End *end;
    int uses;
    const char *name;
} Shared;

typedef struct TestPrinter {
    Attend *a;
    const TileTest *test;
    const AttendLeaf *leaves;
    Shared *shared;
    size_t count, capacity;
    Scope names;
} TestPrinter;

static Shared *find(TestPrinter *p, const End *e)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->shared[i].end == e)
            return &p->shared[i];
    return NULL;
}

static void count_uses(TestPrinter *p, const End *e)
{
    Shared *known = find(p, e);
    if (known) {
        known->uses++;
        return;
    }
    p->shared = arena_room(p->a->k->e->cx->arena, p->shared, p->count, &p->capacity, sizeof *p->shared);
    p->shared[p->count++] = (Shared){.end = e, .uses = 1};
    for (int i = 0; i < 3 && e->in[i]; i++)
        count_uses(p, e->in[i]);
}

static const char *end_text(TestPrinter *p, const End *e, Level at_least);

static const char *leaf_text(TestPrinter *p, const End *e, Level at_least)
{
    const AttendLeaf *l = &p->leaves[e->value];
    const char *text = e->high ? l->high : l->low;
    bool arithmetic = at_least > LEVEL_COMPARED; /* of two ints it could overflow */
    return l->narrow && arithmetic ? arena_print(p->a->k->e->cx->arena, "(ptrdiff_t)%s", text) : text;
}

static const char *call_text(TestPrinter *p, const char *function, const End *e)
{
    return arena_print(p->a->k->e->cx->arena, "%s(%s, %s)", function, end_text(p, e->in[0], LEVEL_CHOICE),
                       end_text(p, e->in[1], LEVEL_CHOICE));
}

/* The text of an operation, and how it binds. */
static const char *operation_text(TestPrinter *p, const End *e, Level *own)
{
    static const struct {
        const char *sign;
        Level own, left, right;
    } infix[] = {
        [END_ADD] = {"+", LEVEL_SUMS, LEVEL_SUMS, LEVEL_PRODUCTS},
        [END_SUB] = {"-", LEVEL_SUMS, LEVEL_SUMS, LEVEL_PRODUCTS},
        [END_MUL] = {"*", LEVEL_PRODUCTS, LEVEL_PRODUCTS, LEVEL_TIGHT},
        [END_DIV] = {"/", LEVEL_PRODUCTS, LEVEL_PRODUCTS, LEVEL_TIGHT},
        [END_MOD] = {"%", LEVEL_PRODUCTS, LEVEL_PRODUCTS, LEVEL_TIGHT},
        [END_LT] = {"<", LEVEL_ORDER, LEVEL_COMPARED, LEVEL_COMPARED},
        [END_LE] = {"<=", LEVEL_ORDER, LEVEL_COMPARED, LEVEL_COMPARED},
        [END_EQ] = {"==", LEVEL_SAME, LEVEL_COMPARED, LEVEL_COMPARED},
        [END_AND] = {"&&", LEVEL_BOTH, LEVEL_BOTH, LEVEL_BOTH},
        [END_OR] = {"||", LEVEL_EITHER, LEVEL_SAME, LEVEL_SAME},
    };
    Arena *arena = p->a->k->e->cx->arena;
    *own = LEVEL_TIGHT;
    switch (e->op) {
    case END_CONST: return arena_print(arena, e->value < 0 ? "(%lld)" : "%lld", (long long)e->value);
    case END_MIN: return call_text(p, "lesser", e);
    case END_MAX: return math_use(p->a->k->e, MATH_LARGER), call_text(p, "larger", e);
    case END_NOT: return arena_print(arena, "!%s", end_text(p, e->in[0], LEVEL_TIGHT));
    case END_IF:
        *own = LEVEL_CHOICE;
        return arena_print(arena, "%s ? %s : %s", end_text(p, e->in[0], LEVEL_EITHER),
                           end_text(p, e->in[1], LEVEL_EITHER), end_text(p, e->in[2], LEVEL_EITHER));
    default: break;
    }
    if ((e->op == END_DIV || e->op == END_MOD) && e->in[0]->least < 0)
        return call_text(p, e->op == END_DIV ? "floor_div_wide" : "floor_mod_wide", e);
    *own = infix[e->op].own;
    bool same = e->in[0]->op == e->op; /* a || b || c */
    return arena_print(arena, "%s %s %s", end_text(p, e->in[0], same ? *own : infix[e->op].left), infix[e->op].sign,
                       end_text(p, e->in[1], infix[e->op].right));
}

/* "s_low_div": a leaf that it reads, and what it does with it. */
static const char *shared_word(TestPrinter *p, const End *e)
{
    const End *leaf = e->op == END_IF ? e->in[1] : e;
    while (leaf->in[0])
        leaf = leaf->in[leaf->in[0]->op == END_CONST && leaf->in[1]];
    if (leaf->op != END_LEAF)
        return "part";
    const TileLeaf *l = &p->test->leaves[leaf->value];
    const char *member = p->leaves[leaf->value].member;
    const char *what = e->op == END_DIV ? "div" : e->op == END_IF || e->op == END_MOD ? "mod" : "part";
    return arena_print(p->a->k->e->cx->arena, "%s%s_%s", member ? member : "t",
                       e->op == END_EQ || l->side == SIDE_TASK ? "" : leaf->high ? "_high" : "_low",
                       e->op == END_EQ ? "same" : what);
}

static const char *end_text(TestPrinter *p, const End *e, Level at_least)
{
    Arena *arena = p->a->k->e->cx->arena;
    Shared *known = find(p, e);
    Level own;
    if (e->op == END_LEAF)
        return leaf_text(p, e, at_least);
    if (known->name)
        return known->name;
    const char *text = operation_text(p, e, &own);
    if (known->uses == 1 || e->op == END_CONST)
        return own < at_least ? arena_print(arena, "(%s)", text) : text;
    known->name = scope_name(&p->names, shared_word(p, e));
    bool truth = e->least >= 0 && e->most <= 1;
    put_line(p->a->k, "const %s %s = %s;", truth ? "int" : "ptrdiff_t", known->name, text);
    return known->name;
}

static bool always(const End *e, int64_t value)
{
    return e->op == END_CONST && e->value == value;
}

void attend_put_test(Attend *a, const TileTest *test, const AttendLeaf *leaves)
{
    Kernel *k = a->k;
    TestPrinter p = {.a = a, .test = test, .leaves = leaves, .names = scope_new(k->e->cx)};
    count_uses(&p, test->some);
    count_uses(&p, test->all);
    bool some = !always(test->some, 1), all = !always(test->all, 0);
    if (some)
        put_line(k, "const int some = %s;", end_text(&p, test->some, LEVEL_CHOICE));
    if (all)
        put_line(k, "const int all = %s;", end_text(&p, test->all, LEVEL_CHOICE));
    put_line(k, "return %s;", !all ? "some" : some ? "some ? 1 + all : 0" : "1 + all");
}
