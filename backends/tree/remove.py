"""Delete a tree by descriptor, by helpers; resumable because deleting again is the same.

First everything but directories goes, directory by directory; then the directories, children
first. What resists (an immutable entry that may not be changed, a file some NFS client still
has open, a mount) is named and left, with the directories above it.
"""

import errno
import itertools
import os
import stat
from collections import Counter as Tally
from dataclasses import dataclass, field

from backends.tree.anchor import READ_DIRECTORY, Anchor, file_system, join, split_name
from backends.tree.attributes import unlock
from backends.tree.backlog import Backlog
from backends.tree.channel import Message, Voice
from backends.tree.crew import Crew
from backends.tree.effort import DEFAULT_EFFORT, Effort
from backends.tree.fast import Loops
from core.control import Control, Counter

#: File systems on which parallel unlinks only wait for each other.
HELPERS_ADVISED = {"xfs": 1}
#: A helper tells what it deleted after so many entries, and after each batch.
REPLY_ENTRIES = 4096
#: Most directories handed to a helper at a time.
BATCH_DIRECTORIES = 32
#: How many entries that resist are named.
LEFT_NAMED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveOptions:
    """How to delete. With `keep_root` the directory itself stays, empty."""

    keep_root: bool = False
    effort: Effort = DEFAULT_EFFORT


@dataclass(slots=True)
class Removal:
    """What was deleted by this run, and what resisted."""

    files: int = 0
    directories: int = 0
    size_bytes: int = 0
    left: int = 0
    left_named: list[tuple[str, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return not self.left


def remove_tree(
    parent_fd: int,
    name: str,
    *,
    control: Control,
    options: RemoveOptions = RemoveOptions(),
) -> Removal:
    """Delete the entry `name` of a directory and everything below it; gone already is fine.

    Never follows a link, never enters a mount.

    Raises:
        Interrupted: the control says stop; the rest stays, and a later call goes on.
    """
    removal = Removal()
    try:
        fd = os.open(name, READ_DIRECTORY | os.O_PATH, dir_fd=parent_fd)
    except FileNotFoundError:
        return removal
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent_fd)
        removal.files += 1
        return removal
    _Removing(fd, control, options, removal).run()
    if not options.keep_root and removal.complete:
        control.check()
        os.rmdir(name, dir_fd=parent_fd)
        removal.directories += 1
    return removal


class _Removing:
    """The parent's side; closes `fd` at the end."""

    def __init__(self, fd: int, control: Control, options: RemoveOptions, removal: Removal) -> None:
        self._anchor = Anchor(fd)
        self._control = control
        self._effort = options.effort
        self._size = options.effort.count(HELPERS_ADVISED.get(file_system(fd)))
        self._pending = Backlog()
        self._emptied = Backlog()
        self._awaited: Tally[str] = Tally()
        self._removal = removal

    def run(self) -> None:
        self._pending.push("")
        try:
            with Crew(
                RemoveWork(self._anchor, self._effort.loops),
                self._control,
                effort=self._effort,
                size=self._size,
                own_fds=[self._anchor.fd],
            ) as crew:
                crew.run(self._next_to_empty, self._settle)
                crew.run(self._next_to_drop, self._settle)
        finally:
            self._pending.close()
            self._emptied.close()

    def _next_to_empty(self) -> Message | None:
        share = min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))
        batch: list[str] = []
        while len(batch) < share and (path := self._pending.pop()) is not None:
            batch.append(path)
        return ("empty", batch) if batch else None

    def _next_to_drop(self) -> Message | None:
        """Give emptied directories, none of which has a child that another helper still drops."""
        batch: list[str] = []
        while len(batch) < BATCH_DIRECTORIES and (path := self._emptied.pop()) is not None:
            if self._awaited[path]:
                self._emptied.push(path)
                break
            batch.append(path)
        for path in batch:
            self._awaited[split_name(path)[0]] += 1
        return ("drop", batch) if batch else None

    def _settle(self, reply: Message) -> None:
        files, size_bytes, below, dropped, left, tried = reply
        for path in below:
            self._pending.push(path)
            self._emptied.push(path)
        for path in tried:
            parent = split_name(path)[0]
            self._awaited[parent] -= 1
            if not self._awaited[parent]:
                del self._awaited[parent]
        removal = self._removal
        removal.files += files
        removal.size_bytes += size_bytes
        removal.directories += dropped
        removal.left += len(left)
        removal.left_named += left[: LEFT_NAMED - len(removal.left_named)]
        for path, reason in left:
            self._control.fault(path, reason)
        self._control.count(Counter.DELETED, files + dropped, size_bytes)


class RemoveWork:
    """The helper's side."""

    def __init__(self, anchor: Anchor, loops: Loops) -> None:
        self._anchor = anchor
        self._loops = loops

    def __call__(self, message: Message, voice: Voice) -> Message:
        """Empty or drop a batch of directories."""
        kind, paths = message
        self._begin()
        if kind == "drop":
            self._drop_all(paths)
            return self._reply(paths)
        for path in paths:
            try:
                self._empty(voice, path)
            except OSError as error:
                self._resist(path, error)
        return self._reply([])

    def _begin(self) -> None:
        self._files = self._size_bytes = self._dropped = 0
        self._below: list[str] = []
        self._left: list[tuple[str, str]] = []

    def _reply(self, tried: list[str]) -> Message:
        sums = (self._files, self._size_bytes)
        return (*sums, self._below, self._dropped, self._left, tried)

    def _resist(self, path: str, error: OSError) -> None:
        if error.errno != errno.ENOENT:
            self._left.append((path, error.strerror or str(error)))

    def _empty(self, voice: Voice, path: str) -> None:
        """Unlink everything but directories, a piece of the directory at a time."""
        fd = self._open(path)
        try:
            for count, below, others in self._loops.unlink(fd, voice.flag, many=not voice.limited):
                self._files += count
                voice.pace(count)
                voice.tick()
                self._below += [join(path, name) for name in below]
                for name in others:
                    self._entry(fd, path, name)
                if self._files >= REPLY_ENTRIES:
                    voice.reply(self._reply([]))
                    self._begin()
        finally:
            os.close(fd)

    def _entry(self, fd: int, path: str, name: str) -> None:
        """Unlink what resisted at first, by the full rules."""
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._below.append(join(path, name))
            else:
                self._unlink(fd, name)
                self._files += 1
        except OSError as error:
            self._resist(join(path, name), error)

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
        """Take away what protects an entry: flags on it or on its directory, a missing right."""
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
        """Drop directories; siblings come together and share one opening of their parent."""
        for parent, group in itertools.groupby(paths, key=lambda path: split_name(path)[0]):
            try:
                fd = self._anchor.open(parent)
            except OSError as error:
                self._resist(parent, error)
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
        except OSError as error:
            self._resist(path, error)

    def _rmdir(self, fd: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=fd)
        except PermissionError:
            self._unlock(fd, name)
            os.rmdir(name, dir_fd=fd)
