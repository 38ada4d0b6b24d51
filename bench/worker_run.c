/* Running a loaded case: one call, or for `decode` the prompt (not timed) and then token by token, always the likeliest. */
#include <string.h>

#include "bench/worker.h"

static bool call(Job *j, const attar_tensor *inputs, char *message)
{
    attar_error error = {0};
    if (attar_run(j->session, inputs, j->n_given, &j->outputs, &error) == ATTAR_OK)
        return true;
    worker_fail(message, "%s", error.message ? error.message : "out of memory");
    attar_error_clear(&error);
    return false;
}

static int32_t likeliest(const float *row, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        best = row[i] > row[best] ? i : best;
    return (int32_t)best;
}

static bool decodes(const Job *j)
{
    return !strcmp(j->at.workload, "decode");
}

bool job_before(Job *j, int input, char *message)
{
    if (attar_has_cache(j->model))
        attar_session_reset(j->session);
    if (!decodes(j))
        return true;
    if (!call(j, j->given[input], message))
        return false;
    const attar_tensor *logits = &j->outputs[0];
    j->vocabulary = logits->dims[logits->rank - 1];
    if (!j->rows)
        j->rows = arena_array(&j->arena, (size_t)(j->vocabulary * j->at.steps), sizeof *j->rows);
    j->next = likeliest(logits->data, j->vocabulary);
    return true;
}

bool job_run(Job *j, int input, char *message)
{
    if (!decodes(j))
        return call(j, j->given[input], message);
    int32_t token = j->next;
    attar_tensor ids = {.name = "ids", .dtype = "i32", .rank = 2, .dims = {1, 1}, .data = &token};
    for (int64_t i = 0; i < j->at.steps; i++) {
        if (!call(j, &ids, message))
            return false;
        float *row = j->rows + i * j->vocabulary;
        memcpy(row, j->outputs[0].data, (size_t)j->vocabulary * sizeof *row);
        token = likeliest(row, j->vocabulary);
    }
    return true;
}

bool job_save(Job *j, const char *path, char *message)
{
    const attar_tensor *y = &j->outputs[0];
    HostTensor out = {.name = y->name, .dtype = DT_F32, .rank = y->rank, .data = y->data};
    memcpy(out.dims, y->dims, sizeof out.dims);
    if (decodes(j))
        out = (HostTensor){.name = y->name, .dtype = DT_F32, .rank = 2, .dims = {j->at.steps, j->vocabulary}, .data = j->rows};
    if (!strcmp(j->at.workload, "prompt"))
        out = (HostTensor){.name = y->name, .dtype = DT_F32, .rank = 2, .dims = {1, y->dims[y->rank - 1]}, .data = y->data};
    if (!strcmp(j->at.workload, "attention")) { /* as the inputs: heads before positions */
        int64_t H = j->at.H, L = j->at.L, D = j->at.D;
        float *turned = arena_array(&j->arena, (size_t)(H * L * D), sizeof *turned);
        for (int64_t s = 0; s < L; s++)
            for (int64_t h = 0; h < H; h++)
                memcpy(turned + (h * L + s) * D, (const float *)y->data + (s * H + h) * D, (size_t)D * sizeof *turned);
        out = (HostTensor){.name = y->name, .dtype = DT_F32, .rank = 4, .dims = {1, H, L, D}, .data = turned};
    }
    return npy_save(&j->cx, path, &out) ? true : worker_fail(message, "%s cannot be written", path);
}
