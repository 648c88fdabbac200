"""The internal door: metrics and gauges for monitors. Knows no ticket and no secret."""

__all__ = [
    "metrics",
]
