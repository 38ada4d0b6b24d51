/* Loads and stores of the elements of any dtype, as C text. */
#include "codegen/emit.h"

#include <string.h>

/* "x + s * 384" as "x[s * 384]". */
static const char *element(Context *cx, const char *address) {
    const char *plus = strstr(address, " + ");
    if (!plus)
        return arena_print(cx->arena, "%s[0]", address);
    return arena_print(cx->arena, "%.*s[%s]", (int)(plus - address), address, plus + 3);
}

static const char *operand_of_cast(Context *cx, const char *address) {
    return strchr(address, ' ') ? arena_print(cx->arena, "(%s)", address) : address;
}

/* bf16 and f16: kept so in memory, widened when they are loaded. */
static const char *narrow_load(DType dtype) { return dtype == DT_BF16 ? "load_bf16" : dtype == DT_F16 ? "load_f16" : NULL; }

static Operand load_narrow(Kernel *k, DType dtype, const char *how, const char *arguments) {
    return operand_of(arena_print(k->e->cx->arena, "%s%s(%s)", narrow_load(dtype), how, arguments), BINDS_ALL, true, DT_F32);
}

Operand load_scalar(Kernel *k, DType dtype, const char *address) {
    if (narrow_load(dtype))
        return operand_of(arena_print(k->e->cx->arena, "%s_part(%s, 1)%s", narrow_load(dtype), address, lane_of(k->e->target, "[0]")), BINDS_ALL, false, DT_F32);
    const char *text = element(k->e->cx, address);
    if (dtype == DT_I64)
        return operand_of(arena_print(k->e->cx->arena, "(int)%s", text), BINDS_UNARY, false, DT_I32);
    return operand_of(text, BINDS_ALL, false, dtype);
}

Operand load_vector(Kernel *k, DType dtype, const char *address, const char *count) {
    Arena *a = k->e->cx->arena;
    const char *text;
    if (narrow_load(dtype))
        return load_narrow(k, dtype, count ? "_part" : "", count ? arena_print(a, "%s, %s", address, count) : address);
    if (dtype != DT_F32 && dtype != DT_I32 && dtype != DT_BOOL) {
        emit_fail(k->e, k->node, "there are no vectors of %s", dtype_name(dtype));
        return operand_of("0", BINDS_ALL, true, DT_F32);
    }
    if (count || dtype == DT_BOOL) {
        const char *kind = dtype == DT_F32 ? "load" : dtype == DT_I32 ? "load_ints" : "load_mask";
        text = count ? arena_print(a, "%s_part(%s, %s)", kind, address, count) : arena_print(a, "%s(%s)", kind, address);
        return operand_of(text, BINDS_ALL, true, dtype);
    }
    text = arena_print(a, "*(const %s *)%s", dtype == DT_F32 ? "lanes_at" : "ints_at", operand_of_cast(k->e->cx, address));
    return operand_of(text, BINDS_UNARY, true, dtype);
}

Operand load_apart(Kernel *k, DType dtype, const char *address, const char *step, const char *count) {
    if (narrow_load(dtype))
        return load_narrow(k, dtype, "_apart", arena_print(k->e->cx->arena, "%s, %s, %s", address, step, count ? count : "LANES"));
    const char *kind = dtype == DT_F32 ? "load_apart" : dtype == DT_I32 ? "load_ints_apart" : "load_mask_apart";
    if (dtype != DT_F32 && dtype != DT_I32 && dtype != DT_BOOL)
        emit_fail(k->e, k->node, "there are no vectors of %s", dtype_name(dtype));
    const char *text = arena_print(k->e->cx->arena, "%s(%s, %s, %s)", kind, address, step, count ? count : "LANES");
    return operand_of(text, BINDS_ALL, true, dtype);
}

const char *store_vector(Kernel *k, DType dtype, const char *address, Operand value, const char *count) {
    Context *cx = k->e->cx;
    Operand v = operand_vector(k, value);
    if (dtype == DT_BOOL)
        return arena_print(cx->arena, "store_mask_part(%s, %s, %s);", address, v.text, count ? count : "LANES");
    if (dtype != DT_F32 && dtype != DT_I32)
        emit_fail(k->e, k->node, "there are no vectors of %s", dtype_name(dtype));
    if (count)
        return arena_print(cx->arena, "%s(%s, %s, %s);", dtype == DT_F32 ? "store_part" : "store_ints_part", address, v.text, count);
    return arena_print(cx->arena, "*(%s *)%s = %s;", dtype == DT_F32 ? "lanes_at" : "ints_at", operand_of_cast(cx, address), v.text);
}

const char *store_scalar(Kernel *k, DType dtype, const char *address, Operand value) {
    Context *cx = k->e->cx;
    const char *target = element(cx, address);
    if (value.vector && k->e->target->lanes > 1 && dtype == DT_BOOL)
        return arena_print(cx->arena, "%s = -%s[0];", target, operand_text(cx, value, BINDS_ALL));
    if (value.vector && k->e->target->lanes > 1)
        return arena_print(cx->arena, "%s = %s[0];", target, operand_text(cx, value, BINDS_ALL));
    return arena_print(cx->arena, "%s = %s;", target, value.text);
}
