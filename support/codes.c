/* The table of diagnostic codes; its rows are in codes.def. */
#include "support/diag.h"

const CodePage diag_codes[] = {
#define CODE(code, title, page) {#code, title, page},
#include "support/codes.def"
#undef CODE
};
const size_t diag_code_count = sizeof diag_codes / sizeof *diag_codes;
