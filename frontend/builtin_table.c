/* Numbers known at compile time as tensors: table(L, fn(i) => ...), and lists of numbers that are looked up by the round
 * of a loop: windows[i].
 *
 * Tables of the IR are f32. Whole numbers and truth values are stored so and cast back where they are read, which is
 * exact up to 2^24: larger ones are refused. */
#include "bind.h"
#include "support/checked.h"

enum { MOST_NUMBERS = 1 << 16, LARGEST_WHOLE = 1 << 24 };

typedef struct Numbers {
    double *items;
    int64_t n;
    bool floats, whole, flags; /* which kinds were seen */
    Type type;
} Numbers;

static bool take_number(Bind *b, Numbers *all, const Term *t, Span at, const char *what)
{
    int64_t whole;
    double value;
    if (t->kind == TERM_BOOL) {
        all->flags = true;
        value = t->flag;
    } else if (term_is_int(t, &whole)) {
        all->whole = true;
        value = (double)whole;
    } else if (term_is_number(t, &value)) {
        all->floats = true;
    } else {
        if (t->kind == TERM_ABSENT)
            config_refuse_absent(b, t, at);
        else if (t->kind != TERM_POISON)
            diag_origin(b,
                        bind_error(b, t->kind == TERM_TENSOR ? "E0205" : "E0201", at,
                                   "%s must be a number known at compile time, not %s", what, term_print(b, t)),
                        t);
        return false;
    }
    all->items[all->n++] = value;
    return true;
}

/* The numbers as a tensor: bool, i32 or f32, as they were written. */
static Node *numbers_tensor(Bind *b, Numbers *all, Span at)
{
    DType dtype = all->floats ? DT_F32 : all->whole ? DT_I32 : DT_BOOL;
    if (all->flags && dtype != DT_BOOL) {
        bind_error(b, "E0202", at, "some of these are numbers and some are true or false");
        return NULL;
    }
    for (int64_t i = 0; i < all->n && dtype == DT_I32; i++) {
        if (all->items[i] >= -LARGEST_WHOLE && all->items[i] <= LARGEST_WHOLE)
            continue;
        Diag *d = bind_error(b, "E0310", at, "a whole number of a table can be at most %d, not %.0f", LARGEST_WHOLE,
                             all->items[i]);
        diag_help(d, "with a point it is any number that f32 holds");
        return NULL;
    }
    Node *n = emit(b, OP_table, type_new(b->cx, DT_F32, all->type.rank, all->type.axis), 0, NULL);
    attr_set_floats(b->cx, n, ATTR_table, all->items, (int)all->n);
    if (dtype != DT_BOOL)
        return make_cast(b, n, dtype);
    return make_map(b, OP_ne, 2, (Node *[]){n, make_number(b, 0, DT_F32)});
}

/* ---- table(axes, fn) -------------------------------------------------------------------------------------------- */

static bool table_axes(Bind *b, Call *c, Numbers *all)
{
    const Dim **dims;
    int n;
    int64_t count = 1;
    Span at = arg_given(c, 0)->at;
    all->type = (Type){.dtype = DT_F32};
    if (!arg_dims(b, c, 0, &dims, &n))
        return false;
    for (int i = 0; i < n; i++) {
        if (!extent_is_const(dims[i]->size)) {
            diag_dim(b,
                     bind_error(b, "E0310", at, "a table cannot have the axis `%s`, whose size is known only at run time",
                                dims[i]->name),
                     dims[i]);
            return false;
        }
        if (!checked_imul(count, dims[i]->size.base, &count) || count > MOST_NUMBERS) {
            bind_error(b, "E0310", at, "a table has at most %d numbers", MOST_NUMBERS);
            return false;
        }
        if (!type_take(b, at, &all->type, dims[i]->axis, dims[i]->size))
            return false;
    }
    all->items = arena_array(b->cx->arena, (size_t)count + 1, sizeof *all->items);
    return true;
}

