"""Buckets as both ends of an import: objects of this site, and of another one.

A bucket has no rename, so objects get their keys as they arrive, each complete or not at all. An
object that an earlier run has written is known by its digest, in its metadata.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Self

from backends.entries import OpenObject
from backends.systems.registries import RemoteFile
from backends.systems.s3 import Bucket, MultipartNotFound
from backends.volumes.artifacts import ObjectStorage
from core.errors import (
    CopyDiffers,
    ModelNotFound,
    RegistryUnavailable,
    StorageUnavailable,
)
from core.jobs.requests import ModelRevision
from core.names import VFolderPath
from core.telemetry import logger
from workers.run import Context, Manifest
from workers.verbs.imports.download import Download
from workers.verbs.imports.sources import ImportFile, checked_path

#: Names in the metadata of an object.
DIGEST = "vfolder-digest"
_log = logger(__name__)


class BucketTarget:
    """A bucket of an artifact storage."""

    def __init__(self, context: Context, storage: ObjectStorage, places: list[VFolderPath]) -> None:
        """Take the storage, and where each model goes."""
        self._run = context.run
        self._bucket = storage.patient_bucket(storage.first_bucket, context.run.check)
        self._part_bytes = storage.part_bytes
        self._places = places
        #: Keys of the present model that this run has written.
        self._written: list[str] = []

    def begin(self) -> Manifest | None:
        """Abort what a killed run has begun; a bucket keeps no record."""
        if self._run.may_continue:
            for place in self._places:
                self._abort(place)
        return None

    def _abort(self, place: VFolderPath) -> None:
        if place.is_root:  # uploads of others
            return
        for upload, _ in self._bucket.unfinished(f"{place}/"):
            try:
                upload.abort()
            except MultipartNotFound:
                continue

    def reserve(self, total_bytes: int) -> None:
        """Reserve nothing."""

    def receive(self, number: int, file: ImportFile, download: Download) -> None:
        """Write an object, unless an earlier run has done it."""
        key = str(self._places[number] / file.path)
        found = self._bucket.find(key) if file.digest else None
        if found and found.size == file.size and found.metadata.get(DIGEST) == file.digest:
            download.known(file)
            return
        stream = _Checked(file, download.pieces(file))
        metadata = {DIGEST: file.digest} if file.digest else {}
        self._written.append(key)
        self._bucket.upload(key, stream, file.size, metadata=metadata, part_bytes=self._part_bytes)
        stream.finish()
        if not stream.matches:
            self._bucket.delete(key)
            raise CopyDiffers("A file differs from the digest that the registry says.")

    def open(self, number: int, file: ImportFile) -> BinaryIO:
        """Open the object of a file; it cannot seek."""
        reader = self._bucket.read(str(self._places[number] / file.path))
        return io.BufferedReader(ObjectFile(reader, self._run.check))

    def withdraw(self, number: int, files: list[ImportFile]) -> None:
        """Remove objects, also those of an earlier import."""
        keys = [str(self._places[number] / file.path) for file in files]
        for left in self._bucket.delete_many(keys):
            _log.warning("refused object left", code=left.code)

    def publish(
        self, number: int, place: VFolderPath, files: list[ImportFile], *, owned: bool
    ) -> None:
        """Remove objects of an earlier import below a place that is the model's own."""
        del number
        self._written.clear()
        if not owned:
            return
        kept = {str(place / file.path) for file in files}
        stale = (one.key for one in self._bucket.walk(f"{place}/") if one.key not in kept)
        for left in self._bucket.delete_many(stale):
            _log.warning("old object left", code=left.code)

    def settle(self, size_bytes: int) -> None:
        """Do nothing: a bucket has no ledger."""

    def clear(self) -> None:
        """Do nothing: there is no staging."""

    def discard(self) -> None:
        """Remove the objects of a model that is not complete."""
        for left in self._bucket.delete_many(self._written):
            _log.warning("object of a failed import left", code=left.code)
        self._written.clear()


class _Checked:
    """A stream of a file's bytes, with their digest."""

    def __init__(self, file: ImportFile, pieces: Iterator[bytes]) -> None:
        self._file = file
        self._pieces = pieces
        self._digest = file.begin_digest()
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        block, self._rest = self._rest[:size], self._rest[size:]
        if self._digest is not None:
            self._digest.update(block)
        return block

    def finish(self) -> None:
        """Let the download record its end: nothing else is left to read."""
        for _ in self._pieces:
            raise CopyDiffers("The registry sends more than the size of the file.")

    @property
    def matches(self) -> bool:
        """Return whether the digest is the registry's, or the registry says none."""
        return self._digest is None or self._digest.hexdigest() == self._file.digest


class ObjectFile(io.RawIOBase):
    """An object that is read as a file; reads raise when the run must stop."""

    def __init__(self, reader: OpenObject, check: Callable[[], None]) -> None:
        self._reader = reader
        self._check = check

    def readable(self) -> bool:
        """Return that it is for reading."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - any buffer, as the parent says
        """Fill the beginning of a buffer."""
        self._check()
        piece = self._reader.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()
        super().close()


class BucketSource:
    """A bucket of another site; the manager of that site says nothing of these objects."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def commit(self, model: ModelRevision) -> str | None:  # noqa: ARG002 - the protocol's
        """Return None: objects have no commit."""
        return None

    def files(self, model: ModelRevision, commit: str | None) -> list[ImportFile]:  # noqa: ARG002 - see above
        """Return every object below the directory of the revision."""
        top = f"{model.directory}/"
        found = [
            ImportFile(checked_path(one.key.removeprefix(top)), one.key, one.size)
            for one in self._bucket.walk(top)
            if not one.key.endswith("/")
        ]
        if not found:
            raise ModelNotFound("The other site has no object of this revision.")
        return found

    def open(
        self,
        model: ModelRevision,  # noqa: ARG002 - the protocol's
        commit: str | None,  # noqa: ARG002 - see above
        file: ImportFile,
        start: int,
    ) -> "RemoteObject":
        """Open an object at a position."""
        return RemoteObject(self._bucket, file.name, start)

    def verification(self, model: ModelRevision) -> None:  # noqa: ARG002 - the protocol's
        """Return None: objects say nothing of verifiers."""
        return


class RemoteObject(RemoteFile):
    """An object that is read as a file of a registry."""

    def __init__(self, bucket: Bucket, key: str, start: int) -> None:
        self.start = start
        self.etag = None  # the reader continues in one version of the object
        with _as_registry():
            self._reader = bucket.read(key, start)

    def pieces(self, size: int = 1 << 18) -> Iterator[bytes]:
        """Yield the bytes."""
        with _as_registry():
            while piece := self._reader.read(size):
                yield piece

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self


class _as_registry:  # noqa: N801 - used as a block, like a function
    """Raise `RegistryUnavailable` where the other site's storage does not answer."""

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        """Replace the error of the block: this site's volumes are not what failed."""
        if isinstance(error, StorageUnavailable):
            raise RegistryUnavailable("The object storage of the other site fails.") from error
