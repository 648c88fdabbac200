"""The audit log: one JSON line per change, per refusal and per allowed opening.

    state-dir/audit/2026-11-29.jsonl     one file per day (UTC), mode 0600
    state-dir/audit/lock                 processes of this node write one after another

`prev` of a line is the SHA-256 of the line before it; that of a file's first line is of the last
line of the file before. So a changed, removed or inserted line breaks the chain
(`vfolder access audit verify`). The newest lines are in the store, too, for operators to look at:

    vfolder:access:audit                 a stream in database 0, bounded by `audit-recent`

No line has a secret, a password or a token.
"""

import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import redis
from msgspec import Struct, structs

from core.access.subjects import Caller
from core.errors import AccessUnavailable
from core.names import moment
from core.settings import AccessTable
from core.telemetry import logger

DIRECTORY = "audit"
STREAM_KEY = "vfolder:access:audit"
#: A line that is longer loses `before` and `after` (bytes).
LINE_MAX_BYTES = 64 * 1024
#: Longest wait for other processes that write (seconds).
LOCK_SECONDS = 2.0
_LOCK_PAUSE_SECONDS = 0.005
#: While the store is away, it is not asked for so long (seconds).
STORE_PAUSE_SECONDS = 10.0
DAY_SECONDS = 86_400.0
_FILE = re.compile(r"\d{4}-\d{2}-\d{2}\.jsonl")
_MODE, _DIRECTORY_MODE = 0o600, 0o700
#: Adds lines to the stream: ARGV[1] is how many it keeps, the others are the lines.
_COPY = """
for at = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'line', ARGV[at])
end
"""
_log = logger(__name__)


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one line says, beside its moment and `prev`; None is left out.

    `need` and `have` are permissions or scopes as words.
    `before` and `after` are the changed values.
    """

    act: str
    decision: Literal["allowed", "refused"]
    request_id: str | None = None
    subject: str | None = None
    #: Kind and id of the credential, never a secret: `key:3hJk…`.
    credential: str | None = None
    on_behalf_of: str | None = None
    #: The address of the caller; written as `from`.
    from_: str | None = msgspec.field(default=None, name="from")
    vfolder: str | None = None
    path: str | None = None
    need: str | None = None
    have: str | None = None
    via: str | None = None
    decider: str | None = None
    cached: bool | None = None
    reason: str | None = None
    job_id: str | None = None
    #: What a change of the installation is about: `volume:NAME`, `node:ID`, `upload:ID`.
    target: str | None = None
    before: Any = None
    after: Any = None


def entry_of(
    caller: Caller,
    act: str,
    decision: Literal["allowed", "refused"],
    **facts: Any,  # noqa: ANN401 - each fact has its own type
) -> AuditEntry:
    """Return an entry with what is known of the caller."""
    subject = caller.subject
    return AuditEntry(
        act=act,
        decision=decision,
        request_id=caller.request_id or None,
        subject="manager" if subject.on_behalf else subject.word,
        on_behalf_of=subject.word if subject.on_behalf else None,
        credential=f"{caller.credential.kind}:{caller.credential.id}",
        from_=caller.address or None,
        **facts,
    )


class AuditLog:
    """The log of this node; any number of processes write it. Safe for threads."""

    def __init__(
        self,
        state_dir: Path,
        table: AccessTable,
        client: "redis.Redis | None" = None,
        *,
        on_lost: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Write below `state_dir`; `on_lost` is called for each line that `note` cannot write."""
        self._directory = state_dir / DIRECTORY
        self._table = table
        self._client = client
        self._on_lost = on_lost
        self._clock = clock
        self._thread = threading.Lock()
        self._end = _End("", 0, 0, "")
        self._store_pause_ends = 0.0

    def write(self, entry: AuditEntry) -> None:
        """Write the line of a change, before the change is made.

        Raises:
            AccessUnavailable: it cannot be written; so the change must not be made.
        """
        try:
            lines = self._append([entry])
        except OSError as error:
            _log.error("audit line not written", act=entry.act, reason=error.strerror)
            raise AccessUnavailable(
                "The audit log cannot be written, so nothing changes."
            ) from None
        self._copy(lines)

    def note(self, *entries: AuditEntry) -> None:
        """Write the lines of refusals or of openings; a failure is counted, not raised.

        Costs one lock, one write and one call to the store, however many they are.
        """
        try:
            lines = self._append(entries)
        except OSError as error:
            for entry in entries:
                self._on_lost()
                _log.error("audit line lost", act=entry.act, reason=error.strerror)
            return
        self._copy(lines)

    def recent(self, limit: int, before: str = "+") -> list[tuple[str, dict[str, Any]]]:
        """Return the newest lines of all nodes, newest first, each with its cursor.

        `before` is the cursor of the last line of the page before.

        Raises:
            redis.RedisError: the store is away.
        """
        if self._client is None:
            return []
        end = before if before == "+" else f"({before}"
        found: Any = self._client.xrevrange(STREAM_KEY, end, "-", count=limit)
        return [(cursor, msgspec.json.decode(fields["line"])) for cursor, fields in found]

    def _append(self, entries: Sequence[AuditEntry]) -> list[bytes]:
        with self._thread, _locked(self._directory):
            now = self._clock()
            name = f"{moment(now)[:10]}.jsonl"
            path = self._directory / name
            new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
            try:
                end = self._end_of(descriptor, name, new=new)
                lines, digest = _chained(entries, now, end.digest)
                _write_all(descriptor, b"".join(lines), end.size)
                found = os.fstat(descriptor)
                self._end = _End(name, found.st_ino, found.st_size, digest)
            finally:
                os.close(descriptor)
            if new:
                self._remove_old(now)
        return lines

    def _end_of(self, descriptor: int, name: str, *, new: bool) -> "_End":
        """Return where the file ends, and the digest of the line before the next one."""
        found = os.fstat(descriptor)
        if self._end[:3] == (name, found.st_ino, found.st_size):
            return self._end
        if new or not found.st_size:
            before = [path for path in files(self._directory) if path.name < name]
            last = _last_line(before[-1]) if before else b""
            return _End(name, found.st_ino, found.st_size, _digest(last) if last else "")
        last = _last_line(self._directory / name)
        size = found.st_size
        if os.pread(descriptor, 1, size - 1) != b"\n":  # a crash cut the line off
            os.write(descriptor, b"\n")
            size += 1
        return _End(name, found.st_ino, size, _digest(last))

    def _remove_old(self, now: float) -> None:
        oldest = moment(now - self._table.audit_keep_days * DAY_SECONDS)[:10]
        for path in files(self._directory):
            if path.stem < oldest:
                path.unlink(missing_ok=True)

    def _copy(self, lines: Sequence[bytes]) -> None:
        """Put lines into the store; the files are the log, so a failure changes nothing."""
        if self._client is None or not lines or time.monotonic() < self._store_pause_ends:
            return
        arguments: list[bytes | int] = [self._table.audit_recent, *(line[:-1] for line in lines)]
        try:
            self._client.eval(_COPY, 1, STREAM_KEY, *arguments)
        except redis.RedisError:
            self._store_pause_ends = time.monotonic() + STORE_PAUSE_SECONDS


