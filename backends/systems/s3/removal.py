"""The removal of objects: in batches where the storage has them, else one by one."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from backends.systems.s3.calls import Calls
from backends.systems.s3.errors import ObjectStorageFailed, check_later
from backends.systems.s3.objects import NotDeleted, check_key, given
from core.errors import StorageError

#: Objects of one batch of deletions.
BATCH_OBJECTS_MAX = 1_000
DELETIONS_BESIDE = 16
#: Characters that XML 1.0 cannot have, so no batch of deletions can name such a key.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
#: Codes of endpoints that have no batches of deletions.
_NO_BATCHES = frozenset({"NotImplemented", "MethodNotAllowed", "UnsupportedOperation"})


class ObjectRemoval:
    """Removes objects of a bucket."""

    def __init__(self, calls: Calls, bucket: str) -> None:
        self._calls = calls
        self._bucket = bucket

    def one(self, key: str, version: str | None = None) -> None:
        """Remove an object; one that is absent is a success. A version goes for good."""
        check_key(key)
        self._calls("delete_object", Bucket=self._bucket, Key=key, **given(VersionId=version))

    def versions(self, prefix: str) -> Iterator[tuple[str, str | None]]:
        """Yield key and version of each version and delete marker below a prefix."""
        markers: dict[str, str] = {}
        while True:
            page = self._calls(
                "list_object_versions", Bucket=self._bucket, Prefix=prefix, **markers
            )
            for one in chain(page.get("Versions", []), page.get("DeleteMarkers", [])):
                yield one["Key"], one["VersionId"]
            if not page.get("IsTruncated"):
                return
            markers = {
                "KeyMarker": page["NextKeyMarker"],
                **given(VersionIdMarker=page.get("NextVersionIdMarker")),
            }

    def each(
        self,
        named: Iterable[tuple[str, str | None]],
        on_removed: Callable[[int], object] = int,
    ) -> Iterator[NotDeleted]:
        """Remove keys or versions in batches, and yield those that the storage did not remove.

        `on_removed` is called with the number of objects of each batch that are gone.
        """
        rest = iter(named)
        batches = iter(lambda: list(islice(rest, BATCH_OBJECTS_MAX)), [])
        for batch in batches:
            left = self._delete_batch(batch)
            on_removed(len(batch) - len(left))
            yield from left

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
        listed = [{"Key": key, **given(VersionId=version)} for key, version in batch]
        return self._calls.patiently(lambda: self._delete_once(listed))

    def _delete_once(self, listed: list[dict[str, str]]) -> list[NotDeleted]:
        """Remove a batch; one of which the storage did a part, for overload, is repeated.

        Not quiet: an answer that names no object at all is not one of S3.
        """
        answer = self._calls.once("delete_objects", Bucket=self._bucket, Delete={"Objects": listed})
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
            self.one(key, version)
        except StorageError as error:
            return NotDeleted(key, str(error.facts.get("s3_code", error.kind)), version)
        return None
