"""Imports as jobs: files, events, progress; resumed, cancelled, failed; storages and vfolders."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import requests
from redis import Redis

from core.names import VFolderId
from core.settings import Settings
from tests.core.events.reader import Heard, Reader
from tests.support.doors import RunningDoor
from tests.support.ends import checked_end
from tests.support.hub import StandInHub
from tests.support.node import wait_for
from tests.support.remote_manager import StandInManager
from tests.support.trees import snapshot
from tests.support.valkey import Valkey

IMPORT = "/v1/registries/huggingface/import"
LARGE = os.urandom(700_000)
FILES = {
    "README.md": b"# A model",
    "empty.txt": b"",
    "weights/model.bin": LARGE,
    "weights/config.json": b"{}",
}
SIZE = sum(map(len, FILES.values()))


class Site:
    """The door, the hub, and what is imported."""

    def __init__(
        self, door: RunningDoor, hub: StandInHub, heard: Reader, settings: Settings
    ) -> None:
        self.door, self.hub, self.heard, self.settings = door, hub, heard, settings
        self.shelf = settings.directory / "shelf" / "models"
        self.small = settings.directory / "small"

    def model(self, files: dict[str, bytes] | None = None, **facts: Any) -> str:
        """A new model in the hub."""
        name = f"org{uuid4().hex[:8]}/model"
        self.hub.add(name, FILES if files is None else files, **facts)
        return name

    def vfolder(self) -> tuple[str, Path]:
        """A new vfolder: its id and where it is."""
        vfid = f"user:{uuid4()}/{uuid4().hex}"
        path = self.settings.directory / "local" / VFolderId.parse(vfid).directory
        path.mkdir(parents=True)
        return vfid, path

    def send(self, names: list[str], **more: Any) -> requests.Response:
        body = {
            "registry_name": "hub",
            "models": [{"model_id": one, "revision": "main"} for one in names],
            "storage_step_mappings": dict.fromkeys(("download", "verify", "archive"), "shelf"),
            **more,
        }
        return self.door.call("POST", IMPORT, body)

    def begun(self, *models: str, **more: Any) -> str:
        answer = self.send(list(models), **more)
        assert answer.status_code == 202, answer.text
        found: str = answer.json()["task_id"]
        return found

    def get(self, task: str) -> dict[str, Any]:
        found: dict[str, Any] = self.door.call("GET", f"/v1/jobs/{task}").json()
        return found

    def ended(self, task: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found = self.get(task)
            return found if found["done"] else {}

        return checked_end(wait_for(look, 120, lambda: f"{self.get(task)}"))

    def end_of(self, model: str, count: int = 1) -> list[Heard]:
        """The events that end the import of a model."""

        def found() -> list[Heard]:
            events = [one for one in self.heard.stream if one.name == "model_import_done"]
            mine = [one for one in events if one.fields["model_id"] == model]
            return mine if len(mine) >= count else []

        return wait_for(found, 60, lambda: f"no end of {model}: {self.heard.errors}")


@pytest.fixture
def site(
    manager: RunningDoor, hub: StandInHub, heard: Reader, worker: int, settings: Settings
) -> Site:
    return Site(manager, hub, heard, settings)


def content(top: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }


def visible(top: Path) -> dict[str, object]:
    """What people see of a storage. What ended jobs have hidden there is removed soon after."""
    return {
        name: what for name, what in snapshot(top).items() if ".vfolder" not in Path(name).parts
    }


def is_clean(top: Path, task: str) -> bool:
    """Whether nothing of a job is left in a hidden directory."""
    return not [path for path in top.rglob("*") if path.name.startswith(task)]


def test_a_model_is_imported(site: Site, valkey: Valkey) -> None:
    model = site.model()
    task = site.begun(model)
    job = site.ended(task)
    assert job["state"] == "succeeded", job
    assert (job["result"]["files"], job["result"]["copied_bytes"]) == (4, SIZE)
    assert content(site.shelf / model / "main") == FILES
    assert (site.shelf / model / "main/README.md").stat().st_mode & 0o777 == 0o644
    wait_for(lambda: is_clean(site.shelf / ".vfolder", task))  # soon after the job has ended
    (end,) = site.end_of(model)
    assert end.fields == {
        "model_id": model,
        "revision": "main",
        "registry_type": "huggingface",
        "registry_name": "hub",
        "success": True,
        "digest": site.hub.repos[model].branches["main"],
        "verification_result": {"verifiers": {}},
    }
    verifying = [one for one in site.heard.stream if one.name == "model_verifying"]
    assert [one for one in verifying if one.fields["model_id"] == model]
    (last,) = wait_for(lambda: site.heard.ends(task), failure="no end")
    assert last == "bgtask_done"
    assert site.hub.with_token("files").count(True) == 0
    _progress_is_recorded(valkey, model)


def _progress_is_recorded(valkey: Valkey, model: str) -> None:
    key = f"artifact:download:{model}:main".replace("/", ":")
    with Redis.from_url(f"{valkey.url}/0", decode_responses=True) as client:
        found = client.hgetall(key)
        assert 0 < client.ttl(key) <= 86_400
        digest = hashlib.sha256(b"empty.txt").hexdigest()[:16]
        one = json.loads(client.get(f"{key}:file:{digest}"))
    assert (found["total_files"], found["completed_files"]) == ("4", "4")
    assert found["total_bytes"] == found["downloaded_bytes"] == str(SIZE)
    assert (one["success"], one["total_bytes"], one["file_path"]) == (True, 0, "empty.txt")


def test_a_second_import_replaces_the_first(site: Site) -> None:
    model = site.model()
    site.ended(site.begun(model))
    site.hub.repos[model].commit({"new.txt": b"new"})
    job = site.ended(site.begun(model))
    assert job["state"] == "succeeded", job
    assert content(site.shelf / model / "main") == {"new.txt": b"new"}
    first, second = site.end_of(model, 2)
    assert first.fields["digest"] != second.fields["digest"]


@pytest.mark.parametrize("into", ["storage", "vfolder"])
def test_a_later_import_downloads_what_changed(site: Site, into: str) -> None:
    """What an earlier one left is copied where it has the digest of now, and nothing else."""
    model, more, top = site.model(), {}, site.shelf
    if into == "vfolder":
        vfid, top = site.vfolder()
        target = {"vfolder_id": vfid, "volume_name": "local"}
        steps = dict.fromkeys(("download", "verify", "archive"), target)
        more = {"storage_step_mappings": None, "storage_step_target_mappings": steps}
    assert site.ended(site.begun(model, **more))["state"] == "succeeded"
    place = top / model / "main"
    config = "weights/config.json"
    (place / "README.md").write_bytes(b"# Other m")  # as long as what was imported
    changed = {**FILES, config: b"{1}", "new": b"new"}
    site.hub.repos[model].commit(changed)
    before = dict(site.hub.sent)
    ended = site.ended(site.begun(model, **more))
    assert ended["state"] == "succeeded", ended
    assert content(place) == changed
    sent = {name for name in changed if site.hub.sent[name] != before.get(name, 0)}
    assert sent == {"README.md", config, "new"}
    assert ended["result"]["files"] == len(changed)


@pytest.mark.parametrize("prefix", ["/", "some/place"])
def test_a_prefix_keeps_what_is_beside(site: Site, prefix: str) -> None:
    model = site.model({f"{uuid4().hex}.txt": b"1", "shared/a": b"2"})
    place = site.shelf / prefix.strip("/") / "shared"
    place.mkdir(parents=True, exist_ok=True)
    (place / "mine").write_text("stays")
    job = site.ended(site.begun(model, storage_prefix=prefix))
    assert job["state"] == "succeeded", job
    found = content(site.shelf / prefix.strip("/"))
    assert found["shared/a"] == b"2"
    assert found["shared/mine"] == b"stays"


@pytest.mark.parametrize("prefix", [None, "/"])
def test_into_a_vfolder(site: Site, prefix: str | None) -> None:
    """The manager sends the same vfolder for all three steps."""
    model = site.model()
    vfid, path = site.vfolder()
    (path / "mine").write_text("stays")
    target = {"vfolder_id": vfid, "volume_name": "local"}
    targets = dict.fromkeys(("download", "verify", "archive"), target)
    more = {"storage_step_mappings": None, "storage_step_target_mappings": targets}
    job = site.ended(site.begun(model, **more, storage_prefix=prefix))
    assert job["state"] == "succeeded", job
    top = path if prefix else path / model / "main"
    assert {name: data for name, data in content(top).items() if name != "mine"} == FILES
    assert (path / "mine").read_text() == "stays"
    assert site.end_of(model)[0].fields["success"]


def test_the_last_step_says_where_it_goes(site: Site) -> None:
    """Other steps have copies only until the end: their storages stay as they were."""
    model = site.model({"a": b"123"})
    before = visible(site.shelf)
    mappings = {"archive": "small", "download": "shelf"}
    task = site.begun(model, storage_step_mappings=mappings)
    assert site.ended(task)["state"] == "succeeded"
    assert content(site.small / model / "main") == {"a": b"123"}
    assert visible(site.shelf) == before
    wait_for(lambda: is_clean(site.shelf / ".vfolder", task))


def test_some_models_fail(site: Site) -> None:
    """The others are there; each has its own end."""
    good, absent, large = site.model({"a": b"1"}), f"org/{uuid4().hex}", site.model()
    task = site.begun(good, absent, large, storage_step_mappings={"download": "small"})
    job = site.ended(task)
    assert job["state"] == "partial", job
    ends = [site.end_of(one)[0].fields for one in (good, absent, large)]
    assert [one["success"] for one in ends] == [True, False, False]
    assert [bool(one["digest"]) for one in ends] == [True, False, False]
    assert [one["success"] for one in job["result"]["models"]] == [True, False, False]
    report = site.door.call("GET", f"/v1/jobs/{task}/report").text
    assert f"{absent}/main" in report
    assert "at most 10 bytes" in report
    assert content(site.small / good / "main") == {"a": b"1"}
    assert not (site.small / large).exists()
    (last,) = wait_for(lambda: site.heard.ends(task), failure="no end")
    assert last == "bgtask_partial_success"


def test_a_model_over_the_limit_of_its_registry(site: Site) -> None:
    good, large = site.model({"a": b"1"}), site.model({"a": b"1" * 30_000_000, "b": b"1"})
    task = site.begun(good, large)
    job = site.ended(task)
    assert job["state"] == "partial", job
    assert [one["success"] for one in job["result"]["models"]] == [True, False]
    report = site.door.call("GET", f"/v1/jobs/{task}/report").text
    assert "has 30000001 bytes" in report
    assert not (site.shelf / large).exists()
    assert not [path for _, _, path, _ in site.hub.requests if f"{large}/resolve" in path]


def test_all_models_fail(site: Site) -> None:
    absent = f"org/{uuid4().hex}"
    task = site.begun(absent)
    job = site.ended(task)
    assert (job["state"], job["error"]["error_code"]) == ("failed", "artifact_read_not-found")
    assert site.end_of(absent)[0].fields["success"] is False
    assert is_clean(site.shelf / ".vfolder" / "staging", task)
    site.hub.add(absent, {"a": b"1"})
    again = site.door.call("POST", f"/v1/jobs/{task}/retry").json()
    assert site.ended(again["id"])["state"] == "succeeded"
    assert [one.fields["success"] for one in site.end_of(absent, 2)] == [False, True]


@pytest.mark.part("root")
@pytest.mark.parametrize("prefix", [None, "owned"])
def test_what_is_imported_belongs_to_the_owner_of_the_storage(
    site: Site, prefix: str | None
) -> None:
    """The doors are another user than the worker, and change what it has imported."""
    model = site.model({"a": b"1", "deep/b": b"2"})
    os.chown(site.small, 1234, 1235)
    try:
        targets = {"storage_step_mappings": {"archive": "small"}, "storage_prefix": prefix}
        assert site.ended(site.begun(model, **targets))["state"] == "succeeded"
    finally:
        os.chown(site.small, 0, 0)
    top = site.small / (prefix or model.partition("/")[0])
    for path in (top, *top.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235), path


def test_a_broken_download_continues_where_it_was(site: Site) -> None:
    model = site.model()
    sent = site.hub.sent["weights/model.bin"]
    site.hub.break_off("model.bin", 200_000, times=2)
    assert site.ended(site.begun(model))["state"] == "succeeded"
    assert content(site.shelf / model / "main") == FILES
    assert site.hub.sent["weights/model.bin"] - sent == len(LARGE)


def test_a_hub_that_is_away_for_a_moment(site: Site) -> None:
    model = site.model()
    site.hub.fail(f"/api/models/{model}/(revision|tree)", 503, times=4)
    site.hub.fail(f"/{model}/resolve/.*README", 429, times=4)
    assert site.ended(site.begun(model))["state"] == "succeeded"
    assert content(site.shelf / model / "main") == FILES


def test_a_host_without_ranges_begins_again(site: Site) -> None:
    model = site.model()
    site.hub.ignores_ranges = True
    try:
        site.hub.break_off("model.bin", 300_000)
        assert site.ended(site.begun(model))["state"] == "succeeded"
    finally:
        site.hub.ignores_ranges = False
    assert content(site.shelf / model / "main") == FILES


def test_content_that_differs_is_refused(site: Site) -> None:
    """The hub says one digest and sends other bytes of the same length."""
    model = site.model({"a.bin": b"x" * 5000, "b.bin": b"x" * 50})
    for name in ("a.bin", "b.bin"):
        site.hub.lies[name] = b"y" * len(site.hub.repos[model].files[name])
        try:
            job = site.ended(site.begun(model))
        finally:
            site.hub.lies.clear()
        assert job["state"] == "failed", job
        assert "differs from the digest" in job["error"]["detail"]
        assert not (site.shelf / model).exists()


def test_a_cancelled_import_leaves_nothing(site: Site) -> None:
    model = site.model()
    site.hub.slow_seconds = 0.3
    try:
        task = site.begun(model)
        wait_for(lambda: (site.get(task)["progress"] or {}).get("done_bytes"), 60)
        site.door.call("POST", f"/v1/jobs/{task}/cancel")
        assert site.ended(task)["state"] == "cancelled"
    finally:
        site.hub.slow_seconds = 0.0
    assert not (site.shelf / model).exists()
    assert is_clean(site.shelf / ".vfolder" / "staging", task)
    assert site.end_of(model)[0].fields["success"] is False


def test_a_cancelled_import_does_not_wait_for_a_dead_bucket(site: Site) -> None:
    """Calls to an object storage are repeated for minutes; a cancel ends them."""
    task = site.begun(site.model(), storage_step_mappings={"archive": "dead-bucket"})
    wait_for(lambda: site.get(task)["state"] == "running", 60)
    wait_for(lambda: (site.get(task)["progress"] or {}).get("phase") == "download", 60)
    site.door.call("POST", f"/v1/jobs/{task}/cancel")
    assert site.ended(task)["state"] == "cancelled"


def test_a_killed_import_continues_inside_the_file(site: Site, worker: int) -> None:
    """Another commit meanwhile changes nothing: the first run has pinned the commit."""
    model = site.model()
    commit = site.hub.repos[model].branches["main"]
    sent = site.hub.sent["weights/model.bin"]
    site.hub.slow_seconds = 0.3
    task = site.begun(model)
    staged = site.shelf / ".vfolder" / "staging" / task / "0" / "weights" / "model.bin"
    wait_for(lambda: staged.exists() and staged.stat().st_size > 100_000, 60)
    site.hub.repos[model].commit({"other": b"x"})
    for child in psutil.Process(worker).children():
        child.send_signal(signal.SIGKILL)
    site.hub.slow_seconds = 0.0
    job = site.ended(task)
    assert (job["state"], job["attempt"] > 1) == ("succeeded", True), job
    assert content(site.shelf / model / "main") == FILES
    assert site.end_of(model)[0].fields["digest"] == commit
    assert len(site.end_of(model)) == 1
    # A busy machine may lose a lease, and a third attempt goes on where the second was.
    assert site.hub.sent["weights/model.bin"] - sent < job["attempt"] * len(LARGE) - 100_000


def test_the_same_request_is_one_job(site: Site) -> None:
    model = site.model()
    site.hub.slow_seconds = 0.2
    try:
        assert site.begun(model) == site.begun(model)
    finally:
        site.hub.slow_seconds = 0.0


def test_wrong_imports(site: Site) -> None:
    model = site.model()
    vfid, _ = site.vfolder()
    one = {"vfolder_id": vfid, "volume_name": "local"}
    cases: list[tuple[dict[str, Any], int]] = [
        ({"registry_name": "nowhere"}, 404),
        ({"registry_name": "site"}, 404),
        ({"storage_step_mappings": {"download": "nowhere"}}, 404),
        ({"storage_step_mappings": None}, 400),
        ({"storage_step_mappings": {}}, 400),
        ({"storage_step_mappings": {"unpack": "shelf"}}, 400),
        ({"models": []}, 400),
        ({"models": [{"model_id": "../etc", "revision": "main"}]}, 400),
        ({"models": [{"model_id": model, "revision": "../.."}]}, 400),
        ({"storage_prefix": "a/../../b"}, 400),
        ({"storage_prefix": ""}, 400),
        ({"storage_step_target_mappings": {"archive": one | {"volume_name": "nowhere"}}}, 400),
        ({"storage_step_target_mappings": {"archive": {"vfolder_id": vfid}}}, 400),
        ({"storage_step_target_mappings": {"archive": {}}}, 400),
        ({"storage_step_target_mappings": {"archive": one | {"vfolder_id": "x"}}}, 400),
        (
            {
                "storage_step_target_mappings": {
                    "archive": one | {"vfolder_id": f"user:{uuid4()}/{uuid4().hex}"}
                }
            },
            404,
        ),
    ]
    for more, status in cases:
        answer = site.send([model], **more)
        assert answer.status_code == status, (more, answer.text)


def test_no_import_reaches_our_own_files(site: Site) -> None:
    """Neither by its prefix, nor by the id of a model, nor by the name of a file."""
    for more in (
        {"storage_prefix": ".vfolder"},
        {"storage_prefix": "/.vfolder/jobs"},
        {"models": [{"model_id": ".vfolder/jobs", "revision": "main"}]},
        {"models": [{"model_id": ".vfolder", "revision": "staging"}]},
    ):
        answer = site.send([], **more) if "models" in more else site.send([site.model()], **more)
        assert answer.status_code == 400, (more, answer.text)
        assert answer.json()["error_code"] == "storage-proxy_access_invalid-parameters"
    lock = site.shelf / ".vfolder" / "lock"
    before = lock.stat().st_ino
    model = site.model({".vfolder/lock": b"x", ".vfolder/jobs/x.manifest": b"x"})
    job = site.ended(site.begun(model, storage_prefix="/"))
    assert job["state"] == "failed", job
    assert lock.stat().st_ino == before
    assert not (site.shelf / ".vfolder" / "jobs" / "x.manifest").exists()


def test_a_very_deep_model(site: Site) -> None:
    """More levels than Python recurses."""
    name = "a/" * 1200 + "file"
    model = site.model({name: b"deep", "top": b"x"})
    job = site.ended(site.begun(model))
    assert job["state"] == "succeeded", job
    found = site.shelf / model / "main"
    assert (found / name).read_bytes() == b"deep"
    assert (found / "a/a").stat().st_mode & 0o777 == 0o755
    body = {"filepath": model}
    assert site.door.call("DELETE", "/v1/storages/vfs/shelf", body).status_code == 200
    trash = site.shelf / ".vfolder" / "trash"
    wait_for(lambda: not os.listdir(trash), failure="the trash is not empty")


# -- Reservoir -------------------------------------------------------------------------------------
RESERVOIR = "/v1/registries/reservoir/import"
REVISION = str(uuid4())
SCANNED = {
    "success": True,
    "infected_count": 0,
    "scanned_at": "2026-11-01T12:00:00Z",
    "scan_time": 1.5,
    "scanned_count": 4,
    "metadata": {"version": "1"},
    "error": None,
}


def reservoir(site: Site, model: str, **more: Any) -> requests.Response:
    body = {
        "registry_name": "site",
        "models": [{"model_id": model, "revision": "main"}],
        "artifact_revision_ids": [REVISION],
        "storage_step_mappings": dict.fromkeys(("download", "verify", "archive"), "shelf"),
        **more,
    }
    return site.door.call("POST", RESERVOIR, body)


@pytest.fixture
def theirs(remote: StandInManager) -> str:
    """A model at the other site."""
    name = f"org{uuid4().hex[:8]}/model"
    for path, data in FILES.items():
        remote.files[f"{name}/main/{path}"] = data
    return name


def test_from_another_site(site: Site, remote: StandInManager, theirs: str) -> None:
    remote.verifications[REVISION] = {"verifiers": {"scan": SCANNED}}
    remote.breaks = 1
    job = site.ended(reservoir(site, theirs).json()["task_id"])
    assert job["state"] == "succeeded", job
    assert content(site.shelf / theirs / "main") == FILES
    (end,) = site.end_of(theirs)
    assert end.fields["registry_type"] == "reservoir"
    assert (end.fields["success"], end.fields["digest"]) == (True, None)
    assert end.fields["verification_result"] == remote.verifications[REVISION]
    assert not remote.refused


@pytest.mark.parametrize("result", [{"verifiers": {"scan": {"success": True}}}, [], "well"])
def test_a_result_that_the_manager_could_not_read_is_left_out(
    site: Site, remote: StandInManager, theirs: str, result: Any
) -> None:
    remote.verifications[REVISION] = result
    assert site.ended(reservoir(site, theirs).json()["task_id"])["state"] == "succeeded"
    assert site.end_of(theirs)[0].fields["verification_result"] == {"verifiers": {}}


def test_from_another_site_into_a_vfolder(site: Site, theirs: str) -> None:
    vfid, path = site.vfolder()
    target = {"vfolder_id": vfid, "volume_name": "local"}
    targets = dict.fromkeys(("download", "verify", "archive"), target)
    more = {"storage_step_mappings": None, "storage_step_target_mappings": targets}
    job = site.ended(reservoir(site, theirs, **more).json()["task_id"])
    assert job["state"] == "succeeded", job
    assert content(path / theirs / "main") == FILES


def test_another_site_that_has_nothing(site: Site) -> None:
    model = f"org/{uuid4().hex}"
    job = site.ended(reservoir(site, model).json()["task_id"])
    assert job["state"] == "failed", job
    assert site.end_of(model)[0].fields["success"] is False


def test_wrong_imports_from_another_site(site: Site, theirs: str) -> None:
    for more in (
        {"artifact_revision_ids": ["x"]},
        {"artifact_revision_ids": []},
        {"artifact_revision_ids": None},
        {"models": [{"model_id": theirs, "revision": None}]},
    ):
        assert reservoir(site, theirs, **more).status_code == 400, more
    assert reservoir(site, theirs, registry_name="hub").status_code == 404
