/* Adapters beside the weights they change: where the loaded graph multiplies with such a weight, or looks up its rows, a low-rank path is put beside it.
 *
 * Views of weights are moved into the weights first (canonicalize), so that a weight is read by a product or a lookup, or in a way that nothing can stand
 * beside. What axes of a weight are outputs and what inputs, and where they lie in B and A, follows from its strides in the stored matrix. */
#include <string.h>

#include "driver/lora_inside.h"
#include "support/holes.h"

static bool refuse(Beside *b, const Node *n, const char *key, const char *why)
{
    Diag *d = diag_error(b->cx->diags, "E0690", n->at, "the adapter cannot stand beside `%s`: %s", key, why);
    diag_help(d, "`--lora-mode merge` adds it to the weight itself");
    return false;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static Node *put_before(Beside *b, Node *where, Graph *g, Op op, const Type *type, int n, Node *const *inputs, const Node *from)
{
    Node *r = where ? node_before(b->cx, where, op, type, n, inputs) : node_new(b->cx, g, op, type, n, inputs);
    r->at = from->at;
    r->via = from->via;
    r->scope = from->scope;
    return r;
}

/* A node whose type follows from its inputs; `over` NULL: none; NULL and *why if it has none. */
static Node *put_op(Beside *b, Node *where, const Node *from, Op op, const Type *declared, int n, Node *const *inputs, const char *const *over, int n_over,
                    const char **why)
{
    Node *r = put_before(b, where, from->graph, op, declared, n, inputs, from);
    if (over)
        attr_set_names(b->cx, r, ATTR_over, over, n_over);
    r->type = infer_type(b->cx, r, declared, why);
    return r->type ? r : NULL;
}

static Node *put_weight(Beside *b, Node *where, const Node *from, const char *key, const Type *type, const int64_t *stored, int n_stored,
                        const int64_t *strides, int64_t start)
{
    Node *w = put_before(b, where, from->graph, OP_weight, type, 0, NULL, from);
    attr_set_name(b->cx, w, ATTR_key, key);
    attr_set_ints(b->cx, w, ATTR_stored, stored, n_stored);
    attr_set_ints(b->cx, w, ATTR_strides, strides, type->rank);
    if (start)
        attr_set_extent(b->cx, w, ATTR_start, extent_const(start));
    return w;
}

/* ---- the weight as a matrix -------------------------------------------------------------------------------------- */

typedef struct Along { /* the axes of a weight that lie along one dimension of the stored matrix */
    int n;
    Axis axis[MAX_RANK];
    int64_t stride[MAX_RANK], start;
} Along;

typedef struct Matrix { Along out, in; } Matrix;

static bool spans(const Along *s, int64_t size)
{
    int64_t last = s->start;
    for (int i = 0; i < s->n; i++)
        last += (s->axis[i].size.base - 1) * s->stride[i];
    return last < size;
}

/* False: the weight's axes are not those of a matrix of these rows and columns. An axis of size 1 is where `over` says. */
static bool read_matrix(const Node *w, const Parts *p, const Node *use, Matrix *m)
{
    const Attr *strides = node_attr(w, ATTR_strides), *start = node_attr(w, ATTR_start);
    int64_t columns = p->turned ? p->out : p->in, step = 1, packed[MAX_RANK];
    Along row = {.n = 0}, column = {.n = 0};
    for (int i = w->type->rank - 1; i >= 0; i--) {
        if (!extent_is_const(w->type->axis[i].size))
            return false;
        packed[i] = step;
        step *= w->type->axis[i].size.base;
    }
    row.start = start ? start->extent.base / columns : 0;
    column.start = start ? start->extent.base % columns : 0;
    for (int i = 0; i < w->type->rank; i++) {
        const Axis *axis = &w->type->axis[i];
        int64_t stride = strides ? strides->ints.items[i] : packed[i];
        bool one = axis->size.base == 1, in_row = one ? attr_has_name(use, ATTR_over, axis->name) == p->turned : stride >= columns;
        Along *s = in_row ? &row : &column;
        if (in_row && !one && stride % columns)
            return false;
        s->axis[s->n] = *axis;
        s->stride[s->n++] = one ? 1 : in_row ? stride / columns : stride;
    }
    m->out = p->turned ? column : row;
    m->in = p->turned ? row : column;
    return spans(&m->out, p->out) && spans(&m->in, p->in);
}

static bool has_axis(const Along *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->axis[i].name == name)
            return true;
    return false;
}

/* ---- the parts as weights ---------------------------------------------------------------------------------------- */

