"""An object storage of artifacts: the buckets of one S3 endpoint that the configuration names."""

from collections.abc import Callable
from typing import Any

from backends.systems.s3 import Bucket, BucketNotFound, ObjectStorageFailed, S3Endpoint
from core.errors import BackendFailed
from core.names import reference_moment
from core.settings import ObjectStorageTable, size_bytes

#: A door waits less long than a job: the manager gives up after 300 s.
DOOR_READ_SECONDS, DOOR_ATTEMPTS = 30.0, 3
#: A job repeats calls to an overloaded storage for so long (seconds).
JOB_PATIENCE_SECONDS = 300.0
#: Codes of endpoints that keep no versions.
_NO_VERSIONS = frozenset({"NotImplemented", "MethodNotAllowed", "UnsupportedOperation"})


class ObjectsNotDeleted(BackendFailed):
    """The object storage did not remove some objects; the others are gone."""

    error_code = "object-storage_purge_internal-error"
    kind = "storage/object/deletion/failed"
    title = "Objects are left"


class ObjectStorage:
    """One storage. Every method raises what the calls of `Bucket` raise."""

    def __init__(self, name: str, table: ObjectStorageTable) -> None:
        self.name = name
        self._table = table

    @property
    def first_bucket(self) -> str:
        """Return the bucket that imports go to."""
        return self._table.buckets[0]

    @property
    def part_bytes(self) -> int:
        """Return the size of the parts of an upload (bytes)."""
        return size_bytes(self._table.upload_chunk_size)

    def bucket(self, name: str) -> Bucket:
        """Return a bucket for the calls of a door.

        Raises:
            BucketNotFound: the configuration does not name it.
        """
        self._check(name)
        own = self._endpoint(DOOR_READ_SECONDS, DOOR_ATTEMPTS)
        return Bucket(own, name)

    def patient_bucket(self, name: str, check: Callable[[], object]) -> Bucket:
        """Return a bucket for the calls of a job, which wait for an overloaded storage.

        `check` is called meanwhile; what it raises ends the call.

        Raises:
            BucketNotFound: the configuration does not name it.
        """
        self._check(name)
        own = self._endpoint()
        return Bucket(own, name, patience_seconds=JOB_PATIENCE_SECONDS, check=check)

    def _check(self, name: str) -> None:
        if name not in self._table.buckets:
            raise BucketNotFound("The configuration of this storage names no such bucket.")

    def _endpoint(self, *patience: float) -> S3Endpoint:
        table = self._table
        more: dict[str, Any] = dict(zip(("read_seconds", "attempts"), patience, strict=False))
        return S3Endpoint(
            url=table.endpoint,
            region=table.region,
            access_key=table.access_key,
            secret_key=table.secret_key,
            **more,
        )

    def describe(self, bucket: str, key: str) -> dict[str, Any]:
        """Return the facts of an object; its ETag has quotes."""
        found = self.bucket(bucket).head(key)
        modified = found.modified.timestamp() if found.modified else None
        return {
            "content_length": found.size,
            "content_type": found.content_type,
            "last_modified": None if modified is None else reference_moment(modified),
            "etag": f'"{found.etag}"',
            "metadata": dict(found.metadata),
        }

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object; with `/` at its end, every version of everything below that prefix.

        Raises:
            ObjectsNotDeleted: some objects are left.
        """
        opened = self.bucket(bucket)
        if not key.endswith("/"):
            opened.delete(key)
            return
        try:
            left = list(opened.delete_prefix(key, versions=True))
        except ObjectStorageFailed as error:
            if error.facts.get("s3_code") not in _NO_VERSIONS:
                raise
            left = list(opened.delete_prefix(key))
        if left:
            raise ObjectsNotDeleted(f"{len(left)} objects are left ({left[0].code}).")

    def presigned_upload(self, bucket: str, key: str) -> tuple[str, dict[str, str]]:
        """Return URL and fields of a form that uploads an object."""
        own = self._table.presigned_upload
        both = own.min_size is not None and own.max_size is not None
        size = (size_bytes(own.min_size or 0), size_bytes(own.max_size or 0)) if both else None
        return self.bucket(bucket).presigned_post(key, own.expiration, size=size)

    def presigned_download(self, bucket: str, key: str) -> str:
        """Return a URL that reads an object."""
        return self.bucket(bucket).presigned_get(key, self._table.presigned_download.expiration)
