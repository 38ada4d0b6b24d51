/* NAME.weights (weights_file.h). The header is written last: it has the hash of what follows it. */
#include "runtime/weights_file.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "support/checked.h"

enum { PIECE = 1 << 20, ABOUT = 64, HASH = WEIGHTS_HEADER - 8 };
static const char magic[8] = {'A', 'T', 'T', 'A', 'R', 'W', 'T', 'S'};

typedef struct Filling { /* what goes into the file behind its header */
    Writer *w;
    XXH64_state_t *hash;
    uint64_t at;
} Filling;

static void fill(Filling *f, const void *data, size_t bytes)
{
    writer_put(f->w, data, bytes);
    XXH64_update(f->hash, data, bytes);
    f->at += bytes;
}

static bool put_section(Context *cx, Filling *f, const Checkpoint *c, const WeightsSection *s, int threads)
{
    static const unsigned char zeros[64];
    assert(s->offset >= f->at && s->offset - f->at < sizeof zeros);
    fill(f, zeros, (size_t)(s->offset - f->at));
    Plan whole = *s->plan; /* nobody will ask for rows */
    whole.weights = arena_array(cx->arena, (size_t)whole.n_weights + 1, sizeof *whole.weights);
    if (whole.n_weights)
        memcpy(whole.weights, s->plan->weights, (size_t)whole.n_weights * sizeof *whole.weights);
    for (int i = 0; i < whole.n_weights; i++)
        whole.weights[i].rows_by = 0;
    Packed packed;
    if (!pack_weights(cx, c, &whole, threads, &packed))
        return false;
    for (uint64_t at = 0; at < whole.weight_bytes; at += PIECE)
        fill(f, packed.data + at, (size_t)(whole.weight_bytes - at < PIECE ? whole.weight_bytes - at : PIECE));
    pack_free(&packed);
    return true;
}

static void put_header(Writer *w, const WeightsFile *f, uint64_t content)
{
    unsigned char header[WEIGHTS_HEADER] = {0};
    const uint32_t version = WEIGHTS_VERSION, order = 0x01020304;
    size_t length = strnlen(f->about, HASH - ABOUT - 1);
    memcpy(header, magic, sizeof magic);
    memcpy(header + 8, &version, sizeof version);
    memcpy(header + 12, &order, sizeof order);
    memcpy(header + 16, &f->layout, sizeof f->layout);
    memcpy(header + 24, &f->bytes, sizeof f->bytes);
    memcpy(header + 32, &content, sizeof content);
    memcpy(header + ABOUT, f->about, length);
    header[ABOUT + length] = '\n';
    uint64_t hash = XXH64(header, HASH, 0);
    memcpy(header + HASH, &hash, sizeof hash);
    writer_put_at(w, header, sizeof header, 0);
}

bool weights_file_write(Context *cx, const char *path, const Checkpoint *c, const WeightsFile *f, int threads, uint64_t *content)
{
    static const unsigned char empty[WEIGHTS_HEADER];
    Writer w;
    Filling filling = {.w = &w, .hash = XXH64_createState(), .at = WEIGHTS_HEADER};
    if (!filling.hash) {
        diag_file_error(cx->diags, "E1003", f->shown, NULL, "not enough memory to write the weights");
        return false;
    }
    writer_open(cx, &w, path);
    writer_put(&w, empty, sizeof empty);
    XXH64_reset(filling.hash, 0);
    bool good = true;
    for (int i = 0; i < f->n && good && !w.error; i++)
        good = put_section(cx, &filling, c, &f->sections[i], threads);
    assert(!good || w.error || filling.at == f->bytes);
    *content = XXH64_digest(filling.hash);
    XXH64_freeState(filling.hash);
    put_header(&w, f, *content);
    if (!good) {
        writer_abandon(&w);
        return false;
    }
    int error = writer_finish(&w, false);
    if (error)
        diag_file_error(cx->diags, "E1010", f->shown, NULL, "cannot write the weights: %s", file_reason(cx, error));
    return !error;
}

bool weights_file_is(const char *path)
{
    char begin[sizeof magic];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && file_read(fd, begin, sizeof begin, 0) == 0 && !memcmp(begin, magic, sizeof magic);
    if (fd >= 0)
        close(fd);
    return is;
}

bool file_hash(const char *path, uint64_t *hash, uint64_t *bytes)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    unsigned char *room = malloc(PIECE);
    XXH64_state_t *state = XXH64_createState();
    bool good = fd >= 0 && room && state && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    *bytes = 0;
    if (good)
        XXH64_reset(state, 0);
    for (ssize_t got = 1; good && got > 0; *bytes += (uint64_t)(got > 0 ? got : 0)) {
        got = read(fd, room, PIECE);
        good = got >= 0;
        if (got > 0)
            XXH64_update(state, room, (size_t)got);
    }
    *hash = good ? XXH64_digest(state) : 0;
    XXH64_freeState(state);
    free(room);
    if (fd >= 0)
        close(fd);
    return good;
}
