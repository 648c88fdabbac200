"""What the manager does, step by step, and what it understands of our answers."""

import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import PerformanceMetric
from backends.mounted import counters
from core import errors
from core.errors import StorageError
from core.redis import Database, connect
from core.settings import Settings
from tests.core.events.reader import Reader
from tests.support.doors import RunningDoor
from tests.support.manager_client import DETAILS, DOMAINS, OPERATIONS, Refused, understand
from tests.support.node import wait_for
from tests.support.valkey import Valkey

ABSENT = f"user:{uuid4()}/{uuid4().hex}"


class Manager:
    """The manager's side of the wire."""

    def __init__(self, door: RunningDoor, vfid: str) -> None:
        self._door = door
        self.place = {"volume": "local", "vfid": vfid}
        self.scope = {"volume": "local", "qsid": vfid.partition("/")[0]}

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """One call, as its client sends it, and what it understands."""
        return understand(self._door.call(method, path, body or None))

    def refused(self, method: str, path: str, **body: Any) -> str:
        """The error of the manager that the call ends with."""
        with pytest.raises(Refused) as caught:
            self.ask(method, path, **body)
        return caught.value.kind


@pytest.fixture
def side(manager: RunningDoor, vfid: str) -> Manager:
    return Manager(manager, vfid)


def test_a_folder_from_creation_to_purge(side: Manager) -> None:
    order = {**side.place, "options": {"initial_max_size_for_quota_scope": 1 << 30}, "mode": 509}
    assert side.ask("POST", "/folder/create", **order) is None
    path = Path(side.ask("GET", "/folder/mount", **side.place)["path"])
    made = side.ask(
        "POST",
        "/folder/file/mkdir",
        **side.place,
        relpath=[uuid4().hex],
        exist_ok=True,
    )
    assert len(made["results"]["success"]) == 1
    assert path.is_dir()
    usage = side.ask("GET", "/folder/usage", **side.place)
    assert usage["file_count"] == 1
    assert isinstance(usage["used_bytes"], int)
    deleted = side.ask("POST", "/folder/delete", **side.place)
    assert deleted["bgtask_id"]


def test_a_clone_names_its_task(side: Manager, root: Path) -> None:
    target = f"{side.scope['qsid']}/{uuid4().hex}"
    reply = side.ask(
        "POST",
        "/folder/clone",
        src_volume="local",
        src_vfid=side.place["vfid"],
        dst_volume="local",
        dst_vfid=target,
    )
    assert len(reply["bgtask_id"]) == 36


def test_a_purge_on_a_volume_that_is_gone_fails_by_its_event(
    side: Manager, settings: Settings, valkey: Valkey
) -> None:
    """The manager takes 202 only, and its purge waits for the event."""
    with Reader(valkey.url) as heard:
        task = side.ask("POST", "/folder/delete", volume="gone", vfid=side.place["vfid"])
        wait_for(lambda: heard.stream)
    assert [(e.name, e.fields["vfid"]) for e in heard.stream] == [
        ("vfolder_deletion_failure", side.place["vfid"])
    ]
    assert not heard.errors
    job = side._door.send("GET", f"/v1/jobs/{task['bgtask_id']}").json()
    assert (job["state"], job["error"]["error_code"]) == (
        "failed",
        "storage_access_invalid-parameters",
    )
    with connect(settings, Database.BROKER) as broker:
        assert not broker.keys("*vol.gone*")  # no doorbell that no worker would hear


def test_a_purge_of_an_absent_folder_is_a_success(side: Manager) -> None:
    assert side.ask("POST", "/folder/delete", **side.place)["bgtask_id"]


@pytest.mark.parametrize(
    ("method", "path", "more", "kind"),
    [
        ("GET", "/folder/usage", {}, "VFolderNotFound"),
        ("GET", "/folder/used-bytes", {}, "VFolderNotFound"),
        ("GET", "/folder/mount", {}, "VFolderBadRequest"),
        ("POST", "/folder/file/list", {"relpath": "."}, "VFolderNotFound"),
        ("POST", "/folder/file/list", {"relpath": "../.."}, "VFolderBadRequest"),
        ("POST", "/folder/file/mkdir", {"relpath": "x"}, "VFolderOperationFailed"),
        ("POST", "/folder/file/delete", {"relpaths": ["x"]}, "VFolderNotFound"),
        ("POST", "/folder/file/delete-async", {"relpaths": ["x"]}, "VFolderNotFound"),
        ("POST", "/folder/file/upload", {"relpath": "x", "size": 1}, "VFolderNotFound"),
        ("POST", "/folder/file/upload", {"relpath": "x", "size": -1}, "VFolderBadRequest"),
        (
            "POST",
            "/folder/file/move",
            {"src_relpath": "a", "dst_relpath": "b"},
            "VFolderNotFound",
        ),
        (
            "POST",
            "/folder/file/rename",
            {"relpath": "a", "new_name": "b", "is_dir": False},
            "VFolderNotFound",
        ),
    ],
)
def test_errors_are_about_the_folder(
    side: Manager, method: str, path: str, more: dict[str, Any], kind: str
) -> None:
    if kind == "VFolderOperationFailed":  # 422: the manager reads its results instead
        response = side._door.call(method, path, {**side.place, **more})
        assert response.status_code == 422
        return
    assert side.refused(method, path, **side.place, **more) == kind


