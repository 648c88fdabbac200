"""A job: a requested long operation with an id, a state and an end.

The record lives in Redis (`core.jobs.store`). This module defines its fields, its states and the
moves between them. The Celery message is only a doorbell; its task id is the job id.
"""

import os
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from core.jobs import packing
from core.names import moment_of_ms
from core.redis import json

#: A lower number goes first. The default is the middle one.
PRIORITY_FIRST, PRIORITY_DEFAULT, PRIORITY_LAST = 0, 5, 9


class State(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Return whether the job has ended: no move leads out of this state."""
        return self in ENDED


ENDED = frozenset({State.SUCCEEDED, State.PARTIAL, State.FAILED, State.CANCELLED})


class Move(StrEnum):
    """A move from one state to another; each is one script of `core.jobs.store`."""

    CLAIM = "claim"
    RELEASE = "release"
    LOSE = "lose"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REFUSE = "refuse"
    FINISH = "finish"


#: The states that a move leads to. The scripts follow this table: a test compares both. The diagram
#: in the documentation is made from it.
TRANSITIONS: dict[tuple[State, Move], frozenset[State]] = {
    (State.QUEUED, Move.CLAIM): frozenset({State.RUNNING, State.CANCELLING}),
    (State.QUEUED, Move.CANCEL): frozenset({State.CANCELLED, State.QUEUED}),
    (State.QUEUED, Move.EXPIRE): frozenset({State.FAILED}),
    (State.QUEUED, Move.REFUSE): frozenset({State.FAILED}),
    (State.RUNNING, Move.RELEASE): frozenset({State.QUEUED}),
    (State.RUNNING, Move.LOSE): frozenset({State.QUEUED, State.FAILED}),
    (State.RUNNING, Move.CANCEL): frozenset({State.CANCELLING}),
    (State.RUNNING, Move.EXPIRE): frozenset({State.CANCELLING}),
    (State.RUNNING, Move.FINISH): frozenset({State.SUCCEEDED, State.PARTIAL, State.FAILED}),
    (State.CANCELLING, Move.RELEASE): frozenset({State.QUEUED}),
    (State.CANCELLING, Move.LOSE): frozenset({State.QUEUED, State.FAILED}),
    (State.CANCELLING, Move.CANCEL): frozenset({State.CANCELLING}),
    (State.CANCELLING, Move.FINISH): ENDED,
}


class Lane(StrEnum):
    """The class of a volume's queue: short work never waits behind long work."""

    FAST = "fast"
    BULK = "bulk"


def queue_name(volume: str, lane: Lane | str) -> str:
    """Return the name of the Celery queue that all nodes of the volume consume."""
    return f"vol.{volume}.{lane}"


def new_id() -> str:
    """Return a UUID version 7 (RFC 9562): ids sort by their time of creation."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(UUID(int=value))


@dataclass(frozen=True, slots=True)
class Job:
    """One job as its record was when it was read."""

    id: str
    verb: str
    volume: str
    lane: Lane
    scope: str
    state: State
    seq: int
    version: int
    attempt: int
    losses: int
    priority: int
    fields: dict[str, str] = field(repr=False)

    @classmethod
    def from_fields(cls, fields: dict[str, str], job: str = "") -> "Job":
        """Return the job of a record's fields; the record of one that ended is a small one.

        Raises:
            KeyError, ValueError: the record is damaged, or of another version.
        """
        if packing.PACKED in fields:
            packing.unpack(fields)
        fields.setdefault("updated_at", fields.get("ended_at", ""))
        return cls(
            id=job or fields["id"],
            verb=fields["verb"],
            volume=fields["volume"],
            lane=Lane(fields["lane"]),
            scope=fields["scope"],
            state=State(fields["state"]),
            seq=int(fields["seq"]),
            version=int(fields["version"]),
            attempt=int(fields["attempt"]),
            losses=int(fields.get("losses", "0")),
            priority=int(fields["priority"]),
            fields=fields,
        )

    @property
    def run(self) -> str:
        """Return the random id of the run that holds the job; empty when none does."""
        return self.fields.get("run", "")

    @property
    def started_ms(self) -> int | None:
        """Return when the first run began, by the store's clock (ms); None before that."""
        text = self.fields.get("started_at")
        return int(text) if text else None

    @property
    def person(self) -> str:
        """Return who requested the job as JSON of `PersonClaims`; empty for the manager's."""
        return self.fields.get("person", "")

    @property
    def new_name(self) -> str:
        """Return the name of the vfolder that the job makes; empty for none."""
        return self.fields.get("new_name", "")

    @property
    def if_expired(self) -> bool:
        """Return whether the job counts only while its vfolder is expired."""
        return self.fields.get("if_expired") == "1"

    @property
    def permitted(self) -> bool:
        """Return whether a run decided that its requester may do this; effects may have begun."""
        return self.fields.get("permitted") == "1"

    @property
    def cancel_requested(self) -> bool:
        """Return whether a cancel was requested."""
        return self.fields.get("cancel") == "1"

    @property
    def waits(self) -> bool:
        """Return whether the job waits for a lock or a slot; a reader then computes for which."""
        text = self.fields.get
        return self.state is State.QUEUED and text("admitted") == "0" and text("pause") != "1"

    @property
    def cancellable(self) -> bool:
        """Return whether a cancel would still stop the job."""
        return not self.state.ended and self.fields.get("final") != "1"

    @property
    def etag(self) -> str:
        """Return a strong entity tag (RFC 9110) that changes with every change of the record.

        It also changes with the job that a waiting job waits for, which no record contains.
        """
        holder = self.fields.get("waits_for")
        return f'"{self.id}-{self.version}-{holder}"' if holder else f'"{self.id}-{self.version}"'

    def member(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value of a JSON field of the record; None when it is empty."""
        text = self.fields.get(name)
        return json.loads(text) if text else None

    def document(self) -> dict[str, Any]:
        """Return what callers see of a job, the same in polls, lists, event streams and the CLI."""
        text = self.fields.get
        return {
            "id": self.id,
            "bgtask_id": self.id,
            "verb": self.verb,
            "volume": self.volume,
            "lane": self.lane.value,
            "scope": self.scope or None,
            "request": self.member("request"),
            "state": self.state.value,
            "state_reason": text("reason") or self._stands_still,
            "waits_for": text("waits_for") or None,
            "done": self.state.ended,
            "progress": self.member("progress"),
            "result": self.member("result"),
            "error": self.member("error"),
            "attempt": self.attempt,
            "losses": self.losses,
            "priority": self.priority,
            "node": text("node") or None,
            "requester": text("requester") or None,
            "label": text("label") or None,
            "retry_of": text("retry_of") or None,
            "bytes_per_second": int(text("bandwidth") or 0) or None,
            "paused": text("pause") == "1",
            "cancel_requested": self.cancel_requested,
            "cancellable": self.cancellable,
            "created_at": moment_of_ms(text("created_at")),
            "started_at": moment_of_ms(text("started_at")),
            "updated_at": moment_of_ms(text("updated_at")),
            "ended_at": moment_of_ms(text("ended_at")),
            "deadline_at": moment_of_ms(text("deadline_at")),
            "version": self.version,
            "links": self._links(),
        }

    @property
    def _stands_still(self) -> str | None:
        """Return in words why a run moves nothing now; None unless it says that it waits."""
        progress = self.member("progress") if self.state is State.RUNNING else None
        what = (progress or {}).get("waits_for")
        return f"waiting for {what}, which does not answer" if what else None

    def _links(self) -> dict[str, str]:
        here = f"/v1/jobs/{self.id}"
        return {
            "self": here,
            "events": f"{here}/events",
            "log": f"{here}/log",
            "report": f"{here}/report",
            "cancel": f"{here}/cancel",
        }
