/* Shape rules of linear_attend and codebook_attend: axes are shared by name as in attend; what the other inputs are says
 * the attribute `roles`. */
#include "ir/infer_inside.h"

#include <math.h>
#include <string.h>

int role_input(const Node *n, const char *role)
{
    const Attr *roles = node_attr(n, ATTR_roles);
    for (int i = 0; roles && i < roles->names.count; i++)
        if (!strcmp(roles->names.items[i], role))
            return FIRST_ROLE + i;
    return -1;
}

Node *role_of(const Node *n, const char *role)
{
    int i = role_input(n, role);
    return i < 0 || i >= n->n_inputs ? NULL : n->inputs[i];
}

bool node_features(const Node *n, const char *name)
{
    const char *features = attr_name(n, ATTR_features);
    return features && !strcmp(features, name);
}

typedef struct Axes {
    const char *over, *keys, *queries;
    const Type *q, *k, *v;
} Axes;

static bool is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (word && !strcmp(word, *list))
            return true;
    return false;
}

/* The axes that k has but for the keys and the head are q's: those of a batch. v has them too, and one of its own. */
static bool batch_fits(Rule *r, const Axes *a)
{
    for (int i = 0; i < a->k->rank; i++) {
        const Axis *x = &a->k->axis[i];
        if (x->name == a->keys || x->name == a->over)
            continue;
        if (x->name == a->queries)
            return rule_refused(r, "`%s` has the rows' axis `%s`", rule_word(r, 1), a->queries);
        for (int j = 0; j < 3; j += 2) {
            int at = type_find(rule_in(r, j), x->name);
            if (at < 0 || !extent_equal(rule_in(r, j)->axis[at].size, x->size))
                return rule_refused(r, "`%s` has the axis `%s` = %s, `%s` is %s", rule_word(r, 1), x->name,
                                    rule_size(r, x->size), rule_word(r, j), rule_type(r, rule_in(r, j)));
        }
    }
    int at = type_find(a->v, a->keys);
    if (!extent_equal(a->v->axis[at].size, a->k->axis[type_find(a->k, a->keys)].size))
        return rule_refused(r, "the axis `%s` is %s in `%s` and %s in `%s`", a->keys,
                            rule_size(r, a->k->axis[type_find(a->k, a->keys)].size), rule_word(r, 1),
                            rule_size(r, a->v->axis[at].size), rule_word(r, 2));
    int own = 0;
    for (int i = 0; i < a->v->rank; i++) {
        if (type_find(a->k, a->v->axis[i].name) >= 0 && a->v->axis[i].name != a->over)
            continue;
        own++;
        if (a->v->axis[i].name != a->over && type_find(a->q, a->v->axis[i].name) >= 0)
            return rule_refused(r, "`%s` has the axis `%s` like `%s`, but `%s` has not", rule_word(r, 2),
                                a->v->axis[i].name, rule_word(r, 0), rule_word(r, 1));
        if (!extent_is_const(a->v->axis[i].size))
            return rule_refused(r, "the values' own axis `%s` has no constant size", a->v->axis[i].name);
    }
    return own == 1 || rule_refused(r, "`%s` needs one axis of its own, it is %s", rule_word(r, 2), rule_type(r, a->v));
}

static bool axes_fit(Rule *r, Axes *a)
{
    const Attr *over = rule_over(r);
    if (!over)
        return false;
    if (r->n->n_inputs < FIRST_ROLE)
        return rule_refused(r, "%s needs queries, keys and values", rule_op(r));
    *a = (Axes){over->names.items[0], attr_name(r->n, ATTR_keys), attr_name(r->n, ATTR_queries),
                rule_in(r, 0),        rule_in(r, 1),              rule_in(r, 2)};
    if (over->names.count != 1)
        return rule_refused(r, "%s has one head axis", rule_op(r));
    if (!a->keys || !a->queries || a->keys == a->queries)
        return rule_refused(r, "%s needs `keys` and `queries`, two axes", rule_op(r));
    for (int i = 0; i < 3; i++)
        if (rule_in(r, i)->dtype != DT_F32)
            return rule_refused(r, "`%s` is %s, not f32", rule_word(r, i), dtype_name(rule_in(r, i)->dtype));
    if (!rule_has_axes(r, over, 0) || !rule_has_axes(r, over, 1))
        return false;
    if (type_find(a->k, a->keys) < 0 || type_find(a->v, a->keys) < 0 || type_find(a->q, a->keys) >= 0)
        return rule_refused(r, "`%s` must be an axis of the keys and the values, not of the queries", a->keys);
    if (type_find(a->q, a->queries) < 0)
        return rule_refused(r, "`%s` is %s: it has no axis `%s`", rule_word(r, 0), rule_type(r, a->q), a->queries);
    Extent k = a->k->axis[type_find(a->k, a->over)].size;
    if (!extent_is_const(k) || !extent_equal(k, a->q->axis[type_find(a->q, a->over)].size))
        return rule_refused(r, "the head axis `%s` needs one constant size, `%s` is %s and `%s` is %s", a->over,
                            rule_word(r, 0), rule_type(r, a->q), rule_word(r, 1), rule_type(r, a->k));
    return batch_fits(r, a);
}

