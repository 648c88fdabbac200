/* Entries of a zip (PKWARE APPNOTE 6.3.10) in their plain form.
 *
 * backends/archives/zip_records.py has the same in Python, byte for byte, and the other forms.
 */
#include "zip_items.h"

#include <string.h>

/* Where a local header has the checksum of its content. */
#define CHECKSUM_AT 14

#define NEEDS 20
#define MADE_ON_UNIX (3 << 8 | 45)
#define UTF8 (1 << 11)
#define DOS_DIRECTORY 0x10
/* DOS times begin in 1980 (seconds since the epoch). */
#define DOS_FIRST_SECOND 315532800LL
#define DAY_SECONDS 86400
#define NANOSECONDS 1000000000LL
/* Times from the epoch to before this (seconds) have no other extra field. */
#define NEAR_SECONDS (1LL << 31)

static const char *const attribute_names[ATTRIBUTES] = {
    "name", "mode", "size", "mtime_ns", "inode", "target", "is_file", "is_directory"};

static char *put16(char *at, unsigned value)
{
    at[0] = (char)(value & 0xFF);
    at[1] = (char)(value >> 8 & 0xFF);
    return at + 2;
}

static char *put32(char *at, uint32_t value)
{
    return put16(put16(at, value & 0xFFFF), value >> 16);
}

static char *put_bytes(char *at, const void *from, size_t size)
{
    if (size > 0)
        memcpy(at, from, size);
    return at + size;
}

/* The DOS words of time and date, in UTC: the civil calendar from days since 0000-03-01. */
static char *put_dos_time(char *at, long long seconds)
{
    if (seconds < DOS_FIRST_SECOND)
        seconds = DOS_FIRST_SECOND;
    unsigned days = (unsigned)(seconds / DAY_SECONDS) + 719468;
    unsigned second = (unsigned)(seconds % DAY_SECONDS);
    unsigned era = days / 146097, of_era = days % 146097;
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * of_year + 2) / 153;
    unsigned day = of_year - (153 * from_march + 2) / 5 + 1;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
    unsigned year = year_of_era + era * 400 + (month <= 2);
    at = put16(at, second / 3600 << 11 | second % 3600 / 60 << 5 | second % 60 >> 1);
    return put16(at, (year - 1980) << 9 | month << 5 | day);
}

/* What local header and record share: version needed to the lengths of name and extra field. */
static char *put_shared(char *at, const struct item *item, uint32_t checksum)
{
    at = put16(put16(put16(at, NEEDS), (unsigned)item->flags), 0);
    at = put32(put_dos_time(at, item->seconds), checksum);
    at = put32(put32(at, item->size), item->size);
    return put16(put16(at, (unsigned)item->name_bytes), ZIP_EXTRA_BYTES);
}

static char *put_name_and_extra(char *at, const struct item *item)
{
    at = put_bytes(at, item->prefix, item->prefix_bytes);
    at = put_bytes(at, PyBytes_AS_STRING(item->name), (size_t)PyBytes_GET_SIZE(item->name));
    if (item->is_directory)
        *at++ = '/';
    at = put16(put16(at, 0x5455), 5);
    *at++ = 1;
    return put32(at, (uint32_t)item->seconds);
}

char *put_local(char *at, const struct item *item, uint32_t checksum)
{
    at = put_shared(put_bytes(at, "PK\3\4", 4), item, checksum);
    return put_name_and_extra(at, item);
}

char *put_record(char *at, const struct item *item, uint32_t checksum, uint32_t offset)
{
    at = put16(put_bytes(at, "PK\1\2", 4), MADE_ON_UNIX);
    at = put_shared(at, item, checksum);
    at = put16(put16(put16(at, 0), 0), 0); /* comment, disk, internal attributes */
    at = put32(at, (item->mode & 0xFFFF) << 16 | (item->is_directory ? DOS_DIRECTORY : 0));
    return put_name_and_extra(put32(at, offset), item);
}

char *put_checksum(char *header, uint32_t checksum)
{
    return put32(header + CHECKSUM_AT, checksum);
}

size_t item_bytes(const struct item *item)
{
    return ZIP_LOCAL_BYTES + item->name_bytes + item->size;
}

int intern_attributes(PyObject *names[ATTRIBUTES])
{
    for (int at = 0; at < ATTRIBUTES; at++)
        if ((names[at] = PyUnicode_InternFromString(attribute_names[at])) == NULL)
            return -1;
    return 0;
}

