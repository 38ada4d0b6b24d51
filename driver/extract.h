/* extract-lora: the difference of two checkpoints as a PEFT adapter of low rank, with what the rank leaves out. */
#ifndef ATTAR_DRIVER_EXTRACT_H
#define ATTAR_DRIVER_EXTRACT_H

#include "runtime/checkpoint.h"

/* One tensor that differs. W' - W = U diag(s) V^T, cut to the rank: the factors are U_r diag(s_r) and V_r^T, alpha = rank. By Eckart and Young no pair of
 * this rank comes closer in the Frobenius norm, and what is left is exactly sqrt(sum of s_i^2 beyond the rank). */
typedef struct ExtractedSite {
    const char *key;                    /* of the tensor in both checkpoints */
    bool table;                         /* of an embedding: lora_embedding_A, lora_embedding_B */
    bool whole;                         /* no pair: a vector, or a table that a tied head reads too. Saved as it is in the second checkpoint */
    int64_t rank, rows, cols;           /* as stored */
    double size;                        /* |W' - W| in the Frobenius norm */
    double left;                        /* exact: of the singular values beyond the rank */
    double measured;                    /* |W' - W - B A| with the factors as they are written, rounded to f32 */
} ExtractedSite;

typedef struct Extraction {
    ExtractedSite *sites; int n_sites;  /* in the order of their names */
    int same;                           /* tensors that are equal in both */
    double size, left;                  /* of all pairs together: roots of the sums of squares */
    HostTensor *tensors; int n_tensors; /* adapter_model.safetensors */
} Extraction;

/* Compares two open checkpoints; `turned`: matrices are stored [in, out], as GPT-2's are; `tied`: the head reads the embedding's table. False and
 * diagnostics if they have other names or shapes (E0445), nothing differs (E0446), or a number is not finite. */
bool extract_lora(Context *cx, const Checkpoint *base, const Checkpoint *tuned, int64_t rank, bool turned, bool tied, Extraction *out);

/* adapter_config.json and adapter_model.safetensors in `folder`, which is made. */
bool extract_write(Context *cx, const Extraction *x, bool turned, const char *base_path, const char *folder);

#endif
