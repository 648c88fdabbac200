"""Records of nodes, as nodes write them."""

from typing import Any

from core.cluster import Node


def node_record(name: str, **more: Any) -> Node:
    """Return the record of a node that has no work, except for what is given."""
    facts = {
        "version": "1",
        "volumes": {},
        "lanes": [],
        "slots": 1,
        "running": 0,
        "load": 0.0,
        "started_at": 0.0,
    }
    return Node(id=name, **(facts | more))
