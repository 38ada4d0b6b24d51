/* Adapters and the model: merged weights as a layer over the checkpoint, or paths beside them; which of them the model reads; tied tables taken apart.
 *
 * An adapter of an embedding changes what a lookup gives, one of a head what the head multiplies with. Where both read one tensor, the head's
 * nodes get a key of their own, `KEY.head`, and a tensor made of the table without the embedding's update. */
#include <stdlib.h>
#include <string.h>

#include "driver/adapted.h"
#include "driver/lora_side.h"
#include "runtime/file.h"

static bool is_mode(const char *mode)
{
    return !mode || !strcmp(mode, "merge") || !strcmp(mode, "side") || !strcmp(mode, "slots");
}

bool adapted_weights(Compilation *c, const CompileOptions *o)
{
    if (!o->lora || !o->lora[0])
        return true;
    if (!is_mode(o->lora_mode)) {
        diag_file_error(&c->diags, "E0686", o->lora[0], NULL, "adapters have no mode `%s`: it is merge, side or slots", o->lora_mode);
        return false;
    }
    if (!c->checkpoint) {
        diag_file_error(&c->diags, "E0651", o->lora[0], NULL, "an adapter changes weights, but no checkpoint was given");
        return false;
    }
    if (!adapters_open(&c->cx, o->lora, c->checkpoint, &c->adapters))
        return false;
    Checkpoint *whole = adapters_replace(&c->cx, c->checkpoint, &c->adapters);
    if (!whole)
        return false;
    c->checkpoint = c->unmerged = whole;
    c->options.checkpoint = checkpoint_tensors(whole, &c->options.n_checkpoint);
    return true;
}

/* ---- what the model reads ---------------------------------------------------------------------------------------- */

typedef struct Use { /* a weight node */
    Node *node;
    const char *stored; /* its key in the checkpoint, with holes */
    bool looked_up, other;
} Use;

typedef struct Uses {
    Compilation *c;
    Use *items;
    size_t count, capacity;
    int *of; /* by node id: number + 1 */
} Uses;

static void find_weights(Uses *u, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->body)
            find_weights(u, n->body);
        if (n->op != OP_weight)
            continue;
        u->items = arena_room(&u->c->arena, u->items, u->count, &u->capacity, sizeof *u->items);
        u->items[u->count++] = (Use){n, model_key(&u->c->cx, &u->c->model, attr_name(n, ATTR_key), -1), false, false};
        u->of[n->id] = (int)u->count;
    }
}

static bool is_lookup(const Node *n, int input)
{
    return n->op == OP_gather && input == 0;
}

static void find_uses(Uses *u, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++) {
            int at = u->of[n->inputs[i]->id];
            if (at && is_lookup(n, i))
                u->items[at - 1].looked_up = true;
            else if (at)
                u->items[at - 1].other = true;
        }
        if (n->body)
            find_uses(u, n->body);
    }
    for (int i = 0; i < g->n_results; i++)
        if (u->of[g->results[i].value->id])
            u->items[u->of[g->results[i].value->id] - 1].other = true;
}

static Uses uses_of(Compilation *c)
{
    Uses u = {.c = c};
    u.of = arena_array(&c->arena, (size_t)c->model.graph->next_id + 1, sizeof *u.of);
    find_weights(&u, c->model.graph);
    find_uses(&u, c->model.graph);
    return u;
}

/* A hole stands for any number. */
static bool fits(const char *pattern, const char *key)
{
    while (*pattern && *key) {
        if (*pattern == '{') {
            size_t digits = strspn(key, "0123456789");
            if (!digits)
                return false;
            key += digits;
            pattern = strchr(pattern, '}') + 1;
        } else if (*pattern++ != *key++) {
            return false;
        }
    }
    return !*pattern && !*key;
}

static bool is_read(const Uses *u, const char *key)
{
    for (size_t i = 0; i < u->count; i++)
        if (fits(u->items[i].stored, key))
            return true;
    return false;
}

/* ---- tied tables ------------------------------------------------------------------------------------------------- */

static bool table_of(const Uses *u, const char *key, bool *looked_up, bool *other)
{
    *looked_up = *other = false;
    for (size_t i = 0; i < u->count; i++) {
        if (strcmp(u->items[i].stored, key) != 0)
            continue;
        *looked_up |= u->items[i].looked_up;
        *other |= u->items[i].other;
    }
    return *looked_up && *other;
}

/* The one tensor that is looked up and multiplied with; NULL if there is none, or several. */
static const char *tied_table(const Uses *u)
{
    const char *found = NULL;
    bool looked_up, other;
    for (size_t i = 0; i < u->count; i++) {
        const char *key = u->items[i].stored;
        if (!table_of(u, key, &looked_up, &other) || (found && !strcmp(found, key)))
            continue;
        if (found)
            return NULL;
        found = key;
    }
    return found;
}

