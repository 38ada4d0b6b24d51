/* The tables that expand from ops.def and attrs.def. */
#include <string.h>
#include "ir/ir.h"

const OpInfo op_info[OP_COUNT] = {
#define G LEVEL_GRAPH
#define K LEVEL_KERNEL
#define B LEVEL_BODY
#define OP(name, arity, class, flags, levels, template, sentence)                                                      \
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

bool op_from_name(const char *name, Op *out)
{
    for (int i = 0; i < OP_COUNT; i++) {
        if (strcmp(op_info[i].name, name) != 0)
            continue;
        *out = (Op)i;
        return true;
    }
    return false;
}

bool op_has_body(Op op)
{
    return op_info[op].class == CLASS_KERNEL && !(op_info[op].flags & OPF_BARE);
}

static bool is_linear(Op op)
{
    return op == OP_linear_attend || op == OP_codebook_attend;
}

bool op_takes(Op op, AttrId attr)
{
    switch (attr) {
    case ATTR_key:
    case ATTR_stack:
    case ATTR_stored:
    case ATTR_strides:
    case ATTR_gain:
    case ATTR_plus:
    case ATTR_factor:
    case ATTR_storage:
    case ATTR_rounded: return op == OP_weight;
    case ATTR_start:
        return op == OP_weight || op == OP_iota || op == OP_slice || op == OP_choose || op == OP_append ||
               is_linear(op);
    case ATTR_value: return op == OP_const || op == OP_choose;
    case ATTR_table: return op == OP_table;
    case ATTR_size: return op == OP_extent || op == OP_choose;
    case ATTR_over:
        return op_info[op].class == CLASS_REDUCE || op_info[op].class == CLASS_ROW ||
               op_info[op].class == CLASS_CONTRACT || op == OP_gather || op == OP_topk ||
               (op_info[op].class == CLASS_KERNEL && op != OP_map);
    case ATTR_keys: return op == OP_attend || op == OP_map || op == OP_append || is_linear(op);
    case ATTR_queries:
    case ATTR_roles:
    case ATTR_causal: return is_linear(op);
    case ATTR_features:
    case ATTR_eps:
    case ATTR_ratio:
    case ATTR_tau: return op == OP_linear_attend;
    case ATTR_block:
    case ATTR_recent: return op == OP_codebook_attend;
    case ATTR_axis: return op == OP_slice || op == OP_concat || op == OP_expand || op == OP_topk || op == OP_weight;
    case ATTR_interleave: return op == OP_rotate;
    case ATTR_reverse:
    case ATTR_exclusive: return op == OP_cumsum || op == OP_cummax;
    case ATTR_scale: return op == OP_attend || is_linear(op);
    case ATTR_second:
    case ATTR_lse: return op == OP_attend;
    case ATTR_weights:
    case ATTR_side: return op == OP_gemm;
    case ATTR_cache: return op == OP_append || is_linear(op);
    case ATTR_index: return op == OP_get || op == OP_param || op == OP_carry;
    case ATTR_count: return op == OP_repeat;
    case ATTR_layout: return op == OP_map || op == OP_append;
    case ATTR_live: return op == OP_gemm || op == OP_attend || op == OP_map || op == OP_rowwise;
    case ATTR_lowrank: return op == OP_dot;
    case ATTR_linearize: return op == OP_softmax || op == OP_dot || op == OP_attend;
    case ATTR_keep: return true;
    default: return false;
    }
}
