"""Open one directory or file safely, read its attributes, copy its bytes. Knows no tree."""

from backends.tree.files import content
from backends.tree.files.anchor import (
    GONE,
    READ_DIRECTORY,
    Anchor,
    changed_since,
    file_system,
    join,
    split_name,
    stat_entry,
    sync_file_system,
)
from backends.tree.files.attributes import (
    ACL_ACCESS,
    ACL_DEFAULT,
    FLAGS_LOCKING,
    REFUSED,
    AttributeSupport,
    has_xattrs,
    read_flags,
    read_xattrs,
    set_flags,
    unlock,
    xattr_names,
)
from backends.tree.files.content import Changed, ShortSource

__all__ = [
    "ACL_ACCESS",
    "ACL_DEFAULT",
    "FLAGS_LOCKING",
    "GONE",
    "READ_DIRECTORY",
    "REFUSED",
    "Anchor",
    "AttributeSupport",
    "Changed",
    "ShortSource",
    "changed_since",
    "content",
    "file_system",
    "has_xattrs",
    "join",
    "read_flags",
    "read_xattrs",
    "set_flags",
    "split_name",
    "stat_entry",
    "sync_file_system",
    "unlock",
    "xattr_names",
]