/* ---- the other inputs -------------------------------------------------------------------------------------------- */

static bool roles_fit(Rule *r, const char *const *known)
{
    const Attr *roles = node_attr(r->n, ATTR_roles);
    int count = roles ? roles->names.count : 0;
    if (count != r->n->n_inputs - FIRST_ROLE)
        return rule_refused(r, "%d inputs after the values, but `roles` names %d", r->n->n_inputs - FIRST_ROLE, count);
    for (int i = 0; i < count; i++) {
        if (!is_one_of(roles->names.items[i], known))
            return rule_refused(r, "%s takes no `%s`", rule_op(r), roles->names.items[i]);
        if (role_input(r->n, roles->names.items[i]) != FIRST_ROLE + i)
            return rule_refused(r, "`%s` stands twice in `roles`", roles->names.items[i]);
    }
    return true;
}

/* [features, K] or with batch axes of the keys before: every head its own. */
static bool rows_fit(Rule *r, const Axes *a, int i)
{
    const Type *t = rule_in(r, i);
    const char *role = node_attr(r->n, ATTR_roles)->names.items[i - FIRST_ROLE];
    if (t->dtype != DT_F32 || t->rank < 2 || t->axis[t->rank - 1].name != a->over ||
        !extent_equal(t->axis[t->rank - 1].size, a->k->axis[type_find(a->k, a->over)].size))
        return rule_refused(r, "the %s `%s` is %s: its last axis must be `%s` of the keys", role, rule_word(r, i),
                            rule_type(r, t), a->over);
    const Axis *rows = &t->axis[t->rank - 2];
    if (!extent_is_const(rows->size) || rows->size.base < 1 || type_find(a->q, rows->name) >= 0 ||
        type_find(a->k, rows->name) >= 0 || type_find(a->v, rows->name) >= 0)
        return rule_refused(r, "the axis `%s` of the %s `%s` must be its own and of constant size", rows->name, role,
                            rule_word(r, i));
    for (int x = 0; x < t->rank - 2; x++) {
        int at = type_find(a->k, t->axis[x].name);
        if (at < 0 || t->axis[x].name == a->keys || !extent_equal(a->k->axis[at].size, t->axis[x].size))
            return rule_refused(r, "the axis `%s` of the %s `%s` is no batch axis of `%s`", t->axis[x].name, role,
                                rule_word(r, i), rule_word(r, 1));
    }
    return true;
}

/* Axes of the keys, the head aside: `all` if the keys' own must be among them, else it must not. */
static bool per_key_fits(Rule *r, const Axes *a, int i, DType dtype, bool all)
{
    const Type *t = rule_in(r, i);
    const char *role = node_attr(r->n, ATTR_roles)->names.items[i - FIRST_ROLE];
    if (t->dtype != dtype)
        return rule_refused(r, "the %s `%s` is %s, not %s", role, rule_word(r, i), dtype_name(t->dtype),
                            dtype_name(dtype));
    for (int x = 0; x < t->rank; x++) {
        int at = type_find(a->k, t->axis[x].name);
        if (at < 0 || t->axis[x].name == a->over || !extent_equal(a->k->axis[at].size, t->axis[x].size))
            return rule_refused(r, "the axis `%s` of the %s `%s` is none of `%s`", t->axis[x].name, role,
                                rule_word(r, i), rule_word(r, 1));
    }
    if ((type_find(t, a->keys) >= 0) != all)
        return rule_refused(r, "the %s `%s` is %s: %s", role, rule_word(r, i), rule_type(r, t),
                            all ? arena_print(r->cx->arena, "it needs the axis `%s`", a->keys)
                                : arena_print(r->cx->arena, "it is the same for all of `%s`", a->keys));
    return true;
}

