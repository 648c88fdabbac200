"""Volumes as the doors reach them: here or on another node. Knows no route."""

from api.volumes.access import Reach
from api.volumes.bandwidth import Budgets
from api.volumes.deadlines import Deadlines
from api.volumes.health import Ask, Health, Part
from api.volumes.inline_calls import Gates
from api.volumes.node_directory import Atlas

__all__ = [
    "Ask",
    "Atlas",
    "Budgets",
    "Deadlines",
    "Gates",
    "Health",
    "Part",
    "Reach",
]
