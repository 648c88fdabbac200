"""Snapshots on WEKA: each is one of the complete file system, shown in `.snapshots` at its top.

WEKA's names are short, and one is free again only when WEKA has removed its snapshot, which may
take hours. So each snapshot has a new name there. A file on the volume has it, by our name:
`.vfolder/snapshots/<vfolder>/<name>`.
"""

import os
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

from msgspec import Struct
from msgspec.json import encode

from backends.fs import atomic, descriptors, layout
from backends.mounted.rest import ArrayRefused, ArrayRequest, Reason, jobs
from backends.retention import ArraySnapshot
from backends.systems.weka.api import API, WekaApi
from core.names import VFolderId, parsed_moment

#: The directory at the top of the file system; it is in no listing.
DIRECTORY = ".snapshots"
#: Begins WEKA's name of each of our snapshots.
PREFIX = "vf-"
#: WEKA documents no longest name; those that its CSI driver gives are shorter than this.
_NAME_MAX = 31
_LONGEST_PAUSE_SECONDS = 1.0
_MICROSECONDS = 1_000_000
#: Begins the name of a record that is being written; no snapshot's name begins so.
_DRAFT = "."


class WekaSnapshot(Struct, rename="camel"):
    """A snapshot of a file system."""

    uid: str
    name: str = ""
    file_system_uid: str = ""
    is_removing: bool = False
    creation_time: str = ""

    @property
    def made_at(self) -> datetime | None:
        """Return when it was made."""
        try:
            return parsed_moment(self.creation_time)
        except ValueError:
            return None

    def known_as(self, name: str) -> ArraySnapshot:
        """Return it as other rooms know it, under our name."""
        made = self.made_at
        number = round(made.timestamp() * _MICROSECONDS) if made else 0
        return ArraySnapshot(name, number, made)


class WekaSnapshots:
    """The snapshots of the volume's file system."""

    def __init__(self, api: WekaApi) -> None:
        self._api = api

    def readable(self) -> bool:
        """Return whether the user may read snapshots."""
        try:
            self._all(name=PREFIX)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.DENIED:
                raise
            return False
        return True

    def known(self, names: dict[str, str]) -> list[ArraySnapshot]:
        """Return those that WEKA has of our names, each with WEKA's name; one request at most."""
        found = {one.name: one for one in self._all()} if names else {}
        ours = [(name, found.get(own)) for name, own in names.items()]
        return [one.known_as(name) for name, one in ours if one is not None]

    def make(self, own: str) -> WekaSnapshot:
        """Make a snapshot by a new name of WEKA."""

        def request(uid: str) -> None:
            body = {"fs_uid": uid, "name": own, "access_point": own, "is_writable": False}
            asked = ArrayRequest("POST", f"{API}/snapshots", body=body)
            try:
                self._api.client.create(asked, lambda: self._one(own))
            except ArrayRefused:
                if self._one(own) is None:
                    raise

        self._api.in_file_system(request)
        found: list[WekaSnapshot] = []

        def listed() -> bool:
            found.extend([one] if (one := self._one(own)) else [])
            return bool(found)

        jobs.wait(listed, _LONGEST_PAUSE_SECONDS)
        return found[0]

    def drop(self, own: str) -> None:
        """Delete a snapshot by WEKA's name; a missing one is fine. Its space is freed later."""
        one = self._one(own)
        if one is not None:
            self._api.client.remove(f"{API}/snapshots/{one.uid}")
            jobs.wait(lambda: self._one(own) is None, _LONGEST_PAUSE_SECONDS)

    def _one(self, own: str) -> WekaSnapshot | None:
        return next((one for one in self._all(name=own) if one.name == own), None)

    def _all(self, name: str | None = None) -> list[WekaSnapshot]:
        """Return the snapshots of the file system, except those being deleted."""

        def ask(uid: str) -> list[WekaSnapshot]:
            found = self._api.get("/snapshots", list[WekaSnapshot], name=name)
            return [one for one in found if one.file_system_uid == uid and not one.is_removing]

        return self._api.in_file_system(ask)


# -- The names, on the volume ----------------------------------------------------------------------
class _Record(Struct, frozen=True):
    """WEKA's name of a snapshot, and of its directory."""

    array_name: str


def records(root: int, vfolder: VFolderId) -> dict[str, str]:
    """Return the names of a vfolder's snapshots, also unfinished ones, each with WEKA's name."""
    try:
        with descriptors.opened(layout.snapshots(vfolder), root) as room:
            names = [name for name in os.listdir(room) if not name.startswith(_DRAFT)]
            found = {name: atomic.read_record(room, name, _Record) for name in names}
    except FileNotFoundError:
        return {}
    return {name: one.array_name for name, one in found.items() if one is not None}


def record(root: int, vfolder: VFolderId, name: str) -> str:
    """Keep the name of a snapshot that is being made, durably; return a new name for WEKA."""
    own = (PREFIX + uuid4().hex)[:_NAME_MAX]
    with descriptors.made(layout.snapshots(vfolder), root, descriptors.HIDDEN_MODE) as room:
        atomic.replace_file(room, name, encode(_Record(own)), draft=_DRAFT + name)
    return own


def forget(root: int, vfolder: VFolderId, name: str) -> None:
    """Remove the name of a snapshot; a missing one is fine."""
    with (
        suppress(FileNotFoundError),
        descriptors.opened(layout.snapshots(vfolder), root) as room,
    ):
        for entry in (_DRAFT + name, name):
            with suppress(FileNotFoundError):
                os.unlink(entry, dir_fd=room)
        os.fsync(room)
    with suppress(OSError), descriptors.opened(layout.area(None, layout.SNAPSHOTS), root) as rooms:
        os.rmdir(vfolder.id.hex, dir_fd=rooms)  # refused while it has other names
