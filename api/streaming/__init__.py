"""Bodies of answers: ranges, archives, pacing, preconditions. Knows no Flask request."""

from api.streaming import files, ranges
from api.streaming.archives import ArchiveResponse
from api.streaming.files import FilePart, attachment
from api.streaming.pacing import LOOK_SECONDS, Budget, Pace

__all__ = [
    "LOOK_SECONDS",
    "ArchiveResponse",
    "Budget",
    "FilePart",
    "Pace",
    "attachment",
    "files",
    "ranges",
]
