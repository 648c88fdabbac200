"""One run of a job: context, manifest, report, drain. Knows no verb and no Celery."""

from workers.run.context import Context, Outcome
from workers.run.doorbell import ringer_of
from workers.run.drain import NODE
from workers.run.manifest import FILE_MODE, Manifest
from workers.run.reload import FILE, followed
from workers.run.run import Run, new_run_id
from workers.run.worker_identity import here, is_gone

__all__ = [
    "FILE",
    "FILE_MODE",
    "NODE",
    "Context",
    "Manifest",
    "Outcome",
    "Run",
    "followed",
    "here",
    "is_gone",
    "new_run_id",
    "ringer_of",
]
