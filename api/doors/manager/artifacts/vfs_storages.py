"""Routes of VFS storages: facts, listing, download, upload and removal of files and directories."""

import os
import threading
from collections.abc import Callable
from http import HTTPStatus
from io import FileIO
from typing import Self, TypeVar

from flask import Response, request
from werkzeug.datastructures import Headers

from api.doors.manager.artifacts.forms import receive_form
from api.http import answer
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import artifact_storages as schemas
from api.schemas.bodies import UnreadableDocument
from api.streaming import ArchiveResponse, Pace, files, ranges
from backends.archives import FORMATS, plan
from backends.fs import ERRORS
from backends.volumes.artifacts import (
    OCTET_STREAM,
    FileTooLarge,
    StorageUpload,
    StoredFile,
    VfsStorage,
)
from core.errors import (
    DeadlineExceeded,
    MalformedRequest,
    StorageError,
    StorageKindWrong,
    StorageNotFound,
    StoragePathRefused,
    StoredPathNotFound,
)
from core.jobs.requests import queue_of_storage
from core.names import VFolderPath

blueprint = Resource("vfs storages", __name__, description="Files of VFS artifact storages.")

_ANY_STORAGE: tuple[type[StorageError], ...] = (
    StorageNotFound,
    StorageKindWrong,
    StoragePathRefused,
    *ERRORS,
)
_BODY: tuple[type[StorageError], ...] = (UnreadableDocument, *_ANY_STORAGE)
T = TypeVar("T")


def on_storage(storage: VfsStorage, call: Callable[[], T]) -> T:
    """Do a bounded call within the deadline of a storage."""
    return current_door().deadlines.call(queue_of_storage(storage.name), call)


def _opened(storage: VfsStorage, filepath: str) -> StoredFile:
    return current_door().deadlines.opened(
        queue_of_storage(storage.name),
        lambda: storage.open(filepath),
        lambda late: os.close(late.descriptor),
    )


@blueprint.operation(
    "GET",
    "/v1/storages/vfs/<storage_name>/meta",
    Route(
        takes=schemas.StoragePathBody,
        gives={200: RouteAnswer("Its facts.", schemas.StoredMeta)},
        refuses=(*_BODY, StoredPathNotFound),
    ),
)
def get_stored_meta(body: schemas.StoragePath, storage_name: str) -> Response:
    """Return the facts of a file or a directory of a VFS storage."""
    storage = current_door().artifact_storages.vfs(storage_name)
    return answer(on_storage(storage, lambda: storage.describe(body.filepath)))


@blueprint.operation(
    "GET",
    "/v1/storages/vfs/<storage_name>/files",
    Route(
        takes=schemas.StorageDirectoryBody,
        gives={200: RouteAnswer("What is below it.", schemas.StoredEntries)},
        refuses=(*_BODY, StoredPathNotFound),
    ),
)
def list_stored_files(body: schemas.StorageDirectory, storage_name: str) -> Response:
    """List all files and directories below a directory of a VFS storage.

    Links and special files are left out. No link is followed.
    """
    storage = current_door().artifact_storages.vfs(storage_name)
    return answer({"files": on_storage(storage, lambda: storage.list_files(body.directory))})


@blueprint.operation(
    "POST",
    "/v1/storages/vfs/<storage_name>/download",
    Route(
        takes=schemas.StoragePathBody,
        gives={
            200: RouteAnswer("The file, or a tar of the directory.", content_type=OCTET_STREAM),
            206: RouteAnswer("The requested range of it.", content_type=OCTET_STREAM),
            304: RouteAnswer("The caller has it."),
        },
        refuses=(*_BODY, StoredPathNotFound),
    ),
)
def download_stored_file(body: schemas.StoragePath, storage_name: str) -> Response:
    """Send a file of a VFS storage, or a directory as a tar.

    Ranges and conditions of RFC 9110 are answered as for a GET. The media type of a file follows
    from the end of its name; `application/octet-stream` is that of all others. A tar is made while
    it is sent; links in it stay links.
    """
    storage = current_door().artifact_storages.vfs(storage_name)
    found = _opened(storage, body.filepath)
    requested = ranges.requested_as_get()
    if found.is_directory:
        return _as_tar(found, requested)
    file = files.Sendable(FileIO(found.descriptor), found.name, found.status, Pace(None))
    response = files.answer(file, requested=requested)
    if response.status_code != HTTPStatus.NOT_MODIFIED:
        response.headers["Content-Type"] = found.content_type
    return response


