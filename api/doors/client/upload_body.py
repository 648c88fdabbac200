"""From the body of a request to the staging file of an upload: reading, checksums, writing.

gunicorn's stream copies a body twice. For a plain connection and a body of known length, the
server's `SocketBody` fills our own buffer from the socket. Anything else (TLS, chunks, another
server) is read from the WSGI stream in the pieces with which it is fastest.

A request may end early: cut, silent, interrupted by another request, disk full. What it wrote is
kept, except under a checksum: only the complete body can prove that.
"""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from crc32c import CRC32CHash

from api.access import KeptDecision
from api.doors.client import tus
from api.http import problems
from api.streaming import Pace
from api.volumes import WatchedCall
from backends.fs import descriptors
from backends.uploads import PartsAhead, Staging, allocate_ahead
from core.errors import QuotaExceeded, StorageError
from core.names import VFolderPath
from core.telemetry import metrics
from core.uploads import (
    LeaseRequest,
    OffsetMismatch,
    Upload,
    UploadLease,
    UploadLeaseHeld,
    UploadStore,
)

#: Our buffer (bytes): so large that a system call costs little, and small enough for the cache.
BUFFER_BYTES = 1 << 20
#: gunicorn's stream is fastest at this size; it copies smaller and much larger pieces too often.
STREAM_PIECE_BYTES = 256 * 1024
#: A sender that sends no byte for this long is gone (seconds); what it sent is kept.
READ_SILENCE_SECONDS = 60.0
#: While no byte comes, the request looks this often (seconds) whether another waits for the upload.
TICK_SECONDS = 1.0
#: Results instead of a number of bytes: no byte came for a tick; or none was read, because the
#: budget of the volume does not allow more yet.
SILENT = -1
PACED = -2
#: A smaller piece costs less to checksum than to pass to another thread (bytes).
PASSED_ON_BYTES = 128 * 1024
#: The disk starts to write as soon as this much came (bytes); else all of it waits for the end.
WRITEBACK_BYTES = 8 << 20
#: While bytes come, they are committed and the lease is renewed this often (seconds).
COMMIT_SECONDS = 1.0
#: How often a file in a full scope is cut, and the pause between two tries (seconds).
CUT_TRIES = 5
CUT_SECONDS = 0.05
#: Where the door's own server offers the body below its stream (`api.server.worker`).
_SOCKET_BODY = "vfolder.socket_body"
_CUT = "The connection ended before the body did; what came is kept."
_SILENT = "No byte came for too long; what came is kept."

_buffers = threading.local()
_received = metrics.STREAMED_BYTES.labels("in")


class BodyCut(StorageError):
    """The connection ended before the body did."""

    error_code = "api_request_bad-request"
    kind = "storage/upload-cut"
    title = "The body was cut off"
    status = HTTPStatus.BAD_REQUEST
    retriable = True


class SenderSilent(StorageError):
    """The sender sent no byte for too long."""

    error_code = "api_request_bad-request"
    kind = "storage/upload-silent"
    title = "The sender fell silent"
    status = HTTPStatus.REQUEST_TIMEOUT
    retriable = True


class RequestBody(Protocol):
    """A request body that is read once."""

    def into(self, view: memoryview) -> int:
        """Fill the start of `view` and return the number of bytes.

        0 is the end of the body; `SILENT` or `PACED` come after a tick without bytes.

        Raises:
            BodyCut, SenderSilent: the body ended early.
        """


class PacedBody:
    """A body that is read no faster than the budget of its volume allows."""

    def __init__(self, body: RequestBody, pace: Pace) -> None:
        self._body = body
        self._pace = pace

    def into(self, view: memoryview) -> int:
        """Do as `RequestBody.into`, once the budget has paid for the bytes before."""
        pace = self._pace
        if not pace.limited:
            return self._body.into(view)
        if not pace.pay(TICK_SECONDS):
            return PACED
        received = self._body.into(view[: pace.piece(len(view))])
        if received > 0:
            pace.charge(received)
        return received


class WatchedBody:
    """A body whose reading does not count as time of the volume."""

    def __init__(self, body: RequestBody, watch: WatchedCall) -> None:
        self._body = body
        self._watch = watch

    def into(self, view: memoryview) -> int:
        """Do as `RequestBody.into`.

        Raises:
            DeadlineExceeded: the request was given up, because a write took too long.
        """
        with self._watch.paused():
            return self._body.into(view)


class DecidedBody:
    """A body of a person, who may lose the permission while it comes."""

    def __init__(self, body: RequestBody, decision: KeptDecision) -> None:
        self._body = body
        self._decision = decision

    def into(self, view: memoryview) -> int:
        """Do as `RequestBody.into`.

        Raises:
            StorageError: the person may write no more.
        """
        self._decision.check()
        return self._body.into(view)


