"""Responses with an object of a bucket: ranges and conditions as of a file, bytes by streaming.

Where the volume has an endpoint that clients can reach, the answer is a redirect to a presigned
URL; then no byte passes this service.
"""

from collections.abc import Iterator
from http import HTTPStatus

from flask import Response, request
from werkzeug.datastructures import Headers

from api.streaming import files, ranges
from api.streaming.pacing import Pace
from backends.entries import ObjectTree, OpenObject
from core.errors import EntryNotFound
from core.names import VFolderPath
from core.telemetry import metrics

#: Bytes of one read; also the memory of one stream.
CHUNK_BYTES = 256 * 1024

_out = metrics.STREAMED_BYTES.labels("out")


def answer(tree: ObjectTree, path: VFolderPath, pace: Pace, *, caching: str = "") -> Response:
    """Return the response to a GET or HEAD of an object; it is closed after the last byte.

    Raises:
        EntryNotFound: there is no such file.
        PreconditionFailed, RequestedRangeNotSatisfiable: the headers of the request lead to it.
        StorageError: the storage fails.
    """
    found = tree.head(path)
    if found is None:
        raise EntryNotFound(f"{path} is no file.")
    modified = int(found.modified.timestamp()) if found.modified else 0
    etag = f'"{found.etag}"'
    what = ranges.Representation(found.size, etag, modified)
    choice = ranges.choose(what, ranges.requested_ranges())
    headers = files.headers_of(path.name, etag, modified, caching=caching)
    if request.method != "HEAD" and (url := tree.presigned(path, files.attachment(path.name))):
        return _redirect(url)
    status, start, length = ranges.apply_choice(choice, found.size, headers)
    if status == HTTPStatus.NOT_MODIFIED or request.method == "HEAD":
        return Response(status=status, headers=headers)
    if not length:
        return Response(b"", status, headers)
    body = _ObjectBody(tree.open_object(path, start, start + length, found.etag), pace, length)
    return Response(body, status, headers, direct_passthrough=True)


def _redirect(url: str) -> Response:
    """Return the redirect; no cache keeps it, since the URL expires."""
    headers = Headers([("Location", url), ("Cache-Control", "no-store")])
    return Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers=headers)


class _ObjectBody:
    """The bytes of an object on their way, at the pace of the volume's budget."""

    def __init__(self, reader: OpenObject, pace: Pace, length: int) -> None:
        self._reader = reader
        self.pace = pace
        self._left = length

    def __iter__(self) -> Iterator[bytes]:
        while self._left:
            piece = self._reader.read(self.pace.grant(min(CHUNK_BYTES, self._left)))
            self.pace.moved(len(piece))
            if not piece:
                raise ConnectionResetError("the object ended before its length")
            self._left -= len(piece)
            _out.inc(len(piece))
            yield piece

    def close(self) -> None:
        """Close the connection to the storage."""
        self._reader.close()
        self.pace.close()
