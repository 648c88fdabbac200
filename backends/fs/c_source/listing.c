/* Names of a directory, stats of many names, and both, in one call without the interpreter's lock.
 *
 * With Python's own calls, every readdir(3) and every stat(2) releases the lock and takes it again.
 * The threads of a door then wait for it a thousand times per listing. backends/fs/directory.py has
 * the same in Python.
 */
#include "native.h"

#include <string.h>

/* First size of the buffer of names, in bytes; it doubles as it fills. */
#define NAMES_BYTES (64 * 1024)
/* Free bytes of the buffer for each read; far more than one name takes. */
#define FREE_BYTES_MIN (NAMES_BYTES / 2)

/* Read the whole directory into a buffer that the caller frees; its length, or -1 with errno. */
static long read_all(int fd, char **buffer, struct unlocked *unlocked)
{
    size_t size = NAMES_BYTES;
    long used = 0;
    *buffer = PyMem_RawMalloc(size);
    while (*buffer != NULL) {
        long count = read_entries(fd, *buffer + used, size - (size_t)used, unlocked);
        if (count <= 0)
            return count < 0 ? -1 : used;
        used += count;
        if (size - (size_t)used >= FREE_BYTES_MIN)
            continue;
        char *larger = size <= PY_SSIZE_T_MAX / 2 ? PyMem_RawRealloc(*buffer, size * 2) : NULL;
        if (larger == NULL)
            break;
        *buffer = larger;
        size *= 2;
    }
    errno = ENOMEM;
    return -1;
}

PyObject *native_names(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd;
    if (!PyArg_ParseTuple(arguments, "O&", to_descriptor, &fd))
        return NULL;
    char *buffer;
    struct unlocked unlocked;
    unlock(&unlocked);
    long used = read_all(fd, &buffer, &unlocked);
    int raised = lock(&unlocked);
    PyObject *names = NULL;
    if (used >= 0)
        names = PyList_New(0);
    else if (!raised)
        PyErr_SetFromErrno(PyExc_OSError);
    const struct entry *entry;
    for (long at = 0; names != NULL && (entry = next_entry(buffer, used, &at)) != NULL;)
        if (append_name(names, entry->name) != 0)
            Py_CLEAR(names);
    PyMem_RawFree(buffer);
    return names;
}

struct named {
    const char *name;
    int error;
    struct stat status;
};

