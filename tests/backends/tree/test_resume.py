"""A copy that is killed at any point continues, and ends equal to its source."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from backends.tree import (
    CompareOptions,
    CopyOptions,
    Effort,
    Throttle,
    TreeManifest,
    compare_trees,
    copy_tree,
)
from backends.tree.copy import plan
from backends.tree.copy.manifest import MAGIC
from backends.tree.copy.pieces import (
    PIECE_BYTES,
    PIECE_BYTES_MIN,
    Pieces,
    covered,
    digests,
    missing,
)
from contract.trees import Opener, hostile
from core.jobs import Cancelled, Counter, Unattended
from tests.support.thoroughness import times
from tests.support.trees import copied_in_pieces

SCRIPT = Path(__file__).with_name("killed_copy.py")
#: System calls that the engine makes and a starting interpreter does not.
CALLS = (
    "openat2,write,mkdirat,utimensat,linkat,symlinkat,unlinkat,fchmod,fchown,fsetxattr,"
    "syncfs,fdatasync,pwrite64,sendto,recvfrom,ftruncate,copy_file_range"
)
#: Every copy makes more calls than this in one process, so the first kill interrupts it.
CALLS_MIN = 80
#: Of two processes, which still have both work to do after the slower one has started.
PART_ENTRIES = times(4_000, plan.PART_ENTRIES)
ROUNDS = times(5, 14)
KILLS_PER_ROUND = 2


def many(root: Path, dice: random.Random) -> None:
    hostile(root)
    for number in range(150):
        path = root / f"many{number % 7}" / f"file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dice.randbytes(dice.choice([0, 100, 5000, 200_000])))


@pytest.mark.part("strace")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killed_at_a_random_system_call_the_copy_is_resumed_and_equal(
    tmp_path: Path, anchor: Opener, seed: int
) -> None:
    dice = random.Random(seed)
    source, target = tmp_path / "a", tmp_path / "b"
    many(source, dice)
    target.mkdir()
    script = [sys.executable, SCRIPT, source, target, tmp_path, dice.choice(["c", "python"])]
    for kill in range(KILLS_PER_ROUND):
        when = dice.randint(1, CALLS_MIN * (1 + kill))
        inject = f"inject={CALLS}:signal=SIGKILL:when={when}"
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e", inject]
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        ended = subprocess.run([*trace, *script], env=environment, capture_output=True, check=False)
        assert kill or ended.returncode != 0
    manifest = TreeManifest.open(anchor(tmp_path), "job.manifest")
    receipt = copy_tree(anchor(source), anchor(target), control=Unattended(), manifest=manifest)
    manifest.close()
    assert receipt.complete
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []


def test_stopped_by_its_control_the_copy_is_resumed_and_equal(
    tmp_path: Path, anchor: Opener
) -> None:
    class Stopping(Unattended):
        def __init__(self, checks: int) -> None:
            super().__init__()
            self.remaining = checks

        def check(self) -> None:
            self.remaining -= 1
            if self.remaining < 0:
                raise Cancelled

    source, target = tmp_path / "a", tmp_path / "b"
    many(source, random.Random(1))
    manifest = TreeManifest.open(anchor(tmp_path), "job.manifest")
    stops = 0
    for checks in range(1, 200):
        try:
            copy_tree(anchor(source), anchor(target), control=Stopping(checks), manifest=manifest)
            break
        except Cancelled:
            stops += 1
    manifest.close()
    assert stops > 0
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []


def test_an_incomplete_manifest_loses_only_its_tail(tmp_path: Path, anchor: Opener) -> None:
    manifest = TreeManifest.open(anchor(tmp_path), "m")
    for number in range(5):
        manifest.append(["kind", number, b"x" * 100])
    manifest.close()
    whole = (tmp_path / "m").read_bytes()
    for size in range(len(MAGIC), len(whole)):
        (tmp_path / "m").write_bytes(whole[:size])
        manifest = TreeManifest.open(anchor(tmp_path), "m")
        kept = [record[1] for _, record in manifest.records()]
        assert kept == list(range(len(kept)))
        assert len(kept) == (size - len(MAGIC)) * 5 // (len(whole) - len(MAGIC))
        manifest.append(["kind", 99])
        assert [record[1] for _, record in manifest.records()] == [*kept, 99]
        manifest.close()


def test_a_manifest_with_a_flipped_bit_is_valid_up_to_there(tmp_path: Path, anchor: Opener) -> None:
    manifest = TreeManifest.open(anchor(tmp_path), "m")
    offsets = [manifest.append(["kind", number]) for number in range(4)]
    manifest.close()
    data = bytearray((tmp_path / "m").read_bytes())
    data[offsets[2] + 13] ^= 1
    (tmp_path / "m").write_bytes(data)
    manifest = TreeManifest.open(anchor(tmp_path), "m")
    assert [record[1] for _, record in manifest.records()] == [0, 1]
    manifest.close()


def test_another_file_is_not_changed(tmp_path: Path, anchor: Opener) -> None:
    (tmp_path / "m").write_text("other data")
    with pytest.raises(ValueError, match="not a manifest"):
        TreeManifest.open(anchor(tmp_path), "m")
    assert (tmp_path / "m").read_text() == "other data"


def test_work_of_another_boot_is_not_trusted(tmp_path: Path, anchor: Opener) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    (source / "file").write_bytes(b"right")
    manifest = TreeManifest.open(anchor(tmp_path), "m")
    manifest.append(["begin", "00000000-another-boot"])
    target.mkdir()
    (target / "file").write_bytes(b"wrong")  # as a crash leaves it: length and time, no data
    status = (source / "file").stat()
    os.utime(target / "file", ns=(status.st_atime_ns, status.st_mtime_ns))
    receipt = copy_tree(anchor(source), anchor(target), control=Unattended(), manifest=manifest)
    manifest.close()
    assert receipt.reused == 0
    assert (target / "file").read_bytes() == b"right"


def test_parts_are_marked_done_at_checkpoints_and_not_done_again(
    tmp_path: Path, anchor: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_entries = times(1_000, plan.PART_ENTRIES)
    monkeypatch.setattr(plan, "PART_ENTRIES", part_entries)

    class Stopping(Unattended):
        def check(self) -> None:
            if any(record[0] == "done" for _, record in manifest.records()):
                raise Cancelled

    source, target = tmp_path / "a", tmp_path / "b"
    for directory in range(12):
        (source / f"d{directory}").mkdir(parents=True)
        for number in range(part_entries // 4):
            (source / f"d{directory}/f{number}").touch()
    manifest = TreeManifest.open(anchor(tmp_path), "job.manifest")
    options = CopyOptions(checkpoint_seconds=0)
    with pytest.raises(Cancelled):
        copy_tree(
            anchor(source), anchor(target), control=Stopping(), manifest=manifest, options=options
        )
    done = {record[1] for _, record in manifest.records() if record[0] == "done"}
    copy_tree(anchor(source), anchor(target), control=Unattended(), manifest=manifest)
    every = [record[1] for _, record in manifest.records() if record[0] == "done"]
    manifest.close()
    assert done
    assert sorted(every) == list(range(len(every)))
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []


def test_two_processes_share_the_parts_of_one_job(tmp_path: Path, anchor: Opener) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    for directory in range(12):
        (source / f"d{directory}").mkdir(parents=True)
        for number in range(PART_ENTRIES // 4):
            (source / f"d{directory}/f{number}").touch()
    os.link(source / "d0/f0", source / "d11/other-name")
    target.mkdir()
    script = [sys.executable, SCRIPT, source, target, tmp_path, "c", str(PART_ENTRIES)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    both = [subprocess.Popen(script, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    receipts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert receipts[0] == receipts[1]
    manifest = TreeManifest.open(anchor(tmp_path), "job.manifest")
    kinds = [record[0] for _, record in manifest.records()]
    parts = [record[1] for _, record in manifest.records() if record[0] == "done"]
    manifest.close()
    assert kinds.count("begin") == 2
    assert kinds.count("planned") == kinds.count("ended") == 1
    assert sorted(parts) == sorted(set(parts)) == list(range(kinds.count("part")))
    assert len(parts) >= 3
    assert list(compare_trees(anchor(source), anchor(target), control=Unattended())) == []


def test_pieces_of_any_length_leave_the_right_rest() -> None:
    done: Pieces = dict.fromkeys([(0, 10), (30, 50), (35, 40), (90, 120)])
    assert covered(100, done) == [(0, 10), (30, 50), (90, 100)]
    assert missing(100, done, 15) == [(10, 25), (25, 30), (50, 65), (65, 80), (80, 90)]
    assert missing(100, {(0, 100): None}, 15) == []
    assert missing(100, {}, 60) == [(0, 60), (60, 100)]


def test_digests_of_pieces_prove_a_file_when_they_are_all_there() -> None:
    whole: Pieces = {(50, 100): b"2", (0, 50): b"1"}
    assert digests(100, whole) == [(0, 50, b"1"), (50, 100, b"2")]
    assert digests(120, whole) is None
    assert digests(100, whole | {(50, 100): None}) is None
    assert digests(150, whole | {(30, 80): b"3"}) is None


class _Past(Unattended):
    """A control that stops a copy once this number of bytes is done."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._most = size_bytes

    def check(self) -> None:
        if self.counts.get(Counter.COPIED, [0, 0])[1] > self._most:
            raise Cancelled


