/* Shared by the files of fuse-attention: what was matched, from the scores to the product with the values. */
#ifndef ATTAR_PASSES_ATTENTION_H
#define ATTAR_PASSES_ATTENTION_H

#include "passes/inside.h"

enum { MAX_CHAIN = 64, MAX_FACTORS = 8, MAX_LSE = 16 };

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
    Node *other;   /* the scaled score of a second product, where the body takes one of the two; NULL: there is none */
    Node *q2, *k2; /* of that product */
    Node *lse[MAX_LSE]; /* log(sum(exp(scores))) and what it is made of, the logarithm first; none: nobody asks for it */
    int n_lse;
} Match;

bool is_score(const Node *n); /* fuse_attention.c: a product of two computed values */
bool match_in_chain(const Match *m, const Node *n); /* fuse_attention.c: between the score and the softmax */
void match_find_lse(Match *m); /* attend_lse.c: the second result, if it is asked for */
bool match_in_lse(const Match *m, const Node *n);
int match_lse_uses(const Match *m, const Node *n); /* by what the second result is made of */
bool softmax_shifts(const Node *n, const char *axis); /* softmax_form.c: the same along the row, a maximum over it */
/* attend_build.c: the constant factors of queries or keys from n down go into the scale; nothing is changed yet. */
void match_find_factors(Match *m, Node *n);
/* attend_second.c: other, q2 and k2, once core and scale are known. */
void match_find_second(Match *m);
bool match_factor(const Node *n, Node **value, double *factor); /* attend_build.c: n = value * c, value / c or -value */
void match_build(Match *m); /* attend_build.c: the attend in the place of the product with the values */

/* attention_form.c: views between the scores and the values moved out of the way. The softmax, which may be a new
 * node. */
Node *attention_form(PassContext *px, Node *softmax, bool *changed);
/* mask_proof.c: masked scores that are a large negative number become -inf where that is proved to be the same. */
bool prove_mask(PassContext *px, Node *softmax);

#endif
