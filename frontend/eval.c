/* Expressions. Left spines (a + b + c + ..., x |> f() |> ...) are walked with a loop, so their length does not
 * matter; true nesting is bounded by the parser within one expression and by BUDGET_DEPTH over all calls. */
#include "bind.h"

#include <math.h>
#include <string.h>

static Term eval_name(Bind *b, Scope *s, const Expr *e)
{
    Var *v = scope_find(s, e->text);
    if (v) {
        v->used = true;
        return v->term;
    }
    for (Scope *around = s; around; around = around->parent)
        if (around->config)
            return config_key(b, around->config, e->text);
    if ((v = scope_find(b->library_globals, e->text)))
        return v->term;
    return refuse_unknown_name(b, s, e, e);
}

static Term eval_number(const Expr *e)
{
    return e->is_float ? term_float(e->number) : term_int(e->integer);
}

/* (H, K): axes if all are sizes; a parenthesised list of anything else is a list. */
static Term eval_items(Bind *b, Scope *s, const Expr *e)
{
    Term *items = arena_array(b->cx->arena, (size_t)e->n_items + 1, sizeof *items);
    bool sizes = e->kind == EXPR_TUPLE, poison = false;
    for (int i = 0; i < e->n_items; i++) {
        items[i] = eval(b, s, e->items[i]);
        poison = poison || items[i].kind == TERM_POISON;
        sizes = sizes && (items[i].kind == TERM_SIZE || items[i].kind == TERM_AXES);
    }
    if (poison)
        return term_poison();
    Term list = {.kind = TERM_LIST, .items = items, .n_items = e->n_items};
    if (!sizes) {
        for (int i = 0; i < e->n_items; i++) /* N+E keeps its spelling as the axis's name */
            if (items[i].kind == TERM_SIZE && !items[i].dim)
                items[i] = term_dim(dim_anonymous(b, items[i].size, e->items[i]));
        return list;
    }
    Term axes = {.kind = TERM_AXES};
    Expr as_list = *e;
    as_list.kind = EXPR_LIST;
    return dims_of(b, &list, &as_list, &axes.dims, &axes.n_dims) ? axes : term_poison();
}

static Term eval_if(Bind *b, Scope *s, const Expr *e)
{
    bool condition;
    if (!eval_flag(b, s, e->items[0], "the condition of `if`", &condition))
        return term_poison();
    return eval(b, s, e->items[condition ? 1 : 2]);
}

/* Does the name mean something here? In a config declaration every name is a key. */
static bool is_known(Bind *b, Scope *s, const Expr *e)
{
    for (const Scope *around = s; around; around = around->parent)
        if (around->config)
            return true;
    return scope_find(s, e->text) || scope_find(b->library_globals, e->text);
}

static Term eval_field(Bind *b, Scope *s, const Expr *e)
{
    const Expr *first = e->left;
    while (first->kind == EXPR_FIELD)
        first = first->left;
    if (first->kind == EXPR_NAME && !is_known(b, s, first))
        return refuse_unknown_name(b, s, first, e);
    Term t = eval(b, s, e->left);
    if (t.kind == TERM_POISON)
        return t;
    if (t.kind == TERM_ABSENT) {
        t.key = bind_print(b, "%s.%s", t.key, e->text);
        t.null = false;
        return t;
    }
    if (t.kind == TERM_JSON && json_is_object(t.json)) {
        const char *path = bind_print(b, "%s.%s", t.origin ? t.origin->key : "?", e->text);
        return config_value(b, t.origin ? t.origin->file : NULL, path, json_object_get(t.json, e->text));
    }
    Diag *d = bind_error(b, "E0201", e->left->at, "%s has no field `%s`", term_print(b, &t), e->text);
    if (t.kind == TERM_CACHE)
        diag_help(d, "a cache is used as `%s.next(S)` and `%s[i].append(...)`", t.cache->decl->name.text,
                  t.cache->decl->name.text);
    if (t.kind == TERM_TENSOR && t.node->type->rank && !strcmp(e->text, "shape"))
        diag_help(d, "the size of an axis is its name: `%s`", t.node->type->axis[t.node->type->rank - 1].name);
    else if (t.kind == TERM_TENSOR)
        diag_help(d, "operators are called as `%s(x, ...)` or `x |> %s(...)`", e->text, e->text);
    diag_origin(b, d, &t);
    return term_poison();
}

