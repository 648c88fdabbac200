/* Entries of a zip whose content is stored, and whose time and sizes need no more than 32 bits:
 * what they have in common with the plan of an archive, and their bytes. */
#ifndef VFOLDER_ZIP_ITEMS_H
#define VFOLDER_ZIP_ITEMS_H

#include "native.h"

/* Bytes of the extra field with the time (Info-ZIP 0x5455); of a local header and of a record of
 * the central directory, without the name. */
#define ZIP_EXTRA_BYTES 9
#define ZIP_LOCAL_BYTES (30 + ZIP_EXTRA_BYTES)
#define ZIP_RECORD_BYTES (46 + ZIP_EXTRA_BYTES)

/* The attributes of an entry of a plan (backends.archives.plan.ArchiveEntry). */
enum attribute { NAME, MODE, SIZE, MTIME_NS, INODE, TARGET, IS_FILE, IS_DIRECTORY, ATTRIBUTES };

/* An entry of a zip whose content is stored. */
struct item {
    PyObject *name, *target; /* held: bytes */
    const char *prefix;
    size_t prefix_bytes, name_bytes; /* of the complete name, with the slash of a directory */
    uint32_t mode, size;
    uint64_t inode;
    long long seconds;
    long nanoseconds;
    int is_file, is_directory, flags;
    char *header; /* where its local header is */
};

/* Whether an entry, or all of a call, has bytes. */
enum outcome { MADE, REFUSED, FAILED /* with an exception */ };

/* Interned names of the attributes; -1 with an exception. `drop_attributes` lets go of them. */
int intern_attributes(PyObject *names[ATTRIBUTES]);
void drop_attributes(PyObject *names[ATTRIBUTES]);

/* Read an entry of a plan into an item that has only its prefix. REFUSED where another form of
 * entry is needed, or where it is larger than `largest`. The item holds references in any case. */
enum outcome look_at(struct item *item, PyObject *entry, PyObject *names[ATTRIBUTES],
                     uint32_t largest);
void drop_item(struct item *item);

/* Bytes of an entry with its content, which follows its local header. */
size_t item_bytes(const struct item *item);
/* Write a local header, a new checksum into one, or a record; return the place behind it. */
char *put_local(char *at, const struct item *item, uint32_t checksum);
char *put_checksum(char *header, uint32_t checksum);
char *put_record(char *at, const struct item *item, uint32_t checksum, uint32_t offset);

#endif
