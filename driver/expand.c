/* Enlargement: the larger config and the larger graph, the powers, and the tensors that they give. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/expand_inside.h"
#include "runtime/file.h"
#include "support/checked.h"
#include "support/holes.h"

/* Widths as config.json spells them; then the size of a head, or the number of heads beside it. */
static const char *const widths[] = {
    "hidden_size", "d_model", "n_embd",     "dim",     "embedding_size",  "intermediate_size",    "d_ff",
    "n_inner",     "d_inner", "hidden_dim", "ffn_dim", "ffn_hidden_size", "moe_intermediate_size"};
static const char *const head_sizes[] = {"head_dim", "d_kv", "d_head"};
static const char *const head_counts[] = {"num_attention_heads", "n_head", "num_heads", "n_heads"};
static const char *const key_heads[] = {"num_key_value_heads", "n_kv_heads"};
enum { MOST_KEYS = 32, SETS = 4 };

/* ---- the larger config ------------------------------------------------------------------------------------------ */

static void take_keys(const json_t *config, const char *const *names, size_t n, const char **out, int *count)
{
    for (size_t i = 0; i < n && *count < MOST_KEYS; i++)
        if (json_is_integer(json_object_get(config, names[i])))
            out[(*count)++] = names[i];
}

static json_t *larger_config(Compilation *c, int64_t factor, const char *const *keys, int n)
{
    json_t *config = json_deep_copy(c->config);
    for (int i = 0; config && i < n; i++) {
        json_t *value = json_object_get(config, keys[i]);
        int64_t size = json_integer_value(value), larger;
        if (!json_is_integer(value) || size < 1 || !checked_imul(size, factor, &larger) || larger > INT32_MAX) {
            diag_file_error(&c->diags, "E0910", "config.json", keys[i],
                            "there is no size here that can be multiplied by %lld", (long long)factor);
            json_decref(config);
            return NULL;
        }
        json_object_set_new(config, keys[i], json_integer(larger));
    }
    return config;
}

/* The same model file with the larger config; names and shapes of weights are not checked. */
static Graph *larger_graph(Compilation *c, json_t *config, Diags *diags)
{
    ModelOptions options = c->options;
    options.config = config;
    options.config_path = "the larger config.json";
    options.checkpoint = NULL;
    options.n_checkpoint = -1;
    Context quiet = {.arena = &c->arena, .diags = diags, .names = &c->names};
    Model model;
    int others = c->n_other_configs;
    bool good = model_load(&quiet, &c->source, &options, &model);
    while (c->n_other_configs > others) /* read again for this graph, which keeps nothing of them */
        json_decref(c->other_configs[--c->n_other_configs]);
    return good ? model.graph : NULL;
}

/* Keys that the model does not read stay as they are. */
static void drop_idle(Compilation *c, Expansion *x)
{
    Diags own = {.arena = &c->arena};
    Text whole = text_new(&c->arena);
    Graph *larger = larger_graph(c, x->config, &own);
    if (!larger)
        return; /* reported by whoever needs it */
    graph_print(larger, &whole);
    for (int i = 0; i < x->n_keys;) {
        json_t *now = json_incref(json_object_get(x->config, x->keys[i]));
        Text text = text_new(&c->arena);
        json_object_set(x->config, x->keys[i], json_object_get(c->config, x->keys[i]));
        Graph *without = larger_graph(c, x->config, &own);
        if (without)
            graph_print(without, &text);
        bool idle = without && !strcmp(whole.data, text.data);
        if (!idle)
            json_object_set(x->config, x->keys[i], now);
        json_decref(now);
        if (idle)
            memmove(&x->keys[i], &x->keys[i + 1], (size_t)(--x->n_keys - i) * sizeof *x->keys);
        else
            i++;
    }
}

/* ---- finding ---------------------------------------------------------------------------------------------------- */

static Pairing new_pairing(Compilation *c, int64_t factor, json_t *config, bool fixed)
{
    return (Pairing){.c = c,
                     .solver = {.arena = &c->arena},
                     .factor = factor,
                     .config = config,
                     .fixed = fixed,
                     .weights = map_new(&c->arena),
                     .constants = map_new(&c->arena),
                     .caches = map_new(&c->arena)};
}

