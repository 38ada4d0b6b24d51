/* defer-scales: a factor that a product does not sum over is applied to the product, not to its input.
 *
 *     dot(x * r, W)   ->   dot(x, W) * r         r: one number for each row, or for all
 *
 * A norm without its gain is such a product: x need not be written a second time, and r becomes a factor in the
 * epilogue. Every reader of x * r must be such a product, and it must pay: x has to be in memory anyhow, as a
 * residual for example, and the products must have fewer elements than x. One more factor on an accumulator costs as
 * much as an element written to the cache (measured: about a cycle a vector, both); so wide projections keep their
 * scaled input, and narrow ones (low-rank projections, routers, heads with few classes) do without. */
#include <string.h>
#include "passes/inside.h"

typedef struct Scaled {
    Node *value, *x, *r; /* value = x * r, or x / r */
    Product products[MAX_TOGETHER];
    int n;
} Scaled;

#define SAY(...) arena_print(px->cx->arena, __VA_ARGS__)

static bool match_scale(Node *n, Scaled *out)
{
    *out = (Scaled){.value = n};
    if ((n->op != OP_mul && n->op != OP_div) || n->type->dtype != DT_F32)
        return false;
    for (int i = n->op == OP_mul ? 1 : 0; i >= 0; i--) {
        Node *x = n->inputs[i], *r = n->inputs[1 - i];
        if (type_equal(x->type, n->type) && r->type->rank < x->type->rank && r->type->dtype == DT_F32) {
            out->x = x;
            out->r = r;
            return true;
        }
    }
    return false;
}

static bool refuse(PassContext *px, const Scaled *s, RemarkCode code, const Node *evidence, const char *why)
{
    Remark *r = remark(px, REMARK_MISSED, code, s->value, "%s", why);
    if (evidence)
        r->evidence = evidence->at;
    return false;
}

/* ---- what the products allow ------------------------------------------------------------------------------------- */

static bool is_summed(const Scaled *s, const Product *p)
{
    for (int i = 0; i < p->n_over; i++)
        if (type_find(s->r->type, p->over[i]) >= 0)
            return true;
    return false;
}

/* The product has its axes in the order of a gemm: the epilogue takes the factor in. */
static bool suits_epilogue(const Scaled *s, const Product *p)
{
    int at = 0;
    for (int i = 0; i < s->x->type->rank; i++) {
        const char *name = s->x->type->axis[i].name;
        if (!attr_has_name(p->dot, ATTR_over, name) && p->dot->type->axis[at++].name != name)
            return false;
    }
    return true;
}

static bool products_allow(PassContext *px, const Scaled *s)
{
    for (int i = 0; i < s->n; i++) {
        const Product *p = &s->products[i];
        if (is_kept(p->dot))
            return refuse(px, s, REMARK_BLOCKED_BY_USER, p->dot, SAY("`%s` is kept by @keep", word_of(p->dot)));
        if (!suits_epilogue(s, p))
            return refuse(px, s, REMARK_AXIS_MISMATCH, p->dot,
                          SAY("`%s` has its axes in another order", word_of(p->dot)));
    }
    return true;
}

/* ---- what it costs ----------------------------------------------------------------------------------------------- */

/* By id: r and the values of its graph that it is computed from. */
static bool *ancestors(PassContext *px, const Node *r)
{
    bool *found = arena_array(px->cx->arena, (size_t)graph_model(r->graph)->next_id, sizeof *found);
    found[r->id] = true;
    for (const Node *n = r; n; n = n->prev)
        for (int i = 0; found[n->id] && i < n->n_inputs; i++)
            found[n->inputs[i]->id] = true;
    return found;
}

/* x is read by somebody else than the scaled value and those on the way to the factor. */
static bool read_elsewhere(const Scaled *s, const bool *before_r)
{
    if (is_kept(s->x) || read_as_result(s->x))
        return true;
    for (const Node *m = s->x->next; m; m = m->next) {
        bool inside = m->body && m->body->level != LEVEL_BODY && is_read_in(s->x, m->body), reads = inside;
        for (int i = 0; i < m->n_inputs; i++)
            reads |= m->inputs[i] == s->x;
        if (inside || (reads && m != s->value && !before_r[m->id]))
            return true;
    }
    return false;
}

/* A product that is scaled by something else than its own norm: its own epilogue does that. */
static bool is_own_epilogue(PassContext *px, const Scaled *s)
{
    return storage_of(s->x)->op == OP_dot && !ancestors(px, s->r)[s->x->id];
}

