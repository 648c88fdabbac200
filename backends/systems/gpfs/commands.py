"""The commands of Storage Scale (mm…) on a node of the cluster, and how their output is read.

With `-Y` a command prints lines of fields with colons between them. A line with the word HEADER
names the columns of the lines after it; their order differs between releases. Values are
percent-encoded.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote

from backends.mounted.rest import ArrayRefused, Busy, Reason, deadline
from backends.systems.gpfs.options import GpfsOptions
from core.errors import AccessRefused, ConfigurationError, DeadlineExceeded
from core.process import run_command

#: Exit statuses: everything was done, and the object does not exist.
_DONE, _NOT_FOUND = 0, 2
#: Seconds between the polite end of a command and the other one.
_GRACE_SECONDS = 2.0
_NUMBER = re.compile(r"6027-\d{3,4}")
_HEADER = "HEADER"
#: The columns before a command's own ones: command, section, HEADER or 0, version, two reserved.
_LEADING = 6
_REASONS = {
    "6027-1553": Reason.EXISTS,
    "6027-2644": Reason.EXISTS,
    "6027-1554": Reason.NOT_FOUND,
    "6027-2683": Reason.NOT_FOUND,
}
#: The cluster does one such command at a time, or is not ready for it.
_BUSY = ("6027-1242", "already running", "try again", "resource temporarily")
Row = Mapping[str, str]


class Commands:
    """Runs commands; each ends with the deadline of the call, with all that it started."""

    def __init__(self, options: GpfsOptions) -> None:
        self._prefix = options.gpfs_command
        self._directory = PurePosixPath(options.gpfs_command_dir)

    def rows(self, program: str, *arguments: str) -> list[Row]:
        """Return the rows that a command prints with `-Y`.

        Raises:
            ArrayRefused: the command failed; NOT_FOUND when the object does not exist.
        """
        return parsed(self.run(program, *arguments, "-Y"))

    def run(self, program: str, *arguments: str) -> str:
        """Return the output of a command.

        Raises:
            As `rows`.
            Busy: another command of the cluster runs.
        """
        line = [*self._prefix, str(self._directory / program), *arguments]
        done = _finished(program, line)
        if done.returncode == _DONE:
            return done.stdout
        raise refusal(program, done.returncode, done.stderr)


def _finished(program: str, line: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return run_command(line, deadline.left(), grace_seconds=_GRACE_SECONDS)
    except FileNotFoundError:
        raise ConfigurationError(
            f"The program `{program}` is not on this node; name its directory in gpfs_command_dir."
        ) from None
    except PermissionError:
        raise AccessRefused(f"This service may not run `{program}` of Storage Scale.") from None
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"`{program}` of Storage Scale did not end in time.") from None


def refusal(program: str, status: int, errors: str) -> ArrayRefused | Busy:
    """Return the error of a command that failed: its number decides, then its exit status."""
    number = _NUMBER.search(errors)
    words = " ".join(errors.split()) or "it printed no reason"
    if any(text in errors.lower() for text in _BUSY):
        return Busy(f"Storage Scale is busy: {words}")
    known = _REASONS.get(number[0]) if number else None
    reason = known or (Reason.NOT_FOUND if status == _NOT_FOUND else Reason.FAILED)
    detail = f"`{program}` of Storage Scale failed (exit status {status}): {words}"
    return ArrayRefused(detail, reason, number[0] if number else "")


def parsed(output: str) -> list[Row]:
    """Return the rows of `-Y` output, by the names of their columns; the section has no name.

    Lines before the first header, and of other sections, keep no meaning and are left out.
    """
    headers: dict[tuple[str, str], list[str]] = {}
    found: list[Row] = []
    for line in output.splitlines():
        fields = line.split(":")
        if len(fields) <= _LEADING:
            continue
        key = fields[0], fields[1]
        if fields[2] == _HEADER:
            headers[key] = fields[_LEADING:]
        elif key in headers:
            values = [unquote(value) for value in fields[_LEADING:]]
            found.append({**dict(zip(headers[key], values, strict=False)), "": fields[1]})
    return found
