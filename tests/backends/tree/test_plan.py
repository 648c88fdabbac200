"""Plans of a copy: every entry is in one part, and each directory before those below it."""

import os
from pathlib import Path

import pytest

from backends.tree import Effort
from backends.tree.copy.plan import CopyPlanner, Part, PlanScan
from backends.tree.fast import Loops
from backends.tree.files import Anchor, split_name
from backends.tree.processes import HelperChannel, HelperPool, Message
from backends.tree.selection import SLICE_ENTRIES
from contract.trees import Opener
from core.jobs import Unattended
from tests.backends.tree.test_remove import LOOPS

LARGE = ("narrow/large", "narrow/large/inner/large")
BELOW = 40


def nested(root: Path) -> set[str]:
    """Make large directories in narrow ones and small ones in the large; return all paths."""
    for large in LARGE:
        place = root / large
        place.mkdir(parents=True)
        for number in range(2 * SLICE_ENTRIES + 10):
            (place / f"file{number}").touch()
        for number in range(BELOW):
            (place / f"small{number}/deep").mkdir(parents=True)
            (place / f"small{number}/file").touch()
    return {""} | {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}


@pytest.mark.parametrize("loops", LOOPS, ids=["c", "python"])
@pytest.mark.parametrize("helpers", [1, 2])
def test_units_are_all_there_once_and_parents_come_first(
    tmp_path: Path, anchor: Opener, helpers: int, loops: Loops
) -> None:
    root = tmp_path / "a"
    root.mkdir()
    directories = nested(root)
    source = Anchor.duplicate(anchor(root))

    def work(message: Message, channel: HelperChannel) -> Message:
        return PlanScan(source, loops, channel).run(*message[1:])

    parts: list[Part] = []
    own = [source.fd]
    with HelperPool(work, Unattended(), effort=Effort(), size=helpers, own_fds=own) as pool:
        planner = CopyPlanner(pool, helpers, parts.append, lambda _: pytest.fail("nothing to note"))
        planner.run()
    units = [unit for part in parts for unit in part.units]
    seen: set[str] = set()
    for path, names, count, *_ in units:
        assert path == "" or split_name(path)[0] in seen, f"{path} before its parent"
        assert names is not None or path not in seen, f"{path} twice"
        assert names is None or len(names) == count
        seen.add(path)
    assert seen == directories
    sliced = [(path, name) for path, names, *_ in units for name in names or ()]
    assert len(sliced) == len(set(sliced))
    assert {path for path, _ in sliced} == set(LARGE)
    assert (
        planner.entries
        == sum(unit[2] for unit in units)
        == sum(len(names) + len(files) for _, names, files in os.walk(root))
    )
