"""Keep /etc/projects and /etc/projid equal to the quota scopes, for a site's own tools.

`projects` has a line `id:path` per project, `projid` a line `name:id` (projects(5), projid(5)).
vfolder does not read them: the id on a scope's directory is the truth. Lines of other programs
stay unchanged.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.fs import atomic, descriptors

_FILE_MODE = 0o644


@dataclass(frozen=True)
class ProjectFiles:
    """The two files; None for a file that is not maintained."""

    projects: Path | None
    names: Path | None

    def enter(self, project: int, path: Path, name: str) -> None:
        """Write one line for a project and its directory into each file.

        A file that has the line already stays untouched.

        Raises:
            OSError: the file cannot be replaced.
        """
        _replace(
            self.projects,
            lambda line: _first(line) == f"{project}" or line.partition(":")[2] == f"{path}",
            f"{project}:{path}",
        )
        _replace(
            self.names,
            lambda line: _first(line) == name or line.partition(":")[2].strip() == f"{project}",
            f"{name}:{project}",
        )

    def remove(self, path: Path, name: str) -> None:
        """Remove the lines of a directory that was a project's."""
        _replace(self.projects, lambda line: line.partition(":")[2] == f"{path}", None)
        _replace(self.names, lambda line: _first(line) == name, None)


def _first(line: str) -> str:
    return line.partition(":")[0].strip()


def _replace(file: Path | None, ours: Callable[[str], bool], line: str | None) -> None:
    if file is None:
        return
    with _locked(file):
        old = file.read_text("utf-8", "surrogateescape") if file.exists() else ""
        lines = [each for each in old.splitlines() if each.startswith("#") or not ours(each)]
        if line is not None:
            lines.append(line)
        new = "".join(f"{each}\n" for each in lines)
        if new != old:
            _write(file, new)


def _write(file: Path, text: str) -> None:
    """Replace the file; after a power failure it has the old text or the new one."""
    draft = f"{file.name}.vfolder-new"
    mode = file.stat().st_mode & 0o7777 if file.exists() else _FILE_MODE
    content = text.encode("utf-8", "surrogateescape")
    with descriptors.opened(str(file.parent)) as directory:
        atomic.replace_file(directory, file.name, content, mode=mode, draft=draft)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold a lock that all processes of vfolder on this machine take before they write."""
    lock = file.with_name(f".{file.name}.vfolder-lock")
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
