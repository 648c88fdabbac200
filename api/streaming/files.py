"""Responses with a file: the headers, and a body that the server sends with sendfile(2).

A small file is read when it is opened, and leaves in one packet with its head. Each system call
lets another thread in, and the interpreter has to be waited for again; this way needs few of them.
"""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from io import FileIO
from typing import Any
from urllib.parse import quote

from flask import Response, request
from werkzeug.datastructures import Headers

from api.streaming import ranges
from api.streaming.pacing import Pace
from backends.fs import paths, translate
from core.telemetry import metrics

#: Reads of this size where the server has no sendfile (TLS).
CHUNK_BYTES = 256 * 1024
#: A file up to this size (bytes) is read whole when it is opened, and leaves with its head.
SMALL_BYTES = 64 * 1024
#: Files of users are saved by a browser; they never run in our origin.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}

#: A value of `Cache-Control`: no cache keeps the answer.
NO_STORE = "no-store"

#: Header texts that a process remembers: names and times of files repeat.
_TEXTS_KNOWN = 512

NANOSECONDS = 1_000_000_000

_out = metrics.STREAMED_BYTES.labels("out")


class ContentPart:
    """Bytes `start` to `end` of a file, as they are sent; the end of each counts what was sent."""

    def __init__(self, start: int, length: int, pace: Pace) -> None:
        #: Its turns in the budget of its volume; a caller that does not `read` must ask it.
        self.pace = pace
        self.position = self._start = start
        self.end = start + length

    def abandon(self) -> None:
        """Send no more; closing does not raise then."""
        self.end = self.position

    def _count(self) -> None:
        self.pace.close()
        _out.inc(self.position - self._start)


class LoadedPart(ContentPart):
    """A part of a file that was read already; as an iterable, a body for any server."""

    def __init__(self, data: bytes, start: int, pace: Pace) -> None:
        super().__init__(start, len(data), pace)
        self.data = data
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes when it is their turn."""
        while self.position < self.end:
            at = self.position - self._start
            piece = self.data[at : at + self.pace.grant(self.end - self.position)]
            self.pace.moved(len(piece))
            self.position += len(piece)
            yield piece

    def close(self) -> None:
        """Count what was sent; once."""
        if not self._closed:
            self._closed = True
            self._count()


class FilePart(ContentPart):
    """Bytes `start` to `end` of an open file, as a server's file wrapper takes it.

    The file is unbuffered: the server starts to send at the descriptor's own position. Closing
    raises when bytes are missing, because the file shrank while it was sent. The connection then
    ends, and no next response follows where bytes of this one are missing.
    """

    def __init__(self, file: FileIO, start: int, length: int, pace: Pace) -> None:
        super().__init__(start, length, pace)
        self.file = file
        file.seek(start)

    def fileno(self) -> int:
        """Return the descriptor, at the position of the next byte to send."""
        return self.file.fileno()

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes when it is their turn: a chunk at most, none at the end."""
        size = min(max(size, CHUNK_BYTES), self.end - self.position)
        if size <= 0:
            return b""
        data = os.pread(self.fileno(), self.pace.grant(size), self.position)
        self.pace.moved(len(data))
        self.position += len(data)
        return data

    def seek(self, position: int) -> int:
        """Move to a position; socket.sendfile calls this to report how far it came."""
        self.position = position
        return self.file.seek(position)

    def close(self) -> None:
        """Close the file.

        Raises:
            ConnectionResetError: bytes are missing.
        """
        if self.file.closed:
            return
        self.file.close()
        self._count()
        if self.position < self.end:
            raise ConnectionResetError(errno.ECONNRESET, "the file shrank while it was sent")


def close_unsent(response: Response) -> None:
    """Close a response of which nothing was sent: another answer goes in its place."""
    body = getattr(response.response, "filelike", response.response)
    if isinstance(body, ContentPart):
        body.abandon()
    response.close()


#: An HTTP-date has the years 1 to 9999 (seconds since the epoch).
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