/* A condition on any axes of the scores. */
static bool mask_fits(Rule *r, const Axes *a, int i)
{
    const Type *t = rule_in(r, i);
    if (t->dtype != DT_BOOL)
        return rule_refused(r, "the mask `%s` is %s, not bool", rule_word(r, i), dtype_name(t->dtype));
    for (int x = 0; x < t->rank; x++) {
        const Type *from = t->axis[x].name == a->keys ? a->k : a->q;
        int at = type_find(from, t->axis[x].name);
        if (at < 0 || t->axis[x].name == a->over || !extent_equal(from->axis[at].size, t->axis[x].size))
            return rule_refused(r, "the axis `%s` of the mask `%s` is none of the scores", t->axis[x].name,
                                rule_word(r, i));
    }
    return true;
}

/* By distance, the last axis; every head of the queries may have its own. */
static bool bias_fits(Rule *r, const Axes *a, int i)
{
    const Type *t = rule_in(r, i);
    if (t->dtype != DT_F32 || t->rank < 1)
        return rule_refused(r, "the bias `%s` is %s: f32 by distance", rule_word(r, i), rule_type(r, t));
    const Axis *last = &t->axis[t->rank - 1];
    if (!extent_is_const(last->size) || last->size.base < 1 || type_find(a->q, last->name) >= 0)
        return rule_refused(r, "the last axis `%s` of the bias `%s` counts distances: of constant size, none of `%s`",
                            last->name, rule_word(r, i), rule_word(r, 0));
    for (int x = 0; x < t->rank - 1; x++) {
        int at = type_find(a->q, t->axis[x].name);
        if (at < 0 || t->axis[x].name == a->over || t->axis[x].name == a->queries ||
            !extent_equal(a->q->axis[at].size, t->axis[x].size))
            return rule_refused(r, "the axis `%s` of the bias `%s` is no head of `%s`", t->axis[x].name,
                                rule_word(r, i), rule_word(r, 0));
    }
    return true;
}

