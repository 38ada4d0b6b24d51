/* Caches: `cache kv[L] { k: [B, T <= P, G, K] }` keeps, for each of L layers, what earlier calls appended along
 * T.
 *
 * One symbol, `past`, says how many positions are there already. kv.next(S) are the positions past .. past + S of
 * the new ones, and kv[i].append(k, v) writes them to layer i and gives all past + S of them. */
#include "bind.h"

#include <string.h>

static bool read_growing(Bind *b, Scope *s, const Expr *e, Axis *axis, int64_t *capacity)
{
    if (e->left->kind != EXPR_NAME) {
        bind_error(b, "E0220", e->left->at, "the growing axis of a cache needs a name: T <= P");
        return false;
    }
    Term t = eval(b, s, e->right);
    if (t.kind == TERM_POISON)
        return false;
    if (!term_is_int(&t, capacity) || *capacity < 1) {
        diag_origin(b,
                    bind_error(b, "E0220", e->right->at,
                               "the capacity of a cache must be known at compile time, and this is %s",
                               term_print(b, &t)),
                    &t);
        return false;
    }
    *axis = (Axis){dim_fresh_axis(b, e->left->text, e->left->text, extent_const(*capacity)), extent_const(*capacity)};
    return true;
}

static bool read_axis(Bind *b, Scope *s, const CacheDecl *c, const Expr *e, Axis *axis)
{
    const Dim **dims;
    int n;
    if (e->kind == EXPR_NAME && !scope_find(s, e->text)) {
        Diag *d = bind_error(b, "E0223", e->at, "no input of the model has the axis `%s` that the cache `%s` needs",
                             e->text, c->decl->name.text);
        diag_help(d, "a cache's axes are sizes, axes of the model's inputs, and one growing axis `T <= P`");
        return false;
    }
    Term t = eval(b, s, e);
    if (!dims_of(b, &t, e, &dims, &n))
        return false;
    if (n != 1)
        bind_error(b, "E0220", e->at, "one axis is needed here, not %s", term_print(b, &t));
    else
        *axis = (Axis){dims[0]->axis, dims[0]->size};
    return n == 1;
}

static bool read_field(Bind *b, Scope *s, CacheDecl *c, const Field *f)
{
    Type t = {.dtype = DT_F32};
    int growing = -1;
    int64_t capacity = 0;
    if (f->type->dtype.text && (!dtype_from_name(f->type->dtype.text, &t.dtype) || t.dtype != DT_F32)) {
        bind_error(b, "E0220", f->type->dtype.at, "a cache holds f32");
        return false;
    }
    for (int i = 0; i < f->type->n_axes; i++) {
        const Expr *e = f->type->axes[i];
        Axis axis = {0};
        if (e->kind == EXPR_BINARY && e->op == OP2_LE) {
            if (growing >= 0)
                bind_error(b, "E0220", e->at, "a cache grows along one axis");
            if (growing >= 0 || !read_growing(b, s, e, &axis, &capacity))
                return false;
            growing = i;
        } else if (!read_axis(b, s, c, e, &axis)) {
            return false;
        }
        if (!type_take(b, e->at, &t, axis.name, axis.size))
            return false;
    }
    if (growing < 0) {
        Diag *d = bind_error(b, "E0220", f->type->at, "no axis of `%s` grows", f->name.text);
        diag_help(d, "one axis is written with its bound: T <= P");
        return false;
    }
    Graph *m = b->model;
    m->caches = arena_grow(b->cx->arena, m->caches, (size_t)m->n_caches, (size_t)m->n_caches + 1, sizeof *m->caches);
    m->caches[m->n_caches++] =
        (Cache){.name = name_of(b->cx->names, bind_print(b, "%s.%s", c->decl->name.text, f->name.text)),
                .type = type_new(b->cx, t.dtype, t.rank, t.axis),
                .growing = growing,
                .layers = c->layers,
                .at = f->name.at};
    if (!b->past)
        b->past = bind_symbol(b, "past", f->name.at);
    b->past->low = 0;
    if (capacity < b->past->high)
        b->past->high = capacity;
    return true;
}

