"""xfs and ext4 with project quota: a project id per quota scope; the kernel enforces the limit.

Setting limits needs root (CAP_SYS_ADMIN). Any user can read the usage of a scope with a limit.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from msgspec import Struct

from backends.base import Enforcement, Mount
from backends.fs import linux
from backends.mounted import (
    MountedOptions,
    NativeQuotaBackend,
    NativeUsage,
    check_limit,
    project_ids,
)
from backends.quota import requested_limits
from backends.systems.xfs import quotactl
from backends.systems.xfs.project_files import ProjectFiles
from backends.systems.xfs.quota_tools import QuotaTools, XfsTools
from core.errors import BackendFailed, Conflict, InvalidParameters, StorageError
from core.names import QuotaScope
from core.process import privileges


class ProjectQuotaOptions(MountedOptions, frozen=True, kw_only=True):
    """Options of a volume with project quota."""

    #: Who sets limits: the kernel where it can, or always the tools.
    quota: Literal["auto", "tools"] = "auto"
    projects_file: str | None = None
    projid_file: str | None = None
    #: An option of the reference service; it has no effect here.
    lock_file_path: str | None = None


class ProjectCounts(project_ids.Counts, Protocol):
    """Counts of a file system of this node: the kernel (`quotactl`), or the system's tools."""

    def enforced(self, fd: int) -> bool:
        """Return whether the limits of projects are enforced on the file system of `fd`."""

    def set_soft_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `quotactl.set_soft_limit`."""

    def set_inode_limit(self, fd: int, project: int, limit_inodes: int) -> None:
        """See `quotactl.set_inode_limit`."""


class ProjectQuotaBackend(NativeQuotaBackend):
    """The common parts of both file systems; the subclasses name the differences."""

    of_limits: ClassVar[tuple[str, ...]] = ("inode-limit", "soft-limit")
    magic: ClassVar[int]
    #: The tools for each file system, for kernels without quotactl_fd.
    tools: ClassVar[ProjectCounts]

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount)
        files = (mount.options.get(option) for option in ("projects_file", "projid_file"))
        self._files = ProjectFiles(*(Path(file) if file else None for file in files))

    @cached_property
    def _counts(self) -> ProjectCounts:
        """Return the source of counts: the kernel, or the tools by option or need."""
        if self.mount.options.get("quota") == "tools":
            return self.tools
        with self.root() as root:
            return quotactl if quotactl.known(root) else self.tools

    def _check_mount(self, root: int) -> None:
        """Check the file system's kind, and that it enforces projects.

        Raises:
            BackendFailed: another file system, quota off, or the top itself is in a project.
        """
        if linux.magic(root) != self.magic:
            raise BackendFailed(f"Volume {self.mount.volume} is no {self.name} file system.")
        if not self._counts.enforced(root):
            raise BackendFailed(
                f"Volume {self.mount.volume} does not enforce project quota; mount it with "
                "prjquota, and run as root.",
            )
        if project_ids.project_of(root):
            raise BackendFailed(
                f"The top of volume {self.mount.volume} is in a project itself; take its "
                "project id away, so that each quota scope can have its own.",
            )

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""
        with suppress(StorageError), self.root() as root:
            return self._counts.enforced(root)
        return False

    def _limit_unit(self) -> int:
        return quotactl.UNIT_BYTES

    def _counter_of(self, directory: int) -> int:
        return project_ids.project_of(directory)

    def _start_counting(self, directory: int, scope: QuotaScope) -> int:
        project = project_ids.give(directory, scope, self._counts)
        self._files.enter(project, *self._entry(scope))
        return project

    def _adopt_tree(self, directory: int, scope: QuotaScope, seen: Callable[[], None]) -> None:
        project = project_ids.give(directory, scope, self._counts)
        self._files.enter(project, *self._entry(scope))
        project_ids.tag_tree(directory, project, seen)

    def _usage(self, directory: int, counter: int) -> NativeUsage:
        found = self._counts.usage(directory, counter)
        return NativeUsage(
            found.used_bytes,
            found.limit_bytes or None,
            self._enforcement(directory),
            soft_limit_bytes=found.soft_limit_bytes or None,
            used_inodes=found.inodes,
            limit_inodes=found.limit_inodes or None,
        )

    def _unprivileged_usage(self, root: int, directory: int) -> NativeUsage:
        found = project_ids.seen(directory, root)
        if found is None:
            return NativeUsage(None, None)
        return NativeUsage(found.used_bytes, found.limit_bytes, self._enforcement(root))

    def _enforcement(self, fd: int) -> Enforcement:
        """Ask the kernel: quotaoff(8) leaves the limits there, and they stop no writer."""
        return "hard" if self._counts.enforced(fd) else "off"

    def _entry(self, scope: QuotaScope) -> tuple[Path, str]:
        """Return the scope's name in /etc/projid, where names contain no colon."""
        return self.mount.path / scope.directory, f"vfolder-{scope.directory}"

    def _apply_limit(
        self, root: int, directory: int, counter: int, limit_bytes: int | None
    ) -> None:
        del directory
        self._counts.set_limit(root, counter, limit_bytes or 0)

    def set_inode_limit(self, scope: QuotaScope, limit_inodes: int | None) -> None:
        """See `HasInodeLimits.set_inode_limit`."""
        check_limit(limit_inodes, "limit_inodes")
        with self._project_of(scope, removes=limit_inodes is None) as (root, project):
            if project:
                self._counts.set_inode_limit(root, project, limit_inodes or 0)
            requested_limits.change(root, scope, limit_inodes=limit_inodes)

    def set_soft_limit(self, scope: QuotaScope, limit_bytes: int | None) -> None:
        """See `HasSoftLimits.set_soft_limit`; the kernel's grace period begins above it."""
        check_limit(limit_bytes, "soft_limit_bytes")
        rounded = self.effective_limit(limit_bytes) if limit_bytes else 0
        with self._project_of(scope, removes=limit_bytes is None) as (root, project):
            if project:
                hard = self._counts.usage(root, project).limit_bytes
                if quotactl.soft_below(rounded, hard) != rounded:
                    raise InvalidParameters(f"The soft limit is above the limit of {hard} bytes.")
                self._counts.set_soft_limit(root, project, rounded)
            requested_limits.change(root, scope, soft_limit_bytes=limit_bytes)

    @contextmanager
    def _project_of(self, scope: QuotaScope, *, removes: bool) -> Iterator[tuple[int, int]]:
        """Open the volume's top with its scopes locked, and name the project of a scope.

        It is 0 for a scope that is not counted, which has no limits to remove.

        Raises:
            Conflict: such a scope cannot have a limit.
        """
        with self._locked() as root, self.open_scope(scope) as directory:
            project = self._counter_of(directory)
            if not project and not removes:
                raise Conflict(
                    "Another tool made the quota scope, and it is not counted. Give it a limit of "
                    "bytes first.",
                )
            yield root, project

    def _after_delete(self, root: int, counter: int, scope: QuotaScope) -> None:
        self._files.remove(*self._entry(scope))
        if counter:
            self._counts.forget(root, counter)


class XfsBackend(ProjectQuotaBackend):
    """XFS mounted with prjquota; limits count in blocks, and files can share blocks (reflink)."""

    name: ClassVar[str] = "xfs"
    options_type: ClassVar[type[Struct] | None] = ProjectQuotaOptions
    magic: ClassVar[int] = linux.XFS
    tools: ClassVar[ProjectCounts] = XfsTools()

    def _limit_unit(self) -> int:
        with self.root() as root:
            return max(os.fstatvfs(root).f_frsize, quotactl.UNIT_BYTES)


class Ext4Backend(ProjectQuotaBackend):
    """ext4 with the features quota and project, mounted with prjquota.

    A process with CAP_SYS_RESOURCE may pass every limit. So the service gives up that capability at
    its start (`registry.Volumes`).
    """

    name: ClassVar[str] = "ext4"
    options_type: ClassVar[type[Struct] | None] = ProjectQuotaOptions
    magic: ClassVar[int] = linux.EXT4
    tools: ClassVar[ProjectCounts] = QuotaTools()

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`: false in a process that may pass every limit."""
        return super().enforces_quota() and not privileges.has(privileges.CAP_SYS_RESOURCE)
