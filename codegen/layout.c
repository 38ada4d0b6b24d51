/* Where a value's elements lie: one stride an axis, found by going through views, slices, transposes and expands down to the storage.
 *
 * Storage is row-major in the order of the type's axes, except caches ([layer][other axes][growing axis][last axis]) and keys as
 * panels ([other axes][T / 32][head axis][32]). A stride is a constant times run-time sizes, so it can be printed and compared. */
#include "codegen/emit.h"

#include <string.h>

Stride stride_const(int64_t factor) { return (Stride){.factor = factor}; }

bool stride_is_const(Stride s, int64_t *value) {
    if (s.n && s.factor)
        return false;
    *value = s.factor;
    return true;
}

static bool times_rounded(Stride s, Extent size, int64_t round, Stride *out) {
    if (extent_is_const(size)) {
        if (size.base > INT64_MAX - round || __builtin_mul_overflow(s.factor, (size.base + round - 1) / round * round, &s.factor))
            return false;
    } else {
        if (s.n == MAX_RANK)
            return false;
        Extent rest = size; /* 4*B is 4 times B, so that it meets an axis of 4 and one of B */
        if (round == 1 && __builtin_mul_overflow(s.factor, extent_content(size, &rest), &s.factor))
            return false;
        s.size[s.n++] = (StrideFactor){rest, round};
    }
    *out = s;
    return true;
}

bool stride_times(Stride s, Extent size, Stride *out) { return times_rounded(s, size, 1, out); }

bool stride_equal(Stride a, Stride b) {
    if (a.factor != b.factor || (a.factor && a.n != b.n))
        return false;
    for (int i = 0; a.factor && i < a.n; i++) {
        int j = 0;
        while (j < b.n && !(b.size[j].round == a.size[i].round && extent_equal(a.size[i].size, b.size[j].size)))
            j++;
        if (j == b.n)
            return false;
        b.size[j].round = -1;
    }
    return true;
}

/* ---- storage ------------------------------------------------------------------------------------------------------------------- */

static const Cache *cache_of(const Emitter *e, const Node *home) {
    return home->place.kind == PLACE_CACHE ? &e->model->caches[home->place.index] : NULL;
}

/* Strides for axes stored in the order `order[0..n)` (positions in the type), sizes taken from `stored`. */
static bool pack_axes(Access *a, const Type *stored, const int *order, int n) {
    Stride s = stride_const(1);
    for (int i = n - 1; i >= 0; i--) {
        int position = order[i];
        bool fits;
        a->axis[position].stride = s;
        if (a->panels && position == a->keys)
            fits = times_rounded(s, stored->axis[position].size, KEY_PANEL, &s);
        else
            fits = times_rounded(s, stored->axis[position].size, 1, &s);
        if (!fits)
            return false;
    }
    if (a->panels) {                    /* inside a panel: [head axis][32] */
        int64_t head = stored->axis[a->head].size.base;
        a->axis[a->keys].stride = stride_const(KEY_PANEL * head);
        a->axis[a->head].stride = stride_const(KEY_PANEL);
    }
    return true;
}

static bool storage_access(Emitter *e, const Node *home, Access *a) {
    const Type *type = home->type, *stored = type;
    const Cache *cache = cache_of(e, home);
    const char *layout = attr_name(home, ATTR_layout);
    int order[MAX_RANK], n = 0, growing = -1;
    a->home = home;
    a->dtype = type->dtype;
    a->rank = type->rank;
    for (int i = 0; i < type->rank; i++)
        a->axis[i] = (AccessAxis){type->axis[i].name, type->axis[i].size, stride_const(0)};
    a->panels = cache ? cache->panels : layout && !strcmp(layout, "panels");
    if (cache) {
        stored = cache->type;
        growing = cache->growing;
    } else if (a->panels && attr_name(home, ATTR_keys))
        growing = type_find(type, attr_name(home, ATTR_keys));
    if (a->panels) {
        a->keys = growing;
        a->head = type->rank - 1;
        if (growing < 0 || growing == a->head || !extent_is_const(stored->axis[a->head].size))
            return false;
    }
    for (int i = 0; i < type->rank; i++)
        if (i != growing && (growing < 0 || i != type->rank - 1))
            order[n++] = i;
    if (growing >= 0) {
        order[n++] = growing;
        if (growing != type->rank - 1)
            order[n++] = type->rank - 1;
    }
    return pack_axes(a, stored, order, n);
}

