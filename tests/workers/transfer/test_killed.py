"""Many thousand files between real file systems, the run killed again and again."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from backends.tree.copy.plan import PART_ENTRIES
from core.jobs import Job, State
from core.jobs.requests import parse
from core.jobs.store import JobStore, Submission
from core.names import VFolderId
from tests.support.node import wait_for
from tests.support.thoroughness import times
from tests.support.valkey import Valkey
from tests.support.worker import running_worker
from tests.workers.transfer.check import differences
from tests.workers.transfer.disks import Disks, mounted_disks, new_vfolder

FILES, DIRECTORIES, KILLS = times(12_000, 50_000), 120, times(3, 5)
#: Far less than all files: what each kill may let the next run copy once more.
REDONE_FILES = times(PART_ENTRIES // 10, PART_ENTRIES)
SIZE_BYTES = 2 * 1024**3
KINDS = ("ext4", "xfs", "btrfs")
#: Slow enough to be killed often by a test that reads the progress every two seconds.
BYTES_PER_SECOND = times(1_500_000, 5_000_000)


@dataclass
class KilledTransfers:
    """Three file systems, a worker, and the complete files in staging at each kill."""

    disks: Disks
    worker: psutil.Process
    random: random.Random
    whole: list[dict[str, int]] = field(default_factory=list)

    @property
    def store(self) -> JobStore:
        return self.disks.store

    def submit(self, source: tuple[str, VFolderId], target: tuple[str, VFolderId]) -> Job:
        body = {
            "verb": "transfer",
            "volume": source[0],
            "source": str(source[1]),
            "target_volume": target[0],
            "target": str(target[1]),
            "bytes_per_second": BYTES_PER_SECOND,
        }
        return self.store.submit(Submission(parse(body)))

    def done_items(self, job: Job) -> int:
        progress = self.store.get(job.id).member("progress") or {}
        return int(progress["done_items"]) if progress.get("phase") == "copy" else 0

    def kill_at(self, job: Job, items: int, staged: Path) -> bool:
        """Kill the run when it has done so much; False when it was past copying before."""
        wait_for(lambda: self.done_items(job) >= items or self.over(job), 120)
        if self.over(job):
            return False
        run = psutil.Process(int(self.store.get(job.id).fields["process"].partition(":")[2]))
        helpers = run.children()
        self.worker.suspend()  # no run continues before the test has looked
        run.kill()
        wait_for(lambda: not any(map(is_alive, [run, *helpers])))
        self.whole.append(whole_files(staged))
        self.worker.resume()
        attempt = self.store.get(job.id).attempt
        wait_for(lambda: self.store.get(job.id).attempt > attempt, 60)
        return True

    def over(self, job: Job) -> bool:
        found = self.store.get(job.id)
        phase = (found.member("progress") or {}).get("phase")
        return found.state.ended or phase in ("verify", "publish")

    def ended(self, job: Job) -> Job:
        return (
            wait_for(lambda: found if (found := self.store.get(job.id)).state.ended else None, 300)
            or job
        )


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def whole_files(top: Path) -> dict[str, int]:
    """The inodes of the files that have their content and their time: paths from the top."""
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            status = os.lstat(os.path.join(directory, name))
            if status.st_mtime < OLD:
                found[os.path.relpath(os.path.join(directory, name), top)] = status.st_ino
    return found


#: All files are older than this, but for those that are being written (seconds of the epoch).
OLD = 1_600_000_000


def planted(top: Path, dice: random.Random) -> None:
    """A tree as people have them: many small files, some links, a few big files."""
    top.mkdir(parents=True)
    for number in range(DIRECTORIES):
        (top / f"d{number % 11}/e{number}").mkdir(parents=True)
    folders = [top / f"d{n % 11}/e{n}" for n in range(DIRECTORIES)]
    data = dice.randbytes(40_000)
    for number in range(FILES):
        path = folders[number % DIRECTORIES] / f"f{number}"
        path.write_bytes(data[: int(dice.expovariate(1 / 2000)) % 40_000])
        when = OLD - number
        os.utime(path, (when, when))
    for number in range(0, 1000, 10):
        os.link(folders[number % DIRECTORIES] / f"f{number}", top / f"hard{number}")
        (top / f"link{number}").symlink_to(f"d1/f{number}")
    os.setxattr(top / "hard0", "user.note", b"kept")
    os.chown(top / "hard10", 1234, 4321)
    (top / "d1").chmod(0o2750)


@pytest.fixture
def site(tmp_path: Path, valkey_alone: Valkey) -> Iterator[KilledTransfers]:
    more = "max-losses = 100"
    with (
        mounted_disks(tmp_path, valkey_alone, KINDS, size_bytes=SIZE_BYTES, jobs=more) as disks,
        running_worker(disks.settings, "btrfs") as pid,
    ):
        yield KilledTransfers(disks, psutil.Process(pid), random.Random(9))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.part("rsync")
@pytest.mark.part("xfs")
@pytest.mark.part("btrfs")
def test_killed_again_and_again_it_still_equals_its_source(site: KilledTransfers) -> None:
    places = [(kind, new_vfolder()) for kind in KINDS]
    planted(site.disks.path(*places[0]), site.random)
    for source, target in pairwise(places):
        site.whole.clear()
        job = site.submit(source, target)
        scope = target[1].scope
        assert scope is not None
        top = site.disks.settings.directory / target[0] / "top" / scope.directory
        staged = top / ".vfolder/staging" / job.id / "tree"
        stretch = FILES * 6 // 10 // KILLS
        moments = [site.random.randrange(1, stretch) + n * stretch for n in range(KILLS)]
        kills = [site.kill_at(job, moment, staged) for moment in moments]
        ended = site.ended(job)
        assert ended.state is State.SUCCEEDED, ended.document()
        assert all(kills), f"killed {sum(kills)} times"
        assert ended.losses == KILLS
        result = site.disks.path(*target)
        assert differences(site.disks.path(*source), result) == ""
        final = whole_files(result)
        for before in site.whole:
            redone = sum(final[path] != inode for path, inode in before.items())
            assert redone < REDONE_FILES, f"{redone} files were copied once more"
            print(f"{source[0]} to {target[0]}: {len(before)} whole, {redone} redone")  # noqa: T201
        wait_for(lambda room=staged.parent: not room.exists())  # type: ignore[misc] # bound here