/* ---- a[b, i]: positions ----------------------------------------------------------------------------------------- */

/* A round of a loop that looks up what is not there. */
static bool rounds_fit(Bind *b, const Type *t, const Node *ids, int axis, Span at)
{
    int64_t low, high, size = t->axis[axis].size.base;
    if (!extent_is_const(t->axis[axis].size) || ids->type->rank || !round_bounds(ids, &low, &high) ||
        (low >= 0 && high < size))
        return true;
    bind_error(b, "E0310", at, "the rounds of the loop look up %lld..%lld, but there %s %lld", (long long)low,
               (long long)high + 1, size == 1 ? "is" : "are", (long long)size);
    return false;
}

/* A list of equal numbers: whichever is looked up, it is this one. */
static bool one_number(const Node *x, double *value)
{
    const Node *table = x->op == OP_cast ? x->inputs[0] : x;
    const Attr *numbers = node_attr(table, ATTR_table);
    if (table->op != OP_table || table->type->rank != 1 || numbers->floats.count == 0)
        return false;
    *value = numbers->floats.items[0];
    for (int i = 1; i < numbers->floats.count; i++)
        if (numbers->floats.items[i] != *value)
            return false;
    return true;
}

/* Adds the positions in `rows` of those axes of t, from number `from` to `to`, that are not in the order yet. */
static int put_order(int *order, int n, const Type *rows, const Type *t, int from, int to)
{
    for (int i = from; i < to; i++) {
        int at = type_find(rows, t->axis[i].name), k = 0;
        while (k < n && order[k] != at)
            k++;
        if (k == n)
            order[n++] = at;
    }
    return n;
}

/* Rows of one axis, which the axes of the row numbers replace where it stood. An axis of both, such as a batch, stays
 * where the tensor has it before, and where the row numbers have it behind. */
static Node *look_up(Bind *b, Node *x, Node *ids, int axis)
{
    double value;
    if (ids->type->rank == 0 && one_number(x, &value))
        return make_number(b, value, x->type->dtype);
    if (x->op == OP_cast && x->inputs[0]->op == OP_table) {
        Node *row = look_up(b, x->inputs[0], ids, axis); /* the numbers of the row alone are cast */
        return row ? make_cast(b, row, x->type->dtype) : NULL;
    }
    Node *rows = make_gather(b, x, ids, axis);
    if (!rows || axis == 0)
        return rows;
    int order[MAX_RANK], n = put_order(order, 0, rows->type, x->type, 0, axis);
    n = put_order(order, n, rows->type, ids->type, 0, ids->type->rank);
    put_order(order, n, rows->type, x->type, axis + 1, x->type->rank);
    return make_transpose(b, rows, order);
}

static bool counts_past(const Bind *b, Extent e)
{
    for (int i = 0; i < e.n; i++)
        if (e.symbol[i] == b->past)
            return true;
    return false;
}

/* No position of the model reaches beyond what its caches hold. */
static int64_t last_position(const Bind *b, Extent end)
{
    int64_t most = extent_high(end), held = 0;
    for (int i = 0; i < b->model->n_caches; i++) {
        const Cache *c = &b->model->caches[i];
        int64_t size = c->type->axis[c->growing].size.base;
        held = size > held ? size : held;
    }
    return counts_past(b, end) && held && held < most ? held : most;
}

