"""A storage that is overloaded for a minute, a process that is killed, a clock that is wrong."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import botocore.auth
import pytest
import requests

from backends.systems.s3 import Bucket, ObjectStorageFailed
from backends.systems.s3 import backend as backend_module
from backends.systems.s3 import calls as calls_module
from backends.systems.s3.backend import S3Backend
from backends.systems.s3.multipart import MIB
from backends.systems.s3.tree import VFolderObjects
from core.names import VFolderId, VFolderPath
from tests.support.object_storage import Fault, FaultyStorage

pytestmark = pytest.mark.part("seaweedfs")

OVERLOADED_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 10.0
#: A job would ask a storage more often than this only if its pauses were short.
TRIES_MAX = 60


def test_a_job_waits_for_a_storage_that_is_overloaded_for_a_minute(
    backend: S3Backend, vfolder: VFolderId, faulty: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses are counted, not waited for; a door would have given up."""
    faulty.faults = [Fault("GET", ".", 10**9, status=503, code="SlowDown")]
    waited: list[float] = []

    def pause(check: Callable[[], object], seconds: float) -> None:
        check()
        waited.append(seconds)
        if sum(waited) >= OVERLOADED_SECONDS:
            faulty.faults = []

    monkeypatch.setattr(calls_module, "checked_pause", pause)
    # boto3 itself waits for real before each try, so this begins with longer pauses.
    monkeypatch.setattr(calls_module, "FIRST_PAUSE_SECONDS", FIRST_PAUSE_SECONDS)
    options = {**backend.mount.options, "endpoint": faulty.url, "attempts": 1}
    behind = S3Backend(replace(backend.mount, options=options))
    with behind.held():
        assert list(behind.tree(vfolder).entries()) == []
    assert sum(waited) >= OVERLOADED_SECONDS
    assert max(waited) <= calls_module.LONGEST_PAUSE_SECONDS
    assert len(faulty.seen) < TRIES_MAX


def _send_until_killed(tree: VFolderObjects, file: Path) -> None:
    with file.open("rb") as opened:
        tree.put_file(
            VFolderPath.parse("f"),
            opened.fileno(),
            file.stat().st_size,
            on_part=lambda _: os.kill(os.getpid(), signal.SIGKILL),
        )


def test_the_sweep_takes_what_a_killed_process_left(
    backend: S3Backend, tree: VFolderObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "big"
    file.write_bytes(os.urandom(40 * MIB))
    sender = multiprocessing.get_context("fork").Process(
        target=_send_until_killed, args=(tree, file)
    )
    sender.start()
    sender.join(60)
    assert sender.exitcode == -signal.SIGKILL
    (left,) = [upload for upload, _ in tree.bucket.unfinished()]
    assert left.key == f"{tree.prefix}f"
    assert list(left.parts())
    monkeypatch.setattr(backend_module, "UNFINISHED_SECONDS", -60)
    assert backend.sweep() == 1
    assert not list(tree.bucket.unfinished())
    assert tree.head(VFolderPath.parse("f")) is None


def signed_in(monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Let boto3 sign as on a node whose clock is ahead."""
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now() + ahead)


def test_a_clock_that_is_wrong_is_said(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    signed_in(monkeypatch, timedelta(minutes=20))
    with pytest.raises(ObjectStorageFailed, match="clocks") as raised:
        bucket.begin("f")
    assert raised.value.facts["s3_code"] == "RequestTimeTooSkewed"


def test_a_presigned_url_ends(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("f", b"hello")
    signed_in(monkeypatch, timedelta(seconds=-120))
    for seconds, status in ((60, 403), (600, 200)):
        answer = requests.get(bucket.presigned_get("f", seconds), timeout=60)
        assert (answer.status_code, b"hello" in answer.content) == (status, status == 200)
