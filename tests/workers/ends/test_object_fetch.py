"""Fetches of objects: what still runs when one stops uses no descriptor that was closed."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends.entries import ObjectEntry
from backends.fs import atomic
from core.names import VFolderPath
from workers.verbs import object_fetch
from workers.verbs.object_attributes import ObjectAttributes
from workers.verbs.object_fetch import FetchPlaces, ObjectFetch, beside

RANGE = 4


class Range:
    """A range of an object; all but the first come only after the disk was full."""

    metadata: dict[str, str] = {}  # noqa: RUF012 - never changed
    modified = None
    size = 3 * RANGE

    def __init__(self, start: int, full: threading.Event) -> None:
        self._full = full if start else None
        self._left = b"x" * RANGE

    def readinto(self, buffer: memoryview) -> int:
        if self._full is not None and self._left:
            assert self._full.wait(60)
            time.sleep(0.1)  # the fetch has ended meanwhile, where it does not wait
        block, self._left = self._left, b""
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        return


def test_ranges_that_are_under_way_have_ended_before_their_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file may have the number of the closed descriptor: it would get their bytes."""
    monkeypatch.setattr(object_fetch, "RANGE_BYTES", RANGE)
    monkeypatch.setattr(object_fetch, "BIG_BYTES", 2 * RANGE)
    full, failed, written = threading.Event(), list[OSError](), list[int]()
    pwrite_all = atomic.pwrite_all

    def write_note(*_: Any) -> None:
        full.set()
        raise OSError(errno.ENOSPC, "the disk is full")

    def write(descriptor: int, block: bytes, at: int) -> None:
        try:
            pwrite_all(descriptor, block, at)
        except OSError as error:
            failed.append(error)
        written.append(at)

    monkeypatch.setattr(object_fetch._Note, "write", write_note)
    monkeypatch.setattr("workers.verbs.object_fetch.atomic.pwrite_all", write)
    faults: list[str] = []
    run: Any = SimpleNamespace(
        id="run",
        may_continue=False,
        check=lambda: None,
        count=lambda *_: None,
        fault=lambda name, _: faults.append(name),
        throttle=SimpleNamespace(pace=lambda *_: None),
    )
    tree: Any = SimpleNamespace(open_object=lambda _, start, *__: Range(start, full))
    for name in ("into", "drafts"):
        (tmp_path / name).mkdir()
    into, drafts = (os.open(tmp_path / name, os.O_RDONLY) for name in ("into", "drafts"))
    try:
        big = ObjectEntry("big", VFolderPath(("big",)), Range.size, "e", None)
        ObjectFetch(run, tree, FetchPlaces(into, drafts), checks=False)([big], ObjectAttributes())
    finally:
        os.close(into)
        os.close(drafts)
    assert faults == ["big"]
    assert not failed
    assert sorted(written)[:1] == [0]


def test_what_is_closed_early_has_ended() -> None:
    running, goes_on = threading.Semaphore(0), threading.Event()
    ended: list[int] = []

    def work(number: int) -> int:
        if number:
            running.release()
            assert goes_on.wait(60)
        ended.append(number)
        return number

    def numbers() -> Iterator[int]:
        yield from range(100)

    results = beside(work, numbers(), 3)
    assert next(results) == 0
    for _ in range(2):
        assert running.acquire(timeout=60)
    threading.Timer(0.05, goes_on.set).start()
    results.close()
    assert sorted(ended)[:3] == [0, 1, 2]
    assert len(ended) <= 4