/* ---- views ------------------------------------------------------------------------------------------------------------------------ */

/* A product of sizes: a constant and the run-time ones. */
typedef struct Product { int64_t base; int n; Extent size[MAX_RANK]; } Product;

static void product_add(Product *p, Extent e) {
    if (extent_is_const(e))
        p->base *= e.base;
    else
        p->base *= extent_content(e, &p->size[p->n++]);
}

static bool product_equal(Product a, Product b) {
    Stride s = {a.base, a.n, {{{0}, 0}}}, t = {b.base, b.n, {{{0}, 0}}};
    for (int i = 0; i < a.n; i++)
        s.size[i] = (StrideFactor){a.size[i], 1};
    for (int i = 0; i < b.n; i++)
        t.size[i] = (StrideFactor){b.size[i], 1};
    return stride_equal(s, t);
}

/* Axes [from, to) of `a` as one axis: its stride, or false if they do not lie behind one another. */
static bool merged_stride(const Access *a, int from, int to, Stride *out) {
    int last = -1;
    Stride outer = stride_const(0);
    for (int i = to - 1; i >= from; i--) {
        if (extent_is_const(a->axis[i].size) && a->axis[i].size.base == 1)
            continue;
        if (last < 0)
            *out = a->axis[i].stride;
        else if (!stride_equal(a->axis[i].stride, outer))
            return false;
        if (!stride_times(a->axis[i].stride, a->axis[i].size, &outer))
            return false;
        last = i;
    }
    if (last < 0)
        *out = stride_const(0);
    return true;
}

bool access_collapses(const Access *a, int first, int n) {
    Stride s;
    for (int i = first; i < first + n; i++)
        if (a->panels && n > 1 && (i == a->keys || i == a->head))
            return false;
    return merged_stride(a, first, first + n, &s);
}

/* Strides of axes [from, to) of `type` that together are one axis of stride `s`. */
static bool split_stride(const Type *type, int from, int to, Stride s, Access *out) {
    for (int i = to - 1; i >= from; i--) {
        out->axis[i] = (AccessAxis){type->axis[i].name, type->axis[i].size, s};
        if (!stride_times(s, type->axis[i].size, &s))
            return false;
    }
    return true;
}

/* `view`: neighbouring axes are matched in the smallest groups with equal products. */
static bool access_view(const Access *in, const Type *type, Access *out) {
    int i = 0, j = 0;
    while (i < in->rank || j < type->rank) {
        int from_i = i, from_j = j;
        Product have = {.base = 1}, want = {.base = 1};
        do {
            bool grow_in = j == type->rank || (i < in->rank && (have.n < want.n || (have.n == want.n && have.base <= want.base)));
            if (grow_in && i < in->rank)
                product_add(&have, in->axis[i++].size);
            else if (j < type->rank)
                product_add(&want, type->axis[j++].size);
            else
                return false;
        } while (!product_equal(have, want) || j == from_j || i == from_i);
        Stride s;
        if (in->panels && (i - from_i > 1 || j - from_j > 1)) {
            for (int p = from_i; p < i; p++)
                if (p == in->keys || p == in->head)
                    return false;
        }
        if (!merged_stride(in, from_i, i, &s) || !split_stride(type, from_j, j, s, out))
            return false;
        if (in->panels && i - from_i == 1 && j - from_j == 1) {
            if (from_i == in->keys)
                out->keys = from_j;
            if (from_i == in->head)
                out->head = from_j;
        }
    }
    return true;
}

/* Groups of size 1 at the ends: axes of size 1 stand alone and move nothing. */
static void drop_ones(const Access *in, Access *out, const Type *type, Type *rest) {
    *out = *in;
    out->rank = 0;
    for (int i = 0; i < in->rank; i++) {
        bool one = extent_is_const(in->axis[i].size) && in->axis[i].size.base == 1;
        if (one && !(in->panels && (i == in->keys || i == in->head)))
            continue;
        if (in->panels && i == in->keys)
            out->keys = out->rank;
        if (in->panels && i == in->head)
            out->head = out->rank;
        out->axis[out->rank++] = in->axis[i];
    }
    rest->rank = 0;
    rest->dtype = type->dtype;
    for (int i = 0; i < type->rank; i++)
        if (!extent_is_const(type->axis[i].size) || type->axis[i].size.base != 1)
            rest->axis[rest->rank++] = type->axis[i];
}

