/* Emitted C as a library in this process: clang, a shared object in the build tree, dlopen. For tests only. */
#ifndef ATTAR_TESTS_NATIVE_H
#define ATTAR_TESTS_NATIVE_H

#include <dlfcn.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "codegen/codegen.h"

extern char **environ;

/* Runs `arguments`; the exit status, or -1. */
static inline int native_run(const char *const *arguments)
{
    pid_t child;
    int status;
    if (posix_spawnp(&child, arguments[0], NULL, NULL, (char *const *)(uintptr_t)arguments, environ) ||
        waitpid(child, &status, 0) < 0)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The text compiled for `target` with every warning an error, and loaded; NULL if clang refuses. `extra`: more flags,
 * NULL-terminated. */
static inline void *native_load(const char *text, const char *name, const Target *target, const char *const *extra)
{
    char source[512], object[512];
    const char *arguments[64] = {"clang-19", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
                                 source,     "-o",      object};
    int n = 9;
    snprintf(source, sizeof source, "%s/%s-%s.%d.c", BUILD_DIR, name, target->name, (int)getpid());
    snprintf(object, sizeof object, "%s/%s-%s.%d.so", BUILD_DIR, name, target->name, (int)getpid());
    for (int i = 0; target->flags[i]; i++)
        arguments[n++] = target->flags[i];
    for (int i = 0; extra && extra[i]; i++)
        arguments[n++] = extra[i];
    FILE *f = fopen(source, "w");
    if (!f || fputs(text, f) < 0 || fclose(f))
        return NULL;
    void *library = native_run(arguments) == 0 ? dlopen(object, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library)
        unlink(source); /* kept for reading if it does not compile */
    unlink(object);
    return library;
}

#endif
