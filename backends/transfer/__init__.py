"""What a transfer moves, and from where to where. Knows no vendor and copies nothing."""

from backends.transfer.endpoints import Endpoint, is_directory
from backends.transfer.preview import preview_of
from backends.transfer.selection import keeps_file, only, selection_of

__all__ = [
    "Endpoint",
    "is_directory",
    "keeps_file",
    "only",
    "preview_of",
    "selection_of",
]
