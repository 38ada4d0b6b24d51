/* Shared by the files of fuse-attention: what was matched, from the scores to the product with the values. */
#ifndef ATTAR_PASSES_ATTENTION_H
#define ATTAR_PASSES_ATTENTION_H

#include "passes/inside.h"

enum { MAX_CHAIN = 64, MAX_FACTORS = 8 };

typedef struct Match {
    PassContext *px;
    Graph *graph;
    Node *softmax, *score, *core; /* score: dot(q, k); core: the scaled score */
    Node *out;                    /* dot(p, v) */
    Node *q, *k, *v;
    const char *keys, *head;
    Axis own[MAX_RANK]; /* axes that only the values have */
    int n_own;
    double scale;
    Node *factor[MAX_FACTORS]; /* of queries and keys: taken into the scale */
    int n_factors;
    Node *chain[MAX_CHAIN]; /* from the score to the softmax: all that depend on the score */
    int n_chain;
} Match;

bool is_score(const Node *n); /* fuse_attention.c: a product of two computed values */
bool match_in_chain(const Match *m, const Node *n); /* fuse_attention.c: between the score and the softmax */
/* attend_build.c: the constant factors of queries or keys from n down go into the scale; nothing is changed yet. */
void match_find_factors(Match *m, Node *n);
void match_build(Match *m); /* attend_build.c: the attend in the place of the product with the values */

/* attention_form.c: views between the scores and the values moved out of the way. The softmax, which may be a new
 * node. */
Node *attention_form(PassContext *px, Node *softmax, bool *changed);
/* mask_proof.c: masked scores that are a large negative number become -inf where that is proved to be the same. */
bool prove_mask(PassContext *px, Node *softmax);

#endif
