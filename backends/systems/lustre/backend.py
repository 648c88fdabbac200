"""exascaler: the backend."""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from time import monotonic
from typing import ClassVar, Literal

from msgspec import Struct, convert

from backends.base import Capacity, Enforcement, HardwareInfo, HardwareStatus, Mount
from backends.fs import layout
from backends.mounted import (
    MountedOptions,
    NativeQuotaBackend,
    NativeUsage,
    project_ids,
    unknown_options,
)
from backends.systems.lustre import proof
from backends.systems.lustre.answers import UNIT_BYTES, NotLustre, NoTool
from backends.systems.lustre.counts import KernelFirst
from backends.systems.lustre.lfs import Lfs
from core.errors import BackendFailed, ConfigurationError, StorageError
from core.names import QuotaScope
from core.process import privileges

#: How long the result of a trial of the limits is used, and that of a trial that failed (seconds).
PROOF_SECONDS = 3600.0
FAILED_PROOF_SECONDS = 60.0
#: An id that no scope has: asking for it tells whether project quota works.
_UNUSED_PROJECT = project_ids.FIRST_ID - 1
#: The reference keeps the id of a scope in this file.
_MARKER = "project_id"
#: The file system has no ids on inodes by ioctl; old clients have them by their tool only.
_NO_IOCTL = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL})
_NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP})


class LustreOptions(MountedOptions, frozen=True, kw_only=True):
    """Options of a volume on Lustre; the reference has none."""

    #: The tool's name or path.
    lfs_path: str = "lfs"
    #: How ids are set on inodes: by ioctl where the client has it, or by the tool.
    lfs_tagging: Literal["auto", "lfs"] = "auto"
    #: How limits are set and read: by ioctl where the client has it, or by the tool.
    lfs_quota: Literal["auto", "lfs"] = "auto"
    #: Try whether limits are enforced, by writing past one.
    lfs_prove: bool = True


