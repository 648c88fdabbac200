"""Big files that the storage system clones: attributes are set here, and every doubt is a copy."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.tree import CopyOptions, compare_trees, copy_tree
from backends.tree.copy.copier import BIG_BYTES
from contract.trees import Opener
from core.jobs import Cancelled, Unattended
from tests.support.loops import mounted

FILES = 3


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Source and target on an ext4, where files share no blocks."""
    with mounted(tmp_path / "disk", ["mkfs.ext4", "-q", "-F"], size_bytes=512 << 20) as top:
        source, target = top / "source", top / "target"
        (source / "sub").mkdir(parents=True)
        target.mkdir()
        for number in range(FILES):
            path = source / "sub" / f"big{number}"
            path.write_bytes(b"%d" % number * BIG_BYTES)
            path.chmod(0o640)
            os.utime(path, ns=(10**18, 10**18 + number))
        (source / "small").write_bytes(b"small")
        yield source, target


def cloner(
    sides: tuple[Path, Path], spoil: Callable[[Path, Path], bool] = lambda _, __: True
) -> tuple[Callable[[str], bool], list[str]]:
    """Return a storage system that clones, and the paths that it was asked for."""
    asked: list[str] = []

    def clone(path: str) -> bool:
        asked.append(path)
        source, target = (side / path for side in sides)
        assert not target.exists()
        shutil.copyfile(source, target)
        return spoil(source, target)

    return clone, asked


def copied(sides: tuple[Path, Path], anchor: Opener, clone: Callable[[str], bool]) -> int:
    """Copy, compare every attribute, and return how many files the receipt has."""
    source, target = (anchor(side) for side in sides)
    options = CopyOptions(clone_file=clone)
    receipt = copy_tree(source, target, control=Unattended(), options=options)
    assert receipt.complete
    assert list(compare_trees(source, target, control=Unattended())) == []
    return receipt.files


def test_clones_get_the_attributes_of_their_source(
    sides: tuple[Path, Path], anchor: Opener
) -> None:
    clone, asked = cloner(sides)
    assert copied(sides, anchor, clone) == FILES + 1
    assert sorted(asked) == [f"sub/big{number}" for number in range(FILES)]


def refused(_: Path, target: Path) -> bool:
    target.unlink()
    return False


def cut(_: Path, target: Path) -> bool:
    os.truncate(target, 10)
    return True


def changed_meanwhile(source: Path, _: Path) -> bool:
    if source.name == "big1":
        os.utime(source, ns=(10**18, 2 * 10**18))
    return True


@pytest.mark.parametrize("spoil", [refused, cut, changed_meanwhile])
def test_what_is_not_cloned_well_is_copied(
    sides: tuple[Path, Path], anchor: Opener, spoil: Callable[[Path, Path], bool]
) -> None:
    clone, asked = cloner(sides, spoil)
    assert copied(sides, anchor, clone) == FILES + 1
    assert len(asked) == FILES


def test_a_cancel_ends_the_clones(sides: tuple[Path, Path], anchor: Opener) -> None:
    class Stopping(Unattended):
        def check(self) -> None:
            if asked:
                raise Cancelled

    clone, asked = cloner(sides)
    source, target = (anchor(side) for side in sides)
    with pytest.raises(Cancelled):
        copy_tree(source, target, control=Stopping(), options=CopyOptions(clone_file=clone))
    assert len(asked) == 1
