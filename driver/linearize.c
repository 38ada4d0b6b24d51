/* The gate of linearize-performer and linearize-vq: which layers and heads are asked for, what the replacement costs them, and
 * the constants it needs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "driver/linearize_make.h"
#include "support/holes.h"

enum { HELD_OUT_FROM = 4 /* sequences */, ROWS_A_HEAD = 1024, FEWEST_ROWS = 16, LLOYD_ROUNDS = 25, MOST_TRIED = 4096 };

typedef struct Timed {
    const LinearizeSite *site;
    int spec;
    double before, after;
} Timed;

typedef struct Gate {
    Compilation *c;
    const CompileOptions *o;
    Calibration calibration;
    LinearizePlan *plan;
    LinearizeSpec *specs;
    int n_specs, n_options;    /* the first come from the command, the others from @linearize */
    bool *used;                /* [specs] */
    Timed timed; /* the last */
    LinearizeConstants *constants; /* [specs][site's rounds * heads] of the site at hand */
    LinearizeTensors made;
} Gate;

static bool refuse(Gate *g, const char *code, const LinearizeSpec *s, const char *help, const char *why)
{
    Diag *d = diag_file_error(&g->c->diags, code, g->o->model, s->text, "%s", why);
    if (help)
        diag_help(d, "%s", help);
    return false;
}

#define SAY(...) arena_print(&g->c->arena, __VA_ARGS__)

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool add_spec(Gate *g, const char *text)
{
    const char *why;
    LinearizeSpec spec;
    if (!linearize_read(&g->c->arena, text, &spec, &why)) {
        diag_file_error(&g->c->diags, "E0903", g->o->model, text, "%s", why);
        return false;
    }
    for (int i = 0; i < g->n_specs; i++)
        if (g->n_options < g->n_specs && i >= g->n_options && !strcmp(g->specs[i].text, spec.text))
            return true; /* the same annotation at several places */
    g->specs = arena_grow(&g->c->arena, g->specs, (size_t)g->n_specs, (size_t)g->n_specs + 1, sizeof spec);
    g->specs[g->n_specs++] = spec;
    return true;
}

static bool find_annotations(Gate *g, const Graph *graph)
{
    for (const Node *n = graph->first; n; n = n->next) {
        const char *text = attr_name(n, ATTR_linearize);
        if ((text && !add_spec(g, text)) || (n->body && !find_annotations(g, n->body)))
            return false;
    }
    return true;
}

static bool is_off(const Gate *g, const LinearizeSpec *s)
{
    return g->o->passes.off[s->kind == LINEARIZE_VQ ? PASS_ID_linearize_vq : PASS_ID_linearize_performer];
}

static int64_t last_layer(const Gate *g)
{
    int64_t last = -1;
    for (int i = 0; i < g->plan->n_sites; i++)
        if (g->plan->sites[i].first_layer + g->plan->sites[i].rounds - 1 > last)
            last = g->plan->sites[i].first_layer + g->plan->sites[i].rounds - 1;
    return last;
}

static int64_t most_heads(const Gate *g)
{
    int64_t most = 0;
    for (int i = 0; i < g->plan->n_sites; i++)
        most = g->plan->sites[i].heads > most ? g->plan->sites[i].heads : most;
    return most;
}

static bool check_ranges(Gate *g, const LinearizeSpec *s)
{
    int64_t layers = last_layer(g), heads = most_heads(g) - 1;
    for (int i = 0; i < s->layers.n; i++)
        if (s->layers.high[i] > layers)
            return refuse(g, "E0903", s, NULL,
                          layers < 0 ? "the model has no attention" : SAY("there is no layer %lld: the model's attention has the layers 0 to %lld",
                                                                        (long long)s->layers.high[i], (long long)layers));
    for (int i = 0; i < s->heads.n; i++)
        if (s->heads.high[i] > heads)
            return refuse(g, "E0903", s, NULL, SAY("there is no head %lld: keys have the heads 0 to %lld", (long long)s->heads.high[i], (long long)heads));
    return true;
}

