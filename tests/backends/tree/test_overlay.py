"""A copy that is laid over a live tree: killed in between, it continues and ends complete."""

import os
import random
import signal
from pathlib import Path

import pytest

from backends.tree import (
    CopyOptions,
    OnConflict,
    OverlayOptions,
    OverlayTrees,
    Selection,
    TreeManifest,
    apply_overlay,
    compare_trees,
    copy_tree,
)
from contract.trees import Opener
from core.jobs import Unattended
from tests.support.thoroughness import times

KILLS = 6
#: Every overlay calls its control more often than this, so each kill interrupts one.
CHECKS_MAX = 12


class Dying(Unattended):
    """Kills its process after some calls of `check`, while the helpers are at work."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._checks = checks

    def check(self) -> None:
        self._checks -= 1
        if self._checks < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def plant(top: Path, files: int, text: str) -> None:
    for number in range(files):
        path = top / f"d{number % 7}" / f"e{number % 13}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text * (number % 50))


@pytest.mark.parametrize("seed", range(times(2, 3)))
def test_killed_while_it_is_laid_over(tmp_path: Path, anchor: Opener, seed: int) -> None:
    dice = random.Random(seed)
    places = {name: tmp_path / name for name in ("source", "live", "staged", "displaced")}
    for path in places.values():
        path.mkdir()
    plant(places["source"], 700, "new")
    plant(places["live"], 500, "old")
    (places["live"] / "extra/deep").mkdir(parents=True)
    (places["live"] / "d1/gone").write_text("extra")
    fds = {name: anchor(path) for name, path in places.items()}
    manifest = TreeManifest.open(anchor(tmp_path), "job.manifest")
    selection = Selection(against=fds["live"], on_conflict=OnConflict.REPLACE, mirror=True)
    copied = copy_tree(
        fds["source"],
        fds["staged"],
        control=Unattended(),
        manifest=manifest,
        options=CopyOptions(selection=selection),
    )
    assert copied.complete
    trees = OverlayTrees(fds["source"], fds["staged"], fds["live"], fds["displaced"])
    options = OverlayOptions(selection=selection, drop_extra=True)

    def overlay(control: Unattended) -> int:
        return apply_overlay(trees, control=control, manifest=manifest, options=options).failed

    for _ in range(KILLS):
        pid = os.fork()
        if pid == 0:
            overlay(Dying(dice.randint(1, CHECKS_MAX)))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status)
    assert overlay(Unattended()) == 0
    manifest.close()
    assert list(compare_trees(fds["source"], fds["live"], control=Unattended())) == []
