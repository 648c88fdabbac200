"""The tool `lfs`: project ids, limits, usage and the targets of a Lustre file system.

Its output is read by position, never by its headers: their words differ between versions. Ids are
always numbers. An answer that cannot be read is an error, never "no limit" (Lustre manual, lfs(1)).
"""

import errno
import os
import re
import subprocess
from collections.abc import Callable
from functools import cached_property
from typing import Any

from backends.fs import mount_table
from backends.mounted import ProjectUsage
from backends.systems.lustre.answers import (
    UNIT_BYTES,
    LustreTargets,
    LustreUsage,
    NotLustre,
    NoTool,
)
from core.errors import BackendFailed
from core.process import run_command

#: A call that takes longer counts as failed (seconds).
ANSWER_SECONDS = 20.0
#: Usage and soft limit, hard limit and grace: of blocks, then of inodes.
_COLUMNS = 8
_USED, _HARD, _INODES = 0, 2, 4
#: `[123]`: not all targets answered. `123*`: over the limit.
_NUMBER = re.compile(r"(\[?)(\d+)\]?\*?")
_DELIMITER = ","
#: Begin the lines that are no row: titles, headers, notes.
_NOTES = ("Disk quotas for", "Filesystem", "Some errors happened", "The data in", "pid ")
_OFF = ("project quotas are not enabled", "No such process")
_DENIED = ("not permitted", "denied")
_ELSEWHERE = ("not on a mounted Lustre", "not a Lustre", "not a lustre", "no Lustre")
_INACTIVE = re.compile(r"^(\S+)\s*: (?:inactive device|.*(?:not available|unavailable|shutdown))")
_SUMMARY = re.compile(r"^filesystem_summary:\s+(\d+)\s+(\d+)\s+(\d+)\s", re.MULTILINE)


class Lfs:
    """The tool, for one volume. It is both the counts and the tags of `project_ids`."""

    def __init__(self, program: str) -> None:
        self._program = program

    def usage(self, fd: int, project: int) -> ProjectUsage:
        """See `project_ids.Counts.usage`.

        Raises:
            BackendFailed: not all targets answered, or the answer cannot be read.
        """
        return self.counted(fd, project).complete()

    def counted(self, fd: int, project: int) -> LustreUsage:
        """Return usage and limit of a project id.

        Raises:
            NotLustre: this is another file system.
            BackendFailed: the answer cannot be read.
            OSError: EPERM without the right, ESRCH where project quota is off.
        """
        place = mount_point(fd)
        split = [f"--delimiter={_DELIMITER}"] if self._has_delimiter else []
        done = self._done("quota", "-q", *split, "-p", f"{project}", place)
        row = _row(done.stdout, place, _DELIMITER if split else None)
        if row is None:
            raise _refused("quota", done.stderr or done.stdout)
        (used, exact), (hard, known), (inodes, all_inodes) = (
            _number(row[at]) for at in (_USED, _HARD, _INODES)
        )
        if not known:
            raise BackendFailed("The server that keeps the limits of the file system is away.")
        return LustreUsage(
            used * UNIT_BYTES if exact else None,
            hard * UNIT_BYTES,
            inodes if all_inodes else None,
        )

    def set_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `project_ids.Counts.set_limit`; limits of inodes stay, a soft limit goes."""
        kib = f"{limit_bytes // UNIT_BYTES}"
        self._run("setquota", "-p", f"{project}", "-b", "0", "-B", kib, mount_point(fd))

    def forget(self, fd: int, project: int) -> None:
        """See `project_ids.Counts.forget`."""
        limits = [word for option in ("-b", "-B", "-i", "-I") for word in (option, "0")]
        self._run("setquota", "-p", f"{project}", *limits, mount_point(fd))

    def project_of(self, fd: int) -> int:
        """See `project_ids.project_of`: `lfs project -d` answers `ID P path`."""
        output = self._run("project", "-d", _path(fd), fd=fd)
        words = output.split()
        if not words or not words[0].isdecimal():
            raise BackendFailed("The answer of `lfs project` cannot be read.")
        return int(words[0])

    def tag(self, fd: int, project: int) -> None:
        """See `project_ids.tag`; 0 takes the id and its inheritance away."""
        change = ["-p", f"{project}", "-s"] if project else ["-C"]
        self._run("project", *change, _path(fd), fd=fd)

    def tag_tree(self, fd: int, project: int, seen: Callable[[], None]) -> None:
        """Set a project id on everything below a directory, by the tool's own walk.

        `seen` is called twice a second; when it raises, the tool is stopped.
        """
        self._run("project", "-p", f"{project}", "-s", "-r", _path(fd), fd=fd, look=seen)

    def targets(self, fd: int) -> LustreTargets:
        """Return the size of the file system, and the targets that are away (`lfs df`)."""
        done = self._done("df", mount_point(fd))
        found = _SUMMARY.search(done.stdout)
        if found is None and done.returncode:
            raise _refused("df", done.stderr or done.stdout)
        lines = f"{done.stdout}\n{done.stderr}".splitlines()
        away = tuple(match[1] for line in lines if (match := _INACTIVE.match(line.strip())))
        if found is None:
            return LustreTargets(None, None, away)
        _, used, left = (int(number) * UNIT_BYTES for number in found.groups())
        return LustreTargets(used + left, used, away)

    @cached_property
    def _has_delimiter(self) -> bool:
        """Return whether this version can separate its columns."""
        done = self._done("quota", "--help")
        return "--delimiter" in f"{done.stdout}{done.stderr}"

    def _run(self, *arguments: str, **how: Any) -> str:  # noqa: ANN401 - as `_done` has them
        done = self._done(*arguments, **how)
        if done.returncode:
            raise _refused(arguments[0], done.stderr or done.stdout)
        return done.stdout

    def _done(
        self, *arguments: str, fd: int | None = None, look: Callable[[], None] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the tool; a walk, during which `look` is called, has no time limit."""
        line, seconds = [self._program, *arguments], None if look else ANSWER_SECONDS
        try:
            return run_command(line, seconds, look=look, pass_fds=() if fd is None else (fd,))
        except FileNotFoundError:
            raise NoTool("The program `lfs` is not installed on this node.") from None
        except subprocess.TimeoutExpired:
            raise BackendFailed(f"`lfs {arguments[0]}` did not end in time.") from None


