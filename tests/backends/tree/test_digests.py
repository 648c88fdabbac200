"""Digests taken during the copy: what they find, and that the source is read once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.tree import CopyOptions, Effort, Loss, Throttle, TreeManifest, copy_tree
from backends.tree.copy.copier import BIG_BYTES
from backends.tree.copy.pieces import PIECE_BYTES_MIN
from backends.tree.files.content import DIGESTS, SMALL_BYTES
from contract.trees import Opener, hostile
from core.jobs import Cancelled, Unattended
from tests.backends.tree.test_faults import faulty_source, rules, source  # noqa: F401 - fixtures

SIZES = {"small": 100, "middle": SMALL_BYTES * 3, "big": BIG_BYTES + 5}


class AtPhase(Unattended):
    """Runs an operation when a phase begins."""

    def __init__(self, phase: str, operation: Callable[[], object]) -> None:
        super().__init__()
        self._at = phase
        self._operation = operation

    def phase(self, name: str) -> None:
        if name == self._at:
            self._operation()


def spoil(path: Path) -> None:
    """Flip a bit; keep length and times."""
    status = path.stat()
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def tree(root: Path) -> Path:
    root.mkdir()
    for name, size in SIZES.items():
        (root / name).write_bytes(os.urandom(size))
    (root / "linked").write_text("linked")
    os.link(root / "linked", root / "other-name")
    with (root / "holes").open("wb") as file:
        file.write(b"data")
        file.truncate(4_000_000)
    return root


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_hostile_tree_is_verified_by_its_digests(
    tmp_path: Path, anchor: Opener, digest: str
) -> None:
    options = CopyOptions(digest=digest, verify=digest)
    root = hostile(tmp_path / "a")
    receipt = copy_tree(anchor(root), anchor(tmp_path / "b"), control=Unattended(), options=options)
    assert receipt.losses == {Loss.FIFO: 1, Loss.SOCKET: 1}
    again = copy_tree(anchor(root), anchor(tmp_path / "b"), control=Unattended(), options=options)
    assert again.complete
    assert again.reused


@pytest.mark.parametrize("name", [*SIZES, "linked", "holes"])
def test_a_copy_with_a_flipped_bit_is_found(tmp_path: Path, anchor: Opener, name: str) -> None:
    target = tmp_path / "b"
    control = AtPhase("verify", lambda: spoil(target / name))
    options = CopyOptions(digest="xxh3", verify="xxh3")
    receipt = copy_tree(
        anchor(tree(tmp_path / "a")), anchor(target), control=control, options=options
    )
    assert receipt.losses == {Loss.DIFFERENT: 1}
    assert [path for path, _ in control.faults] == [name]
    assert not receipt.complete


def test_the_source_is_not_read_again(
    faulty_source: Path,  # noqa: F811 - the fixture
    tmp_path: Path,
    anchor: Opener,
) -> None:
    def close_the_source() -> None:
        rules(faulty_source, {"op": "read", "path": "*", "errno": "EIO"})

    options = CopyOptions(digest="sha256", verify="sha256")
    target = anchor(tmp_path / "b")
    control = AtPhase("verify", close_the_source)
    assert copy_tree(anchor(faulty_source), target, control=control, options=options).complete


def test_a_source_changed_after_its_reading_is_no_difference(
    tmp_path: Path, anchor: Opener
) -> None:
    root = tree(tmp_path / "a")
    control = AtPhase("verify", lambda: spoil(root / "middle"))
    options = CopyOptions(digest="xxh3", verify="xxh3")
    target = anchor(tmp_path / "b")
    assert copy_tree(anchor(root), target, control=control, options=options).complete


def test_files_that_an_earlier_run_copied_are_verified_too(tmp_path: Path, anchor: Opener) -> None:
    def stop() -> None:
        raise Cancelled

    root, target = tree(tmp_path / "a"), tmp_path / "b"
    manifest = TreeManifest.open(anchor(tmp_path), "m")
    options = CopyOptions(digest="xxh3", verify="xxh3")
    with pytest.raises(Cancelled):
        copy_tree(
            anchor(root),
            anchor(target),
            control=AtPhase("verify", stop),
            manifest=manifest,
            options=options,
        )
    spoil(target / "small")
    receipt = copy_tree(
        anchor(root), anchor(target), control=Unattended(), manifest=manifest, options=options
    )
    manifest.close()
    assert receipt.losses == {Loss.DIFFERENT: 1}


@pytest.mark.parametrize("spoilt", [None, 0, 3])
def test_a_file_in_pieces_is_verified_by_the_digests_of_its_pieces(
    tmp_path: Path, anchor: Opener, spoilt: int | None
) -> None:
    """Pieces that an earlier run copied are included; the source is not read again."""
    origin, target = tmp_path / "a", tmp_path / "b"
    origin.mkdir()
    (origin / "big").write_bytes(os.urandom(4 * PIECE_BYTES_MIN))
    throttle = Throttle(2 * PIECE_BYTES_MIN)
    effort = Effort(helpers=2, throttle=throttle)
    options = CopyOptions(effort=effort, digest="xxh3", verify="xxh3")
    manifest = TreeManifest.open(anchor(tmp_path), "m")

    class Stopping(Unattended):
        def check(self) -> None:
            if any(record[0] == "piece" for _, record in manifest.records()):
                raise Cancelled

    sides = anchor(origin), anchor(target)
    with pytest.raises(Cancelled):
        copy_tree(*sides, control=Stopping(), manifest=manifest, options=options)
    throttle.set()

    def begun() -> None:
        spoil(origin / "big")  # a second reading would find other data
        if spoilt is not None:
            with (target / "big").open("r+b") as file:
                file.seek(spoilt * PIECE_BYTES_MIN)
                first = file.read(1)
                file.seek(spoilt * PIECE_BYTES_MIN)
                file.write(bytes([first[0] ^ 1]))

    control = AtPhase("verify", begun)
    receipt = copy_tree(*sides, control=control, manifest=manifest, options=options)
    manifest.close()
    throttle.close()
    assert receipt.losses == ({} if spoilt is None else {Loss.DIFFERENT: 1})
