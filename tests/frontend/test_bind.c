/* The models of models/ over the reference configs and checkpoints: they bind, verify, read the right keys with
 * the right types, and the float64 interpreter finds the reference outputs. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "ir/interpret.h"
#include "runtime/checkpoint.h"

typedef struct Loaded {
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
    Source source;
    Checkpoint *checkpoint;
    ModelOptions options;
    Model model;
    bool good;
} Loaded;

static char *read_whole(Arena *arena, const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    char *text = arena_alloc(arena, 1 << 20);
    *size = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    return text;
}

static void begin(Loaded *l)
{
    *l = (Loaded){0};
    l->names.map = map_new(&l->arena);
    l->diags = (Diags){.arena = &l->arena};
    l->cx = (Context){&l->arena, &l->diags, &l->names};
    l->options = (ModelOptions){.n_checkpoint = -1};
}

static void finish(Loaded *l)
{
    l->good = model_load(&l->cx, &l->source, &l->options, &l->model);
    if (l->diags.first) {
        Text out = text_new(&l->arena);
        diag_render(&l->diags, &out, false);
        fputs(out.data, stderr);
    }
}

/* models/NAME.attar with the config of a golden folder, and its checkpoint if `weights`. */
static void load(Loaded *l, const char *model, const char *folder, bool weights)
{
    begin(l);
    l->source.path = arena_print(&l->arena, "%s/models/%s.attar", SOURCE_DIR, model);
    l->source.text = read_whole(&l->arena, l->source.path, &l->source.size);
    const char *config = arena_print(&l->arena, "%s/%s/config.json", SOURCE_DIR, folder);
    l->options.config_path = "config.json";
    l->options.config = json_read_file(&l->diags, "E0590", config, 1 << 20, 64);
    if (weights) {
        l->checkpoint = checkpoint_open(&l->cx, arena_print(&l->arena, "%s/%s", SOURCE_DIR, folder));
        ck_assert(l->checkpoint != NULL);
        l->options.checkpoint = checkpoint_tensors(l->checkpoint, &l->options.n_checkpoint);
        l->options.checkpoint_path = "model.safetensors";
    }
    finish(l);
    ck_assert(l->good);
}

static void load_text(Loaded *l, const char *text)
{
    begin(l);
    l->source = (Source){"m.attar", text, strlen(text)};
    finish(l);
}

static void release(Loaded *l)
{
    if (l->checkpoint)
        checkpoint_close(l->checkpoint);
    json_decref(l->options.config);
    arena_free(&l->arena);
}

/* ---- structure -------------------------------------------------------------------------------------------------- */

static const Node *find_key(const Graph *g, const char *key)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_weight && !strcmp(attr_name(n, ATTR_key), key))
            return n;
        const Node *inside = n->body ? find_key(n->body, key) : NULL;
        if (inside)
            return inside;
    }
    return NULL;
}

static const Node *find_op(const Graph *g, Op op)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == op)
            return n;
        const Node *inside = n->body ? find_op(n->body, op) : NULL;
        if (inside)
            return inside;
    }
    return NULL;
}

static void expect_type(Loaded *l, const Type *t, const char *expected)
{
    Text out = text_new(&l->arena);
    type_print(t, &out);
    ck_assert_str_eq(out.data, expected);
}

static void expect_weight(Loaded *l, const char *key, const char *type)
{
    const Node *n = find_key(l->model.graph, key);
    ck_assert_msg(n != NULL, "%s", key);
    expect_type(l, n->type, type);
}

START_TEST(bert_structure)
{
    Loaded l;
    load(&l, "bert", "tests/golden/bert", false);
    const Graph *g = l.model.graph;
    ck_assert_str_eq(g->name, "Bert");
    ck_assert_int_eq(g->n_results, 2);
    ck_assert_str_eq(g->results[0].name, "hidden");
    expect_type(&l, g->results[0].value->type, "f32[B, S, D=60]");
    expect_type(&l, g->results[1].value->type, "f32[B, D=60]");
    expect_weight(&l, "encoder.layer.{i}.attention.self.query.weight", "f32[H=3, K=20, D=60]");
    expect_weight(&l, "encoder.layer.{i}.attention.output.dense.weight", "f32[D=60, H=3, K=20]");
    expect_weight(&l, "pooler.dense.weight", "f32[D2=60, D=60]");
    expect_weight(&l, "embeddings.LayerNorm.bias", "f32[D=60]");
    for (int i = 0; i < g->n_symbols; i++)
        if (!strcmp(g->symbols[i]->name, "S"))
            ck_assert_int_eq(g->symbols[i]->high, 32);
    const Node *softmax = find_op(g, OP_softmax);
    expect_type(&l, softmax->type, "f32[B, S, H=3, T=S]");
    ck_assert_ptr_nonnull(softmax->via.source);
    ck_assert_str_eq(softmax->scope, "encoder.layer.{i}.attention");
    release(&l);
}
END_TEST

