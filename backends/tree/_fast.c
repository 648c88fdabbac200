/* The tree engine's inner loops: list, copy and unlink a buffer's worth of one directory.
 *
 * Each function does the plain case with nothing but system calls, and names everything else for
 * the Python side, which has the full rules. backends/tree/plain.py is the twin of this file:
 * same functions, same results; it is used where no compiler was at hand. A function handles one
 * getdents64(2) buffer per call and answers None at the end of the directory.
 *
 * Each works in two strides: all system calls without the interpreter's lock, so that a storage
 * that hangs holds up nobody else in the process, then the answer. Nothing is kept between calls
 * and no buffer is shared: threads may work side by side.
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
#include <stdlib.h>
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
#define DAY_SECONDS 86400
/* attributes.FLAGS_KEPT: sync, immutable, append-only, no dump, no atime, dirsync. */
#define FLAGS_KEPT (0x08 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000)

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* The shortest entry: fixed fields, a name of one byte, its NUL, the padding. */
#define ENTRY_BYTES_MIN 24
/* Entries that fit into one buffer. */
#define ENTRIES_MAX (BUFFER_BYTES / ENTRY_BYTES_MIN)

static int is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

static long fill(int fd, char *names)
{
    return syscall(SYS_getdents64, fd, names, (size_t)BUFFER_BYTES);
}

