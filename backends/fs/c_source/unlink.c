/* Unlink the entries of a directory; backends/tree/plain.py has the same in Python.
 *
 * Small directories below it are removed in the same call where they are of the same allocation
 * group; backends/tree/allocation_groups.py says why.
 */
#include "native.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <stdlib.h>

/* A large directory is unlinked in the order of its inodes, this many bytes of names at a time. In
 * the order of the directory (hashes, on ext4) each entry would touch another inode block. */
#define MANY_BYTES (4 * 1024 * 1024)

/* A directory below is cleared in the same call when its names fit into one buffer. This many
 * levels are entered at most; each level holds a descriptor. */
#define LEVELS_MAX 32
/* A read of fewer bytes is taken for the whole directory: every file system gives half a page while
 * it has more. Where that is wrong, rmdir(2) fails, and the directory is left to the caller. */
#define WHOLE_BYTES 2048
/* An inode number has 64 bits; a larger shift is undefined in C. */
#define SHIFT_MAX 63

struct unlinked {
    const struct entry *entry;
    int is_gone;
};

struct large_buffer {
    char names[MANY_BYTES] __attribute__((aligned(16)));
    struct unlinked order[MANY_BYTES / ENTRY_BYTES_MIN];
};

struct buffer {
    char names[BUFFER_BYTES] __attribute__((aligned(16)));
    struct unlinked order[ENTRIES_MAX];
};

/* What a call did so far, and how many entries below it may still try. It enters directories of its
 * own allocation group only: the group is an inode number shifted by `group_bits`. */
struct progress {
    /* The first byte of a buffer that other threads and processes set. */
    const char *stop;
    long files, directories, left;
    uint32_t group_bits;
    uint64_t group;
    struct unlocked unlocked;
};

static int is_stopped(const struct progress *progress)
{
    return progress->unlocked.raised || __atomic_load_n(progress->stop, __ATOMIC_RELAXED);
}

static int by_inode(const void *a, const void *b)
{
    uint64_t left = ((const struct unlinked *)a)->entry->inode;
    uint64_t right = ((const struct unlinked *)b)->entry->inode;
    return (left > right) - (left < right);
}

/* Read entries until `limit` bytes are nearly full; the bytes read, or -1. */
static long read_many(int fd, char *names, long limit, struct unlocked *unlocked)
{
    long filled = 0;
    while (limit - filled >= BUFFER_BYTES) {
        long more = read_entries(fd, names + filled, (size_t)(limit - filled), unlocked);
        if (more < 0 && filled == 0)
            return -1;
        if (more <= 0)
            break;
        filled += more;
    }
    return filled;
}

/* Put entries into the order of their inodes; how many there are. */
static long in_order(const char *names, long filled, struct unlinked *order)
{
    long count = 0, at = 0;
    const struct entry *entry;
    while ((entry = next_entry(names, filled, &at)) != NULL)
        order[count++] = (struct unlinked){.entry = entry};
    qsort(order, (size_t)count, sizeof order[0], by_inode);
    return count;
}

static int unlink_entry(int fd, const char *name, int flags, struct progress *progress)
{
    int result;
    CALL(&progress->unlocked, result, unlinkat(fd, name, flags));
    return result == 0;
}

/* Unlink what is known to be no directory; how many are gone. */
static long unlink_all(int fd, struct unlinked *order, long count, struct progress *progress)
{
    long gone = 0;
    for (struct unlinked *one = order; one < order + count; one++) {
        unsigned char type = one->entry->type;
        one->is_gone = type != DT_DIR && type != DT_UNKNOWN && !is_stopped(progress) &&
                       unlink_entry(fd, one->entry->name, 0, progress);
        gone += one->is_gone;
    }
    progress->files += gone;
    return gone;
}

static long drop_all(int fd, struct unlinked *order, long count, struct progress *progress,
                     int level);

/* Remove everything from a directory that is small; whether nothing is known to be left. */
static int clear(int fd, struct buffer *buffer, struct progress *progress, int level)
{
    struct unlocked *unlocked = &progress->unlocked;
    long filled = read_entries(fd, buffer->names, BUFFER_BYTES, unlocked);
    if (filled < 0 || filled > BUFFER_BYTES / 2)
        return 0;
    while (filled > 0) {
        long count = in_order(buffer->names, filled, buffer->order);
        progress->left -= count;
        long gone = unlink_all(fd, buffer->order, count, progress);
        gone += drop_all(fd, buffer->order, count, progress, level);
        if (gone < count || is_stopped(progress))
            return 0;
        int is_whole = filled < WHOLE_BYTES;
        filled = is_whole ? 0 : read_entries(fd, buffer->names, BUFFER_BYTES, unlocked);
    }
    return filled == 0;
}

