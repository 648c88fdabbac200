"""The content of a quota scope, name by name: vfolders, our own files, and unknown names."""

import os
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from backends.fs import descriptors, layout, marker, reason_of

#: The names of the levels below a scope: `<2>/<2>/<28>` hexadecimal digits.
_LEVELS = tuple(re.compile(rf"[0-9a-f]{{{digits}}}") for digits in (2, 2, 28))
#: Names beside scopes that may lie at the top of a volume.
_AT_TOP = frozenset({layout.VERSION_FILE, marker.NAME, "lost+found", ".snapshot", ".snap"})
#: Begins the name that an NFS client gives a removed file that is still open; it goes by itself.
_SILLY = ".nfs"
_SCOPE = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class ScopeInventory:
    """Paths relative to the scope; those of the legacy scope are relative to the volume."""

    vfolders: list[PurePosixPath] = field(default_factory=list)
    #: Neither a vfolder nor one of our own files.
    unknown: list[PurePosixPath] = field(default_factory=list)
    #: Prefix directories that hold nothing.
    empty: list[PurePosixPath] = field(default_factory=list)
    unreadable: list[tuple[PurePosixPath, str]] = field(default_factory=list)


def take_inventory(directory: int, *, top: bool = False) -> ScopeInventory:
    """List the directory of a scope, or the top of a volume, where scopes are expected too.

    Costs a listing per prefix directory; no vfolder is entered.
    """
    inventory = ScopeInventory()
    expected = _AT_TOP if top else frozenset[str]()
    for name in sorted(os.listdir(directory)):
        ours = name == layout.HIDDEN or name in expected or (top and _SCOPE.fullmatch(name))
        if not ours:
            _add(directory, PurePosixPath(name), 0, inventory)
    return inventory


def _add(directory: int, path: PurePosixPath, depth: int, inventory: ScopeInventory) -> None:
    if path.name.startswith(_SILLY):
        return
    try:
        if not _LEVELS[depth].fullmatch(path.name) or not _is_directory(directory, path):
            inventory.unknown.append(path)
        elif depth == len(_LEVELS) - 1:
            inventory.vfolders.append(path)
        else:
            _add_below(directory, path, depth, inventory)
    except FileNotFoundError:  # deleted meanwhile
        return
    except OSError as error:
        inventory.unreadable.append((path, reason_of(error)))


def _add_below(directory: int, path: PurePosixPath, depth: int, inventory: ScopeInventory) -> None:
    with descriptors.opened(path, directory) as below:
        names = sorted(os.listdir(below))
    if not names:
        inventory.empty.append(path)
    for name in names:
        _add(directory, path / name, depth + 1, inventory)


def _is_directory(directory: int, path: PurePosixPath) -> bool:
    try:
        with descriptors.opened(path, directory):
            return True
    except NotADirectoryError:
        return False
