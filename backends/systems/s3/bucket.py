"""One bucket: its objects, read, written, listed, copied and removed.

Keys are any text of 1 to 1,024 bytes in UTF-8: `a`, `a/` and `a/b` are three objects, and `..` has
no meaning. What keys mean as paths is a matter of the callers.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from itertools import chain, islice
from typing import Any, TypeVar

from backends.entries import ContinuedUpload
from backends.systems.s3.calls import Calls
from backends.systems.s3.endpoint import S3Endpoint
from backends.systems.s3.errors import (
    MultipartNotFound,
    ObjectChanged,
    ObjectNotFound,
    ObjectRefused,
)
from backends.systems.s3.multipart import (
    IN_FLIGHT_BYTES,
    PART_BYTES,
    PARTS_BESIDE,
    FileSlice,
    MultipartUpload,
    Readable,
    UploadedPart,
    bare,
    part_size,
    quoted,
    ranges,
    unfinished,
)
from backends.systems.s3.objects import (
    DEFAULT_CONTENT_TYPE,
    KEY_BYTES_MAX,
    NotDeleted,
    ObjectHead,
    ObjectPage,
    StoredObject,
    check_key,
    given,
    key_length,
    stored,
)
from backends.systems.s3.reading import ObjectReader
from backends.systems.s3.removal import ObjectRemoval
from backends.systems.s3.streams import parts_of
from core.errors import StorageError
from core.jobs import Interrupted
from core.telemetry import logger

#: Objects of one page of a listing.
PAGE_OBJECTS_MAX = 1_000
#: Bigger objects are copied in ranges of this size, beside each other.
COPY_BYTES = 512 << 20
#: A presigned URL is valid for at most seven days (Signature Version 4).
PRESIGNED_SECONDS_MAX = 7 * 86_400
#: Smaller files are in memory while they are sent.
WHOLE_BYTES = 64 * 1024
#: Copies that run beside each other, and how many are taken from a listing at once.
COPIES_BESIDE, COPIES_IN_TURN = 16, 256
#: Copies of one object, while it is replaced meanwhile.
COPY_TRIES = 4

_log = logger(__name__)
P = TypeVar("P")


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
        self._removal = ObjectRemoval(self._calls, name)

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
        found = self._calls("head_object", **self._named(key), **given(VersionId=version))
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
        return ObjectReader(self._calls, {**self._named(key), **given(IfMatch=match)}, start, end)

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
        key_length(cursor or "")
        if key_length(prefix) > KEY_BYTES_MAX:  # no key has it, and servers refuse it
            return ObjectPage((), (), None)
        found = self._calls(
            "list_objects_v2",
            Bucket=self.name,
            Prefix=prefix,
            MaxKeys=min(limit or PAGE_OBJECTS_MAX, PAGE_OBJECTS_MAX),
            **given(Delimiter=delimiter or None, ContinuationToken=cursor),
        )
        return ObjectPage(
            tuple(stored(one) for one in found.get("Contents", [])),
            tuple(one["Prefix"] for one in found.get("CommonPrefixes", [])),
            found.get("NextContinuationToken") if found.get("IsTruncated") else None,
        )

    def walk(self, prefix: str = "", *, ahead: bool = False) -> Iterator[StoredObject]:
        """Yield every object whose key begins with `prefix`; a call per 1,000.

        With `ahead` the next page comes while the caller works with the one before.
        """
        pages = self._pages(prefix)
        for page in self._calls.ahead(pages) if ahead else pages:
            yield from page.objects

    def _pages(self, prefix: str) -> Iterator[ObjectPage]:
        cursor = None
        while True:
            page = self.page(prefix, cursor=cursor)
            yield page
            cursor = page.cursor
            if cursor is None:
                return

    # -- Write -------------------------------------------------------------------------------------
    def put(
        self,
        key: str,
        data: bytes | FileSlice,
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
            **given(IfNoneMatch="*" if absent else None, IfMatch=quoted(etag) if etag else None),
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
        blocks = parts_of(source, size, part_bytes)
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
        continued: ContinuedUpload | None = None,
    ) -> None:
        """Write an object from the first `size` bytes of an open file, several parts at a time.

        `on_part` is called with the size of each part that was sent; it may raise to stop. An
        upload that is `continued` sends only parts that the storage has not; when it is
        interrupted, its parts stay for the next run of a job.

        Raises:
            ObjectRefused: the file is over 5 TiB, or is shorter.
        """
        part_bytes = part_size(size)
        if size <= part_bytes:
            source = FileSlice(descriptor, 0, size)
            data = source if size > WHOLE_BYTES else next(parts_of(source, size, part_bytes))
            self.put(key, data, content_type=content_type, metadata=metadata)
            on_part(size)
            return
        upload, known = self._known_parts(key, continued)
        if upload is None:
            upload = self.begin(key, content_type=content_type, metadata=metadata)
            if continued is not None:
                continued.note(upload.upload_id)

        def send(part: tuple[int, int, int]) -> UploadedPart:
            number, offset, length = part
            if (have := known.get(number)) is not None and have.size == length:
                return have
            return upload.put_part(number, FileSlice(descriptor, offset, length), length)

        def sent(part: UploadedPart) -> None:
            if part is not known.get(part.number):
                on_part(part.size)

        parts, stays = ranges(size, part_bytes), continued is not None
        self._finish(upload, send, parts, PARTS_BESIDE, on_part=sent, stays=stays)

    def _known_parts(
        self, key: str, continued: ContinuedUpload | None
    ) -> tuple[MultipartUpload | None, dict[int, UploadedPart]]:
        """Return the upload that is continued and its parts; None where there is none any more."""
        if continued is None or continued.upload_id is None:
            return None, {}
        upload = self.multipart(key, continued.upload_id)
        most = continued.parts
        try:
            parts = [part for part in upload.parts() if most is None or part.number <= most]
            return upload, {part.number: part for part in parts}
        except MultipartNotFound:
            return None, {}

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

    def copy_each(self, pairs: Iterable[tuple[StoredObject, str]]) -> Generator[int, None, None]:
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
        on_part: Callable[[UploadedPart], object] = bool,
        stays: bool = False,
    ) -> None:
        """Send all parts and complete the upload; abort it after any failure.

        With `stays` it is not aborted when a job is interrupted.
        """
        try:
            done = []
            with closing(self._calls.as_they_end(send, parts, beside)) as sent:
                for part in sent:
                    done.append(part)
                    on_part(part)
            upload.complete(done)
        except BaseException as error:
            if not (stays and isinstance(error, Interrupted)):
                self._abort(upload)
            raise

    def _abort(self, upload: MultipartUpload) -> None:
        try:
            upload.abort()
        except StorageError as error:
            _log.warning("multipart upload left", bucket=self.name, reason=error.detail)

    # -- Remove ------------------------------------------------------------------------------------
    def delete(self, key: str, version: str | None = None) -> None:
        """Remove an object; one that is absent is a success. A version goes for good."""
        self._removal.one(key, version)

    def delete_many(self, keys: Iterable[str]) -> Iterator[NotDeleted]:
        """Remove objects in batches, and yield those that the storage did not remove."""
        return self._removal.each((key, None) for key in keys)

    def delete_prefix(
        self,
        prefix: str,
        *,
        versions: bool = False,
        on_removed: Callable[[int], object] = int,
    ) -> Iterator[NotDeleted]:
        """Remove every object below a prefix; with `versions` all versions and delete markers too.

        Yields those that the storage did not remove. `on_removed` is called with the number of
        objects that each batch removed; it may raise to stop.
        """
        if versions:
            return self._removal.each(self._removal.versions(prefix), on_removed)
        return self._removal.each(((one.key, None) for one in self.walk(prefix)), on_removed)

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


def _valid(seconds: int) -> int:
    if not 0 < seconds <= PRESIGNED_SECONDS_MAX:
        raise ObjectRefused("A presigned URL is valid for 1 second to 7 days.")
    return seconds
