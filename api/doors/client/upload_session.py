"""Which upload a request means, whether its ticket may write it, its lease, and its end.

The end comes once: the file is published, or a job gets it, however often it is requested.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec

from api.doors.client import tickets
from api.jobs import JobSubmission
from api.routes import Door, current_door
from api.volumes import WatchedCall
from backends.base import Backend
from backends.entries import listing, object_tree
from backends.uploads import Staging
from backends.uploads import staging as staging_files
from core.access import UploadTicket
from core.errors import EntryExists, EntryNotFound, JobNotFound
from core.jobs import Job
from core.names import VFolderId, VFolderPath
from core.uploads import (
    LeaseRequest,
    Upload,
    UploadLease,
    UploadLeaseLost,
    UploadNotFound,
    UploadProgress,
    UploadStore,
)

_PARAMETERS = ("token", "dst_dir")
#: The characters of upload ids; an id with others never names a file.
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
NOT_FOUND = "No such upload is open; it may have ended or expired."
#: How long a PATCH, or the end of an upload, waits for the writer before it (seconds).
LOCK_WAIT_SECONDS = 20.0
#: How long a HEAD waits for a writer whose bytes may have stopped (seconds).
READ_WAIT_SECONDS = 1.5
#: The requester of the jobs that unpack uploads. The key is the upload's id, so each upload gets
#: one job.
REQUESTER = "upload"
#: Begins the session of a person's uploads, before the subject; no ticket has such a session.
PERSON_SESSION = "person:"


@dataclass(frozen=True)
class UploadSession:
    """One request's view: its ticket, its upload, and where the upload will be published."""

    ticket: UploadTicket
    #: The id in the URL; empty for the one upload that was opened with the ticket.
    url_id: str
    parameters: dict[str, str]
    door: Door
    #: The request's use of the volume, which is given up when the volume hangs.
    watch: WatchedCall
    #: Raises when a person may write no more; None for the manager's tickets.
    decide: Callable[[], object] | None = None
    #: A new upload never replaces a file.
    new_only: bool = False

    @property
    def id(self) -> str:
        """The upload's id."""
        return self.url_id or self.ticket.session

    @cached_property
    def store(self) -> UploadStore:
        """The uploads of the cluster."""
        return self.door.uploads

    @cached_property
    def backend(self) -> Backend:
        """The volume's backend."""
        return self.door.volumes.get(self.ticket.volume)

    @cached_property
    def _dst_dir(self) -> VFolderPath:
        return VFolderPath.parse(self.parameters.get("dst_dir", ""))

    def target(self, progress: UploadProgress) -> VFolderPath:
        """Return the path where the upload is published; a tus creation has fixed `dst_dir`."""
        path = VFolderPath.parse(progress.upload.path)
        return path if self.url_id else self._dst_dir / path

    def progress(self, *, forget_rewind: bool = False) -> UploadProgress:
        """Return the upload and its committed offset.

        With `forget_rewind` the sender learns the offset, so an older one counts no longer.

        Raises:
            UploadNotFound: it is unknown, or belongs to another ticket.
        """
        progress = self.store.get(self.id, forget_rewind=forget_rewind)
        if not self._is_own(progress.upload):
            raise UploadNotFound(NOT_FOUND)
        return progress

    def _is_own(self, upload: Upload) -> bool:
        own = (self.ticket.session, self.ticket.volume, self.ticket.vfid)
        return (upload.session, upload.volume, upload.vfolder) == own

    def expected(self) -> Upload:
        """Return the upload as far as the ticket describes it: enough to find its bytes.

        Raises:
            UploadNotFound: no upload has such an id.
        """
        if not _ID.fullmatch(self.id):
            raise UploadNotFound(NOT_FOUND)
        ticket = self.ticket
        return Upload(
            id=self.id,
            volume=ticket.volume,
            vfolder=ticket.vfid,
            path="",
            session=ticket.session,
        )

    @contextmanager
    def opened(self, upload: Upload) -> Iterator[Staging]:
        """Open the staging file of an upload of this session.

        Raises:
            UploadNotFound: the file does not exist.
        """
        with staging_files.opened(self.backend, upload) as staging:
            staging.on_work = self.watch.work
            yield staging

    @contextmanager
    def leased(
        self,
        staging: Staging,
        wait_seconds: float = LOCK_WAIT_SECONDS,
        purpose: LeaseRequest = LeaseRequest.TO_WRITE,
    ) -> Iterator[UploadLease]:
        """Hold the lease of the upload, and release it at the end.

        Raises:
            LeaseHeld: the writer before did not stop in time.
            UploadNotFound: the upload ended while this request waited.
        """
        lease = self.acquire(self.id, staging.lock, wait_seconds, purpose)
        try:
            if not self._is_own(lease.upload) or not staging.is_current():
                raise UploadNotFound("The upload ended just now.")
            yield lease
        finally:
            self.store.release(lease)

    def acquire(
        self,
        upload_id: str,
        lock: Callable[[], bool | None],
        wait_seconds: float = LOCK_WAIT_SECONDS,
        purpose: LeaseRequest = LeaseRequest.TO_WRITE,
    ) -> UploadLease:
        """Return the lease of an upload of this session; see `UploadStore.acquire`.

        The wait for another writer does not count as time of the volume.
        """

        def watched_lock() -> bool | None:
            self.watch.resume()
            try:
                return lock()
            finally:
                self.watch.pause()

        session = self.ticket.session
        with self.watch.paused():
            return self.store.acquire(
                upload_id, wait_seconds, watched_lock, purpose, session=session
            )


