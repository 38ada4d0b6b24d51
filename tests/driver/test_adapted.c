/* Adapters and the model: a table that embedding and head share is taken apart, what the model does not read is said, and a merged model computes what
 * one with these weights written to its file would, to the bit. */
#include "tests/driver/adapter_folder.h"

#include "driver/compile.h"
#include "runtime/attar.h"

enum { TABLE = 97 * 60, RANK = 2, LENGTH = 5, VOCABULARY = 97 };
#define TIED SOURCE_DIR "/tests/golden/llama-tied"
#define LLAMA SOURCE_DIR "/models/llama.attar"
#define EMBED "model.embed_tokens."
#define SCALED "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 1}"

/* The tied checkpoint with a head of its own; both tables changed as asked by the plainest loops. */
static void write_untied(Fixture *f, const char *folder, const HostTensor *adapter, int n_adapter)
{
    int n;
    HostTensor *t = safetensors_load(&f->cx, TIED "/model.safetensors", &n), all[64];
    memcpy(all, t, (size_t)n * sizeof *t);
    for (int i = 0; i < n; i++)
        if (!strcmp(all[i].name, EMBED "weight"))
            all[n] = all[i];
    all[n].name = "lm_head.weight";
    all[n].data = arena_alloc(&f->arena, TABLE * sizeof(float));
    for (int i = 0; i < n; i++)
        if (!strcmp(all[i].name, EMBED "weight"))
            memcpy(all[n].data, all[i].data, TABLE * sizeof(float));
    for (int k = 0; k + 1 < n_adapter; k += 2) { /* A, then B; of the embedding, or of the head */
        bool table = strstr(adapter[k].name, "embedding") != NULL;
        const float *a = adapter[k].data, *b = adapter[k + 1].data;
        for (int i = 0; i <= n; i++)
            for (int at = 0; at < TABLE && !strcmp(all[i].name, table ? EMBED "weight" : "lm_head.weight"); at++) {
                int row = at / 60, column = at % 60;
                double sum = 0;
                for (int r = 0; r < RANK; r++)
                    sum += 0.5 * (table ? a[r * 97 + row] * (double)b[column * RANK + r] : b[row * RANK + r] * (double)a[r * 60 + column]);
                float *w = all[i].data;
                w[at] = (float)(w[at] + sum);
            }
    }
    mkdir(at(f, folder), 0700);
    ck_assert(safetensors_save(&f->cx, at(f, arena_print(&f->arena, "%s/model.safetensors", folder)), all, n + 1));
    size_t size;
    char *config = (char *)get_bytes(f, TIED "/config.json", &size), *tie = strstr(config, "_embeddings\": true");
    ck_assert_ptr_nonnull(tie);
    memcpy(tie, "_embeddings\":false", 18);
    put_bytes(f, arena_print(&f->arena, "%s/config.json", folder), config, size);
}

static void keep_warning(void *state, const char *message)
{
    Text *t = state;
    text_add(t, "%s", message);
}

static float *logits_of(Fixture *f, const attar_options *o)
{
    attar_model *m;
    attar_session *s;
    attar_error e = {0};
    const attar_tensor *outputs;
    int32_t ids[LENGTH] = {3, 14, 15, 92, 6};
    attar_tensor in = {.name = "ids", .dtype = "i32", .rank = 2, .dims = {1, LENGTH}, .data = ids};
    ck_assert_msg(attar_compile(o, &m, &e) == ATTAR_OK, "%s", e.message ? e.message : "");
    ck_assert(attar_session_new(m, 1, 1, &s, &e) == ATTAR_OK);
    ck_assert_msg(attar_run(s, &in, 1, &outputs, &e) == ATTAR_OK, "%s", e.message ? e.message : "");
    float *out = arena_alloc(&f->arena, sizeof(float) * LENGTH * VOCABULARY);
    memcpy(out, outputs[0].data, sizeof(float) * LENGTH * VOCABULARY);
    attar_session_free(s);
    attar_model_free(m);
    return out;
}

static const struct {
    const char *what, *tensors, *says;
} tied[] = {
    {"the embedding", P EMBED "lora_embedding_A 2 97;" P EMBED "lora_embedding_B 60 2;", "lookups alone"},
    {"the head", P "lm_head.lora_A.weight 2 60;" P "lm_head.lora_B.weight 97 2;", "the head alone"},
    {"both", P EMBED "lora_embedding_A 2 97;" P EMBED "lora_embedding_B 60 2;" P "lm_head.lora_A.weight 2 60;" P "lm_head.lora_B.weight 97 2;", "each in its own way"},
};

