"""Text forms that are read once, at the border: quota scopes, vfolders, paths. Knows no storage."""

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
]
