/* A random layer: norm, attention, norm, feed-forward, and now and then the logits of a vocabulary. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/sweep.h"
#include "runtime/checkpoint.h"

enum { MOST_ROWS = 1024, MOST_WEIGHTS = 40000000, MOST_TENSORS = 16 * SHAPE_LAYERS };

static const char *const shape_masks[] = {"all", "causal", "causal & window(64)"};

static int64_t one_of(uint64_t *state, const int64_t *values, size_t count)
{
    return values[random_next(state) % count];
}
#define ONE_OF(...) one_of(&state, (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static int64_t weights_of(const Shape *s)
{
    return s->D * s->K * (2 * s->H + 2 * s->G) + (s->gated ? 3 : 2) * s->D * s->F + s->D * s->V;
}

static Shape draw(uint64_t state)
{
    Shape s = {.layers = 1, .B = ONE_OF(1, 1, 1, 1, 2, 3, 4, 8), .S = ONE_OF(1, 1, 2, 4, 7, 8, 16, 37, 37, 64, 77, 100, 128, 200, 256, 384, 512, 777)};
    s.D = ONE_OF(96, 128, 192, 256, 320, 384, 400, 512, 640, 768, 1000, 1024);
    s.H = ONE_OF(1, 2, 3, 4, 5, 6, 8, 12, 16);
    s.G = s.H;
    if (random_next(&state) % 3 == 0)
        s.G = s.H % 2 == 0 && random_next(&state) % 2 ? s.H / 2 : 1;
    s.K = ONE_OF(8, 16, 24, 32, 32, 40, 48, 64, 64, 64, 72, 80, 80, 96, 112, 128, 128, 160, 256);
    s.F = ONE_OF(100, 512, 683, 1000, 1000, 1536, 2048, 2730, 3072);
    s.V = random_next(&state) % 4 ? 0 : ONE_OF(1000, 32000, 50257);
    s.mask = (int)(random_next(&state) % (sizeof shape_masks / sizeof *shape_masks));
    s.gated = random_next(&state) % 2;
    s.biased = random_next(&state) % 2;
    s.rotary = random_next(&state) % 2;
    s.layernorm = random_next(&state) % 2;
    return s;
}

Shape shape_draw(uint64_t seed, uint64_t number)
{
    uint64_t state = seed * 1000003 + number;
    for (;;) {
        Shape s = draw(random_next(&state));
        if (s.B * s.S <= MOST_ROWS && weights_of(&s) <= MOST_WEIGHTS)
            return s;
    }
}

static const struct {
    int64_t M, N, K;
} products[] = {{1, 384, 384},    {1, 1536, 384},   {8, 384, 384},   {16, 1536, 384}, {32, 384, 384}, {128, 384, 384},  {128, 1536, 384},
                {128, 384, 1536}, {512, 384, 384},  {128, 768, 768}, {128, 3072, 768}, {128, 768, 3072}, {512, 3072, 768}, {5, 1536, 384},
                {12, 1536, 384},  {37, 1000, 1000}, {37, 16, 192},   {1024, 40, 384}, {200, 80, 400},  {16, 3072, 320}};
const int product_count = sizeof products / sizeof *products;

Shape product_at(int number)
{
    return (Shape){.product = true, .B = 1, .S = products[number].M, .F = products[number].N, .D = products[number].K};
}

void shape_show(const Shape *s, char *out, size_t room)
{
    if (s->product) {
        snprintf(out, room, "M=%lld N=%lld K=%lld", (long long)s->S, (long long)s->F, (long long)s->D);
        return;
    }
    snprintf(out, room, "B=%lld S=%lld D=%lld H=%lld G=%lld K=%lld F=%lld V=%lld %s%s%s%s%s", (long long)s->B, (long long)s->S, (long long)s->D,
             (long long)s->H, (long long)s->G, (long long)s->K, (long long)s->F, (long long)s->V, shape_masks[s->mask], s->gated ? ", gated" : "",
             s->biased ? ", biased" : "", s->rotary ? ", rotary" : "", s->layernorm ? ", layernorm" : ", rmsnorm");
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void write_model(const Shape *s, FILE *f)
{
    if (s->product) {
        fprintf(f, "let D = %lld\nlet F = %lld\n\nmodel Product(x: f32[S, D]) -> (y: f32[S, F]) {\n  return linear(x, \"up\", F, bias=false)\n}\n",
                (long long)s->D, (long long)s->F);
        return;
    }
    const char *norm = s->layernorm ? "layernorm" : "rmsnorm", *turn = s->rotary ? " |> rope(0..S)" : "";
    fprintf(f, "let D = %lld\nlet H = %lld\nlet K = %lld\nlet F = %lld\n", (long long)s->D, (long long)s->H, (long long)s->K, (long long)s->F);
    if (s->G != s->H)
        fprintf(f, "let G = %lld\n", (long long)s->G);
    if (s->V)
        fprintf(f, "let V = %lld\n", (long long)s->V);
    const char *groups = s->G != s->H ? "G" : "H";
    fprintf(f, "default linear(bias=%s)\n\nmodel Layer(x: f32[B, S, D]) -> (y: f32[B, S, %s]) {\n", s->biased ? "true" : "false", s->V ? "V" : "D");
    if (s->layers > 1)
        fprintf(f, "  repeat i < %lld at \"layers.{i}\" {\n", (long long)s->layers);
    fprintf(f,
            "  n = %s(x, \"norm1\")\n"
            "  q = linear(n, \"q\", (H, K))%s\n  k = linear(n, \"k\", (%s, K))%s\n  v = linear(n, \"v\", (%s, K))\n"
            "  x = x + linear(attention(q, k, v, mask=%s), \"o\", D, in=(H, K))\n  n = %s(x, \"norm2\")\n",
            norm, turn, groups, turn, groups, shape_masks[s->mask], norm);
    fprintf(f, s->gated ? "  h = (linear(n, \"gate\", F) |> silu()) * linear(n, \"up\", F)\n" : "  h = linear(n, \"up\", F) |> gelu()\n");
    fprintf(f, "  x = x + linear(h, \"down\", D)\n%s", s->layers > 1 ? "  }\n" : "");
    fprintf(f, s->V ? "  return linear(%s(x, \"norm3\"), \"head\", V, bias=false)\n}\n" : "  return x\n}\n", norm);
}

typedef struct Tensors {
    Context *cx;
    const char *at; /* before their names */
    HostTensor items[MOST_TENSORS];
    int count;
    uint64_t state;
} Tensors;

