/* 5,000 structured mutants of adapters: fields of the configuration, names, shapes, types and values of tensors, bytes of both files. Each is
 * either read, merged and then read whole, or refused with a documented error and exit status 3. Seeded: the same mutants everywhere. */
#include "tests/driver/adapter_folder.h"

enum { ROUNDS = 10, MUTANTS = 500, FIELDS = 10, SPECS = 12, LONGEST = 4096 };

typedef struct Spec { /* a tensor to be */
    const char *name, *type, *flag;
    int rank;
    int64_t dims[4];
} Spec;

static const char *const fields[FIELDS][2] = {
    {"peft_type", "\"LORA\""},     {"r", "2"},         {"lora_alpha", "4"},      {"target_modules", "null"},   {"use_rslora", "false"},
    {"fan_in_fan_out", "false"},   {"use_dora", "false"}, {"lora_bias", "false"}, {"rank_pattern", "{}"},       {"alpha_pattern", "{\"o_proj\": 3}"},
};

static const char *const more_fields[] = {
    "bias", "modules_to_save", "use_qalora", "alora_invocation_tokens", "layer_replication", "target_parameters", "trainable_token_indices",
    "init_lora_weights", "layers_to_transform", "exclude_modules", "never_heard_of", "r", "",
};

static const char *const json_values[] = {
    "0", "1", "2", "3", "-1", "7", "65536", "65537", "9223372036854775807", "9223372036854775808", "1e308", "1e-308", "0.0", "2.0", "true", "false", "null",
    "\"\"", "\"all\"", "\"LORA\"", "\"pissa\"", "[]", "{}", "[1, 2]", "[\"q_proj\", \"o_proj\", \"embed_tokens\", \"conv\"]", "[\"norm\"]", "[\"score\", \"norm\"]",
    "{\"q_proj\": 3}", "{\"q_proj\": 0}", "{\"[a-\": 2}", "{\"(a*)*b\": 2, \"\": 3}", "{\"layers.0\": 2.5}", "{\"\\\\d+\": 2}", "NaN", "\"\\u0000\"", "[[[[[[]]]]]]",
};

static const char *const components[] = {
    "", "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "lora_", "weight", "bias", "default", "base_layer", "modules_to_save",
    "original_module", "base_model", "model", "q_proj", "o_proj", "embed_tokens", "norm", "conv", "score", "lm_head", "0", "1", "self_attn", "layers", "\x01", "..",
};

static const int64_t sizes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 30};
static const char *const types[] = {"f32", "f16", "bf16", "f64", "i32", "u8", "bool", "i64"};
static const char *const flags[] = {"nan", "inf", "zero", "huge"};

#define PICK(list, seed) (list)[draw(seed) % (sizeof(list) / sizeof *(list))]

/* ---- making one -------------------------------------------------------------------------------------------------- */

static int start_specs(uint64_t kind, Spec *out)
{
    static const Spec plain[] = {{P LAYER0 "q_proj.lora_A.weight", "f32", NULL, 2, {2, 8}}, {P LAYER0 "q_proj.lora_B.weight", "f32", NULL, 2, {6, 2}},
                                 {P LAYER1 "o_proj.lora_A.weight", "bf16", NULL, 2, {2, 6}}, {P LAYER1 "o_proj.lora_B.weight", "bf16", NULL, 2, {8, 2}},
                                 {P LAYER1 "q_proj.bias", "f32", NULL, 1, {6}}};
    static const Spec others[] = {{P "model.embed_tokens.lora_embedding_A", "f32", NULL, 2, {2, 11}}, {P "model.embed_tokens.lora_embedding_B", "f32", NULL, 2, {8, 2}},
                                  {P "model.embed_tokens.base_layer.weight", "f16", NULL, 2, {11, 8}}, {P "model.conv.lora_A.weight", "f32", NULL, 4, {2, 3, 2, 5}},
                                  {P "model.conv.lora_B.weight", "f32", NULL, 4, {4, 2, 1, 1}}};
    memcpy(out, kind ? others : plain, sizeof plain);
    return 5;
}

static const char *change_name(Fixture *f, const char *name, uint64_t *seed)
{
    Text out = text_new(&f->arena);
    int n = 1, at;
    for (const char *c = name; *c; c++)
        n += *c == '.';
    at = (int)(draw(seed) % (uint64_t)n);
    int what = (int)(draw(seed) % 3);
    for (int i = 0; i < n; i++) {
        size_t length = strcspn(name, ".");
        if (i != at || what == 1)
            text_add(&out, "%s%.*s", out.length ? "." : "", (int)length, name);
        if (i == at && what > 0)
            text_add(&out, "%s%s", out.length ? "." : "", PICK(components, seed));
        name += length + (name[length] == '.');
    }
    return out.data ? out.data : "";
}

static void mutate_specs(Fixture *f, Spec *s, int *n, uint64_t *seed)
{
    int at = (int)(draw(seed) % (uint64_t)*n);
    switch (draw(seed) % 8) {
    case 0: s[at] = s[--*n]; break;
    case 1: s[at].name = change_name(f, s[at].name, seed); break;
    case 2: s[at].type = PICK(types, seed); break;
    case 3: s[at].flag = PICK(flags, seed); break;
    case 4: s[at].rank = (int)(draw(seed) % 5); break;
    case 5:
        if (*n < SPECS) {
            s[*n] = s[at];
            s[*n].name = change_name(f, s[at].name, seed);
            ++*n;
        }
        break;
    default: s[at].dims[draw(seed) % 2] = PICK(sizes, seed); break;
    }
    if (*n == 0)
        *n = start_specs(0, s);
}

