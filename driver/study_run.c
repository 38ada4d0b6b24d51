/* A study of a model: its sites from the capturing passes, their heads from the calibration inputs, each setting as a build would have it. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "driver/study_inside.h"
#include "support/linearize.h"

enum { USUAL_LENGTH = 4096, MOST_LENGTH = 1 << 20, MOST_SEQUENCES = 8, ROWS = 1024 /* of a head, over its sequences */ };

void study_say(const StudyRun *r, const char *format, ...)
{
    if (!r->steps->say)
        return;
    va_list args;
    va_start(args, format);
    r->steps->say(r->steps->state, arena_vprint(&r->c->arena, format, args));
    va_end(args);
}

static bool read_specs(StudyRun *r)
{
    const char *why;
    for (int i = 0; i < r->s->n_settings; i++)
        if (!linearize_read(&r->c->arena, r->s->settings[i].request, &r->specs[i], &why)) {
            diag_file_error(&r->c->diags, "E0903", r->o->model, r->s->settings[i].request, "%s", why);
            return false;
        }
    return true;
}

/* ---- lengths --------------------------------------------------------------------------------------------------------------------- */

/* The most positions that the keys of an attention can have. Of past + S the caches say how much fits. */
static int64_t bound_of(const Graph *model, const LinearizeSite *s)
{
    const Type *k = s->kept[1]->type;
    int axis = type_find(k, s->keys);
    int64_t bound = axis < 0 ? USUAL_LENGTH : extent_high(k->axis[axis].size);
    for (int i = 0; i < model->n_caches && axis >= 0 && k->axis[axis].size.n > 1; i++) {
        const Cache *cache = &model->caches[i];
        int64_t fits = cache->growing < 0 ? bound : extent_high(cache->type->axis[cache->growing].size);
        bound = fits < bound ? fits : bound;
    }
    return bound;
}

static void find_length(StudyRun *r)
{
    int64_t most = 0;
    for (int i = 0; i < r->k.plan.n_sites; i++) {
        const LinearizeSite *s = &r->k.plan.sites[i];
        int64_t bound = s->refused ? 0 : bound_of(r->c->model.graph, s);
        most = bound > most ? bound : most;
    }
    r->s->bound = most;
    if (!r->s->length)
        r->s->length = most > 0 && most <= MOST_LENGTH ? most : USUAL_LENGTH;
}

/* ---- heads ----------------------------------------------------------------------------------------------------------------------- */

typedef struct Sides { Head *fit, *test; int n_fit, n_test; } Sides;

/* Every other sequence makes the constants, the rest is measured; at most MOST_SEQUENCES of each, evenly spread. The heads of the queries of one
 * sequence come one after the other. A single sequence has to do for both. */
static Sides sides_of(Arena *a, Head *heads, int n, int group)
{
    if (n % group || n / group < 2)
        return (Sides){heads, heads, n, n};
    int sequences = n / group, pairs = sequences / 2, kept = pairs < MOST_SEQUENCES ? pairs : MOST_SEQUENCES;
    Sides s = {arena_array(a, (size_t)(kept * group), sizeof *heads), arena_array(a, (size_t)(kept * group), sizeof *heads), 0, 0};
    for (int i = 0; i < kept; i++) {
        const Head *from = heads + (int64_t)i * pairs / kept * 2 * group;
        memcpy(s.fit + s.n_fit, from, (size_t)group * sizeof *heads);
        memcpy(s.test + s.n_test, from + group, (size_t)group * sizeof *heads);
        s.n_fit += group;
        s.n_test += group;
    }
    return s;
}

static double *copy_vector(Arena *a, const double *from, int64_t count)
{
    return from ? matrix_copy(a, (Matrix){1, count, (double *)from}).at : NULL;
}

static void keep_constants(Arena *a, const LinearizeConstants *from, int64_t width, LinearizeConstants *to)
{
    *to = (LinearizeConstants){.rows = matrix_copy(a, from->rows),
                               .reduction = {copy_vector(a, from->reduction.query_mean, width), copy_vector(a, from->reduction.key_mean, width),
                                             copy_vector(a, from->reduction.rescale, width)}};
    if (from->to_metric.at) {
        to->to_metric = matrix_copy(a, from->to_metric);
        to->from_metric = matrix_copy(a, from->from_metric);
    }
}

