"""Small files are replaced as a whole, also when a write is short or the process is killed."""

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.fs import atomic
from backends.tree import TreeManifest

ROOT = Path(atomic.__file__).parents[2]
OLD, NEW = b"old" * 1000, b"new" * 1000
#: Interrupts a write that waits, every so many seconds.
TICK_SECONDS = 0.002
#: Replaces the file `name` of its working directory; its only write, fsync and rename are that.
SCRIPT = (
    "import os, sys; from backends.fs import atomic;"
    "atomic.replace_file(os.open('.', os.O_RDONLY), 'name', b'new' * 1000, draft='name.new')"
)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file beyond so many bytes: a write up to there is short."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_replaced_with_mode_and_without_a_draft(tmp_path: Path, directory: int) -> None:
    for content, mode in ((OLD, 0o600), (NEW, 0o644)):
        atomic.replace_file(directory, "name", content, mode=mode)
        assert (tmp_path / "name").read_bytes() == content
        assert (tmp_path / "name").stat().st_mode & 0o7777 == mode
    assert os.listdir(directory) == ["name"]


def test_the_umask_does_not_change_the_mode(tmp_path: Path, directory: int) -> None:
    before = os.umask(0o077)
    try:
        atomic.replace_file(directory, "name", NEW, mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "name").stat().st_mode & 0o7777 == 0o644


@pytest.mark.part("root")
def test_the_file_belongs_to_the_owner_of_the_directory(tmp_path: Path, directory: int) -> None:
    os.chown(tmp_path, 1000, 1001)
    atomic.replace_file(directory, "name", NEW)
    status = (tmp_path / "name").stat()
    assert (status.st_uid, status.st_gid) == (1000, 1001)


def test_a_draft_that_a_crash_left_is_replaced(tmp_path: Path, directory: int) -> None:
    (tmp_path / "name.new").write_bytes(b"x" * 9000)
    atomic.replace_file(directory, "name", NEW, draft="name.new")
    assert (tmp_path / "name").read_bytes() == NEW
    assert os.listdir(directory) == ["name"]


def test_a_short_write_keeps_the_old_content_and_no_draft(tmp_path: Path, directory: int) -> None:
    atomic.replace_file(directory, "name", OLD)
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        atomic.replace_file(directory, "name", NEW)
    assert (tmp_path / "name").read_bytes() == OLD
    assert os.listdir(directory) == ["name"]


def test_short_writes_are_continued() -> None:
    data = os.urandom(1 << 20)
    source, target = os.pipe()
    received = bytearray()

    def read() -> None:
        while part := os.read(source, 50_000):
            received.extend(part)
            time.sleep(TICK_SECONDS)

    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, TICK_SECONDS, TICK_SECONDS)
    try:
        reader = threading.Thread(target=read)
        reader.start()
        first = os.write(target, data)
        atomic.write_all(target, data[first:])
        os.close(target)
        reader.join(60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    os.close(source)
    assert first < len(data)  # the kernel does write less than it is given here
    assert bytes(received) == data


def test_writes_at_an_offset_raise_when_they_end_short(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    atomic.pwrite_all(descriptor, b"abc", 5)
    assert os.pread(descriptor, 20, 0) == bytes(5) + b"abc"
    with largest_file(100), pytest.raises(OSError, match="File too large"):
        atomic.pwrite_all(descriptor, NEW, 50)
    assert os.fstat(descriptor).st_size == 100
    os.close(descriptor)


def test_a_record_that_was_cut_short_hides_no_later_record(tmp_path: Path, directory: int) -> None:
    manifest = TreeManifest.open(directory, "manifest")
    manifest.append(["first"])
    with largest_file((tmp_path / "manifest").stat().st_size + 10), pytest.raises(OSError):  # noqa: PT011 - EFBIG
        manifest.append(["cut off", "x" * 100])
    manifest.append(["second"])
    assert [record for _, record in manifest.records()] == [["first"], ["second"]]
    manifest.close()


def test_other_code_of_backends_and_workers_writes_through_this_module() -> None:
    """A call of os.write that ignores its result loses data when the write is short."""
    wrong = [
        str(path.relative_to(ROOT))
        for top in ("backends", "workers")
        for path in (ROOT / top).rglob("*.py")
        if path.name != "atomic.py" and re.search(r"os\.p?writev?\(", path.read_text("utf-8"))
    ]
    assert not wrong


@pytest.mark.part("strace")
@pytest.mark.parametrize("call", ["write", "fsync", "rename,renameat", "openat"])
def test_a_killed_writer_leaves_the_old_content_or_the_new(
    tmp_path: Path, directory: int, call: str
) -> None:
    """Killed at each call of each kind that touches the directory, one after another."""
    seen = set()
    for number in range(1, 5):
        atomic.replace_file(directory, "name", OLD)
        names = [tmp_path, tmp_path / "name", tmp_path / "name.new"]
        only = [word for name in names for word in ("-P", str(name))]
        kill = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", *only, *kill]
        done = subprocess.run(
            [*strace, sys.executable, "-B", "-c", SCRIPT],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
            check=False,
        )
        content = (tmp_path / "name").read_bytes()
        assert content in (OLD, NEW)
        seen.add((done.returncode, content))
        if done.returncode == 0:
            break
    assert (0, NEW) in seen, "the last run was not killed"
    assert len(seen) > 1, "no run was killed"
