"""faulty: any other backend, made slow, full, broken or hung on purpose.

    [volume.bad]
    backend = "faulty"
    path = "/mnt/bad"
    [volume.bad.options]
    backend = "vfs"                     # the backend whose calls get the faults
    faults = "/run/vfolder/bad.toml"    # read before every call; absent means healthy

The file says what is wrong at the moment; all keys are optional:

    delay_seconds = 1.5    # every call takes that much longer
    hang = true            # calls wait until the file changes
    error = "EIO"          # calls fail with this error of the operating system
    full = true            # nothing can be created, the volume has no byte left

For tests of everything above a backend, and for drills.
"""

import errno
import os
import time
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import ClassVar

from msgspec import Struct, convert

from backends.base import (
    DEFAULT_MODE,
    Backend,
    Capacity,
    HardwareInfo,
    HasAdoption,
    HasFastCapacity,
    HasFastUsage,
    HasFileClone,
    HasInodeLimits,
    HasMetric,
    HasQuota,
    HasSnapshots,
    HasSoftLimits,
    HasTreeClone,
    PerformanceMetric,
    QuotaUsage,
    Snapshot,
    TreeUsage,
)
from backends.fs import translate
from backends.volumes.wrappers.wrapper import Wrapper
from core.errors import NoSpace
from core.names import QuotaScope, VFolderId

#: How often a hung call reads the file again, in seconds.
POLL_SECONDS = 0.02


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong at the moment."""

    delay_seconds: float = 0.0
    hang: bool = False
    error: str = ""
    full: bool = False

    @classmethod
    def read(cls, path: Path) -> "Faults":
        """Return the file's content; nothing is wrong when the file is absent."""
        try:
            return convert(tomllib.loads(path.read_text("utf-8")), cls)
        except FileNotFoundError:
            return cls()


