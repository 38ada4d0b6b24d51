/* The cache of compiled objects: one file an entry, its header and its payload under a hash each.
 *
 * An entry is written under a reserved name in the same folder, synced, and renamed; so readers see all of it or
 * nothing, and two writers do no harm. A reader opens once and believes nothing: owner, permissions, lengths, key
 * and hashes. Whatever is wrong costs a recompile and a warning, never a result. Names that begin with a dot (.tmp-,
 * .bad-) are no entries. */
#include "runtime/jit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>
#include "runtime/file.h"

enum { KEY = 32, FORMAT = 1, HASH = 16, STALE_SECONDS = 3600 };
#define MAX_PAYLOAD ((uint64_t)1 << 30)
#define SUFFIX ".o"
static const char magic[8] = "attar.o";
static const char build[16] = "attar 0.1.0";

typedef struct Header {
    char magic[8];
    uint32_t format, size; /* of the header */
    char build[16];
    char key[KEY];
    uint64_t bytes;                            /* of the payload, which follows */
    unsigned char payload[HASH], header[HASH]; /* XXH3-128: of the payload; of all header bytes before */
} Header;

_Static_assert(sizeof(Header) == 104, "no padding: every byte of the header is checked");

static void hash_of(const void *data, size_t bytes, unsigned char *out)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    memcpy(out, canonical.digest, HASH);
}

static bool is_key(const char *name)
{
    return strspn(name, "0123456789abcdef") == KEY && name[KEY] == 0;
}

static const char *path_of(Context *cx, const char *dir, const char *name, const char *suffix)
{
    return arena_print(cx->arena, "%s/%s%s", dir, name, suffix);
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

/* mkdir -p; new folders are the user's own. */
static bool make_folders(Context *cx, const char *path)
{
    char *partial = arena_copy(cx->arena, path, strlen(path));
    for (char *c = partial + 1; *partial && *c; c++) {
        if (*c != '/')
            continue;
        *c = 0;
        if (mkdir(partial, 0700) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return false;
        *c = '/';
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return false;
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    errno = ENOTDIR;
    return S_ISDIR(st.st_mode);
}

static const char *default_folder(Context *cx)
{
    const char *own = getenv("ATTAR_CACHE_DIR"), *caches = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && *own)
        return own;
    if (caches && *caches == '/')
        return arena_print(cx->arena, "%s/attar", caches); /* relative ones are to be ignored, says XDG */
    if (home && *home)
        return arena_print(cx->arena, "%s/.cache/attar", home);
    return NULL;
}

bool cache_directory(Context *cx, const char *asked, const char **out)
{
    *out = asked ? asked : default_folder(cx);
    if (!*out) {
        diag_file_warning(cx->diags, "W0701", NULL, NULL, "compiled objects are not kept: $HOME is not set");
        return false;
    }
    if (**out && make_folders(cx, *out))
        return true;
    diag_file_warning(cx->diags, "W0701", *out, NULL, "compiled objects are not kept: %s",
                      file_reason(cx, **out ? errno : ENOENT));
    return false;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static const char *check_header(const Header *h, const char *key, uint64_t file_bytes)
{
    unsigned char hash[HASH];
    hash_of(h, offsetof(Header, header), hash);
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return "it is no cache entry";
    if (memcmp(hash, h->header, HASH) != 0)
        return "its header is damaged";
    if (h->format != FORMAT || h->size != sizeof *h || memcmp(h->build, build, sizeof build) != 0)
        return "it was written by another version";
    if (memcmp(h->key, key, KEY) != 0)
        return "it belongs to another key";
    if (h->bytes > MAX_PAYLOAD || h->bytes != file_bytes - sizeof *h)
        return "its length is wrong";
    return NULL;
}

/* NULL and the payload (malloc'd), or what is wrong with the entry. */
static const char *read_entry(Context *cx, int fd, const char *key, void **object, size_t *bytes)
{
    struct stat st;
    Header h;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return "it is not a regular file";
    if (st.st_uid != geteuid())
        return "it belongs to another user";
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return "others may write to it";
    if (st.st_size < (off_t)sizeof h)
        return "it is cut off";
    int error = file_read(fd, &h, sizeof h, 0);
    if (error)
        return file_reason(cx, error);
    const char *why = check_header(&h, key, (uint64_t)st.st_size);
    if (why)
        return why;
    unsigned char *payload = malloc(h.bytes + 1);
    if (!payload)
        return "there is not enough memory";
    error = file_read(fd, payload, h.bytes, sizeof h);
    unsigned char hash[HASH];
    hash_of(payload, error ? 0 : h.bytes, hash);
    if (error || memcmp(hash, h.payload, HASH) != 0) {
        free(payload);
        return error ? file_reason(cx, error) : "its contents are damaged";
    }
    *object = payload;
    *bytes = h.bytes;
    return NULL;
}

/* Looking at an entry is no use of it; O_NOATIME is for owners only. */
static int open_entry(const char *path)
{
    int how = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY;
    int fd = open(path, how | O_NOATIME);
    return fd < 0 && errno == EPERM ? open(path, how) : fd;
}

/* Out of the way, not deleted: somebody may want to look at it, and it may not even be ours. */
static void put_aside(Context *cx, const char *dir, const char *key, const char *path, const char *why)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const char *aside = arena_print(cx->arena, "%s/.bad-%s-%lld%09ld", dir, key, (long long)t.tv_sec, t.tv_nsec);
    bool moved = rename(path, aside) == 0;
    diag_file_warning(cx->diags, "W0702", path, NULL, "the cache entry is not used: %s%s", why,
                      moved ? "; it was put aside" : "");
}

bool cache_read(Context *cx, const char *dir, const char *key, void **object, size_t *bytes)
{
    if (!is_key(key))
        return false;
    const char *path = path_of(cx, dir, key, SUFFIX), *why;
    int fd = open_entry(path);
    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd < 0) {
        why = errno == ELOOP ? "it is a symbolic link" : file_reason(cx, errno);
        put_aside(cx, dir, key, path, why);
        return false;
    }
    why = read_entry(cx, fd, key, object, bytes);
    if (!why)
        futimens(fd, (struct timespec[]){{0, UTIME_NOW}, {0, UTIME_OMIT}}); /* most mounts keep no exact access time */
    close(fd);
    if (why)
        put_aside(cx, dir, key, path, why);
    return !why;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

void cache_write(Context *cx, const char *dir, const char *key, const void *object, size_t bytes)
{
    if (!is_key(key) || bytes > MAX_PAYLOAD)
        return;
    Header h = {.format = FORMAT, .size = sizeof h, .bytes = bytes};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.build, build, sizeof build);
    memcpy(h.key, key, KEY);
    hash_of(object, bytes, h.payload);
    hash_of(&h, offsetof(Header, header), h.header);
    Writer w;
    writer_open_private(cx, &w, path_of(cx, dir, key, SUFFIX));
    writer_put(&w, &h, sizeof h);
    writer_put(&w, object, bytes);
    int error = writer_finish(&w, true);
    if (error)
        diag_file_warning(cx->diags, "W0703", dir, NULL, "the compiled object is not kept: %s", file_reason(cx, error));
}

const char *cache_key(Context *cx, const char *text)
{
    unsigned char hash[HASH];
    Text key = text_new(cx->arena);
    hash_of(text, strlen(text), hash);
    for (int i = 0; i < HASH; i++)
        text_add(&key, "%02x", hash[i]);
    return key.data;
}

/* ---- looking and tidying ----------------------------------------------------------------------------------------- */

typedef struct Found {
    CacheEntry entry;
    struct timespec used;
} Found;

static const char *key_in_name(Context *cx, const char *name)
{
    size_t n = strlen(name);
    if (n != KEY + strlen(SUFFIX) || strcmp(name + KEY, SUFFIX) != 0)
        return NULL;
    const char *key = arena_copy(cx->arena, name, KEY);
    return is_key(key) ? key : NULL;
}

static bool is_sound(Context *cx, const char *path, const char *key)
{
    void *object;
    size_t bytes;
    int fd = open_entry(path);
    if (fd < 0)
        return false;
    bool sound = read_entry(cx, fd, key, &object, &bytes) == NULL;
    close(fd);
    if (sound)
        free(object);
    return sound;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const Found *)a)->entry.key, ((const Found *)b)->entry.key);
}

