/* Shared by the files of linear-attention, and by passes that make linear_attend or codebook_attend of something else: which masks
 * leave a kernel whose work grows with the length alone. */
#ifndef ATTAR_PASSES_LINEAR_H
#define ATTAR_PASSES_LINEAR_H

#include "passes/inside.h"

/* ---- masks (linear_mask.c) --------------------------------------------------------------------------------------- */

enum { MAX_CONDITIONS = 8 };

typedef struct Limit { /* keys j < value + plus; value NULL: j < plus */
    Node *value;
    Extent plus;
} Limit;

typedef struct LinearMask { /* all of: causal, every keep, document; causal rows see the keys below the prefixes too */
    bool causal;
    Node *keep[MAX_CONDITIONS]; /* bool: conditions on keys and batch axes alone */
    int n_keep;
    Limit prefix[MAX_CONDITIONS]; /* the largest counts */
    int n_prefix;
    Node *document; /* i32, along the keys: rows see the keys with their own number */
    const Node *failing; /* the condition that is none of these, and the sentence that says so */
    const char *why;
} LinearMask;

/* Takes the condition of a linear_attend apart and changes nothing. Row s stands at the key position keys - rows + s. False: `failing`
 * and `why` say which part of it cannot be kept by sums over keys. */
bool linear_mask(PassContext *px, Node *mask, const char *queries, const char *keys, const Type *k, LinearMask *out);
/* NULL if the mask (NULL: none) can be kept, else the sentence, and the node that it speaks of. */
const char *linear_mask_refused(PassContext *px, Node *mask, const char *queries, const char *keys, const Type *k,
                                const Node **evidence);
/* The inputs that a KERNEL node takes for a mask, before `where`. NULL: the mask needs none. */
Node *linear_keep(PassContext *px, Node *where, const LinearMask *m, Axis keys);
Node *linear_prefix(PassContext *px, Node *where, const LinearMask *m);

/* ---- linear attention as a model writes it out (linear_match.c) ---------------------------------------------------- */

/* Scores of features, their sum and the division become a linear_attend. True if something changed; uses are counted before. */
bool linear_match(PassContext *px, Graph *g);

/* ---- ordinary operators instead (linear_expand.c) ---------------------------------------------------------------- */

/* The value of a linear_attend from scores of all queries and keys; any mask. The node is replaced. */
void linear_expand(PassContext *px, Node *n);
bool codebook_expand(PassContext *px, Node *n); /* codebook_expand.c: the same for codebook_attend */
/* Kernels that still have a condition as their mask, as it is if linear-attention is switched off. True if there was one. */
bool linear_masks_expand(PassContext *px, Graph *g);

/* ---- states (linear_state.c) ------------------------------------------------------------------------------------- */

/* Kernels of causal rows whose keys and values lie in growing caches keep a state of constant size instead; caches that nobody
 * reads any more go. True if something changed. */
bool linear_states(PassContext *px, Graph *model);

#endif
