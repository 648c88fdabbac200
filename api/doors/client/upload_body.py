"""From a request's body to the staging file: offsets, leases, checksums, and what is kept of a cut.

A request that ends early (cut, silent, asked to give way, disk full) keeps what it wrote, except
under a checksum, which only the whole body can prove.

The body of an upload request: read at the speed of the kernel, with silences that end.

gunicorn hands a body out in copies of copies. For a plain connection and a body of known length we
take what it has read ahead and then fill our own buffer from its socket; for anything else (TLS,
chunked, another server) its public stream is read in pieces of the size it is fastest with.

Checksums of a body while it is written: on another core than the one that writes.
"""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from crc32c import CRC32CHash

from api.doors.client import tus
from api.streaming import Pace
from backends.fs import descriptors
from backends.uploads import Staging, allocate_ahead
from core.errors import QuotaExceeded, StorageError
from core.telemetry import metrics
from core.uploads import LeaseRequest, OffsetMismatch, UploadLease, UploadLeaseHeld, UploadStore

#: Our buffer: large enough that a system call costs nothing, small enough to stay in the cache.
BUFFER_BYTES = 1 << 20
#: gunicorn's stream is fastest at this size; smaller and much larger pieces are copied too often.
STREAM_PIECE_BYTES = 256 * 1024
#: A sender that says nothing for this long is gone; what it sent is kept.
READ_SILENCE_SECONDS = 60.0
#: While nothing comes, somebody else who waits for the upload is looked for this often.
TICK_SECONDS = 1.0
#: Instead of a number of bytes: nothing came for a tick, or nothing was asked for, as what came
#: before is more than the budget of the volume allows.
SILENT = -1
PACED = -2


class BodyCut(StorageError):
    """The connection ended before the body did."""

    error_code = "api_request_bad-request"
    kind = "storage/upload-cut"
    title = "The body was cut off"
    status = HTTPStatus.BAD_REQUEST
    retriable = True


class SenderSilent(StorageError):
    """The sender said nothing for too long."""

    error_code = "api_request_bad-request"
    kind = "storage/upload-silent"
    title = "The sender fell silent"
    status = HTTPStatus.REQUEST_TIMEOUT
    retriable = True


class RequestBody(Protocol):
    """A request body, once through."""

    def into(self, view: memoryview) -> int:
        """Fill the start of `view`; bytes filled, 0 at the end, `SILENT` or `PACED` after a tick.

        Raises:
            BodyCut, SenderSilent: before its end.
        """


class PacedBody:
    """A body that is read no faster than the budget of its volume lets it come."""

    def __init__(self, body: RequestBody, pace: Pace) -> None:
        self._body = body
        self._pace = pace

    def into(self, view: memoryview) -> int:
        """As `RequestBody.into`, once what came before is paid for."""
        pace = self._pace
        if not pace.limited:
            return self._body.into(view)
        if not pace.pay(TICK_SECONDS):
            return PACED
        got = self._body.into(view[: pace.piece(len(view))])
        if got > 0:
            pace.charge(got)
        return got


class _SocketBody:
    """Of a known length, straight from the socket."""

    def __init__(self, sock: Any, reader: Any, ahead: bytes) -> None:  # noqa: ANN401 - gunicorn is untyped
        self._sock = sock
        self._reader = reader
        self._ahead = ahead
        self._silent_ticks = 0
        sock.settimeout(TICK_SECONDS)

    def into(self, view: memoryview) -> int:
        if self._ahead:
            return self._from_ahead(view)
        wanted = min(len(view), self._reader.length)
        if wanted == 0:
            self._sock.settimeout(None)
            return 0
        try:
            got: int = self._sock.recv_into(view, wanted)
        except TimeoutError:
            return self._silent()
        except OSError:
            got = 0
        if got == 0:
            self._sock.settimeout(None)
            raise BodyCut("The connection ended before the body did; what came is kept.")
        self._reader.length -= got
        self._silent_ticks = 0
        return got

    def _from_ahead(self, view: memoryview) -> int:
        piece = self._ahead[: len(view)]
        view[: len(piece)] = piece
        self._ahead = self._ahead[len(piece) :]
        return len(piece)

    def _silent(self) -> int:
        self._silent_ticks += 1
        if self._silent_ticks * TICK_SECONDS > READ_SILENCE_SECONDS:
            self._sock.settimeout(None)
            raise SenderSilent("Nothing came for too long; what came is kept.")
        return SILENT


