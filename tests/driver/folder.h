/* A folder of a test's own: made before it, removed with what stands in it. */
#ifndef ATTAR_TESTS_DRIVER_FOLDER_H
#define ATTAR_TESTS_DRIVER_FOLDER_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

/* The last four of its results are good at a time. */
static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void make_folder(void)
{
    strcpy(folder, "/tmp/attar-driver-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    unlink(in_folder("m.attar"));
    unlink(in_folder("w.safetensors"));
    unlink(in_folder("c.safetensors"));
    rmdir(folder);
}

static void write_model(const char *text)
{
    FILE *f = fopen(in_folder("m.attar"), "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

#endif
