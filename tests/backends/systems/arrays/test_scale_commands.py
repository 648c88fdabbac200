"""Storage Scale by its commands: what they print, how they fail, and that none of them stays."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import HardwareStatus, HasMetric, Mount, capabilities
from backends.mounted.rest import ArrayRefused, Busy, Reason
from backends.systems.gpfs.backend import ScaleBackend, gpfs, spectrumscale
from backends.systems.gpfs.commands import parsed, refusal
from contract.waiting import eventually
from core import errors
from core.names import VFolderId
from simulators.arrays.scale_cluster import BLOCK
from simulators.programs.mmfs import standin
from simulators.shelf import Shelf
from tests.backends.systems.arrays.simulated import scope

MIB = 1 << 20
PATIENT = {"deadline_seconds": 120.0}


class Node:
    """A node with the commands, and a backend that runs them."""

    def __init__(self, top: Path, programs: Path) -> None:
        self.top, self.programs = top, programs
        self._options = standin.options(programs, Shelf(top)) | PATIENT
        self.backend = self.another()

    def another(self, **options: Any) -> ScaleBackend:
        return gpfs(Mount("array", self.top, {**self._options, **options}))

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.programs / "state.json").read_text())
        return found

    def change(self, **facts: Any) -> None:
        (self.programs / "state.json").write_text(json.dumps(self.state | facts))

    def ran(self, program: str) -> list[list[str]]:
        """The arguments of each run of a command."""
        lines = (self.programs / "calls.jsonl").read_text().splitlines()
        return [words for name, *words in map(json.loads, lines) if name == program]


MakeNode = Callable[..., Node]


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[MakeNode]:
    """Makes a node whose commands run until the end of the test."""
    top, programs = tmp_path / "research", tmp_path / "bin"
    with ExitStack() as stack:

        def make(**settings: Any) -> Node:
            top.mkdir()
            programs.mkdir()
            stack.enter_context(standin.commands(programs, Shelf(top), **settings))
            return Node(top, programs)

        yield make


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    """A node of a cluster that enforces limits."""
    return make_node()


@pytest.mark.parametrize("seed", [1, 2], ids=lambda seed: f"columns {seed}")
def test_a_scope_lives_and_goes_whatever_the_order_of_columns(node: Node, seed: int) -> None:
    node.change(seed=seed)
    node.backend.probe()
    eventually(lambda: {"quota", "snapshot"} <= set(capabilities(node.backend)))
    assert node.backend.skill(HasMetric) is None
    one = scope()
    node.backend.create_scope(one, 3 * MIB + 1)
    usage = node.backend.describe_scope(one)
    assert (usage.limit_bytes, usage.enforced) == (3 * MIB + BLOCK, "hard")
    assert (node.top / one.directory).stat().st_mode & 0o777 == 0o755
    node.backend.unset_limit(one)
    assert node.backend.describe_scope(one).limit_bytes is None
    node.backend.delete_scope(one)
    assert (node.state["filesets"], node.state["limits"]) == ({}, {})


@pytest.mark.parametrize(
    ("program", "after"),
    [("mmcrfileset", True), ("mmlinkfileset", False), ("mmsetquota", True)],
    ids=["creation with effect", "link without effect", "limit with effect"],
)
def test_a_command_that_fails_is_continued_by_the_next_try(
    node: Node, program: str, *, after: bool
) -> None:
    one = scope()
    node.change(faults=[[program, "after" if after else "6027-1639 Command failed."]])
    with pytest.raises(errors.BackendFailed, match=rf"`{program}`.*6027-1639"):
        node.backend.create_scope(one, MIB)
    node.backend.create_scope(one, MIB)
    assert node.backend.describe_scope(one).limit_bytes == MIB
    assert len(node.state["filesets"]) == 1


def test_busy_means_wait(node: Node) -> None:
    one = scope()
    node.change(faults=[["mmcrfileset", "6027-1242 Another command is already running."]] * 2)
    node.backend.create_scope(one, MIB)
    assert len(node.ran("mmcrfileset")) == 3


def test_a_command_that_hangs_is_ended_with_all_it_started(node: Node) -> None:
    node.change(faults=[["mmdf", "hang"]])
    with pytest.raises(errors.DeadlineExceeded):
        node.another(deadline_seconds=5.0).array_capacity()
    eventually(lambda: not running(str(node.programs / "mmdf")))


def running(program: str) -> list[str]:
    """The processes whose command line names a program."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:  # it ended meanwhile
                continue
            found += [entry.name] * (program.encode() in line)
    return found


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"root_held": True}, "hard"),
        ({"root_held": False}, "not for root"),
        ({"root_held": None}, "not for root"),
        ({"enforced": False}, "off"),
    ],
)
def test_who_is_held_to_a_limit_is_asked(
    make_node: MakeNode, settings: dict[str, Any], word: str
) -> None:
    node, one = make_node(**settings), scope()
    node.backend.create_scope(one, MIB)
    assert node.backend.describe_scope(one).enforced == word