START_TEST(llama_structure)
{
    Loaded l;
    load(&l, "llama", "tests/golden/llama", false);
    const Graph *g = l.model.graph;
    expect_weight(&l, "model.layers.{i}.self_attn.k_proj.weight", "f32[G=2, K=20, D=64]");
    expect_weight(&l, "lm_head.weight", "f32[V=97, D=64]");
    ck_assert_int_eq(g->n_caches, 2);
    ck_assert_str_eq(g->caches[0].name, "kv.k");
    expect_type(&l, g->caches[0].type, "f32[B, T=64, G=2, K=20]");
    ck_assert_int_eq(g->caches[0].growing, 1);
    ck_assert_int_eq(g->caches[0].layers, 2);
    expect_type(&l, find_op(g, OP_append)->type, "f32[B, T=past+S, G=2, K=20]");
    expect_type(&l, find_op(g, OP_softmax)->type, "f32[B, S, G=2, R=2, T=past+S]");
    ck_assert_ptr_null(find_key(g, "model.layers.{i}.self_attn.q_proj.bias"));
    release(&l);
}
END_TEST

START_TEST(deepseek_structure)
{
    Loaded l;
    load(&l, "deepseek", "tests/golden/deepseek-v3-dense", false);
    const Graph *g = l.model.graph;
    ck_assert_int_eq(g->n_caches, 1);
    expect_type(&l, g->caches[0].type, "f32[B, T=64, R_E=32]");
    expect_weight(&l, "model.layers.{i}.self_attn.kv_b_proj.weight", "f32[H=3, N_W=32, R=24]");
    expect_type(&l, find_op(g, OP_softmax)->type, "f32[B, S, H=3, T=past+S]");
    release(&l);
}
END_TEST

/* Without a name for the grown axis no caller gives, `as` takes the tensor's own. */
START_TEST(grown_axis_by_name)
{
    Loaded l;
    load_text(&l, "let H = 2\nlet E = 4\ncache kv[1] { r: [B, T <= 8, E] }\n"
                  "model M(x: f32[B, S, E]) -> f32[B, S, H] {\n"
                  "  r = kv[0].append(x)\n  k = expand(r as [B, T, 1, E], H)\n"
                  "  return sum(dot(x, k as [B, T, H, E], over=E), over=T)\n}\n");
    ck_assert(l.good);
    expect_type(&l, find_op(l.model.graph, OP_expand)->type, "f32[B, T=past+S, H=2, E=4]");
    release(&l);
    load_text(&l, "let E = 4\ncache kv[1] { r: [B, T <= 8, E] }\n"
                  "model M(x: f32[B, S, E]) -> f32[B, S, E] {\n"
                  "  r = kv[0].append(x)\n  p = softmax(dot(x, r, over=E), over=T)\n  return dot(p, r, over=T)\n}\n");
    ck_assert(l.good);
    expect_type(&l, find_op(l.model.graph, OP_softmax)->type, "f32[B, S, T=past+S]");
    release(&l);
}
END_TEST

START_TEST(variants)
{
    Loaded l;
    load(&l, "llama", "tests/golden/llama-tied", false);
    ck_assert_ptr_null(find_key(l.model.graph, "lm_head.weight"));
    release(&l);
    load(&l, "llama", "tests/golden/qwen2", false);
    ck_assert_ptr_nonnull(find_key(l.model.graph, "model.layers.{i}.self_attn.q_proj.bias"));
    ck_assert_ptr_null(find_key(l.model.graph, "model.layers.{i}.self_attn.o_proj.bias"));
    release(&l);
    load(&l, "gpt2", "tests/golden/gpt2", false);
    expect_weight(&l, "transformer.h.{i}.attn.c_attn.weight", "f32[D=60, n3=3, H=3, K=20]");
    const Attr *stored = node_attr(find_key(l.model.graph, "transformer.h.{i}.attn.c_attn.weight"), ATTR_stored);
    ck_assert_int_eq(stored->ints.count, 2);
    ck_assert_int_eq(stored->ints.items[1], 180);
    release(&l);
    load(&l, "minilm", "tests/golden/minilm", false);
    expect_type(&l, l.model.graph->results[0].value->type, "f32[B, D=384]");
    ck_assert_str_eq(l.model.graph->results[0].name, "pooled");
    release(&l);
    load(&l, "llama", "models/austen", true);
    release(&l);
}
END_TEST

/* A written 1 is stored, but no axis; an axis of size 1 is one. */
START_TEST(stored_ones)
{
    Loaded l;
    load_text(&l, "let H = 2\nlet C = 3\nlet One = 1\nmodel M(x: f32[B, H]) -> f32[B, C, One] {\n"
                  "  return dot(x, weight(\"conv\", [H, 1, C, 1]) * weight(\"gain\", [1, 1, One]), over=H)\n}\n");
    ck_assert(l.good);
    expect_weight(&l, "conv", "f32[H=2, C=3]");
    expect_weight(&l, "gain", "f32[One=1]");
    const Attr *stored = node_attr(find_key(l.model.graph, "conv"), ATTR_stored);
    ck_assert_int_eq(stored->ints.count, 4);
    ck_assert(stored->ints.items[0] == 2 && stored->ints.items[1] == 1 && stored->ints.items[2] == 3 && stored->ints.items[3] == 1);
    release(&l);
}
END_TEST

/* `over: axes` picks axes of the tensor, wherever they stand in it. */
START_TEST(axes_parameters)
{
    Loaded l;
    load_text(&l, "block unit(x: [*], over: axes) -> [*] { return x * rsqrt(mean(x * x, over=over)) }\n"
                  "model M(x: f32[R, C]) -> (one: f32[R, C], both: f32[R, C]) { return unit(x, R), unit(x, (R, C)) }\n");
    ck_assert(l.good);
    int reduced = 0;
    for (const Node *n = l.model.graph->first; n; n = n->next) {
        if (n->op != OP_mean)
            continue;
        expect_type(&l, n->type, reduced ? "f32" : "f32[C]");
        reduced++;
    }
    ck_assert_int_eq(reduced, 2);
    release(&l);
}
END_TEST

