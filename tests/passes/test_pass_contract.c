/* The contract of docs/kernels.md, checked on what the passes leave: where every element that a kernel reads lies is
 * computed one element at a time through all views, without the steps and collapsing that `lower` reasons with.
 * Random graphs and whole models, with each pass off. */
#include "tests/driver/random_graph.h"
#include "tests/passes/passes_test.h"

typedef struct Contract {
    const Graph *model;
    const int64_t *sizes;
    const char *what;
} Contract;

#define DEMAND(condition, n, why, ...) \
    ck_assert_msg(condition, "%s: `%s`: " why, c->what, (n)->name ? (n)->name : op_info[(n)->op].name, ##__VA_ARGS__)

/* ---- where an element lies --------------------------------------------------------------------------------------- */

static int64_t size_at(const Contract *c, const Type *t, int axis)
{
    return extent_value(t->axis[axis].size, c->model, c->sizes);
}

static const Cache *cache_named(const Contract *c, const char *name)
{
    for (int i = 0; i < c->model->n_caches; i++)
        if (!strcmp(c->model->caches[i].name, name))
            return &c->model->caches[i];
    ck_abort_msg("no cache %s", name);
    return NULL;
}

/* [other axes][growing axis][last axis] at the cache's capacity. */
static int64_t address_in_cache(const Contract *c, const Node *n, const int64_t *at)
{
    const Cache *cache = cache_named(c, attr_name(n, ATTR_cache));
    int last = n->type->rank - 1;
    int64_t address = 0;
    for (int i = 0; i < last; i++)
        if (i != cache->growing)
            address = address * size_at(c, cache->type, i) + at[i];
    if (cache->growing != last)
        address = address * size_at(c, cache->type, cache->growing) + at[cache->growing];
    return address * size_at(c, cache->type, last) + at[last];
}

static int64_t packed(const Contract *c, const Type *t, const int64_t *at)
{
    int64_t address = 0;
    for (int i = 0; i < t->rank; i++)
        address = address * size_at(c, t, i) + at[i];
    return address;
}

/* The position of element `at` of n in its input. */
static void below_view(const Contract *c, const Node *n, const int64_t *at, int64_t *out)
{
    const Type *from = n->inputs[0]->type, *to = n->type;
    if (n->op == OP_view) { /* the same place in row-major order */
        int64_t index = packed(c, to, at);
        for (int i = from->rank - 1; i >= 0; i--) {
            out[i] = index % size_at(c, from, i);
            index /= size_at(c, from, i);
        }
        return;
    }
    int axis = n->op == OP_slice ? type_find(from, attr_name(n, ATTR_axis)) : -1;
    const Attr *start = node_attr(n, ATTR_start);
    int64_t first = start ? extent_value(start->extent, c->model, c->sizes) : 0;
    for (int i = 0, k = 0; i < from->rank; i++) {
        if (n->op != OP_slice)
            out[i] = at[type_find(to, from->axis[i].name)];
        else
            out[i] = i != axis ? at[k++] : first + (from->rank == to->rank ? at[k++] : 0);
    }
}

static int64_t address_of(const Contract *c, const Node *n, const int64_t *at)
{
    int64_t below[MAX_RANK] = {0};
    if (n->op == OP_append)
        return address_in_cache(c, n, at);
    if (op_info[n->op].class != CLASS_VIEW)
        return packed(c, n->type, at);
    below_view(c, n, at, below);
    return address_of(c, n->inputs[0], below);
}

static bool step(const Contract *c, const Type *t, int64_t *at, int first, int n)
{
    for (int i = first + n - 1; i >= first; at[i--] = 0)
        if (++at[i] < size_at(c, t, i))
            return true;
    return false;
}

/* Element by element along the axes first .. first + n the address grows by `unit`, whatever the axes before. */
static bool is_run(const Contract *c, const Node *n, int first, int count)
{
    int64_t at[MAX_RANK] = {0};
    do {
        int64_t start = address_of(c, n, at), next = start;
        do
            if (address_of(c, n, at) != next++)
                return false;
        while (step(c, n->type, at, first, count));
    } while (step(c, n->type, at, 0, first));
    return true;
}

/* One stride reaches all positions of the first `rows` axes. */
static bool rows_step(const Contract *c, const Node *n, int rows)
{
    int64_t at[MAX_RANK] = {0}, start = address_of(c, n, at), stride = 0;
    for (int64_t row = 1; step(c, n->type, at, 0, rows); row++) {
        int64_t here = address_of(c, n, at);
        if (row == 1)
            stride = here - start;
        if (here != start + row * stride)
            return false;
    }
    return true;
}

/* ---- gemm -------------------------------------------------------------------------------------------------------- */

static bool is_made_of(const Node *n, const Node *param)
{
    bool found = n == param;
    for (int i = 0; i < n->n_inputs && !found; i++)
        found = is_made_of(n->inputs[i], param);
    return found;
}

/* The cosines or sines of a rotation: any of the rows' axes and one number for each pair. */
static bool is_angle(const Node *gemm, const Node *param)
{
    for (const Node *n = gemm->body->first; n; n = n->next)
        if (n->op == OP_rotate && (n->inputs[1] == param || n->inputs[2] == param))
            return true;
    return false;
}

static void check_angle(const Contract *c, const Node *gemm, const Node *extra, const Type *result, int rows)
{
    int last = extra->type->rank - 1;
    for (int i = 0, at = 0; i < last; i++) {
        int position = type_find(result, extra->type->axis[i].name);
        DEMAND(position >= at && position < rows, gemm, "the axes of `%s` are not its rows", extra->name);
        at = position + 1;
    }
    DEMAND(size_at(c, result, result->rank - 1) == 2 * size_at(c, extra->type, last), gemm,
           "`%s` does not have one number for each pair", extra->name);
    DEMAND(is_run(c, extra, last, 1), gemm, "the numbers of `%s` are no neighbours", extra->name);
}

static void check_extra(const Contract *c, const Node *gemm, const Node *extra, const Type *result, int rows)
{
    int own = 0, at = 0, columns = result->rank - rows;
    for (int i = 0; i < extra->type->rank; i++) {
        int position = type_find(result, extra->type->axis[i].name);
        DEMAND(position >= at, gemm, "the axes of `%s` are in another order", extra->name);
        at = position + 1;
        own += position < rows;
    }
    DEMAND(extra->type->rank == own || extra->type->rank == own + columns, gemm, "`%s` has some columns", extra->name);
    DEMAND(is_run(c, extra, own, extra->type->rank - own), gemm, "the columns of `%s` are no neighbours", extra->name);
    DEMAND(own < rows || rows_step(c, extra, own), gemm, "the rows of `%s` are not one step apart", extra->name);
}

/* A product beside an accumulator: rows as x has them, then what it sums, in the order of its weight, packed. */
static void check_side(const Contract *c, const Node *gemm, const Node *l, const Node *u, int rows)
{
    const Type *x = gemm->inputs[0]->type;
    int at = rows;
    DEMAND(u->op == OP_weight, gemm, "`%s` is no weight", u->name);
    for (int i = 0; i < rows; i++)
        DEMAND(l->type->axis[i].name == x->axis[i].name, gemm, "`%s` does not start with the rows", l->name);
    for (int i = 0; i < u->type->rank; i++)
        if (type_find(l->type, u->type->axis[i].name) >= 0)
            DEMAND(at < l->type->rank && l->type->axis[at++].name == u->type->axis[i].name, gemm, "`%s` has the summed axes in another order than `%s`", u->name, l->name);
    DEMAND(at == l->type->rank, gemm, "`%s` lacks a summed axis of `%s`", u->name, l->name);
    DEMAND(is_run(c, l, rows, l->type->rank - rows), gemm, "what `%s` sums does not lie packed", l->name);
    DEMAND(rows_step(c, l, rows), gemm, "the rows of `%s` are not one step apart", l->name);
}

static void check_gemm(const Contract *c, const Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    const Type *x = n->inputs[0]->type;
    int weights = (int)attr_int(n, ATTR_weights, 1), rows = x->rank - over->names.count;
    DEMAND(is_run(c, n->inputs[0], rows, over->names.count), n, "what it sums does not lie packed");
    DEMAND(rows_step(c, n->inputs[0], rows), n, "its rows are not one step apart");
    for (int j = 1; j <= weights; j++) {
        const Node *w = n->inputs[j];
        int at = rows;
        DEMAND(w->op == OP_weight, n, "`%s` is no weight", w->name);
        for (int i = 0; i < w->type->rank; i++)
            if (attr_has_name(n, ATTR_over, w->type->axis[i].name))
                DEMAND(at < x->rank && x->axis[at++].name == w->type->axis[i].name, n,
                       "`%s` has the summed axes in another order than the rows", w->name);
        DEMAND(at == x->rank, n, "`%s` lacks a summed axis", w->name);
        const Type *acc = n->body->params[j - 1]->type;
        for (int i = 0; i < rows; i++)
            DEMAND(acc->axis[i].name == x->axis[i].name, n, "accumulator %d does not start with the rows", j);
    }
    for (int r = 0; r < n->body->n_results; r++)
        for (int i = 0; i < rows; i++)
            DEMAND(n->body->results[r].value->type->axis[i].name == x->axis[i].name, n, "result %d has other rows", r);
    for (int k = 0; k < gemm_sides(n); k++)
        check_side(c, n, n->inputs[gemm_side(n, k)], n->inputs[gemm_side(n, k) + 1], rows);
    for (int i = weights + 1; i < gemm_side(n, 0); i++)
        for (int r = 0; r < n->body->n_results; r++)
            if (is_made_of(n->body->results[r].value, n->body->params[i - 1]))
                (is_angle(n, n->body->params[i - 1]) ? check_angle : check_extra)(
                    c, n, n->inputs[i], n->body->results[r].value->type, rows);
}

/* ---- attend ------------------------------------------------------------------------------------------------------ */

static bool is_unit(const Contract *c, const Node *n, const char *axis)
{
    int i = type_find(n->type, axis);
    int64_t at[MAX_RANK] = {0}, start = address_of(c, n, at);
    for (; at[i] < size_at(c, n->type, i); at[i]++)
        if (address_of(c, n, at) != start + at[i])
            return false;
    return true;
}

static bool only_renames(const Node *n)
{
    if (n->op == OP_transpose)
        return true;
    if (n->op != OP_view || n->type->rank != n->inputs[0]->type->rank)
        return false;
    for (int i = 0; i < n->type->rank; i++)
        if (!extent_equal(n->type->axis[i].size, n->inputs[0]->type->axis[i].size))
            return false;
    return true;
}

/* The axis of n as it is called where n is stored. */
static const char *stored_name(const Node **n, const char *axis)
{
    for (; only_renames(*n); *n = (*n)->inputs[0])
        if ((*n)->op == OP_view)
            axis = (*n)->inputs[0]->type->axis[type_find((*n)->type, axis)].name;
    return axis;
}

static void check_keys(const Contract *c, const Node *attend)
{
    const Node *stored = attend->inputs[1], *last = stored;
    const char *head = node_attr(attend, ATTR_over)->names.items[0];
    const char *keys = stored_name(&stored, attr_name(attend, ATTR_keys));
    head = stored_name(&last, head);
    if (!attr_name(stored, ATTR_layout)) {
        DEMAND(is_unit(c, attend->inputs[1], node_attr(attend, ATTR_over)->names.items[0]), attend,
               "the keys are neither panels nor rows");
        return;
    }
    DEMAND(attr_name(stored, ATTR_keys) == keys, attend, "its keys are panels along another axis");
    DEMAND(stored->type->axis[stored->type->rank - 1].name == head, attend, "its keys are panels of another axis");
}

static void check_attend(const Contract *c, const Node *n)
{
    const Type *score = n->body->params[0]->type, *v = n->inputs[2]->type;
    DEMAND(is_unit(c, n->inputs[0], node_attr(n, ATTR_over)->names.items[0]), n, "its queries do not lie packed");
    for (int i = 0; i < v->rank; i++)
        if (type_find(score, v->axis[i].name) < 0)
            DEMAND(is_unit(c, n->inputs[2], v->axis[i].name), n, "its values do not lie packed");
    check_keys(c, n);
}

/* ---- map, rowwise, reduce ---------------------------------------------------------------------------------------- */

static bool same_over(const Node *a, const Node *b)
{
    const Attr *p = node_attr(a, ATTR_over), *q = node_attr(b, ATTR_over);
    bool same = p && q && p->names.count == q->names.count;
    for (int i = 0; same && i < p->names.count; i++)
        same = attr_has_name(b, ATTR_over, p->names.items[i]);
    return same;
}

static void check_body(const Contract *c, const Node *kernel)
{
    const Type *first = kernel->body->results[0].value->type;
    int computed = 0;
    for (const Node *n = kernel->body->first; n; n = n->next)
        computed += op_info[n->op].class != CLASS_LEAF;
    for (const Node *n = kernel->body->first; n; n = n->next) {
        bool reduces = op_info[n->op].class == CLASS_REDUCE || n->op == OP_softmax;
        const Type *in = n->n_inputs ? n->inputs[0]->type : NULL;
        DEMAND(!reduces || (kernel->op != OP_map && same_over(n, kernel)), kernel, "it sums over other axes in its body");
        if (reduces && kernel->op == OP_rowwise)
            DEMAND(in->axis[in->rank - 1].name == node_attr(n, ATTR_over)->names.items[0], kernel,
                   "it sums over an axis that is not its row");
        if (n->op == OP_rotate)
            DEMAND(n->inputs[0]->op == OP_param && kernel->body->results[0].value == n, kernel, "it rotates on the way");
        if (n->op == OP_gather && computed > 1 && kernel->op != OP_reduce)
            DEMAND(n->type->rank && in->axis[in->rank - 1].name == n->type->axis[n->type->rank - 1].name, kernel,
                   "it looks up something else than a row");
    }
    for (int r = 1; r < kernel->body->n_results; r++) {
        const Type *t = kernel->body->results[r].value->type;
        bool same = t->rank == first->rank;
        for (int i = 0; same && i < t->rank; i++)
            same = t->axis[i].name == first->axis[i].name && extent_equal(t->axis[i].size, first->axis[i].size);
        DEMAND(same, kernel, "its results have different axes");
    }
}

/* ---- panels ------------------------------------------------------------------------------------------------------ */

/* What reads panels, through new names, is an attend that takes them as keys. */
static void check_reader(const Contract *c, const Node *reader, int i)
{
    const Node *stored = reader->inputs[i];
    if (only_renames(reader))
        return;
    while (only_renames(stored))
        stored = stored->inputs[0];
    if (attr_name(stored, ATTR_layout))
        DEMAND(reader->op == OP_attend && i == 1, reader, "it reads the panels of `%s`", stored->name);
}

static void check_graph(const Contract *c, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++)
            check_reader(c, n, i);
        if (n->op == OP_append)
            DEMAND(cache_named(c, attr_name(n, ATTR_cache))->panels == (attr_name(n, ATTR_layout) != NULL), n,
                   "it writes panels into rows, or rows into panels");
        if (n->op == OP_gemm)
            check_gemm(c, n);
        if (n->op == OP_attend)
            check_attend(c, n);
        if (n->op == OP_map || n->op == OP_rowwise || n->op == OP_reduce)
            check_body(c, n);
        if (n->op == OP_repeat)
            check_graph(c, n->body);
    }
    for (int i = 0; i < g->n_results; i++)
        ck_assert_msg(!attr_name(g->results[i].value, ATTR_layout), "%s: a result is laid out in panels", c->what);
}

