"""A snapshot of all jobs in the store, and the rules between its parts."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson
from redis import Redis

from core.jobs import State
from core.jobs.requests import CONFLICTS, LockMode
from core.jobs.store import PREFIX

HELD = (State.RUNNING, State.CANCELLING)
Zset = dict[str, float]


@dataclass
class Ledger:
    """A copy of the complete store."""

    jobs: dict[str, dict[str, str]]
    keys: dict[str, Any]

    @classmethod
    def read(cls, client: "Redis") -> "Ledger":
        names = sorted(client.keys(f"{PREFIX}*"))
        with client.pipeline(transaction=True) as pipe:
            for name in names:
                pipe.type(name)
            kinds = pipe.execute()
            for name, kind in zip(names, kinds, strict=True):
                _ask(pipe, name, kind)
            found = dict(zip(names, pipe.execute(), strict=True))
        plain = {
            name.removeprefix(PREFIX): dict(value) if kind == "zset" else value
            for (name, value), kind in zip(found.items(), kinds, strict=True)
        }
        jobs = {k[4:]: _complete(v) for k, v in plain.items() if k.startswith("job:")}
        return cls(jobs, {k: v for k, v in plain.items() if not k.startswith("job:")})

    def state(self, job: str) -> State:
        return State(self.jobs[job]["state"])

    def zset(self, name: str) -> Zset:
        found: Zset = self.keys.get(name, {})
        return found

    def lane(self, job: str) -> str:
        return f"{self.jobs[job]['volume']}:{self.jobs[job]['lane']}"

    def admitted(self, job: str) -> bool:
        return self.state(job) is State.QUEUED and self.jobs[job]["admitted"] == "1"

    def holds_slot(self, job: str) -> bool:
        return self.state(job) in HELD or self.admitted(job)

    def in_locks(self, job: str) -> bool:
        """Whether the job stands in the queues of its locks."""
        record = self.jobs[job]
        rests = record["state"] == "queued" and record["pause"] == "1" and record["attempt"] == "0"
        return not self.state(job).ended and not rests

    def locks(self, job: str) -> list[tuple[str, LockMode]]:
        return [(key, mode) for key, mode in orjson.loads(self.jobs[job]["locks"])]

    def blockers(self, job: str) -> set[str]:
        """Older jobs whose locks conflict with its own."""
        turn = int(self.jobs[job]["turn"])
        return {
            other
            for key, mode in self.locks(job)
            for conflicting in CONFLICTS[mode]
            for other, score in self.zset(f"lock:{key}:{conflicting}").items()
            if score < turn
        }

    def slots(self, lane: str) -> set[str]:
        return set(self.zset(f"slots:{lane}"))

    def limit(self, lane: str) -> int:
        return int(self.keys.get("limits", {}).get(lane, "1"))

    def paused(self, lane: str) -> bool:
        return lane.rpartition(":")[0] in self.keys.get("paused", set())

    def check(self) -> None:
        """Check every part against the others."""
        for job in self.jobs:
            self._record(job)
            self._place(job)
        self._indexes()
        self._locks()
        self._lanes()

    def _record(self, job: str) -> None:
        record, state = self.jobs[job], self.state(job)
        assert bool(record["run"]) == (state in HELD), record
        assert bool(record.get("ended_at")) == state.ended, record
        assert not (state in HELD and record["attempt"] == "0"), record
        assert state is not State.CANCELLING or record["cancel"] == "1", record
        assert state is not State.CANCELLED or record["cancel"] == "1", record
        due = job in self.zset("due")
        assert due == self.holds_slot(job), (due, record)
        on = job in self.keys.get(f"on:{record.get('node')}", set())
        assert on == (state in HELD), record
        if (natural := record["natural"]) and not state.ended:
            assert self.keys.get(f"natural:{natural}") == job, record

    def _place(self, job: str) -> None:
        """A queued job is paused, waits for another, is ready, or has a slot: one of them."""
        record = self.jobs[job]
        name = f"ready:{self.lane(job)}:{record['priority']}:{record['scope']}"
        places = {
            "rest": self.state(job) is State.QUEUED and record["pause"] == "1",
            "waits": "parked" in record,
            "ready": job in self.zset(name),
            "slot": self.admitted(job),
        }
        expected = 1 if self.state(job) is State.QUEUED else 0
        assert sum(places.values()) == expected, (places, record)
        if places["waits"]:
            key, mode = self.locks(job)[int(record["parked"]) - 1]
            assert self.blockers(job), record
            assert self.zset(f"parked:{key}:{mode}")[job] == float(record["turn"])
        if places["ready"]:
            assert self.zset(name)[job] == float(record["turn"])

    def _indexes(self) -> None:
        expected: dict[str, set[str]] = {}
        for job, record in self.jobs.items():
            names = ("verb", "volume", "scope", "label", "requester", "state")
            listed = [f"{name}:{record[name]}" for name in names if record[name]]
            listed += [f"vfolder:{key.partition('/')[2]}" for key, _ in self.locks(job)]
            listed += [f"vfolder:{vfolder}" for vfolder in record["vfolders"].split()]
            for name in listed:
                expected.setdefault(f"ix:{name}", set()).add(job)
            if self.state(job).ended:
                kept = "long" if record["state"] in ("failed", "partial") else "short"
                expected.setdefault(f"ended:{kept}", set()).add(job)
        found = {k: set(v) for k, v in self.keys.items() if k.startswith(("ix:", "ended:"))}
        assert found == expected
        logs = {k.removeprefix("log:") for k in self.keys if k.startswith("log:")}
        assert {job for job in self.jobs if not self.state(job).ended} <= logs <= set(self.jobs)
        assert not {job for job in logs if "log" in self.jobs[job]}

    def _locks(self) -> None:
        expected: dict[str, Zset] = {}
        lanes: dict[str, Counter[str]] = {}
        for job in filter(self.in_locks, self.jobs):
            turn = float(self.jobs[job]["turn"])
            for key, mode in self.locks(job):
                expected.setdefault(f"lock:{key}:{mode}", {})[job] = turn
            if number := self.jobs[job].get("parked"):
                key, mode = self.locks(job)[int(number) - 1]
                expected.setdefault(f"parked:{key}:{mode}", {})[job] = turn
                lanes.setdefault(f"parked-lanes:{key}", Counter())[self.lane(job)] += 1
        assert self._named("lock:", "parked:") == expected
        found = self._named("parked-lanes:")
        assert {k: {n: int(c) for n, c in v.items()} for k, v in found.items()} == lanes
        assert not self._named("wakes", "admits", "held:", "holding:"), "work was left"
        for job in filter(self.holds_slot, self.jobs):
            assert not self.blockers(job), f"{job} runs beside or before {self.blockers(job)}"
        for name in self.keys:
            if name == "outbox":
                assert all(self.state(job).ended for job in self.zset(name)), name
            if name == "deadlines":
                assert all(job in self.jobs for job in self.zset(name)), name

    def _lanes(self) -> None:
        holders = Counter(self.lane(job) for job in filter(self.holds_slot, self.jobs))
        lanes = {k.removeprefix("slots:") for k in self.keys if k.startswith("slots:")}
        assert lanes == set(holders)
        for lane in lanes:
            assert self.slots(lane) == {
                job for job in self.jobs if self.lane(job) == lane and self.holds_slot(job)
            }
        ready: dict[str, set[str]] = {}
        waiting: dict[str, Counter[str]] = {}
        for name, jobs in self._named("ready:").items():
            volume, kind, priority, scope = name.split(":", 4)[1:]
            ready.setdefault(f"turns:{volume}:{kind}:{priority}", set()).add(scope)
            lane = f"{volume}:{kind}"
            waiting.setdefault(f"waiting:{lane}", Counter())[priority] += len(jobs)
            full = len(self.slots(lane)) >= self.limit(lane)
            assert full or self.paused(lane), f"{lane} has a free slot and {name} waits"
        assert {k: set(v) for k, v in self._named("turns:").items()} == ready
        found = self._named("waiting:")
        assert {k: {n: int(c) for n, c in v.items()} for k, v in found.items()} == waiting

    def _named(self, *starts: str) -> dict[str, Any]:
        return {k: v for k, v in self.keys.items() if k.startswith(starts)}


#: What an ended job's record leaves out.
_LEFT_OUT = ("run", "label", "requester", "natural", "vfolders")
_OFF = ("cancel", "pause", "final", "admitted")


def _complete(record: dict[str, str]) -> dict[str, str]:
    """A record with all fields: an ended job has a small one."""
    return dict.fromkeys(_LEFT_OUT, "") | dict.fromkeys(_OFF, "0") | {"locks": "[]"} | record


def _ask(pipe: Any, name: str, kind: str) -> None:
    match kind:
        case "hash":
            pipe.hgetall(name)
        case "zset":
            pipe.zrange(name, 0, -1, withscores=True)
        case "set":
            pipe.smembers(name)
        case "list":
            pipe.lrange(name, 0, -1)
        case _:
            pipe.get(name)
