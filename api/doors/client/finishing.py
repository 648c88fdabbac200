"""The end of an upload: published once, or given to a job once, however often it is asked for."""

import msgspec

from api.jobs import JobSubmission
from api.routes import current_door
from backends.base import Backend
from backends.uploads import Staging, reservation
from backends.uploads import staging as uploads
from core.errors import JobNotFound
from core.jobs import Job
from core.names import VFolderPath
from core.uploads import Upload, UploadLease, UploadNotFound, UploadStore

#: Who asks for the jobs that unpack uploads; with the upload's id as key, each is asked for once.
REQUESTER = "upload"


def is_complete(upload: Upload, offset: int) -> bool:
    """Whether nothing is missing any more."""
    return upload.length is not None and offset >= upload.length


def publish(
    store: UploadStore, staging: Staging, lease: UploadLease, target: VFolderPath
) -> Upload:
    """Give a complete upload its name in the vfolder, and remember that it ended.

    A part of a later whole stays where it is; an archive to unpack goes to a job.

    Raises:
        StorageError: as `Staging.publish`; the upload stays complete and can be tried again.
    """
    upload = staging.upload
    if upload.partial:
        return upload
    upload = end(staging, upload, target)
    store.save(lease, upload)
    return upload


def end(staging: Staging, upload: Upload, target: VFolderPath) -> Upload:
    """Publish the staging file, or let a job unpack it; `upload` as it is from then on.

    Raises:
        StorageError: as `Staging.publish`, `Jobs.submit`; nothing was changed.
    """
    if not upload.extract:
        staging.publish(target)
        return msgspec.structs.replace(upload, finished=True)
    staging.make_durable()
    job = _job_for(upload, staging.upload.id, target)
    staging.hand_over(job.id)
    return msgspec.structs.replace(upload, finished=True, job=job.id)


def _job_for(upload: Upload, file: str, target: VFolderPath) -> Job:
    """The job that unpacks it: the same one, whoever asks again."""
    body = {
        "verb": "extract",
        "volume": upload.volume,
        "vfolder": upload.vfolder,
        "target": str(target),
        "archive": upload.extract,
        "upload": file,
    }
    return current_door().jobs.submit(body, JobSubmission(REQUESTER, idempotency_key=file))


def job_state(upload: Upload) -> str | None:
    """The state of the job that unpacks it; None when there is none, or it was forgotten."""
    if not upload.job:
        return None
    try:
        return current_door().jobs.store.get(upload.job).state.value
    except JobNotFound:
        return None


def settle_published(
    backend: Backend, store: UploadStore, upload: Upload, target: VFolderPath
) -> Upload:
    """An upload whose staging file is gone: finished if its file is the target, else unknown.

    A process may die between the rename and its last word to Redis.

    Raises:
        UploadNotFound: it was terminated or swept.
    """
    if upload.finished:
        return upload
    if upload.extract and current_door().jobs.store.known(REQUESTER, upload.id):
        found = msgspec.structs.replace(upload, job=_job_for(upload, upload.id, target).id)
    elif not upload.extract and uploads.was_published(backend, upload, target):
        reservation.settle(backend, upload, upload.length or 0)
        found = upload
    else:
        raise UploadNotFound("No such upload is open; it may have ended or expired.")
    found = msgspec.structs.replace(found, finished=True)
    lease = store.acquire(upload.id, 0, lambda: True)
    store.save(lease, found)
    store.release(lease)
    return found