@contextmanager
def open_session(url_id: str = "") -> Iterator[UploadSession]:
    """Give the session of the current request; its use of the volume is watched.

    Raises:
        TicketError, InvalidParameters, UnknownVolume: checked in this order.
        PathEscape, InvalidName: `dst_dir` leads out of the vfolder, or is absolute.
        VFolderNotFound: the vfolder was deleted; no byte of the body was read.
        DeadlineExceeded, Unavailable: the volume does not answer.
    """
    parameters = tickets.query(_PARAMETERS)
    ticket = tickets.ticket(UploadTicket, parameters, current_door())
    VFolderPath.parse(parameters.get("dst_dir", ""))  # checked before any look-up
    with session_of(ticket, url_id, parameters) as session:
        yield replace(session, decide=tickets.decision(ticket, current_door()))


@contextmanager
def session_of(
    ticket: UploadTicket, url_id: str, parameters: dict[str, str], *, new_only: bool = False
) -> Iterator[UploadSession]:
    """Give the session of a permission that was checked; its use of the volume is watched.

    Raises:
        UnknownVolume, VFolderNotFound, DeadlineExceeded, Unavailable: as `open_session`.
    """
    door = current_door()
    backend = door.volumes.get(ticket.volume)

    def find_vfolder() -> None:
        backend.check_vfolder(VFolderId.parse(ticket.vfid))

    with door.inline_calls.watched(ticket.volume, find_vfolder) as watch:
        find_vfolder()
        yield UploadSession(ticket, url_id, parameters, door, watch, new_only=new_only)


def is_complete(upload: Upload, offset: int) -> bool:
    """Return whether no byte is missing."""
    return upload.length is not None and offset >= upload.length


def publish(
    store: UploadStore, staging: Staging, lease: UploadLease, target: VFolderPath
) -> Upload:
    """Give a complete upload its name in the vfolder, and record that it ended.

    A part of a later concatenation stays where it is; an archive to unpack goes to a job.

    Raises:
        StorageError: see `Staging.publish`; the upload stays complete and can be tried again.
    """
    upload = staging.upload
    if upload.partial:
        return upload
    upload = finish(staging, upload, target)
    store.save(lease, upload)
    return upload


