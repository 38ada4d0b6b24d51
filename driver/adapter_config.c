/* adapter_config.json: the fields that change the arithmetic, each by its name. Those that we know to be silent are listed; any other field
 * that is not null, false or empty is refused, because an adapter computed without it would be another function. */
#include <ctype.h>
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "driver/adapter_inside.h"
#include "runtime/file.h"
#include "support/json.h"

enum { CONFIG_LIMIT = 4 << 20, CONFIG_DEPTH = 16, MOST_NAMES = 1 << 16, MOST_RANK = 1 << 16 };
#define MOST_ALPHA 1e9

/* Fields that say how an adapter was trained or saved, and nothing about what it computes. */
static const char *const silent[] = {
    "auto_mapping",    "base_model_name_or_path", "corda_config",  "ensure_weight_tying", "eva_config",        "inference_mode",
    "layers_pattern",  "loftq_config",            "lora_dropout",  "lora_ga_config",      "megatron_core",     "peft_type",
    "peft_version",    "qalora_group_size",       "revision",      "runtime_config",      "task_type",         "target_modules",
    "exclude_modules", "layers_to_transform",     "init_lora_weights",
};

/* Fields that are read, and those that have a reason of their own for being refused. */
static const char *const read_here[] = {"r",        "lora_alpha",   "use_rslora",    "use_dora",        "lora_bias", "fan_in_fan_out",
                                        "bias",     "rank_pattern", "alpha_pattern", "modules_to_save"};

static const struct {
    const char *field, *why;
} refused[] = {
    {"use_qalora", "QALoRA pools groups of inputs before A"},
    {"alora_invocation_tokens", "aLoRA acts only behind certain tokens of the text"},
    {"layer_replication", "the layers of the base would be used several times over, in another order"},
    {"target_parameters", "parameters that are no module's weight, such as stacked experts, have factors laid out in a way that is not read"},
    {"trainable_token_indices", "single rows of the embedding were trained"},
    {"use_bdlora", "the factors are block-diagonal"},
    {"arrow_config", "a router chooses among several adapters"},
    {"megatron_config", "the modules are split over devices"},
};

static bool among(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return true;
    return false;
}

static bool bad_kind(Context *cx, const PeftConfig *c, const char *field, const char *wanted)
{
    diag_file_error(cx->diags, "E0672", c->path, arena_print(cx->arena, "`%s`", file_shown(cx, field)), "has to be %s", wanted);
    return false;
}

/* Does the value say "not used"? */
static bool unused(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_array(v) && !json_array_size(v)) ||
           (json_is_object(v) && !json_object_size(v));
}

