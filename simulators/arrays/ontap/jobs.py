"""ONTAP's jobs: changes of a volume that are done later, one at a time, and may fail."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from simulators.arrays.ontap.lists import Row, refusal
from simulators.serving import Ask, Say, Simulator
from simulators.shelf import Shelf


@dataclass
class Profile:
    """What differs between arrays, releases and days."""

    page: int = 10_000
    job_seconds: float = 0.0
    initialising_seconds: float = 0.0
    visible_after_seconds: float = 0.0
    job_kept_seconds: float = 300.0
    delete_seconds: float = 0.0
    #: Answers 202 although the job ends within `return_timeout`.
    never_inline: bool = False
    cluster_user: bool = True
    quota: str = "off"
    analytics: str = "on"
    incomplete: bool = False
    nodes: dict[str, str] = field(default_factory=lambda: {"node-1": "up", "node-2": "up"})
    style: str = "flexvol"
    #: Where the volume is in the namespace of its SVM; None: nowhere.
    junction: str | None = "/research"
    export_policies: tuple[str, ...] = ("default", "vfolders")
    #: What the user may not do: `clone`.
    denied: tuple[str, ...] = ()
    #: `shown` at the mount, `hidden` there, or `denied` to the user.
    snapshots: str = "shown"
    #: Another SVM has a volume of the same name.
    twin: bool = False


@dataclass
class Job:
    """What is done later."""

    uuid: str
    description: str
    state: str = "queued"
    message: str = ""
    code: str = ""
    http: int = 0
    ended: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)


class JobFailure(Exception):
    """A job that fails; with or without its effect is the raiser's business."""

    def __init__(self, code: str, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


Act = Callable[[], None]


RESIZE_FAILED = JobFailure(
    "5308568", "Quota policy rule create operation succeeded, however quota resize failed."
)
NOT_ACTIVE = JobFailure(
    "5308573", "Quota policy rule create operation succeeded, but the rule is not active."
)
QUOTA_BUSY = JobFailure(
    "5308504", "Another quota operation is currently in progress for volume research."
)


class OntapJobs(Simulator):
    """The jobs of a cluster, and what they change."""

    def __init__(self, shelf: Shelf, profile: Profile | None = None, seed: int = 0) -> None:
        super().__init__()
        self.shelf = shelf
        self.profile = profile or Profile()
        self.random = random.Random(seed)
        #: What is held to now; a rule that is `blocked` is not until quota was off and on.
        self.active: dict[str, int | None] = {}
        self.blocked: set[str] = set()
        self.rules: dict[str, Row] = {}
        self.jobs: dict[str, Job] = {}
        self.effects: list[str] = []
        #: Made to fail: (text in the description, failure, whether the effect stays).
        self.job_faults: list[tuple[str, JobFailure, bool]] = []
        self.chance_of_task_fault = 0.0
        self._volume_queue = threading.Lock()

    def _later(self, ask: Ask, description: str, act: Act, status: int) -> Say:
        """Queue a change of the volume, and answer for it."""
        job = Job(str(uuid4()), description)
        with self.lock:
            self.jobs[job.uuid] = job
        threading.Thread(target=self._run, args=(job, act), daemon=True).start()
        wait = float(ask.query.get("return_timeout", 0))
        if not self.profile.never_inline and job.done.wait(wait):
            if job.state == "failure":
                return refusal(job.http, job.code, job.message)
            return Say(status, {"job": {"uuid": job.uuid}})
        return Say(202, {"job": {"uuid": job.uuid, "_links": {"self": {"href": "/api/…"}}}})

    def _run(self, job: Job, act: Act) -> None:
        with self._volume_queue:
            job.state = self.random.choice(["running", "pausing", "reloading"])
            time.sleep(self.profile.job_seconds)
            try:
                self._with_faults(job, act)
            except JobFailure as failure:
                job.code, job.message, job.http = failure.code, failure.message, failure.status
                job.state = "failure"
            else:
                job.state = "success"
        job.ended = time.monotonic()
        job.done.set()

    def _with_faults(self, job: Job, act: Act) -> None:
        fault = next((f for f in self.job_faults if f[0] in job.description), None)
        if fault is not None:
            self.job_faults.remove(fault)
        elif self.random.random() < self.chance_of_task_fault:
            fault = self.random.choice(self._likely(job.description))
        if fault is None:
            act()
            return
        kept: dict[str, int | None] = {}
        _, failure, effect = fault
        if effect:
            kept = dict(self.active)
            act()
            self.active = kept
        if failure is NOT_ACTIVE:
            self.blocked = {r["qtree"]["name"] for r in self.rules.values()} - set(kept)
        raise failure

    @staticmethod
    def _likely(description: str) -> list[tuple[str, JobFailure, bool]]:
        found = [("", JobFailure("13107406", "Another volume operation is running."), False)]
        if description.startswith("create rule"):
            found.append(("", RESIZE_FAILED, True))
        if "rule" in description:
            found.append(("", QUOTA_BUSY, False))
        return found

    def _job(self, _: Ask, uuid: str) -> Say:
        job = self.jobs.get(uuid)
        gone = job and job.ended and time.monotonic() - job.ended > self.profile.job_kept_seconds
        if job is None or gone:
            return refusal(404, "4", "entry doesn't exist", "uuid")
        body: Row = {"uuid": uuid, "state": job.state, "description": job.description}
        if job.state == "failure":
            error = {"code": job.code, "message": job.message}
            body |= {"message": job.message, "code": int(job.code), "error": error}
        return Say(200, body)
