"""A FUSE file system that passes every call through, except by its rules, with real errors.

A test mounts it over a directory and changes the rules while others work on it:

    with mounted(tmp_path) as volume:
        volume.rules(Rule("write", "*/staging/*", error="ENOSPC", after=3))

The kernel caches neither names nor attributes nor data of it, so every call meets the rules. A rule
that neither fails nor waits only counts. The rules travel by a socket beside the mount: a mount
that hangs in all its threads can still be healed.
"""

# ruff: noqa: ARG002 - the signatures are the library's

import errno
import fnmatch
import json
import os
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.fuse_mount import FuseMount, pass_modes
from tests.support.node import wait_for

#: More calls than the test processes make at once, so a hung call never blocks others.
THREADS = 64
_STAT = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino", "st_blocks", "st_dev")
_STATFS = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files")


@dataclass(frozen=True)
class Rule:
    """The fault of an operation on matching paths, from the call `after` on."""

    op: str = "*"
    path: str = "*"
    error: str = ""
    delay_seconds: float = 0.0
    hang: bool = False
    after: int = 0


class Rules:
    """The active rules and how often each matched; in the process of the file system."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._rules: list[dict[str, Any]] = []
        self._generation = 0

    def answer(self, text: str) -> str:
        """Take new rules, if any are sent, and return how often the active ones matched."""
        with self._lock:
            if text:
                self._rules = [{**rule, "seen": 0, "bytes": 0} for rule in json.loads(text)]
                self._generation += 1
                self._lock.notify_all()
            return json.dumps(self._rules)

    def meet(self, op: str, path: str, size: int = 0) -> None:
        """Count a call, delay it, hold it or fail it."""
        delay, hang, error = 0.0, False, ""
        with self._lock:
            generation = self._generation
            for rule in self._rules:
                if not fnmatch.fnmatch(op, rule["op"]) or not fnmatch.fnmatch(path, rule["path"]):
                    continue
                rule["seen"] += 1
                rule["bytes"] += size
                if rule["seen"] > rule["after"]:
                    delay += rule["delay_seconds"]
                    hang = hang or rule["hang"]
                    error = error or rule["error"]
        time.sleep(delay)
        if hang:
            with self._lock:
                self._lock.wait_for(lambda: self._generation != generation)
        if error:
            number = getattr(errno, error)
            raise OSError(number, os.strerror(number))


def through(backing: str, rules: Rules) -> object:  # noqa: C901 - one call after another
    import mfusepy as fuse  # noqa: PLC0415 - loads libfuse: only in the process that mounts

    class Through(fuse.Operations):  # type: ignore[misc] # the library brings no types
        """Passes every call to the directory behind."""

        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            found = os.fstat(fh) if fh is not None else os.lstat(backing + path)
            times = {f"st_{t}": getattr(found, f"st_{t}_ns") for t in ("atime", "mtime", "ctime")}
            return {name: getattr(found, name) for name in _STAT} | times

        def open(self, path: str, flags: int) -> int:
            return os.open(backing + path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_APPEND))

        def create(self, path: str, mode: int) -> int:
            return os.open(backing + path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            os.truncate(fh if fh is not None else backing + path, length)
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            os.fsync(fh)
            return 0

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            return 0

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

        def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
            names = [".", "..", *os.listdir(backing + path)]
            return [(name, _kind(f"{backing}{path}/{name}"), 0) for name in names]

        def readlink(self, path: str) -> str:
            return os.readlink(backing + path)

        def statfs(self, path: str) -> dict[str, int]:
            found = os.statvfs(backing + path)
            return {name: getattr(found, name) for name in (*_STATFS, "f_frsize", "f_namemax")}

        def chmod(self, path: str, mode: int) -> int:
            os.chmod(backing + path, mode)
            return 0

        def chown(self, path: str, uid: int, gid: int) -> int:
            os.lchown(backing + path, uid, gid)
            return 0

        def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
            os.utime(backing + path, ns=times, follow_symlinks=False)
            return 0

        def mkdir(self, path: str, mode: int) -> int:
            os.mkdir(backing + path, mode)
            return 0

        def rmdir(self, path: str) -> int:
            os.rmdir(backing + path)
            return 0

        def unlink(self, path: str) -> int:
            os.unlink(backing + path)
            return 0

        def rename(self, old: str, new: str) -> int:
            os.rename(backing + old, backing + new)
            return 0

        def link(self, target: str, source: str) -> int:
            os.link(backing + source, backing + target)
            return 0

        def symlink(self, target: str, source: str) -> int:
            os.symlink(source, backing + target)
            return 0

    for name in [name for name in vars(Through) if name in fuse.Operations.__dict__]:
        setattr(Through, name, _suffering(name, getattr(Through, name), rules))
    return Through()


def _kind(path: str) -> dict[str, int]:
    """Type and inode of an entry; a listing with inode 0 has no such entry for the kernel."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return {"st_mode": 0, "st_ino": 0}
    return {"st_mode": found.st_mode, "st_ino": found.st_ino}


