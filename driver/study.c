/* The numbers of a study: what heads add up to, costs, and which setting each layer should get. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/study.h"

void study_begin(Study *s, Context *cx)
{
    *s = (Study){.cx = cx, .exact_bits = NAN, .recommended_bits = NAN, .max_err = 0.1};
}

bool study_setting(Study *s, bool codes, int64_t size, int64_t block)
{
    if (s->n_settings == STUDY_SETTINGS)
        return false;
    StudySetting *set = &s->settings[s->n_settings++];
    *set = (StudySetting){.codes = codes, .size = size, .block = codes ? block : 0};
    Text text = text_new(s->cx->arena);
    text_add(&text, codes ? "vq:codes=%lld" : "performer:features=%lld", (long long)size);
    if (codes)
        text_add(&text, ",block=%lld", (long long)block);
    if (s->seed)
        text_add(&text, ",seed=%lld", (long long)s->seed);
    set->request = text.data;
    return true;
}

StudyLayer *study_layer(Study *s)
{
    s->layers = arena_room(s->cx->arena, s->layers, s->n_layers, &s->capacity, sizeof *s->layers);
    StudyLayer *l = &s->layers[s->n_layers++];
    *l = (StudyLayer){.choice = -1};
    return l;
}

/* ---- figures --------------------------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *sorted(const Study *s, const StudyLayer *l, int setting)
{
    double *all = arena_array(s->cx->arena, (size_t)l->heads + 1, sizeof *all);
    for (int64_t h = 0; h < l->heads; h++)
        all[h] = l->head[h].of[setting].measured;
    qsort(all, (size_t)l->heads, sizeof *all, ascending);
    return all;
}

double study_worst(const Study *s, const StudyLayer *l, int setting) { return sorted(s, l, setting)[l->heads - 1]; }

double study_median(const Study *s, const StudyLayer *l, int setting)
{
    const double *all = sorted(s, l, setting);
    return (all[(l->heads - 1) / 2] + all[l->heads / 2]) / 2;
}

double study_speed(const StudyLayer *l, const StudySetting *set, int64_t length)
{
    double cost = set->codes ? cost_codes(l->shape, set->size, set->block, length) : cost_features(l->shape, FEATURES_POSITIVE, set->size, length);
    return cost_exact(l->shape, length) / cost;
}

int64_t study_pays(const StudyLayer *l, const StudySetting *set)
{
    return set->codes ? cost_codes_pays(l->shape, set->size, set->block) : cost_features_pays(l->shape, FEATURES_POSITIVE, set->size);
}

double study_state(const StudyLayer *l, const StudySetting *set)
{
    int64_t w = l->shape.values, k = l->shape.width, n = set->size;
    return 4.0 * (double)(set->codes ? n * (w + 1) + 2 * set->block * (1 + w + k) : n * (w + 2));
}

/* ---- the recommendation ---------------------------------------------------------------------------------------------------------- */

void study_recommend(Study *s)
{
    for (size_t i = 0; i < s->n_layers; i++) {
        StudyLayer *l = &s->layers[i];
        double best = 1;
        l->choice = -1;
        for (int k = 0; k < s->n_settings && !l->refused; k++) {
            double speed = study_speed(l, &s->settings[k], s->length);
            if (study_worst(s, l, k) <= s->max_err && speed > best) {
                best = speed;
                l->choice = k;
            }
        }
    }
}

/* "0+2-4": the layers that chose a setting. Several attentions of one layer count once they all agree. */
const char *study_chosen(Study *s, int setting)
{
    Text text = text_new(s->cx->arena);
    for (size_t i = 0; i < s->n_layers; i++) {
        size_t last = i;
        if (s->layers[i].choice != setting)
            continue;
        while (last + 1 < s->n_layers && s->layers[last + 1].choice == setting && s->layers[last + 1].number <= s->layers[last].number + 1)
            last++;
        text_add(&text, "%s%lld", text.length ? "+" : "", (long long)s->layers[i].number);
        if (s->layers[last].number > s->layers[i].number)
            text_add(&text, "-%lld", (long long)s->layers[last].number);
        i = last;
    }
    return text.length ? text.data : NULL;
}

int study_requests(Study *s, const char ***out)
{
    int count = 0;
    *out = arena_array(s->cx->arena, (size_t)s->n_settings + 1, sizeof **out);
    for (int k = 0; k < s->n_settings; k++) {
        const char *layers = study_chosen(s, k);
        if (!layers)
            continue;
        Text text = text_new(s->cx->arena);
        text_add(&text, "%s,layers=%s,max_err=", s->settings[k].request, layers);
        text_double(&text, s->max_err);
        (*out)[count++] = text.data;
    }
    return count;
}

const char *study_annotation(Study *s)
{
    int setting = -1;
    for (int k = 0; k < s->n_settings; k++) {
        if (study_chosen(s, k) && setting >= 0)
            return NULL;
        setting = study_chosen(s, k) ? k : setting;
    }
    if (setting < 0)
        return NULL;
    const StudySetting *set = &s->settings[setting];
    const char *layers = study_chosen(s, setting);
    Text text = text_new(s->cx->arena);
    text_add(&text, set->codes ? "@linearize(vq, codes=%lld" : "@linearize(performer, features=%lld", (long long)set->size);
    if (set->codes)
        text_add(&text, ", block=%lld", (long long)set->block);
    if (s->seed)
        text_add(&text, ", seed=%lld", (long long)s->seed);
    text_add(&text, ", layers=[");
    for (const char *c = layers; c && *c; c++)
        *c == '+' ? text_add(&text, ", ") : text_char(&text, *c);
    text_add(&text, "], max_err=");
    text_double(&text, s->max_err);
    text_char(&text, ')');
    return text.data;
}
