"""The two sides of a synchronization: a directory here, and a directory of a vfolder."""

import os
import shutil
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vfolder_client.content.downloads import is_unfinished
from vfolder_client.content.plans import DIRECTORY, FILE, OTHER, Known
from vfolder_client.content.results import ContentFolder, TransferResult
from vfolder_client.content.trees import make_directories
from vfolder_client.documents import Entry, is_safe_name, joined
from vfolder_client.errors import Absent, ClientError, NotAuthenticated

_SYMLINK, _SPECIAL = "a symlink", "no file, directory or symlink"
_UNSAFE = "a name that no local file can have"


class SyncFolder(ContentFolder, Protocol):
    """What synchronization needs of a vfolder beside transfers."""

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove entries with all that is below them, and wait for the end."""


@dataclass(slots=True)
class Look:
    """What a side has, by the path below its top."""

    known: dict[str, Known] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, Exception]] = field(default_factory=list)


class Side(Protocol):
    """A directory tree here or at the door."""

    def look(self, *, needed: bool) -> Look:
        """Return all that it has; empty where its top is absent and not needed."""

    def make(self, paths: Sequence[str], result: TransferResult) -> None:
        """Make the top, and directories below it."""

    def remove(self, paths: Sequence[str]) -> None:
        """Remove entries with all that is below them."""


# -- Here ------------------------------------------------------------------------------------------
class Here(Side):
    """A local directory. Nothing below it is reached through a symlink."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def path(self, name: str) -> Path:
        """Return the local path of a name."""
        return self._top / name

    def look(self, *, needed: bool) -> Look:
        """Return what is below; files of interrupted downloads do not count."""
        found = Look()
        if not needed and not os.path.lexists(self._top):
            return found
        waiting = deque([""])
        while waiting:
            directory = waiting.popleft()
            try:
                with os.scandir(self.path(directory)) as entries:
                    rows = list(entries)
            except OSError as error:
                if not directory:
                    raise
                found.failed.append((directory, error))
                continue
            for row in rows:
                if not is_unfinished(row.name):
                    self._add(found, waiting, joined(directory, row.name), row)
        return found

    @staticmethod
    def _add(found: Look, waiting: deque[str], name: str, row: os.DirEntry[str]) -> None:
        try:
            status = row.stat(follow_symlinks=False)
        except FileNotFoundError:  # it vanished meanwhile
            return
        if stat.S_ISDIR(status.st_mode):
            found.known[name] = Known(DIRECTORY)
            waiting.append(name)
        elif stat.S_ISREG(status.st_mode):
            found.known[name] = Known(FILE, status.st_size, status.st_mtime)
        else:
            found.known[name] = Known(OTHER)
            why = _SYMLINK if stat.S_ISLNK(status.st_mode) else _SPECIAL
            found.left_out.append((name, why))

    def make(self, paths: Sequence[str], result: TransferResult) -> None:  # noqa: ARG002 - each file below says so itself
        """Make the top, and directories below it."""
        self._top.mkdir(parents=True, exist_ok=True)
        for name in paths:
            self.path(name).mkdir(exist_ok=True)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove entries; a symlink itself, never what it points to."""
        for name in paths:
            path = self.path(name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


# -- At the door -----------------------------------------------------------------------------------
class Door(Side):
    """A directory of a vfolder."""

    def __init__(self, folder: SyncFolder, top: str) -> None:
        self._folder = folder
        self._top = top

    def path(self, name: str) -> str:
        """Return the path of a name in the vfolder; the empty one is the top."""
        return joined(self._top, name) if name else self._top

    def look(self, *, needed: bool) -> Look:
        """Return what is below."""
        found = Look()
        waiting = deque([""])
        while waiting:
            directory = waiting.popleft()
            try:
                for entry in self._folder.list(self.path(directory)):
                    self._add(found, waiting, joined(directory, entry.name), entry)
            except NotAuthenticated:
                raise
            except Absent as error:
                if directory:  # it vanished meanwhile, or cannot be seen
                    found.failed.append((directory, error))
                elif needed:
                    raise
            except ClientError as error:
                if not directory:
                    raise
                found.failed.append((directory, error))
        return found

    @staticmethod
    def _add(found: Look, waiting: deque[str], name: str, entry: Entry) -> None:
        if not is_safe_name(entry.name):
            found.known[name] = Known(OTHER)
            found.left_out.append((name, _UNSAFE))
        elif entry.is_directory:
            found.known[name] = Known(DIRECTORY)
            waiting.append(name)
        elif entry.is_file:
            when = None if entry.modified_at is None else entry.modified_at.timestamp()
            found.known[name] = Known(FILE, entry.size_bytes or 0, when, entry)
        else:
            found.known[name] = Known(OTHER)
            found.left_out.append((name, _SYMLINK))

    def make(self, paths: Sequence[str], result: TransferResult) -> None:
        """Make the top, and directories below it; what is refused is noted."""
        wanted = [self._top] if self._top else []
        make_directories(self._folder, [*wanted, *map(self.path, paths)], result)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove entries by a job."""
        self._folder.remove_all([self.path(name) for name in paths])