/* Drop a directory with all that is below it; whether it is gone. Enters no link and no mount. */
static int drop(int parent, const char *name, struct progress *progress, int level)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    };
    int fd;
    CALL(&progress->unlocked, fd, (int)syscall(SYS_openat2, parent, name, &how, sizeof how));
    if (fd < 0)
        return 0;
    struct buffer *buffer = PyMem_RawMalloc(sizeof *buffer);
    int is_empty = buffer != NULL && clear(fd, buffer, progress, level);
    PyMem_RawFree(buffer);
    close(fd);
    int gone = is_empty && unlink_entry(parent, name, AT_REMOVEDIR, progress);
    progress->directories += gone;
    return gone;
}

/* Drop directories until `progress->left` entries were tried; how many are gone. */
static long drop_all(int fd, struct unlinked *order, long count, struct progress *progress,
                     int level)
{
    long gone = 0;
    for (struct unlinked *one = order; one < order + count && level < LEVELS_MAX; one++) {
        if (progress->left <= 0 || is_stopped(progress))
            break;
        if (one->entry->type == DT_DIR &&
            one->entry->inode >> progress->group_bits == progress->group)
            gone += one->is_gone = drop(fd, one->entry->name, progress, level + 1);
    }
    return gone;
}

static PyObject *name_and_inode(const struct entry *entry)
{
    return Py_BuildValue("(NK)", PyUnicode_DecodeFSDefault(entry->name),
                         (unsigned long long)entry->inode);
}

static PyObject *summed(const struct unlinked *order, long count, const struct progress *progress)
{
    PyObject *below = PyList_New(0), *others = PyList_New(0);
    int good = below != NULL && others != NULL;
    for (const struct unlinked *one = order; good && one < order + count; one++) {
        if (!one->is_gone && one->entry->type == DT_DIR)
            good = append(below, name_and_inode(one->entry)) == 0;
        else if (!one->is_gone)
            good = append_name(others, one->entry->name) == 0;
    }
    if (!good) {
        Py_XDECREF(below);
        Py_XDECREF(others);
        return NULL;
    }
    return Py_BuildValue("(llNN)", progress->files, progress->directories, below, others);
}

static PyObject *unlink_directory(int fd, long limit, struct progress *progress)
{
    struct large_buffer *buffer = PyMem_RawMalloc(sizeof *buffer);
    if (buffer == NULL)
        return PyErr_NoMemory();
    struct stat own;
    unlock(&progress->unlocked);
    long filled = read_many(fd, buffer->names, limit, &progress->unlocked);
    int error = errno;
    long count = in_order(buffer->names, filled, buffer->order);
    unlink_all(fd, buffer->order, count, progress);
    if (stat_open(fd, &own, &progress->unlocked) == 0) {
        progress->group = (uint64_t)own.st_ino >> progress->group_bits;
        drop_all(fd, buffer->order, count, progress, 0);
    }
    PyObject *result = NULL;
    if (lock(&progress->unlocked) == 0)
        result = filled > 0 ? summed(buffer->order, count, progress) : no_entries(filled, error);
    PyMem_RawFree(buffer);
    return result;
}

PyObject *native_unlink(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, many;
    Py_buffer stop;
    struct progress progress = {0};
    if (!PyArg_ParseTuple(arguments, "O&pO&O&w*", to_descriptor, &fd, &many, to_count,
                          &progress.left, to_uint32, &progress.group_bits, &stop))
        return NULL;
    progress.stop = stop.buf;
    PyObject *result = NULL;
    if (stop.len == 0)
        PyErr_SetString(PyExc_ValueError, "stop is empty");
    else if (progress.group_bits > SHIFT_MAX)
        PyErr_Format(PyExc_ValueError, "group_bits is not between 0 and %d", SHIFT_MAX);
    else
        result = unlink_directory(fd, many ? MANY_BYTES : BUFFER_BYTES, &progress);
    PyBuffer_Release(&stop);
    return result;
}
