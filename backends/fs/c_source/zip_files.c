/* Small files of some directories as entries of a zip, in one call without the interpreter's lock;
 * and the records of such entries in the central directory.
 *
 * backends/archives/zips.py has the same in Python. It also has what is rare: entries in another
 * form, files that are not as planned, directories that cannot be opened. Here they are refused
 * with None.
 */
#include "zip_items.h"

#include <string.h>

/* Entries of one directory. */
struct group {
    PyObject *entries; /* held: a tuple */
    const char *directory, *prefix;
    Py_ssize_t prefix_bytes;
    struct item *items;
};

/* Look at all entries of a group, whose tuple of entries and prefix are set. */
static enum outcome look_at_group(struct group *group, PyObject *names[ATTRIBUTES],
                                  uint32_t largest)
{
    Py_ssize_t count = PyTuple_GET_SIZE(group->entries);
    group->items = PyMem_Calloc((size_t)count + 1, sizeof *group->items);
    if (group->items == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    enum outcome outcome = MADE;
    for (Py_ssize_t at = 0; outcome == MADE && at < count; at++) {
        group->items[at].prefix = group->prefix;
        group->items[at].prefix_bytes = (size_t)group->prefix_bytes;
        outcome = look_at(&group->items[at], PyTuple_GET_ITEM(group->entries, at), names, largest);
    }
    return outcome;
}

static void drop_group(struct group *group)
{
    Py_ssize_t count = group->items != NULL ? PyTuple_GET_SIZE(group->entries) : 0;
    for (Py_ssize_t at = 0; at < count; at++)
        drop_item(&group->items[at]);
    PyMem_Free(group->items);
    Py_XDECREF(group->entries);
}

struct run {
    struct group *groups;
    Py_ssize_t count, entries;
    int top;
};

/* Take (directory, prefix, entries) apart; the tuple must be held. */
static enum outcome take_group(struct group *group, PyObject *parts)
{
    PyObject *entries;
    if (!PyTuple_Check(parts)) {
        PyErr_Format(PyExc_TypeError, "%R is no tuple of directory, prefix and entries", parts);
        return FAILED;
    }
    if (!PyArg_ParseTuple(parts, "yy#O", &group->directory, &group->prefix, &group->prefix_bytes,
                          &entries))
        return FAILED;
    group->entries = PySequence_Tuple(entries); /* holds them while the lock is released */
    return group->entries != NULL ? MADE : FAILED;
}

static enum outcome look_at_run(struct run *run, PyObject *groups)
{
    PyObject *names[ATTRIBUTES] = {NULL};
    enum outcome outcome = intern_attributes(names) == 0 ? MADE : FAILED;
    for (Py_ssize_t at = 0; outcome == MADE && at < run->count; at++) {
        struct group *group = &run->groups[at];
        outcome = take_group(group, PyTuple_GET_ITEM(groups, at));
        if (outcome != MADE)
            break;
        run->entries += PyTuple_GET_SIZE(group->entries);
        outcome = look_at_group(group, names, UINT32_MAX - 1);
    }
    drop_attributes(names);
    return outcome;
}

/* The bytes of all entries, not filled yet; NULL with an exception. */
static PyObject *room_for(const struct run *run)
{
    size_t total = 0;
    for (Py_ssize_t at = 0; at < run->count; at++)
        for (Py_ssize_t one = 0; one < PyTuple_GET_SIZE(run->groups[at].entries); one++)
            total += item_bytes(&run->groups[at].items[one]); /* each less than 5 GiB */
    return total <= PY_SSIZE_T_MAX ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total)
                                   : PyErr_NoMemory();
}

static int is_planned(const struct item *item, const struct stat *status)
{
    return S_ISREG(status->st_mode) && status->st_size == (off_t)item->size &&
           status->st_ino == item->inode && status->st_mtim.tv_sec == item->seconds &&
           status->st_mtim.tv_nsec == item->nanoseconds;
}

