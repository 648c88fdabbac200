/* Shared parts of the C module `backends.fs._native`.
 *
 * Every function works in two steps. First it makes all its system calls without the interpreter's
 * lock, so that a storage that hangs stops no other thread of the process. Then it builds its
 * result. It keeps nothing between calls and shares no buffer, so threads may work side by side.
 *
 * While the lock is released another thread may change any Python object. So a function copies
 * lists into tuples first, holds what it reads, and locks buffers with the buffer protocol.
 */
#ifndef VFOLDER_NATIVE_H
#define VFOLDER_NATIVE_H

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bytes of a directory that most calls read at once: about a thousand names. */
#define BUFFER_BYTES 32768
/* The shortest entry of getdents64(2): fixed fields, a name of one byte, its NUL, the padding. */
#define ENTRY_BYTES_MIN 24
/* Entries that fit into one buffer. */
#define ENTRIES_MAX (BUFFER_BYTES / ENTRY_BYTES_MIN)

/* struct linux_dirent64 of getdents64(2). */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* A stretch of code without the interpreter's lock; `raised` once a signal handler raised. */
struct unlocked {
    PyThreadState *state;
    int raised;
};

void unlock(struct unlocked *unlocked);
/* Take the lock back; errno stays. Returns -1 with an exception when a signal handler raised. */
int lock(struct unlocked *unlocked);
/* Whether to repeat a system call that failed: it was interrupted, and no signal handler raised. */
int repeat(struct unlocked *unlocked);

/* Make a system call, again while signals interrupt it; its result and errno are the last ones. */
#define CALL(unlocked, result, call)                                                               \
    do {                                                                                           \
        (result) = (call);                                                                         \
    } while ((result) < 0 && repeat(unlocked))

/* getdents64(2): the bytes read, 0 at the end of the directory, or -1. */
long read_entries(int fd, char *buffer, size_t size, struct unlocked *unlocked);
/* fstat(2): 0 or -1. */
int stat_open(int fd, struct stat *status, struct unlocked *unlocked);
/* openat2(2), again while renames disturb it: a descriptor or -1. */
int open_below(int root, const char *path, struct open_how *how, struct unlocked *unlocked);
/* The entry at `*at` of a buffer, and `*at` behind it; NULL at the end. Leaves out `.` and `..`. */
const struct entry *next_entry(const char *buffer, long filled, long *at);
/* The result when no entry was read: None at the end of the directory, else OSError. */
PyObject *no_entries(long filled, int error);

/* Converters for "O&" of PyArg_ParseTuple: 1, or 0 with an exception. */
int to_descriptor(PyObject *value, void *descriptor); /* OSError EBADF outside of 0 … INT_MAX */
int to_uint32(PyObject *value, void *number);         /* ValueError outside of 0 … UINT32_MAX */
int to_uint64(PyObject *value, void *number);         /* ValueError outside of 0 … UINT64_MAX */
int to_count(PyObject *value, void *number);          /* ValueError outside of 0 … LONG_MAX */

/* Append an item to a list and give up the reference to it; -1 with an exception. */
int append(PyObject *list, PyObject *item);
int append_name(PyObject *list, const char *name);
/* Nanoseconds since the epoch; after the year 2262 they need more than 64 bits. */
PyObject *nanoseconds(struct timespec time);

/* The functions of the module. */
PyObject *native_openat2(PyObject *module, PyObject *arguments);
PyObject *native_open_file(PyObject *module, PyObject *arguments);
PyObject *native_open_marked(PyObject *module, PyObject *arguments);
PyObject *native_names(PyObject *module, PyObject *arguments);
PyObject *native_stats(PyObject *module, PyObject *arguments);
PyObject *native_details(PyObject *module, PyObject *arguments);
PyObject *native_read(PyObject *module, PyObject *arguments);
PyObject *native_scan(PyObject *module, PyObject *arguments);
PyObject *native_copy(PyObject *module, PyObject *arguments);
PyObject *native_unlink(PyObject *module, PyObject *arguments);
PyObject *native_zip_files(PyObject *module, PyObject *arguments);
PyObject *native_zip_records(PyObject *module, PyObject *arguments);

#endif
