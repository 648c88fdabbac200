"""`vfolder doctor` on real XFS and ext4 with project quota."""

import json
import os
from pathlib import Path

import pytest

from api.cli.doctor.own_scope import SCOPE
from tests.support import preloaded
from tests.support.doors import settings_in


@pytest.mark.parametrize("name", ["xfs", "ext4"])
def test_limits_of_projects_are_proved(name: str, tmp_path: Path) -> None:
    top = Path(os.environ[f"UML_{name.upper()}"]) / "doctor"
    top.mkdir()
    table = f'[volume.sick]\nbackend = "{name}"\npath = "{top}"\n'
    file = settings_in(tmp_path, more=table, marked=False).origin
    words = ["doctor", "sick", "--write", "--size", "1m", "--json", "--config", file]
    done = preloaded.run(["api.cli", *words], os.environ, 900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert found["quota"]["figures"]["enforced"] == "hard"
    assert found["quota"]["figures"]["past_limit_bytes"] == 0
    assert not (top / SCOPE.directory).exists()
