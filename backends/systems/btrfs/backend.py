"""btrfs: a subvolume per quota scope; its qgroup enforces the limit.

Usage is the count of the last commit, which comes after 30 seconds at most or at the next sync.
Needs root.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from msgspec import Struct

from backends.base import Snapshot
from backends.fs import descriptors, linux
from backends.mounted import MountedOptions, NativeQuotaBackend, NativeUsage
from backends.systems.btrfs import snapshots, subvolumes
from core.errors import BackendFailed, Conflict, StorageError
from core.names import QuotaScope, VFolderId


class BtrfsOptions(MountedOptions, frozen=True, kw_only=True):
    """Options of a volume on btrfs."""

    #: The kind of quotas that are switched on where there are none.
    quota: Literal["full", "simple"] = "full"


class BtrfsBackend(NativeQuotaBackend):
    """btrfs; the probe switches quota on where it is off."""

    name: ClassVar[str] = "btrfs"
    options_type: ClassVar[type[Struct] | None] = BtrfsOptions

    def probe(self) -> str:
        """See `Backend.probe`: also the file system's kind; switches quota on where it is off."""
        found = super().probe()
        if not self.mount.read_only:
            with self.root() as root, self._explained():
                self._count(root)
        return found

    def _check_mount(self, root: int) -> None:
        if linux.magic(root) != linux.BTRFS:
            raise BackendFailed(f"Volume {self.mount.volume} is no btrfs file system.")

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`: true while the counts are complete."""
        with suppress(StorageError, OSError), self.root() as root:
            found = subvolumes.counting(root)
            return found is not None and found.exact
        return False

    def create_snapshot(self, vfolder: VFolderId, name: str) -> Snapshot:
        """See `HasSnapshots.create_snapshot`."""
        with self._explained(), self.root() as root, self.open_vfolder(vfolder) as top:
            return snapshots.create(root, top, vfolder, name)

    def list_snapshots(self, vfolder: VFolderId) -> list[Snapshot]:
        """See `HasSnapshots.list_snapshots`; snapshots of an administrator are not listed."""
        with self.root() as root:
            return snapshots.known(root, vfolder)

    def delete_snapshot(self, vfolder: VFolderId, name: str) -> None:
        """See `HasSnapshots.delete_snapshot`."""
        with self._explained(), self.root() as root:
            snapshots.delete(root, vfolder, name)

    @contextmanager
    def open_snapshot(self, vfolder: VFolderId, name: str) -> Iterator[int]:
        """See `HasSnapshots.open_snapshot`."""
        with self.root() as root, snapshots.opened(root, vfolder, name) as top:
            yield top

    def before_purge(self, parent: int, name: str, vfolder: VFolderId | None = None) -> None:
        """See `MountedBackend.before_purge`."""
        del parent, name
        if vfolder is None:
            return
        with self._explained(), self.root() as root:
            if not descriptors.exists(PurePosixPath(vfolder.directory), root):
                snapshots.forget(root, vfolder)

    def _count(self, root: int) -> None:
        found = subvolumes.counting(root)
        if found is None:
            subvolumes.enable_quota(root, simple=self.mount.options.get("quota") == "simple")
        elif not found.exact and not found.rescanning:
            subvolumes.recount(root)

    def _limit_unit(self) -> int:
        return subvolumes.NODE_BYTES

    def _make_directory(self, name: str, parent: int) -> None:
        self._count(parent)
        with suppress(FileExistsError):
            subvolumes.create(name, parent)

    def _counter_of(self, directory: int) -> int:
        return subvolumes.id_of(directory)

    def _start_counting(self, directory: int, scope: QuotaScope) -> int:
        del scope
        return subvolumes.id_of(directory)

    def _adopt_tree(self, directory: int, scope: QuotaScope, seen: Callable[[], None]) -> None:
        """Do nothing: a subvolume is counted already."""

    def _check_adoptable(self, directory: int, scope: QuotaScope) -> None:
        if not subvolumes.id_of(directory):
            raise Conflict(
                f"Quota scope {scope} is a plain directory, not a subvolume; only a subvolume can "
                "have a limit on btrfs. Move what it holds into a scope made by this service.",
            )

    def _usage(self, directory: int, counter: int) -> NativeUsage:
        found = subvolumes.counted(directory, counter)
        if found is None:
            raise BackendFailed(f"Volume {self.mount.volume} does not count its subvolumes now.")
        return NativeUsage(found.used_bytes, found.limit_bytes)

    def _apply_limit(
        self, root: int, directory: int, counter: int, limit_bytes: int | None
    ) -> None:
        del directory
        subvolumes.set_limit(root, counter, limit_bytes)
