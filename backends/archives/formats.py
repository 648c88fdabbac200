"""The archives that trees are sent as."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.archives.pieces import Archive
from backends.archives.plan import Plan
from backends.archives.tars import Tar
from backends.archives.zips import StoredZip


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of archive; its name is also how its files end."""

    name: str
    content_type: str
    #: Of a directory descriptor and what is planned beneath it.
    make: Callable[[int, Plan], Archive]
    #: It can say that a file is another name of one that came before.
    hard_links: bool = False

    @property
    def suffix(self) -> str:
        """How names of its files end."""
        return f".{self.name}"


ZIP = Format("zip", "application/zip", StoredZip)
TAR = Format("tar", "application/x-tar", Tar, hard_links=True)
#: By name.
FORMATS = {found.name: found for found in (ZIP, TAR)}
