"""The route that examines a volume on the node of this door, as `vfolder doctor VOLUME` does.

It runs that command, without `--write`: the checks that change nothing, in a process that is killed
when the storage hangs.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, cast

from flask import Response
from msgspec import DecodeError

from api.routes import Door, PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.routes.operating import no_store
from api.schemas import operators as shapes
from core.errors import Conflict, Unavailable, UnknownVolume
from core.names import moment
from core.process import run_command
from core.redis import json
from core.telemetry import logger

blueprint = PeopleResource("doctor", __name__, description="The examination of a volume.")
_log = logger(__name__)

#: How long one check may take, and all together with the start of the command (seconds).
CHECK_SECONDS, ALL_SECONDS = 5, 90.0
#: The exit statuses of a command that made the checks: nothing is wrong, something is.
_MADE = (0, 1)
#: One examination at a time for each process of a door: it is work for the storage.
_one = Lock()


@blueprint.operation(
    "POST",
    "/v1/volumes/<volume>/doctor",
    Route(
        gives={200: RouteAnswer("What was found.", shapes.Examination)},
        refuses=(UnknownVolume, Conflict, Unavailable),
    ),
)
@needs("volumes.examine", noted=True)
def examine_volume(asked: PersonRequest) -> Response:
    """Examine a volume on the node of this door: mount, credentials, health, capacity, rights.

    Nothing is changed. It takes seconds; a check without an answer for 5 seconds is wrong and is
    the last one. One examination runs at a time (503), and a
    volume of other nodes alone is 409.
    """
    volume, door = asked.path["volume"], current_door()
    door.volume_access.check_known(volume)
    if volume not in door.settings.volume:
        raise Conflict("The node of this door does not serve the volume; ask at another one.")
    asked.note(target=f"volume:{volume}")
    with _alone():
        checks = _checks(door, volume)
    return no_store(
        {
            "volume": volume,
            "node": door.settings.storage_proxy.node_id,
            "at": moment(time.time()),
            "ok": not any(one["status"] == "wrong" for one in checks),
            "checks": checks,
        }
    )


@contextmanager
def _alone() -> Iterator[None]:
    if not _one.acquire(blocking=False):
        raise Unavailable("A volume is being examined at this door; ask again in a minute.")
    try:
        yield
    finally:
        _one.release()


def _checks(door: Door, volume: str) -> list[dict[str, Any]]:
    """Return the results of the command.

    Raises:
        Unavailable: it made no checks, or did not end.
    """
    line = [sys.executable, "-m", "api.cli", "doctor", "--output", "json"]
    line += ["--deadline", str(CHECK_SECONDS), "--config", door.settings.origin, "--", volume]
    try:
        done = run_command(line, ALL_SECONDS, env=os.environ)
        if done.returncode in _MADE:
            return cast("list[dict[str, Any]]", json.loads(done.stdout)["checks"])
        reason = f"exit status {done.returncode}"
    except (subprocess.TimeoutExpired, OSError, DecodeError, ValueError) as error:
        reason = type(error).__name__
    _log.warning("volume not examined", volume=volume, reason=reason)
    raise Unavailable("The examination did not end. Run `vfolder doctor` on the node.")
