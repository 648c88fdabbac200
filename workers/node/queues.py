"""Which queues a node consumes."""

from collections.abc import Iterable

from core.jobs import Lane, queue_name


def queues_of(volumes: Iterable[str], node: str) -> list[str]:
    """Two lanes per proven volume, and the node's own."""
    return [*(queue_name(name, lane) for name in volumes for lane in Lane), f"node.{node}"]