def finish(staging: Staging, upload: Upload, target: VFolderPath) -> Upload:
    """Publish the staging file, or let a job unpack it; return the finished upload.

    Raises:
        StorageError: see `Staging.publish` and `Jobs.submit`; nothing was changed.
    """
    if not upload.extract:
        check_replaced(staging.backend, upload, target)
        staging.publish(target)
        return msgspec.structs.replace(upload, finished=True)
    staging.make_durable()
    job = _job_for(upload, staging.upload.id, target)
    staging.give_to_job(job.id)
    return msgspec.structs.replace(upload, finished=True, job=job.id)


def check_replaced(backend: Backend, upload: Upload, target: VFolderPath) -> None:
    """Check that an upload replaces the file that it names, if it names one.

    `Staging.publish` looks again at the last moment, where there is a directory to look into.

    Raises:
        EntryExists: another file is there, or none.
    """
    if upload.replaces and tag_of_target(backend, upload, target) != upload.replaces:
        raise EntryExists(staging_files.CHANGED)


def tag_of_target(backend: Backend, upload: Upload, target: VFolderPath) -> str | None:
    """Return the entity tag of the file at the target of an upload; None where none is."""
    vfolder = VFolderId.parse(upload.vfolder)
    try:
        found: listing.DescribedEntry = object_tree.perform(
            backend, vfolder, listing.describe_entry, target
        )
    except EntryNotFound:
        return None
    return found.etag


def _job_for(upload: Upload, file: str, target: VFolderPath) -> Job:
    """Return the job that unpacks the upload; a second call returns the same job."""
    body = {
        "verb": "extract",
        "volume": upload.volume,
        "vfolder": upload.vfolder,
        "target": str(target),
        "archive": upload.extract,
        "upload": file,
    }
    submission = JobSubmission(_requester(upload), idempotency_key=file)
    return current_door().jobs.submit(body, submission)


def _requester(upload: Upload) -> str:
    """Return who requests the job that unpacks an upload."""
    if upload.session.startswith(PERSON_SESSION):
        return upload.session.removeprefix(PERSON_SESSION)
    return REQUESTER


def job_state(upload: Upload) -> str | None:
    """Return the state of the job that unpacks it; None without a job or its record."""
    if not upload.job:
        return None
    try:
        return current_door().jobs.store.get(upload.job).state.value
    except JobNotFound:
        return None


def settle_published(
    backend: Backend, store: UploadStore, upload: Upload, target: VFolderPath
) -> Upload:
    """Return a finished upload whose staging file is gone because its file is the target.

    A process may die between the rename and its last write to Redis: then this finishes the record.

    Raises:
        UploadNotFound: the upload was terminated or swept.
    """
    if upload.finished:
        return upload
    ended_upload = ended(backend, upload, upload, target)
    with suppress(UploadLeaseLost):  # another request records the same end just now
        lease = store.acquire(upload.id, 0, lambda: True)
        store.save(lease, ended_upload)
        store.release(lease)
    return ended_upload


def has_ended(session: UploadSession, progress: UploadProgress) -> bool:
    """Return whether an upload whose staging file is gone was published, or given to a job."""
    try:
        settle_published(session.backend, session.store, progress.upload, session.target(progress))
    except UploadNotFound:
        return False
    return True


def ended(backend: Backend, upload: Upload, file: Upload, target: VFolderPath) -> Upload:
    """Return an upload as finished, when the bytes of `file` were published or given to a job.

    Raises:
        UploadNotFound: they were not.
    """
    length = upload.length or 0
    if upload.extract and current_door().jobs.store.has_idempotency_key(
        _requester(upload), file.id
    ):
        upload = msgspec.structs.replace(upload, job=_job_for(upload, file.id, target).id)
    elif not upload.extract and staging_files.was_published(
        backend, msgspec.structs.replace(file, length=upload.length), target
    ):
        staging_files.settle_found(backend, file, length)
    else:
        raise UploadNotFound(NOT_FOUND)
    return msgspec.structs.replace(upload, finished=True)
