"""One node whose power fails: its volume on `crashfs`, its jobs run by the test itself."""

import math
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from celery.exceptions import Ignore

from backends.base import Mount
from backends.fs import layout
from backends.mounted import PosixBackend
from backends.retention import TrashRecord, trash
from backends.tree.copy import ledger
from core.jobs import Job, State
from core.jobs.requests import Request
from core.jobs.store import PREFIX, JobStore, Submission
from core.names import QuotaScope, VFolderId
from core.redis import Database, connect
from tests.support.crashfs import CrashFS, Cut, Watched, refill
from tests.support.doors import mark, settings_in
from tests.support.thoroughness import times
from tests.support.valkey import Valkey
from workers.node.sweeps import Sweep
from workers.runner import JobFailed, Runner

VOLUME = "crashing"
MORE = """
[volume.crashing]
backend = "vfs"
path = "mount"
[vfolder.jobs]
lease-seconds = 600
"""
#: Set it to look at every crash instead of a sample.
EVERY_CUT = "VFOLDER_EVERY_CUT"
#: Around a sync there is always a cut; between two syncs, one before every so many changes.
CHANGES_PER_CUT = 5
#: States of one verb that are looked at in a sample. Each kind of state is among them.
STATES_MAX = times(12, 60)


@dataclass(frozen=True)
class Crash:
    """One disk after a power failure, and what had been promised then."""

    cut: Cut
    name: str

    def __str__(self) -> str:
        return f"before call {self.cut.number} ({self.cut.call}), {self.name!r} on disk"


