"""Downloads: ranges of one version of a file, side by side, into a file that is renamed at the end.

The name of a file below is there complete or not at all. An interrupted download leaves two hidden
files beside the target: the bytes, and a list of the pieces that are there. The next run of the
same download goes on with them, if the file at the door is still the same version.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from vfolder_client.connection import chunks_of
from vfolder_client.content.pool import Stop, for_each
from vfolder_client.content.results import ContentFolder, TransferMeter, TransferResult
from vfolder_client.documents import Entry
from vfolder_client.errors import NotConnected, PreconditionFailed, TransferBroken

#: What one request takes, and what an interrupted download loses at most for each thread.
PIECE_BYTES = 16 * 1024 * 1024
#: How often a file may change while it is downloaded.
_VERSIONS_MAX = 3
_PARTIAL, _CHANGED = 206, 412
#: Ends of the names of an interrupted download.
_PART, _PIECES = ".vfolder-part", ".vfolder-pieces"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: Two moments that differ by less are the same: file systems round them (nanoseconds).
_MOMENT_NS = 2_000


@dataclass(frozen=True, slots=True)
class _Piece:
    number: int
    start: int
    end: int


def is_unfinished(name: str) -> bool:
    """Return whether a local file is part of an interrupted download."""
    return name.startswith(".") and name.endswith((_PART, _PIECES))


def pieces_of(size_bytes: int) -> list[_Piece]:
    """Return the ranges of a file of this size."""
    starts = range(0, size_bytes, PIECE_BYTES)
    return [
        _Piece(number, start, min(start + PIECE_BYTES, size_bytes))
        for number, start in enumerate(starts)
    ]


def download_file(
    folder: ContentFolder,
    entry: Entry,
    target: Path,
    *,
    parallel: int,
    resume: bool,
    overwrite: bool,
    meter: TransferMeter,
) -> TransferResult:
    """Download one file to `target`; see `VFolder.download`."""
    if not entry.is_file:
        raise TransferBroken(f"{entry.path} is a {entry.kind}, and has no content.")
    meter.expect(1, entry.size_bytes or 0)
    return fetch_file(
        folder,
        entry,
        target,
        options=FetchOptions(parallel, resume=resume, overwrite=overwrite),
        meter=meter,
    )


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """How a file is downloaded."""

    parallel: int
    resume: bool
    overwrite: bool
    stop: Stop = field(default_factory=Stop)


def fetch_file(
    folder: ContentFolder,
    entry: Entry,
    target: Path,
    *,
    options: FetchOptions,
    meter: TransferMeter,
) -> TransferResult:
    """Download one file, whose size a meter expects already.

    Raises:
        FileExistsError: the target is there, and may not be replaced.
        TransferBroken: the file changes again and again.
    """
    if _is_there(entry, target) and options.resume:
        meter.kept(entry.size_bytes or 0)
        meter.finished()
        return TransferResult(unchanged=1)
    if not options.overwrite and os.path.lexists(target):
        raise FileExistsError(f"{target} exists.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not entry.etag and (entry.size_bytes or 0) > PIECE_BYTES:
        entry = folder.stat(entry.path)
    for _ in range(_VERSIONS_MAX):
        try:
            _fetch_version(folder, entry, target, options, meter)
        except PreconditionFailed:  # it was replaced meanwhile: begin with the new one
            entry = folder.stat(entry.path)
            continue
        meter.finished()
        return TransferResult(files=1, size_bytes=entry.size_bytes or 0)
    raise TransferBroken(f"{entry.path} changes again and again while it is downloaded.")


def _is_there(entry: Entry, target: Path) -> bool:
    """Return whether the local file has size and time of the entry."""
    try:
        stat = os.lstat(target)
    except FileNotFoundError:
        return False
    modified = _modified_ns(entry)
    same_time = modified is not None and abs(stat.st_mtime_ns - modified) < _MOMENT_NS
    return os.path.isfile(target) and stat.st_size == entry.size_bytes and same_time


def _modified_ns(entry: Entry) -> int | None:
    if entry.modified_at is None:
        return None
    return round(entry.modified_at.timestamp() * 1_000_000) * 1_000


def _fetch_version(
    folder: ContentFolder,
    entry: Entry,
    target: Path,
    options: FetchOptions,
    meter: TransferMeter,
) -> None:
    """Download one version of a file, and give it its name.

    Raises:
        PreconditionFailed: there is another version now; nothing of this one is left.
    """
    with _PartialFile.opened(target, entry, resume=options.resume) as part:
        ranges = _Ranges(folder, entry, part, options, meter)
        try:
            ranges.fetch_all()
        except PreconditionFailed:
            ranges.take_back()
            part.forget()
            raise
        part.finish(target, entry, overwrite=options.overwrite)


class _Ranges:
    """The ranges of one version of a file, on their way into a partial file."""

    def __init__(
        self,
        folder: ContentFolder,
        entry: Entry,
        part: "_PartialFile",
        options: FetchOptions,
        meter: TransferMeter,
    ) -> None:
        self._folder = folder
        self._entry = entry
        self._part = part
        self._options = options
        self._meter = meter
        #: Bytes that the meter counts for this version, a number from each thread at a time.
        self._counted: list[int] = []

    def fetch_all(self) -> None:
        """Download what is not there yet."""
        pieces = pieces_of(self._entry.size_bytes or 0)
        left = [piece for piece in pieces if piece.number not in self._part.done]
        there = (self._entry.size_bytes or 0) - sum(one.end - one.start for one in left)
        self._meter.kept(there)
        self._counted.append(there)
        if len(left) == 1 or self._options.parallel == 1:
            for piece in left:
                self._fetch(piece, self._options.stop)
        else:
            for_each(left, self._fetch, self._options.parallel)

    def take_back(self) -> None:
        """Take the bytes of this version from the meter."""
        self._meter.kept(-sum(self._counted))

    def _fetch(self, piece: _Piece, stop: Stop) -> None:
        """Download a range; a broken answer is continued where it broke."""
        patience, at = self._folder.connection.patience(), piece.start
        while at < piece.end:
            try:
                for chunk in _range(self._folder, self._entry, at, piece.end):
                    stop.check()
                    self._options.stop.check()
                    _write_at(self._part.descriptor, chunk, at)
                    at += len(chunk)
                    self._count(len(chunk))
                    if self._entry.etag:
                        patience.progress()
                if at < piece.end:
                    raise NotConnected("The answer ended before the range did.")  # noqa: TRY301 - continued as if it broke
            except NotConnected as failure:
                patience.wait(failure)
                if not self._entry.etag:  # nothing says that the rest is of the same version
                    self._count(piece.start - at)
                    at = piece.start
        self._part.mark(piece.number)

    def _count(self, size_bytes: int) -> None:
        self._counted.append(size_bytes)
        self._meter.moved(size_bytes)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all bytes at an offset."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _range(folder: ContentFolder, entry: Entry, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a range of this version of a file.

    Raises:
        PreconditionFailed: the file is another version now.
    """
    headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    if entry.etag:
        headers["If-Match"] = entry.etag
    url = folder.content_url(entry.path)
    with folder.connection.send("GET", url, headers=headers, stream=True) as response:
        _check_range(response, start, entry)
        left = end - start
        for chunk in chunks_of(response):
            yield chunk[:left]
            left -= min(left, len(chunk))
            if not left:
                return


