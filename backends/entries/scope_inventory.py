"""What lies where below a quota scope, name by name: vfolders, ours, and what nobody knows."""

import os
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from backends.fs import descriptors, layout, reason_of

#: The names of the levels below a scope: `<2>/<2>/<28>` hexadecimal digits.
_LEVELS = tuple(re.compile(rf"[0-9a-f]{{{digits}}}") for digits in (2, 2, 28))
#: Beside scopes, these may lie at the top of a volume.
_AT_TOP = frozenset({layout.VERSION_FILE, "lost+found", ".snapshot", ".snap"})
#: What an NFS client keeps of a removed file that somebody has open; it goes by itself.
_SILLY = ".nfs"
_SCOPE = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class ScopeInventory:
    """Paths relative to the scope; of the legacy scope, to the volume."""

    vfolders: list[PurePosixPath] = field(default_factory=list)
    #: What is neither a vfolder nor ours.
    unknown: list[PurePosixPath] = field(default_factory=list)
    #: Prefix directories that hold nothing.
    empty: list[PurePosixPath] = field(default_factory=list)
    unreadable: list[tuple[PurePosixPath, str]] = field(default_factory=list)


def survey(directory: int, *, top: bool = False) -> ScopeInventory:
    """Look at the directory of a scope, or at the top of a volume, where scopes are expected too.

    Costs a listing per prefix directory; no vfolder is entered.
    """
    found = ScopeInventory()
    expected = _AT_TOP if top else frozenset[str]()
    for name in sorted(os.listdir(directory)):
        ours = name == layout.HIDDEN or name in expected or (top and _SCOPE.fullmatch(name))
        if not ours:
            _look(directory, PurePosixPath(name), 0, found)
    return found


def _look(directory: int, path: PurePosixPath, depth: int, found: ScopeInventory) -> None:
    if path.name.startswith(_SILLY):
        return
    try:
        if not _LEVELS[depth].fullmatch(path.name) or not _is_directory(directory, path):
            found.unknown.append(path)
        elif depth == len(_LEVELS) - 1:
            found.vfolders.append(path)
        else:
            _look_below(directory, path, depth, found)
    except FileNotFoundError:  # deleted meanwhile
        return
    except OSError as error:
        found.unreadable.append((path, reason_of(error)))


def _look_below(directory: int, path: PurePosixPath, depth: int, found: ScopeInventory) -> None:
    with descriptors.opened(path, directory) as below:
        names = sorted(os.listdir(below))
    if not names:
        found.empty.append(path)
    for name in names:
        _look(directory, path / name, depth + 1, found)


def _is_directory(directory: int, path: PurePosixPath) -> bool:
    try:
        with descriptors.opened(path, directory):
            return True
    except NotADirectoryError:
        return False
