/* Open a regular file below a directory, and read a small one, in one call; and open a directory
 * below the marked top of a volume.
 *
 * backends/fs/paths.py and backends/mounted/posix.py have the same in Python.
 */
#include "native.h"

struct opened {
    int fd;
    /* Whether all bytes were read; the file is closed then. */
    int is_whole;
    struct stat status;
};

/* Read all of a file of at most `most` bytes, and close it; 0, or -1 with errno. */
static int read_whole(struct opened *file, char *buffer, long most, struct unlocked *unlocked)
{
    long size = (long)file->status.st_size, filled = 0;
    if (!S_ISREG(file->status.st_mode) || size == 0 || file->status.st_size > most)
        return 0;
    while (filled < size) {
        ssize_t count;
        CALL(unlocked, count, pread(file->fd, buffer + filled, (size_t)(size - filled), filled));
        if (count < 0)
            return -1;
        if (count == 0) /* it became shorter */
            return 0;
        filled += count;
    }
    close(file->fd);
    file->fd = -1;
    file->is_whole = 1;
    return 0;
}

/* Open, stat and read; 0, or the error number. */
static int open_and_read(int root, const char *path, struct open_how *how, struct opened *file,
                         char *buffer, long most, struct unlocked *unlocked)
{
    file->fd = open_below(root, path, how, unlocked);
    if (file->fd < 0)
        return errno;
    if (stat_open(file->fd, &file->status, unlocked) == 0 &&
        read_whole(file, buffer, most, unlocked) == 0)
        return 0;
    int error = errno;
    close(file->fd);
    file->fd = -1;
    return error;
}

/* (descriptor or -1, mode, inode, size, mtime_ns, content or None); takes the buffer. */
static PyObject *described(struct opened *file, PyObject *buffer)
{
    if (file->is_whole && _PyBytes_Resize(&buffer, (Py_ssize_t)file->status.st_size) != 0)
        return NULL;
    if (!file->is_whole) {
        Py_DECREF(buffer);
        buffer = Py_NewRef(Py_None);
    }
    PyObject *result =
        Py_BuildValue("(iIKLNN)", file->fd, (unsigned int)file->status.st_mode,
                      (unsigned long long)file->status.st_ino, (long long)file->status.st_size,
                      nanoseconds(file->status.st_mtim), buffer);
    if (result == NULL && file->fd >= 0)
        close(file->fd);
    return result;
}

PyObject *native_open_file(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int root;
    PyObject *path;
    uint64_t flags, resolve;
    long most;
    if (!PyArg_ParseTuple(arguments, "O&O&O&O&O&", to_descriptor, &root, PyUnicode_FSConverter,
                          &path, to_uint64, &flags, to_uint64, &resolve, to_count, &most))
        return NULL;
    PyObject *buffer = PyBytes_FromStringAndSize(NULL, most);
    if (buffer == NULL) {
        Py_DECREF(path);
        return NULL;
    }
    struct open_how how = {.flags = flags, .resolve = resolve};
    struct opened file = {.fd = -1};
    struct unlocked unlocked;
    unlock(&unlocked);
    int error = open_and_read(root, PyBytes_AS_STRING(path), &how, &file,
                              PyBytes_AS_STRING(buffer), most, &unlocked);
    int raised = lock(&unlocked);
    Py_DECREF(path);
    if (!raised && !error)
        return described(&file, buffer);
    Py_DECREF(buffer);
    if (file.fd >= 0)
        close(file.fd);
    errno = error;
    return raised ? NULL : PyErr_SetFromErrno(PyExc_OSError);
}

/* Where a directory was opened: its descriptor, and the file that marks the top above it. */
struct below_top {
    int fd;
    struct stat mark;
};

/* Stat the mark, or the top itself where there is none (changed at 0); then open; 0, or errno. */
static int open_marked(int top, const char *mark, const char *path, struct open_how *how,
                       struct below_top *found, struct unlocked *unlocked)
{
    int result;
    CALL(unlocked, result, fstatat(top, mark, &found->mark, AT_SYMLINK_NOFOLLOW));
    if (result < 0 && errno == ENOENT) {
        result = stat_open(top, &found->mark, unlocked);
        found->mark.st_ctim = (struct timespec){0};
    }
    if (result == 0)
        found->fd = open_below(top, path, how, unlocked);
    return found->fd < 0 ? errno : 0;
}

PyObject *native_open_marked(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *top_path = NULL, *mark = NULL, *path = NULL, *result = NULL;
    uint64_t flags, resolve;
    if (!PyArg_ParseTuple(arguments, "O&O&O&O&O&", PyUnicode_FSConverter, &top_path,
                          PyUnicode_FSConverter, &mark, PyUnicode_FSConverter, &path, to_uint64,
                          &flags, to_uint64, &resolve))
        return NULL;
    struct open_how how = {.flags = flags, .resolve = resolve};
    struct below_top found = {.fd = -1};
    struct unlocked unlocked;
    int top;
    unlock(&unlocked);
    CALL(&unlocked, top, open(PyBytes_AS_STRING(top_path), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int error = top < 0 ? errno
                        : open_marked(top, PyBytes_AS_STRING(mark), PyBytes_AS_STRING(path), &how,
                                      &found, &unlocked);
    if (top >= 0)
        close(top);
    int raised = lock(&unlocked);
    errno = error;
    if (error && !raised)
        PyErr_SetFromErrno(PyExc_OSError);
    else if (!raised)
        result = Py_BuildValue("(iKKN)", found.fd, (unsigned long long)found.mark.st_dev,
                               (unsigned long long)found.mark.st_ino,
                               nanoseconds(found.mark.st_ctim));
    if (result == NULL && found.fd >= 0)
        close(found.fd);
    Py_DECREF(top_path);
    Py_DECREF(mark);
    Py_DECREF(path);
    return result;
}
