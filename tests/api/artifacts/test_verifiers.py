"""Verifiers of imports: the plugin of docs/artifacts.md, with a stand-in of clamd."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from core.settings import Settings
from tests.api.artifacts.test_imports import (
    REVISION,
    SCANNED,
    Site,
    content,
    is_clean,
    reservoir,
    site,
)
from tests.support.clamd import SIGNATURE, VERSION, StandInClamd, running_clamd
from tests.support.node import wait_for
from tests.support.object_storage import ACCESS_KEY, SECRET_KEY
from tests.support.released.artifacts import Scan, Verified
from tests.support.remote_manager import StandInManager

__all__ = ["site"]

PAGE = Path(__file__).parents[3] / "docs/artifacts.md"
CLEAN = {"README.md": b"# A model", "empty": b"", "sub/weights.bin": b"w" * 300_000}
INFECTED = {**CLEAN, "sub/virus.bin": b"x" * 1000 + SIGNATURE}


def install(directory: Path) -> None:
    """Put the plugin of the documentation, and its entry point, into a directory."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (directory / "clamav_verifier.py").write_text(code)
    facts = directory / "clamav_verifier-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: clamav-verifier\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[vfolder.verifiers]\nclamav = clamav_verifier:ClamAv\n"
    )


@pytest.fixture(scope="module")
def clamd() -> Iterator[StandInClamd]:
    with running_clamd() as clamd:
        yield clamd


@pytest.fixture(scope="module")
def verifiers(tmp_path_factory: pytest.TempPathFactory, clamd: StandInClamd) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("packages")
    install(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(directory))
        yield f"""
[artifact-verifiers.antivirus]
plugin = "clamav"
options = {{ host = "127.0.0.1", port = {clamd.port} }}
"""


@pytest.fixture(autouse=True)
def _usual(clamd: StandInClamd) -> Iterator[None]:
    yield
    clamd.slow_seconds = 0.0
    clamd.limit = 1 << 30


def result_of(site: Site, model: str, count: int = 1) -> dict[str, Scan]:
    found: dict[str, Any] = site.end_of(model, count)[-1].fields["verification_result"]
    return msgspec.convert(found, Verified).verifiers


def into_vfolder(site: Site) -> tuple[dict[str, Any], Path]:
    vfid, path = site.vfolder()
    target = {"vfolder_id": vfid, "volume_name": "local"}
    steps = dict.fromkeys(("download", "verify", "archive"), target)
    return {"storage_step_mappings": None, "storage_step_target_mappings": steps}, path


@pytest.mark.parametrize("into", ["storage", "vfolder"])
def test_a_model_that_is_well(site: Site, clamd: StandInClamd, into: str) -> None:
    more, top = into_vfolder(site) if into == "vfolder" else ({}, site.shelf)
    model = site.model(CLEAN)
    clamd.scanned.clear()
    job = site.ended(site.begun(model, **more))
    assert job["state"] == "succeeded", job
    assert content(top / model / "main") == CLEAN
    assert sorted(clamd.scanned) == sorted(CLEAN.values())
    scan = result_of(site, model)["antivirus"]
    assert (scan.success, scan.infected_count, scan.scanned_count) == (True, 0, 3)
    assert (scan.metadata, scan.error) == ({"version": VERSION}, None)


@pytest.mark.parametrize("into", ["storage", "vfolder"])
def test_a_model_that_is_refused(site: Site, into: str) -> None:
    more, top = into_vfolder(site) if into == "vfolder" else ({}, site.shelf)
    model = site.model(INFECTED)
    task = site.begun(model, **more)
    job = site.ended(task)
    assert (job["state"], job["error"]["title"]) == ("failed", "A verifier refuses the model"), job
    assert "antivirus" in job["error"]["detail"]
    assert "sub/virus.bin: stream: Eicar-Test-Signature FOUND" in job["error"]["detail"]
    assert not (top / model).exists()
    (end,) = site.end_of(model)
    assert (end.fields["success"], end.fields["digest"]) == (False, None)
    scan = result_of(site, model)["antivirus"]
    assert (scan.success, scan.infected_count) == (False, 1)
    assert is_clean(site.shelf / ".vfolder" / "staging", task)
    site.hub.repos[model].commit(CLEAN)
    assert site.ended(site.begun(model, **more))["state"] == "succeeded"
    assert content(top / model / "main") == CLEAN


