/* What the files of the adapter reader share: the configuration as PEFT wrote it, and names of tensors taken apart. */
#ifndef ATTAR_DRIVER_ADAPTER_INSIDE_H
#define ATTAR_DRIVER_ADAPTER_INSIDE_H

#include "driver/adapter.h"

typedef struct PeftPattern {            /* of rank_pattern and alpha_pattern: a regular expression for the end of a module's path */
    const char *key;
    double value;
} PeftPattern;

typedef struct PeftConfig {
    const char *path;                   /* of the file */
    int64_t r;
    double alpha;
    bool rslora, dora, bias, turned;    /* bias: lora_bias; turned: fan_in_fan_out */
    PeftPattern *ranks, *alphas; int n_ranks, n_alphas;
    const char **targets; int n_targets;        /* -1: a regular expression or "all-linear", which is not looked into */
    const char **saved; int n_saved;    /* modules_to_save */
    bool some_layers;                   /* layers_to_transform or exclude_modules: not every module that targets name has a pair */
} PeftConfig;

/* (adapter_config.c) False and one diagnostic: not JSON, of the wrong kind, or a field that changes the arithmetic in a way we do not know. */
bool peft_config_read(Context *cx, const char *path, PeftConfig *out);
/* Rank and alpha of a module as its patterns have them. False and a diagnostic if a pattern is no regular expression that we can read. */
bool peft_config_of(Context *cx, const PeftConfig *c, const char *module, int64_t *rank, double *alpha);
bool peft_names(const char *const *names, int n, const char *module);   /* does one of them end the path, as whole components? */

typedef enum PeftPart { PEFT_A, PEFT_B, PEFT_BIAS, PEFT_TABLE_A, PEFT_TABLE_B, PEFT_MAGNITUDE, PEFT_PARTS, PEFT_WHOLE = PEFT_PARTS, PEFT_UNKNOWN } PeftPart;

typedef struct PeftName {               /* base_model.model.h.0.attn.c_attn.lora_A.default.weight */
    PeftPart part;
    const char *module;                 /* model.h.0.attn.c_attn: behind `base_model.`, if that stands there */
    bool prefixed;
    const char *leaf;                   /* PEFT_WHOLE: weight, bias */
} PeftName;

/* (adapter_names.c) */
PeftName peft_name(Arena *a, const char *stored);
const char *peft_key(Arena *a, const char *module, const char *leaf);   /* module.leaf */

/* How modules are spelled in the checkpoint: what is taken off their front, what is put there. */
typedef struct PeftSpelling { const char *drop, *add; } PeftSpelling;
/* Under which the checkpoint knows the most of them; without a checkpoint what PEFT puts in front is taken off. */
PeftSpelling peft_spelling(Arena *a, const PeftName *names, int64_t count, const Checkpoint *base);
const char *peft_module(Arena *a, PeftSpelling s, const char *module);

#endif
