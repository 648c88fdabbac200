"""What a node does beside its jobs: mounts, sweeps, upkeep, events. Knows no verb."""

from workers.node import performance
from workers.node.performance import OBSERVE_TASK, observe
from workers.node.privileged_quota import QuotaHelper
from workers.node.queues import queues_of
from workers.node.sweeps import SWEEP_TASK, Sweep, schedule
from workers.node.upkeep import Upkeep

__all__ = [
    "OBSERVE_TASK",
    "SWEEP_TASK",
    "QuotaHelper",
    "Sweep",
    "Upkeep",
    "observe",
    "performance",
    "queues_of",
    "schedule",
]
