"""Everything that extends gunicorn, and nothing else does. Knows no route."""

__all__ = [
    "application",
    "settings",
]