class Site:
    """A volume, a store, and everything a job needs."""

    def __init__(self, volume: CrashFS, valkey: Valkey, patch: pytest.MonkeyPatch) -> None:
        self.volume = volume
        self.valkey = valkey
        self.settings = settings_in(volume.path.parent, valkey.url, MORE)
        # The volume was proved long before: this disk is all that a test takes back.
        shutil.rmtree(self.settings.state_dir / "volume-ids", ignore_errors=True)
        mark(self.settings, {VOLUME: volume.path})
        self._patch = patch
        self.backend = PosixBackend(Mount(VOLUME, volume.path))
        self.backend.probe()
        self.client = connect(self.settings, Database.JOBS)
        self.store = JobStore(self.client, lambda _: None)
        self.scope = QuotaScope.parse(f"user:{UUID(int=7)}")
        self._boots = 0
        every = EVERY_CUT in os.environ
        #: A test may look at more crashes: with a cut before each change, and a larger sample.
        self.changes_per_cut = 1 if every else CHANGES_PER_CUT
        self.states_max = sys.maxsize if every else STATES_MAX

    # -- What is there -----------------------------------------------------------------------------
    def vfolder(self, number: int) -> VFolderId:
        return VFolderId(self.scope, UUID(int=number << 100 | number))

    def path(self, vfolder: VFolderId) -> Path:
        return self.backend.vfolder_path(vfolder)

    def filled(self, number: int, files: int = 4) -> VFolderId:
        """Return a vfolder with files, a link, a hard link and attributes."""
        vfolder = self.vfolder(number)
        if not (self.volume.path / self.scope.directory).exists():
            self.backend.create_scope(self.scope)
        self.backend.create_vfolder(vfolder)
        top = self.path(vfolder)
        for place in range(files):
            below = top / f"d{place % 2}" / "e"
            below.mkdir(parents=True, exist_ok=True)
            file = below / f"f{place}"
            file.write_bytes(bytes([65 + number + place]) * (100 * number + place))
            file.chmod(0o600 + place)
            os.setxattr(file, "user.place", str(place).encode())
            os.utime(file, ns=(place, number * 10**18 + place))
        (top / "link").symlink_to("d0/e/f0")
        os.link(top / "d0/e/f0", top / "again")
        return vfolder

    def hidden(self, area: str) -> Path:
        return self.volume.path / layout.area(self.scope, area)

    def left(self, area: str) -> list[str]:
        """Return what a hidden directory holds."""
        path = self.hidden(area)
        return sorted(os.listdir(path)) if path.exists() else []

    def trashed(self, vfolder: VFolderId) -> TrashRecord | None:
        """Return what a restore would bring back."""
        with self.backend.root() as root:
            return trash.newest(root, vfolder)

    # -- Jobs --------------------------------------------------------------------------------------
    def submit(self, request: Request) -> Job:
        return self.store.submit(Submission(request))

    def jobs(self) -> list[Job]:
        """Return all jobs of the store."""
        keys = [str(key) for key in self.client.scan_iter(f"{PREFIX}job:*")]
        return [self.store.get(key.removeprefix(f"{PREFIX}job:")) for key in keys]

    def run(self, job: Job) -> Job:
        """Run a job as a worker's process does."""
        with suppress(Ignore, JobFailed):
            Runner(self.settings, self.store, lambda _: None)(job.id, lambda _: None)
        return self.store.get(job.id)

    def succeeded(self, request: Request) -> Job:
        ended = self.run(self.submit(request))
        assert ended.state is State.SUCCEEDED, ended.document()
        return ended

    def crash_amid(
        self, request: Request, right: Callable[[Job], None], end: State = State.SUCCEEDED
    ) -> None:
        """Run a job, and check each crash with the job as it was then; the machine has started."""
        job, crashes = self.crashes_of(request, end)
        self.check(crashes, lambda _: right(self.store.get(job.id)))

    def crashes_of(self, request: Request, end: State = State.SUCCEEDED) -> tuple[Job, list[Crash]]:
        """Run a job that must end so; return it with all crashes."""
        job = self.submit(request)
        watched = [(int(Database.JOBS), f"{PREFIX}job:{job.id}", "state")]

        def act() -> None:
            ended = self.run(job)
            assert ended.state is end, ended.document()

        return job, self.recorded(act, watched)

    def resumed(self, job: Job, end: State = State.SUCCEEDED) -> Job:
        """Let the next run end a job, unless it had ended; it must succeed. A sweep comes first."""
        Sweep(self.settings, self.store, VOLUME)()
        record = self.store.get(job.id)
        if not record.state.ended:
            if record.fields.get("run"):
                self.store.lose(job.id, record.fields["run"], "power lost", 1000)
            record = self.run(job)
        assert record.state is end, record.document()
        return record

    # -- Power -------------------------------------------------------------------------------------
    def crash(
        self, act: Callable[[], object], right: Callable[[Crash], None], watched: list[Watched]
    ) -> None:
        """Call a function, and check each crash after the machine has started again."""
        self.check(self.recorded(act, watched), right)

    def recorded(self, act: Callable[[], object], watched: list[Watched]) -> list[Crash]:
        """Call a function and return all its crashes."""
        self.volume.record(self.valkey.url, watched, self.changes_per_cut)
        act()
        return [Crash(cut, name) for cut in self.volume.cuts() for name in cut.states]

    def check(self, crashes: list[Crash], right: Callable[[Crash], None]) -> None:
        """Check a sample of crashes; each time the machine has started again."""
        for crash in sample(crashes, self.states_max):
            self.start_again(crash)
            try:
                right(crash)
            except BaseException as error:
                error.add_note(f"the power failed {crash}")
                raise

    def start_again(self, crash: Crash) -> None:
        """Let the machine start with what was on disk; the store was elsewhere."""
        self._boots += 1
        boot = f"boot {self._boots}"
        self._patch.setattr(ledger, "boot_id", lambda: boot)  # as the kernel does at a start
        self.volume.start_again(crash.cut.states[crash.name])
        refill(self.valkey.url, crash.cut.store)


def sample(crashes: list[Crash], most: int) -> list[Crash]:
    """Return all crashes, or about so many that are spread evenly over each kind of state.

    The last crash of each kind is among them.
    """
    kinds: dict[str, list[int]] = {}
    for place, crash in enumerate(crashes):
        kinds.setdefault(crash.name.rstrip("0123456789 "), []).append(place)
    share = min(1.0, most / len(crashes))
    chosen = set[int]()
    for places in kinds.values():
        count = math.ceil(len(places) * share)
        chosen.update(places[-1 - number * len(places) // count] for number in range(count))
    return [crashes[place] for place in sorted(chosen)]