static MatrixStatus error_on(Arena *work, const LinearizeSite *site, const LinearizeSpec *spec, const LinearizeConstants *k, const Head *heads, int n,
                             HeadError *out)
{
    int64_t rows = ROWS / n > 16 ? ROWS / n : 16;
    if (spec->kind == LINEARIZE_PERFORMER)
        return features_error(work, FEATURES_POSITIVE, k->rows, &k->reduction, heads, n, rows, out);
    Codebook book = {.to_metric = k->to_metric, .from_metric = k->from_metric};
    MatrixStatus status = matrix_multiply(work, k->rows, false, k->from_metric, false, &book.codes);
    return status ? status : codes_error(work, &book, site->causal ? spec->block : 0, heads, n, rows, out);
}

static bool measure_head(StudyRun *r, int number, StudyLayer *l, int64_t round, int64_t head)
{
    const LinearizeSite *site = &r->k.plan.sites[number];
    Arena arena = {.on_oom = r->c->arena.on_oom, .oom_state = r->c->arena.oom_state}, work = arena;
    Head *heads;
    int n = calibration_heads(&r->k, &arena, number, round, head, &heads);
    Sides sides = sides_of(&arena, heads, n, (int)site->group);
    MatrixStatus status = n ? MATRIX_OK : MATRIX_SHAPE;
    for (int i = 0; i < r->s->n_settings && !status; i++) {
        LinearizeConstants constants;
        HeadError unused;
        status = linearize_head(r->c, &work, r->o, site, &r->specs[i], l->number, head, sides.fit, sides.n_fit, &constants, &unused);
        if (!status)
            status = error_on(&work, site, &r->specs[i], &constants, sides.test, sides.n_test, &l->head[head].of[i]);
        if (!status)
            keep_constants(&r->c->arena, &constants, site->width, &r->constants[number][(i * site->rounds + round) * site->heads + head]);
        arena_free(&work);
    }
    arena_free(&arena);
    if (status)
        diag_file_error(&r->c->diags, "E0905", r->o->model, NULL, "%s, head %lld: %s", l->where, (long long)head, matrix_status_text(status));
    return !status;
}

/* ---- layers ---------------------------------------------------------------------------------------------------------------------- */

static void refused_site(StudyRun *r, const LinearizeSite *site)
{
    *study_layer(r->s) = (StudyLayer){.number = site->first_layer, .last = site->first_layer + site->rounds - 1, .where = site->where,
                                      .refused = site->refused, .choice = -1};
}

static bool measure_site(StudyRun *r, int number)
{
    const LinearizeSite *site = &r->k.plan.sites[number];
    if (site->refused) {
        refused_site(r, site);
        return true;
    }
    r->constants[number] = arena_array(&r->c->arena, (size_t)(r->s->n_settings * site->rounds * site->heads), sizeof **r->constants);
    for (int64_t round = 0; round < site->rounds; round++) {
        StudyLayer *l = study_layer(r->s);
        *l = (StudyLayer){.number = site->first_layer + round, .last = site->first_layer + round,
                          .where = calibration_where(&r->c->arena, site, round), .shape = {site->width, site->values, site->causal},
                          .heads = site->heads, .group = site->group, .choice = -1};
        l->head = arena_array(&r->c->arena, (size_t)site->heads, sizeof *l->head);
        study_say(r, "measuring %s", l->where);
        for (int64_t head = 0; head < site->heads; head++)
            if (!measure_head(r, number, l, round, head))
                return false;
    }
    return true;
}

static bool no_attention(StudyRun *r)
{
    Diag *d = diag_file_error(&r->c->diags, "E0903", r->o->model, NULL, "no attention was recognised in the model: there is nothing to approximate");
    diag_help(d, "`attar report` says why a softmax was not taken for attention");
    return false;
}

static bool measure(StudyRun *r)
{
    r->s->model = r->o->model;
    r->s->measured_on = arena_print(&r->c->arena, "%s%s", r->k.measured_on,
                                    r->k.of_rows > 1 ? " (constants from every other sequence, figures from the rest)" : "");
    find_length(r);
    if (!r->k.plan.n_sites)
        return no_attention(r);
    r->constants = arena_array(&r->c->arena, (size_t)r->k.plan.n_sites, sizeof *r->constants);
    for (int i = 0; i < r->k.plan.n_sites; i++)
        if (!measure_site(r, i))
            return false;
    study_recommend(r->s);
    return r->steps->no_text || study_bits(r);
}

bool study_run(Study *s, Compilation *c, const CompileOptions *o, const StudySteps *steps)
{
    StudyRun r = {.s = s, .c = c, .o = o, .steps = steps};
    if (!read_specs(&r) || !calibration_run(c, o, &r.k))
        return false;
    bool good = measure(&r);
    calibration_free(&r.k);
    return good;
}
