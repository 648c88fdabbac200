"""File system calls for all backends: descriptors, paths, layout, errors. Knows no backend."""

from backends.fs import (
    atomic,
    clock,
    descriptors,
    directory,
    inheritance,
    layout,
    linux,
    marker,
    mount_table,
    native,
    paths,
)
from backends.fs.descriptors import PREFIX_MODE
from backends.fs.errors import ERRORS, entry_errors, reason_of, translate, translated
from backends.fs.mount_points import check_mounts
from backends.fs.reflink import shares_blocks
from backends.fs.space import BLOCK_BYTES, freed_bytes, held_bytes
from backends.fs.times import USUAL_NS, is_nearest_time, is_same_time

__all__ = [
    "BLOCK_BYTES",
    "ERRORS",
    "PREFIX_MODE",
    "USUAL_NS",
    "atomic",
    "check_mounts",
    "clock",
    "descriptors",
    "directory",
    "entry_errors",
    "freed_bytes",
    "held_bytes",
    "inheritance",
    "is_nearest_time",
    "is_same_time",
    "layout",
    "linux",
    "marker",
    "mount_table",
    "native",
    "paths",
    "reason_of",
    "shares_blocks",
    "translate",
    "translated",
]
