"""The sweep counts the hidden directories, and the gauges report it; open answers are counted."""

import os
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis import Redis

from backends.fs import descriptors
from backends.retention import trash
from core.jobs.requests import UsageRequest
from core.jobs.store import JobStore, Submission
from core.quota import HiddenUsageStore
from core.redis import Database, connect
from tests.core.telemetry.test_counting import scrape
from tests.support.doors import running_door, settings_in
from tests.support.mounts import disk
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from workers.node import Sweep, hidden_usage

BLOCK = 4096


def allocated(*directories: Path) -> int:
    """Return the bytes that all entries of some directories take on the disk (stat(2))."""
    return sum(
        path.lstat().st_blocks * 512 for directory in directories for path in directory.rglob("*")
    )


def filled(top: Path, *parts: str) -> None:
    path = top.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(os.urandom(BLOCK))
        file.flush()
        os.fsync(file.fileno())  # blocks are allocated now, not between two counts


def test_a_sweep_counts_and_the_gauges_report(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    scope, other = uuid4().hex, uuid4().hex
    top = tmp_path / "local"
    filled(top, scope, ".vfolder", "staging", "job", "deep", "file")
    filled(top, other, ".vfolder", "uploads", "upload")
    filled(top, scope, ".vfolder", "trash", "one", "file")
    filled(top, scope, "ab", "cd", "vfolder-of-somebody")
    ours = top / scope / ".vfolder"
    staging = allocated(ours / "staging", top / other / ".vfolder" / "uploads")
    trash = allocated(ours / "trash")
    assert staging > trash >= BLOCK
    with descriptors.opened(str(top)) as root:
        assert hidden_usage(root) == {"staging": staging, "trash": trash}
    with connect(settings, Database.JOBS) as client:
        Sweep(settings, JobStore(client, lambda _: None), "local")()
        kept = HiddenUsageStore(client).last("local")
        assert kept is not None
        assert (kept.trash_bytes, kept.staging_bytes) == (trash, staging)
    with running_door("internal", settings) as internal, running_door("manager", settings) as door:
        door.call("GET", "/volumes")

        def gauges() -> dict[str, float]:
            return {name: value for name, _, value in scrape(internal.url)}

        found = wait_for(lambda: t if "vfolder_trash_bytes" in (t := gauges()) else None)
        assert found["vfolder_trash_bytes"] == trash
        wait_for(lambda: gauges().get("vfolder_streams_open") == 0)


def gauges_of(url: str) -> dict[tuple[str, ...], float]:
    """Every sample of a scrape, by its name and the values of its labels in their order."""
    samples = scrape(url)
    return {(name, *(of[key] for key in sorted(of))): value for name, of, value in samples}


def test_numbers_that_are_known_to_be_zero_are_there(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_door("internal", settings) as internal:
        found = wait_for(
            lambda: t if ("vfolder_jobs_waiting",) in (t := gauges_of(internal.url)) else None
        )
    assert found["vfolder_jobs_running", "clone", "local"] == 0
    assert found["vfolder_lane_running", "bulk", "local"] == 0
    assert found["vfolder_queue_oldest_seconds", "fast", "local"] == 0
    assert found["vfolder_jobs_total", "failed", "clone"] == 0
    assert ("vfolder_trash_bytes", "local") not in found, "no sweep has counted yet"
    assert ("vfolder_trash_overdue_seconds", "local") not in found


def test_the_space_of_a_volume_is_that_of_its_mount(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    key = ("vfolder_volume_capacity_bytes", "local")
    with running_door("internal", settings) as internal:
        found = wait_for(lambda: t if key in (t := gauges_of(internal.url)) else None)
    status = os.statvfs(tmp_path / "local")
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    assert found[key] >= found["vfolder_volume_used_bytes", "local"] > 0
    near = 0.2 * found[key]  # other processes write meanwhile
    assert abs(found[key] - used - status.f_bavail * status.f_frsize) < near
    assert found.get(("vfolder_volume_inodes", "local"), 0) == status.f_files


def test_a_trash_that_lags_is_reported(tmp_path: Path, valkey: Valkey, redis_client: Redis) -> None:
    settings = settings_in(tmp_path, valkey.url)
    scope, late = uuid4().hex, time.time() - 3600
    kept = tmp_path / "local" / scope / ".vfolder" / "trash"
    filled(kept, "one", "file")
    with descriptors.opened(str(kept)) as directory:
        vfolder = f"user:{UUID(scope)}/{uuid4().hex}"
        trash.keep(
            directory,
            trash.TrashRecord(id="one", vfolder=vfolder, deleted_at=late, expires_at=late),
        )
    with connect(settings, Database.JOBS) as client:
        Sweep(settings, JobStore(client, lambda _: None), "local")()
    with running_door("internal", settings) as internal:
        key = ("vfolder_trash_overdue_seconds", "local")
        found = wait_for(lambda: t if key in (t := gauges_of(internal.url)) else None)
    assert found[key] >= 3600
    assert found["vfolder_staging_overdue_seconds", "local"] == 0
    assert 0 <= found["vfolder_sweep_age_seconds", "local"] < 1800


@pytest.mark.part("root")
def test_a_left_over_that_cannot_be_removed_is_reported(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    scope = uuid4()
    request = UsageRequest(volume="local", vfolder=f"user:{scope}/{uuid4().hex}")
    with connect(settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        job = store.submit(Submission(request, requester="test")).id
        store.cancel(job)
        held = tmp_path / "local" / scope.hex / ".vfolder" / "staging" / job / "mount"
        held.mkdir(parents=True)
        with disk(held, tmp_path):
            Sweep(settings, store, "local")()
            late = HiddenUsageStore(client).last("local")
            assert late is not None
            assert late.staging_due_at is not None
        Sweep(settings, store, "local")()
        gone = HiddenUsageStore(client).last("local")
        assert gone is not None
        assert gone.staging_due_at is None
    assert not held.parent.exists()
