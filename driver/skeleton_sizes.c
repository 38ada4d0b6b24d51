/* Sizes: which key of config.json is behind a number in a tensor's shape. */
#include <ctype.h>
#include <string.h>

#include "driver/skeleton_inside.h"

/* Names that model files use, with the keys that say them; the first key that is there counts. */
static const struct {
    const char *name;
    const char *keys[9];
} known[] = {
    {"D", {"hidden_size", "d_model", "n_embd", "dim", "model_dim", "embed_dim", "hidden_dim"}},
    {"V", {"vocab_size"}},
    {"F", {"intermediate_size", "d_ff", "n_inner", "ffn_dim", "ffn_hidden_size", "d_inner", "encoder_ffn_dim"}},
    {"P", {"max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length"}},
    {"Types", {"type_vocab_size"}},
    {"E", {"embedding_size"}},
    {"H", {"num_attention_heads", "n_head", "num_heads", "n_heads"}},
    {"G", {"num_key_value_heads", "n_kv_heads"}},
    {"K", {"head_dim", "d_kv", "d_head"}},
};
static const char *const expert_keys[] = {"n_routed_experts", "num_experts", "num_local_experts", "n_experts"};
static const char *const layer_keys[] = {"num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers"};
static const char *const eps_keys[] = {"layer_norm_eps", "rms_norm_eps", "layer_norm_epsilon", "norm_eps",
                                       "norm_epsilon"};
static const char *const words[] = {"config", "let",   "default", "cache",     "names",  "ignore", "block",  "model",
                                    "repeat", "at",    "if",      "then",      "else",   "return", "assert", "as",
                                    "fn",     "true",  "false",   "none",      "use",    "in",     "inf",    "index",
                                    "ids",    "types", "x",       "axes",      "text",   "hidden", "B",      "S",
                                    "linear", "embed", "weight",  "layernorm", "rmsnorm"};

static bool is_word(const char *name)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i], name))
            return true;
    return false;
}

static bool is_identifier(const char *key)
{
    bool good = isalpha((unsigned char)*key) || *key == '_';
    for (const char *c = key; *c; c++)
        good = good && (isalnum((unsigned char)*c) || *c == '_');
    return good && strlen(key) < 64;
}

static int64_t whole(json_t *config, const char *key)
{
    json_t *value = json_object_get(config, key);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : 0;
    return number > 0 && number <= INT32_MAX ? number : 0;
}

static void add(Sizes *s, const char *name, const char *key, int64_t size)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->names[i].size == size || !strcmp(s->names[i].name, name))
            return;
    s->names = arena_room(s->cx->arena, s->names, s->count, &s->room, sizeof *s->names);
    s->names[s->count++] = (SizeName){name, key, size, false};
}

/* Small numbers and numbers of tokens are in many keys by chance. */
enum { LEAST = 8 };
static bool may_be_size(const char *key, int64_t size)
{
    return size >= LEAST && is_identifier(key) && !is_word(key) && !strstr(key, "token") && !strstr(key, "_id");
}

static void find_key(Sizes *s, const char *name, const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n && keys[i]; i++) {
        int64_t size = whole(s->config, keys[i]);
        if (size) {
            add(s, name, keys[i], size);
            return;
        }
    }
}

void sizes_begin(Sizes *s, Context *cx, json_t *config)
{
    *s = (Sizes){.cx = cx, .config = config, .lets = map_new(cx->arena)};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        find_key(s, known[i].name, known[i].keys, sizeof known[i].keys / sizeof *known[i].keys);
    const char *key;
    json_t *value;
    json_object_foreach(config, key, value)
    {
        int64_t size = whole(config, key);
        if (size && may_be_size(key, size))
            add(s, key, key, size);
    }
    for (size_t i = 0; i < sizeof eps_keys / sizeof *eps_keys && !s->eps; i++)
        if (json_is_number(json_object_get(config, eps_keys[i])))
            s->eps = eps_keys[i];
}

int64_t sizes_of(const Sizes *s, const char *name)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t k = 0; !strcmp(known[i].name, name) && k < sizeof known[i].keys / sizeof *known[i].keys; k++)
            if (known[i].keys[k] && whole(s->config, known[i].keys[k]))
                return whole(s->config, known[i].keys[k]);
    return 0;
}

const char *sizes_name(Sizes *s, int64_t size)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->names[i].size == size) {
            s->names[i].used = true;
            return s->names[i].name;
        }
    int64_t hidden = sizes_of(s, "D");
    for (int64_t times = 2; hidden && times <= 8; times++)
        if (size == times * hidden)
            return arena_print(s->cx->arena, "%lld * %s", (long long)times, sizes_name(s, hidden));
    return arena_print(s->cx->arena, "%lld", (long long)size);
}

/* `name` for what one of these keys of config.json counts; NULL if none of them says `count`. */
static const char *counted(Sizes *s, const char *const *keys, size_t n, const char *name, int64_t count)
{
    for (size_t i = 0; i < n; i++) {
        if (whole(s->config, keys[i]) != count)
            continue;
        for (size_t k = 0; k < s->count; k++)
            if (!strcmp(s->names[k].name, name))
                return s->names[k].used = true, name;
        s->names = arena_room(s->cx->arena, s->names, s->count, &s->room, sizeof *s->names);
        s->names[s->count++] = (SizeName){name, keys[i], -1, true};
        return name;
    }
    return NULL;
}

const char *sizes_layers(Sizes *s, int64_t count)
{
    const char *name = counted(s, layer_keys, sizeof layer_keys / sizeof *layer_keys, "L", count);
    return name ? name : arena_print(s->cx->arena, "%lld", (long long)count);
}

/* Another name for a size that the tensor has already: D2 = D, N60 = 60. */
static const char *again(Sizes *s, const char *name, int times)
{
    bool plain = is_identifier(name);
    Text other = text_new(s->cx->arena);
    for (const char *c = plain ? name : arena_print(s->cx->arena, "N%s", name); *c; c++)
        if (isalnum((unsigned char)*c) || *c == '_')
            text_char(&other, *c);
    text_add(&other, plain ? "%d" : "_%d", times + 1);
    while (is_word(other.data))
        text_char(&other, '_');
    map_set(&s->lets, other.data, (void *)(uintptr_t)name);
    return other.data;
}

const char *sizes_stack(Sizes *s, int64_t count)
{
    const char *name = counted(s, expert_keys, sizeof expert_keys / sizeof *expert_keys, "Experts", count);
    if (name)
        return name;
    name = arena_print(s->cx->arena, "Parts%lld", (long long)count);
    map_set(&s->lets, name, arena_print(s->cx->arena, "%lld", (long long)count));
    return name;
}

const char *sizes_axes(Sizes *s, const HostTensor *t, const char *stack)
{
    Text out = text_new(s->cx->arena);
    text_add(&out, "[%s", stack ? stack : "");
    for (int i = 0; i < t->rank; i++) {
        int times = 0;
        for (int k = 0; k < i; k++)
            times += t->dims[k] == t->dims[i];
        const char *name = sizes_name(s, t->dims[i]);
        text_add(&out, "%s%s", i || stack ? ", " : "", times ? again(s, name, times) : name);
    }
    text_char(&out, ']');
    return out.data;
}

bool sizes_taken(const Sizes *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (!strcmp(s->names[i].name, name))
            return true;
    return is_word(name) || map_has(&s->lets, name) || !strcmp(name, "L") || !strcmp(name, "Experts") ||
           !strcmp(name, "eps");
}
