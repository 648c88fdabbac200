/* The tree engine's inner loops: list, copy and unlink a buffer's worth of one directory.
 *
 * Each function does the plain case with nothing but system calls, and names everything else for
 * the Python side, which has the full rules. backends/tree/plain.py is the twin of this file:
 * same functions, same results; it is used where no compiler was at hand. A function handles one
 * getdents64(2) buffer per call and answers None at the end of the directory.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Directory bytes read per call: about a thousand names. */
#define BUFFER_BYTES 32768
/* Files up to this size are read and written in one call each (content.SMALL_BYTES). */
#define SMALL_BYTES (128 * 1024)
/* Size classes of the histogram: the bit length of a size. */
#define CLASSES 65
/* attributes.FLAGS_KEPT: sync, immutable, append-only, no dump, no atime, dirsync. */
#define FLAGS_KEPT (0x08 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000)

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

static char names[BUFFER_BYTES] __attribute__((aligned(16)));
static char content[SMALL_BYTES + 1];

static int is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

static long fill(int fd)
{
    return syscall(SYS_getdents64, fd, names, (size_t)BUFFER_BYTES);
}

static int append(PyObject *list, PyObject *item)
{
    if (item == NULL)
        return -1;
    int result = PyList_Append(list, item);
    Py_DECREF(item);
    return result;
}

static int append_name(PyObject *list, const char *name)
{
    return append(list, PyUnicode_DecodeFSDefault(name));
}

/* ---- scan ---------------------------------------------------------------------------------- */

struct sums {
    long long size, blocks, files, links, others;
    long classes[CLASSES];
    PyObject *below, *inodes, *failed, *all;
};

static int bit_length(long long size)
{
    return size ? 64 - __builtin_clzll((unsigned long long)size) : 0;
}