/* The spec for a head: of the command, or else of the annotation. -1: exact; -2 and an error: two of the command. */
static int spec_for(Gate *g, const LinearizeSite *site, int64_t layer, int64_t head)
{
    int found = -1;
    for (int i = 0; i < g->n_specs; i++) {
        const LinearizeSpec *s = &g->specs[i];
        bool here = i < g->n_options || (site->request && !strcmp(site->request, s->text));
        if (!here || is_off(g, s) || !linearize_in(&s->layers, layer) || !linearize_in(&s->heads, head))
            continue;
        if (found >= 0 && found < g->n_options && i < g->n_options) {
            refuse(g, "E0903", s, NULL, SAY("layer %lld, head %lld is asked for by `%s` as well", (long long)layer, (long long)head, g->specs[found].text));
            return -2;
        }
        found = found < 0 ? i : found;
    }
    return found;
}

static bool choose(Gate *g, int number)
{
    LinearizeSite *site = &g->plan->sites[number];
    int *choice = arena_array(&g->c->arena, (size_t)(site->rounds * site->heads) + 1, sizeof *choice);
    bool any = false;
    for (int64_t r = 0; r < site->rounds; r++)
        for (int64_t h = 0; h < site->heads; h++) {
            int spec = spec_for(g, site, site->first_layer + r, h);
            if (spec == -2)
                return false;
            choice[r * site->heads + h] = site->refused ? -1 : spec;
            any |= spec >= 0;
            if (spec >= 0)
                site->asked = 1 + (int)g->specs[spec].kind;
            if (spec >= 0 && !site->refused)
                g->used[spec] = true;
        }
    site->choice = any && !site->refused ? choice : NULL;
    return true;
}

/* A request that no attention could follow is no error, as everything is computed exactly; but it is said. */
static void warn_idle(Gate *g)
{
    for (int i = 0; i < g->n_specs; i++) {
        if (g->used[i] || is_off(g, &g->specs[i]))
            continue;
        const char *why = "no attention was recognised here";
        for (int s = g->plan->n_sites - 1; s >= 0; s--)
            if (g->plan->sites[s].refused && (i < g->n_options || g->plan->sites[s].request))
                why = SAY("`%s` stays exact: %s", g->plan->sites[s].name, g->plan->sites[s].refused);
        diag_file_warning(&g->c->diags, "W0901", g->o->model, g->specs[i].text, "%s", why);
    }
}

static bool check_measured(Gate *g)
{
    for (int i = 0; i < g->n_specs; i++) {
        if (is_off(g, &g->specs[i]))
            continue;
        if (!check_ranges(g, &g->specs[i]))
            return false;
        if (!g->specs[i].trained && !g->o->calibrate)
            return refuse(g, "E0904", &g->specs[i], "`--calibrate FILE.safetensors` names a file with inputs of the model; `trained` says that it was trained so",
                          "what this costs is not known without inputs to measure it on");
    }
    return true;
}

/* ---- one head ---------------------------------------------------------------------------------------------------- */

/* Layers and heads draw apart, and whatever else is linearized beside them. */
static uint64_t stream_of(int64_t layer, int64_t head)
{
    return (uint64_t)layer * 4096 + (uint64_t)head;
}

static int64_t rows_of_each(int n)
{
    int64_t rows = n > 0 ? ROWS_A_HEAD / n : ROWS_A_HEAD;
    return rows < FEWEST_ROWS ? FEWEST_ROWS : rows;
}

static MatrixStatus performer_head(Arena *a, const LinearizeSpec *spec, int64_t layer, int64_t head, int64_t width, const Head *heads, int n,
                                   LinearizeConstants *k, HeadError *error)
{
    Random r = random_new((uint64_t)spec->seed, stream_of(layer, head));
    MatrixStatus status = features_orthogonal(a, &r, spec->size, width, false, &k->rows);
    if (status != MATRIX_OK || spec->trained)
        return status;
    k->reduction = reduction_choose(a, FEATURES_POSITIVE, heads, n);
    return features_error(a, FEATURES_POSITIVE, k->rows, &k->reduction, heads, n, rows_of_each(n), error);
}

