/* The checkpoint's shapes against the model's. A wrong size has one cause, often a key missing in config.json,
 * and shows in many tensors: the message does the arithmetic that finds the axis, says where its size came from,
 * and names the other tensors once. */
#include "bind.h"
#include "support/holes.h"

#include <string.h>

typedef struct Guess { /* the file looks as if this axis had that size */
    const Dim *dim;
    int64_t value;
    int stored; /* in which stored dimension that shows */
} Guess;

typedef struct Cause {
    const Dim *dim;
    int64_t value;
    Diag *diag;
    int others;
    const char *names;
} Cause;

typedef struct Shapes {
    Bind *b;
    const KeyMap *map;
    const Map *tensors;
    Cause *causes;
    int n_causes;
    size_t room;
    Cause transposed;  /* the weights that are stored the other way round */
    const Decl *op;    /* who reads the first of them */
    const char *order; /* which order they have */
} Shapes;

static const char *file_key(Shapes *s, const WeightUse *w, int64_t number)
{
    return weight_key(s->b, s->map, w, number);
}

/* The last two components: k_proj.weight. */
static const char *short_key(const char *key)
{
    const char *dot = strrchr(key, '.');
    while (dot && dot > key && dot[-1] != '.')
        dot--;
    return dot && dot > key ? dot : key;
}

static bool same_shape(const HostTensor *t, int rank, const int64_t *sizes)
{
    return t->rank == rank && !memcmp(t->dims, sizes, sizeof *sizes * (size_t)rank);
}

/* ---- what may be wrong ------------------------------------------------------------------------------------------ */

static int suspicion(const Dim *d)
{
    if (!d->origin)
        return 0;
    switch (d->origin->kind) {
    case ORIGIN_DEFAULT: return 3;
    case ORIGIN_CONFIG: return 2;
    case ORIGIN_LET: return 1;
    default: return 0;
    }
}

/* The axis of stored dimension i that, with another size, would give the file's. */
static bool guess_axis(const WeightUse *w, const HostTensor *t, int i, Guess *out)
{
    bool found = false;
    for (int k = 0; k < w->n_dims[i]; k++) {
        const Dim *d = w->dims[i][k];
        int64_t rest = w->stored[i] / d->size.base;
        if (rest < 1 || t->dims[i] % rest || t->dims[i] / rest < 1)
            continue;
        if (found && suspicion(d) <= suspicion(out->dim))
            continue;
        *out = (Guess){d, t->dims[i] / rest, i};
        found = true;
    }
    return found;
}

static bool first_guess(const WeightUse *w, const HostTensor *t, Guess *out)
{
    for (int i = 0; i < w->rank; i++)
        if (t->dims[i] != w->stored[i] && guess_axis(w, t, i, out))
            return true;
    return false;
}

static const char *other_factors(Shapes *s, const WeightUse *w, const Guess *g)
{
    Text out = text_new(s->b->cx->arena);
    for (int k = 0; k < w->n_dims[g->stored]; k++)
        if (w->dims[g->stored][k] != g->dim)
            text_add(&out, " * %s", w->dims[g->stored][k]->name);
    return out.data;
}

static bool fits(const WeightUse *w, const HostTensor *t)
{
    return same_shape(t, w->rank, w->stored) && dtype_is_float(t->dtype);
}

/* Is the axis right in another weight, so that it stands for another one here? */
static bool fits_elsewhere(Shapes *s, const char *axis)
{
    for (int i = 0; i < s->b->n_weights; i++) {
        const WeightUse *w = &s->b->weights[i];
        const HostTensor *t = map_get(s->tensors, file_key(s, w, 0));
        for (int k = 0; t && fits(w, t) && k < w->rank; k++)
            for (int j = 0; j < w->n_dims[k]; j++)
                if (!strcmp(frame_outer(w->frame, w->dims[k][j]), axis))
                    return true;
    }
    return false;
}

