"""The one task body: claim, lease, run, settle.

Only this module turns errors into the end of a job. A task whose job another run has, or whose job
goes back to the queue, ends with `Ignore`: so Celery stores no result over that of the right run.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

import redis
from celery.exceptions import Ignore
from tenacity import Retrying

from backends.fs import translate
from core.cluster import NodeStore, boot_clock
from core.errors import (
    AccessUnavailable,
    Defect,
    HelperDied,
    JobNotFound,
    StorageError,
    StorageUnavailable,
    StoreUnavailable,
    VolumeUnavailable,
)
from core.events import EventPublisher
from core.jobs import (
    Cancelled,
    Interrupted,
    Job,
    JobSummary,
    LeaseLost,
    Released,
    State,
    queue_name,
    requests,
)
from core.jobs.requests import DeleteFilesRequest, Request, RestoreRequest, TransferRequest
from core.jobs.store import Doorbell, JobEnd, JobStore, Ringer
from core.redis import json, retrying, store_is_away
from core.settings import Settings
from core.telemetry import bind, logger
from workers.run import DRAIN, RELOAD, Context, Outcome, Run, new_run_id, own_identity, reloaded
from workers.verbs import (
    Adopt,
    Clone,
    CountUsage,
    Delete,
    DeleteFiles,
    Extract,
    FindEntries,
    MovingTransfer,
    Purge,
    Rescan,
    RestoreEntries,
    RestoreFromTrash,
    TrashEntries,
    across,
    objects,
    restore_over,
)
from workers.verbs.imports import Describe, Import
from workers.verbs.transfer import Assist, Transfer

if TYPE_CHECKING:
    from workers.run.requester import Requesters

_log = logger(__name__)

#: The pauses between tries while the store does not answer: the first, and the longest (seconds).
STORE_PAUSE_SECONDS = 0.1
STORE_PAUSE_MAX_SECONDS = 5.0
#: A doorbell for a volume that this node does not reach is rung again after so long: by then the
#: node no longer listens for that volume.
ELSEWHERE_SECONDS = 0.5


class Verb(Protocol):
    """One run of a verb."""

    def __call__(self) -> Outcome:
        """Do what is left to do."""

    def undo(self) -> None:
        """Remove what a cancelled or failed job staged; no caller has seen it."""


def _delete_files(context: Context, request: DeleteFilesRequest) -> Verb:
    if request.keep_seconds:
        return TrashEntries(context, request)
    return DeleteFiles(context, request)


def _transfer(context: Context, request: TransferRequest) -> Verb:
    return MovingTransfer(context, request) if request.remove_source else Transfer(context, request)


def _restore(context: Context, request: RestoreRequest) -> Verb:
    if request.entries:
        return RestoreEntries(context, request)
    return RestoreFromTrash(context, request)


VERBS: dict[str, Callable[[Context, Any], Verb]] = {
    "assist": Assist,
    "clone": objects.either(Clone, objects.CloneObjects, across),
    "delete": Delete,
    "delete-files": objects.either(_delete_files, objects.DeleteObjects),
    "extract": objects.refused(Extract),
    "find": objects.refused(FindEntries),
    "transfer": objects.either(_transfer, across, across),
    "usage": objects.either(CountUsage, objects.CountObjects),
    "restore": _restore,
    "purge": Purge,
    "rescan": Rescan,
    "adopt": objects.refused(Adopt),
    "snapshot": restore_over.verb,
    "import": Import,
    "describe": Describe,
}


#: Shows the sentence of progress to watchers.
ProgressView = Callable[[str], None]


class JobFailed(Exception):
    """The exception that Celery gets for a failed job; the job's record has the problem."""


class JobCancelled(Ignore):
    """The job was cancelled; the caller reports that to Celery."""


def _store_retry(patience_seconds: float | None = None) -> Retrying:
    return retrying(
        first_pause_seconds=STORE_PAUSE_SECONDS,
        longest_pause_seconds=STORE_PAUSE_MAX_SECONDS,
        patience_seconds=patience_seconds,
    )


_until_the_store_answers = _store_retry().wraps


