/* Attar's public interface: compile a model file, open its weights, run it. Opaque handles, no global state, no printing, no exit.
 * Every call that can fail returns a status and fills `error` (may be NULL) with a message that names file, place and reason. */
#ifndef ATTAR_H
#define ATTAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum attar_status { ATTAR_OK = 0, ATTAR_MODEL = 1, ATTAR_USAGE = 2, ATTAR_INPUT = 3, ATTAR_ENVIRONMENT = 4, ATTAR_INTERNAL = 70 } attar_status;

typedef struct attar_error { attar_status status; char *message; } attar_error;     /* message: rendered diagnostics; free with attar_error_clear */
void attar_error_clear(attar_error *error);

typedef struct attar_model attar_model;         /* compiled, weights packed; immutable, may be shared by threads */
typedef struct attar_session attar_session;     /* caches, arena, thread pool; one caller at a time */

typedef struct attar_options {
    const char *model;                  /* path of the .attar file */
    const char *model_name;             /* which of its models; NULL: the only one */
    const char *weights;                /* directory, .safetensors file or index; NULL: no weights (models without any) */
    const char *const *more_weights;    /* more of them, NULL-terminated, or NULL: the tensors of all; none may be in two; NAME=PATH puts `NAME.` before their names */
    const char *config;                 /* path of config.json; NULL: beside the weights, in the first folder that has one */
    int threads;                        /* 0: as many as the process may use */
    bool allow_extra;                   /* extra tensors in the checkpoint are a warning */
    bool no_cache;                      /* neither read nor write compiled objects */
    const char *cache_dir;              /* NULL: $ATTAR_CACHE_DIR, $XDG_CACHE_HOME/attar, ~/.cache/attar */
    const char *clang;                  /* NULL: $ATTAR_CLANG, clang-19, clang */
    const char *const *lowrank;         /* requests to factor weights, as --lowrank takes them, NULL-terminated, or NULL */
    const char *const *linearize;       /* requests to approximate attention, as --linearize takes them, NULL-terminated, or NULL */
    const char *compute;                /* "f32" or NULL; "bf16", "bf16:max_err=0.01": products with weights take operands of bf16, as --compute says */
    const char *calibrate;              /* safetensors file with inputs of the model, on which approximations are measured; may be NULL */
    const char *const *passes_off;      /* NULL-terminated names, or NULL */
    bool taps, timing;                  /* instrumented code for diff and bench */
    const char *const *lora;            /* adapters as PEFT saves them, DIR or DIR:WEIGHT, NULL-terminated, or NULL: the sum of all, or with lora_mode "slots" one for each row */
    const char *lora_mode;              /* "merge": added to the weights; "side": beside them, which stay as they are; "slots": all resident, one more input `adapter`, i32[batch],
                                           says for each row which (from 1, as listed; 0: none); NULL: merge or side, whichever costs less */
    bool lora_stored;                   /* merged weights are rounded to the type that the checkpoint stores them in, instead of kept in f32 */
    bool wide_weights;                  /* bf16 and f16 weights are widened to f32 when they are packed: twice the memory, the same numbers */
    bool last_position;                 /* for programs that continue texts: outputs along the positions of a call, such as logits [B, S, V], hold the last
                                           one alone, [B, 1, V], where that spares a product; attar_run says the shape */
    void (*warn)(void *state, const char *message);     /* warnings; NULL: dropped */
    void *warn_state;
} attar_options;

typedef struct attar_tensor {           /* row-major and packed; 16-byte alignment is not required */
    const char *name;
    const char *dtype;                  /* "f32", "i32", "i64", "bool" ... */
    int rank;
    int64_t dims[8];
    void *data;
} attar_tensor;

attar_status attar_compile(const attar_options *options, attar_model **out, attar_error *error);
void attar_model_free(attar_model *m);

int attar_input_count(const attar_model *m);
int attar_output_count(const attar_model *m);
const char *attar_input_name(const attar_model *m, int i);
const char *attar_output_name(const attar_model *m, int i);

/* What was approximated because the options or the model file asked for it; 0: the program computes what the model file says. */
typedef struct attar_approximation {
    const char *kind, *where, *setting;     /* "linearize-performer", "encoder.layer.3.attention", "features=256, seed=7" */
    const char *error;                      /* what the numbers count */
    double predicted, measured, bound;      /* NaN: not known; no bound */
    const char *measured_on;                /* NULL: not measured */
} attar_approximation;
int attar_approximation_count(const attar_model *m);
bool attar_approximation_at(const attar_model *m, int i, attar_approximation *out);     /* false: no such number */

bool attar_has_cache(const attar_model *m);
int64_t attar_cache_capacity(const attar_model *m);     /* positions, also where only states of constant size are left; 0 without caches */

/* `batch` is needed by models with caches (rows kept apart); 0 otherwise. */
attar_status attar_session_new(const attar_model *m, int64_t batch, int threads, attar_session **out, attar_error *error);
void attar_session_free(attar_session *s);
void attar_session_reset(attar_session *s);             /* caches empty again */
int64_t attar_session_length(const attar_session *s);   /* positions in the caches */
void attar_session_truncate(attar_session *s, int64_t length);  /* forgets the last ones; a model with states of constant size can only forget all */

/* Inputs by name in any order; missing, unknown, wrong dtype or shape: ATTAR_INPUT with axis names. i64 ids are taken for i32 inputs if they fit.
 * f32 inputs are read where they are, while the call runs. Outputs belong to the session and stay valid until its next call, which may take them
 * as inputs. The caches grow by S. */
attar_status attar_run(attar_session *s, const attar_tensor *inputs, int n_inputs, const attar_tensor **outputs, attar_error *error);

#endif
