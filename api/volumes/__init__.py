"""Volumes as the doors reach them: here or on another node. Knows no route.

Modules that need `subjects` import it by name: it loads libraries that most doors do not need.
"""

from api.volumes.access import VolumeAccess
from api.volumes.access_records import AccessRecords, KnownVFolder
from api.volumes.bandwidth import Budgets
from api.volumes.deadlines import Deadlines
from api.volumes.health import COMPONENT, HealthMonitor, Ping, ServiceName
from api.volumes.inline_calls import InlineCalls, WatchedCall
from api.volumes.node_calls import CONTENT_TYPE, PATH, NodeCalls
from api.volumes.node_directory import NodeDirectory

__all__ = [
    "COMPONENT",
    "CONTENT_TYPE",
    "PATH",
    "AccessRecords",
    "Budgets",
    "Deadlines",
    "HealthMonitor",
    "InlineCalls",
    "KnownVFolder",
    "NodeCalls",
    "NodeDirectory",
    "Ping",
    "ServiceName",
    "VolumeAccess",
    "WatchedCall",
    "subjects",
]
