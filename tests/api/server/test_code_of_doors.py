"""A door loads its own code alone, and all of it before its processes are forked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import CONFIG_VARIABLE
from tests.support.doors import settings_in
from tests.support.node import ROOT

PROGRAM = """
import sys
from api import app
from core.settings import load
settings = load()
app.load_code({door!r}, settings)
before = set(sys.modules)
getattr(app, {door!r} + "_door")(settings)
print(*before)
print(*set(sys.modules) - before, file=sys.stderr)
"""
#: What each door has and no other one.
OWN = {
    "manager": {"api.doors.manager.vfolders"},
    "client": {"api.doors.client.downloads"},
    "internal": {"api.doors.internal.cluster_gauges"},
}
OURS = ("api.", "backends.", "core.")


@pytest.mark.parametrize("people", [False, True])
@pytest.mark.parametrize("door", OWN)
def test_a_door_loads_its_own_code_before_the_fork(
    tmp_path: Path, door: str, *, people: bool
) -> None:
    more = "[vfolder.access]\n" if people else ""
    settings = settings_in(tmp_path, more=more)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(door=door)],
        cwd=ROOT,
        env=os.environ | {CONFIG_VARIABLE: settings.origin},
        capture_output=True,
        text=True,
        check=True,
    )
    before = set(done.stdout.split())
    last = set(done.stderr.splitlines()[-1].split()) if done.stderr else set()
    assert not {name for name in last if name.startswith(OURS)}
    assert OWN[door] <= before
    for other in OWN.keys() - {door}:
        assert not OWN[other] & before, other
    assert ("api.doors.people" in before) == (people and door == "client")
