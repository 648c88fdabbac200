"""A FUSE file system with the ioctls of a Lustre client: project ids, their limits and counts.

Written from Lustre's public header <linux/lustre/lustre_user.h> and <linux/fs.h>, not from our
client. It is strict: an unknown command, type or target is refused. Entries inherit the id of
their directory, a rename across ids fails with EXDEV, and a write past a limit with EDQUOT where
the state says that the servers enforce limits. The state travels by a socket, as JSON:

    enforced    who is stopped at a limit: "all", "not root" or "none"
    error       the errno of every call about limits (name), "" for none
    squashed    whether the server takes root for a user without rights
    missing     figures that no answer has: of "limits", "space", "inodes"
    projects    whether the client has ids of projects by ioctl
    quota       whether it has LL_IOC_QUOTACTL
"""

# ruff: noqa: ARG002 - the signatures are the library's

import ctypes
import errno
import json
import os
import socketserver
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.brittlefs import Rules, through
from tests.support.fuse_mount import FuseMount, pass_modes

GET_XATTR, SET_XATTR, INHERIT = 0x801C581F, 0x401C5820, 0x200
FSXATTR = struct.Struct("=IIIII8x")
QUOTACTL = 0xC0B066A2
#: cmd, type, id, stat, valid, idx; bgrace, igrace, flags, valid; the block; obd_type, obd_uuid.
IF_QUOTACTL = struct.Struct("=6I 2Q2I 8Q2I 16s40s")
BLOCK = slice(10, 20)
GET, SET, PROJECTS = 0x800007, 0x800008, 2
BITS = {"limits": 1 | 4, "space": 2, "inodes": 8}
ALL_BITS = 0x3F
#: A linux errno that is not in <errno.h> of libc: an unknown command.
ENOTSUPP = 524
DEFAULTS: dict[str, Any] = {
    "enforced": "all",
    "error": "",
    "squashed": False,
    "missing": [],
    "projects": True,
    "quota": True,
}


def _fail(number: int) -> None:
    raise OSError(number, "refused")


class Projects:
    """Ids of inodes, and the limits of ids: hard and soft, of KiB and of inodes."""

    def __init__(self, backing: str) -> None:
        self.backing = backing
        self.state = dict(DEFAULTS)
        self.limits: dict[int, list[int]] = {}
        self.calls = 0
        self._ids: dict[int, tuple[int, bool]] = {}

    def of(self, path: str) -> tuple[int, bool]:
        """The id of an entry, and whether what is made in it inherits that."""
        return self._ids.get(os.lstat(self.backing + path).st_ino, (0, False))

    def give(self, path: str, project: int, *, inherits: bool) -> None:
        """Set the id of an entry."""
        self._ids[os.lstat(self.backing + path).st_ino] = (project, inherits)

    def inherit(self, path: str) -> None:
        """Give a new entry the id of its directory."""
        project, inherits = self.of(os.path.dirname(path))
        if inherits:
            self.give(path, project, inherits=os.path.isdir(self.backing + path))
        else:
            self._ids.pop(os.lstat(self.backing + path).st_ino, None)

    def counted(self, project: int) -> tuple[int, int]:
        """Bytes and inodes of an id."""
        space = inodes = 0
        for here, names, files in os.walk(self.backing):
            for name in [*names, *files]:
                status = os.lstat(os.path.join(here, name))
                if self._ids.get(status.st_ino, (0, False))[0] == project:
                    space, inodes = space + status.st_blocks * 512, inodes + 1
        return space, inodes

    def meet_limit(self, path: str, size: int, user: int) -> None:
        """Stop a writer that passes the limit of the entry's id."""
        project, _ = self.of(path)
        hard = self.limits.get(project, [0])[0]
        held = {"all": True, "not root": user != 0, "none": False}[self.state["enforced"]]
        if project and hard and held and self.counted(project)[0] + size > hard << 10:
            _fail(errno.EDQUOT)

    def quotactl(self, content: bytes, user: int) -> bytes:
        """LL_IOC_QUOTACTL."""
        self.calls += 1
        fields = list(IF_QUOTACTL.unpack(content))
        command, kind, project, _, target, _ = fields[:6]
        if self.state["error"]:
            _fail(getattr(errno, self.state["error"]))
        if command not in (GET, SET):
            _fail(ENOTSUPP)
        if kind != PROJECTS or target != 0 or project == 0:
            _fail(errno.EINVAL)
        if command == SET:
            self._set(project, fields[BLOCK], user)
        else:
            fields[BLOCK] = self._block(project)
        return IF_QUOTACTL.pack(*fields)

    def _set(self, project: int, block: list[int], user: int) -> None:
        if user != 0 or self.state["squashed"]:
            _fail(errno.EPERM)
        hard, soft, _, inode_hard, inode_soft, *_, valid, _ = block
        held = self.limits.setdefault(project, [0, 0, 0, 0])
        for bit, at, limits in ((1, 0, (hard, soft)), (4, 2, (inode_hard, inode_soft))):
            if valid & bit:
                if limits[0] and limits[1] > limits[0]:
                    _fail(errno.EINVAL)
                held[at : at + 2] = limits

    def _block(self, project: int) -> list[int]:
        hard, soft, inode_hard, inode_soft = self.limits.get(project, [0] * 4)
        space, inodes = self.counted(project)
        valid = ALL_BITS
        for name in self.state["missing"]:
            valid &= ~BITS[name]
        if "limits" in self.state["missing"]:
            hard = soft = inode_hard = inode_soft = 0
        if "space" in self.state["missing"]:
            space //= 2
        return [hard, soft, space, inode_hard, inode_soft, inodes, 0, 0, valid, 0]