@contextmanager
def _released_while_store_is_away() -> Iterator[None]:
    """Put the job back when a call of its verb found the store away: the next run continues.

    Verbs wait for the store themselves (`Run.patiently`). This is for a call that does not wait.
    """
    try:
        yield
    except (redis.RedisError, StoreUnavailable) as error:
        if not store_is_away(error):
            raise
        raise Released("the store was away") from error


class Runner:
    """Runs jobs in one process; create it after the fork."""

    def __init__(self, settings: Settings, store: JobStore, ring: Ringer) -> None:
        self._settings = settings
        self._store = store
        self._ring = ring
        self._publisher = EventPublisher(settings)
        #: The settings are those of the node's start, even in a process that started later.
        self._reloads = 0
        self._requesters: Requesters | None = None

    def __call__(self, job_id: str, show: ProgressView) -> str:
        """Run a job to its end or its next interruption; return the sentence of a success.

        Raises:
            Ignore: another run has the job, or the job goes back to the queue.
            JobCancelled: it was cancelled.
            JobFailed: it failed; the record says why.
        """
        if self._reloads != RELOAD.count:
            self._reloads, self._settings = RELOAD.count, reloaded(self._settings)
            self._requesters = None
        with bind(job_id=job_id):
            job, run = self._claim(job_id, new_run_id())
            with bind(attempt=str(job.attempt), **self._facts(job)):
                return self._attend(job, run, show)

    def _facts(self, job: Job) -> dict[str, str]:
        """Return the facts that every log line of a run carries, beside job id and attempt."""
        facts = {"verb": job.verb, "operation": job.verb, "volume": job.volume}
        request = job.member("request") or {}
        if vfolder := request.get("vfolder") or request.get("target"):
            facts["vfolder_id"] = vfolder
        if job.volume in self._settings.volume:
            facts["backend"] = self._settings.volume[job.volume].backend
        return facts

    @_until_the_store_answers
    def _claim(self, job_id: str, name: str) -> tuple[Job, Run]:
        try:
            job = self._store.get(job_id)
        except JobNotFound as error:
            raise Ignore from error
        if DRAIN.is_active:  # another node takes it; this one is going down
            self._ring(doorbell_of(job))
            raise Ignore
        node = self._settings.storage_proxy.node_id
        lease = self._settings.vfolder.jobs.lease_seconds
        sent_at = boot_clock()  # the store counts the lease from a moment after this
        answer = self._store.claim(job_id, name, node, lease, own_identity())
        if answer == "unproven":
            time.sleep(ELSEWHERE_SECONDS)
            self._ring(doorbell_of(job))
        if answer != "ok":
            _log.info("doorbell ignored", why=answer)
            raise Ignore
        run = Run(self._store, self._store.get(job_id), lease, name=name, claimed_at=sent_at)
        return run.job, run

    def _attend(self, job: Job, run: Run, show: ProgressView) -> str:
        _log.info("job started")
        run.start(lambda snapshot: self._publish(job, snapshot, show))
        if job.attempt == 1:
            self._publisher.started(job)
        context: Context | None = None
        try:
            request = requests.parse(json.loads(job.fields["request"]))
            self._check_requester(run, request)
            context = Context(run, request, self._settings, self._store)
            outcome = self._work(context, request)
            return self._settle(run, context, outcome)
        except (Released, LeaseLost) as why:
            if context is not None:  # release the fence first: the store may be away for long
                context.close()
            self._give_back(run, str(why))
            raise Ignore from why
        except HelperDied as why:
            if context is not None:
                context.close()
            self._lose(run, why.title)
            raise Ignore from why
        except JobCancelled:
            raise
        except Exception as error:  # any other error is the end of the job
            if isinstance(error, AccessUnavailable) or _waits_for_volume(job, error):
                self._give_back_later(run, context, str(error))
                raise Ignore from error
            raise self._fail(run, context, problem_of(error)) from None
        finally:
            run.stop()
            if context is not None:
                context.close()
            run.close()

    def _check_requester(self, run: Run, request: Request) -> None:
        """Decide again about the person who requested a job, before its first run does a thing.

        A later run goes on: effects may have begun.

        Raises:
            JobNotPermitted: the person may not do this any more.
            AccessUnavailable: this cannot be decided now.
        """
        job = run.job
        if job.permitted or not (job.person or job.if_expired):
            return
        if job.if_expired:
            self._people().check_expired(request)
        else:
            self._people().check(job, request)
        with suppress(Cancelled):  # the run ends as cancelled at its first check
            if not run.patiently(lambda: self._store.permit(job.id, run.id)):
                raise LeaseLost("the job was taken over before its run began")

    def _name_made(self, run: Run, request: Request) -> None:
        """Give the vfolder that a job made the name that its requester chose.

        The vfolder is there, whatever becomes of its name.
        """
        if not run.job.new_name:
            return
        try:
            self._people().name_made(run.job, request)
        except StorageError as error:
            _log.warning("new vfolder has no name", reason=error.detail)

    def _people(self) -> "Requesters":
        if self._requesters is None:
            from workers.run.requester import requesters  # noqa: PLC0415 - few jobs need it

            self._requesters = requesters(self._settings, NodeStore(self._store.redis))
        return self._requesters

    def _publish(self, job: Job, snapshot: dict[str, Any], show: ProgressView) -> None:
        show(snapshot["text"])
        self._publisher.progressed(job.id, snapshot)

    def _work(self, context: Context, request: Request) -> Outcome:
        with _volume_loss_detected(context):
            verb = VERBS[request.verb](context, request)
        try:
            context.run.check()
            with _released_while_store_is_away(), _volume_loss_detected(context):
                outcome = _on_its_volume(context, verb())
            self._name_made(context.run, request)
            return outcome  # noqa: TRY300 - its failures are those of the verb
        except Cancelled:
            self._undo(context, verb)
            return Outcome("cancelled", state=State.CANCELLED)
        except (Released, LeaseLost, HelperDied):  # another run continues
            raise
        except Exception as error:  # whatever it is, the job ends, and its end is clean
            if not _waits_for_volume(context.run.job, error):
                self._undo(context, verb)
            raise

    def _undo(self, context: Context, verb: Verb) -> None:
        """Remove what the job staged.

        What cannot be removed now is found and removed by the next sweep, because it has the name
        of a job that has ended.
        """
        context.run.begin_cleaning()
        try:
            verb.undo()
        except (Released, LeaseLost):
            raise
        except Exception as error:  # noqa: BLE001 - the first error is the job's end
            _log.warning("clean-up left to the sweep", reason=type(error).__name__)

    def _give_back_later(self, run: Run, context: Context | None, reason: str) -> None:
        """Put a job back that this node cannot do now, once a proof of its volume is due.

        By then this node takes no job of a volume that is away; before, it would take this one.
        """
        _log.warning("job waits", reason=reason)
        if context is not None:
            context.close()
        until = time.monotonic() + self._settings.vfolder.worker.prove_seconds
        with suppress(Interrupted):  # cancelled, drained or lost: the store or the next run ends it
            while time.monotonic() < until:
                run.check()
                time.sleep(ELSEWHERE_SECONDS)
        self._give_back(run, reason)

    def _settle(self, run: Run, context: Context, outcome: Outcome) -> str:
        facts = outcome.result | {"sentence": outcome.sentence}
        if context.report_lost:
            facts["report_lost"] = context.report_lost
        cancelled = outcome.state is State.CANCELLED
        whole = (
            None if cancelled else JobSummary(outcome.sentence, outcome.items, outcome.size_bytes)
        )
        end = JobEnd(outcome.state, json.dumps(facts), "", run.last_snapshot(whole))
        self._end(run, context, end)
        if cancelled:
            raise JobCancelled
        if outcome.state is State.PARTIAL:
            return f"{State.PARTIAL}: {outcome.sentence}"
        return outcome.sentence

    def _fail(self, run: Run, context: Context | None, problem: dict[str, Any]) -> Exception:
        try:
            end = JobEnd(State.FAILED, "", json.dumps(problem), run.last_snapshot())
            self._end(run, context, end)
        except LeaseLost:  # the run that has the job now settles it
            return cast("Exception", Ignore())
        return JobFailed(problem["detail"])

    def _end(self, run: Run, context: Context | None, ending: JobEnd) -> None:
        if context is not None:
            context.sync()
        if not self._finish(run, context, ending):
            raise LeaseLost("the job was taken over before it could be settled")
        _log.info("job ended", state=ending.state.value)
        self._publisher.ended()
        if context is not None:
            context.forget()

    def _finish(self, run: Run, context: Context | None, ending: JobEnd) -> bool:
        lease = self._settings.vfolder.jobs.lease_seconds
        try:
            return _store_retry(lease)(self._store.finish, run.job.id, run.id, ending)
        except redis.RedisError:
            if context is not None:  # a node that is cut off must not keep the fence
                context.close()
        return self._finish_patiently(run, ending)

    @_until_the_store_answers
    def _finish_patiently(self, run: Run, ending: JobEnd) -> bool:
        return self._store.finish(run.job.id, run.id, ending)

    @_until_the_store_answers
    def _give_back(self, run: Run, reason: str) -> None:
        run.stop()
        released = self._store.release(run.job.id, run.id, reason, run.snapshot())
        _log.info("job released", why=reason, was_ours=released)

    @_until_the_store_answers
    def _lose(self, run: Run, reason: str) -> None:
        """End the attempt as if the process of the run had died: the next run continues."""
        run.stop()
        taken = self._store.lose(run.job.id, run.id, reason, self._settings.vfolder.jobs.max_losses)
        _log.warning("attempt lost", why=reason, was_ours=taken)
        self._publisher.ended()  # the job may have ended as poison