static bool through_view(const Access *in, const Type *type, Access *out) {
    Access dense, found;
    Type rest;
    drop_ones(in, &dense, type, &rest);
    found = dense;
    if (!access_view(&dense, &rest, &found))
        return false;
    *out = *in;
    out->rank = type->rank;
    for (int i = 0, k = 0; i < type->rank; i++) {
        bool one = extent_is_const(type->axis[i].size) && type->axis[i].size.base == 1;
        if (in->panels && !one && k == found.keys)
            out->keys = i;
        if (in->panels && !one && k == found.head)
            out->head = i;
        out->axis[i] = (AccessAxis){type->axis[i].name, type->axis[i].size, one ? stride_const(0) : found.axis[k].stride};
        k += !one;
    }
    return true;
}

/* transpose and expand: axes found by name, a new one moves nothing. */
static bool through_transpose(const Access *in, const Type *type, Access *out) {
    *out = *in;
    out->rank = type->rank;
    for (int i = 0; i < type->rank; i++) {
        const AccessAxis *from = access_axis(in, type->axis[i].name);
        out->axis[i] = from ? *from : (AccessAxis){type->axis[i].name, type->axis[i].size, stride_const(0)};
        if (in->panels && from && from - in->axis == in->keys)
            out->keys = i;
        if (in->panels && from && from - in->axis == in->head)
            out->head = i;
    }
    return true;
}

static bool through_slice(const Node *n, const Access *in, Access *out) {
    const char *axis = attr_name(n, ATTR_axis);
    const Attr *start = node_attr(n, ATTR_start);
    bool drops = n->type->rank < in->rank;
    *out = *in;
    out->rank = n->type->rank;
    for (int i = 0, j = 0; i < in->rank; i++) {
        bool cut = in->axis[i].name == axis;
        if (cut && in->panels && (i == in->keys || i == in->head))
            return false;
        if (cut && start && !(extent_is_const(start->extent) && !start->extent.base)) {
            if (out->n_start == MAX_RANK)
                return false;
            out->start[out->n_start++] = (AccessStart){start->extent, in->axis[i].stride};
        }
        if (cut && drops)
            continue;
        if (in->panels && i == in->keys)
            out->keys = j;
        if (in->panels && i == in->head)
            out->head = j;
        out->axis[j] = (AccessAxis){n->type->axis[j].name, n->type->axis[j].size, in->axis[i].stride};
        j++;
    }
    return true;
}

static bool follow(Emitter *e, const Node *value, Access *out) {
    bool view = op_info[value->op].class == CLASS_VIEW;
    if (!view)
        return storage_access(e, value, out);
    Access in = {0};
    if (!follow(e, value->inputs[0], &in))
        return false;
    switch (value->op) {
    case OP_view: return through_view(&in, value->type, out);
    case OP_transpose: return through_transpose(&in, value->type, out);
    case OP_slice: return through_slice(value, &in, out);
    case OP_expand: return through_transpose(&in, value->type, out);
    default: return false;
    }
}

bool access_of(Emitter *e, const Node *value, Access *out) {
    *out = (Access){0};
    if (!follow(e, value, out)) {
        emit_fail(e, value, "its elements cannot be reached by one stride an axis; a copy is missing");
        return false;
    }
    out->value = value;
    return true;
}

bool access_step(const Access *a, const Axis *axes, int n, Stride *out) {
    Access found = {0};
    *out = stride_const(0);
    for (int i = 0; i < n; i++) {
        const AccessAxis *axis = access_axis(a, axes[i].name);
        if (a->panels && axis && (axis - a->axis == a->keys || axis - a->axis == a->head))
            return false;
        found.axis[found.rank++] = axis ? *axis : (AccessAxis){axes[i].name, axes[i].size, stride_const(0)};
    }
    return merged_stride(&found, 0, n, out);
}

const AccessAxis *access_axis(const Access *a, const char *axis) {
    for (int i = 0; i < a->rank; i++)
        if (a->axis[i].name == axis)
            return &a->axis[i];
    return NULL;
}

const Node *kernel_get(const Node *n, int index) {
    if (n->type)
        return index ? NULL : n;
    for (const Node *g = n->next; g; g = g->next)
        if (g->op == OP_get && g->inputs[0] == n && attr_int(g, ATTR_index, 0) == index)
            return g;
    return NULL;
}
