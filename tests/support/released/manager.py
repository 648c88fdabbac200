"""The released manager's calls about volumes, quota scopes and vfolders."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from tests.core.events.reader import Heard
from tests.support.node import wait_for
from tests.support.released.side import ReleasedManager, call


class Status(Struct):
    status: Literal["ok"]
    type: Literal["manager-facing"]
    version: str = msgspec.field(name="storage-proxy")


class Check(Struct):
    service_group: str
    component_id: str
    is_healthy: bool
    last_checked_at: datetime
    error_message: str | None


class Connectivity(Struct):
    overall_healthy: bool
    connectivity_checks: list[Check]
    timestamp: datetime


class Health(Struct):
    status: Literal["ok", "degraded", "error"]
    version: str
    component: Literal["storage-proxy"]
    connectivity: Connectivity


class Volume(Struct):
    name: str
    backend: str
    path: str
    fsprefix: str
    capabilities: list[str]


class VolumeList(Struct):
    volumes: list[Volume]


class Hardware(Struct):
    status: Literal["healthy", "degraded", "offline", "unavailable"]
    status_info: str | None
    metadata: dict[str, str]


class Rates(Struct):
    iops_read: int
    iops_write: int
    io_bytes_read: int
    io_bytes_write: int
    io_usec_read: float
    io_usec_write: float


class Performance(Struct):
    metric: Rates
    observed_at: datetime


@call("GET", "/")
def get_root(side: ReleasedManager) -> Status:
    return side.ask("GET", "/", Status)


@call("GET", "/status")
def get_status(side: ReleasedManager) -> Status:
    return side.ask("GET", "/status", Status)


@call("GET", "/version")
def get_version(side: ReleasedManager) -> dict[str, Any]:
    return side.ask("GET", "/version", dict[str, Any])


@call("GET", "/health", "probes")
def get_health(side: ReleasedManager) -> Health:
    return side.ask("GET", "/health", Health)


@call("GET", "/livez", "probes")
def get_liveness(side: ReleasedManager) -> Health:
    return side.ask("GET", "/livez", Health)


@call("GET", "/readyz", "probes")
def get_readiness(side: ReleasedManager) -> Health:
    return side.ask("GET", "/readyz", Health)


@call("GET", "/volumes", "manager")
def get_volumes(side: ReleasedManager) -> list[Volume]:
    found = side.ask("GET", "/volumes", VolumeList).volumes
    assert side.volume in {one.name for one in found}
    assert all(":" not in one.name and Path(one.path).is_absolute() for one in found)
    return found


@call("GET", "/volume/hwinfo", "manager")
def get_hardware(side: ReleasedManager) -> Hardware:
    return side.ask("GET", "/volume/hwinfo", Hardware, volume=side.volume)


@call("GET", "/volume/performance-metric", "manager")
def get_performance(side: ReleasedManager) -> Performance | None:
    """The speed of a volume; None where it is not known, which the manager takes as an error."""
    asked = ("GET", "/volume/performance-metric")
    found = side.ask_unless("VFolderBadRequest", *asked, Performance, volume=side.volume)
    assert found is None or found.observed_at.tzinfo
    return found


# -- Quota scopes ----------------------------------------------------------------------------------
class QuotaScope(Struct):
    used_bytes: int | None
    limit_bytes: int | None


@call("POST", "/quota-scope")
def create_quota_scope(side: ReleasedManager) -> None:
    side.order("POST", "/quota-scope", **side.scope, options=None, extra_args=None)


@call("GET", "/quota-scope", "manager")
def get_quota_scope(side: ReleasedManager) -> QuotaScope | None:
    """The use of a scope; None is the signal for the limit of the manager's own policy."""
    asked = ("GET", "/quota-scope")
    found = side.ask_unless("QuotaScopeNotFound", *asked, QuotaScope, **side.scope)
    if found is not None:
        assert min(found.used_bytes or 0, found.limit_bytes or 0) >= 0
    return found


@call("PATCH", "/quota-scope", "manager")
def set_quota(side: ReleasedManager, limit_bytes: int = 1 << 30) -> None:
    side.order("PATCH", "/quota-scope", **side.scope, options={"limit_bytes": limit_bytes})
    assert get_quota_scope(side) == QuotaScope(0, limit_bytes)


@call("DELETE", "/quota-scope/quota", "manager")
def unset_quota(side: ReleasedManager) -> None:
    side.path.mkdir(parents=True)
    side.order("DELETE", "/quota-scope/quota", **side.scope)


