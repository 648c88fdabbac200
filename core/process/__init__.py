"""The process itself: version, user, privileges, children, metric files. Knows no job."""

from core.process import identity, metrics_files, privileges
from core.process.child import end_with_parent, request_end_with_parent

__all__ = [
    "end_with_parent",
    "identity",
    "metrics_files",
    "privileges",
    "request_end_with_parent",
    "version",
]
