"""File objects: readers seek in one version of a file; what writers write appears at the end."""

import io
import re
from types import TracebackType
from typing import Any

from vfolder_client.connection import Connection, chunks_of
from vfolder_client.content.uploads import TusUpload, create_headers
from vfolder_client.errors import ClientError, NotConnected, Problem, TransferBroken

#: Bytes that a writer collects before it sends them.
WRITE_BYTES = 8 * 1024 * 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_OUTSIDE, _PARTIAL = 416, 206
#: Behind the end of any file.
_END = 2**63 - 1


class RemoteReader(io.RawIOBase):
    """The content of a file as a raw reader: each read is a request for a range.

    Put a `BufferedReader` around it for small reads. All reads are of the version that the first
    one found: a later one raises `PreconditionFailed` when the file was replaced.
    """

    def __init__(self, connection: Connection, url: str, etag: str | None = None) -> None:
        super().__init__()
        self._connection = connection
        self._url = url
        self._etag = etag
        self._size: int | None = None
        self._at = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, origin: int = io.SEEK_SET) -> int:
        """Set where the next read begins."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(origin)
        if base is None:
            base = self.size
        if base + offset < 0:
            raise ValueError("A position is not negative.")
        self._at = base + offset
        return self._at

    @property
    def size(self) -> int:
        """The bytes of the file."""
        if self._size is None:  # by one byte: an error of GET says what is wrong, that of HEAD not
            self._again(bytearray(), 0, 1)
        return self._size or 0

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer, as io has it
        """Read into a buffer; return the number of bytes, 0 at the end."""
        data = self.range(self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Return the rest of the file."""
        data = self.range(self._at, _END if self._size is None else self._size)
        self._at += len(data)
        return data

    def range(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to before `end`; fewer where the file ends.

        Raises:
            PreconditionFailed: the file was replaced since the first read.
        """
        if self._size is not None:
            end = min(end, self._size)
        found = bytearray()
        while start + len(found) < end and self._again(found, start, end):
            end = end if self._size is None else min(end, self._size)
        return bytes(found)

    def _again(self, found: bytearray, start: int, end: int) -> bool:
        """Add to what was found, again where it breaks; return false at the end of the file."""
        patience = self._connection.patience()
        while True:
            try:
                return self._fetch(found, start, end)
            except NotConnected as failure:
                patience.wait(failure)

    def _fetch(self, found: bytearray, start: int, end: int) -> bool:
        """Add to what was found; return false at the end of the file."""
        headers = self._headers() | {"Range": f"bytes={start + len(found)}-{end - 1}"}
        try:
            response = self._connection.send("GET", self._url, headers=headers, stream=True)
        except Problem as problem:
            if problem.status != _OUTSIDE:
                raise
            if start + len(found) == 0:
                self._size = 0
            return False
        with response:
            self._etag = self._etag or response.headers.get("ETag")
            answered = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status_code == _PARTIAL and answered:
                self._size = int(answered[3])
            elif start + len(found):
                raise TransferBroken("The door sends no ranges; something in between drops them.")
            elif length := response.headers.get("Content-Length"):
                self._size = int(length)
            before = len(found)
            for chunk in chunks_of(response):
                found += chunk[: end - start - len(found)]
            return len(found) > before

    def _headers(self) -> dict[str, str]:
        condition = {"If-Match": self._etag} if self._etag else {}
        return {"Accept-Encoding": "identity", **condition}


class RemoteWriter(io.BufferedIOBase):
    """A file that is written from its begin to its end, and appears at `close`.

    Left by an exception in a `with`, nothing appears. Cost: up to 8 MiB of memory.
    """

    def __init__(
        self, connection: Connection, route: str, path: str, *, overwrite: bool = True
    ) -> None:
        super().__init__()
        self._connection = connection
        self._route = route
        self._path = path
        self._overwrite = overwrite
        self._buffer = bytearray()
        self._upload: TusUpload | None = None
        self._at = 0
        self._failed = False
        self._discarded = False

    @property
    def name(self) -> str:
        """The path below the vfolder."""
        return self._path

    def writable(self) -> bool:
        """Return true."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._at

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer, as io has it
        """Write bytes; they may be sent later."""
        if self.closed:
            raise ValueError("The file is closed.")
        given = memoryview(data).cast("B")
        if self._discarded:
            return len(given)
        self._buffer += given
        self._at += len(given)
        while len(self._buffer) >= WRITE_BYTES:
            self._send(WRITE_BYTES)
        return len(given)

    def _send(self, size: int, *, length: int | None = None) -> None:
        """Send the first bytes of the buffer; `length` is that of the complete file."""
        try:
            if self._upload is None:
                self._upload = self._begun(None)
            self._append(bytes(self._buffer[:size]), length)
        except BaseException:
            self._failed = True
            raise
        del self._buffer[:size]

    def _begun(self, length: int | None, first: bytes = b"") -> TusUpload:
        headers = create_headers(self._path, length, overwrite=self._overwrite)
        return TusUpload.begun(self._connection, self._route, headers, first)

    def _append(self, data: bytes, length: int | None) -> None:
        """Send bytes; after a broken request, what the service has not got."""
        upload, patience = self._upload, self._connection.patience()
        if upload is None:
            raise TransferBroken("The upload was not begun.")
        begin = upload.offset
        while True:
            sent = upload.offset - begin
            if not 0 <= sent <= len(data):
                raise TransferBroken("Another writer changed the upload.")
            if length is None and sent == len(data):
                return
            try:
                upload.append(data[sent:], length=length)
            except ClientError as failure:
                patience.wait(failure)
                upload.look()
            if length is not None and upload.complete:
                return

    def close(self) -> None:
        """Send the rest; with it the file appears. After a failure it is given up."""
        if self.closed:
            return
        try:
            if self._failed or self._discarded:
                self._give_up()
            elif self._upload is None:
                self._begun(self._at, bytes(self._buffer))
            else:
                self._send(len(self._buffer), length=self._at)
        finally:
            super().close()

    def abandon(self) -> None:
        """Let no file appear when it is closed."""
        self._discarded = True

    def discard(self) -> None:
        """Close it, and let no file appear."""
        self.abandon()
        self.close()

    def _give_up(self) -> None:
        if self._upload is not None:
            self._upload.end()
        if not self._discarded:
            raise TransferBroken(f"{self._path} was not written: a part of it could not be sent.")

    def __del__(self) -> None:
        # One that is forgotten is not complete: no file appears.
        self._discarded = True
        super().__del__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discarded = self._discarded or kind is not None
        self.close()


class RemoteTextWriter(io.TextIOWrapper):
    """A `RemoteWriter` for text; left by an exception in a `with`, nothing appears."""

    def __init__(
        self,
        binary: RemoteWriter,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> None:
        super().__init__(binary, encoding or "utf-8", errors, newline)
        self._binary = binary

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        self._binary.abandon()
        self.detach()
        self._binary.close()
