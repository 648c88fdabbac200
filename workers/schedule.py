"""What beat rings for, and when: sweeps and observations of each volume.

Beat and Flower load this, and not the code of the tasks: they run none.
"""

from typing import Any

from core.jobs import Lane, queue_name
from core.settings import Settings

SWEEP_TASK = "storage.sweep"
OBSERVE_TASK = "storage.observe"
#: Seconds between two sweeps of a volume.
SWEEP_SECONDS = 300.0


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return beat's schedule: two doorbells per volume; a late one expires."""
    observe_seconds = settings.storage_proxy.volume_stats.observe_interval
    entries = {}
    for name in settings.volume:
        sweep = _entry(SWEEP_TASK, name, Lane.BULK, SWEEP_SECONDS)
        entries[f"sweep {name}"] = sweep
        entries[f"observe {name}"] = _entry(OBSERVE_TASK, name, Lane.FAST, observe_seconds)
    return entries


def _entry(task: str, volume: str, lane: Lane, seconds: float) -> dict[str, Any]:
    return {
        "task": task,
        "schedule": seconds,
        "args": [volume],
        "options": {"queue": queue_name(volume, lane), "expires": seconds},
    }
