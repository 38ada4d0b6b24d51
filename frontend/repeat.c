/* repeat i < L at "layers.{i}" { ... }: one node with a body that runs L times. repeat i in a..b runs b - a times; the
 * node counts from 0, and i is its index plus a.
 *
 * A tensor from outside that the body assigns is carried: each round starts with what the last one left, and its
 * type stays the same. A number enters as a tensor without axes. Names first assigned inside live inside only. */
#include "bind.h"

#include <string.h>

typedef struct Carried {
    const char *name;
    Span at;
    Node *first, *inside;
} Carried;
typedef struct CarriedList {
    Carried *items;
    int n;
    size_t room;
} CarriedList;

static void carry(Bind *b, Scope *s, const Ident *name, CarriedList *list)
{
    Var *v = scope_find(s, name->text);
    if (!v || v->fixed)
        return;
    for (int i = 0; i < list->n; i++)
        if (list->items[i].name == name->text)
            return;
    list->items = arena_room(b->cx->arena, list->items, (size_t)list->n, &list->room, sizeof *list->items);
    list->items[list->n++] = (Carried){.name = name->text, .at = v->at};
}

/* The outer names that the body assigns, however deep inside it. */
static void find_carried(Bind *b, Scope *s, const Body *body, CarriedList *list)
{
    for (int i = 0; body && i < body->n; i++) {
        const Stmt *st = body->items[i];
        for (int k = 0; st->kind == STMT_ASSIGN && k < st->n_targets; k++)
            carry(b, s, &st->targets[k].name, list);
        find_carried(b, s, st->body, list);
        find_carried(b, s, st->otherwise, list);
    }
}

/* The values on entry; false if one is poison or no tensor. */
static bool first_values(Bind *b, Scope *s, const Stmt *st, CarriedList *list)
{
    for (int i = 0; i < list->n; i++) {
        Carried *c = &list->items[i];
        Var *v = scope_find(s, c->name);
        if (v->term.kind == TERM_POISON)
            return false;
        TermKind kind = v->term.kind;
        bool number = kind == TERM_SIZE || kind == TERM_FLOAT || kind == TERM_BOOL;
        if (kind != TERM_TENSOR && kind != TERM_RANGE && !number) {
            Diag *d = bind_error(b, "E0208", st->at, "`%s` cannot change from round to round: it is %s", c->name,
                                 term_print(b, &v->term));
            diag_label(d, v->at, "`%s` is not a tensor", c->name);
            return false;
        }
        c->first = tensor_of(b, &v->term, kind == TERM_SIZE ? DT_I32 : DT_F32, "a carried value");
    }
    return true;
}

static bool read_number(Bind *b, Scope *s, const Expr *e, bool count, int64_t *out)
{
    Term t = eval(b, s, e);
    if (t.kind == TERM_ABSENT)
        config_refuse_absent(b, &t, e->at);
    if (t.kind == TERM_POISON || t.kind == TERM_ABSENT)
        return false;
    if (term_is_int(&t, out) && *out >= 0)
        return true;
    Diag *d = bind_error(b, "E0207", e->at,
                         count ? "a loop runs a number of times that is known at compile time, not %s times"
                               : "a loop begins and ends at whole numbers known at compile time, not at %s",
                         term_print(b, &t));
    diag_origin(b, d, &t);
    return false;
}

/* i < count, or i in first..first + count. */
static bool read_rounds(Bind *b, Scope *s, const Stmt *st, int64_t *first, int64_t *count)
{
    const Expr *e = st->values[0];
    int64_t end;
    *first = 0;
    if (e->kind == EXPR_ERROR)
        return false;
    if (!st->range)
        return read_number(b, s, e, true, count);
    if (!read_number(b, s, e->left, false, first) || !read_number(b, s, e->right, false, &end))
        return false;
    *count = end - *first;
    if (*count >= 0 && end <= INT32_MAX)
        return true;
    bind_error(b, "E0207", e->at, *count < 0 ? "the loop ends at %lld before it begins at %lld"
                                             : "the loop ends at %lld: its rounds cannot be counted",
               (long long)end, (long long)*first);
    return false;
}

static Graph *open_body(Bind *b, Node *loop, const Stmt *st, int64_t first, CarriedList *list, Scope *inside)
{
    Graph *body = graph_body(b->cx, loop, LEVEL_GRAPH);
    b->graph = body;
    b->hint = st->index.text;
    b->layer = emit(b, OP_index, type_new(b->cx, DT_I32, 0, NULL), 0, NULL);
    graph_add_param(b->cx, body, b->layer);
    for (int i = 0; i < list->n; i++) {
        Carried *c = &list->items[i];
        b->hint = c->name;
        c->inside = emit(b, OP_carry, c->first->type, 0, NULL);
        attr_set_int(b->cx, c->inside, ATTR_index, i);
        graph_add_param(b->cx, body, c->inside);
        scope_set(b, inside, c->name, term_tensor(c->inside), c->at);
    }
    b->hint = st->index.text;
    Node *index = b->layer;
    if (first)
        index = make_map(b, OP_add, 2, (Node *[]){index, make_number(b, (double)first, DT_I32)});
    scope_set(b, inside, st->index.text, term_tensor(index), st->index.at);
    ((Var *)map_get(&inside->vars, st->index.text))->fixed = true;
    return body;
}

