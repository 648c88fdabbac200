"""The archives that trees are sent as."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.archives.deflated import DeflatedZip, GzippedTar
from backends.archives.pieces import Archive
from backends.archives.plan import Plan
from backends.archives.tars import Tar
from backends.archives.zips import StoredZip


@dataclass(frozen=True, slots=True)
class ArchiveFormat:
    """One kind of archive."""

    name: str
    #: How names of its files end.
    suffix: str
    content_type: str
    #: Of a directory descriptor and what is planned beneath it.
    make: Callable[[int, Plan], Archive]
    #: It can say that a file is another name of one that came before.
    hard_links: bool = False
    #: Making it takes a processor, and its length is not known before.
    packs: bool = False


ZIP = ArchiveFormat("zip", ".zip", "application/zip", StoredZip)
#: By name.
FORMATS = {
    found.name: found
    for found in (
        ZIP,
        ArchiveFormat("zip-deflate", ".zip", "application/zip", DeflatedZip, packs=True),
        ArchiveFormat("tar", ".tar", "application/x-tar", Tar, hard_links=True),
        ArchiveFormat(
            "tar.gz", ".tar.gz", "application/gzip", GzippedTar, hard_links=True, packs=True
        ),
    )
}