START_TEST(tied_tables)
{ /* A16 */
    Fixture f;
    fixture_begin(&f);
    HostTensor adapter[8];
    int n = parse_tensors(&f, tied[_i].tensors, adapter);
    const char *lora[] = {put_adapter(&f, "adapter", SCALED, tied[_i].tensors), NULL};
    write_untied(&f, "untied", adapter, n);
    Text said = text_new(&f.arena);
    attar_options plain = {.model = LLAMA, .weights = TIED, .threads = 1};
    attar_options merged = {.model = LLAMA, .weights = TIED, .threads = 1, .lora = lora, .lora_mode = "merge", .warn = keep_warning, .warn_state = &said};
    attar_options written = {.model = LLAMA, .weights = at(&f, "untied"), .threads = 1};
    const float *base = logits_of(&f, &plain), *got = logits_of(&f, &merged), *want = logits_of(&f, &written);
    for (int i = 0; i < LENGTH * VOCABULARY; i++)
        ck_assert_msg(got[i] == want[i], "%s: logit %d is %.9g, not %.9g", tied[_i].what, i, got[i], want[i]);
    ck_assert_msg(memcmp(base, got, sizeof(float) * LENGTH * VOCABULARY) != 0, "%s changed nothing", tied[_i].what);
    ck_assert_msg(said.data && strstr(said.data, "W0686") && strstr(said.data, tied[_i].says), "%s: %s", tied[_i].what, said.data);
    fixture_end(&f);
}
END_TEST

static bool loads(Fixture *f, const char *model, const char *weights, const char *adapter, const char **messages)
{
    Compilation c;
    const char *lora[] = {adapter, NULL};
    CompileOptions o = {.model = model, .weights = weights, .lora = lora, .lora_mode = "merge", .threads = 1, .allow_extra = true};
    compile_begin(&c);
    bool good = compile_load(&c, &o);
    Text t = text_new(&f->arena);
    diag_render(&c.diags, &t, false);
    *messages = t.data ? t.data : "";
    ck_assert_int_eq(diag_exit_status(&c.diags), good ? 0 : 3);
    compile_free(&c);
    return good;
}

START_TEST(nothing_read)
{ /* the checkpoint has the weights, the model file leaves them out */
    Fixture f;
    fixture_begin(&f);
    const char *said, *model = put_text(&f, "m.attar",
                                        "config \"config.json\" { D = hidden_size; V = vocab_size }\n"
                                        "model M(ids: i32[B, S]) -> (x: f32[B, S, D]) { x = embed(ids, \"model.embed_tokens\", V, D); return x }\n");
    const char *unread = P "model.layers.0.self_attn.q_proj.lora_A.weight 2 60;" P "model.layers.0.self_attn.q_proj.lora_B.weight 80 2;";
    ck_assert(!loads(&f, model, TIED, put_adapter(&f, "a", SCALED, unread), &said));
    ck_assert_msg(strstr(said, "E0679") && strstr(said, "reads none of the 1 weights"), "%s", said);
    const char *some = arena_print(&f.arena, "%s%s", unread, tied[0].tensors);
    ck_assert_msg(loads(&f, model, TIED, put_adapter(&f, "b", SCALED, some), &said), "%s", said);
    ck_assert_msg(strstr(said, "W0679") && strstr(said, "1 of the 2 weights"), "%s", said);
    ck_assert(!loads(&f, model, TIED, put_adapter(&f, "c", SCALED, tied[1].tensors), &said));
    ck_assert_msg(strstr(said, "E0678") && strstr(said, "lm_head"), "%s", said);
    const char *wide = P "lm_head.lora_A.weight 2 61;" P "lm_head.lora_B.weight 97 2;";
    ck_assert(!loads(&f, LLAMA, TIED, put_adapter(&f, "d", SCALED, wide), &said));
    ck_assert_msg(strstr(said, "E0677") && strstr(said, "97 rows of 60"), "%s", said);
    ck_assert(!loads(&f, LLAMA, NULL, at(&f, "a"), &said));
    ck_assert_msg(strstr(said, "E0651"), "%s", said);
    fixture_end(&f);
}
END_TEST

