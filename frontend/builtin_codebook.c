/* codebook_attend: attention to keys that are replaced by the nearest row of a codebook. */
#include "bind.h"

#include <math.h>
#include <string.h>

enum { P_CODEBOOK = 3, P_BLOCK, P_BIAS, P_MASK, P_SCALE, P_RECENT, P_QUERIES };

static bool read_recent(Bind *b, Call *c, const char **recent)
{
    const Given *g = arg_given(c, P_RECENT);
    Term t = arg_term(b, c, P_RECENT);
    *recent = "codes";
    if (!g)
        return true;
    if (t.kind == TERM_TEXT && (!strcmp(t.text, "codes") || !strcmp(t.text, "keys"))) {
        *recent = t.text;
        return true;
    }
    if (t.kind != TERM_POISON)
        diag_origin(b,
                    bind_error(b, origin_code(&t, "E0201"), g->at, "`recent` is \"codes\" or \"keys\", not %s",
                               term_print(b, &t)),
                    &t);
    return false;
}

/* Positions in a block; 0 if the call does not say it. */
static bool read_block(Bind *b, Call *c, int64_t *block)
{
    const Given *g = arg_given(c, P_BLOCK);
    Term t = arg_term(b, c, P_BLOCK);
    *block = 0;
    if (!g || t.kind == TERM_NONE || (term_is_int(&t, block) && *block >= 1 && *block <= INT32_MAX))
        return true;
    if (t.kind != TERM_POISON)
        diag_origin(b,
                    bind_error(b, origin_code(&t, "E0201"), g->at,
                               "`chunk` is a number of positions known at compile time, at least 1, not %s",
                               term_print(b, &t)),
                    &t);
    return false;
}

/* [.., codes, head]: the head axis last, as the IR has it. */
static Node *codebook_rows(Bind *b, Call *c, const AttendCall *a)
{
    Node *x = arg_float(b, c, P_CODEBOOK);
    int order[MAX_RANK], n = 0, at = x ? type_find(x->type, a->head) : -1;
    if (!x)
        return NULL;
    if (at < 0 || x->type->rank < 2) {
        bind_error(b, "E0304", arg_given(c, P_CODEBOOK)->at,
                   "the codebook of `%s` needs an axis for its codes and the keys' `%s`, it is %s", c->name,
                   axis_written(b, a->head), type_text(b, x->type));
        return NULL;
    }
    for (int i = 0; i < x->type->rank; i++)
        if (i != at)
            order[n++] = i;
    order[n] = at;
    return at == n ? x : make_transpose(b, x, order);
}

static bool has_argument(Bind *b, Call *c, int param)
{
    Term t = arg_term(b, c, param);
    return arg_given(c, param) && t.kind != TERM_NONE;
}

Term builtin_codebook_attend(Bind *b, Call *c)
{
    AttendCall a;
    int64_t block;
    const char *recent;
    if (!attend_operands(b, c, P_QUERIES, &a))
        return term_poison();
    double width = (double)a.q->type->axis[type_find(a.q->type, a.head)].size.base, scale = 1 / sqrt(width);
    Node *codes = codebook_rows(b, c, &a), *bias = NULL;
    if (!codes || !read_block(b, c, &block) || !read_recent(b, c, &recent) || !attend_number(b, c, P_SCALE, &scale))
        return term_poison();
    attend_role(&a, "codebook", attend_heads(b, &a, codes));
    if (has_argument(b, c, P_BIAS)) {
        if (!(bias = arg_float(b, c, P_BIAS)))
            return term_poison();
        attend_role(&a, "bias", bias);
    }
    if (!block && (bias || !strcmp(recent, "keys"))) {
        bind_error(b, "E0124", c->name_at, "`%s` needs `chunk`: %s of the row's block and the one before", c->name,
                   bias ? "the bias is for keys" : "exact are the keys");
        return term_poison();
    }
    if (!attend_mask(b, &a, P_MASK))
        return term_poison();
    Node *n = attend_emit(b, &a, OP_codebook_attend);
    attr_set_float(b->cx, n, ATTR_scale, scale);
    if (block)
        attr_set_int(b->cx, n, ATTR_block, block);
    if (!strcmp(recent, "keys"))
        attr_set_name(b->cx, n, ATTR_recent, recent);
    return attend_finish(b, &a, n) ? term_tensor(n) : term_poison();
}