def test_a_missing_quota_scope_is_a_signal(side: Manager) -> None:
    assert side.refused("GET", "/quota-scope", **side.scope) == "QuotaScopeNotFound"
    limit = {"limit_bytes": 1 << 30}
    assert side.ask("PATCH", "/quota-scope", **side.scope, options=limit) is None
    known = side.ask("GET", "/quota-scope", **side.scope)
    assert (known["used_bytes"], known["limit_bytes"]) == (0, 1 << 30)
    assert side.ask("DELETE", "/quota-scope/quota", **side.scope) is None
    known = side.ask("GET", "/quota-scope", **side.scope)
    assert known == {"used_bytes": None, "limit_bytes": None}


def test_speed_is_asked_of_every_volume(side: Manager, tmp_path: Path) -> None:
    if counters(tmp_path) is None:  # the kernel counts nothing of the file system of tests
        kind = side.refused("GET", "/volume/performance-metric", volume="local")
        assert kind == "VFolderBadRequest"
        return
    performance = side.ask("GET", "/volume/performance-metric", volume="local")
    assert performance["metric"].keys() == set(PerformanceMetric.__dataclass_fields__)
    assert performance["observed_at"]


def test_hosts_and_health(side: Manager) -> None:
    volumes = side.ask("GET", "/volumes")["volumes"]
    assert {"name", "backend", "capabilities", "path", "fsprefix"} <= volumes[0].keys()
    hardware = side.ask("GET", "/volume/hwinfo", volume="local")
    assert hardware["status"] in {"healthy", "degraded", "offline", "unavailable"}


def test_unmanaged_folders_are_answered(side: Manager) -> None:
    place = {"volume": "noop", "vfid": side.place["vfid"]}
    assert side.ask("POST", "/folder/create", **place) is None
    assert side.ask("GET", "/folder/mount", **place) == {"path": "."}
    assert side.ask("GET", "/folder/usage", **place)["file_count"] == 0
    assert side.ask("GET", "/folder/used-bytes", **place)["used_bytes"] == 0
    assert side.ask("GET", "/folder/fs-usage", volume="noop")["capacity_bytes"] == 0
    assert side.ask("GET", "/volume/hwinfo", volume="noop")["status"] == "healthy"
    listed = side.ask("POST", "/folder/file/list", **place, relpath=".")
    assert [item["name"] for item in listed["items"]] == [""]
    deleted = side.ask("POST", "/folder/file/delete", **place, relpaths=["x"])
    assert deleted == {"status": "ok"}
    token = side.ask("POST", "/folder/file/download", **place, relpath="x", unmanaged_path="/mnt/x")
    assert token["token"]
    assert side.ask("POST", "/folder/file/upload", **place, relpath="x", size=1)["token"]
    scope = {"volume": "noop", "qsid": side.scope["qsid"]}
    assert side.refused("GET", "/quota-scope", **scope) == "QuotaScopeNotFound"
    assert all(volume["name"] != "noop" for volume in side.ask("GET", "/volumes")["volumes"])


def test_sixteen_folders_at_once_in_a_new_scope(side: Manager, manager: RunningDoor) -> None:
    scope = side.scope["qsid"]
    codes: list[int] = []

    def create(number: int) -> None:
        body = {"volume": "local", "vfid": f"{scope}/{number:032x}", "options": {}}
        codes.append(manager.taken("POST", "/folder/create", body).status_code)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [204] * 16


def _every(kind: type[StorageError]) -> list[type[StorageError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _every(child))]


def test_every_code_is_one_that_the_manager_knows() -> None:
    for kind in _every(errors.StorageError):
        domain, operation, detail = kind.error_code.split("_")
        assert domain in DOMAINS, kind
        assert operation in OPERATIONS, kind
        assert detail in DETAILS, kind
