"""A door that remembers which of our files a request enters: `python -m` this, and its name.

It is the real door in one process. A profile function notes every call of a function of our rooms,
on every thread. `GET /trace` answers the files in the order of the calls and starts a new list.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import orjson

from api.server import application
from core.settings import load

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("api", "backends", "core")


class Tracer:
    """The calls since the last answer to `/trace`."""

    def __init__(self) -> None:
        self._calls: list[str] = []
        self._prefixes = tuple(f"{ROOT}/{room}/" for room in ROOMS)

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call of a function; the code of a module or class is no call."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._prefixes):
            self._calls.append(f"{code.co_filename[len(str(ROOT)) + 1 :]}:{code.co_qualname}")

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
    """Serve the door that the first argument names, with a tracer in its one process."""

    class TracedDoor(application.DoorApplication):
        def load(self) -> Any:
            app = super().load()
            tracer = Tracer()
            app.wsgi_app = tracer.around(app.wsgi_app)
            threading.setprofile(tracer.note)
            return app

    TracedDoor(sys.argv[1], load()).run()


if __name__ == "__main__":
    main()
