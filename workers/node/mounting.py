"""`do_volume_mount` and `do_volume_unmount`: file systems below a volume, on the manager's word.

Any of the cluster may say these words on the channel of events, so nothing is done that
`[vfolder.mounts] allowed` does not name, by type and source; without it the words are ignored. The
helper is mount(8), with a list of arguments and a deadline; nosuid and nodev always hold. The
answer is broadcast: `volume_mounted`, `volume_unmounted`, with what went wrong in `err_msg`.
"""

import os
import stat
import subprocess
import threading
from base64 import b64decode
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import redis

from core.events import CHANNEL, Bus, Event
from core.redis import Database, connect, json
from core.settings import Settings
from core.telemetry import logger

#: The order of the fields for readers by position.
_FIELDS = {
    "do_volume_mount": (
        "dir_name",
        "volume_backend_name",
        "quota_scope_id",
        "fs_location",
        "fs_type",
        "cmd_options",
        "scaling_group",
        "edit_fstab",
        "fstab_path",
    ),
    "do_volume_unmount": (
        "dir_name",
        "volume_backend_name",
        "quota_scope_id",
        "scaling_group",
        "edit_fstab",
        "fstab_path",
    ),
}
_ANSWERS = {"do_volume_mount": "volume_mounted", "do_volume_unmount": "volume_unmounted"}
NODE_TYPE = "storage_proxy"
#: What every mount gets: nothing on it gives rights to whoever runs it.
_ALWAYS = ("nosuid", "nodev")
#: The listener looks at its end this often, and connects again this soon.
LISTEN_SECONDS = 1.0
_NAME_MAX = 255
_log = logger(__name__)


class MountRefused(Exception):
    """It is not allowed, or mount(8) says no: the reason."""


class Mounting:
    """The thread of a worker's main process; idle when nothing is allowed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed = [tuple(text.split(None, 1)) for text in settings.vfolder.mounts.allowed]
        self._redis = connect(settings, Database.EVENTS)
        self._bus = Bus(self._redis)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mounting", daemon=True)

    def start(self) -> None:
        """Listen, if anything is allowed."""
        if self._allowed:
            self._thread.start()

    def stop(self) -> None:
        """End; a mount under way comes to its end first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except redis.RedisError as error:
                _log.warning("events not heard", reason=type(error).__name__)
                self._stop.wait(LISTEN_SECONDS)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call] # redis-py
            channel.subscribe(CHANNEL)
            while not self._stop.is_set():
                message = channel.get_message(timeout=LISTEN_SECONDS)
                if message is not None and (asked := _decoded(message["data"])):
                    self._obey(*asked)

    def _obey(self, name: str, asked: dict[str, Any]) -> None:
        table = self._settings.volume.get(str(asked.get("volume_backend_name")))
        if table is None:
            return  # another node's volume
        act = self._mount if name == "do_volume_mount" else self._unmount
        target = self._settings.volume_path(table) / str(asked.get("dir_name"))
        problem = _problem_of(lambda: act(target, asked))
        _log.info("mount asked", operation=name, problem=problem)
        event = Event(
            _ANSWERS[name],
            {
                "node_id": self._settings.storage_proxy.node_id,
                "node_type": NODE_TYPE,
                "mount_path": str(target),
                "quota_scope_id": asked.get("quota_scope_id"),
                "err_msg": problem,
            },
        )
        self._bus.broadcast(event)

    def _mount(self, target: Path, asked: dict[str, Any]) -> None:
        kind, source = str(asked.get("fs_type")), str(asked.get("fs_location"))
        self._check(target.name, asked, kind, source)
        wanted = [word for word in str(asked.get("cmd_options") or "").split(",") if word]
        odd = sorted(set(wanted) - set(self._settings.vfolder.mounts.options.split(",")))
        if odd:
            raise MountRefused(f"These options are not among [vfolder.mounts] options: {odd}.")
        found = _mounted_at(target)
        if found == (kind, source):
            return
        if found is not None:
            raise MountRefused("Something else is mounted there.")
        target.mkdir(exist_ok=True)
        if not stat.S_ISDIR(target.lstat().st_mode):
            raise MountRefused("There is something that is no directory.")
        options = ",".join([*_ALWAYS, *wanted])
        self._helper(["mount", "-t", kind, "-o", options, "--", source, str(target)])
        self._give_away(target)

    def _unmount(self, target: Path, asked: dict[str, Any]) -> None:
        found = _mounted_at(target)
        self._check(target.name, asked, *(found or (None, None)))
        if found is not None:
            self._helper(["umount", "--", str(target)])
            target.rmdir()

    def _check(
        self, name: str, asked: dict[str, Any], kind: str | None, source: str | None
    ) -> None:
        if name != asked.get("dir_name") or name in ("", ".", "..") or len(name) > _NAME_MAX:
            raise MountRefused("The directory is one name below the volume.")
        if asked.get("edit_fstab"):
            raise MountRefused("This service edits no fstab.")
        if kind is not None and not any(
            kind == allowed and fnmatchcase(str(source), pattern)
            for allowed, pattern in self._allowed
        ):
            raise MountRefused("This file system is not among [vfolder.mounts] allowed.")

    def _helper(self, command: list[str]) -> None:
        seconds = self._settings.vfolder.mounts.timeout
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
        if done.returncode:
            raise MountRefused(done.stderr.decode("utf-8", "replace").strip()[:_NAME_MAX])

    def _give_away(self, target: Path) -> None:
        owner, group = self._settings.storage_proxy.user, self._settings.storage_proxy.group
        if isinstance(owner, int) and isinstance(group, int):
            os.chown(target, owner, group)


def _problem_of(act: Callable[[], None]) -> str | None:
    try:
        act()
    except MountRefused as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return "mount(8) did not end in time; it may still take effect."
    except OSError as error:
        return os.strerror(error.errno or 0)
    return None


def _decoded(text: str) -> tuple[str, dict[str, Any]] | None:
    """The name and the fields of a message that is for us, of either generation."""
    try:
        message = json.loads(text)
        name = message["name"]
        if name not in _FIELDS:
            return None
        if message.get("payload"):
            return name, dict(json.loads(message["payload"]))
        values = msgspec.msgpack.decode(b64decode(message["args"]))
        return name, dict(zip(_FIELDS[name], values, strict=True))
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("event not understood", reason=type(error).__name__)
        return None


def _mounted_at(target: Path) -> tuple[str, str] | None:
    """The type and source of what is mounted there (proc(5), mountinfo)."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
        before, _, behind = line.partition(" - ")
        if before.split()[4].encode().decode("unicode_escape") == str(target):
            kind, source, *_ = behind.split()
            found = kind, source
    return found
