"""Choose project ids, one for each quota scope, and set them on trees.

The id on a scope's directory *is* the record: no table can disagree with it. An id is free when the
kernel counts nothing for it. Two nodes or volumes may choose the same free id at the same moment.
Then each sees two inodes counted where it set one, and chooses again.
"""

import os
import stat
from collections.abc import Callable, Iterator
from typing import Protocol

from backends.systems.xfs import quotactl
from core.errors import BackendFailed
from core.names import QuotaScope

#: The range of ids; far above those that administrators write into /etc/projid.
FIRST_ID = 0x4000_0000
LAST_ID = 0x7FFF_FFFF
#: How many ids are tried before the search fails.
TRIES_MAX = 4096

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Counts(Protocol):
    """The source of the counts: the kernel (`quotactl`), or the system's tools."""

    def usage(self, fd: int, project: int) -> quotactl.ProjectUsage:
        """See `quotactl.usage`."""

    def set_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `quotactl.set_limit`."""

    def enforced(self, fd: int) -> bool:
        """See `quotactl.enforced`."""


def give(directory: int, scope: QuotaScope, counts: Counts = quotactl) -> int:
    """Set a free project id on the empty directory of a scope; an id that it has already stays.

    Raises:
        BackendFailed: no free id was found.
        OSError: as `quotactl.tag` and `quotactl.usage`.
    """
    found = quotactl.project_of(directory)
    if found:
        return found
    for project in _candidates(scope):
        counted = counts.usage(directory, project)
        if counted.inodes or counted.used_bytes:
            continue
        counts.set_limit(directory, project, 0)  # a removed scope may have left it
        quotactl.tag(directory, project)
        if counts.usage(directory, project).inodes == 1:
            return project
        quotactl.tag(directory, 0)
    raise BackendFailed(f"No project id is free among the {TRIES_MAX} that were tried.")


def _candidates(scope: QuotaScope) -> Iterator[int]:
    """Yield ids in an order derived from the scope, so that two scopes rarely try the same id."""
    span = LAST_ID - FIRST_ID + 1
    start = scope.id.int % span
    step = scope.id.int // span % span | 1
    for turn in range(TRIES_MAX):
        yield FIRST_ID + (start + turn * step) % span


def tag_tree(directory: int, project: int, seen: Callable[[], None] = lambda: None) -> int:
    """Set a project id on everything below a directory, top first; return how many inodes changed.

    Entries that have the id already are skipped, so an interrupted walk can start again. Links,
    fifos, sockets and devices keep their id: no descriptor reaches them. File systems mounted
    inside are not entered. Costs three system calls for an entry that has the id already. `seen`
    is called for every entry and may raise to stop.

    Raises:
        OSError: as `quotactl.tag`; a directory that cannot be read.
    """
    device = os.fstat(directory).st_dev
    changed = _tag(directory, project)
    for _, below, files, here in os.fwalk(".", dir_fd=directory, onerror=_raise):
        for name in [*below, *files]:
            seen()
            fd = _open(name, here)
            if fd is None:
                continue
            try:
                if os.fstat(fd).st_dev == device:
                    changed += _tag(fd, project)
                elif name in below:
                    below.remove(name)
            finally:
                os.close(fd)
    return changed


def _open(name: str, parent: int) -> int | None:
    """Open a file or directory; None for anything else, and for an entry that is gone."""
    try:
        kind = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            return os.open(name, _OPEN, dir_fd=parent)
    except FileNotFoundError:
        return None
    return None


def _tag(fd: int, project: int) -> int:
    if quotactl.project_of(fd) == project:
        return 0
    quotactl.tag(fd, project)
    return 1


def _raise(error: OSError) -> None:
    raise error
