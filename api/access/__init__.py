"""Access at the doors: who asks, which record is meant, what is decided. Knows no route.

What needs `links` imports it by name: it loads libraries that most doors do not need.
"""

from api.access.decisions import OPENINGS, AccessService
from api.access.explaining import NO_VFOLDER, explanation, the_one
from api.access.news import VFolderNews
from api.access.records import (
    AmbiguousReference,
    FoundVFolder,
    RevisionChanged,
    VFolders,
    scopes_of,
    words_of,
)
from api.access.revisions import check_unchanged, etag_of
from api.access.streams import KeptDecision, open_answer

__all__ = [
    "NO_VFOLDER",
    "OPENINGS",
    "AccessService",
    "AmbiguousReference",
    "FoundVFolder",
    "KeptDecision",
    "RevisionChanged",
    "VFolderNews",
    "VFolders",
    "check_unchanged",
    "etag_of",
    "explanation",
    "links",
    "open_answer",
    "scopes_of",
    "the_one",
    "words_of",
]
