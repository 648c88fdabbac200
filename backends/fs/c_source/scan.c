/* Stat the entries of a directory and sum them up; backends/tree/plain.py has the same in Python. */
#include "native.h"

#include <limits.h>
#include <sys/vfs.h>

/* The unit of st_blocks. */
#define BLOCK_BYTES 512
/* The magic number of FUSE (<linux/magic.h>). */
#define FUSE_MAGIC 0x65735546
/* Size classes of the histogram: the bit length of a size. */
#define CLASSES 65
#define DAY_SECONDS 86400

struct stated {
    const struct entry *entry;
    int error;
    /* The bytes that the file holds. */
    long long held;
    struct stat status;
};

struct buffer {
    char names[BUFFER_BYTES] __attribute__((aligned(16)));
    struct stated stated[ENTRIES_MAX];
};

struct sums {
    long long size, blocks, files, links, others;
    long classes[CLASSES];
    /* With `now`: files and bytes by the bit length of their age in days. */
    long long now, aged[CLASSES], aged_size[CLASSES];
    PyObject *below, *inodes, *failed, *all;
};

static int bit_length(uint64_t number)
{
    return number ? 64 - __builtin_clzll(number) : 0;
}

/* The bit length of the days since `modified`; a time in the future counts as today. */
static int age_class(long long now, long long modified)
{
    return modified < now ? bit_length(((uint64_t)now - (uint64_t)modified) / DAY_SECONDS) : 0;
}

/* Add, and stay at the largest number where the sum would pass it: sizes may be absurd. */
static void add(long long *sum, long long number)
{
    if (__builtin_add_overflow(*sum, number, sum))
        *sum = number < 0 ? LLONG_MIN : LLONG_MAX;
}

/* The bytes that an entry holds; the same as backends/fs/space.py. `fd` is its directory. */
static long long held_bytes(int fd, const struct stat *status)
{
    struct statfs system;
    if (!S_ISREG(status->st_mode))
        return 0;
    if (status->st_blocks == 0 && status->st_size > 0 && fstatfs(fd, &system) == 0 &&
        system.f_type == FUSE_MAGIC)
        return status->st_size;
    /* Blocks beyond the length are no content; the product cannot overflow then. */
    if (status->st_blocks > status->st_size / BLOCK_BYTES)
        return status->st_size;
    return (long long)status->st_blocks * BLOCK_BYTES;
}

/* Stat the entries of a full buffer; how many. */
static long stat_entries(int fd, struct buffer *buffer, long filled, struct unlocked *unlocked)
{
    long count = 0, at = 0;
    const struct entry *entry;
    while (!unlocked->raised && (entry = next_entry(buffer->names, filled, &at)) != NULL) {
        struct stated *stated = &buffer->stated[count++];
        int result, flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
        CALL(unlocked, result, fstatat(fd, entry->name, &stated->status, flags));
        stated->entry = entry;
        stated->error = result < 0 ? errno : 0;
        stated->held = result < 0 ? 0 : held_bytes(fd, &stated->status);
    }
    return count;
}

static void add_file(const struct stated *stated, struct sums *sums)
{
    const struct stat *status = &stated->status;
    sums->files++;
    add(&sums->size, stated->held);
    sums->classes[bit_length((uint64_t)status->st_size)]++;
    if (sums->now) {
        int age = age_class(sums->now, status->st_mtime);
        sums->aged[age]++;
        add(&sums->aged_size[age], stated->held);
    }
}

static int add_stated(const struct stated *stated, struct sums *sums)
{
    const char *name = stated->entry->name;
    const struct stat *status = &stated->status;
    if (stated->error == ENOENT)
        return 0;
    if (stated->error != 0)
        return append(sums->failed,
                      Py_BuildValue("(Ni)", PyUnicode_DecodeFSDefault(name), stated->error));
    if (sums->all != NULL && append_name(sums->all, name) != 0)
        return -1;
    if (S_ISREG(status->st_mode)) {
        if (status->st_nlink > 1)
            return append(sums->inodes,
                          Py_BuildValue("(KKLLLL)", (unsigned long long)status->st_dev,
                                        (unsigned long long)status->st_ino, stated->held,
                                        (long long)status->st_blocks, (long long)status->st_mtime,
                                        (long long)status->st_size));
        add_file(stated, sums);
    } else if (S_ISDIR(status->st_mode)) {
        if (append_name(sums->below, name) != 0)
            return -1;
    } else if (S_ISLNK(status->st_mode)) {
        sums->links++;
    } else {
        sums->others++;
    }
    add(&sums->blocks, status->st_blocks);
    return 0;
}

/* Put a value under a number into a dictionary and give up the reference to it. */
static int put(PyObject *dictionary, int number, PyObject *value)
{
    PyObject *key = PyLong_FromLong(number);
    int result = key != NULL && value != NULL ? PyDict_SetItem(dictionary, key, value) : -1;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return result;
}

static PyObject *histogram(const struct sums *sums)
{
    PyObject *result = PyDict_New();
    for (int number = 0; result != NULL && number < CLASSES; number++)
        if (sums->classes[number] != 0 &&
            put(result, number, PyLong_FromLong(sums->classes[number])) != 0)
            Py_CLEAR(result);
    return result;
}

static PyObject *ages(const struct sums *sums)
{
    PyObject *result = PyDict_New();
    for (int number = 0; result != NULL && number < CLASSES; number++)
        if (sums->aged[number] != 0 &&
            put(result, number,
                Py_BuildValue("(LL)", sums->aged[number], sums->aged_size[number])) != 0)
            Py_CLEAR(result);
    return result;
}

static PyObject *summed(const struct buffer *buffer, long count, int want_names, long long now)
{
    struct sums sums = {.now = now};
    sums.below = PyList_New(0);
    sums.inodes = PyList_New(0);
    sums.failed = PyList_New(0);
    sums.all = want_names ? PyList_New(0) : NULL;
    int good = sums.below && sums.inodes && sums.failed && (sums.all || !want_names);
    for (long number = 0; good && number < count; number++)
        good = add_stated(&buffer->stated[number], &sums) == 0;
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

PyObject *native_scan(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd, want_names;
    long now = 0;
    if (!PyArg_ParseTuple(arguments, "O&p|O&", to_descriptor, &fd, &want_names, to_count, &now))
        return NULL;
    struct buffer *buffer = PyMem_RawMalloc(sizeof *buffer);
    if (buffer == NULL)
        return PyErr_NoMemory();
    struct unlocked unlocked;
    unlock(&unlocked);
    long filled = read_entries(fd, buffer->names, BUFFER_BYTES, &unlocked);
    int error = errno;
    long count = stat_entries(fd, buffer, filled, &unlocked);
    PyObject *result = NULL;
    if (lock(&unlocked) == 0)
        result = filled > 0 ? summed(buffer, count, want_names, now) : no_entries(filled, error);
    PyMem_RawFree(buffer);
    return result;
}
