"""What a helper of a deletion does: clear directories, children first, for a stretch of entries.

Where there are several shards, it returns directories of other shards to the parent. The directory
that contains them is then dropped later, by the parent's order.
"""

import errno
import itertools
import os
import stat
from collections.abc import Iterator

from backends.fs import reason_of
from backends.fs.native import Unlinked
from backends.tree import plain
from backends.tree.allocation_groups import ONE_GROUP, Groups
from backends.tree.fast import Loops
from backends.tree.files import READ_DIRECTORY, Anchor, join, split_name, unlock
from backends.tree.plain import PIECE_ENTRIES
from backends.tree.processes import HelperChannel, Message

#: A helper reports what it deleted after this many entries; under a limit after every piece.
REPLY_ENTRIES = 4096
#: Most directories below another that a helper keeps to itself.
KEPT_DIRECTORIES = 4096
#: A helper returns directories of other shards after this many.
REPLY_DIRECTORIES = 1024


class RemoveWork:
    """The helper's side: processes one batch at a time."""

    def __init__(self, anchor: Anchor, loops: Loops, groups: Groups = ONE_GROUP) -> None:
        self._anchor = anchor
        self._groups = groups
        self._sharded = groups.shards > 1
        self._loops = loops

    def __call__(self, message: Message, channel: HelperChannel) -> Message:
        """Clear or drop a batch of directories and return what was done and what remains."""
        kind, paths, stretch, self._shard = message
        self._channel = channel
        self._begin()
        self._done = 0
        if kind == "drop":
            self._drop_all(paths)
            return self._reply(paths)
        self._todo = [(path, False) for path in reversed(paths)]
        self._stretch = stretch
        while self._todo and self._done < stretch:
            channel.tick()
            path, emptied = self._todo.pop()
            if emptied:
                self._drop_all([path])
            else:
                self._clear(channel, path)
        self._return_rest()
        return self._reply([], self._shard)

    def _begin(self) -> None:
        self._files = self._dropped = 0
        self._below: list[tuple[str, int]] = []
        self._emptied: list[str] = []
        self._failed: list[tuple[str, str]] = []

    def _reply(self, tried: list[str], shard: int | None = None) -> Message:
        sums = (self._below, self._emptied, self._dropped)
        return (self._files, *sums, self._failed, tried, shard)

    def _return_rest(self) -> None:
        """Return to the parent the directories not reached, and those still to be dropped."""
        self._below += [(path, self._shard) for path, emptied in self._todo if not emptied]
        self._emptied += [path for path, emptied in self._todo if emptied]
        self._todo.clear()

    def _clear(self, channel: HelperChannel, path: str) -> None:
        """Empty a directory, and drop it after those below it, unless it is the root."""
        if path and not self._sharded:
            self._todo.append((path, True))
        try:
            self._empty(channel, path)
        except OSError as error:
            self._add_failure(path, error)
        else:
            if path and self._sharded and not self._deep:
                self._drop_all([path])

    def _add_failure(self, path: str, error: OSError) -> None:
        if error.errno != errno.ENOENT:
            self._failed.append((path, reason_of(error)))

    def _empty(self, channel: HelperChannel, path: str) -> None:
        """Unlink everything except directories, one piece of the directory at a time."""
        fd = self._open(path)
        self._deep = False
        try:
            for count, dropped, below, others in self._pieces(fd, channel):
                self._files += count
                self._dropped += dropped
                self._done += count + dropped
                channel.pace(count + dropped)
                channel.tick()
                for name, inode in below:
                    self._add_directory(path, name, inode)
                for name in others:
                    self._entry(fd, path, name)
                if len(self._todo) > KEPT_DIRECTORIES:
                    self._return_rest()
                if self._files >= REPLY_ENTRIES or channel.limited or self._many_below():
                    channel.reply(self._reply([]))
                    self._begin()
        finally:
            os.close(fd)

    def _add_directory(self, path: str, name: str, inode: int) -> None:
        """Keep a directory to clear it next; return one of another shard to the parent."""
        if path and self._sharded and not self._deep:
            self._emptied.append(path)
        self._deep = True
        shard = self._groups.shard(inode)
        if shard == self._shard:
            self._todo.append((join(path, name), False))
        else:
            self._below.append((join(path, name), shard))

    def _many_below(self) -> bool:
        return len(self._below) >= (REPLY_DIRECTORIES if self._sharded else 1)

    def _pieces(self, fd: int, channel: HelperChannel) -> Iterator[Unlinked]:
        """Unlink in big pieces and with small directories; under a limit in what it allows now."""
        if channel.at_once(PIECE_ENTRIES) < PIECE_ENTRIES:
            return plain.unlink(fd, channel.stop_flag, lambda: channel.at_once(PIECE_ENTRIES))
        return self._large_pieces(fd, channel)

    def _large_pieces(self, fd: int, channel: HelperChannel) -> Iterator[Unlinked]:
        """Unlink piece by piece, in smaller ones from the moment when a limit is set."""
        stop, below = channel.stop_flag, self._stretch - self._done
        large = self._loops.unlink(fd, stop, many=True, below=below, groups=self._groups)
        small = self._loops.unlink(fd, stop, many=False) if self._loops.in_c else large
        while (piece := next(small if channel.limited else large, None)) is not None:
            yield piece

    def _entry(self, fd: int, path: str, name: str) -> None:
        """Unlink an entry that the loop could not unlink, by the full rules."""
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._add_directory(path, name, status.st_ino)
            else:
                self._unlink(fd, name)
                self._files += 1
                self._done += 1
        except OSError as error:
            self._add_failure(join(path, name), error)

    def _open(self, path: str) -> int:
        try:
            return self._anchor.open(path)
        except PermissionError:
            fd = self._anchor.open(path, READ_DIRECTORY | os.O_PATH)
            try:
                os.chmod(f"/proc/self/fd/{fd}", stat.S_IRWXU)
            finally:
                os.close(fd)
            return self._anchor.open(path)

    def _unlink(self, fd: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=fd)
        except PermissionError:
            self._unlock(fd, name)
            os.unlink(name, dir_fd=fd)

    def _unlock(self, directory: int, name: str) -> None:
        """Lift what protects an entry: flags on it or on its directory, a missing right."""
        unlock(directory)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=directory)
            try:
                unlock(fd)
            finally:
                os.close(fd)
        if os.geteuid() == os.fstat(directory).st_uid:
            os.fchmod(directory, stat.S_IRWXU)

    def _drop_all(self, paths: list[str]) -> None:
        """Drop directories; siblings come together, so that their parent is opened once."""
        for parent, group in itertools.groupby(paths, key=lambda path: split_name(path)[0]):
            try:
                fd = self._anchor.open(parent)
            except OSError as error:
                self._add_failure(parent, error)
                continue
            try:
                for path in group:
                    self._drop(fd, path)
            finally:
                os.close(fd)

    def _drop(self, fd: int, path: str) -> None:
        try:
            self._rmdir(fd, split_name(path)[1])
            self._dropped += 1
            self._done += 1
            self._channel.pace(1)
        except OSError as error:
            self._add_failure(path, error)

    def _rmdir(self, fd: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=fd)
        except PermissionError:
            self._unlock(fd, name)
            os.rmdir(name, dir_fd=fd)
