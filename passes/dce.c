/* dce: values that nobody reads are removed. State (appends), inputs, carried values and what @keep asks for stay. */
#include "passes/inside.h"

bool pass_dce(PassContext *px, Graph *model)
{
    (void)px;
    return remove_dead(model);
}
