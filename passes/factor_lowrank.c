/* factor-lowrank: dot(x, w) becomes dot(dot(x, left), right) where the driver chose a rank for w, or sums over fewer hidden units (lowrank_units.c).
 *
 * First in the pipeline: weights still are whole tensors of the checkpoint, each in the product that the model file wrote. */
#include <string.h>

#include "passes/inside.h"
#include "passes/lowrank.h"
#include "support/holes.h"

static const char rank_axis[] = "lowrank";

/* ---- where a product stands in the model ---------------------------------------------------------------------------- */

static bool is_pair(const Node *n) /* a product of two activations, or a kernel made of some */
{
    return (n->op == OP_dot && n->inputs[0]->op != OP_weight && n->inputs[1]->op != OP_weight) || n->op == OP_attend || n->op == OP_linear_attend ||
           n->op == OP_codebook_attend;
}

static bool is_passed(const Node *n) /* what a walk goes through */
{
    return op_info[n->op].class == CLASS_MAP || op_info[n->op].class == CLASS_VIEW || op_info[n->op].class == CLASS_MOVE;
}

static bool comes_from_pair(const Node *n, int depth)
{
    if (is_pair(n))
        return true;
    for (int i = 0; i < n->n_inputs && is_passed(n) && depth < 16; i++)
        if (comes_from_pair(n->inputs[i], depth + 1))
            return true;
    return false;
}

/* Walks forward over readers in the same graph; a reader with a second input of its own (a residual) is a sum that ends the walk. */
static bool reaches_pair(const Node *n, int depth)
{
    for (const Node *m = n->next; m && depth < 16; m = m->next)
        for (int i = 0; i < m->n_inputs; i++) {
            if (m->inputs[i] != n)
                continue;
            if (is_pair(m) || (is_passed(m) && reaches_pair(m, depth + 1)))
                return true;
        }
    return false;
}

static const char *part_of(const Node *dot, const Node *x)
{
    if (dot->graph->parent == NULL)
        return "other";
    return comes_from_pair(x, 0) || reaches_pair(dot, 0) ? "attention" : "ffn";
}

/* ---- finding ----------------------------------------------------------------------------------------------------------- */

typedef struct Finder {
    Context *cx;
    LowrankPlan *plan;
    size_t capacity;
    Map read, again; /* keys of weights that some node reads, and that another one reads too */
} Finder;

static void find_readers(Finder *f, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i]->op == OP_weight) {
                const char *key = attr_name(n->inputs[i], ATTR_key);
                map_set(map_has(&f->read, key) ? &f->again : &f->read, key, f);
            }
        if (n->body)
            find_readers(f, n->body);
    }
}

static const char *reason_against(const Finder *f, const LowrankSite *s)
{
    const Node *w = s->weight;
    if (map_has(&f->again, s->key))
        return "another operator reads the same tensor, which would have to stay beside the factors";
    if (node_attr(w, ATTR_stack))
        return "its tensors are stacked: every expert would need factors of its own";
    if (!s->in || !s->out)
        return "its sizes are not known at compile time";
    return NULL;
}

static LowrankUnits units_with_keys(const Finder *f, const Product *p, const LowrankSite *s)
{
    LowrankUnits u = units_of(f->cx, p);
    for (int i = 0; i < u.n && !u.refused; i++) {
        const char *key = attr_name(u.weights[i], ATTR_key);
        if (map_has(&f->again, key))
            u.refused = arena_print(f->cx->arena, "another operator reads `%s` too, which has all hidden units", key);
        else if (!hole_of_round(key) != !hole_of_round(s->key))
            u.refused = arena_print(f->cx->arena, "`%s` is not a tensor of each layer as `%s` is", key, s->key);
    }
    if (!u.refused && s->rounds != layers_of(p->dot))
        u.refused = "its weight is the same in every round of a repeat, and each round has hidden units of its own";
    return u;
}

static void describe(Finder *f, const Product *p)
{
    LowrankPlan *plan = f->plan;
    plan->sites = arena_room(f->cx->arena, plan->sites, (size_t)plan->n, &f->capacity, sizeof *plan->sites);
    LowrankSite *s = &plan->sites[plan->n++];
    *s = (LowrankSite){.key = attr_name(p->w, ATTR_key), .weight = p->w, .in = 1, .out = 1, .part = part_of(p->dot, p->x)};
    s->request = attr_name(p->dot, ATTR_lowrank);
    s->rounds = hole_of_round(s->key) ? layers_of(p->dot) : 1;
    for (int i = 0; i < p->w->type->rank; i++) {
        Axis axis = p->w->type->axis[i];
        bool summed = attr_has_name(p->dot, ATTR_over, axis.name);
        int64_t size = extent_is_const(axis.size) ? axis.size.base : 0;
        *(summed ? &s->in : &s->out) *= size;
        *(summed ? &s->in_axis[s->n_in++] : &s->out_axis[s->n_out++]) = i;
    }
    s->refused = reason_against(f, s);
    s->units = units_with_keys(f, p, s);
}