START_TEST(lost_in_the_type)
{ /* a small update of a bf16 checkpoint: kept in f32 it is all there, rounded to bf16 it is refused, with the way out */
    Fixture f;
    fixture_begin(&f);
    const char *lora[] = {put_adapter(&f, "small", "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 0.001}",
                                      P "model.layers.0.self_attn.q_proj.lora_A.weight 2 64;" P "model.layers.0.self_attn.q_proj.lora_B.weight 64 2;"), NULL};
    for (int stored = 0; stored < 2; stored++) {
        Compilation c;
        CompileOptions o = {.model = LLAMA, .weights = SOURCE_DIR "/tests/golden/llama-sharded-bf16", .lora = lora, .lora_mode = "merge", .lora_stored = stored, .threads = 1};
        compile_begin(&c);
        bool good = compile_load(&c, &o) && compile_passes(&c, &o) && compile_emit(&c, &o);
        Text said = text_new(&f.arena);
        diag_render(&c.diags, &said, false);
        ck_assert_msg(good == !stored, "%s", said.data ? said.data : "");
        ck_assert_int_eq(diag_exit_status(&c.diags), stored ? 1 : 0);
        ck_assert(!stored || (strstr(said.data, "E0901") && strstr(said.data, "--lora-dtype")));
        ck_assert_uint_eq(c.approximations.count, (size_t)stored);
        ck_assert(stored || compile_build(&c, &o)); /* one layer is merged, f32, the other as stored */
        ck_assert(merge_total(&c.merge, true).error > 0.25 * merge_total(&c.merge, true).update);
        compile_free(&c);
    }
    fixture_end(&f);
}
END_TEST

START_TEST(base_bits)
{ /* weight 0, and B of zeros: the base's output, bit for bit */
    Fixture f;
    fixture_begin(&f);
    const char *dir = SOURCE_DIR "/tests/golden/lora-llama";
    const char *zero[] = {put_adapter(&f, "z", SCALED, P "model.layers.0.self_attn.q_proj.lora_A.weight 2 40;" P "model.layers.0.self_attn.q_proj.lora_B.weight!zero 40 2;"), NULL};
    const char *none[] = {SOURCE_DIR "/tests/golden/lora-llama/adapter:0", NULL}, *one[] = {SOURCE_DIR "/tests/golden/lora-llama/adapter", NULL};
    attar_options o = {.model = LLAMA, .weights = dir, .threads = 1, .lora_mode = "merge"};
    int32_t ids[LENGTH] = {3, 14, 15, 9, 6};
    attar_tensor in = {.name = "ids", .dtype = "i32", .rank = 2, .dims = {1, LENGTH}, .data = ids};
    float results[4][LENGTH * 61];
    for (int i = 0; i < 4; i++) {
        attar_model *m;
        attar_session *s;
        attar_error e = {0};
        const attar_tensor *outputs;
        o.lora = i == 1 ? zero : i == 2 ? none : i == 3 ? one : NULL;
        ck_assert_msg(attar_compile(&o, &m, &e) == ATTAR_OK, "%s", e.message ? e.message : "");
        ck_assert(attar_session_new(m, 1, 1, &s, &e) == ATTAR_OK && attar_run(s, &in, 1, &outputs, &e) == ATTAR_OK);
        memcpy(results[i], outputs[0].data, sizeof results[i]);
        attar_session_free(s);
        attar_model_free(m);
    }
    ck_assert(!memcmp(results[0], results[1], sizeof results[0]));
    ck_assert(!memcmp(results[0], results[2], sizeof results[0]));
    ck_assert(memcmp(results[0], results[3], sizeof results[0]));
    fixture_end(&f);
}
END_TEST

int main(void)
{
    char cache[] = "/tmp/attar-cache-XXXXXX";
    if (!getenv("ATTAR_CACHE_DIR") && mkdtemp(cache))
        setenv("ATTAR_CACHE_DIR", cache, 1);
    Suite *s = suite_create("adapted");
    TCase *t = tcase_create("adapted");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, tied_tables, 0, (int)(sizeof tied / sizeof *tied));
    tcase_add_test(t, nothing_read);
    tcase_add_test(t, lost_in_the_type);
    tcase_add_test(t, base_bits);
    suite_add_tcase(s, t);
    return run_suite(s);
}