static bool close_body(Bind *b, Graph *body, CarriedList *list, Scope *inside)
{
    bool good = true;
    for (int i = 0; i < list->n; i++) {
        Carried *c = &list->items[i];
        Var *v = map_get(&inside->vars, c->name);
        Node *last = tensor_of(b, &v->term, c->first->type->dtype, "a carried value");
        if (!last) {
            good = false;
            continue;
        }
        if (!type_equal(last->type, c->first->type)) {
            Diag *d = bind_error(b, "E0208", v->at, "`%s` changes type inside `repeat`", c->name);
            diag_caret(d, "and leaves one round as %s", type_text(b, last->type));
            diag_label(d, c->at, "`%s` enters the loop as %s", c->name, type_text(b, c->first->type));
            diag_help(d, "a loop-carried value keeps its type; name the inner result differently");
            good = false;
            continue;
        }
        graph_add_result(b->cx, body, c->name, last, v->at);
    }
    return good;
}

/* Names that were first assigned inside are known to have lived there. */
static void end_names(Bind *b, Scope *s, const Stmt *st, const Scope *inside)
{
    for (size_t i = 0; i < inside->vars.count; i++) {
        const char *name = inside->vars.entries[i].key;
        if (scope_find(s, name))
            continue;
        Span *at = bind_new(b, sizeof *at);
        *at = (Span){st->at.source, st->at.begin, st->body->at.begin};
        map_set(&s->ended, name, at);
    }
}

static void leave(Bind *b, Scope *s, const Stmt *st, const CarriedList *list, Scope *inside, Node *loop, bool good)
{
    for (int i = 0; i < list->n; i++) {
        const Carried *c = &list->items[i];
        b->hint = c->name;
        Node *value = !good || list->n == 1 ? loop : emit(b, OP_get, c->first->type, 1, &loop);
        if (good && list->n > 1)
            attr_set_int(b->cx, value, ATTR_index, i);
        scope_set(b, s, c->name, good ? term_tensor(value) : term_poison(), c->at);
    }
    end_names(b, s, st, inside);
}

/* What a loop around the text at hand changes. */
typedef struct Outside {
    Graph *graph;
    const char *path, *hint, *index;
    Node *layer;
    int64_t rounds, first, count;
    bool unrolled;
    Span loop;
} Outside;

static Outside enter(Bind *b, const Stmt *st, int64_t first, int64_t count)
{
    Outside o = {b->graph, b->path, b->hint, b->index, b->layer, b->rounds, b->first, b->count, b->unrolled, b->loop};
    b->unrolled = false;
    b->index = st->index.text;
    b->loop = (Span){st->at.source, st->at.begin, st->body->at.begin};
    if (__builtin_mul_overflow(b->rounds, count, &b->rounds))
        b->rounds = INT32_MAX;
    if (b->rounds > INT32_MAX)
        b->rounds = INT32_MAX;
    b->first = first;
    b->count = count;
    b->nesting++;
    return o;
}

static void restore(Bind *b, const Outside *o)
{
    b->graph = o->graph;
    b->path = o->path;
    b->hint = o->hint;
    b->index = o->index;
    b->layer = o->layer;
    b->rounds = o->rounds;
    b->first = o->first;
    b->count = o->count;
    b->unrolled = o->unrolled;
    b->nesting--;
    b->loop = o->loop;
}

bool round_bounds(const Node *n, int64_t *low, int64_t *high)
{
    if (n->op == OP_index) {
        *low = 0;
        *high = attr_int(n->graph->owner, ATTR_count, 1) - 1;
        return true;
    }
    if (n->op == OP_const && n->type->dtype == DT_I32) {
        *low = *high = (int64_t)attr_float(n, ATTR_value, 0);
        return true;
    }
    int64_t a, c, d, e;
    if ((n->op != OP_add && n->op != OP_sub && n->op != OP_mul) || n->type->dtype != DT_I32 || n->type->rank ||
        !round_bounds(n->inputs[0], &a, &c) || !round_bounds(n->inputs[1], &d, &e))
        return false;
    if (n->op == OP_mul && (a < 0 || d < 0))
        return false;
    *low = n->op == OP_add ? a + d : n->op == OP_sub ? a - e : a * d;
    *high = n->op == OP_add ? c + e : n->op == OP_sub ? c - d : c * e;
    return c <= INT32_MAX && e <= INT32_MAX;
}

