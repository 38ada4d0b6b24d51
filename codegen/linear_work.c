/* What a task of linear_attend holds in scratch, and the functions that begin and end with it. */
#include "codegen/linear_inside.h"

#include <math.h>

/* ---- the struct -------------------------------------------------------------------------------------------------- */

static void member(Linear *l, uint64_t *total, const char *name, int64_t rows, int64_t columns, const char *says)
{
    Text *t = &l->k->before;
    int64_t floats = (rows * columns + 15) / 16 * 16;
    Text line = text_new(t->arena);
    text_add(&line, "    float %s[%lld];", name, (long long)floats);
    text_pad(&line, 28);
    if (rows > 1)
        text_add(&line, " /* [%lld][%lld]: %s */\n", (long long)rows, (long long)columns, says);
    else
        text_add(&line, " /* %s */\n", says);
    text_put(t, line.data, line.length);
    *total += (uint64_t)floats * 4;
}

uint64_t linear_emit_work(Linear *l)
{
    uint64_t total = 0;
    int panel = matrix_panel(l->k->e->target);
    text_add(&l->k->before, "/* What a thread of %s works on. */\nstruct %s {\n", l->k->function, l->work);
    if (l->projected) {
        member(l, &total, "panels", l->head, (l->own + panel - 1) / panel * panel, "the projection, turned, in panels");
        member(l, &total, "y", l->head, LINEAR_CHUNK, "keys, turned and scaled");
        member(l, &total, "x", LINEAR_CHUNK, l->head, "queries, scaled; keys as they come");
    }
    member(l, &total, "key", l->features, LINEAR_CHUNK, "features of keys, turned");
    member(l, &total, "query", LINEAR_CHUNK, l->span, "features of queries");
    member(l, &total, "value", LINEAR_CHUNK, l->wide, "values");
    if (l->causal)
        member(l, &total, "weight", LINEAR_CHUNK, LINEAR_CHUNK, "queries times keys of one chunk");
    member(l, &total, "sum", LINEAR_CHUNK, l->wide, "weighted values of each row");
    member(l, &total, "below", 1, LINEAR_CHUNK, "by what they are divided");
    member(l, &total, "live", 1, LINEAR_CHUNK,
           l->exponential ? "where the exponents of a key begin: -infinite if it is not seen"
                          : "1 for each key that is seen");
    if (l->exponential && !l->tops)
        member(l, &total, "square", 1, LINEAR_CHUNK, "|x|^2 / 2 of each row");
    if (l->codes) {
        member(l, &total, "half", 1, l->span, "|c|^2 / 2 of each code, scaled like the keys");
        member(l, &total, "parts", 1, LINEAR_CHUNK,
               "by what the features of a key are multiplied: they are parts of 1");
    }
    member(l, &total, "state", l->features, l->wide, "sum of features times values, over the keys so far");
    member(l, &total, "total", 1, l->span, "sum of features");
    member(l, &total, "fresh", 1, l->span, "the same of the present chunk");
    if (l->tops) {
        member(l, &total, "top", 1, l->span, "largest exponent of each feature so far but for 2^8, to base 2");
        member(l, &total, "high", 1, l->span, "the same of the present chunk");
    }
    text_add(&l->k->before, "    struct matrix_soon soon; /* rows of the next chunk */\n};\n\n");
    return total + 64;
}

/* ---- the state --------------------------------------------------------------------------------------------------- */

void linear_emit_begin(Linear *l)
{
    Kernel *k = l->k;
    Text before = linear_open(l, "No key yet.", "void", l->begin, NULL, 0);
    put_line(k, "s->soon.left = 0;");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)(l->features * l->wide));
    put_line(k, "    s->state[i] = 0.0f;");
    put_line(k, "for (ptrdiff_t f = 0; f < %lld; f++)%s", (long long)l->span, l->tops ? " {" : "");
    put_line(k, "    s->total[f] = 0.0f;");
    if (l->tops) {
        put_line(k, "    s->top[f] = -__builtin_inff();");
        put_line(k, "}");
    }
    linear_close(l, before);
}