typedef struct Site { /* one use of a weight */
    Beside *b;
    Node *use, *w, *x;
    const Parts *p;
    Matrix m;
    Axis low[2]; /* what is between A and B: the rank, with slots the adapters before it */
    int n_low;
} Site;

/* "q_proj.A", in the words of the weight. */
static const char *part_name(const Site *s, const char *part)
{
    const char *word = s->w->name ? s->w->name : "beside", *end = strstr(word, ".weight");
    return name_of(s->b->cx->names, arena_print(s->b->cx->arena, "%.*s.%s", end ? (int)(end - word) : (int)strlen(word), word, part));
}

/* A tensor of the span, `inner` elements each; with `low` these are the low axes, before or behind the span's. */
static Node *part_weight(Site *s, const char *key, const Along *span, int64_t size, bool low_first, bool low)
{
    Type t = {.dtype = DT_F32};
    int64_t strides[MAX_RANK], stored[3], columns = low ? s->p->columns : 1;
    int n_stored = 0;
    for (int part = 0; part < 2; part++) {
        bool is_low = (part == 0) == low_first;
        for (int i = 0; is_low && low && i < s->n_low; i++) {
            int64_t inner = i + 1 < s->n_low ? s->low[1].size.base : 1;
            strides[t.rank] = low_first ? inner * size : inner;
            t.axis[t.rank++] = s->low[i];
            stored[n_stored++] = s->low[i].size.base;
        }
        for (int i = 0; !is_low && i < span->n; i++) {
            strides[t.rank] = low_first ? span->stride[i] : span->stride[i] * columns;
            t.axis[t.rank++] = span->axis[i];
        }
        if (!is_low)
            stored[n_stored++] = size;
    }
    Node *w = put_weight(s->b, s->use, s->use, key, type_new(s->b->cx, t.dtype, t.rank, t.axis), stored, n_stored, strides,
                         span->start * (low_first ? 1 : columns));
    w->name = part_name(s, key == s->p->a ? "A" : "B");
    return w;
}

/* Vectors along the span, `rows` of them (0: one, without an axis); with slots those of each row's adapter. */
static Node *part_vectors(Site *s, Node *where, const char *key, const Along *span, int64_t size, int64_t rows, const char **why)
{
    Beside *b = s->b;
    Axis axes[MAX_RANK];
    int64_t strides[MAX_RANK], stored[3] = {b->n + 1};
    int rank = 0, n_stored = b->slots;
    if (b->slots) {
        strides[rank] = size * (rows ? rows : 1);
        axes[rank++] = (Axis){name_of(b->cx->names, "lora_choice"), extent_const(b->n + 1)};
    }
    if (rows) {
        strides[rank] = size;
        axes[rank++] = s->low[1];
        stored[n_stored++] = rows;
    }
    stored[n_stored++] = size;
    for (int i = 0; i < span->n; i++) {
        strides[rank] = span->stride[i];
        axes[rank++] = span->axis[i];
    }
    Node *w = put_weight(b, where, s->use, key, type_new(b->cx, DT_F32, rank, axes), stored, n_stored, strides, span->start);
    w->name = part_name(s, key == s->p->a ? "A" : key == s->p->b ? "B" : key == s->p->f ? "gain" : "bias");
    return b->slots ? put_op(b, where, s->use, OP_gather, NULL, 2, (Node *[]){w, b->choice}, &axes[0].name, 1, why) : w;
}

/* ---- slots ------------------------------------------------------------------------------------------------------- */

/* bool[B, adapters, rank]: whether the column is of the row's adapter. */
static Node *mask_of(Beside *b, const Parts *p, const Axis *low)
{
    const char *why = NULL;
    for (int i = 0; i < b->n_masks; i++)
        if (b->mask_rank[i] == p->rank)
            return b->masks[i];
    Axis axes[] = {{name_of(b->cx->names, "lora_choice"), extent_const(b->n + 1)}, low[0], low[1]};
    int64_t sizes[] = {b->n + 1, b->n, p->rank}, strides[] = {b->n * p->rank, p->rank, 1};
    Node *table = put_weight(b, b->first, b->choice, parts_mask(b, p->rank), type_new(b->cx, DT_F32, 3, axes), sizes, 3, strides, 0);
    table->name = name_of(b->cx->names, "adapters");
    Node *own = put_op(b, b->first, b->choice, OP_gather, NULL, 2, (Node *[]){table, b->choice}, &axes[0].name, 1, &why);
    Node *zero = put_before(b, b->first, b->choice->graph, OP_const, type_new(b->cx, DT_F32, 0, NULL), 0, NULL, b->choice);
    attr_set_float(b->cx, zero, ATTR_value, 0);
    Node *mask = put_op(b, b->first, b->choice, OP_ne, NULL, 2, (Node *[]){own, zero}, NULL, 0, &why);
    mask->name = name_of(b->cx->names, "own_adapter");
    b->masks[b->n_masks] = mask;
    b->mask_rank[b->n_masks++] = p->rank;
    return mask;
}

