"""The process behind `crashfs`: a disk in memory, mounted, and the cuts that were taken of it."""

# ruff: noqa: ARG002 - the signatures are the library's

import errno
import os
import pickle
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.crashfs import SYNC_MARK, Cut, Watched, dump, store
from tests.support.disk_model import Disk, State, fingerprint
from tests.support.fuse_mount import pass_modes

_RENAME_NOREPLACE = 1
_UTIME_NOW = (1 << 30) - 1
_UTIME_OMIT = (1 << 30) - 2
_BLOCK_BYTES = 4096
_SECTOR_BYTES = 512
_CAPACITY_BLOCKS = 1 << 28
_SYNCS = ("fsync", "fsyncdir", "syncfs")


class _Recorder:
    """The disk, and the cuts that were taken of it; in the process of the file system."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.disk = Disk()
        self._cuts: list[Cut] = []
        self._known: set[tuple[int, tuple[str | None, ...]]] = set()
        self._watched: list[Watched] = []
        self._mark = ""
        self._url = ""
        self._every = 1
        self._number = 0
        self._after_sync = False

    def meet(self, op: str, path: str) -> None:
        """Take a cut before a call that changes something, when it is due."""
        if not self._url:
            return
        self._number += 1
        is_sync = op in _SYNCS
        if is_sync or self._after_sync or self._number % self._every == 0:
            self._cut(f"{op} {path}")
        self._after_sync = is_sync

    def _cut(self, call: str) -> None:
        promised = (*(self._value(*one) for one in self._watched), self._mark)
        states = {}
        for name, state in self.disk.crashed().items():
            known = (fingerprint(state), promised)
            if known not in self._known:
                self._known.add(known)
                states[name] = state
        if states:
            self._cuts.append(Cut(self._number, call, states, dump(self._url), promised))

    def _value(self, database: int, key: str, member: str) -> str | None:
        with store(f"{self._url}/{database}") as client:
            found = client.hget(key, member) if member else client.get(key)
        return str(found.decode() if isinstance(found, bytes) else found)

    def answer(self, verb: str, *args: Any) -> Any:
        """Do what the test's side asks."""
        with self.lock:
            return getattr(self, f"_{verb}")(*args)

    def _record(self, url: str, watched: list[Watched], every: int) -> None:
        self.disk.sync_all()
        self._url, self._every, self._number, self._after_sync = url, every, 0, False
        self._cuts, self._known, self._watched, self._mark = [], set(), watched, ""

    def _mark_with(self, text: str) -> None:
        self._mark = text

    def _end(self) -> list[Cut]:
        self._cut("the end")
        self._url = ""
        return self._cuts

    def _load(self, state: State) -> None:
        self._url = ""
        self.disk.load(state)

    def _now(self) -> State:
        return dict(self.disk.now)


