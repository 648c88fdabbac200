"""One bucket: its objects, read, written, listed, copied and removed.

Keys are any text of 1 to 1,024 bytes in UTF-8: `a`, `a/` and `a/b` are three objects, and `..` has
no meaning. What keys mean as paths is a matter of the callers.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from typing import Any, TypeVar

from backends.systems.s3.calls import Calls
from backends.systems.s3.endpoint import S3Endpoint
from backends.systems.s3.errors import (
    ObjectChanged,
    ObjectNotFound,
    ObjectRefused,
    ObjectStorageFailed,
    check_later,
)
from backends.systems.s3.multipart import (
    IN_FLIGHT_BYTES,
    OBJECT_BYTES_MAX,
    PART_BYTES,
    PARTS_BESIDE,
    FileSlice,
    MultipartUpload,
    Readable,
    UploadedPart,
    bare,
    growing_part_size,
    part_size,
    quoted,
    ranges,
    unfinished,
)
from backends.systems.s3.reading import ObjectReader
from core.errors import StorageError
from core.telemetry import logger

KEY_BYTES_MAX = 1024
#: Objects of one page of a listing, and of one batch of deletions.
PAGE_OBJECTS_MAX = 1_000
#: Bigger objects are copied in ranges of this size, beside each other.
COPY_BYTES = 512 << 20
#: A presigned URL is valid for at most seven days (Signature Version 4).
PRESIGNED_SECONDS_MAX = 7 * 86_400
DELETIONS_BESIDE = 16
#: Copies that run beside each other, and how many are taken from a listing at once.
COPIES_BESIDE, COPIES_IN_TURN = 16, 256
#: Copies of one object, while it is replaced meanwhile.
COPY_TRIES = 4
DEFAULT_CONTENT_TYPE = "application/octet-stream"
#: Characters that XML 1.0 cannot have, so no batch of deletions can name such a key.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
#: Codes of endpoints that have no batches of deletions.
_NO_BATCHES = frozenset({"NotImplemented", "MethodNotAllowed", "UnsupportedOperation"})

_log = logger(__name__)
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it; the ETag has no quotes."""

    key: str
    size: int
    etag: str
    modified: datetime | None


