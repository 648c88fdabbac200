"""What a node does beside its jobs: mounts, sweeps, upkeep, events, doorbells. Knows no verb."""

from workers.node import celery_internals
from workers.node.doorbell import ringer_of
from workers.node.flower_ends import CANCELLED_EVENT
from workers.node.performance import observe
from workers.node.privileged_quota import QuotaHelper
from workers.node.sweeps import Sweep, hidden_usage
from workers.node.tree_answers import TreeAnswers
from workers.node.upkeep import Upkeep, artifact_queues, queues_of

__all__ = [
    "CANCELLED_EVENT",
    "QuotaHelper",
    "Sweep",
    "TreeAnswers",
    "Upkeep",
    "artifact_queues",
    "celery_internals",
    "hidden_usage",
    "observe",
    "queues_of",
    "ringer_of",
]
