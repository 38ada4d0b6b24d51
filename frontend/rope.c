/* Rotary frequencies: theta^(-2i / size) for i < size / 2, scaled as config.json asks.
 *
 * Two spellings are in use: rope_parameters { rope_type, rope_theta, factor, ... } and rope_theta beside
 * rope_scaling { type, ... }. What does not depend on the length of the text is computed here, in double, and kept as
 * a table; `dynamic` and `longrope` leave nodes that compute with the length or choose by it. */
#include "bind.h"

#include <math.h>
#include <string.h>

typedef enum RopeType { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_NTK, ROPE_YARN, ROPE_LLAMA3, ROPE_LONG } RopeType;

static const char *const type_names[] = {"default", "linear", "dynamic", "ntk", "yarn", "llama3", "longrope", "su"};
enum { N_TYPES = sizeof type_names / sizeof *type_names };

static const char *const known_keys[] = {
    "rope_type",     "type",           "rope_theta",       "partial_rotary_factor",           "factor",
    "beta_fast",     "beta_slow",      "mscale",           "mscale_all_dim",                  "attention_factor",
    "truncate",      "low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "short_factor",
    "long_factor",   "finetuned",
};
enum { N_KEYS = sizeof known_keys / sizeof *known_keys };

enum { ARG_WIDTH, ARG_THETA, ARG_SCALING, ARG_SIZE, ARG_POS, ARG_LIMIT, ARG_ORIGINAL };

typedef struct Scaling {
    RopeType type;
    double factor;
    double low, high;                   /* llama3: the bands; yarn: beta_slow and beta_fast */
    double original;                    /* positions of the first training; 0: not known */
    double limit;                       /* positions of the model; 0: not known */
    double attention;                   /* factor of cosines and sines */
    double part;                        /* of the width that turns; 0: not said */
    bool whole;                         /* yarn: the ramp begins and ends at whole pairs */
    const double *divisors[2];          /* longrope: for texts up to `original` positions, and for longer ones */
    int n_divisors[2];
} Scaling;

typedef struct Rope {
    Scaling s;
    double theta;
    int64_t width, size;                /* of a head, and how much of it turns */
} Rope;

/* ---- reading config.json ----------------------------------------------------------------------------------------- */

static const char *path_of(Bind *b, const Term *scaling, const char *key)
{
    return scaling->origin && scaling->origin->key ? bind_print(b, "%s.%s", scaling->origin->key, key) : key;
}

static bool refuse(Bind *b, const Term *scaling, const char *key, const char *should)
{
    bind_error(b, "E0509", bind_site(b), "`%s` of %s must be %s, not %s", path_of(b, scaling, key), b->config, should,
               config_print(b, json_object_get(scaling->json, key)));
    return false;
}

/* A number above 0, if the key is there and not null. */
static bool read_optional(Bind *b, const Term *scaling, const char *key, double *out)
{
    json_t *value = json_object_get(scaling->json, key);
    if (!value || json_is_null(value))
        return true;
    if (!json_is_number(value) || !(json_number_value(value) > 0))
        return refuse(b, scaling, key, "a number above 0");
    *out = json_number_value(value);
    return true;
}

static bool read_number(Bind *b, const Term *scaling, const char *key, double *out)
{
    *out = 0;
    if (!read_optional(b, scaling, key, out))
        return false;
    if (*out > 0)
        return true;
    bind_error(b, "E0509", bind_site(b), "%s has no `%s`, which this kind of rotary scaling needs", b->config,
               path_of(b, scaling, key));
    return false;
}

static bool read_type(Bind *b, const Term *scaling, RopeType *type)
{
    json_t *now = json_object_get(scaling->json, "rope_type"), *old = json_object_get(scaling->json, "type");
    const char *key = now ? "rope_type" : "type";
    if (now && old && !json_equal(now, old)) {
        bind_error(b, "E0506", bind_site(b), "%s contradicts itself: `%s` is %s and `%s` is %s", b->config,
                   path_of(b, scaling, "rope_type"), config_print(b, now), path_of(b, scaling, "type"),
                   config_print(b, old));
        return false;
    }
    json_t *value = now ? now : old;
    *type = ROPE_DEFAULT;
    if (!value)
        return true;
    for (int i = 0; json_is_string(value) && i < N_TYPES; i++) {
        if (strcmp(json_string_value(value), type_names[i]) != 0)
            continue;
        *type = i > ROPE_LONG ? ROPE_LONG : (RopeType)i;
        return true;
    }
    Diag *d = bind_error(b, "E0507", bind_site(b), "`%s` of %s is %s, a rotary scaling that attar does not know",
                         path_of(b, scaling, key), b->config, config_print(b, value));
    diag_note(d, "it knows `default`, `linear`, `dynamic`, `ntk`, `yarn`, `llama3` and `longrope`");
    const char *near = json_is_string(value) ? name_nearest(json_string_value(value), type_names, N_TYPES) : NULL;
    if (near)
        diag_help(d, "a similar name exists: `%s`", near);
    return false;
}

