"""A whole node under people's work while every kind of its processes is killed and stopped.

`SIEGE_SECONDS=600 SIEGE_SEED=2 pytest tests/chaos/test_siege.py` is the long run, with about 300
faults.
"""

import os
from pathlib import Path

import pytest

from tests.chaos.check import leftovers
from tests.chaos.siege import Siege
from tests.support.loops import mounted
from tests.support.node import running_node, wait_for

SEED = int(os.environ.get("SIEGE_SEED", "1"))
SECONDS = float(os.environ.get("SIEGE_SECONDS", "20"))
PEOPLE = int(os.environ.get("SIEGE_PEOPLE", "4"))
LEASE_SECONDS = 8
#: The long run needs space for what is deleted later.
VOLUME_BYTES = 4 << 30
BTRFS = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]


@pytest.mark.slow
@pytest.mark.part("btrfs")
@pytest.mark.part("rsync")
@pytest.mark.timeout(1800)
def test_people_get_what_they_asked_for_while_processes_die(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "loop", BTRFS, size_bytes=VOLUME_BYTES) as other:
        more = (
            f'[volume.other]\nbackend = "btrfs"\npath = "{other}"\n'
            f"[vfolder.jobs]\nlease-seconds = {LEASE_SECONDS}\n"
        )
        with running_node(tmp_path, more) as node:
            tops = {"local": tmp_path / "volumes" / "local", "other": other}
            siege = Siege(node, tops, SEED)
            siege.run(SECONDS, PEOPLE)
            with capsys.disabled():
                print(f"\n{siege.faults.total()} faults {dict(siege.faults)}")  # noqa: T201 - figures
                print(f"done {dict(siege.done)}")  # noqa: T201 - figures
            assert siege.wrong == []
            wait_for(lambda: not any(leftovers(top) for top in tops.values()), 120)