/* One stored tensor of several parts: each is cut out and seen with its axes. */
START_TEST(parts_with_axes)
{
    Loaded l;
    load_text(&l, "let H = 2\nlet G = 1\nlet K = 3\n"
                  "model M(x: f32[S, 5]) -> (q: f32[S, H, K], k: f32[S, G, K], v: f32[S, K]) {\n"
                  "  q, k, v = linear(x, \"qkv\", (H + G + 1) * K) |> split([(H, K), (G, K), K])\n  return q, k, v\n}\n");
    ck_assert(l.good);
    expect_weight(&l, "qkv.weight", "f32[H_G_1_K=12, n5=5]");
    ck_assert_int_eq(l.model.graph->n_results, 3);
    int64_t starts[] = {0, 6, 9};
    int found = 0;
    for (const Node *n = l.model.graph->first; n; n = n->next) {
        if (n->op != OP_slice)
            continue;
        ck_assert_int_eq(node_attr(n, ATTR_start)->extent.base, starts[found]);
        found++;
    }
    ck_assert_int_eq(found, 3);
    release(&l);
}
END_TEST

/* Numbers known at compile time stay known: a part of a size is a size again. */
START_TEST(numbers_as_types)
{
    Loaded l;
    load_text(&l, "let K = 20\nlet R = (K * 0.49) as i32\nlet half = 1 as f32\n"
                  "model M(x: f32[S, K]) -> f32[S, R] {\n  assert half / 2 == 0.5\n  a, b = split(x, [R, K - R])\n  return a\n}\n");
    ck_assert(l.good);
    expect_type(&l, l.model.graph->results[0].value->type, "f32[S, R=9]");
    release(&l);
}
END_TEST

/* ---- rotary positions -------------------------------------------------------------------------------------------- */

static const Node *rope_of(Loaded *l, const char *scaling, const char *arguments)
{
    begin(l);
    l->options.config_path = "config.json";
    l->options.config = json_loads(arena_print(&l->arena, "{\"rope_scaling\": %s}", scaling), 0, NULL);
    const char *text = arena_print(&l->arena,
                                   "config \"config.json\" { scaling = rope_scaling ?? none }\n"
                                   "model M(x: f32[B, S, 2, 12]) -> f32[B, S, 2, 12] { return rope(x, 0..S, scaling=scaling%s) }\n",
                                   arguments);
    l->source = (Source){"m.attar", text, strlen(text)};
    finish(l);
    ck_assert_msg(l->good, "%s", scaling);
    return find_op(l->model.graph, OP_rotate);
}

/* Cosines and sines of as many pairs as turn, times the attention factor. */
static void expect_rope(const char *scaling, const char *arguments, int pairs, double attention, const double *frequencies)
{
    Loaded l;
    const Node *n = rope_of(&l, scaling, arguments), *factor = n->inputs[1]->inputs[0], *cosine = n->inputs[1]->inputs[1],
               *table = cosine->inputs[0]->inputs[1];
    ck_assert_int_eq(n->inputs[1]->type->axis[1].size.base, pairs);
    ck_assert(fabs(node_attr(factor, ATTR_value)->real - attention) < 1e-12);
    ck_assert_int_eq(table->op, OP_table);
    for (int i = 0; frequencies && i < pairs; i++)
        ck_assert(fabs(node_attr(table, ATTR_table)->floats.items[i] / frequencies[i] - 1) < 1e-12);
    release(&l);
}

START_TEST(rotary_scaling)
{
    double plain[6], linear[6], ntk[6], part[2];
    for (int i = 0; i < 6; i++) {
        plain[i] = pow(10000, -i / 6.0);
        linear[i] = plain[i] / 4;
        ntk[i] = pow(10000 * pow(4, 12.0 / 10), -i / 6.0);
    }
    for (int i = 0; i < 2; i++)
        part[i] = pow(10000, -i / 2.0);
    expect_rope("null", "", 6, 1, plain);
    expect_rope("{\"type\": \"default\", \"factor\": null}", "", 6, 1, plain);
    expect_rope("{\"type\": \"linear\", \"factor\": 4}", "", 6, 1, linear);
    expect_rope("{\"rope_type\": \"ntk\", \"factor\": 4}", "", 6, 1, ntk);
    expect_rope("{\"rope_type\": \"default\", \"partial_rotary_factor\": 0.4}", "", 2, 1, part);
    expect_rope("null", ", size=4", 2, 1, part);
    expect_rope("{\"rope_type\": \"default\", \"partial_rotary_factor\": 0.4}", ", size=4", 2, 1, part);
    /* The attention factor of yarn: from the factor, from the ratio of lengths, from two scales, given. */
    expect_rope("{\"type\": \"yarn\", \"factor\": 4}", ", limit=32", 6, 0.1 * log(4) + 1, NULL);
    expect_rope("{\"type\": \"yarn\", \"original_max_position_embeddings\": 32}", ", limit=256", 6, 0.1 * log(8) + 1, NULL);
    expect_rope("{\"type\": \"yarn\", \"factor\": 4, \"mscale\": 0.7, \"mscale_all_dim\": 2}", ", original=32", 6,
                (0.07 * log(4) + 1) / (0.2 * log(4) + 1), NULL);
    expect_rope("{\"type\": \"yarn\", \"factor\": 4, \"attention_factor\": 1.5}", ", original=32", 6, 1.5, NULL);
    expect_rope("{\"type\": \"yarn\", \"factor\": 0.5}", ", original=32", 6, 1, NULL);
}
END_TEST

