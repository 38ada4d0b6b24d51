/* linear-attention: linear_attend and codebook_attend as the model writes them, with any condition as their mask, become kernels that keep
 * sums over keys.
 *
 *     formulas    that are linear attention written out become linear_attend too (linear_match.c)
 *     mask        taken apart (linear_mask.c) into causal, keep, prefix and document; what is none of these makes ordinary
 *                 operators of the whole (linear_expand.c)
 *     caches      of causal kernels become states of constant size (linear_state.c) */
#include <string.h>
#include "passes/linear.h"

static bool is_linear(const Node *n)
{
    return n->op == OP_linear_attend || n->op == OP_codebook_attend;
}

typedef struct Roles {
    const char *name[MAX_RANK + 1];
    Node *input[MAX_RANK + 1];
    int n;
} Roles;

static void add(PassContext *px, Roles *r, const char *name, Node *input)
{
    if (!input)
        return;
    r->name[r->n] = name_of(px->cx->names, name);
    r->input[r->n++] = input;
}

/* The roles without the mask. */
static Roles other_roles(PassContext *px, const Node *n)
{
    Roles r = {.n = 0};
    const Attr *roles = node_attr(n, ATTR_roles);
    for (int i = 0; roles && i < roles->names.count; i++)
        if (strcmp(roles->names.items[i], "mask") != 0)
            add(px, &r, roles->names.items[i], n->inputs[FIRST_ROLE + i]);
    return r;
}

static void set_roles(PassContext *px, Node *n, const Roles *r)
{
    int count = 0;
    if (r->n) {
        attr_set_names(px->cx, n, ATTR_roles, r->name, r->n);
        return;
    }
    for (int i = 0; i < n->n_attrs; i++)
        if (n->attrs[i].id != ATTR_roles)
            n->attrs[count++] = n->attrs[i];
    n->n_attrs = count;
}

/* Positive features with eps are divided by the largest of all keys: that is no sum which a row could read halfway. */
static bool sums_for_each_row(const Node *n, const LinearMask *m)
{
    return n->op != OP_linear_attend || !node_features(n, "positive") || attr_float(n, ATTR_eps, 0) == 0 ||
           (!m->causal && !m->document);
}

/* codebook_attend knows causal and keep alone. */
static bool takes(const Node *n, LinearMask *m)
{
    if (n->op != OP_codebook_attend || (!m->n_prefix && !m->document))
        return sums_for_each_row(n, m);
    m->why = "older keys of a codebook are counted for all rows alike: the mask may be causal and padding, nothing else";
    m->failing = m->document ? m->document : role_of(n, "mask");
    return false;
}

static Node *kernel_of(PassContext *px, Node *n, const LinearMask *m)
{
    const Type *k = n->inputs[1]->type;
    Roles r = other_roles(px, n);
    add(px, &r, "keep", linear_keep(px, n, m, k->axis[type_find(k, attr_name(n, ATTR_keys))]));
    add(px, &r, "prefix", linear_prefix(px, n, m));
    add(px, &r, "document", m->document);
    Node *made = node_before(px->cx, n, n->op, NULL, FIRST_ROLE, n->inputs);
    const char *reason = NULL;
    inherit(made, n);
    attrs_copy(px->cx, made, n);
    for (int i = 0; i < r.n; i++)
        add_input(px, made, r.input[i]);
    set_roles(px, made, &r);
    if (m->causal)
        attr_set_bool(px->cx, made, ATTR_causal, true);
    made->type = infer_type(px->cx, made, n->type, &reason);
    if (made->type)
        return made;
    node_remove(made);
    return NULL;
}

static const char *words_of(PassContext *px, const LinearMask *m)
{
    Text t = text_new(px->cx->arena);
    if (m->causal)
        text_add(&t, "%s", "causal");
    if (m->n_prefix)
        text_add(&t, "%s", ", with a prefix");
    if (m->document)
        text_add(&t, "%sdocuments", t.length ? ", " : "");
    if (m->n_keep)
        text_add(&t, "%skept keys", t.length ? ", " : "");
    return t.length ? t.data : "no mask";
}

static void expand(PassContext *px, Node *n, const LinearMask *m, const char *help)
{
    Remark *r = remark(px, REMARK_MISSED, REMARK_MASK_NOT_LINEAR, n, "%s", m->why);
    if (m->failing)
        r->evidence = m->failing->at;
    r->help = help;
    if (n->op == OP_linear_attend)
        linear_expand(px, n);
    else
        codebook_expand(px, n);
}

static void settle(PassContext *px, Node *n)
{
    LinearMask m;
    Node *mask = role_of(n, "mask"), *made = NULL;
    const Type *k = n->inputs[1]->type;
    if (!mask)
        return;
    if (linear_mask(px, mask, attr_name(n, ATTR_queries), attr_name(n, ATTR_keys), k, &m) && takes(n, &m))
        made = kernel_of(px, n, &m);
    if (!made) {
        const char *help = "causal, prefix, document and padding masks, joined by `&`, keep the time proportional to the length";
        if (!m.why) {
            m.why = "features with `eps` are divided by the largest of all keys, and rows that see some of them must not know it";
            help = "leave `eps` out: nothing is divided by a sum near 0 without it";
        }
        expand(px, n, &m, help);
        return;
    }
    remark(px, REMARK_PASSED, REMARK_FUSED, made, "the mask is part of the kernel: %s", words_of(px, &m));
    node_replace(n, made);
    node_remove(n);
}

bool linear_masks_expand(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= linear_masks_expand(px, n->body);
        if (!is_linear(n) || !role_of(n, "mask"))
            continue;
        LinearMask m = {.why = "the pass that would find out what the mask means did not run"};
        expand(px, n, &m, NULL);
        changed = true;
    }
    return changed;
}

static void each(PassContext *px, Graph *g, bool *changed)
{
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            each(px, n->body, changed);
        if (!is_linear(n) || !role_of(n, "mask"))
            continue;
        settle(px, n);
        *changed = true;
    }
}

bool pass_linear_attention(PassContext *px, Graph *model)
{
    bool changed = false;
    each(px, model, &changed);
    if (changed)
        remove_dead(model);
    if (linear_match(px, model)) { /* with masks that are none to be expanded again */
        remove_dead(model);
        each(px, model, &changed);
        remove_dead(model);
        changed = true;
    }
    return linear_states(px, model) || changed;
}
