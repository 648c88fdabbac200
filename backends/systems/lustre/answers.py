"""What Lustre says, whichever way it is asked."""

from dataclasses import dataclass

from backends.mounted import ProjectUsage
from core.errors import BackendFailed

#: Lustre keeps limits in units of this many bytes.
UNIT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class LustreUsage:
    """The counts of a project id; None where not all targets answered."""

    used_bytes: int | None
    limit_bytes: int
    inodes: int | None

    def complete(self) -> ProjectUsage:
        """Return the counts where all targets answered.

        Raises:
            BackendFailed: not all of them did.
        """
        if self.used_bytes is None or self.inodes is None:
            raise BackendFailed("Not all targets of the file system say what they hold.")
        return ProjectUsage(self.used_bytes, self.limit_bytes, self.inodes)


@dataclass(frozen=True, slots=True)
class LustreTargets:
    """The size of a file system as its targets report it, and the targets that are away."""

    capacity_bytes: int | None
    used_bytes: int | None
    away: tuple[str, ...]


class NotLustre(BackendFailed):
    """The directory is on another file system."""


class NoTool(BackendFailed):
    """The program `lfs` is not on this node."""