class _End(NamedTuple):
    """Where a file ended after our last line; another process may have written since."""

    name: str
    inode: int
    size: int
    digest: str


class BrokenLine(NamedTuple):
    """A line that the chain does not hold, and why."""

    file: str
    line: int
    text: str


def make_directory(state_dir: Path) -> Path:
    """Make the directory of the log and return it; a start does that before it drops its rights."""
    directory = state_dir / DIRECTORY
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    return directory


def files(directory: Path) -> list[Path]:
    """Return the files of the log, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _FILE.fullmatch(path.name))


def verify(directory: Path) -> tuple[int, list[BrokenLine]]:
    """Return the number of lines below a directory of the log, and those that break the chain.

    The first line of the oldest file follows a file that is no longer kept; its `prev` is not
    checked. Whether the newest lines were removed cannot be seen.

    Raises:
        OSError: a file cannot be read.
    """
    count, broken, before = 0, [], None
    for path in files(directory):
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                count += 1
                wrong = _wrong(raw, before)
                if wrong:
                    broken.append(BrokenLine(path.name, number, wrong))
                before = _digest(raw.rstrip(b"\n"))
    return count, broken


def _wrong(raw: bytes, before: str | None) -> str:
    """Return what is wrong with a line; empty when nothing is."""
    if not raw.endswith(b"\n"):
        return "is cut off"
    try:
        entry = msgspec.json.decode(raw)
        found = entry["prev"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "is no line of the log; a crash or a change by others made it"
    if before is not None and found != before:
        return "does not follow the line before: that one was changed, or lines were removed"
    return ""


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of the log; the directory is made at first use.

    Raises:
        OSError: another process holds it too long, or there is no right or space.
    """
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(directory / "lock", flags, _MODE)
    try:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(_LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _chained(entries: Sequence[AuditEntry], now: float, prev: str) -> tuple[list[bytes], str]:
    """Return the lines of entries after a line with the digest `prev`, and the last digest."""
    at, lines = moment(now), []
    for entry in entries:
        line = _encoded(entry, at, prev)
        if len(line) > LINE_MAX_BYTES:
            line = _encoded(structs.replace(entry, before=None, after="too long"), at, prev)
        lines.append(line)
        prev = _digest(line[:-1])
    return lines, prev


def _encoded(entry: AuditEntry, at: str, prev: str) -> bytes:
    members = msgspec.json.encode(entry)[1:-1]  # never empty: each entry has an act
    return b'{"at":"%b",%b,"prev":"%b"}\n' % (at.encode(), members, prev.encode())


def _write_all(descriptor: int, text: bytes, size: int) -> None:
    """Append whole lines, or leave the file as it was.

    Raises:
        OSError: there is no space, or the file system fails.
    """
    written = 0
    try:
        while written < len(text):
            written += os.write(descriptor, text[written:])
    except OSError:
        if written:
            os.ftruncate(descriptor, size)
        raise


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 2 * LINE_MAX_BYTES))
        return file.read().rstrip(b"\n").rpartition(b"\n")[2]


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