/* What a call answers that did not fill its buffer: an error, or the end of the directory. */
static PyObject *unfilled(void *work, long filled, int error)
{
    PyMem_RawFree(work);
    if (filled == 0)
        Py_RETURN_NONE;
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
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

struct looked {
    const struct entry *entry;
    int error;
    struct stat status;
};

struct scanning {
    char names[BUFFER_BYTES] __attribute__((aligned(16)));
    struct looked looked[ENTRIES_MAX];
};

struct sums {
    long long size, blocks, files, links, others;
    long classes[CLASSES];
    /* With a moment to count from: files and bytes by the bit length of their age in days. */
    long long now, aged[CLASSES], aged_size[CLASSES];
    PyObject *below, *inodes, *failed, *all;
};

static int bit_length(long long size)
{
    return size ? 64 - __builtin_clzll((unsigned long long)size) : 0;
}

/* The bit length of the days since a moment; what is yet to come is of today. */
static int age_class(long long now, long long modified)
{
    return modified < now ? bit_length((now - modified) / DAY_SECONDS) : 0;
}

/* Stat the entries of a full buffer; how many. */
static long look(int fd, struct scanning *work, long filled)
{
    long count = 0;
    for (long at = 0; at < filled;) {
        const struct entry *entry = (const struct entry *)(work->names + at);
        at += entry->length;
        if (is_dots(entry->name))
            continue;
        struct looked *looked = &work->looked[count++];
        looked->entry = entry;
        int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
        looked->error = fstatat(fd, entry->name, &looked->status, flags) != 0 ? errno : 0;
    }
    return count;
}

static int add_looked(const struct looked *looked, struct sums *sums)
{
    const char *name = looked->entry->name;
    const struct stat *status = &looked->status;
    if (looked->error == ENOENT)
        return 0;
    if (looked->error != 0)
        return append(sums->failed,
                      Py_BuildValue("(Ni)", PyUnicode_DecodeFSDefault(name), looked->error));
    if (sums->all != NULL && append_name(sums->all, name) != 0)
        return -1;
    if (S_ISREG(status->st_mode)) {
        if (status->st_nlink > 1)
            return append(sums->inodes,
                          Py_BuildValue("(KKLLL)", (unsigned long long)status->st_dev,
                                        (unsigned long long)status->st_ino,
                                        (long long)status->st_size, (long long)status->st_blocks,
                                        (long long)status->st_mtime));
        sums->files++;
        sums->size += status->st_size;
        sums->classes[bit_length(status->st_size)]++;
        if (sums->now) {
            int age = age_class(sums->now, status->st_mtime);
            sums->aged[age]++;
            sums->aged_size[age] += status->st_size;
        }
    } else if (S_ISDIR(status->st_mode)) {
        if (append_name(sums->below, name) != 0)
            return -1;
    } else if (S_ISLNK(status->st_mode)) {
        sums->links++;
    } else {
        sums->others++;
    }
    sums->blocks += status->st_blocks;
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

static PyObject *ages(const struct sums *sums)
{
    PyObject *result = PyDict_New();
    for (int number = 0; result != NULL && number < CLASSES; number++) {
        if (sums->aged[number] == 0)
            continue;
        PyObject *key = PyLong_FromLong(number);
        PyObject *value = Py_BuildValue("(LL)", sums->aged[number], sums->aged_size[number]);
        if (key == NULL || value == NULL || PyDict_SetItem(result, key, value) != 0)
            Py_CLEAR(result);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return result;
}

PyDoc_STRVAR(scan_doc,
             "scan(fd, want_names, now=0)\n--\n\nStat the next entries of a directory: (bytes, "
             "blocks, files, links, others, directories, inodes, failed, histogram, names, ages) "
             "or None.");

static PyObject *scan(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, want_names;
    long long now = 0;
    if (!PyArg_ParseTuple(arguments, "ip|L", &fd, &want_names, &now))
        return NULL;
    struct scanning *work = PyMem_RawMalloc(sizeof *work);
    if (work == NULL)
        return PyErr_NoMemory();
    long filled, count;
    Py_BEGIN_ALLOW_THREADS
    filled = fill(fd, work->names);
    count = look(fd, work, filled);
    Py_END_ALLOW_THREADS
    if (filled <= 0)
        return unfilled(work, filled, errno);
    struct sums sums = {.now = now};
    sums.below = PyList_New(0);
    sums.inodes = PyList_New(0);
    sums.failed = PyList_New(0);
    sums.all = want_names ? PyList_New(0) : NULL;
    int good = sums.below && sums.inodes && sums.failed && (sums.all || !want_names);
    for (long number = 0; good && number < count; number++)
        good = add_looked(&work->looked[number], &sums) == 0;
    PyMem_RawFree(work);
    PyObject *classes = good ? histogram(&sums) : NULL;
    PyObject *aged = classes ? ages(&sums) : NULL;
    if (aged == NULL) {
        Py_XDECREF(classes);
        Py_XDECREF(sums.below);
        Py_XDECREF(sums.inodes);
        Py_XDECREF(sums.failed);
        Py_XDECREF(sums.all);
        return NULL;
    }
    if (sums.all == NULL)
        sums.all = Py_NewRef(Py_None);
    return Py_BuildValue("(LLLLLNNNNNN)", sums.size, sums.blocks, sums.files, sums.links,
                         sums.others, sums.below, sums.inodes, sums.failed, classes, sums.all,
                         aged);
}

/* ---- copy ---------------------------------------------------------------------------------- */

struct copied {
    const struct entry *entry;
    long long size;
};

struct copying {
    char names[BUFFER_BYTES] __attribute__((aligned(16)));
    char content[SMALL_BYTES + 1];
    struct copied copied[ENTRIES_MAX];
};

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

static int write_all(int fd, const char *content, long long size)
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
static int finish(int fd, int out, const struct stat *status, const struct rule *rule,
                  const char *content, int check)
{
    struct stat now;
    if (check && (fstat(out, &now) != 0 || now.st_uid != rule->uid || now.st_gid != rule->gid ||
                  (now.st_mode & 07777) != (status->st_mode & 07777)))
        return -1;
    if (write_all(out, content, status->st_size) != 0)
        return -1;
    if (fstat(fd, &now) != 0 || !same(&now, status))
        return -1;
    struct timespec times[2] = {status->st_atim, status->st_mtim};
    return futimens(out, times);
}

/* Copy one plain file; its bytes, or -1 when it is for the other side to do. */
static long long copy_one(const char *name, const struct rule *rule, char *content, int check)
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
        good = finish(fd, out, &status, rule, content, check) == 0;
        good = close(out) == 0 && good;
        if (!good)
            unlinkat(rule->target, name, 0);
    }
    close(fd);
    return good && out >= 0 ? (long long)status.st_size : -1;
}

/* Copy what is plain among the entries of a full buffer; how many entries there are. */
static long copy_all(struct copying *work, long filled, const struct rule *rule,
                     const volatile char *stop)
{
    long count = 0;
    int check = 1;
    for (long at = 0; at < filled;) {
        const struct entry *entry = (const struct entry *)(work->names + at);
        at += entry->length;
        if (is_dots(entry->name))
            continue;
        struct copied *copied = &work->copied[count++];
        copied->entry = entry;
        copied->size = -1;
        if (entry->type == DT_REG && !*stop)
            copied->size = copy_one(entry->name, rule, work->content, check);
        check = check && copied->size < 0;
    }
    return count;
}

PyDoc_STRVAR(copy_doc,
             "copy(source, target, uid, gid, noatime, xattrs, flags, stop)\n--\n\nCopy the plain "
             "files among the next entries until the first byte of `stop` is set: (files, bytes, "
             "[(name, type)] of the others) or None.");

static PyObject *copy(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct rule rule;
    PyByteArrayObject *stop;
    if (!PyArg_ParseTuple(arguments, "iiIIpppO!", &rule.source, &rule.target, &rule.uid, &rule.gid,
                          &rule.noatime, &rule.xattrs, &rule.flags, &PyByteArray_Type, &stop))
        return NULL;
    struct copying *work = PyMem_RawMalloc(sizeof *work);
    if (work == NULL)
        return PyErr_NoMemory();
    long filled, count;
    Py_BEGIN_ALLOW_THREADS
    filled = fill(rule.source, work->names);
    count = copy_all(work, filled, &rule, PyByteArray_AS_STRING(stop));
    Py_END_ALLOW_THREADS
    if (filled <= 0)
        return unfilled(work, filled, errno);
    PyObject *others = PyList_New(0);
    int good = others != NULL;
    long long files = 0, total = 0;
    for (long number = 0; good && number < count; number++) {
        const struct copied *copied = &work->copied[number];
        const struct entry *entry = copied->entry;
        files += copied->size >= 0;
        total += copied->size >= 0 ? copied->size : 0;
        if (copied->size < 0)
            good = append(others, Py_BuildValue("(Ni)", PyUnicode_DecodeFSDefault(entry->name),
                                                (int)entry->type << 12)) == 0;
    }
    PyMem_RawFree(work);
    if (!good) {
        Py_XDECREF(others);
        return NULL;
    }
    return Py_BuildValue("(LLN)", files, total, others);
}

/* ---- unlink -------------------------------------------------------------------------------- */

/* A large directory is unlinked in the order of its inodes, this many bytes of names at a time:
 * in the order of the directory (hashes, on ext4) each entry would touch another inode block. */
#define MANY_BYTES (4 * 1024 * 1024)

/* A directory below is cleared in the same call when its names fit into one buffer, down to so many
 * levels; each level holds a descriptor. */
#define LEVELS_MAX 32
/* A read of fewer bytes is taken for the whole directory: every file system gives half a page while
 * it has more. Where that is wrong rmdir(2) refuses, and the directory is left to the caller. */
#define WHOLE_BYTES 2048

struct unlinked {
    const struct entry *entry;
    int gone;
};

struct unlinking {
    char names[MANY_BYTES] __attribute__((aligned(16)));
    struct unlinked order[MANY_BYTES / ENTRY_BYTES_MIN];
};

struct level {
    char names[BUFFER_BYTES] __attribute__((aligned(16)));
    struct unlinked order[ENTRIES_MAX];
};

/* What a call did so far, and how many entries below it may still try: those of its own allocation
 * group, as a directory's number tells that is shifted by these bits (backends/tree/groups.py). */
struct progress {
    const volatile char *stop;
    long files, directories, left;
    int group_bits;
    uint64_t group;
};

static int by_inode(const void *a, const void *b)
{
    uint64_t left = ((const struct unlinked *)a)->entry->inode;
    uint64_t right = ((const struct unlinked *)b)->entry->inode;
    return (left > right) - (left < right);
}

/* Read entries until `limit` bytes are nearly full; the bytes read, or -1. */
static long fill_many(int fd, char *names, long limit)
{
    long filled = 0;
    while (limit - filled >= BUFFER_BYTES) {
        long more = syscall(SYS_getdents64, fd, names + filled, (size_t)(limit - filled));
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
    long count = 0;
    for (long at = 0; at < filled;) {
        const struct entry *entry = (const struct entry *)(names + at);
        at += entry->length;
        if (!is_dots(entry->name))
            order[count++] = (struct unlinked){.entry = entry};
    }
    qsort(order, (size_t)count, sizeof order[0], by_inode);
    return count;
}

/* Unlink what is known to be no directory; how many have gone. */
static long unlink_all(int fd, struct unlinked *order, long count, struct progress *progress)
{
    long gone = 0;
    for (struct unlinked *one = order; one < order + count; one++) {
        unsigned char type = one->entry->type;
        one->gone = type != DT_DIR && type != DT_UNKNOWN && !*progress->stop &&
                    unlinkat(fd, one->entry->name, 0) == 0;
        gone += one->gone;
    }
    progress->files += gone;
    return gone;
}

static long drop_all(int fd, struct unlinked *order, long count, struct progress *progress,
                     int level);

/* Remove everything from a directory that is small; whether nothing is known to be left. */
static int clear(int fd, struct level *work, struct progress *progress, int level)
{
    long filled = fill(fd, work->names);
    if (filled < 0 || filled > BUFFER_BYTES / 2)
        return 0;
    while (filled > 0) {
        long count = in_order(work->names, filled, work->order);
        progress->left -= count;
        long gone = unlink_all(fd, work->order, count, progress);
        gone += drop_all(fd, work->order, count, progress, level);
        if (gone < count || *progress->stop)
            return 0;
        filled = filled < WHOLE_BYTES ? 0 : fill(fd, work->names);
    }
    return filled == 0;
}

/* Drop a directory with all that is below it; whether it has gone. Enters no link and no mount. */
static int drop(int parent, const char *name, struct progress *progress, int level)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof how);
    if (fd < 0)
        return 0;
    struct level *work = PyMem_RawMalloc(sizeof *work);
    int empty = work != NULL && clear(fd, work, progress, level);
    PyMem_RawFree(work);
    close(fd);
    int gone = empty && unlinkat(parent, name, AT_REMOVEDIR) == 0;
    progress->directories += gone;
    return gone;
}

