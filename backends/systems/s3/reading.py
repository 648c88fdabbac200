"""The bytes of an object, read as a stream that continues after a broken connection."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from backends.systems.s3.calls import Calls
from backends.systems.s3.errors import ObjectStorageUnavailable
from backends.systems.s3.multipart import bare, quoted

BLOCK_BYTES = 1 << 20
#: Connections that may break one after the other without one more byte.
BREAKS_MAX = 4


class ObjectReader:
    """An object or a range of it, from one version of the object. Close it, or use it with `with`.

    `etag` and `size` are those of the object, `length` is what remains to be read.
    """

    def __init__(self, calls: Calls, named: dict[str, Any], start: int, end: int | None) -> None:
        """Open the object; `end` is the offset after the last byte, None for all.

        Raises:
            ObjectNotFound, ObjectChanged, ObjectRefused, and as `storage_errors`.
        """
        self._calls = calls
        self._named = named
        self._at, self._end = start, end
        answer = self._opened()
        self._body = answer["Body"]
        self.etag = bare(answer["ETag"])
        self.content_type: str = answer.get("ContentType", "")
        self.metadata: dict[str, str] = answer.get("Metadata", {})
        self.modified = answer.get("LastModified")
        self.length = int(answer["ContentLength"])
        total = str(answer.get("ContentRange", "")).rpartition("/")[2]
        self.size = int(total) if total.isdigit() else self.length
        self._end = self._at + self.length

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK_BYTES):
            yield block

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end.

        Raises:
            ObjectChanged: the connection broke, and the object is another one now.
            ObjectStorageUnavailable: it broke again and again.
        """
        block = b""

        def read() -> int:
            nonlocal block
            block = self._body.read(min(size, self.length))
            return len(block)

        self._get(read)
        return block

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer as far as bytes are there, and return their number; 0 at the end.

        Raises:
            As `read`.
        """
        return self._get(lambda: self._body.readinto(buffer[: self.length]))

    def _get(self, read: Callable[[], int]) -> int:
        """Return the number of bytes that `read` gets from the body, which may be a new one."""
        for _ in range(BREAKS_MAX):
            if self.length == 0:
                return 0
            try:
                got = read()
            except (BotoCoreError, HTTPError, OSError):
                got = 0
            if got:
                self._at += got
                self.length -= got
                return got
            self._reopen()
        raise ObjectStorageUnavailable("The connection broke several times in the same place.")

    def _reopen(self) -> None:
        self.close()
        self._named["IfMatch"] = quoted(self.etag)
        self._body = self._opened()["Body"]

    def _opened(self) -> dict[str, Any]:
        asked = dict(self._named)
        if self._at or self._end is not None:
            asked["Range"] = f"bytes={self._at}-{'' if self._end is None else self._end - 1}"
        return self._calls("get_object", **asked)

    def close(self) -> None:
        """Close the connection where bytes of the object are left; else it is used again."""
        self._body.close()
