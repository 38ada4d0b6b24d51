/* Extras of a gemm with only some of the row axes: [S, F] beside rows [B, S], or [B]. Their place follows from the row's number. */
#include "codegen/gemm.h"

#include <string.h>

static bool add_size(Group *group, Extent e) {
    for (int i = 0; i < e.n; i++) {
        int at = 0;
        while (at < group->n_sizes && strcmp(group->sizes[at], e.symbol[i]->name) != 0)
            at++;
        if (at == MAX_SIZES)
            return false;
        group->sizes[at] = e.symbol[i]->name;
        group->n_sizes += at == group->n_sizes;
    }
    return true;
}

/* The position along the row axis j: the rows of the axes after it go by in between. */
static bool add_term(Gemm *g, Group *group, Pointer *p, int j, Stride stride) {
    RowTerm *t = &p->term[p->n_terms++];
    Text turn = text_new(g->cx->arena);
    bool fits = !j || add_size(group, g->rows[j].size);
    int64_t constant = 0;
    for (int i = j + 1; i < g->n_rows; i++) {
        text_add(&turn, "%s%s", turn.length ? " * " : "", kernel_factor(g->k, g->rows[i].size));
        fits &= add_size(group, g->rows[i].size);
    }
    for (int i = 0; i < stride.n; i++)
        fits &= add_size(group, stride.size[i].size);
    t->turn = turn.length ? turn.data : NULL;
    t->size = j ? kernel_size(g->k, g->rows[j].size) : NULL;
    t->stride = stride_is_const(stride, &constant) && constant == 1 ? NULL : kernel_stride(g->k, stride);
    return fits;
}

bool gemm_row_terms(Gemm *g, Group *group, const Access *a, Pointer *p) {
    for (int j = 0; j < g->n_rows; j++) {
        const AccessAxis *axis = access_axis(a, g->rows[j].name);
        if (axis && axis->stride.factor && (a->panels || !add_term(g, group, p, j, axis->stride)))
            return false;
    }
    group->counts = true;
    return true;
}

const char *gemm_row_place(Gemm *g, const Pointer *p, const char *row) {
    Text t = text_new(g->cx->arena);
    for (int i = 0; i < p->n_terms; i++) {
        const RowTerm *term = &p->term[i];
        const char *at = term->turn ? arena_print(g->cx->arena, "turns(%s, %s)", row, term->turn) : row;
        if (term->size)
            at = arena_print(g->cx->arena, "within(%s, %s)", at, term->size);
        text_add(&t, i ? " + %s" : "%s", term->stride ? gemm_product(g->cx, at, term->stride) : at);
    }
    return t.data;
}
