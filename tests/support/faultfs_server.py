"""The process behind `faultfs`: `python faultfs_server.py BACKING MOUNT`, until unmounted."""

import errno
import fnmatch
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import mfusepy

CONTROL = "/.faultfs"
TIMES = ("atime", "mtime", "ctime")
BACKING, MOUNT = sys.argv[1:]


class Faults:
    """The active rules and how often each was applied."""

    def __init__(self) -> None:
        self.text = b"[]"
        self._rules: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def load(self, text: bytes) -> None:
        self.text = text
        with self._lock:
            self._rules = [
                {"op": "*", "path": "*", "seen": 0, "hits": 0, **rule} for rule in json.loads(text)
            ]

    def strike(self, operation: str, path: str, size: int = 0) -> tuple[int, bool]:
        """Fail, wait, or return how many bytes may pass and whether they are corrupted."""
        allowed, spoilt, delay, failure = size, False, 0.0, None
        with self._lock:
            for rule in self._rules:
                if not self._fits(rule, operation, path):
                    continue
                if "space" in rule:
                    allowed = min(allowed, rule["space"])
                    rule["space"] -= allowed
                    failure = rule.get("errno", "ENOSPC") if size and not allowed else failure
                    continue
                rule["hits"] += 1
                delay += rule.get("delay", 0)
                failure = rule.get("errno", failure)
                spoilt = spoilt or rule.get("corrupt", False)
                allowed = min(allowed, rule.get("short", allowed))
        time.sleep(delay)
        if failure:
            number = getattr(errno, failure)
            raise OSError(number, os.strerror(number))
        return allowed, spoilt

    @staticmethod
    def _fits(rule: dict[str, Any], operation: str, path: str) -> bool:
        if not fnmatch.fnmatch(operation, rule["op"]) or not fnmatch.fnmatch(path, rule["path"]):
            return False
        rule["seen"] += 1
        return rule["seen"] > rule.get("after", 0) and rule["hits"] < rule.get("count", 1 << 60)


FAULTS = Faults()


class FaultFS(mfusepy.Operations):
    """Passes through to the backing directory."""

    use_ns = True

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        status = os.fstat(fh) if fh else os.lstat(BACKING + path)
        names = ("mode", "nlink", "size", "uid", "gid", "ino", "blocks", "dev")
        found = {f"st_{name}": getattr(status, f"st_{name}") for name in names}
        times = {f"st_{name}": getattr(status, f"st_{name}_ns") for name in TIMES}
        return found | times

    def open(self, path: str, flags: int) -> int:
        return os.open(BACKING + path, flags & ~(os.O_CREAT | os.O_EXCL))

    def create(self, path: str, mode: int, _info: object = None) -> int:
        return os.open(BACKING + path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        allowed, spoilt = FAULTS.strike("read", path, size)
        data = os.pread(fh, allowed, offset)
        return bytes([data[0] ^ 255]) + data[1:] if spoilt and data else data

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        allowed, _ = FAULTS.strike("write", path, len(data))
        return os.pwrite(fh, data[:allowed], offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(fh or BACKING + path, length)
        return 0

    def flush(self, _path: str, _fh: int) -> int:
        return 0

    def fsync(self, _path: str, _datasync: int, fh: int) -> int:
        os.fsync(fh)
        return 0

    def release(self, _path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def readdir(self, path: str, _fh: int) -> list[str]:
        return [".", "..", *os.listdir(BACKING + path)]

    def readlink(self, path: str) -> str:
        return os.readlink(BACKING + path)

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(BACKING + path, mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.lchown(BACKING + path, uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(BACKING + path, ns=times, follow_symlinks=False)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(BACKING + path, mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(BACKING + path)
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(BACKING + path)
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(BACKING + source, BACKING + target)
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, BACKING + target)
        return 0

    def getxattr(self, _path: str, _name: str, _position: int = 0) -> bytes:
        raise mfusepy.FuseOSError(errno.EOPNOTSUPP)

    def listxattr(self, _path: str) -> list[str]:
        return []


def control(operation: str, *args: Any) -> Any:
    """Answer for the file that takes the rules."""
    if operation == "getattr":
        return {"st_mode": 0o100600, "st_nlink": 1, "st_size": len(FAULTS.text)}
    if operation == "write":
        FAULTS.load(args[1])
        return len(args[1])
    if operation == "read":
        return FAULTS.text
    if operation == "getxattr":
        raise mfusepy.FuseOSError(errno.ENODATA)
    return [] if operation == "listxattr" else 0


def guarded(operation: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: FaultFS, path: str, *args: Any) -> Any:
        if path == CONTROL:
            return control(operation, path, *args)
        if operation not in ("read", "write"):
            FAULTS.strike(operation, path)
        return real(self, path, *args)

    return call


for name, method in list(vars(FaultFS).items()):
    if callable(method):
        setattr(FaultFS, name, guarded(name, method))

mfusepy.FUSE(
    FaultFS(),
    MOUNT,
    foreground=True,
    nothreads=False,
    fsname="faultfs",
    attr_timeout=0,
    entry_timeout=0,
    negative_timeout=0,
    direct_io=True,
)
