"""Text forms: scopes, vfolders, paths, moments, amounts. Knows no storage."""

from core.names.amounts import counted, duration, progress_text, size_pair, size_text, took
from core.names.models import check_model_id, check_revision
from core.names.moments import (
    local_seconds,
    moment,
    moment_ns,
    moment_of_ms,
    moment_or_none,
    parsed_moment,
    reference_moment,
    text_of_moment,
    utc,
)
from core.names.terminals import printable
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
    "check_model_id",
    "check_revision",
    "counted",
    "duration",
    "local_seconds",
    "moment",
    "moment_ns",
    "moment_of_ms",
    "moment_or_none",
    "parsed_moment",
    "printable",
    "progress_text",
    "reference_moment",
    "size_pair",
    "size_text",
    "text_of_moment",
    "took",
    "utc",
]
