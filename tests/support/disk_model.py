"""A file system in memory that knows what of it is on disk: the model of a power failure.

What POSIX promises, and no more:

* the data of a file is on disk after fsync(2), fdatasync(2) or syncfs(2);
* a name is on disk after fsync(2) of its directory or syncfs(2); the attributes of a new inode come
  with its name, its data does not;
* a rename between two directories is one change, on disk with the directory that got the name.

Everything else may be on disk or not. `Disk.crashed` returns the cases worth a look.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

ROOT_INODE = 1
#: At most this many directories with unsynced names are looked at in one crash.
APART_MAX = 4
ANY_MODE = 0o7777


@dataclass(frozen=True, slots=True)
class Node:
    """One version of an inode: `content` is data, the target of a link, or names with inodes."""

    mode: int
    uid: int
    gid: int
    content: bytes | str | Mapping[str, int]
    atime: int
    mtime: int
    ctime: int
    xattrs: tuple[tuple[str, bytes], ...] = ()

    @property
    def names(self) -> dict[str, int]:
        """The names of a directory."""
        if isinstance(self.content, bytes | str):
            raise _error(errno.ENOTDIR)
        return dict(self.content)

    @property
    def data(self) -> bytes:
        """The bytes of a file."""
        if not isinstance(self.content, bytes):
            raise _error(errno.EINVAL)
        return self.content


#: A state of the complete file system, by inode.
State = dict[int, Node]


@dataclass(frozen=True, slots=True)
class _Move:
    inode: int
    source: int
    name: str
    target: int
    new_name: str


@dataclass
class Disk:
    """`now` is what programs see, `safe` what survives when nothing else reached the disk."""

    now: State = field(default_factory=dict)
    safe: State = field(default_factory=dict)
    #: Names and attributes of the last sync of anything: a journal keeps the order of changes.
    journal: State = field(default_factory=dict)
    _moves: list[_Move] = field(default_factory=list)
    _next: int = ROOT_INODE + 1

    def __post_init__(self) -> None:
        if not self.now:
            at = time.time_ns()
            owner = (os.geteuid(), os.getegid())
            self.now[ROOT_INODE] = Node(stat.S_IFDIR | 0o755, *owner, {}, at, at, at)
        self.sync_all()

    # -- What is on disk ---------------------------------------------------------------------------
    def load(self, state: State) -> None:
        """Begin with a state, all of it on disk: the machine starts again."""
        self.now = dict(state)
        self._next = max(state) + 1_000  # a removed inode's number does not come back
        self.sync_all()

    def sync_all(self) -> None:
        """Sync everything."""
        self.safe = dict(self.now)
        self.journal = dict(self.now)
        self._moves.clear()

    def sync(self, inode: int, *, data_only: bool = False) -> None:
        """Sync one inode, or only its data."""
        node = self.now[inode]
        self.journal = dict(self.now)
        if stat.S_ISDIR(node.mode):
            self._sync_directory(inode, node)
            return
        known = self.safe.get(inode)
        self.safe[inode] = replace(known, content=node.content) if data_only and known else node

    def _sync_directory(self, inode: int, node: Node) -> None:
        names = node.names
        known = self.safe[inode].names if inode in self.safe else {}
        for name, child in names.items():
            if child not in self.safe:  # attributes come with the name, data does not
                self.safe[child] = _without_data(self.now[child])
            elif known.get(name) != child:
                self.safe[child] = replace(self.now[child], content=self.safe[child].content)
        for move in list(self._moves):
            if move.target == inode:
                self._complete(move)
            elif move.source == inode and move.name not in names:
                names[move.name] = move.inode
        self.safe[inode] = replace(node, content=names)

    def _complete(self, move: _Move) -> None:
        """Take the old name away on disk, too, and those that the entry had before."""
        if move not in self._moves:
            return
        self._moves.remove(move)
        source = self.safe.get(move.source)
        if source is not None and source.names.get(move.name) == move.inode:
            left = {name: at for name, at in source.names.items() if name != move.name}
            self.safe[move.source] = replace(source, content=left)
        for before in list(self._moves):
            if (before.target, before.new_name) == (move.source, move.name):
                self._complete(before)

    def crashed(self) -> dict[str, State]:
        """Return the states of the disk after a power failure, by what reached it.

        synced: nothing but what was synced. journal: every name and attribute up to the last sync
        of anything, data only where it was synced. ahead: all names, attributes and lengths; data
        that was not synced is zeros. cut: the same, and files end amid that data. all: everything.
        only N: `synced` and the names of one directory. all but N: `ahead` without these names.
        data N: `ahead` and the data of one file that grew since its last sync, as a log does.
        """
        states = {
            "synced": _whole(self.safe),
            "journal": _whole(self._with_data(self.journal, _zeros)),
            "ahead": _whole(self._with_data(self.now, _zeros)),
            "cut": _whole(self._with_data(self.now, _half)),
            "all": _whole(self.now),
        }
        for inode in self._unsynced()[:APART_MAX]:
            apart = Disk(dict(self.now))
            apart.safe, apart._moves = dict(self.safe), list(self._moves)
            apart.sync(inode)
            states[f"only {inode}"] = _whole(apart.safe)
            if not any(inode in {move.target, move.source} for move in self._moves):
                but = self.now | {inode: self.safe.get(inode) or _without_data(self.now[inode])}
                states[f"all but {inode}"] = _whole(self._with_data(but, _zeros))
        for inode in self._grown()[:APART_MAX]:
            ahead = self._with_data(self.now, _zeros)
            states[f"data {inode}"] = _whole(ahead | {inode: self.now[inode]})
        return states

    def _grown(self) -> list[int]:
        """Return the files with data on disk and more that was not synced."""
        return [
            inode
            for inode, node in self.now.items()
            if stat.S_ISREG(node.mode)
            and (safe := self.safe.get(inode)) is not None
            and safe.data
            and safe.data != node.data
        ]

    def _with_data(self, state: State, lost: Any) -> State:
        """Return names and attributes of `state`, each file with its synced data and the rest."""
        return {inode: self._file(inode, node, lost) for inode, node in state.items()}

    def _file(self, inode: int, node: Node, lost: Any) -> Node:
        if not stat.S_ISREG(node.mode):
            return node
        safe = self.safe.get(inode)
        kept = safe.data if safe is not None else b""
        return replace(node, content=node.data if kept == node.data else lost(kept, node.data))

    def _unsynced(self) -> list[int]:
        return [
            inode
            for inode, node in self.now.items()
            if stat.S_ISDIR(node.mode)
            and node.names != (self.safe[inode].names if inode in self.safe else {})
        ]

    # -- Changes -----------------------------------------------------------------------------------
    def find(self, path: str) -> int:
        """Return the inode at a path."""
        inode = ROOT_INODE
        for part in filter(None, path.split("/")):
            names = self.now[inode].names
            if part not in names:
                raise _error(errno.ENOENT)
            inode = names[part]
        return inode

    def parent(self, path: str) -> tuple[int, str]:
        """Return the directory of a path, and the name in it."""
        above, _, name = path.rpartition("/")
        return self.find(above), name

    def change(self, inode: int, **changes: Any) -> None:
        """Change an inode; its ctime is now."""
        self.now[inode] = replace(self.now[inode], ctime=time.time_ns(), **changes)

    def enter(self, path: str, inode: int | None) -> int | None:
        """Give a name another inode, or none; return the inode it had."""
        directory, name = self.parent(path)
        names = self.now[directory].names
        before = names.pop(name, None)
        if inode is not None:
            names[name] = inode
        self.change(directory, content=names, mtime=time.time_ns())
        return before

    def make(self, path: str, mode: int, owner: tuple[int, int], content: Any) -> int:
        """Make an entry."""
        at, inode = time.time_ns(), self._next
        self._next += 1
        self.now[inode] = Node(mode, *owner, content, at, at, at)
        self.enter(path, inode)
        return inode

    def remove(self, path: str) -> None:
        """Take a name away; a directory must be empty."""
        inode = self.find(path)
        node = self.now[inode]
        if stat.S_ISDIR(node.mode) and node.names:
            raise _error(errno.ENOTEMPTY)
        self.enter(path, None)

    def rename(self, old: str, new: str, *, replaces: bool) -> None:
        """Give an entry another path; unless it `replaces`, the new one must be free."""
        inode = self.find(old)
        source, name = self.parent(old)
        target, new_name = self.parent(new)
        there = self.now[target].names.get(new_name)
        if there is not None:
            if not replaces:
                raise _error(errno.EEXIST)
            node = self.now[there]
            if stat.S_ISDIR(node.mode) and node.names:
                raise _error(errno.ENOTEMPTY)
        self.enter(old, None)
        self.enter(new, inode)
        if source != target:
            self._moves.append(_Move(inode, source, name, target, new_name))

    def links(self, inode: int) -> int:
        """Return the number of names of a file."""
        return sum(
            list(node.names.values()).count(inode)
            for node in self.now.values()
            if stat.S_ISDIR(node.mode)
        )


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _without_data(node: Node) -> Node:
    if stat.S_ISDIR(node.mode):
        return replace(node, content={})
    return replace(node, content=b"") if stat.S_ISREG(node.mode) else node


def _zeros(kept: bytes, wanted: bytes) -> bytes:
    """No unsynced write reached the disk, but the length did."""
    return kept[: len(wanted)].ljust(len(wanted), b"\0")


def _half(kept: bytes, wanted: bytes) -> bytes:
    """A file that grew ends amid the new bytes."""
    if not wanted.startswith(kept):
        return _zeros(kept, wanted)
    return wanted[: len(kept) + (len(wanted) - len(kept)) // 2]


def _whole(state: State) -> State:
    """Return what is reachable from the root; a directory that never came to disk is empty."""
    return {inode: state[inode] for inode, _ in walk(state)}


def walk(state: State, inode: int = ROOT_INODE, path: str = "") -> Iterator[tuple[int, str]]:
    """Yield each inode with its paths, from a directory on."""
    yield inode, path
    node = state[inode]
    if stat.S_ISDIR(node.mode):
        for name, child in sorted(node.names.items()):
            yield from walk(state, child, f"{path}/{name}")


def fingerprint(state: State) -> int:
    """Return a number that is equal for trees of equal names, contents, modes and file times."""
    facts = []
    for inode, path in walk(state):
        node = state[inode]
        content = "" if stat.S_ISDIR(node.mode) else node.content
        mtime = node.mtime if stat.S_ISREG(node.mode) else 0
        facts.append((path, inode, node.mode, node.uid, node.gid, mtime, node.xattrs, content))
    return hash(tuple(facts))
