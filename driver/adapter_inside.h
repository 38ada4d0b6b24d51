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

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct Draft { /* the tensors of one module */
    const char *path;   /* as PEFT knows the module */
    const char *module; /* as the checkpoint spells it */
    const HostTensor *parts[PEFT_PARTS];
    bool straight, other; /* does the weight fit as [out, in], as [in, out]? */
} Draft;

typedef struct Reader {
    Context *cx;
    const Checkpoint *base;
    PeftConfig config;
    Adapter *a;
    const HostTensor *all;
    int64_t count;
    PeftName *names;
    PeftSpelling spelling;
    Draft *drafts;
    int n_drafts;
    Map modules; /* module -> number of its draft + 1 */
    Map replaced;
    bool mixed; /* some weights are stored [in, out], others [out, in] */
} Reader;

#define FAIL(code, where, ...) (diag_file_error(r->cx->diags, code, r->a->file, where, __VA_ARGS__), false)

/* (adapter_pair.c) */
const char *tensor_place(Reader *r, const HostTensor *t);
const char *module_place(Reader *r, const Draft *d);
const char *tensor_shape(Reader *r, const HostTensor *t);       /* "6, 8" */
bool draft_is_table(const Draft *d);
const HostTensor *draft_a(const Draft *d), *draft_b(const Draft *d);
int64_t tensor_inner(const HostTensor *t, int from);            /* elements of the axes from there on */
const HostTensor *draft_weight(Reader *r, const Draft *d);      /* of the base; NULL: none */
/* Both halves, types, ranks, vectors, and the weight: each false with one diagnostic. */
bool check_pair(Reader *r, Draft *d);
bool check_ranks(Reader *r, const Draft *d, int64_t *rank, double *alpha);
bool check_turns(Reader *r);                                    /* of all pairs */
bool draft_turned(const Reader *r, const Draft *d);
bool check_square(Reader *r, const Draft *d);

#endif