/* Epsilons become what the powers ask for; true if any of them changed. */
static bool scale_constants(Compilation *c, Pairing *p, const double *unknowns, Text *said)
{
    bool any = false;
    for (size_t i = 0; i < p->constants.count; i++) {
        const char *key = p->constants.entries[i].key;
        double power = form_value(*(const Form *)p->constants.entries[i].value, unknowns);
        if (power == 0)
            continue;
        double value = json_real_value(json_object_get(p->config, key)) * pow((double)p->factor, power);
        json_object_set_new(p->config, key, json_real(value));
        text_add(said, "%s%s = ", any ? ", " : "", key);
        text_double(said, value);
        any = true;
    }
    (void)c;
    return any;
}

static void add_wide(Pairing *p, const char *name, const Node *n, const double *unknowns, Enlarged **list, int *count)
{
    const Spread *s = p->values[n->id];
    bool wide = false;
    for (int i = 0; i < n->type->rank; i++)
        wide = wide || s->inner[i];
    if (!wide)
        return;
    *list = arena_grow(&p->c->arena, *list, (size_t)*count, (size_t)*count + 1, sizeof **list);
    Enlarged *e = &(*list)[(*count)++];
    *e = (Enlarged){.name = name, .small = n, .power = form_value(s->power, unknowns)};
    memcpy(e->inner, s->inner, sizeof e->inner);
}

static void collect(Pairing *p, const double *unknowns, Expansion *out)
{
    const Graph *g = p->c->model.graph;
    out->n_weights = (int)p->weights.count;
    out->weights = arena_array(&p->c->arena, p->weights.count + 1, sizeof *out->weights);
    for (size_t i = 0; i < p->weights.count; i++) {
        out->weights[i] = *(const Enlarged *)p->weights.entries[i].value;
        out->weights[i].power = form_value(p->powers[i], unknowns);
    }
    for (int i = 0; i < g->n_params; i++)
        add_wide(p, g->params[i]->name, g->params[i], unknowns, &out->inputs, &out->n_inputs);
    for (int i = 0; i < g->n_results; i++)
        add_wide(p, g->results[i].name, g->results[i].value, unknowns, &out->results, &out->n_results);
}

/* One set of keys: false with p->why, or with errors of the larger model in `diags`. */
static bool try_keys(Compilation *c, Pairing *p, Diags *diags, Expansion *out)
{
    Text said = text_new(&c->arena);
    out->graph = larger_graph(c, p->config, diags);
    if (!out->graph || !expand_pair(p, c->model.graph, out->graph))
        return false;
    double *unknowns = solver_solve(&p->solver);
    if (scale_constants(c, p, unknowns, &said)) {
        *p = new_pairing(c, p->factor, p->config, true);
        out->scaled = said.data;
        out->graph = larger_graph(c, p->config, diags);
        if (!out->graph || !expand_pair(p, c->model.graph, out->graph))
            return false;
        unknowns = solver_solve(&p->solver);
    }
    collect(p, unknowns, out);
    return true;
}

typedef struct Attempt { /* that failed */
    const char *keys, *why;
    const Node *at;
} Attempt;

static Attempt failed(Compilation *c, const Pairing *p, const Diags *diags, const Expansion *x)
{
    Text keys = text_new(&c->arena);
    for (int i = 0; i < x->n_keys; i++)
        text_add(&keys, "%s`%s`", i ? ", " : "", x->keys[i]);
    const char *refused = diags->first ? diags->first->message : "it is another model";
    return (Attempt){keys.data,
                     p->why ? p->why : arena_print(&c->arena, "the file does not take the larger config: %s", refused),
                     p->at};
}