@dataclass(frozen=True, slots=True)
class Sendable:
    """An open regular file and what its response says about it."""

    #: None when `content` has all bytes.
    file: FileIO | None
    name: str
    stat: os.stat_result | paths.OpenedFile
    pace: Pace
    content: bytes | None = None

    def close(self) -> None:
        """Close the file where it is open."""
        if self.file is not None:
            self.file.close()

    @property
    def etag(self) -> str:
        """A strong entity tag, the same on every node that mounts the volume."""
        return f'"{paths.file_tag(self.stat)}"'

    @property
    def modified(self) -> int:
        """The time of the last change, in whole seconds since the epoch, as HTTP can write it."""
        return min(max(self.stat.st_mtime_ns // NANOSECONDS, _FIRST_SECOND), _LAST_SECOND)

    def representation(self) -> ranges.Representation:
        """Return what the choice of a range depends on."""
        return ranges.Representation(self.stat.st_size, self.etag, self.modified)


def answer(
    file: Sendable, *, caching: str = "", requested: ranges.RequestedRanges | None = None
) -> Response:
    """Return the response to a GET or HEAD of a file; the file is closed after the last byte.

    `requested` is what the headers of the request ask for, where a POST is answered as a GET.

    Raises:
        PreconditionFailed, RequestedRangeNotSatisfiable: the headers of the request lead to it.
        StorageError: the first byte cannot be read.
    """
    try:
        asked = requested or ranges.requested_ranges()
        choice = ranges.choose(file.representation(), asked)
        headers = headers_of(file.name, file.etag, file.modified, caching=caching)
        status, start, length = ranges.apply_choice(choice, file.stat.st_size, headers)
        body = None
        if status != HTTPStatus.NOT_MODIFIED and asked.method != "HEAD":
            body = _body(file, start, length)
    except BaseException:
        file.close()
        raise
    if body is None:
        file.close()
        return Response(status=status, headers=headers)
    return FileResponse(body, status, headers, direct_passthrough=True)


class FileResponse(Response):
    """A response whose headers are complete: none is a location, and the length is known."""

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:  # noqa: ARG002 - werkzeug's
        """Return the headers as they are; werkzeug copies them one by one and looks for these."""
        return self.headers


def _body(file: Sendable, start: int, length: int) -> Any:  # noqa: ANN401 - ours, or the server's wrapper of it
    """Return the bytes as a body; of a file that is open, one byte is read to prove that it can be.

    A storage that fails or hangs does so here, where the caller still gets an answer.

    Raises:
        StorageError: the first byte cannot be read.
    """
    if file.file is None:
        content = file.content or b""
        return LoadedPart(content[start : start + length], start, file.pace)
    if length:
        try:
            os.pread(file.file.fileno(), 1, start)
        except OSError as error:
            raise translate(error) from error
    return wrapped(FilePart(file.file, start, length, file.pace))


def wrapped(part: FilePart) -> Any:  # noqa: ANN401 - what the server's wrapper makes
    """Return the body in the server's own file wrapper: only then the server uses sendfile(2)."""
    wrapper = request.environ.get("wsgi.file_wrapper")
    return wrapper(part, CHUNK_BYTES) if wrapper else _pieces(part)


def _pieces(part: FilePart) -> Iterator[bytes]:
    try:
        while piece := part.read():
            yield piece
    finally:
        part.close()


def headers_of(name: str, etag: str, modified: int, *, caching: str) -> Headers:
    """Return the headers of a file's response: those that depend on no range.

    `caching` is the value of `Cache-Control`; without one there is no such header.
    """
    return Headers(
        [
            *([("Cache-Control", caching)] if caching else ()),
            *SAFE_HEADERS.items(),
            ("Content-Type", "application/octet-stream"),
            ("Content-Disposition", attachment(name)),
            ("Last-Modified", _http_date(modified)),
            ("ETag", etag),
            ("Accept-Ranges", "bytes"),
        ]
    )


@lru_cache(_TEXTS_KNOWN)
def _http_date(second: int) -> str:
    """Return a moment (seconds since the epoch) as RFC 9110 §5.6.7 writes it."""
    return formatdate(second, usegmt=True)


#: RFC 8187 attr-char: what needs no percent-encoding besides letters and digits.
_ATTR_CHARS = "!#$&+-.^_`|~"
#: The fallback shows these as `_`: not printable ASCII, decoded by some clients, or cut there by
#: others (curl ends a name at `"` and drops `\`, escaped or not).
_UNSHOWABLE = re.compile(r'[^\x20-\x7e]|[%"\\]')


@lru_cache(_TEXTS_KNOWN)
def attachment(name: str) -> str:
    """Return the value of `Content-Disposition` that saves a body under any name of a file.

    `filename*` has the complete name (RFC 8187); `filename` is for clients that know only RFC 6266.
    Bytes that are not UTF-8 (lone surrogates here) become U+FFFD: the header cannot carry them.
    """
    name = name or "download"
    plain = _UNSHOWABLE.sub("_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{_encoded(name)}"


def _encoded(name: str) -> str:
    valid = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return quote(valid, safe=_ATTR_CHARS)