/* The input `adapter`, one number for each row of the batch. */
static bool add_choice(Beside *b)
{
    Graph *g = b->c->model.graph;
    b->first = g->first;
    while (b->first && b->first->op == OP_input)
        b->first = b->first->next;
    for (int i = 0; i < g->n_params; i++)
        if (!strcmp(g->params[i]->name, "adapter")) {
            diag_error(b->cx->diags, "E0691", g->params[i]->at, "the model has an input `adapter` already, as --lora-mode slots would add one");
            return false;
        }
    if (!g->n_params || !g->params[0]->type->rank || extent_is_const(g->params[0]->type->axis[0].size)) {
        diag_file_error(b->cx->diags, "E0691", b->c->source.path, NULL, "the model's first input has no batch whose rows could choose their adapters");
        return false;
    }
    b->batch = g->params[0]->type->axis[0];
    b->choice = put_before(b, b->first, g, OP_input, type_new(b->cx, DT_I32, 1, &b->batch), 0, NULL, g->params[0]);
    b->choice->name = name_of(b->cx->names, "adapter");
    graph_add_param(b->cx, g, b->choice);
    return true;
}

/* ---- one use ----------------------------------------------------------------------------------------------------- */

static bool check_axes(Site *s)
{
    Beside *b = s->b;
    const Attr *over = node_attr(s->use, ATTR_over);
    if (attr_int(s->w, ATTR_stack, 0))
        return refuse(b, s->use, s->p->key, "it is one of several stacked tensors");
    if (!read_matrix(s->w, s->p, s->use, &s->m))
        return refuse(b, s->use, s->p->key, "the model reads it in another shape than that of outputs by inputs");
    bool same = over->names.count == s->m.in.n;
    for (int i = 0; i < over->names.count; i++)
        same &= has_axis(&s->m.in, over->names.items[i]);
    if (!same)
        return refuse(b, s->use, s->p->key, s->use->op == OP_dot ? "the product does not sum over its inputs" : "what is looked up are not its rows");
    if (s->w->type->rank + s->n_low > MAX_RANK || s->x->type->rank + 2 > MAX_RANK)
        return refuse(b, s->use, s->p->key, "it has too many axes");
    if (s->b->slots && type_find(s->x->type, b->batch.name) < 0)
        return refuse(b, s->use, s->p->key, "its input has no batch whose rows could choose their adapters");
    return true;
}

/* x with the A of the row's adapter, then with its B, which adds up rows of outputs. */
static Node *chosen_path(Site *s, const char **why)
{
    Beside *b = s->b;
    const Attr *over = node_attr(s->use, ATTR_over);
    Node *a = part_vectors(s, s->use, s->p->a, &s->m.in, s->p->in, s->p->rank, why), *factors = part_vectors(s, s->use, s->p->b, &s->m.out, s->p->out, s->p->rank, why);
    Node *t = a && factors ? put_op(b, s->use, s->use, OP_dot, NULL, 2, (Node *[]){s->x, a}, over->names.items, over->names.count, why) : NULL;
    Node *rows = t ? put_op(b, s->use, s->use, OP_mul, NULL, 2, (Node *[]){t, factors}, NULL, 0, why) : NULL;
    return rows ? put_op(b, s->use, s->use, OP_sum, NULL, 1, &rows, &s->low[1].name, 1, why) : NULL;
}

/* x with A, masked, with B; axes as those of the use. */
static Node *low_path(Site *s, const char **why)
{
    Beside *b = s->b;
    bool lookup = s->use->op == OP_gather;
    const Attr *over = node_attr(s->use, ATTR_over);
    Node *a = part_weight(s, s->p->a, &s->m.in, s->p->in, !lookup, true), *factors = part_weight(s, s->p->b, &s->m.out, s->p->out, false, true);
    const char *low[2] = {s->low[0].name, s->low[1].name};
    Node *t = put_op(b, s->use, s->use, s->use->op, NULL, 2, (Node *[]){lookup ? a : s->x, lookup ? s->x : a}, over->names.items, over->names.count, why);
    if (!t)
        return NULL;
    t->name = part_name(s, "low");
    if (b->slots) {
        Node *zero = put_before(b, s->use, s->use->graph, OP_const, type_new(b->cx, DT_F32, 0, NULL), 0, NULL, s->use);
        attr_set_float(b->cx, zero, ATTR_value, 0);
        t = put_op(b, s->use, s->use, OP_where, NULL, 3, (Node *[]){mask_of(b, s->p, s->low), t, zero}, NULL, 0, why);
        if (!t)
            return NULL;
        t->name = part_name(s, "own");
    }
    return put_op(b, s->use, s->use, OP_dot, s->use->type, 2, (Node *[]){t, factors}, low, s->n_low, why);
}