def _on_its_volume(context: Context, outcome: Outcome) -> Outcome:
    """Return an outcome; entries that failed because the volume went away are done by a later run.

    Raises:
        VolumeUnavailable: the volume went away.
    """
    if outcome.state is State.PARTIAL and context.has_lost(context.run.job.volume):
        raise _went_away(context.run.job)
    return outcome


@contextmanager
def _volume_loss_detected(context: Context) -> Iterator[None]:
    """Replace the error of a storage that fails when the job's own volume went away.

    Its path may lead elsewhere, or what the run holds of it may be stale for ever: an NFS server
    came back with another file system, a file system of FUSE ended.

    Raises:
        VolumeUnavailable: the volume went away.
    """
    try:
        yield
    except (OSError, StorageUnavailable) as error:
        known = translate(error) if isinstance(error, OSError) else error
        if isinstance(known, VolumeUnavailable) or not isinstance(known, StorageUnavailable):
            raise
        if not context.has_lost(context.run.job.volume):
            raise
        raise _went_away(context.run.job) from error


def _went_away(job: Job) -> VolumeUnavailable:
    return VolumeUnavailable("The volume went away while the job ran.", volume=job.volume)


def _waits_for_volume(job: Job, error: Exception) -> bool:
    """Return whether a job goes back to the queue: its own volume is away here now.

    Another volume that it reads or writes is no reason: its lane would wait for a mount that is
    not its own.
    """
    return isinstance(error, VolumeUnavailable) and error.facts.get("volume") == job.volume


def doorbell_of(job: Job) -> Doorbell:
    """Return the doorbell of a job."""
    title = job.fields.get("title", "")
    return Doorbell(job.id, queue_name(job.volume, job.lane), job.priority, job.verb, title)


def problem_of(error: Exception) -> dict[str, Any]:
    """Return a job's `error` for an exception, without host paths and without texts of programs."""
    if isinstance(error, OSError):
        error = translate(error)
    if not isinstance(error, StorageError):
        _log.exception("job failed by a defect", kind=type(error).__name__)
        error = Defect(
            "The job failed by a defect of the service; the log has it under the job id."
        )
    else:
        _log.warning("job failed", reason=error.detail)
    return {
        **error.members(),
        **{key: value for key, value in error.facts.items() if key in ("data", "errno", "job_id")},
    }