/* Does the axis have all positions of the range, whatever the run-time sizes are? */
static bool has_positions(Bind *b, const Node *x, int axis, const Term *t, Span at)
{
    Extent size = x->type->axis[axis].size, end = extent_const(0), spare;
    bool known = extent_add(t->range.start, t->range.length, &end), begins = extent_low(t->range.start) >= 0;
    if (known && begins && ((extent_sub(size, end, &spare) && extent_low(spare) >= 0) || extent_low(size) >= last_position(b, end)))
        return true;
    Text first = text_new(b->cx->arena), last = text_new(b->cx->arena);
    extent_print(t->range.start, &first);
    extent_print(known ? end : t->range.length, &last);
    Diag *d = bind_error(b, "E0310", at, "the axis `%s` of %s need not have the positions %s..%s", x->type->axis[axis].name,
                         type_text(b, x->type), first.data, last.data);
    if (!begins)
        diag_help(d, "`gather` with these positions looks them up one by one, and finds out at run time");
    else if (counts_past(b, end))
        diag_help(d, "with a cache positions count from its start: the tensor must be as long as the cache can grow");
    return false;
}

/* One position index: a range keeps (a part of) the axis under the range's name, a whole number drops it, a
 * tensor looks up rows. */
Node *index_axis(Bind *b, Node *x, int axis, const Term *t, Span at)
{
    int64_t whole;
    if (t->kind == TERM_RANGE && !has_positions(b, x, axis, t, at))
        return NULL;
    if (t->kind == TERM_RANGE) {
        const char *name = t->range.along ? t->range.along->axis : dim_anonymous(b, t->range.length, NULL)->axis;
        if (type_find(x->type, name) >= 0 && x->type->axis[axis].name != name) {
            bind_error(b, "E0307", at, "the result would have the axis `%s` twice", name);
            return NULL;
        }
        return make_slice(b, x, axis, name, t->range.start, t->range.length);
    }
    if (term_is_int(t, &whole) && extent_is_const(x->type->axis[axis].size) &&
        (whole < 0 || whole >= x->type->axis[axis].size.base)) {
        bind_error(b, "E0310", at, "position %lld is outside the axis `%s` of %lld", (long long)whole,
                   x->type->axis[axis].name, (long long)x->type->axis[axis].size.base);
        return NULL;
    }
    if (term_is_int(t, &whole))
        return make_pick(b, x, axis, t->size);
    if (t->kind == TERM_TENSOR && !dtype_is_float(t->node->type->dtype) && t->node->type->dtype != DT_BOOL)
        return rounds_fit(b, x->type, t->node, axis, at) ? look_up(b, x, t->node, axis) : NULL;
    Diag *d = bind_error(b, "E0201", at, "a position is a whole number, a range or a parameter of a mask, not %s",
                         term_print(b, t));
    diag_origin(b, d, t);
    return NULL;
}

/* Ranges and whole numbers first: axes get the names they are looked up by, in a mask those of queries and keys. */
/* The positions of an axis stand at the place of another one. */
static bool good_places(Bind *b, const Expr *e, const Node *x, const Term *items)
{
    for (int i = 0; i < e->n_items; i++) {
        const Dim *along = items[i].kind == TERM_RANGE ? items[i].range.along : NULL;
        int own = along ? type_find(x->type, along->axis) : -1;
        if (own < 0 || own == i)
            continue;
        const Axis *here = &x->type->axis[i];
        Diag *d = bind_error(b, "E0305", e->items[i]->at, "these are positions of the axis `%s`, and %s stands here",
                             along->name,
                             axis_is_number(here) ? bind_print(b, "one of %lld", (long long)here->size.base)
                                                  : bind_print(b, "`%s`", here->name));
        diag_caret(d, "`%s` is %s", source_text(b, e->left->at), type_text(b, x->type));
        Text all = text_new(b->cx->arena);
        for (int k = 0; k < e->n_items; k++)
            text_add(&all, "%s%s", k ? ", " : "", source_text(b, e->items[k == i ? own : k == own ? i : k]->at));
        diag_help(d, "write `%s[%s]`", source_text(b, e->left->at), all.data);
        return false;
    }
    return true;
}

