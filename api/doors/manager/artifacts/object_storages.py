"""Routes of object storages: facts, download, upload, removal, presigned URLs of objects."""

from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import NamedTuple

from flask import Response, request
from werkzeug.datastructures import Headers

from api.doors.manager.artifacts.forms import parsed_form
from api.doors.manager.artifacts.turns import turn
from api.doors.manager.artifacts.vfs_storages import on_storage
from api.http import answer, no_content
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import artifact_storages as schemas
from api.schemas.bodies import UnreadableDocument
from api.streaming import files, ranges
from backends.fs import ERRORS
from backends.systems.s3 import (
    BucketNotFound,
    ObjectChanged,
    ObjectHead,
    ObjectNotFound,
    ObjectReader,
    ObjectRefused,
    ObjectStorageDenied,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
)
from backends.volumes.artifacts import OCTET_STREAM, ObjectsNotDeleted, ObjectStorage
from core.errors import (
    MalformedRequest,
    NoSpace,
    QuotaExceeded,
    StorageError,
    StorageKindWrong,
    StorageNotFound,
    StoragePathRefused,
)

blueprint = Resource("object storages", __name__, description="Objects of S3 artifact storages.")

_TOP = "/v1/storages/s3/<storage_name>/buckets/<bucket_name>/object"
_STORAGE: tuple[type[StorageError], ...] = (
    StorageNotFound,
    StorageKindWrong,
    BucketNotFound,
    ObjectRefused,
    ObjectStorageDenied,
    ObjectStorageFailed,
    ObjectStorageUnavailable,
)
_BODY: tuple[type[StorageError], ...] = (UnreadableDocument, *_STORAGE)
_READ_BYTES = 256 * 1024


class _BucketPlace(NamedTuple):
    storage: ObjectStorage
    bucket: str


def _place(storage_name: str, bucket_name: str) -> _BucketPlace:
    return _BucketPlace(current_door().artifact_storages.objects(storage_name), bucket_name)


@blueprint.operation(
    "GET",
    f"{_TOP}/meta",
    Route(
        takes=schemas.ObjectKeyBody,
        gives={200: RouteAnswer("Its facts.", schemas.ObjectMeta)},
        refuses=(*_BODY, ObjectNotFound),
    ),
)
def get_object_meta(body: schemas.ObjectKey, storage_name: str, bucket_name: str) -> Response:
    """Return the facts of an object."""
    place = _place(storage_name, bucket_name)
    with turn(storage_name):
        return answer(place.storage.describe(place.bucket, body.key))


@blueprint.operation(
    "DELETE",
    _TOP,
    Route(
        takes=schemas.ObjectKeyBody,
        gives={204: RouteAnswer("It is not there any more.")},
        refuses=(*_BODY, ObjectsNotDeleted, StoragePathRefused, *ERRORS),
    ),
)
def remove_object(body: schemas.ObjectKey, storage_name: str, bucket_name: str) -> Response:
    """Remove an object; a key with `/` at its end removes all versions of everything below it.

    With the name of a VFS storage, the directory of this path is removed: the manager calls this
    route to clean up, whatever kind its archive is. What is absent is a success, too.
    """
    storages = current_door().artifact_storages
    if storages.table(storage_name).type == "vfs_storage":
        storage = storages.vfs(storage_name)
        on_storage(storage, lambda: storage.remove(body.key))
    else:
        objects = storages.objects(storage_name)
        with turn(storage_name):
            objects.remove(bucket_name, body.key)
    return no_content()


@blueprint.operation(
    "POST",
    f"{_TOP}/download",
    Route(
        takes=schemas.ObjectKeyBody,
        gives={
            200: RouteAnswer("The object.", content_type=OCTET_STREAM),
            206: RouteAnswer("The requested range of it.", content_type=OCTET_STREAM),
            304: RouteAnswer("The caller has it."),
        },
        refuses=(*_BODY, ObjectNotFound, ObjectChanged),
    ),
)
def download_object(body: schemas.ObjectKey, storage_name: str, bucket_name: str) -> Response:
    """Send an object. Ranges and conditions of RFC 9110 are answered as for a GET."""
    place = _place(storage_name, bucket_name)
    bucket = place.storage.bucket(place.bucket)
    with ExitStack() as held:
        held.enter_context(turn(storage_name))
        head = bucket.head(body.key)
        headers = _headers(head)
        choice = ranges.choose(_representation(head), ranges.requested_as_get())
        status, start, length = ranges.apply_choice(choice, head.size, headers)
        if status == HTTPStatus.NOT_MODIFIED:
            return Response(status=status, headers=headers)
        if not length:
            return Response(b"", status, headers)
        reader = bucket.read(body.key, start, start + length, etag=head.etag)
        held.callback(reader.close)
        response = Response(_pieces(reader), status, headers)
        response.call_on_close(held.pop_all().close)
        return response


def _representation(head: ObjectHead) -> ranges.Representation:
    modified = int(head.modified.timestamp()) if head.modified else None
    return ranges.Representation(head.size, f'"{head.etag}"', modified)


def _headers(head: ObjectHead) -> Headers:
    return Headers(
        [
            *files.SAFE_HEADERS.items(),
            ("Content-Type", OCTET_STREAM),
            ("ETag", f'"{head.etag}"'),
            ("Accept-Ranges", "bytes"),
        ]
    )


def _pieces(reader: ObjectReader) -> Iterator[bytes]:
    while piece := reader.read(_READ_BYTES):
        yield piece


@blueprint.operation(
    "POST",
    f"{_TOP}/upload",
    Route(
        form=schemas.ObjectUploadForm,
        gives={204: RouteAnswer("Stored.")},
        refuses=(MalformedRequest, NoSpace, QuotaExceeded, *_STORAGE),
    ),
)
def upload_object(storage_name: str, bucket_name: str) -> Response:
    """Store an object: a form with the field `key` and the file `file`.

    The file is received completely before the storage gets it. It replaces an object of that key.
    """
    place = _place(storage_name, bucket_name)
    bucket = place.storage.bucket(place.bucket)
    with turn(storage_name), parsed_form(request.environ, "key") as form:
        bucket.upload_file(
            form.name, form.descriptor, form.size, content_type=form.content_type or OCTET_STREAM
        )
    return no_content()


@blueprint.operation(
    "POST",
    f"{_TOP}/presigned/upload",
    Route(
        takes=schemas.ObjectKeyBody,
        gives={200: RouteAnswer("URL and fields of the form.", schemas.PresignedForm)},
        refuses=_BODY,
    ),
)
def presign_upload(body: schemas.ObjectKey, storage_name: str, bucket_name: str) -> Response:
    """Return a form with which a browser uploads an object; the configuration limits it."""
    place = _place(storage_name, bucket_name)
    url, fields = place.storage.presigned_upload(place.bucket, body.key)
    return answer({"url": url, "fields": fields})


@blueprint.operation(
    "POST",
    f"{_TOP}/presigned/download",
    Route(
        takes=schemas.PresignedDownloadBody,
        gives={200: RouteAnswer("The URL.", schemas.PresignedUrl)},
        refuses=_BODY,
    ),
)
def presign_download(
    body: schemas.PresignedDownload, storage_name: str, bucket_name: str
) -> Response:
    """Return a URL that reads an object. The configuration says for how long it is valid."""
    place = _place(storage_name, bucket_name)
    return answer({"url": place.storage.presigned_download(place.bucket, body.key)})
