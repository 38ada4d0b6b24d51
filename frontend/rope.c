/* Rotary frequencies: theta^(-2i / size) for i < size / 2, scaled as config.json asks. Computed in double, kept
 * as a table.
 *
 * Two spellings are in use: rope_parameters { rope_type, rope_theta, factor, ... } and rope_theta beside
 * rope_scaling { type, ... }. */
#include "bind.h"

#include <math.h>
#include <string.h>

typedef enum RopeType { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3 } RopeType;
typedef struct Scaling {
    RopeType type;
    double factor, low, high, original;
} Scaling;

static const char *const type_names[] = {"default", "linear", "llama3"};

static const char *path_of(Bind *b, const Term *scaling, const char *key)
{
    return scaling->origin && scaling->origin->key ? bind_print(b, "%s.%s", scaling->origin->key, key) : key;
}

static bool read_number(Bind *b, const Term *scaling, const char *key, double *out)
{
    json_t *value = json_object_get(scaling->json, key);
    if (json_is_number(value) && json_number_value(value) > 0) {
        *out = json_number_value(value);
        return true;
    }
    const char *path = path_of(b, scaling, key);
    if (!value)
        bind_error(b, "E0509", bind_site(b), "%s has no `%s`, which this kind of rotary scaling needs", b->config,
                   path);
    else
        bind_error(b, "E0509", bind_site(b), "`%s` of %s must be a number above 0, not %s", path, b->config,
                   config_print(b, value));
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
    for (int i = 0; json_is_string(value) && i < 3; i++) {
        if (strcmp(json_string_value(value), type_names[i]) != 0)
            continue;
        *type = (RopeType)i;
        return true;
    }
    Diag *d = bind_error(b, "E0507", bind_site(b), "`%s` of %s is %s, a rotary scaling that attar does not know",
                         path_of(b, scaling, key), b->config, config_print(b, value));
    diag_note(d, "it knows `default`, `linear` and `llama3`");
    const char *near = json_is_string(value) ? name_nearest(json_string_value(value), type_names, 3) : NULL;
    if (near)
        diag_help(d, "a similar name exists: `%s`", near);
    return false;
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
    if (!read_type(b, scaling, &s->type))
        return false;
    json_t *partial = json_object_get(scaling->json, "partial_rotary_factor");
    if (partial && json_number_value(partial) != 1) {
        bind_error(b, "E0509", bind_site(b), "`%s` of %s is %s, but `rope` rotates whole heads",
                   path_of(b, scaling, "partial_rotary_factor"), b->config, config_print(b, partial));
        return false;
    }
    if (s->type != ROPE_DEFAULT && !read_number(b, scaling, "factor", &s->factor))
        return false;
    if (s->type != ROPE_LLAMA3)
        return true;
    if (!read_number(b, scaling, "low_freq_factor", &s->low) || !read_number(b, scaling, "high_freq_factor", &s->high))
        return false;
    if (!read_number(b, scaling, "original_max_position_embeddings", &s->original))
        return false;
    if (s->high > s->low)
        return true;
    bind_error(b, "E0509", bind_site(b), "`%s` of %s must be above `low_freq_factor`",
               path_of(b, scaling, "high_freq_factor"), b->config);
    return false;
}

static bool read_scaling(Bind *b, const Term *scaling, Scaling *s)
{
    *s = (Scaling){.type = ROPE_DEFAULT, .factor = 1};
    if (scaling->kind == TERM_NONE)
        return true;
    if (scaling->origin && map_has(&b->blamed, scaling->origin->key))
        return false;
    if (read_known(b, scaling, s))
        return true;
    origin_blame(b, scaling);
    return false;
}

/* llama3: long waves are slowed by the factor, short ones stay, those between are mixed. */
static double scaled(const Scaling *s, double frequency)
{
    if (s->type == ROPE_DEFAULT)
        return frequency;
    if (s->type == ROPE_LINEAR)
        return frequency / s->factor;
    double wave = 2 * M_PI / frequency;
    double keep = (s->original / wave - s->low) / (s->high - s->low);
    keep = fmin(fmax(keep, 0), 1);
    return (1 - keep) * frequency / s->factor + keep * frequency;
}

Term builtin_rope_frequencies(Bind *b, Call *c)
{
    const Dim **dims;
    int n;
    double theta = 10000;
    Extent half;
    Scaling s;
    Term base = arg_term(b, c, 1), scaling = arg_term(b, c, 2);
    if (!arg_dims(b, c, 0, &dims, &n) || !read_scaling(b, &scaling, &s))
        return term_poison();
    if (n != 1 || !extent_is_const(dims[0]->size) || !extent_div(dims[0]->size, 2, &half)) {
        Term size = term_dim(dims[0]);
        if (!origin_blame(b, &size))
            return term_poison();
        Diag *d = bind_error(b, "E0308", bind_site(b), "rotary positions need an even head size, and `%s` is %s",
                             dims[0]->axis, term_print(b, &size));
        diag_dim(b, d, dims[0]);
        return term_poison();
    }
    if (arg_given(c, 1) && (!term_is_number(&base, &theta) || theta <= 0)) {
        if (base.kind == TERM_POISON || !origin_blame(b, &base))
            return term_poison();
        Diag *d = bind_error(b, "E0509", bind_site(b), "the rotary base must be a number above 0, not %s",
                             term_print(b, &base));
        diag_origin(b, d, &base);
        return term_poison();
    }
    double *values = arena_array(b->cx->arena, (size_t)half.base + 1, sizeof *values);
    for (int64_t i = 0; i < half.base; i++)
        values[i] = scaled(&s, pow(theta, -2.0 * (double)i / (double)dims[0]->size.base));
    Axis a = {dim_fresh_axis(b, bind_print(b, "%s_2", dims[0]->axis), NULL, half), half};
    Node *node = emit(b, OP_table, type_new(b->cx, DT_F32, 1, &a), 0, NULL);
    attr_set_floats(b->cx, node, ATTR_table, values, (int)half.base);
    return term_tensor(node);
}
