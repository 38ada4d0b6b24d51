/* A study as text for a terminal: errors by layer, what Lemma 2 says beforehand, costs, bits of text, and what is recommended. */
#include <math.h>
#include <string.h>

#include "driver/study.h"

enum { FIRST = 22, CELL = 13 };                 /* columns of a table */

/* 0.0123, 0.31, 4.8, 373, 2e+12 */
static const char *figure(Arena *a, double x)
{
    if (isinf(x) || x >= 1e4)
        return isinf(x) ? "inf" : arena_print(a, "%.0e", x);
    return arena_print(a, x < 0.0995 ? "%.3f" : x < 9.95 ? "%.2f" : "%.0f", x);
}

static void cell(Text *out, int column, const char *text)
{
    size_t end = (size_t)(FIRST + CELL * (column + 1));
    text_pad(out, end - strlen(text));
    text_add(out, "%s", text);
}

/* The settings over the columns: their kinds, then their sizes. */
static void heading(const Study *s, Text *out, const char *first, bool features_alone)
{
    Arena *a = s->cx->arena;
    for (int k = 0; k < s->n_settings; k++) {
        bool begins = k == 0 || s->settings[k].codes != s->settings[k - 1].codes;
        if (begins && !(features_alone && s->settings[k].codes)) {
            text_pad(out, (size_t)(FIRST + CELL * k) + 4);
            text_add(out, s->settings[k].codes ? "vq, codes" : "performer, features");
        }
    }
    text_char(out, '\n');
    text_add(out, "%s", first);
    for (int k = 0; k < s->n_settings; k++)
        if (!features_alone || !s->settings[k].codes)
            cell(out, k, arena_print(a, "%lld", (long long)s->settings[k].size));
    text_char(out, '\n');
}

static double mean_norm(const StudyLayer *l, bool keys)
{
    double sum = 0;
    for (int64_t h = 0; h < l->heads; h++)
        sum += keys ? l->head[h].of[0].key_norm : l->head[h].of[0].query_norm;
    return sum / (double)l->heads;
}

static const char *layers_of(Arena *a, const StudyLayer *l)
{
    return l->last > l->number ? arena_print(a, "%lld-%lld", (long long)l->number, (long long)l->last) : arena_print(a, "%lld", (long long)l->number);
}

static bool causal(const Study *s)
{
    for (size_t i = 0; i < s->n_layers; i++)
        if (!s->layers[i].refused && s->layers[i].shape.causal)
            return true;
    return false;
}

static void errors(Study *s, Text *out)
{
    Arena *a = s->cx->arena;
    text_add(out, "\nError of the output, |o' - o| / |o|, the mean of the values taken off: the median head of a layer / the worst one\n");
    heading(s, out, "layer    |x|    |y|", false);
    for (size_t i = 0; i < s->n_layers; i++) {
        const StudyLayer *l = &s->layers[i];
        if (l->refused) {
            text_add(out, "%-7s  stays exact: %s\n", layers_of(a, l), l->refused);
            continue;
        }
        text_add(out, "%-6lld %5s  %5s", (long long)l->number, figure(a, mean_norm(l, false)), figure(a, mean_norm(l, true)));
        for (int k = 0; k < s->n_settings; k++)
            cell(out, k, arena_print(a, "%s/%s%s", figure(a, study_median(s, l, k)), figure(a, study_worst(s, l, k)), l->choice == k ? "*" : " "));
        text_char(out, '\n');
    }
    text_add(out, "x = q sqrt(scale), y = k sqrt(scale). At |x|, |y| above 2 or so random features fail, whatever their number.\n");
    for (int k = 0; k < s->n_settings; k++)
        if (s->settings[k].codes && causal(s)) {
            text_add(out, "Beside codes the keys of a row's own block of %lld positions and of the one before are exact, in causal layers.\n",
                     (long long)s->settings[k].block);
            return;
        }
}

static double worst_predicted(const StudyLayer *l, int setting)
{
    double most = 0;
    for (int64_t h = 0; h < l->heads; h++)
        most = fmax(most, l->head[h].of[setting].predicted);
    return most;
}

