/* Attributes: typed values sorted by id. Setting one replaces it; lists are copied into the arena. */
#include <assert.h>
#include <string.h>
#include "ir/ir.h"

const Attr *node_attr(const Node *n, AttrId id)
{
    for (int i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].id == id)
            return &n->attrs[i];
    return NULL;
}

int64_t attr_int(const Node *n, AttrId id, int64_t otherwise)
{
    assert(attr_info[id].kind == ATTR_KIND_INT);
    const Attr *a = node_attr(n, id);
    return a ? a->integer : otherwise;
}

double attr_float(const Node *n, AttrId id, double otherwise)
{
    assert(attr_info[id].kind == ATTR_KIND_FLOAT);
    const Attr *a = node_attr(n, id);
    return a ? a->real : otherwise;
}

bool attr_bool(const Node *n, AttrId id, bool otherwise)
{
    assert(attr_info[id].kind == ATTR_KIND_BOOL);
    const Attr *a = node_attr(n, id);
    return a ? a->flag : otherwise;
}

const char *attr_name(const Node *n, AttrId id)
{
    assert(attr_info[id].kind == ATTR_KIND_NAME);
    const Attr *a = node_attr(n, id);
    return a ? a->name : NULL;
}

DType weight_storage(const Node *weight)
{
    const char *word = weight->op == OP_weight ? attr_name(weight, ATTR_storage) : NULL;
    DType t = DT_F32;
    if (weight->op == OP_weight && attr_name(weight, ATTR_rounded))
        return DT_BF16;
    return word && !node_attr(weight, ATTR_gain) && !node_attr(weight, ATTR_factor) && dtype_from_name(word, &t) ? t : DT_F32;
}

bool attr_has_name(const Node *n, AttrId id, const char *name)
{
    assert(attr_info[id].kind == ATTR_KIND_NAMES);
    const Attr *a = node_attr(n, id);
    for (int i = 0; a && i < a->names.count; i++)
        if (a->names.items[i] == name || strcmp(a->names.items[i], name) == 0)
            return true;
    return false;
}

/* The attribute `id` of n, made in its place if it was absent. A fresh array each time: nodes may share the old one. */
static Attr *place_for(Context *cx, Node *n, AttrId id)
{
    const Attr *old = node_attr(n, id);
    int count = n->n_attrs + (old ? 0 : 1);
    Attr *fresh = arena_array(cx->arena, (size_t)count, sizeof *fresh), *found = NULL;
    int j = 0;
    for (int i = 0; i < n->n_attrs; i++) {
        if (!old && !found && n->attrs[i].id > id)
            found = &fresh[j++];
        fresh[j] = n->attrs[i];
        if (fresh[j].id == id)
            found = &fresh[j];
        j++;
    }
    if (!found)
        found = &fresh[j];
    n->attrs = fresh;
    n->n_attrs = count;
    *found = (Attr){.id = id};
    return found;
}

void attr_unset(Context *cx, Node *n, AttrId id)
{
    if (!node_attr(n, id))
        return;
    Attr *fresh = arena_array(cx->arena, (size_t)n->n_attrs, sizeof *fresh);
    int count = 0;
    for (int i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].id != id)
            fresh[count++] = n->attrs[i];
    n->attrs = fresh;
    n->n_attrs = count;
}

void attr_set_int(Context *cx, Node *n, AttrId id, int64_t v)
{
    assert(attr_info[id].kind == ATTR_KIND_INT);
    place_for(cx, n, id)->integer = v;
}

void attr_set_float(Context *cx, Node *n, AttrId id, double v)
{
    assert(attr_info[id].kind == ATTR_KIND_FLOAT);
    place_for(cx, n, id)->real = v;
}

void attr_set_bool(Context *cx, Node *n, AttrId id, bool v)
{
    assert(attr_info[id].kind == ATTR_KIND_BOOL);
    place_for(cx, n, id)->flag = v;
}

void attr_set_name(Context *cx, Node *n, AttrId id, const char *v)
{
    assert(attr_info[id].kind == ATTR_KIND_NAME);
    place_for(cx, n, id)->name = name_of(cx->names, v);
}

void attr_set_names(Context *cx, Node *n, AttrId id, const char *const *items, int count)
{
    assert(attr_info[id].kind == ATTR_KIND_NAMES);
    const char **copy = arena_array(cx->arena, (size_t)count + 1, sizeof *copy);
    for (int i = 0; i < count; i++)
        copy[i] = name_of(cx->names, items[i]);
    Attr *a = place_for(cx, n, id);
    a->names.items = copy;
    a->names.count = count;
}

static void *copy_list(Context *cx, const void *items, int count, size_t each)
{
    void *copy = arena_array(cx->arena, (size_t)count + 1, each);
    if (count > 0)
        memcpy(copy, items, (size_t)count * each);
    return copy;
}

void attr_set_ints(Context *cx, Node *n, AttrId id, const int64_t *items, int count)
{
    assert(attr_info[id].kind == ATTR_KIND_INTS);
    int64_t *copy = copy_list(cx, items, count, sizeof *items);
    Attr *a = place_for(cx, n, id);
    a->ints.items = copy;
    a->ints.count = count;
}

void attr_set_floats(Context *cx, Node *n, AttrId id, const double *items, int count)
{
    assert(attr_info[id].kind == ATTR_KIND_FLOATS);
    double *copy = copy_list(cx, items, count, sizeof *items);
    Attr *a = place_for(cx, n, id);
    a->floats.items = copy;
    a->floats.count = count;
}

void attr_set_extent(Context *cx, Node *n, AttrId id, Extent v)
{
    assert(attr_info[id].kind == ATTR_KIND_EXTENT);
    place_for(cx, n, id)->extent = v;
}

/* Lists are never changed in place, so the copy may share them. */
void attrs_copy(Context *cx, Node *to, const Node *from)
{
    to->attrs = copy_list(cx, from->attrs, from->n_attrs, sizeof *from->attrs);
    to->n_attrs = from->n_attrs;
}

/* ---- a gemm's products of the side ------------------------------------------------------------------------------- */

int gemm_sides(const Node *n)
{
    const Attr *side = n->op == OP_gemm ? node_attr(n, ATTR_side) : NULL;
    return side ? side->ints.count : 0;
}

int gemm_side(const Node *n, int k)
{
    return n->n_inputs - 2 * (gemm_sides(n) - k);
}

int gemm_side_of(const Node *n, int k)
{
    return (int)node_attr(n, ATTR_side)->ints.items[k];
}