class _SocketBody:
    """A body of known length, from the server's socket."""

    def __init__(self, body: Any) -> None:  # noqa: ANN401 - the server's own class; doors do not import it
        self._body = body
        self._silent_ticks = 0

    def into(self, view: memoryview) -> int:
        try:
            received: int = self._body.into(view)
        except TimeoutError:
            return self._silent()
        except OSError:
            self._body.stop()
            raise BodyCut(_CUT) from None
        self._silent_ticks = 0
        return received

    def _silent(self) -> int:
        self._silent_ticks += 1
        if self._silent_ticks * TICK_SECONDS > READ_SILENCE_SECONDS:
            self._body.stop()
            raise SenderSilent(_SILENT)
        return SILENT


class _StreamBody:
    """Any other body, through the WSGI stream."""

    def __init__(
        self,
        stream: Any,  # noqa: ANN401 - what the server gives
        length: int | None,
        on_tick: Callable[[bool], None],
    ) -> None:
        self._stream = stream
        self._left = length
        self._on_tick = on_tick

    def into(self, view: memoryview) -> int:
        size = min(len(view), STREAM_PIECE_BYTES)
        if self._left is not None:
            size = min(size, self._left)
        if size == 0:
            return 0
        try:
            piece = self._read(size)
        except TimeoutError:
            raise SenderSilent(_SILENT) from None
        except (OSError, problems.RequestCut):
            raise BodyCut(_CUT) from None
        if self._left is not None:
            self._left -= len(piece)
            if not piece:
                raise BodyCut(_CUT)
        view[: len(piece)] = piece
        return len(piece)

    def _read(self, size: int) -> bytes:
        """Return the next bytes; a slow sender may need minutes for them."""
        watched = getattr(self._stream, "watched", None)  # absent under another server
        watch = (TICK_SECONDS, READ_SILENCE_SECONDS, self._on_tick)
        with watched(*watch) if watched else nullcontext():
            data: bytes = self._stream.read(size)
        return data


def content_length(environ: dict[str, Any]) -> int | None:
    """Return the bytes of a request's body; None when its length is unknown (chunks)."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return None
    text = environ.get("CONTENT_LENGTH") or "0"
    return int(text) if text.isdecimal() else 0


def body_of(environ: dict[str, Any], on_tick: Callable[[bool], None]) -> RequestBody:
    """Return the body of a request, by the fastest way that the server offers.

    `on_tick` is called again and again while one piece of a stream is read, with whether bytes
    came; what it raises ends the read.
    """
    open_socket_body = environ.get(_SOCKET_BODY)
    if open_socket_body and (body := open_socket_body(environ, TICK_SECONDS)):
        return _SocketBody(body)
    return _StreamBody(environ["wsgi.input"], content_length(environ), on_tick)


class UploadDigest(Protocol):
    """A digest under way, as hashlib's objects are."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Return the digest of all bytes."""


def _sha1() -> Any:  # noqa: ANN401 - hashlib's own class has no public name
    return hashlib.sha1(usedforsecurity=False)


#: The algorithms of the tus checksum extension.
CHECKSUMS: dict[str, Callable[[], UploadDigest]] = {
    "sha1": _sha1,
    "sha256": hashlib.sha256,
    "crc32c": CRC32CHash,
}

_hash_pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="hash")


