/* A study: what each kind and size of approximation would cost each layer and head of a model, and what it would save, so that a person can
 * choose. Numbers come from approx/; the text is for terminals, the page for browsers. */
#ifndef ATTAR_DRIVER_STUDY_H
#define ATTAR_DRIVER_STUDY_H

#include "approx/approx.h"
#include "support/context.h"
#include "support/text.h"

enum { STUDY_SETTINGS = 16 };

typedef struct StudySetting {
    bool codes;                                 /* vq; else performer */
    int64_t size, block;                        /* features, or codes and the positions of a block */
    const char *request;                        /* as --linearize takes it, without layers: "performer:features=256,seed=7" */
} StudySetting;

typedef struct StudyHead { HeadError of[STUDY_SETTINGS]; } StudyHead;

typedef struct StudyLayer {
    int64_t number, last;                       /* as `layers=` counts; last: where refused, of all that are so for the same reason */
    const char *where, *refused;                /* refused: why it has to stay exact; NULL: it was measured */
    AttentionShape shape;
    int64_t heads, group;                       /* heads of the keys, and how many heads of the queries share one */
    StudyHead *head;                            /* [heads] */
    int choice;                                 /* the setting recommended for it, or -1 */
} StudyLayer;

typedef struct StudyText {                      /* how well the model knows the text with these layers approximated */
    const char *layers;                         /* "3", "0+2-4", "all", "none" */
    double bits[STUDY_SETTINGS];                /* a token, by setting; NAN: not measured */
} StudyText;

typedef struct Study {
    Context *cx;
    const char *model, *measured_on, *unit;     /* the model file; "4 of 40 rows of held.txt"; "byte" or "token", NULL: not a model of text */
    int64_t seed, length, bound;                /* positions at which costs are compared; the most that the model takes */
    double max_err;                             /* of what is recommended */
    StudySetting settings[STUDY_SETTINGS]; int n_settings;
    StudyLayer *layers; size_t n_layers, capacity;
    StudyText *texts; size_t n_texts, texts_capacity;
    double exact_bits, recommended_bits;        /* NAN: not a model of text; nothing is recommended */
} Study;

void study_begin(Study *s, Context *cx);
/* False if there is no room. */
bool study_setting(Study *s, bool codes, int64_t size, int64_t block);
StudyLayer *study_layer(Study *s);              /* a new one, empty */
/* For each layer the setting that saves most at `length` among those whose worst head stays within max_err, if it saves anything. */
void study_recommend(Study *s);

double study_worst(const Study *s, const StudyLayer *l, int setting);   /* measured error, over heads */
double study_median(const Study *s, const StudyLayer *l, int setting);
double study_speed(const StudyLayer *l, const StudySetting *set, int64_t length);       /* operations of exact attention over those of this */
int64_t study_pays(const StudyLayer *l, const StudySetting *set);       /* length from which on it is above 1; 0: none */
double study_state(const StudyLayer *l, const StudySetting *set);       /* bytes of a head's state, constant in length */
const char *study_chosen(Study *s, int setting);                        /* "0+2-4": layers for which it is recommended; NULL: none */

/* What is recommended, one request for each setting: "performer:features=256,layers=0+2-4,max_err=0.05". */
int study_requests(Study *s, const char ***out);
/* The same as a model file says it, "@linearize(performer, features=256, layers=[0, 2-4], max_err=0.05)", if one setting is all there is: an
 * attention takes one annotation. NULL otherwise. */
const char *study_annotation(Study *s);

void study_print(Study *s, Text *out);          /* text for a terminal */
void study_page(Study *s, Text *out);           /* one HTML page that needs nothing else */

#endif
