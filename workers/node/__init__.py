"""What a node does beside its jobs: mounts, sweeps, upkeep, events, doorbells. Knows no verb."""

from workers.node import celery_internals, performance
from workers.node.doorbell import ringer_of
from workers.node.flower_ends import CANCELLED_EVENT
from workers.node.performance import OBSERVE_TASK, observe
from workers.node.privileged_quota import QuotaHelper
from workers.node.sweeps import SWEEP_TASK, Sweep, hidden_usage, schedule
from workers.node.tree_answers import TreeAnswers
from workers.node.upkeep import Upkeep, artifact_queues, queues_of

__all__ = [
    "CANCELLED_EVENT",
    "OBSERVE_TASK",
    "SWEEP_TASK",
    "QuotaHelper",
    "Sweep",
    "TreeAnswers",
    "Upkeep",
    "artifact_queues",
    "celery_internals",
    "hidden_usage",
    "observe",
    "performance",
    "queues_of",
    "ringer_of",
    "schedule",
]
