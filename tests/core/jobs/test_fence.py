"""The fence: one run at a time holds it, and its helpers hold it until they end."""

import fcntl
import os
from pathlib import Path

import psutil
import pytest

from backends.tree import Effort, Throttle, UsageOptions, measure_tree
from core.jobs import Cancelled, Counter, Unattended
from core.names import QuotaScope
from workers.run import Manifest
from workers.run.manifest import flock

#: Operations per second: otherwise a short tree is done before a helper is started.
OPERATIONS = 1000
SCOPE = QuotaScope.parse("user:00000000-0000-0000-0000-000000000001")


class Patience(Unattended):
    """Stops after a number of checks."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("enough")


def open_manifest(root: Path, control: Unattended) -> Manifest:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return Manifest(descriptor, SCOPE, "job", lambda fd: flock(fd, control, lambda _s: None))
    finally:
        os.close(descriptor)


def test_the_second_waits_and_obeys(tmp_path: Path) -> None:
    first = open_manifest(tmp_path, Unattended())
    with pytest.raises(Cancelled):
        open_manifest(tmp_path, Patience(3))
    first.mark("published", inode=7)
    first.close()
    second = open_manifest(tmp_path, Unattended())
    assert second.last("published") == {"inode": 7}
    assert second.last("renamed") is None
    second.close()


def test_a_torn_mark_is_forgotten(tmp_path: Path) -> None:
    manifest = open_manifest(tmp_path, Unattended())
    manifest.mark("copied", files=1)
    whole = os.fstat(manifest.fd).st_size
    manifest.mark("publish", inode=2)
    os.ftruncate(manifest.fd, os.fstat(manifest.fd).st_size - 3)
    manifest.close()
    again = open_manifest(tmp_path, Unattended())
    assert again.last("copied") == {"files": 1}
    assert again.last("publish") is None
    assert os.fstat(again.fd).st_size == whole
    again.close()


class Witness(Unattended):
    """Checks, while helpers work, whether each has the descriptor open."""

    def __init__(self, manifest: Path) -> None:
        super().__init__()
        self._manifest = manifest
        self._others = psutil.Process().children()  # of other tests' fixtures
        self.seen: list[bool] = []

    def count(self, counter: Counter, items: int = 0, size_bytes: int = 0) -> None:
        for helper in set(psutil.Process().children()) - set(self._others):
            links = self._links(helper.pid)
            if links:  # none: it ends just now
                self.seen.append(str(self._manifest) in links)
        super().count(counter, items, size_bytes)

    @staticmethod
    def _links(pid: int) -> list[str]:
        try:
            return [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        except FileNotFoundError:
            return []


def test_helpers_inherit_the_lock(tmp_path: Path) -> None:
    for number in range(400):
        folder = tmp_path / "tree" / f"d{number}"
        folder.mkdir(parents=True)
        (folder / "f").write_text("x")
    manifest = open_manifest(tmp_path, Unattended())
    path = next(tmp_path.glob("*/.vfolder/jobs/job.manifest"))
    witness = Witness(path)
    tree = os.open(tmp_path / "tree", os.O_RDONLY | os.O_DIRECTORY)
    throttle = Throttle(operations_per_second=OPERATIONS)  # a limit needs a process
    options = UsageOptions(effort=Effort(helpers=2, fence=(manifest.fd,), throttle=throttle))
    measure_tree(tree, control=witness, options=options)
    throttle.close()
    os.close(tree)
    assert witness.seen
    assert all(witness.seen)
    other = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    manifest.close()
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