/* Every pair at its end of the ramp, and between: where it begins and ends, whole pairs or not. */
START_TEST(rotary_yarn_ramp)
{
    for (int whole = 0; whole < 2; whole++) {
        double want[6];
        double first = 12 * log(64 / (4 * 2 * M_PI)) / (2 * log(10000)), last = 12 * log(64 / (2 * M_PI)) / (2 * log(10000));
        if (whole) {
            first = floor(first);
            last = ceil(last);
        }
        for (int i = 0; i < 6; i++) {
            double slow = i <= first ? 0 : i >= last ? 1 : (i - first) / (last - first);
            want[i] = pow(10000, -i / 6.0) * (1 - slow + slow / 4);
        }
        expect_rope(whole ? "{\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": 4, \"beta_slow\": 1}"
                          : "{\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": 4, \"beta_slow\": 1, \"truncate\": false}",
                    ", original=64", 6, 0.1 * log(4) + 1, want);
    }
}
END_TEST

/* Two tables, and the length of the text chooses: 0..S has S positions. */
START_TEST(rotary_long_and_short)
{
    Loaded l;
    rope_of(&l,
            "{\"type\": \"su\", \"short_factor\": [1, 1, 1, 1, 1, 1], \"long_factor\": [2, 2, 2, 2, 2, 2], "
            "\"original_max_position_embeddings\": 32}",
            ", limit=128");
    const Node *choice = find_op(l.model.graph, OP_where), *longer = choice->inputs[0];
    ck_assert_int_eq(longer->op, OP_lt);
    ck_assert(node_attr(longer->inputs[0], ATTR_value)->real == 32);
    ck_assert_int_eq(longer->inputs[1]->op, OP_extent);
    ck_assert(node_attr(choice->inputs[1], ATTR_table)->floats.items[0] == 0.5);
    ck_assert(node_attr(choice->inputs[2], ATTR_table)->floats.items[0] == 1);
    release(&l);
}
END_TEST

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

typedef struct Golden {
    const char *model, *folder;
    bool decode;
} Golden;
static const Golden goldens[] = {
    {"bert", "bert", false},
    {"gpt2", "gpt2", true},
    {"llama", "llama", true},
    {"llama", "llama-tied", true},
    {"llama", "llama-sharded-bf16", true},
    {"llama", "llama-rope-llama3", false},
    {"llama", "llama-rope-old-spelling", true},
    {"llama", "mistral", true},
    {"llama", "qwen2", true},
    {"llama", "qwen3", true},
    {"llama", "llama-rope-yarn", true},
    {"llama", "llama-rope-dynamic", false},
    {"phi", "phi", true},
    {"phi3", "phi3", true},
    {"gpt_neox", "gpt-neox", true},
    {"bloom", "bloom", true},
    {"deepseek", "deepseek-v3-dense", true},
};

static bool read_weight(void *state, const char *key, double *out, int64_t count)
{
    Loaded *l = state;
    return checkpoint_read_f64(&l->cx, l->checkpoint, model_key(&l->cx, &l->model, key, -1), 0, count, out);
}

static const HostTensor *named(const HostTensor *all, int n, const char *prefix, const char *name)
{
    for (int i = 0; i < n; i++) {
        size_t length = strlen(prefix);
        if (!strncmp(all[i].name, prefix, length) && !strcmp(all[i].name + length, name))
            return &all[i];
    }
    ck_abort_msg("no %s%s", prefix, name);
    return NULL;
}

static double tolerance(Loaded *l, const char *folder)
{
    json_t *golden = json_read_file(&l->diags, "E0590", arena_print(&l->arena, "%s/%s/golden.json", SOURCE_DIR, folder),
                                    1 << 20, 64);
    double t = json_number_value(json_at(golden, "tolerance"));
    json_decref(golden);
    return t;
}

/* The sequence [first, first + length) of a tensor [B, S]. */
static HostTensor part(Loaded *l, const HostTensor *t, int64_t first, int64_t length)
{
    HostTensor p = *t;
    p.dims[1] = length;
    p.data = arena_array(&l->arena, (size_t)(t->dims[0] * length), dtype_size(t->dtype));
    for (int64_t i = 0; i < t->dims[0]; i++)
        for (int64_t k = 0; k < length; k++)
            host_set(&p, i * length + k, host_get(t, i * t->dims[1] + first + k));
    return p;
}

static double worst(const Value *v, const HostTensor *expected, int64_t first)
{
    double most = 0;
    int64_t batch = v->dims[0], rows = v->rank > 2 ? v->dims[1] : 1, width = v->count / (batch * rows),
            all = v->rank > 2 ? expected->dims[1] : 1;
    for (int64_t i = 0; i < v->count; i++) {
        int64_t at = ((i / width / rows) * all + first + i / width % rows) * width + i % width;
        most = fmax(most, fabs(v->data[i] - host_get(expected, at)));
        if (isnan(v->data[i]))
            return INFINITY;
    }
    return most;
}

