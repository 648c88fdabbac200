"""Builds the trees that tests copy, delete, measure and compare."""

import fcntl
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Protocol

#: POSIX ACL with a named user, as Linux keeps it in an xattr (acl(5); version 2, little endian).
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, perm, who)
    for tag, perm, who in [
        (0x01, 7, 0xFFFFFFFF),
        (0x02, 5, 1234),
        (0x04, 5, 0xFFFFFFFF),
        (0x10, 5, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    ]
)
FS_IOC_SETFLAGS = 0x40086602
IMMUTABLE = 0x10


class Opener(Protocol):
    """Opens a directory as callers of the engine do."""

    def __call__(self, path: Path) -> int: ...


def immutable(path: Path, *, on: bool) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", IMMUTABLE if on else 0))
    finally:
        os.close(fd)


def bytes_path(root: Path, name: bytes) -> Path:
    return root / os.fsdecode(name)


def hostile(root: Path, *, acls: bool = True) -> Path:
    """Make a tree with everything that copies often get wrong, and return its root.

    Pass `acls=False` for a file system without ACLs.
    """
    root.mkdir(exist_ok=True)
    for name in ("plain", "deep/er/still", "empty"):
        (root / name).mkdir(parents=True)
    (root / "plain/file").write_bytes(b"x" * 5000)
    (root / "plain/zero").write_bytes(b"")
    (root / "plain/medium").write_bytes(os.urandom(300_000))
    bytes_path(root, b"not\xffutf8").write_text("bytes")
    (root / "new\nline").write_text("line")
    (root / ("n" * 255)).write_text("long")
    (root / "-rf").write_text("dash")
    _links(root)
    if acls:
        _acls(root)
    _attributes(root)
    _holes(root)
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)
        listener.bind("socket")
        os.chdir(here)
    _times(root)
    return root


def _links(root: Path) -> None:
    (root / "out").symlink_to("../../../../../../etc/passwd")
    (root / "absolute").symlink_to("/etc")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("..")
    for name in ("hard1", "plain/hard2", "deep/er/hard3"):
        if name == "hard1":
            (root / name).write_text("many names")
        else:
            os.link(root / "hard1", root / name)


def _acls(root: Path) -> None:
    (root / "acl").write_text("acl")
    os.setxattr(root / "acl", "system.posix_acl_access", ACL)
    os.setxattr(root / "deep/er", "system.posix_acl_default", ACL)


def _attributes(root: Path) -> None:
    (root / "suid").write_text("suid")
    (root / "closed").write_text("closed")
    (root / "xattrs").write_text("x")
    os.setxattr(root / "xattrs", "user.note", b"v" * 1000)
    os.setxattr(root / "xattrs", "user.empty", b"")
    os.setxattr(root / "deep", "user.dir", b"d")
    if os.geteuid() == 0:
        os.chown(root / "suid", 1234, 4321)
        os.chown(root / "dangling", 1234, 4321, follow_symlinks=False)
        os.chown(root / "empty", 1234, 4321)
    (root / "suid").chmod(0o6755)
    (root / "empty").chmod(0o3777)
    (root / "closed").chmod(0)
    (root / "deep/er/still").chmod(0o500)


def _holes(root: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"middle")
        file.truncate(20_000_000)
    with (root / "all-hole").open("wb") as file:
        file.truncate(3_000_000)


def _times(root: Path) -> None:
    for directory, _, names in os.walk(root, topdown=False):
        for number, name in enumerate([*names, "."]):
            when = 1_000_000_000_123_456_789 + number
            path = Path(directory) / name
            os.utime(path, ns=(when, when), follow_symlinks=False)


def plain(root: Path, files: int = 20) -> None:
    """Write files of other lengths and times into three directories."""
    for number in range(files):
        path = root / f"{number % 3}/{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(1000 * number))
        os.utime(path, (number, 10**9 + number))


def deep(root: Path, levels: int = 60) -> None:
    """Make nested directories until the path is far longer than PATH_MAX."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    leaf = os.open("leaf", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd)
    os.write(leaf, b"leaf")
    os.close(leaf)
    os.close(fd)


def is_special(mode: int) -> bool:
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