/* Everything that reads the use reads the sum. */
static bool stand_beside(Site *s)
{
    Beside *b = s->b;
    Node *use = s->use, *after = use->next, *y = use;
    const char *why = NULL;
    Node *u = s->p->chosen ? chosen_path(s, &why) : low_path(s, &why), *f = u && s->p->gains ? part_vectors(s, after, s->p->f, &s->m.out, s->p->out, 0, &why) : NULL;
    Node *bias = u && s->p->biases ? part_vectors(s, after, s->p->bias, &s->m.out, s->p->out, 0, &why) : NULL;
    if (!u || (s->p->gains && !f) || (s->p->biases && !bias))
        return refuse(b, use, s->p->key, why ? why : "its axes do not fit");
    if (f && !s->p->before)
        y = put_op(b, after, use, OP_mul, NULL, 2, (Node *[]){y, f}, NULL, 0, &why);
    y = y ? put_op(b, after, use, OP_add, NULL, 2, (Node *[]){y, u}, NULL, 0, &why) : NULL;
    Node *sum = y;
    if (y && f && s->p->before)
        y = put_op(b, after, use, OP_mul, NULL, 2, (Node *[]){y, f}, NULL, 0, &why);
    if (y && bias)
        y = put_op(b, after, use, OP_add, NULL, 2, (Node *[]){y, bias}, NULL, 0, &why);
    if (!y || !type_equal(y->type, use->type))
        return refuse(b, use, s->p->key, why ? why : "its axes do not fit");
    y->name = use->name;
    use->name = name_of(b->cx->names, "base");
    Node *first = f && !s->p->before ? sum->inputs[0] : sum;
    node_replace(use, y);
    first->inputs[0] = use; /* the one reader that it keeps */
    return true;
}

static int64_t rounds_of(const Node *w, const char *key)
{
    if (!hole_of_round(key))
        return 1;
    for (const Graph *g = w->graph; g && g->owner; g = g->parent)
        if (g->owner->op == OP_repeat)
            return attr_int(g->owner, ATTR_count, 1);
    return 1;
}

static const char *stored_key(Beside *b, const Node *w)
{
    return w->op == OP_weight && attr_name(w, ATTR_key) ? model_key(b->cx, &b->c->model, attr_name(w, ATTR_key), -1) : NULL;
}

/* Rows of the tensor are looked up somewhere: a product with it is that of a tied head. */
static bool is_table(Beside *b, const Graph *g, const char *key)
{
    for (const Node *n = g->first; n; n = n->next) {
        const char *own = n->op == OP_gather ? stored_key(b, n->inputs[0]) : NULL;
        if ((own && !strcmp(own, key)) || (n->op == OP_repeat && is_table(b, n->body, key)))
            return true;
    }
    return false;
}

static bool visit_input(Beside *b, Node *n, int i)
{
    Node *w = n->inputs[i];
    const char *key = stored_key(b, w);
    if (!key)
        return true;
    bool lookup = n->op == OP_gather && i == 0, tied = !lookup && is_table(b, b->c->model.graph, key);
    Parts *p = parts_of(b, key, rounds_of(w, key), lookup, tied);
    if (!p)
        return true;
    if (!lookup && n->op != OP_dot)
        return refuse(b, n, key, arena_print(b->cx->arena, "`%s` reads it, which is no product", op_info[n->op].name));
    const char *other = n->op == OP_dot ? stored_key(b, n->inputs[1 - i]) : NULL;
    if (other && parts_of(b, other, rounds_of(n->inputs[1 - i], other), false, false))
        return refuse(b, n, key, "it is multiplied with another weight that the adapter changes");
    if (!p->made && !(p->made = parts_make(b, p)))
        return false;
    Site s = {.b = b, .use = n, .w = w, .x = n->inputs[1 - i], .p = p};
    if (b->slots)
        s.low[s.n_low++] = (Axis){name_of(b->cx->names, "lora_slot"), extent_const(b->n)};
    s.low[s.n_low++] = (Axis){name_of(b->cx->names, "lora_rank"), extent_const(b->slots ? p->rank : p->columns)};
    return check_axes(&s) && stand_beside(&s);
}

