"""weka: the backend."""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar

from backends.base import Capacity, HardwareInfo, HardwareStatus, Mount, PerformanceMetric
from backends.mounted import ArrayQuotaBackend, ArrayUsage, await_limit
from backends.mounted.rest import ArrayRefused, options_of
from backends.systems.weka.api import WekaApi, WekaCluster, WekaOptions, WekaRates
from core.errors import BackendFailed, Conflict

#: Limits are multiples of this many bytes.
GRANULE_BYTES = 4096
_OK = "OK"
_OPERATIONS = ("reads_per_second", "writes_per_second")


class WekaBackend(ArrayQuotaBackend):
    """WEKA: directory quotas, the file system's budget, rates of the cluster's processes."""

    name: ClassVar[str] = "weka"

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, WekaOptions)
        super().__init__(mount, options.deadline_seconds)
        self._by_stat = options.weka_inode_source == "stat"
        self._api = WekaApi(options)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`: the file system's budget."""
        with self._within_deadline():
            found = self._api.file_system()
        return Capacity(found.total_budget, found.used_total)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`: now, of all processes of the cluster."""
        with self._within_deadline():
            rates = self._api.get("/stats/realtime", list[WekaRates])
        reads, writes = (sum(getattr(r, n) for r in rates) for n in _OPERATIONS)
        read_time = sum(r.reads_per_second * r.read_latency_usecs for r in rates)
        write_time = sum(r.writes_per_second * r.write_latency_usecs for r in rates)
        return PerformanceMetric(
            iops_read=round(reads),
            iops_write=round(writes),
            io_bytes_read=round(sum(r.read_bytes_per_second for r in rates)),
            io_bytes_write=round(sum(r.write_bytes_per_second for r in rates)),
            io_usec_read=read_time / reads if reads else 0.0,
            io_usec_write=write_time / writes if writes else 0.0,
        )

    def _health(self) -> HardwareInfo:
        found = self._api.get("/cluster", WekaCluster)
        metadata = {"status": found.status, "release": found.release}
        if found.status == _OK:
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        info = f"The cluster's status is {found.status}."
        return HardwareInfo(HardwareStatus.DEGRADED, info, metadata)

    def _available(self) -> Mapping[str, bool]:
        return {"quota": self._api.file_system().is_ready}

    def _has_directory(self, path: str) -> bool | None:
        return None if self._by_stat else self._api.inode(path) is not None

    def _limit_unit(self) -> int:
        return GRANULE_BYTES

    def _usage(self, name: str) -> ArrayUsage:
        inode = self._inode(name)
        quota = self._api.quota(inode) if inode else None
        if quota is None:
            return ArrayUsage()
        used = quota.total_bytes if quota.counted else None
        return ArrayUsage(used, quota.limit, "hard" if quota.counted else None)

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        inode = self._inode(name)
        if inode is None:
            raise BackendFailed("WEKA does not know the directory of this quota scope.")
        if limit_bytes is None and not self._wants_none(inode, name):
            return
        try:
            self._api.put_quota(inode, name, limit_bytes)
        except ArrayRefused as refusal:
            if self._is_empty(name):
                raise
            raise Conflict(
                "WEKA gives a directory that holds something no quota unless its data services "
                f"run. {refusal.detail}",
            ) from None
        self._await(inode, limit_bytes)

    def _wants_none(self, inode: str, name: str) -> bool:
        """Return whether a quota without a limit must be set."""
        quota = self._api.quota(inode)
        return self._is_empty(name) if quota is None else quota.limit is not None

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
        mine = [q for q in self._api.quotas() if (q.full_path or q.path).strip("/") == name]
        for quota in mine:
            self._api.delete_quota(str(quota.inode_id))
        return bool(mine)

    def _inode(self, name: str) -> str | None:
        if not self._by_stat:
            return self._api.inode(name)
        with self.root() as root, suppress(FileNotFoundError):
            return str(os.stat(name, dir_fd=root, follow_symlinks=False).st_ino)
        return None