static void report(Compilation *c, const Attempt *tried, int n)
{
    const Node *at = tried[0].at;
    Diag *d = at ? diag_error(&c->diags, "E0910", at->at, "this cannot be enlarged exactly: %s", tried[0].why)
                 : diag_file_error(&c->diags, "E0910", c->source.path, NULL, "the model cannot be enlarged exactly: %s",
                                   tried[0].why);
    if (at && at->via.source)
        diag_note(d, "on line %d of %s", span_start(at->via).line, at->via.source->path);
    diag_note(d, "%s of config.json would grow", tried[0].keys);
    for (int i = 1; i < n; i++) {
        if (tried[i].at && tried[i].at->at.source)
            diag_note(d, "with %s, on line %d: %s", tried[i].keys, span_start(tried[i].at->at).line, tried[i].why);
        else
            diag_note(d, "with %s: %s", tried[i].keys, tried[i].why);
    }
}

/* The sets of keys that are tried, in order: widths with the size of a head, with the number of heads (of queries, or
 * of keys as well, where the size of a head has to stay), and alone. */
static int key_sets(Compilation *c, const char *sets[SETS][MOST_KEYS], int counts[SETS])
{
    int n = 0;
    for (int i = 0; i < SETS; i++) {
        counts[n] = 0;
        take_keys(c->config, widths, sizeof widths / sizeof *widths, sets[n], &counts[n]);
        if (i == 0)
            take_keys(c->config, head_sizes, sizeof head_sizes / sizeof *head_sizes, sets[n], &counts[n]);
        if (i == 1 || i == 2)
            take_keys(c->config, head_counts, sizeof head_counts / sizeof *head_counts, sets[n], &counts[n]);
        if (i == 2)
            take_keys(c->config, key_heads, sizeof key_heads / sizeof *key_heads, sets[n], &counts[n]);
        bool seen = !counts[n];
        for (int k = 0; k < n; k++)
            seen = seen || (counts[k] == counts[n] && !memcmp(sets[k], sets[n], (size_t)counts[n] * sizeof **sets));
        n += !seen;
    }
    return n;
}

/* 1: found; 0: these keys do not do; -1: they are no sizes, which was reported. */
static int attempt(Compilation *c, int64_t factor, const char *const *keys, int n_keys, Expansion *out, Attempt *tried)
{
    Expansion x = {.factor = factor, .n_keys = n_keys};
    x.keys = arena_array(&c->arena, (size_t)n_keys + 1, sizeof *x.keys);
    memcpy(x.keys, keys, (size_t)n_keys * sizeof *keys);
    x.config = larger_config(c, factor, x.keys, x.n_keys);
    if (!x.config)
        return -1;
    drop_idle(c, &x);
    Pairing p = new_pairing(c, factor, x.config, false);
    Diags own = {.arena = &c->arena};
    if (try_keys(c, &p, &own, &x)) {
        *out = x;
        return 1;
    }
    *tried = failed(c, &p, &own, &x);
    json_decref(x.config);
    return 0;
}

