/* A model file to start from, written from nothing but a checkpoint's tensor names and its config.json. */
#ifndef ATTAR_DRIVER_SKELETON_H
#define ATTAR_DRIVER_SKELETON_H

#include "support/context.h"
#include "support/dtype.h"
#include "support/json.h"

/* The text of a model `name` that reads every tensor with its shape: scopes and repeats from the names, layers and
 * sizes guessed, and said so in comments. `config` may be NULL; `tensors` are sorted by name. NULL and E0443 if a name
 * cannot be written as a path, or E0421 if there is no tensor. */
const char *skeleton_write(Context *cx, const char *name, const char *path, json_t *config, const HostTensor *tensors,
                           int64_t count);

#endif