def _operations(recorder: _Recorder) -> Any:  # noqa: C901 - one call after another
    import mfusepy as fuse  # noqa: PLC0415 - loads libfuse: only in the process that mounts

    disk = recorder.disk

    class InMemory(fuse.Operations):  # type: ignore[misc] # the library brings no types
        """The calls of the kernel on the disk."""

        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            inode = fh or disk.find(path)
            node = disk.now[inode]
            size = len(node.content)
            return {
                "st_ino": inode,
                "st_mode": node.mode,
                "st_nlink": disk.links(inode) if stat.S_ISREG(node.mode) else 2,
                "st_uid": node.uid,
                "st_gid": node.gid,
                "st_size": size,
                "st_blocks": -(-size // _SECTOR_BYTES),
                "st_atime": node.atime,
                "st_mtime": node.mtime,
                "st_ctime": node.ctime,
            }

        def open(self, path: str, flags: int) -> int:
            inode = disk.find(path)
            if flags & os.O_TRUNC:  # the kernel leaves that to this call
                self.truncate(path, 0, inode)
            return inode

        def opendir(self, path: str) -> int:
            return disk.find(path)

        def create(self, path: str, mode: int) -> int:
            return disk.make(path, stat.S_IFREG | mode & 0o7777, _owner(fuse), b"")

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return disk.now[fh].data[offset : offset + size]

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            known = disk.now[fh].data
            before = known[:offset].ljust(offset, b"\0")
            content = before + data + known[offset + len(data) :]
            disk.change(fh, content=content, mtime=time.time_ns())
            return len(data)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            inode = fh or disk.find(path)
            content = disk.now[inode].data[:length].ljust(length, b"\0")
            disk.change(inode, content=content, mtime=time.time_ns())
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            disk.sync(fh, data_only=bool(datasync))
            return 0

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            disk.sync(fh)
            return 0

        def release(self, path: str, fh: int) -> int:
            return 0

        def releasedir(self, path: str, fh: int) -> int:
            return 0

        def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
            names = disk.now[fh].names | {".": fh, "..": fh}
            return [
                (name, {"st_mode": disk.now[inode].mode, "st_ino": inode}, 0)
                for name, inode in names.items()
            ]

        def readlink(self, path: str) -> str:
            return str(disk.now[disk.find(path)].content)

        def statfs(self, path: str) -> dict[str, int]:
            blocks = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail"), _CAPACITY_BLOCKS)
            return blocks | {"f_bsize": _BLOCK_BYTES, "f_frsize": _BLOCK_BYTES, "f_namemax": 255}

        def chmod(self, path: str, mode: int) -> int:
            inode = disk.find(path)
            disk.change(inode, mode=stat.S_IFMT(disk.now[inode].mode) | stat.S_IMODE(mode))
            return 0

        def chown(self, path: str, uid: int, gid: int) -> int:
            inode = disk.find(path)
            node, unset = disk.now[inode], (-1, 0xFFFFFFFF)
            uid = node.uid if uid in unset else uid
            disk.change(inode, uid=uid, gid=node.gid if gid in unset else gid)
            return 0

        def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
            inode = disk.find(path)
            node = disk.now[inode]
            atime, mtime = times or (_UTIME_NOW, _UTIME_NOW)
            disk.change(inode, atime=_time(atime, node.atime), mtime=_time(mtime, node.mtime))
            return 0

        def mkdir(self, path: str, mode: int) -> int:
            disk.make(path, stat.S_IFDIR | mode & 0o7777, _owner(fuse), {})
            return 0

        def rmdir(self, path: str) -> int:
            disk.remove(path)
            return 0

        def unlink(self, path: str) -> int:
            disk.remove(path)
            return 0

        def rename(self, old: str, new: str, flags: int = 0) -> int:
            if flags & ~_RENAME_NOREPLACE:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            disk.rename(old, new, replaces=not flags)
            return 0

        def link(self, target: str, source: str) -> int:
            disk.enter(target, disk.find(source))
            return 0

        def symlink(self, target: str, source: str) -> int:
            disk.make(target, stat.S_IFLNK | 0o777, _owner(fuse), source)
            return 0

        def setxattr(
            self, path: str, name: str, value: bytes, options: int, position: int = 0
        ) -> int:
            if name.startswith("system."):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            inode = disk.find(path)
            disk.change(inode, xattrs=(*_others(disk, inode, name), (name, value)))
            return 0

        def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
            for known, value in disk.now[disk.find(path)].xattrs:
                if known == name:
                    return value
            number = errno.EOPNOTSUPP if name.startswith("system.") else errno.ENODATA
            raise OSError(number, os.strerror(number))

        def listxattr(self, path: str) -> list[str]:
            return [name for name, _ in disk.now[disk.find(path)].xattrs]

        def removexattr(self, path: str, name: str) -> int:
            self.getxattr(path, name)
            inode = disk.find(path)
            disk.change(inode, xattrs=_others(disk, inode, name))
            return 0

    for name in _CHANGES:
        setattr(InMemory, name, _recorded(name, getattr(InMemory, name), recorder))
    return InMemory()


_CHANGES = (
    "create",
    "write",
    "truncate",
    "fsync",
    "fsyncdir",
    "chmod",
    "chown",
    "utimens",
    "mkdir",
    "rmdir",
    "unlink",
    "rename",
    "link",
    "symlink",
    "setxattr",
    "removexattr",
)


def _time(wanted: int, known: int) -> int:
    """Return what a number of nanoseconds means to utimensat(2)."""
    if wanted == _UTIME_NOW:
        return time.time_ns()
    return known if wanted == _UTIME_OMIT else wanted


def _others(disk: Disk, inode: int, name: str) -> tuple[tuple[str, bytes], ...]:
    return tuple(pair for pair in disk.now[inode].xattrs if pair[0] != name)


def _owner(fuse: Any) -> tuple[int, int]:
    uid, gid, _ = fuse.fuse_get_context()
    return uid, gid


def _recorded(op: str, act: Callable[..., Any], recorder: _Recorder) -> Callable[..., Any]:
    def met(self: object, path: str, *args: Any) -> Any:
        with recorder.lock:
            if op == "setxattr" and args[0] == SYNC_MARK:
                recorder.meet("syncfs", "")
                recorder.disk.sync_all()
                return 0
            recorder.meet(op, path)
            return act(self, path, *args)

    return pass_modes(met) if op == "create" else met


def _serve(mount: str, control: str) -> None:
    """Mount, and stay until unmounted."""
    import mfusepy as fuse  # noqa: PLC0415 - as above

    recorder = _Recorder()

    class Ask(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            pickle.dump(recorder.answer(*pickle.load(self.rfile)), self.wfile)  # noqa: S301 - ours

    class Mount(fuse.FUSE):  # type: ignore[misc] # the library brings no types
        def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:  # it drops the flags
            names = (path.decode(self.encoding, self.errors) for path in (old, new))
            done: int = self.operations.rename(*names, flags)
            return done

    server = socketserver.ThreadingUnixStreamServer(control, Ask)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Mount(
        _operations(recorder),
        mount,
        foreground=True,
        nothreads=True,
        fsname="crashfs",
        use_ino=True,
        hard_remove=True,
        direct_io=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
    )


if __name__ == "__main__":
    _serve(*sys.argv[1:3])