/* Pairs of a head that has no tensor, or one that the model does not read because it ties: they belong to the table. */
static bool find_heads(Compilation *c, const Uses *u, const char *table, int *heads)
{
    *heads = 0;
    for (int i = 0; i < c->adapters.n; i++)
        for (int k = 0; k < c->adapters.items[i]->n_sites; k++) {
            const Adapter *a = c->adapters.items[i];
            AdapterSite *s = &c->adapters.items[i]->sites[k];
            if (a->weight == 0 || !adapter_is_head(s->module) || is_read(u, s->key))
                continue;
            s->tied = s->tied || table;
            *heads += s->tied;
            if (table || !s->tied)
                continue;
            diag_file_error(&c->diags, "E0678", a->file, arena_print(&c->arena, "module `%s`", file_shown(&c->cx, s->module)),
                            "the checkpoint has no `%s`, and no table of the model is looked up and a head as well", file_shown(&c->cx, s->key));
            return false;
        }
    return true;
}

static bool changes_table(const Compilation *c, const char *key)
{
    for (int i = 0; i < c->adapters.n; i++)
        for (int k = 0; k < c->adapters.items[i]->n_sites; k++)
            if (c->adapters.items[i]->weight != 0 && c->adapters.items[i]->sites[k].table && !strcmp(c->adapters.items[i]->sites[k].key, key))
                return true;
    return false;
}

static void redirect(Graph *g, Node *from, Node *to)
{
    for (Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            if (n->inputs[i] == from && !is_lookup(n, i))
                n->inputs[i] = to;
        if (n->body)
            redirect(n->body, from, to);
    }
    for (int i = 0; i < g->n_results; i++)
        if (g->results[i].value == from)
            g->results[i].value = to;
}

/* The nodes that read the table otherwise than by lookup read a tensor of their own; its name in the checkpoint. */
static const char *take_apart(Compilation *c, const Uses *u, const char *table)
{
    const char *stored = NULL;
    for (size_t i = 0; i < u->count; i++) {
        const Use *use = &u->items[i];
        if (strcmp(use->stored, table) != 0 || !use->other)
            continue;
        Node *head = use->node;
        if (use->looked_up) {
            head = node_before(&c->cx, use->node, OP_weight, use->node->type, 0, NULL);
            attrs_copy(&c->cx, head, use->node);
            head->name = use->node->name;
            head->at = use->node->at;
            head->via = use->node->via;
            head->scope = use->node->scope;
            redirect(c->model.graph, use->node, head);
        }
        const char *key = arena_print(&c->arena, "%s.head", attr_name(head, ATTR_key));
        attr_set_name(&c->cx, head, ATTR_key, key);
        stored = model_key(&c->cx, &c->model, key, -1);
    }
    graph_name_all(&c->cx, c->model.graph);
    return stored;
}

static bool make_head(Compilation *c, const CompileOptions *o, const Uses *u, const char *table, int heads)
{
    const char *name = take_apart(c, u, table);
    MergeOptions options = {.stored = o->lora_stored, .threads = o->threads};
    Checkpoint *with = merge_head(&c->cx, c->checkpoint, c->unmerged, &c->adapters, &options, table, name, &c->merge);
    if (!with)
        return false;
    c->checkpoint = with;
    Diag *d = diag_file_warning(&c->diags, "W0686", c->adapters.items[0]->path, arena_print(&c->arena, "tensor `%s`", file_shown(&c->cx, table)),
                                "the embedding and the head of the model share this table, and the adapter changes %s",
                                !heads ? "lookups alone" : changes_table(c, table) ? "each in its own way" : "the head alone");
    diag_note(d, "each of them reads a table of its own now, as in PEFT");
    return true;
}

static bool split_tables(Compilation *c, const CompileOptions *o, const Uses *u)
{
    bool looked_up, other;
    int heads;
    const char *table = tied_table(u);
    if (!find_heads(c, u, table, &heads))
        return false;
    for (size_t i = 0; i < u->count && !heads; i++)
        if (changes_table(c, u->items[i].stored) && table_of(u, u->items[i].stored, &looked_up, &other))
            return make_head(c, o, u, u->items[i].stored, 0);
    return !heads || make_head(c, o, u, table, heads);
}

/* ---- what has an effect ------------------------------------------------------------------------------------------ */