/* No two of one name: the writer of the test would not refuse that, but the reader's header check would, every time. */
static const char *print_specs(Fixture *f, const Spec *s, int n)
{
    Text out = text_new(&f->arena);
    for (int i = 0; i < n; i++) {
        bool again = false;
        for (int k = 0; k < i; k++)
            again |= !strcmp(s[i].name, s[k].name);
        if (again)
            continue;
        text_add(&out, "%s:%s%s%s", s[i].name, s[i].type, s[i].flag ? "!" : "", s[i].flag ? s[i].flag : "");
        for (int d = 0; d < s[i].rank; d++)
            text_add(&out, " %lld", (long long)s[i].dims[d]);
        text_char(&out, ';');
    }
    return out.data ? out.data : "";
}

static const char *make_config(Fixture *f, bool mutate, uint64_t *seed)
{
    Text out = text_new(&f->arena);
    int changed = mutate ? (int)(draw(seed) % FIELDS) : -1;
    text_char(&out, '{');
    for (int i = 0; i < FIELDS; i++) {
        if (i == changed && draw(seed) % 4 == 0)
            continue;
        text_add(&out, "%s\"%s\": %s", out.length > 1 ? ", " : "", fields[i][0], i == changed ? PICK(json_values, seed) : fields[i][1]);
    }
    if (mutate && draw(seed) % 2)
        text_add(&out, "%s\"%s\": %s", out.length > 1 ? ", " : "", PICK(more_fields, seed), PICK(json_values, seed));
    text_char(&out, '}');
    return out.data;
}

static void damage(Fixture *f, const char *path, uint64_t *seed)
{
    size_t size;
    unsigned char *bytes = get_bytes(f, path, &size);
    for (uint64_t edits = 1 + draw(seed) % 3; edits > 0 && size > 0; edits--) {
        size_t at = draw(seed) % (size < 600 ? size : 600);
        if (draw(seed) % 4)
            bytes[at] = (unsigned char)draw(seed);
        else
            size -= draw(seed) % 3 ? 1 : size / 2;
    }
    unlink(path);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    fwrite(bytes, 1, size, file);
    fclose(file);
}

static const char *make_adapter(Fixture *f, bool mutate, uint64_t *seed)
{
    Spec specs[SPECS];
    int n = start_specs(draw(seed) % 2, specs);
    uint64_t edits = mutate ? draw(seed) % 3 : 0;
    for (uint64_t i = 0; i < edits; i++)
        mutate_specs(f, specs, &n, seed);
    const char *dir = put_adapter(f, "a", make_config(f, mutate && (!edits || draw(seed) % 3 == 0), seed), print_specs(f, specs, n));
    if (mutate && draw(seed) % 8 == 0)
        damage(f, arena_print(&f->arena, "%s/%s", dir, draw(seed) % 2 ? "adapter_config.json" : "adapter_model.safetensors"), seed);
    return dir;
}

/* ---- reading it -------------------------------------------------------------------------------------------------- */

static bool read_all(Context *cx, const Checkpoint *c)
{
    int64_t n;
    const HostTensor *all = checkpoint_tensors(c, &n);
    for (int64_t i = 0; i < n; i++) {
        float out[LONGEST];
        ck_assert_int_le(host_count(&all[i]), LONGEST);
        if (!checkpoint_read_f32(cx, c, all[i].name, 0, host_count(&all[i]), out))
            return false;
    }
    return true;
}

static bool try_adapter(Fixture *f, const char *dir, bool stored)
{
    MergeOptions o = {.stored = stored, .threads = 1};
    const char *choices[] = {dir, NULL};
    Checkpoint *top = checkpoint_open(&f->cx, at(f, "base.safetensors")), *next;
    Adapters all;
    Merge merge;
    ck_assert_ptr_nonnull(top);
    bool good = adapters_open(&f->cx, choices, top, &all) && (next = adapters_replace(&f->cx, top, &all)) != NULL;
    if (good) {
        top = next;
        next = merge_adapters(&f->cx, top, &all, &o, &merge);
        top = next ? next : top;
        good = next && read_all(&f->cx, top);
    }
    adapters_close(&all);
    checkpoint_close(top);
    return good;
}

START_TEST(adapter)
{
    uint64_t seed = (uint64_t)_i + 7000;
    int read = 0, refused = 0;
    Fixture f;
    fixture_begin(&f);
    checkpoint_close(put_base(&f, BASE));
    for (int i = 0; i < MUTANTS; i++) {
        const char *dir = make_adapter(&f, i > 1, &seed);
        forget(&f);
        bool good = try_adapter(&f, dir, draw(&seed) % 2);
        ck_assert_msg(i > 1 || good, "the base of all mutants is refused:\n%s", rendered(&f));
        ck_assert_msg(good == (f.diags.errors == 0) && f.diags.errors <= 1, "mutant %d: %d errors\n%s", i, f.diags.errors, rendered(&f));
        for (const Diag *d = f.diags.first; d; d = d->next)
            ck_assert_msg(diag_code(d->code) != NULL && strlen(diag_code(d->code)->page) > 40, "%s has no page", d->code);
        ck_assert_msg(good || diag_exit_status(&f.diags) == 3, "mutant %d: exit status %d\n%s", i, diag_exit_status(&f.diags), rendered(&f));
        read += good;
        refused += !good;
        arena_free(&f.arena);
        f.names.map = map_new(&f.arena);
        forget(&f);
    }
    fixture_end(&f);
    ck_assert_msg(refused > MUTANTS / 3 && read > MUTANTS / 20, "%d read, %d refused: the mutants are not worth much", read, refused);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("adapter mutants");
    TCase *t = tcase_create("adapter mutants");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, adapter, 0, ROUNDS);
    suite_add_tcase(s, t);
    return run_suite(s);
}
