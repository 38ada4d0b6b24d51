/* Shared by views.c and weights.c: what a view does to which axes. */
#ifndef ATTAR_PASSES_VIEWS_H
#define ATTAR_PASSES_VIEWS_H

#include "passes/inside.h"

typedef struct Part {
    int in, n_in, out, n_out;
    bool same;
} Part; /* neighbouring axes that become others; same: kept with its name */

typedef struct Change { /* a view or a slice, to be applied to another value */
    PassContext *px;
    const Node *view;
    const Type *from, *to;
    Part part[MAX_RANK];
    int n;
} Change;

/* views.c. False if the axes do not fall apart into independent groups (sizes 1 left over, a symbolic axis split). */
bool change_of_view(PassContext *px, const Node *view, Change *c);

/* weights.c: views of a weight as a weight of their own; NULL if its strides cannot say it. `view`: where it comes
 * from. */
Node *weight_viewed(PassContext *px, Node *where, const Node *w, const Node *view, const Change *c);
Node *weight_sliced(PassContext *px, Node *where, const Node *w, const Node *view, const Type *to, const char *axis);
Node *weight_transposed(PassContext *px, Node *n);

#endif
