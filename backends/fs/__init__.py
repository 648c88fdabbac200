"""The file system calls all others use: descriptors, paths, layout. Knows no backend."""

from backends.fs import descriptors, directory, filesystems, layout, paths
from backends.fs.descriptors import PREFIX_MODE
from backends.fs.errors import ERRORS, entry_errors, reason_of, translate, translated
from backends.fs.paths import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, kernel_resolves
from backends.fs.reflink import shares_blocks

__all__ = [
    "ERRORS",
    "PREFIX_MODE",
    "RESOLVE_BENEATH",
    "RESOLVE_NO_MAGICLINKS",
    "descriptors",
    "directory",
    "entry_errors",
    "filesystems",
    "kernel_resolves",
    "layout",
    "paths",
    "reason_of",
    "shares_blocks",
    "translate",
    "translated",
]
