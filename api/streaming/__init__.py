"""Bodies of responses: files, ranges, archives, budgets. This room knows no job and no door."""

from api.streaming import files, object_responses, ranges
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
    "object_responses",
    "ranges",
]