def test_one_refused_model_does_not_stop_the_others(site: Site) -> None:
    good, bad = site.model(CLEAN), site.model(INFECTED)
    job = site.ended(site.begun(bad, good))
    assert job["state"] == "partial", job
    assert [one["success"] for one in job["result"]["models"]] == [False, True]
    assert result_of(site, good)["antivirus"].success
    assert not result_of(site, bad)["antivirus"].success


@pytest.mark.part("seaweedfs")
def test_what_is_refused_leaves_a_bucket(site: Site, settings: Settings) -> None:
    from backends.systems.s3 import Bucket, S3Endpoint  # noqa: PLC0415

    table = settings.artifact_storages["bucket"].object_storage
    assert table is not None
    endpoint = S3Endpoint(table.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    bucket = Bucket(endpoint, table.buckets[0])
    model = site.model(INFECTED)
    steps = dict.fromkeys(("download", "verify", "archive"), "bucket")
    job = site.ended(site.begun(model, storage_step_mappings=steps))
    assert job["error"]["title"] == "A verifier refuses the model", job
    assert not list(bucket.walk(f"{model}/"))
    site.hub.repos[model].commit(CLEAN)
    job = site.ended(site.begun(model, storage_step_mappings=steps))
    assert job["state"] == "succeeded", job
    assert {one.key for one in bucket.walk(f"{model}/")} == {f"{model}/main/{n}" for n in CLEAN}
    assert result_of(site, model, 2)["antivirus"].scanned_count == 3


def test_a_verifier_that_fails_lets_nothing_through(site: Site, clamd: StandInClamd) -> None:
    model = site.model(CLEAN)
    clamd.limit = 1000
    task = site.begun(model)
    job = site.ended(task)
    assert (job["state"], job["error"]["title"]) == ("failed", "A verifier failed"), job
    assert (
        "antivirus: The verifier raised RuntimeError at clamav_verifier.py line"
        in (job["error"]["detail"])
    )
    assert "clamd did not scan" not in str(job)  # its words may hold a secret
    assert not (site.shelf / model).exists()
    assert result_of(site, model)["antivirus"].infected_count == 0
    clamd.limit = 1 << 30
    again = site.door.call("POST", f"/v1/jobs/{task}/retry").json()
    assert site.ended(again["id"])["state"] == "succeeded"


def test_an_import_without_the_step_is_not_looked_at(site: Site, clamd: StandInClamd) -> None:
    model = site.model(INFECTED)
    clamd.scanned.clear()
    job = site.ended(site.begun(model, storage_step_mappings={"download": "shelf"}))
    assert job["state"] == "succeeded", job
    assert not clamd.scanned
    assert site.end_of(model)[0].fields["verification_result"] is None


def test_a_cancelled_job_ends_at_the_next_read(site: Site, clamd: StandInClamd) -> None:
    size = 20_000_000
    model = site.model({"large": b"l" * size})
    clamd.scanned.clear()
    clamd.slow_seconds = 0.1
    task = site.begun(model)

    def verifies() -> bool:
        names = [one for one in site.heard.stream if one.name == "model_verifying"]
        return any(one.fields["model_id"] == model for one in names)

    wait_for(verifies, 60)
    site.door.call("POST", f"/v1/jobs/{task}/cancel")
    assert site.ended(task)["state"] == "cancelled"
    clamd.slow_seconds = 0.0
    assert not (site.shelf / model).exists()
    wait_for(lambda: clamd.scanned)
    assert all(len(data) < size for data in clamd.scanned)


def test_both_sites_say_what_they_found(site: Site, remote: StandInManager) -> None:
    model = f"org{uuid4().hex[:8]}/model"
    remote.files[f"{model}/main/a"] = b"1"
    remote.verifications[REVISION] = {"verifiers": {"scan": SCANNED}}
    job = site.ended(reservoir(site, model).json()["task_id"])
    assert job["state"] == "succeeded", job
    found = result_of(site, model)
    assert set(found) == {"antivirus", "scan"}
    assert found["scan"].metadata == {"version": "1"}
