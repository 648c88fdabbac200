"""Which upload a request means, and whether its ticket may touch it.

The end of an upload: published once, or given to a job once, however often it is asked for.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property

import msgspec
from flask import current_app

from api.doors.client import request_context
from api.jobs import JobSubmission
from api.routes import Door, current_door
from backends.base import Backend
from backends.uploads import Staging
from backends.uploads import staging as uploads
from core.access import UploadTicket
from core.errors import JobNotFound
from core.jobs import Job
from core.names import VFolderPath
from core.redis import Database, connect
from core.uploads import (
    LeaseRequest,
    Upload,
    UploadLease,
    UploadNotFound,
    UploadProgress,
    UploadStore,
)

_PARAMETERS = ("token", "dst_dir")
_KEY = "vfolder.uploads"
#: What the ids of uploads are made of; others never name a file.
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: How long a PATCH, or the end of an upload, waits for the writer before it to give way.
LOCK_WAIT_SECONDS = 20.0
#: How long a HEAD waits for a writer whose bytes may have stopped.
READ_WAIT_SECONDS = 1.5


def upload_store() -> UploadStore:
    """This process's connection to the uploads of the cluster."""
    found = current_app.extensions.get(_KEY)
    if found is None:
        settings = current_door().settings
        found = UploadStore(connect(settings, Database.UPLOADS), settings.storage_proxy.node_id)
        current_app.extensions[_KEY] = found
    store: UploadStore = found
    return store


@dataclass(frozen=True)
class Session:
    """One request's view: its ticket, the upload it means, and where that will be published."""

    ticket: UploadTicket
    #: The id in the URL; empty for the one upload that was opened with the ticket.
    url_id: str
    given: dict[str, str]
    door: Door
    store: UploadStore

    @property
    def id(self) -> str:
        """The upload's id."""
        return self.url_id or self.ticket.session

    @cached_property
    def backend(self) -> Backend:
        """The volume's backend."""
        return self.door.volumes.get(self.ticket.volume)

    @cached_property
    def _dst_dir(self) -> VFolderPath:
        return VFolderPath.parse(self.given.get("dst_dir", ""))

    def target(self, progress: UploadProgress) -> VFolderPath:
        """Where it will be published; `dst_dir` was settled at creation if that was by tus."""
        path = VFolderPath.parse(progress.upload.path)
        return path if self.url_id else self._dst_dir / path

    def progress(self, *, forget_rewind: bool = False) -> UploadProgress:
        """The upload and its committed offset.

        Raises:
            UploadNotFound: unknown, or of another ticket.
        """
        found = self.store.get(self.id, forget_rewind=forget_rewind)
        if not self._is_mine(found.upload):
            raise UploadNotFound("No such upload is open; it may have ended or expired.")
        return found

    def _is_mine(self, upload: Upload) -> bool:
        mine = (self.ticket.session, self.ticket.volume, self.ticket.vfid)
        return (upload.session, upload.volume, upload.vfolder) == mine

    def expected(self) -> Upload:
        """The upload as far as the ticket tells: enough to find its bytes, if there are any.

        Raises:
            UploadNotFound: no upload has such an id.
        """
        if not _ID.fullmatch(self.id):
            raise UploadNotFound("No such upload is open; it may have ended or expired.")
        of = self.ticket
        return Upload(id=self.id, volume=of.volume, vfolder=of.vfid, path="", session=of.session)

    @contextmanager
    def held(
        self,
        staging: Staging,
        wait_seconds: float = LOCK_WAIT_SECONDS,
        wish: LeaseRequest = LeaseRequest.TO_WRITE,
    ) -> Iterator[UploadLease]:
        """The lease of the upload, given back at the end.

        Raises:
            LeaseHeld: the writer before did not give way in time.
            UploadNotFound: it ended while we waited.
        """
        session = self.ticket.session
        lease = self.store.acquire(self.id, wait_seconds, staging.lock, wish, session=session)
        try:
            if not self._is_mine(lease.upload) or not staging.is_current():
                raise UploadNotFound("The upload ended just now.")
            yield lease
        finally:
            self.store.release(lease)


def session(url_id: str = "") -> Session:
    """The session of the request at work.

    Raises:
        TicketError, InvalidParameters, UnknownVolume: in this order.
        PathEscape, InvalidName: `dst_dir` leads out of the vfolder, or is absolute.
    """
    given = request_context.query(_PARAMETERS)
    door = current_door()
    ticket = request_context.ticket(UploadTicket, given, door)
    found = Session(ticket, url_id, given, door, upload_store())
    _ = found.backend, found._dst_dir  # noqa: SLF001 - refused here, before anything is looked up
    return found


def opened(of: Session, progress: UploadProgress) -> AbstractContextManager[Staging]:
    """The staging file of a session's upload."""
    return uploads.opened(of.backend, progress.upload)


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
    staging.give_to_job(job.id)
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
    if upload.extract and current_door().jobs.store.has_idempotency_key(REQUESTER, upload.id):
        found = msgspec.structs.replace(upload, job=_job_for(upload, upload.id, target).id)
    elif not upload.extract and uploads.was_published(backend, upload, target):
        uploads.settle_space(backend, upload, upload.length or 0)
        found = upload
    else:
        raise UploadNotFound("No such upload is open; it may have ended or expired.")
    found = msgspec.structs.replace(found, finished=True)
    lease = store.acquire(upload.id, 0, lambda: True)
    store.save(lease, found)
    store.release(lease)
    return found