/* Drop directories as far as the progress may go; how many have gone. */
static long drop_all(int fd, struct unlinked *order, long count, struct progress *progress,
                     int level)
{
    long gone = 0;
    for (struct unlinked *one = order; one < order + count && level < LEVELS_MAX; one++) {
        if (progress->left <= 0 || *progress->stop)
            break;
        if (one->entry->type == DT_DIR &&
            one->entry->inode >> progress->group_bits == progress->group)
            gone += one->gone = drop(fd, one->entry->name, progress, level + 1);
    }
    return gone;
}

PyDoc_STRVAR(unlink_doc,
             "unlink(fd, many, below, group_bits, stop)\n--\n\nUnlink what is no directory among the "
             "next entries, and drop directories of the same allocation group while fewer than "
             "`below` entries were tried in such, until the first byte of `stop` is set: (files, "
             "dropped, [(name, inode)] of directories left, [names] that resist or have no known "
             "type) or None.");

static PyObject *name_and_inode(const struct entry *entry)
{
    return Py_BuildValue("(NK)", PyUnicode_DecodeFSDefault(entry->name),
                         (unsigned long long)entry->inode);
}

static PyObject *unlinked(const struct unlinked *order, long count, const struct progress *progress)
{
    PyObject *below = PyList_New(0), *others = PyList_New(0);
    int good = below != NULL && others != NULL;
    for (const struct unlinked *one = order; good && one < order + count; one++) {
        if (!one->gone && one->entry->type == DT_DIR)
            good = append(below, name_and_inode(one->entry)) == 0;
        else if (!one->gone)
            good = append_name(others, one->entry->name) == 0;
    }
    if (!good) {
        Py_XDECREF(below);
        Py_XDECREF(others);
        return NULL;
    }
    return Py_BuildValue("(llNN)", progress->files, progress->directories, below, others);
}