static bool bind_one(Bind *b, Scope *s, CacheDecl *c)
{
    const Decl *d = c->decl;
    Term count = eval(b, s, d->count);
    if (count.kind == TERM_POISON)
        return false;
    if (!term_is_int(&count, &c->layers) || c->layers < 1) {
        bind_error(b, "E0220", d->count->at, "the layers of a cache are a whole number known at compile time, not %s",
                   term_print(b, &count));
        return false;
    }
    c->first = b->model->n_caches;
    for (int i = 0; i < d->n_fields; i++) {
        for (int k = 0; k < i; k++) {
            if (d->fields[k].name.text != d->fields[i].name.text)
                continue;
            bind_error(b, "E0121", d->fields[i].name.at, "the cache has a field `%s` already", d->fields[i].name.text);
            return false;
        }
        if (!read_field(b, s, c, &d->fields[i]))
            return false;
    }
    return true;
}

static void bind_now(Bind *b, CacheDecl *c)
{
    c->bound = bind_one(b, b->inputs, c);
    c->failed = !c->bound;
}

/* A file's only model has all its caches; of several each has those that it uses, and so it is with those of other files. */
void cache_bind(Bind *b, Scope *s)
{
    b->inputs = s;
    for (size_t i = 0; i < b->caches.count && b->n_models == 1; i++) {
        CacheDecl *c = b->caches.entries[i].value;
        if (c->decl->at.source == b->file->source)
            bind_now(b, c);
    }
}

/* A cache can be used once its axes are known. */
static bool usable(Bind *b, CacheDecl *c, Span at)
{
    if (!c->bound && !c->failed && b->inputs)
        bind_now(b, c);
    if (!c->bound && !c->failed)
        bind_error(b, "E0222", at, "the cache `%s` can be used only in the model and its blocks", c->decl->name.text);
    return c->bound;
}

/* ---- kv.next(S), kv[i].append(k, v) ----------------------------------------------------------------------------- */

static int64_t capacity(const Bind *b, const CacheDecl *c)
{
    const Cache *field = &b->model->caches[c->first];
    return field->type->axis[field->growing].size.base;
}

/* New positions can be at most as many as the cache holds. */
static void bound_symbol(const Bind *b, const CacheDecl *c, Extent size)
{
    if (size.n != 1 || size.base != 0 || size.factor[0] != 1 || size.symbol[0] == b->past)
        return;
    Symbol *s = (Symbol *)(uintptr_t)size.symbol[0]; /* ours: bind_symbol made it */
    if (capacity(b, c) < s->high)
        s->high = capacity(b, c);
}

static Term next_positions(Bind *b, Scope *s, CacheDecl *c, const Expr *call)
{
    const Dim **dims;
    int n = 0;
    if (call->n_args != 1) {
        bind_error(b, "E0124", call->at, "`next` takes one argument, the axis of the new positions: %s.next(S)",
                   c->decl->name.text);
        return term_poison();
    }
    Term t = eval(b, s, call->args[0].value);
    if (!dims_of(b, &t, call->args[0].value, &dims, &n) || n != 1)
        return term_poison();
    bound_symbol(b, c, dims[0]->size);
    if (!c->counted.source)
        c->counted = call->at;
    Term range = {.kind = TERM_RANGE};
    range.range.start = extent_symbol(b->past);
    range.range.length = dims[0]->size;
    range.range.along = dims[0];
    return range;
}

/* "k: [B, T <= P, H, K]": the declaration that would hold x, whose axis at `growing` grows. */
static const char *declaration_for(Bind *b, const Field *f, const Type *t, int growing, const char *bound)
{
    Text out = text_new(b->cx->arena);
    text_add(&out, "%s: [", f->name.text);
    for (int i = 0; i < t->rank; i++) {
        const char *name = t->axis[i].name, *parts = i == growing ? bound : axis_written(b, name);
        text_add(&out, "%s%s", i ? ", " : "", parts);
    }
    text_char(&out, ']');
    return out.data;
}

/* One axis that differs may be wrong in the value; anything else would have to be declared. */
static void advise_field(Bind *b, Diag *d, const CacheDecl *c, const Cache *field, const Node *x)
{
    const Type *own = field->type, *t = x->type;
    int differ = 0, one = 0, growing = -1;
    for (int i = 0; i < t->rank; i++) {
        if (type_find(own, t->axis[i].name) < 0 && (growing < 0 || !extent_is_const(t->axis[i].size)))
            growing = i;
        if (i < own->rank && i != field->growing && t->axis[i].name != own->axis[i].name) {
            differ++;
            one = i;
        }
    }
    if (t->rank == own->rank && differ == 1 && type_find(t, own->axis[one].name) < 0) {
        advise_mark(b, d, x, &t->axis[one], "it");
        growing = field->growing;
        if (advise_axis(b, d, x, t->axis[one].name, own->axis[one].name))
            return;
    }
    const Field *f = &c->decl->fields[field - &b->model->caches[c->first]];
    const char *bound = source_text(b, f->type->axes[field->growing]->at);
    if (growing >= 0)
        diag_help(d, "a cache declared as `%s` would hold it", declaration_for(b, f, t, growing, bound));
}

