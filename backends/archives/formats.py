"""The formats of archives in which trees are sent."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from backends.archives.deflated import GzippedTar, StreamedZip
from backends.archives.deviations import Deviations
from backends.archives.pieces import Archive
from backends.archives.plan import Plan
from backends.archives.tars import Tar
from backends.archives.zips import StoredZip

#: The length of a name in a zip has 16 bits (APPNOTE 4.4.10).
ZIP_NAME_BYTES_MAX = 0xFFFF


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
    #: The longest name that it can store; None is no limit.
    name_bytes_max: int | None = None


def _zip(top: int, plan: Plan, met: Deviations) -> Archive:
    """Return a zip that is not compressed; a tolerant one has no length before its end."""
    return StreamedZip(top, plan, met, packs=False) if met.tolerant else StoredZip(top, plan, met)


ZIP = ArchiveFormat("zip", ".zip", "application/zip", _zip, name_bytes_max=ZIP_NAME_BYTES_MAX)
#: By name.
FORMATS = {
    one.name: one
    for one in (
        ZIP,
        replace(ZIP, name="zip-deflate", make=StreamedZip, packs=True),
        ArchiveFormat("tar", ".tar", "application/x-tar", Tar, hard_links=True),
        ArchiveFormat(
            "tar.gz", ".tar.gz", "application/gzip", GzippedTar, hard_links=True, packs=True
        ),
    )
}
