/* What the command says about adapters: the table of `attar inspect ADAPTER`, and the lines of a report. */
#ifndef ATTAR_CLI_ADAPTERS_H
#define ATTAR_CLI_ADAPTERS_H

#include "cli/cli.h"

bool adapters_is_folder(Arena *a, const char *path);    /* has it adapter_config.json? */

/* Modules, ranks, scales, norms of the updates; against `weights` (NULL: none) also the share of the weights, and what rounding would leave of them. */
bool adapters_inspect(Tool *t, const char *path, const char *weights);

void adapters_report(Tool *t);          /* nothing without adapters */

#endif
