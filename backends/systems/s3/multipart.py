"""Multipart uploads: the sizes of parts, and an upload from its first part to its end.

Limits of S3: parts of 5 MiB to 5 GiB (the last one may be smaller), 10,000 parts, 5 TiB in all.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import unquote_plus

from backends.systems.s3.calls import Calls
from backends.systems.s3.errors import (
    MultipartNotFound,
    ObjectNotFound,
    ObjectRefused,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
)

MIB = 1 << 20
PART_BYTES_MIN = 5 * MIB
PART_BYTES_MAX = 5 << 30
PARTS_MAX = 10_000
OBJECT_BYTES_MAX = 5 << 40
#: The size of a part where nothing requires a bigger one.
PART_BYTES = 16 * MIB
#: In a stream of unknown length, parts double after this many of one size, and first after twice
#: as many: 5 TiB fit into fewer than 10,000 parts, and none is over 4 GiB.
PARTS_PER_SIZE = 1_000
#: Bytes of streams that are held in memory for one upload; at least one part is.
IN_FLIGHT_BYTES = 64 * MIB
#: Parts of a file or a copy that are sent beside each other.
PARTS_BESIDE = 4


class Readable(Protocol):
    """A source of bytes, such as a file or a socket."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """One part that the storage has; the ETag has no quotes."""

    number: int
    etag: str
    size: int


def part_size(size: int, least: int = PART_BYTES) -> int:
    """Return the size of the parts of an object of a known size: `least`, or what fits into 10,000.

    Raises:
        ObjectRefused: no object may be that big.
    """
    if size > OBJECT_BYTES_MAX:
        raise ObjectRefused("An object has at most 5 TiB.")
    needed = -(-size // PARTS_MAX)
    return max(least, PART_BYTES_MIN, -(-needed // MIB) * MIB)


def growing_part_size(number: int, least: int = PART_BYTES) -> int:
    """Return the size of a part in a stream of unknown length."""
    return least << max(0, (number - 1) // PARTS_PER_SIZE - 1)


def ranges(size: int, part_bytes: int) -> list[tuple[int, int, int]]:
    """Return number, offset and size of each part."""
    return [
        (number, offset, min(part_bytes, size - offset))
        for number, offset in enumerate(range(0, size, part_bytes), 1)
    ]


class FileSlice(io.RawIOBase):
    """A range of an open file as a file of its own, read by pread(2).

    Slices of one descriptor are independent of each other and of its offset. A read raises
    `ObjectRefused` where the file has become shorter.
    """

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        super().__init__()
        self._descriptor, self._offset, self._size = descriptor, offset, size
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, origin: int = os.SEEK_SET, /) -> int:
        """Move as in a file of the slice's size."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[origin]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - as io.RawIOBase
        """Fill a buffer; fewer bytes at the end of the slice."""
        view = memoryview(buffer)[: max(0, self._size - self._at)]
        count = os.preadv(self._descriptor, [view], self._offset + self._at) if view else 0
        if view and not count:
            raise ObjectRefused("The file became shorter while it was sent.")
        self._at += count
        return count


