/* Requests for the type that products compute in (compute.h). */
#include <math.h>
#include <string.h>

#include "support/compute.h"
#include "support/approximation.h"

bool compute_read(const char *text, ComputeSpec *out, const char **why)
{
    *out = (ComputeSpec){.max_err = NAN};
    if (!strcmp(text, "f32"))
        return true;
    out->bf16 = true;
    *why = "it is `f32`, `bf16` or `bf16:max_err=E`";
    if (strncmp(text, "bf16", 4) != 0)
        return false;
    return !text[4] || max_err_read(text + 4, &out->max_err, why);
}
