/* Copy the plain files of a directory; backends/tree/plain.py leaves all to the full rules instead.
 *
 * A plain file needs nothing but its content, mode and times. Everything else is named in the
 * result, for the Python code that has the full rules.
 */
#include "native.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

/* Files up to this size are read and written in one call each (content.SMALL_BYTES). */
#define SMALL_BYTES (128 * 1024)
/* Bytes of a block in st_blocks. */
#define BLOCK_BYTES 512
/* attributes.FLAGS_KEPT: sync, immutable, append-only, no dump, no atime, dirsync. */
#define FLAGS_KEPT (0x08 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000)

struct copied {
    const struct entry *entry;
    /* Bytes, or -1 when the entry is left. */
    long long size;
};

struct buffer {
    char names[BUFFER_BYTES] __attribute__((aligned(16)));
    char content[SMALL_BYTES + 1];
    struct copied copied[ENTRIES_MAX];
};

struct rule {
    int source, target, noatime, xattrs, flags;
    uint32_t uid, gid;
    /* The first byte of a buffer that other threads and processes set. */
    const char *stop;
};

static int is_stopped(const char *stop)
{
    return __atomic_load_n(stop, __ATOMIC_RELAXED);
}

static int is_plain(int fd, const struct stat *status, const struct rule *rule)
{
    if (!S_ISREG(status->st_mode) || status->st_nlink > 1)
        return 0;
    if (status->st_size < 0 || status->st_size > SMALL_BYTES)
        return 0;
    if (status->st_mtim.tv_sec < 0 || status->st_mtim.tv_sec > INT32_MAX)
        return 0; /* not every file system can have its time */
    if (status->st_uid != rule->uid || status->st_gid != rule->gid || status->st_mode & 07000)
        return 0;
    if (status->st_blocks < (status->st_size + BLOCK_BYTES - 1) / BLOCK_BYTES)
        return 0; /* it has holes */
    if (rule->xattrs && flistxattr(fd, NULL, 0) != 0)
        return 0;
    int flags = 0;
    if (rule->flags && (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0 || flags & FLAGS_KEPT))
        return 0;
    return 1;
}

static int write_all(int fd, const char *content, long long size, struct unlocked *unlocked)
{
    for (long long at = 0; at < size;) {
        ssize_t count;
        CALL(unlocked, count, write(fd, content + at, (size_t)(size - at)));
        if (count <= 0)
            return -1;
        at += count;
    }
    return 0;
}

static int is_same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Whether a new file has the owner and the mode that its source has. */
static int is_owned(int out, const struct stat *status, const struct rule *rule,
                    struct unlocked *unlocked)
{
    struct stat now;
    return stat_open(out, &now, unlocked) == 0 && now.st_uid == rule->uid &&
           now.st_gid == rule->gid && (now.st_mode & 07777) == (status->st_mode & 07777);
}

/* Fill an open new file and set its times; 0 when it is complete. */
static int finish(int fd, int out, const struct stat *status, const char *content,
                  struct unlocked *unlocked)
{
    struct stat now;
    if (write_all(out, content, status->st_size, unlocked) != 0)
        return -1;
    if (stat_open(fd, &now, unlocked) != 0 || !is_same(&now, status))
        return -1;
    struct timespec times[2] = {status->st_atim, status->st_mtim};
    int result;
    CALL(unlocked, result, futimens(out, times));
    return result;
}

/* Copy the content of an open plain file into a new file; 0 when it is complete. */
static int copy_content(int fd, const char *name, const struct stat *status,
                        const struct rule *rule, int check, const char *content,
                        struct unlocked *unlocked)
{
    int out, flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    CALL(unlocked, out, openat(rule->target, name, flags, status->st_mode & 0777));
    if (out < 0)
        return -1;
    int good = (!check || is_owned(out, status, rule, unlocked)) &&
               finish(fd, out, status, content, unlocked) == 0;
    good = close(out) == 0 && good;
    if (!good)
        unlinkat(rule->target, name, 0);
    return good ? 0 : -1;
}

/* Copy one plain file; its bytes, or -1 when the full rules must copy it. */
static long long copy_file(const char *name, const struct rule *rule, int check, char *content,
                           struct unlocked *unlocked)
{
    struct stat status;
    int fd, flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    CALL(unlocked, fd, openat(rule->source, name, flags | (rule->noatime ? O_NOATIME : 0)));
    if (fd < 0)
        return -1;
    int good = stat_open(fd, &status, unlocked) == 0 && is_plain(fd, &status, rule);
    if (good) {
        ssize_t count;
        CALL(unlocked, count, read(fd, content, (size_t)status.st_size + 1));
        good = count == status.st_size &&
               copy_content(fd, name, &status, rule, check, content, unlocked) == 0;
    }
    close(fd);
    return good ? (long long)status.st_size : -1;
}

/* Copy the plain files among the entries of a full buffer; how many entries there are. */
static long copy_files(struct buffer *buffer, long filled, const struct rule *rule,
                       struct unlocked *unlocked)
{
    long count = 0, at = 0;
    int check = 1; /* the owner of the first new file is that of all in its directory */
    const struct entry *entry;
    while ((entry = next_entry(buffer->names, filled, &at)) != NULL) {
        struct copied *copied = &buffer->copied[count++];
        copied->entry = entry;
        copied->size = -1;
        if (entry->type == DT_REG && !unlocked->raised && !is_stopped(rule->stop))
            copied->size = copy_file(entry->name, rule, check, buffer->content, unlocked);
        check = check && copied->size < 0;
    }
    return count;
}

static PyObject *summed(const struct buffer *buffer, long count)
{
    PyObject *others = PyList_New(0);
    int good = others != NULL;
    long long files = 0, total = 0;
    for (long number = 0; good && number < count; number++) {
        const struct copied *copied = &buffer->copied[number];
        const struct entry *entry = copied->entry;
        if (copied->size >= 0) {
            files++;
            total += copied->size;
        } else {
            good = append(others, Py_BuildValue("(Ni)", PyUnicode_DecodeFSDefault(entry->name),
                                                (int)entry->type << 12)) == 0;
        }
    }
    if (!good) {
        Py_XDECREF(others);
        return NULL;
    }
    return Py_BuildValue("(LLN)", files, total, others);
}

static PyObject *copy_directory(const struct rule *rule)
{
    struct buffer *buffer = PyMem_RawMalloc(sizeof *buffer);
    if (buffer == NULL)
        return PyErr_NoMemory();
    struct unlocked unlocked;
    unlock(&unlocked);
    long filled = read_entries(rule->source, buffer->names, BUFFER_BYTES, &unlocked);
    int error = errno;
    long count = copy_files(buffer, filled, rule, &unlocked);
    PyObject *result = NULL;
    if (lock(&unlocked) == 0)
        result = filled > 0 ? summed(buffer, count) : no_entries(filled, error);
    PyMem_RawFree(buffer);
    return result;
}

PyObject *native_copy(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct rule rule;
    Py_buffer stop;
    if (!PyArg_ParseTuple(arguments, "O&O&O&O&pppw*", to_descriptor, &rule.source, to_descriptor,
                          &rule.target, to_uint32, &rule.uid, to_uint32, &rule.gid, &rule.noatime,
                          &rule.xattrs, &rule.flags, &stop))
        return NULL;
    rule.stop = stop.buf;
    PyObject *result = NULL;
    if (stop.len > 0)
        result = copy_directory(&rule);
    else
        PyErr_SetString(PyExc_ValueError, "stop is empty");
    PyBuffer_Release(&stop);
    return result;
}
