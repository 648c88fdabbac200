"""The moves of jobs in Redis. The record is the truth: what was requested, who runs it, its end.

Every move is one Lua script: a crash leaves a job before a move or after it, never between. A
script that frees or fills a slot returns the doorbells to ring. The reaper rings again for a lost
doorbell, so sending one may fail.
"""

from typing import Any, cast

import redis
from redis.commands.core import Script

from core.errors import Conflict, EndNotPublished, JobNotFound, KeyReused, Locked, NotCancellable
from core.jobs import packing
from core.jobs.job import Job, new_id, queue_name
from core.jobs.store.keys import keys_of, of_lanes, of_run, of_submission
from core.jobs.store.lists import explain
from core.jobs.store.loading import BATCH, script_texts
from core.jobs.store.messages import PREFIX, TASK_PREFIX, Doorbell, JobEnd, Ringer, Submission
from core.jobs.store.migration import is_other_layout, migrate
from core.redis import dumps
from core.redis.json import loads

__all__ = ["PREFIX", "TASK_PREFIX", "Doorbell", "JobEnd", "JobStore", "Ringer", "Submission"]

#: The channel with every change of a job: `<id> <version> <state>`.
LIVE_CHANNEL = PREFIX + "live"
#: Longest wait of a submit for the server's disk (milliseconds).
SYNC_WAIT_MS = 1000
#: Number of values per doorbell in the answer of a script.
RING_FIELDS = 6
#: How long an idempotency key is remembered.
KEY_SECONDS = 86_400
#: Jobs that one script of the reaper looks at.
REAP_BATCH = 20
#: Scripts that one call of the reaper runs; the next call takes the rest.
REAPS_MAX = 50
#: Jobs that one script of the sweep forgets per kind.
SWEEP_BATCH = 50
#: Scripts that one call of the sweep runs; the next call takes the rest.
SWEEPS_MAX = 50
#: Scripts that one move may take to continue what it began. The reaper does the rest.
PROCEEDS_MAX = 50