static Term index_tensor(Bind *b, Scope *s, const Expr *e, Node *x)
{
    if (e->n_items != x->type->rank) {
        Diag *d = bind_error(b, "E0302", e->at, "%d positions are needed, one for each axis, not %d", x->type->rank,
                             e->n_items);
        diag_caret(d, "`%s` is %s", source_text(b, e->left->at), type_text(b, x->type));
        return term_poison();
    }
    Term *items = arena_array(b->cx->arena, (size_t)e->n_items + 1, sizeof *items);
    for (int i = e->n_items - 1; i >= 0; i--) {
        items[i] = eval(b, s, e->items[i]);
        if (items[i].kind == TERM_POISON)
            return items[i];
    }
    if (!good_places(b, e, x, items))
        return term_poison();
    int axis[MAX_RANK], n = 0; /* where an item's axis stands when its turn comes: whole numbers before it are gone */
    for (int i = 0; i < e->n_items; i++) {
        int64_t whole;
        axis[i] = n;
        n += !term_is_int(&items[i], &whole);
    }
    for (int i = e->n_items - 1; i >= 0 && x; i--)
        if (items[i].kind != TERM_TENSOR)
            x = index_axis(b, x, i, &items[i], e->items[i]->at);
    for (int i = e->n_items - 1; i >= 0 && x; i--)
        if (items[i].kind == TERM_TENSOR)
            x = index_axis(b, x, axis[i], &items[i], e->items[i]->at);
    return term_tensor(x);
}

/* list[2] is one of its items; list[i] looks up a number in the round i of a loop. */
static Term index_list(Bind *b, Scope *s, const Expr *e, const Term *list)
{
    Term t = eval(b, s, e->items[0]);
    Span at = e->items[0]->at;
    int64_t i, n = list_size(list);
    if (t.kind == TERM_POISON)
        return t;
    if (t.kind == TERM_TENSOR) {
        Node *x = list_tensor(b, list, e->left->at);
        return x ? term_tensor(index_axis(b, x, 0, &t, at)) : term_poison();
    }
    if (term_is_int(&t, &i) && i >= 0 && i < n)
        return list_item(b, list, i);
    Diag *d = term_is_int(&t, &i)
                  ? bind_error(b, "E0310", at, "there is no item %lld in a list of %lld", (long long)i, (long long)n)
                  : bind_error(b, "E0201", at, "the items of a list are counted by whole numbers, not %s", term_print(b, &t));
    diag_origin(b, d, term_is_int(&t, &i) ? list : &t);
    return term_poison();
}

static Term eval_index(Bind *b, Scope *s, const Expr *e)
{
    Term t = eval(b, s, e->left);
    if (t.kind == TERM_CACHE)
        return cache_index(b, s, e, &t);
    if (t.kind == TERM_TENSOR)
        return index_tensor(b, s, e, t.node);
    if (t.kind == TERM_RANGE) {
        Node *n = tensor_of(b, &t, DT_I32, "an operand");
        return index_tensor(b, s, e, n);
    }
    if (t.kind == TERM_POISON)
        return t;
    if (list_size(&t) >= 0 && e->n_items == 1)
        return index_list(b, s, e, &t);
    if (t.kind == TERM_ABSENT)
        return t;
    Diag *d = bind_error(b, "E0201", e->left->at, "%s cannot be indexed", term_print(b, &t));
    diag_origin(b, d, &t);
    return term_poison();
}

/* ---- x as [B, T, H, K], x as f32 -------------------------------------------------------------------------------- */

/* An unknown name that is an axis of the tensor means that axis: r as [B, T, 1, E], T grown by a cache. Any other
 * unknown name renames the axis at its position: k as [B, T, H, K]. */
