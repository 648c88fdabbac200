"""`do_volume_mount` and `do_volume_unmount`: mount file systems below a volume for the manager.

Every member of the cluster can publish these events. So a node mounts only what `[vfolder.mounts]
allowed` names by type and source; without that setting it ignores the events. It calls mount(8)
with a list of arguments and a deadline, always with nosuid and nodev. It broadcasts the answer
`volume_mounted` or `volume_unmounted`, with the problem in `err_msg`.
"""

import os
import stat
import subprocess
import threading
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import redis

from backends.base import MountedBackend
from backends.fs import mount_table
from backends.volumes import Volumes
from core.errors import StorageError
from core.events import CHANNEL, Bus, Event
from core.process import run_command
from core.redis import Database, connect, json
from core.settings import Settings
from core.telemetry import logger

#: The fields in the order in which older managers send them, without names.
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
#: Options of every mount: no file on it gives privileges to the process that runs it.
_ALWAYS = ("nosuid", "nodev")
#: Seconds after which the listener checks whether to end, and after which it connects again.
LISTEN_SECONDS = 1.0
_NAME_MAX = 255
_log = logger(__name__)


class MountRefused(Exception):
    """The mount is not allowed, or mount(8) failed; the text says why."""


class Mounting:
    """The thread of a worker's main process; it does not start when no mount is allowed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed = [tuple(text.split(None, 1)) for text in settings.vfolder.mounts.allowed]
        self._volumes = Volumes(settings)
        self._redis = connect(settings, Database.EVENTS)
        self._bus = Bus(self._redis)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mounting", daemon=True)

    def start(self) -> None:
        """Listen to events, if any mount is allowed."""
        if self._allowed:
            self._thread.start()

    def stop(self) -> None:
        """End; wait for a mount in progress first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except redis.RedisError as error:
                _log.warning("events not received", reason=type(error).__name__)
                self._stop.wait(LISTEN_SECONDS)

    def _listen(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call] # redis-py
            channel.subscribe(CHANNEL)
            while not self._stop.is_set():
                message = channel.get_message(timeout=LISTEN_SECONDS)
                if message is not None and (event := _decoded(message["data"])):
                    self._handle(*event)

    def _handle(self, name: str, fields: dict[str, Any]) -> None:
        table = self._settings.volume.get(str(fields.get("volume_backend_name")))
        if table is None:
            return  # another node's volume
        operation = self._mount if name == "do_volume_mount" else self._unmount
        volume = str(fields["volume_backend_name"])
        target = self._settings.volume_path(table) / str(fields.get("dir_name"))
        problem = _problem_of(
            lambda: self._on_volume(volume, lambda root: operation(root, target, fields))
        )
        _log.info("mount requested", operation=name, problem=problem)
        event = Event(
            _ANSWERS[name],
            {
                "node_id": self._settings.storage_proxy.node_id,
                "node_type": NODE_TYPE,
                "mount_path": str(target),
                "quota_scope_id": fields.get("quota_scope_id"),
                "err_msg": problem,
            },
        )
        self._bus.broadcast(event)

    def _on_volume(self, volume: str, operation: Callable[[int], None]) -> None:
        """Do an operation with the top of the volume, only while that is mounted itself."""
        mounted = self._volumes.get(volume).skill(MountedBackend)
        if mounted is None:
            raise MountRefused("This volume is no directory.")
        with mounted.root() as root:
            operation(root)

    def _mount(self, root: int, target: Path, fields: dict[str, Any]) -> None:
        kind, source = str(fields.get("fs_type")), str(fields.get("fs_location"))
        self._check(target.name, fields, kind, source)
        options = [word for word in str(fields.get("cmd_options") or "").split(",") if word]
        refused = sorted(set(options) - set(self._settings.vfolder.mounts.options.split(",")))
        if refused:
            raise MountRefused(f"These options are not among [vfolder.mounts] options: {refused}.")
        mounted = _mounted_at(target)
        if mounted == (kind, source):
            return
        if mounted is not None:
            raise MountRefused("Another file system is mounted there.")
        with suppress(FileExistsError):
            os.mkdir(target.name, dir_fd=root)
        if not stat.S_ISDIR(os.lstat(target.name, dir_fd=root).st_mode):
            raise MountRefused("An entry of this name exists and is not a directory.")
        joined = ",".join([*_ALWAYS, *options])
        self._run_command(["mount", "-t", kind, "-o", joined, "--", source, str(target)])
        self._set_owner(target)

    def _unmount(self, root: int, target: Path, fields: dict[str, Any]) -> None:
        mounted = _mounted_at(target)
        self._check(target.name, fields, *(mounted or (None, None)))
        if mounted is not None:
            self._run_command(["umount", "--", str(target)])
            os.rmdir(target.name, dir_fd=root)

    def _check(
        self, name: str, fields: dict[str, Any], kind: str | None, source: str | None
    ) -> None:
        if name != fields.get("dir_name") or name in ("", ".", "..") or len(name) > _NAME_MAX:
            raise MountRefused("The directory is one name below the volume.")
        if fields.get("edit_fstab"):
            raise MountRefused("This service edits no fstab.")
        if kind is not None and not any(
            kind == allowed and fnmatchcase(str(source), pattern)
            for allowed, pattern in self._allowed
        ):
            raise MountRefused("This file system is not among [vfolder.mounts] allowed.")

    def _run_command(self, command: list[str]) -> None:
        done = run_command(command, self._settings.vfolder.mounts.timeout)
        if done.returncode:
            raise MountRefused(done.stderr.strip()[:_NAME_MAX])

    def _set_owner(self, target: Path) -> None:
        owner, group = self._settings.storage_proxy.user, self._settings.storage_proxy.group
        if isinstance(owner, int) and isinstance(group, int):
            os.chown(target, owner, group)


def _problem_of(operation: Callable[[], None]) -> str | None:
    try:
        operation()
    except (MountRefused, StorageError) as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return "mount(8) did not end in time; it may still take effect."
    except OSError as error:
        return os.strerror(error.errno or 0)
    return None


def _decoded(text: str) -> tuple[str, dict[str, Any]] | None:
    """Return name and fields of a message for us, from old or new managers; None for others."""
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
    """Return type and source of the file system mounted at a path, or None."""
    found = [(one.kind, one.source) for one in mount_table.mounts() if one.point == str(target)]
    return found[-1] if found else None