def test_pieces_on_record_of_a_file_that_is_gone_are_copied_again(
    tmp_path: Path, anchor: Opener
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    (source / "big").write_bytes(random.Random(3).randbytes(4 * PIECE_BYTES_MIN))
    throttle = Throttle(2 * PIECE_BYTES_MIN)
    options = CopyOptions(effort=Effort(helpers=1, throttle=throttle))
    manifest = TreeManifest.open(anchor(tmp_path), "m")
    for most in (2.5, 0.5):  # the second run stops inside the first piece that it copies again
        control = _Past(int(most * PIECE_BYTES_MIN))
        with pytest.raises(Cancelled):
            copy_tree(
                anchor(source), anchor(target), control=control, manifest=manifest, options=options
            )
        if most > 1:
            assert any(record[0] == "piece" for _, record in manifest.records())
            (target / "big").unlink()
    throttle.set()
    copy_tree(
        anchor(source), anchor(target), control=Unattended(), manifest=manifest, options=options
    )
    manifest.close()
    throttle.close()
    assert (target / "big").read_bytes() == (source / "big").read_bytes()


@pytest.mark.slow
def test_a_very_big_file_is_resumed_inside(
    tmp_path: Path, anchor: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    piece_bytes = times(64 << 20, PIECE_BYTES)
    copied_in_pieces(monkeypatch, piece_bytes)
    size, data = 3 * piece_bytes, 1 << 20
    with (source / "big").open("wb") as file:
        for offset in range(0, size, piece_bytes // 4):
            file.seek(offset)
            file.write(os.urandom(data))
        file.truncate(size)

    manifest = TreeManifest.open(anchor(tmp_path), "m")
    one = CopyOptions(effort=Effort(helpers=1))  # pieces end one after the other
    with pytest.raises(Cancelled):
        copy_tree(
            anchor(source),
            anchor(target),
            control=_Past(4 * data),
            manifest=manifest,
            options=one,
        )
    pieces = sum(record[0] == "piece" for _, record in manifest.records())
    receipt = copy_tree(anchor(source), anchor(target), control=Unattended(), manifest=manifest)
    again = sum(record[0] == "piece" for _, record in manifest.records())
    manifest.close()
    assert pieces >= 1
    assert again == 3
    assert receipt.complete
    options = CompareOptions(digest="xxh3")
    left = compare_trees(anchor(source), anchor(target), control=Unattended(), options=options)
    assert list(left) == []