/* Runs the text in pieces of `step` positions (the whole text: step = S). */
static void compare(const Golden *golden, int64_t step)
{
    Loaded l;
    int n;
    char folder[80];
    snprintf(folder, sizeof folder, "tests/golden/%s", golden->folder);
    load(&l, golden->model, folder, true);
    const HostTensor *all =
        safetensors_load(&l.cx, arena_print(&l.arena, "%s/%s/golden.safetensors", SOURCE_DIR, folder), &n);
    const Graph *g = l.model.graph;
    int64_t sizes[8] = {0}, S = named(all, n, "input.", "ids")->dims[1];
    HostTensor inputs[4];
    double limit = tolerance(&l, folder);
    Bindings bind = {.sizes = sizes, .inputs = inputs, .weight = read_weight, .weight_state = &l};
    for (int i = 0; i < g->n_symbols; i++)
        sizes[i] = !strcmp(g->symbols[i]->name, "B") ? named(all, n, "input.", "ids")->dims[0] : 0;
    bind.caches = interpret_caches(g, sizes, &l.arena);
    for (int64_t at = 0; at < S; at += step) {
        int64_t length = step < S - at ? step : S - at;
        for (int i = 0; i < g->n_symbols; i++) {
            if (!strcmp(g->symbols[i]->name, "S"))
                sizes[i] = length;
            if (!strcmp(g->symbols[i]->name, "past"))
                sizes[i] = at;
        }
        for (int i = 0; i < g->n_params; i++)
            inputs[i] = part(&l, named(all, n, "input.", g->params[i]->name), at, length);
        Arena work = {0};
        Value *out = interpret(&l.cx, g, &bind, &work);
        ck_assert_ptr_nonnull(out);
        for (int i = 0; i < g->n_results; i++) {
            double error = worst(&out[i], named(all, n, "output.", g->results[i].name), at);
            ck_assert_msg(error <= limit, "%s %s, step %lld: %g above %g", golden->folder, g->results[i].name,
                          (long long)step, error, limit);
        }
        arena_free(&work);
    }
    release(&l);
}

START_TEST(reference_outputs)
{
    compare(&goldens[_i], 1000);
}
END_TEST

START_TEST(reference_step_by_step)
{
    if (!goldens[_i].decode)
        return;
    compare(&goldens[_i], 1);
    compare(&goldens[_i], 5);
}
END_TEST

/* ---- spellings, limits ------------------------------------------------------------------------------------------ */

static HostTensor tensor(const char *name, int64_t rows, int64_t columns)
{
    HostTensor t = {.name = name, .dtype = DT_F32, .rank = columns ? 2 : 1, .dims = {rows, columns}};
    return t;
}

START_TEST(other_spelling)
{
    Loaded l;
    static const char text[] = "let D = 4\n"
                               "model M(x: f32[B, D]) -> f32[B, D] {\n"
                               "  repeat i < 2 at \"layers.{i}\" { x = linear(x, \"up\", D) }\n"
                               "  return linear(x, \"head.out\", D)\n"
                               "}\n"
                               "names old { \"layers.{i}.up\" => \"blk.{i}.ffn\"; \"head\" => \"\" }\n"
                               "ignore \"blk.{i}.mask\"\n";
    HostTensor tensors[] = {tensor("blk.0.ffn.weight", 4, 4), tensor("blk.1.ffn.weight", 4, 4),
                            tensor("out.weight", 4, 4), tensor("blk.1.mask", 4, 0)};
    begin(&l);
    l.source = (Source){"m.attar", text, sizeof text - 1};
    l.options.checkpoint = tensors;
    l.options.n_checkpoint = 4;
    l.options.checkpoint_path = "w.safetensors";
    finish(&l);
    ck_assert(l.good);
    ck_assert_str_eq(l.model.spelling, "old");
    ck_assert_str_eq(model_key(&l.cx, &l.model, "layers.{i}.up.weight", 1), "blk.1.ffn.weight");
    ck_assert_str_eq(model_key(&l.cx, &l.model, "layers.{i}.up.weight", -1), "blk.{i}.ffn.weight");
    ck_assert_str_eq(model_key(&l.cx, &l.model, "head.out.weight", -1), "out.weight");
    release(&l);
}
END_TEST

START_TEST(long_chain)
{
    Loaded l;
    size_t n = 100000;
    char *text = malloc(64 + 4 * n), *p = text;
    p += sprintf(p, "model M(x: f32[B]) -> f32[B] { return x");
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, " + 1");
    sprintf(p, " }\n");
    load_text(&l, text);
    ck_assert(l.good);
    release(&l);
    free(text);
}
END_TEST

/* The same attention, written by hand, makes the same operations. */
static int count_ops(const Graph *g, Op op)
{
    int n = 0;
    for (const Node *i = g->first; i; i = i->next)
        n += (i->op == op) + (i->body ? count_ops(i->body, op) : 0);
    return n;
}

START_TEST(attention_by_hand)
{
    static const char library[] =
        "let H = 2\nlet K = 4\n"
        "model M(q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K]) -> f32[B, S, H, K] {\n"
        "  return attention(q, k, v, mask=causal & window(3))\n}\n";
    static const char hand[] =
        "let H = 2\nlet K = 4\n"
        "model M(q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K]) -> f32[B, S, H, K] {\n"
        "  k = k as [B, T, H, K]; v = v as [B, T, H, K]\n  i = 0..S; j = 0..T\n"
        "  s = where(j <= i & i - j < 3, dot(q, k, over=K) * K^-0.5, -inf)\n"
        "  return dot(softmax(s, over=T), v, over=T)\n}\n";
    Loaded a, b;
    load_text(&a, library);
    load_text(&b, hand);
    ck_assert(a.good && b.good);
    for (int op = 0; op < OP_COUNT; op++)
        if (op != OP_view && op != OP_iota)
            ck_assert_int_eq(count_ops(a.model.graph, (Op)op), count_ops(b.model.graph, (Op)op));
    release(&a);
    release(&b);
}
END_TEST

