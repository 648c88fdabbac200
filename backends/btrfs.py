"""btrfs: a subvolume per quota scope, its limit held by its qgroup.

Usage is what the last commit counted (30 seconds at most, or the next sync). Needs root.
"""

from contextlib import suppress
from typing import ClassVar

from backends import filesystems, subvolumes
from backends.native_quota import Held, NativeQuotaBackend
from core.errors import BackendFailed, Conflict
from core.names import QuotaScope


class BtrfsBackend(NativeQuotaBackend):
    """btrfs; quota is switched on where it is off."""

    name: ClassVar[str] = "btrfs"

    def probe(self) -> str:
        """See `Backend.probe`: also the file system's kind; switches quota on where it is off."""
        found = super().probe()
        with self.root() as root:
            if filesystems.magic(root) != filesystems.BTRFS:
                raise BackendFailed(f"Volume {self.mount.volume} is no btrfs file system.")
            with self._said():
                self._count(root)
        return found

    def enforces_quota(self) -> bool:
        """See `HasQuota.enforces_quota`: whether the subvolume of the top is counted."""
        with suppress(BackendFailed, OSError), self.root() as root:
            return subvolumes.counted(root, subvolumes.tree_of(root)) is not None
        return False

    def _count(self, root: int) -> None:
        if subvolumes.counted(root, subvolumes.tree_of(root)) is None:
            subvolumes.enable_quota(root)

    def _granule(self) -> int:
        return subvolumes.NODE_BYTES

    def _place(self, name: str, parent: int) -> None:
        self._count(parent)
        with suppress(FileExistsError):
            subvolumes.create(name, parent)

    def _counter(self, directory: int) -> int:
        return subvolumes.id_of(directory)

    def _give(self, directory: int, scope: QuotaScope) -> int:
        del scope
        return subvolumes.id_of(directory)

    def _take_over(self, directory: int, scope: QuotaScope) -> int:
        found = subvolumes.id_of(directory)
        if not found:
            raise Conflict(
                f"Quota scope {scope} is a plain directory, not a subvolume; only a subvolume can "
                "have a limit on btrfs. Move what it holds into a scope made by this service.",
            )
        return found

    def _held(self, directory: int, counter: int) -> Held:
        found = subvolumes.counted(directory, counter)
        if found is None:
            raise BackendFailed(f"Volume {self.mount.volume} does not count its subvolumes now.")
        return Held(found.used_bytes, found.limit_bytes)

    def _hold(self, root: int, directory: int, counter: int, limit_bytes: int | None) -> None:
        del directory
        subvolumes.set_limit(root, counter, limit_bytes)
