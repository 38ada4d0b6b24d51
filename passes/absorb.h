/* Attention over keys and values that are products of one cached latent with a weight. absorb.c finds it and says why
 * it stays; absorb_build.c computes it from the latent itself. */
#ifndef ATTAR_PASSES_ABSORB_H
#define ATTAR_PASSES_ABSORB_H

#include "passes/inside.h"

enum { MAX_PARTS = 8, MAX_SCORE_CHAIN = 64 };

typedef struct LatentPart { /* of the keys, along the head axis */
    Node *value;            /* as the keys hold it: dot(latent, weight), or the latent repeated for each head */
    Node *latent, *weight;  /* weight NULL: repeated */
    const char *axis;       /* the part's own axis in `value` */
    Extent at, size;        /* where it lies along the head axis of queries and keys */
    Extent start;           /* where the latent lies in `base` */
} LatentPart;

typedef struct Absorb {
    PassContext *px;
    Graph *graph;
    Node *softmax, *score, *out; /* score: dot(q, k); out: dot(softmax, v) */
    Node *q, *k, *v;
    const char *keys, *head;
    Node *chain[MAX_SCORE_CHAIN]; /* from the score to the softmax: all that depend on the score */
    int n_chain;
    LatentPart part[MAX_PARTS]; /* in the order of `base` */
    int n_parts;
    Node *base; /* all latents of the keys side by side */
    const char *base_axis;
    LatentPart values;
    Extent rows, before; /* query rows, and the keys that stand before them */
    double heads;
    /* Flops of the core: expanded = keys * fixed + rows * keys * expanded, absorbed = rows * fixed + rows * keys *
     * absorbed. */
    double fixed, expanded, absorbed;
} Absorb;

const char *contracted_axis(const Node *dot); /* the one axis, or NULL */
/* Puts the absorbed form in place of `out`, or a choice between the two. */
void absorb_build(Absorb *a);
bool absorb_latent(PassContext *px, Node *softmax); /* true if it did; else perhaps a remark */

#endif
