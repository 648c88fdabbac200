"""The moves of jobs in Redis. The record is the truth: what was requested, who runs it, its end.

Every move is one Lua script: a crash leaves a job before a move or after it, never between. A
script that frees or fills a slot returns the doorbells to ring. The reaper rings again for a lost
doorbell, so sending one may fail.
"""

from importlib.resources import files
from typing import Any, cast

import redis
from redis.commands.core import Script

from core.errors import Conflict, JobNotFound, KeyReused, Locked, NotCancellable
from core.jobs.job import Job, new_id, queue_name
from core.jobs.store.messages import PREFIX, TASK_PREFIX, Doorbell, JobEnd, Ringer, Submission
from core.redis import dumps

__all__ = ["PREFIX", "TASK_PREFIX", "Doorbell", "JobEnd", "JobStore", "Ringer", "Submission"]

#: The channel with every change of a job: `<id> <version> <state>`.
LIVE_CHANNEL = PREFIX + "live"
#: Longest wait of a submit for the server's disk (milliseconds).
SYNC_WAIT_MS = 1000
#: Number of values per doorbell in the answer of a script.
RING_FIELDS = 6
#: How long an idempotency key is remembered.
KEY_SECONDS = 86_400
#: Jobs one reaper call looks at; the next call takes the rest.
REAP_BATCH = 100
#: Jobs one sweep call forgets per kind.
SWEEP_BATCH = 500