def _suffering(op: str, act: Callable[..., Any], rules: Rules) -> Callable[..., Any]:
    def met(self: object, path: str, *args: Any) -> Any:
        rules.meet(op, path, len(args[0]) if op == "write" else 0)
        return act(self, path, *args)

    return pass_modes(met) if op == "create" else met


def _serve(backing: str, mount: str, control: str) -> None:
    """Mount, and stay until unmounted."""
    import mfusepy as fuse  # noqa: PLC0415 - as above

    os.umask(0)
    rules = Rules()

    class Ask(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            text = self.rfile.readline().decode().strip()
            self.wfile.write(rules.answer(text).encode())

    server = socketserver.ThreadingUnixStreamServer(control, Ask)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fuse.FUSE(
        through(backing, rules),
        mount,
        foreground=True,
        fsname="brittlefs",
        use_ino=True,
        direct_io=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
        max_threads=THREADS,
    )


class BrittleFS(FuseMount):
    """The test's side of a mount."""

    def __init__(self, directory: Path) -> None:
        self.backing = directory / "backing"
        self.backing.mkdir(exist_ok=True)  # it may be there for several mounts
        super().__init__(directory, "tests.support.brittlefs", self.backing)

    def rules(self, *rules: Rule) -> None:
        """Activate these rules in place of all others; hung calls go on."""
        self._ask(json.dumps([asdict(rule) for rule in rules]))

    def heal(self) -> None:
        """Remove all rules."""
        self.rules()

    def seen(self, number: int = 0) -> int:
        """Return the number of calls that matched a rule."""
        return int(self._ask("")[number]["seen"])

    def written_bytes(self, number: int = 0) -> int:
        """Return the bytes written by calls that matched a rule."""
        return int(self._ask("")[number]["bytes"])

    def wait_for_hit(self, number: int = 0, seconds: float = 60.0) -> None:
        """Wait until a rule matched a call."""
        wait_for(lambda: self._befell(number), seconds, "no call met the rule")

    def _befell(self, number: int) -> bool:
        rule = self._ask("")[number]
        return bool(rule["seen"] > rule["after"])

    def _ask(self, text: str) -> list[dict[str, Any]]:
        with self.connected() as asking:
            asking.sendall(text.encode() + b"\n")
            with asking.makefile("rb") as reply:
                found: list[dict[str, Any]] = json.loads(reply.read())
        return found

    def close(self) -> None:
        """Release hung calls, and unmount."""
        self.heal()
        super().close()


@contextmanager
def mounted(directory: Path) -> Iterator[BrittleFS]:
    """A mount below a directory, until the end of the block."""
    found = BrittleFS(directory)
    try:
        yield found
    finally:
        found.close()


if __name__ == "__main__":
    _serve(*sys.argv[1:4])
