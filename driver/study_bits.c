/* How well a model knows the calibration text when layers are approximated: compiled with the constants of the study, as it would be run. */
#include <math.h>
#include <string.h>

#include "driver/signature.h"
#include "driver/study_inside.h"

enum { MOST_LAYERS = 12 /* that are tried one by one */, POSITIONS_AT_ONCE = 4096 };

/* ---- the text -------------------------------------------------------------------------------------------------------------------- */

/* The sequences that no constant came from. */
static bool load_text(StudyRun *r, CalibrationFile *out)
{
    if (!calibration_file_load(r->c, r->o->calibrate, out))
        return false;
    if (!out->unit || out->sequences < 2)
        return true;
    CalibrationFile all = *out;
    HostTensor *ids = calibration_file_slice(&r->c->arena, &all, 0, all.sequences / 2);
    size_t each = (size_t)all.length * dtype_size(ids->dtype);
    ids->data = arena_alloc(&r->c->arena, (size_t)ids->dims[0] * each);
    for (int64_t i = 0; i < ids->dims[0]; i++)
        memcpy((char *)ids->data + (size_t)i * each, (const char *)all.inputs[0].data + (size_t)(2 * i + 1) * each, each);
    out->inputs = ids;
    out->sequences = ids->dims[0];
    return true;
}

/* The sum of -log2 p(next token) over a call's logits. */
static double bits_of(const HostTensor *logits, const HostTensor *ids, double *count)
{
    int64_t length = ids->dims[1], vocabulary = logits->dims[2];
    const float *data = logits->data;
    double bits = 0;
    for (int64_t b = 0; b < ids->dims[0]; b++)
        for (int64_t t = 0; t + 1 < length; t++) {
            const float *row = data + (b * length + t) * vocabulary;
            double top = -INFINITY, sum = 0;
            for (int64_t v = 0; v < vocabulary; v++)
                top = fmax(top, row[v]);
            for (int64_t v = 0; v < vocabulary; v++)
                sum += exp(row[v] - top);
            bits += (top + log(sum) - row[(int64_t)host_get(ids, b * length + t + 1)]) / M_LN2;
            *count += 1;
        }
    return bits;
}

static bool run_text(StudyRun *r, const CalibrationFile *text, double *out)
{
    Compilation *c = r->c;
    int64_t at_once = POSITIONS_AT_ONCE / text->length;
    double bits = 0, count = 0;
    at_once = at_once < 1 ? 1 : at_once;
    for (int64_t first = 0; first < text->sequences; first += at_once) {
        int64_t here = text->sequences - first < at_once ? text->sequences - first : at_once;
        const HostTensor *inputs = calibration_file_slice(&c->arena, text, first, here), *outputs;
        Session *s = session_new(&c->cx, &c->program, c->emitted.plan.n_caches ? here : 0, r->o->threads > 0 ? r->o->threads : pool_cpus(), NULL);
        bool good = s && session_run(&c->cx, s, inputs, text->n_inputs, &outputs);
        if (good)
            bits += bits_of(&outputs[0], inputs, &count);
        if (s)
            session_free(s);
        if (!good)
            return false;
    }
    *out = bits / count;
    return true;
}

/* ---- a build --------------------------------------------------------------------------------------------------------------------- */

/* With layer `number` of the study approximated by setting choice[number], or exact where that is -1. */
static void fill_choices(StudyRun *r, const int *choice)
{
    int layer = 0;
    for (int i = 0; i < r->k.plan.n_sites; i++) {
        LinearizeSite *s = &r->k.plan.sites[i];
        if (s->refused) {
            layer++;
            continue;
        }
        int *mine = arena_array(&r->c->arena, (size_t)(s->rounds * s->heads), sizeof *mine);
        for (int64_t k = 0; k < s->rounds * s->heads; k++)
            mine[k] = choice[layer + k / s->heads];
        s->choice = mine;
        layer += (int)s->rounds;
    }
}

