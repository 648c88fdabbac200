"""One run of a job: context, manifest, report, node signals. Knows no verb and no Celery."""

from workers.run.context import Context, Outcome
from workers.run.manifest import FILE_MODE, Manifest
from workers.run.node_signals import DRAIN, RELOAD, reloaded
from workers.run.run import Run, new_run_id
from workers.run.worker_identity import here, is_gone

__all__ = [
    "DRAIN",
    "FILE_MODE",
    "RELOAD",
    "Context",
    "Manifest",
    "Outcome",
    "Run",
    "here",
    "is_gone",
    "new_run_id",
    "reloaded",
]