static int scan_one(int fd, const struct entry *entry, struct sums *sums)
{
    struct stat status;
    if (fstatat(fd, entry->name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
        if (errno == ENOENT)
            return 0;
        return append(sums->failed, Py_BuildValue("(Ni)", PyUnicode_DecodeFSDefault(entry->name), errno));
    }
    if (sums->all != NULL && append_name(sums->all, entry->name) != 0)
        return -1;
    if (S_ISREG(status.st_mode)) {
        if (status.st_nlink > 1)
            return append(sums->inodes,
                          Py_BuildValue("(KKLL)", (unsigned long long)status.st_dev,
                                        (unsigned long long)status.st_ino,
                                        (long long)status.st_size, (long long)status.st_blocks));
        sums->files++;
        sums->size += status.st_size;
        sums->classes[bit_length(status.st_size)]++;
    } else if (S_ISDIR(status.st_mode)) {
        if (append_name(sums->below, entry->name) != 0)
            return -1;
    } else if (S_ISLNK(status.st_mode)) {
        sums->links++;
    } else {
        sums->others++;
    }
    sums->blocks += status.st_blocks;
    return 0;
}

static PyObject *histogram(const struct sums *sums)
{
    PyObject *result = PyDict_New();
    for (int number = 0; result != NULL && number < CLASSES; number++) {
        if (sums->classes[number] == 0)
            continue;
        PyObject *key = PyLong_FromLong(number), *value = PyLong_FromLong(sums->classes[number]);
        if (key == NULL || value == NULL || PyDict_SetItem(result, key, value) != 0)
            Py_CLEAR(result);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return result;
}

PyDoc_STRVAR(scan_doc,
             "scan(fd, want_names)\n--\n\nStat the next entries of a directory: (bytes, blocks, "
             "files, links, others, directories, inodes, failed, histogram, names) or None.");

static PyObject *scan(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, want_names;
    if (!PyArg_ParseTuple(arguments, "ip", &fd, &want_names))
        return NULL;
    long filled = fill(fd);
    if (filled < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (filled == 0)
        Py_RETURN_NONE;
    struct sums sums = {0};
    sums.below = PyList_New(0);
    sums.inodes = PyList_New(0);
    sums.failed = PyList_New(0);
    sums.all = want_names ? PyList_New(0) : NULL;
    int good = sums.below && sums.inodes && sums.failed && (sums.all || !want_names);
    for (long at = 0; good && at < filled;) {
        struct entry *entry = (struct entry *)(names + at);
        at += entry->length;
        if (!is_dots(entry->name))
            good = scan_one(fd, entry, &sums) == 0;
    }
    PyObject *classes = good ? histogram(&sums) : NULL;
    if (classes == NULL) {
        Py_XDECREF(sums.below);
        Py_XDECREF(sums.inodes);
        Py_XDECREF(sums.failed);
        Py_XDECREF(sums.all);
        return NULL;
    }
    if (sums.all == NULL)
        sums.all = Py_NewRef(Py_None);
    return Py_BuildValue("(LLLLLNNNNN)", sums.size, sums.blocks, sums.files, sums.links,
                         sums.others, sums.below, sums.inodes, sums.failed, classes, sums.all);
}

/* ---- copy ---------------------------------------------------------------------------------- */

struct rule {
    int source, target, noatime, xattrs, flags;
    unsigned int uid, gid;
};

static int is_plain(int fd, const struct stat *status, const struct rule *rule)
{
    if (!S_ISREG(status->st_mode) || status->st_nlink > 1 || status->st_size > SMALL_BYTES)
        return 0;
    if (status->st_uid != rule->uid || status->st_gid != rule->gid || status->st_mode & 07000)
        return 0;
    if (status->st_blocks * 512 < status->st_size)
        return 0;
    if (rule->xattrs && flistxattr(fd, NULL, 0) != 0)
        return 0;
    int flags = 0;
    if (rule->flags && (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0 || flags & FLAGS_KEPT))
        return 0;
    return 1;
}

static int write_all(int fd, long long size)
{
    for (long long at = 0; at < size;) {
        ssize_t count = write(fd, content + at, (size_t)(size - at));
        if (count < 0 && errno != EINTR)
            return -1;
        at += count > 0 ? count : 0;
    }
    return 0;
}

static int same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Fill and date an open new file; 0 when it is whole. */
static int finish(int fd, int out, const struct stat *status, const struct rule *rule, int check)
{
    struct stat now;
    if (check && (fstat(out, &now) != 0 || now.st_uid != rule->uid || now.st_gid != rule->gid ||
                  (now.st_mode & 07777) != (status->st_mode & 07777)))
        return -1;
    if (write_all(out, status->st_size) != 0)
        return -1;
    if (fstat(fd, &now) != 0 || !same(&now, status))
        return -1;
    struct timespec times[2] = {status->st_atim, status->st_mtim};
    return futimens(out, times);
}

/* Copy one plain file; its bytes, or -1 when it is for the other side to do. */
static long long copy_one(const char *name, const struct rule *rule, int check)
{
    struct stat status;
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = openat(rule->source, name, flags | (rule->noatime ? O_NOATIME : 0));
    if (fd < 0)
        return -1;
    int good = fstat(fd, &status) == 0 && is_plain(fd, &status, rule) &&
               read(fd, content, (size_t)status.st_size + 1) == status.st_size;
    int out = -1;
    if (good) {
        flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        out = openat(rule->target, name, flags, status.st_mode & 0777);
    }
    if (out >= 0) {
        good = finish(fd, out, &status, rule, check) == 0;
        good = close(out) == 0 && good;
        if (!good)
            unlinkat(rule->target, name, 0);
    }
    close(fd);
    return good && out >= 0 ? (long long)status.st_size : -1;
}

PyDoc_STRVAR(copy_doc,
             "copy(source, target, uid, gid, noatime, xattrs, flags)\n--\n\nCopy the plain files "
             "among the next entries: (files, bytes, [(name, type)] of the others) or None.");

static PyObject *copy(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct rule rule;
    if (!PyArg_ParseTuple(arguments, "iiIIppp", &rule.source, &rule.target, &rule.uid, &rule.gid,
                          &rule.noatime, &rule.xattrs, &rule.flags))
        return NULL;
    long filled = fill(rule.source);
    if (filled < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (filled == 0)
        Py_RETURN_NONE;
    PyObject *others = PyList_New(0);
    if (others == NULL)
        return NULL;
    long long files = 0, total = 0;
    for (long at = 0; at < filled;) {
        struct entry *entry = (struct entry *)(names + at);
        at += entry->length;
        if (is_dots(entry->name))
            continue;
        long long size = entry->type == DT_REG ? copy_one(entry->name, &rule, files == 0) : -1;
        if (size >= 0) {
            files++;
            total += size;
        } else if (append(others, Py_BuildValue("(Ni)", PyUnicode_DecodeFSDefault(entry->name),
                                                (int)entry->type << 12)) != 0) {
            Py_DECREF(others);
            return NULL;
        }
    }
    return Py_BuildValue("(LLN)", files, total, others);
}

/* ---- unlink -------------------------------------------------------------------------------- */

/* A large directory is unlinked in the order of its inodes, this many bytes of names at a time:
 * in the order of the directory (hashes, on ext4) each entry would touch another inode block. */
#define MANY_BYTES (4 * 1024 * 1024)
#define ENTRY_BYTES_MIN 24

static char many[MANY_BYTES] __attribute__((aligned(16)));
static struct entry *order[MANY_BYTES / ENTRY_BYTES_MIN];

static int by_inode(const void *a, const void *b)
{
    uint64_t left = (*(struct entry *const *)a)->inode, right = (*(struct entry *const *)b)->inode;
    return (left > right) - (left < right);
}

/* Read entries until `limit` bytes are nearly full; the bytes read, or -1. */
static long fill_many(int fd, long limit)
{
    long filled = 0;
    while (limit - filled >= BUFFER_BYTES) {
        long more = syscall(SYS_getdents64, fd, many + filled, (size_t)(limit - filled));
        if (more < 0 && filled == 0)
            return -1;
        if (more <= 0)
            break;
        filled += more;
    }
    return filled;
}

PyDoc_STRVAR(unlink_doc,
             "unlink(fd, many)\n--\n\nUnlink what is no directory among the next entries: (number, "
             "directories, [names] that resist or have no known type) or None.");

static PyObject *unlink_entries(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, at_once;
    if (!PyArg_ParseTuple(arguments, "ip", &fd, &at_once))
        return NULL;
    long filled = fill_many(fd, at_once ? MANY_BYTES : BUFFER_BYTES);
    if (filled < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    if (filled == 0)
        Py_RETURN_NONE;
    long entries = 0;
    for (long at = 0; at < filled; at += ((struct entry *)(many + at))->length)
        order[entries++] = (struct entry *)(many + at);
    qsort(order, (size_t)entries, sizeof order[0], by_inode);
    PyObject *below = PyList_New(0), *others = PyList_New(0);
    int good = below != NULL && others != NULL;
    long long count = 0;
    for (long number = 0; good && number < entries; number++) {
        const struct entry *entry = order[number];
        if (is_dots(entry->name))
            continue;
        if (entry->type == DT_DIR)
            good = append_name(below, entry->name) == 0;
        else if (entry->type == DT_UNKNOWN || unlinkat(fd, entry->name, 0) != 0)
            good = append_name(others, entry->name) == 0;
        else
            count++;
    }
    if (!good) {
        Py_XDECREF(below);
        Py_XDECREF(others);
        return NULL;
    }
    return Py_BuildValue("(LNN)", count, below, others);
}

/* ---- open ---------------------------------------------------------------------------------- */

PyDoc_STRVAR(open_doc,
             "openat2(root, path, flags, resolve)\n--\n\nopenat2(2): a descriptor, or the error "
             "number below zero.");

static PyObject *open_beneath(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int root, fd;
    PyObject *path;
    struct open_how how = {0};
    if (!PyArg_ParseTuple(arguments, "iO&KK", &root, PyUnicode_FSConverter, &path, &how.flags,
                          &how.resolve))
        return NULL;
    do {
        fd = (int)syscall(SYS_openat2, root, PyBytes_AS_STRING(path), &how, sizeof how);
    } while (fd < 0 && (errno == EINTR || errno == EAGAIN) && PyErr_CheckSignals() == 0);
    Py_DECREF(path);
    if (PyErr_Occurred())
        return NULL;
    return PyLong_FromLong(fd >= 0 ? fd : -errno);
}

static PyMethodDef methods[] = {
    {"openat2", open_beneath, METH_VARARGS, open_doc},
    {"scan", scan, METH_VARARGS, scan_doc},
    {"copy", copy, METH_VARARGS, copy_doc},
    {"unlink", unlink_entries, METH_VARARGS, unlink_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_fast", "Inner loops of the tree engine.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__fast(void)
{
    return PyModule_Create(&module);
}
