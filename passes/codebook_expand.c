#include "passes/linear.h"
bool codebook_expand(PassContext *px, Node *n)
{
    diag_error(px->cx->diags, "E9901", n->at, "not yet");
    return false;
}
