/* The tables that expand from ops.def and attrs.def. */
#include <string.h>
#include "ir/ir.h"

const OpInfo op_info[OP_COUNT] = {
#define G LEVEL_GRAPH
#define K LEVEL_KERNEL
#define B LEVEL_BODY
#define OP(name, arity, class, flags, levels, template, sentence) \
    [OP_##name] = {#name, arity, CLASS_##class, flags, levels, template, sentence},
#include "ir/ops.def"
#undef OP
#undef G
#undef K
#undef B
};

const AttrInfo attr_info[ATTR_COUNT] = {
#define ATTR(name, kind, sentence) [ATTR_##name] = {#name, ATTR_KIND_##kind, sentence},
#include "ir/attrs.def"
#undef ATTR
};

bool op_from_name(const char *name, Op *out) {
    for (int i = 0; i < OP_COUNT; i++) {
        if (strcmp(op_info[i].name, name) != 0) continue;
        *out = (Op)i;
        return true;
    }
    return false;
}