class MultipartUpload:
    """One multipart upload of a key. It holds space until it is completed or aborted."""

    def __init__(self, calls: Calls, bucket: str, key: str, upload_id: str) -> None:
        self._calls = calls
        self.key = key
        self.upload_id = upload_id
        self._object = {"Bucket": bucket, "Key": key}
        self._named = {**self._object, "UploadId": upload_id}

    def put_part(self, number: int, body: bytes | FileSlice, size: int) -> UploadedPart:
        """Send one part; a part of the same number is replaced.

        Raises:
            MultipartNotFound, and as `storage_errors`.
        """
        answer = self._calls("upload_part", **self._named, PartNumber=number, Body=body)
        return UploadedPart(number, bare(answer["ETag"]), size)

    def copy_part(
        self, number: int, source: Mapping[str, str], etag: str, offset: int, size: int
    ) -> UploadedPart:
        """Have the storage copy a range of another object, which must still have this ETag.

        Raises:
            ObjectChanged: the source is another object now.
            MultipartNotFound, and as `storage_errors`.
        """
        answer = self._calls(
            "upload_part_copy",
            **self._named,
            PartNumber=number,
            CopySource=source,
            CopySourceIfMatch=quoted(etag),
            CopySourceRange=f"bytes={offset}-{offset + size - 1}",
        )
        return UploadedPart(number, bare(answer["CopyPartResult"]["ETag"]), size)

    def parts(self) -> Iterator[UploadedPart]:
        """Yield the parts that the storage has, in ascending order.

        Raises:
            MultipartNotFound, and as `storage_errors`.
        """
        marker = 0
        while True:
            page = self._calls("list_parts", **self._named, PartNumberMarker=marker)
            for part in page.get("Parts", []):
                yield UploadedPart(part["PartNumber"], bare(part["ETag"]), part["Size"])
            if not page.get("IsTruncated"):
                return
            marker = page["NextPartNumberMarker"]

    def complete(self, parts: Iterable[UploadedPart]) -> None:
        """Make the object of its parts; repeated after a lost answer, it is a success.

        Raises:
            ObjectRefused: a part is missing, too small, or another one.
            MultipartNotFound: it was aborted, and the key has another object or none.
            As `storage_errors`. The storage may answer 200 with an error in the body: the same.
        """
        ordered = sorted(parts, key=lambda part: part.number)
        listed = [{"PartNumber": part.number, "ETag": quoted(part.etag)} for part in ordered]
        try:
            self._calls(
                "complete_multipart_upload", **self._named, MultipartUpload={"Parts": listed}
            )
        except MultipartNotFound:
            if not self._is_complete(ordered):
                raise

    def _is_complete(self, parts: list[UploadedPart]) -> bool:
        """Return whether the key has what these parts make: size, and the form of the ETag."""
        try:
            found = self._calls("head_object", **self._object)
        except ObjectNotFound:
            return False
        size = sum(part.size for part in parts)
        return bool(
            found["ContentLength"] == size and bare(found["ETag"]).endswith(f"-{len(parts)}")
        )

    def abort(self) -> None:
        """Remove the upload and its parts; one that is gone is a success.

        Raises:
            As `storage_errors`.
        """
        try:
            self._calls("abort_multipart_upload", **self._named)
        except MultipartNotFound:
            return


def unfinished(
    calls: Calls, bucket: str, prefix: str
) -> Iterator[tuple[MultipartUpload, datetime]]:
    """Yield each multipart upload below a prefix that is open, and when it was begun.

    Raises:
        As `storage_errors`.
    """
    asked = {"Bucket": bucket, "Prefix": prefix}
    read: Callable[[str], str] = str
    ask = calls.once
    while True:
        try:
            page = ask("list_multipart_uploads", **asked)
        except (ObjectStorageFailed, ObjectStorageUnavailable):  # a key that XML cannot have?
            if "EncodingType" in asked:
                raise
            # Not asked for at first: SeaweedFS says that it encodes, and does not.
            asked, read, ask = {**asked, "EncodingType": "url"}, unquote_plus, calls
            continue
        for one in page.get("Uploads", []):
            upload = MultipartUpload(calls, bucket, read(one["Key"]), one["UploadId"])
            yield upload, one["Initiated"]
        if not page.get("IsTruncated"):
            return
        asked["KeyMarker"] = read(page["NextKeyMarker"])
        asked["UploadIdMarker"] = page.get("NextUploadIdMarker") or ""


def bare(etag: str) -> str:
    """Return an ETag without its quotes."""
    return etag.strip('"')


def quoted(etag: str) -> str:
    """Return an ETag as HTTP writes it."""
    return f'"{bare(etag)}"'
