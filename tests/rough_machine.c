/* Fault injection for LD_PRELOAD: below one folder, call number N of a kind fails, or writes are slow.

   Settings and counters are in one page mapped from a file, so that they outlive the process. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN, WRITE, FSYNC, RENAME, MKDIR, KINDS };

struct page {
    int counts[KINDS]; /* calls below the root so far */
    int kind, number, error; /* call `number` of this kind fails with errno `error`; 0: none */
    int slow; /* microseconds that every `chunk` bytes take; 0: full speed */
    int chunk;
    int inside; /* 1 + the kind of the running call */
    char root[1024];
    char path[1024]; /* of that call, or of the one that failed */
};

static struct page *page;
static char watched[1024]; /* 1 for a descriptor below the root */
static char names[1024][256];

/* Start in this process. */
void rough_machine(const char *file) {
    int fd = open(file, O_RDWR);
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) abort();
}

static int ours(const char *path) {
    if (!page || !path) return 0;
    size_t length = strlen(page->root);
    return length && !strncmp(path, page->root, length);
}

static int fails(int kind, const char *path) {
    int count = ++page->counts[kind];
    strncpy(page->path, path, sizeof page->path - 1);
    if (!page->error || page->kind != kind || page->number != count) return 0;
    errno = page->error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int opened(const char *path, int flags, int fd) {
    if (fd >= 0 && fd < 1024) {
        watched[fd] = ours(path) && (flags & O_ACCMODE) != O_RDONLY;
        if (ours(path)) strncpy(names[fd], path, sizeof names[fd] - 1);
    }
    return fd;
}

#define OPENING(name)                                                        \
    int name(const char *path, int flags, ...) {                             \
        va_list rest;                                                        \
        va_start(rest, flags);                                               \
        int mode = va_arg(rest, int);                                        \
        va_end(rest);                                                        \
        if (ours(path) && fails(OPEN, path)) return -1;                      \
        return opened(path, flags, REAL(name)(path, flags, mode));           \
    }
OPENING(open)
OPENING(open64)

int close(int fd) {
    if (fd >= 0 && fd < 1024) watched[fd] = 0;
    return REAL(close)(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!page || fd < 0 || fd >= 1024 || !watched[fd]) return REAL(write)(fd, bytes, count);
    if (fails(WRITE, names[fd])) return -1;
    if (!page->slow) return REAL(write)(fd, bytes, count);
    page->inside = 1 + WRITE;
    size_t done = 0;
    while (done < count) {
        size_t part = count - done < (size_t)page->chunk ? count - done : (size_t)page->chunk;
        ssize_t written = REAL(write)(fd, (const char *)bytes + done, part);
        if (written < 0) break;
        done += written;
        usleep(page->slow);
    }
    page->inside = 0;
    return done ? (ssize_t)done : -1;
}

int fsync(int fd) {
    if (!page || fd < 0 || fd >= 1024) return REAL(fsync)(fd);
    char link[64], path[1024] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd); /* folders are opened to be read, and synced */
    if (readlink(link, path, sizeof path - 1) < 0 || !ours(path)) return REAL(fsync)(fd);
    if (fails(FSYNC, path)) return -1;
    page->inside = 1 + FSYNC;
    int result = REAL(fsync)(fd);
    page->inside = 0;
    return result;
}

int rename(const char *from, const char *to) {
    if (!ours(to)) return REAL(rename)(from, to);
    if (fails(RENAME, to)) return -1;
    page->inside = 1 + RENAME;
    int result = REAL(rename)(from, to);
    page->inside = 0;
    return result;
}

int mkdir(const char *path, mode_t mode) {
    if (ours(path) && fails(MKDIR, path)) return -1;
    return REAL(mkdir)(path, mode);
}