# -- Vfolders --------------------------------------------------------------------------------------
class MountPath(Struct):
    path: str


class Usage(Struct):
    file_count: int
    used_bytes: int


class UsedBytes(Struct):
    used_bytes: int


class FileSystemUsage(Struct):
    capacity_bytes: int
    used_bytes: int


class Task(Struct):
    bgtask_id: UUID


@call("POST", "/folder/create", "manager")
def create_folder(side: ReleasedManager) -> None:
    options = {"initial_max_size_for_quota_scope": 1 << 30}
    side.order("POST", "/folder/create", **side.place, options=options, mode=0o775)
    assert side.path.stat().st_mode & 0o777 == 0o775


@call("GET", "/folder/mount", "manager")
def get_mount_path(side: ReleasedManager, subpath: str = ".") -> str:
    """The path that an agent mounts: the root of the vfolder, whatever the subpath is."""
    if not side.path.is_dir():
        side.path.mkdir(parents=True)
    found = side.ask("GET", "/folder/mount", MountPath, **side.place, subpath=subpath)
    assert Path(found.path).samefile(side.path)
    return found.path


@call("GET", "/folder/metadata")
def get_metadata(side: ReleasedManager) -> Any:
    side.path.mkdir(parents=True)
    return side.ask("GET", "/folder/metadata", dict[str, Any], **side.place)


@call("POST", "/folder/metadata")
def store_metadata(side: ReleasedManager) -> Any:
    side.path.mkdir(parents=True)
    return side.ask("POST", "/folder/metadata", dict[str, Any], **side.place, payload="aGk=")


@call("GET", "/volume/quota", "manager")
def get_old_quota(side: ReleasedManager) -> None:
    _refused(side, "GET", {"volume": side.volume, "vfid": None})


@call("PATCH", "/volume/quota", "manager")
def set_old_quota(side: ReleasedManager) -> None:
    _refused(side, "PATCH", {"volume": side.volume, "vfid": None, "size_bytes": "1g"})


def _refused(side: ReleasedManager, method: str, body: dict[str, Any]) -> None:
    asked = (method, "/volume/quota")
    assert side.ask_unless("VFolderBadRequest", *asked, dict[str, Any], **body) is None


@call("GET", "/folder/usage", "manager")
def get_usage(side: ReleasedManager) -> Usage:
    if not side.path.is_dir():
        side.write("dir/a", "12345")
    found = side.ask("GET", "/folder/usage", Usage, **side.place)
    return Usage(int(found.file_count), int(found.used_bytes))


@call("GET", "/folder/used-bytes", "manager")
def get_used_bytes(side: ReleasedManager) -> UsedBytes:
    if not side.path.is_dir():
        side.write("a", "12345")
    return side.ask("GET", "/folder/used-bytes", UsedBytes, **side.place)


@call("GET", "/folder/fs-usage", "manager")
def get_fs_usage(side: ReleasedManager) -> float:
    """The percentage that the manager shows: it divides."""
    found = side.ask("GET", "/folder/fs-usage", FileSystemUsage, volume=side.volume)
    percent = found.used_bytes / found.capacity_bytes * 100
    assert 0 <= percent <= 100
    return percent


@call("POST", "/folder/delete", "manager")
def delete_folder(side: ReleasedManager, *, made: bool = True) -> Heard:
    """Purge: the body of the answer is not read; the event ends it."""
    if made:
        side.write("a", "x")
    answer = side.send("POST", "/folder/delete", side.place)
    assert answer.status_code == 202, answer.text
    return side.event("vfolder_deletion_success", "vfolder_deletion_failure", vfid=side.vfid)


@call("POST", "/folder/clone", "manager")
def clone_folder(side: ReleasedManager) -> Heard:
    """Clone: the id of the task is required, and the source is cloning until the event."""
    side.write("a", "x")
    target = f"{side.vfid.partition('/')[0]}/{uuid4().hex}"
    source = {"src_volume": side.volume, "src_vfid": side.vfid}
    order = {**source, "dst_volume": side.volume, "dst_vfid": target, "cloneable": True}
    task = side.ask("POST", "/folder/clone", Task, **order)
    ended = side.event("vfolder_clone_success", "vfolder_clone_failure", vfid=side.vfid)
    assert ended.fields["dst_vfid"] == target
    task_ends(side, task)
    return ended


def task_ends(side: ReleasedManager, task: Task) -> None:
    """What the manager's user follows: each task ends by one message of its own."""
    wait_for(lambda: side.heard.ends(str(task.bgtask_id)), failure="the task has no end")