static double seconds(struct timespec time)
{
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static PyObject *status_of(const struct named *one)
{
    if (one->error == ENOENT)
        Py_RETURN_NONE;
    if (one->error) {
        errno = one->error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(ILdd)", (unsigned)one->status.st_mode, (long long)one->status.st_size,
                         seconds(one->status.st_ctim), seconds(one->status.st_mtim));
}

static PyObject *statuses(const struct named *all, Py_ssize_t count)
{
    PyObject *result = PyList_New(count);
    for (Py_ssize_t at = 0; result != NULL && at < count; at++) {
        PyObject *one = status_of(&all[at]);
        if (one == NULL)
            Py_CLEAR(result);
        else
            PyList_SET_ITEM(result, at, one);
    }
    return result;
}

static void stat_all(int fd, struct named *all, Py_ssize_t count, struct unlocked *unlocked)
{
    for (Py_ssize_t at = 0; at < count && !unlocked->raised; at++) {
        int result;
        CALL(unlocked, result, fstatat(fd, all[at].name, &all[at].status, AT_SYMLINK_NOFOLLOW));
        all[at].error = result < 0 ? errno : 0;
    }
}

PyObject *native_stats(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd;
    PyObject *list;
    if (!PyArg_ParseTuple(arguments, "O&O", to_descriptor, &fd, &list))
        return NULL;
    PyObject *names = PySequence_Tuple(list); /* holds the names while the lock is released */
    if (names == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    struct named *all = PyMem_Calloc((size_t)count + 1, sizeof *all);
    int good = all != NULL;
    if (!good)
        PyErr_NoMemory();
    for (Py_ssize_t at = 0; good && at < count; at++)
        good = PyBytes_AsStringAndSize(PyTuple_GET_ITEM(names, at), (char **)&all[at].name, NULL) ==
               0;
    PyObject *result = NULL;
    if (good) {
        struct unlocked unlocked;
        unlock(&unlocked);
        stat_all(fd, all, count, &unlocked);
        result = lock(&unlocked) == 0 ? statuses(all, count) : NULL;
    }
    Py_DECREF(names);
    PyMem_Free(all);
    return result;
}

struct listed {
    const struct entry *entry;
    int error;
    struct stat status;
};

struct listing {
    char names[BUFFER_BYTES] __attribute__((aligned(16)));
    struct listed listed[ENTRIES_MAX];
};

/* Stat the entries of a full buffer; how many. */
static long list_entries(int fd, struct listing *listing, long filled, struct unlocked *unlocked)
{
    long count = 0, at = 0;
    const struct entry *entry;
    while (!unlocked->raised && (entry = next_entry(listing->names, filled, &at)) != NULL) {
        struct listed *one = &listing->listed[count++];
        int result, flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
        CALL(unlocked, result, fstatat(fd, entry->name, &one->status, flags));
        one->entry = entry;
        one->error = result < 0 ? errno : 0;
    }
    return count;
}

/* (name, mode, size, mtime_ns, inode, names of the file, device) */
static PyObject *details_of(const struct listed *one)
{
    const struct stat *status = &one->status;
    return Py_BuildValue("(yILNKKK)", one->entry->name, (unsigned)status->st_mode,
                         (long long)status->st_size, nanoseconds(status->st_mtim),
                         (unsigned long long)status->st_ino, (unsigned long long)status->st_nlink,
                         (unsigned long long)status->st_dev);
}

/* What `make` makes of plain files, or details of all entries. */
struct maker {
    PyObject *make, *no_target;
    Py_ssize_t longest;
};

/* Whether `make` takes it: a file of one name, with a short name and a time of 64 bits. */
static int is_plain(const struct listed *one, const struct maker *maker)
{
    const struct stat *status = &one->status;
    long long time;
    return maker->make != Py_None && S_ISREG(status->st_mode) && status->st_nlink == 1 &&
           (Py_ssize_t)strlen(one->entry->name) < maker->longest &&
           !__builtin_mul_overflow((long long)status->st_mtim.tv_sec, 1000000000LL, &time) &&
           !__builtin_add_overflow(time, (long long)status->st_mtim.tv_nsec, &time);
}

static PyObject *made(const struct listed *one, const struct maker *maker)
{
    const struct stat *status = &one->status;
    PyObject *parts[] = {PyBytes_FromString(one->entry->name),
                         PyLong_FromUnsignedLong(status->st_mode),
                         PyLong_FromLongLong(status->st_size),
                         nanoseconds(status->st_mtim),
                         PyLong_FromUnsignedLongLong(status->st_ino),
                         Py_NewRef(maker->no_target),
                         Py_NewRef(Py_True)};
    const size_t count = sizeof parts / sizeof *parts;
    int good = 1;
    for (size_t at = 0; at < count; at++)
        good = good && parts[at] != NULL;
    PyObject *result = good ? PyObject_Vectorcall(maker->make, parts, count, NULL) : NULL;
    for (size_t at = 0; at < count; at++)
        Py_XDECREF(parts[at]);
    return result;
}

static PyObject *found_one(const struct listed *one, const struct maker *maker)
{
    return is_plain(one, maker) ? made(one, maker) : details_of(one);
}

static PyObject *all_details(const struct listing *listing, long count, const struct maker *maker)
{
    PyObject *found = PyList_New(0), *failed = PyList_New(0);
    int good = found != NULL && failed != NULL;
    for (long at = 0; good && at < count; at++) {
        const struct listed *one = &listing->listed[at];
        if (one->error == 0)
            good = append(found, found_one(one, maker)) == 0;
        else if (one->error != ENOENT)
            good = append(failed, Py_BuildValue("(yi)", one->entry->name, one->error)) == 0;
    }
    if (good)
        return Py_BuildValue("(NN)", found, failed);
    Py_XDECREF(found);
    Py_XDECREF(failed);
    return NULL;
}

PyObject *native_details(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd;
    struct maker maker = {.make = Py_None};
    if (!PyArg_ParseTuple(arguments, "O&|On", to_descriptor, &fd, &maker.make, &maker.longest))
        return NULL;
    struct listing *listing = PyMem_RawMalloc(sizeof *listing);
    if (listing == NULL)
        return PyErr_NoMemory();
    struct unlocked unlocked;
    unlock(&unlocked);
    long filled = read_entries(fd, listing->names, BUFFER_BYTES, &unlocked);
    int error = errno;
    long count = list_entries(fd, listing, filled, &unlocked);
    PyObject *result = NULL;
    if (lock(&unlocked) == 0 && filled <= 0)
        result = no_entries(filled, error);
    else if (!unlocked.raised && (maker.no_target = PyBytes_FromString("")) != NULL)
        result = all_details(listing, count, &maker);
    Py_XDECREF(maker.no_target);
    PyMem_RawFree(listing);
    return result;
}
