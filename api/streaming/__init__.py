"""Bodies of responses: files, ranges, archives, events. This room knows no job and no door."""

from api.streaming import files, object_responses, ranges
from api.streaming.archives import ArchiveResponse
from api.streaming.events import COMMENT, COMMENT_SECONDS, EventStream
from api.streaming.files import FilePart, LoadedPart, attachment
from api.streaming.pacing import LOOK_SECONDS, Budget, Pace

__all__ = [
    "COMMENT",
    "COMMENT_SECONDS",
    "LOOK_SECONDS",
    "ArchiveResponse",
    "Budget",
    "EventStream",
    "FilePart",
    "LoadedPart",
    "Pace",
    "attachment",
    "files",
    "object_responses",
    "ranges",
]