/* Where the parts of a kept state begin, and its rows, which are not padded. */
static void put_parts(Linear *l, const char *const_)
{
    Kernel *k = l->k;
    put_line(k, "%sfloat *total = state + %lld%s;", const_, (long long)(l->features * l->width),
             l->tops ? arena_print(k->e->cx->arena, ", *top = total + %lld", (long long)l->features) : "");
}

void linear_emit_kept(Linear *l)
{
    Kernel *k = l->k;
    long long features = l->features, width = l->width, wide = l->wide;
    const char *says = arena_print(k->e->cx->arena, "The state of earlier calls: [%lld][%lld], sums of features%s.",
                                   features, width, l->tops ? ", tops" : "");
    static const char *const from[] = {"const float *restrict state"}, *const to[] = {"float *restrict state"};
    Text before = linear_open(l, says, "void", l->fetch, from, 1);
    put_parts(l, "const ");
    put_line(k, "%s(s);", l->begin);
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", features);
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", width);
    put_line(k, "    s->state[f * %lld + w] = state[f * %lld + w];", wide, width);
    put_line(k, "s->total[f] = total[f];");
    if (l->tops)
        put_line(k, "s->top[f] = top[f];");
    put_close(k);
    linear_close(l, before);
    before = linear_open_alone(l, "No key yet in a state that is kept.", "void", l->clear, to, 1);
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", features * (width + 1));
    put_line(k, "    state[i] = 0.0f;");
    if (l->tops) {
        put_line(k, "for (ptrdiff_t f = 0; f < %lld; f++)", features);
        put_line(k, "    state[%lld + f] = -__builtin_inff();", features * (width + 1));
    }
    linear_close(l, before);
    before = linear_open(l, "The same for the next call.", "void", l->store, to, 1);
    put_parts(l, "");
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", features);
    put_line(k, "for (ptrdiff_t w = 0; w < %lld; w++)", width);
    put_line(k, "    state[f * %lld + w] = s->state[f * %lld + w];", width, wide);
    put_line(k, "total[f] = s->total[f];");
    if (l->tops)
        put_line(k, "top[f] = s->top[f];");
    put_close(k);
    linear_close(l, before);
}

/* ---- the projection ---------------------------------------------------------------------------------------------- */

void linear_emit_pack(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"const float *restrict projection", "ptrdiff_t step"};
    int panel = matrix_panel(k->e->target);
    long long own = l->own, head = l->head;
    Text before =
        linear_open(l, "The projection as rows of queries multiply it: turned, in panels.", "void", l->pack, items, 2);
    if (own % panel) {
        put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (own / panel + 1) * panel * head);
        put_line(k, "    s->panels[i] = 0.0f;");
    }
    put_line(k, "for (ptrdiff_t f = 0; f < %lld; f += MATRIX_PANEL)", own);
    put_line(k,
             "    matrix_transpose(lesser(%lld - f, MATRIX_PANEL), %lld, projection + f * step, step, s->panels + f * "
             "%lld, MATRIX_PANEL, 1.0f);",
             own, head, head);
    linear_close(l, before);
}

void linear_emit_halves(Linear *l)
{
    Kernel *k = l->k;
    static const char *const items[] = {"const float *restrict projection", "ptrdiff_t step"};
    Text before = linear_open(l, "What the exponents of a code lose.", "void", l->halves, items, 2);
    put_open(k, "for (ptrdiff_t f = 0; f < %lld; f++)", (long long)l->own);
    put_line(k, "float square = 0.0f;");
    put_line(k, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)l->head);
    put_line(k, "    square += projection[f * step + i] * projection[f * step + i];");
    put_line(k, "s->half[f] = square * %s;", float_literal(k->e->cx, 0.5 * linear_key_factor(l)));
    put_close(k);
    linear_close(l, before);
}