/* ---- what is checked --------------------------------------------------------------------------------------------- */

static const struct {
    const char *model, *golden;
} models[] = {{"bert", "bert"}, {"gpt2", "gpt2"}, {"llama", "llama"}, {"llama", "qwen2"}, {"minilm", "minilm"}};
enum { N_MODELS = sizeof models / sizeof models[0] };

START_TEST(test_models)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = fixture_model(&f, models[_i / PASS_COUNT].model, models[_i / PASS_COUNT].golden);
    PassOptions options = {0};
    options.off[_i % PASS_COUNT] = true;
    ck_assert_msg(passes_run(&f.cx, g, &options, &f.remarks, NULL), "%s", fixture_said(&f));
    Call call[] = {{"B", 2}, {"S", 3}, {"past", 2}};
    check_graph(&(Contract){g, run_new(&f, g, call, 3).sizes, models[_i / PASS_COUNT].golden}, g);
    fixture_close(&f);
}
END_TEST

START_TEST(test_random)
{
    const char *text = getenv("ATTAR_RANDOM_SEED"), *count = getenv("ATTAR_RANDOM_COUNT");
    uint64_t first = text ? strtoull(text, NULL, 10) : 1, last = first + (count ? strtoull(count, NULL, 10) : 800);
    for (uint64_t seed = first + (uint64_t)_i; seed < last; seed += 8) {
        Fixture f;
        fixture_open(&f);
        Gen *g = gen_model(&f.cx, seed);
        PassOptions options = {0};
        options.off[seed % (3 * PASS_COUNT) % PASS_COUNT] = seed % 3 == 0;
        ck_assert_msg(passes_run(&f.cx, g->model, &options, &f.remarks, NULL), "seed %llu: %s",
                      (unsigned long long)seed, fixture_said(&f));
        int64_t sizes[] = {2, 3, 2};
        check_graph(&(Contract){g->model, sizes, arena_print(&f.arena, "seed %llu", (unsigned long long)seed)},
                    g->model);
        fixture_close(&f);
    }
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_models, test_random};
    int loops[] = {N_MODELS * PASS_COUNT, 8};
    return run_suite("contract of kernels", tests, loops, 2);
}
