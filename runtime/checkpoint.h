/* Checkpoints: safetensors files, single or sharded, opened and wholly checked before a byte of data is used. */
#ifndef ATTAR_RUNTIME_CHECKPOINT_H
#define ATTAR_RUNTIME_CHECKPOINT_H

#include "support/context.h"
#include "support/dtype.h"

typedef struct Checkpoint Checkpoint;

/* `path`: a directory (model.safetensors, or model.safetensors.index.json and its shards, or adapter_model.safetensors), an index, or one .safetensors file.
 * NULL and E04xx diagnostics naming file, place and reason. Memory from cx->arena; file descriptors until checkpoint_close. */
Checkpoint *checkpoint_open(Context *cx, const char *path);
/* The tensors of all of them; one name in two of them is an error. Where prefixes[i] is not NULL, names of paths[i] get it and a dot in front. */
Checkpoint *checkpoint_open_all(Context *cx, const char *const *paths, const char *const *prefixes, int count);
void checkpoint_close(Checkpoint *c);

/* A tensor made at compile time, read as if it stood in the file: its data (f32), or a function that computes elements [first, first + count) of its type whenever
 * they are read, from several threads at once (0, an errno or FILE_SHRUNK), so that it need not exist as a whole. All of it outlives the checkpoint. */
typedef struct MadeTensor {
    const char *name;
    DType dtype;                        /* f32 if nothing is said */
    int rank;
    int64_t dims[MAX_RANK];
    const float *data;                  /* NULL: */
    int (*make)(const void *state, int64_t first, int64_t count, void *out);
    const void *state;
    const char *origin;                 /* what messages name as its file: an adapter's path, a pass */
    bool (*report)(Context *cx, const void *state, int error);  /* says what an error of `make` means; NULL, or false without a diagnostic: as one of a file */
} MadeTensor;

/* The tensors of `base` (NULL: none) and these. One that has a name of base stands in its place, of whatever shape; one name twice among the made ones
 * is E0436. `base` stays what it was, for functions that read the tensors they stand for, and is closed with the new checkpoint; on NULL it is left alone. */
Checkpoint *checkpoint_with(Context *cx, Checkpoint *base, const MadeTensor *made, int64_t count);

/* The tensors, sorted by name; `data` is NULL. */
const HostTensor *checkpoint_tensors(const Checkpoint *c, int64_t *count);
const HostTensor *checkpoint_find(const Checkpoint *c, const char *name);   /* NULL if absent */
const char *checkpoint_file(const Checkpoint *c, const char *name);         /* the shard that holds it, or the origin */
const char *checkpoint_path(const Checkpoint *c);
uint64_t checkpoint_bytes(const Checkpoint *c);                             /* of all tensor data */

/* Reads the stored bytes of elements [first, first + count) into `out` (pread: a file that shrank is an E0420 error, never a signal). */
bool checkpoint_read(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count, void *out);
/* The same, as float or as double. */
bool checkpoint_read_f32(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count, float *out);
bool checkpoint_read_f64(Context *cx, const Checkpoint *c, const char *name, int64_t first, int64_t count, double *out);

/* One safetensors file as host tensors with data (goldens, --input). Writing goes to a temporary name, then rename. */
HostTensor *safetensors_load(Context *cx, const char *path, int *count);
bool safetensors_save(Context *cx, const char *path, const HostTensor *tensors, int count);

/* .npy, versions 1-3, C and Fortran order, little-endian numbers and bool. */
bool npy_load(Context *cx, const char *path, HostTensor *out);
bool npy_save(Context *cx, const char *path, const HostTensor *tensor);

#endif
