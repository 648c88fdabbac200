"""The internal door: metrics of this node and its cluster. Knows no ticket and no secret."""

__all__ = [
    "metrics",
]
