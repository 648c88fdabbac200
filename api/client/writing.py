"""From a request's body to the staging file: offsets, leases, checksums, and what is kept of a cut.

A request that ends early (cut, silent, asked to give way, disk full) keeps what it wrote, except
under a checksum, which only the whole body can prove.
"""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from crc32c import CRC32CHash

from api.client import tus
from api.client.receiving import BUFFER_BYTES, Body
from backends.uploads import Staging
from core import metrics
from core.errors import QuotaExceeded
from core.upload_store import UploadStore
from core.uploads import Lease, LeaseHeld, OffsetMismatch, Wish

#: While bytes come, they are committed and the lease renewed this often.
COMMIT_SECONDS = 1.0
#: A file in a full scope is cut this often, with so long a rest between two tries.
CUT_TRIES = 5
CUT_SECONDS = 0.05


class Digest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """The checksum of all."""


def _sha1() -> Any:  # noqa: ANN401 - hashlib's own class has no public name
    return hashlib.sha1(usedforsecurity=False)


#: The algorithms of the checksum extension.
CHECKSUMS: dict[str, Callable[[], Digest]] = {
    "sha1": _sha1,
    "sha256": hashlib.sha256,
    "crc32c": CRC32CHash,
}

_buffers = threading.local()
_received = metrics.STREAMED_BYTES.labels("in")


def _buffer() -> memoryview:
    """The buffer of this thread: made once, so that its pages stay mapped."""
    if not hasattr(_buffers, "view"):
        _buffers.view = memoryview(bytearray(BUFFER_BYTES))
    view: memoryview = _buffers.view
    return view


def _check(checksum: tuple[str, bytes] | None, digest: Digest | None) -> None:
    if checksum and digest and digest.digest() != checksum[1]:
        raise tus.ChecksumMismatch(f"The {checksum[0]} of the body is another.")


class Writer:
    """One request writing to one upload, under its lease."""

    def __init__(self, store: UploadStore, staging: Staging, lease: Lease) -> None:
        self._store = store
        self._staging = staging
        self._lease = lease
        self.offset = lease.offset
        self._started = lease.offset

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
        self.offset = self._started = self._staging.settle(wanted)
        if wanted != self._lease.offset or self._lease.rewind is not None:
            self._store.advance(self._lease, self.offset)

    def write(
        self,
        body: Body,
        limit: int | None,
        checksum: tuple[str, bytes] | None = None,
        *,
        whole: int | None = None,
    ) -> None:
        """Append the body; `limit` is the offset that must not be passed.

        The lease is given back unless the upload now is `whole`, which its end needs it for.

        Raises:
            BodyCut, SenderSilent, LeaseHeld: it ended early; what was written counts.
            TooLong, ChecksumMismatch, QuotaExceeded: nothing of it counts.
            LeaseLost: another writer has the upload; nothing more counts.
            NoSpace, BackendFailed: from the storage; what was written counts.
        """
        digest = CHECKSUMS[checksum[0]]() if checksum else None
        try:
            with self.giving_back():
                self._copy(body, limit, digest)
            _check(checksum, digest)
        except (tus.TooLong, tus.ChecksumMismatch):
            self.offset = self._staging.settle(self._started)
            raise
        except QuotaExceeded:
            raise
        except BaseException:
            self._keep(proved=digest is None)
            raise
        self._store.advance(self._lease, self.offset, release=self.offset != whole)

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

    def _copy(self, body: Body, limit: int | None, digest: Digest | None) -> None:
        view, commit = _buffer(), time.monotonic() + COMMIT_SECONDS
        while got := body.into(view):
            now = time.monotonic()
            if got > 0:
                if limit is not None and self.offset + got > limit:
                    raise tus.TooLong(f"The upload ends at {limit}; the body goes on.")
                if digest:
                    digest.update(view[:got])
                self._append(view[:got])
            if now >= commit:
                self._commit(flowing=got > 0, proved=digest is None)
                commit = now + COMMIT_SECONDS

    def _append(self, data: memoryview) -> None:
        try:
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
        if wish is Wish.TO_WRITE or (wish is Wish.TO_READ and not flowing):
            raise LeaseHeld("Another request of this upload asked to go on in place of this one.")

    def _keep(self, *, proved: bool) -> None:
        if not proved:
            self.offset = self._staging.settle(self._started)
        self._store.advance(self._lease, self.offset, rewind=self._started)
