"""From a request's body to the staging file: offsets, leases, checksums, and what is kept of a cut.

A request that ends early (cut, silent, asked to give way, disk full) keeps what it wrote, except
under a checksum, which only the whole body can prove.
"""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from api.doors.client import tus
from api.doors.client.hashing import Hashing
from api.doors.client.receiving import BUFFER_BYTES, SILENT, RequestBody
from backends.fs import descriptors
from backends.uploads import Staging, preallocation
from core.errors import QuotaExceeded
from core.telemetry import metrics
from core.uploads import LeaseRequest, OffsetMismatch, UploadLease, UploadLeaseHeld, UploadStore

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
                preallocation.lay_out(at, self.offset, len(data), self._whole)
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
