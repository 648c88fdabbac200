"""`vfolder doctor` on real XFS and ext4 with project quota."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.cli.doctor.own_scope import SCOPE
from tests.support.doors import settings_in
from tests.support.node import ROOT


@pytest.mark.parametrize("name", ["xfs", "ext4"])
def test_limits_of_projects_are_proved(name: str, tmp_path: Path) -> None:
    top = Path(os.environ[f"UML_{name.upper()}"]) / "doctor"
    top.mkdir()
    table = f'[volume.sick]\nbackend = "{name}"\npath = "{top}"\n'
    file = settings_in(tmp_path, more=table, marked=False).origin
    words = ["doctor", "sick", "--write", "--size", "1m", "--json", "--config", file]
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert found["quota"]["figures"]["enforced"] == "hard"
    assert found["quota"]["figures"]["past_limit_bytes"] == 0
    assert not (top / SCOPE.directory).exists()
