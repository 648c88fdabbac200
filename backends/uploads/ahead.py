"""Parts of an upload that are sent to a storage of objects while its bytes still come.

The file of the upload stays complete, so nothing here has to succeed: what was not sent, or is not
sure, is sent with the end of the upload. A note of what was begun is an extended attribute of the
file. It goes with the file, and the process that ends the upload reads it, whichever that is. Where
the file system keeps no such attributes, everything is sent at the end.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, Protocol, runtime_checkable

import msgspec

from backends.base import Backend
from core.errors import StorageError
from core.names import VFolderId, VFolderPath
from core.telemetry import logger
from core.uploads import Upload

#: Parts of one upload, and of all uploads of a process, that are sent beside each other.
PARTS_BESIDE, SENDERS = 4, 16
#: How long the end of a request waits for parts that are under way (seconds).
WAIT_SECONDS = 10.0
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ATTRIBUTE = "user.vfolder.parts"

_log = logger(__name__)
_senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="parts")


class BegunParts(msgspec.Struct, frozen=True):
    """The note: parts 1 to `count` were begun; no other bytes may take their place."""

    id: str
    #: The path and the size of the file that they are for, and the size of a part (bytes).
    path: str
    size_bytes: int
    part_bytes: int
    count: int = 0


@runtime_checkable
class HasUploadParts(Protocol):
    """A storage of objects that takes the parts of a file in any order, and before its end.

    All methods raise `StorageError`, and `OSError` where the record of a vfolder fails.
    """

    def part_bytes(self, size_bytes: int) -> int:
        """Return the size of the parts of a file of this size."""

    def begin_parts(self, vfolder: VFolderId, path: VFolderPath, upload: str) -> str:
        """Begin a file of an upload, and return what names its parts."""

    def send_part(
        self,
        vfolder: VFolderId,
        path: VFolderPath,
        begun: str,
        number: int,
        slice_of: tuple[int, int, int],
    ) -> None:
        """Send a part, counted from 1: descriptor, offset and size of its bytes."""

    def abandon_parts(self, vfolder: VFolderId, path: VFolderPath, begun: str) -> None:
        """Remove the parts; those that are gone are a success."""

    def send_rest(
        self,
        vfolder: VFolderId,
        path: VFolderPath,
        descriptor: int,
        size_bytes: int,
        *,
        upload: str,
        begun: "BegunParts",
        on_begun: Callable[[str], object],
        on_work: Callable[[int], object],
    ) -> None:
        """Send the parts that the storage has not, and make the file of all.

        Where the parts are gone, all are sent, and `on_begun` gets what names them.
        """


def noted(descriptor: int) -> BegunParts | None:
    """Return the note of a file; None without one."""
    try:
        return msgspec.json.decode(os.getxattr(descriptor, _ATTRIBUTE), type=BegunParts)
    except (OSError, msgspec.DecodeError):
        return None


def noted_in(directory: int, name: str) -> BegunParts | None:
    """Return the note of a file in a directory; None without one, or without the file."""
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except OSError:
        return None
    try:
        return noted(descriptor)
    finally:
        os.close(descriptor)


def note(descriptor: int, parts: BegunParts) -> None:
    """Replace the note.

    Raises:
        OSError: the file system keeps none.
    """
    os.setxattr(descriptor, _ATTRIBUTE, msgspec.json.encode(parts))


def forget_behind(descriptor: int, offset: int) -> None:
    """Forget all parts where one has bytes behind `offset`: other bytes may come there."""
    found = noted(descriptor)
    if found is not None and found.count * found.part_bytes > offset:
        with suppress(OSError):
            os.removexattr(descriptor, _ATTRIBUTE)


def abandon(backend: Backend, upload: Upload, parts: BegunParts) -> None:
    """Have the storage remove the parts of an upload that ended, soon.

    What fails is left to the sweep of the bucket.
    """
    owner = backend.skill(HasUploadParts)
    if owner is None:
        return
    vfolder, path = VFolderId.parse(upload.vfolder), VFolderPath.parse(parts.path)

    def remove() -> None:
        try:
            owner.abandon_parts(vfolder, path, parts.id)
        except (OSError, StorageError) as error:
            _log.warning("parts of an upload left", reason=str(error))

    threading.Thread(target=remove, name="abandon parts", daemon=True).start()


class PartsAhead:
    """Sends the parts of one upload during one request. Its methods are for one thread."""

    def __init__(
        self, owner: HasUploadParts, upload: Upload, target: VFolderPath, descriptor: int
    ) -> None:
        self._owner = owner
        self._upload = upload
        self._vfolder = VFolderId.parse(upload.vfolder)
        self._target = target
        self._descriptor = descriptor
        self._size_bytes = upload.length or 0
        self._part_bytes = owner.part_bytes(self._size_bytes)
        self._beginning: Future[str] | None = None
        self._running: set[Future[None]] = set()
        self._failed = False
        self._parts = self._known()

    def _known(self) -> BegunParts | None:
        found = noted(self._descriptor)
        return found if found and fits(found, self._target, self._size_bytes) else None

    def is_due(self, offset: int) -> bool:
        """Return whether something can be sent, once `offset` is committed."""
        if self._failed or (self._beginning is not None and not self._beginning.done()):
            return False
        begun = self._parts.count if self._parts else 0
        under_way = sum(not one.done() for one in self._running)
        return under_way < PARTS_BESIDE and offset >= (begun + 1) * self._part_bytes

    def committed(self, offset: int) -> None:
        """Begin to send the parts before an offset that is committed; waits for nothing."""
        self._reap()
        if self._parts is None:
            self._begin(offset)
        while self._parts is not None and self.is_due(offset):
            self._send(self._parts)

    def _reap(self) -> None:
        if self._beginning is not None and self._beginning.done():
            beginning, self._beginning = self._beginning, None
            with self._unless_it_fails():
                self._note(BegunParts(beginning.result(), *self._file()))
        for one in [one for one in self._running if one.done()]:
            self._running.remove(one)
            with self._unless_it_fails():
                one.result()

    def _file(self) -> tuple[str, int, int]:
        return str(self._target), self._size_bytes, self._part_bytes

    def _begin(self, offset: int) -> None:
        if self._beginning is None and self.is_due(offset):
            begin = self._owner.begin_parts
            self._beginning = _senders.submit(begin, self._vfolder, self._target, self._upload.id)

    def _note(self, parts: BegunParts) -> None:
        note(self._descriptor, parts)
        self._parts = parts

    def _send(self, parts: BegunParts) -> None:
        number = parts.count + 1
        with self._unless_it_fails():
            # Not a duplicate of the descriptor: that would keep its lock after this request.
            own = os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._note(msgspec.structs.replace(parts, count=number))
                self._running.add(_senders.submit(self._send_from, own, parts.id, number))
            except BaseException:
                os.close(own)
                raise

    def _send_from(self, own: int, begun: str, number: int) -> None:
        try:
            start = (number - 1) * self._part_bytes
            size = min(self._part_bytes, self._size_bytes - start)
            self._owner.send_part(self._vfolder, self._target, begun, number, (own, start, size))
        finally:
            os.close(own)

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """Send nothing more ahead after a failure of the block."""
        try:
            yield
        except (OSError, StorageError) as error:
            self._failed = True
            _log.info("parts are sent with the end of the upload", reason=str(error))

    def close(self, offset: int = 0) -> None:
        """Send the parts before a committed offset, and wait a while; the rest ends by itself."""
        until = time.monotonic() + WAIT_SECONDS
        for _ in range(2):  # the first part needs what begins it
            self.committed(offset)
            under_way: list[Future[Any]] = [*self._running]
            if self._beginning is not None:
                under_way = [self._beginning]
            wait(under_way, max(0.0, until - time.monotonic()))
            self._reap()


def fits(parts: BegunParts, target: VFolderPath, size_bytes: int) -> bool:
    """Return whether parts are of a file of this path and size."""
    return (parts.path, parts.size_bytes) == (str(target), size_bytes)


def parts_ahead(
    owner: HasUploadParts, upload: Upload, target: VFolderPath, descriptor: int
) -> PartsAhead | None:
    """Return what sends the parts of an upload ahead; None where nothing is sent before its end.

    That holds for files that go by one call, for parts of a concatenation, and for archives to
    unpack.
    """
    if upload.length is None or upload.partial or upload.extract or target.is_root:
        return None
    if upload.length <= owner.part_bytes(upload.length):
        return None
    return PartsAhead(owner, upload, target, descriptor)