static int compare_use(const void *a, const void *b)
{
    const struct timespec *x = &((const Found *)a)->used, *y = &((const Found *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

static Found *find_entries(Context *cx, const char *dir, int *count)
{
    Found *found = NULL;
    size_t n = 0, capacity = 0;
    DIR *folder = opendir(dir);
    for (struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        struct stat st;
        const char *key = key_in_name(cx, e->d_name);
        if (!key || lstat(path_of(cx, dir, key, SUFFIX), &st) != 0)
            continue;
        found = arena_room(cx->arena, found, n, &capacity, sizeof *found);
        found[n++] = (Found){{key, (size_t)st.st_size, (int64_t)st.st_mtim.tv_sec, false}, st.st_atim};
    }
    if (folder)
        closedir(folder);
    *count = (int)n;
    return found;
}

CacheEntry *cache_list(Context *cx, const char *dir, int *count)
{
    Found *found = find_entries(cx, dir, count);
    if (*count > 1)
        qsort(found, (size_t)*count, sizeof *found, compare_keys);
    CacheEntry *entries = arena_array(cx->arena, (size_t)*count + 1, sizeof *entries);
    for (int i = 0; i < *count; i++) {
        entries[i] = found[i].entry;
        entries[i].sound = is_sound(cx, path_of(cx, dir, entries[i].key, SUFFIX), entries[i].key);
    }
    return entries;
}

/* What was put aside, and temporary files whose writer is long gone. */
static void sweep(Context *cx, const char *dir)
{
    DIR *folder = opendir(dir);
    time_t now = time(NULL);
    for (struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        bool bad = !strncmp(e->d_name, ".bad-", 5), temporary = !strncmp(e->d_name, ".tmp-", 5);
        struct stat st;
        const char *path = path_of(cx, dir, e->d_name, "");
        if ((!bad && !temporary) || lstat(path, &st) != 0)
            continue;
        if (temporary && st.st_mtim.tv_sec > now - STALE_SECONDS && st.st_mtim.tv_sec <= now)
            continue;
        if (unlink(path) != 0)
            rmdir(path);
    }
    if (folder)
        closedir(folder);
}

int cache_prune(Context *cx, const char *dir, uint64_t keep_bytes)
{
    int count, removed = 0;
    sweep(cx, dir);
    Found *found = find_entries(cx, dir, &count);
    if (count > 1)
        qsort(found, (size_t)count, sizeof *found, compare_use);
    uint64_t total = 0;
    for (int i = 0; i < count; i++)
        total += found[i].entry.bytes;
    for (int i = 0; i < count && total > keep_bytes; i++) {
        const char *path = path_of(cx, dir, found[i].entry.key, SUFFIX);
        if (unlink(path) != 0 && rmdir(path) != 0)
            continue;
        total -= found[i].entry.bytes;
        removed++;
    }
    return removed;
}