/* ---- mutants ---------------------------------------------------------------------------------------------------- */

static uint64_t seed = 1;
static size_t pick(size_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % n;
}

/* A word of the text is dropped, doubled, or replaced by another of its words. */
static const char *mutate(Arena *arena, const char *text, size_t size)
{
    Text out = text_new(arena);
    size_t at = pick(size), from = pick(size), kind = pick(3);
    size_t end = at + strcspn(text + at, " ,()[]\n"), other = from + strcspn(text + from, " ,()[]\n");
    text_put(&out, text, kind == 1 ? end : at);
    if (kind > 0)
        text_put(&out, text + (kind == 1 ? at : from), kind == 1 ? end - at : other - from);
    text_put(&out, text + end, size - end);
    return out.data;
}

/* Whatever the text: a sound graph or errors in it, never both and never neither. */
START_TEST(mutants)
{
    static const char *const models[][2] = {
        {"llama", "tests/golden/llama"}, {"gpt2", "tests/golden/gpt2"}, {"bert", "tests/golden/bert"}};
    for (int i = 0; i < 400; i++) {
        Loaded l;
        const char *const *m = models[i % 3];
        begin(&l);
        const char *text =
            read_whole(&l.arena, arena_print(&l.arena, "%s/models/%s.attar", SOURCE_DIR, m[0]), &l.source.size);
        l.source.path = "m.attar";
        l.source.text = mutate(&l.arena, text, l.source.size);
        l.source.size = strlen(l.source.text);
        l.options.config = json_read_file(&l.diags, "E0590",
                                          arena_print(&l.arena, "%s/%s/config.json", SOURCE_DIR, m[1]), 1 << 20, 64);
        bool good = model_load(&l.cx, &l.source, &l.options, &l.model);
        ck_assert_int_eq(good, l.diags.errors == 0);
        for (const Diag *d = l.diags.first; d; d = d->next) {
            ck_assert_msg(strncmp(d->code, "E99", 3) != 0, "%s\n%s", d->message, l.source.text);
            ck_assert_ptr_eq(d->at.source, &l.source);
        }
        release(&l);
    }
}
END_TEST

/* Which of a file's models is meant; each has the caches it uses. */
START_TEST(several_models)
{
    static const char text[] = "let L = 1; let P = 8; let K = 4\n"
                               "cache kv[L] { k: [B, T <= P, K] }\n"
                               "block twice(x: [*]) -> [*] { return x + x }\n"
                               "model once(x: f32[S]) -> f32[S] { return twice(x) }\n"
                               "model step(k: f32[B, S, K]) -> f32[B, K] {\n"
                               "  c = kv[0].append(k) as [B, T, K]\n  return mean(c, over=T)\n}\n";
    Loaded l;
    load_text(&l, text);
    ck_assert(!l.good);
    ck_assert_str_eq(l.diags.first->code, "E0126");
    release(&l);
    for (int i = 0; i < 2; i++) {
        begin(&l);
        l.source = (Source){"m.attar", text, strlen(text)};
        l.options.model = i ? "step" : "once";
        finish(&l);
        ck_assert(l.good);
        ck_assert_str_eq(l.model.graph->name, l.options.model);
        ck_assert_int_eq(l.model.graph->n_caches, i);
        release(&l);
    }
}
END_TEST

/* A config name that another model uses need not have a value for this one; order and functions are as with one model. */
START_TEST(config_of_several_models)
{
    static const char text[] = "config \"config.json\" { width = width ?? 3; D = width; G = groups; R = D / G; high = hidden_size }\n"
                               "let twice = fn(x) => sum_of(x, x)\n"
                               "let sum_of = fn(x, y) => x + y\n"
                               "model plain(x: f32[B, D]) -> f32[B, D] { return twice(x) }\n"
                               "model grouped(x: f32[B, D]) -> f32[B, G, R] { return split(x, D, [G, R]) * high }\n";
    for (int i = 0; i < 3; i++) {
        Loaded l;
        begin(&l);
        l.source = (Source){"m.attar", text, strlen(text)};
        l.options.config_path = "config.json";
        l.options.config = json_loads(i == 1 ? "{\"width\": 8, \"groups\": 2, \"hidden_size\": 7}" : "{}", 0, NULL);
        l.options.model = i ? "grouped" : "plain";
        finish(&l);
        ck_assert_int_eq(l.good, i < 2);
        if (i < 2)
            expect_type(&l, l.model.graph->results[0].value->type, i ? "f32[B, G=2, R=4]" : "f32[B, D=3]");
        else
            ck_assert_str_eq(l.diags.first->code, "E0501");
        release(&l);
    }
}
END_TEST