static PyObject *unlink_entries(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, at_once;
    PyByteArrayObject *stop;
    struct progress progress = {0};
    struct stat own;
    if (!PyArg_ParseTuple(arguments, "ipliO!", &fd, &at_once, &progress.left,
                          &progress.group_bits, &PyByteArray_Type, &stop))
        return NULL;
    progress.stop = PyByteArray_AS_STRING(stop);
    struct unlinking *work = PyMem_RawMalloc(sizeof *work);
    if (work == NULL)
        return PyErr_NoMemory();
    long filled, count;
    Py_BEGIN_ALLOW_THREADS
    filled = fill_many(fd, work->names, at_once ? MANY_BYTES : BUFFER_BYTES);
    count = in_order(work->names, filled, work->order);
    unlink_all(fd, work->order, count, &progress);
    if (fstat(fd, &own) == 0) {
        progress.group = (uint64_t)own.st_ino >> progress.group_bits;
        drop_all(fd, work->order, count, &progress, 0);
    }
    Py_END_ALLOW_THREADS
    if (filled <= 0)
        return unfilled(work, filled, errno);
    PyObject *result = unlinked(work->order, count, &progress);
    PyMem_RawFree(work);
    return result;
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
        Py_BEGIN_ALLOW_THREADS
        fd = (int)syscall(SYS_openat2, root, PyBytes_AS_STRING(path), &how, sizeof how);
        Py_END_ALLOW_THREADS
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
