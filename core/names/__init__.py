"""Text forms, read once at the border: scopes, vfolders, paths, moments. Knows no storage."""

from core.names.moments import moment, moment_ns, moment_of_ms, reference_moment, utc
from core.names.vfolders import (
    PATH_MAX_BYTES,
    SCOPE_PATTERN,
    VFOLDER_PATTERN,
    QuotaScope,
    ScopeKind,
    VFolderId,
    VFolderPath,
)

__all__ = [
    "PATH_MAX_BYTES",
    "SCOPE_PATTERN",
    "VFOLDER_PATTERN",
    "QuotaScope",
    "ScopeKind",
    "VFolderId",
    "VFolderPath",
    "moment",
    "moment_ns",
    "moment_of_ms",
    "reference_moment",
    "utc",
]