static bool as_axis(Bind *b, Scope *s, const Expr *e, const Type *from, int position, int rank, const Dim **out)
{
    bool unknown = e->kind == EXPR_NAME && !scope_find(s, e->text) && !scope_find(b->library_globals, e->text);
    int own = unknown ? type_find(from, e->text) : -1;
    if (own >= 0 && (own == position || rank != from->rank)) {
        *out = dim_new(b, e->text, e->text, from->axis[own].size, NULL);
        scope_set(b, s, e->text, term_dim(*out), e->at);
        return true;
    }
    if (unknown && rank == from->rank) {
        const char *axis = dim_fresh_axis(b, e->text, e, from->axis[position].size);
        *out = dim_new(b, e->text, axis, from->axis[position].size, NULL);
        scope_set(b, s, e->text, term_dim(*out), e->at);
        return true;
    }
    Term t = eval(b, s, e);
    const Dim **dims;
    int n;
    if (!dims_of(b, &t, e, &dims, &n))
        return false;
    if (n == 1)
        *out = dims[0];
    else
        bind_error(b, "E0201", e->at, "one axis is needed here, not %s", term_print(b, &t));
    return n == 1;
}

/* Row-major order kept: the sizes on both sides must split into groups with equal products. */
static bool same_elements(const Type *from, const Type *to)
{
    int i = 0, k = 0;
    while (i < from->rank || k < to->rank) {
        Extent x = i < from->rank ? from->axis[i++].size : extent_const(1),
               y = k < to->rank ? to->axis[k++].size : extent_const(1);
        while (!extent_equal(x, y)) {
            bool grow_x = extent_high(x) < extent_high(y) || (i < from->rank && k >= to->rank);
            if (grow_x ? i >= from->rank : k >= to->rank)
                return false;
            if (!extent_mul(grow_x ? x : y, grow_x ? from->axis[i++].size : to->axis[k++].size, grow_x ? &x : &y))
                return false;
        }
    }
    return true;
}

static Term as_view(Bind *b, Scope *s, const Expr *e, Node *x)
{
    Type t = {.dtype = x->type->dtype};
    for (int i = 0; i < e->type->n_axes; i++) {
        const Dim *dim = NULL;
        if (!as_axis(b, s, e->type->axes[i], x->type, i, e->type->n_axes, &dim))
            return term_poison();
        if (!type_take(b, e->type->at, &t, dim->axis, dim->size))
            return term_poison();
    }
    if (!same_elements(x->type, &t)) {
        Diag *d = bind_error(b, "E0306", e->at, "%s cannot be seen as %s", type_text(b, x->type), type_text(b, &t));
        diag_note(d, "`as` keeps the order of the elements: it renames, splits and merges neighbouring axes");
        return term_poison();
    }
    return term_tensor(make_view(b, x, type_new(b->cx, t.dtype, t.rank, t.axis)));
}

/* A number known at compile time stays one: (K * 0.4) as i32 is a size. */
static bool number_as(const Term *t, DType dtype, Term *out)
{
    double value;
    if (!term_is_number(t, &value) || !(fabs(value) < 9e15) || (dtype != DT_F32 && dtype != DT_I32 && dtype != DT_I64))
        return false;
    *out = dtype == DT_F32 ? term_float(value) : term_int((int64_t)value);
    out->origin = t->origin;
    return dtype != DT_I32 || fabs(value) <= INT32_MAX;
}

