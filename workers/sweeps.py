"""Sweeps: periodic upkeep, rung by beat, done by any worker; each is short and may be repeated."""

from typing import Any

from core.settings import Settings

#: How often ended jobs are forgotten, and old uploads and left-over files removed.
SWEEP_SECONDS = 300.0
SWEEP_TASK = "storage.sweep"


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Beat's schedule: one bell per volume, on its bulk lane; a late bell is worthless."""
    return {
        f"sweep {name}": {
            "task": SWEEP_TASK,
            "schedule": SWEEP_SECONDS,
            "args": [name],
            "options": {"queue": f"vol.{name}.bulk", "expires": SWEEP_SECONDS},
        }
        for name in settings.volume
    }
