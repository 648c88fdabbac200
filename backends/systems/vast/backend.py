"""vast: the backend."""

from collections.abc import Mapping
from typing import ClassVar

from backends.base import Capacity, HardwareInfo, HardwareStatus, Mount, PerformanceMetric
from backends.mounted import ArrayQuotaBackend, ArrayUsage, await_limit
from backends.mounted.rest import options_of
from backends.systems.vast.api import VastApi, VastOptions

#: VAST enforces limits to the byte.
GRANULE_BYTES = 1
_STATUS = {"ONLINE": HardwareStatus.HEALTHY, "OFFLINE": HardwareStatus.OFFLINE}


class VastBackend(ArrayQuotaBackend):
    """VAST: quotas on paths, capacity and rates of the cluster."""

    name: ClassVar[str] = "vast"

    def __init__(self, mount: Mount) -> None:
        options = options_of(mount, VastOptions)
        super().__init__(mount, options.deadline_seconds)
        self._base = "/" + options.vast_storage_base_dir.strip("/")
        self._api = VastApi(options)

    def array_capacity(self) -> Capacity:
        """See `HasFastCapacity.array_capacity`; of the complete cluster."""
        with self._within_deadline():
            found = self._api.cluster()
        total = found.usable_capacity_bytes or found.physical_space
        return Capacity(total, found.physical_space_in_use)

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; of the complete cluster, now."""
        with self._within_deadline():
            found = self._api.cluster()
        return PerformanceMetric(
            iops_read=round(found.rd_iops),
            iops_write=round(found.wr_iops),
            io_bytes_read=round(found.rd_bw),
            io_bytes_write=round(found.wr_bw),
            io_usec_read=float(found.rd_latency),
            io_usec_write=float(found.wr_latency),
        )

    def _health(self) -> HardwareInfo:
        found = self._api.cluster()
        status = _STATUS.get(found.state, HardwareStatus.DEGRADED)
        healthy = status is HardwareStatus.HEALTHY
        info = None if healthy else f"The cluster's state is {found.state}."
        return HardwareInfo(status, info, {"state": found.state})

    def _available(self) -> Mapping[str, bool]:
        return {"quota": _STATUS.get(self._api.cluster().state) is not HardwareStatus.OFFLINE}

    def _has_directory(self, path: str) -> bool | None:
        return self._api.knows(self._path(path))

    def _limit_unit(self) -> int:
        return GRANULE_BYTES

    def _usage(self, name: str) -> ArrayUsage:
        quota = self._api.find(self._path(name))
        if quota is None:
            return ArrayUsage()
        used = quota.used_effective_capacity if quota.counted else None
        return ArrayUsage(used, quota.hard_limit or None, "hard" if quota.counted else None)

    def _apply_limit(self, name: str, limit_bytes: int | None) -> None:
        path = self._path(name)
        quota = self._api.find(path)
        if quota is None:
            if limit_bytes is None and not self._is_empty(name):
                return
            self._api.make(name, path, limit_bytes)
        elif quota.hard_limit == limit_bytes:
            return
        else:
            self._api.limit(quota, limit_bytes)
        self._await(path, limit_bytes)

    def _await(self, path: str, limit: int | None) -> None:
        def counted() -> bool | None:
            quota = self._api.find(path)
            if quota is None:
                return None
            if quota.hard_limit != limit:  # another process made it at the same time
                self._api.limit(quota, limit)
                return None
            return quota.counted

        await_limit(counted)

    def _remove_objects(self, name: str) -> bool:
        quota = self._api.find(self._path(name))
        if quota is not None:
            self._api.delete(quota)
        return quota is not None

    def _path(self, below: str) -> str:
        return f"{self._base.rstrip('/')}/{below}"