static bool fits(Bind *b, const CacheDecl *c, const Cache *field, const Node *x, Span at)
{
    bool good = x->type->rank == field->type->rank && x->type->dtype == field->type->dtype;
    for (int i = 0; good && i < x->type->rank; i++)
        good = i == field->growing || x->type->axis[i].name == field->type->axis[i].name;
    if (good)
        return true;
    Diag *d = bind_error(b, "E0221", at, "`%s` holds %s", field->name, type_text(b, field->type));
    diag_caret(d, "this is %s", type_text(b, x->type));
    diag_label(d, field->at, "`%s` is declared here", field->name);
    diag_note(d, "only the growing axis `%s` may have another name", field->type->axis[field->growing].name);
    advise_field(b, d, c, field, x);
    return false;
}

/* i of a loop that begins later: its node is the index plus what it begins with. */
static Node *layer_number(Node *layer, int64_t *first)
{
    *first = 0;
    if (layer->op != OP_add || layer->inputs[0]->op != OP_index || layer->inputs[1]->op != OP_const)
        return layer;
    *first = (int64_t)attr_float(layer->inputs[1], ATTR_value, 0);
    return layer->inputs[0];
}

static Node *append(Bind *b, Scope *s, const CacheDecl *c, const Cache *field, const Expr *value, Node *layer)
{
    Term t = eval(b, s, value);
    Extent all;
    Node *x = tensor_of(b, &t, DT_F32, bind_print(b, "`%s`", field->name));
    if (!x || !fits(b, c, field, x, value->at))
        return NULL;
    bound_symbol(b, c, x->type->axis[field->growing].size);
    if (!extent_add(extent_symbol(b->past), x->type->axis[field->growing].size, &all)) {
        bind_error(b, "E0221", value->at, "the size of `%s` along its growing axis is too complicated", field->name);
        return NULL;
    }
    Type grown = *field->type;
    grown.axis[field->growing].size = all;
    int64_t first;
    Node *number = layer_number(layer, &first);
    Node *n = emit(b, OP_append, type_new(b->cx, grown.dtype, grown.rank, grown.axis), 2, (Node *[]){x, number});
    attr_set_name(b->cx, n, ATTR_cache, field->name);
    if (first)
        attr_set_extent(b->cx, n, ATTR_start, extent_const(first));
    return n;
}

static const Expr *field_value(Bind *b, const CacheDecl *c, const Expr *call, int field)
{
    const Ident *name = &c->decl->fields[field].name;
    for (int i = 0; i < call->n_args; i++)
        if (call->args[i].name.text == name->text || (!call->args[i].name.text && i == field))
            return call->args[i].value;
    Diag *d =
        bind_error(b, "E0124", call->at, "`append` needs a value for `%s`: one for each field of `%s`, in their order",
                   name->text, c->decl->name.text);
    Text all = text_new(b->cx->arena);
    for (int i = 0; i < c->decl->n_fields; i++) {
        const char *own = c->decl->fields[i].name.text;
        const Expr *e = i < call->n_args && !call->args[i].name.text ? call->args[i].value : NULL;
        text_add(&all, "%s%s", i ? ", " : "", e ? source_text(b, e->at) : own);
    }
    diag_help(d, "write `append(%s)`", all.data);
    return NULL;
}

static Term append_all(Bind *b, Scope *s, CacheDecl *c, Node *layer, const Expr *call)
{
    c->written = true;
    int n = c->decl->n_fields;
    Term *out = arena_array(b->cx->arena, (size_t)n + 1, sizeof *out);
    if (call->n_args > n) {
        bind_error(b, "E0124", call->args[n].value->at, "`%s` has %d field%s", c->decl->name.text, n,
                   n == 1 ? "" : "s");
        return term_poison();
    }
    for (int i = 0; i < n; i++) {
        const Expr *value = field_value(b, c, call, i);
        Node *node = value ? append(b, s, c, &b->model->caches[c->first + i], value, layer) : NULL;
        if (!node)
            return term_poison();
        out[i] = term_tensor(node);
    }
    return n == 1 ? out[0] : (Term){.kind = TERM_LIST, .items = out, .n_items = n};
}