static bool visit(Beside *b, Graph *g, int before)
{
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->id >= before)
            continue;
        if (n->op == OP_repeat && !visit(b, n->body, before))
            return false;
        for (int i = 0; i < n->n_inputs && i < (n->op == OP_repeat ? 0 : 3); i++)
            if (n->id < before && n->inputs[i]->id < before && !visit_input(b, n, i))
                return false;
    }
    return true;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* What the model reads without a product or a lookup that is the adapter's is no effect of it; what it does not read at all is warned of elsewhere. */
static bool all_applied(Beside *b)
{
    for (int k = 0; k < b->n; k++)
        for (int i = 0; i < b->adapters[k]->n_sites; i++)
            if (b->read[k][i] && !b->applied[k][i] && b->adapters[k]->weight != 0) {
                Diag *d = diag_file_error(b->cx->diags, "E0690", b->adapters[k]->path, b->adapters[k]->sites[i].module, "the model reads this weight, but %s",
                                          b->adapters[k]->sites[i].table ? "looks up no rows of it" : "does not multiply with it");
                diag_help(d, "`--lora-mode merge` adds it to the weight itself");
                return false;
            }
    return true;
}

static bool may_choose(Beside *b)
{
    for (int k = 0; k < b->n; k++)
        if (b->adapters[k]->n_replaced) {
            diag_file_error(b->cx->diags, "E0691", b->adapters[k]->path, b->adapters[k]->replaced[0].key,
                            "this adapter brings a whole tensor (modules_to_save, trained biases), which the rows of one batch would have to choose");
            return false;
        }
    return add_choice(b);
}

static void say(Beside *b)
{
    PassContext px = {.cx = b->cx, .remarks = &b->c->remarks, .pass = "lora"};
    for (size_t i = 0; i < b->n_parts; i++) {
        const Parts *p = b->parts[i];
        remark(&px, REMARK_PASSED, REMARK_FUSED, NULL, "`%s` stays as it is; a path of rank %lld%s stands beside it", p->key, (long long)p->columns,
               b->slots ? ", masked by the row's adapter," : "");
    }
}

/* Slots have the numbers of the choices; sums have no order. */
static Adapter *const *in_order(Compilation *c, const CompileOptions *o)
{
    const Adapters *all = &c->adapters;
    Adapter **items = arena_array(&c->arena, (size_t)all->n + 1, sizeof *items);
    for (int i = 0; i < all->n; i++)
        for (int k = 0; k < all->n; k++) {
            size_t length = strlen(all->items[k]->path);
            const char *rest = strncmp(o->lora[i], all->items[k]->path, length) ? "?" : o->lora[i] + length;
            if (!*rest || *rest == ':')
                items[i] = all->items[k];
        }
    return items;
}

static Beside begin(Compilation *c, const CompileOptions *o, bool slots)
{
    Beside b = {.c = c, .cx = &c->cx, .adapters = in_order(c, o), .n = c->adapters.n, .slots = slots};
    size_t n = (size_t)b.n + 1, sites = 1;
    b.applied = arena_array(&c->arena, n, sizeof *b.applied);
    b.read = arena_array(&c->arena, n, sizeof *b.read);
    for (int k = 0; k < b.n; k++) {
        b.applied[k] = arena_array(&c->arena, (size_t)b.adapters[k]->n_sites + 1, sizeof **b.applied);
        b.read[k] = arena_array(&c->arena, (size_t)b.adapters[k]->n_sites + 1, sizeof **b.read);
        sites += (size_t)b.adapters[k]->n_sites;
    }
    b.masks = arena_array(&c->arena, sites, sizeof *b.masks);
    b.mask_rank = arena_array(&c->arena, sites, sizeof *b.mask_rank);
    return b;
}

bool lora_beside(Compilation *c, const CompileOptions *o, bool slots)
{
    Beside b = begin(c, o, slots);
    Graph *g = c->model.graph;
    const char *why = NULL;
    Remarks unheard = {.arena = &c->arena};
    if (!pass_run_one(&c->cx, g, PASS_ID_canonicalize, &unheard))
        return false;
    int before = g->next_id;
    if ((slots && !may_choose(&b)) || !visit(&b, g, before) || !all_applied(&b))
        return false;
    Checkpoint *with = checkpoint_with(&c->cx, c->checkpoint, b.made, (int64_t)b.n_made);
    if (!with)
        return false;
    c->checkpoint = with;
    graph_count_uses(g);
    graph_name_all(&c->cx, g);
    say(&b);
    if (graph_verify(&c->cx, g, &why))
        return true;
    diag_error(&c->diags, "E9901", (Span){0}, "adapters left a broken graph: %s", why);
    return false;
}
