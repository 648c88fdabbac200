"""The content of a volume that another service has filled: what is served from it, and what not."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from backends.entries.scope_inventory import ScopeInventory, take_inventory
from backends.fs import descriptors, layout, marker, reason_of

#: Where the reference service keeps the bytes of unfinished uploads, inside each vfolder.
_UPLOADS = ".upload"
#: The text of a version file is at most this long.
_VERSION_BYTES = 64


@dataclass(slots=True)
class VolumeInventory:
    """Paths relative to the top of the volume."""

    #: What `version.txt` says; None without this file (the older layout, or a new volume).
    version: str | None = None
    #: Whether this service has used the volume before.
    marked: bool = False
    scopes: int = 0
    vfolders: int = 0
    #: Vfolders without a quota scope, as old releases made them.
    legacy_vfolders: int = 0
    #: Vfolders with unfinished uploads of the reference, which do not go on here.
    with_uploads: int = 0
    #: Names that are no quota scope and no vfolder: no request reaches them.
    unknown: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Return whether everything in the volume is served."""
        return not self.unknown and not self.unreadable


def read_volume(root: int) -> VolumeInventory:
    """List the scopes and vfolders below an open directory; nothing is written.

    Costs a listing per prefix directory and one stat(2) per vfolder.
    """
    found = VolumeInventory(version=_version(root))
    found.marked = descriptors.exists(PurePosixPath(marker.NAME), root)
    for scope in layout.scopes(root):
        try:
            with descriptors.opened(scope, root) as directory:
                inventory = take_inventory(directory, top=scope == ".")
                found.with_uploads += sum(_have_uploads(directory, inventory))
        except NotADirectoryError:
            found.unknown.append(scope)
        except OSError as error:
            found.unreadable.append((scope, reason_of(error)))
        else:
            _add(found, PurePosixPath(scope), inventory)
    return found


def _add(found: VolumeInventory, scope: PurePosixPath, inventory: ScopeInventory) -> None:
    if scope.name:
        found.scopes += 1
        found.vfolders += len(inventory.vfolders)
    else:
        found.legacy_vfolders += len(inventory.vfolders)
    found.unknown += [str(scope / path) for path in inventory.unknown]
    found.unreadable += [(str(scope / path), reason) for path, reason in inventory.unreadable]


def _have_uploads(directory: int, inventory: ScopeInventory) -> Iterator[bool]:
    for vfolder in inventory.vfolders:
        try:
            yield bool(descriptors.names(vfolder / _UPLOADS, directory))
        except OSError:  # no such directory, as in most vfolders
            yield False


def _version(root: int) -> str | None:
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(layout.VERSION_FILE, flags, dir_fd=root)
    except OSError:
        return None
    try:
        return os.read(file, _VERSION_BYTES).decode("utf-8", "replace").strip()
    finally:
        os.close(file)
