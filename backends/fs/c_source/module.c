/* The module `backends.fs._native`: its functions, and what they share (see native.h).
 *
 * backends/fs/native.py says which Python code replaces each function where no compiler was
 * available. Both give the same results.
 */
#include "native.h"

#include <limits.h>

/* openat2(2) answers EAGAIN while renames disturb it; so many tries are enough. */
#define TRIES_MAX 128

void unlock(struct unlocked *unlocked)
{
    unlocked->raised = 0;
    unlocked->state = PyEval_SaveThread();
}

int lock(struct unlocked *unlocked)
{
    PyEval_RestoreThread(unlocked->state);
    return unlocked->raised ? -1 : 0;
}

int repeat(struct unlocked *unlocked)
{
    if (errno != EINTR || unlocked->raised)
        return 0;
    PyEval_RestoreThread(unlocked->state);
    unlocked->raised = PyErr_CheckSignals() != 0;
    unlocked->state = PyEval_SaveThread();
    errno = EINTR;
    return !unlocked->raised;
}

long read_entries(int fd, char *buffer, size_t size, struct unlocked *unlocked)
{
    long filled;
    CALL(unlocked, filled, syscall(SYS_getdents64, fd, buffer, size));
    return filled;
}

int stat_open(int fd, struct stat *status, struct unlocked *unlocked)
{
    int result;
    CALL(unlocked, result, fstat(fd, status));
    return result;
}

static int is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

const struct entry *next_entry(const char *buffer, long filled, long *at)
{
    while (filled - *at >= ENTRY_BYTES_MIN) {
        const struct entry *entry = (const struct entry *)(buffer + *at);
        if (entry->length < ENTRY_BYTES_MIN || entry->length > filled - *at)
            return NULL;
        *at += entry->length;
        if (!is_dots(entry->name))
            return entry;
    }
    return NULL;
}