/* A key that is not known may change the frequencies, so it is not passed over. */
static bool check_keys(Bind *b, const Term *scaling)
{
    const char *key;
    json_t *value;
    json_object_foreach(scaling->json, key, value)
    {
        int i = 0;
        while (i < N_KEYS && strcmp(key, known_keys[i]) != 0)
            i++;
        if (i < N_KEYS)
            continue;
        Diag *d = bind_error(b, "E0509", bind_site(b), "`%s` of %s is not a rotary parameter that attar knows",
                             path_of(b, scaling, key), b->config);
        const char *near = name_nearest(key, known_keys, N_KEYS);
        if (near)
            diag_help(d, "a similar one exists: `%s`", near);
        else if (json_is_object(value))
            diag_help(d, "if these are the parameters of some of the layers, give them to `rope` in those layers");
        return false;
    }
    return true;
}

/* The original length stands in the scaling or, in older files, at the top of config.json. */
static bool read_original(Bind *b, const Term *scaling, Scaling *s)
{
    static const char key[] = "original_max_position_embeddings";
    double own = 0;
    if (!read_optional(b, scaling, key, &own))
        return false;
    if (own > 0 && s->original > 0 && own != s->original) {
        bind_error(b, "E0506", bind_site(b), "%s contradicts itself: `%s` is %s, but the model file takes %.17g for it",
                   b->config, path_of(b, scaling, key), config_print(b, json_object_get(scaling->json, key)),
                   s->original);
        return false;
    }
    s->original = own > 0 ? own : s->original;
    return true;
}

static bool need_length(Bind *b, const Term *scaling, double length, const char *what)
{
    if (length > 0)
        return true;
    Diag *d = bind_error(b, "E0509", bind_site(b), "%s has no `%s`, which this kind of rotary scaling needs", b->config,
                         path_of(b, scaling, "original_max_position_embeddings"));
    diag_help(d, "or give it to `rope`: %s", what);
    return false;
}

static bool read_llama3(Bind *b, const Term *scaling, Scaling *s)
{
    if (!read_number(b, scaling, "factor", &s->factor) || !read_number(b, scaling, "low_freq_factor", &s->low) ||
        !read_number(b, scaling, "high_freq_factor", &s->high) ||
        !need_length(b, scaling, s->original, "`original=`"))
        return false;
    if (s->high > s->low)
        return true;
    bind_error(b, "E0509", bind_site(b), "`%s` of %s must be above `low_freq_factor`",
               path_of(b, scaling, "high_freq_factor"), b->config);
    return false;
}

/* factor, or how much longer the model's texts are than those of its first training. */
static bool read_factor(Bind *b, const Term *scaling, Scaling *s)
{
    s->factor = s->limit > 0 && s->original > 0 ? s->limit / s->original : 0;
    if (!read_optional(b, scaling, "factor", &s->factor))
        return false;
    return s->factor > 0 || read_number(b, scaling, "factor", &s->factor);
}

