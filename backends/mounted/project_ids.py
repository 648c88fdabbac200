"""Project ids: read and set by ioctl_fsgetxattr(2), chosen for quota scopes, set on trees.

The same calls serve XFS, ext4 and Lustre.

The id on a scope's directory *is* the record: no table can disagree with it. An id is free when the
kernel counts nothing for it. Two nodes or volumes may choose the same free id at the same moment.
Then each sees two inodes counted where it set one, and chooses again.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from backends.fs import linux
from core.errors import BackendFailed
from core.names import QuotaScope

#: The range of ids; far above those that administrators write into /etc/projid.
FIRST_ID = 0x4000_0000
LAST_ID = 0x7FFF_FFFF
#: How many ids are tried before the search fails.
TRIES_MAX = 4096

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    """The kernel's counts for a project id; a limit of 0 means no limit."""

    used_bytes: int
    limit_bytes: int
    inodes: int
    soft_limit_bytes: int = 0
    limit_inodes: int = 0
    soft_limit_inodes: int = 0


def project_of(fd: int) -> int:
    """Return the project id of an inode; 0 means none.

    Raises:
        OSError: ENOTTY or EOPNOTSUPP where the file system knows no projects.
    """
    return linux.project_of(fd)[0]


def tag(fd: int, project: int) -> None:
    """Set the project id of an inode, as `linux.set_project` does."""
    linux.set_project(fd, project)


def seen(fd: int, root: int) -> ProjectUsage | None:
    """Return the counts that any user may read of a directory's project; None without a limit.

    The kernel shows the limit as the size of the file system (statvfs). It shows no inodes.
    """
    here, whole = os.fstatvfs(fd), os.fstatvfs(root)
    if here.f_blocks >= whole.f_blocks:
        return None
    used = (here.f_blocks - here.f_bfree) * here.f_frsize
    return ProjectUsage(used, here.f_blocks * here.f_frsize, 0)


class Counts(Protocol):
    """The source of the counts: the kernel, or the system's tools."""

    def usage(self, fd: int, project: int) -> ProjectUsage:
        """Return the current counts of a project id; an id that was never used has zero.

        Raises:
            OSError: EPERM without the right, ESRCH where project quota is off.
        """

    def set_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """Set the limit of a project id, a multiple of 1 KiB; 0 removes the limit.

        Raises:
            OSError: as `usage`.
        """

    def forget(self, fd: int, project: int) -> None:
        """Remove every limit of a project id, soft ones and those of inodes too.

        Raises:
            OSError: as `usage`.
        """


class Tags(Protocol):
    """What reads and sets the id of an inode: ioctl, or a tool of the file system."""

    def project_of(self, fd: int) -> int:
        """See `project_of`."""

    def tag(self, fd: int, project: int) -> None:
        """See `tag`."""


def give(directory: int, scope: QuotaScope, counts: Counts, tags: Tags | None = None) -> int:
    """Set a free project id on the empty directory of a scope; an id that it has already stays.

    A file system that counts late shows no inode of the id yet; it is taken to be free.

    Raises:
        BackendFailed: no free id was found.
        OSError: as `tag` and `Counts.usage`.
    """
    read, write = (tags.project_of, tags.tag) if tags else (project_of, tag)
    found = read(directory)
    if found:
        return found
    for project in _candidates(scope):
        counted = counts.usage(directory, project)
        if counted.inodes or counted.used_bytes:
            continue
        counts.forget(directory, project)  # a removed scope may have left limits
        write(directory, project)
        if counts.usage(directory, project).inodes <= 1:
            return project
        write(directory, 0)
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
        OSError: as `tag`; a directory that cannot be read.
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
    if project_of(fd) == project:
        return 0
    tag(fd, project)
    return 1


def _raise(error: OSError) -> None:
    raise error