class LustreBackend(NativeQuotaBackend):
    """Lustre: project ids and their limits; the servers enforce them where that is switched on.

    A process with CAP_SYS_RESOURCE may pass every limit, so the service gives that right up at its
    start (`registry.Volumes`).
    """

    name: ClassVar[str] = "exascaler"
    options_type: ClassVar[type[Struct] | None] = LustreOptions
    rights: ClassVar[str] = "setting limits needs root (CAP_SYS_ADMIN) on a client that may"
    not_content: ClassVar[frozenset[str]] = frozenset({_MARKER})

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount)
        for option, near in unknown_options(mount, LustreOptions).items():
            hint = f"; did you mean {near!r}?" if near else ""
            raise ConfigurationError(
                f"[volume.{mount.volume}.options]: there is no option {option!r}{hint}"
            )
        self._options = convert(dict(mount.options), LustreOptions)
        self._lfs = Lfs(self._options.lfs_path)
        by_tool = self._options.lfs_quota == "lfs"
        self._counts: Lfs | KernelFirst = self._lfs if by_tool else KernelFirst(self._lfs)
        self._verdict: tuple[float, Enforcement] | None = None

    def _check_mount(self, root: int) -> None:
        """Check that this is Lustre, and that the client has locks.

        Raises:
            BackendFailed: another file system, or mounted without `flock`.
        """
        self._check_locks(root)
        try:
            self._counts.counted(root, _UNUSED_PROJECT)
        except NotLustre:
            raise BackendFailed(f"Volume {self.mount.volume} is no Lustre.") from None
        except (OSError, BackendFailed):
            pass  # without project quota the volume works without limits

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`: true where a trial was stopped at its limit."""
        return self._enforcement() in ("hard", "not for root")

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`: the sum of the targets (`lfs df`).

        Without the tool it is that of statfs: the client asks the targets that it reaches.
        """
        try:
            with self._explained(), self.root() as root:
                found = self._lfs.targets(root)
        except NoTool:
            return self.capacity()
        return Capacity(found.capacity_bytes, found.used_bytes)

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: degraded while a target is away, which only the tool tells."""
        mounted = super().hardware()
        if mounted.status != HardwareStatus.HEALTHY:
            return mounted
        limits = {"limits": self._enforcement()}
        try:
            with self._explained(), self.root() as root:
                away = self._lfs.targets(root).away
        except NoTool:
            return HardwareInfo(HardwareStatus.HEALTHY, None, {**limits, "targets away": "unknown"})
        except StorageError as error:
            return HardwareInfo(HardwareStatus.DEGRADED, error.detail)
        metadata = {**limits, "targets away": str(len(away))}
        if not away:
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        names = ", ".join(away)
        return HardwareInfo(HardwareStatus.DEGRADED, f"Targets are away: {names}.", metadata)

    def _check_locks(self, root: int) -> None:
        """Refuse a client without locks: changes of scopes are serialized by one."""
        try:
            fcntl.flock(root, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise BackendFailed(
                f"Volume {self.mount.volume} is mounted without locks; mount it with `flock`."
            ) from None
        fcntl.flock(root, fcntl.LOCK_UN)

    @cached_property
    def _tags(self) -> project_ids.Tags | None:
        """Return the tool where it sets ids; None for ioctl."""
        if self._options.lfs_tagging == "lfs":
            return self._lfs
        with self.root() as root:
            try:
                project_ids.project_of(root)
            except OSError as error:
                if error.errno not in _NO_IOCTL:
                    raise
                return self._lfs
        return None

    def _enforcement(self) -> Enforcement:
        """Return who is stopped at a limit, from a trial of the last hour."""
        if self._verdict is None or monotonic() > self._verdict[0]:
            verdict = self._tried()
            seconds = FAILED_PROOF_SECONDS if verdict == "unknown" else PROOF_SECONDS
            self._verdict = (monotonic() + seconds, verdict)
        return self._verdict[1]

    def _tried(self) -> Enforcement:
        """Return the result of any process of the last hour, or try it."""
        if not self._options.lfs_prove:
            return "unknown"
        with suppress(OSError, StorageError), self.root() as root:
            if (known := proof.kept(root, PROOF_SECONDS)) is not None:
                return known
            if privileges.has(privileges.CAP_SYS_ADMIN) and not self.mount.read_only:
                found = proof.enforcement(root, self._counts, self._tags)
                if found != "unknown":
                    proof.keep(root, found)
                return found
        return "unknown"

    def _limit_unit(self) -> int:
        return UNIT_BYTES

    def _counter_of(self, directory: int) -> int:
        if self._tags:
            return self._tags.project_of(directory)
        return project_ids.project_of(directory)

    def _start_counting(self, directory: int, scope: QuotaScope) -> int:
        return project_ids.give(directory, scope, self._counts, self._tags)

    def _adopt_tree(self, directory: int, scope: QuotaScope, seen: Callable[[], None]) -> None:
        project = project_ids.give(directory, scope, self._counts, self._tags)
        if self._tags:
            self._lfs.tag_tree(directory, project, seen)
        else:
            project_ids.tag_tree(directory, project, seen)

    def _usage(self, directory: int, counter: int) -> NativeUsage:
        found = self._counts.counted(directory, counter)
        if not found.limit_bytes:
            return NativeUsage(found.used_bytes, None)
        return NativeUsage(found.used_bytes, found.limit_bytes, self._enforcement())

    def _unprivileged_usage(self, root: int, directory: int) -> NativeUsage:
        """Return what statvfs shows of a directory with a limit, on clients that show it."""
        found = project_ids.seen(directory, root)
        if found is None:
            return NativeUsage(None, None)
        return NativeUsage(found.used_bytes, found.limit_bytes, self._enforcement())

    def _apply_limit(
        self, root: int, directory: int, counter: int, limit_bytes: int | None
    ) -> None:
        del directory
        self._counts.set_limit(root, counter, limit_bytes or 0)

    def _remove_scope(self, scope: QuotaScope, root: int) -> None:
        """Remove the directory; the reference's file in it goes first."""
        with suppress(FileNotFoundError), self.open_scope(scope) as directory:
            if set(os.listdir(directory)) <= {_MARKER, layout.HIDDEN}:
                os.unlink(_MARKER, dir_fd=directory)
        super()._remove_scope(scope, root)

    def _after_delete(self, root: int, counter: int, scope: QuotaScope) -> None:
        del scope
        if counter:
            self._counts.forget(root, counter)
