"""The formats of archives in which trees are sent."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.archives.deflated import GzippedTar, StreamedZip
from backends.archives.deviations import Deviations
from backends.archives.pieces import Archive
from backends.archives.plan import Plan
from backends.archives.tars import Tar
from backends.archives.zips import StoredZip


@dataclass(frozen=True, slots=True)
class ArchiveFormat:
    """One format of archives."""

    name: str
    #: The end of its file names.
    suffix: str
    content_type: str
    #: Makes an archive of a directory descriptor, the plan of what is beneath it, and where to keep
    #: what is met otherwise than planned.
    make: Callable[[int, Plan, Deviations], Archive]
    #: Whether it can store that a file is another name of an earlier one.
    hard_links: bool = False
    #: Whether it compresses: that takes processor time, and the length is not known before.
    packs: bool = False


def _zip(top: int, plan: Plan, met: Deviations) -> Archive:
    """Return a zip that is not compressed; a tolerant one has no length before its end."""
    return StreamedZip(top, plan, met, packs=False) if met.tolerant else StoredZip(top, plan, met)


ZIP = ArchiveFormat("zip", ".zip", "application/zip", _zip)
#: By name.
FORMATS = {
    one.name: one
    for one in (
        ZIP,
        ArchiveFormat("zip-deflate", ".zip", "application/zip", StreamedZip, packs=True),
        ArchiveFormat("tar", ".tar", "application/x-tar", Tar, hard_links=True),
        ArchiveFormat(
            "tar.gz", ".tar.gz", "application/gzip", GzippedTar, hard_links=True, packs=True
        ),
    )
}
