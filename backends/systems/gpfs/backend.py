"""gpfs and spectrumscale: the backends. The volume is mounted; the cluster makes filesets."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar

from backends.base import Capacity, Mount, PerformanceMetric
from backends.fs import descriptors
from backends.mounted.rest import jobs
from backends.retention import ArraySnapshot, ArraySnapshots
from backends.systems.gpfs.command_line import CommandInterface
from backends.systems.gpfs.interface import FullScaleInterface, ScaleSnapshot
from backends.systems.gpfs.native import NativeInterface
from backends.systems.gpfs.options import GpfsOptions, options
from backends.systems.gpfs.rest import RestInterface
from backends.systems.gpfs.scopes import LONGEST_PAUSE_SECONDS, SNAPSHOTS, ScaleBackend
from core.errors import Conflict, Unsupported
from core.names import QuotaScope, VFolderId, utc

#: Characters of our snapshot names that a command of the cluster reads as separators.
_ESCAPES = {":": "@c", "+": "@p"}
#: Ends the cluster's name of a snapshot: when it was made, in seconds of the epoch (hexadecimal).
_STAMP = re.compile(r"(.*)@t([0-9a-f]+)")


class SnapshotScaleBackend(ScaleBackend, ArraySnapshots):
    """Storage Scale with snapshots of filesets, and figures of the file system."""

    doubtful: ClassVar[tuple[str, ...]] = ("snapshot", *ScaleBackend.doubtful)

    def __init__(self, mount: Mount, found: GpfsOptions, scale: FullScaleInterface) -> None:
        super().__init__(mount, found, scale)
        self._full = scale

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`: the sum of the pools with data."""
        with self._within_deadline():
            return self._full.capacity()

    def _available(self) -> Mapping[str, bool]:
        independent = self._options.gpfs_inode_space == "new"
        return {**super()._available(), "snapshot": independent}

    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        return [
            ArraySnapshot(name, one.number, utc(stamp))
            for one, name, stamp in self._known_snapshots(vfolder)
            if name.startswith(prefix)
        ]

    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        scope = _scope_of(vfolder)
        fileset = self._find(scope.directory)
        if fileset is None:
            raise Conflict("The quota scope is no fileset, so it has no snapshots.")
        array_name = f"{encoded(name)}@t{int(time.time()):x}"
        self._full.create_snapshot(fileset.name, array_name)
        made: list[ArraySnapshot] = []

        def listed() -> bool:
            made.extend(one for one in self._list_snapshots(vfolder, name) if one.name == name)
            return bool(made)

        jobs.wait(listed, LONGEST_PAUSE_SECONDS)
        return made[0]

    def _drop_snapshot(self, vfolder: VFolderId, snapshot: ArraySnapshot) -> None:
        fileset = self._find(_scope_of(vfolder).directory)
        for one, _, _ in self._known_snapshots(vfolder):
            if fileset is not None and one.number == snapshot.number:
                self._full.delete_snapshot(fileset.name, one.name)

        def gone() -> bool:
            return all(one.number != snapshot.number for one, *_ in self._known_snapshots(vfolder))

        jobs.wait(gone, LONGEST_PAUSE_SECONDS)

    def _known_snapshots(self, vfolder: VFolderId) -> list[tuple[ScaleSnapshot, str, int]]:
        """Return our snapshots of the vfolder's fileset: each with its name and its moment."""
        fileset = self._find(vfolder.scope.directory) if vfolder.scope else None
        found = self._full.snapshots(fileset.name) if fileset else []
        matches = [(one, _STAMP.fullmatch(one.name)) for one in found]
        return [(one, decoded(m[1]), int(m[2], 16)) for one, m in matches if m]

    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        scope = _scope_of(vfolder)
        kept = PurePosixPath(scope.directory, SNAPSHOTS)
        with self.root() as root, descriptors.opened(kept, root) as directory:
            begin = f"{encoded(name)}@t"
            names = [one for one in os.listdir(directory) if one.startswith(begin)]
        if not names:
            raise FileNotFoundError(name)
        return kept / max(names) / PurePosixPath(vfolder.directory).relative_to(scope.directory)


class GpfsBackend(SnapshotScaleBackend):
    """Storage Scale by its management API, which reports rates, too."""

    def __init__(self, mount: Mount) -> None:
        found = options(mount)
        self._rest = RestInterface(found)
        super().__init__(mount, found, self._rest)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`: of the file system on all nodes, over the last minute."""
        with self._within_deadline():
            return self._rest.performance()


class GpfsCommandBackend(SnapshotScaleBackend):
    """Storage Scale by the commands of this node."""

    def __init__(self, mount: Mount) -> None:
        found = options(mount)
        super().__init__(mount, found, CommandInterface(found))


class GpfsNativeBackend(ScaleBackend):
    """Storage Scale by its native REST API, which tells neither rates nor sizes."""

    def __init__(self, mount: Mount) -> None:
        found = options(mount)
        super().__init__(mount, found, NativeInterface(found))


class SpectrumScaleBackend(GpfsBackend):
    """Storage Scale by its management API, under its older name."""

    name: ClassVar[str] = "spectrumscale"


class SpectrumScaleCommandBackend(GpfsCommandBackend):
    """Storage Scale by the commands of this node, under its older name."""

    name: ClassVar[str] = "spectrumscale"


class SpectrumScaleNativeBackend(GpfsNativeBackend):
    """Storage Scale by its native REST API, under its older name."""

    name: ClassVar[str] = "spectrumscale"


def gpfs(mount: Mount) -> ScaleBackend:
    """Make the backend that asks the cluster as the options of the volume say."""
    match options(mount).gpfs_interface:
        case "commands":
            return GpfsCommandBackend(mount)
        case "v3":
            return GpfsNativeBackend(mount)
    return GpfsBackend(mount)


def spectrumscale(mount: Mount) -> ScaleBackend:
    """Make the same under its older name."""
    match options(mount).gpfs_interface:
        case "commands":
            return SpectrumScaleCommandBackend(mount)
        case "v3":
            return SpectrumScaleNativeBackend(mount)
    return SpectrumScaleBackend(mount)


def _scope_of(vfolder: VFolderId) -> QuotaScope:
    if vfolder.scope is None:
        raise Unsupported("A vfolder without a quota scope is in no fileset of its own.")
    return vfolder.scope


def encoded(name: str) -> str:
    """Return a name of ours as a snapshot of the cluster may have it."""
    for character, escape in _ESCAPES.items():
        name = name.replace(character, escape)
    return name


def decoded(name: str) -> str:
    """Return the name of ours that `encoded` was given."""
    for character, escape in _ESCAPES.items():
        name = name.replace(escape, character)
    return name
