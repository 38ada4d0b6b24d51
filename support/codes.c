/* The table of diagnostic codes, expanded from codes.def. */
#include <string.h>

#include "support/diag.h"

const CodePage diag_codes[] = {
#define CODE(code, title, page) {code, title, page},
#include "support/codes.def"
#undef CODE
};

const size_t diag_code_count = sizeof diag_codes / sizeof *diag_codes;

const CodePage *diag_code(const char *code)
{
    for (size_t i = 0; i < diag_code_count; i++)
        if (strcmp(diag_codes[i].code, code) == 0)
            return &diag_codes[i];
    return NULL;
}
