/* Lossless enlargement: a wider checkpoint whose model gives the same output (Net2Net).
 *
 * Every channel of a widened axis stands `factor` times, side by side, and every value is the small one's times a
 * power of the factor. Which power follows from the graph: each weight's is an unknown, each operator says how powers
 * combine, and outputs that keep their shape have to keep their values. The larger model is the same model file with a
 * larger config.json, read and compared node by node. */
#ifndef ATTAR_DRIVER_EXPAND_H
#define ATTAR_DRIVER_EXPAND_H

#include "driver/compile.h"

typedef struct Enlarged { /* a weight of the model, or an input or result */
    const char *name;     /* the key with {i} */
    const Node *small, *large;
    double power;            /* times factor^power */
    int64_t inner[MAX_RANK]; /* 0: the axis stays; otherwise blocks of so many positions stand `factor` times */
} Enlarged;

typedef struct Expansion {
    int64_t factor;
    json_t *config;    /* the larger one, to be released with json_decref */
    Graph *graph;      /* the larger model */
    const char **keys; /* of config.json, multiplied by the factor */
    int n_keys;
    const char *scaled;                   /* "layer_norm_eps = 0.00025", for people; NULL if no other key changes */
    Enlarged *weights, *inputs, *results; /* inputs and results: those with widened axes */
    int n_weights, n_inputs, n_results;
} Expansion;

/* c is loaded, with config and checkpoint. `keys` of config.json are widened; none: the widths that it has, and either
 * the size or the number of heads. False and E0910 that says which operator cannot be enlarged exactly. */
bool expand_find(Compilation *c, int64_t factor, const char *const *keys, int n_keys, Expansion *out);

/* config.json and model.safetensors into a folder, each written whole or not at all. */
bool expand_write(Compilation *c, const Expansion *x, const char *folder);

#endif
