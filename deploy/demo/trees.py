"""Real files for the demonstration, and an independent comparison of two trees.

The comparison shares no code with the engine that copies. It reads both trees with plain calls and
compares kinds, modes, owners, times to the nanosecond, link targets, hard links and content.
"""

import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from deploy.demo.show import DemoFailed

#: Number of added hard links and symbolic links: an environment of pip has few.
LINKS = 200
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Count:
    """Contents of a tree. Hard-linked files count once per name, their bytes only once."""

    files: int
    directories: int
    symlinks: int
    hard_links: int
    size_bytes: int


def pack(tree: Path, archive: Path) -> None:
    """Write one big file: the complete tree as an uncompressed archive."""
    with tarfile.open(archive, "w") as file:
        file.add(tree, arcname=tree.name)


def place(tree: Path, target: Path) -> None:
    """Copy the tree with cp(1) to a directory below `target`, and add links of both kinds.

    Raises:
        DemoFailed: cp(1) is missing or failed.
    """
    command = ["cp", "-a", "--", str(tree), str(target / "tree")]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise DemoFailed("cp is not installed.") from error
    except subprocess.CalledProcessError as error:
        raise DemoFailed(f"cp could not copy the tree: {error.stderr.strip()}") from error
    links = target / "links"
    links.mkdir()
    for number, path in enumerate(islice(_files(target / "tree"), LINKS)):
        (links / f"hard-{number}").hardlink_to(path)
        (links / f"soft-{number}").symlink_to(os.path.relpath(path, links))
    (links / "dangling").symlink_to("nowhere")


def _files(top: Path) -> Iterator[Path]:
    return (path for path in sorted(top.rglob("*.py")) if path.is_file() and not path.is_symlink())


def count(top: Path) -> Count:
    """Return the counts of everything below a directory."""
    facts = _facts(top)
    kinds = [stat.S_IFMT(one.mode) for one in facts.values()]
    inodes = {one.inode: one.size_bytes for one in facts.values() if stat.S_ISREG(one.mode)}
    files = kinds.count(stat.S_IFREG)
    return Count(
        files=files,
        directories=kinds.count(stat.S_IFDIR),
        symlinks=kinds.count(stat.S_IFLNK),
        hard_links=files - len(inodes),
        size_bytes=sum(inodes.values()),
    )


@dataclass(frozen=True, slots=True)
class _Fact:
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    size_bytes: int
    target: str
    inode: int


def _facts(top: Path) -> dict[str, _Fact]:
    found = {}
    for directory, names, files in os.walk(top):
        for name in (*names, *files):
            path = Path(directory, name)
            found[str(path.relative_to(top))] = _fact(path)
    return found


def _fact(path: Path) -> _Fact:
    status = path.lstat()
    link = stat.S_ISLNK(status.st_mode)
    return _Fact(
        mode=status.st_mode,
        owner=(status.st_uid, status.st_gid),
        mtime_ns=status.st_mtime_ns,
        size_bytes=status.st_size if stat.S_ISREG(status.st_mode) else 0,
        target=str(path.readlink()) if link else "",
        inode=status.st_ino,
    )


def differences(one: Path, other: Path) -> Iterator[str]:
    """Return every difference between two trees, one sentence each."""
    left, right = _facts(one), _facts(other)
    yield from (f"{name}: missing" for name in left.keys() - right.keys())
    yield from (f"{name}: was not there before" for name in right.keys() - left.keys())
    for name in left.keys() & right.keys():
        yield from _unlike(name, left[name], right[name])
        if stat.S_ISREG(left[name].mode) and not _same_bytes(one / name, other / name):
            yield f"{name}: the content differs"
    if _groups(left) != _groups(right):
        yield "hard links do not join the same names"


def _unlike(name: str, left: _Fact, right: _Fact) -> Iterator[str]:
    for what in ("mode", "owner", "mtime_ns", "size_bytes", "target"):
        if getattr(left, what) != getattr(right, what):
            yield f"{name}: {what} is {getattr(right, what)}, was {getattr(left, what)}"


def _groups(facts: dict[str, _Fact]) -> set[frozenset[str]]:
    names: dict[int, set[str]] = {}
    for name, fact in facts.items():
        if stat.S_ISREG(fact.mode):
            names.setdefault(fact.inode, set()).add(name)
    return {frozenset(group) for group in names.values()}


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb", buffering=0) as left, other.open("rb", buffering=0) as right:
        while chunk := left.read(_READ_BYTES):
            if chunk != right.read(_READ_BYTES):
                return False
        return not right.read(1)