static Term eval_as(Bind *b, Scope *s, const Expr *e)
{
    Term t = eval(b, s, e->left), number;
    DType dtype;
    if (!e->type->has_axes && e->type->dtype.text && dtype_from_name(e->type->dtype.text, &dtype) &&
        number_as(&t, dtype, &number))
        return number;
    Node *x = tensor_of(b, &t, DT_F32, "the left side of `as`");
    if (!x)
        return term_poison();
    if (e->type->dtype.text) {
        if (!dtype_from_name(e->type->dtype.text, &dtype) || dtype == DT_U8 || dtype == DT_F16 || dtype == DT_BF16 ||
            dtype == DT_F64 || dtype == DT_I64) {
            Diag *d = bind_error(b, "E0202", e->type->dtype.at, "values cannot be of type `%s`", e->type->dtype.text);
            diag_help(d, "the types are f32, i32 and bool");
            return term_poison();
        }
        x = make_cast(b, x, dtype);
    }
    return e->type->has_axes ? as_view(b, s, e, x) : term_tensor(x);
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

/* `head_dim ?? D / H`: the right side if the left is absent or null. Two spellings of one key that are both there
 * have to agree. */
static Term otherwise(Bind *b, Scope *s, const Expr *e, Term left)
{
    if (left.kind == TERM_POISON)
        return left;
    bool other_key =
        s->config && (e->right->kind == EXPR_FIELD || (e->right->kind == EXPR_NAME && !scope_find(s, e->right->text)));
    if (left.kind != TERM_ABSENT && left.kind != TERM_NONE) {
        if (!other_key || !left.origin || left.origin->kind != ORIGIN_CONFIG)
            return left;
        Term right = eval(b, s, e->right);
        if (right.kind == TERM_ABSENT || right.kind == TERM_POISON || !right.origin)
            return left;
        json_t *x = left.origin->value, *y = right.origin->value;
        if (!x || !y || config_agree(x, y))
            return left;
        Diag *d = bind_error(b, "E0506", e->at, "%s contradicts itself: `%s` and `%s` are two spellings of one thing",
                             config_name(b, left.origin), left.origin->key, right.origin->key);
        diag_note(d, "`%s` is %s", left.origin->key, config_print(b, x));
        diag_note(d, "`%s` is %s", right.origin->key, config_print(b, y));
        diag_help(d, "remove the one that is wrong");
        return term_poison();
    }
    Term t = eval(b, s, e->right);
    if (left.kind != TERM_ABSENT || t.kind == TERM_POISON || (other_key && t.kind != TERM_ABSENT))
        return t;
    if (t.kind == TERM_ABSENT) {
        t.key = bind_print(b, "%s` or `%s", left.key, t.key);
        return t;
    }
    Origin *o = bind_new(b, sizeof *o);
    *o = (Origin){.kind = ORIGIN_DEFAULT, .key = left.key, .file = left.file, .null = left.null, .at = e->at, .otherwise = e->right->at};
    t.origin = o;
    if (t.kind == TERM_SIZE)
        t.dim = NULL; /* a value with a name of its own from here on */
    return t;
}

/* A text where a number has to be, shown where the model file gives it: it may be a function's argument. */
static bool refuse_text(Bind *b, Scope *s, const Term *left, const Term *right, const Expr *e)
{
    bool first = left->kind == TERM_TEXT;
    const Term *t = first ? left : right, *other = first ? right : left;
    const Expr *operand = first ? e->left : e->right;
    const Var *v = operand->kind == EXPR_NAME ? scope_find(s, operand->text) : NULL;
    bool number = other->kind == TERM_SIZE || other->kind == TERM_FLOAT || other->kind == TERM_TENSOR ||
                  other->kind == TERM_RANGE;
    if (!number || e->op == OP2_EQ || e->op == OP2_NE || !origin_blame(b, t))
        return false;
    bool given = v && bind_in_library(b, operand->at) && !bind_in_library(b, v->at);
    Diag *d = bind_error(b, origin_code(t, "E0201"), given ? v->at : operand->at, "a number is needed here, not %s",
                         term_print(b, t));
    diag_origin(b, d, t);
    advise_number(d, t);
    return true;
}

static Term apply(Bind *b, Scope *s, const Expr *e, Term left)
{
    if (e->kind == EXPR_PIPE)
        return call_eval(b, s, e->right, &left, e->left->at);
    if (e->op == OP2_OTHERWISE)
        return otherwise(b, s, e, left);
    Term right = eval(b, s, e->right);
    bool text = left.kind == TERM_TEXT || right.kind == TERM_TEXT;
    if (text && left.kind != right.kind && refuse_text(b, s, &left, &right, e))
        return term_poison();
    return operator_binary(b, left, right, e->op, e);
}

static bool on_spine(const Expr *e)
{
    return e->kind == EXPR_BINARY || e->kind == EXPR_PIPE;
}

static Term eval_spine(Bind *b, Scope *s, const Expr *e)
{
    int n = 0;
    for (const Expr *p = e; on_spine(p); p = p->left)
        n++;
    const Expr **spine = arena_array(b->cx->arena, (size_t)n, sizeof *spine);
    for (int i = n; i > 0; e = e->left)
        spine[--i] = e;
    Term t = eval(b, s, e);
    for (int i = 0; i < n; i++) {
        b->at = spine[i]->at;
        t = apply(b, s, spine[i], t);
        if (t.kind == TERM_POISON && i + 1 < n && spine[i + 1]->op != OP2_OTHERWISE && b->exhausted)
            break;
    }
    return t;
}

static Term eval_kind(Bind *b, Scope *s, const Expr *e)
{
    switch (e->kind) {
    case EXPR_NAME: return eval_name(b, s, e);
    case EXPR_NUMBER: return eval_number(e);
    case EXPR_TEXT: return term_text(e->text);
    case EXPR_TRUE: return term_bool(true);
    case EXPR_FALSE: return term_bool(false);
    case EXPR_NONE: return term_none();
    case EXPR_TUPLE:
    case EXPR_LIST: return eval_items(b, s, e);
    case EXPR_UNARY: return operator_unary(b, eval(b, s, e->left), e->op);
    case EXPR_BINARY:
    case EXPR_PIPE: return eval_spine(b, s, e);
    case EXPR_AS: return eval_as(b, s, e);
    case EXPR_IF: return eval_if(b, s, e);
    case EXPR_FN: return function_new(b, s, e);
    case EXPR_CALL: return call_eval(b, s, e, NULL, (Span){0});
    case EXPR_INDEX: return eval_index(b, s, e);
    case EXPR_FIELD: return eval_field(b, s, e);
    case EXPR_STAR:
        bind_error(b, "E0201", e->at, "`*` can stand only in the type of a parameter or a result");
        return term_poison();
    case EXPR_SCOPED:
        bind_error(b, "E0201", e->at, "a path before `::` needs a call: \"%s\"::%s(...)", e->scope, e->text);
        return term_poison();
    case EXPR_ERROR: return term_poison();
    }
    return term_poison();
}

Term eval(Bind *b, Scope *s, const Expr *e)
{
    if (b->exhausted)
        return term_poison();
    if (b->depth >= BUDGET_DEPTH) {
        bind_error(b, "E0108", e->at, "calls and expressions nest too deeply here");
        b->exhausted = true;
        return term_poison();
    }
    Span outer = b->at, site = b->site;
    b->at = e->at;
    if (!bind_in_library(b, e->at))
        b->site = e->at;
    b->depth++;
    Term t = eval_kind(b, s, e);
    b->depth--;
    b->at = outer;
    b->site = site;
    return t;
}

bool eval_flag(Bind *b, Scope *s, const Expr *e, const char *what, bool *out)
{
    Term t = eval(b, s, e);
    *out = t.kind == TERM_BOOL && t.flag;
    if (t.kind == TERM_BOOL || t.kind == TERM_POISON)
        return t.kind == TERM_BOOL;
    if (t.kind == TERM_ABSENT) {
        config_refuse_absent(b, &t, e->at);
        return false;
    }
    if (!origin_blame(b, &t))
        return false;
    Diag *d = t.origin && t.origin->kind == ORIGIN_CONFIG
                  ? bind_error(b, "E0503", e->at, "%s must be true or false, but `%s` of %s is %s", what, t.origin->key,
                               config_name(b, t.origin), term_print(b, &t))
                  : bind_error(b, "E0205", e->at, "%s must be known at compile time and true or false, not %s", what,
                               term_print(b, &t));
    if (t.kind == TERM_TENSOR)
        diag_help(d, "`where(condition, a, b)` chooses element by element at run time");
    return false;
}
