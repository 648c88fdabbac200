"""A file system in memory whose disk can be looked at as if the power had failed at any call.

    with mounted(tmp_path) as volume:
        volume.record(valkey.url, [], every=5)
        …
        for cut in volume.cuts():
            volume.start_again(cut.states["synced"])

The kernel sends FUSE_FSYNC and FUSE_FSYNCDIR, but FUSE_SYNCFS only for virtiofs and fuseblk. So
`syncfs_marks` puts a call behind syncfs(2) of this process and those it forks: it sets an extended
attribute, which the file system takes as the mark. Each cut has a copy of the store of that moment.
"""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from redis import ConnectionPool, Redis

from backends.fs import linux
from tests.support.disk_model import State
from tests.support.fuse_mount import FuseMount

#: Setting this attribute of anything is a call of syncfs(2).
SYNC_MARK = "user.crashfs.syncfs"
#: A value of the store: database, key, and the field of a hash or nothing.
Watched = tuple[int, str, str]
#: Content of a store: by database and key, the value and its time to live (ms).
Dump = dict[int, dict[bytes, tuple[bytes, int]]]


@dataclass(frozen=True, slots=True)
class Cut:
    """The power fails before a call: what the disk may have, and what the store has."""

    number: int
    call: str
    states: dict[str, State]
    store: Dump
    #: What the store had promised, as `record` was asked to watch, and the test's own mark.
    promised: tuple[str | None, ...]


@cache
def _pool(url: str) -> ConnectionPool:
    return ConnectionPool.from_url(url)


def store(url: str) -> Redis:
    """Return a client; its connections stay open for the next one, since a new one is dear."""
    return Redis(connection_pool=_pool(url))


def dump(url: str) -> Dump:
    """Return the content of a store."""
    found: Dump = {}
    with store(url) as client:
        for name in client.info("keyspace"):  # type: ignore[union-attr] # a synchronous client
            database = int(str(name).removeprefix("db"))
            with store(f"{url}/{database}") as one:
                keys = sorted(one.scan_iter(count=1000))
                pipe = one.pipeline(transaction=True)
                for key in keys:
                    pipe.dump(key).pttl(key)
                values = pipe.execute()
            pairs = zip(values[::2], values[1::2], strict=True)
            found[database] = {k: pair for k, pair in zip(keys, pairs, strict=True) if pair[0]}
    return found


def refill(url: str, content: Dump) -> None:
    """Give a store this content and no other."""
    with store(url) as client:
        client.flushall()
    for database, values in content.items():
        with store(f"{url}/{database}") as one, one.pipeline(transaction=True) as pipe:
            for key, (value, left_ms) in values.items():
                pipe.restore(key, max(0, left_ms), value)
            pipe.execute()


class CrashFS(FuseMount):
    """The test's side of a mount."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "tests.support.crashfs_server")

    def record(self, store_url: str, watched: list[Watched], every: int) -> None:
        """Call everything synced, and begin to take cuts; equal ones are taken once."""
        self._ask("record", store_url, watched, every)

    def mark(self, text: str) -> None:
        """Note in the cuts from now on what a client knows."""
        self._ask("mark_with", text)

    def cuts(self) -> list[Cut]:
        """End the record with a last cut, and return all."""
        found: list[Cut] = self._ask("end")
        return found

    def now(self) -> State:
        """Return the present state."""
        found: State = self._ask("now")
        return found

    def start_again(self, state: State) -> None:
        """Let the machine start with this disk."""
        self._ask("load", state)

    def _ask(self, *words: Any) -> Any:
        with self.connected() as asking, asking.makefile("rwb") as channel:
            pickle.dump(words, channel)
            channel.flush()
            return pickle.load(channel)  # noqa: S301 - our own process

    def close(self) -> None:
        """Unmount; what the process said is a fault."""
        super().close()
        assert not (said := self._log.read_text()), said  # the library hides exceptions


@contextmanager
def mounted(directory: Path) -> Iterator[CrashFS]:
    """A mount below a directory, until the end of the block."""
    found = CrashFS(directory)
    try:
        yield found
    finally:
        found.close()


def syncfs_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each syncfs(2) of this process and its helpers reach the file system."""
    real = linux._libc.syncfs

    def syncfs(fd: int) -> int:
        done: int = real(fd)
        os.setxattr(fd, SYNC_MARK, b"")
        return done

    monkeypatch.setattr(linux._libc, "syncfs", syncfs)