/* The rounds of an unrolled loop differ: in the tensors they have, in ranks, in types. */
START_TEST(unrolled_rounds)
{
    static const char text[] = "config \"config.json\" { r = r; ranks = rank_pattern }\n"
                               "let D = 8; let L = 3; let N = 4 * D\n"
                               "block low(x: [B, C], name: text) -> [B, C] {\n"
                               "  if stored(name, under=\"a.b\") {\n"
                               "    rank = pattern(ranks, name) ?? r\n"
                               "    w = weight(name, [rank, C], under=\"a.b\")\n"
                               "    x = x + dot(dot(x, w, over=C), w, over=rank)\n"
                               "  }\n  return x\n}\n"
                               "model M(x: f32[B, D]) -> (y: f32[B, D], wide: f32[B, N]) {\n"
                               "  wide = x\n"
                               "  @unroll\n"
                               "  repeat i in 1..L + 1 at \"layers.{i}\" {\n"
                               "    x = low(x, \"w\") * i\n    wide = concat(wide, x, to=D * (i + 1))\n  }\n"
                               "  return x, wide as [B, N]\n}\n";
    HostTensor tensors[] = {{.name = "a.b.layers.1.w", .dtype = DT_F32, .rank = 2, .dims = {4, 8}},
                            {.name = "a.b.layers.3.w", .dtype = DT_F32, .rank = 2, .dims = {7, 8}}};
    Loaded l;
    begin(&l);
    l.source = (Source){"m.attar", text, strlen(text)};
    l.options.config_path = "config.json";
    l.options.config = json_loads("{\"r\": 4, \"rank_pattern\": {\"rs.3.w\": 5, \"layers.3.w\": 7, \"w\": 4}}", 0, NULL);
    l.options.checkpoint = tensors;
    l.options.n_checkpoint = 2;
    l.options.checkpoint_path = "model.safetensors";
    finish(&l);
    ck_assert(l.good);
    ck_assert_ptr_null(find_op(l.model.graph, OP_repeat));
    ck_assert_ptr_null(find_key(l.model.graph, "a.b.layers.2.w"));
    expect_weight(&l, "a.b.layers.1.w", "f32[rank=4, D=8]");
    expect_weight(&l, "a.b.layers.3.w", "f32[rank2=7, D=8]");
    ck_assert_int_eq(l.model.graph->results[1].value->type->axis[1].size.base, 32);
    release(&l);
}
END_TEST

/* Names of the interface that are no identifiers stay as they are, in the text of the IR too. */
START_TEST(quoted_names)
{
    Loaded l;
    load_text(&l, "let D = 8\n"
                  "model M(x \"0.x-y\": f32[B, D], y \"large.y\": f32[B, D]) -> (\"a/b\": f32[B, D], y: f32[B, D]) {\n"
                  "  return x + y, y\n}\n");
    ck_assert(l.good);
    const Graph *g = l.model.graph;
    ck_assert_str_eq(g->params[0]->name, "0.x-y");
    ck_assert_str_eq(g->params[1]->name, "large.y");
    ck_assert_str_eq(g->results[0].name, "a/b");
    Text first = text_new(&l.arena), second = text_new(&l.arena);
    graph_print_with(g, LOCATIONS_NONE, &first);
    Source text = {"m.ir", first.data, first.length};
    Graph *again = graph_read(&l.cx, &text);
    ck_assert(again != NULL);
    graph_print_with(again, LOCATIONS_NONE, &second);
    ck_assert_str_eq(first.data, second.data);
    ck_assert_str_eq(again->params[0]->name, "0.x-y");
    ck_assert_str_eq(again->results[0].name, "a/b");
    release(&l);
}
END_TEST

/* The keys of loops that begin later, of holes with numbers, and of stacked tensors, in another spelling too. */
START_TEST(holes_and_stacks)
{
    static const char text[] = "let L = 3; let E = 2; let F = 3; let D = 4\n"
                               "cache kv[L] { k: [B, T <= 8, D] }\n"
                               "names other { \"layers.{i}\" => \"blk.{i}\"; \"odd.{i}\" => \"blk.{i}.odd\" }\n"
                               "model M(x: f32[B, S, D]) -> f32[B, S, D] {\n"
                               "  repeat i < 1 at \"layers.{i}\" { x = rmsnorm(x, \"norm\") }\n"
                               "  repeat l in 1..L at \"layers.{l}\" {\n"
                               "    up = weight(\"experts.{E}.up\", [E, F, D]); down = weight(\"experts.{E}.down\", [E, D, F])\n"
                               "    x = x + dot(dot(x, up, over=D), down, over=(E, F)) + mean(kv[l].append(x) as [B, T, D], over=T)\n"
                               "  }\n"
                               "  repeat i in 1..3 { x = x * weight(\"odd.{2*i + 1}.w\", [D]) }\n"
                               "  return x\n}\n";
    for (int other = 0; other < 2; other++) {
        Loaded l;
        HostTensor t[16];
        int n = 0;
        begin(&l);
        for (int i = 0; i < 3; i++)
            for (int e = 0; e < 2; e++)
                for (int down = 0; down < 2 && i > 0; down++)
                    t[n++] = (HostTensor){.name = arena_print(&l.arena, "%s.%d.experts.%d.%s", other ? "blk" : "layers", i, e,
                                                              down ? "down" : "up"),
                                          .dtype = DT_F32,
                                          .rank = 2,
                                          .dims = {down ? 4 : 3, down ? 3 : 4}};
        t[n++] = (HostTensor){.name = other ? "blk.0.norm.weight" : "layers.0.norm.weight", .dtype = DT_F32, .rank = 1, .dims = {4}};
        for (int i = 3; i < 6; i += 2)
            t[n++] = (HostTensor){.name = arena_print(&l.arena, other ? "blk.%d.odd.w" : "odd.%d.w", i), .dtype = DT_F32, .rank = 1, .dims = {4}};
        l.source = (Source){"m.attar", text, strlen(text)};
        l.options.checkpoint = t;
        l.options.n_checkpoint = n;
        l.options.checkpoint_path = "model.safetensors";
        finish(&l);
        ck_assert(l.good);
        const Node *up = find_key(l.model.graph, "layers.{i+1}.experts.{E}.up");
        ck_assert(up && attr_int(up, ATTR_stack, 0) == 2);
        expect_type(&l, up->type, "f32[E=2, F=3, D=4]");
        ck_assert(find_key(l.model.graph, "layers.{i}.norm.weight") && find_key(l.model.graph, "odd.{2*i+3}.w"));
        ck_assert_str_eq(model_key(&l.cx, &l.model, "odd.{2*i+3}.w", 1), other ? "blk.5.odd.w" : "odd.5.w");
        ck_assert_str_eq(model_key(&l.cx, &l.model, "layers.2.experts.1.up", -1), other ? "blk.2.experts.1.up" : "layers.2.experts.1.up");
        release(&l);
    }
}
END_TEST

