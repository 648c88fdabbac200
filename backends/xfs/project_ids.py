"""Project ids of quota scopes: chosen so that no two scopes ever share one, and put on trees.

The id on a scope's directory *is* the record: there is no table that could disagree with it. An id
is free when the kernel counts nothing for it. Two nodes or volumes that choose the same free id at
the same moment see two inodes counted where each put one, and choose again.
"""

import os
import stat
from collections.abc import Callable, Iterator
from typing import Protocol

from backends.xfs import quotactl
from core.errors import BackendFailed
from core.names import QuotaScope

#: Ids we choose from, far above those administrators write into /etc/projid.
FIRST_ID = 0x4000_0000
LAST_ID = 0x7FFF_FFFF
#: So many ids are looked at before giving up.
TRIES_MAX = 4096

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Counts(Protocol):
    """Who is asked what is counted: the kernel (`quotactl`), or the tools where it cannot be."""

    def usage(self, fd: int, project: int) -> quotactl.ProjectUsage:
        """See `quotactl.usage`."""

    def set_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `quotactl.set_limit`."""

    def enforced(self, fd: int) -> bool:
        """See `quotactl.enforced`."""


def give(directory: int, scope: QuotaScope, counts: Counts = quotactl) -> int:
    """Put a free project id on the empty directory of a scope; one it has already stays.

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
        counts.set_limit(directory, project, 0)  # a scope of the past may have left one
        quotactl.tag(directory, project)
        if counts.usage(directory, project).inodes == 1:
            return project
        quotactl.tag(directory, 0)
    raise BackendFailed(f"No project id is free among the {TRIES_MAX} that were tried.")


def _candidates(scope: QuotaScope) -> Iterator[int]:
    """Ids in an order of the scope's own, so that scopes rarely meet."""
    span = LAST_ID - FIRST_ID + 1
    start = scope.id.int % span
    step = scope.id.int // span % span | 1
    for turn in range(TRIES_MAX):
        yield FIRST_ID + (start + turn * step) % span


def tag_tree(directory: int, project: int, seen: Callable[[], None] = lambda: None) -> int:
    """Count everything below a directory for a project id, top first; how many inodes were changed.

    What has the id already is passed over, so a walk that was interrupted goes on. Links, fifos,
    sockets and devices keep theirs: no descriptor reaches them. Other file systems mounted inside
    are not entered. Costs three system calls per entry that has the id already. `seen` is called
    for every entry and may raise to stop.

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
    """A descriptor of a file or directory; None for anything else, and for what went away."""
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
