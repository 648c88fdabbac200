/* Names of a directory, and stats of many names, each as one stride without the interpreter's lock.
 *
 * Under Python's own calls every readdir(3) and every stat(2) gives the lock away and takes it
 * back, and the threads of a door queue for it a thousand times per listing.
 * backends/fs/directory.py has the twin in Python.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* First size of the buffer of names; it doubles as it fills. */
#define BUFFER_BYTES (64 * 1024)

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static int is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

/* Read the whole directory into a buffer that the caller frees; returns its length or -errno. */
static long read_all(int fd, char **buffer)
{
    size_t size = BUFFER_BYTES, used = 0;
    char *room = malloc(size);
    if (room == NULL)
        return -ENOMEM;
    for (;;) {
        long got = syscall(SYS_getdents64, fd, room + used, size - used);
        if (got == 0 || (got < 0 && errno != EINVAL)) {
            long answer = got == 0 ? (long)used : -errno;
            *buffer = room;
            return answer;
        }
        if (got > 0)
            used += got;
        if (got < 0 || size - used < BUFFER_BYTES / 2) { /* EINVAL: too small for one name */
            char *more = realloc(room, size * 2);
            if (more == NULL) {
                *buffer = room;
                return -ENOMEM;
            }
            room = more;
            size *= 2;
        }
    }
}

PyDoc_STRVAR(names_doc, "names(fd)\n--\n\nAll names of the directory that the descriptor is at "
                        "the beginning of, but for its dots.");

static PyObject *names(PyObject *Py_UNUSED(module), PyObject *argument)
{
    long fd = PyLong_AsLong(argument);
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    char *buffer = NULL;
    long used;
    Py_BEGIN_ALLOW_THREADS
    used = read_all((int)fd, &buffer);
    Py_END_ALLOW_THREADS
    PyObject *found = used < 0 ? NULL : PyList_New(0);
    if (used < 0) {
        errno = (int)-used;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    for (long at = 0; found != NULL && at < used;) {
        struct entry *entry = (struct entry *)(buffer + at);
        at += entry->length;
        if (is_dots(entry->name))
            continue;
        PyObject *name = PyUnicode_DecodeFSDefault(entry->name);
        if (name == NULL || PyList_Append(found, name) < 0)
            Py_CLEAR(found);
        Py_XDECREF(name);
    }
    free(buffer);
    return found;
}

struct told {
    const char *name;
    int error;
    struct stat status;
};

static double seconds(struct timespec moment)
{
    return (double)moment.tv_sec + 1e-9 * (double)moment.tv_nsec;
}

static PyObject *tell(const struct told *one)
{
    if (one->error == ENOENT)
        Py_RETURN_NONE;
    if (one->error) {
        errno = one->error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(ILdd)", (unsigned)one->status.st_mode, (long)one->status.st_size,
                         seconds(one->status.st_ctim), seconds(one->status.st_mtim));
}

static PyObject *tell_all(const struct told *all, Py_ssize_t count)
{
    PyObject *answer = PyList_New(count);
    for (Py_ssize_t at = 0; answer != NULL && at < count; at++) {
        PyObject *one = tell(&all[at]);
        if (one == NULL)
            Py_CLEAR(answer);
        else
            PyList_SET_ITEM(answer, at, one);
    }
    return answer;
}

PyDoc_STRVAR(stats_doc, "stats(fd, names)\n--\n\nFor each name (bytes) its mode, size, and moments "
                        "of change and modification in seconds, or None when it is gone.");

static PyObject *stats(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd;
    PyObject *list;
    if (!PyArg_ParseTuple(arguments, "iO!", &fd, &PyList_Type, &list))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(list);
    PyObject *kept = PyList_AsTuple(list); /* the names stay where they are meanwhile */
    struct told *all = PyMem_RawCalloc(count ? count : 1, sizeof *all);
    if (kept == NULL || all == NULL) {
        Py_XDECREF(kept);
        PyMem_RawFree(all);
        return PyErr_NoMemory();
    }
    PyObject *answer = NULL;
    for (Py_ssize_t at = 0; at < count; at++) {
        all[at].name = PyBytes_AsString(PyTuple_GET_ITEM(kept, at));
        if (all[at].name == NULL)
            goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t at = 0; at < count; at++)
        if (fstatat(fd, all[at].name, &all[at].status, AT_SYMLINK_NOFOLLOW) < 0)
            all[at].error = errno;
    Py_END_ALLOW_THREADS
    answer = tell_all(all, count);
done:
    Py_DECREF(kept);
    PyMem_RawFree(all);
    return answer;
}

static PyMethodDef methods[] = {
    {"names", names, METH_O, names_doc},
    {"stats", stats, METH_VARARGS, stats_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_directory", "Directories, read in one stride.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__directory(void)
{
    return PyModule_Create(&module);
}
