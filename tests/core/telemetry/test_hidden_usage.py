"""The sweep counts the hidden directories, and the gauges report it; open answers are counted."""

import os
from pathlib import Path
from uuid import uuid4

from redis import Redis

from backends.fs import descriptors
from core.jobs.store import JobStore
from core.quota import HiddenUsageStore
from core.redis import Database, connect
from tests.core.telemetry.test_counting import scrape
from tests.support.doors import running_door, settings_in
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
        assert HiddenUsageStore(client).last("local")["trash"] == trash
    with running_door("internal", settings) as internal, running_door("manager", settings) as door:
        door.call("GET", "/volumes")

        def gauges() -> dict[str, float]:
            return {name: value for name, _, value in scrape(internal.url)}

        found = wait_for(lambda: t if "vfolder_trash_bytes" in (t := gauges()) else None)
        assert found["vfolder_trash_bytes"] == trash
        wait_for(lambda: gauges().get("vfolder_streams_open") == 0)