def test_a_command_that_may_not_run_leaves_it_unknown(node: Node) -> None:
    one = scope()
    node.backend.create_scope(one, MIB)
    node.change(faults=[["mmlsconfig", "6027-1639 Command failed."]])
    assert node.another().describe_scope(one).enforced == "unknown"


def test_a_fileset_in_use_stays(node: Node) -> None:
    one = scope()
    node.backend.create_scope(one, MIB)
    node.change(settings={"in_use": [one.directory]})
    with pytest.raises(errors.BackendFailed, match="busy") as caught:
        node.backend.delete_scope(one)
    assert str(node.top) not in caught.value.detail
    assert (node.top / one.directory).is_dir()


def test_nothing_is_removed_from_a_directory_that_is_no_file_system_of_the_cluster(
    node: Node,
    tmp_path: Path,
) -> None:
    one = scope()
    node.backend.create_scope(one, MIB)
    (tmp_path / "elsewhere").mkdir()
    lost = node.another(gpfs_path=str(tmp_path / "elsewhere"))
    with pytest.raises(errors.BackendFailed, match="not the array's"):
        lost.delete_scope(one)
    assert node.state["limits"] == {one.directory: MIB}


def test_a_snapshot_is_kept_and_goes_with_its_vfolder(node: Node) -> None:
    vfolder = VFolderId(scope(), uuid4())
    assert vfolder.scope
    node.backend.create_scope(vfolder.scope)
    node.backend.create_vfolder(vfolder)
    (node.backend.vfolder_path(vfolder) / "file").write_bytes(b"kept")
    node.backend.create_snapshot(vfolder, "a:b+c")
    with node.backend.open_snapshot(vfolder, "a:b+c") as kept:
        assert os.listdir(kept) == ["file"]
    (node.backend.vfolder_path(vfolder) / "file").unlink()
    node.backend.vfolder_path(vfolder).rmdir()
    with node.backend.root() as root:
        node.backend.before_purge(root, "job", vfolder)
    assert not any(node.state["snapshots"].values())


def test_health_and_capacity(node: Node) -> None:
    assert node.backend.hardware().status == HardwareStatus.HEALTHY
    node.change(nodes=["active", "down"])
    found = node.backend.hardware()
    assert (found.status, found.status_info) == (HardwareStatus.DEGRADED, "node node2 is down.")
    node.change(nodes=["down", "unknown"])
    assert node.backend.hardware().status == HardwareStatus.OFFLINE
    room = node.backend.array_capacity()
    assert (room.capacity_bytes, room.used_bytes) == (100 << 30, 10 << 30)


def test_a_node_without_the_commands(node: Node, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="gpfs_command_dir"):
        node.another(gpfs_command_dir=str(tmp_path / "nowhere")).array_capacity()
    prefixed = node.another(gpfs_command=["env"])
    assert prefixed.array_capacity().capacity_bytes == 100 << 30
    assert spectrumscale(Mount("array", node.top, prefixed.mount.options)).name == "spectrumscale"


def test_lines_are_read_by_their_header() -> None:
    text = (
        "warning: a line of another kind\n"
        "mmdf:fsTotal:HEADER:1:::freeBlocks:totalSize:\n"
        "mmdf:poolTotal:0:1:::9:8:\n"
        "mmdf:fsTotal:0:1:::1:%2Fa%3Ab:\n"
        "mmdf:fsTotal:0:1:::7:\n"
    )
    assert parsed(text) == [
        {"": "fsTotal", "freeBlocks": "1", "totalSize": "/a:b"},
        {"": "fsTotal", "freeBlocks": "7", "totalSize": ""},
    ]
    assert parsed("") == []


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (2, "mmdelfileset: there is none", Reason.NOT_FOUND),
        (1, "mmdelfileset: 6027-1554 Fileset a is not known.", Reason.NOT_FOUND),
        (1, "mmcrfileset: 6027-1553 Fileset a already exists.", Reason.EXISTS),
        (1, "mmcrfileset: 6027-1639 Command failed.", Reason.FAILED),
        (1, "", Reason.FAILED),
    ],
)
def test_errors_are_read_by_their_number(status: int, text: str, reason: Reason) -> None:
    found = refusal("mmcrfileset", status, text)
    assert isinstance(found, ArrayRefused)
    assert found.reason is reason
    assert isinstance(refusal("mmcrfileset", 1, "it is already running; try again"), Busy)
