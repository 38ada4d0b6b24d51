/* Which masks leave a kernel that keeps sums over keys: each row takes the sums as they are after some key, so the keys that it sees
 * must be those up to its own position, or all, without keys that no row sees, and without those of other documents.
 *
 *     keep        a condition on keys and batch entries alone
 *     causal      j <= i
 *     prefix      j <= i | j < n, with the same n for all rows of a batch entry
 *     document    number(i) == number(j), the same numbers at both positions
 *
 * and all that joins these by `and`. Everything else - windows, trees, permutations - would have to take keys out of a sum again. */
#include "passes/linear.h"

typedef struct Sides { /* the axes of a mask */
    PassContext *px;
    const char *queries, *keys;
    const Type *k;
    Extent ahead; /* position of the first row: keys - rows */
    bool square;  /* both axes are there, and `ahead` is known */
} Sides;

static bool has(const Node *n, const char *axis)
{
    return type_find(n->type, axis) >= 0;
}

/* ---- positions --------------------------------------------------------------------------------------------------- */

enum { MAX_DEPTH = 16 };

typedef struct Linear { /* row * s + key * j + number */
    int64_t row, key;
    Extent number;
} Linear;

static bool is_whole(double x)
{
    return x == (double)(int64_t)x && x > -1e9 && x < 1e9;
}

static bool linear(const Sides *s, const Node *n, int depth, Linear *out)
{
    const Attr *start = node_attr(n, ATTR_start), *size = node_attr(n, ATTR_size);
    Linear b;
    double c;
    *out = (Linear){0};
    if (depth++ == MAX_DEPTH)
        return false;
    if (is_const(n, &c)) {
        out->number = extent_const((int64_t)c);
        return is_whole(c);
    }
    switch (n->op) {
    case OP_iota:
        out->row = n->type->axis[0].name == s->queries;
        out->key = n->type->axis[0].name == s->keys;
        out->number = start ? start->extent : extent_const(0);
        return out->row || out->key;
    case OP_extent: out->number = size->extent; return true;
    case OP_cast:
    case OP_transpose: return linear(s, n->inputs[0], depth, out);
    case OP_add:
    case OP_sub: break;
    default: return false;
    }
    int64_t sign = n->op == OP_add ? 1 : -1;
    if (!linear(s, n->inputs[0], depth, out) || !linear(s, n->inputs[1], depth, &b) ||
        !extent_scale(b.number, sign, &b.number) || !extent_add(out->number, b.number, &out->number))
        return false;
    out->row += sign * b.row;
    out->key += sign * b.key;
    return true;
}

/* left <= right of whole numbers as left - right <= 0. */
static bool ordered(const Sides *s, const Node *n, Linear *d)
{
    Linear r;
    if ((n->op != OP_le && n->op != OP_lt) || !linear(s, n->inputs[0], 0, d) || !linear(s, n->inputs[1], 0, &r) ||
        !extent_sub(d->number, r.number, &d->number) ||
        (n->op == OP_lt && !extent_add(d->number, extent_const(1), &d->number)))
        return false;
    d->row -= r.row;
    d->key -= r.key;
    return true;
}

static bool is_causal(const Sides *s, const Node *n)
{
    Linear d;
    Extent off;
    return s->square && ordered(s, n, &d) && d.key == 1 && d.row == -1 && extent_add(d.number, s->ahead, &off) &&
           extent_equal(off, extent_const(0));
}

