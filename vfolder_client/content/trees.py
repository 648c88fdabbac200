"""Directories: many files, several at once. One that fails does not stop the others."""

import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vfolder_client.content.downloads import (
    PIECE_BYTES,
    FetchOptions,
    fetch_file,
    is_unfinished,
)
from vfolder_client.content.pool import Stop, for_each
from vfolder_client.content.results import ContentFolder, TransferMeter, TransferResult
from vfolder_client.content.uploads import SendOptions, send_file
from vfolder_client.documents import Entry, is_safe_name, joined
from vfolder_client.errors import Absent, ClientError, NotAuthenticated, problem_of

#: A file of so many bytes has the ranges of one download for itself.
LARGE_BYTES = 8 * PIECE_BYTES
#: Directories that one request makes.
_DIRECTORIES = 1000
_LINK, _SPECIAL = "a symlink", "no file, directory or symlink"


@dataclass(frozen=True, slots=True)
class _Download:
    """A file of a tree, and where it goes."""

    entry: Entry
    target: Path

    @property
    def is_large(self) -> bool:
        """Whether its ranges go side by side."""
        return (self.entry.size_bytes or 0) >= LARGE_BYTES


class Outcome:
    """The result of a tree, which several threads add to."""

    def __init__(self) -> None:
        self.result = TransferResult()
        self._lock = threading.Lock()

    def add(self, result: TransferResult) -> None:
        """Add the result of one file."""
        with self._lock:
            self.result.add(result)

    def fail(self, path: str, error: Exception, meter: TransferMeter) -> None:
        """Note a file that failed.

        Raises:
            NotAuthenticated: the credential has ended, so no other file would succeed.
        """
        if isinstance(error, NotAuthenticated):
            raise error
        meter.finished(failed=True)
        with self._lock:
            self.result.failed.append((path, error))


# -- Down ------------------------------------------------------------------------------------------
def download_tree(
    folder: ContentFolder,
    top: Entry,
    target: Path,
    *,
    parallel: int,
    resume: bool,
    overwrite: bool,
    meter: TransferMeter,
) -> TransferResult:
    """Download a directory; see `VFolder.download`."""
    outcome = Outcome()
    options = FetchOptions(1, resume=resume, overwrite=overwrite)
    files = list(_planned(folder, top, target, outcome.result))
    meter.expect(len(files), sum(one.entry.size_bytes or 0 for one in files))

    def fetch(one: _Download, stop: Stop, threads: int = 1) -> None:
        try:
            chosen = replace(options, parallel=threads, stop=stop)
            outcome.add(fetch_file(folder, one.entry, one.target, options=chosen, meter=meter))
        except (ClientError, OSError) as error:
            stop.check()
            outcome.fail(one.entry.path, error, meter)

    for_each((one for one in files if not one.is_large), fetch, parallel)
    for one in files:
        if one.is_large:
            fetch(one, Stop(), parallel)
    return outcome.result


def _planned(
    folder: ContentFolder, top: Entry, target: Path, result: TransferResult
) -> Iterator[_Download]:
    """Yield the files of a tree, and make its directories here."""
    waiting = deque([(top.path, target)])
    while waiting:
        directory, local = waiting.popleft()
        local.mkdir(parents=True, exist_ok=True)
        for entry in folder.list(directory):
            if not is_safe_name(entry.name):
                result.left_out.append((entry.path, "a name that no local file can have"))
            elif entry.is_directory:
                waiting.append((entry.path, local / entry.name))
            elif entry.is_file:
                yield _Download(entry, local / entry.name)
            else:
                result.left_out.append((entry.path, _LINK))


# -- Up --------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Upload:
    """A local file, and where it goes."""

    source: Path
    path: str
    size_bytes: int
    modified: float


def upload_tree(
    folder: ContentFolder,
    source: Path,
    path: str,
    *,
    parallel: int,
    resume: bool,
    overwrite: bool,
    skip_same: bool,
    meter: TransferMeter,
) -> TransferResult:
    """Upload a directory; see `VFolder.upload`."""
    outcome = Outcome()
    directories: list[str] = [path] if path else []
    files = list(_local_files(source, path, directories, outcome.result))
    meter.expect(len(files), sum(one.size_bytes for one in files))
    make_directories(folder, directories, outcome.result)
    there = _there(folder, directories or [""]) if skip_same else {}

    def send(one: _Upload, stop: Stop) -> None:
        if _is_same(one, there.get(one.path)):
            meter.kept(one.size_bytes)
            meter.finished()
            outcome.add(TransferResult(unchanged=1))
            return
        try:
            chosen = SendOptions(resume=resume, overwrite=overwrite, stop=stop)
            outcome.add(send_file(folder, one.source, one.path, options=chosen, meter=meter))
        except (ClientError, OSError) as error:
            stop.check()
            outcome.fail(one.path, error, meter)

    for_each(files, send, parallel)
    return outcome.result


def _local_files(
    top: Path, path: str, directories: list[str], result: TransferResult
) -> Iterator[_Upload]:
    """Yield the files below a directory; each directory goes to `directories`."""
    waiting = deque([(top, path)])
    while waiting:
        local, remote = waiting.popleft()
        with os.scandir(local) as found:
            entries = sorted(found, key=lambda one: one.name)
        for entry in entries:
            name = joined(remote, entry.name)
            if is_unfinished(entry.name):
                continue
            if entry.is_symlink():
                result.left_out.append((name, _LINK))
            elif entry.is_dir(follow_symlinks=False):
                directories.append(name)
                waiting.append((Path(entry.path), name))
            else:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield _Upload(Path(entry.path), name, status.st_size, status.st_mtime)
                else:
                    result.left_out.append((name, _SPECIAL))


def make_directories(folder: ContentFolder, directories: list[str], result: TransferResult) -> None:
    """Make all directories, those above first; what is refused is noted."""
    for begin in range(0, len(directories), _DIRECTORIES):
        for one in folder.mkdir(*directories[begin : begin + _DIRECTORIES]):
            if one.problem is not None:
                status = int(one.problem.get("status", 400))
                result.failed.append((one.path, problem_of(status, one.problem)))


def _there(folder: ContentFolder, directories: Iterable[str]) -> dict[str, Entry]:
    """Return the files that are in these directories at the door."""
    found: dict[str, Entry] = {}
    for directory in directories:
        try:
            rows = list(folder.list(directory))
        except Absent:  # it could not be made; its files say so
            continue
        found |= {one.path: one for one in rows if one.is_file}
    return found


def _is_same(local: _Upload, entry: Entry | None) -> bool:
    """Return whether the door has a file of this size that was written after the local one."""
    if entry is None or entry.size_bytes != local.size_bytes or entry.modified_at is None:
        return False
    return entry.modified_at.timestamp() > local.modified
