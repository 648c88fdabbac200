"""One big file between real file systems, the worker killed in the middle of it, twice."""

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import file_digest
from itertools import pairwise
from pathlib import Path

import pytest

from backends.fs import layout
from backends.tree import Effort, TreeManifest
from backends.tree.copy.pieces import Span, piece_length
from backends.tree.files.content import data_spans
from core.jobs import Job, State
from core.jobs.requests import TransferRequest
from core.jobs.store import Submission
from core.names import VFolderId
from tests.support.node import gone, wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker
from tests.workers.transfer.disks import Disks, mounted_disks, new_vfolder
from workers.verbs.transfer.helpers import TREE, record_of

DISK_BYTES = 1024**3
CHUNK_BYTES = 16 * 1024**2
FILE_BYTES = 12 * CHUNK_BYTES
#: Its pieces are as small as pieces are.
BYTES_PER_SECOND = 12 * 1024**2
PIECE = piece_length(BYTES_PER_SECOND)
#: The file is killed past these numbers of pieces on record.
KILLS = (2, 5)


@dataclass
class Move:
    """One transfer from the one file system to the other."""

    disks: Disks
    source: VFolderId = field(default_factory=new_vfolder)
    target: VFolderId = field(default_factory=new_vfolder)

    def begin(self) -> Job:
        request = TransferRequest(
            volume="ext4",
            source=str(self.source),
            target_volume="xfs",
            target=str(self.target),
            bytes_per_second=BYTES_PER_SECOND,
        )
        return self.disks.store.submit(Submission(request))

    def recorded(self, job: Job) -> list[Span]:
        """The pieces that the job's manifest calls done, in the order they were written."""
        scope = self.target.scope
        path = (
            self.disks.settings.directory
            / "xfs/top"
            / layout.staging(scope, job.id)
            / record_of(TREE)
        )
        if not path.exists():
            return []
        manifest = TreeManifest(os.open(path, os.O_RDONLY), read_only=True)
        try:
            records = [record for _, record in manifest.records()]
        finally:
            manifest.close()
        return [(record[4], record[5]) for record in records if record[0] == "piece"]

    def written_bytes(self, job: Job) -> int:
        """The bytes of the file that are in staging, on record or not."""
        staged = layout.staging(self.target.scope, job.id) / TREE / "big"
        with (self.disks.settings.directory / "xfs/top" / staged).open("rb") as file:
            spans = data_spans(file.fileno(), 0, FILE_BYTES)
            return sum(end - begin for begin, end in spans)


@pytest.fixture
def disks(tmp_path: Path, valkey_alone: Valkey) -> Iterator[Disks]:
    with mounted_disks(tmp_path, valkey_alone, ("ext4", "xfs"), size_bytes=DISK_BYTES) as made:
        yield made


def killed_past(move: Move, job: Job, pieces: int) -> tuple[list[Span], int]:
    """Kill a worker once so many pieces are on record; the records then, and the bytes written."""
    disks = move.disks
    with running_worker(disks.settings, "xfs") as worker:
        wait_for(lambda: len(move.recorded(job)) >= pieces, 120)
        run = int(disks.store.get(job.id).fields["process"].partition(":")[2])
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: gone([worker, run]))
    assert disks.store.get(job.id).state is State.RUNNING, "no process is left to end it"
    return move.recorded(job), move.written_bytes(job)


@pytest.mark.slow
@pytest.mark.part("xfs")
def test_a_worker_killed_twice_amid_one_big_file_goes_on_inside_it(disks: Disks) -> None:
    move = Move(disks)
    file = disks.path("ext4", move.source) / "big"
    file.parent.mkdir(parents=True)
    dice = random.Random(9)
    with file.open("wb") as out:
        for _ in range(FILE_BYTES // CHUNK_BYTES):
            out.write(dice.randbytes(CHUNK_BYTES))
    job = move.begin()
    before: list[Span] = []
    for pieces in KILLS:
        kept, written_bytes = killed_past(move, job, pieces)
        assert kept[: len(before)] == before
        kept_bytes = sum(end - begin for begin, end in kept)
        assert kept_bytes < FILE_BYTES, "it was killed in the middle"
        redone_bytes = written_bytes - kept_bytes
        assert 0 <= redone_bytes <= PIECE * Effort().count(), (
            "no more than what helpers had in hand"
        )
        print(f"{kept_bytes} bytes kept, {redone_bytes} redone")  # noqa: T201
        before = kept
    with running_worker(disks.settings, "xfs"):
        last = [before]

        def ended() -> bool:
            last.append(move.recorded(job) or last[-1])  # the manifest goes with the job
            return disks.store.get(job.id).state.ended

        wait_for(ended, 120)
    ended = disks.store.get(job.id)
    assert (ended.state, ended.losses) == (State.SUCCEEDED, len(KILLS)), ended.document()
    assert ended.member("result")["copied_bytes"] == FILE_BYTES
    assert last[-1][: len(before)] == before
    in_order = sorted(last[-1])
    assert all(one[1] <= two[0] for one, two in pairwise(in_order)), "none was copied twice"
    with file.open("rb") as one, (disks.path("xfs", move.target) / "big").open("rb") as two:
        assert file_digest(one, "sha256").digest() == file_digest(two, "sha256").digest()
