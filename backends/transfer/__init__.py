"""What a transfer moves and between which places. Knows no vendor and copies nothing."""

from backends.transfer.endpoints import Endpoint, is_directory
from backends.transfer.preview import foreseen
from backends.transfer.selection import keeps_file, only, selection_of

__all__ = [
    "Endpoint",
    "foreseen",
    "is_directory",
    "keeps_file",
    "only",
    "selection_of",
]
