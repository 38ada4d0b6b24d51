/* Requests for the type that products compute in (compute.h). */
#include <math.h>
#include <string.h>

#include "support/compute.h"
#include "support/text.h"

bool compute_read(const char *text, ComputeSpec *out, const char **why)
{
    static const char bound[] = "bf16:max_err=";
    *out = (ComputeSpec){.max_err = NAN};
    if (!strcmp(text, "f32"))
        return true;
    out->bf16 = true;
    if (!strcmp(text, "bf16"))
        return true;
    *why = "it is `f32`, `bf16` or `bf16:max_err=E`";
    if (strncmp(text, bound, sizeof bound - 1) != 0)
        return false;
    const char *number = text + sizeof bound - 1;
    char *end;
    out->max_err = text_to_double(number, &end);
    *why = "`max_err` is an error above 0 and at most 1";
    return end != number && !*end && out->max_err > 0 && out->max_err <= 1; /* false for a NaN */
}