/* Fill the content of a file; whether it is all there, and as planned, after it was read. */
static int fill(int fd, const struct item *item, char *content, struct unlocked *unlocked)
{
    for (size_t filled = 0; filled < item->size;) {
        ssize_t count;
        CALL(unlocked, count, read(fd, content + filled, item->size - filled));
        if (count <= 0)
            return 0;
        filled += (size_t)count;
    }
    struct stat status;
    return stat_open(fd, &status, unlocked) == 0 && is_planned(item, &status);
}

static int read_item(int directory, const struct item *item, char *content,
                     struct unlocked *unlocked)
{
    int fd, flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    CALL(unlocked, fd, openat(directory, PyBytes_AS_STRING(item->name), flags));
    if (fd < 0)
        return 0;
    int good = fill(fd, item, content, unlocked);
    close(fd);
    return good;
}

/* Open the directory of a group, as backends.archives.plan.opened does; -1 where that fails. */
static int open_directory(int top, const struct group *group, struct unlocked *unlocked)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return open_below(top, *group->directory ? group->directory : ".", &how, unlocked);
}

/* Make the entries of a group at `*at`, with zero for each checksum; whether all are as planned. */
static int make_group(int top, struct group *group, char **at, struct unlocked *unlocked)
{
    int directory = -1, good = 1;
    for (Py_ssize_t one = 0; good && one < PyTuple_GET_SIZE(group->entries); one++) {
        struct item *item = &group->items[one];
        item->header = *at;
        char *content = put_local(*at, item, 0);
        *at = content + item->size;
        if (!item->is_file) {
            memcpy(content, PyBytes_AS_STRING(item->target), item->size);
            continue;
        }
        if (directory < 0)
            directory = open_directory(top, group, unlocked);
        good = directory >= 0 && read_item(directory, item, content, unlocked);
    }
    if (directory >= 0)
        close(directory);
    return good;
}

static enum outcome make_run(struct run *run, char *block)
{
    struct unlocked unlocked;
    int good = 1;
    unlock(&unlocked);
    for (Py_ssize_t at = 0; good && at < run->count; at++)
        good = make_group(run->top, &run->groups[at], &block, &unlocked);
    if (lock(&unlocked) != 0)
        return FAILED;
    return good ? MADE : REFUSED;
}

/* The checksum of an item's content; -1 with an exception. */
static int checksum_of(const struct item *item, PyObject *block, PyObject *view,
                       PyObject *checksum, uint32_t *sum)
{
    *sum = 0;
    if (item->size == 0)
        return 0;
    Py_ssize_t begin =
        item->header + ZIP_LOCAL_BYTES + item->name_bytes - PyBytes_AS_STRING(block);
    PyObject *content = PySequence_GetSlice(view, begin, begin + item->size);
    PyObject *number = content != NULL ? PyObject_CallOneArg(checksum, content) : NULL;
    Py_XDECREF(content);
    int good = number != NULL && to_uint32(number, sum);
    Py_XDECREF(number);
    return good ? 0 : -1;
}

/* Put all checksums into their headers, and into `sums`; -1 with an exception. */
static int put_checksums(const struct run *run, PyObject *block, PyObject *checksum, char *sums)
{
    PyObject *view = PyMemoryView_FromObject(block);
    int good = view != NULL;
    for (Py_ssize_t at = 0; good && at < run->count; at++)
        for (Py_ssize_t one = 0; good && one < PyTuple_GET_SIZE(run->groups[at].entries); one++) {
            const struct item *item = &run->groups[at].items[one];
            uint32_t sum;
            good = checksum_of(item, block, view, checksum, &sum) == 0;
            if (!good)
                break;
            put_checksum(item->header, sum);
            memcpy(sums, &sum, sizeof sum);
            sums += sizeof sum;
        }
    Py_XDECREF(view);
    return good ? 0 : -1;
}