@dataclass(frozen=True, slots=True)
class ObjectHead(StoredObject):
    """An object with what belongs to it; the names in `metadata` are in lower case."""

    content_type: str = DEFAULT_CONTENT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """A page of a listing. It may have prefixes only. No cursor: there is no next page."""

    objects: tuple[StoredObject, ...]
    prefixes: tuple[str, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class NotDeleted:
    """An object that is still there, and the storage's code for the reason."""

    key: str
    code: str
    version: str | None = None


class Bucket:
    """A bucket of an endpoint. Cheap to make; connections belong to the endpoint.

    All methods raise what `storage_errors` names. Each may block for the endpoint's timeouts times
    its attempts; give `patience_seconds` where the storage may be overloaded for longer (jobs).
    The bucket of a volume (`of_volume`) that is missing raises `VolumeUnavailable`: then it is not
    known what exists.
    """

    def __init__(
        self,
        endpoint: S3Endpoint,
        name: str,
        *,
        patience_seconds: float = 0.0,
        of_volume: bool = False,
        check: Callable[[], object] = bool,
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self._calls = Calls(endpoint, patience_seconds, check, of_volume=of_volume)

    def check(self) -> None:
        """Check that the bucket exists and the credentials may list it: one call.

        Raises:
            BucketNotFound, ObjectStorageFailed, ObjectStorageUnavailable.
        """
        self._calls("list_objects_v2", Bucket=self.name, MaxKeys=1)

    # -- Read --------------------------------------------------------------------------------------
    def head(self, key: str, version: str | None = None) -> ObjectHead:
        """Return what is known of an object.

        Raises:
            ObjectNotFound: there is none. Without the right to list, S3 answers 403 instead:
                `ObjectStorageFailed`.
        """
        found = self._calls("head_object", **self._named(key), **_given(VersionId=version))
        return ObjectHead(
            key,
            int(found["ContentLength"]),
            bare(found["ETag"]),
            found.get("LastModified"),
            found.get("ContentType") or DEFAULT_CONTENT_TYPE,
            found.get("Metadata", {}),
            found.get("VersionId"),
        )

    def find(self, key: str) -> ObjectHead | None:
        """Return what is known of an object; None when there is none."""
        try:
            return self.head(key)
        except ObjectNotFound:
            return None

    def read(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str | None = None
    ) -> ObjectReader:
        """Open an object, or its bytes from `start` until before `end`.

        Raises:
            ObjectNotFound: there is none.
            ObjectRefused: `start` is at or after its end.
            ObjectChanged: it has not this ETag.
        """
        match = quoted(etag) if etag else None
        return ObjectReader(self._calls, {**self._named(key), **_given(IfMatch=match)}, start, end)

    def page(
        self,
        prefix: str = "",
        *,
        delimiter: str = "",
        cursor: str | None = None,
        limit: int | None = None,
    ) -> ObjectPage:
        """Return the next page of the keys that begin with `prefix`, in the order of their bytes.

        With a delimiter, keys that have it after the prefix appear once, as a prefix.

        Raises:
            ObjectRefused: the prefix or the cursor is no text in UTF-8.
        """
        _length(cursor or "")
        if _length(prefix) > KEY_BYTES_MAX:  # no key has it, and servers refuse it
            return ObjectPage((), (), None)
        found = self._calls(
            "list_objects_v2",
            Bucket=self.name,
            Prefix=prefix,
            MaxKeys=min(limit or PAGE_OBJECTS_MAX, PAGE_OBJECTS_MAX),
            **_given(Delimiter=delimiter or None, ContinuationToken=cursor),
        )
        return ObjectPage(
            tuple(_stored(one) for one in found.get("Contents", [])),
            tuple(one["Prefix"] for one in found.get("CommonPrefixes", [])),
            found.get("NextContinuationToken") if found.get("IsTruncated") else None,
        )

    def walk(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose key begins with `prefix`; a call per 1,000."""
        cursor = None
        while True:
            page = self.page(prefix, cursor=cursor)
            yield from page.objects
            cursor = page.cursor
            if cursor is None:
                return

    # -- Write -------------------------------------------------------------------------------------
    def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        metadata: Mapping[str, str] | None = None,
        absent: bool = False,
        etag: str | None = None,
    ) -> str:
        """Write an object in one call and return its ETag.

        With `absent` no object may have the key; with `etag` the object of this ETag is replaced.

        Raises:
            ObjectChanged: the precondition failed.
        """
        answer = self._calls(
            "put_object",
            **self._named(key),
            Body=data,
            ContentType=content_type,
            Metadata=dict(metadata or {}),
            **_given(IfNoneMatch="*" if absent else None, IfMatch=quoted(etag) if etag else None),
        )
        return bare(answer["ETag"])

    def upload(
        self,
        key: str,
        source: Readable,
        size: int | None = None,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        metadata: Mapping[str, str] | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        """Write an object from a stream: one PUT where one part suffices, else a multipart upload.

        `size` is the length of the stream, None where it is unknown. The memory is 64 MiB or one
        part; where the length is unknown, four parts, which grow after 31 GiB. Nothing is visible
        before the end; after a failure nothing is left.

        Raises:
            ObjectRefused: the stream is over 5 TiB, or is shorter than `size`.
        """
        blocks = _parts_of(source, size, part_bytes)
        first, second = next(blocks), next(blocks, None)
        if second is None:
            self.put(key, first, content_type=content_type, metadata=metadata)
            return
        upload = self.begin(key, content_type=content_type, metadata=metadata)
        beside = max(1, IN_FLIGHT_BYTES // len(first))
        numbered = enumerate(chain([first, second], blocks), 1)
        del first, second

        def send(part: tuple[int, bytes]) -> UploadedPart:
            number, body = part
            return upload.put_part(number, body, len(body))

        self._finish(upload, send, numbered, beside)

    def upload_file(
        self,
        key: str,
        descriptor: int,
        size: int,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        metadata: Mapping[str, str] | None = None,
        on_part: Callable[[int], object] = int,
    ) -> None:
        """Write an object from the first `size` bytes of an open file, several parts at a time.

        `on_part` is called with the size of each part that was sent; it may raise to stop.

        Raises:
            ObjectRefused: the file is over 5 TiB, or is shorter.
        """
        part_bytes = part_size(size)
        if size <= part_bytes:
            source = FileSlice(descriptor, 0, size)
            self.upload(key, source, size, content_type=content_type, metadata=metadata)
            return
        upload = self.begin(key, content_type=content_type, metadata=metadata)

        def send(part: tuple[int, int, int]) -> UploadedPart:
            number, offset, length = part
            return upload.put_part(number, FileSlice(descriptor, offset, length), length)

        self._finish(upload, send, ranges(size, part_bytes), PARTS_BESIDE, on_part=on_part)

    def begin(
        self,
        key: str,
        *,
        content_type: str = DEFAULT_CONTENT_TYPE,
        metadata: Mapping[str, str] | None = None,
    ) -> MultipartUpload:
        """Begin a multipart upload; the caller completes or aborts it."""
        answer = self._calls(
            "create_multipart_upload",
            **self._named(key),
            ContentType=content_type,
            Metadata=dict(metadata or {}),
        )
        return self.multipart(key, answer["UploadId"])

    def multipart(self, key: str, upload_id: str) -> MultipartUpload:
        """Return a multipart upload that was begun before; asks nothing."""
        return MultipartUpload(self._calls, self.name, key, upload_id)

    def unfinished(self, prefix: str = "") -> Iterator[tuple[MultipartUpload, datetime]]:
        """Yield each multipart upload below a prefix that is open, and when it was begun."""
        return unfinished(self._calls, self.name, prefix)

    def copy(self, source: StoredObject, key: str, *, bucket: str | None = None) -> None:
        """Have the storage copy an object, with its metadata, from this bucket or another one.

        The source must be the object that `source` describes. Objects over 512 MiB are copied in
        ranges, several at a time. Markers of directories are written again, since some servers
        (SeaweedFS) copy none.

        Raises:
            ObjectNotFound, ObjectChanged: the source is gone, or another object.
        """
        origin = {"Bucket": bucket or self.name, "Key": source.key}
        if source.key.endswith("/") and not source.size:
            head = Bucket(self.endpoint, origin["Bucket"]).head(source.key)
            self.put(key, b"", content_type=head.content_type, metadata=head.metadata)
            return
        if source.size <= COPY_BYTES:
            self._calls(
                "copy_object",
                **self._named(key),
                CopySource=origin,
                CopySourceIfMatch=quoted(source.etag),
            )
            return
        head = Bucket(self.endpoint, origin["Bucket"]).head(source.key)
        upload = self.begin(key, content_type=head.content_type, metadata=head.metadata)

        def copy(part: tuple[int, int, int]) -> UploadedPart:
            number, offset, length = part
            return upload.copy_part(number, origin, source.etag, offset, length)

        parts = ranges(source.size, part_size(source.size, COPY_BYTES))
        self._finish(upload, copy, parts, PARTS_BESIDE)

    def copy_each(self, pairs: Iterable[tuple[StoredObject, str]]) -> Iterator[int]:
        """Copy objects of this bucket to other keys, many at a time; yield the size of each.

        An object that was replaced since it was listed is copied in its present state; one that is
        gone is left out.

        Raises:
            ObjectChanged: an object is replaced again and again.
        """
        rest = iter(pairs)
        while batch := list(islice(rest, COPIES_IN_TURN)):
            small = [one for one in batch if one[0].size <= COPY_BYTES]
            yield from self._calls.beside(self._copy_present, small, COPIES_BESIDE)
            for source, key in batch:
                if source.size > COPY_BYTES:  # uses the threads itself
                    yield self._copy_present((source, key))

    def _copy_present(self, one: tuple[StoredObject, str]) -> int:
        """Copy an object in its present state, and return its size; 0 when it is gone."""
        source, key = one
        for _ in range(COPY_TRIES):
            try:
                self.copy(source, key)
            except ObjectNotFound:
                return 0
            except ObjectChanged:
                found = self.find(source.key)
                if found is None:
                    return 0
                source = found
            else:
                return source.size
        raise ObjectChanged("An object is replaced again and again while it is copied.")

    def _finish(
        self,
        upload: MultipartUpload,
        send: Callable[[P], UploadedPart],
        parts: Iterable[P],
        beside: int,
        *,
        on_part: Callable[[int], object] = int,
    ) -> None:
        """Send all parts and complete the upload; abort it after any failure."""
        try:
            done = []
            for part in self._calls.beside(send, parts, beside):
                done.append(part)
                on_part(part.size)
            upload.complete(done)
        except BaseException:
            try:
                upload.abort()
            except StorageError as error:
                _log.warning("multipart upload left", bucket=self.name, reason=error.detail)
            raise

    # -- Remove ------------------------------------------------------------------------------------
    def delete(self, key: str, version: str | None = None) -> None:
        """Remove an object; one that is absent is a success. A version goes for good."""
        self._calls("delete_object", **self._named(key), **_given(VersionId=version))

    def delete_many(self, keys: Iterable[str]) -> Iterator[NotDeleted]:
        """Remove objects in batches, and yield those that the storage did not remove."""
        return self._delete_each((key, None) for key in keys)

    def delete_prefix(self, prefix: str, *, versions: bool = False) -> Iterator[NotDeleted]:
        """Remove every object below a prefix; with `versions` all versions and delete markers too.

        Yields those that the storage did not remove.
        """
        if versions:
            return self._delete_each(self._versions(prefix))
        return self.delete_many(one.key for one in self.walk(prefix))

    def _versions(self, prefix: str) -> Iterator[tuple[str, str | None]]:
        markers: dict[str, str] = {}
        while True:
            page = self._calls("list_object_versions", Bucket=self.name, Prefix=prefix, **markers)
            for one in chain(page.get("Versions", []), page.get("DeleteMarkers", [])):
                yield one["Key"], one["VersionId"]
            if not page.get("IsTruncated"):
                return
            markers = {
                "KeyMarker": page["NextKeyMarker"],
                **_given(VersionIdMarker=page.get("NextVersionIdMarker")),
            }

    def _delete_each(self, named: Iterable[tuple[str, str | None]]) -> Iterator[NotDeleted]:
        rest = iter(named)
        batches = iter(lambda: list(islice(rest, PAGE_OBJECTS_MAX)), [])
        for batch in batches:
            yield from self._delete_batch(batch)

    def _delete_batch(self, batch: list[tuple[str, str | None]]) -> list[NotDeleted]:
        fit = [one for one in batch if not _NOT_IN_XML.search(one[0])]
        singly = [one for one in batch if _NOT_IN_XML.search(one[0])]
        failed: list[NotDeleted] = []
        try:
            failed += self._delete_listed(fit)
        except ObjectStorageFailed as error:
            if error.facts.get("s3_code") not in _NO_BATCHES:
                raise
            singly = batch
        found = self._calls.beside(self._delete_one, singly, DELETIONS_BESIDE)
        return failed + [one for one in found if one]

    def _delete_listed(self, batch: list[tuple[str, str | None]]) -> list[NotDeleted]:
        if not batch:
            return []
        listed = [{"Key": key, **_given(VersionId=version)} for key, version in batch]
        return self._calls.patiently(lambda: self._delete_once(listed))

    def _delete_once(self, listed: list[dict[str, str]]) -> list[NotDeleted]:
        """Remove a batch; one of which the storage did a part, for overload, is repeated.

        Not quiet: an answer that names no object at all is not one of S3.
        """
        answer = self._calls.once("delete_objects", Bucket=self.name, Delete={"Objects": listed})
        errors = answer.get("Errors", [])
        if not errors and not answer.get("Deleted"):
            raise ObjectStorageFailed("The answer to DeleteObjects names none of the objects.")
        for one in errors:
            check_later(one.get("Code", ""), "DeleteObjects")
        return [
            NotDeleted(one.get("Key", ""), one.get("Code", ""), one.get("VersionId"))
            for one in errors
        ]

    def _delete_one(self, one: tuple[str, str | None]) -> NotDeleted | None:
        key, version = one
        try:
            self.delete(key, version)
        except StorageError as error:
            return NotDeleted(key, str(error.facts.get("s3_code", error.kind)), version)
        return None

    # -- Presigned ---------------------------------------------------------------------------------
    def presigned_get(self, key: str, seconds: int, **response: str) -> str:
        """Return a URL that reads an object; `response` overrides headers (`ContentType` …)."""
        headers = {f"Response{name}": value for name, value in response.items()}
        return self._presigned("get_object", key, seconds, **headers)

    def presigned_put(self, key: str, seconds: int) -> str:
        """Return a URL that writes an object by PUT, of any size up to 5 GiB."""
        return self._presigned("put_object", key, seconds)

    def presigned_post(
        self, key: str, seconds: int, *, size: tuple[int, int] | None = None
    ) -> tuple[str, dict[str, str]]:
        """Return URL and fields of a form that uploads an object; `size` is (least, most) bytes."""
        self._named(key)
        conditions = [["content-length-range", *size]] if size else []
        return self._calls.presigned_post(self.name, key, _valid(seconds), conditions)

    def _presigned(self, method: str, key: str, seconds: int, **arguments: str) -> str:
        return self._calls.presigned(method, _valid(seconds), **self._named(key), **arguments)

    def _named(self, key: str) -> dict[str, Any]:
        """Return bucket and key of a call.

        Raises:
            ObjectRefused: no object can have this key.
        """
        check_key(key)
        return {"Bucket": self.name, "Key": key}


def check_key(key: str) -> None:
    """Check that an object can have a key.

    Raises:
        ObjectRefused: it is empty, over 1,024 bytes, or no text in UTF-8.
    """
    length = _length(key)
    if not 0 < length <= KEY_BYTES_MAX:
        raise ObjectRefused(f"A key has 1 to {KEY_BYTES_MAX} bytes; this one has {length}.")


def _length(key: str) -> int:
    try:
        return len(key.encode())
    except UnicodeEncodeError:
        raise ObjectRefused("A key is text in UTF-8.") from None


def _given(**arguments: str | None) -> dict[str, str]:
    """Return the arguments that have a value; boto3 takes no None."""
    return {name: value for name, value in arguments.items() if value is not None}


def _valid(seconds: int) -> int:
    if not 0 < seconds <= PRESIGNED_SECONDS_MAX:
        raise ObjectRefused("A presigned URL is valid for 1 second to 7 days.")
    return seconds


def _stored(one: Mapping[str, Any]) -> StoredObject:
    return StoredObject(one["Key"], one["Size"], bare(one.get("ETag", "")), one.get("LastModified"))


def _parts_of(source: Readable, size: int | None, part_bytes: int) -> Iterator[bytes]:
    """Yield the parts of a stream; the first one even when it is empty.

    Raises:
        ObjectRefused: the stream is shorter than `size`, or too big.
    """
    if size is None:
        yield from _growing_parts(source, part_bytes)
        return
    for _, _, length in ranges(size, part_size(size, part_bytes)) or [(1, 0, 0)]:
        block = _filled(source, length)
        if len(block) < length:
            raise ObjectRefused(f"The stream has fewer than {size} bytes.")
        yield block


def _growing_parts(source: Readable, part_bytes: int) -> Iterator[bytes]:
    number, sent = 1, 0
    while True:
        wanted = growing_part_size(number, part_bytes)
        block = _filled(source, wanted)
        sent += len(block)
        if sent > OBJECT_BYTES_MAX:
            raise ObjectRefused("An object has at most 5 TiB.")
        if number == 1 or block:
            yield block
        if len(block) < wanted:
            return
        number += 1


def _filled(source: Readable, size: int) -> bytes:
    """Return `size` bytes; fewer only at the end of the stream."""
    blocks = []
    while size and (block := source.read(size)):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)