static void poison_carried(Bind *b, Scope *s, const CarriedList *list)
{
    for (int i = 0; i < list->n; i++)
        scope_set(b, s, list->items[i].name, term_poison(), list->items[i].at);
}

static bool keeps_entries(const Graph *body)
{
    for (const Node *n = body->first; n; n = n->next)
        if (n->op == OP_append || (n->body && keeps_entries(n->body)))
            return true;
    return false;
}

/* The body of a loop that assigns no name from before it, and keeps nothing in a cache, has no effect. */
static void refuse_idle(Bind *b, Scope *s, const Scope *inside)
{
    Diag *d = bind_error(b, "E0206", b->loop, "this `repeat` hands nothing on");
    diag_caret(d, "no name from before the loop is assigned in it");
    for (size_t i = inside->vars.count; i-- > 0;) {
        const Var *v = inside->vars.entries[i].value;
        for (const Scope *around = s; around && v->term.kind == TERM_TENSOR; around = around->parent)
            for (size_t k = around->vars.count; k-- > 0;) {
                const Var *outer = around->vars.entries[k].value;
                if (outer->term.kind != TERM_TENSOR || !type_equal(outer->term.node->type, v->term.node->type))
                    continue;
                diag_label(d, v->at, "`%s` ends with each round", inside->vars.entries[i].key);
                diag_help(d, "did you mean `%s = ...`, so that each round hands it to the next?",
                          around->vars.entries[k].key);
                return;
            }
    }
}

/* @unroll: the body once for each round, with an index known at compile time; rounds may differ. */
static void unroll(Bind *b, Scope *s, const Stmt *st, int64_t first, int64_t count, const CarriedList *list)
{
    const char *outer_path = b->path, *outer_index = b->index;
    int64_t outer_first = b->first;
    bool outer = b->unrolled;
    if (!spend(b, count, st->at))
        return;
    for (int64_t i = first; i < first + count && !b->exhausted; i++) {
        Scope *inside = scope_open(b, s);
        inside->repeat = true;
        scope_fix(b, inside, st->index, term_int(i));
        b->index = st->index.text;
        b->first = i;
        b->unrolled = true;
        const char *path = st->path ? path_join(b, st->path, st->path_at, NULL) : b->path;
        b->path = path ? path : b->path;
        if (path)
            statement_body(b, inside, st->body);
        b->path = outer_path;
        b->index = outer_index;
        b->first = outer_first;
        b->unrolled = outer;
        for (int k = 0; k < list->n; k++) {
            const Var *v = map_get(&inside->vars, list->items[k].name);
            if (v || !path)
                scope_set(b, s, list->items[k].name, path ? v->term : term_poison(), path ? v->at : st->path_at);
        }
        end_names(b, s, st, inside);
        if (!path)
            return;
    }
}

void statement_repeat(Bind *b, Scope *s, const Stmt *st, bool unrolled)
{
    CarriedList list = {0};
    int64_t first, count;
    if (!read_rounds(b, s, st, &first, &count)) {
        find_carried(b, s, st->body, &list);
        poison_carried(b, s, &list);
        return;
    }
    if (count == 0)
        return;
    find_carried(b, s, st->body, &list);
    if (unrolled) {
        unroll(b, s, st, first, count, &list);
        return;
    }
    if (!first_values(b, s, st, &list)) {
        poison_carried(b, s, &list);
        return;
    }
    Node **inputs = arena_array(b->cx->arena, (size_t)list.n + 1, sizeof(Node *));
    for (int i = 0; i < list.n; i++)
        inputs[i] = list.items[i].first;
    if (list.n == 1)
        b->hint = list.items[0].name;
    Node *loop = emit(b, OP_repeat, list.n == 1 ? inputs[0]->type : NULL, list.n, inputs);
    attr_set_int(b->cx, loop, ATTR_count, count);
    Outside outside = enter(b, st, first, count);
    Scope *inside = scope_open(b, s);
    inside->repeat = true;
    Graph *body = open_body(b, loop, st, first, &list, inside);
    const char *path = st->path ? path_join(b, st->path, st->path_at, NULL) : b->path;
    if (path) {
        b->path = path;
        loop->scope = path;
        statement_body(b, inside, st->body);
    }
    if (path && !list.n && !b->exhausted && b->cx->diags->errors == b->errors_before && !keeps_entries(body))
        refuse_idle(b, s, inside);
    bool good = path && close_body(b, body, &list, inside);
    restore(b, &outside);
    leave(b, s, st, &list, inside, loop, good);
}