static PyObject *made_run(struct run *run, PyObject *groups, PyObject *checksum)
{
    enum outcome outcome = look_at_run(run, groups);
    PyObject *block = outcome == MADE ? room_for(run) : NULL, *sums = NULL;
    if (block != NULL && (outcome = make_run(run, PyBytes_AS_STRING(block))) == MADE) {
        sums = PyBytes_FromStringAndSize(NULL, run->entries * (Py_ssize_t)sizeof(uint32_t));
        if (sums != NULL && put_checksums(run, block, checksum, PyBytes_AS_STRING(sums)) == 0)
            return Py_BuildValue("(NN)", block, sums);
    }
    Py_XDECREF(block);
    Py_XDECREF(sums);
    if (outcome == REFUSED)
        Py_RETURN_NONE;
    return NULL;
}

PyObject *native_zip_files(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct run run = {0};
    PyObject *groups, *checksum;
    if (!PyArg_ParseTuple(arguments, "O&OO", to_descriptor, &run.top, &groups, &checksum))
        return NULL;
    groups = PySequence_Tuple(groups); /* holds its items while the lock is released */
    if (groups == NULL)
        return NULL;
    run.count = PyTuple_GET_SIZE(groups);
    run.groups = PyMem_Calloc((size_t)run.count + 1, sizeof *run.groups);
    PyObject *result = run.groups != NULL ? made_run(&run, groups, checksum) : PyErr_NoMemory();
    for (Py_ssize_t at = 0; run.groups != NULL && at < run.count; at++)
        drop_group(&run.groups[at]);
    PyMem_Free(run.groups);
    Py_DECREF(groups);
    return result;
}

/* The records of all items of a group; None where an offset needs more than 32 bits. */
static PyObject *records_of(const struct group *group, const char *sums, uint64_t offset)
{
    Py_ssize_t count = PyTuple_GET_SIZE(group->entries);
    size_t total = 0;
    for (Py_ssize_t at = 0; at < count; at++)
        total += ZIP_RECORD_BYTES + group->items[at].name_bytes;
    PyObject *records = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total);
    char *to = records != NULL ? PyBytes_AS_STRING(records) : NULL;
    for (Py_ssize_t at = 0; to != NULL && at < count; at++) {
        uint32_t sum;
        if (offset >= UINT32_MAX) {
            Py_DECREF(records);
            Py_RETURN_NONE;
        }
        memcpy(&sum, sums + at * (Py_ssize_t)sizeof sum, sizeof sum);
        to = put_record(to, &group->items[at], sum, (uint32_t)offset);
        offset += item_bytes(&group->items[at]);
    }
    return records != NULL ? Py_BuildValue("(NK)", records, (unsigned long long)offset) : NULL;
}

PyObject *native_zip_records(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct group group = {0};
    PyObject *entries;
    Py_buffer sums;
    uint64_t offset;
    uint32_t largest;
    if (!PyArg_ParseTuple(arguments, "y#Oy*O&O&", &group.prefix, &group.prefix_bytes, &entries,
                          &sums, to_uint64, &offset, to_uint32, &largest))
        return NULL;
    PyObject *names[ATTRIBUTES] = {NULL}, *result = NULL;
    enum outcome outcome = FAILED;
    if ((group.entries = PySequence_Tuple(entries)) != NULL && intern_attributes(names) == 0) {
        if (sums.len == PyTuple_GET_SIZE(group.entries) * (Py_ssize_t)sizeof(uint32_t))
            outcome = look_at_group(&group, names, largest);
        else
            PyErr_SetString(PyExc_ValueError, "entries and checksums differ in number");
    }
    if (outcome == MADE)
        result = records_of(&group, sums.buf, offset);
    else if (outcome == REFUSED)
        result = Py_NewRef(Py_None);
    drop_attributes(names);
    drop_group(&group);
    PyBuffer_Release(&sums);
    return result;
}
