/* From start to first output through the public interface, phase by phase.
 *
 *     first_output MODEL WEIGHTS [NAME=VALUE ...]
 *
 * Inputs are i32 or bool [1, S], all ones; S=128 unless given. Prints milliseconds; `read` is the time to read the
 * weights file once more, as a measure of what is spent on the disk or the page cache alone. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/attar.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static double read_file(const char *folder)
{
    char path[4096];
    struct stat info;
    bool directory = stat(folder, &info) == 0 && S_ISDIR(info.st_mode);
    snprintf(path, sizeof path, "%s%s", folder, directory ? "/model.safetensors" : "");
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return 0;
    size_t size = 1 << 20;
    char *buffer = malloc(size);
    double start = now();
    while (buffer && read(fd, buffer, size) > 0)
        ;
    double end = now();
    free(buffer);
    close(fd);
    return end - start;
}

static int fail(attar_status status, attar_error *error)
{
    fputs(error->message ? error->message : "out of memory\n", stderr);
    attar_error_clear(error);
    return (int)status;
}

enum { MAX_INPUTS = 8 };

static attar_status run_once(attar_session *s, const attar_model *m, int64_t length, attar_error *error)
{
    attar_tensor inputs[MAX_INPUTS];
    int count = attar_input_count(m) < MAX_INPUTS ? attar_input_count(m) : MAX_INPUTS;
    int32_t *ones = calloc((size_t)length, sizeof *ones);
    for (int64_t i = 0; ones && i < length; i++)
        ones[i] = 1;
    bool *kept = malloc((size_t)length);
    if (kept)
        memset(kept, 1, (size_t)length);
    for (int i = 0; i < count; i++) {
        bool mask = !strcmp(attar_input_name(m, i), "keep");
        inputs[i] = (attar_tensor){.name = attar_input_name(m, i),
                                   .dtype = mask ? "bool" : "i32",
                                   .rank = 2,
                                   .dims = {1, length},
                                   .data = mask ? (void *)kept : (void *)ones};
    }
    const attar_tensor *outputs;
    attar_status status = ones && kept ? attar_run(s, inputs, count, &outputs, error) : ATTAR_ENVIRONMENT;
    free(ones);
    free(kept);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: first_output MODEL WEIGHTS [S=128] [threads=2]\n", stderr);
        return ATTAR_USAGE;
    }
    int64_t length = 128;
    attar_options o = {.model = argv[1], .weights = argv[2], .threads = 2, .allow_extra = true};
    for (int i = 3; i < argc; i++)
        if (!strncmp(argv[i], "S=", 2))
            length = strtoll(argv[i] + 2, NULL, 10);
        else if (!strncmp(argv[i], "threads=", 8))
            o.threads = (int)strtol(argv[i] + 8, NULL, 10);
    attar_error error = {0};
    attar_model *m;
    attar_session *s;
    double start = now();
    attar_status status = attar_compile(&o, &m, &error);
    if (status)
        return fail(status, &error);
    double compiled = now();
    status = attar_session_new(m, attar_has_cache(m) ? 1 : 0, o.threads, &s, &error);
    if (status)
        return fail(status, &error);
    double opened = now();
    status = run_once(s, m, length, &error);
    double ran = now();
    if (status)
        return fail(status, &error);
    printf("compile and pack %.1f ms, session %.1f ms, first run %.1f ms; together %.1f ms; read %.1f ms\n",
           compiled - start, opened - compiled, ran - opened, ran - start, read_file(argv[2]));
    attar_session_free(s);
    attar_model_free(m);
    return 0;
}
