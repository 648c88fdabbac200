"""Clones and transfers of a vfolder in which people work meanwhile."""

import io
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import wait_for
from tests.workers.transfer.conftest import Pair, absent

FILES = 40


@contextmanager
def session(root: Path) -> Iterator[None]:
    """A program that appends to a log, and uploads that come and go, all the time."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        with (root / "train.log").open("a", buffering=1) as log:
            while not stop.is_set():
                log.write("a line\n")
                (root / f"upload{number}").write_text("new")
                (root / f"upload{number - 3}").unlink(missing_ok=True)
                number += 1
                time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_for((root / "train.log").exists)
        yield
    finally:
        stop.set()
        thread.join()


def filled(root: Path) -> None:
    (root / "data").mkdir()
    for number in range(FILES):
        (root / f"data/file{number}").write_bytes(b"x" * 200_000)


@pytest.mark.parametrize("verify", ["none", "size", "checksum"])
@pytest.mark.parametrize("verb", ["clone", "transfer"])
def test_a_session_that_writes_fails_no_copy(pair: Pair, verb: str, verify: str) -> None:
    source, root = pair.folder()
    filled(root)
    target = absent()
    request: dict[str, Any] = {"source": source, "target": target, "verify": verify}
    with session(root):
        done = pair.done(verb=verb, **request)
    result = done["result"]
    assert result["complete"] is True
    assert set(result) >= {"changed", "changed_since", "not_in_copy"}
    copied = pair.path(target)
    assert len(list((copied / "data").iterdir())) == FILES
    log = (copied / "train.log").read_bytes()
    assert (root / "train.log").read_bytes().startswith(log)
    assert log.startswith(b"a line\n")
    lines = pair.report(done["id"])
    counted = result["changed"] + result["changed_since"] + result["not_in_copy"]
    assert len(lines) == counted, "each of them is named"
    assert all(line["reason"] for line in lines)


def test_strict_refuses_a_source_that_changes(pair: Pair) -> None:
    source, root = pair.folder()
    filled(root)
    request = {"source": source, "target": absent(), "strict": True}
    with session(root):
        failed = pair.done("failed", verb="clone", **request)
        assert failed["error"]["data"]
        assert not pair.path(request["target"]).exists()
    assert "result" not in failed or failed["result"] is None
    pair.done(verb="clone", **request)


def test_a_path_in_a_report_is_that_from_the_vfolders_root(pair: Pair) -> None:
    source, root = pair.folder()
    (root / "sub").mkdir()
    filled(root / "sub")
    target = absent()
    with session(root / "sub"):
        done = pair.done(source=source, source_path="sub", target=target)
    lines = pair.report(done["id"])
    assert lines
    assert all(line["path"].startswith("sub/") for line in lines)


def test_a_single_file_that_grows_arrives(pair: Pair) -> None:
    source, root = pair.folder()
    target = pair.folder("other")[0]
    with session(root):
        done = pair.done(source=source, source_path="train.log", target=target)
    assert done["result"]["files"] == 1
    copied = (pair.path(target) / "train.log").read_bytes()
    assert (root / "train.log").read_bytes().startswith(copied)


def test_an_extract_and_a_clone_take_turns(pair: Pair) -> None:
    source, root = pair.folder()
    with tarfile.open(root / "a.tar", "w") as archive:
        for number in range(300):
            info = tarfile.TarInfo(f"e{number}")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"yyy"))
    target = absent()
    extract = pair.door.call(
        "POST",
        "/v1/jobs",
        {
            "verb": "extract",
            "volume": "local",
            "vfolder": source,
            "source": "a.tar",
            "target": "out",
            "archive": "tar",
        },
    ).json()
    clone = pair.done(verb="clone", source=source, target=target)
    assert pair.get(extract["id"])["state"] == "succeeded"
    assert clone["result"]["not_in_copy"] == 0
    assert len(list((pair.path(target) / "out").iterdir())) == 300
