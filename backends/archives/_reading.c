/* Read many small files of one directory in one call, without the interpreter's lock.
 *
 * The twin in Python is in backends/archives/reading.py; it is used where no compiler was at hand.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
    const char *name;
    char *data;
    Py_ssize_t size;
    struct stat found;
};

/* Fill `data` and `found` of one file; 0, or the error number. A short file has another size. */
static int read_file(int directory, struct file *file)
{
    int fd = openat(directory, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno;
    Py_ssize_t done = 0;
    int error = 0;
    while (done < file->size) {
        ssize_t got = read(fd, file->data + done, (size_t)(file->size - done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            error = got < 0 ? errno : 0;
            break;
        }
        done += got;
    }
    if (!error && fstat(fd, &file->found) < 0)
        error = errno;
    if (done < file->size)
        file->found.st_size = done;
    close(fd);
    return error;
}

static PyObject *answer(struct file *files, PyObject *contents, Py_ssize_t count)
{
    PyObject *result = PyList_New(count);
    for (Py_ssize_t number = 0; result != NULL && number < count; number++) {
        const struct stat *found = &files[number].found;
        long long mtime = (long long)found->st_mtim.tv_sec * 1000000000 + found->st_mtim.tv_nsec;
        PyObject *one = Py_BuildValue("(OLLK)", PyList_GET_ITEM(contents, number),
                                      (long long)found->st_size, mtime,
                                      (unsigned long long)found->st_ino);
        if (one == NULL)
            Py_CLEAR(result);
        else
            PyList_SET_ITEM(result, number, one);
    }
    return result;
}

/* Take names and sizes, and make room for the contents; 0 when all is well. */
static int take(struct file *files, PyObject *names, PyObject *sizes, PyObject *contents)
{
    for (Py_ssize_t number = 0; number < PyList_GET_SIZE(contents); number++) {
        struct file *file = &files[number];
        file->name = PyBytes_AsString(PyList_GET_ITEM(names, number));
        file->size = PyLong_AsSsize_t(PyList_GET_ITEM(sizes, number));
        if (file->name == NULL || file->size < 0)
            return -1;
        PyObject *data = PyBytes_FromStringAndSize(NULL, file->size);
        if (data == NULL)
            return -1;
        PyList_SET_ITEM(contents, number, data);
        file->data = PyBytes_AS_STRING(data);
    }
    return 0;
}

PyDoc_STRVAR(read_doc, "read(directory, names, sizes)\n--\n\n[(content, size, mtime_ns, inode)] of "
                       "files whose sizes are known; OSError for the first that cannot be read.");

static PyObject *read_files(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int directory;
    PyObject *names, *sizes;
    if (!PyArg_ParseTuple(arguments, "iO!O!", &directory, &PyList_Type, &names, &PyList_Type,
                          &sizes))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(names);
    if (PyList_GET_SIZE(sizes) != count) {
        PyErr_SetString(PyExc_ValueError, "as many sizes as names");
        return NULL;
    }
    struct file *files = PyMem_Calloc((size_t)count + 1, sizeof *files);
    PyObject *contents = files ? PyList_New(count) : PyErr_NoMemory();
    PyObject *result = NULL;
    int error = 0;
    if (contents != NULL && take(files, names, sizes, contents) == 0) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t number = 0; !error && number < count; number++)
            error = read_file(directory, &files[number]);
        Py_END_ALLOW_THREADS
        errno = error;
        result = error ? PyErr_SetFromErrno(PyExc_OSError) : answer(files, contents, count);
    }
    Py_XDECREF(contents);
    PyMem_Free(files);
    return result;
}

static PyMethodDef methods[] = {
    {"read", read_files, METH_VARARGS, read_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_reading", "Many small files in one call.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__reading(void)
{
    return PyModule_Create(&module);
}
