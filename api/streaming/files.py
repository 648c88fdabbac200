"""Files on their way out: headers, and a body that the server sends with sendfile(2).

`Content-Disposition` for any name a file system can hold (RFC 6266, RFC 8187).
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from io import FileIO
from typing import Any
from urllib.parse import quote

from flask import Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import PreconditionFailed as PreconditionFailedError
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from api.streaming import ranges
from api.streaming.pacing import Pace
from core.telemetry import metrics

#: Reads of this size where the server has no sendfile (TLS).
CHUNK_BYTES = 256 * 1024
#: A body from strangers is saved, never run in our origin.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}

_out = metrics.STREAMED_BYTES.labels("out")


class FilePart:
    """Bytes `start` to `end` of an open file, as a server's file wrapper wants it.

    Unbuffered, so that the descriptor's own position is where the server starts to send. Closing
    before all was sent raises: the connection then ends instead of carrying a next answer where
    bytes of this one are missing (the file shrank while it was sent).
    """

    def __init__(self, file: FileIO, start: int, length: int, pace: Pace) -> None:
        self.file = file
        #: Its turns in the budget of its volume; who does not `read` has to ask it.
        self.pace = pace
        self.position = self._start = start
        self.end = start + length
        file.seek(start)

    def fileno(self) -> int:
        """The descriptor, at the position of the next byte to send."""
        return self.file.fileno()

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """The next bytes when it is their turn, none at the end; never more than a chunk."""
        wanted = min(max(size, CHUNK_BYTES), self.end - self.position)
        if wanted <= 0:
            return b""
        data = os.pread(self.fileno(), self.pace.grant(wanted), self.position)
        self.pace.moved(len(data))
        self.position += len(data)
        return data

    def seek(self, position: int) -> int:
        """Told by socket.sendfile how far it came."""
        self.position = position
        return self.file.seek(position)

    def abandon(self) -> None:
        """Send no more; closing does not raise then."""
        self.end = self.position

    def close(self) -> None:
        """Close the file.

        Raises:
            ConnectionResetError: not all was sent.
        """
        if self.file.closed:
            return
        self.file.close()
        self.pace.close()
        _out.inc(self.position - self._start)
        if self.position < self.end:
            raise ConnectionResetError(errno.ECONNRESET, "the file shrank while it was sent")


@dataclass(frozen=True, slots=True)
class Sendable:
    """An open regular file and what its answer says of it."""

    file: FileIO
    name: str
    found: os.stat_result
    pace: Pace

    @property
    def etag(self) -> str:
        """Strong, and the same on every node that mounts the volume."""
        return f'"{self.found.st_ino:x}-{self.found.st_size:x}-{self.found.st_mtime_ns:x}"'

    @property
    def modified(self) -> int:
        """Whole seconds since the epoch."""
        return int(self.found.st_mtime)

    def representation(self) -> ranges.Representation:
        """What the choice of a range goes by."""
        return ranges.Representation(self.found.st_size, self.etag, self.modified)


def answer(file: Sendable, *, no_cache: bool = False) -> Response:
    """Answer a GET or HEAD for a file; closes it when it is sent.

    Raises:
        PreconditionFailed, RequestedRangeNotSatisfiable: as the request asked for it.
    """
    try:
        choice = ranges.choose(file.representation(), ranges.asked())
        headers = _headers(file, no_cache=no_cache)
        status, start, length = chosen(choice, file.found.st_size, headers)
    except BaseException:
        file.file.close()
        raise
    if status == 304 or request.method == "HEAD":  # noqa: PLR2004 - the number is the name
        file.file.close()
        return Response(status=status, headers=headers)
    part = FilePart(file.file, start, length, file.pace)
    return Response(wrapped(part), status, headers, direct_passthrough=True)


def wrapped(part: FilePart) -> Any:  # noqa: ANN401 - what the server's wrapper makes
    """The body as the server's own file wrapper, which is what makes it use sendfile."""
    wrapper = request.environ.get("wsgi.file_wrapper")
    return wrapper(part, CHUNK_BYTES) if wrapper else _pieces(part)


def _pieces(part: FilePart) -> Iterator[bytes]:
    try:
        while piece := part.read():
            yield piece
    finally:
        part.close()


def chosen(choice: ranges.Choice, size: int | None, headers: Headers) -> tuple[int, int, int]:
    """Status, start and length of a choice, with the headers it needs; a size of None is unknown.

    Raises:
        PreconditionFailed, RequestedRangeNotSatisfiable: the choice is a refusal.
    """
    match choice:
        case ranges.PreconditionFailed():
            raise PreconditionFailedError
        case ranges.Unsatisfiable():
            raise RequestedRangeNotSatisfiable(length=size)
        case ranges.NotModified():
            for name in ("Content-Type", "Content-Disposition"):
                headers.remove(name)
            return 304, 0, 0
        case ranges.PartialContent(start, length):
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
            headers["Content-Length"] = str(length)
            return 206, start, length
        case ranges.Whole():
            if size is not None:
                headers["Content-Length"] = str(size)
            return 200, 0, size or 0


def _headers(file: Sendable, *, no_cache: bool) -> Headers:
    headers = Headers(
        [
            *SAFE_HEADERS.items(),
            ("Content-Type", "application/octet-stream"),
            ("Content-Disposition", attachment(file.name)),
            ("Last-Modified", formatdate(file.modified, usegmt=True)),
            ("ETag", file.etag),
            ("Accept-Ranges", "bytes"),
        ]
    )
    if no_cache:
        headers["Cache-Control"] = "no-store"
    return headers


#: RFC 8187 attr-char: what needs no percent-encoding besides letters and digits.
_ATTR_CHARS = "!#$&+-.^_`|~"
#: What a quoted-string fallback shows as `_`: not printable ASCII, or decoded by some clients.
_UNSHOWABLE = re.compile(r"[^\x20-\x7e]|%")
_ESCAPED = re.compile(r'(["\\])')


def attachment(name: str) -> str:
    """The header value that saves a body under `name`.

    `filename*` has the name in full; `filename` is for clients that know no better. Bytes that are
    not UTF-8 (lone surrogates here) become U+FFFD, since the header can carry nothing else.
    """
    name = name or "download"
    plain = _ESCAPED.sub(r"\\\1", _UNSHOWABLE.sub("_", name))
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{_encoded(name)}"


def _encoded(name: str) -> str:
    valid = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return quote(valid, safe=_ATTR_CHARS)