bool expand_find(Compilation *c, int64_t factor, const char *const *keys, int n_keys, Expansion *out)
{
    const char *sets[SETS][MOST_KEYS];
    int counts[SETS], n_sets = n_keys ? 1 : key_sets(c, sets, counts);
    Attempt tried[SETS];
    if (!n_sets) {
        diag_file_error(&c->diags, "E0910", "config.json", NULL,
                        "it has no width that is known by name: name keys with --widen");
        return false;
    }
    for (int i = 0; i < n_sets; i++) {
        int found = attempt(c, factor, n_keys ? keys : sets[i], n_keys ? n_keys : counts[i], out, &tried[i]);
        if (found)
            return found > 0;
    }
    report(c, tried, n_sets);
    return false;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

static int64_t position_before(const Expansion *x, const Enlarged *e, int axis, int64_t at)
{
    int64_t inner = e->inner[axis];
    return inner ? at / (x->factor * inner) * inner + at % inner : at;
}

/* The stored dimensions of one tensor; of several that are stacked, without the number of them. */
static void stored_shape(const Enlarged *e, int first, HostTensor *out)
{
    const Attr *shape = node_attr(e->large, ATTR_stored);
    out->rank = (shape ? shape->ints.count : e->large->type->rank) - first;
    for (int i = 0; i < out->rank; i++)
        out->dims[i] = shape ? shape->ints.items[first + i] : e->large->type->axis[first + i].size.base;
}

static bool enlarge(Compilation *c, const Expansion *x, const Enlarged *e, const char *key, HostTensor *out)
{
    int first = attr_int(e->small, ATTR_stack, 0) > 0, rank = e->large->type->rank;
    const Axis *small = e->small->type->axis, *large = e->large->type->axis;
    const HostTensor *stored = checkpoint_find(c->checkpoint, key);
    uint64_t count = 1, bytes;
    for (int i = first; i < rank; i++)
        if (!checked_mul(count, (uint64_t)large[i].size.base, &count))
            count = UINT64_MAX;
    if (!stored || !checked_mul(count, sizeof(double), &bytes) || bytes > PTRDIFF_MAX) {
        diag_file_error(&c->diags, "E0910", checkpoint_path(c->checkpoint), key,
                        "the larger tensor cannot be held in memory");
        return false;
    }
    int64_t from = host_count(stored), position[MAX_RANK] = {0};
    double *in = arena_array(&c->arena, (size_t)from + 1, sizeof *in), times = pow((double)x->factor, e->power);
    float *data = arena_array(&c->arena, (size_t)count + 1, sizeof *data);
    if (!checkpoint_read_f64(&c->cx, c->checkpoint, key, 0, from, in))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        int64_t at = 0;
        for (int d = first; d < rank; d++)
            at = at * small[d].size.base + position_before(x, e, d, position[d]);
        data[i] = (float)(in[at] * times);
        for (int d = rank - 1; d >= first && ++position[d] == large[d].size.base; d--)
            position[d] = 0;
    }
    *out = (HostTensor){.name = key, .dtype = DT_F32, .data = data};
    stored_shape(e, first, out);
    return true;
}

/* How many tensors of the checkpoint a weight is: one for each round of its loop. */
static int64_t rounds_of(const Node *n)
{
    const Graph *g = n->graph;
    while (g->owner && g->owner->op != OP_repeat)
        g = g->parent;
    return hole_of_round(attr_name(n, ATTR_key)) && g->owner ? attr_int(g->owner, ATTR_count, 1) : 1;
}

/* With as few digits as give the same numbers. */
static char *config_text(const json_t *config)
{
    char *text = NULL;
    bool same = false;
    for (int digits = 15; digits <= 17 && !same; digits++) {
        free(text);
        text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *back = text ? json_loads(text, 0, NULL) : NULL;
        same = back && json_equal(back, config);
        json_decref(back);
    }
    return text;
}

static bool write_config(Compilation *c, const Expansion *x, const char *folder)
{
    char *text = config_text(x->config);
    Writer w;
    writer_open(&c->cx, &w, arena_print(&c->arena, "%s/config.json", folder));
    if (text) {
        writer_put(&w, text, strlen(text));
        writer_put(&w, "\n", 1);
    }
    free(text);
    return writer_close(&c->cx, &w);
}

bool expand_write(Compilation *c, const Expansion *x, const char *folder)
{
    HostTensor *tensors = NULL;
    size_t n = 0, room = 0;
    for (int i = 0; i < x->n_weights; i++) {
        const Enlarged *e = &x->weights[i];
        int64_t stack = attr_int(e->small, ATTR_stack, 0), each = stack ? stack : 1;
        for (int64_t t = 0; t < rounds_of(e->small) * each; t++) {
            const char *key = model_key(&c->cx, &c->model, e->name, t / each);
            if (stack)
                key = hole_fill(&c->arena, key, -1, t % each);
            tensors = arena_room(&c->arena, tensors, n, &room, sizeof *tensors);
            if (!enlarge(c, x, e, key, &tensors[n++]))
                return false;
        }
    }
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        diag_file_error(&c->diags, "E1010", folder, NULL, "cannot make this folder: %s", strerror(errno));
        return false;
    }
    return safetensors_save(&c->cx, arena_print(&c->arena, "%s/model.safetensors", folder), tensors, (int)n) &&
           write_config(c, x, folder);
}
