/* JSON: jansson, made strict. Duplicate keys, NaN literals, trailing text, invalid UTF-8, NUL in keys and nesting deeper than
 * `max_depth` are errors; numbers keep the difference between 32 and 32.0. Used for config.json, safetensors headers and indexes. */
#ifndef ATTAR_SUPPORT_JSON_H
#define ATTAR_SUPPORT_JSON_H

#include <stdbool.h>
#include <jansson.h>
#include "support/diag.h"

/* The parsed document, to be released with json_decref, or NULL and one diagnostic with `code` naming `file`, line and column. */
json_t *json_read_text(Diags *d, const char *code, const char *file, const char *text, size_t size, int max_depth);
json_t *json_read_file(Diags *d, const char *code, const char *file, size_t max_size, int max_depth);

/* The value at a dotted path ("rope_parameters.rope_theta"), or NULL if a step is absent, null, or not an object. */
json_t *json_at(json_t *root, const char *path);

#endif