/* A size that config or let bind; one that nothing has used is the likeliest. */
static const char *global_of_size(const Bind *b, int64_t size)
{
    const char *found = NULL;
    for (size_t i = 0; i < b->globals->vars.count; i++) {
        const Var *v = b->globals->vars.entries[i].value;
        if (v->term.kind != TERM_SIZE || !v->term.dim || v->term.size.base != size)
            continue;
        if (!v->used)
            return b->globals->vars.entries[i].key;
        found = found ? found : b->globals->vars.entries[i].key;
    }
    return found;
}

/* Another axis of the file's size that some weight has. */
static bool help_axis(Shapes *s, Diag *d, const WeightUse *bad, const Guess *g)
{
    const char *found = NULL, *wrong = frame_outer(bad->frame, g->dim);
    if (!fits_elsewhere(s, wrong))
        return false;
    for (int i = 0; i < s->b->n_weights && !found; i++) {
        const WeightUse *w = &s->b->weights[i];
        for (int k = 0; k < w->rank && !found; k++)
            for (int j = 0; j < w->n_dims[k] && !found; j++) {
                const char *axis = frame_outer(w->frame, w->dims[k][j]);
                if (w->dims[k][j]->size.base == g->value && scope_find(s->b->globals, axis) && strcmp(axis, wrong) != 0)
                    found = axis;
            }
    }
    if (!found)
        found = global_of_size(s->b, g->value);
    if (found)
        diag_help(d, "did you mean `%s`, which is %lld, in place of `%s`?", found, (long long)g->value, wrong);
    return found != NULL;
}

/* The axes of the value that meets the weight, if more of them than those that are summed have the file's size. */
static bool help_contracted(Diag *d, const WeightUse *w, const HostTensor *t, const Guess *g)
{
    const Frame *f = w->frame;
    const Node *x = NULL;
    for (int i = 0; f && i < f->n_axes; i++)
        if (f->axes[i].dim == g->dim)
            x = f->axes[i].node;
    if (!x || !decl_param(w->op, "in"))
        return false;
    int64_t size = 1;
    for (int first = x->type->rank - 1; first >= 0; first--) {
        const Axis *a = &x->type->axis[first];
        if (!extent_is_const(a->size) || __builtin_mul_overflow(size, a->size.base, &size))
            return false;
        if (size != t->dims[g->stored] || first == x->type->rank - 1)
            continue;
        Text axes = text_new(d->owner->arena);
        for (int i = first; i < x->type->rank; i++)
            text_add(&axes, "%s%s", i > first ? ", " : "", x->type->axis[i].name);
        diag_help(d, "`in=(%s)` contracts these axes of the value together: %lld", axes.data, (long long)size);
        return true;
    }
    return false;
}

static void help_config(Shapes *s, Diag *d, const Guess *g)
{
    const Origin *o = g->dim->origin;
    bool key = o && (o->kind == ORIGIN_CONFIG || o->kind == ORIGIN_DEFAULT) && o->key && !strpbrk(o->key, ".`");
    if (!key)
        return;
    if (o->kind == ORIGIN_DEFAULT && !o->null)
        diag_help(d, "add `\"%s\": %lld` to %s", o->key, (long long)g->value, config_name(s->b, o));
    else
        diag_help(d, "`\"%s\": %lld` in %s would fit", o->key, (long long)g->value, config_name(s->b, o));
}

/* num_key_value_heads and num_attention_heads: two keys that count the same kind of thing. */
static bool same_end(const char *a, const char *z)
{
    const char *x = strrchr(a, '_'), *y = strrchr(z, '_');
    return x && y && !strcmp(x, y) && strcmp(a, z) != 0;
}

/* A size that was computed, or read from another key, where one key of config.json says what the file needs. */
static void help_key(Shapes *s, Diag *d, const Guess *g)
{
    const Origin *o = g->dim->origin;
    const char *key, *found = NULL;
    json_t *value;
    int n = 0;
    json_object_foreach(s->b->options->config, key, value)
    {
        if (!json_is_integer(value) || json_integer_value(value) != g->value || (o && o->key && !same_end(o->key, key)))
            continue;
        found = key;
        n++;
    }
    if (!o || (o->kind != ORIGIN_LET && o->kind != ORIGIN_CONFIG) || n != 1)
        return;
    diag_label(d, o->at, "`%s` gets its size here", g->dim->name);
    diag_help(d, "did you mean `%s`? %s has `\"%s\": %lld`", found, s->b->config, found, (long long)g->value);
}