static bool check_read(Compilation *c, const Uses *u, const Adapter *a)
{
    int unread = 0, all = a->n_sites + a->n_replaced;
    const char *first = NULL;
    for (int i = 0; i < all; i++) {
        const char *key = i < a->n_sites ? a->sites[i].key : a->replaced[i - a->n_sites].key;
        if ((i < a->n_sites && a->sites[i].tied) || is_read(u, key))
            continue;
        unread++;
        first = first ? first : key;
    }
    if (unread && unread == all) {
        diag_file_error(&c->diags, "E0679", a->file, NULL, "the model reads none of the %d weights that it changes; the first is `%s`", all,
                        file_shown(&c->cx, first));
        return false;
    }
    if (unread)
        diag_file_warning(&c->diags, "W0679", a->file, NULL, "the model does not read %d of the %d weights that it changes, as `%s`", unread, all,
                          file_shown(&c->cx, first));
    return true;
}

/* ---- how ---------------------------------------------------------------------------------------------------------- */

static bool merge_all(Compilation *c, const CompileOptions *o, const Uses *u)
{
    MergeOptions options = {.stored = o->lora_stored, .threads = o->threads};
    Checkpoint *merged = merge_adapters(&c->cx, c->unmerged, &c->adapters, &options, &c->merge);
    if (!merged)
        return false;
    c->checkpoint = merged;
    if (!split_tables(c, o, u))
        return false;
    merge_record(&c->cx, &c->merge, &c->adapters, &c->approximations);
    return true;
}

/* Bytes of the factors of all pairs. */
static double pair_bytes(const Compilation *c)
{
    double bytes = 0;
    for (int i = 0; i < c->adapters.n; i++)
        for (int k = 0; k < c->adapters.items[i]->n_sites; k++) {
            const AdapterSite *s = &c->adapters.items[i]->sites[k];
            bytes += 4.0 * (double)s->rank * ((double)s->in + (double)s->out);
        }
    return bytes;
}

/* Bytes of the table that merging takes apart; 0: none. */
static double split_bytes(const Compilation *c, const Uses *u, int heads)
{
    bool looked_up, other;
    double bytes = 0;
    for (size_t i = 0; i < u->count; i++) {
        const HostTensor *t = checkpoint_find(c->checkpoint, u->items[i].stored);
        if (!t || !table_of(u, u->items[i].stored, &looked_up, &other) || (!heads && !changes_table(c, u->items[i].stored)))
            continue;
        bytes = 4;
        for (int k = 0; k < t->rank; k++)
            bytes *= (double)t->dims[k];
    }
    return bytes;
}

/* Without --lora-mode: merged weights cost a run nothing, so they are merged, unless a table that embedding and head share would have to be packed twice
 * and is larger than all factors; a path beside it is smaller then, if nothing in the model forbids one. */
static bool choose_mode(Compilation *c, const CompileOptions *o, const Uses *u, int heads)
{
    PassContext px = {.cx = &c->cx, .remarks = &c->remarks, .pass = "lora"};
    double pairs = pair_bytes(c), split = split_bytes(c, u, heads);
    Graph *loaded = c->model.graph;
    Diags before = c->diags;
    if (split > pairs) {
        c->model.graph = graph_copy(&c->cx, loaded);
        if (lora_beside(c, o, false)) {
            remark(&px, REMARK_PASSED, REMARK_COST_WORSE, NULL, "beside the weights (%.4g kB), as merging packs a shared table twice (%.4g kB more)",
                   pairs * 1e-3, split * 1e-3);
            return true;
        }
        c->model.graph = loaded;
        c->diags = before;
    }
    if (!merge_all(c, o, u))
        return false;
    remark(&px, REMARK_PASSED, REMARK_FOLDED, NULL, "merged into the weights: a run does no more than without; beside them it would read %.4g kB more",
           pairs * 1e-3);
    return true;
}

static bool apply(Compilation *c, const CompileOptions *o, const Uses *u, int heads)
{
    const char *mode = o->lora_mode;
    if (mode ? !strcmp(mode, "merge") : o->lora_stored)
        return merge_all(c, o, u);
    if (o->lora_stored) {
        diag_file_error(&c->diags, "E0686", o->lora[0], NULL, "merged weights were to be rounded to the type of the checkpoint, and mode `%s` merges none", mode);
        return false;
    }
    return mode ? lora_beside(c, o, !strcmp(mode, "slots")) : choose_mode(c, o, u, heads);
}

bool adapted_model(Compilation *c, const CompileOptions *o)
{
    if (!c->adapters.n)
        return true;
    Uses u = uses_of(c);
    int heads;
    if (!find_heads(c, &u, tied_table(&u), &heads))
        return false;
    for (int i = 0; i < c->adapters.n; i++)
        if (!check_read(c, &u, c->adapters.items[i]))
            return false;
    return apply(c, o, &u, heads);
}