class FaultyBackend(Wrapper):
    """A backend whose every call first waits or fails as the file of faults says.

    Each method of the contract and of every skill stands here. Calls that the wrapped backend makes
    to itself get no fault, so that one call from outside gets exactly one.
    """

    name: ClassVar[str] = "faulty"

    def __init__(self, inner: Backend, faults: Path) -> None:
        super().__init__(inner)
        self._faults = faults

    def _suffer(self) -> Faults:
        """Wait or fail as the file says."""
        while (now := Faults.read(self._faults)).hang:
            time.sleep(POLL_SECONDS)
        if now.delay_seconds:
            time.sleep(now.delay_seconds)
        if now.error:
            number = getattr(errno, now.error)
            raise translate(OSError(number, os.strerror(number)))
        return now

    def _suffer_creation(self) -> None:
        if self._suffer().full:
            raise NoSpace("The volume is full; free some space or ask for another volume.")

    # -- The contract of every backend -------------------------------------------------------------
    def probe(self) -> str:
        """See `Backend.probe`."""
        self._suffer()
        return super().probe()

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`."""
        self._suffer()
        return super().lacking()

    def proved(self) -> frozenset[str]:
        """See `Backend.proved`."""
        self._suffer()
        return super().proved()

    def capacity(self) -> Capacity:
        """See `Backend.capacity`."""
        return _capacity(self._suffer(), super().capacity())

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`."""
        self._suffer()
        return super().hardware()

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`."""
        self._suffer_creation()
        super().create_scope(scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`."""
        self._suffer()
        return super().describe_scope(scope)

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`."""
        self._suffer_creation()
        super().set_limit(scope, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`."""
        self._suffer()
        super().unset_limit(scope)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`."""
        self._suffer()
        super().delete_scope(scope)

    def create_vfolder(self, vfolder: VFolderId, mode: int = DEFAULT_MODE) -> None:
        """See `Backend.create_vfolder`."""
        self._suffer_creation()
        super().create_vfolder(vfolder, mode)

    def check_vfolder(self, vfolder: VFolderId) -> None:
        """See `Backend.check_vfolder`."""
        self._suffer()
        super().check_vfolder(vfolder)

    def open_vfolder(self, vfolder: VFolderId) -> AbstractContextManager[int]:
        """See `Backend.open_vfolder`."""
        self._suffer()
        return super().open_vfolder(vfolder)

    # -- A mounted directory -----------------------------------------------------------------------
    def root(self) -> AbstractContextManager[int]:
        """See `MountedBackend.root`."""
        self._suffer()
        return super().root()

    def held(self) -> AbstractContextManager[None]:
        """See `MountedBackend.held`."""
        self._suffer()
        return super().held()

    def open_scope(self, scope: QuotaScope | None) -> AbstractContextManager[int]:
        """See `MountedBackend.open_scope`."""
        self._suffer()
        return super().open_scope(scope)

    def reflinks(self) -> bool:
        """See `MountedBackend.reflinks`."""
        self._suffer()
        return super().reflinks()

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`."""
        self._suffer()
        super().before_purge(parent, name, vfolder)

    # -- Skills ------------------------------------------------------------------------------------
    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`."""
        self._suffer()
        return self.inner_as(HasQuota).enforces_quota()

    def effective_limit(self, limit_bytes: int) -> int:
        """See `HasQuota.effective_limit`."""
        self._suffer()
        return self.inner_as(HasQuota).effective_limit(limit_bytes)

    def set_inode_limit(self, scope: QuotaScope, limit_inodes: int | None) -> None:
        """See `HasInodeLimits.set_inode_limit`."""
        self._suffer()
        self.inner_as(HasInodeLimits).set_inode_limit(scope, limit_inodes)

    def set_soft_limit(self, scope: QuotaScope, limit_bytes: int | None) -> None:
        """See `HasSoftLimits.set_soft_limit`."""
        self._suffer()
        self.inner_as(HasSoftLimits).set_soft_limit(scope, limit_bytes)

    def adopt_scope(
        self, scope: QuotaScope, limit_bytes: int, seen: Callable[[], None] = lambda: None
    ) -> None:
        """See `HasAdoption.adopt_scope`."""
        self._suffer()
        self.inner_as(HasAdoption).adopt_scope(scope, limit_bytes, seen)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`."""
        self._suffer()
        return self.inner_as(HasMetric).performance()

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """See `HasFastUsage.fast_usage`."""
        self._suffer()
        return self.inner_as(HasFastUsage).fast_usage(vfolder)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`."""
        return _capacity(self._suffer(), self.inner_as(HasFastCapacity).array_capacity())

    def clone_tree(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """See `HasTreeClone.clone_tree`."""
        self._suffer_creation()
        self.inner_as(HasTreeClone).clone_tree(source, target)

    def clone_file(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """See `HasFileClone.clone_file`."""
        self._suffer_creation()
        self.inner_as(HasFileClone).clone_file(source, target)

    def create_snapshot(self, vfolder: VFolderId, name: str) -> Snapshot:
        """See `HasSnapshots.create_snapshot`."""
        self._suffer()
        return self.inner_as(HasSnapshots).create_snapshot(vfolder, name)

    def list_snapshots(self, vfolder: VFolderId) -> list[Snapshot]:
        """See `HasSnapshots.list_snapshots`."""
        self._suffer()
        return self.inner_as(HasSnapshots).list_snapshots(vfolder)

    def delete_snapshot(self, vfolder: VFolderId, name: str) -> None:
        """See `HasSnapshots.delete_snapshot`."""
        self._suffer()
        self.inner_as(HasSnapshots).delete_snapshot(vfolder, name)

    def open_snapshot(self, vfolder: VFolderId, name: str) -> AbstractContextManager[int]:
        """See `HasSnapshots.open_snapshot`."""
        self._suffer()
        return self.inner_as(HasSnapshots).open_snapshot(vfolder, name)


def _capacity(now: Faults, found: Capacity) -> Capacity:
    return Capacity(found.capacity_bytes, found.capacity_bytes) if now.full else found
