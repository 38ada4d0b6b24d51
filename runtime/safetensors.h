/* One safetensors file: opened, its header parsed, every offset checked. What checkpoints and shards are made of. */
#ifndef ATTAR_RUNTIME_SAFETENSORS_H
#define ATTAR_RUNTIME_SAFETENSORS_H

#include <time.h>

#include "runtime/checkpoint.h"

typedef struct TensorFile {
    const char *path;
    int fd;        /* -1: not open */
    uint64_t data; /* where the data begins in the file */
    uint64_t data_bytes;
    int64_t count;
    HostTensor *tensors; /* sorted by name */
    uint64_t *begin;     /* of each tensor, within the data */
    uint64_t bytes;      /* of the file, and when it was last written to: when it was opened */
    struct timespec written;
} TensorFile;

/* Parses and checks a header of `size` bytes before `out->data_bytes` bytes of data; fills count, tensors, begin.
 * (header.c) */
bool header_parse(Context *cx, const char *path, const char *text, size_t size, TensorFile *out);

bool tensor_file_open(Context *cx, const char *path, TensorFile *out); /* false and one diagnostic, nothing left open */
void tensor_file_close(TensorFile *f);
int64_t tensor_file_find(const TensorFile *f, const char *name); /* -1 if absent */
/* Bytes [first, first + bytes) of a tensor: 0, an errno or FILE_SHRUNK. Safe from any thread. */
int tensor_file_read(const TensorFile *f, int64_t tensor, uint64_t first, uint64_t bytes, void *out);

int tensor_file_check(const TensorFile *f); /* 0, FILE_CHANGED or an errno */

uint64_t tensor_bytes(const HostTensor *t); /* of a tensor whose size was checked */

/* The shards of an index, opened, and its tensors: files[place[i].file], tensor place[i].tensor is the i-th by name.
 * (index.c) */
typedef struct Place {
    int file;
    int64_t tensor;
} Place;
typedef struct Shards {
    TensorFile *files;
    int n_files;
    int64_t count;
    HostTensor *tensors;
    Place *places;
} Shards;
bool index_open(Context *cx, const char *path, Shards *out); /* false: all closed again */

/* Reading a checkpoint from several threads: tensors by number (-1: absent), errors as codes to be reported
 * afterwards. (checkpoint.c) */
int64_t checkpoint_number(const Checkpoint *c, const char *name);
bool checkpoint_is_made(const Checkpoint *c, int64_t tensor);   /* no file has it */
int checkpoint_check(const Checkpoint *c, int64_t tensor);      /* FILE_CHANGED if its file was written to since it was opened, else 0 or an errno */
int checkpoint_read_raw(const Checkpoint *c, int64_t tensor, uint64_t first, uint64_t bytes, void *out);
void checkpoint_report(Context *cx, const Checkpoint *c, int64_t tensor, int error);

/* Stored elements to float or double, any dtype. (convert.c) */
void convert_f32(DType from, const void *in, size_t count, float *out);
void convert_f64(DType from, const void *in, size_t count, double *out);

#endif