static const char *print_value(Context *cx, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *copy = text ? file_shown(cx, arena_copy(cx->arena, text, strlen(text))) : "(no memory)";
    free(text);
    return copy;
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static bool refuse(Context *cx, const PeftConfig *c, const char *field, const json_t *v, const char *why)
{
    Diag *d = diag_file_error(cx->diags, "E0673", c->path, arena_print(cx->arena, "`%s`", file_shown(cx, field)),
                              "%s is not supported", print_value(cx, v));
    diag_note(d, "%s", why);
    return false;
}

static bool check_fields(Context *cx, const PeftConfig *c, json_t *root)
{
    const char *field;
    json_t *v;
    json_object_foreach(root, field, v)
    {
        const char *why = "what this field does to the arithmetic is not known, so it is not passed over";
        if (unused(v) || among(silent, sizeof silent / sizeof *silent, field) ||
            among(read_here, sizeof read_here / sizeof *read_here, field))
            continue;
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
            if (!strcmp(refused[i].field, field))
                why = refused[i].why;
        return refuse(cx, c, field, v, why);
    }
    return true;
}

/* These ways of starting change the base as well, so the pairs are meant for another base than the one that is stored. */
static bool check_start(Context *cx, const PeftConfig *c, json_t *root)
{
    static const char *const plain[] = {"gaussian", "eva", "orthogonal", "true", "false"};
    const json_t *v = json_object_get(root, "init_lora_weights");
    if (!v || json_is_boolean(v) || json_is_null(v) ||
        (json_is_string(v) && among(plain, sizeof plain / sizeof *plain, json_string_value(v))))
        return true;
    return refuse(cx, c, "init_lora_weights", v,
                  "started so, training took the pairs out of the base first: they belong to that base, not to the stored one;"
                  " PEFT can convert the adapter (path_initial_model_for_weight_conversion)");
}

static bool check_kind(Context *cx, const PeftConfig *c, json_t *root)
{
    const json_t *kind = json_object_get(root, "peft_type");
    if (!json_is_string(kind))
        return bad_kind(cx, c, "peft_type", "\"LORA\"");
    if (strcmp(json_string_value(kind), "LORA") != 0)
        return refuse(cx, c, "peft_type", kind, "adapters of kind LORA are read, with DoRA and rsLoRA");
    const json_t *tied = json_object_get(root, "ensure_weight_tying");
    if (json_is_true(tied))
        return refuse(cx, c, "ensure_weight_tying", tied, "the adapter of the embedding would be that of the tied head as well");
    return check_fields(cx, c, root) && check_start(cx, c, root);
}

/* ---- what is read ------------------------------------------------------------------------------------------------ */

static bool read_flag(Context *cx, const PeftConfig *c, json_t *root, const char *field, bool *out)
{
    const json_t *v = json_object_get(root, field);
    *out = json_is_true(v);
    return !v || json_is_null(v) || json_is_boolean(v) || bad_kind(cx, c, field, "true or false");
}

static bool good_rank(Context *cx, const PeftConfig *c, const char *where, const json_t *v)
{
    if (!json_is_integer(v))
        return bad_kind(cx, c, where, "a whole number");
    long long r = json_integer_value(v);
    if (r >= 1 && r <= MOST_RANK)
        return true;
    diag_file_error(cx->diags, "E0674", c->path, arena_print(cx->arena, "`%s`", file_shown(cx, where)),
                    "a rank of %lld; it divides alpha, and has to be from 1 to %d", r, MOST_RANK);
    return false;
}

static bool good_alpha(Context *cx, const PeftConfig *c, const char *where, const json_t *v)
{
    if (!json_is_number(v))
        return bad_kind(cx, c, where, "a number");
    double alpha = json_number_value(v);
    if (alpha > 0 && alpha <= MOST_ALPHA)
        return true;
    diag_file_error(cx->diags, "E0675", c->path, arena_print(cx->arena, "`%s`", file_shown(cx, where)),
                    "alpha is %g; it has to be above 0 and at most %g", alpha, MOST_ALPHA);
    return false;
}

static bool read_numbers(Context *cx, PeftConfig *c, json_t *root)
{
    const json_t *r = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha");
    if ((r && !good_rank(cx, c, "r", r)) || (alpha && !good_alpha(cx, c, "lora_alpha", alpha)))
        return false;
    c->r = r ? json_integer_value(r) : 8; /* PEFT's own defaults */
    c->alpha = alpha ? json_number_value(alpha) : 8;
    return true;
}

static bool read_pattern(Context *cx, PeftConfig *c, json_t *root, const char *field, bool rank, PeftPattern **out, int *n)
{
    json_t *all = json_object_get(root, field), *v;
    *n = 0;
    if (!all || json_is_null(all))
        return true;
    if (!json_is_object(all) || json_object_size(all) > MOST_NAMES)
        return bad_kind(cx, c, field, "an object from names to numbers");
    *out = arena_array(cx->arena, json_object_size(all) + 1, sizeof **out);
    const char *key;
    json_object_foreach(all, key, v)
    {
        const char *where = arena_print(cx->arena, "%s.%s", field, key);
        if (!(rank ? good_rank(cx, c, where, v) : good_alpha(cx, c, where, v)))
            return false;
        (*out)[(*n)++] = (PeftPattern){arena_copy(cx->arena, key, strlen(key)), json_number_value(v)};
    }
    return true;
}

static bool read_names(Context *cx, PeftConfig *c, json_t *root, const char *field, const char ***out, int *n)
{
    json_t *all = json_object_get(root, field);
    *n = 0;
    if (!all || json_is_null(all))
        return true;
    if (!json_is_array(all) || json_array_size(all) > MOST_NAMES)
        return bad_kind(cx, c, field, "a list of names");
    *out = arena_array(cx->arena, json_array_size(all) + 1, sizeof **out);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *v = json_array_get(all, i);
        if (!json_is_string(v) || !json_string_length(v))
            return bad_kind(cx, c, field, "a list of names");
        (*out)[(*n)++] = arena_copy(cx->arena, json_string_value(v), json_string_length(v));
    }
    return true;
}

static bool read_targets(Context *cx, PeftConfig *c, json_t *root)
{
    const json_t *v = json_object_get(root, "target_modules");
    c->some_layers = !unused(json_object_get(root, "layers_to_transform")) && json_object_get(root, "layers_to_transform");
    c->some_layers |= !unused(json_object_get(root, "exclude_modules")) && json_object_get(root, "exclude_modules");
    if (v && !json_is_null(v) && !json_is_string(v))
        return read_names(cx, c, root, "target_modules", &c->targets, &c->n_targets);
    c->n_targets = -1;
    return true;
}