static bool bits_with(StudyRun *r, const CalibrationFile *text, const int *choice, double *out)
{
    Compilation *c = r->c;
    CompileOptions o = *r->o;
    LinearizePlan plan = r->k.plan;
    fill_choices(r, choice);
    plan.capture = plan.split = false;
    plan.pieces = (LinearizePieces){0};
    plan.specs = r->specs;
    plan.n_specs = r->s->n_settings;
    o.passes.linearize = &plan;
    o.taps = o.timing = o.tiles = false;
    c->kernels = graph_copy(&c->cx, c->model.graph);
    bool good = passes_run(&c->cx, c->kernels, &o.passes, &c->remarks, NULL) && compile_emit(c, &o) && compile_build(c, &o) && run_text(r, text, out);
    if (c->packed.data)
        pack_free(&c->packed);
    if (c->jit)
        jit_free(c->jit);
    c->packed = (Packed){0};
    c->jit = NULL;
    return good;
}

/* ---- which layers ---------------------------------------------------------------------------------------------------------------- */

/* Of each kind the setting in the middle, for the layers one by one. */
static int middle(const Study *s, bool codes)
{
    int first = 0, count = 0;
    for (int k = 0; k < s->n_settings; k++)
        if (s->settings[k].codes == codes)
            first = count++ ? first : k;
    return count ? first + count / 2 : -1;
}

static bool add_text(StudyRun *r, const CalibrationFile *text, const char *layers, int setting, const int *choice)
{
    Study *s = r->s;
    if (!s->n_texts || strcmp(s->texts[s->n_texts - 1].layers, layers) != 0) {
        s->texts = arena_room(&r->c->arena, s->texts, s->n_texts, &s->texts_capacity, sizeof *s->texts);
        s->texts[s->n_texts] = (StudyText){.layers = layers};
        for (int k = 0; k < STUDY_SETTINGS; k++)
            s->texts[s->n_texts].bits[k] = NAN;
        s->n_texts++;
    }
    study_say(r, "bits a %s with %s in %s", s->unit, s->settings[setting].request, !strcmp(layers, "all") ? "all layers" : layers);
    return bits_with(r, text, choice, &s->texts[s->n_texts - 1].bits[setting]);
}

static bool try_all(StudyRun *r, const CalibrationFile *text, int *choice)
{
    Study *s = r->s;
    int kinds[2] = {middle(s, false), middle(s, true)};
    for (size_t l = 0; l < s->n_layers && s->n_layers <= MOST_LAYERS; l++)
        for (int k = 0; k < 2 && !s->layers[l].refused; k++) {
            for (size_t i = 0; i < s->n_layers; i++)
                choice[i] = i == l ? kinds[k] : -1;
            if (kinds[k] >= 0 && !add_text(r, text, arena_print(&r->c->arena, "%lld", (long long)s->layers[l].number), kinds[k], choice))
                return false;
        }
    for (int k = 0; k < s->n_settings; k++) {
        for (size_t i = 0; i < s->n_layers; i++)
            choice[i] = k;
        if (!add_text(r, text, "all", k, choice))
            return false;
    }
    bool any = false;
    for (size_t i = 0; i < s->n_layers; i++) {
        choice[i] = s->layers[i].choice;
        any |= choice[i] >= 0;
    }
    if (any)
        study_say(r, "bits a %s with what is recommended", s->unit);
    return !any || bits_with(r, text, choice, &s->recommended_bits);
}

bool study_bits(StudyRun *r)
{
    CalibrationFile text;
    LinearizeTensors made = {0};
    if (!load_text(r, &text))
        return false;
    if (!text.unit || text.length < 2 || text.sequences < 1)
        return true;
    r->s->unit = text.unit;
    for (int i = 0; i < r->k.plan.n_sites; i++)
        if (!r->k.plan.sites[i].refused)
            r->k.plan.sites[i].parts = linearize_make(r->c, i, &r->k.plan.sites[i], r->specs, r->s->n_settings, r->constants[i], &made);
    int *choice = arena_array(&r->c->arena, r->s->n_layers + 1, sizeof *choice);
    for (size_t i = 0; i < r->s->n_layers; i++)
        choice[i] = -1;
    study_say(r, "bits a %s of the exact model", text.unit);
    return linearize_hand_over(r->c, &made) && bits_with(r, &text, choice, &r->s->exact_bits) && try_all(r, &text, choice);
}
