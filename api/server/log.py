"""gunicorn's own messages as ours: one JSON object a line, or coloured text on a terminal."""

from typing import Any

from gunicorn.glogging import Logger


class ServerLog(Logger):
    """Hands everything to the standard library's root, which `core.telemetry` has set up."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn is untyped
        """As gunicorn's, without handlers of its own."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