static bool read_fields(Context *cx, PeftConfig *c, json_t *root)
{
    const json_t *bias = json_object_get(root, "bias");
    static const char *const biases[] = {"none", "all", "lora_only"};
    if (bias && (!json_is_string(bias) || !among(biases, 3, json_string_value(bias))))
        return bad_kind(cx, c, "bias", "\"none\", \"all\" or \"lora_only\"");
    if (!read_flag(cx, c, root, "use_dora", &c->dora) || !read_flag(cx, c, root, "lora_bias", &c->bias))
        return false;
    if (c->dora && c->bias)
        return refuse(cx, c, "lora_bias", json_object_get(root, "lora_bias"), "with `use_dora` it has no meaning, to PEFT neither");
    return read_numbers(cx, c, root) && read_flag(cx, c, root, "use_rslora", &c->rslora) &&
           read_flag(cx, c, root, "fan_in_fan_out", &c->turned) &&
           read_pattern(cx, c, root, "rank_pattern", true, &c->ranks, &c->n_ranks) &&
           read_pattern(cx, c, root, "alpha_pattern", false, &c->alphas, &c->n_alphas) &&
           read_names(cx, c, root, "modules_to_save", &c->saved, &c->n_saved) && read_targets(cx, c, root);
}

bool peft_config_read(Context *cx, const char *path, PeftConfig *out)
{
    *out = (PeftConfig){.path = path};
    json_t *root = json_read_file(cx->diags, "E0672", path, CONFIG_LIMIT, CONFIG_DEPTH);
    if (!root)
        return false;
    bool good = json_is_object(root);
    if (!good)
        diag_file_error(cx->diags, "E0672", path, NULL, "not a JSON object");
    good = good && check_kind(cx, out, root) && read_fields(cx, out, root);
    json_decref(root);
    return good;
}

/* ---- patterns ---------------------------------------------------------------------------------------------------- */

bool peft_names(const char *const *names, int n, const char *module)
{
    size_t length = strlen(module);
    for (int i = 0; i < n; i++) {
        size_t tail = strlen(names[i]);
        if (tail <= length && !strcmp(module + length - tail, names[i]) && (tail == length || module[length - tail - 1] == '.'))
            return true;
    }
    return false;
}

/* Words and points alone: the point matches any character, and the rest itself. */
static bool is_plain(const char *key)
{
    for (const char *c = key; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_-.", *c))
            return false;
    return true;
}

static bool plain_match(const char *key, const char *module)
{
    size_t tail = strlen(key), length = strlen(module);
    if (tail > length || (tail < length && module[length - tail - 1] != '.'))
        return false;
    for (const char *c = key, *m = module + length - tail; *c; c++, m++)
        if (*c != '.' && *c != *m)
            return false;
    return true;
}

/* Python's expressions that POSIX reads alike; \d is written out, other escapes of letters and (? are not known there. */
static const char *posix_pattern(Arena *a, const char *key)
{
    Text out = text_new(a);
    text_add(&out, "^(.*\\.)?(");
    for (const char *c = key; *c; c++) {
        if (strchr("*+?}", *c) && c[1] == '?')
            return NULL;
        if (*c == '(' && c[1] == '?')
            return NULL;
        if (*c != '\\') {
            text_char(&out, *c);
            continue;
        }
        c++;
        if (*c == 'd')
            text_add(&out, "[0-9]");
        else if (!*c || isalnum((unsigned char)*c))
            return NULL;
        else
            text_add(&out, "\\%c", *c);
    }
    text_add(&out, ")$");
    return out.data;
}

typedef enum { MATCH_NO, MATCH_YES, MATCH_UNKNOWN } Match;

static Match matches(Arena *a, const char *key, const char *module)
{
    enum { LONGEST = 1024 };
    if (is_plain(key))
        return plain_match(key, module) ? MATCH_YES : MATCH_NO;
    const char *text = strlen(key) > LONGEST ? NULL : posix_pattern(a, key);
    regex_t compiled;
    if (!text || strpbrk(key, "{") || regcomp(&compiled, text, REG_EXTENDED | REG_NOSUB) != 0)
        return MATCH_UNKNOWN; /* counts in braces could make the automaton huge */
    bool found = regexec(&compiled, module, 0, NULL, 0) == 0;
    regfree(&compiled);
    return found ? MATCH_YES : MATCH_NO;
}

/* The first pattern that fits, as PEFT takes it; *value stays if none does. */
static bool look_up(Context *cx, const PeftConfig *c, const char *field, const PeftPattern *all, int n, const char *module, double *value)
{
    for (int i = 0; i < n; i++) {
        Match m = matches(cx->arena, all[i].key, module);
        if (m == MATCH_YES) {
            *value = all[i].value;
            return true;
        }
        if (m == MATCH_UNKNOWN) {
            diag_file_error(cx->diags, "E0672", c->path, arena_print(cx->arena, "`%s`", field),
                            "the pattern `%s` is not one that can be read", file_shown(cx, all[i].key));
            return false;
        }
    }
    return true;
}

bool peft_config_of(Context *cx, const PeftConfig *c, const char *module, int64_t *rank, double *alpha)
{
    double r = (double)c->r;
    *alpha = c->alpha;
    if (!look_up(cx, c, "rank_pattern", c->ranks, c->n_ranks, module, &r) ||
        !look_up(cx, c, "alpha_pattern", c->alphas, c->n_alphas, module, alpha))
        return false;
    *rank = (int64_t)r;
    return true;
}