PyObject *no_entries(long filled, int error)
{
    if (filled == 0)
        Py_RETURN_NONE;
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* An integer within bounds; -1 with an exception of this type where it is outside. */
static int bounded(PyObject *value, unsigned long long most, PyObject *error,
                   unsigned long long *number)
{
    PyObject *index = PyNumber_Index(value);
    if (index == NULL)
        return -1;
    *number = PyLong_AsUnsignedLongLong(index);
    Py_DECREF(index);
    int outside = PyErr_Occurred() != NULL;
    if (outside && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    if (!outside && *number <= most)
        return 0;
    PyErr_Clear();
    if (error == PyExc_OSError) {
        errno = EBADF;
        PyErr_SetFromErrno(error);
    } else {
        PyErr_Format(error, "%R is not between 0 and %llu", value, most);
    }
    return -1;
}

int to_descriptor(PyObject *value, void *descriptor)
{
    unsigned long long number;
    if (bounded(value, INT_MAX, PyExc_OSError, &number) != 0)
        return 0;
    *(int *)descriptor = (int)number;
    return 1;
}

int to_uint32(PyObject *value, void *number)
{
    unsigned long long wide;
    if (bounded(value, UINT32_MAX, PyExc_ValueError, &wide) != 0)
        return 0;
    *(uint32_t *)number = (uint32_t)wide;
    return 1;
}

int to_uint64(PyObject *value, void *number)
{
    unsigned long long wide;
    if (bounded(value, UINT64_MAX, PyExc_ValueError, &wide) != 0)
        return 0;
    *(uint64_t *)number = wide;
    return 1;
}

int to_count(PyObject *value, void *number)
{
    unsigned long long wide;
    if (bounded(value, LONG_MAX, PyExc_ValueError, &wide) != 0)
        return 0;
    *(long *)number = (long)wide;
    return 1;
}

int append(PyObject *list, PyObject *item)
{
    if (item == NULL)
        return -1;
    int result = PyList_Append(list, item);
    Py_DECREF(item);
    return result;
}

int append_name(PyObject *list, const char *name)
{
    return append(list, PyUnicode_DecodeFSDefault(name));
}

PyObject *nanoseconds(struct timespec time)
{
    long long total;
    if (!__builtin_mul_overflow((long long)time.tv_sec, 1000000000LL, &total) &&
        !__builtin_add_overflow(total, (long long)time.tv_nsec, &total))
        return PyLong_FromLongLong(total);
    PyObject *seconds = PyLong_FromLongLong(time.tv_sec), *unit = PyLong_FromLong(1000000000L);
    PyObject *rest = PyLong_FromLong(time.tv_nsec);
    PyObject *product = seconds && unit ? PyNumber_Multiply(seconds, unit) : NULL;
    PyObject *result = product && rest ? PyNumber_Add(product, rest) : NULL;
    Py_XDECREF(seconds);
    Py_XDECREF(unit);
    Py_XDECREF(rest);
    Py_XDECREF(product);
    return result;
}

int open_below(int root, const char *path, struct open_how *how, struct unlocked *unlocked)
{
    int fd, tries = 0;
    do {
        CALL(unlocked, fd, (int)syscall(SYS_openat2, root, path, how, sizeof *how));
    } while (fd < 0 && errno == EAGAIN && ++tries < TRIES_MAX);
    return fd;
}

PyObject *native_openat2(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int root;
    PyObject *path;
    uint64_t flags, mode, resolve;
    if (!PyArg_ParseTuple(arguments, "O&O&O&O&O&", to_descriptor, &root, PyUnicode_FSConverter,
                          &path, to_uint64, &flags, to_uint64, &mode, to_uint64, &resolve))
        return NULL;
    struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
    struct unlocked unlocked;
    unlock(&unlocked);
    int fd = open_below(root, PyBytes_AS_STRING(path), &how, &unlocked);
    int raised = lock(&unlocked);
    Py_DECREF(path);
    if (raised)
        return NULL;
    return fd >= 0 ? PyLong_FromLong(fd) : PyErr_SetFromErrno(PyExc_OSError);
}

static PyMethodDef methods[] = {
    {"openat2", native_openat2, METH_VARARGS,
     "openat2(root, path, flags, mode, resolve)\n--\n\nOpen a path below a directory."},
    {"open_file", native_open_file, METH_VARARGS,
     "open_file(root, path, flags, resolve, most)\n--\n\nOpen a path below a directory: "
     "(descriptor, mode, inode, size, mtime_ns, None); or -1 and the content of a regular file that "
     "has bytes, but at most `most`."},
    {"open_marked", native_open_marked, METH_VARARGS,
     "open_marked(top, mark, path, flags, resolve)\n--\n\nOpen a path below a directory: "
     "(descriptor, device, inode, ctime_ns), the last three of the file `mark` in that directory; "
     "of the directory itself, with 0 as the last, where there is none."},
    {"names", native_names, METH_VARARGS,
     "names(fd)\n--\n\nReturn all names of a directory that was not read yet, without its dots."},
    {"stats", native_stats, METH_VARARGS,
     "stats(fd, names)\n--\n\nReturn mode, size, and times of change and modification in seconds "
     "for each name (bytes), or None when it is gone."},
    {"details", native_details, METH_VARARGS,
     "details(fd, make=None, longest=0)\n--\n\nStat the next entries of a directory: ([(name, "
     "mode, size, mtime_ns, inode, links, device)], [(name, errno)] of those that failed), or "
     "None at its end. With `make`, a file of one name, shorter than `longest`, is make(name, "
     "mode, size, mtime_ns, inode, b'', True)."},
    {"read", native_read, METH_VARARGS,
     "read(directory, names, sizes)\n--\n\nReturn [(content, size, mtime_ns, inode)] of files of "
     "known sizes; raise OSError for the first that cannot be read."},
    {"scan", native_scan, METH_VARARGS,
     "scan(fd, want_names, now=0)\n--\n\nStat the next entries of a directory: (bytes, blocks, "
     "files, links, others, directories, inodes, failed, histogram, names, ages), or None at its "
     "end."},
    {"copy", native_copy, METH_VARARGS,
     "copy(source, target, uid, gid, noatime, xattrs, flags, stop)\n--\n\nCopy the plain files "
     "among the next entries until the first byte of `stop` is set: (files, bytes, [(name, type)] "
     "of the others), or None at the end."},
    {"unlink", native_unlink, METH_VARARGS,
     "unlink(fd, many, below, group_bits, stop)\n--\n\nUnlink the next entries that are no "
     "directories, and drop directories of the same allocation group while fewer than `below` "
     "entries were tried in such, until the first byte of `stop` is set: (files, dropped, [(name, "
     "inode)] of directories left, [names] that resist or have no known type), or None at the "
     "end."},
    {"zip_files", native_zip_files, METH_VARARGS,
     "zip_files(top, groups, checksum)\n--\n\nRead small files and make entries of a zip of them: "
     "(their bytes, their checksums in 32 bits each), or None where one is not as planned, or "
     "needs another form."},
    {"zip_records", native_zip_records, METH_VARARGS,
     "zip_records(prefix, entries, checksums, offset, largest)\n--\n\nMake the records of "
     "entries that zip_files made, the first of them at `offset`: (their bytes, the offset behind "
     "the last entry), or None where one needs another form."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Loops over directories and small files, without the interpreter's lock.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
