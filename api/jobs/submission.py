"""Submission of jobs at the doors: check, record, ring the doorbell.

The door refuses at once what cannot succeed: an unknown volume, a missing source, a target that
exists. The job itself finds every other error.
"""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from api.jobs.doorbell import ringer
from api.volumes import VolumeAccess
from backends.retention import snapshots, trash
from backends.volumes import entry_trash, operations
from core.access import PersonClaims
from core.cluster import NodeStore, PauseNotes
from core.errors import (
    EntryExists,
    InvalidParameters,
    StorageError,
    TrashNotFound,
    Unsupported,
    VFolderExists,
    VFolderNotFound,
)
from core.events import EventPublisher
from core.jobs import PRIORITY_DEFAULT, Job, Lane, queue_name, requests
from core.jobs.requests import (
    CloneRequest,
    DeleteFilesRequest,
    DescribeRequest,
    ExtractRequest,
    FindRequest,
    ImportRequest,
    Request,
    RestoreRequest,
    SnapshotRequest,
    TransferRequest,
    UsageRequest,
)
from core.jobs.store import Doorbell, JobLists, JobStore, QueuePosition, Submission
from core.names import VFolderId, VFolderPath
from core.redis import Database, connect, dumps
from core.settings import Settings

#: Who requests the jobs of the manager door: the holder of its secret.
MANAGER = "manager"
#: The shortest and the longest `Retry-After` (seconds); it grows with the age of the job.
RETRY_AFTER_MIN, RETRY_AFTER_MAX = 1, 30
#: A longer name of a volume is not recorded (characters).
VOLUME_NAME_MAX = 255
#: `Retry-After` grows by one second per this many seconds of age.
AGE_PER_RETRY_SECOND = 20.0


@dataclass(frozen=True, slots=True)
class VFolderOfVolume:
    """A vfolder on a volume, as `VolumeAccess.in_vfolder` takes it."""

    volume: str
    vfolder: VFolderId


@dataclass(frozen=True, slots=True)
class JobSubmission:
    """What a door records beside the request itself."""

    #: Who requests it, as the door knows it. No body names it: rights and keys depend on it.
    requester: str
    idempotency_key: str = ""
    label: str = ""
    priority: int = PRIORITY_DEFAULT
    deadline_ms: int = 0
    retry_of: str = ""
    #: The person who requests it: its right is decided again when the run begins.
    person: PersonClaims | None = None
    #: The name of the vfolder that the job makes; empty for none.
    new_name: str = ""

    @property
    def extra(self) -> dict[str, str]:
        """Return the fields of the record that no answer has."""
        person = msgspec.json.encode(self.person).decode() if self.person else ""
        fields = {"person": person, "new_name": self.new_name}
        return {name: text for name, text in fields.items() if text}


