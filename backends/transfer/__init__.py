"""What a transfer moves, and from where to where. Knows no vendor and copies nothing."""

from backends.transfer.arrivals import EXCLUDED, Arrivals, ArrivalTerms, Stays, TreeSide
from backends.transfer.cloning import FileCloner, file_cloner, place_below, tree_cloner
from backends.transfer.endpoints import Endpoint, is_directory
from backends.transfer.preview import preview_of
from backends.transfer.remote import RemoteEndpoint, answer_node
from backends.transfer.selection import keeps_file, only, selection_of

__all__ = [
    "EXCLUDED",
    "ArrivalTerms",
    "Arrivals",
    "Endpoint",
    "FileCloner",
    "RemoteEndpoint",
    "Stays",
    "TreeSide",
    "answer_node",
    "file_cloner",
    "is_directory",
    "keeps_file",
    "only",
    "place_below",
    "preview_of",
    "selection_of",
    "tree_cloner",
]