/* x lies in memory whatever becomes of the scaled value. */
static bool is_stored(PassContext *px, const Scaled *s)
{
    return s->x->graph != s->value->graph || read_elsewhere(s, ancestors(px, s->r)) || !group_absorbs(storage_of(s->x));
}

/* Bytes written for the scaled value, against r written and read and all accumulators touched once more. */
static void weigh(PassContext *px, const Scaled *s, TypeBytes *bytes, double *before, double *after)
{
    const Graph *model = graph_model(s->value->graph);
    *before = bytes(px, model, s->value->type);
    *after = s->r->type->rank ? 2 * bytes(px, model, s->r->type) : 0;
    for (int i = 0; i < s->n; i++)
        *after += bytes(px, model, s->products[i].dot->type);
    if (!is_stored(px, s))
        *after += *before;
}

static bool is_cheaper(PassContext *px, const Scaled *s, double *before, double *after)
{
    weigh(px, s, usual_bytes, before, after);
    bool cheaper = *after < *before;
    weigh(px, s, type_bytes, before, after);
    if (cheaper)
        return true;
    Remark *r = remark(px, REMARK_MISSED, REMARK_COST_WORSE, s->value, "%s",
                       is_stored(px, s)
                           ? SAY("the products that `%s` would scale are larger than `%s`", word_of(s->r), word_of(s->x))
                           : SAY("`%s` would be stored in its place", word_of(s->x)));
    r->bytes_before = *before;
    r->bytes_after = *after;
    return false;
}

/* ---- rewriting --------------------------------------------------------------------------------------------------- */

/* "q" or "q.3" -> "q.0": the product steps back, its scaled value keeps the name. */
static const char *numbered(PassContext *px, const Node *n)
{
    const char *word = word_of(n), *end = strrchr(word, '.');
    bool number = end && end[1] && strspn(end + 1, "0123456789") == strlen(end + 1);
    return SAY("%.*s.0", number ? (int)(end - word) : (int)strlen(word), word);
}

static void defer(PassContext *px, const Scaled *s, Node *dot)
{
    for (int i = 0; i < dot->n_inputs; i++)
        if (dot->inputs[i] == s->value)
            dot->inputs[i] = s->x;
    Node *scaled = node_new(px->cx, dot->graph, s->value->op, dot->type, 2, (Node *[]){dot, s->r});
    if (dot->next != scaled)
        node_move_before(scaled, dot->next);
    inherit(scaled, dot);
    dot->name = numbered(px, dot);
    node_replace(dot, scaled);
    scaled->inputs[0] = dot;
}

static bool defer_scale(PassContext *px, Scaled *s)
{
    const Node *other = product_readers(s->value, s->products, &s->n);
    double before, after;
    for (int i = 0; i < s->n; i++)
        if (is_summed(s, &s->products[i]))
            return false; /* a gain, not a scale */
    if (!s->n || is_own_epilogue(px, s))
        return false;
    if (is_kept(s->value))
        return refuse(px, s, REMARK_BLOCKED_BY_USER, s->value, SAY("`%s` is kept by @keep", word_of(s->value)));
    if (other)
        return refuse(px, s, REMARK_MULTI_USE, other,
                      other == s->value ? SAY("`%s` is a result", word_of(other))
                                        : SAY("`%s` reads `%s` too", word_of(other), word_of(s->value)));
    if (!products_allow(px, s) || !is_cheaper(px, s, &before, &after))
        return false;
    Text names = text_new(px->cx->arena);
    for (int i = 0; i < s->n; i++)
        text_add(&names, "%s`%s`", i == 0 ? "" : i == s->n - 1 ? " and " : ", ", word_of(s->products[i].dot));
    Remark *r = remark(px, REMARK_PASSED, REMARK_FUSED, s->value, "`%s` scales %s instead of `%s`", word_of(s->r),
                       names.data, word_of(s->x));
    r->bytes_before = before;
    r->bytes_after = after;
    for (int i = 0; i < s->n; i++)
        defer(px, s, s->products[i].dot);
    return true;
}

static bool defer_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first; n; n = n->next) {
        Scaled s;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= defer_graph(px, n->body);
        if (match_scale(n, &s))
            changed |= defer_scale(px, &s);
    }
    return changed;
}

bool pass_defer_scales(PassContext *px, Graph *model)
{
    bool changed = defer_graph(px, model);
    if (changed)
        remove_dead(model);
    return changed;
}
