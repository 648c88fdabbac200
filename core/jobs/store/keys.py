"""The keys that each script names: all that its caller can know before the script runs.

A script that frees a slot or a lock goes on to other jobs, which only the store knows. It finds
their keys in the records and queues: `FOUND` says which, by script. So all keys of the store must
be on one server; docs/operations.md says so. A test compares both tables with what scripts touch.
"""

from collections.abc import Iterable

from core.jobs.requests import CONFLICTS
from core.jobs.store.messages import PREFIX, Submission

_LIVE = ("ix:state:queued", "ix:state:running", "ix:state:cancelling")
#: To admit jobs of a lane.
_ADMIT = ("paused", "limits", "due", "admits")
#: To wake jobs of a vfolder and admit them.
_WAKE = (*_ADMIT, "wakes")
#: To end a job.
_SETTLE = (
    *_WAKE,
    *_LIVE,
    "ix:state:succeeded",
    "ix:state:partial",
    "ix:state:failed",
    "ix:state:cancelled",
    "ended:short",
    "ended:long",
    "deadlines",
    "outbox",
    "outbox:seq",
)
_FORGET = (
    "ix:state:succeeded",
    "ix:state:partial",
    "ix:state:failed",
    "ix:state:cancelled",
    "ended:short",
    "ended:long",
    "outbox",
)
#: The keys of each script that are the same for every call, without the prefix.
FIXED: dict[str, tuple[str, ...]] = {
    "cancel": _SETTLE,
    "claim": (*_LIVE, *_ADMIT, "bandwidth"),
    "finish": _SETTLE,
    "forget": _FORGET,
    "heartbeat": ("due", "paused", "bandwidth", "ix:state:running", "ix:state:cancelling"),
    "limits": _ADMIT,
    "lose": _SETTLE,
    "pace": (),
    "pause": (*_WAKE, "seq"),
    "pause_volume": _ADMIT,
    "permit": (),
    "priority": (),
    "proceed": _WAKE,
    "reap": _SETTLE,
    "refuse": _SETTLE,
    "release": (*_ADMIT, *_LIVE),
    "submit": (*_ADMIT, "seq", "ix:state:queued", "deadlines"),
    "sweep": _FORGET,
}

_RECORDS = ("job:*", "log:*")
_LANES = ("ready:*", "turns:*", "waiting:*", "held:*", "slots:*")
_LOCKS = ("lock:*", "parked:*", "parked-lanes:*", "holding:*")
_INDEXES = (
    "ix:verb:*",
    "ix:volume:*",
    "ix:scope:*",
    "ix:requester:*",
    "ix:label:*",
    "ix:vfolder:*",
)
_ENDED = (*_RECORDS, *_LANES, *_LOCKS, "on:*", "natural:*")
#: The keys that each script finds itself: patterns, without the prefix. Others find none.
FOUND: dict[str, tuple[str, ...]] = {
    "cancel": _ENDED,
    "claim": (*_LANES, *_LOCKS, "on:*", "streams:*"),
    "finish": _ENDED,
    "forget": _INDEXES,
    "limits": ("job:*", "ready:*", "turns:*"),
    "lose": _ENDED,
    "pause": (*_RECORDS, *_LANES, *_LOCKS, "on:*"),
    "pause_volume": ("job:*", "ready:*", "turns:*"),
    "priority": (*_LANES[:3], *_LOCKS[:3]),
    "proceed": (*_RECORDS, *_LANES, *_LOCKS),
    "reap": _ENDED,
    "refuse": _ENDED,
    "release": (*_RECORDS, *_LANES, *_LOCKS, "on:*"),
    "submit": ("job:*", "ready:*"),
    "sweep": (*_RECORDS, *_INDEXES),
}


def keys_of(script: str, job: str = "", more: Iterable[str] = ()) -> list[str]:
    """Return the keys that a call names: those of every call, of its job, and `more`."""
    own = (f"job:{job}", f"log:{job}") if job else ()
    return [PREFIX + name for name in ("layout", *FIXED[script], *own, *more)]


def of_run(volume: str, node: str = "") -> list[str]:
    """Return the keys of a run that may be known: its volume's slots and streams, its node."""
    volumes = [f"slots:{volume}:fast", f"slots:{volume}:bulk", f"streams:{volume}"]
    return (volumes if volume else []) + ([f"on:{node}", f"unproven:{node}"] if node else [])


def of_lanes(volume: str) -> list[str]:
    """Return the keys of both lanes of a volume."""
    return [
        f"{name}:{volume}:{lane}"
        for lane in ("fast", "bulk")
        for name in ("held", "slots", "waiting")
    ]


def of_submission(submission: Submission, idempotency: str) -> list[str]:
    """Return the keys of a new job: its indexes, its locks and its place in the queue."""
    request = submission.request
    lane, scope = f"{request.home}:{request.lane.value}", request.scope()
    place = f"{lane}:{submission.priority}"
    names = [f"verb:{request.verb}", f"volume:{request.home}"]
    names += [f"scope:{scope}"] * bool(scope)
    names += [f"requester:{submission.requester}"] * bool(submission.requester)
    names += [f"label:{submission.label}"] * bool(submission.label)
    keys = [f"held:{lane}", f"slots:{lane}", f"waiting:{lane}"]
    keys += [f"turns:{place}", f"ready:{place}:{scope}"]
    for vfolder, mode in request.locks():
        names.append(f"vfolder:{vfolder.partition('/')[2]}")
        keys += [f"lock:{vfolder}:{other}" for other in {mode, *CONFLICTS[mode]}]
        keys += [f"parked:{vfolder}:{mode}", f"parked-lanes:{vfolder}"]
    if natural := request.natural_key():
        keys.append(f"natural:{request.verb}:{natural}")
    if idempotency:
        keys.append(f"idem:{idempotency}")
    return [*keys, *(f"ix:{name}" for name in names)]