void drop_attributes(PyObject *names[ATTRIBUTES])
{
    for (int at = 0; at < ATTRIBUTES; at++)
        Py_XDECREF(names[at]);
}

/* An attribute that is an integer up to `most`; any other one is refused. */
static enum outcome number_of(PyObject *entry, PyObject *name, uint64_t most, uint64_t *number)
{
    PyObject *value = PyObject_GetAttr(entry, name);
    if (value == NULL)
        return FAILED;
    *number = PyLong_AsUnsignedLongLong(value);
    Py_DECREF(value);
    if (*number == (uint64_t)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return FAILED;
        PyErr_Clear();
        return REFUSED;
    }
    return *number <= most ? MADE : REFUSED;
}

static int bytes_of(PyObject *entry, PyObject *name, PyObject **bytes)
{
    *bytes = PyObject_GetAttr(entry, name);
    if (*bytes != NULL && !PyBytes_CheckExact(*bytes))
        PyErr_Format(PyExc_TypeError, "%U is %R, not bytes", name, *bytes);
    return *bytes != NULL && PyBytes_CheckExact(*bytes) ? 0 : -1;
}

static int truth_of(PyObject *entry, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(entry, name);
    int truth = value != NULL ? PyObject_IsTrue(value) : -1;
    Py_XDECREF(value);
    return truth;
}

static int is_ascii(const char *text, size_t size)
{
    unsigned char all = 0;
    for (size_t at = 0; at < size; at++)
        all |= (unsigned char)text[at];
    return all < 0x80;
}

/* Whether a name that is not ASCII is UTF-8; -1 with an exception. */
static int is_utf8(const struct item *item)
{
    PyObject *whole = PyBytes_FromStringAndSize(item->prefix, (Py_ssize_t)item->prefix_bytes);
    PyBytes_Concat(&whole, item->name);
    if (whole == NULL)
        return -1;
    PyObject *text =
        PyUnicode_DecodeUTF8(PyBytes_AS_STRING(whole), PyBytes_GET_SIZE(whole), "strict");
    Py_DECREF(whole);
    Py_XDECREF(text);
    if (text != NULL)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* Complete an item that has its prefix, name and kind: the length and the flags of its name. */
static enum outcome look_at_name(struct item *item)
{
    size_t size = (size_t)PyBytes_GET_SIZE(item->name);
    item->name_bytes = item->prefix_bytes + size + (item->is_directory ? 1 : 0);
    if (item->name_bytes > 0xFFFF || strlen(PyBytes_AS_STRING(item->name)) != size)
        return REFUSED;
    if (is_ascii(item->prefix, item->prefix_bytes) && is_ascii(PyBytes_AS_STRING(item->name), size))
        return MADE;
    int utf8 = is_utf8(item);
    if (utf8 < 0)
        return FAILED;
    item->flags = utf8 ? UTF8 : 0;
    return MADE;
}

enum outcome look_at(struct item *item, PyObject *entry, PyObject *names[ATTRIBUTES],
                     uint32_t largest)
{
    uint64_t mode = 0, size = 0, mtime_ns = 0;
    if (bytes_of(entry, names[NAME], &item->name) < 0 ||
        bytes_of(entry, names[TARGET], &item->target) < 0 ||
        (item->is_file = truth_of(entry, names[IS_FILE])) < 0 ||
        (item->is_directory = truth_of(entry, names[IS_DIRECTORY])) < 0)
        return FAILED;
    enum outcome outcome = number_of(entry, names[MODE], UINT32_MAX, &mode);
    if (outcome == MADE)
        outcome = number_of(entry, names[SIZE], largest, &size);
    if (outcome == MADE)
        outcome = number_of(entry, names[MTIME_NS], NEAR_SECONDS * NANOSECONDS - 1, &mtime_ns);
    if (outcome == MADE)
        outcome = number_of(entry, names[INODE], UINT64_MAX, &item->inode);
    if (outcome != MADE)
        return outcome;
    if (!item->is_file && size != (uint64_t)PyBytes_GET_SIZE(item->target))
        return REFUSED;
    item->mode = (uint32_t)mode;
    item->size = (uint32_t)size;
    item->seconds = (long long)mtime_ns / NANOSECONDS;
    item->nanoseconds = (long)((long long)mtime_ns % NANOSECONDS);
    return look_at_name(item);
}

void drop_item(struct item *item)
{
    Py_CLEAR(item->name);
    Py_CLEAR(item->target);
}
