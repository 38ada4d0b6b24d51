/* A child process: posix_spawn with an argument vector, never a shell.
 *
 * Its input is a socket, because send() can be told not to raise SIGPIPE; its output and messages are pipes. One
 * poll loop serves all three, so no order of reads and writes can lock up. It gets a process group of its own: a
 * wrapper script dies with its children. */
#include "runtime/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { READ_STEP = 64 << 10, MESSAGES = 64 << 10, LONGEST_NAP = 2000000 };
#define MAX_OUTPUT ((size_t)1 << 30)

typedef struct Streams {
    int in[2], out[2], err[2];
} Streams; /* [0] is ours, [1] the child's; -1: closed */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(Streams *s)
{
    for (int i = 0; i < 2; i++) {
        close_one(&s->in[i]);
        close_one(&s->out[i]);
        close_one(&s->err[i]);
    }
}

static bool open_streams(Streams *s)
{
    *s = (Streams){{-1, -1}, {-1, -1}, {-1, -1}};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->in) == 0 && pipe2(s->out, O_CLOEXEC) == 0 &&
        pipe2(s->err, O_CLOEXEC) == 0) {
        for (int *fd = (int[]){s->in[0], s->out[0], s->err[0], -1}; *fd >= 0; fd++)
            fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) | O_NONBLOCK);
        return true;
    }
    int error = errno;
    close_all(s);
    errno = error;
    return false;
}

/* Signals are as in a fresh process: nothing blocked, nothing ignored that a compiler would not expect. If a
 * descriptor of ours is 0, 1 or 2 (the host closed its own), dup2 in this order could overwrite it: those are moved
 * up first. */
static int spawn(char *const argv[], Streams *s, pid_t *pid)
{
    int *ends[] = {&s->in[1], &s->out[1], &s->err[1]};
    for (int i = 0; i < 3; i++) {
        if (*ends[i] > 2)
            continue;
        int moved = fcntl(*ends[i], F_DUPFD_CLOEXEC, 3);
        if (moved < 0)
            return errno;
        close(*ends[i]);
        *ends[i] = moved;
    }
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&files, *ends[i], i);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    int error = posix_spawn(pid, argv[0], &files, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return error;
}

/* ---- the streams ------------------------------------------------------------------------------------------------- */

/* Reads what is there; `keep` bounds what is kept. False at the end of the stream. */
static bool pull(Child *c, int fd, Bytes *to, size_t keep)
{
    unsigned char piece[READ_STEP];
    ssize_t got = read(fd, piece, sizeof piece);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    if (got == 0)
        return false;
    size_t take = (size_t)got < keep - to->size ? (size_t)got : keep - to->size;
    if (to->size + take > to->capacity) {
        size_t capacity = (to->size + take) * 2;
        unsigned char *grown = realloc(to->data, capacity);
        if (!grown) {
            c->out_of_memory = true;
            return false;
        }
        to->data = grown;
        to->capacity = capacity;
    }
    memcpy(to->data + to->size, piece, take);
    to->size += take;
    return true;
}

/* False when there is nothing more to send, or nobody who reads it (the child will say why). */
static bool push(int fd, const char **input, size_t *length)
{
    ssize_t sent = *length ? send(fd, *input, *length, MSG_NOSIGNAL) : 0;
    if (sent < 0)
        return errno == EINTR || errno == EAGAIN;
    *input += sent;
    *length -= (size_t)sent;
    return *length > 0;
}

static void talk(Child *c, Streams *s, const char *input, size_t length, double limit)
{
    while (s->out[0] >= 0 || s->err[0] >= 0) {
        struct pollfd p[] = {{s->in[0], POLLOUT, 0}, {s->out[0], POLLIN, 0}, {s->err[0], POLLIN, 0}};
        double left = limit - now();
        if (left <= 0) {
            c->timed_out = true;
            return;
        }
        int ready = poll(p, 3, left < 1000 ? (int)(left * 1000) + 1 : 1000000);
        if (ready < 0 && errno != EINTR) {
            c->error = errno;
            return;
        }
        if (ready <= 0)
            continue;
        if (p[0].revents && !push(s->in[0], &input, &length))
            close_one(&s->in[0]);
        if (p[1].revents && !pull(c, s->out[0], &c->out, MAX_OUTPUT))
            close_one(&s->out[0]);
        if (p[2].revents && !pull(c, s->err[0], &c->err, MESSAGES))
            close_one(&s->err[0]);
        if (c->out_of_memory)
            return;
    }
}

/* A child may close its streams and still linger; one that is past the limit is killed with its group. */
static void reap(Child *c, pid_t pid, double limit)
{
    long nap = 20000;
    bool killed = c->timed_out || c->out_of_memory || c->error;
    if (killed)
        kill(-pid, SIGKILL);
    for (;;) {
        pid_t got = waitpid(pid, &c->status, killed ? 0 : WNOHANG);
        if (got == pid)
            return;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) { /* the host ignores SIGCHLD: the status is lost, the output decides */
            c->status = 0;
            return;
        }
        if (now() > limit) {
            c->timed_out = killed = true;
            kill(-pid, SIGKILL);
            continue;
        }
        nanosleep(&(struct timespec){0, nap}, NULL);
        if (nap < LONGEST_NAP)
            nap *= 2;
    }
}

void child_run(char *const argv[], const char *input, size_t length, double seconds, Child *out)
{
    *out = (Child){0};
    Streams s;
    if (!open_streams(&s)) {
        out->error = errno;
        return;
    }
    double limit = now() + seconds;
    pid_t pid;
    out->error = spawn(argv, &s, &pid);
    if (out->error == 0) {
        close_one(&s.in[1]);
        close_one(&s.out[1]);
        close_one(&s.err[1]);
        talk(out, &s, input, length, limit);
        close_one(&s.in[0]);
        close_one(&s.out[0]);
        reap(out, pid, limit);
    }
    close_all(&s);
}

void child_free(Child *c)
{
    free(c->out.data);
    free(c->err.data);
    *c = (Child){0};
}
