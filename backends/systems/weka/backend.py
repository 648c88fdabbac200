"""weka: the backend."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import ClassVar

from backends.base import Capacity, HardwareInfo, Mount, PerformanceMetric, TreeUsage
from backends.fs import descriptors, linux
from backends.mounted import ArraySoftLimits, ArrayUsage, await_limit
from backends.mounted.rest import ArrayRefused, options_of
from backends.retention import ArraySnapshot, ArraySnapshots
from backends.systems.weka import snapshots
from backends.systems.weka.api import WekaApi, WekaOptions, WekaRates
from backends.systems.weka.health import health, refuse_old
from backends.systems.weka.snapshots import DIRECTORY, WekaSnapshots
from core.errors import BackendFailed, Conflict, InvalidParameters, Unavailable
from core.names import VFolderId

#: Limits are multiples of this many bytes.
GRANULE_BYTES = 4096


class WekaBackend(ArraySnapshots, ArraySoftLimits):
    """WEKA: directory quotas, snapshots, the file system's budget, rates of the cluster."""

    name: ClassVar[str] = "weka"
    doubtful: ClassVar[tuple[str, ...]] = ("snapshot", "soft-limit")

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, WekaOptions)
        super().__init__(mount, options.deadline_seconds)
        self._options = options
        self._by_stat = options.weka_inode_source == "stat"
        self._api = WekaApi(options)
        self._snapshots = WekaSnapshots(self._api)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`: the file system's budget."""
        with self._within_deadline():
            found = self._api.file_system()
        return Capacity(found.total_budget, found.used_total)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`: now, of all processes of the cluster."""
        with self._within_deadline():
            rows = self._api.get("/stats/realtime", list[WekaRates])
        sampled = [row for row in rows if None not in (row.reads_per_second, row.writes_per_second)]
        if rows and not sampled:
            raise Unavailable("WEKA has no sample of the cluster's speed now.")

        def total(what: str, weight: str = "") -> float:
            weights = [getattr(row, weight) if weight else 1 for row in sampled]
            return sum(
                (getattr(row, what) or 0) * by for row, by in zip(sampled, weights, strict=True)
            )

        reads, writes = total("reads_per_second"), total("writes_per_second")
        read_time = total("read_latency_usecs", "reads_per_second")
        write_time = total("write_latency_usecs", "writes_per_second")
        return PerformanceMetric(
            iops_read=round(reads),
            iops_write=round(writes),
            io_bytes_read=round(total("read_bytes_per_second")),
            io_bytes_write=round(total("write_bytes_per_second")),
            io_usec_read=read_time / reads if reads else 0.0,
            io_usec_write=write_time / writes if writes else 0.0,
        )

    def _health(self) -> HardwareInfo:
        return health(self._api)

    def _available(self) -> Mapping[str, bool]:
        ready = self._api.file_system().is_ready
        shown = self._shows_snapshots() and self._snapshots.readable()
        return {"quota": ready, "soft-limit": ready, "snapshot": shown}

    def _has_directory(self, path: str) -> bool | None:
        if self._by_stat:
            return None
        found = self._api.inode(path) is not None
        if not found:
            refuse_old(self._api)
        return found

    def _limit_unit(self) -> int:
        return GRANULE_BYTES

    def _usage(self, name: str) -> ArrayUsage:
        inode = self._inode(name)
        quota = self._api.quota(inode) if inode else None
        if quota is None:
            return ArrayUsage()
        return ArrayUsage(
            quota.total_bytes if quota.counted else None,
            quota.limit,
            "hard" if quota.counted else None,
            soft_limit_bytes=quota.soft_limit,
            exceeded=quota.exceeded,
        )

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        """Set the hard limit; a soft one stays, unless it is above."""
        inode = self._known_inode(name)
        quota = self._api.quota(inode)
        if limit_bytes is None and not (self._is_empty(name) if quota is None else quota.limit):
            return
        if quota is None:
            self._make_quota(inode, name, limit_bytes)
        elif limit_bytes is not None and (quota.soft_limit or 0) > limit_bytes:
            self._api.change_quota(inode, hard=limit_bytes, soft=None)
        else:
            self._api.change_quota(inode, hard=limit_bytes)
        self._await(inode, limit_bytes)

    def _apply_soft_limit(self, name: str, limit_bytes: int | None) -> None:
        inode = self._known_inode(name)
        quota = self._api.quota(inode)
        if quota is None and limit_bytes is None:
            return
        hard = quota.limit if quota else None
        if limit_bytes is not None and hard is not None and limit_bytes > hard:
            raise InvalidParameters(f"The soft limit is above the limit of {hard} bytes.")
        if quota is None:
            self._make_quota(inode, name, None)
        self._api.change_quota(inode, soft=limit_bytes)

    def _known_inode(self, name: str) -> str:
        inode = self._inode(name)
        if inode is None:
            raise BackendFailed("WEKA does not know the directory of this quota scope.")
        return inode

    def _make_quota(self, inode: str, name: str, limit_bytes: int | None) -> None:
        try:
            self._api.make_quota(inode, name, limit_bytes)
        except ArrayRefused as refusal:
            if self._is_empty(name):
                raise
            raise Conflict(
                "WEKA gives a directory that holds something no quota unless its data services "
                f"run. {refusal.detail}",
            ) from None

    def _await(self, inode: str, limit: int | None) -> None:
        def counted() -> bool | None:
            quota = self._api.quota(inode)
            if quota is None or quota.limit != limit:
                return None
            if quota.status == "ERROR":
                raise BackendFailed("WEKA could not count what is in the directory.")
            return quota.counted

        await_limit(counted)

    def _remove_objects(self, name: str) -> bool:
        place = self._options.place(name)
        mine = [q for q in self._api.quotas() if (q.full_path or q.path).strip("/") == place]
        for quota in mine:
            self._api.delete_quota(str(quota.inode_id))
        return bool(mine)

    def _inode(self, name: str) -> str | None:
        if not self._by_stat:
            return self._api.inode(name)
        with self.root() as root, suppress(FileNotFoundError):
            return str(os.stat(name, dir_fd=root, follow_symlinks=False).st_ino)
        return None

    # -- Snapshots -----------------------------------------------------------------------------
    def _array_path(self, path: str) -> str:
        return f"/{self._options.place(path)}"

    def _list_snapshots(self, vfolder: VFolderId, prefix: str) -> list[ArraySnapshot]:
        names = self._snapshot_names(vfolder)
        return self._snapshots.known({prefix + name: own for name, own in names.items()})

    def _make_snapshot(self, vfolder: VFolderId, name: str) -> ArraySnapshot:
        ours = name.removeprefix(self._prefix(vfolder))
        with self.root() as root:
            own = snapshots.record(root, vfolder, ours)
            linux.sync_file_system(root)
            try:
                made = self._snapshots.make(own)
            except ArrayRefused:
                snapshots.forget(root, vfolder, ours)
                raise
        return made.known_as(name)

    def _drop_snapshot(self, vfolder: VFolderId, snapshot: ArraySnapshot) -> None:
        ours = snapshot.name.removeprefix(self._prefix(vfolder))
        self._snapshots.drop(self._snapshot_names(vfolder)[ours])
        with self.root() as root:
            snapshots.forget(root, vfolder, ours)

    def _drop_all(self, vfolder: VFolderId) -> None:
        super()._drop_all(vfolder)
        with self.root() as root:
            for name in snapshots.records(root, vfolder):  # of deletions that were interrupted
                snapshots.forget(root, vfolder, name)

    def _snapshot_place(self, vfolder: VFolderId, name: str) -> PurePosixPath:
        ours = name.removeprefix(self._prefix(vfolder))
        own = self._snapshot_names(vfolder).get(ours)
        if own is None:
            raise FileNotFoundError(ours)
        return self._shown(vfolder, own)

    def _snapshot_names(self, vfolder: VFolderId) -> dict[str, str]:
        with self.root() as root:
            return snapshots.records(root, vfolder)

    def _shown(self, vfolder: VFolderId, own: str) -> PurePosixPath:
        """Return where a snapshot shows the vfolder, below `_snapshots_top`."""
        below = PurePosixPath(own, self._options.place(str(vfolder.directory)))
        return below if self._options.weka_snapshots_path else DIRECTORY / below

    @contextmanager
    def _snapshots_top(self) -> Iterator[int]:
        """Open the directory that snapshots are found below: the volume, or that of the option."""
        place = self._options.weka_snapshots_path
        if place is None:
            with super()._snapshots_top() as root:
                yield root
        else:
            with descriptors.opened(place) as top:
                yield top

    def _shows_snapshots(self) -> bool:
        """Return whether this node shows snapshots: a mount below the top shows none."""
        try:
            with self._snapshots_top() as top:
                return self._options.weka_snapshots_path is not None or descriptors.exists(
                    PurePosixPath(DIRECTORY), top
                )
        except (FileNotFoundError, NotADirectoryError):
            return False


class WekaVFolderQuotaBackend(WekaBackend):
    """WEKA where an administrator gives every vfolder a quota of its own, which counts it."""

    doubtful: ClassVar[tuple[str, ...]] = (*WekaBackend.doubtful, "fast-size")

    def fast_usage(self, vfolder: VFolderId) -> TreeUsage:
        """See `HasFastUsage.fast_usage`: the bytes that the vfolder's own quota counts.

        WEKA counts no entries. It counts blocks, with those of metadata.
        """
        with self._within_deadline(), self.open_vfolder(vfolder):
            inode = self._inode(str(vfolder.directory))
            quota = self._api.quota(inode) if inode else None
        if quota is None or quota.total_bytes is None or not quota.counted:
            return TreeUsage(file_count=None, used_bytes=0, complete=False)
        return TreeUsage(file_count=None, used_bytes=quota.total_bytes)

    def _available(self) -> Mapping[str, bool]:
        found = super()._available()
        return {**found, "fast-size": found["quota"]}


def weka(mount: Mount) -> WekaBackend:
    """Make the backend that the options of the volume ask for."""
    counts = options_of(mount, WekaOptions).weka_vfolder_quotas
    return WekaVFolderQuotaBackend(mount) if counts else WekaBackend(mount)