/* ---- one tensor ------------------------------------------------------------------------------------------------- */

/* In how many of the tensors that the weight stands for it is the same. */
static void note_tensors(Shapes *s, Diag *d, const WeightUse *w, int64_t first, int64_t same)
{
    int64_t all = weight_tensors(w);
    const char *key = keys_apply(s->b->cx, s->map, w->key), *what = w->stack ? "tensors" : "layers";
    if (all < 2)
        return;
    if (same == all)
        diag_note(d, "same mismatch in %lld %s (%s); shown once", (long long)same, what,
                  hole_ranges(s->b->cx->arena, key, w->layers, w->stack));
    else if (same > 1)
        diag_note(d, "same mismatch in %lld of %lld %s, first in `%s`", (long long)same, (long long)all, what,
                  file_key(s, w, first));
    else
        diag_note(d, "only in `%s`", file_key(s, w, first));
}

static bool is_transposed(const WeightUse *w, const HostTensor *t)
{
    return w->rank == 2 && t->rank == 2 && t->dims[0] == w->stored[1] && t->dims[1] == w->stored[0];
}

/* All that are stored so have one cause: the order that the model gives them. */
static Diag *report_transposed(Shapes *s, const WeightUse *w, const HostTensor *t)
{
    Bind *b = s->b;
    Cause *c = &s->transposed;
    const char *order = frame_other_order(w->frame);
    if (c->diag && order) {
        if (c->others++ < 3)
            c->names = bind_print(b, "%s%s`%s`", c->names ? c->names : "", c->names ? ", " : "", short_key(t->name));
        return NULL;
    }
    Diag *d = bind_error(b, "E0404", w->at, "`%s` is %s in the file, which is %s transposed", short_key(t->name),
                         shape_print(b, t->rank, t->dims), w->axes);
    diag_caret(d, "needs %s = %s", w->axes, shape_print(b, w->rank, w->stored));
    if (order) {
        c->diag = d;
        s->op = w->op;
        s->order = order;
    } else if (w->n_dims[0] == 1 && w->n_dims[1] == 1)
        diag_help(d, "the file has `%s, %s` in this order", frame_outer(w->frame, w->dims[1][0]),
                  frame_outer(w->frame, w->dims[0][0]));
    return d;
}

static Diag *report_rank(Shapes *s, const WeightUse *w, const HostTensor *t)
{
    Diag *d = bind_error(s->b, "E0403", w->at, "`%s` has %d dimension%s in the file but %d here", short_key(t->name),
                         t->rank, t->rank == 1 ? "" : "s", w->rank);
    diag_caret(d, "needs %s = %s, the file has %s", w->axes, shape_print(s->b, w->rank, w->stored),
               shape_print(s->b, t->rank, t->dims));
    return d;
}

static Cause *known_cause(Shapes *s, const Guess *g)
{
    for (int i = 0; i < s->n_causes; i++)
        if (s->causes[i].value == g->value && s->causes[i].dim->axis == g->dim->axis)
            return &s->causes[i];
    return NULL;
}

static void note_guess(Shapes *s, Diag *d, const WeightUse *w, const HostTensor *t, const Guess *g)
{
    Bind *b = s->b;
    diag_dim(b, d, g->dim);
    const char *factors = other_factors(s, w, g);
    if (*factors)
        diag_note(d, "%lld = %lld%s: the file looks like %s = %lld", (long long)t->dims[g->stored], (long long)g->value,
                  factors, g->dim->name, (long long)g->value);
    else
        diag_note(d, "the file looks like %s = %lld", g->dim->name, (long long)g->value);
    if (!help_contracted(d, w, t, g) && !help_axis(s, d, w, g)) {
        help_config(s, d, g);
        help_key(s, d, g);
    }
    s->causes = arena_room(b->cx->arena, s->causes, (size_t)s->n_causes, &s->room, sizeof *s->causes);
    s->causes[s->n_causes++] = (Cause){.dim = g->dim, .value = g->value, .diag = d};
}