class BodyChecksum:
    """The checksum of one body, on another core than the one that writes, one piece at a time."""

    def __init__(self, algorithm: str) -> None:
        self._digest = CHECKSUMS[algorithm]()
        self._pending: Future[None] | None = None

    def add(self, data: memoryview) -> None:
        """Start on a piece; its bytes must not change until `add` or `wait` is called again."""
        self.wait()
        if len(data) < PASSED_ON_BYTES:
            self._digest.update(data)
        else:
            self._pending = _hash_pool.submit(self._digest.update, data)

    def wait(self) -> None:
        """Return when no piece is under way."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def digest(self) -> bytes:
        """Return the checksum of all pieces."""
        self.wait()
        return self._digest.digest()


def _buffer(number: int) -> memoryview:
    """Return a buffer of this thread; it is made once, so that its pages stay mapped."""
    views: dict[str, memoryview] = _buffers.__dict__
    name = str(number)
    if name not in views:
        views[name] = memoryview(bytearray(BUFFER_BYTES))
    return views[name]


def _check(announced: tuple[str, bytes] | None, checksum: BodyChecksum | None) -> None:
    if announced and checksum and checksum.digest() != announced[1]:
        raise tus.ChecksumMismatch(f"The {announced[0]} of the body is another.")


class UploadWriter:
    """One request that writes to one upload, under its lease."""

    def __init__(self, store: UploadStore, staging: Staging, lease: UploadLease) -> None:
        self._store = store
        self._staging = staging
        self._lease = lease
        self.offset = lease.offset
        #: Where this request started, and how far the disk was asked to write.
        self._started = self._written_back = lease.offset
        #: Bytes of the complete upload; None while the sender has not announced them.
        self._length: int | None = None
        #: Whether each byte counts at once; under a checksum only the complete body does.
        self._proved = True
        self._commit_at = 0.0
        self._ahead: PartsAhead | None = None

    def settle(self, offset: int) -> None:
        """Start at the sender's offset, which must be the upload's.

        After a cut, the offset where the cut request started is right too, until a HEAD has
        reported how much was kept: until then the sender can know no other offset.

        Raises:
            OffsetMismatch: it is neither of them.
        """
        true = min(self._staging.size(), self._lease.offset)
        if offset != true and (offset != self._lease.rewind or offset > true):
            raise OffsetMismatch(f"The upload is at {true}, the request at {offset}.", offset=true)
        self.offset = self._started = self._written_back = self._staging.settle(offset)
        if offset != self._lease.offset or self._lease.rewind is not None:
            self._store.advance(self._lease, self.offset)

    def write(
        self,
        body: RequestBody,
        limit: int | None,
        announced: tuple[str, bytes] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        """Append the body; no byte may pass the offset `limit`.

        `announced` is the checksum that the body must have. The lease is released, except when the
        upload now has its full `length`: its end needs the lease.

        Raises:
            BodyCut, SenderSilent, UploadLeaseHeld: it ended early; what was written counts.
            TooLong, ChecksumMismatch, QuotaExceeded: no byte of it counts.
            LeaseLost: another writer has the upload; no further byte counts.
            NoSpace, BackendFailed: from the storage; what was written counts.
        """
        checksum = BodyChecksum(announced[0]) if announced else None
        self._length = length
        self._proved = checksum is None
        self._commit_at = time.monotonic() + COMMIT_SECONDS
        try:
            with self.undone_when_full():
                self._copy(body, limit, checksum)
            _check(announced, checksum)
        except (tus.TooLong, tus.ChecksumMismatch):
            self.offset = self._staging.settle(self._started)
            raise
        except QuotaExceeded:
            raise
        except BaseException:
            self._keep()
            raise
        self._store.advance(
            self._lease,
            self.offset,
            release=self.offset != length,
            meanwhile=partial(self._start_writeback, BUFFER_BYTES),
        )

    @contextmanager
    def sent_ahead(self, upload: Upload, target: VFolderPath) -> Iterator[None]:
        """Send parts to a storage of objects while the block writes; most storages take none."""
        self._ahead = self._staging.parts_ahead(upload, target)
        committed = 0
        try:
            yield
            committed = self.offset
        finally:
            if self._ahead is not None:
                self._ahead.close(committed)

    @contextmanager
    def undone_when_full(self) -> Iterator[None]:
        """Remove the bytes of this request when the block ends with a full quota scope."""
        try:
            yield
        except QuotaExceeded:
            self._undo()
            raise

    def _undo(self) -> None:
        """Cut what this request wrote: it would fill a full scope without any use.

        Some file systems (btrfs) need space to make a file shorter. When none comes free within a
        moment, the complete upload is removed: a removal needs none.
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

    def _copy(self, body: RequestBody, limit: int | None, checksum: BodyChecksum | None) -> None:
        try:
            self._receive(body, limit, checksum)
        finally:
            if checksum:  # the next request uses the buffers
                checksum.wait()

    def _receive(self, body: RequestBody, limit: int | None, checksum: BodyChecksum | None) -> None:
        turn = 0
        while received := body.into(view := _buffer(turn)):
            if received > 0:
                if limit is not None and self.offset + received > limit:
                    raise tus.TooLong(f"The upload ends at {limit}; the body goes on.")
                if checksum:
                    checksum.add(view[:received])
                    turn = 1 - turn
                self._append(view[:received])
                self._start_writeback(WRITEBACK_BYTES)
            self.tick(received != SILENT)

    def tick(self, flowing: bool) -> None:  # noqa: FBT001 - what a body calls while it is read
        """Commit what was written and renew the lease, at most once in `COMMIT_SECONDS`.

        Raises:
            UploadLeaseHeld, UploadLeaseLost: see `write`.
        """
        now = time.monotonic()
        if now >= self._commit_at or self._has_part_to_send():
            self._commit(flowing=flowing)
            self._commit_at = now + COMMIT_SECONDS

    def _has_part_to_send(self) -> bool:
        ahead = self._ahead
        return self._proved and ahead is not None and ahead.is_due(self.offset)

    def _start_writeback(self, least_bytes: int) -> None:
        size = self.offset - self._written_back
        if size >= least_bytes:
            descriptors.begin_writeback(self._staging.descriptor, self._written_back, size)
            self._written_back = self.offset

    def _append(self, data: memoryview) -> None:
        try:
            if self._length is not None:
                descriptor = self._staging.descriptor
                allocate_ahead(descriptor, self.offset, len(data), self._length)
            while data:
                written = os.write(self._staging.descriptor, data)
                self.offset += written
                _received.inc(written)
                data = data[written:]
        except OSError as error:
            raise self._staging.refused(error) from error

    def _commit(self, *, flowing: bool) -> None:
        offset = self.offset if self._proved else self._started
        waiting = self._store.advance(self._lease, offset, rewind=self._started)
        if self._ahead is not None:
            self._ahead.committed(offset)
        if waiting is LeaseRequest.TO_WRITE or (waiting is LeaseRequest.TO_READ and not flowing):
            raise UploadLeaseHeld("Another request of this upload asked to replace this one.")

    def _keep(self) -> None:
        if not self._proved:
            self.offset = self._staging.settle(self._started)
        self._store.advance(self._lease, self.offset, rewind=self._started)