/* The function at one position. */
static Term value_at(Bind *b, const Call *c, const Function *f, const int64_t *index, int rank)
{
    Given given[MAX_RANK] = {{0}};
    Call inner = {.name = c->name, .at = c->at, .name_at = c->name_at, .scope = c->scope, .given = given};
    for (int i = 0; i < rank; i++)
        given[inner.n_given++] = (Given){.at = c->at, .term = term_int(index[i]), .evaluated = true};
    return call_function(b, &inner, f);
}

Term builtin_table(Bind *b, Call *c)
{
    Numbers all = {0};
    Term f = arg_term(b, c, 1);
    if (f.kind == TERM_POISON || !table_axes(b, c, &all))
        return term_poison();
    Span at = arg_given(c, 1)->at;
    if (f.kind != TERM_FUNCTION) {
        bind_error(b, "E0201", at, "a table is made by a function of its positions, not %s", term_print(b, &f));
        return term_poison();
    }
    int64_t index[MAX_RANK] = {0};
    for (bool more = true; more;) {
        Term t = value_at(b, c, f.function, index, all.type.rank);
        if (!take_number(b, &all, &t, at, "what the function gives"))
            return term_poison();
        more = false;
        for (int d = all.type.rank - 1; d >= 0 && !more; d--) {
            more = ++index[d] < all.type.axis[d].size.base;
            if (!more)
                index[d] = 0;
        }
    }
    return term_tensor(numbers_tensor(b, &all, at));
}

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static bool is_array(const Term *t)
{
    return t->kind == TERM_JSON && json_is_array(t->json);
}

int64_t list_size(const Term *t)
{
    return t->kind == TERM_LIST ? t->n_items : is_array(t) ? (int64_t)json_array_size(t->json) : -1;
}

Term list_item(Bind *b, const Term *t, int64_t i)
{
    if (t->kind == TERM_LIST)
        return t->items[i];
    const char *path = bind_print(b, "%s[%lld]", t->origin ? t->origin->key : "?", (long long)i);
    return config_value(b, t->origin ? t->origin->file : NULL, path, json_array_get(t->json, (size_t)i));
}

Node *list_tensor(Bind *b, const Term *t, Span at)
{
    int64_t n = list_size(t);
    Numbers all = {.type = {.dtype = DT_F32, .rank = 1}};
    if (n > MOST_NUMBERS || n == 0) {
        bind_error(b, "E0310", at, n ? "a table has at most %d numbers" : "an empty list has nothing to look up",
                   MOST_NUMBERS);
        return NULL;
    }
    all.type.axis[0] = (Axis){dim_anonymous(b, extent_const(n), NULL)->axis, extent_const(n)};
    all.items = arena_array(b->cx->arena, (size_t)n, sizeof *all.items);
    for (int64_t i = 0; i < n; i++) {
        Term item = list_item(b, t, i);
        if (item.kind == TERM_TEXT) {
            Diag *d = bind_error(b, "E0201", at, "texts cannot be looked up by the round of a loop");
            diag_help(d, "make numbers of them first: table(N, fn(i) => if %s[i] == %s then 1 else 0)",
                      source_text(b, at), term_print(b, &item));
            return NULL;
        }
        if (!take_number(b, &all, &item, at, bind_print(b, "item %lld of the list", (long long)i)))
            return NULL;
    }
    return numbers_tensor(b, &all, at);
}

Term builtin_size(Bind *b, Call *c)
{
    Term t = arg_term(b, c, 0);
    if (t.kind == TERM_POISON)
        return t;
    if (list_size(&t) >= 0)
        return term_int(list_size(&t));
    Diag *d = bind_error(b, "E0201", arg_given(c, 0)->at, "`size` counts the items of a list, and this is %s",
                         term_print(b, &t));
    if (t.kind == TERM_TENSOR)
        diag_help(d, "the size of an axis is its name: B, S");
    diag_origin(b, d, &t);
    return term_poison();
}
