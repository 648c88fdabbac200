"""xfs and ext4 with project quota: a project id per quota scope, its limit held by the kernel.

A scope is made aside (`.vfolder/making`), given its id and limit there, and appears by one rename:
whole or not at all, and whoever comes after a death goes on with the same id. Acts on scopes are
one at a time per volume, by a lock on the volume's own room.

Needs root (CAP_SYS_ADMIN); reading usage does too.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import ClassVar

from backends import descriptors, filesystems, layout, limits, projects, quotactl
from backends.base import QuotaUsage
from backends.posix import PosixBackend, check_limit
from core import privileges
from core.errors import BackendFailed, QuotaScopeExists
from core.names import QuotaScope

#: Clients and kernels count in signed 64-bit numbers.
LIMIT_MAX_BYTES = 2**63 - 1


class ProjectQuotaBackend(PosixBackend):
    """What both file systems share; the classes below name their differences."""

    magic: ClassVar[int]

    def probe(self) -> str:
        """See `Backend.probe`: also the file system's kind, and that it enforces projects.

        Raises:
            BackendFailed: another file system, quota off, or the top itself is in a project.
        """
        found = super().probe()
        with self.root() as root:
            if filesystems.magic(root) != self.magic:
                raise BackendFailed(f"Volume {self.mount.volume} is no {self.name} file system.")
            if not quotactl.enforced(root):
                raise BackendFailed(
                    f"Volume {self.mount.volume} does not enforce project quota; mount it with "
                    "prjquota, and run as root.",
                )
            if quotactl.project_of(root):
                raise BackendFailed(
                    f"The top of volume {self.mount.volume} is in a project itself; take its "
                    "project id away, so that each quota scope can have its own.",
                )
        return found

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""
        with suppress(BackendFailed), self.root() as root:
            return quotactl.enforced(root)
        return False

    def effective_limit(self, limit_bytes: int) -> int:
        """See `HasQuota.effective_limit`."""
        granule = self._granule()
        return min(-(-limit_bytes // granule), LIMIT_MAX_BYTES // granule) * granule

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`."""
        check_limit(limit_bytes)
        with self._alone() as root:
            if descriptors.exists(PurePosixPath(scope.directory), root):
                raise QuotaScopeExists(f"Quota scope {scope} is already there.")
            self._make(root, scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`: exact, one call of the kernel.

        A scope that is in no project (made by somebody else) is unknown until it gets a limit.
        """
        with self.open_scope(scope) as directory, self.root() as root:
            project = quotactl.project_of(directory)
            if not project:
                return QuotaUsage()
            found = quotactl.usage(directory, project)
            if not found.limit_bytes:
                return QuotaUsage(used_bytes=found.used_bytes)
            return QuotaUsage(
                used_bytes=found.used_bytes,
                limit_bytes=found.limit_bytes,
                requested_bytes=self._requested(root, scope, found.limit_bytes),
                enforced="hard",
            )

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`; a tree that is in no project yet is put into one, all of it.

        Costs one call for a scope of ours, and a walk for one that somebody else made.
        """
        check_limit(limit_bytes)
        with self._alone() as root:
            if not descriptors.exists(PurePosixPath(scope.directory), root):
                self._make(root, scope, limit_bytes)
                return
            with self.open_scope(scope) as directory:
                project = self._adopt(root, directory, scope, limit_bytes)
                self._limit(directory, project, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`; the scope stays in its project and is counted."""
        with self._alone() as root, self.open_scope(scope) as directory:
            project = quotactl.project_of(directory)
            if project:
                self._limit(directory, project, None)
            limits.forget(root, scope)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`; its project id is free once nothing carries it."""
        with self._alone() as root:
            with self.open_scope(scope) as directory:
                project = quotactl.project_of(directory)
            super().delete_scope(scope)
            limits.forget(root, scope)
            if project:
                quotactl.set_limit(root, project, 0)

    def _make(self, root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
        name, room = scope.directory, layout.area(None, layout.MAKING)
        with descriptors.made(room, root, descriptors.HIDDEN_MODE) as aside:
            with suppress(FileExistsError):  # somebody died here; go on with his
                os.mkdir(name, descriptors.PREFIX_MODE, dir_fd=aside)
            with descriptors.opened(name, aside) as directory:
                project = projects.give(directory, scope)
                self._limit(directory, project, limit_bytes)
                self._keep(root, scope, limit_bytes)
                os.fsync(directory)
            try:
                descriptors.rename_new(name, aside, name, root)
            except FileExistsError:  # by somebody who does not know our lock
                os.rmdir(name, dir_fd=aside)
                raise QuotaScopeExists(f"Quota scope {scope} is already there.") from None

    def _adopt(self, root: int, directory: int, scope: QuotaScope, limit_bytes: int) -> int:
        """The project of an existing scope, with all it holds in it."""
        wish = limits.find(root, scope)
        project = quotactl.project_of(directory)
        if project and not (wish and wish.adopting):
            self._keep(root, scope, limit_bytes)
            return project
        limits.keep(root, scope, limits.Wish(limit_bytes, adopting=True))
        project = projects.give(directory, scope)
        projects.tag_tree(directory, project)
        self._keep(root, scope, limit_bytes)
        return project

    def _keep(self, root: int, scope: QuotaScope, limit_bytes: int | None) -> None:
        if limit_bytes is None:
            limits.forget(root, scope)
        else:
            limits.keep(root, scope, limits.Wish(limit_bytes))

    def _requested(self, root: int, scope: QuotaScope, limit_bytes: int) -> int:
        """What was asked for, unless somebody changed the limit behind our back."""
        wish = limits.find(root, scope)
        if wish is None or self.effective_limit(wish.requested_bytes) != limit_bytes:
            return limit_bytes
        return wish.requested_bytes

    def _limit(self, directory: int, project: int, limit_bytes: int | None) -> None:
        wanted = self.effective_limit(limit_bytes) if limit_bytes else 0
        quotactl.set_limit(directory, project, wanted)
        held = quotactl.usage(directory, project).limit_bytes
        if held != wanted:
            raise BackendFailed(f"The file system holds a limit of {held} bytes, not {wanted}.")

    def _granule(self) -> int:
        return quotactl.UNIT_BYTES

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """The volume's top, with nobody else at work on scopes; errors said in our words."""
        with self.root() as root:
            room = PurePosixPath(layout.HIDDEN)
            try:
                with descriptors.made(room, root, descriptors.HIDDEN_MODE) as ours:
                    fcntl.flock(ours, fcntl.LOCK_EX)
                    yield root
            except PermissionError:
                raise BackendFailed(f"Quota on volume {self.mount.volume} needs root.") from None
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                raise BackendFailed(
                    f"Volume {self.mount.volume} does not enforce project quota; mount it with "
                    "prjquota.",
                ) from None


class XfsBackend(ProjectQuotaBackend):
    """XFS mounted with prjquota; limits are kept in blocks, and files share theirs (reflink)."""

    name: ClassVar[str] = "xfs"
    magic: ClassVar[int] = filesystems.XFS

    def _granule(self) -> int:
        with self.root() as root:
            return max(os.fstatvfs(root).f_frsize, quotactl.UNIT_BYTES)


class Ext4Backend(ProjectQuotaBackend):
    """ext4 with the features quota and project, mounted with prjquota.

    Limits do not hold whoever has CAP_SYS_RESOURCE: the service gives that right up at its start
    (`registry.Volumes`).
    """

    name: ClassVar[str] = "ext4"
    magic: ClassVar[int] = filesystems.EXT4

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`: not for a process that may pass every limit."""
        return super().enforces_quota() and not privileges.has(privileges.CAP_SYS_RESOURCE)
