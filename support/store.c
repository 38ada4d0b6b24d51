/* Requests for the type that weights are kept in (store.h). */
#include <math.h>
#include <string.h>

#include "support/store.h"
#include "support/approximation.h"

bool store_read(const char *text, StoreSpec *out, const char **why)
{
    *out = (StoreSpec){.narrow = DT_F32, .max_err = NAN};
    out->wide = !strcmp(text, "f32");
    if (out->wide || !strcmp(text, "stored"))
        return true;
    size_t length = strcspn(text, ":");
    *why = "it is `stored`, `f32`, `bf16`, `f16`, or one of these two with a bound: `bf16:max_err=E`";
    if (length == 4 && !strncmp(text, "bf16", length))
        out->narrow = DT_BF16;
    else if (length == 3 && !strncmp(text, "f16", length))
        out->narrow = DT_F16;
    else
        return false;
    text += length;
    return !*text || max_err_read(text, &out->max_err, why);
}
