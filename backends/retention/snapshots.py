"""Snapshots of vfolders: what they may be called, and what can be wrong with one."""

import re

from core.errors import Conflict, InvalidName, NotFound

#: The longest name, in characters.
NAME_MAX = 128
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*")


class SnapshotNotFound(NotFound):
    """The vfolder has no snapshot of that name."""

    error_code = "vfolder_read_not-found"
    kind = "storage/snapshot/not-found"
    title = "No such snapshot"


class SnapshotExists(Conflict):
    """The vfolder has a snapshot of that name."""

    error_code = "vfolder_create_already-exists"
    kind = "storage/snapshot/already-exists"
    title = "The snapshot exists"


def check_name(name: str) -> None:
    """Refuse what is no name of a snapshot.

    Letters, digits and `. _ : + -`, a letter or digit first: that is a file name everywhere, and
    never one that a storage system keeps for itself.

    Raises:
        InvalidName: it is not such a name, or longer than `NAME_MAX`.
    """
    if len(name) > NAME_MAX or not _NAME.fullmatch(name):
        raise InvalidName(
            f"A snapshot's name has at most {NAME_MAX} letters, digits and . _ : + - in it, a "
            "letter or digit first.",
        )
