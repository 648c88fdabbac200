"""A door that remembers which of our files a request enters.

`python -m tests.support.traced_door … DOOR` serves the real door. A profile function notes every
call of a function of our rooms, on the threads that serve requests and call volumes. `GET /trace`
returns the files in the order of the calls and starts a new list.
"""

import importlib
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import orjson

from core.process import metrics_files
from core.settings import load
from core.telemetry import logs

ROOT = Path(__file__).resolve().parents[2]
ROOMS = tuple(f"{ROOT}/{room}/" for room in ("api", "backends", "core"))
#: gunicorn's request threads, and those of the calls to volumes. Others work at their own times.
THREADS = ("ThreadPoolExecutor", "body", "volume ")


class Tracer:
    """The calls since the last `GET /trace`."""

    def __init__(self) -> None:
        self._calls: list[str] = []

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call of a function."""
        path = frame.f_code.co_filename
        if event != "call" or not path.startswith(ROOMS):
            return
        if threading.current_thread().name.startswith(THREADS):
            self._calls.append(path[len(str(ROOT)) + 1 :])

    def around(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Any]:
        """Return the application with `/trace` in front of it."""

        def traced(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] != "/trace":
                return application(environ, start_response)
            calls, self._calls = self._calls, []
            start_response("200 OK", [("Content-Type", "application/json")])
            return [orjson.dumps(calls)]

        return traced


def main() -> None:
    """Serve the door that the last argument names, with a tracer in each of its processes."""
    door, settings = sys.argv[-1], load()
    logs.configure(door, logs.DEFAULT_LEVEL)
    metrics_files.start_fresh(settings, door)  # before anything imports prometheus_client
    application: Any = importlib.import_module("api.server.application")

    class TracedDoor(application.DoorApplication):  # type: ignore[misc] # it is imported late
        def load(self) -> Any:
            app = super().load()
            tracer = Tracer()
            app.wsgi_app = tracer.around(app.wsgi_app)
            threading.setprofile(tracer.note)
            return app

    TracedDoor(door, settings).run()


if __name__ == "__main__":
    main()
