"""Logs and metrics of every process. Knows no setting, no job and no Redis.

`metrics` is imported by name where it is used, never from here: `prometheus_client` decides at its
first import whether the processes of a node are added up (`core.process.metrics_files`).
"""

from core.telemetry import logs
from core.telemetry.logs import bind, logger

__all__ = [
    "bind",
    "logger",
    "logs",
    "metrics",
]
