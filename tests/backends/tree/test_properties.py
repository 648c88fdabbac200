"""Random trees: copies compare equal, and measured sums are those of a naive walk."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.fs import native
from backends.tree import (
    CopyOptions,
    Effort,
    RemoveOptions,
    UsageOptions,
    compare_trees,
    copy_tree,
    measure_tree,
    remove_tree,
)
from backends.tree.fast import Loops
from contract.trees import Opener
from core.jobs import Unattended
from tests.support.thoroughness import times

names = st.binary(min_size=1, max_size=12).filter(
    lambda n: n not in (b".", b"..") and not set(n) & {0, 47}
)
modes = st.sampled_from([0o644, 0o600, 0o4755, 0o2755, 0o000, 0o1777])
owners = st.sampled_from([0, 0, 0, 1234]) if os.geteuid() == 0 else st.just(os.geteuid())
files = st.fixed_dictionaries(
    {
        "size": st.sampled_from([0, 1, 4095, 4096, 131072, 131073, 200_000]),
        "hole": st.booleans(),
        "mode": modes,
        "owner": owners,
        "note": st.sampled_from([None, b"", b"note"]),
        "time": st.integers(1, 2**33 * 10**9),
    }
)
trees = st.recursive(
    st.one_of(files, st.binary(min_size=1, max_size=20).filter(lambda t: 0 not in t)),
    lambda below: st.dictionaries(names, below, max_size=6),
    max_leaves=25,
)
LOOPS = [Loops(native=False)] + ([Loops()] if native.AVAILABLE else [])


def build(path: bytes, tree: object) -> None:
    if isinstance(tree, bytes):
        os.symlink(tree, path)
    elif "size" in tree:  # type: ignore[operator] # a file's dictionary has words as keys
        build_file(path, tree)  # type: ignore[arg-type] # same
    else:
        os.mkdir(path)
        for name, below in tree.items():  # type: ignore[attr-defined] # a directory's has bytes
            build(path + b"/" + name, below)


def build_file(path: bytes, file: dict[str, int]) -> None:
    with open(path, "wb") as out:
        if file["hole"]:
            out.truncate(file["size"] + 100_000)
        out.write(os.urandom(file["size"]))
    os.chown(path, file["owner"], file["owner"])
    if file["note"] is not None:
        os.setxattr(path, b"user.note", file["note"])  # type: ignore[arg-type] # bytes
    os.chmod(path, file["mode"])
    os.utime(path, ns=(file["time"], file["time"]))


def naive(root: Path) -> tuple[int, int, int]:
    """Return bytes, files and all entries, by a simple recursion."""
    size = count = entries = 0
    for directory, below, others in os.walk(os.fsencode(root)):
        entries += len(below) + len(others)
        for name in others:
            status = os.lstat(os.path.join(directory, name))
            if stat.S_ISREG(status.st_mode):
                size += min(status.st_size, status.st_blocks * 512)  # without holes
                count += 1
    return size, count, entries


@pytest.mark.parametrize("loops", LOOPS, ids=lambda loops: "c" if loops.native else "python")
@settings(
    max_examples=times(8, 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tree=st.dictionaries(names, trees, max_size=8))
def test_any_tree_is_copied_measured_and_removed(
    tmp_path_factory: pytest.TempPathFactory, anchor: Opener, loops: Loops, tree: object
) -> None:
    place = tmp_path_factory.mktemp("random")
    build(os.fsencode(place / "a"), tree)
    effort = Effort(helpers=2, loops=loops)
    options = CopyOptions(effort=effort, durable=False)
    receipt = copy_tree(
        anchor(place / "a"), anchor(place / "b"), control=Unattended(), options=options
    )
    size, count, entries = naive(place / "a")
    assert receipt.losses == {}
    assert (receipt.size_bytes, receipt.files) == (size, count)
    assert list(compare_trees(anchor(place / "a"), anchor(place / "b"), control=Unattended())) == []
    usage = measure_tree(
        anchor(place / "b"), control=Unattended(), options=UsageOptions(effort=effort)
    )
    assert (usage.size_bytes, usage.files, usage.entries) == (size, count, entries)
    remove = RemoveOptions(effort=effort)
    assert remove_tree(anchor(place), "b", control=Unattended(), options=remove).complete
    assert naive(place / "a") == (size, count, entries)
