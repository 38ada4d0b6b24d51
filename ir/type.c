/* Types: a dtype and a list of named axes. Immutable once made; names are interned, so they compare by pointer. */
#include "ir/ir.h"

const Type *type_new(Context *cx, DType dtype, int rank, const Axis *axes)
{
    Type *t = arena_alloc(cx->arena, sizeof *t);
    t->dtype = dtype;
    t->rank = rank;
    for (int i = 0; i < rank && i < MAX_RANK; i++)
        t->axis[i] = axes[i];
    return t;
}

const Type *type_with_dtype(Context *cx, const Type *t, DType dtype)
{
    return t->dtype == dtype ? t : type_new(cx, dtype, t->rank, t->axis);
}

int type_find(const Type *t, const char *axis)
{
    for (int i = 0; i < t->rank; i++)
        if (t->axis[i].name == axis)
            return i;
    return -1;
}

bool type_equal(const Type *a, const Type *b)
{
    if (a == b)
        return true;
    if (!a || !b || a->dtype != b->dtype || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->axis[i].name != b->axis[i].name || !extent_equal(a->axis[i].size, b->axis[i].size))
            return false;
    return true;
}

bool type_same_axes(const Type *a, const Type *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++) {
        int j = type_find(b, a->axis[i].name);
        if (j < 0 || !extent_equal(a->axis[i].size, b->axis[j].size))
            return false;
    }
    return true;
}

static bool is_own_symbol(Axis a)
{
    return a.size.n == 1 && a.size.base == 0 && a.size.factor[0] == 1 && a.size.symbol[0]->name == a.name;
}

void type_print(const Type *t, Text *out)
{
    text_add(out, "%s", dtype_name(t->dtype));
    if (t->rank == 0)
        return;
    text_char(out, '[');
    for (int i = 0; i < t->rank; i++) {
        text_add(out, "%s%s", i ? ", " : "", t->axis[i].name);
        if (is_own_symbol(t->axis[i]))
            continue;
        text_char(out, '=');
        extent_print(t->axis[i].size, out);
    }
    text_char(out, ']');
}

int type_shared(const Type *a, const Type *b, const char *out[MAX_RANK])
{
    int n = 0;
    for (int i = 0; i < b->rank; i++)
        if (type_find(a, b->axis[i].name) >= 0)
            out[n++] = b->axis[i].name;
    return n;
}
