/* Skeletons: whatever the names and shapes are, every tensor is placed and the file loads; what is recognised. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "driver/families.h"
#include "driver/signature.h"
#include "driver/skeleton.h"

enum { MOST = 400 };

static Arena arena;
static Names names;
static Diags diags;
static Context cx;
static HostTensor tensors[MOST];
static int n;

static void begin(void)
{
    names.map = map_new(&arena);
    diags = (Diags){.arena = &arena};
    cx = (Context){&arena, &diags, &names};
    n = 0;
}

static void end(void) { arena_free(&arena); }

static void add(const char *name, int rank, int64_t a, int64_t b, int64_t c)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(tensors[i].name, name))
            return;
    ck_assert_int_lt(n, MOST);
    tensors[n++] = (HostTensor){.name = arena_copy(&arena, name, strlen(name)), .dtype = DT_F32, .rank = rank, .dims = {a, b, c, 2}};
}

static int by_name(const void *a, const void *b) { return strcmp(((const HostTensor *)a)->name, ((const HostTensor *)b)->name); }

static const char *messages(void)
{
    Text out = text_new(&arena);
    diag_render(&diags, &out, false);
    return out.data ? out.data : "";
}

/* The skeleton, which has to read all tensors. */
static const char *skeleton(const char *config)
{
    json_t *json = json_read_text(&diags, "E0590", "config.json", config, strlen(config), 32);
    ck_assert_msg(json, "%s", messages());
    qsort(tensors, (size_t)n, sizeof *tensors, by_name);
    const char *text = skeleton_write(&cx, "Made", "DIR", json, tensors, n);
    ck_assert_msg(text, "%s", messages());
    ModelOptions options = {.config_path = "config.json", .config = json, .checkpoint = tensors, .n_checkpoint = n, .checkpoint_path = "DIR"};
    ck_assert_msg(family_fits(&cx, &diags, "made.attar", text, &options), "%s\n%s", messages(), text);
    for (const char *p = text; *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] == '\n'))
        ck_assert_msg(strcspn(p, "\n") <= 160, "a line is too long: %.*s", (int)strcspn(p, "\n"), p);
    json_decref(json);
    return text;
}

static void has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part), "no `%s` in\n%s", part, text);
}

START_TEST(decoder)
{
    for (int i = 0; i < 5; i++) {
        bool dense = i < 2;
        const char *layer = arena_print(&arena, "model.layers.%d", i);
        add(arena_print(&arena, "%s.input_norm.weight", layer), 1, 32, 0, 0);
        add(arena_print(&arena, "%s.attn.q_proj.weight", layer), 2, 48, 32, 0);
        add(arena_print(&arena, "%s.attn.o_proj.weight", layer), 2, 32, 48, 0);
        for (int e = 0; e < (dense ? 1 : 8); e++) {
            const char *mlp = dense ? "mlp" : arena_print(&arena, "mlp.experts.%d", e);
            add(arena_print(&arena, "%s.%s.up_proj.weight", layer, mlp), 2, 80, 32, 0);
            add(arena_print(&arena, "%s.%s.down_proj.weight", layer, mlp), 2, 32, 80, 0);
        }
    }
    add("model.embed_tokens.weight", 2, 99, 32, 0);
    add("model.norm.weight", 1, 32, 0, 0);
    add("lm_head.weight", 2, 99, 32, 0);
    const char *text = skeleton("{\"hidden_size\": 32, \"num_hidden_layers\": 5, \"vocab_size\": 99, \"n_routed_experts\": 8, \"rms_norm_eps\": 1e-5}");
    has(text, "model Made(ids: i32[B, S]) -> (logits: f32[B, S, V]) {");
    has(text, "x = embed(ids, \"embed_tokens\", V, D)");
    has(text, "repeat i < 2 at \"layers.{i}\" { x = Layer(x) }");
    has(text, "repeat i in 2..L at \"layers.{i}\" { x = Layer2(x) }");
    has(text, "up_proj = weight(\"mlp.experts.{Experts}.up_proj.weight\", [Experts, 80, D])");
    has(text, "x = x + linear(q_proj, \"o_proj\", D)");
    has(text, "default rmsnorm(eps=eps)");
}
END_TEST

START_TEST(stored_in_out)
{
    add("h.0.fc.weight", 2, 16, 64, 0);
    add("h.0.fc.bias", 1, 64, 0, 0);
    add("h.1.fc.weight", 2, 16, 64, 0);
    add("h.1.fc.bias", 1, 64, 0, 0);
    add("steps", 0, 0, 0, 0);
    tensors[n - 1].dtype = DT_F32;
    add("nothing", 2, 0, 4, 0);
    add("h.0.mask", 2, 4, 4, 0);
    tensors[n - 1].dtype = DT_BOOL;
    const char *text = skeleton("{\"n_embd\": 16, \"model_type\": \"a\\nmodel Other() -> f32 { }\", \"key\\n\": 1, \"text\": \"one\\ntwo\"}");
    has(text, "default linear(bias=true, order=\"in,out\")");
    has(text, "fc = linear(x, \"fc\", 4 * D)");
    has(text, "ignore \"steps\"");
    has(text, "ignore \"nothing\"");
    has(text, "text = \"one\\ntwo\"");
    has(text, "type unknown");
    has(text, "ignore \"h.{i}.mask\"");
}
END_TEST

/* Names of the language, of operators, of sizes; numbers everywhere; equal sizes; nothing in the config. */
static const char *const words[] = {"model", "block", "x", "D", "linear", "ids", "0", "1", "2", "3", "00", "layer", "norm", "attn", "weight", "bias",
                                    "embed", "word_embeddings", "position_embeddings", "L", "eps", "in", "query", "key", "out_proj", "i", "a-b",
                                    "w'", "head", "if", "S", "hidden", "experts", "N4", "inf", "softmax", "Layer", "Experts"};
enum { WORDS = sizeof words / sizeof *words };

START_TEST(anything)
{
    static const int64_t sizes[] = {1, 2, 4, 8, 8, 12, 24};
    uint64_t state = (uint64_t)_i + 1;
    int count = 1 + (int)(random_next(&state) % 40);
    for (int i = 0; i < count; i++) {
        Text name = text_new(&arena);
        int parts = 1 + (int)(random_next(&state) % 5);
        for (int k = 0; k < parts; k++)
            text_add(&name, "%s%s", k ? "." : "", words[random_next(&state) % WORDS]);
        if (random_next(&state) % 2)
            text_add(&name, ".weight");
        int64_t a = sizes[random_next(&state) % 7], b = sizes[random_next(&state) % 7], c = sizes[random_next(&state) % 7];
        int rank = 1 + (int)(random_next(&state) % 4);
        add(name.data, rank, a, b, c);
        if (random_next(&state) % 3 == 0)
            add(arena_print(&arena, "%.*sbias", (int)(strlen(name.data) > 6 ? strlen(name.data) - 6 : 0), name.data), 1, rank == 2 ? a : b, 0, 0);
    }
    static const char *const configs[] = {"{}", "{\"hidden_size\": 8, \"vocab_size\": 24, \"num_hidden_layers\": 2}",
                                          "{\"d_model\": 12, \"model\": 24, \"L\": 8, \"layer_norm_eps\": 1e-6, \"num_experts\": 4}"};
    skeleton(configs[random_next(&state) % 3]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("skeleton");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, decoder);
    tcase_add_test(t, stored_in_out);
    tcase_add_loop_test(t, anything, 0, 400);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
