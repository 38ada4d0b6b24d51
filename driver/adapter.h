/* Adapters: PEFT folders of kind LORA (adapter_config.json and adapter_model.safetensors), read whole and checked against the checkpoint
 * whose weights they change. Whatever would change the arithmetic and is not understood here is refused by name (E067x, E068x).
 *
 * An adapter of weight w (DIR:w) adds w * (W' - W) to each weight W that it touches, W' being the weight that PEFT computes with. So adapters add
 * up in any order, exactly (what PEFT calls `cat`), and weight 0 is the base itself. */
#ifndef ATTAR_DRIVER_ADAPTER_H
#define ATTAR_DRIVER_ADAPTER_H

#include "runtime/checkpoint.h"

/* One weight. With V = W + scale * B A, rows being outputs: W' = V, or diag(magnitude / |V|) V, |V| the L2 norm of each row. A table of an embedding is
 * such a weight as well, stored [in, out]: in = its rows (vocabulary), out = what a lookup gives. */
typedef struct AdapterSite {
    const char *module;                 /* model.layers.0.self_attn.q_proj, as the checkpoint spells it */
    const char *key;                    /* of W in the checkpoint: module.weight. A head that is tied (`tied`) has no tensor of its own there */
    int64_t rank, in, out;              /* convolutions: `in` counts the elements of a kernel too */
    const double *a, *b;                /* A [rank][in], B [out][rank] */
    double alpha, scale;                /* scale: alpha / rank, or alpha / sqrt(rank); the adapter's weight is not in it */
    const double *magnitude;            /* DoRA: [out]; NULL otherwise */
    const double *bias;                 /* lora_bias: [out], scale * bias is added to the tensor bias_key; NULL: none */
    const char *bias_key;               /* NULL: the base has no bias there */
    bool turned;                        /* W is stored [in, out]: fan_in_fan_out, tables */
    bool table;                         /* applied where rows are looked up, not where a tied head reads the same tensor */
    bool tied;                          /* of a head that reads the table of the embedding: not in the checkpoint under `key` */
    DType dtype;                        /* of A and B as stored */
} AdapterSite;

typedef struct AdapterTensor {          /* stands in the place of the base's tensor `key` (modules_to_save, trained biases), or is new */
    const char *key, *stored;           /* in the base, in the adapter's file */
    HostTensor type;                    /* as stored; no data */
    bool added;                         /* the base has none */
} AdapterTensor;

typedef struct Adapter {
    const char *path;                   /* the folder, as given, without the weight */
    const char *file;                   /* of the tensors */
    double weight;
    AdapterSite *sites; int n_sites;    /* sorted by key, no key twice */
    AdapterTensor *replaced; int n_replaced;
    Checkpoint *tensors;                /* the file */
    int64_t r; double alpha;            /* as the configuration has them; the sites know their own */
    bool rslora, dora;
} Adapter;

/* `choice`: DIR, or DIR:weight. NULL and diagnostics (E067x to E068x, exit status 3) if anything in it is wrong or unknown. `base` NULL: only what can be
 * known without the weights is checked, and sites have the keys of a checkpoint that spells names as the adapter does. */
Adapter *adapter_open(Context *cx, const char *choice, const Checkpoint *base);
void adapter_close(Adapter *a);

bool adapter_is_head(const char *module);       /* may it be tied to the embedding, without a tensor of its own? lm_head, embed_out */

/* Several, in the order of their paths whatever the order of `choices` (NULL-terminated): all that is computed from them has the same bits for any order. */
typedef struct Adapters { Adapter **items; int n; } Adapters;
bool adapters_open(Context *cx, const char *const *choices, const Checkpoint *base, Adapters *out);
void adapters_close(Adapters *all);

/* A layer over `base` with the tensors that adapters replace whole: what their pairs are added to, in every mode. `base` itself if there are none; NULL and a
 * diagnostic if two adapters want one tensor. Adapters of weight 0 are passed over. */
Checkpoint *adapters_replace(Context *cx, Checkpoint *base, const Adapters *all);

/* gain[o] = magnitude / |V| of row o: what DoRA multiplies the row with, W' = diag(gain) V. `base`: with what adapters replace. Reads W once. */
bool adapter_gains(Context *cx, const Checkpoint *base, const AdapterSite *s, double *gain /* [out] */);

#endif
