/* linearize-performer, linearize-vq: the softmax over the keys of chosen layers and heads gives way to sums over random features
 * or over the codes of a codebook. What is chosen, and whether it may be, the driver has decided (linearize.h).
 *
 * 1. Rounds of a repeat that are chosen differently become repeats of their own (linearize_split.c), heads of one attend become
 *    attends of their own (linearize_heads.c).
 * 2. Each attend of chosen heads becomes a kernel (linearize_build.c). */
#include <string.h>

#include "passes/linearize_inside.h"

/* ---- the attends of a model -------------------------------------------------------------------------------------- */

static void collect(PassContext *px, Graph *g, LinearizePieces *out)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            collect(px, n->body, out);
        if (n->op != OP_attend)
            continue;
        out->items = arena_room(px->cx->arena, out->items, out->count, &out->capacity, sizeof *out->items);
        out->items[out->count] = (LinearizePiece){.attend = n, .site = (int)out->count};
        out->count++;
    }
}

/* ---- the first time ---------------------------------------------------------------------------------------------- */

static Node *kept_copy(PassContext *px, Node *attend, Node *value)
{
    Node *copy = copy_before(px, attend, value);
    attr_set_bool(px->cx, copy, ATTR_keep, true);
    return copy;
}

static void capture(PassContext *px, Node *attend, LinearizeSite *site)
{
    for (int i = 0; i < 3; i++)
        site->kept[i] = kept_copy(px, attend, attend->inputs[i]);
    Node *mask = linearize_mask(px, attend);
    if (mask)
        mask = make_before(px, attend, OP_cast, type_with_dtype(px->cx, mask->type, DT_F32), 1, &mask, attend);
    site->kept[3] = mask ? kept_copy(px, attend, mask) : NULL;
}

/* A round of a repeat is one layer, whatever it holds; an attend outside of repeats is one as well. */
static void number_layers(const LinearizePieces *all, LinearizePlan *plan)
{
    int64_t next = 0;
    for (int i = 0; i < plan->n_sites; i++) {
        LinearizeSite *s = &plan->sites[i];
        bool same = i && s->repeated && all->items[i].attend->graph == all->items[i - 1].attend->graph;
        s->first_layer = same ? plan->sites[i - 1].first_layer : next;
        next = s->first_layer + s->rounds;
    }
}

/* A place in the checkpoint that holds several attentions says no more than their names do with it. */
static void tell_places(PassContext *px, LinearizePlan *plan)
{
    for (int i = 0; i < plan->n_sites; i++)
        for (int j = 0; j < plan->n_sites; j++) {
            LinearizeSite *s = &plan->sites[i];
            if (j == i || strcmp(s->path, plan->sites[j].path) || s->repeated != plan->sites[j].repeated)
                continue;
            s->where = arena_print(px->cx->arena, "%s.%s", s->path, s->name);
        }
}

static bool describe(PassContext *px, Graph *model, LinearizePlan *plan)
{
    LinearizePieces all = {0};
    collect(px, model, &all);
    plan->n_sites = (int)all.count;
    plan->sites = arena_array(px->cx->arena, all.count + 1, sizeof *plan->sites);
    for (int i = 0; i < plan->n_sites; i++) {
        linearize_describe(px, all.items[i].attend, &plan->sites[i]);
        if (!plan->sites[i].refused)
            capture(px, all.items[i].attend, &plan->sites[i]);
    }
    number_layers(&all, plan);
    tell_places(px, plan);
    remove_dead(model);
    return true;
}

/* ---- the second time --------------------------------------------------------------------------------------------- */

static void tell_apart(PassContext *px, Graph *model, LinearizePlan *plan)
{
    plan->split = true;
    plan->pieces = (LinearizePieces){0};
    collect(px, model, &plan->pieces);
    for (size_t i = 0; i < plan->pieces.count; i++) {
        LinearizePiece *p = &plan->pieces.items[i];
        p->heads = plan->sites[p->site].heads;
        p->head_axis = plan->sites[p->site].head_axis;
    }
    linearize_split(px, model, plan, &plan->pieces);
    linearize_cut(px, plan, &plan->pieces);
}

static void replace(PassContext *px, const LinearizePlan *plan, const LinearizePiece *p, const LinearizeSpec *spec)
{
    const char *reason;
    Node *n = linearize_build(px, plan, p, &reason);
    if (!n) {
        diag_error(px->cx->diags, "E9902", p->attend->at, "the kernel for `%s` is not sound: %s", word_of(p->attend), reason);
        return;
    }
    remark(px, REMARK_PASSED, REMARK_FUSED, n, "softmax of %lld of %lld heads approximated: %s", (long long)p->heads,
           (long long)plan->sites[p->site].heads, linearize_setting(px->cx->arena, spec));
    node_replace(p->attend, n);
    node_remove(p->attend);
}

static void remark_refused(PassContext *px, const LinearizePlan *plan, Node *attend, int site)
{
    const LinearizeSite *s = &plan->sites[site];
    if (s->refused)
        remark(px, REMARK_MISSED, s->masked ? REMARK_MASK_NOT_SEPARABLE : REMARK_NOT_LINEAR, attend, "stays exact: %s", s->refused);
}

static bool linearize(PassContext *px, Graph *model, LinearizeKind kind)
{
    LinearizePlan *plan = px->linearize;
    bool changed = false;
    if (!plan || plan->capture)
        return plan && kind == LINEARIZE_PERFORMER && describe(px, model, plan);
    if (!plan->split) {
        tell_apart(px, model, plan);
        changed = plan->pieces.count != (size_t)plan->n_sites;
    }
    for (size_t i = 0; i < plan->pieces.count; i++) {
        const LinearizePiece *p = &plan->pieces.items[i];
        const LinearizeSite *site = &plan->sites[p->site];
        int number = site->choice ? site->choice[p->first * site->heads + p->head] : -1;
        if (number < 0 && site->asked == 1 + (int)kind)
            remark_refused(px, plan, p->attend, p->site);
        if (number < 0 || plan->specs[number].kind != kind)
            continue;
        replace(px, plan, p, &plan->specs[number]);
        changed = true;
    }
    remove_dead(model);
    return changed;
}

bool pass_linearize_performer(PassContext *px, Graph *model)
{
    return linearize(px, model, LINEARIZE_PERFORMER);
}

bool pass_linearize_vq(PassContext *px, Graph *model)
{
    return linearize(px, model, LINEARIZE_VQ);
}
