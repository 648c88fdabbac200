"""Logs and metrics of every process. Knows no setting, no job and no Redis.

Modules that need `metrics` import it by name, and this file does not: `prometheus_client` decides
at its first import whether the processes of a node are added up (`core.process.metrics_files`).
"""

from core.telemetry import logs
from core.telemetry.logs import bind, logger

__all__ = [
    "bind",
    "logger",
    "logs",
    "metrics",
]
