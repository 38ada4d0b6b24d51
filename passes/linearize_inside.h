/* Shared by the files of linearize-performer and linearize-vq. */
#ifndef ATTAR_PASSES_LINEARIZE_INSIDE_H
#define ATTAR_PASSES_LINEARIZE_INSIDE_H

#include "passes/inside.h"
#include "passes/linearize.h"

/* Which part of a site an attend is, once layers and heads that differ stand apart. */
struct LinearizePiece {
    Node *attend;
    int site;
    int64_t first;         /* round of the loaded model that its round 0 is */
    int64_t head, heads;   /* its heads are those from `head` on */
    const char *head_axis; /* what they lie along in this attend; NULL: there is one */
};

/* linearize_site.c: the condition under which a row sees a key, before the attend; NULL: always. */
Node *linearize_mask(PassContext *px, Node *attend);
void linearize_describe(PassContext *px, Node *attend, LinearizeSite *out);

/* linearize_split.c: a repeat whose rounds are chosen differently becomes several, one after the other. Sets `first` of the pieces. */
void linearize_split(PassContext *px, Graph *model, const LinearizePlan *plan, LinearizePieces *pieces);

/* linearize_heads.c: an attend whose heads are chosen differently becomes several, each for neighbouring equal heads, and what they give
 * stands side by side. */
void linearize_cut(PassContext *px, const LinearizePlan *plan, LinearizePieces *pieces);

/* linearize_build.c: the kernel that stands for a piece, before its attend; NULL and the reason if it cannot be. */
Node *linearize_build(PassContext *px, const LinearizePlan *plan, const LinearizePiece *piece, const char **reason);

#endif