static void add(Tensors *t, const char *name, const char *part, int64_t rows, int64_t columns)
{
    HostTensor *x = &t->items[t->count++];
    *x = (HostTensor){.name = arena_print(t->cx->arena, "%s%s.%s", t->at, name, part), .dtype = DT_F32, .rank = columns ? 2 : 1, .dims = {rows, columns}};
    int64_t n = host_count(x);
    float *data = malloc((size_t)n * sizeof *data);
    if (!data)
        exit(1);
    for (int64_t i = 0; i < n; i++) {
        t->state = t->state * 6364136223846793005u + 1442695040888963407u;
        data[i] = ((float)(t->state >> 40) / (1 << 23) - 1) * 0.05f + (columns ? 0 : 1);
    }
    x->data = data;
}

static void add_linear(Tensors *t, const Shape *s, const char *name, int64_t out, int64_t in)
{
    add(t, name, "weight", out, in);
    if (s->biased)
        add(t, name, "bias", out, 0);
}

static void add_norm(Tensors *t, const Shape *s, const char *name)
{
    add(t, name, "weight", s->D, 0);
    if (s->layernorm)
        add(t, name, "bias", s->D, 0);
}

static void add_layer(Tensors *t, const Shape *s)
{
    add_norm(t, s, "norm1");
    add_linear(t, s, "q", s->H * s->K, s->D);
    add_linear(t, s, "k", s->G * s->K, s->D);
    add_linear(t, s, "v", s->G * s->K, s->D);
    add_linear(t, s, "o", s->D, s->H * s->K);
    add_norm(t, s, "norm2");
    if (s->gated)
        add_linear(t, s, "gate", s->F, s->D);
    add_linear(t, s, "up", s->F, s->D);
    add_linear(t, s, "down", s->D, s->F);
}

static bool write_weights(Context *cx, const Shape *s, const char *path)
{
    Tensors t = {.cx = cx, .at = "", .state = 1};
    if (s->product)
        add(&t, "up", "weight", s->F, s->D);
    for (int64_t i = 0; !s->product && i < s->layers; i++) {
        t.at = s->layers > 1 ? arena_print(cx->arena, "layers.%lld.", (long long)i) : "";
        add_layer(&t, s);
    }
    t.at = "";
    if (s->V) {
        add_norm(&t, s, "norm3");
        add(&t, "head", "weight", s->V, s->D);
    }
    bool good = safetensors_save(cx, path, t.items, t.count);
    for (int i = 0; i < t.count; i++)
        free(t.items[i].data);
    return good;
}

bool shape_write(Context *cx, const Shape *s, ShapeFiles *out)
{
    snprintf(out->folder, sizeof out->folder, "/tmp/attar-sweepXXXXXX");
    if (!mkdtemp(out->folder))
        return false;
    snprintf(out->model, sizeof out->model, "%s/layer.attar", out->folder);
    snprintf(out->weights, sizeof out->weights, "%s/layer.safetensors", out->folder);
    FILE *f = fopen(out->model, "w");
    if (!f)
        return false;
    write_model(s, f);
    return fclose(f) == 0 && write_weights(cx, s, out->weights);
}

void shape_remove(const ShapeFiles *files)
{
    unlink(files->model);
    unlink(files->weights);
    rmdir(files->folder);
}