Term cache_index(Bind *b, Scope *s, const Expr *e, const Term *cache)
{
    Term i = e->n_items == 1 ? eval(b, s, e->items[0]) : term_none();
    int64_t number;
    Term t = {.kind = TERM_LAYER};
    t.cache = cache->cache;
    if (i.kind == TERM_POISON || !usable(b, t.cache, e->at))
        return term_poison();
    bool index = i.kind == TERM_TENSOR && i.node->type->rank == 0 && i.node->type->dtype == DT_I32;
    if (!index && (!term_is_int(&i, &number) || number < 0 || number >= t.cache->layers)) {
        Diag *d = bind_error(b, "E0222", e->at, "`%s` has one part for each of %lld layers", t.cache->decl->name.text,
                             (long long)t.cache->layers);
        diag_help(d, "inside a loop: %s[i]", t.cache->decl->name.text);
        return term_poison();
    }
    int64_t low, high;
    if (index && round_bounds(i.node, &low, &high) && (low < 0 || high >= t.cache->layers)) {
        Diag *d =
            bind_error(b, "E0222", e->at, "`%s` has %lld layers", t.cache->decl->name.text, (long long)t.cache->layers);
        if (i.node->op == OP_index)
            diag_label(d, i.node->graph->owner->at, "and this loop runs %lld times", (long long)high + 1);
        else
            diag_label(d, b->loop, "and in this loop `%s` is %lld..%lld", source_text(b, e->items[0]->at), (long long)low,
                       (long long)high + 1);
        return term_poison();
    }
    t.layer = index ? i.node : make_number(b, (double)number, DT_I32);
    return t;
}

Term cache_method(Bind *b, Scope *s, const Expr *call)
{
    const Expr *field = call->left;
    Span outer = b->at, site = b->site;
    Term t = eval(b, s, field->left), out = term_poison();
    b->at = call->at;
    if (!bind_in_library(b, call->at))
        b->site = call->at;
    bool next = !strcmp(field->text, "next"), add = !strcmp(field->text, "append");
    bool cache = t.kind == TERM_CACHE || t.kind == TERM_LAYER;
    if (t.kind == TERM_POISON || (cache && !usable(b, t.cache, field->at)))
        out = term_poison();
    else if (t.kind == TERM_CACHE && next)
        out = next_positions(b, s, t.cache, call);
    else if (t.kind == TERM_LAYER && add)
        out = append_all(b, s, t.cache, t.layer, call);
    else if (cache) {
        Diag *d = bind_error(b, "E0222", field->at, "a cache has no `%s` here", field->text);
        const char *name = t.cache->decl->name.text, *text = source_text(b, call->at), *arguments = strchr(text, '(');
        if (add && arguments)
            diag_help(d, "entries belong to a layer: write `%s[i].append%s`", name, arguments);
        else
            diag_help(d, "positions: `%s.next(S)`; new entries: `%s[i].append(...)`", name, name);
    } else {
        Diag *d = bind_error(b, "E0212", field->at, "%s has no method `%s`", term_print(b, &t), field->text);
        diag_help(d, "operators are called as `%s(x, ...)` or `x |> %s(...)`", field->text, field->text);
    }
    b->at = outer;
    b->site = site;
    return out;
}

/* Positions that count on and entries that are never kept: every step would see its own tokens only. */
void cache_check(Bind *b)
{
    for (size_t i = 0; i < b->caches.count; i++) {
        const CacheDecl *c = b->caches.entries[i].value;
        if (c->written || !c->counted.source)
            continue;
        const char *name = c->decl->name.text;
        Text fields = text_new(b->cx->arena);
        for (int k = 0; k < c->decl->n_fields; k++)
            text_add(&fields, "%s%s", k ? ", " : "", c->decl->fields[k].name.text);
        Diag *d = bind_error(b, "E0222", c->counted, "the cache `%s` is never written", name);
        diag_caret(d, "counts positions whose entries nobody keeps");
        diag_label(d, c->decl->name.at, "declared here");
        diag_help(d, "`%s = %s[i].append(%s)` keeps the new entries and gives all so far", fields.data, name,
                  fields.data);
    }
}
