"""The doors under gunicorn: every extension of gunicorn is here. This room knows no route."""

__all__ = [
    "application",
    "settings",
]
