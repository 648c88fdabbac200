"""Uploads: tus 1.0.0 (https://tus.io/protocols/resumable-upload) with a credential.

A file appears when all its bytes are there. An interrupted upload is kept by the service; a small
file below `~/.local/state/vfolder/uploads` says where, so that the next run goes on with it.
"""

import base64
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

import requests

from vfolder_client.connection import BLOCK_BYTES, Connection
from vfolder_client.content.pool import Stop
from vfolder_client.content.results import ContentFolder, TransferMeter, TransferResult
from vfolder_client.documents import name_bytes
from vfolder_client.errors import (
    Absent,
    ClientError,
    NotConnected,
    OffsetMismatch,
    TransferBroken,
)

#: A file of so many bytes goes with the request that opens the upload.
SMALL_BYTES = 1024 * 1024
#: The body of one request: what a proxy may have to let through.
PIECE_BYTES = 256 * 1024 * 1024
#: How often an upload is begun again that the service does not know any more.
_BEGUN_MAX = 3
#: How long a note is of use: the service keeps an upload no longer (30 days).
_NOTE_SECONDS = 30 * 86_400
_TUS = {"Tus-Resumable": "1.0.0"}
_OFFSET_TYPE = {"Content-Type": "application/offset+octet-stream"}


def create_headers(path: str, length: int | None, *, overwrite: bool) -> dict[str, str]:
    """Return the headers that open an upload; None is a length that is not known yet."""
    name = base64.b64encode(name_bytes(path)).decode()
    headers = {**_TUS, "Upload-Metadata": f"relativePath {name}"}
    if length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(length)
    if not overwrite:
        headers["If-None-Match"] = "*"
    return headers


class TusUpload:
    """One upload at the door: where it is, and how many bytes are there."""

    def __init__(self, connection: Connection, url: str, offset: int = 0) -> None:
        self._connection = connection
        self.url = url
        self.offset = offset
        #: Whether its length is known and reached: the file is there.
        self.complete = False

    @classmethod
    def begun(
        cls, connection: Connection, route: str, headers: Mapping[str, str], first: bytes = b""
    ) -> "TusUpload":
        """Open an upload below a vfolder, with its first bytes.

        Repeated where nothing forbids to replace a file: an upload that is not continued expires.

        Raises:
            PreconditionFailed: an entry has the name, and the headers refuse to replace it.
        """
        body = {**headers, **_OFFSET_TYPE} if first else dict(headers)
        response = connection.send(
            "POST",
            f"{route}/uploads",
            headers=body,
            body=lambda: first,
            repeatable="If-None-Match" not in headers,
        )
        url = urljoin(response.url, response.headers["Location"])
        return cls(connection, url, len(first))

    @classmethod
    def found(cls, connection: Connection, url: str) -> "TusUpload":
        """Return an upload that was opened before.

        Raises:
            UploadNotFound: it has ended, or expired.
        """
        upload = cls(connection, url)
        upload.look()
        return upload

    def look(self) -> int:
        """Return how many bytes are there."""
        response = self._connection.send("HEAD", self.url, headers=_TUS)
        return self._settled(response)

    def append(self, body: "bytes | Section", *, length: int | None = None) -> int:
        """Send bytes at the offset, once; return the new offset.

        `length` is that of the complete upload, where it was not known before.
        """
        headers = {**_TUS, **_OFFSET_TYPE, "Upload-Offset": str(self.offset)}
        if length is not None:
            headers["Upload-Length"] = str(length)
        response = self._connection.once(
            "PATCH", self.url, headers=headers, body=lambda: _from_start(body)
        )
        return self._settled(response)

    def _settled(self, response: requests.Response) -> int:
        """Keep what an answer says of the upload."""
        text = response.headers.get("Upload-Offset", "")
        if not (text.isascii() and text.isdigit()):
            raise TransferBroken("The door does not say how far the upload is.")
        self.offset = int(text)
        self.complete = response.headers.get("Upload-Length") == text
        return self.offset

    def end(self) -> None:
        """Give it up: its bytes are removed."""
        with suppress(Absent):
            self._connection.send("DELETE", self.url, headers=_TUS, repeatable=True)


def _from_start(body: "bytes | Section") -> "bytes | Section":
    if isinstance(body, Section):
        body.rewind()
    return body


