"""Which life of a node's worker a process belongs to, and whether it still lives.

A worker that was killed is started again under the same node id: the new one knows at once that
what the old one ran is dead, without waiting for a lease to end.
"""

import os
from uuid import uuid4

#: Random for each start of a worker; its forked children have the same.
INCARNATION = uuid4().hex


def here() -> str:
    """This process, as told to the store."""
    return f"{INCARNATION}:{os.getpid()}"


def is_gone(process: str) -> bool:
    """Whether a process of this node is known to be dead. False when that is not certain."""
    life, _, pid = process.partition(":")
    if life != INCARNATION:
        return bool(life)
    try:
        with open(f"/proc/{int(pid)}/stat", encoding="ascii", errors="replace") as text:
            return text.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