class JobStore:
    """All moves of jobs. Safe to share between threads, not across a fork."""

    def __init__(self, client: "redis.Redis", ring: Ringer) -> None:
        self.redis = client
        self._ring = ring
        self._can_wait = True
        self._scripts = {name: client.register_script(text) for name, text in script_texts()}

    def _call(self, script: str, *arguments: str | float) -> Any:  # noqa: ANN401 - what Lua returns
        loaded: Script = self._scripts[script]
        return loaded(args=list(arguments))

    def _ring_all(self, flat: list[str]) -> None:
        for start in range(0, len(flat), RING_FIELDS):
            job, volume, lane, priority, verb, title = flat[start : start + RING_FIELDS]
            self._ring(Doorbell(job, queue_name(volume, lane), int(priority), verb, title))

    def submit(self, submission: Submission) -> Job:
        """Record a job, ring for it and return it; a repeated request returns the first job.

        Raises:
            KeyReused: the idempotency key was used before with another body.
            Locked: a live job with the same verb and target has another request.
        """
        outcome, job, *rings = self._call(
            "submit",
            new_id(),
            dumps(submission.record()),
            f"{submission.requester}:{submission.idempotency_key}"
            if submission.idempotency_key
            else "",
            submission.body_hash(),
            KEY_SECONDS,
        )
        if outcome == "reused":
            raise KeyReused("This Idempotency-Key was used with another body; take a new key.")
        if outcome == "busy":
            raise Locked("A job with the same target is already there.", job_id=job)
        # The work may begin before the record is on disk. Only the answer to the caller waits.
        self._ring_all(rings)
        return self._synced(job)

    def _synced(self, job: str) -> Job:
        """Return the new record, once it is on disk where the server can tell (7.2 and later).

        Costs one sync, shared by all submits of the same moment.
        """
        if self._can_wait:
            with self.redis.pipeline(transaction=False) as pipe:
                pipe.waitaof(1, 0, SYNC_WAIT_MS)
                pipe.hgetall(PREFIX + "job:" + job)
                synced, fields = pipe.execute(raise_on_error=False)
            # An older server, or one without an append-only file, refuses.
            self._can_wait = not isinstance(synced, redis.ResponseError)
            if isinstance(fields, dict) and fields:
                return Job.from_fields(fields)
        return self.get(job)

    def has_idempotency_key(self, requester: str, idempotency_key: str) -> bool:
        """Return whether a request with this key was accepted before."""
        name = f"{PREFIX}idem:{requester}:{idempotency_key}"
        job = cast("str | None", self.redis.hget(name, "id"))
        return bool(job and self.redis.exists(f"{PREFIX}job:{job}"))

    def get(self, job: str) -> Job:
        """Return a job.

        Raises:
            JobNotFound: no job has this id, or it was forgotten.
        """
        fields = cast("dict[str, str]", self.redis.hgetall(PREFIX + "job:" + job))
        if not fields:
            raise JobNotFound("No job of that id is known; ended jobs are forgotten after a while.")
        return Job.from_fields(fields)

    def claim(self, job: str, run: str, node: str, lease_seconds: float, process: str = "") -> str:
        """Take a job for a run; return `ok`, or why not.

        The reasons are `gone`, `ended`, `held`, `waiting` and `unproven`. `process` names the
        process of the operating system, for `running_on`.
        """
        return str(self._call("claim", job, run, node, int(lease_seconds * 1000), process)[0])

    def running_on(self, node: str) -> list[tuple[str, str, str]]:
        """Return the jobs that a node holds, each with its run and process."""
        ids = cast("set[str]", self.redis.smembers(f"{PREFIX}on:{node}"))
        with self.redis.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.hmget(f"{PREFIX}job:{job}", "run", "process")
            return [(job, *holder) for job, holder in zip(ids, pipe.execute(), strict=True)]

    def lose(self, job: str, run: str, why: str, max_losses: int) -> bool:
        """Take a job back from a run whose process is gone; False when another run holds it."""
        outcome, *rings = self._call("lose", job, run, why, max_losses)
        self._ring_all(rings)
        return bool(outcome == "ok")

    def heartbeat(
        self, job: Job, run: str, lease_seconds: float, progress: str = "", *, final: bool = False
    ) -> tuple[bool, bool, int | None] | None:
        """Renew the lease, store progress and return (cancel, pause, bandwidth); None when lost."""
        lease = int(lease_seconds * 1000)
        answer = self._call("heartbeat", job.id, run, lease, progress, "1" if final else "")
        if answer[0] == "lost":
            return None
        return answer[1] == "1", answer[2] == "1", int(answer[3]) if answer[3] else None

    def release(self, job: str, run: str, reason: str, progress: str = "") -> bool:
        """Put a job back into its queue; False when the run no longer holds it."""
        outcome, *rings = self._call("release", job, run, reason, progress)
        self._ring_all(rings)
        return bool(outcome == "ok")

    def finish(self, job: str, run: str, end: "JobEnd") -> bool:
        """End a job; False when the run no longer holds it.

        Raises:
            ValueError: the state is not an end, or is `cancelled` without a cancel request.
        """
        outcome, *rings = self._call(
            "finish", job, run, end.state.value, end.result, end.error, end.progress
        )
        if outcome == "refused":
            raise ValueError(f"a job may not end as {end.state} here")
        self._ring_all(rings)
        return bool(outcome != "lost")

    def cancel(self, job: str, requester: str = "") -> Job:
        """Request the cancel of a job; a job that never ran is cancelled at once.

        Raises:
            JobNotFound: no job has this id.
            NotCancellable: the job has ended, or is past the point of no return.
        """
        outcome, *rings = self._call("cancel", job, requester)
        self._ring_all(rings)
        if outcome == "ended":
            raise NotCancellable("The job has already ended.", job_id=job)
        if outcome == "final":
            raise NotCancellable("The job is past the point of no return.", job_id=job)
        return self.get(job)

    def pause(self, job: str, *, resume: bool = False) -> Job:
        """Pause a job, or resume it.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has ended.
        """
        outcome, *rings = self._call("pause", job, "0" if resume else "1")
        self._ring_all(rings)
        if outcome == "ended":
            raise Conflict("The job has already ended.", job_id=job)
        return self.get(job)

    def pause_volume(self, volume: str, *, resume: bool = False) -> None:
        """Pause all jobs of a volume, or resume them; running ones stop at their next heartbeat."""
        self._ring_all(self._call("pause_volume", volume, "0" if resume else "1")[1:])

    def set_pace(self, job: str, bytes_per_second: int | None) -> Job:
        """Set the bandwidth limit of one job from its next heartbeat on; None removes the limit.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has ended.
        """
        outcome = self._call("pace", job, bytes_per_second or "")[0]
        if outcome == "ended":
            raise Conflict("The job has already ended.", job_id=job)
        return self.get(job)

    def set_slots(self, volume: str, fast: int, bulk: int) -> None:
        """Set how many jobs of a volume may run at once, per lane, over all nodes."""
        self._ring_all(self._call("limits", volume, fast, bulk)[1:])

    def reap(self, max_losses: int) -> tuple[int, int, int]:
        """Take jobs back from dead runs and ring again for waiting jobs.

        Returns the numbers (lost, failed as poison, rung again).
        """
        lost, poisoned, rung, rings = self._call("reap", max_losses, REAP_BATCH)
        self._ring_all(rings)
        return int(lost), int(poisoned), int(rung)

    def forget(self, job: str) -> None:
        """Remove an ended job: its record, its log, its entries in all lists.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has not ended, or its end was not published yet.
        """
        outcome = self._call("forget", job)[0]
        if outcome == "gone":
            raise JobNotFound("No job of that id is known; ended jobs are forgotten after a while.")
        if outcome == "live":
            raise Conflict("The job has not ended; cancel it first, or wait.", job_id=job)
        if outcome == "untold":
            raise Conflict(
                "The end of the job is not published to the manager yet; try again.", job_id=job
            )

    def sweep(self, keep_succeeded_seconds: float, keep_failed_seconds: float) -> int:
        """Remove jobs that ended long ago; return how many, at most `SWEEP_BATCH` of a kind."""
        keeps = int(keep_succeeded_seconds * 1000), int(keep_failed_seconds * 1000)
        return int(self._call("sweep", *keeps, SWEEP_BATCH))


def script_texts() -> list[tuple[str, str]]:
    """Return every script by name, each with the shared prelude before it."""
    folder = files(__package__) / "scripts"
    prelude = (folder / "prelude.lua").read_text("utf-8")
    names = sorted(f.name.removesuffix(".lua") for f in folder.iterdir() if f.name.endswith(".lua"))
    return [
        (name, prelude + (folder / f"{name}.lua").read_text("utf-8"))
        for name in names
        if name != "prelude"
    ]
