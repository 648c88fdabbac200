"""`vfolder doctor` on real XFS and ext4 with project quota."""

import os
from pathlib import Path

import pytest

from tests.support.clinic import Clinic


@pytest.mark.parametrize("name", ["xfs", "ext4"])
def test_limits_of_projects_are_proved(name: str, tmp_path: Path) -> None:
    top = Path(os.environ[f"UML_{name.upper()}"]) / "doctor"
    top.mkdir()
    clinic = Clinic(tmp_path, top, name, size="1m", seconds=900)
    found = clinic.checks("--write")
    assert found["quota"]["figures"]["enforced"] == "hard"
    assert found["quota"]["figures"]["past_limit_bytes"] == 0
    assert not clinic.has_left