def mount_point(fd: int) -> str:
    """Return where the file system of a descriptor is mounted.

    Raises:
        OSError: ESRCH when it is no mount.
    """
    found = mount_table.mount_of(fd)
    if found is None:
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
    return found.point


def _path(fd: int) -> str:
    """Return a path to an open directory for a child that has its descriptor, too.

    The dot at the end keeps the tool from taking the link of /proc for the entry.
    """
    return f"/proc/self/fd/{fd}/."


def _row(output: str, place: str, delimiter: str | None) -> list[str] | None:
    """Return the eight columns behind the mount point; None without a row.

    A long mount point has a line of its own.
    """
    lines = [line.strip() for line in output.splitlines()]
    rows = [line for line in lines if line and not line.startswith(_NOTES)]
    for at, line in enumerate(rows):
        if not line.startswith(place):
            continue
        rest = line.removeprefix(place).strip()
        if not rest and at + 1 < len(rows):
            rest = rows[at + 1]
        rest = rest.removeprefix(delimiter or "")
        columns = [column.strip() for column in rest.split(delimiter)]
        if len(columns) == _COLUMNS:
            return columns
    return None


def _number(text: str) -> tuple[int, bool]:
    """Return a number and whether all targets answered for it.

    Raises:
        BackendFailed: it is no number.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise BackendFailed("The answer of `lfs quota` cannot be read.")
    return int(found[2]), not found[1]


def _refused(command: str, words: str) -> Exception:
    """Return the error of a tool that failed; its words name paths of the host."""
    if any(text in words for text in _DENIED):
        return PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    if any(text in words for text in _OFF):
        return OSError(errno.ESRCH, os.strerror(errno.ESRCH))
    if any(text in words for text in _ELSEWHERE):
        return NotLustre("This is no Lustre file system.")
    return BackendFailed(f"`lfs {command}` failed.")