class Section:
    """A part of a file as the body of a request: read when it is sent, never all in memory."""

    def __init__(self, file: BinaryIO, start: int, size: int, stop: Stop) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._stop = stop
        self.rewind()

    def __len__(self) -> int:
        return self._size

    def rewind(self) -> None:
        """Begin again."""
        self._file.seek(self._start)
        self._left = self._size

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            TransferBroken: the file became shorter.
        """
        self._stop.check()
        wanted = min(self._left, size if size >= 0 else BLOCK_BYTES)
        found = self._file.read(wanted)
        if len(found) < wanted:
            raise TransferBroken("The local file became shorter while it was sent.")
        self._left -= len(found)
        return found


# -- A local file ----------------------------------------------------------------------------------
def upload_file(
    folder: ContentFolder,
    source: Path,
    path: str,
    *,
    resume: bool,
    overwrite: bool,
    meter: TransferMeter,
) -> TransferResult:
    """Upload one local file; see `VFolder.upload`."""
    meter.expect(1, source.stat().st_size)
    return send_file(
        folder, source, path, options=SendOptions(resume=resume, overwrite=overwrite), meter=meter
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """How a file is uploaded."""

    resume: bool
    overwrite: bool
    stop: Stop = field(default_factory=Stop)


def send_file(
    folder: ContentFolder,
    source: Path,
    path: str,
    *,
    options: SendOptions,
    meter: TransferMeter,
) -> TransferResult:
    """Upload one file, whose size a meter expects already.

    Raises:
        TransferBroken: the file changes meanwhile, or the service forgets the upload repeatedly.
    """
    with source.open("rb") as file:
        sending = _Sending(folder, file, path, options, meter)
        sending.run(source)
        meter.finished()
        return TransferResult(files=1, size_bytes=sending.size)


class _Sending:
    """One local file on its way."""

    def __init__(
        self,
        folder: ContentFolder,
        file: BinaryIO,
        path: str,
        options: SendOptions,
        meter: TransferMeter,
    ) -> None:
        self._folder = folder
        self._file = file
        self._path = path
        self._options = options
        self._meter = meter
        stat = os.fstat(file.fileno())
        self.size = stat.st_size
        self._modified = stat.st_mtime_ns
        self._counted = 0

    def run(self, source: Path) -> None:
        """Send it."""
        if self.size <= SMALL_BYTES:
            self._send_small()
            return
        note = _Note.of(self._folder, source, self._path, (self.size, self._modified))
        for _ in range(_BEGUN_MAX):
            upload = self._begun(note)
            try:
                self._send(upload, note)
            except Absent:  # expired, or given up by another one
                note.forget()
                self._count_to(0)
                continue
            note.forget()
            return
        raise TransferBroken(f"The service forgets the upload of {self._path} again and again.")

    def _send_small(self) -> None:
        data = self._file.read(SMALL_BYTES + 1)
        if len(data) != self.size:
            raise TransferBroken("The local file changes while it is sent.")
        headers = create_headers(self._path, self.size, overwrite=self._options.overwrite)
        TusUpload.begun(self._folder.connection, self._folder.route, headers, data)
        self._meter.moved(self.size)

    def _begun(self, note: "_Note") -> TusUpload:
        """Return the upload of an earlier run, or a new one."""
        connection = self._folder.connection
        url = note.url() if self._options.resume else None
        if url is not None:
            with suppress(Absent):
                upload = TusUpload.found(connection, url)
                self._meter.kept(upload.offset)
                self._counted = upload.offset
                return upload
        headers = create_headers(self._path, self.size, overwrite=self._options.overwrite)
        upload = TusUpload.begun(connection, self._folder.route, headers)
        if self._options.resume:
            note.keep(upload.url)
        return upload

    def _send(self, upload: TusUpload, note: "_Note") -> None:
        patience = self._folder.connection.patience()
        while upload.offset < self.size:
            if not self._is_unchanged():
                upload.end()
                note.forget()
                raise TransferBroken("The local file changed while it was sent.")
            before = upload.offset
            size = min(PIECE_BYTES, self.size - before)
            try:
                upload.append(_Counted(self, before, size))
            except OffsetMismatch:
                patience.wait(
                    NotConnected("The upload has another offset; something else writes it.")
                )
                upload.look()
            except ClientError as failure:
                patience.wait(failure)
                upload.look()
            if upload.offset > before:
                patience.progress()
            self._count_to(upload.offset)

    def _is_unchanged(self) -> bool:
        stat = os.fstat(self._file.fileno())
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self._modified)

    def _count_to(self, offset: int) -> None:
        """Set the meter to what the service has."""
        self._meter.kept(offset - self._counted)
        self._counted = offset

    def count(self, size_bytes: int) -> None:
        """Count bytes that were sent."""
        self._counted += size_bytes
        self._meter.moved(size_bytes)

    @property
    def file(self) -> BinaryIO:
        """The local file."""
        return self._file

    @property
    def stop(self) -> Stop:
        """What ends it."""
        return self._options.stop


class _Counted(Section):
    """A part of a local file that counts what was read of it."""

    def __init__(self, sending: _Sending, start: int, size: int) -> None:
        self._sending = sending
        super().__init__(sending.file, start, size, sending.stop)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        found = super().read(size)
        self._sending.count(len(found))
        return found


# -- Where an interrupted upload is ----------------------------------------------------------------
class _Note:
    """Says where the upload of one version of one local file is."""

    def __init__(self, path: Path, about: list[str | int]) -> None:
        self._path = path
        self._about = about

    @classmethod
    def of(
        cls, folder: ContentFolder, source: Path, path: str, version: tuple[int, int]
    ) -> "_Note":
        """Return the note of a local file with this size and time, for one place at the door."""
        place = [folder.connection.url, folder.reference, path, os.path.abspath(source)]
        about: list[str | int] = [*place, *version]
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
        return cls(_state_directory() / f"{name}.json", about)

    def url(self) -> str | None:
        """Return the URL of the upload; None where there is no note."""
        try:
            document = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        known = isinstance(document, dict) and document.get("about") == self._about
        return str(document["url"]) if known and "url" in document else None

    def keep(self, url: str) -> None:
        """Write the note; where it cannot be written, the upload cannot be resumed."""
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"about": self._about, "url": url}, file)
            os.replace(name, self._path)
            self._forget_old()

    def _forget_old(self) -> None:
        """Remove notes of uploads that no run has gone on with."""
        for other in self._path.parent.iterdir():
            if other.stat().st_mtime < time.time() - _NOTE_SECONDS:
                other.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the note."""
        with suppress(OSError):
            self._path.unlink()


def _state_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    top = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return top / "vfolder" / "uploads"
