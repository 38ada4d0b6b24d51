/* Context: what every compiler function gets first. One per compilation; no mutable globals anywhere. */
#ifndef ATTAR_SUPPORT_CONTEXT_H
#define ATTAR_SUPPORT_CONTEXT_H

#include "support/arena.h"
#include "support/diag.h"
#include "support/names.h"

typedef struct Context {
    Arena *arena;                       /* lives as long as the compilation's results */
    Diags *diags;
    Names *names;
} Context;

#endif