/* ---- codebooks, kept by what they were made from ----------------------------------------------------------------- */

static const char *codes_key(Arena *a, const LinearizeSpec *spec, int64_t layer, int64_t head, const Head *heads, int n)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return NULL;
    int64_t numbers[] = {1 /* version */, spec->size, spec->seed, layer, head, LLOYD_ROUNDS, n};
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, "attar codebook", 14);
    XXH3_128bits_update(state, numbers, sizeof numbers);
    for (int i = 0; i < n; i++) {
        int64_t sizes[] = {heads[i].queries, heads[i].keys, heads[i].width};
        XXH3_128bits_update(state, sizes, sizeof sizes);
        XXH3_128bits_update(state, &heads[i].scale, sizeof heads[i].scale);
        XXH3_128bits_update(state, heads[i].q, (size_t)(heads[i].queries * heads[i].width) * sizeof *heads[i].q);
        XXH3_128bits_update(state, heads[i].k, (size_t)(heads[i].keys * heads[i].width) * sizeof *heads[i].k);
        if (heads[i].sees)
            XXH3_128bits_update(state, heads[i].sees, (size_t)(heads[i].queries * heads[i].keys));
    }
    XXH128_hash_t h = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return arena_print(a, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

static void take_matrix(Arena *a, const double **from, int64_t rows, int64_t cols, Matrix *out)
{
    *out = matrix_new(a, rows, cols);
    memcpy(out->at, *from, (size_t)(rows * cols) * sizeof *out->at);
    *from += rows * cols;
}

static MatrixStatus codebook_of(Compilation *c, Arena *a, const CompileOptions *o, const LinearizeSpec *spec, int64_t layer, int64_t head, int64_t width,
                                const Head *heads, int n, Codebook *out)
{
    const char *dir = NULL, *key = o->jit.no_cache ? NULL : codes_key(a, spec, layer, head, heads, n);
    size_t wanted = (size_t)(spec->size * width + 2 * width * width) * sizeof(double), bytes = 0;
    void *kept = NULL;
    int64_t sizes[] = {spec->size, width, width};
    if (key && cache_directory(&c->cx, o->jit.cache_dir, &dir) && cache_read(&c->cx, dir, key, &kept, &bytes) && bytes == wanted) {
        const double *from = kept;
        take_matrix(a, &from, sizes[0], width, &out->codes);
        take_matrix(a, &from, sizes[1], width, &out->to_metric);
        take_matrix(a, &from, sizes[2], width, &out->from_metric);
        free(kept);
        return MATRIX_OK;
    }
    free(kept);
    Random r = random_new((uint64_t)spec->seed, stream_of(layer, head));
    MatrixStatus status = codes_train(a, &r, heads, n, spec->size, LLOYD_ROUNDS, out);
    if (status != MATRIX_OK || !dir)
        return status;
    double *all = arena_array(a, wanted / sizeof *all, sizeof *all), *to = all;
    const Matrix *parts[] = {&out->codes, &out->to_metric, &out->from_metric};
    for (int i = 0; i < 3; i++) {
        memcpy(to, parts[i]->at, (size_t)(sizes[i] * width) * sizeof *to);
        to += sizes[i] * width;
    }
    cache_write(&c->cx, dir, key, all, wanted);
    return MATRIX_OK;
}

static MatrixStatus vq_head(Compilation *c, Arena *a, const CompileOptions *o, const LinearizeSite *site, const LinearizeSpec *spec, int64_t layer, int64_t head,
                            const Head *heads, int n, LinearizeConstants *k, HeadError *error)
{
    Codebook book;
    MatrixStatus status = codebook_of(c, a, o, spec, layer, head, site->width, heads, n, &book);
    if (status != MATRIX_OK)
        return status;
    k->to_metric = book.to_metric;
    k->from_metric = book.from_metric;
    status = matrix_multiply(a, book.codes, false, book.to_metric, false, &k->rows);
    if (status != MATRIX_OK)
        return status;
    return codes_error(a, &book, site->causal ? spec->block : 0, heads, n, rows_of_each(n), error);
}

MatrixStatus linearize_head(Compilation *c, Arena *a, const CompileOptions *o, const LinearizeSite *site, const LinearizeSpec *spec, int64_t layer, int64_t head,
                            const Head *heads, int n, LinearizeConstants *constants, HeadError *error)
{
    *constants = (LinearizeConstants){0};
    *error = (HeadError){.predicted = NAN, .measured = NAN};
    if (spec->kind == LINEARIZE_VQ)
        return vq_head(c, a, o, site, spec, layer, head, heads, n, constants, error);
    return performer_head(a, spec, layer, head, site->width, heads, n, constants, error);
}

MatrixStatus linearize_error(Arena *a, const LinearizeSite *site, const LinearizeSpec *spec, const LinearizeConstants *k, const Head *heads, int n,
                             HeadError *error)
{
    if (spec->kind == LINEARIZE_PERFORMER)
        return features_error(a, FEATURES_POSITIVE, k->rows, &k->reduction, heads, n, rows_of_each(n), error);
    Codebook book = {.to_metric = k->to_metric, .from_metric = k->from_metric};
    MatrixStatus status = matrix_multiply(a, k->rows, false, k->from_metric, false, &book.codes);
    return status != MATRIX_OK ? status : codes_error(a, &book, site->causal ? spec->block : 0, heads, n, rows_of_each(n), error);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

/* The most keys there can be. Of past + S the caches say how much fits. */
static int64_t bound_of(const LinearizeSite *site, const Graph *model, int64_t usual)
{
    const Type *k = site->kept[1] ? site->kept[1]->type : NULL;
    int at = k ? type_find(k, site->keys) : -1;
    int64_t bound = at < 0 ? SYMBOL_UNBOUNDED : extent_high(k->axis[at].size);
    for (int i = 0; i < model->n_caches && at >= 0 && k->axis[at].size.n > 1; i++) {
        const Cache *c = &model->caches[i];
        int64_t fits = c->growing < 0 ? bound : extent_high(c->type->axis[c->growing].size);
        bound = fits < bound ? fits : bound;
    }
    return bound < SYMBOL_UNBOUNDED ? bound : usual;
}

void linearize_cost(const LinearizeSite *site, const LinearizeSpec *spec, const Graph *model, int64_t usual, LinearizeRow *row)
{
    AttentionShape shape = {site->width, site->values, site->causal};
    int64_t bound = bound_of(site, model, usual);
    row->length = bound;
    row->flops_before = cost_exact(shape, bound);
    if (spec->kind == LINEARIZE_VQ) {
        int64_t block = site->causal ? spec->block : 0;
        row->flops_after = cost_codes(shape, spec->size, block, bound);
        row->pays = cost_codes_pays(shape, spec->size, block);
    } else {
        row->flops_after = cost_features(shape, FEATURES_POSITIVE, spec->size, bound);
        row->pays = cost_features_pays(shape, FEATURES_POSITIVE, spec->size);
    }
}

/* ---- records ----------------------------------------------------------------------------------------------------- */

static void put_row(Text *out, const LinearizeSite *s, const LinearizeSpec *spec, const LinearizeRow *row)
{
    const HeadError *e = &row->error;
    text_add(out, "            layer %lld head %lld", (long long)(s->first_layer + row->round), (long long)row->head);
    text_pad(out, 32);
    text_add(out, "|q| %.2f |k| %.2f", e->query_norm, e->key_norm);
    text_pad(out, 54);
    if (spec->kind == LINEARIZE_PERFORMER)
        text_add(out, "predicted %.3g", e->predicted);
    else
        text_add(out, "keys %.3g logits %.3g", e->key_error, e->logit_error);
    text_pad(out, 82);
    text_add(out, "output %.4f variation %.4f", e->measured, e->variation);
    text_pad(out, 120);
    text_add(out, "MFLOP %.3g -> %.3g at %lld, fewer from %lld", 1e-6 * row->flops_before, 1e-6 * row->flops_after, (long long)row->length,
             (long long)row->pays);
    if (!isnan(row->seconds_before) && !isnan(row->seconds_after))
        text_add(out, "; ms %.3g -> %.3g", 1e3 * row->seconds_before, 1e3 * row->seconds_after);
    text_char(out, '\n');
}

typedef struct Sides { /* what constants are made from, and what they are measured on */
    Head *fit, *test;
    int n_fit, n_test;
} Sides;

static bool held_out(const Gate *g)
{
    return g->calibration.rows >= HELD_OUT_FROM;
}

/* Every second sequence is measured, the others make the constants: a codebook fits the keys that it was made from too well. Few sequences have
 * to do for both. The heads of the queries that share keys come one after the other. */
static Sides sides_of(const Gate *g, Arena *a, const LinearizeSite *s, Head *heads, int n)
{
    int group = (int)s->group;
    if (!held_out(g) || n % group || n / group < 2)
        return (Sides){heads, heads, n, n};
    Sides sides = {arena_array(a, (size_t)n, sizeof *heads), arena_array(a, (size_t)n, sizeof *heads), 0, 0};
    for (int i = 0; i < n; i++)
        if (i / group % 2)
            sides.test[sides.n_test++] = heads[i];
        else
            sides.fit[sides.n_fit++] = heads[i];
    return sides;
}

static MatrixStatus measure(Gate *g, Arena *a, Arena *work, const LinearizeSite *s, const LinearizeSpec *spec, int64_t layer, int64_t head, Head *heads,
                            int n, LinearizeConstants *k, HeadError *error)
{
    Sides sides = sides_of(g, work, s, heads, n);
    MatrixStatus status = linearize_head(g->c, a, g->o, s, spec, layer, head, sides.fit, sides.n_fit, k, error);
    bool again = status == MATRIX_OK && !spec->trained && sides.test != sides.fit;
    return again ? linearize_error(work, s, spec, k, sides.test, sides.n_test, error) : status;
}

/* What of the same head passes: more features or codes, the other kind. */
static const char *what_passes(Gate *g, int site, const LinearizeRow *worst, const LinearizeSpec *spec)
{
    const LinearizeSite *s = &g->plan->sites[site];
    Arena work = {.on_oom = g->c->arena.on_oom, .oom_state = g->c->arena.oom_state};
    Head *heads;
    int n = calibration_heads(&g->calibration, &work, site, worst->round, worst->head, &heads);
    Text out = text_new(&g->c->arena);
    bool enough = false;
    for (int kind = 0; kind < 2 && n; kind++) {
        LinearizeSpec other = *spec;
        other.kind = kind == 0 ? spec->kind : spec->kind == LINEARIZE_VQ ? LINEARIZE_PERFORMER : LINEARIZE_VQ;
        for (other.size = kind == 0 ? 2 * spec->size : 256; other.size <= MOST_TRIED; other.size *= kind == 0 ? 2 : 4) {
            LinearizeConstants unused;
            HeadError e;
            if (measure(g, &work, &work, s, &other, s->first_layer + worst->round, worst->head, heads, n, &unused, &e) != MATRIX_OK)
                break;
            bool good = e.measured <= spec->max_err;
            text_add(&out, "%s%s %s=%lld gives %.4f", out.length ? ", " : "", other.kind == LINEARIZE_VQ ? "vq" : "performer",
                     other.kind == LINEARIZE_VQ ? "codes" : "features", (long long)other.size, e.measured);
            enough |= good;
            if (good)
                break;
        }
    }
    arena_free(&work);
    text_add(&out, enough ? "" : "%snothing that was tried passes", out.length ? ": " : "");
    return out.data;
}

/* Layers whose chosen heads all pass: "0, 3". */
static const char *passing_layers(Gate *g, const LinearizeSite *s, int spec, const double *worst)
{
    Text out = text_new(&g->c->arena);
    for (int64_t r = 0; r < s->rounds; r++)
        if (worst[r] <= g->specs[spec].max_err)
            text_add(&out, "%s%lld", out.length ? ", " : "", (long long)(s->first_layer + r));
    return out.length ? out.data : NULL;
}

static void record_round(Gate *g, int site, int spec, const LinearizeRow *rows, int n, const LinearizeRow *worst, bool over, const char *passing)
{
    Compilation *c = g->c;
    const LinearizeSite *s = &g->plan->sites[site];
    const LinearizeSpec *sp = &g->specs[spec];
    const char *where = calibration_where(&c->arena, s, worst->round);
    if (!sp->trained)
        where = SAY("%s, head %lld the worst of %d", where, (long long)worst->head, n);
    Approximation *a = approximation_add(&c->approximations, linearize_pass(sp->kind), where, linearize_setting(&c->arena, sp));
    a->error = "relative error of the output";
    a->at = spec < g->n_options ? (Span){0} : s->at;
    if (sp->trained) {
        a->note = "the model is said to be trained with these features";
        return;
    }
    Text table = text_new(&c->arena);
    for (int i = 0; i < n; i++)
        put_row(&table, s, sp, &rows[i]);
    a->table = table.data;
    a->measured = worst->error.measured;
    a->predicted = sp->kind == LINEARIZE_PERFORMER ? worst->error.predicted : NAN;
    a->measured_on = held_out(g) ? SAY("%s (every second row; the others made the constants)", g->calibration.measured_on)
                                 : SAY("%s (which made the constants too)", g->calibration.measured_on);
    a->bound = sp->max_err;
    a->bound_name = "max_err";
    a->note = SAY("|q| = %.2f, |k| = %.2f, total variation %.3f", worst->error.query_norm, worst->error.key_norm, worst->error.variation);
    if (over)
        a->help = SAY("of this head: %s%s%s", what_passes(g, site, worst, sp), passing ? "; all heads pass in the layers " : "", passing ? passing : "");
}

static LinearizeConstants *constants_at(const Gate *g, int spec, const LinearizeSite *s, int64_t round, int64_t head)
{
    return &g->constants[((int64_t)spec * s->rounds + round) * s->heads + head];
}

/* All heads of a site are of one shape: the first is timed. */
static void time_row(Gate *g, const LinearizeSite *s, int spec, LinearizeRow *row)
{
    Timed *t = &g->timed;
    double group = (double)s->group;
    row->seconds_before = row->seconds_after = NAN;
    if (!g->o->time_heads)
        return;
    if (t->site != s || t->spec != spec)
        *t = (Timed){s, spec, linearize_time(g->o, s, NULL, row->length, row->flops_before * group),
                     linearize_time(g->o, s, &g->specs[spec], row->length, row->flops_after * group)};
    row->seconds_before = t->before;
    row->seconds_after = t->after;
}

static bool measure_row(Gate *g, int site, int spec, LinearizeRow *row)
{
    const LinearizeSite *s = &g->plan->sites[site];
    Arena work = {.on_oom = g->c->arena.on_oom, .oom_state = g->c->arena.oom_state};
    Head *heads = NULL;
    LinearizeConstants *k = constants_at(g, spec, s, row->round, row->head);
    int64_t layer = s->first_layer + row->round;
    int n = g->o->calibrate ? calibration_heads(&g->calibration, &work, site, row->round, row->head, &heads) : 0;
    MatrixStatus status = measure(g, &g->c->arena, &work, s, &g->specs[spec], layer, row->head, heads, n, k, &row->error);
    linearize_cost(s, &g->specs[spec], g->c->model.graph, n ? heads[0].keys : 1, row);
    time_row(g, s, spec, row);
    arena_free(&work);
    if (status == MATRIX_OK)
        return true;
    return refuse(g, "E0905", &g->specs[spec], NULL, SAY("%s, head %lld: %s", calibration_where(&g->c->arena, s, row->round), (long long)row->head, matrix_status_text(status)));
}

static bool measure_site(Gate *g, int site)
{
    const LinearizeSite *s = &g->plan->sites[site];
    Arena *a = &g->c->arena;
    g->constants = arena_array(a, (size_t)(g->n_specs * s->rounds * s->heads) + 1, sizeof *g->constants);
    for (int spec = 0; spec < g->n_specs; spec++) {
        LinearizeRow *rows = arena_array(a, (size_t)(s->rounds * s->heads) + 1, sizeof *rows);
        LinearizeRow **worst = arena_array(a, (size_t)s->rounds + 1, sizeof *worst);
        double *errors = arena_array(a, (size_t)s->rounds + 1, sizeof *errors);
        int *count = arena_array(a, (size_t)s->rounds + 1, sizeof *count);
        double most = -1;
        for (int64_t r = 0; r < s->rounds; r++) {
            errors[r] = NAN;
            for (int64_t h = 0; h < s->heads; h++) {
                if (s->choice[r * s->heads + h] != spec)
                    continue;
                LinearizeRow *row = &rows[r * s->heads + count[r]++];
                *row = (LinearizeRow){.site = site, .round = r, .head = h};
                if (!measure_row(g, site, spec, row))
                    return false;
                if (!worst[r] || !(row->error.measured <= worst[r]->error.measured))
                    worst[r] = row;
                errors[r] = worst[r]->error.measured;
            }
            most = errors[r] > most ? errors[r] : most;
        }
        const char *passing = passing_layers(g, s, spec, errors);
        for (int64_t r = 0; r < s->rounds; r++)
            if (worst[r])
                record_round(g, site, spec, &rows[r * s->heads], count[r], worst[r], most > g->specs[spec].max_err && errors[r] == most, passing);
    }
    g->plan->sites[site].parts = linearize_make(g->c, site, &g->plan->sites[site], g->specs, g->n_specs, g->constants, &g->made);
    return true;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static bool decide(Gate *g)
{
    Compilation *c = g->c;
    g->plan = arena_alloc(&c->arena, sizeof *g->plan);
    *g->plan = g->calibration.plan;
    g->plan->capture = false;
    g->plan->specs = g->specs;
    g->plan->n_specs = g->n_specs;
    g->used = arena_array(&c->arena, (size_t)g->n_specs + 1, sizeof *g->used);
    if (!check_measured(g))
        return false;
    for (int i = 0; i < g->plan->n_sites; i++)
        if (!choose(g, i))
            return false;
    warn_idle(g);
    for (int i = 0; i < g->plan->n_sites; i++)
        if (g->plan->sites[i].choice && !measure_site(g, i))
            return false;
    return linearize_hand_over(c, &g->made);
}

bool linearize_plan(Compilation *c, const CompileOptions *o, LinearizePlan **out)
{
    Gate gate = {.c = c, .o = o}, *g = &gate;
    *out = NULL;
    for (const char *const *text = o->linearize; text && *text; text++)
        if (!add_spec(g, *text))
            return false;
    g->n_options = g->n_specs;
    if (!find_annotations(g, c->model.graph))
        return false;
    if (!g->n_specs)
        return true;
    bool good = o->calibrate ? calibration_run(c, o, &g->calibration) : calibration_sites(c, o, &g->calibration);
    good = good && decide(g);
    calibration_free(&g->calibration);
    *out = good ? g->plan : NULL;
    return good;
}
