"""Archives of trees: made as one stream from a plan, and unpacked. Knows no door and no job."""

from backends.archives import plan
from backends.archives.deviations import Deviations
from backends.archives.formats import FORMATS, ZIP, ArchiveFormat
from backends.archives.members import UploadFormat
from backends.archives.pieces import Piece, cut
from backends.archives.unpack import BOUNDS, Unpacking, UnpackOptions, opened

__all__ = [
    "BOUNDS",
    "FORMATS",
    "ZIP",
    "ArchiveFormat",
    "Deviations",
    "Piece",
    "UnpackOptions",
    "Unpacking",
    "UploadFormat",
    "cut",
    "formats",
    "members",
    "opened",
    "plan",
]