class _StreamBody:
    """Any other: through the server's own stream."""

    def __init__(self, read: Callable[[int], bytes], length: int | None) -> None:
        self._read = read
        self._left = length

    def into(self, view: memoryview) -> int:
        size = min(len(view), STREAM_PIECE_BYTES)
        if self._left is not None:
            size = min(size, self._left)
        if size == 0:
            return 0
        try:
            piece = self._read(size)
        except TimeoutError:
            raise SenderSilent("Nothing came for too long; what came is kept.") from None
        except OSError:
            raise BodyCut("The connection ended before the body did; what came is kept.") from None
        if self._left is not None:
            self._left -= len(piece)
            if not piece:
                raise BodyCut("The connection ended before the body did; what came is kept.")
        view[: len(piece)] = piece
        return len(piece)


def content_length(environ: dict[str, Any]) -> int | None:
    """Bytes of the request's body; None when only its end will tell."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    text = environ.get("CONTENT_LENGTH") or "0"
    return int(text) if text.isdecimal() else 0


def body_of(environ: dict[str, Any]) -> RequestBody:
    """The body of a request."""
    length = content_length(environ)
    direct = _direct(environ, length)
    if direct is not None:
        return direct
    if (sock := environ.get("gunicorn.socket")) is not None:
        sock.settimeout(READ_SILENCE_SECONDS)
    return _StreamBody(environ["wsgi.input"].read, length)


def _direct(environ: dict[str, Any], length: int | None) -> RequestBody | None:
    """The socket below gunicorn, when it is what we know it to be; its read-ahead comes first.

    gunicorn's reader keeps counting what is left of the body, so that a connection whose body was
    read to the end is used again, and any other is closed.
    """
    body, sock = environ.get("wsgi.input"), environ.get("gunicorn.socket")
    reader = getattr(body, "reader", None)
    unreader = getattr(reader, "unreader", None)
    take = getattr(unreader, "take_buffered", None)
    known = type(reader).__name__ == "LengthReader" and type(sock).__name__ == "socket"
    if not length or not known or take is None or environ.get("wsgi.url_scheme") != "http":
        return None
    if body.buf.tell() or getattr(reader, "length", -1) != length:  # type: ignore[union-attr] # checked by its reader
        return None
    ahead = take()
    mine, next_request = ahead[:length], ahead[length:]
    if next_request:
        unreader.unread(next_request)  # type: ignore[union-attr] # it has take_buffered
    reader.length -= len(mine)  # type: ignore[union-attr] # checked by its name
    return _SocketBody(sock, reader, mine)


#: Below this, handing a piece over costs more than its checksum.
HAND_OVER_BYTES = 128 * 1024


class UploadDigest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """The checksum of all."""


def _sha1() -> Any:  # noqa: ANN401 - hashlib's own class has no public name
    return hashlib.sha1(usedforsecurity=False)


#: The algorithms of the checksum extension.
CHECKSUMS: dict[str, Callable[[], UploadDigest]] = {
    "sha1": _sha1,
    "sha256": hashlib.sha256,
    "crc32c": CRC32CHash,
}

_pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="hash")


class Hashing:
    """The checksum of one body, one piece at a time beside the caller."""

    def __init__(self, algorithm: str) -> None:
        self._digest = CHECKSUMS[algorithm]()
        self._under_way: Future[None] | None = None

    def take(self, data: memoryview) -> None:
        """Begin with a piece, which must stay as it is until `take` or `wait` is called again."""
        self.wait()
        if len(data) < HAND_OVER_BYTES:
            self._digest.update(data)
        else:
            self._under_way = _pool.submit(self._digest.update, data)

    def wait(self) -> None:
        """Return when no piece is at work any more."""
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None

    def digest(self) -> bytes:
        """The checksum of all pieces."""
        self.wait()
        return self._digest.digest()


#: The disk begins on what came as soon as this much did; else the end waits for all of it at once.
WRITEBACK_BYTES = 8 << 20
#: While bytes come, they are committed and the lease renewed this often.
COMMIT_SECONDS = 1.0
#: A file in a full scope is cut this often, with so long a rest between two tries.
CUT_TRIES = 5
CUT_SECONDS = 0.05


_buffers = threading.local()
_received = metrics.STREAMED_BYTES.labels("in")


def _buffer(number: int) -> memoryview:
    """A buffer of this thread: made once, so that its pages stay mapped."""
    views: dict[str, memoryview] = _buffers.__dict__
    name = str(number)
    if name not in views:
        views[name] = memoryview(bytearray(BUFFER_BYTES))
    return views[name]


def _check(checksum: tuple[str, bytes] | None, hashing: Hashing | None) -> None:
    if checksum and hashing and hashing.digest() != checksum[1]:
        raise tus.ChecksumMismatch(f"The {checksum[0]} of the body is another.")


class Writer:
    """One request writing to one upload, under its lease."""

    def __init__(self, store: UploadStore, staging: Staging, lease: UploadLease) -> None:
        self._store = store
        self._staging = staging
        self._lease = lease
        self.offset = lease.offset
        self._started = self._begun = lease.offset
        #: Bytes of the whole upload; None while the sender has not told.
        self._whole: int | None = None

    def settle(self, wanted: int) -> None:
        """Stand at the sender's offset, which must be the upload's.

        Also right is where a request of this sender began that was cut, until it was told what was
        kept: it can know no other.

        Raises:
            OffsetMismatch: neither.
        """
        true = min(self._staging.size(), self._lease.offset)
        if wanted != true and (wanted != self._lease.rewind or wanted > true):
            raise OffsetMismatch(f"The upload is at {true}, the request at {wanted}.", offset=true)
        self.offset = self._started = self._begun = self._staging.settle(wanted)
        if wanted != self._lease.offset or self._lease.rewind is not None:
            self._store.advance(self._lease, self.offset)

    def write(
        self,
        body: RequestBody,
        limit: int | None,
        checksum: tuple[str, bytes] | None = None,
        *,
        whole: int | None = None,
    ) -> None:
        """Append the body; `limit` is the offset that must not be passed.

        The lease is given back unless the upload now is `whole`, which its end needs it for.

        Raises:
            BodyCut, SenderSilent, UploadLeaseHeld: it ended early; what was written counts.
            TooLong, ChecksumMismatch, QuotaExceeded: nothing of it counts.
            LeaseLost: another writer has the upload; nothing more counts.
            NoSpace, BackendFailed: from the storage; what was written counts.
        """
        hashing = Hashing(checksum[0]) if checksum else None
        self._whole = whole
        try:
            with self.giving_back():
                self._copy(body, limit, hashing)
            _check(checksum, hashing)
        except (tus.TooLong, tus.ChecksumMismatch):
            self.offset = self._staging.settle(self._started)
            raise
        except QuotaExceeded:
            raise
        except BaseException:
            self._keep(proved=hashing is None)
            raise
        self._store.advance(
            self._lease,
            self.offset,
            release=self.offset != whole,
            meanwhile=partial(self._begin_writeback, BUFFER_BYTES),
        )

    @contextmanager
    def giving_back(self) -> Iterator[None]:
        """Where the scope is full at the last moment, nothing of this request stays either."""
        try:
            yield
        except QuotaExceeded:
            self._give_back()
            raise

    def _give_back(self) -> None:
        """Cut what this request wrote: it would fill a full scope for nothing.

        To make a file shorter takes room too on some file systems (btrfs); where none comes free
        within a moment, the whole upload goes, since a removal needs none.
        """
        for _ in range(CUT_TRIES):
            try:
                self.offset = self._staging.settle(self._started)
            except OSError as error:
                if error.errno not in (errno.EDQUOT, errno.ENOSPC):
                    raise
                time.sleep(CUT_SECONDS)
            else:
                self._store.advance(self._lease, self.offset)
                return
        self._staging.remove()

    def _copy(self, body: RequestBody, limit: int | None, hashing: Hashing | None) -> None:
        try:
            self._take(body, limit, hashing)
        finally:
            if hashing:  # the buffers are the next request's
                hashing.wait()

    def _take(self, body: RequestBody, limit: int | None, hashing: Hashing | None) -> None:
        turn, commit = 0, time.monotonic() + COMMIT_SECONDS
        while got := body.into(view := _buffer(turn)):
            now = time.monotonic()
            if got > 0:
                if limit is not None and self.offset + got > limit:
                    raise tus.TooLong(f"The upload ends at {limit}; the body goes on.")
                if hashing:
                    hashing.take(view[:got])
                    turn = 1 - turn
                self._append(view[:got])
                self._begin_writeback(WRITEBACK_BYTES)
            if now >= commit:
                self._commit(flowing=got != SILENT, proved=hashing is None)
                commit = now + COMMIT_SECONDS

    def _begin_writeback(self, least: int) -> None:
        size = self.offset - self._begun
        if size >= least:
            descriptors.begin_writeback(self._staging.descriptor, self._begun, size)
            self._begun = self.offset

    def _append(self, data: memoryview) -> None:
        try:
            if self._whole is not None:
                at = self._staging.descriptor
                allocate_ahead(at, self.offset, len(data), self._whole)
            while data:
                written = os.write(self._staging.descriptor, data)
                self.offset += written
                _received.inc(written)
                data = data[written:]
        except OSError as error:
            raise self._staging.refused(error) from error

    def _commit(self, *, flowing: bool, proved: bool) -> None:
        offset = self.offset if proved else self._started
        wish = self._store.advance(self._lease, offset, rewind=self._started)
        if wish is LeaseRequest.TO_WRITE or (wish is LeaseRequest.TO_READ and not flowing):
            raise UploadLeaseHeld(
                "Another request of this upload asked to go on in place of this one."
            )

    def _keep(self, *, proved: bool) -> None:
        if not proved:
            self.offset = self._staging.settle(self._started)
        self._store.advance(self._lease, self.offset, rewind=self._started)