def _operations(projects: Projects) -> object:  # noqa: C901 - one call after another
    import mfusepy as fuse  # noqa: PLC0415 - loads libfuse: only in the process that mounts

    below: Any = type(through(projects.backing, Rules()))

    def user() -> int:
        return int(fuse.fuse_get_context()[0])

    class Lustre(below):  # type: ignore[misc] # made in a function
        """The directory behind, with ids."""

        def ioctl(  # noqa: PLR0917 - as the library calls it
            self, path: str, cmd: int, arg: object, fh: int, flags: int, data: ctypes.c_void_p
        ) -> int:
            number = cmd & 0xFFFF_FFFF
            if number == QUOTACTL and projects.state["quota"]:
                given = ctypes.string_at(data, IF_QUOTACTL.size)
                ctypes.memmove(data, projects.quotactl(given, user()), IF_QUOTACTL.size)
            elif number in (GET_XATTR, SET_XATTR) and projects.state["projects"]:
                self._xattr(path, number, data)
            else:
                _fail(errno.ENOTTY)
            return 0

        def _xattr(self, path: str, number: int, data: ctypes.c_void_p) -> None:
            if number == GET_XATTR:
                project, inherits = projects.of(path)
                found = FSXATTR.pack(INHERIT if inherits else 0, 0, 0, project, 0)
                ctypes.memmove(data, found, FSXATTR.size)
                return
            if user() != 0:
                _fail(errno.EPERM)
            flags, _, _, project, _ = FSXATTR.unpack(ctypes.string_at(data, FSXATTR.size))
            projects.give(path, project, inherits=bool(flags & INHERIT))

        def create(self, path: str, mode: int) -> Any:
            found = below.create(self, path, mode)
            projects.inherit(path)
            return found

        create = pass_modes(create)

        def mkdir(self, path: str, mode: int) -> Any:
            below.mkdir(self, path, mode)
            projects.inherit(path)
            return 0

        def write(self, path: str, data: bytes, offset: int, fh: int) -> Any:
            projects.meet_limit(path, len(data), user())
            return below.write(self, path, data, offset, fh)

        def rename(self, old: str, new: str) -> Any:
            project, inherits = projects.of(os.path.dirname(new))
            if inherits and projects.of(old)[0] != project:
                _fail(errno.EXDEV)
            return below.rename(self, old, new)

    return Lustre()


def _serve(backing: str, mount: str, control: str) -> None:
    """Mount, and stay until unmounted."""
    import mfusepy as fuse  # noqa: PLC0415 - as above

    os.umask(0)
    projects = Projects(backing)

    class Ask(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            wanted = json.loads(self.rfile.readline())
            for number, limits in wanted.pop("limits", {}).items():
                projects.limits[int(number)] = limits
            projects.state |= wanted
            kept = {key: value for key, value in projects.limits.items() if any(value)}
            answer = {"limits": kept, "calls": projects.calls}
            self.wfile.write(json.dumps(answer).encode())

    server = socketserver.ThreadingUnixStreamServer(control, Ask)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fuse.FUSE(
        _operations(projects),
        mount,
        foreground=True,
        fsname="lustre",
        allow_other=True,
        use_ino=True,
        direct_io=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
    )


class LustreFS(FuseMount):
    """The test's side of a mount."""

    def __init__(self, directory: Path) -> None:
        backing = directory / "backing"
        backing.mkdir()
        super().__init__(directory, "tests.support.lustrefs", backing)

    def change(self, **state: Any) -> dict[str, Any]:
        """Let the file system be so from now on; return its limits, and the number of calls."""
        with self.connected() as asking:
            asking.sendall(json.dumps(state).encode() + b"\n")
            with asking.makefile("rb") as reply:
                found: dict[str, Any] = json.loads(reply.read())
        return found

    @property
    def limits(self) -> dict[int, list[int]]:
        """KiB and inodes that are stored: hard and soft of each."""
        return {int(key): value for key, value in self.change()["limits"].items()}

    @property
    def calls(self) -> int:
        """How often limits or counts were asked for or set."""
        return int(self.change()["calls"])


@contextmanager
def mounted(directory: Path) -> Iterator[LustreFS]:
    """A mount below a directory, until the end of the block."""
    found = LustreFS(directory)
    try:
        yield found
    finally:
        found.close()


if __name__ == "__main__":
    _serve(*sys.argv[1:4])
