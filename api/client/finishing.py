"""The end of an upload: published once, however often it is asked for."""

import msgspec

from backends import upload_room, uploads
from backends.base import Backend
from backends.uploads import Staging
from core.names import VFolderPath
from core.upload_store import UploadStore
from core.uploads import Lease, Upload, UploadNotFound


def is_complete(upload: Upload, offset: int) -> bool:
    """Whether nothing is missing any more."""
    return upload.length is not None and offset >= upload.length


def publish(store: UploadStore, staging: Staging, lease: Lease, target: VFolderPath) -> None:
    """Give a complete upload its name in the vfolder, and remember that it ended.

    A part of a later whole stays where it is.

    Raises:
        StorageError: as `Staging.publish`; the upload stays complete and can be tried again.
    """
    if staging.upload.partial:
        return
    staging.publish(target)
    finish(store, lease, staging.upload)


def finish(store: UploadStore, lease: Lease, upload: Upload) -> None:
    """Remember that an upload ended."""
    store.save(lease, msgspec.structs.replace(upload, finished=True))


def settle_published(
    backend: Backend, store: UploadStore, upload: Upload, target: VFolderPath
) -> Upload:
    """An upload whose staging file is gone: finished if its file is the target, else unknown.

    A process may die between the rename and its last word to Redis.

    Raises:
        UploadNotFound: it was terminated or swept.
    """
    if not upload.finished:
        if not uploads.was_published(backend, upload, target):
            raise UploadNotFound("No such upload is open; it may have ended or expired.")
        upload_room.settle(backend, upload, upload.length or 0)
        lease = store.acquire(upload.id, 0, lambda: True)
        finish(store, lease, upload)
        store.release(lease)
    return msgspec.structs.replace(upload, finished=True)
