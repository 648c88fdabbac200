/* Read many small files of one directory in one call, without the interpreter's lock.
 *
 * backends/archives/reading.py has the same in Python.
 */
#include "native.h"

struct file {
    const char *name;
    /* Bytes that are not filled yet: no other thread sees them before they are. */
    PyObject *content;
    Py_ssize_t size, read;
    struct stat status;
};

/* Read the content of an open file, up to its planned size; -1 with errno. */
static int fill(int fd, struct file *file, struct unlocked *unlocked)
{
    char *content = PyBytes_AS_STRING(file->content);
    while (file->read < file->size) {
        ssize_t count;
        CALL(unlocked, count, read(fd, content + file->read, (size_t)(file->size - file->read)));
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        file->read += count;
    }
    return stat_open(fd, &file->status, unlocked);
}

/* Read one file; 0, or the error number. */
static int read_file(int directory, struct file *file, struct unlocked *unlocked)
{
    int fd;
    CALL(unlocked, fd,
         openat(directory, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd < 0)
        return errno;
    int error = fill(fd, file, unlocked) < 0 ? errno : 0;
    close(fd);
    return error;
}

/* (content, size, mtime_ns, inode); of a short file, the bytes read and their number. */
static PyObject *described(struct file *file)
{
    int is_short = file->read < file->size;
    if (is_short && _PyBytes_Resize(&file->content, file->read) != 0)
        return NULL;
    long long size = is_short ? (long long)file->read : (long long)file->status.st_size;
    return Py_BuildValue("(OLNK)", file->content, size, nanoseconds(file->status.st_mtim),
                         (unsigned long long)file->status.st_ino);
}

static PyObject *all_described(struct file *files, Py_ssize_t count)
{
    PyObject *result = PyList_New(count);
    for (Py_ssize_t number = 0; result != NULL && number < count; number++) {
        PyObject *one = described(&files[number]);
        if (one == NULL)
            Py_CLEAR(result);
        else
            PyList_SET_ITEM(result, number, one);
    }
    return result;
}

/* Take a name and a size, and make bytes for the content; -1 with an exception. */
static int prepare(struct file *file, PyObject *name, PyObject *size)
{
    if (PyBytes_AsStringAndSize(name, (char **)&file->name, NULL) != 0)
        return -1;
    file->size = PyNumber_AsSsize_t(size, PyExc_ValueError);
    if (file->size == -1 && PyErr_Occurred())
        return -1;
    if (file->size < 0) {
        PyErr_SetString(PyExc_ValueError, "a size is negative");
        return -1;
    }
    file->content = PyBytes_FromStringAndSize(NULL, file->size);
    return file->content != NULL ? 0 : -1;
}

static PyObject *read_files(int directory, struct file *files, PyObject *names, PyObject *sizes)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    for (Py_ssize_t at = 0; at < count; at++)
        if (prepare(&files[at], PyTuple_GET_ITEM(names, at), PyTuple_GET_ITEM(sizes, at)) != 0)
            return NULL;
    int error = 0;
    struct unlocked unlocked;
    unlock(&unlocked);
    for (Py_ssize_t number = 0; !error && number < count; number++)
        error = read_file(directory, &files[number], &unlocked);
    if (lock(&unlocked) != 0)
        return NULL;
    errno = error;
    return error ? PyErr_SetFromErrno(PyExc_OSError) : all_described(files, count);
}

PyObject *native_read(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int directory;
    PyObject *names, *sizes;
    if (!PyArg_ParseTuple(arguments, "O&OO", to_descriptor, &directory, &names, &sizes))
        return NULL;
    names = PySequence_Tuple(names); /* both hold their items while the lock is released */
    sizes = names != NULL ? PySequence_Tuple(sizes) : NULL;
    Py_ssize_t count = sizes != NULL ? PyTuple_GET_SIZE(names) : 0;
    PyObject *result = NULL;
    struct file *files = NULL;
    if (sizes != NULL && PyTuple_GET_SIZE(sizes) != count)
        PyErr_SetString(PyExc_ValueError, "names and sizes differ in number");
    else if (sizes != NULL)
        files = PyMem_Calloc((size_t)count + 1, sizeof *files);
    if (files != NULL)
        result = read_files(directory, files, names, sizes);
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
    for (Py_ssize_t number = 0; files != NULL && number < count; number++)
        Py_XDECREF(files[number].content);
    PyMem_Free(files);
    Py_XDECREF(names);
    Py_XDECREF(sizes);
    return result;
}
