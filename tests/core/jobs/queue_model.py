"""The rules of "Who goes first" (docs/design.md), written as simply as possible: no sets, no heads.

The model looks at all jobs for every question. Tests compare its doorbells with those of the store.
"""

from dataclasses import dataclass, field

from core.jobs.requests import CONFLICTS, Lock

Lane = tuple[str, str]


@dataclass
class ModelJob:
    """One live job."""

    name: str
    lane: Lane
    priority: int
    scope: str
    locks: list[Lock]
    turn: int
    ran: bool = False
    paused: bool = False
    admitted: bool = False
    ready: bool = False
    in_locks: bool = True
    parked_at: str = ""


@dataclass
class QueueModel:
    """All live jobs, and the turns of the scopes by lane and priority."""

    slots: dict[Lane, int] = field(default_factory=dict)
    paused_volumes: set[str] = field(default_factory=set)
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    turns: dict[tuple[Lane, int], list[str]] = field(default_factory=dict)
    rung: dict[Lane, list[str]] = field(default_factory=dict)
    next_turn: int = 1

    def submit(self, job: ModelJob) -> None:
        job.turn, self.next_turn = self.next_turn, self.next_turn + 1
        self.jobs[job.name] = job
        self._place(job)
        self._admit(job.lane)

    def end(self, name: str) -> None:
        job = self.jobs.pop(name)
        self._leave(job)
        self._wake(job)
        self._admit_all()

    def put_back(self, name: str) -> None:
        """A run gives the job back: it keeps its turn."""
        job = self.jobs[name]
        job.ran, job.admitted = True, False
        self._place(job)
        self._admit(job.lane)

    def lose_slot(self, name: str) -> None:
        """A run claims a job whose volume was paused meanwhile: it goes back to its place."""
        job = self.jobs[name]
        job.admitted = False
        self._place(job)

    def pause(self, name: str) -> None:
        job = self.jobs[name]
        job.paused, job.admitted = True, False
        self._place(job)
        if not job.ran:
            job.in_locks = False
            self._wake(job)
        self._admit_all()

    def resume(self, name: str) -> None:
        job = self.jobs[name]
        job.paused = False
        if not job.ran:
            job.turn, self.next_turn, job.in_locks = self.next_turn, self.next_turn + 1, True
        self._place(job)
        self._admit(job.lane)

    def pause_volume(self, volume: str) -> None:
        self.paused_volumes.add(volume)

    def resume_volume(self, volume: str) -> None:
        self.paused_volumes.discard(volume)
        self._admit_all()

    def set_slots(self, lane: Lane, slots: int) -> None:
        self.slots[lane] = slots
        self._admit(lane)

    def blocker(self, job: ModelJob) -> tuple[str, str] | None:
        """The first lock that the job may not hold, and the oldest job in its way."""
        for vfolder, mode in job.locks:
            older = [
                other
                for other in self.jobs.values()
                if other.in_locks
                and other.turn < job.turn
                and any(v == vfolder and m in CONFLICTS[mode] for v, m in other.locks)
            ]
            if older:
                return vfolder, min(older, key=lambda other: other.turn).name
        return None

    def _place(self, job: ModelJob) -> None:
        self._leave(job)
        if job.paused:
            return
        if found := self.blocker(job):
            job.parked_at = found[0]
            return
        ring = self.turns.setdefault((job.lane, job.priority), [])
        if job.scope not in ring:
            ring.append(job.scope)
        job.ready = True

    def _leave(self, job: ModelJob) -> None:
        job.parked_at = ""
        if job.ready:
            job.ready = False
            if not self._ready(job.lane, job.priority, job.scope):
                self.turns[job.lane, job.priority].remove(job.scope)

    def _wake(self, gone: ModelJob) -> None:
        for vfolder, _ in gone.locks:
            parked = [job for job in self.jobs.values() if job.parked_at == vfolder]
            for job in sorted(parked, key=lambda job: job.turn):
                found = self.blocker(job)
                if found is None or found[0] != vfolder:
                    self._place(job)

    def _ready(self, lane: Lane, priority: int, scope: str) -> list[ModelJob]:
        return [
            job
            for job in self.jobs.values()
            if job.ready and (job.lane, job.priority, job.scope) == (lane, priority, scope)
        ]

    def _admit_all(self) -> None:
        for lane in {job.lane for job in self.jobs.values()}:
            self._admit(lane)

    def _admit(self, lane: Lane) -> None:
        if lane[0] in self.paused_volumes:
            return
        while sum(j.admitted and j.lane == lane for j in self.jobs.values()) < self.slots[lane]:
            levels = [
                level for (which, level), ring in self.turns.items() if which == lane and ring
            ]
            if not levels:
                return
            ring = self.turns[lane, min(levels)]
            scope = ring.pop(0)
            ready = self._ready(lane, min(levels), scope)
            job = min(ready, key=lambda one: one.turn)
            job.ready, job.admitted = False, True
            if len(ready) > 1:
                ring.append(scope)
            self.rung.setdefault(lane, []).append(job.name)
