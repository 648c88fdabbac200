"""Try whether limits are enforced: no client can read the setting of Lustre's servers.

A scratch directory gets a project id of its own and a small limit; then more is written than that.
"""

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from uuid import uuid4

import msgspec

from backends.base import Enforcement
from backends.fs import atomic, descriptors, layout
from backends.mounted import project_ids
from core.names import QuotaScope, ScopeKind
from core.process import run_command

#: The limit of the trial, and how much is written before it counts as passed (bytes). Servers hand
#: out limits in pieces of some MiB, so that a writer may pass a little.
LIMIT_BYTES = 1 << 20
WRITTEN_BYTES = 64 << 20
_STEP_BYTES = 1 << 20
#: The trial needs this much free space: a full volume is no proof (bytes).
_FREE_BYTES = 2 * WRITTEN_BYTES
#: A user without rights; the file is open already, so no other right is needed.
_NOBODY = 65534
_WRITER_SECONDS = 60
#: What an older trial left is removed (seconds).
_OLD_SECONDS = 600
PLACE = PurePosixPath(layout.HIDDEN, "proof")
#: The file with the last result; a longer one is not ours.
_RESULT, _RESULT_BYTES = "result", 64


def enforcement(
    root: int, counts: project_ids.Counts, tags: project_ids.Tags | None
) -> Enforcement:
    """Return who is stopped at a limit now; `unknown` when that cannot be tried here.

    Costs up to 128 MiB of writes where nothing stops them, about 1 MiB otherwise.

    Raises:
        OSError, StorageError: the volume or the tool failed.
    """
    status = os.fstatvfs(root)
    if status.f_bavail * status.f_frsize < _FREE_BYTES:
        return "unknown"
    with _scratch(root) as (directory, scope):
        project = project_ids.give(directory, scope, counts, tags)
        try:
            counts.set_limit(directory, project, LIMIT_BYTES)
            return _tried(directory)
        finally:
            _clear(directory)
            counts.set_limit(directory, project, 0)


def kept(root: int, seconds: float) -> Enforcement | None:
    """Return the result that a process of any node found in the last `seconds`; None without one.

    Raises:
        OSError: this process may not read it.
    """
    try:
        with descriptors.opened(PLACE, root) as place:
            file = os.open(_RESULT, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    except FileNotFoundError:
        return None
    try:
        if time.time() - os.fstat(file).st_mtime > seconds:
            return None
        found: Enforcement = msgspec.json.decode(os.read(file, _RESULT_BYTES), type=Enforcement)
    except msgspec.DecodeError:
        return None
    else:
        return found
    finally:
        os.close(file)


def keep(root: int, result: Enforcement) -> None:
    """Store a result for the other processes and nodes."""
    with descriptors.made(PLACE, root, descriptors.HIDDEN_MODE) as place:
        atomic.replace_file(place, _RESULT, msgspec.json.encode(result))


def _tried(directory: int) -> Enforcement:
    with _written(directory, "own") as file:
        own = _stops(file)
    if own is None:
        return "unknown"
    if own:
        return "hard"
    with _written(directory, "other") as file:
        other = _stops_nobody(file)
    if other is None:
        return "unknown"
    return "not for root" if other else "off"


def _stops(file: int) -> bool | None:
    """Return whether this process is stopped; None when something else stops it."""
    block = bytes(_STEP_BYTES)
    try:
        for _ in range(WRITTEN_BYTES // _STEP_BYTES):
            atomic.write_all(file, block)
    except OSError as error:
        return True if error.errno == errno.EDQUOT else None
    return False


def _stops_nobody(file: int) -> bool | None:
    """Return whether a process without rights is stopped; None when that cannot be tried."""
    size = f"bs={_STEP_BYTES}", f"count={WRITTEN_BYTES // _STEP_BYTES}"
    try:
        done = run_command(
            ["dd", "if=/dev/zero", *size],
            _WRITER_SECONDS,
            stdout=file,
            user=_NOBODY,
            group=_NOBODY,
            extra_groups=[],
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if os.strerror(errno.EDQUOT) in done.stderr:
        return True
    return False if done.returncode == 0 else None


@contextmanager
def _scratch(root: int) -> Iterator[tuple[int, QuotaScope]]:
    """Make an empty directory, whose name nothing else has, and a scope to choose an id for."""
    name = f"{os.getpid()}-{threading.get_native_id()}-{time.time_ns()}"
    scope = QuotaScope(ScopeKind.USER, uuid4())
    with descriptors.made(PLACE, root, descriptors.HIDDEN_MODE) as place:
        _sweep(place)
        os.mkdir(name, descriptors.HIDDEN_MODE, dir_fd=place)
        try:
            with descriptors.opened(name, place) as directory:
                yield directory, scope
        finally:
            os.rmdir(name, dir_fd=place)


@contextmanager
def _written(directory: int, name: str) -> Iterator[int]:
    """Open a new file whose writes reach the servers at once."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_DSYNC | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        yield file
    finally:
        with suppress(OSError):  # what could not be written is no loss
            os.close(file)


def _clear(directory: int) -> None:
    for name in os.listdir(directory):
        os.unlink(name, dir_fd=directory)


def _sweep(place: int) -> None:
    """Remove what a trial of a killed process left."""
    for name in os.listdir(place):
        with suppress(OSError):  # it is the result, or another process removes it
            if time.time() - os.stat(name, dir_fd=place).st_mtime < _OLD_SECONDS:
                continue
            with descriptors.opened(name, place) as directory:
                _clear(directory)
            os.rmdir(name, dir_fd=place)