static void find(Finder *f, const Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        Product p;
        if (n->body)
            find(f, n->body);
        else if (product_fits(n, &p))
            describe(f, &p);
    }
}

LowrankPlan *lowrank_find(Context *cx, const Graph *model)
{
    LowrankPlan *plan = arena_alloc(cx->arena, sizeof *plan);
    Finder f = {.cx = cx, .plan = plan, .read = map_new(cx->arena), .again = map_new(cx->arena)};
    find_readers(&f, model);
    find(&f, model);
    return plan;
}

bool lowrank_saves(const LowrankSite *s, int64_t rank)
{
    return (double)rank * ((double)s->in + (double)s->out) < (double)s->in * (double)s->out;
}

/* ---- rewriting ----------------------------------------------------------------------------------------------------------- */

static Node *factor(PassContext *px, const Product *p, const LowrankSite *s, bool left)
{
    Type t = {.dtype = DT_F32};
    Axis rank = {name_of(px->cx->names, rank_axis), extent_const(s->rank)};
    if (!left)
        t.axis[t.rank++] = rank;
    for (int i = 0; i < (left ? s->n_in : s->n_out); i++)
        t.axis[t.rank++] = p->w->type->axis[left ? s->in_axis[i] : s->out_axis[i]];
    if (left)
        t.axis[t.rank++] = rank;
    Node *n = node_before(px->cx, p->dot, OP_weight, type_new(px->cx, t.dtype, t.rank, t.axis), 0, NULL);
    attr_set_name(px->cx, n, ATTR_key, left ? s->left : s->right);
    inherit(n, p->w);
    return n;
}

static void put_factors(PassContext *px, const Product *p, const LowrankSite *s)
{
    Node *left = factor(px, p, s, true), *right = factor(px, p, s, false);
    Node *narrow = make_over(px, p->dot, OP_dot, NULL, 2, (Node *[]){p->dot->inputs[p->dot->inputs[0] == p->w], left}, p->over, p->n_over, p->dot);
    const char *over[] = {name_of(px->cx->names, rank_axis)};
    Node *wide = make_over(px, p->dot, OP_dot, p->dot->type, 2, (Node *[]){narrow, right}, over, 1, p->dot);
    Remark *r = remark(px, REMARK_PASSED, REMARK_FACTORED, p->dot, "%lld x %lld numbers became factors of rank %lld", (long long)s->in, (long long)s->out, (long long)s->rank);
    r->bytes_before = (double)s->in * (double)s->out * sizeof(float);
    r->bytes_after = (double)s->rank * ((double)s->in + (double)s->out) * sizeof(float);
    node_replace(p->dot, wide);
}

static LowrankSite *site_of(const LowrankPlan *plan, const char *key)
{
    for (int i = 0; i < plan->n; i++)
        if (!strcmp(plan->sites[i].key, key))
            return &plan->sites[i];
    return NULL;
}

/* The copy of `x` is a kernel from the start: whoever taps the model finds it by this node. */
static void capture(PassContext *px, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        Product p;
        if (n->body && n->body->level != LEVEL_BODY)
            capture(px, n->body);
        LowrankSite *s = product_fits(n, &p) ? site_of(px->lowrank, attr_name(p.w, ATTR_key)) : NULL;
        if (!s || !s->asked || s->refused)
            continue;
        for (int i = 0; i < px->lowrank->n && !s->kept; i++) {
            const Node *other = px->lowrank->sites[i].kept;
            if (other && other->graph == g && other->n_inputs == 1 && other->inputs[0] == p.x)
                s->kept = px->lowrank->sites[i].kept;
        }
        if (s->kept)
            continue;
        s->kept = copy_before(px, n, p.x);
        attr_set_bool(px->cx, s->kept, ATTR_keep, true);
    }
}

static bool rewrite(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        Product p;
        if (n->body) {
            changed |= rewrite(px, n->body);
            continue;
        }
        if (!product_fits(n, &p))
            continue;
        const LowrankSite *s = site_of(px->lowrank, attr_name(p.w, ATTR_key));
        if (!s || !s->asked)
            continue;
        if (s->refused)
            remark(px, REMARK_MISSED, REMARK_NOT_FACTORED, n, "%s", s->refused);
        else if (s->rank) {
            s->left ? put_factors(px, &p, s) : units_prune(px, &p, s);
            changed = true;
        }
    }
    return changed;
}

bool pass_factor_lowrank(PassContext *px, Graph *model)
{
    if (px->lowrank && px->lowrank->capture)
        return capture(px, model), true;
    bool changed = px->lowrank && rewrite(px, model);
    return changed && (remove_dead(model), true);
}