static Diag *report_sizes(Shapes *s, const WeightUse *w, const HostTensor *t)
{
    Bind *b = s->b;
    Guess g = {0};
    bool guessed = first_guess(w, t, &g);
    Cause *cause = guessed ? known_cause(s, &g) : NULL;
    if (cause) {
        if (cause->others++ < 3)
            cause->names = bind_print(b, "%s%s`%s`", cause->names ? cause->names : "", cause->names ? ", " : "",
                                      short_key(t->name));
        return NULL;
    }
    Diag *d = bind_error(b, "E0412", w->at, "`%s` is %s in the file but %s here", short_key(t->name),
                         shape_print(b, t->rank, t->dims), shape_print(b, w->rank, w->stored));
    diag_caret(d, "needs %s", w->axes);
    if (guessed)
        note_guess(s, d, w, t, &g);
    else
        for (int i = 0; i < w->rank; i++)
            for (int k = 0; t->dims[i] != w->stored[i] && k < w->n_dims[i]; k++)
                diag_dim(b, d, w->dims[i][k]);
    return d;
}

static Diag *report_dtype(Shapes *s, const WeightUse *w, const HostTensor *t)
{
    Diag *d = bind_error(s->b, "E0405", w->at, "`%s` is %s in the file", short_key(t->name), dtype_name(t->dtype));
    diag_caret(d, "weights are numbers with a point: f32, f16 or bf16");
    return d;
}

static void check_weight(Shapes *s, const WeightUse *w)
{
    WeightUse one = weight_single(w);
    const HostTensor *bad = NULL;
    int64_t first = 0, same = 0;
    for (int64_t i = 0; i < weight_tensors(w); i++) {
        const HostTensor *t = map_get(s->tensors, file_key(s, w, i));
        if (!t || fits(&one, t))
            continue;
        if (!bad)
            first = i;
        if (!bad)
            bad = t;
        same += same_shape(t, bad->rank, bad->dims) && t->dtype == bad->dtype;
    }
    if (!bad)
        return;
    Diag *d = same_shape(bad, one.rank, one.stored) ? report_dtype(s, &one, bad)
              : is_transposed(&one, bad)              ? report_transposed(s, &one, bad)
              : bad->rank != one.rank                 ? report_rank(s, &one, bad)
                                                  : report_sizes(s, &one, bad);
    if (d)
        note_tensors(s, d, w, first, same);
}

static void finish_transposed(Shapes *s)
{
    const Cause *c = &s->transposed;
    const char *order = s->order;
    const Decl *defaults = map_get(&s->b->defaults, s->op->name.text);
    if (defaults)
        diag_label(c->diag, defaults->at, "the defaults of `%s`", defaults->name.text);
    if (!c->others) {
        diag_help(c->diag, "`order=\"%s\"` if the layer is stored the other way round; GPT-2's are \"in,out\"", order);
        return;
    }
    diag_note(c->diag, "the same shows in %s%s", c->names,
              c->others > 3 ? bind_print(s->b, " and %d more tensors", c->others - 3) : "");
    diag_help(c->diag, "`default %s(order=\"%s\")` if all are stored the other way round; GPT-2's are \"in,out\"",
              s->op->name.text, order);
}

void check_shapes(Bind *b, const KeyMap *map, const Map *tensors)
{
    Shapes s = {.b = b, .map = map, .tensors = tensors};
    Map seen = map_new(b->cx->arena);
    for (int i = 0; i < b->n_weights; i++) {
        const WeightUse *before = map_get(&seen, b->weights[i].key);
        if (before && before->layers >= b->weights[i].layers)
            continue;
        map_set(&seen, b->weights[i].key, &b->weights[i]);
        check_weight(&s, &b->weights[i]);
    }
    if (s.transposed.diag)
        finish_transposed(&s);
    for (int i = 0; i < s.n_causes; i++) {
        const Cause *c = &s.causes[i];
        if (c->others)
            diag_note(c->diag, "the same shows in %s%s", c->names,
                      c->others > 3 ? bind_print(b, " and %d more tensors", c->others - 3) : "");
    }
}