/* j < value + plus; the value has batch axes of the keys alone. */
static bool is_prefix(const Sides *s, const Node *n, Limit *limit)
{
    Linear d, left;
    if (ordered(s, n, &d)) {
        *limit = (Limit){0};
        return d.key == 1 && d.row == 0 && extent_sub(extent_const(1), d.number, &limit->plus);
    }
    if ((n->op != OP_le && n->op != OP_lt) || !linear(s, n->inputs[0], 0, &left) || left.key != 1 || left.row != 0)
        return false;
    Node *value = n->inputs[1];
    if (value->type->dtype != DT_I32 || has(value, s->keys))
        return false;
    for (int i = 0; i < value->type->rank; i++)
        if (type_find(s->k, value->type->axis[i].name) < 0)
            return false;
    limit->value = value;
    return extent_sub(extent_const(n->op == OP_le), left.number, &limit->plus);
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

typedef struct Stretch { /* a value along one axis as a stretch of another value's axis */
    const Node *of;
    const char *axis;
    Extent start;
} Stretch;

static bool only_renames(const Node *view, const char *axis, const char **inner)
{
    const Type *to = view->type, *from = view->inputs[0]->type;
    *inner = NULL;
    for (int i = 0; i < to->rank && to->rank == from->rank; i++) {
        if (!extent_equal(to->axis[i].size, from->axis[i].size))
            return false;
        if (to->axis[i].name == axis)
            *inner = from->axis[i].name;
        else if (to->axis[i].name != from->axis[i].name)
            return false;
    }
    return *inner != NULL;
}

static Stretch stretch_of(const Node *n, const char *axis)
{
    Stretch s = {n, axis, extent_const(0)};
    for (;;) {
        const Node *x = s.of, *in = x->n_inputs ? x->inputs[0] : NULL;
        const Attr *start = node_attr(x, ATTR_start), *over = node_attr(x, ATTR_over);
        const char *inner = s.axis;
        Extent more = extent_const(0);
        if (x->op == OP_gather && x->inputs[1]->op == OP_iota && x->inputs[1]->type->axis[0].name == s.axis) {
            start = node_attr(x->inputs[1], ATTR_start);
            inner = over->names.items[0];
            more = start ? start->extent : more;
        } else if (x->op == OP_slice && type_find(x->type, s.axis) >= 0 && x->type->rank == in->type->rank) {
            bool cut = type_find(in->type, s.axis) < 0 || attr_name(x, ATTR_axis) == s.axis;
            inner = cut ? attr_name(x, ATTR_axis) : s.axis;
            more = cut && start ? start->extent : more;
        } else if (x->op != OP_transpose && (x->op != OP_view || !only_renames(x, s.axis, &inner))) {
            return s;
        }
        if (!extent_add(s.start, more, &s.start))
            return s;
        s.of = in;
        s.axis = inner;
    }
}

/* The numbers along the keys, if n compares those of the row's own position with them. */
static Node *document_of(const Sides *s, const Node *n)
{
    Extent apart;
    if (n->op != OP_eq || !s->square)
        return NULL;
    for (int i = 0; i < 2; i++) {
        Node *row = n->inputs[i], *key = n->inputs[1 - i];
        if (!has(row, s->queries) || has(row, s->keys) || !has(key, s->keys) || has(key, s->queries) ||
            key->type->dtype != DT_I32)
            continue;
        for (int a = 0; a < key->type->rank; a++)
            if (type_find(s->k, key->type->axis[a].name) < 0)
                return NULL;
        Stretch r = stretch_of(row, s->queries), c = stretch_of(key, s->keys);
        if (r.of == c.of && r.axis == c.axis && extent_sub(r.start, c.start, &apart) && extent_equal(apart, s->ahead))
            return key;
    }
    return NULL;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* What a reader of the remark calls the condition. */
static const char *sentence(const Sides *s, const Node *n)
{
    Linear d;
    if (!has(n, s->keys))
        return "the mask leaves out whole rows";
    if (ordered(s, n, &d) && d.key == -1 && d.row == 1)
        return "the mask is a window: keys that it leaves behind would have to be taken out of the sums again";
    if (ordered(s, n, &d) && d.key == 1 && d.row == -1)
        return "the mask bounds the keys of a row by another position than the row's own";
    if (n->op == OP_eq)
        return "the mask compares values of rows and keys that are not the same numbers at both positions";
    return "the mask is no causal, prefix, document or padding mask, nor several of these: a row's keys would have to be taken out of "
           "the sums again";
}

static bool refuse(const Sides *s, LinearMask *m, const Node *n)
{
    m->failing = n;
    m->why = sentence(s, n);
    return false;
}

static bool of_keys(const Sides *s, const Node *n)
{
    for (int i = 0; i < n->type->rank; i++)
        if (type_find(s->k, n->type->axis[i].name) < 0)
            return false;
    return true;
}

/* causal | j < n | ..: at least one of them is causal. */
static bool alternatives(const Sides *s, LinearMask *m, Node *n, bool *causal)
{
    n = below_transposes(n);
    if (n->op == OP_or)
        return alternatives(s, m, n->inputs[0], causal) && alternatives(s, m, n->inputs[1], causal);
    if (is_causal(s, n)) {
        *causal = true;
        return true;
    }
    return m->n_prefix < MAX_CONDITIONS && is_prefix(s, n, &m->prefix[m->n_prefix]) && ++m->n_prefix;
}

static bool condition(const Sides *s, LinearMask *m, Node *n)
{
    n = below_transposes(n);
    if (n->op == OP_and && !of_keys(s, n))
        return condition(s, m, n->inputs[0]) && condition(s, m, n->inputs[1]);
    if (of_keys(s, n)) {
        if (m->n_keep == MAX_CONDITIONS)
            return refuse(s, m, n);
        m->keep[m->n_keep++] = n;
        return true;
    }
    if (is_causal(s, n)) {
        m->causal = true;
        return true;
    }
    bool causal = false, first = m->n_prefix == 0;
    if (n->op == OP_or && first && alternatives(s, m, n, &causal) && causal) {
        m->causal = true;
        return true;
    }
    Node *document = document_of(s, n);
    if (!document || (m->document && m->document != document))
        return refuse(s, m, n);
    m->document = document;
    return true;
}

/* Two causal conditions, of which one has a prefix: the narrower counts. */
static bool find_bare_causal(const Sides *s, Node *n)
{
    n = below_transposes(n);
    if (n->op == OP_and)
        return find_bare_causal(s, n->inputs[0]) || find_bare_causal(s, n->inputs[1]);
    return is_causal(s, n);
}

bool linear_mask(PassContext *px, Node *mask, const char *queries, const char *keys, const Type *k, LinearMask *out)
{
    *out = (LinearMask){0};
    if (!mask)
        return true;
    Sides s = {.px = px, .queries = queries, .keys = keys, .k = k};
    int row = type_find(mask->type, queries), key = type_find(mask->type, keys);
    s.square = row >= 0 && key >= 0 && extent_sub(mask->type->axis[key].size, mask->type->axis[row].size, &s.ahead);
    if (!condition(&s, out, mask))
        return false;
    if (find_bare_causal(&s, mask))
        out->n_prefix = 0;
    return true;
}

const char *linear_mask_refused(PassContext *px, Node *mask, const char *queries, const char *keys, const Type *k,
                                const Node **evidence)
{
    LinearMask m;
    if (linear_mask(px, mask, queries, keys, k, &m))
        return NULL;
    *evidence = m.failing;
    return m.why;
}

/* ---- what a kernel takes ----------------------------------------------------------------------------------------- */

Node *linear_keep(PassContext *px, Node *where, const LinearMask *m, Axis keys)
{
    Node *all = NULL;
    for (int i = 0; i < m->n_keep; i++)
        all = all ? make_two(px, where, OP_and, all, m->keep[i]) : m->keep[i];
    if (!all)
        return NULL;
    if (!has(all, keys.name)) { /* whole batch entries */
        Type t = *all->type;
        t.axis[t.rank++] = keys;
        Node *wide = node_before(px->cx, where, OP_expand, type_new(px->cx, t.dtype, t.rank, t.axis), 1, &all);
        inherit(wide, all);
        attr_set_name(px->cx, wide, ATTR_axis, keys.name);
        all = wide;
    }
    return make_before(px, where, OP_cast, type_with_dtype(px->cx, all->type, DT_I32), 1, &all, all);
}

static Node *whole_number(PassContext *px, Node *where, Extent e)
{
    if (extent_is_const(e))
        return make_const(px, where, (double)e.base, DT_I32);
    Node *n = node_before(px->cx, where, OP_extent, type_new(px->cx, DT_F32, 0, NULL), 0, NULL);
    attr_set_extent(px->cx, n, ATTR_size, e);
    return make_before(px, where, OP_cast, type_with_dtype(px->cx, n->type, DT_I32), 1, &n, n);
}

Node *linear_prefix(PassContext *px, Node *where, const LinearMask *m)
{
    Node *most = NULL;
    for (int i = 0; i < m->n_prefix; i++) {
        const Limit *l = &m->prefix[i];
        Node *n = l->value;
        if (!n)
            n = whole_number(px, where, l->plus);
        else if (!extent_equal(l->plus, extent_const(0)))
            n = make_two(px, where, OP_add, n, whole_number(px, where, l->plus));
        most = most ? make_two(px, where, OP_maximum, most, n) : n;
    }
    return most;
}
