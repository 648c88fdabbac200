"""Volumes as the doors reach them: here or on another node. Knows no route."""

from api.volumes.access import VolumeAccess
from api.volumes.bandwidth import Budgets
from api.volumes.deadlines import Deadlines
from api.volumes.health import COMPONENT, HealthMonitor, Ping, ServiceName
from api.volumes.inline_calls import InlineCalls, WatchedCall
from api.volumes.node_directory import NodeDirectory

__all__ = [
    "COMPONENT",
    "Budgets",
    "Deadlines",
    "HealthMonitor",
    "InlineCalls",
    "NodeDirectory",
    "Ping",
    "ServiceName",
    "VolumeAccess",
    "WatchedCall",
]