class Jobs:
    """The jobs of the cluster, for one process of a door; make it after the fork."""

    def __init__(self, settings: Settings, access: VolumeAccess) -> None:
        self._settings = settings
        self._access = access
        client = connect(settings, Database.JOBS)
        self.redis = client
        self._ring = ringer(settings)
        self.store = JobStore(client, self._ring)
        self.lists = JobLists(client)
        self.nodes = NodeStore(client)
        self.notes = PauseNotes(client)
        self._events = EventPublisher(settings)

    def submit(self, body: dict[str, Any], submission: JobSubmission) -> Job:
        """Check and record a request, and ring the doorbell; a repeated request gets the first job.

        Raises:
            KeyReused: the idempotency key belongs to another request.
            Locked: another job holds the vfolder.
            StorageError: `check` refuses the request.
        """
        request = requests.parse(body)
        key = submission.idempotency_key
        if not (key and self.store.has_idempotency_key(submission.requester, key)):
            self.check(request)
        return self._record(request, submission)

    def submit_own(self, request: Request, submission: JobSubmission) -> Job:
        """As `submit`, for a request that a route makes and has checked itself.

        Raises:
            InvalidParameters: an id or a path of it is not valid.
            Locked: a live job with the same key has another request.
        """
        request.validate()
        return self._record(request, submission)

    def _record(self, request: Request, submission: JobSubmission) -> Job:
        job = self.store.submit(
            Submission(
                request,
                requester=submission.requester,
                label=submission.label,
                priority=submission.priority,
                idempotency_key=submission.idempotency_key,
                deadline_ms=submission.deadline_ms,
                retry_of=submission.retry_of,
                ring_again_seconds=self._settings.vfolder.jobs.ring_again_seconds,
                extra=submission.extra,
            ),
        )
        self._events.accepted(job)
        return job

    def submit_refused(
        self, body: dict[str, Any], submission: JobSubmission, refusal: StorageError
    ) -> Job:
        """Record a request that cannot succeed; its job fails at once, with the events of its end.

        It is for callers that learn of a refusal by an event only. No doorbell is rung for it.

        Raises:
            StorageError: the refusal, where its volume is no name that a volume could have.
        """
        request = requests.parse(body)
        volume = request.volume
        if len(volume) > VOLUME_NAME_MAX or not volume.isprintable() or "/" in volume:
            raise refusal
        unserved = {queue_name(request.home, lane) for lane in Lane}

        def ring(doorbell: Doorbell) -> None:
            if doorbell.queue not in unserved:
                self._ring(doorbell)

        store = JobStore(self.redis, ring)
        job = store.submit(Submission(request, requester=submission.requester))
        self._events.accepted(job)
        store.refuse(job.id, dumps(refusal.members()))
        self._events.ended()
        return store.get(job.id)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; when it ends at once, its end is published at once.

        Raises:
            JobNotFound, NotCancellable: as `JobStore.cancel`.
        """
        job = self.store.cancel(job_id)
        if job.state.ended:
            self._events.ended()
        return job

    def check(self, request: Request) -> None:
        """Refuse a request that cannot succeed.

        Raises:
            UnknownVolume: no node serves a volume of this name.
            VFolderNotFound: the source does not exist.
            VFolderExists, EntryExists: the target exists, or a removed entry's name is taken.
            TrashNotFound: the trash has nothing to restore.
            NoCommonNode: no node can copy between the two volumes.
        """
        self._check_volumes(request)
        self._access.check_copies(request.volume, request.home)
        match request:
            case CloneRequest():
                self._must_exist(request.volume, request.source)
                if self._exists(request.home, request.target):
                    raise VFolderExists(f"The vfolder {request.target} already exists.")
            case TransferRequest():
                self._must_exist(request.volume, request.source)
                if not VFolderPath.parse(request.target_path).is_root:
                    self._must_exist(request.home, request.target)
                self._check_move(request)
            case UsageRequest() | FindRequest():
                self._must_exist(request.volume, request.vfolder)
            case DeleteFilesRequest():
                self._must_exist(request.volume, request.vfolder)
                self._must_be_kept(request)
            case SnapshotRequest():
                self._check_snapshots(request)
            case RestoreRequest():
                self._must_be_restorable(request)
            case ExtractRequest():
                self._must_be_free(request)
            case _:
                pass

    def _check_volumes(self, request: Request) -> None:
        if isinstance(request, ImportRequest | DescribeRequest):
            self._check_artifacts(request)
            return
        for volume in {request.volume, request.home}:
            self._access.check_known(volume)

    def _check_artifacts(self, request: ImportRequest | DescribeRequest) -> None:
        """Check the vfolder of an import; a storage or a registry is found by the job."""
        if isinstance(request, ImportRequest) and request.vfolder is not None:
            self._access.check_known(request.volume)
            self._must_exist(request.volume, request.vfolder)

    def _must_exist(self, volume: str, vfolder: str) -> None:
        if not self._exists(volume, vfolder):
            raise VFolderNotFound(f"The vfolder {vfolder} does not exist.")

    def _check_snapshots(self, request: SnapshotRequest) -> None:
        if not self._access.on_volume(request.volume, snapshots.supported):
            raise Unsupported(f"Volume {request.volume} has no snapshots.")
        if request.action == "create":
            self._must_exist(request.volume, request.vfolder)
        if request.over:
            self._must_exist(request.volume, request.vfolder)
            if self._access.on_volume(request.volume, snapshots.stay_with_directory):
                raise Unsupported(
                    f"Volume {request.volume} keeps snapshots in the directory of the vfolder. "
                    "Restore to a new one."
                )
        elif request.action == "restore" and self._exists(request.volume, request.restored_vfolder):
            raise VFolderExists(f"The vfolder {request.restored_vfolder} already exists.")

    def _must_be_kept(self, request: DeleteFilesRequest) -> None:
        if request.keep_seconds and not self._access.on_volume(
            request.volume, entry_trash.supported
        ):
            raise Unsupported(
                f"Volume {request.volume} keeps no removed entries; send keep_seconds 0."
            )

    def _check_move(self, request: TransferRequest) -> None:
        """Refuse a move that no node can do: it looks at both sides right before it removes."""
        if not request.remove_source:
            return
        self._access.check_moves(request.volume, request.home)
        for volume in {request.volume, request.home}:
            if not self._access.on_volume(volume, entry_trash.supported):
                raise Unsupported(
                    f"Volume {volume} keeps objects, which no job moves: transfer, then delete."
                )

    def _must_be_free_again(self, request: RestoreRequest) -> None:
        vfolder, trash_id = VFolderId.parse(request.vfolder), request.trash or ""
        found = self._access.on_volume(request.volume, entry_trash.taken, vfolder, trash_id)
        if found:
            raise EntryExists(
                "Other entries have the names of removed ones; move them away first.", paths=found
            )

    def _must_be_restorable(self, request: RestoreRequest) -> None:
        if request.entries:
            self._must_be_free_again(request)
            return
        vfolder = VFolderId.parse(request.vfolder)
        if self._exists(request.volume, request.vfolder):
            raise VFolderExists(f"The vfolder {vfolder} already exists.")
        if self._access.on_volume(request.volume, trash.restorable, vfolder, request.trash) is None:
            raise TrashNotFound(f"The trash has nothing of {vfolder} to restore.")

    def _exists(self, volume: str, vfolder: str) -> bool:
        return self._access.on_volume(volume, operations.exists, VFolderId.parse(vfolder))

    def _must_be_free(self, request: ExtractRequest) -> None:
        vfolder = VFolderOfVolume(request.volume, VFolderId.parse(request.vfolder))
        self._access.in_vfolder(vfolder, operations.check_free, VFolderPath.parse(request.target))

    def document(self, job: Job) -> dict[str, Any]:
        """Return the job as callers see it, with its position in the queue."""
        document = job.document()
        queue = self.lists.queue_position(job)
        document["queue"] = None
        if queue is None:
            return document
        if queue.ahead is not None:
            document["queue"] = {
                "position": queue.position,
                "length": queue.length,
                "ahead_at_least": queue.ahead,
            }
            document["state_reason"] = _place_words(queue)
        if not document["paused"]:  # a pause of the job itself is the first reason
            if queue.volume_paused:
                document["state_reason"] = self._pause_words(job.volume)
            elif not self.nodes.serving(job.volume):
                document["state_reason"] = f"waiting for a node that serves volume {job.volume}"
        return document

    def _pause_words(self, volume: str) -> str:
        note = self.notes.of(volume)
        words = f"volume {volume} is paused until it is resumed"
        return f"{words}: {note.reason}" if note and note.reason else words


def _place_words(queue: QueuePosition) -> str:
    if queue.position is not None:
        return f"queue position {queue.position} of {queue.length}"
    return f"at least {queue.ahead} of {queue.length} jobs in the queue go first"


def retry_after(job: Job) -> int:
    """Return when to look again, in seconds: later for an older job, sooner near its end."""
    if job.state.ended:
        return RETRY_AFTER_MIN
    age = time.time() - int(job.fields["created_at"]) / 1000
    seconds = RETRY_AFTER_MIN + age / AGE_PER_RETRY_SECOND
    progress = job.member("progress") or {}
    eta = progress.get("eta_seconds")
    if eta is not None:
        seconds = min(seconds, eta / 2)
    return round(max(RETRY_AFTER_MIN, min(RETRY_AFTER_MAX, seconds)))


def pointer(name: str, detail: str) -> InvalidParameters:
    """Return the error for one field; its detail starts with the field's name."""
    return InvalidParameters(
        f"{name}: {detail}.", errors=[{"pointer": f"/{name}", "detail": detail}]
    )
