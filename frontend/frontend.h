/* From a model file to a GRAPH-level model. */
#ifndef ATTAR_FRONTEND_FRONTEND_H
#define ATTAR_FRONTEND_FRONTEND_H

#include "frontend/ast.h"
#include "ir/ir.h"
#include "support/json.h"

/* Scanner and parser (lexer.l, parser.y, parse.c). Always returns a tree; errors are E01xx diagnostics, recovered at statement and block borders. */
File *parse_file(Context *cx, const Source *source);

extern const char std_attar_text[];     /* frontend/std.attar, embedded at build time */
extern const size_t std_attar_size;

/* How a checkpoint spells keys, besides the model's own spelling: from `names` and `ignore` declarations. */
typedef struct KeyRule { const char *from, *to; Span at; } KeyRule;     /* whole path components; {i} matches a number; to NULL: ignore */
typedef struct KeyMap { const char *name; KeyRule *rules; int n; Span at; } KeyMap;
typedef struct KeyMaps { KeyMap *maps; int n; const char **ignored; int n_ignored; } KeyMaps;

typedef struct ModelOptions {
    const char *config_path;            /* how to call the config in messages; NULL: the model has to need none */
    json_t *config;                     /* parsed, or NULL */
    const HostTensor *checkpoint;       /* names, dtypes, shapes (data NULL); NULL with n_checkpoint = -1: not known, nothing is checked */
    int64_t n_checkpoint;
    const char *checkpoint_path;        /* for messages */
    bool allow_extra;                   /* extra tensors are listed in one warning instead of an error */
    const char *model;                  /* which model of the file; NULL: its only one */
    bool (*read)(Context *cx, void *state, const char *path, Source *out);      /* a file that `use` names, or false and an error; NULL: there are none */
    json_t *(*other_config)(Context *cx, void *state, const char *name, const char **path);     /* the file of this name beside the weights; *path NULL: there is none */
    void *state;
} ModelOptions;

typedef struct Model {
    Graph *graph;                       /* level GRAPH, verified, named */
    KeyMaps keys;
    const char *spelling;               /* the `names` map that fits the checkpoint, or NULL for the model's own */
} Model;

/* Parses, binds names, axes and config, builds the graph. With a checkpoint: every weight's key and shape against it, both ways (E04xx),
 * grouped over layers, with the provenance of sizes. False if an error was reported. */
bool model_load(Context *cx, const Source *source, const ModelOptions *options, Model *out);

/* The checkpoint's key for a weight of the model in the chosen spelling; {i} is replaced by `layer` if it is not negative. */
const char *model_key(Context *cx, const Model *m, const char *key, int64_t layer);

/* Operators for `attar ops`: name, signature, one sentence; composite ones come from std.attar. */
typedef struct OperatorHelp { const char *name, *signature, *sentence; bool composite; } OperatorHelp;
const OperatorHelp *frontend_operators(Context *cx, int *count);

#endif