def _check_range(response: requests.Response, start: int, entry: Entry) -> None:
    """Check that the answer is the range that was asked for, of a file of the expected size.

    Raises:
        PreconditionFailed: the file has another size now.
        TransferBroken: the answer is something else.
    """
    if response.status_code != _PARTIAL:
        if start:
            raise TransferBroken("The door sends no ranges; something in between drops them.")
        total = response.headers.get("Content-Length", "")
    else:
        answered = response.headers.get("Content-Range", "")
        if not answered.startswith(f"bytes {start}-"):
            raise TransferBroken(f"The door sends another range: {answered}.")
        total = answered.rpartition("/")[2]
    if total.isdigit() and int(total) != entry.size_bytes:
        raise PreconditionFailed(_CHANGED, {"detail": f"{entry.path} changed meanwhile."})


# -- What is there already -------------------------------------------------------------------------
class _PartialFile:
    """The bytes of a download that has not ended, and the list of its pieces that are there.

    The list is of one version of one file, and of one boot: after a crash of this machine a piece
    may be named whose bytes never came to the disk.
    """

    def __init__(self, data: Path, pieces: Path, descriptor: int) -> None:
        self._data = data
        self._pieces = pieces
        self.descriptor = descriptor
        self.done: set[int] = set()
        self._list = -1

    @classmethod
    @contextmanager
    def opened(cls, target: Path, entry: Entry, *, resume: bool) -> "Iterator[_PartialFile]":
        """Give the partial file of a target; no other process may have it.

        Raises:
            TransferBroken: another process downloads to the same target.
        """
        digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
        data = target.parent / f".{digest}{_PART}"
        pieces = target.parent / f".{digest}{_PIECES}"
        descriptor = os.open(data, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        part = cls(data, pieces, descriptor)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TransferBroken(f"Another process downloads to {target}.") from None
            if not _is_at(data, descriptor):  # its former owner gave it its name meanwhile
                raise TransferBroken(f"Another process has just downloaded to {target}.")
            _check_own(descriptor, data)
            part._begin(entry, resume=resume)
            yield part
        finally:
            if part._list >= 0:
                os.close(part._list)
            os.close(descriptor)

    def _begin(self, entry: Entry, *, resume: bool) -> None:
        head = json.dumps([entry.path, entry.etag, entry.size_bytes, _boot()])
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._list = os.open(self._pieces, flags, 0o600)
        _check_own(self._list, self._pieces)
        lines = self._lines() if resume and entry.etag else []
        if lines and lines[0] == head:
            named = {int(line) for line in lines[1:] if line.isdigit()}
            there = os.fstat(self.descriptor).st_size  # less where only the list was left
            found = [one for one in pieces_of(entry.size_bytes or 0) if one.number in named]
            self.done = named if all(one.end <= there for one in found) else set()
        if not self.done:
            os.ftruncate(self._list, 0)
            os.write(self._list, f"{head}\n".encode())
            os.ftruncate(self.descriptor, 0)

    def _lines(self) -> list[str]:
        """Return the lines of the list; one that a crash cut has no end, and does not count."""
        try:
            text = self._pieces.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        return text.split("\n")[:-1]

    def mark(self, number: int) -> None:
        """Note that a piece is there."""
        os.write(self._list, f"{number}\n".encode())

    def forget(self) -> None:
        """Remove what is there."""
        for path in (self._pieces, self._data):
            with suppress(FileNotFoundError):
                path.unlink()

    def finish(self, target: Path, entry: Entry, *, overwrite: bool) -> None:
        """Give the file its time and its name.

        Raises:
            FileExistsError: the target is there now, and may not be replaced.
            TransferBroken: it has not the size of the entry.
        """
        size = os.fstat(self.descriptor).st_size
        if size != (entry.size_bytes or 0):
            raise TransferBroken(f"{entry.path} has {entry.size_bytes} bytes, and {size} came.")
        modified = _modified_ns(entry)
        if modified is not None:
            os.utime(self.descriptor, ns=(modified, modified))
        if overwrite:
            os.replace(self._data, target)
        else:
            os.link(self._data, target)
        self.forget()


def _check_own(descriptor: int, path: Path) -> None:
    """Check that no one else prepared this file, as may be in a directory that all may write.

    Raises:
        TransferBroken: it has another owner, or a second name.
    """
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or status.st_nlink != 1:
        raise TransferBroken(f"{path} is not a file of yours alone; remove it.")


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file still has this name."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _boot() -> str | None:
    """Return what names this boot of the machine; None where the system does not say."""
    with suppress(OSError):
        return _BOOT.read_text("ascii").strip()
    return None
