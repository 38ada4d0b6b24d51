/* Text files, read whole. */
#ifndef ATTAR_DRIVER_SOURCE_H
#define ATTAR_DRIVER_SOURCE_H

#include "support/context.h"

/* Reads a regular file of at most `limit` bytes into the arena; on failure a diagnostic with `code` names file and reason. */
bool source_read(Context *cx, const char *code, const char *path, size_t limit, Source *out);

#endif
