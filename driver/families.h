/* The model files of models/, which lie in the binary, and which of them a checkpoint is written in. */
#ifndef ATTAR_DRIVER_FAMILIES_H
#define ATTAR_DRIVER_FAMILIES_H

#include "frontend/frontend.h"

typedef struct ModelFile {
    const char *name, *text;
    size_t size;
} ModelFile;
extern const ModelFile model_files[]; /* sorted by name */
extern const int n_model_files;

typedef struct Family {
    const ModelFile *file; /* NULL: none reads the checkpoint */
    const char *model;     /* of the file's models the one that does */
    const char *text;      /* the file with this model alone, under the name asked for */
} Family;

/* The family of a checkpoint: its model_type has a row in families.def or is the name of a file, and the front end's
 * checker finds every tensor placed. `like`: this file ("bert" or "bert.attar") instead. `options` say config and
 * checkpoint. False if `like` names no file or does not fit; then errors say why. */
bool family_find(Context *cx, const char *name, const char *like, const ModelOptions *options, Family *out);

/* Does the text, as a model file, fit the checkpoint? Errors go to `diags`, which may be NULL. */
bool family_fits(Context *cx, Diags *diags, const char *path, const char *text, const ModelOptions *options);

#endif