static bool role_fits(Rule *r, const Axes *a, int i)
{
    const char *role = node_attr(r->n, ATTR_roles)->names.items[i - FIRST_ROLE];
    if (!strcmp(role, "projection") || !strcmp(role, "codebook"))
        return rows_fit(r, a, i);
    if (!strcmp(role, "keep") || !strcmp(role, "document"))
        return per_key_fits(r, a, i, DT_I32, true);
    if (!strcmp(role, "offset"))
        return per_key_fits(r, a, i, DT_F32, true);
    if (!strcmp(role, "prefix"))
        return per_key_fits(r, a, i, DT_I32, false);
    if (!strcmp(role, "bias"))
        return bias_fits(r, a, i);
    if (!strcmp(role, "mask"))
        return mask_fits(r, a, i);
    return (rule_in(r, i)->rank == 0 && rule_in(r, i)->dtype == DT_I32) ||
           rule_refused(r, "the layer number `%s` is %s, not i32", rule_word(r, i), rule_type(r, rule_in(r, i)));
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

const Cache *graph_cache(const Graph *model, const char *name)
{
    for (int i = 0; i < model->n_caches; i++)
        if (name && !strcmp(model->caches[i].name, name))
            return &model->caches[i];
    return NULL;
}

static int64_t size_of(const Type *t, const char *axis)
{
    return t->axis[type_find(t, axis)].size.base;
}

static const Axis *values_axis(const Type *k, const Type *v, const char *over)
{
    for (int i = 0; i < v->rank; i++)
        if (type_find(k, v->axis[i].name) < 0 || v->axis[i].name == over)
            return &v->axis[i];
    return NULL;
}

static const Node *rows_of(const Node *n)
{
    return role_of(n, n->op == OP_linear_attend ? "projection" : "codebook");
}

int64_t attend_features(const Node *n)
{
    const Node *rows = rows_of(n);
    if (!rows)
        return size_of(n->inputs[1]->type, node_attr(n, ATTR_over)->names.items[0]);
    return rows->type->axis[rows->type->rank - 2].size.base * (node_features(n, "hyperbolic") ? 2 : 1);
}

static bool keeps_keys(const Node *n)
{
    const char *recent = attr_name(n, ATTR_recent);
    return recent && !strcmp(recent, "keys");
}

int64_t attend_recent(const Node *n)
{
    return role_of(n, "bias") || keeps_keys(n) ? attr_int(n, ATTR_block, 0) : 0;
}

int64_t attend_state(const Node *n)
{
    const Type *k = n->inputs[1]->type, *v = n->inputs[2]->type;
    const char *over = node_attr(n, ATTR_over)->names.items[0];
    int64_t width = values_axis(k, v, over)->size.base, each = attend_features(n);
    if (n->op == OP_codebook_attend)
        return each * (width + 1) + 2 * attend_recent(n) * (width + 1 + (keeps_keys(n) ? size_of(k, over) : 0));
    return each * (width + (node_features(n, "positive") || node_features(n, "hyperbolic") ? 2 : 1));
}

/* The cache of one layer: the batch axes of the keys in their order, then one axis that holds the state. */
static bool state_fits(Rule *r, const Axes *a)
{
    const char *name = attr_name(r->n, ATTR_cache);
    const Graph *model = graph_model(r->n->graph);
    const Cache *cache = graph_cache(model, name);
    if ((name != NULL) != (role_input(r->n, "layer") >= 0))
        return rule_refused(r, "`cache` and the role `layer` come together");
    if (!name)
        return !node_attr(r->n, ATTR_start) || rule_refused(r, "`start` counts layers of a cache that it has not");
    if (!cache || cache->growing >= 0)
        return rule_refused(r, cache ? "the cache `%s` grows: it is no state" : "there is no cache `%s`", name);
    if (!attr_bool(r->n, ATTR_causal, false))
        return rule_refused(r, "a state of the earlier keys needs `causal`");
    if (!extent_equal(a->k->axis[type_find(a->k, a->keys)].size, a->q->axis[type_find(a->q, a->queries)].size))
        return rule_refused(r, "with a cache the keys are those of the rows, but `%s` is %s and `%s` is %s",
                            a->queries, rule_type(r, a->q), a->keys, rule_type(r, a->k));
    int at = 0;
    bool fits = cache->type->dtype == DT_F32;
    for (int i = 0; i < a->k->rank; i++) {
        const Axis *x = &a->k->axis[i];
        if (x->name == a->keys || x->name == a->over)
            continue;
        fits = fits && at < cache->type->rank && cache->type->axis[at].name == x->name &&
               extent_equal(cache->type->axis[at].size, x->size);
        at++;
    }
    if (!fits || at != cache->type->rank - 1 ||
        !extent_equal(cache->type->axis[at].size, extent_const(attend_state(r->n))))
        return rule_refused(r, "the cache `%s` holds %s: it must be the batch axes of `%s` and %lld numbers", name,
                            rule_type(r, cache->type), rule_word(r, 1), (long long)attend_state(r->n));
    for (int i = 0; i < model->n_symbols; i++)
        if (!strcmp(model->symbols[i]->name, "past"))
            return true;
    return rule_refused(r, "%s with a cache needs the symbol `past`", rule_op(r));
}

/* ---- attributes that go together --------------------------------------------------------------------------------- */

static bool has(const Rule *r, const char *role)
{
    return role_input(r->n, role) >= 0;
}

static bool features_fit(Rule *r)
{
    static const char *const all[] = {"none", "elu1", "relu", "positive", "hyperbolic", "codes", NULL};
    const Node *n = r->n;
    const char *features = attr_name(n, ATTR_features);
    bool relu = node_features(n, "relu"), positive = node_features(n, "positive"), codes = node_features(n, "codes");
    bool exponential = positive || node_features(n, "hyperbolic");
    double eps = attr_float(n, ATTR_eps, 0), ratio = attr_float(n, ATTR_ratio, 1), tau = attr_float(n, ATTR_tau, 0),
           scale = attr_float(n, ATTR_scale, 1);
    if (!is_one_of(features, all))
        return rule_refused(r, "features are none, elu1, relu, positive, hyperbolic or codes, not %s",
                            features ? features : "missing");
    if ((exponential || codes) && !has(r, "projection"))
        return rule_refused(r, "%s features need a projection", features);
    if (!exponential && !codes && !relu && has(r, "projection"))
        return rule_refused(r, "features=%s takes no projection", features);
    if (!(scale > 0) || !isfinite(scale))
        return rule_refused(r, "`scale` must be above 0: features take its root");
    if (node_attr(n, ATTR_eps) && ((!relu && !positive) || !(eps >= 0) || !isfinite(eps)))
        return rule_refused(r, "`eps` belongs to relu and positive features and is not below 0");
    if (node_attr(n, ATTR_ratio) && (!relu || !isfinite(ratio)))
        return rule_refused(r, "`ratio` belongs to relu features and is finite");
    if (codes != (node_attr(n, ATTR_tau) != NULL) || (codes && (!(tau > 0) || !isfinite(tau))))
        return rule_refused(r, "`tau` belongs to features=codes and is above 0");
    if (has(r, "offset") && !exponential)
        return rule_refused(r, "`offset` is added to an exponent: it needs positive or hyperbolic features");
    if (positive && eps > 0 && (attr_bool(n, ATTR_causal, false) || has(r, "document")))
        return rule_refused(r, "positive features with eps > 0 see one maximum over all keys: a later key would change "
                               "earlier rows. Causal and document masks need eps = 0");
    return !positive || eps == 0 || !has(r, "offset") || rule_refused(r, "`offset` needs eps = 0");
}

static bool codebook_fits(Rule *r)
{
    static const char *const recents[] = {"codes", "keys", NULL};
    const Node *n = r->n;
    bool causal = attr_bool(n, ATTR_causal, false), block = node_attr(n, ATTR_block) != NULL;
    double scale = attr_float(n, ATTR_scale, 1);
    if (!has(r, "codebook"))
        return rule_refused(r, "codebook_attend needs a codebook");
    if (!isfinite(scale))
        return rule_refused(r, "`scale` is no number");
    if (block && (attr_int(n, ATTR_block, 0) < 1 || attr_int(n, ATTR_block, 0) > INT32_MAX))
        return rule_refused(r, "`block` is %lld positions", (long long)attr_int(n, ATTR_block, 0));
    if (node_attr(n, ATTR_recent) && !is_one_of(attr_name(n, ATTR_recent), recents))
        return rule_refused(r, "`recent` keys are codes or keys, not %s", attr_name(n, ATTR_recent));
    if (!block && (has(r, "bias") || keeps_keys(n)))
        return rule_refused(r, "%s needs `block`", has(r, "bias") ? "a bias of recent keys" : "recent=keys");
    return n->graph->level != LEVEL_KERNEL || causal || attend_recent(n) == 0 ||
           rule_refused(r, "a bias and recent=keys speak of earlier keys: they need `causal` in a kernel");
}

static const Type *infer_rows(Rule *r, const Axes *a)
{
    Type all = {.dtype = DT_F32};
    for (int i = 0; i < a->q->rank; i++)
        if (a->q->axis[i].name != a->over)
            all.axis[all.rank++] = a->q->axis[i];
    all.axis[all.rank++] = *values_axis(a->k, a->v, a->over);
    return type_new(r->cx, all.dtype, all.rank, all.axis);
}

const Type *infer_linear(Rule *r)
{
    static const char *const linear[] = {"projection", "mask", "keep", "prefix", "document", "offset", "layer", NULL};
    static const char *const codebook[] = {"codebook", "bias", "mask", "keep", "layer", NULL};
    Axes a;
    bool is_linear = r->n->op == OP_linear_attend, causal = attr_bool(r->n, ATTR_causal, false);
    if (!axes_fit(r, &a) || !roles_fit(r, is_linear ? linear : codebook))
        return NULL;
    for (int i = FIRST_ROLE; i < r->n->n_inputs; i++)
        if (!role_fits(r, &a, i))
            return NULL;
    if (!(is_linear ? features_fit(r) : codebook_fits(r)))
        return NULL;
    if (has(r, "prefix") && !causal)
        return rule_refuse(r, "`prefix` is what causal rows see beyond their own position: it needs `causal`");
    if (has(r, "document") && attr_name(r->n, ATTR_cache))
        return rule_refuse(r, "a state holds keys of all documents: `document` cannot have a cache");
    if (!state_fits(r, &a))
        return NULL;
    return rule_in_declared_order(r, infer_rows(r, &a));
}
