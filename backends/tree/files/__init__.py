"""One directory or file at a time: open it safely, read its attributes, move its bytes.

Knows no tree and no helper.
"""

from backends.tree.files import content
from backends.tree.files.anchor import (
    READ_DIRECTORY,
    Anchor,
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
    Skills,
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
    "READ_DIRECTORY",
    "REFUSED",
    "Anchor",
    "Changed",
    "ShortSource",
    "Skills",
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