static double yarn_attention(double factor, double scale)
{
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

static bool read_yarn(Bind *b, const Term *scaling, Scaling *s)
{
    double first = 0, all = 0;
    json_t *truncate = json_object_get(scaling->json, "truncate");
    s->low = 1;
    s->high = 32;
    s->whole = !truncate || json_is_true(truncate);
    if (truncate && !json_is_boolean(truncate))
        return refuse(b, scaling, "truncate", "true or false");
    if (s->original <= 0)
        s->original = s->limit;
    if (!read_factor(b, scaling, s) || !need_length(b, scaling, s->original, "`original=` or `limit=`") ||
        !read_optional(b, scaling, "beta_slow", &s->low) || !read_optional(b, scaling, "beta_fast", &s->high) ||
        !read_optional(b, scaling, "mscale", &first) || !read_optional(b, scaling, "mscale_all_dim", &all))
        return false;
    s->attention = first > 0 && all > 0 ? yarn_attention(s->factor, first) / yarn_attention(s->factor, all)
                                        : yarn_attention(s->factor, 1);
    return read_optional(b, scaling, "attention_factor", &s->attention);
}

static bool read_divisors(Bind *b, const Term *scaling, const char *key, const double **out, int *n)
{
    json_t *list = json_object_get(scaling->json, key);
    size_t count = json_array_size(list);
    double *values = arena_array(b->cx->arena, count + 1, sizeof *values);
    bool good = count > 0 && count <= INT32_MAX;
    for (size_t i = 0; good && i < count; i++) {
        values[i] = json_number_value(json_array_get(list, i));
        good = json_is_number(json_array_get(list, i)) && values[i] > 0;
    }
    *out = values;
    *n = (int)count;
    if (good)
        return true;
    if (list)
        return refuse(b, scaling, key, "a list of numbers above 0, one for each pair");
    return read_number(b, scaling, key, &values[0]);
}

static bool read_longrope(Bind *b, const Term *scaling, Scaling *s)
{
    if (!need_length(b, scaling, s->original, "`original=`") || !read_factor(b, scaling, s) ||
        !read_divisors(b, scaling, "short_factor", &s->divisors[0], &s->n_divisors[0]) ||
        !read_divisors(b, scaling, "long_factor", &s->divisors[1], &s->n_divisors[1]))
        return false;
    s->attention = s->factor <= 1 ? 1 : sqrt(1 + log(s->factor) / log(s->original));
    return read_optional(b, scaling, "attention_factor", &s->attention);
}

static bool read_dynamic(Bind *b, const Term *scaling, Scaling *s)
{
    if (s->limit <= 0)
        s->limit = s->original;
    return read_number(b, scaling, "factor", &s->factor) && need_length(b, scaling, s->limit, "`limit=`");
}

static bool read_known(Bind *b, const Term *scaling, Scaling *s)
{
    if (scaling->kind != TERM_JSON || !json_is_object(scaling->json)) {
        if (scaling->kind == TERM_POISON)
            return false;
        Diag *d = bind_error(b, "E0509", bind_site(b), "the rotary scaling must be an object of %s or none, not %s",
                             b->config, term_print(b, scaling));
        diag_origin(b, d, scaling);
        return false;
    }
    if (!read_type(b, scaling, &s->type) || !check_keys(b, scaling) || !read_original(b, scaling, s) ||
        !read_optional(b, scaling, "partial_rotary_factor", &s->part))
        return false;
    if (s->part > 1)
        return refuse(b, scaling, "partial_rotary_factor", "at most 1");
    switch (s->type) {
    case ROPE_DEFAULT: return true;
    case ROPE_LINEAR:
    case ROPE_NTK: return read_number(b, scaling, "factor", &s->factor);
    case ROPE_DYNAMIC: return read_dynamic(b, scaling, s);
    case ROPE_YARN: return read_yarn(b, scaling, s);
    case ROPE_LLAMA3: return read_llama3(b, scaling, s);
    case ROPE_LONG: return read_longrope(b, scaling, s);
    }
    return false;
}

static bool read_scaling(Bind *b, const Term *scaling, Scaling *s)
{
    if (scaling->kind == TERM_NONE)
        return true;
    if (scaling->origin && map_has(&b->blamed, scaling->origin->key))
        return false;
    if (read_known(b, scaling, s))
        return true;
    origin_blame(b, scaling);
    return false;
}

/* ---- the other arguments ----------------------------------------------------------------------------------------- */

static bool read_above_zero(Bind *b, Call *c, int param, const char *what, double *out)
{
    Term t = arg_term(b, c, param);
    if (t.kind == TERM_NONE || (term_is_number(&t, out) && *out > 0))
        return true;
    if (t.kind == TERM_POISON || !origin_blame(b, &t))
        return false;
    diag_origin(b, bind_error(b, "E0509", bind_site(b), "%s must be a number above 0, not %s", what, term_print(b, &t)),
                &t);
    return false;
}

static bool refuse_size(Bind *b, const Dim *width, const Term *size, const char *what)
{
    if (!origin_blame(b, size))
        return false;
    Diag *d = bind_error(b, "E0308", bind_site(b), "%s", what);
    diag_dim(b, d, width);
    if (size->dim != width)
        diag_origin(b, d, size);
    return false;
}

/* How many of the head's numbers turn: `size`, or what the scaling says, or all. */
static bool read_size(Bind *b, Call *c, const Dim *width, Rope *r)
{
    Term given = arg_term(b, c, ARG_SIZE), whole = term_dim(width);
    int64_t said;
    if (given.kind == TERM_POISON)
        return false;
    if (!term_is_int(&whole, &r->width))
        return refuse_size(b, width, &whole, bind_print(b, "rotary positions need a head size known at compile time"));
    r->size = r->s.part > 0 ? (int64_t)((double)r->width * r->s.part) : r->width;
    if (given.kind != TERM_NONE && !term_is_int(&given, &said))
        return refuse_size(b, width, &given,
                           bind_print(b, "the number of channels that turn must be a whole number, not %s",
                                      term_print(b, &given)));
    if (given.kind != TERM_NONE && r->s.part > 0 && said != r->size)
        return refuse_size(b, width, &given,
                           bind_print(b, "`partial_rotary_factor` of %s makes %lld channels of `%s` turn, not %lld",
                                      b->config, (long long)r->size, width->axis, (long long)said));
    if (given.kind != TERM_NONE)
        r->size = said;
    if (r->size == r->width && r->size % 2)
        return refuse_size(b, width, &whole,
                           bind_print(b, "rotary positions need an even head size, and `%s` is %lld", width->axis,
                                      (long long)r->width));
    if (r->size % 2 == 0 && r->size > 0 && r->size <= r->width)
        return true;
    return refuse_size(b, width, given.kind == TERM_NONE ? &whole : &given,
                       bind_print(b, "an even number of the %lld channels of `%s` can turn, not %lld",
                                  (long long)r->width, width->axis, (long long)r->size));
}

static bool check_divisors(Bind *b, const Term *scaling, const Rope *r)
{
    for (int i = 0; r->s.type == ROPE_LONG && i < 2; i++) {
        if (r->s.n_divisors[i] == r->size / 2)
            continue;
        if (origin_blame(b, scaling))
            bind_error(b, "E0509", bind_site(b), "`%s` of %s has %d numbers for %lld pairs",
                       path_of(b, scaling, i ? "long_factor" : "short_factor"), b->config, r->s.n_divisors[i],
                       (long long)r->size / 2);
        return false;
    }
    return true;
}

/* ---- frequencies ------------------------------------------------------------------------------------------------- */

/* llama3: long waves are slowed by the factor, short ones stay, those between are mixed. */
static double llama3(const Scaling *s, double frequency)
{
    double wave = 2 * M_PI / frequency;
    double keep = (s->original / wave - s->low) / (s->high - s->low);
    keep = fmin(fmax(keep, 0), 1);
    return (1 - keep) * frequency / s->factor + keep * frequency;
}

/* Which pair turns so often within the original length. */
static double yarn_pair(const Rope *r, double turns)
{
    return (double)r->size * log(r->s.original / (turns * 2 * M_PI)) / (2 * log(r->theta));
}

/* yarn: pairs that turn often stay, those that turn less than about once are slowed by the factor. */
static double yarn(const Rope *r, int64_t i, double frequency)
{
    double first = yarn_pair(r, r->s.high), last = yarn_pair(r, r->s.low);
    if (r->s.whole) {
        first = floor(first);
        last = ceil(last);
    }
    first = fmax(first, 0);
    last = fmin(last, (double)r->size - 1);
    if (first == last)
        last += 0.001;
    double slow = fmin(fmax(((double)i - first) / (last - first), 0), 1);
    return frequency / r->s.factor * slow + frequency * (1 - slow);
}

static double frequency(const Rope *r, int64_t i, int kind)
{
    const Scaling *s = &r->s;
    double plain = pow(r->theta, -2.0 * (double)i / (double)r->size);
    switch (s->type) {
    case ROPE_LINEAR: return plain / s->factor;
    case ROPE_NTK: return i ? plain * pow(s->factor, -2.0 * (double)i / (double)(r->size - 2)) : plain;
    case ROPE_YARN: return yarn(r, i, plain);
    case ROPE_LLAMA3: return llama3(s, plain);
    case ROPE_LONG: return plain / s->divisors[kind][i];
    default: return plain;
    }
}

/* dynamic: the last pair turns slower by what this is the power of, the first stays. */
static double exponent(const Rope *r, int64_t i, int kind)
{
    (void)kind;
    return i ? -2.0 * (double)i / (double)(r->size - 2) : 0;
}

static Node *table(Bind *b, const Rope *r, const Axis *pairs, double (*of)(const Rope *, int64_t, int), int kind)
{
    double *values = arena_array(b->cx->arena, (size_t)pairs->size.base + 1, sizeof *values);
    for (int64_t i = 0; i < pairs->size.base; i++)
        values[i] = of(r, i, kind);
    Node *node = emit(b, OP_table, type_new(b->cx, DT_F32, 1, pairs), 0, NULL);
    attr_set_floats(b->cx, node, ATTR_table, values, (int)pairs->size.base);
    return node;
}

/* How long the text is: the last position and one more. */
static Node *text_length(Bind *b, Call *c)
{
    Term t = arg_term(b, c, ARG_POS);
    Extent end;
    if (t.kind == TERM_RANGE && extent_add(t.range.start, t.range.length, &end)) {
        Term size = term_size(end);
        return tensor_of(b, &size, DT_F32, "a length");
    }
    if (t.kind == TERM_NONE) {
        bind_error(b, "E0509", bind_site(b),
                   "these rotary frequencies depend on the length of the text: `%s` needs `pos`", c->name);
        return NULL;
    }
    bool over[MAX_RANK];
    Node *pos = arg_float(b, c, ARG_POS);
    for (int i = 0; i < MAX_RANK; i++)
        over[i] = true;
    if (pos && pos->type->rank)
        pos = make_reduce(b, OP_max, pos, over);
    return pos ? make_map(b, OP_add, 2, (Node *[]){pos, make_number(b, 1, DT_F32)}) : NULL;
}

/* theta grows with the text: by (1 + factor (length / limit - 1))^(size / (size - 2)) beyond the limit. */
static Node *dynamic(Bind *b, Call *c, const Rope *r, const Axis *pairs)
{
    Node *n = text_length(b, c);
    if (!n)
        return NULL;
    n = make_map(b, OP_sub, 2, (Node *[]){n, make_number(b, r->s.limit, DT_F32)});
    n = make_map(b, OP_maximum, 2, (Node *[]){n, make_number(b, 0, DT_F32)});
    n = make_map(b, OP_mul, 2, (Node *[]){n, make_number(b, r->s.factor / r->s.limit, DT_F32)});
    n = make_map(b, OP_add, 2, (Node *[]){n, make_number(b, 1, DT_F32)});
    n = make_map(b, OP_log, 1, (Node *[]){n});
    n = make_map(b, OP_mul, 2, (Node *[]){table(b, r, pairs, exponent, 0), n});
    n = make_map(b, OP_exp, 1, (Node *[]){n});
    return make_map(b, OP_mul, 2, (Node *[]){table(b, r, pairs, frequency, 0), n});
}

static Node *longrope(Bind *b, Call *c, const Rope *r, const Axis *pairs)
{
    Node *length = text_length(b, c);
    if (!length)
        return NULL;
    Node *original = make_number(b, r->s.original, DT_F32);
    Node *longer = make_map(b, OP_lt, 2, (Node *[]){original, length});
    return make_map(b, OP_where, 3,
                    (Node *[]){longer, table(b, r, pairs, frequency, 1), table(b, r, pairs, frequency, 0)});
}

Term builtin_rope_frequencies(Bind *b, Call *c)
{
    const Dim **width;
    int n;
    Rope r = {.theta = 10000, .s = {.type = ROPE_DEFAULT, .factor = 1, .attention = 1}};
    Term scaling = arg_term(b, c, ARG_SCALING);
    if (!arg_dims(b, c, ARG_WIDTH, &width, &n) ||
        !read_above_zero(b, c, ARG_LIMIT, "`limit`, the number of positions,", &r.s.limit) ||
        !read_above_zero(b, c, ARG_ORIGINAL, "`original`, the number of positions of the first training,",
                         &r.s.original) ||
        !read_scaling(b, &scaling, &r.s))
        return term_poison();
    if (n != 1) {
        bind_error(b, "E0201", bind_site(b), "`%s` needs one size", c->name);
        return term_poison();
    }
    if (!read_size(b, c, width[0], &r) || !check_divisors(b, &scaling, &r) ||
        !read_above_zero(b, c, ARG_THETA, "the rotary base", &r.theta))
        return term_poison();
    const char *hint = bind_print(b, r.size == r.width ? "%s_2" : "%s_pairs", width[0]->axis);
    Axis pairs = {dim_fresh_axis(b, hint, NULL, extent_const(r.size / 2)), extent_const(r.size / 2)};
    Node *node = r.s.type == ROPE_DYNAMIC ? dynamic(b, c, &r, &pairs)
                 : r.s.type == ROPE_LONG  ? longrope(b, c, &r, &pairs)
                                          : table(b, &r, &pairs, frequency, 0);
    Term both[] = {term_tensor(node), term_float(r.s.attention)};
    return node ? term_list(b, both, 2) : term_poison();
}
