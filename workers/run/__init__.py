"""One run of a job: context, manifest, report, node signals. Knows no verb and no Celery.

What needs `requester` imports it by name: it loads libraries that most runs do not need.
"""

from workers.run.context import Context, Outcome
from workers.run.manifest import FILE_MODE, NO_ROOM, Manifest
from workers.run.node_signals import DRAIN, RELOAD, reloaded
from workers.run.run import Run, new_run_id
from workers.run.worker_identity import is_dead, own_identity

__all__ = [
    "DRAIN",
    "FILE_MODE",
    "NO_ROOM",
    "RELOAD",
    "Context",
    "Manifest",
    "Outcome",
    "Run",
    "is_dead",
    "new_run_id",
    "own_identity",
    "reloaded",
    "requester",
]