class JobStore:
    """All moves of jobs. Safe to share between threads, not across a fork."""

    def __init__(self, client: "redis.Redis", ring: Ringer, batch: int = BATCH) -> None:
        self.redis = client
        self._ring = ring
        self._can_wait = True
        self._scripts = {name: client.register_script(text) for name, text in script_texts(batch)}

    def _call(self, script: str, keys: list[str], *arguments: str | float) -> Any:  # noqa: ANN401 - what Lua returns
        loaded: Script = self._scripts[script]
        try:
            return loaded(keys=keys, args=arguments)
        except redis.ResponseError as error:
            if not is_other_layout(error):
                raise
        migrate(self.redis)
        return loaded(keys=keys, args=arguments)

    def _move(
        self, script: str, keys: list[str], *arguments: str | float, values: int = 0
    ) -> list[str]:
        """Run a script that moves jobs, and ring; return its outcome and its other values.

        What the script left to do is continued, within a bound: the reaper does the rest.
        """
        outcome, more, *rest = self._call(script, keys, *arguments)
        self._ring_all(rest[values:])
        if more == "1":
            self.proceed()
        return [outcome, *rest[:values]]

    def proceed(self, most: int = PROCEEDS_MAX) -> bool:
        """Continue wakes and admissions that a script left, in `most` scripts at most.

        Return whether nothing is left. Any process may call this at any time.
        """
        for _ in range(most):
            _, more, *rings = self._call("proceed", keys_of("proceed"))
            self._ring_all(rings)
            if more != "1":
                return True
        return False

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
        key = submission.idempotency_key
        once = f"{submission.requester}:{key}" if key else ""
        job = new_id()
        outcome, job = self._move(
            "submit",
            keys_of("submit", job, of_submission(submission, once)),
            job,
            dumps(submission.record()),
            once,
            submission.body_hash(),
            KEY_SECONDS,
            values=1,
        )
        if outcome == "reused":
            raise KeyReused("This Idempotency-Key was used with another body; take a new key.")
        if outcome == "busy":
            raise Locked("A job with the same target is already there.", job_id=job)
        # The bell rings before the record is on disk. Only the answer to the caller waits.
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
                return self._job(fields, job)
        return self.get(job)

    def _job(self, fields: dict[str, str], job: str) -> Job:
        found = Job.from_fields(fields, job)
        if found.waits:
            explain(self.redis, [found])
        return found

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
        return self._job(fields, job)

    def claim(self, job: str, run: str, node: str, lease_seconds: float, process: str = "") -> str:
        """Take a job for a run; return `ok`, or why not.

        The reasons are `gone`, `ended`, `held`, `waiting` and `unproven`. `process` names the
        process of the operating system, for `running_on`.
        """
        keys = keys_of("claim", job, of_run("", node))
        return str(self._call("claim", keys, job, run, node, int(lease_seconds * 1000), process)[0])

    def permit(self, job: str, run: str) -> bool:
        """Note that the requester may do what the job does; False when another run holds it."""
        return bool(self._call("permit", keys_of("permit", job), job, run)[0] == "ok")

    def running_on(self, node: str) -> list[tuple[str, str, str]]:
        """Return the jobs that a node holds, each with its run and process."""
        ids = cast("set[str]", self.redis.smembers(f"{PREFIX}on:{node}"))
        with self.redis.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.hmget(f"{PREFIX}job:{job}", "run", "process")
            return [(job, *holder) for job, holder in zip(ids, pipe.execute(), strict=True)]

    def lose(self, job: str, run: str, why: str, max_losses: int) -> bool:
        """Take a job back from a run whose process is gone; False when another run holds it."""
        return self._move("lose", keys_of("lose", job), job, run, why, max_losses) == ["ok"]

    def heartbeat(
        self, job: Job, run: str, lease_seconds: float, progress: str = "", *, final: bool = False
    ) -> tuple[bool, bool, int | None] | None:
        """Renew the lease, store progress and return (cancel, pause, bandwidth); None when lost."""
        lease = int(lease_seconds * 1000)
        keys = keys_of("heartbeat", job.id, of_run(job.volume))
        answer = self._call("heartbeat", keys, job.id, run, lease, progress, "1" if final else "")
        if answer[0] == "lost":
            return None
        return answer[1] == "1", answer[2] == "1", int(answer[3]) if answer[3] else None

    def release(self, job: str, run: str, reason: str, progress: str = "") -> bool:
        """Put a job back into its queue; False when the run no longer holds it."""
        return self._move("release", keys_of("release", job), job, run, reason, progress) == ["ok"]

    def finish(self, job: str, run: str, end: "JobEnd") -> bool:
        """End a job; False when the run no longer holds it. Costs two round trips.

        Raises:
            ValueError: the state is not an end, or is `cancelled` without a cancel request.
        """
        arguments = job, run, end.state.value, end.result, end.error, end.progress
        packed = self._packed(job, end)
        (outcome,) = self._move("finish", keys_of("finish", job), *arguments, *packed)
        if outcome == "refused":
            raise ValueError(f"a job may not end as {end.state} here")
        return outcome != "lost"

    def _packed(self, job: str, end: "JobEnd") -> tuple[str, str]:
        """Return the texts of a record at its end, packed, and its vfolders; empty for none."""
        names = "request", "scope", "locks", "progress"
        values = cast("list[str | None]", self.redis.hmget(f"{PREFIX}job:{job}", names))
        record = dict(zip(names, values, strict=True))
        if not record["request"] or record["locks"] is None:
            return "", ""  # it has ended
        locks: list[tuple[str, str]] = loads(record["locks"])
        fields = {
            "request": record["request"],
            "scope": record["scope"] or "",
            "vfolders": " ".join(vfolder.partition("/")[2] for vfolder, _ in locks),
            "result": end.result,
            "error": end.error,
            "progress": end.progress or record["progress"] or "",
        }
        found = packing.packed(fields, packing.known_of(fields))
        return found, fields["vfolders"] if found else ""

    def cancel(self, job: str, requester: str = "") -> Job:
        """Request the cancel of a job; a job that never ran is cancelled at once.

        Raises:
            JobNotFound: no job has this id.
            NotCancellable: the job has ended, or is past the point of no return.
        """
        (outcome,) = self._move("cancel", keys_of("cancel", job), job, requester)
        if outcome == "ended":
            raise NotCancellable("The job has already ended.", job_id=job)
        if outcome == "final":
            raise NotCancellable("The job is past the point of no return.", job_id=job)
        return self.get(job)

    def refuse(self, job: str, error: str) -> bool:
        """End a queued job that never ran as failed, with a problem (JSON); False for others."""
        (outcome,) = self._move("refuse", keys_of("refuse", job), job, error)
        return outcome == "ok"

    def pause(self, job: str, *, resume: bool = False) -> Job:
        """Pause a job, or resume it.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has ended.
        """
        (outcome,) = self._move("pause", keys_of("pause", job), job, "0" if resume else "1")
        if outcome == "ended":
            raise Conflict("The job has already ended.", job_id=job)
        return self.get(job)

    def pause_volume(self, volume: str, *, resume: bool = False) -> None:
        """Pause all jobs of a volume, or resume them; running ones stop at their next heartbeat."""
        keys = keys_of("pause_volume", more=of_lanes(volume))
        self._move("pause_volume", keys, volume, "0" if resume else "1")

    def set_pace(self, job: str, bytes_per_second: int | None) -> Job:
        """Set the bandwidth limit of one job from its next heartbeat on; None removes the limit.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has ended.
        """
        outcome = self._call("pace", keys_of("pace", job), job, bytes_per_second or "")[0]
        if outcome == "ended":
            raise Conflict("The job has already ended.", job_id=job)
        return self.get(job)

    def set_priority(self, job: str, priority: int) -> Job:
        """Set the priority of a job: where it waits now, and whenever it is queued again.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has ended.
        """
        outcome = self._call("priority", keys_of("priority", job), job, priority)[0]
        if outcome == "ended":
            raise Conflict("The job has already ended.", job_id=job)
        return self.get(job)

    def set_slots(self, volume: str, fast: int, bulk: int) -> None:
        """Set how many jobs of a volume may run at once, per lane, over all nodes."""
        self._move("limits", keys_of("limits", more=of_lanes(volume)), volume, fast, bulk)

    def reap(self, max_losses: int) -> tuple[int, int, int]:
        """Take jobs back from dead runs and ring again for waiting jobs.

        Returns the numbers (lost, failed as poison, rung again). Stops when nothing is due, or
        after `REAPS_MAX` scripts.
        """
        sums = [0, 0, 0]
        for _ in range(REAPS_MAX):
            _, looked, *numbers = self._move(
                "reap", keys_of("reap"), max_losses, REAP_BATCH, values=4
            )
            sums = [total + int(number) for total, number in zip(sums, numbers, strict=True)]
            if int(looked) < REAP_BATCH:
                break
        return sums[0], sums[1], sums[2]

    def forget(self, job: str) -> None:
        """Remove an ended job: its record, its log, its entries in all lists.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has not ended, or its end was not published yet.
        """
        outcome = self._call("forget", keys_of("forget", job), job)[0]
        if outcome == "gone":
            raise JobNotFound("No job of that id is known; ended jobs are forgotten after a while.")
        if outcome == "live":
            raise Conflict("The job has not ended; cancel it first, or wait.", job_id=job)
        if outcome == "untold":
            raise EndNotPublished(
                "The end of the job is not published to the manager yet; try again.", job_id=job
            )

    def sweep(self, keep_succeeded_seconds: float, keep_failed_seconds: float) -> int:
        """Remove the jobs that ended long ago; return how many.

        Stops when none is left, or after `SWEEPS_MAX` scripts.
        """
        keeps = int(keep_succeeded_seconds * 1000), int(keep_failed_seconds * 1000)
        removed = 0
        for _ in range(SWEEPS_MAX):
            gone = int(self._call("sweep", keys_of("sweep"), *keeps, SWEEP_BATCH))
            removed += gone
            if gone < SWEEP_BATCH:
                break
        return removed
