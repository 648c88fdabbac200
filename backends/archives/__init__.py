"""Trees as one stream: planned from what lstat says, then sent exactly as planned."""

from backends.archives import plan
from backends.archives.formats import FORMATS, ZIP, ArchiveFormat
from backends.archives.members import UploadFormat
from backends.archives.pieces import Piece, cut
from backends.archives.unpack import BOUNDS, Unpacking, opened

__all__ = [
    "BOUNDS",
    "FORMATS",
    "ZIP",
    "ArchiveFormat",
    "Piece",
    "Unpacking",
    "UploadFormat",
    "cut",
    "formats",
    "members",
    "opened",
    "plan",
]