static void predictions(const Study *s, Text *out)
{
    text_add(out, "\nWhat Lemma 2 predicts without a measurement: the error of one weight, in the worst head (far above 1 it only says that it fails)\n");
    heading(s, out, "layer", true);
    for (size_t i = 0; i < s->n_layers; i++) {
        const StudyLayer *l = &s->layers[i];
        if (l->refused)
            continue;
        text_add(out, "%-6lld", (long long)l->number);
        for (int k = 0; k < s->n_settings; k++)
            if (!s->settings[k].codes)
                cell(out, k, figure(s->cx->arena, worst_predicted(l, k)));
        text_char(out, '\n');
    }
}

static bool same_shape(const StudyLayer *a, const StudyLayer *b)
{
    return a->shape.width == b->shape.width && a->shape.values == b->shape.values && a->shape.causal == b->shape.causal;
}

static void costs_of(const Study *s, const StudyLayer *l, Text *out)
{
    Arena *a = s->cx->arena;
    text_add(out, "\nCost of a head of width %lld, %s, by operations; the length from which on it pays; the state that decoding keeps\n",
             (long long)l->shape.width, l->shape.causal ? "causal" : "not causal");
    heading(s, out, "", false);
    int64_t lengths[] = {s->length, 4 * s->length, 16 * s->length};
    for (int t = 0; t < 3; t++) {
        text_add(out, "faster at %lld", (long long)lengths[t]);
        for (int k = 0; k < s->n_settings; k++)
            cell(out, k, arena_print(a, "%s x", figure(a, study_speed(l, &s->settings[k], lengths[t]))));
        text_char(out, '\n');
    }
    text_add(out, "pays from");
    for (int k = 0; k < s->n_settings; k++) {
        int64_t pays = study_pays(l, &s->settings[k]);
        cell(out, k, pays ? arena_print(a, "%lld", (long long)pays) : "never");
    }
    text_char(out, '\n');
    if (!l->shape.causal)
        return;
    text_add(out, "state, kB");
    for (int k = 0; k < s->n_settings; k++)
        cell(out, k, arena_print(a, "%.1f", study_state(l, &s->settings[k]) / 1000));
    text_add(out, "\nkeys and values grow to %.1f kB at %lld positions.\n", 4e-3 * (double)((l->shape.width + l->shape.values) * s->length),
             (long long)s->length);
}

static void costs(const Study *s, Text *out)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        bool known = s->layers[i].refused != NULL;
        for (size_t j = 0; j < i && !known; j++)
            known = !s->layers[j].refused && same_shape(&s->layers[i], &s->layers[j]);
        if (!known)
            costs_of(s, &s->layers[i], out);
    }
}

static void texts(const Study *s, Text *out)
{
    Arena *a = s->cx->arena;
    if (!s->n_texts)
        return;
    text_add(out, "\nBits per %s of the calibration text when these layers are approximated; exact: %.3f\n", s->unit, s->exact_bits);
    heading(s, out, "layers", false);
    for (size_t i = 0; i < s->n_texts; i++) {
        text_add(out, "%s", s->texts[i].layers);
        for (int k = 0; k < s->n_settings; k++)
            if (!isnan(s->texts[i].bits[k]))
                cell(out, k, arena_print(a, "%.3f", s->texts[i].bits[k]));
        text_char(out, '\n');
    }
}

static void recommendation(Study *s, Text *out)
{
    const char **requests;
    int n = study_requests(s, &requests);
    text_char(out, '\n');
    if (!n) {
        text_add(out, "Recommended: leave attention exact. No setting keeps the worst head of a layer within %g and saves operations at %lld positions.\n",
                 s->max_err, (long long)s->length);
        text_add(out, "--max-err X asks for less, --length N for what pays at a greater length, --features and --codes try other sizes.\n");
        return;
    }
    text_add(out, "Recommended (* above): what saves most at %lld positions with the worst head of a layer within %g\n", (long long)s->length, s->max_err);
    for (int i = 0; i < n; i++)
        text_add(out, "  --linearize %s\n", requests[i]);
    if (!isnan(s->recommended_bits))
        text_add(out, "%.3f bits per %s with it, %.3f exact\n", s->recommended_bits, s->unit, s->exact_bits);
    const char *annotation = study_annotation(s);
    if (annotation)
        text_add(out, "or, in the model file, in the line before the attention\n  %s\n", annotation);
}

void study_print(Study *s, Text *out)
{
    text_add(out, "attention of %s, measured on %s against exact attention in float64\n", s->model, s->measured_on);
    errors(s, out);
    predictions(s, out);
    costs(s, out);
    texts(s, out);
    recommendation(s, out);
}
