"""The identity of a worker process, and whether a process of this node is dead.

A killed worker is started again under the same node id. By its identity the new one knows at once
that the runs of the old one are dead, without waiting for their leases.
"""

import os
from uuid import uuid4

#: Random for each start of a worker; its forked children have the same.
_START = uuid4().hex


def own_identity() -> str:
    """Return the identity of this process, as stored with a run: start and pid."""
    return f"{_START}:{os.getpid()}"


def is_dead(identity: str) -> bool:
    """Whether a process of this node is certainly dead."""
    start, _, pid = identity.partition(":")
    if start != _START:
        return bool(start)
    try:
        with open(f"/proc/{int(pid)}/stat", encoding="ascii", errors="replace") as text:
            return text.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