def _as_tar(found: StoredFile, requested: ranges.RequestedRanges) -> Response:
    try:
        source = plan.Source(VFolderPath(()), ".", found.without)
        archive = ArchiveResponse(found.descriptor, [source], FORMATS["tar"], Pace(None))
    finally:
        os.close(found.descriptor)
    headers = Headers({**files.SAFE_HEADERS, "Content-Type": OCTET_STREAM, "ETag": archive.etag})
    try:
        what = ranges.Representation(archive.length, archive.etag)
        choice = ranges.choose(what, requested)
        status, start, length = ranges.apply_choice(choice, archive.length, headers)
        if status == HTTPStatus.NOT_MODIFIED:
            archive.close()
            return Response(status=status, headers=headers)
        if status == HTTPStatus.PARTIAL_CONTENT:
            archive.limit(start, length)
        else:
            archive.begin()
    except BaseException:
        archive.close()
        raise
    return Response(archive, status, headers, direct_passthrough=True)


@blueprint.operation(
    "DELETE",
    "/v1/storages/vfs/<storage_name>",
    Route(
        takes=schemas.StoragePathBody,
        gives={200: RouteAnswer("It is not there any more.", schemas.StoredPath)},
        refuses=_BODY,
    ),
)
def remove_stored_file(body: schemas.StoragePath, storage_name: str) -> Response:
    """Remove a file, or a directory with everything below it, from a VFS storage.

    What is absent is a success, too. A link itself is removed, not its target.
    """
    storage = current_door().artifact_storages.vfs(storage_name)
    on_storage(storage, lambda: storage.remove(body.filepath))
    return answer({"filepath": body.filepath})


@blueprint.operation(
    "POST",
    "/v1/storages/vfs/<storage_name>/upload",
    Route(
        form=schemas.StorageUploadForm,
        gives={201: RouteAnswer("Stored, and on disk.", schemas.StoredPath)},
        refuses=(MalformedRequest, FileTooLarge, *_ANY_STORAGE),
    ),
)
def upload_stored_file(storage_name: str) -> Response:
    """Store a file in a VFS storage: a form with the field `filepath` and the file `file`.

    The file appears complete under its name, or not at all. It replaces a file of that name.
    """
    storage = current_door().artifact_storages.vfs(storage_name)
    with _BoundedUpload(storage) as upload:
        filepath = receive_form(request.environ, lambda: upload, "filepath")["filepath"]
        upload.publish(filepath)
    return answer({"filepath": filepath}, HTTPStatus.CREATED)


class _BoundedUpload:
    """An upload to a storage; each step has the deadline of the storage.

    A step that is late still uses the open file, so the file is closed after it.
    """

    def __init__(self, storage: VfsStorage) -> None:
        self._storage = storage
        self._in_use = threading.Lock()
        self._is_late = False
        self._upload = current_door().deadlines.opened(
            queue_of_storage(storage.name), storage.begin_upload, StorageUpload.close
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; what was not published is removed."""
        if self._is_late:
            threading.Thread(target=self._close, name="late upload", daemon=True).start()
        else:
            on_storage(self._storage, self._close)

    def write(self, data: bytes, /) -> int:
        """See `StorageUpload.write`."""
        return self._step(lambda: self._upload.write(data))

    def seek(self, offset: int, /) -> int:
        """See `StorageUpload.seek`."""
        return self._upload.seek(offset)

    def publish(self, filepath: str) -> None:
        """See `StorageUpload.publish`."""
        self._step(lambda: self._upload.publish(filepath))

    def _step(self, call: Callable[[], T]) -> T:
        def alone() -> T:
            with self._in_use:
                return call()

        try:
            return on_storage(self._storage, alone)
        except DeadlineExceeded:
            self._is_late = True
            raise

    def _close(self) -> None:
        with self._in_use:
            self._upload.close()
