/* Writes down what a power loss would take: what each write to a file replaced, until the file is synced.
 *
 * DISK_ROOT is the folder whose files count, DISK_LOG the file of records. A record has a header and, for a write,
 * the bytes that it replaced. A SYNC record says that everything before the position `old_size` of the log is on
 * disk for this file. tests/guarantees/power.py undoes what no SYNC covers. Names of files count as durable at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, FORGET = 3 };

struct record {
    uint64_t kind, inode, offset, length, old_size;
};

static char root[4096];
static size_t root_length;
static int journal = -1;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, off_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);

__attribute__((constructor)) static void load(void)
{
    const char *folder = getenv("DISK_ROOT"), *log = getenv("DISK_LOG");

    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");
    if (!folder || !log || strlen(folder) >= sizeof root)
        return;
    strcpy(root, folder);
    root_length = strlen(root);
    journal = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* Returns whether a descriptor is a regular file below DISK_ROOT, and its state. */
static int counts(int fd, struct stat *state)
{
    char link[64], path[4096];
    ssize_t length;

    if (journal < 0 || fstat(fd, state) || !S_ISREG(state->st_mode))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path);
    return length > (ssize_t)root_length && !memcmp(path, root, root_length) && path[root_length] == '/';
}

static void append(struct record record, const void *bytes)
{
    struct iovec parts[2] = {{&record, sizeof record}, {(void *)bytes, record.length}};
    size_t whole = sizeof record + record.length;

    /* One call, so that records of several processes do not mix. */
    if (writev(journal, parts, bytes ? 2 : 1) != (ssize_t)(bytes ? whole : sizeof record))
        abort();
}

/* Saves the bytes of a range that are about to be replaced. */
static void save(int fd, const struct stat *state, off_t offset, size_t length)
{
    struct record record = {WRITE, state->st_ino, offset, 0, state->st_size};
    void *bytes = NULL;
    char link[64];
    int reader;

    if (offset < state->st_size) {
        record.length = offset + (off_t)length > state->st_size ? (size_t)(state->st_size - offset) : length;
        bytes = malloc(record.length);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        reader = open(link, O_RDONLY | O_CLOEXEC); /* `fd` may be open for writing only */
        if (!bytes || reader < 0 || pread(reader, bytes, record.length, offset) != (ssize_t)record.length)
            abort();
        close(reader);
    }
    append(record, bytes);
    free(bytes);
}

ssize_t write(int fd, const void *data, size_t length)
{
    struct stat state;

    if (counts(fd, &state)) {
        off_t offset = fcntl(fd, F_GETFL) & O_APPEND ? state.st_size : lseek(fd, 0, SEEK_CUR);
        save(fd, &state, offset, length);
    }
    return real_write(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    struct stat state;

    if (counts(fd, &state))
        save(fd, &state, offset, length);
    return real_pwrite(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return pwrite(fd, data, length, offset); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    struct stat state;
    size_t length = 0;

    if (counts(fd, &state)) {
        for (int part = 0; part < count; part++)
            length += parts[part].iov_len;
        save(fd, &state, offset, length);
    }
    return real_pwritev(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

int ftruncate(int fd, off_t size)
{
    struct stat state;

    if (counts(fd, &state))
        save(fd, &state, size, size < state.st_size ? (size_t)(state.st_size - size) : 0);
    return real_ftruncate(fd, size);
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int posix_fallocate(int fd, off_t offset, off_t length)
{
    struct stat state;

    if (counts(fd, &state))
        save(fd, &state, state.st_size, 0);
    return real_fallocate(fd, offset, length);
}

int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }

static int sync_with(int (*real)(int), int fd)
{
    struct stat state, log;
    int is_ours = counts(fd, &state) && !fstat(journal, &log), status = real(fd);

    if (is_ours && status == 0)
        append((struct record){SYNC, state.st_ino, 0, 0, log.st_size}, NULL);
    return status;
}

int fsync(int fd) { return sync_with(real_fsync, fd); }

int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

/* A deleted file's number is given to a new file, which must not get the old one's records. */
static void forget(const char *path)
{
    struct stat state;

    if (journal >= 0 && !lstat(path, &state) && S_ISREG(state.st_mode) && state.st_nlink == 1)
        append((struct record){FORGET, state.st_ino, 0, 0, 0}, NULL);
}

int unlink(const char *path)
{
    int error;

    forget(path);
    error = real_unlink(path);
    return error;
}

int rename(const char *from, const char *to)
{
    forget(to);
    return real_rename(from, to);
}