/* Of a list of equal numbers the one number is left, but looked up by a tensor it keeps that tensor's axes. */
START_TEST(equal_numbers)
{
    Loaded l;
    load_text(&l, "let L = 3\n"
                  "model M(x: f32[S], ids: i32[S]) -> (f32[S], i32[S]) {\n"
                  "  same = table(L, fn(i) => 5)\n"
                  "  repeat i < L { x = x + same[i] }\n"
                  "  return x, same[ids]\n}\n");
    ck_assert(l.good);
    ck_assert(find_op(find_op(l.model.graph, OP_repeat)->body, OP_gather) == NULL);
    expect_type(&l, l.model.graph->results[1].value->type, "i32[S]");
    release(&l);
}
END_TEST

/* Lists and tables: indexed at compile time, and looked up by the round of a loop. */
START_TEST(lists_and_tables)
{
    Loaded l;
    begin(&l);
    static const char text[] = "config \"config.json\" { kinds = layer_types; widths = widths; L = size(layer_types); N = 2; second = widths[1] }\n"
                               "model M(x: f32[S]) -> (f32[S], f32[L, N]) {\n"
                               "  spans = table(L, fn(i) => if kinds[i] == \"near\" then 2 * i else 100)\n"
                               "  repeat i < L { x = x * widths[i] + spans[i] * second }\n"
                               "  return x, table([L, N], fn(i, k) => 0.5 * i + k)\n}\n";
    static const char config[] = "{\"layer_types\": [\"near\", \"far\", \"near\"], \"widths\": [0.5, 2, 3]}";
    l.source = (Source){"m.attar", text, strlen(text)};
    l.options.config_path = "config.json";
    l.options.config = json_read_text(&l.diags, "E0590", "config.json", config, strlen(config), 32);
    finish(&l);
    ck_assert(l.good);
    float x[2] = {1, -2};
    HostTensor in = {.name = "x", .dtype = DT_F32, .rank = 1, .dims = {2}, .data = x};
    Bindings bind = {.sizes = (int64_t[]){2}, .inputs = &in};
    Value *out = interpret(&l.cx, l.model.graph, &bind, &l.arena);
    ck_assert(out != NULL);
    for (int i = 0; i < 2; i++) {
        double want = x[i];
        for (int k = 0; k < 3; k++)
            want = want * (double[]){0.5, 2, 3}[k] + (double[]){0, 100, 4}[k] * 2;
        ck_assert_double_eq(out[0].data[i], want);
    }
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(out[1].data[i], 0.5 * (i / 2) + i % 2);
    release(&l);
}
END_TEST

START_TEST(operators_listed)
{
    Loaded l;
    int n, composite = 0;
    begin(&l);
    const OperatorHelp *ops = frontend_operators(&l.cx, &n);
    ck_assert_int_gt(n, 40);
    for (int i = 0; i < n; i++) {
        ck_assert_msg(ops[i].name[0] && strchr(ops[i].signature, '(') && ops[i].sentence[0], "%s", ops[i].name);
        composite += ops[i].composite;
    }
    ck_assert_int_gt(composite, 10);
    release(&l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bind");
    TCase *t = tcase_create("models");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, bert_structure);
    tcase_add_test(t, llama_structure);
    tcase_add_test(t, deepseek_structure);
    tcase_add_test(t, grown_axis_by_name);
    tcase_add_test(t, variants);
    tcase_add_test(t, axes_parameters);
    tcase_add_test(t, parts_with_axes);
    tcase_add_test(t, numbers_as_types);
    tcase_add_test(t, rotary_scaling);
    tcase_add_test(t, rotary_yarn_ramp);
    tcase_add_test(t, rotary_long_and_short);
    tcase_add_test(t, stored_ones);
    tcase_add_loop_test(t, reference_outputs, 0, sizeof goldens / sizeof *goldens);
    tcase_add_loop_test(t, reference_step_by_step, 0, sizeof goldens / sizeof *goldens);
    tcase_add_test(t, other_spelling);
    tcase_add_test(t, long_chain);
    tcase_add_test(t, attention_by_hand);
    tcase_add_test(t, several_models);
    tcase_add_test(t, config_of_several_models);
    tcase_add_test(t, unrolled_rounds);
    tcase_add_test(t, quoted_names);
    tcase_add_test(t, holes_and_stacks);
    tcase_add_test(t, equal_numbers);
    tcase_add_test(t, lists_and_tables);
    tcase_add_test(t, operators_listed);
    tcase_add_test(t, mutants);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
